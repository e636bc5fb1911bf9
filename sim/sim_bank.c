/* The clients of the bank: their connections, and what they do next. */
#include "sim/sim_bank.h"

#include "base/assert.h"
#include "base/memory.h"
#include "sim/sim_bank_internal.h"
#include "sim/sim_stream.h"

#include <string.h>

enum {
    INPUT_SIZE_MAX = 1 << 20,
    RECONNECT_MIN_US = 2000,
    RECONNECT_MAX_US = 200 * 1000,
    TURNS_PER_CONNECTION = 40, /* then a mover goes on at another node */
    SHOWN_MAX = 120,
};

struct world *sim_bank_world(struct sim_bank *bank)
{
    return sim_process_world(bank->process, 0);
}

uint64_t sim_bank_draw(struct sim_bank *bank, uint64_t bound)
{
    return sim_below(bank->sim, SIM_RANDOM_WORKLOAD, bound);
}

/* --- what the phases share --- */

void sim_bank_command(struct buffer *output, uint32_t arguments, const char *name)
{
    sim_resp_array(output, arguments);
    sim_resp_text(output, name);
}

void sim_bank_sent(struct sim_bank_client *client, enum sim_bank_phase phase, uint32_t replies)
{
    struct sim_bank *bank = client->bank;

    client->phase = phase;
    client->sent_at = bank->sim->now;
    client->replies_due = replies;
    client->replies_taken = 0;
    client->queue_failed = false;
    stream_flush(client->stream);
    world_timer_start(sim_bank_world(bank), &client->give_up, bank->options.give_up);
}

void sim_bank_unexpected(struct sim_bank_client *client, const struct sim_reply *reply)
{
    sim_violation(client->bank->sim, "bank: client %u got a reply of kind %d in phase %d: %.*s",
                  client->number, (int)reply->kind, (int)client->phase,
                  (int)(reply->text.size < SHOWN_MAX ? reply->text.size : SHOWN_MAX),
                  (const char *)reply->text.data);
}

/* --- what a client does next --- */

static bool may_begin(const struct sim_bank_client *client)
{
    const struct sim_bank *bank = client->bank;
    bool audits = bank->auditing && client->role == SIM_BANK_READS && !client->audited;
    bool works = bank->running && !(client->role == SIM_BANK_MOVES && sim_bank_is_spent(client));

    return works || audits || (!bank->open && client->number == 0);
}

static void think(struct sim_bank_client *client)
{
    struct sim_bank *bank = client->bank;
    const struct sim_bank_options *options = &bank->options;
    uint64_t delay =
        client->role == SIM_BANK_SNAPSHOTS ? options->snapshot_min : options->think_min;

    if (!may_begin(client)) return;
    if (client->role == SIM_BANK_MOVES && bank->open)
        delay =
            sim_log_uniform(bank->sim, SIM_RANDOM_WORKLOAD, options->think_min, options->think_max);
    if (client->role == SIM_BANK_READS && bank->running)
        delay = sim_between(bank->sim, SIM_RANDOM_WORKLOAD, options->read_min, options->read_max);
    if (client->role == SIM_BANK_SNAPSHOTS && !bank->healed)
        delay = sim_between(bank->sim, SIM_RANDOM_WORKLOAD, options->snapshot_min,
                            options->snapshot_max);
    world_timer_start(sim_bank_world(bank), &client->next, delay);
}

void sim_bank_end(struct sim_bank_client *client, const char *how)
{
    struct sim_bank *bank = client->bank;

    sim_trace(bank->sim, (uint64_t)client->number << 40 ^ (uint64_t)client->phase << 36 ^
                             bank->counts.transfers);
    sim_trace_text(bank->sim, "bank client %u at node %u, phase %d: %s", client->number,
                   client->node, (int)client->phase, how);
    client->phase = SIM_BANK_IDLE;
    client->turns++;
    world_timer_stop(sim_bank_world(bank), &client->give_up);
    think(client);
}

static void begin(struct sim_bank_client *client)
{
    bool leaves = client->role == SIM_BANK_MOVES && !client->stays &&
                  client->turns % TURNS_PER_CONNECTION == TURNS_PER_CONNECTION - 1;

    if (!client->bank->open) {
        sim_bank_send_money(client);
    } else if (leaves) {
        client->turns++;
        stream_abort(client->stream);
    } else if (client->role == SIM_BANK_MOVES) {
        sim_bank_send_transfer(client);
    } else if (client->role == SIM_BANK_READS) {
        sim_bank_send_read(client);
    } else {
        sim_bank_send_open(client);
    }
}

/* --- connections --- */

static bool take_reply(struct sim_bank_client *client, const struct sim_reply *reply,
                       struct bytes whole)
{
    client->replies_taken++;
    switch (client->phase) {
    case SIM_BANK_FOUNDS:
        return sim_bank_take_money(client, reply);
    case SIM_BANK_LOOKS:
        return sim_bank_take_look(client, reply);
    case SIM_BANK_EXECUTES:
        return sim_bank_take_moved(client, reply, whole);
    case SIM_BANK_COUNTS:
        return sim_bank_take_read(client, reply, whole);
    case SIM_BANK_OPENS:
        return sim_bank_take_opened(client, reply);
    case SIM_BANK_READS_AT:
        return sim_bank_take_read_at(client, reply, whole);
    case SIM_BANK_IDLE:
    case SIM_BANK_WAITS:
        break;
    }
    sim_violation(client->bank->sim, "bank: client %u got what it did not ask for", client->number);
    return false;
}

static bool take_replies(struct sim_bank_client *client)
{
    struct sim_reply reply;
    size_t size;

    for (;;) {
        struct bytes input = buffer_bytes(&client->input);
        int found = sim_resp_parse(input, &reply, &size);
        if (found == 0) return true;
        if (found < 0) {
            sim_violation(client->bank->sim, "bank: client %u got what is no RESP", client->number);
            return false;
        }
        bool good = take_reply(client, &reply, bytes_make(input.data, size));
        buffer_consume(&client->input, size);
        if (!good || client->bank->sim->failed) return false;
    }
}

static void on_connected(void *context, struct stream *stream)
{
    struct sim_bank_client *client = context;

    (void)stream;
    client->connecting = false;
    think(client);
}

static void on_data(void *context, struct stream *stream, struct bytes data)
{
    struct sim_bank_client *client = context;

    if (buffer_append(&client->input, data) != STATUS_OK || !take_replies(client))
        stream_abort(stream);
}

static void on_closed(void *context, struct stream *stream, enum status reason)
{
    struct sim_bank_client *client = context;
    struct sim_bank *bank = client->bank;

    (void)stream;
    (void)reason;
    client->stream = NULL;
    client->connecting = false;
    buffer_clear(&client->input);
    if (client->phase == SIM_BANK_EXECUTES) sim_bank_lose_transfer(client);
    if (client->phase != SIM_BANK_IDLE) {
        bank->counts.lost++;
        bool cut = client->role == SIM_BANK_SNAPSHOTS && !client->gave_up;
        bank->counts.snapshots_cut += cut;
        sim_bank_end(client, "connection lost");
    }
    client->gave_up = false;
    world_timer_stop(sim_bank_world(bank), &client->next);
    if (!client->stays) client->node = client->node % bank->address_count + 1;
    if (!may_begin(client)) return;
    world_timer_start(
        sim_bank_world(bank), &client->next,
        sim_log_uniform(bank->sim, SIM_RANDOM_WORKLOAD, RECONNECT_MIN_US, RECONNECT_MAX_US));
}

static const struct stream_events client_events = {
    .on_data = on_data, .on_connected = on_connected, .on_closed = on_closed};

static void connect_client(struct sim_bank_client *client)
{
    struct sim_bank *bank = client->bank;

    client->connecting = true;
    client->stream = world_connect(sim_bank_world(bank), bank->addresses[client->node - 1],
                                   &client_events, client);
}

static void on_next(struct world_timer *timer)
{
    struct sim_bank_client *client = timer->context;

    if (client->phase == SIM_BANK_WAITS)
        sim_bank_send_read_at(client);
    else if (!may_begin(client) || client->connecting || client->phase != SIM_BANK_IDLE)
        return;
    else if (client->stream == NULL)
        connect_client(client);
    else
        begin(client);
}

static void on_give_up(struct world_timer *timer)
{
    struct sim_bank_client *client = timer->context;
    struct sim_bank *bank = client->bank;

    /* Of a node that lost power nobody hears; what was sent before all was healed has had its whole
     * time since (sim_bank_healed()). */
    if (bank->healed && client->stream && !sim_stream_is_lost(client->stream))
        sim_violation(bank->sim, "V-5: client %u has waited for an answer of node %u since %llu us",
                      client->number, client->node, (unsigned long long)client->sent_at);
    client->gave_up = client->stream && !sim_stream_is_lost(client->stream);
    if (client->stream) stream_abort(client->stream);
}

/* --- life --- */

static void add_clients(struct sim_bank *bank, enum sim_bank_role role, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        struct sim_bank_client *client = memory_allocate_zero(sizeof(*client));
        client->bank = bank;
        client->role = role;
        client->number = bank->count;
        client->node = 1 + i % bank->address_count;
        client->stays = role == SIM_BANK_READS;
        client->next = (struct world_timer){.fire = on_next, .context = client};
        client->give_up = (struct world_timer){.fire = on_give_up, .context = client};
        buffer_init(&client->input, INPUT_SIZE_MAX);
        bank->all[bank->count++] = client;
    }
}

struct sim_bank *sim_bank_make(struct sim *sim, const struct sim_bank_options *options,
                               const char (*addresses)[64], uint32_t address_count)
{
    struct sim_bank *bank = memory_allocate_zero(sizeof(*bank));

    ASSERT(options->movers >= 1 && options->movers <= SIM_BANK_MOVERS_MAX && address_count <= 64);
    ASSERT(options->movers + options->readers + options->snapshots <= SIM_BANK_CLIENTS_MAX);
    bank->sim = sim;
    bank->options = *options;
    bank->address_count = address_count;
    memcpy(bank->addresses, addresses, address_count * sizeof(*addresses));
    sim_machine_init(&bank->machine, sim, 0);
    bank->process = sim_process_make(&bank->machine, 1, NULL, NULL);
    bank->machine.process = bank->process;
    sim_bank_name_keys(bank);
    add_clients(bank, SIM_BANK_MOVES, options->movers);
    add_clients(bank, SIM_BANK_READS, options->readers);
    add_clients(bank, SIM_BANK_SNAPSHOTS, options->snapshots);
    return bank;
}

void sim_bank_free(struct sim_bank *bank)
{
    if (bank == NULL) return;
    sim_process_end(bank->process, SIM_END_QUIET);
    for (uint32_t i = 0; i < bank->count; i++) {
        buffer_free(&bank->all[i]->input);
        memory_free(bank->all[i]);
    }
    memory_free(bank);
}

/* Whoever has something to do and no connection gets one. */
static void wake_all(void *context)
{
    struct sim_bank *bank = context;

    for (uint32_t i = 0; i < bank->count; i++) {
        struct sim_bank_client *client = bank->all[i];
        if (!may_begin(client) || client->connecting || client->phase != SIM_BANK_IDLE) continue;
        if (client->stream == NULL)
            connect_client(client);
        else
            think(client);
    }
}

static void wake(struct sim_bank *bank)
{
    sim_world_call(&bank->process->worlds[0], 0, wake_all, bank);
}

void sim_bank_open(struct sim_bank *bank)
{
    wake(bank);
}

bool sim_bank_is_open(const struct sim_bank *bank)
{
    return bank->open;
}

void sim_bank_start(struct sim_bank *bank)
{
    ASSERT(bank->open && !bank->running);
    bank->running = true;
    bank->started_at = bank->sim->now;
    wake(bank);
}

void sim_bank_stop(struct sim_bank *bank)
{
    if (bank->running) bank->counts.busy_us += bank->sim->now - bank->started_at;
    bank->running = false;
}

bool sim_bank_is_idle(const struct sim_bank *bank)
{
    for (uint32_t i = 0; i < bank->count; i++)
        if (bank->all[i]->phase != SIM_BANK_IDLE) return false;
    return true;
}

static void wait_anew(void *context)
{
    struct sim_bank *bank = context;

    for (uint32_t i = 0; i < bank->count; i++) {
        struct sim_bank_client *client = bank->all[i];
        if (client->phase == SIM_BANK_IDLE || client->phase == SIM_BANK_WAITS) continue;
        world_timer_start(sim_bank_world(bank), &client->give_up, bank->options.give_up);
    }
}

void sim_bank_healed(struct sim_bank *bank)
{
    bank->healed = true;
    bank->healed_at = bank->sim->now;
    sim_world_call(&bank->process->worlds[0], 0, wait_anew, bank);
}

void sim_bank_audit(struct sim_bank *bank)
{
    bank->auditing = true;
    for (uint32_t i = 0; i < bank->count; i++) {
        bank->all[i]->audited = false;
        bank->all[i]->audit_pass = 0;
    }
    wake(bank);
}

bool sim_bank_is_audited(const struct sim_bank *bank)
{
    for (uint32_t i = 0; i < bank->count; i++)
        if (bank->all[i]->role == SIM_BANK_READS && !bank->all[i]->audited) return false;
    return true;
}

struct sim_bank_counts sim_bank_counts(const struct sim_bank *bank)
{
    struct sim_bank_counts counts = bank->counts;

    if (bank->running) counts.busy_us += bank->sim->now - bank->started_at;
    return counts;
}
