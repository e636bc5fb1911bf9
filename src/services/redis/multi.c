#include "services/redis/multi.h"

#include <stdio.h>

#include "base/memory.h"
#include "base/parse.h"
#include "services/redis/exec.h"
#include "services/redis/gather.h"
#include "services/redis/guard.h"
#include "services/redis/lock_wait.h"
#include "services/redis/local_functions.h"
#include "services/redis/slot_keys.h"

static struct multi *multi_of(struct connection *connection)
{
    if (connection->multi) return connection->multi;
    struct multi *multi = memory_allocate_zero(sizeof(*multi));
    buffer_init(&multi->commands, MULTI_BYTES_MAX);
    buffer_init(&multi->watches, MULTI_BYTES_MAX);
    connection->multi = multi;
    return multi;
}

void multi_drop(struct connection *connection)
{
    struct multi *multi = connection->multi;

    if (multi == NULL) return;
    buffer_free(&multi->commands);
    buffer_free(&multi->watches);
    memory_free(multi);
    connection->multi = NULL;
}

size_t multi_bytes(const struct connection *connection)
{
    const struct multi *multi = connection->multi;
    return multi ? buffer_size(&multi->commands) + buffer_size(&multi->watches) : 0;
}

static void reply_simple(struct connection *connection, const char *text)
{
    struct local_reply reply;

    local_reply_begin(connection, &reply);
    resp_write_simple(&reply.out, text);
    local_reply_end(&reply);
}

/* --- MULTI, DISCARD, UNWATCH ----------------------------------------------------------------- */

void local_multi(struct local_call *call)
{
    if (call->connection->multi && call->connection->multi->open) {
        resp_write_error(call->out, "ERR MULTI calls can not be nested");
    } else if (!exec_is_ready(call->service)) {
        exec_write_unready(call->service, call->out, "MULTI");
        if (call->connection->guards) guards_break(call->connection);
    } else {
        struct multi *multi = multi_of(call->connection);
        multi->open = true;
        multi->database = call->connection->database;
        resp_write_simple(call->out, "OK");
    }
}

void local_discard(struct local_call *call)
{
    if (call->connection->multi == NULL || !call->connection->multi->open) {
        resp_write_error(call->out, "ERR DISCARD without MULTI");
        return;
    }
    multi_drop(call->connection);
    guards_drop(call->connection);
    resp_write_simple(call->out, "OK");
}

/* In MULTI it does nothing: EXEC has taken the watches by then. */
void local_unwatch(struct local_call *call)
{
    struct connection *connection = call->connection;

    if (connection->multi && !connection->multi->open) multi_drop(connection);
    resp_write_simple(call->out, "OK");
}

/* --- queueing -------------------------------------------------------------------------------- */

static void refuse(struct connection *connection, const char *text)
{
    connection_reply_error(connection, text);
    multi_spoil(connection);
}

/* What asks partition after partition or other workers, or changes how replies are written. */
static bool is_allowed(const struct redis_command *command, const struct bytes *arguments,
                       uint32_t count)
{
    switch (command->id) {
    case REDIS_SCAN:
    case REDIS_KEYS:
    case REDIS_RANDOMKEY:
    case REDIS_HELLO:
    case REDIS_HOLON_READS:
    case REDIS_HOLON_SNAPSHOT:
    case REDIS_HOLON_LOCK:
    case REDIS_HOLON_SEMAPHORE:
    case REDIS_HOLON_TOKENFLOOR:
        return false;
    case REDIS_CLIENT:
        return !redis_word_is(arguments[1], "reply") && !gather_wanted(command, arguments, count);
    default:
        return !slot_keys_wanted(command, arguments, count);
    }
}

static size_t size_of(const struct bytes *arguments, uint32_t count)
{
    size_t size = 0;

    for (uint32_t i = 0; i < count; i++)
        size += arguments[i].size;
    return size;
}

static bool is_refused(struct connection *connection, const struct redis_command *command,
                       const struct bytes *arguments, uint32_t count)
{
    const struct multi *multi = connection->multi;
    const char *wrong = NULL;
    char text[256];

    if (command->flags & REDIS_LOCKS && !lock_is_ready(connection->service)) {
        lock_format_unready(connection->service, text, sizeof(text));
        refuse(connection, text);
    } else if (!is_allowed(command, arguments, count)) {
        snprintf(text, sizeof(text),
                 "ERR '%s' like this is not allowed inside MULTI in this version of Holon",
                 command->name);
        refuse(connection, text);
    } else if (redis_key_count(command, count) > KEYS_PER_COMMAND_MAX) {
        refuse(connection, "ERR too many keys in one command: at most 16384 in this version of "
                           "Holon; nothing was executed");
    } else if (size_of(arguments, count) > connection->service->options.limits.stage_from) {
        exec_format_too_big(connection->service, text, sizeof(text));
        refuse(connection, text);
    } else if (command->evaluate == NULL && multi->own_count == MULTI_OWN_MAX) {
        refuse(connection,
               "ERR too many commands in MULTI that the node answers by itself: at most "
               "128 in this version of Holon");
    } else if (multi->command_count == MULTI_COMMANDS_MAX) {
        refuse(connection,
               "ERR too many commands in MULTI: at most 16384 in this version of Holon");
    } else if (command->id == REDIS_HOLON_GUARD &&
               !guards_add(connection, multi->database, arguments, &wrong)) {
        refuse(connection, wrong);
    } else {
        return false;
    }
    return true;
}

/* As local_select() will do at EXEC. */
static void follow_select(struct multi *multi, struct bytes argument)
{
    int64_t database;

    if (parse_i64(argument, &database) && database >= 0 && database < REDIS_DATABASES)
        multi->database = (uint8_t)database;
}

void multi_queue(struct connection *connection, const struct redis_command *command,
                 const struct bytes *arguments, uint32_t count)
{
    struct redis_service *service = connection->service;
    struct multi *multi = connection->multi;

    if (is_refused(connection, command, arguments, count)) return;
    bool fits =
        body_make(service, command, connection->resp3, multi->database, arguments + 1, count - 1);
    struct writer writer = writer_make(&multi->commands);
    size_t size = buffer_size(&service->body);
    fits = fits && buffer_size(&multi->commands) + size + VARINT_SIZE_MAX <= MULTI_BYTES_MAX;
    if (!fits) {
        refuse(connection,
               "ERR the commands in MULTI are too big: at most 1 MiB in this version of "
               "Holon");
        return;
    }
    write_sized(&writer, buffer_bytes(&service->body));
    multi->command_count++;
    multi->own_count += command->evaluate == NULL;
    if (command->id == REDIS_SELECT) follow_select(multi, arguments[1]);
    reply_simple(connection, "QUEUED");
    connection_account(connection);
}

/* --- EXEC, WATCH ----------------------------------------------------------------------------- */

void multi_refuse_exec(struct connection *connection)
{
    multi_drop(connection);
    guards_drop(connection);
    connection_reply_error(connection,
                           "EXECABORT Transaction discarded because of: wrong number of "
                           "arguments for 'exec' command");
}

static bool may_begin(struct connection *connection)
{
    if (list_empty(&connection->slots)) return true;
    connection->waits_for = WAIT_ALL;
    return false;
}

bool multi_exec(struct connection *connection)
{
    struct multi *multi = connection->multi;

    if (multi == NULL || !multi->open) {
        guards_drop(connection);
        connection_reply_error(connection, "ERR EXEC without MULTI");
        return true;
    }
    if (multi->spoilt || guards_are_broken(connection)) {
        multi_drop(connection);
        guards_drop(connection);
        connection_reply_error(connection, "EXECABORT Transaction discarded because of previous "
                                           "errors.");
        return true;
    }
    if (!may_begin(connection)) return false;
    connection->multi = NULL;
    exec_start_multi(connection, multi);
    return true;
}

bool multi_watch(struct connection *connection, const struct redis_command *command,
                 const struct bytes *arguments, uint32_t count)
{
    struct multi *multi = connection->multi;
    uint32_t watches = multi ? multi->watch_count : 0;
    size_t bytes = multi ? buffer_size(&multi->watches) : 0;
    size_t more = size_of(arguments + 1, count - 1) + (size_t)(count - 1) * 32;

    if (multi && multi->open) { /* which does not spoil the transaction */
        connection_reply_error(connection, "ERR WATCH inside MULTI is not allowed");
        return true;
    }
    if (count - 1 + watches > MULTI_WATCHES_MAX || bytes + more > MULTI_BYTES_MAX) {
        connection_reply_error(connection,
                               "ERR too many watched keys: at most 16384, and 1 MiB, in "
                               "this version of Holon");
        return true;
    }
    if (!may_begin(connection)) return false;
    exec_start_one(connection, command, arguments, count);
    return true;
}

void multi_add_watch(struct connection *connection, const struct redis_watch *watch)
{
    struct multi *multi = multi_of(connection);
    struct writer writer = writer_make(&multi->watches);

    redis_batch_write_watch(&writer, watch);
    multi->watch_count++;
}
