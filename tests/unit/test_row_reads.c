/* What transactions want of an evaluation: that it sees its own writes on walks, stops at locks,
 * and tells what it read (rules C2, C7). */
#include "partition/row_context.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <cmocka.h>

struct fixture {
    struct row_table *table;
    struct arena arena;
    struct buffer effects, keys, ranges, namespaces;
    struct row_context rows;
    struct row_reads reads;
    struct locks *locks;
    uint8_t memory[64], other_memory[64];
    char shown[256]; /* keys and values, in order */
};

static void begin(struct fixture *fixture)
{
    arena_reset(&fixture->arena);
    buffer_clear(&fixture->effects);
    buffer_clear(&fixture->keys);
    buffer_clear(&fixture->ranges);
    buffer_clear(&fixture->namespaces);
    row_context_begin(&fixture->rows, fixture->table, &fixture->arena, &fixture->effects, 10,
                      1234567, 42);
    fixture->rows.next_index = 20;
    fixture->rows.locks = fixture->locks;
    fixture->reads = (struct row_reads){
        .keys = &fixture->keys, .ranges = &fixture->ranges, .namespaces = &fixture->namespaces};
    fixture->rows.reads = &fixture->reads;
}

static int setup(void **state)
{
    static struct fixture fixture;
    memset(&fixture, 0, sizeof(fixture));
    fixture.table = row_table_make();
    arena_init(&fixture.arena, 1 << 16);
    buffer_init(&fixture.effects, ENTRY_BODY_MAX);
    buffer_init(&fixture.keys, 1 << 16);
    buffer_init(&fixture.ranges, 1 << 16);
    buffer_init(&fixture.namespaces, 1 << 16);
    begin(&fixture);
    *state = &fixture;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *fixture = *state;
    row_context_end(&fixture->rows);
    row_table_free(fixture->table);
    locks_free(fixture->locks);
    arena_free(&fixture->arena);
    buffer_free(&fixture->effects);
    buffer_free(&fixture->keys);
    buffer_free(&fixture->ranges);
    buffer_free(&fixture->namespaces);
    return 0;
}

static struct bytes key_in(uint8_t *memory, const char *name)
{
    row_prefix_store(memory, 5, SERVICE_REDIS, 1);
    strcpy((char *)memory + ROW_PREFIX_SIZE, name);
    return bytes_make(memory, ROW_PREFIX_SIZE + strlen(name));
}

static struct bytes key_of(struct fixture *fixture, const char *name)
{
    return key_in(fixture->memory, name);
}

static void stored(struct fixture *fixture, const char *name, uint64_t index)
{
    struct row_header header = {.version = index, .type = 1};
    row_table_put(fixture->table, key_of(fixture, name), &header, bytes_of("old"), 0);
}

static void put(struct fixture *fixture, const char *name, const char *value)
{
    row_put(&fixture->rows, key_of(fixture, name), 1, 0, 0, bytes_of(value));
}

static enum row_result get(struct fixture *fixture, const char *name)
{
    struct row_view view;
    return row_get(&fixture->rows, key_of(fixture, name), &view);
}

static bool show(void *context, struct bytes key, const struct row_view *row)
{
    struct fixture *fixture = context;
    size_t size = strlen(fixture->shown);
    snprintf(fixture->shown + size, sizeof(fixture->shown) - size, "%.*s=%.*s ",
             (int)(key.size - ROW_PREFIX_SIZE), (const char *)key.data + ROW_PREFIX_SIZE,
             (int)row->value.size, (const char *)row->value.data);
    return strstr(fixture->shown, "stop=") == NULL;
}

static enum row_result scan(struct fixture *fixture, const char *from, const char *to)
{
    fixture->shown[0] = '\0';
    return row_scan(&fixture->rows, key_in(fixture->other_memory, from), key_of(fixture, to),
                    fixture, show);
}

static void test_a_walk_sees_own_writes(void **state)
{
    struct fixture *fixture = *state;
    stored(fixture, "b", 3);
    stored(fixture, "d", 4);
    stored(fixture, "f", 5);
    put(fixture, "g", "new");
    put(fixture, "a", "new");
    put(fixture, "d", "changed");
    put(fixture, "e", "gone");
    row_delete(&fixture->rows, key_of(fixture, "b"));
    row_delete(&fixture->rows, key_of(fixture, "e"));
    put(fixture, "z", "outside");
    assert_int_equal(scan(fixture, "a", "h"), ROW_FOUND);
    assert_string_equal(fixture->shown, "a=new d=changed f=old g=new ");
    assert_int_equal(scan(fixture, "h", "y"), ROW_ABSENT);
    row_delete(&fixture->rows, key_of(fixture, "f"));
    assert_int_equal(scan(fixture, "e", "g"), ROW_ABSENT);
}

static void test_a_walk_ends_at_an_own_write(void **state)
{
    struct fixture *fixture = *state;
    stored(fixture, "a", 3);
    stored(fixture, "x", 3);
    put(fixture, "stop", "here");
    put(fixture, "t", "not shown");
    assert_int_equal(scan(fixture, "a", "z"), ROW_FOUND);
    assert_string_equal(fixture->shown, "a=old stop=here ");
}

/* Many, in no order: the same as a table that has them. */
static void test_walks_over_many_own_writes(void **state)
{
    struct fixture *fixture = *state;
    char name[16], expected[256] = "";
    for (uint32_t i = 0; i < 26; i++) {
        snprintf(name, sizeof(name), "%c", 'a' + (int)(i * 11 % 26));
        if (i % 3 == 0) stored(fixture, name, 5);
        if (i % 4 != 0) put(fixture, name, "p");
    }
    for (uint32_t c = 0; c < 26; c++) {
        uint32_t i = 0;
        while (i * 11 % 26 != c)
            i++;
        const char *value = i % 4 != 0 ? "p" : i % 3 == 0 ? "old" : NULL;
        if (value == NULL) continue;
        size_t size = strlen(expected);
        snprintf(expected + size, sizeof(expected) - size, "%c=%s ", 'a' + (int)c, value);
    }
    assert_int_equal(scan(fixture, "a", "zz"), ROW_FOUND);
    assert_string_equal(fixture->shown, expected);
}

/* Whatever the transaction `seq` has prepared holds "written" and read "read". */
static struct txn_id lock(struct fixture *fixture, uint64_t seq)
{
    struct txn_id id = {.gateway = {1, 1, 0}, .primary = {2}, .seq = seq};
    struct row_header header = {.type = 1};
    struct buffer effects, keys;
    buffer_init(&effects, 4096);
    buffer_init(&keys, 4096);
    effect_put_encode(&effects, key_of(fixture, "written"), &header, bytes_of("v"));
    struct writer writer = writer_make(&keys);
    write_sized(&writer, key_of(fixture, "read"));
    struct txn_prepared prepared = {
        .key_count = 1, .keys = buffer_bytes(&keys), .effects = buffer_bytes(&effects)};
    if (fixture->locks == NULL) fixture->locks = locks_make();
    locks_add(fixture->locks, id, &prepared);
    buffer_free(&effects);
    buffer_free(&keys);
    begin(fixture);
    return id;
}

static void test_locks_stop_whoever_meets_them(void **state)
{
    struct fixture *fixture = *state;
    struct txn_id id = lock(fixture, 1);
    assert_int_equal(get(fixture, "read"), ROW_ABSENT);
    assert_false(fixture->rows.must_wait);
    assert_int_equal(get(fixture, "written"), ROW_STOP);
    assert_true(fixture->rows.must_wait);
    assert_int_equal(row_context_stop(&fixture->rows), EVALUATE_WAIT);

    begin(fixture);
    put(fixture, "read", "x");
    assert_true(fixture->rows.must_wait);
    assert_int_equal(fixture->rows.effect_count, 0);
    begin(fixture);
    row_delete(&fixture->rows, key_of(fixture, "read")); /* whether it is there or not */
    assert_true(fixture->rows.must_wait);
    begin(fixture);
    assert_int_equal(scan(fixture, "v", "z"), ROW_STOP);
    assert_true(fixture->rows.must_wait);
    begin(fixture);
    row_count(&fixture->rows, SERVICE_REDIS, 1);
    assert_true(fixture->rows.must_wait);

    begin(fixture);
    fixture->rows.lock_owner = &id;
    put(fixture, "read", "x");
    put(fixture, "written", "x");
    assert_false(fixture->rows.must_wait);
    assert_int_equal(fixture->rows.effect_count, 2);
}

static void test_reads_are_told(void **state)
{
    struct fixture *fixture = *state;
    stored(fixture, "a", 3);
    get(fixture, "a");
    get(fixture, "absent");
    put(fixture, "own", "x");
    get(fixture, "own"); /* not of others */
    put(fixture, "blind", "x");
    assert_int_equal(fixture->reads.key_count, 2);
    struct reader reader = reader_make(buffer_bytes(&fixture->keys));
    assert_true(bytes_equal(read_sized(&reader), key_of(fixture, "a")));
    assert_true(bytes_equal(read_sized(&reader), key_of(fixture, "absent")));
    scan(fixture, "a", "c");
    assert_int_equal(fixture->reads.range_count, 1);
    row_count(&fixture->rows, SERVICE_REDIS, 1);
    assert_int_equal(fixture->reads.namespace_count, 1);
}

struct digest {
    uint64_t part[2];
};

static struct digest digest_of(struct fixture *fixture, bool walk)
{
    begin(fixture);
    if (walk)
        scan(fixture, "a", "z");
    else
        get(fixture, "a");
    return (struct digest){{fixture->reads.digest[0], fixture->reads.digest[1]}};
}

static void assert_digest(struct digest a, struct digest b, bool equal)
{
    assert_int_equal(memcmp(&a, &b, sizeof(a)) == 0, equal);
}

/* Written with the same value, or away and back, it is another state (WHY 3.2). */
static void test_a_digest_tells_any_write(void **state)
{
    struct fixture *fixture = *state;
    for (int walk = 0; walk < 2; walk++) {
        uint64_t index = 30 + (uint64_t)walk * 10;
        struct digest absent = digest_of(fixture, walk);
        assert_digest(absent, digest_of(fixture, walk), true);
        stored(fixture, "a", index);
        struct digest first = digest_of(fixture, walk);
        assert_digest(first, absent, false);
        assert_digest(first, digest_of(fixture, walk), true);
        stored(fixture, "a", index + 1);
        assert_digest(first, digest_of(fixture, walk), false);
        row_table_delete(fixture->table, key_of(fixture, "a"), index + 2, 0);
        assert_digest(absent, digest_of(fixture, walk), false);
        row_table_flushed(fixture->table, index + 2); /* its deletion is forgotten */
        assert_digest(absent, digest_of(fixture, walk), false);
    }
}

static void test_effects_are_taken_and_put(void **state)
{
    struct fixture *fixture = *state;
    put(fixture, "a", "x");
    put(fixture, "b", "y");
    struct bytes taken = row_take_effects(&fixture->rows);
    assert_int_equal(fixture->rows.effect_count, 0);
    assert_int_equal(buffer_size(&fixture->effects), 0);
    assert_int_equal(get(fixture, "a"), ROW_ABSENT);
    row_put_effects(&fixture->rows, taken);
    assert_int_equal(fixture->rows.effect_count, 2);
    assert_true(bytes_equal(buffer_bytes(&fixture->effects), taken));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_a_walk_sees_own_writes, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_walk_ends_at_an_own_write, setup, teardown),
        cmocka_unit_test_setup_teardown(test_walks_over_many_own_writes, setup, teardown),
        cmocka_unit_test_setup_teardown(test_locks_stop_whoever_meets_them, setup, teardown),
        cmocka_unit_test_setup_teardown(test_reads_are_told, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_digest_tells_any_write, setup, teardown),
        cmocka_unit_test_setup_teardown(test_effects_are_taken_and_put, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
