/* What the differential test cannot show: time, effects, cursors, limits, namespaces. */
#include "redis_harness.h"

#include <stdio.h>

#include "base/assert.h"
#include "services/redis/glob.h"
#include "services/redis/scan.h"

#define RUN(harness, line, expected)                                                               \
    assert_string_equal(redis_harness_line(harness, line), expected)

static int make(void **state)
{
    *state = redis_harness_make();
    return 0;
}

static int drop(void **state)
{
    redis_harness_free(*state);
    return 0;
}

static void pass_ms(struct redis_harness *harness, int64_t ms)
{
    harness->time += ms * 1000;
}

static void test_an_expired_key_is_absent_and_deleted_by_who_meets_it(void **state)
{
    struct redis_harness *h = *state;

    RUN(h, "set k v px 100", "+OK\r\n");
    pass_ms(h, 100);
    RUN(h, "get k", "$1\r\nv\r\n"); /* at its last millisecond it is there */
    assert_int_equal(h->effect_count, 0);
    pass_ms(h, 1);
    RUN(h, "get k", "$-1\r\n");
    assert_int_equal(h->effect_count, 1);
    RUN(h, "get k", "$-1\r\n"); /* gone for good */
    assert_int_equal(h->effect_count, 0);
    RUN(h, "dbsize", ":0\r\n");
}

static void test_a_write_over_an_expired_key_starts_anew(void **state)
{
    struct redis_harness *h = *state;

    RUN(h, "set n 41 px 10", "+OK\r\n");
    RUN(h, "hset h f v", ":1\r\n");
    RUN(h, "pexpire h 10", ":1\r\n");
    pass_ms(h, 11);
    RUN(h, "incr n", ":1\r\n");
    RUN(h, "ttl n", ":-1\r\n");
    RUN(h, "hset h g v", ":1\r\n");
    RUN(h, "hgetall h", "*2\r\n$1\r\ng\r\n$1\r\nv\r\n");
    RUN(h, "set n 5 nx", "$-1\r\n");
}

static void test_what_changes_nothing_has_no_effects(void **state)
{
    static const char *const lines[] = {
        "get k",         "set k v2 nx", "del absent", "persist k",       "expire absent 5",
        "expire k 5 xx", "hdel h x",    "getex k",    "setrange k 0 ''", "hsetnx h f 1",
        "msetnx k 1",    "setnx k 1",   "exists k k", "incr k"};
    struct redis_harness *h = *state;

    RUN(h, "set k v", "+OK\r\n");
    RUN(h, "hset h f v", ":1\r\n");
    for (size_t i = 0; i < ARRAY_COUNT(lines); i++) {
        redis_harness_line(h, lines[i]);
        if (h->effect_count) fail_msg("%s has effects", lines[i]);
    }
    RUN(h, "flushdb", "+OK\r\n");
    RUN(h, "flushdb", "+OK\r\n"); /* empty already */
    assert_int_equal(h->effect_count, 0);
}

static void test_a_refused_write_has_no_effects(void **state)
{
    struct redis_harness *h = *state;
    struct bytes big = bytes_make(calloc(1, 300 << 10), 300 << 10);
    struct bytes field = bytes_make(big.data, (256 << 10) + 1);
    struct bytes fits = bytes_make(big.data, 256 << 10);
    struct bytes long_key = bytes_make(big.data, (64 << 10) + 1);
    struct bytes refused[][4] = {
        {bytes_of("append"), bytes_of("k"), big},
        {bytes_of("set"), long_key, bytes_of("v")},
        {bytes_of("hset"), bytes_of("h"), bytes_of("f"), field},
        {bytes_of("hset"), bytes_of("h"), long_key, bytes_of("v")},
        {bytes_of("hsetnx"), bytes_of("h"), bytes_of("f"), field},
        {bytes_of("setrange"), bytes_of("k"), bytes_of("16777216"), bytes_of("x")},
        {bytes_of("setrange"), bytes_of("k"), bytes_of("9223372036854775807"), bytes_of("x")},
    };
    static const uint32_t counts[] = {3, 3, 4, 4, 4, 4, 4};

    RUN(h, "set k v", "+OK\r\n");
    for (size_t i = 0; i < ARRAY_COUNT(counts); i++) {
        struct bytes reply = redis_harness_run(h, refused[i], counts[i]);
        assert_true(resp_is_error(reply));
        assert_int_equal(h->effect_count, 0);
    }
    RUN(h, "get k", "$1\r\nv\r\n");
    struct bytes most[] = {bytes_of("set"), bytes_of("k"), fits};
    assert_true(bytes_equal(redis_harness_run(h, most, 3), bytes_of("+OK\r\n")));
    struct bytes long_read[] = {bytes_of("get"), long_key};
    assert_true(bytes_equal(redis_harness_run(h, long_read, 2), bytes_of("$-1\r\n")));
    free((void *)big.data);
}

static void test_databases_are_apart_and_flushed_apart(void **state)
{
    struct redis_harness *h = *state;

    RUN(h, "set k 0", "+OK\r\n");
    h->database = 1;
    RUN(h, "get k", "$-1\r\n");
    RUN(h, "set k 1", "+OK\r\n");
    RUN(h, "flushdb async", "+OK\r\n");
    RUN(h, "get k", "$-1\r\n");
    RUN(h, "set k 2", "+OK\r\n"); /* under its new namespace */
    RUN(h, "dbsize", ":1\r\n");
    h->database = 0;
    RUN(h, "get k", "$1\r\n0\r\n");
    RUN(h, "flushall", "+OK\r\n");
    RUN(h, "dbsize", ":0\r\n");
    h->database = 1;
    RUN(h, "get k", "$-1\r\n");
    RUN(h, "flushdb sometimes", "-ERR syntax error\r\n");
}

static void test_resp3_replies(void **state)
{
    struct redis_harness *h = *state;

    RUN(h, "hset h f v", ":1\r\n");
    h->resp3 = true;
    RUN(h, "get k", "_\r\n");
    RUN(h, "hgetall h", "%1\r\n$1\r\nf\r\n$1\r\nv\r\n");
    RUN(h, "mget k h", "*2\r\n_\r\n_\r\n");
}

/* --- SCAN ------------------------------------------------------------------------------------ */

struct scanned {
    uint32_t keys, calls;
    bool seen[2000];
};

/* Scans from 0 to 0; `change` is run between the calls. */
static void scan_all(struct redis_harness *h, const char *options, struct scanned *ret_scanned,
                     void (*change)(struct redis_harness *h, uint32_t call))
{
    char cursor[32] = "0";

    *ret_scanned = (struct scanned){0};
    do {
        char line[128];
        uint64_t two, count;
        struct bytes text;
        snprintf(line, sizeof(line), "scan %s %s", cursor, options);
        struct bytes reply = bytes_of(redis_harness_line(h, line));
        assert_true(resp_read_array(&reply, &two) && two == 2);
        assert_true(resp_read_bulk(&reply, &text));
        snprintf(cursor, sizeof(cursor), "%.*s", (int)text.size, (const char *)text.data);
        assert_true(resp_read_array(&reply, &count));
        for (; count; count--) {
            assert_true(resp_read_bulk(&reply, &text));
            char key[16];
            snprintf(key, sizeof(key), "%.*s", (int)text.size, (const char *)text.data);
            unsigned number = (unsigned)atoi(key + 1);
            if (key[0] != 'k') continue;
            assert_true(number < ARRAY_COUNT(ret_scanned->seen));
            assert_false(ret_scanned->seen[number]); /* never twice */
            ret_scanned->seen[number] = true;
            ret_scanned->keys++;
        }
        ret_scanned->calls++;
        if (change) change(h, ret_scanned->calls);
    } while (strcmp(cursor, "0") != 0);
}

static void fill(struct redis_harness *h, unsigned count)
{
    char line[64];

    for (unsigned i = 0; i < count; i++) {
        snprintf(line, sizeof(line), i % 10 ? "set k%u v" : "hset k%u f v", i);
        redis_harness_line(h, line);
    }
}

static void add_and_remove_others(struct redis_harness *h, uint32_t call)
{
    char line[64];

    snprintf(line, sizeof(line), "set other%u v", call);
    redis_harness_line(h, line);
    snprintf(line, sizeof(line), "del other%u", call - 1);
    redis_harness_line(h, line);
}

static void test_a_scan_returns_each_key_that_is_there_all_the_time(void **state)
{
    struct redis_harness *h = *state;
    struct scanned scanned;

    fill(h, 1000);
    scan_all(h, "", &scanned, add_and_remove_others);
    assert_int_equal(scanned.keys, 1000);
    assert_in_range(scanned.calls, 90, 110); /* 10 at a time */
    scan_all(h, "count 5000", &scanned, NULL);
    assert_int_equal(scanned.keys, 1000);
    assert_int_equal(scanned.calls, 1);
    scan_all(h, "count 100 type hash", &scanned, NULL);
    assert_int_equal(scanned.keys, 100);
    scan_all(h, "match k99? count 100", &scanned, NULL);
    assert_int_equal(scanned.keys, 10);
    scan_all(h, "type zset", &scanned, NULL);
    assert_int_equal(scanned.keys, 0);
}

static void test_a_scan_sees_only_its_database(void **state)
{
    struct redis_harness *h = *state;
    struct scanned scanned;

    fill(h, 300);
    h->database = 3;
    fill(h, 20);
    scan_all(h, "count 7", &scanned, NULL);
    assert_int_equal(scanned.keys, 20);
    h->database = 0;
    scan_all(h, "count 7", &scanned, NULL);
    assert_int_equal(scanned.keys, 300);
}

static void test_a_scan_passes_expired_keys_over_and_deletes_them(void **state)
{
    struct redis_harness *h = *state;
    struct scanned scanned;

    fill(h, 50);
    redis_harness_line(h, "pexpire k7 10");
    redis_harness_line(h, "pexpire k8 10");
    pass_ms(h, 20);
    RUN(h, "dbsize", ":50\r\n"); /* not met yet */
    scan_all(h, "count 100", &scanned, NULL);
    assert_int_equal(scanned.keys, 48);
    RUN(h, "dbsize", ":48\r\n");
}

/* Partitions continue each other: the cursor that ends one is in the next. */
static void test_a_cursor_leads_into_the_next_partition(void **state)
{
    struct redis_harness *h = *state;
    struct redis_cursor cursor;
    uint64_t two;
    struct bytes text = {0};

    h->slot_first = 100;
    h->slot_last = 199;
    struct bytes reply = bytes_of(redis_harness_line(h, "scan 0"));
    assert_true(resp_read_array(&reply, &two) && resp_read_bulk(&reply, &text));
    assert_true(redis_cursor_parse(text, &cursor));
    assert_int_equal(cursor.slot, 200);
    assert_int_equal(cursor.hash, 0);
    h->slot_first = 200;
    h->slot_last = SLOT_COUNT - 1;
    RUN(h, "scan 56294995342131200", "*2\r\n$1\r\n0\r\n*0\r\n"); /* 200 << 48 */
}

static void test_wrong_cursors_and_options_are_refused(void **state)
{
    struct redis_harness *h = *state;

    RUN(h, "scan x", "-ERR invalid cursor\r\n");
    RUN(h, "scan -", "-ERR invalid cursor\r\n");
    RUN(h, "scan -1", "*2\r\n$1\r\n0\r\n*0\r\n"); /* as strtoul() has it: behind everything */
    RUN(h, "scan 0 count 0", "-ERR syntax error\r\n");
    RUN(h, "scan 0 count x", "-ERR value is not an integer or out of range\r\n");
    RUN(h, "scan 0 match", "-ERR syntax error\r\n");
    RUN(h, "scan 0 bad 1", "-ERR syntax error\r\n");
}

static void test_a_random_key_is_a_key(void **state)
{
    struct redis_harness *h = *state;
    bool seen[3] = {false};

    RUN(h, "randomkey", "$-1\r\n");
    fill(h, 3);
    for (int i = 0; i < 100; i++) {
        struct bytes reply = bytes_of(redis_harness_line(h, "randomkey")), text;
        assert_true(resp_read_bulk(&reply, &text));
        assert_int_equal(text.size, 2);
        seen[text.data[1] - '0'] = true;
        h->index++; /* the seed */
    }
    assert_true(seen[0] && seen[1] && seen[2]);
    redis_harness_line(h, "pexpire k0 1");
    redis_harness_line(h, "pexpire k1 1");
    redis_harness_line(h, "pexpire k2 1");
    pass_ms(h, 10);
    RUN(h, "randomkey", "$-1\r\n");
}

/* --- requests from other nodes --------------------------------------------------------------- */

static void test_a_key_of_another_partition_is_refused(void **state)
{
    struct redis_harness *h = *state;

    h->slot_first = 0;
    h->slot_last = 10; /* "k" is in slot 7629 */
    assert_true(resp_is_error(bytes_of(redis_harness_line(h, "set k v"))) ||
                h->result != EVALUATE_DONE);
    assert_true(resp_is_error(bytes_of(redis_harness_line(h, "get k"))));
    assert_int_equal(row_table_rows(h->table), 0);
}

static enum evaluate_result evaluate_raw(struct redis_harness *h, struct bytes body)
{
    struct row_context rows = {.slot_last = SLOT_COUNT - 1};
    struct reply reply = {.buffer = &h->reply};
    struct request request = {.service = SERVICE_REDIS, .body = body};

    buffer_clear(&h->reply);
    buffer_clear(&h->effects);
    arena_reset(&h->arena);
    row_context_begin(&rows, h->table, &h->arena, &h->effects, 0, h->time, 1);
    enum evaluate_result result = redis_evaluate(&rows, &request, &reply);
    assert_int_equal(rows.effect_count, 0);
    row_context_end(&rows);
    return result;
}

static void test_bodies_that_make_no_sense_are_errors(void **state)
{
    static const struct {
        const char *bytes;
        size_t size;
    } bodies[] = {
        {"", 0},
        {"\x01", 1},
        {"\x03\0\0\x01\0\x01\x01k", 8},        /* another format */
        {"\x01\0\x10\x01\0\x01\x01k", 8},      /* database 16 */
        {"\x01\0\0\xff\x0f\x01\x01k", 8},      /* no such command */
        {"\x01\0\0\xc8\0\x00", 6},             /* a local one */
        {"\x01\0\0\x01\0\x00", 6},             /* GET without key */
        {"\x01\0\0\x01\0\x01\x05k", 8},        /* argument cut off */
        {"\x01\0\0\x01\0\x01\x01kx", 9},       /* more behind it */
        {"\x01\0\0\x01\0\xff\xff\xff\x7f", 9}, /* huge count */
    };
    struct redis_harness *h = *state;

    for (size_t i = 0; i < ARRAY_COUNT(bodies); i++) {
        assert_int_equal(evaluate_raw(h, bytes_make(bodies[i].bytes, bodies[i].size)),
                         EVALUATE_DONE);
        assert_true(resp_is_error(buffer_bytes(&h->reply)));
    }
    assert_int_equal(evaluate_raw(h, bytes_make("\x01\0\0\x01\0\x01\x01k", 8)), EVALUATE_DONE);
    assert_true(bytes_equal(buffer_bytes(&h->reply), bytes_of("$-1\r\n")));
}

/* --- tables ---------------------------------------------------------------------------------- */

static void test_commands_are_found_in_any_case(void **state)
{
    struct redis_command_index index;
    bool unsupported;

    redis_command_index_build(&index);
    assert_int_equal(redis_command_find(&index, bytes_of("GET"), NULL)->id, REDIS_GET);
    assert_int_equal(redis_command_find(&index, bytes_of("gEt"), NULL)->id, REDIS_GET);
    assert_null(redis_command_find(&index, bytes_of("GETS"), &unsupported));
    assert_false(unsupported);
    assert_null(redis_command_find(&index, bytes_of("ZaDD"), &unsupported));
    assert_true(unsupported);
    assert_null(redis_command_find(&index, bytes_make("get\0", 4), &unsupported));
    assert_null(redis_command_find(&index, bytes_of(""), &unsupported));
    for (uint32_t id = 0; id < REDIS_COMMAND_ID_END; id++) {
        const struct redis_command *command = redis_command_by_id(id);
        if (command == NULL) continue;
        bool hidden = command->flags & REDIS_HIDDEN;
        assert_ptr_equal(redis_command_find(&index, bytes_of(command->name), NULL),
                         hidden ? NULL : command);
        assert_true(command->arity != 0);
        bool writes = command->flags & REDIS_WRITES, reads = command->flags & REDIS_READS;
        assert_false(writes && reads);
        assert_true(command->evaluate == NULL || writes != reads || id == REDIS_WATCH);
    }
}

static void test_keys_of_commands(void **state)
{
    const struct redis_command *mset = redis_command_by_id(REDIS_MSET);
    const struct redis_command *del = redis_command_by_id(REDIS_DEL);
    const struct redis_command *get = redis_command_by_id(REDIS_GET);

    assert_int_equal(redis_key_count(mset, 5), 2);
    assert_int_equal(redis_key_count(mset, 4), 2); /* odd: refused when evaluated */
    assert_int_equal(redis_key_count(del, 4), 3);
    assert_int_equal(redis_key_count(get, 2), 1);
    assert_int_equal(redis_key_count(redis_command_by_id(REDIS_DBSIZE), 1), 0);
}

static void test_patterns(void **state)
{
    static const struct {
        const char *pattern, *text;
        bool matches;
    } cases[] = {
        {"*", "", true},          {"", "", true},
        {"", "a", false},         {"a*c", "abbc", true},
        {"a*c", "abbd", false},   {"*a*b*", "xaxbx", true},
        {"?", "a", true},         {"?", "", false},
        {"[abc]", "b", true},     {"[^abc]", "b", false},
        {"[a-c]x", "bx", true},   {"[c-a]x", "bx", true},
        {"\\*", "*", true},       {"\\*", "a", false},
        {"a\\", "a\\", true},     {"[a", "a", true},
        {"[\\]]", "]", true},     {"***a", "bba", true},
        {"h?llo", "hello", true}, {"h[^e]llo", "hello", false},
    };

    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        if (glob_matches(bytes_of(cases[i].pattern), bytes_of(cases[i].text)) != cases[i].matches)
            fail_msg("%s on %s", cases[i].pattern, cases[i].text);
    }
}

/* Stars make no pattern exponential. */
static void test_a_nasty_pattern_ends(void **state)
{
    char text[20001], pattern[601];

    memset(text, 'a', sizeof(text) - 1);
    text[sizeof(text) - 1] = 0;
    for (size_t i = 0; i + 2 < sizeof(pattern); i += 2)
        memcpy(pattern + i, "a*", 2);
    pattern[sizeof(pattern) - 1] = 'b';
    assert_false(glob_matches(bytes_make(pattern, sizeof(pattern)), bytes_of(text)));
}

/* [keys, expiring keys] of a database, as INFO's Keyspace is made of. */
static void check_keyspace(struct redis_harness *h, unsigned database, int64_t keys,
                           int64_t expires)
{
    struct redis_body body = {.command = REDIS_KEYSPACE};
    struct bytes reply = redis_harness_body(h, &body, 0);
    uint64_t count;
    int64_t numbers[2 * REDIS_DATABASES];

    assert_int_equal(h->result, EVALUATE_DONE);
    assert_int_equal(h->effect_count, 0);
    assert_true(resp_read_array(&reply, &count));
    assert_int_equal(count, 2 * REDIS_DATABASES);
    for (size_t i = 0; i < count; i++)
        assert_true(resp_read_integer(&reply, &numbers[i]));
    assert_int_equal(reply.size, 0);
    assert_int_equal(numbers[2 * (size_t)database], keys);
    assert_int_equal(numbers[2 * (size_t)database + 1], expires);
}

static void test_keyspace_counts_keys_and_those_that_expire(void **state)
{
    struct redis_harness *h = *state;

    check_keyspace(h, 0, 0, 0);
    RUN(h, "mset a 1 b 2 c 3", "+OK\r\n");
    RUN(h, "set d 4 ex 100", "+OK\r\n");
    RUN(h, "hset e f v", ":1\r\n");
    h->database = 15;
    RUN(h, "set x 1 ex 10", "+OK\r\n");
    h->database = 0;
    check_keyspace(h, 0, 5, 1);
    check_keyspace(h, 15, 1, 1);
    RUN(h, "flushdb", "+OK\r\n");
    check_keyspace(h, 0, 0, 0);
    RUN(h, "set d 4 ex 100", "+OK\r\n");
    check_keyspace(h, 0, 1, 1);
    RUN(h, "del d", ":1\r\n");
    check_keyspace(h, 0, 0, 0); /* its reminder is still there, and no key */
    check_keyspace(h, 15, 1, 1);
}

/* [cursor, number of keys or keys] of a slot; *ret_next is the cursor. */
static int64_t scan_slot(struct redis_harness *h, uint64_t cursor, const char *count,
                         uint64_t *ret_next)
{
    char text[24];
    struct bytes arguments[2], next = {0};
    struct redis_cursor place;
    uint64_t size;
    int64_t number;

    snprintf(text, sizeof(text), "%llu", (unsigned long long)cursor);
    arguments[0] = bytes_of(text);
    arguments[1] = bytes_of(count);
    struct redis_body body = {.command = REDIS_SLOTSCAN, .arguments = arguments, .count = 2};
    struct bytes reply = redis_harness_body(h, &body, (uint16_t)(cursor >> 48));
    assert_int_equal(h->result, EVALUATE_DONE);
    if (resp_is_error(reply)) return -1;
    assert_true(resp_read_array(&reply, &size) && size == 2 && resp_read_bulk(&reply, &next));
    assert_true(redis_cursor_parse(next, &place));
    *ret_next = redis_cursor_value(place);
    if (strcmp(count, "0") == 0) {
        assert_true(resp_read_integer(&reply, &number));
        return number;
    }
    assert_true(resp_read_array(&reply, &size));
    for (uint64_t i = 0; i < size; i++)
        assert_true(resp_read_bulk(&reply, &next));
    assert_int_equal(reply.size, 0);
    return (int64_t)size;
}

static void test_keys_of_a_slot_are_counted_and_listed_in_pages(void **state)
{
    struct redis_harness *h = *state;
    const uint64_t slot = (uint64_t)key_slot(bytes_of("one")) << 48;
    uint64_t next = slot;
    int64_t found = 0;

    for (int i = 0; i < 50; i++) {
        char line[64];
        snprintf(line, sizeof(line), "set {one}%d v%s", i, i < 7 ? " ex 10" : "");
        RUN(h, line, "+OK\r\n");
        snprintf(line, sizeof(line), "set other%d v", i); /* of slots before and behind it */
        RUN(h, line, "+OK\r\n");
    }
    h->database = 3;
    RUN(h, "set {one}elsewhere v", "+OK\r\n");
    h->database = 0;
    assert_int_equal(scan_slot(h, slot, "0", &next), 50);
    assert_int_equal(next, 0);
    next = slot;
    for (int page = 0; page < 50 && (page == 0 || next); page++) {
        int64_t keys = scan_slot(h, next, "8", &next);
        assert_true(keys > 0 && keys <= 8);
        found += keys;
    }
    assert_int_equal(found, 50);
    assert_int_equal(next, 0);
    h->time += 11 * INT64_C(1000000);
    assert_int_equal(scan_slot(h, slot, "0", &next), 43); /* not those that expired */
    h->slot_last = (uint16_t)((slot >> 48) - 1);
    assert_int_equal(scan_slot(h, slot, "0", &next), -1); /* of another partition */
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, make, drop)
    const struct CMUnitTest tests[] = {
        TEST(test_keyspace_counts_keys_and_those_that_expire),
        TEST(test_keys_of_a_slot_are_counted_and_listed_in_pages),
        TEST(test_an_expired_key_is_absent_and_deleted_by_who_meets_it),
        TEST(test_a_write_over_an_expired_key_starts_anew),
        TEST(test_what_changes_nothing_has_no_effects),
        TEST(test_a_refused_write_has_no_effects),
        TEST(test_databases_are_apart_and_flushed_apart),
        TEST(test_resp3_replies),
        TEST(test_a_scan_returns_each_key_that_is_there_all_the_time),
        TEST(test_a_scan_sees_only_its_database),
        TEST(test_a_scan_passes_expired_keys_over_and_deletes_them),
        TEST(test_a_cursor_leads_into_the_next_partition),
        TEST(test_wrong_cursors_and_options_are_refused),
        TEST(test_a_random_key_is_a_key),
        TEST(test_a_key_of_another_partition_is_refused),
        TEST(test_bodies_that_make_no_sense_are_errors),
        TEST(test_commands_are_found_in_any_case),
        TEST(test_keys_of_commands),
        TEST(test_patterns),
        TEST(test_a_nasty_pattern_ends),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
