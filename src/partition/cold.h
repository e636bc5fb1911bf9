/* cold.h - requests that wait for rows which are not in memory (rule A6, decision 0006), or for
 * locks of transactions. Part of a partition host; not for other modules.
 *
 *   evaluation wants rows --> parked --> job on LANE_READ reads the engine --> rows (and what is
 *   known to be absent) into the table --> evaluated again, with its first time and randomness
 *
 * What the engine says is true of the table only if no flush made rows clean since the read
 * began (a row may have been written, flushed and evicted meanwhile): then it is read again.
 *
 * Order: a request that its client sent while an earlier one of it was open in the partition
 * (`ordered`) waits behind that one if it is parked; everybody else goes on. A parked request
 * belongs to one term and one route: with either it is dropped, and the gateway asks again.
 *
 * Or its evaluation waits for a row to be written by somebody else (row_wait()): for a short while,
 * which its gateway takes for a slow leader's. Nobody waits behind it.
 *
 * Bounded: PARKED_COUNT_MAX and PARKED_BYTES_MAX per host, then OUTCOME_BUSY; COLD_ROUNDS_MAX
 * fetches per evaluation; COLD_JOBS_MAX jobs of a host at once. */
#ifndef HOLON_PARTITION_COLD_H
#define HOLON_PARTITION_COLD_H

#include "partition/row_context.h"
#include "wire/request_frame.h"

struct partition_host;
struct replica;
struct session;
struct parked;

enum {
    PARKED_COUNT_MAX = 16384,
    PARKED_BYTES_MAX = 32 << 20,
    HEAVY_COUNT_MAX = PARKED_COUNT_MAX / 4, /* with more parked, heavy ones do not wait, */
    HEAVY_BYTES_MAX = PARKED_BYTES_MAX / 4, /* so that nobody gets BUSY because they do */
    /* From when it came. Less than after which a gateway asks again (ROUTE_TIMEOUT_US), which would
     * put it at the end of the queue once more. */
    HEAVY_WAIT_MAX_US = 300 * 1000,
    HEAVY_PAUSE_US = 500,
    HEAVY_FULL_PAUSE_US = 5 * 1000, /* while a partition has too much uncommitted */
    HEAVY_TURN_COST_MAX = 4096,     /* of what waited, in one turn of the loop: governor_cost(), */
    COLD_TURN_MAX = 64,             /* and requests */
    ROW_WAIT_CLASSES = 1024,
    PARKED_CLASSES = 4096, /* of clients; with none parked of its class a request goes on */
    COLD_JOBS_MAX = 16,
    COLD_JOB_KEYS_MAX = 128,      /* of one job; a request is never split */
    COLD_JOB_BYTES_MAX = 4 << 20, /* of what it brings; the rest is read by the next. The default of
                                   * host_options.cold_job_bytes_max, */
    COLD_ROUNDS_MAX = 128,        /* fetches for one evaluation */
    COLD_ERRORS_MAX = 8,          /* failed reads for one evaluation */
    COLD_RANGES_MAX = 64,         /* fetched for one evaluation, then OUTCOME_BUSY; */
    COLD_SEEKS_MAX = 16,          /* one that can should end after so many: row_may_seek() */
    COLD_RANGE_ROWS_FIRST = 64,   /* of the first fetch of a range; each round doubles it, */
    COLD_RANGE_ROWS_MAX = 2048,   /* up to this many */
    COLD_RANGE_BYTES_MAX = 1 << 20, /* or what a job may bring */
    COLD_RETRY_US = 10 * 1000,      /* after a failed read */
    COLD_LATE_US = 700 * 1000,      /* simulator only: how late a read may come */
    LOCKED_COUNT_MAX = 4096,        /* that wait for locks, of a host; then OUTCOME_BUSY */
    ROW_WAITS_MAX = 4096,           /* that wait for a row to be written; then the same */
};

/* Does a request of this client have to wait behind a parked one? */
bool cold_must_wait(struct replica *replica, const struct session *session,
                    const struct request_item *item);
/* Puts it behind what it waits for. False: too much is parked, answer that. */
bool cold_wait(struct replica *replica, struct session *session, uint64_t route,
               const struct request_item *item);
/* Parks an evaluation that wants rows. `again`: it was parked before. False: answer BUSY. */
bool cold_park(struct replica *replica, struct session *session, uint64_t route,
               const struct request_item *item, int64_t time, struct parked *again,
               const struct buffer *wanted);
/* A lock of a transaction is in the way (row_context.must_wait): it runs again when one of the
 * partition's is gone. `again` as above. False: too many wait, answer BUSY. */
bool cold_park_locked(struct replica *replica, struct session *session, uint64_t route,
                      const struct request_item *item, struct parked *again);
/* A transaction ends: of it a PREPARE may still wait for a lock, which must not come behind it. */
void cold_drop_prepare(struct replica *replica, const struct session *session,
                       const struct request_item *item);
/* The partition is frozen for a cut (cut.h): the same, until that is over. */
bool cold_park_frozen(struct replica *replica, struct session *session, uint64_t route,
                      const struct request_item *item, struct parked *again);
/* One is gone: in the next turn of the loop, in the order in which they came. */
void cold_unlocked(struct replica *replica);
/* It waits for a row to be written (row_wait()). `again` and false as above. */
bool cold_park_row(struct replica *replica, struct session *session, uint64_t route,
                   const struct request_item *item, struct parked *again,
                   const struct row_context *rows, uint64_t now);
/* This leader has written a row while some wait (replica.row_waits): in the next turn of the loop
 * the one runs that is to be woken. */
void cold_row_written(struct replica *replica, struct bytes key);
/* For row_context.waits_since. */
int64_t cold_waits_since(const struct parked *parked);
/* Does a heavy request have to wait for light ones of others (governor.h)? Then it is parked.
 * `again`: it is already, and runs. `chosen`: it has to, by the simulator. */
bool cold_heavy_waits(struct replica *replica, struct session *session, uint64_t route,
                      const struct request_item *item, struct parked *again, bool chosen,
                      uint64_t now);
/* One was proposed. */
void cold_heavy_ran(struct replica *replica, const struct parked *parked,
                    const struct row_context *rows, uint64_t now);
/* For row_context: what was fetched for it and still stands. */
void cold_ranges(struct parked *parked, struct row_context *rows);
int64_t cold_time(const struct parked *parked);
/* Of one gateway (its route is over), or of all (the term is). */
void cold_drop_session(struct replica *replica, const struct session *session);
void cold_drop_all(struct replica *replica);
void cold_open(struct partition_host *host);
/* Frees what no job will give back, after all replicas are gone. */
void cold_close(struct partition_host *host);
/* What the jobs under way have read. */
uint64_t cold_job_bytes(const struct partition_host *host);
/* A read of this store is under way. */
bool cold_uses_store(const struct partition_host *host, uint32_t store);
/* No job under way. */
bool cold_is_idle(const struct partition_host *host);

#endif
