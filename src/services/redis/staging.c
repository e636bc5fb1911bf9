/* staging.c - at the client's node: a command whose values are too big for one log entry. They
 * are sent ahead in requests of limits.stage_bytes, STAGES_OPEN_MAX under way at a time, then the
 * command with references to them (stage.h).
 *
 * Such a command runs alone on its connection, like a fan-out: that keeps the order of what
 * comes before and behind it. If a stage fails, whatever became of it, the command was not
 * executed; what was sent is collected after a while by the leader. The bytes of all commands
 * being staged by a worker are bounded: beyond STAGING_BYTES_MAX a command is refused. */
#include "base/assert.h"
#include "base/memory.h"
#include "services/redis/frontend.h"
#include "services/redis/stage.h"

enum {
    STAGES_OPEN_MAX = 4,
    STAGE_OVERHEAD = 64, /* of a request beside key and part */
    WIRE_ID_SIZE = 10,
};

struct stage {
    struct gateway_request request;
    struct staging *staging;
    bool open;
};

struct staging {
    struct connection *connection;
    const struct redis_command *command;
    uint16_t slot; /* routing slot of the command */
    bool silent;
    bool failed;
    uint8_t *copy; /* of all arguments */
    size_t bytes;
    struct bytes *arguments;
    uint32_t count;
    struct redis_reference references[REDIS_REFERENCES_MAX];
    uint32_t reference_count;
    uint32_t current; /* reference that is being sent */
    uint64_t sent;    /* of it */
    bool has_id;
    struct stage stages[STAGES_OPEN_MAX];
    uint32_t open_count;
    struct buffer error;
};

static const struct redis_limits *limits_of(const struct staging *staging)
{
    return &staging->connection->service->options.limits;
}

static size_t size_of(const struct bytes *arguments, uint32_t count)
{
    size_t size = 0;
    for (uint32_t i = 0; i < count; i++)
        size += arguments[i].size;
    return size;
}

bool staging_wanted(const struct redis_service *service, const struct redis_command *command,
                    const struct bytes *arguments, uint32_t count)
{
    return (command->flags & REDIS_STAGES) &&
           size_of(arguments, count) > service->options.limits.stage_from;
}

static bool is_value(const struct redis_command *command, uint32_t index)
{
    uint32_t step = index - (uint32_t)command->first_key;
    return index > (uint32_t)command->first_key && (command->key_step != 2 || step % 2 == 1);
}

static void find_values(struct staging *staging)
{
    const struct redis_limits *limits = &staging->connection->service->options.limits;

    for (uint32_t i = 1; i < staging->count; i++) {
        bool big = staging->arguments[i].size > limits->string_row_max;
        if (!big || !is_value(staging->command, i)) continue;
        if (staging->reference_count == REDIS_REFERENCES_MAX) return; /* the rest goes along */
        staging->references[staging->reference_count++] =
            (struct redis_reference){.argument = i, .size = staging->arguments[i].size};
    }
}

static void staging_free(struct staging *staging)
{
    struct connection *connection = staging->connection;

    connection->service->staging_bytes -= staging->bytes;
    connection->staging = NULL;
    buffer_free(&staging->error);
    memory_free(staging->copy);
    memory_free(staging->arguments);
    memory_free(staging);
}

static void staging_fail(struct staging *staging, struct bytes error)
{
    if (staging->failed) return;
    staging->failed = true;
    buffer_append(&staging->error, error);
}

/* --- stages ---------------------------------------------------------------------------------- */

static void on_stage_outcome(struct staging *staging, enum gateway_outcome outcome,
                             struct bytes reply)
{
    struct connection *connection = staging->connection;
    struct buffer text;

    /* Whether the stage was done or not: the command itself was not. */
    bool sure = outcome == GATEWAY_BUSY || outcome == GATEWAY_NO_SPACE ||
                (outcome == GATEWAY_TOO_BIG && reply.size > 0);
    if (!sure) outcome = GATEWAY_UNAVAILABLE;
    outcome_count(connection->service, outcome);
    buffer_init(&text, 1 << 20);
    struct resp_writer out = resp_writer_make(&text, connection->resp3);
    struct gateway_request stage = {.slot = staging->slot};
    outcome_write(connection->service, &out, outcome, &stage, sure ? reply : bytes_make(NULL, 0));
    staging_fail(staging, buffer_bytes(&text));
    buffer_free(&text);
}

static void on_stage_reply(struct gateway_request *request, enum gateway_outcome outcome,
                           struct bytes reply)
{
    struct stage *stage = CONTAINER_OF(request, struct stage, request);
    struct staging *staging = stage->staging;
    struct redis_reference *reference = &staging->references[staging->current];
    struct redis_part_id id;

    stage->open = false;
    staging->open_count--;
    if (outcome != GATEWAY_REPLY) {
        on_stage_outcome(staging, outcome, reply);
    } else if (resp_is_error(reply)) {
        staging_fail(staging, reply);
    } else if (!staging->has_id && redis_stage_reply_parse(reply, &id)) {
        staging->has_id = true;
        reference->index = id.index;
        reference->number = id.number;
    } else if (!redis_stage_reply_is_ok(reply)) {
        staging_fail(staging, bytes_of("-ERR another node gave an answer that makes no sense; the "
                                       "command was not executed\r\n"));
    }
    connection_wake(staging->connection); /* nothing is submitted inside the gateway's callback */
}

static void submit_stage(struct staging *staging, struct stage *stage)
{
    struct redis_service *service = staging->connection->service;
    const struct redis_reference *reference = &staging->references[staging->current];
    struct bytes value = staging->arguments[reference->argument];
    size_t left = value.size - staging->sent;
    size_t size =
        left < service->options.limits.stage_bytes ? left : service->options.limits.stage_bytes;
    uint8_t offset[8], id[WIRE_ID_SIZE];
    struct bytes key =
        staging->arguments[redis_key_index_of_value(staging->command, reference->argument)];
    struct bytes arguments[] = {key, bytes_make(id, staging->sent ? sizeof(id) : 0),
                                bytes_make(offset, sizeof(offset)),
                                bytes_make(value.data + staging->sent, size)};
    struct redis_body body = {.flags = REDIS_BODY_STAGE,
                              .database = staging->connection->database,
                              .arguments = arguments,
                              .count = ARRAY_COUNT(arguments)};

    store_u64(offset, staging->sent);
    store_u64(id, reference->index);
    store_u16(id + 8, reference->number);
    buffer_clear(&service->body);
    enum status status = redis_body_encode(&body, &service->body);
    ASSERT(status == STATUS_OK); /* a part of a size that is ours, and a key */
    staging->sent += size;
    stage->staging = staging;
    stage->open = true;
    staging->open_count++;
    stage->request = (struct gateway_request){.service = SERVICE_REDIS,
                                              .slot = key_slot(key),
                                              .write = true,
                                              .grows = true,
                                              .client = (uint16_t)staging->connection->id,
                                              .ordered = true,
                                              .body = buffer_bytes(&service->body),
                                              .on_reply = on_stage_reply};
    service->statistics.stages++;
    gateway_submit(service->options.gateway, &stage->request);
}

/* The first stage goes alone: its reply is the id. */
static void submit_stages(struct staging *staging)
{
    const struct redis_reference *reference = &staging->references[staging->current];
    bool loses_the_rest = limits_of(staging)->planted & REDIS_BUG_STAGES_NOT_CHECKED;

    for (uint32_t i = 0; i < STAGES_OPEN_MAX; i++) {
        bool waits_for_id = staging->sent > 0 && !staging->has_id;
        if (staging->failed || waits_for_id || staging->sent == reference->size) return;
        if (!staging->stages[i].open) submit_stage(staging, &staging->stages[i]);
        if (loses_the_rest) staging->sent = reference->size;
    }
}

/* --- the command ------------------------------------------------------------------------------ */

static void answer_failure(struct staging *staging)
{
    struct connection *connection = staging->connection;
    struct local_reply reply;

    if (staging->silent) return;
    enum reply_mode mode = connection->reply_mode; /* that of the commands behind */
    connection->reply_mode = REPLY_ON;
    local_reply_begin(connection, &reply);
    resp_write_raw(&reply.out, buffer_bytes(&staging->error));
    local_reply_end(&reply);
    connection->reply_mode = mode;
}

static void submit_command(struct staging *staging)
{
    struct connection *connection = staging->connection;
    struct redis_service *service = connection->service;
    struct redis_body body = {.flags = connection->resp3 ? REDIS_BODY_RESP3 : 0,
                              .database = connection->database,
                              .command = staging->command->id,
                              .count = staging->count - 1,
                              .arguments = staging->arguments + 1,
                              .reference_count = staging->reference_count,
                              .references = staging->references};

    if (body.reference_count) body.flags |= REDIS_BODY_REFERENCES;
    for (uint32_t i = 0; i < staging->reference_count; i++)
        staging->arguments[staging->references[i].argument].size = 0;
    buffer_clear(&service->body);
    bool fits = redis_body_encode(&body, &service->body) == STATUS_OK &&
                buffer_size(&service->body) <= BODY_SIZE_MAX;
    if (!fits) {
        staging_fail(staging, bytes_of("-ERR command too big; nothing was executed\r\n"));
        answer_failure(staging);
        return;
    }
    connection_submit_body(connection, staging->command, staging->slot, staging->count,
                           staging->silent);
}

void staging_continue(struct connection *connection)
{
    struct staging *staging = connection->staging;
    struct redis_reference *reference = &staging->references[staging->current];

    if (!staging->failed && staging->current < staging->reference_count) {
        bool sent = staging->sent == reference->size && staging->has_id;
        if (sent && staging->open_count == 0) {
            staging->current++;
            staging->sent = 0;
            staging->has_id = false;
        }
        if (staging->current < staging->reference_count) submit_stages(staging);
    }
    if (staging->open_count > 0) return;
    if (staging->failed)
        answer_failure(staging);
    else if (staging->current < staging->reference_count) {
        connection_wake(connection); /* answered while it was sent */
        return;
    } else
        submit_command(staging);
    staging_free(staging);
}

void staging_start(struct connection *connection, const struct redis_command *command,
                   uint16_t slot, const struct bytes *arguments, uint32_t count)
{
    struct redis_service *service = connection->service;
    size_t bytes = size_of(arguments, count);

    ASSERT(connection->staging == NULL && list_empty(&connection->slots));
    if (service->staging_bytes + bytes > STAGING_BYTES_MAX) {
        service->statistics.busy++;
        connection_reply_error(connection, "BUSY too many big values are being written through "
                                           "this node; the command was not executed, try again");
        return;
    }
    struct staging *staging = memory_allocate_zero(sizeof(*staging));
    *staging = (struct staging){.connection = connection,
                                .command = command,
                                .slot = slot,
                                .silent = connection->reply_mode == REPLY_OFF ||
                                          connection->reply_mode == REPLY_SKIP,
                                .copy = memory_allocate(bytes + 1),
                                .bytes = bytes,
                                .arguments = memory_allocate(count * sizeof(arguments[0])),
                                .count = count};
    uint8_t *at = staging->copy;
    for (uint32_t i = 0; i < count; i++) {
        if (arguments[i].size) memcpy(at, arguments[i].data, arguments[i].size);
        staging->arguments[i] = bytes_make(at, arguments[i].size);
        at += arguments[i].size;
    }
    buffer_init(&staging->error, 1 << 20);
    service->staging_bytes += bytes;
    connection->staging = staging;
    find_values(staging);
    connection_wake(connection);
}

size_t staging_bytes(const struct connection *connection)
{
    return connection->staging ? connection->staging->bytes : 0;
}

void staging_cancel(struct connection *connection)
{
    struct staging *staging = connection->staging;

    if (staging == NULL) return;
    for (uint32_t i = 0; i < STAGES_OPEN_MAX; i++) {
        struct stage *stage = &staging->stages[i];
        if (stage->open) gateway_forget(connection->service->options.gateway, &stage->request);
    }
    staging_free(staging);
}
