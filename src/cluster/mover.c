#include "cluster/mover.h"

#include <stdio.h>

#include "base/assert.h"
#include "base/memory.h"

enum urgency { URGENT_LOST, URGENT_COPIES, URGENT_PLACE, URGENT_NOT };

struct mover {
    const struct cluster_view *view;
    struct balance_node nodes[NODES_MAX]; /* as view->nodes */
    struct balance_group *groups;         /* as view->groups; those without replicas stay empty */
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
    char own[2 * LABELS_SIZE_MAX], other[2 * LABELS_SIZE_MAX];

    for (uint32_t n = 0; n < mover->view->node_count; n++) {
        mover->nodes[n].domains[domain] = n;
        domain_text(&mover->view->nodes[n], domain, own);
        for (uint32_t before = 0; before < n; before++) {
            domain_text(&mover->view->nodes[before], domain, other);
            if (strcmp(own, other) != 0) continue;
            mover->nodes[n].domains[domain] = mover->nodes[before].domains[domain];
            break;
        }
    }
}

static enum balance_state state_of(const struct view_node *node,
                                   const struct mover_silence *silence)
{
    if (node->state == VIEW_NODE_LEAVES) return BALANCE_LEAVES;
    if (silence->lost) return BALANCE_LOST;
    return silence->silent ? BALANCE_SILENT : BALANCE_STAYS;
}

static void take_nodes(struct mover *mover, const struct mover_silence *silence)
{
    for (uint32_t n = 0; n < mover->view->node_count; n++) {
        const struct view_node *node = &mover->view->nodes[n];
        mover->nodes[n] = (struct balance_node){
            .id = node->id,
            .weight = labels_number(node->labels, "weight", LABEL_WEIGHT_USUAL),
            .state = state_of(node, &silence[n]),
            .lead_rank = labels_number(node->labels, "leaders", LABEL_LEADERS_USUAL),
        };
    }
    for (uint32_t domain = 0; domain < BALANCE_DOMAINS; domain++)
        number_domains(mover, domain);
}

/* --- groups ------------------------------------------------------------------------------- */

static uint32_t index_of(const struct mover *mover, node_id_t id)
{
    for (uint32_t n = 0; n < mover->view->node_count; n++)
        if (mover->view->nodes[n].id == id) return n;
    return UINT32_MAX;
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
    *move = (struct mover_move){.group = g, .count = wish->count};
    for (uint32_t k = 0; k < wish->count; k++)
        move->to[k] = mover->view->nodes[wish->nodes[k]].id;
}

static void plan_moves(const struct mover *mover, struct mover_plan *plan)
{
    const struct cluster_view *view = mover->view;
    uint32_t room = MOVER_GROUPS_PER_NODE * mover->staying, moving = 0;

    for (uint32_t g = 0; g < view->group_count; g++) {
        moving += view->groups[g].moving;
        plan->left += view->groups[g].moving || urgency_of(mover, g) != URGENT_NOT;
    }
    for (enum urgency urgency = URGENT_LOST; urgency < URGENT_NOT; urgency++) {
        for (uint32_t g = 0; g < view->group_count; g++) {
            const struct view_group *is = &view->groups[g];
            bool full = moving >= room && !is->moving;
            bool leave_alone = is->moving && urgency == URGENT_PLACE;
            if (mover->groups[g].count == 0 || urgency_of(mover, g) != urgency) continue;
            if (full || leave_alone || plan->count == MOVER_MOVES_MAX) continue;
            moving += !is->moving;
            add_move(mover, g, plan);
        }
    }
    if (mover->silent > 0) return; /* who leads when it is back? As before */
    for (uint32_t g = 0; g < view->group_count; g++)
        if (!view->groups[g].moving && urgency_of(mover, g) == URGENT_NOT &&
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
