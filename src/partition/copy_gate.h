/* copy_gate.h - the rate of copies of a node (copy_rate.h) as all of its workers share it, behind a
 * mutex: asked once for each piece of a state, told of syncs each COPY_TELL_US of a worker.
 * Thread: any. */
#ifndef HOLON_PARTITION_COPY_GATE_H
#define HOLON_PARTITION_COPY_GATE_H

#include <stdbool.h>
#include <stdint.h>

struct copy_gate;

/* Bytes a second; 0: the default. `now`: boot clock, as all times here, us. */
struct copy_gate *copy_gate_create(uint64_t rate_least, uint64_t rate_most, uint64_t now);
void copy_gate_destroy(struct copy_gate *gate); /* NULL is fine */

/* As the functions of copy_rate.h. */
/* True: the rate went down. */
bool copy_gate_synced(struct copy_gate *gate, uint64_t us, uint64_t now);
/* 0: `bytes` were taken of the rate, for one who will copy about so much. */
uint64_t copy_gate_take(struct copy_gate *gate, uint64_t bytes, uint64_t now);
/* Whatever the rate is. */
void copy_gate_force(struct copy_gate *gate, uint64_t bytes, uint64_t now);
/* Of what was taken so much was copied: less is given back, more is taken. */
void copy_gate_copied(struct copy_gate *gate, uint64_t taken, uint64_t bytes, uint64_t now);

struct copy_gate_statistics {
    uint64_t rate; /* bytes a second, now */
    uint64_t alone_us, late_us, worst_us;
    uint64_t slowed, bytes; /* counts */
};
void copy_gate_statistics(struct copy_gate *gate, struct copy_gate_statistics *ret);

#endif
