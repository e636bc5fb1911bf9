#include "cluster/mover.h"

#include <stdio.h>

#include "base/assert.h"
#include "base/memory.h"

enum urgency { URGENT_LOST, URGENT_COPIES, URGENT_PLACE, URGENT_NOT };

struct mover {
    const struct cluster_view *view;
    uint8_t index[NODES_MAX + 1];         /* of a node id in view->nodes, plus 1; 0: not there */
    struct balance_node nodes[NODES_MAX]; /* as view->nodes */
    struct balance_group *groups;         /* as view->groups; those without replicas stay empty */
    bool heard[NODES_MAX];                /* as view->nodes */
    uint32_t staying, silent, meta_copies;
};

/* --- nodes -------------------------------------------------------------------------------- */

/* "zone=a" for the zone, "zone=a,rack=r" for a rack: racks of different zones are different ones.
 * A node without the label is a domain of its own. */
static void domain_text(const struct view_node *node, uint32_t domain,
                        char ret_text[2 * LABELS_SIZE_MAX])
{
    static const char *const names[BALANCE_DOMAINS] = {"zone", "rack", "host"};
    char value[LABEL_VALUE_SIZE_MAX];
    size_t used = 0;

    if (!labels_get(node->labels, names[domain], value)) {
        snprintf(ret_text, 2 * LABELS_SIZE_MAX, "node=%u", node->id);
        return;
    }
    for (uint32_t d = 0; d <= domain; d++) {
        labels_get(node->labels, names[d], value);
        used += (size_t)snprintf(ret_text + used, 2 * LABELS_SIZE_MAX - used, "%s=%s,", names[d],
                                 value);
    }
}

static void number_domains(struct mover *mover, uint32_t domain)
{
    char(*texts)[2 * LABELS_SIZE_MAX] = memory_allocate(NODES_MAX * sizeof(*texts));

    for (uint32_t n = 0; n < mover->view->node_count; n++) {
        domain_text(&mover->view->nodes[n], domain, texts[n]);
        mover->nodes[n].domains[domain] = n;
        for (uint32_t before = 0; before < n; before++) {
            if (strcmp(texts[n], texts[before]) != 0) continue;
            mover->nodes[n].domains[domain] = mover->nodes[before].domains[domain];
            break;
        }
    }
    memory_free(texts);
}

static enum balance_state state_of(const struct view_node *node,
                                   const struct mover_silence *silence, bool cut_off)
{
    if (node->state == VIEW_NODE_LEAVES) return BALANCE_LEAVES;
    if (silence->lost && !cut_off) return BALANCE_LOST;
    return silence->silent ? BALANCE_SILENT : BALANCE_STAYS;
}

/* So many at once are not dead, but behind a cut: what they hold is not built anew on the rest. */
static bool too_many_lost(const struct cluster_view *view, const struct mover_silence *silence)
{
    uint32_t lost = 0;

    for (uint32_t n = 0; n < view->node_count; n++)
        lost += silence[n].lost && view->nodes[n].state == VIEW_NODE_STAYS;
    return lost > MOVER_LOST_FEW && lost > view->node_count / MOVER_LOST_PART;
}

static void take_nodes(struct mover *mover, const struct mover_silence *silence)
{
    bool cut_off = too_many_lost(mover->view, silence);

    for (uint32_t n = 0; n < mover->view->node_count; n++) {
        const struct view_node *node = &mover->view->nodes[n];
        mover->index[node->id] = (uint8_t)(n + 1);
        mover->heard[n] = !silence[n].silent;
        mover->nodes[n] = (struct balance_node){
            .id = node->id,
            .weight = labels_number(node->labels, "weight", LABEL_WEIGHT_USUAL),
            .state = state_of(node, &silence[n], cut_off),
            .lead_rank = labels_number(node->labels, "leaders", LABEL_LEADERS_USUAL),
        };
    }
    for (uint32_t domain = 0; domain < BALANCE_DOMAINS; domain++)
        number_domains(mover, domain);
}

/* --- groups ------------------------------------------------------------------------------- */

static uint32_t index_of(const struct mover *mover, node_id_t id)
{
    return id <= NODES_MAX && mover->index[id] != 0 ? mover->index[id] - 1u : UINT32_MAX;
}

/* Replicas of nodes that are not in the view any more are gone. */
static void take_groups(struct mover *mover)
{
    const struct cluster_view *view = mover->view;

    mover->groups = memory_allocate_zero(view->group_count * sizeof(*mover->groups));
    for (uint32_t g = 0; g < view->group_count; g++) {
        struct balance_group *group = &mover->groups[g];
        group->number = g;
        for (uint32_t k = 0; k < view->groups[g].replica_count; k++) {
            uint32_t n = index_of(mover, view->groups[g].replicas[k].node);
            if (n != UINT32_MAX) group->nodes[group->count++] = (uint8_t)n;
        }
    }
}

static void balance_all(struct mover *mover)
{
    const struct cluster_view *view = mover->view;

    for (uint32_t n = 0; n < view->node_count; n++) {
        mover->staying += mover->nodes[n].state != BALANCE_LEAVES;
        mover->silent += mover->nodes[n].state == BALANCE_SILENT;
    }
    mover->meta_copies = balance_meta_replicas(mover->staying);
    if (mover->meta_copies == 0) return; /* all leave: where to? */
    balance_groups(mover->nodes, view->node_count, &mover->groups[GROUP_META], 1,
                   mover->meta_copies);
    balance_groups(mover->nodes, view->node_count, &mover->groups[GROUP_DATA_FIRST],
                   view->partition_count, view->replicas);
}

/* --- the difference ----------------------------------------------------------------------- */

static bool wished(const struct mover *mover, uint32_t group, uint32_t node)
{
    for (uint32_t k = 0; k < mover->groups[group].count; k++)
        if (mover->groups[group].nodes[k] == node) return true;
    return false;
}

/* In which way the table is not as it should be. */
static enum urgency urgency_of(const struct mover *mover, uint32_t g)
{
    const struct view_group *is = &mover->view->groups[g];
    enum urgency urgency = URGENT_NOT;

    if (is->replica_count != mover->groups[g].count) urgency = URGENT_COPIES;
    for (uint32_t k = 0; k < is->replica_count; k++) {
        uint32_t n = index_of(mover, is->replicas[k].node);
        enum balance_state state = n == UINT32_MAX ? BALANCE_LEAVES : mover->nodes[n].state;
        enum urgency own = URGENT_NOT;
        if (n != UINT32_MAX && wished(mover, g, n)) continue;
        if (state == BALANCE_LOST)
            own = URGENT_LOST;
        else
            own = state == BALANCE_LEAVES ? URGENT_COPIES : URGENT_PLACE;
        if (own < urgency) urgency = own;
    }
    return urgency;
}

static bool leads_as_wished(const struct mover *mover, uint32_t g)
{
    const struct view_group *is = &mover->view->groups[g];
    const struct balance_group *wish = &mover->groups[g];

    return is->replica_count == 0 || wish->count == 0 ||
           is->replicas[0].node == mover->view->nodes[wish->nodes[0]].id;
}

static void add_move(const struct mover *mover, uint32_t g, struct mover_plan *plan)
{
    const struct balance_group *wish = &mover->groups[g];
    struct mover_move *move;

    if (plan->count == MOVER_MOVES_MAX) return;
    move = &plan->moves[plan->count++];
    *move = (struct mover_move){.group = g,
                                .changed = mover->view->groups[g].changed,
                                .count = wish->count,
                                .from_count = mover->view->groups[g].replica_count};
    memcpy(move->from, mover->view->groups[g].replicas, sizeof(move->from));
    for (uint32_t k = 0; k < wish->count; k++)
        move->to[k] = mover->view->nodes[wish->nodes[k]].id;
}

/* A node of the table is gone for good: the wish under way cannot be the last word. */
static bool must_change(const struct mover *mover, const struct view_group *is)
{
    for (uint32_t k = 0; k < is->replica_count; k++) {
        uint32_t n = index_of(mover, is->replicas[k].node);
        bool stays = n != UINT32_MAX && mover->nodes[n].state != BALANCE_LEAVES &&
                     mover->nodes[n].state != BALANCE_LOST;
        if (!stays) return true;
    }
    return false;
}

/* Its leader is known; or it is on a node that this one does not hear, and the others are a
 * majority by which it leads. */
static bool has_leader(const struct mover *mover, const struct view_group *is)
{
    uint32_t heard = 0;

    for (uint32_t k = 0; k < is->replica_count; k++) {
        uint32_t n = index_of(mover, is->replicas[k].node);
        heard += n != UINT32_MAX && mover->heard[n];
    }
    return is->leader != 0 || (heard < is->replica_count && 2 * heard > is->replica_count);
}

/* Without a leader nobody fulfils a wish; and the table of a group that may have to be salvaged
 * stays what its disks know. */
static bool is_movable(const struct mover *mover, uint32_t g)
{
    const struct view_group *is = &mover->view->groups[g];

    return has_leader(mover, is) && is->replica_count > 0 && mover->groups[g].count > 0 &&
           (!is->moving || must_change(mover, is));
}

static void plan_moves(const struct mover *mover, struct mover_plan *plan)
{
    const struct cluster_view *view = mover->view;
    uint32_t room = MOVER_GROUPS_PER_NODE * mover->staying, moving = 0;

    for (uint32_t g = 0; g < view->group_count; g++) {
        moving += view->groups[g].moving && has_leader(mover, &view->groups[g]);
        bool left = view->groups[g].moving || urgency_of(mover, g) != URGENT_NOT;
        plan->left += left;
        plan->leaderless += left && view->groups[g].leader == 0;
    }
    for (enum urgency urgency = URGENT_LOST; urgency < URGENT_NOT; urgency++) {
        for (uint32_t g = 0; g < view->group_count; g++) {
            const struct view_group *is = &view->groups[g];
            if (plan->count == MOVER_MOVES_MAX || (moving >= room && !is->moving)) continue;
            if (!is_movable(mover, g) || urgency_of(mover, g) != urgency) continue;
            moving += !is->moving;
            add_move(mover, g, plan);
        }
    }
    if (mover->silent > 0) return; /* who leads when it is back? As before */
    for (uint32_t g = 0; g < view->group_count; g++)
        if (!view->groups[g].moving && is_movable(mover, g) && urgency_of(mover, g) == URGENT_NOT &&
            !leads_as_wished(mover, g))
            add_move(mover, g, plan);
}

void mover_plan(const struct cluster_view *view, const struct mover_silence *silence,
                struct mover_plan *ret_plan)
{
    struct mover mover = {.view = view};

    ASSERT(view->node_count >= 1 && view->node_count <= NODES_MAX);
    *ret_plan = (struct mover_plan){0};
    take_nodes(&mover, silence);
    take_groups(&mover);
    balance_all(&mover);
    if (mover.meta_copies > 0) plan_moves(&mover, ret_plan);
    memory_free(mover.groups);
}
