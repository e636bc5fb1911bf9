/* sim_cluster.h - a cluster of real nodes (src/node) on simulated machines: start, kill,
 * power loss, wipe, pause. Each node has one supervised process; a twin is a second process
 * on the same disk (F12). Thread: one. */
#ifndef HOLON_SIM_SIM_CLUSTER_H
#define HOLON_SIM_SIM_CLUSTER_H

#include "node/node.h"
#include "sim/sim_files.h"
#include "sim/sim_network.h"
#include "sim/sim_process.h"

enum { SIM_STORES_MAX = 4, SIM_DISK_RESERVE = 4 << 20 };
/* What RocksDB writes to open a store, and what is needed of DIR/reserve to start. */
enum { SIM_ENGINE_OPEN_BYTES = 160 << 10, SIM_START_BYTES = 2 << 20 };

struct sim_cluster_options {
    uint32_t nodes, replicas, partitions, workers, stores;
    /* So many found the cluster, the others join it, once a scenario starts them, in the order of
     * their numbers: nodes are numbered by their ids. 0: all found it. Needs `mesh`. */
    uint32_t founders;
    enum reads_mode reads;
    uint64_t patience;
    uint64_t repair_after; /* 0: the default */
    struct raft_timing timing;
    uint64_t log_segment_size, flush_bytes, entries_bytes_max, memory;
    uint64_t log_bytes_max; /* 0: no bound */
    uint64_t scrub_rate, scrub_every;
    uint64_t copy_rate_least; /* 0: the default, of which simulated states see nothing */
    uint32_t raft_planted_bugs, meta_planted_bugs;
    uint32_t
        supports; /* cluster version that nodes speak as, from the founding on; 0: the newest */
    bool mesh;    /* nodes talk by the real net/peer_mesh over simulated streams */
    struct redis_limits redis_limits;
    /* 0: the defaults */
    uint32_t reply_part_bytes, cold_job_bytes_max, heavy_bytes, heavy_rate_least;
    uint64_t big_replies_bytes_max, partial_bytes_max;
};
void sim_cluster_options_default(struct sim_cluster_options *options);

struct sim_cluster;
struct sim_node;

struct sim_store {
    struct sim_incarnation *of;
    uint64_t failed_at; /* a run could not be written (F26); 0: never */
};

/* One start of a node. */
struct sim_incarnation {
    struct sim_node *of;
    struct sim_process *process; /* NULL: ended */
    struct node *node;
    struct node_platform platform;
    struct world *worlds[SIM_WORKERS_MAX];
    struct transport *transports[SIM_WORKERS_MAX];
    struct peer_mesh_group *group; /* belongs to the process */
    struct peer_mesh *meshes[SIM_WORKERS_MAX];
    struct sim_store stores[SIM_STORES_MAX];
    uint32_t number;
    bool ready;   /* node_is_ready() was seen once */
    bool stopped; /* on_stopped came */
    bool twin;
    bool fatal_expected; /* its death by its own hand is part of the plan (F26) */
    /* When it was started: the disk had room, or nothing kept for such a start. */
    bool may_find_disk_full;
    struct error error; /* of on_stopped; status OK: clean */
    struct sim_incarnation *next;
};

struct sim_node {
    struct sim_cluster *cluster;
    node_id_t id;
    struct sim_machine machine;
    struct sim_incarnation *now; /* NULL: down */
    struct node_options options;
    uint32_t wipes;
    bool absent;    /* not there yet, or not any more */
    bool old_image; /* what was durable is not: the checkers of single replicas look away */
    uint64_t down_since, up_since, ready_since; /* 0: not */
};

struct sim_cluster {
    struct sim *sim;
    struct sim_cluster_options options;
    struct sim_network *network;
    struct sim_node nodes[SIM_NODES_MAX + 1]; /* from 1 */
    struct sim_incarnation *incarnations;     /* all ever made */
    uint32_t incarnation_count;
    /* A start that fails is a violation, unless a scenario expects it. */
    bool failures_expected;
    bool is_founded; /* all were ready once */
    uint32_t failures;
};

struct sim_cluster *sim_cluster_make(struct sim *sim, const struct sim_cluster_options *options);
void sim_cluster_free(struct sim_cluster *cluster); /* before sim_free() */
void sim_cluster_addresses(const struct sim_cluster *cluster, char (*addresses)[64]);

void sim_node_start(struct sim_node *node);
struct sim_incarnation *sim_node_start_twin(struct sim_node *node);
/* kill -9 / power loss of the machine / SIGTERM. */
void sim_node_kill(struct sim_node *node);
void sim_node_power_loss(struct sim_node *node);
void sim_node_stop(struct sim_node *node);
/* Down, with an empty disk. */
void sim_node_wipe(struct sim_node *node);
/* A copy of a node's disk that is down, and putting it back (F11). */
struct sim_image {
    struct sim_disk *disk;
};
void sim_node_take_image(struct sim_node *node, struct sim_image *ret_image);
void sim_node_restore_image(struct sim_node *node, const struct sim_image *image);
void sim_image_free(struct sim_image *image);
static inline bool sim_node_is_up(const struct sim_node *node)
{
    return node->now != NULL && node->now->process != NULL;
}
bool sim_node_is_ready(const struct sim_node *node);

/* Starts all; true when all are ready within `duration`. */
bool sim_cluster_start_all(struct sim_cluster *cluster, uint64_t duration);
/* Runs until the condition holds; false: `duration` passed, or the run ended. */
bool sim_cluster_wait(struct sim_cluster *cluster, uint64_t duration,
                      bool (*condition)(struct sim_cluster *cluster, void *context), void *context);
bool sim_cluster_all_ready(struct sim_cluster *cluster, void *unused);
uint32_t sim_cluster_up_count(const struct sim_cluster *cluster);

#endif
