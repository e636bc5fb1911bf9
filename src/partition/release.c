/* Replies on their way out. A reply leaves when everything it depends on is committed (A2)
 * and, for a read without a lease, when its read round is confirmed (A3). Until then the
 * bytes of a write's reply stand in its own log entry, those of a read are kept here. */
#include "partition/host_internal.h"

static struct bytes copy_bytes(struct bytes bytes)
{
    if (bytes.size == 0) return bytes_make(NULL, 0);
    uint8_t *copy = memory_allocate(bytes.size);
    memcpy(copy, bytes.data, bytes.size);
    return bytes_make(copy, bytes.size);
}

static void close_section(struct peer_out *out)
{
    out->section_open = false;
}

void remote_reply(struct replica *replica, struct session *session, uint64_t seq, uint8_t outcome,
                  struct bytes bytes)
{
    struct partition_host *host = replica->host;
    struct peer_out *out = host_peer_out(host, session->gateway.node, session->gateway.worker);
    if (buffer_size(&out->replies) + bytes.size > PEER_OUT_FLUSH_BYTES) {
        peer_out_send(host, out, PEER_FRAME_REPLIES, &out->replies);
        close_section(out);
    }
    uint8_t *count_at = out->section_open ? out->replies.memory + out->section_count_at : NULL;
    bool same = out->section_open && out->section_group.value == replica->group.value &&
                out->section_route == session->route && load_u16(count_at) < UINT16_MAX;
    struct writer writer = writer_make(&out->replies);
    if (!same) {
        struct reply_section section = {.group = replica->group,
                                        .term = raft_term(replica->raft),
                                        .route = session->route,
                                        .code = REPLY_CODE_REPLIES,
                                        .number = session->replies,
                                        .count = 0};
        reply_section_encode(&writer, &section);
        out->section_open = true;
        out->section_group = replica->group;
        out->section_route = session->route;
        out->section_count_at = out->replies.end - 2;
    }
    struct reply_item item = {.seq = seq, .outcome = outcome, .bytes = bytes};
    reply_item_encode(&writer, &item);
    ASSERT(!writer.failed);
    session->replies++;
    count_at = out->replies.memory + out->section_count_at;
    store_u16(count_at, (uint16_t)(load_u16(count_at) + 1));
    world_defer(host->world, &host->turn_end);
}

void reply_deliver(struct replica *replica, struct session *session, uint64_t route, uint64_t seq,
                   uint8_t outcome, struct bytes bytes)
{
    struct partition_host *host = replica->host;
    if (route != session->route) return; /* that route is over; its successor asks again */
    if (session->local) {
        if (host->gateway.on_reply == NULL) return;
        host->gateway.on_reply(host->gateway.context, replica->group, route, seq, outcome, bytes);
        return;
    }
    if (outcome == OUTCOME_REPLY && big_reply_is(host, bytes.size)) {
        big_reply_send(replica, session, seq, bytes);
        return;
    }
    remote_reply(replica, session, seq, outcome, bytes);
}

void nack_send(struct partition_host *host, struct group_id group, struct gateway_id to,
               uint64_t term, uint64_t route, uint8_t code, node_id_t leader, uint64_t leader_term)
{
    struct peer_out *out = host_peer_out(host, to.node, to.worker);
    struct reply_section section = {.group = group,
                                    .term = term,
                                    .route = route,
                                    .code = code,
                                    .leader = leader,
                                    .leader_term = leader_term};
    if (buffer_size(&out->replies) > PEER_OUT_FLUSH_BYTES) {
        peer_out_send(host, out, PEER_FRAME_REPLIES, &out->replies);
    }
    struct writer writer = writer_make(&out->replies);
    close_section(out);
    reply_section_encode(&writer, &section);
    ASSERT(!writer.failed);
    host->statistics.nacks++;
    world_defer(host->world, &host->turn_end);
}

void nack_deliver(struct replica *replica, struct gateway_id to, bool local, uint64_t term,
                  uint64_t route, uint8_t code)
{
    struct partition_host *host = replica->host;
    bool leads = raft_role(replica->raft) == RAFT_LEADER && !replica->halted;
    node_id_t leader = leads ? host->options.node : raft_leader(replica->raft).node;
    if (replica->halted) leader = 0;
    uint64_t leader_term = leader != 0 ? raft_term(replica->raft) : 0;
    if (local) {
        host->statistics.nacks++;
        if (host->gateway.on_nack == NULL) return;
        host->gateway.on_nack(host->gateway.context, replica->group, route, code, leader,
                              leader_term);
        return;
    }
    nack_send(host, replica->group, to, term, route, code, leader, leader_term);
}

static struct pending_write *pending_at(const struct replica *replica, uint64_t index)
{
    return &replica->pending[index & (replica->pending_capacity - 1)];
}

/* The ring holds (released, last]; grows when the span does. */
static void pending_make_room(struct replica *replica, uint64_t index)
{
    ASSERT(index > replica->released);
    if (index - replica->released < replica->pending_capacity) return;
    size_t capacity = replica->pending_capacity == 0 ? 4 : replica->pending_capacity;
    while (index - replica->released >= capacity)
        capacity *= 2;
    struct pending_write *ring = memory_allocate_zero(capacity * sizeof(*ring));
    uint64_t end = replica->released + replica->pending_capacity;
    for (uint64_t i = replica->released + 1; i < end; i++) {
        ring[i & (capacity - 1)] = *pending_at(replica, i);
    }
    memory_free(replica->pending);
    replica->pending = ring;
    replica->pending_capacity = capacity;
}

void release_write_later(struct replica *replica, struct session *session, uint64_t route,
                         uint64_t seq, uint64_t index, struct bytes big)
{
    pending_make_room(replica, index);
    struct pending_write *pending = pending_at(replica, index);
    ASSERT(pending->session == NULL);
    *pending = (struct pending_write){
        .session = session, .route = route, .seq = seq, .big = copy_bytes(big)};
    big_reply_hold(replica->host, session, big);
}

static size_t big_part(const struct replica *replica, struct bytes reply)
{
    return big_reply_is(replica->host, reply.size) ? reply.size : 0;
}

bool release_read_later(struct replica *replica, struct session *session, uint64_t route,
                        uint64_t seq, uint64_t dep, uint64_t round, uint8_t outcome,
                        struct bytes reply)
{
    if (replica->read_wait_count == replica->read_wait_capacity) {
        replica->read_wait_capacity =
            replica->read_wait_capacity == 0 ? 16 : replica->read_wait_capacity * 2;
        replica->read_waits = memory_resize(replica->read_waits, replica->read_wait_capacity *
                                                                     sizeof(*replica->read_waits));
    }
    replica->read_wait_bytes += reply.size;
    replica->read_wait_big_bytes += big_part(replica, reply);
    replica->read_waits[replica->read_wait_count++] =
        (struct read_wait){.session = session,
                           .route = route,
                           .seq = seq,
                           .dep = dep,
                           .round = round,
                           .outcome = outcome,
                           .reply = copy_bytes(reply)};
    big_reply_hold(replica->host, session, reply);
    return true;
}

static void release_write(struct replica *replica, uint64_t index)
{
    struct pending_write pending = *pending_at(replica, index);
    *pending_at(replica, index) = (struct pending_write){0};
    if (pending.session == NULL) return;
    const struct raft_entry *entry = raft_entry_at(replica->raft, index);
    ASSERT(entry != NULL);
    ASSERT(entry->type == RAFT_ENTRY_NORMAL || entry->type == RAFT_ENTRY_WRITTEN);
    struct reader reader = reader_make(bytes_make(entry->body, entry->size));
    struct entry_header header;
    enum status status = entry_header_decode(&reader, &header);
    ASSERT(status == STATUS_OK && header.seq == pending.seq);
    bool big = pending.big.data != NULL;
    bool refused = !big && (header.flags & ENTRY_OUTCOME_TOO_BIG) != 0;
    reply_deliver(replica, pending.session, pending.route, pending.seq,
                  refused ? OUTCOME_TOO_BIG : OUTCOME_REPLY, big ? pending.big : header.outcome);
    big_reply_let_go(replica->host, pending.session, pending.big);
    memory_free((void *)pending.big.data);
}

static void release_writes(struct replica *replica, uint64_t applied)
{
    while (replica->released < applied) {
        uint64_t index = ++replica->released;
        replica->released = index - 1; /* the ring still covers it while it is delivered */
        if (replica->pending_capacity > 0) release_write(replica, index);
        replica->released = index;
    }
}

static bool read_is_ready(const struct replica *replica, const struct read_wait *wait)
{
    return wait->dep <= raft_commit_index(replica->raft) &&
           (wait->round == 0 || wait->round <= replica->read_round);
}

/* Takes the ready ones out first: delivering may bring new requests, and new waits. */
static void release_reads(struct replica *replica)
{
    size_t kept = 0, ready = 0;
    size_t count = replica->read_wait_count;
    if (count == 0) return;
    struct read_wait *out = memory_allocate(count * sizeof(*out));
    for (size_t i = 0; i < count; i++) {
        struct read_wait *wait = &replica->read_waits[i];
        if (read_is_ready(replica, wait)) {
            replica->read_wait_bytes -= wait->reply.size;
            replica->read_wait_big_bytes -= big_part(replica, wait->reply);
            out[ready++] = *wait;
        } else {
            replica->read_waits[kept++] = *wait;
        }
    }
    replica->read_wait_count = kept;
    for (size_t i = 0; i < ready; i++) {
        reply_deliver(replica, out[i].session, out[i].route, out[i].seq, out[i].outcome,
                      out[i].reply);
        big_reply_let_go(replica->host, out[i].session, out[i].reply);
        memory_free((void *)out[i].reply.data);
    }
    memory_free(out);
}

/* After commit, apply or a read round moved on. Leader only. */
void release_ready(struct replica *replica)
{
    ASSERT(raft_role(replica->raft) == RAFT_LEADER);
    release_writes(replica, replica->applied);
    release_reads(replica);
}

static void sessions_drop(struct replica *replica, bool tell)
{
    void *value;
    uint64_t key;
    for (size_t i = 0; map_next(&replica->sessions, &i, &key, &value);) {
        struct session *session = value;
        if (tell && session->route != 0) {
            nack_deliver(replica, session->gateway, session->local, replica->led_term,
                         session->route, NACK_NOT_LEADER);
        }
        memory_free(session);
    }
    map_free(&replica->sessions);
    map_init(&replica->sessions);
    replica->session_last = NULL;
}

static void held_drop(struct replica *replica, bool tell)
{
    while (replica->held_first != NULL) {
        struct held *held = replica->held_first;
        replica->held_first = held->next;
        if (tell) {
            nack_deliver(replica, held->gateway, held->local, held->section.term,
                         held->section.route, NACK_NOT_LEADER);
        }
        memory_free(held);
    }
    replica->held_last = &replica->held_first;
    replica->host->held_bytes -= replica->held_bytes;
    replica->held_bytes = 0;
}

void leader_state_drop(struct replica *replica, bool tell)
{
    big_replies_drop(replica->host, replica, 0);
    for (size_t i = 0; i < replica->pending_capacity; i++) {
        big_reply_let_go(replica->host, replica->pending[i].session, replica->pending[i].big);
        memory_free((void *)replica->pending[i].big.data);
    }
    memory_free(replica->pending);
    replica->pending = NULL;
    replica->pending_capacity = 0;
    for (size_t i = 0; i < replica->read_wait_count; i++) {
        big_reply_let_go(replica->host, replica->read_waits[i].session,
                         replica->read_waits[i].reply);
        memory_free((void *)replica->read_waits[i].reply.data);
    }
    replica->read_wait_count = 0;
    replica->read_wait_bytes = replica->read_wait_big_bytes = 0;
    replica->uncommitted_bytes = 0;
    replica->sample_index = replica->patient_last = 0;
    replica->sample_light = false;
    held_drop(replica, tell);
    cold_drop_all(replica);
    sessions_drop(replica, tell);
}
