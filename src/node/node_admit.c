/* A member is asked for a place in the cluster by a node that has none (cluster/join_message.h): it
 * looks at what it can judge by itself, and asks meta for the rest. The answer goes out once this
 * node's own table names the new one, so that it is let in where it was told to go.
 * Worker 0; the connection is with whichever worker accepted it. */
#include "cluster/view_codec.h"
#include "node/node_internal.h"
#include "base/parse.h"
#include "world/probe.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

enum { JOIN_CLOCK_OFF_MAX_US = 30 * 1000 * 1000 };

/* A frame on its way between the worker that has the connection and worker 0. */
struct stranger_post {
    uint32_t worker;
    uint64_t ticket;
    struct buffer payload;
};

static void stranger_free(void *argument)
{
    struct stranger_post *post = argument;

    buffer_free(&post->payload);
    memory_free(post);
}

static struct stranger_post *stranger_make(uint32_t worker, uint64_t ticket, size_t size_max)
{
    struct stranger_post *post = memory_allocate_zero(sizeof(*post));

    post->worker = worker;
    post->ticket = ticket;
    buffer_init(&post->payload, size_max);
    return post;
}

/* --- answers -------------------------------------------------------------------------- */

static void worker_answer(struct node_worker *worker, void *argument)
{
    struct stranger_post *post = argument;

    if (worker->transport != NULL && !worker->closing)
        transport_answer(worker->transport, post->ticket, PEER_FRAME_JOINED,
                         buffer_bytes(&post->payload));
    stranger_free(post);
}

static void admit_send(struct node *node, uint32_t worker, uint64_t ticket,
                       const struct join_answer *answer)
{
    struct stranger_post *post =
        stranger_make(worker, ticket, VIEW_SIZE_MAX + JOIN_MESSAGE_SIZE_MAX);

    join_answer_encode(answer, &post->payload);
    node_call_with(&node->workers[0], &node->workers[worker], worker_answer, post, stranger_free);
}

__attribute__((format(printf, 5, 6))) static void admit_say(struct node *node, uint32_t worker,
                                                            uint64_t ticket,
                                                            enum join_result result,
                                                            const char *format, ...)
{
    struct join_answer answer = {.result = result, .cluster = node->identity.cluster};
    va_list arguments;

    va_start(arguments, format);
    vsnprintf(answer.text, sizeof(answer.text), format, arguments);
    va_end(arguments);
    if (result == JOIN_REFUSED)
        LOG_WARN(node_logger(node), "join", "a node may not join: %s", answer.text);
    admit_send(node, worker, ticket, &answer);
}

/* --- meta's answer -------------------------------------------------------------------- */

static void admit_answered(struct node *node, struct meta_question *question)
{
    struct admit_question *admit = CONTAINER_OF(question, struct admit_question, question);
    const struct view_node *known = cluster_view_node(&node->workers[0].view, question->reply.node);

    if (question->reply.result == META_REFUSED) {
        admit_say(node, admit->worker, admit->ticket, JOIN_REFUSED, "%s", question->reply.text);
        return;
    }
    bool here =
        question->reply.result == META_DONE && known != NULL && known->store == admit->store;
    if (!here) {
        admit_say(node, admit->worker, admit->ticket, JOIN_LATER,
                  question->reply.result == META_DONE ? "the table that names it is on its way"
                                                      : "the meta group did not answer in time");
        return;
    }
    struct join_answer answer = {.result = JOIN_DONE,
                                 .cluster = node->identity.cluster,
                                 .node = question->reply.node,
                                 .epoch_first = question->reply.epoch_first,
                                 .epoch_last = question->reply.epoch_last,
                                 .stores = node->identity.stores,
                                 .view = node_encoded_table(node)};
    LOG_INFO(node_logger(node), "join", "node=%u name=%s joins", known->id, known->name);
    admit_send(node, admit->worker, admit->ticket, &answer);
}

/* --- what needs no meta --------------------------------------------------------------- */

static const char *refuse_setting(char *text, size_t size, const char *name, unsigned given,
                                  unsigned stored)
{
    snprintf(text, size,
             "--%s %u was given, but the cluster has %s %u: leave the option out, or give that "
             "value",
             name, given, name, stored);
    return text;
}

static const char *check_settings(const struct node *node, const struct join_message *message,
                                  char *text, size_t size)
{
    const struct cluster_view *view = &node->workers[0].view;

    if (message->partitions != 0 && message->partitions != view->partition_count)
        return refuse_setting(text, size, "partitions", message->partitions, view->partition_count);
    if (message->replicas != 0 && message->replicas != view->replicas)
        return refuse_setting(text, size, "replicas", message->replicas, view->replicas);
    if (message->stores != 0 && message->stores != node->identity.stores)
        return refuse_setting(text, size, "stores", message->stores, node->identity.stores);
    if (message->reads != JOIN_READS_NOT_GIVEN && message->reads != view->reads) {
        snprintf(text, size,
                 "--reads was given, but the cluster has reads %s: leave the option out",
                 reads_mode_name(view->reads));
        return text;
    }
    return NULL;
}

static bool is_dialable(const char *peer)
{
    struct address address;

    return parse_address(bytes_of(peer), false, &address) && address.port != 0 &&
           strcmp(address.host, "0.0.0.0") != 0 && strcmp(address.host, "::") != 0;
}

static const char *check_addresses(const struct node *node, const struct join_message *message,
                                   char *text, size_t size)
{
    const struct cluster_view *view = &node->workers[0].view;

    if (!is_dialable(message->peer)) {
        snprintf(text, size,
                 "--peer %s is no address that other nodes can dial: give the one of this machine, "
                 "with a port",
                 message->peer);
        return text;
    }
    for (uint32_t i = 0; i < view->node_count; i++) {
        const struct view_node *known = &view->nodes[i];
        if (!is_dialable(known->peer)) {
            snprintf(text, size,
                     "node %s has --peer %s, which other machines cannot dial: start it again with "
                     "an address of its machine first",
                     known->name, known->peer);
            return text;
        }
        if (strcmp(known->peer, message->peer) == 0 && strcmp(known->name, message->name) != 0) {
            snprintf(text, size, "--peer %s is the address of node %s: give this node its own",
                     message->peer, known->name);
            return text;
        }
    }
    return NULL;
}

static const char *check_name(const struct node *node, const struct join_message *message,
                              char *text, size_t size)
{
    const struct cluster_view *view = &node->workers[0].view;

    for (uint32_t i = 0; i < view->node_count; i++) {
        const struct view_node *known = &view->nodes[i];
        bool taken = strcmp(known->name, message->name) == 0 && known->store != message->store;
        if (!taken || !node_is_alive(node, known)) continue;
        snprintf(text, size,
                 "there is a node %s already, and it was heard of within the last second: choose "
                 "another --name. If this machine shall take its place: stop it, then holon node "
                 "replace %s",
                 known->name, known->name);
        return text;
    }
    return NULL;
}

/* NULL: nothing is wrong, as far as a single member can tell. */
static const char *check_message(const struct node *node, const struct join_message *message,
                                 char *text, size_t size)
{
    const struct cluster_view *view = &node->workers[0].view;
    int64_t off = message->wall_time - world_wall_time(node->world);

    if (message->cluster_version < view->cluster_version) {
        snprintf(text, size,
                 "the cluster has version %u, and this node knows up to %u: use the "
                 "version of holon that the others have",
                 view->cluster_version, message->cluster_version);
        return text;
    }
    if (llabs(off) > JOIN_CLOCK_OFF_MAX_US) {
        snprintf(
            text, size,
            "the clock of this machine is %lld s %s that of node %s: set both by NTP; up to %d "
            "s is allowed",
            (long long)llabs(off) / 1000000, off > 0 ? "ahead of" : "behind", node->identity.name,
            JOIN_CLOCK_OFF_MAX_US / 1000000);
        return text;
    }
    const char *why = check_settings(node, message, text, size);
    if (why == NULL) why = check_name(node, message, text, size);
    return why != NULL ? why : check_addresses(node, message, text, size);
}

/* --- questions ------------------------------------------------------------------------ */

/* A node that asks again has given its last question up. */
static struct admit_question *admit_slot(struct node *node, store_id_t store, bool *ret_under_way)
{
    struct admit_question *free_slot = NULL;

    *ret_under_way = false;
    for (uint32_t i = 0; i < JOIN_QUESTIONS_MAX; i++) {
        struct admit_question *slot = &node->admits[i];
        *ret_under_way = slot->question.busy && slot->store == store;
        if (*ret_under_way) return slot;
        if (!slot->question.busy && free_slot == NULL) free_slot = slot;
    }
    return free_slot;
}

static void admit_ask(struct node *node, struct admit_question *admit,
                      const struct join_message *message)
{
    struct meta_request request = {.kind = META_JOIN,
                                   .store = message->store,
                                   .token = message->nonce,
                                   .has_secret = message->has_secret};

    memcpy(request.name, message->name, sizeof(request.name));
    memcpy(request.redis, message->redis, sizeof(request.redis));
    memcpy(request.redis_cluster, message->redis_cluster, sizeof(request.redis_cluster));
    memcpy(request.peer, message->peer, sizeof(request.peer));
    memcpy(request.admin, message->admin, sizeof(request.admin));
    memcpy(request.labels, message->labels, sizeof(request.labels));
    snprintf(request.hex_id, sizeof(request.hex_id), "%016llx%016llx%08x",
             (unsigned long long)hash_u64(message->store),
             (unsigned long long)hash_u64(message->nonce),
             (unsigned)hash_u64(message->store ^ message->nonce));
    if (message->has_secret)
        sha256(bytes_make(message->secret, sizeof(message->secret)), request.secret_hash);
    admit->question.on_answer = admit_answered;
    buffer_free(&admit->question.body);
    buffer_init(&admit->question.body, META_REQUEST_SIZE_MAX);
    meta_request_encode(&request, &admit->question.body);
    meta_question_ask(node, &admit->question);
}

static void node_admit(struct node *node, uint32_t worker, uint64_t ticket,
                       const struct join_message *message)
{
    char text[ERROR_TEXT_SIZE_MAX];
    bool under_way;

    if (message->kind == JOIN_CHECK && node->identity.state == IDENTITY_MEMBER) {
        admit_say(node, worker, ticket, JOIN_MEMBER, "this is node %s", node->identity.name);
        return;
    }
    if (node->state != NODE_RUNNING || !node->booted) {
        admit_say(node, worker, ticket, JOIN_LATER, "node %s is not ready", node->options.name);
        return;
    }
    const char *why = check_message(node, message, text, sizeof(text));
    if (why != NULL) {
        admit_say(node, worker, ticket, JOIN_REFUSED, "%s", why);
        return;
    }
    struct admit_question *admit = admit_slot(node, message->store, &under_way);
    if (admit == NULL) {
        admit_say(node, worker, ticket, JOIN_LATER, "%d nodes are joining at present",
                  JOIN_QUESTIONS_MAX);
        return;
    }
    admit->store = message->store;
    admit->worker = worker;
    admit->ticket = ticket;
    if (!under_way) admit_ask(node, admit, message);
}

static void node_on_stranger(struct node_worker *zero, void *argument)
{
    struct stranger_post *post = argument;
    struct node *node = zero->node;
    struct join_message message;

    enum status status = join_message_decode(buffer_bytes(&post->payload), &message);
    if (status == STATUS_VERSION)
        admit_say(node, post->worker, post->ticket, JOIN_REFUSED,
                  "it asks in a form of another version: use the version of holon that the others "
                  "have");
    else if (status)
        admit_say(node, post->worker, post->ticket, JOIN_REFUSED, "its question cannot be read");
    else
        node_admit(node, post->worker, post->ticket, &message);
    stranger_free(post);
}

void worker_on_stranger(void *context, uint64_t ticket, uint8_t kind, struct bytes payload)
{
    struct node_worker *worker = context;

    if (worker->closing || kind != PEER_FRAME_JOIN) return;
    struct stranger_post *post = stranger_make(worker->index, ticket, TRANSPORT_STRANGER_SIZE_MAX);
    buffer_append(&post->payload, payload);
    node_call_with(worker, &worker->node->workers[0], node_on_stranger, post, stranger_free);
}

void node_admit_forget(struct node *node)
{
    for (uint32_t i = 0; i < JOIN_QUESTIONS_MAX; i++)
        meta_question_forget(node, &node->admits[i].question);
}

void node_admit_free(struct node *node)
{
    for (uint32_t i = 0; i < JOIN_QUESTIONS_MAX; i++)
        buffer_free(&node->admits[i].question.body);
}
