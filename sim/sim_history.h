/* sim_history.h - what clients asked and were told, as seen from outside: the judge's only
 * evidence. Times are virtual. Thread: one. */
#ifndef HOLON_SIM_SIM_HISTORY_H
#define HOLON_SIM_SIM_HISTORY_H

#include "base/bytes.h"

enum sim_op_kind {
    SIM_OP_GET,
    SIM_OP_SET,
    SIM_OP_DEL,
    SIM_OP_SETNX,
    SIM_OP_GETSET,
    SIM_OP_INCR,
    SIM_OP_APPEND,
    SIM_OP_SET_EXPIRING,
    SIM_OP_READS,     /* HOLON.READS stale `argument` */
    SIM_OP_STALE_GET, /* behind it; of a register */
    SIM_OP_LAST,      /* HOLON.READS LAST, right behind one of those */
};

enum sim_outcome {
    SIM_PENDING,
    SIM_DONE,     /* a reply that is no error */
    SIM_UNKNOWN,  /* connection lost, -UNKNOWN: may have happened or may still */
    SIM_NOT_DONE, /* -UNAVAILABLE, -BUSY: surely did not */
};

enum sim_key_kind { SIM_KEY_REGISTER, SIM_KEY_COUNTER, SIM_KEY_ORDER, SIM_KEY_EXPIRY };

struct sim_op {
    uint32_t client;
    uint32_t session;  /* one connection of one client; unique over the run */
    uint32_t position; /* in its session */
    uint32_t key;
    uint8_t kind;     /* enum sim_op_kind */
    uint8_t outcome;  /* enum sim_outcome */
    bool error_reply; /* ended by an error and not by a lost connection */
    bool found;       /* GET, GETSET: there was a value */
    uint32_t node;
    int64_t argument;      /* SET, SETNX, GETSET: value, unique over the run; APPEND: token size */
    int64_t result;        /* value, count, or length; GET of an ORDER key: its length */
    uint64_t content_hash; /* GET of an ORDER key */
    uint64_t expiry;       /* SET_EXPIRING: microseconds */
    uint64_t bound;        /* STALE_GET: microseconds; what LAST said, if it did */
    uint64_t invoked;
    uint64_t returned; /* UINT64_MAX unless SIM_DONE */
};

struct sim_history {
    struct sim_op *ops;
    uint32_t count, capacity;
    uint32_t key_count;
    uint8_t *key_kinds; /* enum sim_key_kind, by key */
    /* Read by the judge when all is quiet; ORDER keys. data NULL: was not read. */
    struct bytes *finals;
};

void sim_history_init(struct sim_history *history, uint32_t key_count);
void sim_history_free(struct sim_history *history);
/* Returns its number; ops may move when one is added. */
uint32_t sim_history_add(struct sim_history *history, const struct sim_op *op);

/* Copies the value. */
void sim_history_set_final(struct sim_history *history, uint32_t key, struct bytes value);

/* Shares of outcomes, to prove that a run was worth something (FAULTS section 4). */
struct sim_history_counts {
    uint64_t done, unknown, not_done, pending, found, absent, writes;
    uint64_t conflict; /* SETNX of a key that is there, DEL of one that is not */
};
struct sim_history_counts sim_history_count(const struct sim_history *history);

#endif
