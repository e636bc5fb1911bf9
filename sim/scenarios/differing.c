/* FAULTS F23, S-1: one replica holds something else than its peers, and no checksum says so. */
#include "base/assert.h"
#include "partition/host.h"
#include "sim/scenarios/stage.h"
#include "sim/sim_damage.h"

enum { HEALED_US = 60 * 1000 * 1000, PARTITIONS = 4, STORES = 2, TRIES = 8 };

enum how { IN_MEMORY, IN_STORE, NOT_APPLIED };

struct differing {
    struct sim_bed *bed;
    struct sim_node *node;
    const struct sim_process *process;
    enum how how;
    uint32_t group;
    struct replica_id ids[4][PARTITIONS]; /* by node, group, before */
};

static struct partition_host *host_of(const struct sim_node *node, uint32_t group)
{
    if (!sim_node_is_up((struct sim_node *)(uintptr_t)node)) return NULL;
    struct sim_incarnation *incarnation = node->now;
    return node_host(incarnation->node, group_worker((struct group_id){group}, STORES,
                                                     incarnation->platform.worker_count));
}

static struct replica_id id_of(const struct sim_node *node, uint32_t group)
{
    if (!sim_node_is_up((struct sim_node *)(uintptr_t)node)) return (struct replica_id){0};
    return sim_inspect_replica_id(node->now, group);
}

static bool replicas_are_equal(struct sim_cluster *cluster, uint32_t group)
{
    uint64_t hash[4] = {0}, applied[4] = {0};

    for (node_id_t id = 1; id <= 3; id++) {
        struct partition_host *host = host_of(&cluster->nodes[id], group);
        const struct raft *raft = host ? host_raft(host, (struct group_id){group}) : NULL;
        if (raft == NULL || !host_state_hash(host, (struct group_id){group}, &hash[id]))
            return false;
        struct replica_status status;
        for (uint32_t i = 0; i < host_replica_count(host); i++) {
            host_replica_status(host, i, &status);
            if (status.group.value == group) applied[id] = status.applied;
        }
    }
    return hash[1] == hash[2] && hash[2] == hash[3] && applied[1] == applied[2] &&
           applied[2] == applied[3];
}

/* A node that says it is whole has its vote back: others may be stopped then. */
static void check_whole(const struct differing *differing, uint32_t group)
{
    struct sim_node *node = differing->node;

    if (!sim_node_is_ready(node) || !node_is_whole(node->now->node)) return;
    const struct raft *raft = host_raft(host_of(node, group), (struct group_id){group});
    const struct raft_config *config = raft != NULL ? raft_config(raft) : NULL;
    bool votes = false;
    for (uint32_t i = 0; config != NULL && i < config->incoming_count; i++)
        votes |= replica_id_equal(config->incoming[i].replica, id_of(node, group));
    if (!votes)
        sim_violation(&differing->bed->sim,
                      "V-6: node %u says it is whole, and has no vote in group %u", node->id,
                      group);
}

/* What starts read again from its log is as it was: such a node need not have been found out. */
static bool is_healed(struct sim_cluster *cluster, void *context)
{
    const struct differing *differing = context;
    uint32_t group = GROUP_DATA_FIRST + differing->group;
    bool again = id_of(differing->node, group).value >
                 differing->ids[differing->node->id][differing->group].value;

    if (again) check_whole(differing, group);
    if (differing->how == IN_STORE && !again) return false;
    for (node_id_t id = 1; id <= 3; id++)
        if (!sim_node_is_ready(&cluster->nodes[id]) || !node_is_whole(cluster->nodes[id].now->node))
            return false;
    for (uint32_t g = 0; g < PARTITIONS; g++)
        if (!replicas_are_equal(cluster, GROUP_DATA_FIRST + g)) return false;
    return sim_inspect_settled(cluster);
}

/* The engine's row counts: memory has the same, or none. */
static bool row_counts(void *context, struct bytes key)
{
    const struct differing *differing = context;
    uint32_t group = GROUP_DATA_FIRST + differing->group;
    struct partition_host *host = host_of(differing->node, group);
    struct row_found found;

    if (host == NULL) return false;
    const struct row_table *table = host_rows(host, (struct group_id){group});
    if (table == NULL) return false;
    bool here = row_table_get(table, key, &found);
    return here ? found.state == ROW_CLEAN && !found.tombstone : !row_table_hides(table, key, 1);
}

struct memory_pick {
    uint64_t count, wanted;
    bool done;
};

static bool flip_row(void *context, const struct row_found *row)
{
    struct memory_pick *pick = context;

    if (row->value.size == 0 || pick->count++ != pick->wanted) return true;
    ((uint8_t *)(uintptr_t)row->value.data)[row->value.size - 1] ^= 1;
    pick->done = true;
    return false;
}

static bool make_differ_in_memory(struct differing *differing)
{
    uint32_t group = GROUP_DATA_FIRST + differing->group;
    struct partition_host *host = host_of(differing->node, group);
    const struct row_table *table = host ? host_rows(host, (struct group_id){group}) : NULL;
    struct memory_pick pick = {.wanted = UINT64_MAX};

    if (table == NULL) return false;
    row_table_committed_each(table, bytes_make(NULL, 0), &pick, flip_row);
    if (pick.count == 0) return false;
    pick.wanted = stage_draw(differing->bed, 0, pick.count - 1);
    pick.count = 0;
    row_table_committed_each(table, bytes_make(NULL, 0), &pick, flip_row);
    sim_fault_hit(&differing->bed->sim, SIM_FAULT_BIT_ROT);
    return pick.done;
}

static bool make_differ_in_store(struct differing *differing)
{
    const struct node *node = differing->node->now->node;
    uint32_t group = GROUP_DATA_FIRST + differing->group;
    uint32_t slots = SLOT_COUNT / PARTITIONS;
    uint8_t from[2], to[2];
    struct buffer key;

    ASSERT(node != NULL);
    store_u16_be(from, (uint16_t)(differing->group * slots));
    store_u16_be(to, (uint16_t)((differing->group + 1) * slots));
    buffer_init(&key, SIZE_MAX / 2);
    bool done = sim_damage_row(differing->node, group_store((struct group_id){group}, STORES),
                               bytes_make(from, 2), bytes_make(to, 2),
                               stage_draw(differing->bed, 0, 1 << 20), differing, row_counts, &key);
    buffer_free(&key);
    return done;
}

static void quieten(struct sim_bed *bed)
{
    sim_clients_stop(bed->clients);
    for (int i = 0; i < 100 && !bed->sim.failed && sim_clients_outstanding(bed->clients) > 0; i++)
        sim_run_for(&bed->sim, 100 * STAGE_MS);
}

static bool begin(struct differing *differing, enum how how)
{
    struct sim_bed *bed = differing->bed;
    bool done = false;

    differing->how = how;
    differing->group = (uint32_t)stage_draw(bed, 0, PARTITIONS - 1);
    differing->node = stage_node(bed, stage_other(bed, 0, 0));
    if (!sim_node_is_up(differing->node)) return false;
    differing->process = differing->node->now->process;
    for (node_id_t id = 1; id <= 3; id++)
        for (uint32_t g = 0; g < PARTITIONS; g++)
            differing->ids[id][g] = id_of(stage_node(bed, id), GROUP_DATA_FIRST + g);
    if (how == IN_MEMORY) done = make_differ_in_memory(differing);
    if (how == IN_STORE) done = make_differ_in_store(differing);
    if (how == NOT_APPLIED && bed->sim.planted == NULL) {
        bed->sim.planted_node = differing->node->id;
        bed->sim.planted = "apply_drops_effects";
        sim_run_for(&bed->sim, stage_draw(bed, 20, 300) * STAGE_MS);
        bed->sim.planted = NULL;
        bed->sim.planted_node = 0;
        quieten(bed);
        done = true;
    }
    return done;
}

static void disturb(struct sim_bed *bed)
{
    struct sim_node *node = stage_node(bed, stage_other(bed, 0, 0));

    sim_run_for(&bed->sim, stage_draw(bed, 1, 4000) * STAGE_MS);
    switch (stage_draw(bed, 0, 4)) {
    case 0:
        sim_node_kill(node);
        break;
    case 1:
        sim_node_power_loss(node);
        break;
    case 2:
        stage_cut_from(bed, node->id);
        break;
    case 3:
        stage_only(bed, 0xe & ~(1u << node->id));
        break;
    default:
        return;
    }
    sim_run_for(&bed->sim, stage_draw(bed, 1, 2000) * STAGE_MS);
    sim_network_heal_all(bed->cluster->network);
    if (!sim_node_is_up(node)) sim_node_start(node);
}

/* Nobody but the one that differed was fenced. */
static void check_others(struct differing *differing)
{
    struct sim_bed *bed = differing->bed;

    for (node_id_t id = 1; id <= 3 && !bed->sim.failed; id++)
        for (uint32_t g = 0; g < PARTITIONS && id != differing->node->id; g++)
            if (!replica_id_equal(differing->ids[id][g],
                                  id_of(stage_node(bed, id), GROUP_DATA_FIRST + g)))
                sim_violation(&bed->sim, "S-1: node %u gave up group %u, which was sound", id,
                              GROUP_DATA_FIRST + g);
}

/* Goal: a replica that differs from its peers, silently, is found by them, stops, and is rebuilt;
 * nobody else is.
 * Method: the stores are scrubbed all the time. A follower applies nothing for a moment, clients
 * stop (nobody should read what is wrong before it is found); or, when they have, a bit of a row
 * flips in the memory, or in the store, of a leader or a follower. Nodes are killed, lose power,
 * are cut off. */
void scenario_differing_replica(struct sim_bed *bed)
{
    struct differing differing = {.bed = bed};
    struct sim_plan plan;
    uint32_t healed = 0;

    stage_plan(&plan);
    plan.cluster.partitions = PARTITIONS;
    plan.cluster.stores = STORES;
    plan.cluster.flush_bytes = 8 << 10;
    plan.cluster.scrub_every = 0;
    plan.cluster.scrub_rate = 64 << 20;
    plan.workload.registers = 16;
    plan.workload.orders = 2;
    plan.workload.pad_max = 300;
    plan.workload.write_percent = 80;
    if (!stage_open(bed, &plan)) return;
    sim_run_for(&bed->sim, stage_draw(bed, 500, 2500) * STAGE_MS);
    bool begun = stage_draw(bed, 0, 2) == 0 && begin(&differing, NOT_APPLIED);
    quieten(bed);
    for (int i = 0; i < TRIES && healed < 3 && !bed->sim.failed; i++) {
        if (!begun) begun = begin(&differing, stage_draw(bed, 0, 1) ? IN_STORE : IN_MEMORY);
        if (!begun) continue;
        disturb(bed);
        if (!sim_cluster_wait(bed->cluster, HEALED_US, is_healed, &differing) && !bed->sim.failed)
            sim_violation(
                &bed->sim, "V-6: group %u on node %u differs (%d) and is not rebuilt after 60 s",
                GROUP_DATA_FIRST + differing.group, differing.node->id, (int)differing.how);
        check_others(&differing);
        bool stayed =
            sim_node_is_up(differing.node) && differing.node->now->process == differing.process;
        if (stayed)
            sim_reached(&bed->sim, "scenario: a differing replica was healed while running");
        healed++;
        begun = false;
    }
    stage_judge(bed);
}
