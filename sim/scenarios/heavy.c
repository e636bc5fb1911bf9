/* F65: heavy writes beside light ones. */
#include "partition/host.h"
#include "sim/scenarios/stage.h"

enum {
    TURN_US = 2 * STAGE_MS,
    HEAVY_BYTES = 400,
    LEARN_US = 10 * STAGE_S,
    JUDGED_US = 20 * STAGE_S,
    LIGHT_MEAN_US_MAX = 10 * STAGE_MS,
    HEAVY_RATE_LEAST = 10,
    PROGRESS_US = 5 * STAGE_S,
};

static uint64_t heavy_cost(struct sim_bed *bed)
{
    struct host_statistics statistics;
    uint64_t cost = 0;

    for (node_id_t node = 1; node <= bed->cluster->options.nodes; node++) {
        host_statistics(node_host(stage_node(bed, node)->now->node, 0), &statistics);
        cost += statistics.heavy_cost;
    }
    return cost;
}

/* The more heavy work there was lately, the slower are all disks. */
static void run_with_weight(struct sim_bed *bed, uint64_t duration)
{
    uint64_t end = bed->sim.now + duration, before = heavy_cost(bed);
    uint32_t weight = 0;

    while (!bed->sim.failed && bed->sim.now < end) {
        sim_run_for(&bed->sim, TURN_US);
        uint64_t cost = heavy_cost(bed);
        weight = weight / 2 + 20 * (uint32_t)(cost - before);
        before = cost;
        for (node_id_t node = 1; node <= bed->cluster->options.nodes; node++)
            stage_node(bed, node)->machine.disk_slow_factor = 1 + (weight < 200 ? weight : 200);
    }
}

static void check(struct sim_bed *bed, uint64_t since)
{
    const struct sim_history *history = sim_clients_history(bed->clients);
    uint64_t light = 0, light_us = 0, heavy = 0;

    for (uint32_t i = 0; i < history->count; i++) {
        const struct sim_op *op = &history->ops[i];
        if (op->invoked < since || op->outcome != SIM_DONE) continue;
        heavy += op->kind == SIM_OP_SET;
        if (op->kind != SIM_OP_INCR) continue;
        light++;
        light_us += op->returned - op->invoked;
    }
    if (heavy < JUDGED_US / STAGE_S * HEAVY_RATE_LEAST * 3 / 4)
        sim_violation(&bed->sim, "F65: only %llu heavy writes in %u s", (unsigned long long)heavy,
                      JUDGED_US / STAGE_S);
    if (light == 0 || light_us / light > LIGHT_MEAN_US_MAX)
        sim_violation(&bed->sim, "F65: %llu light writes took %llu us in the mean",
                      (unsigned long long)light,
                      (unsigned long long)(light ? light_us / light : 0));
}

/* Goal: beside heavy writes that slow everything down, light ones take hardly longer than
 * alone, and heavy ones get on.
 * Method: values of 400 bytes and more count as heavy, and each makes all disks slower for some
 * milliseconds; counters are light. What light ones took, by the clients' clock, decides. */
void scenario_heavy_and_light(struct sim_bed *bed)
{
    struct sim_plan plan;

    stage_plan(&plan);
    plan.cluster.heavy_bytes = HEAVY_BYTES;
    plan.cluster.heavy_rate_least = HEAVY_RATE_LEAST;
    plan.workload.clients = 16;
    plan.workload.registers = 4;
    plan.workload.counters = 12;
    plan.workload.pad_min = HEAVY_BYTES;
    plan.workload.write_percent = 95;
    if (!stage_open(bed, &plan)) return;
    run_with_weight(bed, LEARN_US);
    uint64_t since = bed->sim.now;
    run_with_weight(bed, JUDGED_US);
    if (bed->sim.failed) return;
    check(bed, since);
    if (sim_clients_progress(bed->clients, bed->sim.now - PROGRESS_US) == 0)
        sim_violation(&bed->sim, "V-2: a client waits behind heavy writes");
    for (node_id_t node = 1; node <= plan.cluster.nodes; node++)
        stage_node(bed, node)->machine.disk_slow_factor = 1;
    if (!bed->sim.failed) stage_judge(bed);
}
