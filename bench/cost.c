/* cost.c - N requests on three simulated nodes, for counting instructions: bench/instructions
 * runs this under callgrind, which collects only while the node in question handles an event.
 *
 *   bench-cost REQUESTS
 *
 * One partition, so that one node leads everything. 10 clients send one request each, and the
 * next ones when all are answered: a group as a busy cluster has it. Each phase repeats the
 * same requests and counts one node; the simulator makes them the same in every run. What its
 * own code costs (sim/) is taken out by bench/instructions.
 * Without valgrind it just runs, which shows that it works. */
#include "base/assert.h"
#include "base/memory.h"
#include "bench/sockets.h"
#include "sim/sim_client.h"
#include "sim/sim_cluster.h"

#if __has_include(<valgrind/callgrind.h>)
#include <valgrind/callgrind.h>
#else
#define CALLGRIND_TOGGLE_COLLECT
#define CALLGRIND_DUMP_STATS_AT(text) ((void)(text))
#endif

enum { SEED = 42, CLIENTS = 10, KEYS = 1000, NODES = 3, SECOND_US = 1000000 };

struct cost {
    struct sim sim;
    struct sim_cluster *cluster;
    struct sim_clients *clients;
    struct sim_client *of_node[NODES + 1][CLIENTS];
    uint32_t counted; /* node whose events are collected; 0: none */
};

/* Runs one event. */
static void cost_step(struct cost *cost)
{
    struct sim *sim = &cost->sim;

    if (sim->heap_count == 0 || sim->failed) fail("the simulation ended: %s", sim->violation);
    struct sim_world *world = sim->heap[0].event->world;
    bool collects = world && cost->counted && world->process->machine->number == cost->counted;

    sim->event_limit = sim->event_count + 1;
    if (collects) CALLGRIND_TOGGLE_COLLECT;
    sim_run_until(sim, sim->heap[0].time);
    if (collects) CALLGRIND_TOGGLE_COLLECT;
    sim->event_limit = 0;
}

static void cost_group(struct cost *cost, enum sim_op_kind kind, uint32_t via)
{
    uint64_t limit = cost->sim.now + 30u * SECOND_US;

    for (uint32_t i = 0; i < CLIENTS; i++) {
        struct sim_client *client = cost->of_node[via][i];
        uint32_t key = (uint32_t)sim_below(&cost->sim, SIM_RANDOM_WORKLOAD, KEYS);
        sim_client_send(client, kind, key, (int64_t)cost->sim.event_count);
        sim_client_flush(client);
    }
    while (sim_clients_outstanding(cost->clients) > 0) {
        if (cost->sim.now > limit) fail("a request was not answered");
        cost_step(cost);
    }
}

/* What the nodes still do when the clients have their answers belongs to the requests. */
static void cost_drain(struct cost *cost)
{
    uint64_t end = cost->sim.now + SECOND_US / 50;

    while (cost->sim.heap_count > 0 && cost->sim.heap[0].time <= end)
        cost_step(cost);
}

static void cost_phase(struct cost *cost, const char *name, enum sim_op_kind kind, uint32_t via,
                       uint32_t counted, uint32_t requests)
{
    for (uint32_t i = 0; i < 4; i++) /* grown buffers and learnt leaders are not of interest */
        cost_group(cost, kind, via);
    cost_drain(cost);
    cost->counted = counted;
    for (uint32_t done = 0; done < requests; done += CLIENTS)
        cost_group(cost, kind, via);
    cost_drain(cost);
    cost->counted = 0;
    printf("%s %u\n", name, (requests + CLIENTS - 1) / CLIENTS * CLIENTS);
    CALLGRIND_DUMP_STATS_AT(name);
}

static bool connected(struct sim_cluster *cluster, void *context)
{
    struct cost *cost = context;

    for (uint32_t node = 1; node <= NODES; node++)
        for (uint32_t i = 0; i < CLIENTS; i++)
            if (!sim_client_connected(cost->of_node[node][i])) return false;
    return true;
}

static void cost_start(struct cost *cost)
{
    struct sim_cluster_options options;
    struct sim_workload workload = {
        .registers = KEYS, .pad_max = 0, .patience = 10u * SECOND_US, .give_up = 60u * SECOND_US};
    char addresses[SIM_NODES_MAX][64];

    sim_init(&cost->sim, SEED);
    sim_cluster_options_default(&options);
    options.partitions = 1;
    options.log_segment_size = 64 << 20;
    options.flush_bytes = 64 << 20;
    cost->cluster = sim_cluster_make(&cost->sim, &options);
    if (!sim_cluster_start_all(cost->cluster, 30u * SECOND_US)) fail("the cluster did not start");
    sim_cluster_addresses(cost->cluster, addresses);
    cost->clients = sim_clients_make(&cost->sim, &workload, addresses, NODES);
    for (uint32_t node = 1; node <= NODES; node++)
        for (uint32_t i = 0; i < CLIENTS; i++) {
            cost->of_node[node][i] = sim_client_manual(cost->clients, node);
            sim_client_connect(cost->of_node[node][i], node);
        }
    if (!sim_cluster_wait(cost->cluster, 10u * SECOND_US, connected, cost))
        fail("the clients could not connect");
}

/* A GET through the leader needs no other node, so it is the quickest. */
static uint32_t cost_find_leader(struct cost *cost)
{
    uint64_t least = UINT64_MAX;
    uint32_t leader = 0;

    for (uint32_t node = 1; node <= NODES; node++) {
        uint64_t start = cost->sim.now;
        for (uint32_t i = 0; i < 10; i++)
            cost_group(cost, SIM_OP_GET, node);
        if (cost->sim.now - start >= least) continue;
        least = cost->sim.now - start;
        leader = node;
    }
    return leader;
}

int main(int argc, char **argv)
{
    struct cost *cost = memory_allocate_zero(sizeof(*cost));
    uint64_t requests;

    if (argc != 2 || !parse_u64(bytes_of(argv[1]), &requests) || requests > 100000)
        fail("usage: bench-cost REQUESTS");
    cost_start(cost);
    for (uint32_t i = 0; i < KEYS / CLIENTS * 4; i++)
        cost_group(cost, SIM_OP_SET, 1); /* most keys exist */

    uint32_t leader = cost_find_leader(cost), follower = leader % NODES + 1;
    uint32_t count = (uint32_t)requests;
    cost_phase(cost, "set_leader", SIM_OP_SET, leader, leader, count);
    cost_phase(cost, "set_follower", SIM_OP_SET, leader, follower, count);
    cost_phase(cost, "get_leader", SIM_OP_GET, leader, leader, count);
    cost_phase(cost, "set_forwarded_leader", SIM_OP_SET, follower, leader, count);
    cost_phase(cost, "set_forwarded_follower", SIM_OP_SET, follower, follower, count);
    cost_phase(cost, "get_forwarded_leader", SIM_OP_GET, follower, leader, count);
    cost_phase(cost, "get_forwarded_follower", SIM_OP_GET, follower, follower, count);
    sim_clients_free(cost->clients);
    sim_cluster_free(cost->cluster);
    sim_free(&cost->sim);
    memory_free(cost);
    return 0;
}
