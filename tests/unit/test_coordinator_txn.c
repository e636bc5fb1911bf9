/* Transactions from the coordinator's side: what is told, and what is left behind. */
#include "txn_bench.h"

enum { MS = 1000, SECONDS = 1000 * 1000 };

/* --- all goes well --- */

static void test_all_pieces_happen_and_nothing_is_left(void **state)
{
    struct ask ask;

    ask_init(&ask);
    ask_add(&ask, SECOND, "wara");
    ask_add(&ask, GROUP, "wb");
    run(&ask, 100 * MS);
    assert_int_equal(ask.answers, 1);
    assert_int_equal(ask.result, TXN_DONE);
    assert_said(&ask, 0, "11");
    assert_said(&ask, 1, "1");
    sim_run_for(&bed.sim, SECONDS);
    assert_int_equal(value_of(GROUP, 'b'), '1');
    assert_int_equal(value_of(SECOND, 'a'), '1');
    assert_int_equal(rows_left(), 0);
    assert_int_equal(statistics().committed, 1);
    assert_int_equal(statistics().unsettled, 0);
    assert_int_equal(statistics().open, 0);
    assert_int_equal(statistics().queried, 0);
    assert_int_equal(gateway_pending(bench->gateway), 0);
    ask_free(&ask);
}

static void run_to_its_end(struct ask *ask)
{
    run(ask, 0);
    for (uint64_t end = bed.sim.now + SECONDS; ask->answers == 0 && bed.sim.now < end;)
        sim_run_for(&bed.sim, 10);
    assert_int_equal(ask->answers, 1);
    assert_int_equal(ask->result, TXN_DONE);
}

static uint64_t log_batches(void)
{
    struct log_statistics statistics;
    log_statistics(bed.log, &statistics);
    return statistics.batches;
}

/* One after the other costs two syncs each, PREPARE's and DECIDE's: RESOLVE, for which nobody
 * waits, is written with the next one's PREPARE. */
static void test_the_end_of_a_transaction_is_written_with_the_next_one(void **state)
{
    enum { COUNT = 20, THINKS_US = 500 };
    uint64_t before = log_batches();

    for (int i = 0; i < COUNT; i++) {
        char body[3] = {'w', (char)('a' + i)};
        struct ask ask;
        ask_init(&ask);
        ask_add(&ask, GROUP, body);
        ask_add(&ask, SECOND, body);
        run_to_its_end(&ask);
        sim_run_for(&bed.sim, THINKS_US); /* RESOLVE is on its way */
        ask_free(&ask);
    }
    assert_true(log_batches() - before <= 2 * COUNT + 4);
    sim_run_for(&bed.sim, 3 * SECONDS);
    assert_int_equal(rows_left(), 0);
}

static void test_one_piece_is_one_request(void **state)
{
    struct ask ask;

    ask_init(&ask);
    ask_add(&ask, GROUP, "wa");
    run(&ask, 100 * MS);
    assert_int_equal(ask.answers, 1);
    assert_int_equal(ask.result, TXN_DONE);
    assert_said(&ask, 0, "1");
    assert_int_equal(value_of(GROUP, 'a'), '1');
    assert_int_equal(rows_left(), 0);
    ask_free(&ask);
}

static void test_reads_leave_nothing_and_are_done_twice(void **state)
{
    struct ask one, both;
    struct host_statistics before, after;

    ask_init(&one);
    ask_add(&one, GROUP, "ra");
    run(&one, 100 * MS);
    assert_int_equal(one.result, TXN_DONE);
    assert_said(&one, 0, "0");
    host_statistics(bed.host, &before);
    ask_init(&both);
    ask_add(&both, GROUP, "ra");
    ask_add(&both, SECOND, "ra");
    run(&both, 100 * MS);
    host_statistics(bed.host, &after);
    assert_int_equal(both.answers, 1);
    assert_int_equal(both.result, TXN_DONE);
    assert_said(&both, 1, "0");
    assert_int_equal(after.reads - before.reads, 4);
    assert_int_equal(after.writes, before.writes);
    assert_int_equal(statistics().reads, 2);
    ask_free(&one);
    ask_free(&both);
}

static void test_a_look_is_taken_once(void **state)
{
    struct ask ask;
    struct host_statistics before, after;

    ask_init(&ask);
    ask.request.look = true;
    ask_add(&ask, GROUP, "wa");
    ask_add(&ask, SECOND, "ra");
    host_statistics(bed.host, &before);
    run(&ask, 100 * MS);
    host_statistics(bed.host, &after);
    assert_int_equal(ask.result, TXN_DONE);
    assert_said(&ask, 0, "1");
    assert_int_equal(value_of(GROUP, 'a'), '-'); /* its effects are dropped */
    assert_int_equal(after.reads - before.reads, 2);
    ask_free(&ask);
}

/* --- refusals and conflicts --- */

static void test_a_refusal_anywhere_changes_nothing_anywhere(void **state)
{
    struct ask first, participant, primary;

    ask_init(&first);
    ask_add(&first, GROUP, "wa");
    ask_add(&first, SECOND, "wa");
    run(&first, SECONDS);

    ask_init(&participant);
    ask_add(&participant, GROUP, "wb");
    ask_add(&participant, SECOND, "wbna");
    run(&participant, SECONDS);
    assert_int_equal(participant.result, TXN_REFUSED);
    assert_ptr_equal(participant.refused, &participant.pieces[1]);
    assert_said(&participant, 1, "11");

    ask_init(&primary);
    ask_add(&primary, GROUP, "wbna");
    ask_add(&primary, SECOND, "wb");
    run(&primary, SECONDS);
    assert_int_equal(primary.result, TXN_REFUSED);
    assert_ptr_equal(primary.refused, &primary.pieces[0]);

    assert_int_equal(value_of(GROUP, 'b'), '-');
    assert_int_equal(value_of(SECOND, 'b'), '-');
    assert_int_equal(rows_left(), 0);
    assert_int_equal(statistics().refused, 2);
    assert_int_equal(gateway_pending(bench->gateway), 0);
    ask_free(&first);
    ask_free(&participant);
    ask_free(&primary);
}

/* Many at once over the same rows: most are done together, each once, and in some order. */
static void test_those_that_contend_are_executed_together(void **state)
{
    struct ask asks[8];

    bench->view.cluster_version = VIEW_VERSION_TOGETHER;
    for (int i = 0; i < 8; i++) {
        ask_init(&asks[i]);
        asks[i].request.together = true;
        ask_add(&asks[i], i % 2 ? GROUP : SECOND, "wa");
        ask_add(&asks[i], i % 2 ? SECOND : GROUP, "wa");
        run(&asks[i], 0);
    }
    sim_run_for(&bed.sim, 300 * MS);
    for (int i = 0; i < 8; i++) {
        assert_int_equal(asks[i].answers, 1);
        assert_int_equal(asks[i].result, TXN_DONE);
        ask_free(&asks[i]);
    }
    assert_int_equal(value_of(GROUP, 'a'), '0' + 8);
    assert_int_equal(value_of(SECOND, 'a'), '0' + 8);
    assert_true(statistics().together >= 4);
    assert_int_equal(statistics().committed, 8);
    assert_int_equal(rows_left(), 0);
    assert_int_equal(statistics().open, 0);
    assert_int_equal(gateway_pending(bench->gateway), 0);
}

static void forget_inside(void *context)
{
    struct ask *ask = context;
    txn_forget(bench->worker, &ask->request);
    memset(&ask->pieces, 0x55, sizeof(ask->pieces)); /* it is the caller's again */
    ask->request.piece_count = 0;
}

/* One that refuses is refused alone, and one whose client goes does not keep others. */
static void test_those_together_are_refused_and_forgotten_one_by_one(void **state)
{
    struct ask first, asks[6];

    bench->view.cluster_version = VIEW_VERSION_TOGETHER;
    ask_init(&first);
    ask_add(&first, GROUP, "wb");
    ask_add(&first, SECOND, "wb");
    run(&first, SECONDS);
    for (int i = 0; i < 6; i++) {
        ask_init(&asks[i]);
        asks[i].request.together = true;
        ask_add(&asks[i], GROUP, i == 3 ? "wanb" : "wa");
        ask_add(&asks[i], SECOND, "wa");
        run(&asks[i], 0);
    }
    sim_run_for(&bed.sim, 100); /* some have met a lock, none is over */
    bed_call(forget_inside, &asks[5], 0);
    sim_run_for(&bed.sim, SECONDS);
    for (int i = 0; i < 5; i++) {
        assert_int_equal(asks[i].answers, 1);
        assert_int_equal(asks[i].result, i == 3 ? TXN_REFUSED : TXN_DONE);
    }
    assert_int_equal(asks[5].answers, 0);
    assert_true(value_of(GROUP, 'a') == value_of(SECOND, 'a'));
    assert_int_equal(rows_left(), 0);
    assert_int_equal(statistics().open, 0);
    ask_free(&first);
    for (int i = 0; i < 6; i++)
        ask_free(&asks[i]);
}

/* Many at once over the same rows: each is done once, whatever they meet. */
static void test_those_in_each_others_way_are_all_done(void **state)
{
    struct ask asks[8];

    for (int i = 0; i < 8; i++) {
        ask_init(&asks[i]);
        ask_add(&asks[i], i % 2 ? GROUP : SECOND, "wa");
        ask_add(&asks[i], i % 2 ? SECOND : GROUP, "wa");
        run(&asks[i], 0);
    }
    sim_run_for(&bed.sim, PATIENCE_US);
    for (int i = 0; i < 8; i++) {
        assert_int_equal(asks[i].answers, 1);
        assert_int_equal(asks[i].result, TXN_DONE);
        ask_free(&asks[i]);
    }
    assert_int_equal(value_of(GROUP, 'a'), '8');
    assert_int_equal(value_of(SECOND, 'a'), '8');
    assert_int_equal(rows_left(), 0);
    assert_true(statistics().conflicts > 0);
    assert_int_equal(gateway_pending(bench->gateway), 0);
}

static void test_more_than_the_limit_are_refused(void **state)
{
    struct ask asks[9];

    for (int i = 0; i < 9; i++) {
        ask_init(&asks[i]);
        ask_add(&asks[i], LAST, "wa"); /* OTHER says nothing */
        run(&asks[i], 0);
    }
    assert_int_equal(asks[8].answers, 1);
    assert_int_equal(asks[8].result, TXN_BUSY);
    assert_int_equal(asks[0].answers, 0);
    sim_run_for(&bed.sim, PATIENCE_US + SECONDS);
    for (int i = 0; i < 9; i++) {
        assert_int_equal(asks[i].answers, 1);
        ask_free(&asks[i]);
    }
    assert_int_equal(asks[0].result, TXN_UNKNOWN);
}

/* --- OTHER is a participant --- */

static void with_other(struct ask *ask)
{
    ask_init(ask);
    ask_add(ask, GROUP, "wa");
    ask_add(ask, LAST, "wa");
    ask_add(ask, SECOND, "wa");
    run(ask, 100 * MS);
}

static void test_nothing_is_decided_before_all_are_prepared(void **state)
{
    struct ask ask;

    with_other(&ask);
    const struct seen *prepare = next_seen(TXN_PREPARE);
    assert_int_equal(value_of(GROUP, 'a'), '-');
    assert_int_equal(ask.answers, 0);
    assert_true(prepare->item.ordered && !prepare->item.write && prepare->item.grows);
    assert_int_equal(prepare->item.client, 3);
    assert_int_equal(prepare->frame.id.primary.value, GROUP);
    say_status(prepare, TXN_STATUS_DONE);
    sim_run_for(&bed.sim, 100 * MS);
    assert_int_equal(ask.result, TXN_DONE);
    assert_int_equal(value_of(GROUP, 'a'), '1');
    assert_int_equal(value_of(SECOND, 'a'), '1');
    assert_int_equal(rows_left(), 1); /* the decision: OTHER has not been told */
    const struct seen *resolve = next_seen(TXN_RESOLVE);
    assert_true(txn_id_equal(resolve->frame.id, prepare->frame.id));
    assert_int_equal(resolve->frame.outcome, TXN_COMMIT);
    say_status(resolve, TXN_STATUS_DONE);
    sim_run_for(&bed.sim, SECONDS);
    assert_int_equal(rows_left(), 0);
    assert_int_equal(statistics().unsettled, 0);
    ask_free(&ask);
}

static void test_a_conflict_gives_all_up_and_tries_again_under_another_id(void **state)
{
    struct ask ask;

    with_other(&ask);
    const struct seen *first = next_seen(TXN_PREPARE);
    say_status(first, TXN_STATUS_CONFLICT);
    sim_run_for(&bed.sim, 100 * MS);
    const struct seen *second = next_seen(TXN_PREPARE);
    assert_non_null(second);
    assert_true(second->frame.id.seq > first->frame.id.seq);
    say_status(second, TXN_STATUS_DONE);
    sim_run_for(&bed.sim, 100 * MS);
    assert_int_equal(ask.result, TXN_DONE);
    assert_int_equal(value_of(SECOND, 'a'), '1'); /* once */
    assert_int_equal(statistics().conflicts, 1);
    ask_free(&ask);
}

static void test_a_refusal_of_other_is_told_and_the_rest_is_aborted(void **state)
{
    static const uint8_t refused[] = {TXN_STATUS_REFUSED, 'n', 'o'};
    struct ask ask;

    with_other(&ask);
    say_bytes(next_seen(TXN_PREPARE), refused, sizeof(refused));
    assert_int_equal(ask.result, TXN_REFUSED);
    assert_ptr_equal(ask.refused, &ask.pieces[1]);
    assert_said(&ask, 1, "no");
    sim_run_for(&bed.sim, 100 * MS);
    assert_int_equal(rows_left(), 0);
    assert_null(next_seen(TXN_RESOLVE)); /* it has nothing */
    ask_free(&ask);
}

static void test_limits_of_other_are_told(void **state)
{
    static const struct {
        uint8_t outcome;
        const char *text;
        enum txn_result result;
    } cases[] = {{OUTCOME_BUSY, "BUSY now", TXN_BUSY},
                 {OUTCOME_NO_SPACE, "disk", TXN_NO_SPACE},
                 {OUTCOME_TOO_BIG, "TOOBIG", TXN_TOO_BIG}};

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct ask ask;
        with_other(&ask);
        say_outcome(next_seen(TXN_PREPARE), cases[i].outcome, cases[i].text);
        assert_int_equal(ask.answers, 1);
        assert_int_equal(ask.result, cases[i].result);
        assert_said(&ask, 1, cases[i].text);
        sim_run_for(&bed.sim, 100 * MS);
        assert_int_equal(rows_left(), 0);
        ask_free(&ask);
    }
    assert_int_equal(value_of(GROUP, 'a'), '-');
}

/* Prepared each time, and each time its reply was lost. */
static void test_a_reply_that_is_lost_again_and_again_is_too_big(void **state)
{
    struct ask ask;

    with_other(&ask);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(ask.answers, 0);
        say_outcome(next_seen(TXN_PREPARE), OUTCOME_TOO_BIG, "");
        sim_run_for(&bed.sim, 100 * MS);
    }
    assert_int_equal(ask.answers, 1);
    assert_int_equal(ask.result, TXN_TOO_BIG);
    ask_free(&ask);
}

static void test_silence_of_other_frees_the_others_and_ends_with_patience(void **state)
{
    struct ask ask;

    with_other(&ask);
    const struct seen *first = next_seen(TXN_PREPARE);
    sim_run_for(&bed.sim, 1100 * MS);
    const struct seen *resolve = next_seen(TXN_RESOLVE);
    assert_true(txn_id_equal(resolve->frame.id, first->frame.id));
    assert_int_equal(resolve->frame.outcome, TXN_ABORT);
    sim_run_for(&bed.sim, PATIENCE_US);
    assert_int_equal(ask.answers, 1);
    assert_int_equal(ask.result, TXN_UNAVAILABLE);
    assert_int_equal(value_of(GROUP, 'a'), '-');
    assert_int_equal(value_of(SECOND, 'a'), '-');
    sim_run_for(&bed.sim, SECONDS);
    ask_free(&ask);

    /* Tombstones of those attempts that took longer go when the primary knows that they are over.
     */
    sim_run_for(&bed.sim, 10 * SECONDS);
    assert_int_equal(rows_left(), 0);
    assert_int_equal(statistics().unsettled, 0);
}

/* --- reads that differ --- */

static void say_digest(uint64_t digest, const char *reply)
{
    uint8_t bytes[TXN_READ_HEADER_SIZE + 1] = {TXN_STATUS_DONE};

    store_u64(bytes + 1, digest);
    bytes[TXN_READ_HEADER_SIZE] = (uint8_t)reply[0];
    say_bytes(next_seen(TXN_READ), bytes, sizeof(bytes));
    sim_run_for(&bed.sim, 10 * MS);
}

static void read_with_other(struct ask *ask)
{
    ask_init(ask);
    ask_add(ask, GROUP, "ra");
    ask_add(ask, LAST, "ra");
    run(ask, 10 * MS);
}

static void test_reads_end_when_two_rounds_are_equal(void **state)
{
    struct ask ask;

    read_with_other(&ask);
    say_digest(7, "x");
    assert_int_equal(ask.answers, 0);
    say_digest(8, "y");
    assert_int_equal(ask.answers, 0);
    say_digest(8, "z");
    assert_int_equal(ask.answers, 1);
    assert_int_equal(ask.result, TXN_DONE);
    assert_said(&ask, 1, "z");
    assert_int_equal(statistics().read_retries, 1);
    ask_free(&ask);
}

static void test_reads_that_never_agree_take_locks(void **state)
{
    struct ask ask;

    read_with_other(&ask);
    for (uint64_t i = 0; i < 4; i++)
        say_digest(i, "x");
    assert_int_equal(ask.answers, 0);
    const struct seen *prepare = next_seen(TXN_PREPARE);
    assert_int_equal(prepare->frame.id.primary.value, GROUP);
    say_status(prepare, TXN_STATUS_DONE);
    sim_run_for(&bed.sim, 100 * MS);
    assert_int_equal(ask.result, TXN_DONE);
    ask_free(&ask);
}

/* Of more than three partitions one round for each may differ (decision 0021). */
static void test_reads_of_many_partitions_are_read_again_for_longer(void **state)
{
    struct ask ask;

    ask_init(&ask);
    ask_add(&ask, GROUP, "ra");
    ask_add(&ask, SECOND, "ra");
    ask_add(&ask, GROUP_COORD, "ra");
    ask_add(&ask, LAST, "ra");
    run(&ask, 10 * MS);
    for (uint64_t round = 0; round < 5; round++) {
        say_digest(round, "x"); /* of coord, and of LAST */
        say_digest(round, "x");
    }
    assert_int_equal(ask.answers, 0);
    assert_int_equal(statistics().read_retries, 4);
    assert_non_null(next_seen(TXN_PREPARE)); /* and none before: say_digest() met READs alone */
    sim_run_for(&bed.sim, 5000 * MS);
    ask_free(&ask);
}

/* --- OTHER is the primary --- */

static void led_by_other(struct ask *ask)
{
    ask_init(ask);
    ask_add(ask, SECOND, "wa");
    ask_add(ask, GROUP_COORD, "wa");
    run(ask, 100 * MS);
}

static void test_an_outcome_that_is_not_known_is_said_to_be_so(void **state)
{
    struct ask ask;

    led_by_other(&ask);
    const struct seen *decide = next_seen(TXN_DECIDE);
    assert_true(decide->item.write);
    assert_int_equal(decide->item.seq, decide->frame.id.seq);
    assert_int_equal(decide->frame.group_count, 1);
    assert_int_equal(load_u32(decide->frame.groups.data), SECOND);
    sim_run_for(&bed.sim, PATIENCE_US + SECONDS);
    assert_int_equal(ask.answers, 1);
    assert_int_equal(ask.result, TXN_UNKNOWN);
    assert_int_equal(rows_left(), 1); /* still prepared: it may be committed */

    /* Its participant asks, and hears. */
    bench->taken = 0;
    const struct seen *query = NULL;
    for (const struct seen *seen; (seen = next_seen(TXN_QUERY)) != NULL;)
        if (!seen->item.write)
            query = seen; /* else it is the coordinator's, which is done with it */
    assert_true(query->frame.may_abort);
    say_status(query, TXN_STATUS_COMMITTED);
    sim_run_for(&bed.sim, 100 * MS);
    assert_int_equal(value_of(SECOND, 'a'), '1');
    assert_int_equal(rows_left(), 0);
    ask_free(&ask);
}

static void test_a_participant_asks_before_it_asks_for_an_abort(void **state)
{
    struct ask ask;

    led_by_other(&ask);
    sim_run_for(&bed.sim, 350 * MS);
    const struct seen *query = last_seen(TXN_QUERY);
    assert_false(query->frame.may_abort);
    say_status(query, TXN_STATUS_UNDECIDED);
    assert_null(last_seen(TXN_QUERY));
    sim_run_for(&bed.sim, 310 * MS);
    query = last_seen(TXN_QUERY);
    assert_false(query->frame.may_abort);
    say_status(query, TXN_STATUS_UNDECIDED);
    sim_run_for(&bed.sim, 310 * MS);
    query = last_seen(TXN_QUERY);
    say_status(query, TXN_STATUS_UNDECIDED);
    sim_run_for(&bed.sim, 310 * MS);
    query = last_seen(TXN_QUERY);
    assert_true(query->frame.may_abort);
    assert_int_equal(value_of(SECOND, 'a'), '-');
    say_status(query, TXN_STATUS_ABORTED);
    sim_run_for(&bed.sim, 100 * MS);
    assert_int_equal(rows_left(), 0);
    assert_int_equal(value_of(SECOND, 'a'), '-');
    assert_int_equal(statistics().orphaned, 1);
    bench->taken = 0;
    say_status(next_seen(TXN_DECIDE), TXN_STATUS_ABORTED); /* by the tombstone */
    sim_run_for(&bed.sim, 100 * MS);
    say_status(last_seen(TXN_DECIDE), TXN_STATUS_DONE); /* another attempt */
    assert_int_equal(ask.result, TXN_DONE);
    ask_free(&ask);
}

static void test_what_the_decision_says_is_told(void **state)
{
    static const uint8_t refused[] = {TXN_STATUS_REFUSED, 'n', 'o'};
    struct ask ask;

    led_by_other(&ask);
    say_bytes(next_seen(TXN_DECIDE), refused, sizeof(refused));
    assert_int_equal(ask.result, TXN_REFUSED);
    assert_ptr_equal(ask.refused, &ask.pieces[1]);
    sim_run_for(&bed.sim, 100 * MS);
    assert_int_equal(rows_left(), 0);
    ask_free(&ask);

    led_by_other(&ask);
    say_outcome(next_seen(TXN_DECIDE), OUTCOME_TOO_BIG, "TOOBIG");
    assert_int_equal(ask.result, TXN_TOO_BIG);
    sim_run_for(&bed.sim, 100 * MS);
    assert_int_equal(rows_left(), 0);
    ask_free(&ask);

    led_by_other(&ask);
    say_outcome(next_seen(TXN_DECIDE), OUTCOME_TOO_BIG, ""); /* it did it */
    assert_int_equal(ask.result, TXN_LOST_REPLY);
    sim_run_for(&bed.sim, 100 * MS);
    assert_int_equal(rows_left(), 1);
    ask_free(&ask);
}

/* --- clients that go --- */

static void test_who_is_gone_hears_nothing_and_leaves_nothing(void **state)
{
    struct ask ask;

    with_other(&ask);
    assert_int_equal(rows_left(), 1);
    struct txn_piece pieces[PIECES];
    memcpy(pieces, ask.pieces, sizeof(pieces));
    bed_call(forget_inside, &ask, SECONDS);
    assert_int_equal(ask.answers, 0);
    assert_int_equal(rows_left(), 0);
    assert_int_equal(statistics().open, 0);
    const struct seen *resolve = next_seen(TXN_RESOLVE);
    say_status(resolve, TXN_STATUS_DONE);
    assert_int_equal(gateway_pending(bench->gateway), 0);
    for (int i = 0; i < PIECES; i++)
        buffer_free(&pieces[i].reply);
}

/* DECIDE is under way: it may be committed, so nobody is told to abort. */
static void test_who_is_gone_may_have_decided(void **state)
{
    struct ask ask;

    led_by_other(&ask);
    assert_non_null(next_seen(TXN_DECIDE));
    struct txn_piece pieces[PIECES];
    memcpy(pieces, ask.pieces, sizeof(pieces));
    bed_call(forget_inside, &ask, 100 * MS);
    assert_int_equal(ask.answers, 0);
    assert_int_equal(rows_left(), 1);
    for (int i = 0; i < PIECES; i++)
        buffer_free(&pieces[i].reply);
}

static void close_inside(void *context)
{
    txn_close(bench->worker);
    bench->worker = NULL;
}

static void test_closing_ends_what_is_open(void **state)
{
    struct ask preparing, deciding;

    with_other(&preparing);
    ask_init(&deciding);
    ask_add(&deciding, LAST, "wb");
    run(&deciding, 10 * MS);
    bed_call(close_inside, NULL, 10 * MS);
    assert_int_equal(preparing.answers, 1);
    assert_int_equal(preparing.result, TXN_UNAVAILABLE);
    assert_int_equal(deciding.answers, 1);
    assert_int_equal(deciding.result, TXN_UNKNOWN);
    assert_int_equal(gateway_pending(bench->gateway), 0);
    ask_free(&preparing);
    ask_free(&deciding);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, bench_setup, bench_teardown)
        TEST(test_all_pieces_happen_and_nothing_is_left),
        TEST(test_the_end_of_a_transaction_is_written_with_the_next_one),
        TEST(test_one_piece_is_one_request),
        TEST(test_reads_leave_nothing_and_are_done_twice),
        TEST(test_a_look_is_taken_once),
        TEST(test_a_refusal_anywhere_changes_nothing_anywhere),
        TEST(test_those_that_contend_are_executed_together),
        TEST(test_those_together_are_refused_and_forgotten_one_by_one),
        TEST(test_those_in_each_others_way_are_all_done),
        TEST(test_more_than_the_limit_are_refused),
        TEST(test_nothing_is_decided_before_all_are_prepared),
        TEST(test_a_conflict_gives_all_up_and_tries_again_under_another_id),
        TEST(test_a_refusal_of_other_is_told_and_the_rest_is_aborted),
        TEST(test_limits_of_other_are_told),
        TEST(test_a_reply_that_is_lost_again_and_again_is_too_big),
        TEST(test_silence_of_other_frees_the_others_and_ends_with_patience),
        TEST(test_reads_end_when_two_rounds_are_equal),
        TEST(test_reads_that_never_agree_take_locks),
        TEST(test_reads_of_many_partitions_are_read_again_for_longer),
        TEST(test_an_outcome_that_is_not_known_is_said_to_be_so),
        TEST(test_a_participant_asks_before_it_asks_for_an_abort),
        TEST(test_what_the_decision_says_is_told),
        TEST(test_who_is_gone_hears_nothing_and_leaves_nothing),
        TEST(test_who_is_gone_may_have_decided),
        TEST(test_closing_ends_what_is_open),
#undef TEST
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
