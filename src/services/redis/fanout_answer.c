/* fanout_answer.c - gathers what the partitions said, and makes one reply of it. */
#include "base/assert.h"
#include "base/memory.h"
#include "services/redis/gather.h"
#include "services/redis/scan.h"
#include "services/redis/slot_keys.h"

void fanout_free(struct fanout *fanout)
{
    gather_free(fanout);
    for (uint32_t i = 0; i < fanout->part_count; i++)
        buffer_free(&fanout->parts[i].reply);
    memory_free(fanout->parts);
    memory_free(fanout->key_parts);
    memory_free(fanout->scan_arguments);
    buffer_free(&fanout->scan_text);
    buffer_free(&fanout->error);
    memory_free(fanout);
}

void fanout_fail(struct fanout *fanout, const char *text)
{
    struct resp_writer out = resp_writer_make(&fanout->error, false);

    if (fanout->failed) return;
    fanout->failed = true;
    resp_write_error(&out, text);
}

/* --- answers of the partitions --------------------------------------------------------------- */

static void keep(struct part *part, struct bytes reply)
{
    struct fanout *fanout = part->fanout;

    fanout->bytes += reply.size;
    if (fanout->bytes > KEYS_BYTES_MAX || buffer_append(&part->reply, reply))
        fanout_fail(fanout, fanout->kind == FAN_KEYS
                                ? "ERR more than 32 MiB of keys match: use SCAN"
                            : fanout->kind == FAN_SLOT_KEYS
                                ? "ERR more than 32 MiB of keys: ask for fewer"
                                : "ERR the reply is larger than 32 MiB: ask for fewer keys");
}

/* [cursor, [keys]]. *ret_keys: the keys as they are; *ret_inside: the cursor is not 0 and in
 * the partition that answered. */
static bool read_scan(struct part *part, struct bytes reply, struct bytes *ret_keys,
                      uint64_t *ret_count, bool *ret_inside)
{
    const struct redis_service *service = part->fanout->connection->service;
    struct redis_cursor cursor;
    struct bytes text;
    uint64_t two;

    if (!resp_read_array(&reply, &two) || two != 2 || !resp_read_bulk(&reply, &text) ||
        !redis_cursor_parse(text, &cursor) || !resp_read_array(&reply, ret_count))
        return false;
    *ret_keys = reply;
    part->cursor = redis_cursor_value(cursor);
    *ret_inside = part->cursor != 0 && service_partition(service, cursor.slot) ==
                                           service_partition(service, part->request.slot);
    return true;
}

/* Keeps the keys, and goes on as long as the cursor is in the partition. */
static bool take_keys(struct part *part, struct bytes reply)
{
    struct bytes keys;
    uint64_t count;

    if (!read_scan(part, reply, &keys, &count, &part->again)) return false;
    part->number += count;
    keep(part, keys);
    if (part->fanout->kind == FAN_SLOT_KEYS) part->again &= part->number < part->fanout->keys_most;
    return true;
}

/* A partition without a key that is wanted is not worth a reply: on to the next one. */
static bool take_scan(struct part *part, struct bytes reply)
{
    struct bytes keys;
    uint64_t count;
    bool inside;

    if (!read_scan(part, reply, &keys, &count, &inside)) return false;
    part->again = count == 0 && part->cursor != 0 && !inside;
    if (!part->again) keep(part, reply);
    return true;
}

static bool take_integer(struct part *part, struct bytes reply)
{
    int64_t value;

    if (!resp_read_integer(&reply, &value)) return false;
    part->number = (uint64_t)value;
    return true;
}

static bool take_values(struct part *part, struct bytes reply)
{
    uint64_t count;

    if (!resp_read_array(&reply, &count) || count != part->key_count) return false;
    keep(part, reply);
    return true;
}

static bool take(struct part *part, struct bytes reply)
{
    switch (part->fanout->kind) {
    case FAN_VALUES:
        return take_values(part, reply);
    case FAN_SUM:
        return take_integer(part, reply);
    case FAN_KEYS:
    case FAN_SLOT_KEYS:
        return take_keys(part, reply);
    case FAN_SLOT_COUNT:
        return slot_keys_take_count(part, reply);
    case FAN_RANDOM:
        if (!part->fanout->picking) return take_integer(part, reply);
        keep(part, reply);
        return true;
    case FAN_ALL:
        return true;
    case FAN_SCAN:
        return take_scan(part, reply);
    case FAN_CLIENTS:
    case FAN_INFO:
        break; /* gather_take_part() */
    }
    return false;
}

void fanout_on_reply(struct gateway_request *request, enum gateway_outcome outcome,
                     struct bytes reply)
{
    struct part *part = CONTAINER_OF(request, struct part, request);
    struct fanout *fanout = part->fanout;
    struct redis_service *service = fanout->connection->service;

    ASSERT(part->open && fanout->open_count > 0);
    part->open = false;
    fanout->open_count--;
    outcome_count(service, outcome);
    uint64_t before = fanout->connection->staleness;
    reads_answered(fanout->connection, open_class_of(service, request->slot), request);
    bool first = fanout->answered++ == 0; /* of many the worst counts */
    if (!first && before > fanout->connection->staleness) fanout->connection->staleness = before;
    if (fanout->failed) {
        /* the first error is the answer */
    } else if (fanout->kind == FAN_INFO) {
        gather_take_part(part, outcome, reply);
    } else if (outcome != GATEWAY_REPLY && fanout->kind == FAN_ALL) {
        fanout_fail(fanout, "UNKNOWN outcome: a partition did not answer within the patience, "
                            "others may have been flushed; try again");
    } else if (outcome != GATEWAY_REPLY) {
        struct resp_writer out = resp_writer_make(&fanout->error, false);
        fanout->failed = true;
        outcome_write(service, &out, outcome, request, reply);
    } else if (resp_is_error(reply)) {
        fanout->failed = true;
        buffer_append(&fanout->error, reply);
    } else if (!take(part, reply)) {
        fanout_fail(fanout, "ERR a partition gave an answer that this node does not understand");
    }
    connection_account(fanout->connection);
    if (fanout->open_count == 0 && !fanout->submitting) connection_wake(fanout->connection);
}

/* --- the end --------------------------------------------------------------------------------- */

/* MGET: the elements of each part come in the order of its keys. */
static void write_values(struct fanout *fanout, struct resp_writer *out)
{
    resp_write_array(out, fanout->key_count);
    for (uint32_t k = 0; k < fanout->key_count; k++) {
        struct part *part = &fanout->parts[fanout->key_parts[k]];
        struct bytes rest = bytes_from(buffer_bytes(&part->reply), part->read);
        size_t size = resp_value_size(rest);
        resp_write_raw(out, bytes_make(rest.data, size));
        part->read += size;
        if (size == 0) resp_write_null(out); /* cannot be: the parts were counted */
    }
}

static void write_reply(struct fanout *fanout, struct resp_writer *out)
{
    uint64_t sum = 0;

    for (uint32_t i = 0; i < fanout->part_count; i++)
        sum += fanout->parts[i].number;
    switch (fanout->kind) {
    case FAN_VALUES:
        write_values(fanout, out);
        break;
    case FAN_SUM:
    case FAN_SLOT_COUNT:
        resp_write_integer(out, (int64_t)sum);
        break;
    case FAN_SLOT_KEYS:
        slot_keys_write(fanout, out);
        break;
    case FAN_ALL:
        resp_write_simple(out, "OK");
        break;
    case FAN_KEYS:
        resp_write_array(out, sum);
        for (uint32_t i = 0; i < fanout->part_count; i++)
            resp_write_raw(out, buffer_bytes(&fanout->parts[i].reply));
        break;
    case FAN_RANDOM:
        for (uint32_t i = 0; i < fanout->part_count; i++)
            resp_write_raw(out, buffer_bytes(&fanout->parts[i].reply));
        if (!fanout->picking) resp_write_null(out);
        break;
    case FAN_SCAN:
        resp_write_raw(out, buffer_bytes(&fanout->parts[0].reply));
        break;
    case FAN_CLIENTS:
    case FAN_INFO:
        gather_write(fanout, out);
        break;
    }
}

void fanout_finish(struct fanout *fanout)
{
    struct connection *connection = fanout->connection;
    struct redis_service *service = connection->service;
    bool write = fanout->command->flags & REDIS_WRITES;
    enum reply_mode mode = connection->reply_mode;
    struct local_reply reply;

    histogram_record(write ? &service->write_latency : &service->read_latency,
                     world_now(service->options.world) - fanout->started);
    /* Whether it is wanted was fixed when the command came. */
    connection->reply_mode = fanout->silent ? REPLY_OFF : REPLY_ON;
    local_reply_begin(connection, &reply);
    if (fanout->failed)
        resp_write_raw(&reply.out, buffer_bytes(&fanout->error));
    else
        write_reply(fanout, &reply.out);
    local_reply_end(&reply);
    connection->reply_mode = mode;
    connection->fanout = NULL;
    fanout_free(fanout);
}
