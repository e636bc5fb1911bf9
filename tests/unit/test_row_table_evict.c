/* A table that does not hold all rows, and the engine under it, against plain arrays: what is
 * committed, and what it is with the proposals on top. The host's part (reads of the engine that
 * come back late, flushes, records, collection of dropped rows) is played here. */
#include "partition/row_table.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <cmocka.h>

#include "base/memory.h"
#include "base/random.h"

enum { KEYS = 240, SPACES = 3, OPS_MAX = 64, KEY_SIZE = ROW_PREFIX_SIZE + 2 };

struct cell { /* index: of what wrote it; live: not deleted */
    uint64_t index;
    bool live;
    uint8_t byte;
};

struct op { /* proposed; key KEYS + n: drop of namespace n */
    uint32_t key;
    struct cell cell;
};

struct late_read { /* of the engine, on its way */
    bool on_its_way;
    uint32_t key;
    uint64_t generation;
    struct cell cell;
};

struct play {
    struct random random;
    struct row_table *table;
    struct cell committed[KEYS], newest[KEYS], engine[KEYS], flushing[KEYS];
    struct op ops[OPS_MAX];
    size_t op_count;
    uint64_t last, commit, flush; /* flush: index of the one under way, or 0 */
    bool ingested;
    struct late_read read;
    uint64_t counts[SPACES]; /* gathered by a callback */
    uint64_t evicted, stale_reads, blind_writes, hidden_reads, restarts, completions;
};

static struct bytes key_of(uint8_t room[KEY_SIZE], uint32_t key)
{
    row_prefix_store(room, (uint16_t)(key % 7), SERVICE_REDIS, key % SPACES);
    store_u16_be(room + ROW_PREFIX_SIZE, (uint16_t)key);
    return bytes_make(room, KEY_SIZE);
}

static uint32_t number_of(struct bytes key)
{
    return load_u16_be(key.data + ROW_PREFIX_SIZE);
}

static struct row_header header_of(const struct cell *cell)
{
    return (struct row_header){.version = cell->index, .type = 1};
}

/* Sizes differ, so that rows move. */
static struct bytes value_of(uint8_t room[300], const struct cell *cell)
{
    memset(room, cell->byte, 300);
    return bytes_make(room, cell->byte);
}

static bool chance(struct play *play, uint32_t percent)
{
    return random_chance(&play->random, percent, 100);
}

static void load(struct play *play, uint32_t key, const struct cell *cell)
{
    uint8_t room[KEY_SIZE], value[300];
    struct row_header header = header_of(cell);
    if (cell->live) {
        row_table_load(play->table, key_of(room, key), &header, value_of(value, cell));
    } else {
        row_table_load_absent(play->table, key_of(room, key));
    }
}

static void check_found(struct play *play, uint32_t key, const struct row_found *found)
{
    const struct cell *want = &play->newest[key];
    assert_true(found->tombstone == !want->live);
    if (want->live) {
        assert_int_equal(found->header.version, want->index);
        assert_int_equal(found->value.size, want->byte);
        if (want->byte) assert_int_equal(found->value.data[want->byte - 1u], want->byte);
    } else if (want->index > play->commit) {
        /* A2: who sees that it is gone depends on what took it. */
        assert_int_equal(found->header.version, want->index);
        play->hidden_reads++;
    }
}

/* As an evaluation reads: from the table, else the engine is asked and it runs again. */
static void read_key(struct play *play, uint32_t key)
{
    uint8_t room[KEY_SIZE];
    struct row_found found;
    if (!row_table_get(play->table, key_of(room, key), &found)) {
        if (row_table_complete(play->table)) {
            assert_false(play->newest[key].live);
            return;
        }
        load(play, key, &play->engine[key]);
        assert_true(row_table_get(play->table, key_of(room, key), &found));
    }
    check_found(play, key, &found);
}

static void read_late(struct play *play)
{
    struct late_read *read = &play->read;
    if (!read->on_its_way) {
        read->on_its_way = true;
        read->key = (uint32_t)random_below(&play->random, KEYS);
        read->generation = row_table_flush_generation(play->table);
        read->cell = play->engine[read->key];
        return;
    }
    read->on_its_way = false;
    if (read->generation == row_table_flush_generation(play->table)) {
        if (!row_table_complete(play->table)) load(play, read->key, &read->cell);
    } else {
        play->stale_reads++;
    }
}

static void put_op(struct play *play, const struct op *op, bool proposed)
{
    uint8_t room[KEY_SIZE], value[300];
    unsigned flags = proposed ? ROW_WRITE_PROPOSED : 0;
    if (op->key >= KEYS) {
        row_table_drop(play->table, SERVICE_REDIS, op->key - KEYS, op->cell.index, flags);
        return;
    }
    struct bytes key = key_of(room, op->key);
    struct row_header header = header_of(&op->cell);
    if (!op->cell.live) {
        row_table_delete(play->table, key, op->cell.index, flags);
        return;
    }
    if (!play->newest[op->key].live) flags |= ROW_WRITE_INSERTS;
    row_table_put(play->table, key, &header, value_of(value, &op->cell), flags);
}

static void cells_apply(struct cell cells[KEYS], const struct op *op)
{
    if (op->key < KEYS) {
        cells[op->key] = op->cell;
        return;
    }
    for (uint32_t i = op->key - KEYS; i < KEYS; i += SPACES) {
        if (cells[i].live) cells[i] = op->cell;
    }
}

static void write_op(struct play *play)
{
    bool proposed = play->op_count > 0 || chance(play, 60);
    if (play->op_count == OPS_MAX) return;
    struct op op = {.key = (uint32_t)random_below(&play->random, KEYS)};
    op.cell = (struct cell){.index = play->last + 1,
                            .live = chance(play, 65),
                            .byte = (uint8_t)random_u64(&play->random)};
    if (chance(play, 2)) op = (struct op){KEYS + op.key % SPACES, {.index = play->last + 1}};
    bool is_drop = op.key >= KEYS;
    if (!is_drop && !op.cell.live && !play->newest[op.key].live) return; /* nothing to delete */
    if (!is_drop && chance(play, 50)) {
        read_key(play, op.key);
    } else {
        play->blind_writes++; /* as on a follower */
    }
    play->last++;
    put_op(play, &op, proposed);
    cells_apply(play->newest, &op);
    if (proposed) {
        play->ops[play->op_count++] = op;
    } else {
        cells_apply(play->committed, &op);
        play->commit = play->last;
    }
}

static void commit(struct play *play, uint64_t index)
{
    row_table_commit(play->table, index);
    size_t done = 0;
    for (; done < play->op_count && play->ops[done].cell.index <= index; done++)
        cells_apply(play->committed, &play->ops[done]);
    play->op_count -= done;
    memmove(play->ops, play->ops + done, play->op_count * sizeof(struct op));
    play->commit = index;
}

static void revert(struct play *play)
{
    row_table_revert(play->table);
    memcpy(play->newest, play->committed, sizeof(play->newest));
    play->op_count = 0;
    play->last = play->commit;
    assert_int_equal(row_table_newest_proposed(play->table), 0);
}

static void on_dirty(void *context, const struct row_found *row)
{
    struct play *play = context;
    struct cell *cell = &play->flushing[number_of(row->key)];
    *cell = (struct cell){row->header.version, !row->tombstone, (uint8_t)row->value.size};
}

static void flush_step(struct play *play)
{
    if (play->flush == 0) {
        if (play->commit == 0) return;
        memcpy(play->flushing, play->engine, sizeof(play->engine));
        row_table_dirty_each(play->table, play, on_dirty);
        play->flush = play->commit;
    } else if (!play->ingested) {
        memcpy(play->engine, play->flushing, sizeof(play->engine));
        play->ingested = true;
    } else {
        row_table_flushed(play->table, play->flush);
        play->flush = 0;
        play->ingested = false;
    }
}

static void on_drop_collect(void *context, uint8_t service, uint32_t namespace, uint64_t index)
{
    struct play *play = context;
    for (uint32_t i = namespace; i < KEYS; i += SPACES) {
        struct cell *cell = &play->engine[i];
        if (cell->live && cell->index <= index) *cell = (struct cell){0};
    }
    play->counts[namespace] = index;
}

/* A pass over the engine; not while a flush copied what it takes away. */
static void collect(struct play *play)
{
    if (play->flush) return;
    memset(play->counts, 0, sizeof(play->counts));
    row_table_drops_each(play->table, play, on_drop_collect);
    for (uint32_t i = 0; i < SPACES; i++) {
        if (play->counts[i]) row_table_drop_forget(play->table, SERVICE_REDIS, i, play->counts[i]);
    }
}

static void on_count(void *context, uint8_t service, uint32_t namespace, uint64_t rows)
{
    struct play *play = context;
    assert_true(service == SERVICE_REDIS && namespace < SPACES && rows > 0);
    assert_int_equal(play->counts[namespace], 0);
    play->counts[namespace] = rows;
}

static void check_counts(struct play *play)
{
    uint64_t newest[SPACES] = {0}, committed[SPACES] = {0};
    for (uint32_t i = 0; i < KEYS; i++) {
        newest[i % SPACES] += play->newest[i].live;
        committed[i % SPACES] += play->committed[i].live;
    }
    memset(play->counts, 0, sizeof(play->counts));
    row_table_counts_each(play->table, play, on_count);
    for (uint32_t i = 0; i < SPACES; i++) {
        assert_int_equal(row_table_count(play->table, SERVICE_REDIS, i), newest[i]);
        assert_int_equal(play->counts[i], committed[i]);
    }
}

static uint64_t hash_of(uint32_t key, const struct cell *cell)
{
    uint8_t room[KEY_SIZE], value[300];
    struct row_header header = header_of(cell);
    return row_hash(key_of(room, key), &header, value_of(value, cell));
}

static void check_hash(const struct play *play)
{
    uint8_t room[KEY_SIZE];
    uint64_t want = 0, sum = row_table_hash(play->table);
    for (uint32_t i = 0; i < KEYS; i++) {
        const struct cell *engine = &play->engine[i];
        if (play->committed[i].live) want += hash_of(i, &play->committed[i]);
        bool counts = engine->live && !row_table_hides(play->table, key_of(room, i), engine->index);
        if (counts) sum += hash_of(i, engine);
    }
    assert_true(sum == want);
}

static void evict(struct play *play)
{
    uint64_t clean = row_table_clean_bytes(play->table);
    uint64_t before = row_table_bytes(play->table), turns = row_table_evictions(play->table);
    uint64_t freed = row_table_evict(play->table, 1 + random_below(&play->random, 20000));
    assert_int_equal(row_table_clean_bytes(play->table) + freed, clean);
    assert_true(row_table_bytes(play->table) + freed <= before);
    assert_int_equal(row_table_evictions(play->table) - turns, freed > 0);
    if (freed) assert_false(row_table_complete(play->table));
    play->evicted += freed;
}

static void copy_drop(void *context, uint8_t service, uint32_t namespace, uint64_t index)
{
    row_table_drop_load(context, service, namespace, index);
}

static void copy_count(void *context, uint8_t service, uint32_t namespace, uint64_t rows)
{
    row_table_count_load(context, service, namespace, rows);
}

/* All is flushed; a new table knows no row, only the record. */
static void restart(struct play *play)
{
    revert(play);
    do
        flush_step(play);
    while (play->flush);
    if (row_table_dirty_bytes(play->table)) return; /* the flush under way was an older one */
    struct row_table *table = row_table_make();
    row_table_set_incomplete(table);
    row_table_counts_each(play->table, table, copy_count);
    row_table_drops_each(play->table, table, copy_drop);
    row_table_free(play->table);
    play->table = table;
    play->read.on_its_way = false;
    play->restarts++;
}

static void complete(struct play *play)
{
    if (play->flush) return;
    for (uint32_t i = 0; i < KEYS; i++) {
        if (play->engine[i].live) load(play, i, &play->engine[i]);
    }
    row_table_set_complete(play->table);
    play->completions++;
}

static void step(struct play *play)
{
    uint64_t dice = random_below(&play->random, 1000);
    if (dice < 500) {
        write_op(play);
    } else if (dice < 700) {
        read_key(play, (uint32_t)random_below(&play->random, KEYS));
    } else if (dice < 780) {
        read_late(play);
    } else if (dice < 880) {
        if (play->last > play->commit)
            commit(play, random_between(&play->random, play->commit, play->last));
    } else if (dice < 900) {
        revert(play);
    } else if (dice < 940) {
        flush_step(play);
    } else if (dice < 980) {
        evict(play);
    } else if (dice < 990) {
        collect(play);
    } else if (dice < 995) {
        restart(play);
    } else {
        complete(play);
    }
}

static void test_a_table_and_an_engine_together_hold_what_plain_arrays_do(void **state)
{
    struct play *play = memory_allocate_zero(sizeof(*play));
    for (uint64_t seed = 1; seed <= 60; seed++) {
        *play = (struct play){.evicted = play->evicted,
                              .stale_reads = play->stale_reads,
                              .hidden_reads = play->hidden_reads,
                              .restarts = play->restarts,
                              .completions = play->completions};
        random_seed(&play->random, seed);
        play->table = row_table_make();
        for (uint32_t i = 0; i < 4000; i++) {
            step(play);
            if (i % 8 == 0) check_counts(play);
            if (i % 32 == 0) check_hash(play);
        }
        for (uint32_t i = 0; i < KEYS; i++)
            read_key(play, i);
        row_table_free(play->table);
    }
    assert_true(play->evicted > 1000000 && play->stale_reads > 100 && play->hidden_reads > 100);
    assert_true(play->restarts > 100 && play->completions > 100);
    memory_free(play);
}

static struct row_table *clean_table(uint32_t rows)
{
    struct row_table *table = row_table_make();
    uint8_t key[ROW_PREFIX_SIZE + 4];
    struct row_header header = {.version = 1, .type = 1};
    row_prefix_store(key, 5, SERVICE_REDIS, 1);
    for (uint32_t i = 0; i < rows; i++) {
        store_u32_be(key + ROW_PREFIX_SIZE, i);
        row_table_load(table, bytes_make(key, sizeof(key)), &header, bytes_of("value"));
    }
    return table;
}

static void test_a_row_that_was_read_is_spared_once(void **state)
{
    struct row_table *table = clean_table(1000);
    uint8_t key[ROW_PREFIX_SIZE + 4];
    struct row_found found;
    row_prefix_store(key, 5, SERVICE_REDIS, 1);
    for (uint32_t i = 0; i < 1000; i += 10) {
        store_u32_be(key + ROW_PREFIX_SIZE, i);
        assert_true(row_table_get(table, bytes_make(key, sizeof(key)), &found));
    }
    assert_true(row_table_complete(table));
    row_table_evict(table, UINT64_MAX);
    assert_false(row_table_complete(table));
    assert_int_equal(row_table_rows(table), 100);
    assert_int_equal(row_table_count(table, SERVICE_REDIS, 1), 1000);
    row_table_evict(table, UINT64_MAX);
    assert_int_equal(row_table_rows(table), 0);
    assert_int_equal(row_table_clean_bytes(table), 0);
    assert_true(row_table_bytes(table) < 4096);
    row_table_free(table);
}

static void test_a_call_looks_at_a_bounded_number_of_rows(void **state)
{
    enum { ROWS = 4 * ROW_TABLE_EVICT_ROWS_MAX };
    struct row_table *table = clean_table(ROWS);
    uint64_t calls = 0;
    while (row_table_clean_bytes(table) > 0 && calls < 10) {
        uint64_t before = row_table_rows(table);
        row_table_evict(table, UINT64_MAX);
        assert_true(before - row_table_rows(table) <= ROW_TABLE_EVICT_ROWS_MAX + 64);
        calls++;
    }
    assert_true(calls >= 4 && row_table_rows(table) == 0);
    row_table_free(table);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_row_that_was_read_is_spared_once),
        cmocka_unit_test(test_a_call_looks_at_a_bounded_number_of_rows),
        cmocka_unit_test(test_a_table_and_an_engine_together_hold_what_plain_arrays_do),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
