#include "unit.h"

#include "partition/governor.h"

enum { MS = 1000, SECOND = 1000 * MS, ALONE = 400, HASH = 400 };

/* A machine on which light entries take longer the more heavy work was done lately: a row makes
 * them cost_us longer, half of that a millisecond later, and so on. */
struct machine {
    struct governor governor;
    uint64_t now;
    uint64_t load;
    uint64_t requests, chores, lights, lates;
    uint64_t cost_us;     /* of a row */
    uint64_t noise_each;  /* so many light entries meet something else, */
    uint64_t noise_until; /* and all do until then */
    bool chores_wait;
};

static void machine_start(struct machine *machine)
{
    *machine = (struct machine){.now = 77 * SECOND, .cost_us = 5};
    governor_init(&machine->governor, GOVERNOR_RATE_LEAST, machine->now);
}

static void work(struct machine *machine, enum governor_kind kind, uint64_t cost)
{
    machine->load += cost * machine->cost_us;
    governor_ran(&machine->governor, kind, cost, false, machine->now);
}

/* As much heavy work as may be, at most `requests` hashes a millisecond; a light entry each
 * `light_ms` (0: none). */
static void run(struct machine *machine, uint64_t us, unsigned requests, unsigned light_ms)
{
    for (uint64_t end = machine->now + us; machine->now < end; machine->now += MS) {
        struct governor *governor = &machine->governor;
        machine->load /= 2;
        for (unsigned i = 0; i < requests; i++) {
            if (!governor_may(governor, GOVERNOR_REQUEST, true, machine->now)) break;
            work(machine, GOVERNOR_REQUEST, HASH);
            machine->requests++;
        }
        bool chore = machine->chores_wait && machine->now / MS % 4 == 0;
        if (chore && governor_may(governor, GOVERNOR_CHORE, requests > 0, machine->now)) {
            work(machine, GOVERNOR_CHORE, HASH);
            machine->chores++;
        }
        if (light_ms == 0 || machine->now / MS % light_ms != 0) continue;
        uint64_t took = ALONE + (machine->load < 50 * MS ? machine->load : 50 * MS);
        machine->lights++;
        if (machine->noise_each && machine->lights % machine->noise_each == 0) took += 3 * ALONE;
        if (machine->now < machine->noise_until) took += 50 * ALONE;
        governor_light(governor, machine->now - took, machine->now);
        machine->lates += took > GOVERNOR_LATE_FACTOR * ALONE + GOVERNOR_LATE_SLACK_US;
    }
}

static void test_nothing_waits_where_nobody_is_to_be_spared(void **state)
{
    struct machine machine;
    (void)state;
    machine_start(&machine);

    run(&machine, 5 * SECOND, 3, 0);
    assert_int_equal(machine.requests, 15000);
    run(&machine, 5 * SECOND, 3, 1000); /* a light one a second is no traffic */
    assert_int_equal(machine.requests, 30000);
}

static void test_few_light_entries_are_late_beside_as_much_heavy_work_as_there_can_be(void **state)
{
    struct machine machine;
    (void)state;
    machine_start(&machine);

    run(&machine, 5 * SECOND, 0, 5);
    assert_in_range(machine.governor.alone_us, ALONE, ALONE + ALONE / 8);
    run(&machine, 10 * SECOND, 2, 5); /* two hashes a millisecond would take four times of it */
    machine.lights = machine.lates = machine.requests = 0;
    run(&machine, 60 * SECOND, 2, 5);
    assert_in_range(100 * machine.lates / machine.lights, 1, 12);
    assert_in_range(machine.governor.alone_us, ALONE, ALONE + ALONE / 4);
    assert_true(machine.requests > 60 * GOVERNOR_RATE_LEAST / HASH);
}

static void test_what_a_light_entry_takes_is_learned_beside_heavy_work(void **state)
{
    struct machine machine;
    (void)state;
    machine_start(&machine);

    run(&machine, 60 * SECOND, 2, 5);
    assert_in_range(machine.governor.alone_us, ALONE, ALONE + ALONE / 4);
}

/* Simulated seed 5 of heavy_and_light: what slowed down the first quiet window was taken for what
 * light ones take, so that none was ever late. */
static void test_a_first_window_that_something_disturbs_is_not_believed(void **state)
{
    struct machine machine;
    (void)state;
    machine_start(&machine);

    machine.noise_until = machine.now + SECOND;
    run(&machine, SECOND, 0, 5); /* none of them is beside heavy work */
    run(&machine, 10 * SECOND, 2, 5);
    assert_in_range(machine.governor.alone_us, ALONE, ALONE + ALONE / 4);
    machine.lights = machine.lates = 0;
    run(&machine, 20 * SECOND, 2, 5);
    assert_in_range(100 * machine.lates / machine.lights, 1, 20);
}

static void test_heavy_work_has_its_least_share_however_late_all_are(void **state)
{
    struct machine machine;
    (void)state;
    machine_start(&machine);

    run(&machine, 5 * SECOND, 0, 5);
    machine.cost_us = 1000; /* a hash is felt for 10 ms */
    run(&machine, 10 * SECOND, 2, 5);
    machine.requests = 0;
    run(&machine, 100 * SECOND, 2, 5);
    assert_in_range(machine.requests, 95 * GOVERNOR_RATE_LEAST / HASH,
                    103 * GOVERNOR_RATE_LEAST / HASH);
}

static void test_full_speed_comes_back_when_it_costs_nobody_anything(void **state)
{
    struct machine machine;
    (void)state;
    machine_start(&machine);

    run(&machine, 5 * SECOND, 0, 5);
    machine.cost_us = 100;
    run(&machine, 10 * SECOND, 2, 5);
    assert_int_equal(machine.governor.rate, GOVERNOR_RATE_LEAST);
    machine.cost_us = 0;
    run(&machine, 30 * SECOND, 2, 5);
    machine.requests = 0;
    run(&machine, 10 * SECOND, 2, 5);
    assert_true(machine.requests >= 19500); /* all but the quiet windows */
}

static void test_full_speed_comes_back_when_light_entries_end(void **state)
{
    struct machine machine;
    (void)state;
    machine_start(&machine);

    run(&machine, 5 * SECOND, 0, 5);
    machine.cost_us = 100;
    run(&machine, 10 * SECOND, 2, 5);
    run(&machine, 1 * SECOND, 2, 0);
    machine.requests = 0;
    run(&machine, 1 * SECOND, 2, 0);
    assert_int_equal(machine.requests, 2000);
}

static void test_a_slower_machine_is_learned_and_no_reason_to_hold_back_for_ever(void **state)
{
    struct machine machine;
    (void)state;
    machine_start(&machine);

    run(&machine, 5 * SECOND, 0, 5);
    machine.governor.alone_us = ALONE / 4; /* it was four times as fast */
    machine.cost_us = 0;
    run(&machine, 90 * SECOND, 2, 5);
    machine.requests = 0;
    run(&machine, 10 * SECOND, 2, 5);
    assert_true(machine.requests >= 19500);
}

static void test_what_is_late_without_heavy_work_does_not_hold_it_back(void **state)
{
    struct machine machine;
    (void)state;
    machine_start(&machine);
    machine.noise_each = 7;

    run(&machine, 20 * SECOND, 0, 5);
    machine.cost_us = 0;
    run(&machine, 60 * SECOND, 2, 5);
    machine.requests = 0;
    run(&machine, 10 * SECOND, 2, 5);
    assert_true(machine.requests >= 19000);
}

static void test_chores_have_two_thirds_beside_requests(void **state)
{
    struct machine machine;
    (void)state;
    machine_start(&machine);
    machine.chores_wait = true;

    run(&machine, 5 * SECOND, 0, 5);
    machine.cost_us = 1000;
    run(&machine, 10 * SECOND, 2, 5);
    machine.requests = machine.chores = 0;
    run(&machine, 100 * SECOND, 2, 5);
    assert_in_range(machine.requests * 100 / (machine.requests + machine.chores), 30, 37);
    machine.chores_wait = false; /* ... and requests all of it without them */
    machine.requests = 0;
    run(&machine, 100 * SECOND, 2, 5);
    assert_true(machine.requests >= 95 * GOVERNOR_RATE_LEAST / HASH);
}

static void test_what_was_overdue_is_not_paid_by_others(void **state)
{
    struct machine machine;
    (void)state;
    machine_start(&machine);
    run(&machine, 5 * SECOND, 0, 5);
    machine.governor.rate = GOVERNOR_RATE_LEAST;
    run(&machine, 1 * SECOND, 0, 5);

    int64_t tokens = machine.governor.tokens;
    governor_ran(&machine.governor, GOVERNOR_REQUEST, 100000, true, machine.now);
    assert_int_equal(machine.governor.tokens, tokens);
    governor_ran(&machine.governor, GOVERNOR_REQUEST, 100, false, machine.now);
    assert_int_equal(machine.governor.tokens, tokens - 100 * SECOND);
}

static void test_entries_that_take_hardly_any_time_can_be_late(void **state)
{
    struct governor governor;
    uint64_t now = 1 * SECOND + 200 * MS;
    (void)state;
    governor_init(&governor, GOVERNOR_RATE_LEAST, now);
    governor.alone_us = 10;

    for (int i = 0; i < 4; i++)
        governor_light(&governor, now - 200, now);
    assert_int_equal(governor.window_late, 3); /* the first one begins the window */
}

static void test_where_there_is_room_hardly_anything_waits_for_a_quiet_window(void **state)
{
    struct machine machine;
    (void)state;
    machine_start(&machine);
    machine.cost_us = 0;

    run(&machine, 20 * SECOND, 2, 5);
    assert_in_range(machine.governor.alone_us, ALONE, ALONE + ALONE / 8);
    machine.requests = 0;
    run(&machine, 60 * SECOND, 2, 5);
    assert_in_range(machine.requests, 2 * (60000 - 150), 2 * 60000);
}

static void test_few_light_entries_teach_as_much_in_more_windows(void **state)
{
    struct machine machine;
    (void)state;
    machine_start(&machine);

    run(&machine, 60 * SECOND, 2, 70); /* fourteen a second */
    assert_in_range(machine.governor.alone_us, ALONE, ALONE + ALONE / 4);
}

static void test_what_took_as_long_as_a_process_stood_still_teaches_nothing(void **state)
{
    struct governor governor;
    uint64_t now = 900 * SECOND;
    (void)state;
    governor_init(&governor, GOVERNOR_RATE_LEAST, now);

    for (int i = 0; i < 1000; i++, now += MS)
        governor_light(&governor, now - (i == 500 ? 600 * SECOND : ALONE), now);
    assert_in_range(governor.alone_us, ALONE, 2 * ALONE);
}

static void test_the_pause_is_until_there_are_tokens(void **state)
{
    struct governor governor;
    (void)state;
    governor_init(&governor, GOVERNOR_RATE_LEAST, 1 * SECOND);
    governor.alone_us = ALONE;
    governor.rate = 10000;
    governor.quiet_period = GOVERNOR_QUIET_PERIOD_US;
    governor.traffic_at = 1 * SECOND;

    governor.tokens = -50 * SECOND; /* of cost */
    assert_in_range(governor_pause_us(&governor, 1 * SECOND), 5000, 5001);
    governor.tokens = 0;
    assert_in_range(governor_pause_us(&governor, 1 * SECOND), 1, 1000);
    governor.tokens = -5000 * (int64_t)SECOND;
    assert_in_range(governor_pause_us(&governor, 1 * SECOND), 10 * MS, 20 * MS);
    governor.tokens = 1;
    governor.traffic_at = 5 * SECOND;
    assert_in_range(governor_pause_us(&governor, 5 * SECOND + 95 * MS), 5 * MS, 5 * MS);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_nothing_waits_where_nobody_is_to_be_spared),
        cmocka_unit_test(test_few_light_entries_are_late_beside_as_much_heavy_work_as_there_can_be),
        cmocka_unit_test(test_what_a_light_entry_takes_is_learned_beside_heavy_work),
        cmocka_unit_test(test_a_first_window_that_something_disturbs_is_not_believed),
        cmocka_unit_test(test_heavy_work_has_its_least_share_however_late_all_are),
        cmocka_unit_test(test_full_speed_comes_back_when_it_costs_nobody_anything),
        cmocka_unit_test(test_full_speed_comes_back_when_light_entries_end),
        cmocka_unit_test(test_a_slower_machine_is_learned_and_no_reason_to_hold_back_for_ever),
        cmocka_unit_test(test_what_is_late_without_heavy_work_does_not_hold_it_back),
        cmocka_unit_test(test_chores_have_two_thirds_beside_requests),
        cmocka_unit_test(test_what_was_overdue_is_not_paid_by_others),
        cmocka_unit_test(test_entries_that_take_hardly_any_time_can_be_late),
        cmocka_unit_test(test_where_there_is_room_hardly_anything_waits_for_a_quiet_window),
        cmocka_unit_test(test_few_light_entries_teach_as_much_in_more_windows),
        cmocka_unit_test(test_what_took_as_long_as_a_process_stood_still_teaches_nothing),
        cmocka_unit_test(test_the_pause_is_until_there_are_tokens),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
