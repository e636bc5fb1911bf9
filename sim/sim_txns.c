#include "sim/sim_txns.h"

#include "base/assert.h"
#include "base/memory.h"
#include "sim/checkers/serializable.h"
#include "sim/sim_txns_internal.h"

#include <stdio.h>
#include <string.h>

enum {
    INPUT_SIZE_MAX = 16 << 20,
    RECONNECT_MIN_US = 2000,
    RECONNECT_MAX_US = 200 * 1000,
    TXNS_MAX = 1 << 16,
    VALUES_MAX = 1 << 24,
    MONEY_EACH = 1000,
};

static struct world *world_of(struct sim_txns *txns)
{
    return sim_process_world(txns->process, 0);
}

static void think(struct sim_txn_client *client)
{
    struct sim_txns *txns = client->txns;

    if (client->judge ? client->judged : !txns->running) return;
    world_timer_start(world_of(txns), &client->next,
                      sim_log_uniform(txns->sim, SIM_RANDOM_WORKLOAD, txns->options.think_min,
                                      txns->options.think_max));
}

static void on_connected(void *context, struct stream *stream)
{
    struct sim_txn_client *client = context;

    client->connecting = false;
    think(client);
}

static void on_data(void *context, struct stream *stream, struct bytes data)
{
    struct sim_txn_client *client = context;

    if (buffer_append(&client->input, data) != STATUS_OK || !sim_txn_replies(client)) {
        stream_abort(stream);
        return;
    }
    if (client->phase != SIM_TXN_IDLE) return;
    world_timer_stop(world_of(client->txns), &client->give_up);
    think(client);
}

static void on_closed(void *context, struct stream *stream, enum status reason)
{
    struct sim_txn_client *client = context;
    struct sim_txns *txns = client->txns;

    client->stream = NULL;
    client->connecting = false;
    buffer_clear(&client->input);
    sim_txn_lost(client);
    world_timer_stop(world_of(txns), &client->give_up);
    world_timer_stop(world_of(txns), &client->next);
    if (client->judge ? client->judged : !txns->running) return;
    world_timer_start(
        world_of(txns), &client->next,
        sim_log_uniform(txns->sim, SIM_RANDOM_WORKLOAD, RECONNECT_MIN_US, RECONNECT_MAX_US));
}

static const struct stream_events client_events = {
    .on_data = on_data, .on_connected = on_connected, .on_closed = on_closed};

static void connect_client(struct sim_txn_client *client)
{
    struct sim_txns *txns = client->txns;

    ASSERT(txns->nodes != 0);
    do {
        client->node = 1 + (uint32_t)sim_below(txns->sim, SIM_RANDOM_WORKLOAD, txns->address_count);
    } while (!(txns->nodes >> client->node & 1));
    client->connecting = true;
    client->stream =
        world_connect(world_of(txns), txns->addresses[client->node - 1], &client_events, client);
}

static void on_next(struct world_timer *timer)
{
    struct sim_txn_client *client = timer->context;
    struct sim_txns *txns = client->txns;

    if (client->stream == NULL) {
        connect_client(client);
    } else if (client->phase == SIM_TXN_WAITS) {
        sim_txn_snapshot_read(client);
    } else if (!client->connecting && client->phase == SIM_TXN_IDLE &&
               (txns->running || client->judge)) {
        sim_txn_send(client);
        if (client->phase != SIM_TXN_IDLE)
            world_timer_start(world_of(txns), &client->give_up, txns->options.give_up);
    }
}

static void on_give_up(struct world_timer *timer)
{
    struct sim_txn_client *client = timer->context;

    if (client->stream) stream_abort(client->stream);
}

static struct sim_txn_client *add_client(struct sim_txns *txns)
{
    struct sim_txn_client *client = memory_allocate_zero(sizeof(*client));

    ASSERT(txns->count <= SIM_TXN_CLIENTS_MAX);
    client->txns = txns;
    client->number = txns->count;
    client->next = (struct world_timer){.fire = on_next, .context = client};
    client->give_up = (struct world_timer){.fire = on_give_up, .context = client};
    buffer_init(&client->input, INPUT_SIZE_MAX);
    txns->all[txns->count++] = client;
    return client;
}

struct sim_txns *sim_txns_make(struct sim *sim, const struct sim_txns_options *options,
                               const char (*addresses)[64], uint32_t address_count)
{
    struct sim_txns *txns = memory_allocate_zero(sizeof(*txns));

    ASSERT(options->clients <= SIM_TXN_CLIENTS_MAX && address_count <= 64);
    ASSERT(options->lists <= SIM_TXN_KEYS_MAX && options->registers <= SIM_TXN_KEYS_MAX &&
           options->lists + options->registers <= SIM_TXN_STEPS_MAX &&
           options->accounts <= SIM_TXN_KEYS_MAX);
    txns->sim = sim;
    txns->options = *options;
    txns->address_count = address_count;
    memcpy(txns->addresses, addresses, address_count * sizeof(*addresses));
    for (uint32_t i = 1; i <= address_count; i++)
        txns->nodes |= 1u << i;
    sim_machine_init(&txns->machine, sim, 0);
    txns->process = sim_process_make(&txns->machine, 1, NULL, NULL);
    txns->machine.process = txns->process;
    sim_txn_history_init(&txns->history, TXNS_MAX, VALUES_MAX);
    sim_txn_history_init(&txns->bank, TXNS_MAX, VALUES_MAX);
    for (uint32_t i = 0; i < options->clients; i++)
        add_client(txns);
    return txns;
}

void sim_txns_free(struct sim_txns *txns)
{
    if (txns == NULL) return;
    sim_process_end(txns->process, SIM_END_QUIET);
    for (uint32_t i = 0; i < txns->count; i++) {
        buffer_free(&txns->all[i]->input);
        memory_free(txns->all[i]);
    }
    sim_txn_history_free(&txns->history);
    sim_txn_history_free(&txns->bank);
    memory_free(txns);
}

static void start_all(void *context)
{
    struct sim_txns *txns = context;

    for (uint32_t i = 0; i < txns->count; i++)
        connect_client(txns->all[i]);
}

void sim_txns_start(struct sim_txns *txns)
{
    txns->running = true;
    sim_world_call(&txns->process->worlds[0], 0, start_all, txns);
}

void sim_txns_stop(struct sim_txns *txns)
{
    txns->running = false;
}

bool sim_txns_idle(const struct sim_txns *txns)
{
    for (uint32_t i = 0; i < txns->count; i++)
        if (txns->all[i]->phase != SIM_TXN_IDLE) return false;
    return true;
}

uint64_t sim_txns_snapshots(const struct sim_txns *txns)
{
    return txns->snapshots;
}

uint64_t sim_txns_committed(const struct sim_txns *txns)
{
    return txns->committed;
}

static void leave_nodes(void *context)
{
    struct sim_txns *txns = context;

    for (uint32_t i = 0; i < txns->count; i++) {
        struct sim_txn_client *client = txns->all[i];
        if (client->stream && !(txns->nodes >> client->node & 1)) stream_abort(client->stream);
    }
}

void sim_txns_use(struct sim_txns *txns, uint32_t nodes)
{
    txns->nodes = nodes;
    sim_world_call(&txns->process->worlds[0], 0, leave_nodes, txns);
}

/* --- the verdict --- */

static void start_judge(void *context)
{
    connect_client(context);
}

void sim_txns_judge(struct sim_txns *txns)
{
    struct sim_txn_client *client = add_client(txns);

    client->judge = true;
    sim_world_call(&txns->process->worlds[0], 0, start_judge, client);
}

bool sim_txns_judged(const struct sim_txns *txns)
{
    const struct sim_txn_client *last = txns->all[txns->count - 1];

    return last->judge && last->judged;
}

static const struct sim_txn_op *final_list(const struct sim_txns *txns, uint32_t key)
{
    const struct sim_txn_client *judge = txns->all[txns->count - 1];

    for (uint32_t i = 0; i < judge->step_count; i++)
        if (judge->steps[i].kind == SIM_TXN_LIST && judge->steps[i].key == key)
            return &txns->history.ops[judge->steps[i].op];
    return NULL;
}

static bool list_has(const struct sim_txns *txns, const struct sim_txn_op *list, uint64_t value)
{
    const uint64_t *values = sim_txn_list_values(&txns->history, list);

    for (uint32_t i = 0; i < list->list_count; i++)
        if (values[i] == value) return true;
    return false;
}

/* What nobody read is in no dependency: that it was lost is seen here alone. */
static void check_appends(struct sim_txns *txns)
{
    const struct sim_txn_history *history = &txns->history;

    for (uint32_t i = 0; i < history->op_count; i++) {
        const struct sim_txn_op *op = &history->ops[i];
        const struct sim_txn *txn = &history->txns[op->txn];
        if (op->kind != SIM_TXN_APPEND || txn->outcome != SIM_TXN_COMMITTED) continue;
        const struct sim_txn_op *list = final_list(txns, op->key);
        if (list == NULL || !list->known || list_has(txns, list, op->value)) continue;
        sim_violation(txns->sim,
                      "T-1: transaction %u of client %u was committed, but %llu is not in list %u",
                      op->txn, txn->client, (unsigned long long)op->value, op->key);
        return;
    }
}

void sim_txns_check(struct sim_txns *txns)
{
    char text[SIM_VIOLATION_SIZE_MAX] = "";
    struct sim_bank_keys bank = {.first_key = SIM_TXN_FIRST_ACCOUNT,
                                 .accounts = txns->options.accounts,
                                 .total = (uint64_t)MONEY_EACH * txns->options.accounts};
    uint64_t judged = 0;

    check_appends(txns);
    struct sim_serializable_report report = check_serializable(&txns->history, text, sizeof(text));
    if (report.anomaly != SIM_ANOMALY_NONE)
        sim_violation(txns->sim, "T-1: %s: %s", sim_anomaly_name(report.anomaly), text);
    if (!check_bank(&txns->bank, bank, text, sizeof(text), &judged))
        sim_violation(txns->sim, "T-2: %s", text);
}
