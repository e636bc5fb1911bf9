#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/memory.h"
#include "world/world_real_internal.h"

enum {
    FILE_MODE = 0640,
    DIRECTORY_MODE = 0750,
    ZERO_BLOCK_SIZE = 1 << 20,
    NAMES_CAPACITY_MIN = 64,
    DIRECT_BLOCK_SIZE = 4096,
    DIRECT_SIZE_MAX = 256 << 10, /* of one read or write past the page cache */
};

struct real_file {
    struct file head;
    int descriptor;
    char *path;      /* for error texts */
    uint8_t *direct; /* aligned copy of what goes past the page cache; NULL: nothing does */
    void *direct_memory;
};

static struct real_file *real_file_of(struct file *file)
{
    return (struct real_file *)file;
}

/* --- errors ---------------------------------------------------------------------------------- */

static enum status status_from_errno(int number)
{
    switch (number) {
    case ENOSPC:
    case EDQUOT:
        return STATUS_NO_SPACE;
    case ENOENT:
    case ENOTDIR:
        return STATUS_NOT_FOUND;
    case EEXIST:
        return STATUS_EXISTS;
    case ENAMETOOLONG:
        return STATUS_INVALID;
    default:
        return STATUS_IO;
    }
}

static const char *advice_for_errno(int number)
{
    switch (number) {
    case ENOSPC:
    case EDQUOT:
        return "; free space on this file system or raise the quota";
    case ENOENT:
    case ENOTDIR:
        return "; check the path";
    case EACCES:
    case EPERM:
        return "; give the user of this process access";
    case EROFS:
        return "; mount the file system writable";
    case EIO:
        return "; the device failed: see the kernel log and replace it";
    case EMFILE:
    case ENFILE:
        return "; raise LimitNOFILE (ulimit -n)";
    default:
        return "";
    }
}

/* "cannot read /data/log/3: ...": errno is read first of all. */
static enum status path_failed(struct error *error, const char *what, const char *path)
{
    int number = errno;
    const char *text = strerrordesc_np(number);

    return error_set(error, status_from_errno(number), "cannot %s %.300s: %s%s", what, path,
                     text ? text : "unknown error", advice_for_errno(number));
}

/* --- past the page cache ---------------------------------------------------------------------- */

static bool direct_set(const struct real_file *file, int direct)
{
    int flags = fcntl(file->descriptor, F_GETFL);
    return flags >= 0 && fcntl(file->descriptor, F_SETFL, (flags & ~O_DIRECT) | direct) == 0;
}

/* Not every file system can (tmpfs cannot): then it is a file like any other. */
static void direct_begin(struct real_file *file)
{
    if (!direct_set(file, O_DIRECT)) return;
    file->direct_memory = memory_allocate(DIRECT_SIZE_MAX + DIRECT_BLOCK_SIZE);
    size_t over = (uintptr_t)file->direct_memory % DIRECT_BLOCK_SIZE;
    file->direct = (uint8_t *)file->direct_memory + (DIRECT_BLOCK_SIZE - over);
}

static void direct_end(struct real_file *file)
{
    if (file->direct == NULL) return;
    direct_set(file, 0);
    memory_free(file->direct_memory);
    file->direct_memory = NULL;
    file->direct = NULL;
}

/* One write of a part of `bytes`. A device of larger blocks refuses (EINVAL): once is enough. */
static ssize_t write_part(struct real_file *file, uint64_t offset, struct bytes bytes)
{
    bool whole_blocks = offset % DIRECT_BLOCK_SIZE == 0 && bytes.size % DIRECT_BLOCK_SIZE == 0;

    if (!whole_blocks) direct_end(file);
    if (file->direct != NULL) {
        size_t size = bytes.size < DIRECT_SIZE_MAX ? bytes.size : DIRECT_SIZE_MAX;
        memcpy(file->direct, bytes.data, size);
        ssize_t put = pwrite(file->descriptor, file->direct, size, (off_t)offset);
        if (put >= 0 || errno != EINVAL) return put;
        direct_end(file);
    }
    return pwrite(file->descriptor, bytes.data, bytes.size, (off_t)offset);
}

/* The whole blocks that a range touches, up to a limit; less than 0: errno. What the page cache
 * holds of them is written first if need be, and otherwise not looked at. */
static ssize_t read_part(struct real_file *file, uint64_t offset, uint8_t *into, size_t size)
{
    if (file->direct == NULL) return pread(file->descriptor, into, size, (off_t)offset);
    size_t before = (size_t)(offset % DIRECT_BLOCK_SIZE);
    size_t wanted = size < DIRECT_SIZE_MAX - before ? before + size : DIRECT_SIZE_MAX;
    size_t blocks = (wanted + DIRECT_BLOCK_SIZE - 1) / DIRECT_BLOCK_SIZE;
    ssize_t got =
        pread(file->descriptor, file->direct, blocks * DIRECT_BLOCK_SIZE, (off_t)(offset - before));
    if (got < 0 && errno == EINVAL) { /* a device of larger blocks */
        direct_end(file);
        return pread(file->descriptor, into, size, (off_t)offset);
    }
    if (got < 0) return got;
    if ((size_t)got <= before) { /* the end of the file, or a short read: then once more */
        struct stat stat;
        if (fstat(file->descriptor, &stat) != 0) return -1;
        if (offset >= (uint64_t)stat.st_size) return 0;
        errno = EINTR;
        return -1;
    }
    size_t part = (size_t)got - before < size ? (size_t)got - before : size;
    memcpy(into, file->direct + before, part);
    return (ssize_t)part;
}

/* --- one file -------------------------------------------------------------------------------- */

static enum status real_file_open(struct world *world, const char *path, unsigned flags,
                                  struct file **ret_file, struct error *error)
{
    struct real_file *file;
    int mode = (flags & FILE_WRITE) ? O_RDWR : O_RDONLY;
    int descriptor;

    ASSERT((flags & FILE_CREATE) || !(flags & FILE_EXCLUSIVE));
    if (flags & FILE_CREATE) mode |= O_CREAT;
    if (flags & FILE_EXCLUSIVE) mode |= O_EXCL;
    do {
        descriptor = open(path, mode | O_CLOEXEC, FILE_MODE);
    } while (descriptor < 0 && errno == EINTR);
    if (descriptor < 0) return path_failed(error, "open", path);

    file = memory_allocate_zero(sizeof(*file));
    file->head.world = world;
    file->descriptor = descriptor;
    file->path = memory_copy_string(path);
    if (flags & FILE_DIRECT) direct_begin(file);
    *ret_file = &file->head;
    return STATUS_OK;
}

static enum status real_file_read(struct file *head, uint64_t offset, void *into, size_t size,
                                  size_t *ret_size, struct error *error)
{
    struct real_file *file = real_file_of(head);
    size_t done = 0;

    while (done < size) {
        ssize_t got = read_part(file, offset + done, (uint8_t *)into + done, size - done);
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) return path_failed(error, "read", file->path);
        if (got == 0) break; /* the end of the file */
        done += (size_t)got;
    }
    *ret_size = done;
    return STATUS_OK;
}

static enum status real_file_write(struct file *head, uint64_t offset, struct bytes bytes,
                                   struct error *error)
{
    struct real_file *file = real_file_of(head);
    size_t done = 0;

    while (done < bytes.size) {
        struct bytes left = bytes_make(bytes.data + done, bytes.size - done);
        ssize_t put = write_part(file, offset + done, left);
        if (put < 0 && errno == EINTR) continue;
        if (put == 0) errno = ENOSPC; /* POSIX leaves it open; do not loop */
        if (put <= 0) return path_failed(error, "write", file->path);
        done += (size_t)put;
    }
    return STATUS_OK;
}

/* No retry, not even after EINTR: the failed pages may count as clean by now, and the next sync
 * would say that all is well (F26). A full disk has told so: the caller gives that file up. */
static void sync_is_fatal(struct world *world, const struct error *cause)
{
    world_fatal(world,
                "%s; what was not acknowledged may be lost: look at the disk, then start again",
                cause->text);
}

static enum status sync_failed(struct world *world, struct error *error, const char *path)
{
    struct error cause;
    enum status status = path_failed(&cause, "sync", path);

    if (error) *error = cause;
    if (status != STATUS_NO_SPACE) sync_is_fatal(world, &cause);
    return status;
}

static enum status real_file_sync(struct file *head, struct error *error)
{
    struct real_file *file = real_file_of(head);

    if (fdatasync(file->descriptor) == 0) return STATUS_OK;
    return sync_failed(head->world, error, file->path);
}

static enum status real_file_size(struct file *head, uint64_t *ret_size, struct error *error)
{
    struct real_file *file = real_file_of(head);
    struct stat stat;

    if (fstat(file->descriptor, &stat) != 0)
        return path_failed(error, "read the size of", file->path);
    *ret_size = (uint64_t)stat.st_size;
    return STATUS_OK;
}

/* Reserved blocks alone are "unwritten extents": the first write into each still changes
 * metadata, which every later fdatasync would have to journal. So they are written. */
static enum status real_file_allocate(struct file *head, uint64_t size, struct error *error)
{
    struct real_file *file = real_file_of(head);
    uint64_t at = 0;
    uint8_t *zeros;
    enum status status;
    int result;

    status = real_file_size(head, &at, error);
    if (status) return status;
    if (at >= size) return STATUS_OK;
    do {
        result = posix_fallocate(file->descriptor, (off_t)at, (off_t)(size - at));
    } while (result == EINTR);
    if (result != 0 && result != EOPNOTSUPP && result != EINVAL) {
        errno = result;
        return path_failed(error, "reserve space for", file->path);
    }
    zeros = memory_allocate_zero(ZERO_BLOCK_SIZE);
    while (at < size && status == STATUS_OK) {
        uint64_t left = size - at;
        size_t part = left < ZERO_BLOCK_SIZE ? (size_t)left : ZERO_BLOCK_SIZE;
        status = real_file_write(head, at, bytes_make(zeros, part), error);
        at += part;
    }
    memory_free(zeros);
    return status;
}

static enum status real_file_truncate(struct file *head, uint64_t size, struct error *error)
{
    struct real_file *file = real_file_of(head);
    int result;

    do {
        result = ftruncate(file->descriptor, (off_t)size);
    } while (result != 0 && errno == EINTR);
    if (result != 0) return path_failed(error, "truncate", file->path);
    return STATUS_OK;
}

/* An open-file-description lock: also refuses a second open by this same process, and is not
 * lost when some other descriptor of the file closes, as a plain POSIX lock is. */
static enum status real_file_lock(struct file *head, struct error *error)
{
    struct real_file *file = real_file_of(head);
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    int result;

    do {
        result = fcntl(file->descriptor, F_OFD_SETLK, &lock);
    } while (result != 0 && errno == EINTR);
    if (result == 0) return STATUS_OK;
    if (errno == EAGAIN || errno == EACCES)
        return error_set(error, STATUS_REFUSED,
                         "%.300s is locked by another process; a node is running with this data "
                         "directory: stop it or use another one",
                         file->path);
    return path_failed(error, "lock", file->path);
}

static void real_file_close(struct file *head)
{
    struct real_file *file = real_file_of(head);

    memory_free(file->direct_memory);
    close(file->descriptor); /* its result says nothing: durability is file_sync()'s matter */
    memory_free(file->path);
    memory_free(file);
}

/* --- names ----------------------------------------------------------------------------------- */

static enum status real_rename(struct world *world, const char *from, const char *to,
                               struct error *error)
{
    (void)world;
    if (rename(from, to) != 0) return path_failed(error, "rename", from);
    return STATUS_OK;
}

static enum status real_remove(struct world *world, const char *path, struct error *error)
{
    (void)world;
    if (remove(path) != 0) return path_failed(error, "remove", path);
    return STATUS_OK;
}

static enum status real_make_dir(struct world *world, const char *path, struct error *error)
{
    (void)world;
    if (mkdir(path, DIRECTORY_MODE) != 0) return path_failed(error, "make the directory", path);
    return STATUS_OK;
}

static enum status real_sync_dir(struct world *world, const char *path, struct error *error)
{
    enum status status = STATUS_OK;
    int descriptor;

    do {
        descriptor = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    } while (descriptor < 0 && errno == EINTR);
    if (descriptor < 0) return path_failed(error, "open the directory", path);
    if (fsync(descriptor) != 0) {
        /* Some file systems cannot, and nothing was tried. A directory cannot be given up as a
         * file can: after any other failure, want of space too, the next sync may say yes to a
         * name that was lost. */
        struct error cause;
        bool cannot = errno == EINVAL || errno == ENOTSUP;
        status = path_failed(&cause, "sync the directory", path);
        if (error) *error = cause;
        if (!cannot) sync_is_fatal(world, &cause);
    }
    close(descriptor);
    return status;
}

/* Its file is shortened only then: else a loss of power could bring the name back, without the
 * content. */
static enum status real_discard(struct world *world, const char *directory, const char *path,
                                struct error *error)
{
    int large = free_files_open(path);
    enum status status = real_remove(world, path, error);

    if (status == STATUS_OK) status = real_sync_dir(world, directory, error);
    if (large >= 0 && status == STATUS_OK)
        free_files_give(real_host_free_files(real_world_of(world)->host), large);
    else if (large >= 0)
        close(large);
    return status;
}

static void real_discard_once_removed(struct world *world, const char *path)
{
    int large = free_files_open(path);

    if (large >= 0) free_files_watch(real_host_free_files(real_world_of(world)->host), large);
}

struct names {
    char **list;
    size_t count;
    size_t capacity;
};

static void names_add(struct names *names, const char *name)
{
    if (names->count == names->capacity) {
        names->capacity = names->capacity ? names->capacity * 2 : NAMES_CAPACITY_MIN;
        names->list = memory_resize(names->list, names->capacity * sizeof(char *));
    }
    names->list[names->count++] = memory_copy_string(name);
}

static void names_free(struct names *names)
{
    for (size_t i = 0; i < names->count; i++)
        memory_free(names->list[i]);
    memory_free(names->list);
}

static int name_compare(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static enum status names_read(const char *path, struct names *names, struct error *error)
{
    DIR *directory = opendir(path); /* sets CLOEXEC */
    enum status status = STATUS_OK;
    struct dirent *entry;

    if (directory == NULL) return path_failed(error, "open the directory", path);
    errno = 0;
    while ((entry = readdir(directory)) != NULL) {
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
            names_add(names, entry->d_name);
        errno = 0; /* only this tells the end from an error */
    }
    if (errno != 0) status = path_failed(error, "read the directory", path);
    closedir(directory);
    return status;
}

static enum status real_list_dir(struct world *world, const char *path, void *context,
                                 void (*on_name)(void *context, const char *name),
                                 struct error *error)
{
    struct names names = {0};
    enum status status = names_read(path, &names, error);

    (void)world;
    if (status == STATUS_OK && names.count > 0) {
        qsort(names.list, names.count, sizeof(char *), name_compare);
        for (size_t i = 0; i < names.count; i++)
            on_name(context, names.list[i]);
    }
    names_free(&names);
    return status;
}

static enum status real_free_space(struct world *world, const char *path, uint64_t *ret_bytes,
                                   struct error *error)
{
    struct statvfs space;

    (void)world;
    if (statvfs(path, &space) != 0) return path_failed(error, "read the free space of", path);
    *ret_bytes = (uint64_t)space.f_bavail * space.f_frsize;
    return STATUS_OK;
}

void real_file_table(struct world_table *table)
{
    table->file_open = real_file_open;
    table->file_read = real_file_read;
    table->file_write = real_file_write;
    table->file_sync = real_file_sync;
    table->file_allocate = real_file_allocate;
    table->file_truncate = real_file_truncate;
    table->file_size = real_file_size;
    table->file_lock = real_file_lock;
    table->file_close = real_file_close;
    table->rename = real_rename;
    table->remove = real_remove;
    table->discard = real_discard;
    table->discard_once_removed = real_discard_once_removed;
    table->make_dir = real_make_dir;
    table->sync_dir = real_sync_dir;
    table->list_dir = real_list_dir;
    table->free_space = real_free_space;
}
