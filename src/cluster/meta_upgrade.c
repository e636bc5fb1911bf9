/* The cluster version: what may be written that versions before it do not understand (WHY 13.1).
 * It rises when an operator says so, once every node runs a version that supports it, and never
 * falls. Rows of a lower version stay as they are: what they do not have is as it was before. */
#include "cluster/meta_internal.h"

static const struct meta_start *find_start(const struct meta_request *request, node_id_t node)
{
    for (uint32_t i = 0; i < request->start_count; i++)
        if (request->starts[i].node == node) return &request->starts[i];
    return NULL;
}

/* False: rows are missing. Else evaluation->reply is a refusal, or all nodes are as they were seen,
 * and the highest id is in *ret_last. */
static bool check_starts(struct meta_evaluation *evaluation, const struct meta_request *request,
                         node_id_t *ret_last)
{
    for (node_id_t id = 1; id <= NODES_MAX; id++) {
        struct meta_key key = meta_key_make(META_ROW_NODE, id);
        struct row_view row;
        enum row_result result = row_get(evaluation->rows, meta_key_bytes(&key), &row);
        if (result == ROW_STOP) return false;
        if (result == ROW_ABSENT) continue;
        if (meta_get_node(evaluation, id) != ROW_FOUND) return true;
        const struct view_node *node = &evaluation->node.node;
        const struct meta_start *start = find_start(request, id);
        *ret_last = id;
        if (start != NULL && start->epoch == node->epoch) continue;
        meta_refuse(&evaluation->reply,
                    "node %s has started again meanwhile, or joined: look at `holon upgrade "
                    "status`, and ask again",
                    node->name);
        return true;
    }
    return true;
}

bool meta_finalize(struct meta_evaluation *evaluation, const struct meta_request *request)
{
    struct cluster_view *settings = evaluation->settings;
    node_id_t last = 0;

    if (request->cluster_version <= settings->cluster_version) return true; /* done before */
    if (request->cluster_version > VIEW_VERSION) {
        meta_refuse(&evaluation->reply,
                    "the node that leads the meta group supports cluster version %d, not %u",
                    VIEW_VERSION, request->cluster_version);
        return true;
    }
    if (!check_starts(evaluation, request, &last)) return false;
    if (evaluation->reply.result != META_DONE) return true;
    if (!view_has_more(settings)) settings->next_node_id = last + 1;
    settings->cluster_version = request->cluster_version;
    meta_put_table_epoch(evaluation);
    return true;
}
