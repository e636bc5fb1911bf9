#include "services/admin/admin.h"

#include "base/assert.h"
#include "base/memory.h"
#include "net/admission.h"
#include "services/admin/page.h"
#include "wire/http.h"

struct admin_connection {
    struct admin *admin;
    struct stream *stream;
    struct list link;
    struct buffer input;
    struct http_parser parser;
    uint64_t ticket; /* of the request that is being answered; 0: none */
    bool head_only, keep_alive;
    bool serving; /* inside connection_serve(): the caller goes on with the input */
    bool closing; /* nothing more is read; it ends when what was said is sent */
    struct world_timer idle;
};

struct admin {
    struct admin_options options;
    struct world *world;
    struct listener *listener;
    struct list connections;
    uint64_t last_ticket;
    struct admin_statistics statistics;
};

struct admin_route {
    const char *path;
    enum admin_page page;
};

static const struct admin_route routes[] = {
    {"/health", ADMIN_HEALTH},
    {"/metrics", ADMIN_METRICS},
    {"/status", ADMIN_STATUS},
    {"/plan", ADMIN_PLAN},
};

static void connection_free(struct admin_connection *connection)
{
    world_timer_stop(connection->admin->world, &connection->idle);
    list_remove(&connection->link);
    connection->admin->statistics.connections--;
    buffer_free(&connection->input);
    memory_free(connection);
}

static void connection_end(struct admin_connection *connection)
{
    if (connection->closing) return;
    connection->closing = true;
    buffer_clear(&connection->input);
    stream_close(connection->stream);
}

/* As the head of the answer says, so it is done: `Connection: close`, or on to the next. */
static void connection_respond(struct admin_connection *connection, unsigned status,
                               const char *content_type, struct bytes body)
{
    enum status written =
        http_write_response(stream_output(connection->stream), status, content_type, body,
                            connection->head_only, connection->keep_alive);

    connection->ticket = 0;
    connection->admin->statistics.requests++;
    if (written) connection->keep_alive = false; /* larger than may wait: nothing was appended */
    stream_flush(connection->stream);
}

static void connection_operate(struct admin_connection *connection,
                               const struct http_request *request)
{
    struct admin *admin = connection->admin;
    struct bytes value;

    /* A browser says where a page is from; no tool of an operator does. So a page whose name was
     * made to mean this address, and which may send any field, is refused as well. */
    bool browser = http_field_find(request, "origin", &value) ||
                   http_field_find(request, "sec-fetch-site", &value);
    if (browser || !http_field_find(request, "x-holon-operator", &value)) {
        connection_respond(
            connection, 403, "text/plain; charset=utf-8",
            bytes_of("a POST needs the header X-Holon-Operator: yes, and none that says "
                     "where a page is from\n"));
        return;
    }
    connection->ticket = ++admin->last_ticket;
    admin->options.operate(admin->options.context, request->path, request->query,
                           connection->ticket);
}

static void connection_serve(struct admin_connection *connection,
                             const struct http_request *request)
{
    static const char help[] = "There are /, /health, /metrics, /status and /plan.\n";
    struct admin *admin = connection->admin;

    connection->head_only = request->method == HTTP_HEAD;
    connection->keep_alive = request->keep_alive;
    if (request->method == HTTP_POST) {
        connection_operate(connection, request);
        return;
    }
    if (bytes_equal(request->path, bytes_of("/"))) {
        connection_respond(connection, 200, "text/html; charset=utf-8",
                           bytes_make(admin_page_html, admin_page_html_size));
        return;
    }
    for (size_t i = 0; i < ARRAY_COUNT(routes); i++) {
        if (!bytes_equal(request->path, bytes_of(routes[i].path))) continue;
        connection->ticket = ++admin->last_ticket;
        admin->options.render(admin->options.context, routes[i].page, connection->ticket);
        return;
    }
    connection_respond(connection, 404, "text/plain; charset=utf-8", bytes_of(help));
}

/* Answers of which much waits are read first. */
static bool connection_waits(const struct admin_connection *connection)
{
    return connection->ticket != 0 ||
           buffer_size(stream_output(connection->stream)) > ADMIN_OUTPUT_WAIT;
}

/* One request at a time: what is pipelined waits in the input, which is bounded by not reading
 * on. The stream stays until on_closed, whatever is closed in here. */
static void connection_read(struct admin_connection *connection)
{
    while (!connection->closing && !connection_waits(connection) &&
           buffer_size(&connection->input) > 0) {
        struct http_request request;
        size_t used = 0;
        enum http_result result =
            http_parse(&connection->parser, buffer_bytes(&connection->input), &request, &used);
        if (result == HTTP_MORE) break;
        if (result == HTTP_REFUSED) {
            connection->keep_alive = false;
            connection->head_only = false;
            connection_respond(connection, connection->parser.status, "text/plain; charset=utf-8",
                               bytes_of(connection->parser.reason));
            connection_end(connection);
            return;
        }
        connection->serving = true;
        connection_serve(connection, &request);
        connection->serving = false;
        buffer_consume(&connection->input, used);
        connection->parser = (struct http_parser){0};
        /* Only by whole requests: a head that trickles in must not hold one of the few places. */
        world_timer_start(connection->admin->world, &connection->idle, ADMIN_IDLE_US);
        if (connection->ticket == 0 && !connection->keep_alive) connection_end(connection);
    }
    if (connection->closing || connection_waits(connection))
        stream_read_pause(connection->stream);
    else
        stream_read_resume(connection->stream);
}

static void connection_on_data(void *context, struct stream *stream, struct bytes data)
{
    struct admin_connection *connection = context;

    if (connection->closing) return;
    if (buffer_append(&connection->input, data)) {
        connection->closing = true;
        stream_abort(stream);
        return;
    }
    connection_read(connection);
}

static void connection_on_drained(void *context, struct stream *stream)
{
    connection_read(context);
}

static void connection_on_closed(void *context, struct stream *stream, enum status reason)
{
    connection_free(context);
}

static void connection_idle(struct world_timer *timer)
{
    connection_end(timer->context);
}

static const struct stream_events connection_events = {.on_data = connection_on_data,
                                                       .on_drained = connection_on_drained,
                                                       .on_closed = connection_on_closed};
static const struct stream_events no_events = {0};

/* Somebody who asks now is worth more than somebody who asks nothing: of those (of one address,
 * if `host` has too many), the one that came first gives up its place. */
static bool admin_displace(struct admin *admin, const struct bytes *host)
{
    for (struct list *at = admin->connections.next; at != &admin->connections; at = at->next) {
        struct admin_connection *connection = CONTAINER_OF(at, struct admin_connection, link);
        bool idle = !connection->closing && !connection_waits(connection) &&
                    buffer_size(stream_output(connection->stream)) == 0;
        const char *address = stream_peer_address(connection->stream);
        if (!idle || (host && !bytes_equal(admission_host(address), *host))) continue;
        struct stream *stream = connection->stream;
        stream_set_events(stream, &no_events, NULL);
        connection_free(connection);
        stream_abort(stream);
        admin->statistics.displaced++;
        return true;
    }
    return false;
}

static uint32_t admin_count_of(const struct admin *admin, struct bytes host)
{
    uint32_t count = 0;

    for (struct list *at = admin->connections.next; at != &admin->connections; at = at->next) {
        struct admin_connection *connection = CONTAINER_OF(at, struct admin_connection, link);
        const char *address = stream_peer_address(connection->stream);
        count += bytes_equal(admission_host(address), host);
    }
    return count;
}

static void admin_refuse(struct admin *admin, struct stream *stream)
{
    admin->statistics.refused++;
    stream_set_events(stream, &no_events, NULL);
    (void)http_write_response(stream_output(stream), 503, "text/plain; charset=utf-8",
                              bytes_of("too many connections to the admin port\n"), false, false);
    stream_flush(stream);
    stream_close(stream);
}

static void admin_accept(void *context, struct stream *stream)
{
    struct admin *admin = context;
    struct bytes host = admission_host(stream_peer_address(stream));
    bool room = true;

    if (admin_count_of(admin, host) >= ADMIN_ADDRESS_CONNECTIONS_MAX)
        room = admin_displace(admin, &host);
    else if (admin->statistics.connections >= ADMIN_CONNECTIONS_MAX)
        room = admin_displace(admin, NULL);
    if (!room) {
        admin_refuse(admin, stream);
        return;
    }
    struct admin_connection *connection = memory_allocate_zero(sizeof(*connection));
    connection->admin = admin;
    connection->stream = stream;
    connection->idle = (struct world_timer){.fire = connection_idle, .context = connection};
    /* A head and what one read brings behind it. */
    buffer_init(&connection->input, HTTP_HEAD_SIZE_MAX + (128 << 10));
    list_insert_before(&admin->connections, &connection->link);
    admin->statistics.connections++;
    stream_set_events(stream, &connection_events, connection);
    stream_set_output_max(stream, ADMIN_OUTPUT_MAX);
    world_timer_start(admin->world, &connection->idle, ADMIN_IDLE_US);
}

enum status admin_open(const struct admin_options *options, struct admin **ret_admin,
                       struct error *error)
{
    struct admin *admin = memory_allocate_zero(sizeof(*admin));

    admin->options = *options;
    admin->world = options->world;
    list_init(&admin->connections);
    enum status status =
        world_listen(admin->world, options->address, admin, admin_accept, &admin->listener, error);
    if (status) {
        memory_free(admin);
        return status;
    }
    *ret_admin = admin;
    return STATUS_OK;
}

void admin_close(struct admin *admin)
{
    if (admin == NULL) return;
    listener_close(admin->listener);
    while (!list_empty(&admin->connections)) {
        struct admin_connection *connection =
            CONTAINER_OF(admin->connections.next, struct admin_connection, link);
        struct stream *stream = connection->stream;
        stream_set_events(stream, &no_events, NULL);
        connection_free(connection);
        stream_abort(stream);
    }
    memory_free(admin);
}

uint16_t admin_port(const struct admin *admin)
{
    return listener_port(admin->listener);
}

void admin_answer(struct admin *admin, uint64_t ticket, unsigned status, const char *content_type,
                  struct bytes body)
{
    for (struct list *at = admin->connections.next; at != &admin->connections; at = at->next) {
        struct admin_connection *connection = CONTAINER_OF(at, struct admin_connection, link);
        if (connection->ticket != ticket) continue;
        connection_respond(connection, status, content_type, body);
        if (connection->serving) return; /* connection_read() goes on */
        if (!connection->keep_alive) connection_end(connection);
        connection_read(connection); /* what was pipelined, or what comes */
        return;
    }
}

void admin_statistics(const struct admin *admin, struct admin_statistics *ret_statistics)
{
    *ret_statistics = admin->statistics;
}
