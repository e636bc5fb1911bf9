#include "sim/sim_network.h"

#include "base/assert.h"
#include "base/memory.h"
#include "sim/sim_network_internal.h"
#include "sim/sim_stream.h"

enum { CONNECT_DELAY_MAX_US = 60000, NOTICE_MIN_US = 50, NOTICE_MAX_US = 3000 };

static bool link_is_cut(void *context, uint32_t from, uint32_t to)
{
    const struct sim_network *network = context;

    return from && to && from <= network->node_count && to <= network->node_count &&
           network->links[from][to].cut;
}

struct sim_network *sim_network_make(struct sim *sim, uint32_t node_count)
{
    ASSERT(node_count <= SIM_NODES_MAX);
    struct sim_network *network = memory_allocate_zero(sizeof(*network));

    network->sim = sim;
    sim->link_is_cut = link_is_cut;
    sim->link_context = network;
    network->node_count = node_count;
    network->options = (struct sim_network_options){.latency_min = 30,
                                                    .latency_max = 400,
                                                    .delay_max = 50000,
                                                    .timeout_min = 1000000,
                                                    .timeout_max = 15000000};
    for (uint32_t i = 0; i <= SIM_NODES_MAX; i++)
        for (uint32_t j = 0; j <= SIM_NODES_MAX; j++)
            network->links[i][j].held_last = &network->links[i][j].held_first;
    return network;
}

static void drop_held(struct sim_network *network, struct sim_link *link)
{
    while (link->held_first) {
        struct sim_event *event = link->held_first;
        link->held_first = event->next;
        sim_event_free(network->sim, event);
        network->counts.lost++;
    }
    link->held_last = &link->held_first;
    link->held_count = 0;
}

void sim_network_free(struct sim_network *network)
{
    if (network == NULL) return;
    network->sim->link_is_cut = NULL;
    for (uint32_t i = 0; i <= SIM_NODES_MAX; i++)
        for (uint32_t j = 0; j <= SIM_NODES_MAX; j++)
            drop_held(network, &network->links[i][j]);
    while (network->transports) {
        struct sim_transport *transport = network->transports;
        network->transports = transport->next;
        memory_free(transport);
    }
    for (uint32_t i = 0; i < SIM_REPLAY_RING; i++)
        memory_free(network->replays[i].data);
    for (uint32_t i = 0; i < network->kept_count; i++)
        memory_free(network->kept[i].frame.data);
    for (uint32_t i = 0; i < SIM_OLD_FRAMES; i++)
        memory_free(network->old[i].data);
    memory_free(network);
}

struct sim_network_options *sim_network_options(struct sim_network *network)
{
    return &network->options;
}

struct sim_network_counts sim_network_counts(const struct sim_network *network)
{
    return network->counts;
}

uint64_t sim_network_latency(struct sim_network *network)
{
    return sim_log_uniform(network->sim, SIM_RANDOM_NETWORK, network->options.latency_min,
                           network->options.latency_max);
}

/* --- connections --- */

static void peer_is_down(struct sim_transport *transport, node_id_t node)
{
    transport->peers[node].connection = 0;
    if (transport->base.events.on_peer_down)
        transport->base.events.on_peer_down(transport->base.context, node);
}

static void run_peer_up(struct sim *sim, struct sim_event *event)
{
    struct sim_transport *transport = event->a;
    node_id_t node = (node_id_t)(event->n >> 32);
    uint32_t worker_count = (uint32_t)event->n;
    uint64_t connection;

    memcpy(&connection, event->data, sizeof(connection));
    if (transport->closed) return;
    struct sim_connection *now =
        sim_connection_of(transport->network, transport->identity.node, node);
    if (now->id != connection) return; /* broken again */
    if (transport->peers[node].connection == connection) return;
    if (transport->peers[node].connection) peer_is_down(transport, node);
    transport->peers[node].connection = connection;
    transport->peers[node].worker_count = worker_count;
    if (transport->base.events.on_peer_up)
        transport->base.events.on_peer_up(transport->base.context, node);
}

static void run_peer_down(struct sim *sim, struct sim_event *event)
{
    struct sim_transport *transport = event->a;
    node_id_t node = (node_id_t)event->n;
    uint64_t connection;

    memcpy(&connection, event->data, sizeof(connection));
    if (transport->closed || transport->peers[node].connection != connection) return;
    peer_is_down(transport, node);
}

static void tell(struct sim_network *network, node_id_t whom, node_id_t about, uint64_t connection,
                 uint64_t delay, bool up)
{
    struct sim_endpoint *endpoint = &network->endpoints[whom];

    if (endpoint->process == NULL || delay == UINT64_MAX) return;
    for (uint32_t i = 0; i < endpoint->process->world_count; i++) {
        struct sim_transport *transport = endpoint->transports[i];
        if (transport == NULL || transport->closed) continue;
        struct sim_event *event =
            sim_schedule(network->sim, delay, up ? SIM_EVENT_PEER_UP : SIM_EVENT_PEER_DOWN,
                         transport->world, up ? run_peer_up : run_peer_down);
        event->a = transport;
        event->n = about;
        if (up) event->n = (uint64_t)about << 32 | network->endpoints[about].process->world_count;
        sim_event_copy_data(event, bytes_make(&connection, sizeof(connection)));
    }
}

static bool clusters_fit(const struct sim_identity *a, const struct sim_identity *b)
{
    struct cluster_id none = {0, 0};

    return cluster_id_equal(a->cluster, b->cluster) || cluster_id_equal(a->cluster, none) ||
           cluster_id_equal(b->cluster, none);
}

static bool may_talk(struct sim_network *network, node_id_t node)
{
    const struct sim_endpoint *endpoint = &network->endpoints[node];

    return endpoint->process && !endpoint->process->dead && endpoint->transports[0] &&
           !endpoint->transports[0]->closed;
}

static void run_try(struct sim *sim, struct sim_event *event)
{
    struct sim_network *network = event->a;
    node_id_t a = (node_id_t)(event->n >> 32), b = (node_id_t)event->n;
    struct sim_connection *connection = sim_connection_of(network, a, b);

    connection->trying = false;
    if (connection->id || !may_talk(network, a) || !may_talk(network, b)) return;
    if (network->links[a][b].cut || network->links[b][a].cut) return; /* heal tries again */
    if (network->endpoints[a].process->paused || network->endpoints[b].process->paused) {
        sim_network_try(network, a, b);
        return;
    }
    if (!clusters_fit(&network->endpoints[a].identity, &network->endpoints[b].identity)) return;
    connection->id = ++network->connection_last;
    uint64_t delay_a = sim_network_latency(network), delay_b = sim_network_latency(network);
    tell(network, a, b, connection->id, delay_a, true);
    tell(network, b, a, connection->id, delay_b, true);
    network->links[b][a].arrival_last = sim->now + delay_a;
    network->links[a][b].arrival_last = sim->now + delay_b;
}

void sim_network_try(struct sim_network *network, node_id_t a, node_id_t b)
{
    struct sim_connection *connection = sim_connection_of(network, a, b);

    if (connection->trying || connection->id || a == b) return;
    connection->trying = true;
    struct sim_event *event = sim_schedule(
        network->sim, sim_below(network->sim, SIM_RANDOM_NETWORK, CONNECT_DELAY_MAX_US),
        SIM_EVENT_CALL, NULL, run_try);
    event->a = network;
    event->n = (uint64_t)a << 32 | b;
}

void sim_network_disconnect(struct sim_network *network, node_id_t a, node_id_t b, uint64_t delay_a,
                            uint64_t delay_b)
{
    struct sim_connection *connection = sim_connection_of(network, a, b);
    uint64_t id = connection->id;

    if (id == 0) return;
    connection->id = 0;
    drop_held(network, &network->links[a][b]);
    drop_held(network, &network->links[b][a]);
    tell(network, a, b, id, delay_a, false);
    tell(network, b, a, id, delay_b, false);
    sim_network_try(network, a, b);
}

static uint64_t notice(struct sim_network *network)
{
    return sim_log_uniform(network->sim, SIM_RANDOM_NETWORK, NOTICE_MIN_US, NOTICE_MAX_US);
}

static uint64_t silence(struct sim_network *network)
{
    return sim_log_uniform(network->sim, SIM_RANDOM_NETWORK, network->options.timeout_min,
                           network->options.timeout_max);
}

void sim_network_reset(struct sim_network *network, node_id_t a, node_id_t b)
{
    uint64_t delay_a = notice(network), delay_b = notice(network);

    sim_streams_break(network->sim, a, b);

    sim_network_disconnect(network, a, b, delay_a, delay_b);
}

void sim_network_sever(struct sim_network *network, node_id_t a, node_id_t b)
{
    sim_streams_break(network->sim, a, b);
    sim_network_disconnect(network, a, b, 0, 0);
}

void sim_network_process_end(struct sim_network *network, struct sim_process *process,
                             enum sim_end how)
{
    node_id_t node = process->machine->number;
    struct sim_endpoint *endpoint = &network->endpoints[node];

    for (struct sim_transport *t = network->transports; t; t = t->next)
        if (t->world->process == process) t->closed = true;
    if (endpoint->process != process || how == SIM_END_QUIET) return;
    *endpoint = (struct sim_endpoint){0};
    for (node_id_t other = 1; other <= network->node_count; other++) {
        if (other == node) continue;
        bool heard = how != SIM_END_POWER && !network->links[node][other].cut;
        sim_network_disconnect(network, node, other, UINT64_MAX,
                               heard ? notice(network) : silence(network));
    }
}

/* --- links --- */

static void run_cut_timeout(struct sim *sim, struct sim_event *event)
{
    struct sim_network *network = event->a;
    node_id_t from = (node_id_t)(event->n >> 8 & 0xff), to = (node_id_t)(event->n & 0xff);
    const struct sim_link *link = &network->links[from][to];

    if (!link->cut || link->cuts != event->n >> 16) return;
    sim_streams_break(sim, from, to);
    sim_network_disconnect(network, from, to, 0, sim_below(sim, SIM_RANDOM_NETWORK, 1000000));
}

void sim_network_cut(struct sim_network *network, node_id_t from, node_id_t to, bool hold)
{
    struct sim_link *link = &network->links[from][to];

    ASSERT(from != to && from <= network->node_count && to <= network->node_count);
    if (link->cut) return;
    sim_trace_text(network->sim, "link %u -> %u is cut%s", from, to, hold ? ", holding" : "");
    link->cut = true;
    link->hold = hold;
    link->cuts++;
    struct sim_event *event =
        sim_schedule(network->sim, silence(network), SIM_EVENT_CALL, NULL, run_cut_timeout);
    event->a = network;
    event->n = (uint64_t)link->cuts << 16 | from << 8 | to;
}

void sim_network_heal(struct sim_network *network, node_id_t from, node_id_t to)
{
    struct sim_link *link = &network->links[from][to];

    if (!link->cut) return;
    sim_trace_text(network->sim, "link %u -> %u heals", from, to);
    link->cut = false;
    while (link->held_first) { /* what TCP kept sending arrives at last, in order */
        struct sim_event *held = link->held_first;
        link->held_first = held->next;
        uint64_t at = network->sim->now + sim_network_latency(network);
        if (at < link->arrival_last) at = link->arrival_last;
        link->arrival_last = at;
        struct sim_event *event =
            sim_schedule_at(network->sim, at, SIM_EVENT_FRAME, held->world, sim_transport_deliver);
        event->a = held->a;
        event->data = held->data;
        event->size = held->size;
        held->data = NULL;
        sim_event_free(network->sim, held);
        sim_fault_hit(network->sim, SIM_FAULT_LINK_HELD);
    }
    link->held_last = &link->held_first;
    link->held_count = 0;
    sim_streams_go_on(network->sim, from, to);
    sim_network_try(network, from, to);
}

void sim_network_heal_all(struct sim_network *network)
{
    for (node_id_t a = 1; a <= network->node_count; a++)
        for (node_id_t b = 1; b <= network->node_count; b++)
            if (a != b) sim_network_heal(network, a, b);
}

bool sim_network_is_cut(const struct sim_network *network, node_id_t from, node_id_t to)
{
    return network->links[from][to].cut;
}

void sim_network_split(struct sim_network *network, uint32_t side, bool hold)
{
    for (node_id_t a = 1; a <= network->node_count; a++)
        for (node_id_t b = 1; b <= network->node_count; b++)
            if ((side >> a & 1) != (side >> b & 1)) sim_network_cut(network, a, b, hold);
}
