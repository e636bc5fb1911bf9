/* The end of a replica: what it had goes to quarantine, its rows leave the engine, and one with a
 * new id in its place starts with nothing of the old. */
#include "host_life.h"

/* --- going ---------------------------------------------------------------------------- */

static void test_rows_and_record_of_a_dropped_replica_leave_the_engine(void **state)
{
    replicate(11, 2, put_entry(2, 5));
    assert_int_equal(engine_rows(0, 0xffff), 2); /* the row and the record */
    bench->drop_inside = true;
    replicate(11, 3, config_entry(3, &without_us));
    assert_int_equal(bench->removed_count, 1);
    assert_int_equal(host_replica_count(bed.host), 0);
    assert_int_equal(engine_rows(0, 0xffff), 0);
    assert_true(host_is_idle(bed.host));
}

static void check_item(struct reader *reader, enum keep_kind kind, uint16_t slot)
{
    assert_int_equal(read_u8(reader), kind);
    struct bytes key = read_bytes(reader, read_u32(reader));
    assert_true(key.size >= 2 && load_u16_be(key.data) == slot);
    assert_true(read_bytes(reader, read_u32(reader)).size > 0);
}

static struct bytes kept_file(const char *path, uint64_t replica, struct reader *ret_reader)
{
    struct bytes file = sim_disk_take_copy(bed.machine.disk, path);
    assert_true(file.size > 24);
    *ret_reader = reader_make(bytes_make(file.data, file.size - 4));
    assert_int_equal(load_u32(file.data + file.size - 4),
                     crc32c(0, bytes_make(file.data, file.size - 4)));
    assert_true(bytes_equal(read_bytes(ret_reader, 8), bytes_of("HOLONRM1")));
    assert_int_equal(read_u32(ret_reader), GROUP);
    assert_int_equal(read_u64(ret_reader), replica);
    return file;
}

static void check_end(struct reader *reader, uint64_t items, struct bytes file)
{
    assert_int_equal(read_u8(reader), KEEP_END);
    assert_int_equal(read_u64(reader), items);
    assert_false(reader->failed);
    assert_int_equal(reader_left(reader), 0);
    memory_free((void *)(uintptr_t)file.data);
}

/* FAULTS rule 8: what it had, in the engine and not in it yet, goes to quarantine first. */
static void test_what_a_removed_replica_had_is_in_quarantine(void **state)
{
    struct reader reader;
    replicate(11, 2, put_entry(2, 5));
    assert_int_equal(engine_rows(0, 0xffff), 2);
    struct append append = {
        .to = 11, .index = 2, .term_before = 2, .commit = 3, .entry = put_entry(3, 6)};
    sim_world_call(sim_world_of(bed.world), 0, send_append, &append);
    sim_run_for(&bed.sim, 20 * 1000);
    assert_int_equal(applied(), 3);
    assert_int_equal(engine_rows(6, 7), 0); /* not flushed yet */
    run(drop_only, NULL);
    assert_int_equal(engine_rows(0, 0xffff), 0);
    struct bytes file = kept_file("data/quarantine/removed/g2-r11.rows", 11, &reader);
    check_item(&reader, KEEP_STORED, 5);
    check_item(&reader, KEEP_STORED, ROW_SLOT_RECORDS);
    check_item(&reader, KEEP_LATER, 6);
    check_item(&reader, KEEP_LATER, ROW_SLOT_RECORDS);
    check_end(&reader, 4, file);
}

static void keep_many(void *context)
{
    struct error error;
    bool of_engine;
    uint8_t slots[2][2] = {{0, 0}, {0xff, 0xfe}};
    struct keep keep = {.world = bed.world,
                        .quarantine = "data/quarantine",
                        .engine = bed.engine,
                        .group = {GROUP},
                        .from = bytes_make(slots[0], 2),
                        .to = bytes_make(slots[1], 2),
                        .record_key = bytes_of("none")};
    for (keep.replica.value = 100; keep.replica.value < 120; keep.replica.value++)
        assert_int_equal(keep_replica(&keep, &of_engine, &error), STATUS_OK);
}

/* What keeping asks its pace for. */
struct rests {
    struct world world; /* first */
    uint64_t count, of_rows, last;
    struct engine_pace pace;
};

static uint64_t note_rest(struct world *world, uint64_t until)
{
    struct rests *rests = (struct rests *)world;

    if (until == 0) return 1000;
    rests->count++;
    rests->last = until;
    return until;
}

enum { PACED_BYTES = 4 << 20, PACED_RATE = 1 << 20 };

static void keep_at_a_pace(void *context)
{
    static const struct world_table table = {.job_rest = note_rest};
    struct rests *rests = context;
    struct buffer later;
    struct error error;
    bool of_engine;
    uint8_t slots[2][2] = {{0, 0}, {0xff, 0xfe}};
    struct engine_run *run = NULL;
    static uint8_t value[64 << 10];

    *rests = (struct rests){.world = {.table = &table}};
    rests->pace.world = &rests->world;
    rests->pace.bytes_per_second = PACED_RATE;
    assert_int_equal(engine_run_open(bed.engine, &run, NULL), STATUS_OK);
    for (uint8_t i = 0; i < PACED_BYTES / sizeof(value); i++) {
        uint8_t key[] = {0, 7, i};
        assert_int_equal(engine_run_put(bed.engine, run, bytes_make(key, sizeof(key)),
                                        bytes_make(value, sizeof(value)), NULL),
                         STATUS_OK);
    }
    assert_int_equal(engine_run_ingest(bed.engine, run, NULL), STATUS_OK);
    struct keep keep = {.world = bed.world,
                        .quarantine = "data/quarantine",
                        .engine = bed.engine,
                        .group = {GROUP},
                        .replica = {200},
                        .from = bytes_make(slots[0], 2),
                        .to = bytes_make(slots[1], 2),
                        .record_key = bytes_of("none"),
                        .pace = &rests->pace};
    assert_int_equal(keep_replica(&keep, &of_engine, &error), STATUS_OK);
    rests->of_rows = rests->count;
    buffer_init(&later, SIZE_MAX / 2);
    for (uint8_t i = 0; i < PACED_BYTES / sizeof(value); i++)
        keep_item(&later, KEEP_LATER, bytes_make(&i, 1), bytes_make(value, sizeof(value)));
    keep.later = buffer_bytes(&later);
    assert_int_equal(keep_replica(&keep, &of_engine, &error), STATUS_OK);
    atomic_bool given_up = true;
    keep.given_up = &given_up;
    assert_int_equal(keep_replica(&keep, &of_engine, &error), STATUS_CLOSED);
    assert_false(of_engine);
    buffer_free(&later);
}

/* In small steps, each durable before the next: a second for each PACED_RATE in all. */
static void test_what_is_kept_goes_to_the_disk_at_a_pace(void **state)
{
    struct rests rests;

    run(keep_at_a_pace, &rests);
    assert_in_range(rests.of_rows, PACED_BYTES / KEEP_STEP_BYTES - 1,
                    PACED_BYTES / KEEP_STEP_BYTES + 1);
    assert_in_range(rests.count, 3 * rests.of_rows - 3,
                    3 * rests.of_rows + 3); /* rows, then both */
    assert_in_range(rests.last, 7 * 1000 * 1000, 10 * 1000 * 1000);
    host_begin_close(bed.host); /* then it is waited for */
    assert_int_equal(bed.host->drop_pace.bytes_per_second, 0);
}

struct names {
    uint32_t count;
    char first[64];
};

static void count_name(void *context, const char *name)
{
    struct names *names = context;
    if (names->count++ == 0) snprintf(names->first, sizeof(names->first), "%s", name);
}

static void test_the_newest_removed_replicas_are_kept_and_no_more(void **state)
{
    struct names names = {0};
    replicate(11, 2, put_entry(2, 5));
    run(keep_many, NULL);
    world_list_dir(bed.world, "data/quarantine/removed", &names, count_name, NULL);
    assert_int_equal(names.count, KEPT_REPLICAS_MAX);
    assert_string_equal(names.first, "g2-r104.rows");
}

static void fail_and_replace(void *context)
{
    engine_memory_disk_fail_next(bed.disk, STATUS_NO_SPACE);
    replace_by_learner(NULL);
}

static void test_a_deletion_that_fails_is_tried_again(void **state)
{
    replicate(11, 2, put_entry(2, 5));
    run(fail_and_replace, NULL);
    assert_int_equal(engine_rows(5, 6), 1);
    sim_run_for(&bed.sim, 6 * 1000 * 1000);
    assert_int_equal(engine_rows(0, 0xffff), 0);
}

static void test_the_replica_in_its_place_keeps_its_own_rows(void **state)
{
    replicate(11, 2, put_entry(2, 5));
    run(replace_by_learner, NULL);
    replicate(21, 1, config_entry(1, &founding));
    replicate(21, 2, put_entry(2, 6));
    assert_int_equal(engine_rows(5, 6), 0);
    assert_int_equal(engine_rows(6, 7), 1);
}

/* As after a crash between the log's "removed" and the deletion. */
static void leave_a_row(void *context)
{
    struct error error;
    struct engine_run *run = NULL;
    struct buffer value;
    struct row_header header = {.version = 2, .type = 1};
    uint8_t key[ROW_PREFIX_SIZE];
    row_prefix_store(key, 5, SERVICE_REDIS, 0);
    buffer_init(&value, 4096);
    row_value_encode(&value, &header, bytes_of("value"));
    assert_int_equal(engine_run_open(bed.engine, &run, &error), STATUS_OK);
    assert_int_equal(
        engine_run_put(bed.engine, run, bytes_make(key, sizeof(key)), buffer_bytes(&value), &error),
        STATUS_OK);
    assert_int_equal(engine_run_ingest(bed.engine, run, &error), STATUS_OK);
    buffer_free(&value);
}

static void reopen_with(void *context)
{
    const uint64_t *id = context;
    bed_close(NULL);
    open_host();
    add_replica(*id, NULL);
    log_recovery_free(bed.log);
    bed.recovered_count = 0;
}

static uint64_t rows_in_memory(void)
{
    struct replica_status status;
    host_replica_status(bed.host, 0, &status);
    return status.rows;
}

static void test_rows_left_by_a_crash_do_not_come_back_in_a_later_replica(void **state)
{
    uint64_t id = 21;
    replicate(11, 2, put_entry(2, 5));
    run(drop_only, NULL);
    run(leave_a_row, NULL);
    run(reopen_with, &id);
    assert_int_equal(rows_in_memory(), 0);
    struct reader reader; /* whose they were is not known any more */
    struct bytes file = kept_file("data/quarantine/removed/g2-r0.rows", 0, &reader);
    check_item(&reader, KEEP_STORED, 5);
    check_end(&reader, 1, file);
    replicate(21, 1, config_entry(1, &founding));
    replicate(21, 2, put_entry(2, 6));
    assert_int_equal(engine_rows(6, 7), 1);
    assert_int_equal(engine_rows(5, 6), 0);
    run(reopen_with, &id);
    assert_int_equal(rows_in_memory(), 1);
}

static void add_beside(void *context)
{
    struct error error = {0};
    const struct raft_config alone = {.incoming_count = 1, .incoming = {{{31}, SELF}}};
    struct replica_options replica = {.group = {GROUP + 1},
                                      .replica = {31},
                                      .slot_first = SLOT_LAST,
                                      .slot_last = SLOT_LAST,
                                      .birth_config = &alone};
    assert_int_equal(host_add_replica(bed.host, &replica, &error), STATUS_OK);
}

static void flush_now(void *context)
{
    flush_store(bed.host, 0);
}

static void drop_without_quarantine(void *context)
{
    bed.host->options.quarantine = "missing/quarantine";
    host_drop_replica(bed.host, (struct group_id){GROUP});
}

/* What cannot be kept stays, for as long as that lasts; others of its store take no harm. */
static void test_a_quarantine_that_cannot_be_written_holds_up_nobody_else(void **state)
{
    replicate(11, 2, put_entry(2, 5));
    run(drop_without_quarantine, NULL);
    run(add_beside, NULL);
    sim_run_for(&bed.sim, 60 * 1000 * 1000);
    run(flush_now, NULL);
    sim_run_for(&bed.sim, 6 * 1000 * 1000);
    assert_false(bed.host->stores[0].damaged);
    const struct replica *beside = host_replica(bed.host, (struct group_id){GROUP + 1});
    assert_true(beside->applied > 0);
    assert_int_equal(beside->flushed, beside->applied);
    assert_int_equal(engine_rows(5, 6), 1);
    bed.host->options.quarantine = "data/quarantine";
    sim_run_for(&bed.sim, 6 * 1000 * 1000);
    assert_int_equal(engine_rows(5, 6), 0);
}

/* WHY 5.10: the last bytes of a disk are for votes and deletes, not for copies. */
static void test_the_reserve_of_the_disk_is_not_used_for_what_is_kept(void **state)
{
    struct sim_disk *disk = bed.machine.disk;
    struct reader reader;
    replicate(11, 2, put_entry(2, 5));
    bed.host->options.disk_reserve = 64 << 10;
    sim_disk_options(disk)->capacity = sim_disk_used(disk) + (64 << 10);
    run(drop_only, NULL);
    sim_run_for(&bed.sim, 20 * 1000 * 1000);
    assert_int_equal(engine_rows(5, 6), 1);
    assert_int_equal(sim_disk_file_size(disk, "data/quarantine/removed/writing"), 0);
    sim_disk_options(disk)->capacity += 64 << 10;
    sim_run_for(&bed.sim, 6 * 1000 * 1000);
    assert_int_equal(engine_rows(5, 6), 0);
    struct bytes file = kept_file("data/quarantine/removed/g2-r11.rows", 11, &reader);
    memory_free((void *)(uintptr_t)file.data);
}

static void put_record_back(void *context)
{
    struct error error;
    struct engine_run *run = NULL;
    uint8_t key[REPLICA_RECORD_KEY_SIZE];
    replica_record_key((struct group_id){GROUP}, key);
    assert_int_equal(engine_run_open(bed.engine, &run, &error), STATUS_OK);
    assert_int_equal(engine_run_put(bed.engine, run, bytes_make(key, sizeof(key)),
                                    *(struct bytes *)context, &error),
                     STATUS_OK);
    assert_int_equal(engine_run_ingest(bed.engine, run, &error), STATUS_OK);
}

static void take_record(void *context, struct bytes value)
{
    buffer_append(context, value);
}

/* As after a crash between "removed" and the deletion: the engine has less than was kept. */
static void test_leftovers_do_not_replace_what_was_kept_of_their_replica(void **state)
{
    uint64_t id = 21;
    struct error error;
    struct reader reader;
    struct buffer record;
    uint8_t key[REPLICA_RECORD_KEY_SIZE];
    buffer_init(&record, 1 << 20);
    replicate(11, 2, put_entry(2, 5));
    replica_record_key((struct group_id){GROUP}, key);
    assert_int_equal(
        engine_get(bed.engine, bytes_make(key, sizeof(key)), &record, take_record, &error),
        STATUS_OK);
    struct append append = {
        .to = 11, .index = 2, .term_before = 2, .commit = 3, .entry = put_entry(3, 6)};
    sim_world_call(sim_world_of(bed.world), 0, send_append, &append);
    sim_run_for(&bed.sim, 20 * 1000);
    run(drop_only, NULL);
    struct bytes put = buffer_bytes(&record);
    run(put_record_back, &put);
    run(leave_a_row, NULL);
    run(reopen_with, &id);
    assert_int_equal(engine_rows(0, 0xffff), 0);
    struct bytes file = kept_file("data/quarantine/removed/g2-r11.rows", 11, &reader);
    check_item(&reader, KEEP_STORED, 5);
    check_item(&reader, KEEP_STORED, ROW_SLOT_RECORDS);
    check_item(&reader, KEEP_LATER, 6);
    check_item(&reader, KEEP_LATER, ROW_SLOT_RECORDS);
    check_end(&reader, 4, file);
    buffer_free(&record);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_rows_and_record_of_a_dropped_replica_leave_the_engine,
                                        setup, teardown),
        cmocka_unit_test_setup_teardown(test_what_a_removed_replica_had_is_in_quarantine, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_what_is_kept_goes_to_the_disk_at_a_pace, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_the_newest_removed_replicas_are_kept_and_no_more,
                                        setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_deletion_that_fails_is_tried_again, setup, teardown),
        cmocka_unit_test_setup_teardown(test_the_replica_in_its_place_keeps_its_own_rows, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(
            test_rows_left_by_a_crash_do_not_come_back_in_a_later_replica, setup, teardown),
        cmocka_unit_test_setup_teardown(
            test_a_quarantine_that_cannot_be_written_holds_up_nobody_else, setup, teardown),
        cmocka_unit_test_setup_teardown(test_the_reserve_of_the_disk_is_not_used_for_what_is_kept,
                                        setup, teardown),
        cmocka_unit_test_setup_teardown(
            test_leftovers_do_not_replace_what_was_kept_of_their_replica, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
