/* holon-sim - a whole cluster in one process, one thread, virtual time, from one seed.
 * See docs/developers/simulator.md. */
#include "base/assert.h"
#include "base/memory.h"
#include "sim/planted.h"
#include "sim/scenarios/scenarios.h"
#include "sim/sim_campaign.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum { REAL_SECONDS_MAX = 120, CANARY_JOBS = 2 };

static const char usage[] =
    "usage: holon-sim --seed N [--trace] [--scenario NAME] [--planted NAME]\n"
    "       holon-sim --seeds N [--first-seed M] [--jobs J] [--scenario NAME] [--planted NAME]\n"
    "                 [--require-sometimes FILE] [--no-canary]\n"
    "       holon-sim --planted-all [--jobs J]    each planted bug must be found\n"
    "       holon-sim --scenarios [--seeds N]     every scenario, over N seeds each (20)\n"
    "       holon-sim --twice N                   seed N twice: the traces must be equal\n"
    "       holon-sim --list                      scenarios and planted bugs\n";

struct arguments {
    uint64_t seed, seeds, first_seed, twice;
    bool has_seed, has_twice, trace, list, planted_all, scenarios, no_canary;
    uint32_t jobs;
    const char *scenario, *planted, *require_sometimes;
};

static int run_one(const struct arguments *arguments)
{
    struct sim_result *result = memory_allocate_zero(sizeof(*result));
    struct sim_run_options options = {.seed = arguments->seed,
                                      .scenario = arguments->scenario,
                                      .planted = arguments->planted,
                                      .trace = arguments->trace ? stdout : NULL,
                                      .print_plan = true};

    sim_run(&options, result);
    sim_result_print(&options, result, stdout);
    if (result->failed) printf("VIOLATION: %s\n", result->text);
    int code = result->failed ? 1 : 0;
    memory_free(result);
    return code;
}

/* D-1 */
static int run_twice(const struct arguments *arguments)
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
                                    .real_seconds_max = REAL_SECONDS_MAX};

    sim_campaign_run(&campaign, result);
    bool found = result->failed > 0;
    char first_line[120];
    snprintf(first_line, sizeof(first_line), "%.*s", (int)strcspn(result->text, "\n"),
             result->text);
    printf("%-26s %s after %" PRIu64 " seeds in %.1f s%s%s\n", planted->name,
           found ? "found" : "NOT FOUND", result->seeds, (double)result->real_us / 1e6,
           found ? ": " : "", first_line);
    fflush(stdout);
    memory_free(result);
    return found;
}

static int run_planted_all(const struct arguments *arguments)
{
    size_t count, missed = 0;
    const struct sim_planted *planted = sim_planted_all(&count);

    for (size_t i = 0; i < count; i++)
        missed += !find_planted(&planted[i], arguments->jobs);
    printf("%zu planted bugs, %zu not found\n", count, missed);
    return missed ? 1 : 0;
}

/* Each line of the file is a SOMETIMES tag that must have been reached. */
static bool all_reached(const char *path, const struct sim_tags *reached)
{
    char line[SIM_TAG_SIZE_MAX + 2];
    FILE *file = fopen(path, "r");
    bool all = true;

    if (file == NULL) {
        printf("%s cannot be read\n", path);
        return false;
    }
    while (fgets(line, sizeof(line), file)) {
        line[strcspn(line, "\n")] = 0;
        if (line[0] == 0 || line[0] == '#' || sim_tags_get(reached, line)) continue;
        printf("never reached: %s\n", line);
        all = false;
    }
    fclose(file);
    return all;
}

static int run_campaign(const struct arguments *arguments)
{
    struct sim_campaign_result *result = memory_allocate_zero(sizeof(*result));
    struct sim_campaign campaign = {.first_seed = arguments->first_seed,
                                    .seeds = arguments->seeds,
                                    .jobs = arguments->jobs,
                                    .scenario = arguments->scenario,
                                    .planted = arguments->planted,
                                    .real_seconds_max = REAL_SECONDS_MAX};

    sim_campaign_run(&campaign, result);
    sim_campaign_print(&campaign, result, stdout);
    bool good = result->failed == 0;
    if (arguments->require_sometimes)
        good &= all_reached(arguments->require_sometimes, &result->reached);
    bool ordinary = !arguments->planted && !arguments->scenario && !arguments->no_canary;
    if (ordinary) good &= find_planted(sim_planted_find(SIM_CANARY), CANARY_JOBS);
    memory_free(result);
    return good ? 0 : 1;
}

static int run_scenarios(const struct arguments *arguments)
{
    struct sim_campaign_result *result = memory_allocate_zero(sizeof(*result));
    size_t count;
    const struct sim_scenario *scenarios = sim_scenarios_all(&count);
    int code = 0;

    for (size_t i = 0; i < count; i++) {
        struct sim_campaign campaign = {.first_seed = 1,
                                        .seeds = arguments->seeds ? arguments->seeds : 20,
                                        .jobs = arguments->jobs,
                                        .scenario = scenarios[i].name,
                                        .real_seconds_max = REAL_SECONDS_MAX};
        sim_campaign_run(&campaign, result);
        printf("%-26s %-8s %s, %" PRIu64 " seeds in %.1f s\n", scenarios[i].name,
               scenarios[i].source, result->failed ? "FAILED" : "ok", result->seeds,
               (double)result->real_us / 1e6);
        fflush(stdout);
        if (result->failed) code = 1;
    }
    memory_free(result);
    return code;
}

static int list(void)
{
    size_t count;
    const struct sim_scenario *scenarios = sim_scenarios_all(&count);

    printf("scenarios:\n");
    for (size_t i = 0; i < count; i++)
        printf("  %-26s %-8s %s\n", scenarios[i].name, scenarios[i].source, scenarios[i].what);
    const struct sim_planted *planted = sim_planted_all(&count);
    printf("planted bugs:\n");
    for (size_t i = 0; i < count; i++)
        printf("  %-26s %s (%s)\n", planted[i].name, planted[i].what,
               planted[i].scenario ? planted[i].scenario : "any seed");
    return 0;
}

static const char *text_after(int argc, char **argv, int *i)
{
    if (*i + 1 >= argc) {
        fprintf(stderr, "holon-sim: %s needs a value\n%s", argv[*i], usage);
        exit(2);
    }
    return argv[++*i];
}

static uint64_t number_after(int argc, char **argv, int *i)
{
    const char *name = argv[*i], *text = text_after(argc, argv, i);
    char *end;
    unsigned long long number = strtoull(text, &end, 10);

    if (*text == 0 || *end != 0) {
        fprintf(stderr, "holon-sim: %s needs a number, not %s\n", name, text);
        exit(2);
    }
    return number;
}

static bool parse_flag(struct arguments *arguments, const char *name)
{
    const struct {
        const char *name;
        bool *flag;
    } flags[] = {{"--trace", &arguments->trace},
                 {"--list", &arguments->list},
                 {"--planted-all", &arguments->planted_all},
                 {"--scenarios", &arguments->scenarios},
                 {"--no-canary", &arguments->no_canary}};

    for (size_t i = 0; i < ARRAY_COUNT(flags); i++) {
        if (strcmp(flags[i].name, name) != 0) continue;
        *flags[i].flag = true;
        return true;
    }
    return false;
}

static void parse(struct arguments *arguments, int argc, char **argv)
{
    for (int i = 1; i < argc; i++) {
        const char *name = argv[i];
        if (parse_flag(arguments, name)) continue;
        if (strcmp(name, "--seed") == 0) {
            arguments->seed = number_after(argc, argv, &i);
            arguments->has_seed = true;
        } else if (strcmp(name, "--twice") == 0) {
            arguments->twice = number_after(argc, argv, &i);
            arguments->has_twice = true;
        } else if (strcmp(name, "--seeds") == 0) {
            arguments->seeds = number_after(argc, argv, &i);
        } else if (strcmp(name, "--first-seed") == 0) {
            arguments->first_seed = number_after(argc, argv, &i);
        } else if (strcmp(name, "--jobs") == 0) {
            arguments->jobs = (uint32_t)number_after(argc, argv, &i);
        } else if (strcmp(name, "--scenario") == 0) {
            arguments->scenario = text_after(argc, argv, &i);
        } else if (strcmp(name, "--planted") == 0) {
            arguments->planted = text_after(argc, argv, &i);
        } else if (strcmp(name, "--require-sometimes") == 0) {
            arguments->require_sometimes = text_after(argc, argv, &i);
        } else {
            fprintf(stderr, "holon-sim: unknown option %s\n%s", name, usage);
            exit(2);
        }
    }
}

int main(int argc, char **argv)
{
    struct arguments arguments = {.first_seed = 1, .jobs = 2};

    parse(&arguments, argc, argv);
    if (arguments.scenario && sim_scenario_find(arguments.scenario) == NULL) {
        fprintf(stderr, "holon-sim: no scenario %s; see --list\n", arguments.scenario);
        return 2;
    }
    if (arguments.planted && sim_planted_find(arguments.planted) == NULL) {
        fprintf(stderr, "holon-sim: no planted bug %s; see --list\n", arguments.planted);
        return 2;
    }
    if (arguments.list) return list();
    if (arguments.planted_all) return run_planted_all(&arguments);
    if (arguments.scenarios) return run_scenarios(&arguments);
    if (arguments.has_twice) return run_twice(&arguments);
    if (arguments.has_seed) return run_one(&arguments);
    if (arguments.seeds) return run_campaign(&arguments);
    fputs(usage, stderr);
    return 2;
}
