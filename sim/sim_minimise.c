#include "sim/sim_minimise.h"

#include "base/memory.h"
#include "sim/sim_isolated.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum { RUNS_MAX_DEFAULT = 600, KIND_SIZE_MAX = 24, CHAOS_STEP_US = 500 * 1000 };

struct minimiser {
    const struct sim_minimise *options;
    struct sim_decisions best, trial;
    struct sim_result *result;
    char kind[KIND_SIZE_MAX]; /* of the violation */
    char text[SIM_VIOLATION_SIZE_MAX];
    uint32_t runs, runs_max;
};

/* The rule that is broken ("R-4", "V-2"), or how the text begins. */
static void kind_of(const char *text, char kind[KIND_SIZE_MAX])
{
    size_t size = strcspn(text, ":");

    if (size >= KIND_SIZE_MAX) size = KIND_SIZE_MAX - 1;
    for (size_t i = 0; i < size; i++) /* "client 3 got" and "client 4 got" are of one kind */
        kind[i] = text[i] >= '0' && text[i] <= '9' && i > 0 && text[i - 1] == ' ' ? '#' : text[i];
    kind[size] = 0;
}

/* Runs the trial; when it fails in the same way, it is the best from now on. */
static bool still_fails(struct minimiser *minimiser)
{
    struct sim_run_options options = {.seed = minimiser->trial.seed,
                                      .planted = minimiser->options->planted,
                                      .replay = &minimiser->trial,
                                      .processor_seconds_max =
                                          minimiser->options->processor_seconds_max};
    char kind[KIND_SIZE_MAX];

    if (minimiser->runs >= minimiser->runs_max) return false;
    minimiser->runs++;
    sim_isolated_run(&options, minimiser->result);
    if (!minimiser->result->failed) return false;
    kind_of(minimiser->result->text, kind);
    if (strcmp(kind, minimiser->kind) != 0) return false;
    memcpy(minimiser->text, minimiser->result->text, sizeof(minimiser->text));
    sim_decisions_copy(&minimiser->best, &minimiser->trial);
    return true;
}

static void begin_trial(struct minimiser *minimiser)
{
    sim_decisions_copy(&minimiser->trial, &minimiser->best);
}

static void cut_strikes(struct sim_decisions *decisions, uint32_t from, uint32_t count)
{
    memmove(decisions->strikes + from, decisions->strikes + from + count,
            (decisions->strike_count - from - count) * sizeof(*decisions->strikes));
    decisions->strike_count -= count;
}

/* All strikes, halves, quarters ... single ones. */
static bool remove_strikes(struct minimiser *minimiser)
{
    bool any = false;

    for (uint32_t size = minimiser->best.strike_count; size > 0; size /= 2) {
        for (uint32_t from = 0; from < minimiser->best.strike_count;) {
            uint32_t left = minimiser->best.strike_count - from;
            begin_trial(minimiser);
            cut_strikes(&minimiser->trial, from, size < left ? size : left);
            if (still_fails(minimiser))
                any = true;
            else
                from += size;
        }
    }
    return any;
}

static bool shorten_outages(struct minimiser *minimiser)
{
    static const uint8_t percents[] = {1, 10, 50};
    bool any = false;

    for (uint32_t i = 0; i < minimiser->best.strike_count; i++) {
        for (size_t p = 0; p < sizeof(percents); p++) {
            if (minimiser->best.strikes[i].percent <= percents[p]) break;
            begin_trial(minimiser);
            minimiser->trial.strikes[i].percent = percents[p];
            if (!still_fails(minimiser)) continue;
            any = true;
            break;
        }
    }
    return any;
}

static bool simplify_plan(struct minimiser *minimiser)
{
    bool any = false;
    uint64_t least;

    for (uint32_t field = 0; field < sim_plan_field_count(); field++) {
        if (!sim_plan_field_least(field, &least)) continue;
        for (;;) { /* the least, or half of the way there */
            uint64_t now = sim_plan_field_get(&minimiser->best.plan, field);
            if (now <= least) break;
            begin_trial(minimiser);
            sim_plan_field_set(&minimiser->trial.plan, field, least);
            if (still_fails(minimiser)) {
                any = true;
                break;
            }
            uint64_t half = least + (now - least) / 2;
            if (half == least) break;
            begin_trial(minimiser);
            sim_plan_field_set(&minimiser->trial.plan, field, half);
            if (!still_fails(minimiser)) break;
            any = true;
        }
    }
    return any;
}

/* The chaos ends sooner: after the last strike, or by halves. */
static void shorten_chaos(struct minimiser *minimiser)
{
    while (minimiser->best.plan.chaos_time > CHAOS_STEP_US) {
        begin_trial(minimiser);
        minimiser->trial.plan.chaos_time = minimiser->best.plan.chaos_time / 2;
        if (!still_fails(minimiser)) break;
    }
}

static bool record_first(struct minimiser *minimiser)
{
    const struct sim_minimise *options = minimiser->options;
    struct sim_run_options run = {.seed = options->seed,
                                  .planted = options->planted,
                                  .processor_seconds_max = options->processor_seconds_max};
    char text[200];

    if (options->from) {
        sim_decisions_copy(&minimiser->best, options->from);
        return true;
    }
    if (sim_isolated_record(&run, options->path) &&
        sim_decisions_read(&minimiser->best, options->path, text, sizeof(text)))
        return true;
    printf("seed %" PRIu64 ": nothing was recorded\n", options->seed);
    return false;
}

static int minimise(struct minimiser *minimiser)
{
    const struct sim_minimise *options = minimiser->options;

    if (!record_first(minimiser)) return 1;
    struct sim_run_options run = {.seed = minimiser->best.seed,
                                  .planted = options->planted,
                                  .replay = &minimiser->best,
                                  .processor_seconds_max = options->processor_seconds_max};
    sim_isolated_run(&run, minimiser->result);
    if (!minimiser->result->failed) {
        printf("the recorded run does not fail when it is replayed\n");
        return 1;
    }
    kind_of(minimiser->result->text, minimiser->kind);
    memcpy(minimiser->text, minimiser->result->text, sizeof(minimiser->text));
    printf("%u strikes, fails with %s\n", minimiser->best.strike_count, minimiser->text);
    for (bool again = true; again && minimiser->runs < minimiser->runs_max;) {
        again = remove_strikes(minimiser);
        again |= shorten_outages(minimiser);
        again |= simplify_plan(minimiser);
        shorten_chaos(minimiser);
        printf("%u runs: %u strikes left, %u clients, %" PRIu64 " ms of faults\n", minimiser->runs,
               minimiser->best.strike_count, minimiser->best.plan.workload.clients,
               minimiser->best.plan.chaos_time / 1000);
        fflush(stdout);
    }
    if (!sim_decisions_write(&minimiser->best, options->path)) {
        printf("%s cannot be written\n", options->path);
        return 1;
    }
    printf("still fails with %s\nrepeat: holon-sim --decisions %s --trace\n", minimiser->text,
           options->path);
    return 0;
}

int sim_minimise_run(const struct sim_minimise *options)
{
    struct minimiser minimiser = {.options = options, .runs_max = options->runs_max};

    if (minimiser.runs_max == 0) minimiser.runs_max = RUNS_MAX_DEFAULT;
    minimiser.result = memory_allocate_zero(sizeof(*minimiser.result));
    int code = minimise(&minimiser);
    sim_decisions_free(&minimiser.best);
    sim_decisions_free(&minimiser.trial);
    memory_free(minimiser.result);
    return code;
}
