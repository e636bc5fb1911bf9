/* dispatch.c - what becomes of one command: refused, answered here, sent to the partition of
 * its keys, or fanned out. */
#include <stdio.h>

#include "base/hash.h"
#include "base/parse.h"
#include "services/redis/cluster_table.h"
#include "services/redis/exec.h"
#include "services/redis/gather.h"
#include "services/redis/guard.h"
#include "services/redis/local_functions.h"
#include "services/redis/lock_wait.h"
#include "services/redis/multi.h"
#include "services/redis/slot_keys.h"
#include "services/redis/snapshot.h"

enum { SHOWN_ARGUMENTS_BYTES = 128, SHOWN_NAME_BYTES = 128 };

typedef void local_fn(struct local_call *call);

static local_fn *local_function(uint16_t id)
{
    switch (id) {
#define REDIS_COMMAND(...)
#define REDIS_LOCAL(id, number, name, arity, flags, local, ...)                                    \
    case number:                                                                                   \
        return local;
#include "services/redis/commands.def"
#undef REDIS_COMMAND
#undef REDIS_LOCAL
    default:
        return NULL;
    }
}

void local_none(struct local_call *call)
{
    resp_write_error(call->out, "ERR this command is not run like that"); /* fanned out before */
}

/* --- refusals ------------------------------------------------------------------------------- */

static int shown(struct bytes text, size_t size_max)
{
    return (int)(text.size < size_max ? text.size : size_max);
}

static void refuse_unknown(struct connection *connection, const struct bytes *arguments,
                           uint32_t count)
{
    char list[SHOWN_ARGUMENTS_BYTES * 2] = "";
    size_t size = 0;

    for (uint32_t i = 1; i < count && size < SHOWN_ARGUMENTS_BYTES; i++) {
        int part = shown(arguments[i], SHOWN_ARGUMENTS_BYTES - size);
        size += (size_t)snprintf(list + size, sizeof(list) - size, "'%.*s' ", part,
                                 (const char *)arguments[i].data);
    }
    struct local_reply reply;
    local_reply_begin(connection, &reply);
    resp_write_error_format(&reply.out, "ERR unknown command '%.*s', with args beginning with: %s",
                            shown(arguments[0], SHOWN_NAME_BYTES), (const char *)arguments[0].data,
                            list);
    local_reply_end(&reply);
}

static void refuse_unsupported(struct connection *connection, struct bytes name)
{
    struct local_reply reply;

    local_reply_begin(connection, &reply);
    resp_write_error_format(&reply.out,
                            "ERR command '%.*s' is not supported yet by this version of Holon",
                            shown(name, SHOWN_NAME_BYTES), (const char *)name.data);
    local_reply_end(&reply);
}

static void refuse_arity(struct connection *connection, const struct redis_command *command)
{
    struct local_reply reply;

    local_reply_begin(connection, &reply);
    resp_write_error_format(&reply.out, "ERR wrong number of arguments for '%s' command",
                            command->name);
    local_reply_end(&reply);
}

/* Nothing was executed, nor will be what was queued before it in MULTI. */
static void refuse(struct connection *connection, const struct redis_command *command,
                   bool unsupported, const struct bytes *arguments, uint32_t count)
{
    multi_spoil(connection);
    if (command == NULL && unsupported)
        refuse_unsupported(connection, arguments[0]);
    else if (command == NULL)
        refuse_unknown(connection, arguments, count);
    else if (command->id == REDIS_EXEC)
        multi_refuse_exec(connection);
    else
        refuse_arity(connection, command);
}

/* What runs alone begins when all earlier commands are answered. */
static bool may_begin_alone(struct connection *connection)
{
    if (list_empty(&connection->slots)) return true;
    connection->waits_for = WAIT_ALL;
    return false;
}

/* It runs alone: later commands wait until it is answered (rule C9). */
static bool fan_out(struct connection *connection, const struct redis_command *command,
                    const struct bytes *arguments, uint32_t count)
{
    if (!may_begin_alone(connection)) return false;
    fanout_start(connection, command, arguments, count);
    return true;
}

/* What cannot be, over partitions, before the upgrade is finished. */
static void refuse_unready(struct connection *connection, const struct redis_command *command)
{
    char what[REDIS_NAME_SIZE_MAX + 32];
    struct local_reply reply;

    snprintf(what, sizeof(what), "'%s' with keys like these", command->name);
    local_reply_begin(connection, &reply);
    exec_write_unready(connection->service, &reply.out, what);
    local_reply_end(&reply);
}

/* All of it at one instant. */
static bool run_transaction(struct connection *connection, const struct redis_command *command,
                            const struct bytes *arguments, uint32_t count)
{
    if (!exec_is_ready(connection->service)) {
        refuse_unready(connection, command);
        return true;
    }
    if (!may_begin_alone(connection)) return false;
    exec_start_one(connection, command, arguments, count);
    return true;
}

/* --- keyed commands -------------------------------------------------------------------------- */

/* Do all keys live in the partition of the first? */
static bool one_partition(const struct redis_service *service, const struct redis_command *command,
                          const struct bytes *arguments, uint32_t key_count, uint16_t first_slot)
{
    for (uint32_t i = 1; i < key_count; i++) {
        uint32_t at = (uint32_t)command->first_key + i * (uint32_t)command->key_step;
        if (service_partition(service, key_slot(arguments[at])) !=
            service_partition(service, first_slot))
            return false;
    }
    return true;
}

/* Leaders of the version before do not know it. */
static bool is_new(const struct redis_command *command)
{
    return command->id == REDIS_RENAME || command->id == REDIS_RENAMENX ||
           command->id == REDIS_COPY;
}

static bool dispatch_keyed(struct connection *connection, const struct redis_command *command,
                           const struct bytes *arguments, uint32_t count)
{
    struct redis_service *service = connection->service;
    uint32_t key_count = redis_key_count(command, count);
    uint16_t slot = key_slot(arguments[command->first_key]);

    if (key_count > KEYS_PER_COMMAND_MAX) {
        connection_reply_error(connection, "ERR too many keys in one command: at most 16384 in "
                                           "this version of Holon; nothing was executed");
        return true;
    }
    bool at_snapshot = connection_at_snapshot(connection);
    bool may_move = connection->cluster_port && !at_snapshot;
    if (may_move && cluster_moved(connection, command, arguments, count)) return true;
    if (is_new(command) && !exec_is_ready(service)) {
        refuse_unready(connection, command);
        return true;
    }
    if (key_count == 1 || one_partition(service, command, arguments, key_count, slot)) {
        if (staging_wanted(service, command, arguments, count)) {
            if (!may_begin_alone(connection)) return false;
            staging_start(connection, command, slot, arguments, count);
            return true;
        }
        return connection_submit(connection, command, slot, arguments, count);
    }
    bool halves_a_pair = command->key_step == 2 && count % 2 == 0;
    if (halves_a_pair) {
        refuse_arity(connection, command);
        return true;
    }
    /* Replicas that are behind answer key by key, and so does everybody in a cluster that is not
     * upgraded yet. At a snapshot it is all of one instant anyway. */
    bool by_key = (command->flags & REDIS_MERGES) &&
                  (connection->stale_ms > 0 || at_snapshot || !exec_is_ready(service));
    return by_key ? fan_out(connection, command, arguments, count)
                  : run_transaction(connection, command, arguments, count);
}

void dispatch_local(struct local_call *call)
{
    call->service->statistics.local++;
    local_function(call->command->id)(call);
}

static void run_local(struct connection *connection, const struct redis_command *command,
                      const struct bytes *arguments, uint32_t count)
{
    struct local_reply reply;
    struct local_call call = {.connection = connection,
                              .service = connection->service,
                              .command = command,
                              .arguments = arguments,
                              .count = count,
                              .out = &reply.out};

    local_reply_begin(connection, &reply);
    dispatch_local(&call);
    local_reply_end(&reply);
}

/* A browser that was tricked into posting to this port must not get its body executed. */
static bool is_http(struct bytes name)
{
    return redis_word_is(name, "post") || redis_word_is(name, "host:");
}

/* About the whole database, and changes it in all partitions at once. On the cluster port FLUSHDB
 * and FLUSHALL are about those that the node leads. */
static bool is_one_transaction(const struct connection *connection,
                               const struct redis_command *command)
{
    bool flushes = command->id == REDIS_FLUSHDB || command->id == REDIS_FLUSHALL;

    if (command->id == REDIS_SWAPDB) return true;
    return flushes && !connection->cluster_port && exec_is_ready(connection->service);
}

/* Commands of locks. */
static bool dispatch_lock(struct connection *connection, const struct redis_command *command,
                          const struct bytes *arguments, uint32_t count)
{
    char text[256];
    uint16_t slot;

    if (!lock_is_ready(connection->service)) {
        lock_format_unready(connection->service, text, sizeof(text));
        connection_reply_error(connection, text);
        return true;
    }
    if (command->id == REDIS_HOLON_TOKENFLOOR) {
        if (lock_parse_slot(connection, arguments[1], &slot))
            return connection_submit(connection, command, slot, arguments, count);
        return true;
    }
    bool may_move = connection->cluster_port && !connection_at_snapshot(connection);
    if (may_move && cluster_moved(connection, command, arguments, count)) return true;
    if (lock_waits(command, arguments, count)) {
        if (!may_begin_alone(connection)) return false;
        lock_wait_start(connection, command, arguments, count);
        return true;
    }
    return connection_submit(connection, command, key_slot(arguments[1]), arguments, count);
}

/* Something was said by HOLON.GUARD: it is run, alone, as a transaction with these guards. */
static bool dispatch_guarded(struct connection *connection, const struct redis_command *command,
                             const struct bytes *arguments, uint32_t count)
{
    if (!guards_allow(connection, command, arguments, count)) return true;
    if (!may_begin_alone(connection)) return false;
    exec_start_one(connection, command, arguments, count);
    return true;
}

static bool watch(struct connection *connection, const struct redis_command *command,
                  const struct bytes *arguments, uint32_t count)
{
    if (exec_is_ready(connection->service))
        return multi_watch(connection, command, arguments, count);
    refuse_unready(connection, command);
    return true;
}

/* To the partition of a slot that is named; it has no keys. Not within MULTI, where no snapshot can
 * be, either. */
static bool dispatch_export(struct connection *connection, const struct redis_command *command,
                            const struct bytes *arguments, uint32_t count)
{
    int64_t slot;

    multi_spoil(connection);
    if (!connection_at_snapshot(connection)) {
        connection_reply_error(connection, "ERR HOLON.EXPORT reads at a cut: HOLON.SNAPSHOT OPEN "
                                           "or USE goes before it");
        return true;
    }
    if (!parse_i64(arguments[1], &slot) || slot < 0 || slot >= SLOT_COUNT) {
        connection_reply_error(connection, "ERR Invalid slot");
        return true;
    }
    return connection_submit(connection, command, (uint16_t)slot, arguments, count);
}

/* Of some keys, without anything special about it: nearly all are. */
static inline bool is_ordinary(const struct redis_command *command)
{
    return command->evaluate != NULL && command->id != REDIS_WATCH &&
           !(command->flags & (REDIS_FANOUT | REDIS_LOCKS));
}

static bool dispatch_known(struct connection *connection, const struct redis_command *command,
                           const struct bytes *arguments, uint32_t count)
{
    bool of_slot = command->evaluate == NULL && slot_keys_wanted(command, arguments, count);
    bool about_keys = command->evaluate != NULL || (command->flags & REDIS_FANOUT) || of_slot;

    if (command->id == REDIS_HOLON_EXPORT)
        return dispatch_export(connection, command, arguments, count);
    if (multi_takes(connection, command)) {
        multi_queue(connection, command, arguments, count);
        return true;
    }
    if (connection->snapshot != NULL && snapshot_refuses(connection, command)) return true;
    if (about_keys && !service_has_view(connection->service)) {
        connection_reply_error(connection, "UNAVAILABLE the cluster is being formed; the command "
                                           "was not executed, try again");
        return true;
    }
    if (connection->guards && about_keys && command->id != REDIS_WATCH)
        return dispatch_guarded(connection, command, arguments, count);
    if (is_ordinary(command)) return dispatch_keyed(connection, command, arguments, count);
    if (is_one_transaction(connection, command))
        return run_transaction(connection, command, arguments, count);
    if (command->flags & (REDIS_FANOUT | REDIS_LOCKS))
        return command->flags & REDIS_LOCKS ? dispatch_lock(connection, command, arguments, count)
                                            : fan_out(connection, command, arguments, count);
    if (command->id == REDIS_WATCH) return watch(connection, command, arguments, count);
    if (command->id == REDIS_EXEC) return multi_exec(connection);
    if (of_slot) {
        if (!may_begin_alone(connection)) return false;
        slot_keys_start(connection, command, arguments, count);
        return true;
    }
    if (gather_wanted(command, arguments, count)) {
        if (!may_begin_alone(connection)) return false;
        gather_start(connection, command, arguments, count);
        return true;
    }
    if (snapshot_starts(connection, command, arguments, count)) {
        if (!may_begin_alone(connection)) return false;
        snapshot_start(connection, arguments, count);
        return true;
    }
    /* It tells of the last reply, and changes how later commands are answered. */
    bool reads_otherwise = connection->stale_ms > 0 || connection->snapshot != NULL;
    bool in_order = command->id == REDIS_HOLON_READS || command->id == REDIS_HOLON_SNAPSHOT ||
                    (command->id == REDIS_RESET && reads_otherwise);
    if (in_order && !may_begin_alone(connection)) return false;
    run_local(connection, command, arguments, count);
    return true;
}

bool dispatch_command(struct connection *connection, const struct bytes *arguments, uint32_t count)
{
    struct redis_service *service = connection->service;
    bool unsupported = false;
    const struct redis_command *command =
        redis_command_find(&service->index, arguments[0], &unsupported);

    connection->last_command = command; /* now: CLIENT LIST shows itself */
    connection->last_subcommand = NULL;
    if (command == NULL && is_http(arguments[0])) {
        connection_kill(connection, "it speaks HTTP");
        return true;
    }
    bool known = command != NULL && redis_arity_is_right(command, count);
    if (!known) {
        refuse(connection, command, unsupported, arguments, count);
        if (command != NULL && command->id == REDIS_HOLON_GUARD) guards_break(connection);
    }
    if (known && !dispatch_known(connection, command, arguments, count)) return false;

    service->statistics.commands++;
    if (connection->reply_mode == REPLY_SKIP) connection->reply_mode = REPLY_ON;
    if (connection->reply_mode == REPLY_SKIP_NEXT) connection->reply_mode = REPLY_SKIP;
    return true;
}
