/* The scrubber's check of small files (node_sealed.c): what is not damage, but another process's,
 * and where the evidence goes. */
#include "base/codec.h"
#include "base/hash.h"
#include "node_bed.h"
#include "sim/sim_damage.h"
#include "sim/sim_disk.h"
#include "storage/log/log_private.h"

static struct sim_node *victim(void)
{
    return &bed->cluster->nodes[1];
}

static void want(void *context)
{
    node_sealed_want(context);
}

static void check(struct node *node)
{
    bed_call(node, want, node);
    sim_run_for(&bed->sim, 3 * SECOND);
}

/* --- what another process has written (F12) ---------------------------------------------- */

static void take_an_epoch(void *context)
{
    struct node *node = context;
    struct identity later = node->identity;
    boot_epoch_t epoch;
    struct error error;

    assert_int_equal(identity_take_epoch(node->world, node->options.data, &later, &epoch, &error),
                     STATUS_OK);
}

static void write_mark(void *context)
{
    struct node *node = context;
    struct error error;

    assert_int_equal(log_mark_renew(node->log, &error), STATUS_OK);
    node->log->mark_sequence -= 2; /* it was not this process */
}

/* The last byte of the magic is the format. */
static void write_version_of_tomorrow(void *context)
{
    struct node *node = context;
    char path[PATH_SIZE_MAX];
    struct error error;

    path_join(path, node->options.data, "identity");
    assert_int_equal(
        sealed_file_write(node->world, path, "HOLONID9", bytes_of("of tomorrow"), &error),
        STATUS_OK);
}

static void write_lock(struct node *node, uint64_t token)
{
    uint8_t text[20] = "HOLONLK1";
    char path[PATH_SIZE_MAX];
    struct file *file = NULL;

    store_u64(text + 8, token);
    store_u32(text + 16, crc32c(0, bytes_make(text, 16)));
    path_join(path, node->options.data, "lock");
    assert_int_equal(file_open(node->world, path, FILE_WRITE, &file, NULL), STATUS_OK);
    assert_int_equal(file_write(file, 0, bytes_make(text, sizeof(text)), NULL), STATUS_OK);
    file_close(file);
}

/* Of a twin that the system keeps apart, as in another container: the lock is held, by whom only
 * the file can say. */
static void lock_as_another(void *context)
{
    struct node *node = context;

    write_lock(node, node->token + 2);
}

static uint32_t quarantine_sets(void)
{
    const struct sim_names *names = &victim()->machine.disk->now;
    uint32_t count = 0;

    for (uint32_t i = 0; i < names->count; i++) {
        const char *set = strstr(names->names[i].path, "/quarantine/");
        count += set != NULL && strchr(set + strlen("/quarantine/"), '/') == NULL;
    }
    return count;
}

static void check_foreign(void (*write)(void *context), const char *file, const char *text)
{
    struct sim_incarnation *start = victim()->now;

    check(start->node);
    assert_false(start->stopped);
    bed_call(start->node, write, start->node);
    sim_run_for(&bed->sim, 1 * MS);
    struct bytes before = sim_disk_take_copy(victim()->machine.disk, file);
    bed->cluster->failures_expected = true;
    check(start->node);
    assert_true(start->stopped);
    assert_int_equal(start->error.status, STATUS_REFUSED);
    if (strstr(start->error.text, text) == NULL) fail_msg("%s", start->error.text);
    assert_non_null(strstr(start->error.text, "no mix of two directories is made"));

    /* And it is as the other one left it. */
    struct bytes after = sim_disk_take_copy(victim()->machine.disk, file);
    assert_int_equal(before.size, after.size);
    assert_memory_equal(before.data, after.data, after.size);
    assert_int_equal(quarantine_sets(), 0);
    memory_free((void *)before.data);
    memory_free((void *)after.data);
}

static void test_an_identity_with_later_epochs_is_of_another_process(void **state)
{
    check_foreign(take_an_epoch, "data-n1/identity", "another process has started with");
}

static void test_a_mark_with_a_later_sequence_is_of_another_process(void **state)
{
    check_foreign(write_mark, "data-n1/log/durable", "was written by another process");
}

static void test_an_identity_of_a_later_version_is_of_another_process(void **state)
{
    check_foreign(write_version_of_tomorrow, "data-n1/identity", "another version");
}

static void test_a_lock_with_the_token_of_another_process_is_not_ours(void **state)
{
    check_foreign(lock_as_another, "data-n1/lock", "is not the lock that this process holds");
}

static void test_a_damaged_lock_is_no_reason_to_stop(void **state)
{
    struct node *node = bed_node(1);

    assert_true(sim_damage_flip(victim(), "data-n1/lock", 9, 3)); /* in the token */
    check(node);
    assert_false(victim()->now->stopped);
    assert_true(sim_damage_truncate(victim(), "data-n1/lock", 0)); /* as it is on a full disk */
    check(node);
    assert_false(victim()->now->stopped);
}

/* --- evidence ---------------------------------------------------------------------------- */

static void test_tries_to_heal_keep_one_set_in_the_quarantine(void **state)
{
    struct sim_disk *disk = victim()->machine.disk;
    struct node *node = bed_node(1);
    uint64_t capacity = sim_disk_options(disk)->capacity;

    assert_true(sim_damage_flip(victim(), "data-n1/table", 40, 3));
    sim_disk_options(disk)->capacity = sim_disk_used(disk);
    check(node);
    for (int tries = 0; tries < 10; tries++)
        sim_run_for(&bed->sim, 61 * SECOND);
    assert_true(node->sealed.found_total > 2); /* it was tried again and again */
    assert_true(quarantine_sets() <= 1);

    sim_disk_options(disk)->capacity = capacity;
    sim_run_for(&bed->sim, 122 * SECOND);
    assert_int_equal(node->sealed.told_count, 1);
    assert_true(node->sealed.told[0].healed);
    assert_int_equal(quarantine_sets(), 1);

    /* What is damaged later has a set of its own. */
    assert_true(sim_damage_flip(victim(), "data-n1/birth", 40, 3));
    check(node);
    assert_true(node->sealed.told[0].healed);
    assert_int_equal(quarantine_sets(), 2);
}

static void damage_oldest_segment(void *context)
{
    struct node *node = context;
    struct log_statistics log;

    log_statistics(node->log, &log);
    assert_true(log.oldest_segment < log.active_segment);
    log_damage_found(node->log, log.oldest_segment, 0, "as the test wants it");
}

static bool is_set_aside(const struct node *node)
{
    struct log_damaged damaged[LOG_DAMAGED_MAX];

    return log_damages(node->log, damaged) > 0 && damaged[0].set_aside;
}

static const struct world_table *real_table;

static enum status rename_fails(struct world *world, const char *from, const char *to,
                                struct error *error)
{
    if (strstr(from, "/damaged-") == NULL) return real_table->rename(world, from, to, error);
    return error_set(error, STATUS_IO, "%s: not now", from);
}

static void test_tries_to_move_a_segment_keep_one_set_in_the_quarantine(void **state)
{
    struct node *node = bed_node(1);
    static struct world_table table;

    real_table = node->world->table;
    table = *real_table;
    table.rename = rename_fails;
    bed->sim.maybe_permille = 1000; /* each batch wants a segment of its own */
    sim_node_kill(&bed->cluster->nodes[2]);
    sim_run_for(&bed->sim, 500 * MS);
    sim_node_start(&bed->cluster->nodes[2]);
    sim_run_for(&bed->sim, 2 * SECOND);
    bed->sim.maybe_permille = 0;
    node->world->table = &table;
    bed_call(node, damage_oldest_segment, node);
    for (int tries = 0; tries < 10; tries++)
        sim_run_for(&bed->sim, 61 * SECOND);
    assert_true(is_set_aside(node));
    assert_int_equal(quarantine_sets(), 1);
    node->world->table = real_table;
    sim_run_for(&bed->sim, 62 * SECOND);
    assert_false(is_set_aside(node));
    assert_int_equal(quarantine_sets(), 1);
}

static int setup(void **state)
{
    return bed_open(3, 4);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, bed_close)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_an_identity_with_later_epochs_is_of_another_process),
        TEST(test_a_mark_with_a_later_sequence_is_of_another_process),
        TEST(test_an_identity_of_a_later_version_is_of_another_process),
        TEST(test_a_lock_with_the_token_of_another_process_is_not_ours),
        TEST(test_a_damaged_lock_is_no_reason_to_stop),
        TEST(test_tries_to_heal_keep_one_set_in_the_quarantine),
        TEST(test_tries_to_move_a_segment_keep_one_set_in_the_quarantine),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
