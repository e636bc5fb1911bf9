/* Requests as RESP, replies as outcomes, and the rules for error replies. */
#include "base/assert.h"
#include "base/hash.h"
#include "base/memory.h"
#include "sim/checkers/linearizable.h"
#include "sim/checkers/order.h"
#include "sim/sim_client_internal.h"
#include "sim/sim_feature.h"
#include "sim/sim_resp.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum { REPLY_TEXT_MAX = 120 };

/* A value tells its number, its size, and what each byte of it must be: one that was put
 * together from two, or has a hole, shows. */
static uint8_t value_byte(int64_t value, size_t at)
{
    return (uint8_t)('a' + (hash_u64((uint64_t)value + at / 7) + at) % 26);
}

static void encode_value(struct sim_client *client, struct buffer *output, int64_t value)
{
    struct sim *sim = client->clients->sim;
    const struct sim_workload *workload = &client->clients->workload;
    uint32_t pad_max = workload->pad_max;
    uint32_t pad = pad_max ? (uint32_t)sim_below(sim, SIM_RANDOM_WORKLOAD, pad_max) : 0;
    char number[48];

    pad += workload->pad_min;
    int size = snprintf(number, sizeof(number), "%" PRId64 ":%u:", value, pad);
    char *text = memory_allocate((size_t)size + pad);
    memcpy(text, number, (size_t)size);
    for (uint32_t i = 0; i < pad; i++)
        text[(uint32_t)size + i] = (char)value_byte(value, i);
    sim_resp_bulk(output, bytes_make(text, (size_t)size + pad));
    memory_free(text);
}

static void check_value(struct sim_client *client, const struct sim_op *op, struct bytes text)
{
    struct sim *sim = client->clients->sim;
    char head[48];
    int64_t value = 0;
    uint32_t pad = 0;
    int size = 0;

    snprintf(head, sizeof(head), "%.*s", (int)text.size, (const char *)text.data);
    bool number_only = strchr(head, ':') == NULL; /* a counter */
    if (number_only) return;
    bool sound = sscanf(head, "%" SCNd64 ":%u:%n", &value, &pad, &size) == 2 && size > 0 &&
                 text.size == (size_t)size + pad;
    for (uint32_t i = 0; sound && i < pad; i++)
        sound = text.data[(uint32_t)size + i] == value_byte(value, i);
    if (!sound)
        sim_violation(sim, "O-1: key %u: a value of %zu bytes is not whole: it begins with %s",
                      op->key, text.size, head);
}

static void encode_reads(struct buffer *output, const struct sim_op *op)
{
    char bound[32];

    snprintf(bound, sizeof(bound), "%" PRId64, op->argument);
    sim_resp_array(output, op->kind == SIM_OP_LAST ? 2 : 3);
    sim_resp_text(output, "HOLON.READS");
    sim_resp_text(output, op->kind == SIM_OP_LAST ? "LAST" : "stale");
    if (op->kind == SIM_OP_READS) sim_resp_text(output, bound);
}

static void encode(struct sim_client *client, struct buffer *output, const struct sim_op *op)
{
    char key[32], token[32];

    snprintf(key, sizeof(key), "key:%u", op->key);
    switch ((enum sim_op_kind)op->kind) {
    case SIM_OP_GET:
    case SIM_OP_STALE_GET:
    case SIM_OP_DEL:
    case SIM_OP_INCR:
        sim_resp_array(output, 2);
        sim_resp_text(output, op->kind == SIM_OP_DEL    ? "DEL"
                              : op->kind == SIM_OP_INCR ? "INCR"
                                                        : "GET");
        sim_resp_text(output, key);
        return;
    case SIM_OP_SET:
    case SIM_OP_SETNX:
    case SIM_OP_GETSET:
        sim_resp_array(output, 3);
        sim_resp_text(output, op->kind == SIM_OP_SET     ? "SET"
                              : op->kind == SIM_OP_SETNX ? "SETNX"
                                                         : "GETSET");
        sim_resp_text(output, key);
        encode_value(client, output, op->argument);
        return;
    case SIM_OP_APPEND:
        sim_resp_array(output, 3);
        sim_resp_text(output, "APPEND");
        sim_resp_text(output, key);
        sim_resp_bulk(output, bytes_make(token, check_order_token(op, token)));
        return;
    case SIM_OP_SET_EXPIRING:
        sim_resp_array(output, 5);
        sim_resp_text(output, "SET");
        sim_resp_text(output, key);
        encode_value(client, output, op->argument);
        sim_resp_text(output, "PX");
        snprintf(key, sizeof(key), "%" PRIu64, op->expiry / 1000);
        sim_resp_text(output, key);
        return;
    case SIM_OP_READS:
    case SIM_OP_LAST:
        encode_reads(output, op);
        return;
    }
    ASSERT(false);
}

static void note_feature(struct sim_client *client, enum sim_op_kind kind)
{
    static const uint8_t features[] = {
        [SIM_OP_GET] = SIM_FEATURE_REGISTERS,      [SIM_OP_SET] = SIM_FEATURE_REGISTERS,
        [SIM_OP_DEL] = SIM_FEATURE_REGISTERS,      [SIM_OP_SETNX] = SIM_FEATURE_CONDITIONAL,
        [SIM_OP_GETSET] = SIM_FEATURE_CONDITIONAL, [SIM_OP_INCR] = SIM_FEATURE_COUNTERS,
        [SIM_OP_APPEND] = SIM_FEATURE_ORDER,       [SIM_OP_SET_EXPIRING] = SIM_FEATURE_EXPIRY,
        [SIM_OP_READS] = SIM_FEATURE_REGISTERS,    [SIM_OP_STALE_GET] = SIM_FEATURE_REGISTERS,
        [SIM_OP_LAST] = SIM_FEATURE_REGISTERS,
    };
    struct sim *sim = client->clients->sim;

    sim_feature_seen(sim, (enum sim_feature)features[kind]);
    if (client->pending_count > 1) sim_feature_seen(sim, SIM_FEATURE_PIPELINE);
    if (kind == SIM_OP_GET)
        sim_feature_seen(sim, client->clients->workload.reads_by_quorum ? SIM_FEATURE_QUORUM_READS
                                                                        : SIM_FEATURE_LEASE_READS);
}

uint32_t sim_request_send(struct sim_client *client, const struct sim_op *from)
{
    struct sim_clients *clients = client->clients;
    struct sim_op op = *from;

    ASSERT(client->stream && client->pending_count < SIM_PIPELINE_MAX * 4);
    op.client = client->number;
    op.node = client->node;
    op.session = client->session;
    op.position = ++client->position;
    op.outcome = SIM_PENDING;
    op.invoked = clients->sim->now;
    op.returned = UINT64_MAX;
    uint32_t number = sim_history_add(&clients->history, &op);
    encode(client, stream_output(client->stream), &op);
    client->pending[(client->pending_first + client->pending_count++) % (SIM_PIPELINE_MAX * 4)] =
        number;
    note_feature(client, (enum sim_op_kind)op.kind);
    return number;
}

/* --- replies --- */

static void trace_reply(struct sim *sim, const struct sim_op *op)
{
    char line[200];

    sim_trace(sim,
              ((uint64_t)op->client << 40) ^ ((uint64_t)op->outcome << 36) ^ (uint64_t)op->result);
    if (sim->trace_file == NULL) return;
    sim_op_text(op, line, sizeof(line));
    sim_trace_text(sim, "client %s", line);
}

static bool starts_with(struct bytes text, const char *word)
{
    return bytes_starts_with(text, bytes_of(word));
}

static void check_patience(struct sim_client *client, const struct sim_op *op, const char *shown)
{
    struct sim_clients *clients = client->clients;
    struct sim *sim = clients->sim;
    uint64_t waited = sim->now - op->invoked;
    uint64_t patience = clients->workload.patience;

    if (waited + patience / 5 < patience && sim->now > clients->excused_until[op->node])
        sim_violation(sim, "B7: node %u lost patience after %" PRIu64 " of %" PRIu64 " us: %s",
                      op->node, waited, patience, shown);
}

/* B7 and V-2: which errors a client of a living node may see, and when. */
static void take_error(struct sim_client *client, struct sim_op *op, struct bytes text)
{
    struct sim_clients *clients = client->clients;
    struct sim *sim = clients->sim;
    char shown[REPLY_TEXT_MAX];

    snprintf(shown, sizeof(shown), "%.*s", (int)text.size, (const char *)text.data);
    op->error_reply = true;
    if (starts_with(text, "MISCONF") || starts_with(text, "BUSY the log")) { /* F27 */
        op->outcome = SIM_NOT_DONE;
        clients->no_space_replies++;
        return;
    }
    if (starts_with(text, "BUSY")) {
        op->outcome = SIM_NOT_DONE;
        clients->busy_replies++;
        return;
    }
    if (op->kind == SIM_OP_STALE_GET && starts_with(text, "STALE")) {
        op->outcome = SIM_NOT_DONE;
        check_patience(client, op, "STALE");
        return;
    }
    if (starts_with(text, "TOOBIG what this would change")) { /* remembered, as done */
        op->outcome = SIM_NOT_DONE;
        return;
    }
    bool may_be_refused = clients->workload.replies_bounded && op->kind == SIM_OP_GETSET;
    if (may_be_refused && starts_with(text, "TOOBIG")) {
        op->outcome = SIM_UNKNOWN;
        return;
    }
    if (!starts_with(text, "UNKNOWN") && !starts_with(text, "UNAVAILABLE")) {
        sim_violation(sim, "B7: client %u got an error that no client may see: %s", client->number,
                      shown);
        return;
    }
    op->outcome = starts_with(text, "UNKNOWN") ? SIM_UNKNOWN : SIM_NOT_DONE;
    check_patience(client, op, shown);
}

static int64_t leading_number(struct bytes text)
{
    int64_t value = 0;

    for (size_t i = 0; i < text.size && text.data[i] >= '0' && text.data[i] <= '9'; i++)
        value = value * 10 + (text.data[i] - '0');
    return value;
}

static bool take_value(struct sim_client *client, struct sim_op *op, const struct sim_reply *reply)
{
    struct sim_history *history = &client->clients->history;

    if (reply->kind != SIM_REPLY_BULK && reply->kind != SIM_REPLY_NIL) return false;
    op->found = reply->kind == SIM_REPLY_BULK;
    if (history->key_kinds[op->key] == SIM_KEY_ORDER) {
        struct bytes text = op->found ? reply->text : bytes_make(NULL, 0);
        op->result = (int64_t)text.size;
        op->content_hash = hash64(0, text);
        if (client->judge) sim_history_set_final(history, op->key, text);
    } else if (op->found) {
        op->result = leading_number(reply->text);
        check_value(client, op, reply->text);
    }
    return true;
}

/* What LAST says is held against the read before it; it must be within its bound. */
static void take_last(struct sim_client *client, const struct sim_op *last)
{
    struct sim_history *history = &client->clients->history;
    struct sim_op *read = &history->ops[last - history->ops - 1];

    while (read->session != last->session || read->position != last->position - 1)
        read--;
    if (read->outcome != SIM_DONE || read->kind != SIM_OP_STALE_GET) return;
    uint64_t told = (uint64_t)last->result * 1000;
    uint64_t between = last->returned - read->invoked; /* it may have lain there for so long */
    if (last->result < 0 || told > read->bound + 2 * between + 1000)
        sim_violation(client->clients->sim,
                      "stale read: one of at most %" PRIu64 " us was %" PRId64 " ms behind",
                      read->bound, last->result);
    if (told < read->bound) read->bound = told;
}

static bool take_reply(struct sim_client *client, struct sim_op *op, const struct sim_reply *reply)
{
    switch ((enum sim_op_kind)op->kind) {
    case SIM_OP_GET:
    case SIM_OP_STALE_GET:
    case SIM_OP_GETSET:
        return take_value(client, op, reply);
    case SIM_OP_SET:
    case SIM_OP_SET_EXPIRING:
    case SIM_OP_READS:
        return reply->kind == SIM_REPLY_STATUS;
    case SIM_OP_LAST:
        op->result = reply->integer;
        if (reply->kind == SIM_REPLY_INTEGER) take_last(client, op);
        return reply->kind == SIM_REPLY_INTEGER;
    case SIM_OP_DEL:
    case SIM_OP_SETNX:
    case SIM_OP_INCR:
    case SIM_OP_APPEND:
        op->result = reply->integer;
        return reply->kind == SIM_REPLY_INTEGER;
    }
    return false;
}

bool sim_request_replies(struct sim_client *client)
{
    struct sim *sim = client->clients->sim;
    struct sim_reply reply;
    size_t size;

    for (;;) {
        int found = sim_resp_parse(buffer_bytes(&client->input), &reply, &size);
        if (found == 0) return true;
        if (found < 0 || client->pending_count == 0) {
            sim_violation(sim, "client %u got %s", client->number,
                          found < 0 ? "bytes that are no RESP" : "a reply it did not ask for");
            return false;
        }
        struct sim_op *op = &client->clients->history.ops[client->pending[client->pending_first]];
        client->pending_first = (client->pending_first + 1) % (SIM_PIPELINE_MAX * 4);
        client->pending_count--;
        if (reply.kind == SIM_REPLY_ERROR) {
            take_error(client, op, reply.text);
        } else {
            op->outcome = SIM_DONE;
            op->returned = sim->now;
            if (!take_reply(client, op, &reply))
                sim_violation(sim, "client %u got a reply of the wrong kind (%d)", client->number,
                              (int)reply.kind);
        }
        trace_reply(sim, op);
        buffer_consume(&client->input, size);
    }
}

void sim_request_connection_lost(struct sim_client *client)
{
    while (client->pending_count > 0) {
        struct sim_op *op = &client->clients->history.ops[client->pending[client->pending_first]];
        op->outcome = SIM_UNKNOWN;
        client->pending_first = (client->pending_first + 1) % (SIM_PIPELINE_MAX * 4);
        client->pending_count--;
        trace_reply(client->clients->sim, op);
    }
}
