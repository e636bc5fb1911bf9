/* raft.c - opening a group's core, the inputs that every role takes, and its state. */
#include "raft/raft_internal.h"

/* Callers read the clock at different moments of a turn; time only goes forward here. */
void raft_time(struct raft *raft, uint64_t now)
{
    if (now > raft->now) raft->now = now;
}

static void open_hard_state(struct raft *raft, const struct raft_options *options)
{
    uint64_t last_term = raft_term_at(raft, last_index(raft));
    raft->vote = options->hard_state.vote;
    if (last_term > raft->term) { /* an entry of a term implies that we have seen the term */
        raft->term = last_term;
        raft->vote = (struct replica_id){0};
    }
    if (raft_bug(raft, RAFT_BUG_VOTE_TWICE)) raft->vote = (struct replica_id){0};
    raft->durable_term = raft->term;

    uint64_t commit = options->hard_state.commit;
    if (commit > last_index(raft)) commit = last_index(raft);
    if (commit < raft->base_index) commit = raft->base_index;
    raft->commit = commit;
    raft->commit_durable = commit; /* no other one is in the log */
    raft->applied = raft->base_index;
    raft->commit_told = raft->base_index;
}

static void open_timers(struct raft *raft, const struct raft_options *options)
{
    bool restrained = !options->vote_at_once && !raft_single_voter(raft) &&
                      !raft_bug(raft, RAFT_BUG_VOTE_AFTER_RESTART);
    raft_election_arm(raft);
    if (restrained) {
        raft->no_vote_until = options->now + raft->timing.election_timeout_min;
    } else if (options->stand_at_once || raft_single_voter(raft)) {
        raft->election_deadline = options->now;
    }
    ASSERT(raft->election_deadline >= raft->no_vote_until);
}

struct raft *raft_open(const struct raft_options *options)
{
    ASSERT(options->self.value != 0);
    ASSERT(options->timing.election_timeout_min > 0);
    ASSERT(options->timing.election_timeout_max >= options->timing.election_timeout_min);
    ASSERT(options->timing.lease < options->timing.election_timeout_min);

    struct raft *raft = memory_allocate_lines(sizeof(*raft));
    raft->group = options->group;
    raft->self = options->self;
    raft->node = options->node;
    raft->timing = options->timing;
    ASSERT(options->planted_bugs <= UINT16_MAX);
    raft->planted_bugs = (uint16_t)options->planted_bugs;
    raft->now = options->now;
    raft->messages = options->messages != NULL ? options->messages : &raft->own_messages;
    random_seed(&raft->random, options->random_seed);

    raft->term = options->hard_state.term;
    if (options->entry_count > 0) {
        uint64_t last_term = options->entries[options->entry_count - 1]->term;
        if (last_term > raft->term) raft->term = last_term;
    }
    raft_log_open(raft, options);
    if (raft_config_history_open(raft, &options->config)) {
        raft_close(raft);
        return NULL;
    }
    raft->term = options->hard_state.term;
    open_hard_state(raft, options);
    open_timers(raft, options);
    return raft;
}

void raft_close(struct raft *raft)
{
    if (raft == NULL) return;
    raft_log_close(raft);
    memory_free(raft->configs);
    raft_progress_free(raft);
    memory_free(raft->answers);
    memory_free(raft->held);
    raft_messages_free(&raft->own_messages);
    memory_free(raft);
}

void raft_enter_term(struct raft *raft, uint64_t term)
{
    ASSERT(term > raft->term);
    raft->term = term;
    raft->vote = (struct replica_id){0};
    raft->hard_changed = true;
    raft->leader = (struct raft_member){0};
    raft->leader_link_down = false;
    raft->matched = 0;
    raft->match_told = 0;
    raft->written_told = 0;
    raft->ack_wanted = false;
    raft->role_changed = true;
    raft_held_drop_older(raft, term);
}

void raft_become_follower(struct raft *raft, uint64_t term)
{
    ASSERT(term >= raft->term);
    if (raft->role != RAFT_FOLLOWER) raft->role_changed = true;
    if (raft->role == RAFT_LEADER) raft->leader = (struct raft_member){0};
    if (term > raft->term) raft_enter_term(raft, term);
    raft->role = RAFT_FOLLOWER;
    raft->transfer_to = (struct replica_id){0};
    raft->transfer_sent = false;
    raft->own_vote_id = 0;
    raft->send_wanted = false;
    raft_election_arm(raft);
}

void raft_follow(struct raft *raft, struct raft_member leader)
{
    ASSERT(raft->role != RAFT_LEADER);
    ASSERT(leader.replica.value != 0);
    if (raft->role != RAFT_FOLLOWER) raft_become_follower(raft, raft->term);
    bool same = replica_id_equal(raft->leader.replica, leader.replica);
    if (!same) raft->role_changed = true;
    raft->leader = leader;
    raft->leader_heard = raft->now;
    raft->leader_link_down = false;
    if (same)
        raft->election_deadline = raft->now + raft->election_timeout;
    else
        raft_election_arm(raft);
}

/* --- inputs --- */

/* Tells a sender of an old term about ours, so that a deposed leader or a candidate that came
 * back learns it; everything else of an old term is void. */
static void answer_older_term(struct raft *raft, const struct raft_message *message)
{
    ASSERT(message->term < raft->term);
    uint8_t type = message->type == RAFT_APPEND ? RAFT_APPEND_REPLY : RAFT_VOTE_REPLY;
    if (message->type != RAFT_APPEND && message->type != RAFT_VOTE) return;
    raft_send(raft, (struct raft_message){.type = type,
                                          .to = message->from,
                                          .to_node = message->from_node,
                                          .reject = true});
}

/* Compares terms (thesis, 3.3). False: the message is done with. The term of a pre-vote is
 * one that nobody is in yet, so it neither raises ours nor counts as old; neither does that of
 * a candidate which we must not help because a leader lives (4.2.3). */
static bool step_term(struct raft *raft, const struct raft_message *message)
{
    bool future = message->type == RAFT_PRE_VOTE ||
                  (message->type == RAFT_PRE_VOTE_REPLY && !message->reject);
    bool newer = message->term > raft->term;

    if (future) return true;
    if (newer && message->type == RAFT_VOTE && raft_elect_refuses(raft, message)) return false;
    if (newer) raft_become_follower(raft, message->term);
    if (message->term == raft->term) return true;
    answer_older_term(raft, message);
    return false;
}

static void step_by_type(struct raft *raft, struct raft_message *message)
{
    struct raft_member sender = {.replica = message->from, .node = message->from_node};
    switch ((enum raft_message_type)message->type) {
    case RAFT_PRE_VOTE:
        raft_on_pre_vote(raft, message);
        break;
    case RAFT_PRE_VOTE_REPLY:
        raft_on_pre_vote_reply(raft, message);
        break;
    case RAFT_VOTE:
        raft_on_vote(raft, message);
        break;
    case RAFT_VOTE_REPLY:
        raft_on_vote_reply(raft, message);
        break;
    case RAFT_APPEND:
        raft_on_append(raft, message);
        break;
    case RAFT_APPEND_REPLY:
        raft_on_append_reply(raft, message);
        break;
    case RAFT_SNAPSHOT_OFFER: /* its driver transfers; here it is a sign of life */
        if (raft->role != RAFT_LEADER) raft_follow(raft, sender);
        break;
    case RAFT_TIMEOUT_NOW:
        raft_on_timeout_now(raft, message);
        break;
    }
}

void raft_step(struct raft *raft, struct raft_message *message, uint64_t now)
{
    ASSERT(replica_id_equal(message->to, raft->self));
    ASSERT(message->group.value == raft->group.value);
    raft_time(raft, now);
    bool from_self = replica_id_equal(message->from, raft->self);
    if (!from_self && step_term(raft, message)) step_by_type(raft, message);

    for (uint32_t i = 0; i < message->entry_count; i++) {
        raft_entry_free(message->entries[i]); /* NULL where it was taken over */
    }
    message->entry_count = 0;
}

void raft_tick(struct raft *raft, uint64_t now)
{
    raft_time(raft, now);
    if (raft->role == RAFT_LEADER) {
        raft_transfer_tick(raft);
        raft_check_quorum(raft);
        return;
    }
    bool voter = raft_may_stand(raft);
    bool due = raft->now >= raft->election_deadline && raft->now >= raft->no_vote_until;
    if (!voter || !due) return;
    if (raft->own_vote_id != 0) {
        raft_election_arm(raft); /* our disk is slow: a higher term would not make it faster */
        return;
    }
    raft_pre_campaign(raft);
}

void raft_gap(struct raft *raft, uint64_t now)
{
    raft_time(raft, now);
    if (raft->role != RAFT_LEADER) {
        raft_election_arm(raft);
        return;
    }
    raft_lease_void(raft);
    raft->leader_since = raft->now; /* silence while we were away is no silence of theirs */
    ASSERT(raft_single_voter(raft) || !raft_lease_valid(raft, now));
}

void raft_peer_down(struct raft *raft, node_id_t node, uint64_t now)
{
    raft_time(raft, now);
    ASSERT(node != raft->node);
    if (raft->role == RAFT_LEADER) {
        for (size_t i = 0; i < raft->progress_count; i++) {
            struct progress *progress = &raft->progress[i];
            bool lost = progress->member.node == node && progress->state == PROGRESS_REPLICATE;
            if (lost) raft_progress_probe(progress, progress->match + 1);
        }
        return;
    }
    bool leads = raft->leader.replica.value != 0 && raft->leader.node == node;
    if (!leads || raft->role != RAFT_FOLLOWER) return;
    raft->leader_link_down = true;
    bool voter = raft_may_stand(raft);
    if (voter && raft->now >= raft->no_vote_until) raft_pre_campaign(raft);
}

void raft_applied(struct raft *raft, uint64_t index)
{
    ASSERT(index >= raft->applied);
    ASSERT(index <= raft->commit);
    raft->applied = index;
}

/* --- state --- */

enum raft_role raft_role(const struct raft *raft)
{
    return raft->role;
}

uint64_t raft_term(const struct raft *raft)
{
    return raft->term;
}

struct raft_member raft_leader(const struct raft *raft)
{
    return raft->leader;
}

uint64_t raft_commit_index(const struct raft *raft)
{
    return raft->commit;
}

uint64_t raft_commit_durable_index(const struct raft *raft)
{
    return raft->commit_durable;
}

bool raft_tick_due(const struct raft *raft, uint64_t now)
{
    bool waits = now < raft->election_deadline || now < raft->no_vote_until;
    if (raft->role != RAFT_LEADER && waits) return false; /* the usual case: one comparison */
    return raft_next_deadline(raft) <= now;
}

uint64_t raft_next_deadline(const struct raft *raft)
{
    if (raft->role == RAFT_LEADER) {
        uint64_t deadline = raft_check_quorum_deadline(raft);
        bool sooner = raft_transferring(raft) && raft->transfer_deadline < deadline;
        return sooner ? raft->transfer_deadline : deadline;
    }
    if (!raft_may_stand(raft)) return UINT64_MAX;
    return raft->election_deadline > raft->no_vote_until ? raft->election_deadline
                                                         : raft->no_vote_until;
}
