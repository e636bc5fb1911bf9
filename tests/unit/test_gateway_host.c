/* Rules A and B at a leader and its gateway: a host with one replica that is alone in its group,
 * in the simulator's world, over a transport that keeps what is sent. */
#include "gateway_bench.h"

/* --- what was executed with a reply too big to keep --- */

static void write_big_twice(void *context)
{
    send_frame(&(struct frame){.epoch = 3, .route = 1, .seq = 1, .body = "b"});
    send_frame(&(struct frame){.epoch = 3, .route = 2, .seq = 1, .body = "b"});
    struct replica_status status;
    host_replica_status(bed.host, 0, &status);
    assert_true(status.last > status.commit); /* nothing can have been answered */
    bench->answer_count = 0;
}

static void write_and_read_it(void *context)
{
    struct host_statistics statistics;

    send_frame(&(struct frame){.epoch = 3, .route = 1, .seq = 1, .body = "s some"});
    send_frame(&(struct frame){.epoch = 3, .route = 1, .seq = 2, .position = 1, .body = "g"});
    host_statistics(bed.host, &statistics);
    assert_int_equal(statistics.uncommitted_entries, 1);
    assert_true(statistics.uncommitted_bytes > strlen("s some"));
    assert_int_equal(statistics.read_waits, 1);
    assert_int_equal(statistics.read_wait_bytes, strlen("s some"));
}

static void test_what_waits_for_a_commit_is_counted(void **state)
{
    struct host_statistics statistics;

    sim_world_call(sim_world_of(bed.world), 0, write_and_read_it, NULL);
    sim_run_for(&bed.sim, 1000 * 1000);
    assert_string_equal(bench->answers[1].text, "s some");
    host_statistics(bed.host, &statistics);
    assert_int_equal(statistics.uncommitted_entries, 0);
    assert_int_equal(statistics.uncommitted_bytes, 0);
    assert_int_equal(statistics.read_waits, 0);
    assert_int_equal(statistics.read_wait_bytes, 0);
}

static void no_answer_yet(void *context)
{
    struct replica_status status;
    host_replica_status(bed.host, 0, &status);
    if (status.last > status.commit) assert_int_equal(bench->answer_count, 0);
}

static void test_a_retry_is_not_told_too_big_before_the_commit(void **state)
{
    sim_world_call(sim_world_of(bed.world), 0, write_big_twice, NULL);
    sim_world_call(sim_world_of(bed.world), 0, no_answer_yet, NULL);
    sim_run_for(&bed.sim, 1000 * 1000);
    assert_int_equal(bench->answer_count, 1);
    assert_int_equal(bench->answers[0].route, 2);
    assert_int_equal(bench->answers[0].outcome, OUTCOME_TOO_BIG);
    assert_string_equal(bench->evaluated, "b");
}

/* --- order of submission --- */

struct asks {
    struct ask first, second, third;
};

/* The route ends, as by a NACK; the read is answered while everything is sent again. */
static void submit_without_route(void *context)
{
    struct asks *asks = context;
    gateway_peer_down(bench->gateway, SELF);
    submit(&asks->first);
    submit(&asks->second);
}

static void test_what_a_reply_brings_goes_behind_what_is_sent_again(void **state)
{
    struct asks asks = {.first = {.body = "g", .then = &asks.third},
                        .second = {.body = "s1"},
                        .third = {.body = "s2"}};
    struct ask warm = {.body = "g"};
    struct ask open = {.body = "s0"};
    submit(&open); /* keeps the stream active */
    submit(&warm);
    sim_world_call(sim_world_of(bed.world), 0, submit_without_route, &asks);
    sim_run_for(&bed.sim, 1000 * 1000);
    assert_int_equal(asks.third.answers, 1);
    assert_int_equal(asks.second.answers, 1);
    assert_string_equal(bench->evaluated, "s0s1s2");
}

/* --- bodies --- */

static void submit_unrouted(void *context)
{
    struct asks *asks = context;
    submit(&asks->first);
    gateway_peer_down(bench->gateway, SELF);
    submit(&asks->second);
    submit(&asks->third);
    assert_null(asks->second.request.copy);
    assert_non_null(asks->third.request.copy);
    asks->third.body[1] = '?'; /* the caller's memory is another's now */
}

static void test_a_body_that_stays_is_not_copied(void **state)
{
    struct asks asks = {.first = {.body = "s0"},
                        .second = {.body = "s1", .request.body_stays = true},
                        .third = {.body = "s2"}};
    sim_world_call(sim_world_of(bed.world), 0, submit_unrouted, &asks);
    sim_run_for(&bed.sim, 1000 * 1000);
    assert_int_equal(asks.second.answers, 1);
    assert_int_equal(asks.third.answers, 1);
    assert_string_equal(bench->evaluated, "s0s1s2");
}

/* --- earlier lives of a gateway --- */

static void old_life_then_new(void *context)
{
    send_frame(&(struct frame){.epoch = 3, .route = (3ull << 32) + 1, .seq = 1, .body = "s1"});
    send_frame(&(struct frame){.epoch = 4, .route = (4ull << 32) + 1, .seq = 1, .body = "g"});
}

static void test_a_reply_to_an_earlier_life_of_a_gateway_is_not_sent(void **state)
{
    sim_world_call(sim_world_of(bed.world), 0, old_life_then_new, NULL);
    sim_run_for(&bed.sim, 1000 * 1000);
    assert_int_equal(bench->answer_count, 1);
    assert_true(bench->answers[0].route >> 32 == 4);
    assert_string_equal(bench->answers[0].text, "s1");
}

static void test_the_route_number_names_the_life_of_the_gateway(void **state)
{
    static struct ask ask = {.body = "s1"};
    bench->groups[GROUP_COORD] = (struct view_group){.leader = OTHER, .leader_term = 5};
    ask.request.slot = ROW_SLOT_COORD;
    sim_world_call(sim_world_of(bed.world), 0, submit_any, &ask);
    sim_run_for(&bed.sim, 100 * 1000);
    assert_true(bench->requested.route > UINT64_C(7) << 32);
    assert_true(bench->requested.route < UINT64_C(8) << 32);
    assert_int_equal(bench->requested.count, 1);
}

/* --- overload --- */

enum { CROWD = 3000 };

static struct ask *crowd;

static void submit_crowd(void *context)
{
    for (int i = 0; i < CROWD; i++)
        submit(&crowd[i]);
}

/* A leader that cannot take any more is asked by 3000 requests for ten seconds. Sending all of
 * them whenever it refuses would be 3000 ten times a second. */
static void test_a_leader_that_is_busy_is_not_hammered(void **state)
{
    crowd = calloc(CROWD, sizeof(*crowd));
    bench->groups[GROUP_COORD] = (struct view_group){.leader = OTHER, .leader_term = 5};
    bench->busy = true;
    for (int i = 0; i < CROWD; i++) {
        strcpy(crowd[i].body, "s1");
        crowd[i].request.slot = ROW_SLOT_COORD;
    }
    sim_world_call(sim_world_of(bed.world), 0, submit_crowd, NULL);
    sim_run_for(&bed.sim, 100 * 1000);
    assert_true(bench->requests_sent >= 2 * CROWD); /* once more costs nothing */
    sim_run_for(&bed.sim, 11 * 1000 * 1000);
    /* Once, once more, what was saved, and 4096 in each second. */
    assert_in_range(bench->requests_sent, 4 * CROWD, 2 * CROWD + 8192 + 11 * 4096);
    struct gateway_statistics statistics;
    gateway_statistics(bench->gateway, &statistics);
    assert_true(statistics.resends_delayed > 0);
    for (int i = 0; i < CROWD; i++) { /* and patience ends as ever */
        assert_int_equal(crowd[i].answers, 1);
        assert_int_equal(crowd[i].outcome, GATEWAY_UNKNOWN);
    }
    assert_int_equal(statistics.inflight_bytes, 0);
    free(crowd);
}

static void test_replies_that_came_in_part_are_counted(void **state)
{
    struct ask ask = {.body = "g", .request = {.slot = ROW_SLOT_COORD}};

    bench->groups[GROUP_COORD] = (struct view_group){.leader = OTHER, .leader_term = 5};
    assert_int_equal(after(submit_any, &ask).partial_replies, 0);
    struct gateway_statistics now = after(say_part, NULL);
    assert_int_equal(now.partial_replies, 1);
    assert_int_equal(now.partial_bytes, 2);
    now = after(say_part, NULL);
    assert_int_equal(now.partial_replies, 1);
    assert_int_equal(now.partial_bytes, 4);
    now = after(say_ok, NULL);
    assert_int_equal(now.partial_replies, 0);
    assert_int_equal(now.partial_bytes, 0);
    assert_int_equal(now.partial_refused, 0);
    assert_int_equal(ask.answers, 1);

    struct ask second = {.body = "g", .request = {.slot = ROW_SLOT_COORD}};
    bench->gateway->options.partial_bytes_max = 3;
    bench->answer_seq++;
    after(submit_any, &second);
    assert_int_equal(after(say_part, NULL).partial_replies, 1);
    now = after(say_part, NULL);
    assert_int_equal(now.partial_refused, 1);
    assert_int_equal(now.partial_replies, 0);
    assert_int_equal(now.partial_bytes, 0);
    assert_int_equal(second.outcome, GATEWAY_BUSY);
}

static uint64_t resends_delayed(void)
{
    struct gateway_statistics statistics;
    gateway_statistics(bench->gateway, &statistics);
    return statistics.resends_delayed;
}

/* A leader that was silent and may not be asked again, for want of a budget, answers after all. */
static void test_an_answer_is_taken_while_a_retry_waits_for_its_budget(void **state)
{
    crowd = calloc(CROWD, sizeof(*crowd));
    bench->groups[GROUP_COORD] = (struct view_group){.leader = OTHER, .leader_term = 5};
    bench->busy = true;
    for (int i = 0; i < CROWD; i++) {
        strcpy(crowd[i].body, "s1");
        crowd[i].request.slot = ROW_SLOT_COORD;
    }
    sim_world_call(sim_world_of(bed.world), 0, submit_crowd, NULL);
    for (int i = 0; i < 1000 && resends_delayed() == 0; i++)
        sim_run_for(&bed.sim, 10 * 1000);
    assert_true(resends_delayed() > 0);
    /* The budget suffices once more, and is used up; then OTHER says nothing. */
    uint64_t sent = bench->requests_sent, delayed;
    bench->busy = false;
    for (int i = 0; i < 100 && bench->requests_sent == sent; i++)
        sim_run_for(&bed.sim, 10 * 1000);
    assert_true(bench->requests_sent > sent);
    delayed = resends_delayed();
    for (int i = 0; i < 100 && resends_delayed() == delayed; i++)
        sim_run_for(&bed.sim, 10 * 1000);
    assert_true(resends_delayed() > delayed);
    assert_int_equal(crowd[0].answers, 0);
    sim_world_call(sim_world_of(bed.world), 0, say_ok, NULL);
    sim_run_for(&bed.sim, 1000);
    assert_int_equal(crowd[0].answers, 1);
    assert_int_equal(crowd[0].outcome, GATEWAY_REPLY);
    sim_run_for(&bed.sim, 11 * 1000 * 1000);
    for (int i = 0; i < CROWD; i++)
        assert_int_equal(crowd[i].answers, 1);
    free(crowd);
}

/* What is too much for one partition is refused before it has a number: what follows has it. */
static void test_what_is_in_flight_to_a_partition_is_bounded_in_bytes(void **state)
{
    static char body[150 << 10];
    struct ask big[2] = {0}, next = {.body = "s1"};
    bench->groups[GROUP_COORD] = (struct view_group){.leader = OTHER, .leader_term = 5};
    memset(body, 's', sizeof(body));
    for (int i = 0; i < 2; i++) {
        big[i].request = (struct gateway_request){.service = SERVICE_REDIS,
                                                  .slot = ROW_SLOT_COORD,
                                                  .write = true,
                                                  .body = bytes_make(body, sizeof(body)),
                                                  .on_reply = on_reply,
                                                  .context = &big[i]};
        gateway_submit(bench->gateway, &big[i].request);
    }
    assert_int_equal(big[0].answers, 0);
    assert_int_equal(big[1].answers, 1);
    assert_int_equal(big[1].outcome, GATEWAY_BUSY);
    next.request.slot = ROW_SLOT_COORD;
    submit(&next);
    assert_int_equal(next.request.seq, big[0].request.seq + 1);
    gateway_forget(bench->gateway, &big[0].request);
    gateway_forget(bench->gateway, &next.request);
}

struct late {
    struct ask first, next;
};

static void submit_first(void *context)
{
    struct late *late = context;
    submit(&late->first);
}

static void submit_next(void *context)
{
    struct late *late = context;
    submit(&late->next);
}

/* One that is not answered holds the watermark: an entry says its distance in 16 bits, so nothing
 * further away than SEQ_SPREAD_MAX gets a number. */
static void test_a_request_too_far_from_the_watermark_is_refused(void **state)
{
    struct late late = {.first = {.body = "s1"}, .next = {.body = "s2"}};
    late.first.request.slot = late.next.request.slot = ROW_SLOT_COORD;
    bench->groups[GROUP_COORD] = (struct view_group){.leader = OTHER, .leader_term = 5};
    sim_world_call(sim_world_of(bed.world), 0, submit_first, &late);
    sim_run_for(&bed.sim, 10 * 1000);
    uint64_t first = late.first.request.seq, answered = 0;
    for (; answered < 100 * 1000; answered++) {
        late.next.answers = 0; /* 16 bits of distance would overflow long before this ends */
        sim_world_call(sim_world_of(bed.world), 0, submit_next, &late);
        sim_run_for(&bed.sim, 10);
        if (late.next.answers > 0) break; /* refused before it was sent */
        bench->answer_seq = late.next.request.seq;
        sim_world_call(sim_world_of(bed.world), 0, say_ok, NULL);
        sim_run_for(&bed.sim, 10);
        assert_int_equal(late.next.answers, 1);
        assert_int_equal(late.next.outcome, GATEWAY_REPLY);
    }
    assert_int_equal(late.next.outcome, GATEWAY_BUSY);
    assert_int_equal(1 + answered, SEQ_SPREAD_MAX); /* numbered, behind the watermark */
    assert_int_equal(late.first.answers, 0);
    bench->answer_seq = first; /* and goes on when that is answered */
    sim_world_call(sim_world_of(bed.world), 0, say_ok, NULL);
    sim_run_for(&bed.sim, 10);
    assert_int_equal(late.first.answers, 1);
    late.next.answers = 0;
    sim_world_call(sim_world_of(bed.world), 0, submit_next, &late);
    sim_run_for(&bed.sim, 10);
    assert_int_equal(late.next.answers, 0);
    gateway_forget(bench->gateway, &late.next.request);
}

static void write_one(void *context)
{
    send_frame(&(struct frame){.epoch = 3, .route = 1, .seq = 1, .body = "s1"});
}

static void write_two(void *context)
{
    send_frame(&(struct frame){
        .epoch = 3, .route = 1, .seq = 2, .position = 1, .patience_ms = 1000, .body = "s2"});
}

static void write_three(void *context)
{
    send_frame(&(struct frame){
        .epoch = 3, .route = 1, .seq = 3, .position = 2, .patience_ms = 60000, .body = "s3"});
}

/* The disk stands still. After two seconds the leader evaluates nothing more (A5); what waits
 * then is dropped when nobody waits for it, and what came behind it on its route with it. */
static void test_a_leader_that_cannot_commit_holds_requests_as_long_as_somebody_waits(void **state)
{
    struct host_statistics statistics;
    bed.machine.job_min = bed.machine.job_max = 8 * 1000 * 1000;
    sim_world_call(sim_world_of(bed.world), 0, write_one, NULL);
    sim_world_call(sim_world_of(bed.world), 3000 * 1000, write_two, NULL);
    sim_world_call(sim_world_of(bed.world), 3000 * 1000, write_three, NULL);
    sim_run_for(&bed.sim, 3500 * 1000);
    assert_string_equal(bench->evaluated, "s1");
    assert_int_equal(bench->answer_count, 0);
    sim_run_for(&bed.sim, 1000 * 1000);
    assert_int_equal(bench->answer_count, 1);
    assert_int_equal(bench->answers[0].code, NACK_BUSY);
    host_statistics(bed.host, &statistics);
    assert_int_equal(statistics.expired, 1);
    bed.machine.job_min = bed.machine.job_max = 100;
    sim_run_for(&bed.sim, 20 * 1000 * 1000);
    assert_string_equal(bench->evaluated, "s1"); /* the third is not the second */
    assert_int_equal(bench->answers[bench->answer_count - 1].code, NACK_GAP);
}

/* --- a leader that went while nothing was asked --- */

static void third_leads(void *unused)
{
    bench->groups[GROUP_COORD] = (struct view_group){.leader = THIRD, .leader_term = 6};
    gateway_leader_changed(bench->gateway, (struct group_id){GROUP_COORD});
}

static void other_goes(void *unused)
{
    gateway_peer_down(bench->gateway, OTHER);
    assert_int_equal(bench->groups[GROUP_COORD].leader, 0);
    bench->groups[GROUP_COORD] = (struct view_group){.leader = THIRD, .leader_term = 6};
}

/* Not after a time-out of 400 ms. */
static void asks_third_at_once(void (*news)(void *))
{
    struct ask first = {.body = "g"}, next = {.body = "g"};
    ask_other(&first);
    sim_world_call(sim_world_of(bed.world), 0, news, NULL);
    next.request.slot = ROW_SLOT_COORD;
    sim_world_call(sim_world_of(bed.world), 0, submit_any, &next);
    sim_run_for(&bed.sim, 1000);
    assert_int_equal(bench->requested_of, THIRD);
    assert_int_equal(bench->requested.term, 6);
    assert_int_equal(bench->requests_sent, 2);
    sim_run_for(&bed.sim, 11 * 1000 * 1000); /* patience */
    assert_int_equal(next.answers, 1);
}

static void test_an_idle_stream_asks_the_new_leader_at_once(void **state)
{
    asks_third_at_once(third_leads);
}

static void test_an_idle_stream_forgets_a_leader_that_is_down(void **state)
{
    asks_third_at_once(other_goes);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_a_retry_is_not_told_too_big_before_the_commit, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_what_a_reply_brings_goes_behind_what_is_sent_again,
                                        setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_body_that_stays_is_not_copied, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_reply_to_an_earlier_life_of_a_gateway_is_not_sent,
                                        setup, teardown),
        cmocka_unit_test_setup_teardown(test_what_waits_for_a_commit_is_counted, setup, teardown),
        cmocka_unit_test_setup_teardown(test_replies_that_came_in_part_are_counted, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_an_answer_is_taken_while_a_retry_waits_for_its_budget,
                                        setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_leader_that_is_busy_is_not_hammered, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_a_request_too_far_from_the_watermark_is_refused, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_what_is_in_flight_to_a_partition_is_bounded_in_bytes,
                                        setup, teardown),
        cmocka_unit_test_setup_teardown(
            test_a_leader_that_cannot_commit_holds_requests_as_long_as_somebody_waits, setup,
            teardown),
        cmocka_unit_test_setup_teardown(test_an_idle_stream_asks_the_new_leader_at_once, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_an_idle_stream_forgets_a_leader_that_is_down, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_the_route_number_names_the_life_of_the_gateway, setup,
                                        teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
