#include "sim/sim_client.h"

#include "base/assert.h"
#include "base/memory.h"
#include "sim/sim_client_internal.h"

#include <stdio.h>

enum { INPUT_SIZE_MAX = 64 << 20, RECONNECT_MIN_US = 2000, RECONNECT_MAX_US = 200000 };

static void connect_client(struct sim_client *client);
static void judge_next(struct sim_client *client);

/* --- life of a connection --- */

static void arm_give_up(struct sim_client *client)
{
    struct world *world = sim_clients_world(client->clients);

    world_timer_stop(world, &client->give_up);
    if (client->pending_count == 0) return;
    const struct sim_op *oldest =
        &client->clients->history.ops[client->pending[client->pending_first]];
    uint64_t waited = client->clients->sim->now - oldest->invoked;
    uint64_t left = client->clients->workload.give_up;
    world_timer_start(world, &client->give_up, left > waited ? left - waited : 1);
}

static void think(struct sim_client *client)
{
    if (client->manual || client->judge || !client->clients->running) return;
    world_timer_start(sim_clients_world(client->clients), &client->next,
                      sim_workload_think(client));
}

static void on_connected(void *context, struct stream *stream)
{
    struct sim_client *client = context;

    client->connecting = false;
    client->session = ++client->clients->sessions;
    client->position = 0;
    if (client->judge)
        judge_next(client);
    else
        think(client);
}

static void on_data(void *context, struct stream *stream, struct bytes data)
{
    struct sim_client *client = context;

    if (buffer_append(&client->input, data) != STATUS_OK || !sim_request_replies(client)) {
        stream_abort(stream);
        return;
    }
    arm_give_up(client);
    if (client->pending_count > 0) return;
    if (client->judge)
        judge_next(client);
    else
        think(client);
}

static void on_closed(void *context, struct stream *stream, enum status reason)
{
    struct sim_client *client = context;
    struct sim_clients *clients = client->clients;

    client->stream = NULL;
    client->connecting = false;
    buffer_clear(&client->input);
    sim_request_connection_lost(client);
    world_timer_stop(sim_clients_world(clients), &client->give_up);
    world_timer_stop(sim_clients_world(clients), &client->next);
    if (client->manual || (!clients->running && !client->judge)) return;
    world_timer_start(
        sim_clients_world(clients), &client->next,
        sim_log_uniform(clients->sim, SIM_RANDOM_WORKLOAD, RECONNECT_MIN_US, RECONNECT_MAX_US));
}

static const struct stream_events client_events = {
    .on_data = on_data, .on_connected = on_connected, .on_closed = on_closed};

static uint32_t draw_node(struct sim_clients *clients)
{
    uint32_t chosen;

    ASSERT(clients->nodes != 0);
    do {
        chosen = 1 + (uint32_t)sim_below(clients->sim, SIM_RANDOM_WORKLOAD, clients->address_count);
    } while (!(clients->nodes >> chosen & 1));
    return chosen;
}

static void connect_client(struct sim_client *client)
{
    struct sim_clients *clients = client->clients;

    if (client->stream) return;
    if (!client->manual) client->node = draw_node(clients);
    client->connecting = true;
    client->stream = world_connect(sim_clients_world(clients), clients->addresses[client->node - 1],
                                   &client_events, client);
}

static void on_next(struct world_timer *timer)
{
    struct sim_client *client = timer->context;

    if (client->stream == NULL)
        connect_client(client);
    else if (client->clients->running && !client->connecting && client->pending_count == 0) {
        sim_workload_burst(client);
        arm_give_up(client);
    }
}

static void on_give_up(struct world_timer *timer)
{
    struct sim_client *client = timer->context;

    if (client->stream) stream_abort(client->stream);
}

static struct sim_client *add_client(struct sim_clients *clients)
{
    ASSERT(clients->count < SIM_CLIENTS_MAX);
    struct sim_client *client = memory_allocate_zero(sizeof(*client));

    client->clients = clients;
    client->number = clients->count;
    client->next.fire = on_next;
    client->next.context = client;
    client->give_up.fire = on_give_up;
    client->give_up.context = client;
    buffer_init(&client->input, INPUT_SIZE_MAX);
    clients->all[clients->count++] = client;
    return client;
}

/* --- all of them --- */

struct sim_clients *sim_clients_make(struct sim *sim, const struct sim_workload *workload,
                                     const char (*addresses)[64], uint32_t address_count)
{
    struct sim_clients *clients = memory_allocate_zero(sizeof(*clients));

    ASSERT(address_count <= SIM_ADDRESSES_MAX);
    clients->sim = sim;
    clients->workload = *workload;
    clients->address_count = address_count;
    memcpy(clients->addresses, addresses, address_count * sizeof(*addresses));
    for (uint32_t i = 1; i <= address_count; i++)
        clients->nodes |= 1u << i;
    sim_machine_init(&clients->machine, sim, 0);
    clients->process = sim_process_make(&clients->machine, 1, NULL, NULL);
    clients->machine.process = clients->process;
    sim_workload_keys(clients);
    for (uint32_t i = 0; i < workload->clients; i++)
        add_client(clients);
    return clients;
}

void sim_clients_free(struct sim_clients *clients)
{
    if (clients == NULL) return;
    sim_process_end(clients->process, SIM_END_QUIET);
    for (uint32_t i = 0; i < clients->count; i++) {
        buffer_free(&clients->all[i]->input);
        memory_free(clients->all[i]);
    }
    sim_history_free(&clients->history);
    memory_free(clients);
}

static void start_all(void *context)
{
    struct sim_clients *clients = context;

    for (uint32_t i = 0; i < clients->count; i++)
        if (!clients->all[i]->manual) connect_client(clients->all[i]);
}

void sim_clients_start(struct sim_clients *clients)
{
    clients->running = true;
    sim_world_call(&clients->process->worlds[0], 0, start_all, clients);
}

void sim_clients_stop(struct sim_clients *clients)
{
    clients->running = false;
}

static void leave_nodes(void *context)
{
    struct sim_clients *clients = context;

    for (uint32_t i = 0; i < clients->count; i++) {
        struct sim_client *client = clients->all[i];
        if (client->stream && !client->manual && !(clients->nodes >> client->node & 1))
            stream_abort(client->stream);
    }
}

void sim_clients_use(struct sim_clients *clients, uint32_t nodes)
{
    clients->nodes = nodes;
    sim_world_call(&clients->process->worlds[0], 0, leave_nodes, clients);
}

void sim_clients_excuse(struct sim_clients *clients, uint32_t node, uint64_t until)
{
    clients->excused_until[node] = until;
}

uint32_t sim_clients_outstanding(const struct sim_clients *clients)
{
    uint32_t count = 0;

    for (uint32_t i = 0; i < clients->count; i++)
        count += clients->all[i]->pending_count;
    return count;
}

uint32_t sim_clients_progress(const struct sim_clients *clients, uint64_t since)
{
    uint32_t counts[SIM_CLIENTS_MAX] = {0};
    uint32_t least = UINT32_MAX;

    for (uint32_t i = clients->history.count; i-- > 0;) {
        const struct sim_op *op = &clients->history.ops[i];
        if (op->invoked < since) break;
        if (op->outcome == SIM_DONE) counts[op->client]++;
    }
    for (uint32_t i = 0; i < clients->workload.clients; i++)
        if (counts[i] < least) least = counts[i];
    return least;
}

struct sim_history *sim_clients_history(struct sim_clients *clients)
{
    return &clients->history;
}

/* --- the judge --- */

static void judge_next(struct sim_client *client)
{
    struct sim_clients *clients = client->clients;

    /* One key at a time; one whose answer was lost is asked for again. */
    while (client->judge_key < clients->history.key_count) {
        bool answered = false;
        for (uint32_t i = clients->history.count; i-- > 0 && !answered;) {
            const struct sim_op *op = &clients->history.ops[i];
            if (op->client != client->number) continue;
            answered = op->key == client->judge_key && op->outcome == SIM_DONE;
            break;
        }
        if (answered) {
            client->judge_key++;
            continue;
        }
        struct sim_op op = {.kind = SIM_OP_GET, .key = client->judge_key};
        sim_request_send(client, &op);
        stream_flush(client->stream);
        arm_give_up(client);
        return;
    }
}

static void start_judge(void *context)
{
    connect_client(context);
}

void sim_clients_judge(struct sim_clients *clients)
{
    struct sim_client *client = add_client(clients);

    client->judge = true;
    sim_world_call(&clients->process->worlds[0], 0, start_judge, client);
}

bool sim_clients_judge_done(const struct sim_clients *clients)
{
    const struct sim_client *client = clients->all[clients->count - 1];

    return client->judge && client->judge_key >= clients->history.key_count;
}

/* --- under a scenario's control --- */

struct sim_client *sim_client_manual(struct sim_clients *clients, uint32_t node)
{
    struct sim_client *client = add_client(clients);

    client->manual = true;
    client->node = node;
    return client;
}

void sim_client_connect(struct sim_client *client, uint32_t node)
{
    client->node = node;
    sim_world_call(&client->clients->process->worlds[0], 0, start_judge, client);
}

static void abort_client(void *context)
{
    struct sim_client *client = context;

    if (client->stream) stream_abort(client->stream);
}

void sim_client_disconnect(struct sim_client *client)
{
    sim_world_call(&client->clients->process->worlds[0], 0, abort_client, client);
}

bool sim_client_connected(const struct sim_client *client)
{
    return client->stream != NULL && !client->connecting;
}

uint32_t sim_client_send(struct sim_client *client, enum sim_op_kind kind, uint32_t key,
                         int64_t argument)
{
    struct sim_op op = {.kind = (uint8_t)kind, .key = key, .argument = argument};

    return sim_request_send(client, &op);
}

static void flush_client(void *context)
{
    struct sim_client *client = context;

    if (client->stream) stream_flush(client->stream);
}

void sim_client_flush(struct sim_client *client)
{
    sim_world_call(&client->clients->process->worlds[0], 0, flush_client, client);
}

uint64_t sim_clients_no_space(const struct sim_clients *clients)
{
    return clients->no_space_replies;
}
