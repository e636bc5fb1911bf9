/* Tokens, and nodes that join by them: with a new id, or in the place of a dead one (DESIGN.md 7).
 */
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

enum { REPLACE_COPIES_MIN = 3 }; /* of each group: the others are a majority */

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

/* Each group of the node can do without it: its place may be given to another machine. False: run
 * again. */
static bool check_replaceable(struct meta_evaluation *evaluation, node_id_t id)
{
    enum row_result result = meta_get_node(evaluation, id);

    if (result != ROW_FOUND) return result == ROW_ABSENT;
    for (uint32_t g = 0; g < evaluation->settings->group_count; g++) {
        struct view_group group;
        result = meta_get_group(evaluation, g, &group);
        if (result == ROW_STOP) return false;
        if (result == ROW_ABSENT || group.replica_count >= REPLACE_COPIES_MIN ||
            !meta_group_names(&group, id))
            continue;
        meta_refuse(&evaluation->reply,
                    "node %s holds one of %u replicas of group %u: without it the group has no "
                    "majority, and nobody could fill another machine. Bring its disk back; if that "
                    "is lost: holon salvage on the others",
                    evaluation->node.node.name, group.replica_count, g);
        return true;
    }
    return true;
}

bool meta_token_add(struct meta_evaluation *evaluation, const struct meta_request *request)
{
    struct meta_key from = meta_key_make(META_ROW_TOKEN, 0);
    struct meta_key to = meta_key_make((enum meta_row_kind)(META_ROW_TOKEN + 1), 0);
    struct token_walk walk = {.evaluation = evaluation};
    struct meta_token token = {.expires_ms = request->expires_ms, .node = request->node};

    if (request->node != 0 && !check_replaceable(evaluation, request->node)) return false;
    if (evaluation->reply.result == META_REFUSED) return true;

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

/* ROW_ABSENT: it may not join, and the reply says why; ROW_STOP: run again. The token may be used,
 * and is once it is deleted. Without one, and `local`: ROW_FOUND of a token for a new node. */
static enum row_result token_find(struct meta_evaluation *evaluation,
                                  const struct meta_request *request, bool local,
                                  struct meta_token *ret_token)
{
    struct meta_key key = meta_key_make(META_ROW_TOKEN, token_id(request->secret_hash));
    struct row_view row;

    *ret_token = (struct meta_token){.expires_ms = INT64_MAX};
    if (!request->has_secret && local) return ROW_FOUND;
    if (!request->has_secret) {
        meta_refuse(&evaluation->reply, "a node that joins needs a token: make one with holon node "
                                        "token, and give it with --token");
        return ROW_ABSENT;
    }
    enum row_result result = row_get(evaluation->rows, meta_key_bytes(&key), &row);
    if (result == ROW_STOP) return result;
    bool there = result == ROW_FOUND && meta_token_decode(row.value, ret_token) == STATUS_OK &&
                 same_secret(ret_token, request);
    if (!there)
        meta_refuse(&evaluation->reply,
                    "the token is not of this cluster, or was used already: each lets one node in. "
                    "Make a new one with: holon node token");
    else if (ret_token->expires_ms <= row_time_ms(evaluation->rows))
        meta_refuse(&evaluation->reply, "the token has ended: make a new one with: holon node "
                                        "token, and use it within its time (--ttl)");
    return evaluation->reply.result == META_REFUSED ? ROW_ABSENT : ROW_FOUND;
}

static void token_use(struct meta_evaluation *evaluation, const struct meta_request *request)
{
    if (request->has_secret && !(evaluation->planted & META_BUG_TOKEN_STAYS))
        meta_delete(evaluation, META_ROW_TOKEN, token_id(request->secret_hash));
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
    else if (!node_name_is_valid(bytes_of(request->name)))
        meta_refuse(&evaluation->reply,
                    "a name consists of letters, digits, `-`, `_` and `.`: choose another --name");
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

/* The machine takes the place of the dead one: same id and name, new store, new replica ids, which
 * their leaders fill. Who had them may come back, and is refused (BOOT, view_allows_us). */
static bool join_in_place(struct meta_evaluation *evaluation, const struct meta_request *request,
                          const struct join_walk *walk, node_id_t id)
{
    struct meta_request rejoin = *request;
    struct view_node *node = &evaluation->node.node;
    struct error error;

    enum row_result result = meta_get_node(evaluation, id);
    if (result != ROW_FOUND) return result == ROW_ABSENT;
    if (strcmp(node->name, request->name) != 0)
        meta_refuse(&evaluation->reply,
                    "the token is for the machine that takes the place of node %s: give --name %s",
                    node->name, node->name);
    else if (walk->store_taken)
        meta_refuse(&evaluation->reply,
                    "store %016llx is of another node: start on an empty "
                    "directory",
                    (unsigned long long)request->store);
    else if (labels_change(node->labels, request->labels, &error))
        meta_refuse(&evaluation->reply, "%.400s", error.text);
    if (evaluation->reply.result == META_REFUSED) return true;
    node->state = VIEW_NODE_STAYS;
    rejoin.kind = META_REJOIN;
    rejoin.node = id;
    if (!meta_rejoin(evaluation, &rejoin)) return false;
    if (evaluation->reply.result == META_DONE) token_use(evaluation, request);
    evaluation->reply.node = id;
    return true;
}

static bool join_anew(struct meta_evaluation *evaluation, const struct meta_request *request,
                      const struct join_walk *walk)
{
    struct meta_node *row = &evaluation->node;
    struct error error;

    if (join_is_refused(evaluation, request, walk)) return true;
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
    token_use(evaluation, request);
    if (!(evaluation->planted & META_BUG_ID_GIVEN_AGAIN)) evaluation->settings->next_node_id++;
    meta_put_node(evaluation);
    meta_put_table_epoch(evaluation);
    join_answer(evaluation);
    return true;
}

/* The same question as one that was answered before. */
static void join_repeated(struct meta_evaluation *evaluation)
{
    const struct meta_node *row = &evaluation->node;

    if (row->node.epoch < row->rejoin_first) {
        join_answer(evaluation);
        return;
    }
    /* Its boot epochs were used, and its replicas may have voted: who comes with the same question
     * has forgotten that (F11). */
    meta_refuse(&evaluation->reply,
                "node %s has joined and started already: this directory is an older image of its "
                "own. Start the newer one; if that is lost, empty this one and let it take the "
                "place of that node: holon node replace %s",
                row->node.name, row->node.name);
}

bool meta_join(struct meta_evaluation *evaluation, const struct meta_request *request)
{
    struct join_walk walk = {0};
    struct meta_token token;

    if (!join_look(evaluation, request, &walk)) return false;
    if (walk.repeated) {
        join_repeated(evaluation);
        return true;
    }
    /* A name that is there is the better reason, unless the token is for that. */
    if (!request->has_secret && join_is_refused(evaluation, request, &walk)) return true;
    enum row_result result = token_find(evaluation, request, walk.local, &token);
    if (result != ROW_FOUND) return result == ROW_ABSENT;
    if (token.node != 0) return join_in_place(evaluation, request, &walk, token.node);
    return join_anew(evaluation, request, &walk);
}
