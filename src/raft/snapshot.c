/* snapshot.c - members that need entries which are no longer in memory. The core only says
 * so and hears how it went; the driver moves the rows (DESIGN.md 8). */
#include "raft/raft_internal.h"

/* One offer at a time, and only to a member that answers. */
void raft_snapshot_offer(struct raft *raft, struct progress *progress)
{
    ASSERT(progress->state == PROGRESS_SNAPSHOT);
    bool due = !progress->offer_open && raft->now >= progress->offer_after;
    if (!due || !raft_progress_active(raft, progress, raft->now)) return;
    progress->offer_open = true;
    raft_send_now(raft, (struct raft_message){.type = RAFT_SNAPSHOT_OFFER,
                                              .to = progress->member.replica,
                                              .to_node = progress->member.node,
                                              .index = raft->base_index,
                                              .log_term = raft->base_term,
                                              .commit = raft->commit});
}

void raft_snapshot_sent(struct raft *raft, struct replica_id to, uint64_t index, bool ok)
{
    if (raft->role != RAFT_LEADER) return;
    struct progress *progress = raft_progress_find(raft, to);
    if (progress == NULL || progress->state != PROGRESS_SNAPSHOT) return;
    progress->offer_open = false;
    progress->offer_after = raft->now + raft->timing.election_timeout_min;
    if (ok && index > last_index(raft)) ok = false;
    if (!ok) return;
    uint64_t behind = index > progress->match ? index : progress->match;
    raft_progress_probe(progress, behind + 1);
    raft->send_wanted = true;
    ASSERT(progress->state == PROGRESS_PROBE);
}

bool raft_install_snapshot(struct raft *raft, uint64_t index, uint64_t term,
                           const struct raft_config *config, uint64_t now)
{
    raft_time(raft, now);
    if (raft->role == RAFT_LEADER) return false;
    if (raft->role != RAFT_FOLLOWER) raft_become_follower(raft, raft->term);
    if (raft_contradicts(raft, index, term)) return false;
    raft->ack_wanted = true; /* whatever we hold, the leader should hear of it */
    if (index <= raft->commit) {
        if (raft->matched < index) raft->matched = index;
        return false;
    }
    if (term > raft->term) raft_become_follower(raft, term);
    raft_log_restart(raft, index, term);
    raft_config_restart(raft, config);
    raft->commit = index;
    raft->commit_durable = index;
    raft->applied = index;
    if (raft->matched < index) raft->matched = index;
    if (raft->matched > last_index(raft)) raft->matched = last_index(raft);
    if (raft->match_told > raft->matched) raft->match_told = raft->matched;
    if (raft->written_told > raft->matched) raft->written_told = raft->matched;
    raft->ack_wanted = true;
    ASSERT(raft->commit <= last_index(raft));
    ASSERT(raft->durable_index >= raft->base_index);
    return true;
}
