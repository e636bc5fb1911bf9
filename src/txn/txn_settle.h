/* txn_settle.h - what the two files share that settle what transactions left behind.
 *
 *   txn_settle.c         which rows there are, and when something is to be done about them
 *   txn_settle_ask.c     what is done: RESOLVE, QUERY, FORGET */
#ifndef HOLON_TXN_TXN_SETTLE_H
#define HOLON_TXN_TXN_SETTLE_H

#include "txn/txn_internal.h"

enum {
    QUERY_AFTER_US = 300 * 1000, /* and again after as much */
    ABORT_AFTER_US = 1000 * 1000,
    RETRY_FIRST_US = 100 * 1000, /* what was not answered */
    RETRY_LAST_US = 5 * 1000 * 1000,
    FORGET_FIRST_US = 1000 * 1000, /* what may still be asked for */
    FORGET_LAST_US = 5 * 1000 * 1000,
    FULL_RETRY_US = 1000 * 1000,
};

struct settled_group {
    struct txn_worker *worker;
    struct group_id group;
    struct list changed; /* of the worker; else linked to itself */
    struct list rows;    /* in the order of their keys */
    struct list due;     /* those to be acted upon */
    bool partial;        /* there are more */
};

struct target { /* a participant that is to be told */
    struct unsettled *row;
    struct group_id group;
    bool told;
    struct txn_errand *errand;
};

struct unsettled { /* a row */
    struct settled_group *group;
    struct list link, due;
    uint8_t key[TXN_ROW_KEY_SIZE];
    enum txn_row_kind kind;
    struct txn_id id;
    uint64_t since; /* boot clock: known here */
    struct world_timer timer;
    uint64_t retry, forget;    /* us: before it is tried once more */
    struct txn_errand *errand; /* the one to its primary, or to its own group */
    bool decided;              /* the outcome is known */
    enum txn_outcome outcome;
    uint32_t target_count, untold;
    struct target targets[];
};

/* The row is gone, or is another leader's matter. */
void unsettled_free(struct unsettled *row);
/* Something is to be done about it: at once, after `delay`, or when it is tried once more. */
void unsettled_due(struct unsettled *row);
void unsettled_later(struct unsettled *row, uint64_t delay);
void unsettled_retry(struct unsettled *row);
/* `*delay` as it was; twice that from now on, up to `last`. */
static inline uint64_t delay_doubled(uint64_t *delay, uint64_t last)
{
    uint64_t now = *delay;
    *delay = now * 2 < last ? now * 2 : last;
    return now;
}

/* txn_settle_ask.c */
/* Does what is due. May free it. */
void unsettled_act(struct unsettled *row);

#endif
