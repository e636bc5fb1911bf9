/* writer.c - makes batches durable: the only code that writes segments while the node runs.
 *
 * A batch of lazy entries is only written. A later sync covers it: of one that holds anything else,
 * of the end of its segment, or the one that is due after LOG_LAZY_SYNC_US.
 *
 * One batch at a time: take what all queues have submitted, put it behind the last batch (in a
 * new segment behind a dump of all groups), write, sync, tell the queues. While it syncs, the
 * next batch gathers. So only what lies behind the last synced batch can be torn or missing, and
 * each batch says which one that was: recovery's judgement rests on that. */
#include <inttypes.h>

#include "base/assert.h"
#include "base/memory.h"
#include "storage/log/log_private.h"
#include "world/probe.h"

/* --- building a batch --------------------------------------------------------------------- */

static void vote_add(struct log *log, const struct log_record *record)
{
    if (log->vote_count == log->vote_capacity) {
        log->vote_capacity = log->vote_capacity ? log->vote_capacity * 2 : 16;
        log->votes = memory_resize(log->votes, log->vote_capacity * sizeof(*log->votes));
    }
    log->votes[log->vote_count++] = (struct log_vote){.group = record->group,
                                                      .replica = record->replica,
                                                      .term = record->state.term,
                                                      .vote = record->state.vote};
}

/* The table learns what the batch says before it is written: a failure to write is fatal. */
static void chunk_apply(struct log *log, const struct log_chunk *chunk)
{
    struct reader reader = reader_make(buffer_bytes(&chunk->records));
    struct log_record record;

    while (reader_left(&reader) > 0) {
        bool read = log_record_read(&reader, &record);
        ASSERT(read); /* we wrote it */
        enum log_apply applied = log_table_apply(&log->table, &record, log->active_segment);
        ASSERT(applied != LOG_APPLY_BAD); /* a gap, a second vote: see log.h */
        if (applied == LOG_APPLY_VOID) SOMETIMES(log->world, "log: record of a dead replica");
        if (applied == LOG_APPLIED_VOTE) vote_add(log, &record);
        bool plain = record.type == LOG_RECORD_ENTRY || record.type == LOG_RECORD_STATE;
        log->released |= !plain || applied == LOG_APPLIED_VOTE;
    }
}

static uint32_t dump_append(struct log *log)
{
    struct log_group *group;
    uint32_t count = 0;

    for (size_t i = 0; (group = log_table_next(&log->table, &i)) != NULL; count++) {
        struct log_record record = log_group_dump(group);
        log_record_write(&log->batch, &record);
    }
    ASSERT(count == log->table.living);
    return count;
}

/* Bytes that the batch needs at most, at the start of a segment or elsewhere. */
static uint64_t batch_size_bound(const struct log *log, bool with_dump)
{
    uint64_t size = LOG_BATCH_HEADER_SIZE;

    if (with_dump) size += (uint64_t)log->table.living * LOG_RECORD_DUMP_SIZE;
    for (struct list *link = log->taken.next; link != &log->taken; link = link->next)
        size += CONTAINER_OF(link, struct log_chunk, link)->weight;
    return log_round_up(size) + LOG_BLOCK_SIZE;
}

static enum status writer_failed(struct log *log, enum status status, const struct error *error)
{
    if (!log->opened) return status; /* log_open() reports it */
    if (log->lazy_written && log->on_written_lost != NULL) log->on_written_lost(log->context);
    log->failed = true;
    world_fatal(log->world, "log: %s; what was not acknowledged is lost, restart when it is mended",
                error->text);
    return status;
}

static bool has_unsynced(const struct log *log)
{
    return log->batch_number > log->synced_number;
}

/* All that was written is durable. */
static enum status log_sync(struct log *log, struct error *error)
{
    enum status status = STATUS_OK;

    if (!PLANTED(log->world, "log_skip_sync")) status = file_sync(log->active_file, error);
    if (status) return writer_failed(log, status == STATUS_NO_SPACE ? STATUS_IO : status, error);
    log->synced_number = log->batch_number;
    log->lazy_bytes = 0;
    return STATUS_OK;
}

static void writer_tell(struct log *log, bool written, bool synced);

static enum status batch_place(struct log *log, struct error *error)
{
    /* Not a segment for each batch: the bound counts them. */
    bool roomy = log_pressure(log) < LOG_PRESSURE_FLUSH;
    bool damaged = log->active_file != NULL && log_damaged_segment(log) >= log->active_segment;
    bool switching =
        log->active_file == NULL || damaged ||
        log->active_offset + batch_size_bound(log, false) > log->active_size ||
        (log->active_offset > 0 && roomy && MAYBE(log->world, "log: early segment switch"));

    if (!switching) return STATUS_OK;
    /* What is behind the end of a segment says that all of it is durable. */
    if (has_unsynced(log)) {
        if (log_sync(log, error)) return STATUS_IO;
        if (log->opened) writer_tell(log, false, true); /* there may be no space for the next one */
    }
    enum status status = log_segment_switch(log, error);
    if (status) return status;
    ASSERT(batch_size_bound(log, true) <= log->active_size);
    log->released = true; /* an older segment may be needed by nobody */
    return STATUS_OK;
}

static void batch_build(struct log *log)
{
    struct log_batch batch = {.identity = log->identity,
                              .segment = log->active_segment,
                              .number = log->batch_number + 1,
                              .known_durable = log->synced_number,
                              .offset = log->active_offset};

    log->vote_count = 0;
    buffer_clear(&log->batch);
    uint8_t *header = buffer_reserve(&log->batch, LOG_BATCH_HEADER_SIZE);
    ASSERT(header != NULL);
    memset(header, 0, LOG_BATCH_HEADER_SIZE);
    buffer_commit(&log->batch, LOG_BATCH_HEADER_SIZE);

    if (log->active_offset == 0) {
        batch.flags = LOG_BATCH_DUMP;
        batch.record_count = dump_append(log);
    }
    for (struct list *link = log->taken.next; link != &log->taken; link = link->next) {
        struct log_chunk *chunk = CONTAINER_OF(link, struct log_chunk, link);
        enum status status = buffer_append(&log->batch, buffer_bytes(&chunk->records));
        ASSERT(status == STATUS_OK);
        batch.record_count += chunk->record_count;
        chunk_apply(log, chunk);
    }
    log_batch_seal(&log->batch, &batch, log->votes, log->vote_count);
    ASSERT(log->active_offset + buffer_size(&log->batch) <= log->active_size);
}

static enum status batch_write(struct log *log, struct error *error)
{
    enum status status = batch_place(log, error);
    if (status == STATUS_NO_SPACE || log->failed) return status;
    if (status) return writer_failed(log, status, error);

    batch_build(log);
    status = file_write(log->active_file, log->active_offset, buffer_bytes(&log->batch), error);
    if (status) return writer_failed(log, status == STATUS_NO_SPACE ? STATUS_IO : status, error);
    log->active_offset += buffer_size(&log->batch);
    log->lazy_bytes += buffer_size(&log->batch);
    log->batch_number++;
    return STATUS_OK;
}

enum status log_write_batch(struct log *log, struct error *error)
{
    enum status status = batch_write(log, error);
    return status ? status : log_sync(log, error);
}

/* --- the job ------------------------------------------------------------------------------ */

/* Copies and what waits take turns, so that neither holds back the other for long. */
static void writer_take_copies(struct log *log)
{
    bool turn = !log->copy.rests;

    log->copy.rests = turn;
    if (turn && log->copy.segment != 0) log_copy_step(log);
}

/* Moves submitted chunks to log->taken, fairly over the queues, until the batch is full. */
static void writer_take(struct log *log)
{
    uint64_t weight = 0;
    bool full = false;

    for (struct list *at = log->taken.next; at != &log->taken; at = at->next) /* of copies */
        weight += CONTAINER_OF(at, struct log_chunk, link)->weight;

    pthread_mutex_lock(&log->mutex);
    struct list *link = log->queues.next;
    for (; link != &log->queues && !full; link = link->next) {
        struct log_queue *queue = CONTAINER_OF(link, struct log_queue, link);
        while (!list_empty(&queue->pending)) {
            struct log_chunk *chunk = CONTAINER_OF(queue->pending.next, struct log_chunk, link);
            full = weight > 0 && (weight + chunk->weight > log->batch_bytes_max ||
                                  MAYBE(log->world, "log: a batch is cut short"));
            if (full) break;
            weight += chunk->weight;
            list_remove(&chunk->link);
            list_insert_before(&log->taken, &chunk->link);
        }
    }
    if (full) { /* begin with another queue next time */
        struct list *first = log->queues.next;
        list_remove(first);
        list_insert_before(&log->queues, first);
        SOMETIMES(log->world, "log: a batch was full");
    }
    pthread_mutex_unlock(&log->mutex);
}

static void chunk_give_back(struct log_chunk *chunk)
{
    struct log_queue *queue = chunk->queue;

    if (queue == NULL || queue->kept_count == LOG_CHUNKS_KEPT_MAX) {
        log_chunk_free(chunk);
        return;
    }
    buffer_clear(&chunk->records);
    chunk->weight = 0;
    chunk->record_count = 0;
    chunk->has_lazy = chunk->waits_sync = false;
    list_remove(&chunk->link);
    list_insert_before(&queue->kept, &chunk->link);
    queue->kept_count++;
}

/* Posts news to the queues; with the mutex held. `except` hears it in another way. */
static void writer_post(struct log *log, const struct log_queue *except)
{
    for (struct list *link = log->queues.next; link != &log->queues; link = link->next) {
        struct log_queue *queue = CONTAINER_OF(link, struct log_queue, link);
        bool written = queue->on_written != NULL && queue->written > queue->written_reported;
        bool news = queue->durable != queue->reported || written;
        if (queue == except || queue->posted || !news) continue;
        queue->posted = true;
        world_post(queue->world, &queue->post);
    }
}

/* Nothing in the batch waits for its sync. */
static bool batch_is_lazy(const struct log *log)
{
    for (struct list *link = log->taken.next; link != &log->taken; link = link->next) {
        const struct log_chunk *chunk = CONTAINER_OF(link, struct log_chunk, link);
        if (chunk->waits_sync || chunk->queue == NULL) return false;
    }
    return true;
}

static bool batch_has_lazy(const struct log *log)
{
    for (struct list *link = log->taken.next; link != &log->taken; link = link->next)
        if (CONTAINER_OF(link, struct log_chunk, link)->has_lazy) return true;
    return false;
}

/* The batch is written, its chunks are given back; with the mutex held. */
static void writer_written(struct log *log)
{
    if (log->stalled) {
        log->statistics.no_space = false;
        log->is_short = false;
    }
    log->stalled = false;
    log->statistics.batches++;
    log->statistics.bytes += buffer_size(&log->batch);
    while (!list_empty(&log->taken)) {
        struct log_chunk *chunk = CONTAINER_OF(log->taken.next, struct log_chunk, link);
        struct log_queue *queue = chunk->queue;
        log->statistics.records += chunk->record_count;
        if (queue != NULL) {
            log->pending_bytes -= chunk->weight;
            log->pending_records -= chunk->record_count;
            log->pending_lazy -= chunk->has_lazy;
            ASSERT(queue->written <= chunk->position);
            queue->written = chunk->position;
            queue->in_flight--;
        }
        chunk_give_back(chunk);
    }
    log->statistics.active_bytes = log->active_offset;
    log->statistics.active_segment = log->active_segment;
    log->statistics.segments = log->active_segment - log->oldest_segment + 1;
    log->statistics.copied_entries = log->copy.entries;
    log->statistics.copied_bytes = log->copy.bytes;
    log->lazy_written = true;
    log_pressure_update(log);
}

/* All that is written is durable: queues' positions rise; with the mutex held. */
static void writer_synced(struct log *log)
{
    ASSERT(!has_unsynced(log));
    for (struct list *link = log->queues.next; link != &log->queues; link = link->next) {
        struct log_queue *queue = CONTAINER_OF(link, struct log_queue, link);
        queue->durable = queue->written;
    }
    log->statistics.syncs++;
    log->lazy_written = false;
    log->lazy_since = 0;
}

/* Tells the queues what a job in the middle of its work has to tell. */
static void writer_tell(struct log *log, bool written, bool synced)
{
    pthread_mutex_lock(&log->mutex);
    if (written) writer_written(log);
    if (synced) writer_synced(log);
    if (log->writer_loops > 1) writer_post(log, NULL);
    pthread_mutex_unlock(&log->mutex);
}

static enum status writer_sync(struct log *log, bool written, struct error *error)
{
    enum status status = log_sync(log, error);
    if (status == STATUS_OK) writer_tell(log, written, true);
    return status;
}

/* Those who wait for the writing alone hear of it before the sync. */
static enum status writer_batch(struct log *log, struct error *error)
{
    bool has_lazy = batch_has_lazy(log);
    bool lazy = batch_is_lazy(log) && !MAYBE(log->world, "log: a lazy batch is synced");

    enum status status = batch_write(log, error);
    if (status) return status;
    if (!has_lazy) return writer_sync(log, true, error);
    writer_tell(log, true, false);
    if (lazy && !log->sync_due && log->lazy_bytes <= LOG_LAZY_BYTES_MAX) return STATUS_OK;
    if (MAYBE(log->world, "log: a sync is left to the next job")) { /* others see what is between */
        log->sync_left = true;
        return STATUS_OK;
    }
    return writer_sync(log, false, error);
}

void log_pin_update(struct log *log)
{
    struct group_id group = {0};
    uint64_t needed = log_table_oldest_needed(&log->table, log->active_segment, &group);
    uint64_t live = log_table_needed(&log->table, needed).live;

    pthread_mutex_lock(&log->mutex);
    log->statistics.live_bytes = live;
    log->statistics.oldest_segment = log->oldest_segment;
    log->statistics.active_segment = log->active_segment;
    log->statistics.active_bytes = log->active_offset;
    log->statistics.bytes_max = log->segments_max == LOG_SEGMENTS_UNBOUNDED ? 0 : log->bytes_max;
    log->statistics.segments = log->active_segment - log->oldest_segment + 1;
    log->statistics.oldest_segment_pinned = needed < log->active_segment;
    log->statistics.oldest_group = group;
    log_pressure_update(log);
    pthread_mutex_unlock(&log->mutex);
}

/* Frees segments that nobody needs, the oldest first: then no record outlives what voids it
 * (WHY 5.2). The releases that allow it are durable now. */
static enum status writer_collect(struct log *log, struct error *error)
{
    if (!log->released || has_unsynced(log)) return STATUS_OK;
    log->released = false;

    struct group_id group;
    uint64_t needed = log_table_oldest_needed(&log->table, log->active_segment, &group);
    if (log->oldest_segment < needed) log_damage_keep_from(log, needed);
    while (log->oldest_segment < needed) {
        bool damaged = log_damage_is_known(log, log->oldest_segment);
        enum status status = damaged ? log_damage_set_aside(log, log->oldest_segment, error)
                                     : log_segment_discard(log, log->oldest_segment, error);
        if (status) return writer_failed(log, status, error);
        log->oldest_segment++;
    }
    log_pin_update(log);
    log_copy_consider(log);
    return STATUS_OK;
}

static void writer_stall(struct log *log)
{
    pthread_mutex_lock(&log->mutex);
    log->stalled = true;
    log->statistics.no_space = true;
    log->is_short = true;
    pthread_mutex_unlock(&log->mutex);
    SOMETIMES(log->world, "log: no space, the writer waits");
}

static void writer_run(struct world_job *job)
{
    struct log *log = job->context;
    struct error error;

    log->job_batches = 0;
    for (uint32_t loop = 0; loop < log->writer_loops && !log->failed; loop++) {
        if (list_empty(&log->taken)) {
            writer_take_copies(log);
            writer_take(log);
        }
        if (list_empty(&log->taken)) {
            if (log->released && writer_collect(log, &error)) return; /* copied to its end */
            if (log->copy.segment != 0) continue;
            break;
        }
        enum status status = writer_batch(log, &error);
        if (status == STATUS_NO_SPACE) {
            writer_stall(log);
            log->sync_due = true;
            break;
        }
        if (status) return;
        log->job_batches++;
        if (writer_collect(log, &error)) return;
        if (log->sync_left) return;
    }
    if (log->failed) return;
    if (log->sync_due && has_unsynced(log)) {
        if (writer_sync(log, false, &error)) return;
        SOMETIMES(log->world, "log: lazy entries were synced when they had waited long enough");
        if (writer_collect(log, &error)) return;
    }

    uint64_t behind = log->synced_number - log->mark_number;
    bool idle = log->job_batches == 0 && behind > 0 && log->copy.segment == 0;
    if (idle || behind >= LOG_MARK_BATCHES) {
        enum status status = log_mark_write(log, &error);
        if (status) writer_failed(log, status, &error);
    }
}

/* Lazy batches wait for a sync, and have for long enough; with the mutex held, no job running. */
static bool writer_sync_due(struct log *log, uint64_t now)
{
    if (!log->lazy_written) return false;
    if (log->lazy_since == 0) log->lazy_since = now;
    return now >= log->lazy_since + LOG_LAZY_SYNC_US;
}

static bool writer_has_work(const struct log *log)
{
    for (struct list *link = log->queues.next; link != &log->queues; link = link->next) {
        if (!list_empty(&CONTAINER_OF(link, struct log_queue, link)->pending)) return true;
    }
    return false;
}

static void writer_done(struct world_job *job)
{
    struct log *log = job->context;

    if (log->failed) return;
    struct log_queue *owner = log->owner; /* only ever changed while no job runs */
    uint64_t now = world_now(owner->world);

    log_spare_prepare(log, owner);

    pthread_mutex_lock(&log->mutex);
    if (log->job_batches > 0)
        log->statistics.last_sync_us = (now - log->job_started_at) / log->job_batches;
    writer_post(log, owner);
    log->stall_retry_at = now + LOG_NO_SPACE_RETRY_US;
    bool stalled = log->stalled;
    log->sync_due = writer_sync_due(log, now) || log->sync_left;
    log->sync_left = false;
    bool again = !stalled && (writer_has_work(log) || log->copy.segment != 0 || log->sync_due);
    bool mark_behind = log->synced_number > log->mark_number;
    bool lazy = log->lazy_written;
    uint64_t lazy_left = lazy && !log->sync_due ? log->lazy_since + LOG_LAZY_SYNC_US - now : 0;
    log->running = again;
    if (!again) log->owner = NULL;
    log->job_started_at = again ? now : log->job_started_at;
    pthread_mutex_unlock(&log->mutex);

    if (again)
        world_job_start(owner->world, LANE_LOG, &log->writer_job);
    else if (stalled)
        world_timer_start(owner->world, &owner->timer, LOG_NO_SPACE_RETRY_US);
    else if (lazy)
        world_timer_start(owner->world, &owner->timer, lazy_left);
    else if (mark_behind)
        world_timer_start(owner->world, &owner->timer, LOG_MARK_IDLE_US);
    log_queue_report(owner); /* last: it may append, submit, or close the queue */
}

void log_writer_wake(struct log_queue *queue)
{
    struct log *log = queue->log;
    uint64_t now = world_now(queue->world);

    if (log->failed) return;
    pthread_mutex_lock(&log->mutex);
    bool start = false;
    if (!log->running) {
        bool may_retry = !log->stalled || now >= log->stall_retry_at;
        bool has_work =
            log->stalled || writer_has_work(log) || log->synced_number > log->mark_number;
        log->sync_due = writer_sync_due(log, now);
        has_work |= log->sync_due;
        start = may_retry && has_work;
    }
    if (start) {
        log->running = true;
        log->owner = queue;
        log->job_started_at = now;
    }
    pthread_mutex_unlock(&log->mutex);
    if (!start) return;
    world_timer_stop(queue->world, &queue->timer);
    world_job_start(queue->world, LANE_LOG, &log->writer_job);
}

void log_writer_init(struct log *log)
{
    list_init(&log->taken);
    buffer_init(&log->batch, (size_t)log->segment_size);
    buffer_init(&log->copy.walk.read, (size_t)log->segment_size);
    log->writer_job = (struct world_job){.run = writer_run, .done = writer_done, .context = log};
}
