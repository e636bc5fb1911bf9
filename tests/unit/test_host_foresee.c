/* What a turn will apply is asked for ahead: of which entries, and how much at once. What is
 * applied then is the same; that it is faster no test says. */
#include "host_life.h"

enum { FIRST = 2, OTHER_GROUP = GROUP + 1, OTHER_ID = 21 };

static struct replica *replica(void)
{
    return host_replica(bed.host, (struct group_id){GROUP});
}

static struct replica *other(void)
{
    return host_replica(bed.host, (struct group_id){OTHER_GROUP});
}

static void add_other(void *context)
{
    struct error error = {0};
    const struct raft_config learner = {0};
    struct replica_options options = {.group = {OTHER_GROUP},
                                      .replica = {OTHER_ID},
                                      .slot_last = SLOT_LAST,
                                      .birth_config = &learner};
    assert_int_equal(host_add_replica(bed.host, &options, &error), STATUS_OK);
}

/* Entries FIRST to `last` are here and durable; none of them is known to be committed. */
static void have_entries(uint64_t last)
{
    for (uint64_t index = FIRST; index <= last; index++) {
        struct append append = {.to = 11,
                                .index = index - 1,
                                .term_before = index > FIRST ? 2 : 1,
                                .commit = 1,
                                .entry = put_entry(index, (uint16_t)index)};
        run(send_append, &append);
    }
}

static struct append commit_to(uint64_t commit, uint64_t last)
{
    return (struct append){.to = 11, .index = last, .term_before = 2, .commit = commit};
}

struct question {
    struct append append;
    struct replica *replicas[3];
    size_t count;
    uint32_t rows; /* what is wanted */
    size_t looked_at;
};

static void ask(void *context)
{
    struct question *question = context;
    uint32_t rows = 99;
    send_append(&question->append);
    size_t looked_at = foresee_applied(question->replicas, question->count, &rows);
    assert_int_equal(looked_at, question->looked_at);
    assert_int_equal(rows, question->rows);
}

static void test_rows_of_committed_entries_are_foreseen(void **state)
{
    have_entries(7);
    struct question question = {.append = commit_to(5, 7),
                                .replicas = {NULL, replica()},
                                .count = 2,
                                .rows = 4,
                                .looked_at = 2};
    run(ask, &question);
    assert_int_equal(replica()->applied, 5);
    assert_int_equal(row_table_rows(replica()->table), 4);

    question.append = commit_to(6, 7);
    question.rows = 0; /* of one entry nothing is to be had at once */
    run(ask, &question);
    assert_int_equal(replica()->applied, 6);
}

/* Another replica's entries are not taken in part: it comes first the next time. */
static void test_as_many_are_foreseen_as_a_processor_can_ask_for(void **state)
{
    enum { LAST = FIRST + ROWS_FORESEEN_MAX / 2 };
    have_entries(LAST);
    struct question question = {.append = commit_to(LAST, LAST),
                                .replicas = {replica(), replica()},
                                .count = 2,
                                .rows = LAST - FIRST + 1,
                                .looked_at = 1};
    run(ask, &question);
    assert_int_equal(replica()->applied, LAST);
}

static void test_more_of_one_replica_are_foreseen_in_part(void **state)
{
    enum { LAST = FIRST + 2 * ROWS_FORESEEN_MAX };
    have_entries(LAST);
    struct question question = {.append = commit_to(LAST, LAST),
                                .replicas = {replica()},
                                .count = 1,
                                .rows = ROWS_FORESEEN_MAX,
                                .looked_at = 1};
    run(ask, &question);
    assert_int_equal(replica()->applied, LAST);
    assert_int_equal(row_table_rows(replica()->table), LAST - FIRST + 1);
}

static void commit_in_a_turn_of_two(void *context)
{
    send_append(context);
    host_mark_dirty(other());
}

static void test_a_turn_foresees_what_it_applies(void **state)
{
    run(add_other, NULL);
    have_entries(6);
    uint64_t before = bed.host->statistics.rows_foreseen;
    struct append append = commit_to(4, 6);
    run(commit_in_a_turn_of_two, &append);
    assert_int_equal(replica()->applied, 4);
    assert_int_equal(bed.host->statistics.rows_foreseen, before + 3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_rows_of_committed_entries_are_foreseen, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_as_many_are_foreseen_as_a_processor_can_ask_for, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_more_of_one_replica_are_foreseen_in_part, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_a_turn_foresees_what_it_applies, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
