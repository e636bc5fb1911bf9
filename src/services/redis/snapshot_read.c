/* snapshot_read.c - a request to a partition, inside a READ of the connection's cut if it has one.
 * Whoever asks sees nothing of that: the reply that comes back is what its service says at the cut,
 * or an error in its place. */
#include <stdio.h>

#include "base/assert.h"
#include "base/memory.h"
#include "services/redis/snapshot.h"

struct snapshot_ask {
    struct gateway_request request;
    struct gateway_request *asked; /* what it stands for */
    struct snapshot *snapshot;
    struct list link;
    struct buffer body;
    bool open; /* the gateway has it; if not, the timer runs */
    uint64_t began;
    struct world_timer timer;
};

static struct world *world_of(const struct snapshot_ask *ask)
{
    return ask->snapshot->connection->service->options.world;
}

static void ask_free(struct snapshot_ask *ask)
{
    world_timer_stop(world_of(ask), &ask->timer);
    list_remove(&ask->link);
    buffer_free(&ask->body);
    memory_free(ask);
}

static void finish(struct snapshot_ask *ask, enum gateway_outcome outcome, struct bytes reply)
{
    struct gateway_request *asked = ask->asked;

    ask_free(ask);
    asked->on_reply(asked, outcome, reply);
}

static void finish_error(struct snapshot_ask *ask, enum cut_status status)
{
    const struct redis_service *service = ask->snapshot->connection->service;
    unsigned partition = service_partition(service, ask->asked->slot);
    unsigned long long id = txn_cut_id(ask->snapshot->cut);
    char text[320];

    if (status == CUT_GONE)
        snprintf(
            text, sizeof(text),
            "-SNAPSHOTGONE the snapshot %016llx has expired or was closed, or partition %u has "
            "moved to a node that does not have it; open a new one (HOLON.SNAPSHOT OPEN)\r\n",
            id, partition);
    else if (status == CUT_OPENING)
        snprintf(text, sizeof(text),
                 "-BUSY partition %u still copies its rows of the snapshot %016llx; try again\r\n",
                 partition, id);
    else
        snprintf(text, sizeof(text),
                 "-ERR partition %u could not read at the snapshot %016llx: its rows were not "
                 "kept, or a row cannot be read; open a new one (HOLON.SNAPSHOT OPEN)\r\n",
                 partition, id);
    finish(ask, GATEWAY_REPLY, bytes_of(text));
}

static void on_reply(struct gateway_request *request, enum gateway_outcome outcome,
                     struct bytes reply)
{
    struct snapshot_ask *ask = CONTAINER_OF(request, struct snapshot_ask, request);
    enum cut_status status;
    struct bytes rest;

    ask->open = false;
    if (outcome != GATEWAY_REPLY) {
        finish(ask, outcome, reply);
        return;
    }
    if (!cut_reply_read(reply, &status, &rest)) status = CUT_FAILED;
    bool patient = world_now(world_of(ask)) - ask->began < SNAPSHOT_COPYING_US;
    if (status == CUT_OK)
        finish(ask, GATEWAY_REPLY, rest);
    else if (status == CUT_OPENING && patient)
        world_timer_start(world_of(ask), &ask->timer, SNAPSHOT_POLL_US);
    else
        finish_error(ask, status);
}

static void submit(struct snapshot_ask *ask)
{
    ask->request = (struct gateway_request){.service = SERVICE_CUT,
                                            .slot = ask->asked->slot,
                                            .client = ask->asked->client,
                                            .body = buffer_bytes(&ask->body),
                                            .body_stays = true,
                                            .on_reply = on_reply};
    ask->open = true;
    gateway_submit(ask->snapshot->connection->service->options.gateway, &ask->request);
}

static void on_timer(struct world_timer *timer)
{
    submit(timer->context);
}

void connection_ask(struct connection *connection, struct gateway_request *request)
{
    struct redis_service *service = connection->service;
    struct snapshot *snapshot = connection->snapshot;

    if (!connection_at_snapshot(connection)) {
        gateway_submit(service->options.gateway, request);
        return;
    }
    ASSERT(!request->write); /* refused before */
    struct snapshot_ask *ask = memory_allocate_zero(sizeof(*ask));
    ask->asked = request;
    ask->snapshot = snapshot;
    ask->began = world_now(service->options.world);
    ask->timer = (struct world_timer){.fire = on_timer, .context = ask};
    buffer_init(&ask->body, BODY_SIZE_MAX + TXN_CUT_READ_OVERHEAD);
    list_insert_before(&snapshot->asks, &ask->link);
    request->staleness = 0;
    txn_cut_write_read(snapshot->cut, request->slot, request->service, request->body, &ask->body);
    if (buffer_size(&ask->body) > BODY_SIZE_MAX)
        finish(ask, GATEWAY_REPLY, bytes_of("-ERR command too big; nothing was executed\r\n"));
    else
        submit(ask);
}

/* Nearly always the first: they are forgotten in the order in which they were asked. */
static struct snapshot_ask *find(const struct connection *connection,
                                 const struct gateway_request *request)
{
    struct list *asks = &connection->snapshot->asks;

    for (struct list *link = asks->next; link != asks; link = link->next) {
        struct snapshot_ask *ask = CONTAINER_OF(link, struct snapshot_ask, link);
        if (ask->asked == request) return ask;
    }
    return NULL;
}

void connection_forget(struct connection *connection, struct gateway_request *request)
{
    struct gateway *gateway = connection->service->options.gateway;

    if (!connection_at_snapshot(connection)) {
        gateway_forget(gateway, request);
        return;
    }
    struct snapshot_ask *ask = find(connection, request);
    ASSERT(ask != NULL);
    if (ask->open) gateway_forget(gateway, &ask->request);
    ask_free(ask);
}
