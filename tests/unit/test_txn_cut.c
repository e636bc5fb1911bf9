/* The coordinator of cuts, over partitions that the test plays (fake_cuts.h). */
#include "fake_cuts.h"
#include "txn/txn_cut_internal.h"

enum { PATIENCE_US = SECOND, LIFETIME_US = 300 * SECOND, OPEN_REQUESTS_MAX = 1 << 14 };

struct bench {
    struct play play;
    struct world_table table;
    uint64_t random;
    struct cluster_view view;
    struct view_group groups[GROUP_DATA_FIRST + FAKE_PARTS];
    struct fake_cuts fake;
    struct txn_cuts *cuts;
    struct gateway_request *open[OPEN_REQUESTS_MAX]; /* in order, NULL: answered or forgotten */
    uint32_t open_first, open_end, forgotten;
    enum gateway_outcome outcome; /* GATEWAY_REPLY: what the partition says */
    bool at_once;                 /* inside gateway_submit() */
    uint32_t done;
    struct txn_cut *cut;
    enum txn_cut_result result;
    void (*meanwhile)(struct bench *bench, enum cut_op op); /* behind each answer */
};

static uint64_t count_up(struct world *world)
{
    return ++CONTAINER_OF(world, struct bench, play.world)->random * UINT64_C(0x9e3779b97f4a7c15);
}

/* --- a gateway ------------------------------------------------------------------------------- */

static void answer(struct bench *bench, struct gateway_request *request)
{
    uint32_t part = bench->view.slot_partition[request->slot];
    struct bytes reply = {0};
    struct cut_request asked;

    assert_true(cut_request_decode(request->body, &asked));
    assert_int_equal(request->service, SERVICE_CUT);
    assert_int_equal(request->write, asked.op == CUT_TAKE || asked.op == CUT_CLOSE);
    assert_false(request->ordered);
    if (bench->outcome == GATEWAY_REPLY)
        reply = fake_cuts_answer(&bench->fake, part, request->body);
    request->on_reply(request, bench->outcome, reply);
    if (bench->meanwhile) bench->meanwhile(bench, asked.op);
}

void gateway_submit(struct gateway *gateway, struct gateway_request *request)
{
    struct bench *bench = (struct bench *)gateway;

    assert_true(request->body_stays);
    if (bench->at_once) {
        answer(bench, request);
        return;
    }
    assert_true(bench->open_end < OPEN_REQUESTS_MAX);
    bench->open[bench->open_end++] = request;
}

void gateway_forget(struct gateway *gateway, struct gateway_request *request)
{
    struct bench *bench = (struct bench *)gateway;

    for (uint32_t i = bench->open_first; i < bench->open_end; i++) {
        if (bench->open[i] != request) continue;
        bench->open[i] = NULL;
        bench->forgotten++;
        return;
    }
    fail_msg("an unknown request was forgotten");
}

/* One request, unless its partition is silent. False: there is none. */
static bool answer_one(struct bench *bench)
{
    for (uint32_t i = bench->open_first; i < bench->open_end; i++) {
        struct gateway_request *request = bench->open[i];
        if (i == bench->open_first && request == NULL) bench->open_first++;
        if (request == NULL) continue;
        if (bench->fake.parts[bench->view.slot_partition[request->slot]].silent) continue;
        bench->open[i] = NULL;
        answer(bench, request);
        return true;
    }
    return false;
}

static uint32_t open_count(const struct bench *bench)
{
    uint32_t count = 0;
    for (uint32_t i = bench->open_first; i < bench->open_end; i++)
        count += bench->open[i] != NULL;
    return count;
}

/* Until nothing happens at this time. */
static void run(struct bench *bench)
{
    while (answer_one(bench) || play_turn_once(&bench->play))
        continue;
}

static void pass_ms(struct bench *bench, uint32_t ms)
{
    for (uint32_t i = 0; i < ms; i++) {
        bench->play.now += 1000;
        run(bench);
    }
}

/* --- the fixture ----------------------------------------------------------------------------- */

static int set_up(void **state)
{
    struct bench *bench = calloc(1, sizeof(*bench));

    play_start(&bench->play);
    bench->table = play_table;
    bench->table.random = count_up;
    bench->play.world.table = &bench->table;
    fake_cuts_init(&bench->fake);
    bench->view.partition_count = FAKE_PARTS;
    bench->view.group_count = GROUP_DATA_FIRST + FAKE_PARTS;
    bench->view.groups = bench->groups;
    for (uint32_t i = 0; i < FAKE_PARTS; i++) {
        struct view_group *group = &bench->groups[GROUP_DATA_FIRST + i];
        group->slot_first = (uint16_t)(i * (SLOT_COUNT / FAKE_PARTS));
        group->slot_last = (uint16_t)((i + 1) * (SLOT_COUNT / FAKE_PARTS) - 1);
        group->leader = 1;
        for (uint32_t slot = group->slot_first; slot <= group->slot_last; slot++)
            bench->view.slot_partition[slot] = (uint16_t)i;
    }
    struct txn_cuts_options options = {.world = &bench->play.world,
                                       .gateway = (struct gateway *)bench,
                                       .view = &bench->view,
                                       .patience = PATIENCE_US};
    bench->cuts = txn_cuts_open(&options);
    *state = bench;
    return 0;
}

static int tear_down(void **state)
{
    struct bench *bench = *state;

    txn_cuts_close(bench->cuts);
    assert_int_equal(open_count(bench), 0);
    for (uint32_t i = 0; i < PLAY_TIMERS_MAX; i++)
        assert_null(bench->play.timers[i]);
    buffer_free(&bench->fake.reply);
    play_stop(&bench->play);
    free(bench);
    return 0;
}

static void on_done(void *context, struct txn_cut *cut, enum txn_cut_result result)
{
    struct bench *bench = context;

    bench->done++;
    bench->result = result;
    bench->cut = result == TXN_CUT_OPEN ? cut : NULL;
}

static struct txn_cut *take(struct bench *bench)
{
    uint32_t done = bench->done;
    struct txn_cut *cut = txn_cut_take(bench->cuts, LIFETIME_US, bench, on_done);

    assert_int_equal(bench->done, done); /* not before it returned */
    return cut;
}

static struct txn_cut_statistics statistics_of(const struct bench *bench)
{
    struct txn_cut_statistics statistics;

    txn_cut_statistics(bench->cuts, &statistics);
    return statistics;
}

static struct txn_id txn(uint32_t primary, uint64_t seq)
{
    return (struct txn_id){.gateway = {.node = 1, .epoch = 2, .worker = 0},
                           .primary = {GROUP_DATA_FIRST + primary},
                           .seq = seq};
}

static void prepare(struct bench *bench, uint32_t part, struct txn_id id)
{
    struct fake_part *at = &bench->fake.parts[part];
    at->prepared[at->prepared_count++] = id;
}

static void commit(struct bench *bench, struct txn_id id)
{
    struct fake_part *at = &bench->fake.parts[id.primary.value - GROUP_DATA_FIRST];
    at->committed[at->committed_count++] = id;
}

/* The ids that go with a read at the part. */
static uint32_t sent_along(struct bench *bench, uint32_t part, struct txn_id *ids)
{
    struct buffer out;
    struct cut_request request;
    uint32_t count = 0;

    buffer_init(&out, TXN_CUT_READ_OVERHEAD + 100);
    txn_cut_write_read(bench->cut, bench->groups[GROUP_DATA_FIRST + part].slot_last, SERVICE_REDIS,
                       bytes_of("get a"), &out);
    assert_true(cut_request_decode(buffer_bytes(&out), &request));
    assert_int_equal(request.op, CUT_READ);
    assert_int_equal(request.cut, txn_cut_id(bench->cut));
    assert_int_equal(request.service, SERVICE_REDIS);
    assert_true(bytes_equal(request.body, bytes_of("get a")));
    while (cut_txn_next(&request.txns, &ids[count]))
        count++;
    assert_int_equal(count, request.txn_count);
    buffer_free(&out);
    return count;
}

/* --- tests ----------------------------------------------------------------------------------- */

static void test_all_are_frozen_before_the_first_is_taken(void **state)
{
    struct bench *bench = *state;

    take(bench);
    bench->fake.parts[2].silent = true;
    run(bench);
    for (uint32_t i = 0; i < FAKE_PARTS; i++)
        assert_int_equal(bench->fake.parts[i].asked[CUT_TAKE], 0);
    assert_true(bench->fake.parts[0].frozen != 0);
    bench->play.now += 30 * 1000;
    bench->fake.parts[2].silent = false;
    run(bench);
    assert_int_equal(bench->done, 1);
    assert_int_equal(bench->result, TXN_CUT_OPEN);
    assert_true(txn_cut_id(bench->cut) != 0);
    assert_int_equal(txn_cut_parts(bench->cut), FAKE_PARTS);
    assert_int_equal(txn_cut_time(bench->cut), bench->fake.parts[3].time); /* the latest */
    assert_int_equal(bench->fake.lifetime, LIFETIME_US);
    for (uint32_t i = 0; i < FAKE_PARTS; i++) {
        assert_non_null(fake_find(&bench->fake.parts[i], txn_cut_id(bench->cut)));
        assert_int_equal(bench->fake.parts[i].asked[CUT_OUTCOMES], 0); /* nothing is prepared */
    }
    struct txn_cut_statistics statistics = statistics_of(bench);
    assert_int_equal(statistics.taken, 1);
    assert_int_equal(statistics.attempts, 1);
    assert_int_equal(statistics.open, 1);
    assert_int_equal(statistics.stall_last_us, 30 * 1000);
    txn_cut_leave(bench->cut, true);
    run(bench);
    assert_false(fake_cuts_left(&bench->fake));
    statistics = statistics_of(bench);
    assert_int_equal(statistics.open, 0);
    assert_int_equal(statistics.closed, 1);
}

static void test_answers_inside_the_question_are_taken(void **state)
{
    struct bench *bench = *state;

    bench->at_once = true;
    prepare(bench, 1, txn(0, 5));
    commit(bench, txn(0, 5));
    take(bench);
    run(bench);
    assert_int_equal(bench->result, TXN_CUT_OPEN);
    txn_cut_leave(bench->cut, true);
    assert_false(fake_cuts_left(&bench->fake));
    bench->outcome = GATEWAY_BUSY;
    take(bench);
    pass_ms(bench, 2000);
    assert_int_equal(bench->done, 2);
    assert_int_equal(bench->result, TXN_CUT_UNAVAILABLE);
}

static void test_a_refusal_closes_all_and_another_attempt_follows(void **state)
{
    struct bench *bench = *state;

    bench->fake.parts[1].refuses = 2;
    take(bench);
    run(bench);
    assert_int_equal(bench->done, 0);
    assert_false(fake_cuts_left(&bench->fake)); /* those that had taken it, too */
    for (uint32_t i = 0; i < FAKE_PARTS; i++)
        assert_int_equal(bench->fake.parts[i].asked[CUT_CLOSE], 1);
    pass_ms(bench, 4);
    assert_int_equal(bench->fake.parts[0].asked[CUT_FREEZE], 1); /* the pause is 5 ms at least */
    pass_ms(bench, 100);
    assert_int_equal(bench->done, 1);
    assert_int_equal(bench->result, TXN_CUT_OPEN);
    struct txn_cut_statistics statistics = statistics_of(bench);
    assert_int_equal(statistics.attempts, 3);
    assert_int_equal(statistics.failed, 2);
    assert_int_equal(statistics.taken, 1);
    for (uint32_t i = 0; i < FAKE_PARTS; i++) { /* of the last attempt alone */
        struct fake_part *part = &bench->fake.parts[i];
        assert_non_null(fake_find(part, txn_cut_id(bench->cut)));
        assert_int_equal(part->cuts[1], 0);
    }
    txn_cut_leave(bench->cut, true);
    run(bench);
}

static void lose_the_leader(struct bench *bench, enum cut_op op)
{
    struct fake_part *part = &bench->fake.parts[3];

    if (op != CUT_FREEZE || part->frozen == 0) return;
    part->term++;
    bench->meanwhile = NULL;
}

static void test_another_term_is_another_attempt(void **state)
{
    struct bench *bench = *state;

    bench->meanwhile = lose_the_leader;
    take(bench);
    pass_ms(bench, 100);
    assert_int_equal(bench->result, TXN_CUT_OPEN);
    assert_int_equal(statistics_of(bench).attempts, 2);
    txn_cut_leave(bench->cut, true);
    run(bench);
    assert_false(fake_cuts_left(&bench->fake));
}

/* So that several do not each freeze what another needs. */
static void test_the_first_part_is_asked_before_all_others(void **state)
{
    struct bench *bench = *state;

    bench->fake.parts[0].silent = true;
    struct txn_cut *cut = take(bench);
    run(bench);
    pass_ms(bench, CUT_FREEZE_MS - 1);
    for (uint32_t i = 1; i < FAKE_PARTS; i++)
        assert_int_equal(bench->fake.parts[i].asked[CUT_FREEZE], 0);
    txn_cut_leave(cut, true);
    bench->fake.parts[0].silent = false;
    run(bench);
}

static void test_one_that_is_late_ends_the_attempt_and_its_answer_is_not_waited_for(void **state)
{
    struct bench *bench = *state;

    bench->fake.parts[3].silent = true;
    take(bench);
    run(bench);
    pass_ms(bench, CUT_FREEZE_MS - 1);
    assert_int_equal(bench->fake.parts[1].asked[CUT_CLOSE], 0);
    assert_true(bench->fake.parts[1].frozen != 0);
    pass_ms(bench, 1);
    assert_int_equal(bench->forgotten, 1);
    assert_int_equal(bench->fake.parts[1].asked[CUT_CLOSE], 1);
    assert_int_equal(bench->fake.parts[1].frozen, 0);
    assert_int_equal(bench->fake.parts[1].asked[CUT_TAKE], 0);
    bench->fake.parts[3].silent = false;
    pass_ms(bench, 100);
    assert_int_equal(bench->result, TXN_CUT_OPEN);
    assert_int_equal(statistics_of(bench).attempts, 2);
    assert_int_equal(statistics_of(bench).stall_max_us, CUT_FREEZE_MS * 1000);
    txn_cut_leave(bench->cut, true);
    run(bench);
    assert_false(fake_cuts_left(&bench->fake));
}

static void test_when_patience_is_over_the_last_reason_is_told(void **state)
{
    struct bench *bench = *state;

    bench->fake.parts[1].silent = true;
    take(bench);
    pass_ms(bench, 1200);
    assert_int_equal(bench->done, 1);
    assert_int_equal(bench->result, TXN_CUT_BUSY); /* its leader is known, and slow */
    assert_true(statistics_of(bench).attempts >= 6);
    bench->groups[GROUP_DATA_FIRST + 1].leader = 0;
    take(bench);
    pass_ms(bench, 1200);
    assert_int_equal(bench->done, 2);
    assert_int_equal(bench->result, TXN_CUT_UNAVAILABLE);
    bench->fake.parts[1].silent = false;
    bench->fake.parts[1].broken = true;
    take(bench);
    pass_ms(bench, 1200);
    assert_int_equal(bench->done, 3);
    assert_int_equal(bench->result, TXN_CUT_UNAVAILABLE);
    bench->fake.parts[1].broken = false;
    bench->outcome = GATEWAY_UNAVAILABLE;
    take(bench);
    pass_ms(bench, 1200);
    assert_int_equal(bench->done, 4);
    assert_int_equal(bench->result, TXN_CUT_UNAVAILABLE);
    bench->outcome = GATEWAY_REPLY;
    bench->fake.parts[1].refuses = 1000;
    take(bench);
    pass_ms(bench, 1200);
    assert_int_equal(bench->done, 5);
    assert_int_equal(bench->result, TXN_CUT_BUSY);
    assert_int_equal(statistics_of(bench).taken, 0);
}

static void test_full_is_told_at_once_and_leaves_nothing(void **state)
{
    struct bench *bench = *state;

    bench->fake.parts[2].full = true;
    take(bench);
    run(bench);
    assert_int_equal(bench->done, 1);
    assert_int_equal(bench->result, TXN_CUT_FULL);
    assert_int_equal(statistics_of(bench).attempts, 1);
    assert_false(fake_cuts_left(&bench->fake));
}

static void test_it_waits_while_rows_are_copied(void **state)
{
    struct bench *bench = *state;

    bench->fake.parts[1].copying = 6;
    bench->fake.parts[3].copying = 2;
    take(bench);
    run(bench);
    assert_int_equal(bench->done, 0);
    assert_int_equal(bench->fake.parts[0].asked[CUT_STATE], 1);
    pass_ms(bench, 5);
    assert_int_equal(bench->fake.parts[1].asked[CUT_STATE], 2);
    assert_int_equal(bench->fake.parts[0].asked[CUT_STATE], 1); /* it said so before */
    pass_ms(bench, 200);
    assert_int_equal(bench->result, TXN_CUT_OPEN);
    assert_int_equal(bench->fake.parts[1].asked[CUT_STATE], 7);
    assert_int_equal(bench->fake.parts[3].asked[CUT_STATE], 3);
    assert_int_equal(statistics_of(bench).attempts, 1);
    txn_cut_leave(bench->cut, true);
    bench->fake.parts[0].copying = 1000 * 1000; /* longer than patience, and then for ever */
    take(bench);
    pass_ms(bench, 2000);
    assert_int_equal(bench->done, 1);
    pass_ms(bench, CUT_COPYING_US / 1000);
    assert_int_equal(bench->done, 2);
    assert_int_equal(bench->result, TXN_CUT_UNAVAILABLE);
    assert_false(fake_cuts_left(&bench->fake));
}

static void test_what_is_prepared_counts_if_its_primary_has_committed_it(void **state)
{
    struct bench *bench = *state;
    struct txn_id ids[FAKE_TXNS_MAX];

    prepare(bench, 1, txn(0, 7));
    prepare(bench, 2, txn(0, 7)); /* one transaction, two participants */
    prepare(bench, 2, txn(0, 8));
    prepare(bench, 2, txn(3, 7));
    prepare(bench, 0, txn(3, 9));
    commit(bench, txn(0, 7));
    commit(bench, txn(3, 9));
    commit(bench, txn(3, 100)); /* nobody has it prepared any more */
    bench->fake.parts[3].copying = 2;
    take(bench);
    pass_ms(bench, 50);
    assert_int_equal(bench->result, TXN_CUT_OPEN);
    assert_int_equal(bench->fake.parts[0].asked[CUT_OUTCOMES], 1);
    assert_int_equal(bench->fake.parts[1].asked[CUT_OUTCOMES], 0);
    assert_int_equal(bench->fake.parts[3].asked[CUT_OUTCOMES], 1);
    assert_int_equal(sent_along(bench, 0, ids), 1);
    assert_true(txn_id_equal(ids[0], txn(3, 9)));
    assert_int_equal(sent_along(bench, 1, ids), 1);
    assert_true(txn_id_equal(ids[0], txn(0, 7)));
    assert_int_equal(sent_along(bench, 2, ids), 1);
    assert_true(txn_id_equal(ids[0], txn(0, 7)));
    assert_int_equal(sent_along(bench, 3, ids), 0);
    txn_cut_leave(bench->cut, true);
    run(bench);
}

/* More than one request holds. */
static void test_many_prepared_are_asked_about_in_pieces(void **state)
{
    struct bench *bench = *state;
    struct txn_cut *cut = txn_cut_use(bench->cuts, 1, bench, on_done);
    struct cut_part *primary = &cut->parts[2];
    uint8_t outcomes[CUT_TXNS_MAX];
    uint32_t count = CUT_TXNS_MAX + 10;

    cut->sightings = memory_allocate_zero(2 * count * sizeof(cut->sightings[0]));
    cut->sighting_count = 2 * count;
    for (uint32_t i = 0; i < 2 * count; i++) /* each at two parts */
        cut->sightings[i] = (struct cut_sighting){.id = txn(2, 1 + i / 2), .part = i % FAKE_PARTS};
    cut->asking = true;
    cut_judge_begin(cut);
    cut_judge_ask(cut);
    assert_int_equal(open_count(bench), 1);
    cut_forget_all(cut);
    memset(outcomes, 1, sizeof(outcomes));
    assert_false(cut_take_outcomes(primary, bytes_make(outcomes, CUT_TXNS_MAX - 1)));
    assert_true(cut_take_outcomes(primary, bytes_make(outcomes, CUT_TXNS_MAX)));
    assert_true(primary->judging < primary->end);
    cut_judge_ask(cut);
    cut_forget_all(cut);
    assert_int_equal(primary->judging, primary->end);
    outcomes[9] = 0;
    outcomes[8] = 2;
    assert_false(cut_take_outcomes(primary, bytes_make(outcomes, 10)));
    outcomes[8] = 1;
    assert_true(cut_take_outcomes(primary, bytes_make(outcomes, 10)));
    cut_judge_end(cut);
    uint32_t committed = 0;
    for (uint32_t i = 0; i < FAKE_PARTS; i++)
        committed += cut->parts[i].committed_count;
    assert_int_equal(committed, 2 * (count - 1));
    txn_cut_leave(cut, false);
}

static void test_one_that_somebody_else_took_is_used(void **state)
{
    struct bench *bench = *state;
    struct txn_id ids[FAKE_TXNS_MAX];

    prepare(bench, 1, txn(0, 7));
    commit(bench, txn(0, 7));
    take(bench);
    run(bench);
    struct txn_cut *taken = bench->cut;
    txn_cut_use(bench->cuts, txn_cut_id(taken), bench, on_done);
    run(bench);
    assert_int_equal(bench->done, 2);
    assert_int_equal(bench->result, TXN_CUT_OPEN);
    assert_int_equal(txn_cut_id(bench->cut), txn_cut_id(taken));
    assert_int_equal(txn_cut_time(bench->cut), txn_cut_time(taken));
    assert_int_equal(sent_along(bench, 1, ids), 1);
    assert_int_equal(bench->fake.parts[0].asked[CUT_FREEZE], 1);
    txn_cut_leave(bench->cut, false);
    run(bench);
    assert_true(fake_cuts_left(&bench->fake)); /* it is the other's */
    uint64_t id = txn_cut_id(taken);
    txn_cut_leave(taken, true);
    run(bench);
    txn_cut_use(bench->cuts, id, bench, on_done);
    run(bench);
    assert_int_equal(bench->done, 3);
    assert_int_equal(bench->result, TXN_CUT_GONE);
    assert_int_equal(bench->fake.parts[0].asked[CUT_CLOSE], 1);
    assert_int_equal(statistics_of(bench).taken, 1);
}

static void test_leaving_while_it_is_being_opened_closes_it_and_says_nothing(void **state)
{
    struct bench *bench = *state;

    txn_cut_leave(take(bench), true); /* before anything was sent */
    run(bench);
    assert_int_equal(bench->fake.parts[0].asked[CUT_CLOSE], 0);
    for (uint32_t steps = 1; steps < 3 * FAKE_PARTS; steps++) {
        struct txn_cut *cut = take(bench);
        play_turn_once(&bench->play);
        for (uint32_t i = 0; i < steps; i++)
            answer_one(bench);
        if (bench->done > 0) break;
        txn_cut_leave(cut, true);
        run(bench);
        assert_false(fake_cuts_left(&bench->fake));
    }
    assert_int_equal(bench->done, 0);
    assert_int_equal(statistics_of(bench).open, 0);
}

static void test_only_so_many_are_opened_at_once(void **state)
{
    struct bench *bench = *state;

    for (uint32_t i = 0; i < FAKE_PARTS; i++)
        bench->fake.parts[i].silent = true;
    struct txn_cut *cuts[CUTS_OPENING_MAX];
    for (uint32_t i = 0; i < CUTS_OPENING_MAX; i++)
        cuts[i] = take(bench);
    take(bench);
    run(bench);
    assert_int_equal(bench->done, 1);
    assert_int_equal(bench->result, TXN_CUT_UNAVAILABLE);
    txn_cut_leave(cuts[0], false);
    take(bench);
    run(bench);
    assert_int_equal(bench->done, 1);
    for (uint32_t i = 1; i < CUTS_OPENING_MAX; i++)
        txn_cut_leave(cuts[i], false);
}

static void test_the_end_ends_those_that_are_being_opened(void **state)
{
    struct bench *bench = *state;

    take(bench);
    play_turn_once(&bench->play);
    take(bench);
    assert_int_equal(open_count(bench), 1);
    txn_cuts_close(bench->cuts);
    bench->cuts = NULL;
    assert_int_equal(bench->done, 2);
    assert_int_equal(bench->result, TXN_CUT_UNAVAILABLE);
    assert_int_equal(open_count(bench), 0);
}

static void test_without_a_view_there_is_nothing_to_take(void **state)
{
    struct bench *bench = *state;

    bench->view.partition_count = 0;
    take(bench);
    run(bench);
    assert_int_equal(bench->done, 1);
    assert_int_equal(bench->result, TXN_CUT_UNAVAILABLE);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(test_all_are_frozen_before_the_first_is_taken),
        TEST(test_answers_inside_the_question_are_taken),
        TEST(test_a_refusal_closes_all_and_another_attempt_follows),
        TEST(test_another_term_is_another_attempt),
        TEST(test_the_first_part_is_asked_before_all_others),
        TEST(test_one_that_is_late_ends_the_attempt_and_its_answer_is_not_waited_for),
        TEST(test_when_patience_is_over_the_last_reason_is_told),
        TEST(test_full_is_told_at_once_and_leaves_nothing),
        TEST(test_it_waits_while_rows_are_copied),
        TEST(test_what_is_prepared_counts_if_its_primary_has_committed_it),
        TEST(test_many_prepared_are_asked_about_in_pieces),
        TEST(test_one_that_somebody_else_took_is_used),
        TEST(test_leaving_while_it_is_being_opened_closes_it_and_says_nothing),
        TEST(test_only_so_many_are_opened_at_once),
        TEST(test_the_end_ends_those_that_are_being_opened),
        TEST(test_without_a_view_there_is_nothing_to_take),
    };
#undef TEST
    return cmocka_run_group_tests(tests, NULL, NULL);
}
