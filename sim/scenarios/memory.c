/* A database with durability memory (decision 0012): what is acknowledged is only written. */
#include "sim/scenarios/moves.h"

#include "base/memory.h"
#include "services/redis/command.h"
#include "services/redis/request_body.h"
#include "sim/sim_disk.h"
#include "sim/sim_salvage.h"

#include <stdio.h>

enum {
    ROUNDS = 4,
    BESIDE = 5,        /* the database in memory, where the clients' is on disk */
    BESIDE_OPEN = 32,  /* requests to it, for each node */
    BESIDE_SLOTS = 16, /* keys */
    ELECT_US = 20 * STAGE_S,
};

static void plan_make(struct sim_plan *plan, uint32_t partitions)
{
    stage_plan(plan);
    plan->cluster.partitions = partitions;
    plan->cluster.flush_bytes = 16 << 10;
    plan->workload.registers = 6;
    plan->workload.counters = 3;
    plan->workload.write_percent = 70;
    plan->workload.think_min = 200;
    plan->workload.think_max = 3 * STAGE_MS;
}

static bool set_memory(struct sim_bed *bed, int database, const char *durability)
{
    struct moves moves = {.bed = bed};
    char path[32], query[32];

    snprintf(path, sizeof(path), "/databases/%d", database);
    snprintf(query, sizeof(query), "durability=%s", durability);
    if (!moves_operate_by(&moves, 0, path, query)) return false;
    sim_run_for(&bed->sim, 1 * STAGE_S); /* known everywhere, and on record */
    return !bed->sim.failed;
}

static void start(struct sim_bed *bed, node_id_t id)
{
    if (!sim_node_is_up(stage_node(bed, id))) sim_node_start(stage_node(bed, id));
}

static void lose_power(struct sim_bed *bed, node_id_t id)
{
    if (sim_node_is_up(stage_node(bed, id))) sim_node_power_loss(stage_node(bed, id));
}

/* --- a minority, and all processes -------------------------------------------------------- */

static uint32_t nodes_of(const struct sim_bed *bed)
{
    return bed->cluster->options.nodes;
}

/* Bits of a minority, drawn among those that are not in `without`. */
static uint32_t draw_minority(struct sim_bed *bed, uint32_t without)
{
    uint32_t drawn = 0;

    while ((uint32_t)__builtin_popcount(drawn) < nodes_of(bed) / 2) {
        node_id_t id = (node_id_t)stage_draw(bed, 1, nodes_of(bed));
        drawn |= 1u << id & ~without;
    }
    return drawn;
}

static void lose_power_of(struct sim_bed *bed, uint32_t victims)
{
    for (node_id_t id = 1; id <= nodes_of(bed); id++)
        if (victims >> id & 1) lose_power(bed, id);
}

/* Whoever lost power with entries that the others lack must not elect one of them. */
static void lose_power_beside_those_that_lag(struct sim_bed *bed)
{
    node_id_t leader = stage_leader(bed);
    if (leader == 0) return;
    uint32_t victims = draw_minority(bed, 1u << leader);

    stage_only(bed, 1u << leader | victims);
    sim_run_for(&bed->sim, stage_draw(bed, 20, 120) * STAGE_MS);
    lose_power_of(bed, victims);
    sim_node_kill(stage_node(bed, leader));
    sim_network_heal_all(bed->cluster->network);
    sim_run_for(&bed->sim, 20 * STAGE_MS);
    for (node_id_t id = 1; id <= nodes_of(bed); id++)
        if (victims >> id & 1) start(bed, id);
    sim_run_for(&bed->sim, stage_draw(bed, 1500, 4000) * STAGE_MS);
    start(bed, leader);
}

static void kill_all(struct sim_bed *bed)
{
    for (node_id_t id = 1; id <= nodes_of(bed); id++)
        sim_node_kill(stage_node(bed, id));
    sim_reached(&bed->sim, "scenario: all processes died with entries that were only written");
    sim_run_for(&bed->sim, 50 * STAGE_MS);
}

/* Goal: a minority of machines that lose power, and processes that die, all at once, lose no
 * acknowledged write of a database in memory. Method: rounds of either, with three nodes or five,
 * the next when all are whole again; then it is on disk once more, and all lose power. */
void scenario_memory_power(struct sim_bed *bed)
{
    struct sim_plan plan;

    plan_make(&plan, 1);
    plan.cluster.nodes = plan.cluster.replicas = bed->sim.seed % 4 == 0 ? 5 : 3;
    if (!stage_open(bed, &plan) || !set_memory(bed, 0, "memory")) return;
    for (int round = 0; round < ROUNDS && !bed->sim.failed; round++) {
        sim_run_for(&bed->sim, stage_draw(bed, 100, 600) * STAGE_MS);
        if (round % 2 == 0)
            lose_power_beside_those_that_lag(bed);
        else if (stage_draw(bed, 0, 1))
            kill_all(bed);
        else
            lose_power_of(bed, draw_minority(bed, 0));
        sim_run_for(&bed->sim, stage_draw(bed, 10, 800) * STAGE_MS);
        if (!stage_repair(bed) || !stage_wait_whole(bed, "after a loss of power, not whole"))
            return;
    }
    if (bed->sim.failed || !set_memory(bed, 0, "disk")) return;
    sim_run_for(&bed->sim, 1 * STAGE_S);
    sim_fault_hit(&bed->sim, SIM_FAULT_POWER_LOSS_ALL);
    for (node_id_t id = 1; id <= nodes_of(bed); id++)
        lose_power(bed, id);
    sim_run_for(&bed->sim, 100 * STAGE_MS);
    stage_judge(bed);
}

/* --- all at once -------------------------------------------------------------------------- */

struct beside_request {
    struct gateway_request request;
    struct beside *beside;
    bool open;
};

/* Writes to another database at one node; nobody asks what became of them. */
struct beside_node {
    struct beside *beside;
    struct sim_incarnation *incarnation;
    struct beside_request requests[BESIDE_OPEN];
};

struct beside {
    struct beside_node nodes[4];
    uint64_t acknowledged, next;
};

static void beside_done(struct gateway_request *request, enum gateway_outcome outcome,
                        struct bytes reply)
{
    struct beside_request *at = request->context;

    at->open = false;
    at->beside->acknowledged += outcome == GATEWAY_REPLY;
}

static void beside_write(struct beside_request *at, struct gateway *gateway)
{
    char key[24], value[24];
    struct buffer body;

    snprintf(key, sizeof(key), "beside:%u", (unsigned)(at->beside->next % BESIDE_SLOTS));
    snprintf(value, sizeof(value), "%llu", (unsigned long long)at->beside->next++);
    const struct bytes arguments[] = {bytes_of(key), bytes_of(value)};
    buffer_init(&body, 256);
    redis_body_encode(&(struct redis_body){.database = BESIDE,
                                           .command = REDIS_SET,
                                           .count = ARRAY_COUNT(arguments),
                                           .arguments = arguments},
                      &body);
    at->open = true;
    at->request = (struct gateway_request){.service = SERVICE_REDIS,
                                           .slot = key_slot(bytes_of(key)),
                                           .write = true,
                                           .grows = true,
                                           .body = buffer_bytes(&body),
                                           .on_reply = beside_done,
                                           .context = at};
    gateway_submit(gateway, &at->request);
    buffer_free(&body);
}

static void beside_turn(void *context)
{
    struct beside_node *node = context;
    struct gateway *gateway = node->incarnation->node->workers[0].gateway;

    for (uint32_t i = 0; i < BESIDE_OPEN && gateway != NULL; i++)
        if (!node->requests[i].open) {
            beside_write(&node->requests[i], gateway);
            return;
        }
}

/* Clients work, and beside them the other database is written to, at all nodes. */
static void run_beside(struct sim_bed *bed, struct beside *beside, uint64_t duration)
{
    uint64_t end = bed->sim.now + duration;

    while (!bed->sim.failed && bed->sim.now < end) {
        for (node_id_t id = 1; id <= 3; id++) {
            struct beside_node *node = &beside->nodes[id];
            if (!sim_node_is_ready(stage_node(bed, id))) continue;
            if (node->incarnation != stage_node(bed, id)->now)
                memset(node->requests, 0, sizeof(node->requests));
            node->beside = beside;
            node->incarnation = stage_node(bed, id)->now;
            for (uint32_t i = 0; i < BESIDE_OPEN; i++)
                node->requests[i].beside = beside;
            sim_world_call(&node->incarnation->process->worlds[0], 0, beside_turn, node);
        }
        sim_run_for(&bed->sim, 300);
    }
}

static bool accept_loss(struct sim_bed *bed, node_id_t id)
{
    struct sim_salvage salvage;

    sim_salvage_run(stage_node(bed, id), SALVAGE_LOOK, 0, SIM_END_KILL, &salvage);
    if (salvage.status != STATUS_OK || salvage.outcome != SALVAGE_NOTHING_CHANGED)
        sim_violation(&bed->sim, "a look at what lost power: %s", salvage.error.text);
    sim_salvage_run(stage_node(bed, id), SALVAGE_ACCEPT_LOSS, 0, SIM_END_KILL, &salvage);
    if (salvage.status != STATUS_OK || salvage.outcome != SALVAGE_DONE)
        sim_violation(&bed->sim, "the loss of n%u cannot be accepted: %s", id, salvage.error.text);
    return !bed->sim.failed;
}

static bool any_leader(struct sim_cluster *cluster, void *unused)
{
    return sim_inspect_leader(cluster, GROUP_DATA_FIRST) != 0;
}

/* Goal: when a majority loses power beside a database in memory nobody leads until that is
 * accepted; then all goes on, and other databases have lost nothing. One that kept its power, and
 * has applied what the others lost, does not go on with it. Method: clients write to one database
 * and the scenario to the other; two of three lose power, or all; some start before the loss is
 * accepted. */
void scenario_memory_power_of_all(struct sim_bed *bed)
{
    struct sim *sim = &bed->sim;
    struct sim_plan plan;

    plan_make(&plan, 1);
    if (!stage_open(bed, &plan) || !set_memory(bed, BESIDE, "memory")) return;
    struct beside *beside = sim_bed_keep(bed, sizeof(*beside));
    sim->maybe_permille = 100; /* jobs of the log that end between writing and syncing */
    run_beside(bed, beside, stage_draw(bed, 200, 700) * STAGE_MS);
    node_id_t leader = stage_leader(bed);
    if (leader == 0) return;
    bool one_keeps = stage_draw(bed, 0, 3) != 0;
    if (one_keeps) { /* nothing but the database in memory, so that it is ahead for long */
        sim_clients_stop(bed->clients);
        sim->maybe_permille = 0; /* no sync before its time */
        run_beside(bed, beside, stage_draw(bed, 60, 200) * STAGE_MS);
    }
    if (beside->acknowledged > 0)
        sim_reached(sim, "scenario: a majority lost power with a database in memory");
    sim->after_event = NULL; /* what is lost was committed once */
    if (one_keeps) stage_only(bed, 1u << leader);
    sim_fault_hit(sim, SIM_FAULT_POWER_LOSS_ALL);
    for (node_id_t id = 1; id <= 3; id++) {
        if (one_keeps) sim_disk_options(stage_node(bed, id)->machine.disk)->survive_percent = 0;
        if (id != leader || !one_keeps) lose_power(bed, id);
    }
    sim_run_for(sim, 200 * STAGE_MS);
    for (node_id_t id = 1; id <= 3; id++)
        start(bed, id);
    sim_run_for(sim, stage_draw(bed, 1000, 4000) * STAGE_MS);
    if (!one_keeps && any_leader(bed->cluster, NULL))
        sim_violation(sim, "a leader without the logs of a majority, and nobody accepted that");
    for (node_id_t id = 1; id <= 3 && !sim->failed; id++) {
        if (id == leader && one_keeps) continue;
        sim_node_kill(stage_node(bed, id));
        sim_run_for(sim, 10 * STAGE_MS);
        if (!accept_loss(bed, id)) return;
    }
    for (node_id_t id = 1; id <= 3; id++)
        start(bed, id);
    if (one_keeps) { /* the others go on without it, then it hears of them */
        stage_only(bed, 0xe & ~(1u << leader));
        if (!sim_cluster_wait(bed->cluster, ELECT_US, any_leader, NULL))
            sim_violation(sim, "V-1: no leader though the loss was accepted");
        sim_run_for(sim, stage_draw(bed, 0, 800) * STAGE_MS);
    }
    if (!stage_repair(bed) || !stage_wait_whole(bed, "after an accepted loss, not whole")) return;
    run_beside(bed, beside, 200 * STAGE_MS);
    stage_judge(bed);
}
