/* sim_campaign.h - many seeds in several processes: progress, totals, the first failure with
 * the command that repeats it. A seed that crashes its process is a failure like any other. */
#ifndef HOLON_SIM_SIM_CAMPAIGN_H
#define HOLON_SIM_SIM_CAMPAIGN_H

#include "sim/sim_run.h"

struct sim_campaign {
    uint64_t first_seed, seeds;
    uint32_t jobs;
    const char *scenario, *planted; /* NULL: none */
    bool stop_at_failure;
    bool quiet;
    uint64_t real_seconds_max; /* per seed */
};

struct sim_campaign_result {
    uint64_t seeds, failed, invalid;
    uint64_t events, virtual_us, busy_us, real_us;
    uint64_t faults[SIM_FAULT_COUNT];
    uint64_t ops_done, ops_unknown, ops_not_done, undecided, committed;
    struct sim_tags reached;
    uint64_t failed_seed; /* the first seen */
    char text[SIM_VIOLATION_SIZE_MAX];
};

void sim_campaign_run(const struct sim_campaign *campaign, struct sim_campaign_result *ret_result);
void sim_campaign_print(const struct sim_campaign *campaign,
                        const struct sim_campaign_result *result, FILE *file);

#endif
