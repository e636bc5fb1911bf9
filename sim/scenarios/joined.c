/* Nodes join a running cluster and leave it again while they, or others, fail: DESIGN 7, F01, F14.
 */
#include "sim/scenarios/moves.h"

#include <stdio.h>

enum {
    NODES = 5,
    WHOLE = 3, /* replicas */
    EFFECTS_MAX = 120,
    JOIN_US = 60 * STAGE_S,
};

/* --- tokens ------------------------------------------------------------------------------- */

/* What holon node token does: the cluster learns the hash. */
static bool make_token(struct moves *moves, uint8_t secret[JOIN_SECRET_SIZE])
{
    uint8_t hash[SHA256_SIZE];
    char text[2 * SHA256_SIZE + 1], query[128];

    for (unsigned i = 0; i < JOIN_SECRET_SIZE; i++)
        secret[i] = (uint8_t)stage_draw(moves->bed, 0, 255);
    sha256(bytes_make(secret, JOIN_SECRET_SIZE), hash);
    hex_print(bytes_make(hash, sizeof(hash)), text);
    snprintf(query, sizeof(query), "hash=%s&ttl=3600", text);
    return moves_operate_by(moves, 0, "/token", query);
}

static void give_token(struct sim_node *node, const uint8_t *secret)
{
    node->options.has_token = secret != NULL;
    if (secret != NULL) memcpy(node->options.token, secret, JOIN_SECRET_SIZE);
}

/* --- joining ------------------------------------------------------------------------------ */

static bool has_joined(struct sim_cluster *cluster, void *context)
{
    struct moves *moves = context;
    const struct cluster_view *view = moves_newest_view(moves->bed);

    return view != NULL && cluster_view_node(view, moves->target) != NULL &&
           sim_node_is_ready(&cluster->nodes[moves->target]);
}

/* A joiner dies at any of its effects on files, or with its machine; or somebody else does. */
static void strike_joiner(struct moves *moves)
{
    struct sim_bed *bed = moves->bed;
    struct sim_node *node = stage_node(bed, moves->target);
    struct sim_process *process = node->now->process;
    node_id_t other = stage_other(bed, moves->target, 0);

    switch (stage_draw(bed, 0, 5)) {
    case 0:
    case 1:
    case 2:
        process->file_effects_left = stage_draw(bed, 1, EFFECTS_MAX);
        process->file_effects_end = stage_draw(bed, 0, 1) ? SIM_END_KILL : SIM_END_POWER;
        break;
    case 3:
        sim_run_for(&bed->sim, stage_draw(bed, 0, 400) * STAGE_MS);
        sim_node_kill(node);
        break;
    case 4:
        sim_run_for(&bed->sim, stage_draw(bed, 0, 100) * STAGE_MS);
        sim_network_split(bed->cluster->network, 1u << moves->target, stage_draw(bed, 0, 1) != 0);
        break;
    default:
        sim_run_for(&bed->sim, stage_draw(bed, 0, 100) * STAGE_MS);
        if (!sim_node_is_up(stage_node(bed, other))) break;
        if (stage_draw(bed, 0, 1))
            sim_node_power_loss(stage_node(bed, other));
        else
            sim_process_pause(stage_node(bed, other)->now->process);
        break;
    }
    sim_run_for(&bed->sim, stage_draw(bed, 100, 3000) * STAGE_MS);
}

/* As moves_repair(), of all that run, and the joiner: until it is a member, and ready. */
static bool finish_joining(struct moves *moves)
{
    struct sim_bed *bed = moves->bed;
    char missing[400];

    for (node_id_t id = 1; id <= NODES; id++)
        if (sim_node_is_up(stage_node(bed, id)))
            stage_node(bed, id)->now->process->file_effects_left = 0;
    if (!moves_repair(moves)) return false;
    if (sim_cluster_wait(bed->cluster, JOIN_US, has_joined, moves)) return !bed->sim.failed;
    sim_inspect_missing(bed->cluster, missing, sizeof(missing));
    if (!bed->sim.failed)
        sim_violation(&bed->sim, "V-6: node %u has not joined after a minute:%s", moves->target,
                      missing);
    return false;
}

static bool join(struct moves *moves, node_id_t id, const uint8_t *secret)
{
    struct sim_bed *bed = moves->bed;
    struct sim_node *node = stage_node(bed, id);

    give_token(node, secret);
    moves->target = id;
    moves->removed &= ~(1u << id);
    node->absent = false;
    sim_node_start(node);
    for (uint64_t strikes = stage_draw(bed, 0, 3); strikes > 0 && !bed->sim.failed; strikes--) {
        strike_joiner(moves);
        if (!bed->sim.failed && !sim_node_is_up(node)) sim_node_start(node);
    }
    if (bed->sim.failed || !finish_joining(moves)) return false;
    const struct view_node *known = cluster_view_node(moves_newest_view(bed), id);
    char name[NODE_NAME_SIZE_MAX];
    snprintf(name, sizeof(name), "n%u", id);
    if (known == NULL || strcmp(known->name, name) != 0 ||
        moves_newest_view(bed)->next_node_id != id + 1)
        sim_violation(&bed->sim, "M-3: node %u did not join once, by its own id", id);
    sim_clients_use(bed->clients, moves_members(moves));
    bed->sim.membership_changes++;
    return !bed->sim.failed;
}

/* Whoever is asked says why not, and the directory is as it was. */
static void join_in_vain(struct moves *moves, node_id_t id, const char *why)
{
    struct sim_bed *bed = moves->bed;
    struct sim_node *node = stage_node(bed, id);

    sim_node_start(node);
    struct sim_incarnation *incarnation = node->now;
    incarnation->fatal_expected = true;
    sim_run_for(&bed->sim, 10 * STAGE_S);
    if (bed->sim.failed) return;
    if (sim_node_is_up(node) || strstr(incarnation->error.text, why) == NULL)
        sim_violation(&bed->sim, "F14: node %u joined, or was not told why not (%s): %s", id, why,
                      incarnation->error.text);
}

/* Each token lets one node in (F14); and minutes of a wrong clock are enough to stay out (F48). */
static void join_wrongly(struct moves *moves, node_id_t id, const uint8_t *used)
{
    struct sim_bed *bed = moves->bed;
    struct sim_node *node = stage_node(bed, id);
    int64_t by = (int64_t)stage_draw(bed, 60, 600) * STAGE_S;

    if (used != NULL) {
        give_token(node, used);
        join_in_vain(moves, id, "used already");
        sim_reached(&bed->sim, "scenario: a used token was refused");
        return;
    }
    if (stage_draw(bed, 0, 1)) by = -by;
    sim_machine_jump_wall_clock(&node->machine, by);
    join_in_vain(moves, id, "the clock of this machine is");
    sim_machine_jump_wall_clock(&node->machine, -by);
    sim_reached(&bed->sim, "scenario: a node with a wrong clock was refused");
}

static bool grow(struct moves *moves)
{
    struct sim_bed *bed = moves->bed;
    uint8_t secret[JOIN_SECRET_SIZE];

    for (node_id_t id = 2; id <= NODES; id++) {
        bool token = stage_draw(bed, 0, 2) > 0;
        if (token && !make_token(moves, secret)) return false;
        if (!join(moves, id, token ? secret : NULL)) return false;
        if (id < NODES) join_wrongly(moves, id + 1, token ? secret : NULL);
        if (bed->sim.failed) return false;
        if ((id == WHOLE || id == NODES) && !moves_wait_even(moves)) return false;
    }
    sim_reached(&bed->sim, "scenario: a cluster of one grew to five");
    return true;
}

/* --- leaving ------------------------------------------------------------------------------ */

static void strike_any(struct moves *moves)
{
    struct sim_bed *bed = moves->bed;
    struct sim_node *node = stage_node(bed, stage_other(bed, 0, 0));

    sim_run_for(&bed->sim, stage_draw(bed, 0, 2000) * STAGE_MS);
    if (bed->sim.failed || !sim_node_is_up(node)) return;
    if (stage_draw(bed, 0, 1))
        sim_node_kill(node);
    else
        sim_node_power_loss(node);
    sim_run_for(&bed->sim, stage_draw(bed, 100, 3000) * STAGE_MS);
    moves_repair(moves);
}

static bool shrink(struct moves *moves)
{
    struct sim_bed *bed = moves->bed;

    for (node_id_t id = NODES; id >= 2; id--) {
        moves->target = id;
        if (!moves_operate(moves, id, "drain")) return false;
        moves->drained |= 1u << id;
        strike_any(moves);
        if (bed->sim.failed || !moves_wait_empty(moves) || !moves_remove(moves, id)) return false;
        stage_node(bed, id)->absent = true;
    }
    sim_reached(&bed->sim, "scenario: a cluster of five shrank to one");
    return moves_wait_even(moves);
}

/* Goal: a cluster grows from one node to five and shrinks to one again, whatever fails meanwhile:
 * each node joins once, by its own id and token, load is even, and nothing that clients were told
 * is lost. Method: joiners are killed at any effect on files, lose power, are cut off, and start
 * again with the same command; so do those that let them in. */
void scenario_joined_nodes(struct sim_bed *bed)
{
    struct moves moves = {.bed = bed};
    struct sim_plan plan;

    moves_plan(&plan, NODES, 3);
    plan.cluster.founders = 1;
    plan.cluster.mesh = true;
    moves.removed = ((1u << NODES) - 1) << 1 & ~(1u << 1);
    if (!stage_found(bed, &plan)) return;
    sim_clients_use(bed->clients, moves_members(&moves));
    sim_clients_start(bed->clients);
    sim_run_for(&bed->sim, 200 * STAGE_MS);
    if (!bed->sim.failed && grow(&moves) && shrink(&moves)) moves_judge(&moves);
}
