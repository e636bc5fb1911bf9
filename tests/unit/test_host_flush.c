/* Flushes that fail (flush.c): what is waited for, and what ends the process. */
#include "host_life.h"

enum { SECOND = 1000 * 1000, STEP = SECOND / 20 };

static struct {
    struct world_table table;
    const struct world_table *real;
    uint32_t count;
    char text[512];
} fatal;

static void note_fatal(struct world *world, const char *text)
{
    fatal.count++;
    snprintf(fatal.text, sizeof(fatal.text), "%s", text);
}

static int setup_fatal(void **state)
{
    memset(&fatal, 0, sizeof(fatal));
    setup(state);
    fatal.real = bed.world->table;
    fatal.table = *fatal.real;
    fatal.table.fatal = note_fatal;
    bed.world->table = &fatal.table;
    replicate(11, 1, NULL);
    return 0;
}

static int teardown_fatal(void **state)
{
    bed.world->table = fatal.real;
    return teardown(state);
}

/* There is something to flush, and each try gets this. */
static void fail_for(uint64_t us, enum status status)
{
    uint64_t index = applied() + 1;
    struct append append = {.to = 11,
                            .index = index - 1,
                            .term_before = index == 2 ? BIRTH_TERM : 2,
                            .commit = index,
                            .entry = put_entry(index, (uint16_t)index)};

    sim_world_call(sim_world_of(bed.world), 0, send_append, &append);
    for (uint64_t at = 0; at < us; at += STEP) {
        engine_memory_disk_fail_next(bed.disk, status);
        sim_run_for(&bed.sim, STEP);
    }
    assert_int_equal(applied(), index);
}

static uint64_t failures(void)
{
    struct host_statistics statistics;

    host_statistics(bed.host, &statistics);
    return statistics.flush_failures;
}

static void succeed(void)
{
    engine_memory_disk_fail_next(bed.disk, STATUS_OK);
    sim_run_for(&bed.sim, 10 * SECOND);
    assert_true(engine_rows(0, SLOT_LAST + 1) > 0);
}

/* RocksDB does not get over them by itself once a compaction has met them. */
static void test_limits_and_rights_that_last_a_minute_end_the_process(void **state)
{
    fail_for(55 * SECOND, STATUS_REFUSED);
    assert_true(failures() > 5);
    assert_int_equal(fatal.count, 0);
    fail_for(15 * SECOND, STATUS_REFUSED);
    assert_true(fatal.count > 0);
    assert_non_null(strstr(fatal.text, "does not go away by itself"));
}

static void test_the_minute_begins_anew_when_a_flush_succeeds(void **state)
{
    fail_for(45 * SECOND, STATUS_REFUSED);
    succeed();
    fail_for(45 * SECOND, STATUS_REFUSED);
    assert_int_equal(fatal.count, 0);
    succeed();
}

static void test_a_full_disk_is_waited_for(void **state)
{
    fail_for(180 * SECOND, STATUS_NO_SPACE);
    assert_true(failures() > 30);
    assert_int_equal(fatal.count, 0);
    succeed();
}

static void drop(void *context)
{
    host_drop_replica(bed.host, (struct group_id){GROUP});
}

/* A flush waits for the own disk until what is applied is durable; of a replica that has stopped
 * nobody hears that any more, and its deletion waits for the end of the flush. */
static void test_a_replica_that_goes_while_a_flush_waits_for_its_disk(void **state)
{
    struct append append = {.to = 11,
                            .index = applied(),
                            .term_before = applied() == 1 ? BIRTH_TERM : 2,
                            .commit = applied() + 1,
                            .entry = put_entry(applied() + 1, 5)};

    bed.machine.disk_stalled_until = bed.sim.now + 2 * SECOND;
    sim_world_call(sim_world_of(bed.world), 0, send_append, &append);
    while (!host_replica(bed.host, (struct group_id){GROUP})->flush_holds_apply) {
        sim_run_for(&bed.sim, SECOND / 1000);
        assert_true(bed.sim.now < bed.machine.disk_stalled_until);
    }
    sim_world_call(sim_world_of(bed.world), 0, drop, NULL);
    sim_run_for(&bed.sim, 10 * SECOND);
    assert_int_equal(host_replica_count(bed.host), 0);
    assert_true(host_is_idle(bed.host));
}

static void tick(void *context)
{
    flush_tick(bed.host);
}

static bool goes_slowly(void)
{
    bed_call(tick, NULL, SECOND / 1000);
    return bed.host->flush_pace.bytes_per_second > 0;
}

/* And nothing else: memory is short, or the node stops: as fast as the disk takes it. */
static void test_flushes_go_slowly_beside_states_that_are_sent(void **state)
{
    assert_false(goes_slowly());
    bed.host->snapshots_to[2]++;
    assert_true(goes_slowly());
    bed.host->memory.writes_refused = true;
    assert_false(goes_slowly());
    bed.host->memory.writes_refused = false;
    assert_true(goes_slowly());
    host_begin_close(bed.host);
    assert_int_equal(bed.host->flush_pace.bytes_per_second, 0);
    assert_false(goes_slowly());
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup_fatal, teardown_fatal)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_limits_and_rights_that_last_a_minute_end_the_process),
        TEST(test_the_minute_begins_anew_when_a_flush_succeeds),
        TEST(test_a_full_disk_is_waited_for),
        TEST(test_a_replica_that_goes_while_a_flush_waits_for_its_disk),
        TEST(test_flushes_go_slowly_beside_states_that_are_sent),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
