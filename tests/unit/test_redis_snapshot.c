/* HOLON.SNAPSHOT: how the front-end reads at a cut, over partitions that have two states, now and
 * as they were. */
#include "redis_whole.h"

#include "fake_cuts.h"

struct cut_bench {
    struct whole *whole;
    struct fake_cuts fake;
    struct redis_harness *kept[PARTITIONS]; /* what a READ is evaluated over */
    bool holds;                             /* READs are not answered, but kept open */
    uint32_t opening;                       /* so many READs, */
    enum cut_status status;                 /* and then; CUT_OK: as they should */
    uint32_t reads;
};

static struct cut_bench *bench;

/* --- partitions ------------------------------------------------------------------------------ */

static void read_kept(struct fake_cuts *fake, uint32_t part, const struct cut_request *request)
{
    assert_int_equal(request->service, SERVICE_REDIS);
    struct bytes reply =
        redis_harness_evaluate(bench->kept[part], redis_evaluate,
                               (struct request){.service = SERVICE_REDIS,
                                                .slot = bench->kept[part]->slot_first,
                                                .body = request->body});
    assert_int_equal(bench->kept[part]->result, EVALUATE_DONE);
    buffer_append(&fake->reply, reply);
}

static struct bytes answer_of(struct gateway_request *request)
{
    static const uint8_t opening = CUT_OPENING;
    static uint8_t status;
    struct cut_request asked;
    uint32_t part = bench->whole->front->view.slot_partition[request->slot];

    assert_true(cut_request_decode(request->body, &asked));
    bench->reads += asked.op == CUT_READ;
    if (asked.op == CUT_READ && bench->opening > 0) {
        bench->opening--;
        return bytes_make(&opening, 1);
    }
    status = (uint8_t)bench->status;
    if (asked.op == CUT_READ && status != CUT_OK) return bytes_make(&status, 1);
    return fake_cuts_answer(&bench->fake, part, request->body);
}

static void on_submit(struct fixture *front, size_t index)
{
    struct gateway_request *request = front->requests[index];

    if (request->service != SERVICE_CUT) {
        whole_on_submit(front, index);
        return;
    }
    if (bench->holds) return;
    struct bytes reply = answer_of(request);
    front->requests[index] = NULL;
    front->open_count--;
    if (index + 1 == front->request_count) { /* its place is free: there may be many */
        front->request_count--;
        free(front->bodies[index]);
    }
    request->on_reply(request, GATEWAY_REPLY, reply);
}

/* What was held. */
static void release(void)
{
    struct fixture *front = bench->whole->front;

    bench->holds = false;
    for (size_t i = 0; i < front->request_count; i++)
        if (front->requests[i] != NULL) on_submit(front, i);
}

/* Of somebody else: in the present, or in both states. */
static void line(const char *text, bool both)
{
    uint8_t room[512];
    struct bytes words[16];
    uint32_t count = 0;

    whole_line(bench->whole, text);
    assert_true(resp_split_line(bytes_of(text), room, words, 16, &count));
    uint32_t part = bench->whole->front->view.slot_partition[key_slot(words[1])];
    if (both) redis_harness_run(bench->kept[part], words, count);
}

static int set_up(void **state)
{
    bench = calloc(1, sizeof(*bench));
    bench->whole = whole_make();
    bench->whole->front->view.cluster_version = VIEW_VERSION_CUT;
    bench->whole->front->on_submit = on_submit;
    fake_cuts_init(&bench->fake);
    bench->fake.read = read_kept;
    for (uint32_t i = 0; i < PARTITIONS; i++) {
        bench->whole->front->view.groups[GROUP_DATA_FIRST + i].leader = 1;
        bench->kept[i] = redis_harness_make();
        bench->kept[i]->slot_first = bench->whole->partitions[i]->slot_first;
        bench->kept[i]->slot_last = bench->whole->partitions[i]->slot_last;
    }
    *state = bench->whole->client;
    return 0;
}

static int tear_down(void **state)
{
    whole_free(bench->whole);
    for (uint32_t i = 0; i < PARTITIONS; i++)
        redis_harness_free(bench->kept[i]);
    buffer_free(&bench->fake.reply);
    free(bench);
    return 0;
}

/* All that is due, and what that starts. */
static void settle(void)
{
    turn(bench->whole->front);
}

static void pass_ms(uint32_t ms)
{
    for (uint32_t i = 0; i < ms; i++) {
        bench->whole->front->play.now += 1000;
        settle();
    }
}

static struct play_stream *open_snapshot(struct play_stream *s)
{
    say(s, "HOLON.SNAPSHOT OPEN\r\n");
    settle();
    check_output(s, "$16\r\n0000000000000007\r\n"); /* the world's random number */
    return s;
}

/* a, b, c and foo are in partitions 3, 0, 1 and 2. */
static void fill(void)
{
    line("SET a 1", true);
    line("SET b 2", true);
    line("SET c 3", true);
    line("HSET foo f v", true);
    line("SET a changed", false);
    line("DEL b", false);
    line("SET new 1", false);
}

/* --- tests ----------------------------------------------------------------------------------- */

static void test_reads_are_of_the_snapshot_until_it_is_closed(void **state)
{
    struct play_stream *s = *state;

    fill();
    say(s, "GET a\r\n");
    check_output(s, "$7\r\nchanged\r\n");
    open_snapshot(s);
    say(s, "GET a\r\nGET b\r\nHGET foo f\r\nGET new\r\nPING\r\nHSCAN foo 0\r\n");
    check_output(s, "$1\r\n1\r\n$1\r\n2\r\n$1\r\nv\r\n$-1\r\n+PONG\r\n"
                    "*2\r\n$1\r\n0\r\n*2\r\n$1\r\nf\r\n$1\r\nv\r\n");
    assert_true(fake_cuts_left(&bench->fake));
    say(s, "HOLON.SNAPSHOT CLOSE\r\nGET a\r\nGET b\r\n");
    settle();
    check_output(s, "+OK\r\n$7\r\nchanged\r\n$-1\r\n");
    assert_false(fake_cuts_left(&bench->fake));
}

static void test_commands_of_several_partitions_read_all_of_them_at_it(void **state)
{
    struct play_stream *s = *state;
    char expected[64];

    fill();
    open_snapshot(s);
    say(s, "MGET a b c new\r\n");
    settle();
    check_output(s, "*4\r\n$1\r\n1\r\n$1\r\n2\r\n$1\r\n3\r\n$-1\r\n");
    say(s, "EXISTS a b c foo new\r\n");
    settle();
    say(s, "TOUCH b new\r\n");
    settle();
    say(s, "DBSIZE\r\n");
    settle();
    check_output(s, ":4\r\n:1\r\n:4\r\n");
    say(s, "KEYS *\r\n");
    settle();
    check_output(s, "*4\r\n$1\r\nb\r\n$1\r\nc\r\n$3\r\nfoo\r\n$1\r\na\r\n");
    say(s, "SCAN 0\r\n");
    settle();
    snprintf(expected, sizeof(expected), "*2\r\n$19\r\n%llu\r\n*1\r\n$1\r\nb\r\n",
             (unsigned long long)(SLOT_COUNT / PARTITIONS) << 48);
    check_output(s, expected);
    say(s, "RANDOMKEY\r\n");
    settle();
    check_output(s, "$1\r\na\r\n");
    say(s, "CLUSTER COUNTKEYSINSLOT 3300\r\n"); /* of b */
    settle();
    check_output(s, ":1\r\n");
    assert_int_equal(bench->whole->looks + bench->whole->runs, 0); /* no transaction */
}

static void test_writes_are_refused_and_say_what_to_do(void **state)
{
    struct play_stream *s = *state;
    static const char *const commands[] = {"set a 1",    "mset a 1 b 2", "del a",
                                           "flushall",   "multi",        "watch a",
                                           "rename a b", "swapdb 0 1",   "expire a 1"};
    char expected[256];

    fill();
    open_snapshot(s);
    for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++) {
        say(s, commands[i]);
        say(s, "\r\n");
        snprintf(expected, sizeof(expected),
                 "-READONLY this connection reads at a snapshot, so '%.*s' was not executed. "
                 "HOLON.SNAPSHOT CLOSE goes back to the present; or use another connection\r\n",
                 (int)strcspn(commands[i], " "), commands[i]);
        check_output(s, expected);
    }
    assert_int_equal(statistics_of(bench->whole->front).errors_by_word[REDIS_ERROR_READONLY], 9);
    say(s, "EXEC\r\nDISCARD\r\nUNWATCH\r\nSELECT 1\r\nGET a\r\n");
    check_output(s,
                 "-ERR EXEC without MULTI\r\n-ERR DISCARD without MULTI\r\n+OK\r\n+OK\r\n$-1\r\n");
    assert_int_equal(bench->whole->runs, 0);
}

static void test_what_is_behind_open_waits_and_it_waits_for_what_is_before(void **state)
{
    struct play_stream *s = *state;
    struct fixture *front = bench->whole->front;

    fill();
    front->on_submit = NULL; /* held */
    say(s, "GET a\r\nHOLON.SNAPSHOT OPEN EX 60\r\nGET a\r\nMGET a b\r\nHOLON.SNAPSHOT CLOSE\r\n"
           "GET a\r\n");
    assert_int_equal(front->request_count, 1);
    settle();
    assert_int_equal(front->request_count, 1);
    answer(front, 0, GATEWAY_REPLY, "+first\r\n");
    front->on_submit = on_submit;
    settle();
    settle();
    check_output(s, "+first\r\n$16\r\n0000000000000007\r\n$1\r\n1\r\n*2\r\n$1\r\n1\r\n$1\r\n2\r\n"
                    "+OK\r\n$7\r\nchanged\r\n");
    assert_int_equal(bench->fake.lifetime, 60 * SECOND);
}

static void test_info_tells_and_use_is_of_anothers(void **state)
{
    struct play_stream *s = *state;
    struct play_stream *other = connect_client(bench->whole->front);

    fill();
    say(s, "HOLON.SNAPSHOT INFO\r\nHOLON.SNAPSHOT CLOSE\r\n");
    check_output(s, "-ERR this connection reads the present: HOLON.SNAPSHOT OPEN or USE comes "
                    "first\r\n-ERR this connection reads the present: HOLON.SNAPSHOT OPEN or USE "
                    "comes first\r\n");
    open_snapshot(s);
    say(s, "HOLON.SNAPSHOT INFO\r\n");
    check_output(s, "*8\r\n$2\r\nid\r\n$16\r\n0000000000000007\r\n$4\r\ntime\r\n:1700000000000\r\n"
                    "$10\r\npartitions\r\n:4\r\n$6\r\nopener\r\n:1\r\n");
    say(other, "HOLON.SNAPSHOT USE 0000000000000007\r\nGET a\r\nHOLON.SNAPSHOT INFO\r\n");
    settle();
    check_output(other,
                 "+OK\r\n$1\r\n1\r\n"
                 "*8\r\n$2\r\nid\r\n$16\r\n0000000000000007\r\n$4\r\ntime\r\n:1700000000000\r\n"
                 "$10\r\npartitions\r\n:4\r\n$6\r\nopener\r\n:0\r\n");
    say(other, "HOLON.SNAPSHOT CLOSE\r\nGET a\r\n");
    settle();
    check_output(other, "+OK\r\n$7\r\nchanged\r\n");
    assert_true(fake_cuts_left(&bench->fake));
    say(s, "GET a\r\n");
    check_output(s, "$1\r\n1\r\n");
    say(other, "HOLON.SNAPSHOT USE 00000000000000Ff\r\nGET a\r\n");
    settle();
    check_output(other,
                 "-SNAPSHOTGONE the snapshot 00000000000000ff has expired or was closed, or a "
                 "partition has moved to a node that does not have it; this connection reads the "
                 "present. Open a new one\r\n$7\r\nchanged\r\n");
}

static void test_it_ends_with_its_connection_reset_and_the_next_one(void **state)
{
    struct play_stream *s = *state;

    open_snapshot(s);
    say(s, "RESET\r\n");
    settle();
    check_output(s, "+RESET\r\n");
    assert_false(fake_cuts_left(&bench->fake));
    open_snapshot(s);
    open_snapshot(s);
    assert_int_equal(bench->fake.parts[0].asked[CUT_CLOSE], 2);
    assert_int_equal(bench->fake.parts[0].cuts[1], 0); /* the former one was closed first */
    struct play_stream *other = connect_client(bench->whole->front);
    say(other, "HOLON.SNAPSHOT USE 0000000000000007\r\n");
    settle();
    check_output(other, "+OK\r\n");
    hang_up(other);
    settle();
    assert_true(fake_cuts_left(&bench->fake));
    hang_up(s);
    settle();
    assert_false(fake_cuts_left(&bench->fake));
}

static void test_a_connection_that_ends_meanwhile_leaves_nothing(void **state)
{
    struct play_stream *s = *state;

    bench->holds = true;
    say(s, "HOLON.SNAPSHOT OPEN\r\nGET a\r\n");
    settle();
    assert_int_equal(bench->whole->front->open_count, 1); /* FREEZE, of the first */
    hang_up(s);
    release(); /* CLOSE */
    settle();
    assert_false(fake_cuts_left(&bench->fake));
    struct play_stream *other = connect_client(bench->whole->front);
    open_snapshot(other);
    bench->holds = true;
    say(other, "GET a\r\nGET b\r\n");
    bench->holds = false;
    bench->opening = 1;
    say(other, "GET c\r\n"); /* it waits for its timer */
    size_t forgotten = bench->whole->front->forgotten;
    hang_up(other);
    assert_int_equal(bench->whole->front->forgotten, forgotten + 2);
    pass_ms(20);
    assert_false(fake_cuts_left(&bench->fake));
    struct play_stream *last = connect_client(bench->whole->front);
    open_snapshot(last);
    bench->holds = true;
    say(last, "DBSIZE\r\n");
    assert_int_equal(bench->whole->front->open_count, PARTITIONS);
    bench->holds = false;
    hang_up(last);
    settle();
    assert_int_equal(bench->whole->front->open_count, 0);
}

static void test_rows_that_are_being_copied_are_waited_for(void **state)
{
    struct play_stream *s = *state;

    fill();
    open_snapshot(s);
    bench->opening = 3;
    say(s, "GET a\r\nGET b\r\n");
    check_output(s, "");
    pass_ms(20);
    check_output(s, "$1\r\n1\r\n$1\r\n2\r\n");
    assert_int_equal(bench->reads, 5);
    bench->opening = 1000 * 1000;
    say(s, "GET a\r\n");
    pass_ms(9000);
    check_output(s, "");
    pass_ms(1100);
    check_output(s, "-BUSY partition 3 still copies its rows of the snapshot 0000000000000007; try "
                    "again\r\n");
}

static void test_a_snapshot_that_is_gone_is_told_and_nothing_else_is_read(void **state)
{
    struct play_stream *s = *state;

    fill();
    open_snapshot(s);
    bench->status = CUT_GONE;
    say(s, "GET a\r\n");
    static const char gone[] =
        "-SNAPSHOTGONE the snapshot 0000000000000007 has expired or was closed, or partition 3 has "
        "moved to a node that does not have it; open a new one (HOLON.SNAPSHOT OPEN)\r\n";
    check_output(s, gone);
    say(s, "MGET a {a}\r\n");
    settle();
    check_output(s, gone);
    bench->status = CUT_FAILED;
    say(s, "GET a\r\n");
    check_output(s, "-ERR partition 3 could not read at the snapshot 0000000000000007: its rows "
                    "were not kept, or a row cannot be read; open a new one (HOLON.SNAPSHOT "
                    "OPEN)\r\n");
    assert_int_equal(statistics_of(bench->whole->front).errors_by_word[REDIS_ERROR_SNAPSHOTGONE],
                     2);
}

static void test_outcomes_without_a_reply_are_told_as_ever(void **state)
{
    struct play_stream *s = *state;
    struct fixture *front = bench->whole->front;

    open_snapshot(s);
    bench->holds = true;
    say(s, "GET a\r\n");
    answer(front, front->request_count - 1, GATEWAY_UNAVAILABLE, "");
    bench->holds = false;
    check_output(s, "-UNAVAILABLE no quorum of partition 3 answered within the patience; the "
                    "command was not executed, try again\r\n");
}

static void test_why_none_was_opened(void **state)
{
    struct play_stream *s = *state;

    fill();
    bench->fake.parts[1].full = true;
    say(s, "HOLON.SNAPSHOT OPEN\r\nGET a\r\n");
    settle();
    check_output(s, "-BUSY 8 snapshots are open in the cluster, as many as there may be; this "
                    "connection reads the present. Close one (HOLON.SNAPSHOT CLOSE on the "
                    "connection that opened it), or wait until one expires\r\n$7\r\nchanged\r\n");
    bench->fake.parts[1].full = false;
    bench->fake.parts[1].refuses = 1000 * 1000;
    say(s, "HOLON.SNAPSHOT OPEN\r\n");
    pass_ms(11 * 1000);
    check_output(s, "-BUSY the partitions could not be stopped together within the patience, so no "
                    "snapshot was taken; this connection reads the present. Try again\r\n");
    bench->fake.parts[1].broken = true;
    say(s, "HOLON.SNAPSHOT OPEN\r\n");
    pass_ms(11 * 1000);
    check_output(s, "-UNAVAILABLE a partition did not answer within the patience, so there is no "
                    "snapshot; this connection reads the present. Try again\r\n");
    assert_false(fake_cuts_left(&bench->fake));
}

static void test_what_is_wrong_is_told_at_once(void **state)
{
    struct play_stream *s = *state;

    say(s, "HOLON.SNAPSHOT OPEN EX\r\nHOLON.SNAPSHOT OPEN PX 1\r\nHOLON.SNAPSHOT OPEN EX x\r\n"
           "HOLON.SNAPSHOT OPEN EX 0\r\nHOLON.SNAPSHOT OPEN EX 86401\r\n"
           "HOLON.SNAPSHOT USE 1\r\nHOLON.SNAPSHOT USE 000000000000000g\r\n"
           "HOLON.SNAPSHOT USE 0000000000000000\r\nHOLON.SNAPSHOT FOO\r\n"
           "HOLON.SNAPSHOT USE\r\nHOLON.SNAPSHOT\r\n");
    check_output(s, "-ERR syntax error: HOLON.SNAPSHOT OPEN [EX seconds]\r\n"
                    "-ERR syntax error: HOLON.SNAPSHOT OPEN [EX seconds]\r\n"
                    "-ERR value is not an integer or out of range\r\n"
                    "-ERR a snapshot is open for 1 to 86400 seconds\r\n"
                    "-ERR a snapshot is open for 1 to 86400 seconds\r\n"
                    "-ERR the id of a snapshot has 16 hex digits, as HOLON.SNAPSHOT OPEN gave "
                    "them\r\n"
                    "-ERR the id of a snapshot has 16 hex digits, as HOLON.SNAPSHOT OPEN gave "
                    "them\r\n"
                    "-ERR the id of a snapshot has 16 hex digits, as HOLON.SNAPSHOT OPEN gave "
                    "them\r\n"
                    "-ERR unknown subcommand 'FOO'. Try HOLON.SNAPSHOT HELP.\r\n"
                    "-ERR wrong number of arguments for 'holon.snapshot|use' command\r\n"
                    "-ERR wrong number of arguments for 'holon.snapshot' command\r\n");
    bench->whole->front->view.cluster_version = VIEW_VERSION_CUT - 1;
    say(s, "HOLON.SNAPSHOT OPEN\r\n");
    check_output(s,
                 "-ERR HOLON.SNAPSHOT needs a cluster of version 5, but it still runs at version "
                 "4; finish the upgrade (holon upgrade finalize)\r\n");
    bench->whole->front->view.cluster_version = VIEW_VERSION_CUT;
    assert_int_equal(bench->whole->front->request_count, 0);
    say(s, "MULTI\r\nHOLON.SNAPSHOT OPEN\r\nEXEC\r\n");
    settle();
    struct bytes output = buffer_bytes(&s->head.output);
    assert_true(output.size > 10 && memcmp(output.data, "+OK\r\n-ERR ", 10) == 0);
    assert_non_null(memmem(output.data, output.size, "EXECABORT", 9));
    buffer_clear(&s->head.output);
}

static void test_stale_reads_do_not_matter_at_it(void **state)
{
    struct play_stream *s = *state;

    fill();
    say(s, "HOLON.READS stale 500\r\n");
    check_output(s, "+OK\r\n");
    open_snapshot(s);
    bench->holds = true;
    say(s, "GET a\r\n");
    struct fixture *front = bench->whole->front;
    assert_int_equal(front->requests[front->request_count - 1]->stale_ms, 0);
    release();
    say(s, "HOLON.READS LAST\r\nHOLON.READS linearizable\r\n");
    check_output(s, "$1\r\n1\r\n:0\r\n+OK\r\n");
}

static void test_silence_is_kept(void **state)
{
    struct play_stream *s = *state;

    fill();
    say(s, "CLIENT REPLY OFF\r\nHOLON.SNAPSHOT OPEN\r\nGET a\r\nCLIENT REPLY ON\r\nGET a\r\n");
    settle();
    check_output(s, "+OK\r\n$1\r\n1\r\n");
}

/* Of the slot another node leads. */
static void test_nobody_is_moved_at_it(void **state)
{
    struct fixture *front = bench->whole->front;

    for (uint32_t i = 0; i < PARTITIONS; i++)
        cluster_view_set_leader(&front->view, (struct group_id){GROUP_DATA_FIRST + i}, i ? 2 : 1, 1,
                                front->play.now);
    front->view.nodes[1].id = 2;
    strcpy(front->view.nodes[1].redis_cluster, "127.0.0.2:7379");
    front->view.node_count = 2;
    pass_time(front, 2);
    assert_int_equal(redis_service_listen(front->service, "", true, NULL), STATUS_OK);
    struct play_stream *s = connect_client(front);
    fill();
    say(s, "GET a\r\n");
    check_output(s, "-MOVED 15495 127.0.0.2:7379\r\n");
    open_snapshot(s);
    say(s, "GET a\r\n");
    check_output(s, "$1\r\n1\r\n");
    say(s, "DBSIZE\r\n"); /* and all of it is asked for, here */
    settle();
    say(s, "KEYS *\r\n");
    settle();
    check_output(s, ":4\r\n*4\r\n$1\r\nb\r\n$1\r\nc\r\n$3\r\nfoo\r\n$1\r\na\r\n");
    say(s, "HOLON.SNAPSHOT CLOSE\r\nGET a\r\n");
    check_output(s, "+OK\r\n-MOVED 15495 127.0.0.2:7379\r\n");
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(test_reads_are_of_the_snapshot_until_it_is_closed),
        TEST(test_commands_of_several_partitions_read_all_of_them_at_it),
        TEST(test_writes_are_refused_and_say_what_to_do),
        TEST(test_what_is_behind_open_waits_and_it_waits_for_what_is_before),
        TEST(test_info_tells_and_use_is_of_anothers),
        TEST(test_it_ends_with_its_connection_reset_and_the_next_one),
        TEST(test_a_connection_that_ends_meanwhile_leaves_nothing),
        TEST(test_rows_that_are_being_copied_are_waited_for),
        TEST(test_a_snapshot_that_is_gone_is_told_and_nothing_else_is_read),
        TEST(test_outcomes_without_a_reply_are_told_as_ever),
        TEST(test_why_none_was_opened),
        TEST(test_what_is_wrong_is_told_at_once),
        TEST(test_stale_reads_do_not_matter_at_it),
        TEST(test_silence_is_kept),
        TEST(test_nobody_is_moved_at_it),
    };
#undef TEST
    return cmocka_run_group_tests(tests, NULL, NULL);
}
