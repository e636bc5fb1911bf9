/* Committed entries into rows and windows, on every replica alike: blind and pure (FAULTS
 * rule 3). And what a change of role means for a replica (A1, A4). */
#include "partition/host_internal.h"

/* True: this leader evaluated the entry itself, its rows stand in the table as proposed. */
static bool is_own_proposal(const struct replica *replica, const struct raft_entry *entry)
{
    return replica->was_leader && entry->term == replica->led_term;
}

static enum status apply_effects(struct replica *replica, struct reader *reader, uint64_t index,
                                 bool own)
{
    struct effect effect;
    enum status status;
    if (own && index > replica->fence_proposed) return STATUS_OK; /* nothing is left to do */
    while ((status = effect_decode(reader, &effect)) == STATUS_OK) {
        if (effect.kind == EFFECT_FENCE) {
            dedup_fence(replica->dedup, effect.node, effect.epoch);
        } else if (effect.kind == EFFECT_CUT) {
            replica->cut_effect = effect;
        } else if (!own && !PLANTED(replica->host->world, "apply_drops_effects")) {
            effect_apply(&effect, index, false, replica->table);
        }
    }
    return status == STATUS_NOT_FOUND ? STATUS_OK : status;
}

static enum status apply_normal(struct replica *replica, const struct raft_entry *entry)
{
    struct reader reader = reader_make(bytes_make(entry->body, entry->size));
    struct entry_header header;
    bool own = is_own_proposal(replica, entry);
    enum status status = entry_header_decode(&reader, &header);
    if (status) return status;
    status = apply_effects(replica, &reader, entry->index, own);
    if (status) return status;
    replica->cut_gateway = header.gateway;
    if (header.gateway.node != 0) dedup_apply(replica->dedup, &header, entry->index);
    if (header.entry_time > replica->entry_time) replica->entry_time = header.entry_time;
    if (header.entry_time > replica->applied_time) replica->applied_time = header.entry_time;
    if (own) {
        ASSERT(replica->uncommitted_bytes >= entry->size);
        replica->uncommitted_bytes -= entry->size;
    }
    return STATUS_OK;
}

static enum status apply_entry(struct replica *replica, const struct raft_entry *entry)
{
    switch (entry->type) {
    case RAFT_ENTRY_NORMAL:
    case RAFT_ENTRY_WRITTEN:
        return apply_normal(replica, entry);
    case RAFT_ENTRY_CONFIG: /* the core has acted on it */
        remove_config_applied(replica, entry->index);
        return STATUS_OK;
    case RAFT_ENTRY_NOOP: /* ours: only now all that earlier leaders wrote, and when, is known */
        if (!is_own_proposal(replica, entry)) return STATUS_OK;
        replica_time_start(replica, world_now(replica->host->world));
        return txn_leads(replica) ? STATUS_OK : STATUS_CORRUPT;
    default:
        return STATUS_VERSION; /* unknown: stop, never skip (WHY 13.1) */
    }
}

/* The table is as of this entry, with nothing behind it. */
static void reach_cut(struct replica *replica)
{
    if (replica->was_leader) row_table_commit(replica->table, replica->applied);
    cut_applied(replica, &replica->cut_effect, replica->cut_gateway, replica->applied);
    replica->cut_effect = (struct effect){.kind = 0};
}

static void apply_up_to(struct replica *replica, uint64_t commit)
{
    struct partition_host *host = replica->host;
    uint64_t before = replica->applied;
    if (replica->flush_holds_apply) return; /* flush.c: until the own disk has caught up */
    while (replica->applied < commit && !replica->halted) {
        const struct raft_entry *entry = raft_entry_at(replica->raft, replica->applied + 1);
        ASSERT(entry != NULL && entry->index == replica->applied + 1);
        enum status status = apply_entry(replica, entry);
        if (status) {
            LOG_ERROR(host_logger(host), "partition",
                      "entry cannot be applied group=%u index=%llu: %s;"
                      " this replica stops. Run the version of Holon that wrote it",
                      replica->group.value, (unsigned long long)entry->index, status_text(status));
            replica_halt(replica, "an entry cannot be applied");
            return;
        }
        replica->applied = entry->index;
        replica->applied_term = entry->term;
        if (replica->cut_effect.kind != 0) reach_cut(replica);
    }
    if (replica->applied == before) return;
    if (replica->was_leader) row_table_commit(replica->table, replica->applied);
    if (replica->sample_light && replica->sample_index <= replica->applied) {
        replica->sample_light = false;
        bool in_turn = replica->sample_at > host->turn_time;
        governor_light(&host->governor, in_turn ? host->turn_time : replica->sample_at,
                       host->turn_time);
    }
    host->statistics.entries_applied += replica->applied - before;
    raft_applied(replica->raft, replica->applied);
    if (replica->txn_proposed > replica->txn_told) txn_applied(replica);
    if (replica->group.value == GROUP_META && host->options.events.on_meta_applied != NULL) {
        host->options.events.on_meta_applied(host->options.context);
    }
}

void apply_committed(struct replica *replica, uint64_t commit)
{
    while (replica->verify_at <= commit && !replica->halted) {
        uint64_t index = replica->verify_at;
        apply_up_to(replica, index);
        if (replica->applied < index || replica->halted) return;
        verify_reached(replica);
    }
    apply_up_to(replica, commit);
}

static void step_down(struct replica *replica)
{
    struct partition_host *host = replica->host;
    LOG_DEBUG(host_logger(host), "partition", "stepped down group=%u term=%llu",
              replica->group.value, (unsigned long long)replica->led_term);
    SOMETIMES(host->world, "a leader stepped down");
    if (raft_last_index(replica->raft) > replica->applied) {
        SOMETIMES(host->world, "a leader stepped down with entries in flight");
    }
    replica->was_leader = false;
    if (!PLANTED(host->world, "keep_overlay_on_stepdown")) {
        row_table_revert(replica->table);
        dedup_revert(replica->dedup);
    }
    cut_unfreeze(replica);
    chore_stops(replica);
    txn_stops(replica);
    verify_leader_gone(replica);
    leader_state_drop(replica, true);
    snapshot_sends_drop(replica);
}

static void step_up(struct replica *replica, uint64_t now)
{
    struct partition_host *host = replica->host;
    replica->was_leader = true;
    if (!PLANTED(host->world, "ready_from_before")) replica->was_ready = false;
    replica->led_term = raft_term(replica->raft);
    replica->led_since = now;
    replica->released = replica->applied;
    replica->uncommitted_bytes = 0;
    replica->proposed_time = INT64_MIN;
    replica_time_start(replica, now);
    host->statistics.elections++;
    if (PLANTED(host->world, "forget_window")) dedup_forget_all(replica->dedup);
    heartbeat_replica(replica, now);
    host_poll_ready(host);
    chore_leads(replica, now);
    LOG_DEBUG(host_logger(host), "partition", "leads group=%u term=%llu", replica->group.value,
              (unsigned long long)replica->led_term);
}

void replica_role_changed(struct replica *replica, uint64_t now)
{
    bool leads = raft_role(replica->raft) == RAFT_LEADER;
    rest_withdraw(replica); /* another leader, or none */
    rest_disturb(replica);
    bool same = leads && replica->was_leader && replica->led_term == raft_term(replica->raft);
    if (same) return;
    if (replica->was_leader) step_down(replica);
    if (leads) step_up(replica, now);
}

/* Tells the node who leads now, if that changed. A leader counts once it may evaluate. */
void replica_leader_news(struct replica *replica)
{
    struct partition_host *host = replica->host;
    node_id_t leader = raft_leader(replica->raft).node;
    uint64_t term = raft_term(replica->raft);
    if (raft_role(replica->raft) == RAFT_LEADER) leader = host->options.node;
    if (replica->halted) leader = 0;
    if (leader == replica->known_leader && term == replica->known_leader_term) return;
    bool quiet = leader == 0 && replica->known_leader == 0;
    replica->known_leader = leader;
    replica->known_leader_term = term;
    if (quiet || host->options.events.on_leader == NULL) return;
    host->options.events.on_leader(host->options.context, replica->group, leader, term);
}
