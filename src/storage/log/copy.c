/* copy.c - copies what is still needed of the oldest segment into the newest, so that the oldest
 * can be freed although a group goes on needing a few old entries (WHY 5.2: one that is idle, has
 * no leader, or whose store is damaged would else hold back the log for ever).
 *
 * Two steps, in slices between the writer's batches:
 *   scan   reads the segment batch by batch and notes where the entries are that the table says
 *          lie there. One index may come twice: the later one is the one that counts.
 *   copy   reads them again and writes each as a COPY record, which moves the entry's place in
 *          the table. When no span is left in the segment, writer_collect() frees it as any other.
 *
 * Copying must not feed on itself: it is done only while all that is needed is so little that one
 * round through all segments leaves fewer of them than make it due. */
#include <inttypes.h>
#include <stdlib.h>

#include "base/assert.h"
#include "base/hash.h"
#include "base/memory.h"
#include "storage/log/log_private.h"
#include "world/probe.h"

enum {
    FILLED_EIGHTHS = 5, /* of a segment at least: the largest record may not fit behind others */
    SLICE_BYTES = 1024 * 1024,     /* that one step reads at least, and at most two batches */
    CHUNK_BYTES = 256 * 1024,      /* that one step copies at most, or one entry */
    GROUP_BYTES_MAX = 1024 * 1024, /* more than that of a group: rather its store is flushed */
};

struct copy_place {
    uint64_t index;
    uint32_t group;
    uint32_t offset; /* of the record in the segment */
    uint32_t size;
    uint32_t crc; /* of the record: it is read again to be copied */
};

static void copy_end(struct log *log)
{
    struct log_copy *copy = &log->copy;

    log_walk_close(&copy->walk);
    copy->walk.segment = 0;
    copy->segment = 0;
    memory_free(copy->places);
    copy->places = NULL;
    copy->place_count = copy->place_capacity = copy->next = 0;
}

void log_copy_free(struct log *log)
{
    copy_end(log);
    buffer_free(&log->copy.walk.read);
}

/* --- is it due? --------------------------------------------------------------------------- */

/* All that is needed, written once more, takes fewer segments than `mark`; the active one is not
 * full, either. */
static bool copy_pays(const struct log *log, const struct log_needed *needed, uint64_t mark)
{
    return mark > 2 && needed->live <= (mark - 2) * (log->segment_size / 8 * FILLED_EIGHTHS);
}

static bool copy_is_due(const struct log *log)
{
    uint64_t oldest = log->oldest_segment, chain = log->active_segment - oldest + 1;

    if (chain <= log->marks.copy || oldest == log->copy.gave_up) return false;
    if (PLANTED(log->world, "log_never_copies")) return false;
    struct log_needed needed = log_table_needed(&log->table, oldest);
    bool little = needed.segment_group_max <= GROUP_BYTES_MAX;
    if (chain > log->marks.copy_all && copy_pays(log, &needed, log->marks.copy_all)) return true;
    return little && copy_pays(log, &needed, log->marks.copy);
}

void log_copy_consider(struct log *log)
{
    struct log_copy *copy = &log->copy;
    struct error error;

    if (copy->segment != 0 && copy->segment < log->oldest_segment) copy_end(log); /* was freed */
    if (copy->segment != 0 || !copy_is_due(log)) return;
    enum status status = log_walk_open(log, &copy->walk, log->oldest_segment, &error);
    if (status) {
        LOG_ERROR(world_logger(log->world), "log", "cannot copy forward: %s", error.text);
        copy->gave_up = log->oldest_segment;
        if (status == STATUS_NOT_FOUND) log_damage_found(log, log->oldest_segment, 0, "is missing");
        return;
    }
    copy->segment = log->oldest_segment;
    copy->scanned = false;
}

/* --- scanning ----------------------------------------------------------------------------- */

static void copy_note(struct log_copy *copy, const struct log_record *record, uint64_t offset,
                      struct bytes bytes)
{
    if (copy->place_count == copy->place_capacity) {
        copy->place_capacity = copy->place_capacity ? copy->place_capacity * 2 : 256;
        copy->places = memory_resize(copy->places, copy->place_capacity * sizeof(*copy->places));
    }
    copy->places[copy->place_count++] = (struct copy_place){.index = record->entry.index,
                                                            .group = record->group.value,
                                                            .offset = (uint32_t)offset,
                                                            .size = (uint32_t)bytes.size,
                                                            .crc = crc32c(0, bytes)};
}

static void copy_scan_batch(struct log *log, struct bytes bytes, const struct log_batch *batch)
{
    struct bytes records = bytes_make(bytes.data + LOG_BATCH_HEADER_SIZE, batch->record_bytes);
    struct reader reader = reader_make(records);
    struct log_record record;

    while (reader_left(&reader) > 0) {
        size_t start = records.size - reader_left(&reader);
        if (!log_record_read(&reader, &record)) return;
        size_t size = records.size - reader_left(&reader) - start;
        if (!log_table_needs_entry(&log->table, &record, log->copy.segment)) continue;
        copy_note(&log->copy, &record, batch->offset + LOG_BATCH_HEADER_SIZE + start,
                  bytes_make(records.data + start, size));
    }
}

static int place_compare(const void *a, const void *b)
{
    const struct copy_place *left = a, *right = b;

    if (left->group != right->group) return left->group < right->group ? -1 : 1;
    if (left->index != right->index) return left->index < right->index ? -1 : 1;
    return (left->offset > right->offset) - (left->offset < right->offset);
}

static void copy_scanned(struct log *log)
{
    struct log_copy *copy = &log->copy;
    size_t kept = 0;

    if (copy->place_count > 0)
        qsort(copy->places, copy->place_count, sizeof(*copy->places), place_compare);
    for (size_t i = 0; i < copy->place_count; i++) {
        const struct copy_place *place = &copy->places[i];
        bool same = kept > 0 && copy->places[kept - 1].group == place->group &&
                    copy->places[kept - 1].index == place->index;
        if (same) SOMETIMES(log->world, "log: an overwritten entry was not copied forward");
        if (same && PLANTED(log->world, "log_copies_overwritten")) continue;
        if (!same) kept++;
        copy->places[kept - 1] = *place;
    }
    copy->place_count = kept;
    copy->next = 0;
    copy->scanned = true;
}

/* What the segment says is not what was written: nothing of it is copied, and it is not read again
 * (damage.c says what becomes of it). */
static void copy_give_up(struct log *log)
{
    log->copy.gave_up = log->copy.segment;
    copy_end(log);
}

static void copy_scan(struct log *log)
{
    struct log_copy *copy = &log->copy;
    struct bytes bytes;
    struct log_batch batch;

    for (uint64_t start = copy->walk.offset; copy->walk.offset - start < SLICE_BYTES;) {
        enum log_walk_found found = log_walk_next(log, &copy->walk, &bytes, &batch);
        if (found == LOG_WALK_END) {
            copy_scanned(log);
            return;
        }
        if (found != LOG_WALK_BATCH) {
            log_damage_walked(log, &copy->walk, found);
            copy_give_up(log);
            return;
        }
        copy_scan_batch(log, bytes, &batch);
    }
}

/* --- copying ------------------------------------------------------------------------------ */

/* Adds the entry, if it is needed there still. False: the record is not what it was. */
static bool copy_add(struct log *log, const struct copy_place *place, struct log_chunk *chunk)
{
    struct log_copy *copy = &log->copy;
    struct log_record record;
    size_t read = 0;

    buffer_clear(&copy->walk.read);
    uint8_t *bytes = buffer_reserve(&copy->walk.read, place->size);
    ASSERT(bytes != NULL);
    bool good =
        file_read(copy->walk.file, place->offset, bytes, place->size, &read, NULL) == STATUS_OK &&
        read == place->size && crc32c(0, bytes_make(bytes, read)) == place->crc;
    if (!good) return false;
    struct reader reader = reader_make(bytes_make(bytes, read));
    if (!log_record_read(&reader, &record)) return false;
    if (!log_table_needs_entry(&log->table, &record, copy->segment)) return true;
    record.type = LOG_RECORD_COPY;
    if (PLANTED(log->world, "log_copies_empty")) record.entry.body.size = 0;
    log_chunk_add(chunk, &record);
    return true;
}

/* The next chunk of copies goes to the head of the batch: they are what they were when the table
 * was asked, before anything new is applied. */
static void copy_chunk(struct log *log)
{
    struct log_copy *copy = &log->copy;
    struct log_chunk *chunk = log_chunk_make(NULL);

    while (copy->next < copy->place_count) {
        const struct copy_place *place = &copy->places[copy->next];
        if (chunk->record_count > 0 && chunk->weight + place->size > CHUNK_BYTES) break;
        if (!copy_add(log, place, chunk)) {
            log_chunk_free(chunk);
            log_damage_found(log, copy->segment, place->offset,
                             "changed while it was copied forward");
            copy_give_up(log);
            return;
        }
        copy->next++;
    }
    if (chunk->record_count > 0) {
        log->copy.entries += chunk->record_count;
        log->copy.bytes += buffer_size(&chunk->records);
        list_insert_before(&log->taken, &chunk->link);
        SOMETIMES(log->world, "log: entries copied forward");
        return;
    }
    log_chunk_free(chunk);
    copy->gave_up = copy->segment; /* unless it is needed by nobody now, and goes */
    copy_end(log);
    log->released = true;
}

void log_copy_step(struct log *log)
{
    ASSERT(list_empty(&log->taken));
    if (log->copy.segment == 0) return;
    if (log->copy.scanned)
        copy_chunk(log);
    else
        copy_scan(log);
}
