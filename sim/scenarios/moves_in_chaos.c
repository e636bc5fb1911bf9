/* Nodes are drained and taken back at random while whatever a drawn plan has strikes (FAULTS
 * section 4: a row of the table fault x feature for moves). */
#include "sim/scenarios/moves.h"
#include "sim/sim_chaos.h"
#include "sim/sim_plan.h"

enum { ROUNDS = 12, ROUND_MS_MIN = 200, ROUND_MS_MAX = 2500, NODES_MIN = 4, NODES_MOST = 6 };

/* As drawn for a seed, but with more nodes than replicas, and without emptied disks: those take
 * replicas away, which sim_inspect_moves.c does not expect. */
static void draw_plan(struct sim_bed *bed, struct sim_plan *plan)
{
    sim_plan_draw(&bed->sim, plan);
    plan->cluster.nodes = (uint32_t)stage_draw(bed, NODES_MIN, NODES_MOST);
    plan->cluster.replicas = (uint32_t)stage_draw(bed, 2, 3);
    plan->cluster.partitions = 8;
    plan->cluster.repair_after = MOVES_REPAIR_AFTER_US;
    plan->pace[SIM_CHAOS_WIPE] = 0;
}

/* Nobody waits for the answer: who was asked may be dead by then. */
static void operate_at_random(struct moves *moves)
{
    struct sim_bed *bed = moves->bed;
    node_id_t asked = stage_other(bed, 0, 0), target = stage_other(bed, 0, 0);
    bool drain = stage_draw(bed, 0, 1) != 0;

    if (sim_node_is_ready(stage_node(bed, asked)))
        moves_send(moves, asked, target, drain ? "drain" : "undrain");
    sim_run_for(&bed->sim, stage_draw(bed, ROUND_MS_MIN, ROUND_MS_MAX) * STAGE_MS);
}

static bool take_all_back(struct moves *moves)
{
    for (node_id_t id = 1; id <= moves->bed->cluster->options.nodes; id++)
        if (!moves_operate(moves, id, "undrain")) return false;
    return true;
}

/* Goal: whatever strikes while groups move, nothing that clients were told is lost, no voter goes
 * that no configuration removed, and in the end all is where it should be. */
void scenario_moves_in_chaos(struct sim_bed *bed)
{
    struct moves moves = {.bed = bed};
    struct sim_plan plan;

    draw_plan(bed, &plan);
    if (!moves_open(&moves, &plan)) return;
    sim_network_options(bed->cluster->network)->keep_old = plan.keep_old;
    bed->sim.maybe_permille = plan.maybe_permille;
    struct sim_chaos *chaos = sim_chaos_start(bed->cluster, bed->clients, &plan, NULL, NULL);
    for (int round = 0; round < ROUNDS && !bed->sim.failed; round++)
        operate_at_random(&moves);
    if (!bed->sim.failed) sim_chaos_heal(chaos, ((1u << plan.cluster.nodes) - 1) << 1);
    if (!bed->sim.failed) sim_run_until(&bed->sim, sim_chaos_stalled_until(chaos));
    bed->judge_expiry_times = !sim_chaos_clocks_jumped(chaos);
    bool even = !bed->sim.failed && moves_repair(&moves) && take_all_back(&moves) &&
                moves_wait_even(&moves);
    if (even) moves_judge(&moves);
    sim_chaos_free(chaos);
}
