/* Rows of transactions, and who is held up by their locks (rules C2, A1). */
#include "partition/locks.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

struct key {
    uint8_t memory[64];
    struct bytes bytes;
};

static struct key key_of(uint32_t namespace, const char *name)
{
    struct key key;
    row_prefix_store(key.memory, 5, SERVICE_REDIS, namespace);
    memcpy(key.memory + ROW_PREFIX_SIZE, name, strlen(name));
    key.bytes = bytes_make(NULL, ROW_PREFIX_SIZE + strlen(name));
    return key;
}

/* Of a temporary that lives until the end of the whole expression. */
#define KEY(namespace, name)                                                                       \
    bytes_make(key_of(namespace, name).memory, ROW_PREFIX_SIZE + strlen(name))

static struct txn_id id_of(uint64_t seq)
{
    return (struct txn_id){.gateway = {3, 7, 1}, .primary = {9}, .seq = seq};
}

struct lists {
    struct buffer keys, ranges, namespaces, effects;
    struct txn_prepared prepared;
};

static void lists_init(struct lists *lists)
{
    memset(lists, 0, sizeof(*lists));
    buffer_init(&lists->keys, 4096);
    buffer_init(&lists->ranges, 4096);
    buffer_init(&lists->namespaces, 4096);
    buffer_init(&lists->effects, 4096);
}

static void lists_free(struct lists *lists)
{
    buffer_free(&lists->keys);
    buffer_free(&lists->ranges);
    buffer_free(&lists->namespaces);
    buffer_free(&lists->effects);
}

static void reads(struct lists *lists, const char *name)
{
    struct key key = key_of(1, name);
    struct writer writer = writer_make(&lists->keys);
    write_sized(&writer, bytes_make(key.memory, key.bytes.size));
    lists->prepared.key_count++;
}

static void walks(struct lists *lists, const char *from, const char *to)
{
    struct key first = key_of(1, from), last = key_of(1, to);
    struct writer writer = writer_make(&lists->ranges);
    write_sized(&writer, bytes_make(first.memory, first.bytes.size));
    write_sized(&writer, bytes_make(last.memory, last.bytes.size));
    lists->prepared.range_count++;
}

static void counts(struct lists *lists, uint32_t namespace)
{
    struct writer writer = writer_make(&lists->namespaces);
    write_u8(&writer, SERVICE_REDIS);
    write_u32(&writer, namespace);
    lists->prepared.namespace_count++;
}

static void writes(struct lists *lists, uint32_t namespace, const char *name)
{
    struct key key = key_of(namespace, name);
    struct row_header header = {.type = 1};
    assert_true(effect_put_encode(&lists->effects, bytes_make(key.memory, key.bytes.size), &header,
                                  bytes_of("value")));
}

static const struct txn_prepared *prepared_of(struct lists *lists)
{
    lists->prepared.service = SERVICE_REDIS;
    lists->prepared.time = 1234567;
    lists->prepared.keys = buffer_bytes(&lists->keys);
    lists->prepared.ranges = buffer_bytes(&lists->ranges);
    lists->prepared.namespaces = buffer_bytes(&lists->namespaces);
    lists->prepared.effects = buffer_bytes(&lists->effects);
    return &lists->prepared;
}

static void test_nobody_is_held_up_without_locks(void **state)
{
    struct locks *none = NULL;
    assert_false(locks_stop_read(none, KEY(1, "a"), NULL));
    assert_false(locks_stop_write(none, KEY(1, "a"), NULL));
    assert_false(locks_stop_scan(none, KEY(1, "a"), KEY(1, "z"), NULL));
    assert_false(locks_stop_count(none, SERVICE_REDIS, 1, NULL));
    assert_int_equal(locks_count(none), 0);
}

static void test_shared_and_exclusive(void **state)
{
    struct locks *locks = locks_make();
    struct lists lists;
    struct txn_id one = id_of(1), two = id_of(2);
    lists_init(&lists);
    reads(&lists, "read");
    writes(&lists, 1, "written");
    locks_add(locks, one, prepared_of(&lists));

    assert_false(locks_stop_read(locks, KEY(1, "read"), NULL));
    assert_true(locks_stop_write(locks, KEY(1, "read"), NULL));
    assert_true(locks_stop_read(locks, KEY(1, "written"), NULL));
    assert_true(locks_stop_write(locks, KEY(1, "written"), &two));
    assert_false(locks_stop_write(locks, KEY(1, "written"), &one)); /* its own */
    assert_false(locks_stop_read(locks, KEY(1, "other"), NULL));
    assert_false(locks_stop_write(locks, KEY(2, "read"), NULL)); /* of another namespace */

    locks_add(locks, two, prepared_of(&lists)); /* both read it */
    assert_true(locks_stop_write(locks, KEY(1, "read"), &one));
    assert_true(locks_remove(locks, one));
    assert_false(locks_remove(locks, one));
    assert_false(locks_stop_write(locks, KEY(1, "read"), &two));
    assert_true(locks_stop_write(locks, KEY(1, "read"), &one));
    assert_true(locks_remove(locks, two));
    assert_false(locks_stop_write(locks, KEY(1, "read"), NULL));
    assert_int_equal(locks_count(locks), 0);
    assert_int_equal(locks_bytes(locks), 0);
    locks_free(locks);
    lists_free(&lists);
}

static void test_ranges_and_counts(void **state)
{
    struct locks *locks = locks_make();
    struct lists lists;
    struct txn_id one = id_of(1);
    lists_init(&lists);
    walks(&lists, "c", "f");
    counts(&lists, 4);
    writes(&lists, 1, "m");
    locks_add(locks, one, prepared_of(&lists));

    assert_false(locks_stop_write(locks, KEY(1, "b"), NULL));
    assert_true(locks_stop_write(locks, KEY(1, "c"), NULL));
    assert_true(locks_stop_write(locks, KEY(1, "ezzz"), NULL)); /* a phantom */
    assert_false(locks_stop_write(locks, KEY(1, "f"), NULL));
    assert_false(locks_stop_write(locks, KEY(1, "d"), &one));
    assert_true(locks_stop_write(locks, KEY(4, "any"), NULL)); /* its number would change */

    assert_true(locks_stop_scan(locks, KEY(1, "a"), KEY(1, "z"), NULL));
    assert_false(locks_stop_scan(locks, KEY(1, "a"), KEY(1, "m"), NULL));
    assert_true(locks_stop_scan(locks, KEY(1, "m"), bytes_make(NULL, 0), NULL));
    assert_false(locks_stop_scan(locks, KEY(1, "a"), KEY(1, "z"), &one));
    assert_true(locks_stop_count(locks, SERVICE_REDIS, 1, NULL));
    assert_false(locks_stop_count(locks, SERVICE_REDIS, 4, NULL)); /* counted, not written */
    assert_false(locks_stop_count(locks, SERVICE_REDIS, 1, &one));
    locks_free(locks);
    lists_free(&lists);
}

static void test_rows_round_trip(void **state)
{
    struct lists lists;
    struct buffer value;
    struct txn_prepared back;
    lists_init(&lists);
    buffer_init(&value, 1 << 16);
    reads(&lists, "a");
    reads(&lists, "b");
    walks(&lists, "c", "d");
    counts(&lists, 9);
    writes(&lists, 1, "x");
    lists.prepared.chore = true;
    txn_prepared_encode(prepared_of(&lists), &value);
    struct bytes whole = buffer_bytes(&value);
    assert_int_equal(txn_prepared_decode(whole, &back), STATUS_OK);
    assert_true(back.chore);
    assert_int_equal(back.time, 1234567);
    assert_int_equal(back.key_count, 2);
    assert_int_equal(back.range_count, 1);
    assert_int_equal(back.namespace_count, 1);
    assert_true(bytes_equal(back.effects, buffer_bytes(&lists.effects)));
    assert_true(bytes_equal(back.keys, buffer_bytes(&lists.keys)));
    /* Cut short anywhere it is found out, but where only whole effects are missing: there is one.
     */
    size_t head = whole.size - buffer_size(&lists.effects);
    for (size_t size = 0; size < whole.size; size++) {
        if (size == head) continue;
        assert_int_not_equal(txn_prepared_decode(bytes_make(whole.data, size), &back), STATUS_OK);
    }
    buffer_free(&value);
    lists_free(&lists);
}

static void test_decisions_round_trip(void **state)
{
    uint8_t groups[8];
    struct buffer value;
    struct txn_decision back;
    store_u32(groups, 17);
    store_u32(groups + 4, 4000);
    struct txn_decision decision = {
        .outcome = TXN_COMMIT, .time = 5, .group_count = 2, .groups = bytes_make(groups, 8)};
    buffer_init(&value, 256);
    txn_decision_encode(&decision, &value);
    struct bytes whole = buffer_bytes(&value);
    assert_int_equal(txn_decision_decode(whole, &back), STATUS_OK);
    assert_int_equal(back.outcome, TXN_COMMIT);
    assert_int_equal(txn_decision_group(&back, 0).value, 17);
    assert_int_equal(txn_decision_group(&back, 1).value, 4000);
    for (size_t size = 0; size < whole.size; size++)
        assert_int_not_equal(txn_decision_decode(bytes_make(whole.data, size), &back), STATUS_OK);
    buffer_free(&value);
}

static void test_keys_of_rows(void **state)
{
    uint8_t at[TXN_ROW_KEY_SIZE];
    enum txn_row_kind kind;
    struct txn_id id, given = id_of(0x1122334455667788);
    txn_row_key_store(at, 99, TXN_ROW_DECISION, given);
    assert_true(txn_row_key_parse(bytes_make(at, sizeof(at)), &kind, &id));
    assert_int_equal(kind, TXN_ROW_DECISION);
    assert_true(txn_id_equal(id, given));
    assert_int_equal(load_u16_be(at), 99);
    assert_false(txn_row_key_parse(bytes_make(at, sizeof(at) - 1), &kind, &id));
    at[2] = SERVICE_REDIS;
    assert_false(txn_row_key_parse(bytes_make(at, sizeof(at)), &kind, &id));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_nobody_is_held_up_without_locks),
        cmocka_unit_test(test_shared_and_exclusive),
        cmocka_unit_test(test_ranges_and_counts),
        cmocka_unit_test(test_rows_round_trip),
        cmocka_unit_test(test_decisions_round_trip),
        cmocka_unit_test(test_keys_of_rows),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
