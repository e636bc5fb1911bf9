/* State to a replica that fell behind the entries its leader still has: the receiver. The
 * sender is snapshot_send.c, the format is in snapshot_internal.h.
 *
 * Pieces are written into one run of the engine as they come - range deletion, rows, and at the
 * end the record - which is ingested whole; then the snapshot record goes into the log, and only
 * then the Raft core is told (WHY 9.9). Between ingest and log the core stands still. A crash
 * after the ingest and before the record is mended by recovery. Runs are written on LANE_FLUSH,
 * one piece after the other, between flushes of the same worker. */
#include "partition/host_internal.h"
#include "partition/snapshot_internal.h"

enum receive_stage { RECEIVING, INGESTING, LOGGING };

struct snapshot_receive {
    enum receive_stage stage;
    struct partition_host *host;
    struct replica *replica; /* NULL: given up while its job runs */
    node_id_t from_node;
    uint32_t from_worker;
    struct replica_id from;
    uint64_t id, index, term, leader_term;
    uint64_t total; /* 0: not known yet */
    uint64_t received, heard_at;
    struct buffer content;      /* received, and not yet given to the job */
    struct copy_turn copy_turn; /* the next piece for it waits */
    bool may_write;             /* nothing else writes to the store now, or will to these rows */
    bool has_record;
    struct replica_record record;
    struct buffer record_bytes; /* under this replica's own id */
    uint8_t range_from[2], range_to[2], record_key[REPLICA_RECORD_KEY_SIZE];
    /* The job's, while it runs: */
    struct world_job job;
    bool running, last, abandon;
    struct buffer rows; /* whole rows */
    struct engine *engine;
    struct engine_run *run; /* open from the first piece to the ingest */
    enum status status;
    struct error error;
};

struct chunk {
    struct group_id group;
    struct replica_id from, to;
    uint64_t leader_term, id, index, term, total, offset;
    struct bytes bytes;
};

/* --- the job: a piece into the run --- */

static bool in_range(const struct snapshot_receive *receive, struct bytes key)
{
    return key.size >= ROW_PREFIX_SIZE && memcmp(key.data, receive->range_from, 2) >= 0 &&
           memcmp(key.data, receive->range_to, 2) < 0;
}

static enum status write_rows(struct snapshot_receive *receive)
{
    struct reader reader = reader_make(buffer_bytes(&receive->rows));
    struct row_header header;
    struct bytes value;
    while (reader_left(&reader) > 0) {
        struct bytes key = read_bytes(&reader, read_u32(&reader));
        struct bytes stored = read_bytes(&reader, read_u32(&reader));
        ASSERT(!reader.failed); /* rows are handed over whole */
        bool sound = in_range(receive, key) && !row_value_decode(stored, &header, &value);
        if (!sound) return error_set(&receive->error, STATUS_INVALID, "damaged snapshot");
        enum status status =
            engine_run_put(receive->engine, receive->run, key, stored, &receive->error);
        if (status) return status;
    }
    return STATUS_OK;
}

/* Nobody else writes rows of the group while they are received: if none is there, none will be. */
static enum status range_is_empty(struct snapshot_receive *receive, bool *ret_empty)
{
    struct bytes key, value;
    struct engine_iterator *rows = engine_iterate(
        receive->engine, bytes_make(receive->range_from, 2), bytes_make(receive->range_to, 2));
    *ret_empty = !engine_iterator_next(receive->engine, rows, &key, &value);
    return engine_iterator_close(receive->engine, rows, &receive->error);
}

static enum status begin_run(struct snapshot_receive *receive)
{
    bool empty = false;
    enum status status = range_is_empty(receive, &empty);
    if (status == STATUS_OK)
        status = engine_run_open(receive->engine, &receive->run, &receive->error);
    if (status || empty) return status;
    return engine_run_delete_range(receive->engine, receive->run,
                                   bytes_make(receive->range_from, 2),
                                   bytes_make(receive->range_to, 2), &receive->error);
}

static void abandon_run(struct snapshot_receive *receive)
{
    if (receive->run != NULL) engine_run_abandon(receive->engine, receive->run);
    receive->run = NULL;
}

static enum status ingest(struct snapshot_receive *receive)
{
    struct engine_run *run = receive->run;
    enum status status = engine_run_cut(receive->engine, run, &receive->error);
    if (status) return status;
    status = engine_run_put(receive->engine, run,
                            bytes_make(receive->record_key, sizeof(receive->record_key)),
                            buffer_bytes(&receive->record_bytes), &receive->error);
    if (status) return status;
    receive->run = NULL; /* freed by the ingest, whatever comes of it */
    return engine_run_ingest(receive->engine, run, &receive->error);
}

/* On the flush thread: touches only the receive and the engine. */
static void piece_run(struct world_job *job)
{
    struct snapshot_receive *receive = job->context;
    receive->status = STATUS_OK;
    if (!receive->abandon && receive->run == NULL) receive->status = begin_run(receive);
    if (!receive->abandon && receive->status == STATUS_OK) receive->status = write_rows(receive);
    if (!receive->abandon && receive->status == STATUS_OK && receive->last)
        receive->status = ingest(receive);
    if (receive->abandon || receive->status) abandon_run(receive);
}

/* --- life --- */

bool snapshot_is_installing(const struct replica *replica)
{
    return replica->receive != NULL && replica->receive->stage != RECEIVING;
}

bool snapshot_holds_core(const struct replica *replica)
{
    return replica->receive != NULL && replica->receive->stage == LOGGING;
}

static void piece_done(struct world_job *job);

static void job_start(struct snapshot_receive *receive)
{
    receive->job = (struct world_job){.run = piece_run, .done = piece_done, .context = receive};
    receive->running = true;
    receive->host->snapshot_jobs++;
    world_job_start(receive->host->world, LANE_FLUSH, &receive->job);
}

static void receive_release(struct snapshot_receive *receive)
{
    buffer_free(&receive->content);
    buffer_free(&receive->rows);
    buffer_free(&receive->record_bytes);
    memory_free(receive);
}

/* A run that is open is given up where runs are written. */
static void receive_free(struct replica *replica)
{
    struct snapshot_receive *receive = replica->receive;
    if (receive == NULL) return;
    struct partition_host *host = replica->host;
    replica->receive = NULL;
    receive->replica = NULL;
    copy_turn_end(host, &receive->copy_turn);
    if (host->closing) {
        if (receive->running) host->snapshot_jobs--;
        abandon_run(receive);
        receive_release(receive);
    } else if (receive->running) {
        if (receive->stage == RECEIVING) receive->abandon = true; /* or when it is done */
    } else if (receive->run != NULL) {
        receive->abandon = true;
        job_start(receive);
    } else {
        receive_release(receive);
    }
}

void snapshot_receive_halt(struct replica *replica)
{
    struct snapshot_receive *receive = replica->receive;
    if (receive != NULL) copy_turn_end(receive->host, &receive->copy_turn);
}

uint64_t snapshot_receive_bytes(const struct replica *replica)
{
    const struct snapshot_receive *receive = replica->receive;
    if (receive == NULL) return 0;
    return buffer_size(&receive->content) + buffer_size(&receive->rows) +
           buffer_size(&receive->record_bytes);
}

void snapshot_replica_gone(struct replica *replica)
{
    snapshot_sends_drop(replica);
    receive_free(replica);
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

static void go_on_and_answer(struct replica *replica);

void snapshot_tick(struct replica *replica, uint64_t now)
{
    receive_tick(replica, now);
    if (replica->receive != NULL && !replica->receive->may_write) go_on_and_answer(replica);
    snapshot_sends_tick(replica, now);
}

/* --- acknowledgements --- */

static void send_ack(struct replica *replica, node_id_t node, uint32_t worker, struct replica_id to,
                     uint64_t id, uint64_t offset, uint8_t state, uint64_t limit)
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
    write_u64(&writer, limit);
    ASSERT(!writer.failed);
    transport_send(replica->host->options.transport, node, worker, PEER_FRAME_SNAPSHOT_ACK,
                   buffer_bytes(&frame));
    buffer_free(&frame);
}

static void acknowledge(struct replica *replica, uint8_t state)
{
    const struct snapshot_receive *receive = replica->receive;
    /* Twice the window at most is held: one that is being written, one that waits for it. The
     * record waits until it is whole, whatever its size. */
    uint64_t waiting = receive->has_record ? buffer_size(&receive->content) : 0;
    send_ack(replica, receive->from_node, receive->from_worker, receive->from, receive->id,
             receive->received, state, receive->received - waiting + SNAPSHOT_WINDOW);
}

/* --- from the engine to the log to the core --- */

static void ingested(struct replica *replica)
{
    struct snapshot_receive *receive = replica->receive;
    struct partition_host *host = replica->host;
    store_job_ended(host, replica->store, STATUS_OK, NULL);
    replica->cold_generation++; /* what was read from the engine before is of another index */
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
        cut_table_gone(replica); /* what has not looked at the engine yet would see too much */
        acknowledge(replica, SNAPSHOT_ACK_INSTALLED);
        receive_free(replica);
        return;
    }
    receive->stage = LOGGING;
    uint64_t position = log_append_snapshot(host->queue, replica->group, replica->id,
                                            receive->index, receive->term);
    persist_push(host, replica, 0, position, world_now(host->world));
    world_defer(host->world, &host->turn_end);
}

/* Little is loaded at once; of much, rows come when they are asked for. */
static void load_table(struct replica *replica, const struct snapshot_receive *receive)
{
    struct error error;
    cut_table_gone(replica);
    row_table_free(replica->table);
    replica->table = row_table_make_in(replica->host->row_memory);
    replica_table_begin(replica, &receive->record);
    bool now = replica->group.value == GROUP_META || !receive->record.counted ||
               receive->total <= SNAPSHOT_LOAD_NOW;
    if (!now || replica_load_rows(replica, UINT64_MAX, &error) == STATUS_OK) return;
    LOG_ERROR(host_logger(replica->host), "partition", "group %u: %s", replica->group.value,
              error.text);
    store_damaged(replica->host, replica->store, &error);
}

/* Engine and log have it: now the state in memory and the core. */
void snapshot_log_durable(struct replica *replica)
{
    struct partition_host *host = replica->host;
    struct snapshot_receive *receive = replica->receive;
    ASSERT(receive != NULL && receive->stage == LOGGING);
    load_table(replica, receive);
    if (replica->halted) { /* its store is damaged: nothing is installed, and nobody is told so */
        receive_free(replica);
        return;
    }
    enum status status = dedup_decode(replica->dedup, receive->record.dedup);
    ASSERT(status == STATUS_OK); /* checked before the ingest */
    replica->applied = replica->flushed = replica->trimmed = receive->index;
    replica->applied_term = replica->flushed_term = receive->term;
    if (replica->recovered_last > receive->index) replica->recovered_last = receive->index;
    replica->entry_time = receive->record.entry_time;
    replica->entries_bytes = 0;
    replica->generation++;
    replica->cold_generation++;
    bool installed = raft_install_snapshot(replica->raft, receive->index, receive->term,
                                           &receive->record.config, world_now(host->world));
    ASSERT(installed); /* the core stood still since it was checked */
    host->statistics.snapshots_installed++;
    SOMETIMES(host->world, "a snapshot was installed");
    LOG_INFO(host_logger(host), "partition", "snapshot installed group=%u index=%llu bytes=%llu",
             replica->group.value, (unsigned long long)receive->index,
             (unsigned long long)receive->total);
    acknowledge(replica, SNAPSHOT_ACK_INSTALLED);
    receive_free(replica);
    if (replica->group.value == GROUP_META && host->options.events.on_meta_applied != NULL) {
        host->options.events.on_meta_applied(host->options.context);
    }
}

/* --- receiving --- */

static void refuse_damaged(struct replica *replica)
{
    LOG_ERROR(host_logger(replica->host), "partition",
              "snapshot of group %u is damaged; asking for another", replica->group.value);
    receive_free(replica);
}

/* The record comes first, and stands still until all is there: it is stored last. False: it
 * makes no sense. */
static bool take_record(struct replica *replica)
{
    struct snapshot_receive *receive = replica->receive;
    struct bytes content = buffer_bytes(&receive->content);
    if (receive->has_record || content.size < 4) return true;
    uint32_t size = load_u32(content.data);
    if (size > SNAPSHOT_RECORD_MAX) return false;
    if (content.size < 4 + (size_t)size) return true;
    buffer_append(&receive->record_bytes, bytes_make(content.data + 4, size));
    if (replica_record_decode(buffer_bytes(&receive->record_bytes), &receive->record)) return false;
    /* Otherwise as it came. */
    store_u64(receive->record_bytes.memory + receive->record_bytes.start + 1, replica->id.value);
    buffer_consume(&receive->content, 4 + (size_t)size);
    receive->has_record = true;
    struct dedup *check = dedup_make();
    bool sound = dedup_decode(check, receive->record.dedup) == STATUS_OK;
    dedup_free(check);
    return sound && receive->record.applied == receive->index &&
           receive->record.term == receive->term;
}

_Static_assert(8 + ROW_KEY_SIZE_MAX + ROW_HEADER_SIZE + ROW_VALUE_SIZE_MAX < SNAPSHOT_WINDOW,
               "a row must fit into what one job is given");

/* Whole rows of the content for the job, SNAPSHOT_WINDOW at most. False: it cannot be. */
static bool take_rows(struct snapshot_receive *receive)
{
    struct reader reader = reader_make(buffer_bytes(&receive->content));
    size_t whole = 0;
    while (reader_left(&reader) > 0) {
        uint32_t key_size = read_u32(&reader);
        if (!reader.failed && key_size > ROW_KEY_SIZE_MAX) return false;
        read_bytes(&reader, key_size);
        uint32_t size = read_u32(&reader);
        if (!reader.failed && size > ROW_HEADER_SIZE + ROW_VALUE_SIZE_MAX) return false;
        read_bytes(&reader, size);
        size_t end = buffer_size(&receive->content) - reader_left(&reader);
        if (reader.failed || end > SNAPSHOT_WINDOW) break;
        whole = end;
    }
    buffer_clear(&receive->rows);
    buffer_append(&receive->rows, bytes_make(buffer_bytes(&receive->content).data, whole));
    buffer_consume(&receive->content, whole);
    return true;
}

/* Anything under way for this replica that would write its rows comes first; what begins later
 * leaves it alone. */
static bool store_is_busy(const struct replica *replica)
{
    const struct partition_host *host = replica->host;
    return host->stores[replica->store].flush != NULL || drop_goes_first(host, replica->store) ||
           drop_is_of(replica);
}

static void go_on(struct replica *replica)
{
    struct snapshot_receive *receive = replica->receive;
    if (receive->running || receive->stage != RECEIVING) return;
    /* Whatever else is under way: until the record is there, there is room without end. */
    if (!take_record(replica)) {
        refuse_damaged(replica);
        return;
    }
    if (!receive->may_write && store_is_busy(replica)) return;
    receive->may_write = true;
    bool all = receive->total != 0 && receive->received == receive->total;
    if (!all && (!receive->has_record || buffer_size(&receive->content) < SNAPSHOT_CHUNK)) return;
    if (!copy_turn_comes(receive->host, &receive->copy_turn, replica->group)) return;
    size_t before = buffer_size(&receive->content);
    bool sound = receive->has_record && take_rows(receive);
    size_t left = buffer_size(&receive->content);
    if (!sound || (all && left > 0 && left == before)) { /* it ends within a row */
        refuse_damaged(replica);
        return;
    }
    receive->last = all && left == 0;
    if (receive->last) receive->stage = INGESTING;
    copy_turn_took(receive->host, &receive->copy_turn, buffer_size(&receive->rows));
    job_start(receive);
}

/* The answer says what room there is now. What a halted replica has stays as it is: evidence. */
static void go_on_and_answer(struct replica *replica)
{
    if (replica->halted) return;
    go_on(replica);
    if (replica->receive != NULL) acknowledge(replica, SNAPSHOT_ACK_RECEIVING);
}

static void copy_turn_go(struct copy_turn *turn)
{
    struct snapshot_receive *receive = CONTAINER_OF(turn, struct snapshot_receive, copy_turn);
    go_on_and_answer(receive->replica);
}

void snapshot_store_free(struct partition_host *host, uint32_t store)
{
    struct list *head = &host->stores[store].replicas;
    for (struct list *at = head->next; at != head; at = at->next) {
        struct replica *replica = CONTAINER_OF(at, struct replica, by_store);
        if (replica->receive != NULL && !replica->receive->may_write) go_on_and_answer(replica);
    }
}

static void piece_done(struct world_job *job)
{
    struct snapshot_receive *receive = job->context;
    struct replica *replica = receive->replica;
    receive->running = false;
    receive->host->snapshot_jobs--;
    if (replica == NULL) {
        if (receive->run != NULL) { /* given up while a piece was written */
            receive->abandon = true;
            job_start(receive);
            return;
        }
        receive_release(receive);
        return;
    }
    if (receive->status) {
        LOG_ERROR(host_logger(receive->host), "partition",
                  "snapshot of group %u could not be stored: %s", replica->group.value,
                  receive->error.text);
        struct error error = receive->error;
        enum status status = receive->status;
        struct partition_host *host = replica->host;
        receive_free(replica);
        /* What came may be the peer's fault: then the engine is as good as before. */
        if (status != STATUS_INVALID) store_job_ended(host, replica->store, status, &error);
        return;
    }
    if (receive->stage == INGESTING) {
        ingested(replica);
        return;
    }
    go_on_and_answer(replica);
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
    if (reader.failed || ret->total > SNAPSHOT_BYTES_MAX || ret->offset > SNAPSHOT_BYTES_MAX)
        return false;
    if (ret->total == 0) return ret->bytes.size > 0;
    return ret->offset <= ret->total && ret->bytes.size <= ret->total - ret->offset;
}

static void receive_begin(struct replica *replica, const struct transport_peer *from,
                          const struct chunk *chunk)
{
    struct partition_host *host = replica->host;
    receive_free(replica);
    rest_withdraw(replica);
    struct snapshot_receive *receive = memory_allocate_zero(sizeof(*receive));
    receive->host = host;
    receive->replica = replica;
    copy_turn_init(&receive->copy_turn, copy_turn_go);
    receive->from_node = from->node;
    receive->from_worker = from->worker;
    receive->from = chunk->from;
    receive->id = chunk->id;
    receive->index = chunk->index;
    receive->term = chunk->term;
    receive->leader_term = chunk->leader_term;
    receive->engine = host->options.engines[replica->store];
    replica_row_range(replica, receive->range_from, receive->range_to);
    replica_record_key(replica->group, receive->record_key);
    buffer_init(&receive->content, SIZE_MAX / 2);
    buffer_init(&receive->rows, SIZE_MAX / 2);
    buffer_init(&receive->record_bytes, SIZE_MAX / 2);
    replica->receive = receive;
}

static void take_chunk(struct replica *replica, const struct chunk *chunk)
{
    struct snapshot_receive *receive = replica->receive;
    receive->heard_at = world_now(replica->host->world);
    if (chunk->total != 0) receive->total = chunk->total;
    bool fits = chunk->offset == receive->received &&
                buffer_size(&receive->content) + chunk->bytes.size <=
                    SNAPSHOT_BACKLOG + (receive->has_record ? 0 : SNAPSHOT_RECORD_MAX);
    if (fits) {
        buffer_append(&receive->content, chunk->bytes);
        receive->received += chunk->bytes.size;
    }
    go_on_and_answer(replica);
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
                 SNAPSHOT_ACK_INSTALLED, chunk.total);
        return;
    }
    if (snapshot_is_installing(replica)) return;
    if (replica->receive == NULL || replica->receive->id != chunk.id) {
        if (chunk.offset != 0) { /* of a transfer that began before our start: from the front */
            if (replica->receive == NULL) {
                send_ack(replica, from->node, from->worker, chunk.from, chunk.id, 0,
                         SNAPSHOT_ACK_RECEIVING, SNAPSHOT_WINDOW);
            }
            return;
        }
        receive_begin(replica, from, &chunk);
    }
    take_chunk(replica, &chunk);
}
