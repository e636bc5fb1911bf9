/* Groups at rest: a follower, and what the leader's worker on node 2 tells it (decision 0009). */
#include "host_rest.h"

/* One word of node 2. */
struct word {
    uint64_t generation;
    boot_epoch_t epoch; /* 0: 1 */
};

static uint32_t acks;

static void count_acks(uint8_t kind, struct bytes payload)
{
    (void)payload;
    acks += kind == PEER_FRAME_REST_ACK;
}

static void open_follower(void *context)
{
    (void)context;
    open_with_board(&founding);
}

/* It follows replica 12 on node 2 in term 2, and has all there is. */
static int setup_follower(void **state)
{
    struct append append = {
        .to = 11, .index = 1, .term_before = BIRTH_TERM, .commit = 2, .entry = put_entry(2, 7)};
    (void)state;
    acks = 0;
    setup_board();
    bench->on_sent = count_acks;
    bed_call(open_follower, NULL, 100 * MS);
    bed_call(send_append, &append, 100 * MS);
    assert_int_equal(applied(), 2);
    return 0;
}

static void say_beat(void *context)
{
    const struct word *word = context;
    give_beat(2, word->epoch != 0 ? word->epoch : 1, word->generation, 0);
}

static void ask_to_rest(void *context)
{
    const struct word *word = context;
    struct rest_ask_entry entry = {.group = {GROUP}, .from = {12}, .to = {11}, .term = 2};
    struct buffer frame;
    buffer_init(&frame, 4096);
    rest_ask_begin(&frame, word->generation);
    rest_ask_add(&frame, &entry);
    give(2, word->epoch != 0 ? word->epoch : 1, PEER_FRAME_REST, &frame);
}

static void beat(uint64_t generation)
{
    bed_call(say_beat, &(struct word){.generation = generation}, 1 * MS);
}

static void ask(uint64_t generation)
{
    bed_call(ask_to_rest, &(struct word){.generation = generation}, 1 * MS);
}

static void send_heartbeat(void *context)
{
    struct buffer frame;
    (void)context;
    buffer_init(&frame, 4096);
    struct writer writer = writer_make(&frame);
    write_u64(&writer, world_now(bed.world));
    write_i64(&writer, world_wall_time(bed.world));
    write_u8(&writer, 0);
    write_u32(&writer, GROUP);
    write_u64(&writer, 12);
    write_u64(&writer, 11);
    write_u64(&writer, 2);
    write_u64(&writer, 2);
    write_u64(&writer, 0);
    give(2, 1, PEER_FRAME_HEARTBEATS, &frame);
}

/* As a leader that is awake. */
static void heartbeats(uint64_t ms)
{
    for (uint64_t at = 0; at < ms; at += 50)
        bed_call(send_heartbeat, NULL, HEARTBEAT_US);
}

/* As a leader that rests. */
static void beats(uint64_t generation, uint64_t ms)
{
    for (uint64_t at = 0; at < ms; at += 200) {
        beat(generation);
        sim_run_for(&bed.sim, 199 * MS);
    }
}

/* Else each message of a busy group would ask for it, as long as the leader does not rest. */
static void test_an_agreement_that_is_never_told_ends(void **state)
{
    (void)state;
    beat(0);
    ask(1);
    assert_int_equal(acks, 1);
    assert_int_equal(replica()->rest.generation, 1);
    heartbeats(1000);
    assert_int_equal(replica()->rest.generation, 1); /* the beat may be on its way */
    heartbeats(1200);
    assert_int_equal(replica()->rest.generation, 0);
    assert_int_equal(bed.host->rest.withdrawals, 1); /* whoever tells it after all learns so */
    assert_int_equal(role(), RAFT_FOLLOWER);
}

/* A leader that may not rest, because another member does not agree, asks each 1.4 s: who agreed
 * takes nothing back then, which would wake others. */
static void test_an_agreement_that_is_asked_for_again_is_not_taken_back(void **state)
{
    (void)state;
    for (uint64_t generation = 1; generation <= 4; generation++) {
        beat(0);
        ask(generation);
        heartbeats(1400);
    }
    assert_int_equal(acks, 4);
    assert_int_equal(replica()->rest.generation, 4);
    assert_int_equal(bed.host->rest.withdrawals, 0);
}

/* F40: a request that was held up, or comes twice. */
static void test_an_older_request_takes_no_newer_ones_place(void **state)
{
    (void)state;
    beat(0);
    ask(2);
    beat(2);
    ask(1);
    assert_int_equal(acks, 1);
    assert_int_equal(replica()->rest.generation, 2);
    beats(2, 1000);
    assert_int_equal(role(), RAFT_FOLLOWER);
    ask(2);
    assert_int_equal(acks, 2); /* the same one once more is answered */

    /* Another start of the node counts anew. */
    bed_call(say_beat, &(struct word){.epoch = 2}, 1 * MS);
    bed_call(ask_to_rest, &(struct word){.generation = 1, .epoch = 2}, 1 * MS);
    assert_int_equal(replica()->rest.generation, 1);
    assert_int_equal(replica()->rest.epoch, 2);
}

static void withdraw(void *context)
{
    (void)context;
    rest_withdraw(replica());
}

/* The core has heard nothing since the rest began; the beats were signs of life all the same. */
static void test_the_leader_is_not_taken_for_dead_when_an_agreement_is_taken_back(void **state)
{
    (void)state;
    beat(0);
    ask(1);
    beats(1, 3000);
    assert_int_equal(role(), RAFT_FOLLOWER);
    beat(1);
    bed_call(withdraw, NULL, 0);
    assert_int_equal(bed.host->rest.withdrawals, 1);
    assert_int_equal(replica()->rest.generation, 0);
    sim_run_for(&bed.sim, 290 * MS);
    assert_int_equal(role(), RAFT_FOLLOWER);
    sim_run_for(&bed.sim, 600 * MS);
    assert_int_equal(role(), RAFT_PRE_CANDIDATE);
}

/* The last request is void as soon as a beat says that its worker is awake. */
static void test_who_is_awake_is_gone_by_heartbeats(void **state)
{
    (void)state;
    beat(0);
    ask(1);
    beats(1, 1000);
    beat(0);
    heartbeats(50);
    sim_run_for(&bed.sim, 220 * MS);
    assert_int_equal(replica()->rest.generation, 0);
    assert_int_equal(bed.host->rest.withdrawals, 0);
    for (int i = 0; i < 5; i++) /* beats alone keep nobody's followers */
        beats(0, 200);
    assert_int_equal(role(), RAFT_PRE_CANDIDATE);
}

int main(void)
{
#define REST_TEST(name) cmocka_unit_test_setup_teardown(name, setup_follower, teardown_board)
    const struct CMUnitTest tests[] = {
        REST_TEST(test_an_agreement_that_is_never_told_ends),
        REST_TEST(test_an_agreement_that_is_asked_for_again_is_not_taken_back),
        REST_TEST(test_an_older_request_takes_no_newer_ones_place),
        REST_TEST(test_the_leader_is_not_taken_for_dead_when_an_agreement_is_taken_back),
        REST_TEST(test_who_is_awake_is_gone_by_heartbeats),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
