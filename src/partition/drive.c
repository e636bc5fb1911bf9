/* Outputs of the Raft cores: to the log, all groups of the turn under one submit, and to
 * other nodes, all messages for one worker in shared frames. The core itself holds back what
 * must not leave before something is durable. */
#include "partition/host_internal.h"

static struct persist_wait *persist_last(struct partition_host *host)
{
    size_t at = host->persist_first + host->persist_count - 1;
    return &host->persist[at % host->persist_capacity];
}

void persist_push(struct partition_host *host, struct replica *replica, uint64_t persist_id,
                  uint64_t position, uint64_t now)
{
    if (host->persist_count == host->persist_capacity) {
        size_t capacity = host->persist_capacity == 0 ? 64 : host->persist_capacity * 2;
        struct persist_wait *ring = memory_allocate(capacity * sizeof(*ring));
        for (size_t i = 0; i < host->persist_count; i++) {
            ring[i] = host->persist[(host->persist_first + i) % host->persist_capacity];
        }
        memory_free(host->persist);
        host->persist = ring;
        host->persist_first = 0;
        host->persist_capacity = capacity;
    }
    host->persist_count++;
    *persist_last(host) = (struct persist_wait){.position = position,
                                                .replica = replica->id,
                                                .group = replica->group,
                                                .persist_id = persist_id,
                                                .queued_at = now};
}

static void persist_output(struct replica *replica, const struct raft_output *output, uint64_t now)
{
    struct partition_host *host = replica->host;
    uint64_t position = 0;
    bool patient = output->truncate_from == 0 && !output->hard_state_changed;
    if (output->truncate_from != 0) {
        position =
            log_append_truncate(host->queue, replica->group, replica->id, output->truncate_from);
        if (replica->recovered_last >= output->truncate_from)
            replica->recovered_last = output->truncate_from - 1;
        SOMETIMES(host->world, "a follower's tail was truncated");
    }
    if (output->hard_state_changed) {
        struct log_state state = {.term = output->hard_state.term,
                                  .vote = output->hard_state.vote,
                                  .commit = output->hard_state.commit};
        position = log_append_state(host->queue, replica->group, replica->id, &state);
    }
    for (size_t i = 0; i < output->entry_count; i++) {
        const struct raft_entry *entry = output->entries[i];
        struct log_entry record = {.index = entry->index,
                                   .term = entry->term,
                                   .type = entry->type,
                                   .lazy =
                                       host->written_counts && entry->type == RAFT_ENTRY_WRITTEN,
                                   .body = bytes_make(entry->body, entry->size)};
        record.patient = entry->type == RAFT_ENTRY_NORMAL && entry_is_patient(record.body) &&
                         !host->written_counts; /* lazy ones would queue behind its sync */
        patient &= record.patient;
        position = log_append_entry(host->queue, replica->group, replica->id, &record);
    }
    ASSERT(position != 0);
    persist_push(host, replica, output->persist_id, position, now);
    persist_last(host)->patient = patient;
}

static void send_message(struct replica *replica, const struct raft_message *message)
{
    struct partition_host *host = replica->host;
    if (message->type == RAFT_SNAPSHOT_OFFER) {
        snapshot_offer(replica, message);
        return;
    }
    uint32_t worker = host_remote_worker(host, message->to_node, replica->group);
    struct peer_out *out = host_peer_out(host, message->to_node, worker);
    /* An append without entries may be there to hurry what was sent before (patient.c). */
    if (message->type != RAFT_APPEND || message->entry_count == 0) out->urgent = true;
    if (!patient_is_all_of(message)) out->awaited = true;
    if (buffer_size(&out->raft) > PEER_OUT_FLUSH_BYTES) {
        peer_out_send(host, out, PEER_FRAME_RAFT, &out->raft);
    }
    enum status status = raft_message_encode(message, &out->raft);
    ASSERT(status == STATUS_OK);
}

void drive_replica(struct replica *replica, uint64_t now)
{
    /* Early, so that the memory of few entries goes round and stays warm. What this turn applies
     * stays until the next: it is still to be answered. */
    if (raft_everywhere_index(replica->raft) > replica->trimmed) replica_trim(replica, now);
    for (int rounds = 0; raft_has_output(replica->raft) && !replica->halted; rounds++) {
        struct raft_output output;
        bool long_turn = rounds >= DRIVE_ROUNDS_MAX ||
                         (rounds > 0 && MAYBE(replica->host->world, "drive on in another turn"));
        if (long_turn) {
            SOMETIMES(replica->host->world, "a replica's outputs took more than a turn");
            world_timer_start(replica->host->world, &replica->host->drive_timer, 0);
            break;
        }
        raft_take_output(replica->raft, &output);
        if (output.persist_id != 0) persist_output(replica, &output, now);
        for (size_t i = 0; i < output.message_count; i++) {
            send_message(replica, &output.messages[i]);
        }
        if (output.read_round > replica->read_round) replica->read_round = output.read_round;
        if (output.role_changed) replica_role_changed(replica, now);
        apply_committed(replica, output.commit);
        if (replica->was_leader) release_ready(replica);
        replica_leader_news(replica);
    }
    /* A flush held it back, and does not any more. */
    if (!replica->halted && replica->applied < raft_commit_index(replica->raft)) {
        apply_committed(replica, raft_commit_index(replica->raft));
        if (replica->was_leader) release_ready(replica);
    }
    if (replica->heartbeat_now) {
        replica->heartbeat_now = false;
        heartbeat_replica(replica, now);
    }
    if (replica->held_first != NULL) execute_held(replica, now);
}

/* Most answers change nothing: of the own disk and two followers' acknowledgements only the second
 * commits. A pass over a replica for nothing costs its cold memory. */
static void mark_if_changed(struct replica *replica)
{
    bool changed = raft_has_output(replica->raft) || replica->heartbeat_now ||
                   replica->held_first != NULL ||
                   replica->applied < raft_commit_index(replica->raft);
    if (changed) host_mark_dirty(replica);
}

/* Of what the log tells of now the first waited longest. What was told to be written before may be
 * left without a sync on purpose, and what is patient also waited for others. */
static void record_waited(struct partition_host *host, uint64_t position, uint64_t now)
{
    for (size_t i = host->persist_written; i < host->persist_count; i++) {
        size_t at = (host->persist_first + i) % host->persist_capacity;
        const struct persist_wait *wait = &host->persist[at];
        if (wait->position > position) return;
        if (wait->patient) continue;
        copy_record_waited(host, now - wait->queued_at, now);
        return;
    }
}

/* The log says: everything of this worker up to `position` is durable. */
void drive_durable(struct partition_host *host, uint64_t position)
{
    uint64_t now = world_now(host->world);
    host->durable_position = position;
    record_waited(host, position, now);
    if (host->birth_position != 0 && host->birth_position <= position) {
        host->birth_position = 0;
        if (host->options.events.on_born != NULL)
            host->options.events.on_born(host->options.context);
    }
    while (host->persist_count > 0) {
        struct persist_wait wait = host->persist[host->persist_first];
        if (wait.position > position) break;
        host->persist_first = (host->persist_first + 1) % host->persist_capacity;
        host->persist_count--;
        if (host->persist_written > 0) host->persist_written--;
        struct replica *replica = host_replica(host, wait.group);
        bool gone = replica == NULL || !replica_id_equal(replica->id, wait.replica);
        if (gone || replica->halted) continue;
        if (wait.persist_id == 0) {
            snapshot_log_durable(replica);
            if (replica->halted) continue; /* what it installed cannot be read */
        } else {
            raft_persisted(replica->raft, wait.persist_id, now);
        }
        replica_durable(replica);
        mark_if_changed(replica);
    }
}

/* Written, and no more. It is news for entries for which that is enough. */
void drive_written(struct partition_host *host, uint64_t position)
{
    uint64_t now = world_now(host->world);
    if (!host->written_counts) return;
    record_waited(host, position, now);
    while (host->persist_written < host->persist_count) {
        size_t at = (host->persist_first + host->persist_written) % host->persist_capacity;
        struct persist_wait wait = host->persist[at];
        if (wait.position > position) break;
        host->persist_written++;
        struct replica *replica = host_replica(host, wait.group);
        bool gone = replica == NULL || !replica_id_equal(replica->id, wait.replica);
        if (gone || replica->halted || wait.persist_id == 0) continue;
        raft_written(replica->raft, wait.persist_id, now);
        mark_if_changed(replica);
    }
}

uint64_t replica_safe_index(const struct replica *replica)
{
    uint64_t here = raft_durable_index(replica->raft);
    uint64_t quorum = raft_commit_durable_index(replica->raft);
    return here < quorum ? here : quorum;
}

void replica_durable(struct replica *replica)
{
    if (replica->flush_holds_apply) flush_replica_durable(replica);
    if (replica->sends != NULL) snapshot_durable(replica);
}

static bool is_for_this_replica(const struct replica *replica, const struct raft_message *message)
{
    return replica != NULL && !replica->halted && replica_id_equal(replica->id, message->to) &&
           !snapshot_holds_core(replica);
}

static void count_entries(struct replica *replica, const struct raft_message *message)
{
    for (uint32_t i = 0; i < message->entry_count; i++) {
        replica->entries_bytes += message->entries[i]->size;
    }
}

void drive_raft_frame(struct partition_host *host, const struct transport_peer *from,
                      struct bytes payload)
{
    struct reader reader = reader_make(payload);
    uint64_t now = world_now(host->world);
    peer_out_answered(host, from->node, from->worker);
    while (reader_left(&reader) > 0) {
        struct raft_message message;
        enum status status = raft_message_decode(&reader, host->row_memory, &message);
        if (status) {
            LOG_WARN(host_logger(host), "partition", "raft frame from node %u: %s; dropped",
                     from->node, status_text(status));
            return;
        }
        struct replica *replica = host_replica(host, message.group);
        bool is_ours = is_for_this_replica(replica, &message) && message.from_node == from->node;
        if (is_ours && space_cut_append(replica, &message)) {
            count_entries(replica, &message);
            rest_touch(replica);
            rest_disturb(replica);
            bool empty = message.type == RAFT_APPEND && message.entry_count == 0;
            raft_step(replica->raft, &message, now);
            if (raft_is_contradicted(replica->raft)) replica_contradicted(replica);
            if (empty) patient_is_awaited_elsewhere(replica);
            replica_durable(replica);
            if (!replica->halted) mark_if_changed(replica);
        }
        raft_message_clear(&message);
    }
}

/* What came doubled or was cut off again was counted too. */
static void recount_entries(struct replica *replica)
{
    uint64_t last = raft_last_index(replica->raft);
    replica->entries_bytes = 0;
    for (uint64_t i = raft_first_index(replica->raft); i <= last; i++) {
        replica->entries_bytes += raft_entry_at(replica->raft, i)->size;
    }
}

/* What no member that answers needs any more: a snapshot of the whole group to one that is only
 * slow would cost more than what is kept for it. */
static uint64_t needed_by_nobody_alive(struct replica *replica, uint64_t limit, uint64_t now)
{
    const struct raft_config *config = raft_config(replica->raft);
    const struct raft_member *lists[] = {config->incoming, config->outgoing, config->learners};
    const uint8_t counts[] = {config->incoming_count, config->outgoing_count,
                              config->learner_count};

    for (size_t list = 0; list < ARRAY_COUNT(lists); list++) {
        for (size_t i = 0; i < counts[list]; i++) {
            struct replica_id id = lists[list][i].replica;
            bool active = false;
            uint64_t match = raft_match_of(replica->raft, id, now, &active);
            uint64_t sent = snapshot_index_sent(replica, id);
            if (sent > match) match = sent; /* it goes on behind that one */
            if (active && match < limit) limit = match;
        }
    }
    return limit;
}

/* Entries that everybody has, or that cost too much, leave memory; a member that still needs
 * one gets a snapshot. For members that answer more is kept, within bounds. Never above what is
 * applied. */
void replica_trim(struct replica *replica, uint64_t now)
{
    uint64_t applied = replica->applied;
    uint64_t durable = replica_safe_index(replica);
    uint64_t limit = applied < durable ? applied : durable;
    uint64_t target = raft_everywhere_index(replica->raft);
    if (target > limit) target = limit;
    uint64_t bytes_max = memory_entries_bytes_max(replica->host);
    if (replica->entries_bytes > bytes_max) recount_entries(replica);
    bool leads = raft_role(replica->raft) == RAFT_LEADER;
    bool reserve_full = replica->entries_bytes > ENTRIES_RESERVE_FACTOR * bytes_max;
    if (replica->entries_bytes > bytes_max)
        target = leads && !reserve_full ? needed_by_nobody_alive(replica, limit, now) : limit;
    if (target <= replica->trimmed) return;
    for (uint64_t i = replica->trimmed + 1; i <= target; i++) {
        const struct raft_entry *entry = raft_entry_at(replica->raft, i);
        if (entry == NULL) continue;
        uint64_t size = entry->size;
        replica->entries_bytes -= size < replica->entries_bytes ? size : replica->entries_bytes;
    }
    raft_trim(replica->raft, target);
    replica->trimmed = target;
}
