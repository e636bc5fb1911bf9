/* WHY 1.6. */
#include "sim/scenarios/stage.h"
#include "sim/sim_stream.h"

/* Goal: what one connection pipelines to one partition happens in that order (rule B5).
 * Method: bursts arrive in pieces and so leave in several frames; some are lost, late or
 * doubled, and leaders change all the time. Appended tokens show every change of order. */
void scenario_route_change(struct sim_bed *bed)
{
    struct sim_plan plan;

    stage_plan(&plan);
    plan.workload.registers = 1;
    plan.workload.orders = 12;
    plan.workload.pipeline_max = 16;
    plan.workload.write_percent = 90;
    bed->sim.stream_options->split_permille = 800;
    if (!stage_open(bed, &plan)) return;
    struct sim_network_options *network = sim_network_options(bed->cluster->network);
    for (int round = 0; round < 8 && !bed->sim.failed; round++) {
        node_id_t leader = stage_leader(bed);
        if (leader == 0) return;
        network->drop_ppm = network->duplicate_ppm = 40000;
        network->delay_ppm = network->reorder_ppm = 40000;
        network->delay_max = 400 * STAGE_MS;
        sim_run_for(&bed->sim, stage_draw(bed, 20 * STAGE_MS, 300 * STAGE_MS));
        if (stage_draw(bed, 0, 1)) sim_network_split(bed->cluster->network, 1u << leader, true);
        sim_run_for(&bed->sim, stage_draw(bed, 20 * STAGE_MS, 900 * STAGE_MS));
        network->drop_ppm = network->duplicate_ppm = 0;
        network->delay_ppm = network->reorder_ppm = 0;
        if (!stage_repair(bed)) return;
        sim_run_for(&bed->sim, 300 * STAGE_MS);
    }
    stage_judge(bed);
}

/* Goal: a write that changed nothing keeps its place in the pipeline (rule B5). It is answered
 * like a read and not logged; when its answer is lost with the leader it is evaluated again, and
 * must not then take effect behind a later write of the same connection, which was logged.
 * Method: DEL, SETNX and SET on two keys in one pipeline; the answers to one gateway are lost
 * and the leader dies. A pipeline DEL k, SET k must not end with k deleted. */
void scenario_write_without_effect(struct sim_bed *bed)
{
    struct sim_plan plan;

    stage_plan(&plan);
    plan.workload.registers = 2;
    plan.workload.pipeline_max = 8;
    plan.workload.write_percent = 85;
    if (!stage_open(bed, &plan)) return;
    for (int round = 0; round < 12 && !bed->sim.failed; round++) {
        node_id_t leader = stage_leader(bed);
        if (leader == 0) return;
        sim_network_cut(bed->cluster->network, leader, stage_other(bed, leader, 0), false);
        sim_run_for(&bed->sim, stage_draw(bed, 1 * STAGE_MS, 40 * STAGE_MS));
        sim_node_kill(stage_node(bed, leader));
        sim_run_for(&bed->sim, stage_draw(bed, 50 * STAGE_MS, 900 * STAGE_MS));
        if (!stage_repair(bed)) return;
        sim_run_for(&bed->sim, stage_draw(bed, 50 * STAGE_MS, 300 * STAGE_MS));
    }
    stage_judge(bed);
}
