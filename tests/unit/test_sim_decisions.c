/* Runs that are kept: what is recorded is what happens again, and less of it still fails. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/memory.h"
#include "sim/sim_feature.h"
#include "sim/sim_isolated.h"
#include "sim/sim_minimise.h"
#include "sim/sim_sweep.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { PATH_SIZE = 64, FAILING_SEEDS_MAX = 60 };
static const char planted[] = "release_before_commit";

static void temporary(char path[PATH_SIZE])
{
    snprintf(path, PATH_SIZE, "/tmp/holon-decisions-XXXXXX");
    int file = mkstemp(path);
    assert_true(file >= 0);
    close(file);
}

static void test_a_file_holds_all_that_was_decided(void **state)
{
    struct sim_decisions wrote, read;
    char path[PATH_SIZE], text[200];

    temporary(path);
    sim_decisions_init(&wrote);
    wrote.seed = 17;
    snprintf(wrote.planted, sizeof(wrote.planted), "%s", planted);
    for (uint32_t i = 0; i < sim_plan_field_count(); i++)
        sim_plan_field_set(&wrote.plan, i, i % 2);
    for (uint32_t i = 0; i < SIM_CHAOS_COUNT; i++)
        sim_decisions_add(&wrote, &(struct sim_strike){.time = i * 1000,
                                                       .random = UINT64_MAX - i,
                                                       .kind = (uint8_t)i,
                                                       .percent = (uint8_t)(100 - i)});
    assert_true(sim_decisions_write(&wrote, path));
    assert_true(sim_decisions_read(&read, path, text, sizeof(text)));
    assert_int_equal(read.seed, 17);
    assert_string_equal(read.planted, planted);
    for (uint32_t i = 0; i < sim_plan_field_count(); i++)
        assert_int_equal(sim_plan_field_get(&read.plan, i), i % 2);
    assert_int_equal(read.strike_count, SIM_CHAOS_COUNT);
    for (uint32_t i = 0; i < SIM_CHAOS_COUNT; i++) {
        assert_int_equal(read.strikes[i].time, wrote.strikes[i].time);
        assert_true(read.strikes[i].random == wrote.strikes[i].random);
        assert_int_equal(read.strikes[i].kind, wrote.strikes[i].kind);
        assert_int_equal(read.strikes[i].percent, wrote.strikes[i].percent);
    }
    sim_decisions_free(&read);
    sim_decisions_free(&wrote);
    remove(path);
}

static void test_a_file_with_a_line_of_something_else_is_refused(void **state)
{
    struct sim_decisions read;
    char path[PATH_SIZE], text[200];

    temporary(path);
    FILE *file = fopen(path, "w");
    fprintf(file, "holon-sim-decisions 1\nseed 3\nstrike 5 no-such-fault 7 100\n");
    fclose(file);
    assert_false(sim_decisions_read(&read, path, text, sizeof(text)));
    assert_non_null(strstr(text, ":3:"));
    remove(path);
}

static uint64_t failing_seed(struct sim_result *result)
{
    for (uint64_t seed = 1; seed <= FAILING_SEEDS_MAX; seed++) {
        struct sim_run_options options = {.seed = seed, .planted = planted};
        sim_isolated_run(&options, result);
        if (result->failed) return seed;
    }
    fail_msg("the canary was not seen");
    return 0;
}

static void test_a_minimised_run_is_smaller_and_fails_again(void **state)
{
    struct sim_result *result = memory_allocate_zero(sizeof(*result));
    struct sim_decisions whole, small;
    char path[PATH_SIZE], text[200];
    struct sim_run_options options = {.seed = failing_seed(result), .planted = planted};

    temporary(path);
    assert_true(sim_isolated_record(&options, path));
    assert_true(sim_decisions_read(&whole, path, text, sizeof(text)));
    assert_true(whole.strike_count > 0);
    struct sim_minimise minimise = {
        .from = &whole, .planted = planted, .path = path, .runs_max = 60};
    assert_int_equal(sim_minimise_run(&minimise), 0);
    assert_true(sim_decisions_read(&small, path, text, sizeof(text)));
    assert_true(small.strike_count < whole.strike_count);
    struct sim_run_options again = {.replay = &small, .planted = planted};
    sim_isolated_run(&again, result);
    assert_true(result->failed);
    /* Without the bug the same decisions are harmless: it is not the replay that fails. */
    again.planted = NULL;
    sim_isolated_run(&again, result);
    if (result->failed) print_message("%s\n", result->text);
    assert_false(result->failed);
    sim_decisions_free(&whole);
    sim_decisions_free(&small);
    memory_free(result);
    remove(path);
}

static void test_a_sweep_meets_each_effect_again(void **state)
{
    struct sim_result *result = memory_allocate_zero(sizeof(*result));
    struct sim_run_options options = {.seed = 1, .scenario = "sweep_write"};

    sim_isolated_run(&options, result);
    assert_false(result->failed);
    uint64_t effects = result->sweep_effects;
    assert_true(effects > 100);
    const uint64_t targets[] = {1, effects / 2, effects};
    for (unsigned mode = SIM_SWEEP_KILL; mode <= SIM_SWEEP_TORN; mode++) {
        for (size_t i = 0; i < 3; i++) {
            options.sweep_mode = (enum sim_sweep_mode)mode;
            options.sweep_target = targets[i];
            sim_isolated_run(&options, result);
            if (result->failed) print_message("%s\n", result->text);
            assert_false(result->failed);
            assert_int_equal(result->sweep_crashes, 1);
        }
    }
    memory_free(result);
}

static void test_a_fault_and_a_feature_meet_within_a_window_only(void **state)
{
    struct sim sim;

    sim_init(&sim, 1);
    sim_fault_hit(&sim, SIM_FAULT_KILL);
    sim.now += SIM_FEATURE_WINDOW_US / 2;
    sim_feature_seen(&sim, SIM_FEATURE_FLUSH);
    assert_int_equal(sim.features->cells[SIM_FAULT_KILL][SIM_FEATURE_FLUSH], 1);
    sim.now += SIM_FEATURE_WINDOW_US + 1;
    sim_fault_hit(&sim, SIM_FAULT_PAUSE);
    sim_feature_seen(&sim, SIM_FEATURE_SNAPSHOT);
    assert_int_equal(sim.features->cells[SIM_FAULT_PAUSE][SIM_FEATURE_FLUSH], 0);
    assert_int_equal(sim.features->cells[SIM_FAULT_KILL][SIM_FEATURE_SNAPSHOT], 0);
    assert_int_equal(sim.features->cells[SIM_FAULT_PAUSE][SIM_FEATURE_SNAPSHOT], 1);
    sim_free(&sim);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_file_holds_all_that_was_decided),
        cmocka_unit_test(test_a_file_with_a_line_of_something_else_is_refused),
        cmocka_unit_test(test_a_minimised_run_is_smaller_and_fails_again),
        cmocka_unit_test(test_a_sweep_meets_each_effect_again),
        cmocka_unit_test(test_a_fault_and_a_feature_meet_within_a_window_only),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
