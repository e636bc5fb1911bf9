/* The scripts of the crash sweep (sim_sweep.h): each does one thing of the product while clients
 * work, and goes on when a node dies in the middle of it. */
#include "sim/scenarios/sweeps.h"

#include "sim/scenarios/moves.h"
#include "sim/sim_sweep.h"

enum { SUPERVISE_US = 120 * STAGE_MS, SETTLE_US = 300 * STAGE_MS };

static void supervise(struct sim *sim, void *context)
{
    struct sim_cluster *cluster = context;

    for (uint32_t i = 1; i <= cluster->options.nodes; i++) {
        struct sim_node *node = &cluster->nodes[i];
        bool rested = sim->now - node->down_since >= SUPERVISE_US;
        if (!sim_node_is_up(node) && node->down_since && rested) sim_node_start(node);
    }
    sim_call(sim, SUPERVISE_US, supervise, cluster);
}

void sweep_plan(struct sim_plan *plan)
{
    stage_plan(plan);
    plan->workload.clients = 3;
    plan->workload.counters = 1;
    plan->workload.orders = 2;
    plan->workload.think_min = 4 * STAGE_MS;
    plan->workload.think_max = 40 * STAGE_MS;
}

bool sweep_open(struct sim_bed *bed, struct sim_plan *plan)
{
    if (!stage_open(bed, plan)) return false;
    sim_call(&bed->sim, SUPERVISE_US, supervise, bed->cluster);
    return true;
}

void sweep_close(struct sim_bed *bed)
{
    uint64_t until = bed->sim.now + 40 * STAGE_S;

    sim_run_for(&bed->sim, SETTLE_US);
    sim_sweep_end(&bed->sim);
    if (!stage_repair(bed)) return;
    while (!bed->sim.failed && bed->sim.now < until && !sim_inspect_settled(bed->cluster))
        sim_run_for(&bed->sim, 100 * STAGE_MS);
    if (!bed->sim.failed && !sim_inspect_settled(bed->cluster))
        sim_violation(&bed->sim, "V-6: not all replicas are voters again after 40 s");
    stage_judge(bed);
}

/* Goal: nothing acknowledged is lost or doubled, whatever a node was doing for a write. */
void scenario_sweep_write(struct sim_bed *bed)
{
    struct sim_plan plan;

    sweep_plan(&plan);
    plan.workload.expiries = 2;
    if (!sweep_open(bed, &plan)) return;
    sim_sweep_begin(&bed->sim);
    sim_run_for(&bed->sim, 300 * STAGE_MS);
    sweep_close(bed);
}

/* Goal: an election that is cut short anywhere ends in one leader and one vote per term. */
void scenario_sweep_elect(struct sim_bed *bed)
{
    struct sim_plan plan;

    sweep_plan(&plan);
    if (!sweep_open(bed, &plan)) return;
    node_id_t leader = stage_leader(bed);
    if (leader == 0) return;
    sim_sweep_begin(&bed->sim);
    sim_node_kill(stage_node(bed, leader));
    sim_run_for(&bed->sim, 700 * STAGE_MS);
    sweep_close(bed);
}

/* Goal: a snapshot is installed whole or not at all (S-3, S-4), whoever dies meanwhile.
 * Method: a follower is away until what it lacks is gone from the leader's memory. */
void scenario_sweep_snapshot(struct sim_bed *bed)
{
    struct sim_plan plan;

    sweep_plan(&plan);
    plan.cluster.entries_bytes_max = 1 << 10;
    plan.workload.registers = 8;
    plan.workload.pad_max = 500;
    plan.workload.write_percent = 95;
    plan.workload.pipeline_max = 8;
    if (!sweep_open(bed, &plan)) return;
    node_id_t leader = stage_leader(bed);
    if (leader == 0) return;
    struct sim_node *behind = stage_node(bed, stage_other(bed, leader, 0));
    sim_process_pause(behind->now->process);
    sim_run_for(&bed->sim, 1500 * STAGE_MS);
    sim_sweep_begin(&bed->sim);
    sim_process_resume(behind->now->process);
    sim_run_for(&bed->sim, 500 * STAGE_MS);
    sweep_close(bed);
}

/* Goal: a node that lost its disk comes back as learner, gets a snapshot, is promoted by a joint
 * change, and the old replica is removed (WHY 6.3, 6.4), with a crash anywhere in it. */
void scenario_sweep_replace(struct sim_bed *bed)
{
    struct sim_plan plan;

    sweep_plan(&plan);
    plan.workload.think_min = 20 * STAGE_MS;
    plan.workload.think_max = 200 * STAGE_MS;
    if (!sweep_open(bed, &plan)) return;
    node_id_t leader = stage_leader(bed);
    if (leader == 0) return;
    struct sim_node *lost = stage_node(bed, stage_other(bed, leader, 0));
    sim_node_kill(lost);
    sim_node_wipe(lost);
    sim_sweep_begin(&bed->sim);
    uint64_t until = bed->sim.now + 4 * STAGE_S;
    do
        sim_run_for(&bed->sim, 50 * STAGE_MS);
    while (!bed->sim.failed && bed->sim.now < until && !sim_inspect_settled(bed->cluster));
    sweep_close(bed);
}

/* Goal: a drain ends with the node empty, the groups elsewhere and nothing lost, with a crash
 * anywhere in it: of the one that is emptied, of one that is filled, of who leads meta or a group.
 * Method: of four nodes one is drained; who has nothing left runs on. */
void scenario_sweep_move(struct sim_bed *bed)
{
    struct moves moves = {.bed = bed};
    struct sim_plan plan;

    sweep_plan(&plan);
    plan.cluster.nodes = 4;
    plan.cluster.partitions = 2;
    plan.cluster.repair_after = MOVES_REPAIR_AFTER_US;
    plan.workload.think_min = 20 * STAGE_MS;
    plan.workload.think_max = 200 * STAGE_MS;
    if (!sweep_open(bed, &plan)) return;
    sim_inspector_watch_moves(bed->inspector);
    moves.target = stage_leader(bed);
    if (moves.target == 0) return;
    sim_sweep_begin(&bed->sim);
    moves.drained = 1u << moves.target;
    if (!moves_operate(&moves, moves.target, "drain")) return;
    sim_run_for(&bed->sim, 1500 * STAGE_MS);
    sim_sweep_end(&bed->sim);
    if (!stage_repair(bed) || !moves_wait_empty(&moves)) return;
    sweep_close(bed);
}

/* Goal: rows and applied index reach the engine together (S-4) and the log is cut only up to
 * them. Method: every write fills a store. */
void scenario_sweep_flush(struct sim_bed *bed)
{
    struct sim_plan plan;

    sweep_plan(&plan);
    plan.cluster.flush_bytes = 1 << 10;
    plan.cluster.entries_bytes_max = 1 << 10;
    plan.workload.pad_max = 400;
    plan.workload.write_percent = 95;
    if (!sweep_open(bed, &plan)) return;
    sim_sweep_begin(&bed->sim);
    sim_run_for(&bed->sim, 400 * STAGE_MS);
    sweep_close(bed);
}

/* Goal: a recycled segment never passes for a new one, and the oldest goes only when nobody needs
 * it (WHY 5.2, 5.5). Method: each batch may begin a new segment. */
void scenario_sweep_recycle(struct sim_bed *bed)
{
    struct sim_plan plan;

    sweep_plan(&plan);
    plan.cluster.flush_bytes = 1 << 10;
    plan.cluster.entries_bytes_max = 1 << 10;
    plan.workload.pad_max = 200;
    bed->sim.maybe_permille = 100;
    if (!sweep_open(bed, &plan)) return;
    sim_sweep_begin(&bed->sim);
    sim_run_for(&bed->sim, 300 * STAGE_MS);
    sweep_close(bed);
}

/* Goal: what is copied forward is there whole before its segment goes (WHY 5.2).
 * Method: two of five nodes stand still, so that some groups have no quorum and keep old entries
 * in the logs of the others; early switches make many segments. */
void scenario_sweep_copy(struct sim_bed *bed)
{
    struct sim_plan plan;

    sweep_plan(&plan);
    stage_pinned_log_plan(&plan);
    if (!sweep_open(bed, &plan)) return;
    if (!stage_pin_logs(bed)) return;
    sim_sweep_begin(&bed->sim);
    sim_run_for(&bed->sim, 400 * STAGE_MS);
    sweep_close(bed);
}

/* Goal: a crash while recovering from a crash (F02): what was cut, rewritten or replayed. */
void scenario_sweep_restart(struct sim_bed *bed)
{
    struct sim_plan plan;

    sweep_plan(&plan);
    if (!sweep_open(bed, &plan)) return;
    sim_run_for(&bed->sim, 200 * STAGE_MS);
    sim_fault_hit(&bed->sim, SIM_FAULT_POWER_LOSS_ALL);
    for (node_id_t node = 1; node <= plan.cluster.nodes; node++)
        sim_node_power_loss(stage_node(bed, node));
    sim_sweep_begin(&bed->sim);
    sim_run_for(&bed->sim, 900 * STAGE_MS);
    sweep_close(bed);
}

/* Goal: leadership that is handed over (a clean stop) is with nobody twice, and a stop that is cut
 * short is a crash like any other. */
void scenario_sweep_handover(struct sim_bed *bed)
{
    struct sim_plan plan;

    sweep_plan(&plan);
    if (!sweep_open(bed, &plan)) return;
    node_id_t leader = stage_leader(bed);
    if (leader == 0) return;
    sim_clients_excuse(bed->clients, leader, bed->sim.now + 8 * STAGE_S);
    sim_sweep_begin(&bed->sim);
    sim_node_stop(stage_node(bed, leader));
    sim_run_for(&bed->sim, 600 * STAGE_MS);
    sweep_close(bed);
}
