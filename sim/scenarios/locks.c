/* Locks that the store enforces, whatever happens meanwhile. */
#include "services/redis/lock.h"
#include "sim/scenarios/stage.h"
#include "sim/sim_locks.h"

enum {
    CALM_US = 10 * STAGE_S,
    CALM_TAKEN_MIN = 60,
    CALM_LOST_MIN = 3,
    MOVES = 200,
    MOVE_MS_MIN = 5,
    MOVE_MS_MAX = 60,
    SETTLED_US = 40 * STAGE_S, /* V-5: 30 s after healing nobody waits, longer than it asked for */
    GONE_US = 30 * STAGE_S,
};

static const struct sim_locks_options usual = {.clients = 8,
                                               .locks = 3,
                                               .ttl_min = 20 * STAGE_MS,
                                               .ttl_max = 400 * STAGE_MS,
                                               .wait_max = 5 * STAGE_S};

static struct sim_locks *locks_open(struct sim_bed *bed, const struct sim_plan *plan,
                                    struct sim_locks_options options)
{
    char addresses[SIM_ADDRESSES_MAX][64];

    options.give_up = plan->workload.give_up;
    sim_cluster_addresses(bed->cluster, addresses);
    struct sim_locks *locks = sim_locks_make(&bed->sim, &options, (const char(*)[64])addresses,
                                             bed->cluster->options.nodes);
    sim_locks_start(locks);
    return locks;
}

static bool all_answered(struct sim_cluster *cluster, void *context)
{
    (void)cluster;
    return sim_locks_idle(context);
}

static uint64_t lock_rows(struct sim_cluster *cluster)
{
    return stage_rows(cluster, SERVICE_LOCK, 0) +
           stage_rows(cluster, SERVICE_LOCK, LOCK_NAMESPACE_REMINDERS);
}

static bool all_gone(struct sim_cluster *cluster, void *unused)
{
    (void)unused;
    return lock_rows(cluster) == 0;
}

/* L-5. */
static void judge(struct sim_bed *bed, struct sim_locks *locks)
{
    if (bed->sim.failed) return;
    sim_locks_stop(locks);
    if (!sim_cluster_wait(bed->cluster, SETTLED_US, all_answered, locks) && !bed->sim.failed)
        sim_violation(&bed->sim, "L-5: clients of locks are without an answer");
    if (bed->sim.failed) return;
    if (!sim_cluster_wait(bed->cluster, GONE_US, all_gone, NULL) && !bed->sim.failed)
        sim_violation(&bed->sim, "L-5: %llu rows of locks are left that nobody holds",
                      (unsigned long long)lock_rows(bed->cluster));
}

/* Goal: one holder at a time writes, in the order of their tokens, and they are served in the order
 * in which they came. Method: no faults but holders that are late. */
void scenario_locks(struct sim_bed *bed)
{
    struct sim_plan plan;

    stage_plan(&plan);
    plan.cluster.partitions = 8;
    plan.workload.clients = 2;
    if (!stage_open(bed, &plan)) return;
    struct sim_locks_options options = usual;
    options.judge_order = true;
    struct sim_locks *locks = locks_open(bed, &plan, options);
    sim_run_for(&bed->sim, CALM_US);
    struct sim_locks_counts counts = sim_locks_counts(locks);
    if (!bed->sim.failed && (counts.taken < CALM_TAKEN_MIN || counts.lost < CALM_LOST_MIN))
        sim_violation(&bed->sim, "V-2: %llu locks taken, %llu late writes in %u s",
                      (unsigned long long)counts.taken, (unsigned long long)counts.lost,
                      CALM_US / STAGE_S);
    judge(bed, locks);
    if (!bed->sim.failed) stage_judge(bed);
    sim_locks_free(locks);
}

/* Goal: tokens, queues and guards are the partition's and not its leader's. Method: leaderships
 * move all the time. */
void scenario_locks_move(struct sim_bed *bed)
{
    struct sim_plan plan;

    stage_plan(&plan);
    plan.cluster.partitions = 8;
    plan.workload.clients = 2;
    if (!stage_open(bed, &plan)) return;
    struct sim_locks_options options = usual;
    options.clients = 12;
    options.locks = 6;
    options.ttl_max = 60 * STAGE_MS;
    struct sim_locks *locks = locks_open(bed, &plan, options);
    for (int i = 0; i < MOVES && !bed->sim.failed; i++) {
        stage_transfer(bed, (node_id_t)stage_draw(bed, 1, plan.cluster.nodes));
        sim_run_for(&bed->sim, stage_draw(bed, MOVE_MS_MIN, MOVE_MS_MAX) * STAGE_MS);
    }
    judge(bed, locks);
    if (!bed->sim.failed) stage_judge(bed);
    sim_locks_free(locks);
}

/* Goal: the same while nodes die, stop, lose power, are cut off, and clocks jump, as drawn. */
void scenario_locks_in_chaos(struct sim_bed *bed)
{
    struct sim_plan plan;

    stage_plan_chaos(bed, &plan);
    if (!stage_open(bed, &plan)) return;
    struct sim_locks *locks = locks_open(bed, &plan, usual);
    struct sim_chaos *chaos = stage_chaos(bed, &plan);
    judge(bed, locks);
    if (!bed->sim.failed) stage_judge(bed);
    sim_chaos_free(chaos);
    sim_locks_free(locks);
}
