/* Meta's leader executes what mover.h plans, one wish at a time; leaders of partitions say when one
 * is fulfilled. Whoever does this and is not meta's leader any more harms nothing: wishes are
 * compare-and-set on the table (WHY 6.3), and each has a new plan made after it.
 *
 * Nothing runs on its own while there is nothing to do: looks are caused by a new table, by a
 * change of meta's leader or of a link, and by the time at which a silent node counts as lost.
 * Worker 0. */
#include "cluster/mover.h"
#include "cluster/view_codec.h"
#include "node/node_internal.h"
#include "world/probe.h"

enum {
    MOVER_PAUSED_US = 1000 * 1000, /* later than a timer is meant to be */
    RECALL_DOUBLINGS = 6,          /* of the time between questions for leaders */
};
#define RECALL_US UINT64_C(250000)

static bool leads_meta(const struct node *node)
{
    const struct node_worker *zero = &node->workers[0];

    return node->state == NODE_RUNNING && node->booted && zero->host != NULL &&
           host_leads(zero->host, (struct group_id){GROUP_META}) != 0;
}

static void look_in(struct node *node, uint64_t us)
{
    struct node_mover *mover = &node->mover;
    uint64_t at = world_now(node->world) + us;

    if (mover->timer.heap_index != 0 && mover->look_at <= at) return;
    mover->look_at = at;
    world_timer_start(node->world, &mover->timer, us);
}

/* --- who is there ------------------------------------------------------------------------- */

/* Silent since: as far as this node has seen it since it leads meta. */
static void look_at_links(struct node *node)
{
    const struct cluster_view *view = &node->workers[0].view;
    uint64_t now = world_now(node->world);

    for (uint32_t i = 0; i < view->node_count; i++) {
        node_id_t id = view->nodes[i].id;
        uint64_t *since = &node->mover.silent_since[id];
        if (node_is_up(node, id))
            *since = 0;
        else if (*since == 0)
            *since = now;
        if (*since != 0 && now - *since < node->options.repair_after)
            look_in(node, *since + node->options.repair_after - now);
    }
}

static void take_silence(const struct node *node, struct mover_silence silence[NODES_MAX])
{
    const struct cluster_view *view = &node->workers[0].view;
    uint64_t now = world_now(node->world);

    for (uint32_t i = 0; i < view->node_count; i++) {
        uint64_t since = node->mover.silent_since[view->nodes[i].id];
        /* One that has not started since it joined gets nothing: it may be asking still, and is
         * given its place again. */
        silence[i].silent = !node_is_up(node, view->nodes[i].id) || view->nodes[i].epoch == 0;
        silence[i].lost =
            silence[i].silent && since != 0 && now - since >= node->options.repair_after;
    }
}

/* --- wishes ------------------------------------------------------------------------------- */

static void wish_for(struct node *node, const struct mover_move *move)
{
    struct meta_request request = {.kind = META_MOVE,
                                   .group = {move->group},
                                   .changed = move->changed,
                                   .replica_count = move->from_count,
                                   .to_count = move->count};

    memcpy(request.replicas, move->from, sizeof(request.replicas));
    memcpy(request.to, move->to, sizeof(request.to));
    node_mover_ask(node, &node->mover.move, &request);
}

void node_mover_plan(const struct node *node, struct mover_plan *ret_plan)
{
    struct mover_silence silence[NODES_MAX];

    take_silence(node, silence);
    mover_plan(&node->workers[0].view, silence, ret_plan);
}

static void note_left(struct node *node, uint32_t left)
{
    struct node_mover *mover = &node->mover;

    mover->left_epoch = node->workers[0].view.table_epoch;
    mover->left = left;
    if (left > mover->left_most || left == 0) mover->left_most = left;
}

void node_mover_progress(struct node *node, uint32_t *ret_left, uint32_t *ret_total)
{
    const struct cluster_view *view = &node->workers[0].view;
    struct mover_plan *plan;

    if (!leads_meta(node) || node->mover.term == 0 || !view_has_more(view)) return;
    if (node->mover.left_epoch != view->table_epoch) {
        plan = memory_allocate(sizeof(*plan));
        node_mover_plan(node, plan);
        note_left(node, plan->left);
        memory_free(plan);
    }
    *ret_left = node->mover.left;
    *ret_total = node->mover.left_most;
}

/* What is planned is asked for as a whole: a plan costs more than a table takes to change. What
 * does not fit the table any more is refused by it. */
static bool ask_next(struct node *node)
{
    struct node_mover *mover = &node->mover;

    if (mover->move.busy) return true;
    if (mover->next >= mover->plan->count) return false;
    wish_for(node, &mover->plan->moves[mover->next++]);
    return true;
}

/* Who leads what is not known for ever: a link broke, and nobody has asked for that group since. */
static void recall_leaders(struct node *node)
{
    struct node_mover *mover = &node->mover;

    mover->leaderless = mover->plan->leaderless > 0;
    if (!mover->leaderless) {
        mover->recalls = 0;
        return;
    }
    if (world_now(node->world) < mover->recall_at) return;
    uint64_t us =
        RECALL_US << (mover->recalls < RECALL_DOUBLINGS ? mover->recalls++ : RECALL_DOUBLINGS);
    mover->recall_at = world_now(node->world) + us;
    node_ask_leaders(node);
    look_in(node, us);
}

/* A plan is of one leadership: what another leader of meta has wished for since is not known in it.
 */
static void look(struct world_timer *timer)
{
    struct node *node = timer->context;
    struct node_mover *mover = &node->mover;
    uint64_t term = leads_meta(node) ? host_leads(node->workers[0].host, (struct group_id){0}) : 0;

    /* After a pause of this process links are judged by what was before it. */
    bool paused = world_now(node->world) > mover->look_at + MOVER_PAUSED_US;

    if (term != mover->term || paused) memset(mover->silent_since, 0, sizeof(mover->silent_since));
    if (term != mover->term) mover->plan->count = mover->left_most = mover->left = 0;
    mover->term = term;
    if (term == 0 || !view_has_more(&node->workers[0].view)) return;
    look_at_links(node);
    if (ask_next(node)) return;
    node_mover_plan(node, mover->plan);
    note_left(node, mover->plan->left);
    mover->next = 0;
    ask_next(node);
    recall_leaders(node);
}

/* Others may say so, too, in the next turns. */
void node_mover_leader_heard(struct node *node)
{
    bool waits = node->mover.leaderless && node->state == NODE_RUNNING;

    if (waits && node->mover.timer.fire != NULL) look_in(node, RECALL_US / 2);
}

static void move_answered(struct node *node, struct meta_question *question)
{
    struct node_mover *mover = &node->mover;
    bool done = question->reply.result == META_DONE;

    if (question->reply.result == META_REFUSED)
        LOG_WARN(node_logger(node), "node", "meta refuses to move a group: %s",
                 question->reply.text);
    mover->failures = done ? 0 : mover->failures + 1;
    if (done) {
        SOMETIMES(node->world, "a group was wished for on other nodes");
        look_in(node, 0);
        return;
    }
    mover->plan->count = 0; /* the table has changed */
    uint32_t doublings = mover->failures < 9 ? mover->failures - 1 : 8;
    look_in(node, NODE_RETRY_US << doublings);
}

void node_mover_look(struct node *node)
{
    if (node->state == NODE_RUNNING && node->mover.timer.fire != NULL) look_in(node, 0);
}

/* --- life --------------------------------------------------------------------------------- */

void node_mover_start(struct node *node)
{
    if (node->mover.plan == NULL)
        node->mover.plan = memory_allocate_zero(sizeof(*node->mover.plan));
    node->mover.timer = (struct world_timer){.fire = look, .context = node};
    node->mover.move.on_answer = move_answered;
    node_settled_start(node);
    node_mover_look(node);
}

void node_mover_stop(struct node *node)
{
    world_timer_stop(node->world, &node->mover.timer);
    node->mover.timer.fire = NULL;
}

void node_mover_forget(struct node *node)
{
    meta_question_forget(node, &node->mover.move);
    meta_question_forget(node, &node->mover.settle);
}

void node_mover_free(struct node *node)
{
    memory_free(node->mover.plan);
    buffer_free(&node->mover.move.body);
    buffer_free(&node->mover.settle.body);
}
