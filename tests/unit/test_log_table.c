/* What recovery keeps of each group (storage/log/group_table.h): entries and their copies. */
#include "base/memory.h"
#include "storage/log/group_table.h"
#include "unit.h"

static const struct group_id GROUP = {5};
static const struct replica_id REPLICA = {6};

static struct log_record record_of(enum log_record_type type, uint64_t index)
{
    return (struct log_record){
        .type = type,
        .group = GROUP,
        .replica = REPLICA,
        .index = index,
        .entry = {.index = index, .term = 1, .body = bytes_of("body")},
    };
}

static void load(struct log_table *table, struct arena *bodies, uint64_t base, uint64_t last)
{
    struct log_record dump = record_of(LOG_RECORD_DUMP, base);

    arena_init(bodies, 0);
    log_table_init(table, bodies);
    dump.last_index = last;
    assert_int_equal(log_table_load_dump(table, &dump), LOG_APPLIED);
}

static void apply(struct log_table *table, enum log_record_type type, uint64_t index)
{
    struct log_record record = record_of(type, index);

    assert_int_equal(log_table_apply(table, &record, 2), LOG_APPLIED);
}

static struct log_group *only_group(struct log_table *table)
{
    size_t i = 0;

    return log_table_next(table, &i);
}

/* Indexes are numbers of a disk: memory for the distance between two of them would be without
 * bound. */
static void test_far_copies_take_no_memory_for_what_lies_between(void **state)
{
    struct log_table table;
    struct arena bodies;

    (void)state;
    load(&table, &bodies, 0, UINT64_MAX);
    apply(&table, LOG_RECORD_COPY, UINT64_MAX);
    apply(&table, LOG_RECORD_COPY, 1);
    apply(&table, LOG_RECORD_COPY, (uint64_t)1 << 40);
    assert_false(log_group_join_entries(only_group(&table)));
    log_table_free(&table);
    arena_free(&bodies);
}

static void test_copies_join_the_written_entries_once_each(void **state)
{
    struct log_table table;
    struct arena bodies;
    size_t count = 0;

    (void)state;
    load(&table, &bodies, 1, 6);
    apply(&table, LOG_RECORD_ENTRY, 7);
    for (uint64_t index = 4; index <= 7; index++) /* 7 itself is there: its copy is not kept */
        apply(&table, LOG_RECORD_COPY, index);
    apply(&table, LOG_RECORD_COPY, 3);
    apply(&table, LOG_RECORD_COPY, 4);
    assert_false(log_group_join_entries(only_group(&table))); /* 2 is in no place */

    apply(&table, LOG_RECORD_RELEASE, 2);
    assert_true(log_group_join_entries(only_group(&table)));
    struct log_entry *entries = log_group_take_entries(only_group(&table), &count);
    assert_int_equal(count, 5);
    for (size_t i = 0; i < count; i++)
        assert_int_equal(entries[i].index, 3 + i);
    memory_free(entries);
    log_table_free(&table);
    arena_free(&bodies);
}

static void test_what_is_cut_off_takes_its_copies_along(void **state)
{
    struct log_table table;
    struct arena bodies;

    (void)state;
    load(&table, &bodies, 1, 4);
    for (uint64_t index = 2; index <= 4; index++)
        apply(&table, LOG_RECORD_COPY, index);
    apply(&table, LOG_RECORD_ENTRY, 5);
    apply(&table, LOG_RECORD_TRUNCATE, 4);
    apply(&table, LOG_RECORD_ENTRY, 4);
    assert_true(log_group_join_entries(only_group(&table)));
    assert_int_equal(only_group(&table)->written.count, 3);

    apply(&table, LOG_RECORD_SNAPSHOT, 9);
    assert_true(log_group_join_entries(only_group(&table)));
    assert_int_equal(only_group(&table)->written.count, 0);
    log_table_free(&table);
    arena_free(&bodies);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_far_copies_take_no_memory_for_what_lies_between),
        cmocka_unit_test(test_copies_join_the_written_entries_once_each),
        cmocka_unit_test(test_what_is_cut_off_takes_its_copies_along),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
