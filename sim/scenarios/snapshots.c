/* Cuts through the whole cluster, taken and read while transactions go on (DESIGN.md 8, WHY 4). */
#include "sim/scenarios/transactions.h"

enum {
    CALM_US = 8 * STAGE_S,
    CALM_SNAPSHOTS_MIN = 10,
    MOVES = 120,
    MOVE_MS_MIN = 10,
    MOVE_MS_MAX = 120,
    LITTLE_FLUSH = 4 << 10,
    GONE_US = 60 * STAGE_S,
};

static bool none_open(struct sim_cluster *cluster, void *unused)
{
    return stage_cuts(cluster) == 0;
}

/* A snapshot goes with the connection that opened it, on every replica; one whose node died goes
 * when that has started again, or at the end of its life. */
static void judge(struct sim_bed *bed, struct sim_txns *txns, uint64_t gone_us)
{
    transactions_judge(bed, txns);
    if (!bed->sim.failed && !sim_cluster_wait(bed->cluster, gone_us, none_open, NULL))
        sim_violation(&bed->sim, "%llu parts of cuts are left",
                      (unsigned long long)stage_cuts(bed->cluster));
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

    stage_plan_chaos(bed, &plan);
    if (!stage_open(bed, &plan)) return;
    struct sim_txns *txns = transactions_open(bed, &plan, true);
    struct sim_chaos *chaos = stage_chaos(bed, &plan);
    transactions_judge(bed, txns);
    if (!bed->sim.failed) stage_judge(bed);
    sim_chaos_free(chaos);
    sim_txns_free(txns);
}
