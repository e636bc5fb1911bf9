/* gateway_bench.h - a gateway over a host of the same node, and a transport of the test's own:
 * OTHER and THIRD are played by hand. */
#ifndef HOLON_TESTS_UNIT_GATEWAY_BENCH_H
#define HOLON_TESTS_UNIT_GATEWAY_BENCH_H

#include "cluster/gateway_internal.h"
#include "host_bed.h"
#include "partition/host_internal.h"
#include "wire/peer_frame.h"
#include "wire/relay_frame.h"
#include "wire/request_frame.h"
#include <stdlib.h>

enum { OTHER = 2, THIRD = 3, ANSWERS_MAX = 64, TEXT_MAX = 32 };

struct answer {
    uint64_t route, seq;
    uint8_t code, outcome;
    char text[TEXT_MAX];
};

struct bench {
    struct gateway *gateway;
    struct relay *relay;
    uint32_t relayed_questions, relayed_requests; /* for OTHER */
    uint64_t question;                            /* number of the last one */
    struct cluster_view view;
    struct view_group groups[GROUP + 1];
    struct answer answers[ANSWERS_MAX]; /* in REPLIES frames */
    uint32_t answer_count;
    struct request_section requested; /* the last one */
    node_id_t requested_of;
    uint64_t requests_sent;
    bool busy;           /* whoever is asked elsewhere says so */
    uint64_t answer_seq; /* of what OTHER answers next */
    uint64_t answered_route;
    uint32_t answered_count; /* on it */
    char evaluated[256];     /* bodies of writes in order of evaluation */
};

static struct bench *bench;

static inline void copy_text(char *text, struct bytes bytes)
{
    size_t size = bytes.size < TEXT_MAX - 1 ? bytes.size : TEXT_MAX - 1;
    if (size > 0) memcpy(text, bytes.data, size);
    text[size] = 0;
}

static inline void take_replies(struct bytes payload)
{
    struct reader reader = reader_make(payload);
    struct reply_section section;
    while (reply_section_decode(&reader, &section) == STATUS_OK) {
        struct answer answer = {.route = section.route, .code = section.code};
        for (uint32_t i = 0; i < (section.code == REPLY_CODE_REPLIES ? section.count : 1u); i++) {
            struct reply_item item = {0};
            if (section.code == REPLY_CODE_REPLIES) {
                assert_int_equal(reply_item_decode(&reader, &item), STATUS_OK);
            }
            answer.seq = item.seq;
            answer.outcome = item.outcome;
            copy_text(answer.text, item.bytes);
            assert_true(bench->answer_count < ANSWERS_MAX);
            bench->answers[bench->answer_count++] = answer;
        }
    }
}

/* OTHER refuses the present route. */
static inline void say_busy(void *context)
{
    struct reply_section section = {.group = bench->requested.group,
                                    .term = bench->requested.term,
                                    .route = bench->requested.route,
                                    .code = NACK_BUSY,
                                    .leader = OTHER,
                                    .leader_term = bench->requested.term};
    struct transport_peer peer = {.node = OTHER, .epoch = 1};
    struct buffer buffer;
    buffer_init(&buffer, 1000);
    struct writer writer = writer_make(&buffer);
    reply_section_encode(&writer, &section);
    gateway_on_frame(bench->gateway, &peer, buffer_bytes(&buffer));
    buffer_free(&buffer);
}

static inline void take_relay(struct bytes frame)
{
    struct relay_header header;
    struct bytes inside;
    struct way_frame way;

    assert_int_equal(relay_header_decode(frame, &header, &inside), STATUS_OK);
    assert_int_equal(header.node, OTHER);
    bench->relayed_requests += header.kind == PEER_FRAME_REQUESTS;
    if (header.kind != PEER_FRAME_WAY) return;
    assert_int_equal(way_frame_decode(inside, &way), STATUS_OK);
    bench->relayed_questions++;
    bench->question = way.number;
}

static inline void fake_send(struct transport *transport, node_id_t node, uint32_t worker,
                             uint8_t kind, struct bytes payload)
{
    struct reader reader = reader_make(payload);
    if (kind == PEER_FRAME_REPLIES) take_replies(payload);
    if (kind == PEER_FRAME_RELAY) take_relay(payload);
    if (kind != PEER_FRAME_REQUESTS) return;
    bench->requested_of = node;
    while (request_section_decode(&reader, &bench->requested) == STATUS_OK) {
        struct request_item item;
        for (uint32_t i = 0; i < bench->requested.count; i++)
            assert_int_equal(request_item_decode(&reader, &item), STATUS_OK);
        bench->requests_sent += bench->requested.count;
    }
    if (bench->busy) sim_world_call(sim_world_of(bed.world), 1000, say_busy, NULL);
}

static inline uint32_t fake_worker_count(struct transport *transport, node_id_t node)
{
    return 1;
}

static inline bool fake_is_up(struct transport *transport, node_id_t node)
{
    return true;
}

static const struct transport_table fake_table = {
    .send = fake_send, .worker_count = fake_worker_count, .is_up = fake_is_up};

/* "s..." sets the only row and answers OK; "b" does so with a reply that is too big to keep;
 * anything else reads the row. */
static inline enum evaluate_result evaluate(struct row_context *rows, const struct request *request,
                                            struct reply *reply)
{
    uint8_t key[ROW_PREFIX_SIZE];
    row_prefix_store(key, 0, SERVICE_REDIS, 0);
    struct row_view row;
    uint8_t kind = request->body.data[0];
    if (kind == 's' || kind == 'b') {
        size_t used = strlen(bench->evaluated);
        copy_text(bench->evaluated + used, request->body);
        row_put(rows, bytes_make(key, sizeof(key)), 1, 0, 0, request->body);
        buffer_append(reply->buffer, bytes_of("OK"));
        static const uint8_t much[OUTCOME_SIZE_MAX + 1];
        if (kind == 'b') buffer_append(reply->buffer, bytes_make(much, sizeof(much)));
        return EVALUATE_DONE;
    }
    if (row_get(rows, bytes_make(key, sizeof(key)), &row) == ROW_FOUND)
        buffer_append(reply->buffer, row.value);
    return EVALUATE_DONE;
}

static inline void on_way(void *context, node_id_t node, bool there)
{
    if (there) gateway_way_found(bench->gateway, node);
}

static inline void open_all(void *context)
{
    struct host_options host = {.timing = {50000, 300000, 600000, 240000},
                                .evaluate = {[SERVICE_REDIS] = evaluate},
                                .flush_bytes = 32 << 20,
                                .entries_bytes_max = 4 << 20};

    bed_open(&host, 0, 1 << 20);
    bed_add_alone();
    struct relay_options relay = {
        .world = bed.world, .transport = &bed.transport, .node = SELF, .on_way = on_way};
    bench->relay = relay_open(&relay);
    struct gateway_options gateway = {.world = bed.world,
                                      .transport = &bed.transport,
                                      .relay = bench->relay,
                                      .host = bed.host,
                                      .view = &bench->view,
                                      .node = SELF,
                                      .epoch = 7,
                                      .patience = 10 * 1000 * 1000,
                                      .store_count = 1,
                                      .inflight_bytes_max = 1 << 20,
                                      .stream_bytes_max = 200 << 10};
    bench->gateway = gateway_open(&gateway);
}

static inline int setup(void **state)
{
    bench = calloc(1, sizeof(*bench));
    *state = bench;
    bed_make(&fake_table);
    bench->answer_seq = 1;
    bench->view.group_count = GROUP + 1;
    bench->view.groups = bench->groups;
    bed_call(open_all, NULL, 2 * 1000 * 1000);
    return 0;
}

static inline void close_all(void *context)
{
    gateway_close(bench->gateway);
    relay_close(bench->relay);
    bed_close(NULL);
}

static inline int teardown(void **state)
{
    sim_run_for(&bed.sim, 1000 * 1000);
    bed_call(close_all, NULL, 1000 * 1000);
    bed_free();
    free(bench);
    return 0;
}

struct frame {
    boot_epoch_t epoch;
    uint64_t route, seq;
    uint32_t position, patience_ms;
    const char *body;
};

/* As the other end of it hears of it. */
static inline void come_through(node_id_t through, const struct transport_peer *from, uint8_t kind,
                                struct bytes payload)
{
    struct relayed_header header = {.node = from->node, .epoch = from->epoch, .kind = kind};
    struct transport_peer via = {.node = through, .epoch = 1};
    struct relay_delivery inside;
    struct buffer buffer;

    buffer_init(&buffer, 1 << 16);
    struct writer writer = writer_make(&buffer);
    relayed_header_encode(&writer, &header);
    write_bytes(&writer, payload);
    assert_true(
        relay_on_frame(bench->relay, &via, PEER_FRAME_RELAYED, buffer_bytes(&buffer), &inside));
    buffer_free(&buffer);
}

/* `through` another node; 0: directly. */
static inline void send_frame_through(const struct frame *frame, node_id_t through)
{
    struct buffer buffer;
    buffer_init(&buffer, 1 << 16);
    struct writer writer = writer_make(&buffer);
    struct request_section section = {.group = {GROUP},
                                      .term = host_leads(bed.host, (struct group_id){GROUP}),
                                      .route = frame->route,
                                      .position = frame->position,
                                      .patience_ms = frame->patience_ms,
                                      .count = 1};
    struct request_item item = {.seq = frame->seq,
                                .service = SERVICE_REDIS,
                                .write = frame->body[0] != 'g',
                                .body = bytes_of(frame->body)};
    section.count = 0;
    request_section_encode(&writer, &section);
    store_u16(buffer.memory + buffer.end - 2, 1);
    request_item_encode(&writer, &item);
    struct transport_peer peer = {.node = OTHER, .epoch = frame->epoch};
    if (through != 0) come_through(through, &peer, PEER_FRAME_REQUESTS, buffer_bytes(&buffer));
    host_on_frame(bed.host, &peer, PEER_FRAME_REQUESTS, buffer_bytes(&buffer));
    buffer_free(&buffer);
}

static inline void send_frame(const struct frame *frame)
{
    send_frame_through(frame, 0);
}

struct ask {
    struct gateway_request request;
    char body[TEXT_MAX], reply[TEXT_MAX];
    enum gateway_outcome outcome;
    uint32_t answers;
    struct ask *then; /* submitted inside on_reply */
};

static inline void submit(struct ask *ask);

static inline void on_reply(struct gateway_request *request, enum gateway_outcome outcome,
                            struct bytes reply)
{
    struct ask *ask = request->context;
    ask->outcome = outcome;
    ask->answers++;
    copy_text(ask->reply, reply);
    if (ask->then != NULL) submit(ask->then);
}

static inline void submit(struct ask *ask)
{
    ask->request.service = SERVICE_REDIS;
    ask->request.write = ask->body[0] != 'g';
    ask->request.body = bytes_of(ask->body);
    ask->request.on_reply = on_reply;
    ask->request.context = ask;
    gateway_submit(bench->gateway, &ask->request);
}

static inline void submit_any(void *context)
{
    submit(context);
}

/* What OTHER answers to the first of what is asked, on the present route. */
static inline void say(uint8_t outcome)
{
    struct reply_section section = {.group = bench->requested.group,
                                    .term = bench->requested.term,
                                    .route = bench->requested.route,
                                    .code = REPLY_CODE_REPLIES,
                                    .count = 1};
    struct transport_peer peer = {.node = OTHER, .epoch = 1};
    struct reply_item item = {
        .seq = bench->answer_seq, .outcome = outcome, .bytes = bytes_of("OK")};
    struct buffer buffer;
    buffer_init(&buffer, 1000);
    struct writer writer = writer_make(&buffer);
    section.count = 0;
    if (bench->answered_route != section.route) bench->answered_count = 0;
    bench->answered_route = section.route;
    section.number = bench->answered_count++;
    reply_section_encode(&writer, &section);
    store_u16(buffer.memory + buffer.end - 2, 1);
    reply_item_encode(&writer, &item);
    gateway_on_frame(bench->gateway, &peer, buffer_bytes(&buffer));
    buffer_free(&buffer);
}

static inline void say_ok(void *context)
{
    say(OUTCOME_REPLY);
}

static inline void say_part(void *context)
{
    say(OUTCOME_PART);
}

static inline struct gateway_statistics after(void (*what)(void *context), void *context)
{
    struct gateway_statistics statistics;

    sim_world_call(sim_world_of(bed.world), 0, what, context);
    sim_run_for(&bed.sim, 1000);
    gateway_statistics(bench->gateway, &statistics);
    return statistics;
}

static inline void ask_other(struct ask *ask)
{
    bench->groups[GROUP_COORD] = (struct view_group){.leader = OTHER, .leader_term = 5};
    ask->request.slot = ROW_SLOT_COORD;
    sim_world_call(sim_world_of(bed.world), 0, submit_any, ask);
    sim_run_for(&bed.sim, 1000);
    sim_world_call(sim_world_of(bed.world), 0, say_ok, NULL);
    sim_run_for(&bed.sim, 1000 * 1000); /* the stream is idle */
    assert_int_equal(ask->answers, 1);
    assert_int_equal(bench->requested_of, OTHER);
}

#endif
