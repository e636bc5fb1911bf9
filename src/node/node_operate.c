/* What operators ask for by way of the admin port: a request to meta each, and its answer as JSON.
 *
 *   POST /nodes/NAME/drain|undrain|remove    POST /nodes/NAME/label?name=value,name=
 *   POST /upgrade/finalize   the cluster version rises (node_upgrade.c)
 *   POST /databases/N?durability=memory|disk
 *   POST /scrub       all nodes read their disks, and compare their rows, now
 *   POST /token?hash=HEX64&ttl=SECONDS       POST /nodes/NAME/replace?hash=HEX64&ttl=SECONDS
 *
 * Evaluations of meta decide in one order, so of two operators who contradict each other the second
 * is told why it was refused. Worker 0. */
#include <jansson.h>

#include "base/parse.h"
#include "cluster/join_token.h"
#include "cluster/mover.h"
#include "cluster/view_codec.h"
#include "node/node_snapshot.h"

enum { TOKEN_DAYS_MAX = 30 };

struct verb {
    const char *name;
    enum meta_kind kind;
};

static const struct verb verbs[] = {{"drain", META_DRAIN},
                                    {"undrain", META_UNDRAIN},
                                    {"remove", META_REMOVE},
                                    {"label", META_LABEL},
                                    {"replace", META_TOKEN}};

static int append_json(const char *text, size_t size, void *buffer)
{
    return buffer_append(buffer, bytes_make(text, size)) ? -1 : 0;
}

__attribute__((format(printf, 3, 4))) static void
operate_answer(const struct operation_reply *to, unsigned code, const char *format, ...)
{
    char text[ERROR_TEXT_SIZE_MAX];
    struct buffer body;
    va_list arguments;

    va_start(arguments, format);
    vsnprintf(text, sizeof(text), format, arguments);
    va_end(arguments);
    buffer_init(&body, 4 * sizeof(text));
    json_t *json = json_pack("{s:s}", code == 200 ? "done" : "error", text);
    json_dump_callback(json, append_json, &body, JSON_COMPACT);
    json_decref(json);
    buffer_append(&body, bytes_of("\n"));
    to->answer(to->context, to->ticket, code, buffer_bytes(&body));
    buffer_free(&body);
}

static void operation_answered(struct node *node, struct meta_question *question)
{
    struct operation *operation = CONTAINER_OF(question, struct operation, question);

    switch (question->reply.result) {
    case META_DONE:
        operate_answer(&operation->reply, 200, "the table is at epoch %llu",
                       (unsigned long long)question->reply.table_epoch);
        break;
    case META_REFUSED:
        operate_answer(&operation->reply, 409, "%.400s", question->reply.text);
        break;
    case META_RETRY:
        operate_answer(&operation->reply, 503,
                       "the meta group did not answer in time, and it is not known whether it was "
                       "done: look with holon node list, and ask again");
        break;
    }
}

/* "/nodes/NAME/VERB" */
static bool parse_path(struct bytes path, struct bytes *ret_name, struct bytes *ret_verb)
{
    struct bytes prefix = bytes_of("/nodes/");

    if (!bytes_starts_with(path, prefix)) return false;
    struct bytes rest = bytes_from(path, prefix.size);
    const uint8_t *slash = rest.size ? memchr(rest.data, '/', rest.size) : NULL;
    if (slash == NULL) return false;
    *ret_name = bytes_make(rest.data, (size_t)(slash - rest.data));
    *ret_verb = bytes_from(rest, ret_name->size + 1);
    return true;
}

static const struct view_node *find_node(const struct cluster_view *view, struct bytes name)
{
    for (uint32_t i = 0; i < view->node_count; i++)
        if (bytes_equal(bytes_of(view->nodes[i].name), name)) return &view->nodes[i];
    return NULL;
}

static const struct verb *find_verb(struct bytes name)
{
    for (size_t i = 0; i < ARRAY_COUNT(verbs); i++)
        if (bytes_equal(name, bytes_of(verbs[i].name))) return &verbs[i];
    return NULL;
}

/* "hash=HEX64&ttl=SECONDS": the secret itself stays with the operator. */
static bool take_token(struct node *node, struct bytes query, struct meta_request *request)
{
    struct bytes hash = bytes_of("hash="), ttl = bytes_of("&ttl=");
    size_t hex_size = 2 * META_SECRET_HASH_SIZE;
    uint64_t seconds;

    if (!bytes_starts_with(query, hash) || query.size < hash.size + hex_size) return false;
    struct bytes hex = bytes_make(query.data + hash.size, hex_size);
    struct bytes rest = bytes_from(query, hash.size + hex_size);
    bool valid = hex_parse(hex, request->secret_hash, META_SECRET_HASH_SIZE) &&
                 bytes_starts_with(rest, ttl) && parse_u64(bytes_from(rest, ttl.size), &seconds) &&
                 seconds >= 1 && seconds <= (uint64_t)TOKEN_DAYS_MAX * 24 * 3600;
    if (!valid) return false;
    request->has_secret = true;
    request->expires_ms = world_wall_time(node->world) / 1000 + (int64_t)seconds * 1000;
    return true;
}

static struct operation *free_slot(struct node *node)
{
    for (uint32_t i = 0; i < OPERATIONS_MAX; i++)
        if (!node->operations[i].question.busy) return &node->operations[i];
    return NULL;
}

static void operation_ask(struct node *node, struct operation *operation,
                          const struct meta_request *request, const struct operation_reply *reply)
{
    operation->reply = *reply;
    operation->question.on_answer = operation_answered;
    buffer_free(&operation->question.body);
    buffer_init(&operation->question.body, META_REQUEST_SIZE_MAX);
    meta_request_encode(request, &operation->question.body);
    meta_question_ask(node, &operation->question);
}

static void finalize(struct node *node, const struct operation_reply *reply)
{
    struct operation *operation = free_slot(node);
    struct meta_request *request = memory_allocate(sizeof(*request));
    char why[256];

    if (operation == NULL)
        operate_answer(reply, 503, "%d requests are under way: ask again", OPERATIONS_MAX);
    else if (!node_upgrade_request(node, request, why, sizeof(why)))
        operate_answer(reply, 409, "%s", why);
    else
        operation_ask(node, operation, request, reply);
    memory_free(request);
}

/* "/databases/N", "durability=memory". */
static void database(struct node *node, struct bytes number, struct bytes query,
                     const struct operation_reply *reply)
{
    struct meta_request request = {.kind = META_DATABASE};
    struct operation *operation = free_slot(node);
    uint64_t n = 0;
    bool disk = bytes_equal(query, bytes_of("durability=disk"));

    request.in_memory = bytes_equal(query, bytes_of("durability=memory"));
    if (operation == NULL) {
        operate_answer(reply, 503, "%d requests are under way: ask again", OPERATIONS_MAX);
        return;
    }
    if (!parse_u64(number, &n) || n >= VIEW_DATABASES_MAX || disk == request.in_memory) {
        operate_answer(reply, 409,
                       "a database is changed with POST /databases/N?durability=memory or =disk, N "
                       "being 0 to %d",
                       VIEW_DATABASES_MAX - 1);
        return;
    }
    request.database = (uint8_t)n;
    operation_ask(node, operation, &request, reply);
}

/* Those that are not connected are scrubbed when their time comes. */
static void scrub_all(struct node *node, const struct operation_reply *reply)
{
    struct buffer frame;
    uint32_t asked = 1;

    buffer_init(&frame, 16);
    struct writer writer = writer_make(&frame);
    write_u8(&writer, STATUS_SCRUB);
    node_scrub_now(node);
    for (node_id_t id = 1; id <= node->member_count; id++) {
        struct transport *transport = node->workers[0].transport;
        if (id == node->identity.node || !transport_is_up(transport, id)) continue;
        transport_send(transport, id, 0, PEER_FRAME_STATUS, buffer_bytes(&frame));
        asked++;
    }
    buffer_free(&frame);
    operate_answer(reply, 200, "%u of %u nodes scrub now", asked, node_members_there(node));
}

void node_operate(struct node *node, struct bytes path, struct bytes query,
                  const struct operation_reply *reply)
{
    struct bytes name = {0}, verb_name = {0};
    const struct view_node *target = NULL;
    const struct verb *verb = NULL;

    bool token = bytes_equal(path, bytes_of("/token"));
    if (token) {
        verb = find_verb(bytes_of("replace"));
    } else if (parse_path(path, &name, &verb_name)) {
        target = find_node(&node->workers[0].view, name);
        verb = find_verb(verb_name);
    }
    bool scrub = bytes_equal(path, bytes_of("/scrub"));
    bool upgrade = bytes_equal(path, bytes_of("/upgrade/finalize"));
    bool databases = bytes_starts_with(path, bytes_of("/databases/"));
    if (verb == NULL && !scrub && !upgrade && !databases) {
        operate_answer(reply, 404,
                       "there is POST /scrub, /token, /upgrade/finalize, /databases/N, and "
                       "/nodes/NAME/drain, "
                       "undrain, remove, label and replace");
        return;
    }
    if (node->state != NODE_RUNNING || !node->booted) {
        operate_answer(reply, 503, "this node is not ready: ask another one");
        return;
    }
    if (scrub) {
        scrub_all(node, reply);
        return;
    }
    if (upgrade) {
        finalize(node, reply);
        return;
    }
    if (databases) {
        database(node, bytes_from(path, sizeof("/databases/") - 1), query, reply);
        return;
    }
    if (target == NULL && !token) {
        operate_answer(reply, 404, "there is no node %.*s: holon node list shows all",
                       (int)name.size, (const char *)name.data);
        return;
    }
    bool ends = verb->kind == META_REMOVE && target->state == VIEW_NODE_LEAVES; /* or is refused */
    if (ends && target->id == node->identity.node) {
        operate_answer(reply, 409,
                       "%s ends when it is removed, and could not answer: ask another node",
                       target->name);
        return;
    }
    if (verb->kind == META_TOKEN && target != NULL && node_is_alive(node, target)) {
        operate_answer(reply, 409,
                       "%s was heard of within the last second: stop it first, or empty it with "
                       "holon node drain %s",
                       target->name, target->name);
        return;
    }
    struct operation *operation = free_slot(node);
    struct meta_request request = {.kind = verb->kind, .node = target ? target->id : 0};
    if (operation == NULL) {
        operate_answer(reply, 503, "%d requests are under way: ask again", OPERATIONS_MAX);
        return;
    }
    if (verb->kind == META_TOKEN && !take_token(node, query, &request)) {
        operate_answer(reply, 409,
                       "a token is asked for with ?hash=HEX64&ttl=SECONDS, up to %d days",
                       TOKEN_DAYS_MAX);
        return;
    }
    if (query.size >= sizeof(request.labels)) {
        operate_answer(reply, 409, "labels are at most %d bytes", LABELS_SIZE_MAX - 1);
        return;
    }
    if (query.size && verb->kind == META_LABEL) memcpy(request.labels, query.data, query.size);
    operation_ask(node, operation, &request, reply);
}

void node_operate_forget(struct node *node)
{
    for (uint32_t i = 0; i < OPERATIONS_MAX; i++)
        meta_question_forget(node, &node->operations[i].question);
}

void node_operate_free(struct node *node)
{
    for (uint32_t i = 0; i < OPERATIONS_MAX; i++)
        buffer_free(&node->operations[i].question.body);
}

/* --- the plan ----------------------------------------------------------------------------- */

static json_t *names_of(const struct cluster_view *view, const node_id_t *nodes, uint32_t count)
{
    json_t *names = json_array();

    for (uint32_t i = 0; i < count; i++) {
        const struct view_node *node = cluster_view_node(view, nodes[i]);
        json_array_append_new(names, json_string(node != NULL ? node->name : ""));
    }
    return names;
}

void node_plan_json(struct node *node, struct buffer *buffer)
{
    const struct cluster_view *view = &node->workers[0].view;
    struct mover_plan *plan = memory_allocate_zero(sizeof(*plan));
    json_t *moves = json_array();

    if (node->state == NODE_RUNNING && view->node_count > 0 && view_has_more(view))
        node_mover_plan(node, plan);
    for (uint32_t i = 0; i < plan->count; i++) {
        const struct mover_move *move = &plan->moves[i];
        const struct view_group *group = &view->groups[move->group];
        node_id_t from[VIEW_REPLICAS_MAX];
        for (uint32_t k = 0; k < group->replica_count; k++)
            from[k] = group->replicas[k].node;
        json_array_append_new(moves, json_pack("{s:i, s:o, s:o}", "group", (int)move->group, "from",
                                               names_of(view, from, group->replica_count), "to",
                                               names_of(view, move->to, move->count)));
    }
    json_t *json = json_pack("{s:I, s:i, s:o}", "table_epoch", (json_int_t)view->table_epoch,
                             "left", (int)plan->left, "next", moves);
    json_dump_callback(json, append_json, buffer, JSON_COMPACT);
    json_decref(json);
    memory_free(plan);
}
