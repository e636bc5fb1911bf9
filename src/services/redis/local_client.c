/* local_client.c - CLIENT: who is connected. LIST shows the connections of one worker. */
#include <inttypes.h>
#include <stdio.h>

#include "base/parse.h"
#include "services/redis/local.h"
#include "services/redis/local_functions.h"

enum { LIST_SIZE_MAX = 16 << 20, US_PER_S = 1000000 };

/* Printable ASCII without the space: a name must not break the lines of CLIENT LIST. */
static bool is_plain(struct bytes text)
{
    for (size_t i = 0; i < text.size; i++) {
        if (text.data[i] < '!' || text.data[i] > '~') return false;
    }
    return true;
}

static bool store_text(struct local_call *call, struct bytes text, char *into, const char *what)
{
    if (!is_plain(text)) {
        resp_write_error_format(
            call->out, "ERR %s cannot contain spaces, newlines or special characters.", what);
        return false;
    }
    if (text.size >= CLIENT_NAME_SIZE_MAX) {
        resp_write_error_format(call->out, "ERR %s cannot be longer than %d bytes", what,
                                CLIENT_NAME_SIZE_MAX - 1);
        return false;
    }
    if (text.size) memcpy(into, text.data, text.size);
    into[text.size] = 0;
    return true;
}

bool local_set_name(struct local_call *call, struct bytes name)
{
    return store_text(call, name, call->connection->name, "Client names");
}

static void client_id(struct local_call *call)
{
    resp_write_integer(call->out, (int64_t)call->connection->id);
}

static void client_getname(struct local_call *call)
{
    if (call->connection->name[0])
        resp_write_bulk_text(call->out, call->connection->name);
    else
        resp_write_null(call->out);
}

static void client_setname(struct local_call *call)
{
    if (local_set_name(call, call->arguments[2])) resp_write_simple(call->out, "OK");
}

static void client_setinfo(struct local_call *call)
{
    struct connection *connection = call->connection;
    struct bytes option = call->arguments[2], value = call->arguments[3];
    bool stored;

    if (redis_word_is(option, "lib-name")) {
        stored = store_text(call, value, connection->library, "lib-name");
    } else if (redis_word_is(option, "lib-ver")) {
        stored = store_text(call, value, connection->library_version, "lib-ver");
    } else {
        resp_write_error_format(call->out, "ERR Unrecognized option '%.*s'",
                                option.size < 64 ? (int)option.size : 64,
                                (const char *)option.data);
        return;
    }
    if (stored) resp_write_simple(call->out, "OK");
}

static void write_line(struct buffer *text, struct connection *connection, uint64_t now)
{
    const char *command = connection->last_command ? connection->last_command->name : "NULL";

    buffer_append_format(
        text,
        "id=%" PRIu64 " addr=%s laddr=%s fd=0 name=%s age=%" PRIu64 " idle=%" PRIu64
        " flags=N db=%u sub=0 psub=0 ssub=0 multi=-1 qbuf=%zu qbuf-free=0 argv-mem=0 "
        "multi-mem=0 rbs=0 rbp=0 obl=0 oll=%u omem=%zu tot-mem=%zu events=r cmd=%s user=default "
        "redir=-1 resp=%d lib-name=%s lib-ver=%s\n",
        connection->id, stream_peer_address(connection->stream),
        stream_own_address(connection->stream), connection->name,
        (now - connection->opened) / US_PER_S, (now - connection->active) / US_PER_S,
        connection->database, buffer_size(&connection->input), connection->slot_count,
        buffer_size(stream_output(connection->stream)),
        sizeof(*connection) + connection->input.capacity, command, connection->resp3 ? 3 : 2,
        connection->library, connection->library_version);
}

static void client_info(struct local_call *call)
{
    struct buffer text;

    buffer_init(&text, LIST_SIZE_MAX);
    write_line(&text, call->connection, world_now(call->service->options.world));
    resp_write_verbatim(call->out, buffer_bytes(&text));
    buffer_free(&text);
}

/* LIST [TYPE normal|master|replica|pubsub] [ID id ...] */
static bool is_listed(const struct local_call *call, const struct connection *connection)
{
    if (call->count == 2) return true;
    if (redis_word_is(call->arguments[2], "type"))
        return redis_word_is(call->arguments[3], "normal");
    for (uint32_t i = 3; i < call->count; i++) {
        int64_t id;
        if (parse_i64(call->arguments[i], &id) && (uint64_t)id == connection->id) return true;
    }
    return false;
}

static bool list_arguments_are_right(struct local_call *call)
{
    if (call->count == 2) return true;
    bool by_type = redis_word_is(call->arguments[2], "type") && call->count == 4;
    bool by_id = redis_word_is(call->arguments[2], "id") && call->count > 3;

    if (!by_type && !by_id) {
        resp_write_error(call->out, "ERR syntax error");
        return false;
    }
    if (by_type) {
        struct bytes type = call->arguments[3];
        bool known = redis_word_is(type, "normal") || redis_word_is(type, "master") ||
                     redis_word_is(type, "replica") || redis_word_is(type, "slave") ||
                     redis_word_is(type, "pubsub");
        if (!known)
            resp_write_error_format(call->out, "ERR Unknown client type '%.*s'",
                                    type.size < 64 ? (int)type.size : 64, (const char *)type.data);
        return known;
    }
    for (uint32_t i = 3; i < call->count; i++) {
        int64_t id;
        if (parse_i64(call->arguments[i], &id) && id > 0) continue;
        resp_write_error(call->out, "ERR Invalid client ID");
        return false;
    }
    return true;
}

static void client_list(struct local_call *call)
{
    struct redis_service *service = call->service;
    struct buffer text;
    uint64_t now = world_now(service->options.world);

    if (!list_arguments_are_right(call)) return;
    buffer_init(&text, LIST_SIZE_MAX);
    for (struct list *link = service->connections.next; link != &service->connections;
         link = link->next) {
        struct connection *connection = CONTAINER_OF(link, struct connection, link);
        if (is_listed(call, connection)) write_line(&text, connection, now);
    }
    resp_write_verbatim(call->out, buffer_bytes(&text));
    buffer_free(&text);
}

static void client_reply(struct local_call *call)
{
    struct connection *connection = call->connection;
    struct bytes mode = call->arguments[2];

    if (redis_word_is(mode, "on")) {
        local_reply_unsilence(CONTAINER_OF(call->out, struct local_reply, out));
        resp_write_simple(call->out, "OK");
    } else if (redis_word_is(mode, "off")) {
        connection->reply_mode = REPLY_OFF;
    } else if (redis_word_is(mode, "skip")) {
        if (connection->reply_mode != REPLY_OFF) connection->reply_mode = REPLY_SKIP_NEXT;
    } else {
        resp_write_error(call->out, "ERR syntax error");
    }
}

void local_client(struct local_call *call)
{
    static const struct local_subcommand list[] = {
        {"getname", 2, client_getname, {"GETNAME", "Return the name of the current connection."}},
        {"id", 2, client_id, {"ID", "Return the ID of the current connection."}},
        {"info", 2, client_info, {"INFO", "Return information about the current connection."}},
        {"list",
         -2,
         client_list,
         {"LIST [TYPE <type>] [ID <id> ...]", "Return information about client connections."}},
        {"reply",
         3,
         client_reply,
         {"REPLY (ON|OFF|SKIP)", "Control the replies sent to the current connection."}},
        {"setinfo",
         4,
         client_setinfo,
         {"SETINFO <option> <value>", "Set LIB-NAME or LIB-VER of the client library."}},
        {"setname",
         3,
         client_setname,
         {"SETNAME <name>", "Assign the name <name> to the current connection."}},
    };
    local_run_subcommand(call, list, ARRAY_COUNT(list));
}
