#include "cluster/join_file.h"

#include "base/assert.h"
#include "cluster/view_codec.h"

static const char join_magic[] = "HOLONJN1";

enum { JOIN_FILE_SIZE_MAX = 4096 };

static enum status join_file_decode(struct bytes bytes, struct join_file *file)
{
    struct reader reader = reader_make(bytes);

    file->store = read_u64(&reader);
    file->nonce = read_u64(&reader);
    read_text(&reader, file->name, sizeof(file->name));
    file->address_count = read_u8(&reader);
    if (file->address_count > JOIN_ADDRESSES_MAX) return STATUS_CORRUPT;
    for (uint32_t i = 0; i < file->address_count; i++)
        read_text(&reader, file->addresses[i], sizeof(file->addresses[i]));
    bool valid = !reader.failed && reader_left(&reader) == 0 && file->store != 0 &&
                 file->name[0] != '\0' && file->address_count > 0;
    return valid ? STATUS_OK : STATUS_CORRUPT;
}

enum status join_file_load(struct world *world, const char *directory, struct join_file *ret_file,
                           struct error *error)
{
    char path[PATH_SIZE_MAX];
    struct join_file file = {0};
    struct buffer body;
    struct error cause = {0};

    path_join(path, directory, "joining");
    buffer_init(&body, SEALED_SIZE_MAX);
    enum status status = sealed_file_read(world, path, join_magic, &body, &cause);
    if (status == STATUS_OK) status = join_file_decode(buffer_bytes(&body), &file);
    buffer_free(&body);
    if (status == STATUS_OK)
        *ret_file = file;
    else if (status == STATUS_CORRUPT)
        error_set(error, status,
                  "%.400s is damaged. No data was here yet: empty the directory and join anew, "
                  "under another --name if this one is taken by then",
                  path);
    else if (status != STATUS_NOT_FOUND)
        error_set(error, status, "%s", cause.text);
    return status;
}

enum status join_file_save(struct world *world, const char *directory, const struct join_file *file,
                           struct error *error)
{
    char path[PATH_SIZE_MAX];
    struct buffer body;

    path_join(path, directory, "joining");
    buffer_init(&body, JOIN_FILE_SIZE_MAX);
    struct writer writer = writer_make(&body);
    write_u64(&writer, file->store);
    write_u64(&writer, file->nonce);
    write_sized(&writer, bytes_of(file->name));
    write_u8(&writer, (uint8_t)file->address_count);
    for (uint32_t i = 0; i < file->address_count; i++)
        write_sized(&writer, bytes_of(file->addresses[i]));
    ASSERT(!writer.failed);
    enum status status = sealed_file_write(world, path, join_magic, buffer_bytes(&body), error);
    buffer_free(&body);
    return status;
}

enum status join_file_remove(struct world *world, const char *directory, struct error *error)
{
    char path[PATH_SIZE_MAX];

    path_join(path, directory, "joining");
    enum status status = world_remove(world, path, error);
    if (status == STATUS_NOT_FOUND) return STATUS_OK;
    return status ? status : world_sync_dir(world, directory, error);
}
