/* Reads of the whole bank at one instant: by MGET, in a MULTI, and at snapshots. */
#include "sim/sim_bank_internal.h"

#include <inttypes.h>
#include <stdio.h>

enum {
    BALANCE_TOTAL = 1000 * SIM_BANK_ACCOUNTS,
    WAIT_MIN_US = 1000,
    WAIT_MAX_US = 5 * 1000 * 1000,
    PARTS = 4, /* of a snapshot's reading */
    MULTI_EACH = 4,
    SNAPSHOT_LIFE_S = 20,
};

/* --- the verdict --- */

static struct sim_bank_counter *counter_of(const struct sim_bank_client *client,
                                           const struct sim_bank_counted *counted)
{
    return &client->bank->counters[counted->mover][counted->generation];
}

/* What a read is to have of a counter, and what it was at least before the read began. */
static void count(struct sim_bank_client *client, uint32_t mover, uint32_t generation)
{
    struct sim_bank_counted *counted = &client->counted[client->counted_count++];

    counted->mover = mover;
    counted->generation = generation;
    counted->floor = counter_of(client, counted)->told;
}

/* The counters in use, and one or some of those that are retired. */
static void choose_counters(struct sim_bank_client *client)
{
    struct sim_bank *bank = client->bank;
    uint32_t movers = bank->options.movers, mover = (uint32_t)sim_bank_draw(bank, movers);

    client->counted_count = client->value_count = 0;
    for (uint32_t i = 0; i < movers; i++)
        count(client, i, bank->generations[i]);
    if (bank->auditing) {
        for (uint32_t i = 0; i < movers; i++)
            if (client->audit_pass < bank->generations[i]) count(client, i, client->audit_pass);
    } else if (bank->generations[mover] > 0) {
        count(client, mover, (uint32_t)sim_bank_draw(bank, bank->generations[mover]));
    }
}

static void note_ceilings(struct sim_bank_client *client)
{
    for (uint32_t i = 0; i < client->counted_count; i++) {
        const struct sim_bank_counter *counter = counter_of(client, &client->counted[i]);
        client->counted[i].ceiling = counter->known + (counter->in_flight || counter->unknown);
    }
}

static void judge_counter(struct sim_bank_client *client, const struct sim_bank_counted *counted,
                          int64_t value)
{
    struct sim *sim = client->bank->sim;
    struct sim_bank_counter *counter = counter_of(client, counted);

    if (value < 0 || (uint64_t)value < counted->floor)
        sim_violation(sim,
                      "T-1: counter %u of mover %u is %" PRId64 " for client %u (phase %d), after "
                      "somebody had seen %" PRIu64,
                      counted->generation, counted->mover, value, client->number,
                      (int)client->phase, counted->floor);
    else if ((uint64_t)value > counted->ceiling)
        sim_violation(sim,
                      "T-5: counter %u of mover %u is %" PRId64 " for client %u (phase %d), of "
                      "%" PRIu64 " transfers",
                      counted->generation, counted->mover, value, client->number,
                      (int)client->phase, counted->ceiling);
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
    for (uint32_t i = 0; i < client->counted_count; i++)
        judge_counter(client, &client->counted[i], client->values[SIM_BANK_ACCOUNTS + i]);
}

/* --- reads --- */

static uint32_t value_count(const struct sim_bank_client *client)
{
    return SIM_BANK_ACCOUNTS + client->counted_count;
}

static void append_key(struct buffer *output, const struct sim_bank_client *client, uint32_t i)
{
    const struct sim_bank_counted *counted = &client->counted[i - SIM_BANK_ACCOUNTS];

    if (i < SIM_BANK_ACCOUNTS)
        sim_bank_account_key(output, client->bank, i);
    else
        sim_bank_counter_key(output, client->bank, counted->mover, counted->generation);
}

static void send_mget(struct sim_bank_client *client, uint32_t first, uint32_t end)
{
    struct buffer *output = stream_output(client->stream);

    sim_bank_command(output, 1 + end - first, "MGET");
    for (uint32_t i = first; i < end; i++)
        append_key(output, client, i);
}

void sim_bank_send_read(struct sim_bank_client *client)
{
    struct sim_bank *bank = client->bank;
    struct buffer *output = stream_output(client->stream);

    choose_counters(client);
    client->in_multi = sim_bank_draw(bank, MULTI_EACH) == 0;
    if (!client->in_multi) {
        send_mget(client, 0, value_count(client));
        sim_bank_sent(client, SIM_BANK_COUNTS, 1);
        return;
    }
    sim_bank_command(output, 1, "MULTI");
    for (uint32_t i = 0; i < value_count(client); i++) {
        sim_bank_command(output, 2, "GET");
        append_key(output, client, i);
    }
    sim_bank_command(output, 1, "EXEC");
    sim_bank_sent(client, SIM_BANK_COUNTS, value_count(client) + 2);
}

/* All elements are numbers, and no more than were asked for; a counter that is not there yet is 0.
 */
static bool take_values(struct sim_bank_client *client, struct bytes array)
{
    struct sim_reply element;
    size_t at = 0, size;

    while (array.data[at] != '\n')
        at++;
    at++;
    for (; at < array.size; at += size) {
        if (sim_resp_parse(bytes_from(array, at), &element, &size) != 1 ||
            client->value_count == value_count(client))
            return false;
        int64_t *value = &client->values[client->value_count];
        bool absent = element.kind == SIM_REPLY_NIL && client->value_count >= SIM_BANK_ACCOUNTS;
        *value = 0;
        if (!absent && (element.kind != SIM_REPLY_BULK || !sim_resp_integer(element.text, value)))
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

static uint32_t most_generations(const struct sim_bank *bank)
{
    uint32_t most = 0;

    for (uint32_t i = 0; i < bank->options.movers; i++)
        if (bank->generations[i] > most) most = bank->generations[i];
    return most;
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
        client->value_count != value_count(client)) {
        sim_bank_unexpected(client, reply);
        return false;
    }
    note_ceilings(client);
    judge(client);
    bank->counts.reads++;
    if (bank->auditing) client->audited = ++client->audit_pass >= most_generations(bank);
    sim_bank_end(client, "read");
    return true;
}

/* --- snapshots --- */

void sim_bank_send_open(struct sim_bank_client *client)
{
    struct buffer *output = stream_output(client->stream);
    char life[16];

    choose_counters(client);
    snprintf(life, sizeof(life), "%d", SNAPSHOT_LIFE_S);
    client->read_failed = false;
    sim_bank_command(output, 4, "HOLON.SNAPSHOT");
    sim_resp_text(output, "OPEN");
    sim_resp_text(output, "EX");
    sim_resp_text(output, life);
    sim_bank_sent(client, SIM_BANK_OPENS, 1);
    client->asked_at = client->sent_at;
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

/* Where a part of a snapshot's reading begins among the values. */
static uint32_t part_begin(const struct sim_bank_client *client, uint32_t part)
{
    return value_count(client) * part / PARTS;
}

void sim_bank_send_read_at(struct sim_bank_client *client)
{
    struct buffer *output = stream_output(client->stream);

    for (uint32_t part = 0; part < PARTS; part++)
        send_mget(client, part_begin(client, part), part_begin(client, part + 1));
    sim_bank_command(output, 2, "HOLON.SNAPSHOT");
    sim_resp_text(output, "CLOSE");
    sim_bank_sent(client, SIM_BANK_READS_AT, PARTS + 1);
}

/* Nothing fails any more, so a snapshot lives as long as was asked for. */
static void judge_gone(const struct sim_bank_client *client, struct bytes text)
{
    const struct sim_bank *bank = client->bank;
    uint64_t age = bank->sim->now - client->asked_at;

    if (!bank->healed || client->asked_at < bank->healed_at) return;
    if (age >= SNAPSHOT_LIFE_S * 1000000ull) return;
    if (bytes_starts_with(text, bytes_of("SNAPSHOTGONE")))
        sim_violation(bank->sim,
                      "T-2: the snapshot of client %u is gone %" PRIu64 " us after it "
                      "was asked for, although everything is healed",
                      client->number, age);
}

bool sim_bank_take_read_at(struct sim_bank_client *client, const struct sim_reply *reply,
                           struct bytes whole)
{
    struct sim_bank *bank = client->bank;
    bool closes = client->replies_taken == client->replies_due;

    if (!closes && reply->kind == SIM_REPLY_ERROR && is_gone(reply->text)) {
        judge_gone(client, reply->text);
        client->read_failed = true;
        return true;
    }
    /* What came before may have failed: a leader without its part died, another one has it. */
    if (!closes) client->value_count = part_begin(client, client->replies_taken - 1);
    bool good = closes ? reply->kind == SIM_REPLY_STATUS
                       : reply->kind == SIM_REPLY_OTHER && take_values(client, whole) &&
                             client->value_count == part_begin(client, client->replies_taken);
    if (!good) {
        sim_bank_unexpected(client, reply);
        return false;
    }
    if (!closes) return true;
    if (client->read_failed) {
        sim_bank_end(client, "snapshot gone");
        return true;
    }
    judge(client);
    bank->counts.snapshots++;
    sim_bank_end(client, "snapshot read");
    return true;
}
