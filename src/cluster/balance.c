#include "cluster/balance.h"

#include "base/assert.h"

enum { NONE = 0xff };
_Static_assert((int)NODES_MAX < (int)NONE, "an index of a node fits a byte");

struct balance {
    const struct balance_node *nodes;
    uint32_t node_count;
    struct balance_group *groups;
    uint32_t group_count;
    uint32_t copies;
    uint32_t loads[NODES_MAX];
    uint32_t moves_left; /* a bound; a chain that could not be gone to its end may be no gain */
    uint64_t looks_left; /* at groups, by levelling: what is not even then is better next time */
};

/* How often a group has two replicas in one domain, by width of the domain. */
struct conflicts {
    uint32_t pairs[BALANCE_DOMAINS];
};

uint32_t balance_copies(const struct balance_node *nodes, uint32_t node_count, uint32_t replicas)
{
    uint32_t there = 0;
    for (uint32_t n = 0; n < node_count; n++)
        there += nodes[n].state != BALANCE_LEAVES;
    uint32_t copies = replicas < there ? replicas : there;
    return copies < VIEW_REPLICAS_MAX ? copies : VIEW_REPLICAS_MAX;
}

uint32_t balance_meta_replicas(uint32_t nodes)
{
    if (nodes <= 3) return nodes;
    return nodes < BALANCE_META_REPLICAS_MAX ? 3 : BALANCE_META_REPLICAS_MAX;
}

static uint64_t rank_of(const struct balance *balance, const struct balance_group *group,
                        uint32_t node)
{
    return hash_u64(((uint64_t)group->number << 32) ^ hash_u64(balance->nodes[node].id));
}

static bool holds(const struct balance_group *group, uint32_t node)
{
    for (uint32_t k = 0; k < group->count; k++)
        if (group->nodes[k] == node) return true;
    return false;
}

static bool replica_stays(const struct balance *balance, uint32_t node)
{
    enum balance_state state = balance->nodes[node].state;
    return state == BALANCE_STAYS || state == BALANCE_SILENT;
}

/* Is (load_a - 1, load_b + 1) better than (load_a, load_b)? In the sum of load^2 / weight. */
static bool is_better(const struct balance *balance, const uint32_t *loads, uint32_t from,
                      uint32_t to)
{
    uint64_t from_weight = balance->nodes[from].weight, to_weight = balance->nodes[to].weight;
    if (loads[from] == 0) return false;
    return (2 * (uint64_t)loads[from] - 1) * to_weight >
           (2 * (uint64_t)loads[to] + 1) * from_weight;
}

/* Would `a` be the fuller one of the two with one more? */
static int compare_loads(const struct balance *balance, const uint32_t *loads, uint32_t a,
                         uint32_t b)
{
    uint64_t left = (2 * (uint64_t)loads[a] + 1) * balance->nodes[b].weight;
    uint64_t right = (2 * (uint64_t)loads[b] + 1) * balance->nodes[a].weight;
    return (left > right) - (left < right);
}

/* Of `node` with the group's replicas but the one at `but` (NONE: with all). */
static struct conflicts conflicts_of(const struct balance *balance,
                                     const struct balance_group *group, uint32_t but, uint32_t node)
{
    struct conflicts conflicts = {{0}};
    for (uint32_t k = 0; k < group->count; k++) {
        if (k == but) continue;
        for (uint32_t d = 0; d < BALANCE_DOMAINS; d++)
            conflicts.pairs[d] +=
                balance->nodes[group->nodes[k]].domains[d] == balance->nodes[node].domains[d];
    }
    return conflicts;
}

static int compare_conflicts(struct conflicts a, struct conflicts b)
{
    for (uint32_t d = 0; d < BALANCE_DOMAINS; d++)
        if (a.pairs[d] != b.pairs[d]) return a.pairs[d] < b.pairs[d] ? -1 : 1;
    return 0;
}

static bool has_conflicts(struct conflicts conflicts)
{
    for (uint32_t d = 0; d < BALANCE_DOMAINS; d++)
        if (conflicts.pairs[d] > 0) return true;
    return false;
}

static void remove_at(struct balance *balance, struct balance_group *group, uint32_t at)
{
    balance->loads[group->nodes[at]]--;
    for (uint32_t k = at + 1; k < group->count; k++)
        group->nodes[k - 1] = group->nodes[k];
    group->count--;
}

static void add(struct balance *balance, struct balance_group *group, uint32_t node)
{
    balance->loads[node]++;
    group->nodes[group->count++] = (uint8_t)node;
}

static void replace_at(struct balance *balance, struct balance_group *group, uint32_t at,
                       uint32_t node)
{
    balance->loads[group->nodes[at]]--;
    balance->loads[node]++;
    group->nodes[at] = (uint8_t)node;
}

/* The best new place for the group, its replica at `but` gone: fewest conflicts, then the emptiest
 * node. NONE: no node may take one. */
static uint32_t best_place(const struct balance *balance, const struct balance_group *group,
                           uint32_t but, struct conflicts *ret_conflicts)
{
    uint32_t best = NONE;
    for (uint32_t n = 0; n < balance->node_count; n++) {
        if (balance->nodes[n].state != BALANCE_STAYS || holds(group, n)) continue;
        struct conflicts conflicts = conflicts_of(balance, group, but, n);
        int order = best == NONE ? -1 : compare_conflicts(conflicts, *ret_conflicts);
        if (order == 0) order = compare_loads(balance, balance->loads, n, best);
        if (order == 0) order = rank_of(balance, group, n) > rank_of(balance, group, best) ? -1 : 1;
        if (order > 0) continue;
        best = n;
        *ret_conflicts = conflicts;
    }
    return best;
}

/* How much of a copy a replica is: 0 what stands on a node that is there. */
static int absence(const struct balance *balance, uint32_t node)
{
    static const int absences[] = {
        [BALANCE_STAYS] = 0, [BALANCE_SILENT] = 1, [BALANCE_LOST] = 2, [BALANCE_LEAVES] = 3};

    return absences[balance->nodes[node].state];
}

/* The replica of the group that is missed least: of a node that is not there, with most conflicts,
 * on the fullest node. */
static uint32_t least_missed(const struct balance *balance, const struct balance_group *group)
{
    uint32_t worst = 0;
    struct conflicts most = conflicts_of(balance, group, 0, group->nodes[0]);
    for (uint32_t k = 1; k < group->count; k++) {
        struct conflicts conflicts = conflicts_of(balance, group, k, group->nodes[k]);
        int order = absence(balance, group->nodes[k]) - absence(balance, group->nodes[worst]);
        if (order == 0) order = compare_conflicts(conflicts, most);
        if (order == 0)
            order = compare_loads(balance, balance->loads, group->nodes[k], group->nodes[worst]);
        if (order < 0) continue;
        worst = k;
        most = conflicts;
    }
    return worst;
}

/* As many replicas as there should be, on nodes where they may be. A lost one is replaced in its
 * place; while there is no node for it, it stays: it may come back, and is counted. */
static void fill_group(struct balance *balance, struct balance_group *group)
{
    struct conflicts conflicts;
    for (uint32_t k = group->count; k-- > 0;)
        if (balance->nodes[group->nodes[k]].state == BALANCE_LEAVES) remove_at(balance, group, k);
    for (uint32_t k = 0; k < group->count; k++) {
        if (replica_stays(balance, group->nodes[k])) continue;
        uint32_t place = best_place(balance, group, k, &conflicts);
        if (place != NONE) replace_at(balance, group, k, place);
    }
    while (group->count > balance->copies)
        remove_at(balance, group, least_missed(balance, group));
    while (group->count < balance->copies) {
        uint32_t place = best_place(balance, group, NONE, &conflicts);
        if (place == NONE) return;
        add(balance, group, place);
    }
}

/* Replicas that share a domain move to one that has none of the group. */
static void spread_group(struct balance *balance, struct balance_group *group)
{
    for (uint32_t k = 0; k < group->count; k++) {
        struct conflicts now = conflicts_of(balance, group, k, group->nodes[k]), then;
        if (!has_conflicts(now)) continue;
        uint32_t place = best_place(balance, group, k, &then);
        if (place == NONE || compare_conflicts(then, now) >= 0) continue;
        replace_at(balance, group, k, place);
    }
}

/* The group of which a replica moves best from one node to the other; false: none may. */
static bool find_move(struct balance *balance, uint32_t from, uint32_t to,
                      struct balance_group **ret_group, uint32_t *ret_at)
{
    uint64_t best = 0;
    *ret_group = NULL;
    if (balance->looks_left < balance->group_count) return false;
    balance->looks_left -= balance->group_count;
    for (uint32_t g = 0; g < balance->group_count; g++) {
        struct balance_group *group = &balance->groups[g];
        if (!holds(group, from) || holds(group, to)) continue;
        uint64_t rank = rank_of(balance, group, to);
        if (*ret_group != NULL && rank <= best) continue;
        for (uint32_t k = 0; k < group->count; k++) {
            if (group->nodes[k] != from) continue;
            struct conflicts now = conflicts_of(balance, group, k, from);
            struct conflicts then = conflicts_of(balance, group, k, to);
            if (compare_conflicts(then, now) > 0) break;
            best = rank;
            *ret_group = group;
            *ret_at = k;
        }
    }
    return *ret_group != NULL;
}

/* One move, or a chain of them by way of nodes whose load stays, from a node that has too much to
 * one that has too little. Breadth first: the shortest chain. False: nothing is better. */
static bool level_once(struct balance *balance, uint32_t from)
{
    uint8_t before[NODES_MAX], queue[NODES_MAX];
    uint32_t head = 0, tail = 0, to = NONE;
    memset(before, NONE, sizeof(before));
    before[from] = (uint8_t)from;
    queue[tail++] = (uint8_t)from;
    while (head < tail && to == NONE) {
        uint32_t at = queue[head++];
        for (uint32_t n = 0; n < balance->node_count; n++) {
            struct balance_group *group;
            uint32_t place;
            if (before[n] != NONE || balance->nodes[n].state != BALANCE_STAYS) continue;
            if (!find_move(balance, at, n, &group, &place)) continue;
            before[n] = (uint8_t)at;
            queue[tail++] = (uint8_t)n;
            bool better = is_better(balance, balance->loads, from, n);
            if (better && (to == NONE || compare_loads(balance, balance->loads, n, to) < 0)) to = n;
        }
    }
    if (to == NONE) return false;
    for (uint32_t n = to; n != from; n = before[n]) { /* each step by itself keeps all rules */
        struct balance_group *group;
        uint32_t place;
        if (balance->moves_left == 0 || !find_move(balance, before[n], n, &group, &place))
            return false;
        replace_at(balance, group, place, n);
        balance->moves_left--;
    }
    return true;
}

/* The fullest node of those that have too much and were not found stuck; NONE: there is none.
 * Always the fullest: one that gave more than its part would be given replicas again. */
static uint32_t fullest(const struct balance *balance, const uint32_t *loads, const bool *stuck)
{
    uint32_t most = NONE;
    for (uint32_t n = 0; n < balance->node_count; n++) {
        bool too_much = false;
        if (stuck[n]) continue;
        for (uint32_t to = 0; to < balance->node_count && !too_much; to++)
            too_much =
                balance->nodes[to].state == BALANCE_STAYS && is_better(balance, loads, n, to);
        if (too_much && (most == NONE || compare_loads(balance, loads, n, most) > 0)) most = n;
    }
    return most;
}

static void level_replicas(struct balance *balance)
{
    bool stuck[NODES_MAX] = {false};
    uint32_t from;
    for (uint32_t n = 0; n < balance->node_count; n++)
        stuck[n] = balance->nodes[n].state != BALANCE_STAYS;
    while ((from = fullest(balance, balance->loads, stuck)) != NONE)
        if (!level_once(balance, from)) stuck[from] = true;
}

/* May the replica at `at` lead: no other one of the group is on a node of a lower rank. */
static bool may_lead(const struct balance *balance, const struct balance_group *group, uint32_t at)
{
    const struct balance_node *node = &balance->nodes[group->nodes[at]];
    if (node->state != BALANCE_STAYS) return false;
    for (uint32_t k = 0; k < group->count; k++) {
        const struct balance_node *other = &balance->nodes[group->nodes[k]];
        if (other->state == BALANCE_STAYS && other->lead_rank < node->lead_rank) return false;
    }
    return true;
}

/* The replica at `at` becomes the first; the others keep their order. */
static void make_first(struct balance_group *group, uint32_t at)
{
    uint8_t first = group->nodes[at];
    for (uint32_t k = at; k > 0; k--)
        group->nodes[k] = group->nodes[k - 1];
    group->nodes[0] = first;
}

static void choose_first(const struct balance *balance, struct balance_group *group,
                         uint32_t *firsts)
{
    uint32_t best = NONE;
    if (group->count == 0) return;
    for (uint32_t k = 0; k < group->count; k++) {
        if (!may_lead(balance, group, k)) continue;
        if (k == 0) {
            best = 0; /* it is so already */
            break;
        }
        if (best == NONE || compare_loads(balance, firsts, group->nodes[k], group->nodes[best]) < 0)
            best = k;
    }
    if (best != NONE) make_first(group, best);
    firsts[group->nodes[0]]++;
}

/* A group that `from` leads and `to` may lead; false: none. */
static bool find_lead(struct balance *balance, uint32_t from, uint32_t to,
                      struct balance_group **ret_group, uint32_t *ret_at)
{
    if (balance->looks_left < balance->group_count) return false;
    balance->looks_left -= balance->group_count;
    for (uint32_t g = 0; g < balance->group_count; g++) {
        struct balance_group *group = &balance->groups[g];
        if (group->count == 0 || group->nodes[0] != from) continue;
        for (uint32_t k = 1; k < group->count; k++) {
            if (group->nodes[k] != to || !may_lead(balance, group, k)) continue;
            *ret_group = group;
            *ret_at = k;
            return true;
        }
    }
    return false;
}

/* As level_once(), for preferred leaderships, which cost no copying. */
static bool level_leads_once(struct balance *balance, uint32_t *firsts, uint32_t from)
{
    uint8_t before[NODES_MAX], queue[NODES_MAX];
    uint32_t head = 0, tail = 0, to = NONE;
    memset(before, NONE, sizeof(before));
    before[from] = (uint8_t)from;
    queue[tail++] = (uint8_t)from;
    while (head < tail && to == NONE) {
        uint32_t at = queue[head++];
        for (uint32_t n = 0; n < balance->node_count && to == NONE; n++) {
            struct balance_group *group;
            uint32_t place;
            if (before[n] != NONE || !find_lead(balance, at, n, &group, &place)) continue;
            before[n] = (uint8_t)at;
            queue[tail++] = (uint8_t)n;
            if (is_better(balance, firsts, from, n)) to = n;
        }
    }
    if (to == NONE) return false;
    for (uint32_t n = to; n != from; n = before[n]) {
        struct balance_group *group;
        uint32_t place;
        if (find_lead(balance, before[n], n, &group, &place)) make_first(group, place);
    }
    firsts[from]--;
    firsts[to]++;
    return true;
}

static void level_leads(struct balance *balance)
{
    uint32_t firsts[NODES_MAX] = {0}, from;
    bool stuck[NODES_MAX] = {false};
    for (uint32_t g = 0; g < balance->group_count; g++)
        choose_first(balance, &balance->groups[g], firsts);
    while ((from = fullest(balance, firsts, stuck)) != NONE)
        if (!level_leads_once(balance, firsts, from)) stuck[from] = true;
}

void balance_groups(const struct balance_node *nodes, uint32_t node_count,
                    struct balance_group *groups, uint32_t group_count, uint32_t replicas)
{
    struct balance balance = {.nodes = nodes,
                              .node_count = node_count,
                              .groups = groups,
                              .group_count = group_count,
                              .copies = balance_copies(nodes, node_count, replicas)};
    ASSERT(node_count >= 1 && node_count <= NODES_MAX);
    ASSERT(replicas >= 1 && replicas <= VIEW_REPLICAS_MAX);
    for (uint32_t g = 0; g < group_count; g++)
        for (uint32_t k = 0; k < groups[g].count; k++)
            balance.loads[groups[g].nodes[k]]++;
    if (balance.copies == 0) return; /* all leave: where to? */
    balance.moves_left = 2 * group_count * balance.copies;
    balance.looks_left = BALANCE_LOOKS_MAX;
    for (uint32_t g = 0; g < group_count; g++)
        fill_group(&balance, &groups[g]);
    for (uint32_t g = 0; g < group_count; g++)
        spread_group(&balance, &groups[g]);
    level_replicas(&balance);
    balance.looks_left = BALANCE_LOOKS_MAX;
    level_leads(&balance);
}
