/* sim_network.h - the network between simulated nodes, and the struct transport over it.
 *
 * Nodes are connected in pairs, as the real mesh connects them: a connection begins with a
 * handshake, keeps order, and ends when a process dies (the other side learns it at once),
 * when a link was cut for long, or not for a long time when a machine loses power. On top,
 * per seed: frames are dropped, doubled, reordered, delayed (F40); links are cut one way or
 * both (F41-F43) or hold their frames until released (F44); frames of ended connections and
 * of earlier incarnations are replayed (F45). Thread: one. */
#ifndef HOLON_SIM_SIM_NETWORK_H
#define HOLON_SIM_SIM_NETWORK_H

#include "net/transport.h"
#include "sim/sim_process.h"

enum { SIM_NODES_MAX = 64, SIM_REPLAY_RING = 32, SIM_OLD_FRAMES = 64, SIM_KEPT_FRAMES = 256 };

struct sim_identity { /* what the handshake proves */
    struct cluster_id cluster;
    node_id_t node;
    boot_epoch_t epoch;
    store_id_t store;
};

/* What a scenario does to one frame between two nodes. */
enum sim_frame_fate {
    SIM_FRAME_GOES,
    SIM_FRAME_LOST,
    SIM_FRAME_KEPT,   /* it stays on its way until sim_network_let_go() */
    SIM_FRAME_COPIED, /* it goes, and a copy of it is kept */
};

struct sim_frame_seen {
    node_id_t from, to;
    uint32_t kind; /* enum peer_frame_kind */
    struct bytes payload;
    uint32_t *ret_tag; /* of one that is kept */
};

struct sim_network_options {
    uint64_t latency_min, latency_max; /* one way, log-uniform */
    uint32_t drop_ppm, duplicate_ppm, reorder_ppm, delay_ppm, replay_ppm;
    uint64_t delay_max;                /* of a delayed, doubled or reordered frame */
    uint64_t timeout_min, timeout_max; /* until a silent connection counts as broken */
    bool keep_old;
    bool few_snapshot_frames; /* a scenario: only so many more arrive */
    uint32_t snapshot_frames_left;
    /* A scenario wants this node's raft frames, or its requests; see sim_network_again(). */
    node_id_t capture_from, capture_requests_from;
    /* Asked about every frame that leaves for another node; NULL: they go. Not with the real mesh.
     */
    enum sim_frame_fate (*on_frame)(void *context, const struct sim_frame_seen *frame);
    void *on_frame_context;
};

struct sim_network;

struct sim_network *sim_network_make(struct sim *sim, uint32_t node_count);
void sim_network_free(struct sim_network *network);
struct sim_network_options *sim_network_options(struct sim_network *network);

/* The transport of a worker; owned by the network. */
struct transport *sim_transport_open(struct sim_network *network, struct sim_world *world,
                                     const struct sim_identity *identity);
/* Connections start afresh when the identity differs. */
void sim_transport_set_identity(struct transport *transport, const struct sim_identity *identity);
void sim_transport_close(struct transport *transport);
/* The process has ended: its connections break, with or without a word. */
void sim_network_process_end(struct sim_network *network, struct sim_process *process,
                             enum sim_end how);

/* Cuts one direction; `hold`: frames wait there until it heals, else they are lost. */
void sim_network_cut(struct sim_network *network, node_id_t from, node_id_t to, bool hold);
void sim_network_heal(struct sim_network *network, node_id_t from, node_id_t to);
void sim_network_heal_all(struct sim_network *network);
bool sim_network_is_cut(const struct sim_network *network, node_id_t from, node_id_t to);
/* Cuts all links between the nodes whose bit (1 << node) is in `side` and the others. */
void sim_network_split(struct sim_network *network, uint32_t side, bool hold);
/* Breaks the connection of a pair now, both sides told (as a TCP reset). */
void sim_network_reset(struct sim_network *network, node_id_t a, node_id_t b);
/* Same, and what is on its way is lost: both sides know it before anything else. */
void sim_network_sever(struct sim_network *network, node_id_t a, node_id_t b);

/* F45: sends up to eight frames of a sample over the whole run once more, so that earlier
 * incarnations speak; the sample is kept with options.keep_old only. False: there are none. */
bool sim_network_replay_old(struct sim_network *network);

/* Delivers the newest captured frame from -> to once more, over any cut. False: none. */
bool sim_network_again(struct sim_network *network, node_id_t from, node_id_t to);

/* Those that on_frame kept under that tag go on, in their order, and arrive if their connection is
 * still the same; copies arrive in any case. Returns how many there were. */
uint32_t sim_network_let_go(struct sim_network *network, uint32_t tag);

struct sim_network_counts {
    uint64_t sent, delivered, lost;
    uint64_t frames_between, bytes_between; /* of `sent`: to other nodes, headers included */
};
struct sim_network_counts sim_network_counts(const struct sim_network *network);

#endif
