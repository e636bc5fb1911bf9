/* What connections to the front-end may cost: commands, bytes, time; and what happens then. */
#include "redis_front.h"

#include <time.h>

/* --- bounds
 * ---------------------------------------------------------------------------------------- */

static void test_commands_wait_when_too_many_are_open(void **state)
{
    struct fixture *f = *state;
    struct play_stream *s = connect_client(f);
    struct buffer text;

    buffer_init(&text, 1 << 20);
    for (int i = 0; i < 2000; i++)
        buffer_append(&text, bytes_of("SET a 1\r\n"));
    say_bytes(s, buffer_bytes(&text));
    turn(f);
    assert_int_equal(f->open_count, 1024);
    assert_true(s->paused);
    for (size_t i = 0; i < 100; i++)
        answer_truly(f, i);
    turn(f);
    assert_int_equal(f->open_count, 924); /* not before half is answered */
    for (size_t i = 100; i < 600; i++)
        answer_truly(f, i);
    turn(f);
    assert_int_equal(f->open_count, 1024);
    for (size_t i = 600; i < f->request_count; i++) {
        answer_truly(f, i);
        turn(f);
    }
    assert_int_equal(f->request_count, 2000);
    assert_false(s->paused);
    assert_int_equal(buffer_size(&s->head.output), 2000 * 5);
    buffer_free(&text);
}

static void test_a_client_that_does_not_read_is_not_read(void **state)
{
    struct fixture *f = *state;
    struct play_stream *s = connect_client(f);
    struct buffer text;
    char *big = malloc(100001);

    memset(big, 'x', 100000);
    big[100000] = 0;
    buffer_init(&text, 1 << 20);
    buffer_append_format(&text, "*2\r\n$4\r\nECHO\r\n$100000\r\n%s\r\n", big);
    for (int i = 0; i < 30 && !s->paused; i++)
        say_bytes(s, buffer_bytes(&text));
    assert_true(s->paused);
    assert_in_range(buffer_size(&s->head.output), 1 << 20, (1 << 20) + 110000);
    buffer_clear(&s->head.output); /* it reads after all */
    s->head.events->on_drained(s->head.context, &s->head);
    turn(f);
    assert_false(s->paused);
    free(big);
    buffer_free(&text);
}

static char *value_of_size(size_t size)
{
    char *value = malloc(size + 1);

    memset(value, 'x', size);
    value[size] = 0;
    return value;
}

static void say_often(struct play_stream *stream, const char *text, int count)
{
    struct buffer all;

    buffer_init(&all, 1 << 20);
    for (int i = 0; i < count; i++)
        buffer_append(&all, bytes_of(text));
    say_bytes(stream, buffer_bytes(&all));
    play_turn(play_of(stream->head.world)); /* all its turns, one after the other */
    buffer_free(&all);
}

/* A reply's size is not known before it comes: a new connection gets 16 MiB in values at their
 * greatest, and more as soon as replies turn out to be small. */
static void test_replies_that_are_owed_are_bounded_before_one_has_come(void **state)
{
    struct fixture *f = *state;
    struct play_stream *s = connect_client(f);

    say_often(s, "GET a\r\n", 2000);
    assert_int_equal(f->open_count, (16 << 20) / (256 << 10) + 1);
    assert_true(s->paused);
    for (size_t i = 0; i < f->request_count && f->request_count < 2000; i++) {
        answer_truly(f, i);
        turn(f);
    }
    assert_int_equal(f->request_count, 2000);
    assert_true(f->open_count >= 512); /* as many as there may be of small ones */
}

/* A thousand commands at once take eight turns, and who comes meanwhile gets one in between. */
static void test_a_deep_pipeline_gives_way_to_others(void **state)
{
    struct fixture *f = *state;
    struct play_stream *deep = connect_client(f), *other = connect_client(f);
    struct buffer all;
    size_t asked = 0;

    buffer_init(&all, 1 << 20);
    for (int i = 0; i < 1000; i++)
        buffer_append(&all, bytes_of("SET a 1\r\n"));
    say_bytes(deep, buffer_bytes(&all));
    for (int turns = 0; f->request_count < 1000; turns++) {
        assert_in_range(turns, 0, 8);
        assert_true(f->request_count - asked <= 128);
        asked = f->request_count;
        assert_true(deep->paused);
        say(other, "PING\r\n");
        check_output(other, "+PONG\r\n");
        play_turn_once(&f->play);
    }
    assert_false(deep->paused);
    assert_int_equal(statistics_of(f).turns_left, 7);
    buffer_free(&all);
}

/* All connections together have 4096 commands in a turn; who comes then queues up behind. */
static void test_a_turn_of_the_loop_has_an_end(void **state)
{
    struct fixture *f = *state;
    struct play_stream *busy = connect_client(f), *other = connect_client(f);
    struct buffer hundred;

    buffer_init(&hundred, 1 << 20);
    for (int i = 0; i < 100; i++)
        buffer_append(&hundred, bytes_of("PING\r\n"));
    for (int i = 0; i < 41; i++)
        say_bytes(busy, buffer_bytes(&hundred));
    assert_int_equal(buffer_size(&busy->head.output), 4096 * strlen("+PONG\r\n"));
    assert_true(busy->paused);
    say(other, "PING\r\n");
    check_output(other, "");
    assert_true(other->paused);
    play_turn_once(&f->play); /* the same turn of the loop: nothing is left of it */
    check_output(other, "");
    play_turn_once(&f->play);
    assert_int_equal(buffer_size(&busy->head.output), 4100 * strlen("+PONG\r\n"));
    check_output(other, "+PONG\r\n");
    assert_false(busy->paused || other->paused);
    say(other, "PING\r\n"); /* no backlog any more */
    check_output(other, "+PONG\r\n");
    buffer_free(&hundred);
}

/* Two have all open that makes the worker busy: the third gets its share all the same, and the
 * rest of the first goes on when there is less than that again. */
static void test_what_is_open_is_shared(void **state)
{
    enum { EACH = 1024, OPEN_MAX = 2048, SHARE = (OPEN_MAX + 2) / 3 };
    struct fixture *f = *state;
    struct play_stream *s[3];

    for (int i = 0; i < 3; i++)
        s[i] = connect_client(f);
    say_often(s[0], "SET a 1\r\n", EACH + 100);
    say_often(s[1], "SET a 1\r\n", EACH);
    assert_int_equal(f->open_count, OPEN_MAX);
    say_often(s[2], "SET a 1\r\n", EACH);
    assert_int_equal(f->open_count, OPEN_MAX + SHARE);
    assert_true(s[2]->paused);
    size_t asked = f->request_count;
    for (size_t i = 0; i < SHARE - 1; i++) {
        answer_truly(f, i);
        turn(f);
    }
    assert_int_equal(f->request_count, asked); /* all of them belong to the first */
    answer_truly(f, SHARE - 1);
    turn(f);
    assert_true(f->request_count > asked);
}

/* Big requests: a connection's share goes in any case, more only as far as all together allow. */
static void test_bytes_that_are_open_are_shared(void **state)
{
    struct fixture *f = *state;
    struct play_stream *s[3];
    char *value = value_of_size(100 << 10);
    struct buffer text;

    buffer_init(&text, 2 << 20);
    for (int k = 0; k < 3; k++)
        buffer_append_format(&text, "*3\r\n$6\r\nAPPEND\r\n$1\r\na\r\n$%d\r\n%s\r\n", 100 << 10,
                             value);
    for (int i = 0; i < 3; i++) {
        s[i] = connect_client(f);
        say_bytes(s[i], buffer_bytes(&text));
        turn(f);
    }
    /* 300 KiB each of the first and the second are 512 and more; a third of 512 for the third. */
    assert_int_equal(f->request_count, 3 + 3 + 2);
    assert_true(s[2]->paused);
    for (size_t i = 0; i < 4; i++) {
        answer_truly(f, i);
        turn(f);
    }
    answer_truly(f, 6); /* a reply of its own wakes it */
    turn(f);
    assert_int_equal(f->request_count, 9);
    free(value);
    buffer_free(&text);
}

/* The first of a thousand does not come, the others turn out to be big. */
static void test_replies_behind_a_stalled_one_are_bounded_by_their_sum(void **state)
{
    struct fixture *f = *state;
    struct play_stream *s = connect_client(f);
    char *big = value_of_size(256 << 10);
    size_t most = 0;

    f->at_once = true;
    say_often(s, "GET a\r\n", 100); /* small ones: it is trusted with many */
    f->at_once = false;
    buffer_clear(&s->head.output);
    say_often(s, "GET a\r\n", 1024);
    assert_int_equal(f->open_count, 1024);
    for (size_t i = f->request_count - 1023; i < f->request_count && !s->aborted; i++) {
        answer(f, i, GATEWAY_REPLY, big);
        if (statistics_of(f).bytes_held > most) most = statistics_of(f).bytes_held;
    }
    assert_true(s->aborted);
    assert_true(most <= BYTES_MAX); /* its worker has less than the 64 MiB of one connection */
    assert_int_equal(statistics_of(f).clients_evicted, 1);
    assert_int_equal(statistics_of(f).bytes_held, 0);
    hang_up(s);
    free(big);
}

/* Two hold much: no more is asked for them, and a third one is served; then the heavier goes. */
static void test_what_all_connections_hold_is_bounded(void **state)
{
    struct fixture *f = *state;
    struct play_stream *s[3];
    char *big = value_of_size(512 << 10);
    size_t first[2];

    for (int i = 0; i < 3; i++)
        s[i] = connect_client(f);
    for (int i = 0; i < 2; i++) {
        f->at_once = true;
        say_often(s[i], "GET a\r\n", 100);
        f->at_once = false;
        first[i] = f->request_count;
        say_often(s[i], "GET a\r\n", 60);
    }
    for (size_t k = 1; k < 24; k++)
        for (int i = 0; i < 2; i++)
            answer(f, first[i] + k, GATEWAY_REPLY, big); /* 23 MiB: more than half */
    assert_in_range(statistics_of(f).bytes_held, BYTES_MAX / 2, BYTES_MAX);
    size_t before = f->request_count;
    say(s[0], "GET a\r\n");
    assert_int_equal(f->request_count, before);
    assert_true(s[0]->paused);
    say(s[2], "GET a\r\n");
    assert_int_equal(f->request_count, before + 1);
    answer_truly(f, before);
    check_output(s[2], "$1\r\na\r\n");

    for (size_t k = 24; k < 60 && !s[0]->aborted && !s[1]->aborted; k++)
        answer(f, first[1] + k, GATEWAY_REPLY, big);
    assert_true(s[1]->aborted);
    assert_false(s[0]->aborted);
    assert_false(s[2]->aborted);
    assert_int_equal(statistics_of(f).clients_evicted, 1);
    free(big);
}

static double answer_all_but_the_first(struct fixture *f, struct play_stream *s,
                                       const char *waiting)
{
    struct timespec start, end;

    f->at_once = true;
    say_often(s, "GET a\r\n", 100);
    f->at_once = false;
    size_t first = f->request_count;
    say_often(s, "GET a\r\n", 1000);
    assert_int_equal(f->open_count, 1000);
    say(s, waiting);
    assert_true(s->paused);
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &start);
    for (size_t i = first + 1; i < first + 1000; i++) {
        answer_truly(f, i);
        turn(f);
    }
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &end);
    assert_int_equal(f->open_count, 1); /* it still waits for the first one */
    answer_truly(f, first);
    turn(f);
    assert_true(f->open_count > 1);
    while (f->open_count)
        for (size_t i = first; i < f->request_count; i++)
            if (f->requests[i]) answer_truly(f, i);
    turn(f);
    assert_false(s->paused);
    buffer_clear(&s->head.output);
    return (double)(end.tv_sec - start.tv_sec) * 1e9 + (double)(end.tv_nsec - start.tv_nsec);
}

/* Ten thousand keys that wait behind a thousand replies are not read a thousand times. */
static void test_a_command_that_waits_is_parsed_once(void **state)
{
    struct fixture *f = *state;
    struct play_stream *s = connect_client(f);
    struct buffer big;

    buffer_init(&big, 1 << 20);
    buffer_append_format(&big, "*10001\r\n$4\r\nMGET\r\n");
    for (int i = 0; i < 10000; i++)
        buffer_append_format(&big, "$5\r\nk%04d\r\n", i);
    buffer_append(&big, bytes_make("", 1));
    double small_ns = answer_all_but_the_first(f, s, "MGET a b c\r\n");
    double big_ns = answer_all_but_the_first(f, s, (const char *)buffer_bytes(&big).data);
    if (big_ns > 10 * small_ns) fail_msg("%.0f ns instead of %.0f", big_ns, small_ns);
    buffer_free(&big);
}

/* Its arguments lie in what was read, which moves when it has to wait. */
static void test_a_command_that_waits_keeps_its_arguments(void **state)
{
    struct fixture *f = *state;
    struct play_stream *s = connect_client(f);
    char text[] =
        "*2\r\n$3\r\nGET\r\n$1\r\na\r\n*3\r\n$4\r\nMGET\r\n$1\r\nb\r\n$1\r\nc\r\nPING\r\n";

    say(s, text);
    memset(text, '?', sizeof(text));
    answer_truly(f, 0);
    turn(f);
    answer_truly(f, 1);
    answer_truly(f, 2);
    turn(f);
    check_output(s, "$1\r\na\r\n*2\r\n$1\r\nb\r\n$1\r\nc\r\n+PONG\r\n");
    say(s, "GET a\r\nMGET \"b\" \"c\"\r\nPING\r\n"); /* the same in words */
    answer_truly(f, 3);
    turn(f);
    answer_truly(f, 4);
    answer_truly(f, 5);
    turn(f);
    check_output(s, "$1\r\na\r\n*2\r\n$1\r\nb\r\n$1\r\nc\r\n+PONG\r\n");
}

/* --- deadlines ---------------------------------------------------------------------------- */

static void test_half_a_command_has_a_deadline(void **state)
{
    struct fixture *f = *state;
    struct play_stream *s = connect_client(f);

    say(s, "PING\r\n");
    check_output(s, "+PONG\r\n");
    pass_time(f, 70); /* whoever says nothing at all is not late */
    assert_false(s->closed);
    say(s, "*2\r\n$3\r\nGET\r\n");
    for (int i = 0; i < 58; i++) {
        pass_time(f, 1);
        say(s, i ? "" : "$1\r\n"); /* a little now and then does not help */
    }
    assert_false(s->closed);
    pass_time(f, 5);
    assert_true(s->closed);
    check_output(s, "-ERR the command was not completed in time; closing\r\n");
    assert_int_equal(statistics_of(f).clients_slow, 1);
}

static void test_a_big_command_over_a_slow_line_has_its_time(void **state)
{
    struct fixture *f = *state;
    struct play_stream *s = connect_client(f);
    char *part = value_of_size(8 << 10); /* in a second: an eighth of what is asked for */

    say(s, "*3\r\n$3\r\nSET\r\n$1\r\na\r\n$600000\r\n");
    for (int i = 0; i < 62; i++) {
        say(s, part);
        pass_time(f, 1);
    }
    assert_false(s->closed); /* 60 seconds, and 62 * 8 / 64 */
    pass_time(f, 10);
    assert_true(s->closed);
    free(part);
}

/* A command that waits because of us is not late. */
static void test_whoever_has_to_wait_is_not_late(void **state)
{
    struct fixture *f = *state;
    struct play_stream *s = connect_client(f);

    say(s, "GET a\r\nMGET a b\r\nPI");
    pass_time(f, 100);
    assert_false(s->closed);
    answer_truly(f, 0);
    turn(f);
    answer_truly(f, 1);
    answer_truly(f, 2);
    turn(f);
    pass_time(f, 30);
    say(s, "NG\r\n");
    assert_false(s->closed);
    pass_time(f, 100);
    assert_false(s->closed);
    assert_int_equal(statistics_of(f).clients_slow, 0);
}

static void test_whoever_never_speaks_makes_room(void **state)
{
    struct fixture *f = *state;
    struct play_stream *silent = connect_client(f), *other = connect_client(f);

    say(other, "PING\r\n");
    pass_time(f, 59);
    assert_false(silent->closed);
    pass_time(f, 3);
    assert_true(silent->closed);
    assert_false(other->closed);
    check_output(silent, "-ERR no command came in time; closing\r\n");
    hang_up(silent);
    silent = connect_client(f);
    connect_client(f); /* three of three: crowded */
    pass_time(f, 9);
    assert_false(silent->closed);
    pass_time(f, 3);
    assert_true(silent->closed);
    assert_int_equal(statistics_of(f).clients_silent, 3);
}

static void test_idle_connections_end_if_that_is_wanted(void **state)
{
    struct fixture *f = *state;
    struct play_stream *idle = connect_client(f), *waits = connect_client(f);

    say(idle, "PING\r\n");
    check_output(idle, "+PONG\r\n");
    say(waits, "GET a\r\n");
    pass_time(f, 299);
    assert_false(idle->closed);
    pass_time(f, 3);
    assert_true(idle->closed);
    assert_false(waits->closed); /* its command is open */
    assert_int_equal(statistics_of(f).clients_idle, 1);
    say(waits, "CONFIG GET timeout\r\n");
    answer_truly(f, 0);
    check_output(waits, "$1\r\na\r\n*2\r\n$7\r\ntimeout\r\n$3\r\n300\r\n");
}

static void test_whoever_does_not_read_is_closed_and_whoever_reads_slowly_is_not(void **state)
{
    struct fixture *f = *state;
    struct play_stream *deaf = connect_client(f), *slow = connect_client(f);

    say(deaf, "ECHO hello\r\n");
    say(slow, "ECHO hello\r\n");
    for (int i = 0; i < 40; i++) {
        pass_time(f, 1);
        if (i % 10 == 0) slow->delivered++; /* it takes a byte */
    }
    assert_true(deaf->aborted);
    assert_false(slow->aborted);
    assert_int_equal(statistics_of(f).clients_stuck, 1);
    pass_time(f, 60);
    assert_true(slow->aborted);
}

static void test_connections_are_limited(void **state)
{
    struct fixture *f = *state;

    for (int i = 0; i < 3; i++)
        connect_client(f);
    struct play_stream *refused = connect_client(f);
    check_output(refused, "-ERR max number of clients reached\r\n");
    assert_true(refused->closed);
    hang_up(&f->play.streams[0]);
    assert_int_equal(redis_service_connections(f->service), 2);
    struct play_stream *again = connect_client(f);
    say(again, "PING\r\n");
    check_output(again, "+PONG\r\n");
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, make, drop)
    const struct CMUnitTest tests[] = {
        TEST(test_commands_wait_when_too_many_are_open),
        TEST(test_a_client_that_does_not_read_is_not_read),
        TEST(test_replies_that_are_owed_are_bounded_before_one_has_come),
        TEST(test_replies_behind_a_stalled_one_are_bounded_by_their_sum),
        TEST(test_what_all_connections_hold_is_bounded),
        TEST(test_a_command_that_waits_is_parsed_once),
        TEST(test_a_command_that_waits_keeps_its_arguments),
        TEST(test_half_a_command_has_a_deadline),
        TEST(test_a_big_command_over_a_slow_line_has_its_time),
        TEST(test_whoever_has_to_wait_is_not_late),
        TEST(test_whoever_never_speaks_makes_room),
        TEST(test_idle_connections_end_if_that_is_wanted),
        TEST(test_whoever_does_not_read_is_closed_and_whoever_reads_slowly_is_not),
        TEST(test_connections_are_limited),
        TEST(test_a_deep_pipeline_gives_way_to_others),
        TEST(test_a_turn_of_the_loop_has_an_end),
        TEST(test_what_is_open_is_shared),
        TEST(test_bytes_that_are_open_are_shared),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
