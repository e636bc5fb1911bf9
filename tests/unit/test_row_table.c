/* The row table against a naive model: an array of keys, each with its applied version, its
 * stack of proposals, and what the engine holds of it. */
#include "partition/row_table.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <cmocka.h>

#include "base/assert.h"
#include "base/memory.h"
#include "base/random.h"

enum { KEYS_MAX = 6000, KEY_SIZE_MAX = 96, PROPOSED_MAX = 6, VALUE_SIZE_MAX = 200 };

struct version {
    uint64_t index; /* 0: none */
    bool tombstone;
    uint8_t type;
    uint64_t expiry;
    uint32_t value_size;
    uint8_t value_byte;
};

struct model_key {
    uint8_t key[KEY_SIZE_MAX];
    size_t key_size;
    struct version applied;
    struct version proposed[PROPOSED_MAX];
    size_t proposed_count;
    struct version cut;      /* applied as the flush under way began */
    struct version flushing; /* what it has copied, over the engine's */
    bool copied;
    struct version engine;
};

struct model {
    struct random random;
    struct row_table *table;
    struct model_key *keys;
    size_t key_count;
    uint64_t last;   /* index of the newest entry */
    uint64_t commit; /* applied */
    uint64_t flush;  /* index of the flush under way; 0: none */
    size_t walked;   /* by the callback of a walk */
    struct row_cut cut;
    size_t cut_walked;
    bool cutting;        /* the flush under way still copies */
    struct buffer after; /* of its end: rows become clean up to there */
    uint64_t replaced;   /* rows of cuts that were given early */
    uint64_t given;      /* by steps of the cut */
};

static struct bytes key_of(const struct model_key *key)
{
    return bytes_make(key->key, key->key_size);
}

static int key_order(const void *a, const void *b)
{
    return bytes_compare(key_of(a), key_of(b));
}

/* Keys as they come in practice (hashed, or text in many slots), elements of one collection with a
 * long common part, keys that begin others, and few bytes with many zeros. */
static void key_draw(struct random *random, struct model_key *key)
{
    uint16_t slot = (uint16_t)(0x1200 + random_below(random, 8));
    uint32_t style = (uint32_t)random_below(random, 5);
    if (style == 4) slot = (uint16_t)(0x1100 + random_below(random, 0x200));
    uint8_t service = style == 3 ? 2 : 1;
    row_prefix_store(key->key, slot, service, (uint32_t)random_below(random, 3));
    size_t size = ROW_PREFIX_SIZE;
    if (style == 0) {
        store_u64(key->key + size, random_u64(random));
        size += 6 + random_below(random, 3);
    } else if (style == 1) {
        row_prefix_store(key->key, 0x1203, 1, 1);
        memset(key->key + size, 'c', 60);
        size += 60;
        store_u32_be(key->key + size, (uint32_t)random_below(random, 100000));
        size += 4;
    } else if (style == 2) {
        size_t more = random_below(random, 60);
        memset(key->key + size, 'p', more);
        size += more;
    } else if (style == 4) {
        row_prefix_store(key->key, slot, 1, 1);
        memcpy(key->key + size, "user:00", 7);
        size += 7;
        for (size_t i = 0; i < 5; i++)
            key->key[size++] = (uint8_t)('0' + random_below(random, 10));
    } else {
        size_t more = random_below(random, 14);
        for (size_t i = 0; i < more; i++)
            key->key[size++] = (uint8_t)random_below(random, 2);
    }
    key->key_size = size;
}

static void model_make(struct model *model, uint64_t seed, size_t draw)
{
    memset(model, 0, sizeof(*model));
    random_seed(&model->random, seed);
    model->table = row_table_make();
    model->keys = memory_allocate_zero(draw * sizeof(*model->keys));
    for (size_t i = 0; i < draw; i++)
        key_draw(&model->random, &model->keys[i]);
    qsort(model->keys, draw, sizeof(*model->keys), key_order);
    for (size_t i = 0; i < draw; i++) {
        bool again = model->key_count > 0 &&
                     key_order(&model->keys[model->key_count - 1], &model->keys[i]) == 0;
        if (!again) model->keys[model->key_count++] = model->keys[i];
    }
}

static void model_free(struct model *model)
{
    row_table_free(model->table);
    memory_free(model->keys);
}

static const struct version *newest(const struct model_key *key)
{
    return key->proposed_count ? &key->proposed[key->proposed_count - 1] : &key->applied;
}

static bool live(const struct version *version)
{
    return version->index > 0 && !version->tombstone;
}

static void expect(const struct model_key *key, const struct version *version,
                   const struct row_found *found)
{
    assert_true(bytes_equal(found->key, key_of(key)));
    assert_false(found->tombstone);
    assert_int_equal(found->header.version, version->index);
    assert_int_equal(found->header.type, version->type);
    assert_int_equal(found->header.flags, 0);
    assert_int_equal(found->header.expiry, version->expiry);
    assert_int_equal(found->value.size, version->value_size);
    for (size_t i = 0; i < found->value.size; i++)
        assert_int_equal(found->value.data[i], version->value_byte);
}

static void check_get(const struct model *model, const struct model_key *key)
{
    struct row_found found;
    bool there = row_table_get(model->table, key_of(key), &found);
    if (live(newest(key))) {
        assert_true(there);
        expect(key, newest(key), &found);
        enum row_state state = found.state;
        assert_true((state == ROW_PROPOSED) == (key->proposed_count > 0));
    } else if (key->proposed_count > 0) {
        assert_true(there && found.tombstone && found.state == ROW_PROPOSED);
        assert_int_equal(found.header.version, newest(key)->index);
    } else {
        assert_true(!there || found.tombstone);
    }
}

static void check_scan(const struct model *model, size_t first, size_t end)
{
    struct bytes to = end < model->key_count ? key_of(&model->keys[end]) : bytes_make(NULL, 0);
    struct row_cursor cursor;
    row_cursor_seek(&cursor, model->table, key_of(&model->keys[first]));
    struct row_found found;
    size_t i = first;
    while (row_cursor_next(&cursor, to, &found)) {
        if (found.tombstone) continue;
        while (i < end && !live(newest(&model->keys[i])))
            i++;
        assert_true(i < end);
        expect(&model->keys[i], newest(&model->keys[i]), &found);
        i++;
    }
    while (i < end && !live(newest(&model->keys[i])))
        i++;
    assert_int_equal(i, end);
}

static bool on_committed(void *context, const struct row_found *found)
{
    struct model *model = context;
    while (model->walked < model->key_count && !live(&model->keys[model->walked].applied))
        model->walked++;
    assert_true(model->walked < model->key_count);
    struct model_key *key = &model->keys[model->walked++];
    expect(key, &key->applied, found);
    return true;
}

static void version_put(struct row_table *table, const struct model_key *key,
                        const struct version *version, bool proposed, bool load)
{
    uint8_t value[VALUE_SIZE_MAX];
    memset(value, version->value_byte, sizeof(value));
    struct row_header header = {
        .version = version->index, .expiry = version->expiry, .type = version->type};
    struct bytes bytes = bytes_make(value, version->value_size);
    if (load) {
        row_table_load(table, key_of(key), &header, bytes);
    } else if (version->tombstone) {
        row_table_delete(table, key_of(key), version->index, proposed);
    } else {
        row_table_put(table, key_of(key), &header, bytes, proposed);
    }
}

/* S-1: a table that only applied, or was loaded from an engine, hashes the same. */
static void check_hash(const struct model *model)
{
    struct row_table *table = row_table_make();
    for (size_t i = model->key_count; i-- > 0;) {
        const struct model_key *key = &model->keys[i];
        if (live(&key->applied)) version_put(table, key, &key->applied, false, i % 2);
    }
    assert_true(row_table_hash(table) == row_table_hash(model->table));
    row_table_free(table);
}

static void check_counts(const struct model *model)
{
    uint64_t counts[3][3] = {0};
    for (size_t i = 0; i < model->key_count; i++) {
        const struct model_key *key = &model->keys[i];
        if (live(newest(key))) counts[key->key[2]][load_u32_be(key->key + 3)]++;
    }
    for (uint8_t service = 1; service < 3; service++) {
        for (uint32_t namespace = 0; namespace < 3; namespace ++)
            assert_int_equal(row_table_count(model->table, service, namespace),
                             counts[service][namespace]);
    }
}

static void check_all(struct model *model)
{
    for (size_t i = 0; i < model->key_count; i++)
        check_get(model, &model->keys[i]);
    check_scan(model, 0, model->key_count);
    model->walked = 0;
    row_table_committed_each(model->table, bytes_make(NULL, 0), model, on_committed);
    while (model->walked < model->key_count && !live(&model->keys[model->walked].applied))
        model->walked++;
    assert_int_equal(model->walked, model->key_count);
    check_counts(model);
    check_hash(model);
    assert_true(row_table_dirty_bytes(model->table) < row_table_bytes(model->table));
}

static struct model_key *draw_key(struct model *model)
{
    return &model->keys[random_below(&model->random, model->key_count)];
}

static struct version draw_version(struct model *model, uint64_t index, uint32_t deletes)
{
    return (struct version){
        .index = index,
        .tombstone = random_chance(&model->random, deletes, 100),
        .type = (uint8_t)random_between(&model->random, 1, 5),
        .expiry = random_below(&model->random, 3),
        .value_size = (uint32_t)random_below(&model->random, VALUE_SIZE_MAX),
        .value_byte = (uint8_t)random_u64(&model->random),
    };
}

static void model_write(struct model *model, struct model_key *key, struct version version,
                        bool proposed)
{
    if (proposed && key->proposed_count == PROPOSED_MAX) return;
    version_put(model->table, key, &version, proposed, false);
    if (proposed) {
        key->proposed[key->proposed_count++] = version;
    } else if (version.index >= key->applied.index) {
        key->applied = version;
    }
}

static void model_drop(struct model *model, uint64_t index, bool proposed)
{
    uint32_t namespace = (uint32_t)random_below(&model->random, 3);
    for (size_t i = 0; i < model->key_count; i++) {
        struct model_key *key = &model->keys[i];
        bool ours = key->key[2] == 1 && load_u32_be(key->key + 3) == namespace;
        if (ours && live(newest(key)) && key->proposed_count == PROPOSED_MAX) return;
    }
    row_table_drop(model->table, 1, namespace, index, proposed);
    for (size_t i = 0; i < model->key_count; i++) {
        struct model_key *key = &model->keys[i];
        if (key->key[2] != 1 || load_u32_be(key->key + 3) != namespace) continue;
        if (!live(newest(key))) continue;
        struct version version = {.index = index, .tombstone = true};
        if (proposed) {
            key->proposed[key->proposed_count++] = version;
        } else {
            key->applied = version;
        }
    }
}

/* One entry of a few writes: proposed, or applied if nothing is proposed. */
static void model_entry(struct model *model, uint32_t deletes)
{
    bool proposed = model->last > model->commit || random_chance(&model->random, 1, 2);
    model->last++;
    uint64_t writes = random_between(&model->random, 1, 4);
    struct model_key *key = draw_key(model);
    for (uint64_t i = 0; i < writes; i++) {
        if (random_chance(&model->random, 3, 4)) key = draw_key(model); /* else the same again */
        model_write(model, key, draw_version(model, model->last, deletes), proposed);
    }
    if (random_chance(&model->random, 1, 2000)) model_drop(model, model->last, proposed);
    if (!proposed) model->commit = model->last;
}

static void model_commit(struct model *model, uint64_t index)
{
    row_table_commit(model->table, index);
    model->commit = index;
    for (size_t i = 0; i < model->key_count; i++) {
        struct model_key *key = &model->keys[i];
        size_t done = 0;
        while (done < key->proposed_count && key->proposed[done].index <= index)
            key->applied = key->proposed[done++];
        key->proposed_count -= done;
        memmove(key->proposed, key->proposed + done, key->proposed_count * sizeof(struct version));
    }
}

static void model_revert(struct model *model)
{
    row_table_revert(model->table);
    for (size_t i = 0; i < model->key_count; i++)
        model->keys[i].proposed_count = 0;
    model->last = model->commit;
    assert_int_equal(row_table_newest_proposed(model->table), 0);
}

static void copy_row(struct model_key *key, const struct row_found *found)
{
    assert_false(key->copied);
    assert_int_equal(found->header.version, key->cut.index);
    assert_true(found->tombstone == key->cut.tombstone);
    if (!found->tombstone) expect(key, &key->cut, found);
    key->flushing = key->cut;
    key->copied = true;
}

static void on_cut_row(void *context, const struct row_found *found)
{
    struct model *model = context;
    while (!bytes_equal(key_of(&model->keys[model->cut_walked]), found->key)) {
        model->cut_walked++;
        assert_true(model->cut_walked < model->key_count);
    }
    copy_row(&model->keys[model->cut_walked++], found);
    model->given++;
}

static void on_cut_replaced(void *context, const struct row_found *found)
{
    struct model *model = context;
    struct model_key wanted = {.key_size = found->key.size};
    memcpy(wanted.key, found->key.data, found->key.size);
    struct model_key *key =
        bsearch(&wanted, model->keys, model->key_count, sizeof(*model->keys), key_order);
    assert_non_null(key);
    copy_row(key, found);
    model->replaced++;
}

/* A flush begins: its rows on top of the engine's must give all that is applied now, whatever is
 * written while they are copied. */
static void model_flush_begin(struct model *model)
{
    if (model->commit == 0) return;
    for (size_t i = 0; i < model->key_count; i++) {
        struct model_key *key = &model->keys[i];
        key->flushing = key->engine;
        key->cut = key->applied;
        key->copied = false;
    }
    model->cut_walked = 0;
    model->cut =
        (struct row_cut){.context = model, .on_row = on_cut_row, .on_replaced = on_cut_replaced};
    row_table_cut_begin(model->table, &model->cut, model->commit);
    model->flush = model->commit;
    model->cutting = true;
}

static void model_flush_copy(struct model *model, uint32_t work)
{
    uint64_t given = model->given;
    uint32_t left = work;
    bool more = row_table_cut_step(model->table, &model->cut, &left);
    assert_true(model->given - given <= work); /* so a turn of the loop stays short */
    if (more) return;
    row_table_cut_end(model->table, &model->cut);
    model->cutting = false;
    for (size_t i = 0; i < model->key_count; i++) {
        struct model_key *key = &model->keys[i];
        assert_true(live(&key->flushing) == live(&key->cut));
        if (live(&key->cut)) assert_int_equal(key->flushing.index, key->cut.index);
        key->engine = key->flushing;
    }
    buffer_init(&model->after, SIZE_MAX / 2);
}

/* All is in the engine and nothing proposed: then tombstones are gone. */
static void check_no_tombstones(const struct model *model)
{
    uint64_t rows = 0;
    for (size_t i = 0; i < model->key_count; i++)
        rows += live(&model->keys[i].applied);
    assert_int_equal(row_table_rows(model->table), rows);
}

/* The run is in the engine. */
static void model_flush_clean(struct model *model, uint32_t work)
{
    if (row_table_flushed_step(model->table, model->flush, &model->after, work)) return;
    buffer_free(&model->after);
    if (model->flush == model->commit) assert_int_equal(row_table_dirty_bytes(model->table), 0);
    if (model->flush == model->last) check_no_tombstones(model);
    model->flush = 0;
}

static void model_flush(struct model *model, uint32_t work)
{
    if (model->flush == 0)
        model_flush_begin(model);
    else if (model->cutting)
        model_flush_copy(model, work);
    else
        model_flush_clean(model, work);
}

static void model_flush_whole(struct model *model)
{
    do
        model_flush(model, UINT32_MAX);
    while (model->flush);
}

static void model_step(struct model *model, uint32_t deletes)
{
    uint64_t dice = random_below(&model->random, 1000);
    if (dice < 900) {
        model_entry(model, deletes);
    } else if (dice < 950) {
        size_t first = random_below(&model->random, model->key_count);
        size_t end = first + random_below(&model->random, 100);
        check_scan(model, first, end < model->key_count ? end : model->key_count);
        check_get(model, draw_key(model));
    } else if (dice < 980) {
        if (model->last > model->commit)
            model_commit(model, random_between(&model->random, model->commit, model->last));
    } else if (dice < 985) {
        model_revert(model);
    } else {
        model_flush(model, (uint32_t)random_between(&model->random, 1, 2 * model->key_count));
    }
}

static void run_model(uint64_t seed, size_t keys, size_t steps)
{
    struct model model;
    model_make(&model, seed, keys);
    uint32_t deletes = 20;
    for (size_t i = 0; i < steps; i++) {
        if (i % (steps / 5) == 0) deletes = (uint32_t)(deletes + 35) % 90; /* grows and shrinks */
        model_step(&model, deletes);
        if (i % (steps / 20) == 0) check_all(&model);
    }
    check_all(&model);
    model_revert(&model);
    if (model.flush) model_flush_whole(&model);
    model_flush_whole(&model);
    check_no_tombstones(&model);
    check_all(&model);
    if (keys > 100) assert_true(model.replaced > 0);
    model_free(&model);
}

static void test_many_keys_against_the_model(void **state)
{
    for (uint64_t seed = 1; seed <= 4; seed++)
        run_model(seed, KEYS_MAX, 100000);
}

static void test_few_keys_against_the_model(void **state)
{
    for (uint64_t seed = 10; seed <= 40; seed++)
        run_model(seed, 8 * (size_t)(seed - 9), 10000);
}

static struct bytes key_at(uint8_t memory[32], uint32_t number)
{
    row_prefix_store(memory, 5, SERVICE_REDIS, 1);
    store_u32_be(memory + ROW_PREFIX_SIZE, number);
    return bytes_make(memory, ROW_PREFIX_SIZE + 4);
}

static void put_at(struct row_table *table, uint32_t number, uint64_t index, const char *value,
                   bool proposed)
{
    uint8_t key[32];
    struct row_header header = {.version = index, .type = 1};
    row_table_put(table, key_at(key, number), &header, bytes_of(value), proposed);
}

static void test_an_old_index_changes_nothing_but_the_same_one_does(void **state)
{
    struct row_table *table = row_table_make();
    uint8_t key[32];
    struct row_found found;
    put_at(table, 1, 7, "seven", false);
    put_at(table, 1, 6, "six", false);
    assert_true(row_table_get(table, key_at(key, 1), &found));
    assert_true(bytes_equal(found.value, bytes_of("seven")));

    /* INCR k; INCR k in one MULTI: two puts of one entry, the later one counts. */
    put_at(table, 1, 7, "seven again", false);
    assert_true(row_table_get(table, key_at(key, 1), &found));
    assert_true(bytes_equal(found.value, bytes_of("seven again")));

    row_table_delete(table, key_at(key, 1), 6, false);
    assert_true(row_table_get(table, key_at(key, 1), &found) && !found.tombstone);
    row_table_free(table);
}

/* The place of the row that was read last is remembered; it must not be taken for another's. */
static void test_a_write_after_a_read_goes_where_its_own_key_is(void **state)
{
    struct row_table *table = row_table_make();
    uint8_t key[32];
    struct row_found found;
    for (uint32_t i = 1; i <= 200; i++)
        put_at(table, i, i, "old", false);
    for (uint32_t i = 1; i <= 200; i++) {
        assert_true(row_table_get(table, key_at(key, i), &found));
        if (i % 3 == 1) put_at(table, 500 + i, 1000 + 2 * i, "between", true); /* moves others */
        put_at(table, i % 2 ? i : 201 - i, 1001 + 2 * i, "new", true);
    }
    row_table_commit(table, 1000 + 2 * 200 + 1);
    for (uint32_t i = 1; i <= 200; i++) {
        assert_true(row_table_get(table, key_at(key, i), &found));
        bool is_new = i % 2; /* 201 - i is odd where i is even */
        assert_true(bytes_equal(found.value, bytes_of(is_new ? "new" : "old")));
    }
    assert_int_equal(row_table_rows(table), 267);
    row_table_free(table);
}

static void test_a_proposed_delete_of_nothing_leaves_a_tombstone_until_commit(void **state)
{
    struct row_table *table = row_table_make();
    uint8_t key[32];
    struct row_found found;
    row_table_delete(table, key_at(key, 1), 3, true);
    assert_true(row_table_get(table, key_at(key, 1), &found));
    assert_true(found.tombstone && found.header.version == 3);
    row_table_commit(table, 3);
    assert_false(row_table_get(table, key_at(key, 1), &found));

    row_table_delete(table, key_at(key, 1), 4, false);
    assert_false(row_table_get(table, key_at(key, 1), &found));
    assert_int_equal(row_table_rows(table), 0);
    row_table_free(table);
}

static void test_a_flushed_tombstone_stays_gone_after_revert(void **state)
{
    struct row_table *table = row_table_make();
    uint8_t key[32];
    struct row_found found;
    put_at(table, 1, 1, "old", false);
    row_table_flushed(table, 1);
    row_table_delete(table, key_at(key, 1), 2, false);
    put_at(table, 1, 3, "new", true);
    row_table_flushed(table, 2);
    row_table_revert(table);
    assert_false(row_table_get(table, key_at(key, 1), &found));
    assert_int_equal(row_table_rows(table), 0);
    row_table_free(table);
}

static void test_what_is_applied_under_a_proposal_shows_after_revert(void **state)
{
    struct row_table *table = row_table_make();
    uint8_t key[32];
    struct row_found found;
    put_at(table, 1, 1, "one", false);
    put_at(table, 1, 9, "proposed", true);
    put_at(table, 2, 9, "proposed", true);
    put_at(table, 1, 2,
           "two, of a size that needs another allocation than one, for the value has "
           "grown so much that it does not fit in place of what was there",
           false);
    put_at(table, 2, 2, "two", false);
    assert_true(row_table_get(table, key_at(key, 1), &found));
    assert_true(bytes_equal(found.value, bytes_of("proposed")));
    row_table_delete(table, key_at(key, 1), 3, false);
    assert_false(row_table_get_committed(table, key_at(key, 1), &found));
    assert_true(row_table_get_committed(table, key_at(key, 2), &found));
    assert_true(bytes_equal(found.value, bytes_of("two")));
    row_table_flushed(table, 3); /* the tombstone under the proposal must not be cut off it */
    assert_int_equal(row_table_rows(table), 2);
    row_table_revert(table);
    assert_int_equal(row_table_rows(table), 1);
    assert_true(row_table_get(table, key_at(key, 2), &found));
    assert_int_equal(found.state, ROW_CLEAN);
    row_table_free(table);
}

static void count_dirty(void *context, const struct row_found *found)
{
    size_t *count = context;
    (*count)++;
    assert_int_equal(found->header.version, 1);
}

static void test_a_flush_sees_what_proposals_hide(void **state)
{
    struct row_table *table = row_table_make();
    put_at(table, 1, 1, "committed", false);
    put_at(table, 1, 2, "proposed", true);
    put_at(table, 2, 2, "only proposed", true);
    size_t count = 0;
    row_table_dirty_each(table, &count, count_dirty);
    assert_int_equal(count, 1);
    row_table_flushed(table, 1);
    count = 0;
    row_table_dirty_each(table, &count, count_dirty);
    assert_int_equal(count, 0);
    row_table_free(table);
}

static void test_rising_loads_are_dense_and_clean(void **state)
{
    struct row_table *table = row_table_make();
    uint8_t key[32];
    struct row_header header = {.version = 1, .type = 1};
    for (uint32_t i = 0; i < 100000; i++)
        row_table_load(table, key_at(key, i), &header, bytes_of("v"));
    assert_int_equal(row_table_dirty_bytes(table), 0);
    assert_int_equal(row_table_count(table, SERVICE_REDIS, 1), 100000);
    /* 64 bytes of row, and little more than head and pointer in its leaf */
    assert_true(row_table_bytes(table) < 100000 * (64 + 15));
    for (uint32_t i = 0; i < 100000; i++)
        row_table_delete(table, key_at(key, i), 2, false);
    row_table_flushed(table, 2);
    assert_int_equal(row_table_rows(table), 0);
    assert_true(row_table_bytes(table) < 4096);
    row_table_free(table);
}

static bool stop_after_three(void *context, const struct row_found *found)
{
    uint32_t *last = context;
    *last = load_u32_be(found->key.data + ROW_PREFIX_SIZE);
    return *last % 3 != 2;
}

static void test_committed_rows_resume_after_a_key(void **state)
{
    struct row_table *table = row_table_make();
    for (uint32_t i = 0; i < 10; i++)
        put_at(table, i, 1, "v", false);
    uint8_t key[32];
    uint32_t last = 99;
    row_table_committed_each(table, bytes_make(NULL, 0), &last, stop_after_three);
    assert_int_equal(last, 2);
    row_table_committed_each(table, key_at(key, last), &last, stop_after_three);
    assert_int_equal(last, 5);
    row_table_free(table);
}

struct short_key {
    uint8_t bytes[24];
    size_t size;
};

static struct short_key short_key(uint32_t slot, const char *middle, uint32_t tail,
                                  size_t tail_size)
{
    struct short_key key;
    row_prefix_store(key.bytes, (uint16_t)slot, SERVICE_REDIS, 1);
    key.size = ROW_PREFIX_SIZE + strlen(middle) + tail_size;
    memcpy(key.bytes + ROW_PREFIX_SIZE, middle, strlen(middle));
    memset(key.bytes + ROW_PREFIX_SIZE + strlen(middle), 0xff, 8);
    store_u32_be(key.bytes + ROW_PREFIX_SIZE + strlen(middle), tail);
    return key;
}

static int short_key_order(const void *a, const void *b)
{
    const struct short_key *first = a, *second = b;
    return bytes_compare(bytes_make(first->bytes, first->size),
                         bytes_make(second->bytes, second->size));
}

/* The first of the keys that is not below the one sought, however much of it is left. */
static void check_seeks(const struct row_table *table, const struct short_key *keys, size_t count,
                        struct short_key sought)
{
    for (;; sought.size--) {
        size_t want = 0;
        while (want < count && short_key_order(&keys[want], &sought) < 0)
            want++;
        struct row_cursor cursor;
        struct row_found found;
        row_cursor_seek(&cursor, table, bytes_make(sought.bytes, sought.size));
        bool there = row_cursor_next(&cursor, bytes_make(NULL, 0), &found);
        assert_true(there == (want < count));
        if (there)
            assert_true(bytes_equal(found.key, bytes_make(keys[want].bytes, keys[want].size)));
        if (sought.size == 0) return;
    }
}

/* The greatest and the least of what can follow, in slots that lie apart, beside keys that do not
 * have what all rows share behind their slot: in one leaf, then in many. */
static void test_a_seek_beside_what_all_rows_share_finds_its_slot(void **state)
{
    static const uint32_t tails[] = {0, 1, 0x7fffffff, 0x80000000, 0xfffffffe, 0xffffffff};
    static const char *const middles[] = {"", "m", "ma", "mm", "mm:", "mmm", "mz", "n", "\xff"};
    enum { TAILS = sizeof(tails) / sizeof(tails[0]), KEYS_END = 6 * 100 + 3 };
    struct short_key keys[KEYS_END];
    struct row_header header = {.version = 1, .type = 1};
    for (size_t each = TAILS; each <= 100; each += 100 - TAILS) {
        struct row_table *table = row_table_make();
        size_t count = 0;
        for (uint32_t i = 0; i < 6 * each; i++) {
            uint32_t tail = i / 6 < TAILS ? tails[i / 6] : i * 7777777;
            keys[count++] = short_key(0x10fd + i % 6 * (i % 6), "mm:", tail, 4 + i % 3);
        }
        for (size_t i = 0; i < count; i++)
            row_table_put(table, bytes_make(keys[i].bytes, keys[i].size), &header, bytes_of("v"),
                          0);
        if (each > TAILS) { /* these have nothing in common with any */
            for (uint32_t slot = 0x10fd; slot < 0x1117; slot += 12) {
                keys[count] = short_key(slot, "", 0, 4);
                keys[count].bytes[2] = SERVICE_META;
                struct bytes key = bytes_make(keys[count].bytes, keys[count].size);
                row_table_put(table, key, &header, bytes_of("v"), 0);
                count++;
            }
        }
        qsort(keys, count, sizeof(keys[0]), short_key_order);
        for (uint32_t slot = 0x10fb; slot < 0x1120; slot++) {
            for (size_t m = 0; m < sizeof(middles) / sizeof(middles[0]); m++) {
                for (size_t t = 0; t < TAILS; t++)
                    check_seeks(table, keys, count, short_key(slot, middles[m], tails[t], 8));
            }
        }
        row_table_free(table);
    }
}

static void test_a_seek_of_less_than_a_slot_comes_before_all_of_it(void **state)
{
    struct row_table *table = row_table_make();
    struct row_header header = {.version = 1, .type = 1};
    struct short_key keys[4];
    for (uint32_t i = 0; i < 4; i++) {
        keys[i] = short_key(i / 2 * 0x1200, "", i, 4);
        keys[i].bytes[2] = (uint8_t)(i % 2 * 2); /* nothing in common */
        row_table_put(table, bytes_make(keys[i].bytes, keys[i].size), &header, bytes_of("v"), 0);
    }
    check_seeks(table, keys, 4, keys[0]); /* down to no byte at all */
    check_seeks(table, keys, 4, keys[2]);
    row_table_free(table);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_an_old_index_changes_nothing_but_the_same_one_does),
        cmocka_unit_test(test_a_write_after_a_read_goes_where_its_own_key_is),
        cmocka_unit_test(test_a_proposed_delete_of_nothing_leaves_a_tombstone_until_commit),
        cmocka_unit_test(test_a_flushed_tombstone_stays_gone_after_revert),
        cmocka_unit_test(test_what_is_applied_under_a_proposal_shows_after_revert),
        cmocka_unit_test(test_a_flush_sees_what_proposals_hide),
        cmocka_unit_test(test_rising_loads_are_dense_and_clean),
        cmocka_unit_test(test_committed_rows_resume_after_a_key),
        cmocka_unit_test(test_a_seek_beside_what_all_rows_share_finds_its_slot),
        cmocka_unit_test(test_a_seek_of_less_than_a_slot_comes_before_all_of_it),
        cmocka_unit_test(test_few_keys_against_the_model),
        cmocka_unit_test(test_many_keys_against_the_model),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
