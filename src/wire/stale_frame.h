/* stale_frame.h - stale reads between workers of one node (cluster/gateway_stale.c): whose
 * connection it is asks whose replica it is. Never between nodes: times are of the boot clock,
 * which the workers of a node share.
 *
 * PEER_FRAME_STALE_ASKS:    u8 pace (0: none; 1 + k: see gateway_internal.h) | until the end:
 *                           varint id | varint bound (us) | varint not before | u8 service |
 *                           u16 slot | varint size | body
 * PEER_FRAME_STALE_ANSWERS: until the end: varint id | u8 code | varint as of | varint size | bytes
 * Little-endian. Thread: any. */
#ifndef HOLON_WIRE_STALE_FRAME_H
#define HOLON_WIRE_STALE_FRAME_H

#include "base/codec.h"
#include "base/status.h"

enum stale_code {
    STALE_ANSWERED = 0,
    STALE_WAITS = 1,     /* not fresh enough yet, or not to be told from what is in flight */
    STALE_TO_LEADER = 2, /* no replica here, or it leads, or cannot answer by itself */
    STALE_CODE_COUNT,
};

struct stale_ask {
    uint64_t id;
    uint64_t bound;      /* us */
    uint64_t not_before; /* boot clock; the reply is of a state as of then or later; 0: any */
    uint8_t service;
    uint16_t slot;
    struct bytes body;
};

struct stale_answer {
    uint64_t id;
    uint8_t code;   /* enum stale_code */
    uint64_t as_of; /* boot clock: the state is as of then or later; 0: nothing is known */
    struct bytes bytes;
};

void stale_ask_encode(struct writer *writer, const struct stale_ask *ask);
void stale_answer_encode(struct writer *writer, const struct stale_answer *answer);
/* STATUS_NOT_FOUND at the end of the frame, STATUS_CORRUPT on nonsense. They borrow. */
enum status stale_ask_decode(struct reader *reader, struct stale_ask *ret);
enum status stale_answer_decode(struct reader *reader, struct stale_answer *ret);

#endif
