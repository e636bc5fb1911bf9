/* call.h - one evaluation of a command, and how commands see keys.
 *
 * Row key: [slot][SERVICE_REDIS][namespace][48-bit keyed hash of the user key][user key].
 * The hash in front gives SCAN a cursor without state (WHY.md 10.1). The namespace of a
 * database is its number, until FLUSHDB gives it another one (namespace.c).
 *
 * The top bits of a namespace number tell its kind: keys, parts of big values, reminders of
 * expiry (parts.h). Whoever writes or deletes the row of a key does it by redis_key_...(): they
 * drop the parts of what was there, and see to it that an expiring key has a reminder.
 *
 * An expired row is answered as absent and deleted by whoever meets it (rule D3), at last by the
 * background (chore.h). */
#ifndef HOLON_SERVICES_REDIS_CALL_H
#define HOLON_SERVICES_REDIS_CALL_H

#include "partition/row_context.h"
#include "services/redis/command.h"
#include "services/redis/limits.h"
#include "wire/resp.h"

enum redis_row_type { REDIS_ROW_STRING = 1, REDIS_ROW_HASH = 2, REDIS_ROW_MARK = 3 };
enum redis_row_flags { REDIS_ROW_PARTS = 1 }; /* the value is that of redis_parts_encode() */

enum {
    REDIS_HASH_SIZE = 6,
    REDIS_ROW_PREFIX_SIZE = ROW_PREFIX_SIZE + REDIS_HASH_SIZE,
    REDIS_KEY_SIZE_MAX = 64 << 10,
    REDIS_VALUE_SIZE_MAX = 256 << 10, /* in one row: a field of a hash */
    /* Effects of one command: what an entry can carry beside its header and outcome. */
    REDIS_EFFECTS_SIZE_MAX = ENTRY_BODY_MAX - OUTCOME_SIZE_MAX - 1024,
    REDIS_EFFECT_OVERHEAD = 48, /* of one put beside user key and value, at most */
};

struct redis_call {
    struct row_context *rows;
    const struct redis_command *command;
    const struct bytes *arguments; /* [0] is the name, as in Redis' own documentation */
    uint32_t count;                /* name included */
    uint8_t database;
    uint32_t namespace;
    int64_t now_ms;
    const struct redis_limits *limits;
    const struct redis_body *body; /* for values that were sent ahead (stage.h) */
    bool batch;                    /* one of several in this evaluation (batch.h): what was written
                                    * by those before is not in the table */
    uint16_t ids_made;             /* parts.h; of all of them */
    uint32_t adopted;              /* values sent ahead that became values of keys, by bit */
    bool misrouted;                /* a key is not of this partition: a bug of the sender */
    struct resp_writer out;
};

/* A key of the call: where its row is, and what is there. */
struct redis_key {
    struct bytes row_key; /* in the arena */
    bool exists;          /* not absent, not expired */
    struct row_view row;  /* if exists; borrowed until the next write */
};

/* Where the row of a key is, without a look at it. */
void redis_key_locate(struct redis_call *call, struct bytes key, struct redis_key *ret_key);
/* For writes that overwrite whatever is there, with that expiry: looks only if the old row
 * could matter, which it does while there are big values or reminders. Otherwise `exists` is
 * false and means nothing. ROW_STOP as below. */
enum row_result redis_key_overwrite(struct redis_call *call, struct bytes key, uint64_t expiry_ms,
                                    struct redis_key *ret_key);
/* Looks a key up; an expired row gets deleted. ROW_STOP: return redis_stop(). */
enum row_result redis_key_find(struct redis_call *call, struct bytes key,
                               struct redis_key *ret_key);
static inline enum evaluate_result redis_stop(const struct redis_call *call)
{
    return row_context_stop(call->rows);
}

/* Looks a key up that must be of `type` or absent (then row.value is empty). False:
 * *ret_result is what to return. */
bool redis_typed_find(struct redis_call *call, struct bytes key, uint8_t type,
                      struct redis_key *ret_key, enum evaluate_result *ret_result);

/* Writes a row, after checking the limits. False: refused, and the error is the reply. */
bool redis_key_put(struct redis_call *call, const struct redis_key *key, uint8_t type,
                   uint64_t expiry_ms, struct bytes value);
/* Another expiry, the same value; for a key that exists. False as above. */
bool redis_key_put_expiry(struct redis_call *call, const struct redis_key *key, uint64_t expiry_ms);
void redis_key_delete(struct redis_call *call, const struct redis_key *key);
static inline bool redis_key_has_parts(const struct redis_key *key)
{
    return key->exists && (key->row.header.flags & REDIS_ROW_PARTS);
}
/* The reply for a row that cannot be understood. */
enum evaluate_result redis_reply_damaged(struct redis_call *call);
/* The limits of redis_key_put() alone, for commands that must know before they write; `effects`
 * of them in the log, beside the key's own row. */
bool redis_key_fits(struct redis_call *call, size_t key_size, uint64_t value_size, size_t effects);
/* May effects of `size` bytes be added? False: the error is the reply. */
bool redis_effects_fit(struct redis_call *call, size_t size);

static inline uint64_t redis_key_expiry(const struct redis_key *key)
{
    return key->exists ? key->row.header.expiry : 0;
}
static inline bool redis_row_is_expired(const struct redis_call *call,
                                        const struct row_header *header)
{
    bool expired = header->expiry != 0 && call->now_ms > (int64_t)header->expiry;
    if (expired) row_found_expired(call->rows, ((int64_t)header->expiry + 1) * 1000);
    return expired;
}
/* Of a key that is to be written: it is deleted instead (SET with PXAT, or a value whose parts took
 * long). Its reminder would lie before those that the background still looks at. */
static inline bool redis_expiry_is_past(const struct redis_call *call, uint64_t expiry_ms)
{
    return expiry_ms != 0 && call->now_ms > (int64_t)expiry_ms;
}

/* The order of keys within a slot. */
uint64_t redis_key_hash(const struct row_context *rows, struct bytes key); /* 48 bits */
/* [slot][SERVICE_REDIS][namespace][hash] at `at`. */
void redis_row_prefix_store(uint8_t at[REDIS_ROW_PREFIX_SIZE], uint16_t slot, uint32_t namespace,
                            uint64_t hash);

/* Replies. Each returns EVALUATE_DONE, so that `return redis_reply_...` works. */
enum evaluate_result redis_reply_ok(struct redis_call *call);
enum evaluate_result redis_reply_integer(struct redis_call *call, int64_t value);
enum evaluate_result redis_reply_error(struct redis_call *call, const char *text);
enum evaluate_result redis_reply_wrong_type(struct redis_call *call);
enum evaluate_result redis_reply_syntax_error(struct redis_call *call);
/* The number in arguments[index], or false with Redis' error as the reply. */
bool redis_argument_i64(struct redis_call *call, uint32_t index, int64_t *ret_value);

/* The row that maps a database to its namespace (namespace.c). ROW_STOP as above. */
enum row_result redis_namespace_find(struct redis_call *call, uint8_t database,
                                     uint32_t *ret_namespace);
/* Also since when: the version of that row; 0: always. */
enum row_result redis_namespace_find_version(struct redis_call *call, uint8_t database,
                                             uint32_t *ret_namespace, uint64_t *ret_version);

#endif
