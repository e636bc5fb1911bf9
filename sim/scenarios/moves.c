#include "sim/scenarios/moves.h"

#include "cluster/balance.h"
#include "cluster/mover.h"

#include <stdio.h>

enum { PARTITIONS = 8, ASK_US = 60 * STAGE_S, ANSWER_US = 15 * STAGE_S, READY_US = 20 * STAGE_S };

void moves_plan(struct sim_plan *plan, uint32_t nodes, uint32_t replicas)
{
    stage_plan(plan);
    plan->cluster.nodes = nodes;
    plan->cluster.replicas = replicas;
    plan->cluster.partitions = PARTITIONS;
    plan->cluster.repair_after = MOVES_REPAIR_AFTER_US;
    plan->workload.counters = 4;
    plan->workload.write_percent = 60;
    plan->workload.think_min = 5 * STAGE_MS;
    plan->workload.think_max = 60 * STAGE_MS;
}

bool moves_open(struct moves *moves, const struct sim_plan *plan)
{
    if (!stage_open(moves->bed, plan)) return false;
    sim_inspector_watch_moves(moves->bed->inspector);
    return true;
}

/* --- operators ---------------------------------------------------------------------------- */

/* What changes nothing is not counted: a node is drained that was drained before. */
static void count_change(struct moves *moves)
{
    uint32_t bit = 1u << moves->asked_target;
    bool drained = (moves->told_drained & bit) != 0;
    bool is_drain = strcmp(moves->asked_verb, "drain") == 0;
    bool is_undrain = strcmp(moves->asked_verb, "undrain") == 0;
    bool changed = (is_drain && !drained) || (is_undrain && drained) ||
                   strcmp(moves->asked_verb, "remove") == 0;

    if (is_drain) moves->told_drained |= bit;
    if (is_undrain) moves->told_drained &= ~bit;
    moves->bed->sim.membership_changes += changed;
}

static void answered(void *context, uint64_t ticket, unsigned code, struct bytes json)
{
    struct moves *moves = context;

    if (ticket != moves->ticket) return;
    moves->code = code;
    snprintf(moves->answer, sizeof(moves->answer), "%.*s", (int)json.size, (const char *)json.data);
    if (code == 200) count_change(moves);
}

static bool has_answer(struct sim_cluster *cluster, void *context)
{
    return ((struct moves *)context)->code != 0;
}

static void send(struct moves *moves, node_id_t asked, node_id_t target, const char *verb,
                 const char *query)
{
    struct sim_bed *bed = moves->bed;
    struct operation_reply reply = {
        .context = moves, .ticket = ++moves->ticket, .answer = answered};
    char path[64];

    snprintf(path, sizeof(path), "/nodes/n%u/%s", target, verb);
    if (verb[0] == '/') snprintf(path, sizeof(path), "%s", verb);
    moves->code = 0;
    moves->asked_verb = verb;
    moves->asked_target = target;
    node_operate(stage_node(bed, asked)->now->node, bytes_of(path), bytes_of(query), &reply);
}

void moves_send(struct moves *moves, node_id_t asked, node_id_t target, const char *verb)
{
    send(moves, asked, target, verb, "");
}

static unsigned ask(struct moves *moves, node_id_t asked, node_id_t target, const char *verb,
                    const char *query)
{
    struct sim_bed *bed = moves->bed;

    send(moves, asked, target, verb, query);
    sim_cluster_wait(bed->cluster, ANSWER_US, has_answer, moves);
    return moves->code;
}

unsigned moves_ask(struct moves *moves, node_id_t asked, node_id_t target, const char *verb)
{
    return ask(moves, asked, target, verb, "");
}

bool moves_operate(struct moves *moves, node_id_t target, const char *verb)
{
    return moves_operate_by(moves, target, verb, "");
}

/* The answer of one who is killed never comes. */
bool moves_operate_by(struct moves *moves, node_id_t target, const char *verb, const char *query)
{
    struct sim_bed *bed = moves->bed;
    uint64_t until = bed->sim.now + ASK_US;

    while (!bed->sim.failed && bed->sim.now < until) {
        node_id_t asked = stage_other(bed, strcmp(verb, "remove") == 0 ? target : 0, 0);
        if (!sim_node_is_ready(stage_node(bed, asked))) {
            sim_run_for(&bed->sim, 50 * STAGE_MS);
            continue;
        }
        unsigned code = ask(moves, asked, target, verb, query);
        if (code == 200) return true;
        if (code == 404 && strcmp(verb, "remove") == 0) return true; /* done, and not heard of */
        if (code == 409)
            sim_violation(&bed->sim, "%s of n%u was refused: %s", verb, target, moves->answer);
        sim_run_for(&bed->sim, 100 * STAGE_MS);
    }
    if (!bed->sim.failed)
        sim_violation(&bed->sim, "V-6: nobody took %s of n%u within a minute", verb, target);
    return false;
}

/* --- what is where ------------------------------------------------------------------------ */

const struct cluster_view *moves_newest_view(struct sim_bed *bed)
{
    const struct cluster_view *newest = NULL;

    for (node_id_t id = 1; id <= bed->cluster->options.nodes; id++) {
        struct sim_node *node = stage_node(bed, id);
        if (!sim_node_is_ready(node)) continue;
        const struct cluster_view *view = &node->now->node->workers[0].view;
        if (newest == NULL || view->table_epoch > newest->table_epoch) newest = view;
    }
    return newest;
}

uint32_t moves_load(const struct cluster_view *view, node_id_t node, bool data_only)
{
    uint32_t load = 0;

    for (uint32_t g = data_only ? GROUP_DATA_FIRST : 0; g < view->group_count; g++)
        for (uint32_t k = 0; k < view->groups[g].replica_count; k++)
            load += view->groups[g].replicas[k].node == node;
    return load;
}

bool moves_nothing_moves(const struct cluster_view *view)
{
    for (uint32_t g = 0; g < view->group_count; g++)
        if (view->groups[g].moving) return false;
    return true;
}

bool moves_runs_replicas(struct sim_bed *bed, node_id_t id)
{
    struct sim_node *node = stage_node(bed, id);

    for (uint32_t w = 0; sim_node_is_up(node) && w < bed->cluster->options.workers; w++) {
        struct partition_host *host = node_host(node->now->node, w);
        for (uint32_t g = 0; host != NULL && g < GROUP_DATA_FIRST + PARTITIONS; g++)
            if (host_raft(host, (struct group_id){g}) != NULL) return true;
    }
    return false;
}

static bool is_empty(struct sim_cluster *cluster, void *context)
{
    struct moves *moves = context;
    const struct cluster_view *view = moves_newest_view(moves->bed);

    return view != NULL && moves_load(view, moves->target, false) == 0 &&
           moves_nothing_moves(view) && !moves_runs_replicas(moves->bed, moves->target);
}

static bool is_even(struct sim_cluster *cluster, void *context)
{
    struct moves *moves = context;
    const struct cluster_view *view = moves_newest_view(moves->bed);
    uint32_t least = UINT32_MAX, most = 0, staying = 0, copies = 0;

    for (node_id_t id = 1; view != NULL && id <= cluster->options.nodes; id++) {
        if ((moves->drained | moves->removed | moves->away) >> id & 1) continue;
        uint32_t load = moves_load(view, id, true);
        staying++;
        copies += load;
        least = load < least ? load : least;
        most = load > most ? load : most;
    }
    uint32_t wanted = cluster->options.replicas < staying ? cluster->options.replicas : staying;
    bool meta_whole = view != NULL && (moves->away != 0 || view->groups[GROUP_META].replica_count ==
                                                               balance_meta_replicas(staying));
    return view != NULL && moves_nothing_moves(view) && most - least <= 1 &&
           copies == wanted * view->partition_count && meta_whole;
}

/* What who leads meta thinks of it, and where groups are: with a star those on their way. */
static void tell_places(struct moves *moves, char *text, size_t size)
{
    const struct cluster_view *view = moves_newest_view(moves->bed);
    node_id_t leader = sim_inspect_leading(moves->bed->cluster, GROUP_META);
    struct mover_plan *plan = memory_allocate_zero(sizeof(*plan));
    size_t used = 0;

    if (leader != 0) node_mover_plan(stage_node(moves->bed, leader)->now->node, plan);
    used = (size_t)snprintf(text, size, " node %u leads meta, %u of %u left to move;", leader,
                            plan->count, plan->left);
    memory_free(plan);
    for (uint32_t g = 0; view != NULL && g < view->group_count; g++) {
        const struct view_group *group = &view->groups[g];
        if (used + 80 > size) break;
        used += (size_t)snprintf(text + used, size - used, " %u%s:", g, group->moving ? "*" : "");
        for (uint32_t k = 0; k < group->replica_count; k++)
            used += (size_t)snprintf(text + used, size - used, "%s%u", k ? "," : "",
                                     group->replicas[k].node);
    }
}

bool moves_wait_empty(struct moves *moves)
{
    struct sim_bed *bed = moves->bed;
    char places[400];

    if (sim_cluster_wait(bed->cluster, MOVES_DONE_US, is_empty, moves)) return !bed->sim.failed;
    tell_places(moves, places, sizeof(places));
    if (!bed->sim.failed)
        sim_violation(&bed->sim, "V-6: node %u is not empty after two minutes:%s", moves->target,
                      places);
    return false;
}

bool moves_wait_even(struct moves *moves)
{
    struct sim_bed *bed = moves->bed;
    char places[400];

    if (!sim_cluster_wait(bed->cluster, MOVES_DONE_US, is_even, moves)) {
        tell_places(moves, places, sizeof(places));
        if (!bed->sim.failed)
            sim_violation(&bed->sim, "V-6: load is not even after two minutes:%s", places);
        return false;
    }
    /* Preferred leaders may still be changed, which moves nothing. */
    uint64_t ids = moves_newest_view(bed)->next_replica_id;
    sim_run_for(&bed->sim, MOVES_QUIET_US);
    if (bed->sim.failed) return false;
    const struct cluster_view *view = moves_newest_view(bed);
    if (view == NULL || view->next_replica_id != ids)
        sim_violation(&bed->sim, "M-5: groups were moved although nothing had changed");
    return !bed->sim.failed;
}

bool moves_repair(struct moves *moves)
{
    struct sim_bed *bed = moves->bed;
    uint32_t gone = moves->removed | moves->away;
    uint64_t until = bed->sim.now + READY_US;
    char missing[400];
    bool all = false;

    sim_network_heal_all(bed->cluster->network);
    for (node_id_t id = 1; id <= bed->cluster->options.nodes && !bed->sim.failed; id++) {
        struct sim_node *node = stage_node(bed, id);
        if (gone >> id & 1) continue;
        if (sim_node_is_up(node))
            sim_process_resume(node->now->process);
        else
            sim_node_start(node);
    }
    while (!bed->sim.failed && !all && bed->sim.now < until) {
        sim_run_for(&bed->sim, 50 * STAGE_MS);
        all = true;
        for (node_id_t id = 1; id <= bed->cluster->options.nodes; id++)
            all = all && ((gone >> id & 1) || sim_node_is_ready(stage_node(bed, id)));
    }
    if (bed->sim.failed || all) return !bed->sim.failed;
    sim_inspect_missing(bed->cluster, missing, sizeof(missing));
    sim_violation(&bed->sim, "V-3: not ready 20 s after repair:%s", missing);
    return false;
}

uint32_t moves_members(const struct moves *moves)
{
    uint32_t all = ((1u << moves->bed->cluster->options.nodes) - 1) << 1;

    return all & ~moves->removed;
}

static void expect_end(struct moves *moves, node_id_t target)
{
    struct sim_incarnation *last = stage_node(moves->bed, target)->now;

    if (last != NULL) last->fatal_expected = true;
}

static bool removed(struct moves *moves, node_id_t target)
{
    struct sim_bed *bed = moves->bed;

    moves->removed |= 1u << target;
    moves->drained &= ~(1u << target);
    moves->away &= ~(1u << target);
    sim_clients_use(bed->clients, moves_members(moves));
    sim_run_for(&bed->sim, 5 * STAGE_S);
    if (sim_node_is_up(stage_node(bed, target)) && !bed->sim.failed)
        sim_violation(&bed->sim, "F14: node %u was removed and runs on", target);
    return !bed->sim.failed;
}

bool moves_remove(struct moves *moves, node_id_t target)
{
    expect_end(moves, target);
    return moves_operate(moves, target, "remove") && removed(moves, target);
}

bool moves_remove_early(struct moves *moves, node_id_t target)
{
    struct sim_bed *bed = moves->bed;
    uint64_t until = bed->sim.now + MOVES_DONE_US;

    while (!bed->sim.failed && bed->sim.now < until) {
        node_id_t asked = stage_other(bed, target, 0);
        expect_end(moves, target);
        bool ready = sim_node_is_ready(stage_node(bed, asked));
        unsigned code = ready ? moves_ask(moves, asked, target, "remove") : 0;
        if (code == 200 || code == 404) return removed(moves, target);
        sim_run_for(&bed->sim, 50 * STAGE_MS);
    }
    if (!bed->sim.failed)
        sim_violation(&bed->sim, "V-6: node %u could not be removed within two minutes", target);
    return false;
}

void moves_judge(struct moves *moves)
{
    struct sim_bed *bed = moves->bed;

    if (!bed->sim.failed && moves_repair(moves))
        sim_bed_judge(bed, moves_members(moves) & ~moves->away);
}
