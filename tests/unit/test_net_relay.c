/* Requests through a third node: four nodes, each with a relay over a transport of the test's own,
 * in one played world. A link that is cut seems to be up until the test says otherwise. */
#include "net/relay.h"
#include "play_world.h"
#include "unit.h"
#include "wire/peer_frame.h"
#include "wire/relay_frame.h"

#include <stdlib.h>

enum { A = 1, B = 2, C = 3, D = 4, COUNT = 4, QUEUE_MAX = 256, WORKERS = 2, MS = 1000 };

struct sent { /* under way */
    node_id_t from, to;
    uint32_t worker;
    uint8_t kind;
    struct buffer payload;
};

struct machine {
    struct transport transport; /* first */
    node_id_t id;
    struct relay *relay;
    struct relay_delivery got; /* the last frame that was for this node */
    char text[64];
    uint32_t got_count, found, lost;
};

struct net {
    struct play play;
    struct machine machines[COUNT + 1];
    bool cut[COUNT + 1][COUNT + 1];  /* from, to: frames are lost */
    bool down[COUNT + 1][COUNT + 1]; /* and that is known */
    bool deaf[COUNT + 1][COUNT + 1]; /* of the receiver only worker 1: what is sent directly */
    node_id_t mute;                  /* through whom no WAY goes */
    size_t pending;                  /* queued to each */
    struct sent queue[QUEUE_MAX];
    size_t count;
};

static struct net *net;

static node_id_t id_of(struct transport *transport)
{
    return ((struct machine *)(void *)transport)->id;
}

static void net_send(struct transport *transport, node_id_t node, uint32_t worker, uint8_t kind,
                     struct bytes payload)
{
    node_id_t from = id_of(transport);

    assert_true(payload.size <= TRANSPORT_RELAYED_SIZE_MAX);
    if (net->cut[from][node] || net->down[from][node]) return;
    if (net->deaf[from][node] && worker == 1 && kind != PEER_FRAME_RELAY) return;
    if (net->mute == from && kind == PEER_FRAME_RELAYED &&
        payload.data[RELAYED_HEADER_SIZE - 1] == PEER_FRAME_WAY)
        return;
    assert_true(net->count < QUEUE_MAX);
    struct sent *sent = &net->queue[net->count++];
    *sent = (struct sent){.from = from, .to = node, .worker = worker, .kind = kind};
    buffer_init(&sent->payload, TRANSPORT_RELAYED_SIZE_MAX);
    assert_int_equal(buffer_append(&sent->payload, payload), STATUS_OK);
}

static uint32_t net_worker_count(struct transport *transport, node_id_t node)
{
    return node == id_of(transport) ? WORKERS : 1; /* never connected */
}

static bool net_is_up(struct transport *transport, node_id_t node)
{
    return node <= COUNT && !net->down[id_of(transport)][node];
}

static size_t net_pending(struct transport *transport, node_id_t node)
{
    return net->pending;
}

static const struct transport_table net_table = {
    .send = net_send, .worker_count = net_worker_count, .is_up = net_is_up, .pending = net_pending};

static void on_way(void *context, node_id_t node, bool there)
{
    struct machine *machine = context;

    machine->found += there;
    machine->lost += !there;
}

static void receive(struct sent *sent)
{
    struct machine *machine = &net->machines[sent->to];
    struct transport_peer from = {
        .node = sent->from, .epoch = 10 + sent->from, .store = 100 + sent->from, .worker = 1};
    struct relay_delivery got = {.from = from, .kind = sent->kind};

    got.payload = buffer_bytes(&sent->payload);
    bool relayed = sent->kind == PEER_FRAME_RELAY || sent->kind == PEER_FRAME_RELAYED ||
                   sent->kind == PEER_FRAME_WAY;
    if (relayed && !relay_on_frame(machine->relay, &from, sent->kind, got.payload, &got)) return;
    if (!relayed && sent->kind != PEER_FRAME_REPLIES) relay_came_directly(machine->relay, &from);
    machine->got = got;
    machine->got_count++;
    snprintf(machine->text, sizeof(machine->text), "%.*s", (int)got.payload.size,
             (const char *)got.payload.data);
}

/* Everything under way arrives, and what that brings. */
static void settle(void)
{
    for (size_t i = 0; i < net->count; i++) {
        receive(&net->queue[i]);
        buffer_free(&net->queue[i].payload);
    }
    net->count = 0;
}

static void pass(uint64_t us)
{
    uint64_t end = net->play.now + us;

    settle();
    while (net->play.now < end) {
        net->play.now += 10 * MS;
        for (size_t i = 0; i < PLAY_TIMERS_MAX; i++) {
            struct world_timer *timer = net->play.timers[i];
            if (timer == NULL || timer->deadline > net->play.now) continue;
            net->play.timers[i] = NULL;
            timer->fire(timer);
        }
        settle();
    }
}

static int setup(void **state)
{
    net = calloc(1, sizeof(*net));
    play_start(&net->play);
    for (node_id_t id = 1; id <= COUNT; id++) {
        struct machine *machine = &net->machines[id];
        machine->transport.table = &net_table;
        machine->id = id;
        struct relay_options options = {.world = &net->play.world,
                                        .transport = &machine->transport,
                                        .node = id,
                                        .on_way = on_way,
                                        .context = machine};
        machine->relay = relay_open(&options);
    }
    return 0;
}

static int teardown(void **state)
{
    settle();
    for (node_id_t id = 1; id <= COUNT; id++)
        relay_close(net->machines[id].relay);
    play_stop(&net->play);
    free(net);
    return 0;
}

static void cut(node_id_t from, node_id_t to)
{
    net->cut[from][to] = true;
}

static void tell(node_id_t from, node_id_t to, uint8_t kind, const char *text)
{
    struct machine *machine = &net->machines[from];

    relay_send(machine->relay, &machine->transport, to, 1, kind, bytes_of(text));
    settle();
}

static struct relay *relay_at(node_id_t node)
{
    return net->machines[node].relay;
}

static struct relay_statistics numbers(node_id_t node)
{
    struct relay_statistics statistics;

    relay_statistics(relay_at(node), &statistics);
    return statistics;
}

/* --- tests --- */

static void test_where_all_is_well_nothing_is_asked_or_kept(void **state)
{
    tell(A, B, PEER_FRAME_REQUESTS, "one");
    assert_string_equal(net->machines[B].text, "one");
    assert_int_equal(net->machines[B].got.from.node, A);
    assert_int_equal(relay_at(A)->busy + relay_at(B)->busy, 0);
    assert_false(relay_is_detour(relay_at(A), B));
    pass(2 * SECOND);
    assert_int_equal(numbers(A).sent + numbers(C).passed, 0);
}

static void test_a_broken_link_is_gone_around_both_ways(void **state)
{
    cut(A, B), cut(B, A);
    net->down[A][B] = net->down[B][A] = true;
    relay_seek(relay_at(A), B);
    pass(RELAY_ASK_US);
    assert_true(relay_is_detour(relay_at(A), B));
    assert_int_equal(net->machines[A].found, 1);
    assert_int_equal(relay_worker_count(relay_at(A), B), WORKERS); /* it was never connected */

    tell(A, B, PEER_FRAME_REQUESTS, "question");
    assert_string_equal(net->machines[B].text, "question");
    assert_int_equal(net->machines[B].got.kind, PEER_FRAME_REQUESTS);
    /* The sender is who asks, as its own connection has proven it. */
    assert_int_equal(net->machines[B].got.from.node, A);
    assert_int_equal(net->machines[B].got.from.epoch, 10 + A);
    assert_int_equal(net->machines[B].got.from.store, 100 + A);
    assert_int_equal(net->machines[B].got.from.worker, 1);

    tell(B, A, PEER_FRAME_REPLIES, "answer");
    assert_string_equal(net->machines[A].text, "answer");
    assert_int_equal(net->machines[A].got.from.node, B);
    tell(A, B, PEER_FRAME_REPLY_ACKS, "heard");
    assert_string_equal(net->machines[B].text, "heard");
    assert_int_equal(numbers(A).detours, 1);
    assert_true(numbers(C).passed + numbers(D).passed >= 5);
}

/* Its connection seems to be up: what decides is that nothing comes back. */
static void test_a_link_that_only_loses_what_is_sent_is_noticed(void **state)
{
    cut(A, B);
    relay_seek(relay_at(A), B);
    settle();
    assert_false(relay_is_detour(relay_at(A), B)); /* the direct answer may be on its way */
    pass(RELAY_ASK_US);
    assert_true(relay_is_detour(relay_at(A), B));
    tell(A, B, PEER_FRAME_REQUESTS, "question");
    assert_string_equal(net->machines[B].text, "question");
    tell(B, A, PEER_FRAME_REPLIES, "answer");
    assert_string_equal(net->machines[A].text, "answer");
}

static void test_answers_go_back_the_way_of_the_request(void **state)
{
    cut(B, A); /* requests would arrive; answers would not */
    relay_seek(relay_at(A), B);
    pass(RELAY_ASK_US);
    assert_true(relay_is_detour(relay_at(A), B));
    tell(A, B, PEER_FRAME_REQUESTS, "question");
    tell(B, A, PEER_FRAME_REPLIES, "answer");
    assert_string_equal(net->machines[A].text, "answer");
    /* Of a worker that asks directly, directly. */
    net->cut[B][A] = false;
    net->machines[A].text[0] = 0;
    pass(SECOND);
    assert_false(relay_is_detour(relay_at(A), B));
    tell(A, B, PEER_FRAME_REQUESTS, "again");
    uint64_t sent = numbers(B).sent;
    tell(B, A, PEER_FRAME_REPLIES, "direct");
    assert_string_equal(net->machines[A].text, "direct");
    assert_int_equal(numbers(B).sent, sent);
    assert_int_equal(relay_at(A)->busy + relay_at(B)->busy, 0);
}

static void test_nobody_is_asked_for_a_node_that_is_just_being_connected(void **state)
{
    net->down[A][B] = true;
    relay_seek(relay_at(A), B);
    net->down[A][B] = false;
    pass(2 * RELAY_ASK_US);
    assert_int_equal(relay_at(A)->busy, 0);
    assert_int_equal(numbers(A).sent + net->machines[A].found, 0);
}

static void test_a_node_that_is_only_slow_is_not_gone_around(void **state)
{
    relay_seek(relay_at(A), B);
    pass(SECOND);
    assert_false(relay_is_detour(relay_at(A), B));
    assert_int_equal(net->machines[A].found, 0);
    assert_int_equal(relay_at(A)->busy, 0); /* and nobody is asked any more */
}

static void test_a_healed_link_is_taken_after_half_a_second_without_a_gap(void **state)
{
    cut(A, B), cut(B, A);
    relay_seek(relay_at(A), B);
    pass(2 * RELAY_ASK_US);
    for (int i = 0; i < 5; i++) { /* flaps */
        net->cut[A][B] = net->cut[B][A] = false;
        pass(RELAY_ASK_US);
        cut(A, B), cut(B, A);
        pass(3 * RELAY_ASK_US);
        assert_true(relay_is_detour(relay_at(A), B));
    }
    net->cut[A][B] = net->cut[B][A] = false;
    pass(RELAY_DIRECT_ROUNDS * RELAY_ASK_US / 2);
    assert_true(relay_is_detour(relay_at(A), B));
    pass(RELAY_DIRECT_ROUNDS * RELAY_ASK_US);
    assert_false(relay_is_detour(relay_at(A), B));
    assert_int_equal(net->machines[A].found, 1);
    assert_int_equal(net->machines[A].lost, 0);
}

static node_id_t bridge_of_a(void)
{
    return numbers(C).passed > numbers(D).passed ? C : D;
}

static void isolate(node_id_t node)
{
    for (node_id_t other = 1; other <= COUNT; other++)
        net->cut[node][other] = net->cut[other][node] = true;
}

static void test_another_takes_over_from_one_that_falls_silent(void **state)
{
    cut(A, B), cut(B, A);
    net->down[A][B] = true;
    relay_seek(relay_at(A), B);
    pass(5 * RELAY_ASK_US);
    isolate(bridge_of_a());
    pass(RELAY_SILENT_US + 2 * RELAY_ASK_US);
    assert_true(relay_is_detour(relay_at(A), B));
    assert_int_equal(net->machines[A].lost, 0); /* it was kept until another had answered */
    assert_int_equal(net->machines[A].found, 2);
    tell(A, B, PEER_FRAME_REQUESTS, "question");
    assert_string_equal(net->machines[B].text, "question");
}

static void test_another_takes_over_at_once_from_one_that_died(void **state)
{
    cut(A, B), cut(B, A);
    net->down[A][B] = true;
    relay_seek(relay_at(A), B);
    pass(5 * RELAY_ASK_US);
    tell(A, B, PEER_FRAME_REQUESTS, "question");
    node_id_t bridge = bridge_of_a();
    isolate(bridge);
    net->down[A][bridge] = net->down[B][bridge] = true;
    relay_peer_down(relay_at(A), bridge);
    relay_peer_down(relay_at(B), bridge);
    assert_int_equal(relay_at(B)->busy, 0); /* no answers go there */
    settle();
    assert_true(relay_is_detour(relay_at(A), B));
    assert_int_equal(net->machines[A].found, 2);
}

/* A dead link is no better: what is queued in front of the questions would go into it. */
static void test_a_way_that_is_silent_for_a_while_is_kept(void **state)
{
    cut(A, B), cut(B, A);
    net->down[A][B] = true;
    isolate(D);
    relay_seek(relay_at(A), B);
    pass(5 * RELAY_ASK_US);
    cut(A, C);
    pass(RELAY_FORGET_US - SECOND);
    assert_true(relay_is_detour(relay_at(A), B));
    net->cut[A][C] = false;
    pass(RELAY_FORGET_US);
    assert_true(relay_is_detour(relay_at(A), B));
    assert_int_equal(net->machines[A].found, 1);
    assert_int_equal(net->machines[A].lost, 0);
    cut(A, C); /* for good */
    pass(RELAY_FORGET_US + SECOND);
    assert_int_equal(relay_at(A)->busy, 0);
    assert_int_equal(net->machines[A].lost, 1);
}

static void test_replies_prove_a_way_as_answers_do(void **state)
{
    cut(A, B), cut(B, A);
    net->down[A][B] = true;
    relay_seek(relay_at(A), B);
    pass(5 * RELAY_ASK_US);
    net->mute = bridge_of_a(); /* its queues are long */
    for (int i = 0; i < 20; i++) {
        tell(A, B, PEER_FRAME_REQUESTS, "question");
        tell(B, A, PEER_FRAME_REPLIES, "answer");
        pass(RELAY_ASK_US);
    }
    assert_int_equal(net->machines[A].found, 1);
    pass(RELAY_SILENT_US + 2 * RELAY_ASK_US);
    assert_int_equal(net->machines[A].found, 2);
}

/* Every other round is answered: that proves nothing of the worker that is asked in between. */
static void test_one_deaf_worker_of_two_is_gone_around(void **state)
{
    net->deaf[A][B] = true;
    relay_seek(relay_at(A), B);
    pass(4 * RELAY_ASK_US);
    assert_true(relay_is_detour(relay_at(A), B));
    tell(A, B, PEER_FRAME_REQUESTS, "question");
    assert_string_equal(net->machines[B].text, "question");
    pass(5 * SECOND);
    assert_true(relay_is_detour(relay_at(A), B));
    net->deaf[A][B] = false;
    pass(SECOND);
    assert_false(relay_is_detour(relay_at(A), B));
    assert_int_equal(net->machines[A].found, 1);
}

/* It answered while the direct way did, too, and died. */
static void test_an_old_offer_is_not_taken(void **state)
{
    relay_seek(relay_at(A), B);
    settle();
    for (node_id_t bridge = C; bridge <= D; bridge++) {
        isolate(bridge);
        net->down[A][bridge] = true;
        relay_peer_down(relay_at(A), bridge);
    }
    cut(A, B), cut(B, A);
    pass(2 * SECOND);
    assert_false(relay_is_detour(relay_at(A), B));
    assert_int_equal(net->machines[A].found, 0);
}

static void test_an_offer_ages(void **state)
{
    relay_seek(relay_at(A), B);
    settle();
    isolate(C), isolate(D); /* nobody knows yet */
    cut(A, B), cut(B, A);
    pass(RELAY_OFFER_US + 2 * RELAY_ASK_US);
    uint32_t found = net->machines[A].found;
    assert_true(found <= 1); /* in its time it is as good as any */
    pass(2 * SECOND);
    assert_int_equal(net->machines[A].found, found);
}

static void test_a_dead_node_is_forgotten_after_a_while(void **state)
{
    isolate(B);
    for (node_id_t id = 1; id <= COUNT; id++)
        net->down[id][B] = true;
    relay_seek(relay_at(A), B);
    pass(RELAY_FORGET_US - SECOND);
    assert_int_equal(relay_at(A)->busy, 1);
    pass(2 * SECOND);
    assert_int_equal(relay_at(A)->busy, 0);
    assert_int_equal(net->machines[A].found + net->machines[A].lost, 0);
}

/* --- what is not passed on --- */

static void deliver_relay(node_id_t to_pass, node_id_t node, uint8_t kind)
{
    struct relay_header header = {.node = node, .worker = 0, .kind = kind};
    struct transport_peer from = {.node = A, .epoch = 1};
    struct relay_delivery got;
    struct buffer buffer;

    buffer_init(&buffer, 100);
    struct writer writer = writer_make(&buffer);
    relay_header_encode(&writer, &header);
    write_bytes(&writer, bytes_of("inside"));
    assert_false(
        relay_on_frame(relay_at(to_pass), &from, PEER_FRAME_RELAY, buffer_bytes(&buffer), &got));
    buffer_free(&buffer);
}

static void test_only_requests_and_answers_are_passed_on_and_only_once(void **state)
{
    deliver_relay(C, B, PEER_FRAME_RAFT);
    deliver_relay(C, B, PEER_FRAME_RELAY); /* no way through two */
    deliver_relay(C, B, PEER_FRAME_RELAYED);
    deliver_relay(C, B, PEER_FRAME_TABLE);
    deliver_relay(C, C, PEER_FRAME_REQUESTS); /* for itself */
    deliver_relay(C, A, PEER_FRAME_REQUESTS); /* back */
    deliver_relay(C, 0, PEER_FRAME_REQUESTS);
    deliver_relay(C, NODES_MAX + 1, PEER_FRAME_REQUESTS);
    assert_int_equal(net->count, 0);
    deliver_relay(C, B, PEER_FRAME_REQUESTS);
    assert_int_equal(net->count, 1);
    assert_int_equal(net->queue[0].kind, PEER_FRAME_RELAYED);
    settle();
    assert_string_equal(net->machines[B].text, "inside");
    assert_int_equal(net->count, 0); /* it goes no further */
}

static void test_what_cannot_leave_is_refused(void **state)
{
    net->pending = RELAY_PENDING_MAX + 1; /* much is queued there: its own goes first */
    deliver_relay(C, B, PEER_FRAME_REQUESTS);
    net->pending = 0;
    net->down[C][B] = true;
    deliver_relay(C, B, PEER_FRAME_REQUESTS);
    assert_int_equal(net->count, 0);
    assert_int_equal(numbers(C).refused, 2);
}

static void test_the_largest_frame_fits_into_another(void **state)
{
    uint8_t *much = calloc(1, TRANSPORT_FRAME_SIZE_MAX);

    cut(A, B), cut(B, A);
    net->down[A][B] = true;
    relay_seek(relay_at(A), B);
    pass(RELAY_ASK_US);
    relay_send(relay_at(A), &net->machines[A].transport, B, 1, PEER_FRAME_REQUESTS,
               bytes_make(much, TRANSPORT_FRAME_SIZE_MAX));
    settle();
    assert_int_equal(net->machines[B].got.payload.size, TRANSPORT_FRAME_SIZE_MAX);
    free(much);
}

/* Beyond that, no more fits: who greets may send what it likes. */
static void test_what_is_too_large_to_pass_on_is_refused(void **state)
{
    struct buffer buffer;
    struct relay_header header = {.node = B, .worker = 0, .kind = PEER_FRAME_REQUESTS};
    struct relayed_header relayed = {.node = A, .epoch = 1, .kind = PEER_FRAME_REQUESTS};
    struct transport_peer from = {.node = A, .epoch = 1}, via = {.node = C, .epoch = 1};
    struct relay_delivery got;
    uint8_t *much = calloc(1, TRANSPORT_RELAYED_SIZE_MAX);

    for (size_t size = TRANSPORT_FRAME_SIZE_MAX;
         size <= TRANSPORT_RELAYED_SIZE_MAX - RELAY_HEADER_SIZE; size++) {
        buffer_init(&buffer, SIZE_MAX / 2);
        struct writer writer = writer_make(&buffer);
        relay_header_encode(&writer, &header);
        write_bytes(&writer, bytes_make(much, size));
        assert_false(
            relay_on_frame(relay_at(C), &from, PEER_FRAME_RELAY, buffer_bytes(&buffer), &got));
        assert_int_equal(net->count, size == TRANSPORT_FRAME_SIZE_MAX);
        settle();
        buffer_free(&buffer);
    }
    buffer_init(&buffer, SIZE_MAX / 2);
    struct writer writer = writer_make(&buffer);
    relayed_header_encode(&writer, &relayed);
    write_bytes(&writer, bytes_make(much, TRANSPORT_FRAME_SIZE_MAX + 1));
    assert_false(
        relay_on_frame(relay_at(B), &via, PEER_FRAME_RELAYED, buffer_bytes(&buffer), &got));
    buffer_free(&buffer);
    free(much);
}

static void test_headers_come_as_they_were_sent_and_nonsense_is_refused(void **state)
{
    struct relayed_header header = {.node = 64,
                                    .epoch = 70000,
                                    .store = UINT64_MAX,
                                    .worker = 63,
                                    .kind = PEER_FRAME_REPLIES},
                          got;
    struct way_frame way = {.answers = true, .number = UINT64_MAX, .workers = 64}, told;
    struct bytes payload;
    struct buffer buffer;

    buffer_init(&buffer, 100);
    struct writer writer = writer_make(&buffer);
    relayed_header_encode(&writer, &header);
    assert_int_equal(buffer_size(&buffer), RELAYED_HEADER_SIZE);
    for (size_t size = 0; size < RELAYED_HEADER_SIZE; size++)
        assert_int_equal(
            relayed_header_decode(bytes_make(buffer_bytes(&buffer).data, size), &got, &payload),
            STATUS_CORRUPT);
    assert_int_equal(relayed_header_decode(buffer_bytes(&buffer), &got, &payload), STATUS_OK);
    assert_int_equal(got.node, 64);
    assert_int_equal(got.epoch, 70000);
    assert_true(got.store == UINT64_MAX);
    assert_int_equal(got.worker, 63);
    assert_int_equal(got.kind, PEER_FRAME_REPLIES);
    assert_int_equal(payload.size, 0);

    buffer_clear(&buffer);
    way_frame_encode(&writer, &way);
    assert_int_equal(buffer_size(&buffer), WAY_FRAME_SIZE);
    for (size_t size = 0; size < WAY_FRAME_SIZE; size++)
        assert_int_equal(way_frame_decode(bytes_make(buffer_bytes(&buffer).data, size), &told),
                         STATUS_CORRUPT);
    assert_int_equal(way_frame_decode(buffer_bytes(&buffer), &told), STATUS_OK);
    assert_true(told.answers && told.number == UINT64_MAX && told.workers == 64);
    buffer.memory[buffer.start] = 2;
    assert_int_equal(way_frame_decode(buffer_bytes(&buffer), &told), STATUS_CORRUPT);
    buffer_free(&buffer);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_where_all_is_well_nothing_is_asked_or_kept, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_a_broken_link_is_gone_around_both_ways, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_a_link_that_only_loses_what_is_sent_is_noticed, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_answers_go_back_the_way_of_the_request, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(
            test_nobody_is_asked_for_a_node_that_is_just_being_connected, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_node_that_is_only_slow_is_not_gone_around, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(
            test_a_healed_link_is_taken_after_half_a_second_without_a_gap, setup, teardown),
        cmocka_unit_test_setup_teardown(test_another_takes_over_from_one_that_falls_silent, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_another_takes_over_at_once_from_one_that_died, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_a_way_that_is_silent_for_a_while_is_kept, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_replies_prove_a_way_as_answers_do, setup, teardown),
        cmocka_unit_test_setup_teardown(test_one_deaf_worker_of_two_is_gone_around, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_an_old_offer_is_not_taken, setup, teardown),
        cmocka_unit_test_setup_teardown(test_an_offer_ages, setup, teardown),
        cmocka_unit_test_setup_teardown(test_what_is_too_large_to_pass_on_is_refused, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_a_dead_node_is_forgotten_after_a_while, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_only_requests_and_answers_are_passed_on_and_only_once,
                                        setup, teardown),
        cmocka_unit_test_setup_teardown(test_what_cannot_leave_is_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(test_the_largest_frame_fits_into_another, setup, teardown),
        cmocka_unit_test_setup_teardown(test_headers_come_as_they_were_sent_and_nonsense_is_refused,
                                        setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
