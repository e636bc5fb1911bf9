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

/* RESOLVE is not put off for its sync to be shared while somebody waits for a lock that it lets go
 * of. Who only reads writes nothing that would share it. */
static void test_a_lock_that_is_waited_for_is_let_go_at_once(void **state)
{
    struct ask holder, waiter;

    two_pieces(&holder, GROUP, SECOND);
    ask_init(&waiter);
    ask_add(&waiter, SECOND, "ra");
    run(&holder, 0);
    for (int i = 0; i < 1000 && rows_left() == 0; i++)
        sim_run_for(&bed.sim, 10);
    run(&waiter, 0);
    assert_int_equal(bed.host->cold.parked_count, 1);
    for (int i = 0; i < 10000 && holder.answers == 0; i++)
        sim_run_for(&bed.sim, 10);
    uint64_t since = bed.sim.now;
    for (int i = 0; i < 10000 && waiter.answers == 0; i++)
        sim_run_for(&bed.sim, 10);
    assert_int_equal(waiter.answers, 1);
    assert_said(&waiter, 0, "1");
    assert_true(bed.sim.now - since < LOG_PATIENT_US / 2);
    ask_free(&holder);
    ask_free(&waiter);
}

/* Nor does a read that comes behind it wait for others to write. */
static void test_who_reads_what_was_just_written_waits_for_a_sync_alone(void **state)
{
    struct ask holder, reader;

    two_pieces(&holder, GROUP, SECOND);
    ask_init(&reader);
    ask_add(&reader, SECOND, "ra");
    run(&holder, 0);
    for (int i = 0; i < 10000 && holder.answers == 0; i++)
        sim_run_for(&bed.sim, 10);
    for (int i = 0; i < 100 && rows_left() > 1; i++) /* RESOLVE is proposed */
        sim_run_for(&bed.sim, 1);
    uint64_t since = bed.sim.now;
    run(&reader, 0);
    for (int i = 0; i < 10000 && reader.answers == 0; i++)
        sim_run_for(&bed.sim, 10);
    assert_said(&reader, 0, "1");
    assert_true(bed.sim.now - since > 50); /* it is not committed yet */
    assert_true(bed.sim.now - since < LOG_PATIENT_US / 2);
    ask_free(&holder);
    ask_free(&reader);
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

/* Of another attempt than that: requests are sent again while nobody answers. */
static const struct seen *next_prepare(const struct seen *known)
{
    const struct seen *seen;

    while ((seen = next_seen(TXN_PREPARE)) != NULL)
        if (!txn_id_equal(seen->frame.id, known->frame.id)) return seen;
    return NULL;
}

/* Of the same partitions, one at a time: who comes meanwhile waits for its end. */
static void test_who_comes_meanwhile_is_in_the_next_joint_attempt(void **state)
{
    static struct ask asks[4];

    bench->view.cluster_version = VIEW_VERSION_TOGETHER;
    for (size_t i = 0; i < ARRAY_COUNT(asks); i++)
        two_pieces(&asks[i], SECOND, LAST);
    run(&asks[0], 0);
    run(&asks[1], 320 * MS); /* OTHER is silent: each has tried alone */
    const struct seen *joint = last_seen(TXN_PREPARE);
    assert_non_null(joint);
    assert_true(joint->frame.several);
    run(&asks[2], 0);
    run(&asks[3], 200 * MS);
    assert_null(next_prepare(joint));

    say_status(joint, TXN_STATUS_CONFLICT);
    sim_run_for(&bed.sim, 50 * MS);
    const struct seen *next = next_prepare(joint);
    assert_non_null(next);
    assert_true(next->frame.several); /* all four: who met a lock once, too */
    assert_null(next_prepare(next));
    sim_run_for(&bed.sim, 5 * SECONDS);
    for (size_t i = 0; i < ARRAY_COUNT(asks); i++) {
        assert_int_equal(asks[i].answers, 1);
        ask_free(&asks[i]);
    }
}

/* One of its members may be in the way of all others, as long as its patience lasts. */
static void test_after_a_joint_attempt_that_was_too_slow_each_goes_alone(void **state)
{
    static struct ask first, second;

    bench->view.cluster_version = VIEW_VERSION_TOGETHER;
    two_pieces(&first, SECOND, LAST);
    two_pieces(&second, SECOND, LAST);
    run(&first, 0);
    run(&second, 320 * MS);
    const struct seen *joint = last_seen(TXN_PREPARE);
    assert_non_null(joint);
    assert_true(joint->frame.several);
    sim_run_for(&bed.sim, 700 * MS); /* it had twice the 300 ms of the first attempts */
    const struct seen *one = next_prepare(joint);
    assert_non_null(one);
    const struct seen *other = next_prepare(one);
    assert_non_null(other);
    assert_false(one->frame.several);
    assert_false(other->frame.several);
    sim_run_for(&bed.sim, 5 * SECONDS);
    assert_int_equal(first.answers, 1);
    assert_int_equal(second.answers, 1);
    ask_free(&first);
    ask_free(&second);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, bench_setup, bench_teardown)
        TEST(test_who_gives_up_waits_no_longer),
        TEST(test_a_joint_attempt_ends_with_the_patience_of_its_members),
        TEST(test_a_lock_that_is_waited_for_is_let_go_at_once),
        TEST(test_who_reads_what_was_just_written_waits_for_a_sync_alone),
        TEST(test_who_comes_meanwhile_is_in_the_next_joint_attempt),
        TEST(test_after_a_joint_attempt_that_was_too_slow_each_goes_alone),
#undef TEST
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
