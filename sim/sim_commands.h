/* sim_commands.h - what holon-sim can be told to do; each returns the exit code. */
#ifndef HOLON_SIM_SIM_COMMANDS_H
#define HOLON_SIM_SIM_COMMANDS_H

#include "sim/sim_campaign.h"

struct sim_arguments {
    uint64_t seed, seeds, first_seed, twice, scenario_seeds, stride, at, runs;
    uint64_t jobs, require_members, require_bank_hours;
    bool has_seed, has_twice, trace, list, planted_all, scenarios, no_canary;
    bool cost, minimise, table, require_table, mesh, kept;
    const char *scenario, *planted, *require_sometimes, *crash, *sweep, *decisions, *out, *keep,
        *table_file, *without;
};

int sim_command_one(const struct sim_arguments *arguments);
int sim_command_twice(const struct sim_arguments *arguments);
int sim_command_planted_all(const struct sim_arguments *arguments);
int sim_command_campaign(const struct sim_arguments *arguments);
int sim_command_scenarios(const struct sim_arguments *arguments);
int sim_command_sweep(const struct sim_arguments *arguments);
int sim_command_minimise(const struct sim_arguments *arguments);
/* The seeds of kept_seeds.def. */
int sim_command_kept(const struct sim_arguments *arguments);
/* What clusters cost by their size (sim_cost.h). */
int sim_command_cost(const struct sim_arguments *arguments);
int sim_command_list(void);
/* Of a table that earlier campaigns have added up. */
int sim_command_table(const struct sim_arguments *arguments);

#endif
