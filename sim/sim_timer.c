/* Timers of a simulated world: an intrusive binary heap over (deadline, sequence) in local
 * boot time, and one wake event in virtual time for the earliest. Wake events are never
 * cancelled: one that comes too early schedules the next. */
#include "base/assert.h"
#include "base/memory.h"
#include "sim/sim_process.h"

enum { LATENESS_MAX_US = 200 };

static bool timer_before(const struct world_timer *a, const struct world_timer *b)
{
    return a->deadline < b->deadline || (a->deadline == b->deadline && a->sequence < b->sequence);
}

static void place(struct sim_world *world, size_t i, struct world_timer *timer)
{
    world->timers[i] = timer;
    timer->heap_index = (uint32_t)i;
}

static void sift_up(struct sim_world *world, size_t i, struct world_timer *timer)
{
    while (i > 1 && timer_before(timer, world->timers[i / 2])) {
        place(world, i, world->timers[i / 2]);
        i /= 2;
    }
    place(world, i, timer);
}

static void sift_down(struct sim_world *world, size_t i, struct world_timer *timer)
{
    for (;;) {
        size_t child = i * 2;
        if (child > world->timer_count) break;
        if (child < world->timer_count &&
            timer_before(world->timers[child + 1], world->timers[child]))
            child++;
        if (!timer_before(world->timers[child], timer)) break;
        place(world, i, world->timers[child]);
        i = child;
    }
    place(world, i, timer);
}

static void run_wake(struct sim *sim, struct sim_event *event);

/* Virtual time at which the local clock shows `local`, rounded up. */
static uint64_t global_of(const struct sim_machine *machine, uint64_t local)
{
    const struct sim_clock *clock = &machine->clock;

    if (local <= clock->base_local) return clock->base_global;
    uint64_t passed = local - clock->base_local;
    if (passed > UINT64_MAX / 4000000) return UINT64_MAX / 2; /* far away: never */
    uint64_t rate = (uint64_t)(1000000 + clock->rate_ppm);
    return clock->base_global + (passed * 1000000 + rate - 1) / rate;
}

static void arm(struct sim_world *world)
{
    struct sim *sim = sim_of(world);

    if (world->timer_count == 0 || world->process->dead) return;
    uint64_t at = global_of(world->process->machine, world->timers[1]->deadline);
    if (at < sim->now) at = sim->now;
    if (at >= world->wake_at && world->wake_at >= sim->now) return;
    world->wake_at = at;
    sim_schedule_at(sim, at + sim_below(sim, SIM_RANDOM_SCHEDULE, LATENESS_MAX_US), SIM_EVENT_TIMER,
                    world, run_wake)
        ->n = at;
}

void sim_timer_stop(struct world *base, struct world_timer *timer)
{
    struct sim_world *world = sim_world_of(base);
    size_t i = timer->heap_index;

    if (i == 0) return;
    timer->heap_index = 0;
    if (world->process->dead) return;
    ASSERT(i <= world->timer_count && world->timers[i] == timer);
    struct world_timer *last = world->timers[world->timer_count--];
    if (last == timer) return;
    if (i > 1 && timer_before(last, world->timers[i / 2]))
        sift_up(world, i, last);
    else
        sift_down(world, i, last);
}

void sim_timer_start(struct world *base, struct world_timer *timer, uint64_t delay)
{
    struct sim_world *world = sim_world_of(base);

    if (world->process->dead) return;
    sim_timer_stop(base, timer);
    if (world->timer_count + 2 > world->timer_capacity) {
        world->timer_capacity = world->timer_capacity ? world->timer_capacity * 2 : 64;
        world->timers =
            memory_resize(world->timers, world->timer_capacity * sizeof(*world->timers));
    }
    timer->deadline =
        sim_machine_local_time(world->process->machine, sim_world_moment(world)) + delay;
    timer->sequence = world->timer_sequence++;
    world->timer_count++;
    sift_up(world, world->timer_count, timer);
    if (timer->heap_index == 1) arm(world);
}

void sim_timers_fire(struct sim_world *world)
{
    uint64_t now = sim_machine_local_time(world->process->machine, sim_of(world)->now);
    uint64_t sequence_end = world->timer_sequence; /* those started meanwhile wait */

    while (world->timer_count > 0 && !world->process->doomed) {
        struct world_timer *timer = world->timers[1];
        if (timer->deadline > now || timer->sequence >= sequence_end) break;
        sim_timer_stop(&world->base, timer);
        sim_of(world)->timers_fired++;
        timer->fire(timer);
    }
}

static void run_wake(struct sim *sim, struct sim_event *event)
{
    struct sim_world *world = event->world;

    if (event->n == world->wake_at) world->wake_at = UINT64_MAX;
    sim_timers_fire(world);
    arm(world);
}

void sim_timers_rearm(struct sim_world *world)
{
    world->wake_at = UINT64_MAX;
    arm(world);
}
