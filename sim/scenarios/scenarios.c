#include "sim/scenarios/scenarios.h"

#include <string.h>

static const struct sim_scenario scenarios[] = {
#define SCENARIO(name, source, what) {#name, source, what, scenario_##name},
#include "sim/scenarios/scenarios.def"
#undef SCENARIO
};

const struct sim_scenario *sim_scenario_find(const char *name)
{
    for (size_t i = 0; i < sizeof(scenarios) / sizeof(scenarios[0]); i++)
        if (strcmp(scenarios[i].name, name) == 0) return &scenarios[i];
    return NULL;
}

const struct sim_scenario *sim_scenarios_all(size_t *ret_count)
{
    *ret_count = sizeof(scenarios) / sizeof(scenarios[0]);
    return scenarios;
}
