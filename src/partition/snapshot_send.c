/* State to a replica that fell behind the entries its leader still has: the sender.
 *
 *   offer --> its turn comes --> rows that no flush has written are copied, as of one index, and an
 * iterator keeps what the engine has at that moment (snapshot_cut.c) --> a job on LANE_READ reads a
 * piece of both --> once a quorum has all of it on disk, chunks of it are sent while the receiver
 * acknowledges --> ... --> the last one carries the total size
 *
 * So rows need not be in memory, and nothing waits for a flush. Rows that a drop hides are left
 * out. At most SNAPSHOT_WINDOW bytes are read ahead of what is acknowledged, and what is sent has
 * room at the receiver: it says so with each acknowledgement. A receiver that begins again makes
 * the iterator begin again. */
#include "partition/host_internal.h"
#include "partition/snapshot_internal.h"

enum { RELEASE_IN_JOB = 1 << 20 }; /* bytes of copies: to free 32 MiB takes milliseconds */

enum send_stage { SEND_WAITS_FOR_TURN, SEND_WAITS_FOR_CUT, SEND_IS_CUT, SEND_STREAMS };

struct snapshot_send {
    struct snapshot_send *next;
    struct partition_host *host;
    struct replica *replica; /* NULL: given up while its job runs */
    struct raft_member to;
    struct snapshot_turn turn;
    struct copy_turn copy_turn; /* the next piece waits */
    enum send_stage stage;
    uint64_t id, index, term;
    uint64_t acked, sent, produced; /* offsets in the content */
    uint64_t limit;                 /* the receiver has room up to there */
    uint64_t window_at;             /* offset of the first byte in `window` */
    struct buffer window;           /* read, and not acknowledged */
    bool ended;                     /* produced is the total */
    bool restart;                   /* when the job is done */
    uint64_t last_progress, last_sent;
    uint64_t counted; /* of `acked`, for the rate; it does not go back */
    /* The job's, while it runs: */
    struct world_job job;
    bool running;
    struct engine *engine;
    struct engine_iterator *iterator;
    struct buffer record; /* the content begins with it */
    struct snapshot_cut cut;
    struct copied_rows copies; /* of `cut` */
    bool has_stored;           /* the iterator stands at `key`: */
    struct bytes key, stored;
    struct row_drop *hidden;
    size_t hidden_count;
    struct buffer piece;
    uint64_t piece_rows;
    bool piece_is_last;
    bool begun;
    uint8_t range_from[2], range_to[2];
    enum status status;
    struct error error;
};

/* --- the job: reads the next piece --- */

static bool is_hidden(const struct snapshot_send *send, struct bytes key, uint64_t version)
{
    for (size_t i = 0; i < send->hidden_count; i++) {
        const struct row_drop *hidden = &send->hidden[i];
        if (key.size >= ROW_PREFIX_SIZE && key.data[2] == hidden->service &&
            load_u32_be(key.data + 3) == hidden->namespace && version <= hidden->index)
            return true;
    }
    return false;
}

/* The end may be an error: then nothing more is sent. */
static void next_stored(struct snapshot_send *send)
{
    send->has_stored =
        engine_iterator_next(send->engine, send->iterator, &send->key, &send->stored);
    if (!send->has_stored && send->status == STATUS_OK)
        send->status = engine_iterator_error(send->engine, send->iterator, &send->error);
}

static void piece_begin(struct snapshot_send *send, struct writer *writer)
{
    write_u32(writer, (uint32_t)buffer_size(&send->record));
    write_bytes(writer, buffer_bytes(&send->record));
    copied_rows_end(&send->copies);
    copied_rows_begin(&send->copies, buffer_bytes(&send->cut.rows),
                      buffer_bytes(&send->cut.replaced));
    engine_iterator_seek(send->engine, send->iterator, bytes_make(send->range_from, 2));
    next_stored(send);
    send->begun = true;
}

static void write_row(struct snapshot_send *send, struct writer *writer, struct bytes key,
                      struct bytes stored)
{
    struct row_header header;
    struct bytes value;
    send->status = row_value_decode(stored, &header, &value);
    if (send->status) {
        error_set(&send->error, send->status, "a stored row cannot be decoded");
        return;
    }
    if (is_hidden(send, key, header.version)) return;
    write_u32(writer, (uint32_t)key.size);
    write_bytes(writer, key);
    write_u32(writer, (uint32_t)stored.size);
    write_bytes(writer, stored);
    send->piece_rows++;
}

/* The next key of both; what was only in memory is newer. False: that was all. */
static bool piece_step(struct snapshot_send *send, struct writer *writer)
{
    const struct copied_row *copied = copied_rows_next(&send->copies);
    if (copied == NULL && !send->has_stored) return false;
    int order = copied == NULL ? 1 : !send->has_stored ? -1 : bytes_compare(copied->key, send->key);
    if (order <= 0 && !copied->tombstone) write_row(send, writer, copied->key, copied->value);
    if (order > 0) write_row(send, writer, send->key, send->stored);
    if (order <= 0) copied_rows_advance(&send->copies);
    if (order >= 0) next_stored(send);
    return true;
}

static void piece_run(struct world_job *job)
{
    struct snapshot_send *send = job->context;
    struct writer writer = writer_make(&send->piece);
    send->status = STATUS_OK;
    send->piece_is_last = false;
    send->piece_rows = 0;
    if (!send->begun) piece_begin(send, &writer);
    while (buffer_size(&send->piece) < SNAPSHOT_CHUNK && !send->piece_is_last &&
           send->status == STATUS_OK)
        send->piece_is_last = !piece_step(send, &writer);
}

/* --- life --- */

static struct snapshot_send **find_send(struct replica *replica, struct replica_id to)
{
    struct snapshot_send **at = &replica->sends;
    while (*at != NULL && !replica_id_equal((*at)->to.replica, to))
        at = &(*at)->next;
    return at;
}

uint64_t snapshot_index_sent(const struct replica *replica, struct replica_id to)
{
    for (const struct snapshot_send *send = replica->sends; send != NULL; send = send->next)
        if (replica_id_equal(send->to.replica, to))
            return send->stage == SEND_WAITS_FOR_TURN ? UINT64_MAX : send->index;
    return 0;
}

static void send_release(struct snapshot_send *send)
{
    if (send->iterator != NULL) engine_iterator_close(send->engine, send->iterator, NULL);
    copied_rows_end(&send->copies);
    snapshot_cut_free(&send->cut);
    buffer_free(&send->window);
    buffer_free(&send->record);
    buffer_free(&send->piece);
    memory_free(send->hidden);
    memory_free(send);
}

static void release_run(struct world_job *job)
{
    struct snapshot_send *send = job->context;
    buffer_release(&send->cut.rows);
    buffer_release(&send->cut.replaced);
}

static void release_done(struct world_job *job)
{
    struct snapshot_send *send = job->context;
    send->host->snapshot_jobs--;
    send_release(send);
}

static void send_free(struct snapshot_send **at, struct partition_host *host)
{
    struct snapshot_send *send = *at;
    *at = send->next;
    snapshot_turn_end(host, &send->turn);
    copy_turn_end(host, &send->copy_turn);
    snapshot_cut_cancel(&send->cut);
    if (!send->running && !host->closing && snapshot_cut_bytes(&send->cut) > RELEASE_IN_JOB) {
        send->job = (struct world_job){.run = release_run, .done = release_done, .context = send};
        host->snapshot_jobs++;
        world_job_start(host->world, LANE_READ, &send->job);
        return;
    }
    if (send->running && !host->closing) {
        send->replica = NULL; /* its job frees it */
        return;
    }
    if (send->running) host->snapshot_jobs--;
    send_release(send);
}

static void end_send(struct replica *replica, struct snapshot_send **at, bool ok)
{
    struct replica_id to = (*at)->to.replica;
    uint64_t index = (*at)->index;
    send_free(at, replica->host);
    raft_snapshot_sent(replica->raft, to, index, ok);
    host_mark_dirty(replica);
}

void snapshot_sends_drop(struct replica *replica)
{
    while (replica->sends != NULL)
        send_free(&replica->sends, replica->host);
}

/* --- chunks --- */

static void send_chunk(struct replica *replica, struct snapshot_send *send, struct buffer *frame,
                       uint64_t size)
{
    struct partition_host *host = replica->host;
    struct writer writer = writer_make(frame);
    buffer_clear(frame);
    write_u32(&writer, replica->group.value);
    write_u64(&writer, replica->id.value);
    write_u64(&writer, send->to.replica.value);
    write_u64(&writer, raft_term(replica->raft));
    write_u64(&writer, send->id);
    write_u64(&writer, send->index);
    write_u64(&writer, send->term);
    write_u64(&writer, send->ended ? send->produced : 0);
    write_u64(&writer, send->sent);
    const uint8_t *at = buffer_bytes(&send->window).data;
    if (size > 0) write_bytes(&writer, bytes_make(at + (send->sent - send->window_at), size));
    ASSERT(!writer.failed);
    transport_send(host->options.transport, send->to.node,
                   host_remote_worker(host, send->to.node, replica->group), PEER_FRAME_SNAPSHOT,
                   buffer_bytes(frame));
    send->sent += size;
    send->last_sent = world_now(host->world);
}

/* Or a later leader could lack it, if all lose power. */
static bool is_durable(const struct replica *replica, const struct snapshot_send *send)
{
    return replica_safe_index(replica) >= send->index;
}

/* Whole chunks, and the rest when the end is known: so the last one can say what the total is. */
static void send_chunks(struct replica *replica, struct snapshot_send *send)
{
    struct buffer frame;
    if (!is_durable(replica, send)) return;
    buffer_init(&frame, TRANSPORT_FRAME_SIZE_MAX);
    while (send->sent < send->limit) {
        uint64_t left = send->produced - send->sent;
        if (left < SNAPSHOT_CHUNK && !send->ended) break;
        if (left == 0) break;
        /* One byte stays back while more may come, so that the last chunk is never empty. */
        uint64_t size = left < SNAPSHOT_CHUNK ? left : SNAPSHOT_CHUNK;
        if (!send->ended && size == left) break;
        send_chunk(replica, send, &frame, size);
    }
    buffer_free(&frame);
}

static void read_on(struct replica *replica, struct snapshot_send *send)
{
    struct partition_host *host = replica->host;
    bool full = send->produced >= send->acked + SNAPSHOT_WINDOW;
    if (send->running || send->ended || full || send->stage != SEND_STREAMS) return;
    if (!copy_turn_comes(host, &send->copy_turn, replica->group)) return;
    send->running = true;
    host->snapshot_jobs++;
    buffer_clear(&send->piece);
    world_job_start(host->world, LANE_READ, &send->job);
}

static void copy_turn_go(struct copy_turn *turn)
{
    struct snapshot_send *send = CONTAINER_OF(turn, struct snapshot_send, copy_turn);
    read_on(send->replica, send);
}

/* Only where no job runs. The iterator still sees the moment it was made for. */
static void begin_again(struct replica *replica, struct snapshot_send *send)
{
    send->restart = false;
    send->acked = send->sent = send->produced = send->window_at = 0;
    send->limit = SNAPSHOT_WINDOW;
    send->begun = send->ended = false;
    buffer_clear(&send->window);
    SOMETIMES(replica->host->world, "a snapshot began again");
    read_on(replica, send);
}

static void piece_done(struct world_job *job)
{
    struct snapshot_send *send = job->context;
    struct replica *replica = send->replica;
    struct partition_host *host = send->host;
    send->running = false;
    host->snapshot_jobs--;
    copy_turn_took(host, &send->copy_turn, buffer_size(&send->piece));
    if (replica == NULL) {
        send_release(send);
        return;
    }
    struct snapshot_send **at = find_send(replica, send->to.replica);
    ASSERT(*at == send);
    if (send->status) {
        LOG_ERROR(host_logger(host), "partition", "snapshot of group %u cannot be read: %s",
                  replica->group.value, send->error.text);
        struct error error = send->error;
        bool damaged = send->status == STATUS_CORRUPT;
        end_send(replica, at, false);
        if (damaged) store_damaged(host, replica->store, &error);
        return;
    }
    if (send->restart) {
        begin_again(replica, send);
        return;
    }
    buffer_append(&send->window, buffer_bytes(&send->piece));
    send->produced += buffer_size(&send->piece);
    host->copied_rows += send->piece_rows;
    host->copied_bytes += buffer_size(&send->piece);
    send->ended = send->piece_is_last;
    send_chunks(replica, send);
    read_on(replica, send);
}

/* --- the offer --- */

static void hide(void *context, uint8_t service, uint32_t namespace, uint64_t index)
{
    struct snapshot_send *send = context;
    /* What was dropped after the state that is sent is there: the receiver drops it in its turn. */
    if (index > send->index) return;
    send->hidden = memory_resize(send->hidden, (send->hidden_count + 1) * sizeof(*send->hidden));
    send->hidden[send->hidden_count++] =
        (struct row_drop){.service = service, .namespace = namespace, .index = index};
}

static void on_cut(struct snapshot_cut *cut)
{
    struct snapshot_send *send = CONTAINER_OF(cut, struct snapshot_send, cut);
    struct partition_host *host = send->host;
    if (snapshot_cut_bytes(cut) > 0)
        SOMETIMES(host->world, "a state was sent with rows that no flush had written");
    send->stage = SEND_STREAMS;
    send->last_progress = world_now(host->world);
    LOG_INFO(host_logger(host), "partition", "snapshot to node %u group=%u index=%llu",
             send->to.node, send->replica->group.value, (unsigned long long)send->index);
    read_on(send->replica, send);
}

/* What is applied now: in the engine, and over that in memory. */
static void cut_begin(struct replica *replica, struct snapshot_send *send)
{
    struct partition_host *host = replica->host;
    if (!snapshot_cut_may_begin(replica)) {
        SOMETIMES(host->world, "a state waited for a flush or for another's cut");
        return;
    }
    send->stage = SEND_IS_CUT;
    send->limit = SNAPSHOT_WINDOW;
    send->index = replica->applied;
    send->term = replica->applied_term;
    send->engine = host->options.engines[replica->store];
    send->job = (struct world_job){.run = piece_run, .done = piece_done, .context = send};
    replica_record_encode(replica, &send->record);
    replica_row_range(replica, send->range_from, send->range_to);
    send->iterator = engine_iterate(send->engine, bytes_make(send->range_from, 2),
                                    bytes_make(send->range_to, 2));
    row_table_drops_each(replica->table, send, hide);
    snapshot_cut_begin(&send->cut, replica);
}

void snapshot_cuts_begin(struct partition_host *host, uint32_t store)
{
    struct list *head = &host->stores[store].replicas;
    for (struct list *at = head->next; at != head; at = at->next) {
        struct replica *replica = CONTAINER_OF(at, struct replica, by_store);
        for (struct snapshot_send *send = replica->sends; send != NULL; send = send->next)
            if (send->stage == SEND_WAITS_FOR_CUT && snapshot_cut_may_begin(replica))
                cut_begin(replica, send);
    }
}

void snapshot_durable(struct replica *replica)
{
    for (struct snapshot_send *send = replica->sends; send != NULL; send = send->next)
        if (send->stage == SEND_STREAMS && send->sent == 0 && !send->restart)
            send_chunks(replica, send);
}

uint64_t snapshot_send_bytes(const struct replica *replica)
{
    uint64_t bytes = 0;
    for (const struct snapshot_send *send = replica->sends; send != NULL; send = send->next)
        bytes += snapshot_cut_bytes(&send->cut);
    return bytes;
}

static void on_turn(struct snapshot_turn *turn)
{
    struct snapshot_send *send = CONTAINER_OF(turn, struct snapshot_send, turn);
    ASSERT(send->stage == SEND_WAITS_FOR_TURN);
    send->stage = SEND_WAITS_FOR_CUT;
    send->last_progress = world_now(send->host->world);
    cut_begin(send->replica, send);
}

/* The core found that a member needs entries which are gone from memory. */
void snapshot_offer(struct replica *replica, const struct raft_message *message)
{
    struct partition_host *host = replica->host;
    bool ready = !replica->halted && replica->applied > 0 && replica->applied_term > 0;
    if (*find_send(replica, message->to) != NULL) return;
    if (!ready) {
        raft_snapshot_sent(replica->raft, message->to, 0, false);
        return;
    }
    struct snapshot_send *send = memory_allocate_zero(sizeof(*send));
    send->host = host;
    send->replica = replica;
    send->to = (struct raft_member){.replica = message->to, .node = message->to_node};
    send->id = world_random(host->world);
    send->stage = SEND_WAITS_FOR_TURN;
    send->turn =
        (struct snapshot_turn){.replica = replica, .to = message->to_node, .begin = on_turn};
    list_init(&send->turn.link);
    copy_turn_init(&send->copy_turn, copy_turn_go);
    snapshot_cut_init(&send->cut, on_cut);
    buffer_init(&send->window, SIZE_MAX / 2);
    buffer_init(&send->record, SIZE_MAX / 2);
    buffer_init(&send->piece, SIZE_MAX / 2);
    send->next = replica->sends;
    replica->sends = send;
    copy_tally_begin(&host->copy_tallies[send->to.node], world_now(host->world));
    snapshot_turn_wait(&send->turn);
}

/* --- how far they are --- */

static void fill_progress(const struct snapshot_send *send, struct snapshot_progress *ret)
{
    *ret = (struct snapshot_progress){.to = send->to.node,
                                      .acked = send->acked,
                                      .produced = send->produced,
                                      .ended = send->ended};
}

bool snapshot_progress_at(const struct replica *replica, uint32_t index,
                          struct snapshot_progress *ret)
{
    for (const struct snapshot_send *send = replica->sends; send != NULL; send = send->next) {
        if (index-- > 0) continue;
        fill_progress(send, ret);
        return true;
    }
    return false;
}

bool snapshot_progress_to(const struct replica *replica, struct replica_id to,
                          struct snapshot_progress *ret)
{
    for (const struct snapshot_send *send = replica->sends; send != NULL; send = send->next) {
        if (!replica_id_equal(send->to.replica, to)) continue;
        fill_progress(send, ret);
        return true;
    }
    return false;
}

/* --- what the receiver says, and time --- */

static void count_acked(struct snapshot_send *send, uint64_t offset)
{
    struct partition_host *host = send->host;

    if (offset <= send->counted) return; /* sent for the second time */
    host->statistics.snapshot_bytes += offset - send->counted;
    copy_tally_sent(&host->copy_tallies[send->to.node], offset - send->counted,
                    world_now(host->world));
    send->counted = offset;
}

static void take_ack(struct replica *replica, struct snapshot_send *send, uint64_t offset,
                     uint64_t limit)
{
    if (offset == 0 && send->acked > 0) { /* the receiver began again */
        send->restart = send->running;
        if (!send->running) begin_again(replica, send);
        return;
    }
    if (offset < send->window_at || offset > send->produced) return;
    if (limit > send->limit) send->limit = limit;
    if (offset > send->acked) {
        send->last_progress = world_now(replica->host->world);
        send->acked = offset;
        count_acked(send, offset);
        buffer_consume(&send->window, offset - send->window_at);
        send->window_at = offset;
    }
    if (send->sent < send->acked) send->sent = send->acked;
    send_chunks(replica, send);
    read_on(replica, send);
}

void snapshot_on_ack(struct partition_host *host, const struct transport_peer *from,
                     struct bytes payload)
{
    struct reader reader = reader_make(payload);
    struct group_id group = {read_u32(&reader)};
    struct replica_id receiver = {read_u64(&reader)};
    struct replica_id sender = {read_u64(&reader)};
    uint64_t id = read_u64(&reader);
    uint64_t offset = read_u64(&reader);
    uint8_t state = read_u8(&reader);
    uint64_t limit = reader_left(&reader) > 0 ? read_u64(&reader) : offset + SNAPSHOT_WINDOW;
    struct replica *replica = host_replica(host, group);
    bool ours = !reader.failed && replica != NULL && !replica->halted &&
                replica_id_equal(replica->id, sender);
    if (!ours) return;
    struct snapshot_send **at = find_send(replica, receiver);
    if (*at == NULL || (*at)->id != id || (*at)->to.node != from->node) return;
    if (state == SNAPSHOT_ACK_INSTALLED) {
        host->statistics.snapshots_sent++;
        count_acked(*at, (*at)->produced);
        copy_tally_done(&host->copy_tallies[(*at)->to.node], (*at)->produced,
                        world_now(host->world));
        SOMETIMES(host->world, "a snapshot was sent");
        end_send(replica, at, true);
        return;
    }
    if ((*at)->stage == SEND_STREAMS && !(*at)->restart) take_ack(replica, *at, offset, limit);
}

static void send_one(struct replica *replica, struct snapshot_send *send)
{
    uint64_t left = send->produced - send->sent;
    uint64_t size = left < SNAPSHOT_CHUNK ? left : SNAPSHOT_CHUNK;
    struct buffer frame;
    if (size < SNAPSHOT_CHUNK && !send->ended) return; /* it is being read */
    if (!is_durable(replica, send)) return;
    if (!send->ended && size == left) return; /* as in send_chunks() */
    buffer_init(&frame, TRANSPORT_FRAME_SIZE_MAX);
    send_chunk(replica, send, &frame, size);
    buffer_free(&frame);
}

static bool is_member(const struct replica *replica, struct replica_id id)
{
    const struct raft_config *config = raft_config(replica->raft);
    const struct raft_member *lists[] = {config->incoming, config->outgoing, config->learners};
    const uint8_t counts[] = {config->incoming_count, config->outgoing_count,
                              config->learner_count};
    for (size_t list = 0; list < ARRAY_COUNT(lists); list++)
        for (size_t i = 0; i < counts[list]; i++)
            if (replica_id_equal(lists[list][i].replica, id)) return true;
    return false;
}

void snapshot_sends_tick(struct replica *replica, uint64_t now)
{
    for (struct snapshot_send **at = &replica->sends; *at != NULL;) {
        struct snapshot_send *send = *at;
        bool waits = send->stage == SEND_WAITS_FOR_TURN;
        bool late = !waits && now - send->last_progress > SNAPSHOT_GIVE_UP_US;
        if (late || !is_member(replica, send->to.replica)) {
            end_send(replica, at, false);
            continue;
        }
        at = &send->next;
        if (waits) continue;
        if (send->stage == SEND_WAITS_FOR_CUT) cut_begin(replica, send);
        if (send->stage != SEND_STREAMS) continue;
        if (now - send->last_sent <= SNAPSHOT_RESEND_US || send->restart) continue;
        /* Nothing heard: again from what is known to be there, but one chunk, for it may all be
         * there and only slow. The answer says where to go on. */
        send->sent = send->acked;
        send_one(replica, send);
    }
}
