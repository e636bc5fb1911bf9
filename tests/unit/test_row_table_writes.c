/* row_table_writes(): grows by the same where an entry was evaluated and where it was applied. */
#include "partition/row_table.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static struct bytes key_of(uint8_t number)
{
    static uint8_t key[ROW_PREFIX_SIZE + 1];

    row_prefix_store(key, 7, SERVICE_REDIS, 1);
    key[ROW_PREFIX_SIZE] = number;
    return bytes_make(key, sizeof(key));
}

static void put(struct row_table *table, uint8_t key, uint64_t index, const char *value,
                unsigned flags)
{
    struct row_header header = {.version = index, .type = 1};
    row_table_put(table, key_of(key), &header, bytes_of(value), flags);
}

/* Entries 1 to 4: a put; another over it, longer; one that puts twice; one that puts and deletes.
 */
static void write_all(struct row_table *table, unsigned flags)
{
    put(table, 1, 1, "a", flags);
    put(table, 1, 2, "a much longer value than the first one was, so that it moves", flags);
    put(table, 2, 3, "first", flags);
    put(table, 2, 3, "second", flags);
    put(table, 3, 4, "gone again", flags);
    row_table_delete(table, key_of(3), 4, flags);
}

static void test_the_leader_and_a_follower_wrote_the_same(void **state)
{
    struct row_table *leader = row_table_make(), *follower = row_table_make();

    write_all(leader, ROW_WRITE_PROPOSED);
    assert_int_equal(row_table_writes(leader).sum, 0); /* nothing is committed */
    row_table_commit(leader, 4);
    write_all(follower, 0);
    assert_int_not_equal(row_table_writes(leader).sum, 0);
    assert_int_equal(row_table_writes(leader).sum, row_table_writes(follower).sum);
    row_table_free(leader);
    row_table_free(follower);
}

static void test_what_was_reverted_was_not_written(void **state)
{
    struct row_table *leader = row_table_make();

    put(leader, 1, 1, "kept", ROW_WRITE_PROPOSED);
    row_table_commit(leader, 1);
    uint64_t sum = row_table_writes(leader).sum;
    put(leader, 1, 2, "reverted", ROW_WRITE_PROPOSED);
    row_table_revert(leader);
    assert_int_equal(row_table_writes(leader).sum, sum);
    row_table_free(leader);
}

static void test_one_value_that_differs_shows(void **state)
{
    struct row_table *a = row_table_make(), *b = row_table_make();

    write_all(a, 0);
    write_all(b, 0);
    put(a, 4, 5, "value", 0);
    put(b, 4, 5, "walue", 0);
    assert_int_not_equal(row_table_writes(a).sum, row_table_writes(b).sum);
    row_table_free(a);
    row_table_free(b);
}

/* As after a snapshot that the log overtook: the row is newer than the entry. */
static void test_an_entry_older_than_the_row_is_skipped_and_counted(void **state)
{
    struct row_table *table = row_table_make();

    put(table, 1, 9, "newer", 0);
    put(table, 1, 5, "older", 0);
    assert_int_equal(row_table_writes(table).skipped, 1);
    row_table_free(table);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_leader_and_a_follower_wrote_the_same),
        cmocka_unit_test(test_what_was_reverted_was_not_written),
        cmocka_unit_test(test_one_value_that_differs_shows),
        cmocka_unit_test(test_an_entry_older_than_the_row_is_skipped_and_counted),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
