/* writer.c - makes batches durable: the only code that writes segments while the node runs.
 *
 * One batch at a time: take what all queues have submitted, put it behind the last batch (in a
 * new segment behind a dump of all groups), write, sync, tell the queues. While it syncs, the
 * next batch gathers. So of all batches on the disk only the last one can be torn, and that is
 * what recovery's judgement rests on. */
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
                              .known_durable = log->batch_number,
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

static enum status writer_failed(struct log *log, enum status status, const struct error *error)
{
    if (!log->opened) return status; /* log_open() reports it */
    log->failed = true;
    world_fatal(log->world, "log: %s; what was not acknowledged is lost, restart when it is mended",
                error->text);
    return status;
}

enum status log_write_batch(struct log *log, struct error *error)
{
    enum status status = batch_place(log, error);
    if (status == STATUS_NO_SPACE) return status;
    if (status) return writer_failed(log, status, error);

    batch_build(log);
    status = file_write(log->active_file, log->active_offset, buffer_bytes(&log->batch), error);
    if (status) return writer_failed(log, status == STATUS_NO_SPACE ? STATUS_IO : status, error);
    if (!PLANTED(log->world, "log_skip_sync")) {
        status = file_sync(log->active_file, error);
        if (status)
            return writer_failed(log, status == STATUS_NO_SPACE ? STATUS_IO : status, error);
    }
    log->active_offset += buffer_size(&log->batch);
    log->batch_number++;
    return STATUS_OK;
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
    list_remove(&chunk->link);
    list_insert_before(&queue->kept, &chunk->link);
    queue->kept_count++;
}

/* Posts news to the queues; with the mutex held. `except` hears it in another way. */
static void writer_post(struct log *log, const struct log_queue *except)
{
    for (struct list *link = log->queues.next; link != &log->queues; link = link->next) {
        struct log_queue *queue = CONTAINER_OF(link, struct log_queue, link);
        if (queue == except || queue->posted || queue->durable == queue->reported) continue;
        queue->posted = true;
        world_post(queue->world, &queue->post);
    }
}

/* The batch is durable: its chunks are given back and their queues' positions rise. */
static void writer_publish(struct log *log)
{
    pthread_mutex_lock(&log->mutex);
    if (log->stalled) {
        log->statistics.no_space = false;
        log->is_short = false;
    }
    log->stalled = false;
    log->statistics.batches++;
    log->statistics.syncs++;
    log->statistics.bytes += buffer_size(&log->batch);
    while (!list_empty(&log->taken)) {
        struct log_chunk *chunk = CONTAINER_OF(log->taken.next, struct log_chunk, link);
        struct log_queue *queue = chunk->queue;
        log->statistics.records += chunk->record_count;
        if (queue != NULL) {
            log->pending_bytes -= chunk->weight;
            log->pending_records -= chunk->record_count;
            ASSERT(queue->durable <= chunk->position);
            queue->durable = chunk->position;
            queue->in_flight--;
        }
        chunk_give_back(chunk);
    }
    log->statistics.active_bytes = log->active_offset;
    log->statistics.active_segment = log->active_segment;
    log->statistics.segments = log->active_segment - log->oldest_segment + 1;
    log->statistics.copied_entries = log->copy.entries;
    log->statistics.copied_bytes = log->copy.bytes;
    log_pressure_update(log);
    if (log->writer_loops > 1) writer_post(log, NULL);
    pthread_mutex_unlock(&log->mutex);
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
    if (!log->released) return STATUS_OK;
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
        enum status status = log_write_batch(log, &error);
        if (status == STATUS_NO_SPACE) {
            writer_stall(log);
            break;
        }
        if (status) return;
        log->job_batches++;
        writer_publish(log);
        if (writer_collect(log, &error)) return;
    }
    if (log->failed) return;

    uint64_t behind = log->batch_number - log->mark_number;
    bool idle = log->job_batches == 0 && behind > 0 && log->copy.segment == 0;
    if (idle || behind >= LOG_MARK_BATCHES) {
        enum status status = log_mark_write(log, &error);
        if (status) writer_failed(log, status, &error);
    }
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
    bool again = !stalled && (writer_has_work(log) || log->copy.segment != 0);
    bool mark_behind = log->batch_number > log->mark_number;
    log->running = again;
    if (!again) log->owner = NULL;
    log->job_started_at = again ? now : log->job_started_at;
    pthread_mutex_unlock(&log->mutex);

    if (again)
        world_job_start(owner->world, LANE_LOG, &log->writer_job);
    else if (stalled)
        world_timer_start(owner->world, &owner->timer, LOG_NO_SPACE_RETRY_US);
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
            log->stalled || writer_has_work(log) || log->batch_number > log->mark_number;
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
