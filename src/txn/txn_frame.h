/* txn_frame.h - requests of transactions to partitions (SERVICE_TXN) and their answers; layout:
 * docs/reference/transactions.md. They come from other nodes: decoding is bounded, and everything
 * borrows from the input. Thread: any. */
#ifndef HOLON_TXN_TXN_FRAME_H
#define HOLON_TXN_TXN_FRAME_H

#include "partition/txn_record.h"

enum { TXN_GROUPS_MAX = PARTITIONS_MAX + GROUP_DATA_FIRST };
/* What stands before the body of a piece, without the participants. */
enum { TXN_FRAME_SIZE_MAX = 2 + TXN_ID_SIZE + 1 + VARINT_SIZE_MAX };
/* What stands before the reply in the answer of READ, and of all others. */
enum { TXN_READ_HEADER_SIZE = 17, TXN_ANSWER_HEADER_SIZE = 1 };

enum txn_status {
    TXN_STATUS_DONE = 0,
    TXN_STATUS_CONFLICT = 1,
    TXN_STATUS_ABORTED = 2,
    TXN_STATUS_UNDECIDED = 3,
    TXN_STATUS_REFUSED = 4, /* by the service; its reply follows */
    TXN_STATUS_TOO_BIG = 5,
    TXN_STATUS_COMMITTED = 6,
    TXN_STATUS_WRITES = 7, /* READ: of a piece that wants to write */
};

struct txn_frame {
    enum txn_op op;
    struct txn_id id;
    uint8_t service;          /* PREPARE, DECIDE, READ: of the piece */
    bool several;             /* ... which is several bodies: txn_bodies_next() */
    bool waits;               /* PREPARE: its transaction holds nothing else meanwhile */
    enum txn_outcome outcome; /* RESOLVE */
    bool may_abort;           /* QUERY */
    boot_epoch_t epoch;   /* FORGET: its gateway's node is known to run under it; 0: it is not */
    uint32_t group_count; /* DECIDE: participants, */
    struct bytes groups;  /* u32 each */
    struct bytes body;    /* PREPARE, DECIDE, READ: the piece */
};

void txn_frame_encode(struct writer *writer, const struct txn_frame *frame);
/* STATUS_CORRUPT; STATUS_VERSION: of a newer node. */
enum status txn_frame_decode(struct bytes bytes, struct txn_frame *ret_frame);

/* Bodies, or replies, of several: each u32 size, bytes. False: there is none, or it makes no sense,
 * and then *rest is not empty. */
bool txn_bodies_next(struct bytes *rest, struct bytes *ret_body);

struct txn_answer {
    enum txn_status status;
    uint64_t digest[2]; /* of READ */
    struct bytes reply; /* of the piece */
};

enum status txn_answer_decode(struct bytes bytes, enum txn_op op, struct txn_answer *ret_answer);

#endif
