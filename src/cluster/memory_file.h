/* memory_file.h - DIR/memory: what a loss of power may have taken from this node (decision 0012).
 *
 * A node that acknowledges entries which are written, and not durable, has this file durable first.
 * A start of the machine that is not the one it names, without a clean stop in between, finds that
 * the node's replicas may have forgotten what they acknowledged: they are named here from then on,
 * and are out, until each was born anew under another id or `holon salvage` takes them back.
 *
 * "HOLONMY1" (sealed_file.h): u8 1: used, 2: forgiven | u64 start of the machine | u32 count |
 * each: u32 group | u64 replica. Calls block; only while starting, or in jobs. */
#ifndef HOLON_CLUSTER_MEMORY_FILE_H
#define HOLON_CLUSTER_MEMORY_FILE_H

#include "base/ids.h"
#include "cluster/sealed_file.h"

enum { MEMORY_LOST_MAX = 8192 }; /* more groups than a cluster has */

struct memory_lost {
    struct group_id group;
    struct replica_id replica;
};

struct memory_file {
    bool used;        /* what is written was acknowledged, since that start of the machine */
    bool forgiven;    /* by `holon salvage`: nothing is put out, but the log may lack something */
    uint64_t machine; /* world_machine_start() */
    uint32_t count;
    struct memory_lost *lost; /* owned */
};

/* STATUS_NOT_FOUND: there is none, and *ret_file is empty. STATUS_CORRUPT, STATUS_VERSION,
 * STATUS_IO. */
enum status memory_file_load(struct world *world, const char *directory,
                             struct memory_file *ret_file, struct error *error);
/* As one durable step; the file goes if nothing is left to say. */
enum status memory_file_save(struct world *world, const char *directory,
                             const struct memory_file *file, struct error *error);
void memory_file_free(struct memory_file *file);
bool memory_file_has(const struct memory_file *file, struct group_id group,
                     struct replica_id replica);
void memory_file_add(struct memory_file *file, struct group_id group, struct replica_id replica);
/* The machine was started since: what was written then, and not synced, may be gone. */
bool memory_file_lost_power(const struct memory_file *file, uint64_t machine);

#endif
