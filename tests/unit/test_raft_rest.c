/* test_raft_rest.c - groups at rest: who lives is an opinion, leases and promises are not (decision
 * 0009, D1). */
#include "test_raft_single.h"

static struct one *follower_of_2(void)
{
    struct one *one = one_open((struct one_disk){.term = 3, .terms = {1, 2}});
    one_wait(one, 300); /* D1: no vote before */
    one_heartbeat(one, 2, 3, 1);
    assert_int_equal(raft_leader(one->raft).replica.value, 2);
    return one;
}

static void pre_vote(struct one *one)
{
    one_step(one, (struct raft_message){
                      .type = RAFT_PRE_VOTE, .from = {3}, .term = 4, .index = 9, .log_term = 3});
}

static void test_a_leader_that_lives_is_not_voted_out(void **state)
{
    (void)state;
    struct one *one = follower_of_2();
    for (int i = 0; i < 20; i++) {
        one_wait(one, 200);
        raft_leader_alive(one->raft, one->now);
    }
    assert_int_equal(raft_role(one->raft), RAFT_FOLLOWER);
    pre_vote(one);
    assert_true(one_sent(one, RAFT_PRE_VOTE_REPLY)->reject);
    one_close(one);
}

static void test_the_election_comes_after_the_last_sign_of_life(void **state)
{
    (void)state;
    struct one *one = follower_of_2();
    one_wait(one, 250);
    uint64_t at = one->now;
    raft_leader_alive(one->raft, at);
    raft_leader_alive(one->raft, at - 100 * MS); /* an older one changes nothing */
    one_wait(one, 299);
    assert_int_equal(raft_role(one->raft), RAFT_FOLLOWER);
    one_wait(one, 302);
    assert_int_equal(raft_role(one->raft), RAFT_PRE_CANDIDATE);
    one_close(one);
}

static void test_no_promise_comes_of_a_sign_of_life(void **state)
{
    (void)state;
    struct one *one = follower_of_2();
    one_wait(one, 280); /* what the heartbeat was promised (250 to 300 ms) is nearly over */
    raft_leader_alive(one->raft, one->now);
    one_wait(one, 299);
    raft_peer_down(one->raft, 2, one->now);
    one_step(one, (struct raft_message){
                      .type = RAFT_VOTE, .from = {3}, .term = 4, .index = 9, .log_term = 3});
    one_disk_done(one);
    const struct raft_message *reply = one_sent(one, RAFT_VOTE_REPLY);
    assert_false(reply->reject);
    assert_int_equal(reply->promise, 0);
    one_close(one);
}

static void test_a_broken_connection_outweighs_a_sign_of_life(void **state)
{
    (void)state;
    struct one *one = follower_of_2();
    raft_peer_down(one->raft, 2, one->now);
    assert_int_equal(raft_role(one->raft), RAFT_PRE_CANDIDATE);
    raft_leader_alive(one->raft, one->now + 1);
    pre_vote(one);
    one_close(one);
}

static struct one *quiet_leader(void)
{
    struct one *one = one_open((struct one_disk){.vote_at_once = true});
    one_lead(one);
    one_acked(one, 2, 1);
    one_acked(one, 3, 1);
    one_heartbeat_acked(one, 2);
    one_heartbeat_acked(one, 3);
    assert_true(raft_is_quiet(one->raft));
    return one;
}

static void test_members_that_live_give_no_lease(void **state)
{
    (void)state;
    struct one *one = quiet_leader();
    for (int i = 0; i < 10; i++) {
        one_wait(one, 240);
        raft_member_alive(one->raft, (struct replica_id){2}, one->now);
        raft_member_alive(one->raft, (struct replica_id){3}, one->now);
        assert_false(raft_lease_valid(one->raft, one->now));
    }
    assert_int_equal(raft_role(one->raft), RAFT_LEADER);
    one_wait(one, 600);
    assert_int_equal(raft_role(one->raft), RAFT_FOLLOWER); /* check-quorum */
    one_close(one);
}

/* The node lives; whether the replica on it still has its log only the replica can say. */
static void test_a_node_that_lives_is_no_acknowledgement_of_its_replica(void **state)
{
    (void)state;
    struct one *one = quiet_leader();
    bool active;
    for (int i = 0; i < 5; i++) {
        one_wait(one, 240);
        raft_member_alive(one->raft, (struct replica_id){2}, one->now);
        raft_member_alive(one->raft, (struct replica_id){3}, one->now);
    }
    assert_int_equal(raft_role(one->raft), RAFT_LEADER);
    raft_match_of(one->raft, (struct replica_id){2}, one->now, &active);
    assert_false(active);
    one_heartbeat_acked(one, 2);
    raft_match_of(one->raft, (struct replica_id){2}, one->now, &active);
    assert_true(active);
    one_close(one);
}

static void test_what_is_under_way_is_not_quiet(void **state)
{
    (void)state;
    struct one *one = quiet_leader();
    bool send_now;
    raft_read_begin(one->raft, one->now, &send_now);
    assert_false(raft_is_quiet(one->raft));
    one_heartbeat_acked(one, 2);
    one_heartbeat_acked(one, 3);
    assert_true(raft_is_quiet(one->raft));

    raft_transfer(one->raft, (struct replica_id){2}, one->now);
    one_take(one);
    assert_false(raft_is_quiet(one->raft));
    one_close(one);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_leader_that_lives_is_not_voted_out),
        cmocka_unit_test(test_the_election_comes_after_the_last_sign_of_life),
        cmocka_unit_test(test_no_promise_comes_of_a_sign_of_life),
        cmocka_unit_test(test_a_broken_connection_outweighs_a_sign_of_life),
        cmocka_unit_test(test_members_that_live_give_no_lease),
        cmocka_unit_test(test_a_node_that_lives_is_no_acknowledgement_of_its_replica),
        cmocka_unit_test(test_what_is_under_way_is_not_quiet),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
