/* txn_evaluate.c - what a partition does for transactions: as a participant it prepares and
 * resolves, as the primary it decides, says what was decided, and forgets it (C2 to C6, C11).
 *
 * Pure, over the rows of the partition. What it writes are rows of SERVICE_TXN; which rows a
 * transaction locks the leader makes out of those. A request that cannot be understood ends as
 * one that cannot be taken now: nothing is logged, and its sender tries again or gives up. */
#include "base/assert.h"
#include "txn/txn.h"
#include "txn/txn_frame.h"

#define NOT_UNDERSTOOD EVALUATE_OVER_BUDGET

struct key { /* of a row of SERVICE_TXN */
    uint8_t memory[TXN_ROW_KEY_SIZE];
};

struct turn { /* one evaluation */
    struct row_context *rows;
    const struct request *request;
    struct txn_frame frame;
    struct buffer *reply;
    size_t reply_at; /* where the answer begins in `reply` */
};

static struct bytes key_of(const struct turn *turn, enum txn_row_kind kind, struct key *key)
{
    txn_row_key_store(key->memory, turn->rows->slot_first, kind, turn->frame.id);
    return bytes_make(key->memory, sizeof(key->memory));
}

/* --- the answer --- */

static size_t header_size(const struct turn *turn)
{
    return turn->frame.op == TXN_READ ? TXN_READ_HEADER_SIZE : TXN_ANSWER_HEADER_SIZE;
}

static bool answer_begin(struct turn *turn)
{
    size_t size = header_size(turn);
    uint8_t *room = buffer_reserve(turn->reply, size);

    turn->reply_at = buffer_size(turn->reply);
    if (room == NULL) return false;
    memset(room, 0, size);
    buffer_commit(turn->reply, size);
    return true;
}

static uint8_t *answer_header(const struct turn *turn)
{
    return turn->reply->memory + turn->reply->start + turn->reply_at;
}

static size_t reply_size(const struct turn *turn)
{
    return buffer_size(turn->reply) - turn->reply_at - header_size(turn);
}

/* With what the piece replied. */
static enum evaluate_result answer(struct turn *turn, enum txn_status status)
{
    answer_header(turn)[0] = (uint8_t)status;
    return EVALUATE_DONE;
}

/* Nothing is changed, and no reply follows. */
static enum evaluate_result answer_nothing(struct turn *turn, enum txn_status status)
{
    struct row_context *rows = turn->rows;

    row_take_effects(rows);
    rows->over_budget = false;
    rows->must_wait = false;
    rows->need_rows = false;
    rows->chore_at = INT64_MAX;
    buffer_cut(turn->reply, turn->reply_at + header_size(turn));
    return answer(turn, status);
}

/* Nothing is changed; the reply says why. What does not fit an outcome would be taken for a reply
 * that was lost after a commit. */
static enum evaluate_result answer_refused(struct turn *turn)
{
    bool kept = header_size(turn) + reply_size(turn) <= OUTCOME_SIZE_MAX;

    row_take_effects(turn->rows);
    turn->rows->chore_at = INT64_MAX;
    return kept ? answer(turn, TXN_STATUS_REFUSED) : answer_nothing(turn, TXN_STATUS_TOO_BIG);
}

/* --- pieces --- */

static evaluate_fn *service_of(const struct turn *turn)
{
    uint8_t service = turn->frame.service;
    bool known = service < SERVICE_COUNT && service != SERVICE_TXN && turn->rows->services != NULL;
    return known ? turn->rows->services[service] : NULL;
}

/* By its service; what it consults goes to `reads`. */
static enum evaluate_result evaluate_piece(struct turn *turn, struct row_reads *reads)
{
    struct row_context *rows = turn->rows;
    struct request piece = {
        .service = turn->frame.service, .slot = turn->request->slot, .body = turn->frame.body};
    struct reply reply = {.buffer = turn->reply};
    evaluate_fn *evaluate = service_of(turn);
    const void *options = rows->options;

    if (evaluate == NULL) return NOT_UNDERSTOOD;
    rows->options = rows->service_options != NULL ? rows->service_options[piece.service] : NULL;
    rows->chore_service = piece.service;
    rows->lock_owner = NULL; /* nothing is locked for it here yet */
    rows->reads = reads;
    enum evaluate_result result = evaluate(rows, &piece, &reply);
    rows->reads = NULL;
    rows->options = options;
    if (rows->need_rows) return EVALUATE_NEED_ROWS;
    return rows->over_budget ? EVALUATE_OVER_BUDGET : result;
}

/* It never waits for locks of others while its transaction holds some elsewhere; a piece that is
 * all of its transaction does, like any request. */
static bool may_wait(const struct turn *turn)
{
    return turn->frame.op == TXN_DECIDE && turn->frame.group_count == 0;
}

/* Of a piece that locks, or decides. True: there is nothing to be done any more, and *ret_result
 * says how it ends. */
static bool piece_is_over(struct turn *turn, enum evaluate_result result,
                          enum evaluate_result *ret_result)
{
    *ret_result = result;
    if (turn->rows->must_wait && may_wait(turn)) return true;
    if (turn->rows->must_wait)
        *ret_result = answer_nothing(turn, TXN_STATUS_CONFLICT);
    else if (result == EVALUATE_OVER_BUDGET)
        *ret_result = answer_nothing(turn, TXN_STATUS_TOO_BIG);
    else if (result == EVALUATE_DONE && turn->rows->refused)
        *ret_result = answer_refused(turn);
    else
        return result != EVALUATE_DONE;
    return true;
}

/* --- a participant --- */

struct recorded {
    struct buffer keys, ranges, namespaces;
    struct row_reads reads;
};

static void recorded_begin(struct recorded *recorded)
{
    buffer_init(&recorded->keys, ROW_VALUE_SIZE_MAX);
    buffer_init(&recorded->ranges, ROW_VALUE_SIZE_MAX);
    buffer_init(&recorded->namespaces, ROW_VALUE_SIZE_MAX);
    recorded->reads = (struct row_reads){
        .keys = &recorded->keys, .ranges = &recorded->ranges, .namespaces = &recorded->namespaces};
}

static void recorded_end(struct recorded *recorded)
{
    buffer_free(&recorded->keys);
    buffer_free(&recorded->ranges);
    buffer_free(&recorded->namespaces);
}

static struct txn_prepared prepared_of(const struct turn *turn, const struct recorded *recorded,
                                       struct bytes effects)
{
    return (struct txn_prepared){.service = turn->frame.service,
                                 .chore = turn->rows->chore_at != INT64_MAX,
                                 .time = turn->rows->time,
                                 .key_count = recorded->reads.key_count,
                                 .range_count = recorded->reads.range_count,
                                 .namespace_count = recorded->reads.namespace_count,
                                 .keys = buffer_bytes(&recorded->keys),
                                 .ranges = buffer_bytes(&recorded->ranges),
                                 .namespaces = buffer_bytes(&recorded->namespaces),
                                 .effects = effects};
}

static void put_prepared(struct turn *turn, struct bytes key, const struct txn_prepared *prepared)
{
    struct buffer value;

    buffer_init(&value, SIZE_MAX / 2); /* its parts are bounded */
    txn_prepared_encode(prepared, &value);
    row_put(turn->rows, key, TXN_ROW_TYPE, 0, 0, buffer_bytes(&value)); /* or it is over budget */
    buffer_free(&value);
}

/* Instead of what the piece changes, one row that says all of it. */
static enum evaluate_result keep_prepared(struct turn *turn, const struct recorded *recorded)
{
    struct row_context *rows = turn->rows;
    struct row_view row;
    struct key memory;
    struct bytes key = key_of(turn, TXN_ROW_PREPARED, &memory);
    struct txn_prepared prepared = prepared_of(turn, recorded, row_take_effects(rows));

    /* An id is prepared once, so the engine need not be asked whether it has that row. */
    row_born(rows, key, rows->next_index);
    enum row_result before = row_get(rows, key, &row);
    if (before == ROW_FOUND) return answer_nothing(turn, TXN_STATUS_CONFLICT);
    if (before == ROW_ABSENT) put_prepared(turn, key, &prepared);
    row_born(rows, bytes_make(NULL, 0), 0); /* the key is of this call */
    if (rows->need_rows) return EVALUATE_NEED_ROWS;
    if (rows->over_budget) return answer_nothing(turn, TXN_STATUS_TOO_BIG);
    rows->chore_at = INT64_MAX; /* when it is resolved */
    rows->written_is_enough = false;
    return answer(turn, TXN_STATUS_DONE);
}

static enum evaluate_result prepare(struct turn *turn)
{
    struct recorded recorded;
    enum evaluate_result result;

    recorded_begin(&recorded);
    result = evaluate_piece(turn, &recorded.reads);
    if (!piece_is_over(turn, result, &result)) result = keep_prepared(turn, &recorded);
    recorded_end(&recorded);
    return result;
}

/* What was prepared happens; its rows are locked for it. */
static void commit_prepared(struct turn *turn, const struct txn_prepared *prepared)
{
    struct row_context *rows = turn->rows;

    rows->lock_owner = &turn->frame.id;
    row_put_effects(rows, prepared->effects);
    rows->lock_owner = NULL;
    if (!prepared->chore) return;
    rows->chore_service = prepared->service;
    row_want_chore(rows, rows->time);
}

static enum evaluate_result resolve(struct turn *turn)
{
    struct row_context *rows = turn->rows;
    struct txn_prepared prepared;
    struct row_view row;
    struct key memory;
    struct bytes key = key_of(turn, TXN_ROW_PREPARED, &memory);
    enum row_result found = row_get(rows, key, &row);

    if (found == ROW_STOP) return row_context_stop(rows);
    if (found == ROW_ABSENT) return answer(turn, TXN_STATUS_DONE);
    bool commit = turn->frame.outcome == TXN_COMMIT;
    if (commit && txn_prepared_decode(row.value, &prepared)) return NOT_UNDERSTOOD;
    if (commit) commit_prepared(turn, &prepared);
    row_delete(rows, key);
    return rows->need_rows ? EVALUATE_NEED_ROWS : answer(turn, TXN_STATUS_DONE);
}

/* --- the primary --- */

/* ROW_STOP: the evaluation ends. */
static enum row_result find_decision(struct turn *turn, struct bytes key,
                                     struct txn_decision *ret_decision)
{
    struct row_view row;
    enum row_result found = row_get(turn->rows, key, &row);

    if (found != ROW_FOUND) return found;
    return txn_decision_decode(row.value, ret_decision) == STATUS_OK ? ROW_FOUND : ROW_STOP;
}

/* Rows are needed, or the piece left no budget for it, or the row cannot be read. */
static enum evaluate_result decision_stop(struct turn *turn)
{
    if (turn->rows->need_rows) return EVALUATE_NEED_ROWS;
    return turn->rows->over_budget ? answer_nothing(turn, TXN_STATUS_TOO_BIG) : NOT_UNDERSTOOD;
}

static enum evaluate_result answer_decided(struct turn *turn, const struct txn_decision *decision)
{
    bool committed = decision->outcome == TXN_COMMIT;
    return answer_nothing(turn, committed ? TXN_STATUS_COMMITTED : TXN_STATUS_ABORTED);
}

static void put_decision(struct turn *turn, struct bytes key, enum txn_outcome outcome)
{
    struct buffer value;
    struct txn_decision decision = {.outcome = outcome,
                                    .time = turn->rows->time,
                                    .group_count = turn->frame.group_count,
                                    .groups = turn->frame.groups};

    buffer_init(&value, SIZE_MAX / 2);
    txn_decision_encode(&decision, &value);
    row_put(turn->rows, key, TXN_ROW_TYPE, 0, 0, buffer_bytes(&value));
    buffer_free(&value);
}

/* Behind the piece, in the same entry. */
static enum evaluate_result log_decision(struct turn *turn)
{
    struct row_context *rows = turn->rows;
    struct txn_decision decision;
    struct key memory;
    struct bytes key = key_of(turn, TXN_ROW_DECISION, &memory);

    switch (find_decision(turn, key, &decision)) {
    case ROW_STOP:
        return decision_stop(turn);
    case ROW_FOUND: /* a tombstone: a participant waited too long */
        return answer_decided(turn, &decision);
    case ROW_ABSENT:
        break;
    }
    put_decision(turn, key, TXN_COMMIT);
    rows->written_is_enough = false; /* what participants prepared is on disks */
    if (rows->over_budget) return answer_nothing(turn, TXN_STATUS_TOO_BIG);
    return answer(turn, TXN_STATUS_DONE);
}

static enum evaluate_result decide(struct turn *turn)
{
    enum evaluate_result result;
    struct key memory;
    bool has_participants = turn->frame.group_count > 0;

    if (has_participants) row_want(turn->rows, key_of(turn, TXN_ROW_DECISION, &memory));
    result = evaluate_piece(turn, NULL);
    if (piece_is_over(turn, result, &result)) return result;
    return has_participants ? log_decision(turn) : answer(turn, TXN_STATUS_DONE);
}

static bool is_over(const struct turn *turn)
{
    return row_request_is_over(turn->rows, turn->frame.id.gateway, turn->frame.id.seq);
}

static enum evaluate_result query(struct turn *turn)
{
    struct txn_decision decision;
    struct key memory;
    struct bytes key = key_of(turn, TXN_ROW_DECISION, &memory);

    switch (find_decision(turn, key, &decision)) {
    case ROW_STOP:
        return decision_stop(turn);
    case ROW_FOUND:
        return answer_decided(turn, &decision);
    case ROW_ABSENT:
        break;
    }
    if (is_over(turn)) return answer(turn, TXN_STATUS_ABORTED);
    if (!turn->frame.may_abort) return answer(turn, TXN_STATUS_UNDECIDED);
    put_decision(turn, key, TXN_ABORT);
    return answer(turn, TXN_STATUS_ABORTED);
}

static enum evaluate_result forget(struct turn *turn)
{
    struct row_view row;
    struct key memory;
    struct bytes key = key_of(turn, TXN_ROW_DECISION, &memory);
    enum row_result found = row_get(turn->rows, key, &row);

    if (found == ROW_STOP) return row_context_stop(turn->rows);
    if (found == ROW_ABSENT) return answer(turn, TXN_STATUS_DONE);
    if (!is_over(turn)) {
        /* It goes when that is applied: until then the gateway's DECIDE might still be taken. */
        boot_epoch_t own = turn->frame.id.gateway.epoch;
        if (turn->frame.epoch > own)
            row_fence(turn->rows, turn->frame.id.gateway.node, turn->frame.epoch);
        return answer(turn, TXN_STATUS_UNDECIDED);
    }
    row_delete(turn->rows, key);
    return answer(turn, TXN_STATUS_DONE);
}

/* --- only reading --- */

/* A lock in the way is waited for: nothing is held meanwhile. */
static enum evaluate_result read_piece(struct turn *turn)
{
    struct row_context *rows = turn->rows;
    struct row_reads reads = {0};
    enum evaluate_result result = evaluate_piece(turn, &reads);

    if (rows->must_wait) return result;
    if (result == EVALUATE_OVER_BUDGET) return answer_nothing(turn, TXN_STATUS_TOO_BIG);
    if (result != EVALUATE_DONE) return result;
    store_u64(answer_header(turn) + 1, reads.digest[0]);
    store_u64(answer_header(turn) + 1 + sizeof(uint64_t), reads.digest[1]);
    bool writes = rows->effect_count > 0;
    if (rows->refused) return answer_refused(turn);
    row_take_effects(rows);
    return answer(turn, writes ? TXN_STATUS_WRITES : TXN_STATUS_DONE);
}

enum evaluate_result txn_evaluate(struct row_context *rows, const struct request *request,
                                  struct reply *reply)
{
    struct turn turn = {.rows = rows, .request = request, .reply = reply->buffer};

    if (txn_frame_decode(request->body, &turn.frame) || !answer_begin(&turn)) return NOT_UNDERSTOOD;
    switch (turn.frame.op) {
    case TXN_PREPARE:
        return prepare(&turn);
    case TXN_DECIDE:
        return decide(&turn);
    case TXN_RESOLVE:
        return resolve(&turn);
    case TXN_QUERY:
        return query(&turn);
    case TXN_FORGET:
        return forget(&turn);
    case TXN_READ:
        return read_piece(&turn);
    }
    return NOT_UNDERSTOOD;
}
