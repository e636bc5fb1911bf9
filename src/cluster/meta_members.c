/* Nodes come, are emptied, and go (DESIGN.md 7; WHY 6.5, 6.6). */
#include <stdio.h>

#include "base/bytes.h"
#include "base/parse.h"
#include "cluster/identity.h"
#include "cluster/meta_internal.h"

/* --- tokens ------------------------------------------------------------------------------- */

static uint32_t token_id(const uint8_t hash[META_SECRET_HASH_SIZE])
{
    return load_u32_be(hash);
}

static bool same_secret(const struct meta_token *token, const struct meta_request *request)
{
    return memcmp(token->hash, request->secret_hash, META_SECRET_HASH_SIZE) == 0;
}

struct token_walk {
    struct meta_evaluation *evaluation;
    uint32_t there;
    uint32_t ended[META_TOKENS_MAX];
    uint32_t ended_count;
};

static bool token_seen(void *context, struct bytes key, const struct row_view *row)
{
    struct token_walk *walk = context;
    struct meta_token token;
    enum meta_row_kind kind;
    uint32_t id;

    if (!meta_key_parse(key, &kind, &id)) return true;
    bool ended = meta_token_decode(row->value, &token) ||
                 token.expires_ms <= row_time_ms(walk->evaluation->rows);
    if (ended && walk->ended_count < META_TOKENS_MAX)
        walk->ended[walk->ended_count++] = id;
    else
        walk->there++;
    return true;
}

bool meta_token_add(struct meta_evaluation *evaluation, const struct meta_request *request)
{
    struct meta_key from = meta_key_make(META_ROW_TOKEN, 0);
    struct meta_key to = meta_key_make((enum meta_row_kind)(META_ROW_TOKEN + 1), 0);
    struct token_walk walk = {.evaluation = evaluation};
    struct meta_token token = {.expires_ms = request->expires_ms};

    if (row_scan(evaluation->rows, meta_key_bytes(&from), meta_key_bytes(&to), &walk, token_seen) ==
        ROW_STOP)
        return false;
    for (uint32_t i = 0; i < walk.ended_count; i++)
        meta_delete(evaluation, META_ROW_TOKEN, walk.ended[i]);
    if (walk.there >= META_TOKENS_MAX) {
        meta_refuse(&evaluation->reply,
                    "%u tokens wait to be used: use one of them, or wait until some have ended",
                    walk.there);
        return true;
    }
    memcpy(token.hash, request->secret_hash, sizeof(token.hash));
    meta_token_encode(&token, &evaluation->scratch);
    meta_put(evaluation, META_ROW_TOKEN, token_id(token.hash));
    return true;
}

/* True, and in `ret_refused` whether it may not join. False: run again. `local`: all nodes, and
 * this one, have loopback addresses. Who can reach those can be any node of the cluster already. */
static bool token_use(struct meta_evaluation *evaluation, const struct meta_request *request,
                      bool local, bool *ret_refused)
{
    struct meta_key key = meta_key_make(META_ROW_TOKEN, token_id(request->secret_hash));
    struct meta_token token;
    struct row_view row;

    if (!request->has_secret) {
        *ret_refused = !local;
        if (local) return true;
        meta_refuse(&evaluation->reply, "a node that joins needs a token: make one with holon node "
                                        "token, and give it with --token");
        return true;
    }
    enum row_result result = row_get(evaluation->rows, meta_key_bytes(&key), &row);
    if (result == ROW_STOP) return false;
    *ret_refused = true;
    bool there = result == ROW_FOUND && meta_token_decode(row.value, &token) == STATUS_OK &&
                 same_secret(&token, request);
    if (!there) {
        meta_refuse(&evaluation->reply,
                    "the token is not of this cluster, or was used already: each lets one node in. "
                    "Make a new one with: holon node token");
    } else if (token.expires_ms <= row_time_ms(evaluation->rows)) {
        meta_refuse(&evaluation->reply, "the token has ended: make a new one with: holon node "
                                        "token, and use it within its time (--ttl)");
    } else {
        *ret_refused = false;
        meta_delete(evaluation, META_ROW_TOKEN, token_id(request->secret_hash));
    }
    return true;
}

/* --- JOIN --------------------------------------------------------------------------------- */

struct join_walk {
    uint32_t there;
    bool repeated, name_taken, store_taken;
    bool local; /* nobody can be reached from another machine */
};

/* An address that cannot be read may be anywhere. */
static bool is_local(const char *peer)
{
    struct address address;

    return parse_address(bytes_of(peer), true, &address) && address_is_loopback(&address);
}

/* All nodes there are; false: run again. */
static bool join_look(struct meta_evaluation *evaluation, const struct meta_request *request,
                      struct join_walk *walk)
{
    walk->local = is_local(request->peer);
    for (node_id_t id = 1; id < evaluation->settings->next_node_id; id++) {
        struct meta_key key = meta_key_make(META_ROW_NODE, id);
        struct meta_node *row = &evaluation->node;
        struct row_view view;

        enum row_result result = row_get(evaluation->rows, meta_key_bytes(&key), &view);
        if (result == ROW_STOP) return false;
        if (result == ROW_ABSENT || meta_node_decode(view.value, row)) continue;
        walk->there++;
        walk->local &= is_local(row->node.peer);
        bool same_store = row->node.store == request->store;
        walk->repeated = same_store && row->rejoin_token == request->token &&
                         strcmp(row->node.name, request->name) == 0;
        if (walk->repeated) return true; /* evaluation->node is that one */
        walk->store_taken |= same_store;
        walk->name_taken |= strcmp(row->node.name, request->name) == 0;
    }
    return true;
}

static bool join_is_refused(struct meta_evaluation *evaluation, const struct meta_request *request,
                            const struct join_walk *walk)
{
    if (request->name[0] == '\0' || request->peer[0] == '\0' || request->store == 0)
        meta_refuse(&evaluation->reply, "a node that joins has a name, an address for other nodes "
                                        "and a store");
    else if (walk->name_taken)
        meta_refuse(
            &evaluation->reply,
            "there is a node %s already: choose another --name. If that machine is dead and "
            "this one takes its place: holon node replace %s",
            request->name, request->name);
    else if (walk->store_taken)
        meta_refuse(&evaluation->reply,
                    "store %016llx is of another node: start on an empty directory",
                    (unsigned long long)request->store);
    else if (walk->there >= NODES_MAX || evaluation->settings->next_node_id > NODES_MAX)
        meta_refuse(&evaluation->reply,
                    "ids of nodes go to %d and are never used twice: there is none left",
                    NODES_MAX);
    return evaluation->reply.result == META_REFUSED;
}

static void join_answer(struct meta_evaluation *evaluation)
{
    evaluation->reply.node = evaluation->node.node.id;
    evaluation->reply.epoch_first = evaluation->node.rejoin_first;
    evaluation->reply.epoch_last = evaluation->node.rejoin_first + EPOCH_BLOCK_SIZE - 1;
}

bool meta_join(struct meta_evaluation *evaluation, const struct meta_request *request)
{
    struct join_walk walk = {0};
    struct error error;
    bool refused;

    if (!join_look(evaluation, request, &walk)) return false;
    if (walk.repeated && evaluation->node.node.epoch >= evaluation->node.rejoin_first) {
        /* Its boot epochs were used, and its replicas have voted: who comes with the same question
         * has forgotten that (F11). */
        meta_refuse(
            &evaluation->reply,
            "node %s has joined and started already: this directory is an older image of "
            "its own. Start the newer one; if that is lost, empty this one and have it take "
            "the place of that node: holon node replace %s",
            request->name, request->name);
        return true;
    }
    if (walk.repeated) {
        join_answer(evaluation);
        return true;
    }
    if (join_is_refused(evaluation, request, &walk)) return true;

    struct meta_node *row = &evaluation->node;
    *row = (struct meta_node){
        .node = {.id = evaluation->settings->next_node_id, .store = request->store},
        .epoch_last = EPOCH_BLOCK_SIZE,
        .rejoin_token = request->token,
        .rejoin_first = 1,
    };
    snprintf(row->node.name, sizeof(row->node.name), "%s", request->name);
    snprintf(row->node.hex_id, sizeof(row->node.hex_id), "%s", request->hex_id);
    meta_take_addresses(&row->node, request);
    if (labels_change(row->node.labels, request->labels, &error)) {
        meta_refuse(&evaluation->reply, "%.400s", error.text);
        return true;
    }
    if (!token_use(evaluation, request, walk.local, &refused)) return false;
    if (refused) return true;
    evaluation->settings->next_node_id++;
    meta_put_node(evaluation);
    meta_put_table_epoch(evaluation);
    join_answer(evaluation);
    return true;
}

/* --- DRAIN, UNDRAIN, LABEL, REMOVE -------------------------------------------------------- */

/* Nodes other than this one that stay; false: run again. */
static bool others_that_stay(struct meta_evaluation *evaluation, node_id_t but, uint32_t *ret_count)
{
    *ret_count = 0;
    for (node_id_t id = 1; id < evaluation->settings->next_node_id; id++) {
        struct meta_key key = meta_key_make(META_ROW_NODE, id);
        struct meta_node other;
        struct row_view row;

        if (id == but) continue;
        enum row_result result = row_get(evaluation->rows, meta_key_bytes(&key), &row);
        if (result == ROW_STOP) return false;
        if (result == ROW_ABSENT || meta_node_decode(row.value, &other)) continue;
        *ret_count += other.node.state == VIEW_NODE_STAYS;
    }
    return true;
}

bool meta_drain(struct meta_evaluation *evaluation, const struct meta_request *request)
{
    struct view_node *node = &evaluation->node.node;
    bool drain = request->kind == META_DRAIN;
    enum view_node_state state = drain ? VIEW_NODE_LEAVES : VIEW_NODE_STAYS;
    uint32_t others;

    if (node->state == state) return true; /* asked before */
    if (drain && !others_that_stay(evaluation, node->id, &others)) return false;
    if (drain && others == 0) {
        meta_refuse(&evaluation->reply,
                    "%s is the only node that is not being drained, and its data would have no "
                    "place: add a node first, or holon node undrain another one",
                    node->name);
        return true;
    }
    node->state = state;
    meta_put_node(evaluation);
    meta_put_table_epoch(evaluation);
    return true;
}

bool meta_label(struct meta_evaluation *evaluation, const struct meta_request *request)
{
    struct view_node *node = &evaluation->node.node;
    char before[LABELS_SIZE_MAX];
    struct error error;

    memcpy(before, node->labels, sizeof(before));
    if (labels_change(node->labels, request->labels, &error)) {
        meta_refuse(&evaluation->reply, "%.400s", error.text);
        return true;
    }
    if (strcmp(before, node->labels) == 0) return true;
    meta_put_node(evaluation);
    meta_put_table_epoch(evaluation);
    return true;
}

static bool names(const struct view_group *group, node_id_t node)
{
    for (uint32_t i = 0; i < group->replica_count; i++)
        if (group->replicas[i].node == node) return true;
    return false;
}

bool meta_remove(struct meta_evaluation *evaluation, const struct meta_request *request)
{
    const struct view_node *node = &evaluation->node.node;
    uint32_t held = 0, moving = 0;

    if (node->state != VIEW_NODE_LEAVES) {
        meta_refuse(&evaluation->reply, "%s is in use: empty it first with: holon node drain %s",
                    node->name, node->name);
        return true;
    }
    for (uint32_t id = 0; id < evaluation->settings->group_count; id++) {
        struct view_group group;
        enum row_result result = meta_get_group(evaluation, id, &group);
        if (result == ROW_STOP) return false;
        if (result == ROW_ABSENT) continue;
        held += names(&group, request->node);
        moving += group.moving;
    }
    /* A group on its way may still have a replica there that votes. */
    if (evaluation->planted & META_BUG_REMOVE_MOVING) moving = 0;
    if (held + moving > 0) {
        meta_refuse(&evaluation->reply,
                    "%s still holds %u replicas, and %u groups are being moved: wait until holon "
                    "status says that it is empty",
                    node->name, held, moving);
        return true;
    }
    meta_delete(evaluation, META_ROW_NODE, node->id);
    meta_put_table_epoch(evaluation);
    return true;
}
