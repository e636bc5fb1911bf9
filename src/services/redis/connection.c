/* connection.c - bytes of one client in, commands out: parsing, waiting, ending. */
#include "base/assert.h"
#include "base/memory.h"
#include "services/redis/frontend.h"

static void on_data(void *context, struct stream *stream, struct bytes data);
static void on_drained(void *context, struct stream *stream);
static void on_closed(void *context, struct stream *stream, enum status reason);

static const struct stream_events connection_events = {
    .on_data = on_data, .on_drained = on_drained, .on_closed = on_closed};

/* --- birth and end ------------------------------------------------------------------------- */

void connection_accept(struct redis_service *service, struct stream *stream, bool cluster_port)
{
    struct connection *connection = memory_allocate_zero(sizeof(*connection));

    connection->service = service;
    connection->stream = stream;
    connection->cluster_port = cluster_port;
    /* Unique on the node: workers count in steps of WORKERS_MAX. */
    connection->id =
        ++service->next_connection * WORKERS_MAX + world_worker(service->options.world);
    connection->opened = connection->active = world_now(service->options.world);
    buffer_init(&connection->input, INPUT_BYTES_MAX);
    list_init(&connection->slots);
    list_init(&connection->ready);
    list_insert_before(&service->connections, &connection->link);
    service->connection_count++;
    stream_set_events(stream, &connection_events, connection);
    stream_set_output_max(stream, OUTPUT_BYTES_MAX);
}

void connection_destroy(struct connection *connection)
{
    struct redis_service *service = connection->service;

    fanout_cancel(connection);
    connection_forget_all(connection);
    list_remove(&connection->ready);
    list_remove(&connection->link);
    ASSERT(service->connection_count > 0);
    service->connection_count--;
    resp_parser_free(&connection->parser);
    buffer_free(&connection->input);
    memory_free(connection);
}

static void on_closed(void *context, struct stream *stream, enum status reason)
{
    struct connection *connection = context;

    connection->ended = true;
    connection_destroy(connection);
}

void connection_kill(struct connection *connection, const char *why)
{
    if (connection->ended) return;
    LOG_WARN(world_logger(connection->service->options.world), "redis",
             "client closed id=%llu reason=\"%s\"", (unsigned long long)connection->id, why);
    connection->closing = true;
    connection->ended = true;
    stream_abort(connection->stream);
}

static void end_if_answered(struct connection *connection)
{
    bool open = !list_empty(&connection->slots) || connection->fanout != NULL;

    if (!connection->closing || connection->ended || open) return;
    connection->ended = true;
    stream_close(connection->stream);
}

void connection_close_after_replies(struct connection *connection)
{
    connection->closing = true;
    end_if_answered(connection);
}

/* --- bounds -------------------------------------------------------------------------------- */

static bool reaches(const struct connection *connection, uint32_t divisor)
{
    size_t output = buffer_size(stream_output(connection->stream));
    size_t expected = connection->slot_count * connection->reply_size;

    return connection->slot_count > REPLIES_MAX / divisor - 1 ||
           connection->held_bytes > HELD_BYTES_MAX / divisor ||
           expected > EXPECTED_BYTES_MAX / divisor || output > OUTPUT_WAIT_BYTES / divisor;
}

/* May the next command be looked at? */
static bool may_go_on(struct connection *connection)
{
    if (connection->closing || connection->ended || connection->fanout) return false;
    if (connection->held) {
        connection->held = reaches(connection, 2);
    } else if (reaches(connection, 1)) {
        connection->held = true;
        connection->service->statistics.pauses++;
    }
    return !connection->held;
}

/* Reads the socket exactly while nothing waits: then `input` holds less than a command. */
static void pause_or_resume(struct connection *connection, bool waits)
{
    if (connection->ended || waits == connection->read_paused) return;
    connection->read_paused = waits;
    if (waits)
        stream_read_pause(connection->stream);
    else
        stream_read_resume(connection->stream);
}

/* --- input --------------------------------------------------------------------------------- */

static void refuse_protocol(struct connection *connection)
{
    struct local_reply reply;

    connection->service->statistics.protocol_errors++;
    connection->reply_mode = REPLY_ON;
    local_reply_begin(connection, &reply);
    resp_write_error_format(&reply.out, "ERR %s", connection->parser.error);
    local_reply_end(&reply);
    connection_close_after_replies(connection);
}

/* Runs the whole commands in `input` as far as the bounds allow. Returns the bytes used;
 * *ret_waits: there is a whole command left that has to wait. */
static size_t process_input(struct connection *connection, struct bytes input, bool *ret_waits)
{
    struct resp_parser *parser = &connection->parser;
    size_t used = 0;

    connection->processing = true;
    *ret_waits = false;
    while (used < input.size) {
        size_t size = 0;
        if (!may_go_on(connection)) {
            *ret_waits = true;
            break;
        }
        enum resp_result result = resp_parse(parser, bytes_from(input, used), &size);
        if (result == RESP_MORE) break;
        if (result == RESP_INVALID) {
            refuse_protocol(connection);
            break;
        }
        bool empty = parser->argument_count == 0;
        if (!empty && !dispatch_command(connection, parser->arguments, parser->argument_count)) {
            *ret_waits = true;
            break;
        }
        used += size;
    }
    connection->processing = false;
    return connection->closing ? input.size : used;
}

static void trim_input(struct connection *connection)
{
    struct buffer *input = &connection->input;
    if (buffer_size(input) == 0 && input->capacity > INPUT_KEPT_BYTES) buffer_release(input);
}

static void process_waiting(struct connection *connection)
{
    bool waits = false;

    if (connection->processing || connection->ended) return;
    connection->service->now = world_now(connection->service->options.world);
    if (buffer_size(&connection->input)) {
        size_t used = process_input(connection, buffer_bytes(&connection->input), &waits);
        buffer_consume(&connection->input, used);
        trim_input(connection);
    } else {
        waits = !may_go_on(connection);
    }
    pause_or_resume(connection, waits);
    end_if_answered(connection);
}

static void on_data(void *context, struct stream *stream, struct bytes data)
{
    struct connection *connection = context;
    struct redis_service *service = connection->service;
    bool waits = false;

    if (connection->closing || connection->ended) return;
    service->statistics.bytes_in += data.size;
    service->now = world_now(service->options.world);
    connection->active = service->now;

    if (buffer_size(&connection->input) == 0) { /* the usual way: nothing is copied */
        size_t used = process_input(connection, data, &waits);
        data = bytes_from(data, used);
    }
    bool kept = buffer_append(&connection->input, data) == STATUS_OK;
    if (!kept) {
        connection_kill(connection, "more input than may wait");
        return;
    }
    if (data.size) {
        process_waiting(connection);
    } else {
        waits = waits || !may_go_on(connection);
        pause_or_resume(connection, waits);
        end_if_answered(connection);
    }
}

static void on_drained(void *context, struct stream *stream)
{
    struct connection *connection = context;
    if (connection->held) connection_wake(connection);
}

/* --- going on later ------------------------------------------------------------------------ */

void connection_wake(struct connection *connection)
{
    struct redis_service *service = connection->service;

    if (connection->ended || !list_empty(&connection->ready)) return;
    if (list_empty(&service->ready))
        world_timer_start(service->options.world, &service->ready_timer, 0);
    list_insert_before(&service->ready, &connection->ready);
}

/* Not inside the gateway's callbacks: here new requests may be submitted. */
void connections_run_ready(struct redis_service *service)
{
    struct list turn;

    list_init(&turn);
    while (!list_empty(&service->ready)) {
        struct list *link = service->ready.next;
        list_remove(link);
        list_insert_before(&turn, link);
    }
    while (!list_empty(&turn)) {
        struct connection *connection = CONTAINER_OF(turn.next, struct connection, ready);
        list_remove(&connection->ready);
        if (connection->fanout) fanout_continue(connection);
        process_waiting(connection);
    }
}
