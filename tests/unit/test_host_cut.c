/* Parts of cuts at one replica (cut.h): what they keep, while rows go on to change, are flushed and
 * evicted; freezing; limits. */
#include "base/random.h"
#include "host_cold.h"

enum { MS = 1000, CUT = 0xc0ffee, KEYS = 600, EPOCH = 3 /* of who asks */ };

static struct {
    struct cut_request request;
} sending;

/* Its answer's text begins with the status. */
static void send_cut(void *context)
{
    struct buffer buffer, body;
    buffer_init(&buffer, 1 << 16);
    buffer_init(&body, 1 << 16);
    struct writer writer = writer_make(&buffer), inner = writer_make(&body);
    cut_request_encode(&inner, &sending.request);
    uint8_t op = sending.request.op;
    struct request_section section = {.group = {GROUP},
                                      .term = host_leads(bed.host, (struct group_id){GROUP}),
                                      .route = bench->route,
                                      .position = bench->positions[0]++,
                                      .count = 1};
    struct request_item item = {.seq = ++bench->seq,
                                .service = SERVICE_CUT,
                                .write = op == CUT_TAKE || op == CUT_CLOSE,
                                .body = buffer_bytes(&body)};
    request_section_encode(&writer, &section);
    request_item_encode(&writer, &item);
    struct transport_peer peer = {.node = OTHER, .epoch = EPOCH};
    host_on_frame(bed.host, &peer, PEER_FRAME_REQUESTS, buffer_bytes(&buffer));
    buffer_free(&buffer);
    buffer_free(&body);
}

static const struct answer *find(uint64_t seq)
{
    for (uint32_t i = 0; i < bench->answer_count; i++)
        if (bench->answers[i].seq == seq) return &bench->answers[i];
    return NULL;
}

static const struct answer *ask_cut(const struct cut_request *request)
{
    const struct answer *answer = NULL;
    bench->answer_count = 0;
    sending.request = *request;
    sim_world_call(sim_world_of(bed.world), 0, send_cut, NULL);
    for (int i = 0; i < 4000 && answer == NULL; i++) {
        sim_run_for(&bed.sim, MS);
        answer = find(bench->seq);
    }
    assert_non_null(answer);
    assert_int_equal(answer->outcome, OUTCOME_REPLY);
    return answer;
}

static enum cut_status freeze(uint64_t cut, uint32_t ms, uint64_t *ret_freeze)
{
    const struct answer *answer =
        ask_cut(&(struct cut_request){.op = CUT_FREEZE, .cut = cut, .freeze_ms = ms});
    if (answer->text[0] == CUT_OK) {
        assert_int_equal(answer->size, 9);
        *ret_freeze = load_u64((const uint8_t *)answer->text + 1);
    }
    return (enum cut_status)answer->text[0];
}

static enum cut_status claim(uint64_t cut, uint32_t ms)
{
    return (enum cut_status)ask_cut(
               &(struct cut_request){.op = CUT_CLAIM, .cut = cut, .freeze_ms = ms})
        ->text[0];
}

static enum cut_status take(uint64_t cut, uint64_t freeze, int64_t lifetime)
{
    struct cut_request request = {
        .op = CUT_TAKE, .cut = cut, .freeze = freeze, .lifetime = lifetime};
    return (enum cut_status)ask_cut(&request)->text[0];
}

static enum cut_status state_of(uint64_t cut)
{
    return (enum cut_status)ask_cut(&(struct cut_request){.op = CUT_STATE, .cut = cut})->text[0];
}

static enum cut_status close_cut(uint64_t cut)
{
    return (enum cut_status)ask_cut(&(struct cut_request){.op = CUT_CLOSE, .cut = cut})->text[0];
}

static void open_cut(uint64_t cut)
{
    uint64_t token = 0;
    assert_int_equal(freeze(cut, 100, &token), CUT_OK);
    assert_int_equal(take(cut, token, 3600 * (int64_t)SECOND), CUT_OK);
}

static void wait_open(uint64_t cut)
{
    enum cut_status status = CUT_OPENING;
    for (int i = 0; i < 2000 && status == CUT_OPENING; i++) {
        status = state_of(cut);
        sim_run_for(&bed.sim, MS);
    }
    assert_int_equal(status, CUT_OK);
}

/* As of the cut, evaluate() says this. */
static const char *ask_at(uint64_t cut, char kind, uint16_t first, uint16_t number)
{
    uint8_t body[5] = {(uint8_t)kind};
    store_u16(body + 1, first);
    store_u16(body + 3, number);
    const struct answer *answer = ask_cut(&(struct cut_request){
        .op = CUT_READ, .cut = cut, .service = SERVICE_REDIS, .body = bytes_make(body, 5)});
    assert_int_equal(answer->text[0], CUT_OK);
    return answer->text + 1;
}

static const struct answer *now(char kind, uint16_t first)
{
    bench->answer_count = 0;
    return ask((struct ask){.kind = kind, .first = first, .number = 1});
}

static void test_who_claims_holds_others_back_and_no_write(void **state)
{
    uint64_t token = 0;

    assert_int_equal(claim(CUT, 100), CUT_OK);
    assert_int_equal(claim(CUT, 100), CUT_OK); /* asked again */
    assert_int_equal(claim(CUT + 1, 100), CUT_REFUSED);
    assert_int_equal(freeze(CUT + 1, 100, &token), CUT_REFUSED);
    assert_string_equal(now('s', 7)->text, "s0");
    assert_int_equal(freeze(CUT, 100, &token), CUT_OK);
    assert_int_equal(claim(CUT + 1, 100), CUT_REFUSED);
    assert_int_equal(take(CUT, token, 3600 * (int64_t)SECOND), CUT_OK);
    assert_int_equal(claim(CUT + 1, 100), CUT_OK); /* the other goes on */
    assert_int_equal(close_cut(CUT + 1), CUT_OK);
    assert_int_equal(claim(CUT + 2, 20), CUT_OK); /* it gave up */
    sim_run_for(&bed.sim, 20 * MS);
    assert_int_equal(freeze(CUT + 3, 100, &token), CUT_OK); /* that claim came to its end */
    assert_int_equal(close_cut(CUT + 3), CUT_OK);
}

static void test_a_part_keeps_rows_that_are_deleted_and_dropped(void **state)
{
    open_cut(CUT);
    now('d', 3);
    now('s', 4000);
    wait_open(CUT);
    assert_string_equal(now('c', 0)->text, "c400");
    assert_string_equal(ask_at(CUT, 'c', 0, 0), "c400");
    assert_string_equal(ask_at(CUT, 'm', 0, 60), "m60");
    assert_string_equal(ask_at(CUT, 'm', 4000, 1), "m0");
    now('f', 0);
    sim_run_for(&bed.sim, 20 * SECOND); /* flushed; what was dropped is collected */
    assert_string_equal(now('c', 0)->text, "c0");
    assert_string_equal(ask_at(CUT, 'c', 0, 0), "c400");
    assert_string_equal(ask_at(CUT, 'r', 0, 0), "r400");
    assert_string_equal(ask_at(CUT, 'w', 100, 50), "w50");
    assert_int_equal(close_cut(CUT), CUT_OK);
    assert_int_equal(state_of(CUT), CUT_GONE);
    sim_run_for(&bed.sim, SECOND);
    assert_int_equal(statistics().cuts_open, 0);
    assert_int_equal(statistics().cut_bytes, 0);
}

/* Nothing is changed by what is asked at a cut. */
static void test_what_is_asked_at_a_part_has_no_effects(void **state)
{
    open_cut(CUT);
    wait_open(CUT);
    assert_string_equal(ask_at(CUT, 'd', 5, 1), "d0");
    assert_string_equal(ask_at(CUT, 'm', 5, 1), "m1");
    assert_string_equal(now('m', 5)->text, "m1");
}

static void test_writes_wait_while_it_is_frozen_and_reads_go_on(void **state)
{
    uint64_t token = 0;
    struct ask write = {.kind = 'd', .first = 7}, read = {.kind = 'm', .first = 8, .number = 1};
    ask(read); /* in memory now */
    assert_int_equal(freeze(CUT, 100, &token), CUT_OK);
    bench->answer_count = 0;
    sim_world_call(sim_world_of(bed.world), 0, send_call, &write);
    sim_world_call(sim_world_of(bed.world), 0, send_call, &read);
    sim_run_for(&bed.sim, 20 * MS);
    assert_int_equal(bench->answer_count, 1);
    assert_string_equal(bench->answers[0].text, "m1");
    uint64_t seq = bench->seq - 1;
    assert_int_equal(take(CUT, token, 3600 * (int64_t)SECOND), CUT_OK);
    sim_run_for(&bed.sim, 20 * MS);
    assert_non_null(find(seq));
    wait_open(CUT);
    assert_string_equal(ask_at(CUT, 'm', 7, 1), "m1");
    assert_string_equal(now('m', 7)->text, "m0");
}

static void test_a_freeze_ends_by_itself_and_is_not_taken_then(void **state)
{
    uint64_t token = 0, other = 0;
    struct ask write = {.kind = 'd', .first = 7};
    assert_int_equal(freeze(CUT, 100, &token), CUT_OK);
    assert_int_equal(freeze(CUT + 1, 100, &other), CUT_REFUSED);
    assert_int_equal(freeze(CUT, 100, &other), CUT_OK); /* asked again: the same */
    assert_int_equal(other, token);
    bench->answer_count = 0;
    sim_world_call(sim_world_of(bed.world), 0, send_call, &write);
    sim_run_for(&bed.sim, 50 * MS);
    assert_int_equal(bench->answer_count, 0);
    sim_run_for(&bed.sim, 100 * MS);
    assert_int_equal(bench->answer_count, 1);
    assert_int_equal(take(CUT, token, SECOND), CUT_REFUSED);
    assert_int_equal(freeze(CUT, 100, &other), CUT_OK); /* a frame that came late */
    assert_int_not_equal(other, token);
    assert_int_equal(take(CUT, token, SECOND), CUT_REFUSED);
    assert_int_equal(state_of(CUT), CUT_GONE);
}

static void test_as_many_parts_as_there_may_be(void **state)
{
    uint64_t token = 0;
    for (uint64_t i = 1; i <= CUTS_MAX; i++)
        open_cut(i);
    assert_int_equal(freeze(CUT, 100, &token), CUT_FULL);
    assert_int_equal(close_cut(3), CUT_OK);
    open_cut(CUT);
    wait_open(CUT);
    assert_string_equal(ask_at(CUT, 'c', 0, 0), "c400");
}

static void test_a_part_ends_with_its_lifetime(void **state)
{
    uint64_t token = 0;
    assert_int_equal(freeze(CUT, 100, &token), CUT_OK);
    assert_int_equal(take(CUT, token, 2 * SECOND), CUT_OK);
    wait_open(CUT);
    sim_run_for(&bed.sim, 3 * SECOND);
    assert_int_equal(state_of(CUT), CUT_GONE);
}

/* The time of entries follows a clock that was set by a tenth of what passes (D3): for half an hour
 * and more an entry is older by it than a part lives. */
static void test_a_clock_that_is_set_ends_no_part_before_it_begins(void **state)
{
    uint64_t token = 0;
    sim_machine_jump_wall_clock(&bed.machine, 300ll * SECOND);
    assert_int_equal(freeze(CUT, 100, &token), CUT_OK);
    assert_int_equal(take(CUT, token, 5 * SECOND), CUT_OK);
    wait_open(CUT);
    sim_run_for(&bed.sim, 4 * SECOND);
    assert_int_equal(state_of(CUT), CUT_OK);
    sim_run_for(&bed.sim, 2 * SECOND);
    assert_int_equal(state_of(CUT), CUT_GONE);
}

static void start_again(void)
{
    sim_run_for(&bed.sim, SECOND);
    bed_call(bed_close, NULL, SECOND);
    bench->route++; /* what the gateway knows of it begins anew */
    memset(bench->positions, 0, sizeof(bench->positions));
    bed_call(open_all, NULL, 2 * SECOND);
}

/* Which it would otherwise do by the clock, of what it applies again. */
static void test_the_end_of_a_part_is_in_the_log(void **state)
{
    uint64_t token = 0;
    open_cut(CUT + 1);
    assert_int_equal(freeze(CUT, 100, &token), CUT_OK);
    assert_int_equal(take(CUT, token, 5 * SECOND), CUT_OK);
    wait_open(CUT);
    sim_run_for(&bed.sim, 6 * SECOND);
    assert_int_equal(state_of(CUT), CUT_GONE);
    sim_machine_jump_wall_clock(&bed.machine, -3600ll * SECOND);
    start_again();
    wait_open(CUT + 1);
    assert_int_equal(state_of(CUT), CUT_GONE);
}

/* Who would have closed it was killed. */
static void test_a_part_ends_with_the_life_of_its_opener(void **state)
{
    open_cut(CUT);
    wait_open(CUT);
    bench->over = EPOCH - 1;
    sim_run_for(&bed.sim, 10 * SECOND);
    assert_int_equal(state_of(CUT), CUT_OK);
    bench->over = EPOCH;
    sim_run_for(&bed.sim, 2 * SECOND);
    assert_int_equal(state_of(CUT), CUT_GONE);
    sim_run_for(&bed.sim, SECOND);
    assert_int_equal(statistics().cuts_open, 0);
}

static void test_what_makes_no_sense_is_refused(void **state)
{
    assert_int_equal(take(CUT, 1, SECOND), CUT_REFUSED);
    assert_int_equal(close_cut(CUT), CUT_OK); /* there is none: nothing to do */
    open_cut(CUT);
    wait_open(CUT);
    const struct answer *answer = ask_cut(&(struct cut_request){
        .op = CUT_READ, .cut = CUT, .service = SERVICE_TXN, .body = bytes_of("x")});
    assert_int_equal(answer->text[0], CUT_FAILED);
}

/* --- many cuts while everything changes, against a model --- */

struct model {
    uint64_t cut; /* 0: none */
    bool there[KEYS];
    uint32_t count;
};

static struct model present, kept[4];

static void change(struct random *random)
{
    uint16_t key = (uint16_t)random_below(random, KEYS);
    bool put = random_below(random, 2) == 0;
    bench->answer_count = 0;
    const struct answer *answer = ask((struct ask){.kind = put ? 's' : 'd', .first = key});
    if (answer->outcome != OUTCOME_REPLY) return; /* BUSY: nothing was done */
    present.count += (uint32_t)put - (uint32_t)present.there[key];
    present.there[key] = put;
}

static void compare(const struct model *model, struct random *random)
{
    char text[32];
    uint16_t first = (uint16_t)random_below(random, KEYS - 40), there = 0;
    for (uint16_t i = first; i < first + 40; i++)
        there += model->there[i];
    snprintf(text, sizeof(text), "m%u", there);
    assert_string_equal(ask_at(model->cut, 'm', first, 40), text);
    snprintf(text, sizeof(text), "w%u", there);
    assert_string_equal(ask_at(model->cut, 'w', first, 40), text);
    snprintf(text, sizeof(text), "c%u", model->count);
    assert_string_equal(ask_at(model->cut, 'c', 0, 0), text);
}

static void test_parts_are_as_a_model_says(void **state)
{
    struct random random;
    random_seed(&random, 77);
    memset(&present, 0, sizeof(present));
    memset(kept, 0, sizeof(kept));
    present.count = ROWS;
    for (int i = 0; i < ROWS; i++)
        present.there[i] = true;
    for (uint64_t step = 1; step <= 60; step++) {
        struct model *model = &kept[random_below(&random, 4)];
        if (model->cut != 0) {
            wait_open(model->cut);
            compare(model, &random);
            assert_int_equal(close_cut(model->cut), CUT_OK);
            model->cut = 0;
        } else {
            *model = present;
            model->cut = step;
            open_cut(step);
        }
        for (uint64_t left = random_below(&random, 60); left > 0; left--)
            change(&random);
        if (random_below(&random, 3) == 0) sim_run_for(&bed.sim, SECOND);
    }
    assert_true(statistics().flushes > 10);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_who_claims_holds_others_back_and_no_write),
        TEST(test_a_part_keeps_rows_that_are_deleted_and_dropped),
        TEST(test_what_is_asked_at_a_part_has_no_effects),
        TEST(test_writes_wait_while_it_is_frozen_and_reads_go_on),
        TEST(test_a_freeze_ends_by_itself_and_is_not_taken_then),
        TEST(test_as_many_parts_as_there_may_be),
        TEST(test_a_part_ends_with_its_lifetime),
        TEST(test_a_clock_that_is_set_ends_no_part_before_it_begins),
        TEST(test_the_end_of_a_part_is_in_the_log),
        TEST(test_a_part_ends_with_the_life_of_its_opener),
        TEST(test_what_makes_no_sense_is_refused),
        TEST(test_parts_are_as_a_model_says),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
