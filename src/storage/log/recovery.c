/* recovery.c - reads an existing log and judges it. Changes no file: that is repair.c.
 *
 * The chain: batches with numbers n, n + 1, ... from the start of the oldest segment on. Within
 * a segment one follows the other; behind the last one of a segment the chain goes on at the
 * start of the next segment, with a dump. Where it ends there are two cases:
 *
 *   torn tail   the batch behind the end was written, and not synced, when the power went: nobody
 *               was told that it is durable. Later ones may be there, of those that no sync had
 *               covered either: they say so. The mark says nothing of it. All of it is cut.
 *   damage      the mark, or any valid batch with a higher number anywhere that says so, proves
 *               that the batch behind the end had been durable. STATUS_CORRUPT: it may hold a vote
 *               or an acknowledged entry.
 *
 * What remains: damage to the very last batch in the few milliseconds (LOG_MARK_IDLE_US) before
 * the mark says it is durable looks like a torn tail. Votes survive that too: the second copy in
 * their own block is taken from a torn batch (a vote that was written but not told to anyone
 * does no harm). */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/assert.h"
#include "base/memory.h"
#include "storage/log/log_private.h"
#include "world/probe.h"

/* --- the directory ------------------------------------------------------------------------ */

struct listing {
    struct log *log;
    struct log_scan *scan;
    bool any;
};

static void listing_add(void *context, const char *name)
{
    struct listing *listing = context;
    struct log_scan *scan = listing->scan;
    uint64_t segment = log_segment_parse(name);
    uint32_t spare = log_spare_parse(name);

    if (segment != 0) {
        scan->segments =
            memory_resize(scan->segments, (scan->segment_count + 1) * sizeof(*scan->segments));
        scan->segments[scan->segment_count++] = segment;
        listing->any = true;
    } else if (spare < LOG_SPARES_MAX) {
        listing->log->spare_ready[spare] = true;
        listing->any = true;
    } else if (log_aside_parse(name) != 0) {
        log_damage_listed(listing->log, log_aside_parse(name));
    } else if (strcmp(name, "durable") == 0) {
        listing->any = true;
    } else if (strcmp(name, "lost+found") != 0) { /* the log may be a file system of its own */
        LOG_WARN(world_logger(listing->log->world), "log",
                 "%s/%s is no file of a log and is left alone", listing->log->directory, name);
    }
}

static int id_compare(const void *a, const void *b)
{
    uint64_t left = *(const uint64_t *)a, right = *(const uint64_t *)b;
    return (left > right) - (left < right);
}

enum status log_scan_directory(struct log *log, struct log_scan *scan, bool *ret_empty,
                               struct error *error)
{
    struct listing listing = {.log = log, .scan = scan};
    enum status status = world_list_dir(log->world, log->directory, &listing, listing_add, error);

    if (status) return status;
    if (scan->segment_count > 0)
        qsort(scan->segments, scan->segment_count, sizeof(*scan->segments), id_compare);
    *ret_empty = !listing.any;
    return STATUS_OK;
}

/* --- reading segments --------------------------------------------------------------------- */

void log_scan_free(struct log_scan *scan)
{
    memory_free(scan->segments);
    memory_free(scan->content);
    memory_free(scan->votes);
}

void log_note_damage(const struct log *log, const char *path, uint64_t offset)
{
    if (log->damage == NULL) return;
    snprintf(log->damage->file, sizeof(log->damage->file), "%s", path);
    log->damage->offset = offset;
}

/* A device that cannot read what it was given: damage, and where (F21). */
static enum status unreadable(const struct log *log, struct file *file, const char *path,
                              uint64_t size, const struct error *cause, struct error *error)
{
    uint8_t block[LOG_BLOCK_SIZE];
    uint64_t offset = 0;
    size_t read;

    while (offset < size &&
           file_read(file, offset, block, sizeof(block), &read, NULL) == STATUS_OK && read > 0)
        offset += LOG_BLOCK_SIZE;
    log_note_damage(log, path, offset);
    return error_set(error, STATUS_CORRUPT, "%s offset %" PRIu64 ": cannot be read: %.200s", path,
                     offset, cause->text);
}

/* The whole file into scan->content, which the next read of another one overwrites. */
enum status log_segment_read(struct log *log, struct log_scan *scan, uint64_t segment,
                             struct bytes *ret_bytes, struct error *error)
{
    struct file *file = NULL;
    char path[LOG_PATH_SIZE];
    uint64_t size;
    size_t read = 0;

    if (segment != 0 && scan->content_segment == segment) {
        /* The last one is asked for three times in a row. */
        *ret_bytes = bytes_make(scan->content, scan->content_size);
        return STATUS_OK;
    }
    scan->content_segment = 0;
    log_segment_path(log, segment, path);
    enum status status = file_open(log->world, path, FILE_READ, &file, error);
    if (status) return status;
    status = file_size(file, &size, error);
    if (status) goto out;
    if (size > LOG_SEGMENT_SIZE_MAX) {
        log_note_damage(log, path, 0);
        status = error_set(error, STATUS_CORRUPT, "%s: %" PRIu64 " bytes, more than a segment has",
                           path, size);
        goto out;
    }
    if (scan->content_capacity < size) {
        memory_free(scan->content);
        scan->content = memory_allocate((size_t)size);
        scan->content_capacity = (size_t)size;
    }
    struct error cause;
    status = size ? file_read(file, 0, scan->content, (size_t)size, &read, &cause) : STATUS_OK;
    if (status) {
        status = unreadable(log, file, path, size, &cause, error);
        goto out;
    }
    scan->content_segment = segment;
    scan->content_size = read;
    *ret_bytes = bytes_make(scan->content, read);

out:
    file_close(file);
    return status;
}

/* --- applying batches --------------------------------------------------------------------- */

static enum status damage(const struct log *log, struct error *error, uint64_t segment,
                          uint64_t offset, const char *what)
{
    char path[LOG_PATH_SIZE];

    log_segment_path(log, segment, path);
    log_note_damage(log, path, offset);
    return error_set(error, STATUS_CORRUPT,
                     "%s offset %" PRIu64 ": %s; this node must not vote with this log", path,
                     offset, what);
}

/* A dump: loaded from the oldest segment, only compared in the others. */
static bool dump_apply(struct log *log, const struct log_record *record, bool oldest)
{
    if (oldest) return log_table_load_dump(&log->table, record) == LOG_APPLIED;
    return log->table.old_replica_replayed || log_table_dump_agrees(&log->table, record);
}

static enum status batch_apply(struct log *log, struct bytes content, const struct log_batch *batch,
                               bool oldest, struct error *error)
{
    struct reader reader = reader_make(log_batch_records(content, batch));
    struct log_record record;
    uint32_t dumped = 0, to_dump = log->table.living;
    bool with_dump = (batch->flags & LOG_BATCH_DUMP) != 0;

    if (with_dump != (batch->offset == 0))
        return damage(log, error, batch->segment, batch->offset, "a dump is missing or misplaced");
    for (uint32_t i = 0; i < batch->record_count; i++) {
        if (!log_record_read(&reader, &record))
            return damage(log, error, batch->segment, batch->offset, "a record cannot be read");
        bool is_dump = record.type == LOG_RECORD_DUMP;
        if (is_dump && (!with_dump || dumped != i || !dump_apply(log, &record, oldest)))
            return damage(log, error, batch->segment, batch->offset,
                          "the dump disagrees with the records before it");
        if (is_dump) {
            dumped++;
            continue;
        }
        bool bad = log_table_apply(&log->table, &record, batch->segment) == LOG_APPLY_BAD;
        if (bad && !log->table.old_replica_replayed)
            return damage(log, error, batch->segment, batch->offset,
                          "a record does not fit to those before it");
    }
    if (reader_left(&reader) > 0)
        return damage(log, error, batch->segment, batch->offset, "bytes behind the last record");
    if (with_dump && !oldest && dumped != to_dump && !log->table.old_replica_replayed)
        return damage(log, error, batch->segment, batch->offset, "the dump lacks a group");
    return STATUS_OK;
}

/* The mark is ours, a batch is not: files of two logs were mixed, or a write went astray. */
static enum status foreign(const struct log *log, const struct log_batch *batch,
                           struct error *error)
{
    char what[192];

    snprintf(what, sizeof(what),
             "a batch that belongs to cluster %016" PRIx64 "%016" PRIx64 ", node %" PRIu32
             ", store %016" PRIx64 ", not to this node",
             batch->identity.cluster.high, batch->identity.cluster.low, batch->identity.node,
             batch->identity.store);
    return damage(log, error, batch->segment, batch->offset, what);
}

/* Follows the chain through one segment. *ret_end: where it ends in there; 0: not a single batch
 * of the chain is in it. */
static enum status segment_follow(struct log *log, struct log_scan *scan, uint64_t segment,
                                  struct bytes content, uint64_t *ret_end, struct error *error)
{
    bool oldest = segment == scan->segments[0];
    uint64_t offset = 0;
    struct log_batch batch;

    for (;;) {
        enum log_batch_state state = log_batch_check(content, offset, segment, &batch);
        if (state != LOG_BATCH_VALID) break;
        if (!log_identity_equal(&batch.identity, &log->identity))
            return foreign(log, &batch, error);
        if (scan->last_number != 0 && batch.number != scan->last_number + 1) break;

        enum status status = batch_apply(log, content, &batch, oldest, error);
        if (status) return status;
        scan->last_number = batch.number;
        scan->last_segment = segment;
        scan->last_offset = offset;
        scan->last_size = log_batch_size(&batch);
        offset += scan->last_size;
        scan->end_offset = offset;
    }
    *ret_end = offset;
    return STATUS_OK;
}

/* --- behind the end of the chain ---------------------------------------------------------- */

static void votes_keep(struct log_scan *scan, const struct log_vote *votes, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (scan->vote_count == scan->vote_capacity) {
            scan->vote_capacity = scan->vote_capacity ? scan->vote_capacity * 2 : 16;
            scan->votes = memory_resize(scan->votes, scan->vote_capacity * sizeof(*scan->votes));
        }
        scan->votes[scan->vote_count++] = votes[i];
    }
}

/* Looks from `offset` on for whatever tells of the batch that should have been next: a batch
 * behind it (then it was durable: damage), or the vote blocks of a torn one. */
static enum status segment_search(struct log *log, struct log_scan *scan, uint64_t segment,
                                  struct bytes content, uint64_t offset, struct error *error)
{
    struct log_vote votes[LOG_VOTES_PER_BLOCK];
    uint64_t missing = scan->last_number + 1;
    struct log_batch batch;

    for (; offset + LOG_BATCH_HEADER_SIZE <= content.size; offset += LOG_BLOCK_SIZE) {
        enum log_batch_state state = log_batch_check(content, offset, segment, &batch);
        bool ours = state == LOG_BATCH_VALID && log_identity_equal(&batch.identity, &log->identity);
        bool proves = batch.number == missing || batch.known_durable >= missing || !log->lost_power;
        if (ours && batch.number > missing && !proves) {
            scan->torn = true;
            uint64_t end = offset + log_batch_size(&batch);
            if (segment == scan->last_segment && end > scan->stale_end) scan->stale_end = end;
            SOMETIMES(log->world, "log: a batch behind a lost one was cut");
        }
        if (ours && batch.number >= missing && proves &&
            !PLANTED(log->world, "damage_cut_like_torn")) {
            char what[128];
            snprintf(what, sizeof(what),
                     "batch %" PRIu64 " is damaged or missing, though batch %" PRIu64
                     " (segment %016" PRIx64 ") is there",
                     missing, batch.number, segment);
            return damage(log, error, scan->last_segment, scan->end_offset, what);
        }
        scan->torn |= state == LOG_BATCH_DAMAGED || state == LOG_BATCH_VERSION;
        size_t count =
            log_vote_block_read(content, offset, segment, missing, &log->identity, votes);
        scan->torn |= count > 0;
        votes_keep(scan, votes, count);
    }
    return STATUS_OK;
}

/* Entries that neither were written nor copied in what was read lay in freed segments: they must
 * all have been released. */
static enum status check_gaps(struct log *log, struct error *error)
{
    struct log_group *group;

    for (size_t i = 0; (group = log_table_next(&log->table, &i)) != NULL;) {
        if (log_group_join_entries(group)) continue;
        log_note_damage(log, log->directory, 0);
        return error_set(error, STATUS_CORRUPT,
                         "%s: of group %" PRIu32 " entries %" PRIu64 " to %" PRIu64
                         " are needed, but only %zu are there: the oldest segments are missing",
                         log->directory, group->group.value, group->base_index + 1,
                         group->last_index, group->written.count);
    }
    return STATUS_OK;
}

bool log_scan_is_ours(struct log *log, struct log_scan *scan)
{
    struct bytes content;
    struct log_batch batch;

    if (scan->segment_count == 0 ||
        log_segment_read(log, scan, scan->segments[0], &content, NULL) != STATUS_OK)
        return false;
    return log_batch_check(content, 0, scan->segments[0], &batch) == LOG_BATCH_VALID &&
           log_identity_equal(&batch.identity, &log->identity);
}

enum status log_scan_segments(struct log *log, struct log_scan *scan, struct error *error)
{
    struct bytes content;
    uint64_t end = 0;
    size_t i, searched;
    enum status status;

    log->table.old_replica_replayed = PLANTED(log->world, "log_old_replica_replayed");
    for (i = 0; i < scan->segment_count; i++) {
        status = log_segment_read(log, scan, scan->segments[i], &content, error);
        if (status) return status;
        status = segment_follow(log, scan, scan->segments[i], content, &end, error);
        if (status) return status;
        if (end == 0) break; /* the chain ended in the segment before */
    }

    searched = i > 0 ? i - 1 : 0; /* from the end of the chain on */
    for (i = searched; i < scan->segment_count; i++) {
        bool holds_end = scan->segments[i] == scan->last_segment;
        status = log_segment_read(log, scan, scan->segments[i], &content, error);
        if (status) return status;
        status = segment_search(log, scan, scan->segments[i], content,
                                holds_end ? scan->end_offset : 0, error);
        if (status) return status;
    }

    bool founding_torn = scan->last_number == 0 && log->mark_number == 0 &&
                         scan->segment_count <= 1 &&
                         (scan->segment_count == 0 || scan->segments[0] == LOG_SEGMENT_FIRST);
    if (scan->last_number == 0 && !founding_torn) {
        uint64_t oldest = scan->segment_count ? scan->segments[0] : LOG_SEGMENT_FIRST;
        return damage(log, error, oldest, 0, "the oldest segment is missing or damaged");
    }
    if (PLANTED(log->world, "damage_cut_like_torn")) log->mark_number = scan->last_number;
    if (log->mark_number > scan->last_number) {
        char what[128];
        snprintf(what, sizeof(what),
                 "batch %" PRIu64 " is damaged or missing, though batch %" PRIu64
                 " was known to be durable",
                 scan->last_number + 1, log->mark_number);
        return damage(log, error, scan->last_segment, scan->end_offset, what);
    }
    log->table.old_replica_replayed = false;
    return check_gaps(log, error);
}
