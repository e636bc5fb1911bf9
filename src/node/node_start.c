/* A start: an empty directory founds or rejoins, any other resumes (DESIGN.md 7). */
#include <stdio.h>

#include "node/node_internal.h"
#include "world/probe.h"

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
    if (result->rejoined) node_repair_joined(node);
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
        .cluster_version = node_newest_version(node),
        .settings = {.partitions = or_default(options->partitions, PARTITIONS_DEFAULT),
                     .replicas = or_default(options->replicas, REPLICAS_DEFAULT),
                     .stores = or_default(options->stores, STORES_DEFAULT),
                     .reads = options->reads_given ? options->reads : READS_LEASE},
        .repairing = (node->repair.active || node->repair.rejoin_only) &&
                     !PLANTED(node->world, "repairing_founds"),
        .repairing_cluster = node->repair.file.cluster,
        .events = {.on_done = on_founded, .on_failed = on_founding_failed},
        .context = node,
    };
    node_listed_address(options->announce_redis, options->redis, founding->redis);
    node_listed_address(options->announce_redis_cluster, options->redis_cluster,
                        founding->redis_cluster);
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
        if (i > 0 && node->members[i].name[0] != '\0' &&
            strcmp(node->members[i].name, node->members[i - 1].name) == 0)
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

void node_start_founding(struct node *node, bool resumed)
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

/* The table is a copy of what meta holds, and there are two of it: who others have joined, or who
 * has joined, does not know where they are without it. Without both the view of the founding
 * serves, if the log knows the replicas that it names (node_check_replicas). */
static enum status node_load_table(struct node *node, struct error *error)
{
    struct cluster_view *view = &node->workers[0].view;
    const char *data = node->options.data;
    struct error cause;
    bool copy;

    enum status status = view_table_load(node->world, data, view, &copy, &cause);
    if (status == STATUS_OK && copy) {
        LOG_WARN(node_logger(node), "node", "%s; its copy serves", cause.text);
        SOMETIMES(node->world, "a lost table was replaced by its copy");
    }
    if (status == STATUS_CORRUPT) {
        if (view_file_load(node->world, data, "birth", view, NULL) != STATUS_OK)
            return error_set(error, status, "%s", cause.text);
        LOG_WARN(node_logger(node), "node",
                 "%s; the view of the founding serves until meta is "
                 "heard",
                 cause.text);
        SOMETIMES(node->world, "a lost table was replaced by the view of the founding");
    } else if (status) {
        return error_set(error, status, "%s", cause.text);
    }
    bool ours = cluster_id_equal(view->cluster, node->identity.cluster) &&
                cluster_view_node(view, node->identity.node) != NULL;
    if (ours) return STATUS_OK;
    return error_set(error, STATUS_REFUSED,
                     "%.300s/table is of another cluster than %.60s/identity: files of two nodes "
                     "were mixed. Nothing was changed; restore the one that belongs here",
                     data, "the same directory's");
}

/* What its replicas were born with matters only until they all were. */
static enum status node_load_birth(struct node *node, struct error *error)
{
    enum status status =
        view_file_load(node->world, node->options.data, "birth", &node->birth, error);
    if (status == STATUS_NOT_FOUND) return STATUS_OK;
    if (status == STATUS_CORRUPT && node->identity.born) {
        LOG_WARN(node_logger(node), "node", "%s; it is not needed any more", error->text);
        cluster_view_free(&node->birth);
        cluster_view_init(&node->birth);
        return STATUS_OK;
    }
    return status;
}

void node_start_member(struct node *node)
{
    struct node_damage damage = {.reason = "table", .file = "table"};
    struct error error;

    node->born_recorded = node->identity.born;
    enum status status = node_check_settings(node, &error);
    if (status == STATUS_OK) status = node_load_table(node, &error);
    if (status == STATUS_OK) {
        damage = (struct node_damage){.reason = "birth", .file = "birth"};
        status = node_load_birth(node, &error);
    }
    if (status == STATUS_CORRUPT) {
        node_damaged(node, &damage, &error);
        return;
    }
    /* A node that is alone asks nobody, and speaks at once. */
    bool speaks =
        node->workers[0].view.node_count == 1 || PLANTED(node->world, "epoch_spoken_mute");
    node->epoch_before = node->identity.epoch_spoken;
    if (speaks) node->identity.epoch_spoken = node->identity.epoch_next;
    if (status == STATUS_OK)
        status = identity_take_epoch(node->world, node->options.data, &node->identity, &node->epoch,
                                     &error);
    if (status) {
        node_fail(node, &error);
        return;
    }
    node_watch_start(node);
    node_open(node);
}

/* No identity: a new node, one that was wiped, or one that has lost it. */
static void node_start_without_identity(struct node *node)
{
    enum directory_content content = DIRECTORY_EMPTY;
    struct error error;

    if (node_join_resume(node)) return;
    if (directory_check_empty(node->world, node->options.data, &content, &error)) {
        node_fail(node, &error);
        return;
    }
    memset(&node->identity, 0, sizeof(node->identity));
    if (content == DIRECTORY_EMPTY && node->options.join_count > 0) {
        node_join_start(node);
        return;
    }
    if (content == DIRECTORY_LOST_IDENTITY) {
        error_set(&error, STATUS_CORRUPT, "%.300s/identity is missing, though data is there",
                  node->options.data);
        node_damaged(node, &(struct node_damage){.reason = "identity", .file = "identity"}, &error);
        return;
    }
    node->repair.rejoin_only = content == DIRECTORY_QUARANTINE_ONLY;
    if (node->repair.rejoin_only && node->member_count < 2) {
        error_set(&error, STATUS_REFUSED,
                  "%.300s holds nothing but a quarantine: evidence of a node that was damaged. "
                  "Nothing was changed. Move the quarantine away to found a new cluster here",
                  node->options.data);
        node_fail(node, &error);
        return;
    }
    node_start_founding(node, true);
}

/* Half of the files are of before it, half of after. */
static bool node_salvage_pending(struct node *node, struct error *error)
{
    char path[PATH_SIZE_MAX];
    struct file *file = NULL;

    path_join(path, node->options.data, "salvaging");
    bool pending = file_open(node->world, path, FILE_READ, &file, NULL) == STATUS_OK;
    file_close(file);
    if (pending)
        error_set(error, STATUS_REFUSED,
                  "a `holon salvage` of %.300s was interrupted: run it again, it finishes",
                  node->options.data);
    return pending;
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
    if (node_salvage_pending(node, &error) || node_reserve_use(node, &error)) {
        node_fail(node, &error);
        return;
    }
    if (node_repair_resume(node)) return;
    enum status status = identity_load(node->world, node->options.data, &node->identity, &error);
    if (status == STATUS_NOT_FOUND) {
        node_start_without_identity(node);
        return;
    }
    if (status == STATUS_CORRUPT) {
        memset(&node->identity, 0, sizeof(node->identity));
        node_damaged(node, &(struct node_damage){.reason = "identity", .file = "identity"}, &error);
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
    /* A crash may have come between the two. */
    if (join_file_remove(node->world, node->options.data, &error)) {
        node_fail(node, &error);
        return;
    }
    if (node->options.join_count > 0)
        node_join_check(node);
    else
        node_start_member(node);
}
