/* Money that moves over 64 partitions for minutes, through storms of faults and calms. */
#include "sim/scenarios/transactions.h"
#include "sim/sim_bank.h"

#include "base/assert.h"

enum {
    PARTITIONS = 64,
    LOOK_EVERY_TURNS = 16,
    MOVERS = 32,
    SNAPSHOT_CLIENTS = 1,
    THINK_MIN_US = 20 * STAGE_MS,
    THINK_MAX_US = 6 * STAGE_S,
    READ_MIN_US = 1 * STAGE_S,
    READ_MAX_US = 10 * STAGE_S,
    SNAPSHOT_MIN_US = 2 * STAGE_S,
    SNAPSHOT_MAX_US = 20 * STAGE_S,
    PATIENCE_MIN_US = 3 * STAGE_S,
    PATIENCE_MAX_US = 10 * STAGE_S,
    BUSY_US = 300 * STAGE_S,
    CALM_MIN_US = 4 * STAGE_S,
    CALM_MAX_US = 30 * STAGE_S,
    STORM_MIN_US = 2 * STAGE_S,
    STORM_MAX_US = 30 * STAGE_S,
    SETTLED_US = 30 * STAGE_S, /* V-5: after healing */
    AGAIN_US = 10 * STAGE_S,   /* ... and money moves again */
    GONE_US = 60 * STAGE_S,    /* longer than the life of a snapshot */
    JUDGE_US = 30 * STAGE_S,
    /* What a run has at least; most have twice as much, or more. */
    TRANSFERS_MIN = 3000,
    READS_MIN = 40,
    SNAPSHOTS_MIN = 5,
    AGAIN_TRANSFERS_MIN = 100,
};

static const struct {
    enum sim_chaos_kind kind;
    uint32_t percent; /* of the seeds that have it */
} strikes[] = {
    {SIM_CHAOS_KILL, 80},        {SIM_CHAOS_POWER, 60},       {SIM_CHAOS_PAUSE, 80},
    {SIM_CHAOS_SPLIT, 70},       {SIM_CHAOS_ONE_WAY, 40},     {SIM_CHAOS_ISOLATE_LEADER, 40},
    {SIM_CHAOS_KILL_IN_JOB, 40}, {SIM_CHAOS_KILL_ALL, 25},    {SIM_CHAOS_POWER_ALL, 25},
    {SIM_CHAOS_STOP, 25},        {SIM_CHAOS_STALL, 20},       {SIM_CHAOS_SLOW, 20},
    {SIM_CHAOS_STUCK, 20},       {SIM_CHAOS_LOSSY, 30},       {SIM_CHAOS_RESET, 30},
    {SIM_CHAOS_PEER_RESET, 30},  {SIM_CHAOS_DISK_SLOW, 20},   {SIM_CHAOS_DISK_STALL, 20},
    {SIM_CHAOS_CLOCK_JUMP, 20},  {SIM_CHAOS_CLOCK_DRIFT, 20},
};

static uint64_t draw_log(struct sim_bed *bed, uint64_t low, uint64_t high)
{
    return sim_log_uniform(&bed->sim, SIM_RANDOM_FAULT, low, high);
}

static void draw_plan(struct sim_bed *bed, struct sim_plan *plan)
{
    stage_plan(plan);
    plan->cluster.partitions = PARTITIONS;
    plan->cluster.workers = (uint32_t)stage_draw(bed, 1, 2);
    plan->cluster.stores = plan->cluster.workers;
    plan->cluster.reads = stage_draw(bed, 0, 1) ? READS_LEASE : READS_QUORUM;
    plan->cluster.mesh = stage_draw(bed, 0, 9) == 0;
    plan->cluster.patience = draw_log(bed, PATIENCE_MIN_US, PATIENCE_MAX_US);
    plan->cluster.flush_bytes = draw_log(bed, 16 << 10, 256 << 10);
    plan->outage_max = draw_log(bed, 500 * STAGE_MS, 12 * STAGE_S);
    plan->minority_only = stage_draw(bed, 0, 1);
    for (size_t i = 0; i < ARRAY_COUNT(strikes); i++) {
        uint64_t pace = draw_log(bed, 5 * STAGE_S, 60 * STAGE_S);
        if (stage_draw(bed, 1, 100) <= strikes[i].percent) plan->pace[strikes[i].kind] = pace;
    }
    plan->drop_ppm = (uint32_t)draw_log(bed, 100, 100000);
    plan->duplicate_ppm = (uint32_t)draw_log(bed, 100, 100000);
    plan->reorder_ppm = (uint32_t)draw_log(bed, 100, 100000);
    plan->delay_ppm = (uint32_t)draw_log(bed, 100, 50000);
    plan->stall_ppm = (uint32_t)draw_log(bed, 20, 500);
}

static struct sim_bank *make_bank(struct sim_bed *bed, const struct sim_plan *plan)
{
    struct sim_bank_options options = {.partitions = PARTITIONS,
                                       .movers = MOVERS,
                                       .readers = plan->cluster.nodes,
                                       .snapshots = SNAPSHOT_CLIENTS,
                                       .think_min = THINK_MIN_US,
                                       .think_max = THINK_MAX_US,
                                       .read_min = READ_MIN_US,
                                       .read_max = READ_MAX_US,
                                       .snapshot_min = SNAPSHOT_MIN_US,
                                       .snapshot_max = SNAPSHOT_MAX_US,
                                       .give_up = plan->cluster.patience + 3 * STAGE_S};
    char addresses[SIM_ADDRESSES_MAX][64];

    sim_cluster_addresses(bed->cluster, addresses);
    return sim_bank_make(&bed->sim, &options, (const char(*)[64])addresses,
                         bed->cluster->options.nodes);
}

static bool is_open(struct sim_cluster *cluster, void *context)
{
    (void)cluster;
    return sim_bank_is_open(context);
}

static bool is_idle(struct sim_cluster *cluster, void *context)
{
    (void)cluster;
    return sim_bank_is_idle(context);
}

static bool is_audited(struct sim_cluster *cluster, void *context)
{
    (void)cluster;
    return sim_bank_is_audited(context);
}

static bool no_cuts(struct sim_cluster *cluster, void *unused)
{
    (void)unused;
    return stage_cuts(cluster) == 0;
}

static void wait_until(struct sim_bed *bed, uint64_t end,
                       bool (*condition)(struct sim_cluster *, void *), struct sim_bank *bank,
                       const char *what)
{
    uint64_t left = end > bed->sim.now ? end - bed->sim.now : 0;

    if (bed->sim.failed) return;
    if (!sim_cluster_wait(bed->cluster, left, condition, bank) && !bed->sim.failed)
        sim_violation(&bed->sim, "%s", what);
}

/* Storms and calms in turn. */
static struct sim_chaos *weather(struct sim_bed *bed, const struct sim_plan *plan)
{
    struct sim_chaos *chaos = stage_strike(bed, plan);
    uint64_t end = bed->sim.now + BUSY_US;

    while (!bed->sim.failed && bed->sim.now < end) {
        sim_chaos_rest(chaos, true);
        sim_run_for(&bed->sim, draw_log(bed, CALM_MIN_US, CALM_MAX_US));
        sim_chaos_rest(chaos, false);
        sim_run_for(&bed->sim, draw_log(bed, STORM_MIN_US, STORM_MAX_US));
    }
    return chaos;
}

/* V-5: by 30 s after healing everybody is answered, and no transaction is left in between. */
static void settle(struct sim_bed *bed, struct sim_bank *bank, uint64_t since)
{
    uint64_t end = since + SETTLED_US;

    sim_bank_stop(bank);
    wait_until(bed, end, is_idle, bank, "V-5: clients of the bank are without an answer");
    transactions_settle(bed, end > bed->sim.now ? end - bed->sim.now : 0);
}

static void judge_worth(struct sim_bed *bed, const struct sim_bank_counts *counts)
{
    if (bed->sim.failed) return;
    /* There is one client for them, whose node may be killed each time: then there was no chance.
     */
    uint64_t snapshots = counts->snapshots > 0 ? counts->snapshots + counts->snapshots_cut : 0;
    if (counts->transfers >= TRANSFERS_MIN && counts->reads >= READS_MIN &&
        snapshots >= SNAPSHOTS_MIN)
        return;
    sim_violation(&bed->sim, "V-2: %llu transfers, %llu reads, %llu snapshots in %u s",
                  (unsigned long long)counts->transfers, (unsigned long long)counts->reads,
                  (unsigned long long)counts->snapshots, BUSY_US / STAGE_S);
}

/* Money moves again, and then every node tells the same. */
static void judge(struct sim_bed *bed, struct sim_bank *bank)
{
    uint64_t before = sim_bank_counts(bank).transfers;

    if (bed->sim.failed) return;
    sim_bank_start(bank);
    sim_run_for(&bed->sim, AGAIN_US);
    uint64_t moved = sim_bank_counts(bank).transfers - before;
    if (!bed->sim.failed && moved < AGAIN_TRANSFERS_MIN)
        sim_violation(&bed->sim, "V-2: %llu transfers in %u s after all was healed",
                      (unsigned long long)moved, AGAIN_US / STAGE_S);
    settle(bed, bank, bed->sim.now);
    if (!bed->sim.failed) sim_bank_audit(bank);
    wait_until(bed, bed->sim.now + JUDGE_US, is_audited, bank, "V-5: the bank cannot be read");
    wait_until(bed, bed->sim.now + GONE_US, no_cuts, NULL, "parts of snapshots are left");
}

/* Goal: the money adds up in every read and every snapshot, no transfer that was acknowledged is
 * lost or done twice, and 30 s after healing nobody waits and nothing is locked.
 * Method: 32 clients move money through all nodes by WATCH and MULTI while nodes are killed, lose
 * power, are paused and cut off, for minutes; between storms of faults there are calms. */
void scenario_bank_in_chaos(struct sim_bed *bed)
{
    struct sim_plan plan;

    draw_plan(bed, &plan);
    if (!stage_found(bed, &plan)) return;
    sim_inspector_look_every(bed->inspector, LOOK_EVERY_TURNS);
    struct sim_bank *bank = make_bank(bed, &plan);
    sim_bank_open(bank);
    wait_until(bed, bed->sim.now + JUDGE_US, is_open, bank, "V-2: no money can be brought in");
    if (!bed->sim.failed) sim_bank_start(bank);
    struct sim_chaos *chaos = weather(bed, &plan);
    stage_calm(bed, chaos);
    uint64_t healed = bed->sim.now;
    sim_bank_healed(bank);
    stage_repair(bed);
    settle(bed, bank, healed);
    struct sim_bank_counts counts = sim_bank_counts(bank);
    judge_worth(bed, &counts);
    judge(bed, bank);
    if (!bed->sim.failed) stage_judge(bed);
    counts = sim_bank_counts(bank);
    bed->result->busy = (struct sim_busy){.time_us = counts.busy_us,
                                          .transfers = counts.transfers,
                                          .reads = counts.reads,
                                          .snapshots = counts.snapshots};
    sim_chaos_free(chaos);
    sim_bank_free(bank);
}
