/* verify.h - replicas that compare themselves with each other (decision 0011).
 *
 * The leader names an index; when a member has applied exactly so much, it looks at itself and
 * answers. Three looks, of which an ask may want several:
 *
 *   writes  what was written since an earlier such index (row_table_writes()). Costs nothing but
 *           the sums that every write adds to: each second, in groups with entries
 *   state   remembered outcomes, numbers of rows
 *   rows    a range of keys, twice: as memory has them over the engine, and as the engine has
 *           them below what is not flushed. A member whose two sums differ is wrong in itself
 *
 * verify.c asks and judges, verify_look.c looks and answers, verify_pass.c goes over all ranges.
 *
 * PEER_FRAME_VERIFY: items, each u8 kind and
 *   1 ask:    u32 group | u64 from | u64 to | u64 term | u64 round | u64 index | u64 prior |
 *             u8 looks | sized key from | sized key to (empty: no end)
 *   2 answer: u32 group | u64 from | u64 to | u64 round | u8 result | u8 looks | u64 writes |
 *             u64 state | u64 u64 memory | u64 u64 engine | u64 rows
 *   3 fence:  u32 group | u64 from | u64 to | u64 term | u64 index | sized text
 * Thread: the worker; jobs on LANE_READ touch a struct verify_look or verify_plan alone. */
#ifndef HOLON_PARTITION_VERIFY_H
#define HOLON_PARTITION_VERIFY_H

#include "base/hash.h"
#include "partition/host_internal.h"

enum {
    VERIFY_WRITES_US = 1000 * 1000, /* from one comparison of writes to the next */
    VERIFY_WRITES_WAIT_US = 2000 * 1000,
    VERIFY_ROWS_WAIT_US = 5 * 1000 * 1000,
    VERIFY_TRIES_MAX = 4, /* of a range, then the group is left for the next pass */
    VERIFY_MARKS = 4,
    VERIFY_RANGE_ROWS = 2048,
    VERIFY_RANGE_BYTES = 1 << 20,
    VERIFY_HELD_ROWS_MAX = 16384, /* a member that holds more in a range cannot look at it */
    VERIFY_HELD_BYTES_MAX = 8 << 20,
    VERIFY_TEXT_MAX = 300,
    VERIFY_URGENT_RATE = 16 << 20, /* bytes a second, where a difference was found */
};

enum verify_item { VERIFY_ASK = 1, VERIFY_ANSWER = 2, VERIFY_FENCE = 3 };
enum verify_looks { VERIFY_LOOK_WRITES = 1, VERIFY_LOOK_STATE = 2, VERIFY_LOOK_ROWS = 4 };
enum verify_result {
    VERIFY_SEEN = 1,
    VERIFY_MISSED = 2, /* more is applied already */
    VERIFY_UNABLE = 3, /* just now */
};

struct verify_ask {
    struct group_id group;
    struct raft_member from; /* the leader; node: whom to answer */
    struct replica_id to;
    uint32_t worker; /* of that node */
    uint64_t term, round, index, prior;
    uint8_t looks;
    struct bytes key_from, key_to;
};

struct verify_answer {
    uint8_t result;
    uint8_t looks; /* that could be made */
    uint64_t writes, state;
    struct hash128 memory, engine;
    uint64_t rows;
};

struct verify_mark {
    uint64_t index, generation;
    struct row_writes writes;
};

struct verify_member {
    struct raft_member member;
    bool voter, answered;
    struct verify_answer answer;
};

struct verify_round { /* of a leader */
    uint64_t id, index, config_index, deadline;
    uint8_t looks;
    uint32_t voters; /* of the configuration, asked or not */
    uint32_t member_count, missing;
    struct verify_member members[2 * RAFT_MEMBERS_MAX];
};

/* A range that is read for an ask. */
struct verify_look {
    struct list link; /* host->verify.looks */
    struct world_job job;
    struct partition_host *host;
    struct verify_ask ask; /* its keys are in `keys` */
    struct buffer keys;
    struct replica_id replica;
    uint64_t generation;
    uint32_t store;
    struct engine *engine;
    struct engine_iterator *iterator;
    struct buffer held; /* what memory has of the range */
    uint32_t held_rows;
    bool held_too_much;
    struct row_drop *drops;
    size_t drop_count;
    uint64_t seed;
    struct verify_answer answer;
    uint64_t bytes;
    enum status status;
    struct error error;
};

struct verify { /* of a replica */
    struct verify_mark marks[VERIFY_MARKS];
    uint32_t mark_count;   /* ever */
    struct verify_ask ask; /* waits until ask.index is applied; round 0: none does */
    struct buffer ask_keys;
    struct verify_look *look; /* its job runs */
    struct verify_round *round;
    uint64_t rounds;
    uint64_t asked_index, asked_at; /* of the last comparison of writes */
    bool urgent;                    /* a difference was found: all rows are looked at at once */
    uint64_t suspects[RAFT_MEMBERS_MAX]; /* ids that differed in this range already */
    uint32_t suspect_count;
};

/* verify.c */
struct verify *verify_of(struct replica *replica);
/* False: none can be begun now. */
bool verify_round_begin(struct replica *replica, uint8_t looks, struct bytes from, struct bytes to);
void verify_round_end(struct replica *replica);
void verify_answered(struct replica *replica, struct replica_id from, uint64_t round,
                     const struct verify_answer *answer);

/* verify_look.c */
void verify_take_ask(struct replica *replica, const struct verify_ask *ask);
void verify_look_cancel(struct verify *verify);
/* A killed process of the simulator closes while they run. */
void verify_looks_free(struct partition_host *host);
struct buffer *verify_frame(struct partition_host *host, node_id_t node, uint32_t worker);

/* verify_pass.c: what became of a range. */
enum verify_outcome { VERIFY_EQUAL, VERIFY_AGAIN, VERIFY_DIFFERS, VERIFY_GIVEN_UP };
void verify_pass_range_done(struct replica *replica, enum verify_outcome outcome);
void verify_pass_urgent(struct partition_host *host);

#endif
