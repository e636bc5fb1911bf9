/* output.c - what leaves the core, and what it waits for.
 *
 * A reply carries a promise in the name of (term, vote), so it is held until the persist id
 * that carries them is durable. Requests of candidates and appends of leaders promise
 * nothing and leave at once. Appends and acknowledgements are made when the output is taken:
 * all entries proposed within a turn share messages, and all appends of a turn share one
 * acknowledgement. */
#include "raft/raft_internal.h"

static void message_fill(const struct raft *raft, struct raft_message *message)
{
    ASSERT(message->to.value != 0);
    ASSERT(!replica_id_equal(message->to, raft->self));
    message->group = raft->group;
    message->from = raft->self;
    message->from_node = raft->node;
    if (message->term == 0) message->term = raft->term;
}

static bool message_waits(uint8_t type)
{
    return type == RAFT_PRE_VOTE_REPLY || type == RAFT_VOTE_REPLY || type == RAFT_APPEND_REPLY;
}

void raft_send(struct raft *raft, struct raft_message message)
{
    uint64_t hard_id = raft->hard_changed ? raft->persist_last + 1 : raft->hard_id;

    message_fill(raft, &message);
    ASSERT(message.entry_count == 0); /* appends are made when the output is taken */
    if (raft->held_count == raft->held_capacity) {
        raft->held_capacity = raft->held_capacity ? raft->held_capacity * 2 : 8;
        raft->held = memory_resize(raft->held, raft->held_capacity * sizeof(*raft->held));
    }
    raft->held[raft->held_count++] =
        (struct raft_held){.message = message, .after = message_waits(message.type) ? hard_id : 0};
}

void raft_send_now(struct raft *raft, struct raft_message message)
{
    struct raft_messages *messages = raft->messages;

    message_fill(raft, &message);
    if (messages->count == messages->capacity) {
        messages->capacity = messages->capacity ? messages->capacity * 2 : 8;
        messages->items =
            memory_resize(messages->items, messages->capacity * sizeof(*messages->items));
    }
    messages->items[messages->count++] = message;
}

void raft_messages_free(struct raft_messages *messages)
{
    memory_free(messages->items);
    *messages = (struct raft_messages){0};
}

void raft_held_drop_older(struct raft *raft, uint64_t term)
{
    size_t kept = 0;
    for (size_t i = 0; i < raft->held_count; i++) {
        if (raft->held[i].message.term >= term) raft->held[kept++] = raft->held[i];
    }
    ASSERT(kept <= raft->held_count);
    raft->held_count = kept;
}

static void held_release(struct raft *raft)
{
    size_t kept = 0;
    for (size_t i = 0; i < raft->held_count; i++) {
        if (raft->held[i].after <= raft->persisted) {
            raft_send_now(raft, raft->held[i].message);
        } else {
            raft->held[kept++] = raft->held[i];
        }
    }
    raft->held_count = kept;
}

static bool held_ready(const struct raft *raft)
{
    for (size_t i = 0; i < raft->held_count; i++) {
        if (raft->held[i].after <= raft->persisted) return true;
    }
    return false;
}

static bool persist_due(const struct raft *raft)
{
    return raft->hard_changed || raft->truncate_from != 0 || raft->handed_index < last_index(raft);
}

bool raft_has_output(const struct raft *raft)
{
    return raft->send_wanted || raft->role_changed || raft->config_changed ||
           raft->commit_told != raft->commit || raft->round_told != raft->round_confirmed ||
           persist_due(raft) || raft_ack_due(raft) || held_ready(raft);
}

static void take_persist(struct raft *raft, struct raft_output *output)
{
    if (!persist_due(raft)) return;
    uint64_t from = raft->handed_index + 1;
    output->persist_id = ++raft->persist_last;
    output->truncate_from = raft->truncate_from;
    output->entry_count = last_index(raft) - raft->handed_index;
    if (output->entry_count > 0) output->entries = raft_log_entries(raft, from);
    if (raft->hard_changed) {
        output->hard_state_changed = true;
        raft->hard_id = output->persist_id;
    }
    raft->hard_changed = false;
    raft->truncate_from = 0;
    raft_log_persisting(raft, output->persist_id);
    ASSERT(raft->handed_index == last_index(raft));
}

void raft_take_output(struct raft *raft, struct raft_output *output)
{
    *output = (struct raft_output){
        .hard_state = {.term = raft->term, .vote = raft->vote, .commit = raft->commit_durable},
        .commit = raft->commit,
        .role_changed = raft->role_changed,
        .config_changed = raft->config_changed,
        .read_round = raft->round_confirmed};
    raft->messages->count = 0;
    take_persist(raft, output);
    held_release(raft);
    if (raft_ack_due(raft)) raft_ack_send(raft);
    if (raft->role == RAFT_LEADER && raft->send_wanted) raft_replicate(raft);

    raft->send_wanted = false;
    raft->role_changed = false;
    raft->config_changed = false;
    raft->commit_told = raft->commit;
    raft->round_told = raft->round_confirmed;
    output->messages = raft->messages->items;
    output->message_count = raft->messages->count;
    ASSERT(!raft_has_output(raft));
    ASSERT(output->commit <= last_index(raft));
}

void raft_written(struct raft *raft, uint64_t persist_id, uint64_t now)
{
    ASSERT(persist_id <= raft->persist_last);
    raft_time(raft, now);
    if (persist_id <= raft->persisted) return;
    raft_log_written(raft, persist_id);
    if (raft->role == RAFT_LEADER) raft_commit_advance(raft);
}

void raft_persisted(struct raft *raft, uint64_t persist_id, uint64_t now)
{
    ASSERT(persist_id <= raft->persist_last);
    raft_time(raft, now);
    if (persist_id <= raft->persisted) return;
    raft->persisted = persist_id;
    raft_log_persisted(raft, persist_id);
    if (raft_hard_state_durable(raft)) raft->durable_term = raft->term;
    ASSERT(raft->durable_term <= raft->term);

    bool own_vote = raft->own_vote_id != 0 && raft->own_vote_id <= persist_id;
    if (own_vote && raft->role == RAFT_CANDIDATE) raft_on_own_vote_durable(raft);
    if (raft->role == RAFT_LEADER) raft_commit_advance(raft);
}
