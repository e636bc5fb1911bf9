/* A follower whose log is near its bound (space.c): what it still takes, so that its group does not
 * stand still, and that the bound holds all the same. */
#include "host_life.h"

enum {
    BIG_BODY = 200 << 10,
    SMALL_BODY = 3 << 10,
    BOUND = LOG_SEGMENTS_MIN * LOG_SEGMENT_SIZE_MIN,
    MARK_BYTES = 2 * 4096,
    MANY = 4000, /* small ones: more than a segment of them */
};

static int setup_small_log(void **state)
{
    setup_empty();
    bench->log_bytes_max = BOUND;
    run(open_founded, NULL);
    return 0;
}

static struct raft *core(void)
{
    return host_replica(bench->host, (struct group_id){GROUP})->raft;
}

static struct raft_entry *sized_entry(uint64_t index, uint32_t size)
{
    struct entry_header header = {0};
    struct buffer body;
    uint8_t key[ROW_PREFIX_SIZE];
    uint8_t *value = calloc(1, size);

    buffer_init(&body, size + 4096);
    row_prefix_store(key, 7, SERVICE_REDIS, 0);
    assert_true(entry_header_encode(&header, &body));
    assert_true(effect_put_encode(&body, bytes_make(key, sizeof(key)),
                                  &(struct row_header){.type = 1}, bytes_make(value, size)));
    struct raft_entry *entry = entry_make(index, RAFT_ENTRY_NORMAL, buffer_bytes(&body));
    buffer_free(&body);
    free(value);
    return entry;
}

static uint64_t log_bytes(void)
{
    struct log_statistics log;

    log_statistics(bench->log, &log);
    return log.bytes_on_disk;
}

/* Behind the birth, and none of it committed. True: it was taken. */
static bool offer(struct raft_entry *entry, uint64_t term)
{
    uint64_t index = entry->index;
    struct append append = {.to = 11,
                            .index = index - 1,
                            .term_before = raft_term_at(core(), index - 1),
                            .commit = 1,
                            .entry = entry,
                            .term = term};

    sim_world_call(sim_world_of(bench->world), 0, send_append, &append);
    sim_run_for(&bench->sim, 20 * 1000);
    assert_true(log_bytes() <= BOUND + MARK_BYTES);
    return raft_last_index(core()) == index;
}

static uint64_t fill_log(void)
{
    uint64_t last = raft_last_index(core());

    while (log_pressure(bench->log) < LOG_PRESSURE_CLOSED)
        assert_true(offer(sized_entry(++last, BIG_BODY), 0));
    return last;
}

static struct raft_entry *noop_entry(uint64_t index, uint64_t term)
{
    struct raft_entry *entry = entry_make(index, RAFT_ENTRY_NOOP, bytes_make(NULL, 0));

    entry->term = term;
    return entry;
}

/* Its no-op is all that a new leader may commit by itself: without it nothing of what fills the
 * logs of a majority is ever committed, flushed and freed. */
static void test_a_full_log_takes_the_no_op_that_frees_it(void **state)
{
    uint64_t last = fill_log();

    assert_int_equal(applied(), 1);
    assert_true(offer(noop_entry(last + 1, 3), 3));
    struct append commit = {
        .to = 11, .index = last + 1, .term_before = 3, .commit = last + 1, .term = 3};
    run(send_append, &commit);
    assert_int_equal(applied(), last + 1);
    assert_int_equal(log_pressure(bench->log), LOG_PRESSURE_NONE);
    assert_true(log_bytes() < BOUND / 2);
}

static void test_a_full_log_takes_small_entries_and_keeps_its_bound(void **state)
{
    uint64_t last = fill_log(), taken = 0;

    assert_false(offer(sized_entry(last + 1, BIG_BODY), 0));
    assert_false(offer(sized_entry(last + 1, APPEND_SMALL_BYTES_MAX), 0)); /* with its header */
    while (taken < MANY && offer(sized_entry(last + 1 + taken, SMALL_BODY), 0))
        taken++;
    assert_in_range(taken, 10, MANY - 1);
    assert_int_equal(log_pressure(bench->log), LOG_PRESSURE_SPENT);
    last += taken;
    assert_false(offer(sized_entry(last + 1, 1), 0));
    assert_true(offer(noop_entry(last + 1, 3), 3)); /* as a vote: one of each election */
}

/* Of a bigger message what fits in front is taken: the rest comes again. */
static void test_of_a_longer_message_the_small_beginning_is_taken(void **state)
{
    uint64_t last = fill_log();
    struct raft_entry *entries[3] = {sized_entry(last, BIG_BODY), sized_entry(last + 1, SMALL_BODY),
                                     sized_entry(last + 2, SMALL_BODY)};
    struct raft_message message = {.entries = entries, .entry_count = 3};

    message.entries = memory_allocate(sizeof(entries));
    memcpy(message.entries, entries, sizeof(entries));
    assert_true(space_cut_append(host_replica(bench->host, (struct group_id){GROUP}), &message));
    assert_int_equal(message.entry_count, 2); /* the first stands in the log already */
    raft_message_clear(&message);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_a_full_log_takes_the_no_op_that_frees_it,
                                        setup_small_log, teardown),
        cmocka_unit_test_setup_teardown(test_a_full_log_takes_small_entries_and_keeps_its_bound,
                                        setup_small_log, teardown),
        cmocka_unit_test_setup_teardown(test_of_a_longer_message_the_small_beginning_is_taken,
                                        setup_small_log, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
