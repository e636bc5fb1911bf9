#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "world/world_real_free.h"

#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/stat.h>
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

/* Waits, but for the end of all. True: go on. */
static bool rest(struct free_files *files, uint64_t us)
{
    struct timespec until;

    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_nsec += (long)us * 1000;
    until.tv_sec += until.tv_nsec / 1000000000;
    until.tv_nsec %= 1000000000;
    pthread_mutex_lock(&files->mutex);
    while (!files->stop)
        if (pthread_cond_timedwait(&files->changed, &files->mutex, &until) != 0) break;
    bool stop = files->stop;
    pthread_mutex_unlock(&files->mutex);
    return !stop;
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
        go_on = rest(files, wait);
    }
    close(descriptor);
}

/* -1: all is to end. */
static int take(struct free_files *files)
{
    int descriptor = -1;

    pthread_mutex_lock(&files->mutex);
    while (files->count == 0 && !files->stop)
        pthread_cond_wait(&files->changed, &files->mutex);
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

void free_files_init(struct free_files *files)
{
    pthread_condattr_t attributes;

    *files = (struct free_files){.count = 0};
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_mutex_init(&files->mutex, NULL);
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

/* A lease for writing is given to who is the only one that has the file open. */
static bool is_open_elsewhere(int descriptor)
{
    if (fcntl(descriptor, F_SETLEASE, F_WRLCK) != 0) return true;
    return fcntl(descriptor, F_SETLEASE, F_UNLCK) != 0;
}

void free_files_give(struct free_files *files, int descriptor)
{
    bool taken = false;

    if (!is_open_elsewhere(descriptor)) {
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
