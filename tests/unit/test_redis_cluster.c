/* The cluster port: who is sent on to whom, what the table of slots says, and what commands about
 * the whole database are about there. Formats as redis-server 7.0 in cluster mode writes them. */
#include "redis_front.h"

enum { OTHER = 2, THIRD = 3 };

static bool third_is_gone;

static bool is_linked(void *context, node_id_t node)
{
    return node != THIRD || !third_is_gone;
}

static void add_node(struct cluster_view *view, node_id_t id, char digit)
{
    struct view_node *node = &view->nodes[view->node_count++];

    node->id = id;
    memset(node->hex_id, digit, 40);
    snprintf(node->redis_cluster, sizeof(node->redis_cluster), "127.0.0.%u:7379", (unsigned)id);
    snprintf(node->peer, sizeof(node->peer), "10.0.0.%u:8379", (unsigned)id);
}

/* Partition 0 is led here, 1 by the second node, 2 by the third, 3 here; all have all replicas. */
static int make_cluster(void **state)
{
    struct fixture *fixture = fixture_make_with(0, 1, is_linked);
    struct cluster_view *view = &fixture->view;
    const node_id_t leaders[PARTITIONS] = {1, OTHER, THIRD, 1};

    third_is_gone = false;
    add_node(view, OTHER, 'b');
    add_node(view, THIRD, 'c');
    for (uint32_t i = 0; i < PARTITIONS; i++) {
        struct view_group *group = &view->groups[GROUP_DATA_FIRST + i];
        group->replica_count = 3;
        for (uint8_t k = 0; k < 3; k++)
            group->replicas[k].node = k + 1u;
        cluster_view_set_leader(view, (struct group_id){GROUP_DATA_FIRST + i}, leaders[i], 1,
                                fixture->play.now);
    }
    pass_time(fixture, 2);
    assert_int_equal(redis_service_listen(fixture->service, "", true, NULL), STATUS_OK);
    *state = fixture;
    return 0;
}

static void set_leader(struct fixture *fixture, uint32_t partition, node_id_t leader, uint64_t term)
{
    cluster_view_set_leader(&fixture->view, (struct group_id){GROUP_DATA_FIRST + partition}, leader,
                            term, fixture->play.now);
}

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

/* Slots: "b" 3300 (partition 0), "c" 7365 (1), "foo" 12182 (2), "a" 15495 (3). */
static void test_keys_of_others_are_moved(void **state)
{
    struct fixture *fixture = *state;
    struct play_stream *s = connect_client(fixture);

    fixture->at_once = true;
    say(s, "GET b\r\nGET c\r\nSET foo v\r\nGET a\r\n");
    check_output(s, "$1\r\nb\r\n-MOVED 7365 127.0.0.2:7379\r\n-MOVED 12182 127.0.0.3:7379\r\n"
                    "$1\r\na\r\n");
    assert_int_equal(fixture->request_count, 2);
    assert_int_equal(statistics_of(fixture).moved, 2);
    say(s, "MGET {c}1 {c}2\r\n");
    check_output(s, "-MOVED 7365 127.0.0.2:7379\r\n");
}

static void test_moved_keeps_its_place_in_a_pipeline(void **state)
{
    struct fixture *fixture = *state;
    struct play_stream *s = connect_client(fixture);

    say(s, "GET b\r\nGET c\r\n");
    check_output(s, "");
    answer_truly(fixture, 0);
    check_output(s, "$1\r\nb\r\n-MOVED 7365 127.0.0.2:7379\r\n");
}

static void test_nobody_is_moved_on_the_transparent_port(void **state)
{
    struct fixture *fixture = *state;

    assert_int_equal(redis_service_listen(fixture->service, "", false, NULL), STATUS_OK);
    struct play_stream *s = connect_client(fixture);
    fixture->at_once = true;
    say(s, "GET c\r\nDBSIZE\r\n");
    turn(fixture);
    check_output(s, "$1\r\nc\r\n:10\r\n");
}

static void test_nobody_is_moved_to_a_new_leader_or_one_that_is_not_reached(void **state)
{
    struct fixture *fixture = *state;
    struct play_stream *s = connect_client(fixture);

    fixture->at_once = true;
    set_leader(fixture, 1, 0, 1); /* an election: whoever is elected is asked from here */
    say(s, "GET c\r\n");
    check_output(s, "$1\r\nc\r\n");
    set_leader(fixture, 1, THIRD, 2);
    say(s, "GET c\r\n");
    check_output(s, "$1\r\nc\r\n");
    pass_time(fixture, 1);
    say(s, "GET c\r\n");
    check_output(s, "-MOVED 7365 127.0.0.3:7379\r\n");
    third_is_gone = true;
    say(s, "GET c\r\n");
    check_output(s, "$1\r\nc\r\n");
}

static void test_keys_of_several_slots_are_served_from_here(void **state)
{
    struct fixture *fixture = *state;
    struct play_stream *s = connect_client(fixture);

    fixture->at_once = true;
    say(s, "MGET c foo\r\n");
    turn(fixture);
    check_output(s, "*2\r\n$1\r\nc\r\n$3\r\nfoo\r\n");
}

static void test_readonly_reads_are_asked_for_not_moved(void **state)
{
    struct fixture *fixture = *state;
    struct play_stream *s = connect_client(fixture);

    fixture->at_once = true;
    say(s, "READONLY\r\nGET c\r\nSET c v\r\nREADWRITE\r\nGET c\r\nASKING\r\n");
    check_output(s, "+OK\r\n$1\r\nc\r\n-MOVED 7365 127.0.0.2:7379\r\n+OK\r\n"
                    "-MOVED 7365 127.0.0.2:7379\r\n+OK\r\n");
    say(s, "READONLY\r\nRESET\r\nGET c\r\n");
    check_output(s, "+OK\r\n+RESET\r\n-MOVED 7365 127.0.0.2:7379\r\n");
    say(s, "HOLON.READS stale 500\r\nGET c\r\nSET c v\r\nHOLON.READS linearizable\r\nGET c\r\n");
    check_output(s, "+OK\r\n$1\r\nc\r\n-MOVED 7365 127.0.0.2:7379\r\n+OK\r\n"
                    "-MOVED 7365 127.0.0.2:7379\r\n");
}

static void test_who_listens_everywhere_is_known_by_another_address(void **state)
{
    struct fixture *fixture = *state;
    struct play_stream *s = connect_client(fixture);

    strcpy(fixture->view.nodes[0].redis_cluster, "0.0.0.0:17379");
    strcpy(fixture->view.nodes[1].redis_cluster, "[::]:17380");
    strcpy(fixture->view.nodes[2].redis_cluster, "three.example.org:17381");
    say(s, "GET c\r\nGET foo\r\n");
    check_output(s, "-MOVED 7365 10.0.0.2:17380\r\n-MOVED 12182 three.example.org:17381\r\n");
    say(s, "CLUSTER NODES\r\n");
    check_contains(s, " 127.0.0.1:17379@8379 myself,master"); /* where this client connected to */
    check_contains(s, " 10.0.0.2:17380@8379 master");
    check_contains(s, " three.example.org:17381@8379 master");
}

static void test_whole_database_is_what_is_led_here(void **state)
{
    struct fixture *fixture = *state;
    struct play_stream *s = connect_client(fixture);

    fixture->at_once = true;
    say(s, "DBSIZE\r\n");
    turn(fixture);
    check_output(s, ":5\r\n"); /* 1 + 4, of partitions 0 and 3 */
    say(s, "FLUSHALL\r\n");
    turn(fixture);
    check_output(s, "+OK\r\n");
    assert_int_equal(fixture->request_count, 4);
    set_leader(fixture, 1, 0, 1); /* has no leader that a client could ask: it is flushed, too */
    say(s, "FLUSHALL\r\nDBSIZE\r\n");
    turn(fixture);
    turn(fixture);
    check_output(s, "+OK\r\n:5\r\n");
    assert_int_equal(fixture->request_count, 4 + 3 + 2);
}

static void test_info_counts_the_keys_that_are_led_here(void **state)
{
    struct fixture *fixture = *state;
    struct play_stream *s = connect_client(fixture);

    fixture->at_once = true;
    say(s, "INFO keyspace\r\n");
    turn(fixture);
    check_contains(s, "db0:keys=2,expires=0");
}

static void test_scan_passes_over_the_partitions_of_others(void **state)
{
    struct fixture *fixture = *state;
    struct play_stream *s = connect_client(fixture);

    fixture->at_once = true;
    say(s, "KEYS *\r\n");
    for (int i = 0; i < 4; i++)
        turn(fixture);
    check_output(s, "*4\r\n$2\r\n0a\r\n$2\r\n0b\r\n$6\r\n12288a\r\n$6\r\n12288b\r\n");

    say(s, "SCAN 0\r\nSCAN 1\r\n");
    turn(fixture);
    check_output(s, "*2\r\n$1\r\n1\r\n*1\r\n$2\r\n0a\r\n"
                    "*2\r\n$19\r\n1152921504606846976\r\n*1\r\n$2\r\n0b\r\n"); /* slot 4096 */
    say(s, "SCAN 1152921504606846976\r\n");
    turn(fixture);
    check_output(s, "*2\r\n$19\r\n3458764513820540929\r\n*1\r\n$6\r\n12288a\r\n");
    /* One that was begun goes on, although somebody else leads it now. */
    set_leader(fixture, 3, OTHER, 2);
    say(s, "SCAN 3458764513820540929\r\n");
    turn(fixture);
    check_output(s, "*2\r\n$1\r\n0\r\n*1\r\n$6\r\n12288b\r\n");
    say(s, "SCAN 1152921504606846976\r\n");
    turn(fixture);
    check_output(s, "*2\r\n$1\r\n0\r\n*0\r\n");
    set_leader(fixture, 0, OTHER, 2);
    say(s, "SCAN 0\r\nDBSIZE\r\nRANDOMKEY\r\n");
    for (int i = 0; i < 4; i++)
        turn(fixture);
    check_output(s, "*2\r\n$1\r\n0\r\n*0\r\n:0\r\n$-1\r\n");
}

#define NODE_OF(n, c) "*4\r\n$9\r\n127.0.0." #n "\r\n:7379\r\n$40\r\n" c c c c c c c c "\r\n*0\r\n"
#define NODE_1 NODE_OF(1, "aaaaa")
#define NODE_2 NODE_OF(2, "bbbbb")
#define NODE_3 NODE_OF(3, "ccccc")

static void test_slots_are_always_covered(void **state)
{
    struct fixture *fixture = *state;
    struct play_stream *s = connect_client(fixture);
    static const char whole[] =
        "*4\r\n*3\r\n:0\r\n:4095\r\n" NODE_1 "*3\r\n:4096\r\n:8191\r\n" NODE_2
        "*3\r\n:8192\r\n:12287\r\n" NODE_3 "*3\r\n:12288\r\n:16383\r\n" NODE_1;

    say(s, "CLUSTER SLOTS\r\n");
    check_output(s, whole);
    set_leader(fixture, 2, 0, 1); /* still listed under who led it last */
    say(s, "CLUSTER SLOTS\r\n");
    check_output(s, whole);
    third_is_gone = true; /* under a replica that is there, and asks on */
    say(s, "CLUSTER SLOTS\r\n");
    check_output(s, "*3\r\n*3\r\n:0\r\n:4095\r\n" NODE_1 "*3\r\n:4096\r\n:8191\r\n" NODE_2
                    "*3\r\n:8192\r\n:16383\r\n" NODE_1);
}

static void test_nodes_and_shards(void **state)
{
    struct fixture *fixture = *state;
    struct play_stream *s = connect_client(fixture);
    struct play_stream *resp2 = connect_client(fixture);

    third_is_gone = true;
    say(s, "HELLO 3\r\nCLUSTER NODES\r\n");
    check_contains(s, "aaaaa 127.0.0.1:7379@8379 myself,master - 0 0 0 connected 0-4095 "
                      "12288-16383\n");
    check_contains(s, "bbbbb 127.0.0.2:7379@8379 master - 0 0 0 connected 4096-8191\n");
    check_contains(s, "ccccc 127.0.0.3:7379@8379 master,fail? - 0 0 0 disconnected 8192-12287\n");
    say(resp2, "CLUSTER SHARDS\r\n");
    check_contains(resp2, "*3\r\n*4\r\n$5\r\nslots\r\n*4\r\n:0\r\n:4095\r\n:12288\r\n:16383\r\n"
                          "$5\r\nnodes\r\n*1\r\n*14\r\n$2\r\nid\r\n$40\r\naaaaa");
    check_contains(resp2, "$4\r\nport\r\n:7379\r\n$2\r\nip\r\n$9\r\n127.0.0.3\r\n$8\r\nendpoint\r\n"
                          "$9\r\n127.0.0.3\r\n$4\r\nrole\r\n$6\r\nmaster\r\n"
                          "$18\r\nreplication-offset\r\n:0\r\n$6\r\nhealth\r\n$4\r\nfail\r\n");
}

static void test_info_links_and_ids(void **state)
{
    struct fixture *fixture = *state;
    struct play_stream *s = connect_client(fixture);

    say(s, "CLUSTER INFO\r\n");
    check_contains(s, "cluster_state:ok\r\ncluster_slots_assigned:16384\r\n"
                      "cluster_slots_ok:16384\r\ncluster_slots_pfail:0\r\n"
                      "cluster_slots_fail:0\r\ncluster_known_nodes:3\r\ncluster_size:3\r\n");
    buffer_clear(&s->head.output);
    set_leader(fixture, 2, 0, 1);
    say(s, "CLUSTER INFO\r\n");
    check_contains(s, "cluster_state:ok\r\ncluster_slots_assigned:16384\r\n"
                      "cluster_slots_ok:12288\r\ncluster_slots_pfail:4096\r\n");
    buffer_clear(&s->head.output);
    for (uint32_t i = 0; i < PARTITIONS; i++)
        set_leader(fixture, i, 0, 1);
    say(s, "CLUSTER INFO\r\n");
    check_contains(s, "cluster_state:fail\r\n");
    buffer_clear(&s->head.output);

    third_is_gone = true;
    say(s, "CLUSTER LINKS\r\n");
    check_output(s, "*1\r\n*12\r\n$9\r\ndirection\r\n$2\r\nto\r\n$4\r\nnode\r\n$40\r\n"
                    "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb\r\n$11\r\ncreate-time\r\n:0\r\n"
                    "$6\r\nevents\r\n$2\r\nrw\r\n$21\r\nsend-buffer-allocated\r\n:0\r\n"
                    "$16\r\nsend-buffer-used\r\n:0\r\n");
    say(s, "CLUSTER MYID\r\nCLUSTER KEYSLOT foo\r\nCLUSTER KEYSLOT {foo}x\r\n");
    check_output(s, "$40\r\naaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\r\n:12182\r\n:12182\r\n");
    say(s, "CLUSTER REPLICAS bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb\r\nCLUSTER SLAVES x\r\n"
           "CLUSTER COUNT-FAILURE-REPORTS bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb\r\n"
           "CLUSTER SAVECONFIG\r\n");
    check_output(s, "*0\r\n-ERR Unknown node x\r\n:0\r\n+OK\r\n");
}

static void test_changes_of_the_tables_are_refused_with_what_to_use(void **state)
{
    static const char *const words[] = {
        "addslots 1",         "ADDSLOTSRANGE 1 2", "bumpepoch",  "delslots 1",
        "delslotsrange 1 2",  "failover",          "flushslots", "forget x",
        "meet h 1",           "replicate x",       "reset",      "reset hard",
        "set-config-epoch 1", "setslot 1 stable"};
    struct fixture *fixture = *state;
    struct play_stream *s = connect_client(fixture);

    for (size_t i = 0; i < ARRAY_COUNT(words); i++) {
        char line[64];
        snprintf(line, sizeof(line), "CLUSTER %s\r\n", words[i]);
        say(s, line);
        check_contains(s, " does nothing here: ");
        assert_int_equal(buffer_bytes(&s->head.output).data[0], '-');
        buffer_clear(&s->head.output);
    }
    say(s, "CLUSTER RESET\r\n");
    check_contains(s, "see `holon help`; FLUSHALL removes all keys");
    buffer_clear(&s->head.output);
    say(s, "CLUSTER nonsense\r\n");
    check_output(s, "-ERR unknown subcommand 'nonsense'. Try CLUSTER HELP.\r\n");
}

static struct redis_body asked(struct fixture *fixture, struct arena *arena)
{
    return body_of(fixture, fixture->request_count - 1, arena);
}

static void test_keys_of_a_slot_are_asked_for_in_pages(void **state)
{
    struct fixture *fixture = *state;
    struct play_stream *s = connect_client(fixture);
    struct arena arena;

    arena_init(&arena, 1 << 16);
    say(s, "CLUSTER COUNTKEYSINSLOT 12182\r\nPING\r\n"); /* led elsewhere: asked for all the same */
    struct redis_body body = asked(fixture, &arena);
    assert_int_equal(body.command, REDIS_SLOTSCAN);
    assert_int_equal(fixture->requests[0]->slot, 12182);
    assert_true(bytes_equal(body.arguments[0], bytes_of("3428928166289211392")));
    assert_true(bytes_equal(body.arguments[1], bytes_of("0")));
    answer(fixture, 0, GATEWAY_REPLY, "*2\r\n$19\r\n3428928166289211397\r\n:10000\r\n");
    turn(fixture);
    check_output(s, "");
    body = asked(fixture, &arena);
    assert_int_equal(fixture->requests[1]->slot, 12182);
    assert_true(bytes_equal(body.arguments[0], bytes_of("3428928166289211397")));
    answer(fixture, 1, GATEWAY_REPLY, "*2\r\n$1\r\n0\r\n:7\r\n");
    turn(fixture);
    check_output(s, ":10007\r\n+PONG\r\n");

    say(s, "CLUSTER GETKEYSINSLOT 12182 3\r\n");
    body = asked(fixture, &arena);
    assert_true(bytes_equal(body.arguments[1], bytes_of("3")));
    answer(fixture, 2, GATEWAY_REPLY,
           "*2\r\n$19\r\n3428928166289211397\r\n*2\r\n$1\r\na\r\n$1\r\nb\r\n");
    turn(fixture);
    answer(fixture, 3, GATEWAY_REPLY, /* two of one hash: one is too many */
           "*2\r\n$19\r\n3428928166289211401\r\n*2\r\n$1\r\nc\r\n$1\r\nd\r\n");
    turn(fixture);
    check_output(s, "*3\r\n$1\r\na\r\n$1\r\nb\r\n$1\r\nc\r\n");

    say(s, "CLUSTER GETKEYSINSLOT 12182 0\r\nCLUSTER GETKEYSINSLOT 16384 1\r\n"
           "CLUSTER GETKEYSINSLOT 1 -1\r\nCLUSTER COUNTKEYSINSLOT -1\r\n"
           "CLUSTER COUNTKEYSINSLOT x\r\nCLUSTER COUNTKEYSINSLOT\r\n");
    turn(fixture);
    check_output(s, "*0\r\n-ERR Invalid slot or number of keys\r\n"
                    "-ERR Invalid slot or number of keys\r\n-ERR Invalid slot\r\n"
                    "-ERR value is not an integer or out of range\r\n"
                    "-ERR wrong number of arguments for 'cluster|countkeysinslot' command\r\n");
    say(s, "CLUSTER COUNTKEYSINSLOT 1\r\n");
    answer(fixture, 4, GATEWAY_UNAVAILABLE, "");
    turn(fixture);
    check_contains(s, "-UNAVAILABLE ");
    arena_free(&arena);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, make_cluster, drop)
    const struct CMUnitTest tests[] = {
        TEST(test_keys_of_others_are_moved),
        TEST(test_moved_keeps_its_place_in_a_pipeline),
        TEST(test_nobody_is_moved_on_the_transparent_port),
        TEST(test_nobody_is_moved_to_a_new_leader_or_one_that_is_not_reached),
        TEST(test_keys_of_several_slots_are_served_from_here),
        TEST(test_readonly_reads_are_asked_for_not_moved),
        TEST(test_who_listens_everywhere_is_known_by_another_address),
        TEST(test_whole_database_is_what_is_led_here),
        TEST(test_info_counts_the_keys_that_are_led_here),
        TEST(test_scan_passes_over_the_partitions_of_others),
        TEST(test_slots_are_always_covered),
        TEST(test_nodes_and_shards),
        TEST(test_info_links_and_ids),
        TEST(test_changes_of_the_tables_are_refused_with_what_to_use),
        TEST(test_keys_of_a_slot_are_asked_for_in_pages),
    };
#undef TEST
    return cmocka_run_group_tests(tests, NULL, NULL);
}
