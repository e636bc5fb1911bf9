/* Nodes are drained, taken back, removed and lost while others fail: DESIGN 7, WHY 6.3, 6.5. */
#include "sim/scenarios/moves.h"

#include "cluster/meta_internal.h"

enum {
    NODES = 5,
    NODES_OF_TWO = 4,
    NODES_CUT = 6, /* the meta group is on five */
    ROUNDS = 3,
    DRAINED_MAX = 2,
    CUT_US = 2 * MOVES_REPAIR_AFTER_US,
    STALE_PATIENCE_US = 120 * STAGE_S,
};

/* --- what happens meanwhile --------------------------------------------------------------- */

static void lose_all_power(struct moves *moves)
{
    struct sim_bed *bed = moves->bed;

    sim_fault_hit(&bed->sim, SIM_FAULT_POWER_LOSS_ALL);
    for (node_id_t id = 1; id <= bed->cluster->options.nodes; id++)
        if (sim_node_is_up(stage_node(bed, id))) sim_node_power_loss(stage_node(bed, id));
}

static void strike(struct moves *moves)
{
    struct sim_bed *bed = moves->bed;
    node_id_t leader = sim_inspect_leading(bed->cluster, GROUP_META);
    node_id_t victim = stage_draw(bed, 0, 2) == 0 ? leader : stage_other(bed, 0, 0);
    struct sim_node *node = stage_node(bed, victim != 0 ? victim : 1);

    sim_run_for(&bed->sim, stage_draw(bed, 0, 2500) * STAGE_MS);
    if (bed->sim.failed || !sim_node_is_up(node)) return;
    switch (stage_draw(bed, 0, 4)) {
    case 0:
        return;
    case 1:
        sim_node_kill(node);
        break;
    case 2:
        sim_process_pause(node->now->process);
        sim_fault_hit(&bed->sim, SIM_FAULT_PAUSE);
        break;
    case 3:
        lose_all_power(moves);
        break;
    default:
        sim_network_split(bed->cluster->network, 1u << node->id, stage_draw(bed, 0, 1) != 0);
        break;
    }
    sim_run_for(&bed->sim, stage_draw(bed, 100, 6000) * STAGE_MS);
    moves_repair(moves);
}

static node_id_t draw_member(struct moves *moves)
{
    node_id_t node;

    do
        node = stage_other(moves->bed, 0, 0);
    while ((moves->drained | moves->removed | moves->away) >> node & 1);
    return node;
}

static bool drain(struct moves *moves)
{
    moves->target = draw_member(moves);
    if (!moves_operate(moves, moves->target, "drain")) return false;
    moves->drained |= 1u << moves->target;
    strike(moves);
    if (moves->bed->sim.failed || !moves_wait_empty(moves)) return false;
    sim_reached(&moves->bed->sim, "scenario: a drained node became empty");
    return true;
}

static void take_back(struct moves *moves, int left_max)
{
    for (node_id_t id = 1; id <= NODES && !moves->bed->sim.failed; id++) {
        if (!(moves->drained >> id & 1)) continue;
        if (__builtin_popcount(moves->drained) <= left_max) return;
        if (moves_operate(moves, id, "undrain")) moves->drained &= ~(1u << id);
    }
}

/* --- scenarios ---------------------------------------------------------------------------- */

/* Goal: a drained node becomes empty, whatever fails meanwhile, and nothing that clients were told
 * is lost; taken back, all nodes hold as much as each other again. Method: one node after the other
 * is drained, up to two at a time, while meta's leader or another node is killed, stopped or cut
 * off, or all lose power. */
void scenario_drained_nodes(struct sim_bed *bed)
{
    struct moves moves = {.bed = bed};
    struct sim_plan plan;

    moves_plan(&plan, NODES, 3);
    if (!moves_open(&moves, &plan)) return;
    for (int round = 0; round < ROUNDS && !bed->sim.failed; round++) {
        if (!drain(&moves)) return;
        take_back(&moves, (int)stage_draw(bed, 0, DRAINED_MAX - 1));
    }
    take_back(&moves, 0);
    if (!bed->sim.failed && moves_wait_even(&moves)) moves_judge(&moves);
}

/* Goal: with two replicas, which need each other, a move ends even if it is taken back while it is
 * on its way. Method: drain and undrain follow each other within a second; then a whole drain. */
void scenario_drained_of_two(struct sim_bed *bed)
{
    struct moves moves = {.bed = bed};
    struct sim_plan plan;

    moves_plan(&plan, (uint32_t)stage_draw(bed, 2, NODES_OF_TWO), 2);
    if (!moves_open(&moves, &plan)) return;
    for (int round = 0; round < 2 * ROUNDS && !bed->sim.failed; round++) {
        node_id_t node = stage_other(bed, 0, 0);
        if (!moves_operate(&moves, node, "drain")) return;
        sim_run_for(&bed->sim, stage_draw(bed, 0, 1000) * STAGE_MS);
        if (!moves_operate(&moves, node, "undrain")) return;
        sim_run_for(&bed->sim, stage_draw(bed, 0, 1000) * STAGE_MS);
    }
    if (!drain(&moves)) return;
    take_back(&moves, 0);
    if (!bed->sim.failed && moves_wait_even(&moves)) moves_judge(&moves);
}

/* Drained and removed: by who waits until it is empty, or asks until it is not refused. */
static bool drain_and_remove(struct moves *moves)
{
    struct sim_bed *bed = moves->bed;

    if (stage_draw(bed, 0, 1)) {
        moves->target = draw_member(moves);
        if (!moves_operate(moves, moves->target, "drain")) return false;
        moves->drained |= 1u << moves->target;
        return moves_remove_early(moves, moves->target);
    }
    if (!drain(moves)) return false;
    node_id_t asked = draw_member(moves);
    if (moves_ask(moves, asked, draw_member(moves), "remove") == 200)
        sim_violation(&bed->sim, "F14: a node that is in use was removed");
    return !bed->sim.failed && moves_remove(moves, moves->target);
}

/* Goal: a removed node is forgotten by all others and by itself, whichever id it had, over
 * restarts; and it is not removed while a group has a member there. Method: two of five are drained
 * and removed; after each, all lose power. */
void scenario_removed_nodes(struct sim_bed *bed)
{
    struct moves moves = {.bed = bed};
    struct sim_plan plan;

    moves_plan(&plan, NODES, 3);
    if (!moves_open(&moves, &plan)) return;
    for (int round = 0; round < DRAINED_MAX && !bed->sim.failed; round++) {
        if (!drain_and_remove(&moves)) return;
        lose_all_power(&moves);
        sim_run_for(&bed->sim, stage_draw(bed, 50, 2000) * STAGE_MS);
        if (!moves_repair(&moves) || !moves_wait_even(&moves)) return;
    }
    sim_reached(&bed->sim, "scenario: those that were left went on without the removed ones");
    moves_judge(&moves);
}

/* Goal: what a dead node held is built elsewhere, not before repair-after and with nobody's help;
 * back from the dead, it gets its share again, and its old replicas harm nobody. */
void scenario_lost_node(struct sim_bed *bed)
{
    struct moves moves = {.bed = bed};
    struct sim_plan plan;

    moves_plan(&plan, NODES, 3);
    if (!moves_open(&moves, &plan)) return;
    moves.target = stage_other(bed, 0, 0);
    moves.away = 1u << moves.target;
    uint64_t ids = moves_newest_view(bed)->next_replica_id;
    sim_node_kill(stage_node(bed, moves.target));
    sim_run_for(&bed->sim, MOVES_REPAIR_AFTER_US - 2 * STAGE_S);
    const struct cluster_view *view = moves_newest_view(bed);
    if (view == NULL || view->next_replica_id != ids)
        sim_violation(&bed->sim, "a node that was silent for a while was taken for lost");
    if (bed->sim.failed || !moves_wait_even(&moves)) return;
    sim_reached(&bed->sim, "scenario: what a dead node held was built elsewhere");
    if (stage_draw(bed, 0, 1)) {
        moves.away = 0;
        if (!moves_repair(&moves) || !moves_wait_even(&moves)) return;
    } else {
        if (!moves_operate(&moves, moves.target, "drain")) return;
        if (!moves_wait_empty(&moves) || !moves_remove(&moves, moves.target)) return;
        lose_all_power(&moves);
        sim_run_for(&bed->sim, 100 * STAGE_MS);
        if (!moves_repair(&moves) || !moves_wait_even(&moves)) return;
    }
    moves_judge(&moves);
}

/* Goal: the table gets to leaders that meta's leader does not hear, and what they did to it (F43).
 * Method: the link between it and another node is cut, that or a third node is drained, and the
 * link stays cut for longer than repair-after. */
void scenario_one_link_cut(struct sim_bed *bed)
{
    struct moves moves = {.bed = bed};
    struct sim_plan plan;

    moves_plan(&plan, NODES_CUT, 3);
    plan.workload.think_min = 50 * STAGE_MS;
    plan.workload.think_max = 300 * STAGE_MS;
    if (!moves_open(&moves, &plan)) return;
    node_id_t leader = sim_inspect_leading(bed->cluster, GROUP_META);
    if (leader == 0) leader = 1;
    node_id_t other = stage_other(bed, leader, 0);
    bool hold = stage_draw(bed, 0, 1) != 0;
    sim_network_cut(bed->cluster->network, leader, other, hold);
    sim_network_cut(bed->cluster->network, other, leader, hold);
    sim_fault_hit(&bed->sim, SIM_FAULT_ONE_WAY);
    uint64_t cut_at = bed->sim.now;

    sim_run_for(&bed->sim, stage_draw(bed, 0, 5000) * STAGE_MS);
    moves.target = stage_other(bed, leader, stage_draw(bed, 0, 3) ? other : 0);
    if (!moves_operate(&moves, moves.target, "drain")) return;
    moves.drained = 1u << moves.target;
    if (!moves_wait_empty(&moves)) return;
    sim_reached(&bed->sim, "scenario: a node became empty while a link was cut");
    if (bed->sim.now < cut_at + CUT_US) sim_run_for(&bed->sim, cut_at + CUT_US - bed->sim.now);
    if (!moves_repair(&moves)) return;
    take_back(&moves, 0);
    if (!bed->sim.failed && moves_wait_even(&moves)) moves_judge(&moves);
}

/* --- a wish of an older table --------------------------------------------------------------- */

static bool asks_for_a_move(struct sim_bed *bed, node_id_t id)
{
    struct sim_node *node = stage_node(bed, id);

    return sim_node_is_up(node) && node->now->node->mover.move.busy;
}

static bool leads_meanwhile(struct sim_cluster *cluster, void *context)
{
    node_id_t leader = sim_inspect_leader(cluster, GROUP_META);

    return leader != 0 && leader != *(const node_id_t *)context;
}

/* What `first` asks for, or asked for last. */
static struct meta_question *question_of(struct sim_bed *bed, node_id_t first)
{
    return &stage_node(bed, first)->now->node->mover.move;
}

static bool is_of_an_older_table(struct sim_bed *bed, const struct meta_question *question)
{
    const struct cluster_view *view = moves_newest_view(bed);
    struct meta_request request;

    if (view == NULL || !meta_request_decode(buffer_bytes(&question->body), &request)) return false;
    const struct view_group *group = &view->groups[request.group.value];
    bool same = group->replica_count == request.replica_count;
    for (uint32_t i = 0; same && i < group->replica_count; i++)
        same = replica_id_equal(group->replicas[i].replica, request.replicas[i].replica);
    return !same;
}

static bool is_drained_in_part(struct sim_cluster *cluster, void *context)
{
    struct moves *moves = context;
    const struct cluster_view *view = moves_newest_view(moves->bed);

    return view != NULL && moves_load(view, moves->target, true) < view->partition_count / 2;
}

/* Goal: a wish that was made of an older table changes nothing. Method: meta's leader is cut off
 * while it asks for a move. Meanwhile another one moves that group, and all is taken back; when the
 * first one is heard again its question comes to the new leader. */
void scenario_stale_mover(struct sim_bed *bed)
{
    struct moves moves = {.bed = bed};
    struct sim_plan plan;

    moves_plan(&plan, NODES, 3);
    plan.cluster.patience = plan.workload.patience = STALE_PATIENCE_US;
    plan.workload.give_up = STALE_PATIENCE_US + 3 * STAGE_S;
    plan.cluster.repair_after = 10 * STALE_PATIENCE_US; /* it is not given up meanwhile */
    if (!moves_open(&moves, &plan)) return;
    node_id_t first = sim_inspect_leading(bed->cluster, GROUP_META);
    if (first == 0) return;
    moves.target = stage_other(bed, first, 0);
    moves.drained = 1u << moves.target;
    moves_send(&moves, first, moves.target, "drain");
    for (int i = 0; i < 50 * 1000 && !bed->sim.failed && !asks_for_a_move(bed, first); i++)
        sim_run_for(&bed->sim, 20);
    if (!asks_for_a_move(bed, first)) return;
    /* Nobody has got it, or it would be no wish of an older table. */
    stage_only(bed, (((1u << NODES) - 1) << 1) & ~(1u << first));
    sim_fault_hit(&bed->sim, SIM_FAULT_PARTITION);
    if (!sim_cluster_wait(bed->cluster, 20 * STAGE_S, leads_meanwhile, &first)) return;
    sim_cluster_wait(bed->cluster, 10 * STAGE_S, is_drained_in_part, &moves);
    if (bed->sim.failed || !moves_operate(&moves, moves.target, "undrain")) return;
    moves.drained = 0;
    sim_run_for(&bed->sim, stage_draw(bed, 0, 5000) * STAGE_MS);
    bool stale = asks_for_a_move(bed, first) && is_of_an_older_table(bed, question_of(bed, first));
    if (bed->sim.failed || !moves_repair(&moves)) return;
    for (int i = 0; i < 200 && !bed->sim.failed && asks_for_a_move(bed, first); i++)
        sim_run_for(&bed->sim, 100 * STAGE_MS);
    if (stale && !asks_for_a_move(bed, first)) {
        sim_reached(&bed->sim, "scenario: a wish of an older table came to meta");
        if (question_of(bed, first)->reply.result == META_DONE)
            sim_violation(&bed->sim, "WHY 6.3: a wish that was made of an older table was taken");
    }
    if (!bed->sim.failed && moves_wait_even(&moves)) moves_judge(&moves);
}
