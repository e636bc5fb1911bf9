/* struct transport over the simulated network: one frame's way, and what befalls it. */
#include "base/assert.h"
#include "base/hash.h"
#include "base/memory.h"
#include "sim/sim_network_internal.h"
#include "wire/peer_frame.h"

enum { HELD_FRAMES_MAX = 4000, SELF_DELAY_MAX_US = 40, OLD_FRAMES_AT_ONCE = 8 };

static struct sim_transport *transport_of(struct transport *transport)
{
    return (struct sim_transport *)(void *)transport;
}

/* --- delivery --- */

void sim_transport_deliver(struct sim *sim, struct sim_event *event)
{
    struct sim_frame frame;

    memcpy(&frame, event->data, sizeof(frame));
    struct sim_transport *transport = event->a;
    struct sim_network *network = transport->network;
    struct bytes payload = bytes_make(event->data + sizeof(frame), event->size - sizeof(frame));
    bool self = frame.from.node == frame.to;
    bool alive =
        self || frame.replayed || transport->peers[frame.from.node].connection == frame.connection;

    if (transport->closed || !alive) {
        network->counts.lost++;
        return;
    }
    network->counts.delivered++;
    sim_trace(sim, hash64(((uint64_t)frame.from.node << 40) | (uint64_t)frame.to << 16 | frame.kind,
                          payload));
    if (sim->trace_file)
        sim_trace_text(sim, "frame %u.%u -> %u.%u kind %u, %zu bytes%s", frame.from.node,
                       frame.from.worker, frame.to, frame.to_worker, frame.kind, payload.size,
                       frame.replayed ? ", replayed" : "");
    if (transport->base.events.on_frame)
        transport->base.events.on_frame(transport->base.context, &frame.from, (uint8_t)frame.kind,
                                        payload);
}

/* The world that gets frames of a node's worker now, or NULL. */
static struct sim_transport *receiver(struct sim_network *network, node_id_t node, uint32_t worker)
{
    struct sim_endpoint *endpoint = &network->endpoints[node];

    if (endpoint->process == NULL) return NULL;
    if (worker == TRANSPORT_ANY_WORKER)
        worker = (uint32_t)(network->counts.sent % endpoint->process->world_count);
    if (worker >= endpoint->process->world_count) return NULL;
    struct sim_transport *transport = endpoint->transports[worker];
    return transport && !transport->closed ? transport : NULL;
}

static void schedule_frame(struct sim_network *network, struct sim_transport *to, uint64_t at,
                           const struct sim_frame *frame, struct bytes payload)
{
    struct sim_event *event =
        sim_schedule_at(network->sim, at, SIM_EVENT_FRAME, to->world, sim_transport_deliver);

    event->a = to;
    event->size = (uint32_t)(sizeof(*frame) + payload.size);
    event->data = memory_allocate(event->size);
    memcpy(event->data, frame, sizeof(*frame));
    if (payload.size) memcpy(event->data + sizeof(*frame), payload.data, payload.size);
}

/* --- F45 --- */

static void remember_in(struct sim_replay *replay, const struct sim_frame *frame,
                        struct bytes payload)
{
    memory_free(replay->data);
    replay->size = (uint32_t)(sizeof(*frame) + payload.size);
    replay->data = memory_allocate(replay->size);
    memcpy(replay->data, frame, sizeof(*frame));
    if (payload.size) memcpy(replay->data + sizeof(*frame), payload.data, payload.size);
}

static void remember(struct sim_network *network, const struct sim_frame *frame,
                     struct bytes payload)
{
    remember_in(&network->replays[network->replay_count++ % SIM_REPLAY_RING], frame, payload);
}

/* What begins a route is what an earlier incarnation could still do harm with. */
static void remember_old(struct sim_network *network, const struct sim_frame *frame,
                         struct bytes payload)
{
    struct sim *sim = network->sim;

    if (frame->kind != PEER_FRAME_REQUESTS || !sim_chance(sim, SIM_RANDOM_NETWORK, 1, 8)) return;
    remember_in(&network->old[sim_below(sim, SIM_RANDOM_NETWORK, SIM_OLD_FRAMES)], frame, payload);
}

static bool replay_frame(struct sim_network *network, const struct sim_replay *replay)
{
    struct sim_frame frame;

    memcpy(&frame, replay->data, sizeof(frame));
    struct sim_transport *to = receiver(network, frame.to, frame.to_worker);
    if (to == NULL || sim_network_is_cut(network, frame.from.node, frame.to)) return false;
    frame.replayed = 1;
    schedule_frame(network, to, network->sim->now + sim_network_latency(network), &frame,
                   bytes_make(replay->data + sizeof(frame), replay->size - sizeof(frame)));
    sim_fault_hit(network->sim, SIM_FAULT_REPLAY);
    return true;
}

static void replay_one(struct sim_network *network)
{
    uint64_t count =
        network->replay_count < SIM_REPLAY_RING ? network->replay_count : SIM_REPLAY_RING;

    if (count == 0) return;
    replay_frame(network, &network->replays[sim_below(network->sim, SIM_RANDOM_NETWORK, count)]);
}

bool sim_network_replay_old(struct sim_network *network)
{
    uint32_t replayed = 0;
    uint64_t first = sim_below(network->sim, SIM_RANDOM_FAULT, SIM_OLD_FRAMES);

    for (uint32_t i = 0; i < SIM_OLD_FRAMES && replayed < OLD_FRAMES_AT_ONCE; i++) {
        const struct sim_replay *old = &network->old[(first + i) % SIM_OLD_FRAMES];
        if (old->data) replayed += replay_frame(network, old);
    }
    return replayed > 0;
}

bool sim_network_again(struct sim_network *network, node_id_t from, node_id_t to)
{
    uint32_t count =
        network->replay_count < SIM_REPLAY_RING ? network->replay_count : SIM_REPLAY_RING;
    struct sim_frame frame;

    for (uint32_t i = 0; i < count; i++) { /* newest first */
        uint32_t at = (network->replay_count - 1 - i) % SIM_REPLAY_RING;
        memcpy(&frame, network->replays[at].data, sizeof(frame));
        if (frame.from.node != from || frame.to != to) continue;
        bool cut = network->links[from][to].cut;
        network->links[from][to].cut = false;
        bool sent = replay_frame(network, &network->replays[at]);
        network->links[from][to].cut = cut;
        return sent;
    }
    return false;
}

/* --- what a scenario keeps --- */

static void keep(struct sim_network *network, const struct sim_frame *frame, struct bytes payload,
                 uint32_t tag, bool copy)
{
    struct sim_frame kept = *frame;

    ASSERT(network->kept_count < SIM_KEPT_FRAMES);
    struct sim_kept *at = &network->kept[network->kept_count++];
    kept.replayed = copy;
    *at = (struct sim_kept){.tag = tag};
    remember_in(&at->frame, &kept, payload);
}

/* False: the frame does not go on now. */
static bool passes(struct sim_network *network, const struct sim_frame *frame, struct bytes payload)
{
    const struct sim_network_options *options = &network->options;
    uint32_t tag = 0;
    struct sim_frame_seen seen = {.from = frame->from.node,
                                  .to = frame->to,
                                  .kind = frame->kind,
                                  .payload = payload,
                                  .ret_tag = &tag};

    if (options->on_frame == NULL) return true;
    enum sim_frame_fate fate = options->on_frame(options->on_frame_context, &seen);
    if (fate == SIM_FRAME_LOST) {
        sim_fault_hit(network->sim, SIM_FAULT_DROP);
        network->counts.lost++;
    } else if (fate != SIM_FRAME_GOES) {
        keep(network, frame, payload, tag, fate == SIM_FRAME_COPIED);
    }
    return fate == SIM_FRAME_GOES || fate == SIM_FRAME_COPIED;
}

static void let_go(struct sim_network *network, const struct sim_replay *kept)
{
    struct sim_frame frame;

    memcpy(&frame, kept->data, sizeof(frame));
    struct sim_transport *to = receiver(network, frame.to, frame.to_worker);
    struct sim_link *link = &network->links[frame.from.node][frame.to];
    if (to == NULL || link->cut) return;
    uint64_t at = network->sim->now + sim_network_latency(network);
    if (at < link->arrival_last) at = link->arrival_last;
    link->arrival_last = at;
    schedule_frame(network, to, at, &frame,
                   bytes_make(kept->data + sizeof(frame), kept->size - sizeof(frame)));
    sim_fault_hit(network->sim, frame.replayed ? SIM_FAULT_DUPLICATE : SIM_FAULT_DELAY);
}

uint32_t sim_network_let_go(struct sim_network *network, uint32_t tag)
{
    uint32_t count = network->kept_count;

    network->kept_count = 0;
    for (uint32_t i = 0; i < count; i++) {
        struct sim_kept kept = network->kept[i];
        if (kept.tag != tag) {
            network->kept[network->kept_count++] = kept;
            continue;
        }
        let_go(network, &kept.frame);
        memory_free(kept.frame.data);
    }
    return count - network->kept_count;
}

/* --- sending --- */

static bool chance(struct sim_network *network, uint32_t ppm)
{
    return sim_chance(network->sim, SIM_RANDOM_NETWORK, ppm, 1000000);
}

static void hold_frame(struct sim_network *network, struct sim_link *link, struct sim_transport *to,
                       const struct sim_frame *frame, struct bytes payload)
{
    if (link->held_count >= HELD_FRAMES_MAX) {
        network->counts.lost++;
        return;
    }
    struct sim_event *event = memory_allocate_zero(sizeof(*event));
    event->world = to->world;
    event->size = (uint32_t)(sizeof(*frame) + payload.size);
    event->data = memory_allocate(event->size);
    memcpy(event->data, frame, sizeof(*frame));
    if (payload.size) memcpy(event->data + sizeof(*frame), payload.data, payload.size);
    event->a = to;
    *link->held_last = event;
    link->held_last = &event->next;
    link->held_count++;
}

static void send_over_link(struct sim_transport *transport, struct sim_transport *to,
                           const struct sim_frame *frame, struct bytes payload)
{
    struct sim_network *network = transport->network;
    const struct sim_network_options *options = &network->options;
    struct sim *sim = network->sim;
    struct sim_link *link = &network->links[frame->from.node][frame->to];
    uint64_t moment = sim_world_moment(transport->world);

    if (sim_process_send_effect(transport->world->process)) return;
    bool wanted =
        (options->capture_from == frame->from.node && frame->kind == PEER_FRAME_RAFT) ||
        (options->capture_requests_from == frame->from.node && frame->kind == PEER_FRAME_REQUESTS);
    if (wanted) remember(network, frame, payload);
    if (!passes(network, frame, payload)) return;
    if (options->few_snapshot_frames && frame->kind == PEER_FRAME_SNAPSHOT) {
        if (options->snapshot_frames_left == 0) {
            sim_fault_hit(sim, SIM_FAULT_DROP);
            network->counts.lost++;
            return;
        }
        network->options.snapshot_frames_left--;
    }
    if (link->cut && link->hold) {
        hold_frame(network, link, to, frame, payload);
        return;
    }
    if (link->cut || chance(network, options->drop_ppm)) {
        sim_fault_hit(sim, SIM_FAULT_DROP);
        network->counts.lost++;
        return;
    }
    uint64_t at = moment + sim_network_latency(network);
    if (chance(network, options->delay_ppm)) { /* and all behind it */
        at += sim_log_uniform(sim, SIM_RANDOM_NETWORK, 1000, options->delay_max);
        sim_fault_hit(sim, SIM_FAULT_DELAY);
    }
    if (at < link->arrival_last) at = link->arrival_last;
    if (chance(network, options->reorder_ppm)) { /* others overtake it */
        at += sim_log_uniform(sim, SIM_RANDOM_NETWORK, 100, options->delay_max);
        sim_fault_hit(sim, SIM_FAULT_REORDER);
    } else {
        link->arrival_last = at;
    }
    schedule_frame(network, to, at, frame, payload);
    if (chance(network, options->duplicate_ppm)) {
        uint64_t later = sim_log_uniform(sim, SIM_RANDOM_NETWORK, 1, options->delay_max);
        schedule_frame(network, to, at + later, frame, payload);
        sim_fault_hit(sim, SIM_FAULT_DUPLICATE);
    }
    if (options->keep_old) remember_old(network, frame, payload);
    if (options->replay_ppm) {
        if (chance(network, options->replay_ppm * 4)) remember(network, frame, payload);
        if (chance(network, options->replay_ppm)) replay_one(network);
    }
}

static void transport_send_frame(struct transport *base, node_id_t node, uint32_t worker,
                                 uint8_t kind, struct bytes payload)
{
    struct sim_transport *transport = transport_of(base);
    struct sim_network *network = transport->network;
    struct sim *sim = network->sim;
    uint32_t self_worker = transport->world->base.worker;

    ASSERT(payload.size <= TRANSPORT_RELAYED_SIZE_MAX);
    if (transport->closed || transport->world->process->dead || node > network->node_count) return;
    struct sim_frame frame = {.from = {.node = transport->identity.node,
                                       .epoch = transport->identity.epoch,
                                       .store = transport->identity.store,
                                       .worker = self_worker},
                              .connection = transport->peers[node].connection,
                              .to = node,
                              .to_worker = worker,
                              .kind = kind};
    struct sim_transport *to = receiver(network, node, worker);
    network->counts.sent++;
    if (node == transport->identity.node) {
        if (to == NULL || to->world->process != transport->world->process) return;
        uint64_t at = sim_world_moment(transport->world) +
                      sim_below(sim, SIM_RANDOM_NETWORK, SELF_DELAY_MAX_US);
        if (at < transport->self_last) at = transport->self_last;
        transport->self_last = at;
        schedule_frame(network, to, at, &frame, payload);
        return;
    }
    bool up = frame.connection != 0 &&
              sim_connection_of(network, transport->identity.node, node)->id == frame.connection;
    if (!up || to == NULL) {
        network->counts.lost++;
        return;
    }
    network->counts.frames_between++;
    network->counts.bytes_between += PEER_FRAME_HEADER_SIZE + payload.size;
    send_over_link(transport, to, &frame, payload);
}

static uint32_t transport_workers(struct transport *base, node_id_t node)
{
    const struct sim_transport *transport = transport_of(base);

    if (node == transport->identity.node) return transport->world->process->world_count;
    if (node > SIM_NODES_MAX || transport->peers[node].worker_count == 0) return 1;
    return transport->peers[node].worker_count;
}

static bool transport_up(struct transport *base, node_id_t node)
{
    const struct sim_transport *transport = transport_of(base);

    if (node == transport->identity.node) return true;
    return node <= SIM_NODES_MAX && transport->peers[node].connection != 0;
}

const struct transport_table sim_transport_table = {
    .send = transport_send_frame, .worker_count = transport_workers, .is_up = transport_up};

/* --- opening --- */

/* A worker that opens after the pair was connected starts the connection afresh. */
static void connect_afresh(struct sim_network *network, node_id_t node)
{
    for (node_id_t other = 1; other <= network->node_count; other++) {
        if (other == node) continue;
        sim_network_disconnect(network, node, other, 0, 0);
        sim_network_try(network, node, other);
    }
}

struct transport *sim_transport_open(struct sim_network *network, struct sim_world *world,
                                     const struct sim_identity *identity)
{
    struct sim_transport *transport = memory_allocate_zero(sizeof(*transport));
    node_id_t node = identity->node;

    ASSERT(node == world->process->machine->number);
    transport->base.table = &sim_transport_table;
    transport->network = network;
    transport->world = world;
    transport->identity = *identity;
    transport->next = network->transports;
    network->transports = transport;
    struct sim_endpoint *endpoint = &network->endpoints[node];
    if (endpoint->process != world->process)
        *endpoint = (struct sim_endpoint){.process = world->process, .identity = *identity};
    endpoint->transports[world->base.worker] = transport;
    connect_afresh(network, identity->node);
    return &transport->base;
}

void sim_transport_set_identity(struct transport *base, const struct sim_identity *identity)
{
    struct sim_transport *transport = transport_of(base);
    struct sim_network *network = transport->network;
    struct sim_endpoint *endpoint = &network->endpoints[identity->node];
    bool same = cluster_id_equal(endpoint->identity.cluster, identity->cluster) &&
                endpoint->identity.epoch == identity->epoch &&
                endpoint->identity.store == identity->store;

    transport->identity = *identity;
    if (same || endpoint->process != transport->world->process) return;
    endpoint->identity = *identity;
    connect_afresh(network, identity->node);
}

void sim_transport_close(struct transport *base)
{
    if (base) transport_of(base)->closed = true;
}
