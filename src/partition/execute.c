/* Requests at the leader of a partition: whose turn it is (sessions, B5), what was done
 * already (B3, B4), evaluation (A2, A6) and the proposal of what it changed. */
#include <stdio.h>

#include "base/hash.h"
#include "partition/host_internal.h"

static uint64_t session_key(struct gateway_id gateway)
{
    return ((uint64_t)gateway.node << 16) | gateway.worker;
}

static struct session *session_find(struct replica *replica, struct gateway_id gateway, bool local)
{
    struct session *session = replica->session_last;
    bool same = session != NULL && session->gateway.node == gateway.node &&
                session->gateway.worker == gateway.worker;
    if (!same) session = map_get(&replica->sessions, session_key(gateway));
    if (session == NULL) {
        session = memory_allocate_lines(sizeof(*session));
        map_put(&replica->sessions, session_key(gateway), session);
    }
    replica->session_last = session;
    if (session->gateway.epoch < gateway.epoch) {
        cold_drop_session(replica, session);
        *session = (struct session){.gateway = gateway, .local = local};
    }
    return session;
}

/* Leads, and may evaluate: own no-op applied, promises run out (A1, D1). */
bool replica_may_evaluate(const struct replica *replica, uint64_t now)
{
    if (raft_role(replica->raft) != RAFT_LEADER) return false;
    if (PLANTED(replica->host->world, "evaluate_before_noop")) return true;
    /* Once is enough for a term. */
    if (replica->was_ready && replica->led_term == raft_term(replica->raft)) return true;
    return raft_can_evaluate(replica->raft, now);
}

/* D3: the wall clock is taken once, at election, and advanced by the boot clock. A leader whose
 * wall clock is behind that of its predecessor goes on from the last entry's time instead of
 * letting time stand still until its own clock gets there. Called again when its no-op is applied,
 * before it evaluates anything: the last entries may have been applied after its election. */
void replica_time_start(struct replica *replica, uint64_t now)
{
    int64_t wall = wall_trusted(replica->host, now) - (int64_t)now;
    int64_t last = replica->entry_time - (int64_t)now;
    replica->time_offset = wall > last ? wall : last;
    replica->time_corrected_at = now;
    replica->time_started = replica_time(replica, now);
}

/* Called now and then: slews towards the wall clock by less than a tenth of the time since, so that
 * it is no more in any ten seconds either; and not by more than what groups at rest are called
 * apart. */
void replica_time_correct(struct replica *replica, uint64_t now)
{
    uint64_t heartbeat = replica->host->options.timing.heartbeat;
    uint64_t most = heartbeat * SLOW_TICKS * SELDOM_FACTOR * IDLE_FACTOR;
    uint64_t since = now > replica->time_corrected_at ? now - replica->time_corrected_at : 0;
    int64_t limit = (int64_t)((since < most ? since : most) / 11);
    replica->time_corrected_at = now;
    int64_t wall = wall_trusted(replica->host, now) - (int64_t)now;
    int64_t off = wall - replica->time_offset;
    if (off > limit) off = limit;
    if (off < -limit) off = -limit;
    replica->time_offset += off;
}

int64_t replica_time(struct replica *replica, uint64_t now)
{
    int64_t time = (int64_t)now + replica->time_offset;
    return time > replica->entry_time ? time : replica->entry_time;
}

static void hold_section(struct replica *replica, struct gateway_id from, bool local,
                         const struct request_section *section, struct reader *items, uint64_t now)
{
    struct partition_host *host = replica->host;
    size_t size = reader_left(items);
    size_t bytes = sizeof(struct held) + size;
    if (replica->held_bytes + bytes > HELD_BYTES_MAX ||
        host->held_bytes + bytes > HOST_HELD_BYTES_MAX) {
        nack_deliver(replica, from, local, section->term, section->route, NACK_BUSY);
        return;
    }
    struct held *held = memory_allocate(sizeof(*held) + size);
    held->next = NULL;
    held->gateway = from;
    held->local = local;
    held->section = *section;
    held->expires = section->patience_ms ? now + (uint64_t)section->patience_ms * 1000 : UINT64_MAX;
    held->size = size;
    if (size > 0) memcpy(held->items, items->next, size);
    *replica->held_last = held;
    replica->held_last = &held->next;
    replica->held_bytes += bytes;
    host->held_bytes += bytes;
    SOMETIMES(replica->host->world, "leader held requests until it may evaluate");
    host_poll_ready(replica->host);
}

/* Deliberate: rules B do not hold for PREPARE. */
static bool is_planted_again(const struct replica *replica, const struct request_item *item)
{
    return PLANTED(replica->host->world, "txn_prepare_taken_again") &&
           item->service == SERVICE_TXN && item->body.size > 1 && item->body.data[1] == TXN_PREPARE;
}

static bool begins_planted_again(const struct replica *replica, const struct session *session,
                                 const struct request_section *section, struct reader items)
{
    struct request_item item;
    bool again = section->route == session->route && section->position < session->position;
    return again && request_item_decode(&items, &item) == STATUS_OK &&
           is_planted_again(replica, &item);
}

/* Whose turn is it? True: go on; false: dropped or refused already (B5). */
static bool route_accept(struct replica *replica, struct session *session, struct gateway_id from,
                         const struct request_section *section)
{
    if (PLANTED(replica->host->world, "no_route_numbers")) {
        session->route = section->route;
        return true;
    }
    if (from.epoch < session->gateway.epoch) return false; /* an earlier life of that node */
    if (section->route < session->route) {
        SOMETIMES(replica->host->world, "a frame of an older route was dropped");
        return false;
    }
    if (section->route > session->route) {
        if (section->position != 0) {
            nack_deliver(replica, from, session->local, section->term, section->route, NACK_GAP);
            return false;
        }
        if (!PLANTED(replica->host->world, "parked_survives_route"))
            cold_drop_session(replica, session);
        session->route = section->route;
        session->position = 0;
        session->replies = 0;
        session->refused = false;
    }
    if (session->refused) {
        SOMETIMES(replica->host->world, "the rest of a refused route was refused");
        nack_deliver(replica, from, session->local, section->term, section->route, NACK_BUSY);
        return false;
    }
    if (section->position < session->position) {
        SOMETIMES(replica->host->world, "a doubled request frame was dropped");
        return false;
    }
    if (section->position > session->position) {
        SOMETIMES(replica->host->world, "a gap in a route was refused");
        nack_deliver(replica, from, session->local, section->term, section->route, NACK_GAP);
        return false;
    }
    session->position += section->count;
    return true;
}

/* A retry of something logged: the same answer, once its entry is committed (A2). */
static void answer_known(struct replica *replica, struct session *session, uint64_t route,
                         uint64_t seq, uint64_t index, struct bytes outcome, bool too_big)
{
    replica->host->statistics.dedup_hits++;
    SOMETIMES(replica->host->world, "a retry met its remembered outcome");
    uint8_t kind = too_big ? OUTCOME_TOO_BIG : OUTCOME_REPLY;
    if (index <= raft_commit_index(replica->raft)) {
        reply_deliver(replica, session, route, seq, kind, outcome);
        return;
    }
    SOMETIMES(replica->host->world, "a retry met an uncommitted outcome");
    release_read_later(replica, session, route, seq, index, 0, kind, outcome);
}

/* Of one client, what is behind is not released before what is in front (decision 0003). */
static void note_release(struct session *session, uint64_t index, uint64_t round)
{
    if (index > session->release_index) session->release_index = index;
    if (round > session->release_round) session->release_round = round;
}

/* An evaluation without effects is a read (A2, A3). */
static void finish_read(struct replica *replica, struct session *session, uint64_t route,
                        const struct request_item *item, uint64_t dep, uint64_t now,
                        struct bytes reply)
{
    struct partition_host *host = replica->host;
    bool lease = !host->options.reads_by_quorum && raft_lease_valid(replica->raft, now);
    if (item->service == SERVICE_SYSTEM && PLANTED(host->world, "stale_without_lease"))
        lease = true;
    uint64_t round = 0;
    if (PLANTED(host->world, "release_without_dep")) dep = 0;
    host->statistics.reads++;
    replica->busy_until = now + BUSY_US;
    if (lease) {
        host->statistics.lease_reads++;
    } else {
        /* Evaluated first, confirmed after: whoever is leader of this term when the round ends
         * was leader of it at the evaluation, and nobody had committed in a later one. */
        bool send_now = false;
        round = raft_read_begin(replica->raft, now, &send_now);
        host->statistics.round_reads++;
        ASSERT(round != 0);
        if (send_now) replica->heartbeat_now = true;
        host_mark_dirty(replica);
    }
    if (item->ordered) {
        if (session->release_index > dep) dep = session->release_index;
        if (session->release_round > round) round = session->release_round;
    }
    note_release(session, dep, round);
    if (dep <= raft_commit_index(replica->raft) && round <= replica->read_round) {
        reply_deliver(replica, session, route, item->seq, OUTCOME_REPLY, reply);
        return;
    }
    SOMETIMES(host->world, "a read waited for what it saw to commit");
    uint64_t commit = raft_commit_index(replica->raft);
    if (dep > commit && replica->patient_last > commit) patient_is_awaited(replica);
    release_read_later(replica, session, route, item->seq, dep, round, OUTCOME_REPLY, reply);
}

static bool apply_proposed(struct replica *replica, struct bytes effects, uint64_t index)
{
    struct reader reader = reader_make(effects);
    struct effect effect;
    enum status status;
    while ((status = effect_decode(&reader, &effect)) == STATUS_OK) {
        if (effect.kind == EFFECT_FENCE || effect.kind == EFFECT_CUT)
            replica->fence_proposed = index;
        if (effect.kind == EFFECT_CUT) cut_proposed(replica, &effect);
        if (effect.key.size > 0 && effect.key.data[2] == SERVICE_TXN)
            txn_proposed(replica, &effect, index);
        if (replica->row_waits > 0 && effect.key.size > 0) cold_row_written(replica, effect.key);
        effect_apply(&effect, index, true, replica->table);
    }
    return status == STATUS_NOT_FOUND;
}

/* Others may have to be spared it. */
static inline bool is_heavy(const struct replica *replica, const struct request_item *item)
{
    bool served = item->service != SERVICE_TXN && replica->group.value != GROUP_META;
    return item->write && item->body.size >= replica->host->options.heavy_bytes && served;
}

uint64_t execute_propose(struct replica *replica, uint8_t type, const struct entry_header *header,
                         struct bytes effects)
{
    struct partition_host *host = replica->host;
    buffer_clear(&host->header);
    entry_header_encode(header, &host->header);
    size_t header_size = buffer_size(&host->header);
    struct raft_entry *entry =
        raft_entry_make(host->row_memory, type, (uint32_t)(header_size + effects.size));
    memcpy(entry->body, buffer_bytes(&host->header).data, header_size);
    if (effects.size > 0) memcpy(entry->body + header_size, effects.data, effects.size);
    uint32_t size = entry->size;
    uint64_t index = raft_propose(replica->raft, entry);
    if (index == 0) return 0;
    replica->entry_time = replica->proposed_time = header->entry_time;
    replica->entries_bytes += size;
    replica->uncommitted_bytes += size;
    host->statistics.entries_proposed++;
    bool sound = apply_proposed(replica, effects, index);
    ASSERT(sound); /* own encoding */
    host_mark_dirty(replica);
    return index;
}

#define TOO_BIG_TEXT                                                                               \
    "TOOBIG what this would change is larger than a log entry may be; nothing was executed"

/* `refused`: no entry can hold what it would change, now or later. That is its outcome then, and
 * remembered like any other, so that what its client sent behind it goes on (decision 0003). */
static bool propose_write(struct replica *replica, struct session *session, uint64_t route,
                          const struct request_item *item, int64_t time, uint64_t now,
                          struct evaluate_scratch *scratch, uint8_t type, bool refused)
{
    struct partition_host *host = replica->host;
    struct bytes reply = buffer_bytes(&scratch->reply);
    struct bytes effects = buffer_bytes(&scratch->effects);
    if (refused) {
        SOMETIMES(host->world, "a write that is too big was logged as one without effects");
        reply = bytes_of(TOO_BIG_TEXT);
        effects = bytes_make(NULL, 0);
    }
    bool big_reply = reply.size > OUTCOME_SIZE_MAX;
    bool patient = patient_may_be(replica, item);
    uint64_t distance = item->seq - session->watermark;
    struct entry_header header = {
        .format = item->service == SERVICE_TXN ? ENTRY_FORMAT_TXN : ENTRY_FORMAT,
        .flags = (uint8_t)((big_reply || refused ? ENTRY_OUTCOME_TOO_BIG : 0) |
                           (patient ? ENTRY_PATIENT : 0)),
        .gateway = session->gateway,
        .seq = item->seq,
        .attempt = 1,
        .watermark_distance = distance > UINT16_MAX ? UINT16_MAX : (uint16_t)distance,
        .entry_time = time,
        .outcome = big_reply ? bytes_make(NULL, 0) : reply,
    };
    uint64_t index = execute_propose(replica, type, &header, effects);
    if (index == 0) { /* leadership is being handed over */
        session->refused = true;
        nack_deliver(replica, session->gateway, session->local, raft_term(replica->raft), route,
                     NACK_BUSY);
        return false;
    }
    if (!patient && replica->sample_index <= raft_commit_index(replica->raft)) {
        replica->sample_index = index;
        replica->sample_at = now;
        replica->sample_light = !is_heavy(replica, item);
    }
    host->statistics.writes++;
    replica->patient_last = patient ? index : 0; /* what comes behind it hurries it */
    dedup_propose(replica->dedup, &header, index);
    if (!patient) note_release(session, index, 0); /* reads have its index as theirs */
    if (PLANTED(host->world, "release_before_commit")) {
        uint8_t outcome = refused ? OUTCOME_TOO_BIG : OUTCOME_REPLY;
        reply_deliver(replica, session, route, item->seq, outcome, reply);
        return true;
    }
    release_write_later(replica, session, route, item->seq, index,
                        big_reply ? reply : bytes_make(NULL, 0));
    return true;
}

/* Deliberate bugs of what evaluations know of transactions. */
static inline void plant(const struct partition_host *host, const struct request *request,
                         struct row_context *rows)
{
    if (host->world->table->planted == NULL) return;
    bool ordinary = request->service == SERVICE_REDIS;
    if (ordinary && PLANTED(host->world, "txn_locks_ignored")) rows->locks = NULL;
    if (!ordinary && PLANTED(host->world, "txn_locks_of_others_ignored")) rows->locks = NULL;
    if (PLANTED(host->world, "txn_tombstone_forgotten")) rows->planted |= ROW_PLANTED_OVER;
    if (PLANTED(host->world, "txn_reads_by_value")) rows->planted |= ROW_PLANTED_BY_VALUE;
    if (PLANTED(host->world, "together_blind")) rows->planted |= ROW_PLANTED_APART;
}

/* What only they need, and ordinary requests do not pay for. */
static void for_transactions(const struct replica *replica, struct row_context *rows)
{
    const struct host_options *options = &replica->host->options;

    rows->locks_full = rows->locks && locks_bytes(rows->locks) >= LOCKS_BYTES_MAX;
    rows->dedup = replica->dedup;
    rows->services = options->evaluate;
    rows->service_options = options->service_options;
    rows->term = raft_term(replica->raft);
}

static void for_cuts(const struct replica *replica, struct row_context *rows)
{
    rows->frozen_for = replica->freeze.cut;
    rows->freeze = replica->freeze.freeze;
}

enum evaluate_result execute_evaluate(struct replica *replica, evaluate_fn *evaluate,
                                      const struct request *request, uint64_t seed, int64_t time,
                                      struct evaluate_scratch *scratch, struct row_context *rows,
                                      struct parked *parked)
{
    struct partition_host *host = replica->host;
    struct reply reply = {.buffer = &scratch->reply};
    arena_reset(&scratch->arena);
    buffer_clear(&scratch->reply);
    buffer_clear(&scratch->effects);
    buffer_clear(&scratch->wanted);
    row_context_begin(rows, replica->table, &scratch->arena, &scratch->effects,
                      raft_commit_index(replica->raft), time, seed);
    rows->slot_first = replica->slot_first;
    rows->slot_last = replica->slot_last;
    rows->leads_since = replica->time_started;
    rows->hash_secret[0] = host->options.hash_secret[0];
    rows->hash_secret[1] = host->options.hash_secret[1];
    rows->wanted = &scratch->wanted;
    if (parked != NULL) {
        cold_ranges(parked, rows);
        rows->waits_since = cold_waits_since(parked);
    }
    rows->engine_index = replica->flushed;
    rows->next_index = raft_last_index(replica->raft) + 1;
    rows->options = host->options.service_options[request->service];
    rows->databases_in_memory = host->databases_in_memory;
    rows->locks = replica->locks;
    rows->chore_service = request->service;
    if (request->service == SERVICE_TXN) for_transactions(replica, rows);
    if (request->service == SERVICE_CUT) for_cuts(replica, rows);
    plant(host, request, rows);
    enum evaluate_result result = evaluate(rows, request, &reply);
    if (rows->need_rows)
        result = EVALUATE_NEED_ROWS;
    else if (rows->must_wait)
        result = EVALUATE_WAIT;
    if (rows->refused) row_take_effects(rows);
    row_context_end(rows);
    host->statistics.evaluations++;
    return result;
}

static enum evaluate_result evaluate_once(struct replica *replica, struct session *session,
                                          const struct request_item *item, int64_t time,
                                          struct evaluate_scratch *scratch,
                                          struct row_context *rows, struct parked *parked)
{
    struct request request = {.service = item->service, .slot = item->slot, .body = item->body};
    uint64_t seed =
        hash_u64(session_key(session->gateway) ^ hash_u64(item->seq)) ^ session->gateway.epoch;
    return execute_evaluate(replica, replica->host->options.evaluate[item->service], &request, seed,
                            time, scratch, rows, parked);
}

/* A write that changed nothing is logged as well: asked again after a failover, behind writes
 * of the same client that were logged, it must not do something then (decision 0003). */
static bool must_be_logged(const struct request_item *item, const struct buffer *reply)
{
    return item->write && buffer_size(reply) <= OUTCOME_SIZE_MAX;
}

/* What it would change does not fit an entry, or it looks at more than any may: it would end like
 * this each time. */
static bool is_too_big(const struct replica *replica, const struct request_item *item,
                       enum evaluate_result result, const struct row_context *rows,
                       const struct evaluate_scratch *scratch)
{
    if (result == EVALUATE_OVER_BUDGET || rows->over_budget) return true;
    size_t reply = buffer_size(&scratch->reply);
    size_t outcome = reply > OUTCOME_SIZE_MAX ? 0 : reply;
    size_t size = ENTRY_HEADER_SIZE + outcome + buffer_size(&scratch->effects);
    if (size > ENTRY_BODY_MAX) return true;
    return item->grows && replica->group.value != GROUP_META &&
           MAYBE(replica->host->world, "a write is taken for too big");
}

static bool slot_is_here(const struct replica *replica, uint16_t slot)
{
    return slot >= replica->slot_first && slot <= replica->slot_last;
}

/* Nothing was consumed yet: the client may ask again. */
static bool refuses_big(struct partition_host *host, const struct session *session, size_t size)
{
    if (big_reply_fits(host, session, size)) return false;
    SOMETIMES(host->world, "a big reply was refused");
    host->statistics.big_replies_refused++;
    return true;
}

static void refusal_note(struct session *session, const struct request_item *item)
{
    struct refusals *refusals = &session->refusals;
    if (refusals->last <= session->watermark) /* those were answered for good */
        *refusals = (struct refusals){.first = item->seq, .client = item->client};
    if (item->seq < refusals->first) refusals->first = item->seq;
    if (item->seq > refusals->last) refusals->last = item->seq;
    refusals->of_others = refusals->of_others || item->client != refusals->client;
}

/* Whether an earlier write of its client was refused, and may be asked again. */
static bool is_behind_refusal(const struct session *session, const struct request_item *item)
{
    const struct refusals *refusals = &session->refusals;
    bool client = refusals->of_others || refusals->client == item->client;
    return item->write && item->ordered && client && refusals->last > session->watermark &&
           refusals->first < item->seq;
}

/* An answer that is not logged: asked again on another route it may be taken. */
static void refuse_item(struct replica *replica, struct session *session, uint64_t route,
                        const struct request_item *item, uint8_t outcome, struct bytes text)
{
    if (item->write) refusal_note(session, item);
    replica->host->statistics.busy += outcome == OUTCOME_BUSY;
    reply_deliver(replica, session, route, item->seq, outcome, text);
}

static void refuse_no_space(struct replica *replica, struct session *session, uint64_t route,
                            const struct request_item *item, uint64_t now)
{
    struct partition_host *host = replica->host;
    char text[DISK_TEXT_SIZE], busy[DISK_TEXT_SIZE + 128];
    space_text(replica, text, sizeof(text));
    host->statistics.no_space++;
    SOMETIMES(host->world, "a write was refused because disks are full");
    if (!item->grows) {
        host->statistics.log_full++;
        SOMETIMES(host->world, "a write was refused because the log is full");
    }
    if (space_comes_back(replica, item->grows, now)) {
        snprintf(
            busy, sizeof(busy),
            "BUSY the log is near its bound, and stores are being flushed: %s; the command was "
            "not executed, try again",
            text);
        refuse_item(replica, session, route, item, OUTCOME_BUSY, bytes_of(busy));
        return;
    }
    refuse_item(replica, session, route, item, OUTCOME_NO_SPACE, bytes_of(text));
}

/* What a read would change is to delete rows that are expired. */
static bool reads_past_expired(struct replica *replica, const struct request_item *item,
                               struct row_context *rows, uint64_t now)
{
    if (item->write || item->grows || item->service == SERVICE_TXN) return false;
    if (rows->expired_at == INT64_MIN) return false; /* it changes something else */
    bool full = space_refuses_all(replica);
    if (!full && !MAYBE(replica->host->world, EXPIRED_LEFT)) return false;
    return expired_for_good(replica, rows, now, &rows->dep);
}

/* What meta is asked is little, and needed: a node whose start it does not register serves nobody.
 * So is the end of a cut, which keeps files that could be deleted. */
static bool has_no_space(const struct replica *replica, const struct request_item *item)
{
    if (item->grows) return space_refuses(replica);
    if (!item->write) return false;
    bool small = item->service == SERVICE_META || item->service == SERVICE_CUT;
    if (small && space_log_takes_small_here(replica->host)) return false;
    return space_refuses_all(replica);
}

#define LOCKS_TEXT                                                                                 \
    "BUSY too many requests wait for transactions that hold their keys; the command was not "      \
    "executed, try again"

#define ROW_WAITS_TEXT                                                                             \
    "BUSY too many requests wait for something that others have to do; the command was not "       \
    "executed, try again"

/* It lets go of locks, and is so little that members take it whose logs are full. */
static bool ends_transaction(const struct replica *replica, const struct request_item *item,
                             const struct buffer *effects)
{
    bool ends = item->service == SERVICE_TXN && txn_request_ends(item->body);
    return ends && ENTRY_HEADER_SIZE + buffer_size(effects) < APPEND_SMALL_BYTES_MAX &&
           space_log_takes_small_here(replica->host);
}

#define FROZEN_TEXT                                                                                \
    "BUSY too many requests wait while a snapshot of the cluster is taken; the command was not "   \
    "executed, try again"

/* Nothing is changed while a cut is taken. */
static bool is_frozen(const struct replica *replica, const struct request_item *item)
{
    return cut_is_frozen(&replica->freeze) && item->service != SERVICE_CUT &&
           !PLANTED(replica->host->world, "cut_freezes_nothing");
}

static void wait_frozen(struct replica *replica, struct session *session, uint64_t route,
                        const struct request_item *item, struct parked *parked)
{
    if (!cold_park_frozen(replica, session, route, item, parked))
        refuse_item(replica, session, route, item, OUTCOME_BUSY, bytes_of(FROZEN_TEXT));
}

/* It is answered without an evaluation, or has to wait. */
static bool waits_for_cut(struct replica *replica, struct session *session, uint64_t route,
                          const struct request_item *item, struct parked *parked, uint64_t now)
{
    if (item->service == SERVICE_CUT) return cut_takes(replica, session, route, item, now);
    if (!item->write || !is_frozen(replica, item)) return false;
    wait_frozen(replica, session, route, item, parked);
    return true;
}

/* `parked`: it waited for rows and runs again; NULL: for the first time. */
static void evaluate_item(struct replica *replica, struct session *session, uint64_t route,
                          const struct request_item *item, struct parked *parked, uint64_t now)
{
    struct partition_host *host = replica->host;
    bool known_service =
        item->service < SERVICE_COUNT && host->options.evaluate[item->service] != NULL;
    if (!known_service || !slot_is_here(replica, item->slot)) {
        host->statistics.busy++;
        reply_deliver(replica, session, route, item->seq, OUTCOME_BUSY, bytes_make(NULL, 0));
        return;
    }
    if (has_no_space(replica, item)) { /* by now, if it was parked */
        refuse_no_space(replica, session, route, item, now);
        return;
    }
    bool cuts = item->service == SERVICE_CUT || cut_is_frozen(&replica->freeze);
    if (cuts && waits_for_cut(replica, session, route, item, parked, now)) return;
    if (parked == NULL && memory_may_evict(replica) &&
        MAYBE(host->world, "evict rows before an evaluation"))
        row_table_evict(replica->table, UINT64_MAX);
    struct evaluate_scratch *scratch = &host->scratch[host->depth++];
    struct row_context rows;
    int64_t time = replica_time(replica, now);
    if (parked != NULL && cold_time(parked) != 0) {
        /* As at the first run, but no entry is older than the one before it (D3). */
        time = cold_time(parked);
        if (time < replica->entry_time) time = replica->entry_time;
    }
    enum evaluate_result result =
        evaluate_once(replica, session, item, time, scratch, &rows, parked);
    if (MAYBE(host->world, "evaluate again")) { /* A6: it may be run again at any time */
        result = evaluate_once(replica, session, item, time, scratch, &rows, parked);
    }
    if (result == EVALUATE_NEED_ROWS) {
        bool parks = cold_park(replica, session, route, item, time, parked, &scratch->wanted);
        if (!parks) refuse_item(replica, session, route, item, OUTCOME_BUSY, bytes_make(NULL, 0));
    } else if (result == EVALUATE_WAIT && !rows.must_wait && rows.waits) {
        if (!cold_park_row(replica, session, route, item, parked, &rows, now))
            refuse_item(replica, session, route, item, OUTCOME_BUSY, bytes_of(ROW_WAITS_TEXT));
    } else if (result == EVALUATE_WAIT) {
        if (!cold_park_locked(replica, session, route, item, parked))
            refuse_item(replica, session, route, item, OUTCOME_BUSY, bytes_of(LOCKS_TEXT));
    } else if (is_too_big(replica, item, result, &rows, scratch)) {
        if (item->write && !PLANTED(host->world, "too_big_not_logged"))
            propose_write(replica, session, route, item, time, now, scratch, RAFT_ENTRY_NORMAL,
                          true);
        else
            reply_deliver(replica, session, route, item->seq, OUTCOME_TOO_BIG,
                          bytes_of(TOO_BIG_TEXT));
    } else if (result != EVALUATE_DONE ||
               refuses_big(host, session, buffer_size(&scratch->reply))) {
        refuse_item(replica, session, route, item, OUTCOME_BUSY, bytes_make(NULL, 0));
    } else if (!item->write && PLANTED(host->world, "expiry_not_logged")) {
        finish_read(replica, session, route, item, rows.dep, now, buffer_bytes(&scratch->reply));
    } else if (rows.effect_count == 0 && !must_be_logged(item, &scratch->reply)) {
        finish_read(replica, session, route, item, rows.dep, now, buffer_bytes(&scratch->reply));
    } else if (reads_past_expired(replica, item, &rows, now)) {
        finish_read(replica, session, route, item, rows.dep, now, buffer_bytes(&scratch->reply));
    } else if (cuts && is_frozen(replica, item)) {
        wait_frozen(replica, session, route, item, parked);
    } else if (!item->write && space_refuses_all(replica) &&
               !ends_transaction(replica, item, &scratch->effects)) {
        refuse_no_space(replica, session, route, item, now);
    } else {
        uint8_t type = rows.written_is_enough ? RAFT_ENTRY_WRITTEN : RAFT_ENTRY_NORMAL;
        bool proposed =
            propose_write(replica, session, route, item, time, now, scratch, type, false);
        if (proposed && is_heavy(replica, item)) cold_heavy_ran(replica, parked, &rows, now);
        if (rows.chore_at != INT64_MAX) chore_note(replica, rows.chore_service, rows.chore_at, now);
    }
    if (scratch->reply.capacity > SCRATCH_KEPT_BYTES) buffer_release(&scratch->reply);
    host->depth--;
}

static void execute_item(struct replica *replica, struct session *session, uint64_t term,
                         uint64_t route, const struct request_item *item, struct parked *parked,
                         uint64_t now)
{
    uint64_t index = 0;
    struct bytes outcome = bytes_make(NULL, 0);
    bool too_big = false;
    switch (dedup_find(replica->dedup, session->gateway, item->seq, &index, &outcome, &too_big)) {
    case DEDUP_KNOWN:
        if (is_planted_again(replica, item)) break;
        answer_known(replica, session, route, item->seq, index, outcome, too_big);
        return;
    case DEDUP_FENCED:
        if (PLANTED(replica->host->world, "fence_ignored")) break;
        SOMETIMES(replica->host->world, "a fenced gateway was refused");
        nack_deliver(replica, session->gateway, session->local, term, route, NACK_FENCED);
        return;
    case DEDUP_STALE:
        if (is_planted_again(replica, item)) break;
        reply_deliver(replica, session, route, item->seq, OUTCOME_STALE, bytes_make(NULL, 0));
        return;
    case DEDUP_NEW:
        break;
    }
    if (item->seq <= session->watermark && !is_planted_again(replica, item)) {
        reply_deliver(replica, session, route, item->seq, OUTCOME_STALE, bytes_make(NULL, 0));
        return;
    }
    if (is_behind_refusal(session, item)) {
        SOMETIMES(replica->host->world, "a write was refused because an earlier one had been");
        refuse_item(replica, session, route, item, OUTCOME_BUSY,
                    bytes_of("BUSY an earlier command of this connection was refused; this one was "
                             "not executed, try again"));
        return;
    }
    if (!list_empty(&replica->parked) && item->service == SERVICE_TXN &&
        txn_request_ends(item->body))
        cold_drop_prepare(replica, session, item);
    if (parked == NULL && cold_must_wait(replica, session, item)) {
        if (!cold_wait(replica, session, route, item))
            refuse_item(replica, session, route, item, OUTCOME_BUSY, bytes_make(NULL, 0));
        return;
    }
    bool chosen = item->write && MAYBE(replica->host->world, "let a write wait as a heavy one");
    if ((chosen || is_heavy(replica, item)) &&
        cold_heavy_waits(replica, session, route, item, parked, chosen, now))
        return;
    const char *refused = item->grows ? memory_refuses_writes(replica->host) : NULL;
    if (refused != NULL && replica->group.value != GROUP_META) {
        replica->host->statistics.writes_refused++;
        refuse_item(replica, session, route, item, OUTCOME_BUSY, bytes_of(refused));
        return;
    }
    evaluate_item(replica, session, route, item, parked, now);
}

/* The session it was parked for, if its route is still the one. */
static struct session *session_of_parked(struct replica *replica, struct gateway_id gateway,
                                         bool local, uint64_t route)
{
    struct session *session = session_find(replica, gateway, local);
    if (PLANTED(replica->host->world, "parked_survives_route")) return session;
    bool same = session->gateway.epoch == gateway.epoch && session->route == route;
    return same && !session->refused ? session : NULL;
}

void execute_parked(struct replica *replica, struct gateway_id gateway, bool local, uint64_t route,
                    const struct request_item *item, struct parked *parked, uint64_t now)
{
    if (gateway.node == 0) {
        chore_again(replica, item->service, parked, now);
        return;
    }
    struct session *session = session_of_parked(replica, gateway, local, route);
    if (session == NULL) return;
    if (PLANTED(replica->host->world, "parked_survives_route")) {
        evaluate_item(replica, session, route, item, parked, now);
        return;
    }
    execute_item(replica, session, raft_term(replica->raft), route, item, parked, now);
}

void execute_parked_busy(struct replica *replica, struct gateway_id gateway, bool local,
                         uint64_t route, const struct request_item *item, const char *why)
{
    if (gateway.node == 0) {
        chore_failed(replica, item->service);
        return;
    }
    struct session *session = session_of_parked(replica, gateway, local, route);
    if (session == NULL) return;
    refuse_item(replica, session, route, item, OUTCOME_BUSY, bytes_of(why));
}

void execute_parked_answer(struct replica *replica, struct gateway_id gateway, bool local,
                           uint64_t route, const struct request_item *item, struct bytes reply)
{
    struct session *session = session_of_parked(replica, gateway, local, route);
    if (session == NULL) return;
    if (refuses_big(replica->host, session, reply.size))
        refuse_item(replica, session, route, item, OUTCOME_BUSY, bytes_make(NULL, 0));
    else
        reply_deliver(replica, session, route, item->seq, OUTCOME_REPLY, reply);
}

/* A5. The age is that of a sample, the first entry proposed after the last sample committed. */
static inline bool too_much_uncommitted(const struct replica *replica, uint32_t more, uint64_t now)
{
    uint64_t commit = raft_commit_index(replica->raft);
    uint64_t open = raft_last_index(replica->raft) - commit;
    bool too_old =
        replica->sample_index > commit && now - replica->sample_at > UNCOMMITTED_AGE_MAX_US;
    return open + more > UNCOMMITTED_COUNT_MAX || too_old ||
           replica->uncommitted_bytes > UNCOMMITTED_BYTES_MAX ||
           replica->read_wait_count + more > READ_WAITS_MAX ||
           replica->read_wait_bytes > READ_WAIT_BYTES_MAX;
}

bool execute_has_room(const struct replica *replica, uint64_t now)
{
    return !too_much_uncommitted(replica, 1, now);
}

static void execute_now(struct replica *replica, struct gateway_id from, bool local,
                        const struct request_section *section, struct reader *items, uint64_t now)
{
    struct session *session = session_find(replica, from, local);
    if (!route_accept(replica, session, from, section) &&
        !begins_planted_again(replica, session, section, *items))
        return;
    if (section->watermark > session->watermark) session->watermark = section->watermark;
    for (uint32_t i = 0; i < section->count && !session->refused; i++) {
        struct request_item item;
        if (request_item_decode(items, &item)) {
            session->refused = true;
            nack_deliver(replica, from, local, section->term, section->route, NACK_GAP);
            return;
        }
        execute_item(replica, session, section->term, section->route, &item, NULL, now);
    }
}

void execute_section(struct replica *replica, struct gateway_id from, bool local,
                     const struct request_section *section, struct reader *items, uint64_t now)
{
    bool leads = raft_role(replica->raft) == RAFT_LEADER && !replica->halted;
    if (!leads) {
        nack_deliver(replica, from, local, section->term, section->route, NACK_NOT_LEADER);
        return;
    }
    if (section->term != raft_term(replica->raft)) {
        nack_deliver(replica, from, local, section->term, section->route, NACK_WRONG_TERM);
        return;
    }
    bool hold = replica->held_first != NULL || !replica_may_evaluate(replica, now) ||
                too_much_uncommitted(replica, section->count, now) ||
                replica->host->depth >= EVALUATE_DEPTH_MAX;
    if (hold) {
        hold_section(replica, from, local, section, items, now);
        return;
    }
    execute_now(replica, from, local, section, items, now);
}

static void held_take_first(struct replica *replica)
{
    struct held *held = replica->held_first;
    size_t bytes = sizeof(*held) + held->size;
    replica->held_first = held->next;
    if (replica->held_first == NULL) replica->held_last = &replica->held_first;
    replica->held_bytes -= bytes;
    replica->host->held_bytes -= bytes;
}

/* What was held goes on, in order, as soon as the leader may evaluate. What nobody waits for any
 * more is not evaluated: its gateway has given it up. If not, the NACK makes it ask again; what
 * stands behind it on its route is refused by its position. */
void execute_held(struct replica *replica, uint64_t now)
{
    while (replica->held_first != NULL && replica->host->depth < EVALUATE_DEPTH_MAX) {
        struct held *held = replica->held_first;
        if (now >= held->expires) {
            held_take_first(replica);
            replica->host->statistics.expired += held->section.count;
            nack_deliver(replica, held->gateway, held->local, held->section.term,
                         held->section.route, NACK_BUSY);
            memory_free(held);
            continue;
        }
        if (!replica_may_evaluate(replica, now)) return;
        if (too_much_uncommitted(replica, held->section.count, now)) return;
        held_take_first(replica);
        struct reader items = reader_make(bytes_make(held->items, held->size));
        execute_now(replica, held->gateway, held->local, &held->section, &items, now);
        memory_free(held);
    }
}

bool host_request_local(struct partition_host *host, struct group_id group,
                        const struct host_request *request, uint64_t now)
{
    struct replica *replica = host_replica(host, group);
    if (replica == NULL) return false;
    struct request_section section = {.group = group,
                                      .term = request->term,
                                      .route = request->route,
                                      .watermark = request->watermark,
                                      .position = request->position,
                                      .patience_ms = request->patience_ms,
                                      .count = 1};
    struct request_item item = {.seq = request->seq,
                                .service = request->service,
                                .write = request->write,
                                .ordered = request->ordered,
                                .client = request->client,
                                .grows = request->grows,
                                .slot = request->slot,
                                .body = request->body};
    bool straight = !replica->halted && replica->held_first == NULL &&
                    raft_role(replica->raft) == RAFT_LEADER &&
                    request->term == raft_term(replica->raft) &&
                    replica_may_evaluate(replica, now) && !too_much_uncommitted(replica, 1, now) &&
                    host->depth < EVALUATE_DEPTH_MAX;
    if (!straight) {
        struct buffer buffer;
        buffer_init(&buffer, SIZE_MAX / 2);
        struct writer writer = writer_make(&buffer);
        request_item_encode(&writer, &item);
        struct reader items = reader_make(buffer_bytes(&buffer));
        execute_section(replica, request->gateway, true, &section, &items, now);
        buffer_free(&buffer);
        return true;
    }
    struct session *session = session_find(replica, request->gateway, true);
    if (!route_accept(replica, session, request->gateway, &section)) return true;
    if (section.watermark > session->watermark) session->watermark = section.watermark;
    execute_item(replica, session, section.term, section.route, &item, NULL, now);
    return true;
}
