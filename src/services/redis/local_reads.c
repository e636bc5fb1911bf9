/* local_reads.c - HOLON.READS: how the reads of a connection are answered.
 *
 *   linearizable   by the leader of the partition
 *   stale MS       by a replica of this node that is proven to be at most so far behind, if there
 *                  is one (cluster/gateway_stale.c); writes are linearizable all the same
 *
 * A stale read never misses what its own connection wrote before: behind an open write of the same
 * partition it goes to the leader, and so it does until the replica is proven to be as new as the
 * answer to that write (both are times of this machine's boot clock). */
#include <stdio.h>

#include "base/memory.h"
#include "base/parse.h"
#include "services/redis/local.h"
#include "services/redis/local_functions.h"

void reads_set_stale(struct connection *connection, uint32_t stale_ms)
{
    struct gateway *gateway = connection->service->options.gateway;

    if (stale_ms > 0) gateway_stale_join(gateway, stale_ms);
    if (connection->stale_ms > 0) gateway_stale_leave(gateway, connection->stale_ms);
    connection->stale_ms = stale_ms;
    connection->staleness = 0;
    if (stale_ms == 0) {
        memory_free(connection->wrote_class_at);
        connection->wrote_class_at = NULL;
    } else if (connection->wrote_class_at == NULL) {
        connection->wrote_class_at = memory_allocate(OPEN_CLASSES * sizeof(uint64_t));
        for (uint32_t i = 0; i < OPEN_CLASSES; i++)
            connection->wrote_class_at[i] = connection->wrote_at;
    }
}

void reads_prepare(const struct connection *connection, uint8_t open_class,
                   struct gateway_request *request)
{
    uint16_t writes_open =
        connection->open_requests[open_class] - connection->open_reads[open_class];

    request->stale_ms = request->write || writes_open > 0 ? 0 : connection->stale_ms;
    request->stale_not_before = 0;
    if (request->stale_ms > 0) request->stale_not_before = connection->wrote_class_at[open_class];
}

void reads_answered(struct connection *connection, uint8_t open_class,
                    const struct gateway_request *request)
{
    connection->staleness = request->staleness;
    if (!request->write) return;
    connection->wrote_at = world_now(connection->service->options.world);
    if (connection->wrote_class_at != NULL)
        connection->wrote_class_at[open_class] = connection->wrote_at;
}

void reads_after_transaction(struct connection *connection, bool wrote)
{
    connection->staleness = 0;
    if (!wrote) return;
    connection->wrote_at = world_now(connection->service->options.world);
    for (uint32_t i = 0; connection->wrote_class_at != NULL && i < OPEN_CLASSES; i++)
        connection->wrote_class_at[i] = connection->wrote_at;
}

static void write_mode(struct local_call *call)
{
    char text[32] = "linearizable";

    if (call->connection->stale_ms > 0)
        snprintf(text, sizeof(text), "stale %u", call->connection->stale_ms);
    resp_write_bulk_text(call->out, text);
}

/* Rounded up: never less than it was. -1: it is not known. */
static void write_last(struct local_call *call)
{
    uint64_t staleness = call->connection->staleness;

    resp_write_integer(call->out,
                       staleness == UINT64_MAX ? -1 : (int64_t)((staleness + 999) / 1000));
}

static void set_stale(struct local_call *call)
{
    int64_t bound;

    if (!parse_i64(call->arguments[2], &bound)) {
        resp_write_error(call->out, "ERR value is not an integer or out of range");
    } else if (bound < READS_STALE_MS_MIN || bound > READS_STALE_MS_MAX) {
        resp_write_error_format(call->out, "ERR the bound must be from %d to %d milliseconds",
                                READS_STALE_MS_MIN, READS_STALE_MS_MAX);
    } else {
        reads_set_stale(call->connection, (uint32_t)bound);
        resp_write_simple(call->out, "OK");
    }
}

void local_holon_reads(struct local_call *call)
{
    struct bytes word = call->count > 1 ? call->arguments[1] : bytes_make(NULL, 0);

    if (call->count == 1) {
        write_mode(call);
    } else if (call->count == 2 && redis_word_is(word, "last")) {
        write_last(call);
    } else if (call->count == 2 && redis_word_is(word, "linearizable")) {
        reads_set_stale(call->connection, 0);
        resp_write_simple(call->out, "OK");
    } else if (call->count == 3 && redis_word_is(word, "stale")) {
        set_stale(call);
    } else {
        resp_write_error(call->out, "ERR syntax error: HOLON.READS [linearizable | stale MS | "
                                    "LAST]");
    }
}
