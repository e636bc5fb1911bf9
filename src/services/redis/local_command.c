/* local_command.c - COMMAND: the table of commands as clients ask for it. */
#include <stdio.h>

#include "services/redis/glob.h"
#include "services/redis/local.h"
#include "services/redis/local_functions.h"

struct named_flag {
    uint16_t flag;
    const char *name;
};

static const struct named_flag flag_names[] = {
    {REDIS_WRITES, "write"}, {REDIS_READS, "readonly"}, {REDIS_GROWS, "denyoom"},
    {REDIS_ADMIN, "admin"},  {REDIS_FAST, "fast"},
};

static void write_flags(struct local_call *call, const struct redis_command *command)
{
    uint64_t count = 0;

    for (size_t i = 0; i < ARRAY_COUNT(flag_names); i++)
        count += (command->flags & flag_names[i].flag) != 0;
    resp_write_set(call->out, count);
    for (size_t i = 0; i < ARRAY_COUNT(flag_names); i++) {
        if (command->flags & flag_names[i].flag) resp_write_simple(call->out, flag_names[i].name);
    }
}

/* Categories of access rights: by effect, by speed, by group. */
static void write_categories(struct local_call *call, const struct redis_command *command)
{
    bool keyspace = command->group[0] == 'g'; /* generic */
    bool touches = command->flags & (REDIS_READS | REDIS_WRITES);

    resp_write_set(call->out, 2 + touches);
    if (touches) resp_write_simple(call->out, command->flags & REDIS_WRITES ? "@write" : "@read");
    char name[32];
    bool transaction = command->group[0] == 't';
    snprintf(name, sizeof(name), "@%s",
             keyspace      ? "keyspace"
             : transaction ? "transaction"
                           : command->group);
    resp_write_simple(call->out, name);
    resp_write_simple(call->out, command->flags & REDIS_FAST ? "@fast" : "@slow");
}

static void write_text_pair(struct resp_writer *out, const char *name, const char *text)
{
    resp_write_bulk_text(out, name);
    resp_write_bulk_text(out, text);
}

static void write_number_pair(struct resp_writer *out, const char *name, int64_t number)
{
    resp_write_bulk_text(out, name);
    resp_write_integer(out, number);
}

/* Where the keys are, and what happens to them, as clients of Redis 7 read it: one specification,
 * since all commands here have their keys in one row. Its last key counts from the first. */
static void write_key_specifications(struct local_call *call, const struct redis_command *command)
{
    struct resp_writer *out = call->out;
    bool deletes = command->id == REDIS_DEL || command->id == REDIS_UNLINK;
    bool writes = command->flags & REDIS_WRITES;

    resp_write_set(out, command->first_key ? 1 : 0);
    if (command->first_key == 0) return;
    resp_write_map(out, 3);
    resp_write_bulk_text(out, "flags");
    resp_write_set(out, 2);
    resp_write_simple(out, deletes ? "RM" : writes ? "RW" : "RO");
    resp_write_simple(out, deletes ? "delete" : writes ? "update" : "access");
    resp_write_bulk_text(out, "begin_search");
    resp_write_map(out, 2);
    write_text_pair(out, "type", "index");
    resp_write_bulk_text(out, "spec");
    resp_write_map(out, 1);
    write_number_pair(out, "index", command->first_key);
    resp_write_bulk_text(out, "find_keys");
    resp_write_map(out, 2);
    write_text_pair(out, "type", "range");
    resp_write_bulk_text(out, "spec");
    resp_write_map(out, 3);
    write_number_pair(out, "lastkey",
                      command->last_key < 0 ? command->last_key
                                            : command->last_key - command->first_key);
    write_number_pair(out, "keystep", command->key_step);
    write_number_pair(out, "limit", 0);
}

static void write_info(struct local_call *call, const struct redis_command *command)
{
    resp_write_array(call->out, 10);
    resp_write_bulk_text(call->out, command->name);
    resp_write_integer(call->out, command->arity);
    write_flags(call, command);
    resp_write_integer(call->out, command->first_key);
    resp_write_integer(call->out, command->last_key);
    resp_write_integer(call->out, command->key_step);
    write_categories(call, command);
    resp_write_array(call->out, 0); /* tips */
    write_key_specifications(call, command);
    resp_write_array(call->out, 0); /* subcommands */
}

/* NULL: there is none with this number, or none that a client may know of. */
static const struct redis_command *command_shown(uint32_t id)
{
    const struct redis_command *command = redis_command_by_id(id);

    return command && !(command->flags & REDIS_HIDDEN) ? command : NULL;
}

static uint64_t count_commands(void)
{
    uint64_t count = 0;

    for (uint32_t id = 0; id < REDIS_COMMAND_ID_END; id++)
        count += command_shown(id) != NULL;
    return count;
}

/* Each command there is, or each that arguments[2...] name: `write` is told NULL for unknown. */
static void each_named(struct local_call *call, bool show_unknown,
                       void (*write)(struct local_call *call, const struct redis_command *command))
{
    for (uint32_t i = 2; i < call->count; i++) {
        const struct redis_command *command =
            redis_command_find(&call->service->index, call->arguments[i], NULL);
        if (command || show_unknown) write(call, command);
    }
    for (uint32_t id = 0; call->count <= 2 && id < REDIS_COMMAND_ID_END; id++) {
        const struct redis_command *command = command_shown(id);
        if (command) write(call, command);
    }
}

static void write_info_or_null(struct local_call *call, const struct redis_command *command)
{
    if (command)
        write_info(call, command);
    else
        resp_write_null(call->out);
}

static void command_info(struct local_call *call)
{
    resp_write_array(call->out, call->count > 2 ? call->count - 2 : count_commands());
    each_named(call, true, write_info_or_null);
}

static void command_count(struct local_call *call)
{
    resp_write_integer(call->out, (int64_t)count_commands());
}

static void write_docs(struct local_call *call, const struct redis_command *command)
{
    const char *const fields[][2] = {{"summary", command->summary},
                                     {"since", command->since},
                                     {"group", command->group},
                                     {"complexity", command->complexity}};

    resp_write_bulk_text(call->out, command->name);
    resp_write_map(call->out, ARRAY_COUNT(fields));
    for (size_t i = 0; i < ARRAY_COUNT(fields); i++) {
        resp_write_bulk_text(call->out, fields[i][0]);
        resp_write_bulk_text(call->out, fields[i][1]);
    }
}

static void command_docs(struct local_call *call)
{
    uint64_t count = count_commands();

    if (call->count > 2) {
        count = 0;
        for (uint32_t i = 2; i < call->count; i++)
            count += redis_command_find(&call->service->index, call->arguments[i], NULL) != NULL;
    }
    resp_write_map(call->out, count);
    each_named(call, false, write_docs);
}

/* LIST [FILTERBY MODULE name | ACLCAT category | PATTERN pattern] */
static bool is_listed(const struct local_call *call, const struct redis_command *command)
{
    if (call->count == 2) return true;
    struct bytes value = call->arguments[4];
    if (redis_word_is(call->arguments[3], "pattern"))
        return glob_matches_lower(value, bytes_of(command->name));
    if (redis_word_is(call->arguments[3], "aclcat")) {
        if (redis_word_is(value, "write")) return command->flags & REDIS_WRITES;
        if (redis_word_is(value, "read")) return command->flags & REDIS_READS;
        if (redis_word_is(value, "fast")) return command->flags & REDIS_FAST;
        if (redis_word_is(value, "slow")) return !(command->flags & REDIS_FAST);
        if (redis_word_is(value, "keyspace")) return command->group[0] == 'g';
        if (redis_word_is(value, "transaction")) return command->group[0] == 't';
        return redis_word_is(value, command->group);
    }
    return false; /* there are no modules */
}

static void command_list(struct local_call *call)
{
    uint64_t count = 0;
    bool filtered = call->count == 5 && redis_word_is(call->arguments[2], "filterby");
    bool known = filtered && (redis_word_is(call->arguments[3], "pattern") ||
                              redis_word_is(call->arguments[3], "aclcat") ||
                              redis_word_is(call->arguments[3], "module"));

    if (call->count != 2 && !known) {
        resp_write_error(call->out, "ERR syntax error");
        return;
    }
    for (int pass = 0; pass < 2; pass++) {
        for (uint32_t id = 0; id < REDIS_COMMAND_ID_END; id++) {
            const struct redis_command *command = command_shown(id);
            if (command == NULL || !is_listed(call, command)) continue;
            if (pass == 0)
                count++;
            else
                resp_write_bulk_text(call->out, command->name);
        }
        if (pass == 0) resp_write_array(call->out, count);
    }
}

static void command_getkeys(struct local_call *call)
{
    const struct redis_command *command =
        redis_command_find(&call->service->index, call->arguments[2], NULL);
    uint32_t count = call->count - 2; /* of the command asked about */

    if (command == NULL) {
        resp_write_error(call->out, "ERR Invalid command specified");
        return;
    }
    if (command->first_key == 0) {
        resp_write_error(call->out, "ERR The command has no key arguments");
        return;
    }
    if (!redis_arity_is_right(command, count)) {
        resp_write_error(call->out, "ERR Invalid number of arguments specified for command");
        return;
    }
    uint32_t keys = redis_key_count(command, count);
    resp_write_array(call->out, keys);
    for (uint32_t i = 0; i < keys; i++)
        resp_write_bulk(
            call->out,
            call->arguments[2 + (uint32_t)command->first_key + i * (uint32_t)command->key_step]);
}

void local_command(struct local_call *call)
{
    static const struct local_subcommand list[] = {
        {"count", 2, command_count, {"COUNT", "Return the total number of commands."}},
        {"docs",
         -2,
         command_docs,
         {"DOCS [<command-name> ...]", "Return documentation details about multiple commands."}},
        {"getkeys",
         -4,
         command_getkeys,
         {"GETKEYS <full-command>", "Return the keys from a full command."}},
        {"info",
         -2,
         command_info,
         {"INFO [<command-name> ...]", "Return details about multiple commands."}},
        {"list",
         -2,
         command_list,
         {"LIST [FILTERBY (MODULE|ACLCAT|PATTERN) <value>]", "Return the names of commands."}},
    };
    if (call->count == 1)
        command_info(call);
    else
        local_run_subcommand(call, list, ARRAY_COUNT(list));
}
