/* sim_locks.h - simulated clients of locks: they take one, think for about as long as they may hold
 * it, or longer, write a register under it, and give it back or not.
 *
 * The write is a GETSET of the token under HOLON.GUARD, so its answer tells whose write was
 * accepted before. What must hold, of each lock:
 *
 *   L-1  a guarded write finds the token of an earlier holder, never its own or that of a later one
 *   L-2  ... and none that is older than a write which was acknowledged before it began
 *   L-3  a token is greater than every one that was told before it was asked for
 *   L-4  whoever waits is served before those who came long after (where no faults are)
 *   L-5  everybody is answered, and rows of locks go away
 *
 * They live on a machine of their own that never fails. Thread: one. */
#ifndef HOLON_SIM_SIM_LOCKS_H
#define HOLON_SIM_SIM_LOCKS_H

#include "sim/sim_process.h"

enum { SIM_LOCK_CLIENTS_MAX = 16, SIM_LOCKS_MAX = 8 };

struct sim_locks_options {
    uint32_t clients, locks;
    uint64_t ttl_min, ttl_max; /* us */
    uint64_t wait_max;         /* us */
    uint64_t give_up;          /* a client waits no longer for a reply, beside what it asked for */
    bool judge_order;          /* L-4 */
};

struct sim_locks;

struct sim_locks *sim_locks_make(struct sim *sim, const struct sim_locks_options *options,
                                 const char (*addresses)[64], uint32_t address_count);
void sim_locks_free(struct sim_locks *locks); /* before sim_free() */
void sim_locks_start(struct sim_locks *locks);
/* Takes no more locks; then sim_locks_idle() once everybody is answered. */
void sim_locks_stop(struct sim_locks *locks);
bool sim_locks_idle(const struct sim_locks *locks);
/* So far. */
struct sim_locks_counts {
    uint64_t taken, accepted, lost; /* locks, guarded writes, those that were refused */
};
struct sim_locks_counts sim_locks_counts(const struct sim_locks *locks);

#endif
