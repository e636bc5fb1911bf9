/* txn_evaluate.c - what a partition does for transactions: as a participant it prepares and
 * resolves, as the primary it decides, says what was decided, and forgets it (C2 to C6, C11).
 *
 * Pure, over the rows of the partition. What it writes are rows of SERVICE_TXN; which rows a
 * transaction locks the leader makes out of those. A request that cannot be understood ends as
 * one that cannot be taken now: nothing is logged, and its sender tries again or gives up. */
#include "txn/txn.h"
#include "txn/txn_turn.h"

struct bytes turn_key(const struct turn *turn, enum txn_row_kind kind, struct turn_key *key)
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

enum evaluate_result turn_answer(struct turn *turn, enum txn_status status)
{
    answer_header(turn)[0] = (uint8_t)status;
    return EVALUATE_DONE;
}

enum evaluate_result turn_answer_nothing(struct turn *turn, enum txn_status status)
{
    struct row_context *rows = turn->rows;

    row_take_effects(rows);
    rows->over_budget = false;
    rows->must_wait = false;
    rows->need_rows = false;
    rows->chore_at = INT64_MAX;
    buffer_cut(turn->reply, turn->reply_at + header_size(turn));
    return turn_answer(turn, status);
}

/* Nothing is changed; the reply says why. What does not fit an outcome would be taken for a reply
 * that was lost after a commit. */
static enum evaluate_result answer_refused(struct turn *turn)
{
    bool kept = header_size(turn) + reply_size(turn) <= OUTCOME_SIZE_MAX;

    row_take_effects(turn->rows);
    turn->rows->chore_at = INT64_MAX;
    return kept ? turn_answer(turn, TXN_STATUS_REFUSED)
                : turn_answer_nothing(turn, TXN_STATUS_TOO_BIG);
}

/* --- pieces --- */

static evaluate_fn *service_of(const struct turn *turn)
{
    uint8_t service = turn->frame.service;
    bool own = service == SERVICE_TXN || service == SERVICE_CUT || service == SERVICE_SYSTEM;
    bool known = service < SERVICE_COUNT && !own && turn->rows->services != NULL;
    return known ? turn->rows->services[service] : NULL;
}

/* One of several: its reply gets its size in front. */
static enum evaluate_result evaluate_one(struct turn *turn, evaluate_fn *evaluate,
                                         const struct request *piece)
{
    struct reply reply = {.buffer = turn->reply};
    size_t at = buffer_size(turn->reply);
    uint8_t *room = buffer_reserve(turn->reply, sizeof(uint32_t));

    if (room == NULL) return EVALUATE_OVER_BUDGET;
    buffer_commit(turn->reply, sizeof(uint32_t));
    enum evaluate_result result = evaluate(turn->rows, piece, &reply);
    size_t size = buffer_size(turn->reply) - at - sizeof(uint32_t);
    store_u32(turn->reply->memory + turn->reply->start + at, (uint32_t)size);
    return result;
}

/* Each sees what those before it wrote. One that refuses, or cannot go on, ends all. */
static enum evaluate_result evaluate_several(struct turn *turn, evaluate_fn *evaluate,
                                             struct request *piece)
{
    struct row_context *rows = turn->rows;
    struct bytes rest = turn->frame.body, apart = bytes_make(NULL, 0);

    while (txn_bodies_next(&rest, &piece->body)) {
        enum evaluate_result result = evaluate_one(turn, evaluate, piece);
        bool stops = rows->need_rows || rows->must_wait || rows->over_budget || rows->refused;
        if (result != EVALUATE_DONE || stops) return result;
        if (rows->planted & ROW_PLANTED_APART) apart = row_take_effects(rows); /* the last one's */
    }
    if (apart.size > 0) row_put_effects(rows, apart);
    return rest.size == 0 ? EVALUATE_DONE : NOT_UNDERSTOOD;
}

enum evaluate_result turn_piece(struct turn *turn, struct row_reads *reads)
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
    enum evaluate_result result = turn->frame.several ? evaluate_several(turn, evaluate, &piece)
                                                      : evaluate(rows, &piece, &reply);
    rows->reads = NULL;
    rows->options = options;
    if (rows->need_rows) return EVALUATE_NEED_ROWS;
    return rows->over_budget ? EVALUATE_OVER_BUDGET : result;
}

/* It never waits for locks of others while its transaction holds some elsewhere; a piece that is
 * all of its transaction does, like any request, and so does the only one that is prepared. */
static bool may_wait(const struct turn *turn)
{
    if (turn->frame.op == TXN_PREPARE) return turn->frame.waits;
    return turn->frame.op == TXN_DECIDE && turn->frame.group_count == 0;
}

bool turn_is_over(struct turn *turn, enum evaluate_result result, enum evaluate_result *ret_result)
{
    *ret_result = result;
    if (turn->rows->must_wait && may_wait(turn)) return true;
    if (turn->rows->must_wait)
        *ret_result = turn_answer_nothing(turn, TXN_STATUS_CONFLICT);
    else if (result == EVALUATE_OVER_BUDGET)
        *ret_result = turn_answer_nothing(turn, TXN_STATUS_TOO_BIG);
    else if (result == EVALUATE_DONE && turn->rows->refused)
        *ret_result = answer_refused(turn);
    else
        return result != EVALUATE_DONE;
    return true;
}

/* --- only reading --- */

/* A lock in the way is waited for: nothing is held meanwhile. */
static enum evaluate_result read_piece(struct turn *turn)
{
    struct row_context *rows = turn->rows;
    struct row_reads reads = {0};
    enum evaluate_result result = turn_piece(turn, &reads);

    if (rows->must_wait) return result;
    if (result == EVALUATE_OVER_BUDGET) return turn_answer_nothing(turn, TXN_STATUS_TOO_BIG);
    if (result != EVALUATE_DONE) return result;
    store_u64(answer_header(turn) + 1, reads.digest[0]);
    store_u64(answer_header(turn) + 1 + sizeof(uint64_t), reads.digest[1]);
    bool writes = rows->effect_count > 0;
    if (rows->refused) return answer_refused(turn);
    row_take_effects(rows);
    return turn_answer(turn, writes ? TXN_STATUS_WRITES : TXN_STATUS_DONE);
}

enum evaluate_result txn_evaluate(struct row_context *rows, const struct request *request,
                                  struct reply *reply)
{
    struct turn turn = {.rows = rows, .request = request, .reply = reply->buffer};

    if (txn_frame_decode(request->body, &turn.frame) || !answer_begin(&turn)) return NOT_UNDERSTOOD;
    switch (turn.frame.op) {
    case TXN_PREPARE:
        return turn_prepare(&turn);
    case TXN_DECIDE:
        return turn_decide(&turn);
    case TXN_RESOLVE:
        return turn_resolve(&turn);
    case TXN_QUERY:
        return turn_query(&turn);
    case TXN_FORGET:
        return turn_forget(&turn);
    case TXN_READ:
        return read_piece(&turn);
    }
    return NOT_UNDERSTOOD;
}
