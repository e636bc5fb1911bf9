/* WHY 1.2. */
#include "sim/scenarios/stage.h"

enum { ROUNDS = 10, KEY = 0, WAIT_US = 5 * STAGE_S };

static bool is_answered(struct sim_cluster *cluster, void *context)
{
    const struct sim_op *const *op = context;

    return (*op)->outcome != SIM_PENDING;
}

/* Sends one request and waits for its end. */
static void ask(struct sim_bed *bed, struct sim_client *client, enum sim_op_kind kind,
                int64_t argument)
{
    if (!sim_client_connected(client)) return;
    uint32_t number = sim_client_send(client, kind, KEY, argument);
    sim_client_flush(client);
    const struct sim_op *op = &sim_clients_history(bed->clients)->ops[number];
    sim_cluster_wait(bed->cluster, WAIT_US, is_answered, (void *)&op);
}

/* Goal: a lease is judged by a clock that was read after the request was (rule A3).
 * Method: the leader is stopped, another one commits a new value, and a client that is
 * connected to the stopped one asks it; it finds the request when it goes on. */
void scenario_stale_clock(struct sim_bed *bed)
{
    struct sim_plan plan;

    stage_plan(&plan);
    plan.workload.clients = 0;
    if (!stage_open(bed, &plan)) return;
    struct sim_client *reader = sim_client_manual(bed->clients, 1);
    struct sim_client *writer = sim_client_manual(bed->clients, 1);
    for (int round = 0; round < ROUNDS && !bed->sim.failed; round++) {
        node_id_t leader = stage_leader(bed);
        if (leader == 0) return;
        sim_client_connect(reader, leader);
        sim_client_connect(writer, stage_other(bed, leader, 0));
        sim_run_for(&bed->sim, 5 * STAGE_MS);
        ask(bed, writer, SIM_OP_SET, round * 2 + 1);
        sim_process_pause(stage_node(bed, leader)->now->process);
        sim_fault_hit(&bed->sim, SIM_FAULT_PAUSE);
        ask(bed, writer, SIM_OP_SET, round * 2 + 2);
        if (sim_client_connected(reader)) {
            sim_client_send(reader, SIM_OP_GET, KEY, 0);
            sim_client_flush(reader);
        }
        sim_run_for(&bed->sim, stage_draw(bed, 10 * STAGE_MS, 2 * STAGE_S));
        if (!stage_repair(bed)) return;
        sim_run_for(&bed->sim, 500 * STAGE_MS);
        sim_client_disconnect(reader);
        sim_client_disconnect(writer);
        sim_run_for(&bed->sim, 10 * STAGE_MS);
    }
    stage_judge(bed);
}
