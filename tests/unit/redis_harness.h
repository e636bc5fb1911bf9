/* redis_harness.h - evaluates Redis commands over a table in memory: one partition with all
 * slots, each command one entry that commits at once. For tests of src/services/redis. */
#ifndef HOLON_TESTS_UNIT_REDIS_HARNESS_H
#define HOLON_TESTS_UNIT_REDIS_HARNESS_H

#include "unit.h"

#include <stdlib.h>

#include "base/hash.h"
#include "partition/effects.h"
#include "services/redis/command.h"
#include "services/redis/evaluate.h"
#include "services/redis/request_body.h"
#include "wire/resp.h"

struct redis_harness {
    struct row_table *table;
    struct arena arena;
    struct buffer effects, body, reply;
    struct redis_command_index commands;
    uint64_t index; /* of the last entry */
    int64_t time;   /* us */
    uint8_t database;
    bool resp3;
    uint16_t slot_first, slot_last;
    enum evaluate_result result;
    uint32_t effect_count; /* of the last command */
    uint64_t dep;
};

static inline struct redis_harness *redis_harness_make(void)
{
    struct redis_harness *harness = calloc(1, sizeof(*harness));

    harness->table = row_table_make();
    arena_init(&harness->arena, 1 << 20);
    buffer_init(&harness->effects, ENTRY_BODY_MAX);
    buffer_init(&harness->body, 2 << 20);
    buffer_init(&harness->reply, 8 << 20);
    redis_command_index_build(&harness->commands);
    harness->time = INT64_C(1700000000) * 1000000;
    harness->slot_last = SLOT_COUNT - 1;
    return harness;
}

static inline void redis_harness_free(struct redis_harness *harness)
{
    row_table_free(harness->table);
    arena_free(&harness->arena);
    buffer_free(&harness->effects);
    buffer_free(&harness->body);
    buffer_free(&harness->reply);
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

/* Runs a command whose arity is right; the reply is valid until the next one. */
static inline struct bytes redis_harness_run(struct redis_harness *harness,
                                             const struct bytes *arguments, uint32_t count)
{
    const struct redis_command *command =
        redis_command_find(&harness->commands, arguments[0], NULL);
    struct redis_body body = {.flags = harness->resp3 ? REDIS_BODY_RESP3 : 0,
                              .database = harness->database,
                              .arguments = arguments + 1,
                              .count = count - 1};
    struct row_context rows = {
        .slot_first = harness->slot_first, .slot_last = harness->slot_last, .hash_secret = {1, 2}};
    struct reply reply = {.buffer = &harness->reply};
    struct request request = {.service = SERVICE_REDIS};

    assert_non_null(command);
    body.command = command->id;
    if (command->first_key && count > (uint32_t)command->first_key)
        request.slot = key_slot(arguments[command->first_key]);
    buffer_clear(&harness->body);
    buffer_clear(&harness->effects);
    buffer_clear(&harness->reply);
    arena_reset(&harness->arena);
    assert_int_equal(redis_body_encode(&body, &harness->body), STATUS_OK);
    request.body = buffer_bytes(&harness->body);
    row_context_begin(&rows, harness->table, &harness->arena, &harness->effects, harness->index,
                      harness->time, harness->index + 1);
    harness->result = redis_evaluate(&rows, &request, &reply);
    harness->effect_count = rows.effect_count;
    harness->dep = rows.dep;
    row_context_end(&rows);
    if (harness->result == EVALUATE_DONE) redis_harness_apply(harness);
    return buffer_bytes(&harness->reply);
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
