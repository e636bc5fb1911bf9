/* delete_range - why rows reach RocksDB only as sorted runs, and why range deletions are for
 * whole partitions (docs of the engine; 24-byte keys, 40-byte values):
 *
 *   put            rocksdb_put() into the memtable, random keys, no WAL
 *   sorted run     the same rows through engine_run_put() and engine_run_ingest()
 *   get            random gets after range deletions were put into the memtable one by one
 *   pair           one range deletion and one get, in turns
 *   range in runs  gets after as many range deletions came in ingested runs
 *
 *   bench-delete_range [ROWS] */
#include <rocksdb/c.h>

#include <dirent.h>
#include <sys/stat.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/codec.h"
#include "base/hash.h"
#include "base/random.h"
#include "storage/engine/engine.h"

enum { KEY_SIZE = 24, VALUE_SIZE = 40, GETS = 20000, RANGES = 2000, PAIRS = 500, RUN_RANGES = 50 };

static double now_us(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec * 1e6 + (double)time.tv_nsec / 1e3;
}

static void report(const char *what, double began, uint64_t count)
{
    printf("%-44s %9.2f us each\n", what, (now_us() - began) / (double)count);
}

static void remove_directory(const char *path)
{
    DIR *entries = opendir(path);
    if (entries == NULL) return;
    for (struct dirent *entry = readdir(entries); entry; entry = readdir(entries))
        if (entry->d_name[0] != '.') unlinkat(dirfd(entries), entry->d_name, 0);
    closedir(entries);
    rmdir(path);
}

static struct bytes key_at(uint8_t room[KEY_SIZE], uint64_t number)
{
    memset(room, 'k', KEY_SIZE);
    store_u64_be(room + 8, number);
    return bytes_make(room, KEY_SIZE);
}

static void check(char *text)
{
    if (text == NULL) return;
    fprintf(stderr, "%s\n", text);
    exit(1);
}

static void take(void *context, struct bytes value)
{
    *(uint64_t *)context += value.size;
}

/* RocksDB as a store in the request path. */
static void bench_memtable(const char *directory, uint64_t rows)
{
    uint8_t room[KEY_SIZE], to[KEY_SIZE], value[VALUE_SIZE] = {0};
    char *text = NULL;
    struct random random;
    random_seed(&random, 1);
    rocksdb_options_t *options = rocksdb_options_create();
    rocksdb_options_set_create_if_missing(options, 1);
    rocksdb_options_set_write_buffer_size(options, 1 << 30);
    const char *const names[] = {"default"};
    const rocksdb_options_t *const family_options[] = {options};
    rocksdb_column_family_handle_t *family = NULL;
    rocksdb_t *database =
        rocksdb_open_column_families(options, directory, 1, names, family_options, &family, &text);
    check(text);
    rocksdb_writeoptions_t *write = rocksdb_writeoptions_create();
    rocksdb_writeoptions_disable_WAL(write, 1);
    rocksdb_readoptions_t *read = rocksdb_readoptions_create();

    double began = now_us();
    for (uint64_t i = 0; i < rows; i++) {
        struct bytes key = key_at(room, hash_u64(i) % rows);
        rocksdb_put(database, write, (const char *)key.data, key.size, (const char *)value,
                    sizeof(value), &text);
    }
    check(text);
    report("put, memtable", began, rows);

    for (int round = 0; round < 2; round++) {
        began = now_us();
        for (int i = 0; i < GETS; i++) {
            struct bytes key = key_at(room, random_below(&random, rows));
            rocksdb_pinnableslice_t *slice =
                rocksdb_get_pinned(database, read, (const char *)key.data, key.size, &text);
            if (slice) rocksdb_pinnableslice_destroy(slice);
        }
        check(text);
        report(round ? "get, memtable with 2000 range deletions" : "get, memtable", began, GETS);
        for (int i = 0; i < RANGES && round == 0; i++) {
            uint64_t first = random_below(&random, rows);
            key_at(room, first);
            key_at(to, first + 3);
            rocksdb_delete_range_cf(database, write, family, (const char *)room, KEY_SIZE,
                                    (const char *)to, KEY_SIZE, &text);
            check(text);
        }
    }

    began = now_us();
    for (int i = 0; i < PAIRS; i++) {
        uint64_t first = random_below(&random, rows);
        key_at(room, first);
        key_at(to, first + 3);
        rocksdb_delete_range_cf(database, write, family, (const char *)room, KEY_SIZE,
                                (const char *)to, KEY_SIZE, &text);
        rocksdb_pinnableslice_t *slice =
            rocksdb_get_pinned(database, read, (const char *)room, KEY_SIZE, &text);
        if (slice) rocksdb_pinnableslice_destroy(slice);
    }
    check(text);
    report("pair of range deletion and get, memtable", began, PAIRS);

    rocksdb_readoptions_destroy(read);
    rocksdb_writeoptions_destroy(write);
    rocksdb_column_family_handle_destroy(family);
    rocksdb_close(database);
    rocksdb_options_destroy(options);
}

static void engine_gets(struct engine *engine, uint64_t rows, const char *what)
{
    uint8_t room[KEY_SIZE];
    uint64_t sum = 0;
    struct random random;
    random_seed(&random, 2);
    double began = now_us();
    for (int i = 0; i < GETS; i++)
        engine_get(engine, key_at(room, random_below(&random, rows)), &sum, take, NULL);
    report(what, began, GETS);
}

/* The engine as Holon uses it. */
static void bench_runs(const char *directory, uint64_t rows)
{
    uint8_t room[KEY_SIZE], to[KEY_SIZE], value[VALUE_SIZE] = {0};
    struct engine *engine = NULL;
    struct engine_run *run = NULL;
    struct error error = {0};
    if (engine_rocksdb_open(NULL, directory, 256 << 20, &engine, &error)) {
        fprintf(stderr, "%s\n", error.text);
        exit(1);
    }
    double began = now_us();
    ASSERT(engine_run_open(engine, &run, &error) == STATUS_OK);
    for (uint64_t i = 0; i < rows; i++)
        engine_run_put(engine, run, key_at(room, i), bytes_make(value, sizeof(value)), &error);
    ASSERT(engine_run_ingest(engine, run, &error) == STATUS_OK);
    report("sorted run, written, synced and ingested", began, rows);
    engine_gets(engine, rows, "get, engine, first touch");
    engine_gets(engine, rows, "get, engine, in cache");

    began = now_us();
    for (int i = 0; i < RUN_RANGES; i++) {
        uint64_t first = (uint64_t)i * rows / RUN_RANGES;
        ASSERT(engine_run_open(engine, &run, &error) == STATUS_OK);
        struct bytes from = key_at(room, first);
        engine_run_delete_range(engine, run, from, key_at(to, first + rows / RUN_RANGES / 2),
                                &error);
        ASSERT(engine_run_ingest(engine, run, &error) == STATUS_OK);
    }
    report("run of one range deletion (a partition)", began, RUN_RANGES);
    engine_gets(engine, rows, "get, engine, after 50 of them");
    engine_close(engine);
}

int main(int count, char **arguments)
{
    uint64_t rows = count > 1 ? strtoull(arguments[1], NULL, 10) : 1000000;
    char directory[] = "/tmp/holon-bench-XXXXXX";
    ASSERT(mkdtemp(directory) != NULL);
    bench_memtable(directory, rows);
    remove_directory(directory);
    ASSERT(mkdir(directory, 0700) == 0);
    bench_runs(directory, rows);
    remove_directory(directory);
    return 0;
}
