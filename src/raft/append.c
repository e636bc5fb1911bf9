/* append.c - the follower's side of replication (Raft thesis, 3.5).
 *
 * `matched` is how far our log is known to equal that of the leader of this term; it is 0
 * at the start of a term, whatever we hold. What is claimed to the leader is never more than
 * min(matched, durable), or, and named as that, min(matched, written). */
#include "raft/raft_internal.h"

static void refuse(struct raft *raft, const struct raft_message *message)
{
    uint64_t last = last_index(raft);
    uint64_t hint = message->index < last ? message->index : last;

    /* Where the leader has an older term we cannot agree; go back past all of them at once. */
    hint = raft_log_back(raft, hint, message->log_term, raft->commit);
    raft_send(raft, (struct raft_message){.type = RAFT_APPEND_REPLY,
                                          .to = message->from,
                                          .to_node = message->from_node,
                                          .index = message->index,
                                          .hint_index = hint,
                                          .hint_term = raft_term_at(raft, hint),
                                          .reject = true});
}

bool raft_contradicts(struct raft *raft, uint64_t index, uint64_t term)
{
    bool settled = index <= raft->commit_durable || index > raft->commit;
    if (!settled && raft_term_at(raft, index) != term) raft->contradicted = true;
    return raft->contradicted;
}

bool raft_is_contradicted(const struct raft *raft)
{
    return raft->contradicted;
}

/* Appends what we lack. Returns the index up to which our log now equals the leader's. Stops
 * early at an entry that no correct leader sends; it is then as if the rest were lost. */
static uint64_t take_entries(struct raft *raft, struct raft_message *message)
{
    uint64_t matched = message->index;
    for (uint32_t i = 0; i < message->entry_count; i++) {
        struct raft_entry *entry = message->entries[i];
        uint64_t last = last_index(raft);
        bool known = entry->index <= raft->commit || entry->index <= raft->base_index ||
                     raft_term_at(raft, entry->index) == entry->term;
        struct raft_config config;
        bool is_config = entry->type == RAFT_ENTRY_CONFIG;

        if (entry->index != matched + 1 || entry->term > raft->term) break;
        if (raft_contradicts(raft, entry->index, entry->term)) break;
        matched++;
        if (known) continue;
        if (is_config && !raft_config_of_entry(entry, &config)) return matched - 1;
        if (entry->term < raft_term_at(raft, entry->index - 1)) return matched - 1;
        if (entry->index <= raft->matched) return matched - 1; /* two logs in one term */
        if (entry->index <= last) raft_log_truncate(raft, entry->index);
        raft_log_append(raft, entry);
        message->entries[i] = NULL;
        if (is_config) raft_config_push(raft, &config);
    }
    ASSERT(matched <= last_index(raft) || matched <= raft->base_index);
    return matched;
}

void raft_on_append(struct raft *raft, struct raft_message *message)
{
    ASSERT(message->term == raft->term);
    if (raft->role == RAFT_LEADER) return; /* two in one term: not for us to mend */
    raft_follow(raft, (struct raft_member){.replica = message->from, .node = message->from_node});

    if (raft_contradicts(raft, message->index, message->log_term)) return;
    /* What is committed equals the log of every later leader. */
    bool before_commit = message->index <= raft->commit;
    bool agrees = message->index <= last_index(raft) &&
                  raft_term_at(raft, message->index) == message->log_term;
    if (!before_commit && !agrees) {
        refuse(raft, message);
        return;
    }
    uint64_t matched = take_entries(raft, message);
    if (raft->contradicted) return;
    if (matched > last_index(raft)) matched = last_index(raft);
    if (matched > raft->matched) raft->matched = matched;
    if (raft->commit_durable > raft->matched) raft->matched = raft->commit_durable;
    raft->ack_wanted = true;
    if (message->everywhere > raft->everywhere) raft->everywhere = message->everywhere;
    uint64_t durable = message->hint_index != 0 ? message->hint_index : message->commit;
    if (durable > message->commit) durable = message->commit;
    raft_commit_to(raft, message->commit < raft->matched ? message->commit : raft->matched);
    raft_commit_durable_to(raft, durable < raft->matched ? durable : raft->matched);
}

/* One acknowledgement for all appends whose entries became durable meanwhile; but a message
 * that brought nothing new is answered as well, or a probe would wait for ever. */
bool raft_ack_due(const struct raft *raft)
{
    if (raft->role == RAFT_LEADER || raft->leader.replica.value == 0) return false;
    uint64_t claim = raft_log_claimable(raft, raft->matched);
    bool planted = raft_bug(raft, RAFT_BUG_ACK_BEFORE_DURABLE);
    if (!raft_hard_state_durable(raft) && !planted) return false;
    uint64_t written = raft_log_claimable_written(raft, raft->matched);
    if (written > claim && written > raft->written_told) return true;
    return claim > raft->match_told || (raft->ack_wanted && claim == raft->matched);
}

void raft_ack_send(struct raft *raft)
{
    uint64_t claim = raft_log_claimable(raft, raft->matched);
    uint64_t written = raft_log_claimable_written(raft, raft->matched);
    ASSERT(claim <= written);
    ASSERT(written <= last_index(raft));
    ASSERT(raft->role != RAFT_LEADER);
    if (claim == raft->matched) raft->ack_wanted = false;
    raft->match_told = claim;
    raft->written_told = written;
    raft_send_now(raft, (struct raft_message){.type = RAFT_APPEND_REPLY,
                                              .to = raft->leader.replica,
                                              .to_node = raft->leader.node,
                                              .index = claim,
                                              .hint_index = written > claim ? written : 0});
}
