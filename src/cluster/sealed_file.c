#include "cluster/sealed_file.h"

#include <stdio.h>

#include "base/assert.h"
#include "base/codec.h"
#include "base/hash.h"
#include "base/memory.h"
#include "world/probe.h"

enum { MAGIC_SIZE = 8 };

void path_join(char ret_path[PATH_SIZE_MAX], const char *directory, const char *name)
{
    int size = snprintf(ret_path, PATH_SIZE_MAX, "%s/%s", directory, name);
    ASSERT(size > 0 && size < PATH_SIZE_MAX);
}

static uint32_t sealed_crc(const uint8_t *header, struct bytes body)
{
    uint32_t crc = crc32c(0, bytes_make(header, MAGIC_SIZE + 4));
    return crc32c(crc, body);
}

/* `whole` is initialised here; the caller frees it. */
static void sealed_make(const char *magic, struct bytes body, struct buffer *whole)
{
    uint8_t header[SEALED_HEADER_SIZE];

    ASSERT(strlen(magic) == MAGIC_SIZE);
    ASSERT(body.size <= SEALED_SIZE_MAX);
    memcpy(header, magic, MAGIC_SIZE);
    store_u32(header + MAGIC_SIZE, (uint32_t)body.size);
    store_u32(header + MAGIC_SIZE + 4, sealed_crc(header, body));

    buffer_init(whole, SEALED_HEADER_SIZE + SEALED_SIZE_MAX);
    enum status status = buffer_append(whole, bytes_make(header, sizeof(header)));
    if (status == STATUS_OK) status = buffer_append(whole, body);
    ASSERT(status == STATUS_OK);
}

enum status sealed_file_write(struct world *world, const char *path, const char *magic,
                              struct bytes body, struct error *error)
{
    struct buffer whole;

    sealed_make(magic, body, &whole);
    enum status status = world_replace_file(world, path, buffer_bytes(&whole), error);
    buffer_free(&whole);
    return status;
}

static enum status sealed_check(struct world *world, const char *path, const char *magic,
                                struct bytes whole, struct error *error)
{
    if (whole.size < SEALED_HEADER_SIZE)
        return error_set(error, STATUS_CORRUPT, "%.400s has only %zu bytes: it is damaged", path,
                         whole.size);
    struct bytes body = bytes_from(whole, SEALED_HEADER_SIZE);
    bool sound = load_u32(whole.data + MAGIC_SIZE) == body.size &&
                 load_u32(whole.data + MAGIC_SIZE + 4) == sealed_crc(whole.data, body);
    if (!sound && !PLANTED(world, "sealed_checksum_ignored"))
        return error_set(error, STATUS_CORRUPT, "%.400s is damaged: its checksum does not match",
                         path);
    /* The last byte of the magic is the format; the header is the same in all of them. */
    if (whole.data[MAGIC_SIZE - 1] != (uint8_t)magic[MAGIC_SIZE - 1])
        return error_set(error, STATUS_VERSION,
                         "%.400s has format %c, this program knows %c: use a newer holon", path,
                         whole.data[MAGIC_SIZE - 1], magic[MAGIC_SIZE - 1]);
    return STATUS_OK;
}

enum status sealed_file_read(struct world *world, const char *path, const char *magic,
                             struct buffer *body, struct error *error)
{
    struct file *file = NULL;
    uint8_t *memory = NULL;
    uint64_t size = 0;
    size_t got = 0;
    struct error open_error;

    enum status status = file_open(world, path, FILE_READ, &file, &open_error);
    if (status) {
        if (status != STATUS_NOT_FOUND) error_set(error, status, "%s", open_error.text);
        return status;
    }
    status = file_size(file, &size, error);
    if (status) goto out;
    if (size > SEALED_HEADER_SIZE + SEALED_SIZE_MAX) {
        status = error_set(error, STATUS_CORRUPT, "%.400s has %llu bytes: it is damaged", path,
                           (unsigned long long)size);
        goto out;
    }
    memory = memory_allocate((size_t)size);
    status = file_read(file, 0, memory, (size_t)size, &got, &open_error);
    if (status) { /* a lost sector is damage like any other (F21) */
        status = error_set(error, STATUS_CORRUPT, "%.400s", open_error.text);
        goto out;
    }
    status = sealed_check(world, path, magic, bytes_make(memory, got), error);
    if (status) goto out;
    status = buffer_append(body, bytes_from(bytes_make(memory, got), SEALED_HEADER_SIZE));
    if (status) error_set(error, status, "%.400s is larger than expected", path);

out:
    memory_free(memory);
    file_close(file);
    return status;
}

/* --- comparing ---------------------------------------------------------------------------- */

static uint64_t first_difference(struct bytes a, struct bytes b)
{
    uint64_t at = 0;

    while (at < a.size && at < b.size && a.data[at] == b.data[at])
        at++;
    return at;
}

enum status sealed_file_compare(struct world *world, const char *path, const char *magic,
                                struct bytes body, uint64_t *ret_offset, struct error *error)
{
    struct file *file = NULL;
    struct buffer whole;
    size_t got = 0;

    enum status status = file_open(world, path, FILE_READ | FILE_DIRECT, &file, error);
    if (status == STATUS_NOT_FOUND) return error_set(error, status, "%.400s is missing", path);
    if (status) return status;
    sealed_make(magic, body, &whole);
    struct bytes wanted = buffer_bytes(&whole);
    uint8_t *memory = memory_allocate(wanted.size + 1); /* one more: is it longer? */
    status = file_read(file, 0, memory, wanted.size + 1, &got, NULL);
    file_close(file);
    struct bytes found = bytes_make(memory, status ? 0 : got);
    if (status || !bytes_equal(found, wanted)) {
        *ret_offset = first_difference(found, wanted);
        status = error_set(error, STATUS_CORRUPT, "%.400s offset %llu %s", path,
                           (unsigned long long)*ret_offset,
                           status ? "cannot be read" : "is not what was written");
    }
    memory_free(memory);
    buffer_free(&whole);
    return status;
}
