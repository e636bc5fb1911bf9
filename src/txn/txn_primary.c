/* txn_primary.c - the partition that decides: its own effects and the decision are one entry, and
 * that entry is the transaction's commit (C3). Who asks later is told by what it left (C5, C6). */
#include "txn/txn_turn.h"

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
    return turn->rows->over_budget ? turn_answer_nothing(turn, TXN_STATUS_TOO_BIG) : NOT_UNDERSTOOD;
}

static enum evaluate_result answer_decided(struct turn *turn, const struct txn_decision *decision)
{
    bool committed = decision->outcome == TXN_COMMIT;
    return turn_answer_nothing(turn, committed ? TXN_STATUS_COMMITTED : TXN_STATUS_ABORTED);
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
    struct turn_key memory;
    struct bytes key = turn_key(turn, TXN_ROW_DECISION, &memory);

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
    if (rows->over_budget) return turn_answer_nothing(turn, TXN_STATUS_TOO_BIG);
    return turn_answer(turn, TXN_STATUS_DONE);
}

enum evaluate_result turn_decide(struct turn *turn)
{
    enum evaluate_result result;
    struct turn_key memory;
    bool has_participants = turn->frame.group_count > 0;

    if (has_participants) row_want(turn->rows, turn_key(turn, TXN_ROW_DECISION, &memory));
    result = turn_piece(turn, NULL);
    if (turn_is_over(turn, result, &result)) return result;
    return has_participants ? log_decision(turn) : turn_answer(turn, TXN_STATUS_DONE);
}

static bool is_over(const struct turn *turn)
{
    return row_request_is_over(turn->rows, turn->frame.id.gateway, turn->frame.id.seq);
}

enum evaluate_result turn_query(struct turn *turn)
{
    struct txn_decision decision;
    struct turn_key memory;
    struct bytes key = turn_key(turn, TXN_ROW_DECISION, &memory);

    switch (find_decision(turn, key, &decision)) {
    case ROW_STOP:
        return decision_stop(turn);
    case ROW_FOUND:
        return answer_decided(turn, &decision);
    case ROW_ABSENT:
        break;
    }
    if (is_over(turn)) return turn_answer(turn, TXN_STATUS_ABORTED);
    if (!turn->frame.may_abort) return turn_answer(turn, TXN_STATUS_UNDECIDED);
    put_decision(turn, key, TXN_ABORT);
    return turn_answer(turn, TXN_STATUS_ABORTED);
}

enum evaluate_result turn_forget(struct turn *turn)
{
    struct row_view row;
    struct turn_key memory;
    struct bytes key = turn_key(turn, TXN_ROW_DECISION, &memory);
    enum row_result found = row_get(turn->rows, key, &row);

    if (found == ROW_STOP) return row_context_stop(turn->rows);
    if (found == ROW_ABSENT) return turn_answer(turn, TXN_STATUS_DONE);
    if (!is_over(turn)) {
        /* It goes when that is applied: until then the gateway's DECIDE might still be taken. */
        boot_epoch_t own = turn->frame.id.gateway.epoch;
        if (turn->frame.epoch > own)
            row_fence(turn->rows, turn->frame.id.gateway.node, turn->frame.epoch);
        return turn_answer(turn, TXN_STATUS_UNDECIDED);
    }
    row_delete(turn->rows, key);
    return turn_answer(turn, TXN_STATUS_DONE);
}
