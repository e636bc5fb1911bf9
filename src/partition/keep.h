/* keep.h - what a removed replica had, as a file of quarantine (FAULTS rule 8). A replica that a
 * committed configuration removed is not needed: the files are for people, after a mistake. The
 * newest KEPT_REPLICAS_MAX stay, and the oldest goes first when the disk is full.
 *
 * File QUARANTINE/removed/gGROUP-rREPLICA.rows: "HOLONRM1" | u32 group | u64 replica | items: u8
 * kind | u32 key size | key | u32 value size | stored value. Items of kind KEEP_STORED come first,
 * in key order, the replica's record among them; KEEP_LATER and KEEP_DELETED are newer than those.
 * At the end: u8 KEEP_END | u64 items | u32 crc32c of everything before. Integers little-endian. */
#ifndef HOLON_PARTITION_KEEP_H
#define HOLON_PARTITION_KEEP_H

#include "base/buffer.h"
#include "base/ids.h"
#include "storage/engine/engine.h"
#include "world/world.h"

enum {
    KEPT_REPLICAS_MAX = 16,
    KEEP_STEP_BYTES = 512 << 10, /* made durable at a time: clients wait for syncs beside that */
};

enum keep_kind { KEEP_END = 0, KEEP_STORED = 1, KEEP_LATER = 2, KEEP_DELETED = 3 };

struct keep {
    struct world *world;
    const char *quarantine; /* made if it is not there */
    uint64_t reserve;       /* of the disk: that much stays free */
    struct engine *engine;
    struct group_id group;
    struct replica_id replica;
    struct bytes from, to, record_key; /* in the engine */
    struct bytes later;                /* items */
    const struct engine_pace *pace;    /* NULL: as fast as the disk takes it */
    const atomic_bool *given_up;       /* NULL: never; once it is, STATUS_CLOSED */
    bool once; /* what is there of this replica stays: it may have more than the engine now has */
};

void keep_item(struct buffer *buffer, enum keep_kind kind, struct bytes key, struct bytes value);

/* Durable when it returns; nothing is written if the replica had nothing. Blocks, in a job of
 * LANE_FLUSH. STATUS_NO_SPACE:
 * the oldest file was removed, trying again may help. *ret_engine: it is the engine that failed,
 * and not a file of quarantine. */
enum status keep_replica(const struct keep *keep, bool *ret_engine, struct error *error);

#endif
