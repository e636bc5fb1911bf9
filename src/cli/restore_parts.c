/* restore_parts.c - the partitions of a backup, each one batch after the other. */
#include <time.h>

#include "cli/backup_source.h"
#include "cli/restore_batch.h"
#include "cli/restore_run.h"

enum { MS_PER_S = 1000, NS_PER_MS = 1000000 };

struct part_job {
    struct restore_run *run;
    struct restore_part *part;
    struct link *link;
    struct backup_source *source;
    struct restore_batch batch;
    uint64_t bytes; /* of the records in the batch */
};

static enum status send(struct part_job *job, struct error *error)
{
    struct restore_run *run = job->run;
    struct restore_batch *batch = &job->batch;

    if (run->crew.failed) return error_set(error, STATUS_CLOSED, "given up");
    if (batch->too_large)
        return error_set(error, STATUS_FULL,
                         "a hash of the backup has more fields in one record "
                         "than a cluster exports");
    if (batch->count > 0) {
        enum status status =
            link_send_all(job->link, buffer_bytes(&batch->commands), batch->count, error);
        if (status) return status;
    }
    pthread_mutex_lock(&run->crew.mutex);
    job->part->keys += batch->keys;
    for (int database = 0; database < EXPORT_DATABASES; database++)
        job->part->expiring[database] += batch->expiring[database];
    run->crew.keys += batch->keys;
    run->crew.bytes += job->bytes;
    pthread_mutex_unlock(&run->crew.mutex);
    restore_batch_clear(batch);
    job->bytes = 0;
    return STATUS_OK;
}

/* Keys that an earlier run has written are passed over. */
static enum status write_records(struct part_job *job, struct error *error)
{
    struct export_record record;
    uint64_t skip = job->part->keys, begun = 0;
    enum status status;

    while ((status = backup_source_next(job->source, &record, error)) == STATUS_OK) {
        begun += record.kind == EXPORT_STRING || record.kind == EXPORT_HASH;
        if (begun <= skip) continue;
        if (!restore_batch_add(&job->batch, &record)) {
            status = send(job, error);
            if (status) return status;
            restore_batch_add(&job->batch, &record); /* an empty one has room */
        }
        job->bytes += record.key.size + record.piece.size;
    }
    return status == STATUS_NOT_FOUND ? send(job, error) : status;
}

static enum status write_part(void *context, uint32_t worker, uint32_t index, struct error *error)
{
    struct restore_run *run = context;
    struct part_job job = {.run = run, .part = &run->parts[index], .link = &run->links[worker]};

    if (job.part->done) return STATUS_OK;
    enum status status = backup_source_open(&run->chain, 0, index, &job.source, error);
    if (status) return status;
    restore_batch_init(&job.batch, job.part->begun || run->options->backup_overwrite);
    pthread_mutex_lock(&run->crew.mutex);
    job.part->begun = true;
    pthread_mutex_unlock(&run->crew.mutex);
    status = write_records(&job, error);
    pthread_mutex_lock(&run->crew.mutex);
    if (status == STATUS_OK) job.part->done = true;
    pthread_mutex_unlock(&run->crew.mutex);
    restore_batch_free(&job.batch);
    backup_source_close(job.source);
    return status;
}

static int64_t now_ms(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * MS_PER_S + now.tv_nsec / NS_PER_MS;
}

static enum status tick(void *context, struct error *error)
{
    struct restore_run *run = context;
    struct crew *crew = &run->crew;

    if (crew->running > 0)
        progress_line_say(&run->progress, run->keys_before + crew->keys, run->totals.keys_all,
                          run->keys_before + crew->keys, crew->bytes);
    bool due = crew->running == 0 || now_ms() - run->saved_ms >= RESTORE_SAVE_MS;
    if (!due || !run->saves) return STATUS_OK;
    run->saved_ms = now_ms();
    return restore_save(run, error);
}

enum status restore_write_parts(struct restore_run *run, struct error *error)
{
    uint32_t count = run->chain.items[0].manifest.part_count;

    run->crew.job = write_part;
    run->crew.tick = tick;
    for (uint32_t i = 0; i < CREW_THREADS_MAX; i++) {
        link_init(&run->links[i], run->options->backup_node);
        run->links[i].stop = &run->crew.failed;
    }
    for (uint32_t i = 0; i < count; i++)
        run->keys_before += run->parts[i].keys;
    run->saved_ms = now_ms();
    progress_line_begin(&run->progress, "restore", run->keys_before);
    enum status status = crew_run(&run->crew, run->options->backup_streams, count, error);
    progress_line_end(&run->progress);
    for (uint32_t i = 0; i < CREW_THREADS_MAX; i++)
        link_close(&run->links[i]);
    return status;
}
