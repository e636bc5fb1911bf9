/* What survives a restart, a crash, damage, and a hostile directory. WHY 5; FAULTS F01-F32. */
#include "base/codec.h"
#include "base/hash.h"
#include "log_fixture.h"
#include "storage/log/format.h"

static void assert_entry(const struct log_recovered *recovered, uint64_t index, uint64_t term,
                         const char *body)
{
    assert_true(index > recovered->base_index);
    assert_true(index <= recovered->base_index + recovered->entry_count);
    const struct log_entry *entry = &recovered->entries[index - recovered->base_index - 1];
    assert_int_equal(entry->index, index);
    assert_int_equal(entry->term, term);
    assert_true(bytes_equal(entry->body, bytes_of(body)));
}

static void test_what_was_durable_is_there_after_a_restart(void **state)
{
    struct log_fixture *fixture = *state;

    fixture_state(fixture, 3, 70);
    fixture_entry(fixture, 1, 2, "one");
    uint64_t position = fixture_entry(fixture, 2, 3, "two");
    fixture_flush(fixture);
    assert_int_equal(fixture->durable, position);
    assert_int_equal(fixture->reports, 1);
    fixture_restart(fixture);

    const struct log_recovered *recovered = fixture_recovered(fixture, GROUP);
    assert_non_null(recovered);
    assert_int_equal(recovered->replica.value, 70);
    assert_int_equal(recovered->state.term, 3);
    assert_int_equal(recovered->state.vote.value, 70);
    assert_int_equal(recovered->base_index, 0);
    assert_int_equal(recovered->entry_count, 2);
    assert_entry(recovered, 1, 2, "one");
    assert_entry(recovered, 2, 3, "two");
    log_recovery_free(fixture->log);
}

static void test_a_conflicting_append_replaces_the_tail(void **state)
{
    struct log_fixture *fixture = *state;

    fixture_state(fixture, 1, 0);
    for (uint64_t index = 1; index <= 5; index++)
        fixture_entry(fixture, index, 1, "old");
    fixture_flush(fixture);
    log_append_truncate(fixture->queue, GROUP, REPLICA, 3);
    fixture_state(fixture, 2, 0);
    fixture_entry(fixture, 3, 2, "new");
    fixture_flush(fixture);
    fixture_restart(fixture);

    const struct log_recovered *recovered = fixture_recovered(fixture, GROUP);
    assert_int_equal(recovered->entry_count, 3);
    assert_entry(recovered, 2, 1, "old");
    assert_entry(recovered, 3, 2, "new");
}

static void test_a_received_snapshot_voids_what_was_before(void **state)
{
    struct log_fixture *fixture = *state;

    fixture_state(fixture, 1, 0);
    fixture_entry(fixture, 1, 1, "old");
    log_append_snapshot(fixture->queue, GROUP, REPLICA, 100, 1);
    fixture_entry(fixture, 101, 1, "new");
    fixture_flush(fixture);
    fixture_restart(fixture);

    const struct log_recovered *recovered = fixture_recovered(fixture, GROUP);
    assert_int_equal(recovered->base_index, 100);
    assert_int_equal(recovered->base_term, 1);
    assert_int_equal(recovered->entry_count, 1);
    assert_entry(recovered, 101, 1, "new");
}

/* WHY 5.3. */
static void test_a_new_replica_inherits_nothing(void **state)
{
    struct log_fixture *fixture = *state;
    const struct replica_id reborn = {71};

    fixture_state(fixture, 9, 70);
    fixture_entry(fixture, 1, 9, "old");
    fixture_flush(fixture);
    log_append_removed(fixture->queue, GROUP, REPLICA);
    fixture_flush(fixture);
    log_append_state(fixture->queue, GROUP, reborn, &(struct log_state){.term = 2});
    fixture_flush(fixture);
    fixture_state(fixture, 9, 70); /* a straggler of the dead one is void */
    fixture_entry(fixture, 2, 9, "straggler");
    fixture_flush(fixture);
    assert_true(fake_disk_reached(fixture->disk, "log: record of a dead replica"));
    fixture_restart(fixture);

    const struct log_recovered *recovered = fixture_recovered(fixture, GROUP);
    assert_int_equal(recovered->replica.value, 71);
    assert_int_equal(recovered->state.term, 2);
    assert_int_equal(recovered->state.vote.value, 0);
    assert_int_equal(recovered->entry_count, 0);
}

static void test_a_removed_replica_stays_removed(void **state)
{
    struct log_fixture *fixture = *state;

    fixture_state(fixture, 9, 70);
    fixture_entry(fixture, 1, 9, "old");
    log_append_removed(fixture->queue, GROUP, REPLICA);
    fixture_flush(fixture);
    fixture_restart(fixture);
    assert_null(fixture_recovered(fixture, GROUP));
}

/* --- torn tails (F03, F20) ---------------------------------------------------------------- */

/* Every subset of the eight sectors of a batch of 4 KiB: it is there as a whole or not at all,
 * and what was durable before it is always there. */
static void test_a_torn_batch_is_cut_whatever_sectors_survive(void **state)
{
    struct log_fixture *fixture = *state;
    char body[3900];
    uint64_t cut = 0, whole = 0;

    fixture_close(fixture); /* into a log whose one segment holds it all */
    fake_disk_free(fixture->disk);
    fixture->disk = fake_disk_make();
    fixture->options.segment_size = 4 * LOG_SEGMENT_SIZE_MIN;
    fixture_open(fixture);
    fixture_state(fixture, 1, 0);
    fixture_flush(fixture);
    for (uint64_t sectors = 0; sectors < 256; sectors++) {
        memset(body, 'a' + (int)(sectors % 26), sizeof(body) - 1);
        body[sizeof(body) - 1] = '\0';
        const struct log_recovered *before = fixture_recovered(fixture, GROUP);
        uint64_t index = before ? before->base_index + before->entry_count + 1 : 1;
        fixture_entry(fixture, index, 1, "durable");
        fixture_flush(fixture);
        fixture_entry(fixture, index + 1, 1, body);
        fixture_write_unsynced(fixture);
        uint64_t count = fake_disk_crash_sectors(fixture->disk, sectors);
        assert_int_equal(count, 8);
        fixture_open(fixture);

        const struct log_recovered *after = fixture_recovered(fixture, GROUP);
        assert_non_null(after);
        assert_entry(after, index, 1, "durable");
        if (sectors == 255) {
            assert_int_equal(after->entry_count, index + 1);
            assert_entry(after, index + 1, 1, body);
            whole++;
        } else {
            assert_int_equal(after->entry_count, index);
            cut++;
        }
    }
    assert_int_equal(cut, 255);
    assert_int_equal(whole, 1);
    assert_true(fake_disk_reached(fixture->disk, "log: torn tail cut"));
}

/* FAULTS rule 6: the recovered tail may be in the page cache alone. */
static void test_a_recovered_tail_is_written_and_synced_before_it_counts(void **state)
{
    struct log_fixture *fixture = *state;

    fixture_state(fixture, 1, 0);
    fixture_flush(fixture);
    fixture_entry(fixture, 1, 1, "unsynced");
    fixture_write_unsynced(fixture);
    fake_disk_kill(fixture->disk);
    struct fake_inode *segment = fake_disk_find(fixture->disk, SEGMENT_1);
    assert_memory_not_equal(segment->bytes, segment->durable_bytes, segment->size);
    fixture_open(fixture);
    assert_int_equal(fixture_recovered(fixture, GROUP)->entry_count, 1);
    assert_memory_equal(segment->bytes, segment->durable_bytes, segment->size);

    fixture_abandon(fixture);
    fake_disk_crash_sectors(fixture->disk, 0);
    fixture_open(fixture);
    assert_int_equal(fixture_recovered(fixture, GROUP)->entry_count, 1);
}

/* What the segment held when it was used before; in hundreds of small writes it took half a second.
 */
static void test_a_used_tail_is_zeroed_in_few_writes(void **state)
{
    enum { FROM = 8 * LOG_BLOCK_SIZE, HOLE = 12 * LOG_BLOCK_SIZE, WRITES_MAX = 12 };
    struct log_fixture *fixture = *state;

    fixture_state(fixture, 1, 0);
    fixture_entry(fixture, 1, 1, "durable");
    fixture_flush(fixture);
    fixture_close(fixture);
    struct fake_inode *segment = fake_disk_find(fixture->disk, SEGMENT_1);
    assert_true(segment->size >= FROM + 3 * WRITES_MAX * LOG_BLOCK_SIZE);
    memset(segment->bytes + FROM, 0xaa, segment->size - FROM);
    memset(segment->bytes + HOLE, 0, LOG_BLOCK_SIZE);
    memcpy(segment->durable_bytes, segment->bytes, segment->size);
    uint64_t effects = fixture->disk->effects;
    fixture_open(fixture);
    assert_true(fixture->disk->effects - effects <= WRITES_MAX);
    assert_int_equal(fixture_recovered(fixture, GROUP)->entry_count, 1);
    for (size_t at = FROM; at < LOG_SEGMENT_SIZE_MIN / 2; at++) /* so far a batch may reach */
        assert_int_equal(segment->bytes[at], 0);
    assert_memory_equal(segment->bytes, segment->durable_bytes, segment->size);
}

/* --- damage (F21-F25) --------------------------------------------------------------------- */

static void write_three_batches(struct log_fixture *fixture)
{
    fixture_state(fixture, 5, 70);
    fixture_flush(fixture);
    fixture_entry(fixture, 1, 5, "one");
    fixture_flush(fixture);
    fixture_entry(fixture, 2, 5, "two");
    fixture_flush(fixture);
}

/* The batches of write_three_batches(): a dump at 0, a vote with its copy, one entry each. */
enum { VOTE_AT = 4096, VOTE_COPY_AT = 8192, ONE_AT = 12288, TWO_AT = 16384 };

static void assert_refused(struct log_fixture *fixture, enum status expected, const char *text)
{
    uint64_t effects = fixture->disk->effects;

    enum status status = fixture_try_open(fixture);
    assert_int_equal(status, expected);
    assert_non_null(strstr(fixture->error.text, text));
    assert_int_equal(fixture->disk->effects, effects); /* the evidence is as it was */
}

static void test_damage_in_the_middle_is_corrupt(void **state)
{
    struct log_fixture *fixture = *state;

    write_three_batches(fixture);
    fixture_abandon(fixture); /* the mark is behind: a later batch alone proves it */
    for (uint64_t offset = ONE_AT; offset < ONE_AT + 128; offset++) {
        fake_disk_damage(fixture->disk, SEGMENT_1, offset);
        assert_refused(fixture, STATUS_CORRUPT, "offset 12288");
        fake_disk_damage(fixture->disk, SEGMENT_1, offset);
    }
    fixture_open(fixture);
}

static void test_damage_of_the_last_batch_is_corrupt_if_the_mark_knows_it(void **state)
{
    struct log_fixture *fixture = *state;

    write_three_batches(fixture);
    fake_disk_pass(fixture->disk, 6 * 1000); /* idle: the mark is written */
    fixture_abandon(fixture);
    fake_disk_crash_sectors(fixture->disk, 0);
    fake_disk_damage(fixture->disk, SEGMENT_1, TWO_AT + 100);
    assert_refused(fixture, STATUS_CORRUPT, "offset 16384");
}

/* The residual window of WHY 5.4, stated in the documentation. */
static void test_damage_of_the_last_batch_before_the_mark_looks_torn(void **state)
{
    struct log_fixture *fixture = *state;

    write_three_batches(fixture);
    fixture_abandon(fixture);
    fake_disk_damage(fixture->disk, SEGMENT_1, TWO_AT + 100);
    fixture_open(fixture);
    assert_int_equal(fixture_recovered(fixture, GROUP)->entry_count, 1);
}

static void test_a_vote_survives_damage_to_either_copy(void **state)
{
    struct log_fixture *fixture = *state;
    const uint64_t damaged_at[] = {VOTE_AT, VOTE_AT + 90, VOTE_COPY_AT, VOTE_COPY_AT + 50};

    fixture_state(fixture, 1, 0);
    fixture_flush(fixture);
    for (size_t i = 0; i < 4; i++) {
        uint64_t term = 10 + i;
        fixture_state(fixture, term, 70);
        uint64_t before = fixture->disk->effects;
        fixture_flush(fixture);
        assert_true(fixture->disk->effects > before);
        fixture_abandon(fixture);
        /* The last batch of the chain begins behind the former one, two blocks long. */
        struct fake_inode *segment = NULL;
        char path[64];
        for (uint64_t id = 1; id < 20; id++) {
            snprintf(path, sizeof(path), "log/%016llx.seg", (unsigned long long)id);
            struct fake_inode *found = fake_disk_find(fixture->disk, path);
            if (found != NULL) segment = found;
        }
        assert_non_null(segment);
        uint64_t last = 0;
        for (uint64_t at = 0; at < segment->size; at += 4096)
            if (memcmp(segment->bytes + at, "HOLONLOG", 8) == 0) last = at;
        uint64_t at = last + damaged_at[i] - VOTE_AT;
        segment->bytes[at] ^= 0xff;
        segment->durable_bytes[at] ^= 0xff;
        fixture_open(fixture);
        const struct log_recovered *recovered = fixture_recovered(fixture, GROUP);
        assert_int_equal(recovered->state.term, term);
        assert_int_equal(recovered->state.vote.value, 70);
    }
    assert_true(fake_disk_reached(fixture->disk, "log: vote of a torn batch kept"));
    fixture_restart(fixture);
    assert_int_equal(fixture_recovered(fixture, GROUP)->state.term, 13);
}

static void test_a_lost_segment_is_corrupt(void **state)
{
    struct log_fixture *fixture = *state;
    const char *paths[] = {SEGMENT_1, SEGMENT_2, SEGMENT_3};

    fixture_state(fixture, 1, 0);
    fixture_big_entries(fixture, 1, 25, 1);
    fixture_close(fixture);
    for (size_t i = 0; i < 3; i++) {
        struct fake_names kept = fixture->disk->history[0];
        fake_disk_remove(fixture->disk, paths[i]);
        assert_int_equal(fixture_try_open(fixture), STATUS_CORRUPT);
        fixture->disk->history[0] = kept;
    }
    fixture_open(fixture);
    assert_int_equal(fixture_recovered(fixture, GROUP)->entry_count, 25);
}

static void test_a_truncated_segment_is_corrupt(void **state)
{
    struct log_fixture *fixture = *state;

    write_three_batches(fixture);
    fixture_close(fixture);
    struct fake_inode *segment = fake_disk_find(fixture->disk, SEGMENT_1);
    segment->size = segment->durable_size = TWO_AT + 100;
    assert_refused(fixture, STATUS_CORRUPT, "known to be durable");
}

static void test_a_missing_mark_is_corrupt(void **state)
{
    struct log_fixture *fixture = *state;

    write_three_batches(fixture);
    fixture_close(fixture);
    fake_disk_remove(fixture->disk, MARK);
    assert_refused(fixture, STATUS_CORRUPT, "durable is missing");
}

static void test_one_damaged_slot_of_the_mark_does_no_harm(void **state)
{
    struct log_fixture *fixture = *state;

    write_three_batches(fixture);
    fixture_close(fixture);
    fake_disk_damage(fixture->disk, MARK, 60);
    fixture_open(fixture);
    fixture_close(fixture);
    fake_disk_damage(fixture->disk, MARK, 60);
    fake_disk_damage(fixture->disk, MARK, 4096 + 60);
    assert_refused(fixture, STATUS_CORRUPT, "neither of its two slots");
}

/* --- hostile directories (F09, F29, F32) --------------------------------------------------- */

static void test_the_log_of_another_is_refused(void **state)
{
    struct log_fixture *fixture = *state;
    struct log_options own = fixture->options;

    write_three_batches(fixture);
    fixture_close(fixture);
    fixture->options.cluster.low++;
    assert_refused(fixture, STATUS_REFUSED, "belongs to cluster");
    fixture->options = own;
    fixture->options.node++;
    assert_refused(fixture, STATUS_REFUSED, "belongs to cluster");
    fixture->options = own;
    fixture->options.store++;
    assert_refused(fixture, STATUS_REFUSED, "belongs to cluster");
    fixture->options = own;
    fixture_open(fixture);
}

/* The mark is ours, a segment is not: somebody copied files together. */
static void test_a_segment_of_another_is_damage(void **state)
{
    struct log_fixture *fixture = *state;
    struct log_fixture *other;
    void *other_state;

    fixture_close(fixture);
    fixture_setup(&other_state);
    other = other_state;
    fixture_close(other);
    fake_disk_free(other->disk);
    other->disk = fake_disk_make();
    other->options.store++;
    fixture_open(other);
    struct fake_inode *from = fake_disk_find(other->disk, SEGMENT_1);
    struct fake_inode *to = fake_disk_find(fixture->disk, SEGMENT_1);
    memcpy(to->bytes, from->bytes, to->size);
    memcpy(to->durable_bytes, from->bytes, to->size);
    assert_refused(fixture, STATUS_CORRUPT, "a batch that belongs to");
    fixture_teardown(&other_state);
}

static void mark_set_version(uint8_t *file, uint32_t version)
{
    for (uint8_t *slot = file; slot <= file + 4096; slot += 4096) {
        store_u32(slot + 8, version);
        store_u32(slot + 12, crc32c(version, bytes_make(slot + 16, 48)));
    }
}

/* The mark says which version wrote the log: one flipped bit in it, or in a segment, does not. */
static void test_another_version_is_refused(void **state)
{
    struct log_fixture *fixture = *state;

    fixture_close(fixture);
    struct fake_inode *mark = fake_disk_find(fixture->disk, MARK);
    uint32_t version = load_u32(mark->bytes + 8);
    mark_set_version(mark->bytes, version + 1);
    mark_set_version(mark->durable_bytes, version + 1);
    assert_refused(fixture, STATUS_VERSION, "another version");
    mark_set_version(mark->bytes, version);
    mark_set_version(mark->durable_bytes, version);
    fake_disk_damage(fixture->disk, MARK, 8);
    fake_disk_damage(fixture->disk, MARK, 4096 + 8);
    assert_refused(fixture, STATUS_CORRUPT, "durable");
    fake_disk_damage(fixture->disk, MARK, 8);
    fake_disk_damage(fixture->disk, MARK, 4096 + 8);
    fake_disk_damage(fixture->disk, SEGMENT_1, 8);
    assert_refused(fixture, STATUS_CORRUPT, "offset 0");
}

static void test_a_foreign_file_is_left_alone(void **state)
{
    struct log_fixture *fixture = *state;
    struct file *file;

    fixture_close(fixture);
    assert_int_equal(
        file_open(&fixture->disk->world, "log/notes.txt", FILE_WRITE | FILE_CREATE, &file, NULL),
        STATUS_OK);
    file_close(file);
    fixture_open(fixture);
    assert_non_null(fake_disk_find(fixture->disk, "log/notes.txt"));
}

static void test_a_log_that_should_be_there_is_not_made_again(void **state)
{
    struct log_fixture *fixture = *state;

    fixture_close(fixture);
    fixture->options.directory = "elsewhere";
    fixture->options.must_exist = true;
    assert_refused(fixture, STATUS_CORRUPT, "the log is gone");
}

static void test_bad_options_are_refused(void **state)
{
    struct log_fixture *fixture = *state;

    fixture_close(fixture);
    fixture->options.segment_size += 1;
    assert_refused(fixture, STATUS_INVALID, "multiple of 4 KiB");
    fixture->options.segment_size = 4096;
    assert_refused(fixture, STATUS_INVALID, "multiple of 4 KiB");
}

/* F01: a crash after each single change of the disk while a log is made. */
static void test_making_a_log_may_be_cut_short_anywhere(void **state)
{
    struct log_fixture *fixture = *state;
    bool made = false;

    fixture_close(fixture);
    for (uint64_t effects = 0; !made; effects++) {
        for (uint64_t seed = 0; seed < 20; seed++) {
            fake_disk_free(fixture->disk);
            fixture->disk = fake_disk_make();
            fixture->disk->effects_left = effects;
            made = fixture_try_open(fixture) == STATUS_OK;
            fixture_abandon(fixture);
            fake_disk_crash(fixture->disk, seed);
            fixture_open(fixture);
            fixture_abandon(fixture);
        }
    }
    fixture_open(fixture);
}

/* --- planted bugs ------------------------------------------------------------------------- */

static void test_the_planted_bugs_do_what_they_say(void **state)
{
    struct log_fixture *fixture = *state;

    write_three_batches(fixture);
    fixture_abandon(fixture);
    fixture->disk->planted = "log_cut_too_much";
    fixture_open(fixture);
    assert_int_equal(fixture_recovered(fixture, GROUP)->entry_count, 1);

    fixture->disk->planted = "log_skip_sync";
    uint64_t position = fixture_entry(fixture, 2, 5, "lost");
    fixture_flush(fixture);
    assert_int_equal(fixture->durable, position);
    fixture_abandon(fixture);
    fake_disk_crash_sectors(fixture->disk, 0);
    fixture->disk->planted = NULL;
    fixture_open(fixture);
    assert_int_equal(fixture_recovered(fixture, GROUP)->entry_count, 1);

    log_append_removed(fixture->queue, GROUP, REPLICA);
    log_append_state(fixture->queue, GROUP, (struct replica_id){71}, &(struct log_state){0});
    fixture_flush(fixture);
    fixture_close(fixture);
    fixture->disk->planted = "log_old_replica_replayed";
    fixture_open(fixture);
    assert_int_equal(fixture_recovered(fixture, GROUP)->replica.value, 71);
    assert_int_equal(fixture_recovered(fixture, GROUP)->entry_count, 1);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(test_what_was_durable_is_there_after_a_restart),
        CASE(test_a_conflicting_append_replaces_the_tail),
        CASE(test_a_received_snapshot_voids_what_was_before),
        CASE(test_a_new_replica_inherits_nothing),
        CASE(test_a_removed_replica_stays_removed),
        CASE(test_a_torn_batch_is_cut_whatever_sectors_survive),
        CASE(test_a_recovered_tail_is_written_and_synced_before_it_counts),
        CASE(test_a_used_tail_is_zeroed_in_few_writes),
        CASE(test_damage_in_the_middle_is_corrupt),
        CASE(test_damage_of_the_last_batch_is_corrupt_if_the_mark_knows_it),
        CASE(test_damage_of_the_last_batch_before_the_mark_looks_torn),
        CASE(test_a_vote_survives_damage_to_either_copy),
        CASE(test_a_lost_segment_is_corrupt),
        CASE(test_a_truncated_segment_is_corrupt),
        CASE(test_a_missing_mark_is_corrupt),
        CASE(test_one_damaged_slot_of_the_mark_does_no_harm),
        CASE(test_the_log_of_another_is_refused),
        CASE(test_a_segment_of_another_is_damage),
        CASE(test_another_version_is_refused),
        CASE(test_a_foreign_file_is_left_alone),
        CASE(test_a_log_that_should_be_there_is_not_made_again),
        CASE(test_bad_options_are_refused),
        CASE(test_making_a_log_may_be_cut_short_anywhere),
        CASE(test_the_planted_bugs_do_what_they_say),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
