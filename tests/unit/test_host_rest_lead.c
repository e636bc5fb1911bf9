/* Groups at rest: the leader's worker, and what its followers on nodes 2 and 3 answer (decision
 * 0009). */
#include "host_rest.h"

enum { STEP_US = 5 * MS, SAID_MAX = 16, FOLLOWERS = 2, REST_BEGINS_US = 4 * 1000 * MS };

/* Node 2 or 3, with replica 12 or 13. */
struct follower {
    bool deaf;   /* to all but requests to rest; it says nothing but beats */
    bool silent; /* altogether */
    bool late;   /* its agreement is kept back */
    uint32_t taken_back;
    uint64_t asked; /* generation; 0: not */
    uint64_t beat_at;
};

static struct {
    struct follower followers[FOLLOWERS];
    struct raft_message said[SAID_MAX]; /* answers of cores, to be delivered */
    uint32_t said_count;
    struct raft_heartbeat beaten[SAID_MAX];
    uint64_t generated_at;
    uint32_t beaten_count;
    uint32_t heartbeats; /* frames of the leader */
    uint64_t told;       /* generation of its last beat */
} play;

static struct follower *follower_of(struct replica_id id)
{
    assert_in_range(id.value, 12, 13);
    return &play.followers[id.value - 12];
}

/* --- what the leader sends --------------------------------------------------------------- */

static void hear_message(const struct raft_message *message)
{
    static const uint8_t replies[] = {[RAFT_PRE_VOTE] = RAFT_PRE_VOTE_REPLY,
                                      [RAFT_VOTE] = RAFT_VOTE_REPLY,
                                      [RAFT_APPEND] = RAFT_APPEND_REPLY};
    const struct follower *follower = follower_of(message->to);
    if (follower->deaf || follower->silent || play.said_count == SAID_MAX) return;
    play.said[play.said_count++] =
        (struct raft_message){.type = replies[message->type],
                              .group = message->group,
                              .from = message->to,
                              .to = message->from,
                              .from_node = message->to_node,
                              .to_node = message->from_node,
                              .term = message->term,
                              .index = message->index + message->entry_count};
}

static void hear_messages(struct bytes payload)
{
    struct reader reader = reader_make(payload);
    while (reader_left(&reader) > 0) {
        struct raft_message message;
        assert_int_equal(raft_message_decode(&reader, NULL, &message), STATUS_OK);
        hear_message(&message);
        raft_message_clear(&message);
    }
}

static void hear_heartbeats(struct bytes payload)
{
    struct reader reader = reader_make(payload);
    play.heartbeats++;
    play.generated_at = read_u64(&reader);
    read_i64(&reader);
    read_u8(&reader);
    struct raft_heartbeat heartbeat = {.group = {read_u32(&reader)},
                                       .from = {read_u64(&reader)},
                                       .to = {read_u64(&reader)},
                                       .term = read_u64(&reader),
                                       .commit = read_u64(&reader),
                                       .round = read_u64(&reader)};
    const struct follower *follower = follower_of(heartbeat.to);
    if (follower->deaf || follower->silent || play.beaten_count == SAID_MAX) return;
    play.beaten[play.beaten_count++] = heartbeat;
}

static void hear(uint8_t kind, struct bytes payload)
{
    struct rest_beat beat;
    struct rest_ask_entry entry;
    struct reader entries;
    uint64_t generation;
    if (kind == PEER_FRAME_RAFT) hear_messages(payload);
    if (kind == PEER_FRAME_HEARTBEATS) hear_heartbeats(payload);
    if (kind == PEER_FRAME_NODE_BEAT) {
        assert_int_equal(rest_beat_decode(payload, &beat), STATUS_OK);
        play.told = beat.generation;
    }
    if (kind == PEER_FRAME_REST) {
        assert_int_equal(rest_ask_decode(payload, &generation, &entries), STATUS_OK);
        assert_true(rest_ask_next(&entries, &entry));
        follower_of(entry.to)->asked = generation;
    }
}

/* --- what they answer -------------------------------------------------------------------- */

static void give_messages(void)
{
    for (uint32_t i = 0; i < play.said_count; i++) {
        struct buffer frame;
        buffer_init(&frame, 4096);
        assert_int_equal(raft_message_encode(&play.said[i], &frame), STATUS_OK);
        give(play.said[i].from_node, 1, PEER_FRAME_RAFT, &frame);
    }
    play.said_count = 0;
}

static void give_heartbeat_acks(void)
{
    for (uint32_t i = 0; i < play.beaten_count; i++) {
        const struct raft_heartbeat *heartbeat = &play.beaten[i];
        struct buffer frame;
        buffer_init(&frame, 4096);
        struct writer writer = writer_make(&frame);
        write_u64(&writer, play.generated_at);
        write_i64(&writer, world_wall_time(bed.world));
        write_u8(&writer, 0);
        write_u32(&writer, GROUP);
        write_u64(&writer, heartbeat->to.value);
        write_u64(&writer, heartbeat->from.value);
        write_u64(&writer, heartbeat->term);
        write_u64(&writer, heartbeat->round);
        write_u64(&writer, raft_last_index(replica()->raft));
        write_u8(&writer, true);
        give((node_id_t)heartbeat->to.value - 10, 1, PEER_FRAME_HEARTBEAT_ACKS, &frame);
    }
    play.beaten_count = 0;
}

static void give_ack(node_id_t from, uint64_t generation, uint32_t withdrawals)
{
    struct rest_ack ack = {.generation = generation, .groups = 1, .withdrawals = withdrawals};
    struct buffer frame;
    buffer_init(&frame, 4096);
    rest_ack_encode(&ack, &frame);
    give(from, 1, PEER_FRAME_REST_ACK, &frame);
}

static void answer(void *context)
{
    (void)context;
    give_messages();
    give_heartbeat_acks();
    for (node_id_t node = 2; node < 2 + FOLLOWERS; node++) {
        struct follower *follower = &play.followers[node - 2];
        uint64_t now = world_now(bed.world);
        if (follower->silent) continue;
        if (now >= follower->beat_at + 200 * MS) {
            follower->beat_at = now;
            give_beat(node, 1, 0, follower->taken_back);
        }
        if (follower->asked == 0 || follower->late) continue;
        give_ack(node, follower->asked, follower->taken_back);
        follower->asked = 0;
    }
}

static void run_play(uint64_t us)
{
    for (uint64_t at = 0; at < us; at += STEP_US)
        bed_call(answer, NULL, STEP_US);
}

static bool run_until(bool (*is_so)(void), uint64_t us)
{
    for (uint64_t at = 0; at < us && !is_so(); at += STEP_US)
        run_play(STEP_US);
    return is_so();
}

static bool rests(void)
{
    return host_rests(bed.host);
}

static bool is_asked(void)
{
    return bed.host->rest.state == REST_ASKED && play.followers[0].asked != 0 &&
           play.followers[1].asked != 0;
}

static bool leads_no_more(void)
{
    return role() != RAFT_LEADER;
}

static void open_leader(void *context)
{
    (void)context;
    open_with_board(&founding);
}

static int setup_leader(void **state)
{
    (void)state;
    memset(&play, 0, sizeof(play));
    setup_board();
    bench->on_sent = hear;
    bed_call(open_leader, NULL, 0);
    run_play(1500 * MS);
    assert_int_equal(role(), RAFT_LEADER);
    assert_false(rests());
    return 0;
}

/* --- to rest ------------------------------------------------------------------------------ */

/* Between the agreement and the beat that tells of it followers have nothing but heartbeats. */
static void test_heartbeats_go_on_until_a_beat_told_of_the_rest(void **state)
{
    (void)state;
    play.followers[0].late = play.followers[1].late = true;
    assert_true(run_until(is_asked, REST_BEGINS_US));
    play.followers[0].late = play.followers[1].late = false;
    uint32_t before = play.heartbeats;
    run_play(STEP_US);
    assert_int_equal(bed.host->rest.state, REST_AGREED);
    assert_int_equal(play.told, 0);
    assert_true(run_until(rests, 1000 * MS));
    assert_true(play.heartbeats > before); /* with that beat */
    assert_int_equal(play.told, bed.host->rest.generation);
    before = play.heartbeats;
    run_play(2000 * MS);
    assert_int_equal(play.heartbeats, before);
    assert_true(rests());
}

static void disturb(void *context)
{
    (void)context;
    host_mark_dirty(replica());
}

/* Agreed, told to nobody, and something comes in between: the next rest has another generation. */
static void test_what_was_agreed_and_told_to_nobody_is_never_told(void **state)
{
    (void)state;
    play.followers[0].late = play.followers[1].late = true;
    assert_true(run_until(is_asked, REST_BEGINS_US));
    uint64_t generation = bed.host->rest.generation;
    play.followers[0].late = play.followers[1].late = false;
    run_play(STEP_US);
    assert_int_equal(bed.host->rest.state, REST_AGREED);
    bed_call(disturb, NULL, 0);
    assert_int_equal(bed.host->rest.state, REST_AWAKE);
    assert_int_equal(play.told, 0);
    assert_true(run_until(rests, REST_BEGINS_US));
    assert_true(play.told > generation);
}

static void give_old_acks(void *context)
{
    const uint64_t *generation = context;
    give_ack(2, *generation, 0);
    give_ack(3, *generation, 0);
}

/* They answer a request that ran out. */
static void test_an_answer_to_an_older_request_is_none(void **state)
{
    (void)state;
    play.followers[0].late = play.followers[1].late = true;
    assert_true(run_until(is_asked, REST_BEGINS_US));
    uint64_t old = bed.host->rest.generation;
    play.followers[0].asked = play.followers[1].asked = 0;
    assert_true(run_until(is_asked, REST_BEGINS_US));
    assert_int_equal(bed.host->rest.generation, old + 1);
    bed_call(give_old_acks, &old, 0);
    assert_int_equal(bed.host->rest.state, REST_ASKED);
    run_play(100 * MS);
    assert_int_equal(bed.host->rest.state, REST_ASKED);
    assert_int_equal(play.told, 0);
}

/* The beat that tells of it overtakes the answer. */
static void test_an_agreement_that_was_taken_back_before_its_answer_came_counts_not(void **state)
{
    (void)state;
    play.followers[0].late = true;
    assert_true(run_until(is_asked, REST_BEGINS_US));
    play.followers[0].taken_back = 1;
    run_play(200 * MS); /* a beat comes */
    assert_int_equal(bed.host->rest.state, REST_ASKED);
    uint64_t generation = bed.host->rest.generation;
    play.followers[0].taken_back = 0; /* as of when it answered */
    play.followers[0].beat_at = world_now(bed.world);
    play.followers[0].late = false;
    run_play(STEP_US);
    assert_int_equal(bed.host->rest.state, REST_AGREED);
    play.followers[0].taken_back = 1;
    run_play(300 * MS);
    assert_int_equal(bed.host->rest.state, REST_AWAKE);
    assert_int_equal(bed.host->statistics.rests, 0);
    assert_true(run_until(rests, REST_BEGINS_US)); /* it agrees again, after that */
    assert_true(bed.host->rest.generation > generation);
}

/* --- and no more -------------------------------------------------------------------------- */

/* Whose quorum is gone does not lead on for long, when its rest hid that until now: others take
 * a replica that was lost for one that its leader does without (LOST_SETTLE_US, node_stores.c). */
static void test_who_wakes_without_a_quorum_steps_down_soon(void **state)
{
    (void)state;
    for (uint32_t phase = 0; phase < 4; phase++) { /* of the ticks that look only now and then */
        assert_true(run_until(rests, 3 * REST_BEGINS_US));
        run_play(phase * 200 * MS);
        play.followers[0].deaf = true; /* its replica is lost, its node lives */
        play.followers[0].taken_back++;
        play.followers[1].silent = true;
        run_play(200 * MS); /* a beat; an election timeout after it, and a busy tick */
        assert_true(run_until(leads_no_more, 660 * MS));
        play.followers[0].deaf = play.followers[1].silent = false;
        run_play(3000 * MS);
        assert_int_equal(role(), RAFT_LEADER);
    }
}

int main(void)
{
#define REST_TEST(name) cmocka_unit_test_setup_teardown(name, setup_leader, teardown_board)
    const struct CMUnitTest tests[] = {
        REST_TEST(test_heartbeats_go_on_until_a_beat_told_of_the_rest),
        REST_TEST(test_what_was_agreed_and_told_to_nobody_is_never_told),
        REST_TEST(test_an_answer_to_an_older_request_is_none),
        REST_TEST(test_an_agreement_that_was_taken_back_before_its_answer_came_counts_not),
        REST_TEST(test_who_wakes_without_a_quorum_steps_down_soon),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
