/* quorum.c - majorities. A decision in a joint configuration needs a majority of both halves
 * (Raft thesis, 4.3); learners never count. */
#include "raft/raft_internal.h"

bool raft_member_find(const struct raft_member *members, size_t count, struct replica_id replica)
{
    for (size_t i = 0; i < count; i++) {
        if (replica_id_equal(members[i].replica, replica)) return true;
    }
    return false;
}

bool raft_is_voter(const struct raft_config *config, struct replica_id replica)
{
    return raft_member_find(config->incoming, config->incoming_count, replica) ||
           raft_member_find(config->outgoing, config->outgoing_count, replica);
}

bool raft_may_stand(const struct raft *raft)
{
    const struct raft_config *config = raft_config(raft);

    if (raft_is_voter(config, raft->self)) return true;
    bool settled = config->index <= raft->commit || raft->config_count < 2;
    return !settled && raft_is_voter(&raft->configs[raft->config_count - 2], raft->self);
}

bool raft_single_voter(const struct raft *raft)
{
    const struct raft_config *config = raft_config(raft);
    return config->incoming_count == 1 && config->outgoing_count == 0 &&
           replica_id_equal(config->incoming[0].replica, raft->self);
}

/* Adds members that are neither this replica nor listed already. */
static size_t members_add(const struct raft *raft, const struct raft_member *members, size_t count,
                          struct raft_member *list, size_t list_count)
{
    for (size_t i = 0; i < count; i++) {
        bool is_self = replica_id_equal(members[i].replica, raft->self);
        if (is_self || raft_member_find(list, list_count, members[i].replica)) continue;
        list[list_count++] = members[i];
    }
    return list_count;
}

size_t raft_other_voters(const struct raft *raft, struct raft_member *ret_voters)
{
    const struct raft_config *config = raft_config(raft);
    size_t count = members_add(raft, config->incoming, config->incoming_count, ret_voters, 0);
    count = members_add(raft, config->outgoing, config->outgoing_count, ret_voters, count);
    ASSERT(count <= RAFT_VOTERS_MAX);
    return count;
}

size_t raft_other_members(const struct raft *raft, struct raft_member *ret_members)
{
    const struct raft_config *config = raft_config(raft);
    size_t count = raft_other_voters(raft, ret_members);
    count = members_add(raft, config->learners, config->learner_count, ret_members, count);
    ASSERT(count <= RAFT_ALL_MEMBERS_MAX);
    return count;
}

static size_t count_in_set(const struct raft_member *members, size_t count,
                           const struct replica_id *set, size_t set_count)
{
    size_t found = 0;
    for (size_t i = 0; i < count; i++) {
        for (size_t j = 0; j < set_count; j++) {
            if (!replica_id_equal(members[i].replica, set[j])) continue;
            found++;
            break;
        }
    }
    return found;
}

bool raft_quorum_of_set(const struct raft_config *config, const struct replica_id *set,
                        size_t count)
{
    size_t incoming = count_in_set(config->incoming, config->incoming_count, set, count);
    size_t outgoing = count_in_set(config->outgoing, config->outgoing_count, set, count);
    bool incoming_agrees = incoming > config->incoming_count / 2u;
    bool outgoing_agrees = config->outgoing_count == 0 || outgoing > config->outgoing_count / 2u;
    return incoming_agrees && outgoing_agrees;
}

bool raft_quorum_lost(const struct raft_config *config, const struct replica_id *set, size_t count)
{
    size_t incoming = count_in_set(config->incoming, config->incoming_count, set, count);
    size_t outgoing = count_in_set(config->outgoing, config->outgoing_count, set, count);
    bool incoming_lost = config->incoming_count - incoming <= config->incoming_count / 2u;
    bool outgoing_lost = config->outgoing_count != 0 &&
                         config->outgoing_count - outgoing <= config->outgoing_count / 2u;
    return incoming_lost || outgoing_lost;
}

struct quorum_values {
    uint64_t values[RAFT_ALL_MEMBERS_MAX]; /* descending */
    size_t count;
};

static void values_insert(struct quorum_values *values, uint64_t value)
{
    ASSERT(values->count < ARRAY_COUNT(values->values));
    size_t at = values->count++;
    for (; at > 0 && values->values[at - 1] < value; at--) {
        values->values[at] = values->values[at - 1];
    }
    values->values[at] = value;
}

/* Others than this replica mostly stand in the order of the configuration (raft_progress_reset()).
 */
static const struct progress *progress_at(const struct raft *raft, size_t *at,
                                          struct replica_id replica)
{
    bool here =
        *at < raft->progress_count && replica_id_equal(raft->progress[*at].member.replica, replica);
    return here ? &raft->progress[(*at)++] : raft_progress_find(raft, replica);
}

static void values_gather(const struct raft *raft, const struct raft_member *members, size_t count,
                          uint64_t (*value)(const struct raft *, const struct progress *),
                          uint64_t self_value, struct quorum_values *values)
{
    size_t at = 0;
    for (size_t i = 0; i < count; i++) {
        if (replica_id_equal(members[i].replica, raft->self)) {
            values_insert(values, self_value);
            continue;
        }
        const struct progress *progress = progress_at(raft, &at, members[i].replica);
        values_insert(values, progress ? value(raft, progress) : 0);
    }
}

/* The (count / 2 + 1)-th greatest: a majority has at least that. */
static uint64_t value_of_half(const struct raft *raft, const struct raft_member *members,
                              size_t count,
                              uint64_t (*value)(const struct raft *, const struct progress *),
                              uint64_t self_value, bool learners_too)
{
    struct quorum_values values;
    values.count = 0; /* the others are not read before they are written */
    if (count == 0) return 0;
    values_gather(raft, members, count, value, self_value, &values);
    if (learners_too) { /* planted */
        const struct raft_config *config = raft_config(raft);
        values_gather(raft, config->learners, config->learner_count, value, self_value, &values);
    }
    ASSERT(values.count >= count);
    return values.values[count / 2];
}

uint64_t raft_quorum_value(const struct raft *raft,
                           uint64_t (*value)(const struct raft *, const struct progress *),
                           uint64_t self_value)
{
    const struct raft_config *config = raft_config(raft);
    bool learners_too = raft_bug(raft, RAFT_BUG_LEARNER_COUNTS);
    uint64_t incoming = value_of_half(raft, config->incoming, config->incoming_count, value,
                                      self_value, learners_too);
    if (config->outgoing_count == 0) return incoming;
    uint64_t outgoing = value_of_half(raft, config->outgoing, config->outgoing_count, value,
                                      self_value, learners_too);
    return incoming < outgoing ? incoming : outgoing;
}

static uint64_t value_match(const struct raft *raft, const struct progress *progress)
{
    (void)raft;
    return progress->match;
}

/* The leader's own copy counts only as far as its own disk has it (thesis, 10.2.1). */
uint64_t raft_quorum_match(const struct raft *raft)
{
    bool early = raft_bug(raft, RAFT_BUG_COUNT_SELF_EARLY);
    uint64_t own = early ? last_index(raft) : raft->durable_index;
    return raft_quorum_value(raft, value_match, own);
}

static uint64_t value_written(const struct raft *raft, const struct progress *progress)
{
    (void)raft;
    return progress->written > progress->match ? progress->written : progress->match;
}

uint64_t raft_quorum_written(const struct raft *raft)
{
    return raft_quorum_value(raft, value_written,
                             raft_log_claimable_written(raft, last_index(raft)));
}

bool raft_quorum_active_in(const struct raft *raft, const struct raft_member *members, size_t count)
{
    size_t active = 0;
    for (size_t i = 0; i < count; i++) {
        const struct progress *progress = raft_progress_find(raft, members[i].replica);
        bool is_self = replica_id_equal(members[i].replica, raft->self);
        active += is_self || (progress && raft_progress_active(raft, progress, raft->now));
    }
    return active > count / 2;
}
