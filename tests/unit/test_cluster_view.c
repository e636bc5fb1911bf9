/* Placement is balanced for every size of cluster, and a view survives its encoding. */
#include "unit.h"

#include <stdio.h>

#include "cluster/balance.h"
#include "cluster/view_codec.h"

static void view_make(struct cluster_view *view, uint32_t nodes, uint32_t partitions,
                      uint32_t replicas)
{
    cluster_view_init(view);
    view->cluster = (struct cluster_id){7, 9};
    view->table_epoch = 1;
    view->cluster_version = VIEW_VERSION;
    view->partition_count = partitions;
    view->replicas = replicas;
    view->node_count = nodes;
    for (uint32_t i = 0; i < nodes; i++) {
        view->nodes[i].id = i + 1;
        view->nodes[i].store = 1000 + i;
        snprintf(view->nodes[i].name, sizeof(view->nodes[i].name), "n%u", i + 1);
        snprintf(view->nodes[i].peer, sizeof(view->nodes[i].peer), "127.0.0.1:%u", 8000 + i);
    }
    view_settings_more_none(view);
    cluster_view_place(view);
}

struct spread {
    uint32_t least, most;
};

static struct spread spread_of(const uint32_t *counts, uint32_t count)
{
    struct spread spread = {UINT32_MAX, 0};

    for (uint32_t i = 0; i < count; i++) {
        if (counts[i] < spread.least) spread.least = counts[i];
        if (counts[i] > spread.most) spread.most = counts[i];
    }
    return spread;
}

/* Copies are on different nodes, loads differ by at most one, and so do preferred leaders as
 * far as the choice among a partition's own nodes allows. */
static void check_balance(uint32_t nodes, uint32_t partitions, uint32_t replicas)
{
    struct cluster_view view;
    uint32_t loads[NODES_MAX] = {0}, firsts[NODES_MAX] = {0};
    uint32_t copies = replicas < nodes ? replicas : nodes;
    uint64_t highest = 0;

    view_make(&view, nodes, partitions, replicas);
    assert_int_equal(view.group_count, GROUP_DATA_FIRST + partitions);
    assert_int_equal(view.groups[GROUP_META].replica_count, balance_meta_replicas(nodes));
    assert_int_equal(view.groups[GROUP_COORD].replica_count, 0);
    assert_true(cluster_view_slots_covered(&view));
    for (uint32_t p = 0; p < partitions; p++) {
        const struct view_group *group = &view.groups[GROUP_DATA_FIRST + p];
        assert_int_equal(group->replica_count, copies);
        firsts[group->replicas[0].node - 1]++;
        for (uint32_t k = 0; k < copies; k++) {
            loads[group->replicas[k].node - 1]++;
            for (uint32_t other = 0; other < k; other++)
                assert_int_not_equal(group->replicas[k].node, group->replicas[other].node);
            if (group->replicas[k].replica.value > highest)
                highest = group->replicas[k].replica.value;
        }
    }
    assert_int_equal(view.next_replica_id, highest + 1);
    struct spread load = spread_of(loads, nodes);
    struct spread first = spread_of(firsts, nodes);
    assert_true(load.most - load.least <= 1);
    assert_true(first.most - first.least <= 2);
    cluster_view_free(&view);
}

static void test_every_size_is_balanced(void **state)
{
    for (uint32_t nodes = 1; nodes <= 7; nodes++)
        for (uint32_t partitions = 1; partitions <= 256; partitions++)
            for (uint32_t replicas = 1; replicas <= 5; replicas += 2)
                check_balance(nodes, partitions, replicas);
}

/* The node that dies takes no favourite partner down with it: with 5 nodes each pair shares
 * about the same number of partitions. */
static void test_partners_are_spread(void **state)
{
    struct cluster_view view;
    uint32_t shared[5][5] = {{0}};

    view_make(&view, 5, 256, 3);
    for (uint32_t g = GROUP_DATA_FIRST; g < view.group_count; g++)
        for (uint32_t a = 0; a < 3; a++)
            for (uint32_t b = 0; b < 3; b++)
                shared[view.groups[g].replicas[a].node - 1][view.groups[g].replicas[b].node - 1]++;
    for (uint32_t a = 0; a < 5; a++)
        for (uint32_t b = 0; b < 5; b++)
            if (a != b) assert_in_range(shared[a][b], 40, 120); /* 76.8 on average */
    cluster_view_free(&view);
}

static void test_equal_input_gives_equal_tables(void **state)
{
    struct cluster_view one, other;
    struct buffer a, b;

    view_make(&one, 5, 64, 3);
    view_make(&other, 5, 64, 3);
    buffer_init(&a, VIEW_SIZE_MAX);
    buffer_init(&b, VIEW_SIZE_MAX);
    cluster_view_encode(&one, &a);
    cluster_view_encode(&other, &b);
    assert_true(bytes_equal(buffer_bytes(&a), buffer_bytes(&b)));
    buffer_free(&a);
    buffer_free(&b);
    cluster_view_free(&one);
    cluster_view_free(&other);
}

static void test_a_view_survives_its_encoding(void **state)
{
    struct cluster_view view, back;
    struct buffer bytes, again;

    view_make(&view, 3, 256, 3);
    buffer_init(&bytes, VIEW_SIZE_MAX);
    buffer_init(&again, VIEW_SIZE_MAX);
    cluster_view_encode(&view, &bytes);
    cluster_view_init(&back);
    assert_int_equal(cluster_view_decode(buffer_bytes(&bytes), &back), STATUS_OK);
    cluster_view_encode(&back, &again);
    assert_true(bytes_equal(buffer_bytes(&bytes), buffer_bytes(&again)));
    assert_memory_equal(view.slot_partition, back.slot_partition, sizeof(view.slot_partition));
    assert_string_equal(cluster_view_node(&back, 2)->name, "n2");
    buffer_free(&bytes);
    buffer_free(&again);
    cluster_view_free(&view);
    cluster_view_free(&back);
}

/* The largest view fits the limits of file, frame and request. */
static void test_the_largest_view_fits(void **state)
{
    struct cluster_view view;
    struct buffer bytes;

    view_make(&view, NODES_MAX, PARTITIONS_MAX, VIEW_REPLICAS_MAX);
    buffer_init(&bytes, VIEW_SIZE_MAX);
    cluster_view_encode(&view, &bytes);
    assert_true(buffer_size(&bytes) < VIEW_SIZE_MAX);
    buffer_free(&bytes);
    cluster_view_free(&view);
}

static void test_no_cut_or_changed_view_is_taken(void **state)
{
    struct cluster_view view, back;
    struct buffer bytes;

    view_make(&view, 3, 4, 3);
    buffer_init(&bytes, VIEW_SIZE_MAX);
    cluster_view_encode(&view, &bytes);
    cluster_view_init(&back);
    for (size_t size = 0; size < buffer_size(&bytes); size++)
        assert_int_not_equal(
            cluster_view_decode(bytes_make(buffer_bytes(&bytes).data, size), &back), STATUS_OK);
    for (size_t i = 0; i < buffer_size(&bytes); i++) { /* must not crash; may be another view */
        bytes.memory[bytes.start + i] ^= 0xff;
        cluster_view_decode(buffer_bytes(&bytes), &back);
        bytes.memory[bytes.start + i] ^= 0xff;
    }
    buffer_free(&bytes);
    cluster_view_free(&view);
    cluster_view_free(&back);
}

static void test_a_new_view_keeps_the_leaders_that_are_known(void **state)
{
    struct cluster_view view, next;

    view_make(&view, 3, 4, 3);
    view_make(&next, 3, 4, 3);
    view.groups[3].leader = 2;
    view.groups[3].leader_term = 8;
    next.table_epoch = 2;
    cluster_view_assign(&view, &next);
    assert_int_equal(view.table_epoch, 2);
    assert_int_equal(view.groups[3].leader, 2);
    assert_int_equal(view.groups[3].leader_term, 8);
    cluster_view_free(&view);
    cluster_view_free(&next);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_size_is_balanced),
        cmocka_unit_test(test_partners_are_spread),
        cmocka_unit_test(test_equal_input_gives_equal_tables),
        cmocka_unit_test(test_a_view_survives_its_encoding),
        cmocka_unit_test(test_the_largest_view_fits),
        cmocka_unit_test(test_no_cut_or_changed_view_is_taken),
        cmocka_unit_test(test_a_new_view_keeps_the_leaders_that_are_known),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
