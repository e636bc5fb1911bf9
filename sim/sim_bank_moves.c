/* Transfers of the bank: two accounts and a counter of who moves the money, in one transaction. */
#include "sim/sim_bank_internal.h"

#include <inttypes.h>
#include <stdio.h>

enum { BALANCE = 1000, AMOUNT_MAX = 20 };

static void amount_argument(struct buffer *output, int64_t amount)
{
    char text[32];

    snprintf(text, sizeof(text), "%" PRId64, amount);
    sim_resp_text(output, text);
}

/* --- the opening --- */

void sim_bank_send_money(struct sim_bank_client *client)
{
    const struct sim_bank *bank = client->bank;
    struct buffer *output = stream_output(client->stream);

    sim_bank_command(output, 1 + 2 * SIM_BANK_ACCOUNTS, "MSET");
    for (uint32_t i = 0; i < SIM_BANK_ACCOUNTS; i++) {
        sim_bank_account_key(output, bank, i);
        amount_argument(output, BALANCE);
    }
    sim_bank_sent(client, SIM_BANK_FOUNDS, 1);
}

bool sim_bank_take_money(struct sim_bank_client *client, const struct sim_reply *reply)
{
    if (reply->kind != SIM_REPLY_STATUS) {
        sim_bank_unexpected(client, reply);
        return false;
    }
    client->bank->open = true;
    sim_bank_end(client, "the bank is open");
    return true;
}

/* --- sending --- */

static void send_look(struct sim_bank_client *client)
{
    struct buffer *output = stream_output(client->stream);

    sim_bank_command(output, 3, "WATCH");
    for (int i = 0; i < 2; i++)
        sim_bank_account_key(output, client->bank, client->account[i]);
    for (int i = 0; i < 2; i++) {
        sim_bank_command(output, 2, "GET");
        sim_bank_account_key(output, client->bank, client->account[i]);
    }
    sim_bank_sent(client, SIM_BANK_LOOKS, 3);
}

static void send_execute(struct sim_bank_client *client)
{
    static const char *const blind[] = {"DECRBY", "INCRBY"};
    struct sim_bank *bank = client->bank;
    struct buffer *output = stream_output(client->stream);

    sim_bank_command(output, 1, "MULTI");
    for (int i = 0; i < 2; i++) {
        int64_t to = client->balance[i] + (i == 0 ? -client->amount : client->amount);
        sim_bank_command(output, 3, client->watches ? "SET" : blind[i]);
        sim_bank_account_key(output, bank, client->account[i]);
        amount_argument(output, client->watches ? to : client->amount);
    }
    sim_bank_command(output, 2, "INCR");
    sim_bank_counter_key(output, bank, client->number, bank->generations[client->number]);
    sim_bank_command(output, 1, "EXEC");
    sim_bank_counter(bank, client->number)->in_flight = true;
    sim_bank_sent(client, SIM_BANK_EXECUTES, 5);
}

void sim_bank_send_transfer(struct sim_bank_client *client)
{
    struct sim_bank *bank = client->bank;
    uint32_t from = (uint32_t)sim_bank_draw(bank, SIM_BANK_ACCOUNTS);
    uint32_t step = 1 + (uint32_t)sim_bank_draw(bank, SIM_BANK_ACCOUNTS - 1);

    client->account[0] = from;
    client->account[1] = (from + step) % SIM_BANK_ACCOUNTS;
    client->amount = 1 + (int64_t)sim_bank_draw(bank, AMOUNT_MAX);
    client->watches = sim_bank_draw(bank, 2) == 0;
    if (client->watches)
        send_look(client);
    else
        send_execute(client);
}

/* --- replies --- */

/* Nothing was done; the next try is at another node, on a connection that watches nothing. */
static bool refused(struct sim_bank_client *client)
{
    client->bank->counts.refused++;
    sim_bank_end(client, "refused");
    return false;
}

bool sim_bank_take_look(struct sim_bank_client *client, const struct sim_reply *reply)
{
    bool first = client->replies_taken == 1;

    if (reply->kind == SIM_REPLY_ERROR && sim_resp_is_refusal(reply->text)) return refused(client);
    bool good =
        first ? reply->kind == SIM_REPLY_STATUS
              : reply->kind == SIM_REPLY_BULK &&
                    sim_resp_integer(reply->text, &client->balance[client->replies_taken - 2]);
    if (!good) {
        sim_bank_unexpected(client, reply);
        return false;
    }
    if (client->replies_taken == client->replies_due) send_execute(client);
    return true;
}

void sim_bank_lose_transfer(struct sim_bank_client *client)
{
    struct sim_bank *bank = client->bank;
    uint32_t *generation = &bank->generations[client->number];
    struct sim_bank_counter *counter = sim_bank_counter(bank, client->number);

    counter->in_flight = false;
    counter->unknown = true;
    if (*generation + 1 < SIM_BANK_GENERATIONS_MAX) ++*generation;
    bank->counts.unknown++;
}

bool sim_bank_is_spent(const struct sim_bank_client *mover)
{
    return sim_bank_counter(mover->bank, mover->number)->unknown;
}

/* The n-th transfer that a counter acknowledges is the n-th that was done. */
static void acknowledge(struct sim_bank_client *client, uint64_t value)
{
    struct sim_bank *bank = client->bank;
    struct sim_bank_counter *counter = sim_bank_counter(bank, client->number);
    uint64_t next = counter->known + 1;

    if (value != next) {
        sim_violation(bank->sim,
                      "T-5: counter %u of mover %u is %" PRIu64 ", not %" PRIu64
                      ": a transfer was %s",
                      bank->generations[client->number], client->number, value, next,
                      value < next ? "lost" : "done twice");
        return;
    }
    counter->in_flight = false;
    counter->known = value;
    if (value > counter->told) counter->told = value;
    bank->counts.transfers++;
    sim_bank_end(client, "moved");
}

/* The last of three elements is the counter; the others are what SET or INCRBY say. */
static bool take_results(struct sim_bank_client *client, struct bytes array)
{
    enum sim_reply_kind kind = client->watches ? SIM_REPLY_STATUS : SIM_REPLY_INTEGER;
    struct sim_reply element;
    size_t at = 0, size;

    while (array.data[at] != '\n')
        at++;
    at++;
    for (int i = 0; i < 3; i++) {
        if (sim_resp_parse(bytes_from(array, at), &element, &size) != 1) return false;
        if (element.kind != (i < 2 ? kind : SIM_REPLY_INTEGER)) return false;
        at += size;
    }
    if (at != array.size || element.integer < 0) return false;
    acknowledge(client, (uint64_t)element.integer);
    return true;
}

static bool take_error(struct sim_bank_client *client, const struct sim_reply *reply)
{
    bool aborted = client->queue_failed && bytes_starts_with(reply->text, bytes_of("EXECABORT"));

    sim_bank_counter(client->bank, client->number)->in_flight = false;
    if (bytes_starts_with(reply->text, bytes_of("UNKNOWN"))) {
        sim_bank_lose_transfer(client);
        sim_bank_end(client, "unknown");
    } else if (aborted || sim_resp_is_refusal(reply->text)) {
        return refused(client);
    } else {
        sim_bank_unexpected(client, reply);
    }
    return false;
}

bool sim_bank_take_moved(struct sim_bank_client *client, const struct sim_reply *reply,
                         struct bytes whole)
{
    if (client->replies_taken < client->replies_due) { /* +OK, +QUEUED */
        bool failed = reply->kind == SIM_REPLY_ERROR && sim_resp_is_refusal(reply->text);
        client->queue_failed |= failed;
        if (!failed && reply->kind != SIM_REPLY_STATUS) sim_bank_unexpected(client, reply);
        return true;
    }
    if (reply->kind == SIM_REPLY_ERROR) return take_error(client, reply);
    if (reply->kind == SIM_REPLY_NIL && client->watches) {
        sim_bank_counter(client->bank, client->number)->in_flight = false;
        client->bank->counts.conflicts++;
        sim_bank_end(client, "conflict");
        return true;
    }
    if (client->queue_failed || reply->kind != SIM_REPLY_OTHER || !take_results(client, whole))
        sim_bank_unexpected(client, reply);
    return true;
}
