/* sim_plan.h - what one seed is about: topology, sizes, workload, and which faults how often.
 * Swarm testing (Groce 2012): each class of faults is on or off for a whole seed, so that some
 * seeds show what others hide. */
#ifndef HOLON_SIM_SIM_PLAN_H
#define HOLON_SIM_SIM_PLAN_H

#include "sim/sim_client.h"
#include "sim/sim_cluster.h"

/* Things that chaos does, each with a pace of its own. */
#define SIM_CHAOS_MAP(X)                                                                           \
    X(KILL, "kill")                                                                                \
    X(KILL_IN_JOB, "kill-in-job")                                                                  \
    X(STOP, "stop")                                                                                \
    X(POWER, "power")                                                                              \
    X(POWER_ALL, "power-all")                                                                      \
    X(KILL_ALL, "kill-all")                                                                        \
    X(PAUSE, "pause")                                                                              \
    X(STALL, "stall")                                                                              \
    X(SLOW, "slow")                                                                                \
    X(WIPE, "wipe")                                                                                \
    X(TWIN, "twin")                                                                                \
    X(SYNC_FAIL, "sync-fail")                                                                      \
    X(DISK_SLOW, "disk-slow")                                                                      \
    X(DISK_STALL, "disk-stall")                                                                    \
    X(DISK_FULL, "disk-full")                                                                      \
    X(STUCK, "stuck")                                                                              \
    X(OLD_FRAMES, "old-frames")                                                                    \
    X(SPLIT, "split")                                                                              \
    X(ONE_WAY, "one-way")                                                                          \
    X(ISOLATE_LEADER, "isolate-leader")                                                            \
    X(LOSSY, "lossy")                                                                              \
    X(RESET, "reset")                                                                              \
    X(PEER_RESET, "peer-reset")                                                                    \
    X(CLOCK_JUMP, "clock-jump")                                                                    \
    X(CLOCK_DRIFT, "clock-drift")

enum sim_chaos_kind {
#define X(name, text) SIM_CHAOS_##name,
    SIM_CHAOS_MAP(X)
#undef X
        SIM_CHAOS_COUNT
};
const char *sim_chaos_text(enum sim_chaos_kind kind);

struct sim_plan {
    struct sim_cluster_options cluster;
    struct sim_workload workload;
    uint64_t pace[SIM_CHAOS_COUNT]; /* mean time between two of a kind, us; 0: off */
    uint64_t outage_max;            /* how long a node stays down, paused, cut off */
    bool minority_only;             /* never hurt so many nodes that a majority is missing */
    uint32_t drop_ppm, duplicate_ppm, reorder_ppm, delay_ppm, replay_ppm; /* while LOSSY */
    uint32_t corrupt_ppm; /* of pieces between nodes, with the real mesh */
    uint64_t delay_max;
    uint32_t stall_ppm;
    bool keep_old; /* a sample of all requests, for OLD_FRAMES */
    uint64_t chaos_time;
    uint64_t hurry_from; /* of chaos: outages are short, to be over within the run; 0: never */
    uint32_t maybe_permille;
    bool heal_majority_only;
    bool power_loss_at_end;
};

void sim_plan_draw(struct sim *sim, struct sim_plan *ret_plan);
/* The real peer mesh between nodes, whatever was drawn. */
void sim_plan_use_mesh(struct sim_plan *plan);
/* No faults; three nodes, registers: for measuring speed and for scenarios. */
void sim_plan_calm(struct sim_plan *ret_plan);
void sim_plan_print(const struct sim_plan *plan, FILE *file);

#endif
