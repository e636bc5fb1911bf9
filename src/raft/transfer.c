/* transfer.c - handing leadership over (Raft thesis, 3.10) without a stale read (WHY 1.4).
 *
 * TimeoutNow lets a member stand although the leader lives, and lets the voters forget what
 * they owe that leader, for it has given its lease up. It may be late, though: the leader
 * has given up the hand-over, and earned a lease again. So:
 *   - it names the read round R that was the last one when it was sent,
 *   - no later round is sent until the hand-over is done or abandoned,
 *   - the leader's lease counts only acknowledgements of later rounds,
 *   - a voter that has accepted a later round than R takes the vote for an ordinary one.
 * Leases of yet older leaders have run out: a leader hands over only once it may evaluate. */
#include "raft/raft_internal.h"

bool raft_transferring(const struct raft *raft)
{
    return raft->transfer_to.value != 0;
}

static void transfer_end(struct raft *raft)
{
    raft->transfer_to = (struct replica_id){0};
    raft->transfer_sent = false;
    ASSERT(!raft_transferring(raft));
}

static void send_timeout_now(struct raft *raft, struct raft_member to)
{
    ASSERT(raft->role == RAFT_LEADER);
    ASSERT(raft->now >= raft->evaluate_after);
    raft->transfer_round = raft->round_started;
    if (!raft_bug(raft, RAFT_BUG_LEASE_AFTER_TRANSFER)) raft_lease_void(raft);
    raft_send(raft, (struct raft_message){.type = RAFT_TIMEOUT_NOW,
                                          .to = to.replica,
                                          .to_node = to.node,
                                          .hint_index = raft->transfer_round});
}

enum status raft_transfer(struct raft *raft, struct replica_id to, uint64_t now)
{
    raft_time(raft, now);
    if (raft->role != RAFT_LEADER) return STATUS_NOT_LEADER;
    const struct raft_config *config = raft_config(raft);
    const struct progress *progress = raft_progress_find(raft, to);
    bool voter = raft_member_find(config->incoming, config->incoming_count, to);
    bool settled = raft->noop_index <= raft->commit && raft->now >= raft->evaluate_after;

    if (progress == NULL || !voter || !settled) return STATUS_REFUSED;
    if (!raft_progress_active(raft, progress, raft->now)) return STATUS_REFUSED;
    if (raft_transferring(raft)) {
        return replica_id_equal(raft->transfer_to, to) ? STATUS_OK : STATUS_REFUSED;
    }
    raft->transfer_to = to;
    raft->transfer_sent = false;
    raft->transfer_deadline = raft->now + raft->timing.election_timeout_max;
    raft_transfer_advance(raft);
    return STATUS_OK;
}

/* Sends TimeoutNow once the member has all of our log. */
void raft_transfer_advance(struct raft *raft)
{
    if (!raft_transferring(raft) || raft->transfer_sent) return;
    const struct progress *progress = raft_progress_find(raft, raft->transfer_to);
    if (progress == NULL) {
        transfer_end(raft);
        return;
    }
    if (progress->match < last_index(raft)) return;
    send_timeout_now(raft, progress->member);
    raft->transfer_sent = true;
    ASSERT(raft_bug(raft, RAFT_BUG_LEASE_AFTER_TRANSFER) || !raft_lease_valid(raft, raft->now));
}

void raft_transfer_tick(struct raft *raft)
{
    ASSERT(raft->role == RAFT_LEADER);
    if (!raft_transferring(raft) || raft->now < raft->transfer_deadline) return;
    transfer_end(raft);
    raft_config_advance(raft);
}

void raft_transfer_away(struct raft *raft)
{
    ASSERT(!raft_is_voter(raft_config(raft), raft->self));
    const struct raft_config *config = raft_config(raft);
    const struct progress *best = NULL;
    for (size_t i = 0; i < config->incoming_count; i++) {
        const struct progress *progress = raft_progress_find(raft, config->incoming[i].replica);
        bool usable = progress && raft_progress_active(raft, progress, raft->now);
        if (usable && (best == NULL || progress->match > best->match)) best = progress;
    }
    struct raft_member to = best ? best->member : (struct raft_member){0};
    if (best != NULL && raft->now >= raft->evaluate_after) send_timeout_now(raft, to);
    raft_become_follower(raft, raft->term);
}

void raft_on_timeout_now(struct raft *raft, const struct raft_message *message)
{
    ASSERT(message->term == raft->term);
    bool from_leader =
        raft->role == RAFT_FOLLOWER && replica_id_equal(raft->leader.replica, message->from);
    bool may_stand =
        raft_is_voter(raft_config(raft), raft->self) && raft->now >= raft->no_vote_until;
    bool stands = raft_transfer_fresh(raft, raft->term + 1, message->hint_index);
    if (!from_leader || !may_stand || !stands) return;
    raft_campaign(raft, true, message->hint_index);
    ASSERT(raft->role == RAFT_CANDIDATE);
}
