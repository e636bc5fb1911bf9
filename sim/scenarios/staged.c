/* Values that are sent ahead of their command (DESIGN.md 6) and that no command comes for: V-5. */
#include "sim/scenarios/stage.h"

enum {
    TIMEOUT_MS = 6000,
    DEATHS = 8,
    MOVES = 16, /* at least twice the timeout */
};

static void plan_staged_values(struct sim_plan *plan)
{
    struct redis_limits *limits = &plan->cluster.redis_limits;

    stage_plan(plan);
    limits->string_row_max = 32;
    limits->chunk_size = 16;
    limits->stage_from = 100;
    limits->stage_bytes = 32;
    limits->stage_timeout_ms = TIMEOUT_MS;
    plan->cluster.patience = plan->workload.patience = TIMEOUT_MS / 3 * STAGE_MS;
    plan->workload.pad_min = 600;
    plan->workload.pad_max = 100;
    plan->workload.write_percent = 90;
}

/* Goal: what was sent ahead and given up is collected in time, though leaders change (V-5).
 * Method: nodes die with half of a value sent; then leadership moves on again and again, sooner
 * than such a value is given up, and nothing else happens. */
void scenario_leaders_move(struct sim_bed *bed)
{
    struct sim_rows_wanted wanted = {.nodes = 0xe};
    struct sim_plan plan;

    plan_staged_values(&plan);
    if (!stage_open(bed, &plan)) return;
    for (int i = 0; i < DEATHS && !bed->sim.failed; i++) {
        node_id_t leader = stage_leader(bed);
        if (leader == 0) return;
        sim_node_kill(stage_node(bed, stage_other(bed, leader, 0)));
        if (!stage_repair(bed)) return;
        sim_run_for(&bed->sim, stage_draw(bed, 50 * STAGE_MS, 300 * STAGE_MS));
    }
    sim_clients_stop(bed->clients);
    sim_run_for(&bed->sim, 1 * STAGE_S);
    if (!sim_inspect_rows_clean(bed->cluster, &wanted))
        sim_reached(&bed->sim, "scenario: values were given up while leaders moved");
    for (int i = 0; i < MOVES && !bed->sim.failed; i++) {
        node_id_t leader = stage_leader(bed);
        if (leader == 0) return;
        stage_transfer(bed, leader);
        sim_run_for(&bed->sim, stage_draw(bed, 1 * STAGE_S, 3 * STAGE_S));
    }
    wanted.polls = 0; /* looks at all rows */
    if (!sim_inspect_rows_clean(bed->cluster, &wanted))
        sim_violation(&bed->sim, "V-5: not all is collected while leaders move: %s", wanted.text);
    stage_judge(bed);
}
