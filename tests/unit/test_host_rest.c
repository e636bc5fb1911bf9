/* Groups at rest, one worker by itself: its ticks (decision 0009). */
#include "host_rest.h"

static const struct raft_config alone = {.incoming_count = 1, .incoming = {{{11}, 1}}};

static void open_alone(void *context)
{
    open_with_board(&alone);
}

static int setup_alone(void **state)
{
    setup_board();
    run(open_alone, NULL);
    sim_run_for(&bed.sim, 10 * 1000 * MS);
    assert_true(bed.host->idle);
    return 0;
}

static void tick_along(void *context)
{
    bed.host->tick_along = true; /* as after the beat of a node with a lower id */
    world_timer_start(bed.world, &bed.host->tick_timer, 0);
}

static void rest(void *context)
{
    bed.host->rest.state = REST_RESTING; /* a group without others has nobody to ask */
    bed.host->rest.since = world_now(bed.world);
}

static void disturb(void *context)
{
    host_mark_dirty(replica());
}

/* An idle tick is armed for later than a busy one may be late: who wakes just before it was not
 * away (leases and timers of all replicas would begin anew). */
static void test_who_is_woken_before_an_idle_tick_was_not_away(void **state)
{
    (void)state;
    uint64_t gaps = bed.host->statistics.loop_gaps;

    bed_call(tick_along, NULL, 1 * MS);
    bed_call(rest, NULL, 0);
    assert_true(bed.host->along);
    sim_run_for(&bed.sim, 214 * MS);
    uint64_t ticks = bed.host->ticks;
    bed_call(disturb, NULL, 1 * MS);
    assert_true(bed.host->ticks > ticks);
    assert_false(host_rests(bed.host));
    assert_int_equal(bed.host->statistics.loop_gaps, gaps);
}

static void two_go(void *context)
{
    host_peer_down(bed.host, 2);
    host_peer_down(bed.host, 3);
}

/* When a rack goes: heartbeats of the groups that rested go at once. */
static void test_a_second_node_that_goes_does_not_put_off_the_tick(void **state)
{
    (void)state;
    bed_call(tick_along, NULL, 1 * MS);
    bed_call(rest, NULL, 0);
    uint64_t ticks = bed.host->ticks;
    bed_call(two_go, NULL, 1 * MS);
    assert_int_equal(bed.host->ticks, ticks + 1);
}

static void one_goes(void *context)
{
    host_peer_down(bed.host, 2);
}

/* A peer that greets and breaks: retried each 20 ms, 50 times. */
static void test_a_node_that_goes_again_and_again_does_not_put_off_ticks(void **state)
{
    (void)state;
    bed_call(disturb, NULL, 0);
    uint64_t ticks = bed.host->ticks;
    for (int i = 0; i < 50; i++)
        bed_call(one_goes, NULL, 20 * MS);
    assert_true(bed.host->ticks >= ticks + 4); /* each 200 ms at least, as without it */
}

static void hear_beat(void *context)
{
    uint64_t ticks = bed.host->ticks;
    give_beat(2, 1, 0, 0);
    give_beat(3, 1, 0, 0);
    assert_int_equal(bed.host->ticks, ticks); /* D2: there may be more to read */
}

/* After a delay the beats of others are among what has not been read yet. */
static void test_who_beats_along_reads_all_input_first(void **state)
{
    (void)state;
    bed.host->options.node = 4; /* those with lower ids are followed */
    bed_call(tick_along, NULL, 100 * MS);
    uint64_t ticks = bed.host->ticks;
    bed_call(hear_beat, NULL, 1 * MS);
    assert_int_equal(bed.host->ticks, ticks); /* far from due */
    sim_run_for(&bed.sim, 90 * MS);
    bed_call(hear_beat, NULL, 1 * MS);
    assert_int_equal(bed.host->ticks, ticks + 1);
    assert_true(bed.host->along);
    sim_run_for(&bed.sim, 230 * MS);
    assert_int_equal(bed.host->ticks, ticks + 2);
    assert_false(bed.host->along); /* by its own timer, for no beat came */
}

int main(void)
{
#define REST_TEST(name) cmocka_unit_test_setup_teardown(name, setup_alone, teardown_board)
    const struct CMUnitTest tests[] = {
        REST_TEST(test_who_is_woken_before_an_idle_tick_was_not_away),
        REST_TEST(test_a_second_node_that_goes_does_not_put_off_the_tick),
        REST_TEST(test_a_node_that_goes_again_and_again_does_not_put_off_ticks),
        REST_TEST(test_who_beats_along_reads_all_input_first),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
