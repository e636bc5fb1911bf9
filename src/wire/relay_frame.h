/* relay_frame.h - frames between two nodes that do not hear each other, through a third that hears
 * both (net/relay.h). Little-endian; the rest of each is the payload of the frame inside.
 *
 * PEER_FRAME_RELAY:   u32 node | u16 worker (for whom; the worker may be TRANSPORT_ANY_WORKER) |
 *                     u8 kind | payload. To who is to pass it on.
 * PEER_FRAME_RELAYED: u32 node | u32 epoch | u64 store | u16 worker (whose it is) | u8 kind |
 *                     payload. Passed on, never again: who passes on writes here what the
 *                     connection has proven to it.
 * PEER_FRAME_WAY:     u8 what (0 asks, 1 answers) | u64 number (an answer has its question's) |
 *                     u16 workers of the sender. Direct, or in one of the other two.
 *
 * Inside are PEER_FRAME_REQUESTS, _REPLIES, _REPLY_ACKS, _WAY, and PEER_FRAME_STATUS about leaders;
 * nothing else. Thread: any. */
#ifndef HOLON_WIRE_RELAY_FRAME_H
#define HOLON_WIRE_RELAY_FRAME_H

#include "base/codec.h"
#include "base/ids.h"
#include "base/status.h"

enum {
    RELAY_HEADER_SIZE = 4 + 2 + 1,
    RELAYED_HEADER_SIZE = 4 + 4 + 8 + 2 + 1,
    WAY_FRAME_SIZE = 1 + 8 + 2,
    RELAY_INSIDE_SIZE_MAX = 1 << 20, /* payload of the frame inside: that of any other frame */
};

struct relay_header {
    node_id_t node;
    uint16_t worker;
    uint8_t kind;
};

struct relayed_header {
    node_id_t node;
    boot_epoch_t epoch;
    store_id_t store;
    uint16_t worker;
    uint8_t kind;
};

struct way_frame {
    bool answers;
    uint64_t number;
    uint16_t workers;
};

void relay_header_encode(struct writer *writer, const struct relay_header *header);
void relayed_header_encode(struct writer *writer, const struct relayed_header *header);
void way_frame_encode(struct writer *writer, const struct way_frame *way);

/* STATUS_CORRUPT: nonsense, or more than RELAY_INSIDE_SIZE_MAX; the frame is dropped. *ret_payload
 * borrows. */
enum status relay_header_decode(struct bytes frame, struct relay_header *ret,
                                struct bytes *ret_payload);
enum status relayed_header_decode(struct bytes frame, struct relayed_header *ret,
                                  struct bytes *ret_payload);
enum status way_frame_decode(struct bytes frame, struct way_frame *ret);

#endif
