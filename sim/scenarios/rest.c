/* Decision 0009: groups at rest, whose leaders are vouched for by beats of their nodes. */
#include "node/node_internal.h"
#include "sim/scenarios/stage.h"

enum { REST_US = 60 * STAGE_S, CALM_US = 10 * STAGE_S };
/* A deaf leader is heard of until it has missed its quorum for long enough; only then the others'
 * time begins. */
enum { MOVE_US = 1 * STAGE_S, MOVE_FROM_DEAF_US = 1500 * STAGE_MS };
enum { ROUNDS = 7, LOSSES = 3, KEY = 0, ANSWER_US = 5 * STAGE_S, NOTICE_US = 1500 * STAGE_MS };

/* Of all workers of all nodes. */
static bool all_rest(struct sim_cluster *cluster, void *context)
{
    (void)context;
    for (node_id_t id = 1; id <= cluster->options.nodes; id++) {
        struct sim_node *node = &cluster->nodes[id];
        for (uint32_t worker = 0; worker < cluster->options.workers; worker++) {
            if (!sim_node_is_up(node)) return false;
            const struct partition_host *host = node_host(node->now->node, worker);
            if (host == NULL || !host_rests(host)) return false;
        }
    }
    return true;
}

struct moved {
    uint32_t group;
    node_id_t from;
};

static bool has_moved(struct sim_cluster *cluster, void *context)
{
    const struct moved *moved = context;
    node_id_t leader = sim_inspect_leader(cluster, moved->group);

    return leader != 0 && leader != moved->from;
}

/* The leader's own opinion does not count: it may be the one that stands still. */
static bool others_elected(struct sim_cluster *cluster, void *context)
{
    const struct moved *moved = context;
    for (node_id_t id = 1; id <= cluster->options.nodes; id++) {
        struct sim_node *node = &cluster->nodes[id];
        if (id == moved->from || !sim_node_is_up(node)) continue;
        for (uint32_t worker = 0; worker < cluster->options.workers; worker++) {
            struct partition_host *host = node_host(node->now->node, worker);
            if (host != NULL && host_leads(host, (struct group_id){moved->group}) != 0) return true;
        }
    }
    return false;
}

static bool is_answered(struct sim_cluster *cluster, void *context)
{
    const struct sim_op *const *op = context;

    return (*op)->outcome != SIM_PENDING;
}

/* A write wakes the group: its leader answers as ever. */
static void write_once(struct sim_bed *bed, node_id_t node, int64_t value)
{
    struct sim_client *client = sim_client_manual(bed->clients, 1);

    sim_client_connect(client, node);
    sim_run_for(&bed->sim, 5 * STAGE_MS);
    if (!sim_client_connected(client)) return;
    uint32_t number = sim_client_send(client, SIM_OP_SET, KEY, value);
    sim_client_flush(client);
    const struct sim_op *op = &sim_clients_history(bed->clients)->ops[number];
    bool answered = sim_cluster_wait(bed->cluster, ANSWER_US, is_answered, (void *)&op);
    if (!answered && !bed->sim.failed)
        sim_violation(&bed->sim, "V-2: a write to a group at rest is not answered");
    sim_client_disconnect(client);
    sim_run_for(&bed->sim, 10 * STAGE_MS);
}

/* What happens to the node of a leader at rest. */
enum strike {
    STUCK,  /* the leader's worker stands still */
    PAUSED, /* the node, without a word */
    KILLED,
    CUT,    /* nothing comes from it or to it */
    MUTE,   /* nothing comes from it: F42 */
    DEAF,   /* nothing comes to it */
    BROKEN, /* as CUT, and all know it */
    STRIKES
};

static void strike(struct sim_bed *bed, enum strike kind, const struct moved *moved)
{
    static const enum sim_fault faults[STRIKES] = {
        [STUCK] = SIM_FAULT_STUCK,     [PAUSED] = SIM_FAULT_PAUSE, [KILLED] = SIM_FAULT_KILL,
        [CUT] = SIM_FAULT_PARTITION,   [MUTE] = SIM_FAULT_ONE_WAY, [DEAF] = SIM_FAULT_ONE_WAY,
        [BROKEN] = SIM_FAULT_PARTITION};
    struct sim_node *node = stage_node(bed, moved->from);
    uint32_t worker = group_worker((struct group_id){moved->group}, bed->cluster->options.stores,
                                   bed->cluster->options.workers);
    struct sim_network *network = bed->cluster->network;

    if (kind == STUCK)
        sim_world_stick(&node->now->process->worlds[worker], stage_draw(bed, 4, 8) * STAGE_S);
    else if (kind == PAUSED)
        sim_process_pause(node->now->process);
    else if (kind == KILLED)
        sim_node_kill(node);
    else if (kind == MUTE)
        stage_cut_from(bed, moved->from);
    else if (kind == DEAF)
        stage_cut_to(bed, moved->from);
    else
        sim_network_split(network, 1u << moved->from, false);
    for (node_id_t other = 1; kind == BROKEN && other <= bed->cluster->options.nodes; other++)
        if (other != moved->from) sim_network_reset(network, moved->from, other);
    sim_fault_hit(&bed->sim, faults[kind]);
}

static void plan_rest(struct sim_bed *bed, struct sim_plan *plan)
{
    stage_plan(plan);
    plan->workload.clients = 0;
    plan->cluster.partitions = 4;
    plan->cluster.workers = 2;
    plan->cluster.stores = (uint32_t)stage_draw(bed, 1, 2);
}

/* Waits until all rest; then nobody stands for election, and the leaders are those that the table
 * prefers. False: the run is over. */
static bool come_to_rest(struct sim_bed *bed)
{
    if (bed->sim.failed) return false;
    if (!sim_cluster_wait(bed->cluster, REST_US, all_rest, NULL)) {
        if (!bed->sim.failed) sim_violation(&bed->sim, "an idle cluster does not come to rest");
        return false;
    }
    uint64_t elections = sim_inspector_elections(bed->inspector);
    sim_run_for(&bed->sim, stage_draw(bed, 1, 10) * CALM_US / 10);
    if (sim_inspector_elections(bed->inspector) != elections && !bed->sim.failed)
        sim_violation(&bed->sim, "V-7: an election in a cluster at rest");
    const struct cluster_view *view = &stage_node(bed, 1)->now->node->workers[0].view;
    for (uint32_t group = 0; group < view->group_count && !bed->sim.failed; group++) {
        if (view->groups[group].replica_count == 0) continue;
        node_id_t leader = sim_inspect_leader(bed->cluster, group);
        if (leader != view->groups[group].replicas[0].node)
            sim_violation(&bed->sim, "M-5: group %u rests and is led by node %u, not by node %u",
                          group, leader, view->groups[group].replicas[0].node);
    }
    return !bed->sim.failed;
}

/* Terms of the groups that the node leads in other workers than this group's; 0: others. */
static void terms_beside(struct sim_bed *bed, const struct moved *moved, uint64_t *ret_terms)
{
    uint32_t stores = bed->cluster->options.stores, workers = bed->cluster->options.workers;
    uint32_t stuck = group_worker((struct group_id){moved->group}, stores, workers);
    uint32_t count = GROUP_DATA_FIRST + bed->cluster->options.partitions;

    for (uint32_t group = 0; group < count; group++) {
        uint32_t worker = group_worker((struct group_id){group}, stores, workers);
        struct partition_host *host = node_host(stage_node(bed, moved->from)->now->node, worker);
        bool beside = worker != stuck && host != NULL;
        ret_terms[group] = beside ? host_leads(host, (struct group_id){group}) : 0;
    }
}

/* Goal: groups at rest have a leader for as long as it lives and its worker runs, and a new one
 * soon after; nobody stands for election without a reason, and what a worker leads does not suffer
 * when its sibling stands still (F05, F06, F41, F42, V-1, V-7); and no lease comes of a beat (D1).
 * Method: all rest; nothing happens for a while; then the leader's worker, its whole process or the
 * links to it are gone. */
void scenario_resting_leaders(struct sim_bed *bed)
{
    enum { GROUPS_MAX = GROUP_DATA_FIRST + 4 };
    uint64_t before[GROUPS_MAX], after[GROUPS_MAX];
    struct sim_plan plan;

    plan_rest(bed, &plan);
    if (!stage_open(bed, &plan)) return;
    for (uint32_t round = 0; round < ROUNDS; round++) {
        if (!come_to_rest(bed)) return;
        uint32_t group = GROUP_DATA_FIRST + (uint32_t)stage_draw(bed, 0, 3);
        struct moved moved = {group, sim_inspect_leader(bed->cluster, group)};
        if (moved.from == 0) return;
        write_once(bed, stage_other(bed, moved.from, 0), round * 2 + 1);
        if (!come_to_rest(bed)) return;
        enum strike kind = (enum strike)(round % STRIKES);
        terms_beside(bed, &moved, before);
        strike(bed, kind, &moved);
        bool (*elected)(struct sim_cluster *, void *) = kind == KILLED ? has_moved : others_elected;
        uint64_t soon = kind == DEAF ? MOVE_FROM_DEAF_US : MOVE_US;
        if (!sim_cluster_wait(bed->cluster, soon, elected, &moved) && !bed->sim.failed)
            sim_violation(&bed->sim,
                          "V-1: group %u at rest has no leader but node %u, which is gone",
                          moved.group, moved.from);
        if (bed->sim.failed) return;
        if (kind == STUCK) terms_beside(bed, &moved, after);
        if (kind == STUCK && memcmp(before, after, sizeof(before)) != 0)
            sim_violation(&bed->sim, "F06: a stuck worker costs node %u what its sibling leads",
                          moved.from);
        sim_run_for(&bed->sim, 9 * STAGE_S); /* whoever was stuck goes on */
        if (!stage_repair(bed)) return;
        write_once(bed, stage_other(bed, moved.from, 0), round * 2 + 2);
    }
    stage_judge(bed);
}

/* --- a follower at rest ---------------------------------------------------------------------- */

struct damage {
    struct partition_host *host;
    uint32_t store;
};

static void damage_store(void *context)
{
    const struct damage *damage = context;
    struct error error;

    error_set(&error, STATUS_CORRUPT, "a scenario found it so");
    host_store_damaged(damage->host, damage->store, &error);
}

/* The leader of the group says that a member lags. */
static bool is_missed(struct sim_cluster *cluster, void *context)
{
    uint32_t group = *(const uint32_t *)context;
    node_id_t leader = sim_inspect_leading(cluster, group);
    struct replica_status status;

    if (leader == 0) return false;
    struct partition_host *host = node_host(
        cluster->nodes[leader].now->node,
        group_worker((struct group_id){group}, cluster->options.stores, cluster->options.workers));
    for (uint32_t i = 0; i < host_replica_count(host); i++) {
        host_replica_status(host, i, &status);
        if (status.group.value == group) return status.behind > 0;
    }
    return false;
}

/* The store of a group's follower is found damaged, on a node that stays. */
static bool lose_follower(struct sim_bed *bed, uint32_t group, node_id_t follower)
{
    uint32_t stores = bed->cluster->options.stores, workers = bed->cluster->options.workers;
    uint32_t worker = group_worker((struct group_id){group}, stores, workers);
    struct sim_node *node = stage_node(bed, follower);
    struct damage damage = {.host = node_host(node->now->node, worker),
                            .store = group_store((struct group_id){group}, stores)};

    sim_world_call(sim_world_of(node->now->worlds[worker]), 0, damage_store, &damage);
    if (!sim_cluster_wait(bed->cluster, NOTICE_US, is_missed, &group) && !bed->sim.failed)
        sim_violation(&bed->sim, "group %u rests on, and its replica on node %u is lost", group,
                      follower);
    sim_fault_hit(&bed->sim, SIM_FAULT_BIT_ROT);
    return !bed->sim.failed;
}

/* Less than the reserve is left on the leader's disk: its leaderships go. */
static bool fill_leader(struct sim_bed *bed, uint32_t group, node_id_t leader)
{
    struct sim_disk *disk = stage_node(bed, leader)->machine.disk;
    uint64_t capacity = sim_disk_options(disk)->capacity;
    struct moved moved = {group, leader};

    sim_disk_options(disk)->capacity = sim_disk_used(disk) + SIM_DISK_RESERVE / 2;
    sim_fault_hit(&bed->sim, SIM_FAULT_DISK_FULL);
    if (!sim_cluster_wait(bed->cluster, 15 * STAGE_S, has_moved, &moved) && !bed->sim.failed)
        sim_violation(&bed->sim, "F27: node %u rests with a full disk and leads group %u", leader,
                      group);
    sim_disk_options(disk)->capacity = capacity;
    return !bed->sim.failed;
}

/* Goal: who can follow no more while groups rest is missed at once, and rebuilt (F23, V-6); a full
 * disk at rest hands over as one that is busy (F27); leaderships come back (M-5).
 * Method: all rest; a follower's store is damaged, beside a node that restarts now and then, or the
 * leader's disk runs full. */
void scenario_resting_followers(struct sim_bed *bed)
{
    struct sim_plan plan;

    plan_rest(bed, &plan);
    if (!stage_open(bed, &plan)) return;
    for (uint32_t round = 0; round < LOSSES; round++) {
        if (!come_to_rest(bed)) return;
        uint32_t group = GROUP_DATA_FIRST + (uint32_t)stage_draw(bed, 0, 3);
        node_id_t leader = sim_inspect_leader(bed->cluster, group);
        if (leader == 0) return;
        if (round % 2 == 1) {
            if (!fill_leader(bed, group, leader)) return;
            continue;
        }
        node_id_t follower = stage_other(bed, leader, 0);
        if (!lose_follower(bed, group, follower)) return;
        if (stage_draw(bed, 0, 1) == 1) {
            sim_node_kill(stage_node(bed, leader));
            sim_fault_hit(&bed->sim, SIM_FAULT_KILL);
            sim_run_for(&bed->sim, stage_draw(bed, 1, 3000) * STAGE_MS);
            if (!stage_repair(bed)) return;
        }
        if (!stage_wait_whole(bed, "a replica lost at rest is not rebuilt")) return;
        write_once(bed, follower, round + 1);
    }
    stage_judge(bed);
}
