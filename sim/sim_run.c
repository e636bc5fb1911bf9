#include "sim/sim_run.h"

#include "base/hash.h"
#include "base/memory.h"
#include "sim/checkers/counter.h"
#include "sim/checkers/expiry.h"
#include "sim/checkers/linearizable.h"
#include "sim/checkers/order.h"
#include "sim/checkers/stale.h"
#include "sim/planted.h"
#include "sim/scenarios/scenarios.h"
#include "sim/sim_chaos.h"
#include "sim/sim_inspect.h"

#include <inttypes.h>
#include <stdio.h>
#include <time.h>

enum { MS = 1000, S = 1000 * 1000 };
enum {
    FOUND_US = 30 * S,
    LEADER_TIMEOUTS = 10, /* V-1 */
    ANSWER_US = 10 * S,   /* V-2 */
    EQUAL_US = 60 * S,    /* V-4 */
    /* V-5: 30 s from when the last value that was sent ahead is given up (limits.h), and what the
     * background takes for all that may be garbage then, which is bounded by design so that
     * clients feel nothing: a step per worker each 4 ms (partition/chore.c), of one record or
     * limits.chore_rows rows, logged before the next one and often read from the disk first. */
    SETTLED_US = 30 * S,
    SETTLE_STEP_US = 10 * MS,
    RESTART_US = 13 * S, /* V-3: 10 s, and the time without votes */
    EVENTS_MAX = 30 * 1000 * 1000,
    OPS_MIN = 30,
    VARIETY_OPS_MIN = 1000, /* a run with so many shows each kind of answer */
    HEAL_STREAM = 78,
    UNHIT_STEP_US = 500 * MS,
    UNHIT_STEPS_MAX = 80,
    EXPIRY_SLACK_US = 700 * MS,
};

static uint64_t real_now(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * S + (uint64_t)now.tv_nsec / 1000;
}

/* Not by the clock: a machine may be busy with other things. */
static uint64_t processor_now(void)
{
    struct timespec now;

    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return (uint64_t)now.tv_sec * S + (uint64_t)now.tv_nsec / 1000;
}

static int processor_time_up(void *context)
{
    const struct sim_bed *bed = context;

    return bed->watchdog_end && processor_now() > bed->watchdog_end;
}

void sim_bed_plant(struct sim_bed *bed, struct sim_cluster_options *cluster_options)
{
    const struct sim_planted *planted =
        bed->options->planted ? sim_planted_find(bed->options->planted) : NULL;

    if (planted == NULL) return;
    if (cluster_options) cluster_options->raft_planted_bugs |= planted->raft_bit;
    if (cluster_options) cluster_options->meta_planted_bugs |= sim_planted_meta_bit(planted);
    if (cluster_options) cluster_options->redis_limits.planted |= sim_planted_redis_bit(planted);
    bed->sim.planted = planted->product_name;
    bed->sim.stale_clock = strcmp(planted->name, "stale_clock_lease") == 0;
}

void *sim_bed_keep(struct sim_bed *bed, size_t size)
{
    bed->kept = memory_allocate_zero(size);
    return bed->kept;
}

void sim_bed_open(struct sim_bed *bed, const struct sim_cluster_options *cluster_options,
                  const struct sim_workload *workload)
{
    struct sim_cluster_options options = *cluster_options;
    struct sim_workload work = *workload;
    char addresses[SIM_ADDRESSES_MAX][64];

    sim_bed_plant(bed, &options);
    work.reads_by_quorum = options.reads == READS_QUORUM;
    bed->sim.event_limit = EVENTS_MAX;
    bed->sim.processor_time_up = processor_time_up;
    bed->sim.real_time_context = bed;
    bed->cluster = sim_cluster_make(&bed->sim, &options);
    sim_cluster_addresses(bed->cluster, addresses);
    bed->clients = sim_clients_make(&bed->sim, &work, (const char(*)[64])addresses, options.nodes);
    bed->inspector = sim_inspector_make(bed->cluster);
}

/* --- the verdict --- */

/* By how much two nodes' clocks may have disagreed (F48): time is the leader's. */
static uint64_t clock_error(struct sim_bed *bed)
{
    uint64_t most = bed->sim.wall_error_max;

    for (uint32_t i = 1; i <= bed->cluster->options.nodes; i++) {
        uint64_t error = sim_machine_wall_error(&bed->cluster->nodes[i].machine);
        if (error > most) most = error;
    }
    return 2 * most;
}

static void judge_history(struct sim_bed *bed)
{
    struct sim_history *history = sim_clients_history(bed->clients);
    struct check_expiry_options expiry = {.judge_times = bed->judge_expiry_times,
                                          .slack = EXPIRY_SLACK_US + clock_error(bed)};
    char text[SIM_VIOLATION_SIZE_MAX] = "";

    if (!check_counters(history, text, sizeof(text)) || !check_order(history, text, sizeof(text)) ||
        !check_expiry(history, &expiry, text, sizeof(text)) ||
        !check_stale(history, bed->drift_permille, text, sizeof(text)) ||
        check_history_linearizable(history, text, sizeof(text), &bed->result->undecided) ==
            SIM_VERDICT_VIOLATION)
        sim_violation(&bed->sim, "%s", text);
}

static bool nothing_outstanding(struct sim_cluster *cluster, void *context)
{
    return sim_clients_outstanding(context) == 0;
}

static bool judge_has_read(struct sim_cluster *cluster, void *context)
{
    return sim_clients_judge_done(context);
}

void sim_bed_judge(struct sim_bed *bed, uint32_t nodes)
{
    if (bed->sim.failed) return;
    sim_clients_stop(bed->clients);
    sim_clients_use(bed->clients, nodes);
    if (!sim_cluster_wait(bed->cluster, 60 * S, nothing_outstanding, bed->clients))
        sim_violation(&bed->sim, "V-2: requests are still without an answer");
    if (bed->sim.failed) return;
    sim_clients_judge(bed->clients);
    if (!sim_cluster_wait(bed->cluster, 60 * S, judge_has_read, bed->clients))
        sim_violation(&bed->sim, "V-2: the judge could not read all keys");
    if (!bed->sim.failed) judge_history(bed);
}

void sim_bed_close(struct sim_bed *bed)
{
    struct sim_result *result = bed->result;

    sim_disk_free(bed->spare_disk);
    memory_free(bed->kept);
    if (bed->cluster == NULL) return;
    const struct sim_history *history = sim_clients_history(bed->clients);
    struct sim_history_counts counts = sim_history_count(history);

    result->variety = (struct sim_variety){.success = counts.done - counts.conflict - counts.absent,
                                           .conflict = counts.conflict,
                                           .empty = counts.absent,
                                           .unknown = counts.unknown};
    result->ops_done = counts.done;
    result->ops_unknown = counts.unknown;
    result->ops_not_done = counts.not_done;
    result->elections = sim_inspector_elections(bed->inspector);
    result->committed = sim_inspector_committed(bed->inspector);
    /* Ends of processes below are no part of the run. */
    bool failed = bed->sim.failed;
    sim_inspector_free(bed->inspector);
    sim_cluster_free(bed->cluster);
    sim_clients_free(bed->clients);
    bed->sim.failed = failed;
}

/* --- a drawn plan --- */

static uint32_t all_nodes(const struct sim_plan *plan)
{
    return ((1u << plan->cluster.nodes) - 1) << 1;
}

/* All, or a random majority; then every group must have a majority of its replicas there. */
static uint32_t nodes_to_heal(struct sim_bed *bed, const struct sim_plan *plan)
{
    uint32_t nodes = plan->cluster.nodes;
    uint32_t healed = all_nodes(plan);
    uint32_t left = nodes;

    if (!plan->heal_majority_only || nodes < 3 || plan->cluster.replicas < nodes) return healed;
    for (uint32_t i = 1; i <= nodes; i++) /* an emptied node is no voter yet */
        if (bed->cluster->nodes[i].wipes > 0) return healed;
    while (left > nodes / 2 + 1) {
        uint32_t node = 1 + (uint32_t)sim_below(&bed->sim, SIM_RANDOM_FAULT, nodes);
        left -= healed >> node & 1;
        healed &= ~(1u << node);
    }
    return healed;
}

static bool nodes_ready(struct sim_cluster *cluster, void *context)
{
    uint32_t nodes = *(const uint32_t *)context;

    for (uint32_t i = 1; i <= cluster->options.nodes; i++)
        if ((nodes >> i & 1) && !sim_node_is_ready(&cluster->nodes[i])) return false;
    return true;
}

static bool nodes_lead(struct sim_cluster *cluster, void *context)
{
    return sim_inspect_leaders(cluster, *(const uint32_t *)context);
}

struct progress {
    struct sim_clients *clients;
    uint64_t since;
};

static bool all_clients_progress(struct sim_cluster *cluster, void *context)
{
    const struct progress *progress = context;

    return sim_clients_progress(progress->clients, progress->since) >= 3;
}

struct equal {
    uint32_t nodes;
    char text[200];
};

static bool replicas_equal(struct sim_cluster *cluster, void *context)
{
    struct equal *equal = context;

    return sim_inspect_replicas_equal(cluster, equal->nodes, equal->text, sizeof(equal->text));
}

static bool nothing_left_behind(struct sim_cluster *cluster, void *context)
{
    return sim_inspect_rows_clean(cluster, context);
}

static void check_liveness(struct sim_bed *bed, const struct sim_plan *plan, uint32_t nodes)
{
    struct sim *sim = &bed->sim;
    uint64_t election = plan->cluster.timing.election_timeout_max;

    char missing[400];
    if (!sim_cluster_wait(bed->cluster, RESTART_US, nodes_ready, &nodes)) {
        sim_inspect_missing(bed->cluster, missing, sizeof(missing));
        sim_violation(sim, "V-3: nodes %x are not all ready %u s after healing:%s", nodes,
                      RESTART_US / S, missing);
        return;
    }
    if (!sim_cluster_wait(bed->cluster, LEADER_TIMEOUTS * election, nodes_lead, &nodes)) {
        sim_inspect_missing(bed->cluster, missing, sizeof(missing));
        sim_violation(sim, "V-1: no leaders %u election timeouts after healing:%s", LEADER_TIMEOUTS,
                      missing);
        return;
    }
    struct progress progress = {bed->clients, sim->now};
    uint64_t limit = ANSWER_US + plan->workload.give_up + plan->workload.think_max * 3;
    if (!sim_cluster_wait(bed->cluster, limit, all_clients_progress, &progress))
        sim_violation(sim, "V-2: a client got no answers for %" PRIu64 " s after healing",
                      limit / S);
}

static void check_collected(struct sim_bed *bed, uint32_t nodes)
{
    struct sim_rows_wanted wanted = {.nodes = nodes, .expiry = bed->judge_expiry_times};
    const struct redis_limits *limits = &bed->cluster->options.redis_limits;
    bool stages = limits->stage_from < redis_limits_default().stage_from; /* else none is so big */
    uint64_t limit = SETTLED_US + (stages ? limits->stage_timeout_ms * (uint64_t)MS : 0) +
                     sim_inspect_rows_steps(bed->cluster, nodes) * SETTLE_STEP_US;
    uint64_t began = bed->sim.now;

    uint32_t maybe = bed->sim.maybe_permille;
    bed->sim.maybe_permille = 0; /* reads that are made late (COLD_LATE_US) are faults, and over */
    if (!sim_cluster_wait(bed->cluster, limit, nothing_left_behind, &wanted))
        sim_violation(&bed->sim, "V-5: not all is collected after %" PRIu64 " s: %s", limit / S,
                      wanted.text);
    bed->sim.maybe_permille = maybe; /* for the power loss at the end */
    sim_trace_text(&bed->sim, "collected within %" PRIu64 " of %" PRIu64 " ms",
                   (bed->sim.now - began) / MS, limit / MS);
}

static void check_rest(struct sim_bed *bed, uint32_t nodes)
{
    struct equal equal = {.nodes = nodes};

    if (bed->sim.failed) return;
    sim_clients_stop(bed->clients);
    sim_run_for(&bed->sim, 1 * S);
    if (!sim_cluster_wait(bed->cluster, EQUAL_US, replicas_equal, &equal))
        sim_violation(&bed->sim, "V-4: replicas still differ after %u s: %s", EQUAL_US / S,
                      equal.text);
    check_collected(bed, nodes);
}

static void lose_power_and_start_again(struct sim_bed *bed, const struct sim_plan *plan)
{
    struct sim_cluster *cluster = bed->cluster;

    if (bed->sim.failed) return;
    sim_fault_hit(&bed->sim, SIM_FAULT_POWER_LOSS_ALL);
    for (uint32_t i = 1; i <= plan->cluster.nodes; i++)
        sim_node_power_loss(&cluster->nodes[i]);
    sim_run_for(&bed->sim, 500 * MS);
    for (uint32_t i = 1; i <= plan->cluster.nodes; i++)
        if (!sim_node_is_up(&cluster->nodes[i])) sim_node_start(&cluster->nodes[i]);
    if (!sim_cluster_wait(cluster, RESTART_US, sim_cluster_all_ready, NULL)) {
        char missing[400];
        sim_inspect_missing(cluster, missing, sizeof(missing));
        sim_violation(&bed->sim, "V-3: not ready %u s after a power loss of all:%s", RESTART_US / S,
                      missing);
    }
}

static void record_end(struct sim_decisions *record, uint64_t chaos_time)
{
    record->plan.chaos_time = chaos_time;
    if (record->path) sim_decisions_write(record, record->path);
}

static void run_plan(struct sim_bed *bed, const struct sim_plan *plan)
{
    struct sim *sim = &bed->sim;

    sim_bed_open(bed, &plan->cluster, &plan->workload);
    bed->sim.maybe_permille = plan->maybe_permille;
    sim_network_options(bed->cluster->network)->keep_old = plan->keep_old;
    if (!sim_cluster_start_all(bed->cluster, FOUND_US))
        sim_violation(sim, "the cluster was not founded within %u s", FOUND_US / S);
    if (sim->failed) return;
    uint64_t began = sim->now;
    sim_clients_start(bed->clients);
    struct sim_chaos *chaos = sim_chaos_start(bed->cluster, bed->clients, plan,
                                              bed->options->replay, bed->options->record);
    sim_run_for(sim, plan->chaos_time);
    /* Some kinds had no victim while others held the cluster down: a little longer, for them. */
    sim_chaos_only_unhit(chaos);
    for (int i = 0; !bed->options->replay && i < UNHIT_STEPS_MAX && sim_chaos_unhit(chaos); i++)
        if (!sim_run_for(sim, UNHIT_STEP_US)) break;
    if (bed->options->record) record_end(bed->options->record, sim->now - began);
    if (!sim->failed) {
        bed->unhit = bed->options->replay ? NULL : sim_chaos_unhit(chaos);
        /* Not from what the last strike left of the stream: a replay may leave that one out. */
        random_seed(&sim->random[SIM_RANDOM_FAULT], hash_u64(sim->seed + HEAL_STREAM));
        uint32_t nodes = nodes_to_heal(bed, plan);
        sim_clients_use(bed->clients, nodes);
        sim_chaos_heal(chaos, nodes);
        sim_run_until(sim, sim_chaos_stalled_until(chaos));
        if (!sim->failed) check_liveness(bed, plan, nodes);
        bed->judge_expiry_times = !sim_chaos_clocks_jumped(chaos);
        check_rest(bed, nodes);
        if (plan->power_loss_at_end && nodes == all_nodes(plan))
            lose_power_and_start_again(bed, plan);
        sim_bed_judge(bed, nodes);
    }
    sim_chaos_free(chaos);
}

/* --- one seed --- */

static void invalid(struct sim_bed *bed, const char *what, const char *which)
{
    bed->result->invalid = true;
    snprintf(bed->result->text, sizeof(bed->result->text), "invalid: %s%s", what, which);
}

/* A run that tried too little says nothing (FAULTS section 4). */
static void judge_variety(struct sim_bed *bed)
{
    const struct sim_variety *variety = &bed->result->variety;

    if (bed->result->ops_done < OPS_MIN)
        invalid(bed, "hardly any request was answered", "");
    else if (bed->result->ops_done > VARIETY_OPS_MIN && (!variety->conflict || !variety->empty))
        invalid(bed, "no request met a conflict, or nothing at all", "");
    else if (bed->unhit)
        invalid(bed, "a fault never found a victim: ", bed->unhit);
}

static void judge_worth(struct sim_bed *bed)
{
    struct sim_result *result = bed->result;

    if (!result->failed && !bed->options->scenario && !bed->options->replay) judge_variety(bed);
    if (bed->sim.event_limit && result->events >= bed->sim.event_limit && !result->failed) {
        result->failed = true;
        snprintf(result->text, sizeof(result->text), "B-3: more than %u events in %" PRIu64 " s",
                 EVENTS_MAX, result->virtual_us / S);
    }
    if (processor_time_up(bed) && !result->failed) {
        result->failed = true;
        snprintf(result->text, sizeof(result->text),
                 "the run took more than %" PRIu64 " s of processor time",
                 bed->options->processor_seconds_max);
    }
}

static void record_plan(struct sim_bed *bed, const struct sim_plan *plan)
{
    struct sim_decisions *record = bed->options->record;

    record->seed = bed->sim.seed;
    record->plan = *plan;
    snprintf(record->planted, sizeof(record->planted), "%s",
             bed->options->planted ? bed->options->planted : "");
}

void sim_run(const struct sim_run_options *options, struct sim_result *ret_result)
{
    struct sim_bed bed = {.options = options, .result = ret_result, .judge_expiry_times = true};
    uint64_t began = real_now();
    struct sim_plan plan;

    *ret_result = (struct sim_result){0};
    sim_init(&bed.sim, options->replay ? options->replay->seed : options->seed);
    bed.sim.sweep.mode = options->sweep_mode;
    bed.sim.sweep.target = options->sweep_target;
    bed.sim.trace_file = options->trace;
    if (options->processor_seconds_max)
        bed.watchdog_end = processor_now() + options->processor_seconds_max * S;
    if (options->scenario) {
        sim_scenario_find(options->scenario)->run(&bed);
    } else {
        sim_plan_draw(&bed.sim, &plan);
        if (options->mesh) sim_plan_use_mesh(&plan);
        if (options->plan) plan = *options->plan;
        if (options->replay) plan = options->replay->plan;
        if (options->record) record_plan(&bed, &plan);
        if (options->print_plan) sim_plan_print(&plan, stdout);
        run_plan(&bed, &plan);
    }
    ret_result->events = bed.sim.event_count;
    ret_result->virtual_us = bed.sim.now;
    ret_result->trace = bed.sim.trace;
    ret_result->last_random = sim_random(&bed.sim, SIM_RANDOM_SCHEDULE);
    memcpy(ret_result->faults, bed.sim.fault_counts, sizeof(ret_result->faults));
    ret_result->reached = *bed.sim.reached;
    ret_result->features = *bed.sim.features;
    ret_result->membership_changes = bed.sim.membership_changes;
    ret_result->sweep_effects = bed.sim.sweep.count;
    ret_result->sweep_crashes = bed.sim.sweep.crashes;
    ret_result->failed = bed.sim.failed;
    memcpy(ret_result->text, bed.sim.violation, sizeof(ret_result->text));
    sim_bed_close(&bed);
    ret_result->real_us = real_now() - began;
    judge_worth(&bed);
    sim_free(&bed.sim);
}

void sim_result_print(const struct sim_run_options *options, const struct sim_result *result,
                      FILE *file)
{
    uint64_t faults = 0;

    for (unsigned i = 0; i < SIM_FAULT_COUNT; i++)
        faults += result->faults[i];
    fprintf(file,
            "seed %" PRIu64 ": %s, %" PRIu64 " events, %" PRIu64 " faults, %.1f virtual s in %.3f s"
            " (%.0fx), ops %" PRIu64 " done %" PRIu64 " unknown %" PRIu64 " not done, %" PRIu64
            " elections, %" PRIu64 " entries\n",
            options->seed,
            result->failed    ? "FAILED"
            : result->invalid ? "invalid"
                              : "ok",
            result->events, faults, (double)result->virtual_us / S, (double)result->real_us / S,
            result->real_us ? (double)result->virtual_us / (double)result->real_us : 0.0,
            result->ops_done, result->ops_unknown, result->ops_not_done, result->elections,
            result->committed);
    if (result->busy.time_us)
        fprintf(file,
                "bank: %" PRIu64 " s, %" PRIu64 " transfers, %" PRIu64 " reads of all, %" PRIu64
                " snapshots\n",
                result->busy.time_us / S, result->busy.transfers, result->busy.reads,
                result->busy.snapshots);
    for (unsigned i = 0; i < SIM_FAULT_COUNT; i++)
        if (result->faults[i])
            fprintf(file, "  %-34s %8" PRIu64 "\n", sim_fault_text(i), result->faults[i]);
    fprintf(file, "trace %016" PRIx64 " last random %016" PRIx64 "\n", result->trace,
            result->last_random);
}
