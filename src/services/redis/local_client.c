/* local_client.c - CLIENT: who is connected. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/memory.h"
#include "base/parse.h"
#include "services/redis/gather.h"
#include "services/redis/local.h"
#include "services/redis/local_functions.h"
#include "services/redis/multi.h"

enum { LINE_SIZE_MAX = 4096, US_PER_S = 1000000 };

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

static bool write_line(struct buffer *text, struct connection *connection, uint64_t now)
{
    const char *command = connection->last_command ? connection->last_command->name : "NULL";
    const char *subcommand = connection->last_subcommand;

    return buffer_append_format(
               text,
               "id=%" PRIu64 " addr=%s laddr=%s fd=0 name=%s age=%" PRIu64 " idle=%" PRIu64
               " flags=N db=%u sub=0 psub=0 ssub=0 multi=%" PRId64 " watch=%u qbuf=%zu "
               "qbuf-free=0 argv-mem=0 multi-mem=%zu rbs=0 rbp=0 obl=0 oll=%u omem=%zu tot-mem=%zu events=r cmd=%s%s%s "
               "user=default redir=-1 resp=%d lib-name=%s lib-ver=%s\n",
               connection->id, stream_peer_address(connection->stream),
               stream_own_address(connection->stream), connection->name,
               (now - connection->opened) / US_PER_S, (now - connection->active) / US_PER_S,
               connection->database, multi_commands(connection), multi_watches(connection),
               buffer_size(&connection->input), multi_bytes(connection), connection->slot_count,
               buffer_size(stream_output(connection->stream)),
               sizeof(*connection) + connection->input.capacity, command, subcommand ? "|" : "",
               subcommand ? subcommand : "", connection->resp3 ? 3 : 2, connection->library,
               connection->library_version) == STATUS_OK;
}

static void client_info(struct local_call *call)
{
    struct buffer text;

    buffer_init(&text, LINE_SIZE_MAX);
    write_line(&text, call->connection, world_now(call->service->options.world));
    resp_write_verbatim(call->out, buffer_bytes(&text));
    buffer_free(&text);
}

/* --- LIST [TYPE normal|master|replica|pubsub] [ID id ...] ------------------------------------ */

static bool parse_type(struct bytes type, struct client_filter *filter, char *error, size_t size)
{
    static const char *const known[] = {"normal", "master", "replica", "slave", "pubsub"};

    filter->by_type = true;
    filter->type_normal = redis_word_is(type, known[0]);
    for (size_t i = 0; i < ARRAY_COUNT(known); i++)
        if (redis_word_is(type, known[i])) return true;
    snprintf(error, size, "ERR Unknown client type '%.*s'", type.size < 64 ? (int)type.size : 64,
             (const char *)type.data);
    return false;
}

static int compare_ids(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

static bool parse_ids(const struct bytes *texts, uint32_t count, struct client_filter *filter)
{
    int64_t *ids = memory_allocate(count * sizeof(ids[0]));

    for (uint32_t i = 0; i < count; i++) {
        if (parse_i64(texts[i], &ids[i])) continue;
        memory_free(ids);
        return false;
    }
    qsort(ids, count, sizeof(ids[0]), compare_ids);
    filter->by_id = true;
    filter->ids = ids;
    filter->id_count = count;
    return true;
}

bool client_filter_parse(const struct bytes *arguments, uint32_t count,
                         struct client_filter *ret_filter, char *error, size_t error_size)
{
    *ret_filter = (struct client_filter){0};
    if (count == 2) return true;
    if (redis_word_is(arguments[2], "type") && count == 4)
        return parse_type(arguments[3], ret_filter, error, error_size);
    bool by_id = redis_word_is(arguments[2], "id") && count > 3;
    if (by_id && count - 3 > KEYS_PER_COMMAND_MAX) {
        snprintf(error, error_size, "ERR too many ids: at most %d", KEYS_PER_COMMAND_MAX);
        return false;
    }
    if (by_id && parse_ids(arguments + 3, count - 3, ret_filter)) return true;
    snprintf(error, error_size, by_id ? "ERR Invalid client ID" : "ERR syntax error");
    return false;
}

static bool is_listed(const struct client_filter *filter, const struct connection *connection)
{
    if (filter->by_type) return filter->type_normal;
    if (!filter->by_id) return true;
    int64_t id = (int64_t)connection->id;
    return bsearch(&id, filter->ids, filter->id_count, sizeof(id), compare_ids) != NULL;
}

bool client_lines_write(struct redis_service *service, const struct client_filter *filter,
                        struct buffer *text)
{
    uint64_t now = world_now(service->options.world);

    for (struct list *link = service->connections.next; link != &service->connections;
         link = link->next) {
        struct connection *connection = CONTAINER_OF(link, struct connection, link);
        if (is_listed(filter, connection) && !write_line(text, connection, now)) return false;
    }
    return true;
}

/* With arguments that are right, gather.c has taken it before. */
static void client_list(struct local_call *call)
{
    struct client_filter filter;
    char error[128] = "ERR syntax error";

    client_filter_parse(call->arguments, call->count, &filter, error, sizeof(error));
    memory_free((void *)filter.ids);
    resp_write_error(call->out, error);
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
