/* Whole runs: the same seed is the same run (D-1), and the checkers see what is planted. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/memory.h"
#include "sim/planted.h"
#include "sim/scenarios/scenarios.h"
#include "sim/sim_run.h"

#include <stdio.h>

static struct sim_result *run(uint64_t seed, const char *scenario, const char *planted)
{
    struct sim_result *result = memory_allocate_zero(sizeof(*result));
    struct sim_run_options options = {.seed = seed, .scenario = scenario, .planted = planted};

    sim_run(&options, result);
    return result;
}

static void test_the_same_seed_is_the_same_run(void **state)
{
    for (uint64_t seed = 1; seed <= 4; seed++) {
        struct sim_result *first = run(seed, NULL, NULL), *second = run(seed, NULL, NULL);
        assert_int_equal(first->events, second->events);
        assert_true(first->trace == second->trace);
        assert_true(first->last_random == second->last_random);
        memory_free(first);
        memory_free(second);
    }
}

static void test_different_seeds_are_different_runs(void **state)
{
    struct sim_result *first = run(1, "speed", NULL), *second = run(2, "speed", NULL);

    assert_true(first->trace != second->trace);
    memory_free(first);
    memory_free(second);
}

static void test_a_run_without_faults_has_no_violation_and_much_traffic(void **state)
{
    struct sim_result *result = run(3, "speed", NULL);

    if (result->failed) print_message("%s\n", result->text);
    assert_false(result->failed);
    assert_true(result->ops_done > 5000);
    assert_int_equal(result->ops_unknown, 0);
    memory_free(result);
}

static void test_the_canary_is_seen(void **state)
{
    bool seen = false;

    for (uint64_t seed = 1; seed <= sim_planted_find(SIM_CANARY)->seeds_max && !seen; seed++) {
        struct sim_result *result = run(seed, NULL, SIM_CANARY);
        seen = result->failed;
        memory_free(result);
    }
    assert_true(seen);
}

static void test_each_planted_bug_names_a_scenario_that_exists(void **state)
{
    size_t count;
    const struct sim_planted *planted = sim_planted_all(&count);

    for (size_t i = 0; i < count; i++)
        if (planted[i].scenario) assert_non_null(sim_scenario_find(planted[i].scenario));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_same_seed_is_the_same_run),
        cmocka_unit_test(test_different_seeds_are_different_runs),
        cmocka_unit_test(test_a_run_without_faults_has_no_violation_and_much_traffic),
        cmocka_unit_test(test_the_canary_is_seen),
        cmocka_unit_test(test_each_planted_bug_names_a_scenario_that_exists),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
