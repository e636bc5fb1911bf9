/* The bound of the log: copying forward what a group still needs of the oldest segment, and what
 * happens near the bound all the same. Segments of 1 MiB, a bound of 16 of them unless said. */
#include "log_fixture.h"
#include "storage/log/salvage.h"

enum { BOUND = 16, BUSY_GROUP = 8, TORN_AT = 100 /* in a batch: behind its header's magic */ };

static const struct group_id busy = {BUSY_GROUP};
static const struct replica_id busy_replica = {80};
static const uint64_t bound_bytes = (uint64_t)BOUND * LOG_SEGMENT_SIZE_MIN;

static int bound_setup(void **state)
{
    fixture_setup(state);
    struct log_fixture *fixture = *state;
    fixture_close(fixture);
    fixture->options.bytes_max = bound_bytes;
    fixture_open(fixture);
    fixture_state(fixture, 1, 0);
    log_append_state(fixture->queue, busy, busy_replica, &(struct log_state){.term = 1});
    fixture_flush(fixture);
    return 0;
}

static void busy_entry(struct log_fixture *fixture, uint64_t index)
{
    static uint8_t body[100 * 1024];
    struct log_entry entry = {
        .index = index, .term = 1, .type = 2, .body = bytes_make(body, sizeof(body))};

    log_append_entry(fixture->queue, busy, busy_replica, &entry);
}

/* Another group writes `count` entries of 100 KiB and releases each: ten fill a segment. */
static uint64_t busy_write(struct log_fixture *fixture, uint64_t index, uint64_t count)
{
    for (uint64_t i = 0; i < count; i++) {
        busy_entry(fixture, ++index);
        if (index > 1) log_release(fixture->queue, busy, busy_replica, index - 1, 1);
        fixture_flush(fixture);
        struct log_statistics now = fixture_statistics(fixture);
        assert_true(now.bytes_on_disk <= bound_bytes + LOG_SEGMENT_SIZE_MIN);
    }
    return index;
}

static void assert_entries(struct log_fixture *fixture, uint64_t base, const char *const *bodies,
                           size_t count)
{
    const struct log_recovered *recovered = fixture_recovered(fixture, GROUP);

    assert_non_null(recovered);
    assert_int_equal(recovered->base_index, base);
    assert_int_equal(recovered->entry_count, count);
    for (size_t i = 0; i < count; i++) {
        assert_int_equal(recovered->entries[i].index, base + 1 + i);
        assert_true(bytes_equal(recovered->entries[i].body, bytes_of(bodies[i])));
    }
}

/* --- copying ------------------------------------------------------------------------------ */

static void test_a_group_that_is_never_flushed_does_not_pin_the_log(void **state)
{
    static const char *const bodies[] = {"one", "two", "three"};
    struct log_fixture *fixture = *state;

    for (uint64_t i = 0; i < 3; i++)
        fixture_entry(fixture, i + 1, 1, bodies[i]);
    uint64_t index = busy_write(fixture, 0, 400); /* forty segments */
    struct log_statistics now = fixture_statistics(fixture);
    assert_true(now.segments <= 8);
    assert_true(now.copied_entries >= 3);
    assert_int_equal(log_pressure(fixture->log) <= LOG_PRESSURE_FLUSH, true);
    assert_null(fake_disk_find(fixture->disk, SEGMENT_1));

    fixture_restart(fixture);
    assert_entries(fixture, 0, bodies, 3);
    busy_write(fixture, index, 400); /* what was copied is copied again */
    fixture_entry(fixture, 4, 1, "four");
    log_release(fixture->queue, GROUP, REPLICA, 1, 1);
    fixture_flush(fixture);
    fixture_restart(fixture);
    assert_entries(fixture, 1, (const char *const[]){"two", "three", "four"}, 3);
}

static void test_only_the_last_of_two_entries_with_one_index_is_copied(void **state)
{
    struct log_fixture *fixture = *state;

    fixture_entry(fixture, 1, 1, "one");
    fixture_entry(fixture, 2, 1, "void");
    fixture_entry(fixture, 3, 1, "void");
    fixture_entry(fixture, 2, 2, "two");
    fixture_entry(fixture, 3, 2, "void as well");
    log_append_truncate(fixture->queue, GROUP, REPLICA, 3);
    busy_write(fixture, 0, 100);
    assert_null(fake_disk_find(fixture->disk, SEGMENT_1));
    assert_true(
        fake_disk_reached(fixture->disk, "log: an overwritten entry was not copied forward"));
    fixture_restart(fixture);
    assert_entries(fixture, 0, (const char *const[]){"one", "two"}, 2);
}

static void test_the_planted_bug_copies_the_void_one(void **state)
{
    struct log_fixture *fixture = *state;

    fixture->disk->planted = "log_copies_overwritten";
    fixture_entry(fixture, 1, 1, "void");
    fixture_entry(fixture, 1, 2, "one");
    busy_write(fixture, 0, 100);
    fixture_restart(fixture);
    assert_entries(fixture, 0, (const char *const[]){"void"}, 1);
}

static void test_an_entry_that_is_overwritten_while_it_waits_is_not_copied(void **state)
{
    struct log_fixture *fixture = *state;

    fixture_entry(fixture, 1, 1, "one");
    fixture_entry(fixture, 2, 1, "void");
    uint64_t index = busy_write(fixture, 0, 30);
    fixture_entry(fixture, 2, 3, "two");
    index = busy_write(fixture, index, 100);
    fixture_entry(fixture, 3, 3, "three");
    busy_write(fixture, index, 100);
    fixture_restart(fixture);
    assert_entries(fixture, 0, (const char *const[]){"one", "two", "three"}, 3);
}

static void test_a_dead_replica_is_not_copied(void **state)
{
    struct log_fixture *fixture = *state;

    fixture_entry(fixture, 1, 1, "of a replica that goes");
    fixture_flush(fixture);
    log_append_removed(fixture->queue, GROUP, REPLICA);
    busy_write(fixture, 0, 100);
    assert_int_equal(fixture_statistics(fixture).copied_entries, 0);
    fixture_restart(fixture);
    assert_null(fixture_recovered(fixture, GROUP));
}

/* More than 1 MiB of a group: its store is to be flushed; only if that does not come, it is
 * copied all the same. */
static void test_what_is_much_waits_for_a_flush_before_it_is_copied(void **state)
{
    struct log_fixture *fixture = *state;

    fixture_close(fixture);
    fixture->options.segment_size = 4 * LOG_SEGMENT_SIZE_MIN;
    fixture->options.bytes_max = 4 * bound_bytes;
    fixture_open(fixture);
    uint64_t index = busy_write(fixture, 0, 12); /* the first segment has the former size */
    uint64_t most = 0;
    fixture_big_entries(fixture, 1, 15, 1); /* 1.5 MiB */
    for (uint64_t i = 0; i < 900; i++) {
        busy_entry(fixture, ++index);
        if (index > 1) log_release(fixture->queue, busy, busy_replica, index - 1, 1);
        fixture_flush(fixture);
        uint64_t segments = fixture_statistics(fixture).segments;
        if (segments > most) most = segments;
    }
    assert_in_range(most, 10, 12);
    assert_true(fixture_statistics(fixture).copied_entries >= 15);
    fixture_restart(fixture);
    assert_int_equal(fixture_recovered(fixture, GROUP)->entry_count, 15);
    assert_int_equal(fixture_recovered(fixture, GROUP)->entries[14].body.size, 100 * 1024);
}

/* Every change of the disk while entries are copied and segments freed is once the last. */
static void test_a_crash_anywhere_in_copying_loses_nothing(void **state)
{
    static const char *const bodies[] = {"one", "two", "three"};
    struct log_fixture *fixture = *state;
    uint64_t swept = 0;

    (void)fixture;
    for (uint64_t effect = 0;; effect++) {
        void *run_state = NULL;
        bound_setup(&run_state);
        struct log_fixture *run = run_state;
        for (uint64_t i = 0; i < 3; i++)
            fixture_entry(run, i + 1, 1, bodies[i]);
        uint64_t index = busy_write(run, 0, 50);
        run->disk->effects_left = effect;
        uint64_t copied = fixture_statistics(run).copied_entries;
        for (uint64_t i = 0; i < 30 && !run->disk->dead; i++) {
            busy_entry(run, ++index);
            log_release(run->queue, busy, busy_replica, index - 1, 1);
            fixture_flush(run);
        }
        copied = fixture_statistics(run).copied_entries - copied;
        bool died = run->disk->dead;
        fixture_abandon(run);
        fake_disk_crash(run->disk, effect * 7 + 1);
        run->disk->effects_left = UINT64_MAX;
        fixture_open(run);
        assert_entries(run, 0, bodies, 3);
        fixture_teardown(&run_state);
        if (!died) {
            assert_true(copied > 0);
            break;
        }
        swept++;
    }
    assert_true(swept > 50);
}

static void test_a_damaged_segment_is_neither_copied_nor_freed(void **state)
{
    struct log_fixture *fixture = *state;

    fixture_entry(fixture, 1, 1, "one");
    fixture_flush(fixture);
    fake_disk_damage(fixture->disk, SEGMENT_1, 4096 + 100);
    busy_write(fixture, 0, 100);
    assert_non_null(fake_disk_find(fixture->disk, SEGMENT_1));
    assert_int_equal(fixture_statistics(fixture).copied_entries, 0);
}

/* Damage that hides an entry from the copying must not let the one that it overwrote come back. */
static void test_what_a_damaged_batch_overwrote_is_not_copied(void **state)
{
    struct log_fixture *fixture = *state;

    fixture_entry(fixture, 1, 1, "one");
    fixture_entry(fixture, 2, 1, "void");
    fixture_flush(fixture);
    uint64_t offset = fixture_statistics(fixture).active_bytes;
    fixture_entry(fixture, 2, 2, "two");
    fixture_flush(fixture);
    fake_disk_damage(fixture->disk, SEGMENT_1, offset); /* its magic: as if none were there */
    busy_write(fixture, 0, 100);
    assert_int_equal(fixture_statistics(fixture).copied_entries, 0);
    fixture_close(fixture);
    assert_int_equal(fixture_try_open(fixture), STATUS_CORRUPT);
}

/* A torn batch stays at the end of its segment when votes in it were taken over: log.c. */
static void test_a_segment_that_ends_torn_is_copied(void **state)
{
    struct log_fixture *fixture = *state;

    fixture_entry(fixture, 1, 1, "one");
    fixture_flush(fixture);
    uint64_t torn = fixture_statistics(fixture).active_bytes;
    fixture_state(fixture, 2, 71);
    fixture_flush(fixture);
    fixture_abandon(fixture);
    fake_disk_damage(fixture->disk, SEGMENT_1, torn + TORN_AT);
    fixture_open(fixture);
    assert_true(fake_disk_reached(fixture->disk, "log: vote of a torn batch kept"));
    busy_write(fixture, 0, 200);
    assert_null(fake_disk_find(fixture->disk, SEGMENT_1));
    fixture_restart(fixture);
    assert_entries(fixture, 0, (const char *const[]){"one"}, 1);
}

/* --- the bound ---------------------------------------------------------------------------- */

static void test_pressure_rises_to_the_bound_and_falls_by_itself(void **state)
{
    struct log_fixture *fixture = *state;
    enum log_pressure seen = LOG_PRESSURE_NONE;
    uint64_t index = 0;

    while (log_pressure(fixture->log) < LOG_PRESSURE_CLOSED) { /* nothing is released */
        busy_entry(fixture, ++index);
        fixture_flush(fixture);
        enum log_pressure now = log_pressure(fixture->log);
        assert_true(now >= seen);
        seen = now;
        assert_true(log_is_short(fixture->log) == (now >= LOG_PRESSURE_SHORT));
        assert_true(fixture_statistics(fixture).bytes_on_disk <= bound_bytes + 2 * 4096);
    }
    assert_in_range(index, 130, 160);
    assert_int_equal(fixture_statistics(fixture).copied_entries, 0); /* too much to gain by it */

    log_release(fixture->queue, busy, busy_replica, index, 1);
    log_queue_submit(fixture->queue); /* by itself: nothing else may come */
    fake_disk_run(fixture->disk);
    assert_int_equal(log_pressure(fixture->log), LOG_PRESSURE_NONE);
    assert_true(fixture_statistics(fixture).bytes_on_disk < bound_bytes / 2);
}

static void test_what_waits_counts_before_it_is_written(void **state)
{
    struct log_fixture *fixture = *state;

    for (uint64_t index = 1; index <= 125; index++)
        busy_entry(fixture, index);
    log_queue_submit(fixture->queue);
    assert_int_equal(log_pressure(fixture->log), LOG_PRESSURE_SHORT);
    fake_disk_run(fixture->disk);
    assert_int_equal(log_pressure(fixture->log), LOG_PRESSURE_SHORT);
}

static void test_a_bound_of_fewer_segments_than_eight_is_refused(void **state)
{
    struct log_fixture *fixture = *state;

    fixture_close(fixture);
    fixture->options.bytes_max = 7 * LOG_SEGMENT_SIZE_MIN;
    assert_int_equal(fixture_try_open(fixture), STATUS_INVALID);
    assert_non_null(strstr(fixture->error.text, "too small"));
    fixture->options.bytes_max = 8 * LOG_SEGMENT_SIZE_MIN;
    fixture_open(fixture);
}

/* A bound that is lowered: the log goes below it as soon as it may. */
static void test_a_lower_bound_is_kept_after_a_restart(void **state)
{
    struct log_fixture *fixture = *state;

    fixture_entry(fixture, 1, 1, "one");
    uint64_t index = 0;
    while (index < 110) {
        busy_entry(fixture, ++index);
        fixture_flush(fixture);
    }
    fixture_close(fixture);
    fixture->options.bytes_max = 8 * LOG_SEGMENT_SIZE_MIN;
    fixture_open(fixture);
    assert_int_equal(log_pressure(fixture->log), LOG_PRESSURE_SPENT);
    log_release(fixture->queue, busy, busy_replica, index, 1);
    fixture_flush(fixture);
    assert_int_equal(log_pressure(fixture->log), LOG_PRESSURE_NONE);
    assert_true(fixture_statistics(fixture).bytes_on_disk <= 8 * LOG_SEGMENT_SIZE_MIN + 2 * 4096);
    fixture_restart(fixture);
    assert_entries(fixture, 0, (const char *const[]){"one"}, 1);
}

/* --- salvage ------------------------------------------------------------------------------ */

static void test_salvage_finds_what_was_copied_forward(void **state)
{
    struct log_fixture *fixture = *state;
    struct log_salvage salvage;

    fixture_entry(fixture, 1, 1, "one");
    fixture_entry(fixture, 2, 1, "two");
    uint64_t index = busy_write(fixture, 0, 30);
    fixture_entry(fixture, 3, 1, "three");
    busy_write(fixture, index, 60);
    fixture_close(fixture);
    assert_null(fake_disk_find(fixture->disk, SEGMENT_1));
    assert_int_equal(log_salvage_read(&fixture->disk->world, "log", &salvage, NULL), STATUS_OK);
    const struct salvaged_group *group = log_salvage_group(&salvage, GROUP.value);
    assert_non_null(group);
    assert_int_equal(group->base_index, 0);
    assert_int_equal(group->entry_count, 3);
    assert_true(bytes_equal(group->entries[0].body, bytes_of("one")));
    assert_true(bytes_equal(group->entries[2].body, bytes_of("three")));
    assert_false(group->cut);
    const struct salvaged_group *other = log_salvage_group(&salvage, BUSY_GROUP);
    assert_int_equal(other->base_index + other->entry_count, 90);
    assert_false(other->cut);
    log_salvage_free(&salvage);
    fixture_open(fixture);
}

/* The segment that was copied is still there, and the batch that overwrote an entry is damaged. */
static void test_salvage_does_not_take_what_a_copy_shows_to_be_void(void **state)
{
    struct log_fixture *fixture = *state;
    struct log_salvage salvage;

    fixture_entry(fixture, 1, 1, "one");
    fixture_entry(fixture, 2, 1, "void");
    fixture_flush(fixture);
    uint64_t hidden = fixture_statistics(fixture).active_bytes;
    fixture_entry(fixture, 2, 2, "two");
    fixture_flush(fixture);
    const struct fake_inode *segment = fake_disk_find(fixture->disk, SEGMENT_1);
    struct bytes bytes = bytes_make(memory_allocate(segment->size), segment->size);
    memcpy((void *)(uintptr_t)bytes.data, segment->bytes, bytes.size);
    busy_write(fixture, 0, 100);
    fixture_close(fixture);
    assert_null(fake_disk_find(fixture->disk, SEGMENT_1));
    assert_int_equal(world_replace_file(&fixture->disk->world, SEGMENT_1, bytes, NULL), STATUS_OK);
    memory_free((void *)(uintptr_t)bytes.data);
    fake_disk_damage(fixture->disk, SEGMENT_1, hidden);
    assert_int_equal(log_salvage_read(&fixture->disk->world, "log", &salvage, NULL), STATUS_OK);
    const struct salvaged_group *group = log_salvage_group(&salvage, GROUP.value);
    assert_non_null(group);
    assert_int_equal(group->entry_count, 1); /* whether the other follows it is not sure */
    assert_true(bytes_equal(group->entries[0].body, bytes_of("one")));
    assert_true(group->cut);
    log_salvage_free(&salvage);
    fake_disk_remove(fixture->disk, SEGMENT_1);
    fixture_open(fixture);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_a_group_that_is_never_flushed_does_not_pin_the_log,
                                        bound_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(test_only_the_last_of_two_entries_with_one_index_is_copied,
                                        bound_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(test_the_planted_bug_copies_the_void_one, bound_setup,
                                        fixture_teardown),
        cmocka_unit_test_setup_teardown(
            test_an_entry_that_is_overwritten_while_it_waits_is_not_copied, bound_setup,
            fixture_teardown),
        cmocka_unit_test_setup_teardown(test_a_dead_replica_is_not_copied, bound_setup,
                                        fixture_teardown),
        cmocka_unit_test_setup_teardown(test_what_is_much_waits_for_a_flush_before_it_is_copied,
                                        bound_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(test_a_crash_anywhere_in_copying_loses_nothing, bound_setup,
                                        fixture_teardown),
        cmocka_unit_test_setup_teardown(test_a_damaged_segment_is_neither_copied_nor_freed,
                                        bound_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(test_what_a_damaged_batch_overwrote_is_not_copied,
                                        bound_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(test_a_segment_that_ends_torn_is_copied, bound_setup,
                                        fixture_teardown),
        cmocka_unit_test_setup_teardown(test_pressure_rises_to_the_bound_and_falls_by_itself,
                                        bound_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(test_what_waits_counts_before_it_is_written, bound_setup,
                                        fixture_teardown),
        cmocka_unit_test_setup_teardown(test_a_bound_of_fewer_segments_than_eight_is_refused,
                                        bound_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(test_a_lower_bound_is_kept_after_a_restart, bound_setup,
                                        fixture_teardown),
        cmocka_unit_test_setup_teardown(test_salvage_does_not_take_what_a_copy_shows_to_be_void,
                                        bound_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(test_salvage_finds_what_was_copied_forward, bound_setup,
                                        fixture_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
