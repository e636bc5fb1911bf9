/* Leaders that die or are left at the wrong moment: WHY 1.1, 1.3, 1.4, 1.5, 2.1, 4.4, D1. */
#include "partition/host.h"
#include "sim/scenarios/stage.h"

enum { ROUNDS = 8 };

static void plan_counters(struct sim_plan *plan)
{
    stage_plan(plan);
    plan->workload.registers = 0;
    plan->workload.counters = 2;
    plan->workload.write_percent = 90;
    plan->workload.pipeline_max = 3;
}

/* Goal: what a dead leader left behind takes effect once (WHY 1.1, rule A1).
 * Method: the leader's frames to one follower are lost, so that the other alone holds its last
 * entries, on a quorum and without an answer; then it dies. Gateways retry at the successor as
 * soon as there is one. */
void scenario_new_leader_evaluates(struct sim_bed *bed)
{
    struct sim_plan plan;

    plan_counters(&plan);
    if (!stage_open(bed, &plan)) return;
    for (int round = 0; round < ROUNDS && !bed->sim.failed; round++) {
        node_id_t leader = stage_leader(bed);
        if (leader == 0) return;
        node_id_t deaf = stage_other(bed, leader, 0);
        sim_network_cut(bed->cluster->network, leader, deaf, false);
        sim_run_for(&bed->sim, stage_draw(bed, 500, 20 * STAGE_MS));
        sim_node_kill(stage_node(bed, leader));
        sim_run_for(&bed->sim, stage_draw(bed, 200 * STAGE_MS, 1500 * STAGE_MS));
        if (!stage_repair(bed)) return;
        sim_run_for(&bed->sim, stage_draw(bed, 50 * STAGE_MS, 500 * STAGE_MS));
    }
    stage_judge(bed);
}

/* Who leads in the place of `first`, which is not heard for a while but lives on; 0: nobody, or not
 * for long enough. */
static node_id_t successor_of(struct sim_bed *bed, node_id_t first)
{
    node_id_t second;

    stage_cut_from(bed, first);
    second = stage_catch(bed, 0xeu & ~(1u << first), RAFT_LEADER, 5 * STAGE_S);
    sim_network_heal_all(bed->cluster->network);
    sim_run_for(&bed->sim, stage_draw(bed, 100 * STAGE_MS, 200 * STAGE_MS));
    return sim_inspect_leader(bed->cluster, GROUP_DATA_FIRST) == second ? second : 0;
}

/* Goal: that a leader was ready in an earlier term says nothing about this one (WHY 1.1, rule A1).
 * Method: a leader is succeeded and follows. The last entries of its successor reach it alone, and
 * are neither acknowledged nor answered; then the successor dies, and the first one leads again,
 * for its log is longer. The third one's gateway retries there what these entries did. */
void scenario_leader_again(struct sim_bed *bed)
{
    struct sim_plan plan;

    plan_counters(&plan);
    if (!stage_open(bed, &plan)) return;
    for (int round = 0; round < ROUNDS / 2 && !bed->sim.failed; round++) {
        node_id_t first = stage_leader(bed);
        if (first == 0) return;
        sim_run_for(&bed->sim, 300 * STAGE_MS);
        node_id_t second = successor_of(bed, first);
        if (second != 0) {
            node_id_t third = stage_other(bed, first, second);
            sim_network_cut(bed->cluster->network, second, third, false);
            sim_network_cut(bed->cluster->network, first, second, false);
            sim_run_for(&bed->sim, stage_draw(bed, 5 * STAGE_MS, 30 * STAGE_MS));
            sim_node_kill(stage_node(bed, second));
            if (stage_catch(bed, 0xeu & ~(1u << second), RAFT_LEADER, 5 * STAGE_S) == first)
                sim_reached(&bed->sim, "scenario: a former leader led again");
            sim_run_for(&bed->sim, 500 * STAGE_MS);
        }
        if (!stage_repair(bed)) return;
        sim_run_for(&bed->sim, stage_draw(bed, 50 * STAGE_MS, 500 * STAGE_MS));
    }
    stage_judge(bed);
}

/* Goal: a gateway that was cut off is remembered as long as it may retry (WHY 2.1, rule B4).
 * Method: its leader's answers do not reach it; then the leader dies too. */
void scenario_forgotten_gateway(struct sim_bed *bed)
{
    struct sim_plan plan;

    plan_counters(&plan);
    plan.cluster.patience = plan.workload.patience = 30 * STAGE_S;
    plan.workload.give_up = 33 * STAGE_S;
    if (!stage_open(bed, &plan)) return;
    for (int round = 0; round < 4 && !bed->sim.failed; round++) {
        node_id_t leader = stage_leader(bed);
        if (leader == 0) return;
        node_id_t gateway = stage_other(bed, leader, 0);
        for (node_id_t other = 1; other <= plan.cluster.nodes; other++)
            if (other != gateway) sim_network_cut(bed->cluster->network, other, gateway, false);
        sim_run_for(&bed->sim, stage_draw(bed, 1 * STAGE_MS, 20 * STAGE_MS));
        for (node_id_t other = 1; other <= plan.cluster.nodes; other++)
            if (other != gateway) sim_network_cut(bed->cluster->network, gateway, other, false);
        sim_run_for(&bed->sim, stage_draw(bed, 1 * STAGE_S, 12 * STAGE_S));
        if (stage_draw(bed, 0, 1)) sim_node_kill(stage_node(bed, leader));
        sim_run_for(&bed->sim, stage_draw(bed, 0, 800 * STAGE_MS));
        if (!stage_repair(bed)) return;
        sim_run_for(&bed->sim, 500 * STAGE_MS);
    }
    stage_judge(bed);
}

/* Goal: a restart forgets no promise (WHY 1.3, rule D1).
 * Method: one follower hears no leader and campaigns all the time; the other, whose
 * acknowledgements carry the lease, restarts at once. The leader shows it its table (decision
 * 0007) and is then heard no more, if things go well before a heartbeat of its; no client
 * makes it send anything else. */
void scenario_vote_after_restart(struct sim_bed *bed)
{
    struct sim_plan plan;

    stage_plan(&plan);
    if (!stage_open(bed, &plan)) return;
    for (int round = 0; round < ROUNDS * 2 && !bed->sim.failed; round++) {
        node_id_t leader = stage_leader(bed);
        if (leader == 0) return;
        node_id_t candidate = stage_other(bed, leader, 0);
        node_id_t voter = stage_other(bed, leader, candidate);
        sim_network_split(bed->cluster->network, 0, false);
        sim_network_cut(bed->cluster->network, leader, candidate, false);
        sim_network_cut(bed->cluster->network, candidate, leader, false);
        sim_clients_use(bed->clients, 1u << candidate);
        sim_run_for(&bed->sim, stage_draw(bed, 300 * STAGE_MS, 1200 * STAGE_MS));
        sim_node_kill(stage_node(bed, voter));
        sim_run_for(&bed->sim, stage_draw(bed, 100, 10 * STAGE_MS));
        sim_node_start(stage_node(bed, voter));
        sim_run_for(&bed->sim, stage_draw(bed, 2 * STAGE_MS, 40 * STAGE_MS));
        sim_network_cut(bed->cluster->network, leader, voter, false);
        sim_run_for(&bed->sim, 600 * STAGE_MS);
        sim_clients_use(bed->clients, 0xe);
        if (!stage_repair(bed)) return;
        sim_run_for(&bed->sim, stage_draw(bed, 100 * STAGE_MS, 400 * STAGE_MS));
    }
    stage_judge(bed);
}

/* Goal: who hands over serves no more by its lease (WHY 1.4).
 * Method: the leader is told to hand over; from then on it hears nothing. */
void scenario_lease_after_transfer(struct sim_bed *bed)
{
    struct sim_plan plan;

    stage_plan(&plan);
    if (!stage_open(bed, &plan)) return;
    for (int round = 0; round < ROUNDS && !bed->sim.failed; round++) {
        node_id_t leader = stage_leader(bed);
        if (leader == 0) return;
        stage_transfer(bed, leader);
        sim_run_for(&bed->sim, stage_draw(bed, 0, 1500));
        stage_cut_to(bed, leader);
        sim_run_for(&bed->sim, 400 * STAGE_MS);
        if (!stage_repair(bed)) return;
        sim_run_for(&bed->sim, stage_draw(bed, 300 * STAGE_MS, 700 * STAGE_MS));
    }
    stage_judge(bed);
}

/* Goal: no answer shows what has not committed (WHY 1.5, rule A2).
 * Method: nobody hears the leader, while its lease still runs; then it dies, and what it had
 * proposed never happened. */
void scenario_read_of_uncommitted(struct sim_bed *bed)
{
    struct sim_plan plan;

    stage_plan(&plan);
    plan.workload.clients = 10;
    if (!stage_open(bed, &plan)) return;
    for (int round = 0; round < ROUNDS && !bed->sim.failed; round++) {
        node_id_t leader = stage_leader(bed);
        if (leader == 0) return;
        stage_cut_from(bed, leader);
        sim_run_for(&bed->sim, stage_draw(bed, 5 * STAGE_MS, 200 * STAGE_MS));
        sim_node_kill(stage_node(bed, leader));
        sim_run_for(&bed->sim, stage_draw(bed, 100 * STAGE_MS, 900 * STAGE_MS));
        if (!stage_repair(bed)) return;
        sim_run_for(&bed->sim, stage_draw(bed, 50 * STAGE_MS, 400 * STAGE_MS));
    }
    stage_judge(bed);
}

/* Goal: that a write was too big is an outcome like any other, and stays so (decision 0003).
 * Method: some are taken for too big; connections to the leader break again and again, so that
 * nodes ask anew while what was pipelined behind has its effect. */
void scenario_too_big_in_pipelines(struct sim_bed *bed)
{
    struct sim_plan plan;

    stage_plan(&plan);
    plan.cluster.mesh = true;
    plan.workload.clients = 12;
    plan.workload.counters = 4;
    plan.workload.pipeline_max = 8;
    plan.workload.think_min = STAGE_MS;
    plan.workload.think_max = 5 * STAGE_MS;
    bed->sim.maybe_permille = 200;
    if (!stage_open(bed, &plan)) return;
    for (int round = 0; round < 40 * ROUNDS && !bed->sim.failed; round++) {
        node_id_t leader = stage_leader(bed);
        if (leader == 0) return;
        for (node_id_t other = 1; other <= plan.cluster.nodes; other++)
            if (other != leader) sim_network_reset(bed->cluster->network, leader, other);
        sim_fault_hit(&bed->sim, SIM_FAULT_RESET);
        sim_run_for(&bed->sim, stage_draw(bed, 5 * STAGE_MS, 20 * STAGE_MS));
    }
    if (!bed->sim.failed) stage_judge(bed);
}

/* Goal: a fast election after a broken connection does not overtake a lease (D1).
 * Method: all connections to the leader break and its links stay cut; it lives and serves. */
void scenario_broken_connection(struct sim_bed *bed)
{
    struct sim_plan plan;

    stage_plan(&plan);
    if (!stage_open(bed, &plan)) return;
    for (int round = 0; round < ROUNDS && !bed->sim.failed; round++) {
        node_id_t leader = stage_leader(bed);
        if (leader == 0) return;
        sim_network_split(bed->cluster->network, 1u << leader, false);
        for (node_id_t other = 1; other <= plan.cluster.nodes; other++)
            if (other != leader) sim_network_reset(bed->cluster->network, leader, other);
        sim_fault_hit(&bed->sim, SIM_FAULT_PARTITION);
        sim_run_for(&bed->sim, stage_draw(bed, 300 * STAGE_MS, 1000 * STAGE_MS));
        if (!stage_repair(bed)) return;
        sim_run_for(&bed->sim, stage_draw(bed, 300 * STAGE_MS, 700 * STAGE_MS));
    }
    stage_judge(bed);
}

/* Goal: entries of former terms are not committed by counting (Raft paper, figure 8).
 * Method: five nodes; leaders are cut off or killed a few milliseconds after they begin, so
 * that entries of many terms lie on some disks and not on others. */
void scenario_old_term_entries(struct sim_bed *bed)
{
    struct sim_plan plan;

    stage_plan(&plan);
    plan.cluster.nodes = plan.cluster.replicas = 5;
    plan.cluster.timing.heartbeat = 20 * STAGE_MS;
    plan.cluster.timing.election_timeout_min = 100 * STAGE_MS;
    plan.cluster.timing.election_timeout_max = 250 * STAGE_MS;
    plan.cluster.timing.lease = 80 * STAGE_MS;
    plan.workload.write_percent = 95;
    if (!stage_open(bed, &plan)) return;
    for (int round = 0; round < 60 && !bed->sim.failed; round++) {
        node_id_t leader = sim_inspect_leading(bed->cluster, GROUP_DATA_FIRST);
        if (leader) {
            node_id_t heard_by = stage_other(bed, leader, 0);
            for (node_id_t to = 1; to <= 5; to++)
                if (to != leader && to != heard_by)
                    sim_network_cut(bed->cluster->network, leader, to, false);
            sim_run_for(&bed->sim, stage_draw(bed, 500, 20 * STAGE_MS));
            sim_node_kill(stage_node(bed, leader));
            sim_network_heal_all(bed->cluster->network);
        }
        for (node_id_t node = 1; node <= 5; node++)
            if (!sim_node_is_up(stage_node(bed, node)) &&
                (sim_cluster_up_count(bed->cluster) < 3 || stage_draw(bed, 0, 3) == 0))
                sim_node_start(stage_node(bed, node));
        sim_run_for(&bed->sim, stage_draw(bed, 1 * STAGE_MS, 300 * STAGE_MS));
    }
    stage_judge(bed);
}

/* Goal: what a client was told has expired does not come back with another leader (K-4, WHY 4.4).
 * Method: clocks differ by less than what is taken for a broken one; every other leader's is ahead
 * of its successor's. Leaders die all the time while clients set short expiries and read. */
void scenario_expired_and_back(struct sim_bed *bed)
{
    struct sim_plan plan;

    stage_plan(&plan);
    plan.workload.registers = 0;
    plan.workload.expiries = 24;
    plan.workload.write_percent = 3; /* an entry carries the leader's time to the next one */
    plan.workload.think_min = 2 * STAGE_MS;
    plan.workload.think_max = 16 * STAGE_MS;
    if (!stage_open(bed, &plan)) return;
    if (stage_draw(bed, 0, 1)) bed->sim.maybe_always = EXPIRED_LEFT; /* as with a full log */
    bed->judge_expiry_times = false; /* the clocks are off by as much as expiries are long */
    int64_t ahead[SIM_NODES_MAX + 1] = {0};
    for (int round = 0; round < ROUNDS * 2 && !bed->sim.failed; round++) {
        node_id_t leader = stage_leader(bed);
        if (leader == 0) return;
        /* A leader takes the time when it is elected: set the clocks of the others. */
        int64_t wanted = round % 2 ? 0 : 450 * STAGE_MS;
        for (node_id_t node = 1; node <= plan.cluster.nodes; node++) {
            if (node == leader) continue;
            sim_machine_jump_wall_clock(&stage_node(bed, node)->machine, wanted - ahead[node]);
            ahead[node] = wanted;
        }
        sim_run_for(&bed->sim, stage_draw(bed, 300 * STAGE_MS, 900 * STAGE_MS));
        sim_node_kill(stage_node(bed, leader));
        sim_run_for(&bed->sim, stage_draw(bed, 300 * STAGE_MS, 600 * STAGE_MS));
        if (!stage_repair(bed)) return;
    }
    stage_judge(bed);
}

static void increment(struct sim_bed *bed, struct sim_client *client)
{
    if (!sim_client_connected(client)) return;
    sim_client_send(client, SIM_OP_INCR, 0, 0);
    sim_client_flush(client);
}

/* Goal: WHY 2.1 to the letter: a gateway that was away for six minutes retries a request that had
 * been committed when it left, and it does not run twice (rule B4).
 * Method: the request reaches its leader, no answer comes back, and then nothing passes for six
 * minutes in which others write on, leaders change and windows could be forgotten. */
void scenario_away_for_minutes(struct sim_bed *bed)
{
    struct sim_plan plan;

    stage_plan(&plan);
    plan.workload.clients = 0;
    plan.workload.registers = 0;
    plan.workload.counters = 1;
    plan.cluster.patience = plan.workload.patience = 600 * STAGE_S;
    plan.workload.give_up = 610 * STAGE_S;
    if (!stage_open(bed, &plan)) return;
    node_id_t leader = stage_leader(bed);
    if (leader == 0) return;
    node_id_t away = stage_other(bed, leader, 0);
    node_id_t third = stage_other(bed, leader, away);
    struct sim_client *waiting = sim_client_manual(bed->clients, away);
    struct sim_client *writing = sim_client_manual(bed->clients, third);
    sim_client_connect(waiting, away);
    sim_client_connect(writing, third);
    sim_run_for(&bed->sim, 10 * STAGE_MS);
    for (int i = 0; i < 8; i++) { /* the eight that were answered */
        increment(bed, waiting);
        sim_run_for(&bed->sim, 20 * STAGE_MS);
    }
    stage_cut_to(bed, away);
    increment(bed, waiting); /* the ninth */
    sim_run_for(&bed->sim, stage_draw(bed, 10 * STAGE_MS, 60 * STAGE_MS));
    stage_cut_from(bed, away);
    for (int minute = 0; minute < 6 && !bed->sim.failed; minute++) {
        increment(bed, writing);
        sim_run_for(&bed->sim, 30 * STAGE_S);
        node_id_t now = sim_inspect_leader(bed->cluster, GROUP_DATA_FIRST);
        if (now && now != away) {
            sim_node_kill(stage_node(bed, now));
            sim_run_for(&bed->sim, 500 * STAGE_MS);
            sim_node_start(stage_node(bed, now));
        }
        sim_run_for(&bed->sim, 30 * STAGE_S);
        if (!sim_client_connected(writing)) sim_client_connect(writing, third);
        sim_run_for(&bed->sim, 10 * STAGE_MS);
    }
    bool waits = sim_clients_outstanding(bed->clients) > 0;
    if (!stage_repair(bed)) return;
    sim_run_for(&bed->sim, 5 * STAGE_S);
    if (waits && sim_clients_outstanding(bed->clients) == 0)
        sim_reached(&bed->sim, "scenario: a request of six minutes ago was answered");
    stage_judge(bed);
}
