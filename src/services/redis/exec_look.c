/* Commands that write in one partition what they read in another: first their reads, then, with
 * what these said, the reads that must say the same again and the writes. */
#include "base/hash.h"
#include "services/redis/exec.h"
#include "services/redis/relocate.h"
#include "services/redis/value_move.h"

bool exec_looks(const struct redis_command *command)
{
    return command->id == REDIS_RENAME || command->id == REDIS_RENAMENX ||
           command->id == REDIS_COPY || command->id == REDIS_MSETNX;
}

static struct exec_sub *add(struct exec *exec, struct exec_command *command, uint32_t id,
                            uint8_t database, const struct bytes *arguments, uint32_t count)
{
    return exec_add(exec, command, redis_command_by_id(id), key_slot(arguments[0]), database,
                    arguments, count);
}

static void expect(const struct exec *exec, struct exec_sub *sub, struct bytes reply)
{
    sub->expects = true;
    sub->digest = redis_batch_digest(exec->seed, sub->command->id, reply);
}

static bool is_zero(struct bytes reply)
{
    int64_t value;
    return resp_read_integer(&reply, &value) && value == 0;
}

/* --- RENAME, RENAMENX, COPY ------------------------------------------------------------------ */

struct relocating {
    struct bytes from, to;
    uint8_t from_database, to_database;
    bool if_absent; /* the destination */
    bool keeps;     /* the source */
    const char *no_source, *refused, *done;
};

static void plan_reads(struct exec *exec, struct exec_command *command,
                       const struct relocating *relocating)
{
    add(exec, command, REDIS_READVALUE, relocating->from_database, &relocating->from, 1);
    if (relocating->if_absent)
        add(exec, command, REDIS_EXISTS, relocating->to_database, &relocating->to, 1);
}

static void plan_writes(struct exec *exec, struct exec_command *command,
                        const struct relocating *relocating, const struct redis_moved_value *value)
{
    uint8_t expiry[sizeof(uint64_t)];
    struct bytes arguments[] = {relocating->to, value->payload, bytes_make(expiry, sizeof(expiry))};

    store_u64(expiry, (uint64_t)value->expiry_ms);
    if (!relocating->keeps)
        add(exec, command, REDIS_DEL, relocating->from_database, &relocating->from, 1);
    expect(exec, add(exec, command, REDIS_WRITEVALUE, relocating->to_database, arguments, 3),
           bytes_of("+OK\r\n"));
    exec_fix(command, relocating->done);
}

static bool plan_relocating(struct exec *exec, struct exec_command *command,
                            const struct relocating *relocating)
{
    struct redis_moved_value value;

    if (command->looked == NULL) {
        plan_reads(exec, command, relocating);
        return false;
    }
    struct bytes source = command->looked[0];
    bool found = redis_moved_value_read(source, &value);
    bool refused = found && relocating->if_absent && !is_zero(command->looked[1]);
    expect(exec,
           add(exec, command, REDIS_READVALUE, relocating->from_database, &relocating->from, 1),
           source);
    if (!found) {
        exec_fix(command, relocating->no_source);
        if (resp_is_error(source)) command->fixed = source;
        return true;
    }
    if (relocating->if_absent)
        expect(exec, add(exec, command, REDIS_EXISTS, relocating->to_database, &relocating->to, 1),
               command->looked[1]);
    if (refused)
        exec_fix(command, relocating->refused);
    else
        plan_writes(exec, command, relocating, &value);
    return true;
}

static bool plan_rename(struct exec *exec, struct exec_command *command)
{
    bool if_absent = command->command->id == REDIS_RENAMENX;
    struct relocating relocating = {.from = command->arguments[1],
                                    .to = command->arguments[2],
                                    .from_database = command->database,
                                    .to_database = command->database,
                                    .if_absent = if_absent,
                                    .no_source = "-" REDIS_NO_SUCH_KEY "\r\n",
                                    .refused = ":0\r\n",
                                    .done = if_absent ? ":1\r\n" : "+OK\r\n"};

    return plan_relocating(exec, command, &relocating);
}

static void fix_error(struct exec *exec, struct exec_command *command, const char *text)
{
    struct buffer reply;

    buffer_init(&reply, 256);
    buffer_append_format(&reply, "-%s\r\n", text);
    command->answer = EXEC_FIXED;
    command->fixed = arena_copy(&exec->plan, buffer_bytes(&reply));
    buffer_free(&reply);
}

static bool plan_copy(struct exec *exec, struct exec_command *command)
{
    struct redis_copy_options options;
    const char *wrong =
        redis_copy_parse(command->arguments, command->count, command->database, &options);

    if (wrong) {
        fix_error(exec, command, wrong);
        return true;
    }
    struct relocating relocating = {.from = command->arguments[1],
                                    .to = command->arguments[2],
                                    .from_database = command->database,
                                    .to_database = options.database,
                                    .if_absent = !options.replace,
                                    .keeps = true,
                                    .no_source = ":0\r\n",
                                    .refused = ":0\r\n",
                                    .done = ":1\r\n"};
    return plan_relocating(exec, command, &relocating);
}

/* --- MSETNX ---------------------------------------------------------------------------------- */

static bool plan_msetnx(struct exec *exec, struct exec_command *command)
{
    const struct redis_command *exists = redis_command_by_id(REDIS_EXISTS);
    bool none = true;
    uint32_t i = 0;

    exec_split(exec, command, exists, false);
    if (command->looked == NULL) return false;
    for (struct exec_sub *sub = command->first; sub; sub = sub->next_of_command, i++) {
        expect(exec, sub, command->looked[i]);
        none = none && is_zero(command->looked[i]);
    }
    if (!none) {
        exec_fix(command, ":0\r\n");
        return true;
    }
    struct exec_sub *last = command->last;
    exec_split(exec, command, redis_command_by_id(REDIS_MSET), true);
    for (struct exec_sub *sub = last->next_of_command; sub; sub = sub->next_of_command)
        expect(exec, sub, bytes_of("+OK\r\n"));
    exec_fix(command, ":1\r\n");
    return true;
}

bool exec_plan_looking(struct exec *exec, struct exec_command *command)
{
    switch (command->command->id) {
    case REDIS_COPY:
        return plan_copy(exec, command);
    case REDIS_MSETNX:
        return plan_msetnx(exec, command);
    default:
        return plan_rename(exec, command);
    }
}
