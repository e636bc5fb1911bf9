/* Creation, the directory, founding or boot, opening the storage, failure. */
#include <stdio.h>
#include <stdlib.h>

#include "node/node_snapshot.h"

void node_options_default(struct node_options *options)
{
    *options = (struct node_options){
        .workers = 1,
        .patience = 10 * 1000 * 1000,
        .max_connections = 10000,
        .timing = {.heartbeat = 50 * 1000,
                   .election_timeout_min = 300 * 1000,
                   .election_timeout_max = 600 * 1000,
                   .lease = 240 * 1000},
        .log_segment_size = 64 << 20,
        .flush_bytes = 32 << 20,
        .entries_bytes_max = 4 << 20,
    };
    snprintf(options->name, sizeof(options->name), "n1");
}

const struct logger *node_logger(const struct node *node)
{
    return world_logger(node->world);
}

/* --- calls between workers ----------------------------------------------------------------- */

struct node_post {
    struct world_post post;
    struct node_worker *to;
    void (*run)(struct node_worker *worker, void *argument);
    void *argument;
};

static void node_post_run(struct world_post *post)
{
    struct node_post *call = CONTAINER_OF(post, struct node_post, post);

    call->run(call->to, call->argument);
    memory_free(call);
}

void node_call(struct node_worker *from, struct node_worker *to,
               void (*run)(struct node_worker *worker, void *argument), void *argument)
{
    if (from == to) {
        run(to, argument);
        return;
    }
    struct node_post *call = memory_allocate_zero(sizeof(*call));
    call->post.run = node_post_run;
    call->to = to;
    call->run = run;
    call->argument = argument;
    world_post(to->world, &call->post);
}

/* --- failure ------------------------------------------------------------------------------- */

static void node_failure_run(struct world_deferred *deferred)
{
    struct node *node = deferred->context;

    if (node->state == NODE_STOPPED) return;
    node->state = NODE_STOPPED;
    node_boot_stop(node);
    node_admin_close(node);
    node->platform.on_stopped(node->platform.context, &node->failure);
}

/* The node cannot go on. Told at the end of the turn: callers may hold what would be freed. */
void node_fail(struct node *node, const struct error *error)
{
    if (node->fail_pending || node->state == NODE_STOPPED) return;
    node->fail_pending = true;
    node->failure = *error;
    world_defer(node->world, &node->failure_out);
}

/* --- creation ------------------------------------------------------------------------------ */

static int compare_members(const void *a, const void *b)
{
    return strcmp(((const struct node_member *)a)->name, ((const struct node_member *)b)->name);
}

static void node_founding_over(struct world_deferred *deferred)
{
    struct node *node = deferred->context;

    founding_close(node->founding);
    node->founding = NULL;
}

struct node *node_create(const struct node_options *options, const struct node_platform *platform)
{
    struct node *node = memory_allocate_zero(sizeof(*node));

    ASSERT(platform->worker_count >= 1 && platform->worker_count <= WORKERS_MAX);
    ASSERT(options->member_count <= MEMBERS_MAX);
    node->options = *options;
    node->platform = *platform;
    node->world = platform->worlds[0];
    node->failure_out = (struct world_deferred){.run = node_failure_run, .context = node};
    node->founding_over = (struct world_deferred){.run = node_founding_over, .context = node};
    cluster_view_init(&node->birth);
    buffer_init(&node->save.body, SEALED_SIZE_MAX);

    node->member_count = options->member_count;
    node->members_given = options->member_count > 0;
    memcpy(node->members, options->members, options->member_count * sizeof(*node->members));
    qsort(node->members, node->member_count, sizeof(*node->members), compare_members);

    node->workers = memory_allocate_zero(platform->worker_count * sizeof(*node->workers));
    for (uint32_t i = 0; i < platform->worker_count; i++)
        worker_init(&node->workers[i], node, i);
    return node;
}

void node_destroy(struct node *node)
{
    if (node == NULL) return;
    founding_close(node->founding);
    node_admin_close(node);
    node_collector_free(node->collector);
    for (uint32_t i = 0; i < node->platform.worker_count; i++) {
        struct node_worker *worker = &node->workers[i];
        worker_close(worker);
        cluster_view_free(&worker->view);
        memory_free(worker->news);
    }
    if (node->log != NULL) log_abandon(node->log);
    for (uint32_t i = 0; i < STORES_MAX; i++)
        if (node->engines[i] != NULL) engine_close(node->engines[i]);
    file_close(node->lock);
    buffer_free(&node->boot.body);
    buffer_free(&node->found.body);
    buffer_free(&node->epochs.body);
    for (uint32_t i = 0; i < REJOIN_QUESTIONS_MAX; i++)
        buffer_free(&node->rejoins[i].question.body);
    buffer_free(&node->save.body);
    cluster_view_free(&node->birth);
    memory_free(node->workers);
    memory_free(node);
}

/* --- the directory ------------------------------------------------------------------------- */

static uint32_t read_pid(struct node *node)
{
    char path[PATH_SIZE_MAX];
    char text[16] = {0};
    struct file *file = NULL;
    size_t size = 0;

    path_join(path, node->options.data, "holon.pid");
    if (file_open(node->world, path, FILE_READ, &file, NULL) == STATUS_OK)
        file_read(file, 0, text, sizeof(text) - 1, &size, NULL);
    file_close(file);
    return (uint32_t)strtoul(text, NULL, 10);
}

static void write_pid(struct node *node)
{
    char path[PATH_SIZE_MAX];
    char text[16];
    struct file *file = NULL;

    if (node->options.process_id == 0) return;
    path_join(path, node->options.data, "holon.pid");
    snprintf(text, sizeof(text), "%u\n", node->options.process_id);
    if (file_open(node->world, path, FILE_WRITE | FILE_CREATE, &file, NULL) == STATUS_OK) {
        file_truncate(file, 0, NULL);
        file_write(file, 0, bytes_of(text), NULL);
    }
    file_close(file);
}

/* The lock lives as long as the process: a second one must never write the same log (F12). */
static enum status node_lock_directory(struct node *node, struct error *error)
{
    char path[PATH_SIZE_MAX];
    const char *data = node->options.data;

    enum status status = world_make_dir(node->world, data, error);
    if (status != STATUS_OK && status != STATUS_EXISTS) return status;
    path_join(path, data, "lock");
    status = file_open(node->world, path, FILE_WRITE | FILE_CREATE, &node->lock, error);
    if (status) return status;
    status = file_lock(node->lock, error);
    if (status == STATUS_REFUSED)
        return error_set(error, status,
                         "%.300s is in use by another holon process (pid %u in holon.pid): stop "
                         "that one, or choose another --data",
                         data, read_pid(node));
    if (status == STATUS_OK) write_pid(node);
    return status;
}

/* --- settings -------------------------------------------------------------------------------- */

static enum status refuse_setting(struct error *error, const char *name, const char *given,
                                  const char *stored)
{
    return error_set(error, STATUS_REFUSED,
                     "--%s %s was given, but this cluster was founded with %s %s. It is a setting "
                     "of the cluster: leave the option out, or give the stored value",
                     name, given, name, stored);
}

static enum status check_number(uint32_t given, uint32_t stored, const char *name,
                                struct error *error)
{
    char given_text[16], stored_text[16];

    if (given == 0 || given == stored) return STATUS_OK;
    snprintf(given_text, sizeof(given_text), "%u", given);
    snprintf(stored_text, sizeof(stored_text), "%u", stored);
    return refuse_setting(error, name, given_text, stored_text);
}

static enum status node_check_settings(const struct node *node, struct error *error)
{
    const struct node_options *options = &node->options;
    const struct identity *identity = &node->identity;

    if (strcmp(options->name, identity->name) != 0)
        return error_set(error, STATUS_REFUSED,
                         "%.200s belongs to node %s, not %s: give --name %s, or another --data",
                         options->data, identity->name, options->name, identity->name);
    enum status status =
        check_number(options->partitions, identity->partitions, "partitions", error);
    if (status) return status;
    status = check_number(options->replicas, identity->replicas, "replicas", error);
    if (status) return status;
    status = check_number(options->stores, identity->stores, "stores", error);
    if (status) return status;
    if (options->reads_given && options->reads != identity->reads)
        return refuse_setting(error, "reads", reads_mode_name(options->reads),
                              reads_mode_name(identity->reads));
    return STATUS_OK;
}

/* --- storage --------------------------------------------------------------------------------- */

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
    for (uint32_t store = 0; store < count; store++) {
        char name[32];
        snprintf(name, sizeof(name), "store-%u", store);
        path_join(paths[store], node->options.data, name);
        directories[store] = paths[store];
    }
    if (platform->engines_open != NULL)
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

/* --- from identity to running ------------------------------------------------------------------
 */

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
static void node_open(struct node *node)
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
    node_boot_start(node);
}

/* --- founding or boot ----------------------------------------------------------------------------
 */

static void on_founded(void *context, const struct founding_result *result)
{
    struct node *node = context;

    node->identity = result->identity;
    node->epoch = result->epoch;
    node->vote_at_once = !result->rejoined;
    node->rejoined = result->rejoined;
    cluster_view_assign(&node->workers[0].view, result->view);
    if (!result->rejoined) cluster_view_assign(&node->birth, result->view);
    world_defer(node->world, &node->founding_over);
    LOG_INFO(node_logger(node), "node", "%s nodes=%u partitions=%u",
             result->rejoined ? "rejoined the cluster" : "founded the cluster",
             result->view->node_count, result->view->partition_count);
    if (node->state == NODE_FOUNDING) node_open(node);
}

static void on_founding_failed(void *context, const struct error *error)
{
    struct node *node = context;

    world_defer(node->world, &node->founding_over);
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

/* --- what others ask ---------------------------------------------------------------------------
 */

const struct node_member *node_members(const struct node *node, uint32_t *ret_count)
{
    *ret_count = node->member_count;
    return node->members;
}

bool node_is_ready(const struct node *node)
{
    return node->ready;
}

uint16_t node_redis_port(const struct node *node)
{
    return node->workers[0].redis ? redis_service_port(node->workers[0].redis, false) : 0;
}

struct partition_host *node_host(struct node *node, uint32_t worker)
{
    return worker < node->platform.worker_count ? node->workers[worker].host : NULL;
}

struct gateway *node_gateway(struct node *node, uint32_t worker)
{
    return worker < node->platform.worker_count ? node->workers[worker].gateway : NULL;
}
