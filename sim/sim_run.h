/* sim_run.h - one seed from the founding to the verdict.
 *
 *   found     all nodes start with empty disks and become one cluster
 *   chaos     clients work, faults strike
 *   heal      everything, or a connected majority only; then V-1, V-2 must hold
 *   rest      clients stop; replicas become equal (V-4, S-1)
 *   again     sometimes: all lose power and start again (F04, V-3)
 *   judge     every key is read once more; the checkers decide over the history */
#ifndef HOLON_SIM_SIM_RUN_H
#define HOLON_SIM_SIM_RUN_H

#include "sim/sim_decisions.h"

struct sim_run_options {
    uint64_t seed;
    const char *scenario; /* NULL: a plan drawn from the seed */
    const char *planted;  /* NULL: none; see planted.h */
    FILE *trace;          /* NULL: none */
    bool print_plan;
    bool mesh;                          /* the real peer mesh, whatever the seed drew */
    uint64_t processor_seconds_max;     /* watchdog; 0: none */
    const struct sim_plan *plan;        /* NULL: drawn */
    const struct sim_decisions *replay; /* instead of what the seed would draw; NULL: none */
    struct sim_decisions *record;       /* filled in as it goes; NULL: none */
    /* Of a scripted scenario: the crash at one of its effects. */
    enum sim_sweep_mode sweep_mode;
    uint64_t sweep_target;
};

/* Shares that prove variety (FAULTS section 4): what requests came to. */
struct sim_variety {
    uint64_t success;  /* took effect, or found something */
    uint64_t conflict; /* refused by what was there: SETNX on a key, a DEL of none */
    uint64_t empty;    /* read of an absent key */
    uint64_t unknown;
};

/* What clients did that move money for hours (sim_bank.h). */
struct sim_busy {
    uint64_t time_us, transfers, reads, snapshots;
};

struct sim_result {
    bool failed;
    bool invalid; /* too little happened to mean anything; `text` says what */
    char text[SIM_VIOLATION_SIZE_MAX];
    uint64_t events, virtual_us, real_us, trace, last_random;
    uint64_t faults[SIM_FAULT_COUNT];
    uint64_t ops_done, ops_unknown, ops_not_done, elections, committed, undecided;
    struct sim_variety variety;
    struct sim_features features;
    struct sim_busy busy;
    uint64_t sweep_effects, sweep_crashes;
    uint64_t membership_changes;
    struct sim_tags reached;
};

void sim_run(const struct sim_run_options *options, struct sim_result *ret_result);
void sim_result_print(const struct sim_run_options *options, const struct sim_result *result,
                      FILE *file);

/* What a scenario and the drawn plans share while they run. */
struct sim_bed {
    struct sim sim;
    struct sim_cluster *cluster;
    struct sim_clients *clients;
    struct sim_inspector *inspector;
    const struct sim_run_options *options;
    struct sim_result *result;
    bool judge_expiry_times;
    uint32_t drift_permille; /* for stale reads: no node's clock was slower */
    const char *unhit;       /* a kind of fault that never found a victim, or NULL */
    uint64_t watchdog_end;
    struct sim_disk *spare_disk; /* of a scenario without a cluster; freed at the end */
    void *kept;
};

/* Switches the planted bug of the options on; `cluster_options` may be NULL. */
void sim_bed_plant(struct sim_bed *bed, struct sim_cluster_options *cluster_options);
/* Zeroed memory that lives until the run is over; once. */
void *sim_bed_keep(struct sim_bed *bed, size_t size);

/* After sim_init(): the planted bug's switches go into `cluster_options`. */
void sim_bed_open(struct sim_bed *bed, const struct sim_cluster_options *cluster_options,
                  const struct sim_workload *workload);
/* Stops the clients, reads all keys, runs all checkers over the history. */
void sim_bed_judge(struct sim_bed *bed, uint32_t nodes);
void sim_bed_close(struct sim_bed *bed);

#endif
