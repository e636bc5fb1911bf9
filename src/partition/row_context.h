/* row_context.h - what an evaluation sees of the world: rows, time, random numbers, budget
 * (rules A2, A6; DESIGN.md 15). It gathers effects, and computes `dep`: the highest log
 * index of anything uncommitted that was consulted, absences and ranges included. Service
 * code never touches the table or the clock by itself, never asserts on data, and may be
 * stopped and run again.
 *
 * On a table that is not complete, a key of which it knows nothing stops the evaluation: what
 * it wants is noted, the executor fetches it from the engine into the table and runs the
 * evaluation again (A6). So an evaluation should name all its keys first (row_want()): then one
 * fetch brings them all.
 *
 * Thread: the partition's worker. */
#ifndef HOLON_PARTITION_ROW_CONTEXT_H
#define HOLON_PARTITION_ROW_CONTEXT_H

#include "base/arena.h"
#include "base/random.h"
#include "partition/effects.h"
#include "partition/locks.h"
#include "partition/row_table.h"

enum evaluate_result {
    EVALUATE_DONE,
    EVALUATE_NEED_ROWS,
    EVALUATE_WAIT,
    EVALUATE_OVER_BUDGET,
};

/* One request as the leader sees it; body in the service's own encoding. Borrowed. */
struct request {
    uint8_t service; /* enum row_service */
    uint16_t slot;   /* routing slot */
    struct bytes body;
};

/* The answer in the service's own encoding (for redis: RESP bytes as the client gets them). */
struct reply {
    struct buffer *buffer; /* append here; size_max = limit of one reply */
};

struct dedup;
struct row_context;
typedef enum evaluate_result evaluate_fn(struct row_context *rows, const struct request *request,
                                         struct reply *reply);

enum { EVALUATE_ROWS_MAX = 65536, EVALUATE_BYTES_MAX = 32 << 20 };
enum { WANTED_COUNT_MAX = 1024 }; /* of one run; what is beyond is wanted by the next */

/* Of [from, to) the table holds all that there is. */
struct row_range {
    struct bytes from, to;
};

/* What an evaluation has read, for locks and digests (rules C2, C7). */
struct row_reads {
    struct buffer *keys, *ranges, *namespaces; /* as txn_record.h has them; NULL: not wanted */
    uint32_t key_count, range_count, namespace_count;
    uint64_t digest[2]; /* of all that was consulted: keys, versions, absences */
    uint64_t *noted;    /* private: hashes of the keys above, so that each is there once */
    uint32_t noted_size;
};

enum row_planted {                           /* deliberate bugs: */
                   ROW_PLANTED_OVER = 1,     /* every request is over, */
                   ROW_PLANTED_BY_VALUE = 2, /* what was read has the version of its value, */
                   ROW_PLANTED_APART =
                       4, /* bodies that are executed together do not see each other */
};

struct row_context {
    struct row_table *table;
    uint16_t slot_first, slot_last; /* of the partition, both included */
    uint64_t hash_secret[2];        /* drawn at founding: keys the 48-bit hash before user keys */
    int64_t time;                   /* us since 1970: the time of the entry, if one is made (D3) */
    int64_t leads_since;            /* `time` when this leader's term began. From then on it goes
                                     * on like the boot clock; before, it may have jumped */
    uint64_t random_state;          /* fixed per request: equal at each run */
    struct arena *arena;            /* scratch of the service; reset after the request */
    uint64_t commit_index;          /* rows above it are uncommitted */
    struct buffer *effects;         /* encoded effects, appended by put/delete/add/drop */
    uint32_t effect_count;
    uint64_t dep;       /* highest uncommitted index consulted; 0: none */
    uint32_t rows_left; /* budget */
    uint64_t bytes_left;
    bool over_budget; /* also set by a write that does not fit the effects or a row: an
                       * evaluation that says DONE all the same counts as OVER_BUDGET */
    bool need_rows;   /* something wanted is not in the table: whatever the
                       * evaluation says, it runs again when it is */
    uint32_t wanted_count;
    struct buffer *wanted;          /* u32 size, key | u32 size, end of the range (0: one key) */
    const struct row_range *ranges; /* what was fetched for this evaluation and still stands */
    uint32_t range_count;
    uint64_t ranges_used;  /* private: bit i: this run has scanned in ranges[i] */
    uint32_t seeks_max;    /* see row_may_seek() */
    uint64_t engine_index; /* nothing that later entries wrote is in the engine */
    struct bytes born;     /* private: see row_born() */
    uint64_t next_index;   /* of the entry, if one is made: with a number of the service's own it
                            * names things for ever (DESIGN.md 6, collections) */
    uint16_t names_made;   /* so many such numbers were given in this evaluation */
    const void *options;   /* host_options.service_options of the service; may be NULL */
    uint64_t databases_in_memory; /* host_set_memory() */
    bool written_is_enough;       /* the service: the request is of one of them, and of no other */
    int64_t expired_at;           /* us: of the rows found expired the last was so from then on */
    int64_t chore_at;             /* us, as `time`: the service wants its chore to run then (see
                                   * row_want_chore()); INT64_MAX: it does not */
    /* Transactions: */
    const struct locks *locks;          /* NULL: none in this partition */
    const struct txn_id *lock_owner;    /* evaluated for it: its own locks are not in the way */
    bool locks_full;                    /* nothing more may be locked */
    bool must_wait;                     /* a lock is in the way: whatever the evaluation says */
    bool refused;                       /* row_refuse() */
    bool waits;                         /* row_wait() */
    struct row_reads *reads;            /* NULL: not recorded */
    const struct dedup *dedup;          /* row_request_is_over() */
    evaluate_fn *const *services;       /* by enum row_service: for pieces, */
    const void *const *service_options; /* with these options */
    uint64_t term;
    uint64_t frozen_for;         /* the cut that evaluation waits for here, */
    uint64_t freeze;             /* and which freeze that is; 0: none */
    uint8_t chore_service;       /* whose chore `chore_at` is of */
    uint8_t planted;             /* enum row_planted; simulator only */
    int64_t waits_since;         /* us, as `time`: when it was first run, if row_wait() made it wait
                                  * since; else 0 */
    struct row_wait *wait;       /* what it waits for, if `waits`; in the arena */
    struct row_pending *pending; /* private: this evaluation's own writes, seen by its reads */
    size_t pending_count;
    size_t pending_capacity;
};

/* Sets everything but slot_first, slot_last, hash_secret, next_index and options, which the
 * caller does, as well as databases_in_memory, engine_index, wanted and ranges if it can fetch
 * rows, and what transactions need. */
void row_context_begin(struct row_context *rows, struct row_table *table, struct arena *arena,
                       struct buffer *effects, uint64_t commit_index, int64_t time,
                       uint64_t random_seed);
/* Views and own writes end here; what they took is in the arena. */
void row_context_end(struct row_context *rows);

enum row_result { ROW_FOUND, ROW_ABSENT, ROW_STOP }; /* STOP: return what row_context_stop() says */

/* Newest version, own writes of this evaluation included. Expired rows are found: expiry is
 * the service's business (rule D3: a read that meets an expired row deletes it). An own
 * write shows version 0: its index is not known yet. */
enum row_result row_get(struct row_context *rows, struct bytes key, struct row_view *ret);
/* The evaluation will ask for this key. Costs nothing on a complete table. */
void row_want(struct row_context *rows, struct bytes key);
/* Keys that begin with `prefix` were first written by entry `index` or later: `next_index` is that
 * of this evaluation. As long as the engine cannot have one of them, those that the table does not
 * hold are known to be absent. Holds until it is said of another prefix; borrowed until then. */
void row_born(struct row_context *rows, struct bytes prefix, uint64_t index);
/* Value may be scratch; copied. Types from 1. The key must be known too, for the counts: of a
 * key that is not, it is wanted, and nothing written in this run. */
void row_put(struct row_context *rows, struct bytes key, uint8_t type, uint8_t flags,
             uint64_t expiry_ms, struct bytes value);
void row_delete(struct row_context *rows, struct bytes key);
/* The service takes a row for gone, as `time` is not before `since_us`. */
static inline void row_found_expired(struct row_context *rows, int64_t since_us)
{
    if (since_us > rows->expired_at) rows->expired_at = since_us;
}
/* Adds to the number in the row, in an effect that is a put of the sum. */
void row_add(struct row_context *rows, struct bytes key, int64_t delta);
void row_drop_namespace(struct row_context *rows, uint8_t service, uint32_t namespace);
/* Rows from <= key < to in order; on_row returns false to stop. A tombstone that hides a
 * row counts for dep and is not shown. Own writes of this evaluation are seen as they were when the
 * walk began.
 * ROW_FOUND: at least one row was shown; ROW_ABSENT: none. */
enum row_result
row_scan(struct row_context *rows, struct bytes from, struct bytes to, void *context,
         bool (*on_row)(void *context, struct bytes key, const struct row_view *row));
/* On a table that is not complete each place that a walk goes to costs a fetch, and all of them
 * have to stay fetched until the evaluation ends. False: this run has used what it should. A walk
 * that got somewhere and can say where to go on then ends; otherwise it may end as BUSY. */
bool row_may_seek(const struct row_context *rows);
/* Of an evaluation that waits for somebody else: it runs again when a row of that key is written by
 * this leader, or `until` has come (as `time`), in any case ROW_WAIT_MAX_US after its first run
 * (waits_since): then it must answer. Of several that wait for one key, a write wakes the one with
 * the lowest `turn`. Effects are thrown away. Return what it returns. Not for a piece of a
 * transaction. */
struct row_wait {
    struct bytes key;
    int64_t until;
    uint64_t turn;
};
enum { ROW_WAIT_MAX_US = 250 * 1000 };
enum evaluate_result row_wait(struct row_context *rows, struct bytes key, int64_t until,
                              uint64_t turn);
/* For a piece of a transaction: its service does not want what the transaction would do, by what it
 * read (a condition that does not hold). Nothing is changed anywhere; the reply says why. Outside
 * of transactions it only drops the effects. */
static inline void row_refuse(struct row_context *rows)
{
    rows->refused = true;
}
/* The request of that gateway cannot be executed any more, here or by any later leader: it was, it
 * is below the watermark, or the gateway is fenced (C6). */
bool row_request_is_over(struct row_context *rows, struct gateway_id gateway, uint64_t seq);
/* Every request of that node under an earlier epoch is refused for ever, once this is applied (B4):
 * it is known to have started again. */
void row_fence(struct row_context *rows, node_id_t node, boot_epoch_t epoch);
/* From this entry on every replica keeps its rows as they are with it, for that long (us), or gives
 * that up: cut.h. */
void row_cut_take(struct row_context *rows, uint64_t cut, int64_t lifetime);
void row_cut_close(struct row_context *rows, uint64_t cut);
/* Takes the effects so far back, and gives them (in the arena): as if nothing had been written. */
struct bytes row_take_effects(struct row_context *rows);
/* Effects that were taken before, of rows that are locked for the owner since. */
void row_put_effects(struct row_context *rows, struct bytes effects);
/* Number of live rows of a namespace in this partition, own writes counted. */
uint64_t row_count(struct row_context *rows, uint8_t service, uint32_t namespace);
static inline int64_t row_time_ms(const struct row_context *rows)
{
    return rows->time / 1000;
}
uint64_t row_random(struct row_context *rows);
/* The leader runs the service's chore (host_options.chore) at that time, by the clock of `time`;
 * now, if it has passed. Asked for with every evaluation that leaves work behind, the chore's
 * own included; only a chore that wants no other is over. */
static inline void row_want_chore(struct row_context *rows, int64_t time)
{
    if (time < rows->chore_at) rows->chore_at = time;
}
/* After ROW_STOP: EVALUATE_WAIT, EVALUATE_NEED_ROWS or EVALUATE_OVER_BUDGET. */
enum evaluate_result row_context_stop(const struct row_context *rows);

#endif
