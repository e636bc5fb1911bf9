/* An empty directory joins a running cluster (holon start --join).
 *
 *   DIR/joining        store id and nonce, durable before the first question
 *   JOIN               to one of the addresses after the other, until one says DONE or REFUSED
 *   DIR/table, DIR/identity   the place it was given; only now it opens, and speaks
 *   DIR/joining goes
 *
 * A crash anywhere: the next start asks again with the same store and nonce, and gets the same
 * place. A refusal leaves the directory as it was, unless an earlier question had no answer: that
 * one may still let the node in.
 *
 * A directory that has a place already asks first whether it is in the cluster that --join names,
 * and goes on if nobody says that it is not. Worker 0. */
#include "node/node_internal.h"
#include "world/probe.h"

#include "cluster/view_codec.h"

#include <stdio.h>

enum {
    JOIN_PATIENCE_US = 16 * 1000 * 1000, /* of one question: longer than who is asked takes */
    JOIN_AGAIN_US = 200 * 1000,
    JOIN_CHECK_US = 1000 * 1000, /* of a check, over all addresses */
    JOIN_LOG_US = 10 * 1000 * 1000,
    JOIN_OUTPUT_MAX = 64 << 10,
};

static const struct stream_events no_events;

static void join_dial(struct node *node);
static void join_again(struct node *node, const char *why);

static const char *join_address(const struct node_join *join)
{
    return join->file.addresses[join->next % join->file.address_count];
}

static void join_disconnect(struct node *node)
{
    struct node_join *join = &node->join;

    if (join->stream != NULL) {
        stream_set_events(join->stream, &no_events, NULL);
        stream_abort(join->stream);
    }
    join->stream = NULL;
    buffer_free(&join->input);
    world_timer_stop(node->world, &join->timer);
}

void node_join_stop(struct node *node)
{
    if (node->state == NODE_JOINING) join_disconnect(node);
}

/* For people who wonder why it takes so long. */
static void join_explain(struct node *node, const char *why)
{
    struct node_join *join = &node->join;
    uint64_t now = world_now(node->world);

    if (!join->checking && join->told_at == 0)
        node->platform.on_waiting(node->platform.context, join_address(join));
    if (join->told_at != 0 && now - join->told_at < JOIN_LOG_US) return;
    join->told_at = now;
    LOG_INFO(node_logger(node), "join", "%s: %s", join_address(join), why);
}

/* --- the answer ----------------------------------------------------------------------- */

static void join_refused(struct node *node, const struct join_answer *answer)
{
    struct node_join *join = &node->join;
    struct error error, cause;
    bool surely = join->asked == 1 && join->made;

    if (surely && join_file_remove(node->world, node->options.data, &cause)) {
        node_fail(node, &cause);
        return;
    }
    error_set(&error, STATUS_REFUSED, "%.100s lets this node not join: %.300s%s",
              join_address(join), answer->text,
              surely ? ". Nothing was changed"
                     : ". Start again with --join, or empty the directory");
    node_fail(node, &error);
}

static void join_identity(const struct node *node, const struct cluster_view *view,
                          const struct join_answer *answer, struct identity *ret_identity)
{
    *ret_identity = (struct identity){.state = IDENTITY_MEMBER,
                                      .cluster = view->cluster,
                                      .node = answer->node,
                                      .store = node->join.file.store,
                                      .epoch_first = answer->epoch_first,
                                      .epoch_last = answer->epoch_last,
                                      .epoch_next = answer->epoch_first,
                                      .epoch_spoken = answer->epoch_first,
                                      .stores = answer->stores,
                                      .partitions = view->partition_count,
                                      .replicas = view->replicas,
                                      .reads = view->reads};
    memcpy(ret_identity->name, node->join.file.name, sizeof(ret_identity->name));
}

static bool answer_is_sound(const struct node *node, const struct join_answer *answer,
                            const struct cluster_view *view)
{
    const struct view_node *self = cluster_view_node(view, answer->node);

    return self != NULL && self->store == node->join.file.store &&
           strcmp(self->name, node->join.file.name) == 0 && answer->epoch_first >= 1 &&
           answer->epoch_last >= answer->epoch_first && answer->epoch_last < UINT32_MAX &&
           answer->stores >= 1 && answer->stores <= STORES_MAX &&
           cluster_id_equal(view->cluster, answer->cluster);
}

/* Durable before it opens: who speaks and is not on record would join again as if it had not. */
static enum status join_save(struct node *node, const struct cluster_view *view,
                             struct identity *identity, struct error *error)
{
    const char *data = node->options.data;

    if (PLANTED(node->world, "join_speaks_early")) {
        node->epoch = identity->epoch_next++;
        return join_file_remove(node->world, data, error);
    }
    enum status status = view_file_save(node->world, data, "table", view, error);
    if (status == STATUS_OK)
        status = identity_take_epoch(node->world, data, identity, &node->epoch, error);
    if (status == STATUS_OK) status = join_file_remove(node->world, data, error);
    return status;
}

static void join_done(struct node *node, const struct join_answer *answer)
{
    struct node_worker *zero = &node->workers[0];
    struct cluster_view view;
    struct error error;

    cluster_view_init(&view);
    bool sound = cluster_view_decode(answer->view, &view) == STATUS_OK &&
                 answer_is_sound(node, answer, &view);
    if (!sound) {
        cluster_view_free(&view);
        join_explain(node, "its answer cannot be used");
        node->join.next++;
        world_timer_start(node->world, &node->join.timer, JOIN_AGAIN_US);
        return;
    }
    join_identity(node, &view, answer, &node->identity);
    if (join_save(node, &view, &node->identity, &error)) node_fail(node, &error);
    if (!node->fail_pending) {
        cluster_view_assign(&zero->view, &view);
        node->rejoined = node->joined = true;
        LOG_INFO(node_logger(node), "join", "joined the cluster as node=%u nodes=%u partitions=%u",
                 answer->node, view.node_count, view.partition_count);
        SOMETIMES(node->world, "a node joined a running cluster");
        node_watch_start(node);
        node_open(node);
    }
    cluster_view_free(&view);
}

static void join_checked(struct node *node, const struct join_answer *answer)
{
    char ours[CLUSTER_ID_TEXT_SIZE], theirs[CLUSTER_ID_TEXT_SIZE];
    struct error error;

    if (cluster_id_equal(answer->cluster, node->identity.cluster)) {
        node_start_member(node);
        return;
    }
    cluster_id_print(node->identity.cluster, ours);
    cluster_id_print(answer->cluster, theirs);
    error_set(
        &error, STATUS_REFUSED,
        "%.200s belongs to node %s of cluster %s, but --join %.100s is of cluster %s. Nothing "
        "was changed. Choose another --data to join that one, or leave --join out",
        node->options.data, node->identity.name, ours, join_address(&node->join), theirs);
    node_fail(node, &error);
}

static void join_on_answer(struct node *node, const struct join_answer *answer)
{
    struct node_join *join = &node->join;

    world_timer_stop(node->world, &join->timer);
    if (join->checking) {
        if (answer->result == JOIN_MEMBER)
            join_checked(node, answer);
        else
            join_again(node, answer->text);
        return;
    }
    switch (answer->result) {
    case JOIN_DONE:
        join_done(node, answer);
        break;
    case JOIN_REFUSED:
        join_refused(node, answer);
        break;
    case JOIN_LATER:
    case JOIN_MEMBER:
        join_explain(node, answer->text);
        join->next++;
        world_timer_start(node->world, &join->timer, JOIN_AGAIN_US);
        break;
    }
}

/* --- the question --------------------------------------------------------------------- */

static void join_again(struct node *node, const char *why)
{
    struct node_join *join = &node->join;

    join_explain(node, why);
    join->next++;
    bool over = world_now(node->world) >= join->began + JOIN_CHECK_US ||
                join->next >= join->file.address_count;
    if (join->checking && over)
        node_start_member(node); /* nobody says that it is of another cluster */
    else
        world_timer_start(node->world, &join->timer, join->checking ? 0 : JOIN_AGAIN_US);
}

static void join_on_data(void *context, struct stream *stream, struct bytes data)
{
    struct node *node = context;
    struct node_join *join = &node->join;
    struct join_answer answer;
    struct peer_frame frame;
    size_t used;

    enum status status = buffer_append(&join->input, data);
    if (status == STATUS_OK)
        status = peer_frame_parse(buffer_bytes(&join->input), 0, TRANSPORT_FRAME_SIZE_MAX, &frame,
                                  &used);
    if (status == STATUS_NOT_FOUND) return;
    bool whole = status == STATUS_OK && frame.kind == PEER_FRAME_JOINED &&
                 join_answer_decode(frame.payload, &answer) == STATUS_OK;
    if (!whole) {
        join_disconnect(node);
        join_again(node, "no node of this version answers there");
        return;
    }
    struct buffer input = join->input; /* what the answer borrows from */
    buffer_init(&join->input, 0);
    join_disconnect(node);
    join_on_answer(node, &answer);
    buffer_free(&input);
}

static void join_message_make(const struct node *node, struct join_message *ret_message)
{
    const struct node_options *options = &node->options;
    const struct node_join *join = &node->join;
    struct join_message *message = ret_message;

    *message = (struct join_message){
        .kind = join->checking ? JOIN_CHECK : JOIN_ASK,
        .cluster = node->identity.cluster,
        .store = join->file.store,
        .nonce = join->file.nonce,
        .cluster_version = VIEW_VERSION,
        .wall_time = world_wall_time(node->world),
        .partitions = options->partitions,
        .replicas = options->replicas,
        .stores = options->stores,
        .reads = options->reads_given ? (uint8_t)options->reads : JOIN_READS_NOT_GIVEN,
        .has_secret = options->has_token && !join->checking,
    };
    snprintf(message->name, sizeof(message->name), "%s", options->name);
    snprintf(message->redis, sizeof(message->redis), "%s", options->redis);
    snprintf(message->redis_cluster, sizeof(message->redis_cluster), "%s", options->redis_cluster);
    snprintf(message->peer, sizeof(message->peer), "%s", options->peer);
    snprintf(message->admin, sizeof(message->admin), "%s", options->admin);
    snprintf(message->labels, sizeof(message->labels), "%s", options->labels);
    if (message->has_secret) memcpy(message->secret, options->token, sizeof(message->secret));
}

static void join_on_connected(void *context, struct stream *stream)
{
    struct node *node = context;
    struct join_message message;
    struct buffer payload;

    join_message_make(node, &message);
    buffer_init(&payload, JOIN_MESSAGE_SIZE_MAX);
    join_message_encode(&message, &payload);
    (void)peer_frame_append(stream_output(stream), 0, PEER_FRAME_JOIN, 0, buffer_bytes(&payload));
    stream_flush(stream);
    buffer_free(&payload);
    node->join.asked++;
}

static void join_on_closed(void *context, struct stream *stream, enum status reason)
{
    struct node *node = context;

    node->join.stream = NULL;
    join_disconnect(node);
    join_again(node, status_text(reason));
}

static const struct stream_events join_events = {
    .on_data = join_on_data, .on_connected = join_on_connected, .on_closed = join_on_closed};

static void join_timer_fired(struct world_timer *timer)
{
    struct node *node = timer->context;

    if (node->state != NODE_JOINING || node->fail_pending) return;
    if (node->join.stream == NULL) {
        join_dial(node);
        return;
    }
    join_disconnect(node);
    join_again(node, "no answer");
}

static void join_dial(struct node *node)
{
    struct node_join *join = &node->join;

    buffer_init(&join->input, TRANSPORT_FRAME_SIZE_MAX + PEER_FRAME_HEADER_SIZE);
    join->stream = world_connect(node->world, join_address(join), &join_events, node);
    stream_set_output_max(join->stream, JOIN_OUTPUT_MAX);
    world_timer_start(node->world, &join->timer, join->checking ? JOIN_CHECK_US : JOIN_PATIENCE_US);
}

/* --- starts --------------------------------------------------------------------------- */

static void join_take_addresses(struct node *node)
{
    struct join_file *file = &node->join.file;

    file->address_count = node->options.join_count;
    memcpy(file->addresses, node->options.join, sizeof(file->addresses));
}

static void join_begin(struct node *node, bool checking)
{
    struct node_join *join = &node->join;

    node->state = NODE_JOINING;
    join->checking = checking;
    join->began = world_now(node->world);
    join->timer = (struct world_timer){.fire = join_timer_fired, .context = node};
    join_dial(node);
}

void node_join_check(struct node *node)
{
    join_take_addresses(node);
    join_begin(node, true);
}

bool node_join_resume(struct node *node)
{
    struct join_file *file = &node->join.file;
    struct error error;

    enum status status = join_file_load(node->world, node->options.data, file, &error);
    if (status == STATUS_NOT_FOUND) return false;
    if (status == STATUS_OK && strcmp(file->name, node->options.name) != 0)
        status = error_set(&error, STATUS_REFUSED,
                           "%.300s has begun to join a cluster as node %s: give --name %s, or "
                           "empty the directory",
                           node->options.data, file->name, file->name);
    if (status == STATUS_OK && node->options.join_count > 0) join_take_addresses(node);
    SOMETIMES(node->world, "a node that had begun to join went on with that");
    if (status)
        node_fail(node, &error);
    else
        join_begin(node, false);
    return true;
}

void node_join_start(struct node *node)
{
    struct join_file *file = &node->join.file;
    uint8_t secret[16];
    struct error error;

    world_random_secret(node->world, secret, sizeof(secret));
    file->store = load_u64(secret) | 1;
    file->nonce = load_u64(secret + 8) | 1;
    snprintf(file->name, sizeof(file->name), "%s", node->options.name);
    join_take_addresses(node);
    bool kept = !PLANTED(node->world, "joining_not_kept");
    if (kept && join_file_save(node->world, node->options.data, file, &error)) {
        node_fail(node, &error);
        return;
    }
    node->join.made = true;
    join_begin(node, false);
}
