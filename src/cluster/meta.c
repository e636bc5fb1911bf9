#include "cluster/meta.h"

#include <stdarg.h>
#include <stdio.h>

#include "base/assert.h"
#include "base/memory.h"
#include "cluster/identity.h"
#include "cluster/meta_rows.h"

/* --- requests and replies in bytes ----------------------------------------------------------
 * request: u8 kind | FOUND: view (view_codec.h); else: u32 node | u64 store | u32 epoch |
 *          u64 token | name | redis | redis-cluster | peer | admin
 *          REPLACE: then u32 count, each: u32 group | u64 replica
 * reply:   u8 result | u64 table epoch | u32 first | u32 last | text | u64 token */

void meta_found_encode(const struct cluster_view *view, struct buffer *buffer)
{
    struct writer writer = writer_make(buffer);

    write_u8(&writer, META_FOUND);
    ASSERT(!writer.failed);
    cluster_view_encode(view, buffer);
}

void meta_request_encode(const struct meta_request *request, struct buffer *buffer)
{
    struct writer writer = writer_make(buffer);

    ASSERT(request->kind != META_FOUND);
    write_u8(&writer, (uint8_t)request->kind);
    write_u32(&writer, request->node);
    write_u64(&writer, request->store);
    write_u32(&writer, request->epoch);
    write_u64(&writer, request->token);
    write_sized(&writer, bytes_of(request->name));
    write_sized(&writer, bytes_of(request->redis));
    write_sized(&writer, bytes_of(request->redis_cluster));
    write_sized(&writer, bytes_of(request->peer));
    write_sized(&writer, bytes_of(request->admin));
    if (request->kind == META_REJOIN) write_u64(&writer, request->replaces);
    if (request->kind == META_REPLACE) {
        write_u32(&writer, request->lost_count);
        for (uint32_t i = 0; i < request->lost_count; i++) {
            write_u32(&writer, request->lost[i].group.value);
            write_u64(&writer, request->lost[i].replica.value);
        }
    }
    ASSERT(!writer.failed);
}

static bool meta_request_decode(struct bytes bytes, struct meta_request *ret_request)
{
    struct reader reader = reader_make(bytes);

    memset(ret_request, 0, sizeof(*ret_request));
    ret_request->kind = (enum meta_kind)read_u8(&reader);
    ret_request->node = read_u32(&reader);
    ret_request->store = read_u64(&reader);
    ret_request->epoch = read_u32(&reader);
    ret_request->token = read_u64(&reader);
    read_text(&reader, ret_request->name, sizeof(ret_request->name));
    read_text(&reader, ret_request->redis, sizeof(ret_request->redis));
    read_text(&reader, ret_request->redis_cluster, sizeof(ret_request->redis_cluster));
    read_text(&reader, ret_request->peer, sizeof(ret_request->peer));
    read_text(&reader, ret_request->admin, sizeof(ret_request->admin));
    /* 0.1.0 did not say it. */
    if (ret_request->kind == META_REJOIN && reader_left(&reader) > 0)
        ret_request->replaces = read_u64(&reader);
    if (ret_request->kind == META_REPLACE) ret_request->lost_count = read_u32(&reader);
    if (ret_request->lost_count > META_REPLACE_MAX) return false;
    for (uint32_t i = 0; i < ret_request->lost_count; i++) {
        ret_request->lost[i].group.value = read_u32(&reader);
        ret_request->lost[i].replica.value = read_u64(&reader);
    }
    return !reader.failed;
}

static void meta_reply_write(struct reply *reply, const struct meta_reply *content)
{
    struct writer writer = writer_make(reply->buffer);

    write_u8(&writer, (uint8_t)content->result);
    write_u64(&writer, content->table_epoch);
    write_u32(&writer, content->epoch_first);
    write_u32(&writer, content->epoch_last);
    write_sized(&writer, bytes_of(content->text));
    write_u64(&writer, content->token);
}

enum status meta_reply_decode(struct bytes bytes, struct meta_reply *ret_reply)
{
    struct reader reader = reader_make(bytes);
    struct meta_reply reply = {0};

    reply.result = (enum meta_result)read_u8(&reader);
    reply.table_epoch = read_u64(&reader);
    reply.epoch_first = read_u32(&reader);
    reply.epoch_last = read_u32(&reader);
    read_text(&reader, reply.text, sizeof(reply.text));
    if (!reader.failed && reader_left(&reader) > 0) reply.token = read_u64(&reader);
    if (reader.failed || reply.result > META_RETRY) return STATUS_CORRUPT;
    *ret_reply = reply;
    return STATUS_OK;
}

__attribute__((format(printf, 2, 3))) static void meta_refuse(struct meta_reply *reply,
                                                              const char *format, ...)
{
    va_list arguments;

    reply->result = META_REFUSED;
    va_start(arguments, format);
    vsnprintf(reply->text, sizeof(reply->text), format, arguments);
    va_end(arguments);
}

/* --- rows ----------------------------------------------------------------------------- */

/* What one evaluation works with. */
struct meta_evaluation {
    struct row_context *rows;
    struct cluster_view *settings; /* of the settings row; no nodes, no groups */
    struct meta_node node;
    struct meta_reply reply;
    struct buffer scratch;
};

static void meta_put(struct meta_evaluation *evaluation, enum meta_row_kind kind, uint32_t id)
{
    struct meta_key key = meta_key_make(kind, id);

    row_put(evaluation->rows, meta_key_bytes(&key), META_ROW_TYPE, 0, 0,
            buffer_bytes(&evaluation->scratch));
    buffer_clear(&evaluation->scratch);
}

static void meta_put_settings(struct meta_evaluation *evaluation)
{
    struct writer writer = writer_make(&evaluation->scratch);

    view_settings_encode(evaluation->settings, &writer);
    ASSERT(!writer.failed);
    meta_put(evaluation, META_ROW_SETTINGS, 0);
    evaluation->reply.table_epoch = evaluation->settings->table_epoch;
}

static void meta_put_node(struct meta_evaluation *evaluation)
{
    meta_node_encode(&evaluation->node, &evaluation->scratch);
    meta_put(evaluation, META_ROW_NODE, evaluation->node.node.id);
}

static void meta_put_group(struct meta_evaluation *evaluation, uint32_t id,
                           const struct view_group *group)
{
    struct writer writer = writer_make(&evaluation->scratch);

    view_group_encode(group, &writer);
    ASSERT(!writer.failed);
    meta_put(evaluation, META_ROW_GROUP, id);
}

static enum row_result meta_get_settings(struct meta_evaluation *evaluation)
{
    struct meta_key key = meta_key_make(META_ROW_SETTINGS, 0);
    struct row_view row;

    enum row_result result = row_get(evaluation->rows, meta_key_bytes(&key), &row);
    if (result != ROW_FOUND) return result;
    struct reader reader = reader_make(row.value);
    if (view_settings_decode(&reader, evaluation->settings)) {
        meta_refuse(&evaluation->reply, "the settings row of meta cannot be read: damaged, or of "
                                        "a newer version of holon");
        return ROW_ABSENT;
    }
    evaluation->reply.table_epoch = evaluation->settings->table_epoch;
    return ROW_FOUND;
}

static enum row_result meta_get_node(struct meta_evaluation *evaluation, node_id_t id)
{
    struct meta_key key = meta_key_make(META_ROW_NODE, id);
    struct row_view row;

    enum row_result result = row_get(evaluation->rows, meta_key_bytes(&key), &row);
    if (result == ROW_ABSENT)
        meta_refuse(&evaluation->reply, "node id %u is not in this cluster", id);
    if (result != ROW_FOUND) return result;
    if (meta_node_decode(row.value, &evaluation->node)) {
        meta_refuse(&evaluation->reply, "the row of node %u in meta cannot be read", id);
        return ROW_ABSENT;
    }
    return ROW_FOUND;
}

/* --- FOUND ---------------------------------------------------------------------------- */

static bool meta_found(struct meta_evaluation *evaluation, struct bytes body)
{
    struct cluster_view view;

    enum row_result result = meta_get_settings(evaluation);
    if (result == ROW_STOP) return false;
    if (result == ROW_FOUND || evaluation->reply.result == META_REFUSED) return true;

    cluster_view_init(&view);
    if (cluster_view_decode(body, &view)) {
        meta_refuse(&evaluation->reply, "the view of the founding cannot be read");
        return true;
    }
    for (uint32_t i = 0; i < view.node_count; i++) {
        evaluation->node =
            (struct meta_node){.node = view.nodes[i], .epoch_last = EPOCH_BLOCK_SIZE};
        evaluation->node.node.epoch = 0;
        meta_put_node(evaluation);
    }
    for (uint32_t i = 0; i < view.group_count; i++)
        meta_put_group(evaluation, i, &view.groups[i]);
    /* Above the epoch of the files written at the founding: who has those takes these. */
    view.table_epoch++;
    struct cluster_view *settings = evaluation->settings;
    evaluation->settings = &view;
    meta_put_settings(evaluation);
    evaluation->settings = settings;
    cluster_view_free(&view);
    return true;
}

/* --- BOOT, EPOCHS, REJOIN ------------------------------------------------------------- */

static void meta_take_addresses(struct view_node *node, const struct meta_request *request)
{
    if (request->peer[0] != '\0') snprintf(node->peer, sizeof(node->peer), "%s", request->peer);
    snprintf(node->redis, sizeof(node->redis), "%s", request->redis);
    snprintf(node->redis_cluster, sizeof(node->redis_cluster), "%s", request->redis_cluster);
    snprintf(node->admin, sizeof(node->admin), "%s", request->admin);
}

static void meta_boot(struct meta_evaluation *evaluation, const struct meta_request *request)
{
    struct meta_node *row = &evaluation->node;

    if (row->node.store != request->store) {
        meta_refuse(&evaluation->reply,
                    "node %s is registered with store %016llx, this directory holds store "
                    "%016llx: it is an old disk of the node, replaced since. Move the directory "
                    "away; the data lives on the registered one",
                    row->node.name, (unsigned long long)row->node.store,
                    (unsigned long long)request->store);
        return;
    }
    evaluation->reply.token = request->token;
    if (request->epoch == row->node.epoch && request->token == row->boot_token) return;
    if (request->epoch <= row->node.epoch) {
        meta_refuse(&evaluation->reply,
                    "node %s has started with boot epoch %u already, this start has %u: another "
                    "process runs with a copy of this directory, or the disk was restored from "
                    "an older image. Stop the other one; if there is none, start with an empty "
                    "directory and the node rejoins",
                    row->node.name, row->node.epoch, request->epoch);
        return;
    }
    row->node.epoch = request->epoch;
    if (row->epoch_last < request->epoch) row->epoch_last = request->epoch;
    row->boot_token = request->token;
    meta_take_addresses(&row->node, request);
    meta_put_node(evaluation);
    evaluation->settings->table_epoch++;
    meta_put_settings(evaluation);
}

static void meta_epochs(struct meta_evaluation *evaluation, const struct meta_request *request)
{
    struct meta_node *row = &evaluation->node;

    if (row->node.store != request->store) {
        meta_refuse(&evaluation->reply, "node %s is registered with another store", row->node.name);
        return;
    }
    if (row->epoch_last <= request->epoch) {
        row->epoch_last = request->epoch + EPOCH_BLOCK_SIZE;
        meta_put_node(evaluation);
    }
    evaluation->reply.epoch_first = request->epoch + 1;
    evaluation->reply.epoch_last = row->epoch_last;
}

/* A new id for the replica of the node in a group, if it is that one (0: whichever it is).
 * False: stop and run again. */
static bool meta_renew_replica(struct meta_evaluation *evaluation, uint32_t id, node_id_t node,
                               struct replica_id replica, bool *changed)
{
    struct cluster_view *settings = evaluation->settings;
    struct meta_key key = meta_key_make(META_ROW_GROUP, id);
    struct view_group group;
    struct row_view row;
    bool renewed = false;

    enum row_result result = row_get(evaluation->rows, meta_key_bytes(&key), &row);
    if (result == ROW_STOP) return false;
    if (result == ROW_ABSENT) return true;
    struct reader reader = reader_make(row.value);
    view_group_decode(&reader, &group);
    if (reader.failed) return true;
    for (uint32_t i = 0; i < group.replica_count; i++) {
        struct view_replica *member = &group.replicas[i];
        bool meant = replica.value == 0 || replica_id_equal(member->replica, replica);
        if (member->node != node || !meant) continue;
        member->replica.value = settings->next_replica_id++;
        renewed = true;
    }
    if (renewed) meta_put_group(evaluation, id, &group);
    *changed |= renewed;
    return true;
}

/* New replica ids for all that the node holds; false: stop and run again. */
static bool meta_renew_replicas(struct meta_evaluation *evaluation, node_id_t node)
{
    bool changed = false;

    for (uint32_t id = 0; id < evaluation->settings->group_count; id++)
        if (!meta_renew_replica(evaluation, id, node, (struct replica_id){0}, &changed))
            return false;
    return true;
}

static bool meta_replace(struct meta_evaluation *evaluation, const struct meta_request *request)
{
    const struct meta_node *row = &evaluation->node;
    bool changed = false;

    if (row->node.store != request->store || row->node.epoch > request->epoch) {
        meta_refuse(&evaluation->reply, "node %s runs elsewhere, or was started again since",
                    row->node.name);
        return true;
    }
    for (uint32_t i = 0; i < request->lost_count; i++) {
        const struct meta_lost *lost = &request->lost[i];
        if (lost->replica.value == 0) continue;
        if (!meta_renew_replica(evaluation, lost->group.value, request->node, lost->replica,
                                &changed))
            return false;
    }
    if (!changed) return true; /* asked before */
    evaluation->settings->table_epoch++;
    meta_put_settings(evaluation);
    return true;
}

static bool meta_rejoin(struct meta_evaluation *evaluation, const struct meta_request *request)
{
    struct meta_node *row = &evaluation->node;

    if (strcmp(row->node.name, request->name) != 0) {
        meta_refuse(&evaluation->reply, "node id %u is %s here, not %s: check --name and --cluster",
                    row->node.id, row->node.name, request->name);
        return true;
    }
    bool repeated = row->rejoin_token == request->token && row->node.store == request->store;
    if (!repeated && row->node.store == request->store) {
        meta_refuse(&evaluation->reply, "store %016llx is registered already",
                    (unsigned long long)request->store);
        return true;
    }
    if (!repeated && request->replaces != 0 && request->replaces != row->node.store) {
        evaluation->reply.result = META_RETRY;
        return true;
    }
    if (!repeated) {
        if (!meta_renew_replicas(evaluation, row->node.id)) return false;
        row->node.store = request->store;
        row->node.epoch = row->epoch_last; /* every epoch given out before is dead */
        row->rejoin_first = row->epoch_last + 1;
        row->epoch_last += EPOCH_BLOCK_SIZE;
        row->boot_token = 0;
        row->rejoin_token = request->token;
        meta_take_addresses(&row->node, request);
        meta_put_node(evaluation);
        evaluation->settings->table_epoch++;
        meta_put_settings(evaluation);
    }
    evaluation->reply.epoch_first = row->rejoin_first;
    evaluation->reply.epoch_last = row->rejoin_first + EPOCH_BLOCK_SIZE - 1;
    return true;
}

/* False: rows or budget are missing, run again. */
static bool meta_evaluate_member(struct meta_evaluation *evaluation, struct bytes body)
{
    struct meta_request request;

    if (!meta_request_decode(body, &request)) {
        meta_refuse(&evaluation->reply, "a request to meta cannot be read");
        return true;
    }
    enum row_result result = meta_get_settings(evaluation);
    if (result == ROW_STOP) return false;
    if (result == ROW_ABSENT) {
        if (evaluation->reply.result == META_DONE) evaluation->reply.result = META_RETRY;
        return true;
    }
    result = meta_get_node(evaluation, request.node);
    if (result == ROW_STOP) return false;
    if (result == ROW_ABSENT) return true;
    switch (request.kind) {
    case META_BOOT:
        meta_boot(evaluation, &request);
        return true;
    case META_EPOCHS:
        meta_epochs(evaluation, &request);
        return true;
    case META_REJOIN:
        return meta_rejoin(evaluation, &request);
    case META_REPLACE:
        return meta_replace(evaluation, &request);
    default:
        meta_refuse(&evaluation->reply, "meta does not know request %d", request.kind);
        return true;
    }
}

enum evaluate_result meta_evaluate(struct row_context *rows, const struct request *request,
                                   struct reply *reply)
{
    struct meta_evaluation evaluation = {.rows = rows};
    bool done;

    evaluation.settings = memory_allocate_zero(sizeof(*evaluation.settings));
    buffer_init(&evaluation.scratch, META_ROW_SIZE_MAX);
    bool found = request->body.size > 0 && request->body.data[0] == META_FOUND;
    if (found) {
        done = meta_found(&evaluation, bytes_from(request->body, 1));
    } else {
        done = meta_evaluate_member(&evaluation, request->body);
    }
    if (done) meta_reply_write(reply, &evaluation.reply);
    buffer_free(&evaluation.scratch);
    memory_free(evaluation.settings);
    return done ? EVALUATE_DONE : row_context_stop(rows);
}
