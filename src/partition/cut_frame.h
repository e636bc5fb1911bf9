/* cut_frame.h - bodies of requests of SERVICE_CUT, and of their replies: the parts that partitions
 * have in a cut through the whole cluster (cut.h; docs/reference/cuts.md). Little-endian.
 *
 *   request: u8 format (1) | u8 op | u64 cut, then
 *     CLAIM, FREEZE: u32 ms, at most CUT_FREEZE_MS_MAX
 *     TAKE:   u64 freeze, as the reply to FREEZE had it | i64 lifetime, us
 *     CLOSE, STATE
 *     OUTCOMES: varint count, txn ids (txn_record.h)
 *     READ:   varint count, txn ids that count as committed | u8 service | body of that service
 *   reply: u8 status, then if it is CUT_OK
 *     FREEZE: u64 freeze: another one each time, also of the same leader for the same cut
 *     STATE:  u64 index | i64 time (us since 1970) | varint count, txn ids that are prepared there
 *     OUTCOMES: for each u8 1: committed in this cut, 0: not
 *     READ:   reply of that service
 *
 * TAKE and CLOSE are writes, the others reads (gateway_request.write). Thread: any. */
#ifndef HOLON_PARTITION_CUT_FRAME_H
#define HOLON_PARTITION_CUT_FRAME_H

#include "partition/txn_record.h"

enum { CUT_FORMAT = 1, CUT_FREEZE_MS_MAX = 200, CUT_TXNS_MAX = 4096 };
enum { CUTS_MAX = 8 }; /* open at once in a cluster */

/* CLAIM: nothing is held back, but no other cut may freeze this partition for that long. */
enum cut_op { CUT_FREEZE = 1, CUT_TAKE, CUT_CLOSE, CUT_STATE, CUT_OUTCOMES, CUT_READ, CUT_CLAIM };

enum cut_status {
    CUT_OK = 0,
    CUT_REFUSED = 1, /* not frozen for it by that freeze, or nothing can be taken now */
    CUT_OPENING = 2, /* its rows are being copied: ask again */
    CUT_GONE = 3,    /* this replica does not have it: expired, closed, or it came here later */
    CUT_FULL = 4,    /* CUTS_MAX are open */
    CUT_FAILED = 5,  /* the request makes no sense, or a row cannot be read */
};

struct cut_request {
    uint8_t op; /* enum cut_op */
    uint64_t cut;
    uint32_t freeze_ms;
    uint64_t freeze;
    int64_t lifetime; /* us */
    uint32_t txn_count;
    struct bytes txns; /* encoded ids, one behind the other: cut_txn_next() */
    uint8_t service;
    struct bytes body;
};

void cut_request_encode(struct writer *writer, const struct cut_request *request);
/* False: it makes no sense. Borrows from the body. */
bool cut_request_decode(struct bytes body, struct cut_request *ret);
/* Takes the first id off; false: there is none. */
bool cut_txn_next(struct bytes *txns, struct txn_id *ret);
void cut_txn_encode(struct writer *writer, struct txn_id id);

struct cut_state {
    uint64_t index;
    int64_t time;
    uint32_t txn_count;
    struct bytes txns;
};
void cut_state_encode(struct writer *writer, const struct cut_state *state);
bool cut_state_decode(struct bytes rest, struct cut_state *ret);
/* The reply: its status, and what follows. False: empty. */
bool cut_reply_read(struct bytes reply, enum cut_status *ret_status, struct bytes *ret_rest);

#endif
