/* Cuts through the whole cluster, taken and read while transactions go on (DESIGN.md 8, WHY 4). */
#include "partition/host.h"
#include "services/redis/limits.h"
#include "sim/scenarios/transactions.h"
#include "sim/sim_chaos.h"

enum {
    CALM_US = 8 * STAGE_S,
    CALM_SNAPSHOTS_MIN = 10,
    MOVES = 120,
    MOVE_MS_MIN = 10,
    MOVE_MS_MAX = 120,
    LITTLE_FLUSH = 4 << 10,
    GONE_US = 60 * STAGE_S,
};

static uint64_t parts(struct sim_cluster *cluster)
{
    uint64_t open = 0;

    for (uint32_t i = 1; i <= cluster->options.nodes; i++) {
        if (!sim_node_is_up(&cluster->nodes[i])) continue;
        for (uint32_t worker = 0; worker < cluster->options.workers; worker++) {
            struct partition_host *host = node_host(cluster->nodes[i].now->node, worker);
            struct host_statistics statistics;
            if (host == NULL) continue;
            host_statistics(host, &statistics);
            open += statistics.cuts_open;
        }
    }
    return open;
}

static bool none_open(struct sim_cluster *cluster, void *unused)
{
    return parts(cluster) == 0;
}

/* A snapshot goes with the connection that opened it, on every replica; one whose node died goes
 * when that has started again, or at the end of its life. */
static void judge(struct sim_bed *bed, struct sim_txns *txns, uint64_t gone_us)
{
    transactions_judge(bed, txns);
    if (!bed->sim.failed && !sim_cluster_wait(bed->cluster, gone_us, none_open, NULL))
        sim_violation(&bed->sim, "%llu parts of cuts are left",
                      (unsigned long long)parts(bed->cluster));
    if (!bed->sim.failed) stage_judge(bed);
}

/* Goal: what is read at a snapshot is one instant, between its call and its reply, while stores are
 * flushed all the time. */
void scenario_snapshots(struct sim_bed *bed)
{
    struct sim_plan plan;

    stage_plan(&plan);
    plan.cluster.partitions = 8;
    plan.cluster.flush_bytes = LITTLE_FLUSH;
    plan.workload.clients = 2;
    if (!stage_open(bed, &plan)) return;
    bed->sim.maybe_permille = 20; /* flushes in short steps */
    struct sim_txns *txns = transactions_open(bed, &plan, true);
    sim_run_for(&bed->sim, CALM_US);
    if (!bed->sim.failed && sim_txns_snapshots(txns) < CALM_SNAPSHOTS_MIN)
        sim_violation(&bed->sim, "V-2: %llu snapshots in %u s",
                      (unsigned long long)sim_txns_snapshots(txns), CALM_US / STAGE_S);
    judge(bed, txns, GONE_US);
    sim_txns_free(txns);
}

/* Goal: the same while leaderships move, so that a snapshot is read at other replicas than those
 * that were frozen for it, and transactions are prepared at one leader and decided at another. */
void scenario_snapshots_move(struct sim_bed *bed)
{
    struct sim_plan plan;

    stage_plan(&plan);
    plan.cluster.partitions = 8;
    plan.cluster.flush_bytes = LITTLE_FLUSH;
    plan.workload.clients = 2;
    if (!stage_open(bed, &plan)) return;
    bed->sim.maybe_permille = 20;
    struct sim_txns *txns = transactions_open(bed, &plan, true);
    for (int i = 0; i < MOVES && !bed->sim.failed; i++) {
        stage_transfer(bed, (node_id_t)stage_draw(bed, 1, plan.cluster.nodes));
        sim_run_for(&bed->sim, stage_draw(bed, MOVE_MS_MIN, MOVE_MS_MAX) * STAGE_MS);
    }
    judge(bed, txns, GONE_US);
    sim_txns_free(txns);
}

/* Goal: the same while whatever was drawn strikes. */
void scenario_snapshots_in_chaos(struct sim_bed *bed)
{
    struct sim_plan plan;

    sim_plan_draw(&bed->sim, &plan);
    plan.cluster.partitions = (uint32_t)stage_draw(bed, 2, 12);
    if (plan.workload.clients > 3) plan.workload.clients = 3;
    plan.cluster.redis_limits = redis_limits_default();
    plan.cluster.big_replies_bytes_max = plan.cluster.partial_bytes_max = 0;
    if (!stage_open(bed, &plan)) return;
    sim_network_options(bed->cluster->network)->keep_old = plan.keep_old;
    bed->sim.maybe_permille = plan.maybe_permille;
    struct sim_txns *txns = transactions_open(bed, &plan, true);
    struct sim_chaos *chaos = sim_chaos_start(bed->cluster, bed->clients, &plan, NULL, NULL);
    sim_run_for(&bed->sim, plan.chaos_time);
    if (!bed->sim.failed) sim_chaos_heal(chaos, ((1u << plan.cluster.nodes) - 1) << 1);
    if (!bed->sim.failed) sim_run_until(&bed->sim, sim_chaos_stalled_until(chaos));
    bed->judge_expiry_times = !sim_chaos_clocks_jumped(chaos);
    if (!bed->sim.failed) stage_repair(bed);
    transactions_judge(bed, txns);
    if (!bed->sim.failed) stage_judge(bed);
    sim_chaos_free(chaos);
    sim_txns_free(txns);
}
