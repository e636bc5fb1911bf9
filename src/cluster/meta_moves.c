/* What the table wishes for each group. Only wishes: truth about a group's members is its own
 * configuration, and its leader gets there step by step (partition/reconcile.c; WHY 6.3). */
#include "cluster/meta_internal.h"

/* The table is as who asks knows it. */
static bool is_known(const struct view_group *group, const struct meta_request *request)
{
    bool same =
        group->replica_count == request->replica_count && group->changed == request->changed;

    for (uint32_t i = 0; same && i < group->replica_count; i++)
        same = group->replicas[i].node == request->replicas[i].node &&
               replica_id_equal(group->replicas[i].replica, request->replicas[i].replica);
    return same;
}

static const struct view_replica *replica_on(const struct view_group *group, node_id_t node)
{
    for (uint32_t i = 0; i < group->replica_count; i++)
        if (group->replicas[i].node == node) return &group->replicas[i];
    return NULL;
}

/* False: run again. Refused: the reply says so. */
static bool check_places(struct meta_evaluation *evaluation, const struct view_group *group,
                         const struct meta_request *request)
{
    struct meta_reply *reply = &evaluation->reply;

    if (request->to_count == 0) meta_refuse(reply, "a group needs a replica");
    for (uint32_t i = 0; i < request->to_count && reply->result == META_DONE; i++) {
        for (uint32_t k = 0; k < i; k++)
            if (request->to[k] == request->to[i])
                meta_refuse(reply, "node %u is named twice for one group", request->to[i]);
        if (replica_on(group, request->to[i]) != NULL) continue;
        enum row_result result = meta_get_node(evaluation, request->to[i]);
        if (result == ROW_STOP) return false;
        if (result == ROW_FOUND && evaluation->node.node.state != VIEW_NODE_STAYS)
            meta_refuse(reply, "%s is being drained", evaluation->node.node.name);
    }
    return true;
}

bool meta_move(struct meta_evaluation *evaluation, const struct meta_request *request)
{
    struct cluster_view *settings = evaluation->settings;
    struct view_group old, new;

    enum row_result result = meta_get_group(evaluation, request->group.value, &old);
    if (result == ROW_STOP) return false;
    if (result == ROW_ABSENT) {
        meta_refuse(&evaluation->reply, "there is no group %u", request->group.value);
        return true;
    }
    if (!is_known(&old, request) && !(evaluation->planted & META_BUG_MOVE_UNSEEN)) {
        evaluation->reply.result = META_RETRY;
        return true;
    }
    if (!check_places(evaluation, &old, request)) return false;
    if (evaluation->reply.result != META_DONE) return true;

    new = old;
    new.replica_count = (uint8_t)request->to_count;
    bool same_nodes = old.replica_count == request->to_count;
    for (uint32_t i = 0; i < request->to_count; i++) {
        const struct view_replica *there = replica_on(&old, request->to[i]);
        new.replicas[i].node = request->to[i];
        new.replicas[i].replica =
            there != NULL ? there->replica : (struct replica_id){settings->next_replica_id++};
        same_nodes = same_nodes && there != NULL;
    }
    new.moving = old.moving || !same_nodes; /* another order changes who should lead, no more */
    new.changed = settings->table_epoch + 1;
    meta_put_group(evaluation, request->group.value, &new);
    meta_put_table_epoch(evaluation);
    return true;
}

bool meta_settled(struct meta_evaluation *evaluation, const struct meta_request *request)
{
    struct view_group group;

    enum row_result result = meta_get_group(evaluation, request->group.value, &group);
    if (result == ROW_STOP) return false;
    if (result == ROW_ABSENT || !is_known(&group, request)) {
        evaluation->reply.result = META_RETRY;
        return true;
    }
    if (!group.moving) return true; /* asked before */
    group.moving = false;
    meta_put_group(evaluation, request->group.value, &group);
    meta_put_table_epoch(evaluation);
    return true;
}

/* An id comes back to the table by this alone. A node that has dropped a replica never bears one
 * under that id again (node_stores.c), and asks for a new one; one that came back without its disk
 * does not remember that, so what it had before is not kept (FAULTS rules 5 and 9). */
bool meta_keep(struct meta_evaluation *evaluation, const struct meta_request *request)
{
    uint64_t kept = request->kept.replica.value;
    struct view_group group;
    bool renamed = false;

    enum row_result result = meta_get_group(evaluation, request->group.value, &group);
    if (result == ROW_STOP) return false;
    if (result == ROW_ABSENT || !is_known(&group, request)) {
        evaluation->reply.result = META_RETRY;
        return true;
    }
    result = meta_get_node(evaluation, request->kept.node);
    if (result == ROW_STOP) return false;
    if (result == ROW_ABSENT) return true;
    bool lived = kept >= evaluation->node.ids_from && kept > 0 &&
                 kept < evaluation->settings->next_replica_id;
    for (uint32_t i = 0; i < group.replica_count && lived; i++) {
        struct view_replica *wished = &group.replicas[i];
        bool other = wished->node == request->kept.node && wished->replica.value != kept;
        if (other) wished->replica = request->kept.replica;
        renamed = renamed || other;
    }
    if (!renamed) {
        meta_refuse(&evaluation->reply, "replica %llu is none that group %u can keep on node %u",
                    (unsigned long long)kept, request->group.value, request->kept.node);
        return true;
    }
    group.changed = evaluation->settings->table_epoch + 1;
    meta_put_group(evaluation, request->group.value, &group);
    meta_put_table_epoch(evaluation);
    return true;
}
