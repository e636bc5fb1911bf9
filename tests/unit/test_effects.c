#include "partition/effects.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#include "base/assert.h"

static const uint8_t key_bytes[] = {0x12, 0x34, 1, 0, 0, 0, 7, 'k'};

static struct bytes the_key(void)
{
    return bytes_make(key_bytes, sizeof(key_bytes));
}

static void test_an_entry_header_comes_back(void **state)
{
    struct buffer buffer;
    buffer_init(&buffer, ENTRY_BODY_MAX);
    struct entry_header header = {
        .flags = ENTRY_OUTCOME_TOO_BIG,
        .gateway = {.node = 3, .epoch = 9, .worker = 2},
        .seq = 0x0102030405060708,
        .attempt = 4,
        .watermark_distance = 5,
        .entry_time = 1700000000000000,
        .commit_time = -1,
        .outcome = bytes_of("+OK\r\n"),
    };
    assert_true(entry_header_encode(&header, &buffer));
    assert_int_equal(buffer_size(&buffer), ENTRY_HEADER_SIZE + 5);
    assert_int_equal(buffer_bytes(&buffer).data[0], ENTRY_FORMAT);

    struct entry_header got;
    struct reader reader = reader_make(buffer_bytes(&buffer));
    assert_int_equal(entry_header_decode(&reader, &got), STATUS_OK);
    assert_int_equal(got.flags, header.flags);
    assert_int_equal(got.gateway.node, 3);
    assert_int_equal(got.gateway.epoch, 9);
    assert_int_equal(got.gateway.worker, 2);
    assert_true(got.seq == header.seq);
    assert_int_equal(got.attempt, 4);
    assert_int_equal(got.watermark_distance, 5);
    assert_true(got.entry_time == header.entry_time && got.commit_time == -1);
    assert_true(bytes_equal(got.outcome, header.outcome));
    assert_int_equal(reader_left(&reader), 0);

    for (size_t size = 0; size < buffer_size(&buffer); size++) {
        reader = reader_make(bytes_make(buffer_bytes(&buffer).data, size));
        assert_int_equal(entry_header_decode(&reader, &got), STATUS_CORRUPT);
    }
    buffer.memory[0] = ENTRY_FORMAT_TXN; /* of transactions: otherwise the same */
    reader = reader_make(buffer_bytes(&buffer));
    assert_int_equal(entry_header_decode(&reader, &got), STATUS_OK);
    assert_int_equal(got.format, ENTRY_FORMAT_TXN);
    buffer.memory[0] = 3;
    reader = reader_make(buffer_bytes(&buffer));
    assert_int_equal(entry_header_decode(&reader, &got), STATUS_VERSION);
    buffer_free(&buffer);
}

static void test_effects_have_the_documented_bytes(void **state)
{
    struct buffer buffer;
    buffer_init(&buffer, 1024);
    struct row_header header = {.version = 99, .type = 2, .flags = 3, .expiry = 0x1122};
    assert_true(effect_put_encode(&buffer, the_key(), &header, bytes_of("va")));
    assert_true(effect_delete_encode(&buffer, the_key()));
    assert_true(effect_add_encode(&buffer, the_key(), -2));
    assert_true(effect_drop_encode(&buffer, 1, 0x01020304));
    assert_true(effect_fence_encode(&buffer, 5, 6));
    assert_true(effect_insert_encode(&buffer, the_key(), &header, bytes_of("v")));
    static const uint8_t want[] = {
        1,   8,   0x12, 0x34, 1,    0,    0,    0,   7,    'k',  2,    3,    0x22, 0x11, 0,
        0,   0,   0,    0,    0,    2,    'v',  'a', 2,    8,    0x12, 0x34, 1,    0,    0,
        0,   7,   'k',  3,    8,    0x12, 0x34, 1,   0,    0,    0,    7,    'k',  0xfe, 255,
        255, 255, 255,  255,  255,  255,  4,    1,   4,    3,    2,    1,    5,    5,    0,
        0,   0,   6,    0,    0,    0,    6,    8,   0x12, 0x34, 1,    0,    0,    0,    7,
        'k', 2,   3,    0x22, 0x11, 0,    0,    0,   0,    0,    0,    1,    'v',
    };
    assert_int_equal(buffer_size(&buffer), sizeof(want));
    assert_memory_equal(buffer_bytes(&buffer).data, want, sizeof(want));

    struct reader reader = reader_make(buffer_bytes(&buffer));
    struct effect effect;
    assert_int_equal(effect_decode(&reader, &effect), STATUS_OK);
    assert_int_equal(effect.kind, EFFECT_PUT);
    assert_true(bytes_equal(effect.key, the_key()));
    assert_int_equal(effect.header.type, 2);
    assert_int_equal(effect.header.flags, 3);
    assert_int_equal(effect.header.expiry, 0x1122);
    assert_true(bytes_equal(effect.value, bytes_of("va")));
    assert_int_equal(effect_decode(&reader, &effect), STATUS_OK);
    assert_int_equal(effect.kind, EFFECT_DELETE);
    assert_int_equal(effect_decode(&reader, &effect), STATUS_OK);
    assert_true(effect.kind == EFFECT_ADD && effect.delta == -2);
    assert_int_equal(effect_decode(&reader, &effect), STATUS_OK);
    assert_true(effect.kind == EFFECT_DROP && effect.service == 1);
    assert_int_equal(effect.namespace, 0x01020304);
    assert_int_equal(effect_decode(&reader, &effect), STATUS_OK);
    assert_true(effect.kind == EFFECT_FENCE && effect.node == 5 && effect.epoch == 6);
    assert_int_equal(effect_decode(&reader, &effect), STATUS_OK);
    assert_true(effect.kind == EFFECT_INSERT && effect.header.expiry == 0x1122);
    assert_true(bytes_equal(effect.value, bytes_of("v")));
    assert_int_equal(effect_decode(&reader, &effect), STATUS_NOT_FOUND);
    buffer_free(&buffer);
}

static void test_the_effect_of_a_cut_has_the_documented_bytes(void **state)
{
    struct buffer buffer;
    struct effect effect;
    static const uint8_t want[] = {7, 1, 8, 7, 6, 5, 4, 3, 2, 1, 3, 1, 0, 0, 0, 0, 0, 0,
                                   7, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0};
    buffer_init(&buffer, 1024);
    assert_true(effect_cut_encode(&buffer, true, 0x0102030405060708, 0x103));
    assert_true(effect_cut_encode(&buffer, false, 1, 0));
    assert_int_equal(buffer_size(&buffer), sizeof(want));
    assert_memory_equal(buffer_bytes(&buffer).data, want, sizeof(want));
    struct reader reader = reader_make(buffer_bytes(&buffer));
    assert_int_equal(effect_decode(&reader, &effect), STATUS_OK);
    assert_true(effect.kind == EFFECT_CUT && effect.takes && effect.cut == 0x0102030405060708);
    assert_int_equal(effect.lifetime, 0x103);
    assert_int_equal(effect_decode(&reader, &effect), STATUS_OK);
    assert_true(effect.kind == EFFECT_CUT && !effect.takes && effect.cut == 1);
    assert_int_equal(effect_decode(&reader, &effect), STATUS_NOT_FOUND);
    buffer_free(&buffer);
}

static enum status decode(const void *bytes, size_t size)
{
    struct reader reader = reader_make(bytes_make(bytes, size));
    struct effect effect;
    return effect_decode(&reader, &effect);
}

static void test_bad_effects_are_told_apart(void **state)
{
    assert_int_equal(decode("\x00", 1), STATUS_VERSION);
    assert_int_equal(decode("\x08", 1), STATUS_VERSION);
    assert_int_equal(decode("\x07\x01", 2), STATUS_CORRUPT); /* cut short */
    assert_int_equal(decode("\x07\x02"
                            "aaaaaaaabbbbbbbb",
                            18),
                     STATUS_CORRUPT);
    assert_int_equal(decode("\x02", 1), STATUS_CORRUPT);
    assert_int_equal(decode("\x02\x08key", 5), STATUS_CORRUPT); /* cut */
    assert_int_equal(decode("\x02\x03key", 5), STATUS_CORRUPT); /* no row has so short a key */
    assert_int_equal(decode("\x04\x01\x01", 3), STATUS_CORRUPT);
    assert_int_equal(decode("\x02\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", 11), STATUS_CORRUPT);
}

static void test_an_effect_that_does_not_fit_leaves_nothing(void **state)
{
    struct buffer buffer;
    buffer_init(&buffer, 12);
    struct row_header header = {.type = 1};
    assert_true(effect_delete_encode(&buffer, the_key()));
    assert_int_equal(buffer_size(&buffer), 10);
    assert_false(effect_delete_encode(&buffer, the_key()));
    assert_false(effect_put_encode(&buffer, the_key(), &header, bytes_of("")));
    assert_false(effect_add_encode(&buffer, the_key(), 1));
    assert_false(effect_drop_encode(&buffer, 1, 1));
    assert_false(effect_fence_encode(&buffer, 1, 1));
    assert_int_equal(buffer_size(&buffer), 10);
    buffer_free(&buffer);
}

static int64_t number_at(struct row_table *table)
{
    struct row_found found;
    assert_true(row_table_get(table, the_key(), &found) && !found.tombstone);
    return effect_add_base(found.value);
}

static void test_adds_sum_up_and_wrap(void **state)
{
    struct row_table *table = row_table_make();
    struct effect add = {.kind = EFFECT_ADD, .key = the_key(), .delta = 5};
    effect_apply(&add, 1, false, table);
    assert_int_equal(number_at(table), 5);
    effect_apply(&add, 2, true, table); /* two adds of one entry */
    effect_apply(&add, 2, true, table);
    assert_int_equal(number_at(table), 15);
    row_table_revert(table);
    assert_int_equal(number_at(table), 5);

    add.delta = INT64_MAX;
    effect_apply(&add, 2, false, table);
    assert_true(number_at(table) == INT64_MIN + 4);
    effect_apply(&add, 1, false, table); /* replay */
    assert_true(number_at(table) == INT64_MIN + 4);

    struct effect put = {.kind = EFFECT_PUT,
                         .key = the_key(),
                         .header = {.type = 7, .expiry = 8},
                         .value = bytes_of("text")};
    effect_apply(&put, 3, false, table);
    add.delta = 1;
    effect_apply(&add, 4, false, table); /* what is no number counts as 0 */
    assert_int_equal(number_at(table), 1);
    struct row_found found;
    assert_true(row_table_get(table, the_key(), &found));
    assert_true(found.header.type == 7 && found.header.expiry == 8 && found.header.version == 4);
    row_table_free(table);
}

static void test_a_drop_takes_the_namespace_in_all_slots(void **state)
{
    struct row_table *table = row_table_make();
    struct row_header header = {.version = 1, .type = 1};
    uint8_t key[ROW_PREFIX_SIZE + 1];
    for (uint16_t slot = 0; slot < 200; slot++) {
        for (uint32_t namespace = 1; namespace <= 3; namespace ++) {
            row_prefix_store(key, (uint16_t)(slot * 3), SERVICE_REDIS, namespace);
            key[ROW_PREFIX_SIZE] = 'x';
            row_table_put(table, bytes_make(key, sizeof(key)), &header, bytes_of("v"), false);
        }
    }
    struct effect drop = {.kind = EFFECT_DROP, .service = SERVICE_REDIS, .namespace = 2};
    effect_apply(&drop, 2, true, table);
    assert_int_equal(row_table_count(table, SERVICE_REDIS, 1), 200);
    assert_int_equal(row_table_count(table, SERVICE_REDIS, 2), 0);
    assert_int_equal(row_table_count(table, SERVICE_REDIS, 3), 200);
    row_table_revert(table);
    assert_int_equal(row_table_count(table, SERVICE_REDIS, 2), 200);
    effect_apply(&drop, 2, false, table);
    assert_int_equal(row_table_count(table, SERVICE_REDIS, 2), 0);
    row_table_flushed(table, 2);
    assert_int_equal(row_table_rows(table), 400);
    row_table_free(table);
}

static void test_an_insert_is_a_put_that_counts_on_a_table_that_does_not_know_the_key(void **state)
{
    struct row_table *table = row_table_make();
    row_table_set_incomplete(table);
    row_table_count_load(table, SERVICE_REDIS, 7, 10);
    struct effect effect = {
        .kind = EFFECT_INSERT, .key = the_key(), .header = {.type = 1}, .value = bytes_of("v")};
    effect_apply(&effect, 1, true, table);
    assert_int_equal(row_table_count(table, SERVICE_REDIS, 7), 11);
    row_table_revert(table);
    effect.kind = EFFECT_PUT;
    effect_apply(&effect, 1, true, table);
    assert_int_equal(row_table_count(table, SERVICE_REDIS, 7), 10);
    row_table_revert(table);
    effect.kind = EFFECT_DELETE;
    effect_apply(&effect, 1, false, table);
    assert_int_equal(row_table_count(table, SERVICE_REDIS, 7), 9);
    row_table_free(table);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_an_entry_header_comes_back),
        cmocka_unit_test(test_effects_have_the_documented_bytes),
        cmocka_unit_test(test_the_effect_of_a_cut_has_the_documented_bytes),
        cmocka_unit_test(test_bad_effects_are_told_apart),
        cmocka_unit_test(test_an_effect_that_does_not_fit_leaves_nothing),
        cmocka_unit_test(test_an_insert_is_a_put_that_counts_on_a_table_that_does_not_know_the_key),
        cmocka_unit_test(test_adds_sum_up_and_wrap),
        cmocka_unit_test(test_a_drop_takes_the_namespace_in_all_slots),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
