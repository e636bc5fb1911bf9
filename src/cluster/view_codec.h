/* view_codec.h - the parts of a cluster view in bytes, shared by the file DIR/table, the frames
 * between nodes and the rows of meta (docs/reference/meta-rows.md). Integers are varints
 * except where a fixed size is named; text is varint length and bytes, no NUL.
 *
 * settings: u8 format (1, or 2: from cluster version 2 on) | u64 u64 cluster | table epoch |
 *           cluster version | partitions | replicas | u8 reads | u64 u64 hash secret |
 *           next replica id
 * node:     id | u64 store | epoch | name | hex id | redis | redis-cluster | peer | admin
 * group:    u16 first slot | u16 last slot | u8 count | count * (node | replica)
 * A whole view is settings | node count | nodes | groups; from cluster version 2 on followed by
 * what there is more to say of
 * settings: next node id | from cluster version 3 on: bits of databases with durability memory
 * each node: u8 state | labels
 * each group: u8 moving
 * Rows of meta have the same behind them, where the cluster's version is 2.
 * Thread: any. */
#ifndef HOLON_CLUSTER_VIEW_CODEC_H
#define HOLON_CLUSTER_VIEW_CODEC_H

#include "base/codec.h"
#include "cluster/view.h"

/* 64 nodes of at most 700 bytes and 4098 groups of 8 replicas. */
enum { VIEW_SIZE_MAX = 768 << 10 };

void view_settings_encode(const struct cluster_view *view, struct writer *writer);
/* Also sets group_count. STATUS_CORRUPT, STATUS_VERSION. */
enum status view_settings_decode(struct reader *reader, struct cluster_view *view);
void view_node_encode(const struct view_node *node, struct writer *writer);
void view_node_decode(struct reader *reader, struct view_node *ret_node);
void view_group_encode(const struct view_group *group, struct writer *writer);
void view_group_decode(struct reader *reader, struct view_group *ret_group);

void view_settings_more_encode(const struct cluster_view *view, struct writer *writer);
void view_settings_more_decode(struct reader *reader, struct cluster_view *view);
/* As of a cluster of version 1. The nodes must be there. */
void view_settings_more_none(struct cluster_view *view);
void view_node_more_encode(const struct view_node *node, struct writer *writer);
void view_node_more_decode(struct reader *reader, struct view_node *node);
void view_group_more_encode(const struct view_group *group, struct writer *writer);
void view_group_more_decode(struct reader *reader, struct view_group *group);
static inline bool view_has_more(const struct cluster_view *view)
{
    return view->cluster_version >= VIEW_VERSION_ELASTIC;
}

/* Sized text into a NUL-terminated field; too long or with a NUL inside: failed and empty. */
void read_text(struct reader *reader, char *ret_text, size_t size_max);

bool cluster_view_slots_covered(const struct cluster_view *view);
/* Fills slot_partition from the groups, which must cover all slots. */
void cluster_view_index_slots(struct cluster_view *view);

#endif
