/* A rolling upgrade: nodes speak as the version before, and are exchanged one by one, and back,
 * while they and others fail (F13, WHY 13.1). */
#include "sim/scenarios/moves.h"

enum {
    NODES = 4,
    OLD = 1,         /* cluster version: as 0.1.0 founds it */
    ROUNDS_MAX = 12, /* in which a node may go back; then forward only */
    LOOK_US = 20 * STAGE_MS,
    FINALIZED_US = 60 * STAGE_S,
};

static bool speaks_old(const struct sim_node *node)
{
    return sim_node_is_up(node) && node->now->node->options.meta.supports == OLD;
}

/* A node that runs the version before is never told of what it does not understand. */
static void check_gate(struct sim_bed *bed)
{
    node_id_t old = 0, told = 0;

    for (node_id_t id = 1; id <= NODES; id++) {
        const struct sim_node *node = stage_node(bed, id);
        if (speaks_old(node)) old = id;
        if (sim_node_is_up(node) && node->now->node->workers[0].view.cluster_version > OLD)
            told = id;
    }
    if (old != 0 && told != 0 && !bed->sim.failed)
        sim_violation(
            &bed->sim,
            "F13: the table of node %u is of the later version while node %u runs the one "
            "before",
            told, old);
}

static void run_checked(struct sim_bed *bed, uint64_t us)
{
    uint64_t end = bed->sim.now + us;

    while (!bed->sim.failed && bed->sim.now < end) {
        sim_run_for(&bed->sim, LOOK_US);
        check_gate(bed);
    }
}

/* Too early: nobody may take it, whichever node is asked. */
static void operate_early(struct moves *moves)
{
    static const char *const verbs[] = {"/upgrade/finalize", "drain"};
    struct sim_bed *bed = moves->bed;
    node_id_t asked = stage_other(bed, 0, 0);
    const char *verb = verbs[stage_draw(bed, 0, 1)];

    if (!sim_node_is_ready(stage_node(bed, asked))) return;
    unsigned code = moves_ask(moves, asked, stage_other(bed, 0, 0), verb);
    check_gate(bed);
    if (code == 200 && !bed->sim.failed)
        sim_violation(&bed->sim, "F13: node %u took %s while a node runs the version before", asked,
                      verb);
    if (code == 409)
        sim_reached(&bed->sim, "scenario: what comes with an upgrade was refused before");
}

static void strike_any(struct moves *moves)
{
    struct sim_bed *bed = moves->bed;
    struct sim_node *node = stage_node(bed, stage_other(bed, 0, 0));

    if (!sim_node_is_up(node)) return;
    switch (stage_draw(bed, 0, 3)) {
    case 0:
        sim_node_kill(node);
        break;
    case 1:
        sim_node_power_loss(node);
        break;
    case 2:
        sim_network_split(bed->cluster->network, 1u << node->id, stage_draw(bed, 0, 1) != 0);
        break;
    default:
        break;
    }
    run_checked(bed, stage_draw(bed, 50, 2000) * STAGE_MS);
}

/* The same directory, another program. */
static void exchange(struct moves *moves, node_id_t id, uint32_t supports)
{
    struct sim_bed *bed = moves->bed;
    struct sim_node *node = stage_node(bed, id);

    if (sim_node_is_up(node) && stage_draw(bed, 0, 1)) {
        sim_clients_excuse(bed->clients, id, UINT64_MAX);
        sim_node_stop(node);
        run_checked(bed, 6 * STAGE_S);
    }
    if (sim_node_is_up(node)) sim_node_kill(node);
    run_checked(bed, stage_draw(bed, 0, 1500) * STAGE_MS);
    node->options.meta.supports = supports;
    if (!bed->sim.failed && !sim_node_is_up(node)) sim_node_start(node);
    run_checked(bed, stage_draw(bed, 0, 1500) * STAGE_MS);
}

static node_id_t draw_node(struct sim_bed *bed, uint32_t supports)
{
    node_id_t first = stage_other(bed, 0, 0);

    for (uint32_t i = 0; i < NODES; i++) {
        node_id_t id = (first + i) % NODES + 1;
        if (stage_node(bed, id)->options.meta.supports == supports) return id;
    }
    return 0;
}

/* True: all nodes run the later version. */
static bool upgrade_all(struct moves *moves)
{
    struct sim_bed *bed = moves->bed;

    for (int round = 0; !bed->sim.failed; round++) {
        node_id_t old = draw_node(bed, OLD), new = draw_node(bed, VIEW_VERSION);
        if (old == 0) return true;
        operate_early(moves);
        if (!bed->sim.failed && stage_draw(bed, 0, 1)) strike_any(moves);
        if (bed->sim.failed || !moves_repair(moves)) return false;
        bool back = round < ROUNDS_MAX && new != 0 && stage_draw(bed, 0, 3) == 0;
        exchange(moves, back ? new : old, back ? OLD : VIEW_VERSION);
        if (back) sim_reached(&bed->sim, "scenario: a node went back to the version before");
    }
    return false;
}

static bool is_finalized(struct sim_cluster *cluster, void *context)
{
    for (node_id_t id = 1; id <= NODES; id++) {
        const struct sim_node *node = stage_node(context, id);
        if (!sim_node_is_ready(node)) return false;
        if (node->now->node->workers[0].view.cluster_version != VIEW_VERSION) return false;
    }
    return true;
}

/* Refused until all have links to who is asked. */
static bool finalize(struct moves *moves)
{
    struct sim_bed *bed = moves->bed;
    uint64_t until = bed->sim.now + FINALIZED_US;

    while (!bed->sim.failed && bed->sim.now < until) {
        node_id_t asked = stage_other(bed, 0, 0);
        bool ready = sim_node_is_ready(stage_node(bed, asked));
        if (ready && moves_ask(moves, asked, asked, "/upgrade/finalize") == 200) break;
        sim_run_for(&bed->sim, 100 * STAGE_MS);
    }
    if (sim_cluster_wait(bed->cluster, FINALIZED_US, is_finalized, bed)) return !bed->sim.failed;
    if (!bed->sim.failed) sim_violation(&bed->sim, "V-6: the upgrade is not over after a minute");
    return false;
}

/* Goal: until every node runs the later version and an operator says that the upgrade is over,
 * nothing is written or asked for that the version before does not understand; after it all of that
 * works. Method: nodes speak as 0.1.0 as far as the cluster version goes - they found with version
 * 1, do not say what they support, and know no later table or request - and are stopped or killed,
 * exchanged and taken back in any order while operators ask too early. */
void scenario_upgraded_nodes(struct sim_bed *bed)
{
    struct moves moves = {.bed = bed};
    struct sim_plan plan;

    moves_plan(&plan, NODES, 3);
    plan.cluster.supports = OLD;
    if (!moves_open(&moves, &plan)) return;
    if (!upgrade_all(&moves) || !moves_repair(&moves) || !finalize(&moves)) return;
    moves.target = stage_other(bed, 0, 0);
    if (!moves_operate(&moves, moves.target, "drain")) return;
    moves.drained |= 1u << moves.target;
    if (moves_wait_empty(&moves) && moves_wait_even(&moves)) moves_judge(&moves);
}
