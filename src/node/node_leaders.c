/* Who leads what: learned by the replicas of one worker, told to the other workers of the node,
 * and by leaders to the nodes that hold no replica of the group, whose gateways would have to
 * guess otherwise.
 *
 * PEER_FRAME_STATUS: u8 kind | ...
 *   leaders: u8 1 | varint count | count * (varint group | varint term): the sender leads these
 *   ask:     u8 4: tell me again
 *   ask-table: u8 5, see node_confirm.c
 *   table-epoch: u8 6, see node_tables.c
 * Best effort: a gateway that was told nothing asks around. */
#include "base/codec.h"
#include "node/node_snapshot.h"

enum { LEADERS_SIZE_MAX = 128 << 10 };

/* Copied to another worker. */
struct news_batch {
    uint32_t count;
    struct leader_news news[];
};

/* True if this is news. An older term never replaces a newer one. */
static bool worker_take_news(struct node_worker *worker, const struct leader_news *news)
{
    if (news->group.value >= worker->view.group_count) return false;
    const struct view_group *group = &worker->view.groups[news->group.value];

    if (news->term < group->leader_term) return false;
    if (news->term == group->leader_term && news->leader == group->leader) return false;
    cluster_view_set_leader(&worker->view, news->group, news->leader, news->term,
                            world_now(worker->world));
    if (worker->gateway != NULL) gateway_leader_changed(worker->gateway, news->group);
    /* Whose replica is removed before it hears of the next leader is told by nobody: that one took
     * it for a member when it told the others. */
    if (news->leader == 0 && worker->index == 0) node_watch_again(worker->node);
    return true;
}

static void worker_take_batch(struct node_worker *worker, void *argument)
{
    struct news_batch *batch = argument;

    for (uint32_t i = 0; i < batch->count; i++)
        worker_take_news(worker, &batch->news[i]);
    memory_free(batch);
    if (worker->index != 0) return;
    node_mover_leader_heard(worker->node);
    node_check_ready(worker->node);
}

static void worker_tell_others(struct node_worker *worker, const struct leader_news *news,
                               uint32_t count)
{
    struct node *node = worker->node;

    for (uint32_t i = 0; i < node->platform.worker_count; i++) {
        if (i == worker->index) continue;
        size_t size = count * sizeof(*news);
        struct news_batch *batch = memory_allocate(sizeof(*batch) + size);
        batch->count = count;
        memcpy(batch->news, news, size);
        node_call_with(worker, &node->workers[i], worker_take_batch, batch, memory_free);
    }
}

static bool holds_replica(const struct view_group *group, node_id_t node)
{
    for (uint32_t k = 0; k < group->replica_count; k++)
        if (group->replicas[k].node == node) return true;
    return false;
}

/* Sends those of `news` that `to` cannot learn by itself; all, if it has asked: a replica that it
 * should have may be lost. */
static void worker_send_news(struct node_worker *worker, node_id_t to, bool asked,
                             const struct leader_news *news, uint32_t count)
{
    struct buffer pairs;
    struct buffer frame;
    uint32_t told = 0;

    buffer_init(&pairs, LEADERS_SIZE_MAX);
    buffer_init(&frame, LEADERS_SIZE_MAX + 16);
    struct writer writer = writer_make(&pairs);
    for (uint32_t i = 0; i < count; i++) {
        bool ours = news[i].leader == worker->view.self;
        bool knows = !asked && holds_replica(&worker->view.groups[news[i].group.value], to);
        if (!ours || knows) continue;
        write_varint(&writer, news[i].group.value);
        write_varint(&writer, news[i].term);
        told++;
    }
    if (told > 0 && !writer.failed) {
        struct writer head = writer_make(&frame);
        write_u8(&head, STATUS_LEADERS);
        write_varint(&head, told);
        write_bytes(&head, buffer_bytes(&pairs));
        relay_send(worker->relay, worker->transport, to, 0, PEER_FRAME_STATUS,
                   buffer_bytes(&frame));
    }
    buffer_free(&pairs);
    buffer_free(&frame);
}

void worker_news_run(struct world_deferred *deferred)
{
    struct node_worker *worker = deferred->context;
    uint32_t count = worker->news_count;

    if (count == 0 || worker->transport == NULL) return;
    worker->news_count = 0;
    worker_tell_others(worker, worker->news, count);
    for (uint32_t i = 0; i < worker->view.node_count; i++) {
        node_id_t to = worker->view.nodes[i].id;
        bool near = transport_is_up(worker->transport, to);
        if (to == worker->view.self || (!near && !relay_is_detour(worker->relay, to))) continue;
        /* Beyond a cut link replicas do not hear their leader. */
        worker_send_news(worker, to, !near, worker->news, count);
    }
    if (worker->index == 0) node_check_ready(worker->node);
}

static void worker_note_news(struct node_worker *worker, const struct leader_news *news)
{
    if (worker->news_count == worker->news_capacity) {
        worker->news_capacity = worker->news_capacity ? worker->news_capacity * 2 : 64;
        worker->news = memory_resize(worker->news, worker->news_capacity * sizeof(*worker->news));
    }
    worker->news[worker->news_count++] = *news;
    world_defer(worker->world, &worker->news_out);
}

void worker_on_leader(void *context, struct group_id group, node_id_t leader, uint64_t term)
{
    struct node_worker *worker = context;
    struct leader_news news = {.group = group, .leader = leader, .term = term};

    /* The gateway may have heard of it from a NACK before: others still have to be told. */
    worker_take_news(worker, &news);
    worker_note_news(worker, &news);
    if (worker->index == 0) node_mover_leader_heard(worker->node);
    if (group.value != GROUP_META) return; /* that is of worker 0 */
    node_spread_table(worker->node); /* whoever led before may have told nobody of the last one */
    node_mover_look(worker->node);
}

/* A broken link makes the gateway forget a leader that its group may keep: ask the replicas. */
static void worker_recall_leaders(struct node_worker *worker, void *unused)
{
    const struct cluster_view *view = &worker->view;

    if (worker->host == NULL || worker->closing) return;
    for (uint32_t g = 0; g < view->group_count; g++) {
        const struct raft *raft = host_raft(worker->host, (struct group_id){g});
        if (raft == NULL || view->groups[g].leader != 0) continue;
        bool leads = raft_role(raft) == RAFT_LEADER;
        node_id_t leader = leads ? view->self : raft_leader(raft).node;
        if (leader != 0) worker_on_leader(worker, (struct group_id){g}, leader, raft_term(raft));
    }
}

static void worker_tell_leaders(struct node_worker *worker, node_id_t to, bool asked)
{
    const struct cluster_view *view = &worker->view;

    for (uint32_t g = 0; g < view->group_count; g++) {
        const struct view_group *group = &view->groups[g];
        struct leader_news news = {
            .group = {g}, .leader = group->leader, .term = group->leader_term};
        bool tell = group->leader == view->self && (asked || !holds_replica(group, to));
        if (!tell) continue;
        uint64_t term = host_leads(worker->host, news.group);
        if (term == 0) continue; /* another worker's */
        news.term = term;
        worker_send_news(worker, to, asked, &news, 1);
    }
}

void worker_send_leaders(struct node_worker *worker, node_id_t to)
{
    worker_tell_leaders(worker, to, false);
}

/* If there is no way back yet, to the next question. */
static void worker_answer_leaders(struct node_worker *worker, void *argument)
{
    node_id_t to = (node_id_t)(uintptr_t)argument;

    if (worker->host == NULL || worker->gateway == NULL || worker->closing) return;
    if (gateway_reaches(worker->gateway, to)) worker_tell_leaders(worker, to, true);
}

/* While leaders are unknown: from the own replicas, and from nodes that may have told it to a
 * broken link. */
void node_ask_leaders(struct node *node)
{
    const uint8_t kind = STATUS_ASK_LEADERS;

    for (uint32_t i = 0; i < node->platform.worker_count; i++)
        node_call(&node->workers[0], &node->workers[i], worker_recall_leaders, NULL);

    struct node_worker *zero = &node->workers[0];
    for (node_id_t id = 1; id <= node->member_count; id++) {
        if (id == node->identity.node || !node_has_member(node, id)) continue;
        /* While it starts, others may just not be connected yet. */
        bool reached = node->booted ? zero->gateway != NULL && gateway_reaches(zero->gateway, id)
                                    : transport_is_up(zero->transport, id);
        if (reached)
            relay_send(zero->relay, zero->transport, id, 0, PEER_FRAME_STATUS,
                       bytes_make(&kind, 1));
    }
}

static void node_on_leaders(struct node *node, const struct transport_peer *from,
                            struct reader *reader)
{
    struct node_worker *zero = &node->workers[0];
    uint64_t count = read_varint(reader);
    if (reader->failed || count > PARTITIONS_MAX + GROUP_DATA_FIRST) return;
    struct leader_news *news = memory_allocate(count * sizeof(*news));
    uint32_t used = 0;
    for (uint64_t i = 0; i < count; i++) {
        uint64_t group = read_varint(reader);
        uint64_t term = read_varint(reader);
        if (reader->failed || group >= zero->view.group_count) break;
        news[used++] =
            (struct leader_news){.group = {(uint32_t)group}, .leader = from->node, .term = term};
    }
    for (uint32_t i = 0; i < used; i++) {
        worker_take_news(zero, &news[i]);
        node_lost_leader_heard(node, news[i].group);
    }
    if (used > 0) worker_tell_others(zero, news, used);
    memory_free(news);
    if (used > 0) node_mover_leader_heard(node);
    node_check_ready(node);
}

void node_on_status_frame(struct node *node, const struct transport_peer *from,
                          struct bytes payload)
{
    struct reader reader = reader_make(payload);

    uint8_t kind = read_u8(&reader);
    bool running = node->state == NODE_RUNNING;

    if (kind == STATUS_LEADERS && (running || node->state == NODE_OPENING))
        node_on_leaders(node, from, &reader);
    if (kind == STATUS_ASK_TABLE && (running || node->state == NODE_OPENING))
        node_send_table(node, from->node);
    if (!running) return;
    switch (kind) {
    case STATUS_ASK_LEADERS:
        for (uint32_t i = 0; i < node->platform.worker_count; i++)
            node_call(&node->workers[0], &node->workers[i], worker_answer_leaders,
                      (void *)(uintptr_t)from->node);
        break;
    case STATUS_ASK:
        node_on_ask(node, from, &reader);
        break;
    case STATUS_REPORT:
        node_on_report(node, from, &reader);
        break;
    case STATUS_SCRUB:
        node_scrub_now(node);
        break;
    case STATUS_TABLE_EPOCH: {
        uint64_t epoch = read_varint(&reader);
        if (!reader.failed) node_on_table_epoch(node, from->node, epoch);
        break;
    }
    case STATUS_SUPPORTS:
        node_on_supports(node, from, &reader);
        break;
    case STATUS_SETTLED:
        node_on_settled_frame(node, &reader);
        break;
    default:
        break; /* of a later version */
    }
}
