#include "cli/crew.h"

#include <string.h>
#include <time.h>

enum { NS_PER_MS = 1000000, NS_PER_S = 1000000000 };

struct member {
    struct crew *crew;
    uint32_t number;
    pthread_t thread;
};

void crew_init(struct crew *crew, void *context)
{
    *crew = (struct crew){.context = context};
    pthread_mutex_init(&crew->mutex, NULL);
    pthread_cond_init(&crew->changed, NULL);
}

void crew_free(struct crew *crew)
{
    pthread_mutex_destroy(&crew->mutex);
    pthread_cond_destroy(&crew->changed);
}

void crew_add(struct crew *crew, uint64_t keys, uint64_t bytes)
{
    pthread_mutex_lock(&crew->mutex);
    crew->keys += keys;
    crew->bytes += bytes;
    pthread_mutex_unlock(&crew->mutex);
}

/* With the mutex held. */
static void fail(struct crew *crew, const struct error *error)
{
    if (!crew->failed) crew->error = *error;
    __atomic_store_n(&crew->failed, true, __ATOMIC_RELAXED);
}

static void *work(void *context)
{
    struct member *member = context;
    struct crew *crew = member->crew;
    struct error error;

    pthread_mutex_lock(&crew->mutex);
    while (!crew->failed && crew->next < crew->count) {
        uint32_t index = crew->next++;
        pthread_mutex_unlock(&crew->mutex);
        enum status status = crew->job(crew->context, member->number, index, &error);
        pthread_mutex_lock(&crew->mutex);
        if (status)
            fail(crew, &error);
        else
            crew->done++;
    }
    crew->running--;
    pthread_cond_signal(&crew->changed);
    pthread_mutex_unlock(&crew->mutex);
    return NULL;
}

static void wait_a_tick(struct crew *crew)
{
    struct timespec until;

    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_nsec += (long)CREW_TICK_MS * NS_PER_MS;
    until.tv_sec += until.tv_nsec / NS_PER_S;
    until.tv_nsec %= NS_PER_S;
    pthread_cond_timedwait(&crew->changed, &crew->mutex, &until);
}

static uint32_t start(struct crew *crew, struct member *members, uint32_t threads)
{
    uint32_t started = 0;

    for (; started < threads; started++) {
        members[started] = (struct member){.crew = crew, .number = started};
        crew->running++;
        if (pthread_create(&members[started].thread, NULL, work, &members[started]) == 0) continue;
        crew->running--;
        break;
    }
    return started;
}

enum status crew_run(struct crew *crew, uint32_t threads, uint32_t count, struct error *error)
{
    struct member members[CREW_THREADS_MAX];
    struct error cause;

    crew->count = count;
    if (threads > count) threads = count;
    if (threads > CREW_THREADS_MAX) threads = CREW_THREADS_MAX;
    pthread_mutex_lock(&crew->mutex);
    uint32_t started = start(crew, members, threads);
    if (started == 0 && count > 0) {
        error_set(&cause, STATUS_FULL, "no thread can be started");
        fail(crew, &cause);
    }
    while (crew->running > 0) {
        wait_a_tick(crew);
        if (crew->tick(crew->context, &cause)) fail(crew, &cause);
    }
    bool failed = crew->failed;
    pthread_mutex_unlock(&crew->mutex);
    for (uint32_t i = 0; i < started; i++)
        pthread_join(members[i].thread, NULL);
    if (failed && error) *error = crew->error;
    return failed ? crew->error.status : STATUS_OK;
}
