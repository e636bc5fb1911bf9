#include "sim/scenarios/stage.h"

#include "partition/host.h"
#include "services/redis/limits.h"

enum { STEP_US = 20 };

void stage_plan(struct sim_plan *plan)
{
    sim_plan_calm(plan);
    plan->cluster.partitions = 1;
    plan->workload.clients = 6;
    plan->workload.registers = 2;
    plan->workload.think_min = 500;
    plan->workload.think_max = 6 * STAGE_MS;
}

bool stage_found(struct sim_bed *bed, const struct sim_plan *plan)
{
    sim_bed_open(bed, &plan->cluster, &plan->workload);
    if (!sim_cluster_start_all(bed->cluster, 30 * STAGE_S))
        sim_violation(&bed->sim, "the cluster was not founded");
    return !bed->sim.failed;
}

bool stage_open(struct sim_bed *bed, const struct sim_plan *plan)
{
    if (!stage_found(bed, plan)) return false;
    sim_clients_start(bed->clients);
    sim_run_for(&bed->sim, 200 * STAGE_MS);
    return !bed->sim.failed;
}

uint64_t stage_draw(struct sim_bed *bed, uint64_t low, uint64_t high)
{
    return sim_between(&bed->sim, SIM_RANDOM_FAULT, low, high);
}

static bool has_leader(struct sim_cluster *cluster, void *unused)
{
    return sim_inspect_leader(cluster, GROUP_DATA_FIRST) != 0;
}

node_id_t stage_leader(struct sim_bed *bed)
{
    if (!sim_cluster_wait(bed->cluster, 20 * STAGE_S, has_leader, NULL)) {
        sim_violation(&bed->sim, "V-1: no leader for 20 s");
        return 0;
    }
    return sim_inspect_leader(bed->cluster, GROUP_DATA_FIRST);
}

node_id_t stage_other(struct sim_bed *bed, node_id_t not_this, node_id_t nor_this)
{
    node_id_t other;

    do {
        other = (node_id_t)stage_draw(bed, 1, bed->cluster->options.nodes);
    } while (other == not_this || other == nor_this);
    return other;
}

struct sim_node *stage_node(struct sim_bed *bed, node_id_t id)
{
    return &bed->cluster->nodes[id];
}

void stage_cut_from(struct sim_bed *bed, node_id_t from)
{
    for (node_id_t to = 1; to <= bed->cluster->options.nodes; to++)
        if (to != from) sim_network_cut(bed->cluster->network, from, to, false);
    sim_fault_hit(&bed->sim, SIM_FAULT_ONE_WAY);
}

void stage_cut_to(struct sim_bed *bed, node_id_t to)
{
    for (node_id_t from = 1; from <= bed->cluster->options.nodes; from++)
        if (to != from) sim_network_cut(bed->cluster->network, from, to, false);
    sim_fault_hit(&bed->sim, SIM_FAULT_ONE_WAY);
}

void stage_only(struct sim_bed *bed, uint32_t nodes)
{
    struct sim_network *network = bed->cluster->network;

    for (node_id_t a = 1; a <= bed->cluster->options.nodes; a++) {
        for (node_id_t b = 1; b <= bed->cluster->options.nodes; b++) {
            if (a == b) continue;
            if ((nodes >> a & 1) && (nodes >> b & 1)) {
                sim_network_heal(network, a, b);
                continue;
            }
            sim_network_cut(network, a, b, false);
            if (a < b) sim_network_sever(network, a, b);
        }
    }
}

const struct raft *stage_raft(struct sim_bed *bed, node_id_t node)
{
    struct sim_node *at = stage_node(bed, node);

    return sim_node_is_up(at) ? sim_inspect_raft(at->now, GROUP_DATA_FIRST) : NULL;
}

node_id_t stage_catch(struct sim_bed *bed, uint32_t nodes, enum raft_role role, uint64_t duration)
{
    uint64_t end = bed->sim.now + duration;

    while (!bed->sim.failed && bed->sim.now < end) {
        for (node_id_t node = 1; node <= bed->cluster->options.nodes; node++) {
            const struct raft *raft = nodes >> node & 1 ? stage_raft(bed, node) : NULL;
            if (raft && raft_role(raft) == role) return node;
        }
        sim_run_for(&bed->sim, STEP_US);
    }
    return 0;
}

static void run_transfer(void *context)
{
    struct sim_incarnation *incarnation = context;
    struct partition_host *host = node_host(incarnation->node, 0);

    if (host) host_transfer_all(host);
}

void stage_transfer(struct sim_bed *bed, node_id_t leader)
{
    struct sim_incarnation *incarnation = stage_node(bed, leader)->now;

    sim_world_call(&incarnation->process->worlds[0], 0, run_transfer, incarnation);
}

bool stage_repair(struct sim_bed *bed)
{
    struct sim_cluster *cluster = bed->cluster;
    char missing[400];

    if (bed->sim.failed) return false;
    sim_network_heal_all(cluster->network);
    for (uint32_t i = 1; i <= cluster->options.nodes; i++) {
        if (!sim_node_is_up(&cluster->nodes[i]))
            sim_node_start(&cluster->nodes[i]);
        else
            sim_process_resume(cluster->nodes[i].now->process);
    }
    if (!sim_cluster_wait(cluster, 20 * STAGE_S, sim_cluster_all_ready, NULL)) {
        sim_inspect_missing(cluster, missing, sizeof(missing));
        sim_violation(&bed->sim, "V-3: not ready 20 s after repair:%s", missing);
    }
    return !bed->sim.failed;
}

static bool all_whole(struct sim_cluster *cluster, void *unused)
{
    for (uint32_t i = 1; i <= cluster->options.nodes; i++)
        if (!sim_node_is_ready(&cluster->nodes[i]) || !node_is_whole(cluster->nodes[i].now->node))
            return false;
    return sim_inspect_settled(cluster);
}

bool stage_wait_whole(struct sim_bed *bed, const char *what)
{
    char missing[400];

    if (bed->sim.failed) return false;
    if (sim_cluster_wait(bed->cluster, 60 * STAGE_S, all_whole, NULL)) return !bed->sim.failed;
    sim_inspect_missing(bed->cluster, missing, sizeof(missing));
    if (!bed->sim.failed) sim_violation(&bed->sim, "V-6: %s after 60 s:%s", what, missing);
    return false;
}

uint32_t stage_all(const struct sim_bed *bed)
{
    return ((1u << bed->cluster->options.nodes) - 1) << 1;
}

void stage_judge(struct sim_bed *bed)
{
    if (stage_repair(bed)) sim_bed_judge(bed, stage_all(bed));
}

/* --- what is in the replicas --- */

/* Calls `of` with each host; `context` is its own. */
static void each_host(struct sim_cluster *cluster,
                      void (*of)(struct partition_host *host, void *context), void *context)
{
    for (uint32_t i = 1; i <= cluster->options.nodes; i++) {
        if (!sim_node_is_up(&cluster->nodes[i])) continue;
        for (uint32_t worker = 0; worker < cluster->options.workers; worker++) {
            struct partition_host *host = node_host(cluster->nodes[i].now->node, worker);
            if (host) of(host, context);
        }
    }
}

struct rows_wanted {
    uint32_t partitions, namespace;
    uint8_t service;
    uint64_t count;
};

static void count_rows(struct partition_host *host, void *context)
{
    struct rows_wanted *wanted = context;

    for (uint32_t i = 0; i < wanted->partitions; i++) {
        const struct row_table *table = host_rows(host, (struct group_id){GROUP_DATA_FIRST + i});
        if (table) wanted->count += row_table_count(table, wanted->service, wanted->namespace);
    }
}

uint64_t stage_rows(struct sim_cluster *cluster, uint8_t service, uint32_t namespace)
{
    struct rows_wanted wanted = {
        .partitions = cluster->options.partitions, .service = service, .namespace = namespace};

    each_host(cluster, count_rows, &wanted);
    return wanted.count;
}

static void count_cuts(struct partition_host *host, void *context)
{
    struct host_statistics statistics;

    host_statistics(host, &statistics);
    *(uint64_t *)context += statistics.cuts_open;
}

uint64_t stage_cuts(struct sim_cluster *cluster)
{
    uint64_t open = 0;

    each_host(cluster, count_cuts, &open);
    return open;
}

/* --- chaos --- */

void stage_plan_chaos(struct sim_bed *bed, struct sim_plan *plan)
{
    sim_plan_draw(&bed->sim, plan);
    plan->cluster.partitions = (uint32_t)stage_draw(bed, 2, 12);
    if (plan->workload.clients > 3) plan->workload.clients = 3;
    plan->cluster.redis_limits = redis_limits_default();
    plan->cluster.big_replies_bytes_max = plan->cluster.partial_bytes_max = 0;
}

struct sim_chaos *stage_strike(struct sim_bed *bed, const struct sim_plan *plan)
{
    sim_network_options(bed->cluster->network)->keep_old = plan->keep_old;
    bed->sim.maybe_permille = plan->maybe_permille;
    return sim_chaos_start(bed->cluster, bed->clients, plan, NULL, NULL);
}

void stage_calm(struct sim_bed *bed, struct sim_chaos *chaos)
{
    if (!bed->sim.failed) sim_chaos_heal(chaos, stage_all(bed));
    if (!bed->sim.failed) sim_run_until(&bed->sim, sim_chaos_stalled_until(chaos));
    bed->judge_expiry_times = !sim_chaos_clocks_jumped(chaos);
}

uint64_t stage_heal(struct sim_bed *bed, struct sim_chaos *chaos)
{
    stage_calm(bed, chaos);
    uint64_t healed = bed->sim.now;
    stage_repair(bed);
    return healed;
}

struct sim_chaos *stage_chaos(struct sim_bed *bed, const struct sim_plan *plan)
{
    struct sim_chaos *chaos = stage_strike(bed, plan);

    sim_run_for(&bed->sim, plan->chaos_time);
    stage_heal(bed, chaos);
    return chaos;
}
