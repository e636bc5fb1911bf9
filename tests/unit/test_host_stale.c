/* Stale reads of a follower (partition/stale.h): what counts as proven. */
#include "host_life.h"

#include "partition/stale.h"

enum { ROW_SLOT = 7, SECOND_US = 1000 * 1000 };

/* "g": tells the row of ROW_SLOT, or "-". */
static enum evaluate_result evaluate(struct row_context *rows, const struct request *request,
                                     struct reply *reply)
{
    uint8_t key[ROW_PREFIX_SIZE];
    struct row_view row;

    row_prefix_store(key, ROW_SLOT, SERVICE_REDIS, 0);
    bool found = row_get(rows, bytes_make(key, sizeof(key)), &row) == ROW_FOUND;
    buffer_append(reply->buffer, found ? row.value : bytes_of("-"));
    /* What it would change is not logged. */
    row_put(rows, bytes_make(key, sizeof(key)), 1, 0, 0, bytes_of("changed"));
    return EVALUATE_DONE;
}

static struct {
    uint64_t bound, not_before;
    enum stale_code code;
    uint64_t as_of, replied_as_of;
    char text[16];
} asked;

static void on_answer(void *context, uint64_t as_of, struct bytes reply)
{
    asked.replied_as_of = as_of;
    snprintf(asked.text, sizeof(asked.text), "%.*s", (int)reply.size, (const char *)reply.data);
}

static void read_inside(void *context)
{
    struct stale_ask ask = {.id = 1,
                            .bound = asked.bound,
                            .not_before = asked.not_before,
                            .service = SERVICE_REDIS,
                            .slot = ROW_SLOT,
                            .body = bytes_of("g")};

    asked.text[0] = 0;
    asked.code =
        stale_read(bed.host, (struct group_id){GROUP}, &ask, NULL, on_answer, &asked.as_of);
}

static enum stale_code read_row(uint64_t bound, uint64_t not_before)
{
    asked.bound = bound;
    asked.not_before = not_before;
    bed_call(read_inside, NULL, 0);
    return asked.code;
}

static uint64_t now(void)
{
    return world_now(bed.world);
}

static struct stale_question question;

static bool ask_is_due(uint64_t interval)
{
    uint32_t at = 0;
    return stale_next(bed.host, &at, interval, &question);
}

static void tell(uint64_t asked_at, uint64_t index)
{
    uint8_t reply[16];
    store_u64(reply, index);
    store_u64(reply + 8, 0);
    stale_told(bed.host, &question, asked_at, bytes_make(reply, sizeof(reply)));
}

static int setup_follower(void **state)
{
    setup_empty();
    bench->evaluate = evaluate;
    run(open_founded, NULL);
    replicate(11, 2, put_entry(2, 3)); /* another row */
    return 0;
}

static void test_nothing_is_read_before_it_is_proven(void **state)
{
    assert_int_equal(read_row(UINT64_MAX, 0), STALE_WAITS);
    assert_int_equal(asked.as_of, 0);
    assert_true(ask_is_due(SECOND_US));
    assert_false(ask_is_due(0)); /* it is open */
    assert_int_equal(question.group.value, GROUP);
    uint64_t at = now();
    tell(at, 2);
    assert_int_equal(read_row(SECOND_US, 0), STALE_ANSWERED);
    assert_string_equal(asked.text, "-");
    assert_int_equal(asked.replied_as_of, at);
    assert_int_equal(read_row(SECOND_US, 0), STALE_ANSWERED); /* the same: nothing was logged */
    assert_string_equal(asked.text, "-");
}

static void test_the_stamp_is_of_when_the_leader_was_asked(void **state)
{
    assert_true(ask_is_due(SECOND_US));
    uint64_t at = now();
    sim_run_for(&bed.sim, 3 * SECOND_US); /* the answer took so long */
    tell(at, 2);
    assert_int_equal(read_row(3 * SECOND_US - 1, 0), STALE_WAITS);
    assert_int_equal(asked.as_of, at);
    assert_int_equal(read_row(3 * SECOND_US, 0), STALE_ANSWERED);
    assert_true(ask_is_due(SECOND_US));
}

static void test_what_the_leader_had_committed_must_be_applied(void **state)
{
    assert_true(ask_is_due(SECOND_US));
    uint64_t first = now();
    tell(first, 2);
    assert_true(ask_is_due(0));
    uint64_t second = now() + 1;
    sim_run_for(&bed.sim, 10);
    tell(second, 3);
    assert_false(ask_is_due(0)); /* this one first */
    assert_int_equal(read_row(SECOND_US, 0), STALE_ANSWERED);
    assert_int_equal(asked.replied_as_of, first); /* entry 3 is not here */
    replicate(11, 3, put_entry(3, ROW_SLOT));
    assert_int_equal(read_row(10 * SECOND_US, 0), STALE_ANSWERED);
    assert_int_equal(asked.replied_as_of, second);
    assert_string_equal(asked.text, "value");
}

static void test_a_read_may_ask_for_a_state_that_is_new_enough(void **state)
{
    assert_int_equal(read_row(SECOND_US, 5), STALE_TO_LEADER);
    assert_true(ask_is_due(SECOND_US));
    uint64_t at = now();
    tell(at, 2);
    assert_int_equal(read_row(SECOND_US, at), STALE_ANSWERED);
    assert_int_equal(read_row(SECOND_US, at + 1), STALE_TO_LEADER);
}

static void test_no_answer_and_answers_for_another_replica_prove_nothing(void **state)
{
    assert_true(ask_is_due(SECOND_US));
    stale_told(bed.host, &question, now(), bytes_make(NULL, 0));
    assert_int_equal(read_row(UINT64_MAX, 0), STALE_WAITS);
    assert_false(ask_is_due(SECOND_US)); /* it is not asked again at once */
    assert_true(ask_is_due(0));
    question.replica.value++;
    tell(now(), 2);
    assert_int_equal(read_row(UINT64_MAX, 0), STALE_WAITS);
}

static void test_what_is_not_here_is_the_leaders(void **state)
{
    struct stale_ask ask = {.id = 1, .bound = UINT64_MAX, .service = SERVICE_REDIS};
    uint64_t as_of;

    assert_int_equal(
        stale_read(bed.host, (struct group_id){GROUP + 1}, &ask, NULL, on_answer, &as_of),
        STALE_TO_LEADER);
    ask.service = SERVICE_META; /* nobody evaluates it here */
    assert_int_equal(stale_read(bed.host, (struct group_id){GROUP}, &ask, NULL, on_answer, &as_of),
                     STALE_TO_LEADER);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_nothing_is_read_before_it_is_proven, setup_follower,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_the_stamp_is_of_when_the_leader_was_asked,
                                        setup_follower, teardown),
        cmocka_unit_test_setup_teardown(test_what_the_leader_had_committed_must_be_applied,
                                        setup_follower, teardown),
        cmocka_unit_test_setup_teardown(test_a_read_may_ask_for_a_state_that_is_new_enough,
                                        setup_follower, teardown),
        cmocka_unit_test_setup_teardown(
            test_no_answer_and_answers_for_another_replica_prove_nothing, setup_follower, teardown),
        cmocka_unit_test_setup_teardown(test_what_is_not_here_is_the_leaders, setup_follower,
                                        teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
