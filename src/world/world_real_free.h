/* world_real_free.h - discarded files (world_discard()) give back what they took in steps, on a
 * thread of their own.
 *
 * The last close of a large file frees all of it in one call, and a file system that is mounted
 * with `discard` tells the device within it: 64 MiB took 75 ms on a virtio disk, in which no sync
 * got on. The log removes segments of that size on the thread that syncs it.
 *
 * Files that a library removes (the engine's, after a compaction) are kept open, so that the last
 * close is ours: from time to time it is looked which of them have no name any more. A disk that
 * is nearly full gets its space at once, and no file on it is kept. */
#ifndef HOLON_WORLD_WORLD_REAL_FREE_H
#define HOLON_WORLD_WORLD_REAL_FREE_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

enum {
    FREE_FILES_MAX = 64,        /* that wait; more are freed by who discards them, at once */
    FREE_AT_ONCE_MAX = 4 << 20, /* bytes: up to there a file is freed in one call */
    FREE_STEP_BYTES = 2 << 20,
    FREE_REST_FACTOR = 4,      /* between two steps, in the time that the last one took ... */
    FREE_REST_LEAST_US = 1000, /* ... and at least so long */
    FREE_REST_MOST_US = 100 * 1000,
    FREE_WATCHED_MAX = 1024,  /* descriptors of files that others will remove, and at most ... */
    FREE_WATCHED_FROM = 1024, /* ... those that the process may have beyond so many ... */
    FREE_WATCHED_PART = 8,    /* ... divided by this */
    FREE_WATCHED_TAKES =
        FREE_FILES_MAX / 4,                /* places of FREE_FILES_MAX: the others are the log's */
    FREE_LOOK_LEAST_US = 250000,           /* after one came, then twice as long each time ... */
    FREE_LOOK_MOST_US = 4000 * 1000,       /* ... up to so long */
    FREE_KEEP_MOST_US = 600 * 1000 * 1000, /* since one was told of: nobody will remove it */
};

struct free_watched {
    int descriptor;
    dev_t device;
    ino_t inode;
    uint64_t told_us; /* monotonic clock */
};

struct free_files {
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    pthread_t thread; /* of the first file on */
    bool started, stop;
    uint64_t hurry_bytes; /* free ones of a file system, below which nothing is put off */
    uint64_t keep_us;     /* FREE_KEEP_MOST_US, but in tests */
    int descriptors[FREE_FILES_MAX]; /* oldest first */
    size_t count;
    uint64_t look_us;              /* until it is looked at what is watched; 0: nothing is */
    pthread_mutex_t watched_mutex; /* for what follows; never taken within `mutex` */
    struct free_watched watched[FREE_WATCHED_MAX];
    _Atomic size_t watched_count; /* read without it, too */
};

void free_files_init(struct free_files *files, uint64_t hurry_bytes);
/* Frees at once what is left. */
void free_files_destroy(struct free_files *files);

/* Before its name is removed: a descriptor to give to free_files_give(), or -1 if the file is
 * small, is no file, or has another name too. */
int free_files_open(const char *path);
/* Takes the descriptor of a file whose name is gone for good: a loss of power that brought it back
 * would find less than all of it. One that still has a name, or is open elsewhere, is closed as it
 * is: its readers see all of it until they close it. Thread: any. */
void free_files_give(struct free_files *files, int descriptor);
/* Takes the descriptor of a file whose name others will remove (world_discard_once_removed()). It
 * is closed as it is on a file system where nothing is kept, or once the system cannot say whether
 * others have it open. Thread: any. */
void free_files_watch(struct free_files *files, int descriptor);
/* How many are, and how many may be of that many descriptors. Thread: any. */
size_t free_files_watched(struct free_files *files);
uint64_t free_files_watched_max(uint64_t descriptors);

#endif
