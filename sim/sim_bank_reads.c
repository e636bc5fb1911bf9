/* Reads of the whole bank at one instant: by MGET, in a MULTI, and at snapshots. */
#include "sim/sim_bank_internal.h"

#include <inttypes.h>

enum {
    BALANCE_TOTAL = 1000 * SIM_BANK_ACCOUNTS,
    WAIT_MIN_US = 1000,
    WAIT_MAX_US = 5 * 1000 * 1000,
    PARTS = 4, /* of a snapshot's reading */
    MULTI_EACH = 4,
};
#define SNAPSHOT_LIFE_S "20"

/* --- the verdict --- */

static uint64_t most_of(const struct sim_bank_counter *counter)
{
    return counter->acknowledged + counter->unknown + counter->in_flight;
}

static void note_floors(struct sim_bank_client *client)
{
    for (uint32_t i = 0; i < client->bank->options.movers; i++)
        client->floors[i] = client->bank->counters[i].told;
}

static void note_ceilings(struct sim_bank_client *client)
{
    for (uint32_t i = 0; i < client->bank->options.movers; i++)
        client->ceilings[i] = most_of(&client->bank->counters[i]);
}

static void judge_counter(struct sim_bank_client *client, uint32_t mover, int64_t value)
{
    struct sim_bank *bank = client->bank;
    struct sim_bank_counter *counter = &bank->counters[mover];
    uint64_t floor = client->floors[mover], ceiling = client->ceilings[mover];

    if (value < 0 || (uint64_t)value < floor)
        sim_violation(bank->sim,
                      "T-1: the counter of mover %u is %" PRId64 " for client %u (phase %d), after "
                      "somebody had seen %" PRIu64,
                      mover, value, client->number, (int)client->phase, floor);
    else if ((uint64_t)value > ceiling)
        sim_violation(bank->sim,
                      "T-5: the counter of mover %u is %" PRId64 " for client %u (phase %d), of "
                      "%" PRIu64 " transfers",
                      mover, value, client->number, (int)client->phase, ceiling);
    else if ((uint64_t)value > counter->told)
        counter->told = (uint64_t)value;
}

static void judge(struct sim_bank_client *client)
{
    struct sim_bank *bank = client->bank;
    int64_t total = 0;

    for (uint32_t i = 0; i < SIM_BANK_ACCOUNTS; i++)
        total += client->values[i];
    if (total != BALANCE_TOTAL)
        sim_violation(bank->sim, "T-2: client %u (phase %d) read a total of %" PRId64 ", not %d",
                      client->number, (int)client->phase, total, (int)BALANCE_TOTAL);
    for (uint32_t i = 0; i < bank->options.movers; i++)
        judge_counter(client, i, client->values[SIM_BANK_ACCOUNTS + i]);
}

/* --- reads --- */

static void send_mget(struct sim_bank_client *client, uint32_t first, uint32_t end)
{
    struct buffer *output = stream_output(client->stream);

    sim_bank_command(output, 1 + end - first, "MGET");
    for (uint32_t i = first; i < end; i++)
        sim_bank_key(output, client->bank, i);
}

void sim_bank_send_read(struct sim_bank_client *client)
{
    struct sim_bank *bank = client->bank;
    struct buffer *output = stream_output(client->stream);

    note_floors(client);
    client->value_count = 0;
    client->in_multi = sim_bank_draw(bank, MULTI_EACH) == 0;
    if (!client->in_multi) {
        send_mget(client, 0, bank->key_count);
        sim_bank_sent(client, SIM_BANK_COUNTS, 1);
        return;
    }
    sim_bank_command(output, 1, "MULTI");
    for (uint32_t i = 0; i < bank->key_count; i++) {
        sim_bank_command(output, 2, "GET");
        sim_bank_key(output, bank, i);
    }
    sim_bank_command(output, 1, "EXEC");
    sim_bank_sent(client, SIM_BANK_COUNTS, bank->key_count + 2);
}

/* All elements are numbers, and no more than were asked for. */
static bool take_values(struct sim_bank_client *client, struct bytes array)
{
    struct sim_reply element;
    size_t at = 0, size;

    while (array.data[at] != '\n')
        at++;
    at++;
    for (; at < array.size; at += size) {
        if (sim_resp_parse(bytes_from(array, at), &element, &size) != 1) return false;
        if (element.kind != SIM_REPLY_BULK || client->value_count == client->bank->key_count ||
            !sim_resp_integer(element.text, &client->values[client->value_count]))
            return false;
        client->value_count++;
    }
    return true;
}

/* Nothing was read, and nothing needs to be known of that. */
static bool is_gone(struct bytes text)
{
    return sim_resp_is_refusal(text) || bytes_starts_with(text, bytes_of("SNAPSHOTGONE")) ||
           bytes_starts_with(text, bytes_of("SNAPSHOTFULL")) ||
           bytes_starts_with(text, bytes_of("UNKNOWN"));
}

static bool read_failed(struct sim_bank_client *client, const struct sim_reply *reply)
{
    bool aborted = client->queue_failed && bytes_starts_with(reply->text, bytes_of("EXECABORT"));
    bool unknown = bytes_starts_with(reply->text, bytes_of("UNKNOWN"));

    if (!aborted && !unknown && !sim_resp_is_refusal(reply->text)) {
        sim_bank_unexpected(client, reply);
        return false;
    }
    client->bank->counts.refused++;
    sim_bank_end(client, "read refused");
    return true;
}

bool sim_bank_take_read(struct sim_bank_client *client, const struct sim_reply *reply,
                        struct bytes whole)
{
    struct sim_bank *bank = client->bank;

    if (client->replies_taken < client->replies_due) { /* +OK, +QUEUED */
        bool failed = reply->kind == SIM_REPLY_ERROR && sim_resp_is_refusal(reply->text);
        client->queue_failed |= failed;
        if (!failed && reply->kind != SIM_REPLY_STATUS) sim_bank_unexpected(client, reply);
        return true;
    }
    if (reply->kind == SIM_REPLY_ERROR) return read_failed(client, reply);
    if (client->queue_failed || reply->kind != SIM_REPLY_OTHER || !take_values(client, whole) ||
        client->value_count != bank->key_count) {
        sim_bank_unexpected(client, reply);
        return false;
    }
    note_ceilings(client);
    judge(client);
    bank->counts.reads++;
    client->audited = true;
    sim_bank_end(client, "read");
    return true;
}

/* --- snapshots --- */

void sim_bank_send_open(struct sim_bank_client *client)
{
    struct buffer *output = stream_output(client->stream);

    note_floors(client);
    client->value_count = 0;
    client->read_failed = false;
    sim_bank_command(output, 4, "HOLON.SNAPSHOT");
    sim_resp_text(output, "OPEN");
    sim_resp_text(output, "EX");
    sim_resp_text(output, SNAPSHOT_LIFE_S);
    sim_bank_sent(client, SIM_BANK_OPENS, 1);
}

bool sim_bank_take_opened(struct sim_bank_client *client, const struct sim_reply *reply)
{
    struct sim_bank *bank = client->bank;

    if (reply->kind == SIM_REPLY_ERROR && is_gone(reply->text)) {
        bank->counts.refused++;
        sim_bank_end(client, "snapshot refused");
        return true;
    }
    if (reply->kind != SIM_REPLY_BULK) {
        sim_bank_unexpected(client, reply);
        return false;
    }
    note_ceilings(client);
    client->phase = SIM_BANK_WAITS;
    world_timer_stop(sim_bank_world(bank), &client->give_up);
    world_timer_start(sim_bank_world(bank), &client->next,
                      sim_log_uniform(bank->sim, SIM_RANDOM_WORKLOAD, WAIT_MIN_US, WAIT_MAX_US));
    return true;
}

void sim_bank_send_read_at(struct sim_bank_client *client)
{
    struct buffer *output = stream_output(client->stream);
    uint32_t count = client->bank->key_count;

    for (uint32_t part = 0; part < PARTS; part++)
        send_mget(client, count * part / PARTS, count * (part + 1) / PARTS);
    sim_bank_command(output, 2, "HOLON.SNAPSHOT");
    sim_resp_text(output, "CLOSE");
    sim_bank_sent(client, SIM_BANK_READS_AT, PARTS + 1);
}

bool sim_bank_take_read_at(struct sim_bank_client *client, const struct sim_reply *reply,
                           struct bytes whole)
{
    struct sim_bank *bank = client->bank;
    bool closes = client->replies_taken == client->replies_due;

    if (!closes && reply->kind == SIM_REPLY_ERROR && is_gone(reply->text)) {
        client->read_failed = true;
        return true;
    }
    bool good = closes ? reply->kind == SIM_REPLY_STATUS
                       : reply->kind == SIM_REPLY_OTHER && take_values(client, whole);
    if (!good) {
        sim_bank_unexpected(client, reply);
        return false;
    }
    if (!closes) return true;
    if (client->read_failed) {
        sim_bank_end(client, "snapshot gone");
        return true;
    }
    if (client->value_count != bank->key_count)
        sim_violation(bank->sim, "T-2: a snapshot has %u of %u values", client->value_count,
                      bank->key_count);
    else
        judge(client);
    bank->counts.snapshots++;
    sim_bank_end(client, "snapshot read");
    return true;
}
