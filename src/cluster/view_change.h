/* view_change.h - the difference of two tables of a cluster: what is sent instead of a whole one,
 * which has half a megabyte where nodes and partitions are many, for a change of one group.
 *
 * Who sends keeps the marks of the table that it had before, a hash of each part; who receives
 * applies the difference to the table it has, if that is the one that was meant. Both sums, of the
 * base and of the result, are checked: two tables of one epoch that differ (a salvage, an old
 * image) are found out, and the whole is asked for.
 *
 * Change: u8 format (1) | varint epoch of the base | u64 sum of the base | u64 sum of the result |
 *         settings and what there is more of them (view_codec.h) | varint count | count * varint id
 *         of all nodes, in order | varint count | count * (node, and more), rising places in that
 *         order, of those that are new or changed | varint count | count * (varint number | group,
 *         and more), rising
 * Only of clusters from version 2 on: all of their nodes know this frame. Thread: any. */
#ifndef HOLON_CLUSTER_VIEW_CHANGE_H
#define HOLON_CLUSTER_VIEW_CHANGE_H

#include "cluster/view.h"

/* A larger difference is none: the whole is sent. */
enum { VIEW_CHANGE_SIZE_MAX = 64 << 10 };

struct view_marks {
    uint64_t epoch; /* 0: of no table */
    uint32_t version;
    uint64_t settings;
    uint32_t node_count;
    node_id_t ids[NODES_MAX];
    uint64_t nodes[NODES_MAX];
    uint32_t group_count;
    uint64_t *groups; /* owned */
};

void view_marks_take(struct view_marks *marks, const struct cluster_view *view); /* zeroed before */
void view_marks_free(struct view_marks *marks);

/* False: there is no base, or the difference is not small. `buffer` is empty then. */
bool view_change_encode(const struct view_marks *base, const struct view_marks *marks,
                        const struct cluster_view *view, struct buffer *buffer);

/* The epoch that it leads to, and that of its base. STATUS_CORRUPT, STATUS_VERSION. */
enum status view_change_epochs(struct bytes bytes, uint64_t *ret_base, uint64_t *ret_epoch);

/* STATUS_OK: *ret_view, initialised before, is the table after it. STATUS_NOT_FOUND: it is meant
 * for another table than `base`. STATUS_CORRUPT, STATUS_VERSION. */
enum status view_change_apply(struct bytes bytes, const struct cluster_view *base,
                              struct cluster_view *ret_view);

#endif
