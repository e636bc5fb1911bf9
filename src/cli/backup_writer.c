#include "cli/backup_writer.h"

#include <errno.h>
#include <openssl/rand.h>
#include <stdio.h>
#include <unistd.h>

#include "base/assert.h"

void backup_random(uint8_t *ret_bytes, size_t size)
{
    int drawn = RAND_bytes(ret_bytes, (int)size);
    ASSERT(drawn == 1); /* without random numbers no key is safe */
}

static enum status write_failed(const struct backup_writer *writer, struct error *error)
{
    enum status status = errno == ENOSPC || errno == EDQUOT ? STATUS_NO_SPACE : STATUS_IO;

    return error_set(error, status, "cannot write %s: %s", writer->path_new, strerror(errno));
}

static enum status flush(struct backup_writer *writer, struct error *error)
{
    struct bytes rest = buffer_bytes(&writer->sealed);

    while (rest.size) {
        ssize_t size = write(writer->fd, rest.data, rest.size);
        if (size < 0 && errno == EINTR) continue;
        if (size < 0) return write_failed(writer, error);
        rest = bytes_from(rest, (size_t)size);
    }
    writer->file_bytes += buffer_size(&writer->sealed);
    buffer_clear(&writer->sealed);
    return STATUS_OK;
}

static enum status seal(struct backup_writer *writer, bool last, struct error *error)
{
    struct bytes plain = buffer_bytes(&writer->plain);

    enum status status = backup_block_seal(writer->codec, plain, last, &writer->sealed, error);
    if (status) return status;
    writer->plain_bytes += plain.size;
    buffer_clear(&writer->plain);
    return flush(writer, error);
}

enum status backup_writer_open(struct backup_writer *writer, const char *path,
                               struct backup_header header, const struct backup_key *key,
                               struct error *error)
{
    uint8_t encoded[BACKUP_HEADER_SIZE];

    *writer = (struct backup_writer){.fd = -1};
    snprintf(writer->path, sizeof(writer->path), "%s", path);
    snprintf(writer->path_new, sizeof(writer->path_new), "%s.new", path);
    buffer_init(&writer->plain, BACKUP_BLOCK_SIZE_MAX);
    buffer_init(&writer->sealed, 2 * BACKUP_BLOCK_SIZE_MAX);
    backup_random(header.nonce, sizeof(header.nonce));
    writer->codec = backup_codec_make(&header, key);
    backup_header_encode(&header, encoded);
    buffer_append(&writer->sealed, bytes_make(encoded, sizeof(encoded)));
    writer->fd = file_make_anew(writer->path_new);
    return writer->fd < 0 ? write_failed(writer, error) : flush(writer, error);
}

enum status backup_writer_add(struct backup_writer *writer, struct bytes plain, struct error *error)
{
    while (plain.size) {
        size_t room = BACKUP_BLOCK_SIZE_MAX - buffer_size(&writer->plain);
        size_t size = plain.size < room ? plain.size : room;
        buffer_append(&writer->plain, bytes_make(plain.data, size));
        plain = bytes_from(plain, size);
        if (buffer_size(&writer->plain) < BACKUP_BLOCK_SIZE) continue;
        enum status status = seal(writer, false, error);
        if (status) return status;
    }
    return STATUS_OK;
}

enum status backup_writer_finish(struct backup_writer *writer, struct hash128 *ret_sum,
                                 struct error *error)
{
    enum status status = seal(writer, true, error);

    if (status) return status;
    *ret_sum = backup_codec_sum(writer->codec);
    if (fsync(writer->fd) != 0) return write_failed(writer, error);
    return file_rename_durably(writer->path_new, writer->path, error);
}

void backup_writer_close(struct backup_writer *writer)
{
    backup_codec_free(writer->codec);
    writer->codec = NULL;
    buffer_free(&writer->plain);
    buffer_free(&writer->sealed);
    if (writer->fd >= 0) close(writer->fd);
    writer->fd = -1;
}
