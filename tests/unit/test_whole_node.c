/* A node from its first start to its stop, in the simulator: what is on record when, and what
 * a disk that takes nothing more does to it. */
#include "node_bed.h"
#include "partition/host_internal.h"
#include "sim/sim_damage.h"
#include "sim/sim_disk.h"

static void remove_all(struct sim_disk *disk, struct sim_names *names, const char *part)
{
    for (uint32_t i = 0; i < names->count;) {
        char path[SIM_PATH_SIZE_MAX];
        memcpy(path, names->names[i].path, sizeof(path));
        if (strstr(path, part) == NULL) {
            i++;
            continue;
        }
        sim_names_remove(disk, names, path);
        i = 0;
    }
}

/* --- births are on record before a node is ready (FAULTS rule 9) ----------------------- */

static bool has_name(const struct sim_disk *disk, const char *part)
{
    for (uint32_t i = 0; i < disk->now.count; i++)
        if (strstr(disk->now.names[i].path, part) != NULL) return true;
    return false;
}

static bool first_is_whole(struct sim_cluster *cluster, void *unused)
{
    const struct sim_node *node = &cluster->nodes[1];
    return sim_node_is_ready(node) && node_is_whole(node->now->node);
}

/* It is rebuilt under new ids instead. */
static void test_a_node_that_loses_its_log_right_after_ready_is_not_born_again(void **state)
{
    struct sim_node *node = &bed->cluster->nodes[1];

    sim_node_kill(node);
    remove_all(node->machine.disk, &node->machine.disk->now, "/log");
    remove_all(node->machine.disk, &node->machine.disk->durable, "/log");
    sim_node_start(node);
    sim_run_for(&bed->sim, 1 * SECOND);
    assert_true(has_name(node->machine.disk, "quarantine"));
    assert_true(sim_cluster_wait(bed->cluster, 30 * SECOND, first_is_whole, NULL));
}

/* --- the table reaches the disk, if not at once ---------------------------------------- */

static void test_a_table_that_could_not_be_saved_is_saved_later(void **state)
{
    struct sim_node *full = &bed->cluster->nodes[1], *other = &bed->cluster->nodes[3];
    struct sim_disk_options *disk = sim_disk_options(full->machine.disk);
    uint64_t capacity = disk->capacity;

    sim_run_for(&bed->sim, 2 * SECOND);
    uint64_t before = bed_table_epoch(1);
    assert_int_equal(before, bed_table_epoch(3));
    disk->capacity = sim_disk_used(full->machine.disk);
    sim_node_kill(other);
    sim_run_for(&bed->sim, 100 * MS);
    sim_node_start(other); /* its registration is a new table */
    sim_run_for(&bed->sim, 5 * SECOND);
    uint64_t after = bed_table_epoch(3);
    assert_true(after > before);
    assert_int_equal(bed_table_epoch(1), before);

    disk->capacity = capacity;
    sim_run_for(&bed->sim, 3 * SECOND);
    assert_int_equal(bed_table_epoch(1), after);
}

/* --- what lets it start on a full disk --------------------------------------------------- */

static void test_a_reserve_that_somebody_removed_is_made_again(void **state)
{
    struct sim_disk *disk = bed->cluster->nodes[1].machine.disk;

    sim_run_for(&bed->sim, 3 * SECOND);
    assert_true(has_name(disk, "/reserve"));
    remove_all(disk, &disk->now, "/reserve");
    sim_run_for(&bed->sim, 3 * SECOND);
    assert_true(has_name(disk, "/reserve"));
}

/* --- a stop ends ----------------------------------------------------------------------- */

static void test_a_stop_with_a_full_disk_ends_and_says_so(void **state)
{
    struct sim_node *node = &bed->cluster->nodes[1];
    struct sim_incarnation *first = node->now;
    struct sim_disk_options *disk = sim_disk_options(node->machine.disk);
    uint64_t capacity = disk->capacity;

    bed->cluster->failures_expected = true;
    bed->sim.maybe_permille = 1000; /* every batch wants a segment of its own */
    disk->capacity = sim_disk_used(node->machine.disk);
    sim_node_kill(&bed->cluster->nodes[2]); /* elections: something to write */
    sim_run_for(&bed->sim, 3 * SECOND);
    assert_false(first->stopped);
    sim_node_stop(node);
    sim_run_for(&bed->sim, 20 * SECOND);
    assert_true(first->stopped);
    assert_int_equal(first->error.status, STATUS_NO_SPACE);
    assert_non_null(strstr(first->error.text, "no space is left on its disk"));
    assert_non_null(strstr(first->error.text, "data-n1/log"));

    disk->capacity = capacity;
    bed->sim.maybe_permille = 0;
    bed->cluster->failures_expected = false;
    assert_true(sim_cluster_start_all(bed->cluster, 10 * SECOND));
}

/* --- stores (FAULTS F07, F08, F21-F25) -------------------------------------------------- */

static struct engine_memory_disk *engine_disk(struct sim_node *node)
{
    char path[SIM_PATH_SIZE_MAX];
    snprintf(path, sizeof(path), "%.100s/store-0", node->options.data);
    struct sim_inode *inode = sim_names_get(&node->machine.disk->now, path);
    assert_non_null(inode);
    if (inode->engine == NULL) inode->engine = engine_memory_disk_make();
    return inode->engine;
}

/* As a newer version would leave it. */
static void write_record_of_tomorrow(struct sim_node *node)
{
    const uint8_t format = 99;
    uint8_t key[REPLICA_RECORD_KEY_SIZE];
    struct error error;
    struct engine_run *run = NULL;
    struct engine *engine = engine_memory_open(engine_disk(node));

    replica_record_key((struct group_id){GROUP_DATA_FIRST}, key);
    assert_int_equal(engine_run_open(engine, &run, &error), STATUS_OK);
    assert_int_equal(
        engine_run_put(engine, run, bytes_make(key, sizeof(key)), bytes_make(&format, 1), &error),
        STATUS_OK);
    assert_int_equal(engine_run_ingest(engine, run, &error), STATUS_OK);
    engine_close(engine);
}

static void test_only_damage_condemns_a_store_at_the_start(void **state)
{
    struct sim_node *node = &bed->cluster->nodes[1];

    sim_node_kill(node);
    write_record_of_tomorrow(node);
    bed->cluster->failures_expected = true;
    sim_node_start(node);
    struct sim_incarnation *start = node->now;
    sim_run_for(&bed->sim, 5 * SECOND);
    assert_true(start->stopped);
    assert_int_equal(start->error.status, STATUS_VERSION);
    assert_false(has_name(node->machine.disk, "quarantine"));
}

static enum status (*open_really)(void *context, uint32_t store, const char *directory,
                                  struct engine **ret_engine, struct error *error);
static uint32_t opens_to_fail;

static enum status open_fails_at_first(void *context, uint32_t store, const char *directory,
                                       struct engine **ret_engine, struct error *error)
{
    enum status status = open_really(context, store, directory, ret_engine, error);
    if (status || opens_to_fail == 0) return status;
    opens_to_fail--;
    engine_close(*ret_engine);
    *ret_engine = NULL;
    return error_set(error, STATUS_IO, "%s: not yet", directory);
}

static void
test_an_exchange_of_a_store_goes_on_after_the_fresh_one_could_not_be_opened(void **state)
{
    struct sim_node *node = &bed->cluster->nodes[1];

    sim_node_kill(node);
    engine_disk(node);
    assert_true(sim_damage_store(node, 0));
    sim_node_start(node);
    open_really = node->now->node->platform.engine_open;
    node->now->node->platform.engine_open = open_fails_at_first;
    opens_to_fail = 2;
    assert_true(sim_cluster_wait(bed->cluster, 50 * SECOND, first_is_whole, NULL));
    assert_int_equal(opens_to_fail, 0);
}

static void damage_store(void *context)
{
    struct node *node = context;
    struct error error;

    error_set(&error, STATUS_CORRUPT, "as the test wants it");
    host_store_damaged(node->workers[0].host, 0, &error);
}

static bool is_marked(struct sim_cluster *cluster, void *unused)
{
    return cluster->nodes[1].now->node->stores[0].marked;
}

static void test_no_replica_is_given_up_before_the_damage_is_on_record(void **state)
{
    struct sim_node *victim = &bed->cluster->nodes[1];
    struct sim_disk_options *disk = sim_disk_options(victim->machine.disk);
    struct node *node = victim->now->node;
    uint64_t capacity = disk->capacity;

    struct replica_id before = worker_own_replica(&node->workers[0], GROUP_DATA_FIRST);
    disk->capacity = sim_disk_used(victim->machine.disk);
    bed_call(node, damage_store, node);
    sim_run_for(&bed->sim, 8 * SECOND);
    assert_false(node->stores[0].marked);
    assert_true(node->lost_count > 0);
    struct replica_id after = worker_own_replica(&node->workers[0], GROUP_DATA_FIRST);
    assert_int_equal(after.value, before.value);

    /* The mark outlives a crash, whatever becomes of the store: the engine is as good as ever. */
    disk->capacity = capacity;
    assert_true(sim_cluster_wait(bed->cluster, 20 * SECOND, is_marked, NULL));
    assert_true(has_name(victim->machine.disk, "store-0.damaged"));
    assert_false(has_name(victim->machine.disk, "quarantine"));
    sim_node_kill(victim);
    sim_node_start(victim);
    assert_true(sim_cluster_wait(bed->cluster, 10 * SECOND, is_marked, NULL));
    assert_true(sim_cluster_wait(bed->cluster, 30 * SECOND, first_is_whole, NULL));
    assert_true(has_name(victim->machine.disk, "quarantine"));
    assert_false(has_name(victim->machine.disk, "store-0.damaged"));
}

static void fail_a_flush_and_damage_store(void *context)
{
    struct node *node = context;
    struct error error;

    node->workers[0].host->stores[0].flush_delay = 100 * MS;
    error_set(&error, STATUS_NO_SPACE, "as the test wants it");
    worker_on_flush(&node->workers[0], 0, &error);
    damage_store(context);
}

static void test_a_fresh_store_is_not_said_to_fail(void **state)
{
    struct node *node = bed_node(1);

    bed_call(node, fail_a_flush_and_damage_store, node);
    sim_run_for(&bed->sim, 10 * MS);
    assert_int_equal(node->stores[0].flush_error.status, STATUS_NO_SPACE);
    assert_true(sim_cluster_wait(bed->cluster, 30 * SECOND, first_is_whole, NULL));
    assert_int_equal(node->stores[0].flush_error.status, STATUS_OK);
}

static void lose_replica(struct node *node, uint64_t heard_ago)
{
    uint64_t now = world_now(node->world);

    worker_lost_replica(&node->workers[0], GROUP_DATA_FIRST,
                        worker_own_replica(&node->workers[0], GROUP_DATA_FIRST));
    assert_int_equal(node->lost_count, 1);
    node->lost[0].since = now - 20 * SECOND;
    node->lost[0].leader_heard = now - heard_ago;
}

static void lose_replica_heard_of_long_ago(void *context)
{
    lose_replica(context, 10 * SECOND);
}

static void hear_of_its_leader(void *context)
{
    node_lost_leader_heard(context, (struct group_id){GROUP_DATA_FIRST});
}

static void test_a_leader_of_long_ago_is_no_reason_to_give_a_replica_up(void **state)
{
    struct node *node = bed_node(1);

    sim_node_kill(&bed->cluster->nodes[2]);
    sim_node_kill(&bed->cluster->nodes[3]);
    sim_run_for(&bed->sim, 20 * SECOND);
    bed_call(node, lose_replica_heard_of_long_ago, node);
    sim_run_for(&bed->sim, 2 * SECOND);
    assert_int_equal(node->lost_count, 1);
    assert_false(node->replace.busy);
    bed_call(node, hear_of_its_leader, node);
    sim_run_for(&bed->sim, 2 * SECOND);
    assert_true(node->replace.busy);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, bed_open_ready, bed_close)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_a_node_that_loses_its_log_right_after_ready_is_not_born_again),
        TEST(test_a_table_that_could_not_be_saved_is_saved_later),
        TEST(test_a_reserve_that_somebody_removed_is_made_again),
        TEST(test_a_stop_with_a_full_disk_ends_and_says_so),
        TEST(test_only_damage_condemns_a_store_at_the_start),
        TEST(test_an_exchange_of_a_store_goes_on_after_the_fresh_one_could_not_be_opened),
        TEST(test_no_replica_is_given_up_before_the_damage_is_on_record),
        TEST(test_a_fresh_store_is_not_said_to_fail),
        TEST(test_a_leader_of_long_ago_is_no_reason_to_give_a_replica_up),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
