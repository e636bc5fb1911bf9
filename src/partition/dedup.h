/* dedup.h - who asked for what already: the window of remembered outcomes of one partition
 * (rules B3, B4; Raft thesis 6.3). Part of the replicated state: every replica builds the
 * same one from the log; it travels in the replica record and in snapshots.
 *
 * A gateway bounds how far its seqs in flight spread; each entry carries its watermark, and
 * outcomes at or below it are dropped, so a window stays small. Fences are for ever.
 *
 * A leader also remembers what it has proposed; those slots stand behind the applied ones
 * and go when it steps down (A4). Thread: the partition's worker. */
#ifndef HOLON_PARTITION_DEDUP_H
#define HOLON_PARTITION_DEDUP_H

#include "partition/effects.h"

struct dedup;

struct dedup *dedup_make(void);
void dedup_free(struct dedup *dedup);

enum dedup_result {
    DEDUP_NEW,    /* not seen: evaluate it */
    DEDUP_KNOWN,  /* logged at *ret_index; *ret_outcome is its reply */
    DEDUP_STALE,  /* at or below the watermark */
    DEDUP_FENCED, /* the gateway's epoch is dead */
};

/* *ret_too_big: the outcome was not kept. ret_outcome is borrowed until the next change. */
enum dedup_result dedup_find(const struct dedup *dedup, struct gateway_id gateway, uint64_t seq,
                             uint64_t *ret_index, struct bytes *ret_outcome, bool *ret_too_big);
/* By evaluation on the leader, indexes rising. */
void dedup_propose(struct dedup *dedup, const struct entry_header *header, uint64_t index);
/* In log order, once per entry with a gateway; makes its own proposal permanent. Fences the
 * older epochs of the gateway's node: a later epoch is proof that they are dead. */
void dedup_apply(struct dedup *dedup, const struct entry_header *header, uint64_t index);
/* Effect `fence`: every epoch < epoch of the node is refused and its windows go. */
void dedup_fence(struct dedup *dedup, node_id_t node, boot_epoch_t epoch);
/* Step-down: proposals go. */
void dedup_revert(struct dedup *dedup);

/* The applied part. Decode replaces everything. */
void dedup_encode(const struct dedup *dedup, struct buffer *buffer);
enum status dedup_decode(struct dedup *dedup, struct bytes bytes);
/* Memory that the windows take; O(windows). */
uint64_t dedup_bytes(const struct dedup *dedup);
uint64_t dedup_hash(const struct dedup *dedup);
/* Planted bug of the simulator (WHY 2.1): windows vanish though the gateway lives. */
void dedup_forget_all(struct dedup *dedup);

#endif
