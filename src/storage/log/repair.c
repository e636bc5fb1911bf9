/* repair.c - after recovery has judged a log to be sound up to some batch: cuts what is torn
 * behind it, and makes the rest count.
 *
 * The last batches may be known to the page cache alone (the process died, or its sync failed and
 * the kernel has forgotten that). So they are written again, byte by byte, and synced, before
 * anybody relies on them (FAULTS rule 6): all that the last one does not know to be durable. They
 * are in one segment, which was synced before the next one began. Every step may be repeated after
 * another crash. */
#include <inttypes.h>

#include "base/assert.h"
#include "base/memory.h"
#include "storage/log/log_private.h"
#include "world/probe.h"

enum { ZERO_BYTES = 256 << 10 }; /* written at once */

static bool all_zero(const uint8_t *bytes, size_t size)
{
    return bytes[0] == 0 && memcmp(bytes, bytes + 1, size - 1) == 0;
}

/* Size of the blocks that are not zero, from the first one of `content` on; at most `most`. */
static size_t nonzero_size(struct bytes content, size_t most)
{
    size_t size = 0;

    while (size + LOG_BLOCK_SIZE <= content.size && size + LOG_BLOCK_SIZE <= most &&
           !all_zero(content.data + size, LOG_BLOCK_SIZE))
        size += LOG_BLOCK_SIZE;
    return size;
}

/* Zeroes the blocks from `offset` on as far as a batch may reach: of a segment that was used
 * before, most of them. Does not sync. */
static enum status zero_tail(const struct log *log, struct file *file, uint64_t offset,
                             uint64_t stale_end, struct bytes content, struct error *error)
{
    uint64_t end = offset + log->batch_bytes_max * 2; /* dump and vote blocks included */
    enum status status = STATUS_OK;

    if (end < stale_end) end = stale_end;
    if (end > content.size) end = content.size;
    uint8_t *zeros = memory_allocate_zero(ZERO_BYTES);
    while (offset + LOG_BLOCK_SIZE <= end && status == STATUS_OK) {
        struct bytes left = bytes_make(content.data + offset, (size_t)(end - offset));
        size_t size = nonzero_size(left, ZERO_BYTES);
        if (size > 0) status = file_write(file, offset, bytes_make(zeros, size), error);
        offset += size > 0 ? size : LOG_BLOCK_SIZE;
    }
    memory_free(zeros);
    return status;
}

/* Segments behind the chain hold nothing but what was torn: they become spares, the newest
 * first, so that no hole appears. */
static enum status discard_behind(struct log *log, struct log_scan *scan, struct error *error)
{
    for (size_t i = scan->segment_count; i > 0; i--) {
        uint64_t segment = scan->segments[i - 1];
        if (segment == scan->last_segment) break;
        ASSERT(segment > scan->last_segment);

        struct bytes content;
        struct file *file = NULL;
        char path[LOG_PATH_SIZE];
        log_segment_path(log, segment, path);
        enum status status = log_segment_read(log, scan, segment, &content, error);
        if (status) return status;
        status = file_open(log->world, path, FILE_WRITE, &file, error);
        if (status) return status;
        /* The file is written again under the same number: of all that may be in it. */
        status = zero_tail(log, file, 0, content.size, content, error);
        if (status == STATUS_OK) status = file_sync(file, error);
        file_close(file);
        if (status == STATUS_OK) status = log_segment_discard(log, segment, error);
        if (status) return status;
    }
    return STATUS_OK;
}

static enum status open_active(struct log *log, const struct log_scan *scan, struct error *error)
{
    char path[LOG_PATH_SIZE];

    log_segment_path(log, scan->last_segment, path);
    enum status status =
        file_open(log->world, path, FILE_WRITE | FILE_DIRECT, &log->active_file, error);
    if (status) return status;
    status = file_size(log->active_file, &log->active_size, error);
    log->active_size -= log->active_size % LOG_BLOCK_SIZE;
    log->oldest_segment = scan->segments[0];
    log->active_segment = scan->last_segment;
    log->active_offset = scan->end_offset;
    log->batch_number = log->synced_number = scan->last_number;
    return status;
}

/* Of the first batch in the last segment that the last one does not know to be durable. */
static uint64_t unsynced_offset(const struct log_scan *scan, struct bytes content)
{
    struct log_batch last, batch;
    uint64_t offset = 0;

    if (log_batch_check(content, scan->last_offset, scan->last_segment, &last) != LOG_BATCH_VALID)
        return scan->last_offset;
    if (last.known_durable + 1 >= last.number) return scan->last_offset;
    while (offset < scan->last_offset &&
           log_batch_check(content, offset, scan->last_segment, &batch) == LOG_BATCH_VALID &&
           batch.number <= last.known_durable)
        offset += log_batch_size(&batch);
    return offset < scan->last_offset ? offset : scan->last_offset;
}

enum status log_repair(struct log *log, struct log_scan *scan, bool keep_tail, struct error *error)
{
    struct bytes content;

    if (scan->torn) SOMETIMES(log->world, "log: torn tail cut");
    enum status status = discard_behind(log, scan, error);
    if (status) return status;
    if (scan->last_number == 0) return world_sync_dir(log->world, log->directory, error);

    status = open_active(log, scan, error);
    if (status) return status;
    status = log_segment_read(log, scan, scan->last_segment, &content, error);
    if (status) return status;
    if (!keep_tail)
        status =
            zero_tail(log, log->active_file, scan->end_offset, scan->stale_end, content, error);
    if (status) return status;
    uint64_t from = unsynced_offset(scan, content);
    struct bytes last =
        bytes_make(content.data + from, (size_t)(scan->last_offset + scan->last_size - from));
    status = file_write(log->active_file, from, last, error);
    if (status) return status;
    status = file_sync(log->active_file, error);
    if (status) return status;
    return world_sync_dir(log->world, log->directory, error);
}

enum status log_repair_cut_too_much(struct log *log, struct log_scan *scan, struct error *error)
{
    static const uint8_t zeros[LOG_BLOCK_SIZE];
    struct file *file = NULL;
    char path[LOG_PATH_SIZE];

    if (scan->last_number < 2 || scan->last_offset == 0 || scan->last_number <= log->mark_number)
        return STATUS_OK; /* the mark would give it away */
    log_segment_path(log, scan->last_segment, path);
    enum status status = file_open(log->world, path, FILE_WRITE, &file, error);
    if (status) return status;
    status = file_write(file, scan->last_offset, bytes_make(zeros, LOG_BLOCK_SIZE), error);
    if (status == STATUS_OK) status = file_sync(file, error);
    file_close(file);
    if (status) return status;

    struct log_scan again = {.segments = scan->segments, .segment_count = scan->segment_count};
    scan->segments = NULL;
    log_scan_free(scan);
    *scan = again;
    log_table_free(&log->table);
    log_table_init(&log->table, &log->bodies);
    return log_scan_segments(log, scan, error);
}
