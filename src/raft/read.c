/* read.c - heartbeats and what rests on them: the lease (D1) and read rounds (thesis, 6.4).
 *
 * A member that accepts a heartbeat promises to help no other leader for one election
 * timeout, or to say in its vote how much of that is left. So the leader is alone until
 * (when the quorum-th newest accepted heartbeat was made) + lease. Only heartbeats count:
 * an append may have been waiting in a buffer since before a pause.
 *
 * Voiding a lease starts a round: acknowledgements of older rounds no longer count for it. */
#include "raft/raft_internal.h"

/* --- leader --- */

void raft_lease_void(struct raft *raft)
{
    ASSERT(raft->role == RAFT_LEADER);
    raft->round_started++;
    raft->round_carried = false;
    raft->lease_round_min = raft->round_started;
    for (size_t i = 0; i < raft->progress_count; i++) {
        raft->progress[i].lease_at = 0;
    }
    ASSERT(raft->round_confirmed < raft->round_started);
}

bool raft_heartbeat_make(struct raft *raft, struct replica_id to, struct raft_heartbeat *ret)
{
    if (raft->role != RAFT_LEADER) return false;
    const struct progress *progress = raft_progress_find(raft, to);
    if (progress == NULL) return false;

    /* While a hand-over is out no new round is, so that the voters can tell a TimeoutNow that
     * stands from one that was abandoned (transfer.c). */
    uint64_t round = raft->transfer_sent ? raft->transfer_round : raft->round_started;
    if (round == raft->round_started) raft->round_carried = true;
    /* What is durable on a quorum: it is all that a follower needs to know without an append. */
    uint64_t commit = raft->commit_durable;
    *ret = (struct raft_heartbeat){
        .group = raft->group,
        .from = raft->self,
        .to = to,
        .term = raft->term,
        .commit = commit < progress->match ? commit : progress->match,
        .round = round,
    };
    ASSERT(ret->commit <= raft->commit);
    ASSERT(ret->round <= raft->round_started);
    return true;
}

void raft_heartbeat_acked(struct raft *raft, const struct raft_heartbeat_ack *ack,
                          uint64_t generated_at, uint64_t now)
{
    ASSERT(ack->group.value == raft->group.value);
    raft_time(raft, now);
    if (ack->term > raft->term) raft_become_follower(raft, ack->term);
    bool counts = raft->role == RAFT_LEADER && ack->term == raft->term && ack->accepted;
    struct progress *progress = counts ? raft_progress_find(raft, ack->from) : NULL;
    if (progress == NULL || generated_at > raft->now) return;

    progress->acked_at = raft->now;
    bool for_lease = ack->round >= raft->lease_round_min && ack->round <= raft->round_started;
    if (for_lease && generated_at > progress->lease_at) progress->lease_at = generated_at;
    if (ack->round > progress->round && ack->round <= raft->round_started) {
        progress->round = ack->round;
        raft_round_confirm(raft);
    }
    bool news = ack->match > progress->match && ack->match <= last_index(raft);
    if (news) raft_progress_matched(raft, progress, ack->match);
    raft_progress_heard(raft, progress);
    if (news) raft_commit_advance(raft);
}

static uint64_t value_lease(const struct raft *raft, const struct progress *progress)
{
    (void)raft;
    return progress->lease_at;
}

bool raft_lease_valid(const struct raft *raft, uint64_t now)
{
    if (raft->role != RAFT_LEADER) return false;
    if (raft_single_voter(raft)) return true;
    uint64_t agreed_at = raft_quorum_value(raft, value_lease, now);
    return agreed_at != 0 && now < agreed_at + raft->timing.lease;
}

bool raft_can_evaluate(const struct raft *raft, uint64_t now)
{
    bool caught_up = raft->noop_index <= raft->commit && raft->noop_index <= raft->applied;
    return raft->role == RAFT_LEADER && caught_up && now >= raft->evaluate_after;
}

static uint64_t value_round(const struct raft *raft, const struct progress *progress)
{
    (void)raft;
    return progress->round;
}

void raft_round_confirm(struct raft *raft)
{
    ASSERT(raft->role == RAFT_LEADER);
    uint64_t agreed = raft_quorum_value(raft, value_round, raft->round_started);
    if (agreed > raft->round_confirmed) raft->round_confirmed = agreed;
    ASSERT(raft->round_confirmed <= raft->round_started);
}

uint64_t raft_read_begin(struct raft *raft, uint64_t now, bool *ret_send_now)
{
    raft_time(raft, now);
    *ret_send_now = false;
    if (raft->role != RAFT_LEADER) return 0;

    /* A round that a heartbeat has carried may have been acknowledged before this call. */
    bool in_flight = raft->round_carried || raft->round_confirmed == raft->round_started;
    if (in_flight) {
        raft->round_started++;
        raft->round_carried = false;
    }
    if (raft_single_voter(raft)) raft_round_confirm(raft);
    *ret_send_now = !raft_single_voter(raft) && !raft->transfer_sent;
    ASSERT(raft->round_started != 0);
    return raft->round_started;
}

/* --- follower --- */

static void heartbeat_accept(struct raft *raft, const struct raft_heartbeat *heartbeat,
                             node_id_t from_node)
{
    ASSERT(heartbeat->term == raft->term);
    raft_follow(raft, (struct raft_member){.replica = heartbeat->from, .node = from_node});
    raft->promise_until = raft->now + raft_promise_time(raft);
    if (raft->promise_term != raft->term) raft->promise_round = 0;
    raft->promise_term = raft->term;
    if (heartbeat->round > raft->promise_round) raft->promise_round = heartbeat->round;

    /* The leader limits this to what we acknowledged in its term, which cannot have been cut
     * since; so it also tells us, after a restart, how far we match. */
    uint64_t last = last_index(raft);
    uint64_t commit = heartbeat->commit < last ? heartbeat->commit : last;
    if (commit > raft->matched) raft->matched = commit;
    raft_commit_durable_to(raft, commit);
}

void raft_heartbeat_receive(struct raft *raft, const struct raft_heartbeat *heartbeat,
                            node_id_t from_node, uint64_t now, struct raft_heartbeat_ack *ret)
{
    ASSERT(heartbeat->group.value == raft->group.value);
    raft_time(raft, now);
    if (heartbeat->term > raft->term) raft_become_follower(raft, heartbeat->term);
    bool current = heartbeat->term == raft->term && raft->role != RAFT_LEADER;
    if (current) heartbeat_accept(raft, heartbeat, from_node);

    /* A term that our disk does not have yet is not spoken of. */
    bool told = raft_hard_state_durable(raft);
    *ret = (struct raft_heartbeat_ack){
        .group = raft->group,
        .from = raft->self,
        .to = heartbeat->from,
        .term = raft->durable_term,
        .round = heartbeat->round,
        .match = current && told ? raft_log_claimable(raft, raft->matched) : 0,
        .accepted = current && told,
    };
    ASSERT(!ret->accepted || ret->term == heartbeat->term);
}
