/* Replicas that fall behind, are lost and rebuilt. */
#include "sim/scenarios/stage.h"

/* Goal: a follower that needs a snapshot gets one while a change of the configuration waits for
 * that very follower's vote (V-4, V-6). A snapshot is of the applied state, and so goes with the
 * configuration that was applied, not with the one that waits.
 * Method: one follower is down until the leader has forgotten what it lacks; as it comes back,
 * the other loses its disk and is replaced, so that nothing commits before the first is filled. */
void scenario_snapshot_under_change(struct sim_bed *bed)
{
    struct sim_plan plan;

    stage_plan(&plan);
    plan.cluster.partitions = 3;
    plan.cluster.entries_bytes_max = 2 << 10;
    plan.workload.registers = 12;
    plan.workload.pad_max = 500;
    plan.workload.write_percent = 90;
    plan.workload.pipeline_max = 8;
    if (!stage_open(bed, &plan)) return;
    for (int round = 0; round < 4 && !bed->sim.failed; round++) {
        node_id_t leader = stage_leader(bed);
        if (leader == 0) return;
        struct sim_node *behind = stage_node(bed, stage_other(bed, leader, 0));
        struct sim_node *lost = stage_node(bed, stage_other(bed, leader, behind->id));
        sim_node_kill(behind);
        sim_run_for(&bed->sim, stage_draw(bed, 1 * STAGE_S, 4 * STAGE_S));
        sim_node_start(behind);
        sim_run_for(&bed->sim, stage_draw(bed, 1 * STAGE_MS, 300 * STAGE_MS));
        sim_node_kill(lost);
        sim_node_wipe(lost);
        sim_run_for(&bed->sim, stage_draw(bed, 1 * STAGE_MS, 100 * STAGE_MS));
        if (!stage_repair(bed)) return;
        uint64_t until = bed->sim.now + 30 * STAGE_S;
        while (!bed->sim.failed && bed->sim.now < until && !sim_inspect_settled(bed->cluster))
            sim_run_for(&bed->sim, 100 * STAGE_MS);
        if (!bed->sim.failed && !sim_inspect_settled(bed->cluster))
            sim_violation(&bed->sim, "V-6: the replaced node is no voter again after 30 s");
    }
    stage_judge(bed);
}
