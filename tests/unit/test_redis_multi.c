/* MULTI, WATCH and commands over several partitions: a, d, g ... are in other ones than b, c. */
#include "redis_whole.h"

static int make_whole(void **state)
{
    *state = whole_make();
    return 0;
}

static int drop_whole(void **state)
{
    whole_free(*state);
    return 0;
}

static void ask(struct whole *whole, const char *commands)
{
    say(whole->client, commands);
    turn(whole->front);
}

/* One or several commands, and all of what they are answered. */
static void check(struct whole *whole, const char *commands, const char *expected)
{
    ask(whole, commands);
    check_output(whole->client, expected);
}

static void check_begins(struct whole *whole, const char *commands, const char *expected)
{
    ask(whole, commands);
    struct bytes output = buffer_bytes(&whole->client->head.output);
    if (!bytes_starts_with(output, bytes_of(expected)))
        fail_msg("output is \"%.*s\", not \"%s...\"", (int)output.size, (const char *)output.data,
                 expected);
    buffer_clear(&whole->client->head.output);
}

/* --- queueing ----------------------------------------------------------------------------------
 */

static void test_commands_are_queued_and_run_at_exec(void **state)
{
    struct whole *whole = *state;

    check(whole, "MULTI\r\nSET a 1\r\nSET b 2\r\nINCR a\r\nMGET a b c\r\nPING\r\nEXEC\r\nGET a\r\n",
          "+OK\r\n+QUEUED\r\n+QUEUED\r\n+QUEUED\r\n+QUEUED\r\n+QUEUED\r\n"
          "*5\r\n+OK\r\n+OK\r\n:2\r\n*3\r\n$1\r\n2\r\n$1\r\n2\r\n$-1\r\n+PONG\r\n$1\r\n2\r\n");
    check(whole, "MULTI\r\nEXEC\r\n", "+OK\r\n*0\r\n");
}

static void test_what_is_refused_while_queueing_aborts_exec(void **state)
{
    struct whole *whole = *state;
    const char *const aborted =
        "-EXECABORT Transaction discarded because of previous errors.\r\n-ERR EXEC without "
        "MULTI\r\n";
    static const char *const wrong[] = {
        "GET\r\n",     "NOSUCH\r\n",  "LPUSH l 1\r\n", "KEYS *\r\n",           "SCAN 0\r\n",
        "HELLO 3\r\n", "MULTI x\r\n", "RANDOMKEY\r\n", "CLIENT REPLY OFF\r\n", "CLIENT LIST\r\n"};

    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        check(whole, "MULTI\r\nSET a 1\r\n", "+OK\r\n+QUEUED\r\n");
        check_begins(whole, wrong[i], "-ERR ");
        check(whole, "EXEC\r\nEXEC\r\n", aborted);
    }
    check(whole, "EXISTS a\r\n", ":0\r\n");
    check(
        whole, "MULTI\r\nEXEC 1\r\nEXEC\r\n",
        "+OK\r\n-EXECABORT Transaction discarded because of: wrong number of arguments for 'exec' "
        "command\r\n-ERR EXEC without MULTI\r\n");
}

static void test_nesting_and_watching_inside_are_refused_and_harmless(void **state)
{
    struct whole *whole = *state;

    check(whole, "MULTI\r\nMULTI\r\nWATCH a\r\nSET a 1\r\nEXEC\r\n",
          "+OK\r\n-ERR MULTI calls can not be nested\r\n-ERR WATCH inside MULTI is not allowed\r\n"
          "+QUEUED\r\n*1\r\n+OK\r\n");
    check(whole, "DISCARD\r\nEXEC\r\nUNWATCH\r\n",
          "-ERR DISCARD without MULTI\r\n-ERR EXEC without MULTI\r\n+OK\r\n");
}

static void test_discard_and_reset_forget_everything(void **state)
{
    struct whole *whole = *state;

    check(whole, "WATCH a\r\nMULTI\r\nSET a 1\r\nDISCARD\r\nEXEC\r\n",
          "+OK\r\n+OK\r\n+QUEUED\r\n+OK\r\n-ERR EXEC without MULTI\r\n");
    check(whole, "WATCH a\r\nMULTI\r\nSET a 1\r\nRESET\r\nEXEC\r\nEXISTS a\r\n",
          "+OK\r\n+OK\r\n+QUEUED\r\n+RESET\r\n-ERR EXEC without MULTI\r\n:0\r\n");
    whole_line(whole, "SET a 2"); /* no watch is left */
    check(whole, "MULTI\r\nSET a 1\r\nEXEC\r\n", "+OK\r\n+QUEUED\r\n*1\r\n+OK\r\n");
    ask(whole, "MULTI\r\nSET a 1\r\n"); /* and goes away */
    buffer_clear(&whole->client->head.output);
}

static void test_select_counts_for_what_follows(void **state)
{
    struct whole *whole = *state;

    check(whole, "MULTI\r\nSET a 0\r\nSELECT 3\r\nSELECT 77\r\nSET a 3\r\nDISCARD\r\nDBSIZE\r\n",
          "+OK\r\n+QUEUED\r\n+QUEUED\r\n+QUEUED\r\n+QUEUED\r\n+OK\r\n:0\r\n");
    check(whole, "MULTI\r\nSET a 0\r\nSELECT 3\r\nSELECT 77\r\nSET a 3\r\nEXEC\r\nGET a\r\n",
          "+OK\r\n+QUEUED\r\n+QUEUED\r\n+QUEUED\r\n+QUEUED\r\n*4\r\n+OK\r\n+OK\r\n-ERR DB index is "
          "out of range\r\n+OK\r\n$1\r\n3\r\n");
    check(whole, "SELECT 0\r\nGET a\r\n", "+OK\r\n$1\r\n0\r\n");
}

static void test_the_queue_is_bounded(void **state)
{
    struct whole *whole = *state;
    static char value[200 << 10];
    char head[64];

    memset(value, 'x', sizeof(value));
    ask(whole, "MULTI\r\n");
    for (int i = 0; i < 6; i++) {
        snprintf(head, sizeof(head), "*3\r\n$3\r\nSET\r\n$1\r\na\r\n$%zu\r\n", sizeof(value));
        ask(whole, head);
        say_bytes(whole->client, bytes_make(value, sizeof(value)));
        ask(whole, "\r\n");
    }
    check(whole, "EXEC\r\n",
          "+OK\r\n+QUEUED\r\n+QUEUED\r\n+QUEUED\r\n+QUEUED\r\n+QUEUED\r\n"
          "-ERR the commands in MULTI are too big: at most 1 MiB in this version of Holon\r\n"
          "-EXECABORT Transaction discarded because of previous errors.\r\n");
    ask(whole, "MULTI\r\n");
    for (int i = 0; i < 16384; i++)
        say(whole->client, "GET a\r\n");
    turn(whole->front);
    buffer_clear(&whole->client->head.output);
    check(whole, "GET a\r\nDISCARD\r\n",
          "-ERR too many commands in MULTI: at most 16384 in this version of Holon\r\n+OK\r\n");
}

static void test_replies_may_be_off(void **state)
{
    struct whole *whole = *state;

    check(whole, "CLIENT REPLY OFF\r\nMULTI\r\nSET a 1\r\nSET b 1\r\nEXEC\r\nCLIENT REPLY ON\r\n",
          "+OK\r\n");
    check(whole, "EXISTS a b\r\n", ":2\r\n");
    check(whole, "MULTI\r\nSET c 1\r\nCLIENT REPLY SKIP\r\n",
          "+OK\r\n+QUEUED\r\n-ERR 'client' like "
          "this is not allowed inside MULTI in "
          "this version of Holon\r\n");
}

static void test_clients_show_their_queue(void **state)
{
    struct whole *whole = *state;

    ask(whole, "WATCH x y\r\nMULTI\r\nSET a 1\r\nCLIENT INFO\r\n");
    buffer_clear(&whole->client->head.output);
    ask(whole, "EXEC\r\n");
    struct bytes output = buffer_bytes(&whole->client->head.output);
    char text[2048] = "";
    memcpy(text, output.data, output.size < 2047 ? output.size : 2047);
    assert_non_null(
        strstr(text, " multi=-1 watch=0 ")); /* it is taken by then, as in redis-server */
    buffer_clear(&whole->client->head.output);
    ask(whole, "CLIENT INFO\r\n");
    buffer_clear(&whole->client->head.output);
}

/* --- watching ----------------------------------------------------------------------------------
 */

static void test_a_changed_key_makes_exec_null(void **state)
{
    struct whole *whole = *state;

    check(whole, "WATCH a b\r\nMULTI\r\nSET c 1\r\n", "+OK\r\n+OK\r\n+QUEUED\r\n");
    whole_line(whole, "SET b 1");
    check(whole, "EXEC\r\nEXISTS c\r\nMULTI\r\nSET c 1\r\nEXEC\r\n",
          "*-1\r\n:0\r\n+OK\r\n+QUEUED\r\n*1\r\n+OK\r\n"); /* watched once only */
    assert_int_equal(statistics_of(whole->front).transactions_watched, 1);
    ask(whole, "HELLO 3\r\nWATCH a b\r\nMULTI\r\nGET zz\r\n");
    buffer_clear(&whole->client->head.output);
    whole_line(whole, "SET b 1");
    check(whole, "EXEC\r\n", "_\r\n");
}

static void test_unwatch_and_own_writes(void **state)
{
    struct whole *whole = *state;

    check(whole, "WATCH a\r\nSET a 1\r\nMULTI\r\nSET a 2\r\nEXEC\r\n",
          "+OK\r\n+OK\r\n+OK\r\n+QUEUED\r\n*-1\r\n");
    check(whole, "WATCH a\r\nSET a 1\r\nUNWATCH\r\nMULTI\r\nSET a 2\r\nEXEC\r\n",
          "+OK\r\n+OK\r\n+OK\r\n+OK\r\n+QUEUED\r\n*1\r\n+OK\r\n");
    check(whole, "WATCH a b c\r\nMULTI\r\nEXEC\r\n", "+OK\r\n+OK\r\n*0\r\n");
    check(whole, "WATCH a\r\nGET\r\nMULTI\r\nEXEC\r\n",
          "+OK\r\n-ERR wrong number of arguments for 'get' command\r\n+OK\r\n*0\r\n");
    check(whole, "WATCH a b\r\nMULTI\r\nUNWATCH\r\nSET a 3\r\nEXEC\r\n",
          "+OK\r\n+OK\r\n+QUEUED\r\n+QUEUED\r\n*2\r\n+OK\r\n+OK\r\n");
}

/* --- several partitions ------------------------------------------------------------------------
 */

static void test_commands_over_partitions_are_one_transaction(void **state)
{
    struct whole *whole = *state;

    check(whole, "MSET a 1 b 2 c 3\r\nMGET c a nosuch b\r\nEXISTS a b c a nosuch\r\nTOUCH a b\r\n",
          "+OK\r\n*4\r\n$1\r\n3\r\n$1\r\n1\r\n$-1\r\n$1\r\n2\r\n:4\r\n:2\r\n");
    check(whole, "DEL a b nosuch\r\nUNLINK a b c\r\nDBSIZE\r\n", ":2\r\n:1\r\n:0\r\n");
    check(whole, "MSET a 1 b 2 c\r\n", "-ERR wrong number of arguments for 'mset' command\r\n");
    check(whole, "MSET a 1 b 2\r\nFLUSHDB\r\nDBSIZE\r\nFLUSHDB nonsense\r\n",
          "+OK\r\n+OK\r\n:0\r\n-ERR syntax error\r\n");
    check(whole,
          "MSET a 1 b 2\r\nSWAPDB 0 2\r\nDBSIZE\r\nSELECT 2\r\nDBSIZE\r\nFLUSHALL\r\nDBSIZE\r\n",
          "+OK\r\n+OK\r\n:0\r\n+OK\r\n:2\r\n+OK\r\n:0\r\n");
    assert_int_equal(whole->looks, 0);
}

static void test_msetnx_sets_all_or_nothing(void **state)
{
    struct whole *whole = *state;

    check(whole, "SET b 0\r\nMSETNX a 1 b 2 c 3\r\nEXISTS a b c\r\n", "+OK\r\n:0\r\n:1\r\n");
    check(whole, "DEL b\r\nMSETNX a 1 b 2 c 3\r\nMGET a b c\r\n",
          ":1\r\n:1\r\n*3\r\n$1\r\n1\r\n$1\r\n2\r\n$1\r\n3\r\n");
    check(whole, "MSETNX a 1 b 2 c\r\n", "-ERR wrong number of arguments for 'msetnx' command\r\n");
}

static void test_a_value_goes_to_another_partition(void **state)
{
    struct whole *whole = *state;

    check(whole, "RENAME a b\r\n", "-ERR no such key\r\n");
    check(whole,
          "SET a 1 EX 1000\r\nSET b 2\r\nRENAMENX a b\r\nRENAME a b\r\nTTL b\r\nEXISTS a b\r\n",
          "+OK\r\n+OK\r\n:0\r\n+OK\r\n:1000\r\n:1\r\n");
    check(whole, "HSET h f 1 g 2\r\nRENAMENX h a\r\nHGETALL a\r\nEXISTS h\r\n",
          ":2\r\n:1\r\n*4\r\n$1\r\nf\r\n$1\r\n1\r\n$1\r\ng\r\n$1\r\n2\r\n:0\r\n");
    check(whole, "COPY a b\r\nCOPY a b REPLACE\r\nHLEN b\r\nCOPY nosuch b\r\nCOPY a b FOO\r\n",
          ":0\r\n:1\r\n:2\r\n:0\r\n-ERR syntax error\r\n");
    check(whole, "COPY a b DB 3\r\nSELECT 3\r\nHGET b g\r\nEXISTS a b\r\nCOPY b a DB 16\r\n",
          ":1\r\n+OK\r\n$1\r\n2\r\n:1\r\n-ERR DB index is out of range\r\n");
}

static void test_big_values_go_with_their_parts(void **state)
{
    struct whole *whole = *state;

    for (int i = 0; i < PARTITIONS; i++) {
        whole->partitions[i]->limits.string_row_max = 4;
        whole->partitions[i]->limits.chunk_size = 8;
        whole->partitions[i]->limits.hash_row_fields_max = 1;
    }
    check(whole, "SET a abcdefghijklmnopqrstuvwxyz EX 100\r\nRENAME a b\r\nGET b\r\nTTL b\r\n",
          "+OK\r\n+OK\r\n$26\r\nabcdefghijklmnopqrstuvwxyz\r\n:100\r\n");
    check(whole, "HSET a f 1 g 2 h 3\r\nCOPY a b REPLACE\r\nHDEL b f\r\nHLEN a\r\nHLEN b\r\n",
          ":3\r\n:1\r\n:1\r\n:3\r\n:2\r\n");
    check(whole, "RENAME a b\r\nHGET b f\r\nDBSIZE\r\n", "+OK\r\n$1\r\n1\r\n:1\r\n");
}

static void test_data_flows_within_a_transaction(void **state)
{
    struct whole *whole = *state;

    check(whole,
          "MULTI\r\nSET a 1 EX 100\r\nINCR a\r\nRENAME a b\r\nRENAME b a\r\nINCR a\r\n"
          "MSETNX b 1 c 2\r\nMSETNX c 3 a 4\r\nCOPY a b REPLACE\r\nEXEC\r\n",
          "+OK\r\n+QUEUED\r\n+QUEUED\r\n+QUEUED\r\n+QUEUED\r\n+QUEUED\r\n+QUEUED\r\n+QUEUED\r\n"
          "+QUEUED\r\n*8\r\n+OK\r\n:2\r\n+OK\r\n+OK\r\n:3\r\n:1\r\n:0\r\n:1\r\n");
    check(whole, "MGET a b c\r\nTTL b\r\n", "*3\r\n$1\r\n3\r\n$1\r\n3\r\n$1\r\n2\r\n:100\r\n");
    assert_int_equal(whole->looks, 5);
    assert_int_equal(whole->runs, 2);
}

static void test_what_changes_after_the_look_is_looked_at_again(void **state)
{
    struct whole *whole = *state;

    ask(whole, "SET a 1\r\n");
    buffer_clear(&whole->client->head.output);
    whole->meanwhile = "INCR a";
    whole->meanwhile_times = 3;
    check(whole, "RENAME a b\r\nGET b\r\nEXISTS a\r\n", "+OK\r\n$1\r\n4\r\n:0\r\n");
    assert_int_equal(whole->looks, 4);
    ask(whole, "SET a 1\r\n");
    buffer_clear(&whole->client->head.output);
    whole->meanwhile_times = 1000;
    check_begins(whole, "RENAME a b\r\n", "-BUSY others keep changing the keys");
    whole->meanwhile = NULL;
    check(whole, "GET b\r\n", "$1\r\n4\r\n");
}

static void test_a_piece_has_an_end(void **state)
{
    struct whole *whole = *state;
    static char value[230 << 10];
    char head[96];

    memset(value, 'x', sizeof(value));
    snprintf(head, sizeof(head), "*5\r\n$4\r\nMSET\r\n$1\r\nb\r\n$1\r\n1\r\n$1\r\na\r\n$%zu\r\n",
             sizeof(value));
    say(whole->client, head);
    say_bytes(whole->client, bytes_make(value, sizeof(value)));
    check_begins(whole, "\r\n",
                 "-ERR a transaction, or a command over several partitions, may have "
                 "at most 229376 bytes");
    check(whole, "EXISTS a b\r\n", ":0\r\n");
}

/* --- ends --------------------------------------------------------------------------------------
 */

static void test_results_become_errors(void **state)
{
    struct whole *whole = *state;
    static const struct {
        enum txn_result result;
        const char *begins;
    } results[] = {{TXN_UNKNOWN, "-UNKNOWN outcome: "},
                   {TXN_UNAVAILABLE, "-UNAVAILABLE no quorum"},
                   {TXN_BUSY, "-BUSY "},
                   {TXN_NO_SPACE, "-MISCONF no disk space: "},
                   {TXN_TOO_BIG, "-TOOBIG what "},
                   {TXN_LOST_REPLY, "-TOOBIG the command was"}};

    whole->front->on_txn = NULL;
    for (size_t i = 0; i < sizeof(results) / sizeof(results[0]); i++) {
        say(whole->client, "MSET a 1 b 1\r\nPING\r\n");
        check_output(whole->client, "");
        txn_answer(whole->front, results[i].result, NULL);
        check_begins(whole, "", results[i].begins);
    }
}

static void test_a_transaction_runs_alone(void **state)
{
    struct whole *whole = *state;
    struct fixture *front = whole->front;

    front->on_submit = NULL;
    say(whole->client, "SET a 1\r\nMULTI\r\nSET a 2\r\nSET b 2\r\nEXEC\r\nGET a\r\n");
    assert_int_equal(front->open_count, 1);
    assert_null(front->txn);
    whole_on_submit(front, 0);
    front->on_txn = NULL;
    turn(front);
    assert_non_null(front->txn);
    assert_int_equal(front->open_count, 0); /* GET waits */
    front->on_submit = whole_on_submit;
    whole_on_txn(front, front->txn);
    turn(front);
    check_output(whole->client,
                 "+OK\r\n+OK\r\n+QUEUED\r\n+QUEUED\r\n*2\r\n+OK\r\n+OK\r\n$1\r\n2\r\n");
}

static void test_a_client_that_goes_is_forgotten(void **state)
{
    struct whole *whole = *state;

    whole->front->on_txn = NULL;
    say(whole->client, "MULTI\r\nSET a 2\r\nSET b 2\r\nEXEC\r\n");
    assert_non_null(whole->front->txn);
    hang_up(whole->client);
    assert_int_equal(whole->front->txns_forgotten, 1);
}

static void test_before_the_upgrade_is_finished_there_are_none(void **state)
{
    struct whole *whole = *state;

    whole->front->view.cluster_version = VIEW_VERSION_TXN - 1;
    check_begins(whole, "MULTI\r\n",
                 "-ERR MULTI needs transactions over partitions, but the cluster "
                 "still runs at version 3; finish the upgrade");
    check_begins(whole, "WATCH a\r\n", "-ERR 'watch' ");
    check_begins(whole, "MSET a 1 b 2\r\n", "-ERR 'mset' ");
    check_begins(whole, "SWAPDB 0 1\r\n", "-ERR 'swapdb' ");
    check(whole, "MGET a b\r\nEXISTS a b\r\nFLUSHALL\r\n", "*2\r\n$-1\r\n$-1\r\n:0\r\n+OK\r\n");
    assert_int_equal(whole->front->txn_count, 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, make_whole, drop_whole)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_commands_are_queued_and_run_at_exec),
        TEST(test_what_is_refused_while_queueing_aborts_exec),
        TEST(test_nesting_and_watching_inside_are_refused_and_harmless),
        TEST(test_discard_and_reset_forget_everything),
        TEST(test_select_counts_for_what_follows),
        TEST(test_the_queue_is_bounded),
        TEST(test_replies_may_be_off),
        TEST(test_clients_show_their_queue),
        TEST(test_a_changed_key_makes_exec_null),
        TEST(test_unwatch_and_own_writes),
        TEST(test_commands_over_partitions_are_one_transaction),
        TEST(test_msetnx_sets_all_or_nothing),
        TEST(test_a_value_goes_to_another_partition),
        TEST(test_big_values_go_with_their_parts),
        TEST(test_data_flows_within_a_transaction),
        TEST(test_what_changes_after_the_look_is_looked_at_again),
        TEST(test_a_piece_has_an_end),
        TEST(test_results_become_errors),
        TEST(test_a_transaction_runs_alone),
        TEST(test_a_client_that_goes_is_forgotten),
        TEST(test_before_the_upgrade_is_finished_there_are_none),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
