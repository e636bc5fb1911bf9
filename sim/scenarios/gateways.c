/* Gateways that are dead, and what they have sent (rule B4). */
#include "base/memory.h"
#include "node/node_internal.h"
#include "sim/scenarios/stage.h"

enum {
    ROUNDS = 8, /* in about half of them the next life asks through the other worker */
    KEY = 0,
    ELECT_US = 5 * STAGE_S,
    ANSWER_US = 10 * STAGE_S,
};

static uint32_t bit(node_id_t node)
{
    return 1u << node;
}

static const struct sim_op *op_at(struct sim_bed *bed, uint32_t number)
{
    return &sim_clients_history(bed->clients)->ops[number];
}

static bool is_ready(struct sim_cluster *cluster, void *node)
{
    return sim_node_is_ready(node);
}

static bool is_connected(struct sim_cluster *cluster, void *client)
{
    return sim_client_connected(client);
}

struct answer {
    struct sim_bed *bed;
    uint32_t number;
};

static bool is_answered(struct sim_cluster *cluster, void *context)
{
    const struct answer *answer = context;

    return op_at(answer->bed, answer->number)->outcome != SIM_PENDING;
}

static bool leads_in(struct sim_bed *bed, node_id_t node, uint64_t term)
{
    const struct raft *raft = stage_raft(bed, node);

    return raft && raft_role(raft) == RAFT_LEADER && raft_term(raft) == term;
}

static bool connect_to(struct sim_bed *bed, struct sim_client *client, node_id_t node)
{
    sim_client_connect(client, node);
    return sim_cluster_wait(bed->cluster, 1 * STAGE_S, is_connected, client);
}

static uint32_t increment(struct sim_client *client)
{
    uint32_t number = sim_client_send(client, SIM_OP_INCR, KEY, 0);

    sim_client_flush(client);
    return number;
}

/* A write of `client` at `node` that is committed, the leader gone before it could say so, and the
 * request on its way to the next leader when `node` dies. Returns that leader; 0: it went another
 * way. */
static node_id_t leave_on_the_way(struct sim_bed *bed, struct sim_client *client, node_id_t leader,
                                  node_id_t node)
{
    struct sim_network *network = bed->cluster->network;
    uint32_t others = ((bit(bed->cluster->options.nodes + 1) - 1) & ~1u) & ~bit(node);

    sim_network_cut(network, leader, node, false);
    uint32_t number = increment(client);
    sim_run_for(&bed->sim, 20 * STAGE_MS);
    sim_node_kill(stage_node(bed, leader));
    sim_network_heal(network, leader, node);
    sim_run_for(&bed->sim, 10 * STAGE_MS);
    sim_node_start(stage_node(bed, leader)); /* the next one needs its vote when `node` is gone */
    node_id_t next = stage_catch(bed, others, RAFT_LEADER, ELECT_US);
    if (next == 0 || bed->sim.failed) return 0;
    sim_network_cut(network, node, next, false);
    sim_network_options(network)->capture_requests_from = node;
    sim_run_for(&bed->sim, stage_draw(bed, 100, 300) * STAGE_MS);
    sim_network_options(network)->capture_requests_from = 0;
    bool open = op_at(bed, number)->outcome == SIM_PENDING;
    sim_node_kill(stage_node(bed, node));
    sim_network_heal_all(network);
    return open ? next : 0;
}

/* The next life of the node has had a write committed: what its former life has sent is dead. */
static bool play_fenced(struct sim_bed *bed, struct sim_client *client, struct sim_client *later)
{
    node_id_t leader = stage_leader(bed);
    node_id_t node = leader ? stage_other(bed, leader, 0) : 0;

    if (node == 0 || !connect_to(bed, client, node)) return false;
    node_id_t next = leave_on_the_way(bed, client, leader, node);
    if (next == 0) return false;
    uint64_t term = raft_term(stage_raft(bed, next));
    struct sim_node *back = stage_node(bed, node);
    sim_node_start(back);
    bool ready = sim_cluster_wait(bed->cluster, 10 * STAGE_S, is_ready, back);
    if (!ready || !connect_to(bed, later, node)) return false;
    struct answer answer = {.bed = bed, .number = increment(later)};
    sim_cluster_wait(bed->cluster, ANSWER_US, is_answered, &answer);
    if (bed->sim.failed || !leads_in(bed, next, term)) return false;
    struct sim_incarnation *life = back->now;
    bool arrived = sim_network_again(bed->cluster->network, node, next);
    sim_trace_text(&bed->sim, "fenced: a frame of the former life of node %u %s", node,
                   arrived ? "is delivered" : "was not kept");
    sim_run_for(&bed->sim, 100 * STAGE_MS);
    /* It was said to the former life alone. */
    SIM_CHECK(&bed->sim, back->now == life && sim_node_is_ready(back));
    increment(later);
    sim_run_for(&bed->sim, 100 * STAGE_MS);
    return arrived;
}

/* Goal: what a gateway has sent before its node died is not done again when it arrives after the
 * node's next life has been heard of: the window that remembered it is gone (B4, X-1). The next
 * life goes on. Method: an increment is committed, and its answer lost with the leader; it is sent
 * again to the next leader, which no frame of that gateway has reached before, and stays on its way
 * (F45) until the node is back and another increment is committed. The total tells. */
void scenario_fenced_gateway(struct sim_bed *bed)
{
    struct sim_plan plan;
    bool played = false;

    stage_plan(&plan);
    plan.cluster.workers = 2;
    plan.workload.clients = 0;
    plan.workload.registers = 0;
    plan.workload.counters = 1;
    if (!stage_open(bed, &plan)) return;
    struct sim_client *client = sim_client_manual(bed->clients, 1);
    struct sim_client *later = sim_client_manual(bed->clients, 1);
    for (int round = 0; round < ROUNDS && !bed->sim.failed; round++) {
        played |= play_fenced(bed, client, later);
        sim_client_disconnect(client);
        sim_client_disconnect(later);
        if (!stage_repair(bed)) return;
        sim_run_for(&bed->sim, 500 * STAGE_MS);
    }
    if (played) sim_reached(&bed->sim, "scenario: a frame of a former life was delivered");
    stage_judge(bed);
}

/* --- an epoch that nobody has heard of --- */

/* The node that holds no replica of meta, and two that do. */
static void find_meta(struct sim_bed *bed, struct sim_node **ret_without,
                      struct sim_node *ret_with[2])
{
    const struct cluster_view *view = &stage_node(bed, 1)->now->node->workers[0].view;
    const struct view_group *meta = &view->groups[GROUP_META];

    SIM_CHECK(&bed->sim, meta->replica_count == 3 && view->node_count == 4);
    for (node_id_t id = 4; id >= 1; id--) {
        bool holds = false;
        for (uint32_t k = 0; k < meta->replica_count; k++)
            holds |= meta->replicas[k].node == id;
        if (!holds) *ret_without = stage_node(bed, id);
    }
    for (uint32_t k = 0; k < 2; k++)
        ret_with[k] = stage_node(bed, meta->replicas[k].node);
}

static bool is_up_for(struct sim_cluster *cluster, void *node)
{
    return sim_node_is_up(node);
}

/* Goal: no boot epoch is used twice, not even one that was never registered (B1, F11).
 * Method: meta has no quorum while a node of no meta starts and could serve: then it starts again
 * with the identity file of before. Nobody's table can tell; its requests would carry the numbers
 * of the former life's, and get their answers. */
void scenario_epoch_unregistered(struct sim_bed *bed)
{
    struct sim_plan plan;

    stage_plan(&plan);
    plan.cluster.nodes = 4;
    plan.cluster.partitions = 6;
    plan.cluster.patience = 2 * STAGE_S;
    plan.workload.patience = plan.cluster.patience;
    plan.workload.give_up = plan.cluster.patience + 3 * STAGE_S;
    plan.workload.registers = 0;
    plan.workload.counters = 12;
    plan.workload.write_percent = 90;
    plan.workload.think_min = 5 * STAGE_MS;
    plan.workload.think_max = 60 * STAGE_MS;
    if (!stage_open(bed, &plan)) return;
    struct sim_node *node = NULL, *of_meta[2];
    find_meta(bed, &node, of_meta);
    sim_clients_use(bed->clients, 0x1e & ~bit(node->id));
    sim_node_kill(node);
    struct bytes image = sim_disk_take_copy(node->machine.disk, "identity");
    sim_node_kill(of_meta[0]);
    sim_node_kill(of_meta[1]);
    sim_clients_use(bed->clients, bit(node->id));
    for (int life = 0; life < 2 && !bed->sim.failed; life++) {
        sim_run_for(&bed->sim, 100 * STAGE_MS);
        sim_node_start(node);
        sim_cluster_wait(bed->cluster, STAGE_S, is_up_for, node);
        sim_run_for(&bed->sim, stage_draw(bed, 3, 6) * STAGE_S);
        if (life > 0) break;
        sim_node_kill(node);
        SIM_CHECK(&bed->sim, sim_disk_put_copy(node->machine.disk, "identity", image));
    }
    memory_free((void *)(uintptr_t)image.data);
    bed->cluster->failures_expected = true; /* meta may know of the first of the two starts */
    sim_clients_use(bed->clients, 0x1e);
    for (int i = 0; i < 2 && !bed->sim.failed; i++) {
        if (!sim_node_is_up(node)) sim_node_start(node); /* as a supervisor does */
        for (uint32_t k = 0; k < 2; k++)
            if (!sim_node_is_up(of_meta[k])) sim_node_start(of_meta[k]);
        sim_run_for(&bed->sim, 3 * STAGE_S);
    }
    bed->cluster->failures_expected = false;
    stage_judge(bed);
}
