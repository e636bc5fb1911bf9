/* Batches: several commands in one entry. */
#include "redis_harness.h"

#include <stdio.h>

#include "base/assert.h"
#include "services/redis/batch.h"
#include "services/redis/fronts.h"

enum { SEED = 99 };

struct batch_test {
    struct redis_harness *harness;
    struct buffer body;
    char text[1 << 16];
    struct redis_watch watches[8];
    uint32_t watch_count;
    struct redis_batch_command commands[64];
    struct buffer bodies[64];
    uint32_t count;
};

static int make(void **state)
{
    struct batch_test *test = calloc(1, sizeof(*test));

    test->harness = redis_harness_make();
    buffer_init(&test->body, 8 << 20);
    *state = test;
    return 0;
}

static void clear(struct batch_test *test)
{
    for (uint32_t i = 0; i < test->count; i++)
        buffer_free(&test->bodies[i]);
    test->count = test->watch_count = 0;
}

static int drop(void **state)
{
    struct batch_test *test = *state;
    struct redis_rows rows;

    for (int i = 0; i < 10000 && redis_harness_chore(test->harness); i++)
        continue;
    redis_rows_check(test->harness->table, &rows);
    assert_int_equal(rows.orphans + rows.twice + rows.wrong_sizes + rows.unreminded, 0);
    clear(test);
    redis_harness_free(test->harness);
    buffer_free(&test->body);
    free(test);
    return 0;
}

static void add_words(struct batch_test *test, const struct bytes *words, uint32_t count)
{
    const struct redis_command *command =
        redis_command_find(&test->harness->commands, words[0], NULL);
    uint32_t id = bytes_equal(words[0], bytes_of("readvalue"))    ? REDIS_READVALUE
                  : bytes_equal(words[0], bytes_of("writevalue")) ? REDIS_WRITEVALUE
                                                                  : command->id;
    struct redis_body body = {.database = test->harness->database,
                              .command = (uint16_t)id,
                              .arguments = words + 1,
                              .count = count - 1};

    buffer_init(&test->bodies[test->count], 1 << 20);
    assert_int_equal(redis_body_encode(&body, &test->bodies[test->count]), STATUS_OK);
    test->commands[test->count] =
        (struct redis_batch_command){.body = buffer_bytes(&test->bodies[test->count])};
    test->count++;
}

static void add(struct batch_test *test, const char *line)
{
    static uint8_t room[1 << 16];
    struct bytes words[256];
    uint32_t count = 0;

    assert_true(resp_split_line(bytes_of(line), room, words, 256, &count));
    add_words(test, words, count);
}

static void expect(struct batch_test *test, const char *line, const char *reply)
{
    struct redis_batch_command *command;

    add(test, line);
    command = &test->commands[test->count - 1];
    command->expects = true;
    command->digest = redis_batch_digest(SEED, 0, bytes_of(reply));
}

static void watch(struct batch_test *test, const char *key)
{
    struct bytes words[] = {bytes_of("WATCH"), bytes_of(key)};
    struct bytes reply = redis_harness_run(test->harness, words, 2);
    uint64_t three;
    int64_t version, alive, namespace;

    assert_true(resp_read_array(&reply, &three) && three == 3);
    assert_true(resp_read_integer(&reply, &version));
    assert_true(resp_read_integer(&reply, &alive));
    assert_true(resp_read_integer(&reply, &namespace));
    test->watches[test->watch_count++] = (struct redis_watch){.database = test->harness->database,
                                                              .existed = alive,
                                                              .namespace = (uint32_t) namespace,
                                                              .version = (uint64_t)version,
                                                              .key = bytes_of(key)};
}

static struct bytes run(struct batch_test *test)
{
    struct writer writer = writer_make(&test->body);

    buffer_clear(&test->body);
    redis_batch_begin(&writer, test->watch_count);
    for (uint32_t i = 0; i < test->watch_count; i++)
        redis_batch_write_watch(&writer, &test->watches[i]);
    redis_batch_begin_commands(&writer, SEED, test->count);
    for (uint32_t i = 0; i < test->count; i++)
        redis_batch_write_command(&writer, &test->commands[i]);
    clear(test);
    return redis_harness_evaluate(
        test->harness, redis_evaluate,
        (struct request){.service = SERVICE_REDIS, .body = buffer_bytes(&test->body)});
}

/* The replies of the commands, one behind the other. */
static const char *execute(struct batch_test *test)
{
    enum redis_batch_outcome outcome;
    struct bytes reply = run(test), rest, one;
    size_t size = 0;

    assert_int_equal(test->harness->result, EVALUATE_DONE);
    assert_true(redis_batch_read_outcome(reply, &outcome, &rest));
    assert_int_equal(outcome, REDIS_BATCH_EXECUTED);
    assert_false(test->harness->refused);
    while (rest.size) {
        assert_true(redis_batch_read_reply(&rest, &one));
        memcpy(test->text + size, one.data, one.size);
        size += one.size;
    }
    test->text[size] = 0;
    return test->text;
}

static void check_refused(struct batch_test *test, enum redis_batch_outcome expected)
{
    enum redis_batch_outcome outcome;
    struct bytes reply = run(test), rest;

    assert_int_equal(test->harness->result, EVALUATE_DONE);
    assert_true(redis_batch_read_outcome(reply, &outcome, &rest));
    assert_int_equal(outcome, expected);
    assert_true(test->harness->refused);
}

static const char *line(struct batch_test *test, const char *text)
{
    return redis_harness_line(test->harness, text);
}

/* --- commands ----------------------------------------------------------------------------------
 */

static void test_each_command_sees_what_those_before_it_wrote(void **state)
{
    struct batch_test *test = *state;

    add(test, "SET a 1");
    add(test, "INCR a");
    add(test, "HSET h f v");
    add(test, "HGET h f");
    add(test, "DEL a");
    add(test, "EXISTS a h");
    add(test, "DBSIZE");
    assert_string_equal(execute(test), "+OK\r\n:2\r\n:1\r\n$1\r\nv\r\n:1\r\n:1\r\n:1\r\n");
    assert_string_equal(line(test, "EXISTS a h"), ":1\r\n");
}

static void test_errors_are_replies_and_the_rest_is_executed(void **state)
{
    struct batch_test *test = *state;

    add(test, "SET a x");
    add(test, "INCR a");
    add(test, "SET b 1");
    assert_string_equal(execute(test), "+OK\r\n-ERR value is not an integer or out of range\r\n"
                                       "+OK\r\n");
    assert_string_equal(line(test, "MGET a b"), "*2\r\n$1\r\nx\r\n$1\r\n1\r\n");
}

static void test_flushing_is_seen_by_what_follows(void **state)
{
    struct batch_test *test = *state;

    line(test, "SET old 1");
    add(test, "SET a 1");
    add(test, "FLUSHDB");
    add(test, "EXISTS a old");
    add(test, "SET b 1");
    add(test, "FLUSHALL");
    add(test, "SET c 1");
    add(test, "DBSIZE");
    assert_string_equal(execute(test), "+OK\r\n+OK\r\n:0\r\n+OK\r\n+OK\r\n+OK\r\n:1\r\n");
    assert_string_equal(line(test, "EXISTS a b old c"), ":1\r\n");
}

/* A value in parts, overwritten in the same entry: its parts are named by a record, whatever the
 * table knows of them. drop() looks. */
static void test_ids_are_made_once_in_a_batch(void **state)
{
    struct batch_test *test = *state;

    test->harness->limits.string_row_max = 4;
    test->harness->limits.hash_row_fields_max = 1;
    add(test, "SET a 123456789");
    add(test, "SET a abcdefghi");
    add(test, "SET b abcdefghi");
    add(test, "HSET h f 1 g 2");
    add(test, "HSET i f 3 g 4");
    add(test, "GET a");
    add(test, "GETRANGE b 2 4");
    add(test, "HGET i g");
    add(test, "SET h x");
    assert_string_equal(execute(test), "+OK\r\n+OK\r\n+OK\r\n:2\r\n:2\r\n$9\r\nabcdefghi\r\n"
                                       "$3\r\ncde\r\n$1\r\n4\r\n+OK\r\n");
}

static void test_an_expiry_in_a_batch_has_its_reminder(void **state)
{
    struct batch_test *test = *state;

    add(test, "SET a 1 EX 100");
    add(test, "SET a 2 EX 10");
    add(test, "SET b 1 EX 10");
    add(test, "SET b 2 EX 1000");
    add(test, "TTL a");
    assert_string_equal(execute(test), "+OK\r\n+OK\r\n+OK\r\n+OK\r\n:10\r\n");
}

static void test_what_is_too_big_together_is_refused_as_a_whole(void **state)
{
    struct batch_test *test = *state;
    static char value[16 << 10];

    memset(value, 'x', sizeof(value));
    for (int i = 0; i < 20; i++) {
        char key[2] = {(char)('a' + i), 0};
        struct bytes words[] = {bytes_of("SET"), bytes_of(key), bytes_make(value, sizeof(value))};
        add_words(test, words, 3);
    }
    run(test);
    assert_int_equal(test->harness->result, EVALUATE_OVER_BUDGET);
    assert_string_equal(line(test, "DBSIZE"), ":0\r\n");
}

static void test_nonsense_is_refused_and_changes_nothing(void **state)
{
    struct batch_test *test = *state;

    add(test, "SET a 1");
    add(test, "SET b 1");
    uint8_t *body = test->bodies[1].memory;
    body[3] = 77; /* no such command */
    check_refused(test, REDIS_BATCH_REFUSED);
    add(test, "SET a 1");
    test->bodies[0].memory[1] = REDIS_BODY_STAGE;
    check_refused(test, REDIS_BATCH_REFUSED);
    test->harness->slot_last = 100;
    add(test, "SET a 1"); /* slot 15495 */
    check_refused(test, REDIS_BATCH_REFUSED);
    assert_string_equal(line(test, "DBSIZE"), ":0\r\n");
}

static void test_a_cut_batch_is_refused(void **state)
{
    struct batch_test *test = *state;

    watch(test, "w");
    add(test, "SET a 1");
    run(test);
    size_t size = buffer_size(&test->body);
    for (size_t i = 1; i < size; i++) {
        struct bytes reply = redis_harness_evaluate(
            test->harness, redis_evaluate,
            (struct request){.service = SERVICE_REDIS,
                             .body = bytes_make(buffer_bytes(&test->body).data, i)});
        assert_true(test->harness->refused);
        assert_int_equal(reply.data[0], REDIS_BATCH_REFUSED);
    }
}

/* --- watches -----------------------------------------------------------------------------------
 */

static void test_a_watch_fails_when_the_key_was_written(void **state)
{
    struct batch_test *test = *state;
    static const char *const writes[] = {"SET a 1", "APPEND a 2", "EXPIRE a 100", "PERSIST a",
                                         "DEL a",   "SET a 1",    "FLUSHDB"};

    line(test, "SET a 1");
    for (size_t i = 0; i < ARRAY_COUNT(writes); i++) {
        watch(test, "a");
        line(test, writes[i]);
        add(test, "SET b 1");
        check_refused(test, REDIS_BATCH_WATCH_FAILED);
    }
    assert_string_equal(line(test, "EXISTS b"), ":0\r\n");
    watch(test, "a");
    watch(test, "other");
    line(test, "SET c 1");
    add(test, "SET a 2");
    assert_string_equal(execute(test), "+OK\r\n");
}

static void test_a_write_to_any_field_is_noticed(void **state)
{
    struct batch_test *test = *state;
    static const char *const writes[] = {"HSET h a 1", "HSET h a 1",         "HINCRBY h a 1",
                                         "HDEL h b",   "HINCRBYFLOAT h a 0", "HSETNX h z 1"};

    test->harness->limits.hash_row_fields_max = 1;
    line(test, "HSET h a 1 b 2 c 3");
    for (size_t i = 0; i < ARRAY_COUNT(writes); i++) {
        watch(test, "h");
        line(test, writes[i]);
        check_refused(test, REDIS_BATCH_WATCH_FAILED);
    }
    watch(test, "h");
    line(test, "HDEL h none");
    line(test, "HSETNX h z 1");
    line(test, "HGET h a");
    assert_string_equal(execute(test), "");
}

static void test_a_watched_key_that_expires_fails(void **state)
{
    struct batch_test *test = *state;

    line(test, "SET a 1 PX 1000");
    watch(test, "a");
    test->harness->time += 2000 * 1000;
    check_refused(test, REDIS_BATCH_WATCH_FAILED);
    watch(test, "a"); /* as it is gone now, even if its row is not */
    assert_string_equal(execute(test), "");
    watch(test, "a");
    line(test, "GET a"); /* deletes the row */
    assert_string_equal(execute(test), "");
    watch(test, "a");
    line(test, "SET a 1");
    check_refused(test, REDIS_BATCH_WATCH_FAILED);
}

static void test_an_absent_key_that_came_and_went_is_noticed(void **state)
{
    struct batch_test *test = *state;

    watch(test, "a");
    assert_string_equal(execute(test), "");
    watch(test, "a");
    line(test, "SET a 1");
    line(test, "DEL a");
    check_refused(test, REDIS_BATCH_WATCH_FAILED);
    watch(test, "a");
    assert_string_equal(execute(test), "");
    watch(test, "a");
    line(test, "SET b 1");
    line(test, "FLUSHDB");
    assert_string_equal(execute(test), "");
    watch(test, "a");
    line(test, "SET a 1");
    line(test, "FLUSHDB");
    check_refused(test, REDIS_BATCH_WATCH_FAILED);
}

static void test_a_watch_follows_swapdb(void **state)
{
    struct batch_test *test = *state;

    line(test, "SET a 1");
    watch(test, "a");
    line(test, "SWAPDB 0 1");
    check_refused(test, REDIS_BATCH_WATCH_FAILED);
}

/* --- expectations ------------------------------------------------------------------------------
 */

static void test_what_is_not_as_expected_changes_nothing(void **state)
{
    struct batch_test *test = *state;

    line(test, "SET a 1");
    add(test, "SET b 1");
    expect(test, "GET a", "$1\r\n2\r\n");
    check_refused(test, REDIS_BATCH_UNEXPECTED);
    assert_string_equal(line(test, "EXISTS b"), ":0\r\n");
    add(test, "SET b 1");
    expect(test, "GET a", "$1\r\n1\r\n");
    assert_string_equal(execute(test), "+OK\r\n$1\r\n1\r\n");
}

/* --- several databases, other keys -------------------------------------------------------------
 */

static void test_swapdb_exchanges_and_databases_never_meet(void **state)
{
    struct batch_test *test = *state;
    struct redis_harness *harness = test->harness;

    line(test, "SET a 0");
    harness->database = 1;
    line(test, "SET a 1");
    harness->database = 0;
    assert_string_equal(line(test, "SWAPDB 0 1"), "+OK\r\n");
    assert_string_equal(line(test, "GET a"), "$1\r\n1\r\n");
    /* Each is flushed often: their numbers rise in steps of 16 from 0 and from 1. */
    for (int i = 0; i < 40; i++) {
        char text[64];
        harness->database = (uint8_t)(i % 3);
        line(test, "FLUSHDB");
        snprintf(text, sizeof(text), "SWAPDB %d %d", i % 5, (i * 7) % 4);
        assert_string_equal(line(test, text), "+OK\r\n");
        for (harness->database = 0; harness->database < 5; harness->database++) {
            snprintf(text, sizeof(text), "SET k %d", harness->database);
            line(test, text);
        }
        for (harness->database = 0; harness->database < 5; harness->database++) {
            char expected[64];
            snprintf(expected, sizeof(expected), "$1\r\n%d\r\n", harness->database);
            assert_string_equal(line(test, "GET k"), expected);
        }
    }
    harness->database = 0;
    assert_string_equal(line(test, "SWAPDB x 1"), "-ERR invalid first DB index\r\n");
    assert_string_equal(line(test, "SWAPDB 1 x"), "-ERR invalid second DB index\r\n");
    assert_string_equal(line(test, "SWAPDB 1 16"), "-ERR DB index is out of range\r\n");
}

static void test_swapdb_within_a_batch(void **state)
{
    struct batch_test *test = *state;

    add(test, "SET a 0");
    add(test, "SWAPDB 0 1");
    add(test, "GET a");
    add(test, "SET a 1");
    add(test, "SWAPDB 1 0");
    add(test, "GET a");
    assert_string_equal(execute(test), "+OK\r\n+OK\r\n$-1\r\n+OK\r\n+OK\r\n$1\r\n0\r\n");
}

static void test_rename_takes_value_and_expiry(void **state)
{
    struct batch_test *test = *state;

    assert_string_equal(line(test, "RENAME a b"), "-ERR no such key\r\n");
    line(test, "SET a 1 EX 100");
    line(test, "SET b 2");
    assert_string_equal(line(test, "RENAMENX a b"), ":0\r\n");
    assert_string_equal(line(test, "RENAME a a"), "+OK\r\n");
    assert_string_equal(line(test, "RENAMENX a a"), ":0\r\n");
    assert_string_equal(line(test, "RENAME a b"), "+OK\r\n");
    assert_string_equal(line(test, "TTL b"), ":100\r\n");
    assert_string_equal(line(test, "EXISTS a b"), ":1\r\n");
    assert_string_equal(line(test, "RENAMENX b c"), ":1\r\n");
    assert_string_equal(line(test, "GET c"), "$1\r\n1\r\n");
}

/* {t}1 and {t}2 are of one slot, a and b are not. */
static void test_big_values_are_moved_and_copied(void **state)
{
    struct batch_test *test = *state;
    static const char *const keys[] = {"{t}1", "{t}2", "a", "b"};
    char text[128];

    test->harness->limits.string_row_max = 4;
    test->harness->limits.chunk_size = 16;
    test->harness->limits.hash_row_fields_max = 1;
    line(test, "SET {t}1 abcdefghijklmnopqrstuvwxyz EX 1000");
    line(test, "HSET h f 1 g 2");
    for (size_t i = 0; i + 1 < ARRAY_COUNT(keys); i++) {
        line(test, i % 2 ? "HSET x f 1 g 2" : "SET x 123456789");
        snprintf(text, sizeof(text), "RENAME x %s", keys[i + 1]);
        assert_string_equal(line(test, text), "+OK\r\n");
        snprintf(text, sizeof(text), "RENAME %s %s", keys[i], keys[i + 1]);
        assert_string_equal(line(test, text), "+OK\r\n");
    }
    assert_string_equal(line(test, "GET b"), "$26\r\nabcdefghijklmnopqrstuvwxyz\r\n");
    assert_string_equal(line(test, "TTL b"), ":1000\r\n");
    assert_string_equal(line(test, "COPY h b"), ":0\r\n");
    assert_string_equal(line(test, "COPY h b REPLACE"), ":1\r\n");
    assert_string_equal(line(test, "HSET h f 3"), ":0\r\n");
    assert_string_equal(line(test, "HGET b f"), "$1\r\n1\r\n");
    assert_string_equal(line(test, "COPY h h DB 3"), ":1\r\n");
    assert_string_equal(line(test, "DEL h"), ":1\r\n");
    test->harness->database = 3;
    assert_string_equal(line(test, "HGET h f"), "$1\r\n3\r\n");
    assert_string_equal(line(test, "HLEN h"), ":2\r\n");
}

static void test_a_value_too_big_for_an_entry_stays(void **state)
{
    struct batch_test *test = *state;
    static char value[400 << 10];
    struct bytes words[] = {bytes_of("SET"), bytes_of("a"), bytes_make(value, sizeof(value))};

    memset(value, 'x', sizeof(value));
    redis_harness_run(test->harness, words, 3);
    assert_true(strncmp(line(test, "RENAME a b"), "-ERR the value is too big", 25) == 0);
    assert_string_equal(line(test, "STRLEN a"), ":409600\r\n");
    assert_string_equal(line(test, "EXISTS b"), ":0\r\n");
    add(test, "readvalue a");
    assert_true(strncmp(execute(test), "-ERR the value is too big", 25) == 0);
    words[1] = bytes_of("{a}1");
    redis_harness_run(test->harness, words, 3);
    assert_string_equal(line(test, "RENAME {a}1 {a}2"), "+OK\r\n"); /* of the same slot */
    assert_string_equal(line(test, "STRLEN {a}2"), ":409600\r\n");
}

/* --- the background -----------------------------------------------------------------------------
 */

static bool has_front(struct bytes keys)
{
    struct reader reader = reader_make(keys);

    while (reader_left(&reader)) {
        struct bytes key = read_sized(&reader);
        if (key.data[2] == SERVICE_REDIS && load_u32_be(key.data + 3) == 0xfffffffe) return true;
    }
    return false;
}

/* It will be locked, so that it does not pass what is prepared behind it. */
static void test_a_transaction_reads_the_front_of_what_it_leaves(void **state)
{
    struct batch_test *test = *state;
    static const char *const writes[] = {"SET big x", "SET a 1 EX 100", "SET a 1"};
    struct buffer keys, ranges, counts;

    test->harness->limits.string_row_max = 4;
    line(test, "SET big 123456789");
    test->harness->dry = true;
    for (size_t i = 0; i < ARRAY_COUNT(writes); i++) {
        struct row_reads reads = {.keys = &keys, .ranges = &ranges, .namespaces = &counts};
        buffer_init(&keys, 1 << 16);
        buffer_init(&ranges, 1 << 16);
        buffer_init(&counts, 1 << 16);
        test->harness->reads = &reads;
        add(test, writes[i]);
        assert_string_equal(execute(test), "+OK\r\n");
        assert_true(has_front(buffer_bytes(&keys)) == (i < 2));
        buffer_free(&keys);
        buffer_free(&ranges);
        buffer_free(&counts);
    }
    test->harness->reads = NULL;
    test->harness->dry = false;
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, make, drop)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_each_command_sees_what_those_before_it_wrote),
        TEST(test_errors_are_replies_and_the_rest_is_executed),
        TEST(test_flushing_is_seen_by_what_follows),
        TEST(test_ids_are_made_once_in_a_batch),
        TEST(test_an_expiry_in_a_batch_has_its_reminder),
        TEST(test_what_is_too_big_together_is_refused_as_a_whole),
        TEST(test_nonsense_is_refused_and_changes_nothing),
        TEST(test_a_cut_batch_is_refused),
        TEST(test_a_watch_fails_when_the_key_was_written),
        TEST(test_a_write_to_any_field_is_noticed),
        TEST(test_a_watched_key_that_expires_fails),
        TEST(test_an_absent_key_that_came_and_went_is_noticed),
        TEST(test_a_watch_follows_swapdb),
        TEST(test_what_is_not_as_expected_changes_nothing),
        TEST(test_swapdb_exchanges_and_databases_never_meet),
        TEST(test_swapdb_within_a_batch),
        TEST(test_rename_takes_value_and_expiry),
        TEST(test_big_values_are_moved_and_copied),
        TEST(test_a_value_too_big_for_an_entry_stays),
        TEST(test_a_transaction_reads_the_front_of_what_it_leaves),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
