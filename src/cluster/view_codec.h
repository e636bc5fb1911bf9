/* view_codec.h - the parts of a cluster view in bytes, shared by the file DIR/table, the frames
 * between nodes and the rows of meta (docs/reference/meta-rows.md). Integers are varints
 * except where a fixed size is named; text is varint length and bytes, no NUL.
 *
 * settings: u8 format (1) | u64 u64 cluster | table epoch | cluster version | partitions |
 *           replicas | u8 reads | u64 u64 hash secret | next replica id
 * node:     id | u64 store | epoch | name | hex id | redis | redis-cluster | peer | admin
 * group:    u16 first slot | u16 last slot | u8 count | count * (node | replica)
 * A whole view is settings | node count | nodes | groups. Thread: any. */
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

/* Sized text into a NUL-terminated field; too long or with a NUL inside: failed and empty. */
void read_text(struct reader *reader, char *ret_text, size_t size_max);

bool cluster_view_slots_covered(const struct cluster_view *view);
/* Fills slot_partition from the groups, which must cover all slots. */
void cluster_view_index_slots(struct cluster_view *view);

#endif
