/* The front-end with a gateway and a world that the test plays: order, barriers, bounds, ends. */
#include "play_world.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "base/assert.h"
#include "base/hash.h"
#include "services/redis/command.h"
#include "services/redis/redis_service.h"
#include "services/redis/request_body.h"
#include "wire/resp.h"

enum { REQUESTS_MAX = 8192, PARTITIONS = 4, BYTES_MAX = 40 << 20 };

struct fixture {
    struct play play;
    struct cluster_view view;
    struct redis_service *service;
    /* The gateway: */
    struct gateway_request *requests[REQUESTS_MAX]; /* in order; NULL when answered */
    char *bodies[REQUESTS_MAX];
    size_t body_sizes[REQUESTS_MAX];
    size_t request_count, open_count, forgotten;
    bool at_once; /* answers inside gateway_submit() */
};

/* --- a gateway ------------------------------------------------------------------------------- */

static struct redis_body body_of(const struct fixture *fixture, size_t index, struct arena *arena)
{
    struct redis_body body;
    struct bytes bytes = bytes_make(fixture->bodies[index], fixture->body_sizes[index]);
    assert_int_equal(redis_body_decode(bytes, arena, &body), STATUS_OK);
    return body;
}

static void answer(struct fixture *fixture, size_t index, enum gateway_outcome outcome,
                   const char *reply)
{
    struct gateway_request *request = fixture->requests[index];

    assert_non_null(request);
    fixture->requests[index] = NULL;
    fixture->open_count--;
    request->on_reply(request, outcome, bytes_of(reply));
}

/* What a partition would say: its own number for DBSIZE, the keys for MGET, ... */
static void answer_truly(struct fixture *fixture, size_t index)
{
    struct arena arena;
    struct buffer buffer;
    char number[16];

    arena_init(&arena, 1 << 16);
    buffer_init(&buffer, 1 << 20);
    struct redis_body body = body_of(fixture, index, &arena);
    struct resp_writer out = resp_writer_make(&buffer, body.flags & REDIS_BODY_RESP3);
    switch (body.command) {
    case REDIS_DBSIZE:
        resp_write_integer(&out, 1 + fixture->view.slot_partition[fixture->requests[index]->slot]);
        break;
    case REDIS_MGET:
        resp_write_array(&out, body.count);
        for (uint32_t i = 0; i < body.count; i++)
            resp_write_bulk(&out, body.arguments[i]);
        break;
    case REDIS_EXISTS:
        resp_write_integer(&out, body.count);
        break;
    case REDIS_SCAN: { /* two calls for each partition, a key each */
        uint64_t cursor = strtoull((const char *)body.arguments[0].data, NULL, 10);
        bool again = (cursor & 1) == 0;
        uint16_t slot = fixture->requests[index]->slot;
        uint64_t next = (uint64_t)(slot + SLOT_COUNT / PARTITIONS) << 48;
        if (slot + SLOT_COUNT / PARTITIONS >= SLOT_COUNT) next = 0;
        resp_write_array(&out, 2);
        resp_write_bulk_u64(&out, again ? cursor + 1 : next);
        resp_write_array(&out, 1);
        snprintf(number, sizeof(number), "%u%c", slot, again ? 'a' : 'b');
        resp_write_bulk_text(&out, number);
        break;
    }
    case REDIS_GET:
        resp_write_bulk(&out, body.arguments[0]);
        break;
    default:
        resp_write_simple(&out, "OK");
        break;
    }
    buffer_append(&buffer, bytes_make("", 1));
    char *reply = strdup((const char *)buffer_bytes(&buffer).data);
    buffer_free(&buffer);
    arena_free(&arena);
    answer(fixture, index, GATEWAY_REPLY, reply);
    free(reply);
}

/* The test is the gateway: these two take the place of cluster/gateway.c. */
void gateway_submit(struct gateway *gateway, struct gateway_request *request)
{
    struct fixture *fixture = (struct fixture *)gateway;
    size_t index = fixture->request_count++;

    assert_true(index < REQUESTS_MAX);
    fixture->requests[index] = request;
    fixture->open_count++;
    fixture->bodies[index] = malloc(request->body.size);
    fixture->body_sizes[index] = request->body.size;
    memcpy(fixture->bodies[index], request->body.data, request->body.size);
    if (fixture->at_once) answer_truly(fixture, index);
}

void gateway_forget(struct gateway *gateway, struct gateway_request *request)
{
    struct fixture *fixture = (struct fixture *)gateway;

    for (size_t i = 0; i < fixture->request_count; i++) {
        if (fixture->requests[i] != request) continue;
        fixture->requests[i] = NULL;
        fixture->open_count--;
        fixture->forgotten++;
        return;
    }
    fail_msg("an unknown request was forgotten");
}

/* --- the fixture ------------------------------------------------------------------------------ */

static void view_fill(struct cluster_view *view)
{
    view->partition_count = PARTITIONS;
    view->group_count = GROUP_DATA_FIRST + PARTITIONS;
    view->groups = calloc(view->group_count, sizeof(view->groups[0]));
    view->self = 1;
    view->node_count = 1;
    view->nodes[0].id = 1;
    memset(view->nodes[0].hex_id, 'a', 40);
    strcpy(view->nodes[0].redis_cluster, "127.0.0.1:7379");
    strcpy(view->nodes[0].peer, "127.0.0.1:8379");
    for (uint16_t i = 0; i < PARTITIONS; i++) {
        struct view_group *group = &view->groups[GROUP_DATA_FIRST + i];
        group->slot_first = (uint16_t)(i * (SLOT_COUNT / PARTITIONS));
        group->slot_last = (uint16_t)((i + 1) * (SLOT_COUNT / PARTITIONS) - 1);
        group->replica_count = 1;
        group->replicas[0].node = 1;
        for (uint32_t slot = group->slot_first; slot <= group->slot_last; slot++)
            view->slot_partition[slot] = i;
    }
}

static int make(void **state)
{
    struct fixture *fixture = calloc(1, sizeof(*fixture));

    play_start(&fixture->play);
    view_fill(&fixture->view);
    struct redis_service_options options = {.world = &fixture->play.world,
                                            .gateway = (struct gateway *)fixture,
                                            .view = &fixture->view,
                                            .max_connections = 3,
                                            .request_timeout = 60 * SECOND,
                                            .output_timeout = 20 * SECOND,
                                            .idle_timeout = 300 * SECOND,
                                            .bytes_max = BYTES_MAX};
    fixture->service = redis_service_open(&options);
    assert_int_equal(redis_service_listen(fixture->service, "", false, NULL), STATUS_OK);
    *state = fixture;
    return 0;
}

static int drop(void **state)
{
    struct fixture *fixture = *state;

    redis_service_close(fixture->service);
    assert_int_equal(fixture->open_count, 0);
    for (size_t i = 0; i < fixture->request_count; i++)
        free(fixture->bodies[i]);
    play_stop(&fixture->play);
    free(fixture->view.groups);
    free(fixture);
    return 0;
}

static struct play_stream *connect_client(struct fixture *fixture)
{
    return play_connect(&fixture->play, "127.0.0.1:5000");
}

static void turn(struct fixture *fixture)
{
    play_turn(&fixture->play);
}

static void pass_time(struct fixture *fixture, unsigned seconds)
{
    play_pass_time(&fixture->play, seconds);
}

static struct redis_statistics statistics_of(const struct fixture *fixture)
{
    struct redis_statistics statistics;

    redis_service_statistics(fixture->service, &statistics);
    return statistics;
}

/* --- order -------------------------------------------------------------------------------------
 */

static void test_replies_leave_in_the_order_of_the_commands(void **state)
{
    struct fixture *f = *state;
    struct play_stream *s = connect_client(f);

    say(s, "GET a\r\nGET b\r\nPING\r\nGET c\r\nECHO x\r\n");
    assert_int_equal(f->open_count, 3); /* all at once: nothing waits for another partition */
    check_output(s, "");
    answer(f, 1, GATEWAY_REPLY, "+b\r\n");
    check_output(s, "");
    answer(f, 0, GATEWAY_REPLY, "+a\r\n");
    check_output(s, "+a\r\n+b\r\n+PONG\r\n");
    answer(f, 2, GATEWAY_REPLY, "+c\r\n");
    check_output(s, "+c\r\n$1\r\nx\r\n");
}

static void test_commands_are_understood_in_pieces(void **state)
{
    struct fixture *f = *state;
    struct play_stream *s = connect_client(f);
    const char *text = "*2\r\n$3\r\nGET\r\n$3\r\nabc\r\n*1\r\n$4\r\nPING\r\n";

    f->at_once = true;
    for (const char *at = text; *at; at++)
        say_bytes(s, bytes_make(at, 1));
    check_output(s, "$3\r\nabc\r\n+PONG\r\n");
}

static void test_outcomes_become_errors(void **state)
{
    struct fixture *f = *state;
    struct play_stream *s = connect_client(f);

    say(s, "SET a 1\r\nSET a 2\r\nSET a 3\r\nSET a 4\r\n");
    assert_true(f->requests[0]->write);
    answer(f, 0, GATEWAY_UNKNOWN, "");
    answer(f, 1, GATEWAY_UNAVAILABLE, "");
    answer(f, 2, GATEWAY_BUSY, "");
    answer(f, 3, GATEWAY_TOO_BIG, "");
    const char *output = (const char *)buffer_bytes(&s->head.output).data;
    assert_non_null(strstr(output, "-UNKNOWN outcome: no quorum of partition 3 answered within "
                                   "the patience; the command may or may not have been "
                                   "executed\r\n-UNAVAILABLE "));
    assert_non_null(strstr(output, "\r\n-BUSY "));
    assert_non_null(strstr(output, "\r\n-TOOBIG "));
}

/* --- several partitions --------------------------------------------------------------------------
 */

/* a: slot 15495, b: 3300, c: 7365 */
static void test_a_read_over_partitions_is_merged_and_is_a_barrier(void **state)
{
    struct fixture *f = *state;
    struct play_stream *s = connect_client(f);

    say(s, "GET a\r\nMGET a b c a\r\nGET b\r\n");
    assert_int_equal(f->request_count, 1); /* MGET waits for GET */
    assert_true(s->paused);
    answer(f, 0, GATEWAY_REPLY, "+first\r\n");
    turn(f);
    assert_int_equal(f->request_count, 4); /* one for each partition; the last GET waits */
    answer_truly(f, 3);
    answer_truly(f, 1);
    check_output(s, "+first\r\n");
    answer_truly(f, 2);
    turn(f);
    check_output(s, "*4\r\n$1\r\na\r\n$1\r\nb\r\n$1\r\nc\r\n$1\r\na\r\n");
    assert_int_equal(f->request_count, 5);
    assert_false(s->paused);
    answer_truly(f, 4);
    check_output(s, "$1\r\nb\r\n");
}

static void test_keys_of_one_partition_are_one_request(void **state)
{
    struct fixture *f = *state;
    struct play_stream *s = connect_client(f);

    f->at_once = true;
    say(s, "MGET {a}1 {a}2\r\nEXISTS {a}1 {a}1\r\nMSET {a}1 x {a}2 y\r\n");
    assert_int_equal(f->request_count, 3);
    check_output(s, "*2\r\n$4\r\n{a}1\r\n$4\r\n{a}2\r\n:2\r\n+OK\r\n");
}

static void test_sums_and_errors_of_partitions(void **state)
{
    struct fixture *f = *state;
    struct play_stream *s = connect_client(f);

    f->at_once = true;
    say(s, "DBSIZE\r\nEXISTS a b c b\r\nFLUSHALL\r\n");
    check_output(s, ":10\r\n:4\r\n+OK\r\n"); /* 1 + 2 + 3 + 4 */
    f->at_once = false;
    size_t first = f->request_count;
    say(s, "MGET a b c\r\n");
    answer(f, first, GATEWAY_REPLY, "*1\r\n$-1\r\n");
    answer(f, first + 1, GATEWAY_REPLY, "-ERR broken\r\n");
    answer(f, first + 2, GATEWAY_BUSY, "");
    turn(f);
    check_output(s, "-ERR broken\r\n");
}

static void test_a_write_over_partitions_changes_nothing(void **state)
{
    struct fixture *f = *state;
    struct play_stream *s = connect_client(f);

    say(s, "MSET a 1 b 2\r\nDEL a b\r\nMSETNX a 1 c 1\r\n");
    assert_int_equal(f->request_count, 0);
    struct bytes output = buffer_bytes(&s->head.output);
    assert_true(bytes_starts_with(
        output, bytes_of("-CROSSSLOT Keys in request don't hash to the same slot")));
}

static void test_keys_gathers_all_partitions(void **state)
{
    struct fixture *f = *state;
    struct play_stream *s = connect_client(f);

    f->at_once = true;
    say(s, "KEYS *\r\nPING\r\n");
    turn(f);
    check_output(s, "*8\r\n$2\r\n0a\r\n$2\r\n0b\r\n$5\r\n4096a\r\n$5\r\n4096b\r\n$5\r\n8192a\r\n"
                    "$5\r\n8192b\r\n$6\r\n12288a\r\n$6\r\n12288b\r\n+PONG\r\n");
    say(s, "SCAN 0\r\n");
    check_output(s, "*2\r\n$1\r\n1\r\n*1\r\n$2\r\n0a\r\n");
    say(s, "SCAN x\r\n");
    check_output(s, "-ERR invalid cursor\r\n");
}

static void test_a_random_key_comes_from_one_partition(void **state)
{
    struct fixture *f = *state;
    struct play_stream *s = connect_client(f);

    f->at_once = true;
    say(s, "RANDOMKEY\r\n");
    turn(f);
    assert_int_equal(f->request_count, PARTITIONS + 1);
    check_output(s, "+OK\r\n");
}

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

static void say_often(struct play_stream *stream, const char *text, int count)
{
    struct buffer all;

    buffer_init(&all, 1 << 20);
    for (int i = 0; i < count; i++)
        buffer_append(&all, bytes_of(text));
    say_bytes(stream, buffer_bytes(&all));
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

static char *value_of_size(size_t size)
{
    char *value = malloc(size + 1);

    memset(value, 'x', size);
    value[size] = 0;
    return value;
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

/* --- ends
 * ------------------------------------------------------------------------------------------ */

static void test_a_protocol_error_comes_after_earlier_replies_and_ends(void **state)
{
    struct fixture *f = *state;
    struct play_stream *s = connect_client(f);

    say(s, "GET a\r\n*1\r\n:1\r\nGET b\r\n");
    assert_int_equal(f->request_count, 1);
    assert_false(s->closed);
    answer(f, 0, GATEWAY_REPLY, "+a\r\n");
    turn(f);
    check_output(s, "+a\r\n-ERR Protocol error: expected '$', got ':'\r\n");
    assert_true(s->closed);
}

static void test_quit_ends_after_earlier_replies(void **state)
{
    struct fixture *f = *state;
    struct play_stream *s = connect_client(f);

    say(s, "GET a\r\nQUIT\r\nGET b\r\n");
    assert_int_equal(f->request_count, 1);
    answer(f, 0, GATEWAY_REPLY, "+a\r\n");
    turn(f);
    check_output(s, "+a\r\n+OK\r\n");
    assert_true(s->closed);
}

static void test_a_client_that_leaves_is_forgotten(void **state)
{
    struct fixture *f = *state;
    struct play_stream *s = connect_client(f);

    say(s, "GET a\r\nGET b\r\n");
    hang_up(s);
    assert_int_equal(f->forgotten, 2);
    s = connect_client(f);
    say(s, "DBSIZE\r\n");
    hang_up(s);
    assert_int_equal(f->forgotten, 2 + PARTITIONS);
    assert_int_equal(f->open_count, 0);
    turn(f);
}

static void test_draining_answers_what_was_asked(void **state)
{
    struct fixture *f = *state;
    struct play_stream *busy = connect_client(f), *idle = connect_client(f);

    say(busy, "GET a\r\n");
    redis_service_drain(f->service);
    assert_true(idle->closed);
    assert_false(busy->closed);
    say(busy, "GET b\r\n"); /* too late */
    answer(f, 0, GATEWAY_REPLY, "+a\r\n");
    turn(f);
    check_output(busy, "+a\r\n");
    assert_true(busy->closed);
    assert_int_equal(f->request_count, 1);
}

static void test_http_is_cut_off(void **state)
{
    struct fixture *f = *state;
    struct play_stream *s = connect_client(f);

    say(s, "POST / HTTP/1.1\r\nHost: localhost\r\n\r\nFLUSHALL\r\n");
    assert_true(s->aborted);
    assert_int_equal(f->request_count, 0);
    check_output(s, "");
}

/* --- the connection's own commands
 * ----------------------------------------------------------------- */

static void test_replies_can_be_switched_off(void **state)
{
    struct fixture *f = *state;
    struct play_stream *s = connect_client(f);

    f->at_once = true;
    say(s, "CLIENT REPLY OFF\r\nPING\r\nGET a\r\nDBSIZE\r\nCLIENT REPLY ON\r\nPING\r\n");
    check_output(s, "+OK\r\n+PONG\r\n");
    say(s, "CLIENT REPLY SKIP\r\nGET a\r\nGET b\r\n");
    check_output(s, "$1\r\nb\r\n");
}

static void test_the_protocol_and_database_of_a_connection(void **state)
{
    struct fixture *f = *state;
    struct play_stream *s = connect_client(f);
    struct arena arena;

    arena_init(&arena, 0);
    say(s, "SELECT 3\r\nHELLO 3\r\n");
    buffer_clear(&s->head.output);
    say(s, "GET a\r\n");
    struct redis_body body = body_of(f, 0, &arena);
    assert_int_equal(body.database, 3);
    assert_int_equal(body.flags, REDIS_BODY_RESP3);
    answer(f, 0, GATEWAY_REPLY, "_\r\n");
    say(s, "RESET\r\nGET a\r\n");
    body = body_of(f, 1, &arena);
    assert_int_equal(body.database, 0);
    assert_int_equal(body.flags, 0);
    answer(f, 1, GATEWAY_REPLY, "$-1\r\n");
    check_output(s, "_\r\n+RESET\r\n$-1\r\n");
    say(s, "SELECT 16\r\nSELECT x\r\nHELLO 4\r\nHELLO x\r\nAUTH default x\r\nAUTH a b\r\n");
    check_output(s, "-ERR DB index is out of range\r\n"
                    "-ERR value is not an integer or out of range\r\n"
                    "-NOPROTO unsupported protocol version\r\n"
                    "-ERR Protocol version is not an integer or out of range\r\n+OK\r\n"
                    "-WRONGPASS invalid username-password pair or user is disabled.\r\n");
    arena_free(&arena);
}

static void test_each_command_refuses_too_few_arguments(void **state)
{
    struct fixture *f = *state;
    struct play_stream *s = connect_client(f);

    for (uint32_t id = 0; id < REDIS_COMMAND_ID_END; id++) {
        const struct redis_command *command = redis_command_by_id(id);
        char text[64], expected[128];
        if (command == NULL || abs(command->arity) < 2) continue;
        snprintf(text, sizeof(text), "%s\r\n", command->name);
        snprintf(expected, sizeof(expected), "-ERR wrong number of arguments for '%s' command\r\n",
                 command->name);
        say(s, text);
        check_output(s, expected);
    }
    say(s, "CLIENT SETNAME\r\nnosuch a b\r\nZADD z 1 m\r\nCLIENT NOSUCH\r\n");
    check_output(s, "-ERR wrong number of arguments for 'client|setname' command\r\n"
                    "-ERR unknown command 'nosuch', with args beginning with: 'a' 'b' \r\n"
                    "-ERR command 'ZADD' is not supported yet by this version of Holon\r\n"
                    "-ERR unknown subcommand 'NOSUCH'. Try CLIENT HELP.\r\n");
    assert_int_equal(f->request_count, 0);
}

/* Whatever the arguments, each local command writes exactly one whole value. */
static void test_each_local_command_writes_one_value(void **state)
{
    static const char *const lines[] = {"PING",
                                        "PING x",
                                        "CLIENT ID",
                                        "CLIENT INFO",
                                        "CLIENT LIST",
                                        "CLIENT LIST ID 1",
                                        "CLIENT GETNAME",
                                        "CLIENT SETNAME n",
                                        "CLIENT HELP",
                                        "COMMAND",
                                        "COMMAND COUNT",
                                        "COMMAND DOCS",
                                        "COMMAND LIST",
                                        "COMMAND DOCS get nosuch",
                                        "COMMAND INFO get nosuch",
                                        "COMMAND GETKEYS mset a 1 b 2",
                                        "COMMAND GETKEYS ping x",
                                        "COMMAND LIST FILTERBY PATTERN h*",
                                        "COMMAND LIST FILTERBY ACLCAT write",
                                        "COMMAND HELP",
                                        "CONFIG GET *",
                                        "CONFIG GET save appendonly",
                                        "CONFIG SET save ''",
                                        "CONFIG SET maxmemory 5",
                                        "CONFIG SET nosuch 1",
                                        "INFO",
                                        "INFO server clients",
                                        "INFO nosuch",
                                        "TIME",
                                        "CLUSTER SLOTS",
                                        "CLUSTER SHARDS",
                                        "CLUSTER NODES",
                                        "CLUSTER INFO",
                                        "CLUSTER MYID",
                                        "CLUSTER KEYSLOT a",
                                        "CLUSTER HELP",
                                        "READONLY",
                                        "READWRITE",
                                        "ASKING",
                                        "HELLO",
                                        "HELLO 2",
                                        "CLIENT SETINFO LIB-NAME x",
                                        "HELLO 3 AUTH default x SETNAME me",
                                        "HELLO 2 SETNAME",
                                        "CLIENT REPLY BAD"};
    struct fixture *f = *state;
    struct play_stream *s = connect_client(f);

    for (int protocol = 2; protocol <= 3; protocol++) {
        for (size_t i = 0; i < ARRAY_COUNT(lines); i++) {
            say(s, protocol == 2 ? "HELLO 2\r\n" : "HELLO 3\r\n");
            buffer_clear(&s->head.output);
            say(s, lines[i]);
            say(s, "\r\n");
            struct bytes output = buffer_bytes(&s->head.output);
            if (output.size == 0 || resp_value_size(output) != output.size)
                fail_msg("%s writes %.*s", lines[i], (int)output.size, (const char *)output.data);
        }
    }
    buffer_clear(&s->head.output);
    say(s, "HELLO 2\r\n");
    buffer_clear(&s->head.output);
    say(s, "CLUSTER SLOTS\r\nTIME\r\n");
    check_output(s, "*1\r\n*3\r\n:0\r\n:16383\r\n*4\r\n$9\r\n127.0.0.1\r\n:7379\r\n$40\r\n"
                    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\r\n*0\r\n"
                    "*2\r\n$10\r\n1700000000\r\n$6\r\n123456\r\n");
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, make, drop)
    const struct CMUnitTest tests[] = {
        TEST(test_replies_leave_in_the_order_of_the_commands),
        TEST(test_commands_are_understood_in_pieces),
        TEST(test_outcomes_become_errors),
        TEST(test_a_read_over_partitions_is_merged_and_is_a_barrier),
        TEST(test_keys_of_one_partition_are_one_request),
        TEST(test_sums_and_errors_of_partitions),
        TEST(test_a_write_over_partitions_changes_nothing),
        TEST(test_keys_gathers_all_partitions),
        TEST(test_a_random_key_comes_from_one_partition),
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
        TEST(test_a_protocol_error_comes_after_earlier_replies_and_ends),
        TEST(test_quit_ends_after_earlier_replies),
        TEST(test_a_client_that_leaves_is_forgotten),
        TEST(test_draining_answers_what_was_asked),
        TEST(test_http_is_cut_off),
        TEST(test_replies_can_be_switched_off),
        TEST(test_the_protocol_and_database_of_a_connection),
        TEST(test_each_command_refuses_too_few_arguments),
        TEST(test_each_local_command_writes_one_value),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
