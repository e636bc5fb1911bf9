/* Above all: `dep` is the newest uncommitted index that an answer rests on (rule A2). */
#include "partition/row_context.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <cmocka.h>

#include "base/assert.h"

struct fixture {
    struct row_table *table;
    struct arena arena;
    struct buffer effects;
    struct row_context rows;
    uint8_t key[64];
    size_t shown;
    size_t shown_max; /* stop after so many */
};

static void begin(struct fixture *fixture, uint64_t commit_index)
{
    arena_reset(&fixture->arena);
    buffer_clear(&fixture->effects);
    row_context_begin(&fixture->rows, fixture->table, &fixture->arena, &fixture->effects,
                      commit_index, 1234567, 42);
}

static int setup(void **state)
{
    static struct fixture fixture;
    memset(&fixture, 0, sizeof(fixture));
    fixture.table = row_table_make();
    fixture.shown_max = SIZE_MAX;
    arena_init(&fixture.arena, 1 << 16);
    buffer_init(&fixture.effects, ENTRY_BODY_MAX);
    begin(&fixture, 10);
    *state = &fixture;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *fixture = *state;
    row_context_end(&fixture->rows);
    row_table_free(fixture->table);
    arena_free(&fixture->arena);
    buffer_free(&fixture->effects);
    return 0;
}

static struct bytes key_of(struct fixture *fixture, const char *name)
{
    row_prefix_store(fixture->key, 5, SERVICE_REDIS, 1);
    strcpy((char *)fixture->key + ROW_PREFIX_SIZE, name);
    return bytes_make(fixture->key, ROW_PREFIX_SIZE + strlen(name));
}

static void table_put(struct fixture *fixture, const char *name, uint64_t index, bool proposed)
{
    struct row_header header = {.version = index, .type = 1};
    row_table_put(fixture->table, key_of(fixture, name), &header, bytes_of(name), proposed);
}

static void table_delete(struct fixture *fixture, const char *name, uint64_t index, bool proposed)
{
    row_table_delete(fixture->table, key_of(fixture, name), index, proposed);
}

static enum row_result get(struct fixture *fixture, const char *name, struct row_view *ret)
{
    return row_get(&fixture->rows, key_of(fixture, name), ret);
}

static void put(struct fixture *fixture, const char *name, const char *value)
{
    row_put(&fixture->rows, key_of(fixture, name), 1, 0, 0, bytes_of(value));
}

static bool on_row(void *context, struct bytes key, const struct row_view *row)
{
    struct fixture *fixture = context;
    return ++fixture->shown < fixture->shown_max;
}

static enum row_result scan(struct fixture *fixture, const char *from, const char *to)
{
    uint8_t from_memory[64];
    struct bytes from_key = key_of(fixture, from);
    memcpy(from_memory, from_key.data, from_key.size);
    fixture->shown = 0;
    return row_scan(&fixture->rows, bytes_make(from_memory, from_key.size), key_of(fixture, to),
                    fixture, on_row);
}

static void test_committed_rows_cost_no_wait(void **state)
{
    struct fixture *fixture = *state;
    struct row_view view;
    table_put(fixture, "a", 10, false);
    assert_int_equal(get(fixture, "a", &view), ROW_FOUND);
    assert_int_equal(get(fixture, "never", &view), ROW_ABSENT);
    assert_int_equal(fixture->rows.dep, 0);
}

static void test_a_proposed_row_its_deletion_and_its_absence_count(void **state)
{
    struct fixture *fixture = *state;
    struct row_view view;
    table_put(fixture, "a", 9, false);
    table_put(fixture, "b", 11, true);
    table_delete(fixture, "a", 12, true);
    table_delete(fixture, "never", 13, true);

    assert_int_equal(get(fixture, "b", &view), ROW_FOUND);
    assert_int_equal(fixture->rows.dep, 11);
    assert_int_equal(get(fixture, "a", &view), ROW_ABSENT);
    assert_int_equal(fixture->rows.dep, 12);
    assert_int_equal(get(fixture, "never", &view), ROW_ABSENT);
    assert_int_equal(fixture->rows.dep, 13);
    assert_int_equal(get(fixture, "b", &view), ROW_FOUND);
    assert_int_equal(fixture->rows.dep, 13); /* the highest */
}

static void test_an_entry_committed_meanwhile_no_longer_counts(void **state)
{
    struct fixture *fixture = *state;
    struct row_view view;
    table_put(fixture, "a", 11, true);
    begin(fixture, 11); /* committed, and not yet applied here */
    assert_int_equal(get(fixture, "a", &view), ROW_FOUND);
    assert_int_equal(fixture->rows.dep, 0);
}

static void test_a_scan_counts_what_it_shows_and_what_is_hidden(void **state)
{
    struct fixture *fixture = *state;
    table_put(fixture, "b", 8, false);
    table_put(fixture, "c", 9, false);
    table_put(fixture, "d", 9, false);
    table_delete(fixture, "c", 11, true);
    table_put(fixture, "e", 12, true);

    assert_int_equal(scan(fixture, "a", "c"), ROW_FOUND);
    assert_int_equal(fixture->rows.dep, 0);
    assert_int_equal(scan(fixture, "a", "d"), ROW_FOUND);
    assert_int_equal(fixture->shown, 1);
    assert_int_equal(fixture->rows.dep, 11); /* the tombstone in the range */
    assert_int_equal(scan(fixture, "c", "cc"), ROW_ABSENT);
    fixture->shown_max = 1;
    scan(fixture, "d", "z");
    assert_int_equal(fixture->rows.dep, 11); /* stopped before the one at 12 */
    fixture->shown_max = SIZE_MAX;
    scan(fixture, "d", "z");
    assert_int_equal(fixture->shown, 2);
    assert_int_equal(fixture->rows.dep, 12);
}

static void test_a_count_waits_for_the_newest_proposal(void **state)
{
    struct fixture *fixture = *state;
    table_put(fixture, "a", 9, false);
    assert_int_equal(row_count(&fixture->rows, SERVICE_REDIS, 1), 1);
    assert_int_equal(fixture->rows.dep, 0);
    table_put(fixture, "b", 11, true);
    table_put(fixture, "c", 14, true);
    assert_int_equal(row_count(&fixture->rows, SERVICE_REDIS, 1), 3);
    assert_int_equal(fixture->rows.dep, 14);
}

static void test_own_writes_are_seen_and_wait_for_nothing(void **state)
{
    struct fixture *fixture = *state;
    struct row_view view;
    table_put(fixture, "a", 9, false);
    table_put(fixture, "b", 11, true);
    put(fixture, "a", "mine");
    put(fixture, "b", "mine too");
    put(fixture, "c", "new");
    assert_int_equal(get(fixture, "a", &view), ROW_FOUND);
    assert_true(bytes_equal(view.value, bytes_of("mine")));
    assert_int_equal(get(fixture, "b", &view), ROW_FOUND);
    assert_int_equal(fixture->rows.dep, 0); /* a blind overwrite */
    row_delete(&fixture->rows, key_of(fixture, "a"));
    assert_int_equal(get(fixture, "a", &view), ROW_ABSENT);
    assert_int_equal(row_count(&fixture->rows, SERVICE_REDIS, 1), 2);
    assert_int_equal(fixture->rows.effect_count, 4);
}

/* The effects, where own writes stand, move as they grow. */
static void test_what_was_read_of_an_own_write_stays_while_more_is_written(void **state)
{
    struct fixture *fixture = *state;
    struct row_view view, later;
    char name[16], value[400];
    put(fixture, "a", "first");
    assert_int_equal(get(fixture, "a", &view), ROW_FOUND);
    memset(value, 'v', sizeof(value) - 1);
    value[sizeof(value) - 1] = 0;
    for (int i = 0; i < 100; i++) {
        snprintf(name, sizeof(name), "b%d", i);
        put(fixture, name, value + i);
    }
    put(fixture, "a", "second");
    row_delete(&fixture->rows, key_of(fixture, "b7"));
    assert_true(bytes_equal(view.value, bytes_of("first")));
    assert_int_equal(get(fixture, "a", &later), ROW_FOUND);
    assert_true(bytes_equal(later.value, bytes_of("second")));
    for (int i = 0; i < 100; i++) {
        snprintf(name, sizeof(name), "b%d", i);
        assert_int_equal(get(fixture, name, &later), i == 7 ? ROW_ABSENT : ROW_FOUND);
        if (i != 7) assert_true(bytes_equal(later.value, bytes_of(value + i)));
    }
    assert_int_equal(row_count(&fixture->rows, SERVICE_REDIS, 1), 100);
}

static void test_an_add_is_a_put_of_the_sum(void **state)
{
    struct fixture *fixture = *state;
    struct row_view view;
    struct row_header header = {.version = 11, .type = 3};
    uint8_t seven[8];
    store_u64(seven, 7);
    row_table_put(fixture->table, key_of(fixture, "n"), &header, bytes_make(seven, 8), true);
    row_add(&fixture->rows, key_of(fixture, "n"), 5);
    row_add(&fixture->rows, key_of(fixture, "n"), -2);
    assert_int_equal(fixture->rows.dep, 11); /* it had to look */
    assert_int_equal(get(fixture, "n", &view), ROW_FOUND);
    assert_int_equal(effect_add_base(view.value), 10);
    assert_int_equal(view.header.type, 3);
    assert_int_equal(fixture->rows.dep, 11);
    row_add(&fixture->rows, key_of(fixture, "n"), 1);
    assert_int_equal(get(fixture, "n", &view), ROW_FOUND);
    assert_int_equal(effect_add_base(view.value), 11);
}

static void test_a_drop_hides_rows_and_own_writes(void **state)
{
    struct fixture *fixture = *state;
    struct row_view view;
    table_put(fixture, "a", 9, false);
    put(fixture, "b", "mine");
    row_drop_namespace(&fixture->rows, SERVICE_REDIS, 1);
    assert_int_equal(get(fixture, "a", &view), ROW_ABSENT);
    assert_int_equal(get(fixture, "b", &view), ROW_ABSENT);
    assert_int_equal(row_count(&fixture->rows, SERVICE_REDIS, 1), 0);
    row_add(&fixture->rows, key_of(fixture, "a"), 4);
    assert_int_equal(get(fixture, "a", &view), ROW_FOUND);
    assert_int_equal(effect_add_base(view.value), 4);
    assert_int_equal(row_count(&fixture->rows, SERVICE_REDIS, 1), 1);
}

/* What an evaluation sees of its own writes is what applying its effects gives. */
static void test_effects_give_what_was_seen(void **state)
{
    struct fixture *fixture = *state;
    struct random random;
    char name[16];
    random_seed(&random, 3);
    for (uint64_t index = 11; index < 400; index++) {
        begin(fixture, index - 1);
        uint64_t writes = random_below(&random, 120);
        for (uint64_t i = 0; i < writes; i++) {
            snprintf(name, sizeof(name), "k%u", (unsigned)random_below(&random, 90));
            uint64_t dice = random_below(&random, 100);
            struct row_view view;
            if (dice < 40) {
                put(fixture, name, dice < 20 ? "12345678" : "other");
            } else if (dice < 60) {
                row_delete(&fixture->rows, key_of(fixture, name));
            } else if (dice < 80) {
                row_add(&fixture->rows, key_of(fixture, name), (int64_t)dice);
            } else if (dice < 99) {
                get(fixture, name, &view);
            } else {
                row_drop_namespace(&fixture->rows, SERVICE_REDIS, 1);
            }
        }
        struct row_table *seen = row_table_make();
        uint64_t count = row_count(&fixture->rows, SERVICE_REDIS, 1);
        for (unsigned i = 0; i < 90; i++) {
            struct row_view view;
            snprintf(name, sizeof(name), "k%u", i);
            if (get(fixture, name, &view) != ROW_FOUND) continue;
            if (view.header.version == 0) view.header.version = index;
            row_table_put(seen, key_of(fixture, name), &view.header, view.value, false);
        }
        struct reader reader = reader_make(buffer_bytes(&fixture->effects));
        struct effect effect;
        while (effect_decode(&reader, &effect) == STATUS_OK)
            effect_apply(&effect, index, true, fixture->table);
        row_table_commit(fixture->table, index);
        assert_int_equal(row_table_count(fixture->table, SERVICE_REDIS, 1), count);
        assert_true(row_table_hash(fixture->table) == row_table_hash(seen));
        row_table_free(seen);
    }
}

static void test_the_budget_ends_an_evaluation(void **state)
{
    struct fixture *fixture = *state;
    struct row_view view;
    table_put(fixture, "a", 9, false);
    table_put(fixture, "b", 9, false);
    fixture->rows.rows_left = 1;
    assert_int_equal(scan(fixture, "a", "z"), ROW_STOP);
    assert_int_equal(fixture->shown, 1);
    assert_int_equal(row_context_stop(&fixture->rows), EVALUATE_OVER_BUDGET);
    assert_int_equal(get(fixture, "a", &view), ROW_STOP);

    begin(fixture, 10);
    fixture->rows.bytes_left = 1;
    assert_int_equal(get(fixture, "a", &view), ROW_FOUND);
    assert_int_equal(get(fixture, "b", &view), ROW_STOP);
}

static void test_writes_that_do_not_fit_end_it_too(void **state)
{
    static const uint8_t big[ROW_VALUE_SIZE_MAX + 1];
    struct fixture *fixture = *state;
    row_put(&fixture->rows, key_of(fixture, "a"), 1, 0, 0, bytes_make(big, sizeof(big)));
    assert_true(fixture->rows.over_budget);
    begin(fixture, 10);
    row_put(&fixture->rows, key_of(fixture, "a"), 1, 0, 0, bytes_make(big, 200 << 10));
    assert_false(fixture->rows.over_budget);
    row_put(&fixture->rows, key_of(fixture, "b"), 1, 0, 0, bytes_make(big, 200 << 10));
    assert_true(fixture->rows.over_budget);
    assert_int_equal(fixture->rows.effect_count, 1);
}

static void test_an_evaluation_run_again_draws_the_same_numbers(void **state)
{
    struct fixture *fixture = *state;
    uint64_t first = row_random(&fixture->rows);
    uint64_t second = row_random(&fixture->rows);
    assert_true(first != second);
    begin(fixture, 10);
    assert_true(row_random(&fixture->rows) == first);
    assert_true(row_random(&fixture->rows) == second);
    assert_int_equal(row_time_ms(&fixture->rows), 1234);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_committed_rows_cost_no_wait),
        TEST(test_a_proposed_row_its_deletion_and_its_absence_count),
        TEST(test_an_entry_committed_meanwhile_no_longer_counts),
        TEST(test_a_scan_counts_what_it_shows_and_what_is_hidden),
        TEST(test_a_count_waits_for_the_newest_proposal),
        TEST(test_own_writes_are_seen_and_wait_for_nothing),
        TEST(test_what_was_read_of_an_own_write_stays_while_more_is_written),
        TEST(test_an_add_is_a_put_of_the_sum),
        TEST(test_a_drop_hides_rows_and_own_writes),
        TEST(test_effects_give_what_was_seen),
        TEST(test_the_budget_ends_an_evaluation),
        TEST(test_writes_that_do_not_fit_end_it_too),
        TEST(test_an_evaluation_run_again_draws_the_same_numbers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
