/* inspect.c - prints a log for people, damaged or not: `holon inspect log`. Reads only. */
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>

#include "base/memory.h"
#include "storage/log/log_private.h"

enum { LINE_SIZE = 256 };

struct inspection {
    struct log log; /* only world and directory are used */
    struct log_scan scan;
    bool mark;
    void *context;
    void (*print)(void *context, const char *line);
};

static void print_line(struct inspection *inspection, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

static void print_line(struct inspection *inspection, const char *format, ...)
{
    char line[LINE_SIZE];
    va_list arguments;

    va_start(arguments, format);
    vsnprintf(line, sizeof(line), format, arguments);
    va_end(arguments);
    inspection->print(inspection->context, line);
}

static void print_record(struct inspection *inspection, const struct log_record *record)
{
    char head[64];

    snprintf(head, sizeof(head), "    group=%" PRIu32 " replica=%" PRIu64, record->group.value,
             record->replica.value);
    switch (record->type) {
    case LOG_RECORD_ENTRY:
    case LOG_RECORD_COPY:
        print_line(inspection, "%s %s index=%" PRIu64 " term=%" PRIu64 " type=%u size=%zu", head,
                   record->type == LOG_RECORD_COPY ? "copy" : "entry", record->entry.index,
                   record->entry.term, record->entry.type, record->entry.body.size);
        break;
    case LOG_RECORD_TRUNCATE:
        print_line(inspection, "%s truncate from=%" PRIu64, head, record->index);
        break;
    case LOG_RECORD_STATE:
        print_line(inspection, "%s state term=%" PRIu64 " vote=%" PRIu64 " commit=%" PRIu64, head,
                   record->state.term, record->state.vote.value, record->state.commit);
        break;
    case LOG_RECORD_SNAPSHOT:
        print_line(inspection, "%s snapshot index=%" PRIu64 " term=%" PRIu64, head, record->index,
                   record->term);
        break;
    case LOG_RECORD_REMOVED:
        print_line(inspection, "%s removed", head);
        break;
    case LOG_RECORD_RELEASE:
        print_line(inspection, "%s release index=%" PRIu64 " term=%" PRIu64, head, record->index,
                   record->term);
        break;
    case LOG_RECORD_DUMP:
        print_line(inspection,
                   "%s dump term=%" PRIu64 " vote=%" PRIu64 " commit=%" PRIu64 " base=%" PRIu64
                   " base_term=%" PRIu64 " last=%" PRIu64,
                   head, record->state.term, record->state.vote.value, record->state.commit,
                   record->index, record->term, record->last_index);
        break;
    }
}

static void print_batch(struct inspection *inspection, struct bytes content,
                        const struct log_batch *batch)
{
    struct reader reader = reader_make(log_batch_records(content, batch));
    struct log_record record;

    print_line(inspection,
               "  offset=%" PRIu64 " batch=%" PRIu64 " known_durable=%" PRIu64 " records=%" PRIu32
               " bytes=%" PRIu32 " vote_blocks=%" PRIu32 "%s",
               batch->offset, batch->number, batch->known_durable, batch->record_count,
               batch->record_bytes, batch->vote_blocks,
               batch->flags & LOG_BATCH_DUMP ? " dump" : "");
    for (uint32_t i = 0; i < batch->record_count; i++) {
        if (!log_record_read(&reader, &record)) {
            print_line(inspection, "    unreadable record");
            return;
        }
        print_record(inspection, &record);
    }
}

static enum status inspect_segment(struct inspection *inspection, uint64_t segment,
                                   struct error *error)
{
    struct bytes content;
    struct log_batch batch;
    enum status status =
        log_segment_read(&inspection->log, &inspection->scan, segment, &content, error);

    if (status) return status;
    print_line(inspection, "segment=%016" PRIx64 " size=%zu", segment, content.size);
    for (uint64_t offset = 0; offset < content.size;) {
        switch (log_batch_check(content, offset, segment, &batch)) {
        case LOG_BATCH_VALID:
            print_batch(inspection, content, &batch);
            offset += log_batch_size(&batch);
            continue;
        case LOG_BATCH_DAMAGED:
            print_line(inspection, "  offset=%" PRIu64 " damaged batch", offset);
            break;
        case LOG_BATCH_VERSION:
            print_line(inspection, "  offset=%" PRIu64 " batch of an unknown version", offset);
            break;
        case LOG_BATCH_ABSENT:
            break;
        }
        offset += LOG_BLOCK_SIZE;
    }
    return STATUS_OK;
}

static enum status inspect_mark(struct inspection *inspection, struct error *error)
{
    char path[LOG_PATH_SIZE + 16];
    uint8_t blocks[LOG_MARK_SIZE] = {0};
    struct file *file = NULL;
    size_t size;

    snprintf(path, sizeof(path), "%s/durable", inspection->log.directory);
    enum status status = file_open(inspection->log.world, path, FILE_READ, &file, error);
    if (status) return status;
    status = file_read(file, 0, blocks, sizeof(blocks), &size, error);
    file_close(file);
    if (status) return status;
    for (int i = 0; i < 2; i++) {
        struct log_mark mark = log_mark_read_slot(blocks + i * LOG_BLOCK_SIZE);
        if (mark.sequence == 0)
            print_line(inspection, "mark slot=%d unreadable or unused", i);
        else
            print_line(inspection,
                       "mark slot=%d cluster=%016" PRIx64 "%016" PRIx64 " node=%" PRIu32
                       " store=%016" PRIx64 " sequence=%" PRIu64 " durable_batch=%" PRIu64,
                       i, mark.identity.cluster.high, mark.identity.cluster.low, mark.identity.node,
                       mark.identity.store, mark.sequence, mark.number);
    }
    return STATUS_OK;
}

static void inspect_name(void *context, const char *name)
{
    struct inspection *inspection = context;
    struct log_scan *scan = &inspection->scan;
    uint64_t segment = log_segment_parse(name);

    if (segment == 0) {
        bool mark = strcmp(name, "durable") == 0;
        inspection->mark |= mark;
        if (!mark) print_line(inspection, "file %s", name);
        return;
    }
    scan->segments =
        memory_resize(scan->segments, (scan->segment_count + 1) * sizeof(*scan->segments));
    scan->segments[scan->segment_count++] = segment; /* the names come in order, and so the ids */
}

enum status log_inspect(struct world *world, const char *directory, void *context,
                        void (*print)(void *context, const char *line), struct error *error)
{
    struct inspection inspection = {.log = {.world = world}, .context = context, .print = print};

    if (strlen(directory) + sizeof("/0123456789abcdef.seg") > LOG_PATH_SIZE)
        return error_set(error, STATUS_INVALID, "log directory: its name is too long");
    snprintf(inspection.log.directory, LOG_PATH_SIZE, "%s", directory);
    enum status status = world_list_dir(world, directory, &inspection, inspect_name, error);
    if (status == STATUS_OK && inspection.mark) status = inspect_mark(&inspection, error);
    for (size_t i = 0; status == STATUS_OK && i < inspection.scan.segment_count; i++)
        status = inspect_segment(&inspection, inspection.scan.segments[i], error);
    log_scan_free(&inspection.scan);
    return status;
}
