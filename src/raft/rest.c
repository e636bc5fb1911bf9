/* rest.c - a group in which nothing happens needs no heartbeats as long as its driver knows by
 * other means who lives. That is no more than an opinion: leases and promises come of heartbeats
 * only. */
#include "raft/raft_internal.h"

void raft_leader_alive(struct raft *raft, uint64_t at)
{
    if (raft->role != RAFT_FOLLOWER || raft->leader.replica.value == 0) return;
    if (at <= raft->leader_heard || raft->leader_link_down) return;
    uint64_t deadline = at + raft->election_timeout;
    raft->leader_heard = at;
    if (deadline > raft->election_deadline) raft->election_deadline = deadline;
}

bool raft_leader_is_linked(const struct raft *raft)
{
    return raft->leader.replica.value != 0 && !raft->leader_link_down;
}

void raft_member_alive(struct raft *raft, struct replica_id member, uint64_t at)
{
    if (raft->role != RAFT_LEADER) return;
    struct progress *progress = raft_progress_find(raft, member);
    if (progress == NULL || at <= progress->alive_at) return;
    progress->alive_at = at;
    if (raft_bug(raft, RAFT_BUG_LEASE_OF_LIFE)) progress->lease_at = at;
}

static bool member_is_quiet(const struct raft *raft, const struct progress *progress)
{
    return progress->state == PROGRESS_REPLICATE && progress->match == last_index(raft) &&
           progress->inflight_count == 0 && !progress->check_wanted &&
           raft_progress_active(raft, progress, raft->now);
}

bool raft_is_quiet(const struct raft *raft)
{
    const struct raft_config *config = raft_config(raft);
    uint64_t last = last_index(raft);
    bool settled = raft->role == RAFT_LEADER && raft->commit_durable == last &&
                   raft->applied == last && raft->durable_index == last &&
                   raft_hard_state_durable(raft);
    bool busy = raft_has_output(raft) || raft_transferring(raft) || raft->transfer_sent ||
                raft->round_confirmed != raft->round_started;
    bool changing = config->outgoing_count != 0 || config->learner_count != 0 ||
                    !raft_is_voter(config, raft->self);
    if (!settled || busy || changing) return false;
    for (uint32_t i = 0; i < raft->progress_count; i++)
        if (!member_is_quiet(raft, &raft->progress[i])) return false;
    return true;
}
