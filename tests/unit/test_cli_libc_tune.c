/* What is put into GLIBC_TUNABLES, and what an operator has there. */
#include "unit.h"

#include "cli/libc_tune.c" /* the program is its only user */

#define OURS "glibc.cpu.hwcaps=-AVX512F,-AVX512VL"

static void test_what_is_set_of_other_tunables_stays(void **state)
{
    char text[128];
    assert_true(libc_tunables(NULL, text, sizeof(text)));
    assert_string_equal(text, OURS);
    assert_true(libc_tunables("", text, sizeof(text)));
    assert_string_equal(text, OURS);
    assert_true(libc_tunables("glibc.malloc.arena_max=4", text, sizeof(text)));
    assert_string_equal(text, "glibc.malloc.arena_max=4:" OURS);
}

static void test_an_operators_choice_is_left_and_so_is_our_own(void **state)
{
    char text[128];
    assert_false(libc_tunables("glibc.cpu.hwcaps=-ERMS", text, sizeof(text)));
    assert_false(libc_tunables("glibc.malloc.arena_max=4:" OURS, text, sizeof(text)));
}

static void test_what_does_not_fit_is_left(void **state)
{
    char text[sizeof(OURS)];
    volatile size_t size = sizeof(text); /* or the compiler warns of what is meant to be cut */
    assert_true(libc_tunables(NULL, text, size));
    assert_false(libc_tunables(NULL, text, size - 1));
    assert_false(libc_tunables("x", text, size));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_is_set_of_other_tunables_stays),
        cmocka_unit_test(test_an_operators_choice_is_left_and_so_is_our_own),
        cmocka_unit_test(test_what_does_not_fit_is_left),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
