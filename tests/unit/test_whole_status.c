/* /status: groups are text that is written beside the rest (node_status.c). */
#include <jansson.h>

#include "node_bed.h"

static int setup(void **state)
{
    return bed_open(3, 4);
}

static json_t *status_of(struct node *node)
{
    struct buffer buffer;
    json_error_t error;

    buffer_init(&buffer, SIZE_MAX / 2);
    assert_true(node_status_json(node, &buffer));
    struct bytes text = buffer_bytes(&buffer);
    json_t *status = json_loadb((const char *)text.data, text.size, JSON_REJECT_DUPLICATES, &error);
    if (status == NULL) fail_msg("%s at %d", error.text, error.position);
    buffer_free(&buffer);
    return status;
}

static const char *name_of(const struct cluster_view *view, node_id_t id)
{
    const struct view_node *node = cluster_view_node(view, id);
    return node ? node->name : "";
}

static void expect_number(const json_t *object, const char *key, uint64_t number)
{
    const json_t *value = json_object_get(object, key);
    assert_true(json_is_integer(value));
    assert_int_equal(json_integer_value(value), number);
}

static void expect_text(const json_t *value, const char *text)
{
    assert_true(json_is_string(value));
    assert_string_equal(json_string_value(value), text);
}

static void expect_group(const json_t *told, const struct cluster_view *view, uint32_t number)
{
    const struct view_group *group = &view->groups[number];
    const json_t *replicas = json_object_get(told, "replicas");

    assert_int_equal(json_object_size(told), 6);
    expect_number(told, "group", number);
    expect_text(json_object_get(told, "leader"), name_of(view, group->leader));
    expect_number(told, "term", group->leader_term);
    expect_number(told, "slot_first", group->slot_first);
    expect_number(told, "slot_last", group->slot_last);
    assert_true(json_is_array(replicas));
    assert_int_equal(json_array_size(replicas), group->replica_count);
    for (uint32_t i = 0; i < group->replica_count; i++)
        expect_text(json_array_get(replicas, i), name_of(view, group->replicas[i].node));
}

static void expect_groups(struct node *node)
{
    const struct cluster_view *view = &node->workers[0].view;
    json_t *status = status_of(node);
    const json_t *groups = json_object_get(status, "groups");
    size_t told = 0;

    assert_true(json_is_array(groups));
    for (uint32_t g = 0; g < view->group_count; g++)
        if (view->groups[g].replica_count > 0)
            expect_group(json_array_get(groups, told++), view, g);
    assert_int_equal(json_array_size(groups), told);
    assert_true(told >= 1 + view->partition_count); /* meta, too */
    json_decref(status);
}

static void test_all_groups_are_told_with_leader_slots_and_replicas(void **state)
{
    for (node_id_t id = 1; id <= 3; id++)
        expect_groups(bed_node(id));
    json_t *status = status_of(bed_node(1));
    expect_text(json_object_get(status, "node"), "n1"); /* and what is beside them */
    assert_int_equal(json_array_size(json_object_get(status, "nodes")), 3);
    assert_true(json_is_object(json_object_get(status, "copying")));
    json_decref(status);
}

/* Tables name such ids while nodes go; none takes what is behind the last one. */
static void test_ids_of_nobody_have_an_empty_name(void **state)
{
    static const node_id_t nobody[] = {0, 4, NODES_MAX, NODES_MAX + 1, UINT32_MAX};
    struct node *node = bed_node(1);
    struct view_group *group = &node->workers[0].view.groups[GROUP_DATA_FIRST];
    const struct view_group before = *group;

    for (size_t i = 0; i < ARRAY_COUNT(nobody); i++) {
        group->leader = nobody[i];
        group->replicas[1].node = nobody[i];
        expect_groups(node);
    }
    *group = before;
}

static void test_the_longest_numbers_and_names(void **state)
{
    struct node *node = bed_node(1);
    struct cluster_view *view = &node->workers[0].view;
    struct view_group *group = &view->groups[view->group_count - 1];
    struct view_node *named = &view->nodes[1];
    const struct view_group group_before = *group;
    const struct view_node node_before = *named;

    memset(named->name, 'N', sizeof(named->name) - 1);
    assert_true(node_name_is_valid(bytes_of(named->name)));
    group->leader = named->id;
    group->leader_term = INT64_MAX;
    expect_groups(node);
    *group = group_before;
    *named = node_before;
}

/* Whatever the size: it says so, and writes no further. */
static void test_a_full_buffer_is_told(void **state)
{
    struct node *node = bed_node(1);
    struct buffer buffer;

    buffer_init(&buffer, SIZE_MAX / 2);
    assert_true(node_status_json(node, &buffer));
    size_t size = buffer_size(&buffer);
    buffer_free(&buffer);
    for (size_t size_max = 0; size_max <= size; size_max++) {
        buffer_init(&buffer, size_max);
        if (node_status_json(node, &buffer) != (size_max == size))
            fail_msg("with %zu of %zu bytes", size_max, size);
        assert_true(buffer_size(&buffer) <= size_max);
        buffer_free(&buffer);
    }
}

static void test_a_text_that_is_no_json_is_told(void **state)
{
    struct node *node = bed_node(1);
    struct buffer buffer;

    buffer_init(&buffer, SIZE_MAX / 2);
    node->repair.active = true;
    node->repair.file.file[0] = (char)0xff;
    assert_false(node_status_json(node, &buffer));
    node->repair.active = false;
    node->repair.file.file[0] = 0;
    buffer_free(&buffer);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, bed_close)
    const struct CMUnitTest tests[] = {
        TEST(test_all_groups_are_told_with_leader_slots_and_replicas),
        TEST(test_ids_of_nobody_have_an_empty_name),
        TEST(test_the_longest_numbers_and_names),
        TEST(test_a_full_buffer_is_told),
        TEST(test_a_text_that_is_no_json_is_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
