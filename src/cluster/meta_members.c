/* Nodes are emptied, and go (DESIGN.md 7; WHY 6.5, 6.6). They come: meta_join.c. */
#include <stdio.h>

#include "cluster/meta_internal.h"

/* --- DRAIN, UNDRAIN, LABEL, REMOVE -------------------------------------------------------- */

/* Nodes other than this one that stay; false: run again. */
static bool others_that_stay(struct meta_evaluation *evaluation, node_id_t but, uint32_t *ret_count)
{
    *ret_count = 0;
    for (node_id_t id = 1; id < evaluation->settings->next_node_id; id++) {
        struct meta_key key = meta_key_make(META_ROW_NODE, id);
        struct meta_node other;
        struct row_view row;

        if (id == but) continue;
        enum row_result result = row_get(evaluation->rows, meta_key_bytes(&key), &row);
        if (result == ROW_STOP) return false;
        if (result == ROW_ABSENT || meta_node_decode(row.value, &other)) continue;
        *ret_count += other.node.state == VIEW_NODE_STAYS;
    }
    return true;
}

bool meta_drain(struct meta_evaluation *evaluation, const struct meta_request *request)
{
    struct view_node *node = &evaluation->node.node;
    bool drain = request->kind == META_DRAIN;
    enum view_node_state state = drain ? VIEW_NODE_LEAVES : VIEW_NODE_STAYS;
    uint32_t others;

    if (node->state == state) return true; /* asked before */
    if (drain && !others_that_stay(evaluation, node->id, &others)) return false;
    if (drain && others == 0) {
        meta_refuse(&evaluation->reply,
                    "%s is the only node that is not being drained, and its data would have no "
                    "place: add a node first, or holon node undrain another one",
                    node->name);
        return true;
    }
    node->state = state;
    meta_put_node(evaluation);
    meta_put_table_epoch(evaluation);
    return true;
}

bool meta_label(struct meta_evaluation *evaluation, const struct meta_request *request)
{
    struct view_node *node = &evaluation->node.node;
    char before[LABELS_SIZE_MAX];
    struct error error;

    memcpy(before, node->labels, sizeof(before));
    if (labels_change(node->labels, request->labels, &error)) {
        meta_refuse(&evaluation->reply, "%.400s", error.text);
        return true;
    }
    if (strcmp(before, node->labels) == 0) return true;
    meta_put_node(evaluation);
    meta_put_table_epoch(evaluation);
    return true;
}

bool meta_group_names(const struct view_group *group, node_id_t node)
{
    for (uint32_t i = 0; i < group->replica_count; i++)
        if (group->replicas[i].node == node) return true;
    return false;
}

bool meta_remove(struct meta_evaluation *evaluation, const struct meta_request *request)
{
    const struct view_node *node = &evaluation->node.node;
    uint32_t held = 0, moving = 0;

    if (node->state != VIEW_NODE_LEAVES) {
        meta_refuse(&evaluation->reply, "%s is in use: empty it first with: holon node drain %s",
                    node->name, node->name);
        return true;
    }
    for (uint32_t id = 0; id < evaluation->settings->group_count; id++) {
        struct view_group group;
        enum row_result result = meta_get_group(evaluation, id, &group);
        if (result == ROW_STOP) return false;
        if (result == ROW_ABSENT) continue;
        held += meta_group_names(&group, request->node);
        moving += group.moving;
    }
    /* A group on its way may still have a replica there that votes. */
    if (evaluation->planted & META_BUG_REMOVE_MOVING) moving = 0;
    if (held + moving > 0) {
        meta_refuse(&evaluation->reply,
                    "%s still holds %u replicas, and %u groups are being moved: wait until holon "
                    "status says that it is empty",
                    node->name, held, moving);
        return true;
    }
    meta_delete(evaluation, META_ROW_NODE, node->id);
    meta_put_table_epoch(evaluation);
    return true;
}
