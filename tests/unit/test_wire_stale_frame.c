/* Frames of stale reads, between workers of a node. */
#include "unit.h"
#include "wire/stale_frame.h"

static void test_asks_and_answers_come_as_they_were_sent(void **state)
{
    struct buffer buffer;
    buffer_init(&buffer, 1000);
    struct writer writer = writer_make(&buffer);
    struct stale_ask ask = {.id = 1,
                            .bound = 500000,
                            .slot = 16383,
                            .service = 1,
                            .not_before = UINT64_MAX,
                            .body = bytes_of("get")};
    struct stale_answer answer = {
        .id = 300, .code = STALE_WAITS, .as_of = 77, .bytes = bytes_of("")};

    stale_ask_encode(&writer, &ask);
    struct reader reader = reader_make(buffer_bytes(&buffer));
    struct stale_ask got;
    assert_int_equal(stale_ask_decode(&reader, &got), STATUS_OK);
    assert_int_equal(got.id, 1);
    assert_int_equal(got.bound, 500000);
    assert_true(got.not_before == UINT64_MAX);
    assert_int_equal(got.slot, 16383);
    assert_true(bytes_equal(got.body, bytes_of("get")));
    assert_int_equal(stale_ask_decode(&reader, &got), STATUS_NOT_FOUND);

    buffer_clear(&buffer);
    stale_answer_encode(&writer, &answer);
    reader = reader_make(buffer_bytes(&buffer));
    struct stale_answer told;
    assert_int_equal(stale_answer_decode(&reader, &told), STATUS_OK);
    assert_int_equal(told.id, 300);
    assert_int_equal(told.code, STALE_WAITS);
    assert_int_equal(told.as_of, 77);
    assert_int_equal(told.bytes.size, 0);
    buffer_free(&buffer);
}

static void test_what_is_cut_or_nonsense_is_refused(void **state)
{
    struct buffer buffer;
    buffer_init(&buffer, 1000);
    struct writer writer = writer_make(&buffer);
    struct stale_ask ask = {.id = 1, .body = bytes_of("get")}, got;
    struct stale_answer answer = {.id = 1, .code = STALE_CODE_COUNT}, told;

    stale_ask_encode(&writer, &ask);
    for (size_t size = 1; size < buffer_size(&buffer); size++) {
        struct reader reader = reader_make(bytes_make(buffer_bytes(&buffer).data, size));
        assert_int_equal(stale_ask_decode(&reader, &got), STATUS_CORRUPT);
    }
    buffer_clear(&buffer);
    stale_answer_encode(&writer, &answer);
    struct reader reader = reader_make(buffer_bytes(&buffer));
    assert_int_equal(stale_answer_decode(&reader, &told), STATUS_CORRUPT);
    buffer_free(&buffer);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_asks_and_answers_come_as_they_were_sent),
        cmocka_unit_test(test_what_is_cut_or_nonsense_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
