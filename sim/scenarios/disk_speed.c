/* F28: disks that crawl or stand still. */
#include "sim/scenarios/stage.h"

enum { MOVE_US = 3 * STAGE_S, FLAPS_MAX = 3 };

static bool has_moved(struct sim_cluster *cluster, void *context)
{
    node_id_t leader = sim_inspect_leader(cluster, GROUP_DATA_FIRST);

    return leader != 0 && leader != *(const node_id_t *)context;
}

struct answered {
    struct sim_clients *clients;
    uint64_t since;
};

static bool all_answered(struct sim_cluster *cluster, void *context)
{
    const struct answered *answered = context;

    return sim_clients_progress(answered->clients, answered->since) >= 1;
}

static void plan_writes(struct sim_plan *plan)
{
    stage_plan(plan);
    plan->workload.clients = 4;
    plan->workload.counters = 1;
    plan->workload.write_percent = 80;
    plan->workload.think_min = 5 * STAGE_MS;
    plan->workload.think_max = 100 * STAGE_MS;
}

/* While one disk is bad: leadership is elsewhere, every client is answered within a second, and
 * few elections happen (V-1, V-2, V-7). */
static void hold_bad_disk(struct sim_bed *bed, node_id_t bad, uint64_t duration)
{
    uint64_t end = bed->sim.now + duration;
    uint64_t elections = sim_inspector_elections(bed->inspector);

    if (!sim_cluster_wait(bed->cluster, MOVE_US, has_moved, &bad) && !bed->sim.failed) {
        sim_violation(&bed->sim, "F28: node %u leads with a disk that stands still for %u s", bad,
                      MOVE_US / STAGE_S);
        return;
    }
    while (!bed->sim.failed && bed->sim.now < end) {
        struct answered answered = {bed->clients, bed->sim.now};
        if (!sim_cluster_wait(bed->cluster, 1 * STAGE_S, all_answered, &answered) &&
            !bed->sim.failed)
            sim_violation(&bed->sim, "V-2: a client waits while one disk of three is slow");
        if (!bed->sim.failed && sim_inspect_leading(bed->cluster, GROUP_DATA_FIRST) == bad)
            sim_violation(&bed->sim, "F28: leadership came back to node %u and its slow disk", bad);
        sim_run_for(&bed->sim, 100 * STAGE_MS);
    }
    elections = sim_inspector_elections(bed->inspector) - elections;
    if (!bed->sim.failed && elections > FLAPS_MAX)
        sim_violation(&bed->sim, "V-7: %llu elections while one disk was slow",
                      (unsigned long long)elections);
}

/* Goal: a leader whose disk stands still for up to a minute hands over, and is not handed the lead
 * again before the disk is well. Method: the node stays reachable and its heartbeats go on. */
void scenario_stalled_disk(struct sim_bed *bed)
{
    struct sim_plan plan;

    plan_writes(&plan);
    if (!stage_open(bed, &plan)) return;
    sim_run_for(&bed->sim, 500 * STAGE_MS);
    node_id_t leader = stage_leader(bed);
    if (leader == 0) return;
    uint64_t stall = stage_draw(bed, 5 * STAGE_S, 60 * STAGE_S);
    stage_node(bed, leader)->machine.disk_stalled_until = bed->sim.now + stall;
    hold_bad_disk(bed, leader, stall);
    if (bed->sim.failed) return;
    sim_run_for(&bed->sim, 2 * STAGE_S);
    stage_judge(bed);
}

/* Goal: the same with a disk that is some hundred times slower for half a minute, in which it would
 * be handed back its leadership twice. */
void scenario_crawling_disk(struct sim_bed *bed)
{
    struct sim_plan plan;

    plan_writes(&plan);
    if (!stage_open(bed, &plan)) return;
    sim_run_for(&bed->sim, 500 * STAGE_MS);
    node_id_t leader = stage_leader(bed);
    if (leader == 0) return;
    struct sim_machine *machine = &stage_node(bed, leader)->machine;
    machine->job_min = 200;
    machine->disk_slow_factor = (uint32_t)stage_draw(bed, 600, 1000);
    hold_bad_disk(bed, leader, 30 * STAGE_S);
    if (bed->sim.failed) return;
    machine->disk_slow_factor = 1;
    stage_judge(bed);
}

/* Goal: where all disks are equally slow nobody is better, and leadership stays where it is (V-7);
 * what clients get is slow, and not unknown. */
void scenario_all_disks_crawl(struct sim_bed *bed)
{
    struct sim_plan plan;

    plan_writes(&plan);
    if (!stage_open(bed, &plan)) return;
    sim_run_for(&bed->sim, 500 * STAGE_MS);
    uint32_t factor = (uint32_t)stage_draw(bed, 100, 300);
    for (node_id_t node = 1; node <= plan.cluster.nodes; node++) {
        stage_node(bed, node)->machine.job_min = 700;
        stage_node(bed, node)->machine.disk_slow_factor = factor;
    }
    sim_run_for(&bed->sim, 1 * STAGE_S);
    uint64_t elections = sim_inspector_elections(bed->inspector);
    sim_run_for(&bed->sim, 30 * STAGE_S);
    elections = sim_inspector_elections(bed->inspector) - elections;
    /* Of both groups: each may find one disk after the other slow, and then stays. */
    if (!bed->sim.failed && elections > 3 * FLAPS_MAX)
        sim_violation(&bed->sim, "V-7: %llu elections while all disks were slow",
                      (unsigned long long)elections);
    for (node_id_t node = 1; node <= plan.cluster.nodes; node++)
        stage_node(bed, node)->machine.disk_slow_factor = 1;
    stage_judge(bed);
}
