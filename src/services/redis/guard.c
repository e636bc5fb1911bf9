#include "services/redis/guard.h"

#include <stdio.h>

#include "base/memory.h"
#include "services/redis/local_functions.h"
#include "services/redis/lock_wait.h"

struct guards {
    bool broken; /* one was refused: nothing is executed without it */
    uint32_t count;
    struct redis_guard list[GUARDS_MAX]; /* names are owned */
};

static struct guards *guards_of(struct connection *connection)
{
    if (connection->guards == NULL)
        connection->guards = memory_allocate_zero(sizeof(*connection->guards));
    return connection->guards;
}

void guards_break(struct connection *connection)
{
    guards_of(connection)->broken = true;
}

bool guards_are_broken(const struct connection *connection)
{
    return connection->guards != NULL && connection->guards->broken;
}

bool guards_add(struct connection *connection, uint8_t database, const struct bytes *arguments,
                const char **ret_wrong)
{
    struct bytes name = arguments[1];
    uint64_t token;

    if (name.size == 0 || name.size > LOCK_NAME_SIZE_MAX) {
        *ret_wrong = LOCK_WRONG_NAME;
        return false;
    }
    if (!lock_token_parse(arguments[2], &token)) {
        *ret_wrong = LOCK_WRONG_TOKEN;
        return false;
    }
    struct guards *guards = guards_of(connection);
    if (guards->count == GUARDS_MAX) {
        *ret_wrong = "ERR too many HOLON.GUARD for one command: at most 16";
        return false;
    }
    uint8_t *copy = memory_allocate(name.size);
    memcpy(copy, name.data, name.size);
    guards->list[guards->count++] = (struct redis_guard){
        .database = database, .token = token, .name = bytes_make(copy, name.size)};
    return true;
}

void local_holon_guard(struct local_call *call)
{
    struct connection *connection = call->connection;
    const char *wrong;
    char text[256];

    if (!lock_is_ready(call->service)) {
        lock_format_unready(call->service, text, sizeof(text));
        resp_write_error(call->out, text);
        guards_break(connection);
    } else if (guards_add(connection, connection->database, call->arguments, &wrong)) {
        resp_write_simple(call->out, "OK");
    } else {
        resp_write_error(call->out, wrong);
        guards_break(connection);
    }
}

/* NULL: it can be guarded. */
static const char *why_not(const struct connection *connection, const struct redis_command *command,
                           const struct bytes *arguments, uint32_t count)
{
    bool whole = command->id == REDIS_FLUSHDB || command->id == REDIS_FLUSHALL ||
                 command->id == REDIS_SWAPDB || command->id == REDIS_DBSIZE;

    if (command->id == REDIS_HOLON_LOCK || command->id == REDIS_HOLON_SEMAPHORE ||
        command->id == REDIS_HOLON_TOKENFLOOR)
        return "gives a token of its own";
    if (command->evaluate == NULL || ((command->flags & REDIS_FANOUT) && !whole))
        return "asks partition after partition";
    if (staging_wanted(connection->service, command, arguments, count))
        return "has values so large that they are sent ahead";
    if (redis_key_count(command, count) > KEYS_PER_COMMAND_MAX) return "has more than 16384 keys";
    return NULL;
}

bool guards_allow(struct connection *connection, const struct redis_command *command,
                  const struct bytes *arguments, uint32_t count)
{
    const char *why = why_not(connection, command, arguments, count);
    char text[256];

    if (guards_are_broken(connection)) {
        guards_drop(connection);
        snprintf(text, sizeof(text),
                 "ERR '%s' was not executed: a HOLON.GUARD or MULTI before it was refused",
                 command->name);
        connection_reply_error(connection, text);
        return false;
    }
    if (why == NULL) return true;
    guards_drop(connection);
    snprintf(
        text, sizeof(text),
        "ERR '%s' like this cannot be guarded by HOLON.GUARD, since it %s; it was not executed, "
        "and the guards are dropped",
        command->name, why);
    connection_reply_error(connection, text);
    return false;
}

struct guards *guards_take(struct connection *connection)
{
    struct guards *guards = connection->guards;

    connection->guards = NULL;
    return guards;
}

void guards_free(struct guards *guards)
{
    if (guards == NULL) return;
    for (uint32_t i = 0; i < guards->count; i++)
        memory_free((void *)guards->list[i].name.data);
    memory_free(guards);
}

void guards_drop(struct connection *connection)
{
    guards_free(guards_take(connection));
}

bool guards_get(const struct guards *guards, uint32_t index, struct redis_guard *ret_guard)
{
    if (index >= guards->count) return false;
    *ret_guard = guards->list[index];
    return true;
}
