/* The table that meta's leader wishes for: balanced, spread over domains, with few moves. */
#include "unit.h"

#include "base/memory.h"
#include "base/random.h"
#include "cluster/balance.h"

enum { GROUPS_MOST = 600 };

struct bed {
    struct balance_node nodes[NODES_MAX];
    uint32_t node_count;
    struct balance_group groups[GROUPS_MOST], before[GROUPS_MOST];
    uint32_t group_count, replicas;
};

static void bed_make(struct bed *bed, uint32_t nodes, uint32_t groups, uint32_t replicas)
{
    *bed = (struct bed){.node_count = nodes, .group_count = groups, .replicas = replicas};
    for (uint32_t n = 0; n < NODES_MAX; n++)
        bed->nodes[n] = (struct balance_node){.id = n + 1, .weight = BALANCE_WEIGHT_USUAL};
    for (uint32_t g = 0; g < groups; g++)
        bed->groups[g].number = g;
}

static void bed_balance(struct bed *bed)
{
    memcpy(bed->before, bed->groups, sizeof(bed->before));
    balance_groups(bed->nodes, bed->node_count, bed->groups, bed->group_count, bed->replicas);
}

static bool holds(const struct balance_group *group, uint32_t node)
{
    for (uint32_t k = 0; k < group->count; k++)
        if (group->nodes[k] == node) return true;
    return false;
}

static uint32_t load_of(const struct bed *bed, uint32_t node)
{
    uint32_t load = 0;
    for (uint32_t g = 0; g < bed->group_count; g++)
        load += holds(&bed->groups[g], node);
    return load;
}

static uint32_t firsts_of(const struct bed *bed, uint32_t node)
{
    uint32_t firsts = 0;
    for (uint32_t g = 0; g < bed->group_count; g++)
        firsts += bed->groups[g].count > 0 && bed->groups[g].nodes[0] == node;
    return firsts;
}

/* Replicas that must be copied: new in the table. */
static uint32_t copied(const struct bed *bed)
{
    uint32_t count = 0;
    for (uint32_t g = 0; g < bed->group_count; g++)
        for (uint32_t k = 0; k < bed->groups[g].count; k++)
            count += !holds(&bed->before[g], bed->groups[g].nodes[k]);
    return count;
}

/* What must be true of every result, whatever came in. */
static void check_sound(const struct bed *bed)
{
    uint32_t copies = balance_copies(bed->nodes, bed->node_count, bed->replicas);
    uint32_t takers = 0;
    if (copies == 0) { /* all leave: where to? */
        assert_memory_equal(bed->groups, bed->before, sizeof(bed->groups));
        return;
    }
    for (uint32_t n = 0; n < bed->node_count; n++)
        takers += bed->nodes[n].state == BALANCE_STAYS;
    for (uint32_t g = 0; g < bed->group_count; g++) {
        const struct balance_group *group = &bed->groups[g];
        assert_true(group->count <= copies);
        assert_true(group->count == copies || group->count >= takers);
        for (uint32_t k = 0; k < group->count; k++) {
            assert_true(group->nodes[k] < bed->node_count);
            assert_true(bed->nodes[group->nodes[k]].state != BALANCE_LEAVES);
            for (uint32_t other = 0; other < k; other++)
                assert_int_not_equal(group->nodes[other], group->nodes[k]);
            bool lost_came = bed->nodes[group->nodes[k]].state != BALANCE_STAYS &&
                             !holds(&bed->before[g], group->nodes[k]);
            assert_false(lost_came);
        }
    }
}

static void check_again_changes_nothing(struct bed *bed)
{
    struct balance_group *result = memory_allocate(sizeof(bed->groups));
    memcpy(result, bed->groups, sizeof(bed->groups));
    bed_balance(bed);
    assert_memory_equal(result, bed->groups, sizeof(bed->groups));
    memory_free(result);
}

/* Loads and leaderships of the nodes that take replicas are within one. */
static void check_level(const struct bed *bed)
{
    uint32_t least = UINT32_MAX, most = 0, least_firsts = UINT32_MAX, most_firsts = 0;
    for (uint32_t n = 0; n < bed->node_count; n++) {
        if (bed->nodes[n].state != BALANCE_STAYS) continue;
        uint32_t load = load_of(bed, n), firsts = firsts_of(bed, n);
        if (load < least) least = load;
        if (load > most) most = load;
        if (firsts < least_firsts) least_firsts = firsts;
        if (firsts > most_firsts) most_firsts = firsts;
    }
    assert_in_range(most - least, 0, 1);
    assert_in_range(most_firsts - least_firsts, 0, 1);
}

static void test_from_nothing(void **state)
{
    (void)state;
    static const uint32_t sizes[][3] = {{1, 256, 3}, {2, 256, 3},  {3, 256, 3}, {5, 256, 3},
                                        {9, 256, 3}, {10, 64, 3},  {7, 100, 5}, {64, 600, 3},
                                        {4, 1, 3},   {12, 599, 7}, {3, 8, 1}};
    struct bed *bed = memory_allocate(sizeof(*bed));
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        bed_make(bed, sizes[i][0], sizes[i][1], sizes[i][2]);
        bed_balance(bed);
        check_sound(bed);
        check_level(bed);
        check_again_changes_nothing(bed);
    }
    memory_free(bed);
}

/* A node more or less: what is copied is its share, and hardly more. */
static void test_few_moves(void **state)
{
    (void)state;
    struct bed *bed = memory_allocate(sizeof(*bed));
    bed_make(bed, 1, 256, 3);
    bed_balance(bed);
    for (uint32_t nodes = 2; nodes <= 20; nodes++) {
        bed->node_count = nodes;
        bed_balance(bed);
        check_sound(bed);
        check_level(bed);
        uint32_t total = 256 * (nodes < 3 ? nodes : 3);
        if (nodes > 3) assert_true(copied(bed) * nodes * 10 <= total * 12);
        if (nodes <= 3) assert_int_equal(copied(bed), 256); /* one more copy of each */
        check_again_changes_nothing(bed);
    }
    for (uint32_t gone = 19; gone >= 1; gone--) { /* and back, by draining */
        uint32_t had = load_of(bed, gone);
        bed->nodes[gone].state = BALANCE_LEAVES;
        bed_balance(bed);
        check_sound(bed);
        check_level(bed);
        assert_int_equal(load_of(bed, gone), 0);
        assert_true(copied(bed) <= (gone >= 3 ? had + 3 : 0));
    }
    memory_free(bed);
}

static void test_one_replica_per_domain(void **state)
{
    (void)state;
    struct bed *bed = memory_allocate(sizeof(*bed));
    bed_make(bed, 9, 256, 3);
    bed_balance(bed); /* nobody knew of zones */
    for (uint32_t n = 0; n < 9; n++)
        bed->nodes[n].domains[0] = n / 3;
    bed_balance(bed);
    check_sound(bed);
    check_level(bed);
    for (uint32_t g = 0; g < bed->group_count; g++) {
        uint32_t zones = 0;
        for (uint32_t k = 0; k < 3; k++)
            zones |= 1u << (bed->groups[g].nodes[k] / 3);
        assert_int_equal(zones, 7);
    }
    check_again_changes_nothing(bed);

    /* Zones of 1, 2 and 6: the lone node has them all; racks count within what is left. */
    for (uint32_t n = 0; n < 9; n++)
        bed->nodes[n].domains[0] = n == 0 ? 0 : n < 3 ? 1 : 2;
    bed_balance(bed);
    check_sound(bed);
    assert_int_equal(load_of(bed, 0), 256);
    assert_int_equal(load_of(bed, 1), 128);
    assert_int_equal(load_of(bed, 2), 128);
    for (uint32_t n = 3; n < 9; n++)
        assert_in_range(load_of(bed, n), 42, 43);
    check_again_changes_nothing(bed);

    /* Two zones for three replicas, four racks: never two in one rack. */
    bed_make(bed, 8, 256, 3);
    for (uint32_t n = 0; n < 8; n++) {
        bed->nodes[n].domains[0] = n / 4;
        bed->nodes[n].domains[1] = n / 2;
    }
    bed_balance(bed);
    check_level(bed);
    for (uint32_t g = 0; g < bed->group_count; g++)
        for (uint32_t k = 1; k < 3; k++)
            for (uint32_t other = 0; other < k; other++)
                assert_int_not_equal(bed->groups[g].nodes[k] / 2, bed->groups[g].nodes[other] / 2);
    memory_free(bed);
}

static void test_weights(void **state)
{
    (void)state;
    struct bed *bed = memory_allocate(sizeof(*bed));
    bed_make(bed, 5, 256, 2);
    bed->nodes[4].weight = 2 * BALANCE_WEIGHT_USUAL; /* a third of all: 512 / 6 * 2 */
    bed_balance(bed);
    assert_in_range(load_of(bed, 4), 169, 172);
    assert_in_range(firsts_of(bed, 4), 84, 87);
    for (uint32_t n = 0; n < 4; n++) {
        assert_in_range(load_of(bed, n), 84, 87);
        assert_in_range(firsts_of(bed, n), 41, 44);
    }
    bed->nodes[0].weight = BALANCE_WEIGHT_MAX; /* no node holds more than one of each */
    bed_balance(bed);
    check_sound(bed);
    assert_int_equal(load_of(bed, 0), 256);
    memory_free(bed);
}

/* A node that is away keeps what it has; one that is lost is built anew where there is a place. */
static void test_silent_and_lost(void **state)
{
    (void)state;
    struct bed *bed = memory_allocate(sizeof(*bed));
    bed_make(bed, 4, 256, 3);
    bed_balance(bed);
    bed->nodes[1].state = BALANCE_SILENT;
    bed_balance(bed);
    assert_int_equal(copied(bed), 0);
    assert_int_equal(firsts_of(bed, 1), 0);
    bed->nodes[1].state = BALANCE_LOST;
    bed_balance(bed);
    check_sound(bed);
    assert_int_equal(load_of(bed, 1), 0);
    assert_int_equal(copied(bed), 192);

    bed_make(bed, 3, 256, 3);
    bed_balance(bed);
    bed->nodes[1].state = BALANCE_LOST; /* there is no place: it stays in the table */
    bed_balance(bed);
    check_sound(bed);
    assert_int_equal(copied(bed), 0);
    assert_int_equal(load_of(bed, 1), 256);
    assert_int_equal(firsts_of(bed, 1), 0);
    bed->node_count = 4; /* now there is one */
    bed_balance(bed);
    assert_int_equal(load_of(bed, 1), 0);
    assert_int_equal(load_of(bed, 3), 256);
    memory_free(bed);
}

static void test_leaders_near_clients(void **state)
{
    (void)state;
    struct bed *bed = memory_allocate(sizeof(*bed));
    bed_make(bed, 6, 256, 3);
    for (uint32_t n = 0; n < 6; n++) {
        bed->nodes[n].domains[0] = n / 2;
        bed->nodes[n].lead_rank = n / 2; /* the first zone leads all that it holds: everything */
    }
    bed_balance(bed);
    assert_int_equal(firsts_of(bed, 0), 128);
    assert_int_equal(firsts_of(bed, 1), 128);
    bed->nodes[0].state = bed->nodes[1].state = BALANCE_SILENT; /* then the next one */
    bed_balance(bed);
    assert_int_equal(copied(bed), 0);
    assert_in_range(firsts_of(bed, 2), 127, 129);
    assert_in_range(firsts_of(bed, 3), 127, 129);
    memory_free(bed);
}

/* Anything may happen, in any order: always sound, and a second time changes nothing. */
static void test_random(void **state)
{
    (void)state;
    struct random random;
    struct bed *bed = memory_allocate(sizeof(*bed));
    random_seed(&random, 11);
    for (uint32_t run = 0; run < 60; run++) {
        bed_make(bed, 1 + (uint32_t)random_below(&random, 12),
                 1 + (uint32_t)random_below(&random, 200), 1 + (uint32_t)random_below(&random, 5));
        for (uint32_t step = 0; step < 12; step++) {
            struct balance_node *node = &bed->nodes[random_below(&random, bed->node_count)];
            switch (random_below(&random, 6)) {
            case 0:
                node->state = (enum balance_state)random_below(&random, 4);
                break;
            case 1:
                node->weight = 1 + (uint32_t)random_below(&random, 400);
                break;
            case 2:
                node->domains[random_below(&random, BALANCE_DOMAINS)] =
                    (uint32_t)random_below(&random, 4);
                break;
            case 3:
                node->lead_rank = (uint32_t)random_below(&random, 3);
                break;
            case 4:
                bed->replicas = 1 + (uint32_t)random_below(&random, 5);
                break;
            default:
                if (bed->node_count < 20) bed->node_count++;
            }
            bed_balance(bed);
            check_sound(bed);
        }
        for (uint32_t n = 0; n < bed->node_count; n++) /* and then it is quiet */
            bed->nodes[n] = (struct balance_node){.id = n + 1, .weight = BALANCE_WEIGHT_USUAL};
        bed_balance(bed);
        check_sound(bed);
        check_level(bed);
        check_again_changes_nothing(bed);
    }
    memory_free(bed);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_from_nothing),
        cmocka_unit_test(test_few_moves),
        cmocka_unit_test(test_one_replica_per_domain),
        cmocka_unit_test(test_weights),
        cmocka_unit_test(test_silent_and_lost),
        cmocka_unit_test(test_leaders_near_clients),
        cmocka_unit_test(test_random),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
