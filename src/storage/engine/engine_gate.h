/* engine_gate.h - how fast the merges of all stores of a node go together.
 *
 * They are not urgent, and syncs of the log wait for the disk beside them: so each waits piece by
 * piece until its bytes fit the pace. It does not while a store is crowded, for flushes would wait
 * for merges in the end. All stores of a process share the threads that merge: one that is paced
 * holds up the others, so that any crowded one hurries all of them.
 *
 * Thread: any. */
#ifndef HOLON_STORAGE_ENGINE_ENGINE_GATE_H
#define HOLON_STORAGE_ENGINE_ENGINE_GATE_H

#include "storage/engine/engine.h"

enum {
    ENGINE_GATE_STORES_MAX = 64,
    ENGINE_CROWDED_FILES = 20, /* in level 0, of the 24 from which flushes grow; */
    /* while they do not get fewer in that time (its merges fail, say) nobody hurries for it. */
    ENGINE_CROWDED_MOST_US = 300 * 1000 * 1000,
};

struct engine_gate_statistics {
    uint64_t bytes;     /* of rows that went through */
    uint64_t waited_us; /* in sum, as it was asked for */
    uint64_t hurried;   /* pieces that went before the pace had let them */
};

/* `world`: whose clock, and whose threads' rest. `bytes_per_second` > 0. */
struct engine_gate *engine_gate_create(struct world *world, uint64_t bytes_per_second);
/* No store may use it any more. NULL is fine. */
void engine_gate_destroy(struct engine_gate *gate);
/* From now on nothing waits (the disk is nearly full, say), or it does again. */
void engine_gate_hurry(struct engine_gate *gate, bool hurry);
void engine_gate_statistics(struct engine_gate *gate, struct engine_gate_statistics *statistics);

/* For stores. The store is asked how many files it has in level 0, until it leaves. */
void engine_gate_enter(struct engine_gate *gate, struct engine *store);
void engine_gate_leave(struct engine_gate *gate, struct engine *store);
/* So much went through besides, and waited for nothing. */
void engine_gate_count(struct engine_gate *gate, uint64_t bytes);
/* Some store has ENGINE_CROWDED_FILES. Asks all of them: not for each row. */
bool engine_gate_is_crowded(struct engine_gate *gate);
/* 0: `bytes` went through; otherwise us until it is asked again. `must`: they go whatever the pace
 * says, and it answers 0. */
uint64_t engine_gate_take(struct engine_gate *gate, uint64_t bytes, bool must);
/* Rests for so long, but no longer than WORLD_REST_MOST_US. Returns how long it was asked to. */
uint64_t engine_gate_rest(struct engine_gate *gate, uint64_t us);

#endif
