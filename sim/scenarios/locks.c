/* Locks that the store enforces, whatever happens meanwhile. */
#include "partition/host.h"
#include "services/redis/limits.h"
#include "services/redis/lock.h"
#include "sim/scenarios/stage.h"
#include "sim/sim_chaos.h"
#include "sim/sim_locks.h"
#include "sim/sim_plan.h"

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

static uint64_t rows_of(const struct partition_host *host, uint32_t partitions)
{
    uint64_t rows = 0;

    for (uint32_t i = 0; i < partitions; i++) {
        const struct row_table *table = host_rows(host, (struct group_id){GROUP_DATA_FIRST + i});
        if (table == NULL) continue;
        rows += row_table_count(table, SERVICE_LOCK, 0);
        rows += row_table_count(table, SERVICE_LOCK, LOCK_NAMESPACE_REMINDERS);
    }
    return rows;
}

static uint64_t lock_rows(struct sim_cluster *cluster)
{
    uint64_t rows = 0;

    for (uint32_t i = 1; i <= cluster->options.nodes; i++) {
        if (!sim_node_is_up(&cluster->nodes[i])) continue;
        for (uint32_t worker = 0; worker < cluster->options.workers; worker++) {
            struct partition_host *host = node_host(cluster->nodes[i].now->node, worker);
            rows += host == NULL ? 0 : rows_of(host, cluster->options.partitions);
        }
    }
    return rows;
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

    sim_plan_draw(&bed->sim, &plan);
    plan.cluster.partitions = (uint32_t)stage_draw(bed, 2, 12);
    if (plan.workload.clients > 3) plan.workload.clients = 3;
    plan.cluster.redis_limits = redis_limits_default();
    if (!stage_open(bed, &plan)) return;
    sim_network_options(bed->cluster->network)->keep_old = plan.keep_old;
    bed->sim.maybe_permille = plan.maybe_permille;
    struct sim_locks *locks = locks_open(bed, &plan, usual);
    struct sim_chaos *chaos = sim_chaos_start(bed->cluster, bed->clients, &plan, NULL, NULL);
    sim_run_for(&bed->sim, plan.chaos_time);
    if (!bed->sim.failed) sim_chaos_heal(chaos, ((1u << plan.cluster.nodes) - 1) << 1);
    if (!bed->sim.failed) sim_run_until(&bed->sim, sim_chaos_stalled_until(chaos));
    bed->judge_expiry_times = !sim_chaos_clocks_jumped(chaos);
    if (!bed->sim.failed) stage_repair(bed);
    judge(bed, locks);
    if (!bed->sim.failed) stage_judge(bed);
    sim_chaos_free(chaos);
    sim_locks_free(locks);
}
