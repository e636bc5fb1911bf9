/* request_frame.h - requests from gateways to leaders, and what comes back (rules B).
 *
 * PEER_FRAME_REQUESTS: sections until the end of the frame, one per run of requests of one
 * gateway to one group. Little-endian; the gateway is the sender (node, epoch, worker).
 *   section: u32 group | u64 leader term | u64 route | u64 watermark | u32 first position |
 *            u32 patience left (ms) | u16 count | requests
 *   request: varint seq | u8 service | u8 flags (1: write, 2: ordered, 4: grows) | u16 client |
 *            u16 slot | varint size | body
 *
 * PEER_FRAME_REPLIES: sections until the end of the frame.
 *   A reply of more than a frame comes in parts: outcome 5 for all but the last, which has the
 *   outcome of the whole. Each part has a number of its own.
 *   section: u32 group | u64 leader term | u64 route | u8 code | then
 *     code 0 (replies): u32 number of the first on this route | u16 count |
 *                       replies: varint seq | u8 outcome | varint size | bytes
 *     else (NACK of the whole route): u32 leader node | u64 leader term, 0: unknown
 *
 * PEER_FRAME_REPLY_ACKS: how far a reply in parts has come, from the gateway to the leader.
 *   ack: u32 group | u64 route | varint seq | varint bytes received
 *
 * The term names the leadership the gateway means: a frame that waited in a socket over an
 * election is refused whatever it holds. Route and position keep pipelined order over
 * failures (B5): a leader takes position 0 of a newer route, or the next of the present one.
 * Thread: any. */
#ifndef HOLON_WIRE_REQUEST_FRAME_H
#define HOLON_WIRE_REQUEST_FRAME_H

#include "base/codec.h"
#include "base/ids.h"

enum { REQUEST_FRAME_COUNT_MAX = 4096 };
enum { REQUEST_SECTION_HEADER_SIZE = 4 + 8 + 8 + 8 + 4 + 4 + 2 };

enum reply_code {
    REPLY_CODE_REPLIES = 0,
    NACK_NOT_LEADER = 1, /* ask the leader that is named, if any */
    NACK_WRONG_TERM = 2, /* leads, but in the term that is named */
    NACK_GAP = 3,        /* a frame before this one is missing: begin a new route */
    NACK_FENCED = 4,     /* this gateway's epoch is dead for ever (B4) */
    NACK_BUSY = 5,       /* cannot even hold it: begin a new route later */
};

enum reply_outcome {
    OUTCOME_REPLY = 0,
    OUTCOME_NO_SPACE = 4, /* refused as OUTCOME_BUSY is: disks are full; bytes: a text */
    OUTCOME_BUSY = 1,     /* refused before its seq was consumed */
    OUTCOME_STALE = 2,    /* seq <= watermark: the gateway gave it up before */
    OUTCOME_TOO_BIG = 3,  /* executed, but its reply was too big to keep; with bytes, a text:
                             the write is too big for an entry and was not executed */
    OUTCOME_PART = 5,     /* bytes of a reply whose rest follows */
};

struct request_section {
    struct group_id group;
    uint64_t term;
    uint64_t route;
    uint64_t watermark;
    uint32_t position;
    uint32_t patience_ms;
    uint16_t count;
};

struct request_item {
    uint64_t seq;
    uint8_t service;
    bool write;
    bool grows;      /* may add data: refused when disks are full */
    bool ordered;    /* the client has an earlier request open in this group */
    uint16_t client; /* equal for requests of one client (decision 0006); two may share it */
    uint16_t slot;
    struct bytes body;
};

struct reply_section {
    struct group_id group;
    uint64_t term;
    uint64_t route;
    uint8_t code;
    uint32_t number;  /* replies: how many went before on this route */
    uint16_t count;   /* replies */
    node_id_t leader; /* NACK */
    uint64_t leader_term;
};

struct reply_item {
    uint64_t seq;
    uint8_t outcome;
    struct bytes bytes;
};

struct part_ack {
    struct group_id group;
    uint64_t route;
    uint64_t seq;
    uint64_t bytes;
};

void part_ack_encode(struct writer *writer, const struct part_ack *ack);
enum status part_ack_decode(struct reader *reader, struct part_ack *ret);
void request_section_encode(struct writer *writer, const struct request_section *section);
void request_item_encode(struct writer *writer, const struct request_item *item);
void reply_section_encode(struct writer *writer, const struct reply_section *section);
void reply_item_encode(struct writer *writer, const struct reply_item *item);

/* STATUS_NOT_FOUND at the end of the frame, STATUS_CORRUPT on nonsense. Items borrow. */
enum status request_section_decode(struct reader *reader, struct request_section *ret);
enum status request_item_decode(struct reader *reader, struct request_item *ret);
enum status reply_section_decode(struct reader *reader, struct reply_section *ret);
enum status reply_item_decode(struct reader *reader, struct reply_item *ret);

#endif
