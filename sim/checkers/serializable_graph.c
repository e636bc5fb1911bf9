#include "sim/checkers/serializable_internal.h"

#include "base/assert.h"
#include "base/memory.h"

#include <stdlib.h>

void graph_init(struct graph *graph, uint32_t txn_count)
{
    *graph = (struct graph){.txn_count = txn_count, .node_count = txn_count};
}

void graph_free(struct graph *graph)
{
    memory_free(graph->edges);
    memory_free(graph->starts);
    *graph = (struct graph){0};
}

void graph_add(struct graph *graph, struct edge edge)
{
    ASSERT(graph->starts == NULL && edge.from != edge.to);
    ASSERT(edge.from < graph->node_count && edge.to < graph->node_count);
    if (graph->edge_count == graph->edge_capacity) {
        graph->edge_capacity = graph->edge_capacity ? graph->edge_capacity * 2 : 1024;
        graph->edges = memory_resize(graph->edges, graph->edge_capacity * sizeof(*graph->edges));
    }
    graph->edges[graph->edge_count++] = edge;
}

uint32_t graph_add_node(struct graph *graph)
{
    ASSERT(graph->node_count < UINT32_MAX - 1);
    return graph->node_count++;
}

/* A counting sort by `from`; edges of one node keep their order. */
void graph_seal(struct graph *graph)
{
    struct edge *sorted = memory_allocate((graph->edge_count + 1) * sizeof(*sorted));
    size_t *starts = memory_allocate_zero(((size_t)graph->node_count + 2) * sizeof(*starts));

    for (size_t i = 0; i < graph->edge_count; i++)
        starts[graph->edges[i].from + 2]++;
    for (uint32_t i = 2; i < graph->node_count + 2; i++)
        starts[i] += starts[i - 1];
    for (size_t i = 0; i < graph->edge_count; i++)
        sorted[starts[graph->edges[i].from + 1]++] = graph->edges[i];
    memory_free(graph->edges);
    graph->edges = sorted;
    graph->starts = starts;
}

/* --- fans --- */

static int compare_members(const void *left, const void *right)
{
    const struct member *a = left, *b = right;

    if (a->time != b->time) return a->time < b->time ? -1 : 1;
    return a->txn < b->txn ? -1 : a->txn > b->txn;
}

void fan_sort(struct member *members, uint32_t count)
{
    qsort(members, count, sizeof(*members), compare_members);
}

/* Between node `tree` of the tree and `other`. */
static void draw(struct fan *fan, uint32_t tree, uint32_t other, enum edge_kind kind,
                 uint64_t value, uint32_t witness)
{
    bool is_member = tree >= fan->count;
    const struct member *member = is_member ? &fan->members[tree - fan->count] : NULL;
    uint32_t node = is_member ? member->txn : fan->first_node + tree;

    if (fan->inwards)
        graph_add(fan->graph, (struct edge){.from = node,
                                            .to = other,
                                            .key = fan->key,
                                            .kind = is_member ? kind : EDGE_FREE,
                                            .value = value,
                                            .witness = witness});
    else
        graph_add(fan->graph, (struct edge){.from = other,
                                            .to = node,
                                            .key = fan->key,
                                            .kind = kind,
                                            .value = is_member ? member->value : 0});
}

void fan_open(struct fan *fan, struct graph *graph, uint32_t key, struct member *members,
              uint32_t count, enum edge_kind inwards)
{
    *fan = (struct fan){.graph = graph,
                        .members = members,
                        .count = count,
                        .key = key,
                        .inwards = inwards != 0,
                        .first_node = graph->node_count - 1};
    for (uint32_t i = 1; i < count; i++)
        graph_add_node(graph);
    for (uint32_t child = 2; child < 2 * count; child++)
        draw(fan, child, fan->first_node + child / 2, fan->inwards ? inwards : EDGE_FREE, 0, 0);
}

/* The first member that is not before (time, txn). */
static uint32_t find(const struct fan *fan, uint64_t time, uint32_t txn)
{
    struct member wanted = {.txn = txn, .time = time};
    uint32_t low = 0, high = fan->count;

    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (compare_members(&fan->members[middle], &wanted) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

uint32_t fan_first_at(const struct fan *fan, uint64_t time)
{
    return find(fan, time, 0);
}

static void draw_range(struct fan *fan, struct member self, uint32_t first, uint32_t end,
                       enum edge_kind kind)
{
    uint32_t low = first + fan->count, high = end + fan->count;

    for (; low < high; low /= 2, high /= 2) {
        if (low & 1) draw(fan, low++, self.txn, kind, self.value, self.witness);
        if (high & 1) draw(fan, --high, self.txn, kind, self.value, self.witness);
    }
}

void fan_draw(struct fan *fan, struct member self, uint32_t first, uint32_t end,
              enum edge_kind kind)
{
    uint32_t at = find(fan, self.time, self.txn);
    bool inside = at >= first && at < end && fan->members[at].txn == self.txn;

    if (first >= end) return;
    draw_range(fan, self, first, inside ? at : end, kind);
    if (inside) draw_range(fan, self, at + 1, end, kind);
}

/* --- time --- */

static int compare_clients(const void *left, const void *right)
{
    const struct member *a = left, *b = right;

    if (a->value != b->value) return a->value < b->value ? -1 : 1;
    return compare_members(left, right);
}

/* From each to the next one of its client that was called after it had returned. One of unknown
 * outcome is behind what was before it, and before nothing. */
static void add_process_order(struct check *check, struct member *members, uint32_t count)
{
    const struct sim_txn *txns = check->history->txns;
    uint32_t before = SIM_TXN_NONE;

    for (uint32_t i = 0; i < count; i++) {
        const struct sim_txn *self = &txns[members[i].txn];
        members[i].time = self->invoked;
        members[i].value = self->client;
    }
    qsort(members, count, sizeof(*members), compare_clients);
    for (uint32_t i = 0; i < count; i++) {
        uint32_t self = members[i].txn;
        if (i > 0 && members[i].value != members[i - 1].value) before = SIM_TXN_NONE;
        if (before != SIM_TXN_NONE && txns[before].returned <= txns[self].invoked)
            graph_add(&check->graph,
                      (struct edge){.from = before, .to = self, .kind = EDGE_PROCESS});
        if (txns[self].returned != UINT64_MAX) before = self;
    }
}

/* A chain of helpers, one for each return in order of time: what has returned leads into its own,
 * and out of the last one before a call leads the way to what was called. So there is a path
 * between two transactions exactly if one returned before the other was called. */
static void add_real_time(struct check *check, struct member *members, uint32_t count)
{
    struct graph *graph = &check->graph;
    const struct sim_txn *txns = check->history->txns;
    struct member *returns = memory_allocate(((size_t)count + 1) * sizeof(*returns));
    uint32_t return_count = 0;

    for (uint32_t i = 0; i < count; i++) {
        uint64_t returned = txns[members[i].txn].returned;
        if (returned == UINT64_MAX) continue;
        returns[return_count++] = (struct member){.txn = members[i].txn, .time = returned};
    }
    fan_sort(returns, return_count);
    struct fan by_return = {.members = returns, .count = return_count};
    uint32_t first = graph->node_count;
    for (uint32_t i = 0; i < return_count; i++) {
        uint32_t node = graph_add_node(graph);
        graph_add(graph, (struct edge){.from = returns[i].txn, .to = node, .kind = EDGE_REALTIME});
        if (i > 0) graph_add(graph, (struct edge){.from = node - 1, .to = node, .kind = EDGE_FREE});
    }
    for (uint32_t i = 0; i < count; i++) {
        uint32_t self = members[i].txn;
        uint32_t before = fan_first_at(&by_return, txns[self].invoked);
        if (before > 0)
            graph_add(graph,
                      (struct edge){.from = first + before - 1, .to = self, .kind = EDGE_FREE});
    }
    memory_free(returns);
}

void check_add_times(struct check *check)
{
    uint32_t txn_count = check->history->txn_count;
    struct member *members = memory_allocate(((size_t)txn_count + 1) * sizeof(*members));
    uint32_t count = 0;

    for (uint32_t i = 0; i < txn_count; i++)
        if (check->counts[i]) members[count++] = (struct member){.txn = i};
    add_process_order(check, members, count);
    add_real_time(check, members, count);
    memory_free(members);
}
