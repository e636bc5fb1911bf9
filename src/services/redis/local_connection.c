/* local_connection.c - the connection itself: PING ECHO HELLO QUIT RESET SELECT AUTH TIME. */
#include <inttypes.h>
#include <stdio.h>

#include "base/parse.h"
#include "services/redis/guard.h"
#include "services/redis/local.h"
#include "services/redis/local_functions.h"

void local_ok(struct local_call *call)
{
    resp_write_simple(call->out, "OK");
}

void local_readonly(struct local_call *call)
{
    call->connection->readonly = true;
    resp_write_simple(call->out, "OK");
}

void local_readwrite(struct local_call *call)
{
    call->connection->readonly = false;
    resp_write_simple(call->out, "OK");
}

void local_ping(struct local_call *call)
{
    if (call->count > 2)
        resp_write_error(call->out, "ERR wrong number of arguments for 'ping' command");
    else if (call->count == 2)
        resp_write_bulk(call->out, call->arguments[1]);
    else
        resp_write_simple(call->out, "PONG");
}

void local_echo(struct local_call *call)
{
    resp_write_bulk(call->out, call->arguments[1]);
}

void local_quit(struct local_call *call)
{
    resp_write_simple(call->out, "OK");
    call->connection->closing = true; /* ends when the OK is in the output */
}

void local_reset(struct local_call *call)
{
    struct connection *connection = call->connection;

    connection->database = 0;
    reads_set_stale(connection, 0);
    snapshot_drop(connection);
    connection->resp3 = false;
    connection->readonly = false;
    multi_drop(connection);
    guards_drop(connection);
    connection->name[0] = 0;
    /* It ends OFF; what SKIP skips is its own reply. */
    if (connection->reply_mode == REPLY_OFF)
        local_reply_unsilence(CONTAINER_OF(call->out, struct local_reply, out));
    call->out->resp3 = false;
    resp_write_simple(call->out, "RESET");
}

void local_select(struct local_call *call)
{
    int64_t database;

    if (!parse_i64(call->arguments[1], &database))
        resp_write_error(call->out, "ERR value is not an integer or out of range");
    else if (database != (int32_t)database)
        resp_write_error(call->out, "ERR value is out of range, value must between -2147483648 "
                                    "and 2147483647");
    else if (database < 0 || database >= REDIS_DATABASES)
        resp_write_error(call->out, "ERR DB index is out of range");
    else {
        call->connection->database = (uint8_t)database;
        resp_write_simple(call->out, "OK");
    }
}

void local_time(struct local_call *call)
{
    int64_t now = world_wall_time(call->service->options.world);

    resp_write_array(call->out, 2);
    resp_write_bulk_u64(call->out, (uint64_t)(now / 1000000));
    resp_write_bulk_u64(call->out, (uint64_t)(now % 1000000));
}

/* There is one user, `default`, who needs no password; as redis-server without configuration. */
static bool authenticate(struct local_call *call, struct bytes user)
{
    if (bytes_equal(user, bytes_of("default"))) return true;
    resp_write_error(call->out, "WRONGPASS invalid username-password pair or user is disabled.");
    return false;
}

void local_auth(struct local_call *call)
{
    if (call->count > 3) {
        resp_write_error(call->out, "ERR syntax error");
    } else if (call->count == 2) {
        resp_write_error(call->out,
                         "ERR AUTH <password> called without any password configured for the "
                         "default user. Are you sure your configuration is correct?");
    } else if (authenticate(call, call->arguments[1])) {
        resp_write_simple(call->out, "OK");
    }
}

static void write_hello(struct local_call *call)
{
    struct connection *connection = call->connection;

    resp_write_map(call->out, 7);
    resp_write_bulk_text(call->out, "server");
    resp_write_bulk_text(call->out, "redis");
    resp_write_bulk_text(call->out, "version");
    resp_write_bulk_text(call->out, REDIS_VERSION_COMPATIBLE);
    resp_write_bulk_text(call->out, "proto");
    resp_write_integer(call->out, connection->resp3 ? 3 : 2);
    resp_write_bulk_text(call->out, "id");
    resp_write_integer(call->out, (int64_t)connection->id);
    resp_write_bulk_text(call->out, "mode");
    resp_write_bulk_text(call->out, connection->cluster_port ? "cluster" : "standalone");
    resp_write_bulk_text(call->out, "role");
    resp_write_bulk_text(call->out, "master");
    resp_write_bulk_text(call->out, "modules");
    resp_write_array(call->out, 0);
}

void local_hello(struct local_call *call)
{
    struct connection *connection = call->connection;
    int64_t version = connection->resp3 ? 3 : 2;
    struct bytes name = {0};
    bool name_given = false;

    if (call->count > 1 && !parse_i64(call->arguments[1], &version)) {
        resp_write_error(call->out, "ERR Protocol version is not an integer or out of range");
        return;
    }
    if (version < 2 || version > 3) {
        resp_write_error(call->out, "NOPROTO unsupported protocol version");
        return;
    }
    for (uint32_t i = 2; i < call->count; i++) {
        struct bytes option = call->arguments[i];
        if (redis_word_is(option, "auth") && i + 2 < call->count) {
            if (!authenticate(call, call->arguments[i + 1])) return;
            i += 2;
        } else if (redis_word_is(option, "setname") && i + 1 < call->count) {
            name = call->arguments[++i];
            name_given = true;
        } else {
            resp_write_error_format(call->out, "ERR Syntax error in HELLO option '%.*s'",
                                    option.size < 128 ? (int)option.size : 128,
                                    (const char *)option.data);
            return;
        }
    }
    if (name_given && !local_set_name(call, name)) return;
    connection->resp3 = version == 3;
    call->out->resp3 = connection->resp3;
    write_hello(call);
}

/* --- subcommands of containers --------------------------------------------------------------- */

static void name_in_capitals(const struct redis_command *command,
                             char name[REDIS_NAME_SIZE_MAX + 1])
{
    size_t i = 0;

    for (; command->name[i]; i++) {
        bool letter = command->name[i] >= 'a' && command->name[i] <= 'z';
        name[i] = letter ? (char)(command->name[i] - 'a' + 'A') : command->name[i];
    }
    name[i] = 0;
}

static void write_help(struct local_call *call, const struct local_subcommand *list, size_t count)
{
    char line[160];
    char name[REDIS_NAME_SIZE_MAX + 1];

    name_in_capitals(call->command, name);
    resp_write_array(call->out, 1 + 2 * count + 2);
    snprintf(line, sizeof(line),
             "%s <subcommand> [<arg> [value] [opt] ...]. Subcommands are:", name);
    resp_write_simple(call->out, line);
    for (size_t at = 0; at < count; at++) {
        resp_write_simple(call->out, list[at].help[0]);
        snprintf(line, sizeof(line), "    %s", list[at].help[1]);
        resp_write_simple(call->out, line);
    }
    resp_write_simple(call->out, "HELP");
    resp_write_simple(call->out, "    Prints this help.");
}

void local_run_subcommand(struct local_call *call, const struct local_subcommand *list,
                          size_t count)
{
    struct bytes word = call->arguments[1];

    if (redis_word_is(word, "help")) {
        if (call->count == 2)
            write_help(call, list, count);
        else
            resp_write_error_format(call->out,
                                    "ERR wrong number of arguments for '%s|help' command",
                                    call->command->name);
        return;
    }
    for (size_t i = 0; i < count; i++) {
        if (!redis_word_is(word, list[i].name)) continue;
        int arity = list[i].arity;
        call->connection->last_subcommand = list[i].name;
        if (arity >= 0 ? call->count == (uint32_t)arity : call->count >= (uint32_t)-arity)
            list[i].run(call);
        else
            resp_write_error_format(call->out, "ERR wrong number of arguments for '%s|%s' command",
                                    call->command->name, list[i].name);
        return;
    }
    char name[REDIS_NAME_SIZE_MAX + 1];
    name_in_capitals(call->command, name);
    resp_write_error_format(call->out, "ERR unknown subcommand '%.*s'. Try %s HELP.",
                            word.size < 128 ? (int)word.size : 128, (const char *)word.data, name);
}
