/* sim_txns_internal.h - shared by sim_txns.c (connections, the verdict) and sim_txns_work.c (what
 * is sent, and what comes back). */
#ifndef HOLON_SIM_SIM_TXNS_INTERNAL_H
#define HOLON_SIM_SIM_TXNS_INTERNAL_H

#include "base/buffer.h"
#include "sim/checkers/bank.h"
#include "sim/sim_resp.h"
#include "sim/sim_txns.h"

enum {
    SIM_TXN_STEPS_MAX = SIM_TXN_KEYS_MAX,
    /* Numbers of keys in the history. */
    SIM_TXN_FIRST_REGISTER = 100,
    SIM_TXN_FIRST_ACCOUNT = 200,
};

enum sim_txn_phase {
    SIM_TXN_IDLE,
    SIM_TXN_LOOKS,    /* WATCH and what is read under it were sent */
    SIM_TXN_EXECUTES, /* what ends it was sent */
    SIM_TXN_OPENS,    /* HOLON.SNAPSHOT OPEN was sent */
    SIM_TXN_WAITS,    /* it is open; others go on meanwhile */
    SIM_TXN_READS,    /* what reads at it, and CLOSE, were sent */
};

enum sim_txn_shape {
    SIM_TXN_SHAPE_MULTI,    /* MULTI, steps, EXEC */
    SIM_TXN_SHAPE_UPDATE,   /* WATCH and GET, then MULTI, SET, EXEC */
    SIM_TXN_SHAPE_MSET,     /* one command */
    SIM_TXN_SHAPE_MGET,     /* one command, of registers, */
    SIM_TXN_SHAPE_TRANSFER, /* as UPDATE, of two accounts */
    SIM_TXN_SHAPE_AUDIT,    /* of all accounts, by MGET or in a MULTI */
    SIM_TXN_SHAPE_SNAPSHOT, /* all keys, or all accounts, at a snapshot */
};

struct sim_txn_step {
    uint8_t kind; /* enum sim_txn_op_kind */
    uint32_t key; /* in the history */
    uint32_t op;  /* in the history; SIM_TXN_NONE: it is not there (a write that may fail) */
    uint64_t value;
};

struct sim_txn_client {
    struct sim_txns *txns;
    uint32_t number, node;
    bool judge, connecting, judged;
    struct stream *stream;
    struct buffer input;
    struct world_timer next, give_up;
    enum sim_txn_phase phase;
    enum sim_txn_shape shape;
    struct sim_txn_history *history; /* that the transaction is in */
    uint32_t txn;
    struct sim_txn_step steps[SIM_TXN_STEPS_MAX];
    uint32_t step_count;
    uint32_t replies_due; /* of this phase */
    uint32_t replies_taken;
    bool queue_failed;
    bool read_failed;     /* of a snapshot */
    uint64_t snapshot_at; /* it was open */
};

struct sim_txns {
    struct sim *sim;
    struct sim_txns_options options;
    struct sim_machine machine;
    struct sim_process *process;
    char addresses[64][64];
    uint32_t address_count, nodes;
    struct sim_txn_client *all[SIM_TXN_CLIENTS_MAX + 1]; /* the last: the judge */
    uint32_t count;
    bool running, opened; /* money is there */
    uint64_t value_last;
    uint64_t committed, conflicts, snapshots;
    struct sim_txn_history history, bank;
};

/* sim_txns_work.c */
/* Draws a transaction and sends what comes first. */
void sim_txn_send(struct sim_txn_client *client);
/* Takes the replies in `input`; false: the stream is to be closed. */
bool sim_txn_replies(struct sim_txn_client *client);
/* What the shapes share. */
void sim_txn_add_step(struct sim_txn_client *client, enum sim_txn_op_kind kind, uint32_t key,
                      uint64_t value);
void sim_txn_send_step(struct buffer *output, const struct sim_txn_step *step);
bool sim_txn_take_result(struct sim_txn_client *client, struct sim_txn_step *step,
                         const struct sim_reply *reply);
void sim_txn_unexpected(struct sim_txn_client *client, const struct sim_reply *reply);
void sim_txn_ended(struct sim_txn_client *client, enum sim_txn_outcome outcome, uint64_t at);

/* sim_txns_snapshot.c */
void sim_txn_snapshot_open(struct sim_txn_client *client);
/* The timer of a client that waits with an open snapshot. */
void sim_txn_snapshot_read(struct sim_txn_client *client);
/* False: the connection is to be closed. */
bool sim_txn_snapshot_reply(struct sim_txn_client *client, const struct sim_reply *reply);

/* The connection is lost. */
void sim_txn_lost(struct sim_txn_client *client);

#endif
