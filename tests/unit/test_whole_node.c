/* A node from its first start to its stop, in the simulator: what is on record when, and what
 * a disk that takes nothing more does to it. */
#include "base/memory.h"
#include "cluster/identity.h"
#include "cluster/view_codec.h"
#include "sim/sim_cluster.h"
#include "sim/sim_disk.h"
#include "unit.h"

#include <stdlib.h>

enum { MS = 1000, SECOND = 1000 * 1000 };

struct bench {
    struct sim sim;
    struct sim_cluster *cluster;
};

static int setup(void **state)
{
    struct bench *bench = calloc(1, sizeof(*bench));
    struct sim_cluster_options options;

    sim_init(&bench->sim, 1);
    sim_cluster_options_default(&options);
    bench->cluster = sim_cluster_make(&bench->sim, &options);
    assert_true(sim_cluster_start_all(bench->cluster, 10 * SECOND));
    *state = bench;
    return 0;
}

static int teardown(void **state)
{
    struct bench *bench = *state;

    if (bench->sim.failed) print_message("%s\n", bench->sim.violation);
    bool failed = bench->sim.failed;
    sim_cluster_free(bench->cluster);
    sim_free(&bench->sim);
    free(bench);
    return failed;
}

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
    struct bench *bench = *state;
    struct sim_node *node = &bench->cluster->nodes[1];

    sim_node_kill(node);
    remove_all(node->machine.disk, &node->machine.disk->now, "/log");
    remove_all(node->machine.disk, &node->machine.disk->durable, "/log");
    sim_node_start(node);
    sim_run_for(&bench->sim, 1 * SECOND);
    assert_true(has_name(node->machine.disk, "quarantine"));
    assert_true(sim_cluster_wait(bench->cluster, 30 * SECOND, first_is_whole, NULL));
}

/* --- the table reaches the disk, if not at once ---------------------------------------- */

static uint64_t table_epoch_on_disk(struct sim_node *node)
{
    struct cluster_view view;
    struct error error;

    cluster_view_init(&view);
    assert_int_equal(
        view_file_load(node->now->worlds[0], node->options.data, "table", &view, &error),
        STATUS_OK);
    uint64_t epoch = view.table_epoch;
    cluster_view_free(&view);
    return epoch;
}

static void test_a_table_that_could_not_be_saved_is_saved_later(void **state)
{
    struct bench *bench = *state;
    struct sim_node *full = &bench->cluster->nodes[1], *other = &bench->cluster->nodes[3];
    struct sim_disk_options *disk = sim_disk_options(full->machine.disk);
    uint64_t capacity = disk->capacity;

    sim_run_for(&bench->sim, 2 * SECOND);
    uint64_t before = table_epoch_on_disk(full);
    assert_int_equal(before, table_epoch_on_disk(other));
    disk->capacity = sim_disk_used(full->machine.disk);
    sim_node_kill(other);
    sim_run_for(&bench->sim, 100 * MS);
    sim_node_start(other); /* its registration is a new table */
    sim_run_for(&bench->sim, 5 * SECOND);
    uint64_t after = table_epoch_on_disk(other);
    assert_true(after > before);
    assert_int_equal(table_epoch_on_disk(full), before);

    disk->capacity = capacity;
    sim_run_for(&bench->sim, 3 * SECOND);
    assert_int_equal(table_epoch_on_disk(full), after);
}

/* --- a stop ends ----------------------------------------------------------------------- */

static void test_a_stop_with_a_full_disk_ends_and_says_so(void **state)
{
    struct bench *bench = *state;
    struct sim_node *node = &bench->cluster->nodes[1];
    struct sim_incarnation *first = node->now;
    struct sim_disk_options *disk = sim_disk_options(node->machine.disk);
    uint64_t capacity = disk->capacity;

    bench->cluster->failures_expected = true;
    bench->sim.maybe_permille = 1000; /* every batch wants a segment of its own */
    disk->capacity = sim_disk_used(node->machine.disk);
    sim_node_kill(&bench->cluster->nodes[2]); /* elections: something to write */
    sim_run_for(&bench->sim, 3 * SECOND);
    assert_false(first->stopped);
    sim_node_stop(node);
    sim_run_for(&bench->sim, 20 * SECOND);
    assert_true(first->stopped);
    assert_int_equal(first->error.status, STATUS_NO_SPACE);
    assert_non_null(strstr(first->error.text, "no space is left on its disk"));
    assert_non_null(strstr(first->error.text, "data-n1/log"));

    disk->capacity = capacity;
    bench->sim.maybe_permille = 0;
    bench->cluster->failures_expected = false;
    assert_true(sim_cluster_start_all(bench->cluster, 10 * SECOND));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(
            test_a_node_that_loses_its_log_right_after_ready_is_not_born_again, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_table_that_could_not_be_saved_is_saved_later, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_a_stop_with_a_full_disk_ends_and_says_so, setup,
                                        teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
