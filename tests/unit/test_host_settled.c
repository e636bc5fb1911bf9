/* When a follower says that a group is as wished for, since its leader may not reach those who wait
 * (partition/reconcile.c): what is committed, and nothing else. */
#include "host_life.h"

enum { SECOND = 1000 * 1000 };

static const struct raft_config without_13 = {.incoming_count = 2,
                                              .incoming = {{{11}, 1}, {{12}, 2}}};
static const struct raft_config with_learner = {.incoming_count = 3,
                                                .incoming = {{{11}, 1}, {{12}, 2}, {{13}, 3}},
                                                .learner_count = 1,
                                                .learners = {{{34}, 4}}};
static const struct raft_config joint = {.incoming_count = 2,
                                         .incoming = {{{11}, 1}, {{12}, 2}},
                                         .outgoing_count = 3,
                                         .outgoing = {{{11}, 1}, {{12}, 2}, {{13}, 3}}};

struct wish {
    const struct raft_config *config;
    bool tell;
};

static void set_wish(void *context)
{
    const struct wish *wish = context;

    host_set_wish(bed.host, (struct group_id){GROUP}, wish->config->incoming,
                  wish->config->incoming_count, UINT64_MAX, wish->tell);
}

/* Runs on for so long. */
static void wish_for(const struct raft_config *config, bool tell, uint64_t us)
{
    struct wish wish = {config, tell};

    bench->settled_count = 0;
    bed_call(set_wish, &wish, us);
}

static void append(struct raft_entry *entry, uint64_t index, uint64_t commit)
{
    struct append append = {.to = 11,
                            .index = entry != NULL ? index - 1 : index,
                            .term_before = entry != NULL && index == 2 ? BIRTH_TERM : 2,
                            .commit = commit,
                            .entry = entry};
    bed_call(send_append, &append, 100 * 1000);
}

static void test_a_follower_says_it_three_seconds_later_and_again(void **state)
{
    wish_for(&founding, true, 2800 * 1000);
    assert_int_equal(bench->settled_count, 0); /* its leader has said it */
    sim_run_for(&bed.sim, SECOND);
    assert_int_equal(bench->settled_count, 1);
    sim_run_for(&bed.sim, 5 * SECOND);
    assert_in_range(bench->settled_count, 4, 7);
    wish_for(&founding, false, 10 * SECOND); /* nobody waits */
    assert_int_equal(bench->settled_count, 0);
    wish_for(&founding, true, 2800 * 1000); /* counted anew */
    assert_int_equal(bench->settled_count, 0);
}

static void test_what_is_not_committed_is_not_said(void **state)
{
    append(config_entry(2, &without_13), 2, 1);
    wish_for(&without_13, true, 10 * SECOND);
    assert_int_equal(bench->settled_count, 0);
    append(NULL, 2, 2);
    sim_run_for(&bed.sim, 4 * SECOND);
    assert_true(bench->settled_count >= 1);
}

static void test_a_learner_or_an_old_half_that_is_left_is_not_settled(void **state)
{
    append(config_entry(2, &with_learner), 2, 2);
    wish_for(&founding, true, 10 * SECOND);
    assert_int_equal(bench->settled_count, 0);
    append(config_entry(3, &joint), 3, 3);
    wish_for(&without_13, true, 10 * SECOND);
    assert_int_equal(bench->settled_count, 0);
    append(config_entry(4, &without_13), 4, 4);
    wish_for(&founding, true, 10 * SECOND); /* another wish */
    assert_int_equal(bench->settled_count, 0);
    wish_for(&without_13, true, 10 * SECOND);
    assert_true(bench->settled_count >= 1);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_a_follower_says_it_three_seconds_later_and_again),
        TEST(test_what_is_not_committed_is_not_said),
        TEST(test_a_learner_or_an_old_half_that_is_left_is_not_settled),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
