/* What a salvage keeps of one group. */
#include "unit.h"

#include "node/salvage_internal.h"

enum { ENTRIES = 5 };

struct bed {
    struct salvage salvage;
    struct salvage_group group;
    struct salvaged_group log;
    struct log_entry entries[ENTRIES];
};

/* Group 0: its log holds 1 to 5 of replica 7, its store nothing. */
static int setup(void **state)
{
    static struct bed bed;

    memset(&bed, 0, sizeof(bed));
    for (uint64_t i = 0; i < ENTRIES; i++)
        bed.entries[i] = (struct log_entry){.index = i + 1, .term = 2};
    bed.log = (struct salvaged_group){
        .replica = {7}, .entries = bed.entries, .entry_count = ENTRIES, .seen_index = ENTRIES};
    bed.salvage.log.groups = &bed.log;
    bed.salvage.log.group_count = 1;
    bed.salvage.groups = &bed.group;
    *state = &bed;
    return 0;
}

static void store_holds(struct bed *bed, uint64_t replica, uint64_t applied)
{
    bed->group.stored = true;
    bed->group.record =
        (struct salvage_record){.replica = {replica}, .applied = applied, .term = 2};
}

static void test_a_log_from_its_beginning_needs_no_store(void **state)
{
    struct bed *bed = *state;

    salvage_judge_group(&bed->salvage, 0);
    assert_int_equal(bed->group.last, ENTRIES);
    assert_int_equal(bed->group.keep_from, 1);
    assert_int_equal(bed->group.keep_to, ENTRIES);
}

static void test_what_the_log_has_behind_the_store_is_added(void **state)
{
    struct bed *bed = *state;

    store_holds(bed, 7, 3);
    salvage_judge_group(&bed->salvage, 0);
    assert_true(bed->group.stored);
    assert_int_equal(bed->group.keep_from, 4);
    assert_int_equal(bed->group.last, ENTRIES);
}

static void test_a_store_of_an_earlier_replica_is_not_taken(void **state)
{
    struct bed *bed = *state;

    store_holds(bed, 6, 3);
    salvage_judge_group(&bed->salvage, 0);
    assert_false(bed->group.stored);
    assert_int_equal(bed->group.from.value, 7);
    assert_int_equal(bed->group.keep_from, 1);
    assert_int_equal(bed->group.last, ENTRIES);
}

/* The records of the newer one lie in a gap of the log; what it got by snapshot is in the store. */
static void test_a_log_of_an_earlier_replica_is_not_taken(void **state)
{
    struct bed *bed = *state;

    store_holds(bed, 8, 40);
    salvage_judge_group(&bed->salvage, 0);
    assert_true(bed->group.stored);
    assert_int_equal(bed->group.from.value, 8);
    assert_int_equal(bed->group.last, 40);
    assert_true(bed->group.keep_to < bed->group.keep_from);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_a_log_from_its_beginning_needs_no_store, setup),
        cmocka_unit_test_setup(test_what_the_log_has_behind_the_store_is_added, setup),
        cmocka_unit_test_setup(test_a_store_of_an_earlier_replica_is_not_taken, setup),
        cmocka_unit_test_setup(test_a_log_of_an_earlier_replica_is_not_taken, setup),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
