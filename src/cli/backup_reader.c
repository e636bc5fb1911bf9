#include "cli/backup_reader.h"

#include <errno.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

enum { BLOCK_MAX = BACKUP_BLOCK_HEAD_SIZE + BACKUP_BLOCK_SIZE_MAX + BACKUP_TAG_SIZE };

enum status backup_reader_wrong(const struct backup_reader *reader, const char *what,
                                struct error *error)
{
    return error_set(error, STATUS_CORRUPT, "%s: offset %llu: %s", reader->path,
                     (unsigned long long)reader->offset, what);
}

/* Another text in front of what the codec says. */
static enum status wrong_because(const struct backup_reader *reader, enum status status,
                                 const struct error *cause, struct error *error)
{
    return error_set(error, status, "%s: offset %llu: %s", reader->path,
                     (unsigned long long)reader->offset, cause->text);
}

static enum status read_failed(const struct backup_reader *reader, struct error *error)
{
    return error_set(error, STATUS_IO, "cannot read %s: %s", reader->path, strerror(errno));
}

/* Exactly `size` bytes at reader->offset + `ahead`, appended to the block. */
static enum status read_at(struct backup_reader *reader, size_t ahead, size_t size,
                           struct error *error)
{
    uint8_t *room = buffer_reserve(&reader->block, size);
    uint64_t from = reader->offset + ahead;
    size_t used = 0;

    if (room == NULL || from > reader->end || reader->end - from < size)
        return backup_reader_wrong(reader, "the file ends here, within a block: it was cut", error);
    while (used < size) {
        ssize_t got = pread(reader->fd, room + used, size - used, (off_t)(from + used));
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) return read_failed(reader, error);
        if (got == 0)
            return backup_reader_wrong(reader, "the file ends here, within a block: it was cut",
                                       error);
        used += (size_t)got;
    }
    buffer_commit(&reader->block, size);
    return STATUS_OK;
}

enum status backup_reader_open(struct backup_reader *reader, const char *path, uint64_t offset,
                               uint64_t size, struct error *error)
{
    struct stat found;
    struct error cause;

    *reader = (struct backup_reader){.fd = -1, .offset = offset};
    snprintf(reader->path, sizeof(reader->path), "%s", path);
    buffer_init(&reader->block, BLOCK_MAX);
    enum status status = file_open_regular(path, &reader->fd, error);
    if (status) return status;
    if (fstat(reader->fd, &found) != 0) return read_failed(reader, error);
    reader->end = size ? offset + size : (uint64_t)found.st_size;
    if (reader->end > (uint64_t)found.st_size || reader->end < offset)
        return error_set(error, STATUS_CORRUPT,
                         "%s: it has %llu bytes, and must have %llu at least: it was cut", path,
                         (unsigned long long)found.st_size, (unsigned long long)reader->end);
    size_t header_size =
        reader->end - offset < BACKUP_HEADER_SIZE ? reader->end - offset : BACKUP_HEADER_SIZE;
    status = read_at(reader, 0, header_size, error);
    if (status) return status;
    status = backup_header_decode(buffer_bytes(&reader->block), &reader->header, &cause);
    if (status) return wrong_because(reader, status, &cause, error);
    reader->offset += BACKUP_HEADER_SIZE;
    return STATUS_OK;
}

void backup_reader_begin(struct backup_reader *reader, const struct backup_key *key)
{
    reader->codec = backup_codec_make(&reader->header, key);
}

void backup_reader_close(struct backup_reader *reader)
{
    backup_codec_free(reader->codec);
    reader->codec = NULL;
    buffer_free(&reader->block);
    if (reader->fd >= 0) close(reader->fd);
    reader->fd = -1;
}

enum status backup_reader_next(struct backup_reader *reader, struct bytes *ret_plain,
                               struct error *error)
{
    struct error cause;
    size_t size;

    if (reader->last && reader->offset != reader->end)
        return backup_reader_wrong(reader, "there is something behind the last block", error);
    if (reader->last) return STATUS_NOT_FOUND;
    buffer_clear(&reader->block);
    enum status status = read_at(reader, 0, BACKUP_BLOCK_HEAD_SIZE, error);
    if (status) return status;
    status = backup_block_size(reader->codec, buffer_bytes(&reader->block), &size, &cause);
    if (status) return wrong_because(reader, status, &cause, error);
    status = read_at(reader, BACKUP_BLOCK_HEAD_SIZE, size, error);
    if (status) return status;
    struct bytes block = buffer_bytes(&reader->block);
    status = backup_block_open(reader->codec, block, ret_plain, &reader->last, &cause);
    if (status) return wrong_because(reader, status, &cause, error);
    reader->offset += block.size;
    return STATUS_OK;
}
