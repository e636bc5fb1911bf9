#include "sim/checkers/serializable_internal.h"

#include "base/assert.h"
#include "base/memory.h"

#include <inttypes.h>

/* Edges looked at when a short cycle is searched for: then the best one so far is told. */
enum { STEPS_MAX = 50000000 };

enum {
    ALL_WW = EDGE_WW | EDGE_WW_REALTIME | EDGE_WW_READ,
    ALL_RW = EDGE_RW | EDGE_RW_REALTIME | EDGE_RW_READ,
    ALL_REALTIME = EDGE_REALTIME | EDGE_WW_REALTIME | EDGE_RW_REALTIME,
};

struct cycles {
    struct check *check;
    const struct graph *graph;
    uint32_t *component; /* by node: its root's number, from 1 on; 0: alone */
    uint32_t *low;       /* Tarjan's; later: the search that a node was reached in */
    uint32_t *distance;  /* transactions from the start of the search */
    size_t *by;          /* edge through which a node was reached; Tarjan: its next edge */
    uint32_t *stack;     /* Tarjan's; later: the nodes of this distance */
    uint32_t *path;      /* Tarjan's path; later: the nodes of the next distance */
    size_t *best;        /* edges of the shortest cycle, backwards */
    size_t best_count;
    uint32_t best_length; /* transactions in it */
    uint32_t search;
    uint64_t steps;
};

static void cycles_open(struct cycles *cycles, struct check *check)
{
    size_t nodes = (size_t)check->graph.node_count + 1;

    *cycles = (struct cycles){.check = check, .graph = &check->graph};
    cycles->component = memory_allocate(nodes * sizeof(*cycles->component));
    cycles->low = memory_allocate(nodes * sizeof(*cycles->low));
    cycles->distance = memory_allocate(nodes * sizeof(*cycles->distance));
    cycles->by = memory_allocate(nodes * sizeof(*cycles->by));
    cycles->stack = memory_allocate(nodes * sizeof(*cycles->stack));
    cycles->path = memory_allocate(nodes * sizeof(*cycles->path));
    cycles->best = memory_allocate(nodes * sizeof(*cycles->best));
}

static void cycles_close(struct cycles *cycles)
{
    memory_free(cycles->component);
    memory_free(cycles->low);
    memory_free(cycles->distance);
    memory_free(cycles->by);
    memory_free(cycles->stack);
    memory_free(cycles->path);
    memory_free(cycles->best);
}

/* --- strongly connected components (Tarjan 1972), with a path of its own for a stack --- */

/* Takes the component of `root` off the stack. True: it has more than one node. */
static bool take_component(struct cycles *cycles, uint32_t root, uint32_t *depth)
{
    bool alone = cycles->stack[*depth - 1] == root;
    uint32_t node;

    do {
        node = cycles->stack[--*depth];
        cycles->component[node] = alone ? 0 : root + 1;
        cycles->low[node] = UINT32_MAX; /* done */
    } while (node != root);
    return !alone;
}

/* Over edges of the kinds in `mask`. low[n]: 0 not seen yet, UINT32_MAX done, otherwise the least
 * number of a node on the stack that is known to be reached. True: there are cycles. */
static bool find_components(struct cycles *cycles, uint32_t mask)
{
    const struct graph *graph = cycles->graph;
    uint32_t *number = cycles->distance, *low = cycles->low;
    uint32_t seen = 0, depth = 0;
    bool found = false;

    for (uint32_t i = 0; i < graph->node_count; i++)
        low[i] = 0;
    for (uint32_t start = 0; start < graph->node_count; start++) {
        if (low[start] != 0) continue;
        uint32_t path_size = 0;
        cycles->path[path_size++] = start;
        while (path_size > 0) {
            uint32_t node = cycles->path[path_size - 1];
            if (low[node] == 0) {
                low[node] = number[node] = ++seen;
                cycles->by[node] = graph->starts[node];
                cycles->stack[depth++] = node;
            }
            if (cycles->by[node] < graph->starts[node + 1]) {
                const struct edge *edge = &graph->edges[cycles->by[node]++];
                if ((edge->kind & mask) == 0) continue;
                if (low[edge->to] == 0)
                    cycles->path[path_size++] = edge->to;
                else if (low[edge->to] != UINT32_MAX && number[edge->to] < low[node])
                    low[node] = number[edge->to];
                continue;
            }
            path_size--;
            uint32_t parent = path_size > 0 ? cycles->path[path_size - 1] : node;
            if (low[node] < low[parent]) low[parent] = low[node];
            if (low[node] == number[node]) found |= take_component(cycles, node, &depth);
        }
    }
    ASSERT(depth == 0);
    return found;
}

/* --- a shortest cycle --- */

static void keep_cycle(struct cycles *cycles, uint32_t start, size_t last)
{
    size_t edge = last;

    cycles->best_length = cycles->distance[start];
    cycles->best_count = 0;
    for (;;) {
        cycles->best[cycles->best_count++] = edge;
        uint32_t node = cycles->graph->edges[edge].from;
        if (node == start) break;
        edge = cycles->by[node];
    }
}

/* From one transaction back to itself: breadth first, but what is reached out of a helper belongs
 * to the same distance. Its first edge is of a kind in `first`, the others in `rest`. */
static void search_from(struct cycles *cycles, uint32_t start, uint32_t first, uint32_t rest)
{
    const struct graph *graph = cycles->graph;
    uint32_t *now = cycles->stack, *next = cycles->path;
    uint32_t now_count = 0, next_count = 0, distance = 0;

    cycles->search++;
    now[now_count++] = start;
    while (now_count > 0 && distance + 1 < cycles->best_length) {
        distance++;
        next_count = 0;
        for (uint32_t i = 0; i < now_count; i++) {
            uint32_t node = now[i];
            uint32_t mask = node == start ? first : rest;
            for (size_t e = graph->starts[node]; e < graph->starts[node + 1]; e++) {
                const struct edge *edge = &graph->edges[e];
                cycles->steps++;
                if ((edge->kind & mask) == 0) continue;
                if (cycles->component[edge->to] != cycles->component[start]) continue;
                if (cycles->low[edge->to] == cycles->search) continue;
                cycles->low[edge->to] = cycles->search;
                cycles->by[edge->to] = e;
                if (edge->to == start) {
                    cycles->distance[start] = distance;
                    keep_cycle(cycles, start, e);
                    return;
                }
                /* A helper is walked through at once; a transaction waits for its turn. */
                if (edge->to >= graph->txn_count)
                    now[now_count++] = edge->to;
                else
                    next[next_count++] = edge->to;
            }
        }
        uint32_t *swap = now;
        now = next;
        next = swap;
        now_count = next_count;
    }
}

/* False: none, or none that was found in time. */
static bool find_cycle(struct cycles *cycles, uint32_t first, uint32_t rest)
{
    cycles->best_count = 0;
    cycles->best_length = UINT32_MAX;
    cycles->search = 0;
    for (uint32_t i = 0; i < cycles->graph->node_count; i++)
        cycles->low[i] = 0;
    for (uint32_t i = 0; i < cycles->graph->txn_count; i++) {
        if (cycles->component[i] == 0) continue;
        if (cycles->best_length == 2) break;
        if (cycles->steps > STEPS_MAX && (first != rest || cycles->best_count > 0)) break;
        search_from(cycles, i, first, rest);
    }
    return cycles->best_count > 0;
}

/* --- its name and its story --- */

static enum sim_anomaly classify(const struct cycles *cycles)
{
    uint32_t kinds = 0, rw_count = 0;

    for (size_t i = 0; i < cycles->best_count; i++) {
        uint32_t kind = cycles->graph->edges[cycles->best[i]].kind;
        kinds |= kind;
        rw_count += (kind & ALL_RW) != 0;
    }
    uint32_t anomaly = SIM_ANOMALY_G0;
    if (rw_count > 0)
        anomaly = rw_count == 1 ? SIM_ANOMALY_G_SINGLE : SIM_ANOMALY_G2;
    else if (kinds & EDGE_WR)
        anomaly = SIM_ANOMALY_G1C;
    if (kinds & ALL_REALTIME)
        anomaly += SIM_ANOMALY_G0_REALTIME - SIM_ANOMALY_G0;
    else if (kinds & EDGE_PROCESS)
        anomaly += SIM_ANOMALY_G0_PROCESS - SIM_ANOMALY_G0;
    return (enum sim_anomaly)anomaly;
}

/* `into`: the last edge, which knows the value if the first one led to a helper. */
static void say_edge(struct check *check, const struct edge *edge, const struct edge *into)
{
    uint32_t from = edge->from, to = into->to;
    uint64_t value = into->value ? into->value : edge->value;

    switch ((enum edge_kind)edge->kind) {
    case EDGE_WW:
    case EDGE_WW_REALTIME:
    case EDGE_WW_READ:
        check_say(check,
                  "\n  T%" PRIu32 " -ww-> T%" PRIu32 ": T%" PRIu32 " wrote %" PRIu64 " to k%" PRIu32
                  " after T%" PRIu32 " had written",
                  from, to, to, value, edge->key, from);
        break;
    case EDGE_WR:
        check_say(check,
                  "\n  T%" PRIu32 " -wr-> T%" PRIu32 ": T%" PRIu32 " read %" PRIu64 " in k%" PRIu32
                  ", which T%" PRIu32 " wrote",
                  from, to, to, value, edge->key, from);
        break;
    case EDGE_RW:
    case EDGE_RW_REALTIME:
    case EDGE_RW_READ:
        check_say(check,
                  "\n  T%" PRIu32 " -rw-> T%" PRIu32 ": T%" PRIu32 " did not see "
                  "%" PRIu64 " in k%" PRIu32 ", which T%" PRIu32 " wrote",
                  from, to, from, value, edge->key, to);
        break;
    case EDGE_PROCESS:
        check_say(check, "\n  T%" PRIu32 " -process-> T%" PRIu32 ": the next of client %" PRIu32,
                  from, to, check->history->txns[from].client);
        break;
    case EDGE_REALTIME:
        check_say(check,
                  "\n  T%" PRIu32 " -realtime-> T%" PRIu32 ": had returned when it was called",
                  from, to);
        break;
    case EDGE_FREE:
        ASSERT(false);
    }
    if (edge->kind == EDGE_RW_REALTIME)
        check_say(check, "; it was called when who wrote what was read had returned");
    if (edge->kind == EDGE_WW_REALTIME)
        check_say(check, "; it had returned when T%" PRIu32 " was called, which read that value",
                  into->witness - 1);
    if (edge->kind & (EDGE_WW_READ | EDGE_RW_READ))
        check_say(check, "; the order of the versions follows from T%" PRIu32, edge->witness - 1);
}

static bool is_in_cycle(const struct cycles *cycles, uint32_t txn)
{
    for (size_t i = 0; i < cycles->best_count; i++)
        if (cycles->graph->edges[cycles->best[i]].from == txn) return true;
    return false;
}

static void tell(struct cycles *cycles)
{
    struct check *check = cycles->check;
    const struct graph *graph = cycles->graph;

    check->report.cycle_count = cycles->best_length;
    check_found(check, classify(cycles), "a cycle of %" PRIu32 " transactions",
                cycles->best_length);
    for (size_t i = cycles->best_count; i > 0;) {
        const struct edge *edge = &graph->edges[cycles->best[--i]];
        const struct edge *into = edge;
        while (into->to >= graph->txn_count)
            into = &graph->edges[cycles->best[--i]];
        say_edge(check, edge, into);
    }
    for (size_t i = cycles->best_count; i > 0 && check->text_used < check->text_size; i--) {
        const struct edge *edge = &graph->edges[cycles->best[i - 1]];
        if (edge->from < graph->txn_count) check_say_txn(check, edge->from);
        if (edge->witness > 0 && !is_in_cycle(cycles, edge->witness - 1))
            check_say_txn(check, edge->witness - 1);
    }
}

/* With these kinds besides the dependencies that are plain: the worst anomaly first. */
static bool look(struct cycles *cycles, uint32_t more)
{
    uint32_t g0 = EDGE_WW | EDGE_FREE | (more & ~(uint32_t)ALL_RW);
    uint32_t g1 = g0 | EDGE_WR;
    uint32_t g2 = g1 | EDGE_RW | more;

    if (find_components(cycles, g0) && find_cycle(cycles, g0, g0)) return true;
    if (find_components(cycles, g1) && find_cycle(cycles, g1, g1)) return true;
    if (!find_components(cycles, g2)) return false;
    return find_cycle(cycles, g2 & ALL_RW, g1) || find_cycle(cycles, g2, g2);
}

bool check_cycles(struct check *check)
{
    struct cycles cycles;

    cycles_open(&cycles, check);
    bool good = !find_components(&cycles, UINT32_MAX);
    if (!good) {
        /* Orders that a third one tells come behind those that are seen in the cycle. */
        static const uint32_t more[] = {
            0,
            EDGE_WW_READ | EDGE_RW_READ,
            EDGE_WW_READ | EDGE_RW_READ | EDGE_PROCESS,
            EDGE_WW_READ | EDGE_RW_READ | EDGE_PROCESS | EDGE_REALTIME | EDGE_RW_REALTIME,
            EDGE_WW_READ | EDGE_RW_READ | EDGE_PROCESS | ALL_REALTIME,
        };
        bool found = false;
        for (uint32_t i = 0; i < ARRAY_COUNT(more) && !found; i++)
            found = look(&cycles, more[i]);
        ASSERT(found);
        tell(&cycles);
    }
    cycles_close(&cycles);
    return good;
}
