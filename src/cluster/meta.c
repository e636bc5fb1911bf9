#include "cluster/meta.h"

#include <stdarg.h>
#include <stdio.h>

#include "base/assert.h"
#include "base/memory.h"
#include "cluster/identity.h"
#include "cluster/meta_internal.h"

void meta_refuse(struct meta_reply *reply, const char *format, ...)
{
    va_list arguments;

    reply->result = META_REFUSED;
    va_start(arguments, format);
    vsnprintf(reply->text, sizeof(reply->text), format, arguments);
    va_end(arguments);
}

/* --- rows ----------------------------------------------------------------------------- */

void meta_put(struct meta_evaluation *evaluation, enum meta_row_kind kind, uint32_t id)
{
    struct meta_key key = meta_key_make(kind, id);

    row_put(evaluation->rows, meta_key_bytes(&key), META_ROW_TYPE, 0, 0,
            buffer_bytes(&evaluation->scratch));
    buffer_clear(&evaluation->scratch);
}

static void meta_put_settings(struct meta_evaluation *evaluation)
{
    meta_settings_encode(evaluation->settings, &evaluation->scratch);
    meta_put(evaluation, META_ROW_SETTINGS, 0);
    evaluation->reply.table_epoch = evaluation->settings->table_epoch;
}

void meta_put_node(struct meta_evaluation *evaluation)
{
    meta_node_encode(evaluation->settings, &evaluation->node, &evaluation->scratch);
    meta_put(evaluation, META_ROW_NODE, evaluation->node.node.id);
}

void meta_put_group(struct meta_evaluation *evaluation, uint32_t id, const struct view_group *group)
{
    meta_group_encode(evaluation->settings, group, &evaluation->scratch);
    meta_put(evaluation, META_ROW_GROUP, id);
}

static enum row_result meta_get_settings(struct meta_evaluation *evaluation)
{
    struct meta_key key = meta_key_make(META_ROW_SETTINGS, 0);
    struct row_view row;

    enum row_result result = row_get(evaluation->rows, meta_key_bytes(&key), &row);
    if (result != ROW_FOUND) return result;
    if (meta_settings_decode(row.value, evaluation->settings)) {
        meta_refuse(&evaluation->reply, "the settings row of meta cannot be read: damaged, or of "
                                        "a newer version of holon");
        return ROW_ABSENT;
    }
    evaluation->reply.table_epoch = evaluation->settings->table_epoch;
    return ROW_FOUND;
}

enum row_result meta_get_node(struct meta_evaluation *evaluation, node_id_t id)
{
    struct meta_key key = meta_key_make(META_ROW_NODE, id);
    struct row_view row;

    enum row_result result = row_get(evaluation->rows, meta_key_bytes(&key), &row);
    if (result == ROW_ABSENT && id != 0 && id < evaluation->settings->next_node_id)
        meta_refuse(
            &evaluation->reply,
            "node id %u was removed from this cluster, and ids are never used twice: to add "
            "the machine again, start it on an empty directory with --join",
            id);
    else if (result == ROW_ABSENT)
        meta_refuse(&evaluation->reply, "node id %u is not in this cluster", id);
    if (result != ROW_FOUND) return result;
    if (meta_node_decode(row.value, &evaluation->node)) {
        meta_refuse(&evaluation->reply, "the row of node %u in meta cannot be read", id);
        return ROW_ABSENT;
    }
    return ROW_FOUND;
}

enum row_result meta_get_group(struct meta_evaluation *evaluation, uint32_t id,
                               struct view_group *ret_group)
{
    struct meta_key key = meta_key_make(META_ROW_GROUP, id);
    struct row_view row;

    enum row_result result = row_get(evaluation->rows, meta_key_bytes(&key), &row);
    if (result == ROW_FOUND && meta_group_decode(row.value, ret_group)) return ROW_ABSENT;
    return result;
}

void meta_delete(struct meta_evaluation *evaluation, enum meta_row_kind kind, uint32_t id)
{
    struct meta_key key = meta_key_make(kind, id);

    row_delete(evaluation->rows, meta_key_bytes(&key));
}

void meta_put_table_epoch(struct meta_evaluation *evaluation)
{
    evaluation->settings->table_epoch++;
    meta_put_settings(evaluation);
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
    /* Above the epoch of the files written at the founding: who has those takes these. */
    view.table_epoch++;
    struct cluster_view *settings = evaluation->settings;
    evaluation->settings = &view;
    for (uint32_t i = 0; i < view.node_count; i++) {
        evaluation->node =
            (struct meta_node){.node = view.nodes[i], .epoch_last = EPOCH_BLOCK_SIZE};
        evaluation->node.node.epoch = 0;
        meta_put_node(evaluation);
    }
    for (uint32_t i = 0; i < view.group_count; i++)
        meta_put_group(evaluation, i, &view.groups[i]);
    meta_put_settings(evaluation);
    evaluation->settings = settings;
    cluster_view_free(&view);
    return true;
}

/* --- BOOT, EPOCHS ------------------------------------------------------------- */

void meta_take_addresses(struct view_node *node, const struct meta_request *request)
{
    if (request->peer[0] != '\0') snprintf(node->peer, sizeof(node->peer), "%s", request->peer);
    snprintf(node->redis, sizeof(node->redis), "%s", request->redis);
    snprintf(node->redis_cluster, sizeof(node->redis_cluster), "%s", request->redis_cluster);
    snprintf(node->admin, sizeof(node->admin), "%s", request->admin);
}

static void meta_boot(struct meta_evaluation *evaluation, const struct meta_request *request)
{
    struct meta_node *row = &evaluation->node;
    struct error error;

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
    /* An honest disk knows each epoch that it spoke under, and only those are registered. */
    bool forgot = request->tells_before && row->node.epoch > request->epoch_before;
    if (request->epoch <= row->node.epoch || forgot) {
        meta_refuse(&evaluation->reply,
                    "node %s has started with boot epoch %u already, this start has %u%s: another "
                    "process runs with a copy of this directory, or the disk was restored from "
                    "an older image. Stop the other one; if there is none, start with an empty "
                    "directory and the node rejoins",
                    row->node.name, row->node.epoch, request->epoch,
                    forgot ? " and its disk knows of none since" : "");
        return;
    }
    if (labels_change(row->node.labels, request->labels, &error)) {
        meta_refuse(&evaluation->reply, "%.400s", error.text);
        return;
    }
    row->node.epoch = request->epoch;
    if (row->epoch_last < request->epoch) row->epoch_last = request->epoch;
    row->boot_token = request->token;
    meta_take_addresses(&row->node, request);
    meta_put_node(evaluation);
    meta_put_table_epoch(evaluation);
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

static bool names_node(enum meta_kind kind)
{
    return kind != META_TOKEN && kind != META_JOIN && kind != META_MOVE && kind != META_SETTLED &&
           kind != META_KEEP && kind != META_FINALIZE && kind != META_DATABASE;
}

/* False: rows or budget are missing, run again. */
static bool meta_evaluate_member(struct meta_evaluation *evaluation, struct bytes body)
{
    struct meta_request request;

    bool known = meta_request_decode(body, &request);
    bool is_before = evaluation->supports != 0 && evaluation->supports < VIEW_VERSION_ELASTIC;
    if (!known || (is_before && request.kind >= META_JOIN)) {
        meta_refuse(&evaluation->reply, "a request to meta cannot be read");
        return true;
    }
    enum row_result result = meta_get_settings(evaluation);
    if (result == ROW_STOP) return false;
    if (result == ROW_ABSENT) {
        if (evaluation->reply.result == META_DONE) evaluation->reply.result = META_RETRY;
        return true;
    }
    bool needs_more = request.kind >= META_JOIN && request.kind != META_FINALIZE &&
                      request.kind != META_DATABASE; /* those tell by themselves */
    if (needs_more && !view_has_more(evaluation->settings)) {
        meta_refuse(&evaluation->reply,
                    "the cluster was founded by version 0.1.0, and cannot grow or shrink until all "
                    "nodes run a later one and `holon upgrade finalize` was asked for");
        return true;
    }
    if (names_node(request.kind)) {
        result = meta_get_node(evaluation, request.node);
        if (result == ROW_STOP) return false;
        if (result == ROW_ABSENT) return true;
    }
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
    case META_TOKEN:
        return meta_token_add(evaluation, &request);
    case META_JOIN:
        return meta_join(evaluation, &request);
    case META_DRAIN:
    case META_UNDRAIN:
        return meta_drain(evaluation, &request);
    case META_LABEL:
        return meta_label(evaluation, &request);
    case META_REMOVE:
        return meta_remove(evaluation, &request);
    case META_MOVE:
        return meta_move(evaluation, &request);
    case META_SETTLED:
        return meta_settled(evaluation, &request);
    case META_KEEP:
        return meta_keep(evaluation, &request);
    case META_FINALIZE:
        return meta_finalize(evaluation, &request);
    case META_DATABASE:
        return meta_database(evaluation, &request);
    default:
        meta_refuse(&evaluation->reply, "meta does not know request %d", request.kind);
        return true;
    }
}

enum evaluate_result meta_evaluate(struct row_context *rows, const struct request *request,
                                   struct reply *reply)
{
    struct meta_evaluation evaluation = {.rows = rows};
    const struct meta_options *options = rows->options;
    bool done;

    if (options != NULL) evaluation.planted = options->planted;
    if (options != NULL) evaluation.supports = options->supports;
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
