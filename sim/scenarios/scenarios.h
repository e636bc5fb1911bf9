/* scenarios.h - named interleavings, each from a finding in WHY.md, played step by step. */
#ifndef HOLON_SIM_SCENARIOS_SCENARIOS_H
#define HOLON_SIM_SCENARIOS_SCENARIOS_H

#include "sim/sim_run.h"

struct sim_scenario {
    const char *name;
    const char *source; /* "WHY 1.1" */
    const char *what;
    void (*run)(struct sim_bed *bed);
};

#define SCENARIO(name, source, what) void scenario_##name(struct sim_bed *bed);
#include "sim/scenarios/scenarios.def"
#undef SCENARIO

const struct sim_scenario *sim_scenario_find(const char *name); /* NULL: there is none */
const struct sim_scenario *sim_scenarios_all(size_t *ret_count);

#endif
