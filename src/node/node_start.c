/* A start: an empty directory founds or rejoins, any other resumes (DESIGN.md 7). */
#include <stdio.h>

#include "node/node_internal.h"

static void node_founding_over(struct world_deferred *deferred)
{
    struct node *node = deferred->context;

    founding_close(node->founding);
    node->founding = NULL;
}

void node_founding_end(struct node *node)
{
    node->founding_over = (struct world_deferred){.run = node_founding_over, .context = node};
    world_defer(node->world, &node->founding_over);
}

static void on_founded(void *context, const struct founding_result *result)
{
    struct node *node = context;

    node->identity = result->identity;
    node->epoch = result->epoch;
    node->vote_at_once = !result->rejoined;
    node->rejoined = result->rejoined;
    cluster_view_assign(&node->workers[0].view, result->view);
    if (!result->rejoined) cluster_view_assign(&node->birth, result->view);
    node_founding_end(node);
    LOG_INFO(node_logger(node), "node", "%s nodes=%u partitions=%u",
             result->rejoined ? "rejoined the cluster" : "founded the cluster",
             result->view->node_count, result->view->partition_count);
    if (node->state == NODE_FOUNDING) node_open(node);
}

static void on_founding_failed(void *context, const struct error *error)
{
    struct node *node = context;

    node_founding_end(node);
    node_fail(node, error);
}

static uint32_t or_default(uint32_t given, uint32_t value)
{
    return given != 0 ? given : value;
}

static enum status node_founding_options(struct node *node, bool resumed,
                                         struct founding_options *ret_options, struct error *error)
{
    struct node_options *options = &node->options;
    struct founding_options *founding = ret_options;

    *founding = (struct founding_options){
        .world = node->world,
        .directory = options->data,
        .settings = {.partitions = or_default(options->partitions, PARTITIONS_DEFAULT),
                     .replicas = or_default(options->replicas, REPLICAS_DEFAULT),
                     .stores = or_default(options->stores, STORES_DEFAULT),
                     .reads = options->reads_given ? options->reads : READS_LEASE},
        .events = {.on_done = on_founded, .on_failed = on_founding_failed},
        .context = node,
    };
    snprintf(founding->redis, sizeof(founding->redis), "%s", options->redis);
    snprintf(founding->redis_cluster, sizeof(founding->redis_cluster), "%s",
             options->redis_cluster);
    snprintf(founding->admin, sizeof(founding->admin), "%s", options->admin);

    if (node->member_count == 0 && resumed) {
        struct founding_settings settings;
        enum status status = founding_load_members(node->world, options->data, founding->members,
                                                   &founding->member_count, &settings, error);
        if (status != STATUS_OK && status != STATUS_NOT_FOUND) return status;
        if (status == STATUS_OK) {
            founding->settings = settings;
            for (uint32_t i = 0; i < founding->member_count; i++) {
                memcpy(node->members[i].name, founding->members[i].name,
                       sizeof(node->members[i].name));
                memcpy(node->members[i].peer, founding->members[i].peer,
                       sizeof(node->members[i].peer));
            }
            node->member_count = founding->member_count;
        }
    }
    if (node->member_count == 0) {
        snprintf(node->members[0].name, sizeof(node->members[0].name), "%s", options->name);
        snprintf(node->members[0].peer, sizeof(node->members[0].peer), "%s", options->peer);
        node->member_count = 1;
    }
    founding->member_count = node->member_count;
    for (uint32_t i = 0; i < node->member_count; i++) {
        memcpy(founding->members[i].name, node->members[i].name, sizeof(founding->members[i].name));
        memcpy(founding->members[i].peer, node->members[i].peer, sizeof(founding->members[i].peer));
        if (i > 0 && strcmp(node->members[i].name, node->members[i - 1].name) == 0)
            return error_set(error, STATUS_INVALID, "--cluster names %s twice",
                             node->members[i].name);
        if (strcmp(node->members[i].name, options->name) == 0) founding->self = i + 1;
    }
    if (founding->self == 0) {
        char line[FOUNDING_LINE_SIZE_MAX];
        founding_line(founding->members, founding->member_count, line);
        return error_set(error, STATUS_INVALID,
                         "--name %s is not in --cluster %.300s: add it there, or give the right "
                         "name",
                         options->name, line);
    }
    return STATUS_OK;
}

static void node_start_founding(struct node *node, bool resumed)
{
    struct founding_options options;
    struct error error;

    if (node_founding_options(node, resumed, &options, &error)) {
        node_fail(node, &error);
        return;
    }
    node->state = NODE_FOUNDING;
    struct node_worker *zero = &node->workers[0];
    zero->view.self = options.self;
    if (options.member_count > 1) {
        worker_open_transport(zero);
        if (zero->transport == NULL) return; /* the platform has failed and said so */
        options.transport = zero->transport;
    }
    node->founding = founding_open(&options);
    node_watch_start(node);
    founding_begin(node->founding);
}

/* The directory belongs to a member: table, next epoch, then open. */
static void node_start_member(struct node *node)
{
    struct error error;
    struct cluster_view *view = &node->workers[0].view;
    const char *data = node->options.data;
    node->born_recorded = node->identity.born;

    if (node_check_settings(node, &error)) goto failed;
    enum status status = view_file_load(node->world, data, "table", view, &error);
    if (status == STATUS_NOT_FOUND) {
        error_set(&error, STATUS_CORRUPT,
                  "%.300s/table is missing, though the directory belongs to node %s. Move the "
                  "directory away and start with an empty one: the node rejoins its cluster",
                  data, node->identity.name);
        goto failed;
    }
    if (status) goto failed;
    bool ours = cluster_id_equal(view->cluster, node->identity.cluster) &&
                cluster_view_node(view, node->identity.node) != NULL;
    if (!ours) {
        error_set(&error, STATUS_REFUSED,
                  "%.300s/table is of another cluster than %.60s/identity: files of two nodes "
                  "were mixed. Nothing was changed; restore the one that belongs here",
                  data, "the same directory's");
        goto failed;
    }
    status = view_file_load(node->world, data, "birth", &node->birth, &error);
    if (status != STATUS_OK && status != STATUS_NOT_FOUND) goto failed;
    if (identity_take_epoch(node->world, data, &node->identity, &node->epoch, &error)) goto failed;
    node_watch_start(node);
    node_open(node);
    return;

failed:
    node_fail(node, &error);
}

void node_start(struct node *node)
{
    struct error error;

    ASSERT(node->state == NODE_NEW);
    node->started = world_now(node->world);
    node->token = world_random(node->world) | 1;
    if (node_lock_directory(node, &error)) {
        node_fail(node, &error);
        return;
    }
    enum status status = identity_load(node->world, node->options.data, &node->identity, &error);
    if (status == STATUS_NOT_FOUND) {
        if (directory_check_empty(node->world, node->options.data, &error)) {
            node_fail(node, &error);
            return;
        }
        memset(&node->identity, 0, sizeof(node->identity));
        node_start_founding(node, true);
        return;
    }
    if (status) {
        node_fail(node, &error);
        return;
    }
    if (node->identity.state == IDENTITY_ACCEPTED) {
        /* Until START the node has no cluster: it speaks as an empty one. */
        memset(&node->identity, 0, sizeof(node->identity));
        node_start_founding(node, true);
        return;
    }
    node_start_member(node);
}
