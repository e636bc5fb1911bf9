/* salvage.h - the record of a replica in its engine, for `holon salvage`: read, and rewritten for
 * another replica id and a configuration of its own. Offline: no host has the engine. */
#ifndef HOLON_PARTITION_SALVAGE_H
#define HOLON_PARTITION_SALVAGE_H

#include "raft/raft.h"
#include "storage/engine/engine.h"

struct salvage_record {
    struct replica_id replica;
    uint64_t applied, term;
};

/* STATUS_NOT_FOUND: the engine holds nothing of the group. STATUS_CORRUPT,
 * STATUS_VERSION. */
enum status salvage_record_read(struct engine *engine, struct group_id group,
                                struct salvage_record *ret_record, struct error *error);

struct salvage_rename {
    struct group_id group;
    struct replica_id from, to;
    node_id_t node;
};

/* Records of `from` become records of `to`, whose only member is itself; all others of these
 * groups are deleted, so that their rows count as leftovers; one that cannot be read ends it with
 * its error (STATUS_CORRUPT, STATUS_VERSION). One run: all or nothing. May be repeated. Sorted by
 * group. */
enum status salvage_records_rename(struct engine *engine, const struct salvage_rename *renames,
                                   size_t count, struct error *error);

#endif
