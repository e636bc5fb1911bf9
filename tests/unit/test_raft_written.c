/* Two watermarks (decision 0012): entries of RAFT_ENTRY_WRITTEN commit when a quorum has written
 * them, all others, and what may be stored, only when a quorum has them durable. */
#include "test_raft_single.h"

static struct raft_entry *written_entry(void)
{
    struct raft_entry *entry = entry_of(7);
    entry->type = RAFT_ENTRY_WRITTEN;
    return entry;
}

/* Leads, with the no-op durable on 1 and 2, and both of the others in step. */
static struct one *leader(uint32_t bugs)
{
    struct one *one = one_open((struct one_disk){.vote_at_once = true, .bugs = bugs});
    one_lead(one);
    one_acked(one, 2, 1);
    one_acked(one, 3, 1);
    assert_int_equal(raft_commit_durable_index(one->raft), 1);
    return one;
}

static void acked_written(struct one *one, uint64_t from, uint64_t durable, uint64_t written)
{
    one_step(one, (struct raft_message){.type = RAFT_APPEND_REPLY,
                                        .from = {from},
                                        .term = raft_term(one->raft),
                                        .index = durable,
                                        .hint_index = written});
}

static void own_disk_has_written(struct one *one)
{
    raft_written(one->raft, one->persist_id, one->now);
    one_take(one);
}

static void test_a_quorum_that_has_written_commits_what_needs_no_more(void **state)
{
    (void)state;
    struct one *one = leader(0);
    uint64_t index = raft_propose(one->raft, written_entry());
    one_take(one);
    acked_written(one, 2, 1, index);
    assert_int_equal(raft_commit_index(one->raft), 1); /* one of three */
    own_disk_has_written(one);
    assert_int_equal(raft_commit_index(one->raft), index);
    assert_int_equal(raft_commit_durable_index(one->raft), 1);
    assert_int_equal(raft_durable_index(one->raft), 1);
    one_disk_done(one);
    one_acked(one, 3, index);
    assert_int_equal(raft_commit_durable_index(one->raft), index);
    one_close(one);
}

static void test_two_followers_that_have_written_are_a_quorum(void **state)
{
    (void)state;
    struct one *one = leader(0);
    uint64_t index = raft_propose(one->raft, written_entry());
    one_take(one);
    acked_written(one, 2, 1, index);
    acked_written(one, 3, 1, index);
    assert_int_equal(raft_commit_index(one->raft), index);
    one_close(one);
}

static void test_another_entry_waits_for_a_durable_quorum(void **state)
{
    (void)state;
    struct one *one = leader(0);
    uint64_t index = raft_propose(one->raft, entry_of(1));
    one_take(one);
    own_disk_has_written(one);
    acked_written(one, 2, 1, index);
    acked_written(one, 3, 1, index);
    assert_int_equal(raft_commit_index(one->raft), 1);
    one_acked(one, 2, index);
    assert_int_equal(raft_commit_index(one->raft), 1); /* its own copy is not durable */
    one_disk_done(one);
    assert_int_equal(raft_commit_index(one->raft), index);
    one_close(one);
}

static void test_behind_one_that_must_be_durable_all_wait_for_it(void **state)
{
    (void)state;
    struct one *one = leader(0);
    raft_propose(one->raft, written_entry()); /* 2 */
    raft_propose(one->raft, entry_of(1));     /* 3 */
    raft_propose(one->raft, written_entry()); /* 4 */
    one_take(one);
    own_disk_has_written(one);
    acked_written(one, 2, 1, 4);
    assert_int_equal(raft_commit_index(one->raft), 2);
    acked_written(one, 2, 3, 4);
    assert_int_equal(raft_commit_index(one->raft), 2);
    acked_written(one, 3, 3, 4); /* 2 and 3 have the third durable */
    assert_int_equal(raft_commit_index(one->raft), 4);
    assert_int_equal(raft_commit_durable_index(one->raft), 3);
    one_close(one);
}

static void test_nothing_is_committed_by_writing_before_the_own_noop(void **state)
{
    (void)state;
    struct one *one = one_open((struct one_disk){.vote_at_once = true});
    while (raft_role(one->raft) != RAFT_PRE_CANDIDATE)
        one_wait(one, 1);
    uint64_t term = raft_term(one->raft) + 1;
    one_step(one, (struct raft_message){.type = RAFT_PRE_VOTE_REPLY, .from = {2}, .term = term});
    one_step(one, (struct raft_message){.type = RAFT_VOTE_REPLY, .from = {2}, .term = term});
    one_disk_done(one); /* its vote; the no-op is under way */
    raft_propose(one->raft, written_entry());
    one_take(one);
    own_disk_has_written(one);
    acked_written(one, 2, 0, 2);
    acked_written(one, 3, 0, 2);
    assert_int_equal(raft_commit_index(one->raft), 0);
    one_acked(one, 2, 1);
    one_acked(one, 3, 1);
    assert_int_equal(raft_commit_index(one->raft), 2);
    one_close(one);
}

static void test_a_follower_says_both(void **state)
{
    (void)state;
    struct one *one = one_open((struct one_disk){.term = 4, .terms = {4}});
    one_append(one, 2, 4, 1, 4, 2, 0);
    one_disk_done(one); /* also that 2 leads */
    one_append(one, 2, 4, 3, 4, 2, 0);
    assert_null(one_sent(one, RAFT_APPEND_REPLY));
    own_disk_has_written(one);
    assert_int_equal(one_sent(one, RAFT_APPEND_REPLY)->index, 3);
    assert_int_equal(one_sent(one, RAFT_APPEND_REPLY)->hint_index, 5);
    one_disk_done(one);
    assert_int_equal(one_sent(one, RAFT_APPEND_REPLY)->index, 5);
    assert_int_equal(one_sent(one, RAFT_APPEND_REPLY)->hint_index, 0); /* nothing beyond */
    one_close(one);
}

static void test_what_is_written_is_not_said_in_a_term_that_is_not_durable(void **state)
{
    (void)state;
    struct one *one = one_open((struct one_disk){.term = 4, .terms = {4}});
    one_append(one, 2, 5, 1, 4, 2, 0);
    own_disk_has_written(one); /* term 5 as well, but that must be durable */
    assert_null(one_sent(one, RAFT_APPEND_REPLY));
    one_disk_done(one);
    assert_int_equal(one_sent(one, RAFT_APPEND_REPLY)->index, 3);
    one_close(one);
}

static void test_a_truncation_takes_back_what_was_written(void **state)
{
    (void)state;
    struct one *one = one_open((struct one_disk){.term = 4, .terms = {4}});
    one_append(one, 2, 4, 1, 4, 3, 0);
    uint64_t first = one->persist_id;
    one_append(one, 3, 5, 2, 4, 1, 0); /* 3 of term 5 replaces 3 and 4 */
    raft_written(one->raft, first, one->now);
    assert_int_equal(raft_written_index(one->raft), 2);
    raft_written(one->raft, one->persist_id, one->now);
    assert_int_equal(raft_written_index(one->raft), 3);
    one_close(one);
}

static void test_only_what_is_durable_on_a_quorum_goes_to_disk_and_followers(void **state)
{
    (void)state;
    struct one *one = leader(0);
    uint64_t index = raft_propose(one->raft, written_entry());
    one_take(one);
    own_disk_has_written(one);
    acked_written(one, 2, 1, index);
    raft_propose(one->raft, written_entry());
    one_take(one);
    const struct raft_message *append = one_sent(one, RAFT_APPEND);
    assert_int_equal(append->commit, index);
    assert_int_equal(append->hint_index, 1);
    struct raft_heartbeat heartbeat;
    raft_heartbeat_make(one->raft, (struct replica_id){2}, &heartbeat);
    assert_int_equal(heartbeat.commit, 1);
    one_close(one);
}

static void test_a_follower_trims_nothing_that_is_not_durable_on_a_quorum(void **state)
{
    (void)state;
    struct one *one = one_open((struct one_disk){.term = 4, .terms = {4}});
    struct raft_message append = {.type = RAFT_APPEND,
                                  .from = {2},
                                  .term = 4,
                                  .index = 1,
                                  .log_term = 4,
                                  .commit = 3,
                                  .hint_index = 2};
    struct raft_entry *entries[2] = {written_entry(), written_entry()};
    for (uint64_t i = 0; i < 2; i++) {
        entries[i]->index = 2 + i;
        entries[i]->term = 4;
    }
    append.entries = entries;
    append.entry_count = 2;
    one_step(one, append);
    one_disk_done(one);
    assert_int_equal(raft_commit_index(one->raft), 3);
    assert_int_equal(raft_commit_durable_index(one->raft), 2);
    assert_int_equal(one->stored.commit, 0); /* no term or vote changed */
    raft_trim(one->raft, 3);
    assert_int_equal(raft_first_index(one->raft), 3);
    one_close(one);
}

/* A majority lost power and the operator accepted it: this one applied what they lost. */
static void test_a_replica_that_is_ahead_of_an_accepted_loss_takes_no_part_any_more(void **state)
{
    (void)state;
    struct one *one = one_open((struct one_disk){.term = 4, .terms = {4}});
    struct raft_entry *entry = written_entry();
    entry->index = 2;
    entry->term = 4;
    one_step(one, (struct raft_message){.type = RAFT_APPEND,
                                        .from = {2},
                                        .term = 4,
                                        .index = 1,
                                        .log_term = 4,
                                        .commit = 2,
                                        .hint_index = 1,
                                        .entries = &entry,
                                        .entry_count = 1});
    one_disk_done(one);
    assert_int_equal(raft_commit_index(one->raft), 2);
    one_append(one, 3, 5, 1, 4, 1, 1);
    one_disk_done(one);
    assert_true(raft_is_contradicted(one->raft));
    assert_null(one_sent(one, RAFT_APPEND_REPLY));
    one_close(one);
}

static void test_the_planted_bugs_commit_too_early(void **state)
{
    (void)state;
    struct one *one = leader(RAFT_BUG_WRITTEN_IS_DURABLE);
    uint64_t index = raft_propose(one->raft, entry_of(1));
    one_take(one);
    own_disk_has_written(one);
    acked_written(one, 2, 1, index);
    assert_int_equal(raft_commit_index(one->raft), index);
    one_close(one);

    one = leader(RAFT_BUG_WRITTEN_BEFORE_WRITTEN);
    index = raft_propose(one->raft, written_entry());
    one_take(one);
    acked_written(one, 2, 1, index); /* its own is not written */
    assert_int_equal(raft_commit_index(one->raft), index);
    one_close(one);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_quorum_that_has_written_commits_what_needs_no_more),
        cmocka_unit_test(test_two_followers_that_have_written_are_a_quorum),
        cmocka_unit_test(test_another_entry_waits_for_a_durable_quorum),
        cmocka_unit_test(test_behind_one_that_must_be_durable_all_wait_for_it),
        cmocka_unit_test(test_nothing_is_committed_by_writing_before_the_own_noop),
        cmocka_unit_test(test_a_follower_says_both),
        cmocka_unit_test(test_what_is_written_is_not_said_in_a_term_that_is_not_durable),
        cmocka_unit_test(test_a_truncation_takes_back_what_was_written),
        cmocka_unit_test(test_only_what_is_durable_on_a_quorum_goes_to_disk_and_followers),
        cmocka_unit_test(test_a_follower_trims_nothing_that_is_not_durable_on_a_quorum),
        cmocka_unit_test(test_a_replica_that_is_ahead_of_an_accepted_loss_takes_no_part_any_more),
        cmocka_unit_test(test_the_planted_bugs_commit_too_early),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
