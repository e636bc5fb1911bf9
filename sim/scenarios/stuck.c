/* F06: a thread that is stuck again and again, and a processor that is too slow. */
#include "partition/host.h"
#include "sim/scenarios/stage.h"

enum {
    AWAY_STUCK_US = 3 * STAGE_S, /* after so long leadership is elsewhere */
    AWAY_SLOW_US = 8 * STAGE_S,  /* several absences, none of which needs to be long */
    BAD_US = 75 * STAGE_S,       /* in which it would go back to the preferred node five times */
    SLOW_US = 25 * STAGE_S,
    CHANGES_MAX = 3, /* of leader, in each group, in that time */
    GROUPS_MAX = 8,
    LOOK_US = 10 * STAGE_MS,
};

/* Whose leadership is watched, and what was seen. */
struct watch {
    node_id_t bad;
    uint32_t groups, worker; /* the groups of this worker only */
    node_id_t leader[GROUPS_MAX];
    uint32_t changes[GROUPS_MAX];
    uint64_t since, away;
};

static void plan_two_workers(struct sim_plan *plan)
{
    stage_plan(plan);
    plan->cluster.partitions = 4;
    plan->cluster.workers = 2;
    plan->cluster.stores = 2;
    plan->workload.counters = 1;
    plan->workload.write_percent = 60;
    plan->workload.think_min = 5 * STAGE_MS;
    plan->workload.think_max = 100 * STAGE_MS;
}

static bool is_watched(struct sim_bed *bed, const struct watch *watch, uint32_t group)
{
    const struct sim_cluster_options *options = &bed->cluster->options;

    return group_worker((struct group_id){group}, options->stores, options->workers) ==
           watch->worker;
}

/* Of a leader that is stuck others do not know: the one that they follow counts. */
static void look(struct sim_bed *bed, struct watch *watch)
{
    bool settled = bed->sim.now - watch->since > watch->away;

    for (uint32_t group = 0; group < watch->groups && !bed->sim.failed; group++) {
        node_id_t leader = sim_inspect_leading(bed->cluster, group);
        if (leader == 0 || !is_watched(bed, watch, group)) continue;
        if (leader != watch->leader[group] && watch->leader[group] != 0) watch->changes[group]++;
        watch->leader[group] = leader;
        if (settled && leader == watch->bad)
            sim_violation(&bed->sim, "F06: node %u leads group %u, and is slow since %llu ms",
                          leader, group,
                          (unsigned long long)(bed->sim.now - watch->since) / STAGE_MS);
        if (watch->changes[group] > CHANGES_MAX)
            sim_violation(&bed->sim, "V-7: group %u changed its leader %u times", group,
                          watch->changes[group]);
    }
}

static void run_and_look(struct sim_bed *bed, struct watch *watch, uint64_t duration)
{
    uint64_t end = bed->sim.now + duration;

    while (!bed->sim.failed && bed->sim.now < end) {
        sim_run_for(&bed->sim, LOOK_US);
        look(bed, watch);
    }
}

/* The leader of data group 0, which is where the table wants it; clients use the others. */
static bool open_and_watch(struct sim_bed *bed, struct watch *watch, uint64_t away)
{
    struct sim_plan plan;

    plan_two_workers(&plan);
    if (!stage_open(bed, &plan)) return false;
    sim_run_for(&bed->sim, stage_draw(bed, 500, 2000) * STAGE_MS);
    *watch = (struct watch){.bad = stage_leader(bed),
                            .groups = GROUP_DATA_FIRST + plan.cluster.partitions,
                            .since = bed->sim.now,
                            .away = away};
    if (watch->bad == 0) return false;
    watch->worker = group_worker((struct group_id){GROUP_DATA_FIRST}, plan.cluster.stores,
                                 plan.cluster.workers);
    sim_clients_use(bed->clients, 0xe & ~(1u << watch->bad));
    return true;
}

/* Goal: leadership leaves a worker that is stuck again and again, and does not come back in
 * between: those who lead instead do not hand it back to where the table prefers it. (The node's
 * other worker is not looked at: the stuck one may hold up their log.) Method: stuck for longer
 * than an election takes, then well for a while, for more than a minute. */
void scenario_stuck_worker(struct sim_bed *bed)
{
    struct watch watch;

    if (!open_and_watch(bed, &watch, AWAY_STUCK_US)) return;
    struct sim_process *process = stage_node(bed, watch.bad)->now->process;
    sim_fault_hit(&bed->sim, SIM_FAULT_STUCK);
    while (!bed->sim.failed && bed->sim.now < watch.since + BAD_US) {
        uint64_t stuck = stage_draw(bed, 700, 2000) * STAGE_MS;
        uint64_t well = stage_draw(bed, 100, 6000) * STAGE_MS;
        sim_world_stick(&process->worlds[watch.worker], stuck);
        run_and_look(bed, &watch, stuck + well);
    }
    if (bed->sim.failed) return;
    sim_reached(&bed->sim, "scenario: a stuck worker lost its leaderships for good");
    sim_clients_use(bed->clients, 0xe);
    sim_run_for(&bed->sim, 2 * STAGE_S);
    stage_judge(bed);
}

/* Goal: the same for a node whose every turn takes many times longer than it should.
 * Method: it falls behind what it is sent, and catches up when there is less. */
void scenario_slow_processor(struct sim_bed *bed)
{
    struct watch watch;

    if (!open_and_watch(bed, &watch, AWAY_SLOW_US)) return;
    struct sim_machine *machine = &stage_node(bed, watch.bad)->machine;
    machine->turn_cost_max = stage_draw(bed, 20, 60) * STAGE_MS;
    run_and_look(bed, &watch, SLOW_US);
    machine->turn_cost_max = 0;
    if (bed->sim.failed) return;
    sim_reached(&bed->sim, "scenario: a slow processor lost its leaderships for good");
    sim_clients_use(bed->clients, 0xe);
    sim_run_for(&bed->sim, 2 * STAGE_S);
    stage_judge(bed);
}

/* --- all of them -------------------------------------------------------------------------- */

enum {
    PAUSES = 3,
    PAUSED_CHANGES_MAX = 2, /* of leader, for each group and pause: an election, and back */
    BETWEEN_US = 60 * STAGE_S,
};

static uint32_t changes_of_all(struct sim_bed *bed, node_id_t *leaders, uint32_t *changes,
                               uint32_t groups)
{
    uint32_t most = 0;

    for (uint32_t group = 0; group < groups; group++) {
        node_id_t leader = sim_inspect_leading(bed->cluster, group);
        if (leader != 0 && leader != leaders[group]) {
            changes[group] += leaders[group] != 0;
            leaders[group] = leader;
        }
        if (changes[group] > most) most = changes[group];
    }
    return most;
}

/* Goal: a pause of all nodes (the host was suspended) makes leaderships swing neither at once, by
 * what nodes said of themselves before it, nor when they count as fast again, one after the other.
 * Method: all are stopped and go on within three seconds, again and again; leaders are counted. */
void scenario_paused_together(struct sim_bed *bed)
{
    struct sim_plan plan;

    plan_two_workers(&plan);
    plan.workload.clients = 2;
    plan.workload.think_min = 100 * STAGE_MS;
    plan.workload.think_max = 500 * STAGE_MS;
    if (!stage_open(bed, &plan)) return;
    uint32_t groups = GROUP_DATA_FIRST + plan.cluster.partitions;
    for (int pause = 0; pause < PAUSES && !bed->sim.failed; pause++) {
        node_id_t leaders[GROUPS_MAX] = {0};
        uint32_t changes[GROUPS_MAX] = {0};
        sim_run_for(&bed->sim, 15 * STAGE_S);
        changes_of_all(bed, leaders, changes, groups);
        for (node_id_t id = 1; id <= 3; id++)
            sim_process_pause(stage_node(bed, id)->now->process);
        sim_fault_hit(&bed->sim, SIM_FAULT_PAUSE);
        sim_run_for(&bed->sim, stage_draw(bed, 1000, 5000) * STAGE_MS);
        for (node_id_t id = 1; id <= 3; id++) {
            sim_process_resume(stage_node(bed, id)->now->process);
            sim_run_for(&bed->sim, stage_draw(bed, 0, 1500) * STAGE_MS);
        }
        uint64_t end = bed->sim.now + BETWEEN_US;
        while (!bed->sim.failed && bed->sim.now < end) {
            sim_run_for(&bed->sim, LOOK_US);
            if (changes_of_all(bed, leaders, changes, groups) > PAUSED_CHANGES_MAX)
                sim_violation(&bed->sim, "V-7: a leader changed more than %u times after a pause",
                              PAUSED_CHANGES_MAX);
        }
    }
    if (!bed->sim.failed) stage_judge(bed);
}
