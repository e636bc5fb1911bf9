/* config.c - configurations: their history along the log, and changes (Raft thesis, 4).
 *
 *   C_old --(at most one voter differs)------------------------> C_new
 *   C_old --> C_old,new --(committed: the leader goes on)--> C_new
 *
 * A configuration is in force as soon as it is appended and no more once it is truncated, so
 * every replica keeps those of its log, and the one before. */
#include "raft/raft_internal.h"

const struct raft_config *raft_config(const struct raft *raft)
{
    ASSERT(raft->config_count > 0);
    return &raft->configs[raft->config_count - 1];
}

const struct raft_config *raft_config_at(const struct raft *raft, uint64_t index)
{
    size_t at = raft->config_count - 1;
    ASSERT(index >= raft->base_index);
    while (at > 0 && raft->configs[at].index > index)
        at--;
    return &raft->configs[at];
}

/* --- history --- */

static void history_add(struct raft *raft, const struct raft_config *config)
{
    ASSERT(raft->config_count == 0 || config->index > raft_config(raft)->index);
    if (raft->config_count == raft->config_capacity) {
        raft->config_capacity = raft->config_capacity ? raft->config_capacity * 2 : 2;
        raft->configs =
            memory_resize(raft->configs, raft->config_capacity * sizeof(*raft->configs));
    }
    raft->configs[raft->config_count++] = *config;
}

bool raft_config_of_entry(const struct raft_entry *entry, struct raft_config *ret_config)
{
    ASSERT(entry->type == RAFT_ENTRY_CONFIG);
    struct raft_config config;
    if (raft_config_decode(bytes_make(entry->body, entry->size), &config)) return false;
    if (config.incoming_count == 0) return false;
    config.index = entry->index;
    *ret_config = config;
    return true;
}

enum status raft_config_history_open(struct raft *raft, const struct raft_config *config)
{
    ASSERT(raft->config_count == 0);
    ASSERT(config->index <= raft->base_index);
    history_add(raft, config);
    for (size_t i = 0; i < raft->count; i++) {
        const struct raft_entry *entry = raft->entries[raft->start + i];
        struct raft_config of_entry;
        if (entry->type != RAFT_ENTRY_CONFIG) continue;
        if (!raft_config_of_entry(entry, &of_entry)) return STATUS_CORRUPT;
        history_add(raft, &of_entry);
    }
    return STATUS_OK;
}

void raft_config_push(struct raft *raft, const struct raft_config *config)
{
    ASSERT(config->incoming_count > 0);
    history_add(raft, config);
    raft->config_changed = true;
    if (raft->role == RAFT_LEADER) raft_progress_update(raft);
}

void raft_config_truncate(struct raft *raft, uint64_t from_index)
{
    ASSERT(raft->role != RAFT_LEADER);
    while (raft->config_count > 1 && raft_config(raft)->index >= from_index) {
        raft->config_count--;
        raft->config_changed = true;
    }
    ASSERT(raft_config(raft)->index < from_index);
}

void raft_config_trim(struct raft *raft)
{
    size_t dropped = 0;
    while (dropped + 1 < raft->config_count && raft->configs[dropped + 1].index <= raft->base_index)
        dropped++;
    if (dropped == 0) return;
    raft->config_count -= dropped;
    memmove(raft->configs, raft->configs + dropped, raft->config_count * sizeof(*raft->configs));
    ASSERT(raft->config_count > 0);
}

void raft_config_restart(struct raft *raft, const struct raft_config *config)
{
    ASSERT(config->index <= raft->base_index);
    size_t kept = 1;
    struct raft_config of_snapshot = *config; /* may be the caller's copy of our own */
    for (size_t i = 0; i < raft->config_count; i++) {
        uint64_t index = raft->configs[i].index;
        bool behind = index > raft->base_index && index <= last_index(raft);
        /* One that is kept was pushed after the first, so it never moves to the right. */
        if (behind) raft->configs[kept++] = raft->configs[i];
    }
    raft->configs[0] = of_snapshot;
    raft->config_count = kept;
    raft->config_changed = true;
    ASSERT(kept <= raft->config_capacity);
}

/* --- changes --- */

static void append_config(struct raft *raft, struct raft_config config)
{
    struct buffer buffer;
    buffer_init(&buffer, 4096);
    config.index = last_index(raft) + 1;
    raft_config_encode(&config, &buffer);

    struct bytes body = buffer_bytes(&buffer);
    struct raft_entry *entry = raft_entry_make(NULL, RAFT_ENTRY_CONFIG, (uint32_t)body.size);
    memcpy(entry->body, body.data, body.size);
    uint64_t index = raft_append_own(raft, entry);
    ASSERT(index == config.index);
    buffer_free(&buffer);
    raft_config_push(raft, &config);
}

void raft_config_advance(struct raft *raft)
{
    if (raft->role != RAFT_LEADER) return;
    const struct raft_config *config = raft_config(raft);
    bool committed = config->index <= raft->commit && raft->noop_index <= raft->commit;
    if (!committed) return;
    if (config->outgoing_count > 0) {
        if (raft_transferring(raft)) return; /* the next leader goes on */
        struct raft_config final = *config;
        final.outgoing_count = 0;
        append_config(raft, final);
        ASSERT(raft_config(raft)->outgoing_count == 0);
    } else if (!raft_is_voter(config, raft->self)) {
        raft_transfer_away(raft); /* thesis, 4.2.2 */
    }
}

static bool members_distinct(const struct raft_member *members, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (members[i].replica.value == 0 || members[i].node == 0) return false;
        if (raft_member_find(members, i, members[i].replica)) return false;
    }
    return true;
}

/* NULL, or what is wrong with the target itself. */
static const char *target_fault(const struct raft_config *target)
{
    if (target->outgoing_count != 0) return "the target is itself a joint configuration";
    if (target->incoming_count == 0) return "no voter would be left";
    if (target->incoming_count > RAFT_MEMBERS_MAX || target->learner_count > RAFT_MEMBERS_MAX)
        return "too many members";
    if (!members_distinct(target->incoming, target->incoming_count) ||
        !members_distinct(target->learners, target->learner_count))
        return "a member is listed twice or has no id";
    for (size_t i = 0; i < target->learner_count; i++) {
        if (raft_is_voter(target, target->learners[i].replica))
            return "a member is both voter and learner";
    }
    return NULL;
}

/* M-2: a voter that joins must be a learner which has nearly all and answers now. */
static const char *promotion_fault(const struct raft *raft, const struct raft_config *target)
{
    const struct raft_config *config = raft_config(raft);
    for (size_t i = 0; i < target->incoming_count; i++) {
        struct replica_id replica = target->incoming[i].replica;
        if (raft_is_voter(config, replica)) continue;
        const struct progress *progress = raft_progress_find(raft, replica);
        if (progress == NULL) return "a new voter must be added as a learner first";
        if (!raft_progress_active(raft, progress, raft->now))
            return "the learner to promote has not answered lately";
        if (progress->match + RAFT_PROMOTE_LAG_MAX < last_index(raft))
            return "the learner to promote has not caught up";
        /* So whoever votes knows that it does: a replica with nothing was never a voter. */
        if (progress->match < config->index)
            return "the learner to promote has not got the configuration that added it";
    }
    return NULL;
}

/* NULL, or why no change may begin now. */
static const char *moment_fault(const struct raft *raft)
{
    const struct raft_config *config = raft_config(raft);
    if (config->outgoing_count != 0 || config->index > raft->commit)
        return "another change is in progress";
    if (raft->noop_index > raft->commit) return "no entry of this term is committed yet";
    if (raft_transferring(raft)) return "leadership is being handed over";
    /* Two changes could lead to voters that owe the former leader nothing. */
    if (raft->now < raft->evaluate_after) return "the former leader's lease may still run";
    return NULL;
}

static size_t voters_missing(const struct raft_config *from, const struct raft_config *in)
{
    size_t missing = 0;
    for (size_t i = 0; i < from->incoming_count; i++) {
        missing += !raft_member_find(in->incoming, in->incoming_count, from->incoming[i].replica);
    }
    return missing;
}

enum status raft_propose_config(struct raft *raft, const struct raft_config *target,
                                uint64_t based_on_index, struct error *error)
{
    if (raft->role != RAFT_LEADER) return error_set(error, STATUS_NOT_LEADER, "not the leader");
    const struct raft_config *config = raft_config(raft);
    if (config->index != based_on_index) {
        return error_set(error, STATUS_REFUSED,
                         "the change is based on configuration %llu but %llu is in force",
                         (unsigned long long)based_on_index, (unsigned long long)config->index);
    }
    const char *fault = target_fault(target);
    if (fault == NULL) fault = moment_fault(raft);
    if (fault == NULL) fault = promotion_fault(raft, target);
    if (fault == NULL && !raft_quorum_active_in(raft, target->incoming, target->incoming_count))
        fault = "too few of the voters that would be left answer";
    if (fault != NULL) return error_set(error, STATUS_REFUSED, "%s", fault);

    struct raft_config next = *target;
    bool joint = voters_missing(config, target) + voters_missing(target, config) > 1;
    if (joint) {
        next.outgoing_count = config->incoming_count;
        memcpy(next.outgoing, config->incoming, sizeof(next.outgoing));
    }
    append_config(raft, next);
    ASSERT(raft_config(raft)->index == last_index(raft));
    return STATUS_OK;
}
