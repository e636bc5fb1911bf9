/* crew.h - some threads that do jobs 0 to count - 1, in that order, while the main thread looks on.
 * The first that fails stops all. */
#ifndef HOLON_CLI_CREW_H
#define HOLON_CLI_CREW_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/status.h"

enum { CREW_THREADS_MAX = 64, CREW_TICK_MS = 200 };

struct crew {
    void *context;
    /* Of thread `worker`, one at a time. */
    enum status (*job)(void *context, uint32_t worker, uint32_t index, struct error *error);
    /* In the main thread, every CREW_TICK_MS and at the end, with the crew's mutex held. */
    enum status (*tick)(void *context, struct error *error);
    /* Under the mutex: */
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    uint32_t next, count, running;
    uint64_t keys, bytes; /* crew_add(): what was done, for those who look on */
    uint32_t done;
    bool failed; /* also read without it: others should give up soon */
    struct error error;
};

void crew_init(struct crew *crew, void *context);
void crew_free(struct crew *crew);
/* Returns when all threads have ended: the error of the first that failed. */
enum status crew_run(struct crew *crew, uint32_t threads, uint32_t count, struct error *error);
/* By a job. */
void crew_add(struct crew *crew, uint64_t keys, uint64_t bytes);

#endif
