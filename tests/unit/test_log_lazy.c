/* Lazy entries: written at once, synced with what others wait for, or after LOG_LAZY_SYNC_US. */
#include "log_fixture.h"
#include "storage/log/salvage.h"

struct lazy {
    struct log_fixture *fixture;
    struct log_queue *queue;
    uint64_t durable, written, durable_at_written, last;
};

static void lazy_durable(void *context, uint64_t position)
{
    struct lazy *lazy = context;
    assert_true(position > lazy->durable);
    lazy->durable = position;
}

static void lazy_written(void *context, uint64_t position)
{
    struct lazy *lazy = context;
    assert_true(position > lazy->written);
    assert_true(position > lazy->durable); /* else it is no news */
    lazy->written = position;
    lazy->durable_at_written = lazy->durable;
}

static struct lazy lazy_open(struct log_fixture *fixture)
{
    struct lazy lazy = {.fixture = fixture};
    return lazy;
}

static void lazy_begin(struct lazy *lazy)
{
    struct log_fixture *fixture = lazy->fixture;
    lazy->queue = log_queue_open(fixture->log, &fixture->disk->world, lazy, lazy_durable);
    log_queue_hear_written(lazy->queue, lazy_written);
    log_append_state(lazy->queue, GROUP, REPLICA, &(struct log_state){.term = 1});
    log_queue_submit(lazy->queue);
    fake_disk_pass(fixture->disk, 10 * 1000); /* and the mark */
    assert_int_equal(lazy->written, 0);
    assert_true(lazy->durable > 0);
}

static uint64_t lazy_entry(struct lazy *lazy, uint64_t index, bool is_lazy)
{
    struct log_entry entry = {
        .index = index, .term = 1, .type = 3, .lazy = is_lazy, .body = bytes_of("body")};
    uint64_t position = log_append_entry(lazy->queue, GROUP, REPLICA, &entry);
    log_queue_submit(lazy->queue);
    fake_disk_run(lazy->fixture->disk);
    return position;
}

static void lazy_end(struct lazy *lazy)
{
    fake_disk_pass(lazy->fixture->disk, LOG_LAZY_SYNC_US);
    assert_true(log_queue_idle(lazy->queue));
    log_queue_close(lazy->queue);
}

static size_t recovered_count(struct log_fixture *fixture)
{
    const struct log_recovered *group = fixture_recovered(fixture, GROUP);
    return group ? group->entry_count : 0;
}

static void test_lazy_entries_are_told_when_written_and_synced_later(void **state)
{
    struct log_fixture *fixture = *state;
    struct lazy lazy = lazy_open(fixture);
    lazy_begin(&lazy);
    uint64_t syncs = fixture->disk->syncs, before = lazy.durable;
    uint64_t position = lazy_entry(&lazy, 1, true);
    assert_int_equal(lazy.written, position);
    assert_int_equal(lazy.durable, before);
    position = lazy_entry(&lazy, 2, true);
    assert_int_equal(fixture->disk->syncs, syncs);
    assert_false(log_queue_idle(lazy.queue));
    fake_disk_pass(fixture->disk, LOG_LAZY_SYNC_US);
    assert_int_equal(lazy.durable, position);
    assert_int_equal(fixture->disk->syncs, syncs + 2); /* both at once, and the mark */
    uint64_t effects = fixture->disk->effects;
    fake_disk_pass(fixture->disk, 1000 * 1000);
    fake_disk_pass(fixture->disk, 1000 * 1000);
    assert_int_equal(fixture->disk->effects, effects); /* idle writes nothing */
    lazy_end(&lazy);
}

static void test_steady_lazy_writes_are_synced_all_the_same(void **state)
{
    struct log_fixture *fixture = *state;
    struct lazy lazy = lazy_open(fixture);
    lazy_begin(&lazy);
    uint64_t before = lazy.durable;
    for (uint64_t index = 1; index <= 10; index++) {
        lazy_entry(&lazy, index, true);
        fake_disk_pass(fixture->disk, LOG_LAZY_SYNC_US / 4);
    }
    assert_true(lazy.durable > before);
    lazy_end(&lazy);
}

static void test_an_entry_that_is_waited_for_syncs_what_was_lazy_before_it(void **state)
{
    struct log_fixture *fixture = *state;
    struct lazy lazy = lazy_open(fixture);
    lazy_begin(&lazy);
    lazy_entry(&lazy, 1, true);
    uint64_t position = lazy_entry(&lazy, 2, false);
    assert_int_equal(lazy.durable, position);
    assert_true(log_queue_idle(lazy.queue));
    lazy_end(&lazy);
}

static void lazy_body(struct lazy *lazy, uint64_t index, uint32_t size)
{
    uint8_t *body = memory_allocate_zero(size);
    memset(body, 0x5a, size);
    struct log_entry entry = {
        .index = index, .term = 1, .lazy = true, .body = bytes_make(body, size)};
    log_append_entry(lazy->queue, GROUP, REPLICA, &entry);
    log_queue_submit(lazy->queue);
    fake_disk_run(lazy->fixture->disk);
    lazy->last = index;
    memory_free(body);
}

/* From index `first` on. */
static void big_lazy_entries(struct lazy *lazy, uint64_t first, uint64_t count)
{
    for (uint64_t index = first; index < first + count; index++)
        lazy_body(lazy, index, LOG_ENTRY_BODY_MAX);
}

static void test_the_end_of_a_segment_syncs_what_is_lazy_in_it(void **state)
{
    struct log_fixture *fixture = *state;
    struct lazy lazy = lazy_open(fixture);
    lazy_begin(&lazy);
    big_lazy_entries(&lazy, 1, 6); /* of 1 MiB */
    assert_true(fixture_statistics(fixture).active_segment > 1);
    fixture_abandon(fixture);
    fake_disk_crash(fixture->disk, 3);
    fixture_open(fixture);
    assert_true(recovered_count(fixture) >= 2);
}

static void test_much_that_is_lazy_is_synced_before_its_time(void **state)
{
    struct log_fixture *fixture = *state;
    fixture_abandon(fixture);
    fake_disk_free(fixture->disk);
    fixture->disk = fake_disk_make();
    fixture->options.segment_size = 4 * LOG_LAZY_BYTES_MAX;
    fixture_open(fixture);
    struct lazy lazy = lazy_open(fixture);
    lazy_begin(&lazy);
    uint64_t before = lazy.durable;
    const uint64_t almost = LOG_LAZY_BYTES_MAX / LOG_ENTRY_BODY_MAX - 2;
    big_lazy_entries(&lazy, 1, almost);
    assert_int_equal(lazy.durable, before);
    big_lazy_entries(&lazy, almost + 1, 4);
    assert_true(lazy.durable > before);
    assert_int_equal(fixture_statistics(fixture).active_segment, 1);
    lazy_end(&lazy);
}

static void test_a_killed_process_has_lost_nothing_that_was_written(void **state)
{
    struct log_fixture *fixture = *state;
    struct lazy lazy = lazy_open(fixture);
    lazy_begin(&lazy);
    for (uint64_t index = 1; index <= 5; index++)
        lazy_entry(&lazy, index, true);
    fixture_abandon(fixture);
    fake_disk_kill(fixture->disk);
    fixture_open(fixture);
    assert_int_equal(recovered_count(fixture), 5);
    /* What the restart counts is durable now. */
    fixture_abandon(fixture);
    fake_disk_crash(fixture->disk, 1);
    fixture_open(fixture);
    assert_int_equal(recovered_count(fixture), 5);
}

/* Whatever survives of five batches that no sync has covered: a row of them from the first on,
 * never damage, and what was synced before is there. */
static void test_power_takes_a_tail_of_lazy_batches_and_no_more(void **state)
{
    struct log_fixture *fixture = *state;
    bool less = false, gap = false;
    fixture->options.lost_power = true;
    for (uint64_t seed = 1; seed <= 60; seed++) {
        struct lazy lazy = lazy_open(fixture);
        lazy_begin(&lazy);
        lazy_entry(&lazy, 1, false);
        for (uint64_t index = 2; index <= 6; index++)
            lazy_entry(&lazy, index, true);
        fixture_abandon(fixture);
        fake_disk_crash(fixture->disk, seed);
        fixture_open(fixture);
        size_t count = recovered_count(fixture);
        assert_true(count >= 1 && count <= 6);
        less |= count < 6;
        gap |= fake_disk_reached(fixture->disk, "log: a batch behind a lost one was cut");
        /* What is written from now on is not mixed up with what was cut. */
        struct lazy more = lazy_open(fixture);
        more.queue = log_queue_open(fixture->log, &fixture->disk->world, &more, lazy_durable);
        for (uint64_t index = count + 1; index <= count + 3; index++)
            lazy_entry(&more, index, false);
        fixture_abandon(fixture);
        fake_disk_crash(fixture->disk, seed + 1000);
        fixture_open(fixture);
        assert_int_equal(recovered_count(fixture), count + 3);
        fixture_abandon(fixture);
        fake_disk_free(fixture->disk);
        fixture->disk = fake_disk_make();
        fixture_open(fixture);
    }
    assert_true(less);
    assert_true(gap);
}

/* Unless power was lost, a batch that is gone before one that is there is damage, as ever: who is
 * killed wrote the later one after the earlier. */
static void test_without_a_loss_of_power_nothing_is_cut_before_a_sound_batch(void **state)
{
    struct log_fixture *fixture = *state;
    bool damaged = false;
    for (uint64_t seed = 1; seed <= 30; seed++) {
        struct lazy lazy = lazy_open(fixture);
        lazy_begin(&lazy);
        for (uint64_t index = 1; index <= 6; index++)
            lazy_entry(&lazy, index, true);
        fixture_abandon(fixture);
        fake_disk_crash(fixture->disk, seed);
        enum status status = fixture_try_open(fixture);
        assert_true(status == STATUS_OK || status == STATUS_CORRUPT);
        damaged |= status == STATUS_CORRUPT;
        assert_false(fake_disk_reached(fixture->disk, "log: a batch behind a lost one was cut"));
        fixture_abandon(fixture);
        fake_disk_free(fixture->disk);
        fixture->disk = fake_disk_make();
        fixture_open(fixture);
    }
    assert_true(damaged);
}

/* Otherwise a node would vote twice in a term. */
static void test_a_vote_behind_a_lost_batch_is_kept(void **state)
{
    struct log_fixture *fixture = *state;
    struct lazy lazy = lazy_open(fixture);
    lazy_begin(&lazy);
    uint64_t before = fixture_statistics(fixture).active_bytes;
    lazy_entry(&lazy, 1, true);
    struct log_state vote = {.term = 2, .vote = {71}};
    log_append_state(lazy.queue, GROUP, REPLICA, &vote);
    log_queue_submit(lazy.queue);
    fake_disk_run(fixture->disk);
    assert_true(log_queue_idle(lazy.queue));
    fixture_abandon(fixture);
    fake_disk_damage(fixture->disk, SEGMENT_1, before);
    fake_disk_kill(fixture->disk);
    fixture->options.lost_power = true;
    fixture_open(fixture);
    const struct log_recovered *recovered;
    size_t count;
    log_recovery(fixture->log, &recovered, &count);
    assert_int_equal(count, 1);
    assert_int_equal(recovered[0].entry_count, 0);
    assert_int_equal(recovered[0].state.term, 2);
    assert_int_equal(recovered[0].state.vote.value, 71);
}

/* What lies behind a lost batch stays where it is if a vote in it was kept, and its numbers are
 * given again in the next segment: those count, for a salvage as well. */
static void test_a_salvage_takes_what_was_written_after_a_vote_was_kept(void **state)
{
    struct log_fixture *fixture = *state;
    struct lazy lazy = lazy_open(fixture);
    struct log_salvage salvage;
    lazy_begin(&lazy);
    lazy_entry(&lazy, 1, false); /* so that the segment stays */
    uint64_t before = fixture_statistics(fixture).active_bytes;
    lazy_entry(&lazy, 2, true);
    log_append_state(lazy.queue, GROUP, REPLICA, &(struct log_state){.term = 2, .vote = {71}});
    log_queue_submit(lazy.queue);
    fake_disk_run(fixture->disk);
    fixture_abandon(fixture);
    fake_disk_damage(fixture->disk, SEGMENT_1, before);
    fake_disk_kill(fixture->disk);
    fixture->options.lost_power = true;
    fixture_open(fixture);
    for (uint64_t index = 2; index <= 7; index++) {
        fixture_entry(fixture, index, 2, "new");
        log_queue_submit(fixture->queue);
        fake_disk_run(fixture->disk);
    }
    fixture_abandon(fixture);
    assert_int_equal(log_salvage_read(&fixture->disk->world, "log", &salvage, NULL), STATUS_OK);
    const struct salvaged_group *group = log_salvage_group(&salvage, GROUP.value);
    assert_non_null(group);
    assert_int_equal(group->term_max, 2);
    assert_int_equal(group->base_index, 0);
    assert_int_equal(group->entry_count, 7);
    for (size_t i = 1; i < 7; i++)
        assert_true(bytes_equal(group->entries[i].body, bytes_of("new")));
    log_salvage_free(&salvage);
}

/* The file becomes a spare and is written again, under the same number: what was in it must not be
 * taken for batches of the new life. */
static void test_nothing_of_a_cut_segment_is_left(void **state)
{
    struct log_fixture *fixture = *state;
    struct lazy lazy = lazy_open(fixture);
    lazy_begin(&lazy);
    for (uint64_t index = 1; fixture_statistics(fixture).active_segment == 1; index++)
        lazy_body(&lazy, index, 32 << 10);
    while (fixture_statistics(fixture).active_bytes + (64 << 10) < LOG_SEGMENT_SIZE_MIN)
        lazy_body(&lazy, lazy.last + 1, 32 << 10);
    fixture_abandon(fixture);
    fake_disk_damage(fixture->disk, SEGMENT_2, 0);
    fake_disk_kill(fixture->disk);
    const struct fake_inode *cut = fake_disk_find(fixture->disk, SEGMENT_2);
    fixture->options.lost_power = true;
    fixture_open(fixture);
    for (size_t i = 0; i < cut->size; i++)
        assert_int_equal(cut->bytes[i], 0);
}

static void test_a_segment_that_cannot_follow_leaves_what_was_synced_before_it(void **state)
{
    struct log_fixture *fixture = *state;
    struct lazy lazy = lazy_open(fixture);
    lazy_begin(&lazy);
    fixture->disk->space_left = 0;
    uint64_t before;
    do {
        before = lazy.written;
        lazy_body(&lazy, lazy.last + 1, 32 << 10);
    } while (lazy.written > before);
    assert_true(fixture_statistics(fixture).no_space);
    assert_true(lazy.written > 0);
    assert_int_equal(lazy.durable, lazy.written);
    fixture->disk->space_left = 64 << 20;
    fake_disk_pass(fixture->disk, 200 * 1000);
    lazy_end(&lazy);
}

static void count_call(void *context)
{
    (*(uint32_t *)context)++;
}

static void test_a_sync_that_fails_after_something_was_told_says_so(void **state)
{
    struct log_fixture *fixture = *state;
    uint32_t calls = 0;
    fixture_abandon(fixture);
    fake_disk_free(fixture->disk);
    fixture->disk = fake_disk_make();
    fixture->options.on_written_lost = count_call;
    fixture->options.context = &calls;
    fixture_open(fixture);
    struct lazy lazy = lazy_open(fixture);
    lazy_begin(&lazy);
    lazy_entry(&lazy, 1, true);
    fixture->disk->syncs_until_failure = 1;
    lazy_entry(&lazy, 2, false);
    assert_int_equal(calls, 1);
    assert_int_equal(fixture->disk->fatal_count, 1);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(test_lazy_entries_are_told_when_written_and_synced_later),
        CASE(test_steady_lazy_writes_are_synced_all_the_same),
        CASE(test_an_entry_that_is_waited_for_syncs_what_was_lazy_before_it),
        CASE(test_the_end_of_a_segment_syncs_what_is_lazy_in_it),
        CASE(test_much_that_is_lazy_is_synced_before_its_time),
        CASE(test_a_killed_process_has_lost_nothing_that_was_written),
        CASE(test_power_takes_a_tail_of_lazy_batches_and_no_more),
        CASE(test_without_a_loss_of_power_nothing_is_cut_before_a_sound_batch),
        CASE(test_a_vote_behind_a_lost_batch_is_kept),
        CASE(test_a_salvage_takes_what_was_written_after_a_vote_was_kept),
        CASE(test_nothing_of_a_cut_segment_is_left),
        CASE(test_a_segment_that_cannot_follow_leaves_what_was_synced_before_it),
        CASE(test_a_sync_that_fails_after_something_was_told_says_so),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
