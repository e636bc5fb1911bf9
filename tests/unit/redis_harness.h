/* redis_harness.h - evaluates Redis commands over a table in memory: one partition with all
 * slots, each command one entry that commits at once. For tests of src/services/redis. */
#ifndef HOLON_TESTS_UNIT_REDIS_HARNESS_H
#define HOLON_TESTS_UNIT_REDIS_HARNESS_H

#include "unit.h"

#include <stdlib.h>

#include "base/hash.h"
#include "partition/effects.h"
#include "services/redis/chore.h"
#include "services/redis/command.h"
#include "services/redis/evaluate.h"
#include "services/redis/limits.h"
#include "services/redis/request_body.h"
#include "services/redis/rows_check.h"
#include "services/redis/stage.h"
#include "wire/resp.h"

struct redis_harness {
    struct row_table *table;
    struct arena arena;
    struct buffer effects, body, reply, wanted;
    struct redis_command_index commands;
    uint64_t index; /* of the last entry */
    int64_t time;   /* us */
    int64_t leads_since;
    uint8_t database;
    bool resp3;
    uint16_t slot_first, slot_last;
    enum evaluate_result result;
    uint32_t effect_count; /* of the last command */
    uint32_t wanted_count; /* with EVALUATE_NEED_ROWS: rows, in `wanted` */
    uint64_t engine_index; /* nothing of later entries is in the engine */
    uint64_t dep;
    int64_t chore_at;
    struct redis_limits limits;
    bool dry;     /* nothing is applied */
    bool refused; /* the last one: row_refuse() */
    struct row_reads *reads;
};

static inline struct redis_harness *redis_harness_make(void)
{
    struct redis_harness *harness = calloc(1, sizeof(*harness));

    harness->table = row_table_make();
    arena_init(&harness->arena, 1 << 20);
    buffer_init(&harness->effects, ENTRY_BODY_MAX);
    buffer_init(&harness->body, 2 << 20);
    buffer_init(&harness->reply, 64 << 20);
    buffer_init(&harness->wanted, 64 << 20);
    redis_command_index_build(&harness->commands);
    harness->time = INT64_C(1700000000) * 1000000;
    harness->slot_last = SLOT_COUNT - 1;
    harness->limits = redis_limits_default();
    return harness;
}

static inline void redis_harness_free(struct redis_harness *harness)
{
    row_table_free(harness->table);
    arena_free(&harness->arena);
    buffer_free(&harness->effects);
    buffer_free(&harness->body);
    buffer_free(&harness->reply);
    buffer_free(&harness->wanted);
    free(harness);
}

static inline void redis_harness_apply(struct redis_harness *harness)
{
    struct reader reader = reader_make(buffer_bytes(&harness->effects));
    struct effect effect;

    if (harness->effect_count == 0) return;
    harness->index++;
    while (effect_decode(&reader, &effect) == STATUS_OK)
        effect_apply(&effect, harness->index, false, harness->table);
}

/* Evaluates as one entry that commits at once; the reply is valid until the next one. */
static inline struct bytes redis_harness_evaluate(struct redis_harness *harness,
                                                  evaluate_fn *evaluate, struct request request)
{
    struct row_context rows = {.slot_first = harness->slot_first,
                               .slot_last = harness->slot_last,
                               .hash_secret = {1, 2},
                               .leads_since = harness->leads_since,
                               .next_index = harness->index + 1,
                               .options = &harness->limits};
    struct reply reply = {.buffer = &harness->reply};

    buffer_clear(&harness->effects);
    buffer_clear(&harness->reply);
    buffer_clear(&harness->wanted);
    arena_reset(&harness->arena);
    row_context_begin(&rows, harness->table, &harness->arena, &harness->effects, harness->index,
                      harness->time, harness->index + 1);
    rows.wanted = &harness->wanted;
    rows.engine_index = harness->engine_index;
    rows.reads = harness->reads;
    harness->result = evaluate(&rows, &request, &reply);
    harness->effect_count = rows.effect_count;
    harness->wanted_count = rows.wanted_count;
    harness->dep = rows.dep;
    harness->chore_at = rows.chore_at;
    harness->refused = rows.refused;
    row_context_end(&rows);
    if (rows.over_budget && harness->result == EVALUATE_DONE)
        harness->result = EVALUATE_OVER_BUDGET;
    bool applies = harness->result == EVALUATE_DONE && !rows.refused && !harness->dry;
    if (applies) redis_harness_apply(harness);
    return buffer_bytes(&harness->reply);
}

static inline struct bytes redis_harness_body(struct redis_harness *harness,
                                              const struct redis_body *body, uint16_t slot)
{
    buffer_clear(&harness->body);
    assert_int_equal(redis_body_encode(body, &harness->body), STATUS_OK);
    struct request request = {
        .service = SERVICE_REDIS, .slot = slot, .body = buffer_bytes(&harness->body)};
    return redis_harness_evaluate(harness, redis_evaluate, request);
}

/* One step in the background. True: it wants another at once. */
static inline bool redis_harness_chore(struct redis_harness *harness)
{
    redis_harness_evaluate(harness, redis_chore, (struct request){.service = SERVICE_REDIS});
    assert_int_equal(harness->result, EVALUATE_DONE);
    return harness->chore_at <= harness->time;
}

/* Sends a value ahead of its command, as the gateway does. */
static inline struct redis_reference redis_harness_stage(struct redis_harness *harness,
                                                         struct bytes key, struct bytes value)
{
    uint8_t offset[8], id[10];
    struct redis_part_id made = {0};
    size_t sent = 0;

    do {
        size_t left = value.size - sent;
        size_t size = left < harness->limits.stage_bytes ? left : harness->limits.stage_bytes;
        struct bytes arguments[] = {key, bytes_make(id, sent ? sizeof(id) : 0),
                                    bytes_make(offset, sizeof(offset)),
                                    bytes_make(value.data + sent, size)};
        struct redis_body body = {.flags = REDIS_BODY_STAGE,
                                  .database = harness->database,
                                  .arguments = arguments,
                                  .count = 4};
        store_u64(offset, sent);
        struct bytes reply = redis_harness_body(harness, &body, key_slot(key));
        assert_int_equal(harness->result, EVALUATE_DONE);
        if (sent == 0)
            assert_true(redis_stage_reply_parse(reply, &made));
        else
            assert_true(redis_stage_reply_is_ok(reply));
        store_u64(id, made.index);
        store_u16(id + 8, made.number);
        sent += size;
    } while (sent < value.size);
    return (struct redis_reference){.index = made.index, .number = made.number, .size = value.size};
}

enum { HARNESS_ARGUMENTS_MAX = 32 };

/* Runs a command whose arity is right, its big values sent ahead; the reply is valid until the
 * next one. */
static inline struct bytes redis_harness_run(struct redis_harness *harness,
                                             const struct bytes *arguments, uint32_t count)
{
    const struct redis_command *command =
        redis_command_find(&harness->commands, arguments[0], NULL);
    struct redis_body body = {.flags = harness->resp3 ? REDIS_BODY_RESP3 : 0,
                              .database = harness->database,
                              .arguments = arguments + 1,
                              .count = count - 1};
    struct redis_reference references[HARNESS_ARGUMENTS_MAX];
    struct bytes rest[HARNESS_ARGUMENTS_MAX];
    uint16_t slot = 0;
    size_t size = 0;

    assert_non_null(command);
    body.command = command->id;
    if (command->first_key && count > (uint32_t)command->first_key)
        slot = key_slot(arguments[command->first_key]);
    for (uint32_t i = 1; i < count; i++)
        size += arguments[i].size;
    bool stages = (command->flags & REDIS_STAGES) && size > harness->limits.stage_from;
    for (uint32_t i = 1; stages && i < count; i++) {
        assert_true(i < HARNESS_ARGUMENTS_MAX);
        rest[i - 1] = arguments[i];
        bool value = i > 1 && (command->key_step != 2 || i % 2 == 0);
        if (!value || arguments[i].size <= harness->limits.string_row_max) continue;
        struct bytes key = arguments[redis_key_index_of_value(command, i)];
        references[body.reference_count] = redis_harness_stage(harness, key, arguments[i]);
        references[body.reference_count++].argument = i;
        rest[i - 1] = bytes_make(NULL, 0);
    }
    if (body.reference_count) {
        body.flags |= REDIS_BODY_REFERENCES;
        body.references = references;
        body.arguments = rest;
    }
    return redis_harness_body(harness, &body, slot);
}

/* Words separated by spaces, "quoted" as for an inline command; the reply as a C string. */
static inline const char *redis_harness_line(struct redis_harness *harness, const char *line)
{
    static _Thread_local char text[1 << 16];
    uint8_t room[4096];
    struct bytes words[512];
    uint32_t count = 0;

    assert_true(strlen(line) < sizeof(room));
    assert_true(resp_split_line(bytes_of(line), room, words, 512, &count));
    struct bytes reply = redis_harness_run(harness, words, count);
    assert_true(reply.size < sizeof(text));
    memcpy(text, reply.data ? reply.data : (const uint8_t *)"", reply.size);
    text[reply.size] = 0;
    return text;
}

#endif
