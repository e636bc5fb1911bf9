/* Birth and life of a replica: it learns that a committed configuration removed it, and what a host
 * looks at meanwhile. */
#include "host_life.h"
#include "partition/flush.h"

/* --- birth ----------------------------------------------------------------------------- */

static void open_damaged(void *context)
{
    struct error error = {0};
    struct log_entry entries[] = {
        {.index = 1, .term = 1, .type = RAFT_ENTRY_NORMAL, .body = bytes_of("x")},
        {.index = 2, .term = 1, .type = RAFT_ENTRY_CONFIG, .body = bytes_of("no configuration")}};
    struct log_recovered recovered = {.group = {GROUP + 1},
                                      .replica = {31},
                                      .state = {.term = 1},
                                      .entries = entries,
                                      .entry_count = 2};
    struct replica_options replica = {
        .group = {GROUP + 1}, .replica = {31}, .slot_last = SLOT_LAST, .recovered = &recovered};
    assert_int_equal(host_add_replica(bed.host, &replica, &error), STATUS_NOT_FOUND);
    assert_non_null(strstr(error.text, "its configuration cannot be read"));
}

/* The sanitizer watches that nothing of it stays. */
static void test_a_replica_with_a_damaged_configuration_is_refused(void **state)
{
    run(open_damaged, NULL);
    assert_int_equal(host_replica_count(bed.host), 1);
}

static void add_late(void *context)
{
    bench->born_count = 0;
    assert_true(host_is_born(bed.host));
    add_replica(21, NULL);
    assert_false(host_is_born(bed.host));
}

static void test_a_birth_is_told_once_it_is_durable(void **state)
{
    assert_int_equal(bench->born_count, 1);
    run(drop_only, NULL);
    run(add_late, NULL);
    assert_true(host_is_born(bed.host));
    assert_int_equal(bench->born_count, 1);
}

/* --- closing -------------------------------------------------------------------------- */

static void defer_and_ask(void *context)
{
    assert_true(host_is_idle(bed.host));
    host_mark_dirty(host_replica(bed.host, (struct group_id){GROUP}));
    assert_false(host_is_idle(bed.host)); /* it cannot be taken back */
}

static void ask_idle(void *context)
{
    assert_true(host_is_idle(bed.host));
}

static void test_a_host_with_a_deferred_call_is_not_idle(void **state)
{
    run(defer_and_ask, NULL);
    run(ask_idle, NULL);
}

/* --- files of level 0 ----------------------------------------------------------------- */

static uint64_t level0_files(struct engine *engine)
{
    return bench->level0;
}

/* Compaction lowers it, without a flush that would look. */
static void test_level_0_is_read_again_while_it_is_high(void **state)
{
    struct engine_table table = *bed.engine->table;
    const struct engine_table *real = bed.engine->table;
    table.level0_files = level0_files;
    bed.engine->table = &table;
    bench->level0 = 1000;
    replicate(11, 2, put_entry(2, 5));
    assert_int_equal(bed.host->memory.level0_files, 1000);
    uint64_t flushes = bed.host->statistics.flushes;
    bench->level0 = 2;
    run(ask_idle, NULL);
    assert_int_equal(bed.host->statistics.flushes, flushes);
    assert_int_equal(bed.host->memory.level0_files, 2);
    bed.engine->table = real;
}

/* --- entries in memory ------------------------------------------------------------------ */

static uint64_t first_in_memory(void)
{
    return raft_first_index(host_raft(bed.host, (struct group_id){GROUP}));
}

/* Behind entry 2 and up; 0: the leader knows of no new one. */
static void tell_everywhere(uint64_t last, uint64_t commit, uint64_t everywhere)
{
    struct append append = {
        .to = 11, .index = last, .term_before = 2, .commit = commit, .everywhere = everywhere};
    run(send_append, &append);
}

/* One of its members is away: it has the log from 4 on to get, from whoever leads then. */
static void test_entries_stay_in_memory_while_a_member_lacks_them(void **state)
{
    for (uint64_t index = 2; index <= 300; index++)
        replicate(11, index, put_entry(index, 5));
    assert_int_equal(applied(), 300);
    assert_int_equal(first_in_memory(), 1);
    tell_everywhere(300, 300, 3);
    assert_int_equal(first_in_memory(), 4);
    assert_int_equal(host_replica(bed.host, (struct group_id){GROUP})->flushed, 300);
    struct append append = {
        .to = 11, .index = 300, .term_before = 2, .commit = 300, .everywhere = 300};
    sim_world_call(sim_world_of(bed.world), 0, send_append, &append);
    sim_run_for(&bed.sim, 5000); /* no tick is needed */
    assert_int_equal(first_in_memory(), 301);
}

static void detach_while_a_flush_copies(void *context)
{
    struct error error;
    struct partition_host *host = bed.host;
    flush_store(host, 0);
    struct flush_job *flush = host->stores[0].flush;
    assert_non_null(flush);
    world_timer_stop(bed.world, &flush->timer);
    flush->timer.fire(&flush->timer); /* one step */
    assert_ptr_equal(flush->copying, host_replica(host, (struct group_id){GROUP}));
    size_t rows = buffer_size(&flush->rows);
    assert_true(rows > 0);
    error_set(&error, STATUS_CORRUPT, "found by the scrubber");
    host_store_damaged(host, 0, &error);
    flush_replica_gone(flush->copying);
    assert_null(flush->copying);
    assert_int_equal(buffer_size(&flush->rows), 0);
    assert_int_equal(buffer_size(&flush->records), 0);
    assert_int_equal(flush->part_count, 0);
    assert_true(host_detach_store(host, 0));
    assert_null(host->stores[0].flush);
    assert_int_equal(host_replica_count(host), 0);
    host_attach_store(host, 0);
}

/* A store that is found damaged is taken out, whatever its flush was at. */
static void test_a_replica_that_goes_while_a_flush_copies_it_leaves_nothing_in_it(void **state)
{
    enum { ENTRIES = 600 }; /* more than one step copies */
    bed.host->options.flush_bytes = UINT64_MAX;
    for (uint64_t index = 2; index < 2 + ENTRIES; index++)
        replicate(11, index, put_entry(index, (uint16_t)index));
    assert_int_equal(applied(), 1 + ENTRIES);
    uint32_t rows = engine_rows(0, ENTRIES + 2);
    assert_true(rows < ENTRIES / 2);
    run(detach_while_a_flush_copies, NULL);
    assert_int_equal(engine_rows(0, ENTRIES + 2), rows);
    assert_true(host_is_idle(bed.host));
}

/* A wrong number, or one of a disk that was wound back. */
static void test_entries_stay_in_memory_until_they_are_applied(void **state)
{
    replicate(11, 2, put_entry(2, 5));
    struct append append = {.to = 11, .index = 2, .term_before = 2, .commit = 2, .everywhere = 9};
    append.entry = put_entry(3, 6);
    run(send_append, &append); /* 3 is not committed */
    assert_int_equal(applied(), 2);
    assert_int_equal(first_in_memory(), 3);
    tell_everywhere(3, 3, 9);
    assert_int_equal(applied(), 3);
    tell_everywhere(3, 3, 9); /* a turn later */
    assert_int_equal(first_in_memory(), 4);
}

/* --- learning ------------------------------------------------------------------------- */

static void test_a_replica_that_applies_its_removal_stops_and_says_so_once(void **state)
{
    replicate(11, 2, put_entry(2, 5));
    assert_int_equal(applied(), 2);
    replicate(11, 3, config_entry(3, &without_us));
    assert_int_equal(bench->removed_count, 1);
    replicate(11, 4, put_entry(4, 6)); /* it takes part in nothing any more */
    assert_int_equal(applied(), 3);
    assert_int_equal(bench->removed_count, 1);
    assert_true(engine_rows(0, 0xffff) > 0); /* its data stays */
}

/* It replays configurations from before it was added. */
static void test_a_configuration_from_before_a_replica_is_no_removal(void **state)
{
    run(replace_by_learner, NULL);
    replicate(21, 1, config_entry(1, &founding));
    replicate(21, 2, config_entry(2, &without_us));
    assert_int_equal(applied(), 2);
    assert_int_equal(bench->removed_count, 0);
}

struct gone {
    bool answer;
    uint64_t replica, index;
};

static void send_gone(void *context)
{
    const struct gone *gone = context;
    struct transport_peer peer = {.node = 3, .epoch = 1};
    struct buffer buffer;
    buffer_init(&buffer, 64);
    struct writer writer = writer_make(&buffer);
    write_u8(&writer, gone->answer);
    write_u32(&writer, GROUP);
    write_u64(&writer, gone->replica);
    write_u64(&writer, gone->index);
    host_on_frame(bed.host, &peer, PEER_FRAME_GONE, buffer_bytes(&buffer));
    buffer_free(&buffer);
}

static void gone(bool answer, uint64_t replica, uint64_t index)
{
    struct gone frame = {answer, replica, index};
    run(send_gone, &frame);
}

static void wish_others(void *context)
{
    host_set_wish(bed.host, (struct group_id){GROUP}, without_us.incoming, 2, UINT64_MAX, 0, false);
}

static void test_a_replica_that_is_not_wished_for_asks_and_believes_an_answer(void **state)
{
    replicate(11, 2, put_entry(2, 5));
    gone(true, 11, 1); /* nobody asked: the table still wishes for it */
    assert_int_equal(bench->asked_count, 0);
    assert_int_equal(bench->removed_count, 0);
    run(wish_others, NULL);
    assert_true(bench->asked_count >= 2 && bench->asked_count <= 6);
    gone(true, 11, 0); /* to an older question */
    gone(true, 19, 1); /* of another replica */
    assert_int_equal(bench->removed_count, 0);
    gone(true, 11, 1);
    assert_int_equal(bench->removed_count, 1);
}

static void test_only_a_newer_committed_configuration_without_the_asker_is_an_answer(void **state)
{
    static const struct raft_config without_13 = {.incoming_count = 2,
                                                  .incoming = {{{11}, 1}, {{12}, 2}}};
    gone(false, 13, 1);
    assert_int_equal(bench->answered_count, 0); /* it is a member */
    struct append uncommitted = {.to = 11,
                                 .index = 1,
                                 .term_before = BIRTH_TERM,
                                 .commit = 1,
                                 .entry = config_entry(2, &without_13)};
    run(send_append, &uncommitted);
    gone(false, 13, 1);
    assert_int_equal(bench->answered_count, 0);
    struct append commit = {.to = 11, .index = 2, .term_before = 2, .commit = 2};
    run(send_append, &commit);
    gone(false, 13, 2); /* it knows a configuration as new as ours that has it */
    gone(false, 12, 1);
    assert_int_equal(bench->answered_count, 0);
    gone(false, 13, 1);
    assert_int_equal(bench->answered_count, 1);
}

/* One that never saw itself in a configuration: its absence alone says nothing. */
static void test_a_later_replica_of_its_node_tells_a_learner_that_it_is_gone(void **state)
{
    static const struct raft_config with_later = {.incoming_count = 2,
                                                  .incoming = {{{11}, 1}, {{12}, 2}},
                                                  .learner_count = 1,
                                                  .learners = {{{33}, 3}}};
    replicate(11, 2, config_entry(2, &with_later));
    gone(false, 34, 0);
    assert_int_equal(bench->answered_count, 0); /* still to be added */
    gone(false, 33, 0);
    assert_int_equal(bench->answered_count, 0);
    gone(false, 32, 0);
    assert_int_equal(bench->answered_count, 1);
}

/* By a table that knows of the ids below `end`. */
static void wish_for_33(void *end)
{
    static const struct raft_member wish[] = {{{33}, SELF}, {{12}, 2}, {{13}, 3}};
    host_set_wish(bed.host, (struct group_id){GROUP}, wish, 3, (uintptr_t)end, 0, false);
}

static void test_a_learner_that_nothing_came_to_asks_too(void **state)
{
    run(replace_by_learner, NULL);
    bench->removed_id = 21;
    run(wish_for_33, (void *)21); /* this table is older than the learner */
    assert_true(bench->asked_count >= 2);
    gone(true, 21, 0);
    assert_int_equal(bench->removed_count, 1);
}

/* Nobody ever counted on it, and no table will name it again: it asks nobody. */
static void test_a_learner_that_nothing_came_to_goes_by_a_table_that_knows_of_it(void **state)
{
    run(replace_by_learner, NULL);
    bench->removed_id = 21;
    run(wish_for_33, (void *)34);
    assert_int_equal(bench->asked_count, 0);
    assert_int_equal(bench->removed_count, 1);
}

/* --- a snapshot that cannot be read back ------------------------------------------------ */

enum { SNAPSHOT_INDEX = 50 };

/* Of no row. */
static void send_snapshot(void *context)
{
    struct buffer record, frame;
    buffer_init(&record, 4096);
    buffer_init(&frame, 4096);
    leader_record_encode(SNAPSHOT_INDEX, &record);
    struct writer writer = writer_make(&frame);
    write_u32(&writer, GROUP);
    write_u64(&writer, 12);
    write_u64(&writer, 11);
    write_u64(&writer, 2); /* the leader's term */
    write_u64(&writer, 77);
    write_u64(&writer, SNAPSHOT_INDEX);
    write_u64(&writer, 2);
    write_u64(&writer, 4 + buffer_size(&record)); /* in all */
    write_u64(&writer, 0);
    write_block(&writer, buffer_bytes(&record));
    assert_false(writer.failed);
    struct transport_peer peer = {.node = 2, .epoch = 1};
    host_on_frame(bed.host, &peer, PEER_FRAME_SNAPSHOT, buffer_bytes(&frame));
    buffer_free(&record);
    buffer_free(&frame);
}

/* Until it is in the engine, and on its way into the log. */
static void run_until_ingested(void)
{
    struct replica *replica = host_replica(bed.host, (struct group_id){GROUP});
    sim_world_call(sim_world_of(bed.world), 0, send_snapshot, NULL);
    for (int i = 0; i < 100 * 1000 && !snapshot_holds_core(replica); i++)
        sim_run_for(&bed.sim, 1);
    assert_true(snapshot_holds_core(replica));
    assert_int_equal(bench->installed_count, 0);
}

static void test_a_snapshot_is_acknowledged_once_it_is_installed(void **state)
{
    run_until_ingested();
    sim_run_for(&bed.sim, 1000 * 1000);
    assert_int_equal(bench->installed_count, 1);
    assert_int_equal(applied(), SNAPSHOT_INDEX);
}

static void test_a_snapshot_that_cannot_be_read_back_is_not_acknowledged(void **state)
{
    run_until_ingested();
    engine_memory_disk_damage(bed.disk);
    sim_run_for(&bed.sim, 1000 * 1000);
    assert_true(host_replica(bed.host, (struct group_id){GROUP})->halted);
    assert_int_equal(bench->installed_count, 0);
}

/* --- salvage --------------------------------------------------------------------------- */

static const struct salvage_rename to_99 = {
    .group = {GROUP}, .from = {11}, .to = {99}, .node = SELF};

static void salvage_twice(void *context)
{
    struct error error = {0};
    struct salvage_record record = {0};
    for (int i = 0; i < 2; i++) { /* the second time as after a crash before its step 2 */
        assert_int_equal(salvage_records_rename(bed.engine, &to_99, 1, &error), STATUS_OK);
        assert_int_equal(salvage_record_read(bed.engine, to_99.group, &record, &error), STATUS_OK);
        assert_int_equal(record.replica.value, 99);
        assert_int_equal(record.applied, 2);
    }
}

static void copy_record(void *context, struct bytes value)
{
    buffer_append(context, value);
}

static void record_decode(struct buffer *buffer, struct replica_record *ret_record)
{
    struct error error = {0};
    uint8_t key[REPLICA_RECORD_KEY_SIZE];
    replica_record_key((struct group_id){GROUP}, key);
    assert_int_equal(
        engine_get(bed.engine, bytes_make(key, sizeof(key)), buffer, copy_record, &error),
        STATUS_OK);
    assert_int_equal(replica_record_decode(buffer_bytes(buffer), ret_record), STATUS_OK);
}

static void put_record(struct bytes value)
{
    struct error error = {0};
    struct engine_run *run = NULL;
    uint8_t key[REPLICA_RECORD_KEY_SIZE];
    replica_record_key((struct group_id){GROUP}, key);
    assert_int_equal(engine_run_open(bed.engine, &run, &error), STATUS_OK);
    assert_int_equal(engine_run_put(bed.engine, run, bytes_make(key, sizeof(key)), value, &error),
                     STATUS_OK);
    assert_int_equal(engine_run_ingest(bed.engine, run, &error), STATUS_OK);
}

/* As after a FLUSHALL whose rows are not all collected yet. */
static void add_a_drop(void *context)
{
    struct replica_record record;
    struct buffer bytes, changed;
    buffer_init(&bytes, 1 << 20);
    buffer_init(&changed, 1 << 20);
    record_decode(&bytes, &record);
    assert_int_equal(record.drops.size, 0); /* the number of drops ends it */
    buffer_append(&changed, bytes_make(buffer_bytes(&bytes).data, buffer_size(&bytes) - 4));
    struct writer writer = writer_make(&changed);
    write_u32(&writer, 1);
    write_u8(&writer, SERVICE_REDIS);
    write_u32(&writer, 3);
    write_u64(&writer, 2);
    put_record(buffer_bytes(&changed));
    buffer_free(&bytes);
    buffer_free(&changed);
}

static void test_a_salvaged_record_has_all_that_the_old_one_had(void **state)
{
    struct replica_record before, after;
    struct buffer before_bytes, after_bytes;
    buffer_init(&before_bytes, 1 << 20);
    buffer_init(&after_bytes, 1 << 20);
    replicate(11, 2, put_entry(2, 5));
    run(add_a_drop, NULL);
    record_decode(&before_bytes, &before);
    assert_true(before.counted);
    assert_int_equal(before.counts.size, RECORD_NAME_SIZE);
    assert_int_equal(before.drops.size, RECORD_NAME_SIZE);
    run(salvage_twice, NULL);
    record_decode(&after_bytes, &after);
    assert_true(after.counted);
    assert_int_equal(after.entry_time, before.entry_time);
    assert_true(bytes_equal(after.counts, before.counts));
    assert_true(bytes_equal(after.drops, before.drops));
    assert_true(bytes_equal(after.dedup, before.dedup));
    assert_int_equal(after.config.incoming_count, 1);
    assert_int_equal(after.config.incoming[0].replica.value, 99);
    buffer_free(&before_bytes);
    buffer_free(&after_bytes);
}

static void damage_and_salvage(void *context)
{
    struct error error = {0};
    struct buffer found;
    uint8_t key[REPLICA_RECORD_KEY_SIZE];
    uint8_t format = *(const uint8_t *)context;
    struct bytes value = bytes_make(&format, 1);
    replica_record_key(to_99.group, key);
    put_record(value);
    assert_int_equal(salvage_records_rename(bed.engine, &to_99, 1, &error),
                     format == 99 ? STATUS_VERSION : STATUS_CORRUPT);
    buffer_init(&found, 4096);
    assert_int_equal(
        engine_get(bed.engine, bytes_make(key, sizeof(key)), &found, copy_record, &error),
        STATUS_OK);
    assert_true(bytes_equal(buffer_bytes(&found), value));
    buffer_free(&found);
}

static void test_a_record_that_cannot_be_read_is_not_deleted_by_a_salvage(void **state)
{
    uint8_t formats[] = {2, 99};
    for (size_t i = 0; i < ARRAY_COUNT(formats); i++)
        run(damage_and_salvage, &formats[i]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_a_replica_with_a_damaged_configuration_is_refused,
                                        setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_birth_is_told_once_it_is_durable, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_host_with_a_deferred_call_is_not_idle, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_entries_stay_in_memory_while_a_member_lacks_them,
                                        setup, teardown),
        cmocka_unit_test_setup_teardown(test_entries_stay_in_memory_until_they_are_applied, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(
            test_a_replica_that_goes_while_a_flush_copies_it_leaves_nothing_in_it, setup, teardown),
        cmocka_unit_test_setup_teardown(test_level_0_is_read_again_while_it_is_high, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(
            test_a_replica_that_applies_its_removal_stops_and_says_so_once, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_configuration_from_before_a_replica_is_no_removal,
                                        setup, teardown),
        cmocka_unit_test_setup_teardown(
            test_a_replica_that_is_not_wished_for_asks_and_believes_an_answer, setup, teardown),
        cmocka_unit_test_setup_teardown(
            test_only_a_newer_committed_configuration_without_the_asker_is_an_answer, setup,
            teardown),
        cmocka_unit_test_setup_teardown(
            test_a_later_replica_of_its_node_tells_a_learner_that_it_is_gone, setup, teardown),
        cmocka_unit_test_setup_teardown(
            test_a_learner_that_nothing_came_to_goes_by_a_table_that_knows_of_it, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_learner_that_nothing_came_to_asks_too, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_a_snapshot_is_acknowledged_once_it_is_installed, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(
            test_a_snapshot_that_cannot_be_read_back_is_not_acknowledged, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_salvaged_record_has_all_that_the_old_one_had, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(
            test_a_record_that_cannot_be_read_is_not_deleted_by_a_salvage, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
