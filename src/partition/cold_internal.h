/* cold_internal.h - requests that are parked, shared by cold.c (rows of the engine, heavy ones) and
 * cold_locked.c (locks of transactions) and cold_row.c (rows that others write). Not for other
 * modules. */
#ifndef HOLON_PARTITION_COLD_INTERNAL_H
#define HOLON_PARTITION_COLD_INTERNAL_H

#include "partition/host_internal.h"

enum parked_state {
    PARKED_WAITS,    /* behind an earlier one of its client */
    PARKED_QUEUED,   /* its rows are to be read */
    PARKED_FETCHING, /* its rows are being read */
    PARKED_DELAYED,  /* a read failed: again in a moment */
    PARKED_HEAVY,    /* light requests of others go first */
    PARKED_LOCKED,   /* a transaction holds what it needs */
    PARKED_ROW,      /* somebody else has to write a row, or time to pass */
    PARKED_UNLOCKED, /* either may have happened */
    PARKED_RUNS,
};

struct parked {
    struct list by_replica;  /* in the order in which they came */
    struct list by_queue;    /* of the host's queue, of a job, of those delayed or heavy */
    struct replica *replica; /* NULL: dropped while its rows are read */
    struct gateway_id gateway;
    bool local;
    bool governed; /* had to wait as heavy, and need not again */
    bool overdue;  /* ... for too long */
    bool light;    /* waits among heavy ones for the next turn only */
    bool left_out; /* nothing of what it wants was in its job */
    bool alone;    /* a read failed: its own job, so that the cause is found */
    uint64_t route;
    struct request_item item; /* body is in `body` */
    enum parked_state state;
    int64_t time;
    uint64_t parked_at; /* boot clock, for the first time */
    uint32_t rounds, errors;
    struct buffer wanted; /* as row_context.h has it */
    uint32_t wanted_count;
    struct row_range *ranges; /* owned; room for the next power of two */
    uint32_t range_count;
    uint64_t evictions; /* of the table when they were loaded */
    /* Of the table when the read began: what it gives is stale if one of them moved. */
    uint64_t flush_generation, cold_generation;
    /* PARKED_ROW: */
    int64_t waits_since; /* as row_context has it */
    uint64_t wakes_at;   /* boot clock */
    uint64_t row_hash, row_turn;
    size_t size;
    uint8_t body[];
};

static inline bool parked_is_of(const struct parked *parked, struct gateway_id gateway)
{
    return parked->gateway.node == gateway.node && parked->gateway.worker == gateway.worker;
}

static inline struct parked *parked_at(struct list *link)
{
    return CONTAINER_OF(link, struct parked, by_replica);
}

static inline bool parked_is_locked(const struct parked *parked)
{
    return parked->state == PARKED_LOCKED || parked->state == PARKED_UNLOCKED;
}

/* cold.c */
/* How many are parked of clients like this one: most that come have none, and need no walk. */
uint16_t *parked_count_of(const struct replica *replica, struct gateway_id gateway,
                          uint16_t client);
/* NULL: too much is parked. */
struct parked *parked_make(struct replica *replica, const struct session *session, uint64_t route,
                           const struct request_item *item);
/* Its leader leads still. */
bool parked_may_go_on(const struct parked *parked);
/* Its job answered it, or nobody waits for that: frees it. The next of its client goes on. */
void parked_answered(struct partition_host *host, struct parked *parked, uint64_t now);
/* Evaluates it, and frees it unless it is parked again. */
void parked_run_again(struct parked *parked, uint64_t now);

/* cold_locked.c */
/* What is for a transaction waits behind what is parked of the same one, and for nothing else: it
 * ends what others wait for. */
bool parked_txn_of(struct replica *replica, const struct session *session,
                   const struct request_item *item);
void cold_on_unlocked(struct world_timer *timer);

/* cold_row.c */
/* It is not one of those that wait for rows any more. */
void parked_leave_row(struct parked *parked);
void cold_on_row_timer(struct world_timer *timer);

#endif
