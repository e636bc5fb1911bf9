/* backup_finish.c - the manifest makes a backup of its parts: it is written last. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/memory.h"
#include "cli/backup_run.h"
#include "cli/backup_writer.h"

enum { FILE_MODE = 0600, COPY_SIZE = 1 << 20 };

static enum status write_manifest(struct backup_run *run, const char *path, uint64_t *ret_size,
                                  struct error *error)
{
    struct backup_header header = run->header;
    struct backup_writer writer;
    struct buffer text;
    struct hash128 sum;

    header.kind = BACKUP_MANIFEST;
    header.partition = 0;
    run->manifest.header[0] = 0; /* is in the file's own */
    memory_free(run->manifest.earlier);
    run->manifest.earlier = NULL;
    buffer_init(&text, MANIFEST_SIZE_MAX);
    bool encoded = backup_manifest_encode(&run->manifest, &text);
    enum status status = backup_writer_open(&writer, path, header, &run->key, error);
    if (status == STATUS_OK && !encoded)
        status = error_set(error, STATUS_FULL, "the manifest would be too large");
    if (status == STATUS_OK) status = backup_writer_add(&writer, buffer_bytes(&text), error);
    if (status == STATUS_OK) status = backup_writer_finish(&writer, &sum, error);
    *ret_size = writer.file_bytes;
    backup_writer_close(&writer);
    buffer_free(&text);
    return status;
}

static void remove_best_effort(const struct backup_place *place, const char *name)
{
    char path[PLACE_FILE_SIZE];

    backup_place_file(place, name, path);
    unlink(path);
}

/* --- all in one file ------------------------------------------------------------------------ */

static enum status failed(const char *what, const char *path, struct error *error)
{
    enum status status = errno == ENOSPC || errno == EDQUOT ? STATUS_NO_SPACE : STATUS_IO;
    return error_set(error, status, "cannot %s %s: %s", what, path, strerror(errno));
}

static enum status append_file(int to, const char *to_path, const char *path, struct error *error)
{
    uint8_t *room = memory_allocate(COPY_SIZE);
    int from = open(path, O_RDONLY | O_CLOEXEC);
    enum status status = from < 0 ? failed("read", path, error) : STATUS_OK;

    while (status == STATUS_OK) {
        ssize_t size = read(from, room, COPY_SIZE);
        if (size < 0 && errno == EINTR) continue;
        if (size < 0) status = failed("read", path, error);
        if (size <= 0) break;
        for (ssize_t used = 0; used < size && status == STATUS_OK;) {
            ssize_t written = write(to, room + used, (size_t)(size - used));
            if (written < 0 && errno != EINTR) status = failed("write", to_path, error);
            if (written > 0) used += written;
        }
    }
    if (from >= 0) close(from);
    memory_free(room);
    return status;
}

/* Parts that are in the file already are gone: what was appended of the next one is cut. */
static enum status append_parts(struct backup_run *run, int to, const char *to_path,
                                struct error *error)
{
    struct backup_manifest *manifest = &run->manifest;
    char path[PLACE_FILE_SIZE];
    uint64_t offset = 0;
    uint32_t next = 0;

    for (uint32_t i = 0; i < manifest->part_count; i++) {
        manifest->parts[i].file_offset = offset;
        offset += manifest->parts[i].file_bytes;
    }
    for (; next < manifest->part_count; next++) {
        backup_place_part(&run->place, next, path);
        if (file_exists(path)) break;
    }
    uint64_t from = next < manifest->part_count ? manifest->parts[next].file_offset : offset;
    struct stat found;
    if (fstat(to, &found) != 0 || (uint64_t)found.st_size < from)
        return error_set(error, STATUS_CORRUPT,
                         "%s is shorter than the parts that were put into it: remove %s and begin "
                         "anew",
                         to_path, run->place.work);
    if (ftruncate(to, (off_t)from) != 0 || lseek(to, 0, SEEK_END) < 0)
        return failed("write", to_path, error);
    for (; next < manifest->part_count; next++) {
        backup_place_part(&run->place, next, path);
        enum status status = append_file(to, to_path, path, error);
        if (status) return status;
        if (fdatasync(to) != 0) return failed("sync", to_path, error);
        unlink(path); /* or twice the space would be needed */
    }
    return STATUS_OK;
}

static enum status append_end(struct backup_run *run, int to, const char *to_path,
                              struct error *error)
{
    char path[PLACE_FILE_SIZE];
    uint8_t trailer[BACKUP_TRAILER_SIZE];
    uint64_t size;
    off_t offset = lseek(to, 0, SEEK_END);

    backup_place_file(&run->place, PLACE_MANIFEST_OF_FILE, path);
    enum status status = write_manifest(run, path, &size, error);
    if (status == STATUS_OK) status = append_file(to, to_path, path, error);
    unlink(path);
    if (status) return status;
    backup_trailer_encode((uint64_t)offset, size, trailer);
    bool written = write(to, trailer, sizeof(trailer)) == (ssize_t)sizeof(trailer);
    return written && fsync(to) == 0 ? STATUS_OK : failed("write", to_path, error);
}

static enum status finish_file(struct backup_run *run, struct error *error)
{
    char path[PLACE_FILE_SIZE];

    backup_place_file(&run->place, PLACE_WHOLE, path);
    int to = open(path, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, FILE_MODE);
    if (to < 0) return failed("write", path, error);
    enum status status = append_parts(run, to, path, error);
    if (status == STATUS_OK) status = append_end(run, to, path, error);
    close(to);
    if (status == STATUS_OK) status = file_rename_durably(path, run->place.path, error);
    if (status) return status;
    remove_best_effort(&run->place, PLACE_STATE);
    rmdir(run->place.work);
    return STATUS_OK;
}

enum status backup_finish(struct backup_run *run, struct error *error)
{
    char path[PLACE_FILE_SIZE];
    uint64_t size;

    if (run->place.single) return finish_file(run, error);
    backup_place_file(&run->place, PLACE_MANIFEST, path);
    enum status status = write_manifest(run, path, &size, error);
    if (status == STATUS_OK) remove_best_effort(&run->place, PLACE_STATE);
    return status;
}
