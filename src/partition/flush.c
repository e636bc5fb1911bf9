/* Rows to the engine, so that the log can be cut (DESIGN.md 6).
 *
 * A flush of a store copies, replica by replica, the rows that the engine does not have, each
 * replica as of one applied index that its own log holds durably (WHY 1.10). A job then writes
 * them with the replicas' records as one sorted run, which is there whole or not at all (FAULTS
 * rule 2). Then the rows become clean. Copying and cleaning go in steps (step_work()), one a
 * turn of the loop, so that no turn is long; requests and entries go on in between. */
#include "partition/flush.h"
#include "partition/flush_turns.h"

/* In rows or the like, of which 1000 take a third of a millisecond: a flush has a third of the time
 * since the last step, so that it keeps up with what turns write, however long they are. */
enum { FLUSH_STEP_LEAST = 256, FLUSH_STEP_MOST = 16384 };

enum {
    FLUSH_PACE = 32 << 20, /* bytes a second, beside states that are sent (set_pace()) */
    FLUSH_RETRY_LEAST_US = 100 * 1000,
    FLUSH_HOLD_MAX_US = 500 * 1000, /* for a quorum's disks; for the own one as long as it takes */
    FLUSH_RETRY_MOST_US = 5 * 1000 * 1000,
    FLUSH_TOLD_EVERY_US = 10 * 1000 * 1000,
    /* RocksDB does not get over limits and rights by itself once a compaction has met them. */
    FLUSH_REFUSED_US = 60 * 1000 * 1000,
};

static void flush_free(struct flush_job *flush)
{
    if (flush->waits_for != NULL) flush->waits_for->flush_holds_apply = false;
    if (flush->copying != NULL) row_table_cut_end(flush->copying->table, &flush->cut);
    world_timer_stop(flush->host->world, &flush->timer);
    flush->host->stores[flush->store].flush = NULL;
    buffer_free(&flush->rows);
    buffer_free(&flush->replaced);
    buffer_free(&flush->records);
    buffer_free(&flush->clean_after);
    memory_free(flush->parts);
    memory_free(flush);
}

static void copy_row(void *context, const struct row_found *row)
{
    struct flush_job *flush = context;
    copied_row_write(&flush->rows, row);
}

static void copy_replaced(void *context, const struct row_found *row)
{
    struct flush_job *flush = context;
    SOMETIMES(flush->host->world, "a row was replaced while a flush copied");
    if (PLANTED(flush->host->world, "flush_copies_no_replaced")) return;
    copied_row_write(&flush->replaced, row);
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

/* The record is of the index at which the cut is made. */
static void copy_begin(struct flush_job *flush, struct replica *replica)
{
    if (flush->part_count == flush->part_capacity) {
        flush->part_capacity = flush->part_capacity == 0 ? 32 : flush->part_capacity * 2;
        flush->parts = memory_resize(flush->parts, flush->part_capacity * sizeof(*flush->parts));
    }
    flush->rows_before = buffer_size(&flush->rows);
    flush->replaced_before = buffer_size(&flush->replaced);
    flush->records_before = buffer_size(&flush->records);
    struct flush_part *part = &flush->parts[flush->part_count++];
    *part = (struct flush_part){.group = replica->group,
                                .replica = replica->id,
                                .generation = replica->generation,
                                .index = replica->applied,
                                .term = replica->applied_term};
    copy_record(flush, replica);
    flush->cut =
        (struct row_cut){.context = flush, .on_row = copy_row, .on_replaced = copy_replaced};
    flush->copying = replica;
    row_table_cut_begin(replica->table, &flush->cut, replica->applied);
}

uint32_t host_copy_work(struct partition_host *host)
{
    uint64_t now = world_now(host->world);
    uint64_t work = now - host->flush_stepped_at; /* one for each microsecond */
    host->flush_stepped_at = now;
    if (MAYBE(host->world, "a short step of a flush")) return 1;
    if (work < FLUSH_STEP_LEAST) return FLUSH_STEP_LEAST;
    return work < FLUSH_STEP_MOST ? (uint32_t)work : FLUSH_STEP_MOST;
}

/* False: all of the replica is copied. */
static bool copy_step(struct flush_job *flush)
{
    struct row_table *table = flush->copying->table;
    uint32_t work = host_copy_work(flush->host);
    if (row_table_cut_step(table, &flush->cut, &work)) return true;
    row_table_cut_end(table, &flush->cut);
    flush->copying = NULL;
    return false;
}

/* The replica goes: nothing of it is flushed. */
static void copy_cancel(struct flush_job *flush)
{
    row_table_cut_end(flush->copying->table, &flush->cut);
    flush->copying = NULL;
    flush->part_count--;
    buffer_cut(&flush->rows, flush->rows_before);
    buffer_cut(&flush->replaced, flush->replaced_before);
    buffer_cut(&flush->records, flush->records_before);
}

static bool wants_flush(const struct replica *replica)
{
    return !replica->halted && replica->applied > replica->flushed && replica->receive == NULL &&
           !drop_is_of(replica) && !cut_holds_flush(replica);
}

static struct replica *part_replica(struct partition_host *host, const struct flush_part *part)
{
    struct replica *replica = host_replica(host, part->group);
    bool same = replica != NULL && replica_id_equal(replica->id, part->replica) &&
                replica->generation == part->generation;
    return same ? replica : NULL;
}

static void finish_part(struct partition_host *host, const struct flush_part *part)
{
    struct replica *replica = part_replica(host, part);
    if (replica == NULL) return;
    ASSERT(part->index >= replica->flushed);
    replica->flushed = part->index;
    replica->flushed_term = part->term;
    log_release(host->queue, part->group, part->replica, part->index, part->term);
}

static void flush_end(struct flush_job *flush, bool ok)
{
    struct partition_host *host = flush->host;
    uint32_t number = flush->store;
    flush_free(flush);
    if (ok) snapshot_store_free(host, number); /* before the next flush takes it */
    if (ok && host->stores[number].flush_wanted) flush_store(host, number);
    if (ok && flush_is_urgent(host)) flush_tick(host);
}

/* A disk that is full, or rights that are missing: nothing is lost, and the next one waits, longer
 * each time. */
static void flush_failed(const struct flush_job *flush)
{
    struct partition_host *host = flush->host;
    struct host_store *store = &host->stores[flush->store];
    uint64_t now = world_now(host->world);
    bool tell = store->flush_delay == 0 || now - store->flush_told_at >= FLUSH_TOLD_EVERY_US;
    host->statistics.flush_failures++;
    if (store->flush_delay == 0) store->flush_failing_since = now;
    store->flush_delay = store->flush_delay == 0 ? FLUSH_RETRY_LEAST_US : 2 * store->flush_delay;
    if (store->flush_delay > FLUSH_RETRY_MOST_US) store->flush_delay = FLUSH_RETRY_MOST_US;
    store->flush_not_before = now + store->flush_delay;
    if (flush->status == STATUS_REFUSED && now - store->flush_failing_since > FLUSH_REFUSED_US)
        world_fatal(host->world,
                    "%s; it does not go away by itself, rows are kept in the log: mend "
                    "it, then start again",
                    flush->error.text);
    if (!tell) return;
    store->flush_told_at = now;
    if (host->options.events.on_flush != NULL)
        host->options.events.on_flush(host->options.context, flush->store, &flush->error);
    LOG_ERROR(host_logger(host), "partition",
              "flush of store %u failed: %s; rows stay in memory and in the log, trying again",
              flush->store, flush->error.text);
}

static void flush_succeeded(const struct flush_job *flush)
{
    struct partition_host *host = flush->host;
    struct host_store *store = &host->stores[flush->store];
    if (store->flush_delay == 0) return;
    store->flush_delay = 0;
    LOG_INFO(host_logger(host), "partition", "store %u is flushed again", flush->store);
    if (host->options.events.on_flush != NULL)
        host->options.events.on_flush(host->options.context, flush->store, NULL);
}

static void flush_done(struct world_job *job)
{
    struct flush_job *flush = job->context;
    struct partition_host *host = flush->host;
    flush->running = false;
    if (flush->status == STATUS_OK) {
        for (size_t i = 0; i < flush->part_count; i++)
            finish_part(host, &flush->parts[i]);
        host->statistics.flushes++;
        host->statistics.flushed_bytes += flush->copied_bytes;
        SOMETIMES(host->world, "a store was flushed");
        world_defer(host->world, &host->turn_end);
        flush_succeeded(flush);
    } else {
        flush_failed(flush);
    }
    uint32_t number = flush->store;
    enum status status = flush->status;
    struct error error = flush->error;
    flush->copied_bytes = 0;
    flush->cleaning = status == STATUS_OK;
    host->flush_stepped_at = world_now(host->world);
    memory_flushed(host);
    if (flush->cleaning)
        world_timer_start(host->world, &flush->timer, 0);
    else
        flush_end(flush, false);
    store_job_ended(host, number, status, &error);
    if (status) snapshot_store_free(host, number);
    snapshot_cuts_begin(host, number);
    cut_flush_ended(host, number);
}

/* What the engine has becomes clean, replica by replica. */
static void clean_step(struct flush_job *flush)
{
    if (flush->part_clean == flush->part_count) {
        flush_end(flush, true);
        return;
    }
    const struct flush_part *part = &flush->parts[flush->part_clean];
    struct replica *replica = part_replica(flush->host, part);
    if (replica != NULL && row_table_flushed_step(replica->table, part->index, &flush->clean_after,
                                                  host_copy_work(flush->host))) {
        SOMETIMES(flush->host->world, "rows became clean in steps");
    } else {
        buffer_clear(&flush->clean_after);
        flush->part_clean++;
    }
    world_timer_start(flush->host->world, &flush->timer, 0);
}

static void job_start(struct flush_job *flush)
{
    if (flush->part_count == 0) {
        struct partition_host *host = flush->host;
        uint32_t number = flush->store;
        flush_free(flush);
        snapshot_store_free(host, number);
        snapshot_cuts_begin(host, number);
        cut_flush_ended(host, number);
        return;
    }
    flush->copied_bytes = buffer_size(&flush->rows) + buffer_size(&flush->replaced);
    flush->running = true;
    world_job_start(flush->host->world, LANE_FLUSH, &flush->job);
}

/* A group without a quorum, or one that a snapshot brings up, must not hold up the others of the
 * store: it is flushed another time. Nor must one that has stopped, which hears of no disk any more
 * and may have to wait for the end of this flush to be deleted. */
static void wait_is_long(struct flush_job *flush)
{
    struct replica *replica = flush->waits_for;
    bool own_disk = !replica->halted && raft_durable_index(replica->raft) < replica->applied;

    if (own_disk) {
        world_timer_start(flush->host->world, &flush->timer, FLUSH_HOLD_MAX_US);
        return;
    }
    if (!replica->halted)
        SOMETIMES(flush->host->world, "a flush left out a replica that waits for a quorum");
    replica->flush_holds_apply = false;
    flush->waits_for = NULL;
    flush->next = replica->by_store.next;
    host_mark_dirty(replica);
    world_timer_start(flush->host->world, &flush->timer, 0);
}

/* One step of one replica a turn; then the job. */
static void flush_step(struct world_timer *timer)
{
    struct flush_job *flush = timer->context;
    struct partition_host *host = flush->host;
    if (host->stopping) {
        flush_free(flush);
        return;
    }
    if (flush->cleaning) {
        clean_step(flush);
        return;
    }
    if (flush->waits_for != NULL) {
        wait_is_long(flush);
        return;
    }
    if (flush->next == &host->stores[flush->store].replicas) {
        job_start(flush);
        return;
    }
    struct replica *replica = CONTAINER_OF(flush->next, struct replica, by_store);
    if (flush->copying == NULL && wants_flush(replica)) {
        if (replica_safe_index(replica) < replica->applied) {
            SOMETIMES(host->world, "a flush waited for the own disk");
            replica->flush_holds_apply = true;
            flush->waits_for = replica;
            world_timer_start(host->world, timer, FLUSH_HOLD_MAX_US);
            return;
        }
        copy_begin(flush, replica);
    }
    bool more = flush->copying != NULL && copy_step(flush);
    if (!more) flush->next = flush->next->next;
    world_timer_start(host->world, timer, 0);
}

/* What may be applied now is, at the end of the turn, when a change of role has been acted on. */
void flush_replica_durable(struct replica *replica)
{
    struct flush_job *flush = replica->host->stores[replica->store].flush;
    if (replica_safe_index(replica) < replica->applied) return;
    replica->flush_holds_apply = false;
    if (flush == NULL || flush->waits_for != replica) return;
    flush->waits_for = NULL;
    if (wants_flush(replica))
        copy_begin(flush, replica); /* at this index: its steps follow */
    else
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
    if (flush->copying == replica) copy_cancel(flush);
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

/* States are copied to others, as fast as the log's syncs allow: what flushes write beside that
 * would be too much. */
static bool copies_are_sent(const struct partition_host *host)
{
    uint64_t sending, waiting;
    snapshot_turns_count(host, &sending, &waiting);
    return sending + waiting > 0;
}

/* True: what is flushed is waited for. */
static bool set_pace(struct partition_host *host)
{
    bool waited_for =
        host->stopping || host->flushes_are_late || flush_is_urgent(host) || memory_is_short(host);
    bool hurry = waited_for || !copies_are_sent(host);
    host->flush_pace.bytes_per_second = hurry ? 0 : FLUSH_PACE;
    for (uint32_t i = 0; i < host->options.store_count; i++)
        if (host->stores[i].flush != NULL) host->stores[i].flush->job.patient = !hurry;
    return waited_for;
}

bool flush_is_in_engine(const struct host_store *store)
{
    return store->flush == NULL || store->flush->cleaning;
}

static uint64_t store_dirty_bytes(const struct host_store *store)
{
    uint64_t bytes = 0;
    for (const struct list *at = store->replicas.next; at != &store->replicas; at = at->next) {
        bytes += row_table_dirty_bytes(CONTAINER_OF(at, struct replica, by_store)->table);
    }
    return bytes;
}

static void flush_start(struct partition_host *host, uint32_t store)
{
    struct flush_job *flush = memory_allocate_zero(sizeof(*flush));
    uint64_t dirty = store_dirty_bytes(&host->stores[store]);
    struct log_statistics log;
    log_statistics(host->options.log, &log);
    host->stores[store].flushed_segment = log.active_segment;
    host->stores[store].turn_segment = log.active_segment + log.flush_segments - 1;
    host->flush_stepped_at = world_now(host->world); /* what was before is no share of its */
    flush->job = (struct world_job){.run = flush_run, .done = flush_done, .context = flush};
    flush->timer = (struct world_timer){.fire = flush_step, .context = flush};
    flush->host = host;
    flush->store = store;
    flush->next = host->stores[store].replicas.next;
    buffer_init(&flush->rows, SIZE_MAX / 2);
    /* What is reserved and not used costs nothing; to grow while tens of MiB are in it would hold
     * up the loop for as many milliseconds. */
    if (dirty > 0) buffer_reserve(&flush->rows, (size_t)(dirty + dirty / 4));
    buffer_init(&flush->replaced, SIZE_MAX / 2);
    buffer_init(&flush->records, SIZE_MAX / 2);
    buffer_init(&flush->clean_after, SIZE_MAX / 2);
    host->stores[store].flush = flush;
    set_pace(host);
    world_timer_start(host->world, &flush->timer, 0);
}

/* Something else goes first. */
static bool store_is_held(struct partition_host *host, uint32_t number)
{
    const struct host_store *store = &host->stores[number];
    bool failed_lately =
        store->flush_delay != 0 && world_now(host->world) < store->flush_not_before;
    return drop_goes_first(host, number) || store->damaged || failed_lately || store->cut != NULL;
}

void flush_store(struct partition_host *host, uint32_t store)
{
    if (host->stopping) return;
    bool busy = host->stores[store].flush != NULL || store_is_held(host, store);
    host->stores[store].flush_wanted = busy;
    if (!busy) flush_start(host, store);
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
    const struct flush_job *flush = store->flush;
    if (flush == NULL) return 0;
    if (flush->running) return flush->copied_bytes;
    return buffer_size(&flush->rows) + buffer_size(&flush->replaced);
}

/* Its number; or `store_count`. */
static uint32_t store_whose_turn_it_is(struct partition_host *host)
{
    struct flush_turn turns[STORES_MAX];
    struct log_statistics log;
    uint32_t count = host->options.store_count;
    log_statistics(host->options.log, &log);
    for (uint32_t i = 0; i < count; i++) {
        const struct host_store *store = &host->stores[i];
        turns[i] = (struct flush_turn){.segment = store->turn_segment,
                                       .used = !list_empty(&store->replicas),
                                       .flushing = store->flush != NULL,
                                       .held = store_is_held(host, i),
                                       .wants = store->turn_segment <= log.active_segment &&
                                                store_wants_flush(store)}; /* a walk */
    }
    uint32_t next = flush_turns_next(turns, count, log.active_segment, log.flush_segments);
    host->flushes_are_late = flush_turns_late(turns, count, log.active_segment);
    for (uint32_t i = 0; i < count; i++)
        host->stores[i].turn_segment = turns[i].segment;
    return next;
}

/* A drop holds the store, and its turn to be flushed has come, or a state that would come in. */
static bool drop_is_waited_for(struct partition_host *host, uint32_t number)
{
    struct host_store *store = &host->stores[number];
    struct log_statistics log;
    log_statistics(host->options.log, &log);
    bool waited_for = store->turn_segment <= log.active_segment && store_wants_flush(store);

    for (struct list *at = store->replicas.next; at != &store->replicas && !waited_for;
         at = at->next)
        waited_for = CONTAINER_OF(at, struct replica, by_store)->receive != NULL;
    return waited_for;
}

void flush_tick(struct partition_host *host)
{
    uint64_t pinning = stores_that_pin_the_log(host);
    uint32_t turn = store_whose_turn_it_is(host);
    bool hurry = set_pace(host), drops = false;
    if (log_damaged_segment(host->options.log) != 0) /* releases are written without waiting */
        world_defer(host->world, &host->turn_end);
    for (uint32_t i = 0; i < host->options.store_count; i++) {
        struct host_store *store = &host->stores[i];
        bool busy = store->flush != NULL || store_is_held(host, i);
        drops |= store->drops != NULL;
        if (list_empty(&store->replicas) || (busy && store->drops == NULL)) continue;
        bool due = (pinning >> i & 1) != 0 || store->flush_wanted || i == turn ||
                   store_dirty_bytes(store) >= memory_flush_bytes(host);
        if (drop_goes_first(host, i)) hurry |= due || drop_is_waited_for(host, i);
        if (!busy && (due || MAYBE(host->world, "flush now"))) flush_store(host, i);
    }
    if (drops) drop_set_pace(host, hurry);
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
           host->verify.jobs == 0 && log_queue_idle(host->queue);
}
