/* salvage_plan.h - DIR/salvaging: what a `holon salvage` has decided to do, so that it is finished
 * after a crash and never half done. While it is there the node does not start.
 *
 *   DIR/salvage/   the new log, table and identity, complete before the plan is written
 *   step 1         records in the stores get their new replica ids; old files go to quarantine
 *   step 2         the new files take their places, the identity last; the plan is removed
 *
 * File: "HOLONSV1" (sealed_file.h), u8 step | quarantine | u32 stores | u64 stores that are lost
 *   (bits) | u32 count, each: u32 group | u64 old replica | u64 new replica */
#ifndef HOLON_CLUSTER_SALVAGE_PLAN_H
#define HOLON_CLUSTER_SALVAGE_PLAN_H

#include "cluster/repair_file.h"

enum salvage_step { SALVAGE_MOVING = 1, SALVAGE_PLACING = 2 };

struct salvage_rename_id {
    uint32_t group;
    struct replica_id from, to; /* from 0: nothing of it is kept */
};

struct salvage_plan {
    enum salvage_step step;
    char quarantine[QUARANTINE_NAME_SIZE];
    uint32_t stores;
    uint64_t stores_lost; /* bits */
    uint32_t rename_count;
    struct salvage_rename_id *renames; /* owned; rising groups */
};

/* STATUS_NOT_FOUND: no salvage is under way. STATUS_CORRUPT. */
enum status salvage_plan_load(struct world *world, const char *directory,
                              struct salvage_plan *ret_plan, struct error *error);
enum status salvage_plan_save(struct world *world, const char *directory,
                              const struct salvage_plan *plan, struct error *error);
enum status salvage_plan_remove(struct world *world, const char *directory, struct error *error);
void salvage_plan_free(struct salvage_plan *plan);

#endif
