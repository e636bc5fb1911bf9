/* txn_participant.c - a partition that is not the primary: what it would change is kept in one row,
 * with all that must not change meanwhile, until it hears what was decided (C2). */
#include "txn/txn_turn.h"

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
    struct turn_key memory;
    struct bytes key = turn_key(turn, TXN_ROW_PREPARED, &memory);
    struct txn_prepared prepared = prepared_of(turn, recorded, row_take_effects(rows));

    /* An id is prepared once, so the engine need not be asked whether it has that row. */
    row_born(rows, key, rows->next_index);
    enum row_result before = row_get(rows, key, &row);
    if (before == ROW_FOUND) return turn_answer_nothing(turn, TXN_STATUS_CONFLICT);
    if (before == ROW_ABSENT) put_prepared(turn, key, &prepared);
    row_born(rows, bytes_make(NULL, 0), 0); /* the key is of this call */
    if (rows->need_rows) return EVALUATE_NEED_ROWS;
    if (rows->over_budget) return turn_answer_nothing(turn, TXN_STATUS_TOO_BIG);
    rows->chore_at = INT64_MAX; /* when it is resolved */
    rows->written_is_enough = false;
    return turn_answer(turn, TXN_STATUS_DONE);
}

enum evaluate_result turn_prepare(struct turn *turn)
{
    struct recorded recorded;
    enum evaluate_result result;

    recorded_begin(&recorded);
    result = turn_piece(turn, &recorded.reads);
    if (!turn_is_over(turn, result, &result)) result = keep_prepared(turn, &recorded);
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

enum evaluate_result turn_resolve(struct turn *turn)
{
    struct row_context *rows = turn->rows;
    struct txn_prepared prepared;
    struct row_view row;
    struct turn_key memory;
    struct bytes key = turn_key(turn, TXN_ROW_PREPARED, &memory);
    enum row_result found = row_get(rows, key, &row);

    if (found == ROW_STOP) return row_context_stop(rows);
    if (found == ROW_ABSENT) return turn_answer(turn, TXN_STATUS_DONE);
    bool commit = turn->frame.outcome == TXN_COMMIT;
    if (commit && txn_prepared_decode(row.value, &prepared)) return NOT_UNDERSTOOD;
    if (commit) commit_prepared(turn, &prepared);
    row_delete(rows, key);
    return rows->need_rows ? EVALUATE_NEED_ROWS : turn_answer(turn, TXN_STATUS_DONE);
}
