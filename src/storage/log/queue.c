/* queue.c - the worker's side: gathers records, hands them to the writer, hears what is
 * durable. Between two submits only the worker touches the gathered chunk; the mutex is taken
 * once per submit and once per report. */
#include "base/assert.h"
#include "base/memory.h"
#include "storage/log/log_private.h"
#include "world/probe.h"

/* A state record may put a second copy of its vote into the batch. */
enum { VOTE_WEIGHT = LOG_BLOCK_SIZE / LOG_VOTES_PER_BLOCK + 1 };

/* --- chunks ------------------------------------------------------------------------------- */

struct log_chunk *log_chunk_make(struct log_queue *queue)
{
    struct log_chunk *chunk = memory_allocate_zero(sizeof(*chunk));

    list_init(&chunk->link);
    chunk->queue = queue;
    buffer_init(&chunk->records, LOG_CHUNK_BYTES_MAX + LOG_RECORD_SIZE_MAX);
    return chunk;
}

void log_chunk_free(struct log_chunk *chunk)
{
    if (chunk == NULL) return;
    list_remove(&chunk->link);
    buffer_free(&chunk->records);
    memory_free(chunk);
}

static size_t record_size_max(const struct log_record *record)
{
    return record->type == LOG_RECORD_ENTRY
               ? LOG_RECORD_SIZE_MAX - LOG_ENTRY_BODY_MAX + record->entry.body.size
               : LOG_RECORD_DUMP_SIZE + VOTE_WEIGHT;
}

void log_chunk_add(struct log_chunk *chunk, const struct log_record *record)
{
    size_t before = buffer_size(&chunk->records);

    log_record_write(&chunk->records, record);
    chunk->weight += buffer_size(&chunk->records) - before;
    if (record->type == LOG_RECORD_STATE) chunk->weight += VOTE_WEIGHT;
    chunk->record_count++;
    bool lazy = record->type == LOG_RECORD_ENTRY && record->entry.lazy;
    chunk->has_lazy |= lazy;
    chunk->waits_sync |= !lazy && record->type != LOG_RECORD_RELEASE;
}

static struct log_chunk *queue_chunk(struct log_queue *queue)
{
    struct log_chunk *chunk = NULL;

    pthread_mutex_lock(&queue->log->mutex);
    if (queue->kept_count > 0) {
        chunk = CONTAINER_OF(queue->kept.next, struct log_chunk, link);
        list_remove(&chunk->link);
        queue->kept_count--;
    }
    pthread_mutex_unlock(&queue->log->mutex);
    return chunk ? chunk : log_chunk_make(queue);
}

/* Hands the gathered chunk to the writer, which is not woken here. */
static void queue_push(struct log_queue *queue)
{
    struct log_chunk *chunk = queue->gather;

    if (chunk == NULL) return;
    queue->gather = NULL;
    chunk->position = queue->position;
    pthread_mutex_lock(&queue->log->mutex);
    list_insert_before(&queue->pending, &chunk->link);
    queue->in_flight++;
    queue->log->pending_bytes += chunk->weight;
    queue->log->pending_records += chunk->record_count;
    queue->log->pending_lazy += chunk->has_lazy;
    log_pressure_update(queue->log);
    pthread_mutex_unlock(&queue->log->mutex);
}

/* --- appending ---------------------------------------------------------------------------- */

static uint64_t queue_add(struct log_queue *queue, const struct log_record *record)
{
    ASSERT(record->replica.value != 0);
    size_t size = record_size_max(record);

    if (queue->gather != NULL && queue->gather->weight + size > queue->log->chunk_bytes_max)
        queue_push(queue);
    if (queue->gather == NULL) queue->gather = queue_chunk(queue);

    size_t before = buffer_size(&queue->gather->records);
    log_chunk_add(queue->gather, record);
    if (record->type == LOG_RECORD_RELEASE) return queue->position;
    queue->position += buffer_size(&queue->gather->records) - before;
    bool patient = record->type == LOG_RECORD_ENTRY && record->entry.patient;
    if (!patient) queue->hurried = queue->position;
    return queue->position;
}

uint64_t log_append_entry(struct log_queue *queue, struct group_id group, struct replica_id replica,
                          const struct log_entry *entry)
{
    ASSERT(entry->index > 0);
    ASSERT(entry->body.size <= LOG_ENTRY_BODY_MAX);
    return queue_add(
        queue, &(struct log_record){
                   .type = LOG_RECORD_ENTRY, .group = group, .replica = replica, .entry = *entry});
}

uint64_t log_append_truncate(struct log_queue *queue, struct group_id group,
                             struct replica_id replica, uint64_t from_index)
{
    ASSERT(from_index > 0);
    return queue_add(queue, &(struct log_record){.type = LOG_RECORD_TRUNCATE,
                                                 .group = group,
                                                 .replica = replica,
                                                 .index = from_index});
}

uint64_t log_append_state(struct log_queue *queue, struct group_id group, struct replica_id replica,
                          const struct log_state *state)
{
    return queue_add(
        queue, &(struct log_record){
                   .type = LOG_RECORD_STATE, .group = group, .replica = replica, .state = *state});
}

uint64_t log_append_snapshot(struct log_queue *queue, struct group_id group,
                             struct replica_id replica, uint64_t index, uint64_t term)
{
    return queue_add(queue, &(struct log_record){.type = LOG_RECORD_SNAPSHOT,
                                                 .group = group,
                                                 .replica = replica,
                                                 .index = index,
                                                 .term = term});
}

uint64_t log_append_removed(struct log_queue *queue, struct group_id group,
                            struct replica_id replica)
{
    return queue_add(queue, &(struct log_record){
                                .type = LOG_RECORD_REMOVED, .group = group, .replica = replica});
}

void log_release(struct log_queue *queue, struct group_id group, struct replica_id replica,
                 uint64_t index, uint64_t term)
{
    queue_add(queue, &(struct log_record){.type = LOG_RECORD_RELEASE,
                                          .group = group,
                                          .replica = replica,
                                          .index = index,
                                          .term = term});
}

/* Releases wait for a record that others wait for. Not while space is short: they may make some,
 * and such a record may never come, as requests that add data are refused. Nor while a damaged
 * segment waits for them. */
static bool releases_due(const struct log_queue *queue)
{
    if (queue->gather == NULL) return false;
    if (buffer_size(&queue->gather->records) > LOG_RELEASE_BYTES_MAX) return true;
    if (!log_is_short(queue->log) && log_damaged_segment(queue->log) == 0) return false;
    pthread_mutex_lock(&queue->log->mutex);
    bool due = queue->in_flight == 0;
    pthread_mutex_unlock(&queue->log->mutex);
    return due;
}

/* All that is gathered can wait for what comes next. */
static bool waits_for_company(struct log_queue *queue)
{
    bool hurries = queue->hurries || queue->hurried > queue->submitted || releases_due(queue);

    if (hurries || MAYBE(queue->world, "log: a patient entry does not wait")) return false;
    if (!queue->patient) world_timer_start(queue->world, &queue->patient_timer, LOG_PATIENT_US);
    queue->patient = true;
    return true;
}

static void queue_hand_over(struct log_queue *queue)
{
    if (queue->patient) world_timer_stop(queue->world, &queue->patient_timer);
    queue->patient = false;
    queue->submitted = queue->position;
    queue_push(queue);
    log_writer_wake(queue);
}

void log_queue_submit(struct log_queue *queue)
{
    bool nothing = queue->position == queue->submitted && !releases_due(queue);

    if (!nothing && !waits_for_company(queue)) queue_hand_over(queue);
    queue->hurries = false;
}

void log_queue_hurry(struct log_queue *queue)
{
    queue->hurries = true; /* what is driven in this turn is appended only at its end */
}

static void queue_patient_timer_fired(struct world_timer *timer)
{
    struct log_queue *queue = timer->context;

    SOMETIMES(queue->world, "log: patient entries waited in vain for others");
    queue->patient = false;
    queue_hand_over(queue);
}

/* --- reports ------------------------------------------------------------------------------ */

void log_queue_report(struct log_queue *queue)
{
    pthread_mutex_lock(&queue->log->mutex);
    uint64_t durable = queue->durable, written = queue->written;
    bool news = durable > queue->reported;
    bool written_news = written > durable && written > queue->written_reported;
    queue->reported = durable;
    queue->written_reported = written;
    pthread_mutex_unlock(&queue->log->mutex);
    if (written_news && !queue->closed && queue->on_written != NULL)
        queue->on_written(queue->context, written);
    if (news && !queue->closed) queue->on_durable(queue->context, durable);
}

static void queue_posted(struct world_post *post)
{
    struct log_queue *queue = post->context;

    pthread_mutex_lock(&queue->log->mutex);
    ASSERT(queue->posted);
    queue->posted = false;
    pthread_mutex_unlock(&queue->log->mutex);
    log_queue_report(queue);
}

static void queue_timer_fired(struct world_timer *timer)
{
    struct log_queue *queue = timer->context;
    log_writer_wake(queue);
}

static void queue_spare_timer_fired(struct world_timer *timer)
{
    struct log_queue *queue = timer->context;
    log_spare_retry(queue->log, queue);
}

bool log_queue_idle(const struct log_queue *queue)
{
    struct log *log = queue->log;

    pthread_mutex_lock(&log->mutex);
    bool all_durable = queue->reported == queue->position && queue->in_flight == 0 &&
                       !log->lazy_written; /* its timer may be the one that syncs for others */
    bool has_job = (log->running && log->owner == queue) ||
                   (log->preparing && log->spare_owner == queue) || queue->posted;
    pthread_mutex_unlock(&log->mutex);
    return all_durable && !has_job;
}

bool log_queue_full(const struct log_queue *queue)
{
    pthread_mutex_lock(&queue->log->mutex);
    uint64_t waiting = queue->position - queue->reported;
    pthread_mutex_unlock(&queue->log->mutex);
    return waiting > queue->log->queue_bytes_max;
}

/* --- life --------------------------------------------------------------------------------- */

struct log_queue *log_queue_open(struct log *log, struct world *world, void *context,
                                 void (*on_durable)(void *context, uint64_t position))
{
    struct log_queue *queue = memory_allocate_zero(sizeof(*queue));

    queue->log = log;
    queue->world = world;
    queue->context = context;
    queue->on_durable = on_durable;
    queue->timer = (struct world_timer){.fire = queue_timer_fired, .context = queue};
    queue->spare_timer = (struct world_timer){.fire = queue_spare_timer_fired, .context = queue};
    queue->patient_timer =
        (struct world_timer){.fire = queue_patient_timer_fired, .context = queue};
    queue->post = (struct world_post){.run = queue_posted, .context = queue};
    list_init(&queue->pending);
    list_init(&queue->kept);
    pthread_mutex_lock(&log->mutex);
    list_insert_before(&log->queues, &queue->link);
    pthread_mutex_unlock(&log->mutex);
    return queue;
}

void log_queue_hear_written(struct log_queue *queue,
                            void (*on_written)(void *context, uint64_t position))
{
    ASSERT(queue->position == 0);
    queue->on_written = on_written;
}

static void chunks_free(struct list *chunks)
{
    while (!list_empty(chunks))
        log_chunk_free(CONTAINER_OF(chunks->next, struct log_chunk, link));
}

void log_queue_free(struct log_queue *queue)
{
    pthread_mutex_lock(&queue->log->mutex);
    list_remove(&queue->link);
    pthread_mutex_unlock(&queue->log->mutex);
    log_chunk_free(queue->gather);
    chunks_free(&queue->pending);
    chunks_free(&queue->kept);
    memory_free(queue);
}

void log_queue_close(struct log_queue *queue)
{
    bool idle = log_queue_idle(queue);

    world_timer_stop(queue->world, &queue->timer);
    world_timer_stop(queue->world, &queue->spare_timer);
    world_timer_stop(queue->world, &queue->patient_timer);
    queue->closed = true;
    if (idle) log_queue_free(queue); /* else it waits for log_abandon() */
}
