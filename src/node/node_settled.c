/* What leaders say about wishes: fulfilled, or that one cannot be and what runs should be kept.
 * Meta is told, by a request each, compare-and-set on the wish that was meant. A leader that does
 * not reach meta's leader (F43) has another node say it: STATUS settled, handed on once at most.
 * What is lost on the way is said again by the leader. Worker 0.
 *
 * PEER_FRAME_STATUS settled: u8 8 | varint group | varint number of the wish | varint node and
 * varint replica to keep, or 0 and 0 */
#include "cluster/view_codec.h"
#include "node/node_snapshot.h"
#include "world/probe.h"

void node_mover_ask(struct node *node, struct meta_question *question,
                    const struct meta_request *request)
{
    buffer_free(&question->body);
    buffer_init(&question->body, META_REQUEST_SIZE_MAX);
    meta_request_encode(request, &question->body);
    meta_question_ask(node, question);
}

/* --- to meta -------------------------------------------------------------------------- */

static bool is_wanted(const struct view_group *group, const struct settled_news *news)
{
    return group->changed == news->wish_number && (group->moving || news->kept.replica.value != 0);
}

static void settle_next(struct node *node)
{
    struct node_mover *mover = &node->mover;
    const struct cluster_view *view = &node->workers[0].view;

    while (!mover->settle.busy && mover->settled_count > 0) {
        const struct settled_news news = mover->settled[--mover->settled_count];
        if (news.group.value >= view->group_count) continue;
        const struct view_group *group = &view->groups[news.group.value];
        if (!is_wanted(group, &news)) continue;
        struct meta_request request = {.kind = META_SETTLED,
                                       .group = news.group,
                                       .changed = group->changed,
                                       .replica_count = group->replica_count};
        memcpy(request.replicas, group->replicas, sizeof(request.replicas));
        if (news.kept.replica.value != 0) {
            request.kind = META_KEEP;
            request.kept = (struct view_replica){.node = news.kept.node, news.kept.replica};
        }
        node_mover_ask(node, &mover->settle, &request);
    }
}

static void settle_answered(struct node *node, struct meta_question *question)
{
    if (question->reply.result == META_DONE)
        SOMETIMES(node->world, "a group was where it was wished for");
    node->mover.settle_failed = question->reply.result == META_RETRY;
    settle_next(node);
}

/* One of a group: what is said later is truer. */
static void note(struct node_mover *mover, const struct settled_news *news)
{
    for (uint32_t i = 0; i < mover->settled_count; i++) {
        if (mover->settled[i].group.value != news->group.value) continue;
        mover->settled[i] = *news;
        return;
    }
    if (mover->settled_count < MOVER_SETTLED_MAX)
        mover->settled[mover->settled_count++] = *news;
    else
        mover->settled_dropped++;
}

/* --- by way of others ----------------------------------------------------------------- */

static bool reaches_meta(struct node *node)
{
    const struct cluster_view *view = &node->workers[0].view;
    struct transport *transport = node->workers[0].transport;
    node_id_t leader = view->groups[GROUP_META].leader;

    return leader != 0 &&
           (leader == view->self || (transport != NULL && transport_is_up(transport, leader)));
}

static void hand_on(struct node *node, const struct settled_news *news)
{
    struct transport *transport = node->workers[0].transport;
    const struct cluster_view *view = &node->workers[0].view;
    struct buffer frame;

    for (uint32_t i = 0; i < view->node_count && transport != NULL; i++) {
        node_id_t to = view->nodes[node->mover.relays++ % view->node_count].id;
        if (to == view->self || !transport_is_up(transport, to)) continue;
        buffer_init(&frame, 64);
        struct writer writer = writer_make(&frame);
        write_u8(&writer, STATUS_SETTLED);
        write_varint(&writer, news->group.value);
        write_varint(&writer, news->wish_number);
        write_varint(&writer, news->kept.node);
        write_varint(&writer, news->kept.replica.value);
        transport_send(transport, to, 0, PEER_FRAME_STATUS, buffer_bytes(&frame));
        buffer_free(&frame);
        SOMETIMES(node->world, "a leader had another node say that its group has settled");
        return;
    }
}

static void take(struct node *node, const struct settled_news *news)
{
    struct node_mover *mover = &node->mover;
    bool reaches = reaches_meta(node);

    if (node->state != NODE_RUNNING || mover->settle.on_answer == NULL) return;
    if (!news->relayed && (!reaches || mover->settle_failed)) hand_on(node, news);
    if (news->relayed && !reaches) return;
    note(mover, news);
    settle_next(node);
}

void node_on_settled_frame(struct node *node, struct reader *reader)
{
    struct settled_news news = {.relayed = true};
    uint64_t group = read_varint(reader);

    news.wish_number = read_varint(reader);
    uint64_t kept = read_varint(reader);
    news.kept.replica.value = read_varint(reader);
    if (reader->failed || group > UINT32_MAX || kept > NODES_MAX) return;
    news.group.value = (uint32_t)group;
    news.kept.node = (node_id_t)kept;
    take(node, &news);
}

/* --- from the workers ----------------------------------------------------------------- */

static void zero_takes(struct node_worker *zero, void *argument)
{
    const struct settled_news news = *(const struct settled_news *)argument;

    memory_free(argument);
    take(zero->node, &news);
}

static void send_news(struct node_worker *worker, const struct settled_news *news)
{
    struct settled_news *copy = memory_allocate(sizeof(*copy));

    *copy = *news;
    node_call_with(worker, &worker->node->workers[0], zero_takes, copy, memory_free);
}

void worker_on_settled(void *context, struct group_id group, uint64_t wish_number)
{
    const struct settled_news news = {.group = group, .wish_number = wish_number};

    send_news(context, &news);
}

void worker_on_kept(void *context, struct group_id group, uint64_t wish_number,
                    const struct raft_member *kept)
{
    struct node_worker *worker = context;
    const struct settled_news news = {.group = group, .wish_number = wish_number, .kept = *kept};

    if (view_has_more(&worker->view)) send_news(worker, &news);
}

void node_settled_start(struct node *node)
{
    node->mover.settle.on_answer = settle_answered;
}
