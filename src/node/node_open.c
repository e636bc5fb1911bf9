/* From an identity to running workers: log, stores, members, then the workers. */
#include <stdio.h>

#include "node/node_internal.h"

/* --- storage -------------------------------------------------------------------------- */

/* FAULTS rule 9: once born, a replica that the log does not know has lost its votes and its
 * entries; it must come back under a new id, as a learner. */
static enum status node_check_replicas(const struct node *node, struct error *error)
{
    const struct cluster_view *view = &node->workers[0].view;

    if (!node->identity.born) return STATUS_OK;
    for (uint32_t g = 0; g < view->group_count; g++) {
        const struct view_group *group = &view->groups[g];
        for (uint32_t k = 0; k < group->replica_count; k++) {
            if (group->replicas[k].node != node->identity.node) continue;
            bool found = false;
            for (size_t i = 0; i < node->recovered_count && !found; i++)
                found = node->recovered[i].group.value == g &&
                        replica_id_equal(node->recovered[i].replica, group->replicas[k].replica);
            if (!found)
                return error_set(error, STATUS_CORRUPT,
                                 "%.200s/log knows nothing of group %u replica %llu, which lived "
                                 "here: the log was lost or exchanged. Nothing was changed. Move "
                                 "the directory away and start with an empty one: the node "
                                 "rejoins and is filled by its peers",
                                 node->options.data, g,
                                 (unsigned long long)group->replicas[k].replica.value);
        }
    }
    return STATUS_OK;
}

static enum status node_open_engines(struct node *node, struct error *error)
{
    const struct node_platform *platform = &node->platform;
    char(*paths)[PATH_SIZE_MAX] = memory_allocate(STORES_MAX * sizeof(*paths));
    const char *directories[STORES_MAX];
    uint32_t count = node->identity.stores;
    enum status status = STATUS_OK;

    ASSERT(count >= 1 && count <= STORES_MAX);
    for (uint32_t store = 0; store < count && status == STATUS_OK; store++) {
        char name[32];
        snprintf(name, sizeof(name), "store-%u", store);
        path_join(paths[store], node->options.data, name);
        directories[store] = paths[store];
        status = world_make_durable_dir(node->world, paths[store], error);
    }
    if (status == STATUS_OK && platform->engines_open != NULL)
        status =
            platform->engines_open(platform->context, count, directories, node->engines, error);
    else
        for (uint32_t store = 0; store < count && status == STATUS_OK; store++)
            status = platform->engine_open(platform->context, store, directories[store],
                                           &node->engines[store], error);
    memory_free(paths);
    return status;
}

static enum status node_open_storage(struct node *node, struct error *error)
{
    char path[PATH_SIZE_MAX];

    path_join(path, node->options.data, "log");
    struct log_options log_options = {
        .directory = path,
        .cluster = node->identity.cluster,
        .node = node->identity.node,
        .store = node->identity.store,
        .segment_size = node->options.log_segment_size,
        .queue_bytes_max = LOG_QUEUE_BYTES_MAX,
        .must_exist = node->identity.born,
    };
    enum status status = log_open(node->world, &log_options, &node->log, error);
    if (status) return status;
    log_recovery(node->log, &node->recovered, &node->recovered_count);
    status = node_check_replicas(node, error);
    if (status) return status;

    return node_open_engines(node, error);
}

void node_close_storage(struct node *node, bool clean)
{
    struct error error;

    if (node->log != NULL) log_close(node->log);
    node->log = NULL;
    for (uint32_t i = 0; i < STORES_MAX; i++) {
        if (node->engines[i] != NULL) engine_close(node->engines[i]);
        node->engines[i] = NULL;
    }
    if (clean && node->identity.state == IDENTITY_MEMBER) {
        node->identity.clean = true;
        if (identity_save(node->world, node->options.data, &node->identity, &error))
            LOG_WARN(node_logger(node), "node", "the clean stop is not on record: %s", error.text);
    }
    file_close(node->lock);
    node->lock = NULL;
}

/* --- from identity to running --------------------------------------------------------- */

/* Addresses of members: those of --cluster if it names the same nodes (an address may change,
 * an identity never: F49), else those of the table. */
static void node_take_members(struct node *node)
{
    const struct cluster_view *view = &node->workers[0].view;
    bool same = node->members_given && node->member_count == view->node_count;

    for (uint32_t i = 0; same && i < view->node_count; i++) {
        const struct view_node *known = cluster_view_node(view, i + 1);
        same = known != NULL && strcmp(known->name, node->members[i].name) == 0;
    }
    if (same) return;
    if (node->members_given)
        LOG_WARN(node_logger(node), "node",
                 "--cluster names other nodes than the directory knows: the directory wins");
    node->members_given = false;
    node->member_count = 0;
    for (node_id_t id = 1; id <= view->node_count; id++) {
        const struct view_node *known = cluster_view_node(view, id);
        struct node_member *member = &node->members[node->member_count++];
        memset(member, 0, sizeof(*member));
        if (known == NULL) continue;
        snprintf(member->name, sizeof(member->name), "%s", known->name);
        snprintf(member->peer, sizeof(member->peer), "%s", known->peer);
    }
}

/* Identity, epoch and view of worker 0 are set. */
void node_open(struct node *node)
{
    struct error error;
    struct node_worker *zero = &node->workers[0];

    node->state = NODE_OPENING;
    zero->view.self = node->identity.node;
    node_take_members(node);
    if (node_check_settings(node, &error) || node_open_storage(node, &error)) {
        node_fail(node, &error);
        return;
    }
    char cluster[CLUSTER_ID_TEXT_SIZE];
    cluster_id_print(node->identity.cluster, cluster);
    LOG_INFO(node_logger(node), "node",
             "starting name=%s node=%u cluster=%s store=%016llx epoch=%u table=%llu",
             node->identity.name, node->identity.node, cluster,
             (unsigned long long)node->identity.store, node->epoch,
             (unsigned long long)zero->view.table_epoch);
    for (uint32_t i = 1; i < node->platform.worker_count; i++)
        cluster_view_assign(&node->workers[i].view, &zero->view);
    for (uint32_t i = 0; i < node->platform.worker_count; i++)
        node_call(zero, &node->workers[i], worker_open, NULL);
}

void node_worker_failed(struct node_worker *zero, void *argument)
{
    struct error *error = argument;

    node_fail(zero->node, error);
    memory_free(error);
}

void node_worker_opened(struct node_worker *zero, void *argument)
{
    struct node *node = zero->node;
    struct error error;

    node->workers_open++;
    if (node->workers_open < node->platform.worker_count) return;
    log_recovery_free(node->log);
    node->recovered = NULL;
    node->recovered_count = 0;
    if (node->state != NODE_OPENING) return;
    node->state = NODE_RUNNING;
    if (node_admin_open(node, &error)) {
        node_fail(node, &error);
        return;
    }
    node_read_meta(node);
    node_disk_start(node);
    node_confirm_start(node);
}
