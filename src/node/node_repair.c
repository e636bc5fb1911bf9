/* A node whose log, identity or tables are damaged, and that has peers to be rebuilt from
 * (FAULTS rules 5, 8, 9; DESIGN.md 5): REPAIR.
 *
 * What it held goes to DIR/quarantine, then it takes the way of a node with an empty disk: a new
 * store id, new replica ids, learners that its peers fill and promote. What is different from an
 * empty disk: it never founds, not even with others that are empty too, since what it lost may
 * have been the last copy. DIR/repair says how far it is (cluster/repair_file.h).
 *
 * A node that nobody can rebuild (alone, or its groups have fewer than three replicas) refuses to
 * start, changes nothing, and names `holon salvage`. */
#include <stdio.h>

#include "node/node_internal.h"
#include "world/probe.h"

enum { REPAIR_POLL_US = 500 * 1000 };

static void repair_measure(struct node *node)
{
    quarantine_measure(node->world, node->options.data, &node->repair.quarantine);
}

/* --- may it? -------------------------------------------------------------------------- */

/* The newest view that the directory can still tell, or one without groups. */
static void repair_view(struct node *node, struct cluster_view *view)
{
    static const char *const files[] = {"table", VIEW_COPY_FILE, "birth"};

    for (size_t i = 0; i < ARRAY_COUNT(files); i++) {
        if (view_file_load(node->world, node->options.data, files[i], view, NULL) == STATUS_OK)
            return;
        cluster_view_free(view);
        cluster_view_init(view);
    }
}

static node_id_t repair_self(const struct node *node, const struct cluster_view *view)
{
    for (uint32_t i = 0; i < view->node_count; i++)
        if (strcmp(view->nodes[i].name, node->options.name) == 0) return view->nodes[i].id;
    return 0;
}

/* Each group of this node keeps a majority without it. Text: why not. */
static const char *repair_obstacle(const struct node *node, const struct cluster_view *view)
{
    node_id_t self = repair_self(node, view);
    uint32_t nodes = view->node_count > 0 ? view->node_count : node_members_there(node);
    uint32_t wished = node->options.replicas ? node->options.replicas : REPLICAS_DEFAULT;

    if (nodes < 2) return "this node is alone";
    if (view->group_count == 0) {
        bool enough = nodes >= 3 && wished >= 3;
        return enough ? NULL : "a partition needs three replicas for that";
    }
    if (self == 0) return "its table names no node of this name: another node's directory?";
    for (uint32_t g = 0; g < view->group_count; g++) {
        const struct view_group *group = &view->groups[g];
        for (uint32_t k = 0; k < group->replica_count; k++)
            if (group->replicas[k].node == self && group->replica_count < 3)
                return "a partition needs three replicas for that";
    }
    return NULL;
}

const char *node_repair_obstacle(const struct node *node)
{
    return repair_obstacle(node, &node->workers[0].view);
}

/* --- moving --------------------------------------------------------------------------- */

static enum status repair_move(struct node *node, struct error *error)
{
    const char *items[2 * STORES_MAX + 8] = {"log",   "identity", "table",  VIEW_COPY_FILE,
                                             "birth", "founding", "fenced", "memory"};
    char names[STORES_MAX][16], marks[STORES_MAX][32];
    size_t count = 8;
    struct repair_file *file = &node->repair.file;
    char why[1024];

    for (uint32_t i = 0; i < STORES_MAX; i++) {
        snprintf(names[i], sizeof(names[i]), "store-%u", i);
        items[count++] = names[i];
        snprintf(marks[i], sizeof(marks[i]), "store-%u.damaged", i);
        items[count++] = marks[i];
    }
    enum status status =
        quarantine_move(node->world, node->options.data, file->quarantine, items, count, error);
    if (status) return status;
    snprintf(why, sizeof(why), "%s offset %llu\n%s\n", file->file, (unsigned long long)file->offset,
             file->what);
    quarantine_explain(node->world, node->options.data, file->quarantine, why);
    file->step = REPAIR_JOINING;
    status = repair_file_save(node->world, node->options.data, file, error);
    if (status) return status;
    repair_measure(node);
    SOMETIMES(node->world, "a node went into repair");
    LOG_WARN(node_logger(node), "repair",
             "what was there is in %s/quarantine/%s; this node asks its peers for a place",
             node->options.data, file->quarantine);
    return STATUS_OK;
}

/* Ids are those that the node knew; where the others are may have changed since (F49). */
static void repair_take_members(struct node *node)
{
    const struct repair_file *file = &node->repair.file;

    memset(node->members, 0, sizeof(node->members));
    node->member_count = file->member_count;
    for (uint32_t i = 0; i < file->member_count; i++) {
        const struct founding_member *from = &file->members[i];
        const struct node_member *line = node_given_member(node, from->name);
        memcpy(node->members[i].name, from->name, sizeof(from->name));
        snprintf(node->members[i].peer, sizeof(node->members[i].peer), "%s",
                 line != NULL ? line->peer : from->peer);
    }
}

static void repair_join(struct node *node)
{
    struct error error;

    if (node->repair.file.step == REPAIR_MOVING && repair_move(node, &error)) {
        node_fail(node, &error);
        return;
    }
    memset(&node->identity, 0, sizeof(node->identity));
    node->epoch = 0;
    memory_file_free(&node->memory.file);
    node->born_recorded = false;
    cluster_view_free(&node->birth);
    cluster_view_init(&node->birth);
    cluster_view_free(&node->workers[0].view);
    cluster_view_init(&node->workers[0].view);
    if (node->repair.file.member_count > 0) repair_take_members(node);
    node->state = NODE_NEW;
    /* People may ask what it waits for. */
    if (node_admin_open(node, &error)) {
        node_fail(node, &error);
        return;
    }
    node_start_founding(node, false);
}

/* --- damage found --------------------------------------------------------------------- */

static void repair_members(struct node *node, const struct cluster_view *view,
                           struct repair_file *file)
{
    if (node->members_given || view->node_count == 0) {
        file->member_count = node->member_count;
        for (uint32_t i = 0; i < node->member_count; i++) {
            memcpy(file->members[i].name, node->members[i].name, sizeof(file->members[i].name));
            memcpy(file->members[i].peer, node->members[i].peer, sizeof(file->members[i].peer));
        }
        return;
    }
    /* By id: it rejoins as the one it is. Places of removed nodes stay empty. */
    for (uint32_t i = 0; i < view->node_count; i++) {
        const struct view_node *known = &view->nodes[i];
        if (known->id > FOUNDING_MEMBERS_MAX) continue;
        struct founding_member *member = &file->members[known->id - 1];
        memcpy(member->name, known->name, sizeof(member->name));
        memcpy(member->peer, known->peer, sizeof(member->peer));
        if (known->id > file->member_count) file->member_count = known->id;
    }
}

static enum status repair_begin(struct node *node, const struct cluster_view *view,
                                const struct node_damage *damage, const struct error *cause,
                                struct error *error)
{
    struct repair_file *file = &node->repair.file;
    const char *data = node->options.data;

    memset(file, 0, sizeof(*file));
    file->step = REPAIR_MOVING;
    file->cluster =
        cluster_id_is_none(node->identity.cluster) ? view->cluster : node->identity.cluster;
    file->offset = damage->offset;
    file->began = world_wall_time(node->world);
    file->settings = (struct founding_settings){.stores = node->identity.stores,
                                                .partitions = view->partition_count,
                                                .replicas = view->replicas,
                                                .reads = view->reads};
    snprintf(file->reason, sizeof(file->reason), "%s", damage->reason);
    snprintf(file->file, sizeof(file->file), "%s", damage->file);
    snprintf(file->what, sizeof(file->what), "%s", cause->text);
    repair_members(node, view, file);
    enum status status =
        quarantine_name(node->world, data, damage->reason, file->quarantine, error);
    if (status) return status;
    status = repair_file_save(node->world, data, file, error);
    if (status == STATUS_OK) node->repair.active = true;
    return status;
}

void node_damaged(struct node *node, const struct node_damage *damage, const struct error *cause)
{
    struct error error;
    struct cluster_view view;

    LOG_ERROR(node_logger(node), "repair", "damage: %s", cause->text);
    if (node->log != NULL) log_abandon(node->log); /* as it is: evidence */
    node->log = NULL;
    cluster_view_init(&view);
    repair_view(node, &view);
    const char *obstacle = repair_obstacle(node, &view);
    if (obstacle != NULL) {
        error_set(&error, STATUS_CORRUPT,
                  "%.300s. It cannot be rebuilt by peers (%s) and does not start; nothing was "
                  "changed. `holon salvage --data %.60s --dry-run` says what can be kept",
                  cause->text, obstacle, node->options.data);
        node_fail(node, &error);
    } else if (repair_begin(node, &view, damage, cause, &error)) {
        node_fail(node, &error);
    } else {
        repair_join(node);
    }
    cluster_view_free(&view);
}

/* --- at a start ----------------------------------------------------------------------- */

bool node_repair_resume(struct node *node)
{
    struct repair_file *file = &node->repair.file;
    struct error error;
    struct identity identity;

    repair_measure(node);
    enum status status = repair_file_load(node->world, node->options.data, file, &error);
    if (status == STATUS_NOT_FOUND) return false;
    if (status == STATUS_CORRUPT) {
        /* Nobody knows how far that repair was: what lies here is evidence once more. */
        node_damaged(node, &(struct node_damage){.reason = "repair", .file = "repair"}, &error);
        return true;
    }
    if (status) {
        node_fail(node, &error);
        return true;
    }
    node->repair.active = true;
    LOG_WARN(node_logger(node), "repair", "in repair since an earlier start: %s", file->what);
    if (file->step == REPAIR_JOINING &&
        identity_load(node->world, node->options.data, &identity, NULL) == STATUS_OK &&
        identity.state == IDENTITY_MEMBER)
        file->step = REPAIR_FILLING; /* the crash came between the two files */
    if (file->step == REPAIR_FILLING) return false;
    repair_join(node);
    return true;
}

void node_repair_joined(struct node *node)
{
    struct error error;

    if (!node->repair.active) return;
    node->repair.file.step = REPAIR_FILLING;
    if (repair_file_save(node->world, node->options.data, &node->repair.file, &error))
        node_fail(node, &error);
}

/* --- until the last replica votes again ------------------------------------------------ */

static void repair_done(struct node *node)
{
    struct error error;

    if (repair_file_remove(node->world, node->options.data, &error)) {
        LOG_WARN(node_logger(node), "repair", "cannot remove the mark: %s", error.text);
        return;
    }
    node->repair.active = false;
    SOMETIMES(node->world, "a node was whole again after repair");
    LOG_INFO(node_logger(node), "repair",
             "done: all %u replicas of this node were rebuilt by their peers; the evidence stays "
             "in %s/quarantine/%s",
             node->repair.replicas, node->options.data, node->repair.file.quarantine);
}

static void repair_counted(struct node_worker *zero, void *argument)
{
    struct node *node = zero->node;
    struct repair_count *count = argument;
    struct repair_count *sum = &node->repair.counting;

    for (uint32_t i = 0; i < STORES_MAX; i++) {
        sum->replicas[i] += count->replicas[i];
        sum->voters[i] += count->voters[i];
    }
    memory_free(count);
    if (--node->repair.counts_missing > 0) return;
    node->repair.replicas = node->repair.voters = 0;
    for (uint32_t i = 0; i < STORES_MAX; i++) {
        node->repair.replicas += sum->replicas[i];
        node->repair.voters += sum->voters[i];
        if (node->state == NODE_RUNNING)
            node_store_counted(node, i, sum->replicas[i], sum->voters[i]);
    }
    bool whole = node->repair.replicas > 0 && node->repair.voters == node->repair.replicas;
    if (node->state == NODE_RUNNING && node->repair.active && whole) repair_done(node);
}

static bool is_voter(const struct raft *raft, struct replica_id id)
{
    const struct raft_config *config = raft_config(raft);

    if (config->outgoing_count > 0) return false; /* those before it count as well */
    for (uint32_t i = 0; i < config->incoming_count; i++)
        if (replica_id_equal(config->incoming[i].replica, id)) return true;
    return false;
}

bool worker_votes(const struct node_worker *worker, uint32_t group, struct replica_id id)
{
    const struct raft *raft = host_raft(worker->host, (struct group_id){group});

    return raft != NULL &&
           replica_id_equal(host_replica_id(worker->host, (struct group_id){group}), id) &&
           !host_is_fenced(worker->host, (struct group_id){group}) && is_voter(raft, id);
}

struct replica_id worker_votes_before(const struct node_worker *worker, uint32_t group,
                                      struct replica_id id)
{
    const struct raft *raft = host_raft(worker->host, (struct group_id){group});
    const struct raft_config *config = raft != NULL ? raft_config(raft) : NULL;
    node_id_t node = worker->node->identity.node;

    for (uint32_t i = 0; config != NULL && i < config->incoming_count; i++)
        if (config->incoming[i].node == node && config->incoming[i].replica.value < id.value)
            return config->incoming[i].replica;
    for (uint32_t i = 0; config != NULL && i < config->outgoing_count; i++)
        if (config->outgoing[i].node == node && config->outgoing[i].replica.value < id.value)
            return config->outgoing[i].replica;
    return (struct replica_id){0};
}

static void worker_count_voters(struct node_worker *worker, void *unused)
{
    struct repair_count *count = memory_allocate_zero(sizeof(*count));
    const struct cluster_view *view = &worker->view;

    for (uint32_t g = 0; g < view->group_count && worker->host != NULL; g++) {
        struct replica_id id = worker_own_replica(worker, g);
        if (id.value == 0) continue;
        uint32_t store = group_store((struct group_id){g}, worker->node->identity.stores);
        count->replicas[store]++;
        count->voters[store] += worker_votes(worker, g, id);
    }
    worker_lost_look(worker);
    node_call_with(worker, &worker->node->workers[0], repair_counted, count, memory_free);
}

void node_repair_count(struct node *node)
{
    if (node->repair.counts_missing > 0) return;
    node->repair.counts_missing = node->platform.worker_count;
    node->repair.counting = (struct repair_count){{0}, {0}};
    for (uint32_t i = 0; i < node->platform.worker_count; i++)
        node_call(&node->workers[0], &node->workers[i], worker_count_voters, NULL);
}

static void repair_poll(struct world_timer *timer)
{
    struct node *node = timer->context;

    if (node->state != NODE_RUNNING || !node->repair.active) return;
    world_timer_start(node->world, timer, REPAIR_POLL_US);
    node_repair_count(node);
}

void node_repair_watch(struct node *node)
{
    node->repair.poll = (struct world_timer){.fire = repair_poll, .context = node};
    if (node->repair.active) world_timer_start(node->world, &node->repair.poll, REPAIR_POLL_US);
}
