/* test_raft_random.c - Raft under lost, doubled, reordered and late messages, cut links,
 * crashes that lose unfinished writes, clocks that run 8 % too fast or slow, pauses, hand-overs and
 * changes of members.
 *
 * Goal, one lease at a time and no stale read round, for every seed; and a planted
 * bug does not get past the same judge. Then all heals, and the group must serve and agree. */
#include "test_raft_harness.h"

enum { SEEDS = 60, CHAOS_MS = 12 * 1000, HEAL_MS = 12 * 1000 };

static void change_members(struct net *net, int leader)
{
    struct raft *raft = net->peers[leader].raft;
    struct raft_config target = *raft_config(raft);
    struct raft_member member = {.replica = {1 + random_below(&net->random, NODES)}};
    member.node = (node_id_t)member.replica.value;
    bool learner = raft_config(raft)->learner_count > 0;
    uint64_t based_on = target.index;

    if (learner) { /* promote the first learner, half of the time in place of a voter */
        bool swap = target.incoming_count > 3 || random_chance(&net->random, 1, 2);
        size_t at =
            swap ? random_below(&net->random, target.incoming_count) : target.incoming_count;
        struct raft_member out = target.incoming[at];
        target.incoming[at] = target.learners[0];
        if (!swap) target.incoming_count++;
        target.learner_count = 0;
        if (swap && random_chance(&net->random, 1, 2)) {
            target.learners[0] = out; /* demoted, not removed */
            target.learner_count = 1;
        }
    } else {
        for (size_t k = 0; k < target.incoming_count; k++)
            if (target.incoming[k].replica.value == member.replica.value) return;
        target.learners[0] = member;
        target.learner_count = 1;
    }
    enum status status = raft_propose_config(raft, &target, based_on, NULL);
    net->changes_done += status == STATUS_OK;
    peer_output(net, leader);
}

static void hand_over(struct net *net, int leader)
{
    const struct raft_config *config = raft_config(net->peers[leader].raft);
    uint64_t pick = random_below(&net->random, config->incoming_count);
    enum status status = raft_transfer(net->peers[leader].raft, config->incoming[pick].replica,
                                       peer_now(net, leader));
    net->transfers_done += status == STATUS_OK;
    peer_output(net, leader);
}

/* A pause: the node does nothing for a while, then sees that it was away. */
static void crash_or_gap(struct net *net, int i)
{
    bool down = net->peers[i].raft == NULL;
    if (down) {
        net_restart(net, i);
    } else if (random_chance(&net->random, 1, 3)) {
        raft_gap(net->peers[i].raft, peer_now(net, i));
        peer_output(net, i);
    } else {
        net_crash(net, i, random_below(&net->random, 4));
        net_link_down(net, i);
    }
}

static void disturb(struct net *net)
{
    struct random *random = &net->random;
    int i = (int)random_below(random, (uint64_t)net->count);
    int other = (int)random_below(random, (uint64_t)net->count);
    int leader = net_leader(net);

    if (leader >= 0 && random_chance(random, 300, 1000)) net_propose(net, leader, net->now);
    if (random_chance(random, 40, 1000)) net_read(net, i);
    if (leader >= 0 && random_chance(random, 6, 1000)) change_members(net, leader);
    if (leader >= 0 && random_chance(random, 2, 1000)) hand_over(net, leader);
    if (random_chance(random, 3, 1000)) crash_or_gap(net, i);
    if (random_chance(random, 3, 1000)) net->cut[i][other] = !net->cut[i][other];
    if (random_chance(random, 2, 1000)) memset(net->cut, 0, sizeof(net->cut));
    if (random_chance(random, 2, 1000)) {
        net_isolate(net, i, random_chance(random, 1, 2));
        net_link_down(net, i);
    }
    if (net->peers[i].raft == NULL) {
        if (random_chance(random, 5, 1000)) net_restart(net, i);
        return;
    }
    if (random_chance(random, 5, 1000)) net_flush(net, i);
    if (random_chance(random, 1, 1000)) net->peers[i].disk_stalled = true;
    if (random_chance(random, 20, 1000)) net->peers[i].disk_stalled = false;
}

static struct net *random_net(uint64_t seed, uint32_t bugs)
{
    struct random draw;
    random_seed(&draw, seed);
    struct net *net = net_make(NODES, 3 + (int)random_below(&draw, 3), seed, bugs);
    for (int i = 0; i < NODES; i++) { /* within the bound of D1; set before any of it passes */
        net->peers[i].skew = (int)random_below(&draw, 161) - 80;
        net_crash(net, i, 0);
        peer_open(net, i, i == 0);
    }
    net->delay_max = MS + random_below(&draw, 60 * MS);
    net->disk_max = random_below(&draw, 30 * MS);
    net->drop = (uint32_t)random_below(&draw, 80);
    net->duplicate = (uint32_t)random_below(&draw, 80);
    net->trims = random_chance(&draw, 1, 2);
    return net;
}

static void chaos(struct net *net)
{
    for (int ms = 0; ms < CHAOS_MS && net->judge.violation[0] == 0; ms++) {
        disturb(net);
        net_step(net);
    }
}

static void heal(struct net *net)
{
    memset(net->cut, 0, sizeof(net->cut));
    net->drop = 0;
    net->delay_max = 2 * MS;
    net->disk_max = 2 * MS;
    for (int i = 0; i < net->count; i++) {
        net_restart(net, i);
        net->peers[i].disk_stalled = false;
    }
}

/* After healing: an entry commits, and every member of the configuration gets it. */
static void assert_serves(struct net *net, uint64_t seed)
{
    net_run(net, HEAL_MS / 2);
    int leader = net_elect(net, HEAL_MS);
    if (leader < 0) fail_msg("seed %llu: no leader after healing", (unsigned long long)seed);
    uint64_t index = net_propose(net, leader, 1);
    net_run(net, HEAL_MS / 2);
    leader = net_elect(net, 1);
    if (leader < 0 || net->judge.commit_max < index || index == 0)
        fail_msg("seed %llu: no commit after healing", (unsigned long long)seed);
    const struct raft_config *config = raft_config(net->peers[leader].raft);
    for (int i = 0; i < net->count; i++) {
        struct raft *raft = net->peers[i].raft;
        if (!raft_match_of(net->peers[leader].raft, (struct replica_id){(uint64_t)i + 1},
                           peer_now(net, leader), NULL))
            continue; /* not a member */
        if (raft_commit_index(raft) < index)
            fail_msg("seed %llu: node %d stays behind", (unsigned long long)seed, i + 1);
    }
    assert_int_equal(config->outgoing_count, 0);
}

static void test_no_seed_violates_safety_and_all_heal(void **state)
{
    (void)state;
    uint64_t reads = 0, snapshots = 0, transfers = 0, changes = 0, commits = 0;
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        struct net *net = random_net(seed, 0);
        chaos(net);
        heal(net);
        if (net->judge.violation[0] == 0) assert_serves(net, seed);
        if (net->judge.violation[0])
            fail_msg("seed %llu: %s", (unsigned long long)seed, net->judge.violation);
        reads += net->reads_done;
        snapshots += net->snapshots_done;
        transfers += net->transfers_done;
        changes += net->changes_done;
        commits += net->judge.commit_max;
        net_free(net);
    }
    print_message("reads %llu snapshots %llu transfers %llu changes %llu commits %llu\n",
                  (unsigned long long)reads, (unsigned long long)snapshots,
                  (unsigned long long)transfers, (unsigned long long)changes,
                  (unsigned long long)commits);
    /* A fault that never happened tested nothing. */
    assert_true(reads > SEEDS && snapshots > SEEDS / 4);
    assert_true(transfers > SEEDS / 4 && changes > SEEDS / 4 && commits > 100 * SEEDS);
}

/* --- the judge sees planted bugs --- */

static bool some_seed_shows(uint32_t bug, const char *rule)
{
    for (uint64_t seed = 1; seed <= 10 * SEEDS; seed++) {
        struct net *net = random_net(seed, bug);
        chaos(net);
        bool seen = strncmp(net->judge.violation, rule, strlen(rule)) == 0;
        net_free(net);
        if (seen) return true;
    }
    return false;
}

static void test_the_judge_sees_an_ack_before_it_is_durable(void **state)
{
    (void)state;
    assert_true(some_seed_shows(RAFT_BUG_ACK_BEFORE_DURABLE, "R-6"));
}

static void test_the_judge_sees_the_own_copy_counted_early(void **state)
{
    (void)state;
    assert_true(some_seed_shows(RAFT_BUG_COUNT_SELF_EARLY, "R-7"));
}

static void test_the_judge_sees_a_learner_that_counts(void **state)
{
    (void)state;
    assert_true(some_seed_shows(RAFT_BUG_LEARNER_COUNTS, "R-7"));
}

static void test_the_judge_sees_a_promise_ignored(void **state)
{
    (void)state;
    assert_true(some_seed_shows(RAFT_BUG_IGNORE_PROMISE, "L-2"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_no_seed_violates_safety_and_all_heal),
        cmocka_unit_test(test_the_judge_sees_an_ack_before_it_is_durable),
        cmocka_unit_test(test_the_judge_sees_the_own_copy_counted_early),
        cmocka_unit_test(test_the_judge_sees_a_learner_that_counts),
        cmocka_unit_test(test_the_judge_sees_a_promise_ignored),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
