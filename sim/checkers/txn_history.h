/* txn_history.h - transactions over several keys as their clients saw them: what a checker judges
 * (serializable.h, bank.h). Two kinds of keys: lists, to which values are appended, and registers,
 * which begin as 0.
 *
 * A workload begins a transaction when it sends it, adds its operations in the order in which they
 * are executed, gives the results of reads when they arrive, and ends it:
 *
 *   uint32_t txn = sim_txn_begin(&history, client, now);
 *   sim_txn_append(&history, txn, 7, 1001);
 *   uint32_t read = sim_txn_list(&history, txn, 7);
 *   ...the reply:
 *   sim_txn_list_is(&history, read, values, count);
 *   sim_txn_end(&history, txn, SIM_TXN_COMMITTED, now);
 *
 * Transactions of several clients may be recorded at the same time. A client has one at a time:
 * who pipelines is several clients. Numbers stay valid, pointers do not. The history owns all its
 * memory. Thread: one. */
#ifndef HOLON_SIM_CHECKERS_TXN_HISTORY_H
#define HOLON_SIM_CHECKERS_TXN_HISTORY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { SIM_TXN_OPS_MAX = 64 }; /* of one transaction */
#define SIM_TXN_NONE UINT32_MAX

enum sim_txn_op_kind {
    SIM_TXN_APPEND,
    SIM_TXN_LIST, /* reads a list */
    SIM_TXN_WRITE,
    SIM_TXN_READ, /* reads a register */
};

enum sim_txn_outcome {
    SIM_TXN_OPEN, /* judged as UNKNOWN */
    SIM_TXN_COMMITTED,
    SIM_TXN_FAILED,  /* surely without effect, now and later */
    SIM_TXN_UNKNOWN, /* may have happened, or may still */
};

struct sim_txn_op {
    uint8_t kind; /* enum sim_txn_op_kind */
    bool known;   /* of a read: the result was given */
    uint32_t key;
    uint32_t txn;
    uint32_t next;       /* of the same transaction, or SIM_TXN_NONE */
    uint32_t list_count; /* LIST */
    size_t list_at;      /* LIST: the first one in `values` */
    uint64_t value;      /* of the other kinds: written or read */
};

struct sim_txn {
    uint32_t client;
    uint8_t outcome;      /* enum sim_txn_outcome */
    uint32_t first, last; /* operations */
    uint32_t op_count;
    uint64_t invoked;
    uint64_t returned; /* UINT64_MAX unless COMMITTED or FAILED */
};

struct sim_txn_history {
    struct sim_txn *txns;
    uint32_t txn_count, txn_capacity, txns_max;
    struct sim_txn_op *ops;
    uint32_t op_count, op_capacity;
    uint64_t *values;
    size_t value_count, value_capacity, values_max;
    uint64_t lists_dropped; /* results of reads for which there was no room */
};

/* txns_max <= UINT32_MAX / SIM_TXN_OPS_MAX. values_max bounds the values of all lists read. */
void sim_txn_history_init(struct sim_txn_history *history, uint32_t txns_max, size_t values_max);
void sim_txn_history_free(struct sim_txn_history *history);

/* Its number. SIM_TXN_NONE: txns_max is reached; the transaction must not be sent, or others would
 * read what nobody wrote. */
uint32_t sim_txn_begin(struct sim_txn_history *history, uint32_t client, uint64_t now);
/* Each returns the number of the operation; at most SIM_TXN_OPS_MAX. Values are unique for each
 * key, failed transactions included; 0 is never written to a register. */
uint32_t sim_txn_append(struct sim_txn_history *history, uint32_t txn, uint32_t key,
                        uint64_t value);
uint32_t sim_txn_list(struct sim_txn_history *history, uint32_t txn, uint32_t key);
uint32_t sim_txn_write(struct sim_txn_history *history, uint32_t txn, uint32_t key, uint64_t value);
uint32_t sim_txn_read(struct sim_txn_history *history, uint32_t txn, uint32_t key);
/* The result of a read; without one it says nothing. Copies. If values_max does not allow it, the
 * read stays without a result. */
void sim_txn_list_is(struct sim_txn_history *history, uint32_t op, const uint64_t *values,
                     uint32_t count);
void sim_txn_read_is(struct sim_txn_history *history, uint32_t op, uint64_t value);
/* Once, and not before it began. */
void sim_txn_end(struct sim_txn_history *history, uint32_t txn, enum sim_txn_outcome outcome,
                 uint64_t now);

static inline const uint64_t *sim_txn_list_values(const struct sim_txn_history *history,
                                                  const struct sim_txn_op *op)
{
    return history->values + op->list_at;
}

/* Shares of outcomes, to prove that a run was worth something (FAULTS section 4). */
struct sim_txn_counts {
    uint64_t committed, failed, unknown, open;
    uint64_t writes;      /* of committed ones */
    uint64_t reads;       /* with a result, of committed ones */
    uint64_t reads_empty; /* of those: an empty list, or 0 */
};
struct sim_txn_counts sim_txn_history_count(const struct sim_txn_history *history);

#endif
