#include "sim/sim_commands.h"

#include "base/assert.h"
#include "base/memory.h"
#include "sim/planted.h"
#include "sim/scenarios/scenarios.h"
#include "sim/sim_cost.h"
#include "sim/sim_feature.h"
#include "sim/sim_minimise.h"
#include "sim/sim_sweep.h"

#include <inttypes.h>
#include <string.h>

enum {
    PROCESSOR_SECONDS_MAX = 120,
    CANARY_JOBS = 2,
    SCENARIO_SEEDS = 20,
    INVALID_PERCENT_MAX = 1, /* so none of fewer than 100 seeds */
    STRIDE_DEFAULT = 97,     /* a prime: no period of the script is met again and again */
};

/* --- one run --- */

static bool read_decisions(const struct sim_arguments *arguments, struct sim_decisions *decisions)
{
    char text[300];

    if (sim_decisions_read(decisions, arguments->decisions, text, sizeof(text))) return true;
    fprintf(stderr, "holon-sim: %s\n", text);
    return false;
}

static const char *planted_of(const struct sim_arguments *arguments,
                              const struct sim_decisions *decisions)
{
    if (arguments->planted || !decisions->planted[0]) return arguments->planted;
    return decisions->planted;
}

int sim_command_one(const struct sim_arguments *arguments)
{
    struct sim_decisions decisions = {0};
    struct sim_run_options options = {.seed = arguments->seed,
                                      .scenario = arguments->scenario,
                                      .trace = arguments->trace ? stdout : NULL,
                                      .mesh = arguments->mesh,
                                      .sweep_target = arguments->at,
                                      .print_plan = true};

    if (arguments->crash && !sim_sweep_mode_parse(arguments->crash, &options.sweep_mode)) {
        fprintf(stderr, "holon-sim: --crash is kill, power or torn\n");
        return 2;
    }
    if (arguments->decisions) {
        if (!read_decisions(arguments, &decisions)) return 2;
        options.replay = &decisions;
        options.seed = decisions.seed;
    }
    options.planted = planted_of(arguments, &decisions);
    struct sim_result *result = memory_allocate_zero(sizeof(*result));
    sim_run(&options, result);
    sim_result_print(&options, result, stdout);
    if (arguments->table) sim_features_print(&result->features, stdout);
    if (result->failed) printf("VIOLATION: %s\n", result->text);
    if (result->invalid) printf("%s\n", result->text);
    int code = result->failed ? 1 : 0;
    memory_free(result);
    sim_decisions_free(&decisions);
    return code;
}

/* D-1 */
int sim_command_twice(const struct sim_arguments *arguments)
{
    struct sim_result *results = memory_allocate_zero(2 * sizeof(*results));
    struct sim_run_options options = {.seed = arguments->twice, .scenario = arguments->scenario};

    sim_run(&options, &results[0]);
    sim_run(&options, &results[1]);
    bool same = results[0].trace == results[1].trace &&
                results[0].last_random == results[1].last_random &&
                results[0].events == results[1].events;
    printf("seed %" PRIu64 ": trace %016" PRIx64 " and %016" PRIx64 ": %s\n", arguments->twice,
           results[0].trace, results[1].trace, same ? "equal" : "DIFFERENT (D-1)");
    memory_free(results);
    return same ? 0 : 1;
}

int sim_command_minimise(const struct sim_arguments *arguments)
{
    struct sim_decisions decisions = {0};
    struct sim_minimise options = {.seed = arguments->seed,
                                   .path = arguments->out ? arguments->out : "minimal.decisions",
                                   .runs_max = (uint32_t)arguments->runs,
                                   .processor_seconds_max = PROCESSOR_SECONDS_MAX};

    if (arguments->decisions) {
        if (!read_decisions(arguments, &decisions)) return 2;
        options.from = &decisions;
    }
    options.planted = planted_of(arguments, &decisions);
    int code = sim_minimise_run(&options);
    sim_decisions_free(&decisions);
    return code;
}

/* --- planted bugs --- */

/* True when the bug was found within its budget. */
static bool find_planted(const struct sim_planted *planted, uint32_t jobs)
{
    struct sim_campaign_result *result = memory_allocate_zero(sizeof(*result));
    struct sim_campaign campaign = {.first_seed = 1,
                                    .seeds = planted->seeds_max,
                                    .jobs = jobs,
                                    .scenario = planted->scenario,
                                    .planted = planted->name,
                                    .stop_at_failure = true,
                                    .quiet = true,
                                    .processor_seconds_max = PROCESSOR_SECONDS_MAX};

    sim_campaign_run(&campaign, result);
    bool found = result->failed > 0;
    char first_line[90];
    snprintf(first_line, sizeof(first_line), "%.*s", (int)strcspn(result->text, "\n"),
             result->text);
    printf("%-26s %-22s %5" PRIu64 " %6u %10" PRIu64 " %6.1f  %s\n", planted->name,
           planted->scenario ? planted->scenario : "drawn seeds", result->seeds, planted->seeds_max,
           result->events, (double)result->real_us / 1e6, found ? first_line : "NOT FOUND");
    fflush(stdout);
    memory_free(result);
    return found;
}

static void print_planted_head(void)
{
    printf("%-26s %-22s %5s %6s %10s %6s  %s\n", "planted bug", "looked for in", "seeds", "budget",
           "events", "s", "seen as");
}

int sim_command_planted_all(const struct sim_arguments *arguments)
{
    size_t count, missed = 0;
    const struct sim_planted *planted = sim_planted_all(&count);

    print_planted_head();
    for (size_t i = 0; i < count; i++)
        missed += !find_planted(&planted[i], (uint32_t)arguments->jobs);
    printf("%zu planted bugs, %zu not found\n", count, missed);
    return missed ? 1 : 0;
}

/* --- campaigns --- */

/* Each line of the file is a SOMETIMES tag that must have been reached. */
static bool all_reached(const char *path, const struct sim_tags *reached)
{
    char line[SIM_TAG_SIZE_MAX + 2];
    FILE *file = fopen(path, "r");
    bool all = true;
    unsigned count = 0;

    if (file == NULL) {
        printf("%s cannot be read\n", path);
        return false;
    }
    while (fgets(line, sizeof(line), file)) {
        line[strcspn(line, "\n")] = 0;
        if (line[0] == 0 || line[0] == '#') continue;
        count++;
        if (sim_tags_get(reached, line)) continue;
        printf("never reached: %s\n", line);
        all = false;
    }
    fclose(file);
    if (count == 0) printf("%s names no SOMETIMES tag\n", path);
    return all && count > 0;
}

/* Too many runs that say nothing are no green campaign. */
static bool few_invalid(const struct sim_campaign_result *result)
{
    if (result->invalid * 100 <= result->seeds * INVALID_PERCENT_MAX) return true;
    printf("%" PRIu64 " of %" PRIu64 " runs are invalid, more than %d %%\n", result->invalid,
           result->seeds, INVALID_PERCENT_MAX);
    return false;
}

static bool run_all_scenarios(const struct sim_arguments *arguments, uint64_t seeds,
                              struct sim_campaign_result *total)
{
    struct sim_campaign_result *result = memory_allocate_zero(sizeof(*result));
    size_t count;
    const struct sim_scenario *scenarios = sim_scenarios_all(&count);
    bool good = true;

    for (size_t i = 0; i < count; i++) {
        if (arguments->without && strcmp(scenarios[i].name, arguments->without) == 0) continue;
        struct sim_campaign campaign = {.first_seed = 1,
                                        .seeds = seeds,
                                        .jobs = (uint32_t)arguments->jobs,
                                        .scenario = scenarios[i].name,
                                        .quiet = true,
                                        .processor_seconds_max = PROCESSOR_SECONDS_MAX};
        sim_campaign_run(&campaign, result);
        printf("%-26s %-10s %s, %" PRIu64 " seeds in %.1f s\n", scenarios[i].name,
               scenarios[i].source, result->failed ? "FAILED" : "ok", result->seeds,
               (double)result->real_us / 1e6);
        if (result->failed) sim_campaign_print_failure(&campaign, result, stdout);
        fflush(stdout);
        good &= result->failed == 0;
        if (total) sim_campaign_add(total, result);
    }
    memory_free(result);
    return good;
}

static bool add_to_table(struct sim_features *features, const char *path)
{
    if (sim_features_load(features, path) && sim_features_save(features, path)) return true;
    printf("%s cannot be read or written\n", path);
    return false;
}

int sim_command_table(const struct sim_arguments *arguments)
{
    struct sim_features *features = memory_allocate_zero(sizeof(*features));
    bool good = sim_features_load(features, arguments->table_file);

    if (!good) printf("%s is no table\n", arguments->table_file);
    if (good) sim_features_print(features, stdout);
    if (good && arguments->require_table) good = sim_features_empty(features, stdout) == 0;
    memory_free(features);
    return good ? 0 : 1;
}

/* Claims about how much was simulated, kept by who makes them. */
static bool enough_happened(const struct sim_arguments *arguments,
                            const struct sim_campaign_result *result)
{
    double hours = (double)result->busy.time_us / SIM_HOUR_US;
    bool members = result->membership_changes >= arguments->require_members;
    bool bank = hours >= (double)arguments->require_bank_hours;

    if (!members)
        printf("%" PRIu64 " changes of members, fewer than %" PRIu64 "\n",
               result->membership_changes, arguments->require_members);
    if (!bank)
        printf("%.2f simulated hours of the bank, fewer than %" PRIu64 ": more seeds are needed\n",
               hours, arguments->require_bank_hours);
    return members && bank;
}

int sim_command_campaign(const struct sim_arguments *arguments)
{
    struct sim_campaign_result *result = memory_allocate_zero(sizeof(*result));
    struct sim_campaign campaign = {.first_seed = arguments->first_seed,
                                    .seeds = arguments->seeds,
                                    .jobs = (uint32_t)arguments->jobs,
                                    .scenario = arguments->scenario,
                                    .planted = arguments->planted,
                                    .mesh = arguments->mesh,
                                    .keep = arguments->keep,
                                    .processor_seconds_max = PROCESSOR_SECONDS_MAX};

    sim_campaign_run(&campaign, result);
    bool good = result->failed == 0 && few_invalid(result);
    bool failed = result->failed > 0;
    struct sim_campaign_result *first = memory_allocate(sizeof(*first));
    *first = *result;
    if (arguments->scenario_seeds)
        good &= run_all_scenarios(arguments, arguments->scenario_seeds, result);
    sim_campaign_print(result, stdout);
    if (failed) sim_campaign_print_failure(&campaign, first, stdout);
    if (arguments->table_file) good &= add_to_table(&result->features, arguments->table_file);
    if (arguments->table) sim_features_print(&result->features, stdout);
    if (arguments->require_table) good &= sim_features_empty(&result->features, stdout) == 0;
    if (arguments->require_sometimes)
        good &= all_reached(arguments->require_sometimes, &result->reached);
    good &= enough_happened(arguments, result);
    bool ordinary = !arguments->planted && !arguments->scenario && !arguments->no_canary;
    if (ordinary) {
        print_planted_head();
        good &= find_planted(sim_planted_find(SIM_CANARY), CANARY_JOBS);
    }
    memory_free(first);
    memory_free(result);
    return good ? 0 : 1;
}

int sim_command_kept(const struct sim_arguments *arguments)
{
    static const struct {
        uint64_t seed;
        bool mesh;
        const char *story;
    } kept[] = {
#define KEPT_SEED(seed, story) {seed, false, story},
#define KEPT_SEED_MESH(seed, story) {seed, true, story},
#include "sim/kept_seeds.def"
#undef KEPT_SEED
#undef KEPT_SEED_MESH
    };
    struct sim_campaign_result *result = memory_allocate_zero(sizeof(*result));
    size_t failed = 0;

    for (size_t i = 0; i < ARRAY_COUNT(kept); i++) {
        struct sim_campaign campaign = {.first_seed = kept[i].seed,
                                        .seeds = 1,
                                        .jobs = 1,
                                        .mesh = kept[i].mesh,
                                        .quiet = true,
                                        .keep = arguments->keep,
                                        .processor_seconds_max = PROCESSOR_SECONDS_MAX};
        sim_campaign_run(&campaign, result);
        const char *verdict = result->failed ? "FAILED" : result->invalid ? "INVALID" : "ok";
        printf("%-8" PRIu64 "%s %s: %s\n", kept[i].seed, kept[i].mesh ? " --mesh" : "", verdict,
               kept[i].story);
        if (result->failed) sim_campaign_print_failure(&campaign, result, stdout);
        failed += result->failed > 0 || result->invalid > 0;
    }
    printf("%zu kept seeds, %zu failed\n", ARRAY_COUNT(kept), failed);
    memory_free(result);
    return failed ? 1 : 0;
}

int sim_command_scenarios(const struct sim_arguments *arguments)
{
    uint64_t seeds = arguments->seeds ? arguments->seeds : SCENARIO_SEEDS;

    return run_all_scenarios(arguments, seeds, NULL) ? 0 : 1;
}

int sim_command_sweep(const struct sim_arguments *arguments)
{
    bool all = strcmp(arguments->sweep, "all") == 0;
    struct sim_sweep_options options = {.scenario = all ? NULL : arguments->sweep,
                                        .seed = arguments->has_seed ? arguments->seed : 1,
                                        .stride =
                                            arguments->stride ? arguments->stride : STRIDE_DEFAULT,
                                        .jobs = (uint32_t)arguments->jobs,
                                        .processor_seconds_max = PROCESSOR_SECONDS_MAX};

    if (!all && sim_scenario_find(options.scenario) == NULL) {
        fprintf(stderr, "holon-sim: no scenario %s; see --list\n", options.scenario);
        return 2;
    }
    return sim_sweep_run(&options, NULL) ? 0 : 1;
}

int sim_command_cost(const struct sim_arguments *arguments)
{
    return sim_cost_print(arguments->has_seed ? arguments->seed : 1, stdout);
}

int sim_command_list(void)
{
    size_t count;
    const struct sim_scenario *scenarios = sim_scenarios_all(&count);

    printf("scenarios:\n");
    for (size_t i = 0; i < count; i++)
        printf("  %-26s %-10s %s\n", scenarios[i].name, scenarios[i].source, scenarios[i].what);
    const struct sim_planted *planted = sim_planted_all(&count);
    printf("planted bugs:\n");
    for (size_t i = 0; i < count; i++)
        printf("  %-26s %s (%s)\n", planted[i].name, planted[i].what,
               planted[i].scenario ? planted[i].scenario : "any seed");
    return 0;
}
