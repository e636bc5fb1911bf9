/* The admin service over streams that the test plays: one answer for each request, in order;
 * connections stay or end as the head of the answer says; floods do not lock anybody out. */
#include <stdio.h>

#include "play_world.h"

#include "services/admin/admin.h"

enum { TICKETS_MAX = 16 };

struct fixture {
    struct play play;
    struct admin *admin;
    uint64_t tickets[TICKETS_MAX]; /* asked for, in order */
    size_t ticket_count;
    bool at_once; /* answers inside render() */
};

static void answer(struct fixture *f, uint64_t ticket)
{
    admin_answer(f->admin, ticket, 200, "text/plain", bytes_of("page"));
}

static void render(void *context, enum admin_page page, uint64_t ticket)
{
    struct fixture *f = context;

    assert_true(f->ticket_count < TICKETS_MAX);
    f->tickets[f->ticket_count++] = ticket;
    if (f->at_once) answer(f, ticket);
}

static int make(void **state)
{
    struct fixture *f = test_calloc(1, sizeof(*f));
    struct admin_options options = {
        .world = &f->play.world, .address = "", .context = f, .render = render};

    play_start(&f->play);
    assert_int_equal(admin_open(&options, &f->admin, NULL), STATUS_OK);
    *state = f;
    return 0;
}

static int drop(void **state)
{
    struct fixture *f = *state;

    admin_close(f->admin);
    for (size_t i = 0; i < PLAY_TIMERS_MAX; i++)
        assert_null(f->play.timers[i]);
    play_stop(&f->play);
    test_free(f);
    return 0;
}

static struct play_stream *dial(struct fixture *f)
{
    return play_connect(&f->play, "127.0.0.1:5000");
}

/* What was sent: how many answers of each kind, then forgotten. */
struct heard {
    int answers, pages, closes;
    unsigned status; /* of the last */
    bool ends_with_page;
};

static struct heard hear(struct play_stream *s)
{
    struct heard heard = {0};
    char text[8192] = "";
    struct bytes output = buffer_bytes(&s->head.output);

    assert_true(output.size < sizeof(text));
    if (output.size) memcpy(text, output.data, output.size);
    for (const char *at = text; (at = strstr(at, "HTTP/1.1 ")); at++) {
        heard.answers++;
        sscanf(at, "HTTP/1.1 %u", &heard.status);
    }
    for (const char *at = text; (at = strstr(at, "\r\n\r\npage")); at++)
        heard.pages++;
    for (const char *at = text; (at = strstr(at, "\r\nConnection: close\r\n")); at++)
        heard.closes++;
    heard.ends_with_page = output.size >= 4 && strcmp(text + output.size - 4, "page") == 0;
    buffer_clear(&s->head.output);
    return heard;
}

#define GET "GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n"
#define GET_AND_CLOSE "GET /metrics HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"

static void test_a_connection_stays_for_the_next_request(void **state)
{
    struct fixture *f = *state;
    struct play_stream *s = dial(f);

    f->at_once = true;
    for (int i = 0; i < 3; i++) {
        say(s, GET);
        struct heard heard = hear(s);
        assert_int_equal(heard.answers, 1);
        assert_int_equal(heard.pages, 1);
        assert_int_equal(heard.closes, 0);
        assert_false(s->closed);
        assert_false(s->paused);
    }
}

static void test_a_connection_ends_when_the_client_says_so(void **state)
{
    struct fixture *f = *state;
    struct play_stream *s = dial(f);

    f->at_once = true;
    say(s, GET_AND_CLOSE GET); /* what follows is not answered */
    struct heard heard = hear(s);
    assert_int_equal(heard.answers, 1);
    assert_int_equal(heard.closes, 1);
    assert_true(heard.ends_with_page);
    assert_true(s->closed);
    say(s, GET);
    assert_int_equal(hear(s).answers, 0);
}

static void test_an_answer_that_comes_later_ends_the_connection_too(void **state)
{
    struct fixture *f = *state;
    struct play_stream *s = dial(f);

    say(s, GET_AND_CLOSE GET);
    assert_int_equal(f->ticket_count, 1);
    assert_false(s->closed); /* not before it is answered */
    assert_true(s->paused);
    answer(f, f->tickets[0]);
    assert_int_equal(hear(s).closes, 1);
    assert_true(s->closed);
    assert_int_equal(f->ticket_count, 1);
}

static void test_http_1_0_is_answered_and_closed(void **state)
{
    struct fixture *f = *state;
    struct play_stream *s = dial(f);

    f->at_once = true;
    say(s, "GET /metrics HTTP/1.0\r\n\r\n");
    assert_int_equal(hear(s).closes, 1);
    assert_true(s->closed);
}

static void test_pipelined_requests_are_answered_one_by_one(void **state)
{
    struct fixture *f = *state;
    struct play_stream *s = dial(f);

    say(s, GET GET GET_AND_CLOSE);
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(f->ticket_count, i + 1);
        assert_false(s->closed);
        answer(f, f->tickets[i]);
    }
    struct heard heard = hear(s);
    assert_int_equal(heard.pages, 3);
    assert_int_equal(heard.closes, 1);
    assert_true(s->closed);
}

static void test_requests_are_understood_in_pieces(void **state)
{
    struct fixture *f = *state;
    struct play_stream *s = dial(f);
    const char *text = GET GET;

    f->at_once = true;
    for (const char *at = text; *at; at++)
        say_bytes(s, bytes_make(at, 1));
    assert_int_equal(hear(s).pages, 2);
}

static void test_head_gets_the_head_alone(void **state)
{
    struct fixture *f = *state;
    struct play_stream *s = dial(f);

    f->at_once = true;
    say(s, "HEAD /status HTTP/1.1\r\nHost: a\r\n\r\n");
    struct heard heard = hear(s);
    assert_int_equal(heard.status, 200);
    assert_int_equal(heard.pages, 0);
    say(s, GET); /* and the next answer begins where it should */
    assert_int_equal(hear(s).pages, 1);
}

static void test_errors_are_answered(void **state)
{
    struct fixture *f = *state;
    struct play_stream *s = dial(f);

    say(s, "GET /nosuch HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_int_equal(hear(s).status, 404);
    assert_false(s->closed);
    say(s, "GET / HTTP/1.1\r\n\r\n" GET); /* without a host: what follows has no meaning */
    struct heard heard = hear(s);
    assert_int_equal(heard.answers, 1);
    assert_int_equal(heard.status, 400);
    assert_int_equal(heard.closes, 1);
    assert_true(s->closed);
    assert_int_equal(f->ticket_count, 0);
}

/* The page at `/` is some 10 KiB: its answers must not pile up. */
static void test_answers_that_are_not_read_hold_requests_back(void **state)
{
    struct fixture *f = *state;
    struct play_stream *s = dial(f);
    struct admin_statistics statistics;

    for (int i = 0; i < 200 && !s->paused; i++)
        say(s, "GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_true(s->paused);
    say(s, GET); /* was on its way already */
    assert_int_equal(f->ticket_count, 0);
    assert_true(buffer_size(&s->head.output) < 2 * ADMIN_OUTPUT_WAIT);
    admin_statistics(f->admin, &statistics);
    buffer_clear(&s->head.output); /* it reads after all */
    s->head.events->on_drained(s->head.context, &s->head);
    assert_int_equal(f->ticket_count, 1);
    answer(f, f->tickets[0]);
    assert_int_equal(hear(s).pages, 1);
    assert_false(s->paused);
}

static void test_an_answer_to_nobody_is_no_harm(void **state)
{
    struct fixture *f = *state;
    struct play_stream *s = dial(f);

    say(s, GET);
    hang_up(s);
    answer(f, f->tickets[0]);
    answer(f, 12345);
}

static void test_a_head_that_trickles_in_ends(void **state)
{
    struct fixture *f = *state;
    struct play_stream *s = dial(f);

    for (int i = 0; i < 40 && !s->closed; i++) {
        say(s, i ? "a" : "GET /");
        play_pass_time(&f->play, 1);
    }
    assert_true(s->closed);
}

/* F63: those who ask nothing make room for those who ask. */
static void test_a_flood_locks_nobody_out(void **state)
{
    struct fixture *f = *state;
    struct play_stream *flood[ADMIN_ADDRESS_CONNECTIONS_MAX];
    struct admin_statistics statistics;

    for (size_t i = 0; i < ADMIN_ADDRESS_CONNECTIONS_MAX; i++)
        flood[i] = dial(f);
    say(flood[0], "GET /");
    struct play_stream *s = dial(f);
    say(s, GET);
    assert_int_equal(f->ticket_count, 1);
    assert_true(flood[0]->aborted); /* the first of them */
    assert_false(flood[1]->aborted);
    admin_statistics(f->admin, &statistics);
    assert_int_equal(statistics.connections, ADMIN_ADDRESS_CONNECTIONS_MAX);
    assert_int_equal(statistics.displaced, 1);

    struct play_stream *other = play_connect(&f->play, "10.0.0.1:1"); /* has places of its own */
    assert_false(flood[1]->aborted);
    assert_false(other->aborted);
}

static void test_when_all_wait_for_answers_one_more_is_refused(void **state)
{
    struct fixture *f = *state;

    for (size_t i = 0; i < ADMIN_ADDRESS_CONNECTIONS_MAX; i++) {
        f->ticket_count = 0;
        say(dial(f), GET);
    }
    struct play_stream *s = dial(f);
    struct heard heard = hear(s);
    assert_int_equal(heard.status, 503);
    assert_int_equal(heard.closes, 1);
    assert_true(s->closed);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, make, drop)
    const struct CMUnitTest tests[] = {
        TEST(test_a_connection_stays_for_the_next_request),
        TEST(test_a_connection_ends_when_the_client_says_so),
        TEST(test_an_answer_that_comes_later_ends_the_connection_too),
        TEST(test_http_1_0_is_answered_and_closed),
        TEST(test_pipelined_requests_are_answered_one_by_one),
        TEST(test_requests_are_understood_in_pieces),
        TEST(test_head_gets_the_head_alone),
        TEST(test_errors_are_answered),
        TEST(test_answers_that_are_not_read_hold_requests_back),
        TEST(test_an_answer_to_nobody_is_no_harm),
        TEST(test_a_head_that_trickles_in_ends),
        TEST(test_a_flood_locks_nobody_out),
        TEST(test_when_all_wait_for_answers_one_more_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
