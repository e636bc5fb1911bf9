/* What clients of transactions send, and what they are told. */
#include "sim/sim_txns_internal.h"

#include "base/assert.h"
#include "base/memory.h"
#include "sim/sim_feature.h"
#include "sim/sim_resp.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum { MONEY = 1000, LIST_VALUES_MAX = 1 << 16, SHOWN_MAX = 120 };

static uint64_t draw(struct sim_txns *txns, uint64_t bound)
{
    return sim_below(txns->sim, SIM_RANDOM_WORKLOAD, bound);
}

/* --- what to do --- */

void sim_txn_add_step(struct sim_txn_client *client, enum sim_txn_op_kind kind, uint32_t key,
                      uint64_t value)
{
    struct sim_txn_step *step = &client->steps[client->step_count++];

    ASSERT(client->step_count <= SIM_TXN_STEPS_MAX);
    *step = (struct sim_txn_step){.kind = (uint8_t)kind, .key = key, .value = value};
    switch (kind) {
    case SIM_TXN_APPEND:
        step->op = sim_txn_append(client->history, client->txn, key, value);
        break;
    case SIM_TXN_LIST:
        step->op = sim_txn_list(client->history, client->txn, key);
        break;
    case SIM_TXN_WRITE:
        step->op = sim_txn_write(client->history, client->txn, key, value);
        break;
    case SIM_TXN_READ:
        step->op = sim_txn_read(client->history, client->txn, key);
        break;
    }
}

static uint32_t a_register(struct sim_txns *txns)
{
    return SIM_TXN_FIRST_REGISTER + (uint32_t)draw(txns, txns->options.registers);
}

/* One of two registers is read, and the other written: what two of these do at once shows whether
 * reads are locked (write skew). */
static void draw_skew(struct sim_txn_client *client)
{
    struct sim_txns *txns = client->txns;
    uint32_t first = (uint32_t)draw(txns, 2);

    sim_txn_add_step(client, SIM_TXN_READ, SIM_TXN_FIRST_REGISTER + first, 0);
    sim_txn_add_step(client, SIM_TXN_WRITE, SIM_TXN_FIRST_REGISTER + 1 - first, ++txns->value_last);
}

static void draw_multi(struct sim_txn_client *client)
{
    struct sim_txns *txns = client->txns;
    uint64_t count = 1 + draw(txns, 4);

    if (draw(txns, 3) == 0) {
        draw_skew(client);
        return;
    }

    for (uint64_t i = 0; i < count; i++) {
        uint32_t list = (uint32_t)draw(txns, txns->options.lists);
        switch (draw(txns, 5)) {
        case 0:
        case 1:
            sim_txn_add_step(client, SIM_TXN_APPEND, list, ++txns->value_last);
            break;
        case 2:
            sim_txn_add_step(client, SIM_TXN_LIST, list, 0);
            break;
        case 3:
            sim_txn_add_step(client, SIM_TXN_WRITE, a_register(txns), ++txns->value_last);
            break;
        default:
            sim_txn_add_step(client, SIM_TXN_READ, a_register(txns), 0);
        }
    }
}

static bool is_named(const struct sim_txn_client *client, uint32_t key)
{
    for (uint32_t i = 0; i < client->step_count; i++)
        if (client->steps[i].key == key) return true;
    return false;
}

/* Different ones: MSET of one key twice is two writes, of which one is never seen. */
static void draw_registers(struct sim_txn_client *client, bool write)
{
    uint64_t count = 2 + draw(client->txns, 2);

    for (uint64_t i = 0; i < count; i++) {
        uint32_t key = a_register(client->txns);
        if (is_named(client, key)) continue;
        if (write)
            sim_txn_add_step(client, SIM_TXN_WRITE, key, ++client->txns->value_last);
        else
            sim_txn_add_step(client, SIM_TXN_READ, key, 0);
    }
}

static void draw_accounts(struct sim_txn_client *client, uint32_t count)
{
    struct sim_txns *txns = client->txns;

    while (client->step_count < count) {
        bool all = count == txns->options.accounts;
        uint32_t nth = all ? client->step_count : (uint32_t)draw(txns, txns->options.accounts);
        if (!is_named(client, SIM_TXN_FIRST_ACCOUNT + nth))
            sim_txn_add_step(client, SIM_TXN_READ, SIM_TXN_FIRST_ACCOUNT + nth, 0);
    }
}

static enum sim_txn_shape draw_shape(struct sim_txns *txns)
{
    uint64_t which = draw(txns, 20);

    if (txns->options.snapshots && draw(txns, 8) == 0) return SIM_TXN_SHAPE_SNAPSHOT;
    if (which < 8) return SIM_TXN_SHAPE_MULTI;
    if (which < 10) return SIM_TXN_SHAPE_UPDATE;
    if (which < 12) return SIM_TXN_SHAPE_MSET;
    if (which < 14) return SIM_TXN_SHAPE_MGET;
    return which < 17 ? SIM_TXN_SHAPE_TRANSFER : SIM_TXN_SHAPE_AUDIT;
}

static bool is_of_bank(enum sim_txn_shape shape)
{
    return shape == SIM_TXN_SHAPE_TRANSFER || shape == SIM_TXN_SHAPE_AUDIT;
}

/* All the money into the accounts: the first transaction of client 0, until it was committed. */
static void draw_opening(struct sim_txn_client *client)
{
    struct sim_txns *txns = client->txns;

    client->shape = SIM_TXN_SHAPE_MSET;
    for (uint32_t i = 0; i < txns->options.accounts; i++)
        sim_txn_add_step(client, SIM_TXN_WRITE, SIM_TXN_FIRST_ACCOUNT + i, MONEY);
}

static void draw_judgement(struct sim_txn_client *client)
{
    struct sim_txns *txns = client->txns;

    client->shape = SIM_TXN_SHAPE_MULTI;
    for (uint32_t i = 0; i < txns->options.lists; i++)
        sim_txn_add_step(client, SIM_TXN_LIST, i, 0);
    for (uint32_t i = 0; i < txns->options.registers; i++)
        sim_txn_add_step(client, SIM_TXN_READ, SIM_TXN_FIRST_REGISTER + i, 0);
}

/* --- sending --- */

static void command(struct buffer *output, uint32_t arguments, const char *name)
{
    sim_resp_array(output, arguments);
    sim_resp_text(output, name);
}

static void key_argument(struct buffer *output, uint32_t key)
{
    char text[32];

    snprintf(text, sizeof(text), "txn:%u", key);
    sim_resp_text(output, text);
}

static void value_argument(struct buffer *output, uint64_t value, bool list)
{
    char text[32];

    snprintf(text, sizeof(text), list ? "%" PRIu64 "," : "%" PRIu64, value);
    sim_resp_text(output, text);
}

void sim_txn_send_step(struct buffer *output, const struct sim_txn_step *step)
{
    bool list = step->kind == SIM_TXN_APPEND;
    bool reads = step->kind == SIM_TXN_LIST || step->kind == SIM_TXN_READ;

    command(output, reads ? 2 : 3, reads ? "GET" : list ? "APPEND" : "SET");
    key_argument(output, step->key);
    if (!reads) value_argument(output, step->value, list);
}

static void send_multi(struct sim_txn_client *client, uint32_t first)
{
    struct buffer *output = stream_output(client->stream);

    command(output, 1, "MULTI");
    for (uint32_t i = first; i < client->step_count; i++)
        sim_txn_send_step(output, &client->steps[i]);
    command(output, 1, "EXEC");
    client->phase = SIM_TXN_EXECUTES;
    client->replies_due = client->step_count - first + 2;
    client->replies_taken = 0;
    client->queue_failed = false;
    stream_flush(client->stream);
}

static void send_all_in_one(struct sim_txn_client *client)
{
    struct buffer *output = stream_output(client->stream);
    bool writes = client->steps[0].kind == SIM_TXN_WRITE;

    command(output, 1 + client->step_count * (writes ? 2 : 1), writes ? "MSET" : "MGET");
    for (uint32_t i = 0; i < client->step_count; i++) {
        key_argument(output, client->steps[i].key);
        if (writes) value_argument(output, client->steps[i].value, false);
    }
    client->phase = SIM_TXN_EXECUTES;
    client->replies_due = 1;
    client->replies_taken = 0;
    stream_flush(client->stream);
}

static void send_look(struct sim_txn_client *client)
{
    struct buffer *output = stream_output(client->stream);

    command(output, 1 + client->step_count, "WATCH");
    for (uint32_t i = 0; i < client->step_count; i++)
        key_argument(output, client->steps[i].key);
    for (uint32_t i = 0; i < client->step_count; i++)
        sim_txn_send_step(output, &client->steps[i]);
    client->phase = SIM_TXN_LOOKS;
    client->replies_due = 1 + client->step_count;
    client->replies_taken = 0;
    stream_flush(client->stream);
}

static void draw_steps(struct sim_txn_client *client)
{
    switch (client->shape) {
    case SIM_TXN_SHAPE_MULTI:
        draw_multi(client);
        return;
    case SIM_TXN_SHAPE_UPDATE:
    case SIM_TXN_SHAPE_MGET:
        draw_registers(client, false);
        return;
    case SIM_TXN_SHAPE_MSET:
        draw_registers(client, true);
        return;
    case SIM_TXN_SHAPE_TRANSFER:
        draw_accounts(client, 2);
        return;
    case SIM_TXN_SHAPE_AUDIT:
        draw_accounts(client, client->txns->options.accounts);
        return;
    case SIM_TXN_SHAPE_SNAPSHOT:
        if (client->history == &client->txns->bank)
            draw_accounts(client, client->txns->options.accounts);
        else
            draw_judgement(client);
        client->shape = SIM_TXN_SHAPE_SNAPSHOT;
        return;
    }
}

void sim_txn_send(struct sim_txn_client *client)
{
    struct sim_txns *txns = client->txns;
    bool opens = !txns->opened && client->number == 0;

    client->shape = draw_shape(txns);
    bool early = !txns->opened && client->shape == SIM_TXN_SHAPE_SNAPSHOT;
    if ((is_of_bank(client->shape) && !txns->opened) || early) client->shape = SIM_TXN_SHAPE_MULTI;
    bool bank = is_of_bank(client->shape) || opens;
    if (client->shape == SIM_TXN_SHAPE_SNAPSHOT) bank = draw(txns, 2) == 0;
    client->history = bank ? &txns->bank : &txns->history;
    if (client->judge) client->history = &txns->history;
    client->step_count = 0;
    client->txn = sim_txn_begin(client->history, client->number, txns->sim->now);
    if (client->txn == SIM_TXN_NONE) return; /* enough was seen */
    if (client->judge)
        draw_judgement(client);
    else if (opens)
        draw_opening(client);
    else
        draw_steps(client);
    sim_feature_seen(txns->sim, client->shape == SIM_TXN_SHAPE_SNAPSHOT ? SIM_FEATURE_CUT
                                                                        : SIM_FEATURE_TRANSACTIONS);
    bool looks = client->shape == SIM_TXN_SHAPE_UPDATE || client->shape == SIM_TXN_SHAPE_TRANSFER;
    bool in_multi = client->shape == SIM_TXN_SHAPE_MULTI ||
                    (client->shape == SIM_TXN_SHAPE_AUDIT && draw(txns, 2) == 0);
    if (client->shape == SIM_TXN_SHAPE_SNAPSHOT)
        sim_txn_snapshot_open(client);
    else if (looks)
        send_look(client);
    else if (in_multi)
        send_multi(client, 0);
    else
        send_all_in_one(client);
}

/* --- replies --- */

void sim_txn_ended(struct sim_txn_client *client, enum sim_txn_outcome outcome, uint64_t at)
{
    struct sim_txns *txns = client->txns;

    sim_txn_end(client->history, client->txn, outcome, at);
    sim_trace(txns->sim, (uint64_t)client->number << 40 ^ (uint64_t)outcome << 36 ^ client->txn);
    sim_trace_text(txns->sim, "txn client %u: %s %u ends as %d", client->number,
                   client->history == &txns->bank ? "bank" : "txn", client->txn, (int)outcome);
    txns->committed += outcome == SIM_TXN_COMMITTED;
    if (outcome == SIM_TXN_COMMITTED && !txns->opened && client->history == &txns->bank)
        txns->opened = true;
    if (outcome == SIM_TXN_COMMITTED && client->judge) client->judged = true;
    client->phase = SIM_TXN_IDLE;
}

static void end(struct sim_txn_client *client, enum sim_txn_outcome outcome)
{
    sim_txn_ended(client, outcome, client->txns->sim->now);
}

void sim_txn_lost(struct sim_txn_client *client)
{
    if (client->phase == SIM_TXN_IDLE) return;
    end(client, client->phase == SIM_TXN_EXECUTES ? SIM_TXN_UNKNOWN : SIM_TXN_FAILED);
}

void sim_txn_unexpected(struct sim_txn_client *client, const struct sim_reply *reply)
{
    sim_violation(client->txns->sim, "transactions: client %u got a reply of kind %d: %.*s",
                  client->number, (int)reply->kind,
                  (int)(reply->text.size < SHOWN_MAX ? reply->text.size : SHOWN_MAX),
                  (const char *)reply->text.data);
}

static bool starts_with(struct bytes text, const char *word)
{
    return bytes_starts_with(text, bytes_of(word));
}

static uint32_t parse_list(struct bytes text, uint64_t *values)
{
    uint32_t count = 0;
    uint64_t value = 0;

    for (size_t i = 0; i < text.size && count < LIST_VALUES_MAX; i++) {
        if (text.data[i] == ',') {
            values[count++] = value;
            value = 0;
        } else {
            value = value * 10 + (uint64_t)(text.data[i] - '0');
        }
    }
    return count;
}

static uint64_t number_of(struct bytes text)
{
    uint64_t value = 0;

    for (size_t i = 0; i < text.size; i++)
        value = value * 10 + (uint64_t)(text.data[i] - '0');
    return value;
}

bool sim_txn_take_result(struct sim_txn_client *client, struct sim_txn_step *step,
                         const struct sim_reply *reply)
{
    bool nil = reply->kind == SIM_REPLY_NIL;
    struct bytes text = nil ? bytes_make(NULL, 0) : reply->text;

    switch ((enum sim_txn_op_kind)step->kind) {
    case SIM_TXN_APPEND:
        return reply->kind == SIM_REPLY_INTEGER;
    case SIM_TXN_WRITE:
        return reply->kind == SIM_REPLY_STATUS;
    case SIM_TXN_READ:
        step->value = number_of(text);
        sim_txn_read_is(client->history, step->op, step->value);
        return nil || reply->kind == SIM_REPLY_BULK;
    case SIM_TXN_LIST: {
        uint64_t *values = memory_allocate(LIST_VALUES_MAX * sizeof(*values));
        sim_txn_list_is(client->history, step->op, values, parse_list(text, values));
        memory_free(values);
        return nil || reply->kind == SIM_REPLY_BULK;
    }
    }
    return false;
}

/* The elements of an array, each for a step from `first` on. */
static bool take_array(struct sim_txn_client *client, struct bytes array, uint32_t first)
{
    size_t at = 0, size;
    struct sim_reply element;

    while (array.data[at] != '\n')
        at++;
    at++;
    for (uint32_t i = first; i < client->step_count; i++) {
        if (sim_resp_parse(bytes_from(array, at), &element, &size) != 1) return false;
        if (!sim_txn_take_result(client, &client->steps[i], &element)) {
            sim_txn_unexpected(client, &element);
            return false;
        }
        at += size;
    }
    return at == array.size;
}

/* What was read under WATCH is where the first steps are; the others are written behind them. */
static uint32_t first_in_exec(const struct sim_txn_client *client)
{
    bool looked = client->shape == SIM_TXN_SHAPE_UPDATE || client->shape == SIM_TXN_SHAPE_TRANSFER;
    return looked ? client->step_count / 2 : 0;
}

static void take_end(struct sim_txn_client *client, const struct sim_reply *reply,
                     struct bytes whole)
{
    bool one = client->replies_due == 1;
    bool mset = one && client->steps[0].kind == SIM_TXN_WRITE;

    if (reply->kind == SIM_REPLY_ERROR) {
        bool abort = starts_with(reply->text, "EXECABORT") && client->queue_failed;
        if (starts_with(reply->text, "UNKNOWN"))
            end(client, SIM_TXN_UNKNOWN);
        else if (abort || sim_resp_is_refusal(reply->text))
            end(client, SIM_TXN_FAILED);
        else
            sim_txn_unexpected(client, reply);
        return;
    }
    if (reply->kind == SIM_REPLY_NIL && !one && first_in_exec(client) > 0) {
        client->txns->conflicts++;
        end(client, SIM_TXN_FAILED);
        return;
    }
    bool good =
        mset ? reply->kind == SIM_REPLY_STATUS
             : reply->kind == SIM_REPLY_OTHER && take_array(client, whole, first_in_exec(client));
    if (!good)
        sim_txn_unexpected(client, reply);
    else
        end(client, SIM_TXN_COMMITTED);
}

/* What was looked at is known: what follows from it is sent. */
static void go_on(struct sim_txn_client *client)
{
    uint32_t looked = client->step_count;
    uint64_t from = client->steps[0].value, amount = 0;

    if (client->shape == SIM_TXN_SHAPE_TRANSFER) amount = draw(client->txns, from + 1);
    for (uint32_t i = 0; i < looked; i++) {
        struct sim_txn_step step = client->steps[i];
        uint64_t value = ++client->txns->value_last;
        if (client->shape == SIM_TXN_SHAPE_TRANSFER)
            value = i == 0 ? step.value - amount : step.value + amount;
        sim_txn_add_step(client, SIM_TXN_WRITE, step.key, value);
    }
    send_multi(client, looked);
}

/* False: the connection is to be closed, for its keys are still watched. */
static bool take_look(struct sim_txn_client *client, const struct sim_reply *reply)
{
    if (reply->kind == SIM_REPLY_ERROR) {
        if (!sim_resp_is_refusal(reply->text)) sim_txn_unexpected(client, reply);
        return false;
    }
    uint32_t nth = client->replies_taken - 1;
    if (nth > 0 && !sim_txn_take_result(client, &client->steps[nth - 1], reply)) {
        sim_txn_unexpected(client, reply);
        return false;
    }
    if (client->replies_taken == client->replies_due) go_on(client);
    return true;
}

bool sim_txn_replies(struct sim_txn_client *client)
{
    struct sim *sim = client->txns->sim;
    struct sim_reply reply;
    size_t size;

    for (;;) {
        struct bytes input = buffer_bytes(&client->input);
        int found = sim_resp_parse(input, &reply, &size);
        if (found == 0) return true;
        if (found < 0 || client->phase == SIM_TXN_IDLE) {
            sim_violation(sim, "transactions: client %u got what it did not ask for",
                          client->number);
            return false;
        }
        client->replies_taken++;
        bool good = true;
        if (client->phase == SIM_TXN_LOOKS)
            good = take_look(client, &reply);
        else if (client->phase == SIM_TXN_OPENS || client->phase == SIM_TXN_READS)
            good = sim_txn_snapshot_reply(client, &reply);
        else if (client->replies_taken == client->replies_due)
            take_end(client, &reply, bytes_make(input.data, size));
        else if (reply.kind == SIM_REPLY_ERROR && sim_resp_is_refusal(reply.text))
            client->queue_failed = true;
        else if (reply.kind != SIM_REPLY_STATUS)
            sim_txn_unexpected(client, &reply);
        buffer_consume(&client->input, size);
        if (!good || sim->failed) return false;
    }
}
