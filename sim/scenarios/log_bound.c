/* The bound of the log (DESIGN.md 5, WHY 5.2): segments are freed although somebody still needs
 * them, and near the bound writes are refused, not lost. */
#include "partition/host.h"
#include "sim/scenarios/stage.h"

enum { SEGMENT = 1 << 20, PINNED_MAX_US = 60 * STAGE_S };

/* Goal: whatever clients write, the log stays within its bound, and what is refused for it is
 * taken again by itself.
 * Method: values of up to 50 kB, sent in pipelines, fill a segment in a few turns. */
void scenario_small_log(struct sim_bed *bed)
{
    struct sim_plan plan;

    stage_plan(&plan);
    plan.cluster.log_bytes_max = LOG_SEGMENTS_MIN * SEGMENT;
    plan.cluster.flush_bytes = 64 << 20; /* never for its own sake */
    plan.workload.registers = 12;
    plan.workload.write_percent = 95;
    plan.workload.pad_max = 50000; /* a GETSET may be answered by a value that nobody remembers */
    plan.workload.replies_bounded = true;
    plan.workload.pipeline_max = 16;
    plan.workload.think_min = 40 * STAGE_MS;
    plan.workload.think_max = 120 * STAGE_MS;
    if (!stage_open(bed, &plan)) return;
    sim_run_for(&bed->sim, stage_draw(bed, 500, 2000) * STAGE_MS);
    struct sim_node *victim = stage_node(bed, stage_other(bed, 0, 0));
    sim_node_kill(victim);
    sim_run_for(&bed->sim, 500 * STAGE_MS);
    sim_node_start(victim);
    sim_run_for(&bed->sim, STAGE_S);
    stage_judge(bed);
}

static void full_log_plan(struct sim_plan *plan)
{
    stage_plan(plan);
    plan->cluster.log_bytes_max = LOG_SEGMENTS_MIN * SEGMENT;
    plan->workload.registers = 12;
    plan->workload.write_percent = 95;
    plan->workload.pad_max = 50000;
    plan->workload.replies_bounded = true;
    plan->workload.pipeline_max = 16;
    plan->workload.think_min = 30 * STAGE_MS;
    plan->workload.think_max = 90 * STAGE_MS;
}

/* Goal: a log at its bound refuses writes, deletes at last, loses nothing, elects and restarts; and
 * goes on by itself when what held it back is gone.
 * Method: for some seconds every flush fails for want of space. */
void scenario_full_log(struct sim_bed *bed)
{
    struct sim_plan plan;

    full_log_plan(&plan);
    bed->sim.maybe_always = FLUSH_WITHOUT_SPACE;
    if (!stage_open(bed, &plan)) return;
    sim_run_for(&bed->sim, 2 * STAGE_S);
    SIM_CHECK(&bed->sim, sim_clients_no_space(bed->clients) > 0);
    struct sim_node *victim = stage_node(bed, stage_other(bed, 0, 0));
    sim_node_kill(victim);
    sim_run_for(&bed->sim, 500 * STAGE_MS);
    sim_node_start(victim);
    if (!sim_cluster_wait(bed->cluster, 20 * STAGE_S, sim_cluster_all_ready, NULL))
        sim_violation(&bed->sim, "V-3: not ready with full logs");
    uint64_t during = sim_clients_no_space(bed->clients);
    sim_run_for(&bed->sim, 2 * STAGE_S);
    SIM_CHECK(&bed->sim, sim_clients_no_space(bed->clients) > during);
    bed->sim.maybe_always = NULL;
    sim_run_for(&bed->sim, 3 * STAGE_S);
    uint64_t after = sim_clients_no_space(bed->clients);
    sim_run_for(&bed->sim, STAGE_S);
    SIM_CHECK(&bed->sim, sim_clients_no_space(bed->clients) == after);
    stage_judge(bed);
}

static const char NOT_TAKEN[] = "entries were not taken because the log is full";

/* Goal: one log at its bound refuses nobody: its node stops taking entries, the others go on, and
 * it is brought up to them afterwards.
 * Method: for some seconds every flush of one follower fails for want of space. */
void scenario_one_full_log(struct sim_bed *bed)
{
    struct sim_plan plan;

    full_log_plan(&plan);
    if (!stage_open(bed, &plan)) return;
    node_id_t leader = stage_leader(bed);
    if (leader == 0) return;
    bed->sim.maybe_node = stage_other(bed, leader, 0);
    bed->sim.maybe_always = FLUSH_WITHOUT_SPACE;
    uint64_t until = bed->sim.now + 10 * STAGE_S;
    while (!bed->sim.failed && bed->sim.now < until && !sim_tags_get(bed->sim.reached, NOT_TAKEN))
        sim_run_for(&bed->sim, 20 * STAGE_MS);
    sim_run_for(&bed->sim, 300 * STAGE_MS);
    bed->sim.maybe_always = NULL;
    bed->sim.maybe_node = 0;
    SIM_CHECK(&bed->sim, sim_clients_no_space(bed->clients) == 0);
    stage_judge(bed);
}

void stage_pinned_log_plan(struct sim_plan *plan)
{
    plan->cluster.nodes = 5;
    plan->cluster.partitions = 30;
    plan->cluster.patience = STAGE_S;
    plan->cluster.log_bytes_max = 10 * SEGMENT;
    plan->workload.clients = 8;
    plan->workload.registers = 90;
    plan->workload.write_percent = 95;
    plan->workload.pad_max = 9000;
    plan->workload.pipeline_max = 4;
    plan->workload.patience = plan->cluster.patience;
    plan->workload.give_up = plan->cluster.patience + 3 * STAGE_S;
}

static uint64_t largest_log(struct sim_bed *bed)
{
    uint64_t most = 0;

    for (node_id_t id = 1; id <= bed->cluster->options.nodes; id++) {
        uint64_t bytes =
            sim_disk_bytes_of(stage_node(bed, id)->machine.disk, "/log/", "/quarantine/");
        if (bytes > most) most = bytes;
    }
    return most;
}

bool stage_pin_logs(struct sim_bed *bed)
{
    uint64_t until = bed->sim.now + PINNED_MAX_US;

    sim_process_pause(stage_node(bed, 1)->now->process);
    sim_process_pause(stage_node(bed, 2)->now->process);
    sim_fault_hit(&bed->sim, SIM_FAULT_PAUSE);
    sim_clients_excuse(bed->clients, 1, until + 60 * STAGE_S);
    sim_clients_excuse(bed->clients, 2, until + 60 * STAGE_S);
    while (!bed->sim.failed && bed->sim.now < until && largest_log(bed) < 6 * SEGMENT)
        sim_run_for(&bed->sim, 50 * STAGE_MS);
    return !bed->sim.failed;
}

/* Goal: a group that can neither commit nor flush does not hold back the log of its node, and
 * finds its entries again.
 * Method: two of five nodes stand still while the others write many segments; then some of these
 * lose power, and all come back. */
void scenario_pinned_log(struct sim_bed *bed)
{
    struct sim_plan plan;

    stage_plan(&plan);
    stage_pinned_log_plan(&plan);
    if (!stage_open(bed, &plan) || !stage_pin_logs(bed)) return;
    sim_run_for(&bed->sim, 40 * STAGE_S);
    SIM_CHECK(&bed->sim, sim_clients_no_space(bed->clients) == 0);
    sim_fault_hit(&bed->sim, SIM_FAULT_POWER_LOSS);
    for (node_id_t id = 3; id <= 5; id++)
        if (stage_draw(bed, 0, 1)) sim_node_power_loss(stage_node(bed, id));
    sim_run_for(&bed->sim, 100 * STAGE_MS);
    stage_judge(bed);
}
