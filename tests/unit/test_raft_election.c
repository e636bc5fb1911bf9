/* test_raft_election.c - who may vote, stand and lead, and when. */
#include "test_raft_single.h"

static struct raft_message vote_request(uint64_t from, uint64_t term, uint64_t index,
                                        uint64_t log_term)
{
    return (struct raft_message){
        .type = RAFT_VOTE, .from = {from}, .term = term, .index = index, .log_term = log_term};
}

static void test_no_vote_for_a_shorter_log(void **state)
{
    (void)state;
    struct one *one = one_open((struct one_disk){.term = 4, .terms = {1, 4}});
    one_wait(one, 300);

    one_step(one, vote_request(2, 5, 1, 1));
    one_disk_done(one);

    assert_true(one_sent(one, RAFT_VOTE_REPLY)->reject);
    assert_int_equal(raft_term(one->raft), 5); /* the newer term counts all the same */
    assert_int_equal(one->stored.vote.value, 0);
    one_close(one);
}

static void test_no_vote_for_an_older_last_term(void **state)
{
    (void)state;
    struct one *one = one_open((struct one_disk){.term = 4, .terms = {1, 4}});
    one_wait(one, 300);
    one_step(one, vote_request(2, 5, 9, 3)); /* longer, but the paper's 5.4.1 looks at the term */
    one_disk_done(one);
    assert_true(one_sent(one, RAFT_VOTE_REPLY)->reject);
    one_close(one);
}

static void test_a_vote_leaves_only_when_durable(void **state)
{
    (void)state;
    struct one *one = one_open((struct one_disk){.term = 4, .terms = {4}});
    one_wait(one, 300);

    one_step(one, vote_request(2, 5, 1, 4));
    assert_null(one_sent(one, RAFT_VOTE_REPLY));
    assert_int_equal(one->stored.vote.value, 2);

    one_disk_done(one);
    assert_non_null(one_sent(one, RAFT_VOTE_REPLY));
    assert_false(one_sent(one, RAFT_VOTE_REPLY)->reject);
    one_close(one);
}

/* After a restart in term 5 with a vote for 2, replica 3 asks in the same term. */
static bool votes_again(uint32_t bugs)
{
    struct one *one = one_open((struct one_disk){.term = 5, .vote = 2, .terms = {4}, .bugs = bugs});
    one_wait(one, 300);
    one_step(one, vote_request(3, 5, 1, 4));
    one_disk_done(one);
    bool granted = !one_sent(one, RAFT_VOTE_REPLY)->reject;
    one_close(one);
    return granted;
}

static void test_one_vote_per_term_across_a_restart(void **state)
{
    (void)state;
    assert_false(votes_again(0));
    assert_true(votes_again(RAFT_BUG_VOTE_TWICE)); /* the test sees it */
}

static bool helps_after_restart(uint32_t bugs, uint64_t ms)
{
    struct one *one = one_open((struct one_disk){.term = 4, .terms = {4}, .bugs = bugs});
    one_wait(one, ms);
    one_step(one, vote_request(2, 5, 1, 4));
    one_disk_done(one);
    const struct raft_message *reply = one_sent(one, RAFT_VOTE_REPLY);
    bool helps = reply != NULL && !reply->reject;
    one_close(one);
    return helps;
}

static void test_no_vote_for_one_election_timeout_after_start(void **state)
{
    (void)state;
    assert_false(helps_after_restart(0, 0));
    assert_false(helps_after_restart(0, 299));
    assert_true(helps_after_restart(0, 300));
    assert_true(helps_after_restart(RAFT_BUG_VOTE_AFTER_RESTART, 80));
}

static void test_no_candidacy_for_one_election_timeout_after_start(void **state)
{
    (void)state;
    struct one *one = one_open((struct one_disk){.term = 4, .terms = {4}});
    one_wait(one, 10);
    one_heartbeat(one, 2, 4, 1);
    raft_peer_down(one->raft, 2, one->now);
    one_take(one);
    assert_null(one_sent(one, RAFT_PRE_VOTE));
    one_close(one);
}

static void test_a_pre_vote_raises_no_term(void **state)
{
    (void)state;
    struct one *one = one_open((struct one_disk){.term = 4, .terms = {4}});
    one_wait(one, 300);
    one_step(one, (struct raft_message){
                      .type = RAFT_PRE_VOTE, .from = {2}, .term = 9, .index = 1, .log_term = 4});
    assert_false(one_sent(one, RAFT_PRE_VOTE_REPLY)->reject);
    assert_int_equal(one_sent(one, RAFT_PRE_VOTE_REPLY)->term, 9);
    assert_int_equal(raft_term(one->raft), 4);
    one_close(one);
}

static void test_a_live_leader_is_not_voted_out(void **state)
{
    (void)state;
    struct one *one = one_open((struct one_disk){.term = 4, .terms = {4}});
    one_wait(one, 300);
    one_heartbeat(one, 3, 4, 1);
    one_step(one, vote_request(2, 9, 1, 4));
    assert_int_equal(raft_term(one->raft), 4);
    assert_int_equal(raft_leader(one->raft).replica.value, 3);
    one_close(one);
}

static void test_a_broken_connection_frees_the_vote_but_not_the_promise(void **state)
{
    (void)state;
    struct one *one = one_open((struct one_disk){.term = 4, .terms = {4}});
    one_wait(one, 300);
    one_heartbeat(one, 3, 4, 1);
    one->now += 100 * MS;
    raft_peer_down(one->raft, 3, one->now);
    one_take(one);
    assert_int_equal(one_sent_count(one, RAFT_PRE_VOTE), 2); /* stands at once */

    one_step(one, vote_request(2, 5, 1, 4));
    one_disk_done(one);
    assert_false(one_sent(one, RAFT_VOTE_REPLY)->reject);
    assert_int_equal(one_sent(one, RAFT_VOTE_REPLY)->promise, 200 * MS);
    one_close(one);
}

static void test_appends_do_not_renew_the_promise(void **state)
{
    (void)state;
    struct one *one = one_open((struct one_disk){.term = 4, .terms = {4}});
    one_wait(one, 300);
    one_heartbeat(one, 3, 4, 1);
    one->now += 200 * MS;
    one_append(one, 3, 4, 1, 4, 1, 0);
    raft_peer_down(one->raft, 3, one->now);
    one_step(one, vote_request(2, 5, 2, 4));
    one_disk_done(one);
    assert_int_equal(one_sent(one, RAFT_VOTE_REPLY)->promise, 100 * MS);
    one_close(one);
}

static void test_a_new_leader_waits_for_the_longest_promise(void **state)
{
    (void)state;
    struct one *one = one_open((struct one_disk){.term = 4, .terms = {4}, .vote_at_once = true});
    one_wait(one, 1);
    one_step(one, (struct raft_message){.type = RAFT_PRE_VOTE_REPLY, .from = {2}, .term = 5});
    one_step(one, (struct raft_message){
                      .type = RAFT_VOTE_REPLY, .from = {2}, .term = 5, .promise = 150 * MS});
    one_disk_done(one);
    one_disk_done(one);
    one_acked(one, 2, 2);
    assert_int_equal(raft_commit_index(one->raft), 2);
    assert_false(raft_can_evaluate(one->raft, one->now + 149 * MS));
    assert_true(raft_can_evaluate(one->raft, one->now + 150 * MS));
    one_close(one);
}

static void test_the_own_vote_counts_only_when_durable(void **state)
{
    (void)state;
    struct one *one = one_open((struct one_disk){.vote_at_once = true});
    one_wait(one, 1);
    one_step(one, (struct raft_message){.type = RAFT_PRE_VOTE_REPLY, .from = {2}, .term = 1});
    assert_int_equal(one_sent_count(one, RAFT_VOTE), 2); /* asked for in parallel */
    one_step(one, (struct raft_message){.type = RAFT_VOTE_REPLY, .from = {2}, .term = 1});
    one_step(one, (struct raft_message){.type = RAFT_VOTE_REPLY, .from = {3}, .term = 1});
    assert_int_equal(raft_role(one->raft), RAFT_CANDIDATE);
    one_disk_done(one);
    assert_int_equal(raft_role(one->raft), RAFT_LEADER);
    one_close(one);
}

static void test_a_slow_disk_raises_no_terms(void **state)
{
    (void)state;
    struct one *one = one_open((struct one_disk){.voters = 1});
    one_wait(one, 60 * 1000);
    assert_int_equal(raft_term(one->raft), 1);
    one_close(one);
}

static void test_a_single_voter_leads_and_commits_with_its_disk_alone(void **state)
{
    (void)state;
    struct one *one = one_open((struct one_disk){.voters = 1});
    one_wait(one, 1);
    one_disk_done(one);
    assert_int_equal(raft_role(one->raft), RAFT_LEADER);
    one_disk_done(one);
    assert_true(raft_can_evaluate(one->raft, one->now));
    assert_true(raft_lease_valid(one->raft, one->now));

    uint64_t index = raft_propose(one->raft, entry_of(7));
    one_take(one);
    assert_int_equal(raft_commit_index(one->raft), index - 1);
    one_disk_done(one);
    assert_int_equal(raft_commit_index(one->raft), index);
    assert_int_equal(one->sent_count, 0);
    assert_true(raft_next_deadline(one->raft) == UINT64_MAX);
    one_close(one);
}

static void test_a_member_that_comes_back_does_not_disturb(void **state)
{
    (void)state;
    struct net *net = net_make(3, 3, 1, 0);
    int leader = net_elect(net, 5000);
    int away = (leader + 1) % 3;
    uint64_t term = raft_term(net->peers[leader].raft);
    net_isolate(net, away, true);
    net_run(net, 5000);
    net_isolate(net, away, false);
    net_run(net, 2000);
    assert_int_equal(net_leader(net), leader);
    assert_int_equal(raft_term(net->peers[leader].raft), term);
    assert_int_equal(raft_term(net->peers[away].raft), term);
    ASSERT_SOUND(net);
    net_free(net);
}

static void test_an_isolated_leader_steps_down(void **state)
{
    (void)state;
    struct net *net = net_make(3, 3, 1, 0);
    int leader = net_elect(net, 5000);
    net_isolate(net, leader, true);
    net_run(net, 601);
    assert_int_not_equal(raft_role(net->peers[leader].raft), RAFT_LEADER);
    net_free(net);
}

static void test_a_dead_leader_is_replaced_within_its_promise(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 50; seed++) {
        struct net *net = net_make(3, 3, seed, 0);
        int leader = net_elect(net, 5000);
        net_run(net, 1000);
        net_crash(net, leader, 0);
        net_link_down(net, leader);
        uint64_t died = net->now;
        int next = net_elect(net, 5000);
        assert_int_not_equal(next, -1);
        /* Two round trips in parallel with the promise of at most one election timeout. */
        assert_true(net->now - died <= 310 * MS);
        ASSERT_SOUND(net);
        net_free(net);
    }
}

/* The voter of the lease quorum restarts and helps a rival while the lease runs (WHY 1.3). */
static bool restart_breaks_a_lease(uint32_t bugs)
{
    for (uint64_t seed = 1; seed <= 30; seed++) {
        struct net *net = net_make(3, 3, seed, bugs);
        int leader = net_elect(net, 5000);
        int voter = (leader + 1) % 3, rival = (leader + 2) % 3;
        net_run(net, 1000);
        net->cut[leader][rival] = net->cut[rival][leader] = true;
        net_run(net, 900 + seed);
        net_isolate(net, leader, true);
        net_crash(net, voter, 9);
        net_restart(net, voter);
        net_run(net, 1500);
        bool broken = net->judge.violation[0] != 0;
        net_free(net);
        if (broken) return true;
    }
    return false;
}

static void test_a_restarted_voter_breaks_no_lease(void **state)
{
    (void)state;
    assert_false(restart_breaks_a_lease(0));
    assert_true(restart_breaks_a_lease(RAFT_BUG_VOTE_AFTER_RESTART));
}

/* Milliseconds of silence of leader `from` until we stand. */
static uint64_t patience_with(struct one *one, uint64_t from, uint64_t term)
{
    uint64_t waited = 0;
    for (int i = 0; i < 3; i++) { /* the first only teaches the term */
        one_heartbeat(one, from, term, 1);
        one_disk_done(one);
        one_wait(one, 20);
        assert_int_equal(raft_role(one->raft), RAFT_FOLLOWER);
    }
    one_heartbeat(one, from, term, 1);
    for (; raft_role(one->raft) == RAFT_FOLLOWER; waited++)
        one_wait(one, 1);
    return waited;
}

/* Drawn once for each leader: the next election's is another (paper, 5.2). */
static void test_patience_is_drawn_anew_for_each_leader(void **state)
{
    (void)state;
    enum { LEADERS = 40 };
    struct one *one = one_open((struct one_disk){.term = 4, .terms = {4}});
    uint64_t low = UINT64_MAX, high = 0, equal = 0, before = 0;
    for (uint64_t i = 0; i < LEADERS; i++) {
        uint64_t waited = patience_with(one, 2 + i % 2, 5 + i);
        assert_true(waited >= 300 && waited <= 601); /* of the last heartbeat, not of the first */
        equal += waited == before;
        low = waited < low ? waited : low;
        high = waited > high ? waited : high;
        before = waited;
    }
    assert_true(low < 340 && high > 560);
    assert_true(equal < 3);
    for (uint64_t i = 0, same = 0; i < LEADERS; i++) { /* the same one comes back each time */
        uint64_t waited = patience_with(one, 2, 100);
        same += waited == before;
        before = waited;
        assert_true(same < 3);
    }
    one_close(one);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_no_vote_for_a_shorter_log),
        cmocka_unit_test(test_no_vote_for_an_older_last_term),
        cmocka_unit_test(test_a_vote_leaves_only_when_durable),
        cmocka_unit_test(test_one_vote_per_term_across_a_restart),
        cmocka_unit_test(test_no_vote_for_one_election_timeout_after_start),
        cmocka_unit_test(test_no_candidacy_for_one_election_timeout_after_start),
        cmocka_unit_test(test_a_pre_vote_raises_no_term),
        cmocka_unit_test(test_a_live_leader_is_not_voted_out),
        cmocka_unit_test(test_a_broken_connection_frees_the_vote_but_not_the_promise),
        cmocka_unit_test(test_appends_do_not_renew_the_promise),
        cmocka_unit_test(test_a_new_leader_waits_for_the_longest_promise),
        cmocka_unit_test(test_the_own_vote_counts_only_when_durable),
        cmocka_unit_test(test_a_slow_disk_raises_no_terms),
        cmocka_unit_test(test_a_single_voter_leads_and_commits_with_its_disk_alone),
        cmocka_unit_test(test_a_member_that_comes_back_does_not_disturb),
        cmocka_unit_test(test_an_isolated_leader_steps_down),
        cmocka_unit_test(test_a_dead_leader_is_replaced_within_its_promise),
        cmocka_unit_test(test_patience_is_drawn_anew_for_each_leader),
        cmocka_unit_test(test_a_restarted_voter_breaks_no_lease),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
