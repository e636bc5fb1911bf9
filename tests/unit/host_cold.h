/* host_cold.h - for tests of requests that wait: a host with one replica and a budget of 1 MiB over
 * an engine in memory, in the simulator's world. */
#ifndef HOLON_TESTS_UNIT_HOST_COLD_H
#define HOLON_TESTS_UNIT_HOST_COLD_H

#include <stdlib.h>

#include "base/assert.h"
#include "host_bed.h"
#include "partition/host_internal.h"
#include "wire/peer_frame.h"
#include "wire/request_frame.h"

enum {
    OTHER = 2,
    ROWS = 400,
    VALUE_BYTES = 8 << 10,
    MEMORY_BYTES = 1 << 20,
    ANSWERS_MAX = 2048,
    SECOND = 1000 * 1000,
    GATEWAYS = 3,
    PART_BYTES = 16 << 10, /* of big replies */
    BIG_BYTES_MAX = 32 * PART_BYTES,
};

struct answer {
    uint32_t gateway;
    uint64_t seq;
    size_t size;
    uint8_t outcome;
    char text[32];
};

struct bench {
    struct answer answers[ANSWERS_MAX];
    uint32_t answer_count;
    uint64_t seq, route, watermark;
    uint32_t positions[GATEWAYS];
    uint32_t runs;     /* of evaluate() */
    boot_epoch_t over; /* gateways of this epoch, and before, are */
};

static struct bench *bench;

static inline void take_replies(uint32_t gateway, struct bytes payload)
{
    struct reader reader = reader_make(payload);
    struct reply_section section;
    while (reply_section_decode(&reader, &section) == STATUS_OK) {
        assert_int_equal(section.code, REPLY_CODE_REPLIES);
        for (uint32_t i = 0; i < section.count; i++) {
            struct reply_item item;
            assert_int_equal(reply_item_decode(&reader, &item), STATUS_OK);
            assert_true(bench->answer_count < ANSWERS_MAX);
            struct answer *answer = &bench->answers[bench->answer_count++];
            *answer = (struct answer){.gateway = gateway,
                                      .seq = item.seq,
                                      .size = item.bytes.size,
                                      .outcome = item.outcome};
            size_t size = item.bytes.size < 31 ? item.bytes.size : 31;
            if (size > 0) memcpy(answer->text, item.bytes.data, size);
        }
    }
}

static inline void fake_send(struct transport *transport, node_id_t node, uint32_t worker,
                             uint8_t kind, struct bytes payload)
{
    if (kind == PEER_FRAME_REPLIES) take_replies(worker, payload);
}

static inline uint32_t fake_worker_count(struct transport *transport, node_id_t node)
{
    return GATEWAYS;
}

static inline bool fake_is_up(struct transport *transport, node_id_t node)
{
    return true;
}

static const struct transport_table fake_table = {
    .send = fake_send, .worker_count = fake_worker_count, .is_up = fake_is_up};

struct key {
    uint8_t bytes[ROW_PREFIX_SIZE + 2];
};

static inline struct bytes key_of(struct key *key, uint16_t number)
{
    row_prefix_store(key->bytes, 7, SERVICE_REDIS, 0);
    store_u16_be(key->bytes + ROW_PREFIX_SIZE, number);
    return bytes_make(key->bytes, sizeof(key->bytes));
}

static inline bool count_row(void *context, struct bytes key, const struct row_view *row)
{
    ++*(uint32_t *)context;
    return true;
}

/* Every second row from `first` on, each as a range of its own, while it may go on: the number of
 * the next one. */
static inline enum evaluate_result jump(struct row_context *rows, uint16_t first,
                                        uint64_t *ret_next)
{
    uint32_t shown = 0;
    for (uint16_t at = first; at < ROWS; at += 2) {
        struct key from, to;
        *ret_next = at;
        if (at > first && !row_may_seek(rows)) return EVALUATE_DONE;
        if (row_scan(rows, key_of(&from, at), key_of(&to, (uint16_t)(at + 1)), &shown, count_row) ==
            ROW_STOP)
            return row_context_stop(rows);
    }
    *ret_next = shown > 0 ? ROWS : 0;
    return EVALUATE_DONE;
}

/* "s" u16: puts the row, 8 KiB of its number. "d" u16: deletes it. "m" u16 first, u16 number:
 * reads so many rows and sums up those that are right. "c": the count of rows. "j" u16: see jump().
 * "w" u16 first, u16 number: a walk over so many rows. "f": drops all. "r": counts them by a walk.
 * "b" u16: answers with so many parts of a big reply; "g": a write that does. "o": a write of
 * a row that is too big, "x": one without effect, "e": of more rows than an entry holds, "v": one
 * that says so itself. */
static inline enum evaluate_result evaluate(struct row_context *rows, const struct request *request,
                                            struct reply *reply)
{
    static uint8_t value[VALUE_BYTES];
    const uint8_t *body = request->body.data;
    uint16_t first = request->body.size >= 3 ? load_u16(body + 1) : 0;
    uint16_t number = request->body.size >= 5 ? load_u16(body + 3) : 1;
    struct key key, end;
    struct row_view row;
    uint64_t sum = 0;
    uint32_t shown = 0;
    bench->runs++;
    switch (body[0]) {
    case 's':
        memset(value, first & 0xff, sizeof(value));
        row_put(rows, key_of(&key, first), 1, 0, 0, bytes_make(value, sizeof(value)));
        break;
    case 'd':
        row_delete(rows, key_of(&key, first));
        break;
    case 'm':
        for (uint16_t i = 0; i < number; i++)
            row_want(rows, key_of(&key, (uint16_t)(first + i)));
        for (uint16_t i = 0; i < number; i++) {
            enum row_result result = row_get(rows, key_of(&key, (uint16_t)(first + i)), &row);
            if (result == ROW_STOP) return row_context_stop(rows);
            bool right = result == ROW_FOUND && row.value.size == VALUE_BYTES &&
                         row.value.data[77] == ((first + i) & 0xff);
            sum += right;
        }
        break;
    case 'f':
        row_drop_namespace(rows, SERVICE_REDIS, 0);
        break;
    case 'j': {
        enum evaluate_result result = jump(rows, first, &sum);
        if (result != EVALUATE_DONE) return result;
        break;
    }
    case 'w':
        if (row_scan(rows, key_of(&key, first), key_of(&end, (uint16_t)(first + number)), &shown,
                     count_row) == ROW_STOP)
            return row_context_stop(rows);
        sum = shown;
        break;
    case 'x':
        break;
    case 'o':
        rows->over_budget = true;
        break;
    case 'e':
        for (uint16_t i = 0; i < ENTRY_BODY_MAX / VALUE_BYTES + 1; i++)
            row_put(rows, key_of(&key, (uint16_t)(ROWS + i)), 1, 0, 0,
                    bytes_make(value, sizeof(value)));
        break;
    case 'v':
        row_delete(rows, key_of(&key, 3));
        return EVALUATE_OVER_BUDGET;
    case 'g':
        row_delete(rows, key_of(&key, number));
        __attribute__((fallthrough));
    case 'b':
        memset(buffer_reserve(reply->buffer, (size_t)first * PART_BYTES), 'b',
               (size_t)first * PART_BYTES);
        buffer_commit(reply->buffer, (size_t)first * PART_BYTES);
        return EVALUATE_DONE;
    case 'c':
        sum = row_count(rows, SERVICE_REDIS, 0);
        break;
    default:
        if (row_scan(rows, key_of(&key, 0), key_of(&end, UINT16_MAX), &shown, count_row) ==
            ROW_STOP)
            return row_context_stop(rows);
        sum = shown;
        break;
    }
    buffer_append_format(reply->buffer, "%c%llu", body[0], (unsigned long long)sum);
    return EVALUATE_DONE;
}

static inline bool gateway_is_over(void *context, struct gateway_id gateway)
{
    assert_int_equal(gateway.node, OTHER);
    return gateway.epoch <= bench->over;
}

static inline void open_all(void *context)
{
    struct host_options host = {.timing = {50000, 300000, 600000, 240000},
                                .evaluate = {[SERVICE_REDIS] = evaluate},
                                .flush_bytes = 64 << 10,
                                .entries_bytes_max = 64 << 10,
                                .memory_bytes = MEMORY_BYTES,
                                .gateway_is_over = gateway_is_over,
                                .reply_part_bytes = PART_BYTES,
                                .big_replies_bytes_max = BIG_BYTES_MAX};

    bed_open(&host, 0, 8 << 20);
    bed_add_alone();
}

struct ask {
    char kind;
    uint16_t first, number;
    uint16_t client;
    bool ordered;
    uint32_t gateway; /* worker of the other node */
    bool heavy;       /* a long body, of which evaluate() takes the beginning */
};

static inline uint64_t send_one(const struct ask *ask)
{
    struct buffer buffer;
    buffer_init(&buffer, 1 << 16);
    struct writer writer = writer_make(&buffer);
    uint8_t body[GOVERNOR_BODY_BYTES] = {(uint8_t)ask->kind};
    size_t body_size = ask->heavy ? sizeof(body) : 5;
    store_u16(body + 1, ask->first);
    store_u16(body + 3, ask->number);
    struct request_section section = {.group = {GROUP},
                                      .term = host_leads(bed.host, (struct group_id){GROUP}),
                                      .route = bench->route,
                                      .watermark = bench->watermark,
                                      .position = bench->positions[ask->gateway]++,
                                      .count = 1};
    struct request_item item = {.seq = ++bench->seq,
                                .service = SERVICE_REDIS,
                                .write = strchr("sdfgoevx", ask->kind) != NULL,
                                .grows = ask->kind == 's',
                                .ordered = ask->ordered,
                                .client = ask->client,
                                .body = bytes_make(body, body_size)};
    request_section_encode(&writer, &section);
    request_item_encode(&writer, &item);
    struct transport_peer peer = {.node = OTHER, .worker = ask->gateway, .epoch = 3};
    host_on_frame(bed.host, &peer, PEER_FRAME_REQUESTS, buffer_bytes(&buffer));
    buffer_free(&buffer);
    return item.seq;
}

static inline void send_call(void *context)
{
    send_one(context);
}

/* Sends it and waits for the answer. */
static inline const struct answer *ask(struct ask ask)
{
    uint32_t before = bench->answer_count;
    sim_world_call(sim_world_of(bed.world), 0, send_call, &ask);
    for (int i = 0; i < 400 && bench->answer_count == before; i++)
        sim_run_for(&bed.sim, SECOND / 100);
    assert_int_equal(bench->answer_count, before + 1);
    return &bench->answers[before];
}

static inline void fill(void)
{
    for (uint16_t i = 0; i < ROWS;) {
        const struct answer *answer = ask((struct ask){.kind = 's', .first = i});
        if (answer->outcome == OUTCOME_REPLY) i++; /* BUSY: memory is full, again */
    }
    sim_run_for(&bed.sim, 3 * SECOND);
    bench->answer_count = 0;
}

static inline struct host_statistics statistics(void)
{
    struct host_statistics now;
    host_statistics(bed.host, &now);
    return now;
}

static inline int setup(void **state)
{
    bench = calloc(1, sizeof(*bench));
    *state = bench;
    bench->route = 1;
    bed_make(&fake_table);
    bed_call(open_all, NULL, 2 * SECOND);
    fill();
    return 0;
}

static inline int teardown(void **state)
{
    sim_run_for(&bed.sim, SECOND);
    bed_call(bed_close, NULL, SECOND);
    bed_free();
    free(bench);
    return 0;
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

#endif
