/* A start that may be of an older image (F11, node_confirm.c): whom it hears before all are heard,
 * and what tables tell of it while it speaks already. */
#include "cluster/view_codec.h"
#include "node_bed.h"
#include "wire/request_frame.h"

static int setup(void **state)
{
    return bed_open(3, 4);
}

/* Of a version in which nothing goes around a cut link (decision 0013). */
static int setup_without_relay(void **state)
{
    struct sim_cluster_options options;

    sim_cluster_options_default(&options);
    options.nodes = options.replicas = 3;
    options.partitions = 4;
    options.workers = options.stores = 2;
    options.supports = VIEW_VERSION_RELAY - 1;
    bed_make(&options);
    sim_run_for(&bed->sim, 1 * SECOND);
    return 0;
}

/* --- who is not heard yet is not served -------------------------------------------------- */

static bool led_by(const struct node *node, uint32_t group)
{
    const struct raft *raft = host_raft(node->workers[0].host, (struct group_id){group});

    return raft != NULL && raft_role(raft) == RAFT_LEADER;
}

/* For a term that never was: whoever hears it answers with a NACK. */
static void send_request(void *context)
{
    struct node *from = context;
    struct buffer frame;
    struct request_section section = {
        .group = {GROUP_META}, .route = 1, .patience_ms = 1000, .count = 1};
    struct request_item item = {.seq = 1, .service = SERVICE_REDIS};
    node_id_t leader = from->workers[0].view.groups[GROUP_META].leader;

    section.term = raft_term(host_raft(from->workers[0].host, section.group)) + 1;
    buffer_init(&frame, 4096);
    struct writer writer = writer_make(&frame);
    request_section_encode(&writer, &section);
    request_item_encode(&writer, &item);
    assert_false(writer.failed);
    transport_send(from->workers[0].transport, leader, 0, PEER_FRAME_REQUESTS,
                   buffer_bytes(&frame));
    buffer_free(&frame);
}

static void test_no_request_is_taken_of_a_node_that_is_not_heard_yet(void **state)
{
    node_id_t leader = bed_node(1)->workers[0].view.groups[GROUP_META].leader;
    node_id_t other = leader % 3 + 1;
    struct node_worker *worker = &bed_node(leader)->workers[0];

    assert_true(led_by(bed_node(leader), GROUP_META));
    bed_watch(bed_node(leader), PEER_FRAME_REPLIES);
    worker->hears_all = false;
    worker->heard = 0;
    bed_call(bed_node(other), send_request, bed_node(other));
    sim_run_for(&bed->sim, 20 * MS);
    assert_false(bed_sent_to(other));

    worker->heard = UINT64_C(1) << (other - 1);
    bed_call(bed_node(other), send_request, bed_node(other));
    sim_run_for(&bed->sim, 20 * MS);
    assert_true(bed_sent_to(other));
    worker->hears_all = true;
}

/* --- an epoch that this disk cannot know of ---------------------------------------------- */

struct table_of { /* given to `to` as one that `from` knows */
    struct node *to;
    node_id_t from;
    boot_epoch_t epoch;
};

static void give_table(void *context)
{
    const struct table_of *table = context;
    struct node *node = table->to;
    struct cluster_view view;
    struct buffer buffer;

    cluster_view_init(&view);
    cluster_view_assign(&view, &node->workers[0].view);
    for (uint32_t i = 0; i < view.node_count; i++)
        if (view.nodes[i].id == node->identity.node) view.nodes[i].epoch = table->epoch;
    buffer_init(&buffer, VIEW_SIZE_MAX);
    cluster_view_encode(&view, &buffer);
    node_on_table(node, table->from, buffer_bytes(&buffer));
    buffer_free(&buffer);
    cluster_view_free(&view);
}

/* The victim was killed once while it was mute, so that there is an epoch between the last that it
 * spoke under and that of its start. Now it speaks with one partner that leads nothing of meta: its
 * epoch is not registered, unless meta's leader is reached through the partner. Returns the third
 * node. */
static node_id_t start_beside_one(node_id_t victim)
{
    struct sim_node *node = &bed->cluster->nodes[victim];
    struct sim_network *network = bed->cluster->network;

    sim_node_kill(node);
    sim_run_for(&bed->sim, 2 * SECOND);
    node_id_t others[2] = {victim % 3 + 1, (victim + 1) % 3 + 1};
    node_id_t leader = led_by(bed_node(others[0]), GROUP_META) ? others[0] : others[1];
    node_id_t partner = others[0] + others[1] - leader;
    assert_true(led_by(bed_node(leader), GROUP_META));
    sim_network_split(network, 1u << victim, false);
    sim_node_start(node);
    sim_run_for(&bed->sim, 300 * MS);
    sim_node_kill(node);
    sim_network_heal(network, partner, victim);
    sim_network_heal(network, victim, partner);
    sim_node_start(node);
    for (int i = 0; i < 400 && !node->now->node->confirmed; i++)
        sim_run_for(&bed->sim, 5 * MS);
    assert_true(node->now->node->confirmed);
    return leader;
}

static void check_table(bool between)
{
    node_id_t victim = 1;
    node_id_t leader = start_beside_one(victim);
    struct table_of table = {.from = leader, .to = bed_node(victim)};
    struct sim_incarnation *start = bed->cluster->nodes[victim].now;

    assert_false(table.to->booted);
    assert_true(table.to->epoch > table.to->epoch_before + 1);
    table.epoch = between ? table.to->epoch_before + 1 : table.to->epoch_before;
    bed->cluster->failures_expected = between;
    bed_call(table.to, give_table, &table);
    sim_run_for(&bed->sim, 500 * MS);
    assert_int_equal(start->stopped, between);
    if (!between) return;
    assert_int_equal(start->error.status, STATUS_REFUSED);
    assert_non_null(strstr(start->error.text, "restored from an older image"));
    assert_null(strstr(start->error.text, "It took part in nothing")); /* it spoke */
}

/* No honest disk spoke under an epoch between its last one and that of this start. */
static void test_a_table_with_an_epoch_in_between_ends_a_start_that_speaks(void **state)
{
    check_table(true);
}

static void test_a_table_with_the_last_epoch_does_not_end_it(void **state)
{
    check_table(false);
}

/* With a relay it is registered, by the one node that it hears. */
static void test_a_start_that_does_not_hear_metas_leader_is_registered(void **state)
{
    node_id_t leader = start_beside_one(1);

    sim_run_for(&bed->sim, SECOND);
    assert_true(bed_node(1)->booted);
    assert_true(led_by(bed_node(leader), GROUP_META));
    assert_true(sim_network_is_cut(bed->cluster->network, leader, 1));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, bed_close)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_no_request_is_taken_of_a_node_that_is_not_heard_yet),
        TEST(test_a_start_that_does_not_hear_metas_leader_is_registered),
        cmocka_unit_test_setup_teardown(
            test_a_table_with_an_epoch_in_between_ends_a_start_that_speaks, setup_without_relay,
            bed_close),
        cmocka_unit_test_setup_teardown(test_a_table_with_the_last_epoch_does_not_end_it,
                                        setup_without_relay, bed_close),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
