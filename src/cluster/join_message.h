/* join_message.h - how a node without a cluster asks a member for a place in it, and what it
 * gets: one frame each way on a connection of its own, which says no hello (transport.h).
 *
 * PEER_FRAME_JOIN: u8 format | u8 kind | u64 u64 cluster | u64 store | u64 nonce |
 *   u32 newest cluster version it knows | i64 wall clock, us | u32 partitions, replicas, stores |
 *   u8 reads | name | redis | redis-cluster | peer | admin | labels | u8 has secret | 32 bytes
 * PEER_FRAME_JOINED: u8 format | u8 result | u64 u64 cluster | text | DONE: u32 node |
 *   u32 first, last of its boot epochs | u32 stores | view (view_codec.h)
 *
 * Asked again, with the same store, nonce and name, it gets the same place (meta_members.c).
 * Pure; thread: any. */
#ifndef HOLON_CLUSTER_JOIN_MESSAGE_H
#define HOLON_CLUSTER_JOIN_MESSAGE_H

#include "base/buffer.h"
#include "cluster/join_token.h"
#include "cluster/view.h"

enum { JOIN_MESSAGE_SIZE_MAX = 2048 };

enum join_kind {
    JOIN_ASK = 1,   /* for a place */
    JOIN_CHECK = 2, /* it has one: is that in the cluster of whoever answers? */
};

struct join_message {
    enum join_kind kind;
    struct cluster_id cluster; /* CHECK: its own */
    store_id_t store;
    uint64_t nonce;           /* random, of this joining */
    uint32_t cluster_version; /* the newest that it knows */
    int64_t wall_time;
    /* As given on its command line; 0, 0xff: not given. */
    uint32_t partitions, replicas, stores;
    uint8_t reads;
    char name[NODE_NAME_SIZE_MAX];
    char redis[ADDRESS_SIZE_MAX], redis_cluster[ADDRESS_SIZE_MAX];
    char peer[ADDRESS_SIZE_MAX], admin[ADDRESS_SIZE_MAX];
    char labels[LABELS_SIZE_MAX];
    bool has_secret;
    uint8_t secret[JOIN_SECRET_SIZE];
};

enum { JOIN_READS_NOT_GIVEN = 0xff };

enum join_result {
    JOIN_DONE = 0,
    JOIN_REFUSED = 1, /* text: why, and what to do */
    JOIN_LATER = 2,   /* text: why; ask again, or somebody else */
    JOIN_MEMBER = 3,  /* to a check: `cluster` is that of who answers */
};

struct join_answer {
    enum join_result result;
    struct cluster_id cluster;
    char text[ERROR_TEXT_SIZE_MAX];
    node_id_t node;
    boot_epoch_t epoch_first, epoch_last;
    uint32_t stores;
    struct bytes view; /* encoded; borrowed */
};

void join_message_encode(const struct join_message *message, struct buffer *buffer);
enum status join_message_decode(struct bytes bytes, struct join_message *ret_message);
void join_answer_encode(const struct join_answer *answer, struct buffer *buffer);
enum status join_answer_decode(struct bytes bytes, struct join_answer *ret_answer);

#endif
