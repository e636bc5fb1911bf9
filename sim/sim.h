/* sim.h - one simulated run: virtual time, an event queue, random streams, the trace hash and
 * what the run found. Everything else in sim/ hangs off a `struct sim`.
 *
 * A run is one thread and depends on nothing but its seed (rule D-1): no address, no real
 * clock and no uninitialised memory may reach an event, a random draw or the trace.
 * Times are virtual microseconds. Thread: one. */
#ifndef HOLON_SIM_SIM_H
#define HOLON_SIM_SIM_H

#include "base/bytes.h"
#include "base/random.h"

#include <stdio.h>

struct sim;
struct sim_world;
struct sim_process;
struct sim_event;

/* Separate streams, so that one more draw in one place does not move all others. */
enum sim_stream_of_random {
    SIM_RANDOM_NETWORK,
    SIM_RANDOM_DISK,
    SIM_RANDOM_SCHEDULE,
    SIM_RANDOM_WORKLOAD,
    SIM_RANDOM_FAULT,
    SIM_RANDOM_COUNT,
};

/* Fault classes (FAULTS.md section 2) as they are counted when they really hit. */
#define SIM_FAULT_MAP(X)                                                                           \
    X(KILL, "F01 kill")                                                                            \
    X(KILL_IN_JOB, "F01 end between two file effects")                                             \
    X(STOP, "clean stop")                                                                          \
    X(CRASH_LOOP, "F02 crash loop")                                                                \
    X(POWER_LOSS, "F03 power loss")                                                                \
    X(POWER_LOSS_ALL, "F04 power loss of all")                                                     \
    X(PAUSE, "F05 pause")                                                                          \
    X(STALL, "F05 pause inside a turn")                                                            \
    X(SLOW, "F06 slow node")                                                                       \
    X(STUCK, "F06 stuck worker")                                                                   \
    X(WIPE, "F09 empty disk")                                                                      \
    X(OLD_IMAGE, "F11 old image of a disk")                                                        \
    X(TWIN, "F12 twin process")                                                                    \
    X(SECTOR_LOST, "F03 unsynced sector lost")                                                     \
    X(TORN, "F20 torn write")                                                                      \
    X(BIT_ROT, "F22 bit-rot")                                                                      \
    X(SYNC_FAILS, "F26 sync fails")                                                                \
    X(DISK_FULL, "F27 disk full")                                                                  \
    X(DISK_SLOW, "F28 slow disk")                                                                  \
    X(DISK_STALL, "F28 stalled disk")                                                              \
    X(NAME_LOST, "F30 name lost")                                                                  \
    X(SPLIT_READ, "F31 split read")                                                                \
    X(DROP, "F40 frame dropped")                                                                   \
    X(DUPLICATE, "F40 frame doubled")                                                              \
    X(REORDER, "F40 frame reordered")                                                              \
    X(DELAY, "F40 frame delayed")                                                                  \
    X(PARTITION, "F41 link cut")                                                                   \
    X(ONE_WAY, "F42 one-way link")                                                                 \
    X(PARTIAL, "F43 partial graph")                                                                \
    X(LINK_HELD, "F44 frame held by a stopped link")                                               \
    X(REPLAY, "F45 old frame replayed")                                                            \
    X(CORRUPT, "F46 corrupted frame")                                                              \
    X(RESET, "F47 connection reset")                                                               \
    X(CLOCK_JUMP, "F48 clock jump")                                                                \
    X(CLOCK_DRIFT, "F48 clock drift")

enum sim_fault {
#define X(name, text) SIM_FAULT_##name,
    SIM_FAULT_MAP(X)
#undef X
        SIM_FAULT_COUNT
};
const char *sim_fault_text(enum sim_fault fault);

enum sim_feature {
#define FEATURE(name, text) SIM_FEATURE_##name,
#include "sim/features.def"
    SIM_FEATURE_COUNT
};

struct sim_features { /* how often a fault and a feature met; see sim_feature.h */
    uint64_t cells[SIM_FAULT_COUNT][SIM_FEATURE_COUNT];
};

/* What an event is, for the trace. */
#define SIM_EVENT_MAP(X)                                                                           \
    X(CALL, "call")                                                                                \
    X(TIMER, "timer")                                                                              \
    X(POST, "post")                                                                                \
    X(JOB_RUN, "job")                                                                              \
    X(JOB_DONE, "job-done")                                                                        \
    X(DATA, "data")                                                                                \
    X(ACCEPT, "accept")                                                                            \
    X(CONNECTED, "connected")                                                                      \
    X(CLOSED, "closed")                                                                            \
    X(DRAINED, "drained")                                                                          \
    X(FRAME, "frame")                                                                              \
    X(PEER_UP, "peer-up")                                                                          \
    X(PEER_DOWN, "peer-down")                                                                      \
    X(FAULT, "fault")

enum sim_event_kind {
#define X(name, text) SIM_EVENT_##name,
    SIM_EVENT_MAP(X)
#undef X
};

/* Pooled. `world` NULL: an event of the simulator itself. Whoever schedules fills in run and
 * the payload; `drop` (may be NULL) frees the payload when the world's process has died. */
struct sim_event {
    uint64_t time, sequence;
    struct sim_world *world;
    void (*run)(struct sim *sim, struct sim_event *event);
    void (*drop)(struct sim *sim, struct sim_event *event);
    void *a, *b;
    uint64_t n;
    uint8_t *data; /* memory_allocate()d, freed with the event */
    uint32_t size;
    uint8_t kind;           /* enum sim_event_kind */
    bool other_thread;      /* a job: runs while its loop is busy, not while it is paused */
    struct sim_event *next; /* pool, or the queue of a world that cannot run */
};

enum { SIM_TAG_COUNT_MAX = 256, SIM_TAG_SIZE_MAX = 96, SIM_VIOLATION_SIZE_MAX = 1024 };

struct sim_tag {
    char text[SIM_TAG_SIZE_MAX];
    uint64_t count;
};

struct sim_tags { /* SOMETIMES probes, in order of first sight */
    struct sim_tag tags[SIM_TAG_COUNT_MAX];
    uint32_t count;
};

/* A crash at one effect of a scripted scenario (FAULTS section 4, sim_sweep.h). Effects are calls
 * that change a disk, and frames or bytes that leave a node. */
enum sim_sweep_mode { SIM_SWEEP_COUNT_ONLY, SIM_SWEEP_KILL, SIM_SWEEP_POWER, SIM_SWEEP_TORN };

struct sim_sweep {
    bool open; /* between sim_sweep_begin() and sim_sweep_end() */
    enum sim_sweep_mode mode;
    uint64_t count;  /* effects so far */
    uint64_t target; /* the one that is not survived; from 1 */
    uint64_t crashes;
};

struct sim_heap_slot {
    uint64_t time, sequence;
    struct sim_event *event;
};

struct sim {
    uint64_t seed;
    uint64_t now;
    uint64_t sequence;
    struct sim_heap_slot *heap;
    size_t heap_count, heap_capacity;
    struct sim_event *pool;
    struct random random[SIM_RANDOM_COUNT];
    uint64_t trace;
    uint64_t event_count;
    uint64_t timers_fired;
    /* Nodes that joined, were drained, taken back or removed, in scenarios where others fail. */
    uint64_t membership_changes;
    uint64_t fault_counts[SIM_FAULT_COUNT];
    uint64_t fault_seen[SIM_FAULT_COUNT]; /* last time + 1 */
    uint64_t feature_seen[SIM_FEATURE_COUNT];
    struct sim_features *features;
    struct sim_tags *reached;
    FILE *trace_file;         /* NULL: no trace lines */
    const char *planted;      /* name of the planted bug that is on, or NULL */
    uint32_t planted_node;    /* on this node; 0: on all */
    bool stale_clock;         /* planted, in the simulator itself: see sim_world.c */
    uint64_t wall_error_max;  /* of any node, by drift: what expiry may be early or late by */
    uint32_t maybe_permille;  /* how often MAYBE() says yes */
    const char *maybe_always; /* the tag whose MAYBE() always says yes, or NULL */
    uint32_t maybe_node;      /* on this node; 0: on all */
    struct sim_sweep sweep;
    bool failed;
    char violation[SIM_VIOLATION_SIZE_MAX]; /* the first one */
    bool stop;                              /* leave sim_run_until() */
    /* Called after each event (invariants E of FAULTS.md 3); world may be NULL. */
    void (*after_event)(struct sim *sim, void *context, struct sim_world *world);
    /* Called before a process of a node ends by whatever but the end of the run. */
    void (*before_end)(struct sim *sim, void *context, struct sim_process *process);
    void *after_event_context;
    struct sim_process *processes; /* all ever made, freed at the end */
    struct sim_listener *listeners;
    struct sim_stream_options *stream_options;
    /* Whether the machine of an address has power (else connecting hangs); may be NULL. */
    bool *(*power_of_address)(void *context, const char *address);
    void *power_context;
    /* Whether bytes from one node to another wait for a link (streams between nodes). */
    bool (*link_is_cut)(void *context, uint32_t from, uint32_t to);
    void *link_context;
    uint64_t next_port;
    uint64_t event_limit;                    /* 0: none */
    int (*processor_time_up)(void *context); /* watchdog: nonzero ends the run */
    void *real_time_context;
};

void sim_init(struct sim *sim, uint64_t seed);
/* Destroys all processes (their on_dead runs) and events. */
void sim_free(struct sim *sim);

/* An event `delay` from now. The caller fills in the rest before it returns to the loop. */
struct sim_event *sim_schedule(struct sim *sim, uint64_t delay, enum sim_event_kind kind,
                               struct sim_world *world,
                               void (*run)(struct sim *, struct sim_event *));
/* Same, for a moment; one that has passed means now. */
struct sim_event *sim_schedule_at(struct sim *sim, uint64_t time, enum sim_event_kind kind,
                                  struct sim_world *world,
                                  void (*run)(struct sim *, struct sim_event *));
void sim_event_copy_data(struct sim_event *event, struct bytes data);
void sim_event_free(struct sim *sim, struct sim_event *event);
/* Calls run(context) at a moment, as an event of the simulator itself. */
void sim_call(struct sim *sim, uint64_t delay, void (*run)(struct sim *, void *context),
              void *context);

/* Runs events until `time` (inclusive), a violation, sim->stop or a limit. False: not reached. */
bool sim_run_until(struct sim *sim, uint64_t time);
static inline bool sim_run_for(struct sim *sim, uint64_t duration)
{
    return sim_run_until(sim, sim->now + duration);
}

static inline uint64_t sim_random(struct sim *sim, enum sim_stream_of_random of)
{
    return random_u64(&sim->random[of]);
}
static inline uint64_t sim_below(struct sim *sim, enum sim_stream_of_random of, uint64_t bound)
{
    return random_below(&sim->random[of], bound);
}
static inline uint64_t sim_between(struct sim *sim, enum sim_stream_of_random of, uint64_t low,
                                   uint64_t high)
{
    return random_between(&sim->random[of], low, high);
}
static inline bool sim_chance(struct sim *sim, enum sim_stream_of_random of, uint32_t parts,
                              uint32_t whole)
{
    return parts != 0 && random_chance(&sim->random[of], parts, whole);
}
/* Log-uniform in [low, high]: each power of two is as likely as the next. low > 0. */
uint64_t sim_log_uniform(struct sim *sim, enum sim_stream_of_random of, uint64_t low,
                         uint64_t high);

/* Folds into the trace hash. */
void sim_trace(struct sim *sim, uint64_t value);
/* A line of --trace; free of charge when it is off. */
void sim_trace_text(struct sim *sim, const char *format, ...) __attribute__((format(printf, 2, 3)));

void sim_fault_hit(struct sim *sim, enum sim_fault fault);
uint64_t sim_fault_total(const struct sim *sim);
void sim_reached(struct sim *sim, const char *tag);
void sim_tags_add(struct sim_tags *tags, const char *tag, uint64_t count);
uint64_t sim_tags_get(const struct sim_tags *tags, const char *tag);

/* Records a violation (the first counts) and stops the run. */
void sim_violation(struct sim *sim, const char *format, ...) __attribute__((format(printf, 2, 3)));
#define SIM_CHECK(sim, condition)                                                                  \
    ((condition) ? (void)0 : sim_violation((sim), "%s:%d: %s", __FILE__, __LINE__, #condition))

#endif
