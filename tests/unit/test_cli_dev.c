/* What `holon dev` tells each of its processes: read back by the parser of `holon start`, it is
 * what its user asked for. */
#include "unit.h"

#include "cli/options.c"
#include "cli/options_join.c" /* the program is their only user */

#include "cli/dev.c"

static struct cli_options told(uint32_t index, int count, char **words)
{
    struct cli_options asked, options;
    struct error error = {0};
    struct arguments *arguments = memory_allocate(sizeof(*arguments));

    cli_options_default(COMMAND_DEV, &asked);
    if (cli_options_parse(COMMAND_DEV, count, words, &asked, &error) != STATUS_OK)
        fail_msg("%s", error.text);
    struct dev dev = {.options = &asked, .first = 1, .last = asked.dev_nodes};
    dev_arguments(&dev, index, arguments);
    assert_string_equal(arguments->words[0], "holon");
    assert_string_equal(arguments->words[1], "start");
    assert_null(arguments->words[arguments->count]);
    cli_options_default(COMMAND_START, &options);
    if (cli_options_parse(COMMAND_START, (int)arguments->count - 2, arguments->words + 2, &options,
                          &error) != STATUS_OK)
        fail_msg("%s", error.text);
    memory_free(arguments);
    return options;
}

#define TOLD(index, ...)                                                                           \
    told(index, (int)(sizeof((char *[]){__VA_ARGS__}) / sizeof(char *)), (char *[]){__VA_ARGS__})

static void test_each_node_has_its_own_name_directory_and_ports(void **state)
{
    struct cli_options options =
        TOLD(2, "--nodes", "3", "--data", "/tmp/d", "--base-port", "9000", "--workers", "2");

    assert_string_equal(options.node.name, "n2");
    assert_string_equal(options.node.data, "/tmp/d/n2");
    assert_string_equal(options.node.redis, "127.0.0.1:9002");
    assert_string_equal(options.node.redis_cluster, "127.0.0.1:9102");
    assert_string_equal(options.node.peer, "127.0.0.1:9202");
    assert_string_equal(options.node.admin, "127.0.0.1:9302");
    assert_int_equal(options.node.workers, 2);
    assert_int_equal(options.node.member_count, 3);
    assert_string_equal(options.node.members[2].name, "n3");
    assert_string_equal(options.node.members[2].peer, "127.0.0.1:9203");
}

static void test_one_node_is_no_cluster_line(void **state)
{
    struct cli_options options = TOLD(1, "--nodes", "1");

    assert_int_equal(options.node.member_count, 0);
}

static void test_nodes_share_the_memory_unless_each_is_given_some(void **state)
{
    struct cli_options start, shared = TOLD(1, "--nodes", "3");
    struct cli_options given = TOLD(1, "--nodes", "3", "--memory", "96MiB");

    cli_options_default(COMMAND_START, &start);
    assert_int_equal(shared.node.memory, start.node.memory / 3);
    assert_int_equal(given.node.memory, 96 << 20);
}

static void test_settings_and_limits_reach_every_node(void **state)
{
    struct cli_options options =
        TOLD(3, "--partitions", "8", "--replicas", "3", "--reads", "quorum", "--patience", "700ms",
             "--max-connections", "77", "--max-connections-per-address", "33", "--idle-timeout",
             "5s", "--request-timeout", "6s", "--output-timeout", "7s", "--log-level", "warn");

    assert_int_equal(options.node.partitions, 8);
    assert_int_equal(options.node.replicas, 3);
    assert_true(options.node.reads_given && options.node.reads == READS_QUORUM);
    assert_int_equal(options.node.patience, 700 * 1000);
    assert_int_equal(options.node.max_connections, 77);
    assert_int_equal(options.node.max_connections_per_address, 33);
    assert_int_equal(options.node.idle_timeout, 5 * 1000 * 1000);
    assert_int_equal(options.node.request_timeout, 6 * 1000 * 1000);
    assert_int_equal(options.node.output_timeout, 7 * 1000 * 1000);
    assert_int_equal(options.log_level, LOG_LEVEL_WARN);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_each_node_has_its_own_name_directory_and_ports),
        cmocka_unit_test(test_one_node_is_no_cluster_line),
        cmocka_unit_test(test_nodes_share_the_memory_unless_each_is_given_some),
        cmocka_unit_test(test_settings_and_limits_reach_every_node),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
