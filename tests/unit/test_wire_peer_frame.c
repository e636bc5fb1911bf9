#include "unit.h"

#include "base/hash.h"
#include "wire/peer_frame.h"

static struct peer_hello hello_example(void)
{
    struct peer_hello hello = {
        .version = PEER_FRAME_VERSION,
        .cluster = {.high = 0x1122334455667788, .low = 0x99aabbccddeeff00},
        .node = 3,
        .to_node = 2,
        .epoch = 17,
        .store = 0xfeedfacecafebeef,
        .worker = 1,
        .worker_count = 4,
    };
    memcpy(hello.name, "node-c", 7);
    return hello;
}

static void test_a_frame_is_laid_out_as_documented(void **state)
{
    struct buffer buffer;
    const uint8_t *frame;

    buffer_init(&buffer, 100);
    assert_int_equal(peer_frame_append(&buffer, 7, PEER_FRAME_RAFT, 0x0203, bytes_of("abc")),
                     STATUS_OK);
    frame = buffer_bytes(&buffer).data;
    assert_int_equal(buffer_size(&buffer), 19);
    assert_int_equal(load_u32(frame), 7); /* version, kind, worker, payload */
    assert_int_equal(load_u32(frame + 4), crc32c(7, bytes_make(frame, 4)));
    assert_int_equal(load_u32(frame + 8), crc32c(7, bytes_make(frame + 12, 7)));
    assert_int_equal(frame[12], 1);
    assert_int_equal(frame[13], 10);
    assert_int_equal(load_u16(frame + 14), 0x0203);
    assert_memory_equal(frame + 16, "abc", 3);
    buffer_free(&buffer);
}

static void test_frames_come_out_one_by_one(void **state)
{
    struct buffer buffer;
    struct peer_frame frame;
    size_t used;

    buffer_init(&buffer, 1000);
    peer_frame_append(&buffer, 5, PEER_FRAME_RAFT, 1, bytes_of("first"));
    peer_frame_append(&buffer, 5, PEER_FRAME_STATUS, 0, bytes_make(NULL, 0));

    assert_int_equal(peer_frame_parse(buffer_bytes(&buffer), 5, 100, &frame, &used), STATUS_OK);
    assert_int_equal(frame.kind, PEER_FRAME_RAFT);
    assert_int_equal(frame.worker, 1);
    assert_true(bytes_equal(frame.payload, bytes_of("first")));
    buffer_consume(&buffer, used);
    assert_int_equal(peer_frame_parse(buffer_bytes(&buffer), 5, 100, &frame, &used), STATUS_OK);
    assert_int_equal(frame.kind, PEER_FRAME_STATUS);
    assert_int_equal(frame.payload.size, 0);
    buffer_consume(&buffer, used);
    assert_int_equal(peer_frame_parse(buffer_bytes(&buffer), 5, 100, &frame, &used),
                     STATUS_NOT_FOUND);
    buffer_free(&buffer);
}

static void test_every_prefix_asks_for_more(void **state)
{
    struct buffer buffer;
    struct peer_frame frame;
    size_t used;

    buffer_init(&buffer, 1000);
    peer_frame_append(&buffer, 5, PEER_FRAME_RAFT, 1, bytes_of("payload"));
    for (size_t size = 0; size < buffer_size(&buffer); size++)
        assert_int_equal(
            peer_frame_parse(bytes_make(buffer_bytes(&buffer).data, size), 5, 100, &frame, &used),
            STATUS_NOT_FOUND);
    buffer_free(&buffer);
}

/* A size that has grown on its way would otherwise swallow good frames until that many bytes
 * are there: up to a MiB of heartbeats, which is minutes of silence (F46; seed 92020). */
static void test_a_damaged_size_is_found_before_its_bytes_are_awaited(void **state)
{
    struct buffer buffer;
    struct peer_frame frame;
    size_t used;
    uint8_t *bytes;

    buffer_init(&buffer, 1000);
    peer_frame_append(&buffer, 5, PEER_FRAME_RAFT, 1, bytes_of("payload"));
    bytes = buffer.memory + buffer.start;
    for (uint32_t change = 1; change < 256; change++) {
        for (size_t at = 0; at < 8; at++) { /* the size, and its check */
            bytes[at] ^= (uint8_t)change;
            assert_int_equal(peer_frame_parse(bytes_make(bytes, 8), 5, UINT32_MAX, &frame, &used),
                             STATUS_CORRUPT);
            bytes[at] ^= (uint8_t)change;
        }
    }
    buffer_free(&buffer);
}

static void test_any_flipped_bit_is_found(void **state)
{
    struct buffer buffer;
    struct peer_frame frame;
    size_t used;
    uint8_t *bytes;

    buffer_init(&buffer, 1000);
    peer_frame_append(&buffer, 5, PEER_FRAME_RAFT, 1, bytes_of("payload"));
    bytes = buffer.memory + buffer.start;
    for (size_t bit = 0; bit < buffer_size(&buffer) * 8; bit++) {
        bytes[bit / 8] ^= (uint8_t)(1u << (bit % 8));
        assert_int_equal(peer_frame_parse(buffer_bytes(&buffer), 5, 100, &frame, &used),
                         STATUS_CORRUPT);
        bytes[bit / 8] ^= (uint8_t)(1u << (bit % 8));
    }
    buffer_free(&buffer);
}

static void test_a_frame_of_another_conversation_is_damage(void **state)
{
    struct cluster_id cluster = {.high = 1, .low = 2}, other = {.high = 1, .low = 3};
    uint32_t seed = peer_frame_seed(cluster, 1, 9, 2);
    uint32_t others[] = {peer_frame_seed(other, 1, 9, 2), peer_frame_seed(cluster, 3, 9, 2),
                         peer_frame_seed(cluster, 1, 8, 2), peer_frame_seed(cluster, 1, 9, 3), 0};
    struct buffer buffer;
    struct peer_frame frame;
    size_t used;

    buffer_init(&buffer, 1000);
    peer_frame_append(&buffer, seed, PEER_FRAME_RAFT, 1, bytes_of("payload"));
    for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++)
        assert_int_equal(peer_frame_parse(buffer_bytes(&buffer), others[i], 100, &frame, &used),
                         STATUS_CORRUPT);
    assert_int_equal(peer_frame_parse(buffer_bytes(&buffer), seed, 100, &frame, &used), STATUS_OK);
    buffer_free(&buffer);
}

static void store_size(uint8_t header[8], uint32_t size)
{
    store_u32(header, size);
    store_u32(header + 4, crc32c(0, bytes_make(header, 4)));
}

static void test_lengths_are_judged_before_the_bytes_are_there(void **state)
{
    uint8_t header[8] = {0};
    struct peer_frame frame;
    size_t used;

    store_size(header, 4 + 101);
    assert_int_equal(peer_frame_parse(bytes_make(header, 8), 0, 100, &frame, &used),
                     STATUS_TOO_LARGE);
    store_size(header, UINT32_MAX);
    assert_int_equal(peer_frame_parse(bytes_make(header, 8), 0, 100, &frame, &used),
                     STATUS_TOO_LARGE);
    for (uint32_t size = 0; size < 4; size++) {
        store_size(header, size);
        assert_int_equal(peer_frame_parse(bytes_make(header, 8), 0, 100, &frame, &used),
                         STATUS_CORRUPT);
    }
    store_size(header, 4 + 100);
    assert_int_equal(peer_frame_parse(bytes_make(header, 8), 0, 100, &frame, &used),
                     STATUS_NOT_FOUND);
}

static void test_another_version_is_told_from_damage(void **state)
{
    struct buffer buffer;
    struct peer_frame frame;
    size_t used;
    uint8_t *bytes;

    buffer_init(&buffer, 1000);
    peer_frame_append(&buffer, 5, PEER_FRAME_RAFT, 1, bytes_of("x"));
    bytes = buffer.memory + buffer.start;
    bytes[12] = PEER_FRAME_VERSION + 1;
    store_u32(bytes + 8, crc32c(5, bytes_make(bytes + 12, buffer_size(&buffer) - 12)));
    assert_int_equal(peer_frame_parse(buffer_bytes(&buffer), 5, 100, &frame, &used),
                     STATUS_VERSION);
    buffer_free(&buffer);
}

static void test_a_full_buffer_takes_no_part_of_a_frame(void **state)
{
    struct buffer buffer;

    buffer_init(&buffer, 24);
    assert_int_equal(peer_frame_append(&buffer, 5, PEER_FRAME_RAFT, 1, bytes_of("123456789")),
                     STATUS_FULL);
    assert_int_equal(buffer_size(&buffer), 0);
    assert_int_equal(peer_frame_append(&buffer, 5, PEER_FRAME_RAFT, 1, bytes_of("12345678")),
                     STATUS_OK);
    buffer_free(&buffer);
}

static void test_hello_round_trip(void **state)
{
    struct peer_hello hello = hello_example(), back = {0};
    struct buffer buffer;

    buffer_init(&buffer, 1000);
    peer_hello_encode(&hello, &buffer);
    assert_int_equal(peer_hello_decode(buffer_bytes(&buffer), &back), STATUS_OK);
    assert_true(cluster_id_equal(back.cluster, hello.cluster));
    assert_int_equal(back.version, hello.version);
    assert_int_equal(back.node, 3);
    assert_int_equal(back.to_node, 2);
    assert_int_equal(back.epoch, 17);
    assert_true(back.store == hello.store);
    assert_int_equal(back.worker, 1);
    assert_int_equal(back.worker_count, 4);
    assert_string_equal(back.name, "node-c");
    buffer_append(&buffer, bytes_of("of a later version"));
    assert_int_equal(peer_hello_decode(buffer_bytes(&buffer), &back), STATUS_OK);
    buffer_free(&buffer);
}

static void test_a_short_hello_is_damage(void **state)
{
    struct peer_hello hello = hello_example(), back = {0};
    struct buffer buffer;

    buffer_init(&buffer, 1000);
    peer_hello_encode(&hello, &buffer);
    for (size_t size = 0; size < buffer_size(&buffer); size++)
        assert_int_equal(peer_hello_decode(bytes_make(buffer_bytes(&buffer).data, size), &back),
                         STATUS_CORRUPT);
    assert_int_equal(back.node, 0); /* untouched */
    buffer_free(&buffer);
}

static enum status decode_changed(struct peer_hello hello)
{
    struct peer_hello back;
    struct buffer buffer;
    enum status status;

    buffer_init(&buffer, 1000);
    peer_hello_encode(&hello, &buffer);
    status = peer_hello_decode(buffer_bytes(&buffer), &back);
    buffer_free(&buffer);
    return status;
}

static void test_a_hello_out_of_bounds_is_invalid(void **state)
{
    struct peer_hello hello = hello_example();

    hello.node = 0;
    assert_int_equal(decode_changed(hello), STATUS_INVALID);
    hello.node = NODES_MAX + 1;
    assert_int_equal(decode_changed(hello), STATUS_INVALID);
    hello = hello_example();
    hello.to_node = NODES_MAX + 1;
    assert_int_equal(decode_changed(hello), STATUS_INVALID);
    hello = hello_example();
    hello.worker = hello.worker_count;
    assert_int_equal(decode_changed(hello), STATUS_INVALID);
    hello.worker_count = WORKERS_MAX + 1;
    assert_int_equal(decode_changed(hello), STATUS_INVALID);
    hello = hello_example();
    memcpy(hello.name, "a\nb", 4); /* would forge a log line */
    assert_int_equal(decode_changed(hello), STATUS_INVALID);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_frame_is_laid_out_as_documented),
        cmocka_unit_test(test_frames_come_out_one_by_one),
        cmocka_unit_test(test_every_prefix_asks_for_more),
        cmocka_unit_test(test_a_damaged_size_is_found_before_its_bytes_are_awaited),
        cmocka_unit_test(test_any_flipped_bit_is_found),
        cmocka_unit_test(test_a_frame_of_another_conversation_is_damage),
        cmocka_unit_test(test_lengths_are_judged_before_the_bytes_are_there),
        cmocka_unit_test(test_another_version_is_told_from_damage),
        cmocka_unit_test(test_a_full_buffer_takes_no_part_of_a_frame),
        cmocka_unit_test(test_hello_round_trip),
        cmocka_unit_test(test_a_short_hello_is_damage),
        cmocka_unit_test(test_a_hello_out_of_bounds_is_invalid),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
