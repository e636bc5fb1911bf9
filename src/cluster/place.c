/* place.c - the table of a founding: which node holds which replica of which group. What
 * balance.h makes of groups without any; labels are not known yet. */
#include "base/assert.h"
#include "base/memory.h"
#include "cluster/balance.h"
#include "cluster/view_codec.h"

static void take_replicas(struct cluster_view *view, uint32_t number,
                          const struct balance_group *placed)
{
    struct view_group *group = &view->groups[number];

    group->replica_count = placed->count;
    for (uint32_t k = 0; k < placed->count; k++)
        group->replicas[k] = (struct view_replica){.node = view->nodes[placed->nodes[k]].id,
                                                   .replica = {view->next_replica_id++}};
}

void cluster_view_place(struct cluster_view *view)
{
    struct balance_node nodes[NODES_MAX];
    struct balance_group meta = {.number = GROUP_META};

    ASSERT(view->node_count >= 1 && view->node_count <= NODES_MAX);
    ASSERT(view->partition_count >= 1 && view->partition_count <= PARTITIONS_MAX);
    ASSERT(view->replicas >= 1);
    for (uint32_t n = 0; n < view->node_count; n++)
        nodes[n] = (struct balance_node){
            .id = view->nodes[n].id, .weight = BALANCE_WEIGHT_USUAL, .domains = {n, n, n}};

    memory_free(view->groups);
    view->group_count = GROUP_DATA_FIRST + view->partition_count;
    view->groups = memory_allocate_zero((size_t)view->group_count * sizeof(*view->groups));
    if (view->next_replica_id == 0) view->next_replica_id = 1;

    balance_groups(nodes, view->node_count, &meta, 1, balance_meta_replicas(view->node_count));
    take_replicas(view, GROUP_META, &meta);

    struct balance_group *placed = memory_allocate_zero(view->partition_count * sizeof(*placed));
    for (uint32_t p = 0; p < view->partition_count; p++)
        placed[p].number = GROUP_DATA_FIRST + p;
    balance_groups(nodes, view->node_count, placed, view->partition_count, view->replicas);
    for (uint32_t p = 0; p < view->partition_count; p++) {
        struct view_group *group = &view->groups[GROUP_DATA_FIRST + p];
        group->slot_first = (uint16_t)(p * SLOT_COUNT / view->partition_count);
        group->slot_last = (uint16_t)((p + 1) * SLOT_COUNT / view->partition_count - 1);
        take_replicas(view, GROUP_DATA_FIRST + p, &placed[p]);
    }
    memory_free(placed);
    cluster_view_index_slots(view);
}
