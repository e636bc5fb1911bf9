/* walk.c - reads a sealed segment batch by batch and judges it: for copying forward, on LANE_LOG,
 * and for scrubbing, on LANE_READ. Each has its own struct log_walk; of struct log only what
 * never changes while it is open is read. */
#include "storage/log/log_private.h"

enum status log_walk_open(const struct log *log, struct log_walk *walk, uint64_t segment,
                          struct error *error)
{
    char path[LOG_PATH_SIZE];

    log_segment_path(log, segment, path);
    enum status status = file_open(log->world, path, walk->flags, &walk->file, error);
    if (status) return status;
    if (walk->segment == segment) return STATUS_OK; /* it goes on where it was */
    walk->segment = segment;
    walk->offset = 0;
    walk->number = 0;
    return STATUS_OK;
}

void log_walk_close(struct log_walk *walk)
{
    file_close(walk->file);
    walk->file = NULL;
}

/* No batch was found where the next would be. Is that the end of the segment? Only if the next one
 * goes on with the next number: else a damaged batch hides what was written behind, and an entry
 * that was overwritten there would be taken for the one that counts. If the next one cannot be
 * read, there is no saying; it is damaged itself. */
static enum log_walk_found walk_end(const struct log *log, struct log_walk *walk)
{
    struct file *file = NULL;
    struct bytes bytes;
    struct log_batch batch;
    char path[LOG_PATH_SIZE];

    if (walk->number == 0) return LOG_WALK_DAMAGED;
    log_segment_path(log, walk->segment + 1, path);
    if (file_open(log->world, path, walk->flags, &file, NULL)) return LOG_WALK_NEXT_DAMAGED;
    bool valid =
        log_batch_read(file, walk->segment + 1, 0, &walk->read, &bytes, &batch) == LOG_BATCH_VALID;
    file_close(file);
    if (!valid || !log_identity_equal(&batch.identity, &log->identity))
        return LOG_WALK_NEXT_DAMAGED;
    return batch.number == walk->number + 1 ? LOG_WALK_END : LOG_WALK_DAMAGED;
}

enum log_walk_found log_walk_next(const struct log *log, struct log_walk *walk,
                                  struct bytes *ret_bytes, struct log_batch *ret_batch)
{
    enum log_batch_state state =
        log_batch_read(walk->file, walk->segment, walk->offset, &walk->read, ret_bytes, ret_batch);
    bool next = state == LOG_BATCH_VALID &&
                log_identity_equal(&ret_batch->identity, &log->identity) &&
                (walk->number == 0 || ret_batch->number == walk->number + 1);

    if (!next) return walk_end(log, walk); /* a torn batch may be there: log.c, votes_write() */
    walk->number = ret_batch->number;
    walk->offset += log_batch_size(ret_batch);
    return LOG_WALK_BATCH;
}
