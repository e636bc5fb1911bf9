/* What the command line and the config file accept, and what they say about the rest. */
#include "unit.h"

#include "cli/options.c"
#include "cli/options_join.c" /* the options are no library: the program is their only user */

static enum status parse(enum cli_command command, struct cli_options *options, struct error *error,
                         int count, char **words)
{
    memset(error, 0, sizeof(*error));
    cli_options_default(command, options);
    return cli_options_parse(command, count, words, options, error);
}

#define PARSE(command, options, error, ...)                                                        \
    parse(command, options, error, (int)(sizeof((char *[]){__VA_ARGS__}) / sizeof(char *)),        \
          (char *[]){__VA_ARGS__})

static void test_options_of_the_issue_are_taken(void **state)
{
    struct cli_options options;
    struct error error;

    assert_int_equal(PARSE(COMMAND_START, &options, &error, "--name", "n2", "--data=/tmp/x",
                           "--cluster", "n1=127.0.0.1:1,n2=127.0.0.1:2", "--workers", "4",
                           "--patience", "500ms", "--partitions", "64", "--reads", "quorum",
                           "--insecure"),
                     STATUS_OK);
    assert_string_equal(options.node.name, "n2");
    assert_string_equal(options.node.data, "/tmp/x");
    assert_int_equal(options.node.member_count, 2);
    assert_string_equal(options.node.members[1].peer, "127.0.0.1:2");
    assert_int_equal(options.node.workers, 4);
    assert_int_equal(options.node.patience, 500000);
    assert_int_equal(options.node.partitions, 64);
    assert_true(options.node.reads_given && options.node.reads == READS_QUORUM);
    assert_true(options.insecure);
}

static void test_defaults_are_those_of_the_issue(void **state)
{
    struct cli_options options;

    cli_options_default(COMMAND_START, &options);
    assert_string_equal(options.node.redis, "127.0.0.1:6379");
    assert_string_equal(options.node.redis_cluster, "127.0.0.1:7379");
    assert_string_equal(options.node.peer, "127.0.0.1:8379");
    assert_string_equal(options.node.admin, "127.0.0.1:9379");
    assert_int_equal(options.node.patience, 10 * 1000 * 1000);
    assert_int_equal(options.node.partitions, 0); /* not given: what is stored */
}

static void expect_error(enum cli_command command, const char *text, int count, char **words)
{
    struct cli_options options;
    struct error error;

    assert_int_not_equal(parse(command, &options, &error, count, words), STATUS_OK);
    if (strstr(error.text, text) == NULL) fail_msg("`%s` is not in: %s", text, error.text);
}

#define EXPECT_ERROR(text, ...)                                                                    \
    expect_error(COMMAND_START, text, (int)(sizeof((char *[]){__VA_ARGS__}) / sizeof(char *)),     \
                 (char *[]){__VA_ARGS__})

static void test_an_error_names_the_option_and_what_is_allowed(void **state)
{
    EXPECT_ERROR("unknown option `--nmae`", "--nmae", "n1");
    EXPECT_ERROR("redis-cluster", "--nmae", "n1"); /* the list of those that exist */
    EXPECT_ERROR("--workers `0`: give a number from 1 to 64", "--workers", "0");
    EXPECT_ERROR("--workers `many`", "--workers", "many");
    EXPECT_ERROR("--patience `10`: give a time", "--patience", "10");
    EXPECT_ERROR("--reads `maybe`: allowed are lease and quorum", "--reads", "maybe");
    EXPECT_ERROR("--redis `6379` is no address", "--redis", "6379");
    EXPECT_ERROR("names n1 twice", "--cluster", "n1=127.0.0.1:1,n1=127.0.0.1:2");
    EXPECT_ERROR("is not NAME=HOST:PORT", "--cluster", "127.0.0.1:1");
    EXPECT_ERROR("--name needs a value", "--name");
    EXPECT_ERROR("not expected here", "surprise");
}

static void test_an_announced_address_is_one_to_connect_to(void **state)
{
    struct cli_options options;
    struct error error;
    char listed[ADDRESS_SIZE_MAX];
    static const char *const right[][2] = {
        /* announced; what is listed for a listener on 0.0.0.0:7379 */
        {"redis.example.org", "redis.example.org:7379"},
        {"192.0.2.1:17379", "192.0.2.1:17379"},
        {"192.0.2.1", "192.0.2.1:7379"},
        {"[2001:db8::1]", "[2001:db8::1]:7379"},
        {"[2001:db8::1]:1", "[2001:db8::1]:1"}};
    static const char *const wrong[] = {"",       ":7379",      "0.0.0.0", "[::]:1",     "a b",
                                        "host:0", "host:70000", "host:x",  "2001:db8::1"};

    for (size_t i = 0; i < ARRAY_COUNT(right); i++) {
        assert_int_equal(
            PARSE(COMMAND_START, &options, &error, "--announce-redis-cluster", (char *)right[i][0]),
            STATUS_OK);
        node_listed_address(options.node.announce_redis_cluster, "0.0.0.0:7379", listed);
        assert_string_equal(listed, right[i][1]);
    }
    for (size_t i = 0; i < ARRAY_COUNT(wrong); i++) {
        assert_int_equal(
            PARSE(COMMAND_START, &options, &error, "--announce-redis", (char *)wrong[i]),
            STATUS_INVALID);
        assert_non_null(strstr(error.text, "give HOST or HOST:PORT"));
    }
    node_listed_address("", "127.0.0.1:6379", listed);
    assert_string_equal(listed, "127.0.0.1:6379");
}

static void test_a_node_that_joins_says_where_and_by_what(void **state)
{
    char token[] = "holon1.00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";
    struct cli_options options;
    struct error error;

    assert_int_equal(PARSE(COMMAND_START, &options, &error, "--join", "127.0.0.1:1,[::1]:2",
                           "--token", token, "--zone", "b", "--label", "rack=r1", "--label",
                           "weight=200"),
                     STATUS_OK);
    assert_int_equal(options.node.join_count, 2);
    assert_string_equal(options.node.join[1], "[::1]:2");
    assert_true(options.node.has_token);
    assert_int_equal(options.node.token[1], 0x11);
    assert_string_equal(options.node.labels, "rack=r1,weight=200,zone=b");
    assert_null(strstr(token, "holon1.")); /* nobody reads it from the process's command line */
    assert_int_equal(cli_options_check(&options, &error), STATUS_OK);
    options.node.join_count = 0;
    assert_int_not_equal(cli_options_check(&options, &error), STATUS_OK);
    assert_int_equal(PARSE(COMMAND_START, &options, &error, "--join", "127.0.0.1:1", "--cluster",
                           "n1=127.0.0.1:2"),
                     STATUS_OK);
    assert_int_not_equal(cli_options_check(&options, &error), STATUS_OK);
    assert_non_null(strstr(error.text, "give one of them"));
    assert_int_equal(PARSE(COMMAND_START, &options, &error, "--join", "10.0.0.1:1"), STATUS_OK);
    assert_int_equal(cli_options_check(&options, &error), STATUS_REFUSED);
    EXPECT_ERROR("is no HOST:PORT", "--join", "127.0.0.1");
    EXPECT_ERROR("takes one value", "--zone", "a,rack=b");
    EXPECT_ERROR("cannot read the token", "--token", "@/nowhere/at/all");
}

static void test_only_loopback_without_insecure(void **state)
{
    struct cli_options options;
    struct error error;
    char *const addresses[] = {"--redis", "--redis-cluster", "--peer", "--admin"};

    for (size_t i = 0; i < 4; i++) {
        assert_int_equal(PARSE(COMMAND_START, &options, &error, addresses[i], "10.0.0.1:5000"),
                         STATUS_OK);
        assert_int_equal(cli_options_check(&options, &error), STATUS_REFUSED);
        assert_non_null(strstr(error.text, "--insecure"));
        options.insecure = true;
        assert_int_equal(cli_options_check(&options, &error), STATUS_OK);
    }
    assert_int_equal(PARSE(COMMAND_START, &options, &error, "--redis", ":6379"), STATUS_OK);
    assert_int_equal(cli_options_check(&options, &error), STATUS_REFUSED);
    assert_int_equal(PARSE(COMMAND_START, &options, &error, "--redis", "[::1]:6379"), STATUS_OK);
    assert_int_equal(cli_options_check(&options, &error), STATUS_OK);
}

static void test_the_own_name_must_be_in_the_line(void **state)
{
    struct cli_options options;
    struct error error;

    PARSE(COMMAND_START, &options, &error, "--name=n9", "--cluster=n1=127.0.0.1:1");
    assert_int_equal(cli_options_check(&options, &error), STATUS_INVALID);
    assert_non_null(strstr(error.text, "n9"));
}

static void test_every_option_is_also_a_line_of_the_file(void **state)
{
    struct cli_options options;
    struct error error;

    cli_options_default(COMMAND_START, &options);
    assert_int_equal(
        cli_options_parse_config(bytes_of("# a node\nname = n3\nworkers = 2\ninsecure = yes\n"
                                          "cluster = n3=127.0.0.1:1\npatience = 3s # short\n"),
                                 "holon.conf", &options, &error),
        STATUS_OK);
    assert_string_equal(options.node.name, "n3");
    assert_int_equal(options.node.workers, 2);
    assert_true(options.insecure);
    assert_int_equal(options.node.patience, 3000000);

    assert_int_equal(cli_options_parse_config(bytes_of("name = n1\nworker = 2\n"), "holon.conf",
                                              &options, &error),
                     STATUS_INVALID);
    assert_non_null(strstr(error.text, "holon.conf: line 2"));
    assert_non_null(strstr(error.text, "workers"));
    assert_int_equal(
        cli_options_parse_config(bytes_of("workers = 1000\n"), "holon.conf", &options, &error),
        STATUS_INVALID);
    assert_non_null(strstr(error.text, "from 1 to 64"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_options_of_the_issue_are_taken),
        cmocka_unit_test(test_defaults_are_those_of_the_issue),
        cmocka_unit_test(test_an_error_names_the_option_and_what_is_allowed),
        cmocka_unit_test(test_an_announced_address_is_one_to_connect_to),
        cmocka_unit_test(test_a_node_that_joins_says_where_and_by_what),
        cmocka_unit_test(test_only_loopback_without_insecure),
        cmocka_unit_test(test_the_own_name_must_be_in_the_line),
        cmocka_unit_test(test_every_option_is_also_a_line_of_the_file),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
