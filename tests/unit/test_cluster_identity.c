/* A boot epoch is never used twice, and a damaged file is refused with its name. */
#include "fake_disk.h"
#include "unit.h"

#include <stdio.h>

#include "cluster/identity.h"

static const char directory[] = "data";

static int setup(void **state)
{
    struct fake_disk *disk = fake_disk_make();
    struct error error;

    if (world_make_dir(&disk->world, directory, &error)) return -1;
    *state = disk;
    return 0;
}

static int teardown(void **state)
{
    fake_disk_free(*state);
    return 0;
}

static struct identity identity_example(void)
{
    struct identity identity = {.state = IDENTITY_MEMBER,
                                .cluster = {0x1122334455667788, 0x99aabbccddeeff00},
                                .node = 2,
                                .store = 77,
                                .epoch_first = 1,
                                .epoch_last = EPOCH_BLOCK_SIZE,
                                .epoch_next = 1,
                                .proposal = 1,
                                .stores = 8,
                                .partitions = 256,
                                .replicas = 3,
                                .reads = READS_QUORUM};
    snprintf(identity.name, sizeof(identity.name), "n2");
    return identity;
}

static void test_what_was_saved_is_loaded(void **state)
{
    struct fake_disk *disk = *state;
    struct identity identity = identity_example(), back;
    struct error error;

    assert_int_equal(identity_load(&disk->world, directory, &back, &error), STATUS_NOT_FOUND);
    assert_int_equal(identity_save(&disk->world, directory, &identity, &error), STATUS_OK);
    assert_int_equal(identity_load(&disk->world, directory, &back, &error), STATUS_OK);
    assert_true(cluster_id_equal(back.cluster, identity.cluster));
    assert_int_equal(back.node, 2);
    assert_int_equal(back.store, 77);
    assert_int_equal(back.epoch_last, EPOCH_BLOCK_SIZE);
    assert_int_equal(back.reads, READS_QUORUM);
    assert_string_equal(back.name, "n2");
}

/* Rule B1, over power losses at every possible effect of the disk. */
static void test_an_epoch_is_never_taken_twice(void **state)
{
    struct fake_disk *disk = *state;
    struct identity identity = identity_example();
    struct error error;
    boot_epoch_t last = 0;

    assert_int_equal(identity_save(&disk->world, directory, &identity, &error), STATUS_OK);
    for (uint64_t start = 0; start < 200; start++) {
        boot_epoch_t epoch = 0;
        struct identity now;
        assert_int_equal(identity_load(&disk->world, directory, &now, &error), STATUS_OK);
        disk->effects_left = start % 9 == 8 ? UINT64_MAX : start % 9;
        enum status status = identity_take_epoch(&disk->world, directory, &now, &epoch, &error);
        bool taken = status == STATUS_OK && !disk->dead;
        if (taken) {
            assert_true(epoch > last);
            last = epoch;
        }
        disk->effects_left = UINT64_MAX;
        fake_disk_crash(disk, start);
    }
    assert_true(last > 10);
}

static void test_damage_is_refused_and_names_the_file(void **state)
{
    struct fake_disk *disk = *state;
    struct identity identity = identity_example(), back;
    struct error error;

    for (uint64_t offset = 0; offset < 60; offset++) {
        assert_int_equal(identity_save(&disk->world, directory, &identity, &error), STATUS_OK);
        fake_disk_damage(disk, "data/identity", offset);
        enum status status = identity_load(&disk->world, directory, &back, &error);
        assert_true(status == STATUS_CORRUPT || status == STATUS_VERSION);
        assert_non_null(strstr(error.text, "data/identity"));
    }
}

static void make_file(struct fake_disk *disk, const char *path)
{
    struct error error;
    struct file *file = NULL;

    assert_int_equal(file_open(&disk->world, path, FILE_WRITE | FILE_CREATE, &file, &error),
                     STATUS_OK);
    file_close(file);
}

static void test_a_foreign_directory_is_not_taken(void **state)
{
    struct fake_disk *disk = *state;
    struct error error;

    assert_int_equal(directory_check_empty(&disk->world, directory, &error), STATUS_OK);
    make_file(disk, "data/lock");
    make_file(disk, "data/holon.log");
    assert_int_equal(directory_check_empty(&disk->world, directory, &error), STATUS_OK);
    make_file(disk, "data/thesis.tex");
    assert_int_equal(directory_check_empty(&disk->world, directory, &error), STATUS_REFUSED);
    assert_non_null(strstr(error.text, "thesis.tex"));
}

/* The tables are written before the identity: after a crash in between they stand alone. */
static void test_an_interrupted_founding_counts_as_empty(void **state)
{
    struct fake_disk *disk = *state;
    struct error error;

    make_file(disk, "data/table");
    make_file(disk, "data/birth");
    assert_int_equal(directory_check_empty(&disk->world, directory, &error), STATUS_REFUSED);
    make_file(disk, "data/founding");
    assert_int_equal(directory_check_empty(&disk->world, directory, &error), STATUS_OK);
}

/* "birth" sorts before "log": the first name must not speak for the others. */
static void test_data_beside_an_interrupted_founding_is_refused(void **state)
{
    struct fake_disk *disk = *state;
    struct error error;

    make_file(disk, "data/founding");
    make_file(disk, "data/birth");
    make_file(disk, "data/table");
    make_file(disk, "data/log");
    assert_int_equal(directory_check_empty(&disk->world, directory, &error), STATUS_REFUSED);
    assert_non_null(strstr(error.text, "(it holds `log`)"));
}

static void test_foreign_names_are_listed_up_to_a_limit(void **state)
{
    struct fake_disk *disk = *state;
    struct error error;
    char path[64];

    for (int i = 0; i < 7; i++) {
        snprintf(path, sizeof(path), "data/%d-a-name-that-goes-on-and-on-and-on", i);
        make_file(disk, path);
    }
    assert_int_equal(directory_check_empty(&disk->world, directory, &error), STATUS_REFUSED);
    assert_non_null(strstr(error.text, "`0-a-name"));
    assert_non_null(strstr(error.text, "`3-a-name"));
    assert_null(strstr(error.text, "`4-a-name"));
    assert_non_null(strstr(error.text, " and 3 more)"));
    assert_non_null(strstr(error.text, "or move its content away"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_what_was_saved_is_loaded, setup, teardown),
        cmocka_unit_test_setup_teardown(test_an_epoch_is_never_taken_twice, setup, teardown),
        cmocka_unit_test_setup_teardown(test_damage_is_refused_and_names_the_file, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_foreign_directory_is_not_taken, setup, teardown),
        cmocka_unit_test_setup_teardown(test_an_interrupted_founding_counts_as_empty, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_data_beside_an_interrupted_founding_is_refused, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_foreign_names_are_listed_up_to_a_limit, setup,
                                        teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
