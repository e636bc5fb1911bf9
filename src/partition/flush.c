/* Rows to the engine, so that the log can be cut (DESIGN.md 6).
 *
 * A flush of a store copies, replica by replica (one a turn, so that no turn is long), the
 * rows that the engine does not have, each replica as of one applied index that its own log
 * holds durably (WHY 1.10). A job then writes them with the replicas' records as one sorted
 * run, which is there whole or not at all (FAULTS rule 2). */
#include <stdlib.h>

#include "partition/host_internal.h"

struct flush_part {
    struct group_id group;
    struct replica_id replica;
    uint64_t generation;
    uint64_t index, term;
};

struct flush_job {
    struct world_job job;
    struct world_timer timer;
    struct partition_host *host;
    uint32_t store;
    bool running;
    struct list *next;         /* replica to copy next, in slot order */
    struct replica *waits_for; /* its disk must catch up first */
    struct flush_part *parts;
    size_t part_count, part_capacity;
    struct buffer rows;    /* u8 tombstone | u32 key size | key | u32 size | stored value */
    struct buffer records; /* u32 group | u32 size | record */
    struct error error;
    enum status status;
};

static void flush_free(struct flush_job *flush)
{
    if (flush->waits_for != NULL) flush->waits_for->flush_holds_apply = false;
    world_timer_stop(flush->host->world, &flush->timer);
    flush->host->stores[flush->store].flush = NULL;
    buffer_free(&flush->rows);
    buffer_free(&flush->records);
    memory_free(flush->parts);
    memory_free(flush);
}

static void copy_row(void *context, const struct row_found *row)
{
    struct flush_job *flush = context;
    struct writer writer = writer_make(&flush->rows);
    write_u8(&writer, row->tombstone);
    write_u32(&writer, (uint32_t)row->key.size);
    write_bytes(&writer, row->key);
    write_u32(&writer, row->tombstone ? 0 : (uint32_t)(ROW_HEADER_SIZE + row->value.size));
    if (!row->tombstone) row_value_encode(&flush->rows, &row->header, row->value);
}

static void copy_record(struct flush_job *flush, const struct replica *replica)
{
    struct writer writer = writer_make(&flush->records);
    struct buffer record;
    buffer_init(&record, SIZE_MAX / 2);
    replica_record_encode(replica, &record);
    write_u32(&writer, replica->group.value);
    write_u32(&writer, (uint32_t)buffer_size(&record));
    write_bytes(&writer, buffer_bytes(&record));
    buffer_free(&record);
}

static void copy_replica(struct flush_job *flush, struct replica *replica)
{
    if (flush->part_count == flush->part_capacity) {
        flush->part_capacity = flush->part_capacity == 0 ? 32 : flush->part_capacity * 2;
        flush->parts = memory_resize(flush->parts, flush->part_capacity * sizeof(*flush->parts));
    }
    struct flush_part *part = &flush->parts[flush->part_count++];
    *part = (struct flush_part){.group = replica->group,
                                .replica = replica->id,
                                .generation = replica->generation,
                                .index = replica->applied,
                                .term = replica->applied_term};
    row_table_dirty_each(replica->table, flush, copy_row);
    copy_record(flush, replica);
}

static bool wants_flush(const struct replica *replica)
{
    return !replica->halted && replica->applied > replica->flushed && replica->receive == NULL &&
           !drop_is_of(replica);
}

static enum status write_rows(struct flush_job *flush, struct engine *engine,
                              struct engine_run *run)
{
    struct reader reader = reader_make(buffer_bytes(&flush->rows));
    while (reader_left(&reader) > 0) {
        bool tombstone = read_u8(&reader) != 0;
        struct bytes key = read_bytes(&reader, read_u32(&reader));
        struct bytes value = read_bytes(&reader, read_u32(&reader));
        ASSERT(!reader.failed);
        enum status status = tombstone ? engine_run_delete(engine, run, key, &flush->error)
                                       : engine_run_put(engine, run, key, value, &flush->error);
        if (status) return status;
    }
    return STATUS_OK;
}

struct record_at {
    uint32_t group;
    struct bytes record;
};

static int compare_records(const void *a, const void *b)
{
    const struct record_at *left = a, *right = b;
    return (left->group > right->group) - (left->group < right->group);
}

static enum status write_records(struct flush_job *flush, struct engine *engine,
                                 struct engine_run *run)
{
    struct record_at *records = memory_allocate((flush->part_count + 1) * sizeof(*records));
    struct reader reader = reader_make(buffer_bytes(&flush->records));
    enum status status = STATUS_OK;
    for (size_t i = 0; i < flush->part_count; i++) {
        records[i].group = read_u32(&reader);
        records[i].record = read_bytes(&reader, read_u32(&reader));
    }
    ASSERT(!reader.failed && reader_left(&reader) == 0);
    qsort(records, flush->part_count, sizeof(*records), compare_records);
    for (size_t i = 0; i < flush->part_count && status == STATUS_OK; i++) {
        uint8_t key[REPLICA_RECORD_KEY_SIZE];
        replica_record_key((struct group_id){records[i].group}, key);
        status = engine_run_put(engine, run, bytes_make(key, sizeof(key)), records[i].record,
                                &flush->error);
    }
    memory_free(records);
    return status;
}

/* On the flush thread: touches nothing but the job and the engine. */
static void flush_run(struct world_job *job)
{
    struct flush_job *flush = job->context;
    struct engine *engine = flush->host->options.engines[flush->store];
    struct engine_run *run = NULL;
    if (MAYBE(flush->host->world, FLUSH_WITHOUT_SPACE)) {
        flush->status = error_set(&flush->error, STATUS_NO_SPACE, "no space is left for a run");
        return;
    }
    flush->status = engine_run_open(engine, &run, &flush->error);
    if (flush->status) return;
    flush->status = write_rows(flush, engine, run);
    if (flush->status == STATUS_OK) flush->status = write_records(flush, engine, run);
    if (flush->status) {
        engine_run_abandon(engine, run);
        return;
    }
    flush->status = engine_run_ingest(engine, run, &flush->error);
}

static void finish_part(struct partition_host *host, const struct flush_part *part,
                        struct bytes record)
{
    struct replica *replica = host_replica(host, part->group);
    bool same = replica != NULL && replica_id_equal(replica->id, part->replica) &&
                replica->generation == part->generation;
    if (!same) return;
    ASSERT(part->index >= replica->flushed);
    replica->flushed = part->index;
    replica->flushed_term = part->term;
    row_table_flushed(replica->table, part->index);
    log_release(host->queue, part->group, part->replica, part->index, part->term);
    snapshot_flushed(replica, record);
}

static void flush_done(struct world_job *job)
{
    struct flush_job *flush = job->context;
    struct partition_host *host = flush->host;
    struct host_store *store = &host->stores[flush->store];
    if (flush->status == STATUS_OK) {
        struct reader records = reader_make(buffer_bytes(&flush->records));
        for (size_t i = 0; i < flush->part_count; i++) { /* parts and records in the same order */
            read_u32(&records);
            finish_part(host, &flush->parts[i], read_bytes(&records, read_u32(&records)));
        }
        host->statistics.flushes++;
        host->statistics.flushed_bytes += buffer_size(&flush->rows);
        SOMETIMES(host->world, "a store was flushed");
        world_defer(host->world, &host->turn_end);
    } else {
        LOG_ERROR(host_logger(host), "partition",
                  "flush of store %u failed: %s; rows stay in memory and in the log, trying again",
                  flush->store, flush->error.text);
    }
    uint32_t number = flush->store;
    enum status status = flush->status;
    struct error error = flush->error;
    memory_flushed(host);
    flush_free(flush);
    store_job_ended(host, number, status, &error);
    if (status == STATUS_OK && store->flush_wanted) flush_store(host, number);
    if (status == STATUS_OK && flush_is_urgent(host)) flush_tick(host);
}

/* One replica a turn; then the job. */
static void flush_step(struct world_timer *timer)
{
    struct flush_job *flush = timer->context;
    struct partition_host *host = flush->host;
    struct list *head = &host->stores[flush->store].replicas;
    if (host->stopping) {
        flush_free(flush);
        return;
    }
    if (flush->next == head) {
        if (flush->part_count == 0) {
            flush_free(flush);
            return;
        }
        flush->running = true;
        world_job_start(host->world, LANE_FLUSH, &flush->job);
        return;
    }
    struct replica *replica = CONTAINER_OF(flush->next, struct replica, by_store);
    if (wants_flush(replica)) {
        if (raft_durable_index(replica->raft) < replica->applied) {
            SOMETIMES(host->world, "a flush waited for the own disk");
            replica->flush_holds_apply = true;
            flush->waits_for = replica;
            return;
        }
        copy_replica(flush, replica);
    }
    flush->next = flush->next->next;
    world_timer_start(host->world, timer, 0);
}

/* What may be applied now is, at the end of the turn, when a change of role has been acted on. */
void flush_replica_durable(struct replica *replica)
{
    struct flush_job *flush = replica->host->stores[replica->store].flush;
    if (raft_durable_index(replica->raft) < replica->applied) return;
    replica->flush_holds_apply = false;
    if (flush == NULL || flush->waits_for != replica) return;
    flush->waits_for = NULL;
    if (wants_flush(replica)) copy_replica(flush, replica);
    flush->next = replica->by_store.next;
    world_timer_start(replica->host->world, &flush->timer, 0);
}

void flush_replica_gone(struct replica *replica)
{
    struct flush_job *flush = replica->host->stores[replica->store].flush;
    if (flush == NULL) return;
    if (replica->host->closing) {
        flush_free(flush);
        return;
    }
    if (flush->next != &replica->by_store) return;
    flush->next = replica->by_store.next;
    if (flush->waits_for == replica) {
        flush->waits_for = NULL;
        world_timer_start(replica->host->world, &flush->timer, 0);
    }
}

bool flush_abandon(struct partition_host *host, uint32_t store)
{
    struct flush_job *flush = host->stores[store].flush;
    if (flush == NULL) return true;
    if (flush->running) return false;
    flush_free(flush);
    return true;
}

static void flush_start(struct partition_host *host, uint32_t store)
{
    struct flush_job *flush = memory_allocate_zero(sizeof(*flush));
    struct log_statistics log;
    log_statistics(host->options.log, &log);
    host->stores[store].flushed_segment = log.active_segment;
    flush->job = (struct world_job){.run = flush_run, .done = flush_done, .context = flush};
    flush->timer = (struct world_timer){.fire = flush_step, .context = flush};
    flush->host = host;
    flush->store = store;
    flush->next = host->stores[store].replicas.next;
    buffer_init(&flush->rows, SIZE_MAX / 2);
    buffer_init(&flush->records, SIZE_MAX / 2);
    host->stores[store].flush = flush;
    world_timer_start(host->world, &flush->timer, 0);
}

void flush_store(struct partition_host *host, uint32_t store)
{
    if (host->stopping) return;
    bool busy = host->stores[store].flush != NULL || drop_goes_first(host, store) ||
                host->stores[store].damaged;
    host->stores[store].flush_wanted = busy;
    if (!busy) flush_start(host, store);
}

static uint64_t store_dirty_bytes(const struct host_store *store)
{
    uint64_t bytes = 0;
    for (const struct list *at = store->replicas.next; at != &store->replicas; at = at->next) {
        bytes += row_table_dirty_bytes(CONTAINER_OF(at, struct replica, by_store)->table);
    }
    return bytes;
}

static bool store_wants_flush(const struct host_store *store)
{
    for (const struct list *at = store->replicas.next; at != &store->replicas; at = at->next)
        if (wants_flush(CONTAINER_OF(at, struct replica, by_store))) return true;
    return false;
}

bool flush_is_urgent(const struct partition_host *host)
{
    const struct log *log = host->options.log;
    return log_is_short(log) || log_pressure(log) >= LOG_PRESSURE_FLUSH ||
           log_damaged_segment(log) != 0;
}

/* Stores (bits) that hold back the oldest segment of the log, or a damaged one: those are flushed,
 * however little they have. Not if that changes nothing, since a group waits for a leader or its
 * rows are on their way to the engine: such entries the log copies forward itself. */
static uint64_t stores_that_pin_the_log(struct partition_host *host)
{
    /* Without space for another segment, an old one that becomes free is the only way on; and
     * while there is still room for the releases that free it. */
    if (!flush_is_urgent(host)) return 0;
    struct log_statistics log;
    log_statistics(host->options.log, &log);
    if (!log.oldest_segment_pinned) return 0;
    uint64_t damaged = log_damaged_segment(host->options.log), stores = 0;
    uint64_t segment = damaged > log.oldest_segment ? damaged : log.oldest_segment;
    for (uint32_t i = 0; i < host->options.store_count; i++) {
        const struct host_store *store = &host->stores[i];
        if (store->flushed_segment > segment || !store_wants_flush(store)) continue;
        stores |= UINT64_C(1) << i;
    }
    const struct replica *oldest = host_replica(host, log.oldest_group);
    if (oldest != NULL && wants_flush(oldest)) stores |= UINT64_C(1) << oldest->store;
    return stores;
}

uint64_t flush_copied_bytes(const struct host_store *store)
{
    return store->flush == NULL ? 0 : buffer_size(&store->flush->rows);
}

void flush_tick(struct partition_host *host)
{
    uint64_t pinning = stores_that_pin_the_log(host);
    if (log_damaged_segment(host->options.log) != 0) /* releases are written without waiting */
        world_defer(host->world, &host->turn_end);
    for (uint32_t i = 0; i < host->options.store_count; i++) {
        struct host_store *store = &host->stores[i];
        bool busy = store->flush != NULL || drop_goes_first(host, i) || store->damaged;
        if (busy || list_empty(&store->replicas)) continue;
        bool due = (pinning >> i & 1) != 0 || store->flush_wanted ||
                   store_dirty_bytes(store) >= memory_flush_bytes(host) ||
                   MAYBE(host->world, "flush now");
        if (due) flush_store(host, i);
    }
}

bool host_is_idle(const struct partition_host *host)
{
    for (uint32_t i = 0; i < host->options.store_count; i++) {
        if (host->stores[i].flush != NULL && host->stores[i].flush->running) return false;
        if (drop_is_running(&host->stores[i])) return false;
    }
    for (uint32_t i = 0; i < host->replicas_capacity; i++) {
        if (host->replicas[i] != NULL && host->replicas[i]->receive != NULL &&
            snapshot_is_installing(host->replicas[i])) {
            return false;
        }
    }
    /* No deferred call can be taken back. */
    if (host->turn_end.queued || host->cold.turn_end.queued) return false;
    return cold_is_idle(host) && collect_is_idle(host) && warm_is_idle(host) &&
           host->spare == NULL && host->snapshot_jobs == 0 && host->orphans == 0 &&
           log_queue_idle(host->queue);
}
