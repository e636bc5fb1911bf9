/* The admin port: which page is made of what. */
#include "node/node_snapshot.h"

static void admin_render(void *context, enum admin_page page, uint64_t ticket)
{
    struct node *node = context;
    struct snapshot_waiter waiter = {.page = page, .question = ticket};
    char why[160];

    if (page == ADMIN_PLAN) {
        struct buffer json;
        buffer_init(&json, 256 << 10);
        node_plan_json(node, &json);
        admin_answer(node->admin, ticket, 200, "application/json", buffer_bytes(&json));
        buffer_free(&json);
        return;
    }
    if (page != ADMIN_HEALTH) {
        node_collect(node, &waiter);
        return;
    }
    bool serves = node_can_serve_all(node, why, sizeof(why));
    struct buffer body;
    buffer_init(&body, sizeof(why) + 2);
    buffer_append_format(&body, "%s\n", serves ? "ok" : why);
    admin_answer(node->admin, ticket, serves ? 200 : 503, "text/plain; charset=utf-8",
                 buffer_bytes(&body));
    buffer_free(&body);
}

static void admin_answered(void *context, uint64_t ticket, unsigned code, struct bytes json)
{
    struct node *node = context;

    if (node->admin != NULL) admin_answer(node->admin, ticket, code, "application/json", json);
}

static void admin_operate(void *context, struct bytes path, struct bytes query, uint64_t ticket)
{
    struct node *node = context;
    struct operation_reply reply = {.context = node, .ticket = ticket, .answer = admin_answered};

    node_operate(node, path, query, &reply);
}

enum status node_admin_open(struct node *node, struct error *error)
{
    struct admin_options options = {.world = node->world,
                                    .address = node->options.admin,
                                    .context = node,
                                    .render = admin_render,
                                    .operate = admin_operate};

    if (node->collector != NULL) return STATUS_OK; /* a node in repair has opened it already */
    node->collector = node_collector_make(node);
    if (node->options.admin[0] == '\0') return STATUS_OK;
    return admin_open(&options, &node->admin, error);
}

void node_admin_close(struct node *node)
{
    admin_close(node->admin);
    node->admin = NULL;
}
