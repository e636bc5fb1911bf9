/* sim_txns.h - simulated clients of transactions: MULTI, WATCH, MSET and MGET over keys of all
 * partitions, through any node, written down for the checkers (checkers/serializable.h, bank.h).
 *
 * What they do: append to lists and read several of them; read and write registers, blindly and
 * under WATCH; move money between accounts and add all of them up. Connections are lost and
 * outcomes stay unknown as it happens. They live on a machine of their own that never fails.
 * Thread: one. */
#ifndef HOLON_SIM_SIM_TXNS_H
#define HOLON_SIM_SIM_TXNS_H

#include "sim/sim_process.h"

enum { SIM_TXN_CLIENTS_MAX = 16, SIM_TXN_KEYS_MAX = 24 };

struct sim_txns_options {
    uint32_t clients;
    uint32_t lists, registers, accounts; /* at most SIM_TXN_KEYS_MAX each */
    uint64_t think_min, think_max;       /* us */
    uint64_t give_up;                    /* a client waits no longer for a reply */
    bool snapshots;                      /* some of them read at a HOLON.SNAPSHOT */
};

struct sim_txns;

struct sim_txns *sim_txns_make(struct sim *sim, const struct sim_txns_options *options,
                               const char (*addresses)[64], uint32_t address_count);
void sim_txns_free(struct sim_txns *txns); /* before sim_free() */
void sim_txns_start(struct sim_txns *txns);
/* No new transactions; then sim_txns_idle() once all are answered. */
void sim_txns_stop(struct sim_txns *txns);
bool sim_txns_idle(const struct sim_txns *txns);
/* Committed so far. */
uint64_t sim_txns_committed(const struct sim_txns *txns);
/* Of which all was read at a snapshot. */
uint64_t sim_txns_snapshots(const struct sim_txns *txns);
/* Nodes (bit 1 << node) that clients may connect to from now on. */
void sim_txns_use(struct sim_txns *txns, uint32_t nodes);
/* Reads all keys in one more transaction; sim_txns_judged() once it has. */
void sim_txns_judge(struct sim_txns *txns);
bool sim_txns_judged(const struct sim_txns *txns);
/* The verdict over all that was seen: a violation, or nothing. */
void sim_txns_check(struct sim_txns *txns);

#endif
