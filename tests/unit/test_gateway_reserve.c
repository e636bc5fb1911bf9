/* A seq that is taken before its request is sent (C1): at the leader of this node, and towards
 * OTHER. */
#include "gateway_bench.h"

static void reserve(struct ask *ask)
{
    ask->request.service = SERVICE_REDIS;
    ask->request.write = true;
    ask->request.body = bytes_make(NULL, 0);
    ask->request.on_reply = on_reply;
    ask->request.context = ask;
    assert_true(gateway_reserve(bench->gateway, &ask->request));
}

static void reserve_any(void *context)
{
    reserve(context);
}

static void submit_reserved(void *context)
{
    struct ask *ask = context;
    ask->request.body = bytes_of(ask->body);
    gateway_submit_reserved(bench->gateway, &ask->request);
}

static void forget(void *context)
{
    struct ask *ask = context;
    gateway_forget(bench->gateway, &ask->request);
}

static struct gateway_stream *stream_of(uint32_t group)
{
    return bench->gateway->streams[group];
}

static void to_other(struct ask *ask)
{
    bench->groups[GROUP_COORD] = (struct view_group){.leader = OTHER, .leader_term = 5};
    ask->request.slot = ROW_SLOT_COORD;
}

/* --- the seq --- */

static void test_it_is_evaluated_when_it_is_submitted_under_the_seq_it_has(void **state)
{
    struct ask later = {.body = "s1"}, other = {.body = "s2"};

    bed_call(reserve_any, &later, 1000);
    uint64_t seq = gateway_request_seq(&later.request);
    assert_int_equal(gateway_pending(bench->gateway), 1);
    bed_call(submit_any, &other, 100 * 1000);
    assert_int_equal(other.answers, 1); /* it holds nobody up */
    assert_int_equal(other.request.seq, seq + 1);
    assert_int_equal(stream_of(GROUP)->watermark, seq - 1); /* but the watermark */
    bed_call(submit_reserved, &later, 100 * 1000);
    assert_int_equal(later.answers, 1);
    assert_int_equal(later.outcome, GATEWAY_REPLY);
    assert_int_equal(gateway_request_seq(&later.request), seq);
    assert_string_equal(bench->evaluated, "s2s1");
    assert_int_equal(stream_of(GROUP)->watermark, seq + 1);
    assert_int_equal(gateway_pending(bench->gateway), 0);
}

static void test_what_is_given_back_is_resolved(void **state)
{
    struct ask later = {.body = "s1"}, other = {.body = "s2"};

    bed_call(reserve_any, &later, 1000);
    bed_call(submit_any, &other, 100 * 1000);
    bed_call(forget, &later, 1000);
    assert_int_equal(later.answers, 0);
    assert_int_equal(stream_of(GROUP)->watermark, other.request.seq);
    assert_int_equal(stream_of(GROUP)->reserved, 0);
    assert_int_equal(gateway_pending(bench->gateway), 0);
}

static void test_the_ring_grows_around_it(void **state)
{
    struct ask later = {.body = "s1"}, many[20] = {0};

    bed_call(reserve_any, &later, 1000);
    for (int i = 0; i < 20; i++) {
        snprintf(many[i].body, sizeof(many[i].body), "g");
        bed_call(submit_any, &many[i], 1000);
        assert_int_equal(many[i].answers, 1);
    }
    bed_call(submit_reserved, &later, 100 * 1000);
    assert_int_equal(later.answers, 1);
    assert_int_equal(stream_of(GROUP)->watermark, later.request.seq + 20);
}

static void test_it_counts_as_open(void **state)
{
    struct ask first = {0}, second = {0};

    bench->gateway->options.inflight_max = 1;
    bed_call(reserve_any, &first, 1000);
    second.request.on_reply = on_reply;
    assert_false(gateway_reserve(bench->gateway, &second.request));
    forget(&first);
    assert_true(gateway_reserve(bench->gateway, &second.request));
    forget(&second);
}

static void test_a_fenced_gateway_reserves_nothing_and_sends_nothing(void **state)
{
    struct ask first = {.body = "s1"}, second = {0};

    reserve(&first);
    bench->gateway->fenced = true;
    assert_false(gateway_reserve(bench->gateway, &second.request));
    submit_reserved(&first);
    assert_int_equal(first.answers, 1);
    assert_int_equal(first.outcome, GATEWAY_UNAVAILABLE);
    bench->gateway->fenced = false;
}

static void test_a_body_that_is_too_much_is_refused_when_it_comes(void **state)
{
    static char body[300 << 10];
    struct ask later = {0};

    reserve(&later);
    memset(body, 's', sizeof(body));
    later.request.body = bytes_make(body, sizeof(body));
    gateway_submit_reserved(bench->gateway, &later.request);
    assert_int_equal(later.answers, 1);
    assert_int_equal(later.outcome, GATEWAY_BUSY);
    assert_int_equal(gateway_inflight_bytes(bench->gateway), 0);
    assert_int_equal(gateway_pending(bench->gateway), 0);
}

/* --- time --- */

static void test_patience_runs_from_its_submission(void **state)
{
    struct ask later = {.body = "s1"};

    to_other(&later);
    bed_call(reserve_any, &later, 25 * 1000 * 1000);
    assert_int_equal(later.answers, 0);
    assert_int_equal(bench->requests_sent, 0);
    bed_call(submit_reserved, &later, 9 * 1000 * 1000);
    assert_int_equal(later.answers, 0);
    sim_run_for(&bed.sim, 2 * 1000 * 1000);
    assert_int_equal(later.answers, 1);
    assert_int_equal(later.outcome, GATEWAY_UNKNOWN);
}

/* The one that was submitted first is given up first, whatever their seqs. */
static void test_older_ones_are_given_up_before_it(void **state)
{
    struct ask later = {.body = "s1"}, other = {.body = "s2"};

    to_other(&later);
    to_other(&other);
    bed_call(reserve_any, &later, 1000);
    bed_call(submit_any, &other, 5 * 1000 * 1000);
    bed_call(submit_reserved, &later, 6 * 1000 * 1000);
    assert_int_equal(other.answers, 1);
    assert_int_equal(later.answers, 0);
    sim_run_for(&bed.sim, 5 * 1000 * 1000);
    assert_int_equal(later.answers, 1);
}

static void test_it_makes_no_route_look_silent(void **state)
{
    struct ask warm = {.body = "s0"}, later = {.body = "s1"};

    ask_other(&warm);
    to_other(&later);
    bed_call(reserve_any, &later, 1000);
    uint64_t route = stream_of(GROUP_COORD)->route, sent = bench->requests_sent;
    sim_run_for(&bed.sim, 8 * 1000 * 1000);
    assert_int_equal(stream_of(GROUP_COORD)->route, route);
    assert_int_equal(bench->requests_sent, sent);
    bed_call(submit_reserved, &later, 200 * 1000);
    assert_int_equal(stream_of(GROUP_COORD)->route, route); /* silence counts from here */
    assert_int_equal(bench->requests_sent, sent + 1);
    bed_call(forget, &later, 1000);
}

/* --- routes --- */

static void test_without_a_route_it_is_sent_like_any_other(void **state)
{
    struct ask later = {.body = "s1"};

    bed_call(reserve_any, &later, 1000);
    gateway_peer_down(bench->gateway, SELF);
    bed_call(submit_reserved, &later, 1000 * 1000);
    assert_int_equal(later.answers, 1);
    assert_string_equal(bench->evaluated, "s1");
}

static void test_a_new_route_leaves_it_out(void **state)
{
    struct ask later = {.body = "s1"}, open = {.body = "s2"};

    to_other(&later);
    to_other(&open);
    bed_call(reserve_any, &later, 1000);
    bed_call(submit_any, &open, 1000);
    uint64_t sent = bench->requests_sent;
    sim_run_for(&bed.sim, 2 * 1000 * 1000); /* OTHER is silent: other routes */
    assert_true(bench->requests_sent > sent);
    assert_int_equal(bench->requested.count, 1);
    bed_call(forget, &open, 1000);
    bed_call(forget, &later, 1000);
}

static struct ask *held; /* submitted by the next answer */

static void submit_held(struct gateway_request *request, enum gateway_outcome outcome,
                        struct bytes reply)
{
    on_reply(request, outcome, reply);
    submit_reserved(held);
}

/* Answered at once, by a refusal: nobody serves that. */
static void submit_bringing(struct ask *ask)
{
    ask->request = (struct gateway_request){
        .service = SERVICE_META, .body = bytes_of("x"), .on_reply = submit_held, .context = ask};
    gateway_submit(bench->gateway, &ask->request);
}

struct routed {
    struct ask open, bringing, later, behind;
};

static void lose_the_route(struct routed *asks)
{
    submit(&asks->open);
    gateway_peer_down(bench->gateway, SELF);
}

static void reserved_before(void *context)
{
    struct routed *asks = context;
    reserve(&asks->later);
    lose_the_route(asks);
    submit_bringing(&asks->bringing);
    submit(&asks->behind);
}

static void reserved_behind(void *context)
{
    struct routed *asks = context;
    lose_the_route(asks);
    submit_bringing(&asks->bringing);
    reserve(&asks->later);
    submit(&asks->behind);
}

static void sends_it_once(void (*what)(void *context), const char *evaluated)
{
    struct routed asks = {
        .open = {.body = "s0"}, .later = {.body = "s1"}, .behind = {.body = "s2"}};
    struct host_statistics statistics;

    held = &asks.later;
    bed_call(what, &asks, 1000 * 1000);
    assert_int_equal(asks.bringing.answers, 1);
    assert_int_equal(asks.bringing.outcome, GATEWAY_BUSY);
    assert_int_equal(asks.later.answers, 1);
    assert_int_equal(asks.later.outcome, GATEWAY_REPLY);
    assert_int_equal(asks.behind.answers, 1);
    assert_string_equal(bench->evaluated, evaluated);
    host_statistics(bed.host, &statistics);
    assert_int_equal(statistics.dedup_hits, 0); /* none was sent twice */
}

/* Its seq is before that of what brings it: the route has passed its place by then. */
static void test_it_is_sent_although_the_route_has_passed_its_place(void **state)
{
    sends_it_once(reserved_before, "s0s1s2");
}

static void test_it_is_sent_once_if_the_route_comes_to_its_place(void **state)
{
    sends_it_once(reserved_behind, "s0s1s2");
}

/* --- the end --- */

static void test_the_end_of_the_gateway_says_nothing_of_it(void **state)
{
    static struct ask later;

    memset(&later, 0, sizeof(later));
    reserve(&later);
    bed_call(close_all, NULL, 1000 * 1000);
    assert_int_equal(later.answers, 0);
    assert_null(later.request.stream);
    bed_call(open_all, NULL, 2 * 1000 * 1000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
        TEST(test_it_is_evaluated_when_it_is_submitted_under_the_seq_it_has),
        TEST(test_what_is_given_back_is_resolved),
        TEST(test_the_ring_grows_around_it),
        TEST(test_it_counts_as_open),
        TEST(test_a_fenced_gateway_reserves_nothing_and_sends_nothing),
        TEST(test_a_body_that_is_too_much_is_refused_when_it_comes),
        TEST(test_patience_runs_from_its_submission),
        TEST(test_older_ones_are_given_up_before_it),
        TEST(test_it_makes_no_route_look_silent),
        TEST(test_without_a_route_it_is_sent_like_any_other),
        TEST(test_a_new_route_leaves_it_out),
        TEST(test_it_is_sent_although_the_route_has_passed_its_place),
        TEST(test_it_is_sent_once_if_the_route_comes_to_its_place),
        TEST(test_the_end_of_the_gateway_says_nothing_of_it),
#undef TEST
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
