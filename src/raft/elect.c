/* elect.c - elections: pre-vote (Raft thesis, 9.6), vote (3.4, 3.6.1), and what D1 adds.
 *
 * A follower that accepted a heartbeat at t owes its leader until t + lease * 5/4,
 * for the leader may hold a lease on the strength of that. Normally it simply refuses votes
 * for that long. When its connection to the leader broke it votes at once, and the vote
 * carries what is left of the debt; the new leader evaluates nothing until the longest debt
 * of its voters has run out. Every lease quorum meets every vote quorum, so the debt to any
 * earlier leader is among those collected, as long as a restarted node, which has forgotten
 * its debts, does not vote for one election timeout. */
#include "raft/raft_internal.h"

void raft_election_arm(struct raft *raft)
{
    raft->election_timeout = random_between(&raft->random, raft->timing.election_timeout_min,
                                            raft->timing.election_timeout_max);
    raft->election_deadline = raft->now + raft->election_timeout;
}

static void answers_clear(struct raft *raft)
{
    if (raft->answers == NULL) raft->answers = memory_allocate(sizeof(*raft->answers));
    raft->grant_count = 0;
    raft->reject_count = 0;
}

/* The next attempt after one that failed for a reason which passes quickly: a voter that has
 * not yet noticed the broken connection, a split vote. */
static void election_retry_soon(struct raft *raft)
{
    uint64_t half = raft->timing.heartbeat / 2;
    uint64_t deadline = raft->now + half + random_below(&raft->random, half + 1);
    if (deadline < raft->election_deadline) raft->election_deadline = deadline;
}

static void set_add(struct replica_id *set, size_t *count, struct replica_id replica)
{
    for (size_t i = 0; i < *count; i++) {
        if (replica_id_equal(set[i], replica)) return;
    }
    ASSERT(*count < RAFT_VOTERS_MAX);
    set[(*count)++] = replica;
}

static uint64_t last_term(const struct raft *raft)
{
    return raft_term_at(raft, last_index(raft));
}

static void ask_voters(struct raft *raft, struct raft_message request)
{
    struct raft_member voters[RAFT_VOTERS_MAX];
    size_t count = raft_other_voters(raft, voters);

    request.index = last_index(raft);
    request.log_term = last_term(raft);
    for (size_t i = 0; i < count; i++) {
        request.to = voters[i].replica;
        request.to_node = voters[i].node;
        raft_send(raft, request);
    }
}

void raft_pre_campaign(struct raft *raft)
{
    ASSERT(raft->role != RAFT_LEADER);
    ASSERT(raft->now >= raft->no_vote_until);
    if (raft_single_voter(raft)) {
        raft_campaign(raft, false, 0);
        return;
    }
    if (raft->role != RAFT_PRE_CANDIDATE) raft->role_changed = true;
    raft->role = RAFT_PRE_CANDIDATE;
    raft->leader = (struct raft_member){0};
    raft->own_vote_id = 0;
    answers_clear(raft);
    set_add(raft->answers->grants, &raft->grant_count, raft->self);
    ask_voters(raft, (struct raft_message){.type = RAFT_PRE_VOTE, .term = raft->term + 1});

    uint64_t half = raft->timing.election_timeout_min / 2;
    raft->election_deadline = raft->now + half + random_below(&raft->random, half + 1);
    /* Later than that no voter holds on to the leader any more: no need for haste. */
    bool others_may_hold_on = raft->now < raft->leader_heard + raft->timing.election_timeout_max;
    if (raft->leader_link_down && others_may_hold_on) election_retry_soon(raft);
}

void raft_campaign(struct raft *raft, bool transfer, uint64_t round)
{
    ASSERT(raft->role != RAFT_LEADER);
    ASSERT(raft->now >= raft->no_vote_until);
    raft_become_follower(raft, raft->term + 1);
    raft->role = RAFT_CANDIDATE;
    raft->vote = raft->self;
    answers_clear(raft);
    raft->own_vote_id = raft->persist_last + 1; /* the id that will carry it */
    raft->evaluate_after = transfer ? 0 : raft->promise_until;
    ask_voters(raft,
               (struct raft_message){.type = RAFT_VOTE, .transfer = transfer, .hint_index = round});
    ASSERT(raft->hard_changed);
}

static void win_if_quorum(struct raft *raft)
{
    const struct raft_config *config = raft_config(raft);
    if (!raft_quorum_of_set(config, raft->answers->grants, raft->grant_count)) return;
    if (raft->role == RAFT_PRE_CANDIDATE) {
        raft_campaign(raft, false, 0);
        return;
    }
    ASSERT(raft->role == RAFT_CANDIDATE);
    ASSERT(replica_id_equal(raft->vote, raft->self));
    /* Not even with a majority of others: after a crash we could win the same term again, by
     * the same votes, and write other entries under it. */
    if (raft->own_vote_id != 0) return;
    ASSERT(raft_hard_state_durable(raft));
    raft_become_leader(raft);
}

void raft_on_own_vote_durable(struct raft *raft)
{
    ASSERT(raft->role == RAFT_CANDIDATE);
    ASSERT(raft_hard_state_durable(raft));
    raft->own_vote_id = 0;
    set_add(raft->answers->grants, &raft->grant_count, raft->self);
    win_if_quorum(raft);
}

bool raft_transfer_fresh(const struct raft *raft, uint64_t term, uint64_t round)
{
    ASSERT(term > 0);
    bool owed_to_older = raft->promise_term < term - 1;
    bool owed_before = raft->promise_term == term - 1 && raft->promise_round <= round;
    return owed_to_older || owed_before;
}

static bool transfer_honoured(const struct raft *raft, const struct raft_message *message)
{
    return message->transfer && raft_transfer_fresh(raft, message->term, message->hint_index);
}

bool raft_elect_refuses(const struct raft *raft, const struct raft_message *message)
{
    uint64_t patience = raft->timing.election_timeout_min;
    bool started_lately = raft->now < raft->no_vote_until;
    bool leads = raft->role == RAFT_LEADER;
    bool leader_alive = raft->leader.replica.value != 0 && !raft->leader_link_down &&
                        raft->now < raft->leader_heard + patience;
    bool is_leader = replica_id_equal(raft->leader.replica, message->from);

    if (started_lately) return true;
    return (leads || leader_alive) && !is_leader && !transfer_honoured(raft, message);
}

/* <0, 0, >0: the candidate's log ends before, where, behind ours (thesis, 3.6.1). */
static int compare_log(const struct raft *raft, const struct raft_message *message)
{
    uint64_t term = last_term(raft);
    uint64_t index = last_index(raft);
    if (message->log_term != term) return message->log_term < term ? -1 : 1;
    return (message->index > index) - (message->index < index);
}

void raft_on_pre_vote(struct raft *raft, const struct raft_message *message)
{
    int log_order = compare_log(raft, message);
    bool newer = message->term > raft->term;
    /* Two that ask at once, equally good: the lower id goes first, else both would stand and
     * split the vote. The best candidate of any connected majority is refused by none of it. */
    bool we_go_first = raft->role == RAFT_PRE_CANDIDATE && log_order == 0 &&
                       raft->self.value < message->from.value;
    bool granted = newer && log_order >= 0 && !we_go_first && !raft_elect_refuses(raft, message);
    /* Having yielded, do not go on to win as well. */
    bool yields = granted && raft->role == RAFT_PRE_CANDIDATE;

    raft_send(raft, (struct raft_message){.type = RAFT_PRE_VOTE_REPLY,
                                          .to = message->from,
                                          .to_node = message->from_node,
                                          .term = granted ? message->term : raft->term,
                                          .reject = !granted});
    if (!yields) return;
    raft->role = RAFT_FOLLOWER;
    raft->role_changed = true;
}

void raft_on_pre_vote_reply(struct raft *raft, const struct raft_message *message)
{
    if (message->reject) {
        /* A rejection of a newer term has taken us there; stand again from there soon. */
        bool raised = raft->role == RAFT_FOLLOWER && raft->leader.replica.value == 0;
        if (raised) election_retry_soon(raft);
        return;
    }
    if (raft->role != RAFT_PRE_CANDIDATE || message->term != raft->term + 1) return;
    if (!raft_is_voter(raft_config(raft), message->from)) return;
    set_add(raft->answers->grants, &raft->grant_count, message->from);
    win_if_quorum(raft);
}

static uint64_t promise_left(const struct raft *raft, const struct raft_message *message)
{
    if (transfer_honoured(raft, message)) return 0; /* that leader's lease is void */
    return raft->promise_until > raft->now ? raft->promise_until - raft->now : 0;
}

void raft_on_vote(struct raft *raft, const struct raft_message *message)
{
    ASSERT(message->term == raft->term); /* step_term() has taken over a newer one */
    bool vote_free = raft->vote.value == 0 || replica_id_equal(raft->vote, message->from);
    bool leader_known = raft->leader.replica.value != 0;
    bool granted = vote_free && !leader_known && raft->role != RAFT_LEADER &&
                   raft->now >= raft->no_vote_until && compare_log(raft, message) >= 0;

    if (granted) {
        ASSERT(raft->role == RAFT_FOLLOWER || raft->role == RAFT_PRE_CANDIDATE);
        if (raft->role != RAFT_FOLLOWER) raft_become_follower(raft, raft->term);
        raft->hard_changed |= !replica_id_equal(raft->vote, message->from);
        raft->vote = message->from;
        raft_election_arm(raft);
    }
    raft_send(raft, (struct raft_message){.type = RAFT_VOTE_REPLY,
                                          .to = message->from,
                                          .to_node = message->from_node,
                                          .promise = granted ? promise_left(raft, message) : 0,
                                          .reject = !granted});
}

void raft_on_vote_reply(struct raft *raft, const struct raft_message *message)
{
    ASSERT(message->term == raft->term);
    const struct raft_config *config = raft_config(raft);
    if (raft->role != RAFT_CANDIDATE || !raft_is_voter(config, message->from)) return;
    if (message->reject) {
        set_add(raft->answers->rejects, &raft->reject_count, message->from);
        if (raft_quorum_lost(config, raft->answers->rejects, raft->reject_count))
            election_retry_soon(raft);
        return;
    }
    /* Bounded, so that a damaged number cannot keep us from serving for ever. */
    uint64_t promise = message->promise;
    if (promise > raft->timing.election_timeout_max) promise = raft->timing.election_timeout_max;
    if (raft->now + promise > raft->evaluate_after) raft->evaluate_after = raft->now + promise;
    set_add(raft->answers->grants, &raft->grant_count, message->from);
    win_if_quorum(raft);
}
