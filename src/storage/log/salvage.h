/* salvage.h - reads what can be read of a damaged log: for `holon salvage`, never for a node.
 *
 * Batches that are damaged, missing or lie on sectors that cannot be read are gaps. Behind a gap
 * nobody knows what was lost, so each group keeps a prefix that is surely one history: an entry
 * behind a gap is taken only if it follows the last one directly and has the same term (a leader
 * never overwrites what it wrote in its own term, so nothing can have come between them). A
 * snapshot record starts afresh: the engine holds everything up to it; so does a release, where
 * entries before it are not there. Entries that were copied forward come out of order, so all is
 * kept with holes first. Changes no file. */
#ifndef HOLON_STORAGE_LOG_SALVAGE_H
#define HOLON_STORAGE_LOG_SALVAGE_H

#include "base/arena.h"
#include "storage/log/log.h"

struct salvaged_group {
    struct group_id group;
    struct replica_id replica; /* the newest that was seen */
    uint64_t term_max;         /* of anything, votes included */
    uint64_t base_index, base_term;
    struct log_entry *entries; /* base_index + 1, without gaps */
    size_t entry_count, entry_capacity;
    bool cut;            /* something behind the last entry is missing, or does not follow it */
    uint64_t seen_index; /* of the last entry that was seen at all */
    bool removed;

    /* While it is read: entries first_index and up, with holes (index 0), each with the number of
     * gaps before it. */
    uint64_t first_index;
    uint64_t *gaps;
    uint64_t base_gaps, gaps_seen;
    uint64_t release_index, release_term;
};

struct log_salvage {
    struct salvaged_group *groups; /* rising; owned */
    size_t group_count, group_capacity;
    uint64_t batches, batches_missing;
    uint64_t bytes_unreadable; /* of blocks that hold something, and no valid batch */
    uint64_t gaps;
    char first_gap[LOG_DAMAGE_FILE_SIZE]; /* file of the first gap; "" if there is none */
    uint64_t first_gap_offset;
    bool mark_lost; /* `durable` cannot be read: nobody knows where the end was */
    uint64_t mark_number, last_number;
    struct cluster_id cluster; /* of the log, from its first batch; none: no valid batch */
    node_id_t node;
    store_id_t store;
    struct arena bodies;
};

/* STATUS_NOT_FOUND: no such directory; then *ret is empty and may be used. STATUS_IO. */
enum status log_salvage_read(struct world *world, const char *directory, struct log_salvage *ret,
                             struct error *error);
void log_salvage_free(struct log_salvage *salvage);
/* NULL: nothing of it was seen, or it was removed. */
const struct salvaged_group *log_salvage_group(const struct log_salvage *salvage, uint32_t group);

#endif
