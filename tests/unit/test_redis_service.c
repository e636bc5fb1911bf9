/* The front-end with a gateway and a world that the test plays: order, barriers, ends. */
#include "redis_front.h"

/* --- order -------------------------------------------------------------------------------------
 */

static void test_replies_leave_in_the_order_of_the_commands(void **state)
{
    struct fixture *f = *state;
    struct play_stream *s = connect_client(f);

    say(s, "GET a\r\nGET b\r\nPING\r\nGET c\r\nECHO x\r\n");
    assert_int_equal(f->open_count, 3); /* all at once: nothing waits for another partition */
    check_output(s, "");
    answer(f, 1, GATEWAY_REPLY, "+b\r\n");
    check_output(s, "");
    answer(f, 0, GATEWAY_REPLY, "+a\r\n");
    check_output(s, "+a\r\n+b\r\n+PONG\r\n");
    answer(f, 2, GATEWAY_REPLY, "+c\r\n");
    check_output(s, "+c\r\n$1\r\nx\r\n");
}

static void test_commands_are_understood_in_pieces(void **state)
{
    struct fixture *f = *state;
    struct play_stream *s = connect_client(f);
    const char *text = "*2\r\n$3\r\nGET\r\n$3\r\nabc\r\n*1\r\n$4\r\nPING\r\n";

    f->at_once = true;
    for (const char *at = text; *at; at++)
        say_bytes(s, bytes_make(at, 1));
    check_output(s, "$3\r\nabc\r\n+PONG\r\n");
}

static void test_outcomes_become_errors(void **state)
{
    struct fixture *f = *state;
    struct play_stream *s = connect_client(f);

    say(s, "SET a 1\r\nSET a 2\r\nSET a 3\r\nSET a 4\r\n");
    assert_true(f->requests[0]->write);
    answer(f, 0, GATEWAY_UNKNOWN, "");
    answer(f, 1, GATEWAY_UNAVAILABLE, "");
    answer(f, 2, GATEWAY_BUSY, "");
    answer(f, 3, GATEWAY_TOO_BIG, "");
    const char *output = (const char *)buffer_bytes(&s->head.output).data;
    assert_non_null(strstr(output, "-UNKNOWN outcome: no quorum of partition 3 answered within "
                                   "the patience; the command may or may not have been "
                                   "executed\r\n-UNAVAILABLE "));
    assert_non_null(strstr(output, "\r\n-BUSY "));
    assert_non_null(strstr(output, "\r\n-TOOBIG "));
}

/* --- several partitions --------------------------------------------------------------------------
 */

/* a: slot 15495, b: 3300, c: 7365 */
static void test_a_read_over_partitions_is_merged_and_is_a_barrier(void **state)
{
    struct fixture *f = *state;
    struct play_stream *s = connect_client(f);

    say(s, "GET a\r\nMGET a b c a\r\nGET b\r\n");
    assert_int_equal(f->request_count, 1); /* MGET waits for GET */
    assert_true(s->paused);
    answer(f, 0, GATEWAY_REPLY, "+first\r\n");
    turn(f);
    assert_int_equal(f->request_count, 4); /* one for each partition; the last GET waits */
    answer_truly(f, 3);
    answer_truly(f, 1);
    check_output(s, "+first\r\n");
    answer_truly(f, 2);
    turn(f);
    check_output(s, "*4\r\n$1\r\na\r\n$1\r\nb\r\n$1\r\nc\r\n$1\r\na\r\n");
    assert_int_equal(f->request_count, 5);
    assert_false(s->paused);
    answer_truly(f, 4);
    check_output(s, "$1\r\nb\r\n");
}

static void test_keys_of_one_partition_are_one_request(void **state)
{
    struct fixture *f = *state;
    struct play_stream *s = connect_client(f);

    f->at_once = true;
    say(s, "MGET {a}1 {a}2\r\nEXISTS {a}1 {a}1\r\nMSET {a}1 x {a}2 y\r\n");
    assert_int_equal(f->request_count, 3);
    check_output(s, "*2\r\n$4\r\n{a}1\r\n$4\r\n{a}2\r\n:2\r\n+OK\r\n");
}

static void test_sums_and_errors_of_partitions(void **state)
{
    struct fixture *f = *state;
    struct play_stream *s = connect_client(f);

    f->at_once = true;
    say(s, "DBSIZE\r\nEXISTS a b c b\r\nFLUSHALL\r\n");
    check_output(s, ":10\r\n:4\r\n+OK\r\n"); /* 1 + 2 + 3 + 4 */
    f->at_once = false;
    size_t first = f->request_count;
    say(s, "MGET a b c\r\n");
    answer(f, first, GATEWAY_REPLY, "*1\r\n$-1\r\n");
    answer(f, first + 1, GATEWAY_REPLY, "-ERR broken\r\n");
    answer(f, first + 2, GATEWAY_BUSY, "");
    turn(f);
    check_output(s, "-ERR broken\r\n");
}

static void test_a_write_over_partitions_changes_nothing(void **state)
{
    struct fixture *f = *state;
    struct play_stream *s = connect_client(f);

    say(s, "MSET a 1 b 2\r\nDEL a b\r\nMSETNX a 1 c 1\r\n");
    assert_int_equal(f->request_count, 0);
    struct bytes output = buffer_bytes(&s->head.output);
    assert_true(bytes_starts_with(
        output, bytes_of("-ERR 'mset' with keys like these needs transactions over partitions, but "
                         "the cluster still runs at version 0; finish the upgrade (holon upgrade "
                         "finalize). Nothing was changed\r\n-ERR 'del' ")));
}

static void test_keys_gathers_all_partitions(void **state)
{
    struct fixture *f = *state;
    struct play_stream *s = connect_client(f);

    f->at_once = true;
    say(s, "KEYS *\r\nPING\r\n");
    turn(f);
    check_output(s, "*8\r\n$2\r\n0a\r\n$2\r\n0b\r\n$5\r\n4096a\r\n$5\r\n4096b\r\n$5\r\n8192a\r\n"
                    "$5\r\n8192b\r\n$6\r\n12288a\r\n$6\r\n12288b\r\n+PONG\r\n");
    say(s, "SCAN 0\r\n");
    check_output(s, "*2\r\n$1\r\n1\r\n*1\r\n$2\r\n0a\r\n");
    say(s, "SCAN x\r\n");
    check_output(s, "-ERR invalid cursor\r\n");
}

static void test_a_random_key_comes_from_one_partition(void **state)
{
    struct fixture *f = *state;
    struct play_stream *s = connect_client(f);

    f->at_once = true;
    say(s, "RANDOMKEY\r\n");
    turn(f);
    assert_int_equal(f->request_count, PARTITIONS + 1);
    check_output(s, "+OK\r\n");
}

/* --- ends
 * ------------------------------------------------------------------------------------------ */

static void test_a_protocol_error_comes_after_earlier_replies_and_ends(void **state)
{
    struct fixture *f = *state;
    struct play_stream *s = connect_client(f);

    say(s, "GET a\r\n*1\r\n:1\r\nGET b\r\n");
    assert_int_equal(f->request_count, 1);
    assert_false(s->closed);
    answer(f, 0, GATEWAY_REPLY, "+a\r\n");
    turn(f);
    check_output(s, "+a\r\n-ERR Protocol error: expected '$', got ':'\r\n");
    assert_true(s->closed);
}

static void test_quit_ends_after_earlier_replies(void **state)
{
    struct fixture *f = *state;
    struct play_stream *s = connect_client(f);

    say(s, "GET a\r\nQUIT\r\nGET b\r\n");
    assert_int_equal(f->request_count, 1);
    answer(f, 0, GATEWAY_REPLY, "+a\r\n");
    turn(f);
    check_output(s, "+a\r\n+OK\r\n");
    assert_true(s->closed);
}

static void test_a_client_that_leaves_is_forgotten(void **state)
{
    struct fixture *f = *state;
    struct play_stream *s = connect_client(f);

    say(s, "GET a\r\nGET b\r\n");
    hang_up(s);
    assert_int_equal(f->forgotten, 2);
    s = connect_client(f);
    say(s, "DBSIZE\r\n");
    hang_up(s);
    assert_int_equal(f->forgotten, 2 + PARTITIONS);
    assert_int_equal(f->open_count, 0);
    turn(f);
}

static void test_draining_answers_what_was_asked(void **state)
{
    struct fixture *f = *state;
    struct play_stream *busy = connect_client(f), *idle = connect_client(f);

    say(busy, "GET a\r\n");
    redis_service_drain(f->service);
    assert_true(idle->closed);
    assert_false(busy->closed);
    say(busy, "GET b\r\n"); /* too late */
    answer(f, 0, GATEWAY_REPLY, "+a\r\n");
    turn(f);
    check_output(busy, "+a\r\n");
    assert_true(busy->closed);
    assert_int_equal(f->request_count, 1);
}

static void test_http_is_cut_off(void **state)
{
    struct fixture *f = *state;
    struct play_stream *s = connect_client(f);

    say(s, "POST / HTTP/1.1\r\nHost: localhost\r\n\r\nFLUSHALL\r\n");
    assert_true(s->aborted);
    assert_int_equal(f->request_count, 0);
    check_output(s, "");
}

/* --- the connection's own commands
 * ----------------------------------------------------------------- */

static void test_replies_can_be_switched_off(void **state)
{
    struct fixture *f = *state;
    struct play_stream *s = connect_client(f);

    f->at_once = true;
    say(s, "CLIENT REPLY OFF\r\nPING\r\nGET a\r\nDBSIZE\r\nCLIENT REPLY ON\r\nPING\r\n");
    check_output(s, "+OK\r\n+PONG\r\n");
    say(s, "CLIENT REPLY SKIP\r\nGET a\r\nGET b\r\n");
    check_output(s, "$1\r\nb\r\n");
}

static void test_the_protocol_and_database_of_a_connection(void **state)
{
    struct fixture *f = *state;
    struct play_stream *s = connect_client(f);
    struct arena arena;

    arena_init(&arena, 0);
    say(s, "SELECT 3\r\nHELLO 3\r\n");
    buffer_clear(&s->head.output);
    say(s, "GET a\r\n");
    struct redis_body body = body_of(f, 0, &arena);
    assert_int_equal(body.database, 3);
    assert_int_equal(body.flags, REDIS_BODY_RESP3);
    answer(f, 0, GATEWAY_REPLY, "_\r\n");
    say(s, "RESET\r\nGET a\r\n");
    body = body_of(f, 1, &arena);
    assert_int_equal(body.database, 0);
    assert_int_equal(body.flags, 0);
    answer(f, 1, GATEWAY_REPLY, "$-1\r\n");
    check_output(s, "_\r\n+RESET\r\n$-1\r\n");
    say(s, "SELECT 16\r\nSELECT x\r\nHELLO 4\r\nHELLO x\r\nAUTH default x\r\nAUTH a b\r\n");
    check_output(s, "-ERR DB index is out of range\r\n"
                    "-ERR value is not an integer or out of range\r\n"
                    "-NOPROTO unsupported protocol version\r\n"
                    "-ERR Protocol version is not an integer or out of range\r\n+OK\r\n"
                    "-WRONGPASS invalid username-password pair or user is disabled.\r\n");
    arena_free(&arena);
}

static void test_each_command_refuses_too_few_arguments(void **state)
{
    struct fixture *f = *state;
    struct play_stream *s = connect_client(f);

    for (uint32_t id = 0; id < REDIS_COMMAND_ID_END; id++) {
        const struct redis_command *command = redis_command_by_id(id);
        char text[64], expected[128];
        if (command == NULL || (command->flags & REDIS_HIDDEN)) continue;
        if (abs(command->arity) < 2) continue;
        snprintf(text, sizeof(text), "%s\r\n", command->name);
        snprintf(expected, sizeof(expected), "-ERR wrong number of arguments for '%s' command\r\n",
                 command->name);
        say(s, text);
        check_output(s, expected);
    }
    say(s, "CLIENT SETNAME\r\nnosuch a b\r\nZADD z 1 m\r\nCLIENT NOSUCH\r\n");
    check_output(s, "-ERR wrong number of arguments for 'client|setname' command\r\n"
                    "-ERR unknown command 'nosuch', with args beginning with: 'a' 'b' \r\n"
                    "-ERR command 'ZADD' is not supported yet by this version of Holon\r\n"
                    "-ERR unknown subcommand 'NOSUCH'. Try CLIENT HELP.\r\n");
    assert_int_equal(f->request_count, 0);
}

/* Whatever the arguments, each local command writes exactly one whole value. */
static void test_each_local_command_writes_one_value(void **state)
{
    static const char *const lines[] = {"PING",
                                        "PING x",
                                        "CLIENT ID",
                                        "CLIENT INFO",
                                        "CLIENT LIST",
                                        "CLIENT LIST ID 1",
                                        "CLIENT GETNAME",
                                        "CLIENT SETNAME n",
                                        "CLIENT HELP",
                                        "COMMAND",
                                        "COMMAND COUNT",
                                        "COMMAND DOCS",
                                        "COMMAND LIST",
                                        "COMMAND DOCS get nosuch",
                                        "COMMAND INFO get nosuch",
                                        "COMMAND GETKEYS mset a 1 b 2",
                                        "COMMAND GETKEYS ping x",
                                        "COMMAND LIST FILTERBY PATTERN h*",
                                        "COMMAND LIST FILTERBY ACLCAT write",
                                        "COMMAND HELP",
                                        "CONFIG GET *",
                                        "CONFIG GET save appendonly",
                                        "CONFIG SET save ''",
                                        "CONFIG SET maxmemory 5",
                                        "CONFIG SET nosuch 1",
                                        "INFO",
                                        "INFO server clients",
                                        "INFO nosuch",
                                        "TIME",
                                        "CLUSTER SLOTS",
                                        "CLUSTER SHARDS",
                                        "CLUSTER NODES",
                                        "CLUSTER INFO",
                                        "CLUSTER MYID",
                                        "CLUSTER KEYSLOT a",
                                        "CLUSTER HELP",
                                        "READONLY",
                                        "READWRITE",
                                        "ASKING",
                                        "HELLO",
                                        "HELLO 2",
                                        "CLIENT SETINFO LIB-NAME x",
                                        "HELLO 3 AUTH default x SETNAME me",
                                        "HELLO 2 SETNAME",
                                        "CLIENT REPLY BAD"};
    struct fixture *f = *state;
    struct play_stream *s = connect_client(f);

    f->at_once = true; /* INFO asks the partitions for their keys */
    for (int protocol = 2; protocol <= 3; protocol++) {
        for (size_t i = 0; i < ARRAY_COUNT(lines); i++) {
            say(s, protocol == 2 ? "HELLO 2\r\n" : "HELLO 3\r\n");
            buffer_clear(&s->head.output);
            say(s, lines[i]);
            say(s, "\r\n");
            struct bytes output = buffer_bytes(&s->head.output);
            if (output.size == 0 || resp_value_size(output) != output.size)
                fail_msg("%s writes %.*s", lines[i], (int)output.size, (const char *)output.data);
        }
    }
    buffer_clear(&s->head.output);
    say(s, "HELLO 2\r\n");
    buffer_clear(&s->head.output);
    say(s, "CLUSTER SLOTS\r\nTIME\r\n");
    check_output(s, "*1\r\n*3\r\n:0\r\n:16383\r\n*4\r\n$9\r\n127.0.0.1\r\n:7379\r\n$40\r\n"
                    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\r\n*0\r\n"
                    "*2\r\n$10\r\n1700000000\r\n$6\r\n123456\r\n");
}

static bool output_has(const struct play_stream *s, const char *text)
{
    struct bytes output = buffer_bytes(&s->head.output);

    return memmem(output.data, output.size, text, strlen(text)) != NULL;
}

/* Of many words each counts, once, whatever stands before it. */
static void test_info_and_config_get_write_what_any_word_asks_for(void **state)
{
    struct fixture *f = *state;
    struct play_stream *s = connect_client(f);

    f->at_once = true;
    say(s, "INFO nosuch s MEMORY statsx memory Replication\r\n");
    assert_true(output_has(s, "# Memory\r\n") && output_has(s, "\r\n\r\n# Replication\r\n"));
    assert_false(output_has(s, "# Server") || output_has(s, "# Stats"));
    buffer_clear(&s->head.output);
    say(s, "INFO nosuch eVerything\r\n");
    assert_true(output_has(s, "# Server\r\n") && output_has(s, "# Keyspace\r\n"));
    buffer_clear(&s->head.output);
    say(s, "CONFIG GET nosuch SAVE s* MAXMEM??Y save ma save '' zz*\r\n");
    check_output(s, "*4\r\n$9\r\nmaxmemory\r\n$1\r\n0\r\n$4\r\nSAVE\r\n$0\r\n\r\n");
    say(s, "CONFIG GET [st]ave *only save \\port*x t?p-*\r\n");
    check_output(s, "*6\r\n$10\r\nappendonly\r\n$3\r\nyes\r\n$4\r\nsave\r\n$0\r\n\r\n"
                    "$13\r\ntcp-keepalive\r\n$3\r\n300\r\n");
}

/* CONFIG GET with so many names, then so many patterns that match nothing. */
static void say_config_get(struct play_stream *s, uint32_t names, const char *pattern,
                           uint32_t patterns)
{
    char text[4096];
    size_t size = (size_t)snprintf(text, sizeof(text), "CONFIG GET");

    for (uint32_t i = 0; i < names + patterns; i++)
        size += (size_t)snprintf(text + size, sizeof(text) - size, " %s",
                                 i < names ? "mnosuch" : pattern);
    snprintf(text + size, sizeof(text) - size, " save\r\n");
    buffer_clear(&s->head.output);
    say(s, text);
}

static void test_patterns_of_config_get_are_bounded_and_names_are_not(void **state)
{
    static const char save[] = "*2\r\n$4\r\nsave\r\n$0\r\n\r\n";
    struct fixture *f = *state;
    struct play_stream *s = connect_client(f);

    f->at_once = true;
    say_config_get(s, 300, "*zz", 128);
    check_output(s, save);
    say_config_get(s, 0, "zz*", 300); /* no parameter begins like it */
    check_output(s, save);
    say_config_get(s, 0, "*zz", 129);
    assert_true(output_has(s, "-ERR CONFIG GET matches at most 128 patterns"));
    say_config_get(s, 0, "m?zz", 129);
    assert_true(output_has(s, "-ERR CONFIG GET matches at most 128 patterns"));
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, make, drop)
    const struct CMUnitTest tests[] = {
        TEST(test_replies_leave_in_the_order_of_the_commands),
        TEST(test_commands_are_understood_in_pieces),
        TEST(test_outcomes_become_errors),
        TEST(test_a_read_over_partitions_is_merged_and_is_a_barrier),
        TEST(test_keys_of_one_partition_are_one_request),
        TEST(test_sums_and_errors_of_partitions),
        TEST(test_a_write_over_partitions_changes_nothing),
        TEST(test_keys_gathers_all_partitions),
        TEST(test_a_random_key_comes_from_one_partition),
        TEST(test_a_protocol_error_comes_after_earlier_replies_and_ends),
        TEST(test_quit_ends_after_earlier_replies),
        TEST(test_a_client_that_leaves_is_forgotten),
        TEST(test_draining_answers_what_was_asked),
        TEST(test_http_is_cut_off),
        TEST(test_replies_can_be_switched_off),
        TEST(test_the_protocol_and_database_of_a_connection),
        TEST(test_each_command_refuses_too_few_arguments),
        TEST(test_each_local_command_writes_one_value),
        TEST(test_info_and_config_get_write_what_any_word_asks_for),
        TEST(test_patterns_of_config_get_are_bounded_and_names_are_not),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
