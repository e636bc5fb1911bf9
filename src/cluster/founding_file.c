#include "cluster/founding_file.h"

#include "base/assert.h"
#include "cluster/view_codec.h"

static const char founding_magic[] = "HOLONFD1";

static enum status founding_file_decode(struct bytes bytes, struct founding_file *file)
{
    struct reader reader = reader_make(bytes);

    file->store = read_u64(&reader);
    file->token = read_u64(&reader);
    file->proposal = read_u32(&reader);
    file->settings.partitions = read_u32(&reader);
    file->settings.replicas = read_u32(&reader);
    file->settings.stores = read_u32(&reader);
    file->settings.reads = (enum reads_mode)read_u8(&reader);
    file->member_count = read_u8(&reader);
    if (reader.failed || file->store == 0) return STATUS_CORRUPT;
    if (file->member_count > FOUNDING_MEMBERS_MAX) return STATUS_CORRUPT;
    for (uint32_t i = 0; i < file->member_count; i++) {
        read_text(&reader, file->members[i].name, sizeof(file->members[i].name));
        read_text(&reader, file->members[i].peer, sizeof(file->members[i].peer));
    }
    if (reader.failed) return STATUS_CORRUPT;
    if (file->proposal == 0) return STATUS_OK;
    return cluster_view_decode(read_bytes(&reader, reader_left(&reader)), &file->view);
}

enum status founding_file_load(struct world *world, const char *directory,
                               struct founding_file *ret_file, struct error *error)
{
    char path[PATH_SIZE_MAX];
    struct buffer body;

    memset(ret_file, 0, sizeof(*ret_file));
    path_join(path, directory, "founding");
    buffer_init(&body, SEALED_SIZE_MAX);
    enum status status = sealed_file_read(world, path, founding_magic, &body, error);
    if (status == STATUS_OK) {
        status = founding_file_decode(buffer_bytes(&body), ret_file);
        if (status)
            error_set(error, status,
                      "%.400s: %s; no cluster was founded here yet: empty the directory and "
                      "start again",
                      path, status_text(status));
    }
    buffer_free(&body);
    return status;
}

enum status founding_file_save(struct world *world, const char *directory,
                               const struct founding_file *file, struct error *error)
{
    char path[PATH_SIZE_MAX];
    struct buffer body;

    buffer_init(&body, SEALED_SIZE_MAX);
    struct writer writer = writer_make(&body);
    write_u64(&writer, file->store);
    write_u64(&writer, file->token);
    write_u32(&writer, file->proposal);
    write_u32(&writer, file->settings.partitions);
    write_u32(&writer, file->settings.replicas);
    write_u32(&writer, file->settings.stores);
    write_u8(&writer, (uint8_t)file->settings.reads);
    write_u8(&writer, (uint8_t)file->member_count);
    for (uint32_t i = 0; i < file->member_count; i++) {
        write_sized(&writer, bytes_of(file->members[i].name));
        write_sized(&writer, bytes_of(file->members[i].peer));
    }
    ASSERT(!writer.failed);
    if (file->proposal != 0) cluster_view_encode(&file->view, &body);

    path_join(path, directory, "founding");
    enum status status = sealed_file_write(world, path, founding_magic, buffer_bytes(&body), error);
    buffer_free(&body);
    return status;
}

void founding_file_free(struct founding_file *file)
{
    cluster_view_free(&file->view);
}

void founding_file_remove(struct world *world, const char *directory)
{
    char path[PATH_SIZE_MAX];

    path_join(path, directory, "founding");
    world_remove(world, path, NULL);
}

enum status founding_load_members(struct world *world, const char *directory,
                                  struct founding_member *ret_members, uint32_t *ret_count,
                                  struct founding_settings *ret_settings, struct error *error)
{
    struct founding_file file;

    enum status status = founding_file_load(world, directory, &file, error);
    if (status == STATUS_OK) {
        memcpy(ret_members, file.members, sizeof(file.members));
        *ret_count = file.member_count;
        *ret_settings = file.settings;
    }
    founding_file_free(&file);
    return status;
}
