/* connection.c - bytes of one client in, commands out: parsing, waiting, ending. */
#include "base/assert.h"
#include "base/memory.h"
#include "net/admission.h"
#include "services/redis/frontend.h"
#include "services/redis/snapshot.h"
#include "services/redis/guard.h"
#include "services/redis/lock_wait.h"
#include "world/probe.h"

enum { KILL_LOG_INTERVAL_US = 1000 * 1000 }; /* a flood must not fill the log */

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
    connection->output_moved = connection->opened;
    connection->reply_size = OWED_FIRST_BYTES;
    buffer_init(&connection->input, INPUT_BYTES_MAX);
    list_init(&connection->slots);
    list_init(&connection->ready);
    list_insert_before(&service->connections, &connection->link);
    service->connection_count++;
    stream_set_events(stream, &connection_events, connection);
    stream_set_output_max(stream, OUTPUT_BYTES_MAX);
    limits_sweep_start(service);
}

void connection_destroy(struct connection *connection)
{
    struct redis_service *service = connection->service;

    fanout_cancel(connection);
    staging_cancel(connection);
    exec_cancel(connection);
    multi_drop(connection);
    guards_drop(connection);
    lock_wait_cancel(connection);
    connection_forget_all(connection);
    snapshot_drop(connection);
    reads_set_stale(connection, 0);
    connection_account_gone(connection);
    admission_leave(service->options.admission, stream_peer_address(connection->stream));
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
    struct redis_service *service = connection->service;
    uint64_t now = world_now(service->options.world);

    if (connection->killed) return;
    if (service->kill_logged_at == 0 || now - service->kill_logged_at >= KILL_LOG_INTERVAL_US) {
        LOG_WARN(world_logger(service->options.world), "redis",
                 "client closed id=%llu addr=%s reason=\"%s\" others_since_last=%u",
                 (unsigned long long)connection->id, stream_peer_address(connection->stream), why,
                 service->kills_not_logged);
        service->kill_logged_at = now;
        service->kills_not_logged = 0;
    } else {
        service->kills_not_logged++;
    }
    connection->killed = true;
    connection->closing = true;
    connection->ended = true;
    connection_account_gone(connection);
    stream_abort(connection->stream);
}

static void end_if_answered(struct connection *connection)
{
    bool open = !list_empty(&connection->slots) || connection->fanout != NULL ||
                connection->staging != NULL || connection->exec != NULL ||
                connection->locks != NULL || snapshot_is_opening(connection);

    if (!connection->closing || connection->ended || open) return;
    connection->ended = true;
    stream_close(connection->stream);
}

void connection_close_after_replies(struct connection *connection)
{
    connection->closing = true;
    lock_wait_give_up(connection);
    end_if_answered(connection);
}

/* --- waiting ------------------------------------------------------------------------------- */

/* Is what the command at the front of the input waits for over? */
static bool wait_is_over(const struct connection *connection)
{
    switch (connection->waits_for) {
    case WAIT_NOTHING:
        return true;
    case WAIT_ALL:
        return list_empty(&connection->slots);
    case WAIT_READS:
        return connection->open_reads[connection->waits_for_class] == 0;
    case WAIT_LOCK:
        return connection->locks == NULL;
    }
    return true;
}

/* May the next command be looked at? */
static bool may_go_on(struct connection *connection)
{
    bool exec = connection->exec && !PLANTED(connection->service->options.world, "barrier_passed");
    bool alone =
        connection->fanout || connection->staging || exec || snapshot_is_opening(connection);

    if (connection->closing || connection->ended || alone) return false;
    return connection_has_room(connection) && wait_is_over(connection);
}

/* Reads the socket exactly while nothing waits: then `input` holds less than a command. */
static void pause_or_resume(struct connection *connection, bool waits)
{
    /* Whoever waits for a lock may do so for hours: if the client is gone, that shows here. */
    if (connection->locks && buffer_size(&connection->input) < LOCK_INPUT_BYTES) waits = false;
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

/* The command at the front of `input`: the one that had to wait, or the next one. What waited
 * is not parsed again, however often it is looked at. */
static enum resp_result command_at(struct connection *connection, struct bytes input,
                                   size_t *ret_size)
{
    struct resp_parser *parser = &connection->parser;

    if (connection->parsed_size == 0) return resp_parse(parser, input, ret_size);
    if ((uintptr_t)input.data != connection->parsed_at)
        resp_parser_rebase(parser, connection->parsed_at, input.data);
    connection->parsed_at = (uintptr_t)input.data;
    *ret_size = connection->parsed_size;
    return RESP_COMMAND;
}

/* False: it has to wait. */
static bool run_command(struct connection *connection, struct bytes input, size_t size)
{
    const struct resp_parser *parser = &connection->parser;
    bool empty = parser->argument_count == 0;

    connection->waits_for = WAIT_NOTHING;
    connection->spoke |= !empty;
    if (empty || dispatch_command(connection, parser->arguments, parser->argument_count)) {
        connection->parsed_size = 0;
        return true;
    }
    ASSERT(connection->waits_for != WAIT_NOTHING);
    connection->parsed_size = size;
    connection->parsed_at = (uintptr_t)input.data;
    return false;
}

/* All connections together have had their commands in this turn of the loop. */
static bool turn_is_over(struct redis_service *service)
{
    uint64_t turn = world_turn(service->options.world);

    if (service->turn != turn) {
        service->turn = turn;
        service->turn_commands = 0;
    }
    return service->turn_commands >= SERVICE_TURN_COMMANDS_MAX;
}

/* Runs the whole commands in `input` as far as the bounds allow. Returns the bytes used;
 * *ret_waits: there is a whole command left that has to wait. */
static size_t process_input(struct connection *connection, struct bytes input, bool *ret_waits)
{
    struct redis_service *service = connection->service;
    size_t used = 0;
    unsigned commands = 0;

    connection->processing = true;
    *ret_waits = false;
    while (used < input.size) {
        size_t size = 0;
        if (!may_go_on(connection)) {
            *ret_waits = true;
            break;
        }
        if (commands == TURN_COMMANDS_MAX || turn_is_over(service)) {
            service->statistics.turns_left++;
            service->backlogged |= commands < TURN_COMMANDS_MAX;
            connection_wake(connection);
            *ret_waits = true;
            break;
        }
        commands++;
        service->turn_commands++;
        struct bytes rest = bytes_from(input, used);
        enum resp_result result = command_at(connection, rest, &size);
        if (result == RESP_MORE) break;
        if (result == RESP_INVALID) {
            refuse_protocol(connection);
            break;
        }
        if (!run_command(connection, rest, size)) {
            *ret_waits = true;
            break;
        }
        used += size;
    }
    connection->processing = false;
    return connection->closing ? input.size : used;
}

/* Since when the rest of a command is waited for. While the connection itself has to wait, the
 * client cannot be late. */
static void note_request_time(struct connection *connection, bool progress, bool waits)
{
    bool partial = !waits && buffer_size(&connection->input) > 0;

    if (!partial)
        connection->request_since = 0;
    else if (progress || connection->request_since == 0)
        connection->request_since = connection->service->now;
}

static void trim_input(struct connection *connection)
{
    struct buffer *input = &connection->input;
    if (buffer_size(input) == 0 && input->capacity > INPUT_KEPT_BYTES) buffer_release(input);
}

static void process_waiting(struct connection *connection)
{
    bool waits = false;
    size_t used = 0;

    if (connection->processing || connection->ended) return;
    connection->service->now = world_now(connection->service->options.world);
    if (buffer_size(&connection->input)) {
        used = process_input(connection, buffer_bytes(&connection->input), &waits);
        buffer_consume(&connection->input, used);
        trim_input(connection);
    } else {
        waits = !may_go_on(connection);
    }
    note_request_time(connection, used > 0, waits);
    connection_account(connection);
    pause_or_resume(connection, waits);
    end_if_answered(connection);
}

static void on_data(void *context, struct stream *stream, struct bytes data)
{
    struct connection *connection = context;
    struct redis_service *service = connection->service;
    bool waits = false, queue = service->backlogged;
    bool direct = buffer_size(&connection->input) == 0 && !queue;
    size_t used = 0;

    if (connection->closing || connection->ended) return;
    service->statistics.bytes_in += data.size;
    service->now = world_now(service->options.world);
    connection->active = service->now;

    if (direct) used = process_input(connection, data, &waits); /* as usual: nothing is copied */
    if (buffer_append(&connection->input, bytes_from(data, used))) {
        connection_kill(connection, "more input than may wait");
        return;
    }
    if (queue) { /* behind those whose turn it is */
        connection_account(connection);
        connection_wake(connection);
        pause_or_resume(connection, true);
        return;
    }
    if (!direct) {
        process_waiting(connection);
        return;
    }
    note_request_time(connection, used > 0, waits);
    connection_account(connection);
    pause_or_resume(connection, waits); /* if it may not go on, the next bytes will find out */
    end_if_answered(connection);
}

static void on_drained(void *context, struct stream *stream)
{
    struct connection *connection = context;

    /* What is little is counted by the sweep: it comes and goes with every command. */
    if (connection->bytes > LIGHT_BYTES) connection_account(connection);
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

/* Not inside the gateway's callbacks: here new requests may be submitted. Whoever is put into the
 * list meanwhile has the next turn, and those that do not get theirs are first then. */
void connections_run_ready(struct redis_service *service)
{
    const struct list *last = service->ready.previous;
    bool through = list_empty(&service->ready);

    while (!through && !turn_is_over(service)) {
        struct list *link = service->ready.next;
        struct connection *connection = CONTAINER_OF(link, struct connection, ready);
        through = link == last;
        list_remove(link);
        if (connection->fanout) fanout_continue(connection);
        if (connection->staging) staging_continue(connection);
        if (connection->exec) exec_continue(connection);
        if (connection->snapshot) snapshot_continue(connection);
        if (connection->locks) lock_wait_continue(connection);
        process_waiting(connection);
    }
    service->backlogged = !through;
    if (!list_empty(&service->ready))
        world_timer_start(service->options.world, &service->ready_timer, 0);
}
