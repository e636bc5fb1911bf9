#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "world/world_real_free.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <signal.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/vfs.h>
#include <time.h>
#include <unistd.h>

#include "base/background.h"
#include "base/bytes.h"

static uint64_t now_us(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
}

static struct timespec after_us(uint64_t us)
{
    struct timespec until;

    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += (time_t)(us / 1000000);
    until.tv_nsec += (long)(us % 1000000) * 1000;
    until.tv_sec += until.tv_nsec / 1000000000;
    until.tv_nsec %= 1000000000;
    return until;
}

/* Waits, but for the end of all. True: go on. */
static bool rest(struct free_files *files, uint64_t us)
{
    struct timespec until = after_us(us);

    pthread_mutex_lock(&files->mutex);
    while (!files->stop)
        if (pthread_cond_timedwait(&files->changed, &files->mutex, &until) != 0) break;
    bool stop = files->stop;
    pthread_mutex_unlock(&files->mutex);
    return !stop;
}

static bool in_a_hurry(const struct free_files *files, int descriptor)
{
    struct statvfs found;

    if (files->hurry_bytes == 0 || fstatvfs(descriptor, &found) != 0) return false;
    return (uint64_t)found.f_bavail * found.f_frsize < files->hurry_bytes;
}

/* Of those that are known to give leases for what is open on this machine, and to free a file with
 * its last close. On others (NFS renames what is removed while it is open) nothing is kept. */
static bool is_local(int descriptor)
{
    struct statfs found;

    if (fstatfs(descriptor, &found) != 0) return false;
    switch ((unsigned long)found.f_type) {
    case EXT4_SUPER_MAGIC: /* and ext2, ext3 */
    case XFS_SUPER_MAGIC:
    case BTRFS_SUPER_MAGIC:
    case F2FS_SUPER_MAGIC:
    case TMPFS_MAGIC:
        return true;
    default:
        return false;
    }
}

static void free_in_steps(struct free_files *files, int descriptor)
{
    struct stat found;
    bool go_on = fstat(descriptor, &found) == 0 && found.st_nlink == 0;

    for (off_t size = go_on ? found.st_size : 0; go_on && size > FREE_STEP_BYTES;) {
        uint64_t began = now_us();
        size -= FREE_STEP_BYTES;
        if (ftruncate(descriptor, size) != 0) break;
        uint64_t wait = (now_us() - began) * FREE_REST_FACTOR;
        if (wait < FREE_REST_LEAST_US) wait = FREE_REST_LEAST_US;
        if (wait > FREE_REST_MOST_US) wait = FREE_REST_MOST_US;
        go_on = !in_a_hurry(files, descriptor) && rest(files, wait);
    }
    close(descriptor);
}

enum readers {
    READERS_NONE,
    READERS_SOME,
    READERS_UNKNOWN, /* leases are switched off, or not ours to take */
};

/* A lease for writing is given to who is the only one that has the file open. Of a file that has
 * no name any more: who opened another one would wait for the lease meanwhile. */
static enum readers readers_of(int descriptor)
{
    if (fcntl(descriptor, F_SETLEASE, F_WRLCK) != 0)
        return errno == EAGAIN || errno == EBUSY ? READERS_SOME : READERS_UNKNOWN;
    return fcntl(descriptor, F_SETLEASE, F_UNLCK) == 0 ? READERS_NONE : READERS_UNKNOWN;
}

/* --- files that others remove -------------------------------------------------------------- */

enum look {
    LOOK_NONE,
    LOOK_KEEP,
    LOOK_SOON, /* it only wants a place */
    LOOK_CLOSE,
    LOOK_FREE,
};

static enum look look_at(const struct free_files *files, const struct free_watched *watched)
{
    struct stat found;

    if (in_a_hurry(files, watched->descriptor)) return LOOK_CLOSE;
    if (now_us() - watched->told_us > files->keep_us) return LOOK_CLOSE;
    if (fstat(watched->descriptor, &found) != 0) return LOOK_CLOSE;
    if (found.st_nlink > 0) return LOOK_KEEP;
    switch (readers_of(watched->descriptor)) {
    case READERS_NONE:
        return LOOK_FREE;
    case READERS_SOME:
        return LOOK_KEEP;
    default:
        return LOOK_CLOSE;
    }
}

static bool take_place(struct free_files *files, int descriptor)
{
    pthread_mutex_lock(&files->mutex);
    bool taken = files->count < FREE_WATCHED_TAKES;
    if (taken) files->descriptors[files->count++] = descriptor;
    pthread_mutex_unlock(&files->mutex);
    return taken;
}

/* What is left: LOOK_NONE, _KEEP, or _SOON of some. */
static enum look look(struct free_files *files)
{
    enum look left = LOOK_NONE;
    size_t count = 0, closed_count = 0;
    int closed[FREE_WATCHED_MAX];

    pthread_mutex_lock(&files->watched_mutex);
    for (size_t i = 0; i < files->watched_count; i++) {
        const struct free_watched watched = files->watched[i];
        enum look what = look_at(files, &watched);
        if (what == LOOK_CLOSE) closed[closed_count++] = watched.descriptor;
        if (what == LOOK_FREE && !take_place(files, watched.descriptor)) what = LOOK_SOON;
        if (what != LOOK_KEEP && what != LOOK_SOON) continue;
        files->watched[count++] = watched;
        if (left != LOOK_SOON) left = what;
    }
    files->watched_count = count;
    pthread_mutex_unlock(&files->watched_mutex);
    for (size_t i = 0; i < closed_count; i++) /* which may take long */
        close(closed[i]);
    return left;
}

/* Within `mutex`: until something changes, or it was looked at what is watched. */
static void wait_or_look(struct free_files *files)
{
    uint64_t look_us = files->look_us;
    struct timespec until = after_us(look_us);

    if (look_us == 0) {
        pthread_cond_wait(&files->changed, &files->mutex);
        return;
    }
    if (pthread_cond_timedwait(&files->changed, &files->mutex, &until) == 0) return;
    uint64_t next = look_us * 2 < FREE_LOOK_MOST_US ? look_us * 2 : FREE_LOOK_MOST_US;
    files->look_us = 0; /* who adds one from now on sets it */
    pthread_mutex_unlock(&files->mutex);
    enum look left = look(files);
    pthread_mutex_lock(&files->mutex);
    if (left == LOOK_NONE || files->look_us != 0) return;
    files->look_us = left == LOOK_SOON ? FREE_LOOK_LEAST_US : next;
}

/* -1: all is to end. */
static int take(struct free_files *files)
{
    int descriptor = -1;

    pthread_mutex_lock(&files->mutex);
    while (files->count == 0 && !files->stop)
        wait_or_look(files);
    if (files->count > 0) {
        descriptor = files->descriptors[0];
        files->count--;
        memmove(files->descriptors, files->descriptors + 1,
                files->count * sizeof(files->descriptors[0]));
    }
    pthread_mutex_unlock(&files->mutex);
    return descriptor;
}

static void *free_main(void *argument)
{
    struct free_files *files = argument;
    int descriptor;

    background_begin();
    while ((descriptor = take(files)) >= 0)
        free_in_steps(files, descriptor);
    return NULL;
}

static bool start(struct free_files *files)
{
    sigset_t all, before;

    if (files->started) return true;
    sigfillset(&all); /* signals are for the loops */
    pthread_sigmask(SIG_SETMASK, &all, &before);
    files->started = pthread_create(&files->thread, NULL, free_main, files) == 0;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (files->started) pthread_setname_np(files->thread, "holon-free");
    return files->started;
}

void free_files_init(struct free_files *files, uint64_t hurry_bytes)
{
    pthread_condattr_t attributes;

    *files = (struct free_files){.hurry_bytes = hurry_bytes, .keep_us = FREE_KEEP_MOST_US};
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_mutex_init(&files->mutex, NULL);
    pthread_mutex_init(&files->watched_mutex, NULL);
    pthread_cond_init(&files->changed, &attributes);
    pthread_condattr_destroy(&attributes);
}

void free_files_destroy(struct free_files *files)
{
    pthread_mutex_lock(&files->mutex);
    files->stop = true;
    pthread_cond_broadcast(&files->changed);
    pthread_mutex_unlock(&files->mutex);
    if (files->started) pthread_join(files->thread, NULL);
    for (size_t i = 0; i < files->watched_count; i++)
        close(files->watched[i].descriptor);
    pthread_mutex_destroy(&files->watched_mutex);
    pthread_mutex_destroy(&files->mutex);
    pthread_cond_destroy(&files->changed);
}

int free_files_open(const char *path)
{
    struct stat found;
    int descriptor = open(path, O_WRONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY);

    if (descriptor < 0) return -1;
    if (fstat(descriptor, &found) == 0 && S_ISREG(found.st_mode) && found.st_nlink == 1 &&
        found.st_size > FREE_AT_ONCE_MAX)
        return descriptor;
    close(descriptor);
    return -1;
}

void free_files_give(struct free_files *files, int descriptor)
{
    bool taken = false;

    if (readers_of(descriptor) == READERS_NONE) {
        pthread_mutex_lock(&files->mutex);
        if (files->count < FREE_FILES_MAX && start(files)) {
            files->descriptors[files->count++] = descriptor;
            pthread_cond_broadcast(&files->changed);
            taken = true;
        }
        pthread_mutex_unlock(&files->mutex);
    }
    if (!taken) close(descriptor);
}

uint64_t free_files_watched_max(uint64_t descriptors)
{
    uint64_t beyond = descriptors > FREE_WATCHED_FROM ? descriptors - FREE_WATCHED_FROM : 0;
    uint64_t part = beyond / FREE_WATCHED_PART;

    return part < FREE_WATCHED_MAX ? part : FREE_WATCHED_MAX;
}

static uint64_t watched_max(void)
{
    struct rlimit limit;
    return getrlimit(RLIMIT_NOFILE, &limit) == 0 ? free_files_watched_max(limit.rlim_cur) : 0;
}

size_t free_files_watched(struct free_files *files)
{
    return files->watched_count;
}

/* Within `watched_mutex`. */
static struct free_watched *find_watched(struct free_files *files, const struct stat *of)
{
    for (size_t i = 0; i < files->watched_count; i++)
        if (files->watched[i].inode == of->st_ino && files->watched[i].device == of->st_dev)
            return &files->watched[i];
    return NULL;
}

/* False: it is watched already, or it cannot be, or there is no place for it. */
static bool watch(struct free_files *files, int descriptor)
{
    struct free_watched *known;
    struct stat found;
    bool can =
        fstat(descriptor, &found) == 0 && !in_a_hurry(files, descriptor) && is_local(descriptor);
    uint64_t most = watched_max(), now = now_us();

    pthread_mutex_lock(&files->watched_mutex);
    known = can ? find_watched(files, &found) : NULL;
    if (known != NULL) known->told_us = now;
    bool taken = can && known == NULL && files->watched_count < most;
    if (taken)
        files->watched[files->watched_count++] =
            (struct free_watched){descriptor, found.st_dev, found.st_ino, now};
    pthread_mutex_unlock(&files->watched_mutex);
    return taken;
}

void free_files_watch(struct free_files *files, int descriptor)
{
    bool started, taken;

    pthread_mutex_lock(&files->mutex);
    started = start(files);
    pthread_mutex_unlock(&files->mutex);
    taken = started && watch(files, descriptor);
    if (!taken) close(descriptor);
    pthread_mutex_lock(&files->mutex);
    if (started && files->look_us != FREE_LOOK_LEAST_US) {
        files->look_us = FREE_LOOK_LEAST_US; /* what was told again may be removed soon, too */
        pthread_cond_broadcast(&files->changed);
    }
    pthread_mutex_unlock(&files->mutex);
}
