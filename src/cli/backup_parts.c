/* backup_parts.c - each partition of the snapshot becomes a file. */
#include <stdio.h>
#include <time.h>

#include "cli/backup_reuse.h"

enum { MS_PER_S = 1000, NS_PER_MS = 1000000, CURSOR_SIZE_MAX = 256 << 10, NUMBER_SIZE = 24 };

struct part_job {
    struct backup_run *run;
    struct backup_part *part;
    struct link *link;
    struct backup_writer writer;
    struct buffer cursor;
    struct export_sequence sequence;
    struct backup_reuse *reuse; /* of an earlier part, or NULL */
    bool reuse_failed;          /* what is wrong is wrong with that */
    uint64_t since;
};

enum status backup_save_state(const struct backup_run *run, struct error *error)
{
    char path[PLACE_FILE_SIZE];
    struct buffer text;

    backup_place_file(&run->place, PLACE_STATE, path);
    buffer_init(&text, MANIFEST_SIZE_MAX);
    enum status status = backup_manifest_encode(&run->manifest, &text)
                             ? file_replace(path, buffer_bytes(&text), error)
                             : error_set(error, STATUS_FULL, "%s would be too large", path);
    buffer_free(&text);
    return status;
}

static enum status add_to_reused(struct part_job *job, const struct export_record *record,
                                 struct error *error)
{
    enum status status = backup_reuse_add(job->reuse, record, &job->writer, error);

    job->reuse_failed = status == STATUS_CORRUPT;
    return status;
}

static enum status take_records(struct part_job *job, struct bytes records, uint64_t *ret_keys,
                                struct error *error)
{
    struct reader reader = reader_make(records);
    struct export_record record;
    uint64_t before = job->sequence.keys_all;

    while (reader_left(&reader)) {
        const char *wrong = export_record_read(&reader, &record)
                                ? export_sequence_add(&job->sequence, &record)
                                : "something that is no record of this version";
        bool base = job->since > 0;
        if (!wrong && record.kind == EXPORT_SAME && !base)
            wrong = "a key that is said to be in another backup";
        if (wrong)
            return error_set(error, STATUS_INVALID, "%s exports, of slots %u to %u: %s",
                             job->link->node, job->part->slot_first, job->part->slot_last, wrong);
        if (job->reuse == NULL) continue;
        enum status status = add_to_reused(job, &record, error);
        if (status) return status;
    }
    *ret_keys = job->sequence.keys_all - before;
    return job->reuse ? STATUS_OK : backup_writer_add(&job->writer, records, error);
}

static enum status take_answer(struct part_job *job, const redisReply *reply, bool *ret_more,
                               struct error *error)
{
    struct export_answer answer;
    uint64_t keys = 0;

    enum status status = export_answer_take(reply, &answer, error);
    if (status) return status;
    if (answer.slot_first != job->part->slot_first || answer.slot_last != job->part->slot_last ||
        answer.version != job->part->version)
        return error_set(error, STATUS_INVALID,
                         "%s exports another partition, or another version of it, than before: "
                         "slots %u to %u, version %llu",
                         job->link->node, answer.slot_first, answer.slot_last,
                         (unsigned long long)answer.version);
    status = take_records(job, answer.records, &keys, error);
    if (status) return status;
    buffer_clear(&job->cursor);
    if (buffer_append(&job->cursor, answer.cursor))
        return error_set(error, STATUS_INVALID, "%s gave a cursor that is too large",
                         job->link->node);
    *ret_more = answer.cursor.size > 0;
    crew_add(&job->run->crew, keys, answer.records.size);
    return STATUS_OK;
}

static enum status read_part(struct part_job *job, struct error *error)
{
    char slot[NUMBER_SIZE], since[NUMBER_SIZE], size[NUMBER_SIZE];
    bool more = true;

    snprintf(slot, sizeof(slot), "%u", job->part->slot_first);
    snprintf(since, sizeof(since), "%llu", (unsigned long long)job->since);
    snprintf(size, sizeof(size), "%d", EXPORT_BYTES_MAX);
    while (more) {
        struct bytes words[] = {
            bytes_of("HOLON.EXPORT"), bytes_of(slot), buffer_bytes(&job->cursor),
            bytes_of("BYTES"),        bytes_of(size), bytes_of("SINCE"),
            bytes_of(since)};
        redisReply *reply;
        if (job->run->crew.failed) return error_set(error, STATUS_CLOSED, "given up");
        enum status status = link_call(job->link, words, job->since ? 7 : 5, &reply, error);
        if (status) return status;
        status = take_answer(job, reply, &more, error);
        freeReplyObject(reply);
        if (status) return status;
    }
    if (!export_sequence_is_whole(&job->sequence))
        return error_set(error, STATUS_INVALID, "%s has not exported the last value as a whole",
                         job->link->node);
    return STATUS_OK;
}

static enum status finish_part(struct part_job *job, struct error *error)
{
    struct backup_run *run = job->run;
    struct backup_part part = *job->part;
    const struct export_sequence *written = job->reuse ? &job->reuse->out : &job->sequence;

    enum status status = backup_writer_finish(&job->writer, &part.sum, error);
    if (status) return status;
    memcpy(part.keys, written->keys, sizeof(part.keys));
    part.keys_all = written->keys_all;
    part.same = written->same;
    part.locks = written->locks;
    part.token_max = written->token_max;
    part.record_bytes = job->writer.plain_bytes;
    part.file_bytes = job->writer.file_bytes;
    part.done = true;
    pthread_mutex_lock(&run->crew.mutex);
    *job->part = part;
    status = backup_save_state(run, error);
    pthread_mutex_unlock(&run->crew.mutex);
    return status;
}

/* *ret_again: the earlier part is no good, and all has to be read. */
static enum status make_with(struct backup_run *run, uint32_t worker, uint32_t number,
                             struct backup_reuse *reuse, bool *ret_again, struct error *error)
{
    struct part_job job = {.run = run,
                           .part = &run->manifest.parts[number],
                           .link = &run->links[worker],
                           .reuse = reuse};
    struct backup_header header = run->header;
    char path[PLACE_FILE_SIZE];

    header.kind = BACKUP_PART;
    header.partition = number;
    backup_place_part(&run->place, number, path);
    job.since = reuse ? run->manifest.earlier[number].version : job.part->since;
    buffer_init(&job.cursor, CURSOR_SIZE_MAX);
    enum status status = backup_writer_open(&job.writer, path, header, &run->key, error);
    if (status == STATUS_OK) status = read_part(&job, error);
    if (status == STATUS_OK && reuse) {
        status = backup_reuse_end(reuse, error);
        job.reuse_failed = status != STATUS_OK;
    }
    if (status == STATUS_OK) status = finish_part(&job, error);
    backup_writer_close(&job.writer);
    buffer_free(&job.cursor);
    *ret_again = job.reuse_failed;
    return status;
}

static enum status make_part(void *context, uint32_t worker, uint32_t index, struct error *error)
{
    struct backup_run *run = context;
    uint32_t number = run->pending[index];
    bool earlier = run->manifest.earlier && run->manifest.earlier[number].done;
    struct backup_reuse reuse = {0};
    struct error cause;
    bool again = true;
    enum status status = STATUS_OK;

    if (earlier) {
        bool opened = backup_reuse_open(&reuse, run, number, &cause) == STATUS_OK;
        if (opened) status = make_with(run, worker, number, &reuse, &again, error);
        backup_reuse_close(&reuse);
    }
    return again ? make_with(run, worker, number, NULL, &again, error) : status;
}

/* --- meanwhile ------------------------------------------------------------------------------- */

static int64_t now_ms(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * MS_PER_S + now.tv_nsec / NS_PER_MS;
}

/* The snapshot ends with the connection that opened it: whether that stands is known now, and not
 * after hours. */
static enum status ping(struct backup_run *run, struct error *error)
{
    struct bytes word = bytes_of("PING");
    struct error cause;
    redisReply *reply;

    if (now_ms() - run->pinged_ms < BACKUP_PING_MS) return STATUS_OK;
    enum status status = run->control.context
                             ? link_try(&run->control, &word, 1, &reply, &cause)
                             : error_set(&cause, STATUS_CLOSED, "it was lost before");
    run->pinged_ms = now_ms();
    if (status == STATUS_OK) freeReplyObject(reply);
    if (status == STATUS_OK) return status;
    return error_set(error, status, "the snapshot ended with the connection that held it: %s",
                     cause.text);
}

static enum status tick(void *context, struct error *error)
{
    struct backup_run *run = context;
    struct crew *crew = &run->crew;
    uint32_t before = run->manifest.part_count - run->pending_count;

    if (crew->running == 0) return STATUS_OK;
    progress_line_say(&run->progress, before + crew->done, run->manifest.part_count,
                      run->keys_before + crew->keys, run->bytes_before + crew->bytes);
    return ping(run, error);
}

static void find_pending(struct backup_run *run)
{
    run->pending_count = 0;
    for (uint32_t i = 0; i < run->manifest.part_count; i++) {
        const struct backup_part *part = &run->manifest.parts[i];
        if (!part->done) run->pending[run->pending_count++] = i;
        run->keys_before += part->keys_all;
        run->bytes_before += part->record_bytes;
    }
}

enum status backup_make_parts(struct backup_run *run, struct error *error)
{
    find_pending(run);
    progress_line_begin(&run->progress, "backup", run->manifest.part_count - run->pending_count);
    run->crew.job = make_part;
    run->crew.tick = tick;
    for (uint32_t i = 0; i < CREW_THREADS_MAX; i++) {
        link_init(&run->links[i], run->options->backup_node);
        run->links[i].use = run->manifest.snapshot;
        run->links[i].stop = &run->crew.failed;
    }
    run->pinged_ms = now_ms();
    enum status status =
        crew_run(&run->crew, run->options->backup_streams, run->pending_count, error);
    progress_line_end(&run->progress);
    for (uint32_t i = 0; i < CREW_THREADS_MAX; i++)
        link_close(&run->links[i]);
    return status;
}
