/* A replica that runs and is sound, while the table names another one in its place (FAULTS rule 8).
 * Goal: it goes only once a committed configuration has removed it, what it had is in quarantine,
 * and its successor becomes a voter. Method: a node takes a replica of its own for lost, and asks
 * meta for a new id, as after damage that was none; it may be killed on the way. */
#include "node/node_internal.h"
#include "sim/scenarios/stage.h"
#include "sim/sim_damage.h"

#include <stdio.h>

enum {
    ROUNDS = 3,
    KEPT_NODES = 5,
    KEPT_PARTITIONS = 6,
    STEP_US = 5 * STAGE_MS,
    GONE_US = 60 * STAGE_S,
    ASKED_US = 10 * STAGE_S
};

struct alarm {
    struct node *node;
    struct group_id group;
    struct replica_id replica;
};

static void raise_alarm(void *context)
{
    const struct alarm *alarm = context;
    struct node *node = alarm->node;

    node->lost = memory_resize(node->lost, (node->lost_count + 1) * sizeof(*node->lost));
    node->lost_capacity = node->lost_count + 1;
    node->lost[node->lost_count++] = (struct lost_replica){
        .group = alarm->group, .replica = alarm->replica, .since = world_now(node->world)};
    node_stores_watch(node);
}

static struct replica_id id_here(struct sim_bed *bed, const struct sim_node *node,
                                 struct group_id group)
{
    if (!sim_node_is_up(node)) return (struct replica_id){0};
    for (uint32_t worker = 0; worker < bed->cluster->options.workers; worker++) {
        struct partition_host *host = node_host(node->now->node, worker);
        struct replica_id id = host ? host_replica_id(host, group) : (struct replica_id){0};
        if (id.value != 0) return id;
    }
    return (struct replica_id){0};
}

/* By the newest configuration that anybody knows to be committed. */
static bool is_member(struct sim_bed *bed, struct group_id group, struct replica_id id)
{
    const struct raft_config *newest = NULL;

    for (node_id_t n = 1; n <= bed->cluster->options.nodes; n++) {
        struct sim_node *node = stage_node(bed, n);
        const struct raft *raft =
            sim_node_is_up(node) ? sim_inspect_raft(node->now, group.value) : NULL;
        if (raft == NULL) continue;
        const struct raft_config *config = raft_config(raft);
        bool committed = config->index <= raft_commit_index(raft);
        if (committed && (newest == NULL || config->index > newest->index)) newest = config;
    }
    for (uint32_t i = 0; newest != NULL && i < newest->incoming_count; i++)
        if (replica_id_equal(newest->incoming[i].replica, id)) return true;
    for (uint32_t i = 0; newest != NULL && i < newest->outgoing_count; i++)
        if (replica_id_equal(newest->outgoing[i].replica, id)) return true;
    return false;
}

static bool table_names_another(const struct sim_node *other, struct group_id group, node_id_t on,
                                struct replica_id old)
{
    if (!sim_node_is_up(other)) return false;
    const struct cluster_view *view = &other->now->node->workers[0].view;
    if (group.value >= view->group_count) return false;
    const struct view_group *at = &view->groups[group.value];
    for (uint32_t k = 0; k < at->replica_count; k++)
        if (at->replicas[k].node == on) return at->replicas[k].replica.value > old.value;
    return false;
}

enum watched {
    OVER,      /* the run */
    NOT_ASKED, /* the node came to lead the group meanwhile, and knows better */
    WIPED,     /* with the old one, after the table had named another */
    WENT
};

/* Before it knows that it goes, while it goes, or after. */
static void kill_once(struct sim_bed *bed, struct sim_node *node)
{
    sim_node_kill(node);
    sim_run_for(&bed->sim, stage_draw(bed, 1, 500) * STAGE_MS);
    sim_node_start(node);
}

/* Until another replica is here in its place. */
static enum watched watch_it_go(struct sim_bed *bed, struct sim_node *node, struct group_id group,
                                struct replica_id old)
{
    static const char *const lost = "FAULTS rule 8: replica %llu of group %u is gone from node %u "
                                    "though no committed configuration removed it";
    uint64_t begin = bed->sim.now, named_at = 0, act_after = stage_draw(bed, 0, 4000) * STAGE_MS;
    uint64_t act = stage_draw(bed, 0, 4); /* 0: wipe, 1, 2: kill, 3: kill as it goes */

    while (!bed->sim.failed && bed->sim.now < begin + GONE_US) {
        struct replica_id here = id_here(bed, node, group);
        bool gone = here.value != old.value && sim_node_is_ready(node);
        if (gone && is_member(bed, group, old)) {
            sim_violation(&bed->sim, lost, (unsigned long long)old.value, group.value, node->id);
            return OVER;
        }
        if (here.value > old.value) {
            sim_reached(&bed->sim, "scenario: a sound replica made room for its successor");
            if (act == 3) sim_run_for(&bed->sim, stage_draw(bed, 0, 200) * STAGE_MS);
            if (act == 3) kill_once(bed, node);
            return WENT;
        }
        if (named_at == 0 &&
            table_names_another(stage_node(bed, node->id == 1 ? 2 : 1), group, node->id, old))
            named_at = bed->sim.now;
        if (named_at == 0 && bed->sim.now >= begin + ASKED_US) return NOT_ASKED;
        bool now = named_at != 0 && bed->sim.now >= named_at + act_after;
        if (now && act == 0) { /* two repairs at once: the first successor is wished for no more */
            sim_node_kill(node);
            sim_node_wipe(node);
            sim_node_start(node);
            return WIPED;
        }
        if (now && act < 3) {
            kill_once(bed, node);
            act = 4;
        }
        sim_run_for(&bed->sim, STEP_US);
    }
    if (!bed->sim.failed)
        sim_violation(&bed->sim, "V-6: replica %llu of group %u still runs on node %u after 60 s",
                      (unsigned long long)old.value, group.value, node->id);
    return OVER;
}

/* What it had is in quarantine, once its rows are gone from the engine. */
static void check_kept(struct sim_bed *bed, struct sim_node *node, struct group_id group,
                       struct replica_id old)
{
    char path[160];

    snprintf(path, sizeof(path), "%.60s/quarantine/removed/g%u-r%llu.rows", node->options.data,
             group.value, (unsigned long long)old.value);
    if (!bed->sim.failed && sim_disk_file_size(node->machine.disk, path) == 0)
        sim_violation(&bed->sim,
                      "FAULTS rule 8: replica %llu of group %u was deleted from node %u "
                      "without quarantine",
                      (unsigned long long)old.value, group.value, node->id);
}

static void superseded_plan(struct sim_plan *plan)
{
    stage_plan(plan);
    plan->cluster.partitions = 2;
    plan->cluster.stores = 2;
    plan->cluster.flush_bytes = 4 << 10;
    plan->cluster.entries_bytes_max = 4 << 10;
    plan->workload.pad_max = 300;
    plan->workload.write_percent = 70;
}

/* The one that runs cannot go before the lost one is back, since two must be left; and the lost one
 * must come back although the other's successor cannot be born yet. */
void scenario_superseded_beside_lost(struct sim_bed *bed)
{
    struct sim_plan plan;

    superseded_plan(&plan);
    bool at_rest =
        stage_draw(bed, 0, 1) == 1; /* who is lost then has not answered for long (0009) */
    if (at_rest) plan.workload.clients = 0;
    if (!stage_open(bed, &plan)) return;
    sim_run_for(&bed->sim, stage_draw(bed, 200, 1500) * STAGE_MS * (at_rest ? 20 : 1));
    struct group_id group = {GROUP_DATA_FIRST + (uint32_t)stage_draw(bed, 0, 1)};
    node_id_t leader = sim_inspect_leader(bed->cluster, group.value);
    struct sim_node *node = stage_node(bed, stage_other(bed, leader, 0));
    struct sim_node *lost = stage_node(bed, stage_other(bed, leader, node->id));
    struct alarm alarm = {.node = node->now->node, .group = group};
    alarm.replica = id_here(bed, node, group);
    if (leader == 0 || alarm.replica.value == 0) return;
    sim_node_kill(lost);
    sim_node_wipe(lost);
    sim_world_call(sim_world_of(node->now->worlds[0]), 0, raise_alarm, &alarm);
    uint64_t until = bed->sim.now + ASKED_US;
    while (!bed->sim.failed && bed->sim.now < until &&
           !table_names_another(stage_node(bed, leader), group, node->id, alarm.replica))
        sim_run_for(&bed->sim, STEP_US);
    if (bed->sim.now < until)
        sim_reached(&bed->sim, "scenario: a replica was superseded while another was lost");
    sim_node_start(lost);
    stage_wait_whole(bed, "not all are voters again");
    stage_judge(bed);
}

static struct replica_id named_for(struct sim_bed *bed, node_id_t by, struct group_id group,
                                   node_id_t on)
{
    const struct view_group *at =
        &stage_node(bed, by)->now->node->workers[0].view.groups[group.value];

    for (uint32_t k = 0; k < at->replica_count; k++)
        if (at->replicas[k].node == on) return at->replicas[k].replica;
    return (struct replica_id){0};
}

/* A group that `meta` has no replica of: its leader, and the other two. */
static bool pick_beside(struct sim_bed *bed, node_id_t meta, struct group_id *ret_group,
                        node_id_t nodes[3])
{
    uint32_t first = (uint32_t)stage_draw(bed, 0, KEPT_PARTITIONS - 1);

    for (uint32_t i = 0; i < KEPT_PARTITIONS; i++) {
        struct group_id group = {GROUP_DATA_FIRST + (first + i) % KEPT_PARTITIONS};
        node_id_t leader = sim_inspect_leader(bed->cluster, group.value);
        uint32_t count = 1;
        nodes[0] = leader;
        if (leader == 0 || leader == meta || named_for(bed, leader, group, meta).value) continue;
        for (node_id_t id = 1; id <= KEPT_NODES && count < 3; id++)
            if (id != leader && named_for(bed, leader, group, id).value) nodes[count++] = id;
        *ret_group = group;
        if (count == 3) return true;
    }
    return false;
}

/* Its leader asks for `replica` to be kept, and has no answer yet. */
static bool asks_to_keep(struct sim_bed *bed, node_id_t leader)
{
    const struct meta_question *question = &stage_node(bed, leader)->now->node->mover.settle;

    return question->busy && buffer_bytes(&question->body).data[0] == META_KEEP;
}

static void keep_too_late(struct sim_bed *bed, node_id_t meta, struct group_id group,
                          const node_id_t nodes[3])
{
    struct sim_node *node = stage_node(bed, nodes[1]), *third = stage_node(bed, nodes[2]);
    struct alarm alarm = {.node = node->now->node, .group = group};

    alarm.replica = id_here(bed, node, group);
    if (alarm.replica.value == 0) return;
    sim_world_call(sim_world_of(node->now->worlds[0]), 0, raise_alarm, &alarm);
    sim_run_for(&bed->sim, 3 * STAGE_S);
    sim_process_pause(third->now->process);
    uint64_t until = bed->sim.now + ASKED_US;
    while (!bed->sim.failed && bed->sim.now < until &&
           !table_names_another(stage_node(bed, nodes[0]), group, node->id, alarm.replica))
        sim_run_for(&bed->sim, STEP_US);
    sim_run_for(&bed->sim, 1500 * STAGE_MS);
    sim_network_cut(bed->cluster->network, nodes[0], meta, false);
    sim_network_cut(bed->cluster->network, meta, nodes[0], false);
    while (!bed->sim.failed && bed->sim.now < until && !asks_to_keep(bed, nodes[0]))
        sim_run_for(&bed->sim, STEP_US);
    sim_process_resume(third->now->process);
    while (!bed->sim.failed && bed->sim.now < until && is_member(bed, group, alarm.replica))
        sim_run_for(&bed->sim, STEP_US);
    sim_network_heal_all(bed->cluster->network);
    if (bed->sim.now >= until) alarm.node->lost_count = 0; /* it was not asked */
    for (int i = 0; i < 2000 && !bed->sim.failed; i++) {
        bool back = replica_id_equal(named_for(bed, node->id, group, node->id), alarm.replica);
        if (back && !is_member(bed, group, alarm.replica)) {
            sim_reached(&bed->sim, "scenario: the table came back to a replica that goes");
            break;
        }
        sim_run_for(&bed->sim, STEP_US);
    }
}

/* Goal: a replica whose id the table comes back to just when it goes is not born again under it.
 * Method: a sound follower gets a successor while the other one stands still, so that there is no
 * room, and its leader asks for it to be kept. Before meta's leader hears of that, the other one
 * goes on, and the old replica is removed after all. */
void scenario_kept_too_late(struct sim_bed *bed)
{
    struct sim_plan plan;

    superseded_plan(&plan);
    plan.cluster.nodes = KEPT_NODES;
    plan.cluster.partitions = KEPT_PARTITIONS;
    if (!stage_open(bed, &plan)) return;
    sim_inspector_watch_moves(bed->inspector);
    for (int round = 0; round < ROUNDS && !bed->sim.failed; round++) {
        node_id_t meta = sim_inspect_leader(bed->cluster, GROUP_META), nodes[3];
        struct group_id group;
        sim_run_for(&bed->sim, stage_draw(bed, 200, 1500) * STAGE_MS);
        if (meta == 0 || !pick_beside(bed, meta, &group, nodes)) continue;
        keep_too_late(bed, meta, group, nodes);
        stage_wait_whole(bed, "not all are voters again");
    }
    if (!bed->sim.failed) stage_judge(bed);
}

void scenario_superseded_replica(struct sim_bed *bed)
{
    struct sim_plan plan;

    superseded_plan(&plan);
    if (!stage_open(bed, &plan)) return;
    for (int round = 0; round < ROUNDS && !bed->sim.failed; round++) {
        sim_run_for(&bed->sim, stage_draw(bed, 200, 1500) * STAGE_MS);
        uint32_t data = (uint32_t)stage_draw(bed, 0, 2);
        struct group_id group = {data == 2 ? GROUP_META : GROUP_DATA_FIRST + data};
        /* Only what a leader does without is taken for lost. */
        node_id_t leader = sim_inspect_leader(bed->cluster, group.value);
        struct sim_node *node = stage_node(bed, stage_other(bed, leader, 0));
        struct alarm alarm = {.node = node->now->node, .group = group};
        alarm.replica = id_here(bed, node, alarm.group);
        if (alarm.replica.value == 0) continue;
        sim_world_call(sim_world_of(node->now->worlds[0]), 0, raise_alarm, &alarm);
        sim_run_for(&bed->sim, 10 * STAGE_MS);
        enum watched watched = watch_it_go(bed, node, alarm.group, alarm.replica);
        if (bed->sim.failed) return;
        if (watched == NOT_ASKED) { /* it still runs, in the same process */
            alarm.node->lost_count = 0;
            continue;
        }
        stage_wait_whole(bed, "the successor is no voter");
        if (watched == WENT) check_kept(bed, node, alarm.group, alarm.replica);
    }
    stage_judge(bed);
}
