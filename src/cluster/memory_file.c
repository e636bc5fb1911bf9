#include "cluster/memory_file.h"

#include "base/assert.h"
#include "base/codec.h"
#include "base/memory.h"

static const char memory_magic[] = "HOLONMY1";

static void file_encode(const struct memory_file *file, struct buffer *body)
{
    struct writer writer = writer_make(body);

    write_u8(&writer, (uint8_t)(file->used | file->forgiven << 1));
    write_u64(&writer, file->machine);
    write_u32(&writer, file->count);
    for (uint32_t i = 0; i < file->count; i++) {
        write_u32(&writer, file->lost[i].group.value);
        write_u64(&writer, file->lost[i].replica.value);
    }
    ASSERT(!writer.failed);
}

static bool file_decode(struct bytes body, struct memory_file *file)
{
    struct reader reader = reader_make(body);
    uint8_t flags = read_u8(&reader);

    file->used = (flags & 1) != 0;
    file->forgiven = (flags & 2) != 0;
    file->machine = read_u64(&reader);
    uint32_t count = read_u32(&reader);
    if (reader.failed || flags > 3 || count > MEMORY_LOST_MAX) return false;
    for (uint32_t i = 0; i < count && !reader.failed; i++) {
        struct group_id group = {read_u32(&reader)};
        struct replica_id replica = {read_u64(&reader)};
        if (!reader.failed) memory_file_add(file, group, replica);
    }
    return !reader.failed && reader_left(&reader) == 0;
}

enum status memory_file_load(struct world *world, const char *directory,
                             struct memory_file *ret_file, struct error *error)
{
    struct memory_file file = {0};
    char path[PATH_SIZE_MAX];
    struct buffer body;

    path_join(path, directory, "memory");
    buffer_init(&body, SEALED_SIZE_MAX);
    enum status status = sealed_file_read(world, path, memory_magic, &body, error);
    if (status == STATUS_OK && !file_decode(buffer_bytes(&body), &file))
        status = error_set(error, STATUS_CORRUPT, "%.400s holds impossible values", path);
    buffer_free(&body);
    if (status) memory_file_free(&file);
    *ret_file = file;
    return status;
}

enum status memory_file_save(struct world *world, const char *directory,
                             const struct memory_file *file, struct error *error)
{
    char path[PATH_SIZE_MAX];
    struct buffer body;

    path_join(path, directory, "memory");
    if (!file->used && !file->forgiven && file->count == 0) {
        enum status status = world_remove(world, path, error);
        if (status == STATUS_NOT_FOUND) return STATUS_OK;
        return status ? status : world_sync_dir(world, directory, error);
    }
    buffer_init(&body, SEALED_SIZE_MAX);
    file_encode(file, &body);
    enum status status = sealed_file_write(world, path, memory_magic, buffer_bytes(&body), error);
    buffer_free(&body);
    return status;
}

void memory_file_free(struct memory_file *file)
{
    memory_free(file->lost);
    *file = (struct memory_file){0};
}

bool memory_file_has(const struct memory_file *file, struct group_id group,
                     struct replica_id replica)
{
    for (uint32_t i = 0; i < file->count; i++)
        if (file->lost[i].group.value == group.value &&
            replica_id_equal(file->lost[i].replica, replica))
            return true;
    return false;
}

void memory_file_add(struct memory_file *file, struct group_id group, struct replica_id replica)
{
    if (memory_file_has(file, group, replica) || file->count == MEMORY_LOST_MAX) return;
    file->lost = memory_resize(file->lost, (file->count + 1) * sizeof(*file->lost));
    file->lost[file->count++] = (struct memory_lost){.group = group, .replica = replica};
}

bool memory_file_lost_power(const struct memory_file *file, uint64_t machine)
{
    return file->used && (machine == 0 || machine != file->machine);
}
