#include "partition/copy_gate.h"

#include <pthread.h>

#include "base/memory.h"
#include "partition/copy_rate.h"

struct copy_gate {
    pthread_mutex_t mutex; /* guards the rest */
    struct copy_rate copy;
    uint64_t bytes;
};

struct copy_gate *copy_gate_create(uint64_t rate_least, uint64_t rate_most, uint64_t now)
{
    struct copy_gate *gate = memory_allocate_zero(sizeof(*gate));
    pthread_mutex_init(&gate->mutex, NULL);
    copy_rate_init(&gate->copy, rate_least, rate_most, now);
    return gate;
}

void copy_gate_destroy(struct copy_gate *gate)
{
    if (gate == NULL) return;
    pthread_mutex_destroy(&gate->mutex);
    memory_free(gate);
}

bool copy_gate_synced(struct copy_gate *gate, uint64_t us, uint64_t now)
{
    pthread_mutex_lock(&gate->mutex);
    uint64_t before = gate->copy.rate;
    copy_rate_synced(&gate->copy, us, now);
    bool slowed = gate->copy.rate < before;
    pthread_mutex_unlock(&gate->mutex);
    return slowed;
}

uint64_t copy_gate_take(struct copy_gate *gate, uint64_t bytes, uint64_t now)
{
    pthread_mutex_lock(&gate->mutex);
    uint64_t pause = copy_rate_pause_us(&gate->copy, now);
    if (pause == 0) copy_rate_took(&gate->copy, bytes, now);
    pthread_mutex_unlock(&gate->mutex);
    return pause;
}

void copy_gate_force(struct copy_gate *gate, uint64_t bytes, uint64_t now)
{
    pthread_mutex_lock(&gate->mutex);
    copy_rate_took(&gate->copy, bytes, now);
    pthread_mutex_unlock(&gate->mutex);
}

void copy_gate_copied(struct copy_gate *gate, uint64_t taken, uint64_t bytes, uint64_t now)
{
    pthread_mutex_lock(&gate->mutex);
    if (bytes > taken)
        copy_rate_took(&gate->copy, bytes - taken, now);
    else if (bytes < taken)
        copy_rate_gave_back(&gate->copy, taken - bytes);
    gate->bytes += bytes;
    pthread_mutex_unlock(&gate->mutex);
}

void copy_gate_statistics(struct copy_gate *gate, struct copy_gate_statistics *ret)
{
    pthread_mutex_lock(&gate->mutex);
    *ret = (struct copy_gate_statistics){.rate = gate->copy.rate,
                                         .alone_us = gate->copy.alone_us,
                                         .late_us = gate->copy.late_us,
                                         .worst_us = gate->copy.worst_us,
                                         .slowed = gate->copy.slowed,
                                         .bytes = gate->bytes};
    pthread_mutex_unlock(&gate->mutex);
}
