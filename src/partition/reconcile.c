/* From the members a group has to those that meta wishes for (DESIGN.md 7): a new replica
 * joins as a learner, is filled, and swaps in for the old one by a joint change. The group's
 * own configuration is the truth; every step is a compare-and-set on its index (WHY 6.3). */
#include "partition/host_internal.h"

enum {
    CAUGHT_UP_ENTRIES = 64,
    VOTERS_LEFT_MIN = 2,
    SPACE_SETTLED_US = 1000 * 1000,
    TELL_AGAIN_US = 1000 * 1000,
    CROWDED_US = 2 * 1000 * 1000,
    UNHEARD_US = 5 * 1000 * 1000, /* doubled with each try */
    UNHEARD_DOUBLINGS = 6,
    SETTLED_US = 10 * 1000 * 1000, /* a leader stays at least that long before it hands over */
};

static bool contains(const struct raft_member *members, uint32_t count, struct replica_id id)
{
    for (uint32_t i = 0; i < count; i++) {
        if (replica_id_equal(members[i].replica, id)) return true;
    }
    return false;
}

static bool caught_up(struct replica *replica, struct replica_id id, uint64_t now)
{
    bool active = false;
    uint64_t match = raft_match_of(replica->raft, id, now, &active);
    return active && match + CAUGHT_UP_ENTRIES >= raft_last_index(replica->raft) &&
           match >= raft_config(replica->raft)->index;
}

/* Ids of replicas rise. A group that has a member with an id that the table here does not know of
 * yet has been changed by who knew a newer one: an old table takes nothing back. */
static bool table_is_older(const struct replica *replica, const struct raft_config *config)
{
    const struct raft_member *lists[] = {config->incoming, config->learners};
    const uint32_t counts[] = {config->incoming_count, config->learner_count};
    for (uint32_t list = 0; list < 2; list++)
        for (uint32_t i = 0; i < counts[list]; i++)
            if (lists[list][i].replica.value >= replica->wish_ids_end) return true;
    return false;
}

/* Learners that nobody wishes for any more would fill the places of others. */
static bool remove_learners(const struct replica *replica, struct raft_config *target)
{
    uint8_t kept = 0;
    for (uint32_t i = 0; i < target->learner_count; i++) {
        if (contains(replica->wish, replica->wish_count, target->learners[i].replica))
            target->learners[kept++] = target->learners[i];
    }
    bool changed = kept < target->learner_count;
    target->learner_count = kept;
    if (changed) SOMETIMES(replica->host->world, "a learner that nobody wishes for was removed");
    return changed;
}

/* Learners that are wished for and missing, added; true if the target differs. */
static bool add_learners(const struct replica *replica, struct raft_config *target)
{
    bool changed = false;
    for (uint32_t i = 0; i < replica->wish_count; i++) {
        const struct raft_member *member = &replica->wish[i];
        bool known = contains(target->incoming, target->incoming_count, member->replica) ||
                     contains(target->learners, target->learner_count, member->replica);
        if (known || target->learner_count >= RAFT_MEMBERS_MAX) continue;
        target->learners[target->learner_count++] = *member;
        changed = true;
    }
    return changed;
}

static const struct raft_member *wish_for_node(const struct replica *replica, node_id_t node)
{
    for (uint32_t i = 0; i < replica->wish_count; i++)
        if (replica->wish[i].node == node) return &replica->wish[i];
    return NULL;
}

/* A voter that runs where its successor has to: a node has one replica of a group, and the old one
 * goes only once a committed configuration has removed it (FAULTS rule 8). Two that have caught up
 * must be left: with one, what is acknowledged until the successor is filled would lie on one disk
 * (decision 0008). */
static bool make_room(struct replica *replica, struct raft_config *target, uint64_t now)
{
    for (uint32_t i = 0; i < target->incoming_count; i++) {
        const struct raft_member old = target->incoming[i];
        const struct raft_member *successor = wish_for_node(replica, old.node);
        bool runs = false, born = false;
        uint32_t sound = 0;
        if (successor == NULL || successor->replica.value <= old.replica.value) continue;
        raft_match_of(replica->raft, old.replica, now, &runs);
        raft_match_of(replica->raft, successor->replica, now, &born);
        if (!runs || born) continue;
        for (uint32_t k = 0; k < target->incoming_count; k++)
            sound += k != i && caught_up(replica, target->incoming[k].replica, now);
        if (sound < VOTERS_LEFT_MIN || sound + 1 < target->incoming_count) continue;
        target->incoming[i] = target->incoming[--target->incoming_count];
        SOMETIMES(replica->host->world, "a sound replica was removed for its successor");
        return true;
    }
    return false;
}

/* The voter of that node, if it runs; NULL. */
static const struct raft_member *voter_that_runs(const struct replica *replica,
                                                 const struct raft_config *config, node_id_t node,
                                                 uint64_t now)
{
    for (uint32_t i = 0; i < config->incoming_count; i++) {
        bool runs = false;
        if (config->incoming[i].node != node) continue;
        raft_match_of(replica->raft, config->incoming[i].replica, now, &runs);
        if (runs) return &config->incoming[i];
    }
    return NULL;
}

/* All wished-for members are voters or learners that have caught up: swap to the wish. One whose
 * predecessor still runs in its place holds up nobody else: make_room() removes that only when
 * enough others are voters. */
static bool swap_voters(struct replica *replica, struct raft_config *target, uint64_t now)
{
    const struct raft_config old = *target;
    bool same = old.incoming_count == replica->wish_count, waits = false;
    target->incoming_count = target->learner_count = 0;
    for (uint32_t i = 0; i < replica->wish_count; i++) {
        const struct raft_member *member = &replica->wish[i];
        bool voter = contains(old.incoming, old.incoming_count, member->replica);
        if (!voter && !caught_up(replica, member->replica, now)) {
            member = voter_that_runs(replica, &old, member->node, now);
            if (member == NULL) return false;
            voter = waits = true;
        }
        same = same && voter;
        target->incoming[target->incoming_count++] = *member;
    }
    for (uint32_t i = 0; waits && i < old.learner_count; i++)
        if (!contains(target->incoming, target->incoming_count, old.learners[i].replica))
            target->learners[target->learner_count++] = old.learners[i];
    bool changed = !same || target->learner_count != old.learner_count;
    if (changed && waits)
        SOMETIMES(replica->host->world, "a successor waited, and others became voters");
    return changed;
}

/* The table names the preferred leader first; after a failure leadership goes back to it once
 * things have settled, one group a tick, so that load is spread as the table spreads it. */
static void hand_to_preferred(struct replica *replica, uint64_t now)
{
    struct partition_host *host = replica->host;
    const struct raft_config *config = raft_config(replica->raft);
    struct replica_id preferred = replica->wish[0].replica;
    bool due = !replica_id_equal(preferred, replica->id) && now - replica->led_since > SETTLED_US &&
               host->handed_at_tick != host->ticks && !host->transfer_all &&
               !space_is_low(host, replica->wish[0].node) &&
               contains(config->incoming, config->incoming_count, preferred) &&
               !snapshot_node_is_filled(host, replica->wish[0].node) &&
               !slow_disk_of(host, replica->wish[0].node, replica->group) &&
               caught_up(replica, preferred, now);
    if (!due) return;
    host->handed_at_tick = host->ticks;
    replica->led_since = now; /* if it is not taken: not again at once */
    if (raft_transfer(replica->raft, preferred, now) == STATUS_OK) {
        SOMETIMES(host->world, "leadership went back to the preferred replica");
        host_mark_dirty(replica);
    }
}

/* A leader with a full disk refuses writes that a follower with space could lead. */
static bool hand_to_space(struct replica *replica, uint64_t now)
{
    struct partition_host *host = replica->host;
    const struct raft_config *config = raft_config(replica->raft);
    bool due = space_is_low_here(host) && !host->transfer_all &&
               host->handed_at_tick != host->ticks && now - replica->led_since > SPACE_SETTLED_US;
    if (!due) return false;
    for (uint32_t i = 0; i < config->incoming_count; i++) {
        const struct raft_member *member = &config->incoming[i];
        if (space_is_low(host, member->node) || !caught_up(replica, member->replica, now)) continue;
        host->handed_at_tick = host->ticks;
        replica->led_since = now;
        if (raft_transfer(replica->raft, member->replica, now) != STATUS_OK) return false;
        SOMETIMES(host->world, "a leader with a full disk handed over");
        host_mark_dirty(replica);
        return true;
    }
    return false;
}

/* In the wish, or its end. */
static uint32_t own_place(const struct replica *replica)
{
    uint32_t i = 0;
    while (i < replica->wish_count && !replica_id_equal(replica->wish[i].replica, replica->id))
        i++;
    return i;
}

/* Who is wished for may hear another member though not this leader (F43), and nobody else fills or
 * promotes it: so another one leads. Each time later, for it may be dead. */
static bool hand_to_hearer(struct replica *replica, const struct raft_config *config, uint64_t now)
{
    struct partition_host *host = replica->host;
    bool all_heard = !replica->wish_tell || replica->sends != NULL;
    if (all_heard) return false; /* nobody waits; or another one would begin to fill anew */
    all_heard = true;
    for (uint32_t i = 0; i < replica->wish_count; i++) {
        bool heard = false;
        if (contains(config->incoming, config->incoming_count, replica->wish[i].replica)) continue;
        raft_match_of(replica->raft, replica->wish[i].replica, now, &heard);
        all_heard = all_heard && heard;
    }
    if (all_heard) {
        replica->unheard_since = 0;
        return false;
    }
    if (replica->unheard_since == 0) replica->unheard_since = now;
    uint64_t wait = (uint64_t)UNHEARD_US << replica->unheard_tries;
    if (now - replica->unheard_since < wait || host->handed_at_tick == host->ticks) return false;
    for (uint32_t k = 0; k < replica->wish_count; k++) {
        uint32_t i = (own_place(replica) + 1 + k) % replica->wish_count; /* all in turn */
        struct replica_id heir = replica->wish[i].replica;
        if (replica_id_equal(heir, replica->id) || space_is_low(host, replica->wish[i].node) ||
            !contains(config->incoming, config->incoming_count, heir) ||
            !caught_up(replica, heir, now) || raft_transfer(replica->raft, heir, now) != STATUS_OK)
            continue;
        SOMETIMES(host->world, "a leader handed over to one that may hear a new member");
        host->handed_at_tick = host->ticks;
        replica->unheard_since = 0;
        if (replica->unheard_tries < UNHEARD_DOUBLINGS) replica->unheard_tries++;
        host_mark_dirty(replica);
        return true;
    }
    return false;
}

static bool is_as_wished(const struct replica *replica, const struct raft_config *config)
{
    bool same = config->outgoing_count == 0 && config->learner_count == 0 &&
                config->incoming_count == replica->wish_count;

    for (uint32_t i = 0; i < replica->wish_count && same; i++)
        same = contains(config->incoming, config->incoming_count, replica->wish[i].replica);
    return same;
}

static bool all_are_known(const struct replica *replica, const struct raft_config *config)
{
    for (uint32_t i = 0; i < replica->wish_count; i++)
        if (!contains(config->incoming, config->incoming_count, replica->wish[i].replica) &&
            !contains(config->learners, config->learner_count, replica->wish[i].replica))
            return false;
    return true;
}

bool reconcile_is_done(const struct replica *replica)
{
    const struct raft_config *config = raft_config(replica->raft);
    if (!replica->wish_known || replica->wish_count == 0)
        return config->outgoing_count == 0 && config->learner_count == 0;
    return is_as_wished(replica, config) && !replica->wish_tell &&
           replica_id_equal(replica->wish[0].replica, replica->id);
}

/* Whoever holds the table waits for this before it moves more. */
static void tell_settled(struct replica *replica, const struct raft_config *config, uint64_t now)
{
    const struct partition_host *host = replica->host;
    bool done = is_as_wished(replica, config) && config->index <= raft_commit_index(replica->raft);
    if (PLANTED(host->world, "settled_early")) done = all_are_known(replica, config);
    bool again = replica->settled_at == 0 || now - replica->settled_at >= TELL_AGAIN_US;
    if (!done || !again || host->options.events.on_settled == NULL) return;
    replica->settled_at = now;
    host->options.events.on_settled(host->options.context, replica->group, replica->wish_number);
}

/* A mind was changed while a group was on its way, or a node got a new id for a replica that is
 * sound: its successor has no room (make_room()), where the voters are too few; or an older one was
 * kept that has been removed meanwhile. Whoever wishes may keep what runs. */
static void tell_kept(struct replica *replica, const struct raft_config *config, uint64_t now)
{
    const struct partition_host *host = replica->host;
    const struct raft_member *kept = NULL;
    for (uint32_t i = 0; i < config->incoming_count && kept == NULL; i++) {
        const struct raft_member *old = &config->incoming[i];
        const struct raft_member *successor = wish_for_node(replica, old->node);
        bool born = false;
        if (successor == NULL || replica_id_equal(successor->replica, old->replica)) continue;
        raft_match_of(replica->raft, successor->replica, now, &born);
        if (!born && caught_up(replica, old->replica, now)) kept = old;
    }
    if (kept == NULL || config->index > raft_commit_index(replica->raft)) {
        replica->crowded_since = 0;
        return;
    }
    if (replica->crowded_since == 0) replica->crowded_since = now;
    bool again = replica->kept_at == 0 || now - replica->kept_at >= TELL_AGAIN_US;
    if (now - replica->crowded_since < CROWDED_US || !again) return;
    if (host->options.events.on_kept == NULL) return;
    replica->kept_at = now;
    SOMETIMES(host->world, "a leader asked for a replica to be kept that there is no room beside");
    host->options.events.on_kept(host->options.context, replica->group, replica->wish_number, kept);
}

void reconcile_tick(struct replica *replica, uint64_t now)
{
    const struct raft_config *config = raft_config(replica->raft);
    if (raft_role(replica->raft) != RAFT_LEADER) {
        replica->unheard_since = replica->crowded_since = 0; /* of a leadership that is over */
        return;
    }
    bool idle = replica->wish_known && replica->wish_count > 0 && config->outgoing_count == 0 &&
                raft_can_evaluate(replica->raft, now);
    if (!idle) return;
    struct raft_config target = *config;
    if (table_is_older(replica, config)) return;
    bool changed = remove_learners(replica, &target);
    changed |= add_learners(replica, &target);
    changed = changed || make_room(replica, &target, now) || swap_voters(replica, &target, now);
    if (!changed) {
        bool settled = is_as_wished(replica, config);
        if (replica->wish_tell) tell_settled(replica, config, now);
        if (!settled) tell_kept(replica, config, now);
        if (hand_to_space(replica, now) || hand_to_hearer(replica, config, now)) return;
        if (settled || !contains(replica->wish, replica->wish_count, replica->id))
            hand_to_preferred(replica, now);
        return;
    }
    struct error error;
    enum status status = raft_propose_config(replica->raft, &target, config->index, &error);
    if (status == STATUS_OK) {
        SOMETIMES(replica->host->world, "a configuration was changed");
        LOG_INFO(host_logger(replica->host), "partition",
                 "configuration change group=%u voters=%u learners=%u", replica->group.value,
                 target.incoming_count, target.learner_count);
        host_mark_dirty(replica);
    }
}
