/* rowtable - what the row table costs: 1 M rows of 24-byte keys (64 slots, one namespace, a
 * random rest) and 64-byte values; and the same for text ("key:00000012345k") in all 16384 slots,
 * as a client's keys come. Prints microseconds per row for each step.
 *
 *   bench-rowtable [ROWS] */
#include "partition/row_table.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "base/random.h"

enum { KEY_SIZE = 24, VALUE_SIZE = 64 };

static double now_us(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec * 1e6 + (double)time.tv_nsec / 1e3;
}

static bool text; /* which keys */

static struct bytes key_make_text(uint8_t room[KEY_SIZE], uint64_t number)
{
    uint64_t mixed = number * UINT64_C(0x9e3779b97f4a7c15);
    row_prefix_store(room, (uint16_t)(mixed >> 50), SERVICE_REDIS, 1);
    memcpy(room + 7, "key:", 4);
    for (size_t i = 22; i > 10; i--, number /= 10)
        room[i] = (uint8_t)('0' + number % 10);
    room[23] = 'k';
    return bytes_make(room, KEY_SIZE);
}

/* The key of a number, the same at each call, with nothing to remember. */
static struct bytes key_make(uint8_t room[KEY_SIZE], uint64_t number)
{
    if (text) return key_make_text(room, number);
    struct random random;
    random_seed(&random, number);
    uint64_t first = random_u64(&random);
    row_prefix_store(room, (uint16_t)(0x1200 + first % 64), SERVICE_REDIS, 1);
    store_u64(room + 7, random_u64(&random));
    store_u64(room + 15, random_u64(&random));
    room[23] = 'k';
    return bytes_make(room, KEY_SIZE);
}

static void report(const char *what, double began, double keys_us, uint64_t rows)
{
    double each = (now_us() - began - keys_us) / (double)rows;
    printf("%-34s %7.3f us\n", what, each);
}

/* Key and value are read, not only found. */
static uint64_t get(const struct row_table *table, struct bytes key)
{
    struct row_found found;
    if (!row_table_get(table, key, &found)) return 0;
    return (uint64_t)found.value.data[0] + found.value.data[found.value.size - 1] + 1;
}

static void count_row(void *context, const struct row_found *row)
{
    uint64_t *sum = context;
    *sum += row->value.data[0] + 1u;
}

static double keys_cost(uint64_t rows, struct random random)
{
    uint8_t room[KEY_SIZE];
    uint64_t sum = 0;
    double began = now_us();
    for (uint64_t i = 0; i < rows; i++)
        sum += key_make(room, random_below(&random, rows)).data[8];
    return sum == 1 ? 0 : now_us() - began;
}

static uint64_t scan(const struct row_table *table)
{
    struct row_cursor cursor;
    struct row_found found;
    uint64_t sum = 0;
    row_cursor_seek(&cursor, table, bytes_make(NULL, 0));
    while (row_cursor_next(&cursor, bytes_make(NULL, 0), &found))
        sum += found.key.data[found.key.size - 1] + found.value.data[0] +
               found.value.data[found.value.size - 1] + 1u;
    return sum;
}

static uint64_t measure(uint64_t rows)
{
    uint8_t room[KEY_SIZE], value_bytes[VALUE_SIZE] = {0};
    struct bytes value = bytes_make(value_bytes, sizeof(value_bytes));
    struct row_header header = {.version = 1, .type = 1};
    struct row_found found;
    struct random random;
    random_seed(&random, 1);
    double keys_us = keys_cost(rows, random);
    uint64_t sum = 0;

    struct row_table *table = row_table_make();
    double began = now_us();
    for (uint64_t i = 0; i < rows; i++)
        row_table_put(table, key_make(room, i), &header, value, false);
    report("put, new rows, random order", began, keys_us, rows);
    printf("%-34s %7.1f bytes\n", "memory per row",
           (double)row_table_bytes(table) / (double)row_table_rows(table));

    began = now_us();
    row_table_dirty_each(table, &sum, count_row);
    report("flush walk, all rows dirty", began, 0, rows);
    began = now_us();
    row_table_flushed(table, 1);
    report("all rows become clean", began, 0, rows);

    began = now_us();
    for (uint64_t i = 0; i < rows; i++)
        sum += get(table, key_make(room, random_below(&random, rows)));
    report("get, random", began, keys_us, rows);

    began = now_us();
    for (uint64_t i = 0; i < rows; i++)
        sum += get(table, key_make(room, rows + random_below(&random, rows)));
    report("get, random, absent", began, keys_us, rows);

    began = now_us();
    sum += scan(table);
    report("scan", began, 0, rows);

    began = now_us();
    header.version = 2;
    for (uint64_t i = 0; i < rows; i++)
        row_table_put(table, key_make(room, random_below(&random, rows)), &header, value, false);
    report("put over, applied", began, keys_us, rows);

    began = now_us();
    for (uint64_t i = 0; i < rows; i++) {
        header.version = 3 + i;
        row_table_put(table, key_make(room, random_below(&random, rows)), &header, value, true);
        if (i % 64 == 63) row_table_commit(table, header.version);
    }
    row_table_commit(table, header.version);
    report("put over, proposed and committed", began, keys_us, rows);

    began = now_us();
    sum += row_table_hash(table);
    report("hash", began, 0, rows);

    struct row_table *loaded = row_table_make();
    struct row_cursor cursor;
    row_cursor_seek(&cursor, table, bytes_make(NULL, 0));
    began = now_us();
    while (row_cursor_next(&cursor, bytes_make(NULL, 0), &found))
        row_table_load(loaded, found.key, &found.header, found.value);
    report("load, in order", began, 0, rows);

    began = now_us();
    double longest = 0;
    while (row_table_clean_bytes(loaded) > 0) {
        double call = now_us();
        row_table_evict(loaded, UINT64_MAX);
        call = now_us() - call;
        if (call > longest) longest = call;
    }
    report("evict", began, 0, rows);
    printf("%-34s %7.0f us\n", "longest call of it", longest);
    row_table_free(loaded);

    began = now_us();
    for (uint64_t i = 0; i < rows; i++)
        row_table_delete(table, key_make(room, i), header.version + 1, false);
    row_table_flushed(table, header.version + 1);
    report("delete and flushed", began, keys_us, rows);
    row_table_free(table);
    return sum;
}

int main(int count, char **arguments)
{
    uint64_t rows = count > 1 ? strtoull(arguments[1], NULL, 10) : 1000000;
    uint64_t sum = measure(rows);
    printf("\ntext keys in 16384 slots\n");
    text = true;
    sum += measure(rows);
    return sum == 0;
}
