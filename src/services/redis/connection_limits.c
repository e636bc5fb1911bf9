/* connection_limits.c - what connections may cost: bytes of one and of all, and time. */
#include "base/assert.h"
#include "net/admission.h"
#include "services/redis/frontend.h"

enum {
    SWEEP_US = 1000 * 1000,
    US_PER_S = 1000 * 1000,
    CROWDED_NUMERATOR = 3, /* of max_connections taken: whoever says nothing makes room sooner */
    CROWDED_DENOMINATOR = 4,
    CROWDED_FASTER = 6, /* so many times */
};

/* --- bytes --------------------------------------------------------------------------------- */

size_t connection_write_reply_supposed(const struct connection *connection,
                                       const struct redis_command *command, uint32_t argument_count)
{
    bool value_returned = false;

    switch (command->id) {
    case REDIS_SET: /* with GET, at least */
        value_returned = argument_count > 3;
        break;
    case REDIS_GETSET:
    case REDIS_GETDEL:
    case REDIS_GETEX:
        value_returned = true;
        break;
    default:
        break;
    }
    return value_returned ? connection->reply_size : OWED_SMALL_BYTES;
}

static size_t replies_held(const struct connection *connection)
{
    return connection->held_bytes + buffer_size(stream_output(connection->stream));
}

/* All have much open, and this connection its share of it. Its own replies wake it. */
static inline bool has_its_share(const struct connection *connection, uint32_t divisor)
{
    const struct redis_service *service = connection->service;
    uint64_t active = (uint64_t)service->active_count * divisor;

    if (service->open_count >= SERVICE_OPEN_MAX && connection->slot_count > 0 &&
        connection->slot_count * active >= SERVICE_OPEN_MAX)
        return true;
    bool heavy = connection->held_bytes > LIGHT_BYTES;
    uint64_t bytes = heavy ? SERVICE_OPEN_HEAVY_BYTES : SERVICE_OPEN_BYTES;
    return service->open_bytes >= bytes && connection->slot_count > 0 &&
           connection->held_bytes * active >= bytes;
}

/* Inlined, so that the divisions are of constants: it is asked for every command. */
static inline __attribute__((always_inline)) bool reaches(const struct connection *connection,
                                                          uint32_t divisor)
{
    size_t output = buffer_size(stream_output(connection->stream));
    const struct redis_service *service = connection->service;
    bool service_full = service->statistics.bytes_held > service->options.bytes_max / 2 / divisor &&
                        replies_held(connection) > LIGHT_BYTES / divisor;

    return connection->slot_count > REPLIES_MAX / divisor - 1 ||
           connection->held_bytes > HELD_BYTES_MAX / divisor ||
           connection->owed_bytes > OWED_BYTES_MAX / divisor ||
           output > OUTPUT_WAIT_BYTES / divisor || service_full ||
           has_its_share(connection, divisor);
}

bool connection_check_room(struct connection *connection)
{
    if (connection->held) {
        connection->held = reaches(connection, 2);
    } else if (reaches(connection, 1)) {
        connection->held = true;
        connection->service->statistics.pauses++;
    }
    return !connection->held;
}

static void account(struct connection *connection, size_t bytes)
{
    uint64_t *total = &connection->service->statistics.bytes_held;

    ASSERT(*total >= connection->bytes);
    *total += bytes - connection->bytes;
    connection->bytes = bytes;
}

void connection_account_gone(struct connection *connection)
{
    account(connection, 0);
}

static void evict_heaviest(struct redis_service *service)
{
    struct connection *heaviest = NULL;

    for (struct list *link = service->connections.next; link != &service->connections;
         link = link->next) {
        struct connection *connection = CONTAINER_OF(link, struct connection, link);
        if (heaviest == NULL || connection->bytes > heaviest->bytes) heaviest = connection;
    }
    service->statistics.clients_evicted++;
    connection_kill(heaviest, "the clients of its worker hold too much memory, and it most");
}

void connection_account(struct connection *connection)
{
    struct redis_service *service = connection->service;
    size_t replies = replies_held(connection);

    if (connection->killed) return; /* counted as gone: its memory is about to be */
    bool alone = connection->fanout || connection->staging || connection->exec || connection->multi;
    if (replies + buffer_size(&connection->input) == connection->bytes && !alone) return;
    account(connection, replies + buffer_size(&connection->input) + fanout_bytes(connection) +
                            staging_bytes(connection) + exec_bytes(connection) +
                            multi_bytes(connection));
    if (replies > OUTPUT_BYTES_MAX) {
        service->statistics.clients_stuck++;
        connection_kill(connection, "it does not read its replies: 64 MiB are waiting");
    }
    while (service->statistics.bytes_held > service->options.bytes_max)
        evict_heaviest(service);
}

/* --- time ---------------------------------------------------------------------------------- */

static void end_with_error(struct connection *connection, const char *text)
{
    connection->reply_mode = REPLY_ON;
    connection_reply_error(connection, text);
    connection_close_after_replies(connection);
}

/* Not one byte of what waits was taken: whoever reads slowly is waited for. */
static bool output_is_stuck(struct connection *connection, uint64_t now)
{
    bool waits = buffer_size(stream_output(connection->stream)) > 0;
    uint64_t delivered = waits ? stream_delivered(connection->stream) : 0;

    if (!waits || delivered != connection->output_delivered) {
        connection->output_delivered = delivered;
        connection->output_moved = now;
    }
    uint64_t timeout = connection->service->options.output_timeout;
    return timeout && now - connection->output_moved > timeout;
}

/* Half a command for too long. A big one over a slow line has more time than a small one. */
static bool request_is_late(const struct connection *connection, uint64_t now)
{
    uint64_t timeout = connection->service->options.request_timeout;
    uint64_t size = buffer_size(&connection->input);

    if (timeout == 0 || connection->request_since == 0) return false;
    timeout += size * US_PER_S / REQUEST_BYTES_PER_SECOND;
    return now - connection->request_since > timeout;
}

static bool is_silent(const struct connection *connection, uint64_t now)
{
    const struct redis_service *service = connection->service;
    const struct admission *admission = service->options.admission;
    uint64_t timeout = service->options.request_timeout;
    bool crowded = (uint64_t)admission_count(admission) * CROWDED_DENOMINATOR >=
                   (uint64_t)admission_total_max(admission) * CROWDED_NUMERATOR;

    if (timeout == 0 || connection->spoke || connection->request_since) return false;
    return now - connection->opened > (crowded ? timeout / CROWDED_FASTER : timeout);
}

static bool is_idle(const struct connection *connection, uint64_t now)
{
    uint64_t timeout = connection->service->options.idle_timeout;
    bool open = !list_empty(&connection->slots) || connection->fanout != NULL ||
                connection->staging != NULL || connection->exec != NULL ||
                connection->locks != NULL;

    return timeout && !open && now - connection->active > timeout;
}

static void check_deadlines(struct connection *connection, uint64_t now)
{
    struct redis_statistics *statistics = &connection->service->statistics;

    connection_account(connection); /* the output may have shrunk since */
    if (connection->killed) return;
    if (output_is_stuck(connection, now)) {
        statistics->clients_stuck++;
        connection_kill(connection, "it does not read its replies");
    } else if (connection->closing) {
        return;
    } else if (request_is_late(connection, now)) {
        statistics->clients_slow++;
        end_with_error(connection, "ERR the command was not completed in time; closing");
    } else if (is_silent(connection, now)) {
        statistics->clients_silent++;
        end_with_error(connection, "ERR no command came in time; closing");
    } else if (is_idle(connection, now)) {
        statistics->clients_idle++;
        connection_close_after_replies(connection);
    }
}

static void on_sweep(struct world_timer *timer)
{
    struct redis_service *service = timer->context;
    uint64_t now = world_now(service->options.world);
    struct list *link = service->connections.next;

    service->now = now;
    while (link != &service->connections) {
        struct connection *connection = CONTAINER_OF(link, struct connection, link);
        link = link->next; /* closing takes nothing out of the list before the turn ends */
        check_deadlines(connection, now);
    }
    service->sweeping = service->connection_count > 0;
    if (service->sweeping) world_timer_start(service->options.world, timer, SWEEP_US);
}

void limits_sweep_start(struct redis_service *service)
{
    if (service->sweeping) return;
    service->sweeping = true;
    service->sweep_timer.fire = on_sweep;
    service->sweep_timer.context = service;
    world_timer_start(service->options.world, &service->sweep_timer, SWEEP_US);
}
