#include "services/redis/exec.h"

#include <stdio.h>

#include "base/assert.h"
#include "base/memory.h"
#include "services/redis/guard.h"
#include "services/redis/multi.h"

enum { ARENA_KEPT_BYTES = 64 << 10 };

bool exec_is_ready(const struct redis_service *service)
{
    return service->options.txn != NULL && service_has_view(service) &&
           service->options.view->cluster_version >= VIEW_VERSION_TXN;
}

void exec_write_unready(const struct redis_service *service, struct resp_writer *out,
                        const char *what)
{
    if (!service_has_view(service))
        resp_write_error(out, "UNAVAILABLE the cluster is being formed; the command was not "
                              "executed, try again");
    else
        resp_write_error_format(out,
                                "ERR %s needs transactions over partitions, but the cluster still "
                                "runs at version %u; finish the upgrade (holon upgrade finalize). "
                                "Nothing was changed",
                                what, (unsigned)service->options.view->cluster_version);
}

void exec_format_too_big(const struct redis_service *service, char *text, size_t size)
{
    snprintf(
        text, size,
        "ERR a transaction, or a command over several partitions, may have at most %u bytes in "
        "each partition in this version of Holon: send large values in a command of their "
        "own; nothing was executed",
        (unsigned)service->options.limits.stage_from);
}

/* --- making ---------------------------------------------------------------------------------- */

static struct exec *exec_make(struct connection *connection)
{
    struct redis_service *service = connection->service;
    struct exec *exec = memory_allocate_zero(sizeof(*exec));

    ASSERT(list_empty(&connection->slots) && connection->exec == NULL);
    exec->connection = connection;
    exec->silent = connection->reply_mode == REPLY_OFF || connection->reply_mode == REPLY_SKIP;
    exec->started = service->now;
    arena_init(&exec->arena, ARENA_KEPT_BYTES);
    arena_init(&exec->plan, ARENA_KEPT_BYTES);
    arena_init(&exec->looked, ARENA_KEPT_BYTES);
    buffer_init(&exec->queue, MULTI_BYTES_MAX);
    buffer_init(&exec->watches, MULTI_BYTES_MAX);
    uint32_t partitions = service->options.view->partition_count;
    exec->numbers = memory_allocate_zero(partitions * sizeof(exec->numbers[0]));
    exec->seed = world_random(service->options.world);
    connection->exec = exec;
    service->statistics.transactions++;
    return exec;
}

static void exec_free(struct exec *exec)
{
    exec_unbuild(exec);
    arena_free(&exec->arena);
    arena_free(&exec->plan);
    arena_free(&exec->looked);
    buffer_free(&exec->queue);
    buffer_free(&exec->watches);
    guards_free(exec->guards);
    memory_free(exec->numbers);
    memory_free(exec);
}

static void decode_commands(struct exec *exec)
{
    struct reader reader = reader_make(buffer_bytes(&exec->queue));

    exec->commands = arena_allocate(&exec->arena, exec->command_count * sizeof(exec->commands[0]));
    for (uint32_t i = 0; i < exec->command_count; i++) {
        struct bytes bytes = read_sized(&reader);
        struct redis_body body;
        enum status status = redis_body_decode(bytes, &exec->arena, &body);
        ASSERT(status == STATUS_OK);                                  /* own encoding */
        struct bytes *arguments = (struct bytes *)body.arguments - 1; /* room left by decode */
        const struct redis_command *command = redis_command_by_id(body.command);
        arguments[0] = bytes_of(command->name);
        exec->commands[i] = (struct exec_command){.command = command,
                                                  .arguments = arguments,
                                                  .count = body.count + 1,
                                                  .database = body.database,
                                                  .body = bytes};
        exec->writes |= (command->flags & REDIS_WRITES) != 0;
    }
}

/* --- rounds ---------------------------------------------------------------------------------- */

static void on_done(struct txn_request *request, enum txn_result result,
                    const struct txn_piece *refused)
{
    struct exec *exec = CONTAINER_OF(request, struct exec, request);

    exec->open = false;
    exec->answered = true;
    exec->result = result;
    exec->refused = refused;
    connection_wake(exec->connection); /* nothing is submitted inside callbacks */
}

static void finish(struct exec *exec, bool failed)
{
    struct connection *connection = exec->connection;
    struct redis_service *service = connection->service;
    enum reply_mode mode = connection->reply_mode;
    struct local_reply reply;

    histogram_record(exec->writes ? &service->write_latency : &service->read_latency,
                     world_now(service->options.world) - exec->started);
    reads_after_transaction(connection, exec->writes);
    /* Whether it is wanted was fixed when the command came. */
    connection->reply_mode = exec->silent ? REPLY_OFF : REPLY_ON;
    local_reply_begin(connection, &reply);
    if (failed)
        exec_write_failure(exec, &reply.out);
    else
        exec_write(exec, &reply.out);
    local_reply_end(&reply);
    connection->reply_mode = mode;
    connection->exec = NULL;
    exec_free(exec);
}

/* Plans and sends the next round. */
static void begin_round(struct exec *exec)
{
    struct connection *connection = exec->connection;

    exec_unbuild(exec);
    exec_plan(exec);
    bool too_many = exec->looking != NULL && exec->looks++ == EXEC_LOOKS_MAX;
    if (too_many)
        exec->wrong = "ERR too many RENAME, RENAMENX, COPY and MSETNX over several partitions in "
                      "one transaction: at most 64 in this version of Holon; nothing was executed";
    if (too_many || !exec_build(exec)) {
        finish(exec, true);
        return;
    }
    if (exec->piece_count == 0) { /* only what is answered here, or nothing */
        finish(exec, false);
        return;
    }
    exec->open = true;
    exec->request = (struct txn_request){.service = SERVICE_REDIS,
                                         .client = (uint16_t)connection->id,
                                         .look = exec->looking != NULL || exec->watching,
                                         .together = !exec->conditional,
                                         .piece_count = exec->piece_count,
                                         .pieces = exec->txn_pieces,
                                         .on_done = on_done};
    txn_run(connection->service->options.txn, &exec->request);
}

/* What was looked at is not so any more: from the start. */
static void begin_again(struct exec *exec)
{
    for (uint32_t i = 0; i < exec->command_count; i++)
        exec->commands[i].looked = NULL;
    arena_reset(&exec->looked);
    exec->looks = 0;
    exec->seed = world_random(exec->connection->service->options.world);
    begin_round(exec);
}

/* The replies of its reads outlive the round. */
static void keep_looked(struct exec *exec)
{
    struct exec_command *command = exec->looking;
    uint32_t count = 0;

    for (struct exec_sub *sub = command->first; sub; sub = sub->next_of_command)
        count++;
    command->looked = arena_allocate(&exec->looked, count * sizeof(command->looked[0]));
    count = 0;
    for (struct exec_sub *sub = command->first; sub; sub = sub->next_of_command)
        command->looked[count++] = arena_copy(&exec->looked, sub->reply);
}

/* A piece that refused, or NULL. One that is sent alone is answered like any request. */
static const struct txn_piece *refusing_piece(const struct exec *exec)
{
    if (exec->result == TXN_REFUSED) return exec->refused;
    for (uint32_t i = 0; i < exec->piece_count; i++)
        if (exec_outcome(&exec->txn_pieces[i]) != REDIS_BATCH_EXECUTED) return &exec->txn_pieces[i];
    return NULL;
}

static bool replies_are_too_big(const struct exec *exec)
{
    size_t size = 0;

    for (uint32_t i = 0; i < exec->piece_count; i++)
        size += buffer_size(&exec->txn_pieces[i].reply);
    return size > EXEC_REPLIES_MAX;
}

static void take_result(struct exec *exec)
{
    exec->answered = false;
    if (exec->result != TXN_DONE && exec->result != TXN_REFUSED) {
        finish(exec, true);
        return;
    }
    exec->refused = refusing_piece(exec);
    bool unexpected = exec->refused && exec_outcome(exec->refused) == REDIS_BATCH_UNEXPECTED;
    if (unexpected && ++exec->attempts < EXEC_ATTEMPTS_MAX) {
        begin_again(exec);
        return;
    }
    if (exec->refused == NULL && replies_are_too_big(exec))
        exec->wrong = exec->looking ? "ERR the values are larger than this version of Holon allows "
                                      "(64 MiB); nothing was executed"
                                    : "ERR the replies are larger than this version of Holon "
                                      "allows (64 MiB); all of it was executed";
    else if (exec->refused == NULL && !exec_take_replies(exec))
        exec->wrong = "ERR a partition gave an answer that this node does not understand";
    if (exec->refused || exec->wrong) {
        finish(exec, true);
        return;
    }
    if (exec->looking == NULL) {
        finish(exec, false);
        return;
    }
    keep_looked(exec);
    begin_round(exec);
}

/* --- from outside ---------------------------------------------------------------------------- */

void exec_start_multi(struct connection *connection, struct multi *multi)
{
    struct exec *exec = exec_make(connection);
    struct buffer none;

    exec->multi = true;
    exec->guards = guards_take(connection);
    exec->command_count = multi->command_count;
    exec->watch_count = multi->watch_count;
    buffer_init(&none, 0);
    buffer_free(&exec->queue);
    buffer_free(&exec->watches);
    exec->queue = multi->commands;
    exec->watches = multi->watches;
    multi->commands = multi->watches = none;
    connection->multi = multi;
    multi_drop(connection);
    decode_commands(exec);
    begin_round(exec);
}

void exec_start_one(struct connection *connection, const struct redis_command *command,
                    const struct bytes *arguments, uint32_t count)
{
    struct redis_service *service = connection->service;
    bool fits = body_make(service, command, connection->resp3, connection->database, arguments + 1,
                          count - 1) &&
                buffer_size(&service->body) + VARINT_SIZE_MAX <= MULTI_BYTES_MAX;
    char text[256];

    if (!fits) {
        if (command->id != REDIS_WATCH) guards_drop(connection);
        exec_format_too_big(service, text, sizeof(text));
        connection_reply_error(connection, text);
        return;
    }
    struct exec *exec = exec_make(connection);
    struct writer writer = writer_make(&exec->queue);
    write_sized(&writer, buffer_bytes(&service->body));
    exec->command_count = 1;
    exec->watching = command->id == REDIS_WATCH;
    if (!exec->watching) exec->guards = guards_take(connection);
    decode_commands(exec);
    begin_round(exec);
}

void exec_continue(struct connection *connection)
{
    struct exec *exec = connection->exec;

    if (!exec->open && exec->answered) take_result(exec);
}

size_t exec_bytes(const struct connection *connection)
{
    const struct exec *exec = connection->exec;
    size_t size = 0;

    if (exec == NULL) return 0;
    size = buffer_size(&exec->queue) + buffer_size(&exec->watches) +
           exec->command_count * sizeof(exec->commands[0]) + arena_bytes(&exec->arena) +
           arena_bytes(&exec->plan) + arena_bytes(&exec->looked);
    for (uint32_t i = 0; i < exec->piece_count; i++)
        size += exec->txn_pieces[i].body.size + buffer_size(&exec->txn_pieces[i].reply);
    return size;
}

void exec_cancel(struct connection *connection)
{
    struct exec *exec = connection->exec;

    if (exec == NULL) return;
    if (exec->open) txn_forget(connection->service->options.txn, &exec->request);
    connection->exec = NULL;
    exec_free(exec);
}
