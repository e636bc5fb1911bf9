/* Goal: the engine in memory, on which every simulation rests, answers like the real one.
 * Method: the same random runs go to both; gets, ranges, iterators held over later runs, and
 * closing and opening again must give equal results. */
#include "engine_fixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <cmocka.h>

#include "base/assert.h"
#include "base/random.h"

enum { KEY_SIZE_MAX = 40, RUN_ROWS_MAX = 120, VALUE_SIZE_MAX = 3000 };

struct pair {
    struct random random;
    char directory[64];
    struct engine_memory_disk *disk;
    struct engine *rocks;
    struct engine *memory;
    unsigned keys; /* how many different ones */
};

static void pair_open(struct pair *pair)
{
    struct error error = {0};
    assert_int_equal(engine_rocksdb_open(NULL, pair->directory, 1 << 20, &pair->rocks, &error),
                     STATUS_OK);
    pair->memory = engine_memory_open(pair->disk);
}

static void pair_close(struct pair *pair)
{
    engine_close(pair->rocks);
    engine_close(pair->memory);
}

static struct bytes key_at(char room[KEY_SIZE_MAX], uint64_t number)
{
    /* Some keys begin others. */
    int size = snprintf(room, KEY_SIZE_MAX, "key%04u%s", (unsigned)(number / 2),
                        number % 2 ? "longer" : "");
    return bytes_make(room, (size_t)size);
}

static void run_add(struct pair *pair, struct engine *engine, struct engine_run *run, uint64_t seed,
                    uint64_t ranges)
{
    struct random random;
    random_seed(&random, seed);
    char from[KEY_SIZE_MAX], to[KEY_SIZE_MAX];
    static uint8_t value[VALUE_SIZE_MAX];
    for (uint64_t i = 0; i < ranges; i++) {
        uint64_t first = random_below(&random, pair->keys);
        uint64_t end = first + 1 + random_below(&random, 50);
        assert_int_equal(
            engine_run_delete_range(engine, run, key_at(from, first), key_at(to, end), NULL),
            STATUS_OK);
    }
    uint64_t number = random_below(&random, 100);
    uint64_t gap = 1 + random_below(&random, 20);
    for (unsigned i = 0; i < RUN_ROWS_MAX && number < pair->keys; i++) {
        enum status status;
        if (random_chance(&random, 1, 4)) {
            status = engine_run_delete(engine, run, key_at(from, number), NULL);
        } else {
            size_t size = random_chance(&random, 1, 50) ? random_below(&random, VALUE_SIZE_MAX)
                                                        : random_below(&random, 60);
            memset(value, (int)random_below(&random, 256), size);
            status =
                engine_run_put(engine, run, key_at(from, number), bytes_make(value, size), NULL);
        }
        assert_int_equal(status, STATUS_OK);
        number += 1 + random_below(&random, gap);
    }
}

static void run_both(struct pair *pair)
{
    uint64_t seed = random_u64(&pair->random);
    uint64_t ranges = random_chance(&pair->random, 1, 10) ? random_below(&pair->random, 3) : 0;
    bool give_up = random_chance(&pair->random, 1, 10);
    struct engine *const engines[] = {pair->rocks, pair->memory};
    for (size_t i = 0; i < ARRAY_COUNT(engines); i++) {
        struct engine_run *run = NULL;
        assert_int_equal(engine_run_open(engines[i], &run, NULL), STATUS_OK);
        run_add(pair, engines[i], run, seed, ranges);
        if (give_up) {
            engine_run_abandon(engines[i], run);
        } else {
            assert_int_equal(engine_run_ingest(engines[i], run, NULL), STATUS_OK);
        }
    }
}

/* Walks both iterators to the end and closes them. */
static uint64_t expect_equal(struct pair *pair, struct engine_iterator *rocks,
                             struct engine_iterator *memory)
{
    struct bytes key[2], value[2];
    uint64_t rows = 0;
    while (engine_iterator_next(pair->rocks, rocks, &key[0], &value[0])) {
        assert_true(engine_iterator_next(pair->memory, memory, &key[1], &value[1]));
        assert_true(bytes_equal(key[0], key[1]));
        assert_true(bytes_equal(value[0], value[1]));
        rows++;
    }
    assert_false(engine_iterator_next(pair->memory, memory, &key[1], &value[1]));
    assert_int_equal(engine_iterator_close(pair->rocks, rocks, NULL), STATUS_OK);
    assert_int_equal(engine_iterator_close(pair->memory, memory, NULL), STATUS_OK);
    return rows;
}

static uint64_t expect_all_equal(struct pair *pair)
{
    struct bytes none = bytes_make(NULL, 0);
    return expect_equal(pair, engine_iterate(pair->rocks, none, none),
                        engine_iterate(pair->memory, none, none));
}

/* Both read the same rows in the same pieces, all of them, and each once. */
static void scrub_both(struct pair *pair, uint64_t rows)
{
    struct engine *engines[2] = {pair->rocks, pair->memory};
    uint64_t piece = 1 + random_below(&pair->random, 4096), bytes[2], pieces = 0;
    struct buffer places[2];
    bool more[2] = {true, true};

    buffer_init(&places[0], 4096);
    buffer_init(&places[1], 4096);
    while (more[0]) {
        for (size_t e = 0; e < ARRAY_COUNT(engines); e++)
            assert_int_equal(engine_scrub(engines[e], &places[e], piece, &bytes[e], &more[e], NULL),
                             STATUS_OK);
        assert_int_equal(bytes[0], bytes[1]);
        assert_int_equal(more[0], more[1]);
        assert_true(bytes_equal(buffer_bytes(&places[0]), buffer_bytes(&places[1])));
        assert_true(bytes[0] >= piece || !more[0]);
        pieces++;
    }
    assert_int_equal(buffer_size(&places[0]), 0);
    assert_true(pieces <= rows + 1);
    buffer_free(&places[0]);
    buffer_free(&places[1]);
}

static void ranges_both(struct pair *pair)
{
    char from[KEY_SIZE_MAX], to[KEY_SIZE_MAX];
    uint64_t first = random_below(&pair->random, pair->keys);
    struct bytes from_key = key_at(from, first);
    struct bytes to_key = key_at(to, first + 1 + random_below(&pair->random, 100));
    struct engine_iterator *rocks = engine_iterate(pair->rocks, from_key, to_key);
    struct engine_iterator *memory = engine_iterate(pair->memory, from_key, to_key);
    if (random_chance(&pair->random, 1, 3)) run_both(pair); /* they see the time before */
    expect_equal(pair, rocks, memory);
}

struct got {
    size_t size;
    uint8_t bytes[VALUE_SIZE_MAX];
};

static void take_value(void *context, struct bytes value)
{
    struct got *got = context;
    got->size = value.size;
    if (value.size) memcpy(got->bytes, value.data, value.size);
}

static void gets_both(struct pair *pair)
{
    static struct got got[2];
    char room[KEY_SIZE_MAX];
    struct bytes key = key_at(room, random_below(&pair->random, pair->keys + 10));
    enum status rocks = engine_get(pair->rocks, key, &got[0], take_value, NULL);
    enum status memory = engine_get(pair->memory, key, &got[1], take_value, NULL);
    assert_int_equal(rocks, memory);
    if (rocks == STATUS_OK)
        assert_true(bytes_equal(bytes_make(got[0].bytes, got[0].size),
                                bytes_make(got[1].bytes, got[1].size)));
}

enum { MULTI_MAX = 150 }; /* more than fit one call to RocksDB */

struct multi {
    bool found[MULTI_MAX];
    struct got got[MULTI_MAX];
};

static void take_one_of_many(void *context, size_t index, struct bytes value)
{
    struct multi *multi = context;
    assert_true(index < MULTI_MAX);
    assert_false(multi->found[index]); /* each at most once */
    multi->found[index] = true;
    take_value(&multi->got[index], value);
}

/* All at once gives what each alone gives, on both. */
static void multi_gets_both(struct pair *pair)
{
    static struct multi multi[2];
    static char rooms[MULTI_MAX][KEY_SIZE_MAX];
    struct bytes keys[MULTI_MAX];
    struct engine *const engines[] = {pair->rocks, pair->memory};
    size_t count = random_below(&pair->random, MULTI_MAX + 1);
    for (size_t i = 0; i < count; i++)
        keys[i] = key_at(rooms[i], random_below(&pair->random, pair->keys + 10));
    for (size_t e = 0; e < ARRAY_COUNT(engines); e++) {
        memset(multi[e].found, 0, sizeof(multi[e].found));
        assert_int_equal(
            engine_multi_get(engines[e], keys, count, &multi[e], take_one_of_many, NULL),
            STATUS_OK);
    }
    for (size_t i = 0; i < count; i++) {
        struct got alone;
        enum status status = engine_get(pair->memory, keys[i], &alone, take_value, NULL);
        assert_int_equal(multi[0].found[i], status == STATUS_OK);
        assert_int_equal(multi[1].found[i], status == STATUS_OK);
        if (status) continue;
        for (size_t e = 0; e < ARRAY_COUNT(engines); e++)
            assert_true(bytes_equal(bytes_make(alone.bytes, alone.size),
                                    bytes_make(multi[e].got[i].bytes, multi[e].got[i].size)));
    }
}

/* An iterator that has walked, over later runs, and begins again: it still sees its moment. */
static void walks_again_both(struct pair *pair)
{
    char from[KEY_SIZE_MAX], to[KEY_SIZE_MAX];
    uint64_t first = random_below(&pair->random, pair->keys);
    struct bytes from_key = key_at(from, first);
    struct bytes to_key = key_at(to, first + 1 + random_below(&pair->random, 100));
    struct engine_iterator *rocks = engine_iterate(pair->rocks, from_key, to_key);
    struct engine_iterator *memory = engine_iterate(pair->memory, from_key, to_key);
    struct bytes key[2], value[2];
    run_both(pair); /* before the first row is read */
    for (uint64_t steps = random_below(&pair->random, 20); steps > 0; steps--) {
        bool more = engine_iterator_next(pair->rocks, rocks, &key[0], &value[0]);
        assert_int_equal(more, engine_iterator_next(pair->memory, memory, &key[1], &value[1]));
        if (more) assert_true(bytes_equal(key[0], key[1]) && bytes_equal(value[0], value[1]));
    }
    run_both(pair);
    struct bytes again = key_at(from, first + random_below(&pair->random, 50));
    engine_iterator_seek(pair->rocks, rocks, again);
    engine_iterator_seek(pair->memory, memory, again);
    expect_equal(pair, rocks, memory);
}

static void differ(uint64_t seed, unsigned keys, unsigned steps)
{
    struct pair pair = {.keys = keys};
    uint64_t rows_max = 0;
    random_seed(&pair.random, seed);
    fixture_directory_make(pair.directory);
    pair.disk = engine_memory_disk_make();
    pair_open(&pair);
    for (unsigned i = 0; i < steps; i++) {
        run_both(&pair);
        for (int j = 0; j < 20; j++)
            gets_both(&pair);
        multi_gets_both(&pair);
        ranges_both(&pair);
        walks_again_both(&pair);
        if (i % 10 == 9) {
            uint64_t rows = expect_all_equal(&pair);
            if (rows > rows_max) rows_max = rows;
            scrub_both(&pair, rows);
        }
        if (random_chance(&pair.random, 1, 15)) {
            pair_close(&pair);
            pair_open(&pair);
        }
    }
    assert_true(rows_max > keys / 10);
    expect_all_equal(&pair);
    pair_close(&pair);
    engine_memory_disk_free(pair.disk);
    fixture_directory_remove(pair.directory);
}

static void test_both_engines_agree(void **state)
{
    differ(1, 100, 60);
    differ(2, 1500, 80);
    differ(3, 4000, 60);
}

static void test_a_failed_ingest_changes_nothing(void **state)
{
    struct engine_memory_disk *disk = engine_memory_disk_make();
    struct engine *engine = engine_memory_open(disk);
    char room[256];
    struct error error = {0};
    assert_int_equal(fixture_run(engine, "put a 1", &error), STATUS_OK);
    engine_memory_disk_fail_next(disk, STATUS_NO_SPACE);
    assert_int_equal(fixture_run(engine, "put a 2;put b 2", &error), STATUS_NO_SPACE);
    assert_string_equal(fixture_get(engine, "a", room), "1");
    assert_null(fixture_get(engine, "b", room));
    assert_int_equal(fixture_run(engine, "put a 2", &error), STATUS_OK);
    assert_string_equal(fixture_get(engine, "a", room), "2");
    assert_int_equal(fixture_run(engine, "put b 1;put a 1", &error), STATUS_INVALID);
    engine_close(engine);
    engine_memory_disk_free(disk);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_both_engines_agree),
        cmocka_unit_test(test_a_failed_ingest_changes_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
