/* sim_network_internal.h - shared by sim_network.c (links, connections) and sim_transport.c
 * (frames). */
#ifndef HOLON_SIM_SIM_NETWORK_INTERNAL_H
#define HOLON_SIM_SIM_NETWORK_INTERNAL_H

#include "sim/sim_network.h"

struct sim_link { /* one direction */
    bool cut, hold;
    uint32_t cuts; /* how often it was cut: tells a timeout that it was healed meanwhile */
    uint64_t arrival_last;
    struct sim_event *held_first, **held_last;
    uint32_t held_count;
};

struct sim_connection {
    uint64_t id; /* 0: none */
    bool trying; /* an attempt is scheduled */
};

struct sim_transport {
    struct transport base;
    struct sim_network *network;
    struct sim_world *world;
    struct sim_identity identity;
    bool closed;
    uint64_t self_last; /* keeps the order of frames to own workers */
    struct {
        uint64_t connection; /* 0: down */
        uint32_t worker_count;
    } peers[SIM_NODES_MAX + 1];
    struct sim_transport *next;
};

struct sim_endpoint { /* what runs on a node now */
    struct sim_process *process;
    struct sim_identity identity;
    struct sim_transport *transports[SIM_WORKERS_MAX];
};

struct sim_frame { /* before the payload in event->data */
    struct transport_peer from;
    uint64_t connection;
    node_id_t to;
    uint32_t to_worker;
    uint32_t kind;
    uint32_t replayed;
};

struct sim_replay {
    uint8_t *data;
    uint32_t size;
};

struct sim_kept { /* a frame that a scenario holds */
    struct sim_replay frame;
    uint32_t tag;
};

struct sim_network {
    struct sim *sim;
    uint32_t node_count;
    struct sim_network_options options;
    struct sim_link links[SIM_NODES_MAX + 1][SIM_NODES_MAX + 1];
    struct sim_connection connections[SIM_NODES_MAX + 1][SIM_NODES_MAX + 1]; /* [less][more] */
    uint64_t connection_last;
    struct sim_endpoint endpoints[SIM_NODES_MAX + 1];
    struct sim_transport *transports; /* all ever opened */
    struct sim_replay replays[SIM_REPLAY_RING];
    uint32_t replay_count;
    struct sim_replay old[SIM_OLD_FRAMES]; /* a sample of all requests ever sent */
    struct sim_kept kept[SIM_KEPT_FRAMES];
    uint32_t kept_count;
    struct sim_network_counts counts;
};

static inline struct sim_connection *sim_connection_of(struct sim_network *network, node_id_t a,
                                                       node_id_t b)
{
    return a < b ? &network->connections[a][b] : &network->connections[b][a];
}
uint64_t sim_network_latency(struct sim_network *network);
/* Soon, unless one is on its way: connect the pair if it can be. */
void sim_network_try(struct sim_network *network, node_id_t a, node_id_t b);
/* Both sides lose the connection; a side learns it after its delay (UINT64_MAX: never). */
void sim_network_disconnect(struct sim_network *network, node_id_t a, node_id_t b, uint64_t delay_a,
                            uint64_t delay_b);
void sim_transport_deliver(struct sim *sim, struct sim_event *event);
extern const struct transport_table sim_transport_table;

#endif
