/* File and offset, out of what engines say. */
#include "unit.h"

#include "node/damage_place.h"

static void check(const char *text, const char *file, uint64_t offset)
{
    char found[64];
    uint64_t at = 77;

    damage_place(text, "/d/store-3", found, sizeof(found), &at);
    assert_string_equal(found, file);
    assert_int_equal(at, offset);
}

static void test_places(void **state)
{
    (void)state;
    check("engine /d/store-3: reading failed: Corruption: block checksum mismatch: stored = 3, "
          "computed = 4, type = 1  in /d/store-3/000008.sst offset 5760 size 4096; this copy must "
          "not be used",
          "/d/store-3/000008.sst", 5760);
    check(
        "Corruption: truncated block read from /d/store-3/000010.sst offset 18446744073709551615, "
        "expected 4 bytes, got 0",
        "/d/store-3/000010.sst", UINT64_MAX);
    check("IO error: No such file or directory: While open a file for random read: "
          "/d/store-3/000008.sst: No such file or directory",
          "/d/store-3/000008.sst", 0);
    check("Corruption: Bad table magic number: expected 1, found 2 in /d/store-3/000008.sst",
          "/d/store-3/000008.sst", 0);
    check("Corruption: checksum mismatch in /d/store-3/MANIFEST-000004; this copy must not be used",
          "/d/store-3/MANIFEST-000004", 0);
    check("/d/store-3/owner is missing: the store was lost", "/d/store-3/owner", 0);
    check("engine: damaged (injected)", "/d/store-3", 0);
    check("", "/d/store-3", 0);
    check(" ... ", "/d/store-3", 0);
}

static void test_a_long_name_is_cut(void **state)
{
    (void)state;
    char found[8];
    uint64_t at;

    damage_place("in /d/store-3/000008.sst offset 1 size 2", "", found, sizeof(found), &at);
    assert_string_equal(found, "/d/stor");
    assert_int_equal(at, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_places),
        cmocka_unit_test(test_a_long_name_is_cut),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
