/* A follower whose log is near its bound (space.c): what it still takes, so that its group does not
 * stand still, and that the bound holds all the same. */
#include "host_alone.h"

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

    log_statistics(bed.log, &log);
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

    sim_world_call(sim_world_of(bed.world), 0, send_append, &append);
    sim_run_for(&bed.sim, 20 * 1000);
    assert_true(log_bytes() <= BOUND + MARK_BYTES);
    return raft_last_index(core()) == index;
}

static uint64_t fill_log(void)
{
    uint64_t last = raft_last_index(core());

    while (log_pressure(bed.log) < LOG_PRESSURE_CLOSED)
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
    assert_int_equal(log_pressure(bed.log), LOG_PRESSURE_NONE);
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
    assert_int_equal(log_pressure(bed.log), LOG_PRESSURE_SPENT);
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
    assert_true(space_cut_append(host_replica(bed.host, (struct group_id){GROUP}), &message));
    assert_int_equal(message.entry_count, 2); /* the first stands in the log already */
    raft_message_clear(&message);
}

/* --- a leader whose log is full, and reads of expired rows ------------------------------------ */

enum { TTL_MS = 1000, ROW_EXPIRES = 1, ROW_BIG = 100, MS = 1000 };

/* "p" row: puts it, to expire in a second; "b" row: a big one; "d" row: deletes it; "g" row: reads
 * it, as the redis service does. */
static enum evaluate_result evaluate(struct row_context *rows, const struct request *request,
                                     struct reply *reply)
{
    static const uint8_t zeros[BIG_BODY];
    uint8_t key_memory[ROW_PREFIX_SIZE + 1];
    struct bytes key = bytes_make(key_memory, sizeof(key_memory));
    const char *text = "done";
    struct row_view row;

    row_prefix_store(key_memory, 7, SERVICE_REDIS, 0);
    key_memory[ROW_PREFIX_SIZE] = request->body.data[1];
    switch (request->body.data[0]) {
    case 'p':
        row_put(rows, key, 1, 0, (uint64_t)rows->time / 1000 + TTL_MS, bytes_of("value"));
        break;
    case 't':
        row_put(rows, key, 1, 0, 0, bytes_of("value"));
        break;
    case 'T':
    case 'b':
        row_put(rows, key, 1, 0, 0, bytes_make(zeros, sizeof(zeros)));
        break;
    case 'd':
        row_delete(rows, key);
        break;
    default: {
        bool found = row_get(rows, key, &row) == ROW_FOUND;
        int64_t since = found ? ((int64_t)row.header.expiry + 1) * 1000 : 0;
        text = found && rows->time < since ? "there" : "gone";
        if (!found || rows->time < since) break;
        row_found_expired(rows, since);
        row_delete(rows, key);
    }
    }
    buffer_append(reply->buffer, bytes_of(text));
    return EVALUATE_DONE;
}

static int setup_alone(void **state)
{
    setup_empty();
    bench->log_bytes_max = BOUND;
    bench->evaluate = evaluate;
    setup_leader();
    return 0;
}

static void assert_gone(uint8_t row)
{
    assert_int_equal(ask('g', row), OUTCOME_REPLY);
    assert_string_equal(answered.text, "gone");
}

/* Rows [first, first + count) expire later than all entries. */
static void fill_leader(uint8_t first, uint8_t count)
{
    for (uint8_t i = 0; i < count; i++)
        assert_int_equal(ask('p', (uint8_t)(first + i)), OUTCOME_REPLY);
    bed.sim.maybe_always = FLUSH_WITHOUT_SPACE;
    for (uint8_t i = 0; ask('b', (uint8_t)(ROW_BIG + i)) == OUTCOME_REPLY; i++)
        continue;
    for (uint8_t i = 0; log_pressure(bed.log) < LOG_PRESSURE_FULL; i++)
        ask('d', ROW_BIG);
    assert_int_equal(ask('d', ROW_BIG), OUTCOME_NO_SPACE);
}

static void test_a_read_of_an_expired_row_is_answered_while_the_log_is_full(void **state)
{
    fill_leader(ROW_EXPIRES, 2);
    uint64_t before = raft_last_index(core());
    sim_run_for(&bed.sim, 2 * TTL_MS * MS);
    assert_int_equal(ask('d', ROW_BIG), OUTCOME_NO_SPACE);
    assert_gone(ROW_EXPIRES);
    assert_true(raft_last_index(core()) - before <= 1);
    uint64_t marked = raft_last_index(core());
    for (int i = 0; i < 100; i++) { /* one entry is enough for all that expired before it */
        assert_gone(ROW_EXPIRES);
        assert_gone(ROW_EXPIRES + 1);
    }
    assert_int_equal(raft_last_index(core()), marked);
}

static void ask_for_space(void *context)
{
    enum { SECOND = 1000 * 1000 };
    struct partition_host *host = bed.host;
    struct replica *replica = host_replica(host, (struct group_id){GROUP});
    struct space_log *seen = &host->space_log;
    uint64_t now = world_now(bed.world);

    host->stores[0].flush_delay = SECOND; /* a flush has failed */
    assert_false(space_comes_back(replica, true, now));
    host->stores[0].flush_delay = 0;
    seen->freed_at = seen->since = now;
    assert_true(space_comes_back(replica, true, now + 10 * SECOND - 1));
    assert_false(space_comes_back(replica, true, now += 10 * SECOND)); /* nothing was freed */
    for (int i = 0; i < 20; i++)                                       /* whoever asks, and when */
        assert_false(space_comes_back(replica, false, now += 6 * SECOND));
    seen->oldest--; /* the log has freed a segment */
    assert_true(space_comes_back(replica, true, now));
    assert_true(space_comes_back(replica, true, now += 6 * SECOND));
    assert_false(space_comes_back(replica, true, now += 6 * SECOND));
    seen->oldest--; /* ... but what was in it is in another one now */
    seen->copied -= LOG_SEGMENT_SIZE_MIN / 2;
    assert_false(space_comes_back(replica, true, now));
    assert_false(space_comes_back(replica, true, now += 6 * SECOND));
    assert_false(space_comes_back(replica, true, now += 6 * SECOND)); /* it is no debt */
    seen->oldest--;
    assert_true(space_comes_back(replica, true, now));
    host->disk_low = true;
    assert_false(space_comes_back(replica, true, now));
    host->disk_low = false;
    seen->freed_at = seen->since = seen->short_at = world_now(bed.world);
}

/* Whether a full log is worth waiting for: BUSY, and not MISCONF. */
static void test_a_log_that_frees_segments_is_busy(void **state)
{
    fill_leader(ROW_EXPIRES, 2);
    sim_world_call(sim_world_of(bed.world), 0, ask_for_space, NULL);
    assert_int_equal(ask('d', ROW_BIG), OUTCOME_BUSY);
    bed.host->disk_low = true;
    assert_int_equal(ask('d', ROW_BIG), OUTCOME_NO_SPACE);
    bed.host->disk_low = false;
    bed.sim.maybe_always = NULL;
    sim_run_for(&bed.sim, 10 * 1000 * MS);
    assert_false(bed.host->space_log.is_short);
    assert_int_equal(ask('b', ROW_BIG), OUTCOME_REPLY);
}

/* F27: locks are let go while nothing else is written; nothing is locked any more, and what is
 * large waits, as members whose logs are full would not take it. */
static void test_a_full_log_takes_what_ends_transactions(void **state)
{
    bed.host->options.evaluate[SERVICE_TXN] = evaluate;
    assert_int_equal(ask('t', TXN_PREPARE), OUTCOME_REPLY);
    fill_leader(ROW_EXPIRES, 2);
    assert_int_equal(ask('t', TXN_PREPARE), OUTCOME_NO_SPACE);
    assert_int_equal(ask('t', TXN_RESOLVE), OUTCOME_REPLY);
    assert_int_equal(ask('t', TXN_QUERY), OUTCOME_REPLY);
    assert_int_equal(ask('t', TXN_FORGET), OUTCOME_REPLY);
    assert_int_equal(ask('T', TXN_RESOLVE), OUTCOME_NO_SPACE);
}

/* The clock does not decide what was answered: an entry does, so that no later leader's clock can
 * bring the row back. */
static void test_what_was_answered_as_expired_stays_so_when_the_clock_goes_back(void **state)
{
    assert_int_equal(ask('p', ROW_EXPIRES), OUTCOME_REPLY);
    bed.sim.maybe_always = EXPIRED_LEFT;
    sim_run_for(&bed.sim, 2 * TTL_MS * MS);
    uint64_t before = raft_last_index(core());
    assert_gone(ROW_EXPIRES);
    assert_int_equal(raft_last_index(core()), before + 1);
    bed.sim.maybe_always = NULL;
    run(bed_close, NULL);
    sim_machine_jump_wall_clock(&bed.machine, -3600ll * 1000 * MS);
    run(open_alone, NULL);
    assert_gone(ROW_EXPIRES);
}

static void mark_often(void *context)
{
    struct replica *replica = host_replica(bed.host, (struct group_id){GROUP});
    uint64_t now = world_now(bed.world), dep = 0;
    uint32_t *marks = context;

    for (int i = 1; i <= 2 * EXPIRY_MARKS_BURST; i++) {
        struct row_context rows = {.time = replica_time(replica, now) + i};
        rows.expired_at = rows.time;
        *marks += expired_for_good(replica, &rows, now, &dep);
        assert_int_equal(dep, raft_last_index(replica->raft));
    }
}

static void test_few_entries_are_logged_for_reads(void **state)
{
    uint32_t marks = 0;

    sim_world_call(sim_world_of(bed.world), 0, mark_often, &marks);
    sim_run_for(&bed.sim, EXPIRY_MARK_US);
    assert_int_equal(marks, EXPIRY_MARKS_BURST);
    sim_world_call(sim_world_of(bed.world), 0, mark_often, &marks);
    sim_run_for(&bed.sim, EXPIRY_MARK_US / 2);
    assert_int_equal(marks, EXPIRY_MARKS_BURST + 1);
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
        cmocka_unit_test_setup_teardown(
            test_a_read_of_an_expired_row_is_answered_while_the_log_is_full, setup_alone, teardown),
        cmocka_unit_test_setup_teardown(test_a_full_log_takes_what_ends_transactions, setup_alone,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_a_log_that_frees_segments_is_busy, setup_alone,
                                        teardown),
        cmocka_unit_test_setup_teardown(
            test_what_was_answered_as_expired_stays_so_when_the_clock_goes_back, setup_alone,
            teardown),
        cmocka_unit_test_setup_teardown(test_few_entries_are_logged_for_reads, setup_alone,
                                        teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
