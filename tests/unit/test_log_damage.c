/* Damage of sealed segments while the log is open: found by scrubbing, named, and set aside as
 * soon as nobody needs the segment. Segments of 1 MiB. */
#include "log_fixture.h"
#include "storage/log/log_private.h"

#define ASIDE_1 "log/damaged-0000000000000001.seg"
#define ASIDE_2 "log/damaged-0000000000000002.seg"

enum { PIECE = 64 * 1024, SEGMENTS = 4, IN_A_RECORD = 200 };

struct pass {
    uint64_t bytes, pieces;
};

static struct pass scrub_all(struct log_fixture *fixture)
{
    struct log_scrub scrub;
    struct pass pass = {.pieces = 1};

    log_scrub_init(&scrub);
    while (log_scrub(fixture->log, &scrub, PIECE))
        pass.pieces++;
    pass.bytes = scrub.bytes;
    log_scrub_free(&scrub);
    return pass;
}

/* Entries of 100 KiB in four segments, none released. Returns the last index. */
static uint64_t fill(struct log_fixture *fixture)
{
    fixture_state(fixture, 1, 0);
    fixture_big_entries(fixture, 1, 10 * SEGMENTS - 4, 1);
    assert_int_equal(fixture_statistics(fixture).active_segment, SEGMENTS);
    return 10 * SEGMENTS - 4;
}

static uint32_t damages(struct log_fixture *fixture, struct log_damaged ret[LOG_DAMAGED_MAX])
{
    return log_damages(fixture->log, ret);
}

static void test_a_sound_log_is_read_in_pieces_and_nothing_found(void **state)
{
    struct log_fixture *fixture = *state;
    struct log_damaged found[LOG_DAMAGED_MAX];

    fill(fixture);
    struct pass pass = scrub_all(fixture);
    assert_true(pass.bytes > (SEGMENTS - 1) * UINT64_C(900) * 1024);
    assert_true(pass.pieces > 10); /* a batch of 100 KiB at a time */
    assert_int_equal(damages(fixture, found), 0);
    assert_int_equal(log_damaged_segment(fixture->log), 0);
    assert_int_equal(scrub_all(fixture).bytes, pass.bytes); /* from the beginning again */
}

static void test_passes_of_one_reader_begin_again(void **state)
{
    struct log_fixture *fixture = *state;
    struct log_scrub scrub;

    fixture_state(fixture, 1, 0);
    fixture_big_entries(fixture, 1, 12, 1); /* one is sealed */
    log_scrub_init(&scrub);
    while (log_scrub(fixture->log, &scrub, PIECE))
        continue;
    uint64_t once = scrub.bytes;
    while (log_scrub(fixture->log, &scrub, PIECE))
        continue;
    assert_true(once > 0);
    assert_int_equal(scrub.bytes, 2 * once);
    log_scrub_free(&scrub);
}

static void test_damage_is_named_and_set_aside_once_it_is_released(void **state)
{
    struct log_fixture *fixture = *state;
    struct log_damaged found[LOG_DAMAGED_MAX];
    uint64_t last = fill(fixture);

    fake_disk_damage(fixture->disk, SEGMENT_2, IN_A_RECORD);
    scrub_all(fixture);
    scrub_all(fixture); /* known by now */
    assert_int_equal(damages(fixture, found), 1);
    assert_int_equal(found[0].segment, 2);
    assert_string_equal(found[0].file, SEGMENT_2);
    assert_int_equal(found[0].offset, 0);
    assert_false(found[0].set_aside);
    assert_int_equal(log_damaged_segment(fixture->log), 2);
    assert_int_equal(fixture_statistics(fixture).damages_found, 1);

    log_release(fixture->queue, GROUP, REPLICA, last, 1);
    fixture_flush(fixture); /* nothing else is to be written: it does not wait for that */
    assert_int_equal(log_damaged_segment(fixture->log), 0);
    assert_null(fake_disk_find(fixture->disk, SEGMENT_1));
    assert_null(fake_disk_find(fixture->disk, SEGMENT_2));
    assert_non_null(fake_disk_find(fixture->disk, ASIDE_2));
    assert_int_equal(damages(fixture, found), 1);
    assert_string_equal(found[0].file, ASIDE_2);
    assert_true(found[0].set_aside);

    fixture_restart(fixture); /* the log is sound; whoever opens it hears of the file */
    assert_int_equal(damages(fixture, found), 1);
    assert_string_equal(found[0].file, ASIDE_2);
    assert_true(found[0].set_aside);
    assert_int_equal(log_damaged_segment(fixture->log), 0);
    log_damage_moved(fixture->log, 2);
    assert_int_equal(damages(fixture, found), 0);
    assert_int_equal(fixture_recovered(fixture, GROUP)->base_index, last);
}

static void test_damage_that_is_still_needed_is_found_by_the_next_start(void **state)
{
    struct log_fixture *fixture = *state;
    uint64_t last = fill(fixture);

    fake_disk_damage(fixture->disk, SEGMENT_2, IN_A_RECORD);
    scrub_all(fixture);
    log_release(fixture->queue, GROUP, REPLICA, 12, 1); /* the first segment, not the second */
    fixture_flush(fixture);
    assert_int_equal(log_damaged_segment(fixture->log), 2);
    assert_null(fake_disk_find(fixture->disk, SEGMENT_1));
    assert_non_null(fake_disk_find(fixture->disk, SEGMENT_2));
    fixture_close(fixture);
    assert_int_equal(fixture_try_open(fixture), STATUS_CORRUPT);
    (void)last;
}

static void test_a_segment_that_vanished_is_named_and_does_not_end_the_log(void **state)
{
    struct log_fixture *fixture = *state;
    struct log_damaged found[LOG_DAMAGED_MAX];
    uint64_t last = fill(fixture);

    fake_disk_remove(fixture->disk, SEGMENT_1);
    scrub_all(fixture);
    assert_int_equal(damages(fixture, found), 1);
    assert_string_equal(found[0].file, SEGMENT_1);
    assert_string_equal(found[0].what, "is missing");
    log_release(fixture->queue, GROUP, REPLICA, last, 1);
    fixture_flush(fixture);
    assert_int_equal(damages(fixture, found), 0);
    fixture_restart(fixture);
    assert_int_equal(fixture_recovered(fixture, GROUP)->base_index, last);
}

static void test_each_damaged_segment_is_named(void **state)
{
    struct log_fixture *fixture = *state;
    struct log_damaged found[LOG_DAMAGED_MAX];
    uint64_t last = fill(fixture);

    fake_disk_damage(fixture->disk, SEGMENT_1, 2 * 4096 + IN_A_RECORD);
    fake_disk_damage(fixture->disk, SEGMENT_3, 8); /* its version */
    scrub_all(fixture);
    assert_int_equal(damages(fixture, found), 2);
    assert_int_equal(found[0].offset, 4096); /* of the batch */
    assert_int_equal(found[1].segment, 3);   /* and not the second, which ends before it */
    assert_int_equal(log_damaged_segment(fixture->log), 3);
    log_release(fixture->queue, GROUP, REPLICA, last, 1);
    fixture_flush(fixture);
    assert_int_equal(log_damaged_segment(fixture->log), 0);
    assert_non_null(fake_disk_find(fixture->disk, ASIDE_1));
    fixture_restart(fixture);
}

/* Its first batch is read to see whether the segment before it is whole. */
static void test_a_damaged_start_of_the_newest_segment_seals_it(void **state)
{
    struct log_fixture *fixture = *state;
    struct log_damaged found[LOG_DAMAGED_MAX];
    uint64_t last = fill(fixture);
    char path[64];

    snprintf(path, sizeof(path), "log/%016x.seg", SEGMENTS);
    fake_disk_damage(fixture->disk, path, IN_A_RECORD);
    scrub_all(fixture);
    assert_int_equal(damages(fixture, found), 1);
    assert_string_equal(found[0].file, path);
    log_release(fixture->queue, GROUP, REPLICA, last, 1);
    fixture_flush(fixture);
    assert_int_equal(log_damaged_segment(fixture->log), 0);
    assert_int_equal(fixture_statistics(fixture).active_segment, SEGMENTS + 1);
    assert_null(fake_disk_find(fixture->disk, path));
    fixture_restart(fixture);
    assert_int_equal(fixture_recovered(fixture, GROUP)->base_index, last);
}

/* Between the reading and the judgement the writer has freed the segment: no damage of the log. */
static void test_what_is_freed_meanwhile_is_not_damaged(void **state)
{
    struct log_fixture *fixture = *state;
    struct log_damaged found[LOG_DAMAGED_MAX];
    uint64_t last = fill(fixture);

    log_release(fixture->queue, GROUP, REPLICA, last - 1, 1);
    fixture_entry(fixture, last + 1, 1, "so that the release is written");
    fixture_flush(fixture);
    assert_null(fake_disk_find(fixture->disk, SEGMENT_1));
    log_damage_found(fixture->log, 1, 0, "as a reader saw it that came late");
    assert_int_equal(damages(fixture, found), 0);
    assert_int_equal(log_damaged_segment(fixture->log), 0);
}

static void test_no_more_damages_are_known_than_the_limit(void **state)
{
    struct log_fixture *fixture = *state;
    struct log_damaged found[LOG_DAMAGED_MAX];

    for (uint64_t segment = 1; segment <= LOG_DAMAGED_MAX + 3; segment++)
        log_damage_found(fixture->log, segment, 0, "for the limit");
    assert_int_equal(damages(fixture, found), LOG_DAMAGED_MAX);
    assert_int_equal(log_damaged_segment(fixture->log), LOG_DAMAGED_MAX);
}

/* --- the mark ------------------------------------------------------------------------------ */

static void assert_mark(struct log_fixture *fixture, enum status status, uint64_t offset)
{
    struct error error;
    uint64_t found = 0;

    assert_int_equal(log_mark_scrub(fixture->log, &found, &error), status);
    if (status == STATUS_OK) return;
    assert_non_null(strstr(error.text, MARK));
    if (status == STATUS_CORRUPT) assert_int_equal(found, offset);
}

static void test_a_damaged_mark_is_named_and_written_anew(void **state)
{
    struct log_fixture *fixture = *state;
    struct error error;

    fill(fixture);
    fake_disk_pass(fixture->disk, 6 * 1000); /* idle: the mark is written */
    assert_mark(fixture, STATUS_OK, 0);
    for (uint64_t slot = 0; slot < 2; slot++) {
        fake_disk_damage(fixture->disk, MARK, slot * 4096 + 60);
        assert_mark(fixture, STATUS_CORRUPT, slot * 4096);
        assert_int_equal(log_mark_renew(fixture->log, &error), STATUS_OK);
        assert_mark(fixture, STATUS_OK, 0);
    }
    fake_disk_remove(fixture->disk, MARK);
    assert_mark(fixture, STATUS_NOT_FOUND, 0);
    assert_int_equal(log_mark_renew(fixture->log, &error), STATUS_OK);
    assert_mark(fixture, STATUS_OK, 0);
    /* The writer goes on in the new file, and the next start reads it. */
    fixture_entry(fixture, 10 * SEGMENTS - 3, 1, "one more");
    fixture_flush(fixture);
    fake_disk_pass(fixture->disk, 6 * 1000);
    assert_mark(fixture, STATUS_OK, 0);
    fixture_close(fixture);
    fixture_open(fixture);
    assert_mark(fixture, STATUS_OK, 0);
}

static void test_a_mark_that_went_back_in_time_is_damage(void **state)
{
    struct log_fixture *fixture = *state;
    uint8_t before[8192];

    fill(fixture);
    fake_disk_pass(fixture->disk, 6 * 1000);
    struct fake_inode *mark = fake_disk_find(fixture->disk, MARK);
    assert_int_equal(mark->size, sizeof(before));
    memcpy(before, mark->bytes, sizeof(before));
    fixture_entry(fixture, 10 * SEGMENTS - 3, 1, "one more");
    fixture_flush(fixture);
    fake_disk_pass(fixture->disk, 6 * 1000);
    assert_mark(fixture, STATUS_OK, 0);
    memcpy(mark->bytes, before, sizeof(before));
    struct error error;
    uint64_t offset;
    assert_int_equal(log_mark_scrub(fixture->log, &offset, &error), STATUS_CORRUPT);
}

static void test_the_mark_of_a_log_that_is_gone_is_left_alone(void **state)
{
    struct log_fixture *fixture = *state;
    struct error error;
    uint64_t offset;

    fill(fixture);
    fake_disk_remove(fixture->disk, "log/0000000000000004.seg");
    fake_disk_damage(fixture->disk, MARK, 60);
    assert_int_equal(log_mark_scrub(fixture->log, &offset, &error), STATUS_REFUSED);
}

/* Not what this process has written, and newer: it must not be written over. */
static void test_a_later_mark_is_of_another_process_and_no_damage(void **state)
{
    struct log_fixture *fixture = *state;
    struct error error;

    fill(fixture);
    fake_disk_pass(fixture->disk, 6 * 1000);
    assert_int_equal(log_mark_renew(fixture->log, &error), STATUS_OK);
    fixture->log->mark_sequence -= 2;
    assert_mark(fixture, STATUS_REFUSED, 0);
    fixture->log->mark_sequence += 2;
    assert_mark(fixture, STATUS_OK, 0);
}

#define LOG_TEST(function)                                                                         \
    cmocka_unit_test_setup_teardown(function, fixture_setup, fixture_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        LOG_TEST(test_a_sound_log_is_read_in_pieces_and_nothing_found),
        LOG_TEST(test_passes_of_one_reader_begin_again),
        LOG_TEST(test_damage_is_named_and_set_aside_once_it_is_released),
        LOG_TEST(test_damage_that_is_still_needed_is_found_by_the_next_start),
        LOG_TEST(test_a_segment_that_vanished_is_named_and_does_not_end_the_log),
        LOG_TEST(test_each_damaged_segment_is_named),
        LOG_TEST(test_a_damaged_start_of_the_newest_segment_seals_it),
        LOG_TEST(test_what_is_freed_meanwhile_is_not_damaged),
        LOG_TEST(test_no_more_damages_are_known_than_the_limit),
        LOG_TEST(test_a_damaged_mark_is_named_and_written_anew),
        LOG_TEST(test_a_mark_that_went_back_in_time_is_damage),
        LOG_TEST(test_the_mark_of_a_log_that_is_gone_is_left_alone),
        LOG_TEST(test_a_later_mark_is_of_another_process_and_no_damage),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
