#include "services/redis/evaluate.h"

#include "base/assert.h"
#include "services/redis/call.h"
#include "services/redis/request_body.h"
#include "services/redis/stage.h"

/* The reply goes away with what was written of it; effects must not be there yet. */
static enum evaluate_result refuse(struct redis_call *call, size_t reply_start, const char *text)
{
    struct buffer *buffer = call->out.buffer;

    buffer->end = buffer->start + reply_start;
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

static bool decode(struct redis_call *call, struct bytes bytes, struct redis_body *body)
{
    if (redis_body_decode(bytes, call->rows->arena, body)) return false;
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

/* All keys at once: those that are not in memory are fetched together. */
static void want_keys(struct redis_call *call)
{
    uint32_t count = redis_key_count(call->command, call->count);
    struct redis_key key;

    if (count < 2 || row_table_complete(call->rows->table)) return;
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

enum evaluate_result redis_evaluate(struct row_context *rows, const struct request *request,
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
    if (!decode(&call, request->body, &body))
        return redis_reply_error(&call, "ERR this node does not understand the request: it may "
                                        "run an older version; nothing was executed");
    if (redis_namespace_find(&call, call.database, &call.namespace) == ROW_STOP)
        return redis_stop(&call);

    rows->written_is_enough = rows->databases_in_memory >> call.database & 1;
    want_keys(&call);
    if (rows->need_rows) return redis_stop(&call);
    enum evaluate_result result = run(&call);

    /* Both cases would end the same way each time, so they are answers, not retries. */
    bool no_effects = rows->effect_count == effects_before;
    if (call.misrouted && no_effects)
        return refuse(&call, reply_start,
                      "ERR a key is not of this partition; nothing was executed");
    if (call.misrouted) return EVALUATE_OVER_BUDGET; /* throws the effects away */
    if (result == EVALUATE_OVER_BUDGET && no_effects)
        return refuse(&call, reply_start, "ERR the command reads too many keys or bytes at once");
    if (result == EVALUATE_DONE && call.out.failed && no_effects)
        return refuse(&call, reply_start,
                      "ERR the reply is larger than this version of Holon allows");
    if (result == EVALUATE_DONE && call.out.failed) return EVALUATE_OVER_BUDGET;
    return result;
}
