/* Whose turn to be flushed it is: stores one after the other, spread over the log's segments. */
#include "unit.h"

#include "partition/flush_turns.h"

enum { STORES = 4, IN_USE = 6 /* segments */ };

struct bench {
    struct flush_turn turns[STORES];
};

static uint32_t next(struct bench *bench, uint64_t active)
{
    return flush_turns_next(bench->turns, STORES, active, IN_USE);
}

/* All have something to flush, and their turns are set as of segment 10. */
static struct bench busy(void)
{
    struct bench bench = {0};
    for (uint32_t i = 0; i < STORES; i++)
        bench.turns[i] = (struct flush_turn){.used = true, .wants = true};
    assert_int_equal(next(&bench, 10), STORES);
    return bench;
}

static void test_turns_are_spread_over_the_segments_in_use(void **state)
{
    struct bench bench = busy();
    for (uint32_t i = 0; i < STORES; i++) {
        assert_true(bench.turns[i].segment > 10 && bench.turns[i].segment <= 10 + IN_USE);
        if (i > 0) assert_true(bench.turns[i].segment > bench.turns[i - 1].segment);
    }
}

static void test_each_has_its_turn_when_the_log_gets_there(void **state)
{
    struct bench bench = busy();
    for (uint32_t i = 0; i < STORES; i++) {
        uint64_t segment = bench.turns[i].segment;
        assert_int_equal(next(&bench, segment - 1), STORES);
        assert_int_equal(next(&bench, segment), i);
        bench.turns[i].segment += IN_USE - 1; /* as flush_start() does */
    }
}

static void test_it_is_nobodys_turn_while_one_is_flushed(void **state)
{
    struct bench bench = busy();
    bench.turns[3].flushing = true;
    assert_int_equal(next(&bench, 100), STORES);
    bench.turns[3].flushing = false;
    assert_int_equal(next(&bench, 100), 0);
}

static void test_one_that_has_nothing_or_is_not_used_has_no_turn(void **state)
{
    struct bench bench = busy();
    bench.turns[0].wants = false;
    bench.turns[1] = (struct flush_turn){.wants = true, .flushing = true};
    assert_int_equal(next(&bench, 100), 2);
    assert_int_equal(bench.turns[1].segment, 0);
}

/* It was: the others waited for it until the log was at its mark. */
static void test_one_that_is_held_lets_the_next_go_first_and_keeps_its_turn(void **state)
{
    struct bench bench = busy();
    bench.turns[0].held = true;
    assert_int_equal(next(&bench, bench.turns[0].segment), STORES);
    assert_int_equal(next(&bench, bench.turns[1].segment), 1);
    bench.turns[0].held = false;
    assert_int_equal(next(&bench, bench.turns[1].segment), 0);
}

/* Else the first ones would be flushed again and again where the log grows fast. */
static void test_who_waits_longest_is_next(void **state)
{
    struct bench bench = busy();
    for (uint32_t i = 0; i < 2 * STORES; i++) {
        assert_int_equal(next(&bench, 100), i % STORES);
        bench.turns[i % STORES].segment = 100 - 2 * STORES + i; /* it is late again at once */
    }
}

static void test_flushes_are_late_when_one_waits_for_another(void **state)
{
    struct bench bench = busy();
    uint64_t first = bench.turns[0].segment;
    assert_false(flush_turns_late(bench.turns, STORES, 100)); /* nothing is flushed: it begins */
    bench.turns[3].flushing = true;
    assert_false(flush_turns_late(bench.turns, STORES, first - 1));
    assert_true(flush_turns_late(bench.turns, STORES, first));
    bench.turns[0].held = true;
    assert_false(flush_turns_late(bench.turns, STORES, first));
    bench.turns[0] = (struct flush_turn){.segment = first, .used = true};
    assert_false(flush_turns_late(bench.turns, STORES, first));
    bench.turns[0] = (struct flush_turn){.segment = first, .wants = true};
    assert_false(flush_turns_late(bench.turns, STORES, first));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_turns_are_spread_over_the_segments_in_use),
        cmocka_unit_test(test_each_has_its_turn_when_the_log_gets_there),
        cmocka_unit_test(test_it_is_nobodys_turn_while_one_is_flushed),
        cmocka_unit_test(test_one_that_has_nothing_or_is_not_used_has_no_turn),
        cmocka_unit_test(test_one_that_is_held_lets_the_next_go_first_and_keeps_its_turn),
        cmocka_unit_test(test_who_waits_longest_is_next),
        cmocka_unit_test(test_flushes_are_late_when_one_waits_for_another),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
