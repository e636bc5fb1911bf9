/* INFO and CLIENT LIST speak of all workers of the node, INFO's Keyspace of all partitions; who
 * does not answer is not waited for. */
#include "redis_front.h"

static const char *output_of(struct play_stream *stream)
{
    buffer_append(&stream->head.output, bytes_make("", 1));
    return (const char *)buffer_bytes(&stream->head.output).data;
}

static void check_contains(struct play_stream *stream, const char *text)
{
    const char *output = output_of(stream);
    if (strstr(output, text) == NULL) fail_msg("\"%s\" is not in \"%s\"", text, output);
}

static void check_lacks(struct play_stream *stream, const char *text)
{
    const char *output = output_of(stream);
    if (strstr(output, text)) fail_msg("\"%s\" is in \"%s\"", text, output);
}

/* What the node does with a question: the other worker's thread, then ours again. */
static void pass_on(struct fixture *asker, struct redis_service *other)
{
    struct redis_question_part *part = redis_question_part(asker->question, 1);

    assert_int_equal(redis_question_worker_count(asker->question), 2);
    assert_int_equal(redis_question_asker(part), 0);
    redis_question_answer(part, other);
    redis_question_answered(part);
    turn(asker);
}

static int make_two(void **state)
{
    static struct fixture *two[2];

    for (uint32_t i = 0; i < 2; i++)
        two[i] = fixture_make(i, 2);
    *state = two;
    return 0;
}

static int drop_two(void **state)
{
    struct fixture **two = *state;

    for (uint32_t i = 0; i < 2; i++)
        drop((void *[]){two[i]});
    return 0;
}

static void test_client_list_shows_the_clients_of_all_workers(void **state)
{
    struct fixture **two = *state;
    struct play_stream *here = connect_client(two[0]), *there = connect_client(two[1]);

    say(there, "CLIENT SETNAME other\r\nCLIENT ID\r\n");
    check_output(there, "+OK\r\n:65\r\n"); /* 1 * WORKERS_MAX + worker 1 */
    say(here, "CLIENT ID\r\nCLIENT LIST\r\nPING\r\n");
    check_output(here, ":64\r\n"); /* the list waits, and what is behind it, too */
    pass_on(two[0], two[1]->service);
    check_contains(here, "id=64 addr=127.0.0.1:5000");
    check_contains(here, "cmd=client|list");
    check_contains(here, "id=65 addr=127.0.0.1:5000");
    check_contains(here, "name=other");
    check_contains(here, "+PONG\r\n");
}

static void test_filters_hold_on_every_worker(void **state)
{
    struct fixture **two = *state;
    struct play_stream *here = connect_client(two[0]);
    connect_client(two[1]);
    connect_client(two[1]);

    say(here, "CLIENT LIST ID 129 1000\r\n");
    pass_on(two[0], two[1]->service);
    check_contains(here, "id=129 ");
    check_lacks(here, "id=64 ");
    check_lacks(here, "id=65 ");
    buffer_clear(&here->head.output);
    say(here, "CLIENT LIST TYPE replica\r\n");
    pass_on(two[0], two[1]->service);
    check_contains(here, "$0\r\n\r\n");
    buffer_clear(&here->head.output);
    say(here, "CLIENT LIST TYPE normal\r\n");
    pass_on(two[0], two[1]->service);
    check_contains(here, "id=129 ");
    check_contains(here, "id=64 ");
}

static void test_wrong_arguments_ask_nobody(void **state)
{
    struct fixture **two = *state;
    struct play_stream *s = connect_client(two[0]);

    say(s, "CLIENT LIST TYPE\r\nCLIENT LIST TYPE x\r\nCLIENT LIST ID 1.5\r\nCLIENT LIST ID 1 x\r\n"
           "CLIENT LIST TYPE normal normal\r\n");
    check_output(s, "-ERR syntax error\r\n-ERR Unknown client type 'x'\r\n"
                    "-ERR Invalid client ID\r\n-ERR Invalid client ID\r\n-ERR syntax error\r\n");
    assert_int_equal(two[0]->questions, 0);
}

static void test_a_stuck_worker_is_not_waited_for(void **state)
{
    struct fixture **two = *state;
    struct play_stream *s = connect_client(two[0]);

    say(s, "CLIENT LIST\r\n");
    struct redis_question *first = two[0]->question;
    pass_time(two[0], 1);
    check_output(s, "-BUSY 1 of 2 workers of this node did not answer within 500 ms: the list "
                    "would not be whole, try again\r\n");
    say(s, "INFO server stats\r\n");
    pass_time(two[0], 1);
    check_contains(s, "holon_workers:2\r\nholon_workers_silent:1\r\n");
    check_contains(s, "total_commands_processed:");
    /* It comes round: its answers are for nobody. */
    redis_question_answered(redis_question_part(first, 1));
    redis_question_answered(redis_question_part(two[0]->question, 1));
}

static void test_questions_to_a_stuck_worker_are_bounded(void **state)
{
    struct fixture **two = *state;
    struct play_stream *s = connect_client(two[0]);
    struct redis_question *asked[8];

    for (unsigned i = 0; i < 8; i++) {
        say(s, "CLIENT LIST\r\n");
        asked[i] = two[0]->question;
        pass_time(two[0], 1);
    }
    buffer_clear(&s->head.output);
    say(s, "CLIENT LIST\r\n"); /* refused at once */
    assert_int_equal(two[0]->questions, 8);
    check_contains(s, "-BUSY 1 of 2 workers");
    buffer_clear(&s->head.output);
    for (unsigned i = 0; i < 8; i++)
        redis_question_answered(redis_question_part(asked[i], 1));
    say(s, "CLIENT LIST\r\n");
    pass_on(two[0], two[1]->service);
    check_contains(s, "id=64 ");
}

static void test_whoever_hangs_up_leaves_a_question_behind(void **state)
{
    struct fixture **two = *state;
    struct play_stream *s = connect_client(two[0]);

    say(s, "CLIENT LIST\r\n");
    hang_up(s);
    redis_question_answer(redis_question_part(two[0]->question, 1), two[1]->service);
    redis_question_answered(redis_question_part(two[0]->question, 1));
    /* And a part that a process took with it: drop_two() ends the service before. */
    s = connect_client(two[0]);
    say(s, "INFO server\r\n");
    hang_up(s);
    redis_question_drop(redis_question_part(two[0]->question, 1));
}

static void test_the_service_ends_before_the_answer(void **state)
{
    struct fixture *asker = fixture_make(0, 2);
    struct play_stream *s = connect_client(asker);

    say(s, "CLIENT LIST\r\n");
    struct redis_question_part *part = redis_question_part(asker->question, 1);
    drop((void *[]){asker});
    redis_question_answer(part, NULL);
    redis_question_answered(part);
}

static void test_info_sums_over_the_workers(void **state)
{
    struct fixture **two = *state;
    struct play_stream *here = connect_client(two[0]), *there = connect_client(two[1]);

    say(there, "PING\r\nPING\r\nnosuch\r\n");
    say(here, "PING\r\nSELECT 99\r\nINFO stats errorstats\r\n");
    pass_on(two[0], two[1]->service);
    /* Two, the INFO itself, and three there. */
    check_contains(here, "total_connections_received:2\r\ntotal_commands_processed:6\r\n");
    check_contains(here, "total_error_replies:2\r\n");
    check_contains(here, "\r\nerrorstat_ERR:count=2\r\n");
    check_lacks(here, "# Server");
    check_lacks(here, "# Keyspace");
}

static void test_sections_are_those_of_redis_in_its_order(void **state)
{
    struct fixture *f = *state;
    struct play_stream *s = connect_client(f);
    static const char *const all[] = {"Server",     "Clients",     "Memory",  "Persistence",
                                      "Stats",      "Replication", "CPU",     "Modules",
                                      "Errorstats", "Cluster",     "Keyspace"};
    static const char *const lines[] = {"INFO\r\n", "INFO ALL\r\n", "INFO everything\r\n",
                                        "info default nosuch\r\n"};

    f->at_once = true;
    for (size_t line = 0; line < ARRAY_COUNT(lines); line++) {
        say(s, lines[line]);
        const char *at = output_of(s);
        for (size_t i = 0; i < ARRAY_COUNT(all); i++) {
            char title[32];
            snprintf(title, sizeof(title), "# %s\r\n", all[i]);
            at = strstr(at, title);
            if (at == NULL) fail_msg("no %s after %s", all[i], lines[line]);
        }
        buffer_clear(&s->head.output);
    }
    say(s, "INFO nosuch\r\nINFO cpu modules\r\n");
    check_contains(s, "$0\r\n\r\n$");
    check_contains(s,
                   "# CPU\r\nused_cpu_sys:0.000000\r\nused_cpu_user:0.000000\r\n\r\n# Modules\r\n");
}

static void test_keyspace_sums_the_partitions(void **state)
{
    struct fixture *f = *state;
    struct play_stream *s = connect_client(f);

    say(s, "INFO keyspace\r\nPING\r\n");
    assert_int_equal(f->request_count, PARTITIONS);
    check_output(s, "");
    for (size_t i = 0; i < PARTITIONS; i++)
        answer_truly(f, i);
    turn(f);
    const char *text = "# Keyspace\r\ndb0:keys=4,expires=0,avg_ttl=0\r\n"
                       "db3:keys=8,expires=8,avg_ttl=0\r\n";
    char expected[256];
    snprintf(expected, sizeof(expected), "$%zu\r\n%s\r\n+PONG\r\n", strlen(text), text);
    check_output(s, expected);
}

static void test_keyspace_is_unknown_rather_than_partial(void **state)
{
    struct fixture *f = *state;
    struct play_stream *s = connect_client(f);

    say(s, "INFO keyspace\r\n");
    answer_truly(f, 0);
    answer(f, 1, GATEWAY_UNAVAILABLE, "");
    answer(f, 2, GATEWAY_REPLY, "-ERR this node does not understand the request\r\n");
    pass_time(f, 1); /* the last one is not waited for */
    assert_int_equal(f->forgotten, 1);
    check_contains(s, "# Keyspace\r\nholon_keyspace:unknown\r\nholon_partitions_silent:3\r\n");
    check_lacks(s, "db0");
}

static void test_info_answers_before_there_is_a_cluster(void **state)
{
    struct fixture *f = *state;
    struct play_stream *s = connect_client(f);
    uint32_t partitions = f->view.partition_count;

    f->view.partition_count = 0;
    say(s, "INFO\r\n");
    check_contains(s, "# Server\r\n");
    check_contains(s, "holon_keyspace:unknown\r\n");
    assert_int_equal(f->request_count, 0);
    f->view.partition_count = partitions;
}

static void test_silence_holds_for_them_too(void **state)
{
    struct fixture **two = *state;
    struct play_stream *s = connect_client(two[0]);

    say(s, "CLIENT REPLY SKIP\r\nCLIENT LIST\r\nPING\r\n");
    pass_on(two[0], two[1]->service);
    check_output(s, "+PONG\r\n");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_client_list_shows_the_clients_of_all_workers, make_two,
                                        drop_two),
        cmocka_unit_test_setup_teardown(test_filters_hold_on_every_worker, make_two, drop_two),
        cmocka_unit_test_setup_teardown(test_wrong_arguments_ask_nobody, make_two, drop_two),
        cmocka_unit_test_setup_teardown(test_a_stuck_worker_is_not_waited_for, make_two, drop_two),
        cmocka_unit_test_setup_teardown(test_questions_to_a_stuck_worker_are_bounded, make_two,
                                        drop_two),
        cmocka_unit_test_setup_teardown(test_whoever_hangs_up_leaves_a_question_behind, make_two,
                                        drop_two),
        cmocka_unit_test(test_the_service_ends_before_the_answer),
        cmocka_unit_test_setup_teardown(test_info_sums_over_the_workers, make_two, drop_two),
        cmocka_unit_test_setup_teardown(test_sections_are_those_of_redis_in_its_order, make, drop),
        cmocka_unit_test_setup_teardown(test_keyspace_sums_the_partitions, make, drop),
        cmocka_unit_test_setup_teardown(test_keyspace_is_unknown_rather_than_partial, make, drop),
        cmocka_unit_test_setup_teardown(test_info_answers_before_there_is_a_cluster, make, drop),
        cmocka_unit_test_setup_teardown(test_silence_holds_for_them_too, make_two, drop_two),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
