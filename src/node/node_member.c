/* Founding frames at a node that is a member: the last step of a founding again for those who
 * missed it, and the way back for a wiped node (F09). */
#include <stdarg.h>
#include <stdio.h>

#include "cluster/view_codec.h"
#include "node/node_internal.h"

static void member_send(struct node *node, const struct transport_peer *to,
                        const struct founding_message *message)
{
    struct buffer buffer;

    buffer_init(&buffer, VIEW_SIZE_MAX + (16 << 10));
    founding_message_encode(message, &buffer);
    transport_send(node->workers[0].transport, to->node, to->worker, PEER_FRAME_FOUNDING,
                   buffer_bytes(&buffer));
    buffer_free(&buffer);
}

__attribute__((format(printf, 3, 4))) static void
member_refuse(struct node *node, const struct transport_peer *to, const char *format, ...)
{
    struct founding_message refused = {.kind = FOUNDING_REFUSED};
    va_list arguments;

    va_start(arguments, format);
    vsnprintf(refused.text, sizeof(refused.text), format, arguments);
    va_end(arguments);
    LOG_WARN(node_logger(node), "node", "refused node=%u: %s", to->node, refused.text);
    member_send(node, to, &refused);
}

static void member_on_hello(struct node *node, const struct transport_peer *from,
                            const struct founding_message *hello)
{
    bool ours = cluster_id_equal(hello->cluster, node->identity.cluster);

    if (hello->state == FOUNDING_ACCEPTED && ours && hello->proposal == node->identity.proposal) {
        struct founding_message start = {.kind = FOUNDING_START,
                                         .cluster = node->identity.cluster,
                                         .proposal = node->identity.proposal};
        member_send(node, from, &start);
        return;
    }
    struct founding_message answer = {.kind = FOUNDING_HELLO,
                                      .state = FOUNDING_MEMBER,
                                      .cluster = node->identity.cluster,
                                      .proposal = node->identity.proposal,
                                      .store = node->identity.store};
    snprintf(answer.name, sizeof(answer.name), "%s", node->identity.name);
    member_send(node, from, &answer);
}

/* --- rejoin --------------------------------------------------------------------------- */

static void rejoin_answered(struct node *node, struct meta_question *question)
{
    struct rejoin_question *rejoin = CONTAINER_OF(question, struct rejoin_question, question);
    struct transport_peer to = {.node = rejoin->node, .worker = rejoin->worker};
    const struct cluster_view *view = &node->workers[0].view;
    struct buffer buffer;

    if (question->reply.result == META_REFUSED) {
        member_refuse(node, &to, "%s", question->reply.text);
        return;
    }
    if (question->reply.result != META_DONE) return; /* it asks again */
    const struct view_node *known = cluster_view_node(view, rejoin->node);
    /* The rows may reach this node after the reply did: the next question finds them. */
    if (known == NULL || known->store != rejoin->store) return;

    buffer_init(&buffer, VIEW_SIZE_MAX);
    cluster_view_encode(view, &buffer);
    struct founding_message joined = {
        .kind = FOUNDING_JOINED,
        .token = rejoin->token,
        .epoch_first = question->reply.epoch_first,
        .epoch_last = question->reply.epoch_last,
        .settings = {.stores = node->identity.stores},
        .view = buffer_bytes(&buffer),
    };
    member_send(node, &to, &joined);
    buffer_free(&buffer);
}

static struct rejoin_question *rejoin_slot(struct node *node, node_id_t asking)
{
    struct rejoin_question *free_slot = NULL;

    for (uint32_t i = 0; i < REJOIN_QUESTIONS_MAX; i++) {
        struct rejoin_question *slot = &node->rejoins[i];
        if (slot->question.busy && slot->node == asking) return NULL; /* under way */
        if (!slot->question.busy && free_slot == NULL) free_slot = slot;
    }
    return free_slot;
}

/* The node is here, alive, with the store that meta knows: who asks is a second process that
 * was given an empty directory and the same name. */
bool node_is_alive(const struct node *node, const struct view_node *known)
{
    if (known->id == node->identity.node) return true;
    uint64_t now = world_now(node->world);
    struct rest_node beat;
    rest_board_node(node->rest_board, known->id, &beat);
    uint64_t heard = node->heard[known->id];
    if (beat.heard_at > heard) heard = beat.heard_at;
    return heard != 0 && now < heard + NODE_ALIVE_US;
}

static void member_on_rejoin(struct node *node, const struct transport_peer *from,
                             const struct founding_message *message)
{
    const struct view_node *known = cluster_view_node(&node->workers[0].view, from->node);

    if (node->state != NODE_RUNNING) return;
    if (known == NULL || strcmp(known->name, message->name) != 0) {
        member_refuse(node, from,
                      "this cluster has no node %s with id %u: check --name and "
                      "--cluster",
                      message->name, from->node);
        return;
    }
    bool joined = known->store == message->store;
    if (!joined && node_is_alive(node, known)) {
        /* Said again and again it is true; right after a kill it is only not yet false. */
        LOG_WARN(node_logger(node), "node",
                 "node %s asks to rejoin with an empty directory, but it was heard of within the "
                 "last second",
                 known->name);
        return;
    }
    struct rejoin_question *rejoin = rejoin_slot(node, from->node);
    if (rejoin == NULL) return;
    rejoin->node = from->node;
    rejoin->worker = from->worker;
    rejoin->token = message->token;
    rejoin->store = message->store;
    rejoin->question.on_answer = rejoin_answered;

    struct meta_request request = {
        .kind = META_REJOIN,
        .node = from->node,
        .store = message->store,
        .replaces = known->store,
        .token = message->token,
    };
    memcpy(request.name, message->name, sizeof(request.name));
    memcpy(request.redis, message->redis, sizeof(request.redis));
    memcpy(request.redis_cluster, message->redis_cluster, sizeof(request.redis_cluster));
    memcpy(request.admin, message->admin, sizeof(request.admin));
    buffer_free(&rejoin->question.body);
    buffer_init(&rejoin->question.body, META_REQUEST_SIZE_MAX);
    meta_request_encode(&request, &rejoin->question.body);
    meta_question_ask(node, &rejoin->question);
}

void member_on_founding_frame(struct node *node, const struct transport_peer *from,
                              struct bytes payload)
{
    struct founding_message message;

    bool member = node->identity.state == IDENTITY_MEMBER;
    if (!member || from->node == node->identity.node || node->state >= NODE_STOPPING) return;
    if (founding_message_decode(payload, &message)) return;
    switch (message.kind) {
    case FOUNDING_HELLO:
        if (message.state != FOUNDING_MEMBER) member_on_hello(node, from, &message);
        break;
    case FOUNDING_REJOIN:
        member_on_rejoin(node, from, &message);
        break;
    default:
        break; /* late ones of a founding that is over */
    }
}
