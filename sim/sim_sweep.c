#include "sim/sim_sweep.h"

#include "base/assert.h"
#include "base/memory.h"
#include "sim/scenarios/scenarios.h"
#include "sim/sim_isolated.h"
#include "sim/sim_process.h"

#include <inttypes.h>
#include <string.h>

static const char *const mode_names[] = {"count", "kill", "power", "torn"};

void sim_sweep_begin(struct sim *sim)
{
    sim->sweep.open = true;
}

void sim_sweep_end(struct sim *sim)
{
    sim->sweep.open = false;
}

bool sim_sweep_effect(struct sim_process *process)
{
    struct sim *sim = process->sim;
    struct sim_sweep *sweep = &sim->sweep;

    if (!sweep->open || process->machine->number == 0) return false;
    if (++sweep->count != sweep->target || sweep->mode == SIM_SWEEP_COUNT_ONLY) return false;
    process->doomed = true;
    process->doom = sweep->mode == SIM_SWEEP_KILL ? SIM_END_KILL : SIM_END_POWER;
    sweep->crashes++;
    sim_fault_hit(sim, SIM_FAULT_KILL_IN_JOB);
    sim_trace_text(sim, "sweep: node %u ends by %s at effect %llu", process->machine->number,
                   mode_names[sweep->mode], (unsigned long long)sweep->count);
    return true;
}

bool sim_sweep_tears(const struct sim *sim)
{
    return sim->sweep.open && sim->sweep.mode == SIM_SWEEP_TORN &&
           sim->sweep.count == sim->sweep.target;
}

bool sim_sweep_mode_parse(const char *text, enum sim_sweep_mode *ret_mode)
{
    for (size_t i = 1; i < ARRAY_COUNT(mode_names); i++) {
        if (strcmp(mode_names[i], text) != 0) continue;
        *ret_mode = (enum sim_sweep_mode)i;
        return true;
    }
    return false;
}

/* Effects of the run that nothing ends; 0: it failed. */
static uint64_t count_effects(const struct sim_sweep_options *options, const char *scenario)
{
    struct sim_result *result = memory_allocate_zero(sizeof(*result));
    struct sim_run_options run = {.seed = options->seed,
                                  .scenario = scenario,
                                  .processor_seconds_max = options->processor_seconds_max};

    sim_isolated_run(&run, result);
    if (result->failed) printf("%-20s FAILED without a crash: %s\n", scenario, result->text);
    uint64_t effects = result->failed ? 0 : result->sweep_effects;
    memory_free(result);
    return effects;
}

static bool sweep_one(const struct sim_sweep_options *options, const char *scenario,
                      struct sim_campaign_result *total)
{
    struct sim_campaign_result *result = memory_allocate_zero(sizeof(*result));
    uint64_t effects = count_effects(options, scenario);
    bool good = effects > 0;

    for (unsigned mode = SIM_SWEEP_KILL; mode <= SIM_SWEEP_TORN && effects; mode++) {
        struct sim_campaign campaign = {.first_seed = 1,
                                        .seeds = (effects + options->stride - 1) / options->stride,
                                        .jobs = options->jobs,
                                        .scenario = scenario,
                                        .quiet = true,
                                        .processor_seconds_max = options->processor_seconds_max,
                                        .sweep_mode = (enum sim_sweep_mode)mode,
                                        .sweep_seed = options->seed,
                                        .sweep_stride = options->stride};
        sim_campaign_run(&campaign, result);
        bool all_crashed = result->sweep_crashes == result->seeds - result->failed;
        printf("%-20s %-6s %6" PRIu64 " effects, %6" PRIu64 " crashes, %" PRIu64
               " failed, %.1f s%s\n",
               scenario, mode_names[mode], effects, result->sweep_crashes, result->failed,
               (double)result->real_us / 1e6,
               all_crashed || result->failed ? "" : ": some effects were not met again (D-1)");
        if (result->failed) sim_campaign_print_failure(&campaign, result, stdout);
        fflush(stdout);
        good &= result->failed == 0 && all_crashed;
        if (total) sim_campaign_add(total, result);
    }
    memory_free(result);
    return good;
}

bool sim_sweep_run(const struct sim_sweep_options *options, struct sim_campaign_result *total)
{
    size_t count;
    const struct sim_scenario *scenarios = sim_scenarios_all(&count);
    bool good = true;

    ASSERT(options->stride > 0);
    if (options->scenario) return sweep_one(options, options->scenario, total);
    for (size_t i = 0; i < count; i++)
        if (strncmp(scenarios[i].name, "sweep_", strlen("sweep_")) == 0)
            good &= sweep_one(options, scenarios[i].name, total);
    return good;
}
