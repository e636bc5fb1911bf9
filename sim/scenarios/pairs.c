/* Rare faults beside rare mechanisms: cells of the table fault x feature (FAULTS section 4) that
 * drawn plans hardly ever fill. A mechanism is brought about, and within half a second of it a
 * fault strikes. Which pairs a seed plays is counted through, not drawn, so that a few seeds play
 * all. */
#include "base/assert.h"
#include "sim/scenarios/moves.h"
#include "sim/scenarios/transactions.h"
#include "sim/sim_damage.h"
#include "sim/sim_stream.h"

enum {
    ROUNDS = 12,
    MECHANISM_US = 20 * STAGE_S,
    NEAR_US = 400 * STAGE_MS, /* of what counts as near: sim_feature.h */
    STEP_US = 1000,
    LOOPS = 3,
    TAILS_MAX = 6,
    TAIL_US = 2 * STAGE_S,
};

static bool make_whole(struct sim_bed *bed)
{
    return stage_repair(bed) && stage_wait_whole(bed, "not whole again");
}

static bool wait_feature(struct sim_bed *bed, enum sim_feature feature, uint64_t most)
{
    uint64_t since = bed->sim.now, end = since + most;

    while (!bed->sim.failed && bed->sim.now < end && bed->sim.feature_seen[feature] <= since + 1)
        sim_run_for(&bed->sim, STEP_US);
    return !bed->sim.failed && bed->sim.now < end;
}

/* --- mechanisms: each returns the node that it has weakened; 0: it did not come about.
 * `lost`: the one whose disk may be lost, or 0 for any --- */

/* A leader is back, and gets its groups back. */
static node_id_t hand_back(struct sim_bed *bed, node_id_t unused)
{
    node_id_t leader = stage_leader(bed);

    if (leader == 0) return 0;
    sim_node_kill(stage_node(bed, leader));
    sim_run_for(&bed->sim, 300 * STAGE_MS);
    sim_node_start(stage_node(bed, leader));
    return wait_feature(bed, SIM_FEATURE_HANDOVER, MECHANISM_US) ? leader : 0;
}

static uint32_t others_than(const struct sim_bed *bed, node_id_t node)
{
    return (((1u << bed->cluster->options.nodes) - 1) << 1) & ~(1u << node);
}

/* A leader wrote alone, and hears of its successor. If nobody told it to write: again. */
static node_id_t truncate_tail(struct sim_bed *bed, node_id_t unused)
{
    for (int i = 0; i < TAILS_MAX; i++) {
        node_id_t leader = stage_leader(bed);
        if (leader == 0) return 0;
        stage_only(bed, others_than(bed, leader));
        sim_run_for(&bed->sim, stage_draw(bed, 300, 900) * STAGE_MS);
        sim_network_heal_all(bed->cluster->network);
        if (wait_feature(bed, SIM_FEATURE_TRUNCATION, TAIL_US)) return leader;
    }
    return 0;
}

/* A node with an empty disk gets a snapshot, and is made a member again. */
static node_id_t replace_until(struct sim_bed *bed, node_id_t lost, enum sim_feature feature)
{
    if (lost == 0) lost = stage_other(bed, 0, 0);
    sim_node_kill(stage_node(bed, lost));
    sim_node_wipe(stage_node(bed, lost));
    sim_node_start(stage_node(bed, lost));
    return wait_feature(bed, feature, MECHANISM_US) ? lost : 0;
}

static node_id_t send_snapshot(struct sim_bed *bed, node_id_t lost)
{
    return replace_until(bed, lost, SIM_FEATURE_SNAPSHOT);
}

static node_id_t change_members(struct sim_bed *bed, node_id_t lost)
{
    return replace_until(bed, lost, SIM_FEATURE_CONFIG);
}

/* What others sent to a leader is lost for a moment; what they send next shows it a gap. If they
 * sent nothing: again, for longer, until a route times out. */
static node_id_t retry_requests(struct sim_bed *bed, node_id_t unused)
{
    for (int i = 0; i < TAILS_MAX; i++) {
        node_id_t leader = stage_leader(bed);
        if (leader == 0) return 0;
        stage_cut_to(bed, leader);
        sim_run_for(&bed->sim, stage_draw(bed, 20, 150) * (uint64_t)(i + 1) * STAGE_MS);
        sim_network_heal_all(bed->cluster->network);
        if (wait_feature(bed, SIM_FEATURE_ROUTES, TAIL_US)) return leader;
    }
    return 0;
}

/* Drained: it is weakened in that what it has is not needed any more. Two are left. */
static node_id_t drain(struct sim_bed *bed, node_id_t lost)
{
    struct moves moves = {.bed = bed, .target = lost != 0 ? lost : stage_other(bed, 0, 0)};

    if (!moves_operate(&moves, moves.target, "drain")) return 0;
    bool seen = bed->sim.feature_seen[SIM_FEATURE_MOVES] + NEAR_US > bed->sim.now ||
                wait_feature(bed, SIM_FEATURE_MOVES, MECHANISM_US);
    return seen ? moves.target : 0;
}

static bool is_nobody_drained(struct sim_cluster *cluster, void *context)
{
    const struct cluster_view *view = moves_newest_view(context);

    for (uint32_t i = 0; view != NULL && i < view->node_count; i++)
        if (view->nodes[i].state != VIEW_NODE_STAYS) return false;
    for (uint32_t g = GROUP_DATA_FIRST; view != NULL && g < view->group_count; g++)
        if (view->groups[g].replica_count < cluster->options.replicas) return false;
    return view != NULL && moves_nothing_moves(view);
}

static void take_back(struct sim_bed *bed, node_id_t node)
{
    struct moves moves = {.bed = bed};

    if (!stage_repair(bed) || !moves_operate(&moves, node, "undrain")) return;
    if (!sim_cluster_wait(bed->cluster, MOVES_DONE_US, is_nobody_drained, bed) && !bed->sim.failed)
        sim_violation(&bed->sim, "V-6: a node that was taken back has not got its groups again");
}

/* --- faults: at most the weakened node loses what it had --- */

static void lose_all_power(struct sim_bed *bed, struct sim_node *node)
{
    sim_fault_hit(&bed->sim, SIM_FAULT_POWER_LOSS_ALL);
    for (node_id_t id = 1; id <= bed->cluster->options.nodes; id++)
        if (sim_node_is_up(stage_node(bed, id))) sim_node_power_loss(stage_node(bed, id));
    sim_run_for(&bed->sim, 100 * STAGE_MS);
}

static void crash_in_a_loop(struct sim_bed *bed, struct sim_node *node)
{
    for (int i = 0; i < LOOPS; i++) {
        sim_node_kill(node);
        sim_node_start(node);
        sim_fault_hit(&bed->sim, SIM_FAULT_CRASH_LOOP);
        node->now->process->file_effects_left = stage_draw(bed, 1, 30);
        sim_run_for(&bed->sim, 100 * STAGE_MS);
        if (sim_node_is_up(node)) node->now->process->file_effects_left = 0;
    }
}

static void empty_disk(struct sim_bed *bed, struct sim_node *node)
{
    sim_node_kill(node);
    sim_node_wipe(node);
}

/* Not within milliseconds of what it acknowledged: WHY 5.4, what remains. */
static void rot(struct sim_bed *bed, struct sim_node *node)
{
    stage_cut_from(bed, node->id);
    stage_cut_to(bed, node->id);
    sim_run_for(&bed->sim, 100 * STAGE_MS);
    sim_node_kill(node);
    sim_network_heal_all(bed->cluster->network);
    uint64_t end = sim_disk_content_end(node->machine.disk, ".seg");
    uint64_t at = end ? stage_draw(bed, 0, end - 1) : 0;
    sim_damage_flip(node, ".seg", at, (unsigned)stage_draw(bed, 0, 7));
}

/* Runs while a fault is armed, until it has struck. */
static void wait_strike(struct sim_bed *bed, enum sim_fault fault)
{
    uint64_t since = bed->sim.now;

    while (!bed->sim.failed && bed->sim.now < since + NEAR_US &&
           bed->sim.fault_seen[fault] <= since + 1)
        sim_run_for(&bed->sim, STEP_US);
}

/* Until something could not be written, and on. */
static void fill_disk(struct sim_bed *bed, struct sim_node *node)
{
    struct sim_disk *disk = node->machine.disk;

    sim_disk_options(disk)->capacity = sim_disk_used(disk);
    wait_strike(bed, SIM_FAULT_DISK_FULL);
    sim_run_for(&bed->sim, 100 * STAGE_MS);
    sim_disk_options(disk)->capacity = SIM_DISK_CAPACITY;
}

static void lose_name(struct sim_bed *bed, struct sim_node *node)
{
    for (node_id_t id = 1; id <= bed->cluster->options.nodes; id++)
        sim_disk_options(stage_node(bed, id)->machine.disk)->power_at_names = true;
    wait_strike(bed, SIM_FAULT_NAME_LOST);
    for (node_id_t id = 1; id <= bed->cluster->options.nodes; id++)
        sim_disk_options(stage_node(bed, id)->machine.disk)->power_at_names = false;
}

static void tear_write(struct sim_bed *bed, struct sim_node *node)
{
    sim_disk_options(node->machine.disk)->power_at_sync = true;
    wait_strike(bed, SIM_FAULT_TORN);
    sim_disk_options(node->machine.disk)->power_at_sync = false;
}

static void fail_sync(struct sim_bed *bed, struct sim_node *node)
{
    sim_disk_options(node->machine.disk)->sync_fail_ppm = 1000000;
    wait_strike(bed, SIM_FAULT_SYNC_FAILS);
    sim_disk_options(node->machine.disk)->sync_fail_ppm = 0;
    sim_run_for(&bed->sim, 500 * STAGE_MS); /* until it has ended */
}

static void stop(struct sim_bed *bed, struct sim_node *node)
{
    sim_fault_hit(&bed->sim, SIM_FAULT_STOP);
    sim_clients_excuse(bed->clients, node->id, bed->sim.now + 8 * STAGE_S);
    sim_node_stop(node);
    sim_run_for(&bed->sim, 8 * STAGE_S);
}

/* With the real mesh only. */
static void corrupt_frames(struct sim_bed *bed, struct sim_node *node)
{
    bed->sim.stream_options->peer_corrupt_ppm = 20 * 1000;
    sim_run_for(&bed->sim, NEAR_US);
    bed->sim.stream_options->peer_corrupt_ppm = 0;
}

/* F11: the disk of an earlier start; the node finds out, ends, and gets an empty one. */
static void restore_image(struct sim_bed *bed, struct sim_node *node, struct sim_image *image)
{
    if (sim_node_is_up(node)) sim_node_kill(node);
    bed->cluster->failures_expected = true;
    sim_node_restore_image(node, image);
    sim_node_start(node);
    struct sim_incarnation *old = node->now;
    sim_run_for(&bed->sim, 5 * STAGE_S);
    SIM_CHECK(&bed->sim, old->stopped && old->error.status == STATUS_REFUSED);
    bed->cluster->failures_expected = false;
    if (!sim_node_is_up(node)) sim_node_wipe(node);
}

/* A node as it is now, and then two starts more. */
static bool take_image(struct sim_bed *bed, struct sim_node *node, struct sim_image *ret_image)
{
    sim_node_kill(node);
    sim_run_for(&bed->sim, 50 * STAGE_MS);
    sim_node_take_image(node, ret_image);
    return make_whole(bed);
}

typedef node_id_t mechanism_play(struct sim_bed *bed, node_id_t lost);
typedef void fault_strike(struct sim_bed *bed, struct sim_node *node);

static mechanism_play *const mechanisms[] = {hand_back,      truncate_tail,  send_snapshot,
                                             change_members, retry_requests, drain};
/* NULL: an old image, which has to be taken before. */
static fault_strike *const faults[] = {NULL,      lose_all_power, crash_in_a_loop, empty_disk,
                                       fill_disk, lose_name,      tear_write,      rot,
                                       fail_sync, stop,           corrupt_frames};

static fault_strike *fault_of(uint64_t number)
{
    return faults[number / ARRAY_COUNT(mechanisms) % ARRAY_COUNT(faults)];
}

static void play(struct sim_bed *bed, uint64_t number)
{
    fault_strike *strike = fault_of(number);
    struct sim_image image = {0};
    node_id_t imaged = strike ? 0 : stage_leader(bed);

    if (bed->sim.failed) return;
    if (imaged && !take_image(bed, stage_node(bed, imaged), &image)) goto out;
    node_id_t weak = mechanisms[number % ARRAY_COUNT(mechanisms)](bed, imaged);
    if (weak && imaged) restore_image(bed, stage_node(bed, imaged), &image);
    if (weak && strike) strike(bed, stage_node(bed, weak));
    if (weak && !bed->sim.failed && mechanisms[number % ARRAY_COUNT(mechanisms)] == drain)
        take_back(bed, weak);
    if (!bed->sim.failed) make_whole(bed);
out:
    if (image.disk) sim_image_free(&image);
}

static bool plays_corruption(const struct sim_bed *bed)
{
    for (uint64_t round = 0; round < ROUNDS; round++)
        if (fault_of(bed->sim.seed * ROUNDS + round) == corrupt_frames) return true;
    return false;
}

/* Few, and seldom: beside whatever is brought about there is one of each kind. */
static struct sim_txns *start_transactions(struct sim_bed *bed, const struct sim_plan *plan)
{
    struct sim_txns_options options = {.clients = 4,
                                       .lists = 3,
                                       .registers = 4,
                                       .accounts = 4,
                                       .think_min = 20 * STAGE_MS,
                                       .think_max = 200 * STAGE_MS,
                                       .give_up = plan->workload.give_up,
                                       .snapshots = true};

    return transactions_start(bed, &options);
}

/* Goal: rare faults beside rare mechanisms lose nothing and end well.
 * Method: see above; clients send every kind of command, in pipelines, others transactions and
 * snapshots. */
void scenario_rare_pairs(struct sim_bed *bed)
{
    struct sim_plan plan;

    stage_plan(&plan);
    plan.cluster.partitions = 3;
    plan.cluster.flush_bytes = 4 << 10;
    plan.cluster.entries_bytes_max = 4 << 10;
    plan.cluster.memory = 256 << 10;
    plan.cluster.reads = bed->sim.seed & 1 ? READS_QUORUM : READS_LEASE;
    plan.cluster.mesh = plays_corruption(bed);
    plan.workload.registers = 8;
    plan.workload.counters = 2;
    plan.workload.orders = 8;
    plan.workload.expiries = 6;
    plan.workload.pad_max = 300;
    plan.workload.pipeline_max = 4;
    plan.workload.think_min = 5 * STAGE_MS;
    plan.workload.think_max = 60 * STAGE_MS;
    bed->sim.maybe_permille = 30;
    if (!stage_open(bed, &plan)) return;
    struct sim_txns *txns = start_transactions(bed, &plan);
    for (uint64_t round = 0; round < ROUNDS && !bed->sim.failed; round++) {
        sim_run_for(&bed->sim, 500 * STAGE_MS);
        play(bed, bed->sim.seed * ROUNDS + round);
    }
    transactions_judge(bed, txns);
    if (!bed->sim.failed) stage_judge(bed);
    sim_txns_free(txns);
}
