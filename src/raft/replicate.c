/* replicate.c - the leader's side of replication: proposals, appends, commit.
 *
 * Appends are made when the output is taken, from the entries in memory, and leave in
 * parallel with the leader's own disk write (Raft thesis, 10.2.1). */
#include "raft/raft_internal.h"

uint64_t raft_append_own(struct raft *raft, struct raft_entry *entry)
{
    ASSERT(raft->role == RAFT_LEADER);
    entry->index = last_index(raft) + 1;
    entry->term = raft->term;
    raft_log_append(raft, entry);
    raft->send_wanted = true;
    return entry->index;
}

uint64_t raft_propose(struct raft *raft, struct raft_entry *entry)
{
    ASSERT(entry->type != RAFT_ENTRY_CONFIG); /* raft_propose_config() */
    if (raft->role != RAFT_LEADER || raft_transferring(raft)) {
        raft_entry_free(entry);
        return 0;
    }
    return raft_append_own(raft, entry);
}

/* Only the own term's no-op makes what former leaders left countable (paper, 5.4.2). */
void raft_become_leader(struct raft *raft)
{
    ASSERT(raft->role == RAFT_CANDIDATE);
    ASSERT(raft->durable_term == raft->term);
    raft->role = RAFT_LEADER;
    raft->role_changed = true;
    raft->leader = (struct raft_member){.replica = raft->self, .node = raft->node};
    raft->leader_since = raft->now;
    if (raft_bug(raft, RAFT_BUG_IGNORE_PROMISE)) raft->evaluate_after = 0;
    raft_progress_reset(raft);
    raft->everywhere_told = 0;
    raft_lease_void(raft);
    raft->noop_index = raft_append_own(raft, raft_entry_make(NULL, RAFT_ENTRY_NOOP, 0));
}

/* --- answers --- */

static void on_refusal(struct raft *raft, struct progress *progress,
                       const struct raft_message *reply)
{
    bool stale = reply->index <= progress->match || progress->state == PROGRESS_SNAPSHOT ||
                 (progress->state == PROGRESS_PROBE && reply->index + 1 != progress->next);
    if (stale) return;

    uint64_t hint = reply->hint_index < reply->index ? reply->hint_index : reply->index - 1;
    if (hint > last_index(raft)) hint = last_index(raft);
    hint = raft_log_back(raft, hint, reply->hint_term, progress->match);
    if (hint < progress->match) hint = progress->match;
    raft_progress_probe(progress, hint + 1);
    raft->send_wanted = true;
}

void raft_on_append_reply(struct raft *raft, const struct raft_message *message)
{
    ASSERT(message->term == raft->term);
    if (raft->role != RAFT_LEADER) return;
    struct progress *progress = raft_progress_find(raft, message->from);
    if (progress == NULL) return;
    progress->acked_at = raft->now;
    if (message->reject) {
        on_refusal(raft, progress, message);
        return;
    }
    if (message->index > last_index(raft)) return; /* no correct member says so */
    raft_progress_matched(raft, progress, message->index);
    if (message->hint_index > message->index && message->hint_index <= last_index(raft))
        raft_progress_written(raft, progress, message->hint_index);
    raft_commit_advance(raft);
}

/* --- commit --- */

void raft_commit_to(struct raft *raft, uint64_t index)
{
    if (index <= raft->commit) return;
    ASSERT(index <= last_index(raft));
    raft->commit = index;
}

void raft_commit_durable_to(struct raft *raft, uint64_t index)
{
    raft_commit_to(raft, index);
    if (index > raft->commit_durable) raft->commit_durable = index;
    ASSERT(raft->commit_durable <= raft->commit);
}

static bool is_enough_written(const struct raft *raft, uint64_t index)
{
    return raft_entry_at(raft, index)->type == RAFT_ENTRY_WRITTEN;
}

/* Entries for which written is enough, behind what is committed: each as soon as a quorum has
 * written it and all before it are committed. Only behind the own term's no-op, which had to be
 * durable, so all of them are of this term. */
static void commit_written(struct raft *raft)
{
    bool all = raft_bug(raft, RAFT_BUG_WRITTEN_IS_DURABLE);

    if (raft->commit < raft->noop_index && !all) return;
    if (!all && !is_enough_written(raft, raft->commit + 1)) return; /* as a rule */
    uint64_t agreed = raft_quorum_written(raft);
    while (raft->commit < agreed && (all || is_enough_written(raft, raft->commit + 1)))
        raft_commit_to(raft, raft->commit + 1);
    ASSERT(raft->commit <= last_index(raft));
}

static void commit_agreed(struct raft *raft)
{
    uint64_t agreed = raft_quorum_match(raft);
    /* Count replicas only for entries of our own term: an older one on a majority can still be
     * overwritten by a later leader (paper, 5.4.2). The older ones commit along with ours. */
    bool own_term = raft_term_at(raft, agreed) == raft->term;
    if (raft_bug(raft, RAFT_BUG_COMMIT_OLD_TERM)) own_term = true;

    ASSERT(agreed <= last_index(raft));
    if (own_term) raft_commit_durable_to(raft, agreed);
}

void raft_commit_advance(struct raft *raft)
{
    ASSERT(raft->role == RAFT_LEADER);
    /* The last of the members mostly acknowledges what a majority has committed already. */
    if (raft->commit_durable < last_index(raft)) commit_agreed(raft);
    if (raft->commit < last_index(raft)) commit_written(raft);
    raft_transfer_advance(raft);
    raft_config_advance(raft);
}

/* --- appends --- */

static void send_append(struct raft *raft, const struct progress *progress, uint32_t entry_count)
{
    uint64_t previous = progress->next - 1;
    ASSERT(previous >= raft->base_index);
    ASSERT(previous + entry_count <= last_index(raft));
    struct raft_entry **entries = entry_count ? raft_log_entries(raft, progress->next) : NULL;
    uint64_t durable = raft->commit_durable < raft->commit ? raft->commit_durable : 0;
    raft->everywhere_told = raft->everywhere;
    raft_send_now(raft, (struct raft_message){.type = RAFT_APPEND,
                                              .to = progress->member.replica,
                                              .to_node = progress->member.node,
                                              .index = previous,
                                              .log_term = raft_term_at(raft, previous),
                                              .commit = raft->commit,
                                              .hint_index = durable,
                                              .everywhere = raft->everywhere,
                                              .entries = entries,
                                              .entry_count = entry_count});
}

/* How many entries from `next` on fit into one message; at least one if there is one. */
static uint32_t batch_of(const struct raft *raft, uint64_t next, uint64_t *ret_bytes)
{
    uint32_t count = 0;
    uint64_t bytes = 0;
    for (uint64_t index = next; index <= last_index(raft); index++) {
        uint64_t size = sizeof(struct raft_entry) + raft_entry_at(raft, index)->size;
        if (count > 0 && bytes + size > RAFT_APPEND_BYTES_MAX) break;
        bytes += size;
        count++;
    }
    *ret_bytes = bytes;
    return count;
}

static void send_probe(struct raft *raft, struct progress *progress)
{
    uint64_t bytes = 0;
    uint32_t count = 0;
    if (progress->probe_sent) return;
    if (!progress->probe_empty) count = batch_of(raft, progress->next, &bytes);
    send_append(raft, progress, count);
    progress->probe_sent = true;
}

static void send_stream(struct raft *raft, struct progress *progress)
{
    while (progress->next <= last_index(raft) && raft_progress_has_room(progress)) {
        uint64_t bytes;
        uint32_t count = batch_of(raft, progress->next, &bytes);
        ASSERT(count > 0);
        send_append(raft, progress, count);
        raft_progress_sent(progress, progress->next + count - 1, bytes);
    }
    if (progress->check_wanted) send_append(raft, progress, 0);
    progress->check_wanted = false;
}

void raft_replicate(struct raft *raft)
{
    ASSERT(raft->role == RAFT_LEADER);
    raft->everywhere = raft_match_min(raft);
    for (size_t i = 0; i < raft->progress_count; i++) {
        struct progress *progress = &raft->progress[i];
        ASSERT(progress->match < progress->next);
        bool behind = progress->next <= raft->base_index;
        if (behind && progress->state != PROGRESS_SNAPSHOT) {
            raft_progress_probe(progress, progress->next);
            progress->state = PROGRESS_SNAPSHOT;
        }
        switch (progress->state) {
        case PROGRESS_PROBE:
            send_probe(raft, progress);
            break;
        case PROGRESS_REPLICATE:
            send_stream(raft, progress);
            break;
        case PROGRESS_SNAPSHOT:
            raft_snapshot_offer(raft, progress);
            break;
        }
    }
}

/* --- check-quorum (thesis, 6.2) --- */

static uint64_t value_heard(const struct raft *raft, const struct progress *progress)
{
    uint64_t heard =
        progress->acked_at > progress->alive_at ? progress->acked_at : progress->alive_at;
    return heard > raft->leader_since ? heard : raft->leader_since;
}

uint64_t raft_check_quorum_deadline(const struct raft *raft)
{
    ASSERT(raft->role == RAFT_LEADER);
    uint64_t heard = raft_quorum_value(raft, value_heard, UINT64_MAX);
    uint64_t patience = raft->timing.election_timeout_max;
    return heard > UINT64_MAX - patience ? UINT64_MAX : heard + patience;
}

void raft_check_quorum(struct raft *raft)
{
    if (raft->role != RAFT_LEADER) return;
    if (raft->now < raft_check_quorum_deadline(raft)) return;
    raft_become_follower(raft, raft->term);
    ASSERT(raft->role == RAFT_FOLLOWER);
}

/* --- state of the members --- */

uint64_t raft_match_min(const struct raft *raft)
{
    if (raft->role != RAFT_LEADER) return 0;
    uint64_t lowest = raft->durable_index;
    for (size_t i = 0; i < raft->progress_count; i++) {
        if (raft->progress[i].match < lowest) lowest = raft->progress[i].match;
    }
    return lowest;
}

uint64_t raft_everywhere_index(const struct raft *raft)
{
    return raft->role == RAFT_LEADER ? raft_match_min(raft) : raft->everywhere;
}

bool raft_send_empty(struct raft *raft)
{
    if (raft->role != RAFT_LEADER) return false;
    for (size_t i = 0; i < raft->progress_count; i++) {
        struct progress *progress = &raft->progress[i];
        progress->check_wanted |= progress->state == PROGRESS_REPLICATE;
        raft->send_wanted |= progress->check_wanted;
    }
    return raft->send_wanted;
}

bool raft_tell_everywhere(struct raft *raft, uint64_t entries)
{
    uint64_t index = raft_match_min(raft);
    bool told = raft->role != RAFT_LEADER || index < raft->everywhere_told + entries;
    if (told || raft->progress_count == 0) return false;
    raft->everywhere_told = index;
    return raft_send_empty(raft);
}

uint64_t raft_match_of(const struct raft *raft, struct replica_id replica, uint64_t now,
                       bool *ret_active)
{
    bool active = false;
    uint64_t match = 0;
    const struct progress *progress = raft_progress_find(raft, replica);
    if (raft->role == RAFT_LEADER && replica_id_equal(replica, raft->self)) {
        active = true;
        match = raft->durable_index;
    } else if (raft->role == RAFT_LEADER && progress != NULL) {
        active = raft_progress_active(raft, progress, now);
        match = progress->match;
    }
    if (ret_active) *ret_active = active;
    return match;
}
