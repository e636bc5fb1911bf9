#include "sim/sim_cost.h"

#include "base/assert.h"
#include "net/peer_mesh.h"
#include "node/node_internal.h"
#include "sim/sim_client.h"
#include "sim/sim_cluster.h"
#include "sim/sim_plan.h"

enum { MS = 1000, S = 1000 * 1000 };
enum {
    FOUND_US = 60 * S,
    REST_US = 600 * S,
    COUNT_US = 10 * S, /* what is counted at rest, and with a node down */
    DOWN_US = 10 * S,  /* until its groups have other leaders */
    WARM_US = 2 * S,
    LOAD_US = 2 * S,
    /* Each client sends one request after the other: two of each node, as far as there are so many,
     * make some hundreds of operations a second for each node. */
    CLIENTS_PER_NODE = 2,
    THINK_US = 3 * MS,
    KEYS = 4096,
    JOIN_US = 60 * S,
};

struct cost_case {
    uint32_t nodes, partitions;
};

/* Nodes at 256 partitions, then partitions at 9 nodes. 60: ids of nodes end at 64. */
static const struct cost_case cases[] = {
    {3, 256}, {6, 256}, {9, 256}, {16, 256}, {32, 256}, {60, 256}, {9, 64}, {9, 1024},
};

struct counted { /* in all nodes */
    uint64_t frames, bytes, timers, operations;
};

struct cost_bed {
    struct sim sim;
    struct sim_cluster *cluster;
    struct sim_clients *clients;
};

static struct counted count(struct cost_bed *bed)
{
    struct sim_network_counts network = sim_network_counts(bed->cluster->network);
    struct sim_history_counts history = sim_history_count(sim_clients_history(bed->clients));
    struct counted counted = {.frames = network.frames_between,
                              .bytes = network.bytes_between,
                              .timers = bed->sim.timers_fired,
                              .operations = history.done};

    for (node_id_t id = 1; id <= bed->cluster->options.nodes; id++) {
        const struct sim_incarnation *now = bed->cluster->nodes[id].now;
        if (now == NULL || now->process == NULL || now->meshes[0] == NULL) continue;
        counted.frames += peer_mesh_statistics(now->meshes[0])->frames_sent;
        counted.bytes += peer_mesh_statistics(now->meshes[0])->bytes_sent;
    }
    return counted;
}

/* What happens within so much time. */
static struct counted observe(struct cost_bed *bed, uint64_t us)
{
    struct counted before = count(bed);

    sim_run_for(&bed->sim, us);
    struct counted after = count(bed);
    return (struct counted){.frames = after.frames - before.frames,
                            .bytes = after.bytes - before.bytes,
                            .timers = after.timers - before.timers,
                            .operations = after.operations - before.operations};
}

static bool all_rest(struct sim_cluster *cluster, void *unused)
{
    for (node_id_t id = 1; id <= cluster->options.nodes; id++) {
        const struct sim_node *node = &cluster->nodes[id];
        const struct partition_host *host =
            sim_node_is_up(node) ? node_host(node->now->node, 0) : NULL;
        if (host == NULL || !host_rests(host)) return false;
    }
    return true;
}

static void open_bed(struct cost_bed *bed, uint64_t seed, const struct cost_case *of)
{
    char addresses[SIM_ADDRESSES_MAX][64];
    struct sim_plan plan;

    sim_init(&bed->sim, seed);
    sim_plan_calm(&plan);
    plan.cluster.nodes = of->nodes;
    plan.cluster.partitions = of->partitions;
    plan.cluster.replicas = 3;
    plan.cluster.workers = 1;
    plan.cluster.mesh = of->nodes > MEMBERS_MAX; /* by which nodes can join */
    if (plan.cluster.mesh) plan.cluster.founders = MEMBERS_MAX;
    plan.workload.clients = CLIENTS_PER_NODE * of->nodes;
    if (plan.workload.clients > SIM_CLIENTS_MAX) plan.workload.clients = SIM_CLIENTS_MAX;
    plan.workload.registers = KEYS;
    plan.workload.counters = plan.workload.orders = plan.workload.expiries = 0;
    plan.workload.write_percent = 100;
    plan.workload.pipeline_max = 1;
    plan.workload.think_min = plan.workload.think_max = THINK_US;
    bed->cluster = sim_cluster_make(&bed->sim, &plan.cluster);
    sim_cluster_addresses(bed->cluster, addresses);
    bed->clients = sim_clients_make(&bed->sim, &plan.workload, (const char(*)[64])addresses,
                                    plan.cluster.nodes);
}

static void close_bed(struct cost_bed *bed)
{
    sim_cluster_free(bed->cluster);
    sim_clients_free(bed->clients);
    sim_free(&bed->sim);
}

static void print_each(FILE *file, const struct counted *counted, uint32_t nodes)
{
    double each = (double)nodes * COUNT_US / S;

    fprintf(file, " %.1f | %.0f | %.1f |", (double)counted->frames / each,
            (double)counted->bytes / each, (double)counted->timers / each);
}

/* Those that are too many for a founding, one after the other. */
static bool join_others(struct sim_cluster *cluster)
{
    for (node_id_t id = 1; id <= cluster->options.nodes; id++) {
        if (!cluster->nodes[id].absent) continue;
        cluster->nodes[id].absent = false;
        sim_node_start(&cluster->nodes[id]);
        if (!sim_cluster_wait(cluster, JOIN_US, sim_cluster_all_ready, NULL)) return false;
    }
    return true;
}

/* NULL, or what did not come about. */
static const char *run_case(struct cost_bed *bed, const struct cost_case *of, FILE *file)
{
    struct sim_cluster *cluster = bed->cluster;

    if (!sim_cluster_start_all(cluster, FOUND_US)) return "it was not founded";
    if (!join_others(cluster)) return "a node did not join";
    if (!sim_cluster_wait(cluster, REST_US, all_rest, NULL)) return "it does not rest";
    sim_run_for(&bed->sim, S);
    struct counted rest = observe(bed, COUNT_US);
    sim_clients_start(bed->clients);
    sim_run_for(&bed->sim, WARM_US);
    struct counted load = observe(bed, LOAD_US);
    sim_clients_stop(bed->clients);
    sim_run_for(&bed->sim, WARM_US);
    sim_node_kill(&cluster->nodes[of->nodes]);
    sim_run_for(&bed->sim, DOWN_US);
    struct counted down = observe(bed, COUNT_US);
    if (bed->sim.failed) return bed->sim.violation;
    double operations = load.operations > 0 ? (double)load.operations : 1;
    fprintf(file, "| %u | %u |", of->nodes, of->partitions);
    print_each(file, &rest, of->nodes);
    print_each(file, &down, of->nodes - 1);
    fprintf(file, " %.0f | %.2f | %.0f |\n", operations * S / LOAD_US / of->nodes,
            (double)load.frames / operations, (double)load.bytes / operations);
    fflush(file);
    return NULL;
}

int sim_cost_print(uint64_t seed, FILE *file)
{
    int result = 0;

    fprintf(file,
            "Of each node a second at rest, with one node down, and of each SET by any node:\n"
            "| nodes | partitions | frames | bytes | timers | down: frames | bytes | timers | "
            "SET/s of a node | frames | bytes |\n"
            "| ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |\n");
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        struct cost_bed *bed = memory_allocate_zero(sizeof(*bed));
        open_bed(bed, seed, &cases[i]);
        const char *why = run_case(bed, &cases[i], file);
        if (why != NULL) {
            fprintf(file, "%u nodes, %u partitions: %s\n", cases[i].nodes, cases[i].partitions,
                    why);
            result = 1;
        }
        close_bed(bed);
        memory_free(bed);
    }
    return result;
}
