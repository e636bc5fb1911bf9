/* Requests of transactions between nodes, and their answers. */
#include "txn/txn_frame.h"
#include "unit.h"

static const struct txn_id id = {
    .gateway = {.node = 3, .epoch = 70000, .worker = 5}, .primary = {9}, .seq = UINT64_MAX - 1};
static const uint32_t groups[] = {4, 4097};

static struct txn_frame frame_of(enum txn_op op)
{
    struct txn_frame frame = {.op = op, .id = id};
    bool piece = op == TXN_PREPARE || op == TXN_DECIDE || op == TXN_READ;

    if (piece) frame.service = SERVICE_REDIS;
    if (piece) frame.body = bytes_of("body");
    if (op == TXN_DECIDE) frame.group_count = 2;
    if (op == TXN_DECIDE) frame.groups = bytes_make(groups, sizeof(groups));
    if (op == TXN_RESOLVE) frame.outcome = TXN_COMMIT;
    if (op == TXN_QUERY) frame.may_abort = true;
    return frame;
}

static void encode(const struct txn_frame *frame, struct buffer *buffer)
{
    struct writer writer = writer_make(buffer);
    buffer_clear(buffer);
    txn_frame_encode(&writer, frame);
    assert_false(writer.failed);
}

static void test_all_come_as_they_were_sent(void **state)
{
    struct buffer buffer;

    buffer_init(&buffer, 1000);
    for (enum txn_op op = TXN_PREPARE; op <= TXN_READ; op++) {
        struct txn_frame sent = frame_of(op), got;
        encode(&sent, &buffer);
        assert_int_equal(txn_frame_decode(buffer_bytes(&buffer), &got), STATUS_OK);
        assert_int_equal(got.op, op);
        assert_true(txn_id_equal(got.id, id));
        assert_int_equal(got.service, sent.service);
        assert_int_equal(got.outcome, sent.outcome);
        assert_int_equal(got.may_abort, sent.may_abort);
        assert_int_equal(got.group_count, sent.group_count);
        assert_true(bytes_equal(got.groups, sent.groups));
        assert_true(bytes_equal(got.body, sent.body));
    }
    buffer_free(&buffer);
}

static void test_the_layout_is_the_documented_one(void **state)
{
    static const uint8_t expected[] = {
        1,    4,    3,    0,    0,    0,    0x70, 0x11,
        1,    0,    5,    0,    9,    0,    0,    0,    /* format, op, node ... primary */
        0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, /* seq */
        1,                                              /* may abort */
    };
    struct txn_frame frame = frame_of(TXN_QUERY);
    struct buffer buffer;

    buffer_init(&buffer, 1000);
    encode(&frame, &buffer);
    assert_true(bytes_equal(buffer_bytes(&buffer), bytes_make(expected, sizeof(expected))));
    buffer_free(&buffer);
}

/* A body may be cut anywhere: nothing in it says how long it is. */
static size_t least_size(enum txn_op op, size_t size)
{
    bool piece = op == TXN_PREPARE || op == TXN_DECIDE || op == TXN_READ;
    return piece ? size - strlen("body") : size;
}

static void test_what_is_cut_is_refused(void **state)
{
    struct buffer buffer;

    buffer_init(&buffer, 1000);
    for (enum txn_op op = TXN_PREPARE; op <= TXN_READ; op++) {
        struct txn_frame sent = frame_of(op), got;
        encode(&sent, &buffer);
        size_t least = least_size(op, buffer_size(&buffer));
        for (size_t size = 0; size < least; size++) {
            struct bytes cut = bytes_make(buffer_bytes(&buffer).data, size);
            assert_int_equal(txn_frame_decode(cut, &got), STATUS_CORRUPT);
        }
    }
    buffer_free(&buffer);
}

static void expect(struct buffer *buffer, size_t at, uint8_t value, enum status status)
{
    struct txn_frame got;
    uint8_t before = buffer->memory[at];

    buffer->memory[at] = value;
    assert_int_equal(txn_frame_decode(buffer_bytes(buffer), &got), status);
    buffer->memory[at] = before;
}

static void test_what_is_nonsense_is_refused(void **state)
{
    struct buffer buffer;
    struct txn_frame frame = frame_of(TXN_RESOLVE);

    buffer_init(&buffer, 100 << 10);
    encode(&frame, &buffer);
    expect(&buffer, 0, 2, STATUS_VERSION); /* format */
    expect(&buffer, 1, 0, STATUS_VERSION); /* op */
    expect(&buffer, 1, 7, STATUS_VERSION);
    expect(&buffer, buffer_size(&buffer) - 1, 2, STATUS_CORRUPT); /* outcome */
    buffer_append(&buffer, bytes_of("x"));
    expect(&buffer, 0, 1, STATUS_CORRUPT); /* something behind it */

    static const uint32_t many[TXN_GROUPS_MAX + 1];
    frame = frame_of(TXN_DECIDE);
    frame.group_count = TXN_GROUPS_MAX + 1;
    frame.groups = bytes_make(many, sizeof(many));
    encode(&frame, &buffer);
    expect(&buffer, 0, 1, STATUS_CORRUPT);
    buffer_free(&buffer);
}

static void test_answers(void **state)
{
    static const uint8_t read[] = {7, 1, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 'x'};
    static const uint8_t done[] = {0, 'x', 'y'}, unknown[] = {8};
    struct txn_answer answer;

    assert_int_equal(txn_answer_decode(bytes_make(read, sizeof(read)), TXN_READ, &answer),
                     STATUS_OK);
    assert_int_equal(answer.status, TXN_STATUS_WRITES);
    assert_int_equal(answer.digest[0], 1);
    assert_int_equal(answer.digest[1], 2);
    assert_true(bytes_equal(answer.reply, bytes_of("x")));
    for (size_t size = 0; size < TXN_READ_HEADER_SIZE; size++)
        assert_int_equal(txn_answer_decode(bytes_make(read, size), TXN_READ, &answer),
                         STATUS_CORRUPT);

    assert_int_equal(txn_answer_decode(bytes_make(done, sizeof(done)), TXN_DECIDE, &answer),
                     STATUS_OK);
    assert_int_equal(answer.status, TXN_STATUS_DONE);
    assert_true(bytes_equal(answer.reply, bytes_of("xy")));
    assert_int_equal(txn_answer_decode(bytes_make(NULL, 0), TXN_DECIDE, &answer), STATUS_CORRUPT);
    assert_int_equal(txn_answer_decode(bytes_make(unknown, 1), TXN_DECIDE, &answer),
                     STATUS_VERSION);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_all_come_as_they_were_sent),
        cmocka_unit_test(test_the_layout_is_the_documented_one),
        cmocka_unit_test(test_what_is_cut_is_refused),
        cmocka_unit_test(test_what_is_nonsense_is_refused),
        cmocka_unit_test(test_answers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
