/* founding_message.h - frames of kind PEER_FRAME_FOUNDING, between nodes that have no cluster yet
 * and between such a node and a member of a cluster. Integers little-endian, text as varint
 * length and bytes.
 *
 *   u8 format (1) | u8 kind, then
 *   HELLO, REJOIN: u8 state | u8 wants reply | u64 u64 cluster | u32 proposal | u64 store |
 *            u64 token | u32 partitions | u32 replicas | u8 reads | u32 stores | name | line |
 *            redis | redis-cluster | admin
 *   PROPOSE: u32 proposal | view (view_codec.h) until the end
 *   START:   u64 u64 cluster | u32 proposal
 *   REFUSED: text
 *   JOINED:  u64 token | u32 first epoch | u32 last epoch | u32 stores | view until the end
 * Thread: any. */
#ifndef HOLON_CLUSTER_FOUNDING_MESSAGE_H
#define HOLON_CLUSTER_FOUNDING_MESSAGE_H

#include "base/codec.h"
#include "cluster/view.h"

enum founding_kind {
    FOUNDING_HELLO = 1,
    FOUNDING_PROPOSE = 2,
    FOUNDING_START = 3,
    FOUNDING_REFUSED = 4,
    FOUNDING_REJOIN = 5,
    FOUNDING_JOINED = 6,
};

enum founding_state {
    FOUNDING_EMPTY = 0,
    FOUNDING_ACCEPTED = 1,  /* has the identity of a proposal, waits for START */
    FOUNDING_MEMBER = 2,    /* of a cluster */
    FOUNDING_REPAIRING = 3, /* was a member and lost its log: rejoins, never founds */
};

enum { FOUNDING_LINE_SIZE_MAX = 16 * 200 };

struct founding_settings {
    uint32_t partitions, replicas, stores;
    enum reads_mode reads;
};

struct founding_message {
    enum founding_kind kind;
    /* HELLO, REJOIN: */
    enum founding_state state;
    bool wants_reply;
    struct cluster_id cluster; /* also START */
    uint32_t proposal;         /* also PROPOSE, START */
    store_id_t store;
    uint64_t token; /* of the asking start; also JOINED */
    struct founding_settings settings;
    char name[NODE_NAME_SIZE_MAX];
    char line[FOUNDING_LINE_SIZE_MAX];
    char redis[ADDRESS_SIZE_MAX], redis_cluster[ADDRESS_SIZE_MAX], admin[ADDRESS_SIZE_MAX];
    /* REFUSED: */
    char text[ERROR_TEXT_SIZE_MAX];
    /* JOINED: */
    boot_epoch_t epoch_first, epoch_last;
    /* PROPOSE, JOINED: borrowed */
    struct bytes view;
};

void founding_message_encode(const struct founding_message *message, struct buffer *buffer);
/* STATUS_CORRUPT, STATUS_VERSION. */
enum status founding_message_decode(struct bytes bytes, struct founding_message *ret_message);

#endif
