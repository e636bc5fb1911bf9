/* rest_frame.h - the three frames by which groups come to rest (rest.c, decision 0009).
 *
 *   PEER_FRAME_NODE_BEAT of a worker: u64 sent at (boot clock: rises) | i64 wall clock |
 *                        u64 generation, 0: it does not rest | u32 withdrawals
 *   PEER_FRAME_REST      leader's worker -> follower's: u64 generation | per group:
 *                        u32 group | u64 from | u64 to | u64 term
 *   PEER_FRAME_REST_ACK  back: u64 generation | u32 groups, all that were asked | u32 withdrawals
 *
 * withdrawals: how often the worker took back that a replica of its follows at rest. An
 * acknowledgement is void as soon as a beat tells of more of them. */
#ifndef HOLON_PARTITION_REST_FRAME_H
#define HOLON_PARTITION_REST_FRAME_H

#include "base/codec.h"
#include "base/ids.h"

struct rest_beat {
    uint64_t sent_at;
    int64_t wall;
    uint64_t generation;
    uint32_t withdrawals;
};

struct rest_ask_entry {
    struct group_id group;
    struct replica_id from, to;
    uint64_t term;
};

struct rest_ack {
    uint64_t generation;
    uint32_t groups, withdrawals;
};

void rest_beat_encode(const struct rest_beat *beat, struct buffer *buffer);
void rest_ask_begin(struct buffer *buffer, uint64_t generation);
void rest_ask_add(struct buffer *buffer, const struct rest_ask_entry *entry);
void rest_ack_encode(const struct rest_ack *ack, struct buffer *buffer);

/* STATUS_INVALID: cut short, bytes behind, or numbers that no honest node gets to. */
enum status rest_beat_decode(struct bytes payload, struct rest_beat *ret_beat);
enum status rest_ack_decode(struct bytes payload, struct rest_ack *ret_ack);
/* *ret_entries stands before the first entry then. */
enum status rest_ask_decode(struct bytes payload, uint64_t *ret_generation,
                            struct reader *ret_entries);
/* False: that was all. */
bool rest_ask_next(struct reader *entries, struct rest_ask_entry *ret_entry);

#endif
