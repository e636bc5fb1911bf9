/* sim_salvage.h - `holon salvage` on the disk of a node that is down: src/node/salvage.c over the
 * simulated files and engines, in a process that a crash may end at any of its effects (calls that
 * change a disk, runs that an engine takes in). */
#ifndef HOLON_SIM_SIM_SALVAGE_H
#define HOLON_SIM_SIM_SALVAGE_H

#include "node/salvage.h"
#include "sim/sim_cluster.h"

struct sim_salvage {
    bool died; /* the rest says nothing */
    enum status status;
    enum salvage_outcome outcome;
    struct error error;
    uint64_t told;    /* hash of what was said */
    uint64_t effects; /* it had */
};

/* At once, in no time. `effects`: it ends before its n-th effect, as `how` says; 0: not. */
void sim_salvage_run(struct sim_node *node, enum salvage_wish wish, uint64_t effects,
                     enum sim_end how, struct sim_salvage *ret);

/* Hash of what the data groups of a directory hold: entries of the log, rows and applied indexes of
 * the stores; ids, terms and places are left out. While down. */
uint64_t sim_salvage_digest(struct sim_node *node);

#endif
