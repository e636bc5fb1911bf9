#include "partition/keep.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/assert.h"
#include "base/codec.h"
#include "base/hash.h"

enum { KEEP_PATH_SIZE = 1280, KEEP_WRITE_BYTES = 256 << 10 };

struct keep_file {
    const struct keep *keep;
    char directory[KEEP_PATH_SIZE], path[KEEP_PATH_SIZE], path_new[KEEP_PATH_SIZE];
    struct file *file; /* NULL: nothing is to be kept yet */
    struct buffer buffer;
    uint64_t offset, items;
    uint64_t synced, synced_at; /* bytes; boot clock, us */
    uint32_t crc;
    bool engine_failed;
};

static void put_path(char path[KEEP_PATH_SIZE], const char *directory, const char *name)
{
    int size = snprintf(path, KEEP_PATH_SIZE, "%.1100s/%s", directory, name);
    ASSERT(size > 0 && size < KEEP_PATH_SIZE);
}

void keep_item(struct buffer *buffer, enum keep_kind kind, struct bytes key, struct bytes value)
{
    struct writer writer = writer_make(buffer);
    write_u8(&writer, (uint8_t)kind);
    write_u32(&writer, (uint32_t)key.size);
    write_bytes(&writer, key);
    write_u32(&writer, (uint32_t)value.size);
    write_bytes(&writer, value);
    ASSERT(!writer.failed);
}

/* --- how many are kept ------------------------------------------------------------------ */

struct kept {
    uint32_t count;
    uint64_t oldest; /* replica: ids rise */
    char name[64];
};

static void kept_name(void *context, const char *name)
{
    struct kept *kept = context;
    unsigned group = 0;
    unsigned long long replica = 0;
    int end = 0;
    bool ours = sscanf(name, "g%u-r%llu.rows%n", &group, &replica, &end) == 2 && end > 0 &&
                name[end] == '\0' && strlen(name) < sizeof(kept->name);
    if (!ours) return;
    if (kept->count++ > 0 && replica >= kept->oldest) return;
    kept->oldest = replica;
    snprintf(kept->name, sizeof(kept->name), "%s", name);
}

/* So that at most `most` are left; one more listing for each that goes. */
static void free_oldest(const struct keep_file *file, uint32_t most)
{
    struct world *world = file->keep->world;
    char path[KEEP_PATH_SIZE];
    for (;;) {
        struct kept kept = {0};
        enum status status = world_list_dir(world, file->directory, &kept, kept_name, NULL);
        if (status || kept.count <= most) return;
        put_path(path, file->directory, kept.name);
        if (world_discard(world, file->directory, path, NULL) != STATUS_OK) return;
    }
}

/* --- writing ---------------------------------------------------------------------------- */

/* All of a large file at once is what the log's syncs would wait for. */
static enum status step(struct keep_file *file, struct error *error)
{
    const struct engine_pace *pace = file->keep->pace;
    uint64_t bytes = file->offset - file->synced;

    if (file->keep->given_up != NULL && *file->keep->given_up)
        return error_set(error, STATUS_CLOSED, "the node stops; it begins anew");
    if (bytes < KEEP_STEP_BYTES || pace == NULL || pace->bytes_per_second == 0) return STATUS_OK;
    enum status status = file_sync(file->file, error);
    if (status) return status;
    file->synced_at = engine_pace_rest(pace, file->synced_at, bytes);
    file->synced = file->offset;
    return STATUS_OK;
}

static enum status write_out(struct keep_file *file, struct error *error)
{
    struct bytes bytes = buffer_bytes(&file->buffer);
    const struct keep *keep = file->keep;
    uint64_t space = 0;
    enum status status = world_free_space(keep->world, file->directory, &space, error);
    if (status) return status;
    if (space < keep->reserve + bytes.size)
        return error_set(error, STATUS_NO_SPACE, "%.200s: what is left is the reserve of the disk",
                         file->directory);
    status = file_write(file->file, file->offset, bytes, error);
    if (status) return status;
    file->offset += bytes.size;
    file->crc = crc32c(file->crc, bytes);
    buffer_clear(&file->buffer);
    return step(file, error);
}

static enum status begin(struct keep_file *file, struct error *error)
{
    const struct keep *keep = file->keep;
    if (file->file != NULL) return STATUS_OK;
    enum status status = world_make_durable_dir(keep->world, keep->quarantine, error);
    if (status == STATUS_OK) status = world_make_durable_dir(keep->world, file->directory, error);
    if (status) return status;
    free_oldest(file, KEPT_REPLICAS_MAX - 1);
    status = file_open(keep->world, file->path_new, FILE_WRITE | FILE_CREATE, &file->file, error);
    if (status == STATUS_OK) status = file_truncate(file->file, 0, error);
    if (status) return status;
    if (keep->pace != NULL) file->synced_at = world_job_rest(keep->pace->world, 0);
    struct writer writer = writer_make(&file->buffer);
    write_bytes(&writer, bytes_of("HOLONRM1"));
    write_u32(&writer, keep->group.value);
    write_u64(&writer, keep->replica.value);
    ASSERT(!writer.failed);
    return STATUS_OK;
}

static enum status put_stored(struct keep_file *file, struct bytes key, struct bytes value,
                              struct error *error)
{
    enum status status = begin(file, error);
    if (status) return status;
    keep_item(&file->buffer, KEEP_STORED, key, value);
    file->items++;
    return buffer_size(&file->buffer) < KEEP_WRITE_BYTES ? STATUS_OK : write_out(file, error);
}

static enum status put_rows(struct keep_file *file, struct error *error)
{
    struct engine *engine = file->keep->engine;
    struct engine_iterator *iterator = engine_iterate(engine, file->keep->from, file->keep->to);
    struct bytes key, value;
    enum status status = STATUS_OK;
    while (status == STATUS_OK && engine_iterator_next(engine, iterator, &key, &value))
        status = put_stored(file, key, value, error);
    enum status closed = engine_iterator_close(engine, iterator, status ? NULL : error);
    if (status) return status;
    file->engine_failed = closed != STATUS_OK;
    return closed;
}

struct record_put {
    struct keep_file *file;
    enum status status;
    struct error *error;
};

static void on_record(void *context, struct bytes value)
{
    struct record_put *put = context;
    put->status = put_stored(put->file, put->file->keep->record_key, value, put->error);
}

static enum status put_record(struct keep_file *file, struct error *error)
{
    struct record_put put = {.file = file, .error = error};
    enum status status =
        engine_get(file->keep->engine, file->keep->record_key, &put, on_record, error);
    if (status == STATUS_NOT_FOUND) return STATUS_OK;
    file->engine_failed = status != STATUS_OK;
    return status ? status : put.status;
}

static enum status put_later(struct keep_file *file, struct error *error)
{
    struct reader reader = reader_make(file->keep->later);
    if (file->keep->later.size == 0) return STATUS_OK;
    enum status status = begin(file, error);
    if (status) return status;
    for (; reader_left(&reader) > 0; file->items++) {
        read_u8(&reader);
        read_bytes(&reader, read_u32(&reader));
        read_bytes(&reader, read_u32(&reader));
        ASSERT(!reader.failed);
    }
    status = write_out(file, error);
    for (struct bytes left = file->keep->later; left.size > 0 && status == STATUS_OK;) {
        size_t some = left.size < KEEP_WRITE_BYTES ? left.size : KEEP_WRITE_BYTES;
        buffer_append(&file->buffer, bytes_make(left.data, some));
        left = bytes_make(left.data + some, left.size - some);
        status = write_out(file, error);
    }
    return status;
}

static enum status finish(struct keep_file *file, struct error *error)
{
    struct world *world = file->keep->world;
    struct writer writer = writer_make(&file->buffer);
    write_u8(&writer, KEEP_END);
    write_u64(&writer, file->items);
    enum status status = write_out(file, error);
    if (status) return status;
    write_u32(&writer, file->crc);
    ASSERT(!writer.failed);
    status = write_out(file, error);
    if (status == STATUS_OK) status = file_sync(file->file, error);
    if (status == STATUS_OK) status = world_rename(world, file->path_new, file->path, error);
    return status ? status : world_sync_dir(world, file->directory, error);
}

static bool is_there(struct world *world, const char *path)
{
    struct file *file = NULL;
    if (file_open(world, path, FILE_READ, &file, NULL)) return false;
    file_close(file);
    return true;
}

enum status keep_replica(const struct keep *keep, bool *ret_engine, struct error *error)
{
    struct keep_file file = {.keep = keep};
    char name[64];
    *ret_engine = false;
    put_path(file.directory, keep->quarantine, "removed");
    snprintf(name, sizeof(name), "g%u-r%llu.rows", keep->group.value,
             (unsigned long long)keep->replica.value);
    put_path(file.path, file.directory, name);
    put_path(file.path_new, file.directory, "writing");
    if (keep->once && keep->replica.value != 0 && is_there(keep->world, file.path))
        return STATUS_OK;
    buffer_init(&file.buffer, SIZE_MAX / 2);
    enum status status = put_rows(&file, error);
    if (status == STATUS_OK) status = put_record(&file, error);
    if (status == STATUS_OK) status = put_later(&file, error);
    if (status == STATUS_OK && file.file != NULL) status = finish(&file, error);
    file_close(file.file);
    buffer_free(&file.buffer);
    *ret_engine = file.engine_failed;
    if (status == STATUS_OK) return status;
    world_remove(keep->world, file.path_new, NULL);
    if (status == STATUS_NO_SPACE) {
        struct kept kept = {0};
        world_list_dir(keep->world, file.directory, &kept, kept_name, NULL);
        if (kept.count > 0) free_oldest(&file, kept.count - 1);
    }
    return status;
}
