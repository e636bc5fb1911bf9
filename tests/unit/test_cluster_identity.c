/* A boot epoch is never used twice, and a damaged file is refused with its name. */
#include "fake_disk.h"
#include "unit.h"

#include <stdio.h>

#include "cluster/identity.h"
#include "cluster/repair_file.h"
#include "cluster/view_codec.h"

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
    assert_int_equal(back.epoch_spoken, 0);
}

/* A start that ends while it is mute has taken an epoch and spoken under none (F11). */
static void test_the_epoch_that_was_spoken_under_stays(void **state)
{
    struct fake_disk *disk = *state;
    struct identity identity = identity_example(), back;
    boot_epoch_t epoch;
    struct error error;

    identity.epoch_next = 7;
    identity.epoch_spoken = 5;
    assert_int_equal(identity_take_epoch(&disk->world, directory, &identity, &epoch, &error),
                     STATUS_OK);
    assert_int_equal(identity_load(&disk->world, directory, &back, &error), STATUS_OK);
    assert_int_equal(epoch, 7);
    assert_int_equal(back.epoch_next, 8);
    assert_int_equal(back.epoch_spoken, 5);
}

/* 0.1.0: the file ends behind the name. All that it had taken counts as spoken under. */
static void test_the_identity_of_the_version_before_is_read(void **state)
{
    struct fake_disk *disk = *state;
    struct identity identity = identity_example(), back;
    struct buffer body;
    struct error error;

    identity.epoch_next = 7;
    assert_int_equal(identity_save(&disk->world, directory, &identity, &error), STATUS_OK);
    buffer_init(&body, SEALED_SIZE_MAX);
    assert_int_equal(sealed_file_read(&disk->world, "data/identity", "HOLONID1", &body, &error),
                     STATUS_OK);
    struct bytes old = bytes_make(buffer_bytes(&body).data, buffer_size(&body) - 4);
    assert_int_equal(sealed_file_write(&disk->world, "data/identity", "HOLONID1", old, &error),
                     STATUS_OK);
    assert_int_equal(identity_load(&disk->world, directory, &back, &error), STATUS_OK);
    assert_int_equal(back.epoch_spoken, 6);
    assert_string_equal(back.name, "n2");
    buffer_free(&body);
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
        assert_int_equal(status, STATUS_CORRUPT); /* a flipped bit makes no other version */
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

static enum directory_content content_of(struct fake_disk *disk)
{
    enum directory_content content;
    struct error error;

    assert_int_equal(directory_check_empty(&disk->world, directory, &content, &error), STATUS_OK);
    return content;
}

static void test_a_foreign_directory_is_not_taken(void **state)
{
    struct fake_disk *disk = *state;
    enum directory_content content;
    struct error error;

    assert_int_equal(content_of(disk), DIRECTORY_EMPTY);
    make_file(disk, "data/lock");
    make_file(disk, "data/holon.log");
    make_file(disk, "data/repair.new");
    make_file(disk, "data/memory.new");
    make_file(disk, "data/fenced.new");
    assert_int_equal(content_of(disk), DIRECTORY_EMPTY);
    make_file(disk, "data/quarantine");
    assert_int_equal(content_of(disk), DIRECTORY_QUARANTINE_ONLY);
    make_file(disk, "data/thesis.tex");
    assert_int_equal(directory_check_empty(&disk->world, directory, &content, &error),
                     STATUS_REFUSED);
    assert_non_null(strstr(error.text, "thesis.tex"));
}

/* F29: it must not be founded anew beside what was acknowledged. */
static void test_data_without_an_identity_is_no_empty_directory(void **state)
{
    struct fake_disk *disk = *state;

    make_file(disk, "data/memory"); /* only a member writes it */
    assert_int_equal(content_of(disk), DIRECTORY_LOST_IDENTITY);
    make_file(disk, "data/store-3");
    make_file(disk, "data/fenced");
    assert_int_equal(content_of(disk), DIRECTORY_LOST_IDENTITY);
    make_file(disk, "data/founding");
    assert_int_equal(content_of(disk), DIRECTORY_LOST_IDENTITY);
}

/* The tables are written before the identity: after a crash in between they stand alone. */
static void test_an_interrupted_founding_counts_as_empty(void **state)
{
    struct fake_disk *disk = *state;

    make_file(disk, "data/table");
    make_file(disk, "data/birth");
    assert_int_equal(content_of(disk), DIRECTORY_LOST_IDENTITY);
    make_file(disk, "data/founding");
    assert_int_equal(content_of(disk), DIRECTORY_EMPTY);
}

/* F32: the store of another node, or of another number, is none of ours. */
static void test_a_store_says_whose_it_is(void **state)
{
    struct fake_disk *disk = *state;
    struct identity identity = identity_example(), other = identity;
    struct world *world = &disk->world;
    struct error error;

    assert_int_equal(store_owner_check(world, directory, &identity, 3, &error), STATUS_NOT_FOUND);
    assert_int_equal(store_owner_save(world, directory, &identity, 3, &error), STATUS_OK);
    assert_int_equal(store_owner_check(world, directory, &identity, 3, &error), STATUS_OK);
    assert_int_equal(store_owner_check(world, directory, &identity, 4, &error), STATUS_CORRUPT);
    other.store++;
    assert_int_equal(store_owner_check(world, directory, &other, 3, &error), STATUS_CORRUPT);
    for (uint64_t offset = 0; offset < 48; offset++) {
        assert_int_equal(store_owner_save(world, directory, &identity, 3, &error), STATUS_OK);
        fake_disk_damage(disk, "data/owner", offset);
        assert_int_equal(store_owner_check(world, directory, &identity, 3, &error), STATUS_CORRUPT);
        assert_non_null(strstr(error.text, "data/owner"));
    }
}

/* --- DIR/repair ------------------------------------------------------------------------- */

static struct repair_file repair_example(void)
{
    struct repair_file file = {.step = REPAIR_JOINING,
                               .cluster = {7, 9},
                               .offset = 12288,
                               .began = -5,
                               .settings = {.partitions = 8, .replicas = 3, .stores = 2},
                               .member_count = 2};

    snprintf(file.reason, sizeof(file.reason), "log");
    snprintf(file.file, sizeof(file.file), "data/log/0000000000000001.seg");
    snprintf(file.what, sizeof(file.what), "batch 3 is damaged");
    snprintf(file.quarantine, sizeof(file.quarantine), "20261121T083000Z-log");
    snprintf(file.members[0].name, sizeof(file.members[0].name), "n1");
    snprintf(file.members[1].peer, sizeof(file.members[1].peer), "h2:1");
    return file;
}

static void test_a_repair_is_remembered_whole_or_known_to_be_damaged(void **state)
{
    struct fake_disk *disk = *state;
    struct repair_file file = repair_example(), back;
    struct world *world = &disk->world;
    struct error error;

    assert_int_equal(repair_file_load(world, directory, &back, &error), STATUS_NOT_FOUND);
    assert_int_equal(repair_file_save(world, directory, &file, &error), STATUS_OK);
    assert_int_equal(repair_file_load(world, directory, &back, &error), STATUS_OK);
    assert_memory_equal(&file, &back, sizeof(file));
    for (uint64_t offset = 0; offset < 140; offset++) {
        assert_int_equal(repair_file_save(world, directory, &file, &error), STATUS_OK);
        fake_disk_damage(disk, "data/repair", offset);
        assert_int_equal(repair_file_load(world, directory, &back, &error), STATUS_CORRUPT);
    }
    assert_int_equal(repair_file_remove(world, directory, &error), STATUS_OK);
    assert_int_equal(repair_file_load(world, directory, &back, &error), STATUS_NOT_FOUND);
}

/* "birth" sorts before "log": the first name must not speak for the others. */
static void test_data_beside_an_interrupted_founding_counts(void **state)
{
    struct fake_disk *disk = *state;

    make_file(disk, "data/founding");
    make_file(disk, "data/birth");
    make_file(disk, "data/table");
    make_file(disk, "data/log");
    assert_int_equal(content_of(disk), DIRECTORY_LOST_IDENTITY);
}

static void test_foreign_names_are_listed_up_to_a_limit(void **state)
{
    struct fake_disk *disk = *state;
    enum directory_content content;
    struct error error;
    char path[64];

    for (int i = 0; i < 7; i++) {
        snprintf(path, sizeof(path), "data/%d-a-name-that-goes-on-and-on-and-on", i);
        make_file(disk, path);
    }
    assert_int_equal(directory_check_empty(&disk->world, directory, &content, &error),
                     STATUS_REFUSED);
    assert_non_null(strstr(error.text, "`0-a-name"));
    assert_non_null(strstr(error.text, "`3-a-name"));
    assert_null(strstr(error.text, "`4-a-name"));
    assert_non_null(strstr(error.text, " and 3 more)"));
    assert_non_null(strstr(error.text, "or move its content away"));
}

static void test_a_file_is_compared_byte_by_byte(void **state)
{
    struct fake_disk *disk = *state;
    struct identity identity = identity_example();
    struct error error;
    uint64_t offset = 0;

    assert_int_equal(identity_compare(&disk->world, directory, &identity, &offset, &error),
                     STATUS_NOT_FOUND);
    assert_non_null(strstr(error.text, "data/identity is missing"));
    assert_int_equal(identity_save(&disk->world, directory, &identity, &error), STATUS_OK);
    assert_int_equal(identity_compare(&disk->world, directory, &identity, &offset, &error),
                     STATUS_OK);
    fake_disk_damage(disk, "data/identity", 23);
    assert_int_equal(identity_compare(&disk->world, directory, &identity, &offset, &error),
                     STATUS_CORRUPT);
    assert_int_equal(offset, 23);
    assert_non_null(strstr(error.text, "data/identity offset 23"));
    /* Whole, but of an earlier time: a write that was lost. */
    assert_int_equal(identity_save(&disk->world, directory, &identity, &error), STATUS_OK);
    identity.epoch_next++;
    assert_int_equal(identity_compare(&disk->world, directory, &identity, &offset, &error),
                     STATUS_CORRUPT);
    identity.epoch_next--;
    /* Shorter, and longer. */
    struct fake_inode *inode = fake_disk_find(disk, "data/identity");
    inode->size--;
    assert_int_equal(identity_compare(&disk->world, directory, &identity, &offset, &error),
                     STATUS_CORRUPT);
    assert_int_equal(offset, inode->size);
    struct file *file;
    assert_int_equal(file_open(&disk->world, "data/identity", FILE_WRITE, &file, NULL), STATUS_OK);
    inode->size++;
    assert_int_equal(file_write(file, inode->size, bytes_of("x"), NULL), STATUS_OK);
    file_close(file);
    assert_int_equal(identity_compare(&disk->world, directory, &identity, &offset, &error),
                     STATUS_CORRUPT);
}

/* Who has joined knows from the table alone where the others are. */
static void test_a_table_has_a_copy(void **state)
{
    struct fake_disk *disk = *state;
    struct cluster_view view, back;
    struct buffer body;
    struct error error;
    bool copy;

    cluster_view_init(&view);
    cluster_view_init(&back);
    view.table_epoch = 7;
    view.cluster_version = VIEW_VERSION;
    view.node_count = view.partition_count = view.replicas = view.nodes[0].id = 1;
    view_settings_more_none(&view);
    cluster_view_place(&view);
    buffer_init(&body, VIEW_SIZE_MAX);
    cluster_view_encode(&view, &body);
    assert_int_equal(view_table_load(&disk->world, directory, &back, &copy, &error),
                     STATUS_CORRUPT);
    assert_int_equal(view_table_save(&disk->world, directory, buffer_bytes(&body), &error),
                     STATUS_OK);
    assert_int_equal(view_table_load(&disk->world, directory, &back, &copy, &error), STATUS_OK);
    assert_false(copy);

    fake_disk_damage(disk, "data/table", 20);
    back.table_epoch = 0;
    assert_int_equal(view_table_load(&disk->world, directory, &back, &copy, &error), STATUS_OK);
    assert_true(copy);
    assert_int_equal(back.table_epoch, 7);
    assert_non_null(strstr(error.text, "data/table"));
    fake_disk_remove(disk, "data/table");
    assert_int_equal(view_table_load(&disk->world, directory, &back, &copy, &error), STATUS_OK);
    assert_true(copy);

    fake_disk_damage(disk, "data/table-copy", 20);
    assert_int_equal(view_table_load(&disk->world, directory, &back, &copy, &error),
                     STATUS_CORRUPT);
    assert_int_equal(back.node_count, 0);
    cluster_view_free(&back);
    cluster_view_free(&view);
    buffer_free(&body);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_what_was_saved_is_loaded, setup, teardown),
        cmocka_unit_test_setup_teardown(test_the_epoch_that_was_spoken_under_stays, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_the_identity_of_the_version_before_is_read, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_an_epoch_is_never_taken_twice, setup, teardown),
        cmocka_unit_test_setup_teardown(test_damage_is_refused_and_names_the_file, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_file_is_compared_byte_by_byte, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_table_has_a_copy, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_foreign_directory_is_not_taken, setup, teardown),
        cmocka_unit_test_setup_teardown(test_data_without_an_identity_is_no_empty_directory, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_a_store_says_whose_it_is, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_repair_is_remembered_whole_or_known_to_be_damaged,
                                        setup, teardown),
        cmocka_unit_test_setup_teardown(test_an_interrupted_founding_counts_as_empty, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_data_beside_an_interrupted_founding_counts, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_foreign_names_are_listed_up_to_a_limit, setup,
                                        teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
