#include "sim/sim_process.h"

#include "base/assert.h"
#include "base/hash.h"
#include "base/memory.h"
#include "sim/sim_files.h"
#include "sim/sim_stream.h"
#include "sim/sim_sweep.h"

enum { WALL_CLOCK_START_S = 1750000000 };

void sim_machine_init(struct sim_machine *machine, struct sim *sim, uint32_t number)
{
    *machine = (struct sim_machine){.sim = sim,
                                    .number = number,
                                    .power = true,
                                    .job_min = 60,
                                    .job_max = 1500,
                                    .disk_slow_factor = 1};
    machine->clock = (struct sim_clock){
        .base_global = sim->now,
        .base_local = UINT64_C(1000000) * (100 + number),
        .wall_offset = (int64_t)WALL_CLOCK_START_S * 1000000 - (int64_t)number * 1000000 +
                       (int64_t)number * 20000, /* boot times differ, wall clocks hardly */
    };
    machine->clock.wall_begin = (int64_t)machine->clock.base_local + machine->clock.wall_offset -
                                (int64_t)machine->clock.base_global;
}

uint64_t sim_machine_wall_error(const struct sim_machine *machine)
{
    const struct sim_clock *clock = &machine->clock;
    uint64_t now = machine->sim->now > clock->base_global ? machine->sim->now : clock->base_global;
    int64_t wall = (int64_t)sim_machine_local_time(machine, now) + clock->wall_offset;
    int64_t error = wall - ((int64_t)now + clock->wall_begin);

    return (uint64_t)(error < 0 ? -error : error);
}

uint64_t sim_machine_local_time(const struct sim_machine *machine, uint64_t global)
{
    const struct sim_clock *clock = &machine->clock;
    ASSERT(global >= clock->base_global);
    int64_t passed = (int64_t)(global - clock->base_global);

    return clock->base_local + (uint64_t)(passed + passed * clock->rate_ppm / 1000000);
}

void sim_machine_set_rate(struct sim_machine *machine, int64_t rate_ppm)
{
    struct sim_clock *clock = &machine->clock;
    uint64_t error = sim_machine_wall_error(machine);

    if (error > machine->sim->wall_error_max) machine->sim->wall_error_max = error;

    /* A turn that is stretched over time has read the clock ahead of now: begin behind it. */
    uint64_t from = machine->sim->now;
    if (machine->process) {
        for (uint32_t i = 0; i < machine->process->world_count; i++)
            if (machine->process->worlds[i].busy_until > from) return;
    }
    clock->base_local = sim_machine_local_time(machine, from);
    clock->base_global = from;
    clock->rate_ppm = rate_ppm;
    if (machine->process)
        for (uint32_t i = 0; i < machine->process->world_count; i++)
            sim_timers_rearm(&machine->process->worlds[i]);
}

void sim_machine_jump_wall_clock(struct sim_machine *machine, int64_t by)
{
    machine->clock.wall_offset += by;
}

struct sim_process *sim_process_make(struct sim_machine *machine, uint32_t world_count,
                                     void *context,
                                     void (*on_end)(void *, struct sim_process *, enum sim_end))
{
    ASSERT(world_count > 0 && world_count <= SIM_WORKERS_MAX);
    struct sim *sim = machine->sim;
    struct sim_process *process = memory_allocate_zero(sizeof(*process));

    *process =
        (struct sim_process){.sim = sim,
                             .machine = machine,
                             .incarnation = sim->processes ? sim->processes->incarnation + 1 : 1,
                             .world_count = world_count,
                             .context = context,
                             .on_end = on_end,
                             .next = sim->processes};
    sim->processes = process;
    random_seed(&process->random, hash_u64(sim->seed ^ ((uint64_t)process->incarnation << 32)));
    process->worlds = memory_allocate_zero(world_count * sizeof(*process->worlds));
    for (uint32_t i = 0; i < world_count; i++)
        sim_world_init(&process->worlds[i], process, i);
    machine->starts++;
    return process;
}

static void drop_held(struct sim_world *world)
{
    while (world->held_first) {
        struct sim_event *event = world->held_first;
        world->held_first = event->next;
        if (event->drop) event->drop(sim_of(world), event);
        sim_event_free(sim_of(world), event);
    }
    world->held_last = &world->held_first;
}

void sim_process_end(struct sim_process *process, enum sim_end how)
{
    if (process->dead) return;
    if (process->in_event) {
        if (!process->doomed) process->doom = how;
        process->doomed = true;
        return;
    }
    process->dead = true;
    sim_trace(process->sim, 0x20000 + (uint64_t)how);
    sim_trace_text(process->sim, "node %u incarnation %u ends (%d) %s", process->machine->number,
                   process->incarnation, (int)how, process->fatal_text);
    if (process->machine->process == process) process->machine->process = NULL;
    for (uint32_t i = 0; i < process->world_count; i++)
        drop_held(&process->worlds[i]);
    if (process->on_end) process->on_end(process->context, process, how);
    sim_streams_end(process, how);
    sim_files_end(process);
    for (uint32_t i = 0; i < process->world_count; i++)
        sim_world_clear(&process->worlds[i]);
}

void sim_process_free(struct sim_process *process)
{
    ASSERT(process->dead);
    if (process->free_kept) process->free_kept(process->kept);
    memory_free(process->worlds);
    memory_free(process);
}

void sim_process_pause(struct sim_process *process)
{
    process->paused = true;
    sim_trace_text(process->sim, "node %u pauses", process->machine->number);
}

/* Which held events come first when a process goes on: libuv runs due timers before it polls
 * (WHY 1.14), yet a process stopped between poll and read handles its input first (WHY 1.2),
 * and sockets are served in the order of their descriptors. */
enum resume_order {
    RESUME_TIMERS_FIRST,
    RESUME_AS_ARRIVED,
    RESUME_CLIENTS_FIRST,
    RESUME_TIMERS_LAST
};

static unsigned rank_of(enum resume_order order, const struct sim_event *event)
{
    bool timer = event->kind == SIM_EVENT_TIMER;
    bool client = event->kind == SIM_EVENT_DATA || event->kind == SIM_EVENT_ACCEPT;

    switch (order) {
    case RESUME_TIMERS_FIRST:
        return timer ? 0 : 1;
    case RESUME_AS_ARRIVED:
        return 0;
    case RESUME_CLIENTS_FIRST:
        return client ? 0 : 1;
    case RESUME_TIMERS_LAST:
        return timer ? 1 : 0;
    }
    return 0;
}

static void schedule_again(struct sim *sim, struct sim_world *world, struct sim_event *event)
{
    struct sim_event *again = sim_schedule(sim, 0, event->kind, world, event->run);
    uint64_t time = again->time, sequence = again->sequence;

    *again = *event;
    again->time = time;
    again->sequence = sequence;
    event->data = NULL;
    sim_event_free(sim, event);
}

static void resume_world(struct sim *sim, struct sim_world *world)
{
    enum resume_order order = (enum resume_order)sim_below(sim, SIM_RANDOM_SCHEDULE, 4);
    struct sim_event *held = world->held_first;

    world->held_first = NULL;
    world->held_last = &world->held_first;
    world->resumed_at = sim->now;
    for (unsigned rank = 0; rank < 2; rank++) {
        for (struct sim_event **at = &held; *at;) {
            struct sim_event *event = *at;
            if (rank_of(order, event) != rank) {
                at = &event->next;
                continue;
            }
            *at = event->next;
            schedule_again(sim, world, event);
        }
    }
}

void sim_process_resume(struct sim_process *process)
{
    if (!process->paused || process->dead) return;
    process->paused = false;
    sim_trace_text(process->sim, "node %u resumes", process->machine->number);
    for (uint32_t i = 0; i < process->world_count; i++)
        resume_world(process->sim, &process->worlds[i]);
}

bool sim_process_file_effect(struct sim_process *process)
{
    if (process->dead || process->doomed) return true;
    if (sim_sweep_effect(process)) return true;
    if (process->file_effects_left == 0 || --process->file_effects_left > 0) return false;
    process->doomed = true;
    process->doom = process->file_effects_end;
    sim_fault_hit(process->sim, SIM_FAULT_KILL_IN_JOB);
    return true;
}

bool sim_process_send_effect(struct sim_process *process)
{
    return process->dead || process->doomed || sim_sweep_effect(process);
}
