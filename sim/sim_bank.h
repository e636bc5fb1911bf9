/* sim_bank.h - simulated clients that move money between 64 accounts, one in each partition,
 * through all nodes, and others that count it. It keeps no history, so a run may go on for hours.
 *
 * Each mover has a counter that every transfer of its own increments in the same transaction, so
 * the counter tells how many were done. After one of unknown outcome the mover goes on with a fresh
 * counter: so each is what was acknowledged on it, and at most one more. What must hold:
 *
 *   T-2  the accounts add up to the same total in every read of all of them, and in every snapshot
 *   T-1  no counter is less than what anybody had been told before the read began (or before the
 *        snapshot was asked for): no transfer that was acknowledged is lost
 *   T-5  no counter is more than what was acknowledged when the read ends (or the snapshot is
 *        open), and one if that is under way or unknown: no transfer is done twice; and whoever
 *        moved money is told the next number of its counter
 *   V-5  once everything is healed, nobody waits for longer than the nodes' patience, and no
 *        snapshot goes before its time
 *
 * They live on a machine of their own that never fails. Thread: one. */
#ifndef HOLON_SIM_SIM_BANK_H
#define HOLON_SIM_SIM_BANK_H

#include "sim/sim_process.h"

enum { SIM_BANK_ACCOUNTS = 64, SIM_BANK_MOVERS_MAX = 32, SIM_BANK_CLIENTS_MAX = 48 };

struct sim_bank_options {
    uint32_t partitions; /* of the cluster */
    uint32_t
        movers; /* half of what they do is WATCH, GET, MULTI, SET, EXEC, half INCRBY in MULTI */
    uint32_t readers;   /* of all accounts and counters at one instant; each stays at its node */
    uint32_t snapshots; /* clients that open one, wait, and read at it */
    uint64_t think_min, think_max;       /* us, of movers; log-uniform */
    uint64_t read_min, read_max;         /* us between two reads of a reader */
    uint64_t snapshot_min, snapshot_max; /* us between two snapshots of a client */
    uint64_t give_up;                    /* a client waits no longer for a reply */
};

struct sim_bank_counts {
    uint64_t busy_us; /* in which clients were at work */
    uint64_t transfers, reads, snapshots;
    uint64_t snapshots_cut; /* for whoever was at work with one, the connection was */
    uint64_t conflicts, unknown, refused, lost; /* transfers; answers; connections */
};

struct sim_bank;

/* Address i belongs to node i + 1. */
struct sim_bank *sim_bank_make(struct sim *sim, const struct sim_bank_options *options,
                               const char (*addresses)[64], uint32_t address_count);
void sim_bank_free(struct sim_bank *bank); /* before sim_free() */
/* Brings the money in; nobody may fail until sim_bank_is_open(). */
void sim_bank_open(struct sim_bank *bank);
bool sim_bank_is_open(const struct sim_bank *bank);
/* From now on clients work; they may do so again after sim_bank_stop(). */
void sim_bank_start(struct sim_bank *bank);
/* Nothing new; then sim_bank_is_idle() once everybody is answered. */
void sim_bank_stop(struct sim_bank *bank);
bool sim_bank_is_idle(const struct sim_bank *bank);
/* No fault from now on: V-5. */
void sim_bank_healed(struct sim_bank *bank);
/* Each reader reads everything, and all counters that were ever used, until sim_bank_is_audited().
 * While nobody moves money T-1 and T-5 say together that each is what was acknowledged, and that of
 * an unknown outcome that or one more. */
void sim_bank_audit(struct sim_bank *bank);
bool sim_bank_is_audited(const struct sim_bank *bank);
struct sim_bank_counts sim_bank_counts(const struct sim_bank *bank);

#endif
