/* Locks: what commands do to the row of one, and what the client's node does about waiting and
 * guards. Names a, d, g ... are in other partitions than b, c. */
#include "redis_whole.h"

#include <stdio.h>

#include "services/redis/batch.h"
#include "services/redis/guard.h"
#include "services/redis/lock.h"

enum { SECOND_US = 1000 * 1000 };

/* --- the row --------------------------------------------------------------------------------- */

static int make_harness(void **state)
{
    *state = redis_harness_make();
    return 0;
}

static int drop_harness(void **state)
{
    redis_harness_free(*state);
    return 0;
}

/* The integer that a command replies. */
static int64_t number(struct redis_harness *harness, const char *line)
{
    const char *reply = redis_harness_line(harness, line);

    if (reply[0] != ':') fail_msg("%s: %s", line, reply);
    return strtoll(reply + 1, NULL, 10);
}

static void expect(struct redis_harness *harness, const char *line, const char *reply)
{
    assert_string_equal(redis_harness_line(harness, line), reply);
}

static void expect_begins(struct redis_harness *harness, const char *line, const char *start)
{
    const char *reply = redis_harness_line(harness, line);
    if (strncmp(reply, start, strlen(start)) != 0) fail_msg("%s: %s, not %s", line, reply, start);
}

struct tried {
    int64_t token, ticket;
};

/* An attempt of a waiter; with EVALUATE_WAIT in harness->result there is no reply. */
static struct tried try_lock(struct redis_harness *harness, const char *name, const char *ttl,
                             int64_t ticket)
{
    char text[24] = "";
    struct bytes arguments[] = {bytes_of(name), bytes_of("1"), bytes_of(ttl), bytes_of(text),
                                bytes_of("250")};
    struct redis_body body = {.command = REDIS_LOCKTRY, .arguments = arguments, .count = 5};
    struct tried tried = {0};
    uint64_t count;

    snprintf(text, sizeof(text), "%lld", (long long)ticket);
    arguments[3] = bytes_of(text);
    struct bytes reply = redis_harness_body(harness, &body, key_slot(arguments[0]));
    if (harness->result == EVALUATE_WAIT) return tried;
    assert_int_equal(harness->result, EVALUATE_DONE);
    assert_true(resp_read_array(&reply, &count) && count == 2);
    assert_true(resp_read_integer(&reply, &tried.token) &&
                resp_read_integer(&reply, &tried.ticket));
    return tried;
}

static void test_a_lock_has_one_holder_until_its_time_is_over(void **state)
{
    struct redis_harness *harness = *state;
    int64_t token = number(harness, "HOLON.LOCK a 1000");
    char line[128];

    expect(harness, "HOLON.LOCK a 1000", "$-1\r\n");
    harness->time += SECOND_US - 1;
    expect(harness, "HOLON.LOCK a 1000", "$-1\r\n");
    harness->time += 1;
    snprintf(line, sizeof(line), "HOLON.RENEW a %lld 1000", (long long)token);
    expect(harness, line, ":0\r\n");
    assert_true(number(harness, "HOLON.LOCK a 1000") > token);
    snprintf(line, sizeof(line), "HOLON.UNLOCK a %lld", (long long)token);
    expect(harness, line, ":0\r\n");
    expect_begins(harness, "HOLON.LOCKINFO a",
                  "*6\r\n$7\r\npermits\r\n:1\r\n$7\r\nholders\r\n*1\r\n");
}

static void test_tokens_rise_though_the_row_goes(void **state)
{
    struct redis_harness *harness = *state;
    int64_t last = 0;

    for (int i = 0; i < 5; i++) {
        char line[128];
        int64_t token = number(harness, "HOLON.LOCK a 1000");
        assert_true(token > last);
        last = token;
        snprintf(line, sizeof(line), "HOLON.UNLOCK a %lld", (long long)token);
        expect(harness, line, ":1\r\n");
        assert_int_equal(row_table_count(harness->table, SERVICE_LOCK, 0), 0);
    }
    assert_int_equal(number(harness, "HOLON.TOKENFLOOR 0 1000000"), 1000000);
    assert_int_equal(number(harness, "HOLON.TOKENFLOOR 0 10"), 1000000); /* it is never lowered */
    last = number(harness, "HOLON.LOCK a 1");
    assert_true(last > 1000000);
    harness->time += SECOND_US;
    assert_true(number(harness, "HOLON.LOCK a 1") > last); /* nor do they stand still above it */
}

static void test_a_renewed_lock_lasts(void **state)
{
    struct redis_harness *harness = *state;
    int64_t token = number(harness, "HOLON.LOCK a 1000");
    char line[128];

    snprintf(line, sizeof(line), "HOLON.RENEW a %lld 1000", (long long)token);
    for (int i = 0; i < 3; i++) {
        harness->time += SECOND_US / 2;
        expect(harness, line, ":1\r\n");
    }
    harness->time += SECOND_US;
    expect(harness, line, ":0\r\n");
}

static void test_a_semaphore_has_so_many(void **state)
{
    struct redis_harness *harness = *state;
    int64_t first = number(harness, "HOLON.SEMAPHORE a 2 1000");

    assert_true(number(harness, "HOLON.SEMAPHORE a 2 1000") > first);
    expect(harness, "HOLON.SEMAPHORE a 2 1000", "$-1\r\n");
    expect_begins(harness, "HOLON.SEMAPHORE a 3 1000", "-ERR this name is in use with 2 permits");
    expect_begins(harness, "HOLON.LOCK a 1000", "-ERR this name is in use with 2 permits");
    harness->time += SECOND_US;
    assert_true(number(harness, "HOLON.LOCK a 1000") > first); /* nobody uses it any more */
}

static void test_arguments_are_checked(void **state)
{
    struct redis_harness *harness = *state;
    static const char *const wrong[] = {
        "HOLON.LOCK a 0",         "HOLON.LOCK a 86400001",  "HOLON.LOCK a x",
        "HOLON.LOCK a 1000 WAIT", "HOLON.LOCK a 1 WAIT -1", "HOLON.LOCK a 1 NOW 1",
        "HOLON.LOCK \"\" 1000",   "HOLON.SEMAPHORE a 0 10", "HOLON.SEMAPHORE a 1025 10",
        "HOLON.UNLOCK a 0",       "HOLON.UNLOCK a x",       "HOLON.RENEW a 1 0",
        "HOLON.TOKENFLOOR 0 -1",  "HOLON.RENEW a -1 10",    "HOLON.SEMAPHORE a 1 1 WAIT 1 2"};

    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
        expect_begins(harness, wrong[i], "-ERR ");
    assert_int_equal(row_table_count(harness->table, SERVICE_LOCK, 0), 0);
}

static void test_waiters_are_served_in_their_order(void **state)
{
    struct redis_harness *harness = *state;
    int64_t token = number(harness, "HOLON.LOCK a 1000");
    char line[128];

    int64_t first = try_lock(harness, "a", "1000", 0).ticket;
    int64_t second = try_lock(harness, "a", "1000", 0).ticket;
    assert_true(first > 0 && second > first);
    try_lock(harness, "a", "1000", first);
    assert_int_equal(harness->result, EVALUATE_WAIT);
    snprintf(line, sizeof(line), "HOLON.UNLOCK a %lld", (long long)token);
    expect(harness, line, ":1\r\n");
    expect(harness, "HOLON.LOCK a 1000", "$-1\r\n"); /* it is free, and others wait */
    assert_true(try_lock(harness, "a", "1000", 0).token == 0);
    try_lock(harness, "a", "1000", second);
    assert_int_equal(harness->result, EVALUATE_WAIT);
    assert_true(try_lock(harness, "a", "1000", first).token > token);
    harness->time += SECOND_US; /* its time is over */
    assert_true(try_lock(harness, "a", "1000", second).token > token);
}

static void test_who_asks_no_more_is_passed_over(void **state)
{
    struct redis_harness *harness = *state;

    number(harness, "HOLON.LOCK a 1000");
    int64_t gone = try_lock(harness, "a", "1000", 0).ticket;
    harness->time += 2 * SECOND_US;
    int64_t alive = try_lock(harness, "a", "1000", 0).ticket;
    try_lock(harness, "a", "1000", alive);
    assert_int_equal(harness->result, EVALUATE_WAIT);
    harness->time += SECOND_US;
    assert_true(try_lock(harness, "a", "1000", alive).token > 0);
    assert_true(try_lock(harness, "a", "1000", gone).token ==
                0); /* at the end of the queue again */
}

static void test_a_new_leader_gives_waiters_their_time_anew(void **state)
{
    struct redis_harness *harness = *state;

    number(harness, "HOLON.LOCK a 1000");
    int64_t first = try_lock(harness, "a", "1000", 0).ticket;
    int64_t second = try_lock(harness, "a", "1000", 0).ticket;
    harness->time += 20 * SECOND_US; /* nobody led */
    harness->leads_since = harness->time;
    try_lock(harness, "a", "1000", second);
    assert_true(harness->result == EVALUATE_WAIT || harness->effect_count > 0); /* not its turn */
    assert_true(try_lock(harness, "a", "1000", first).token > 0);
}

static void test_rows_go_when_nobody_is_left(void **state)
{
    struct redis_harness *harness = *state;

    number(harness, "HOLON.LOCK a 1500");
    number(harness, "HOLON.LOCK b 3000");
    try_lock(harness, "b", "1000", 0);
    assert_int_equal(row_table_count(harness->table, SERVICE_LOCK, 0), 2);
    harness->time += 2500 * 1000;
    while (redis_harness_chore(harness))
        continue;
    assert_int_equal(row_table_count(harness->table, SERVICE_LOCK, 0), 1);
    for (int i = 0; i < 10; i++) {
        harness->time += SECOND_US;
        while (redis_harness_chore(harness))
            continue;
    }
    assert_int_equal(row_table_count(harness->table, SERVICE_LOCK, 0), 0);
    assert_int_equal(row_table_count(harness->table, SERVICE_LOCK, LOCK_NAMESPACE_REMINDERS), 0);
}

static void test_they_are_no_keys(void **state)
{
    struct redis_harness *harness = *state;
    int64_t token = number(harness, "HOLON.LOCK a 1000");
    char line[128];

    expect(harness, "EXISTS a", ":0\r\n");
    expect(harness, "DBSIZE", ":0\r\n");
    expect(harness, "FLUSHALL", "+OK\r\n");
    while (redis_harness_chore(harness))
        continue;
    snprintf(line, sizeof(line), "HOLON.UNLOCK a %lld", (long long)token);
    harness->database = 1;
    expect(harness, line, ":0\r\n"); /* of another database */
    harness->database = 0;
    expect(harness, line, ":1\r\n");
}

static void test_a_guard_is_read(void **state)
{
    struct redis_harness *harness = *state;
    struct buffer keys, ranges, counts, body;
    uint64_t token = (uint64_t)number(harness, "HOLON.LOCK a 1000");
    struct redis_guard guard = {.token = token, .name = bytes_of("a")};

    buffer_init(&keys, 1 << 16);
    buffer_init(&ranges, 1 << 16);
    buffer_init(&counts, 1 << 16);
    buffer_init(&body, 1 << 16);
    struct row_reads reads = {.keys = &keys, .ranges = &ranges, .namespaces = &counts};
    struct writer writer = writer_make(&body);
    redis_batch_begin_guards(&writer, 1);
    redis_batch_write_guard(&writer, &guard);
    redis_batch_begin_watches(&writer, 0);
    redis_batch_begin_commands(&writer, 1, 0);
    harness->reads = &reads;
    redis_harness_evaluate(harness, redis_evaluate,
                           (struct request){.service = SERVICE_REDIS, .body = buffer_bytes(&body)});
    harness->reads = NULL;
    assert_false(harness->refused);
    struct reader reader = reader_make(buffer_bytes(&keys));
    bool found = false;
    while (reader_left(&reader) > 0)
        found |= read_sized(&reader).data[2] == SERVICE_LOCK;
    assert_true(found); /* so that it is locked until the transaction ends (C2) */
    buffer_free(&keys);
    buffer_free(&ranges);
    buffer_free(&counts);
    buffer_free(&body);
}

/* --- the client's node ----------------------------------------------------------------------- */

static int make_whole(void **state)
{
    struct whole *whole = whole_make();

    whole->front->view.cluster_version = VIEW_VERSION_LOCK;
    *state = whole;
    return 0;
}

static int drop_whole(void **state)
{
    whole_free(*state);
    return 0;
}

static void check(struct whole *whole, const char *commands, const char *expected)
{
    say(whole->client, commands);
    turn(whole->front);
    check_output(whole->client, expected);
}

static void check_begins(struct whole *whole, const char *commands, const char *expected)
{
    say(whole->client, commands);
    turn(whole->front);
    struct bytes output = buffer_bytes(&whole->client->head.output);
    if (!bytes_starts_with(output, bytes_of(expected)))
        fail_msg("%s: \"%.*s\", not \"%s...\"", commands, (int)output.size,
                 (const char *)output.data, expected);
    buffer_clear(&whole->client->head.output);
}

#define LOST "-LOCKLOST a lock of HOLON.GUARD is not held with that token any more: "

/* The token is the index of the first entry: 1. */
static void test_a_guard_lets_pass_who_holds_and_nobody_else(void **state)
{
    struct whole *whole = *state;

    check(whole, "HOLON.LOCK a 1000\r\n", ":1\r\n");
    check(whole, "HOLON.GUARD a 1\r\nSET a 1\r\n", "+OK\r\n+OK\r\n"); /* in its partition, */
    check(whole, "HOLON.GUARD a 1\r\nSET b 2\r\n", "+OK\r\n+OK\r\n"); /* in another, */
    check(whole, "HOLON.GUARD a 1\r\nMSET b 3 c 3 a 3\r\n", "+OK\r\n+OK\r\n"); /* in several */
    check(whole, "HOLON.GUARD a 1\r\nGET b\r\n", "+OK\r\n$1\r\n3\r\n");
    check(whole, "HOLON.UNLOCK a 1\r\n", ":1\r\n");
    static const char *const late[] = {"SET a 4\r\n", "SET b 4\r\n",    "MSET b 4 c 4 a 4\r\n",
                                       "GET b\r\n",   "RENAME a b\r\n", "FLUSHALL\r\n"};
    for (size_t i = 0; i < sizeof(late) / sizeof(late[0]); i++) {
        check(whole, "HOLON.GUARD a 1\r\n", "+OK\r\n");
        check_begins(whole, late[i], LOST);
    }
    check(whole, "MGET a b c\r\n", "*3\r\n$1\r\n3\r\n$1\r\n3\r\n$1\r\n3\r\n"); /* used up */
    assert_int_equal(statistics_of(whole->front).errors_by_word[REDIS_ERROR_LOCKLOST], 6);
}

static void test_guards_of_exec(void **state)
{
    struct whole *whole = *state;

    check(whole, "HOLON.LOCK a 1000\r\n", ":1\r\n");
    check(whole, "HOLON.GUARD a 1\r\nMULTI\r\nSET b 1\r\nINCR c\r\nEXEC\r\n",
          "+OK\r\n+OK\r\n+QUEUED\r\n+QUEUED\r\n*2\r\n+OK\r\n:1\r\n");
    check(whole, "MULTI\r\nHOLON.GUARD a 1\r\nINCR c\r\nHOLON.UNLOCK a 1\r\nEXEC\r\n",
          "+OK\r\n+QUEUED\r\n+QUEUED\r\n+QUEUED\r\n*3\r\n+OK\r\n:2\r\n:1\r\n");
    check_begins(whole, "HOLON.GUARD a 1\r\nMULTI\r\nINCR c\r\nEXEC\r\n",
                 "+OK\r\n+OK\r\n+QUEUED\r\n" LOST);
    check_begins(whole, "MULTI\r\nHOLON.GUARD a 1\r\nINCR c\r\nEXEC\r\n",
                 "+OK\r\n+QUEUED\r\n+QUEUED\r\n" LOST);
    check(whole, "GET c\r\n", "$1\r\n2\r\n");
}

static void test_guards_are_dropped(void **state)
{
    struct whole *whole = *state;

    check(whole, "HOLON.GUARD a 9\r\nRESET\r\nSET b 1\r\n", "+OK\r\n+RESET\r\n+OK\r\n");
    check(whole, "HOLON.GUARD a 9\r\nMULTI\r\nDISCARD\r\nSET b 1\r\n",
          "+OK\r\n+OK\r\n+OK\r\n+OK\r\n");
    check_begins(whole, "HOLON.GUARD a 9\r\nEXEC\r\n", "+OK\r\n-ERR EXEC without MULTI");
    check(whole, "SET b 1\r\n", "+OK\r\n");
    static const char *const never[] = {"SCAN 0\r\n", "KEYS *\r\n", "HOLON.LOCK b 1000\r\n",
                                        "RANDOMKEY\r\n", "HOLON.LOCK b 1000 WAIT 10\r\n"};
    for (size_t i = 0; i < sizeof(never) / sizeof(never[0]); i++) {
        check(whole, "HOLON.GUARD a 9\r\n", "+OK\r\n");
        check_begins(whole, never[i], "-ERR '");
        check(whole, "SET b 1\r\n", "+OK\r\n");
    }
    for (int i = 0; i < GUARDS_MAX; i++)
        check(whole, "HOLON.GUARD a 9\r\n", "+OK\r\n");
    check_begins(whole, "HOLON.GUARD a 9\r\n", "-ERR too many HOLON.GUARD");
    check(whole, "PING\r\n", "+PONG\r\n"); /* touches no keys */
    check_begins(whole, "SET b 1\r\n", "-ERR 'set' was not executed: a HOLON.GUARD");
    check(whole, "SET b 1\r\n", "+OK\r\n");
}

/* Nothing is executed unguarded because its guard was refused. */
static void test_a_guard_that_was_refused_lets_nothing_pass(void **state)
{
    struct whole *whole = *state;

    check_begins(whole, "HOLON.GUARD a x\r\n", "-ERR the token");
    check_begins(whole, "SET b 1\r\n", "-ERR 'set' was not executed: a HOLON.GUARD");
    check(whole, "SET b 2\r\n", "+OK\r\n"); /* once */
    check_begins(whole, "HOLON.GUARD a\r\n", "-ERR wrong number");
    check(whole, "MULTI\r\n", "+OK\r\n");
    check(whole, "SET b 3\r\n", "+QUEUED\r\n");
    check_begins(whole, "EXEC\r\n", "-EXECABORT");
    check(whole, "GET b\r\n", "$1\r\n2\r\n");
}

static void test_before_the_upgrade_is_finished_there_are_none(void **state)
{
    struct whole *whole = *state;
    static const char *const all[] = {"HOLON.LOCK a 1\r\n",        "HOLON.UNLOCK a 1\r\n",
                                      "HOLON.LOCKINFO a\r\n",      "HOLON.RENEW a 1 1\r\n",
                                      "HOLON.LOCK a 1 WAIT 1\r\n", "HOLON.TOKENFLOOR 0 1\r\n",
                                      "HOLON.SEMAPHORE a 1 1\r\n"};

    whole->front->view.cluster_version = VIEW_VERSION_LOCK - 1;
    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++)
        check_begins(whole, all[i], "-ERR locks need all nodes to know them");
    check_begins(whole, "HOLON.GUARD a 1\r\n", "-ERR locks need all nodes to know them");
    check_begins(whole, "SET a 1\r\n", "-ERR 'set' was not executed");
    check_begins(whole, "MULTI\r\nHOLON.UNLOCK a 1\r\n", "+OK\r\n-ERR locks need");
}

static void test_what_is_not_allowed_in_multi(void **state)
{
    struct whole *whole = *state;
    static const char *const wrong[] = {"HOLON.LOCK a 1\r\n", "HOLON.SEMAPHORE a 1 1\r\n",
                                        "HOLON.GUARD a x\r\n", "HOLON.TOKENFLOOR 0 1\r\n"};

    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        check(whole, "MULTI\r\n", "+OK\r\n");
        check_begins(whole, wrong[i], "-ERR ");
        check_begins(whole, "EXEC\r\n", "-EXECABORT ");
    }
}

/* --- waiting --------------------------------------------------------------------------------- */

/* What waits stays open, as at a leader. */
static void on_submit(struct fixture *front, size_t index)
{
    struct gateway_request *request = front->requests[index];
    struct bytes reply = whole_evaluate(front->whole, request->slot,
                                        bytes_make(front->bodies[index], front->body_sizes[index]));

    if (whole_partition(front->whole, request->slot)->result == EVALUATE_WAIT) return;
    front->requests[index] = NULL;
    front->open_count--;
    request->on_reply(request, GATEWAY_REPLY, reply);
}

/* Something was written: those that wait run again. */
static void again(struct whole *whole)
{
    size_t count = whole->front->request_count;

    for (size_t i = 0; i < count; i++)
        if (whole->front->requests[i]) on_submit(whole->front, i);
    turn(whole->front);
}

static void test_who_waits_gets_it_when_it_is_given_back(void **state)
{
    struct whole *whole = *state;
    struct play_stream *other = connect_client(whole->front);

    whole->front->on_submit = on_submit;
    check(whole, "HOLON.LOCK a 1000\r\n", ":1\r\n");
    say(other, "HOLON.LOCK a 1000 WAIT 0\r\nPING\r\n");
    turn(whole->front);
    check_output(other, ""); /* and what is behind it waits as well */
    check(whole, "HOLON.LOCK b 1000 WAIT 0\r\n", ":1\r\n"); /* free: at once */
    check(whole, "HOLON.UNLOCK a 1\r\n", ":1\r\n");
    again(whole);
    check_output(other, ":4\r\n+PONG\r\n"); /* entries: lock, ticket, unlock, lock */
}

static void test_who_leaves_gives_its_place_back(void **state)
{
    struct whole *whole = *state;
    struct play_stream *other = connect_client(whole->front);

    whole->front->on_submit = on_submit;
    check(whole, "HOLON.LOCK a 1000\r\n", ":1\r\n");
    say(other, "HOLON.LOCK a 1000 WAIT 0\r\n");
    turn(whole->front);
    hang_up(other);
    turn(whole->front);
    check(whole, "HOLON.UNLOCK a 1\r\n", ":1\r\n");
    again(whole); /* it is taken for a client that is gone, and given back */
    turn(whole->front);
    assert_int_equal(whole->front->open_count, 0);
    check_begins(whole, "HOLON.LOCK a 1000\r\n", ":");
}

#define EVALUATION(name) cmocka_unit_test_setup_teardown(name, make_harness, drop_harness)
#define TEST(name) cmocka_unit_test_setup_teardown(name, make_whole, drop_whole)

int main(void)
{
    const struct CMUnitTest tests[] = {
        EVALUATION(test_a_lock_has_one_holder_until_its_time_is_over),
        EVALUATION(test_tokens_rise_though_the_row_goes),
        EVALUATION(test_a_renewed_lock_lasts),
        EVALUATION(test_a_semaphore_has_so_many),
        EVALUATION(test_arguments_are_checked),
        EVALUATION(test_waiters_are_served_in_their_order),
        EVALUATION(test_who_asks_no_more_is_passed_over),
        EVALUATION(test_a_new_leader_gives_waiters_their_time_anew),
        EVALUATION(test_rows_go_when_nobody_is_left),
        EVALUATION(test_they_are_no_keys),
        EVALUATION(test_a_guard_is_read),
        TEST(test_a_guard_lets_pass_who_holds_and_nobody_else),
        TEST(test_guards_of_exec),
        TEST(test_guards_are_dropped),
        TEST(test_a_guard_that_was_refused_lets_nothing_pass),
        TEST(test_before_the_upgrade_is_finished_there_are_none),
        TEST(test_what_is_not_allowed_in_multi),
        TEST(test_who_waits_gets_it_when_it_is_given_back),
        TEST(test_who_leaves_gives_its_place_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
