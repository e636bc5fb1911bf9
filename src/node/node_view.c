/* The cluster view: from the rows of meta, or from another node, to every worker and to DIR/table;
 * to other nodes: node_tables.c. */
#include <stdio.h>

#include "cluster/view_codec.h"
#include "node/node_internal.h"

/* --- to disk -------------------------------------------------------------------------- */

static void save_start(struct node *node);

/* Another thread: only files. */
static void save_run(struct world_job *job)
{
    struct node *node = job->context;
    struct view_save *save = &node->save;

    save->status = STATUS_OK;
    if (buffer_size(&save->body) > 0)
        save->status = view_table_save(node->world, node->options.data, buffer_bytes(&save->body),
                                       &save->error);
    if (save->status == STATUS_OK && save->with_identity)
        save->status =
            identity_save(node->world, node->options.data, &save->identity, &save->error);
}

/* Only then may replicas be born whose ids it has (node_stores.c). */
void node_sync_replicas(struct node *node)
{
    bool current = node->save.epoch_saved == node->workers[0].view.table_epoch;

    for (uint32_t i = 0; i < node->platform.worker_count; i++)
        if (current && node->state == NODE_RUNNING)
            node_call(&node->workers[0], &node->workers[i], worker_sync_replicas, NULL);
}

static void save_done(struct world_job *job)
{
    struct node *node = job->context;
    struct view_save *save = &node->save;

    save->busy = false;
    /* The table is a cache of meta and the block of epochs has slack: going on without them is
     * safe meanwhile. */
    if (save->status) {
        LOG_ERROR(node_logger(node), "node", "cannot save the table or identity: %s; trying again",
                  save->error.text);
        save->identity_wanted |= save->with_identity;
        save->with_identity = false;
        save->again = false;
        if (node->state == NODE_RUNNING)
            world_timer_start(node->world, &save->retry, NODE_SAVE_RETRY_US);
        return;
    }
    save->epoch_saved = save->epoch_taken;
    if (save->with_identity && save->identity.born) node->born_recorded = true;
    if (save->with_identity) node_confirm_saved(node, &save->identity);
    save->with_identity = false;
    if (save->again && node->state != NODE_STOPPED) {
        save_start(node);
        return;
    }
    node_sync_replicas(node);
    node_check_ready(node);
}

static void save_again(struct world_timer *timer)
{
    save_start(timer->context);
}

void node_save_stop(struct node *node)
{
    world_timer_stop(node->world, &node->save.retry);
}

static void save_start(struct node *node)
{
    struct view_save *save = &node->save;

    if (node->fail_pending) return; /* the directory may not be ours */
    if (save->busy) {
        save->again = true;
        return;
    }
    world_timer_stop(node->world, &save->retry);
    save->retry = (struct world_timer){.fire = save_again, .context = node};
    save->busy = true;
    save->again = false;
    buffer_clear(&save->body);
    save->epoch_taken = node->workers[0].view.table_epoch;
    if (save->epoch_taken != save->epoch_saved)
        buffer_append(&save->body, node_encoded_table(node));
    save->with_identity = save->identity_wanted;
    save->identity_wanted = false;
    save->identity = node->identity;
    save->job = (struct world_job){.run = save_run, .done = save_done, .context = node};
    world_job_start(node->world, LANE_READ, &save->job);
}

void node_save_identity(struct node *node)
{
    node->save.identity_wanted = true;
    save_start(node);
}

bool node_save_hold(struct node *node)
{
    struct view_save *save = &node->save;

    if (save->busy || save->identity_wanted || save->retry.heap_index != 0) return false;
    save->busy = true;
    save->again = false;
    return true;
}

void node_save_let_go(struct node *node)
{
    struct view_save *save = &node->save;

    save->busy = false;
    if (save->again && node->state != NODE_STOPPED) save_start(node);
}

void node_save_table(struct node *node)
{
    struct view_save *save = &node->save;

    bool waits = save->busy || save->retry.heap_index != 0;
    if (!waits && save->epoch_saved != node->workers[0].view.table_epoch) save_start(node);
}

/* --- to the workers ------------------------------------------------------------------- */

/* Members that came, went, or are elsewhere now. */
static void worker_take_peers(struct node_worker *worker, const struct cluster_view *new)
{
    const struct node_platform *platform = &worker->node->platform;
    const struct cluster_view *old = &worker->view;

    if (worker->transport == NULL || platform->transport_set_peer == NULL) return;
    for (uint32_t i = 0; i < new->node_count; i++) {
        const struct view_node *known = &new->nodes[i];
        const struct view_node *before = cluster_view_node(old, known->id);
        struct node_member member;
        if (known->id == old->self || (before && strcmp(before->peer, known->peer) == 0)) continue;
        snprintf(member.name, sizeof(member.name), "%s", known->name);
        snprintf(member.peer, sizeof(member.peer), "%s", known->peer);
        platform->transport_set_peer(platform->context, worker->index, known->id, &member);
    }
    for (uint32_t i = 0; i < old->node_count; i++)
        if (cluster_view_node(new, old->nodes[i].id) == NULL)
            platform->transport_set_peer(platform->context, worker->index, old->nodes[i].id, NULL);
}

static void worker_take_view(struct node_worker *worker, void *argument)
{
    struct cluster_view *view = argument;

    if (view->table_epoch > worker->view.table_epoch) {
        worker_take_peers(worker, view);
        cluster_view_assign(&worker->view, view);
        if (worker->gateway != NULL) gateway_view_changed(worker->gateway);
        if (worker->host != NULL) worker_set_wishes(worker);
    }
    cluster_view_free(view);
    memory_free(view);
}

static struct cluster_view *view_copy(const struct cluster_view *view)
{
    struct cluster_view *copy = memory_allocate(sizeof(*copy));

    cluster_view_init(copy);
    cluster_view_assign(copy, view);
    return copy;
}

static void view_drop(void *argument)
{
    cluster_view_free(argument);
    memory_free(argument);
}

/* --- adoption ------------------------------------------------------------------------- */

/* Meta knows this node under another store, or a later start of it: this process is the twin
 * or the old disk, and must not serve on (F09, F12). */
static bool view_allows_us(struct node *node, const struct cluster_view *view)
{
    const struct view_node *self = cluster_view_node(view, node->identity.node);
    struct error error;

    if (self == NULL) {
        error_set(
            &error, STATUS_REFUSED,
            "node %s was removed from the cluster, which needs nothing of its directory any more",
            node->identity.name);
    } else if (self->store != node->identity.store) {
        error_set(&error, STATUS_REFUSED,
                  "node %s has rejoined with another directory (store %016llx, this one is "
                  "%016llx): this process stops. Move this directory away",
                  node->identity.name, (unsigned long long)self->store,
                  (unsigned long long)node->identity.store);
    } else if (self->epoch > node->epoch) {
        error_set(&error, STATUS_REFUSED,
                  "another process has started as node %s with boot epoch %u, this one has %u: "
                  "two run with copies of one directory; this one stops",
                  node->identity.name, self->epoch, node->epoch);
    } else {
        return true;
    }
    node_fail(node, &error);
    return false;
}

static uint32_t nodes_gone(const struct cluster_view *old, const struct cluster_view *new,
                           node_id_t ret_gone[NODES_MAX])
{
    uint32_t count = 0;

    for (uint32_t i = 0; i < old->node_count; i++)
        if (cluster_view_node(new, old->nodes[i].id) == NULL) ret_gone[count++] = old->nodes[i].id;
    return count;
}

void node_adopt_view(struct node *node, const struct cluster_view *view)
{
    struct node_worker *zero = &node->workers[0];
    node_id_t self = node->identity.node;

    if (!cluster_id_equal(view->cluster, node->identity.cluster)) return;
    if (view->table_epoch <= zero->view.table_epoch) return;
    if (view->cluster_version > node_newest_version(node)) return;
    if (view->group_count != zero->view.group_count) return; /* never changes in this version */
    if (!view_allows_us(node, view)) return;

    node_id_t gone[NODES_MAX];
    uint32_t gone_count = nodes_gone(&zero->view, view, gone);
    worker_take_peers(zero, view);
    cluster_view_assign(&zero->view, view);
    zero->view.self = self;
    node_take_members(node);
    LOG_DEBUG(node_logger(node), "node", "table epoch=%llu", (unsigned long long)view->table_epoch);
    if (zero->gateway != NULL) gateway_view_changed(zero->gateway);
    if (zero->host != NULL) worker_set_wishes(zero);
    for (uint32_t i = 1; i < node->platform.worker_count; i++)
        node_call_with(zero, &node->workers[i], worker_take_view, view_copy(&zero->view),
                       view_drop);
    save_start(node);
    node_tables_changed(node);
    for (uint32_t i = 0; i < gone_count; i++)
        node_send_table(node, gone[i]); /* by which it knows, and ends */
    node_mover_look(node);
    node_memory_look(node);
    node_check_ready(node);
}

void node_read_meta(struct node *node)
{
    struct node_worker *zero = &node->workers[0];
    struct group_id meta = {GROUP_META};
    struct cluster_view view;

    if (node->state != NODE_RUNNING || zero->host == NULL) return;
    const struct row_table *rows = host_rows(zero->host, meta);
    if (rows == NULL || meta_rows_epoch(rows) <= zero->view.table_epoch) return;
    cluster_view_init(&view);
    enum status status = meta_rows_view(rows, &view);
    if (status == STATUS_OK)
        node_adopt_view(node, &view);
    else
        LOG_ERROR(node_logger(node), "node", "the rows of meta cannot be read: %s",
                  status_text(status));
    cluster_view_free(&view);
}
