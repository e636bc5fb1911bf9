/* State to a replica that fell behind the entries its leader still has.
 *
 * PEER_FRAME_SNAPSHOT:     u32 group | u64 from | u64 to | u64 leader's term | u64 transfer id |
 *                          u64 index | u64 term at index | u64 total | u64 offset | bytes
 * PEER_FRAME_SNAPSHOT_ACK: u32 group | u64 from | u64 to | u64 transfer id | u64 next offset |
 *                          u8 state (0 receiving, 1 has it)
 * Content: u32 size, record (replica.c) | rows: u32 key size, key | u32 size, stored value.
 *
 * The receiver writes range deletion, rows and record as one run of the engine, then the
 * snapshot record into its log, and only then tells its Raft core (WHY 9.9). In between the
 * core stands still. A crash after the run and before the record is mended by recovery. */
#include "partition/host_internal.h"

enum {
    SNAPSHOT_CHUNK = 256 << 10,
    SNAPSHOT_WINDOW = 4 * SNAPSHOT_CHUNK,
    SNAPSHOT_RESEND_US = 500 * 1000,
    SNAPSHOT_GIVE_UP_US = 20 * 1000 * 1000,
    SNAPSHOT_ACK_RECEIVING = 0,
    SNAPSHOT_ACK_INSTALLED = 1,
};
#define SNAPSHOT_BYTES_MAX ((uint64_t)8 << 30)

struct snapshot_send {
    struct snapshot_send *next;
    struct raft_member to;
    uint64_t id, index, term;
    struct buffer content;
    uint64_t sent, acked;
    uint64_t last_progress, last_sent;
};

enum receive_stage { RECEIVING, INGESTING, LOGGING };

struct snapshot_receive {
    enum receive_stage stage;
    struct world_job job;
    struct partition_host *host;
    struct replica *replica; /* NULL: it went meanwhile */
    node_id_t from_node;
    uint32_t from_worker;
    struct replica_id from;
    uint64_t id, index, term, total, leader_term;
    uint64_t heard_at;
    struct buffer content;
    struct replica_record record;
    struct bytes rows; /* within content */
    struct buffer record_bytes;
    uint8_t range_from[2], range_to[2], record_key[REPLICA_RECORD_KEY_SIZE];
    struct engine *engine;
    enum status status;
    struct error error;
};

struct chunk {
    struct group_id group;
    struct replica_id from, to;
    uint64_t leader_term, id, index, term, total, offset;
    struct bytes bytes;
};

/* --- sending --- */

static bool append_row(void *context, const struct row_found *row)
{
    struct buffer *content = context;
    struct writer writer = writer_make(content);
    write_u32(&writer, (uint32_t)row->key.size);
    write_bytes(&writer, row->key);
    write_u32(&writer, (uint32_t)(ROW_HEADER_SIZE + row->value.size));
    row_value_encode(content, &row->header, row->value);
    return true;
}

static struct snapshot_send **find_send(struct replica *replica, struct replica_id to)
{
    struct snapshot_send **at = &replica->sends;
    while (*at != NULL && !replica_id_equal((*at)->to.replica, to))
        at = &(*at)->next;
    return at;
}

static void send_free(struct snapshot_send **at)
{
    struct snapshot_send *send = *at;
    *at = send->next;
    buffer_free(&send->content);
    memory_free(send);
}

static void send_chunks(struct replica *replica, struct snapshot_send *send, uint64_t now)
{
    struct partition_host *host = replica->host;
    uint64_t total = buffer_size(&send->content);
    struct buffer frame;
    buffer_init(&frame, TRANSPORT_FRAME_SIZE_MAX);
    while (send->sent < total && send->sent < send->acked + SNAPSHOT_WINDOW) {
        uint64_t size = total - send->sent < SNAPSHOT_CHUNK ? total - send->sent : SNAPSHOT_CHUNK;
        struct writer writer = writer_make(&frame);
        buffer_clear(&frame);
        write_u32(&writer, replica->group.value);
        write_u64(&writer, replica->id.value);
        write_u64(&writer, send->to.replica.value);
        write_u64(&writer, raft_term(replica->raft));
        write_u64(&writer, send->id);
        write_u64(&writer, send->index);
        write_u64(&writer, send->term);
        write_u64(&writer, total);
        write_u64(&writer, send->sent);
        write_bytes(&writer, bytes_make(buffer_bytes(&send->content).data + send->sent, size));
        ASSERT(!writer.failed);
        transport_send(host->options.transport, send->to.node,
                       host_remote_worker(host, send->to.node, replica->group), PEER_FRAME_SNAPSHOT,
                       buffer_bytes(&frame));
        send->sent += size;
        send->last_sent = now;
    }
    buffer_free(&frame);
}

/* The core found that a member needs entries which are gone from memory. */
void snapshot_offer(struct replica *replica, const struct raft_message *message)
{
    struct partition_host *host = replica->host;
    bool ready = replica->applied > 0 && replica->applied_term > 0;
    if (*find_send(replica, message->to) != NULL) return;
    if (!ready) {
        raft_snapshot_sent(replica->raft, message->to, 0, false);
        return;
    }
    struct snapshot_send *send = memory_allocate_zero(sizeof(*send));
    send->to = (struct raft_member){.replica = message->to, .node = message->to_node};
    send->id = world_random(host->world);
    send->index = replica->applied;
    send->term = replica->applied_term;
    send->last_progress = world_now(host->world);
    buffer_init(&send->content, SIZE_MAX / 2);
    struct buffer record;
    buffer_init(&record, SIZE_MAX / 2);
    replica_record_encode(replica, &record);
    struct writer writer = writer_make(&send->content);
    write_u32(&writer, (uint32_t)buffer_size(&record));
    write_bytes(&writer, buffer_bytes(&record));
    buffer_free(&record);
    row_table_committed_each(replica->table, bytes_make(NULL, 0), &send->content, append_row);
    send->next = replica->sends;
    replica->sends = send;
    LOG_INFO(host_logger(host), "partition", "snapshot to node %u group=%u index=%llu bytes=%zu",
             send->to.node, replica->group.value, (unsigned long long)send->index,
             buffer_size(&send->content));
    send_chunks(replica, send, send->last_progress);
}

static void end_send(struct replica *replica, struct snapshot_send **at, bool ok)
{
    struct replica_id to = (*at)->to.replica;
    uint64_t index = (*at)->index;
    send_free(at);
    raft_snapshot_sent(replica->raft, to, index, ok);
    host_mark_dirty(replica);
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
    struct replica *replica = host_replica(host, group);
    bool ours = !reader.failed && replica != NULL && !replica->halted &&
                replica_id_equal(replica->id, sender);
    if (!ours) return;
    struct snapshot_send **at = find_send(replica, receiver);
    if (*at == NULL || (*at)->id != id || (*at)->to.node != from->node) return;
    struct snapshot_send *send = *at;
    uint64_t now = world_now(host->world);
    if (state == SNAPSHOT_ACK_INSTALLED) {
        host->statistics.snapshots_sent++;
        SOMETIMES(host->world, "a snapshot was sent");
        end_send(replica, at, true);
        return;
    }
    if (offset > buffer_size(&send->content)) return;
    if (offset > send->acked) {
        send->acked = offset;
        send->last_progress = now;
    }
    if (offset < send->acked) { /* the receiver began again */
        send->acked = offset;
        send->sent = offset;
    }
    if (send->sent < send->acked) send->sent = send->acked;
    send_chunks(replica, send, now);
}

static void receive_free(struct replica *replica)
{
    struct snapshot_receive *receive = replica->receive;
    if (receive == NULL) return;
    replica->receive = NULL;
    buffer_free(&receive->content);
    buffer_free(&receive->record_bytes);
    memory_free(receive);
}

/* While a snapshot is received its replica is not flushed: one that is not going on, or that the
 * log has overtaken, must not stay. */
static void receive_tick(struct replica *replica, uint64_t now)
{
    const struct snapshot_receive *receive = replica->receive;
    if (receive == NULL || receive->stage != RECEIVING) return;
    bool overtaken = raft_commit_index(replica->raft) >= receive->index;
    if (!overtaken && now - receive->heard_at <= SNAPSHOT_GIVE_UP_US) return;
    SOMETIMES(replica->host->world, "half a snapshot was dropped");
    receive_free(replica);
}

void snapshot_tick(struct replica *replica, uint64_t now)
{
    receive_tick(replica, now);
    for (struct snapshot_send **at = &replica->sends; *at != NULL;) {
        struct snapshot_send *send = *at;
        if (now - send->last_progress > SNAPSHOT_GIVE_UP_US) {
            end_send(replica, at, false);
            continue;
        }
        if (now - send->last_sent > SNAPSHOT_RESEND_US) {
            /* Nothing heard: again from what is known to be there; the last byte at least, so
             * that a receiver that has all says so. */
            uint64_t total = buffer_size(&send->content);
            send->sent = send->acked < total ? send->acked : 0;
            if (send->sent == 0) send->acked = 0;
            send_chunks(replica, send, now);
        }
        at = &send->next;
    }
}

uint64_t snapshot_index_sent(const struct replica *replica, struct replica_id to)
{
    for (const struct snapshot_send *send = replica->sends; send != NULL; send = send->next)
        if (replica_id_equal(send->to.replica, to)) return send->index;
    return 0;
}

void snapshot_sends_drop(struct replica *replica)
{
    while (replica->sends != NULL)
        send_free(&replica->sends);
}

/* --- receiving --- */

bool snapshot_is_installing(const struct replica *replica)
{
    return replica->receive != NULL && replica->receive->stage != RECEIVING;
}

bool snapshot_holds_core(const struct replica *replica)
{
    return replica->receive != NULL && replica->receive->stage == LOGGING;
}

void snapshot_replica_gone(struct replica *replica)
{
    snapshot_sends_drop(replica);
    if (replica->receive == NULL) return;
    if (replica->receive->stage == INGESTING && !replica->host->closing) {
        replica->receive->replica = NULL; /* the job frees it */
        replica->host->orphans++;
        replica->receive = NULL;
        return;
    }
    receive_free(replica);
}

static void send_ack(struct replica *replica, node_id_t node, uint32_t worker, struct replica_id to,
                     uint64_t id, uint64_t offset, uint8_t state)
{
    struct buffer frame;
    buffer_init(&frame, 64);
    struct writer writer = writer_make(&frame);
    write_u32(&writer, replica->group.value);
    write_u64(&writer, replica->id.value);
    write_u64(&writer, to.value);
    write_u64(&writer, id);
    write_u64(&writer, offset);
    write_u8(&writer, state);
    ASSERT(!writer.failed);
    transport_send(replica->host->options.transport, node, worker, PEER_FRAME_SNAPSHOT_ACK,
                   buffer_bytes(&frame));
    buffer_free(&frame);
}

static enum status ingest_rows(struct snapshot_receive *receive, struct engine_run *run)
{
    struct reader reader = reader_make(receive->rows);
    while (reader_left(&reader) > 0) {
        struct bytes key = read_bytes(&reader, read_u32(&reader));
        struct bytes value = read_bytes(&reader, read_u32(&reader));
        if (reader.failed) return error_set(&receive->error, STATUS_CORRUPT, "damaged snapshot");
        enum status status = engine_run_put(receive->engine, run, key, value, &receive->error);
        if (status) return status;
    }
    return STATUS_OK;
}

/* On the flush thread: touches only the receive and the engine. */
static void ingest_run(struct world_job *job)
{
    struct snapshot_receive *receive = job->context;
    struct engine *engine = receive->engine;
    struct engine_run *run = NULL;
    receive->status = engine_run_open(engine, &run, &receive->error);
    if (receive->status) return;
    receive->status = engine_run_delete_range(engine, run, bytes_make(receive->range_from, 2),
                                              bytes_make(receive->range_to, 2), &receive->error);
    if (receive->status == STATUS_OK) receive->status = ingest_rows(receive, run);
    if (receive->status == STATUS_OK) {
        receive->status = engine_run_put(
            engine, run, bytes_make(receive->record_key, sizeof(receive->record_key)),
            buffer_bytes(&receive->record_bytes), &receive->error);
    }
    if (receive->status) {
        engine_run_abandon(engine, run);
        return;
    }
    receive->status = engine_run_ingest(engine, run, &receive->error);
}

static void acknowledge_installed(struct replica *replica)
{
    struct snapshot_receive *receive = replica->receive;
    send_ack(replica, receive->from_node, receive->from_worker, receive->from, receive->id,
             receive->total, SNAPSHOT_ACK_INSTALLED);
}

static void ingest_done(struct world_job *job)
{
    struct snapshot_receive *receive = job->context;
    struct replica *replica = receive->replica;
    if (replica == NULL) {
        receive->host->orphans--;
        buffer_free(&receive->content);
        buffer_free(&receive->record_bytes);
        memory_free(receive);
        return;
    }
    struct partition_host *host = replica->host;
    if (receive->status) {
        LOG_ERROR(host_logger(host), "partition", "snapshot of group %u could not be stored: %s",
                  replica->group.value, receive->error.text);
        receive_free(replica);
        return;
    }
    replica->clear_first = false;
    /* What the core wants written stands before the snapshot in the log, never behind it. */
    if (raft_has_output(replica->raft)) drive_replica(replica, world_now(host->world));
    /* The core got there by itself meanwhile: the engine is at `index`, log and table hold
     * what lies behind it. */
    bool overtaken = raft_commit_index(replica->raft) >= receive->index ||
                     raft_term_at(replica->raft, receive->index) == receive->term;
    if (overtaken) {
        SOMETIMES(host->world, "a snapshot was overtaken by the log");
        /* The engine is there: no record of an older index may be put over it, or a restart
         * would replay entries over rows that have them already. */
        if (receive->index > replica->flushed) {
            replica->flushed = receive->index;
            replica->flushed_term = receive->term;
        }
        acknowledge_installed(replica);
        receive_free(replica);
        return;
    }
    receive->stage = LOGGING;
    uint64_t position = log_append_snapshot(host->queue, replica->group, replica->id,
                                            receive->index, receive->term);
    persist_push(host, replica, 0, position);
    world_defer(host->world, &host->turn_end);
}

static void load_rows(struct snapshot_receive *receive, struct row_table *table)
{
    struct reader reader = reader_make(receive->rows);
    struct row_header header;
    struct bytes value;
    while (reader_left(&reader) > 0) {
        struct bytes key = read_bytes(&reader, read_u32(&reader));
        struct bytes stored = read_bytes(&reader, read_u32(&reader));
        enum status status = row_value_decode(stored, &header, &value);
        ASSERT(!reader.failed && status == STATUS_OK); /* checked before the ingest */
        row_table_load(table, key, &header, value);
    }
}

/* Engine and log have it: now the state in memory and the core. */
void snapshot_log_durable(struct replica *replica)
{
    struct partition_host *host = replica->host;
    struct snapshot_receive *receive = replica->receive;
    ASSERT(receive != NULL && receive->stage == LOGGING);
    row_table_free(replica->table);
    replica->table = row_table_make_in(host->row_memory);
    load_rows(receive, replica->table);
    enum status status = dedup_decode(replica->dedup, receive->record.dedup);
    ASSERT(status == STATUS_OK); /* checked before the ingest */
    replica->applied = replica->flushed = replica->trimmed = receive->index;
    replica->applied_term = replica->flushed_term = receive->term;
    replica->entry_time = receive->record.entry_time;
    replica->entries_bytes = 0;
    replica->generation++;
    bool installed = raft_install_snapshot(replica->raft, receive->index, receive->term,
                                           &receive->record.config, world_now(host->world));
    ASSERT(installed); /* the core stood still since it was checked */
    host->statistics.snapshots_installed++;
    SOMETIMES(host->world, "a snapshot was installed");
    LOG_INFO(host_logger(host), "partition", "snapshot installed group=%u index=%llu",
             replica->group.value, (unsigned long long)receive->index);
    acknowledge_installed(replica);
    receive_free(replica);
    if (replica->group.value == GROUP_META && host->options.events.on_meta_applied != NULL) {
        host->options.events.on_meta_applied(host->options.context);
    }
}

/* All bytes are here: is it sound? Then record under the own id, and off to the engine. */
static bool content_is_sound(struct snapshot_receive *receive)
{
    struct reader reader = reader_make(buffer_bytes(&receive->content));
    struct bytes record = read_bytes(&reader, read_u32(&reader));
    if (reader.failed || replica_record_decode(record, &receive->record)) return false;
    bool same = receive->record.applied == receive->index && receive->record.term == receive->term;
    receive->rows = bytes_make(reader.next, reader_left(&reader));
    struct dedup *check = dedup_make();
    bool dedup_sound = dedup_decode(check, receive->record.dedup) == STATUS_OK;
    dedup_free(check);
    struct row_header header;
    struct bytes value;
    while (reader_left(&reader) > 0 && !reader.failed) {
        read_bytes(&reader, read_u32(&reader));
        if (row_value_decode(read_bytes(&reader, read_u32(&reader)), &header, &value)) return false;
    }
    return same && dedup_sound && !reader.failed;
}

static void install(struct replica *replica)
{
    struct snapshot_receive *receive = replica->receive;
    struct partition_host *host = replica->host;
    if (!content_is_sound(receive)) {
        LOG_ERROR(host_logger(host), "partition",
                  "snapshot of group %u is damaged; asking for another", replica->group.value);
        receive_free(replica);
        return;
    }
    /* The record is stored under this replica's own id, otherwise as it came. */
    struct bytes content = buffer_bytes(&receive->content);
    uint32_t record_size = load_u32(content.data);
    buffer_init(&receive->record_bytes, SIZE_MAX / 2);
    buffer_append(&receive->record_bytes, bytes_make(content.data + 4, record_size));
    store_u64(receive->record_bytes.memory + receive->record_bytes.start + 1, replica->id.value);
    replica_row_range(replica, receive->range_from, receive->range_to);
    replica_record_key(replica->group, receive->record_key);
    receive->engine = host->options.engines[replica->store];
    receive->stage = INGESTING;
    receive->job = (struct world_job){.run = ingest_run, .done = ingest_done, .context = receive};
    world_job_start(host->world, LANE_FLUSH, &receive->job);
}

static bool chunk_decode(struct bytes payload, struct chunk *ret)
{
    struct reader reader = reader_make(payload);
    *ret = (struct chunk){.group = {read_u32(&reader)},
                          .from = {read_u64(&reader)},
                          .to = {read_u64(&reader)},
                          .leader_term = read_u64(&reader),
                          .id = read_u64(&reader),
                          .index = read_u64(&reader),
                          .term = read_u64(&reader),
                          .total = read_u64(&reader),
                          .offset = read_u64(&reader)};
    ret->bytes = bytes_make(reader.next, reader_left(&reader));
    return !reader.failed && ret->total <= SNAPSHOT_BYTES_MAX && ret->offset <= ret->total &&
           ret->bytes.size <= ret->total - ret->offset && ret->bytes.size > 0;
}

static void receive_begin(struct replica *replica, const struct transport_peer *from,
                          const struct chunk *chunk)
{
    receive_free(replica);
    struct snapshot_receive *receive = memory_allocate_zero(sizeof(*receive));
    receive->host = replica->host;
    receive->replica = replica;
    receive->from_node = from->node;
    receive->from_worker = from->worker;
    receive->from = chunk->from;
    receive->id = chunk->id;
    receive->index = chunk->index;
    receive->term = chunk->term;
    receive->total = chunk->total;
    receive->leader_term = chunk->leader_term;
    buffer_init(&receive->content, SIZE_MAX / 2);
    replica->receive = receive;
}

void snapshot_on_frame(struct partition_host *host, const struct transport_peer *from,
                       struct bytes payload)
{
    struct chunk chunk;
    if (!chunk_decode(payload, &chunk)) return;
    struct replica *replica = host_replica(host, chunk.group);
    bool ours = replica != NULL && !replica->halted && replica_id_equal(replica->id, chunk.to) &&
                chunk.leader_term >= raft_term(replica->raft);
    if (!ours) return;
    if (replica->receive == NULL && chunk.index <= raft_commit_index(replica->raft)) {
        send_ack(replica, from->node, from->worker, chunk.from, chunk.id, chunk.total,
                 SNAPSHOT_ACK_INSTALLED);
        return;
    }
    if (snapshot_is_installing(replica)) return;
    /* Anything under way for this replica that would write its rows comes first. */
    const struct host_store *store = &host->stores[replica->store];
    if (store->flush != NULL || store->drops != NULL) return;
    if (replica->receive == NULL || replica->receive->id != chunk.id) {
        if (chunk.offset != 0) { /* of a transfer that began before our start: from the front */
            if (replica->receive == NULL) {
                send_ack(replica, from->node, from->worker, chunk.from, chunk.id, 0,
                         SNAPSHOT_ACK_RECEIVING);
            }
            return;
        }
        receive_begin(replica, from, &chunk);
    }
    struct snapshot_receive *receive = replica->receive;
    receive->heard_at = world_now(host->world);
    bool fits = chunk.offset == buffer_size(&receive->content) && chunk.total == receive->total;
    if (fits) buffer_append(&receive->content, chunk.bytes);
    send_ack(replica, from->node, from->worker, chunk.from, chunk.id,
             buffer_size(&receive->content), SNAPSHOT_ACK_RECEIVING);
    if (buffer_size(&receive->content) == receive->total) install(replica);
}
