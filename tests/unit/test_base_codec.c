#include "unit.h"

#include "base/codec.h"

static void test_a_short_read_fails_and_stays_failed(void **state)
{
    static const uint8_t input[] = {1, 2, 3};
    struct reader reader = reader_make(bytes_make(input, sizeof(input)));

    assert_int_equal(read_u16(&reader), 0x0201);
    assert_int_equal(read_u32(&reader), 0);
    assert_true(reader.failed);
    assert_int_equal(read_u8(&reader), 0); /* one byte is left, but the decoder is lost */
    assert_true(reader.failed);
}

static void test_fixed_sizes_come_back(void **state)
{
    struct buffer buffer;
    buffer_init(&buffer, 100);
    struct writer writer = writer_make(&buffer);

    write_u8(&writer, 0xab);
    write_u16(&writer, 0x1234);
    write_u32(&writer, 0xdeadbeef);
    write_u64(&writer, UINT64_MAX - 1);
    write_i64(&writer, INT64_MIN);
    write_sized(&writer, bytes_of("body"));
    write_sized(&writer, bytes_make(NULL, 0));
    assert_false(writer.failed);
    assert_int_equal(buffer_bytes(&buffer).data[1], 0x34); /* little-endian */

    struct reader reader = reader_make(buffer_bytes(&buffer));
    assert_int_equal(read_u8(&reader), 0xab);
    assert_int_equal(read_u16(&reader), 0x1234);
    assert_int_equal(read_u32(&reader), 0xdeadbeef);
    assert_true(read_u64(&reader) == UINT64_MAX - 1);
    assert_true(read_i64(&reader) == INT64_MIN);
    assert_true(bytes_equal(read_sized(&reader), bytes_of("body")));
    assert_int_equal(read_sized(&reader).size, 0);
    assert_false(reader.failed);
    assert_int_equal(reader_left(&reader), 0);
    buffer_free(&buffer);
}

static void test_varints_come_back_in_the_fewest_bytes(void **state)
{
    static const struct {
        uint64_t value;
        size_t size;
    } cases[] = {{0, 1},         {1, 1},           {127, 1},        {128, 2},
                 {300, 2},       {16383, 2},       {16384, 3},      {UINT32_MAX, 5},
                 {INT64_MAX, 9}, {1ull << 63, 10}, {UINT64_MAX, 10}};

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct buffer buffer;
        buffer_init(&buffer, 10);
        struct writer writer = writer_make(&buffer);
        write_varint(&writer, cases[i].value);
        assert_false(writer.failed);
        assert_int_equal(buffer_size(&buffer), cases[i].size);

        struct bytes encoded = buffer_bytes(&buffer);
        struct reader reader = reader_make(encoded);
        assert_true(read_varint(&reader) == cases[i].value);
        assert_false(reader.failed);

        for (size_t cut = 0; cut < encoded.size; cut++) { /* every truncation fails */
            struct reader short_reader = reader_make(bytes_make(encoded.data, cut));
            assert_int_equal(read_varint(&short_reader), 0);
            assert_true(short_reader.failed);
        }
        buffer_free(&buffer);
    }
}

static void assert_varint_fails(const uint8_t *input, size_t size)
{
    struct reader reader = reader_make(bytes_make(input, size));
    assert_int_equal(read_varint(&reader), 0);
    assert_true(reader.failed);
}

static void test_an_overlong_or_overflowing_varint_fails(void **state)
{
    static const uint8_t overlong_zero[] = {0x80, 0x00};
    static const uint8_t overlong_one[] = {0x81, 0x80, 0x00};
    static const uint8_t overflow[] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02};
    static const uint8_t eleven[] = {0x80, 0x80, 0x80, 0x80, 0x80, 0x80,
                                     0x80, 0x80, 0x80, 0x80, 0x01};

    assert_varint_fails(overlong_zero, sizeof(overlong_zero));
    assert_varint_fails(overlong_one, sizeof(overlong_one));
    assert_varint_fails(overflow, sizeof(overflow));
    assert_varint_fails(eleven, sizeof(eleven));
}

static void test_a_size_past_the_end_fails(void **state)
{
    static const uint8_t lies[] = {4, 'a', 'b', 'c'};
    static const uint8_t huge[] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01, 'a'};

    struct reader reader = reader_make(bytes_make(lies, sizeof(lies)));
    assert_int_equal(read_sized(&reader).size, 0);
    assert_true(reader.failed);
    reader = reader_make(bytes_make(huge, sizeof(huge)));
    assert_int_equal(read_sized(&reader).size, 0);
    assert_true(reader.failed);
}

static void test_an_empty_input_reads_nothing(void **state)
{
    struct reader reader = reader_make(bytes_make(NULL, 0));

    assert_int_equal(read_bytes(&reader, 0).size, 0);
    assert_false(reader.failed);
    assert_int_equal(read_u8(&reader), 0);
    assert_true(reader.failed);
}

static void test_a_full_buffer_fails_the_writer(void **state)
{
    struct buffer buffer;
    buffer_init(&buffer, 9);
    struct writer writer = writer_make(&buffer);

    write_u64(&writer, 1);
    write_u16(&writer, 2);
    assert_true(writer.failed);
    write_u8(&writer, 3); /* would fit, but the message is broken already */
    assert_true(writer.failed);
    assert_int_equal(buffer_size(&buffer), 8);
    buffer_free(&buffer);
}

static void test_big_endian_orders_like_numbers(void **state)
{
    uint8_t low[8], high[8];

    store_u64_be(low, 255);
    store_u64_be(high, 256);
    assert_true(memcmp(low, high, 8) < 0);
    assert_int_equal(load_u64_be(high), 256);
    store_u32_be(low, 0x01020304);
    assert_int_equal(low[0], 1);
    assert_int_equal(load_u32_be(low), 0x01020304);
    store_u16_be(low, 0x0102);
    assert_int_equal(load_u16_be(low), 0x0102);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_short_read_fails_and_stays_failed),
        cmocka_unit_test(test_fixed_sizes_come_back),
        cmocka_unit_test(test_varints_come_back_in_the_fewest_bytes),
        cmocka_unit_test(test_an_overlong_or_overflowing_varint_fails),
        cmocka_unit_test(test_a_size_past_the_end_fails),
        cmocka_unit_test(test_an_empty_input_reads_nothing),
        cmocka_unit_test(test_a_full_buffer_fails_the_writer),
        cmocka_unit_test(test_big_endian_orders_like_numbers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
