/* sim_process.h - machines, the processes that run on them, and their worlds.
 *
 * A machine has a clock and a disk and outlives its processes. A process is one incarnation:
 * when it ends, every event, timer, stream, file and job of it vanishes; nothing of it ever
 * runs again. Each worker of a process has a `struct sim_world`.
 *
 * One event runs as one turn of a world's loop: the callback, then what it deferred, then the
 * flush of its streams. A paused process (SIGSTOP) and a busy world queue their events and
 * run them in order later. Thread: one. */
#ifndef HOLON_SIM_SIM_PROCESS_H
#define HOLON_SIM_SIM_PROCESS_H

#include "sim/sim.h"
#include "world/world.h"

enum { SIM_WORKERS_MAX = 8 };

struct sim_disk;
struct sim_file;
struct sim_stream;

/* Local boot time runs at (1 + rate_ppm / 10^6) of virtual time (F48). */
struct sim_clock {
    uint64_t base_global, base_local;
    int64_t rate_ppm;
    int64_t wall_offset; /* wall clock - boot time */
    int64_t wall_begin;  /* wall clock - virtual time, if its rate were always true */
};

struct sim_machine {
    struct sim *sim;
    uint32_t number; /* 0: the clients'; nodes from 1 */
    struct sim_clock clock;
    struct sim_disk *disk;       /* may be NULL */
    struct sim_process *process; /* the one that runs, or NULL (a twin is not listed) */
    bool power;                  /* false: streams to it hang and nothing is refused */
    uint32_t boots;
    uint32_t starts;
    /* Latency of a job, microseconds, log-uniform; times disk_slow_factor. */
    uint64_t job_min, job_max;
    uint32_t disk_slow_factor;
    uint64_t disk_stalled_until; /* F28: no job ends before, virtual */
    uint64_t disk_behind_until;  /* when the last job that it held up ends */
    uint64_t turn_cost_max;      /* F06: each turn takes up to this long */
    uint32_t stall_ppm; /* F05: chance that a reading of the clock is followed by a stall */
    uint64_t stall_max;
};

void sim_machine_init(struct sim_machine *machine, struct sim *sim, uint32_t number);
uint64_t sim_machine_local_time(const struct sim_machine *machine, uint64_t global);
void sim_machine_set_rate(struct sim_machine *machine, int64_t rate_ppm);
void sim_machine_jump_wall_clock(struct sim_machine *machine, int64_t by);
/* How far its wall clock is off by what it ran too fast or too slow (and by jumps). */
uint64_t sim_machine_wall_error(const struct sim_machine *machine);

enum sim_end {
    SIM_END_KILL,  /* kill -9, abort: the kernel closes its connections */
    SIM_END_CLEAN, /* it ended by itself */
    SIM_END_POWER, /* the machine is gone: nobody is told */
    SIM_END_QUIET, /* end of the run */
};

struct sim_lane {
    struct world_job *first, **last;
    bool running;
};

struct sim_world {
    struct world base;
    struct sim_process *process;
    struct logger logger;
    struct world_timer **timers; /* binary heap, from 1 */
    size_t timer_count, timer_capacity;
    uint64_t timer_sequence;
    uint64_t wake_at; /* of the earliest wake event scheduled; UINT64_MAX: none */
    struct world_deferred *deferred_first, **deferred_last;
    struct sim_lane lanes[LANE_COUNT];
    uint64_t post_last[SIM_WORKERS_MAX]; /* by sending worker: keeps the order */
    struct sim_event *held_first, **held_last;
    uint64_t busy_until;  /* the loop is in a long turn */
    uint64_t turn_offset; /* how long the present turn has taken so far */
    struct sim_stream *flush_first, **flush_last;
    uint64_t turns;
    uint64_t resumed_at; /* events that were held run at this instant, before a new iteration */
    uint64_t loop_now;   /* planted "stale_clock_lease" only: the time the loop has cached */
};

struct sim_process {
    struct sim *sim;
    struct sim_machine *machine;
    uint32_t incarnation; /* over all processes of the run, from 1 */
    uint32_t world_count;
    struct sim_world *worlds;
    bool dead;
    bool doomed; /* ends when the present event is over */
    enum sim_end doom;
    bool paused;
    bool in_event;
    /* F01: the process ends so when this many more file effects have happened; 0: off. */
    uint64_t file_effects_left;
    enum sim_end file_effects_end;
    char fatal_text[256];
    struct random random;
    /* Called once, when nothing of it runs any more; world functions are no-ops then. */
    void (*on_end)(void *context, struct sim_process *process, enum sim_end how);
    void *context;
    void *kept; /* for what its events may need until they are dropped */
    void (*free_kept)(void *kept);
    struct sim_stream *streams; /* open ends */
    struct sim_file *files;
    struct sim_process *next;
};

/* Starts an incarnation with `world_count` worlds; machine->process is set by the caller.
 * The process belongs to the sim. */
struct sim_process *sim_process_make(struct sim_machine *machine, uint32_t world_count,
                                     void *context,
                                     void (*on_end)(void *, struct sim_process *, enum sim_end));
/* At once, or, from inside one of its own events, as soon as that is over. */
void sim_process_end(struct sim_process *process, enum sim_end how);
void sim_process_pause(struct sim_process *process);
void sim_process_resume(struct sim_process *process);
void sim_process_free(struct sim_process *process); /* by sim_free() */

static inline struct world *sim_process_world(struct sim_process *process, uint32_t worker)
{
    return &process->worlds[worker].base;
}
static inline struct sim_world *sim_world_of(struct world *world)
{
    return (struct sim_world *)(void *)world;
}
static inline struct sim *sim_of(const struct sim_world *world)
{
    return world->process->sim;
}
/* The instant at which what the present turn does becomes visible to others. */
static inline uint64_t sim_world_moment(const struct sim_world *world)
{
    return world->process->sim->now + world->turn_offset;
}

/* Runs, holds or drops an event of a world (called by the loop of sim_event.c). */
void sim_world_event(struct sim_world *world, struct sim_event *event);
/* Runs call(context) as a turn of the world. */
void sim_world_call(struct sim_world *world, uint64_t delay, void (*call)(void *context),
                    void *context);
/* The loop of this world stands still for so long, its siblings go on. */
void sim_world_stick(struct sim_world *world, uint64_t duration);
/* Counts one effect on files; true: the process has been killed before it (F01). */
bool sim_process_file_effect(struct sim_process *process);
/* Same for something that leaves for another node; only a crash sweep ends a process here. */
bool sim_process_send_effect(struct sim_process *process);

/* --- parts of the table, each in its own file --- */
extern const struct world_table sim_world_table;
void sim_world_init(struct sim_world *world, struct sim_process *process, uint32_t worker);
void sim_world_clear(struct sim_world *world);
void sim_timers_fire(struct sim_world *world);
void sim_timer_start(struct world *world, struct world_timer *timer, uint64_t delay);
void sim_timer_stop(struct world *world, struct world_timer *timer);
void sim_timers_rearm(struct sim_world *world); /* after the clock's rate has changed */
void sim_job_start(struct world *world, enum world_lane lane, struct world_job *job);
void sim_post(struct world *to, struct world_post *post);

#endif
