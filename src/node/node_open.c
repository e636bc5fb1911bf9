/* From an identity to running workers: log, stores, members, then the workers. */
#include <stdio.h>

#include "node/node_internal.h"
#include "world/probe.h"

/* --- storage -------------------------------------------------------------------------- */

static struct replica_id recovered_replica(const struct node *node, uint32_t group)
{
    for (size_t i = 0; i < node->recovered_count; i++)
        if (node->recovered[i].group.value == group) return node->recovered[i].replica;
    return (struct replica_id){0};
}

bool node_birth_names(const struct node *node, uint32_t group, struct replica_id replica)
{
    if (group >= node->birth.group_count) return false;
    const struct view_group *born = &node->birth.groups[group];
    for (uint32_t k = 0; k < born->replica_count; k++)
        if (replica_id_equal(born->replicas[k].replica, replica)) return true;
    return false;
}

/* Ids of replicas rise, but META_KEEP goes back to one that the table knew before. */
static bool is_newer(const struct cluster_view *view, struct replica_id here,
                     struct replica_id named)
{
    return view_has_more(view) ? here.value >= view->next_replica_id : here.value > named.value;
}

/* FAULTS rule 9: once born, a replica that the log does not know has lost its votes and its
 * entries, or a crash came before its birth: it comes back under a new id (worker_open). But a
 * log that knows nothing of any group was lost or exchanged, and one that knows newer replicas
 * than the table is none to start with. Ids that came after the founding prove nothing: tables are
 * saved before the replicas that they name are born, and where all have moved on the log is empty.
 */
static enum status node_check_replicas(const struct node *node, struct error *error)
{
    const struct cluster_view *view = &node->workers[0].view;
    uint32_t own = 0, known = 0;

    if (!node->identity.born || PLANTED(node->world, "lost_replica_reborn")) return STATUS_OK;
    for (uint32_t g = 0; g < view->group_count; g++) {
        const struct view_group *group = &view->groups[g];
        for (uint32_t k = 0; k < group->replica_count; k++) {
            if (group->replicas[k].node != node->identity.node) continue;
            struct replica_id here = recovered_replica(node, g);
            own += node_birth_names(node, g, group->replicas[k].replica);
            known += here.value != 0;
            if (is_newer(view, here, group->replicas[k].replica))
                return error_set(error, STATUS_CORRUPT,
                                 "%.200s/log holds replica %llu of group %u, but the table is "
                                 "older and names %llu: one of them was exchanged",
                                 node->options.data, (unsigned long long)here.value, g,
                                 (unsigned long long)group->replicas[k].replica.value);
        }
    }
    if (own == 0 || known > 0) return STATUS_OK;
    return error_set(error, STATUS_CORRUPT,
                     "%.200s/log knows nothing of the %u replicas that lived here: it was lost or "
                     "exchanged",
                     node->options.data, own);
}

static void engines_open_each(struct node *node, uint32_t count, const char *const *directories,
                              struct error *errors)
{
    const struct node_platform *platform = &node->platform;

    for (uint32_t store = 0; store < count; store++)
        if (directories[store] != NULL)
            errors[store].status =
                platform->engine_open(platform->context, store, directories[store],
                                      &node->engines[store], &errors[store]);
}

/* Those that are damaged are left out; anything else that is wrong ends the start. */
static enum status node_open_engines(struct node *node, struct error *error)
{
    const struct node_platform *platform = &node->platform;
    char(*paths)[PATH_SIZE_MAX] = memory_allocate(STORES_MAX * sizeof(*paths));
    struct error *errors = memory_allocate_zero(STORES_MAX * sizeof(*errors));
    const char *directories[STORES_MAX] = {NULL};
    uint32_t count = node->identity.stores;
    enum status status = STATUS_OK;

    ASSERT(count >= 1 && count <= STORES_MAX);
    for (uint32_t store = 0; store < count && status == STATUS_OK; store++) {
        char name[32];
        snprintf(name, sizeof(name), "store-%u", store);
        path_join(paths[store], node->options.data, name);
        status = node_store_check(node, store, error);
        if (status == STATUS_OK)
            directories[store] = paths[store];
        else if (status == STATUS_CORRUPT)
            status = node_store_found_damaged(node, store, error);
    }
    if (status == STATUS_OK && platform->engines_open != NULL)
        platform->engines_open(platform->context, count, directories, node->engines, errors);
    else if (status == STATUS_OK)
        engines_open_each(node, count, directories, errors);
    for (uint32_t store = 0; store < count && status == STATUS_OK; store++) {
        if (node->engines[store] != NULL) engine_set_gate(node->engines[store], node->merge_gate);
        if (errors[store].status == STATUS_OK) continue;
        *error = errors[store];
        status = errors[store].status == STATUS_CORRUPT
                     ? node_store_found_damaged(node, store, error)
                     : errors[store].status;
    }
    memory_free(errors);
    memory_free(paths);
    return status;
}

static uint64_t segment_size(const struct node_options *options)
{
    uint64_t size = options->log_bytes_max / LOG_BOUND_SEGMENTS;

    if (options->log_segment_size != 0) return options->log_segment_size;
    if (options->log_bytes_max == 0 || size > LOG_SEGMENT_SIZE) return LOG_SEGMENT_SIZE;
    return size - size % LOG_SEGMENT_SIZE_UNIT;
}

static enum status node_open_log(struct node *node, struct log_damage *damage, struct error *error)
{
    char path[PATH_SIZE_MAX];

    enum status status = node_memory_read(node, error);
    if (status) return status;
    path_join(path, node->options.data, "log");
    snprintf(damage->file, sizeof(damage->file), "%.255s", path);
    struct log_options log_options = {
        .directory = path,
        .cluster = node->identity.cluster,
        .node = node->identity.node,
        .store = node->identity.store,
        .segment_size = segment_size(&node->options),
        .bytes_max = node->options.log_bytes_max,
        .queue_bytes_max = LOG_QUEUE_BYTES_MAX,
        .must_exist = (node->identity.born || node->identity.made) &&
                      !PLANTED(node->world, "lost_replica_reborn"),
        .lost_power = node_memory_log_may_lack(node),
        .damage = damage,
        .on_written_lost = node_memory_written_lost,
        .context = node,
    };
    status = log_open(node->world, &log_options, &node->log, error);
    if (status) return status;
    log_recovery(node->log, &node->recovered, &node->recovered_count);
    node_fence_load(node);
    status = node_memory_load(node, error);
    if (status) return status;
    return node_check_replicas(node, error);
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
    if (clean) node_memory_clean(node);
    if (clean && node->identity.state == IDENTITY_MEMBER) {
        node->identity.clean = true;
        if (identity_save(node->world, node->options.data, &node->identity, &error))
            LOG_WARN(node_logger(node), "node", "the clean stop is not on record: %s", error.text);
    }
    file_close(node->lock);
    node->lock = NULL;
}

/* --- from identity to running --------------------------------------------------------- */

uint32_t node_members_there(const struct node *node)
{
    uint32_t count = 0;

    for (node_id_t id = 1; id <= node->member_count; id++)
        count += node_has_member(node, id);
    return count;
}

const struct node_member *node_given_member(const struct node *node, const char *name)
{
    for (uint32_t i = 0; i < node->options.member_count; i++)
        if (strcmp(node->options.members[i].name, name) == 0) return &node->options.members[i];
    return NULL;
}

/* Who is a member says the directory; where it is, --cluster, if that names it (an address may
 * change, an identity never: F49), or else the table. Removed nodes may stay in that line. */
void node_take_members(struct node *node)
{
    const struct cluster_view *view = &node->workers[0].view;
    bool self_given = false;
    uint32_t given = 0;

    memset(node->members, 0, sizeof(node->members));
    node->member_count = 0;
    for (uint32_t i = 0; i < view->node_count; i++) {
        const struct view_node *known = &view->nodes[i];
        const struct node_member *line = node_given_member(node, known->name);
        struct node_member *member = &node->members[known->id - 1];
        snprintf(member->name, sizeof(member->name), "%s", known->name);
        snprintf(member->peer, sizeof(member->peer), "%s", line ? line->peer : known->peer);
        if (known->id > node->member_count) node->member_count = known->id;
        if (line != NULL && known->id == node->identity.node) self_given = true;
        given += line != NULL;
    }
    if (node->options.member_count > 0 && given < view->node_count && node->state < NODE_RUNNING)
        LOG_WARN(node_logger(node), "node",
                 "--cluster does not name all nodes that the directory knows: the directory wins");
    node->members_given = self_given;
}

/* From now on a log or a store that is missing was lost (F29). */
static enum status node_note_made(struct node *node, struct error *error)
{
    if (node->identity.made) return STATUS_OK;
    node->identity.made = true;
    return identity_save(node->world, node->options.data, &node->identity, error);
}

/* Identity, epoch and view of worker 0 are set. */
void node_open(struct node *node)
{
    struct error error;
    struct node_worker *zero = &node->workers[0];

    node->state = NODE_OPENING;
    zero->view.self = node->identity.node;
    node_take_members(node);
    enum status status = node_check_settings(node, &error);
    if (status == STATUS_OK) {
        struct log_damage damage = {.offset = 0};
        status = node_open_log(node, &damage, &error);
        if (status == STATUS_CORRUPT) {
            node_damaged(node,
                         &(struct node_damage){
                             .reason = "log", .file = damage.file, .offset = damage.offset},
                         &error);
            return;
        }
    }
    if (status == STATUS_OK) status = node_open_engines(node, &error);
    if (status == STATUS_OK) status = node_note_made(node, &error);
    if (status) {
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
    node_scrub_start(node);
    node_confirm_start(node);
    node_memory_look(node);
    node_repair_watch(node);
    node_fence_start(node);
}
