/* log.c - opening, closing, recovery's result and statistics. */
#include <stdio.h>
#include <stdlib.h>

#include "base/assert.h"
#include "base/memory.h"
#include "storage/log/log_private.h"
#include "world/probe.h"

static enum status options_check(const struct log_options *options, struct error *error)
{
    uint64_t size = options->segment_size;
    bool size_good =
        size >= LOG_SEGMENT_SIZE_MIN && size <= LOG_SEGMENT_SIZE_MAX && size % LOG_BLOCK_SIZE == 0;

    if (!size_good)
        return error_set(error, STATUS_INVALID,
                         "log segment size %llu: must be a multiple of 4 KiB from 1 MiB to 1 GiB",
                         (unsigned long long)size);
    if (strlen(options->directory) + sizeof("/0123456789abcdef.seg") > LOG_PATH_SIZE)
        return error_set(error, STATUS_INVALID, "log directory: its name is too long");
    if (options->bytes_max != 0 && options->bytes_max / size < LOG_SEGMENTS_MIN)
        return error_set(error, STATUS_INVALID,
                         "log: a bound of %llu bytes is too small, %d segments of %llu must fit",
                         (unsigned long long)options->bytes_max, LOG_SEGMENTS_MIN,
                         (unsigned long long)size);
    return STATUS_OK;
}

static uint64_t clamp(uint64_t value, uint64_t low, uint64_t high)
{
    return value < low ? low : value > high ? high : value;
}

static struct log *log_make(struct world *world, const struct log_options *options)
{
    struct log *log = memory_allocate_zero(sizeof(*log));

    log->world = world;
    snprintf(log->directory, sizeof(log->directory), "%s", options->directory);
    log->identity = (struct log_identity){
        .cluster = options->cluster, .store = options->store, .node = options->node};
    log->segment_size = options->segment_size;
    log->queue_bytes_max = options->queue_bytes_max;
    log->batch_bytes_max =
        clamp(options->segment_size / 4, LOG_BATCH_BYTES_MIN, LOG_BATCH_BYTES_MAX);
    log->chunk_bytes_max = clamp(log->batch_bytes_max, 0, LOG_CHUNK_BYTES_MAX);
    bool bound_good = log_marks_set(log, options->bytes_max);
    ASSERT(bound_good); /* checked */
    log->damage = options->damage;
    log->lost_power = options->lost_power;
    log->on_written_lost = options->on_written_lost;
    log->context = options->context;
    log->writer_loops = options->writer_loops ? options->writer_loops : LOG_WRITER_LOOPS_DEFAULT;
    list_init(&log->queues);
    pthread_mutex_init(&log->mutex, NULL);
    pthread_mutex_init(&log->mark_mutex, NULL);
    arena_init(&log->bodies, 0);
    log_table_init(&log->table, &log->bodies);
    log_writer_init(log);
    return log;
}

static void log_free(struct log *log)
{
    while (!list_empty(&log->taken))
        log_chunk_free(CONTAINER_OF(log->taken.next, struct log_chunk, link));
    log_recovery_free(log);
    log_table_free(&log->table);
    buffer_free(&log->batch);
    memory_free(log->votes);
    log_copy_free(log);
    file_close(log->active_file);
    file_close(log->mark_file);
    pthread_mutex_destroy(&log->mutex);
    pthread_mutex_destroy(&log->mark_mutex);
    memory_free(log);
}

/* --- opening ------------------------------------------------------------------------------ */

static enum status log_create(struct log *log, bool must_exist, struct error *error)
{
    if (must_exist) {
        log_note_damage(log, log->directory, 0);
        return error_set(error, STATUS_CORRUPT,
                         "%s: the log is gone, though this node had one; it must not vote without "
                         "it",
                         log->directory);
    }
    enum status status = world_make_durable_dir(log->world, log->directory, error);
    if (status) return status;
    status = log_mark_create(log, error); /* first: segments without it are refused */
    if (status) return status;
    return log_write_batch(log, error);
}

/* A later vote of the same group in the torn batch makes this one pointless. */
static bool vote_is_outdone(const struct log_scan *scan, size_t index)
{
    const struct log_vote *vote = &scan->votes[index];

    for (size_t i = index + 1; i < scan->vote_count; i++) {
        const struct log_vote *later = &scan->votes[i];
        if (later->group.value == vote->group.value && later->term >= vote->term) return true;
    }
    return false;
}

/* Records that make newer votes of a torn batch durable again, or NULL. The table learns of them
 * when they are written: a dump comes first and must not know them yet. */
static struct log_chunk *votes_adopt(const struct log *log, const struct log_scan *scan)
{
    struct log_chunk *chunk = log_chunk_make(NULL);
    struct log_state state;

    for (size_t i = 0; i < scan->vote_count; i++) {
        const struct log_vote *vote = &scan->votes[i];
        if (!log_table_vote_is_newer(&log->table, vote, &state) || vote_is_outdone(scan, i))
            continue;
        log_chunk_add(chunk, &(struct log_record){.type = LOG_RECORD_STATE,
                                                  .group = vote->group,
                                                  .replica = vote->replica,
                                                  .state = state});
    }
    if (chunk->record_count > 0) return chunk;
    log_chunk_free(chunk);
    return NULL;
}

/* Into a new segment, so that another crash still finds the torn batch where it is. */
static enum status votes_write(struct log *log, struct log_chunk *chunk, struct error *error)
{
    SOMETIMES(log->world, "log: vote of a torn batch kept");
    enum status status = log_segment_switch(log, error);
    if (status) {
        log_chunk_free(chunk);
        return status;
    }
    list_insert_before(&log->taken, &chunk->link); /* freed with the log if that fails */
    status = log_write_batch(log, error);
    if (status == STATUS_OK) log_chunk_free(chunk);
    return status;
}

static enum status log_recover(struct log *log, struct log_scan *scan, struct error *error)
{
    enum status status = log_mark_open(log, error);

    if (status == STATUS_NOT_FOUND)
        status = error_set(error, STATUS_CORRUPT,
                           "%s/durable is missing, so a damaged end of the log cannot be told from "
                           "a torn one",
                           log->directory);
    if (status == STATUS_REFUSED && log_scan_is_ours(log, scan))
        status = error_set(error, STATUS_CORRUPT,
                           "%s/durable is of another log, the segments beside it are this node's",
                           log->directory);
    if (status == STATUS_CORRUPT && scan->segment_count == 0) {
        file_close(log->mark_file); /* founding was cut short before its first sync */
        log->mark_file = NULL;
        return log_create(log, false, error);
    }
    if (status == STATUS_CORRUPT) {
        char path[LOG_PATH_SIZE + 16];
        snprintf(path, sizeof(path), "%s/durable", log->directory);
        log_note_damage(log, path, 0);
    }
    if (status) return status;

    status = log_scan_segments(log, scan, error);
    if (status) return status;
    if (PLANTED(log->world, "log_cut_too_much")) {
        status = log_repair_cut_too_much(log, scan, error);
        if (status) return status;
    }
    struct log_chunk *votes = votes_adopt(log, scan);
    status = log_repair(log, scan, votes != NULL, error);
    if (status) {
        log_chunk_free(votes);
        return status;
    }
    if (log->active_file == NULL) return log_write_batch(log, error); /* its founding was torn */
    return votes ? votes_write(log, votes, error) : STATUS_OK;
}

static int recovered_compare(const void *a, const void *b)
{
    uint32_t left = ((const struct log_recovered *)a)->group.value;
    uint32_t right = ((const struct log_recovered *)b)->group.value;
    return (left > right) - (left < right);
}

/* Moves what the table knows and holds into log->recovered, sorted by group. */
static void recovered_take(struct log *log)
{
    struct log_group *group;

    log->recovered = memory_allocate_zero(log->table.living * sizeof(*log->recovered));
    for (size_t i = 0; (group = log_table_next(&log->table, &i)) != NULL;) {
        struct log_recovered *recovered = &log->recovered[log->recovered_count++];
        recovered->group = group->group;
        recovered->replica = group->replica;
        recovered->state = group->state;
        recovered->base_index = group->base_index;
        recovered->base_term = group->base_term;
        recovered->entries = log_group_take_entries(group, &recovered->entry_count);
    }
    ASSERT(log->recovered_count == log->table.living);
    qsort(log->recovered, log->recovered_count, sizeof(*log->recovered), recovered_compare);
    log->table.bodies = NULL; /* from now on entries are only counted */
}

enum status log_open(struct world *world, const struct log_options *options, struct log **ret_log,
                     struct error *error)
{
    struct log_scan scan = {0};
    struct error own_error;
    bool empty = false;

    if (error == NULL) error = &own_error;
    enum status status = options_check(options, error);
    if (status) return status;

    struct log *log = log_make(world, options);
    status = world_make_dir(world, log->directory, error); /* durable with its first file */
    if (status == STATUS_EXISTS) status = STATUS_OK;
    if (status == STATUS_OK) status = log_scan_directory(log, &scan, &empty, error);
    if (status == STATUS_OK)
        status =
            empty ? log_create(log, options->must_exist, error) : log_recover(log, &scan, error);
    if (status == STATUS_OK) status = log_mark_write(log, error);
    log_scan_free(&scan);
    if (status) {
        log_free(log);
        return status;
    }
    recovered_take(log);
    log->opened = true;
    log->released = true;
    log->kept_from = log->oldest_segment;
    log_pin_update(log);
    *ret_log = log;
    return STATUS_OK;
}

void log_recovery(struct log *log, const struct log_recovered **ret_groups, size_t *ret_count)
{
    *ret_groups = log->recovered;
    *ret_count = log->recovered_count;
}

void log_recovery_free(struct log *log)
{
    for (size_t i = 0; i < log->recovered_count; i++)
        memory_free(log->recovered[i].entries);
    memory_free(log->recovered);
    log->recovered = NULL;
    log->recovered_count = 0;
    arena_free(&log->bodies);
    arena_init(&log->bodies, 0);
}

/* --- closing ------------------------------------------------------------------------------ */

void log_close(struct log *log)
{
    struct error error;

    ASSERT(list_empty(&log->queues));
    ASSERT(!log->running && !log->preparing);
    ASSERT(log->failed || log->batch_number == log->synced_number);
    if (!log->failed && log->synced_number > log->mark_number &&
        log_mark_write(log, &error) != STATUS_OK)
        LOG_WARN(world_logger(log->world), "log", "cannot write the mark: %s", error.text);
    log_free(log);
}

void log_abandon(struct log *log)
{
    while (!list_empty(&log->queues))
        log_queue_free(CONTAINER_OF(log->queues.next, struct log_queue, link));
    log_free(log);
}

/* --- statistics --------------------------------------------------------------------------- */

void log_statistics(struct log *log, struct log_statistics *ret)
{
    pthread_mutex_lock(&log->mutex);
    *ret = log->statistics;
    ret->pressure = (uint64_t)log->pressure;
    ret->flush_segments = log->marks.flush;
    ret->damages_found = log->damages_found;
    ret->damaged = log->damaged_count;
    ret->queue_bytes = log->pending_bytes;
    ret->queue_records = log->pending_records;
    ret->lazy = log->lazy_written || log->pending_lazy > 0;
    uint64_t files = ret->segments;
    for (uint32_t i = 0; i < LOG_SPARES_MAX; i++)
        files += log->spare_ready[i];
    pthread_mutex_unlock(&log->mutex);
    ret->segment_size = log->segment_size;
    ret->bytes_on_disk = files * log->segment_size + LOG_MARK_SIZE;
}
