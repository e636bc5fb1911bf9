/* HOLON.READS: how the front-end asks, and what it tells. */
#include "redis_front.h"

static void test_reads_are_linearizable_until_told_otherwise(void **state)
{
    struct fixture *f = *state;
    struct play_stream *s = connect_client(f);

    say(s, "HOLON.READS\r\nGET a\r\n");
    assert_int_equal(f->requests[0]->stale_ms, 0);
    answer(f, 0, GATEWAY_REPLY, "+a\r\n");
    check_output(s, "$12\r\nlinearizable\r\n+a\r\n");
    say(s, "holon.reads STALE 5000\r\nHOLON.READS\r\nGET a\r\nSET a 1\r\n");
    assert_int_equal(f->request_count, 2); /* the write waits for the read */
    assert_int_equal(f->requests[1]->stale_ms, 5000);
    assert_int_equal(f->requests[1]->stale_not_before, 0);
    assert_int_equal(f->stale_joined[0], 5000);
    answer(f, 1, GATEWAY_REPLY, "+a\r\n");
    turn(f);
    assert_true(f->requests[2]->write);
    assert_int_equal(f->requests[2]->stale_ms, 0);
    answer(f, 2, GATEWAY_REPLY, "+OK\r\n");
    turn(f);
    say(s, "HOLON.READS linearizable\r\nHOLON.READS\r\n");
    check_output(s, "+OK\r\n$10\r\nstale 5000\r\n+a\r\n+OK\r\n+OK\r\n$12\r\nlinearizable\r\n");
    assert_int_equal(f->stale_joined[0], 0);
}

static void test_reset_and_the_end_of_the_connection_leave(void **state)
{
    struct fixture *f = *state;
    struct play_stream *s = connect_client(f);
    struct play_stream *other = connect_client(f);

    say(s, "HOLON.READS stale 100\r\n");
    say(other, "HOLON.READS stale 300\r\nHOLON.READS stale 400\r\n");
    assert_int_equal(f->stale_joined[0], 100);
    assert_int_equal(f->stale_joined[2], 400); /* the new bound first, then the old one goes */
    say(s, "GET a\r\nRESET\r\n");
    assert_int_equal(f->stale_joined[0], 100); /* RESET waits for the read */
    answer(f, 0, GATEWAY_REPLY, "+a\r\n");
    turn(f);
    assert_int_equal(f->stale_joined[0], 0);
    check_output(s, "+OK\r\n+a\r\n+RESET\r\n");
    say(other, "HELLO 3\r\n"); /* which does not change it */
    assert_int_equal(f->stale_joined[2], 400);
}

static void test_wrong_bounds_change_nothing(void **state)
{
    struct fixture *f = *state;
    struct play_stream *s = connect_client(f);

    say(s, "HOLON.READS stale 99\r\nHOLON.READS stale x\r\nHOLON.READS stale\r\n"
           "HOLON.READS stale 86400001\r\nHOLON.READS LAST 1\r\nHOLON.READS\r\n");
    check_output(s, "-ERR the bound must be from 100 to 86400000 milliseconds\r\n"
                    "-ERR value is not an integer or out of range\r\n"
                    "-ERR syntax error: HOLON.READS [linearizable | stale MS | LAST]\r\n"
                    "-ERR the bound must be from 100 to 86400000 milliseconds\r\n"
                    "-ERR syntax error: HOLON.READS [linearizable | stale MS | LAST]\r\n"
                    "$12\r\nlinearizable\r\n");
}

/* a: partition 3, b: 0. */
static void test_a_connection_sees_what_it_wrote(void **state)
{
    struct fixture *f = *state;
    struct play_stream *s = connect_client(f);

    say(s, "SET a 0\r\n"); /* before it reads stale */
    answer(f, 0, GATEWAY_REPLY, "+OK\r\n");
    uint64_t before = world_now(&f->play.world);
    say(s, "HOLON.READS stale 5000\r\nGET b\r\n");
    assert_int_equal(f->requests[1]->stale_not_before, before); /* any partition: not kept apart */
    answer(f, 1, GATEWAY_REPLY, "+b\r\n");
    pass_time(f, 1);
    say(s, "SET a 1\r\nGET a\r\nGET b\r\n");
    assert_int_equal(f->request_count, 5);
    assert_int_equal(f->requests[3]->stale_ms, 0); /* behind the open write: in its order */
    assert_true(f->requests[3]->ordered);
    assert_int_equal(f->requests[4]->stale_ms, 5000);
    pass_time(f, 1);
    uint64_t now = world_now(&f->play.world);
    answer(f, 2, GATEWAY_REPLY, "+OK\r\n");
    answer(f, 3, GATEWAY_REPLY, "+1\r\n");
    answer(f, 4, GATEWAY_REPLY, "+b\r\n");
    say(s, "GET a\r\nGET b\r\n");
    assert_int_equal(f->requests[5]->stale_ms, 5000);
    assert_int_equal(f->requests[5]->stale_not_before, now); /* as new as the answer to SET */
    assert_int_equal(f->requests[6]->stale_not_before, before);
    answer(f, 5, GATEWAY_REPLY, "+a\r\n");
    answer(f, 6, GATEWAY_REPLY, "+b\r\n");
}

static void answer_stale(struct fixture *f, size_t index, uint64_t staleness, const char *reply)
{
    f->requests[index]->staleness = staleness;
    answer(f, index, GATEWAY_REPLY, reply);
}

static void test_last_tells_of_the_reply_before_it_and_of_many_the_worst(void **state)
{
    struct fixture *f = *state;
    struct play_stream *s = connect_client(f);

    say(s, "HOLON.READS stale 5000\r\nHOLON.READS LAST\r\nGET a\r\nHOLON.READS LAST\r\n");
    check_output(s, "+OK\r\n:0\r\n"); /* LAST waits for the reply it is about */
    answer_stale(f, 0, 1234001, "+a\r\n");
    turn(f);
    check_output(s, "+a\r\n:1235\r\n");
    say(s, "PING\r\nHOLON.READS LAST\r\nMGET a b c\r\nHOLON.READS LAST\r\n");
    for (size_t i = 1; i < 4; i++)
        assert_int_equal(f->requests[i]->stale_ms, 5000);
    answer_stale(f, 2, 2000, "*1\r\n$1\r\nx\r\n");
    answer_stale(f, 1, 3000, "*1\r\n$1\r\nx\r\n");
    answer_stale(f, 3, 1000, "*1\r\n$1\r\nx\r\n");
    turn(f);
    check_output(s, "+PONG\r\n:1235\r\n"
                    "*3\r\n$1\r\nx\r\n$1\r\nx\r\n$1\r\nx\r\n:3\r\n");
}

static void test_a_refusal_says_how_far_behind_and_what_to_do(void **state)
{
    struct fixture *f = *state;
    struct play_stream *s = connect_client(f);

    say(s, "HOLON.READS stale 500\r\nGET a\r\nGET b\r\n");
    f->requests[0]->staleness = 7654321;
    answer(f, 0, GATEWAY_STALE, "");
    f->requests[1]->staleness = UINT64_MAX;
    answer(f, 1, GATEWAY_STALE, "");
    say(s, "HOLON.READS LAST\r\n");
    check_output(s,
                 "+OK\r\n-STALE this node's replica of partition 3 may be 7654 ms behind, more "
                 "than the bound of 500 ms, and its leader did not answer within the patience; "
                 "nothing was executed. Try again, ask with a greater bound (HOLON.READS stale "
                 "MS), or ask a node that reaches a quorum\r\n"
                 "-STALE it is not known how far this node's replica of partition 0 is behind, "
                 "since its leader did not answer within the patience; nothing was executed. Try "
                 "again, ask with a greater bound (HOLON.READS stale MS), or ask a node that "
                 "reaches a quorum\r\n:-1\r\n");
    assert_int_equal(statistics_of(f).errors_by_word[REDIS_ERROR_STALE], 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_reads_are_linearizable_until_told_otherwise, make,
                                        drop),
        cmocka_unit_test_setup_teardown(test_reset_and_the_end_of_the_connection_leave, make, drop),
        cmocka_unit_test_setup_teardown(test_wrong_bounds_change_nothing, make, drop),
        cmocka_unit_test_setup_teardown(test_a_connection_sees_what_it_wrote, make, drop),
        cmocka_unit_test_setup_teardown(
            test_last_tells_of_the_reply_before_it_and_of_many_the_worst, make, drop),
        cmocka_unit_test_setup_teardown(test_a_refusal_says_how_far_behind_and_what_to_do, make,
                                        drop),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
