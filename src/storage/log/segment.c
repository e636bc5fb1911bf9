/* segment.c - the files of segments: names, preallocation, recycling.
 *
 * 0000000000000001.seg, ...2.seg: the log. spare-0.seg, spare-1.seg: space for what comes. A
 * segment's life: spare -> renamed to the next id -> filled -> not needed -> spare again. The
 * name is durable before the first batch in it is acknowledged. */
#include <inttypes.h>
#include <stdio.h>

#include "base/assert.h"
#include "storage/log/log_private.h"
#include "world/probe.h"

enum { FIRST_SMALLER_FROM = 8 << 20 }; /* of segments of this size; a batch is a quarter at most */

void log_segment_path(const struct log *log, uint64_t segment, char path[LOG_PATH_SIZE])
{
    int size = snprintf(path, LOG_PATH_SIZE, "%s/%016" PRIx64 ".seg", log->directory, segment);
    ASSERT(size > 0 && size < LOG_PATH_SIZE); /* log_open() has checked the directory */
}

void log_spare_path(const struct log *log, uint32_t index, char path[LOG_PATH_SIZE])
{
    int size = snprintf(path, LOG_PATH_SIZE, "%s/spare-%" PRIu32 ".seg", log->directory, index);
    ASSERT(size > 0 && size < LOG_PATH_SIZE);
}

uint64_t log_segment_parse(const char *name)
{
    uint64_t id = 0;

    if (strlen(name) != 20 || strcmp(name + 16, ".seg") != 0) return 0;
    for (int i = 0; i < 16; i++) {
        char c = name[i];
        if (c >= '0' && c <= '9')
            id = id << 4 | (uint64_t)(c - '0');
        else if (c >= 'a' && c <= 'f')
            id = id << 4 | (uint64_t)(c - 'a' + 10);
        else
            return 0;
    }
    return id;
}

uint32_t log_spare_parse(const char *name)
{
    for (uint32_t i = 0; i < LOG_SPARES_MAX; i++) {
        char expected[32];
        snprintf(expected, sizeof(expected), "spare-%" PRIu32 ".seg", i);
        if (strcmp(name, expected) == 0) return i;
    }
    return LOG_SPARES_MAX;
}

/* The first segment is written with zeros while a new node waits for it, so that of large ones it
 * is a smaller one, in which two batches fit. (The bound counts it as whole: it is far away while
 * there is but one.) */
static uint64_t first_segment_size(const struct log *log)
{
    uint64_t size = log->segment_size / 4, least = 2 * log->batch_bytes_max;

    if (log->segment_size < FIRST_SMALLER_FROM) return log->segment_size;
    if (size < least) size = least;
    return size - size % LOG_BLOCK_SIZE;
}

/* Brings the file to its size, all of it reserved. A spare may be shorter (a crash while it was
 * prepared) or have the size of an earlier setting. */
static enum status segment_fit(struct file *file, uint64_t wanted, struct error *error)
{
    uint64_t size;
    enum status status = file_size(file, &size, error);

    if (status) return status;
    if (size == wanted) return STATUS_OK;
    if (size > wanted) return file_truncate(file, wanted, error);
    return file_allocate(file, wanted, error);
}

static bool spare_take(struct log *log, uint32_t *ret_index)
{
    bool found = false;

    pthread_mutex_lock(&log->mutex);
    for (uint32_t i = 0; i < LOG_SPARES_MAX && !found; i++) {
        if (!log->spare_ready[i]) continue;
        log->spare_ready[i] = false;
        *ret_index = i;
        found = true;
    }
    pthread_mutex_unlock(&log->mutex);
    return found;
}

/* A new file under `path`, wholly allocated and synced. On failure there is none. */
static enum status segment_create(struct log *log, const char *path, uint64_t size,
                                  struct file **ret_file, struct error *error)
{
    struct file *file = NULL;
    enum status status =
        file_open(log->world, path, FILE_WRITE | FILE_CREATE | FILE_DIRECT, &file, error);

    if (status) return status;
    status = segment_fit(file, size, error);
    if (status == STATUS_OK) status = file_sync(file, error);
    if (status) {
        file_close(file);
        struct error ignored;
        world_remove(log->world, path, &ignored);
        return status;
    }
    *ret_file = file;
    return STATUS_OK;
}

enum status log_segment_switch(struct log *log, struct error *error)
{
    uint64_t segment = log->active_segment ? log->active_segment + 1 : LOG_SEGMENT_FIRST;
    struct file *file = NULL;
    char path[LOG_PATH_SIZE], spare_path[LOG_PATH_SIZE];
    uint32_t spare;
    enum status status;

    log_segment_path(log, segment, path);
    if (spare_take(log, &spare)) {
        log_spare_path(log, spare, spare_path);
        status = world_rename(log->world, spare_path, path, error);
        if (status) return status;
        SOMETIMES(log->world, "log: segment recycled");
    }
    uint64_t size = log->active_segment ? log->segment_size : first_segment_size(log);
    status = segment_create(log, path, size, &file, error);
    if (status) return status;
    status = world_sync_dir(log->world, log->directory, error);
    if (status) {
        file_close(file);
        return status;
    }
    file_close(log->active_file);
    log->active_file = file;
    log->active_segment = segment;
    log->active_size = size;
    log->active_offset = 0;
    if (log->oldest_segment == 0) log->oldest_segment = segment;
    return STATUS_OK;
}

enum log_batch_state log_batch_read(struct file *file, uint64_t segment, uint64_t offset,
                                    struct buffer *buffer, struct bytes *ret_bytes,
                                    struct log_batch *ret_batch)
{
    size_t size = LOG_BLOCK_SIZE, read = 0;

    for (int round = 0; round < 2; round++) {
        buffer_clear(buffer);
        uint8_t *bytes = buffer_reserve(buffer, size);
        if (bytes == NULL || file_read(file, offset, bytes, size, &read, NULL) != STATUS_OK)
            return LOG_BATCH_DAMAGED;
        *ret_bytes = bytes_make(bytes, read);
        uint64_t wanted = log_batch_wants(*ret_bytes, offset, segment);
        if (wanted <= read || wanted > LOG_SEGMENT_SIZE_MAX) break;
        size = (size_t)wanted;
    }
    return log_batch_judge(*ret_bytes, offset, segment, ret_batch);
}

/* A place for a spare that is neither taken nor being made. */
static uint32_t spare_free_index(const struct log *log)
{
    for (uint32_t i = 0; i < LOG_SPARES_MAX; i++) {
        bool being_made = log->preparing && log->spare_index == i;
        if (!log->spare_ready[i] && !being_made) return i;
    }
    return LOG_SPARES_MAX;
}

enum status log_segment_discard(struct log *log, uint64_t segment, struct error *error)
{
    char path[LOG_PATH_SIZE], spare_path[LOG_PATH_SIZE];
    uint32_t index;
    enum status status;

    log_segment_path(log, segment, path);
    pthread_mutex_lock(&log->mutex);
    bool smaller = segment == LOG_SEGMENT_FIRST && first_segment_size(log) < log->segment_size;
    bool surplus = log->statistics.segments > log->segments_max || smaller;
    index = surplus ? LOG_SPARES_MAX : spare_free_index(log);
    pthread_mutex_unlock(&log->mutex);

    if (index < LOG_SPARES_MAX) {
        log_spare_path(log, index, spare_path);
        status = world_rename(log->world, path, spare_path, error);
        if (status == STATUS_OK) status = world_sync_dir(log->world, log->directory, error);
    } else {
        status = world_discard(log->world, log->directory, path, error);
    }
    if (status) return status;
    SOMETIMES(log->world, "log: segment freed");

    pthread_mutex_lock(&log->mutex);
    if (index < LOG_SPARES_MAX) {
        log->spare_ready[index] = true;
        log->statistics.no_space = false;
        log->is_short = false;
    }
    pthread_mutex_unlock(&log->mutex);
    return STATUS_OK;
}

/* --- preparing a spare in the background --------------------------------------------------- */

static void spare_run(struct world_job *job)
{
    struct log *log = job->context;
    struct file *file = NULL;
    struct error error;
    char path[LOG_PATH_SIZE];

    if (log->failed) return;
    log_spare_path(log, log->spare_index, path);
    enum status status = segment_create(log, path, log->segment_size, &file, &error);
    if (status == STATUS_OK) {
        file_close(file);
        status = world_sync_dir(log->world, log->directory, &error);
    }
    if (status != STATUS_OK && status != STATUS_NO_SPACE) {
        log->failed = true;
        world_fatal(log->world, "log: cannot prepare a segment: %s", error.text);
        return;
    }
    pthread_mutex_lock(&log->mutex);
    log->spare_ready[log->spare_index] = status == STATUS_OK;
    log->statistics.no_space = status == STATUS_NO_SPACE;
    log->is_short = log->statistics.no_space;
    pthread_mutex_unlock(&log->mutex);
}

static void spare_done(struct world_job *job)
{
    struct log *log = job->context;

    if (log->failed) return;
    pthread_mutex_lock(&log->mutex);
    struct log_queue *owner = log->spare_owner;
    log->preparing = false;
    log->spare_owner = NULL;
    bool is_short = log->statistics.no_space;
    if (is_short) {
        log->spare_retry_at = world_now(owner->world) + LOG_NO_SPACE_RETRY_US;
        SOMETIMES(owner->world, "log: no space for a spare segment");
    }
    pthread_mutex_unlock(&log->mutex);
    /* While the log is short requests that add data are refused, so that no append may come whose
     * end would try again. */
    if (is_short && !owner->closed)
        world_timer_start(owner->world, &owner->spare_timer, LOG_NO_SPACE_RETRY_US);
}

static void spare_start(struct log *log, struct log_queue *queue)
{
    bool start = false;

    pthread_mutex_lock(&log->mutex);
    bool any_ready = false;
    for (uint32_t i = 0; i < LOG_SPARES_MAX; i++)
        any_ready |= log->spare_ready[i];
    if (!any_ready && log_spare_fits(log) && !log->preparing &&
        world_now(queue->world) >= log->spare_retry_at) {
        log->spare_index = spare_free_index(log);
        ASSERT(log->spare_index < LOG_SPARES_MAX);
        log->preparing = true;
        log->spare_owner = queue;
        log->spare_job = (struct world_job){.run = spare_run, .done = spare_done, .context = log};
        start = true;
    }
    pthread_mutex_unlock(&log->mutex);
    if (start) world_job_start(queue->world, LANE_FLUSH, &log->spare_job);
}

/* Called by the writer's done(), so nobody else changes the active segment now. */
void log_spare_prepare(struct log *log, struct log_queue *queue)
{
    uint64_t mark = log->active_size / (log->active_size < log->segment_size ? 8 : 2);

    if (log->active_offset > mark) spare_start(log, queue);
}

void log_spare_retry(struct log *log, struct log_queue *queue)
{
    if (!log->failed && log->is_short) spare_start(log, queue);
}
