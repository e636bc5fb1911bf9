#include "services/redis/redis_service.h"

#include "base/assert.h"
#include "base/memory.h"
#include "net/admission.h"
#include "services/redis/gather.h"
#include "services/redis/lock_wait.h"

enum { SILENCE_BYTES_MAX = 64 << 20, BODY_BUFFER_MAX = 2 << 20 };

static void on_ready_timer(struct world_timer *timer)
{
    connections_run_ready(timer->context);
}

/* For streams that outlive what they belonged to. */
static void ignore_data(void *context, struct stream *stream, struct bytes data)
{
}
static void ignore_drained(void *context, struct stream *stream)
{
}
static void ignore_closed(void *context, struct stream *stream, enum status reason)
{
}
static const struct stream_events no_events = {
    .on_data = ignore_data, .on_drained = ignore_drained, .on_closed = ignore_closed};

struct redis_service *redis_service_open(const struct redis_service_options *options)
{
    struct redis_service *service = memory_allocate_zero(sizeof(*service));

    ASSERT(options->world && options->gateway && options->view);
    service->options = *options;
    if (options->bytes_max == 0) service->options.bytes_max = REDIS_BYTES_DEFAULT;
    if (options->worker_count == 0) service->options.worker_count = 1;
    if (options->admission == NULL) {
        struct admission_options alone = {.total_max = options->max_connections,
                                          .secret = world_random(options->world)};
        service->own_admission = admission_create(&alone);
        service->options.admission = service->own_admission;
    }
    if (options->limits.stage_from == 0) service->options.limits = redis_limits_default();
    redis_command_index_build(&service->index);
    list_init(&service->connections);
    list_init(&service->free_slots);
    list_init(&service->ready);
    list_init(&service->questions);
    lock_wait_open(service);
    buffer_init(&service->body, BODY_BUFFER_MAX);
    buffer_init(&service->silence, SILENCE_BYTES_MAX);
    histogram_init(&service->read_latency);
    histogram_init(&service->write_latency);
    service->ready_timer = (struct world_timer){.fire = on_ready_timer, .context = service};
    return service;
}

/* --- accepting ------------------------------------------------------------------------------ */

/* Says why and closes; nothing is read, so that a flood costs no memory. */
static void refuse(struct redis_service *service, struct stream *stream, const char *text)
{
    struct resp_writer out = resp_writer_make(stream_output(stream), false);

    service->statistics.connections_rejected++;
    stream_set_events(stream, &no_events, NULL);
    resp_write_error(&out, text);
    stream_flush(stream);
    stream_close(stream);
}

static void accept_on(struct redis_service *service, struct stream *stream, bool cluster_port)
{
    struct redis_statistics *statistics = &service->statistics;

    statistics->connections_received++;
    if (service->draining) {
        refuse(service, stream, "UNAVAILABLE this node is stopping; nothing was executed");
        return;
    }
    switch (admission_enter(service->options.admission, stream_peer_address(stream))) {
    case ADMISSION_GRANTED:
        connection_accept(service, stream, cluster_port);
        break;
    case ADMISSION_FULL:
        refuse(service, stream, "ERR max number of clients reached");
        break;
    case ADMISSION_ADDRESS_FULL:
        statistics->address_rejected++;
        refuse(service, stream, "ERR max number of clients reached for this address");
        break;
    }
}

static void on_accept(void *context, struct stream *stream)
{
    accept_on(context, stream, false);
}

static void on_accept_cluster(void *context, struct stream *stream)
{
    accept_on(context, stream, true);
}

enum status redis_service_listen(struct redis_service *service, const char *address,
                                 bool cluster_port, struct error *error)
{
    ASSERT(service->listeners[cluster_port] == NULL);
    return world_listen(service->options.world, address, service,
                        cluster_port ? on_accept_cluster : on_accept,
                        &service->listeners[cluster_port], error);
}

uint16_t redis_service_port(const struct redis_service *service, bool cluster_port)
{
    struct listener *listener = service->listeners[cluster_port];
    return listener ? listener_port(listener) : 0;
}

uint32_t redis_service_connections(const struct redis_service *service)
{
    return service->connection_count;
}

/* --- ending --------------------------------------------------------------------------------- */

static void close_listeners(struct redis_service *service)
{
    for (size_t i = 0; i < ARRAY_COUNT(service->listeners); i++) {
        if (service->listeners[i]) listener_close(service->listeners[i]);
        service->listeners[i] = NULL;
    }
}

void redis_service_drain(struct redis_service *service)
{
    struct list *link = service->connections.next;

    service->draining = true;
    close_listeners(service);
    while (link != &service->connections) {
        struct connection *connection = CONTAINER_OF(link, struct connection, link);
        link = link->next;
        connection_close_after_replies(connection);
    }
}

void redis_service_close_clients(struct redis_service *service)
{
    struct list *link = service->connections.next;

    while (link != &service->connections) {
        struct connection *connection = CONTAINER_OF(link, struct connection, link);
        link = link->next;
        connection_kill(connection, "this node was fenced and starts a new epoch");
    }
}

void redis_service_close(struct redis_service *service)
{
    close_listeners(service);
    world_timer_stop(service->options.world, &service->ready_timer);
    world_timer_stop(service->options.world, &service->sweep_timer);
    while (!list_empty(&service->connections)) {
        struct connection *connection =
            CONTAINER_OF(service->connections.next, struct connection, link);
        stream_set_events(connection->stream, &no_events, NULL);
        if (!connection->ended) stream_abort(connection->stream);
        connection_destroy(connection);
    }
    gather_forget_all(service);
    lock_wait_close(service);
    slots_free_all(service);
    admission_destroy(service->own_admission);
    buffer_free(&service->body);
    buffer_free(&service->silence);
    memory_free(service);
}

/* --- numbers -------------------------------------------------------------------------------- */

void redis_service_statistics(const struct redis_service *service,
                              struct redis_statistics *ret_statistics)
{
    *ret_statistics = service->statistics;
}

uint64_t redis_service_bytes_held(const struct redis_service *service)
{
    return service->statistics.bytes_held;
}

const struct histogram *redis_service_read_latency(const struct redis_service *service)
{
    return &service->read_latency;
}

const struct histogram *redis_service_write_latency(const struct redis_service *service)
{
    return &service->write_latency;
}

void service_facts(const struct redis_service *service, struct redis_facts *ret_facts)
{
    struct redis_facts facts = {0};

    if (service->options.facts) service->options.facts(service->options.context, &facts);
    if (facts.version == NULL) facts.version = "unknown";
    if (facts.connections == 0) facts.connections = admission_count(service->options.admission);
    if (facts.max_connections == 0)
        facts.max_connections = admission_total_max(service->options.admission);
    if (facts.workers == 0) facts.workers = service->options.worker_count;
    *ret_facts = facts;
}
