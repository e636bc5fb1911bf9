/* How long a value that was sent ahead waits for its command: its whole time at least, by any
 * clocks, and not much longer, whoever leads (V-5, F48). */
#include "redis_harness.h"

#include "base/random.h"
#include "services/redis/parts.h"
#include "services/redis/stage_clock.h"

enum { SECOND = 1000 * 1000, TIMEOUT = 60 * SECOND, STEP = TIMEOUT / REDIS_STAGE_STEPS };

struct bed {
    struct redis_harness *h;
    int64_t real; /* us, by the leader's boot clock; h->time is what it takes for the time */
    unsigned entries;
};

static int setup(void **state)
{
    struct bed *bed = calloc(1, sizeof(*bed));

    bed->h = redis_harness_make();
    bed->h->limits.string_row_max = 64;
    bed->h->limits.chunk_size = 16;
    bed->h->limits.stage_bytes = 48;
    bed->h->limits.stage_timeout_ms = TIMEOUT / 1000;
    bed->h->leads_since = bed->h->time;
    *state = bed;
    return 0;
}

static int teardown(void **state)
{
    struct bed *bed = *state;

    redis_harness_free(bed->h);
    free(bed);
    return 0;
}

static struct redis_reference stage(struct bed *bed)
{
    static const uint8_t value[100] = "what is sent ahead";

    return redis_harness_stage(bed->h, bytes_of("k"), bytes_make(value, sizeof(value)));
}

static bool is_there(struct bed *bed)
{
    struct redis_rows rows;

    redis_rows_check(bed->h->table, &rows);
    return rows.staged == 1;
}

static void chore(struct bed *bed)
{
    redis_harness_chore(bed->h);
    bed->entries += bed->h->effect_count > 0;
}

/* Runs the background when it asks for it, until the value is gone or that much time is. */
static void lead(struct bed *bed, int64_t duration)
{
    struct redis_harness *h = bed->h;
    int64_t end = h->time + duration;

    chore(bed); /* as after each election */
    while (is_there(bed) && h->chore_at <= end) {
        int64_t wait = h->chore_at > h->time ? h->chore_at - h->time : 0;
        h->time += wait;
        bed->real += wait;
        chore(bed);
    }
    if (!is_there(bed)) return;
    bed->real += end - h->time;
    h->time = end;
}

/* Another one leads, and by its clock it is so much later. */
static void elect(struct bed *bed, int64_t leap)
{
    bed->h->time += leap;
    bed->h->leads_since = bed->h->time;
}

static void test_what_nobody_comes_for_is_collected_after_its_time(void **state)
{
    struct bed *bed = *state;
    struct redis_reference reference = stage(bed);

    assert_int_equal(bed->h->chore_at, bed->h->time + STEP); /* not before: nothing is to be done */
    lead(bed, 2 * (int64_t)TIMEOUT);
    assert_false(is_there(bed));
    assert_in_range(bed->real, TIMEOUT, TIMEOUT + STEP);
    assert_in_range(bed->entries, REDIS_STAGE_STEPS, REDIS_STAGE_STEPS + 1);

    struct bytes arguments[] = {bytes_of("k"), bytes_make(NULL, 0)};
    struct redis_body body = {.flags = REDIS_BODY_REFERENCES,
                              .arguments = arguments,
                              .count = 2,
                              .references = &reference,
                              .reference_count = 1};
    reference.argument = 2;
    body.command = redis_command_find(&bed->h->commands, bytes_of("set"), NULL)->id;
    struct bytes reply = redis_harness_body(bed->h, &body, key_slot(bytes_of("k")));
    assert_memory_equal(reply.data, "-UNAVAILABLE", 12);
}

static void test_when_nothing_waits_nothing_runs(void **state)
{
    struct bed *bed = *state;

    stage(bed);
    lead(bed, 2 * (int64_t)TIMEOUT);
    while (bed->h->chore_at != INT64_MAX) /* its parts */
        redis_harness_chore(bed->h);
    elect(bed, 10 * SECOND);
    redis_harness_chore(bed->h);
    assert_int_equal(bed->h->effect_count, 0);
    assert_true(bed->h->chore_at == INT64_MAX);
}

static void test_each_part_begins_the_time_anew(void **state)
{
    struct bed *bed = *state;
    struct redis_reference reference = stage(bed);
    uint8_t offset[8], id[10];
    struct bytes arguments[] = {bytes_of("k"), bytes_make(id, sizeof(id)),
                                bytes_make(offset, sizeof(offset)), bytes_of("and more")};
    struct redis_body body = {.flags = REDIS_BODY_STAGE, .arguments = arguments, .count = 4};

    lead(bed, TIMEOUT - SECOND);
    store_u64(offset, reference.size);
    store_u64(id, reference.index);
    store_u16(id + 8, reference.number);
    struct bytes reply = redis_harness_body(bed->h, &body, key_slot(bytes_of("k")));
    assert_true(redis_stage_reply_is_ok(reply));
    bed->real = 0;
    lead(bed, 2 * (int64_t)TIMEOUT);
    assert_in_range(bed->real, TIMEOUT, TIMEOUT + STEP);
}

/* More than a step can collect. */
static void make_garbage(struct bed *bed)
{
    static uint8_t value[4096];
    struct bytes set[] = {bytes_of("SET"), bytes_of("big"), bytes_make(value, sizeof(value))};
    struct bytes del[] = {bytes_of("DEL"), bytes_of("big")};

    memset(value, 'v', sizeof(value));
    redis_harness_run(bed->h, set, 3);
    redis_harness_run(bed->h, del, 2);
}

static void test_the_clock_goes_on_beside_any_amount_of_garbage(void **state)
{
    struct bed *bed = *state;
    struct redis_rows rows;
    int steps = 0;

    bed->h->limits.chore_rows = 4;
    stage(bed);
    make_garbage(bed);
    for (; is_there(bed) && steps < 3 * REDIS_STAGE_STEPS; steps++) {
        bed->h->time += STEP;
        redis_rows_check(bed->h->table, &rows);
        if (rows.garbage < 2) make_garbage(bed);
        redis_harness_chore(bed->h);
    }
    assert_in_range(steps, REDIS_STAGE_STEPS, REDIS_STAGE_STEPS + 2);
}

/* Step by step the change of a leader costs what it had not logged yet. */
static void test_leaders_that_change_often_collect_in_time(void **state)
{
    struct bed *bed = *state;
    unsigned changes = 0;

    stage(bed);
    for (; is_there(bed) && changes < 100; changes++) {
        elect(bed, 0);
        lead(bed, 5 * STEP - 1);
    }
    assert_in_range(bed->real, TIMEOUT, TIMEOUT + (changes + 1) * STEP);
}

static void test_a_clock_that_leaps_with_the_election_takes_nothing(void **state)
{
    struct bed *bed = *state;

    stage(bed);
    lead(bed, 10 * SECOND);
    for (int i = 0; i < 20; i++) {
        elect(bed, INT64_C(10) * 365 * 86400 * SECOND);
        chore(bed);
    }
    assert_true(is_there(bed));
    assert_true(bed->h->chore_at > bed->h->time);
    lead(bed, TIMEOUT - 10 * SECOND - STEP);
    assert_true(is_there(bed));
    lead(bed, 3 * STEP);
    assert_false(is_there(bed));
}

static void test_under_any_changes_and_clocks_it_has_its_time(void **state)
{
    struct bed *bed = *state;
    struct random random;

    random_seed(&random, 11);
    for (int round = 0; round < 200; round++) {
        int64_t began = bed->real;
        int64_t costs = 0;

        stage(bed);
        while (is_there(bed)) {
            int64_t leap =
                random_below(&random, 3) == 0 ? (int64_t)random_below(&random, 1u << 31) : 0;
            elect(bed, leap);
            costs += STEP;
            lead(bed, (int64_t)random_below(&random, 20 * STEP));
            assert_true(bed->real - began <= TIMEOUT + STEP + costs);
        }
        assert_true(bed->real - began >= TIMEOUT);
    }
}

/* The value of the only record, with a time in it as 0.1.0 wrote it. */
static enum evaluate_result write_old(struct row_context *rows, const struct request *request,
                                      struct reply *reply)
{
    uint8_t key[REDIS_GARBAGE_KEY_SIZE];
    struct redis_call call = {.rows = rows, .limits = rows->options};
    struct redis_part_id id = {.index = load_u64(request->body.data)};
    struct redis_garbage garbage;
    struct row_view row;

    redis_garbage_key_store(key, rows, REDIS_GARBAGE_STAGED, id);
    assert_int_equal(row_get(rows, bytes_make(key, sizeof(key)), &row), ROW_FOUND);
    assert_true(redis_garbage_decode(row.value, &garbage));
    garbage.staged_at = (uint64_t)rows->time / 1000 - 100000; /* over, by that */
    redis_garbage_put(&call, bytes_make(key, sizeof(key)), &garbage);
    return EVALUATE_DONE;
}

static void test_a_record_of_the_version_before_gets_its_whole_time(void **state)
{
    struct bed *bed = *state;
    struct redis_reference reference = stage(bed);
    uint8_t id[8];

    lead(bed, 30 * SECOND);
    store_u64(id, reference.index);
    assert_int_equal(reference.number, 0);
    redis_harness_evaluate(bed->h, write_old, (struct request){.body = bytes_make(id, sizeof(id))});
    bed->real = 0;
    lead(bed, 2 * (int64_t)TIMEOUT);
    assert_false(is_there(bed));
    assert_in_range(bed->real, TIMEOUT, TIMEOUT + 2 * STEP);
}

/* Of 0.1.0 (chore.c): `deadline_ms > INT64_MAX / 1000 - 1` is no deadline that a node wrote. */
static void test_the_version_before_takes_a_step_for_no_deadline(void **state)
{
    struct redis_stage_clock clock = {.steps = 7};
    struct redis_garbage garbage = {0};

    redis_stage_stamp(&clock, &garbage);
    assert_true(garbage.staged_at > INT64_MAX / 1000 - 1);
    assert_int_equal(redis_stage_age(&clock, &garbage), REDIS_STAGE_WAITS);
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_what_nobody_comes_for_is_collected_after_its_time),
        TEST(test_when_nothing_waits_nothing_runs),
        TEST(test_each_part_begins_the_time_anew),
        TEST(test_the_clock_goes_on_beside_any_amount_of_garbage),
        TEST(test_leaders_that_change_often_collect_in_time),
        TEST(test_a_clock_that_leaps_with_the_election_takes_nothing),
        TEST(test_under_any_changes_and_clocks_it_has_its_time),
        TEST(test_a_record_of_the_version_before_gets_its_whole_time),
        TEST(test_the_version_before_takes_a_step_for_no_deadline),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
