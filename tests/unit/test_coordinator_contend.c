/* Transactions that wait for each other's locks, from the coordinator's side (decision 0020). */
#include "txn_bench.h"

#include "partition/host_internal.h"

enum { MS = 1000, SECONDS = 1000 * 1000 };

static void two_pieces(struct ask *ask, uint32_t first, uint32_t second)
{
    ask_init(ask);
    ask->request.together = true;
    ask_add(ask, first, "wa");
    ask_add(ask, second, "wa");
}

/* A PREPARE that waits for a lock goes when its transaction is given up, and so RESOLVE, which
 * stands behind it, waits for nothing. */
static void test_who_gives_up_waits_no_longer(void **state)
{
    static struct ask holder, waiter; /* in place still if this fails */
    uint32_t most = 0;

    bench->view.cluster_version = VIEW_VERSION_TOGETHER;
    two_pieces(&holder, SECOND, GROUP_COORD); /* OTHER, which decides, says nothing yet */
    run(&holder, 100 * MS);
    const struct seen *decide = next_seen(TXN_DECIDE);
    assert_non_null(decide);
    two_pieces(&waiter, GROUP, SECOND);
    run(&waiter, 100 * MS);
    assert_int_equal(bed.host->cold.parked_count, 1);
    for (int i = 0; i < 150; i++) { /* three attempts */
        sim_run_for(&bed.sim, 10 * MS);
        if (bed.host->cold.parked_count > most) most = bed.host->cold.parked_count;
    }
    assert_int_equal(most, 1);
    assert_int_equal(waiter.answers, 0);
    assert_int_equal(holder.answers, 0);

    say_status(decide, TXN_STATUS_DONE);
    assert_int_equal(holder.result, TXN_DONE);
    bench->taken = 0;
    say_status(last_seen(TXN_QUERY), TXN_STATUS_COMMITTED);
    sim_run_for(&bed.sim, SECONDS);
    assert_int_equal(waiter.answers, 1);
    assert_int_equal(waiter.result, TXN_DONE);
    assert_int_equal(value_of(SECOND, 'a'), '2');
    assert_int_equal(value_of(GROUP, 'a'), '1');
    assert_int_equal(rows_left(), 0);
    assert_int_equal(bed.host->cold.parked_count, 0);
    ask_free(&holder);
    ask_free(&waiter);
}

/* What is executed for several does not outlast their patience, though it began later. */
static void test_a_joint_attempt_ends_with_the_patience_of_its_members(void **state)
{
    enum { CLOSE_US = 60 * MS };
    static struct ask first, second;
    uint64_t began = bed.sim.now;

    bench->view.cluster_version = VIEW_VERSION_TOGETHER;
    two_pieces(&first, SECOND, LAST);
    two_pieces(&second, SECOND, LAST);
    run(&first, 0);
    run(&second, 320 * MS); /* OTHER is silent: each has tried alone */
    const struct seen *joint = last_seen(TXN_PREPARE);
    assert_non_null(joint);
    assert_true(joint->frame.several);
    sim_run_until(&bed.sim, began + PATIENCE_US - CLOSE_US);
    assert_int_equal(first.answers, 0);
    assert_int_equal(second.answers, 0);
    sim_run_until(&bed.sim, began + PATIENCE_US + CLOSE_US);
    assert_int_equal(first.answers, 1);
    assert_int_equal(second.answers, 1);
    assert_int_equal(first.result, TXN_UNAVAILABLE); /* that is why */
    assert_int_equal(second.result, TXN_UNAVAILABLE);
    assert_int_equal(statistics().open, 0);
    assert_int_equal(value_of(SECOND, 'a'), '-');
    ask_free(&first);
    ask_free(&second);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, bench_setup, bench_teardown)
        TEST(test_who_gives_up_waits_no_longer),
        TEST(test_a_joint_attempt_ends_with_the_patience_of_its_members),
#undef TEST
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
