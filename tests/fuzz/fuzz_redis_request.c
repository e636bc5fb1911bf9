/* fuzz_redis_request.c - bodies as another node may send them, one after the other over one
 * table: no input crashes the evaluation, each answer is one whole value, and its effects
 * apply. Input: u8 flags of the run, then bodies, each behind a u16 size. */
#include "base/assert.h"
#include "base/hash.h"
#include "partition/effects.h"
#include "services/redis/batch.h"
#include "services/redis/evaluate.h"
#include "wire/resp.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct run {
    struct row_table *table;
    struct arena arena;
    struct buffer effects, reply;
    uint64_t index;
    int64_t time;
};

static void apply(struct run *run)
{
    struct reader reader = reader_make(buffer_bytes(&run->effects));
    struct effect effect;
    enum status status;

    run->index++;
    while ((status = effect_decode(&reader, &effect)) == STATUS_OK)
        effect_apply(&effect, run->index, false, run->table);
    ASSERT(status == STATUS_NOT_FOUND);
}

static void check_value(struct bytes value)
{
    ASSERT(value.size > 0 && resp_value_size(value) == value.size);
}

static void check_batch(struct bytes reply, bool refused)
{
    enum redis_batch_outcome outcome;
    struct bytes rest, value;

    ASSERT(redis_batch_read_outcome(reply, &outcome, &rest));
    ASSERT(refused == (outcome != REDIS_BATCH_EXECUTED));
    if (outcome == REDIS_BATCH_REFUSED) check_value(rest);
    while (outcome == REDIS_BATCH_EXECUTED && rest.size > 0) {
        ASSERT(redis_batch_read_reply(&rest, &value));
        check_value(value);
    }
}

static void evaluate(struct run *run, struct bytes body)
{
    struct row_context rows = {.slot_last = SLOT_COUNT - 1, .hash_secret = {1, 2}};
    struct request request = {.service = SERVICE_REDIS, .body = body};
    struct reply reply = {.buffer = &run->reply};

    buffer_clear(&run->effects);
    buffer_clear(&run->reply);
    arena_reset(&run->arena);
    row_context_begin(&rows, run->table, &run->arena, &run->effects, run->index, run->time,
                      run->index + 1);
    enum evaluate_result result = redis_evaluate(&rows, &request, &reply);
    if (result == EVALUATE_DONE && !rows.over_budget) {
        struct bytes value = buffer_bytes(&run->reply);
        if (body.size > 0 && body.data[0] == REDIS_BATCH_FORMAT)
            check_batch(value, rows.refused);
        else
            check_value(value);
        ASSERT(buffer_size(&run->effects) < ENTRY_BODY_MAX - OUTCOME_SIZE_MAX);
        if (rows.effect_count && !rows.refused) apply(run);
    }
    row_context_end(&rows);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct reader reader = reader_make(bytes_make(data, size));
    struct run run = {.table = row_table_make(), .time = INT64_C(1700000000) * 1000000};

    arena_init(&run.arena, 1 << 16);
    buffer_init(&run.effects, ENTRY_BODY_MAX);
    buffer_init(&run.reply, 8 << 20);
    int64_t step_us = (int64_t)read_u8(&reader) * 1000;
    while (!reader.failed && reader_left(&reader)) {
        size_t left = reader_left(&reader);
        size_t body = read_u16(&reader);
        if (body > left) body = reader_left(&reader);
        evaluate(&run, read_bytes(&reader, body));
        run.time += step_us;
    }
    row_table_free(run.table);
    arena_free(&run.arena);
    buffer_free(&run.effects);
    buffer_free(&run.reply);
    return 0;
}
