/* A node comes back without its disk, or with a part of it lost: new ids for its replicas. */
#include <stdio.h>

#include "cluster/identity.h"
#include "cluster/meta_internal.h"

/* A new id for the replica of the node in a group, if it is that one (0: whichever it is).
 * False: stop and run again. */
static bool meta_renew_replica(struct meta_evaluation *evaluation, uint32_t id, node_id_t node,
                               struct replica_id replica, bool *changed)
{
    struct cluster_view *settings = evaluation->settings;
    struct view_group group;
    bool renewed = false;

    enum row_result result = meta_get_group(evaluation, id, &group);
    if (result == ROW_STOP) return false;
    if (result == ROW_ABSENT) return true;
    for (uint32_t i = 0; i < group.replica_count; i++) {
        struct view_replica *member = &group.replicas[i];
        bool meant = replica.value == 0 || replica_id_equal(member->replica, replica);
        if (member->node != node || !meant) continue;
        member->replica.value = settings->next_replica_id++;
        renewed = true;
    }
    if (renewed) {
        group.changed = settings->table_epoch + 1;
        meta_put_group(evaluation, id, &group);
    }
    *changed |= renewed;
    return true;
}

/* New replica ids for all that the node holds; false: stop and run again. */
static bool meta_renew_replicas(struct meta_evaluation *evaluation, node_id_t node)
{
    bool changed = false;

    for (uint32_t id = 0; id < evaluation->settings->group_count; id++)
        if (!meta_renew_replica(evaluation, id, node, (struct replica_id){0}, &changed))
            return false;
    return true;
}

bool meta_replace(struct meta_evaluation *evaluation, const struct meta_request *request)
{
    const struct meta_node *row = &evaluation->node;
    bool changed = false;

    if (row->node.store != request->store || row->node.epoch > request->epoch) {
        meta_refuse(&evaluation->reply, "node %s runs elsewhere, or was started again since",
                    row->node.name);
        return true;
    }
    for (uint32_t i = 0; i < request->lost_count; i++) {
        const struct meta_lost *lost = &request->lost[i];
        if (lost->replica.value == 0) continue;
        if (!meta_renew_replica(evaluation, lost->group.value, request->node, lost->replica,
                                &changed))
            return false;
    }
    if (!changed) return true; /* asked before */
    meta_put_table_epoch(evaluation);
    return true;
}

bool meta_rejoin(struct meta_evaluation *evaluation, const struct meta_request *request)
{
    struct meta_node *row = &evaluation->node;

    if (strcmp(row->node.name, request->name) != 0) {
        meta_refuse(&evaluation->reply, "node id %u is %s here, not %s: check --name and --cluster",
                    row->node.id, row->node.name, request->name);
        return true;
    }
    bool repeated = row->rejoin_token == request->token && row->node.store == request->store;
    if (!repeated && row->node.store == request->store) {
        meta_refuse(&evaluation->reply, "store %016llx is registered already",
                    (unsigned long long)request->store);
        return true;
    }
    if (!repeated && request->replaces != 0 && request->replaces != row->node.store) {
        evaluation->reply.result = META_RETRY;
        return true;
    }
    if (!repeated) {
        row->ids_from = evaluation->settings->next_replica_id;
        if (!meta_renew_replicas(evaluation, row->node.id)) return false;
        row->node.store = request->store;
        row->node.epoch = row->epoch_last; /* every epoch given out before is dead */
        row->rejoin_first = row->epoch_last + 1;
        row->epoch_last += EPOCH_BLOCK_SIZE;
        row->boot_token = 0;
        row->rejoin_token = request->token;
        meta_take_addresses(&row->node, request);
        meta_put_node(evaluation);
        meta_put_table_epoch(evaluation);
    }
    evaluation->reply.epoch_first = row->rejoin_first;
    evaluation->reply.epoch_last = row->rejoin_first + EPOCH_BLOCK_SIZE - 1;
    return true;
}
