#include "cli/backup_place.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

enum { DIRECTORY_MODE = 0700, FILE_MODE = 0600, READ_SIZE = 64 << 10 };

static enum status system_error(struct error *error, const char *what, const char *path)
{
    enum status status = errno == ENOSPC || errno == EDQUOT ? STATUS_NO_SPACE : STATUS_IO;

    return error_set(error, status, "cannot %s %s: %s", what, path, strerror(errno));
}

static enum status take_path(const char *path, struct backup_place *place, bool *ret_slash,
                             struct error *error)
{
    size_t size = strlen(path);

    *place = (struct backup_place){.lock = -1};
    if (size == 0 || size >= PLACE_PATH_SIZE)
        return error_set(error, STATUS_INVALID, "a path has 1 to %d bytes", PLACE_PATH_SIZE - 1);
    *ret_slash = path[size - 1] == '/';
    while (size > 1 && path[size - 1] == '/')
        size--;
    memcpy(place->path, path, size);
    return STATUS_OK;
}

static void set_work(struct backup_place *place)
{
    snprintf(place->work, sizeof(place->work), "%s%s", place->path,
             place->single ? ".unfinished" : "");
}

enum status backup_place_to_read(const char *path, struct backup_place *ret_place,
                                 struct error *error)
{
    struct stat found;
    char file[PLACE_FILE_SIZE];
    bool slash;

    enum status status = take_path(path, ret_place, &slash, error);
    if (status) return status;
    if (stat(ret_place->path, &found) != 0) {
        snprintf(file, sizeof(file), "%s.unfinished", ret_place->path);
        if (file_exists(file))
            return error_set(error, STATUS_NOT_FOUND,
                             "%s is not finished: only %s is there; run `holon backup` again",
                             ret_place->path, file);
        return system_error(error, "read", ret_place->path);
    }
    ret_place->single = !S_ISDIR(found.st_mode);
    set_work(ret_place);
    if (ret_place->single) return STATUS_OK;
    backup_place_file(ret_place, PLACE_MANIFEST, file);
    if (file_exists(file)) return STATUS_OK;
    backup_place_file(ret_place, PLACE_STATE, file);
    if (file_exists(file))
        return error_set(error, STATUS_NOT_FOUND,
                         "the backup in %s is not finished: run `holon backup` again",
                         ret_place->path);
    return error_set(error, STATUS_NOT_FOUND, "%s holds no backup: it has no %s", ret_place->path,
                     PLACE_MANIFEST);
}

static bool has_extension(const char *path)
{
    const char *name = strrchr(path, '/');

    name = name ? name + 1 : path;
    const char *dot = strrchr(name, '.');
    return dot != NULL && dot != name;
}

static enum status check_is_ours(const struct backup_place *place, struct error *error)
{
    char state[PLACE_FILE_SIZE], manifest[PLACE_FILE_SIZE];
    DIR *directory = opendir(place->work);
    struct dirent *entry;
    bool empty = true;

    if (directory == NULL) return system_error(error, "read", place->work);
    while ((entry = readdir(directory)) != NULL)
        empty &= strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0;
    closedir(directory);
    backup_place_file(place, PLACE_MANIFEST, manifest);
    if (file_exists(manifest))
        return error_set(error, STATUS_EXISTS,
                         "%s holds a whole backup already: give another path, or remove it",
                         place->work);
    backup_place_file(place, PLACE_STATE, state);
    if (empty || file_exists(state)) return STATUS_OK;
    return error_set(error, STATUS_EXISTS,
                     "%s is not empty and holds no unfinished backup: give another path",
                     place->work);
}

static enum status check_is_no_file(const struct backup_place *place, bool *ret_exists,
                                    struct error *error)
{
    struct stat found;

    *ret_exists = stat(place->path, &found) == 0;
    if (!*ret_exists || S_ISDIR(found.st_mode)) return STATUS_OK;
    return error_set(error, STATUS_EXISTS,
                     "%s exists already, and a backup overwrites nothing: give another path, "
                     "or remove it",
                     place->path);
}

/* The directory itself is locked, so that nothing stays behind; the system ends the lock with the
 * process. */
static enum status lock(struct backup_place *place, struct error *error)
{
    struct stat ours, there;

    place->lock = open(place->work, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (place->lock < 0) return system_error(error, "open", place->work);
    bool taken = flock(place->lock, LOCK_EX | LOCK_NB) == 0;
    bool busy = !taken && errno == EWOULDBLOCK;
    if (!taken && !busy) /* NFS locks no directories */
        fprintf(stderr, "holon: warning: cannot lock %s: %s. See that no other run writes to it\n",
                place->work, strerror(errno));
    bool gone = fstat(place->lock, &ours) != 0 || stat(place->work, &there) != 0 ||
                ours.st_ino != there.st_ino || ours.st_dev != there.st_dev;
    if (!busy && !gone) return STATUS_OK;
    place->made = false; /* is the other's now */
    return error_set(error, STATUS_REFUSED,
                     "another run of `holon backup` writes to %s: wait for its end, or give "
                     "another path",
                     place->work);
}

enum status backup_place_to_write(const char *path, struct backup_place *ret_place,
                                  struct error *error)
{
    bool slash, exists;

    enum status status = take_path(path, ret_place, &slash, error);
    if (status == STATUS_OK) status = check_is_no_file(ret_place, &exists, error);
    if (status) return status;
    ret_place->single = !exists && !slash && has_extension(ret_place->path);
    set_work(ret_place);
    ret_place->made = mkdir(ret_place->work, DIRECTORY_MODE) == 0;
    if (!ret_place->made && errno != EEXIST) return system_error(error, "make", ret_place->work);
    status = lock(ret_place, error);
    if (status == STATUS_OK) status = check_is_no_file(ret_place, &exists, error); /* since then */
    return status ? status : check_is_ours(ret_place, error);
}

void backup_place_unlock(struct backup_place *place)
{
    if (place->lock >= 0) close(place->lock);
    place->lock = -1;
}

void backup_place_part(const struct backup_place *place, uint32_t part,
                       char ret_path[PLACE_FILE_SIZE])
{
    snprintf(ret_path, PLACE_FILE_SIZE, "%.*s/part-%05u.holon", PLACE_PATH_SIZE + 12, place->work,
             part);
}

void backup_place_file(const struct backup_place *place, const char *name,
                       char ret_path[PLACE_FILE_SIZE])
{
    snprintf(ret_path, PLACE_FILE_SIZE, "%.*s/%s", PLACE_PATH_SIZE + 12, place->work, name);
}

/* --- files ---------------------------------------------------------------------------------- */

bool file_exists(const char *path)
{
    struct stat found;

    return stat(path, &found) == 0;
}

int file_make_anew(const char *path)
{
    if (unlink(path) != 0 && errno != ENOENT) return -1;
    return open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, FILE_MODE);
}

enum status file_open_regular(const char *path, int *ret_fd, struct error *error)
{
    struct stat found;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK); /* does not wait for a pipe's writer */

    if (fd < 0 || fstat(fd, &found) != 0) {
        system_error(error, "read", path);
        if (fd >= 0) close(fd);
        return STATUS_IO;
    }
    *ret_fd = fd;
    if (S_ISREG(found.st_mode)) return STATUS_OK;
    close(fd);
    *ret_fd = -1;
    return error_set(error, STATUS_INVALID, "%s is no regular file", path);
}

enum status directory_sync(const char *directory, struct error *error)
{
    int fd = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    if (fd < 0) return system_error(error, "open", directory);
    bool synced = fsync(fd) == 0;
    if (!synced) system_error(error, "sync", directory);
    close(fd);
    return synced ? STATUS_OK : STATUS_IO;
}

static void directory_of(const char *path, char ret_directory[PLACE_FILE_SIZE])
{
    const char *slash = strrchr(path, '/');
    size_t size = slash == NULL ? 0 : slash == path ? 1 : (size_t)(slash - path);

    if (slash == NULL)
        snprintf(ret_directory, PLACE_FILE_SIZE, ".");
    else
        snprintf(ret_directory, PLACE_FILE_SIZE, "%.*s", (int)size, path);
}

enum status file_rename_durably(const char *path_new, const char *path, struct error *error)
{
    char directory[PLACE_FILE_SIZE];

    if (rename(path_new, path) != 0) return system_error(error, "write", path);
    directory_of(path, directory);
    return directory_sync(directory, error);
}

static bool write_all(int fd, struct bytes bytes)
{
    while (bytes.size) {
        ssize_t size = write(fd, bytes.data, bytes.size);
        if (size < 0 && errno == EINTR) continue;
        if (size < 0) return false;
        bytes = bytes_from(bytes, (size_t)size);
    }
    return true;
}

enum status file_replace(const char *path, struct bytes bytes, struct error *error)
{
    char path_new[PLACE_FILE_SIZE + 8];

    snprintf(path_new, sizeof(path_new), "%s.new", path);
    int fd = file_make_anew(path_new);
    if (fd < 0) return system_error(error, "write", path_new);
    bool written = write_all(fd, bytes) && fsync(fd) == 0;
    enum status status = written ? STATUS_OK : system_error(error, "write", path_new);
    close(fd);
    return status ? status : file_rename_durably(path_new, path, error);
}

enum status file_read_small(const char *path, struct buffer *out, struct error *error)
{
    enum status status = STATUS_OK;
    int fd = open(path, O_RDONLY | O_CLOEXEC);

    if (fd < 0 && errno == ENOENT)
        return error_set(error, STATUS_NOT_FOUND, "there is no %s", path);
    if (fd < 0) return system_error(error, "read", path);
    for (;;) {
        uint8_t *room = buffer_reserve(out, READ_SIZE);
        if (room == NULL) {
            status = error_set(error, STATUS_FULL, "%s is larger than it can be", path);
            break;
        }
        ssize_t size = read(fd, room, READ_SIZE);
        if (size < 0 && errno == EINTR) continue;
        if (size < 0) status = system_error(error, "read", path);
        if (size <= 0) break;
        buffer_commit(out, (size_t)size);
    }
    close(fd);
    return status;
}
