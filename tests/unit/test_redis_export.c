/* HOLON.EXPORT: whatever the size of an answer, the same keys and values come out, each once, in
 * one order; and with SINCE only what was written later comes whole. */
#include "redis_harness.h"

#include <stdio.h>

#include "services/redis/export_walk.h"
#include "wire/export_record.h"

enum { ANSWERS_MAX = 200000, EVERYTHING_MAX = 64 << 20 };

static int setup(void **state)
{
    struct redis_harness *h = redis_harness_make();

    h->limits.string_row_max = 64;
    h->limits.chunk_size = 16;
    h->limits.hash_row_fields_max = 4;
    h->limits.hash_row_bytes_max = 200;
    h->limits.stage_from = 1 << 20;
    *state = h;
    return 0;
}

static int teardown(void **state)
{
    redis_harness_free(*state);
    return 0;
}

#define RUN(h, line) redis_harness_line((h), (line))

struct answer {
    struct bytes cursor, records;
    int64_t version, slot_first, slot_last;
};

static struct bytes ask(struct redis_harness *h, struct bytes cursor, const char *since,
                        const char *size)
{
    struct bytes arguments[] = {bytes_of("holon.export"),    bytes_of("0"),  cursor,
                                bytes_of("BYTES"),           bytes_of(size), bytes_of("SINCE"),
                                bytes_of(since ? since : "")};
    return redis_harness_run(h, arguments, since ? 7 : 5);
}

static struct answer take(struct bytes reply)
{
    struct answer answer;
    uint64_t count;

    assert_true(resp_read_array(&reply, &count));
    assert_int_equal(count, 5);
    assert_true(resp_read_bulk(&reply, &answer.cursor));
    assert_true(resp_read_integer(&reply, &answer.version));
    assert_true(resp_read_integer(&reply, &answer.slot_first));
    assert_true(resp_read_integer(&reply, &answer.slot_last));
    assert_true(resp_read_bulk(&reply, &answer.records));
    assert_int_equal(reply.size, 0);
    return answer;
}

/* All records, one answer behind the other. Returns how many answers it took. */
static unsigned export_all(struct redis_harness *h, const char *since, const char *size,
                           struct buffer *out)
{
    struct buffer cursor;
    unsigned answers = 0;
    bool more = true;

    buffer_init(&cursor, EXPORT_CURSOR_SIZE_MAX);
    while (more) {
        struct answer answer = take(ask(h, buffer_bytes(&cursor), since, size));
        assert_int_equal(h->result, EVALUATE_DONE);
        assert_int_equal(h->effect_count, 0);
        assert_int_equal(answer.version, h->index);
        assert_int_equal(buffer_append(out, answer.records), STATUS_OK);
        buffer_clear(&cursor);
        buffer_append(&cursor, answer.cursor);
        more = answer.cursor.size > 0;
        assert_true(++answers < ANSWERS_MAX);
    }
    buffer_free(&cursor);
    return answers;
}

/* As text, values joined and fields in order: what does not depend on where pieces end. */
static void describe(struct bytes records, struct buffer *text)
{
    struct reader reader = reader_make(records);
    struct export_sequence sequence = {0};
    struct export_record record;

    while (reader_left(&reader)) {
        assert_true(export_record_read(&reader, &record));
        assert_null(export_sequence_add(&sequence, &record));
        if (export_record_begins(&record))
            buffer_append_format(text, "\n%u %u %.*s %llu %llu %llu ", record.kind, record.database,
                                 (int)record.key.size, (const char *)record.key.data,
                                 (unsigned long long)record.expiry_ms,
                                 (unsigned long long)record.size, (unsigned long long)record.token);
        for (size_t i = 0; i < record.piece.size; i++) /* zeros would end the text */
            buffer_append(text, record.piece.data[i] ? bytes_make(record.piece.data + i, 1)
                                                     : bytes_of("~"));
    }
    assert_true(export_sequence_is_whole(&sequence));
    buffer_append(text, bytes_make("", 1));
}

static const char *text_of(struct redis_harness *h, const char *since, const char *size,
                           struct buffer *text)
{
    struct buffer records;

    buffer_init(&records, EVERYTHING_MAX);
    buffer_clear(text);
    export_all(h, since, size, &records);
    describe(buffer_bytes(&records), text);
    buffer_free(&records);
    return (const char *)buffer_bytes(text).data;
}

static void put_all_kinds(struct redis_harness *h)
{
    char line[512];

    RUN(h, "set small value");
    RUN(h, "set empty \"\"");
    RUN(h, "set ends soon px 100000");
    RUN(h, "hset hash a 1 b 2");
    RUN(h, "hset ends:hash a 1");
    RUN(h, "pexpire ends:hash 100000");
    RUN(h, "setrange gap 200 x"); /* chunks that are not there */
    RUN(h, "setrange gap 77 y");
    RUN(h, "hset fields a 1 b 2 c 3 d 4 e 5 f \"\"");
    for (int i = 0; i < 100; i++) {
        snprintf(line, sizeof(line), "hset {t}many field%d value%d", i, i);
        RUN(h, line);
        snprintf(line, sizeof(line), "append {t}long 0123456789%d", i);
        RUN(h, line);
        snprintf(line, sizeof(line), "set key:%d %d", i, i);
        RUN(h, line);
    }
    h->database = 3;
    RUN(h, "set small \"in three\"");
    RUN(h, "set {t}three 3");
    h->database = 15;
    RUN(h, "set small \"in fifteen\"");
    h->database = 0;
}

static void test_any_size_of_answers_gives_the_same(void **state)
{
    struct redis_harness *h = *state;
    struct buffer whole, pieces;
    char size[16];

    put_all_kinds(h);
    buffer_init(&whole, EVERYTHING_MAX);
    buffer_init(&pieces, EVERYTHING_MAX);
    text_of(h, NULL, "1000000", &whole);
    const char *text = (const char *)buffer_bytes(&whole).data;
    assert_non_null(strstr(text, "\n1 0 small 0 5 0 value"));
    assert_non_null(strstr(text, "\n1 0 empty 0 0 0 "));
    assert_non_null(strstr(text, "\n1 3 small 0 8 0 in three"));
    assert_non_null(strstr(text, "\n1 15 small 0 10 0 in fifteen"));
    assert_non_null(strstr(text, "\n1 0 ends 1700000100000 4 0 soon"));
    assert_non_null(strstr(text, "\n3 0 ends:hash 1700000100000 1 0 "));
    assert_non_null(strstr(text, "\n3 0 fields 0 6 0 "));
    assert_non_null(strstr(text, "\n3 0 {t}many 0 100 0 "));
    assert_non_null(strstr(text, "\n1 0 {t}long 0 1190 0 "));
    for (int i = 1; i < 400; i += i < 40 ? 1 : 37) {
        snprintf(size, sizeof(size), "%d", i);
        text_of(h, NULL, size, &pieces);
        assert_true(bytes_equal(buffer_bytes(&pieces), buffer_bytes(&whole)));
    }
    buffer_free(&whole);
    buffer_free(&pieces);
}

static void test_a_gap_in_a_string_is_zeros(void **state)
{
    struct redis_harness *h = *state;
    struct buffer records;
    struct export_record record;

    RUN(h, "setrange gap 200 x");
    RUN(h, "setrange gap 77 y");
    buffer_init(&records, EVERYTHING_MAX);
    export_all(h, NULL, "100000", &records);
    struct reader reader = reader_make(buffer_bytes(&records));
    assert_true(export_record_read(&reader, &record));
    assert_int_equal(record.piece.size, 201);
    for (size_t i = 0; i < 201; i++)
        assert_int_equal(record.piece.data[i], i == 200 ? 'x' : i == 77 ? 'y' : 0);
    buffer_free(&records);
}

static void test_the_order_is_slot_then_database(void **state)
{
    struct redis_harness *h = *state;
    struct buffer text;

    buffer_init(&text, EVERYTHING_MAX);
    h->database = 1;
    RUN(h, "set {t}one 1");
    h->database = 0;
    RUN(h, "set {t}zero 0");
    RUN(h, "set {b}later 0");
    RUN(h, "flushdb"); /* the namespace of 0 is now 16, behind that of 1 */
    RUN(h, "set {t}again 0");
    assert_string_equal(text_of(h, NULL, "1000", &text),
                        "\n1 0 {t}again 0 1 0 0\n1 1 {t}one 0 1 0 1");
    RUN(h, "swapdb 0 1");
    assert_string_equal(text_of(h, NULL, "1", &text), "\n1 0 {t}one 0 1 0 1\n1 1 {t}again 0 1 0 0");
    buffer_free(&text);
}

static void test_what_has_expired_is_left_out(void **state)
{
    struct redis_harness *h = *state;
    struct buffer text;

    buffer_init(&text, EVERYTHING_MAX);
    RUN(h, "set stays 1");
    RUN(h, "set ends 1 px 10");
    RUN(h, "hset h a 1");
    RUN(h, "pexpire h 10");
    h->time += 11 * 1000;
    assert_string_equal(text_of(h, NULL, "1", &text), "\n1 0 stays 0 1 0 1");
    buffer_free(&text);
}

static void test_since_gives_only_what_was_written(void **state)
{
    struct redis_harness *h = *state;
    struct buffer text;
    char since[32];

    buffer_init(&text, EVERYTHING_MAX);
    RUN(h, "set {t}a 1");
    RUN(h, "hset {t}h a 1 b 2 c 3 d 4 e 5");
    RUN(h, "setrange {t}s 100 x");
    snprintf(since, sizeof(since), "%llu", (unsigned long long)h->index);
    text_of(h, since, "1000", &text);
    const char *all = (const char *)buffer_bytes(&text).data;
    assert_non_null(strstr(all, "\n5 0 {t}a 0 0 0 "));
    assert_non_null(strstr(all, "\n5 0 {t}h 0 0 0 "));
    assert_non_null(strstr(all, "\n5 0 {t}s 0 0 0 "));

    RUN(h, "hset {t}h c 4"); /* a row of the value: the key's row is written, too */
    RUN(h, "setrange {t}s 3 y");
    all = text_of(h, since, "1000", &text);
    assert_non_null(strstr(all, "\n5 0 {t}a 0 0 0 "));
    assert_non_null(strstr(all, "\n3 0 {t}h 0 5 0 "));
    assert_non_null(strstr(all, "\n1 0 {t}s 0 101 0 "));

    RUN(h, "expire {t}a 100"); /* so does another expiry */
    assert_non_null(strstr(text_of(h, since, "1000", &text), "\n1 0 {t}a 1700000100000 1 0 1"));
    RUN(h, "del {t}h");
    assert_null(strstr(text_of(h, since, "1000", &text), "{t}h"));
    buffer_free(&text);
}

static void test_a_swapped_database_is_given_whole(void **state)
{
    struct redis_harness *h = *state;
    struct buffer text;

    buffer_init(&text, EVERYTHING_MAX);
    RUN(h, "set k v");
    h->database = 5;
    RUN(h, "set other v");
    h->database = 0;
    RUN(h, "swapdb 0 1");
    assert_non_null(strstr(text_of(h, "2", "1000", &text), "\n1 1 k 0 1 0 v"));
    assert_non_null(strstr(text_of(h, "2", "1000", &text), "\n5 5 other 0 0 0 "));
    assert_non_null(strstr(text_of(h, "3", "1000", &text), "\n5 1 k 0 0 0 "));
    buffer_free(&text);
}

static void test_a_damaged_cursor_is_refused(void **state)
{
    struct redis_harness *h = *state;
    uint8_t cursor[512];
    size_t size = 0;

    RUN(h, "hset {t}many a 1 b 2 c 3 d 4 e 5 f 6");
    for (int round = 0; round < 2; round++) { /* a place between keys, and one within a value */
        struct answer answer = take(ask(h, bytes_make(cursor, size), NULL, "1"));
        size = answer.cursor.size;
        assert_in_range(size, 1, sizeof(cursor));
        memcpy(cursor, answer.cursor.data, size);
    }
    for (size_t bit = 0; bit < size * 8; bit++) {
        cursor[bit / 8] ^= (uint8_t)(1 << bit % 8);
        struct bytes reply = ask(h, bytes_make(cursor, size), NULL, "1");
        cursor[bit / 8] ^= (uint8_t)(1 << bit % 8);
        assert_true(bytes_starts_with(reply, bytes_of("-ERR the cursor is damaged")));
    }
    for (size_t cut = 1; cut < size; cut++) {
        struct bytes reply = ask(h, bytes_make(cursor, cut), NULL, "1");
        assert_true(bytes_starts_with(reply, bytes_of("-ERR the cursor is damaged")));
    }
    take(ask(h, bytes_make(cursor, size), NULL, "1"));
    h->slot_last = 100; /* another partition */
    struct bytes reply = ask(h, bytes_make(cursor, size), NULL, "1");
    assert_true(bytes_starts_with(reply, bytes_of("-ERR the cursor is damaged")));
}

static void test_what_makes_no_sense_is_refused(void **state)
{
    struct redis_harness *h = *state;
    static const char *const wrong[] = {
        "holon.export x \"\"",           "holon.export 16384 \"\"",
        "holon.export -1 \"\"",          "holon.export 0 \"\" bytes",
        "holon.export 0 \"\" bytes 0",   "holon.export 0 \"\" since -1",
        "holon.export 0 \"\" since 999", "holon.export 0 \"\" count 1"};

    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
        assert_int_equal(RUN(h, wrong[i])[0], '-');
    h->slot_first = 100;
    assert_int_equal(RUN(h, "holon.export 99 \"\"")[0], '-');
}

static void put_row(struct redis_harness *h, struct bytes key, struct bytes value)
{
    struct row_header header = {.type = 1};

    buffer_clear(&h->effects);
    effect_insert_encode(&h->effects, key, &header, value);
    h->effect_count = 1;
    redis_harness_apply(h);
}

static void test_locks_come_with_their_tokens(void **state)
{
    struct redis_harness *h = *state;
    uint8_t key[REDIS_ROW_PREFIX_SIZE + 4];
    struct buffer text;

    buffer_init(&text, EVERYTHING_MAX);
    RUN(h, "set {t}k v");
    row_prefix_store(key, key_slot(bytes_of("{t}k")), SERVICE_LOCK, 2);
    memset(key + ROW_PREFIX_SIZE, 0x55, REDIS_HASH_SIZE);
    memcpy(key + REDIS_ROW_PREFIX_SIZE, "lock", 4);
    put_row(h, bytes_make(key, sizeof(key)), bytes_of(""));
    assert_string_equal(text_of(h, NULL, "1", &text), "\n1 0 {t}k 0 1 0 v\n6 2 lock 0 0 2 ");

    /* A floor is on top of each, and tells of locks that have no row. Reminders are no locks. */
    uint8_t floor[9] = {1};
    store_u64(floor + 1, 1000);
    row_prefix_store(key, 0, SERVICE_LOCK, UINT32_C(0xffffffff));
    put_row(h, bytes_make(key, ROW_PREFIX_SIZE), bytes_make(floor, sizeof(floor)));
    row_prefix_store(key, 0, SERVICE_LOCK, UINT32_C(0xfffffffe));
    put_row(h, bytes_make(key, sizeof(key)), bytes_of(""));
    assert_string_equal(text_of(h, NULL, "1", &text),
                        "\n6 0  0 0 1004 \n1 0 {t}k 0 1 0 v\n6 2 lock 0 0 1002 ");
    buffer_free(&text);
}

/* Nothing that was made ends in an answer that never comes. */
static void test_an_answer_is_about_as_large_as_was_asked(void **state)
{
    struct redis_harness *h = *state;
    struct answer answer;

    put_all_kinds(h);
    for (int i = 0; i < 60; i++) {
        char line[128];
        snprintf(line, sizeof(line), "setrange {big}%d 5000 x", i);
        RUN(h, line);
    }
    answer = take(ask(h, bytes_make(NULL, 0), NULL, "2000"));
    assert_in_range(answer.records.size, 2000, 2300);
    answer = take(ask(h, bytes_make(NULL, 0), NULL, "99999999"));
    assert_true(answer.records.size <= EXPORT_BYTES_MAX + EXPORT_PIECE_SIZE_MAX);
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_any_size_of_answers_gives_the_same),
        TEST(test_a_gap_in_a_string_is_zeros),
        TEST(test_the_order_is_slot_then_database),
        TEST(test_what_has_expired_is_left_out),
        TEST(test_since_gives_only_what_was_written),
        TEST(test_a_swapped_database_is_given_whole),
        TEST(test_a_damaged_cursor_is_refused),
        TEST(test_what_makes_no_sense_is_refused),
        TEST(test_locks_come_with_their_tokens),
        TEST(test_an_answer_is_about_as_large_as_was_asked),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
