/* How far a backup or a restore is, in words. */
#include "unit.h"

#include "cli/progress_line.c"

enum { MIB = 1 << 20 };

static void expect_text(uint64_t first, int64_t ms, uint64_t done, uint64_t total,
                        const char *wanted)
{
    struct progress_line line = {.what = "backup", .done_first = first};
    char text[PROGRESS_LINE_SIZE];

    progress_line_print(&line, ms, done, total, 7, 20 * MIB, text);
    assert_string_equal(text, wanted);
}

static void test_what_was_done_says_how_long_the_rest_takes(void **state)
{
    expect_text(0, 10000, 10, 40, "backup: 25 %, 7 keys, 20.0 MiB, 2.0 MiB/s, about 30 s left");
    expect_text(0, 600000, 10, 40, "backup: 25 %, 7 keys, 20.0 MiB, 0.0 MiB/s, about 30 min left");
    expect_text(0, 36000000, 10, 40, "backup: 25 %, 7 keys, 20.0 MiB, 0.0 MiB/s, about 30 h left");
}

static void test_an_earlier_run_says_nothing_about_it(void **state)
{
    expect_text(10, 1000, 10, 40, "backup: 25 %, 7 keys, 20.0 MiB, 20.0 MiB/s, time left unknown");
    expect_text(10, 1000, 20, 40, "backup: 50 %, 7 keys, 20.0 MiB, 20.0 MiB/s, about 2 s left");
}

static void test_nothing_is_whole_before_it_is(void **state)
{
    expect_text(0, 1000, 40, 40, "backup: 99 %, 7 keys, 20.0 MiB, 20.0 MiB/s, about 0 s left");
    expect_text(0, 0, 0, 0, "backup: 0 %, 7 keys, 20.0 MiB, 20000.0 MiB/s, time left unknown");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_was_done_says_how_long_the_rest_takes),
        cmocka_unit_test(test_an_earlier_run_says_nothing_about_it),
        cmocka_unit_test(test_nothing_is_whole_before_it_is),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
