/* Queues, batches, segments and their recycling, and what happens when the disk fails. */
#include "log_fixture.h"

static void test_nothing_is_written_before_submit_and_one_batch_carries_all(void **state)
{
    struct log_fixture *fixture = *state;
    uint64_t batches = fixture_statistics(fixture).batches;

    fixture_state(fixture, 1, 0);
    fixture_entry(fixture, 1, 1, "one");
    fake_disk_run(fixture->disk);
    assert_false(log_queue_idle(fixture->queue));
    assert_int_equal(fixture->durable, 0);
    for (uint64_t index = 2; index <= 100; index++)
        fixture_entry(fixture, index, 1, "more");
    fixture_flush(fixture);
    assert_true(log_queue_idle(fixture->queue));
    assert_int_equal(fixture_statistics(fixture).batches, batches + 1);
    assert_int_equal(fixture_statistics(fixture).records, 101);
}

static void test_what_is_not_durable_yet_is_counted(void **state)
{
    struct log_fixture *fixture = *state;

    assert_int_equal(fixture_statistics(fixture).queue_records, 0);
    fixture_state(fixture, 1, 0);
    fixture_entry(fixture, 1, 1, "one");
    log_queue_submit(fixture->queue);
    assert_int_equal(fixture_statistics(fixture).queue_records, 2);
    assert_true(fixture_statistics(fixture).queue_bytes > sizeof("one"));
    fake_disk_run(fixture->disk);
    assert_int_equal(fixture_statistics(fixture).queue_records, 0);
    assert_int_equal(fixture_statistics(fixture).queue_bytes, 0);
}

static void test_an_idle_node_writes_nothing(void **state)
{
    struct log_fixture *fixture = *state;

    fixture_state(fixture, 1, 0);
    fixture_flush(fixture);
    fake_disk_pass(fixture->disk, 10 * 1000); /* the mark follows once */
    uint64_t effects = fixture->disk->effects;
    for (int i = 0; i < 100; i++) {
        log_release(fixture->queue, GROUP, REPLICA, 0, 0);
        log_queue_submit(fixture->queue);
        fake_disk_pass(fixture->disk, 1000 * 1000);
    }
    assert_int_equal(fixture->disk->effects, effects);
    assert_true(log_queue_idle(fixture->queue));
}

static void test_a_full_queue_says_so(void **state)
{
    struct log_fixture *fixture = *state;
    uint8_t *body = memory_allocate_zero(LOG_ENTRY_BODY_MAX);

    fixture_state(fixture, 1, 0);
    for (uint64_t index = 1; index <= 4; index++) {
        assert_false(log_queue_full(fixture->queue));
        struct log_entry entry = {
            .index = index, .term = 1, .body = bytes_make(body, LOG_ENTRY_BODY_MAX)};
        log_append_entry(fixture->queue, GROUP, REPLICA, &entry);
    }
    memory_free(body);
    assert_true(log_queue_full(fixture->queue));
    fixture_flush(fixture);
    assert_false(log_queue_full(fixture->queue));
    fixture_restart(fixture);
    assert_int_equal(fixture_recovered(fixture, GROUP)->entry_count, 4);
    assert_int_equal(fixture_recovered(fixture, GROUP)->entries[3].body.size, LOG_ENTRY_BODY_MAX);
}

struct second_queue {
    struct log_queue *queue;
    uint64_t durable;
};

static void second_durable(void *context, uint64_t position)
{
    struct second_queue *second = context;
    assert_true(position > second->durable);
    second->durable = position;
}

static void test_two_queues_share_a_batch(void **state)
{
    struct log_fixture *fixture = *state;
    const struct group_id other = {8};
    struct second_queue second = {0};
    uint64_t batches = fixture_statistics(fixture).batches;

    second.queue = log_queue_open(fixture->log, &fixture->disk->world, &second, second_durable);
    uint64_t first_position = fixture_state(fixture, 1, 0);
    uint64_t second_position = log_append_state(second.queue, other, (struct replica_id){80},
                                                &(struct log_state){.term = 4});
    log_queue_submit(fixture->queue);
    log_queue_submit(second.queue);
    fake_disk_run(fixture->disk);
    assert_int_equal(fixture_statistics(fixture).batches, batches + 1);
    assert_int_equal(fixture->durable, first_position);
    assert_int_equal(second.durable, second_position);
    log_queue_close(second.queue);
    fixture_restart(fixture);
    assert_int_equal(fixture_recovered(fixture, GROUP)->state.term, 1);
    assert_int_equal(fixture_recovered(fixture, other)->state.term, 4);
}

static void test_a_job_may_write_many_batches(void **state)
{
    struct log_fixture *fixture = *state;
    uint8_t *body = memory_allocate_zero(LOG_ENTRY_BODY_MAX);

    fixture_close(fixture);
    fixture->options.writer_loops = 16;
    fixture_open(fixture);
    fixture_state(fixture, 1, 0);
    for (uint64_t index = 1; index <= 10; index++) {
        struct log_entry entry = {
            .index = index, .term = 1, .body = bytes_make(body, LOG_ENTRY_BODY_MAX)};
        log_append_entry(fixture->queue, GROUP, REPLICA, &entry);
    }
    memory_free(body);
    fixture_flush(fixture);
    assert_true(log_queue_idle(fixture->queue));
    assert_true(fixture_statistics(fixture).batches >= 10);
    assert_true(fake_disk_reached(fixture->disk, "log: a batch was full"));
    fixture_restart(fixture);
    assert_int_equal(fixture_recovered(fixture, GROUP)->entry_count, 10);
}

/* What a simulator does with a node that it killed: first the owners go, then the log. */
static void test_a_busy_queue_may_be_closed_before_the_log_is_abandoned(void **state)
{
    struct log_fixture *fixture = *state;

    fixture_state(fixture, 1, 0);
    log_queue_submit(fixture->queue);
    fixture_entry(fixture, 1, 1, "gathered");
    log_queue_close(fixture->queue);
    log_abandon(fixture->log);
    fake_disk_crash(fixture->disk, 1);
    fixture_open(fixture);
    assert_null(fixture_recovered(fixture, GROUP));
}

/* --- segments ----------------------------------------------------------------------------- */

static void test_release_frees_segments_and_the_base_survives(void **state)
{
    struct log_fixture *fixture = *state;

    fixture_state(fixture, 1, 0);
    fixture_big_entries(fixture, 1, 45, 1);
    struct log_statistics before = fixture_statistics(fixture);
    assert_true(before.segments >= 5);
    assert_true(before.oldest_segment_pinned);
    assert_int_equal(before.oldest_group.value, GROUP.value);

    log_release(fixture->queue, GROUP, REPLICA, 44, 1);
    fixture_entry(fixture, 46, 1, "carries the release");
    fixture_flush(fixture);
    struct log_statistics after = fixture_statistics(fixture);
    assert_int_equal(after.segments, 1);
    assert_false(after.oldest_segment_pinned);
    assert_true(after.bytes_on_disk < before.bytes_on_disk);
    assert_null(fake_disk_find(fixture->disk, SEGMENT_1));

    fixture_restart(fixture);
    const struct log_recovered *recovered = fixture_recovered(fixture, GROUP);
    assert_int_equal(recovered->base_index, 44);
    assert_int_equal(recovered->base_term, 1);
    assert_int_equal(recovered->entry_count, 2);
    assert_int_equal(recovered->entries[0].index, 45);
}

static void test_a_release_behind_the_last_entry_restarts_there(void **state)
{
    struct log_fixture *fixture = *state;

    fixture_state(fixture, 1, 0);
    fixture_entry(fixture, 1, 1, "one");
    log_release(fixture->queue, GROUP, REPLICA, 5, 1);
    fixture_entry(fixture, 6, 1, "six");
    fixture_flush(fixture);
    fixture_restart(fixture);
    assert_int_equal(fixture_recovered(fixture, GROUP)->base_index, 5);
    assert_int_equal(fixture_recovered(fixture, GROUP)->entry_count, 1);
}

static void test_an_idle_group_keeps_its_vote_and_pins_only_entries(void **state)
{
    struct log_fixture *fixture = *state;
    const struct group_id idle = {9};
    const struct replica_id idle_replica = {90};

    log_append_state(fixture->queue, idle, idle_replica,
                     &(struct log_state){.term = 6, .vote = {91}, .commit = 2});
    fixture_state(fixture, 1, 0);
    fixture_big_entries(fixture, 1, 30, 1);
    log_release(fixture->queue, GROUP, REPLICA, 30, 1);
    fixture_entry(fixture, 31, 1, "carries the release");
    fixture_flush(fixture);
    assert_int_equal(fixture_statistics(fixture).segments, 1);
    fixture_restart(fixture);
    assert_int_equal(fixture_recovered(fixture, idle)->state.term, 6);
    assert_int_equal(fixture_recovered(fixture, idle)->state.vote.value, 91);
    assert_int_equal(fixture_recovered(fixture, idle)->state.commit, 2);
}

/* Old batches stay in recycled segments, byte for byte, with valid checksums of their former
 * life. None may come back, wherever the power goes. */
static void test_recycled_segments_are_never_replayed(void **state)
{
    struct log_fixture *fixture = *state;
    uint64_t index = 0;

    fixture_state(fixture, 1, 0);
    fixture_flush(fixture);
    for (uint64_t round = 0; round < 30; round++) {
        fixture_big_entries(fixture, index + 1, index + 12, 1);
        index += 12;
        log_release(fixture->queue, GROUP, REPLICA, index - 1, 1);
        fixture_entry(fixture, ++index, 1, "carries the release");
        fixture_flush(fixture);
        fixture_abandon(fixture);
        fake_disk_crash(fixture->disk, round);
        fixture_open(fixture);
        const struct log_recovered *recovered = fixture_recovered(fixture, GROUP);
        assert_int_equal(recovered->base_index, index - 2);
        assert_int_equal(recovered->entry_count, 2);
    }
    assert_true(fake_disk_reached(fixture->disk, "log: segment recycled"));
    assert_true(fixture_statistics(fixture).segments <= 3);
}

static void test_another_segment_size_is_taken_over(void **state)
{
    struct log_fixture *fixture = *state;

    fixture_state(fixture, 1, 0);
    fixture_big_entries(fixture, 1, 25, 1);
    fixture_close(fixture);
    fixture->options.segment_size = 2 * LOG_SEGMENT_SIZE_MIN;
    fixture_open(fixture);
    fixture_big_entries(fixture, 26, 80, 1);
    log_release(fixture->queue, GROUP, REPLICA, 79, 1);
    fixture_entry(fixture, 81, 1, "carries the release");
    fixture_flush(fixture);
    fixture_close(fixture);
    fixture->options.segment_size = LOG_SEGMENT_SIZE_MIN;
    fixture_open(fixture);
    fixture_big_entries(fixture, 82, 120, 1);
    fixture_restart(fixture);
    assert_int_equal(fixture_recovered(fixture, GROUP)->entry_count, 41);
}

/* --- failures ----------------------------------------------------------------------------- */

/* F26. */
static void test_a_failing_sync_is_fatal_and_nothing_is_reported(void **state)
{
    struct log_fixture *fixture = *state;

    fixture_state(fixture, 1, 0);
    fixture_flush(fixture);
    uint64_t reports = fixture->reports;
    fixture_entry(fixture, 1, 1, "lost");
    fixture->disk->syncs_until_failure = 1;
    fixture_flush(fixture);
    assert_int_equal(fixture->disk->fatal_count, 1);
    assert_int_equal(fixture->reports, reports);
    log_queue_submit(fixture->queue); /* a dead node does nothing more */
    fake_disk_run(fixture->disk);
    assert_int_equal(fixture->disk->fatal_count, 1);
}

/* F27: no space for another segment holds batches up and loses nothing. */
static void test_no_space_waits_and_goes_on_when_there_is_some(void **state)
{
    struct log_fixture *fixture = *state;

    fixture_state(fixture, 1, 0);
    fixture->disk->space_left = 0;
    fixture_big_entries(fixture, 1, 9, 1);
    assert_true(fixture_statistics(fixture).no_space); /* early: a spare could not be made */
    assert_true(log_is_short(fixture->log));
    assert_true(log_queue_idle(fixture->queue)); /* while there is still room */
    fixture_big_entries(fixture, 10, 14, 1);
    assert_false(log_queue_idle(fixture->queue));
    assert_true(fake_disk_reached(fixture->disk, "log: no space, the writer waits"));
    uint64_t durable = fixture->durable;
    fake_disk_pass(fixture->disk, 1000 * 1000);
    assert_int_equal(fixture->durable, durable);
    assert_int_equal(fixture->disk->fatal_count, 0);

    fixture->disk->space_left = 8 * 1024 * 1024;
    for (int i = 0; i < 5; i++)
        fake_disk_pass(fixture->disk, 1000 * 1000);
    assert_true(log_queue_idle(fixture->queue));
    assert_false(fixture_statistics(fixture).no_space);
    assert_false(log_is_short(fixture->log));
    fixture_restart(fixture);
    assert_int_equal(fixture_recovered(fixture, GROUP)->entry_count, 14);
}

static uint64_t size_of(struct log_fixture *fixture, const char *path)
{
    const struct fake_inode *inode = fake_disk_find(fixture->disk, path);
    return inode == NULL ? 0 : inode->size;
}

/* A new node waits until its first segment is written with zeros. */
static void test_the_first_of_large_segments_is_smaller_and_not_used_again(void **state)
{
    enum { LARGE = 16 << 20, FIRST = LARGE / 2 };
    struct log_fixture *fixture = *state;

    fixture_close(fixture);
    fake_disk_free(fixture->disk);
    fixture->disk = fake_disk_make();
    fixture->options.segment_size = LARGE;
    fixture->options.queue_bytes_max = LARGE;
    fixture_open(fixture);
    assert_int_equal(size_of(fixture, "log/0000000000000001.seg"), FIRST);
    fixture_state(fixture, 1, 0);
    fixture_big_entries(fixture, 1, 5, 1);
    assert_int_equal(size_of(fixture, "log/spare-0.seg"), 0);
    fixture_big_entries(fixture, 6, 12, 1); /* an eighth */
    assert_int_equal(size_of(fixture, "log/spare-0.seg"), LARGE);
    fixture_big_entries(fixture, 13, 100, 1);
    assert_int_equal(size_of(fixture, "log/0000000000000002.seg"), LARGE);
    fixture_restart(fixture);
    assert_int_equal(fixture_recovered(fixture, GROUP)->entry_count, 100);
    log_release(fixture->queue, GROUP, REPLICA, 99, 1);
    fixture_entry(fixture, 101, 1, "carries the release");
    fixture_flush(fixture);
    assert_int_equal(fixture_statistics(fixture).segments, 1);
    assert_null(fake_disk_find(fixture->disk, "log/0000000000000001.seg"));
    assert_int_not_equal(size_of(fixture, "log/spare-0.seg"), FIRST);
    assert_int_not_equal(size_of(fixture, "log/spare-1.seg"), FIRST);
}

/* Requests that add data are refused while the log is short, so that nothing more is appended: it
 * has to find out by itself that there is space again. */
static void test_a_spare_is_tried_again_though_nothing_is_appended(void **state)
{
    struct log_fixture *fixture = *state;

    fixture_state(fixture, 1, 0);
    fixture->disk->space_left = 0;
    fixture_big_entries(fixture, 1, 9, 1);
    assert_true(log_is_short(fixture->log));
    fake_disk_pass(fixture->disk, 1000 * 1000);
    assert_true(log_is_short(fixture->log));
    fixture->disk->space_left = 8 * 1024 * 1024;
    for (int i = 0; i < 5; i++)
        fake_disk_pass(fixture->disk, 1000 * 1000);
    assert_false(log_is_short(fixture->log));
    assert_false(fixture_statistics(fixture).no_space);
}

static void test_a_release_is_written_at_once_while_space_is_short(void **state)
{
    struct log_fixture *fixture = *state;

    fixture_state(fixture, 1, 0);
    fixture_big_entries(fixture, 1, 21, 1);
    fixture->disk->space_left = 0;
    uint64_t last = 21;
    while (!log_is_short(fixture->log) && last < 60) {
        last++;
        fixture_big_entries(fixture, last, last, 1);
    }
    assert_true(log_is_short(fixture->log));
    assert_true(log_queue_idle(fixture->queue));
    assert_true(fixture_statistics(fixture).segments > 1);
    log_release(fixture->queue, GROUP, REPLICA, last, 1);
    fixture_flush(fixture); /* with no record that anybody waits for */
    assert_int_equal(fixture_statistics(fixture).segments, 1);
    assert_false(log_is_short(fixture->log));
    assert_true(log_queue_idle(fixture->queue));
}

/* --- inspecting --------------------------------------------------------------------------- */

static void collect_line(void *context, const char *line)
{
    struct buffer *buffer = context;
    assert_int_equal(buffer_append_format(buffer, "%s\n", line), STATUS_OK);
}

static void test_inspect_prints_batches_and_records(void **state)
{
    struct log_fixture *fixture = *state;
    struct buffer lines;

    fixture_state(fixture, 3, 70);
    fixture_entry(fixture, 1, 3, "four");
    fixture_flush(fixture);
    log_append_truncate(fixture->queue, GROUP, REPLICA, 1);
    log_append_snapshot(fixture->queue, GROUP, REPLICA, 10, 3);
    log_append_removed(fixture->queue, GROUP, REPLICA);
    fixture_flush(fixture);
    fixture_close(fixture);
    fake_disk_damage(fixture->disk, SEGMENT_1, 4096 + 40);
    buffer_init(&lines, 64 * 1024);
    uint64_t effects = fixture->disk->effects;
    assert_int_equal(
        log_inspect(&fixture->disk->world, "log", &lines, collect_line, &fixture->error),
        STATUS_OK);
    fake_disk_damage(fixture->disk, SEGMENT_1, 4096 + 40);
    assert_int_equal(
        log_inspect(&fixture->disk->world, "log", &lines, collect_line, &fixture->error),
        STATUS_OK);
    assert_int_equal(fixture->disk->effects, effects);
    buffer_append(&lines, bytes_make("", 1));
    const char *text = (const char *)lines.memory;
    assert_non_null(strstr(text, "durable_batch=3"));
    assert_non_null(strstr(text, "segment=0000000000000001 size=1048576"));
    assert_non_null(strstr(text, "offset=0 batch=1 "));
    assert_non_null(strstr(text, "offset=4096 damaged batch"));
    assert_non_null(strstr(text, "group=7 replica=70 state term=3 vote=70 commit=0"));
    assert_non_null(strstr(text, "group=7 replica=70 entry index=1 term=3 type=1 size=4"));
    assert_non_null(strstr(text, "truncate from=1"));
    assert_non_null(strstr(text, "snapshot index=10 term=3"));
    assert_non_null(strstr(text, "removed"));
    buffer_free(&lines);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(test_nothing_is_written_before_submit_and_one_batch_carries_all),
        CASE(test_what_is_not_durable_yet_is_counted),
        CASE(test_an_idle_node_writes_nothing),
        CASE(test_a_full_queue_says_so),
        CASE(test_two_queues_share_a_batch),
        CASE(test_a_job_may_write_many_batches),
        CASE(test_a_busy_queue_may_be_closed_before_the_log_is_abandoned),
        CASE(test_release_frees_segments_and_the_base_survives),
        CASE(test_a_release_behind_the_last_entry_restarts_there),
        CASE(test_an_idle_group_keeps_its_vote_and_pins_only_entries),
        CASE(test_recycled_segments_are_never_replayed),
        CASE(test_another_segment_size_is_taken_over),
        CASE(test_a_failing_sync_is_fatal_and_nothing_is_reported),
        CASE(test_no_space_waits_and_goes_on_when_there_is_some),
        CASE(test_the_first_of_large_segments_is_smaller_and_not_used_again),
        CASE(test_a_spare_is_tried_again_though_nothing_is_appended),
        CASE(test_a_release_is_written_at_once_while_space_is_short),
        CASE(test_inspect_prints_batches_and_records),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
