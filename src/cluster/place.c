/* place.c - the table of a founding: which node holds which replica of which group.
 *
 * Greedy and balanced (WHY 6.2: rendezvous alone leaves the fullest node 1.7 times the mean).
 * A partition goes to the least loaded nodes; among equals the rendezvous order of (partition,
 * node) decides, so that the partners of a node are spread over all others and its death
 * loads all of them alike. Loads therefore never differ by more than one. */
#include "base/assert.h"
#include "base/memory.h"
#include "cluster/view.h"
#include "cluster/view_codec.h"

struct place_load {
    uint32_t replicas; /* of data groups */
    uint32_t firsts;   /* of which preferred leader */
};

static uint64_t place_rank(uint32_t partition, node_id_t node)
{
    return hash_u64(((uint64_t)partition << 32) ^ hash_u64(node));
}

/* Moves the replicas[from] to the front, keeping the order of the others. */
static void place_make_first(struct view_group *group, uint32_t from)
{
    struct view_replica first = group->replicas[from];
    for (uint32_t i = from; i > 0; i--)
        group->replicas[i] = group->replicas[i - 1];
    group->replicas[0] = first;
}

static void place_partition(struct cluster_view *view, uint32_t partition, uint32_t copies,
                            struct place_load *loads)
{
    struct view_group *group = &view->groups[GROUP_DATA_FIRST + partition];
    bool taken[NODES_MAX] = {false};
    uint32_t order[VIEW_REPLICAS_MAX];

    for (uint32_t k = 0; k < copies; k++) {
        uint32_t best = UINT32_MAX;
        for (uint32_t n = 0; n < view->node_count; n++) {
            if (taken[n]) continue;
            bool better = best == UINT32_MAX || loads[n].replicas < loads[best].replicas ||
                          (loads[n].replicas == loads[best].replicas &&
                           place_rank(partition, view->nodes[n].id) >
                               place_rank(partition, view->nodes[best].id));
            if (better) best = n;
        }
        ASSERT(best != UINT32_MAX);
        taken[best] = true;
        order[k] = best;
        loads[best].replicas++;
    }

    uint32_t first = 0;
    for (uint32_t k = 0; k < copies; k++) {
        group->replicas[k] = (struct view_replica){.node = view->nodes[order[k]].id,
                                                   .replica = {view->next_replica_id++}};
        if (loads[order[k]].firsts < loads[order[first]].firsts) first = k;
    }
    loads[order[first]].firsts++;
    group->replica_count = (uint8_t)copies;
    place_make_first(group, first);
}

void cluster_view_place(struct cluster_view *view)
{
    struct place_load loads[NODES_MAX] = {{0}};

    ASSERT(view->node_count >= 1 && view->node_count <= NODES_MAX);
    ASSERT(view->partition_count >= 1 && view->partition_count <= PARTITIONS_MAX);
    ASSERT(view->replicas >= 1);
    uint32_t copies = view->replicas < view->node_count ? view->replicas : view->node_count;
    if (copies > VIEW_REPLICAS_MAX) copies = VIEW_REPLICAS_MAX;

    memory_free(view->groups);
    view->group_count = GROUP_DATA_FIRST + view->partition_count;
    view->groups = memory_allocate_zero((size_t)view->group_count * sizeof(*view->groups));
    if (view->next_replica_id == 0) view->next_replica_id = 1;

    struct view_group *meta = &view->groups[GROUP_META];
    meta->replica_count = (uint8_t)copies;
    for (uint32_t k = 0; k < copies; k++)
        meta->replicas[k] =
            (struct view_replica){.node = view->nodes[k].id, .replica = {view->next_replica_id++}};

    for (uint32_t p = 0; p < view->partition_count; p++) {
        struct view_group *group = &view->groups[GROUP_DATA_FIRST + p];
        group->slot_first = (uint16_t)(p * SLOT_COUNT / view->partition_count);
        group->slot_last = (uint16_t)((p + 1) * SLOT_COUNT / view->partition_count - 1);
        place_partition(view, p, copies, loads);
    }
    cluster_view_index_slots(view);
}
