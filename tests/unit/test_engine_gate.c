#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "storage/engine/engine_gate.h"

enum { PACE = 1000 * 1000 }; /* a byte each us */

struct gate_fixture {
    struct world world; /* first */
    uint64_t now, rested;
    struct engine_gate *gate;
};

static uint64_t fixture_now(struct world *world)
{
    return ((struct gate_fixture *)world)->now;
}

static void fixture_rest(struct world *world, uint64_t us)
{
    ((struct gate_fixture *)world)->rested += us;
}

static int setup(void **state)
{
    static const struct world_table table = {.now = fixture_now, .thread_rest = fixture_rest};
    static struct gate_fixture fixture;

    fixture = (struct gate_fixture){.world = {.table = &table}, .now = 5000};
    fixture.gate = engine_gate_create(&fixture.world, PACE);
    *state = &fixture;
    return 0;
}

static int teardown(void **state)
{
    engine_gate_destroy(((struct gate_fixture *)*state)->gate);
    return 0;
}

static void test_a_piece_waits_for_the_time_of_the_one_before(void **state)
{
    struct gate_fixture *fixture = *state;

    assert_int_equal(engine_gate_take(fixture->gate, 300, false), 0);
    assert_int_equal(engine_gate_take(fixture->gate, 10, false), 300);
    fixture->now += 299;
    assert_int_equal(engine_gate_take(fixture->gate, 10, false), 1);
    fixture->now += 1;
    assert_int_equal(engine_gate_take(fixture->gate, 10, false), 0);
    fixture->now += 1000 * 1000; /* what was not used is not saved */
    assert_int_equal(engine_gate_take(fixture->gate, 400, false), 0);
    assert_int_equal(engine_gate_take(fixture->gate, 1, false), 400);
}

static void test_what_must_go_goes_and_is_counted(void **state)
{
    struct gate_fixture *fixture = *state;
    struct engine_gate_statistics statistics;

    assert_int_equal(engine_gate_take(fixture->gate, 300, true), 0); /* it need not have */
    assert_int_equal(engine_gate_take(fixture->gate, 50, true), 0);
    assert_int_equal(engine_gate_take(fixture->gate, 1, false), 50);
    engine_gate_statistics(fixture->gate, &statistics);
    assert_int_equal(statistics.bytes, 350);
    assert_int_equal(statistics.hurried, 1);
    assert_int_equal(statistics.waited_us, 0);
    engine_gate_count(fixture->gate, 7); /* of no matter to the pace */
    assert_int_equal(engine_gate_take(fixture->gate, 1, false), 50);
    engine_gate_statistics(fixture->gate, &statistics);
    assert_int_equal(statistics.bytes, 357);
}

static void test_in_a_hurry_nothing_waits(void **state)
{
    struct gate_fixture *fixture = *state;

    assert_int_equal(engine_gate_take(fixture->gate, 300, false), 0);
    engine_gate_hurry(fixture->gate, true);
    assert_int_equal(engine_gate_take(fixture->gate, 300, false), 0);
    engine_gate_hurry(fixture->gate, false);
    assert_int_equal(engine_gate_take(fixture->gate, 300, false), 300);
}

static void test_rests_are_short_and_counted(void **state)
{
    struct gate_fixture *fixture = *state;
    struct engine_gate_statistics statistics;

    assert_int_equal(engine_gate_rest(fixture->gate, 7), 7);
    assert_int_equal(engine_gate_rest(fixture->gate, UINT64_MAX), WORLD_REST_MOST_US);
    assert_int_equal(fixture->rested, 7 + WORLD_REST_MOST_US);
    engine_gate_statistics(fixture->gate, &statistics);
    assert_int_equal(statistics.waited_us, 7 + WORLD_REST_MOST_US);
}

struct store {
    struct engine engine; /* first */
    uint64_t files;
};

static uint64_t files_of(struct engine *engine)
{
    return ((struct store *)engine)->files;
}

static void test_any_store_that_is_there_may_be_the_crowded_one(void **state)
{
    static const struct engine_table table = {.level0_files = files_of};
    struct gate_fixture *fixture = *state;
    struct store stores[3] = {{{&table}, 0}, {{&table}, 0}, {{&table}, 0}};

    assert_false(engine_gate_is_crowded(fixture->gate));
    for (int i = 0; i < 3; i++)
        engine_gate_enter(fixture->gate, &stores[i].engine);
    for (int i = 0; i < 3; i++) {
        stores[i].files = ENGINE_CROWDED_FILES - 1;
        assert_false(engine_gate_is_crowded(fixture->gate));
        stores[i].files = ENGINE_CROWDED_FILES;
        assert_true(engine_gate_is_crowded(fixture->gate));
        engine_gate_leave(fixture->gate, &stores[i].engine);
        assert_false(engine_gate_is_crowded(fixture->gate));
    }
    engine_gate_leave(fixture->gate, &stores[0].engine); /* it did before */
}

/* Its merges fail: nobody else should merge without a pace for ever. */
static void test_a_store_that_stays_crowded_does_not_count(void **state)
{
    static const struct engine_table table = {.level0_files = files_of};
    struct gate_fixture *fixture = *state;
    struct store store = {{&table}, 2 * ENGINE_CROWDED_FILES};

    engine_gate_enter(fixture->gate, &store.engine);
    assert_true(engine_gate_is_crowded(fixture->gate));
    fixture->now += ENGINE_CROWDED_MOST_US - 1;
    store.files--;
    assert_true(engine_gate_is_crowded(fixture->gate));
    fixture->now += ENGINE_CROWDED_MOST_US - 1;
    store.files++;
    assert_true(engine_gate_is_crowded(fixture->gate));
    fixture->now += 1;
    assert_false(engine_gate_is_crowded(fixture->gate));
    store.files--; /* it goes on */
    assert_true(engine_gate_is_crowded(fixture->gate));
    engine_gate_leave(fixture->gate, &store.engine);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_a_piece_waits_for_the_time_of_the_one_before),
        TEST(test_what_must_go_goes_and_is_counted),
        TEST(test_in_a_hurry_nothing_waits),
        TEST(test_rests_are_short_and_counted),
        TEST(test_any_store_that_is_there_may_be_the_crowded_one),
        TEST(test_a_store_that_stays_crowded_does_not_count),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
