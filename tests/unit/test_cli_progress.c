/* How moves and rebuilds look in `holon status`. */
#include "unit.h"

#include "cli/progress.c"

static void expect_text(const char *moves, bool bars, const char *wanted)
{
    struct buffer text;
    json_t *json = json_loads(moves, JSON_DECODE_ANY, NULL);

    assert_non_null(json);
    buffer_init(&text, 4096);
    progress_append(json, bars, &text);
    buffer_append(&text, bytes_make("", 1));
    assert_string_equal((const char *)buffer_bytes(&text).data, wanted);
    buffer_free(&text);
    json_decref(json);
}

static const char two_nodes[] =
    "{\"groups_left\":30,\"groups_total\":40,\"bytes_sent\":104857600,\"bytes_total\":209715200,"
    "\"bytes_per_second\":10485760,\"seconds_left\":10,\"nodes\":["
    "{\"node\":\"n4\",\"replicas_left\":18,\"replicas_total\":30,\"bytes_sent\":78643200,"
    "\"bytes_total\":157286400,\"bytes_per_second\":10485760,\"seconds_left\":8},"
    "{\"node\":\"n5\",\"replicas_left\":1,\"replicas_total\":1,\"bytes_sent\":0,"
    "\"bytes_total\":1048576,\"bytes_per_second\":0,\"seconds_left\":null}]}";

static void test_a_pipe_gets_plain_lines(void **state)
{
    expect_text(two_nodes, false,
                "\n  moves: 10 of 40 groups are where they should be, 100.0 of 200.0 MiB, 10.0 "
                "MiB/s, about 10 s left\n"
                "  to n4           50 %, 12 of 30 replicas, 75.0 of 150.0 MiB, 10.0 MiB/s, about 8 "
                "s left\n"
                "  to n5            0 %, 0 of 1 replicas, 0.0 of 1.0 MiB, time left unknown\n");
}

static void test_a_terminal_gets_bars(void **state)
{
    expect_text("{\"groups_left\":0,\"groups_total\":0,\"bytes_sent\":3,\"bytes_total\":4,"
                "\"bytes_per_second\":0,\"seconds_left\":null,\"nodes\":[{\"node\":\"n2\","
                "\"replicas_left\":1,\"replicas_total\":4,\"bytes_sent\":3,\"bytes_total\":4,"
                "\"bytes_per_second\":0,\"seconds_left\":7260}]}",
                true,
                "\n  moves: 0.0 of 0.0 MiB, time left unknown\n"
                "  to n2           [##################......] 75 %, 3 of 4 replicas, 0.0 of 0.0 "
                "MiB, about 2 h left\n");
}

static void test_nothing_is_whole_before_it_is(void **state)
{
    assert_int_equal(percent_of(10, 10), 99);
    assert_int_equal(percent_of(11, 10), 99);
    assert_int_equal(percent_of(UINT64_MAX, 10), 99);
    assert_int_equal(percent_of(0, 0), 0);
    assert_int_equal(percent_of(1, 3), 33);
}

static void test_where_nothing_moves_nothing_is_said(void **state)
{
    expect_text("null", true, "");
    expect_text("[]", true, "");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_pipe_gets_plain_lines),
        cmocka_unit_test(test_a_terminal_gets_bars),
        cmocka_unit_test(test_nothing_is_whole_before_it_is),
        cmocka_unit_test(test_where_nothing_moves_nothing_is_said),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
