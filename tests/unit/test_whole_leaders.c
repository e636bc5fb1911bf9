/* Who leads what: newer terms win, every worker hears of it, and who holds no replica is told. */
#include "node_bed.h"

enum { NODES = 5, PARTITIONS = 6, GROUPS = GROUP_DATA_FIRST + PARTITIONS, LATER = 1000 };

static int setup(void **state)
{
    return bed_open(NODES, PARTITIONS);
}

struct told { /* a frame of leaders that comes to `node` */
    struct node *node;
    node_id_t from;
    uint64_t count; /* as it says */
    uint32_t used;
    uint64_t groups[4], terms[4];
};

static void take_leaders(void *context)
{
    const struct told *told = context;
    struct buffer buffer;
    struct transport_peer peer = {.node = told->from};

    buffer_init(&buffer, 1 << 10);
    struct writer writer = writer_make(&buffer);
    write_u8(&writer, STATUS_LEADERS);
    write_varint(&writer, told->count);
    for (uint32_t i = 0; i < told->used; i++) {
        write_varint(&writer, told->groups[i]);
        write_varint(&writer, told->terms[i]);
    }
    node_on_status_frame(told->node, &peer, buffer_bytes(&buffer));
    buffer_free(&buffer);
}

static void tell(const struct told *told)
{
    struct told copy = *told;

    bed_call(told->node, take_leaders, &copy);
    sim_run_for(&bed->sim, 5 * MS); /* to the other workers */
}

static void tell_one(node_id_t to, node_id_t from, uint32_t group, uint64_t term)
{
    tell(&(struct told){.node = bed_node(to),
                        .from = from,
                        .count = 1,
                        .used = 1,
                        .groups = {group},
                        .terms = {term}});
}

static bool all_workers_know(node_id_t node, uint32_t group, node_id_t leader, uint64_t term)
{
    for (uint32_t i = 0; i < bed->cluster->options.workers; i++) {
        const struct view_group *at = &bed_node(node)->workers[i].view.groups[group];
        if (at->leader != leader || at->leader_term != term) return false;
    }
    return true;
}

static bool holds(const struct cluster_view *view, uint32_t group, node_id_t node)
{
    const struct view_group *at = &view->groups[group];

    for (uint32_t k = 0; k < at->replica_count; k++)
        if (at->replicas[k].node == node) return true;
    return false;
}

/* A data group that `node` holds a replica of, or does not. */
static uint32_t group_of(node_id_t node, bool held)
{
    for (uint32_t g = GROUP_DATA_FIRST; g < GROUPS; g++)
        if (holds(&bed_node(node)->workers[0].view, g, node) == held) return g;
    fail_msg("node %u holds a replica of each group, or of none", node);
    return 0;
}

/* --- what is taken --------------------------------------------------------------------- */

static void test_a_newer_term_is_taken_by_all_workers(void **state)
{
    uint32_t group = group_of(1, false);

    tell_one(1, 4, group, LATER);
    assert_true(all_workers_know(1, group, 4, LATER));
    tell_one(1, 5, group, LATER + 1);
    assert_true(all_workers_know(1, group, 5, LATER + 1));
}

static void test_an_older_term_replaces_nothing(void **state)
{
    uint32_t group = group_of(1, false);

    tell_one(1, 4, group, LATER);
    tell_one(1, 5, group, LATER - 1);
    assert_true(all_workers_know(1, group, 4, LATER));
}

static void test_what_makes_no_sense_ends_a_frame_or_is_dropped(void **state)
{
    uint32_t group = group_of(1, false), other = group == GROUPS - 1 ? GROUPS - 2 : GROUPS - 1;
    struct told told = {.node = bed_node(1), .from = 4, .count = 3, .used = 3};
    struct view_group before = bed_node(1)->workers[0].view.groups[other];

    memcpy(told.groups, (uint64_t[]){group, GROUPS, other}, 3 * sizeof(uint64_t));
    memcpy(told.terms, (uint64_t[]){LATER, LATER, LATER}, 3 * sizeof(uint64_t));
    tell(&told); /* the second is no group */
    assert_true(all_workers_know(1, group, 4, LATER));
    assert_true(all_workers_know(1, other, before.leader, before.leader_term));

    told.groups[0] = other;
    told.used = 1; /* two are missing */
    tell(&told);
    assert_true(all_workers_know(1, other, 4, LATER));

    told.groups[0] = group;
    told.terms[0] = LATER + 1;
    told.count = PARTITIONS_MAX + GROUP_DATA_FIRST + 1; /* more than there can be */
    tell(&told);
    assert_true(all_workers_know(1, group, 4, LATER));
}

/* --- who is told ----------------------------------------------------------------------- */

struct news {
    struct node_worker *worker;
    struct group_id group;
    node_id_t leader;
};

static void learn(void *context)
{
    const struct news *news = context;

    worker_on_leader(news->worker, news->group, news->leader, LATER);
}

/* Worker 0 of the node learns that `leader` leads the group. */
static void learns(struct node *node, uint32_t group, node_id_t leader)
{
    struct news news = {&node->workers[0], {group}, leader};

    bed_call(node, learn, &news);
    sim_run_for(&bed->sim, 5 * MS);
}

/* Of the frames sent, those of leaders that name the group. */
static bool told_of(node_id_t to, uint32_t group)
{
    for (uint32_t i = 0; i < bed->sent_count; i++) {
        struct reader reader = reader_make(bytes_make(bed->sent[i].bytes, bed->sent[i].size));
        if (bed->sent[i].to != to || read_u8(&reader) != STATUS_LEADERS) continue;
        for (uint64_t k = read_varint(&reader); k > 0 && !reader.failed; k--) {
            uint64_t named = read_varint(&reader);
            read_varint(&reader);
            if (named == group) return true;
        }
    }
    return false;
}

static void test_a_leader_tells_those_that_hold_no_replica(void **state)
{
    uint32_t group = group_of(1, true);
    struct node *node = bed_node(1);

    bed_watch(node, PEER_FRAME_STATUS);
    learns(node, group, 1);
    assert_true(all_workers_know(1, group, 1, LATER));
    for (node_id_t to = 2; to <= NODES; to++)
        assert_int_equal(told_of(to, group), !holds(&node->workers[0].view, group, to));
}

static void test_who_leads_elsewhere_is_not_told_on(void **state)
{
    uint32_t group = group_of(1, true);
    struct node *node = bed_node(1);

    bed_watch(node, PEER_FRAME_STATUS);
    learns(node, group, 2);
    assert_true(all_workers_know(1, group, 2, LATER));
    assert_int_equal(bed->sent_count, 0);
}

/* --- what was forgotten ---------------------------------------------------------------- */

static void ask_leaders(void *context)
{
    node_ask_leaders(context);
}

static void forget_leaders(struct node *node)
{
    for (uint32_t i = 0; i < bed->cluster->options.workers; i++)
        for (uint32_t g = GROUP_DATA_FIRST; g < GROUPS; g++)
            node->workers[i].view.groups[g].leader = 0;
}

/* From its own replicas, and from the leaders of groups that it holds none of. */
static void test_leaders_that_were_forgotten_are_asked_for(void **state)
{
    struct node *node = bed_node(1);
    node_id_t leaders[GROUPS];

    for (uint32_t g = GROUP_DATA_FIRST; g < GROUPS; g++)
        leaders[g] = node->workers[0].view.groups[g].leader;
    forget_leaders(node);
    bed_call(node, ask_leaders, node);
    sim_run_for(&bed->sim, 50 * MS);
    for (uint32_t g = GROUP_DATA_FIRST; g < GROUPS; g++) {
        assert_int_not_equal(leaders[g], 0);
        for (uint32_t i = 0; i < bed->cluster->options.workers; i++)
            assert_int_equal(node->workers[i].view.groups[g].leader, leaders[g]);
    }
}

static void test_a_replica_knows_its_leader_though_nobody_answers(void **state)
{
    struct node *node = bed_node(1);

    for (node_id_t other = 2; other <= NODES; other++)
        sim_network_cut(bed->cluster->network, other, 1, false);
    forget_leaders(node);
    bed_call(node, ask_leaders, node);
    sim_run_for(&bed->sim, 50 * MS);
    for (uint32_t g = GROUP_DATA_FIRST; g < GROUPS; g++)
        assert_int_equal(node->workers[0].view.groups[g].leader != 0,
                         holds(&node->workers[0].view, g, 1));
    sim_network_heal_all(bed->cluster->network);
    sim_run_for(&bed->sim, 2 * SECOND);
}

static void take_ask(void *context)
{
    const uint8_t kind = STATUS_ASK_LEADERS;
    struct transport_peer peer = {.node = 2};

    node_on_status_frame(context, &peer, bytes_make(&kind, 1));
}

/* Who asks may have lost the replica that would know. */
static void test_who_asks_is_told_of_groups_that_it_holds_as_well(void **state)
{
    struct node *node = NULL;
    uint32_t group = 0;

    for (uint32_t g = GROUP_DATA_FIRST; g < GROUPS && node == NULL; g++) {
        node_id_t leader = bed_node(2)->workers[0].view.groups[g].leader;
        bool fits = leader != 2 && holds(&bed_node(2)->workers[0].view, g, 2) &&
                    host_leads(bed_node(leader)->workers[0].host, (struct group_id){g}) != 0;
        if (!fits) continue; /* worker 0 is watched */
        node = bed_node(leader);
        group = g;
    }
    assert_non_null(node);
    bed_watch(node, PEER_FRAME_STATUS);
    bed_call(node, take_ask, node);
    sim_run_for(&bed->sim, 5 * MS);
    assert_true(told_of(2, group));
    assert_false(bed_sent_to(3));
}

/* --- across a cut link --- */

/* Without a client: nothing but that it does not know makes a node ask. */
static void test_leaders_at_the_other_end_of_a_cut_link_are_known(void **state)
{
    struct sim_network *network = bed->cluster->network;
    node_id_t leader = bed_node(1)->workers[0].view.groups[GROUP_DATA_FIRST].leader;
    char why[128];

    for (node_id_t other = 1; other <= NODES; other++) {
        if (other == leader) continue;
        sim_network_cut(network, leader, other, false);
        sim_network_cut(network, other, leader, false);
        sim_run_for(&bed->sim, 20 * SECOND); /* longer than any connection lasts */
        assert_true(node_can_serve_all(bed_node(leader), why, sizeof(why)));
        assert_true(node_can_serve_all(bed_node(other), why, sizeof(why)));
        assert_int_equal(bed_node(other)->workers[1].view.groups[GROUP_DATA_FIRST].leader, leader);
        sim_network_heal(network, leader, other);
        sim_network_heal(network, other, leader);
        sim_run_for(&bed->sim, 2 * SECOND);
    }
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, bed_close)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_a_newer_term_is_taken_by_all_workers),
        TEST(test_an_older_term_replaces_nothing),
        TEST(test_what_makes_no_sense_ends_a_frame_or_is_dropped),
        TEST(test_a_leader_tells_those_that_hold_no_replica),
        TEST(test_who_leads_elsewhere_is_not_told_on),
        TEST(test_leaders_that_were_forgotten_are_asked_for),
        TEST(test_a_replica_knows_its_leader_though_nobody_answers),
        TEST(test_who_asks_is_told_of_groups_that_it_holds_as_well),
        TEST(test_leaders_at_the_other_end_of_a_cut_link_are_known),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
