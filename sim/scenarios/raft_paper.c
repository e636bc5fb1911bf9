/* Interleavings of the Raft paper, move by move: real nodes, whose crashes and links a script
 * decides. Each is played in rounds until one went as written; that it ever did is a tag that
 * campaigns require (sim/list-sometimes). */
#include "partition/host.h"
#include "sim/scenarios/stage.h"

enum {
    ROUNDS = 20,
    FIVE = 5,
    BIG_VALUE = 200 << 10, /* three of them do not fit into one append (RAFT_APPEND_BYTES_MAX) */
    BIG_COUNT = 3,
    ELECT_US = 4 * STAGE_S,
};

static uint32_t bit(node_id_t node)
{
    return 1u << node;
}

static uint32_t everybody(void)
{
    return ((1u << FIVE) - 1) << 1;
}

static void plan_five(struct sim_plan *plan)
{
    stage_plan(plan);
    plan->cluster.nodes = plan->cluster.replicas = FIVE;
    plan->workload.clients = 0;
}

/* --- figure 8 --- */

/* Last index of a node's replica; 0: it is down. */
static uint64_t last_of(struct sim_bed *bed, node_id_t node)
{
    const struct raft *raft = stage_raft(bed, node);

    return raft ? raft_last_index(raft) : 0;
}

static node_id_t first_of(uint32_t nodes)
{
    return (node_id_t)__builtin_ctz(nodes);
}

/* (a) One and one other have entries that nobody else has. Returns the other; 0: not so. */
static node_id_t spread_to_one(struct sim_bed *bed, struct sim_client *client, node_id_t leader)
{
    node_id_t other = stage_other(bed, leader, 0);
    uint64_t before = last_of(bed, leader);

    sim_client_connect(client, leader);
    sim_run_for(&bed->sim, 5 * STAGE_MS);
    for (node_id_t to = 1; to <= FIVE; to++)
        if (to != leader && to != other) sim_network_cut(bed->cluster->network, leader, to, false);
    if (!sim_client_connected(client)) return 0;
    for (int i = 0; i < BIG_COUNT; i++)
        sim_client_send(client, SIM_OP_SET, 0, (int64_t)before * BIG_COUNT + i + 1);
    sim_client_flush(client);
    sim_run_for(&bed->sim, 60 * STAGE_MS);
    bool there =
        last_of(bed, leader) >= before + BIG_COUNT && last_of(bed, other) == last_of(bed, leader);
    return there ? other : 0;
}

/* (b) Another is elected by the rest, and has an entry of its own that it tells nobody. */
static node_id_t elect_apart(struct sim_bed *bed, uint32_t rest)
{
    stage_only(bed, rest);
    node_id_t leader = stage_catch(bed, rest, RAFT_LEADER, ELECT_US);

    stage_only(bed, 0);
    if (leader == 0) return 0;
    sim_run_for(&bed->sim, 15 * STAGE_MS); /* on its disk */
    sim_node_kill(stage_node(bed, leader));
    return leader;
}

/* (c) The first ones are back with one of the rest; one of them leads and sends that one a part of
 * the old entries, and nothing of its own term. */
static bool replicate_old(struct sim_bed *bed, uint32_t first_two, node_id_t third)
{
    uint64_t before = last_of(bed, third);

    stage_only(bed, first_two | bit(third));
    node_id_t leader = stage_catch(bed, first_two, RAFT_LEADER, ELECT_US);
    uint64_t end = bed->sim.now + 1 * STAGE_S;
    if (leader == 0) return false;
    uint64_t noop = last_of(bed, leader);
    while (!bed->sim.failed && bed->sim.now < end && last_of(bed, third) == before)
        sim_run_for(&bed->sim, 20);
    bool a_part = last_of(bed, third) > before && last_of(bed, third) < noop;
    sim_network_cut(bed->cluster->network, leader, third, false);
    sim_run_for(&bed->sim, 20 * STAGE_MS); /* the acknowledgement arrives, and may be counted */
    return a_part && !bed->sim.failed && last_of(bed, third) < noop;
}

static bool play_figure_8(struct sim_bed *bed, struct sim_client *client)
{
    node_id_t s1 = stage_leader(bed);
    node_id_t s2 = s1 ? spread_to_one(bed, client, s1) : 0;

    if (s2 == 0) return false;
    sim_node_kill(stage_node(bed, s1));
    uint32_t rest = everybody() & ~bit(s1) & ~bit(s2);
    node_id_t s5 = elect_apart(bed, rest);
    if (s5 == 0) return false;
    node_id_t s3 = first_of(rest & ~bit(s5));
    uint32_t first_two = bit(s1) | bit(s2);
    sim_node_start(stage_node(bed, s1));
    if (!replicate_old(bed, first_two, s3)) return false;
    /* (d) The one with the entry of the middle term is back, and is elected by the rest. */
    sim_node_kill(stage_node(bed, s1));
    sim_node_kill(stage_node(bed, s2));
    sim_node_start(stage_node(bed, s5));
    stage_only(bed, rest);
    if (stage_catch(bed, bit(s5), RAFT_LEADER, ELECT_US) == 0) return false;
    sim_run_for(&bed->sim, 300 * STAGE_MS);
    return true;
}

/* Goal: entries of former terms are not committed by counting (Raft paper, figure 8).
 * Method: figure 8 itself. The entries of S1 are too big for one append, so that S3 gets some of
 * them and nothing of the term in which S1 leads again. */
void scenario_figure_8(struct sim_bed *bed)
{
    struct sim_plan plan;
    bool played = false;

    plan_five(&plan);
    plan.workload.registers = 2;
    plan.workload.pad_min = BIG_VALUE;
    plan.cluster.entries_bytes_max = 64 << 20;
    plan.cluster.flush_bytes = 64 << 20;
    plan.cluster.log_segment_size = 8 << 20;
    if (!stage_open(bed, &plan)) return;
    struct sim_client *client = sim_client_manual(bed->clients, 1);
    for (int round = 0; round < ROUNDS && !played && !bed->sim.failed; round++) {
        played = play_figure_8(bed, client);
        if (!stage_repair(bed)) return;
        sim_client_disconnect(client);
        sim_run_for(&bed->sim, 500 * STAGE_MS);
    }
    if (played) sim_reached(&bed->sim, "scenario: figure 8 was played");
    stage_judge(bed);
}

/* --- one vote per term --- */

static bool all_speak(struct sim_bed *bed, uint32_t nodes)
{
    for (node_id_t node = 1; node <= FIVE; node++)
        if ((nodes >> node & 1) && stage_raft(bed, node) == NULL) return false;
    return true;
}

/* Two stand in one term: B has asked and nobody heard; C is elected by the two that are left, which
 * then restart; now they hear B's question. */
static bool play_two_candidates(struct sim_bed *bed)
{
    struct sim_network *network = bed->cluster->network;
    node_id_t old = stage_leader(bed);

    if (old == 0) return false;
    sim_node_kill(stage_node(bed, old));
    uint32_t rest = everybody() & ~bit(old);
    uint64_t terms[FIVE + 1];
    for (node_id_t node = 1; node <= FIVE; node++) {
        terms[node] = rest >> node & 1 ? raft_term(stage_raft(bed, node)) : 0;
    }
    /* Whose frames matter is known only when it stands: catch each in turn. */
    node_id_t b = (node_id_t)stage_draw(bed, 1, FIVE);
    while (b == old)
        b = (node_id_t)stage_draw(bed, 1, FIVE);
    sim_network_options(network)->capture_from = b;
    if (stage_catch(bed, bit(b), RAFT_CANDIDATE, ELECT_US) == 0) return false;
    sim_trace_text(&bed->sim, "two candidates: node %u stands", b);
    uint64_t term = raft_term(stage_raft(bed, b));
    rest &= ~bit(b);
    for (node_id_t node = 1; node <= FIVE; node++)
        if ((rest >> node & 1) && raft_term(stage_raft(bed, node)) != term - 1) return false;
    if (terms[b] != term - 1) return false;
    stage_only(bed, rest); /* B's question is lost on its way */
    sim_network_options(network)->capture_from = 0;
    sim_process_pause(stage_node(bed, b)->now->process);
    node_id_t c = stage_catch(bed, rest, RAFT_LEADER, ELECT_US);
    sim_trace_text(&bed->sim, "two candidates: node %u leads in term %llu, not %llu", c,
                   c ? (unsigned long long)raft_term(stage_raft(bed, c)) : 0,
                   (unsigned long long)term);
    if (c == 0 || raft_term(stage_raft(bed, c)) != term) return false;
    stage_only(bed, 0); /* before its first entry is heard of */
    rest &= ~bit(c);
    for (node_id_t node = 1; node <= FIVE; node++)
        if (node == c || (rest >> node & 1)) sim_node_kill(stage_node(bed, node));
    for (node_id_t node = 1; node <= FIVE; node++)
        if (rest >> node & 1) sim_node_start(stage_node(bed, node));
    sim_node_start(stage_node(bed, old));
    /* A start is confirmed by others before its groups speak (F11); nobody votes so early. */
    stage_only(bed, rest | bit(old));
    uint64_t end = bed->sim.now + 250 * STAGE_MS;
    while (!bed->sim.failed && bed->sim.now < end && !all_speak(bed, rest))
        sim_run_for(&bed->sim, 1 * STAGE_MS);
    stage_only(bed, 0);
    if (!all_speak(bed, rest)) return false;
    sim_run_for(&bed->sim, 800 * STAGE_MS); /* the time without votes */
    sim_process_resume(stage_node(bed, b)->now->process);
    for (node_id_t node = 1; node <= FIVE; node++) {
        if (!(rest >> node & 1)) continue;
        sim_network_heal(network, b, node);
        sim_network_heal(network, node, b);
    }
    sim_run_for(&bed->sim, 230 * STAGE_MS); /* connected, and B has confirmed their start to them */
    uint32_t asked = 0;
    for (node_id_t node = 1; node <= FIVE; node++)
        if (rest >> node & 1) asked += sim_network_again(network, b, node);
    bool stands = stage_raft(bed, b) && raft_role(stage_raft(bed, b)) == RAFT_CANDIDATE &&
                  raft_term(stage_raft(bed, b)) == term;
    sim_trace_text(&bed->sim, "two candidates: %u asked again, node %u %s", asked, b,
                   stands ? "stands" : "stands no more");
    sim_run_for(&bed->sim, 50 * STAGE_MS);
    return asked == 2 && stands;
}

/* Goal: a vote outlives its voter.
 * Method: see above; a voter that forgets would elect a second leader in the term. */
void scenario_vote_not_durable(struct sim_bed *bed)
{
    struct sim_plan plan;
    bool played = false;

    plan_five(&plan);
    if (!stage_open(bed, &plan)) return;
    for (int round = 0; round < ROUNDS && !played && !bed->sim.failed; round++) {
        played = play_two_candidates(bed);
        sim_network_options(bed->cluster->network)->capture_from = 0;
        if (!stage_repair(bed)) return;
        sim_run_for(&bed->sim, 300 * STAGE_MS);
    }
    if (played) sim_reached(&bed->sim, "scenario: two stood in one term");
    stage_judge(bed);
}
