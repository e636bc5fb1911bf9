/* Values that are more than one row: chunks, fields, what is sent ahead, and what becomes of it
 * all. The numbers come from limits.h and from what redis-server says of the same commands. */
#include "redis_harness.h"

#include <stdio.h>

#include "base/assert.h"
#include "base/random.h"
#include "services/redis/parts.h"

enum { STEPS_MAX = 100000 };

static int setup(void **state)
{
    struct redis_harness *h = redis_harness_make();

    h->limits.string_row_max = 64;
    h->limits.chunk_size = 16;
    h->limits.hash_row_fields_max = 4;
    h->limits.hash_row_bytes_max = 200;
    h->limits.stage_from = 128;
    h->limits.stage_bytes = 48;
    h->limits.chore_rows = 7;
    *state = h;
    return 0;
}

static int teardown(void **state)
{
    redis_harness_free(*state);
    return 0;
}

#define RUN(h, line, expected) assert_string_equal(redis_harness_line((h), (line)), (expected))

static struct redis_rows check(struct redis_harness *h)
{
    struct redis_rows rows;

    redis_rows_check(h->table, &rows);
    assert_int_equal(rows.orphans, 0);
    assert_int_equal(rows.twice, 0);
    assert_int_equal(rows.wrong_sizes, 0);
    assert_int_equal(rows.unreminded, 0);
    return rows;
}

/* Steps until nothing is wanted; returns how many. */
static unsigned collect(struct redis_harness *h)
{
    unsigned steps = 1;

    while (redis_harness_chore(h)) {
        check(h);
        assert_true(++steps < STEPS_MAX);
    }
    return steps;
}

static struct bytes pattern(size_t size, uint32_t seed)
{
    uint8_t *bytes = malloc(size + 1);

    for (size_t i = 0; i < size; i++)
        bytes[i] = (uint8_t)('a' + (i * 7 + i / 251 + seed) % 26);
    return bytes_make(bytes, size);
}

static struct bytes run3(struct redis_harness *h, const char *name, const char *key,
                         struct bytes value)
{
    struct bytes arguments[] = {bytes_of(name), bytes_of(key), value};
    return redis_harness_run(h, arguments, 3);
}

static void assert_value(struct redis_harness *h, const char *key, struct bytes expected)
{
    struct bytes arguments[] = {bytes_of("get"), bytes_of(key)};
    struct bytes reply = redis_harness_run(h, arguments, 2);
    struct bytes text;

    assert_true(resp_read_bulk(&reply, &text));
    assert_int_equal(text.size, expected.size);
    assert_memory_equal(text.data, expected.data, expected.size);
}

static void test_a_long_string_is_chunks_beside_a_small_row(void **state)
{
    struct redis_harness *h = *state;
    struct bytes value = pattern(100, 0);

    run3(h, "set", "k", bytes_make(value.data, 64));
    assert_int_equal(check(h).parts, 0);
    run3(h, "set", "k", value);
    struct redis_rows rows = check(h);
    assert_int_equal(rows.parts, 7); /* of 16 bytes */
    assert_int_equal(rows.big_keys, 1);
    assert_value(h, "k", value);
    RUN(h, "strlen k", ":100\r\n");
    RUN(h, "type k", "+string\r\n");
    RUN(h, "dbsize", ":1\r\n");
    RUN(h, "scan 0", "*2\r\n$1\r\n0\r\n*1\r\n$1\r\nk\r\n");
    free((void *)value.data);
}

static void test_ranges_touch_their_chunks_only(void **state)
{
    struct redis_harness *h = *state;
    struct bytes value = pattern(1000, 0);

    run3(h, "set", "k", value);
    RUN(h, "append k xyz", ":1003\r\n");
    assert_int_equal(h->effect_count, 2); /* the last chunk and the key's row */
    RUN(h, "getrange k -3 -1", "$3\r\nxyz\r\n");
    RUN(h, "setrange k 15 ##", ":1003\r\n");
    assert_int_equal(h->effect_count, 3);
    char expected[32];
    snprintf(expected, sizeof(expected), "$4\r\n%c##%c\r\n", value.data[14], value.data[17]);
    RUN(h, "getrange k 14 17", expected);
    RUN(h, "getrange k 2000 3000", "$0\r\n\r\n");
    check(h);
    free((void *)value.data);
}

static void test_far_behind_the_end_nothing_is_written(void **state)
{
    struct redis_harness *h = *state;

    RUN(h, "setrange k 16777215 x", ":16777216\r\n");
    assert_int_equal(h->effect_count, 2);
    RUN(h, "strlen k", ":16777216\r\n");
    RUN(h, "getrange k 16777213 -1", "$3\r\n\0");
    struct bytes arguments[] = {bytes_of("getrange"), bytes_of("k"), bytes_of("16777212"),
                                bytes_of("-1")};
    assert_memory_equal(redis_harness_run(h, arguments, 4).data, "$4\r\n\0\0\0x\r\n", 10);
    RUN(h, "append k y",
        "-ERR string exceeds maximum allowed size (16777216 bytes in this "
        "version of Holon)\r\n");
    check(h);
}

/* Each way in which a key's value goes leaves its parts to the background. */
static void test_whatever_replaces_a_big_value_leaves_no_part_behind(void **state)
{
    static const char *const ways[] = {"set k v",
                                       "set k v ex 100",
                                       "set k v xx get",
                                       "set k v keepttl",
                                       "del k",
                                       "unlink k nothing",
                                       "getdel k",
                                       "getset k v",
                                       "setex k 10 v",
                                       "psetex k 10000 v",
                                       "mset k v",
                                       "pexpire k -1",
                                       "getex k ex 1",
                                       "pexpireat k 1",
                                       "flushdb",
                                       "flushall",
                                       "mset k 1 k 2",
                                       "getex k pxat 100000",
                                       "set k v pxat 1800000000000"};
    struct redis_harness *h = *state;
    struct bytes value = pattern(500, 3);

    for (size_t i = 0; i < ARRAY_COUNT(ways); i++) {
        run3(h, "set", "k", value);
        assert_int_equal(check(h).parts, 32);
        redis_harness_line(h, ways[i]);
        assert_int_equal(h->result, EVALUATE_DONE);
        bool keeps = strncmp(ways[i], "getex k ex", 10) == 0;
        collect(h);
        assert_int_equal(check(h).big_keys, keeps);
        assert_int_equal(check(h).parts, keeps ? 32 : 0);
        assert_int_equal(check(h).garbage, 0);
        redis_harness_line(h, "del k");
        collect(h);
        assert_int_equal(check(h).parts, 0);
    }
    free((void *)value.data);
}

static void test_a_big_value_replaced_by_another_is_whole(void **state)
{
    struct redis_harness *h = *state;
    struct bytes first = pattern(700, 1), second = pattern(300, 2);

    run3(h, "set", "k", first);
    run3(h, "set", "k", second);
    assert_value(h, "k", second);
    assert_int_equal(check(h).garbage, 1);
    collect(h);
    assert_value(h, "k", second);
    assert_int_equal(check(h).parts, 19);
    free((void *)first.data);
    free((void *)second.data);
}

static void test_an_expiry_does_not_touch_the_chunks(void **state)
{
    struct redis_harness *h = *state;
    struct bytes value = pattern(300, 2);

    run3(h, "set", "k", value);
    RUN(h, "expire k 100", ":1\r\n");
    assert_int_equal(h->effect_count, 2); /* row, reminder */
    RUN(h, "persist k", ":1\r\n");
    assert_int_equal(h->effect_count, 1);
    assert_value(h, "k", value);
    check(h);
    free((void *)value.data);
}

static void test_a_long_string_is_no_number(void **state)
{
    struct redis_harness *h = *state;
    struct bytes value = pattern(300, 2);

    run3(h, "set", "k", value);
    RUN(h, "incr k", "-ERR value is not an integer or out of range\r\n");
    RUN(h, "incrbyfloat k 1", "-ERR value is not a valid float\r\n");
    free((void *)value.data);
}

/* --- sent ahead ---------------------------------------------------------------------------- */

static void test_what_is_sent_ahead_is_invisible_until_its_command(void **state)
{
    struct redis_harness *h = *state;
    struct bytes value = pattern(400, 5);

    redis_harness_stage(h, bytes_of("k"), value);
    RUN(h, "exists k", ":0\r\n");
    RUN(h, "dbsize", ":0\r\n");
    struct redis_rows rows = check(h);
    assert_int_equal(rows.staged, 1);
    assert_int_equal(rows.parts, 25);
    free((void *)value.data);
}

static enum evaluate_result final(struct redis_harness *h, const char *name, const char *key,
                                  struct redis_reference reference)
{
    const struct redis_command *command = redis_command_find(&h->commands, bytes_of(name), NULL);
    struct bytes arguments[] = {bytes_of(key), bytes_make(NULL, 0)};
    struct redis_body body = {.flags = REDIS_BODY_REFERENCES,
                              .command = command->id,
                              .arguments = arguments,
                              .count = 2,
                              .reference_count = 1,
                              .references = &reference};

    reference.argument = 2;
    redis_harness_body(h, &body, key_slot(arguments[0]));
    return h->result;
}

static void test_a_command_takes_only_a_whole_value_and_only_once(void **state)
{
    struct redis_harness *h = *state;
    struct bytes value = pattern(400, 5);
    struct redis_reference reference = redis_harness_stage(h, bytes_of("k"), value);
    struct redis_reference longer = reference;

    longer.size++;
    final(h, "set", "k", longer);
    assert_memory_equal(buffer_bytes(&h->reply).data, "-UNAVAILABLE", 12);
    assert_int_equal(h->effect_count, 0);
    final(h, "set", "other", reference); /* of another slot */
    assert_memory_equal(buffer_bytes(&h->reply).data, "-UNAVAILABLE", 12);
    final(h, "set", "k", reference);
    assert_memory_equal(buffer_bytes(&h->reply).data, "+OK", 3);
    assert_value(h, "k", value);
    final(h, "set", "k", reference);
    assert_memory_equal(buffer_bytes(&h->reply).data, "-UNAVAILABLE", 12);
    assert_value(h, "k", value);
    assert_int_equal(check(h).staged, 0);
    free((void *)value.data);
}

static void test_a_command_that_does_not_store_drops_what_came_for_it(void **state)
{
    struct redis_harness *h = *state;
    struct bytes value = pattern(400, 5);

    RUN(h, "set k v", "+OK\r\n");
    struct bytes arguments[] = {bytes_of("set"), bytes_of("k"), value, bytes_of("nx")};
    assert_true(bytes_equal(redis_harness_run(h, arguments, 4), bytes_of("$-1\r\n")));
    assert_int_equal(check(h).garbage, 1);
    collect(h);
    assert_int_equal(check(h).parts, 0);
    struct bytes wrong[] = {bytes_of("set"), bytes_of("k"), value, bytes_of("bad")};
    assert_true(resp_is_error(redis_harness_run(h, wrong, 4)));
    collect(h);
    assert_int_equal(check(h).parts, 0);
    assert_int_equal(check(h).garbage, 0);
    free((void *)value.data);
}

static void test_several_values_are_sent_ahead_of_one_command(void **state)
{
    struct redis_harness *h = *state;
    struct bytes a = pattern(400, 5), b = pattern(333, 6);
    struct bytes arguments[] = {bytes_of("mset"),
                                bytes_of("{t}a"),
                                a,
                                bytes_of("{t}c"),
                                bytes_of("small"),
                                bytes_of("{t}b"),
                                b,
                                bytes_of("{t}b"),
                                a};

    assert_true(bytes_equal(redis_harness_run(h, arguments, 9), bytes_of("+OK\r\n")));
    assert_value(h, "{t}a", a);
    assert_value(h, "{t}b", a); /* the last one counts */
    assert_value(h, "{t}c", bytes_of("small"));
    check(h);
    collect(h);
    assert_int_equal(check(h).parts, 50);
    free((void *)a.data);
    free((void *)b.data);
}

static void test_a_flush_takes_what_was_sent_ahead(void **state)
{
    struct redis_harness *h = *state;
    struct bytes value = pattern(400, 5);

    RUN(h, "set x v", "+OK\r\n");
    struct redis_reference reference = redis_harness_stage(h, bytes_of("k"), value);
    RUN(h, "flushdb", "+OK\r\n");
    final(h, "set", "k", reference);
    assert_memory_equal(buffer_bytes(&h->reply).data, "-UNAVAILABLE", 12);
    collect(h);
    assert_int_equal(check(h).parts, 0);
    free((void *)value.data);
}

/* --- hashes --------------------------------------------------------------------------------- */

static void fill_hash(struct redis_harness *h, unsigned count)
{
    char line[64];

    for (unsigned i = 0; i < count; i++) {
        snprintf(line, sizeof(line), "hset h field%u value%u", i, i);
        RUN(h, line, ":1\r\n");
    }
}

static void test_a_hash_that_grows_has_a_row_for_each_field(void **state)
{
    struct redis_harness *h = *state;

    fill_hash(h, 4);
    assert_int_equal(check(h).parts, 0);
    RUN(h, "hset h field0 again", ":0\r\n");
    RUN(h, "hset h field4 value4", ":1\r\n");
    assert_int_equal(check(h).parts, 5);
    RUN(h, "hget h field0", "$5\r\nagain\r\n");
    RUN(h, "hset h field2 new field9 x", ":1\r\n");
    assert_int_equal(h->effect_count, 3); /* two fields and the key's row */
    RUN(h, "hlen h", ":6\r\n");
    RUN(h, "hmget h field2 nothing field9", "*3\r\n$3\r\nnew\r\n$-1\r\n$1\r\nx\r\n");
    RUN(h, "hexists h field1", ":1\r\n");
    RUN(h, "hstrlen h field1", ":6\r\n");
    RUN(h, "hincrby h n 5", ":5\r\n");
    RUN(h, "hincrby h n -7", ":-2\r\n");
    RUN(h, "hincrbyfloat h n 0.5", "$4\r\n-1.5\r\n");
    RUN(h, "hsetnx h n 1", ":0\r\n");
    RUN(h, "hdel h n n field1", ":2\r\n");
    RUN(h, "hlen h", ":5\r\n");
    RUN(h, "dbsize", ":1\r\n");
    check(h);
    RUN(h, "hdel h field0 field2 field3 field4 field9", ":5\r\n");
    RUN(h, "exists h", ":0\r\n");
    collect(h);
    assert_int_equal(check(h).parts, 0);
}

static void test_a_large_hash_is_deleted_at_once_and_collected_in_steps(void **state)
{
    struct redis_harness *h = *state;

    fill_hash(h, 100);
    RUN(h, "del h", ":1\r\n");
    assert_int_equal(h->effect_count, 2);
    assert_int_equal(check(h).parts, 100);
    fill_hash(h, 10); /* another one under the same key */
    assert_true(collect(h) >= 100 / 7);
    assert_int_equal(check(h).parts, 10);
    RUN(h, "hlen h", ":10\r\n");
    RUN(h, "hget h field3", "$6\r\nvalue3\r\n");
}

/* Rows of the "store" stay in memory of the test: all of h->table as it is now. */
static bool keep_row(void *context, const struct row_found *row)
{
    row_table_load(context, row->key, &row->header, row->value);
    return true;
}

static struct row_table *evict_all(struct redis_harness *h)
{
    struct row_table *store = row_table_make();

    row_table_committed_each(h->table, bytes_make(NULL, 0), store, keep_row);
    row_table_flushed(h->table, h->index);
    while (row_table_clean_bytes(h->table))
        row_table_evict(h->table, UINT64_MAX);
    assert_false(row_table_complete(h->table));
    return store;
}

/* Runs a command as the executor does: what it wants is read from the store, and it runs again.
 * Returns how often rows were read; *ret_rows: how many in all. */
static unsigned run_cold(struct redis_harness *h, const struct row_table *store, const char *line,
                         const char *expected, uint32_t *ret_rows)
{
    unsigned rounds = 0;

    *ret_rows = 0;
    for (;;) {
        const char *reply = redis_harness_line(h, line);
        if (h->result == EVALUATE_DONE) {
            assert_string_equal(reply, expected);
            return rounds;
        }
        assert_int_equal(h->result, EVALUATE_NEED_ROWS);
        assert_true(h->wanted_count > 0);
        rounds++;
        struct reader wanted = reader_make(buffer_bytes(&h->wanted));
        while (reader_left(&wanted) > 0) {
            struct bytes key = read_bytes(&wanted, read_u32(&wanted));
            struct row_found found;
            assert_int_equal(read_u32(&wanted), 0); /* no range */
            if (row_table_get(store, key, &found))
                row_table_load(h->table, key, &found.header, found.value);
            else
                row_table_load_absent(h->table, key);
            ++*ret_rows;
        }
    }
}

static void test_fields_that_are_not_in_memory_are_read_together(void **state)
{
    struct redis_harness *h = *state;
    uint32_t rows;

    RUN(h, "hset h a 1 b 2 c 3 d 4 e 5 f 6", ":6\r\n");
    struct row_table *store = evict_all(h);
    h->engine_index = h->index;
    /* Its key, then all fields: those that are there and those that are not. */
    assert_int_equal(run_cold(h, store, "hset h a 9 b 9 x 9 y 9 z 9", ":3\r\n", &rows), 2);
    assert_int_equal(rows, 1 + 5);
    assert_int_equal(run_cold(h, store, "hmget h a c d q",
                              "*4\r\n$1\r\n9\r\n$1\r\n3\r\n$1\r\n4\r\n$-1\r\n", &rows),
                     1);
    assert_int_equal(rows, 3); /* a is in memory */
    assert_int_equal(run_cold(h, store, "hdel h e f w", ":2\r\n", &rows), 1);
    assert_int_equal(rows, 3);
    RUN(h, "hlen h", ":7\r\n");
    row_table_free(store);
}

/* What no run can hold yet is not looked for in one: rows under an id that an entry made which was
 * not flushed, or that is being made. */
static void test_rows_that_cannot_be_in_the_store_are_not_read(void **state)
{
    struct redis_harness *h = *state;
    uint32_t rows;

    RUN(h, "hset before a 1 b 2 c 3 d 4 e 5", ":5\r\n");
    struct row_table *store = evict_all(h);
    h->engine_index = h->index;
    assert_int_equal(run_cold(h, store, "hset h a 1 b 2 c 3 d 4 e 5 f 6", ":6\r\n", &rows), 1);
    assert_int_equal(rows, 1); /* its key */
    RUN(h, "hset h e 6 g 1 h 2", ":2\r\n");
    RUN(h, "hlen h", ":8\r\n");
    run_cold(h, store,
             "set s "
             "0123456789012345678901234567890123456789012345678901234567890123456789",
             "+OK\r\n", &rows);
    assert_int_equal(rows, 1);
    RUN(h, "append s 0123456789", ":80\r\n");
    /* The one before was flushed. */
    assert_int_equal(run_cold(h, store, "hset before a 1 z 2", ":1\r\n", &rows), 2);
    assert_int_equal(rows, 3);
    row_table_free(store);
}

static void test_a_scan_of_a_large_hash_shows_each_field(void **state)
{
    struct redis_harness *h = *state;
    bool seen[200] = {false};
    char line[64], cursor[32] = "0";
    unsigned steps = 0;

    fill_hash(h, 200);
    do {
        snprintf(line, sizeof(line), "hscan h %s count 9", cursor);
        struct bytes reply = bytes_of(redis_harness_line(h, line));
        struct bytes text;
        uint64_t count;
        assert_true(resp_read_array(&reply, &count) && count == 2);
        assert_true(resp_read_bulk(&reply, &text));
        snprintf(cursor, sizeof(cursor), "%.*s", (int)text.size, (const char *)text.data);
        assert_true(resp_read_array(&reply, &count) && count % 2 == 0);
        for (; count; count -= 2) {
            unsigned field, value;
            assert_true(resp_read_bulk(&reply, &text));
            bool stays = sscanf((const char *)text.data, "field%u", &field) == 1;
            assert_true(resp_read_bulk(&reply, &text));
            if (!stays) continue;
            assert_int_equal(sscanf((const char *)text.data, "value%u", &value), 1);
            assert_int_equal(field, value);
            seen[field] = true;
        }
        /* What comes and goes meanwhile changes nothing for those that stay. */
        if (steps % 2 == 0) redis_harness_line(h, "hset h passing x");
        if (steps % 2 == 1) redis_harness_line(h, "hdel h passing");
        assert_true(++steps < 100);
    } while (strcmp(cursor, "0") != 0);
    for (unsigned i = 0; i < 200; i++)
        assert_true(seen[i]);
    assert_true(steps >= 200 / 10);
}

/* --- expiry --------------------------------------------------------------------------------- */

static void test_keys_end_without_being_read(void **state)
{
    struct redis_harness *h = *state;
    char line[64];

    for (unsigned i = 0; i < 50; i++) {
        snprintf(line, sizeof(line), "set k%u v px %u", i, 1000 + i * 100);
        RUN(h, line, "+OK\r\n");
    }
    RUN(h, "set forever v", "+OK\r\n");
    RUN(h, "set long v ex 1000", "+OK\r\n");
    fill_hash(h, 10);
    RUN(h, "pexpire h 2000", ":1\r\n");
    assert_int_equal(check(h).reminders, 52);
    redis_harness_chore(h);
    assert_int_equal(h->effect_count, 0); /* nothing is due: nothing is written */
    assert_true(h->chore_at > h->time);
    while (h->chore_at != INT64_MAX && h->chore_at < h->time + 10 * INT64_C(1000000)) {
        if (h->chore_at > h->time) h->time = h->chore_at;
        redis_harness_chore(h);
        check(h);
    }
    struct redis_rows rows = check(h);
    assert_int_equal(rows.keys, 2);
    assert_int_equal(rows.reminders, 1);
    assert_int_equal(rows.parts, 0);
}

/* The background has been through the seconds up to now: nothing may be put before them. */
static void test_an_expiry_in_the_past_leaves_nothing(void **state)
{
    struct redis_harness *h = *state;
    struct bytes value = pattern(400, 5);

    RUN(h, "set a v px 1000", "+OK\r\n");
    RUN(h, "set with v", "+OK\r\n");
    h->time += 5 * INT64_C(1000000);
    collect(h);
    assert_int_equal(check(h).reminders, 0);
    RUN(h, "set k v pxat 1", "+OK\r\n");
    RUN(h, "set with v pxat 1 get", "$1\r\nv\r\n");
    RUN(h, "get k", "$-1\r\n");
    RUN(h, "get with", "$-1\r\n");
    RUN(h, "dbsize", ":0\r\n");
    assert_int_equal(check(h).reminders, 0);
    final(h, "set", "k", redis_harness_stage(h, bytes_of("k"), value));
    assert_true(check(h).parts > 0);
    RUN(h, "set k v pxat 1", "+OK\r\n");
    collect(h);
    assert_int_equal(check(h).parts, 0);
    assert_int_equal(check(h).reminders, 0);
    free((void *)value.data);
}

/* RANDOMKEY comes by every key twice. */
static void test_an_expired_value_that_is_met_twice_is_dropped_once(void **state)
{
    struct redis_harness *h = *state;
    struct bytes value = pattern(400, 5);

    for (unsigned i = 0; i < 8; i++) {
        final(h, "set", "k", redis_harness_stage(h, bytes_of("k"), value));
        RUN(h, "pexpire k 1", ":1\r\n");
        h->time += 10 * 1000;
        RUN(h, "randomkey", "$-1\r\n");
        assert_int_equal(check(h).garbage, 1);
        collect(h);
    }
    free((void *)value.data);
}

static void test_a_key_that_is_refreshed_has_one_reminder(void **state)
{
    struct redis_harness *h = *state;

    for (unsigned i = 0; i < 100; i++) {
        h->time += 1500000;
        redis_harness_line(h, i % 2 ? "set k v ex 100" : "expire k 100");
        check(h);
    }
    assert_true(check(h).reminders <= 2);
    h->time += 99 * INT64_C(1000000);
    collect(h);
    RUN(h, "get k", "$1\r\nv\r\n"); /* its first reminder came, and was put off */
    assert_true(check(h).reminders <= 1);
    h->time += 3 * INT64_C(1000000);
    collect(h);
    assert_int_equal(check(h).keys, 0);
    assert_int_equal(check(h).reminders, 0);
}

static void test_an_earlier_expiry_comes_in_time(void **state)
{
    struct redis_harness *h = *state;

    RUN(h, "set k v ex 1000", "+OK\r\n");
    RUN(h, "expire k 10", ":1\r\n");
    h->time += 12 * INT64_C(1000000);
    collect(h);
    assert_int_equal(check(h).keys, 0);
}

/* --- at random: nothing is ever lost or left ------------------------------------------------- */

static void random_command(struct redis_harness *h, struct random *random)
{
    static const char *const lines[] = {"del {t}%u",
                                        "getdel {t}%u",
                                        "expire {t}%u 3",
                                        "pexpire {t}%u 1500",
                                        "persist {t}%u",
                                        "set {t}%u small",
                                        "append {t}%u 0123456789012345678901234567",
                                        "setrange {t}%u 90 x",
                                        "set {t}%u v px 900",
                                        "hset {t}%u a 1 b 2 c 3 d 4 e 5",
                                        "hdel {t}%u a b c d",
                                        "hset {t}%u b 1",
                                        "getex {t}%u px 2000",
                                        "setrange {t}%u 0 abc",
                                        "hdel {t}%u a b c d e"};
    char line[128];
    uint64_t which = random_below(random, ARRAY_COUNT(lines) + 8);
    unsigned key = (unsigned)random_below(random, 6);
    size_t size = (size_t)random_below(random, 400);
    struct bytes value = pattern(size, key);

    if (which < ARRAY_COUNT(lines)) {
        snprintf(line, sizeof(line), lines[which], key);
        redis_harness_line(h, line);
    } else if (which < ARRAY_COUNT(lines) + 5) {
        snprintf(line, sizeof(line), "{t}%u", key);
        run3(h, which % 2 ? "set" : "getset", line, value);
    } else if (which < ARRAY_COUNT(lines) + 6) {
        snprintf(line, sizeof(line), "{t}%u", key);
        if (size) redis_harness_stage(h, bytes_of(line), value); /* its command never comes */
    } else {
        redis_harness_chore(h);
    }
    if (random_chance(random, 1, 300)) redis_harness_line(h, "flushdb");
    free((void *)value.data);
}

static void test_after_any_commands_nothing_is_left_behind(void **state)
{
    struct redis_harness *h = *state;
    struct random random;

    random_seed(&random, 7);
    for (unsigned i = 0; i < 4000; i++) {
        random_command(h, &random);
        assert_int_equal(h->result, EVALUATE_DONE);
        if (i % 16 == 0) check(h);
        h->time += (int64_t)random_below(&random, 300000);
    }
    redis_harness_line(h, "flushall");
    do {
        collect(h);
        if (h->chore_at != INT64_MAX) h->time = h->chore_at; /* values that were sent ahead wait */
    } while (h->chore_at != INT64_MAX);
    struct redis_rows rows = check(h);
    assert_int_equal(rows.keys, 0);
    assert_int_equal(rows.parts, 0);
    assert_int_equal(rows.garbage, 0);
    assert_int_equal(rows.reminders, 0);
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_a_long_string_is_chunks_beside_a_small_row),
        TEST(test_ranges_touch_their_chunks_only),
        TEST(test_far_behind_the_end_nothing_is_written),
        TEST(test_whatever_replaces_a_big_value_leaves_no_part_behind),
        TEST(test_a_big_value_replaced_by_another_is_whole),
        TEST(test_an_expiry_does_not_touch_the_chunks),
        TEST(test_a_long_string_is_no_number),
        TEST(test_what_is_sent_ahead_is_invisible_until_its_command),
        TEST(test_a_command_takes_only_a_whole_value_and_only_once),
        TEST(test_a_command_that_does_not_store_drops_what_came_for_it),
        TEST(test_several_values_are_sent_ahead_of_one_command),
        TEST(test_a_flush_takes_what_was_sent_ahead),
        TEST(test_a_hash_that_grows_has_a_row_for_each_field),
        TEST(test_a_large_hash_is_deleted_at_once_and_collected_in_steps),
        TEST(test_fields_that_are_not_in_memory_are_read_together),
        TEST(test_rows_that_cannot_be_in_the_store_are_not_read),
        TEST(test_a_scan_of_a_large_hash_shows_each_field),
        TEST(test_keys_end_without_being_read),
        TEST(test_an_expiry_in_the_past_leaves_nothing),
        TEST(test_an_expired_value_that_is_met_twice_is_dropped_once),
        TEST(test_a_key_that_is_refreshed_has_one_reminder),
        TEST(test_an_earlier_expiry_comes_in_time),
        TEST(test_after_any_commands_nothing_is_left_behind),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
