/* fanout.c - commands that ask several partitions, each by itself: those about the whole database,
 * and MGET, EXISTS and TOUCH where they are not transactions (dispatch.c). Each runs alone on its
 * connection: it begins when all earlier commands are answered and later ones wait for it (rule
 * C9).
 *
 *   kind        asks                                        answers
 *   VALUES      MGET of its keys, per partition             values in the order of the keys
 *   SUM         EXISTS/TOUCH/DBSIZE, per partition          the sum
 *   ALL         FLUSHDB/FLUSHALL, each partition            OK, or the first error
 *   KEYS        SCAN, each partition, as often as needed    all keys
 *   RANDOM      DBSIZE, each; then RANDOMKEY of one         its key
 *   SCAN        SCAN of the cursor's partition, and of      the first page with a key,
 *               the next ones while there is no key         or the end
 *   SLOT_COUNT, SLOTSCAN of one slot, as often as       slot_keys.h
 *   SLOT_KEYS   needed
 *   CLIENTS,    other workers of the node; INFO also        gather.h
 *   INFO        each partition
 */
#include <stdio.h>

#include "base/assert.h"
#include "base/hash.h"
#include "base/memory.h"
#include "services/redis/cluster_table.h"
#include "services/redis/fanout_internal.h"
#include "services/redis/scan.h"
#include "services/redis/snapshot.h"

/* Rows that one step of KEYS looks at. */
#define KEYS_SCAN_COUNT "10000"

/* --- making and sending ---------------------------------------------------------------------- */

struct fanout *fanout_make(struct connection *connection, const struct redis_command *command,
                           enum fanout_kind kind, uint32_t part_count)
{
    struct fanout *fanout = memory_allocate_zero(sizeof(*fanout));

    fanout->connection = connection;
    fanout->command = command;
    fanout->kind = kind;
    fanout->silent = connection->reply_mode == REPLY_OFF || connection->reply_mode == REPLY_SKIP;
    fanout->started = connection->service->now;
    fanout->part_count = part_count;
    fanout->parts = memory_allocate_zero(part_count * sizeof(fanout->parts[0]));
    for (uint32_t i = 0; i < part_count; i++) {
        fanout->parts[i].fanout = fanout;
        buffer_init(&fanout->parts[i].reply, KEYS_BYTES_MAX);
    }
    buffer_init(&fanout->error, OUTPUT_BYTES_MAX);
    connection->fanout = fanout;
    return fanout;
}

static bool is_about(const struct connection *connection, const struct redis_command *command,
                     uint32_t partition)
{
    const struct redis_service *service = connection->service;
    bool orphan = (command->flags & REDIS_WRITES) && !cluster_has_leader(service, partition);

    bool all = !connection->cluster_port || connection_at_snapshot(connection);

    return all || cluster_leads(service, partition) || orphan;
}

struct fanout *fanout_make_over_partitions(struct connection *connection,
                                           const struct redis_command *command,
                                           enum fanout_kind kind)
{
    uint32_t partitions = connection->service->options.view->partition_count;
    uint32_t count = 0, part = 0;

    for (uint32_t i = 0; i < partitions; i++)
        count += is_about(connection, command, i);
    struct fanout *fanout = fanout_make(connection, command, kind, count);
    for (uint32_t i = 0; i < partitions; i++) {
        if (is_about(connection, command, i)) fanout->parts[part++].partition = i;
    }
    return fanout;
}

static void submit_part(struct part *part, const struct redis_command *command, uint16_t slot,
                        const struct bytes *arguments, uint32_t count)
{
    struct fanout *fanout = part->fanout;
    struct connection *connection = fanout->connection;
    struct redis_service *service = connection->service;

    if (!body_make(service, command, connection->resp3, connection->database, arguments, count)) {
        fanout_fail(fanout, "ERR command too big; nothing was executed");
        return;
    }
    part->request.service = SERVICE_REDIS;
    part->request.slot = slot;
    part->request.write = command->flags & REDIS_WRITES;
    part->request.grows = command->flags & REDIS_GROWS;
    part->request.body = buffer_bytes(&service->body);
    part->request.on_reply = fanout_on_reply;
    part->request.context = part;
    reads_prepare(connection, open_class_of(service, slot), &part->request);
    part->open = true;
    fanout->open_count++;
    connection_ask(connection, &part->request);
}

static uint16_t partition_slot(const struct redis_service *service, uint32_t partition)
{
    return service->options.view->groups[GROUP_DATA_FIRST + partition].slot_first;
}

/* The same arguments to each partition. */
static void submit_everywhere(struct fanout *fanout, const struct redis_command *command,
                              const struct bytes *arguments, uint32_t count)
{
    for (uint32_t i = 0; i < fanout->part_count; i++) {
        struct part *part = &fanout->parts[i];
        submit_part(part, command, partition_slot(fanout->connection->service, part->partition),
                    arguments, count);
    }
}

void fanout_submit_everywhere(struct fanout *fanout, const struct redis_command *command)
{
    submit_everywhere(fanout, command, NULL, 0);
}

/* Asks each partition for its own keys, in the order in which they were named. */
static void submit_keys(struct fanout *fanout, const struct bytes *keys)
{
    struct bytes *grouped = memory_allocate(fanout->key_count * sizeof(grouped[0]));
    uint32_t *next = memory_allocate_zero((fanout->part_count + 1) * sizeof(next[0]));

    for (uint32_t k = 0; k < fanout->key_count; k++)
        fanout->parts[fanout->key_parts[k]].key_count++;
    for (uint32_t i = 0; i < fanout->part_count; i++)
        next[i + 1] = next[i] + fanout->parts[i].key_count;
    for (uint32_t k = 0; k < fanout->key_count; k++)
        grouped[next[fanout->key_parts[k]]++] = keys[k];
    for (uint32_t i = 0; i < fanout->part_count; i++) {
        struct part *part = &fanout->parts[i];
        const struct bytes *own = grouped + next[i] - part->key_count;
        submit_part(part, fanout->command, key_slot(own[0]), own, part->key_count);
    }
    memory_free(next);
    memory_free(grouped);
}

/* Numbers the partitions of the keys; returns how many there are. */
static uint32_t number_partitions(const struct redis_service *service, const struct bytes *keys,
                                  uint32_t key_count, uint32_t *key_parts)
{
    uint32_t partitions = service->options.view->partition_count;
    uint32_t *number = memory_allocate_zero(partitions * sizeof(number[0])); /* + 1 */
    uint32_t count = 0;

    for (uint32_t k = 0; k < key_count; k++) {
        uint32_t partition = service_partition(service, key_slot(keys[k]));
        if (number[partition] == 0) number[partition] = ++count;
        key_parts[k] = number[partition] - 1;
    }
    memory_free(number);
    return count;
}

static void start_keys_of(struct connection *connection, const struct redis_command *command,
                          const struct bytes *keys, uint32_t key_count)
{
    uint32_t *key_parts = memory_allocate(key_count * sizeof(key_parts[0]));
    uint32_t parts = number_partitions(connection->service, keys, key_count, key_parts);
    enum fanout_kind kind = command->id == REDIS_MGET ? FAN_VALUES : FAN_SUM;
    struct fanout *fanout = fanout_make(connection, command, kind, parts);

    fanout->key_parts = key_parts;
    fanout->key_count = key_count;
    fanout->submitting = true;
    submit_keys(fanout, keys);
}

static void submit_scan(struct part *part)
{
    struct fanout *fanout = part->fanout;
    struct redis_cursor cursor;
    char text[24];
    int size = snprintf(text, sizeof(text), "%llu", (unsigned long long)part->cursor);

    part->again = false;
    fanout->scan_arguments[0] = bytes_make(text, (size_t)size);
    redis_cursor_parse(fanout->scan_arguments[0], &cursor);
    bool slot = fanout->kind == FAN_SLOT_COUNT || fanout->kind == FAN_SLOT_KEYS;
    submit_part(part, redis_command_by_id(slot ? REDIS_SLOTSCAN : REDIS_SCAN), cursor.slot,
                fanout->scan_arguments, fanout->scan_count);
}

/* On the cluster port SCAN passes over the partitions of others. One that was begun is scanned to
 * its end, whoever leads it by now. False: there is none left, and the empty page is kept. */
static bool scan_seek(struct part *part)
{
    const struct connection *connection = part->fanout->connection;
    const struct redis_service *service = connection->service;
    const struct cluster_view *view = service->options.view;
    struct redis_cursor cursor = {.slot = (uint16_t)(part->cursor >> REDIS_CURSOR_HASH_BITS)};
    uint32_t partition = service_partition(service, cursor.slot);
    bool begun =
        part->cursor !=
        redis_cursor_value((struct redis_cursor){.slot = partition_slot(service, partition)});

    if (!connection->cluster_port || connection_at_snapshot(connection) || begun) return true;
    while (partition < view->partition_count && !cluster_leads(service, partition))
        partition++;
    part->again = false;
    if (partition == view->partition_count) {
        buffer_append(&part->reply, bytes_of("*2\r\n$1\r\n0\r\n*0\r\n"));
        return false;
    }
    cursor.slot = partition_slot(service, partition);
    part->cursor = redis_cursor_value(cursor);
    return true;
}

void fanout_keep_options(struct fanout *fanout, const struct bytes *options, uint32_t count)
{
    size_t size = 0, at = 0;

    for (uint32_t i = 0; i < count; i++)
        size += options[i].size;
    buffer_init(&fanout->scan_text, size + 1);
    uint8_t *room = buffer_reserve(&fanout->scan_text, size + 1);
    fanout->scan_count = count + 1;
    fanout->scan_arguments = memory_allocate(fanout->scan_count * sizeof(options[0]));
    for (uint32_t i = 0; i < count; i++) {
        if (options[i].size) memcpy(room + at, options[i].data, options[i].size);
        fanout->scan_arguments[i + 1] = bytes_make(room + at, options[i].size);
        at += options[i].size;
    }
}

static void start_keys(struct connection *connection, const struct redis_command *command,
                       struct bytes pattern)
{
    const struct redis_service *service = connection->service;
    struct fanout *fanout = fanout_make_over_partitions(connection, command, FAN_KEYS);
    struct bytes options[] = {bytes_of("match"), pattern, bytes_of("count"),
                              bytes_of(KEYS_SCAN_COUNT)};

    fanout_keep_options(fanout, options, ARRAY_COUNT(options));
    fanout->submitting = true;
    for (uint32_t i = 0; i < fanout->part_count; i++) {
        struct part *part = &fanout->parts[i];
        struct redis_cursor start = {.slot = partition_slot(service, part->partition)};
        part->cursor = redis_cursor_value(start);
        submit_scan(part);
    }
}

static void start_scan(struct connection *connection, const struct redis_command *command,
                       const struct bytes *arguments, uint32_t count)
{
    struct redis_cursor cursor;

    if (!redis_cursor_parse(arguments[1], &cursor)) {
        connection_reply_error(connection, "ERR invalid cursor");
        return;
    }
    struct fanout *fanout = fanout_make(connection, command, FAN_SCAN, 1);
    fanout_keep_options(fanout, arguments + 2, count - 2);
    fanout->parts[0].cursor = redis_cursor_value(cursor);
    fanout->submitting = true;
    if (scan_seek(&fanout->parts[0])) submit_scan(&fanout->parts[0]);
}

static void start_everywhere(struct connection *connection, const struct redis_command *command,
                             enum fanout_kind kind, const struct bytes *arguments, uint32_t count)
{
    struct fanout *fanout = fanout_make_over_partitions(connection, command, kind);
    const struct redis_command *asked =
        kind == FAN_RANDOM ? redis_command_by_id(REDIS_DBSIZE) : command;

    fanout->submitting = true;
    submit_everywhere(fanout, asked, arguments, count);
}

void fanout_start(struct connection *connection, const struct redis_command *command,
                  const struct bytes *arguments, uint32_t count)
{
    ASSERT(list_empty(&connection->slots) && connection->fanout == NULL);
    connection->service->statistics.fanouts++;
    switch (command->id) {
    case REDIS_SCAN:
        start_scan(connection, command, arguments, count);
        break;
    case REDIS_KEYS:
        start_keys(connection, command, arguments[1]);
        break;
    case REDIS_RANDOMKEY:
        start_everywhere(connection, command, FAN_RANDOM, NULL, 0);
        break;
    case REDIS_DBSIZE:
        start_everywhere(connection, command, FAN_SUM, NULL, 0);
        break;
    case REDIS_FLUSHDB:
    case REDIS_FLUSHALL:
        start_everywhere(connection, command, FAN_ALL, arguments + 1, count - 1);
        break;
    default:
        start_keys_of(connection, command, arguments + 1, count - 1);
        break;
    }
    struct fanout *fanout = connection->fanout;
    if (fanout == NULL) return;
    fanout->submitting = false;
    if (fanout->open_count == 0) fanout_continue(connection); /* answered already */
}

/* RANDOMKEY, second step: one partition, by its share of the keys. */
static bool pick_partition(struct fanout *fanout)
{
    struct redis_service *service = fanout->connection->service;
    uint64_t sum = 0;

    for (uint32_t i = 0; i < fanout->part_count; i++)
        sum += fanout->parts[i].number;
    if (sum == 0) return false;
    uint64_t drawn = world_random(service->options.world) % sum;
    uint32_t chosen = 0;
    while (drawn >= fanout->parts[chosen].number)
        drawn -= fanout->parts[chosen++].number;

    fanout->picking = true;
    submit_part(&fanout->parts[chosen], fanout->command,
                partition_slot(service, fanout->parts[chosen].partition), NULL, 0);
    return true;
}

static bool wants_more(const struct fanout *fanout)
{
    for (uint32_t i = 0; i < fanout->part_count; i++) {
        if (fanout->parts[i].again) return !fanout->failed;
    }
    return false;
}

/* Sends what a next step needs. True: something is open again. */
static bool go_on(struct fanout *fanout)
{
    if (fanout->failed) return false;
    fanout->submitting = true;
    if (fanout->kind == FAN_RANDOM && !fanout->picking) pick_partition(fanout);
    for (uint32_t i = 0; i < fanout->part_count; i++) {
        struct part *part = &fanout->parts[i];
        bool more = part->again && (fanout->kind != FAN_SCAN || scan_seek(part));
        if (more) submit_scan(part);
    }
    fanout->submitting = false;
    return fanout->open_count > 0;
}

void fanout_continue(struct connection *connection)
{
    struct fanout *fanout = connection->fanout;

    if (fanout->open_count) return;
    if (go_on(fanout)) return;
    if (wants_more(fanout)) /* answered while it was sent; one step a turn is fair */
        connection_wake(connection);
    else
        fanout_finish(fanout);
}

void fanout_begin(struct fanout *fanout)
{
    fanout->connection->service->statistics.fanouts++;
    fanout_continue(fanout->connection);
}

size_t fanout_bytes(const struct connection *connection)
{
    return connection->fanout ? connection->fanout->bytes : 0;
}

void fanout_cancel(struct connection *connection)
{
    struct fanout *fanout = connection->fanout;

    if (fanout == NULL) return;
    for (uint32_t i = 0; i < fanout->part_count; i++) {
        struct part *part = &fanout->parts[i];
        if (part->open) connection_forget(connection, &part->request);
    }
    connection->fanout = NULL;
    fanout_free(fanout);
}
