#include "sim/sim_plan.h"

#include "base/assert.h"
#include "base/hash.h"
#include "storage/log/log.h"

#include <inttypes.h>

enum { MS = 1000, S = 1000 * 1000, REPLY_HEAD_MOST = 48, TOKENS_OF_SMALL_REPLY = 40 };

const char *sim_chaos_text(enum sim_chaos_kind kind)
{
    static const char *const texts[] = {
#define X(name, text) text,
        SIM_CHAOS_MAP(X)
#undef X
    };
    return texts[kind];
}

void sim_plan_calm(struct sim_plan *plan)
{
    *plan = (struct sim_plan){.chaos_time = 10 * S, .outage_max = 2 * S, .delay_max = 50 * MS};
    sim_cluster_options_default(&plan->cluster);
    plan->workload = (struct sim_workload){.clients = 4,
                                           .registers = 8,
                                           .write_percent = 50,
                                           .pipeline_max = 1,
                                           .think_min = 5 * MS,
                                           .think_max = 50 * MS,
                                           .patience = plan->cluster.patience,
                                           .give_up = plan->cluster.patience + 3 * S,
                                           .order_tokens_max = 120};
}

static uint64_t draw(struct sim *sim, uint64_t low, uint64_t high)
{
    return sim_between(sim, SIM_RANDOM_FAULT, low, high);
}
static uint64_t draw_log(struct sim *sim, uint64_t low, uint64_t high)
{
    return sim_log_uniform(sim, SIM_RANDOM_FAULT, low, high);
}
static bool draw_chance(struct sim *sim, uint32_t percent)
{
    return sim_chance(sim, SIM_RANDOM_FAULT, percent, 100);
}

static void draw_cluster(struct sim *sim, struct sim_cluster_options *options)
{
    uint64_t shape = draw(sim, 0, 99);

    sim_cluster_options_default(options);
    options->nodes = shape < 10 ? 1 : shape < 14 ? 2 : shape < 72 ? 3 : shape < 78 ? 4 : 5;
    options->replicas = options->nodes == 5 && draw_chance(sim, 40) ? 5 : 3;
    options->partitions = (uint32_t)draw_log(sim, 1, draw_chance(sim, 15) ? 32 : 8);
    options->workers = draw_chance(sim, 30) ? 2 : 1;
    options->stores = (uint32_t)draw(sim, options->workers, 3);
    options->reads = draw_chance(sim, 50) ? READS_QUORUM : READS_LEASE;
    options->patience = draw_log(sim, 3 * S, 10 * S);
    options->log_segment_size = draw_chance(sim, 70) ? 1 << 20 : 2 << 20;
    options->flush_bytes = draw_log(sim, 4 << 10, 256 << 10);
    options->entries_bytes_max = draw_log(sim, 2 << 10, 256 << 10);
    options->memory = draw_log(sim, 256 << 10, 8 << 20);
    if (draw_chance(sim, 60)) options->memory = 0;
    options->mesh = draw_chance(sim, 30);
}

static void draw_workload(struct sim *sim, struct sim_plan *plan)
{
    struct sim_workload *workload = &plan->workload;

    /* One statement per draw: the order inside an initialiser is the compiler's. */
    *workload = (struct sim_workload){.pipeline_max = 1, .think_min = 2 * MS};
    workload->clients = (uint32_t)draw(sim, 2, 8);
    workload->registers = (uint32_t)draw_log(sim, 2, 24);
    workload->counters = (uint32_t)draw(sim, 0, 4);
    workload->orders = draw_chance(sim, 70) ? 12 : 0;
    if (draw_chance(sim, 50)) workload->expiries = (uint32_t)draw(sim, 1, 8);
    workload->write_percent = (uint32_t)draw(sim, 30, 90);
    workload->hot_percent = draw_chance(sim, 30) ? 60 : 0;
    if (draw_chance(sim, 60)) workload->pipeline_max = (uint32_t)draw_log(sim, 2, 16);
    workload->think_max = draw_log(sim, 20 * MS, 400 * MS);
    if (draw_chance(sim, 50)) workload->pad_max = (uint32_t)draw_log(sim, 8, 512);
    workload->patience = plan->cluster.patience;
    workload->give_up = plan->cluster.patience + 3 * S;
    workload->order_tokens_max = 100;
}

/* In some seeds a few hundred bytes are a big value: sent ahead, chunked, collected, and brought
 * back in parts. Drawn from the seed alone, so that other seeds stay what they were. */
static void draw_big_values(struct sim *sim, struct sim_plan *plan)
{
    uint64_t drawn = hash_u64(sim->seed ^ UINT64_C(0x76616c756573));
    struct redis_limits *limits = &plan->cluster.redis_limits;

    if (drawn % 100 >= 40) return;
    limits->string_row_max = 16 + (uint32_t)(drawn >> 8 & 63);
    limits->chunk_size = 8 + (uint32_t)(drawn >> 16 & 31);
    limits->stage_from = 64 + (uint32_t)(drawn >> 24 & 127);
    limits->stage_bytes = limits->chunk_size * (2 + (uint32_t)(drawn >> 32 & 7));
    limits->stage_timeout_ms = redis_stage_timeout_least_ms(plan->cluster.patience);
    plan->cluster.reply_part_bytes = 64 + (uint32_t)(drawn >> 48 & 127);
    plan->workload.pad_max = 600 + (uint32_t)(drawn >> 56) * 2;
    /* A step clears a quarter of the biggest value, up to two of them. With less the background
     * would need minutes for what these clients write in seconds; real limits are far from that. */
    uint32_t rows = plan->workload.pad_max / limits->chunk_size;
    limits->chore_rows = 2 + rows * (1 + (uint32_t)(drawn >> 40 & 7)) / 4;
}

/* In some seeds there is room for a few of those replies only, and reads of the engine bring a few
 * values at a time. Any one reply always has room. */
static void draw_reply_bounds(struct sim *sim, struct sim_plan *plan)
{
    uint64_t drawn = hash_u64(sim->seed ^ UINT64_C(0x7265706c696573));

    if (drawn % 100 < 50) plan->cluster.cold_job_bytes_max = 512 + (uint32_t)(drawn >> 8 & 4095);
    if (plan->cluster.reply_part_bytes == 0 || drawn >> 24 & 1) return;
    plan->cluster.big_replies_bytes_max = 4096 + (drawn >> 32 & 4095);
    plan->workload.order_tokens_max = TOKENS_OF_SMALL_REPLY; /* so that values are the biggest */
    plan->cluster.partial_bytes_max = plan->workload.pad_max + REPLY_HEAD_MOST;
    plan->workload.replies_bounded = true;
}

/* In some seeds the log has room for a few segments only. */
static void draw_log_bound(struct sim *sim, struct sim_plan *plan)
{
    uint64_t drawn = hash_u64(sim->seed ^ UINT64_C(0x6c6f67626f756e64));

    if (drawn % 100 >= 40) return;
    plan->cluster.log_bytes_max =
        plan->cluster.log_segment_size * (LOG_SEGMENTS_MIN + (drawn >> 8) % 5);
}

/* In some seeds what lies on the disks is read in the background. */
static void draw_scrub(struct sim *sim, struct sim_plan *plan)
{
    uint64_t drawn = hash_u64(sim->seed ^ UINT64_C(0x7363727562));

    if (drawn % 100 < 30) plan->cluster.scrub_rate = 512 << 10;
}

/* Rough means; a fault that would hurt all at once comes more rarely. */
static uint64_t pace_min(enum sim_chaos_kind kind)
{
    switch (kind) {
    case SIM_CHAOS_POWER_ALL:
    case SIM_CHAOS_KILL_ALL:
    case SIM_CHAOS_WIPE:
    case SIM_CHAOS_TWIN:
        return 4 * S;
    case SIM_CHAOS_SYNC_FAIL:
    case SIM_CHAOS_STOP:
    case SIM_CHAOS_DISK_FULL:
    case SIM_CHAOS_DISK_STALL:
        return 3 * S;
    default:
        return 700 * MS;
    }
}

/* What can never strike is not part of the plan, so that a fault that was to strike and did not
 * makes the run invalid. */
static void drop_impossible(struct sim_plan *plan)
{
    static const enum sim_chaos_kind of_links[] = {
        SIM_CHAOS_SPLIT, SIM_CHAOS_ONE_WAY,    SIM_CHAOS_ISOLATE_LEADER,
        SIM_CHAOS_LOSSY, SIM_CHAOS_PEER_RESET, SIM_CHAOS_OLD_FRAMES,
    };

    if (plan->cluster.nodes < 3) plan->pace[SIM_CHAOS_WIPE] = 0;
    if (plan->minority_only) plan->pace[SIM_CHAOS_POWER_ALL] = plan->pace[SIM_CHAOS_KILL_ALL] = 0;
    for (size_t i = 0; i < ARRAY_COUNT(of_links) && plan->cluster.nodes == 1; i++)
        plan->pace[of_links[i]] = 0;
    if (plan->cluster.mesh) plan->pace[SIM_CHAOS_OLD_FRAMES] = 0; /* a connection has its own key */
}

void sim_plan_draw(struct sim *sim, struct sim_plan *plan)
{
    *plan = (struct sim_plan){0};
    draw_cluster(sim, &plan->cluster);
    draw_workload(sim, plan);
    draw_big_values(sim, plan);
    draw_reply_bounds(sim, plan);
    draw_log_bound(sim, plan);
    draw_scrub(sim, plan);
    bool calm = draw_chance(sim, 4);
    for (unsigned kind = 0; kind < SIM_CHAOS_COUNT; kind++) {
        uint64_t least = pace_min(kind);
        uint64_t pace = draw_log(sim, least, least * 12);
        if (draw_chance(sim, 40) && !calm) plan->pace[kind] = pace;
    }
    plan->outage_max = draw_log(sim, 300 * MS, draw_chance(sim, 10) ? 30 * S : 5 * S);
    plan->minority_only = draw_chance(sim, 50);
    drop_impossible(plan);
    plan->keep_old = plan->pace[SIM_CHAOS_OLD_FRAMES] > 0;
    plan->corrupt_ppm = (uint32_t)draw_log(sim, 100, 20000);
    plan->drop_ppm = (uint32_t)draw_log(sim, 100, 100000);
    plan->duplicate_ppm = (uint32_t)draw_log(sim, 100, 100000);
    plan->reorder_ppm = (uint32_t)draw_log(sim, 100, 100000);
    plan->delay_ppm = (uint32_t)draw_log(sim, 100, 50000);
    plan->replay_ppm = draw_chance(sim, 60) ? (uint32_t)draw_log(sim, 100, 20000) : 0;
    plan->delay_max = draw_log(sim, 2 * MS, 1500 * MS);
    plan->stall_ppm = (uint32_t)draw_log(sim, 20, 2000);
    plan->chaos_time = draw(sim, 8, 25) * S;
    plan->hurry_from = plan->chaos_time;
    plan->maybe_permille = draw_chance(sim, 50) ? (uint32_t)draw_log(sim, 1, 100) : 0;
    plan->heal_majority_only = draw_chance(sim, 30);
    plan->power_loss_at_end = draw_chance(sim, 40);
}

void sim_plan_use_mesh(struct sim_plan *plan)
{
    plan->cluster.mesh = true;
    drop_impossible(plan);
    plan->keep_old = false;
}

void sim_plan_print(const struct sim_plan *plan, FILE *file)
{
    const struct sim_cluster_options *cluster = &plan->cluster;

    fprintf(file,
            "plan: %u nodes%s, %u replicas, %u partitions, %u workers, %u stores, reads by %s, "
            "flush at %" PRIu64 " B, keep %" PRIu64 " B, %u clients, pipeline %u\nfaults:",
            cluster->nodes, cluster->mesh ? " with their real mesh" : "", cluster->replicas,
            cluster->partitions, cluster->workers, cluster->stores,
            cluster->reads == READS_LEASE ? "lease" : "quorum", cluster->flush_bytes,
            cluster->entries_bytes_max, plan->workload.clients, plan->workload.pipeline_max);
    for (unsigned kind = 0; kind < SIM_CHAOS_COUNT; kind++)
        if (plan->pace[kind])
            fprintf(file, " %s/%.1fs", sim_chaos_text(kind), (double)plan->pace[kind] / S);
    fprintf(file, "\n");
}
