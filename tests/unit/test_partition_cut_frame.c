/* Requests about cuts between nodes, and their replies (docs/reference/cuts.md). */
#include "partition/cut_frame.h"
#include "unit.h"

enum { CUT_ID = 0x1122334455667788 };

static const struct txn_id ids[] = {
    {.gateway = {.node = 3, .epoch = 70000, .worker = 5}, .primary = {9}, .seq = UINT64_MAX - 1},
    {.gateway = {.node = 1, .epoch = 1, .worker = 0}, .primary = {2}, .seq = 7}};

struct fixture {
    struct buffer txns, buffer;
};

static int set_up(void **state)
{
    struct fixture *fixture = test_calloc(1, sizeof(*fixture));

    buffer_init(&fixture->txns, 1 << 20);
    buffer_init(&fixture->buffer, 1 << 20);
    struct writer writer = writer_make(&fixture->txns);
    cut_txn_encode(&writer, ids[0]);
    cut_txn_encode(&writer, ids[1]);
    assert_int_equal(buffer_size(&fixture->txns), 2 * TXN_ID_SIZE);
    *state = fixture;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *fixture = *state;

    buffer_free(&fixture->txns);
    buffer_free(&fixture->buffer);
    test_free(fixture);
    return 0;
}

static struct cut_request request_of(struct fixture *fixture, uint8_t op)
{
    struct cut_request request = {.op = op, .cut = CUT_ID};
    bool txns = op == CUT_OUTCOMES || op == CUT_READ;

    if (op == CUT_FREEZE || op == CUT_CLAIM) request.freeze_ms = 100;
    if (op == CUT_TAKE) request.freeze = 12;
    if (op == CUT_TAKE) request.lifetime = 300 * 1000 * 1000;
    if (txns) request.txn_count = 2;
    if (txns) request.txns = buffer_bytes(&fixture->txns);
    if (op == CUT_READ) request.service = SERVICE_REDIS;
    if (op == CUT_READ) request.body = bytes_of("body");
    return request;
}

static struct bytes encode(struct fixture *fixture, const struct cut_request *request)
{
    struct writer writer = writer_make(&fixture->buffer);

    buffer_clear(&fixture->buffer);
    cut_request_encode(&writer, request);
    assert_false(writer.failed);
    return buffer_bytes(&fixture->buffer);
}

static void test_all_come_as_they_were_sent(void **state)
{
    struct fixture *fixture = *state;

    for (uint8_t op = CUT_FREEZE; op <= CUT_CLAIM; op++) {
        struct cut_request sent = request_of(fixture, op), got;
        assert_true(cut_request_decode(encode(fixture, &sent), &got));
        assert_int_equal(got.op, op);
        assert_int_equal(got.cut, CUT_ID);
        assert_int_equal(got.freeze_ms, sent.freeze_ms);
        assert_int_equal(got.freeze, sent.freeze);
        assert_int_equal(got.lifetime, sent.lifetime);
        assert_int_equal(got.txn_count, sent.txn_count);
        assert_true(bytes_equal(got.txns, sent.txns));
        assert_int_equal(got.service, sent.service);
        assert_true(bytes_equal(got.body, sent.body));
    }
}

static void test_the_layout_is_the_documented_one(void **state)
{
    struct fixture *fixture = *state;
    static const uint8_t take[] = {
        1,    2,    0x88, 0x77, 0x66, 0x55, 0x44, 0x33, 0x22, 0x11, /* format, op, cut */
        12,   0,    0,    0,    0,    0,    0,    0,                /* freeze */
        0x00, 0xa3, 0xe1, 0x11, 0,    0,    0,    0,                /* 300 s */
    };
    static const uint8_t read[] = {
        1, 6, 0x88, 0x77, 0x66, 0x55, 0x44, 0x33, 0x22, 0x11, 0, SERVICE_REDIS, 'b', 'o', 'd', 'y',
    };
    struct cut_request request = request_of(fixture, CUT_TAKE);

    assert_true(bytes_equal(encode(fixture, &request), bytes_make(take, sizeof(take))));
    request = request_of(fixture, CUT_READ);
    request.txn_count = 0;
    request.txns = bytes_make(NULL, 0);
    assert_true(bytes_equal(encode(fixture, &request), bytes_make(read, sizeof(read))));
}

static void test_what_is_cut_short_or_longer_is_refused(void **state)
{
    struct fixture *fixture = *state;

    for (uint8_t op = CUT_FREEZE; op <= CUT_CLAIM; op++) {
        struct cut_request sent = request_of(fixture, op), got;
        struct bytes all = encode(fixture, &sent);
        size_t fixed = all.size - sent.body.size; /* a shorter body of a READ is its service's */
        for (size_t size = 0; size < fixed; size++)
            assert_false(cut_request_decode(bytes_make(all.data, size), &got));
        if (op == CUT_READ) continue;
        assert_int_equal(buffer_append(&fixture->buffer, bytes_of("x")), STATUS_OK);
        assert_false(cut_request_decode(buffer_bytes(&fixture->buffer), &got));
    }
}

static void test_what_makes_no_sense_is_refused(void **state)
{
    struct fixture *fixture = *state;
    struct cut_request got, freeze = request_of(fixture, CUT_FREEZE);
    struct cut_request take = request_of(fixture, CUT_TAKE), read = request_of(fixture, CUT_READ);
    struct cut_request close = request_of(fixture, CUT_CLOSE);

    freeze.freeze_ms = CUT_FREEZE_MS_MAX;
    assert_true(cut_request_decode(encode(fixture, &freeze), &got));
    freeze.freeze_ms = CUT_FREEZE_MS_MAX + 1;
    assert_false(cut_request_decode(encode(fixture, &freeze), &got));
    take.lifetime = 0;
    assert_false(cut_request_decode(encode(fixture, &take), &got));
    read.service = SERVICE_CUT;
    assert_false(cut_request_decode(encode(fixture, &read), &got));
    close.cut = 0;
    assert_false(cut_request_decode(encode(fixture, &close), &got));
    close.cut = 1;
    close.op = CUT_CLAIM + 1;
    assert_false(cut_request_decode(encode(fixture, &close), &got));
    close.op = 0;
    assert_false(cut_request_decode(encode(fixture, &close), &got));
    close.op = CUT_CLOSE;
    struct bytes body = encode(fixture, &close);
    uint8_t other[16];
    memcpy(other, body.data, body.size);
    other[0] = CUT_FORMAT + 1;
    assert_false(cut_request_decode(bytes_make(other, body.size), &got));
}

static void test_too_many_txns_are_refused(void **state)
{
    struct fixture *fixture = *state;
    uint8_t *many = test_calloc(CUT_TXNS_MAX + 1, TXN_ID_SIZE);
    struct cut_request got, request = request_of(fixture, CUT_OUTCOMES);

    request.txn_count = CUT_TXNS_MAX;
    request.txns = bytes_make(many, (size_t)CUT_TXNS_MAX * TXN_ID_SIZE);
    assert_true(cut_request_decode(encode(fixture, &request), &got));
    request.txn_count = CUT_TXNS_MAX + 1;
    request.txns = bytes_make(many, (size_t)(CUT_TXNS_MAX + 1) * TXN_ID_SIZE);
    assert_false(cut_request_decode(encode(fixture, &request), &got));
    test_free(many);
}

static void test_txns_are_walked(void **state)
{
    struct fixture *fixture = *state;
    struct bytes txns = buffer_bytes(&fixture->txns);
    struct txn_id id;

    assert_true(cut_txn_next(&txns, &id));
    assert_true(txn_id_equal(id, ids[0]));
    assert_true(cut_txn_next(&txns, &id));
    assert_true(txn_id_equal(id, ids[1]));
    assert_false(cut_txn_next(&txns, &id));
}

static void test_replies(void **state)
{
    struct fixture *fixture = *state;
    struct cut_state sent = {
        .index = 77, .time = 1234567, .txn_count = 2, .txns = buffer_bytes(&fixture->txns)};
    struct cut_state got;
    enum cut_status status;
    struct bytes rest;
    struct writer writer = writer_make(&fixture->buffer);

    assert_false(cut_reply_read(bytes_make(NULL, 0), &status, &rest));
    write_u8(&writer, CUT_OK);
    cut_state_encode(&writer, &sent);
    struct bytes all = buffer_bytes(&fixture->buffer);
    assert_true(cut_reply_read(all, &status, &rest));
    assert_int_equal(status, CUT_OK);
    assert_true(cut_state_decode(rest, &got));
    assert_int_equal(got.index, 77);
    assert_int_equal(got.time, 1234567);
    assert_int_equal(got.txn_count, 2);
    assert_true(bytes_equal(got.txns, sent.txns));
    for (size_t size = 0; size < rest.size; size++)
        assert_false(cut_state_decode(bytes_make(rest.data, size), &got));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_all_come_as_they_were_sent, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_the_layout_is_the_documented_one, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_what_is_cut_short_or_longer_is_refused, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(test_what_makes_no_sense_is_refused, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_too_many_txns_are_refused, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_txns_are_walked, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_replies, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
