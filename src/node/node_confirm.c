/* Before a restarted node votes or acknowledges anything: is this its newest disk (F11)?
 *
 * A disk restored from an older image has forgotten votes and entries that others counted. What
 * it cannot have wound back is what the others know: every start registers its boot epoch in
 * meta, and meta's table is on every node. So a start asks all others for their tables, and:
 *
 *   a table knows a later epoch than the last     another disk spoke under it: this start ends
 *   that this disk spoke under
 *   all members answered, none knows of one       the node speaks
 *   NODE_CONFIRM_GRACE_US passed                  it speaks to those that answered, or if it is
 *                                                 all of meta; whoever has not answered is not
 *                                                 listened to before it does
 *   meta has registered the epoch (BOOT)          it speaks to all
 *
 * Before it speaks, its epoch is on disk as the last that it spoke under. One that was taken by a
 * start that was mute to its end is not: the next one is compared as that one was.
 *
 * Until it speaks its cores stand still, those of meta too. Tables come from disks, so that all
 * can start at once (F04), and any two nodes that answer each other go on without a third: why
 * that is sound, and what is left, is in docs/decisions/0007. The start that founds a cluster,
 * or rejoins with new replica ids, and a node that is alone, have nobody to ask.
 *
 * PEER_FRAME_STATUS ask-table: u8 5. Answered by PEER_FRAME_TABLE, in any state with a table. */
#include "node/node_snapshot.h"
#include "world/probe.h"

/* --- the workers' side ---------------------------------------------------------------- */

/* What decides votes and commits of this node's replicas. */
bool worker_may_hear(const struct node_worker *worker, node_id_t from)
{
    if (worker->hears_all) return true;
    return !worker->muted && from <= NODES_MAX && (worker->heard >> (from - 1) & 1);
}

static void worker_hears(struct node_worker *worker, void *argument)
{
    worker->heard |= UINT64_C(1) << ((uintptr_t)argument - 1);
}

static void worker_speaks(struct node_worker *worker, void *unused)
{
    worker->muted = false;
    if (worker->host != NULL) host_mute(worker->host, false);
}

static void worker_hears_all(struct node_worker *worker, void *unused)
{
    worker->hears_all = true;
}

static void call_all(struct node *node, void (*run)(struct node_worker *worker, void *argument),
                     void *argument)
{
    for (uint32_t i = 0; i < node->platform.worker_count; i++)
        node_call(&node->workers[0], &node->workers[i], run, argument);
}

/* --- worker 0 ------------------------------------------------------------------------- */

bool node_needs_confirmation(const struct node *node)
{
    return !node->vote_at_once && !node->rejoined && node_members_there(node) > 1 &&
           !PLANTED(node->world, "speak_unconfirmed");
}

static uint32_t tables_heard(const struct node *node)
{
    uint32_t count = 0;

    for (node_id_t id = 1; id <= node->member_count; id++)
        count += id != node->identity.node && node_has_member(node, id) &&
                 (node->tables_heard >> (id - 1) & 1);
    return count;
}

static void hear(struct node *node, node_id_t from)
{
    call_all(node, worker_hears, (void *)(uintptr_t)from);
}

static void node_speak(struct node *node)
{
    world_timer_stop(node->world, &node->confirm_timer);
    node->confirmed = true;
    for (node_id_t id = 1; id <= NODES_MAX; id++)
        if (node->tables_heard >> (id - 1) & 1) hear(node, id);
    call_all(node, worker_speaks, NULL);
    node_boot_start(node);
}

/* One that hears nobody has nobody to speak to, unless it is all of meta and can register by
 * itself, as after a salvage or with one replica: by the group's own configuration, since a
 * salvaged node's table wishes for others that are not there. */
static bool has_listeners(const struct node *node)
{
    const struct raft *meta = host_raft(node->workers[0].host, (struct group_id){GROUP_META});
    const struct raft_config *config = meta != NULL ? raft_config(meta) : NULL;
    bool alone = config != NULL && config->outgoing_count == 0 && config->incoming_count == 1 &&
                 config->incoming[0].node == node->identity.node;

    return alone || tables_heard(node) > 0;
}

static void confirm_check(struct node *node)
{
    if (node->confirmed || node->deciding || node->state != NODE_RUNNING) return;
    bool all = tables_heard(node) + 1 >= node_members_there(node);
    bool late = world_now(node->world) - node->confirm_began >= NODE_CONFIRM_GRACE_US;
    if (!all && !(late && has_listeners(node))) return;
    if (!all) SOMETIMES(node->world, "a start went on without an answer of all others");
    node->deciding = true;
    node->identity.epoch_spoken = node->epoch;
    node_save_identity(node);
}

void node_confirm_saved(struct node *node, const struct identity *saved)
{
    bool decided = node->deciding && !node->confirmed && saved->epoch_spoken == node->epoch;
    if (decided && node->state == NODE_RUNNING && !node->fail_pending) node_speak(node);
}

static void ask_tables(struct node *node)
{
    const uint8_t kind = STATUS_ASK_TABLE;

    for (node_id_t id = 1; id <= node->member_count; id++) {
        bool known = id == node->identity.node || !node_has_member(node, id) ||
                     (node->tables_heard >> (id - 1) & 1);
        if (!known)
            transport_send(node->workers[0].transport, id, 0, PEER_FRAME_STATUS,
                           bytes_make(&kind, 1));
    }
}

static void confirm_timer_fired(struct world_timer *timer)
{
    struct node *node = timer->context;

    if (node->state != NODE_RUNNING || node->booted) return;
    ask_tables(node);
    world_timer_start(node->world, timer, NODE_RETRY_US);
    confirm_check(node);
}

void node_confirm_start(struct node *node)
{
    node->confirm_timer = (struct world_timer){.fire = confirm_timer_fired, .context = node};
    node->confirm_began = world_now(node->world);
    if (!node_needs_confirmation(node)) {
        node_speak(node);
        return;
    }
    confirm_timer_fired(&node->confirm_timer);
}

void node_confirm_booted(struct node *node)
{
    call_all(node, worker_hears_all, NULL);
}

/* Any table of another node, however old. */
void node_confirm_table(struct node *node, node_id_t from, const struct cluster_view *view)
{
    const struct view_node *self = cluster_view_node(view, node->identity.node);
    struct error error;

    if (node->booted || !node_needs_confirmation(node) || from > NODES_MAX) return;
    bool ours = self != NULL && self->store == node->identity.store;
    boot_epoch_t last = node->epoch_before;
    bool own_start = node->confirmed && self != NULL && self->epoch == node->epoch;
    if (ours && self->epoch > last && !own_start) {
        SOMETIMES(node->world, "an old image of a disk was found out by a table");
        error_set(
            &error, STATUS_REFUSED,
            "node %s has started with boot epoch %u already, the last that this disk knows of is "
            "%u: the disk was restored from an older image, or another process runs with a copy of "
            "this directory. %sStop the other one; if there is none, move the directory away and start "
            "with an empty one: the node rejoins",
            node->identity.name, self->epoch, last,
            node->confirmed ? "" : "It took part in nothing. ");
        node_fail(node, &error);
        return;
    }
    /* After BOOT was sent the table may know of it, or of an earlier start: BOOT's answer says. */
    if (ours && self->epoch == node->epoch) return;
    if (node->tables_heard >> (from - 1) & 1) return;
    node->tables_heard |= UINT64_C(1) << (from - 1);
    if (node->confirmed) hear(node, from); /* else once that it speaks is on disk */
    confirm_check(node);
}
