/* From the table to what it should be, a few wishes at a time: cluster/mover.h. */
#include <stdio.h>

#include "base/memory.h"
#include "base/random.h"
#include "cluster/mover.h"
#include "cluster/view_codec.h"
#include "unit.h"

enum { STEPS_MAX = 2000 };

struct bed {
    struct cluster_view view;
    struct mover_silence silence[NODES_MAX];
    struct mover_plan plan;
    uint32_t steps, copied, moving_most;
};

static void add_node(struct bed *bed, const char *labels)
{
    struct view_node *node = &bed->view.nodes[bed->view.node_count++];

    *node = (struct view_node){.id = bed->view.node_count, .store = 100 + bed->view.node_count};
    snprintf(node->name, sizeof(node->name), "n%u", node->id);
    snprintf(node->labels, sizeof(node->labels), "%s", labels);
}

static void bed_make(struct bed *bed, uint32_t nodes, uint32_t partitions, uint32_t replicas)
{
    memset(bed, 0, sizeof(*bed));
    bed->view.partition_count = partitions;
    bed->view.replicas = replicas;
    bed->view.cluster_version = VIEW_VERSION;
    for (uint32_t n = 0; n < nodes; n++)
        add_node(bed, "");
    view_settings_more_none(&bed->view);
    cluster_view_place(&bed->view);
    for (uint32_t g = 0; g < bed->view.group_count; g++)
        if (g != GROUP_COORD) bed->view.groups[g].leader = bed->view.groups[g].replicas[0].node;
}

static bool holds(const struct view_group *group, node_id_t node)
{
    for (uint32_t k = 0; k < group->replica_count; k++)
        if (group->replicas[k].node == node) return true;
    return false;
}

/* As meta does it. */
static void take_move(struct bed *bed, const struct mover_move *move)
{
    struct view_group *group = &bed->view.groups[move->group];
    struct view_group old = *group;

    assert_true(move->count > 0);
    group->replica_count = move->count;
    for (uint32_t k = 0; k < move->count; k++) {
        const struct view_node *node = cluster_view_node(&bed->view, move->to[k]);
        assert_non_null(node);
        group->replicas[k].node = move->to[k];
        if (holds(&old, move->to[k])) continue;
        assert_int_equal(node->state, VIEW_NODE_STAYS);
        assert_false(bed->silence[node - bed->view.nodes].silent);
        bed->copied++;
        group->moving = true;
    }
    group->moving |= old.replica_count != move->count;
}

static void plan(struct bed *bed)
{
    mover_plan(&bed->view, bed->silence, &bed->plan);
}

/* Until nothing is left to do; groups settle one by one, at random. */
static void run(struct bed *bed, uint64_t seed)
{
    struct random random;

    random_seed(&random, seed);
    bed->steps = bed->copied = bed->moving_most = 0;
    for (plan(bed); bed->plan.count + bed->plan.left > 0; plan(bed)) {
        uint32_t moving = 0;
        assert_true(bed->steps++ < STEPS_MAX);
        for (uint32_t i = 0; i < bed->plan.count; i++)
            take_move(bed, &bed->plan.moves[i]);
        for (uint32_t g = 0; g < bed->view.group_count; g++)
            moving += bed->view.groups[g].moving;
        if (moving > bed->moving_most) bed->moving_most = moving;
        for (uint32_t g = 0; g < bed->view.group_count; g++)
            if (random_below(&random, 3) == 0) bed->view.groups[g].moving = false;
    }
}

static uint32_t load(const struct bed *bed, node_id_t node)
{
    uint32_t count = 0;

    for (uint32_t g = GROUP_DATA_FIRST; g < bed->view.group_count; g++)
        count += holds(&bed->view.groups[g], node);
    return count;
}

static uint32_t leads(const struct bed *bed, node_id_t node)
{
    uint32_t count = 0;

    for (uint32_t g = GROUP_DATA_FIRST; g < bed->view.group_count; g++)
        count += bed->view.groups[g].replicas[0].node == node;
    return count;
}

/* Of the nodes that stay: replicas and leaderships within one of each other. */
static void check_even(const struct bed *bed)
{
    uint32_t least = UINT32_MAX, most = 0, least_leads = UINT32_MAX, most_leads = 0;

    for (uint32_t n = 0; n < bed->view.node_count; n++) {
        const struct view_node *node = &bed->view.nodes[n];
        uint32_t replicas = load(bed, node->id), led = leads(bed, node->id);
        if (node->state == VIEW_NODE_LEAVES || bed->silence[n].lost) {
            assert_int_equal(replicas, 0);
            continue;
        }
        least = replicas < least ? replicas : least;
        most = replicas > most ? replicas : most;
        least_leads = led < least_leads ? led : least_leads;
        most_leads = led > most_leads ? led : most_leads;
    }
    assert_true(most - least <= 1);
    assert_true(most_leads - least_leads <= 1);
}

static void test_a_table_of_a_founding_is_left_as_it_is(void **state)
{
    static const uint32_t nodes[] = {1, 2, 3, 4};
    struct bed bed;

    (void)state;
    for (size_t i = 0; i < sizeof(nodes) / sizeof(*nodes); i++) {
        bed_make(&bed, nodes[i], 256, 3);
        plan(&bed);
        assert_int_equal(bed.plan.count, 0);
        assert_int_equal(bed.plan.left, 0);
        cluster_view_free(&bed.view);
    }
}

/* Replicas are made until there are as many as wished for; then data spreads, and no more of it
 * moves than what the new node gets. */
static void test_a_cluster_grows_from_one_node_to_nine(void **state)
{
    struct bed bed;

    (void)state;
    bed_make(&bed, 1, 256, 3);
    for (uint32_t nodes = 2; nodes <= 9; nodes++) {
        add_node(&bed, "");
        run(&bed, nodes);
        check_even(&bed);
        uint32_t copies = nodes < 3 ? nodes : 3;
        for (uint32_t g = GROUP_DATA_FIRST; g < bed.view.group_count; g++)
            assert_int_equal(bed.view.groups[g].replica_count, copies);
        assert_int_equal(bed.view.groups[GROUP_META].replica_count, balance_meta_replicas(nodes));
        assert_true(bed.moving_most <= MOVER_GROUPS_PER_NODE * nodes);
        uint32_t meta = nodes <= 3 || nodes == 5 ? 2 : 0;
        if (nodes <= 3) assert_true(bed.copied <= 256 + meta);
        /* 1.2 / (N + 1) of all replicas, where N + 1 = nodes */
        if (nodes > 3) assert_true(bed.copied * 10 * nodes <= 12 * 3 * 256 + 10 * nodes * meta);
    }
    cluster_view_free(&bed.view);
}

static void test_a_cluster_shrinks_to_one_node(void **state)
{
    struct bed bed;

    (void)state;
    bed_make(&bed, 5, 64, 3);
    run(&bed, 1);
    for (uint32_t left = 4; left >= 1; left--) {
        bed.view.nodes[left].state = VIEW_NODE_LEAVES;
        run(&bed, left);
        check_even(&bed);
        assert_int_equal(bed.view.groups[GROUP_META].replica_count, balance_meta_replicas(left));
        assert_false(holds(&bed.view.groups[GROUP_META], left + 1));
        bed.view.node_count = left; /* removed */
        run(&bed, left);
        assert_int_equal(bed.copied, 0);
    }
    bed.view.nodes[0].state = VIEW_NODE_LEAVES; /* meta refuses that; nothing must come of it */
    plan(&bed);
    assert_int_equal(bed.plan.count, 0);
    cluster_view_free(&bed.view);
}

static void test_a_silent_node_keeps_what_it_has_until_it_is_lost(void **state)
{
    struct bed bed;

    (void)state;
    bed_make(&bed, 5, 64, 3);
    run(&bed, 1);
    bed.silence[2].silent = true;
    uint32_t held = load(&bed, 3);
    plan(&bed);
    assert_int_equal(bed.plan.left, 0);
    assert_int_equal(bed.plan.count, 0); /* nor does anybody else become the one who should lead */
    add_node(&bed, "");                  /* others go on meanwhile */
    run(&bed, 2);
    assert_true(load(&bed, 3) <= held);

    bed.silence[2].lost = true;
    plan(&bed);
    for (uint32_t i = 0; i < bed.plan.count; i++) { /* copies of what is lost before all others */
        const struct view_group *group = &bed.view.groups[bed.plan.moves[i].group];
        bool copies = false;
        for (uint32_t k = 0; k < bed.plan.moves[i].count; k++)
            copies |= !holds(group, bed.plan.moves[i].to[k]);
        if (copies) assert_true(holds(group, 3));
    }
    run(&bed, 3);
    check_even(&bed);
    cluster_view_free(&bed.view);
}

/* With as many nodes as replicas a lost one has nowhere to go, and stays in the table. */
static void test_what_has_no_place_stays(void **state)
{
    struct bed bed;

    (void)state;
    bed_make(&bed, 3, 16, 3);
    bed.silence[1] = (struct mover_silence){.silent = true, .lost = true};
    plan(&bed);
    for (uint32_t i = 0; i < bed.plan.count; i++) /* leadership only */
        take_move(&bed, &bed.plan.moves[i]);
    assert_int_equal(bed.copied, 0);
    assert_int_equal(load(&bed, 2), 16);
    cluster_view_free(&bed.view);
}

static void test_zones_hold_one_replica_each(void **state)
{
    struct bed bed;

    (void)state;
    bed_make(&bed, 1, 64, 3);
    snprintf(bed.view.nodes[0].labels, LABELS_SIZE_MAX, "zone=a");
    add_node(&bed, "zone=a");
    add_node(&bed, "rack=1,zone=b");
    add_node(&bed, "rack=2,zone=b");
    add_node(&bed, "rack=1,zone=c");
    add_node(&bed, "zone=c");
    run(&bed, 1);
    check_even(&bed);
    for (uint32_t g = GROUP_DATA_FIRST; g < bed.view.group_count; g++) {
        const struct view_group *group = &bed.view.groups[g];
        assert_int_equal(holds(group, 1) + holds(group, 2), 1);
        assert_int_equal(holds(group, 3) + holds(group, 4), 1);
        assert_int_equal(holds(group, 5) + holds(group, 6), 1);
    }
    cluster_view_free(&bed.view);
}

static void test_labels_say_who_leads_and_holds_more(void **state)
{
    struct bed bed;

    (void)state;
    bed_make(&bed, 3, 60, 3);
    snprintf(bed.view.nodes[0].labels, LABELS_SIZE_MAX, "leaders=9"); /* far from the clients */
    run(&bed, 1);
    assert_int_equal(leads(&bed, 1), 0);
    assert_in_range(leads(&bed, 2), 29, 31);
    add_node(&bed, "weight=200");
    run(&bed, 2);
    assert_true(load(&bed, 4) == 60); /* not more than one of each group */
    cluster_view_free(&bed.view);
}

static void test_a_group_on_its_way_is_left_alone_but_for_need(void **state)
{
    struct bed bed;

    (void)state;
    bed_make(&bed, 3, 16, 3);
    add_node(&bed, "");
    plan(&bed);
    uint32_t room = MOVER_GROUPS_PER_NODE * 4, to_new = 0;
    for (uint32_t i = 0; i < bed.plan.count; i++)
        for (uint32_t k = 0; k < bed.plan.moves[i].count; k++)
            to_new += bed.plan.moves[i].to[k] == 4;
    assert_int_equal(to_new, room); /* of 12 that will come, and meta may lead elsewhere */
    for (uint32_t i = 0; i < bed.plan.count; i++)
        take_move(&bed, &bed.plan.moves[i]);
    plan(&bed);
    assert_int_equal(bed.plan.count, 0);
    assert_true(bed.plan.left >= room);
    bed.view.nodes[3].state = VIEW_NODE_LEAVES; /* changed their minds */
    plan(&bed);
    assert_in_range(bed.plan.count, room, room + 1);
    for (uint32_t i = 0; i < bed.plan.count; i++)
        for (uint32_t k = 0; k < bed.plan.moves[i].count; k++)
            assert_int_not_equal(bed.plan.moves[i].to[k], 4);
    cluster_view_free(&bed.view);
}

static bool is_on(const struct view_group *group, node_id_t node)
{
    for (uint32_t k = 0; k < group->replica_count; k++)
        if (group->replicas[k].node == node) return true;
    return false;
}

/* Nobody fulfils a wish for those: they would fill all places on the way. */
static void test_groups_without_a_leader_do_not_hold_up_others(void **state)
{
    struct bed bed;
    uint32_t planned = 0, leaderless = 0;

    (void)state;
    bed_make(&bed, 6, 256, 3);
    bed.silence[4] = bed.silence[5] = (struct mover_silence){.silent = true, .lost = true};
    for (uint32_t g = GROUP_DATA_FIRST; g < bed.view.group_count; g++) {
        struct view_group *group = &bed.view.groups[g];
        if (!is_on(group, 5) || !is_on(group, 6)) continue;
        group->leader = 0;
        group->moving = true;
        leaderless++;
    }
    assert_true(leaderless > MOVER_GROUPS_PER_NODE * 6);
    plan(&bed);
    for (uint32_t i = 0; i < bed.plan.count; i++) {
        assert_int_not_equal(bed.view.groups[bed.plan.moves[i].group].leader, 0);
        planned += bed.plan.moves[i].group >= GROUP_DATA_FIRST;
    }
    assert_true(planned >= 5);
    assert_true(bed.plan.leaderless >= leaderless);
    cluster_view_free(&bed.view);
}

/* One that this node does not hear may lead it: the link between them is cut, no more. */
static void test_a_group_may_be_led_by_who_is_not_heard(void **state)
{
    struct bed bed;

    (void)state;
    bed_make(&bed, 4, 16, 3);
    bed.silence[3] = (struct mover_silence){.silent = true, .lost = true};
    uint32_t on_lost = 0, planned = 0;
    for (uint32_t g = GROUP_DATA_FIRST; g < bed.view.group_count; g++) {
        if (!is_on(&bed.view.groups[g], 4)) continue;
        bed.view.groups[g].leader = 0;
        on_lost++;
    }
    plan(&bed);
    for (uint32_t i = 0; i < bed.plan.count; i++)
        planned += is_on(&bed.view.groups[bed.plan.moves[i].group], 4) &&
                   bed.plan.moves[i].group >= GROUP_DATA_FIRST;
    assert_in_range(planned, 1, on_lost);
    cluster_view_free(&bed.view);
}

static void test_many_that_are_lost_at_once_are_behind_a_cut(void **state)
{
    struct bed bed;

    (void)state;
    bed_make(&bed, 7, 16, 3);
    for (uint32_t n = 0; n < 2; n++)
        bed.silence[n] = (struct mover_silence){.silent = true, .lost = true};
    plan(&bed);
    assert_true(bed.plan.count > 0); /* two machines may die */
    bed.silence[2] = bed.silence[0];
    plan(&bed);
    assert_int_equal(bed.plan.count, 0);
    bed.view.nodes[0].state = VIEW_NODE_LEAVES; /* an operator knows better */
    plan(&bed);
    assert_true(bed.plan.count > 0);
    cluster_view_free(&bed.view);
}

/* Meta goes from five to three, and one of the five is dead: it is not among the three. */
static void test_fewer_replicas_are_those_of_nodes_that_are_there(void **state)
{
    struct bed bed;

    (void)state;
    for (uint32_t dead = 0; dead < 5; dead++) {
        bed_make(&bed, 5, 16, 3);
        bed.silence[dead] = (struct mover_silence){.silent = true};
        bed.view.nodes[(dead + 1) % 5].state = VIEW_NODE_LEAVES;
        plan(&bed);
        const struct mover_move *move = NULL;
        for (uint32_t i = 0; i < bed.plan.count; i++)
            if (bed.plan.moves[i].group == GROUP_META) move = &bed.plan.moves[i];
        assert_non_null(move);
        assert_int_equal(move->count, 3);
        for (uint32_t k = 0; k < move->count; k++)
            assert_int_not_equal(move->to[k], bed.view.nodes[dead].id);
        cluster_view_free(&bed.view);
    }
}

/* The wish under way is fulfilled first: a copy that comes back beside the one that goes would need
 * a place that it has not got yet (reconcile.c, make_room). */
static void test_a_change_of_mind_waits_for_the_move_under_way(void **state)
{
    struct bed bed;

    (void)state;
    bed_make(&bed, 2, 4, 2);
    bed.view.nodes[1].state = VIEW_NODE_LEAVES;
    plan(&bed);
    assert_true(bed.plan.count > 0);
    for (uint32_t i = 0; i < bed.plan.count; i++)
        take_move(&bed, &bed.plan.moves[i]);
    bed.view.nodes[1].state = VIEW_NODE_STAYS;
    plan(&bed);
    for (uint32_t i = 0; i < bed.plan.count; i++)
        assert_false(bed.view.groups[bed.plan.moves[i].group].moving);
    run(&bed, 1);
    assert_int_equal(load(&bed, 2), 4);
    cluster_view_free(&bed.view);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_table_of_a_founding_is_left_as_it_is),
        cmocka_unit_test(test_a_cluster_grows_from_one_node_to_nine),
        cmocka_unit_test(test_a_cluster_shrinks_to_one_node),
        cmocka_unit_test(test_a_silent_node_keeps_what_it_has_until_it_is_lost),
        cmocka_unit_test(test_what_has_no_place_stays),
        cmocka_unit_test(test_zones_hold_one_replica_each),
        cmocka_unit_test(test_labels_say_who_leads_and_holds_more),
        cmocka_unit_test(test_a_group_on_its_way_is_left_alone_but_for_need),
        cmocka_unit_test(test_groups_without_a_leader_do_not_hold_up_others),
        cmocka_unit_test(test_a_group_may_be_led_by_who_is_not_heard),
        cmocka_unit_test(test_many_that_are_lost_at_once_are_behind_a_cut),
        cmocka_unit_test(test_fewer_replicas_are_those_of_nodes_that_are_there),
        cmocka_unit_test(test_a_change_of_mind_waits_for_the_move_under_way),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
