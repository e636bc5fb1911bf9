/* Replicas that fall behind, are lost and rebuilt. */
#include "base/assert.h"
#include "base/memory.h"
#include "sim/scenarios/stage.h"

/* Goal: a follower that needs a snapshot gets one while a change of the configuration waits for
 * that very follower's vote (V-4, V-6). A snapshot is of the applied state, and so goes with the
 * configuration that was applied, not with the one that waits.
 * Method: one follower is down until the leader has forgotten what it lacks; as it comes back,
 * the other loses its disk and is replaced, so that nothing commits before the first is filled. */
void scenario_snapshot_under_change(struct sim_bed *bed)
{
    struct sim_plan plan;

    stage_plan(&plan);
    plan.cluster.partitions = 3;
    plan.cluster.entries_bytes_max = 2 << 10;
    plan.workload.registers = 12;
    plan.workload.pad_max = 500;
    plan.workload.write_percent = 90;
    plan.workload.pipeline_max = 8;
    if (!stage_open(bed, &plan)) return;
    for (int round = 0; round < 4 && !bed->sim.failed; round++) {
        node_id_t leader = stage_leader(bed);
        if (leader == 0) return;
        struct sim_node *behind = stage_node(bed, stage_other(bed, leader, 0));
        struct sim_node *lost = stage_node(bed, stage_other(bed, leader, behind->id));
        sim_node_kill(behind);
        sim_run_for(&bed->sim, stage_draw(bed, 1 * STAGE_S, 4 * STAGE_S));
        sim_node_start(behind);
        sim_run_for(&bed->sim, stage_draw(bed, 1 * STAGE_MS, 300 * STAGE_MS));
        sim_node_kill(lost);
        sim_node_wipe(lost);
        sim_run_for(&bed->sim, stage_draw(bed, 1 * STAGE_MS, 100 * STAGE_MS));
        if (!stage_repair(bed)) return;
        uint64_t until = bed->sim.now + 30 * STAGE_S;
        while (!bed->sim.failed && bed->sim.now < until && !sim_inspect_settled(bed->cluster))
            sim_run_for(&bed->sim, 100 * STAGE_MS);
        if (!bed->sim.failed && !sim_inspect_settled(bed->cluster))
            sim_violation(&bed->sim, "V-6: the replaced node is no voter again after 30 s");
    }
    stage_judge(bed);
}

enum { FIRST_FRAME_US = 5 * STAGE_S };

/* The first frame of the snapshot that the node needs has arrived, and no other will. */
static bool one_frame_arrives(struct sim_bed *bed, struct sim_node *behind)
{
    struct sim_network_options *network = sim_network_options(bed->cluster->network);
    uint64_t until = bed->sim.now + FIRST_FRAME_US;

    network->few_snapshot_frames = true;
    network->snapshot_frames_left = 1;
    sim_node_start(behind);
    while (!bed->sim.failed && bed->sim.now < until && network->snapshot_frames_left > 0)
        sim_run_for(&bed->sim, 1 * STAGE_MS);
    sim_run_for(&bed->sim, 50 * STAGE_MS);
    return !bed->sim.failed && network->snapshot_frames_left == 0;
}

static void half_for_too_long(struct sim_bed *bed, struct sim_node *behind)
{
    if (one_frame_arrives(bed, behind)) sim_run_for(&bed->sim, 22 * STAGE_S);
}

static void half_and_restarted(struct sim_bed *bed, struct sim_node *behind)
{
    if (!one_frame_arrives(bed, behind)) return;
    sim_node_kill(behind);
    sim_run_for(&bed->sim, stage_draw(bed, 1, 300) * STAGE_MS);
    sim_node_start(behind);
}

static void half_and_nobody_there(struct sim_bed *bed, struct sim_node *behind)
{
    struct sim_network_options *network = sim_network_options(bed->cluster->network);

    network->drop_ppm = 400000;
    sim_node_start(behind);
    sim_run_for(&bed->sim, stage_draw(bed, 100 * STAGE_MS, 700 * STAGE_MS));
    network->drop_ppm = 0;
    sim_network_split(bed->cluster->network, 1u << behind->id, false);
    sim_run_for(&bed->sim, stage_draw(bed, 0, 1) ? 25 * STAGE_S : 1 * STAGE_S);
}

/* Goal: half a snapshot is of no use and does not stay (S-4): neither when its sender is gone nor
 * when the log has got further; and a receiver that has forgotten it is sent all of it.
 * Method: values that do not fit into one chunk. Three ways to have half of it, in turn: all but
 * the first frame are lost for longer than the receiver waits; then it restarts; nobody talks to
 * it at all. */
void scenario_half_a_snapshot(struct sim_bed *bed)
{
    struct sim_plan plan;

    stage_plan(&plan);
    plan.workload.clients = 2;
    plan.workload.registers = 30; /* of less than an outcome may be, or GETSET is refused */
    plan.workload.pad_min = 14 << 10;
    plan.workload.write_percent = 90;
    plan.workload.think_min = 2 * STAGE_MS;
    plan.workload.think_max = 40 * STAGE_MS;
    plan.cluster.entries_bytes_max = 2 << 10;
    if (!stage_open(bed, &plan)) return;
    static void (*const halves[])(struct sim_bed * bed, struct sim_node * behind) = {
        half_for_too_long, half_and_restarted, half_and_nobody_there};
    for (size_t round = 0; round < ARRAY_COUNT(halves) && !bed->sim.failed; round++) {
        node_id_t leader = stage_leader(bed);
        if (leader == 0) return;
        struct sim_node *behind = stage_node(bed, stage_other(bed, leader, 0));
        sim_node_kill(behind);
        sim_run_for(&bed->sim, 1500 * STAGE_MS);
        halves[round](bed, behind);
        sim_network_options(bed->cluster->network)->few_snapshot_frames = false;
        if (!stage_repair(bed)) return;
        sim_run_for(&bed->sim, 2 * STAGE_S);
    }
    stage_judge(bed);
}

static bool is_ready(struct sim_cluster *cluster, void *context)
{
    return sim_node_is_ready(context);
}

static void restart(struct sim_bed *bed, struct sim_node *node)
{
    sim_node_kill(node);
    sim_run_for(&bed->sim, 50 * STAGE_MS);
    sim_node_start(node);
    sim_cluster_wait(bed->cluster, 10 * STAGE_S, is_ready, node);
}

/* Goal: a gateway that lives under an epoch of the past writes nothing (rule B4, F11, WHY 6.5).
 * Method: a node starts twice and serves; then its identity file comes from an older image, and the
 * leaders that knew its later epoch are replaced. The start may be refused; what it may not do is
 * have anything it is asked for done twice. */
void scenario_epoch_of_the_past(struct sim_bed *bed)
{
    struct sim_plan plan;

    stage_plan(&plan);
    plan.workload.registers = 0;
    plan.workload.counters = 3;
    plan.workload.write_percent = 90;
    plan.workload.think_min = 5 * STAGE_MS;
    plan.workload.think_max = 60 * STAGE_MS;
    if (!stage_open(bed, &plan)) return;
    bed->cluster->failures_expected = true;
    struct sim_node *node = stage_node(bed, 1 + (node_id_t)stage_draw(bed, 0, 2));
    restart(bed, node);
    struct bytes image = sim_disk_take_copy(node->machine.disk, "identity");
    for (int i = 0; i < 2 && !bed->sim.failed; i++) {
        restart(bed, node);
        sim_run_for(&bed->sim, 400 * STAGE_MS);
    }
    sim_node_kill(node);
    SIM_CHECK(&bed->sim, sim_disk_put_copy(node->machine.disk, "identity", image));
    memory_free((void *)(uintptr_t)image.data);
    sim_node_start(node);
    for (int i = 0; i < 8 && !bed->sim.failed; i++) {
        sim_run_for(&bed->sim, stage_draw(bed, 50 * STAGE_MS, 300 * STAGE_MS));
        node_id_t leader = sim_inspect_leader(bed->cluster, GROUP_DATA_FIRST);
        if (leader && leader != node->id) restart(bed, stage_node(bed, leader));
    }
    if (sim_node_is_up(node)) sim_node_kill(node); /* an operator takes it away */
    sim_clients_use(bed->clients, 0xe & ~(1u << node->id));
    sim_run_for(&bed->sim, 2 * STAGE_S);
    if (!bed->sim.failed) sim_bed_judge(bed, 0xe & ~(1u << node->id));
}
