/* sim_campaign.h - many seeds in several processes: progress, totals, the first failure with
 * the command that repeats it. A seed that crashes its process is a failure like any other. */
#ifndef HOLON_SIM_SIM_CAMPAIGN_H
#define HOLON_SIM_SIM_CAMPAIGN_H

#include "sim/sim_run.h"

struct sim_campaign {
    uint64_t first_seed, seeds;
    uint32_t jobs;
    const char *scenario, *planted; /* NULL: none */
    bool mesh;                      /* in every seed */
    bool stop_at_failure;
    bool quiet;
    uint64_t processor_seconds_max; /* per seed */
    const char *keep;               /* directory for the decisions of a run that failed, or NULL */
    /* A crash sweep: "seed" n of the campaign is a crash at effect 1 + (n - 1) * stride. */
    enum sim_sweep_mode sweep_mode;
    uint64_t sweep_seed, sweep_stride;
};

struct sim_campaign_result {
    uint64_t seeds, failed, invalid;
    uint64_t events, virtual_us, busy_us, real_us;
    uint64_t faults[SIM_FAULT_COUNT];
    uint64_t ops_done, ops_unknown, ops_not_done, undecided, committed;
    uint64_t sweep_crashes, membership_changes;
    struct sim_variety variety;
    struct sim_busy busy;
    struct sim_features features;
    struct sim_tags reached;
    uint64_t failed_seed; /* the first seen */
    char text[SIM_VIOLATION_SIZE_MAX];
};

enum { SIM_KEEP_PATH_MAX = 1024 };
#define SIM_HOUR_US 3.6e9

void sim_campaign_run(const struct sim_campaign *campaign, struct sim_campaign_result *ret_result);
/* Sums, of several campaigns; answers' shares and failures stay with each. */
void sim_campaign_add(struct sim_campaign_result *to, const struct sim_campaign_result *from);
void sim_campaign_print(const struct sim_campaign_result *result, FILE *file);
/* The first failure, the command that repeats it; keeps its decisions. */
void sim_campaign_print_failure(const struct sim_campaign *campaign,
                                const struct sim_campaign_result *result, FILE *file);

#endif
