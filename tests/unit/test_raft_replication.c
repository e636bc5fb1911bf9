/* test_raft_replication.c - appends, acknowledgements, commit, flow, snapshots. */
#include "test_raft_single.h"

static void test_an_append_is_acknowledged_only_when_durable(void **state)
{
    (void)state;
    struct one *one = one_open((struct one_disk){.term = 4, .terms = {4}});
    one_append(one, 2, 4, 1, 4, 2, 0);
    assert_int_equal(one_sent(one, RAFT_APPEND_REPLY)->index, 1); /* what the disk had before */
    assert_int_equal(one_heartbeat(one, 2, 4, 1).match, 1);       /* nor by a heartbeat's answer */

    one_disk_done(one);
    assert_int_equal(one_sent(one, RAFT_APPEND_REPLY)->index, 3);
    assert_int_equal(one_heartbeat(one, 2, 4, 1).match, 3);
    one_close(one);
}

static void test_many_appends_share_one_acknowledgement(void **state)
{
    (void)state;
    struct one *one = one_open((struct one_disk){.term = 4, .terms = {4}});
    one_append(one, 2, 4, 1, 4, 2, 0);
    one_append(one, 2, 4, 3, 4, 2, 0);
    one_append(one, 2, 4, 5, 4, 2, 0);
    one_disk_done(one);
    assert_int_equal(one_sent_count(one, RAFT_APPEND_REPLY), 1);
    assert_int_equal(one_sent(one, RAFT_APPEND_REPLY)->index, 7);
    one_close(one);
}

static void test_a_match_is_claimed_only_for_the_leader_of_this_term(void **state)
{
    (void)state;
    struct one *one = one_open((struct one_disk){.term = 4, .terms = {4, 4, 4}});
    struct raft_heartbeat_ack ack = one_heartbeat(one, 2, 5, 1);
    assert_false(ack.accepted); /* term 5 is not on our disk yet */
    assert_int_equal(ack.term, 4);
    one_disk_done(one);
    ack = one_heartbeat(one, 2, 5, 1);
    assert_true(ack.accepted);
    assert_int_equal(ack.match, 0); /* three entries, but are they the leader's? */
    one_append(one, 2, 5, 2, 4, 0, 0);
    assert_int_equal(one_heartbeat(one, 2, 5, 1).match, 2);
    one_close(one);
}

static void test_a_refusal_names_where_the_logs_may_agree(void **state)
{
    (void)state;
    struct one *one = one_open((struct one_disk){.term = 6, .terms = {1, 1, 4, 4, 4, 4}});
    one_append(one, 2, 6, 6, 3, 0, 0); /* the leader has term 3 at 6: our 4s cannot be its */
    const struct raft_message *reply = one_sent(one, RAFT_APPEND_REPLY);
    assert_true(reply->reject);
    assert_int_equal(reply->hint_index, 2);
    assert_int_equal(reply->hint_term, 1);
    one_close(one);
}

static void test_a_conflict_cuts_the_tail_and_what_is_on_its_way(void **state)
{
    (void)state;
    struct one *one = one_open((struct one_disk){.term = 4, .terms = {4}});
    one_append(one, 2, 4, 1, 4, 3, 0); /* 2..4, handed to the disk */
    uint64_t first_write = one->persist_id;
    one_append(one, 3, 5, 2, 4, 1, 0); /* 3 of term 5 replaces 3 and 4 */
    assert_int_equal(one->truncate_from, 3);
    assert_int_equal(raft_last_index(one->raft), 3);

    raft_persisted(one->raft, first_write, one->now);
    assert_int_equal(raft_durable_index(one->raft), 2); /* the old 3 does not count for the new */
    one_disk_done(one);
    assert_int_equal(raft_durable_index(one->raft), 3);
    one_close(one);
}

static void test_a_conflict_never_cuts_what_is_committed(void **state)
{
    (void)state;
    struct one *one = one_open((struct one_disk){.term = 4, .commit = 2, .terms = {4, 4, 4}});
    one_append(one, 2, 5, 0, 0, 3, 3); /* no correct leader does this */
    assert_int_equal(raft_term_at(one->raft, 2), 4);
    one_close(one);
}

static void test_a_second_log_of_one_term_is_not_taken(void **state)
{
    (void)state;
    struct one *one = one_open((struct one_disk){.term = 5, .terms = {4, 5, 5, 5}});
    one_append(one, 2, 6, 4, 5, 0, 0); /* all four are as the leader of term 6 has them */
    one_append(one, 2, 6, 1, 4, 1, 4); /* no correct leader says something else then */
    assert_int_equal(raft_last_index(one->raft), 4);
    assert_int_equal(raft_term_at(one->raft, 2), 5);
    one_close(one);
}

static void test_a_delayed_append_does_not_shorten_the_log(void **state)
{
    (void)state;
    struct one *one = one_open((struct one_disk){.term = 4, .terms = {4}});
    one_append(one, 2, 4, 1, 4, 5, 0);
    one_append(one, 2, 4, 1, 4, 1, 0); /* the same, older and shorter: paper, 5.3 "if conflicts" */
    assert_int_equal(raft_last_index(one->raft), 6);
    one_close(one);
}

static void test_the_leaders_copy_counts_only_when_durable(void **state)
{
    (void)state;
    struct one *one = one_open((struct one_disk){.vote_at_once = true});
    one_lead(one);
    one_acked(one, 2, 1);
    one_acked(one, 3, 1);
    uint64_t index = raft_propose(one->raft, entry_of(1));
    one_take(one);
    assert_int_equal(one_sent_count(one, RAFT_APPEND), 2); /* in parallel with the disk */
    one_acked(one, 2, index);
    assert_true(raft_commit_index(one->raft) < index); /* 2 of 3 would be enough */
    one_disk_done(one);
    assert_int_equal(raft_commit_index(one->raft), index);
    one_close(one);
}

static void test_two_followers_commit_before_the_leaders_disk(void **state)
{
    (void)state;
    struct one *one = one_open((struct one_disk){.vote_at_once = true});
    one_lead(one);
    uint64_t index = raft_propose(one->raft, entry_of(1));
    one_take(one);
    one_acked(one, 2, index);
    one_acked(one, 3, index);
    assert_int_equal(raft_commit_index(one->raft), index);
    assert_true(raft_durable_index(one->raft) < index);
    one_close(one);
}

static void test_entries_of_one_turn_share_a_message(void **state)
{
    (void)state;
    struct one *one = one_open((struct one_disk){.vote_at_once = true});
    one_lead(one);
    one_acked(one, 2, 1);
    for (int i = 0; i < 100; i++)
        raft_propose(one->raft, entry_of((uint64_t)i));
    one_take(one);
    assert_int_equal(one_sent_count(one, RAFT_APPEND), 1); /* 3 has not answered its probe */
    assert_int_equal(one_sent(one, RAFT_APPEND)->entry_count, 100);
    one_close(one);
}

static void test_appends_in_flight_are_bounded(void **state)
{
    (void)state;
    struct one *one = one_open((struct one_disk){.vote_at_once = true});
    one_lead(one);
    one_acked(one, 2, 1);
    size_t sent = 0;
    for (int i = 0; i < 3 * RAFT_INFLIGHT_APPENDS_MAX; i++) {
        raft_propose(one->raft, entry_of(1));
        one_take(one);
        sent += one_sent_count(one, RAFT_APPEND);
    }
    assert_int_equal(sent, RAFT_INFLIGHT_APPENDS_MAX);
    one_acked(one, 2, 11); /* frees ten; the rest goes in one message */
    assert_int_equal(one_sent_count(one, RAFT_APPEND), 1);
    one_close(one);
}

/* Paper, figure 8: an entry of term 2 on a majority is not committed by a leader of term 4. */
static uint64_t figure_8_commit(uint32_t bugs)
{
    struct one *one =
        one_open((struct one_disk){.term = 3, .terms = {1, 2}, .bugs = bugs, .vote_at_once = true});
    one_lead(one); /* term 4, no-op at 3 */
    one_acked(one, 2, 2);
    uint64_t commit = raft_commit_index(one->raft);
    one_acked(one, 2, 3);
    assert_int_equal(raft_commit_index(one->raft), 3); /* and all before it along with it */
    one_close(one);
    return commit;
}

static void test_entries_of_older_terms_are_not_committed_by_counting(void **state)
{
    (void)state;
    assert_int_equal(figure_8_commit(0), 0);
    assert_int_equal(figure_8_commit(RAFT_BUG_COMMIT_OLD_TERM), 2);
}

static void test_lost_messages_heal_through_heartbeats(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 20; seed++) {
        struct net *net = net_make(3, 3, seed, 0);
        int leader = net_elect(net, 5000);
        int deaf = (leader + 1) % 3;
        net_run(net, 500);
        net->cut[leader][deaf] = seed % 2; /* the appends, or the answers */
        net->cut[deaf][leader] = !(seed % 2);
        for (int i = 0; i < 5; i++) {
            net_propose(net, leader, (uint64_t)i);
            net_run(net, 10);
        }
        net->cut[leader][deaf] = net->cut[deaf][leader] = false;
        net_run(net, 400); /* no further proposal helps */
        struct raft *raft = net->peers[deaf].raft;
        uint64_t last = raft_last_index(net->peers[leader].raft);
        assert_int_equal(raft_commit_index(raft), last);
        assert_int_equal(raft_match_min(net->peers[leader].raft), last);
        ASSERT_SOUND(net);
        net_free(net);
    }
}

static void test_a_stalled_disk_is_not_flooded(void **state)
{
    (void)state;
    struct net *net = net_make(3, 3, 1, 0);
    int leader = net_elect(net, 5000);
    int slow = (leader + 1) % 3;
    net_run(net, 500);
    net->peers[slow].disk_stalled = true;
    net_propose(net, leader, 1);
    uint64_t packets = net->packets;
    net_run(net, 10 * 1000);
    /* Per heartbeat interval: 2 heartbeats, 2 answers, and half a question. */
    assert_true(net->packets - packets < 200 * 6);
    assert_int_equal(net_leader(net), leader);
    net->peers[slow].disk_stalled = false;
    net_run(net, 200);
    assert_int_equal(raft_match_min(net->peers[leader].raft),
                     raft_last_index(net->peers[leader].raft));
    ASSERT_SOUND(net);
    net_free(net);
}

static void test_a_member_behind_the_first_entry_gets_one_snapshot_offer(void **state)
{
    (void)state;
    struct one *one =
        one_open((struct one_disk){.term = 3, .commit = 2, .terms = {1, 2}, .vote_at_once = true});
    one_take(one);
    one_lead(one); /* no-op at 3 */
    one_acked(one, 2, 3);
    raft_trim(one->raft, 3);
    struct raft_message refusal = {.type = RAFT_APPEND_REPLY,
                                   .from = {3},
                                   .term = 4,
                                   .index = 2,
                                   .hint_index = 0,
                                   .reject = true};
    one_step(one, refusal);
    assert_int_equal(one_sent_count(one, RAFT_SNAPSHOT_OFFER), 1);
    for (int i = 0; i < 10; i++) {
        one_heartbeat_acked(one, 3);
        assert_int_equal(one->sent_count, 0);
    }
    raft_snapshot_sent(one->raft, (struct replica_id){3}, 3, true);
    raft_propose(one->raft, entry_of(1));
    one_take(one);
    const struct raft_message *append = NULL;
    for (size_t i = 0; i < one->sent_count; i++)
        if (one->sent[i].to.value == 3) append = &one->sent[i];
    assert_non_null(append);
    assert_int_equal(append->index, 3);
    one_close(one);
}

static void test_an_installed_snapshot_replaces_the_log_and_is_acknowledged(void **state)
{
    (void)state;
    struct one *one = one_open((struct one_disk){.term = 4, .terms = {1, 2, 2}});
    one_append(one, 2, 4, 9, 4, 0, 0); /* refused; but we know the leader */
    struct raft_config config = config_of(3, 1);
    config.index = 7;
    assert_true(raft_install_snapshot(one->raft, 9, 4, &config, one->now));
    one_take(one);
    assert_int_equal(raft_first_index(one->raft), 10);
    assert_int_equal(raft_last_index(one->raft), 9);
    assert_int_equal(raft_config(one->raft)->index, 7);
    assert_int_equal(one_sent(one, RAFT_APPEND_REPLY)->index, 9);

    assert_false(raft_install_snapshot(one->raft, 8, 4, &config, one->now)); /* older */
    one_append(one, 2, 4, 9, 4, 1, 9);
    assert_int_equal(raft_last_index(one->raft), 10);
    one_close(one);
}

static void test_a_snapshot_keeps_a_matching_suffix(void **state)
{
    (void)state;
    struct one *one = one_open((struct one_disk){.term = 4, .terms = {1, 2, 2, 4}});
    struct raft_config config = config_of(3, 0);
    assert_true(raft_install_snapshot(one->raft, 3, 2, &config, one->now));
    assert_int_equal(raft_last_index(one->raft), 4);
    assert_int_equal(raft_durable_index(one->raft), 3); /* until it is written again */
    one_take(one);
    assert_int_equal(one->stored_last, 4);
    one_disk_done(one);
    assert_int_equal(raft_durable_index(one->raft), 4);
    one_close(one);
}

/* Found by simulation (seed 5338): nothing was proposed any more, so nothing was ever sent. */
static void test_what_a_broken_connection_lost_is_sent_again_without_a_proposal(void **state)
{
    (void)state;
    struct one *one = one_open((struct one_disk){.vote_at_once = true});
    one_lead(one);
    one_acked(one, 2, 1);
    one_acked(one, 3, 1);
    raft_propose(one->raft, entry_of(1));
    one_take(one); /* lost on the way to node 2 */
    raft_peer_down(one->raft, 2, one->now);
    one_take(one);
    one_heartbeat_acked(one, 2); /* it is back */
    const struct raft_message *append = one_sent(one, RAFT_APPEND);
    assert_int_equal(append->to.value, 2);
    assert_int_equal(append->entry_count, 1);
    one_close(one);
}

static void test_trim_keeps_what_the_own_disk_lacks(void **state)
{
    (void)state;
    struct one *one = one_open((struct one_disk){.term = 4, .terms = {4}});
    one_append(one, 2, 4, 1, 4, 3, 4); /* committed by the others, not yet on our disk */
    assert_int_equal(raft_commit_index(one->raft), 4);
    raft_trim(one->raft, 4);
    assert_int_equal(raft_first_index(one->raft), 2);
    one_disk_done(one);
    raft_trim(one->raft, 4);
    assert_int_equal(raft_first_index(one->raft), 5);
    assert_int_equal(raft_term_at(one->raft, 4), 4);
    one_close(one);
}

/* --- what all members have --------------------------------------------------------------- */

static void one_told(struct one *one, uint64_t term, uint64_t index, uint64_t log_term,
                     uint64_t everywhere)
{
    one_step(one, (struct raft_message){.type = RAFT_APPEND,
                                        .from = {2},
                                        .term = term,
                                        .index = index,
                                        .log_term = log_term,
                                        .everywhere = everywhere});
}

static void test_a_follower_learns_what_all_have_and_forgets_nothing_of_it(void **state)
{
    (void)state;
    struct one *one = one_open((struct one_disk){.term = 4, .terms = {1, 4, 4, 4}});
    assert_int_equal(raft_everywhere_index(one->raft), 0); /* a restart knows nothing */
    one_told(one, 4, 4, 4, 2);
    assert_int_equal(raft_everywhere_index(one->raft), 2);
    one_told(one, 4, 4, 4, 1); /* late, or doubled */
    assert_int_equal(raft_everywhere_index(one->raft), 2);
    one_told(one, 5, 4, 4, 0); /* a new leader has heard of nobody yet */
    assert_int_equal(raft_everywhere_index(one->raft), 2);
    one_told(one, 4, 4, 4, 4); /* of a leader that is none any more */
    assert_int_equal(raft_everywhere_index(one->raft), 2);
    one_told(one, 5, 9, 5, 4); /* refused: what it says of its log is not of ours */
    assert_int_equal(raft_everywhere_index(one->raft), 2);
    one_close(one);
}

/* `everywhere` of the append to `to`. */
static uint64_t told_to(const struct one *one, uint64_t to)
{
    for (size_t i = one->sent_count; i-- > 0;)
        if (one->sent[i].to.value == to && one->sent[i].type == RAFT_APPEND)
            return one->sent[i].everywhere;
    fail_msg("no append to %llu", (unsigned long long)to);
    return 0;
}

static uint64_t told_behind_a_proposal(struct one *one, uint64_t to)
{
    raft_propose(one->raft, entry_of(1));
    one_take(one);
    return told_to(one, to);
}

static void test_a_leader_tells_what_the_slowest_member_has(void **state)
{
    (void)state;
    struct one *one = one_open((struct one_disk){.vote_at_once = true, .learners = 1});
    one_lead(one); /* no-op at 1 */
    for (uint64_t member = 2; member <= 4; member++)
        one_acked(one, member, 1);
    assert_int_equal(told_behind_a_proposal(one, 2), 1); /* 2 */
    one_disk_done(one);
    one_acked(one, 2, 2);
    assert_int_equal(told_behind_a_proposal(one, 2), 1); /* 3 */
    one_disk_done(one);
    one_acked(one, 3, 3);
    one_acked(one, 2, 3);
    assert_int_equal(told_behind_a_proposal(one, 3), 1); /* 4: committed, but the learner lacks 2 */
    one_acked(one, 4, 4);
    one_acked(one, 2, 4);
    one_acked(one, 3, 4);
    assert_int_equal(raft_commit_index(one->raft), 4);
    assert_int_equal(raft_everywhere_index(one->raft), 3); /* the own disk has no 4 yet */
    assert_int_equal(told_behind_a_proposal(one, 4), 3);
    one_close(one);
}

static void test_a_new_leader_knows_nothing_of_what_all_have(void **state)
{
    (void)state;
    struct one *one = one_open(
        (struct one_disk){.term = 3, .commit = 2, .terms = {1, 2, 3}, .vote_at_once = true});
    one_told(one, 3, 3, 3, 2);
    assert_int_equal(raft_everywhere_index(one->raft), 2);
    one_lead(one);
    assert_int_equal(raft_everywhere_index(one->raft), 0); /* who was added since is not counted */
    one_acked(one, 2, 4);
    assert_int_equal(raft_everywhere_index(one->raft), 0);
    one_acked(one, 3, 3);
    assert_int_equal(raft_everywhere_index(one->raft), 3);
    one_close(one);
}

static void test_a_quiet_leader_tells_once_what_all_have(void **state)
{
    (void)state;
    struct one *one = one_open((struct one_disk){.vote_at_once = true});
    one_lead(one);
    for (int i = 0; i < 9; i++)
        raft_propose(one->raft, entry_of(1));
    one_take(one);
    one_disk_done(one);
    one_acked(one, 2, 10);
    raft_tell_everywhere(one->raft, 10); /* one of them lacks all */
    one_take(one);
    assert_int_equal(one->sent_count, 0);
    one_acked(one, 3, 10);
    assert_int_equal(one->sent_count, 0); /* nothing is to be sent, so nobody hears of it */
    raft_tell_everywhere(one->raft, 11);
    one_take(one);
    assert_int_equal(one->sent_count, 0);
    for (int i = 0; i < 2; i++) {
        raft_tell_everywhere(one->raft, 10);
        one_take(one);
        assert_int_equal(one_sent_count(one, RAFT_APPEND), i == 0 ? 2 : 0);
        if (i > 0) continue;
        assert_int_equal(told_to(one, 2), 10);
        assert_int_equal(told_to(one, 3), 10);
        assert_int_equal(one_sent(one, RAFT_APPEND)->entry_count, 0);
    }
    assert_int_equal(told_behind_a_proposal(one, 2), 10);
    raft_tell_everywhere(one->raft, 1); /* it was told in passing */
    one_take(one);
    assert_int_equal(one->sent_count, 0);
    one_close(one);
}

/* Who is to hurry has got the entries before. */
static void test_an_append_without_entries_goes_behind_those_with(void **state)
{
    (void)state;
    struct one *one = one_open((struct one_disk){.vote_at_once = true});
    assert_false(raft_send_empty(one->raft)); /* it does not lead */
    one_lead(one);
    one_acked(one, 2, 1);
    one_acked(one, 3, 1);
    raft_propose(one->raft, entry_of(1));
    assert_true(raft_send_empty(one->raft));
    one_take(one);
    assert_int_equal(one_sent_count(one, RAFT_APPEND), 4);
    bool has_entries[4] = {false};
    for (size_t i = 0; i < one->sent_count; i++) {
        const struct raft_message *message = &one->sent[i];
        if (message->entry_count == 0) assert_true(has_entries[message->to.value]);
        has_entries[message->to.value] |= message->entry_count > 0;
    }
    one_take(one);
    assert_int_equal(one->sent_count, 0);
    one_close(one);
}

/* What all had is gone when another member comes. */
static void test_a_new_member_behind_what_all_have_is_offered_a_snapshot(void **state)
{
    (void)state;
    struct one *one = one_open((struct one_disk){.vote_at_once = true});
    one_lead(one);
    one_acked(one, 2, 1);
    one_acked(one, 3, 1);
    raft_trim(one->raft, raft_everywhere_index(one->raft));
    assert_int_equal(raft_first_index(one->raft), 2);
    struct raft_config target = config_of(3, 1);
    assert_int_equal(raft_propose_config(one->raft, &target, 0, NULL), STATUS_OK);
    one_take(one);
    assert_int_equal(raft_everywhere_index(one->raft), 0);
    struct raft_message refusal = {.type = RAFT_APPEND_REPLY,
                                   .from = {4},
                                   .term = raft_term(one->raft),
                                   .index = raft_last_index(one->raft),
                                   .reject = true};
    one_step(one, refusal);
    const struct raft_message *offer = one_sent(one, RAFT_SNAPSHOT_OFFER);
    assert_non_null(offer);
    assert_int_equal(offer->to.value, 4);
    assert_int_equal(offer->index, 1);
    one_close(one);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_an_append_is_acknowledged_only_when_durable),
        cmocka_unit_test(test_many_appends_share_one_acknowledgement),
        cmocka_unit_test(test_a_match_is_claimed_only_for_the_leader_of_this_term),
        cmocka_unit_test(test_a_refusal_names_where_the_logs_may_agree),
        cmocka_unit_test(test_a_conflict_cuts_the_tail_and_what_is_on_its_way),
        cmocka_unit_test(test_a_conflict_never_cuts_what_is_committed),
        cmocka_unit_test(test_a_second_log_of_one_term_is_not_taken),
        cmocka_unit_test(test_a_delayed_append_does_not_shorten_the_log),
        cmocka_unit_test(test_the_leaders_copy_counts_only_when_durable),
        cmocka_unit_test(test_two_followers_commit_before_the_leaders_disk),
        cmocka_unit_test(test_entries_of_one_turn_share_a_message),
        cmocka_unit_test(test_appends_in_flight_are_bounded),
        cmocka_unit_test(test_entries_of_older_terms_are_not_committed_by_counting),
        cmocka_unit_test(test_lost_messages_heal_through_heartbeats),
        cmocka_unit_test(test_what_a_broken_connection_lost_is_sent_again_without_a_proposal),
        cmocka_unit_test(test_a_stalled_disk_is_not_flooded),
        cmocka_unit_test(test_a_member_behind_the_first_entry_gets_one_snapshot_offer),
        cmocka_unit_test(test_an_installed_snapshot_replaces_the_log_and_is_acknowledged),
        cmocka_unit_test(test_a_snapshot_keeps_a_matching_suffix),
        cmocka_unit_test(test_trim_keeps_what_the_own_disk_lacks),
        cmocka_unit_test(test_a_follower_learns_what_all_have_and_forgets_nothing_of_it),
        cmocka_unit_test(test_a_leader_tells_what_the_slowest_member_has),
        cmocka_unit_test(test_a_new_leader_knows_nothing_of_what_all_have),
        cmocka_unit_test(test_a_quiet_leader_tells_once_what_all_have),
        cmocka_unit_test(test_an_append_without_entries_goes_behind_those_with),
        cmocka_unit_test(test_a_new_member_behind_what_all_have_is_offered_a_snapshot),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
