/* real_world.h - for tests on the real world: worlds of one process, and waiting for something
 * to become true with a limit instead of for time to pass. */
#ifndef HOLON_TESTS_REAL_WORLD_H
#define HOLON_TESTS_REAL_WORLD_H

#include "unit.h"

#include "world/world_real.h"

enum { REAL_WAIT_LIMIT_US = 30 * 1000 * 1000 };

struct real_fixture {
    struct logger logger;
    struct host *host;
    struct world *world; /* worker 0 */
};

static inline void real_fixture_start(struct real_fixture *fixture)
{
    struct world_real_options options = {.logger = &fixture->logger};
    struct error error;

    logger_to_nowhere(&fixture->logger);
    assert_int_equal(host_create(&options, &fixture->host, &error), STATUS_OK);
    fixture->world = world_real_create(fixture->host, 0);
}

static inline void real_fixture_stop(struct real_fixture *fixture)
{
    world_real_drain(fixture->world);
    world_real_destroy(fixture->world);
    host_destroy(fixture->host);
}

static inline void real_wait_expired(struct world_timer *timer)
{
    bool *expired = timer->context;
    *expired = true;
}

static inline void real_wait_step(struct world_timer *timer)
{
    world_real_stop(timer->context);
}

/* Runs the loop until `condition` holds; looks after each turn that a callback ended with
 * world_real_stop(), and each millisecond. */
static inline bool real_wait(struct world *world, bool (*condition)(void *), void *context)
{
    bool expired = false;
    struct world_timer limit = {.fire = real_wait_expired, .context = &expired};
    struct world_timer step = {.fire = real_wait_step, .context = world};

    world_timer_start(world, &limit, REAL_WAIT_LIMIT_US);
    while (!condition(context) && !expired) {
        world_timer_start(world, &step, 1000);
        world_real_run(world);
    }
    world_timer_stop(world, &limit);
    world_timer_stop(world, &step);
    return condition(context);
}

#endif
