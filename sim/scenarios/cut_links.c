/* One link is cut, or only one direction of it, and everybody else hears everybody: clients at its
 * two ends are served all the same (F43, decision 0013). */
#include "sim/scenarios/stage.h"

enum {
    NODES_MANY = 5,
    CUT_US = 14 * STAGE_S, /* longer than the patience, and than some connections last */
    /* The longest that a request may take meanwhile; also while leaders die. */
    ANSWERED_US = 3 * STAGE_S / 2,
    ANSWERED_STRUCK_US = 5 * STAGE_S,
    FLAPS = 16,
    BIG_VALUE = 12 << 10, /* in parts; small enough to be remembered: nobody is told TOOBIG */
};

struct cut {
    struct sim_bed *bed;
    node_id_t one, other;
    uint64_t from; /* when it was cut first */
    uint64_t answered_us;
    uint32_t kind; /* bits: 1: one hears the other, 2: the other hears one, 4: frames are held */
};

static void cut(struct cut *cut)
{
    struct sim_network *network = cut->bed->cluster->network;
    bool hold = (cut->kind & 4) != 0;

    if (!(cut->kind & 1)) sim_network_cut(network, cut->other, cut->one, hold);
    if (!(cut->kind & 2)) sim_network_cut(network, cut->one, cut->other, hold);
    sim_fault_hit(&cut->bed->sim, SIM_FAULT_ONE_WAY);
}

static void heal(struct cut *cut)
{
    sim_network_heal(cut->bed->cluster->network, cut->one, cut->other);
    sim_network_heal(cut->bed->cluster->network, cut->other, cut->one);
}

/* Clients at all nodes, or at the two ends alone; replies in parts, and values that are large
 * enough for them. */
static bool open_cluster(struct cut *cut, uint32_t nodes)
{
    struct sim_bed *bed = cut->bed;
    struct sim_plan plan;

    stage_plan(&plan);
    plan.cluster.nodes = plan.cluster.replicas = nodes;
    plan.cluster.partitions = (uint32_t)stage_draw(bed, 3, 8);
    plan.cluster.workers = (uint32_t)stage_draw(bed, 1, 2);
    plan.cluster.reads = stage_draw(bed, 0, 1) ? READS_LEASE : READS_QUORUM;
    plan.cluster.reply_part_bytes = 4 << 10;
    plan.workload.registers = plan.workload.counters = plan.workload.orders = 6;
    plan.workload.pipeline_max = 6;
    plan.workload.think_max = 40 * STAGE_MS;
    plan.workload.pad_max = stage_draw(bed, 0, 2) == 0 ? BIG_VALUE : 0;
    if (stage_draw(bed, 0, 2) == 0) sim_plan_use_mesh(&plan);
    if (!stage_open(bed, &plan)) return false;
    sim_network_options(bed->cluster->network)->timeout_max = 30 * STAGE_S;
    node_id_t leader = stage_leader(bed);
    if (leader == 0) return false;
    cut->one = leader;
    cut->other = stage_other(bed, leader, 0);
    cut->kind = (uint32_t)stage_draw(bed, 0, 2) | (uint32_t)stage_draw(bed, 0, 1) << 2;
    if (stage_draw(bed, 0, 1)) sim_clients_use(bed->clients, 1u << cut->one | 1u << cut->other);
    sim_run_for(&bed->sim, 300 * STAGE_MS);
    cut->from = bed->sim.now;
    cut->answered_us = ANSWERED_US;
    return !bed->sim.failed;
}

/* Nobody was told that there is no quorum, or waited for long. */
static void judge_answers(struct cut *cut)
{
    struct sim *sim = &cut->bed->sim;
    const struct sim_history *history = sim_clients_history(cut->bed->clients);
    uint64_t slowest = 0;

    for (uint32_t i = 0; i < history->count; i++) {
        const struct sim_op *op = &history->ops[i];
        if (op->invoked < cut->from) continue;
        uint64_t returned = op->outcome == SIM_DONE ? op->returned : op->invoked;
        if (op->outcome == SIM_PENDING) returned = sim->now;
        if (returned - op->invoked > slowest) slowest = returned - op->invoked;
        if (op->error_reply) {
            sim_violation(sim, "F43: a client of node %u was refused while all reach a third node",
                          op->node);
            return;
        }
        if (returned - op->invoked > cut->answered_us) {
            sim_violation(sim, "F43: a client of node %u waited for %llu us", op->node,
                          (unsigned long long)(returned - op->invoked));
            return;
        }
    }
    sim_trace_text(sim, "the slowest answer took %llu us", (unsigned long long)slowest);
}

static void finish(struct cut *cut)
{
    struct sim_bed *bed = cut->bed;
    uint64_t since = bed->sim.now - 4 * STAGE_S;

    if (bed->sim.failed) return;
    if (sim_clients_progress(bed->clients, since) == 0)
        sim_violation(&bed->sim, "F43: a client was not answered for 4 s");
    judge_answers(cut);
    if (!bed->sim.failed) stage_judge(bed);
}

/* Goal: clients at both ends of a cut link get their answers as if through it, for as long as it is
 * cut, whichever direction, and however late their connection is known to be broken. */
void scenario_cut_link(struct sim_bed *bed)
{
    struct cut link = {.bed = bed};

    if (!open_cluster(&link, 3)) return;
    cut(&link);
    sim_run_for(&bed->sim, CUT_US);
    sim_reached(&bed->sim, "scenario: a link was cut for longer than the patience");
    finish(&link);
}

/* Goal: the same while the link comes and goes: what was sent over one way and goes on over the
 * other keeps its order, and takes effect once. */
void scenario_cut_link_flaps(struct sim_bed *bed)
{
    struct cut link = {.bed = bed};

    if (!open_cluster(&link, 3)) return;
    for (int round = 0; round < FLAPS && !bed->sim.failed; round++) {
        cut(&link);
        sim_run_for(&bed->sim, stage_draw(bed, 100, 1500) * STAGE_MS);
        heal(&link);
        sim_run_for(&bed->sim, stage_draw(bed, 10, 1200) * STAGE_MS);
    }
    finish(&link);
}

static void strike(struct cut *link)
{
    struct sim_bed *bed = link->bed;
    struct sim_node *victim = stage_node(bed, stage_other(bed, link->one, link->other));

    if (victim->now == NULL) return;
    switch (stage_draw(bed, 0, 2)) {
    case 0:
        sim_node_kill(victim);
        break;
    case 1:
        sim_node_power_loss(victim);
        break;
    default:
        sim_process_pause(victim->now->process);
        sim_fault_hit(&bed->sim, SIM_FAULT_PAUSE);
        sim_run_for(&bed->sim, stage_draw(bed, 100, 3000) * STAGE_MS);
        sim_process_resume(victim->now->process);
        return;
    }
    sim_run_for(&bed->sim, stage_draw(bed, 100, 3000) * STAGE_MS);
    sim_node_start(victim);
}

/* Goal: the same while those in between, of which there are three, die and stand still in turn. */
void scenario_cut_link_bridges(struct sim_bed *bed)
{
    struct cut link = {.bed = bed};

    if (!open_cluster(&link, NODES_MANY)) return;
    sim_clients_use(bed->clients, 1u << link.one | 1u << link.other);
    sim_run_for(&bed->sim, 100 * STAGE_MS);
    link.from = bed->sim.now;
    link.answered_us = ANSWERED_STRUCK_US;
    cut(&link);
    while (!bed->sim.failed && bed->sim.now < link.from + CUT_US) {
        sim_run_for(&bed->sim, stage_draw(bed, 500, 2000) * STAGE_MS);
        strike(&link);
    }
    finish(&link);
}
