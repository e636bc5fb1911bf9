/* FAULTS F21-F25, F29: what was durable is damaged, on one node at a time. Goal of all: no answer
 * is ever wrong, nothing that was acknowledged is lost, and the node is whole again by itself
 * within V-6 (60 s). */
#include "base/assert.h"
#include "sim/scenarios/stage.h"
#include "sim/sim_damage.h"

#include <stdio.h>

enum { ROUNDS = 3, WHOLE_US = 60 * 1000 * 1000, BIRTH_STEP_US = 50 };

static void damage_plan(struct sim_plan *plan)
{
    stage_plan(plan);
    plan->cluster.partitions = 4;
    plan->cluster.stores = 2;
    plan->cluster.flush_bytes = 4 << 10; /* so that stores and released entries exist */
    plan->cluster.entries_bytes_max = 4 << 10;
    plan->workload.registers = 8;
    plan->workload.counters = 2;
    plan->workload.orders = 4;
    plan->workload.pad_max = 300;
    plan->workload.write_percent = 70;
}

static bool wait_whole(struct sim_bed *bed)
{
    return stage_wait_whole(bed, "a damaged node is not whole again");
}

/* Down, with all that it ever told anyone long since marked as durable: the last milliseconds
 * before a crash are the residue that WHY 5.4 names. */
static struct sim_node *take_down(struct sim_bed *bed)
{
    struct sim_node *node = stage_node(bed, stage_other(bed, 0, 0));

    if (stage_draw(bed, 0, 1)) {
        sim_node_stop(node);
        while (!bed->sim.failed && sim_node_is_up(node))
            sim_run_for(&bed->sim, 100 * STAGE_MS);
        return node;
    }
    stage_cut_from(bed, node->id);
    stage_cut_to(bed, node->id);
    sim_run_for(&bed->sim, 100 * STAGE_MS);
    sim_node_kill(node);
    sim_network_heal_all(bed->cluster->network);
    sim_run_for(&bed->sim, stage_draw(bed, 1, 500) * STAGE_MS);
    return node;
}

/* Each round: a node goes down, `damage` does its work, the node starts and becomes whole. */
static void damage_at_rest(struct sim_bed *bed,
                           void (*damage)(struct sim_bed *bed, struct sim_node *node))
{
    struct sim_plan plan;

    damage_plan(&plan);
    if (!stage_open(bed, &plan)) return;
    for (int round = 0; round < ROUNDS && !bed->sim.failed; round++) {
        sim_run_for(&bed->sim, stage_draw(bed, 200, 1500) * STAGE_MS);
        struct sim_node *node = take_down(bed);
        if (bed->sim.failed) return;
        damage(bed, node);
        sim_node_start(node);
        if (!wait_whole(bed)) return;
    }
    stage_judge(bed);
}

static void path_of(const struct sim_node *node, const char *name, char ret_path[128])
{
    snprintf(ret_path, 128, "%.60s/%s", node->options.data, name);
}

static void remove_named(struct sim_node *node, const char *name)
{
    char path[128];

    path_of(node, name, path);
    sim_damage_remove(node, path);
}

static uint64_t place_in(struct sim_bed *bed, struct sim_node *node, const char *part)
{
    uint64_t end = sim_disk_content_end(node->machine.disk, part);
    return end ? stage_draw(bed, 0, end - 1) : 0;
}

static void damage_log_files(struct sim_bed *bed, struct sim_node *node)
{
    char path[128];

    switch (stage_draw(bed, 0, 8)) {
    case 0:
    case 1:
        sim_damage_flip(node, ".seg", place_in(bed, node, ".seg"), (unsigned)stage_draw(bed, 0, 7));
        return;
    case 2:
        sim_damage_sector(node, ".seg", place_in(bed, node, ".seg"));
        return;
    case 3:
        sim_damage_truncate(node, ".seg", place_in(bed, node, ".seg"));
        return;
    case 4:
        remove_named(node, "log");
        return;
    case 5:
        remove_named(node, "log/durable");
        return;
    case 6:
        sim_damage_flip(node, "log/durable", stage_draw(bed, 0, 63), 3);
        sim_damage_flip(node, "log/durable", 4096 + stage_draw(bed, 0, 63), 3);
        return;
    case 7:
        sim_damage_sector(node, "log/durable", stage_draw(bed, 0, 8191));
        return;
    default:
        path_of(node, "log/00000000000000ff.seg", path);
        sim_damage_add(node, path, 16384);
        return;
    }
}

void scenario_damaged_log(struct sim_bed *bed)
{
    damage_at_rest(bed, damage_log_files);
}

static void damage_sealed_files(struct sim_bed *bed, struct sim_node *node)
{
    static const char *const names[] = {"identity", "table", "birth"};
    const char *name = names[stage_draw(bed, 0, 2)];
    char path[128];

    if (strcmp(name, "table") == 0 && stage_draw(bed, 0, 1)) { /* both copies */
        path_of(node, "table-copy", path);
        sim_damage_remove(node, path);
    }
    path_of(node, name, path);
    uint64_t size = sim_disk_file_size(node->machine.disk, path);
    if (size == 0) return; /* a birth that a repair has taken away */
    uint64_t how = stage_draw(bed, 0, 4), bit = how <= 1 ? stage_draw(bed, 0, 7) : 0;
    switch (how) {
    case 0:
    case 1:
        sim_damage_flip(node, path, stage_draw(bed, 0, size - 1), (unsigned)bit);
        return;
    case 2:
        sim_damage_sector(node, path, stage_draw(bed, 0, size - 1));
        return;
    case 3:
        sim_damage_truncate(node, path, stage_draw(bed, 0, size - 1));
        return;
    default:
        sim_damage_remove(node, path);
        return;
    }
}

void scenario_damaged_identity(struct sim_bed *bed)
{
    damage_at_rest(bed, damage_sealed_files);
}

static void damage_store_at_rest(struct sim_bed *bed, struct sim_node *node)
{
    uint32_t store = (uint32_t)stage_draw(bed, 0, 1);
    char name[32], path[128];

    snprintf(name, sizeof(name), "store-%u", store);
    switch (stage_draw(bed, 0, 4)) {
    case 0:
        sim_damage_store(node, store);
        return;
    case 4:
        sim_damage_empty_store(node, store);
        return;
    case 1:
        remove_named(node, name);
        return;
    case 2:
        snprintf(name, sizeof(name), "store-%u/owner", store);
        path_of(node, name, path);
        sim_damage_flip(node, path, stage_draw(bed, 0, 40), 2);
        return;
    default:
        snprintf(name, sizeof(name), "store-%u/owner", store);
        remove_named(node, name);
        return;
    }
}

void scenario_damaged_store(struct sim_bed *bed)
{
    damage_at_rest(bed, damage_store_at_rest);
}

struct born {
    struct sim_node *node;
    uint32_t group;
    struct replica_id first, second;
};

/* Looks more often than a frame is on its way: as it is born, the replica has nothing. */
static bool wait_for_birth(struct sim_bed *bed, struct born *born)
{
    uint64_t until = bed->sim.now + WHOLE_US;

    while (!bed->sim.failed && bed->sim.now < until) {
        struct replica_id now = {0};
        if (sim_node_is_up(born->node)) now = sim_inspect_replica_id(born->node->now, born->group);
        born->second = now;
        if (now.value != 0 && !replica_id_equal(now, born->first)) return true;
        sim_run_for(&bed->sim, BIRTH_STEP_US);
    }
    if (!bed->sim.failed) sim_violation(&bed->sim, "V-6: no new replica on the old log after 60 s");
    return false;
}

/* The node dies and starts again, and hears nobody: its replica has what it had, or less (what was
 * not durable), and nothing of its predecessor. */
static void check_log_read_again(struct sim_bed *bed, const struct born *born)
{
    struct sim_node *node = born->node;
    const struct raft *raft =
        sim_node_is_up(node) ? sim_inspect_raft(node->now, born->group) : NULL;

    if (raft == NULL) return; /* it was damaged once more, or is on its way */
    uint64_t last = raft_last_index(raft), term = raft_term(raft);
    if (stage_draw(bed, 0, 1))
        sim_node_power_loss(node);
    else
        sim_node_kill(node);
    stage_only(bed, 0xe & ~(1u << node->id));
    sim_run_for(&bed->sim, stage_draw(bed, 1, 300) * STAGE_MS);
    sim_node_start(node);
    sim_run_for(&bed->sim, 100 * STAGE_MS);
    raft = sim_node_is_up(node) ? sim_inspect_raft(node->now, born->group) : NULL;
    if (raft && replica_id_equal(sim_inspect_replica_id(node->now, born->group), born->second)) {
        sim_reached(&bed->sim, "scenario: the log of a new replica and its predecessor was read");
        if (last == 0)
            sim_reached(&bed->sim, "scenario: the log of a replica that had nothing was read");
        if (raft_last_index(raft) > last || raft_term(raft) > term)
            sim_violation(&bed->sim,
                          "WHY 5.3: a new replica has entries to %llu and term %llu of its "
                          "predecessor, its own were %llu and %llu",
                          (unsigned long long)raft_last_index(raft),
                          (unsigned long long)raft_term(raft), (unsigned long long)last,
                          (unsigned long long)term);
    }
    sim_network_heal_all(bed->cluster->network);
}

/* A leader that nobody hears appends what clients want of it, and dies. Zero: there is none. */
static node_id_t leave_a_tail(struct sim_bed *bed, struct born *born)
{
    node_id_t leader = sim_inspect_leader(bed->cluster, born->group);

    if (leader == 0) return 0;
    born->node = stage_node(bed, leader);
    born->first = sim_inspect_replica_id(born->node->now, born->group);
    sim_clients_use(bed->clients, 1u << leader);
    sim_run_for(&bed->sim, 200 * STAGE_MS);
    stage_cut_from(bed, leader);
    stage_cut_to(bed, leader);
    sim_run_for(&bed->sim, stage_draw(bed, 500, 1500) * STAGE_MS);
    sim_node_kill(born->node);
    sim_network_heal_all(bed->cluster->network);
    sim_run_for(&bed->sim, stage_draw(bed, 1, 300) * STAGE_MS);
    return leader;
}

/* WHY 5.3. Goal: the successor of a replica takes nothing of it, though entries and votes of both
 * lie in one log.
 * Method: nothing is flushed and no segment is freed. A leader leaves a tail that nobody else has.
 * Its stores are damaged, and its groups come back as new replicas on the log with that tail. In
 * two rounds of three the node hears nobody from the moment one is born, so that the record of its
 * birth is all it has, and dies as soon as that is durable; else a little later, or when all is
 * whole. It reads the log. */
void scenario_store_born_again(struct sim_bed *bed)
{
    struct sim_plan plan;

    damage_plan(&plan);
    plan.cluster.flush_bytes = 64 << 20;
    plan.cluster.entries_bytes_max = 64 << 20;
    plan.cluster.log_segment_size = 16 << 20;
    plan.workload.write_percent = 90;
    plan.workload.pipeline_max = 16;
    if (!stage_open(bed, &plan)) return;
    for (int round = 0; round < ROUNDS && !bed->sim.failed; round++) {
        sim_run_for(&bed->sim, stage_draw(bed, 300, 1500) * STAGE_MS);
        struct born born = {.group = GROUP_DATA_FIRST + (uint32_t)stage_draw(bed, 0, 3)};
        if (leave_a_tail(bed, &born) == 0) continue;
        for (uint32_t store = 0; store < plan.cluster.stores; store++)
            sim_damage_store(born.node, store);
        sim_node_start(born.node);
        if (!wait_for_birth(bed, &born)) return;
        sim_reached(&bed->sim, "scenario: a new replica was born on the log of its predecessor");
        if (stage_draw(bed, 0, 2)) {
            stage_only(bed, 0xe & ~(1u << born.node->id));
            sim_run_for(&bed->sim, stage_draw(bed, 5, 50) * STAGE_MS);
        } else {
            if (stage_draw(bed, 0, 1) && !wait_whole(bed)) return;
            sim_run_for(&bed->sim, stage_draw(bed, 0, 50) * STAGE_MS);
        }
        check_log_read_again(bed, &born);
        if (!wait_whole(bed)) return;
        sim_clients_use(bed->clients, 0xe);
    }
    stage_judge(bed);
}

/* The engine fails under a running node: its replicas stop, the others go on. */
void scenario_store_fails(struct sim_bed *bed)
{
    struct sim_plan plan;

    damage_plan(&plan);
    plan.cluster.scrub_every = 0;
    plan.cluster.scrub_rate =
        bed->sim.seed % 2 ? 64 << 20 : 0; /* nobody asks for what is damaged */
    if (!stage_open(bed, &plan)) return;
    for (int round = 0; round < ROUNDS && !bed->sim.failed; round++) {
        sim_run_for(&bed->sim, stage_draw(bed, 200, 1500) * STAGE_MS);
        struct sim_node *node = stage_node(bed, stage_other(bed, 0, 0));
        uint32_t store = (uint32_t)stage_draw(bed, 0, 1);
        sim_damage_store(node, store);
        sim_run_for(&bed->sim, stage_draw(bed, 1, 4000) * STAGE_MS);
        if (stage_draw(bed, 0, 2) == 0) { /* in the middle of the repair */
            sim_node_kill(node);
            sim_run_for(&bed->sim, stage_draw(bed, 1, 500) * STAGE_MS);
            sim_node_start(node);
        }
        if (!wait_whole(bed)) return;
        if (!sim_damage_is_in_store(node, store)) continue;
        /* Nothing was flushed since. Before another node's store fails, a start finds it: two of
         * three copies that are gone are no minority. */
        sim_node_kill(node);
        sim_run_for(&bed->sim, 100 * STAGE_MS);
        sim_node_start(node);
        if (!wait_whole(bed)) return;
    }
    stage_judge(bed);
}

/* FAULTS rule 6. Goal: a disk that fails to write costs a process and nothing else.
 * Method: all runs of all engines fail for a while. Each node that flushes ends; what it had is
 * in its log and store, and nothing is given up as damaged. */
void scenario_runs_fail(struct sim_bed *bed)
{
    struct sim_plan plan;

    damage_plan(&plan);
    if (!stage_open(bed, &plan)) return;
    for (int round = 0; round < ROUNDS && !bed->sim.failed; round++) {
        sim_run_for(&bed->sim, stage_draw(bed, 200, 1500) * STAGE_MS);
        for (node_id_t id = 1; id <= 3; id++)
            sim_disk_options(stage_node(bed, id)->machine.disk)->run_fail_ppm = 1000000;
        sim_run_for(&bed->sim, stage_draw(bed, 500, 8000) * STAGE_MS);
        uint32_t ended = 0;
        for (node_id_t id = 1; id <= 3; id++) {
            ended += !sim_node_is_up(stage_node(bed, id));
            sim_disk_options(stage_node(bed, id)->machine.disk)->run_fail_ppm = 0;
        }
        if (ended == 3) sim_reached(&bed->sim, "scenario: no node could write its stores");
        if (!stage_repair(bed) || !wait_whole(bed)) return;
        for (node_id_t id = 1; id <= 3; id++)
            if (sim_disk_bytes_of(stage_node(bed, id)->machine.disk, "/quarantine/", "/removed/") >
                0)
                sim_violation(&bed->sim, "V-6: node %u gave a store up that was sound", id);
    }
    stage_judge(bed);
}

struct segment {
    struct sim_node *node;
    char name[32];
};

static uint64_t segment_size_in(const struct segment *segment, const char *format)
{
    char part[128];

    snprintf(part, sizeof(part), format, segment->name);
    return sim_disk_file_size(segment->node->machine.disk, part);
}

/* It is no part of the log any more, and what was set aside is in the quarantine. */
static bool segment_is_out(struct sim_cluster *cluster, void *segment)
{
    return segment_size_in(segment, "/log/%.31s") == 0 &&
           segment_size_in(segment, "/log/damaged-%.31s") == 0;
}

/* FAULTS F21, F22. Goal: damage of a sealed segment is found while the node runs, and healed
 * without a restart, unless the segment is freed before; a start in its middle repairs the node.
 * Method: the header or a sector of a batch of a sealed segment is damaged. */
void scenario_damaged_segment(struct sim_bed *bed)
{
    struct sim_plan plan;

    damage_plan(&plan);
    plan.cluster.flush_bytes = 64 << 20; /* nothing is flushed for its size: segments stay */
    plan.cluster.scrub_rate = 64 << 20;
    plan.cluster.scrub_every = 0;
    plan.workload.pad_max = 3000;
    if (!stage_open(bed, &plan)) return;
    for (int round = 0; round < ROUNDS && !bed->sim.failed; round++) {
        sim_run_for(&bed->sim, stage_draw(bed, 200, 1500) * STAGE_MS);
        struct segment segment = {.node = stage_node(bed, stage_other(bed, 0, 0))};
        const struct sim_process *process = segment.node->now->process;
        uint64_t offset = 0;
        uint64_t count = sim_damage_batches(segment.node, UINT64_MAX, segment.name, &offset);
        if (count == 0) continue;
        sim_damage_batches(segment.node, stage_draw(bed, 0, count - 1), segment.name, &offset);
        if (stage_draw(bed, 0, 1))
            sim_damage_sector(segment.node, segment.name, offset);
        else
            sim_damage_flip(segment.node, segment.name, offset + stage_draw(bed, 0, 95), 5);
        if (stage_draw(bed, 0, 3) == 0) { /* before it is healed, or after */
            sim_run_for(&bed->sim, stage_draw(bed, 1, 5000) * STAGE_MS);
            sim_node_kill(segment.node);
            sim_run_for(&bed->sim, stage_draw(bed, 1, 500) * STAGE_MS);
            sim_node_start(segment.node);
        } else if (sim_cluster_wait(bed->cluster, WHOLE_US, segment_is_out, &segment)) {
            if (segment_size_in(&segment, "-segment/damaged-%.31s") > 0)
                sim_reached(&bed->sim, "scenario: a damaged segment was healed while running");
            SIM_CHECK(&bed->sim, segment.node->now->process == process);
        } else if (!bed->sim.failed) {
            sim_violation(&bed->sim,
                          "V-6: damaged segment %s of node %u is still in its log after 60 s",
                          segment.name, segment.node->id);
        }
        if (!wait_whole(bed)) return;
    }
    stage_judge(bed);
}

/* One of the small files, under a node that runs. False: there is none of that name. */
static bool damage_small_file(struct sim_bed *bed, struct sim_node *node, const char *name)
{
    char path[128];

    path_of(node, name, path);
    uint64_t size = sim_disk_file_size(node->machine.disk, path);
    if (size == 0) return false;
    uint64_t how = stage_draw(bed, 0, 3), at = stage_draw(bed, 0, size - 1);
    if (strcmp(name, "log/durable") == 0 && how > 0) {
        sim_damage_flip(node, path, at % 64, 3);
        sim_damage_flip(node, path, 4096 + at % 64, 3);
    } else if (how == 0) {
        sim_damage_sector(node, path, at);
    } else if (how == 1) {
        sim_damage_truncate(node, path, at);
    } else {
        sim_damage_flip(node, path, at, (unsigned)(how + at % 4));
    }
    return true;
}

/* FAULTS F21-F23, F29. Goal: what only starts read, and is damaged on one running node after the
 * other, does not add up: a loss of power of all of them finds nothing that is damaged.
 * Method: on each node some of those files are damaged, at least one on all. A pass of the
 * scrubber later all are killed, or lose power, and start: none goes into repair. In one round of
 * four one is killed and started before that, and repairs itself. */
void scenario_damaged_while_running(struct sim_bed *bed)
{
    static const char *const names[] = {"identity",      "log/durable",   "table",     "birth",
                                        "store-0/owner", "store-1/owner", "table-copy"};
    struct sim_plan plan;

    damage_plan(&plan);
    plan.cluster.scrub_every = 0;
    plan.cluster.scrub_rate = 64 << 20;
    if (!stage_open(bed, &plan)) return;
    for (int round = 0; round < ROUNDS && !bed->sim.failed; round++) {
        sim_run_for(&bed->sim, stage_draw(bed, 1500, 3000) * STAGE_MS);
        uint64_t common = stage_draw(bed, 0, 1);
        for (node_id_t id = 1; id <= plan.cluster.nodes; id++)
            for (size_t i = 0; i < ARRAY_COUNT(names); i++)
                if (i == common || stage_draw(bed, 0, 2) == 0)
                    damage_small_file(bed, stage_node(bed, id), names[i]);
        bool early = stage_draw(bed, 0, 3) == 0;
        if (early) {
            struct sim_node *node = stage_node(bed, stage_other(bed, 0, 0));
            sim_run_for(&bed->sim, stage_draw(bed, 1, 3000) * STAGE_MS);
            sim_node_kill(node);
            sim_run_for(&bed->sim, 100 * STAGE_MS);
            sim_node_start(node);
            if (!wait_whole(bed)) return;
        }
        sim_run_for(&bed->sim, 15 * STAGE_S);
        bool power = stage_draw(bed, 0, 1);
        for (node_id_t id = 1; id <= plan.cluster.nodes; id++) {
            SIM_CHECK(&bed->sim, sim_node_is_up(stage_node(bed, id)));
            if (power)
                sim_node_power_loss(stage_node(bed, id));
            else
                sim_node_kill(stage_node(bed, id));
        }
        sim_run_for(&bed->sim, 100 * STAGE_MS);
        if (!stage_repair(bed)) return;
        for (node_id_t id = 1; id <= plan.cluster.nodes; id++)
            SIM_CHECK(&bed->sim, node_is_whole(stage_node(bed, id)->now->node));
        if (!early)
            sim_reached(&bed->sim, "scenario: all lost power after their files were healed");
    }
    stage_judge(bed);
}

/* Writes that go nowhere or astray and are reported done (F24, F25), found at the next start. */
void scenario_lying_disk(struct sim_bed *bed)
{
    static const char *const parts[] = {".seg", ".seg", ".seg", "identity", "table"};
    struct sim_plan plan;

    damage_plan(&plan);
    if (!stage_open(bed, &plan)) return;
    for (int round = 0; round < ROUNDS && !bed->sim.failed; round++) {
        struct sim_node *node = stage_node(bed, stage_other(bed, 0, 0));
        const char *part = parts[stage_draw(bed, 0, 4)];
        if (stage_draw(bed, 0, 1))
            sim_damage_lose_write(node, part);
        else
            sim_damage_misdirect_write(node, part);
        sim_run_for(&bed->sim, stage_draw(bed, 300, 1500) * STAGE_MS);
        sim_node_stop(node);
        while (!bed->sim.failed && sim_node_is_up(node))
            sim_run_for(&bed->sim, 100 * STAGE_MS);
        sim_node_start(node);
        if (!wait_whole(bed)) return;
    }
    stage_judge(bed);
}

/* G4, FAULTS rule 9. Goal: a cluster that has lost everything does not come back empty.
 * Method: all logs are damaged while all nodes are down; nobody may serve. */
void scenario_all_damaged(struct sim_bed *bed)
{
    struct sim_plan plan;

    damage_plan(&plan);
    if (!stage_open(bed, &plan)) return;
    sim_run_for(&bed->sim, 500 * STAGE_MS);
    for (node_id_t id = 1; id <= plan.cluster.nodes; id++)
        sim_node_kill(stage_node(bed, id));
    sim_run_for(&bed->sim, 100 * STAGE_MS);
    for (node_id_t id = 1; id <= plan.cluster.nodes; id++) {
        remove_named(stage_node(bed, id), "log/durable");
        sim_node_start(stage_node(bed, id));
    }
    for (int i = 0; i < 100 && !bed->sim.failed; i++) {
        sim_run_for(&bed->sim, 100 * STAGE_MS);
        for (node_id_t id = 1; id <= plan.cluster.nodes; id++)
            if (sim_node_is_ready(stage_node(bed, id)))
                sim_violation(&bed->sim, "S-5: node %u serves though all logs are gone", id);
    }
}
