/* What each command asks of each partition. */
#include "base/assert.h"
#include "base/hash.h"
#include "services/redis/call.h"
#include "services/redis/exec.h"

#define ARITY_TEXT_SIZE 96

static struct exec_sub *add_body(struct exec *exec, struct exec_command *command,
                                 const struct redis_command *sub_command, uint32_t partition,
                                 struct bytes body)
{
    struct exec_sub *sub = arena_allocate(&exec->plan, sizeof(*sub));

    if (++exec->sub_count > EXEC_SUBS_MAX)
        exec->wrong = "ERR too much in one transaction: its commands about whole databases, times "
                      "the partitions, are more than 65536; nothing was executed";
    *sub = (struct exec_sub){.command = sub_command, .partition = partition, .body = body};
    if (command->last)
        command->last->next_of_command = sub;
    else
        command->first = sub;
    command->last = sub;
    return sub;
}

struct exec_sub *exec_add(struct exec *exec, struct exec_command *command,
                          const struct redis_command *sub_command, uint16_t slot, uint8_t database,
                          const struct bytes *arguments, uint32_t count)
{
    struct connection *connection = exec->connection;
    struct redis_service *service = connection->service;
    /* Replies that are read here are RESP2, unless they are also written to the client. */
    bool resp3 = connection->resp3 && sub_command == command->command;

    if (!body_make(service, sub_command, resp3, database, arguments, count))
        exec->wrong = "ERR command too big; nothing was executed";
    struct bytes body = arena_copy(&exec->plan, buffer_bytes(&service->body));
    return add_body(exec, command, sub_command, service_partition(service, slot), body);
}

void exec_fix(struct exec_command *command, const char *reply)
{
    command->answer = EXEC_FIXED;
    command->fixed = bytes_of(reply);
}

static struct bytes key_of(const struct exec_command *command, uint32_t k)
{
    const struct redis_command *shape = command->command;
    return command->arguments[(uint32_t)shape->first_key + k * (uint32_t)shape->key_step];
}

static uint32_t partition_of(const struct exec *exec, struct bytes key)
{
    return service_partition(exec->connection->service, key_slot(key));
}

/* The number of each key's partition, in the order in which they come; returns how many. */
static uint32_t number_keys(struct exec *exec, const struct exec_command *command,
                            uint32_t *ret_numbers)
{
    uint32_t count = 0;

    for (uint32_t k = 0; k < command->key_count; k++) {
        uint32_t *number = &exec->numbers[partition_of(exec, key_of(command, k))];
        if (*number == 0) *number = ++count;
        ret_numbers[k] = *number - 1;
    }
    for (uint32_t k = 0; k < command->key_count; k++)
        exec->numbers[partition_of(exec, key_of(command, k))] = 0;
    return count;
}

void exec_split(struct exec *exec, struct exec_command *command,
                const struct redis_command *sub_command, bool values)
{
    uint32_t width = values ? 2 : 1, keys = command->key_count;
    uint32_t *numbers = arena_allocate(&exec->plan, keys * sizeof(numbers[0]));
    uint32_t parts = number_keys(exec, command, numbers);
    uint32_t *next = arena_allocate(&exec->plan, (parts + 1) * sizeof(next[0]));
    struct bytes *grouped = arena_allocate(&exec->plan, keys * width * sizeof(grouped[0]));
    struct exec_sub **subs = arena_allocate(&exec->plan, parts * sizeof(subs[0]));

    memset(next, 0, (parts + 1) * sizeof(next[0]));
    for (uint32_t k = 0; k < keys; k++)
        next[numbers[k] + 1] += width;
    for (uint32_t i = 0; i < parts; i++)
        next[i + 1] += next[i]; /* part i is [next[i], next[i + 1]) */
    for (uint32_t k = 0; k < keys; k++) {
        struct bytes *at = &grouped[next[numbers[k]]];
        at[0] = key_of(command, k);
        if (values) at[1] = (&command->arguments[command->command->first_key])[2 * k + 1];
        next[numbers[k]] += width;
    }
    for (uint32_t i = 0, from = 0; i < parts; from = next[i], i++)
        subs[i] = exec_add(exec, command, sub_command, key_slot(grouped[from]), command->database,
                           grouped + from, next[i] - from);
    command->key_subs = arena_allocate(&exec->plan, keys * sizeof(command->key_subs[0]));
    for (uint32_t k = 0; k < keys; k++)
        command->key_subs[k] = subs[numbers[k]];
}

static bool one_partition(const struct exec *exec, const struct exec_command *command)
{
    for (uint32_t k = 1; k < command->key_count; k++)
        if (partition_of(exec, key_of(command, k)) != partition_of(exec, key_of(command, 0)))
            return false;
    return true;
}

static void plan_everywhere(struct exec *exec, struct exec_command *command)
{
    uint32_t partitions = exec->connection->service->options.view->partition_count;

    for (uint32_t i = 0; i < partitions && exec->wrong == NULL; i++)
        add_body(exec, command, command->command, i, command->body);
    command->answer = command->command->id == REDIS_DBSIZE ? EXEC_SUM : EXEC_OK;
}

/* A single command over several partitions would be half executed if only some refused it. */
static const char *wrong_keys(struct exec *exec, const struct exec_command *command)
{
    bool pairs = command->command->key_step == 2;

    if (pairs && command->count % 2 == 0) {
        struct buffer text;
        buffer_init(&text, ARITY_TEXT_SIZE);
        buffer_append_format(&text, "-ERR wrong number of arguments for '%s' command\r\n",
                             command->command->name);
        buffer_append(&text, bytes_make("", 1));
        const char *kept = (const char *)arena_copy(&exec->plan, buffer_bytes(&text)).data;
        buffer_free(&text);
        return kept;
    }
    for (uint32_t k = 0; k < command->key_count; k++)
        if (key_of(command, k).size > REDIS_KEY_SIZE_MAX)
            return "-ERR key exceeds maximum allowed size (65536 bytes in this version of "
                   "Holon)\r\n";
    return NULL;
}

/* False: it has to be looked at. */
static bool plan_over_partitions(struct exec *exec, struct exec_command *command)
{
    const struct redis_command *shape = command->command;
    bool writes_there = shape->flags & REDIS_GROWS || exec_looks(shape);
    const char *wrong = writes_there ? wrong_keys(exec, command) : NULL;

    if (wrong) {
        exec_fix(command, wrong);
        return true;
    }
    if (exec_looks(shape)) return exec_plan_looking(exec, command);
    switch (shape->id) {
    case REDIS_MGET:
        command->answer = EXEC_VALUES;
        break;
    case REDIS_MSET:
        command->answer = EXEC_OK;
        break;
    case REDIS_DEL:
    case REDIS_UNLINK:
    case REDIS_EXISTS:
    case REDIS_TOUCH:
        command->answer = EXEC_SUM;
        break;
    default:
        exec_fix(command, "-CROSSSLOT Keys in request don't hash to the same slot\r\n");
        return true;
    }
    exec_split(exec, command, shape, shape->key_step == 2);
    return true;
}

static bool plan_command(struct exec *exec, struct exec_command *command)
{
    const struct redis_command *shape = command->command;

    command->first = command->last = NULL;
    command->key_count = redis_key_count(shape, command->count);
    if (shape->id == REDIS_WATCH) {
        command->answer = EXEC_VERSIONS;
        exec_split(exec, command, shape, false);
        return true;
    }
    if (shape->id == REDIS_HOLON_GUARD) { /* it was added when it was queued */
        exec_fix(command, "+OK\r\n");
        return true;
    }
    if (shape->evaluate == NULL) {
        command->answer = EXEC_LOCAL;
        return true;
    }
    if (shape->flags & REDIS_FANOUT) {
        plan_everywhere(exec, command);
        return true;
    }
    if (!one_partition(exec, command)) return plan_over_partitions(exec, command);
    command->answer = EXEC_AS_IS;
    add_body(exec, command, shape, partition_of(exec, key_of(command, 0)), command->body);
    return true;
}

void exec_plan(struct exec *exec)
{
    arena_reset(&exec->plan);
    exec->sub_count = 0;
    exec->looking = NULL;
    for (uint32_t i = 0; i < exec->command_count; i++)
        exec->commands[i].first = exec->commands[i].last = NULL; /* they were of the plan before */
    for (uint32_t i = 0; i < exec->command_count && exec->looking == NULL && exec->wrong == NULL;
         i++)
        if (!plan_command(exec, &exec->commands[i])) exec->looking = &exec->commands[i];
}
