/* What the clients do: a mixture over kinds of keys, drawn per request. */
#include "sim/sim_client_internal.h"

enum {
    EXPIRY_MIN_US = 200000,
    EXPIRY_MAX_US = 4000000,
    /* The checkers look at every request. When there were so many, clients think for longer, so
     * that a run can go on until each of its faults has found a victim. */
    CALM_FROM_OPS = 40 * 1000,
    CALM_THINK_US = 500 * 1000,
};

uint32_t sim_key_first(const struct sim_workload *workload, enum sim_key_kind kind)
{
    switch (kind) {
    case SIM_KEY_REGISTER:
        return 0;
    case SIM_KEY_COUNTER:
        return workload->registers;
    case SIM_KEY_ORDER:
        return workload->registers + workload->counters;
    case SIM_KEY_EXPIRY:
        break;
    }
    return workload->registers + workload->counters + workload->orders;
}

void sim_workload_keys(struct sim_clients *clients)
{
    const struct sim_workload *workload = &clients->workload;
    uint32_t count = sim_key_first(workload, SIM_KEY_EXPIRY) + workload->expiries;

    sim_history_init(&clients->history, count);
    for (uint32_t key = 0; key < count; key++) {
        enum sim_key_kind kind = SIM_KEY_REGISTER;
        if (key >= sim_key_first(workload, SIM_KEY_COUNTER)) kind = SIM_KEY_COUNTER;
        if (key >= sim_key_first(workload, SIM_KEY_ORDER)) kind = SIM_KEY_ORDER;
        if (key >= sim_key_first(workload, SIM_KEY_EXPIRY)) kind = SIM_KEY_EXPIRY;
        clients->history.key_kinds[key] = (uint8_t)kind;
    }
}

static uint64_t draw(struct sim_clients *clients, uint64_t bound)
{
    return sim_below(clients->sim, SIM_RANDOM_WORKLOAD, bound);
}

static uint32_t draw_key(struct sim_clients *clients, enum sim_key_kind kind, uint32_t count)
{
    uint32_t first = sim_key_first(&clients->workload, kind);

    if (draw(clients, 100) < clients->workload.hot_percent) return first;
    return first + (uint32_t)draw(clients, count);
}

static void draw_register(struct sim_clients *clients, struct sim_op *op, bool write)
{
    op->key = draw_key(clients, SIM_KEY_REGISTER, clients->workload.registers);
    op->kind = SIM_OP_GET;
    if (!write) return;
    uint64_t which = draw(clients, 20);
    op->kind = which < 12   ? SIM_OP_SET
               : which < 15 ? SIM_OP_DEL
               : which < 18 ? SIM_OP_SETNX
                            : SIM_OP_GETSET;
    if (op->kind != SIM_OP_DEL) op->argument = ++clients->value_last;
}

/* Tokens go to one key until it has enough, then to the next. */
static void draw_order(struct sim_clients *clients, struct sim_op *op, bool write)
{
    const struct sim_workload *workload = &clients->workload;
    uint32_t turn = clients->tokens_sent / workload->order_tokens_max;

    if (turn >= workload->orders) {
        turn = workload->orders - 1;
        write = false;
    }
    op->key = sim_key_first(workload, SIM_KEY_ORDER) + turn;
    op->kind = write ? SIM_OP_APPEND : SIM_OP_GET;
    clients->tokens_sent += write;
}

/* Each key has one writer, so that the order of its values is known. */
static void draw_expiry(struct sim_client *client, struct sim_op *op, bool write)
{
    struct sim_clients *clients = client->clients;
    const struct sim_workload *workload = &clients->workload;
    uint32_t nth = (uint32_t)draw(clients, workload->expiries);

    op->key = sim_key_first(workload, SIM_KEY_EXPIRY) + nth;
    op->kind = SIM_OP_GET;
    if (!write || nth % workload->clients != client->number) return;
    op->kind = SIM_OP_SET_EXPIRING;
    op->argument = ++clients->value_last;
    op->expiry =
        sim_between(clients->sim, SIM_RANDOM_WORKLOAD, EXPIRY_MIN_US / 1000, EXPIRY_MAX_US / 1000) *
        1000;
}

static void draw_op(struct sim_client *client, struct sim_op *op)
{
    struct sim_clients *clients = client->clients;
    const struct sim_workload *workload = &clients->workload;
    uint32_t weights[4] = {workload->registers ? 4 : 0, workload->counters ? 2 : 0,
                           workload->orders ? 2 : 0, workload->expiries ? 1 : 0};
    uint64_t which = draw(clients, weights[0] + weights[1] + weights[2] + weights[3]);
    bool write = draw(clients, 100) < workload->write_percent;

    *op = (struct sim_op){0};
    if (which < weights[0]) {
        draw_register(clients, op, write);
    } else if (which < weights[0] + weights[1]) {
        op->key = draw_key(clients, SIM_KEY_COUNTER, workload->counters);
        op->kind = write ? SIM_OP_INCR : SIM_OP_GET;
    } else if (which < weights[0] + weights[1] + weights[2]) {
        draw_order(clients, op, write);
    } else {
        draw_expiry(client, op, write);
    }
}

void sim_workload_burst(struct sim_client *client)
{
    struct sim_clients *clients = client->clients;
    uint64_t count = 1 + draw(clients, clients->workload.pipeline_max);
    struct sim_op op;

    for (uint64_t i = 0; i < count; i++) {
        draw_op(client, &op);
        if (op.kind == SIM_OP_SET_EXPIRING && i > 0) continue; /* the time it was sent counts */
        sim_request_send(client, &op);
    }
    stream_flush(client->stream);
}

uint64_t sim_workload_think(struct sim_client *client)
{
    const struct sim_workload *workload = &client->clients->workload;

    uint64_t calm = client->clients->history.count > CALM_FROM_OPS ? CALM_THINK_US : 0;

    return calm + sim_log_uniform(client->clients->sim, SIM_RANDOM_WORKLOAD, workload->think_min,
                                  workload->think_max);
}
