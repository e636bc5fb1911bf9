#include "storage/engine/engine_gate.h"

#include <pthread.h>

#include "base/assert.h"
#include "base/memory.h"

struct gate_store {
    struct engine *engine;
    uint64_t files;    /* in level 0, at the last look */
    uint64_t fewer_at; /* boot clock, us: when they were fewer than at the one before; or few */
};

struct engine_gate {
    struct world *world;
    uint64_t bytes_per_second;
    atomic_bool hurry;
    pthread_mutex_t mutex; /* guards the next two */
    uint64_t at;           /* boot clock, us: when the next piece fits the pace */
    struct engine_gate_statistics statistics;
    pthread_mutex_t stores_mutex; /* guards the rest; stores are asked within it */
    struct gate_store stores[ENGINE_GATE_STORES_MAX];
    size_t store_count;
};

struct engine_gate *engine_gate_create(struct world *world, uint64_t bytes_per_second)
{
    struct engine_gate *gate = memory_allocate_zero(sizeof(*gate));

    ASSERT(bytes_per_second > 0);
    gate->world = world;
    gate->bytes_per_second = bytes_per_second;
    pthread_mutex_init(&gate->mutex, NULL);
    pthread_mutex_init(&gate->stores_mutex, NULL);
    return gate;
}

void engine_gate_destroy(struct engine_gate *gate)
{
    if (gate == NULL) return;
    ASSERT(gate->store_count == 0);
    pthread_mutex_destroy(&gate->stores_mutex);
    pthread_mutex_destroy(&gate->mutex);
    memory_free(gate);
}

void engine_gate_hurry(struct engine_gate *gate, bool hurry)
{
    gate->hurry = hurry;
}

void engine_gate_statistics(struct engine_gate *gate, struct engine_gate_statistics *statistics)
{
    pthread_mutex_lock(&gate->mutex);
    *statistics = gate->statistics;
    pthread_mutex_unlock(&gate->mutex);
}

void engine_gate_enter(struct engine_gate *gate, struct engine *store)
{
    pthread_mutex_lock(&gate->stores_mutex);
    ASSERT(gate->store_count < ENGINE_GATE_STORES_MAX);
    gate->stores[gate->store_count++] =
        (struct gate_store){.engine = store, .fewer_at = world_now(gate->world)};
    pthread_mutex_unlock(&gate->stores_mutex);
}

void engine_gate_leave(struct engine_gate *gate, struct engine *store)
{
    pthread_mutex_lock(&gate->stores_mutex);
    for (size_t i = 0; i < gate->store_count; i++) {
        if (gate->stores[i].engine != store) continue;
        gate->stores[i] = gate->stores[--gate->store_count];
        break;
    }
    pthread_mutex_unlock(&gate->stores_mutex);
}

static bool is_crowded(struct gate_store *store, uint64_t now)
{
    uint64_t files = engine_level0_files(store->engine);
    bool few = files < ENGINE_CROWDED_FILES;

    if (few || files < store->files) store->fewer_at = now;
    store->files = files;
    return !few && now - store->fewer_at < ENGINE_CROWDED_MOST_US;
}

/* Within the mutex, so that none leaves meanwhile. */
bool engine_gate_is_crowded(struct engine_gate *gate)
{
    uint64_t now = world_now(gate->world);
    bool crowded = false;

    pthread_mutex_lock(&gate->stores_mutex);
    for (size_t i = 0; i < gate->store_count; i++)
        crowded |= is_crowded(&gate->stores[i], now);
    pthread_mutex_unlock(&gate->stores_mutex);
    return crowded;
}

uint64_t engine_gate_take(struct engine_gate *gate, uint64_t bytes, bool must)
{
    uint64_t now = world_now(gate->world), pause = 0;

    must |= gate->hurry;
    pthread_mutex_lock(&gate->mutex);
    if (now < gate->at && !must) {
        pause = gate->at - now;
    } else {
        gate->statistics.hurried += now < gate->at;
        gate->statistics.bytes += bytes;
        gate->at = now + bytes * 1000000 / gate->bytes_per_second;
    }
    pthread_mutex_unlock(&gate->mutex);
    return pause;
}

void engine_gate_count(struct engine_gate *gate, uint64_t bytes)
{
    pthread_mutex_lock(&gate->mutex);
    gate->statistics.bytes += bytes;
    pthread_mutex_unlock(&gate->mutex);
}

uint64_t engine_gate_rest(struct engine_gate *gate, uint64_t us)
{
    uint64_t rest = us < WORLD_REST_MOST_US ? us : WORLD_REST_MOST_US;

    world_thread_rest(gate->world, rest);
    pthread_mutex_lock(&gate->mutex);
    gate->statistics.waited_us += rest;
    pthread_mutex_unlock(&gate->mutex);
    return rest;
}
