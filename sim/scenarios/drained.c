/* Nodes are drained and taken back while others fail: DESIGN 7, WHY 6.3. */
#include <stdio.h>

#include "node/node_internal.h"
#include "sim/scenarios/stage.h"

enum {
    NODES = 5,
    PARTITIONS = 8,
    ROUNDS = 3,
    DRAINED_MAX = 2,
    ASK_US = 60 * STAGE_S,
    EMPTY_US = 120 * STAGE_S,
};

struct drains {
    struct sim_bed *bed;
    uint32_t drained; /* bits by node id */
    /* The question under way: */
    uint64_t ticket;
    unsigned code; /* 0: no answer yet */
    node_id_t target;
};

static void plan_drains(struct sim_plan *plan)
{
    stage_plan(plan);
    plan->cluster.nodes = NODES;
    plan->cluster.replicas = 3;
    plan->cluster.partitions = PARTITIONS;
    plan->workload.counters = 4;
    plan->workload.write_percent = 60;
    plan->workload.think_min = 5 * STAGE_MS;
    plan->workload.think_max = 60 * STAGE_MS;
}

/* --- operators ---------------------------------------------------------------------------- */

static void answered(void *context, uint64_t ticket, unsigned code, struct bytes json)
{
    struct drains *drains = context;

    if (ticket == drains->ticket) drains->code = code;
}

static bool has_answer(struct sim_cluster *cluster, void *context)
{
    return ((struct drains *)context)->code != 0;
}

/* Until somebody says that it is done: the answer of one who is killed never comes. */
static bool operate(struct drains *drains, node_id_t target, const char *verb)
{
    struct sim_bed *bed = drains->bed;
    uint64_t until = bed->sim.now + ASK_US;
    char path[64];

    snprintf(path, sizeof(path), "/nodes/n%u/%s", target, verb);
    while (!bed->sim.failed && bed->sim.now < until) {
        struct sim_node *asked = stage_node(bed, stage_other(bed, 0, 0));
        struct operation_reply reply = {
            .context = drains, .ticket = ++drains->ticket, .answer = answered};
        drains->code = 0;
        if (!sim_node_is_ready(asked)) {
            sim_run_for(&bed->sim, 50 * STAGE_MS);
            continue;
        }
        node_operate(asked->now->node, bytes_of(path), bytes_make(NULL, 0), &reply);
        sim_cluster_wait(bed->cluster, 15 * STAGE_S, has_answer, drains);
        if (drains->code == 200) return true;
        if (drains->code == 409) sim_violation(&bed->sim, "%s was refused", path);
        sim_run_for(&bed->sim, 100 * STAGE_MS);
    }
    if (!bed->sim.failed) sim_violation(&bed->sim, "V-6: nobody took %s within a minute", path);
    return false;
}

/* --- what is where ------------------------------------------------------------------------ */

static const struct cluster_view *newest_view(struct sim_bed *bed)
{
    const struct cluster_view *newest = NULL;

    for (node_id_t id = 1; id <= NODES; id++) {
        struct sim_node *node = stage_node(bed, id);
        if (!sim_node_is_ready(node)) continue;
        const struct cluster_view *view = &node->now->node->workers[0].view;
        if (newest == NULL || view->table_epoch > newest->table_epoch) newest = view;
    }
    return newest;
}

static uint32_t load_of(const struct cluster_view *view, node_id_t node, bool data_only)
{
    uint32_t load = 0;

    for (uint32_t g = data_only ? GROUP_DATA_FIRST : 0; g < view->group_count; g++)
        for (uint32_t k = 0; k < view->groups[g].replica_count; k++)
            load += view->groups[g].replicas[k].node == node;
    return load;
}

static bool nothing_moves(const struct cluster_view *view)
{
    for (uint32_t g = 0; g < view->group_count; g++)
        if (view->groups[g].moving) return false;
    return true;
}

static bool runs_replicas(struct sim_bed *bed, node_id_t id)
{
    struct sim_node *node = stage_node(bed, id);
    struct partition_host *host = sim_node_is_up(node) ? node_host(node->now->node, 0) : NULL;

    for (uint32_t g = 0; host != NULL && g < GROUP_DATA_FIRST + PARTITIONS; g++)
        if (host_raft(host, (struct group_id){g}) != NULL) return true;
    return false;
}

static bool is_empty(struct sim_cluster *cluster, void *context)
{
    struct drains *drains = context;
    const struct cluster_view *view = newest_view(drains->bed);

    return view != NULL && load_of(view, drains->target, false) == 0 && nothing_moves(view) &&
           !runs_replicas(drains->bed, drains->target);
}

static bool is_even(struct sim_cluster *cluster, void *context)
{
    const struct cluster_view *view = newest_view(((struct drains *)context)->bed);
    uint32_t least = UINT32_MAX, most = 0;

    for (node_id_t id = 1; view != NULL && id <= NODES; id++) {
        uint32_t load = load_of(view, id, true);
        least = load < least ? load : least;
        most = load > most ? load : most;
    }
    return view != NULL && nothing_moves(view) && most - least <= 1 &&
           view->groups[GROUP_META].replica_count == NODES;
}

/* --- what happens meanwhile --------------------------------------------------------------- */

static node_id_t meta_leader(struct sim_bed *bed)
{
    return sim_inspect_leading(bed->cluster, GROUP_META);
}

static void strike(struct drains *drains)
{
    struct sim_bed *bed = drains->bed;
    node_id_t victim = stage_draw(bed, 0, 2) == 0 ? meta_leader(bed) : stage_other(bed, 0, 0);
    struct sim_node *node = stage_node(bed, victim != 0 ? victim : 1);

    sim_run_for(&bed->sim, stage_draw(bed, 0, 2500) * STAGE_MS);
    if (bed->sim.failed || !sim_node_is_up(node)) return;
    switch (stage_draw(bed, 0, 3)) {
    case 0:
        return;
    case 1:
        sim_node_kill(node);
        break;
    case 2:
        sim_process_pause(node->now->process);
        sim_fault_hit(&bed->sim, SIM_FAULT_PAUSE);
        break;
    default:
        sim_network_split(bed->cluster->network, 1u << node->id, stage_draw(bed, 0, 1) != 0);
        break;
    }
    sim_run_for(&bed->sim, stage_draw(bed, 100, 6000) * STAGE_MS);
    stage_repair(bed);
}

static void drain(struct drains *drains)
{
    struct sim_bed *bed = drains->bed;

    do {
        drains->target = stage_other(bed, 0, 0);
    } while (drains->drained >> drains->target & 1);
    if (!operate(drains, drains->target, "drain")) return;
    drains->drained |= 1u << drains->target;
    strike(drains);
    if (bed->sim.failed) return;
    if (!sim_cluster_wait(bed->cluster, EMPTY_US, is_empty, drains) && !bed->sim.failed)
        sim_violation(&bed->sim, "V-6: node %u was drained two minutes ago and is not empty",
                      drains->target);
    sim_reached(&bed->sim, "scenario: a drained node became empty");
}

static void take_back(struct drains *drains, uint32_t left_max)
{
    for (node_id_t id = 1; id <= NODES && !drains->bed->sim.failed; id++) {
        if (!(drains->drained >> id & 1)) continue;
        if (__builtin_popcount(drains->drained) <= (int)left_max) return;
        if (operate(drains, id, "undrain")) drains->drained &= ~(1u << id);
    }
}

/* Goal: a drained node becomes empty, whatever fails meanwhile, and nothing that clients were told
 * is lost; taken back, all nodes hold as much as each other again. Method: one node after the other
 * is drained, up to two at a time, while meta's leader or another node is killed, stopped or cut
 * off. */
void scenario_drained_nodes(struct sim_bed *bed)
{
    struct drains drains = {.bed = bed};
    struct sim_plan plan;

    plan_drains(&plan);
    if (!stage_open(bed, &plan)) return;
    for (int round = 0; round < ROUNDS && !bed->sim.failed; round++) {
        drain(&drains);
        take_back(&drains, (uint32_t)stage_draw(bed, 0, DRAINED_MAX - 1));
    }
    take_back(&drains, 0);
    if (bed->sim.failed) return;
    if (!sim_cluster_wait(bed->cluster, EMPTY_US, is_even, &drains) && !bed->sim.failed)
        sim_violation(&bed->sim, "V-6: two minutes after all were taken back the load is not even");
    stage_judge(bed);
}
