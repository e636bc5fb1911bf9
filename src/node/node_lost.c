/* Replicas of this node that are lost - with a damaged store, by a loss of power, because they
 * differed from their peers - and how each comes back (FAULTS F21-F25, F32):
 *
 *   waiting   its group has to have a leader without it: such a group has a majority, and this
 *             copy is surely not the last. Then meta is asked for a new id (REPLACE)
 *   filling   the table names another replica here: a learner that the leader fills. Until it
 *             votes, the lost one still counts among those that a majority is taken of, and the
 * group survives no other loss: the node is not whole
 *
 * An entry goes when its successor votes, or when the table gives the node none. */
#include "node/node_internal.h"
#include "world/probe.h"

enum {
    LOST_SETTLE_US = 4 * 1000 * 1000, /* a leader after that long leads without the lost replica */
    LEADER_RECENT_US = 5 * 1000 * 1000, /* a leader not heard of for longer may have gone, too */
};

/* --- the worker's side ---------------------------------------------------------------- */

struct lost_note {
    struct group_id group;
    struct replica_id replica;
    bool removed;
};

static void node_note_lost(struct node_worker *zero, void *argument)
{
    struct lost_note *note = argument;
    struct node *node = zero->node;

    for (uint32_t i = 0; i < node->lost_count; i++) {
        if (node->lost[i].group.value != note->group.value ||
            !replica_id_equal(node->lost[i].replica, note->replica))
            continue;
        memory_free(note);
        return;
    }
    if (node->lost_count == node->lost_capacity) {
        node->lost_capacity = node->lost_capacity ? node->lost_capacity * 2 : 32;
        node->lost = memory_resize(node->lost, node->lost_capacity * sizeof(*node->lost));
    }
    node->lost[node->lost_count++] = (struct lost_replica){.group = note->group,
                                                           .replica = note->replica,
                                                           .removed = note->removed,
                                                           .since = world_now(node->world)};
    memory_free(note);
    node_stores_watch(node);
}

static void note_lost(struct node_worker *worker, uint32_t group, struct replica_id replica,
                      bool removed)
{
    struct lost_note *note = memory_allocate(sizeof(*note));

    if (worker->lost == NULL)
        worker->lost = memory_allocate_zero(worker->view.group_count * sizeof(*worker->lost));
    if (worker->lost[group].value < replica.value) worker->lost[group] = replica;
    *note = (struct lost_note){.group = {group}, .replica = replica, .removed = removed};
    node_call_with(worker, &worker->node->workers[0], node_note_lost, note, memory_free);
}

void worker_lost_replica(struct node_worker *worker, uint32_t group, struct replica_id replica)
{
    note_lost(worker, group, replica, false);
}

void worker_removed_replica(struct node_worker *worker, uint32_t group, struct replica_id replica)
{
    note_lost(worker, group, replica, true);
}

static struct replica_id own_id(const struct node *node, uint32_t group)
{
    const struct view_group *at = &node->workers[0].view.groups[group];

    for (uint32_t k = 0; k < at->replica_count; k++)
        if (at->replicas[k].node == node->identity.node) return at->replicas[k].replica;
    return (struct replica_id){0};
}

static void node_lost_filled(struct node_worker *zero, void *argument)
{
    struct node *node = zero->node;
    struct lost_note *note = argument;
    uint32_t group = note->group.value, kept = 0;
    struct replica_id id = note->replica;
    bool named = replica_id_equal(own_id(node, group), id);

    memory_free(note);
    if (!named) return; /* by now another one is to take the place */
    for (uint32_t i = 0; i < node->lost_count; i++) {
        struct lost_replica *lost = &node->lost[i];
        if (lost->group.value != group || lost->replica.value >= id.value)
            node->lost[kept++] = *lost;
    }
    if (kept < node->lost_count) SOMETIMES(node->world, "a replica in place of a lost one votes");
    node->lost_count = kept;
    node_fence_replaced(node, group, id);
}

void worker_lost_look(struct node_worker *worker)
{
    if (worker->lost == NULL || worker->host == NULL) return;
    for (uint32_t g = 0; g < worker->view.group_count; g++) {
        struct replica_id id = host_replica_id(worker->host, (struct group_id){g});
        bool later = worker->lost[g].value != 0 && id.value > worker->lost[g].value;
        if (!later || !worker_votes(worker, g, id)) continue;
        struct lost_note *note = memory_allocate(sizeof(*note));
        *note = (struct lost_note){.group = {g}, .replica = id};
        node_call_with(worker, &worker->node->workers[0], node_lost_filled, note, memory_free);
    }
}

/* --- worker 0: new ids from meta ------------------------------------------------------ */

void node_lost_leader_heard(struct node *node, struct group_id group)
{
    for (uint32_t i = 0; i < node->lost_count; i++)
        if (node->lost[i].group.value == group.value)
            node->lost[i].leader_heard = world_now(node->world);
}

/* Those that have another id by now, and those that nothing here takes the place of. */
static void lost_sweep(struct node *node)
{
    uint32_t kept = 0;

    for (uint32_t i = 0; i < node->lost_count; i++) {
        struct lost_replica lost = node->lost[i];
        struct replica_id id = own_id(node, lost.group.value);
        lost.filling = !replica_id_equal(id, lost.replica);
        if (lost.filling && id.value == 0) node_fence_replaced(node, lost.group.value, id);
        if (lost.filling && (lost.removed || id.value == 0)) continue;
        node->lost[kept++] = lost;
    }
    node->lost_count = kept;
}

/* A replica of a damaged store is given up only once a later start will know of the damage: it
 * would take the rows of the old id for leftovers, and delete them. */
static bool may_be_replaced(const struct node *node, const struct lost_replica *lost)
{
    const struct node_store *store = &node->stores[group_store(lost->group, node->identity.stores)];
    bool out = store->state == STORE_HALTED || store->state == STORE_DETACHED;
    uint64_t now = world_now(node->world);

    if (lost->filling || (out && !store->marked)) return false;
    return lost->leader_heard >= lost->since + LOST_SETTLE_US &&
           lost->leader_heard + LEADER_RECENT_US >= now;
}

static void replace_answered(struct node *node, struct meta_question *question)
{
    if (question->reply.result == META_REFUSED)
        LOG_WARN(node_logger(node), "repair", "meta gives no new replica ids: %s",
                 question->reply.text);
}

static void replace_ask(struct node *node)
{
    struct meta_question *question = &node->replace;
    struct meta_request *request;

    if (question->busy || !node->booted) return;
    request = memory_allocate_zero(sizeof(*request));
    *request = (struct meta_request){.kind = META_REPLACE,
                                     .node = node->identity.node,
                                     .store = node->identity.store,
                                     .epoch = node->epoch,
                                     .token = node->token};
    for (uint32_t i = 0; i < node->lost_count && request->lost_count < META_REPLACE_MAX; i++) {
        if (!may_be_replaced(node, &node->lost[i])) continue;
        request->lost[request->lost_count++] =
            (struct meta_lost){.group = node->lost[i].group, .replica = node->lost[i].replica};
    }
    if (request->lost_count > 0) {
        buffer_free(&question->body);
        buffer_init(&question->body, META_REQUEST_SIZE_MAX);
        meta_request_encode(request, &question->body);
        question->on_answer = replace_answered;
        meta_question_ask(node, question);
    }
    memory_free(request);
}

void node_lost_poll(struct node *node)
{
    lost_sweep(node);
    if (node_lost_waiting(node) == 0) return;
    node_ask_leaders(node);
    replace_ask(node);
}

/* --- questions ------------------------------------------------------------------------ */

uint32_t node_lost_waiting(const struct node *node)
{
    uint32_t waiting = 0;

    for (uint32_t i = 0; i < node->lost_count; i++)
        waiting += !node->lost[i].filling;
    return waiting;
}

const struct lost_replica *node_lost_first(const struct node *node)
{
    for (uint32_t i = 0; i < node->lost_count; i++)
        if (!node->lost[i].filling) return &node->lost[i];
    return NULL;
}

uint32_t node_lost_filling(const struct node *node)
{
    return node->lost_count - node_lost_waiting(node);
}

bool node_lost_in(const struct node *node, uint32_t store)
{
    for (uint32_t i = 0; i < node->lost_count; i++)
        if (!node->lost[i].filling &&
            group_store(node->lost[i].group, node->identity.stores) == store)
            return true;
    return false;
}

void node_lost_free(struct node *node)
{
    memory_free(node->lost);
    node->lost = NULL;
    node->lost_count = node->lost_capacity = 0;
    buffer_free(&node->replace.body);
}
