/* lock.h - locks and semaphores that the store enforces (docs/guides/locks.md): who holds one, who
 * waits for it, in which order. A lock is a semaphore of one permit.
 *
 * One row for each name, beside the keys and not one of them: FLUSHALL and SWAPDB leave it alone.
 *
 *   lock      [slot of the name][SERVICE_LOCK][database u32][hash 48][name], type 1:
 *             u8 format (1) | u32 permits | varint count, holders: u64 token, i64 until (us)
 *             | varint count, waiters in their order: u64 ticket, u32 ttl (ms), i64 refreshed (us)
 *   reminder  [first slot][SERVICE_LOCK][REMINDERS][u40 second][key of the lock's row], empty
 *   floor     [first slot][SERVICE_LOCK][FLOOR], type 1: u8 format (1) | u64, added to every token
 *
 * All times are entry times (rule D3). A holder holds while the time is before `until`. A waiter
 * whose ticket was not refreshed for LOCK_TICKET_US under this leader is gone: a change of leaders
 * gives it that time anew, however long there was none.
 *
 * A token is the log index of the entry that gave it, and the floor of its partition on top, which
 * a restore sets to the greatest token there was: of one name the tokens only ever rise, also when
 * its row was deleted between. A ticket is the index of the entry that put it into the queue. A row
 * without holders and waiters is deleted: by who empties it, or by the background when its reminder
 * is due. A row has at least one reminder.
 *
 * Thread: the partition's worker. */
#ifndef HOLON_SERVICES_REDIS_LOCK_H
#define HOLON_SERVICES_REDIS_LOCK_H

#include "services/redis/call.h"

enum {
    LOCK_NAME_SIZE_MAX = 1024,
    LOCK_PERMITS_MAX = 1024,
    LOCK_WAITERS_MAX = 256,
    LOCK_TTL_MS_MAX = 24 * 3600 * 1000,
    LOCK_WAIT_MS_MAX = 24 * 3600 * 1000,
    LOCK_ATTEMPT_MS = 250, /* of a waiter, at the leader: less than a gateway's ROUTE_TIMEOUT_US */
    LOCK_REFRESH_US = 1000 * 1000,        /* a ticket is refreshed when it is so old, */
    LOCK_TICKET_US = 3000 * 1000,         /* and dropped when it is so old */
    LOCK_REMINDED_US = 600 * 1000 * 1000, /* the background looks at a held lock so often */
    LOCK_ROW_TYPE = 1,
    LOCK_FORMAT = 1,
};
#define LOCK_FLOOR_MAX (UINT64_C(1) << 62)
#define LOCK_NAMESPACE_FLOOR UINT32_C(0xffffffff)
#define LOCK_NAMESPACE_REMINDERS UINT32_C(0xfffffffe)

struct lock_holder {
    uint64_t token;
    int64_t until;
};

struct lock_waiter {
    uint64_t ticket;
    uint32_t ttl_ms;
    int64_t refreshed;
};

/* A row as it is worked on; in the arena of the evaluation, with room for one more of each. */
struct lock {
    struct bytes row_key;
    bool exists;      /* the row */
    bool damaged;     /* ... and makes no sense */
    uint32_t permits; /* 0: nobody has said how many */
    uint32_t holder_count, waiter_count;
    struct lock_holder *holders;
    struct lock_waiter *waiters;
};

/* The lock as of the entry's time: without holders whose time is over, and without waiters that
 * are gone. ROW_STOP as always; ROW_ABSENT: there is no row, or nothing left in it. */
enum row_result lock_get(struct redis_call *call, struct bytes name, struct lock *ret_lock);
/* Writes the row, or deletes it if nobody is left. */
void lock_put(struct redis_call *call, const struct lock *lock);
/* As lock_get() has left out all others, all of them. */
uint32_t lock_holders_now(const struct redis_call *call, const struct lock *lock);
/* NULL: it does not hold it, or not any more. */
struct lock_holder *lock_holder_of(const struct lock *lock, uint64_t token);
void lock_remove_holder(struct lock *lock, struct lock_holder *holder);
/* Index in the queue, or waiter_count. */
uint32_t lock_find_waiter(const struct lock *lock, uint64_t ticket);
void lock_remove_waiter(struct lock *lock, uint32_t index);
/* The token that this entry may give. ROW_STOP as always. */
enum row_result lock_token(struct redis_call *call, const struct lock *lock, uint64_t *ret_token);
enum row_result lock_raise_floor(struct redis_call *call, uint64_t floor, uint64_t *ret_floor);

/* HOLON.GUARD, at the leader of the lock (batch.h). */
struct redis_guard {
    uint8_t database;
    uint64_t token;
    struct bytes name;
};
void lock_want(struct redis_call *call, struct bytes name);
/* Reads the lock's row: it is in the read-set of whatever is evaluated. ROW_STOP as always. */
enum row_result lock_guard_holds(struct redis_call *call, const struct redis_guard *guard,
                                 bool *ret_holds);

/* Rows that nobody else deleted, when their reminders are due; for chore.c. */
struct chore_step;
/* lock_chore.c: deletes the row if nobody is left; else reminds of it again. */
enum row_result lock_expire(struct redis_call *call, struct bytes row_key);
enum row_result lock_chore(struct chore_step *step);

/* Arguments, also of the client's node. False: *ret_wrong is the error. */
struct lock_request {
    uint32_t permits, ttl_ms;
    bool waits;
    uint32_t wait_ms; /* 0: as long as it takes */
};
bool lock_request_parse(const struct redis_command *command, const struct bytes *arguments,
                        uint32_t count, struct lock_request *ret_request, const char **ret_wrong);
bool lock_token_parse(struct bytes text, uint64_t *ret_token);
#define LOCK_WRONG_TOKEN "ERR the token must be an integer from 1 on, as HOLON.LOCK gave it"
#define LOCK_WRONG_NAME "ERR the name of a lock has 1 to 1024 bytes"

#endif
