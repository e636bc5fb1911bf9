#include "storage/log/salvage.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/assert.h"
#include "base/memory.h"
#include "storage/log/log_private.h"

enum { SALVAGE_HOLES_MAX = 1 << 22 }; /* places between two entries of a group */

struct salvage_read {
    struct world *world;
    const char *directory;
    struct log_salvage *result;
    uint64_t *segments;
    size_t segment_count;
    uint64_t next_number; /* of the batch that the next segment begins with; 0: not known */
    struct log_identity identity;
    bool identity_known;
};

/* --- groups ------------------------------------------------------------------------------- */

static struct salvaged_group *group_at(struct log_salvage *salvage, struct group_id id)
{
    size_t low = 0, high = salvage->group_count;

    while (low < high) {
        size_t middle = (low + high) / 2;
        if (salvage->groups[middle].group.value < id.value)
            low = middle + 1;
        else
            high = middle;
    }
    if (low < salvage->group_count && salvage->groups[low].group.value == id.value)
        return &salvage->groups[low];
    if (salvage->group_count == salvage->group_capacity) {
        salvage->group_capacity = salvage->group_capacity ? salvage->group_capacity * 2 : 64;
        salvage->groups =
            memory_resize(salvage->groups, salvage->group_capacity * sizeof(*salvage->groups));
    }
    memmove(&salvage->groups[low + 1], &salvage->groups[low],
            (salvage->group_count - low) * sizeof(*salvage->groups));
    salvage->group_count++;
    salvage->groups[low] = (struct salvaged_group){.group = id, .gaps_seen = salvage->gaps};
    return &salvage->groups[low];
}

static void restart(struct log_salvage *salvage, struct salvaged_group *group, uint64_t index,
                    uint64_t term)
{
    group->base_index = index;
    group->base_term = term;
    group->base_gaps = salvage->gaps;
    group->release_index = group->release_term = 0;
    group->entry_count = 0;
    group->seen_index = index;
}

/* Entries >= index are void. */
static void cut_end(struct salvaged_group *group, uint64_t index)
{
    if (index <= group->first_index)
        group->entry_count = 0;
    else if (index - group->first_index < group->entry_count)
        group->entry_count = (size_t)(index - group->first_index);
}

/* The place of that entry, or NULL: it is so far from all others that nothing can join them. */
static struct log_entry *entry_place(struct salvaged_group *group, uint64_t index)
{
    if (group->entry_count == 0) group->first_index = index;
    uint64_t first = index < group->first_index ? index : group->first_index;
    uint64_t end = group->first_index + group->entry_count;
    if (index >= end) end = index + 1;
    if (end - first > group->entry_count + SALVAGE_HOLES_MAX) return NULL;

    size_t before = (size_t)(group->first_index - first), count = (size_t)(end - first);
    size_t had = group->entry_count + before;
    if (count > group->entry_capacity) {
        group->entry_capacity = count > 2 * group->entry_capacity ? count + 64 : 2 * count;
        group->entries =
            memory_resize(group->entries, group->entry_capacity * sizeof(*group->entries));
        group->gaps = memory_resize(group->gaps, group->entry_capacity * sizeof(*group->gaps));
    }
    if (before > 0) {
        memmove(group->entries + before, group->entries,
                group->entry_count * sizeof(*group->entries));
        memmove(group->gaps + before, group->gaps, group->entry_count * sizeof(*group->gaps));
        memset(group->entries, 0, before * sizeof(*group->entries));
    }
    memset(group->entries + had, 0, (count - had) * sizeof(*group->entries));
    group->entry_count = count;
    group->first_index = first;
    return &group->entries[index - first];
}

/* Records of an older replica are of no use; a newer one begins with nothing. */
static bool take_replica(struct log_salvage *salvage, struct salvaged_group *group,
                         struct replica_id replica)
{
    if (replica.value < group->replica.value) return false;
    if (replica.value == group->replica.value) return true;
    group->replica = replica;
    group->term_max = 0;
    group->removed = false;
    restart(salvage, group, 0, 0);
    return true;
}

static void keep_entry(struct log_salvage *salvage, struct salvaged_group *group,
                       const struct log_entry *entry)
{
    struct log_entry *kept = entry_place(group, entry->index);

    if (kept == NULL || kept->index != 0) return; /* the copy of one that was seen */
    *kept = *entry;
    kept->body = arena_copy(&salvage->bodies, entry->body);
    group->gaps[entry->index - group->first_index] = salvage->gaps;
}

static void take_entry(struct log_salvage *salvage, struct salvaged_group *group,
                       const struct log_entry *entry)
{
    bool surely_last = group->gaps_seen == salvage->gaps;

    if (surely_last || entry->index > group->seen_index) group->seen_index = entry->index;
    if (entry->index <= group->base_index) return;
    cut_end(group, entry->index);
    keep_entry(salvage, group, entry);
}

static bool is_there(const struct salvaged_group *group, uint64_t index)
{
    return index >= group->first_index && index - group->first_index < group->entry_count &&
           group->entries[index - group->first_index].index != 0;
}

/* Another entry has its place: this one was overwritten by what a gap hides, and with it all that
 * was behind it then. */
static void void_from(struct salvaged_group *group, uint64_t index)
{
    size_t at = (size_t)(index - group->first_index);
    uint64_t gaps = group->gaps[at];

    for (; at < group->entry_count; at++)
        if (group->entries[at].index != 0 && group->gaps[at] <= gaps)
            group->entries[at] = (struct log_entry){0};
}

static void take_copy(struct log_salvage *salvage, struct salvaged_group *group,
                      const struct log_entry *entry)
{
    uint64_t index = entry->index;

    if (index > group->seen_index) group->seen_index = index;
    if (index <= group->base_index) return;
    if (is_there(group, index) && group->entries[index - group->first_index].term != entry->term)
        void_from(group, index);
    keep_entry(salvage, group, entry);
}

static void take_dump(struct log_salvage *salvage, struct salvaged_group *group,
                      const struct log_record *record)
{
    bool first = group->entry_count == 0 && group->base_index == 0 && group->seen_index == 0;

    if (first) restart(salvage, group, record->index, record->term);
    if (record->last_index > group->seen_index) group->seen_index = record->last_index;
}

static void take_release(struct log_salvage *salvage, struct salvaged_group *group, uint64_t index,
                         uint64_t term)
{
    if (index > group->seen_index) {
        restart(salvage, group, index, term);
    } else if (index > group->release_index) {
        group->release_index = index;
        group->release_term = term;
    }
}

/* Of what was kept with holes, the prefix that is surely one history. */
static void group_finish(struct salvaged_group *group)
{
    uint64_t index = group->base_index + 1;

    while (index <= group->release_index && is_there(group, index))
        index++;
    if (index <= group->release_index) {
        group->base_index = group->release_index;
        group->base_term = group->release_term;
        index = group->base_index + 1;
        if (is_there(group, index)) group->base_gaps = group->gaps[index - group->first_index];
    }
    uint64_t first = group->base_index + 1, gaps = group->base_gaps, term = group->base_term;
    for (index = first; is_there(group, index); index++) {
        size_t at = (size_t)(index - group->first_index);
        if (group->gaps[at] != gaps && group->entries[at].term != term) break;
        gaps = group->gaps[at];
        term = group->entries[at].term;
    }
    if (index > first && first > group->first_index)
        memmove(group->entries, group->entries + (first - group->first_index),
                (size_t)(index - first) * sizeof(*group->entries));
    group->entry_count = (size_t)(index - first);
    group->cut = group->seen_index >= index;
    memory_free(group->gaps);
    group->gaps = NULL;
}

static void take_record(struct log_salvage *salvage, const struct log_record *record)
{
    struct salvaged_group *group = group_at(salvage, record->group);

    if (!take_replica(salvage, group, record->replica)) return;
    if (record->state.term > group->term_max) group->term_max = record->state.term;
    if (record->entry.term > group->term_max) group->term_max = record->entry.term;
    switch (record->type) {
    case LOG_RECORD_ENTRY:
        take_entry(salvage, group, &record->entry);
        break;
    case LOG_RECORD_COPY:
        take_copy(salvage, group, &record->entry);
        break;
    case LOG_RECORD_TRUNCATE:
        cut_end(group, record->index);
        if (group->gaps_seen == salvage->gaps && record->index <= group->seen_index)
            group->seen_index = record->index - 1;
        break;
    case LOG_RECORD_SNAPSHOT:
        restart(salvage, group, record->index, record->term);
        break;
    case LOG_RECORD_RELEASE:
        take_release(salvage, group, record->index, record->term);
        break;
    case LOG_RECORD_REMOVED:
        group->removed = true;
        break;
    case LOG_RECORD_DUMP:
        take_dump(salvage, group, record);
        break;
    case LOG_RECORD_STATE:
        break;
    }
    group->gaps_seen = salvage->gaps;
}

/* --- segments ----------------------------------------------------------------------------- */

static void note_gap(struct salvage_read *read, uint64_t segment, uint64_t offset)
{
    struct log_salvage *result = read->result;

    if (result->gaps++ > 0) return;
    snprintf(result->first_gap, sizeof(result->first_gap), "%.200s/%016llx.seg", read->directory,
             (unsigned long long)segment);
    result->first_gap_offset = offset;
}

static void take_batch(struct salvage_read *read, struct bytes content,
                       const struct log_batch *batch)
{
    struct log_salvage *result = read->result;
    struct reader reader = reader_make(log_batch_records(content, batch));
    struct log_record record;

    if (batch->number <= result->last_number) return; /* of an earlier life of the segment */
    if (read->next_number != 0 && batch->number >= read->next_number) return; /* cut (repair.c) */
    bool first = result->last_number == 0;
    if (!first && batch->number != result->last_number + 1) {
        result->batches_missing += batch->number - result->last_number - 1;
        note_gap(read, batch->segment, batch->offset);
    }
    result->last_number = batch->number;
    result->batches++;
    for (uint32_t i = 0; i < batch->record_count && log_record_read(&reader, &record); i++)
        take_record(result, &record);
}

static bool all_zero(const uint8_t *block)
{
    return block[0] == 0 && memcmp(block, block + 1, LOG_BLOCK_SIZE - 1) == 0;
}

static bool is_ours(struct salvage_read *read, const struct log_batch *batch)
{
    if (!read->identity_known) {
        read->identity_known = true;
        read->identity = batch->identity;
    }
    return log_identity_equal(&read->identity, &batch->identity);
}

static void scan_segment(struct salvage_read *read, uint64_t segment, struct bytes content)
{
    struct log_batch batch;

    for (uint64_t offset = 0; offset + LOG_BLOCK_SIZE <= content.size;) {
        enum log_batch_state state = log_batch_check(content, offset, segment, &batch);
        if (state == LOG_BATCH_VALID && is_ours(read, &batch)) {
            take_batch(read, content, &batch);
            offset += log_batch_size(&batch);
            continue;
        }
        if (!all_zero(content.data + offset)) read->result->bytes_unreadable += LOG_BLOCK_SIZE;
        offset += LOG_BLOCK_SIZE;
    }
}

/* Block by block, so that one lost sector costs one block. */
static enum status read_segment(struct salvage_read *read, uint64_t segment, uint8_t **ret_bytes,
                                size_t *ret_size, struct error *error)
{
    char path[LOG_PATH_SIZE];
    struct file *file = NULL;
    uint64_t size = 0;

    snprintf(path, sizeof(path), "%.900s/%016llx.seg", read->directory,
             (unsigned long long)segment);
    enum status status = file_open(read->world, path, FILE_READ, &file, error);
    if (status) return status;
    status = file_size(file, &size, error);
    if (size > LOG_SEGMENT_SIZE_MAX) size = LOG_SEGMENT_SIZE_MAX;
    uint8_t *bytes = memory_allocate_zero((size_t)size + LOG_BLOCK_SIZE);
    for (uint64_t at = 0; status == STATUS_OK && at < size; at += LOG_BLOCK_SIZE) {
        size_t got = 0;
        if (file_read(file, at, bytes + at, LOG_BLOCK_SIZE, &got, NULL) != STATUS_OK)
            memset(bytes + at, 0xff, LOG_BLOCK_SIZE); /* counts as unreadable */
    }
    file_close(file);
    *ret_bytes = bytes;
    *ret_size = (size_t)size;
    if (status) memory_free(bytes);
    return status;
}

/* Of the batch that a segment begins with; 0: it cannot be read. Batches of the segment before with
 * this number or a later one were cut when the log was opened: those behind a lost one are left
 * where they are if a vote among them had to be kept (repair.c). */
static uint64_t first_number(struct salvage_read *read, size_t index)
{
    struct log_batch batch;
    uint8_t *bytes = NULL;
    size_t size = 0;

    if (read_segment(read, read->segments[index], &bytes, &size, NULL)) return 0;
    bool sound = log_batch_check(bytes_make(bytes, size), 0, read->segments[index], &batch) ==
                     LOG_BATCH_VALID &&
                 read->identity_known && log_identity_equal(&read->identity, &batch.identity);
    memory_free(bytes);
    return sound ? batch.number : 0;
}

static void list_name(void *context, const char *name)
{
    struct salvage_read *read = context;
    uint64_t segment = log_segment_parse(name);

    if (segment == 0) return;
    read->segments =
        memory_resize(read->segments, (read->segment_count + 1) * sizeof(*read->segments));
    read->segments[read->segment_count++] = segment; /* names come in order, and so the ids */
}

static void read_mark(struct salvage_read *read)
{
    char path[LOG_PATH_SIZE];
    uint8_t blocks[LOG_MARK_SIZE] = {0};
    struct file *file = NULL;
    size_t size = 0;
    uint64_t sequence = 0;

    snprintf(path, sizeof(path), "%.900s/durable", read->directory);
    if (file_open(read->world, path, FILE_READ, &file, NULL) == STATUS_OK)
        file_read(file, 0, blocks, sizeof(blocks), &size, NULL);
    file_close(file);
    for (int i = 0; i < 2; i++) {
        struct log_mark mark = log_mark_read_slot(blocks + i * LOG_BLOCK_SIZE);
        if (mark.sequence <= sequence) continue;
        sequence = mark.sequence;
        read->result->mark_number = mark.number;
        read->identity = mark.identity;
        read->identity_known = true;
    }
    read->result->mark_lost = sequence == 0;
}

enum status log_salvage_read(struct world *world, const char *directory, struct log_salvage *ret,
                             struct error *error)
{
    struct salvage_read read = {.world = world, .directory = directory, .result = ret};

    memset(ret, 0, sizeof(*ret));
    arena_init(&ret->bodies, 0);
    enum status status = world_list_dir(world, directory, &read, list_name, error);
    if (status == STATUS_OK) read_mark(&read);
    for (size_t i = 0; i < read.segment_count && status == STATUS_OK; i++) {
        uint8_t *bytes = NULL;
        size_t size = 0;
        status = read_segment(&read, read.segments[i], &bytes, &size, error);
        if (status) break;
        read.next_number = i + 1 < read.segment_count ? first_number(&read, i + 1) : 0;
        scan_segment(&read, read.segments[i], bytes_make(bytes, size));
        memory_free(bytes);
    }
    if (ret->mark_number > ret->last_number) {
        ret->batches_missing += ret->mark_number - ret->last_number;
        note_gap(&read, read.segment_count ? read.segments[read.segment_count - 1] : 1, 0);
    }
    for (size_t i = 0; i < ret->group_count; i++)
        group_finish(&ret->groups[i]);
    ret->cluster = read.identity.cluster;
    ret->node = read.identity.node;
    ret->store = read.identity.store;
    memory_free(read.segments);
    return status;
}

void log_salvage_free(struct log_salvage *salvage)
{
    for (size_t i = 0; i < salvage->group_count; i++) {
        memory_free(salvage->groups[i].entries);
        memory_free(salvage->groups[i].gaps);
    }
    memory_free(salvage->groups);
    arena_free(&salvage->bodies);
    memset(salvage, 0, sizeof(*salvage));
}

const struct salvaged_group *log_salvage_group(const struct log_salvage *salvage, uint32_t group)
{
    for (size_t i = 0; i < salvage->group_count; i++)
        if (salvage->groups[i].group.value == group && !salvage->groups[i].removed)
            return &salvage->groups[i];
    return NULL;
}
