/* The frames by which groups come to rest: read as they were written, and nothing else (F60, F61).
 */
#include "partition/rest_frame.h"
#include "unit.h"

static void test_a_beat_is_read_as_it_was_written(void **state)
{
    (void)state;
    struct rest_beat beat = {.sent_at = 77, .wall = -5, .generation = 4, .withdrawals = 9}, read;
    struct buffer buffer;
    buffer_init(&buffer, 4096);
    rest_beat_encode(&beat, &buffer);
    struct bytes bytes = buffer_bytes(&buffer);
    assert_int_equal(bytes.size, 28);
    assert_int_equal(rest_beat_decode(bytes, &read), STATUS_OK);
    assert_int_equal(read.sent_at, 77);
    assert_int_equal(read.wall, -5);
    assert_int_equal(read.generation, 4);
    assert_int_equal(read.withdrawals, 9);
    for (size_t size = 0; size < bytes.size; size++)
        assert_int_equal(rest_beat_decode(bytes_make(bytes.data, size), &read), STATUS_INVALID);
    buffer_free(&buffer);
}

static enum status decode_changed(size_t at, uint64_t number, size_t size)
{
    uint8_t frame[64] = {0};
    struct rest_beat read;
    store_u64(frame + at, number);
    return rest_beat_decode(bytes_make(frame, size), &read);
}

static void test_numbers_that_nobody_gets_to_are_refused(void **state)
{
    (void)state;
    uint64_t most = UINT64_C(1) << 60;
    for (size_t at = 0; at <= 16; at += 8) {
        assert_int_equal(decode_changed(at, most, 28), STATUS_OK);
        assert_int_equal(decode_changed(at, most + 1, 28), STATUS_INVALID);
    }
    assert_int_equal(decode_changed(8, (uint64_t)INT64_MIN, 28), STATUS_INVALID);
    assert_int_equal(decode_changed(0, 1, 29), STATUS_INVALID); /* a byte behind it */
}

static void test_a_question_is_read_entry_by_entry(void **state)
{
    (void)state;
    const struct rest_ask_entry entry = {.group = {3}, .from = {4}, .to = {5}, .term = 6};
    struct rest_ask_entry read;
    struct reader entries;
    struct buffer buffer;
    uint64_t generation = 0;
    buffer_init(&buffer, 4096);
    rest_ask_begin(&buffer, 8);
    assert_int_equal(rest_ask_decode(buffer_bytes(&buffer), &generation, &entries), STATUS_INVALID);
    rest_ask_add(&buffer, &entry);
    rest_ask_add(&buffer, &entry);
    struct bytes bytes = buffer_bytes(&buffer);
    assert_int_equal(rest_ask_decode(bytes, &generation, &entries), STATUS_OK);
    assert_int_equal(generation, 8);
    for (int i = 0; i < 2; i++) {
        assert_true(rest_ask_next(&entries, &read));
        assert_int_equal(read.group.value, 3);
        assert_int_equal(read.from.value, 4);
        assert_int_equal(read.to.value, 5);
        assert_int_equal(read.term, 6);
    }
    assert_false(rest_ask_next(&entries, &read));
    struct bytes cut = bytes_make(bytes.data, bytes.size - 1);
    assert_int_equal(rest_ask_decode(cut, &generation, &entries), STATUS_INVALID);
    buffer_free(&buffer);

    uint8_t nobody[8 + 28] = {0}; /* generation 0 is none */
    assert_int_equal(rest_ask_decode(bytes_make(nobody, sizeof(nobody)), &generation, &entries),
                     STATUS_INVALID);
}

static void test_an_answer_is_read_as_it_was_written(void **state)
{
    (void)state;
    struct rest_ack read;
    struct buffer buffer;
    buffer_init(&buffer, 64);
    rest_ack_encode(&(struct rest_ack){.generation = 8, .groups = 2, .withdrawals = 3}, &buffer);
    struct bytes bytes = buffer_bytes(&buffer);
    assert_int_equal(rest_ack_decode(bytes, &read), STATUS_OK);
    assert_int_equal(read.generation, 8);
    assert_int_equal(read.groups, 2);
    assert_int_equal(read.withdrawals, 3);
    assert_int_equal(rest_ack_decode(bytes_make(bytes.data, bytes.size - 1), &read),
                     STATUS_INVALID);
    buffer_free(&buffer);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_beat_is_read_as_it_was_written),
        cmocka_unit_test(test_numbers_that_nobody_gets_to_are_refused),
        cmocka_unit_test(test_a_question_is_read_entry_by_entry),
        cmocka_unit_test(test_an_answer_is_read_as_it_was_written),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
