/* txn_record.h - the rows in which a partition remembers transactions: what it has prepared and
 * locked as a participant, what was decided as a primary (rules C2, C3, C5;
 * docs/reference/transactions.md has the layout).
 *
 * Decoding is bounded; everything borrows from the input. Thread: any. */
#ifndef HOLON_PARTITION_TXN_RECORD_H
#define HOLON_PARTITION_TXN_RECORD_H

#include "base/codec.h"
#include "partition/effects.h"
#include "partition/row.h"

enum { TXN_ID_SIZE = 22, TXN_ROW_TYPE = 1, TXN_ROW_KEY_SIZE = ROW_PREFIX_SIZE + TXN_ID_SIZE };
enum { TXN_NAMESPACE_SIZE = 5 }; /* u8 service, u32 namespace */
enum txn_row_kind { TXN_ROW_PREPARED = 0, TXN_ROW_DECISION = 1 };
enum txn_outcome { TXN_ABORT = 0, TXN_COMMIT = 1 };

/* For ever of one attempt of one transaction (C1). */
struct txn_id {
    struct gateway_id gateway;
    struct group_id primary;
    uint64_t seq; /* of DECIDE in the gateway's stream to the primary */
};

static inline bool txn_id_equal(struct txn_id a, struct txn_id b)
{
    return a.gateway.node == b.gateway.node && a.gateway.epoch == b.gateway.epoch &&
           a.gateway.worker == b.gateway.worker && a.primary.value == b.primary.value &&
           a.seq == b.seq;
}

/* The second byte of a request; the others: txn/txn_frame.h. */
enum txn_op {
    TXN_PREPARE = 1,
    TXN_DECIDE = 2,
    TXN_RESOLVE = 3,
    TXN_QUERY = 4,
    TXN_FORGET = 5,
    TXN_READ = 6,
};

/* What it writes ends what was begun before. */
static inline bool txn_request_ends(struct bytes body)
{
    return body.size > 1 && body.data[1] >= TXN_RESOLVE && body.data[1] <= TXN_FORGET;
}

void txn_id_encode(struct writer *writer, struct txn_id id); /* little-endian, in requests */
struct txn_id txn_id_decode(struct reader *reader);
/* Of the partition that begins with that slot. */
void txn_row_key_store(uint8_t at[TXN_ROW_KEY_SIZE], uint16_t slot_first, enum txn_row_kind kind,
                       struct txn_id id);
/* False: not such a key. */
bool txn_row_key_parse(struct bytes key, enum txn_row_kind *ret_kind, struct txn_id *ret_id);

/* Its sender has told its client already, or has none. */
static inline bool txn_request_is_patient(struct bytes body)
{
    return body.size > 1 && (body.data[1] == TXN_RESOLVE || body.data[1] == TXN_FORGET);
}

/* What a participant holds for a transaction. The lists are encoded as the row has them: count
 * first (see the readers below). */
struct txn_prepared {
    uint8_t service; /* of the piece */
    bool chore;      /* its evaluation wanted the chore of the service */
    int64_t time;    /* us since 1970: of its entry */
    uint32_t key_count, range_count, namespace_count;
    struct bytes keys;       /* read, each: varint size, bytes */
    struct bytes ranges;     /* read, each: from, to, as keys */
    struct bytes namespaces; /* counted, each: u8 service, u32 namespace */
    struct bytes effects;
};

void txn_prepared_encode(const struct txn_prepared *prepared, struct buffer *buffer);
/* The effects are walked, too. STATUS_CORRUPT, STATUS_VERSION. */
enum status txn_prepared_decode(struct bytes value, struct txn_prepared *ret_prepared);

struct txn_decision {
    enum txn_outcome outcome;
    int64_t time;
    uint32_t group_count;
    struct bytes groups; /* u32 each: participants that are to be told */
};

void txn_decision_encode(const struct txn_decision *decision, struct buffer *buffer);
enum status txn_decision_decode(struct bytes value, struct txn_decision *ret_decision);
static inline struct group_id txn_decision_group(const struct txn_decision *decision, uint32_t i)
{
    return (struct group_id){load_u32(decision->groups.data + 4 * i)};
}

#endif
