/* What a start tells meta, and when the node is ready.
 *
 *   BOOT   until meta has registered this epoch; RETRY: no rows yet, then the leader of meta
 *          submits FOUND first
 *   EPOCHS when the reserved block runs low
 *
 * Ready: BOOT is registered (so meta has a quorum), every group has a leader known here, and the
 * identity says that the replicas were born. */
#include <stdio.h>

#include "cluster/view_codec.h"
#include "node/node_internal.h"

/* --- questions to meta ---------------------------------------------------------------- */

static void meta_question_reply(struct gateway_request *request, enum gateway_outcome outcome,
                                struct bytes reply)
{
    struct meta_question *question = request->context;
    struct node *node = question->node;

    question->busy = false;
    question->reply = (struct meta_reply){.result = META_RETRY};
    if (outcome == GATEWAY_REPLY && meta_reply_decode(reply, &question->reply))
        question->reply.result = META_RETRY;
    if (node->state == NODE_RUNNING) question->on_answer(node, question);
}

/* The body was put into question->body. */
void meta_question_ask(struct node *node, struct meta_question *question)
{
    ASSERT(!question->busy);
    question->busy = true;
    question->node = node;
    question->request = (struct gateway_request){
        .service = SERVICE_META,
        .slot = ROW_SLOT_META,
        .write = true,
        .body = buffer_bytes(&question->body),
        .on_reply = meta_question_reply,
        .context = question,
    };
    gateway_submit(node->workers[0].gateway, &question->request);
}

void meta_question_forget(struct node *node, struct meta_question *question)
{
    if (question->busy && node->workers[0].gateway != NULL)
        gateway_forget(node->workers[0].gateway, &question->request);
    question->busy = false;
}

static void question_body(struct meta_question *question, const struct meta_request *request)
{
    buffer_free(&question->body);
    buffer_init(&question->body, META_REQUEST_SIZE_MAX);
    meta_request_encode(request, &question->body);
}

/* --- FOUND, BOOT, EPOCHS -------------------------------------------------------------- */

static void boot_later(struct node *node)
{
    world_timer_start(node->world, &node->boot_timer, NODE_RETRY_US);
}

static void boot_ask(struct node *node)
{
    const struct node_options *options = &node->options;
    struct meta_request request = {.kind = META_BOOT,
                                   .node = node->identity.node,
                                   .store = node->identity.store,
                                   .epoch = node->epoch,
                                   .token = node->token};

    if (node->boot.busy) return;
    snprintf(request.name, sizeof(request.name), "%s", options->name);
    node_listed_address(options->announce_redis, options->redis, request.redis);
    node_listed_address(options->announce_redis_cluster, options->redis_cluster,
                        request.redis_cluster);
    snprintf(request.admin, sizeof(request.admin), "%s", options->admin);
    snprintf(request.labels, sizeof(request.labels), "%s", options->labels);
    request.tells_before = node_needs_confirmation(node) &&
                           node->workers[0].view.cluster_version >= VIEW_VERSION_RELAY;
    request.epoch_before = node->epoch_before;
    if (node->members_given)
        snprintf(request.peer, sizeof(request.peer), "%s",
                 node->members[node->identity.node - 1].peer);
    else if (node_members_there(node) == 1 || options->join_count > 0)
        snprintf(request.peer, sizeof(request.peer), "%s", options->peer);
    question_body(&node->boot, &request);
    meta_question_ask(node, &node->boot);
}

static void found_answered(struct node *node, struct meta_question *question)
{
    struct error error;

    if (question->reply.result == META_REFUSED) {
        error_set(&error, STATUS_CORRUPT, "meta refused the founding: %.400s",
                  question->reply.text);
        node_fail(node, &error);
        return;
    }
    if (question->reply.result == META_DONE) {
        boot_ask(node);
        return;
    }
    boot_later(node);
}

static void found_ask(struct node *node)
{
    if (node->found.busy) return;
    buffer_free(&node->found.body);
    buffer_init(&node->found.body, META_REQUEST_SIZE_MAX);
    meta_found_encode(&node->workers[0].view, &node->found.body);
    meta_question_ask(node, &node->found);
}

static void epochs_answered(struct node *node, struct meta_question *question)
{
    if (question->reply.result == META_REFUSED) {
        LOG_WARN(node_logger(node), "node", "meta gives no new boot epochs: %s",
                 question->reply.text);
        return;
    }
    if (question->reply.result == META_RETRY) {
        boot_later(node);
        return;
    }
    node->identity.epoch_first = question->reply.epoch_first;
    node->identity.epoch_last = question->reply.epoch_last;
    node_save_identity(node);
}

static void epochs_ask(struct node *node)
{
    struct meta_request request = {.kind = META_EPOCHS,
                                   .node = node->identity.node,
                                   .store = node->identity.store,
                                   .epoch = node->identity.epoch_last,
                                   .token = node->token};

    if (node->epochs.busy) return;
    snprintf(request.name, sizeof(request.name), "%s", node->options.name);
    if (request.epoch < node->epoch) request.epoch = node->epoch;
    question_body(&node->epochs, &request);
    meta_question_ask(node, &node->epochs);
}

static bool epochs_are_low(const struct node *node)
{
    return node->identity.epoch_next + EPOCH_BLOCK_LOW > node->identity.epoch_last;
}

static void boot_answered(struct node *node, struct meta_question *question)
{
    struct node_worker *zero = &node->workers[0];
    struct error error;

    switch (question->reply.result) {
    case META_REFUSED:
        error_set(&error, STATUS_REFUSED, "the cluster refuses this start: %.440s",
                  question->reply.text);
        node_fail(node, &error);
        return;
    case META_RETRY:
        if (zero->view.groups[GROUP_META].leader == node->identity.node)
            found_ask(node);
        else
            boot_later(node);
        return;
    case META_DONE:
        break;
    }
    if (question->reply.token != 0 && question->reply.token != node->token) {
        error_set(&error, STATUS_REFUSED,
                  "boot epoch %u of this node was registered by another start: the disk was "
                  "restored from an older image, or another process runs with a copy of this "
                  "directory. Stop the other one; if there is none, start again",
                  node->epoch);
        node_fail(node, &error);
        return;
    }
    if (!node->booted) {
        LOG_DEBUG(node_logger(node), "node", "meta knows of this start epoch=%u", node->epoch);
        node->booted = true;
        node_confirm_booted(node);
        for (uint32_t i = 0; i < node->platform.worker_count; i++)
            node_call(zero, &node->workers[i], worker_open_late, NULL);
        node_mover_look(node);
    }
    if (epochs_are_low(node)) epochs_ask(node);
    node_check_ready(node);
}

static void boot_timer_fired(struct world_timer *timer)
{
    struct node *node = timer->context;

    if (node->state != NODE_RUNNING) return;
    if (!node->booted)
        boot_ask(node);
    else if (epochs_are_low(node))
        epochs_ask(node);
}

void node_boot_start(struct node *node)
{
    node->boot.on_answer = boot_answered;
    node->found.on_answer = found_answered;
    node->epochs.on_answer = epochs_answered;
    node->boot_timer = (struct world_timer){.fire = boot_timer_fired, .context = node};
    node_mover_start(node);
    node_tables_start(node);
    boot_ask(node);
}

void node_boot_stop(struct node *node)
{
    node_join_stop(node);
    node_mover_stop(node);
    node_tables_stop(node);
    world_timer_stop(node->world, &node->confirm_timer);
    world_timer_stop(node->world, &node->disk.timer);
    world_timer_stop(node->world, &node->scrub.timer);
    world_timer_stop(node->world, &node->boot_timer);
    world_timer_stop(node->world, &node->watch_timer);
    node_save_stop(node);
    node_memory_stop(node);
    world_timer_stop(node->world, &node->repair.poll);
    world_timer_stop(node->world, &node->stores_timer);
}

/* --- ready ---------------------------------------------------------------------------- */

bool node_can_serve_all(const struct node *node, char *ret_text, size_t size)
{
    const struct cluster_view *view = &node->workers[0].view;
    uint32_t leaderless = 0;

    if (node->state != NODE_RUNNING) {
        snprintf(ret_text, size, "this node is %s",
                 node->state == NODE_STOPPING ? "stopping" : "starting");
        return false;
    }
    for (uint32_t g = GROUP_DATA_FIRST; g < view->group_count; g++)
        leaderless += view->groups[g].leader == 0;
    if (!node->booted) {
        snprintf(ret_text, size, "the meta group has not registered this start yet");
        return false;
    }
    if (leaderless > 0) {
        snprintf(ret_text, size, "%u of %u partitions have no leader known here", leaderless,
                 view->partition_count);
        return false;
    }
    ret_text[0] = '\0';
    return true;
}

/* On record before anybody is told that the node is ready: whoever loses the log after that is
 * not born again, which would forget votes (FAULTS rule 9). */
void node_worker_born(struct node_worker *zero, void *unused)
{
    struct node *node = zero->node;

    node->workers_born++;
    if (node->workers_born < node->platform.worker_count || node->identity.born) return;
    node->identity.born = true;
    node_save_identity(node);
}

void node_check_ready(struct node *node)
{
    char why[128];

    if (node->ready || node->state != NODE_RUNNING) return;
    if (!node->born_recorded) return;
    if (!node_can_serve_all(node, why, sizeof(why))) return;
    node->ready = true;
    LOG_INFO(node_logger(node), "node", "ready after %llu ms",
             (unsigned long long)((world_now(node->world) - node->started) / 1000));
    node->platform.on_ready(node->platform.context);
}

/* --- who is missing? ------------------------------------------------------------------ */

static void missing_members(struct node *node, char *ret_text, size_t size)
{
    struct transport *transport = node->workers[0].transport;
    uint32_t up = 1;
    size_t used = 0;

    ret_text[0] = '\0';
    for (node_id_t id = 1; id <= node->member_count; id++) {
        if (id == node->workers[0].view.self || !node_has_member(node, id)) continue;
        if (transport != NULL && transport_is_up(transport, id)) {
            up++;
            continue;
        }
        int more = snprintf(ret_text + used, size - used, "%s%s", used ? ", " : "",
                            node->members[id - 1].name);
        if (more < 0 || used + (size_t)more >= size) break;
        used += (size_t)more;
    }
    bool quorum = up > node_members_there(node) / 2;
    if (quorum && node->state != NODE_FOUNDING) ret_text[0] = '\0';
}

static void watch_fired(struct world_timer *timer)
{
    struct node *node = timer->context;
    char missing[sizeof(node->waiting_for)];
    char why[128];

    if (node->state >= NODE_STOPPING) return;
    if (node->ready && node_can_serve_all(node, why, sizeof(why))) return; /* until one is lost */
    world_timer_start(node->world, timer, NODE_WATCH_US);
    if (node->state == NODE_OPENING) return;
    if (node->state == NODE_RUNNING) node_ask_leaders(node);
    if (node->ready) return;
    if (node->state == NODE_FOUNDING && node->founding != NULL)
        founding_missing(node->founding, missing, sizeof(missing));
    else
        missing_members(node, missing, sizeof(missing));
    if (missing[0] == '\0' || strcmp(missing, node->waiting_for) == 0) return;
    memcpy(node->waiting_for, missing, sizeof(missing));
    node->platform.on_waiting(node->platform.context, missing);
}

/* A link broke, or a leader is gone: leaders are unknown until they are heard of again. */
void node_watch_again(struct node *node)
{
    if (node->state != NODE_RUNNING) return;
    world_timer_start(node->world, &node->watch_timer, NODE_WATCH_US);
}

void node_watch_start(struct node *node)
{
    world_timer_stop(node->world, &node->watch_timer);
    node->watch_timer = (struct world_timer){.fire = watch_fired, .context = node};
    world_timer_start(node->world, &node->watch_timer, NODE_WATCH_FIRST_US);
}
