/* Requests that wait for light ones of others, and collection that does (decision 0010). */
#include "host_cold.h"

/* As if light writes of others had been late for long: no heavy one may begin for `us`. */
static void spare_others(uint64_t us)
{
    struct governor *governor = &bed.host->governor;
    uint64_t now = world_now(bed.world);
    governor->alone_us = 1;
    governor->quiet_period = GOVERNOR_QUIET_PERIOD_US;
    governor->traffic_at = governor->light_at = governor->filled_at = now;
    governor->rate = GOVERNOR_RATE_LEAST;
    governor->tokens = -(int64_t)(us * governor->rate);
    while ((now + (uint64_t)governor->wall_offset) % GOVERNOR_QUIET_PERIOD_US <
           GOVERNOR_QUIET_US + SECOND)
        governor->wall_offset += SECOND; /* no quiet window meanwhile */
}

static void send_behind_a_heavy_one(void *context)
{
    spare_others(*(uint64_t *)context);
    send_one(&(struct ask){.kind = 's', .first = 900, .client = 1, .heavy = true});
    send_one(&(struct ask){.kind = 'd', .first = 900, .client = 1, .ordered = true});
    send_one(&(struct ask){.kind = 's', .first = 901, .client = 1, .ordered = true, .heavy = true});
    send_one(&(struct ask){.kind = 's', .first = 902, .client = 2});
}

static void test_light_ones_of_others_go_before_a_heavy_one(void **state)
{
    uint64_t before = bench->seq, us = SECOND / 4;
    uint64_t delayed = statistics().heavy_delayed;

    sim_world_call(sim_world_of(bed.world), 0, send_behind_a_heavy_one, &us);
    sim_run_for(&bed.sim, SECOND / 5);
    assert_int_equal(bench->answer_count, 1);
    assert_int_equal(bench->answers[0].seq, before + 4);
    assert_int_equal(statistics().heavy_waiting, 1);
    sim_run_for(&bed.sim, 2 * SECOND);
    assert_int_equal(bench->answer_count, 4); /* in the order in which their client sent them */
    for (uint32_t i = 1; i < 4; i++)
        assert_int_equal(bench->answers[i].seq, before + i);
    assert_int_equal(statistics().heavy_waiting, 0);
    assert_int_equal(statistics().heavy_delayed, delayed + 2); /* each heavy one for itself */
    assert_int_equal(statistics().heavy_overdue, 0);
    assert_int_equal(bed.host->cold.parked_count, 0);
}

/* Somebody is there to be spared all the time. */
static void spare_others_for(uint64_t us)
{
    for (uint64_t past = 0; past < us; past += SECOND / 10) {
        spare_others(3600ull * SECOND);
        sim_run_for(&bed.sim, us - past < SECOND / 10 ? us - past : SECOND / 10);
    }
}

static void test_heavy_ones_of_a_client_wait_so_long_at_most_each_from_when_it_came(void **state)
{
    uint64_t us = 3600ull * SECOND;

    sim_world_call(sim_world_of(bed.world), 0, send_behind_a_heavy_one, &us);
    spare_others_for(HEAVY_WAIT_MAX_US - 10 * 1000);
    assert_int_equal(bench->answer_count, 1);
    spare_others_for(SECOND / 20);
    assert_int_equal(bench->answer_count, 4);
    assert_int_equal(statistics().heavy_overdue, 2);
}

static void send_a_pipeline(void *context)
{
    struct ask *ask = context;
    spare_others(3600ull * SECOND);
    for (uint16_t i = 0; i < ask->number; i++) {
        bool heavy = ask->heavy || i == 0;
        send_one(&(struct ask){.kind = 'x',
                               .first = (uint16_t)(900 + i),
                               .client = ask->ordered ? 7 : i,
                               .ordered = ask->ordered && i > 0,
                               .heavy = heavy});
    }
}

static void test_a_long_pipeline_of_heavy_ones_waits_no_longer_than_one(void **state)
{
    struct ask pipeline = {.number = 200, .ordered = true, .heavy = true};
    uint64_t before = bench->seq;

    bed_call(send_a_pipeline, &pipeline, 1);
    spare_others_for(HEAVY_WAIT_MAX_US + SECOND / 20);
    assert_int_equal(bench->answer_count, 200);
    for (uint32_t i = 0; i < 200; i++) {
        assert_int_equal(bench->answers[i].seq, before + 1 + i);
        assert_int_equal(bench->answers[i].outcome, OUTCOME_REPLY);
    }
    assert_int_equal(bed.host->cold.parked_count, 0);
}

static void fire_with_nobody_to_spare(void *context)
{
    uint32_t *ret_left = context;
    bed.host->governor.traffic_at = 0;
    bed.host->cold.heavy_timer.fire(&bed.host->cold.heavy_timer);
    *ret_left = bed.host->cold.parked_count;
}

static void check_a_turn(struct ask pipeline)
{
    uint32_t left = 0, before = bench->answer_count;

    bed_call(send_a_pipeline, &pipeline, 1);
    assert_int_equal(bed.host->cold.parked_count, pipeline.number);
    bed_call(fire_with_nobody_to_spare, &left, 1);
    assert_int_equal(left, pipeline.number - COLD_TURN_MAX);
    sim_run_for(&bed.sim, SECOND / 20);
    assert_int_equal(bench->answer_count, before + pipeline.number);
    for (uint32_t i = before + 1; i < bench->answer_count; i++)
        assert_true(bench->answers[i].seq > bench->answers[i - 1].seq);
}

static void test_one_turn_runs_no_more_than_a_part_of_what_waited(void **state)
{
    check_a_turn((struct ask){.number = 200, .heavy = true});
    check_a_turn((struct ask){.number = 200, .ordered = true, .heavy = true});
    check_a_turn((struct ask){.number = 200, .ordered = true});
}

static void test_what_waited_does_not_run_while_too_much_is_uncommitted(void **state)
{
    struct ask pipeline = {.number = 10, .heavy = true};
    struct replica *replica = host_replica(bed.host, (struct group_id){GROUP});
    uint32_t left = 0;

    bed_call(send_a_pipeline, &pipeline, 1);
    replica->uncommitted_bytes += UNCOMMITTED_BYTES_MAX + 1;
    bed_call(fire_with_nobody_to_spare, &left, 1);
    assert_int_equal(left, 10);
    assert_int_equal(statistics().heavy_waiting, 10);
    replica->uncommitted_bytes -= UNCOMMITTED_BYTES_MAX + 1;
    sim_run_for(&bed.sim, SECOND / 20);
    assert_int_equal(bench->answer_count, 10);
}

static enum evaluate_result endless_chore(struct row_context *rows, const struct request *request,
                                          struct reply *reply)
{
    row_want_chore(rows, rows->time);
    return EVALUATE_DONE;
}

static void begin_endless_chore(void *context)
{
    struct replica *replica = host_replica(bed.host, (struct group_id){GROUP});
    spare_others(3600ull * SECOND);
    bed.host->options.chore[SERVICE_REDIS] = endless_chore;
    chore_note(replica, SERVICE_REDIS, 0, world_now(bed.world));
}

static void test_collection_that_is_behind_gets_on_beside_light_writes(void **state)
{
    sim_world_call(sim_world_of(bed.world), 0, begin_endless_chore, NULL);
    spare_others_for(4 * SECOND);
    assert_int_equal(statistics().chores, 0);
    assert_int_equal(statistics().chores_behind, 0);
    spare_others_for(5 * SECOND); /* 5 to 10: a step each 32 ms */
    assert_in_range(statistics().chores, 90, 130);
    assert_int_equal(statistics().chores_behind, 1);
    spare_others_for(20 * SECOND);
    uint64_t before = statistics().chores;
    spare_others_for(SECOND); /* as fast as where nobody is to be spared */
    assert_in_range(statistics().chores - before, 200, 260);
    bed.host->options.chore[SERVICE_REDIS] = NULL;
}

static void test_heavy_ones_do_not_wait_where_too_much_is_parked(void **state)
{
    uint64_t us = 3600ull * SECOND;

    bed.host->cold.parked_bytes += HEAVY_BYTES_MAX + 1; /* of others */
    sim_world_call(sim_world_of(bed.world), 0, send_behind_a_heavy_one, &us);
    sim_run_for(&bed.sim, SECOND / 10);
    bed.host->cold.parked_bytes -= HEAVY_BYTES_MAX + 1;
    assert_int_equal(bench->answer_count, 4);
    assert_int_equal(statistics().heavy_delayed, 0);
}

static void test_a_heavy_one_does_not_wait_where_nobody_is_to_be_spared(void **state)
{
    assert_int_equal(ask((struct ask){.kind = 's', .first = 900, .heavy = true})->outcome,
                     OUTCOME_REPLY);
    assert_int_equal(statistics().heavy_delayed, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_light_ones_of_others_go_before_a_heavy_one),
        TEST(test_heavy_ones_of_a_client_wait_so_long_at_most_each_from_when_it_came),
        TEST(test_a_long_pipeline_of_heavy_ones_waits_no_longer_than_one),
        TEST(test_one_turn_runs_no_more_than_a_part_of_what_waited),
        TEST(test_what_waited_does_not_run_while_too_much_is_uncommitted),
        TEST(test_collection_that_is_behind_gets_on_beside_light_writes),
        TEST(test_heavy_ones_do_not_wait_where_too_much_is_parked),
        TEST(test_a_heavy_one_does_not_wait_where_nobody_is_to_be_spared),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
