/* What is sent of a table: its difference to the one before, which fits that one and no other. */
#include "unit.h"

#include <stdio.h>
#include <stdlib.h>

#include "cluster/view_change.h"
#include "cluster/view_codec.h"

static void view_make(struct cluster_view *view, uint32_t nodes, uint32_t partitions)
{
    cluster_view_init(view);
    view->cluster = (struct cluster_id){7, 9};
    view->table_epoch = 5;
    view->cluster_version = VIEW_VERSION;
    view->partition_count = partitions;
    view->replicas = 3;
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

static void copy(struct cluster_view *to, const struct cluster_view *from)
{
    cluster_view_init(to);
    cluster_view_assign(to, from);
    to->table_epoch++;
}

/* False: the whole is to be sent. */
static bool make_change(const struct cluster_view *from, const struct cluster_view *to,
                        struct buffer *change)
{
    struct view_marks before = {0}, after = {0};

    view_marks_take(&before, from);
    view_marks_take(&after, to);
    buffer_init(change, VIEW_CHANGE_SIZE_MAX);
    bool small = view_change_encode(&before, &after, to, change);
    assert_true(small == (buffer_size(change) > 0));
    view_marks_free(&before);
    view_marks_free(&after);
    return small;
}

static void expect_equal(const struct cluster_view *one, const struct cluster_view *other)
{
    struct buffer a, b;

    buffer_init(&a, VIEW_SIZE_MAX);
    buffer_init(&b, VIEW_SIZE_MAX);
    cluster_view_encode(one, &a);
    cluster_view_encode(other, &b);
    assert_true(bytes_equal(buffer_bytes(&a), buffer_bytes(&b)));
    assert_memory_equal(one->slot_partition, other->slot_partition, sizeof(one->slot_partition));
    buffer_free(&a);
    buffer_free(&b);
}

/* Bytes of a change, which leads from one table to the other. */
static size_t expect_change(const struct cluster_view *from, const struct cluster_view *to)
{
    struct cluster_view got;
    struct buffer change;
    uint64_t base, epoch;

    assert_true(make_change(from, to, &change));
    size_t size = buffer_size(&change);
    assert_int_equal(view_change_epochs(buffer_bytes(&change), &base, &epoch), STATUS_OK);
    assert_int_equal(base, from->table_epoch);
    assert_int_equal(epoch, to->table_epoch);
    cluster_view_init(&got);
    assert_int_equal(view_change_apply(buffer_bytes(&change), from, &got), STATUS_OK);
    expect_equal(&got, to);
    cluster_view_free(&got);
    buffer_free(&change);
    return size;
}

static void move_group(struct cluster_view *view, uint32_t group, node_id_t to)
{
    view->groups[group].replicas[2] =
        (struct view_replica){.node = to, .replica = {view->next_replica_id++}};
    view->groups[group].changed = view->table_epoch;
    view->groups[group].moving = true;
}

static void test_a_group_that_moves_is_a_small_change(void **state)
{
    static struct cluster_view before, after;

    view_make(&before, 64, PARTITIONS_MAX);
    copy(&after, &before);
    move_group(&after, 1000, 64);
    size_t size = expect_change(&before, &after);
    assert_true(size < 256); /* half a megabyte as a whole */
    after.groups[1000].moving = false;
    expect_change(&before, &after);
    cluster_view_free(&before);
    cluster_view_free(&after);
}

static void test_nodes_come_and_go_and_change(void **state)
{
    static struct cluster_view before, after;

    view_make(&before, 5, 8);
    copy(&after, &before);
    after.nodes[5] = after.nodes[4];
    after.nodes[5].id = 6;
    snprintf(after.nodes[5].name, sizeof(after.nodes[5].name), "n6");
    after.node_count = 6;
    after.next_node_id = 7;
    after.nodes[1].epoch = 9;
    after.nodes[3].state = VIEW_NODE_LEAVES;
    snprintf(after.nodes[3].labels, sizeof(after.nodes[3].labels), "zone=a");
    expect_change(&before, &after);
    memmove(&after.nodes[2], &after.nodes[3],
            3 * sizeof(after.nodes[0])); /* the third is removed */
    after.node_count = 5;
    expect_change(&before, &after);
    cluster_view_free(&before);
    cluster_view_free(&after);
}

static void test_another_table_of_the_same_epoch_is_found_out(void **state)
{
    static struct cluster_view before, after, other, got;
    struct buffer change;

    view_make(&before, 3, 8);
    copy(&after, &before);
    move_group(&after, 4, 2);
    assert_true(make_change(&before, &after, &change));
    copy(&other, &before);
    other.table_epoch = before.table_epoch;
    other.groups[7].replicas[0].replica.value++;
    cluster_view_init(&got);
    assert_int_equal(view_change_apply(buffer_bytes(&change), &other, &got), STATUS_NOT_FOUND);
    other.groups[7].replicas[0].replica.value--;
    assert_int_equal(view_change_apply(buffer_bytes(&change), &other, &got), STATUS_OK);
    other.table_epoch--;
    assert_int_equal(view_change_apply(buffer_bytes(&change), &other, &got), STATUS_NOT_FOUND);
    other.table_epoch += 2;
    assert_int_equal(view_change_apply(buffer_bytes(&change), &other, &got), STATUS_NOT_FOUND);
    other.table_epoch--;
    other.cluster.low++;
    assert_int_equal(view_change_apply(buffer_bytes(&change), &other, &got), STATUS_NOT_FOUND);
    buffer_free(&change);
    cluster_view_free(&before);
    cluster_view_free(&after);
    cluster_view_free(&other);
    cluster_view_free(&got);
}

static void test_what_is_large_is_sent_whole(void **state)
{
    static struct cluster_view before, after;
    struct buffer change;

    view_make(&before, 64, PARTITIONS_MAX);
    copy(&after, &before);
    for (uint32_t group = GROUP_DATA_FIRST; group < after.group_count; group++)
        move_group(&after, group, 64);
    assert_false(make_change(&before, &after, &change));
    buffer_free(&change);
    cluster_view_free(&before);
    cluster_view_free(&after);
}

/* 0.1.0 does not know such frames. */
static void test_clusters_of_version_1_get_whole_tables(void **state)
{
    static struct cluster_view before, after;
    struct view_marks none = {0}, marks = {0};
    struct buffer change;

    view_make(&before, 3, 8);
    view_marks_take(&marks, &before);
    buffer_init(&change, VIEW_CHANGE_SIZE_MAX);
    assert_false(view_change_encode(&none, &marks, &before, &change)); /* there was none before */
    before.cluster_version = 1;
    copy(&after, &before);
    assert_false(make_change(&before, &after, &change));
    buffer_free(&change);
    after.cluster_version = VIEW_VERSION; /* finalized: they have no such table yet */
    assert_false(make_change(&before, &after, &change));
    cluster_view_free(&before);
    cluster_view_free(&after);
    view_marks_free(&marks);
    buffer_free(&change);
}

/* Each byte changed, and each length: never a table that was not meant. */
static void test_damage_is_found(void **state)
{
    static struct cluster_view before, after, got;
    struct buffer change;

    view_make(&before, 3, 8);
    copy(&after, &before);
    move_group(&after, 4, 2);
    after.nodes[1].epoch = 9;
    assert_true(make_change(&before, &after, &change));
    struct bytes bytes = buffer_bytes(&change);
    uint8_t *damaged = malloc(bytes.size);
    cluster_view_init(&got);
    for (size_t size = 0; size < bytes.size; size++)
        assert_int_not_equal(view_change_apply(bytes_make(bytes.data, size), &before, &got),
                             STATUS_OK);
    for (size_t at = 0; at < bytes.size; at++) {
        memcpy(damaged, bytes.data, bytes.size);
        damaged[at] ^= 0x41;
        assert_int_not_equal(view_change_apply(bytes_make(damaged, bytes.size), &before, &got),
                             STATUS_OK);
    }
    free(damaged);
    buffer_free(&change);
    cluster_view_free(&before);
    cluster_view_free(&after);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_group_that_moves_is_a_small_change),
        cmocka_unit_test(test_nodes_come_and_go_and_change),
        cmocka_unit_test(test_another_table_of_the_same_epoch_is_found_out),
        cmocka_unit_test(test_what_is_large_is_sent_whole),
        cmocka_unit_test(test_clusters_of_version_1_get_whole_tables),
        cmocka_unit_test(test_damage_is_found),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
