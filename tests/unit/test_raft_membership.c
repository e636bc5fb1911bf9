/* test_raft_membership.c - changes of configuration (M-1, M-2, R-8; WHY 6.3, 6.4). */
#include "raft/raft_internal.h"
#include "test_raft_single.h"

static const struct raft_config *config_at(const struct net *net, int i)
{
    return raft_config(net->peers[i].raft);
}

static enum status propose(struct net *net, int leader, struct raft_config target,
                           struct error *error)
{
    uint64_t based_on = config_at(net, leader)->index;
    enum status status = raft_propose_config(net->peers[leader].raft, &target, based_on, error);
    peer_output(net, leader);
    return status;
}

/* Three voters and a fourth node that became a learner and caught up. */
static struct net *net_with_learner(uint64_t seed, int *ret_leader)
{
    struct net *net = net_make(4, 3, seed, 0);
    int leader = net_elect(net, 5000);
    for (uint64_t i = 0; i < 20; i++)
        net_propose(net, leader, i);
    net_run(net, 200);
    assert_int_equal(propose(net, leader, config_of(3, 1), NULL), STATUS_OK);
    net_run(net, 500);
    bool active;
    uint64_t match =
        raft_match_of(net->peers[leader].raft, (struct replica_id){4}, net->now, &active);
    assert_int_equal(match, raft_last_index(net->peers[leader].raft));
    assert_true(active);
    *ret_leader = leader;
    return net;
}

/* Voters 1, 2, 3 with the one at `out` replaced by 4. */
static struct raft_config swapped(int out)
{
    struct raft_config config = config_of(3, 0);
    config.incoming[out] = (struct raft_member){.replica = {4}, .node = 4};
    return config;
}

static void test_a_member_is_replaced_through_a_joint_configuration(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 20; seed++) {
        int leader;
        struct net *net = net_with_learner(seed, &leader);
        int out = (leader + 1) % 3;
        assert_int_equal(propose(net, leader, swapped(out), NULL), STATUS_OK);
        assert_int_equal(config_at(net, leader)->outgoing_count, 3); /* in force at once */
        net_run(net, 300);
        assert_int_equal(config_at(net, leader)->outgoing_count, 0);
        assert_int_equal(config_at(net, leader)->incoming_count, 3);
        assert_true(raft_is_voter(config_at(net, 3), (struct replica_id){4}));
        assert_false(raft_is_voter(config_at(net, leader), (struct replica_id){out + 1u}));

        /* The new member carries a majority with the leader alone. */
        int other = 3 - leader - out;
        net_isolate(net, other, true);
        net_isolate(net, out, true);
        uint64_t index = net_propose(net, leader, 1);
        net_run(net, 300);
        assert_true(raft_commit_index(net->peers[leader].raft) >= index);
        ASSERT_SOUND(net);
        net_free(net);
    }
}

static void test_a_joint_configuration_needs_both_majorities(void **state)
{
    (void)state;
    int leader;
    struct net *net = net_with_learner(1, &leader);
    int out = (leader + 1) % 3, other = (leader + 2) % 3;
    net->cut[leader][other] = net->cut[other][leader] = true;
    net->cut[leader][out] = net->cut[out][leader] = true;
    /* Leader and 4 are a majority of the new, but the leader alone is none of the old. */
    assert_int_equal(propose(net, leader, swapped(out), NULL), STATUS_OK);
    uint64_t index = config_at(net, leader)->index;
    net_run(net, 300);
    assert_true(raft_commit_index(net->peers[leader].raft) < index);
    ASSERT_SOUND(net);
    net_free(net);
}

static void test_a_change_is_refused_on_another_basis(void **state)
{
    (void)state;
    int leader;
    struct error error;
    struct net *net = net_with_learner(1, &leader);
    struct raft_config target = config_of(4, 0);
    uint64_t based_on = config_at(net, leader)->index;
    assert_int_equal(raft_propose_config(net->peers[leader].raft, &target, based_on - 1, &error),
                     STATUS_REFUSED);
    int follower = (leader + 1) % 3;
    assert_int_equal(raft_propose_config(net->peers[follower].raft, &target, based_on, &error),
                     STATUS_NOT_LEADER);
    assert_int_equal(propose(net, leader, target, &error), STATUS_OK);
    /* One at a time. */
    assert_int_equal(propose(net, leader, config_of(3, 0), &error), STATUS_REFUSED);
    net_free(net);
}

static void test_no_change_before_an_entry_of_the_own_term_is_committed(void **state)
{
    (void)state;
    struct one *one = one_open((struct one_disk){.vote_at_once = true});
    struct raft_config target = config_of(3, 1);
    struct error error;
    one_lead(one);
    one_heartbeat_acked(one, 2);
    assert_int_equal(raft_propose_config(one->raft, &target, 0, &error), STATUS_REFUSED);
    one_acked(one, 2, 1);
    assert_int_equal(raft_propose_config(one->raft, &target, 0, &error), STATUS_OK);
    one_close(one);
}

static void test_only_a_learner_that_caught_up_is_promoted(void **state)
{
    (void)state;
    struct net *net = net_make(4, 3, 1, 0);
    struct error error;
    int leader = net_elect(net, 5000);
    net_run(net, 200);
    assert_int_equal(propose(net, leader, config_of(4, 0), &error), STATUS_REFUSED);
    net_isolate(net, 3, true);
    assert_int_equal(propose(net, leader, config_of(3, 1), &error), STATUS_OK);
    net_run(net, 700);
    assert_int_equal(propose(net, leader, config_of(4, 0), &error), STATUS_REFUSED); /* silent */
    for (uint64_t i = 0; i < 5000; i++)
        raft_propose(net->peers[leader].raft, entry_of(i));
    net_run(net, 100);
    net->cut[leader][3] = net->cut[3][leader] = false;
    uint64_t last = raft_last_index(net->peers[leader].raft);
    for (int i = 0; i < 1000 && config_at(net, leader)->incoming_count == 3; i++) {
        uint64_t match =
            raft_match_of(net->peers[leader].raft, (struct replica_id){4}, net->now, NULL);
        enum status status = propose(net, leader, config_of(4, 0), &error);
        assert_true(status == STATUS_REFUSED || match + 4096 >= last);
        net_run(net, 1);
    }
    assert_int_equal(config_at(net, leader)->incoming_count, 4);
    ASSERT_SOUND(net);
    net_free(net);
}

static void test_a_change_that_leaves_no_living_majority_is_refused(void **state)
{
    (void)state;
    struct net *net = net_make(3, 3, 1, 0);
    struct error error;
    int leader = net_elect(net, 5000);
    int dead = (leader + 1) % 3, alive = (leader + 2) % 3;
    net_run(net, 200);
    net_crash(net, dead, 0);
    net_run(net, 700);
    struct raft_config target = config_of(3, 0);
    target.incoming[alive] = target.incoming[2];
    target.incoming_count = 2;
    if (alive == 2) target.incoming[2] = target.incoming[1];
    assert_int_equal(propose(net, leader, target, &error), STATUS_REFUSED);
    net_free(net);
}

static void test_a_truncated_configuration_is_in_force_no_more(void **state)
{
    (void)state;
    struct one *one = one_open((struct one_disk){.vote_at_once = true});
    one_lead(one);
    one_heartbeat_acked(one, 2);
    one_acked(one, 2, 1);
    struct raft_config target = config_of(3, 1);
    assert_int_equal(raft_propose_config(one->raft, &target, 0, NULL), STATUS_OK);
    one_take(one);
    assert_int_equal(raft_config(one->raft)->learner_count, 1);
    assert_int_equal(raft_config(one->raft)->index, 2);

    one_append(one, 3, 2, 1, 1, 1, 1); /* the leader of term 2 has another entry there */
    assert_int_equal(one->truncate_from, 2);
    assert_int_equal(raft_config(one->raft)->learner_count, 0);
    assert_int_equal(raft_config(one->raft)->index, 0);
    one_close(one);
}

static void test_a_configuration_outlives_the_trim_of_its_entry(void **state)
{
    (void)state;
    int leader;
    struct net *net = net_with_learner(1, &leader);
    net_run(net, 200);
    uint64_t index = config_at(net, leader)->index;
    net_flush(net, leader);
    assert_true(raft_first_index(net->peers[leader].raft) > index);
    assert_int_equal(config_at(net, leader)->index, index);
    net_crash(net, leader, 0);
    net_restart(net, leader);
    assert_int_equal(config_at(net, leader)->index, index);
    net_free(net);
}

static void test_a_leader_that_is_removed_steps_down_after_the_commit(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 20; seed++) {
        int leader;
        struct net *net = net_with_learner(seed, &leader);
        assert_int_equal(propose(net, leader, swapped(leader), NULL), STATUS_OK);
        uint64_t index = net_propose(net, leader, 1);
        net_run(net, 50);
        assert_int_not_equal(raft_role(net->peers[leader].raft), RAFT_LEADER);
        int next = net_elect(net, 20); /* handed over: no election timeout */
        assert_int_not_equal(next, -1);
        assert_int_not_equal(next, leader);
        assert_true(raft_commit_index(net->peers[next].raft) >= index);
        uint64_t term = raft_term(net->peers[next].raft);
        net_run(net, 3000);
        assert_int_equal(raft_term(net->peers[next].raft), term); /* the removed one is quiet */
        ASSERT_SOUND(net);
        net_free(net);
    }
}

/* Thesis, figure 4.6: the entry that removes one of two is only with the one that is removed, and
 * the other, whose log is shorter, cannot win without it. */
static void test_who_alone_has_its_own_removal_is_elected_for_it(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 20; seed++) {
        struct net *net = net_make(2, 2, seed, 0);
        int leader = net_elect(net, 5000);
        int other = 1 - leader;
        net_propose(net, leader, 1);
        net_run(net, 200);
        struct raft_config target = {.incoming_count = 1};
        target.incoming[0] = (struct raft_member){.replica = {other + 1u}, .node = other + 1u};
        net_isolate(net, other, true);
        assert_int_equal(propose(net, leader, target, NULL), STATUS_OK);
        uint64_t index = config_at(net, leader)->index;
        net_run(net, 2000);
        assert_int_not_equal(raft_role(net->peers[leader].raft), RAFT_LEADER);
        assert_true(raft_last_index(net->peers[other].raft) < index);
        net_isolate(net, other, false);
        net_run(net, 5000);
        assert_true(raft_commit_index(net->peers[other].raft) >= index);
        assert_int_equal(config_at(net, other)->incoming_count, 1);
        assert_int_equal(raft_role(net->peers[other].raft), RAFT_LEADER);
        ASSERT_SOUND(net);
        net_free(net);
    }
}

static void test_a_removed_member_cannot_raise_terms(void **state)
{
    (void)state;
    int leader;
    struct net *net = net_with_learner(1, &leader);
    int out = (leader + 1) % 3;
    net_isolate(net, out, true); /* it never hears of its removal */
    net_run(net, 100);
    assert_int_equal(propose(net, leader, swapped(out), NULL), STATUS_OK);
    net_run(net, 1000);
    net_isolate(net, out, false);
    uint64_t term = raft_term(net->peers[leader].raft);
    net_run(net, 5000);
    assert_int_equal(net_leader(net), leader);
    assert_int_equal(raft_term(net->peers[leader].raft), term);
    assert_int_equal(raft_role(net->peers[out].raft), RAFT_PRE_CANDIDATE);
    ASSERT_SOUND(net);
    net_free(net);
}

static void test_a_new_leader_completes_the_joint_change(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 20; seed++) {
        int leader;
        struct net *net = net_with_learner(seed, &leader);
        int out = (leader + 1) % 3;
        assert_int_equal(propose(net, leader, swapped(out), NULL), STATUS_OK);
        net_run(net, 1 + seed % 3);
        net_crash(net, leader, 0);
        net_link_down(net, leader);
        int next = net_elect(net, 5000);
        assert_int_not_equal(next, -1);
        net_run(net, 500);
        assert_int_equal(config_at(net, next)->outgoing_count, 0);
        ASSERT_SOUND(net);
        net_free(net);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_member_is_replaced_through_a_joint_configuration),
        cmocka_unit_test(test_a_joint_configuration_needs_both_majorities),
        cmocka_unit_test(test_a_change_is_refused_on_another_basis),
        cmocka_unit_test(test_no_change_before_an_entry_of_the_own_term_is_committed),
        cmocka_unit_test(test_only_a_learner_that_caught_up_is_promoted),
        cmocka_unit_test(test_a_change_that_leaves_no_living_majority_is_refused),
        cmocka_unit_test(test_a_truncated_configuration_is_in_force_no_more),
        cmocka_unit_test(test_a_configuration_outlives_the_trim_of_its_entry),
        cmocka_unit_test(test_a_leader_that_is_removed_steps_down_after_the_commit),
        cmocka_unit_test(test_who_alone_has_its_own_removal_is_elected_for_it),
        cmocka_unit_test(test_a_removed_member_cannot_raise_terms),
        cmocka_unit_test(test_a_new_leader_completes_the_joint_change),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
