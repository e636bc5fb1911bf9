/* DIR/memory, and the durability of databases in meta (decision 0012). */
#include "cluster/memory_file.h"
#include "fake_disk.h"
#include "meta_fixture.h"

static const char directory[] = "data";

static struct fake_disk *disk_make(void)
{
    struct fake_disk *disk = fake_disk_make();
    assert_int_equal(world_make_dir(&disk->world, directory, NULL), STATUS_OK);
    return disk;
}

static void test_the_file_says_what_was_saved_and_goes_when_nothing_is_left(void **state)
{
    struct fake_disk *disk = disk_make();
    struct memory_file file = {.used = true, .machine = 77}, read;
    struct error error;
    (void)state;

    assert_int_equal(memory_file_load(&disk->world, directory, &read, &error), STATUS_NOT_FOUND);
    memory_file_add(&file, (struct group_id){2}, (struct replica_id){20});
    memory_file_add(&file, (struct group_id){2}, (struct replica_id){20}); /* once */
    memory_file_add(&file, (struct group_id){3}, (struct replica_id){31});
    assert_int_equal(memory_file_save(&disk->world, directory, &file, &error), STATUS_OK);
    fake_disk_crash(disk, 1);
    assert_int_equal(memory_file_load(&disk->world, directory, &read, &error), STATUS_OK);
    assert_int_equal(read.count, 2);
    assert_true(read.used && read.machine == 77);
    assert_true(memory_file_has(&read, (struct group_id){3}, (struct replica_id){31}));
    assert_false(memory_file_has(&read, (struct group_id){3}, (struct replica_id){20}));
    memory_file_free(&read);
    fake_disk_damage(disk, "data/memory", 20);
    assert_int_equal(memory_file_load(&disk->world, directory, &read, &error), STATUS_CORRUPT);
    memory_file_free(&file);
    assert_int_equal(memory_file_save(&disk->world, directory, &file, &error), STATUS_OK);
    fake_disk_crash(disk, 1);
    assert_int_equal(memory_file_load(&disk->world, directory, &read, &error), STATUS_NOT_FOUND);
    fake_disk_free(disk);
}

static void test_power_was_lost_if_the_machine_has_started_since_or_cannot_tell(void **state)
{
    struct memory_file file = {.used = true, .machine = 77};
    (void)state;

    assert_false(memory_file_lost_power(&file, 77));
    assert_true(memory_file_lost_power(&file, 78));
    assert_true(memory_file_lost_power(&file, 0));
    file.used = false;
    assert_false(memory_file_lost_power(&file, 78));
}

static struct meta_reply set(struct fixture *fixture, uint8_t database, bool in_memory)
{
    struct meta_request request = {
        .kind = META_DATABASE, .database = database, .in_memory = in_memory};
    return ask_as_is(fixture, &request);
}

static uint32_t databases(struct fixture *fixture)
{
    struct cluster_view view;
    struct buffer body;

    cluster_view_init(&view);
    assert_int_equal(meta_rows_view(fixture->table, &view), STATUS_OK);
    /* As it travels between nodes and lies in DIR/table. */
    buffer_init(&body, VIEW_SIZE_MAX);
    cluster_view_encode(&view, &body);
    assert_int_equal(cluster_view_decode(buffer_bytes(&body), &view), STATUS_OK);
    buffer_free(&body);
    uint32_t bits = view.memory_databases;
    cluster_view_free(&view);
    return bits;
}

static void test_databases_are_set_and_set_back(void **state)
{
    struct fixture *fixture = *state;

    found(fixture);
    assert_int_equal(databases(fixture), 0);
    assert_int_equal(set(fixture, 5, true).result, META_DONE);
    assert_int_equal(set(fixture, 15, true).result, META_DONE);
    assert_int_equal(databases(fixture), 1 << 5 | 1 << 15);
    uint64_t epoch = meta_rows_epoch(fixture->table);
    assert_int_equal(set(fixture, 5, true).result, META_DONE);
    assert_int_equal(meta_rows_epoch(fixture->table), epoch); /* it was */
    assert_int_equal(set(fixture, 5, false).result, META_DONE);
    assert_int_equal(databases(fixture), 1 << 15);
    assert_int_equal(set(fixture, 16, true).result, META_REFUSED);
}

/* An older version would take such an entry for damage, or for one that is durable. */
static void test_before_the_cluster_version_allows_it_nothing_is_set(void **state)
{
    struct fixture *fixture = *state;

    for (uint32_t version = 1; version < VIEW_VERSION_MEMORY; version++) {
        fixture->founded.cluster_version = version;
        found(fixture);
        struct meta_reply reply = set(fixture, 0, true);
        assert_int_equal(reply.result, META_REFUSED);
        assert_non_null(strstr(reply.text, "holon upgrade finalize"));
        assert_int_equal(databases(fixture), 0);
        row_table_free(fixture->table);
        fixture->table = row_table_make();
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_file_says_what_was_saved_and_goes_when_nothing_is_left),
        cmocka_unit_test(test_power_was_lost_if_the_machine_has_started_since_or_cannot_tell),
        cmocka_unit_test_setup_teardown(test_databases_are_set_and_set_back, setup, teardown),
        cmocka_unit_test_setup_teardown(test_before_the_cluster_version_allows_it_nothing_is_set,
                                        setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
