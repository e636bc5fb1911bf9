/* What a gateway does when it does not hear a leader, or the leader does not hear it: ways through
 * a third node (net/relay.h), and replies of which a part is lost. */
#include "gateway_bench.h"

/* The stream goes on with others; the one whose window was lost would wait until its patience ends.
 */
static void test_a_reply_whose_parts_stop_is_asked_again(void **state)
{
    struct ask large = {.body = "g", .request = {.slot = ROW_SLOT_COORD}};

    bench->groups[GROUP_COORD] = (struct view_group){.leader = OTHER, .leader_term = 5};
    after(submit_any, &large);
    after(say_part, NULL);
    uint64_t route = bench->requested.route;
    for (uint64_t i = 0; i < 12 && bench->requested.route == route; i++) {
        struct ask small = {.body = "g", .request = {.slot = ROW_SLOT_COORD}};
        bench->answer_seq = 2 + i;
        after(submit_any, &small);
        after(say_ok, NULL);
        assert_int_equal(small.answers, 1);
        sim_run_for(&bed.sim, PART_TIMEOUT_US / 10);
    }
    assert_int_not_equal(bench->requested.route, route);
    bench->answer_seq = 1;
    after(say_ok, NULL);
    assert_int_equal(large.answers, 1);
}

/* --- a gateway that does not hear this leader --- */

static void write_large(void *context)
{
    bed.host->options.relay = bench->relay;
    bed.host->options.reply_part_bytes = 2;
    send_frame(&(struct frame){
        .epoch = 3, .route = 1, .seq = 1, .patience_ms = 9000, .body = "s0123456789abcdef"});
}

static void read_large_through_third(void *context)
{
    send_frame_through(
        &(struct frame){
            .epoch = 3, .route = 1, .seq = 2, .position = 1, .patience_ms = 9000, .body = "g"},
        THIRD);
}

static void lose_other(void *context)
{
    assert_false(list_empty(&bed.host->big_replies));
    host_peer_down(bed.host, OTHER);
    assert_false(list_empty(&bed.host->big_replies)); /* it hears through THIRD as before */
    relay_peer_down(bench->relay, THIRD);
    host_peer_down(bed.host, OTHER);
    assert_true(list_empty(&bed.host->big_replies));
}

static void test_a_reply_in_parts_outlives_the_link_that_it_does_not_take(void **state)
{
    bed_call(write_large, NULL, 1000 * 1000);
    bed_call(read_large_through_third, NULL, 1000 * 1000);
    bed_call(lose_other, NULL, 1000);
}

/* --- a leader that does not hear this node --- */

/* OTHER, through THIRD. */
static void answer_question(void *context)
{
    struct relayed_header header = {.node = OTHER, .epoch = 1, .store = 1, .kind = PEER_FRAME_WAY};
    struct way_frame way = {.answers = true, .number = bench->question, .workers = 1};
    struct transport_peer third = {.node = THIRD, .epoch = 1};
    struct relay_delivery none;
    struct buffer buffer;

    buffer_init(&buffer, 100);
    struct writer writer = writer_make(&buffer);
    relayed_header_encode(&writer, &header);
    way_frame_encode(&writer, &way);
    assert_false(
        relay_on_frame(bench->relay, &third, PEER_FRAME_RELAYED, buffer_bytes(&buffer), &none));
    buffer_free(&buffer);
}

static void test_a_silent_leader_is_asked_through_a_third_node(void **state)
{
    struct ask first = {.body = "g"}, ask = {.body = "g"}, late = {.body = "g"};
    struct gateway_statistics statistics;

    bench->view.cluster_version = VIEW_VERSION_RELAY;
    ask_other(&first);
    ask.request.slot = late.request.slot = ROW_SLOT_COORD;
    sim_world_call(sim_world_of(bed.world), 0, submit_any, &ask);
    sim_run_for(&bed.sim, ROUTE_TIMEOUT_US / 2);
    assert_int_equal(bench->relayed_questions, 0);
    sim_run_for(&bed.sim, ROUTE_TIMEOUT_US);
    assert_true(bench->relayed_questions > 0);
    assert_int_equal(bench->relayed_requests, 0); /* nobody has said that it would arrive */
    sim_world_call(sim_world_of(bed.world), 0, answer_question, NULL);
    sim_run_for(&bed.sim, 2 * RELAY_ASK_US);
    assert_int_equal(bench->relayed_requests, 1); /* what was open, at once, not at a time-out */
    sim_world_call(sim_world_of(bed.world), 0, submit_any, &late);
    sim_run_for(&bed.sim, 1000);
    assert_int_equal(bench->relayed_requests, 2);
    gateway_statistics(bench->gateway, &statistics);
    assert_int_equal(statistics.relayed, 2);
    sim_run_for(&bed.sim, 11 * 1000 * 1000); /* patience */
}

/* OTHER lives: what this says is of no route. */
static void say_something_else(void *context)
{
    struct reply_section section = {.group = {GROUP}, .route = 1};
    struct transport_peer peer = {.node = OTHER, .epoch = 1};
    struct buffer buffer;

    buffer_init(&buffer, 1000);
    struct writer writer = writer_make(&buffer);
    reply_section_encode(&writer, &section);
    gateway_on_frame(bench->gateway, &peer, buffer_bytes(&buffer));
    buffer_free(&buffer);
}

/* Each worker of a node has connections of its own, and one of them may be deaf. */
static void
test_a_silent_worker_is_asked_through_a_third_node_while_others_of_its_node_answer(void **state)
{
    struct ask first = {.body = "g"}, ask = {.body = "g"};

    bench->view.cluster_version = VIEW_VERSION_RELAY;
    ask_other(&first);
    ask.request.slot = ROW_SLOT_COORD;
    sim_world_call(sim_world_of(bed.world), 0, submit_any, &ask);
    for (int i = 0; i < 5; i++) {
        sim_world_call(sim_world_of(bed.world), 0, say_something_else, NULL);
        sim_run_for(&bed.sim, 100 * 1000);
    }
    assert_true(bench->relayed_questions > 0);
    assert_int_equal(bench->requests_sent, 2); /* but it is given time to answer, first */
    sim_run_for(&bed.sim, 11 * 1000 * 1000);
}

static void test_nobody_is_asked_for_a_way_before_all_nodes_know_how(void **state)
{
    struct ask first = {.body = "g"}, ask = {.body = "g"};

    bench->view.cluster_version = VIEW_VERSION_RELAY - 1;
    ask_other(&first);
    ask.request.slot = ROW_SLOT_COORD;
    sim_world_call(sim_world_of(bed.world), 0, submit_any, &ask);
    sim_run_for(&bed.sim, 11 * 1000 * 1000);
    assert_int_equal(ask.answers, 1);
    assert_int_equal(bench->relayed_questions, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_a_reply_whose_parts_stop_is_asked_again, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(
            test_a_reply_in_parts_outlives_the_link_that_it_does_not_take, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_silent_leader_is_asked_through_a_third_node, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(
            test_a_silent_worker_is_asked_through_a_third_node_while_others_of_its_node_answer,
            setup, teardown),
        cmocka_unit_test_setup_teardown(test_nobody_is_asked_for_a_way_before_all_nodes_know_how,
                                        setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
