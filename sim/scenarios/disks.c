/* WHY 5.4: tails that are torn, and tails that rot; F11: disks that are not the newest; F28. */
#include "partition/host.h"
#include "sim/scenarios/stage.h"

/* Goal: what is cut from a log was never acknowledged, and what was is never cut.
 * Method: everybody loses power while clients write; any part of what was not synced stays. */
void scenario_torn_tail(struct sim_bed *bed)
{
    struct sim_plan plan;

    stage_plan(&plan);
    plan.workload.counters = 2;
    plan.workload.orders = 4;
    plan.workload.pad_max = 400;
    plan.workload.pipeline_max = 4;
    if (!stage_open(bed, &plan)) return;
    for (int round = 0; round < 8 && !bed->sim.failed; round++) {
        sim_run_for(&bed->sim, stage_draw(bed, 20 * STAGE_MS, 400 * STAGE_MS));
        sim_fault_hit(&bed->sim, SIM_FAULT_POWER_LOSS_ALL);
        for (node_id_t node = 1; node <= plan.cluster.nodes; node++)
            sim_node_power_loss(stage_node(bed, node));
        sim_run_for(&bed->sim, 50 * STAGE_MS);
        if (!stage_repair(bed)) return;
    }
    stage_judge(bed);
}

/* Goal: a vote that was on its way to the disk counts after the restart if it can be read;
 * whatever becomes of it, nobody votes twice in a term.
 * Method: as soon as one stands, the disks of both that are left lose power in their next sync:
 * part of the batch with the vote is there. All come back and elect. */
void scenario_torn_vote(struct sim_bed *bed)
{
    struct sim_plan plan;

    stage_plan(&plan);
    plan.workload.counters = 1;
    if (!stage_open(bed, &plan)) return;
    for (int round = 0; round < 8 && !bed->sim.failed; round++) {
        node_id_t leader = stage_leader(bed);
        if (leader == 0) return;
        sim_node_kill(stage_node(bed, leader));
        stage_catch(bed, 0xe & ~(1u << leader), RAFT_CANDIDATE, 3 * STAGE_S);
        for (node_id_t node = 1; node <= plan.cluster.nodes; node++)
            if (node != leader)
                sim_disk_options(stage_node(bed, node)->machine.disk)->power_at_sync = true;
        sim_run_for(&bed->sim, stage_draw(bed, 20, 100) * STAGE_MS);
        for (node_id_t node = 1; node <= plan.cluster.nodes; node++)
            sim_disk_options(stage_node(bed, node)->machine.disk)->power_at_sync = false;
        if (!stage_repair(bed)) return;
        sim_run_for(&bed->sim, stage_draw(bed, 20, 200) * STAGE_MS);
    }
    stage_judge(bed);
}

static void supervise(struct sim *sim, void *context)
{
    struct sim_cluster *cluster = context;

    for (uint32_t i = 1; i <= cluster->options.nodes; i++)
        if (!sim_node_is_up(&cluster->nodes[i])) sim_node_start(&cluster->nodes[i]);
    sim_call(sim, 150 * STAGE_MS, supervise, cluster);
}

/* Goal: a crash between any two effects on the disk loses nothing and is resumed (F01, F03).
 * Method: seed s ends node 1 + s % 3 at its effect s / 6 + 1, counted from its first start on,
 * by a kill or by a loss of power. */
void scenario_each_effect(struct sim_bed *bed)
{
    struct sim_plan plan;
    uint64_t seed = bed->sim.seed;

    stage_plan(&plan);
    plan.workload.counters = 1;
    plan.workload.orders = 2;
    sim_bed_open(bed, &plan.cluster, &plan.workload);
    for (node_id_t node = 1; node <= plan.cluster.nodes; node++)
        sim_node_start(stage_node(bed, node));
    struct sim_process *victim = stage_node(bed, 1 + seed % 3)->now->process;
    victim->file_effects_left = seed / 6 + 1;
    victim->file_effects_end = seed / 3 % 2 ? SIM_END_POWER : SIM_END_KILL;
    sim_call(&bed->sim, 100 * STAGE_MS, supervise, bed->cluster);
    if (!sim_cluster_wait(bed->cluster, 30 * STAGE_S, sim_cluster_all_ready, NULL)) {
        sim_violation(&bed->sim, "the cluster was not founded within 30 s");
        return;
    }
    sim_clients_start(bed->clients);
    sim_run_for(&bed->sim, 1 * STAGE_S);
    stage_judge(bed);
}

/* Goal: damage below what was acknowledged is never taken for a torn tail: the node refuses to
 * vote and acknowledge with what is left (FAULTS rule 5).
 * Method: a follower ends cleanly; then a bit of the end of its log flips. It must not come
 * back with fewer entries as if nothing had happened. */
void scenario_damaged_tail(struct sim_bed *bed)
{
    struct sim_plan plan;

    stage_plan(&plan);
    if (!stage_open(bed, &plan)) return;
    bed->cluster->failures_expected = true;
    sim_run_for(&bed->sim, 500 * STAGE_MS);
    node_id_t leader = stage_leader(bed);
    if (leader == 0) return;
    struct sim_node *node = stage_node(bed, stage_other(bed, leader, 0));
    sim_clients_use(bed->clients, 0xe & ~(1u << node->id));
    sim_run_for(&bed->sim, 100 * STAGE_MS);
    sim_node_kill(node);
    sim_run_for(&bed->sim, 100 * STAGE_MS);
    uint64_t end = sim_disk_content_end(node->machine.disk, ".seg");
    if (end < 8192) {
        sim_violation(&bed->sim, "the log of node %u is not where the scenario looks", node->id);
        return;
    }
    uint64_t at = (end - 1) / 4096 * 4096 + stage_draw(bed, 0, (end - 1) % 4096);
    sim_disk_flip(node->machine.disk, ".seg", at);
    sim_node_start(node);
    sim_run_for(&bed->sim, 5 * STAGE_S);
    if (!bed->sim.failed) sim_bed_judge(bed, 0xe & ~(1u << node->id));
}

/* Goal: a node whose disk was restored from an older image votes for nobody and acknowledges
 * nothing: it finds out that this boot epoch was used before, and ends (F11).
 * Method: c's disk is copied between two of its starts. In the later one it commits writes with
 * a, b being cut off. Then both lose power, c's disk is the copy, and b, which lacks those
 * writes, asks c for its vote. When a is back, nothing acknowledged may be missing. */
void scenario_old_image(struct sim_bed *bed)
{
    struct sim_image image;
    struct sim_plan plan;

    stage_plan(&plan);
    plan.workload.counters = 2;
    if (!stage_open(bed, &plan)) return;
    node_id_t a = stage_leader(bed), b = stage_other(bed, a, 0), c = 6 - a - b;
    if (a == 0) return;
    sim_node_power_loss(stage_node(bed, c));
    sim_run_for(&bed->sim, 100 * STAGE_MS);
    sim_node_take_image(stage_node(bed, c), &image);
    if (!stage_repair(bed)) goto out;
    sim_run_for(&bed->sim, stage_draw(bed, 100 * STAGE_MS, STAGE_S));

    stage_cut_from(bed, b);
    stage_cut_to(bed, b);
    sim_clients_use(bed->clients, 1u << a | 1u << c);
    sim_run_for(&bed->sim, 2 * STAGE_S);
    sim_node_power_loss(stage_node(bed, a));
    sim_node_power_loss(stage_node(bed, c));
    sim_run_for(&bed->sim, 50 * STAGE_MS);
    bed->cluster->failures_expected = true;
    sim_node_restore_image(stage_node(bed, c), &image);
    sim_network_heal_all(bed->cluster->network);
    sim_node_start(stage_node(bed, c));
    struct sim_incarnation *old = stage_node(bed, c)->now;
    sim_run_for(&bed->sim, 5 * STAGE_S);
    SIM_CHECK(&bed->sim, old->stopped && old->error.status == STATUS_REFUSED);

    /* As its message says: an empty directory. */
    bed->cluster->failures_expected = false;
    if (!sim_node_is_up(stage_node(bed, c))) sim_node_wipe(stage_node(bed, c));
    sim_clients_use(bed->clients, 0xe);
    stage_judge(bed);
out:
    sim_image_free(&image);
}

/* Goal: an old image is refused however often it was started before anybody could say so (F11).
 * Method: it hears nobody, for less or more than a start waits for answers, and is killed, some
 * times over. The epochs that these starts took are behind all that the others' tables know. */
void scenario_old_image_mute(struct sim_bed *bed)
{
    struct sim_image image;
    struct sim_plan plan;

    stage_plan(&plan);
    plan.workload.counters = 2;
    if (!stage_open(bed, &plan)) return;
    node_id_t a = stage_leader(bed), c = stage_other(bed, a, 0);
    if (a == 0) return;
    struct sim_node *node = stage_node(bed, c);
    sim_node_power_loss(node);
    sim_node_take_image(node, &image);
    uint64_t lives = stage_draw(bed, 1, 3);
    for (uint64_t i = 0; i < lives; i++) { /* each registers an epoch */
        if (!stage_repair(bed)) goto out;
        sim_run_for(&bed->sim, stage_draw(bed, 100 * STAGE_MS, STAGE_S));
        sim_node_power_loss(node);
        sim_run_for(&bed->sim, 50 * STAGE_MS);
    }
    bed->cluster->failures_expected = true;
    sim_clients_use(bed->clients, 0xe & ~(1u << c));
    sim_node_restore_image(node, &image);
    stage_cut_to(bed, c);
    for (uint64_t i = 0; i < lives + stage_draw(bed, 0, 2); i++) {
        sim_node_start(node);
        sim_run_for(&bed->sim, stage_draw(bed, 20 * STAGE_MS, 3 * STAGE_S));
        sim_node_kill(node);
    }
    sim_network_heal_all(bed->cluster->network);
    sim_node_start(node);
    struct sim_incarnation *old = node->now;
    sim_run_for(&bed->sim, 5 * STAGE_S);
    SIM_CHECK(&bed->sim, old->stopped && old->error.status == STATUS_REFUSED);
    if (old->stopped) sim_reached(&bed->sim, "scenario: an image that was mute was refused");

    bed->cluster->failures_expected = false;
    if (!sim_node_is_up(node)) sim_node_wipe(node);
    sim_clients_use(bed->clients, 0xe);
    stage_judge(bed);
out:
    sim_image_free(&image);
}

/* Goal: a member that answers, but is slow, is not filled by snapshots of the whole group while a
 * bounded reserve of entries would do (F28).
 * Method: one follower's disk is slow enough to lag behind the entries that would be kept in
 * memory otherwise. */
void scenario_slow_follower(struct sim_bed *bed)
{
    struct host_statistics statistics;
    struct sim_plan plan;

    stage_plan(&plan);
    plan.cluster.entries_bytes_max = 32 << 10;
    plan.workload.clients = 10;
    plan.workload.pad_max = 400;
    if (!stage_open(bed, &plan)) return;
    node_id_t leader = stage_leader(bed);
    if (leader == 0) return;
    struct sim_node *slow = stage_node(bed, stage_other(bed, leader, 0));
    sim_fault_hit(&bed->sim, SIM_FAULT_DISK_SLOW);
    slow->machine.disk_slow_factor = 25;
    sim_run_for(&bed->sim, 5 * STAGE_S);
    slow->machine.disk_slow_factor = 1;
    if (bed->sim.failed) return;
    for (node_id_t node = 1; node <= plan.cluster.nodes; node++) {
        host_statistics(node_host(stage_node(bed, node)->now->node, 0), &statistics);
        if (statistics.snapshots_sent > 0)
            sim_violation(&bed->sim, "node %u sent %llu snapshots to a member that only lagged",
                          node, (unsigned long long)statistics.snapshots_sent);
    }
    stage_judge(bed);
}

/* Somebody else takes what is free: less than the reserve stays, whatever the node gave back. */
static void fill_disks(struct sim_bed *bed, node_id_t spared)
{
    for (node_id_t id = 1; id <= bed->cluster->options.nodes; id++) {
        struct sim_disk *disk = stage_node(bed, id)->machine.disk;
        uint64_t left = stage_draw(bed, 1 << 20, SIM_DISK_RESERVE - 1);
        if (id != spared) sim_disk_options(disk)->capacity = sim_disk_used(disk) + left;
    }
    sim_fault_hit(&bed->sim, SIM_FAULT_DISK_FULL);
}

/* A majority is below its reserve: segments that were freed may have ended that by themselves. */
static bool majority_is_full(struct sim_bed *bed)
{
    uint32_t full = 0;

    for (node_id_t id = 1; id <= 3; id++) {
        struct sim_disk *disk = stage_node(bed, id)->machine.disk;
        full += sim_disk_used(disk) + SIM_DISK_RESERVE > sim_disk_options(disk)->capacity;
    }
    return full >= 2;
}

/* Goal: full disks are a clear error for what adds data, at once, and nothing else (F27, WHY 5.10):
 * nobody waits for a write that cannot commit, reads and elections go on, writes are taken again
 * by themselves when there is space, and nothing acknowledged is lost.
 * Method: two of three disks, or all, fall below the reserve while clients write; a node is killed
 * meanwhile and comes back; then there is space again. */
void scenario_disk_full(struct sim_bed *bed)
{
    struct sim_plan plan;

    stage_plan(&plan);
    plan.workload.counters = 2;
    if (!stage_open(bed, &plan)) return;
    for (int round = 0; round < 3 && !bed->sim.failed; round++) {
        uint64_t before = sim_clients_no_space(bed->clients);
        uint64_t capacity = sim_disk_options(stage_node(bed, 1)->machine.disk)->capacity;
        node_id_t spared = stage_draw(bed, 0, 1) ? 0 : (node_id_t)stage_draw(bed, 1, 3);
        fill_disks(bed, spared);
        sim_run_for(&bed->sim, 3 * STAGE_S);
        SIM_CHECK(&bed->sim, !majority_is_full(bed) || sim_clients_no_space(bed->clients) > before);
        struct sim_node *victim = stage_node(bed, stage_other(bed, 0, 0));
        sim_node_kill(victim);
        sim_run_for(&bed->sim, 500 * STAGE_MS);
        sim_node_start(victim);
        if (!sim_cluster_wait(bed->cluster, 20 * STAGE_S, sim_cluster_all_ready, NULL)) {
            char missing[400];
            sim_inspect_missing(bed->cluster, missing, sizeof(missing));
            sim_violation(&bed->sim, "V-3: not ready with full disks:%s", missing);
        }
        fill_disks(bed, spared);
        sim_run_for(&bed->sim, 1500 * STAGE_MS);
        bool full = majority_is_full(bed);
        uint64_t during = sim_clients_no_space(bed->clients);
        sim_run_for(&bed->sim, STAGE_S);
        full = full && majority_is_full(bed);
        SIM_CHECK(&bed->sim, !full || sim_clients_no_space(bed->clients) > during);
        for (node_id_t id = 1; id <= 3; id++)
            sim_disk_options(stage_node(bed, id)->machine.disk)->capacity = capacity;
        sim_run_for(&bed->sim, 2 * STAGE_S);
        uint64_t after = sim_clients_no_space(bed->clients);
        sim_run_for(&bed->sim, STAGE_S);
        SIM_CHECK(&bed->sim, sim_clients_no_space(bed->clients) == after);
    }
    stage_judge(bed);
}

/* Goal: a node that dies while its disk is full to the byte starts again, serves what it can, and
 * takes writes again when there is space (F27).
 * Method: somebody else takes all that is left on one disk or on all. Those nodes are killed, or
 * lose power, and start, twice: the second time what the first start has left over is taken, too.
 */
void scenario_start_on_full_disk(struct sim_bed *bed)
{
    struct sim_plan plan;

    stage_plan(&plan);
    plan.workload.counters = 2;
    if (!stage_open(bed, &plan)) return;
    sim_run_for(&bed->sim, 3 * STAGE_S); /* the log has its spares, the node its reserve */
    uint64_t capacity = sim_disk_options(stage_node(bed, 1)->machine.disk)->capacity;
    uint32_t nodes = stage_draw(bed, 0, 1) ? 0xe : 1u << stage_draw(bed, 1, 3);
    for (int round = 0; round < 2 && !bed->sim.failed; round++) {
        for (node_id_t id = 1; id <= 3; id++) {
            struct sim_disk *disk = stage_node(bed, id)->machine.disk;
            if (nodes & 1u << id) sim_disk_options(disk)->capacity = sim_disk_used(disk);
        }
        sim_fault_hit(&bed->sim, SIM_FAULT_DISK_FULL);
        sim_run_for(&bed->sim, stage_draw(bed, 1, 2000) * STAGE_MS);
        bool power = stage_draw(bed, 0, 1);
        for (node_id_t id = 1; id <= 3; id++) {
            if (!(nodes & 1u << id)) continue;
            if (power)
                sim_node_power_loss(stage_node(bed, id));
            else
                sim_node_kill(stage_node(bed, id));
        }
        sim_run_for(&bed->sim, 100 * STAGE_MS);
        for (node_id_t id = 1; id <= 3; id++)
            if (!sim_node_is_up(stage_node(bed, id))) sim_node_start(stage_node(bed, id));
        sim_run_for(&bed->sim, 3 * STAGE_S);
        for (node_id_t id = 1; id <= 3; id++)
            if (!sim_node_is_up(stage_node(bed, id)))
                sim_violation(&bed->sim, "F27: node %u does not start on its full disk", id);
    }
    for (node_id_t id = 1; id <= 3; id++)
        sim_disk_options(stage_node(bed, id)->machine.disk)->capacity = capacity;
    stage_judge(bed);
}
