#include "services/redis/evaluate.h"

#include "base/assert.h"
#include "services/redis/batch.h"
#include "services/redis/evaluate_internal.h"
#include "services/redis/stage.h"

enum evaluate_result redis_call_refuse(struct redis_call *call, size_t start, const char *text)
{
    buffer_cut(call->out.buffer, start);
    call->out.failed = false;
    return redis_reply_error(call, text);
}

/* What stands for "stage": no client can name it. */
static const struct redis_command stage_command = {.name = "stage",
                                                   .arity = 5,
                                                   .flags = REDIS_WRITES | REDIS_GROWS,
                                                   .first_key = 1,
                                                   .last_key = 1,
                                                   .key_step = 1,
                                                   .evaluate = redis_stage_evaluate};

static bool references_are_right(const struct redis_command *command, const struct redis_body *body)
{
    if (body->reference_count == 0) return true;
    if (!(command->flags & REDIS_STAGES)) return false;
    for (uint32_t i = 0; i < body->reference_count; i++) {
        uint32_t argument = body->references[i].argument;
        uint32_t step = argument - (uint32_t)command->first_key;
        if (step == 0 || (command->key_step == 2 && step % 2 == 0)) return false; /* a key */
    }
    return true;
}

static inline bool take(struct redis_call *call, const struct redis_body *body)
{
    call->command =
        body->flags & REDIS_BODY_STAGE ? &stage_command : redis_command_by_id(body->command);
    if (call->command == NULL || call->command->evaluate == NULL) return false;
    if (!redis_arity_is_right(call->command, body->count + 1)) return false;
    if (!references_are_right(call->command, body)) return false;

    struct bytes *arguments = (struct bytes *)body->arguments - 1; /* room left by decode */
    arguments[0] = bytes_of(call->command->name);
    call->arguments = arguments;
    call->count = body->count + 1;
    call->database = body->database;
    call->body = body;
    call->out.resp3 = body->flags & REDIS_BODY_RESP3;
    return true;
}

bool redis_call_take(struct redis_call *call, const struct redis_body *body)
{
    return take(call, body);
}

void redis_call_want_keys(struct redis_call *call)
{
    uint32_t count = redis_key_count(call->command, call->count);
    struct redis_key key;

    if (row_table_complete(call->rows->table)) return;
    for (uint32_t i = 0; i < count; i++) {
        uint32_t at = (uint32_t)call->command->first_key + i * (uint32_t)call->command->key_step;
        redis_key_locate(call, call->arguments[at], &key);
        row_want(call->rows, key.row_key);
    }
}

/* The command, and what was sent ahead of it. */
static enum evaluate_result run(struct redis_call *call)
{
    bool whole = true;

    if (redis_stage_check(call, &whole) == ROW_STOP) return redis_stop(call);
    if (!whole) return EVALUATE_DONE;
    enum evaluate_result result = call->command->evaluate(call);
    if (result != EVALUATE_DONE || call->out.failed) return result;
    return redis_stage_drop_rest(call) == ROW_STOP ? redis_stop(call) : EVALUATE_DONE;
}

static enum evaluate_result evaluate_one(struct row_context *rows, const struct request *request,
                                         struct reply *reply)
{
    size_t reply_start = buffer_size(reply->buffer);
    uint32_t effects_before = rows->effect_count;
    struct redis_limits limits = redis_limits_default();
    struct redis_body body;
    struct redis_call call = {.rows = rows,
                              .now_ms = row_time_ms(rows),
                              .limits = rows->options ? rows->options : &limits,
                              .out = resp_writer_make(reply->buffer, false)};

    /* Only another node sends bodies; a newer one may know commands that this one does not. */
    if (redis_body_decode(request->body, rows->arena, &body) || !take(&call, &body))
        return redis_reply_error(&call, REDIS_NOT_UNDERSTOOD);
    if (redis_namespace_find(&call, call.database, &call.namespace) == ROW_STOP)
        return redis_stop(&call);

    rows->written_is_enough = rows->databases_in_memory >> call.database & 1;
    if (redis_key_count(call.command, call.count) > 1) redis_call_want_keys(&call);
    if (rows->need_rows) return redis_stop(&call);
    enum evaluate_result result = run(&call);

    /* Both cases would end the same way each time, so they are answers, not retries. */
    bool no_effects = rows->effect_count == effects_before;
    if (call.misrouted && no_effects) return redis_call_refuse(&call, reply_start, REDIS_MISROUTED);
    if (call.misrouted) return EVALUATE_OVER_BUDGET; /* throws the effects away */
    if (result == EVALUATE_OVER_BUDGET && no_effects)
        return redis_call_refuse(&call, reply_start,
                                 "ERR the command reads too many keys or bytes at once");
    if (result == EVALUATE_DONE && call.out.failed && no_effects)
        return redis_call_refuse(&call, reply_start, REDIS_REPLY_TOO_LARGE);
    if (result == EVALUATE_DONE && call.out.failed) return EVALUATE_OVER_BUDGET;
    return result;
}

enum evaluate_result redis_evaluate(struct row_context *rows, const struct request *request,
                                    struct reply *reply)
{
    bool batch = request->body.size > 0 && request->body.data[0] == REDIS_BATCH_FORMAT;

    return batch ? redis_batch_evaluate(rows, request, reply) : evaluate_one(rows, request, reply);
}
