/* peer_frame.h - the frame that carries everything between nodes, and the handshake.
 *
 * Frame: u32 size (of what follows the first 12 bytes) | u32 crc32c of the size | u32 crc32c |
 * u8 version (1) | u8 kind | u16 worker (of the receiver) | payload. Little-endian. The second
 * CRC covers all that follows it. Both are seeded with crc32c of (cluster id, sender node, sender
 * boot epoch, receiver node), so that a frame of another conversation cannot pass. The first
 * frame each way is a PEER_FRAME_HELLO, with CRC seed 0; or, of who has no place in the cluster, a
 * PEER_FRAME_JOIN, answered by a PEER_FRAME_JOINED, both with seed 0, and then no more. Source:
 * docs/reference/peer-protocol.md.
 */
#ifndef HOLON_WIRE_PEER_FRAME_H
#define HOLON_WIRE_PEER_FRAME_H

#include "base/bytes.h"
#include "base/codec.h"
#include "base/ids.h"

enum { PEER_FRAME_VERSION = 1, PEER_FRAME_HEADER_SIZE = 16 };

enum peer_frame_kind {
    PEER_FRAME_HELLO = 1,
    PEER_FRAME_REFUSE = 2,      /* text: why; the connection closes */
    PEER_FRAME_RAFT = 10,       /* raft messages of many groups (raft/raft_codec.h) */
    PEER_FRAME_HEARTBEATS = 11, /* partition/heartbeat.h */
    PEER_FRAME_HEARTBEAT_ACKS = 12,
    PEER_FRAME_SNAPSHOT = 13, /* partition/snapshot_transfer.h */
    PEER_FRAME_SNAPSHOT_ACK = 14,
    PEER_FRAME_GONE = 15,      /* partition/remove.c: is this replica still a member? */
    PEER_FRAME_NODE_BEAT = 16, /* partition/rest_board.h */
    PEER_FRAME_REST = 17,      /* partition/rest.c: may these groups rest? */
    PEER_FRAME_REST_ACK = 18,
    PEER_FRAME_VERIFY = 19,   /* partition/verify.h: replicas compare themselves */
    PEER_FRAME_REQUESTS = 20, /* gateway to leader (wire/request_frame.h) */
    PEER_FRAME_REPLIES = 21,
    PEER_FRAME_REPLY_ACKS = 22, /* gateway to leader */
    PEER_FRAME_STALE_ASKS = 23, /* worker to worker of a node (wire/stale_frame.h) */
    PEER_FRAME_STALE_ANSWERS = 24,
    PEER_FRAME_RELAY = 25, /* wire/relay_frame.h: to be passed on */
    PEER_FRAME_RELAYED = 26,
    PEER_FRAME_WAY = 27,
    PEER_FRAME_FOUNDING = 30, /* cluster/founding.h */
    PEER_FRAME_TABLE = 31,    /* cluster/table.h: newer placement table */
    PEER_FRAME_STATUS = 32,
    PEER_FRAME_JOIN = 33, /* cluster/join_message.h; the first frame of a connection, no hello */
    PEER_FRAME_JOINED = 34,
    PEER_FRAME_TABLE_CHANGE = 35, /* cluster/view_change.h: what a newer table has changed */
};

enum { PEER_NAME_SIZE_MAX = 64 };

struct peer_hello {
    uint16_t version;
    struct cluster_id cluster; /* zero: founding or empty */
    node_id_t node;
    node_id_t to_node;
    boot_epoch_t epoch;
    store_id_t store;
    uint16_t worker;               /* of the sender */
    uint16_t worker_count;         /* of the sender's node */
    char name[PEER_NAME_SIZE_MAX]; /* NUL-terminated */
};

struct peer_frame {
    uint8_t kind;
    uint16_t worker;
    struct bytes payload;
};

uint32_t peer_frame_seed(struct cluster_id cluster, node_id_t from, boot_epoch_t epoch,
                         node_id_t to);
/* Appends a whole frame. STATUS_FULL: buffer limit. */
enum status peer_frame_append(struct buffer *buffer, uint32_t seed, uint8_t kind, uint16_t worker,
                              struct bytes payload);
/* Takes one frame from the front of `input`. STATUS_OK: *ret_frame borrows from input and
 * *ret_size is what it used. STATUS_NOT_FOUND: more bytes are needed. STATUS_CORRUPT,
 * STATUS_TOO_LARGE, STATUS_VERSION: close the connection. */
enum status peer_frame_parse(struct bytes input, uint32_t seed, size_t payload_max,
                             struct peer_frame *ret_frame, size_t *ret_size);
void peer_hello_encode(const struct peer_hello *hello, struct buffer *buffer);
enum status peer_hello_decode(struct bytes payload, struct peer_hello *ret_hello);

#endif
