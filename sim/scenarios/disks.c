/* WHY 5.4: tails that are torn, and tails that rot. */
#include "sim/scenarios/stage.h"

/* Goal: what is cut from a log was never acknowledged, and what was is never cut.
 * Method: everybody loses power while clients write; any part of what was not synced stays. */
void scenario_torn_tail(struct sim_bed *bed)
{
    struct sim_plan plan;

    stage_plan(&plan);
    plan.workload.counters = 2;
    plan.workload.orders = 4;
    plan.workload.pad_max = 400;
    plan.workload.pipeline_max = 4;
    if (!stage_open(bed, &plan)) return;
    for (int round = 0; round < 8 && !bed->sim.failed; round++) {
        sim_run_for(&bed->sim, stage_draw(bed, 20 * STAGE_MS, 400 * STAGE_MS));
        sim_fault_hit(&bed->sim, SIM_FAULT_POWER_LOSS_ALL);
        for (node_id_t node = 1; node <= plan.cluster.nodes; node++)
            sim_node_power_loss(stage_node(bed, node));
        sim_run_for(&bed->sim, 50 * STAGE_MS);
        if (!stage_repair(bed)) return;
    }
    stage_judge(bed);
}

/* Goal: damage below what was acknowledged is never taken for a torn tail: the node refuses to
 * vote and acknowledge with what is left (FAULTS rule 5).
 * Method: a follower ends cleanly; then a bit of the end of its log flips. It must not come
 * back with fewer entries as if nothing had happened. */
void scenario_damaged_tail(struct sim_bed *bed)
{
    struct sim_plan plan;

    stage_plan(&plan);
    if (!stage_open(bed, &plan)) return;
    bed->cluster->failures_expected = true;
    sim_run_for(&bed->sim, 500 * STAGE_MS);
    node_id_t leader = stage_leader(bed);
    if (leader == 0) return;
    struct sim_node *node = stage_node(bed, stage_other(bed, leader, 0));
    sim_clients_use(bed->clients, 0xe & ~(1u << node->id));
    sim_run_for(&bed->sim, 100 * STAGE_MS);
    sim_node_kill(node);
    sim_run_for(&bed->sim, 100 * STAGE_MS);
    uint64_t end = sim_disk_content_end(node->machine.disk, ".seg");
    if (end < 8192) {
        sim_violation(&bed->sim, "the log of node %u is not where the scenario looks", node->id);
        return;
    }
    uint64_t at = (end - 1) / 4096 * 4096 + stage_draw(bed, 0, (end - 1) % 4096);
    sim_disk_flip(node->machine.disk, ".seg", at);
    sim_node_start(node);
    sim_run_for(&bed->sim, 5 * STAGE_S);
    if (!bed->sim.failed) sim_bed_judge(bed, 0xe & ~(1u << node->id));
}
