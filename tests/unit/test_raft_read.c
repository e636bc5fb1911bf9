/* test_raft_read.c - leases, read rounds, hand-over (A1, A3, D1; WHY 1.2 to 1.4). */
#include "test_raft_single.h"

/* A leader of term 1 with its no-op committed and applied, and a lease by 2's answer now. */
static struct one *leader_with_lease(uint32_t bugs)
{
    struct one *one = one_open((struct one_disk){.vote_at_once = true, .bugs = bugs});
    one_lead(one);
    one_acked(one, 2, 1);
    one_heartbeat_acked(one, 2);
    assert_true(raft_can_evaluate(one->raft, one->now));
    assert_true(raft_lease_valid(one->raft, one->now));
    return one;
}

static void test_a_lease_counts_from_the_making_of_the_heartbeat(void **state)
{
    (void)state;
    struct one *one = one_open((struct one_disk){.vote_at_once = true});
    one_lead(one);
    struct raft_heartbeat heartbeat;
    raft_heartbeat_make(one->raft, (struct replica_id){2}, &heartbeat);
    struct raft_heartbeat_ack ack = {
        .from = {2}, .to = {1}, .term = 1, .round = heartbeat.round, .accepted = true};
    uint64_t made_at = one->now;
    raft_heartbeat_acked(one->raft, &ack, made_at, made_at + 200 * MS);
    assert_true(raft_lease_valid(one->raft, made_at + 239 * MS));
    assert_false(raft_lease_valid(one->raft, made_at + 240 * MS));
    one_close(one);
}

static void test_only_who_agrees_extends_a_lease(void **state)
{
    (void)state;
    struct one *one = one_open((struct one_disk){.vote_at_once = true});
    one_lead(one);
    one_acked(one, 2, 1); /* an append's answer does not count */
    assert_false(raft_lease_valid(one->raft, one->now));
    struct raft_heartbeat_ack ack = {.from = {2}, .to = {1}, .term = 1, .round = 9};
    raft_heartbeat_acked(one->raft, &ack, one->now, one->now); /* WHY 6.8a: it does not agree */
    assert_false(raft_lease_valid(one->raft, one->now));
    one_close(one);
}

static void test_a_gap_voids_the_lease_until_a_later_round(void **state)
{
    (void)state;
    struct one *one = leader_with_lease(0);
    struct raft_heartbeat old;
    raft_heartbeat_make(one->raft, (struct replica_id){2}, &old);
    one->now += 200 * MS;
    raft_gap(one->raft, one->now);
    assert_false(raft_lease_valid(one->raft, one->now));

    struct raft_heartbeat_ack late = {
        .from = {2}, .to = {1}, .term = 1, .round = old.round, .accepted = true};
    raft_heartbeat_acked(one->raft, &late, one->now, one->now);
    assert_false(raft_lease_valid(one->raft, one->now));
    one_heartbeat_acked(one, 2);
    assert_true(raft_lease_valid(one->raft, one->now));
    one_close(one);
}

static bool lease_after_timeout_now(uint32_t bugs)
{
    struct one *one = leader_with_lease(bugs);
    assert_int_equal(raft_transfer(one->raft, (struct replica_id){2}, one->now), STATUS_OK);
    one_take(one);
    assert_non_null(one_sent(one, RAFT_TIMEOUT_NOW));
    assert_int_equal(raft_propose(one->raft, entry_of(1)), 0);
    one_heartbeat_acked(one, 2); /* answers during the hand-over do not count */
    bool valid = raft_lease_valid(one->raft, one->now);
    one_close(one);
    return valid;
}

static void test_a_hand_over_voids_the_lease_before_the_message(void **state)
{
    (void)state;
    assert_false(lease_after_timeout_now(0));
    assert_true(lease_after_timeout_now(RAFT_BUG_LEASE_AFTER_TRANSFER));
}

static void test_an_abandoned_hand_over_gives_the_lease_back_by_a_round(void **state)
{
    (void)state;
    struct one *one = leader_with_lease(0);
    raft_transfer(one->raft, (struct replica_id){2}, one->now);
    one_take(one);
    for (int i = 0; i < 12; i++) {
        one_wait(one, 50);
        one_heartbeat_acked(one, 2);
        assert_true(i == 11 || !raft_lease_valid(one->raft, one->now));
    }
    assert_true(raft_lease_valid(one->raft, one->now));
    assert_int_not_equal(raft_propose(one->raft, entry_of(1)), 0);
    one_close(one);
}

static void test_a_late_timeout_now_is_not_obeyed(void **state)
{
    (void)state;
    struct one *one = one_open((struct one_disk){.term = 4, .terms = {4}});
    one_wait(one, 300);
    struct raft_message timeout_now = {
        .type = RAFT_TIMEOUT_NOW, .from = {2}, .term = 4, .hint_index = 7};
    one_heartbeat(one, 2, 4, 8); /* the leader has gone on to a later round */
    one_step(one, timeout_now);
    assert_null(one_sent(one, RAFT_VOTE));
    timeout_now.hint_index = 8;
    one_step(one, timeout_now);
    assert_int_equal(one_sent_count(one, RAFT_VOTE), 2);
    assert_true(one_sent(one, RAFT_VOTE)->transfer);
    one_close(one);
}

static void test_a_voter_that_saw_a_later_round_keeps_its_promise(void **state)
{
    (void)state;
    struct one *one = one_open((struct one_disk){.term = 4, .terms = {4}});
    one_wait(one, 300);
    one_heartbeat(one, 2, 4, 8);
    struct raft_message request = {.type = RAFT_VOTE,
                                   .from = {3},
                                   .term = 5,
                                   .index = 1,
                                   .log_term = 4,
                                   .transfer = true,
                                   .hint_index = 7};
    one_step(one, request);
    assert_int_equal(raft_term(one->raft), 4);
    request.hint_index = 8;
    one_step(one, request);
    one_disk_done(one);
    assert_false(one_sent(one, RAFT_VOTE_REPLY)->reject);
    assert_int_equal(one_sent(one, RAFT_VOTE_REPLY)->promise, 0); /* the lease is void */
    one_close(one);
}

static void test_a_hand_over_takes_no_election_timeout(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 20; seed++) {
        struct net *net = net_make(3, 3, seed, 0);
        int leader = net_elect(net, 5000);
        int next = (leader + 1) % 3;
        net_run(net, 500);
        net_propose(net, leader, 1);
        struct replica_id to = {(uint64_t)next + 1};
        assert_int_equal(raft_transfer(net->peers[leader].raft, to, net->now), STATUS_OK);
        peer_output(net, leader);
        net_run(net, 20);
        assert_int_equal(net_leader(net), next);
        assert_true(raft_can_evaluate(net->peers[next].raft, net->now));
        ASSERT_SOUND(net);
        net_free(net);
    }
}

/* The old leader is cut off from all but the one it hands over to, right behind the message. */
static bool hand_over_breaks_a_lease(uint32_t bugs)
{
    struct net *net = net_make(3, 3, 1, bugs);
    int leader = net_elect(net, 5000);
    int next = (leader + 1) % 3;
    net_run(net, 500);
    struct replica_id to = {(uint64_t)next + 1};
    assert_int_equal(raft_transfer(net->peers[leader].raft, to, net->now), STATUS_OK);
    peer_output(net, leader);
    net_run(net, 1);
    net_isolate(net, leader, true);
    net_run(net, 200);
    bool broken = net->judge.violation[0] != 0;
    assert_true(broken || net_leader(net) == next);
    net_free(net);
    return broken;
}

static void test_a_hand_over_leaves_no_second_lease(void **state)
{
    (void)state;
    assert_false(hand_over_breaks_a_lease(0));
    assert_true(hand_over_breaks_a_lease(RAFT_BUG_LEASE_AFTER_TRANSFER));
}

static void test_a_read_never_joins_the_round_in_flight(void **state)
{
    (void)state;
    struct one *one = leader_with_lease(0);
    bool send_now;
    uint64_t first = raft_read_begin(one->raft, one->now, &send_now);
    assert_true(send_now);
    assert_int_equal(raft_read_begin(one->raft, one->now, &send_now), first); /* not sent yet */
    struct raft_heartbeat heartbeat;
    raft_heartbeat_make(one->raft, (struct replica_id){2}, &heartbeat);
    assert_int_equal(heartbeat.round, first);

    uint64_t second = raft_read_begin(one->raft, one->now, &send_now);
    assert_true(second > first);
    struct raft_heartbeat_ack ack = {
        .from = {2}, .to = {1}, .term = 1, .round = first, .accepted = true};
    raft_heartbeat_acked(one->raft, &ack, one->now, one->now);
    one_take(one);
    assert_int_equal(one->read_round, first);
    one_heartbeat_acked(one, 2);
    assert_int_equal(one->read_round, second);
    one_close(one);
}

static void test_round_ids_are_not_reused_by_a_later_leadership(void **state)
{
    (void)state;
    struct one *one = leader_with_lease(0);
    bool send_now;
    uint64_t first = raft_read_begin(one->raft, one->now, &send_now);
    one_heartbeat(one, 3, 2, 1); /* deposed */
    one_disk_done(one);
    assert_int_equal(raft_read_begin(one->raft, one->now, &send_now), 0);
    one_wait(one, 1000);
    one_lead(one);
    assert_true(raft_read_begin(one->raft, one->now, &send_now) > first);
    one_close(one);
}

static void test_a_single_voter_confirms_a_round_at_once(void **state)
{
    (void)state;
    struct one *one = one_open((struct one_disk){.voters = 1});
    one_wait(one, 1);
    one_disk_done(one);
    one_disk_done(one);
    bool send_now;
    uint64_t id = raft_read_begin(one->raft, one->now, &send_now);
    one_take(one);
    assert_false(send_now);
    assert_true(id != 0 && one->read_round >= id);
    one_close(one);
}

static void test_nothing_is_evaluated_before_the_own_no_op_is_applied(void **state)
{
    (void)state;
    struct one *one = one_open((struct one_disk){.term = 3, .terms = {1, 2}, .vote_at_once = true});
    one_lead(one);
    one_acked(one, 2, 2);
    assert_false(raft_can_evaluate(one->raft, one->now));
    one_acked(one, 2, 3);
    assert_true(raft_can_evaluate(one->raft, one->now));
    one_close(one);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_lease_counts_from_the_making_of_the_heartbeat),
        cmocka_unit_test(test_only_who_agrees_extends_a_lease),
        cmocka_unit_test(test_a_gap_voids_the_lease_until_a_later_round),
        cmocka_unit_test(test_a_hand_over_voids_the_lease_before_the_message),
        cmocka_unit_test(test_an_abandoned_hand_over_gives_the_lease_back_by_a_round),
        cmocka_unit_test(test_a_late_timeout_now_is_not_obeyed),
        cmocka_unit_test(test_a_voter_that_saw_a_later_round_keeps_its_promise),
        cmocka_unit_test(test_a_hand_over_takes_no_election_timeout),
        cmocka_unit_test(test_a_hand_over_leaves_no_second_lease),
        cmocka_unit_test(test_a_read_never_joins_the_round_in_flight),
        cmocka_unit_test(test_round_ids_are_not_reused_by_a_later_leadership),
        cmocka_unit_test(test_a_single_voter_confirms_a_round_at_once),
        cmocka_unit_test(test_nothing_is_evaluated_before_the_own_no_op_is_applied),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
