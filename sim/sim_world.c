/* The worlds of simulated processes: clock, deferred work, posts, jobs, and the turn. Timers
 * are in sim_timer.c, streams in sim_stream.c, files in sim_files.c. */
#include "base/assert.h"
#include "base/hash.h"
#include "base/memory.h"
#include "sim/sim_files.h"
#include "sim/sim_process.h"
#include "sim/sim_stream.h"

enum { POST_DELAY_MAX_US = 60, STALL_MIN_US = 1000 };

/* --- the turn --- */

static bool world_blocked(const struct sim_world *world, const struct sim_event *event)
{
    if (world->process->paused) return true;
    return world->busy_until > sim_of(world)->now && !event->other_thread;
}

static void hold(struct sim_world *world, struct sim_event *event)
{
    event->next = NULL;
    *world->held_last = event;
    world->held_last = &event->next;
}

static void run_deferred(struct sim_world *world)
{
    while (world->deferred_first && !world->process->doomed) {
        struct world_deferred *deferred = world->deferred_first;
        world->deferred_first = deferred->next;
        if (world->deferred_first == NULL) world->deferred_last = &world->deferred_first;
        deferred->queued = false;
        deferred->run(deferred);
    }
}

static void run_nothing(struct sim *sim, struct sim_event *event)
{
}

static void end_turn(struct sim_world *world)
{
    struct sim *sim = sim_of(world);
    struct sim_machine *machine = world->process->machine;

    run_deferred(world);
    if (!world->process->doomed) sim_streams_flush(world);
    if (machine->turn_cost_max) {
        world->turn_offset += sim_below(sim, SIM_RANDOM_SCHEDULE, machine->turn_cost_max);
        sim_fault_hit(sim, SIM_FAULT_SLOW);
    }
    if (world->turn_offset) {
        world->busy_until = sim->now + world->turn_offset;
        world->turn_offset = 0;
        /* Something must run what is held by then. */
        sim_schedule_at(sim, world->busy_until, SIM_EVENT_CALL, world, run_nothing);
    }
    world->turns++;
    world->base.turn++;
}

void sim_world_stick(struct sim_world *world, uint64_t duration)
{
    struct sim *sim = sim_of(world);

    if (world->busy_until < sim->now + duration) world->busy_until = sim->now + duration;
    sim_schedule_at(sim, world->busy_until, SIM_EVENT_CALL, world, run_nothing);
}

static void run_turn(struct sim_world *world, struct sim_event *event)
{
    struct sim_process *process = world->process;
    struct sim *sim = process->sim;

    sim_trace(sim, event->time * 64 + event->kind);
    sim_trace(sim, process->incarnation * SIM_WORKERS_MAX + world->base.worker);
    process->in_event = true;
    event->run(sim, event);
    if (!event->other_thread) end_turn(world);
    process->in_event = false;
    sim_event_free(sim, event);
    if (process->doomed) sim_process_end(process, process->doom);
    if (sim->after_event) sim->after_event(sim, sim->after_event_context, world);
}

void sim_world_event(struct sim_world *world, struct sim_event *event)
{
    struct sim *sim = sim_of(world);

    if (world->process->dead) {
        if (event->drop) event->drop(sim, event);
        sim_event_free(sim, event);
        return;
    }
    bool behind = world->held_first != NULL && !event->other_thread;
    if (behind || world_blocked(world, event))
        hold(world, event);
    else
        run_turn(world, event);
    while (world->held_first && !world->process->dead && !world_blocked(world, world->held_first)) {
        struct sim_event *next = world->held_first;
        world->held_first = next->next;
        if (world->held_first == NULL) world->held_last = &world->held_first;
        run_turn(world, next);
    }
}

struct world_call {
    void (*call)(void *context);
};

static void run_world_call(struct sim *sim, struct sim_event *event)
{
    struct world_call call;

    memcpy(&call, event->data, sizeof(call));
    call.call(event->a);
}

void sim_world_call(struct sim_world *world, uint64_t delay, void (*call)(void *context),
                    void *context)
{
    struct world_call body = {call};
    struct sim_event *event =
        sim_schedule(sim_of(world), delay, SIM_EVENT_CALL, world, run_world_call);

    event->a = context;
    sim_event_copy_data(event, bytes_make(&body, sizeof(body)));
}

/* --- clock and random numbers --- */

/* A process may be stopped anywhere; a reading of the clock is where it matters. */
static void maybe_stall(struct sim_world *world)
{
    struct sim *sim = sim_of(world);
    struct sim_machine *machine = world->process->machine;

    if (machine->stall_ppm == 0 || !world->process->in_event) return;
    if (!sim_chance(sim, SIM_RANDOM_SCHEDULE, machine->stall_ppm, 1000000)) return;
    world->turn_offset +=
        sim_log_uniform(sim, SIM_RANDOM_SCHEDULE, STALL_MIN_US, machine->stall_max);
    sim_fault_hit(sim, SIM_FAULT_STALL);
    sim_trace_text(sim, "node %u stalls inside a turn for %llu us", machine->number,
                   (unsigned long long)world->turn_offset);
}

/* WHY 1.2, planted: time as a loop caches it, when an iteration that was interrupted goes on
 * with what it was about to read. */
static uint64_t cached_now(struct sim_world *world, uint64_t now)
{
    bool interrupted = world->resumed_at == sim_of(world)->now && world->loop_now != 0;

    if (!interrupted) world->loop_now = now;
    return world->loop_now;
}

static uint64_t sim_now(struct world *base)
{
    struct sim_world *world = sim_world_of(base);
    uint64_t now = sim_machine_local_time(world->process->machine, sim_world_moment(world));

    maybe_stall(world);
    if (sim_of(world)->stale_clock) return cached_now(world, now);
    return now;
}

static int64_t sim_wall_time(struct world *base)
{
    struct sim_world *world = sim_world_of(base);
    const struct sim_machine *machine = world->process->machine;

    return (int64_t)sim_machine_local_time(machine, sim_world_moment(world)) +
           machine->clock.wall_offset;
}

static uint64_t sim_random_of_world(struct world *base)
{
    return random_u64(&sim_world_of(base)->process->random);
}

static void sim_random_secret(struct world *base, uint8_t *bytes, size_t size)
{
    for (size_t i = 0; i < size; i++)
        bytes[i] = (uint8_t)(sim_random_of_world(base) >> 32);
}

static uint64_t sim_machine_start(struct world *base)
{
    const struct sim_machine *machine = sim_world_of(base)->process->machine;

    return ((uint64_t)machine->number << 32) + machine->boots + 1;
}

static void sim_fatal(struct world *base, const char *text)
{
    struct sim_process *process = sim_world_of(base)->process;

    if (process->dead || process->doomed) return;
    snprintf(process->fatal_text, sizeof(process->fatal_text), "%s", text);
    sim_trace_text(process->sim, "node %u fatal: %s", process->machine->number, text);
    sim_process_end(process, SIM_END_KILL);
}

/* --- deferred work, posts, jobs --- */

static void sim_defer(struct world *base, struct world_deferred *deferred)
{
    struct sim_world *world = sim_world_of(base);

    if (deferred->queued || world->process->dead) return;
    deferred->queued = true;
    deferred->next = NULL;
    *world->deferred_last = deferred;
    world->deferred_last = &deferred->next;
}

static void run_post(struct sim *sim, struct sim_event *event)
{
    struct world_post *post = event->a;

    post->run(post);
}

static void drop_post(struct sim *sim, struct sim_event *event)
{
    struct world_post *post = event->a;

    if (post->dropped) post->dropped(post);
}

void sim_post(struct world *base, struct world_post *post)
{
    struct sim_world *to = sim_world_of(base);
    struct sim *sim = sim_of(to);

    if (to->process->dead || to->process->doomed) {
        if (post->dropped) post->dropped(post);
        return;
    }
    /* All posts to one world keep their order: more than promised between different senders,
     * whose order the random delays of their own events already vary. */
    uint64_t at = sim_world_moment(to) + sim_below(sim, SIM_RANDOM_SCHEDULE, POST_DELAY_MAX_US);
    if (at <= to->post_last[0]) at = to->post_last[0];
    to->post_last[0] = at;
    struct sim_event *event = sim_schedule_at(sim, at, SIM_EVENT_POST, to, run_post);
    event->a = post;
    event->drop = post->dropped ? drop_post : NULL;
}

static void start_next_job(struct sim_world *world, struct sim_lane *lane);

static void run_job_done(struct sim *sim, struct sim_event *event)
{
    struct world_job *job = event->a;

    job->done(job);
}

static void run_job(struct sim *sim, struct sim_event *event)
{
    struct sim_world *world = event->world;
    struct sim_lane *lane = event->b;
    struct world_job *job = lane->first;

    lane->first = job->next;
    if (lane->first == NULL) lane->last = &lane->first;
    job->run(job);
    if (world->process->doomed) return;
    struct sim_event *done = sim_schedule(sim, sim_below(sim, SIM_RANDOM_DISK, 30),
                                          SIM_EVENT_JOB_DONE, world, run_job_done);
    done->a = job;
    lane->running = false;
    start_next_job(world, lane);
}

/* From now until a job of the disk runs. */
static uint64_t job_latency(struct sim_world *world)
{
    struct sim *sim = sim_of(world);
    struct sim_machine *machine = world->process->machine;
    uint64_t latency = sim_log_uniform(sim, SIM_RANDOM_DISK, machine->job_min, machine->job_max);
    if (machine->disk_slow_factor > 1) {
        latency *= machine->disk_slow_factor;
        sim_fault_hit(sim, SIM_FAULT_DISK_SLOW);
    }
    uint64_t moment = sim_world_moment(world);
    if (moment + latency >= machine->disk_stalled_until) return latency;
    latency += machine->disk_stalled_until - moment;
    if (machine->disk_behind_until < moment + latency)
        machine->disk_behind_until = moment + latency;
    sim_fault_hit(sim, SIM_FAULT_DISK_STALL);
    return latency;
}

static void start_next_job(struct sim_world *world, struct sim_lane *lane)
{
    struct sim *sim = sim_of(world);

    if (lane->running || lane->first == NULL) return;
    lane->running = true;
    uint64_t at = sim_world_moment(world) + job_latency(world);
    struct sim_event *event = sim_schedule_at(sim, at, SIM_EVENT_JOB_RUN, world, run_job);
    event->other_thread = true;
    event->b = lane;
}

static void run_free_job(struct sim *sim, struct sim_event *event)
{
    struct sim_world *world = event->world;
    struct world_job *job = event->b;

    job->run(job);
    if (world->process->doomed) return;
    struct sim_event *done = sim_schedule(sim, sim_below(sim, SIM_RANDOM_DISK, 30),
                                          SIM_EVENT_JOB_DONE, world, run_job_done);
    done->a = job;
}

void sim_job_start(struct world *base, enum world_lane number, struct world_job *job)
{
    struct sim_world *world = sim_world_of(base);
    struct sim_lane *lane = &world->lanes[number];

    if (world->process->dead) return;
    job->world = base;
    job->next = NULL;
    if (number == LANE_READ) { /* a pool: they may overtake each other */
        uint64_t at = sim_world_moment(world) + job_latency(world);
        struct sim_event *event =
            sim_schedule_at(sim_of(world), at, SIM_EVENT_JOB_RUN, world, run_free_job);
        event->other_thread = true;
        event->b = job;
        return;
    }
    *lane->last = job;
    lane->last = &job->next;
    start_next_job(world, lane);
}

/* --- probes --- */

static bool sim_maybe(struct world *base, const char *tag)
{
    const struct sim_world *world = sim_world_of(base);
    struct sim *sim = sim_of(sim_world_of(base));

    bool here = sim->maybe_node == 0 || sim->maybe_node == world->process->machine->number;
    bool always = here && sim->maybe_always && strcmp(sim->maybe_always, tag) == 0;
    if (!always && !sim_chance(sim, SIM_RANDOM_SCHEDULE, sim->maybe_permille, 1000)) return false;
    sim_reached(sim, tag);
    return true;
}

static void sim_probe_reached(struct world *base, const char *tag)
{
    sim_reached(sim_of(sim_world_of(base)), tag);
}

static bool sim_planted(struct world *base, const char *name)
{
    const struct sim_world *world = sim_world_of(base);
    const struct sim *sim = sim_of(world);
    bool here = sim->planted_node == 0 || sim->planted_node == world->process->machine->number;

    return here && sim->planted != NULL && strcmp(sim->planted, name) == 0;
}

static void log_to_trace(void *context, enum log_level level, const char *line)
{
    struct sim_world *world = context;

    sim_trace_text(sim_of(world), "node %u.%u %s", world->process->machine->number,
                   world->base.worker, line);
}

const struct world_table sim_world_table = {
    .now = sim_now,
    .wall_time = sim_wall_time,
    .random = sim_random_of_world,
    .random_secret = sim_random_secret,
    .machine_start = sim_machine_start,
    .fatal = sim_fatal,
    .timer_start = sim_timer_start,
    .timer_stop = sim_timer_stop,
    .defer = sim_defer,
    .post = sim_post,
    .job_start = sim_job_start,
    .listen = sim_listen,
    .listener_port = sim_listener_port,
    .listener_close = sim_listener_close,
    .connect = sim_connect,
    .stream_flush = sim_stream_flush,
    .stream_read_pause = sim_stream_read_pause,
    .stream_read_resume = sim_stream_read_resume,
    .stream_close = sim_stream_close,
    .stream_abort = sim_stream_abort,
    .stream_delivered = sim_stream_delivered,
    .file_open = sim_file_open,
    .file_read = sim_file_read,
    .file_write = sim_file_write,
    .file_sync = sim_file_sync,
    .file_allocate = sim_file_allocate,
    .file_truncate = sim_file_truncate,
    .file_size = sim_file_size,
    .file_lock = sim_file_lock,
    .file_close = sim_file_close,
    .rename = sim_rename,
    .remove = sim_remove,
    .make_dir = sim_make_dir,
    .sync_dir = sim_sync_dir,
    .list_dir = sim_list_dir,
    .free_space = sim_free_space,
    .maybe = sim_maybe,
    .reached = sim_probe_reached,
    .planted = sim_planted,
};

void sim_world_init(struct sim_world *world, struct sim_process *process, uint32_t worker)
{
    *world = (struct sim_world){.process = process, .wake_at = UINT64_MAX};
    world->logger = (struct logger){
        .level = process->sim->trace_file ? LOG_LEVEL_DEBUG : (enum log_level)(LOG_LEVEL_ERROR + 1),
        .context = world,
        .write = log_to_trace};
    world->base = (struct world){.table = &sim_world_table, .worker = worker};
    world->base.logger = &world->logger;
    world->deferred_last = &world->deferred_first;
    world->held_last = &world->held_first;
    world->flush_last = &world->flush_first;
    for (unsigned i = 0; i < LANE_COUNT; i++)
        world->lanes[i].last = &world->lanes[i].first;
}

void sim_world_clear(struct sim_world *world)
{
    memory_free(world->timers);
    world->timers = NULL;
    world->timer_count = 0;
    world->deferred_first = NULL;
    world->flush_first = NULL;
}
