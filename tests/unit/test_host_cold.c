/* Requests for rows that are not in memory (rule A6, decision 0006). */
#include "host_cold.h"

/* 400 rows of 8 KiB in 1 MiB. */
static void test_memory_stays_in_its_budget(void **state)
{
    struct host_statistics now = statistics();
    assert_int_equal(now.incomplete_tables, 1);
    assert_true(now.evicted_bytes > (uint64_t)ROWS * VALUE_BYTES / 2);
    assert_true(now.table_bytes + now.entry_bytes + now.copy_bytes < MEMORY_BYTES);
}

static uint64_t parked_bytes; /* of the last one that was parked */

static void park(void *context)
{
    send_one(context);
    parked_bytes = bed.host->cold.parked_bytes;
}

/* Their keys are more than the command may be: "HMGET h" and a thousand fields of a byte. */
static void test_what_a_parked_request_wants_is_counted(void **state)
{
    struct ask few = {.kind = 'm', .first = 100, .number = 1};
    struct ask many = {.kind = 'm', .first = 200, .number = 60};

    sim_world_call(sim_world_of(bed.world), 0, park, &few);
    sim_run_for(&bed.sim, SECOND);
    uint64_t before = parked_bytes;
    assert_int_equal(bed.host->cold.parked_bytes, 0);
    sim_world_call(sim_world_of(bed.world), 0, park, &many);
    sim_run_for(&bed.sim, SECOND);
    assert_true(parked_bytes >= before + 59 * ROW_PREFIX_SIZE);
    assert_int_equal(bed.host->cold.parked_bytes, 0);
}

static void test_many_cold_keys_are_one_fetch(void **state)
{
    uint64_t parked = statistics().cold_parked, reads = statistics().cold_reads;
    bench->runs = 0;
    const struct answer *answer = ask((struct ask){.kind = 'm', .first = 0, .number = 60});
    assert_string_equal(answer->text, "m60");
    assert_int_equal(bench->runs, 2);
    assert_int_equal(statistics().cold_parked, parked + 1);
    assert_true(statistics().cold_reads <= reads + 60);
    /* What is known to be absent is not asked again. */
    assert_string_equal(ask((struct ask){.kind = 'm', .first = 5000, .number = 2})->text, "m0");
    bench->runs = 0;
    assert_string_equal(ask((struct ask){.kind = 'm', .first = 5000, .number = 2})->text, "m0");
    assert_int_equal(bench->runs, 1);
}

static void test_counts_and_walks_see_what_is_on_disk(void **state)
{
    assert_string_equal(ask((struct ask){.kind = 'c'})->text, "c400");
    assert_string_equal(ask((struct ask){.kind = 's', .first = 3})->text, "s0"); /* there, cold */
    assert_string_equal(ask((struct ask){.kind = 'c'})->text, "c400");
    assert_string_equal(ask((struct ask){.kind = 'd', .first = 9})->text, "d0");
    assert_string_equal(ask((struct ask){.kind = 'd', .first = 9})->text, "d0"); /* no more */
    assert_string_equal(ask((struct ask){.kind = 'd', .first = 9000})->text, "d0");
    assert_string_equal(ask((struct ask){.kind = 's', .first = 9001})->text, "s0");
    assert_string_equal(ask((struct ask){.kind = 's', .first = 9002})->text, "s0");
    assert_string_equal(ask((struct ask){.kind = 'c'})->text, "c401");
    uint64_t hash = 0;
    assert_true(host_state_hash(bed.host, (struct group_id){GROUP}, &hash));
    assert_string_equal(ask((struct ask){.kind = 'm', .first = 9, .number = 1})->text, "m0");
    sim_run_for(&bed.sim, 3 * SECOND); /* flushed, evicted: the same */
    assert_string_equal(ask((struct ask){.kind = 'c'})->text, "c401");
    assert_string_equal(ask((struct ask){.kind = 'm', .first = 9, .number = 2})->text, "m1");
}

/* A walk over many places, none of them in memory, ends in steps, each of which gets on. */
static void test_a_walk_over_many_cold_places_gets_on(void **state)
{
    uint16_t at = 0, steps = 0;
    while (at < ROWS) {
        const struct answer *answer = ask((struct ask){.kind = 'j', .first = at});
        assert_int_equal(answer->outcome, OUTCOME_REPLY);
        assert_int_equal(answer->text[0], 'j');
        uint16_t next = (uint16_t)atoi(answer->text + 1);
        assert_true(next > at);
        at = next;
        steps++;
    }
    assert_in_range(steps, 2, 100);
}

/* Rows that only the engine has are hidden at once, and deleted from it in the background. */
static void test_a_drop_reaches_what_is_on_disk(void **state)
{
    assert_string_equal(ask((struct ask){.kind = 'f'})->text, "f0");
    assert_string_equal(ask((struct ask){.kind = 'c'})->text, "c0");
    assert_string_equal(ask((struct ask){.kind = 'm', .first = 0, .number = 50})->text, "m0");
    assert_string_equal(ask((struct ask){.kind = 'r'})->text, "r0");
    assert_string_equal(ask((struct ask){.kind = 's', .first = 5})->text, "s0");
    assert_string_equal(ask((struct ask){.kind = 'c'})->text, "c1");
    sim_run_for(&bed.sim, 20 * SECOND);
    assert_true(statistics().collected_rows > ROWS / 2);
    uint32_t left = 0;
    struct bytes key, value, none = bytes_make(NULL, 0);
    uint8_t records[2];
    store_u16_be(records, ROW_SLOT_RECORDS);
    struct engine_iterator *iterator =
        engine_iterate(bed.engine, none, bytes_make(records, sizeof(records)));
    while (engine_iterator_next(bed.engine, iterator, &key, &value))
        left++;
    assert_int_equal(engine_iterator_close(bed.engine, iterator, NULL), STATUS_OK);
    assert_true(left <= 1);
    assert_string_equal(ask((struct ask){.kind = 'm', .first = 0, .number = 50})->text, "m1");
    assert_string_equal(ask((struct ask){.kind = 'r'})->text, "r1");
    assert_string_equal(ask((struct ask){.kind = 'c'})->text, "c1");
}

static void send_pipeline(void *context)
{
    static const struct ask asks[] = {
        {.kind = 'm', .first = 0, .number = 30, .client = 1},                   /* cold */
        {.kind = 'c', .client = 1, .ordered = true},                            /* waits for it */
        {.kind = 'c', .client = 2},                                             /* does not */
        {.kind = 'm', .first = 40, .number = 30, .client = 2, .ordered = true}, /* nor this */
        {.kind = 's', .first = 0, .client = 1, .ordered = true},
        {.kind = 'c', .client = 1, .ordered = true},
    };
    for (size_t i = 0; i < ARRAY_COUNT(asks); i++)
        send_one(&asks[i]);
}

static void test_only_the_same_client_waits_behind_a_cold_read(void **state)
{
    uint64_t first = bench->seq + 1;
    sim_world_call(sim_world_of(bed.world), 0, send_pipeline, NULL);
    sim_run_for(&bed.sim, SECOND);
    assert_int_equal(bench->answer_count, 6);
    assert_int_equal(bench->answers[0].seq, first + 2);
    uint64_t before = 0; /* those of client 1, in their order */
    for (uint32_t i = 0; i < bench->answer_count; i++) {
        uint64_t at = bench->answers[i].seq - first;
        if (at == 2 || at == 3) continue;
        assert_true(bench->answers[i].seq > before);
        before = bench->answers[i].seq;
    }
}

static void send_and_change_route(void *context)
{
    send_one(&(struct ask){.kind = 'm', .first = 0, .number = 30, .client = 1});
    send_one(&(struct ask){.kind = 'c', .client = 1, .ordered = true});
    bench->route++;
    bench->positions[0] = 0;
    bench->seq = *(uint64_t *)context;
    send_one(&(struct ask){.kind = 'm', .first = 0, .number = 30, .client = 1});
}

static void test_a_parked_request_ends_with_its_route(void **state)
{
    uint64_t seq = bench->seq;
    sim_world_call(sim_world_of(bed.world), 0, send_and_change_route, &seq);
    sim_run_for(&bed.sim, SECOND);
    assert_int_equal(bench->answer_count, 1); /* the second was not sent on the new route */
    assert_string_equal(bench->answers[0].text, "m30");
    assert_int_equal(statistics().parked, 0);
}

static void send_walks(void *context)
{
    for (uint16_t i = 0; i < 20; i++)
        send_one(&(struct ask){.kind = 'w', .first = 0, .number = 60, .client = i});
}

/* 20 walks of 480 KiB are more than one job brings: the others come with the next ones. */
static void test_what_a_cold_job_brings_is_bounded(void **state)
{
    uint64_t reads = statistics().cold_reads;
    sim_world_call(sim_world_of(bed.world), 0, send_walks, NULL);
    sim_run_for(&bed.sim, 5 * SECOND);
    assert_int_equal(bench->answer_count, 20);
    for (int i = 0; i < 20; i++) {
        assert_int_equal(bench->answers[i].outcome, OUTCOME_REPLY);
        assert_string_equal(bench->answers[i].text, "w60");
    }
    assert_true(statistics().cold_reads > reads + 20);
    assert_int_equal(statistics().parked, 0);
}

static void begin_close(void *context)
{
    host_begin_close(bed.host);
}

/* A host that is to be closed begins nothing more, and so becomes idle whatever waits. */
static void test_a_host_that_is_to_be_closed_becomes_idle(void **state)
{
    for (uint16_t i = 0; i < 40; i++)
        ask((struct ask){.kind = 's', .first = i});
    sim_world_call(sim_world_of(bed.world), 0, begin_close, NULL);
    sim_run_for(&bed.sim, SECOND);
    uint64_t reads = statistics().cold_reads, flushes = statistics().flushes;
    struct ask cold = {.kind = 'm', .first = 100, .number = 60};
    sim_world_call(sim_world_of(bed.world), 0, send_call, &cold);
    for (int i = 0; i < 300; i++) {
        sim_run_for(&bed.sim, SECOND / 100);
        assert_true(host_is_idle(bed.host));
    }
    assert_int_equal(statistics().cold_reads, reads);
    assert_int_equal(statistics().flushes, flushes);
}

static void disk_is_full(void *context)
{
    host_set_disk(bed.host, true, "full");
}

static void disk_has_room(void *context)
{
    host_set_disk(bed.host, false, "");
}

/* Decision 0003, point 5: a refused write is remembered nowhere; were a later one of its client
 * logged, a retry of both would run the first one behind it. */
static void test_a_refused_write_holds_back_its_client(void **state)
{
    struct ask delete = {.kind = 'd', .client = 1, .ordered = true};

    bench->watermark = bench->seq;
    uint64_t busy = statistics().busy;
    sim_world_call(sim_world_of(bed.world), 0, disk_is_full, NULL);
    assert_int_equal(ask((struct ask){.kind = 's', .client = 1})->outcome, OUTCOME_NO_SPACE);
    assert_int_equal(statistics().busy, busy);
    assert_int_equal(ask(delete)->outcome, OUTCOME_BUSY);
    sim_world_call(sim_world_of(bed.world), 0, disk_has_room, NULL);
    assert_int_equal(ask(delete)->outcome, OUTCOME_BUSY);
    assert_int_equal(statistics().busy, busy + 2);
    struct ask other = {.kind = 'd', .first = 1, .client = 2};
    assert_int_equal(ask(other)->outcome, OUTCOME_REPLY);
    bench->watermark = bench->seq; /* the client has heard of all of them */
    assert_int_equal(ask(delete)->outcome, OUTCOME_REPLY);
}

/* A cold read, a write behind it, and a write of a cold row, of three times; then something of the
 * node runs out, before the disk has answered. */
static void park_and_run_out(void *context)
{
    void (*run_out)(void) = *(void (**)(void))context;

    send_one(&(struct ask){.kind = 'm', .first = 1, .number = 20, .client = 1, .ordered = true});
    send_one(&(struct ask){.kind = 's', .first = 2, .client = 1, .ordered = true});
    send_one(&(struct ask){.kind = 's', .first = 40, .client = 2});
    send_one(&(struct ask){.kind = 'd', .first = 60, .client = 3});
    assert_int_equal(bench->answer_count, 0);
    run_out();
}

static uint8_t outcome_of(uint64_t seq)
{
    for (uint32_t i = 0; i < bench->answer_count; i++)
        if (bench->answers[i].seq == seq) return bench->answers[i].outcome;
    fail_msg("request %llu has no answer", (unsigned long long)seq);
    return 0;
}

static void check_writes_are_refused(void (*run_out)(void), uint8_t outcome)
{
    uint64_t before = bench->seq;

    sim_world_call(sim_world_of(bed.world), 0, park_and_run_out, &run_out);
    for (int i = 0; i < 400 && bench->answer_count < 4; i++)
        sim_run_for(&bed.sim, SECOND / 1000);
    assert_int_equal(outcome_of(before + 1), OUTCOME_REPLY);
    assert_int_equal(outcome_of(before + 2), outcome);
    assert_int_equal(outcome_of(before + 3), outcome);
    assert_int_equal(outcome_of(before + 4), OUTCOME_REPLY); /* deletes go on */
}

static void disk_runs_full(void)
{
    host_set_disk(bed.host, true, "a test took it");
}

static void test_what_waited_is_refused_if_the_disk_is_full_by_then(void **state)
{
    check_writes_are_refused(disk_runs_full, OUTCOME_NO_SPACE);
    host_set_disk(bed.host, false, "");
}

static void memory_runs_full(void)
{
    bed.host->memory.writes_refused = true;
}

static void test_what_waited_is_refused_if_memory_is_full_by_then(void **state)
{
    check_writes_are_refused(memory_runs_full, OUTCOME_BUSY);
}

/* --- big replies ---------------------------------------------------------------------------- */

struct tally {
    uint32_t parts, ends, busy;
};

static struct tally tally_of(uint32_t gateway)
{
    struct tally tally = {0};

    for (uint32_t i = 0; i < bench->answer_count; i++) {
        const struct answer *answer = &bench->answers[i];
        if (answer->gateway != gateway) continue;
        tally.parts += answer->outcome == OUTCOME_PART;
        tally.ends += answer->outcome == OUTCOME_REPLY;
        tally.busy += answer->outcome == OUTCOME_BUSY;
    }
    return tally;
}

static void ask_big(uint32_t gateway, uint16_t parts)
{
    struct ask ask = {.kind = 'b', .first = parts, .gateway = gateway};

    sim_world_call(sim_world_of(bed.world), 0, send_call, &ask);
    sim_run_for(&bed.sim, SECOND / 20);
}

/* The gateway has taken all of its oldest big reply. */
static void acknowledge(void *context)
{
    const struct part_ack *ack = context;
    struct transport_peer peer = {.node = OTHER, .worker = 1, .epoch = 3};
    struct buffer buffer;

    buffer_init(&buffer, 1024);
    struct writer writer = writer_make(&buffer);
    part_ack_encode(&writer, ack);
    host_on_frame(bed.host, &peer, PEER_FRAME_REPLY_ACKS, buffer_bytes(&buffer));
    buffer_free(&buffer);
}

static void test_a_gateway_that_takes_nothing_does_not_hold_up_others(void **state)
{
    ask_big(0, 10); /* never acknowledged */
    assert_int_equal(tally_of(0).parts, 4);
    ask_big(1, 3);
    assert_int_equal(tally_of(1).parts, 2);
    assert_int_equal(tally_of(1).ends, 1);
    ask_big(1, 8); /* its own window is full now: one part more */
    assert_int_equal(tally_of(1).parts, 3);
    struct part_ack ack = {
        .group = {GROUP}, .route = 1, .seq = bench->seq - 1, .bytes = 3 * PART_BYTES};
    sim_world_call(sim_world_of(bed.world), 0, acknowledge, &ack);
    sim_run_for(&bed.sim, SECOND / 20);
    assert_int_equal(tally_of(1).parts, 6);
    assert_int_equal(tally_of(0).parts, 4);
}

static void test_big_replies_of_one_gateway_leave_room_for_others(void **state)
{
    for (unsigned i = 0; i < 6; i++)
        ask_big(0, 6); /* 36 parts of the 32 that there is room for */
    assert_int_equal(tally_of(0).busy, 4);
    assert_true(statistics().big_reply_bytes <= BIG_BYTES_MAX / 2);
    ask_big(1, 6);
    assert_int_equal(tally_of(1).busy, 0);
    assert_int_equal(tally_of(1).parts, 4);
    ask_big(2, 2);
    assert_int_equal(tally_of(2).busy, 0);
    assert_int_equal(tally_of(2).ends, 1);
    /* Nobody has taken anything for ten seconds: all are given up, and there is room again. */
    sim_run_for(&bed.sim, 15 * SECOND);
    assert_int_equal(statistics().big_reply_bytes, 0);
}

/* Decision 0003, point 5, for writes that are refused after they were evaluated. */
static void test_a_write_whose_reply_has_no_room_holds_back_its_client(void **state)
{
    bench->watermark = bench->seq;
    ask_big(0, 16);
    ask_big(0, 8);
    uint32_t busy = tally_of(0).busy;
    struct ask big = {.kind = 'g', .first = 16, .number = 1, .client = 1};
    sim_world_call(sim_world_of(bed.world), 0, send_call, &big);
    sim_run_for(&bed.sim, SECOND / 20);
    assert_int_equal(tally_of(0).busy, busy + 1); /* remembered nowhere */
    struct ask behind = {.kind = 'd', .first = 1, .client = 1, .ordered = true};
    assert_int_equal(ask(behind)->outcome, OUTCOME_BUSY);
    bench->watermark = bench->seq;
    assert_int_equal(ask(behind)->outcome, OUTCOME_REPLY);
}

static void wait_with_a_big_reply(void *context)
{
    struct ask write = {.kind = 's', .first = 1, .client = 1, .ordered = true};
    struct ask read = {.kind = 'b', .first = 8, .client = 1, .ordered = true};
    uint64_t *waiting = context;

    send_one(&write);
    waiting[0] = statistics().waiting_bytes;
    send_one(&read); /* until the write is committed */
    waiting[1] = statistics().waiting_bytes;
}

static void test_a_big_reply_that_waits_is_counted_once(void **state)
{
    uint64_t waiting[2];

    ask((struct ask){.kind = 'm', .first = 1, .number = 1}); /* the row is in memory now */
    sim_world_call(sim_world_of(bed.world), 0, wait_with_a_big_reply, waiting);
    sim_run_for(&bed.sim, SECOND);
    assert_int_equal(waiting[1] - waiting[0], 8 * PART_BYTES);
    assert_true(bench->answer_count > 0);
}

/* A write that is too big, a put and a delete behind it, pipelined. */
static void send_too_big_and_more(void *context)
{
    send_one(&(struct ask){.kind = *(const char *)context, .client = 1});
    send_one(&(struct ask){.kind = 's', .first = 1, .client = 1, .ordered = true});
    send_one(&(struct ask){.kind = 'd', .first = 2, .client = 1, .ordered = true});
}

static void send_again(void *context)
{
    bench->route++;
    bench->seq -= 3;
    bench->positions[0] = 0;
    bench->answer_count = 0;
    send_too_big_and_more(context);
}

/* Decision 0003: that it was too big is its outcome, logged and remembered as any other. `kind`: of
 * which kind it is. */
static void check_too_big(char kind)
{
    uint64_t before = bench->watermark = bench->seq;

    bench->answer_count = 0;
    sim_world_call(sim_world_of(bed.world), 0, send_too_big_and_more, &kind);
    sim_run_for(&bed.sim, SECOND / 20);
    for (int round = 0; round < 2; round++) {
        assert_int_equal(bench->answer_count, 3);
        assert_int_equal(bench->answers[0].seq, before + 1); /* in their order */
        assert_int_equal(bench->answers[0].outcome, OUTCOME_TOO_BIG);
        assert_memory_equal(bench->answers[0].text, "TOOBIG ", 7);
        assert_int_equal(outcome_of(before + 2), OUTCOME_REPLY);
        assert_int_equal(outcome_of(before + 3), OUTCOME_REPLY);
        if (round > 0) return;
        uint32_t runs = bench->runs;
        sim_world_call(sim_world_of(bed.world), 0, send_again, &kind);
        sim_run_for(&bed.sim, SECOND / 20);
        assert_int_equal(bench->runs, runs);
    }
}

static void test_what_is_behind_a_write_that_is_too_big_goes_on(void **state)
{
    check_too_big('o');
    check_too_big('e');
    check_too_big('v');
}

/* A write and a delete behind it wait for a cold row, memory runs out, and a later write of another
 * client is refused at once: before the first one is. */
static void park_and_refuse_another(void *context)
{
    send_one(&(struct ask){.kind = 's', .first = 40, .client = 1});
    send_one(&(struct ask){.kind = 'd', .first = 41, .client = 1, .ordered = true});
    assert_int_equal(bench->answer_count, 0);
    bed.host->memory.writes_refused = true;
    send_one(&(struct ask){.kind = 's', .first = 60, .client = 2});
}

static void test_each_of_two_refused_writes_holds_back_its_client(void **state)
{
    uint64_t before = bench->watermark = bench->seq;

    sim_world_call(sim_world_of(bed.world), 0, park_and_refuse_another, NULL);
    for (int i = 0; i < 400 && bench->answer_count < 3; i++)
        sim_run_for(&bed.sim, SECOND / 1000);
    assert_int_equal(outcome_of(before + 3), OUTCOME_BUSY);
    assert_int_equal(outcome_of(before + 1), OUTCOME_BUSY);
    assert_int_equal(outcome_of(before + 2), OUTCOME_BUSY);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_memory_stays_in_its_budget),
        TEST(test_what_a_parked_request_wants_is_counted),
        TEST(test_many_cold_keys_are_one_fetch),
        TEST(test_counts_and_walks_see_what_is_on_disk),
        TEST(test_a_walk_over_many_cold_places_gets_on),
        TEST(test_a_drop_reaches_what_is_on_disk),
        TEST(test_only_the_same_client_waits_behind_a_cold_read),
        TEST(test_what_a_cold_job_brings_is_bounded),
        TEST(test_a_host_that_is_to_be_closed_becomes_idle),
        TEST(test_a_refused_write_holds_back_its_client),
        TEST(test_a_parked_request_ends_with_its_route),
        TEST(test_a_gateway_that_takes_nothing_does_not_hold_up_others),
        TEST(test_big_replies_of_one_gateway_leave_room_for_others),
        TEST(test_what_waited_is_refused_if_the_disk_is_full_by_then),
        TEST(test_what_waited_is_refused_if_memory_is_full_by_then),
        TEST(test_a_write_whose_reply_has_no_room_holds_back_its_client),
        TEST(test_a_big_reply_that_waits_is_counted_once),
        TEST(test_what_is_behind_a_write_that_is_too_big_goes_on),
        TEST(test_each_of_two_refused_writes_holds_back_its_client),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
