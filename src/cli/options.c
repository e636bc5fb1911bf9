#include "cli/options.h"

#include "cli/options_join.h"

#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/config.h"
#include "base/memory.h"
#include "base/parse.h"
#include "partition/host.h"

enum option_kind {
    OPTION_TEXT,
    OPTION_NAME,
    OPTION_ADDRESS,
    OPTION_PLACE, /* an address to tell others; its port may be left out */
    OPTION_MEMBERS,
    OPTION_JOIN,
    OPTION_TOKEN,
    OPTION_LABEL,
    OPTION_NUMBER,
    OPTION_DURATION,
    OPTION_SIZE,
    OPTION_FLAG,
    OPTION_LEVEL,
    OPTION_READS,
};

struct option {
    const char *name;
    const char *argument;
    enum option_kind kind;
    size_t offset;
    size_t size;
    uint64_t least, most; /* of the number or duration; of the length of a text */
    unsigned commands;
};

static const struct option options_table[] = {
#define OPTION(name_, argument_, kind_, field, least_, most_, default_, commands_, help_)          \
    {.name = name_,                                                                                \
     .argument = argument_,                                                                        \
     .kind = OPTION_##kind_,                                                                       \
     .offset = offsetof(struct cli_options, field),                                                \
     .size = sizeof(((struct cli_options *)0)->field),                                             \
     .least = least_,                                                                              \
     .most = most_,                                                                                \
     .commands = commands_},
#include "cli/options.def"
#undef OPTION
};

enum { MEMORY_UNKNOWN_BYTES = 1 << 30 };

static uint32_t default_workers(void)
{
    long cores = sysconf(_SC_NPROCESSORS_ONLN);
    if (cores < 1) return 1;
    /* Partitions are bound to stores and stores to workers: more would have nothing to do. */
    return cores > STORES_DEFAULT ? STORES_DEFAULT : (uint32_t)cores;
}

/* Half of the machine: the other half is for the system's page cache and everybody else. */
static uint64_t default_memory(void)
{
    long pages = sysconf(_SC_PHYS_PAGES);
    long size = sysconf(_SC_PAGESIZE);
    if (pages < 1 || size < 1) return MEMORY_UNKNOWN_BYTES;
    return (uint64_t)pages * (uint64_t)size / 2;
}

void cli_options_default(enum cli_command command, struct cli_options *options)
{
    memset(options, 0, sizeof(*options));
    node_options_default(&options->node);
    options->node.workers = default_workers();
    options->node.memory = default_memory();
    options->log_level = LOG_LEVEL_INFO;
    options->dev_nodes = 3;
    options->token_ttl = UINT64_C(3600000000);
    options->base_port = BASE_PORT_DEFAULT;
    options->backup_streams = 4;
    snprintf(options->backup_node, sizeof(options->backup_node), "127.0.0.1:6379");
    snprintf(options->node.data, sizeof(options->node.data), "%s",
             command == COMMAND_DEV ? "data/dev" : "data");
    snprintf(options->node.redis, ADDRESS_SIZE_MAX, "127.0.0.1:6379");
    snprintf(options->node.redis_cluster, ADDRESS_SIZE_MAX, "127.0.0.1:7379");
    snprintf(options->node.peer, ADDRESS_SIZE_MAX, "127.0.0.1:8379");
    snprintf(options->node.admin, ADDRESS_SIZE_MAX, "127.0.0.1:9379");
}

/* --- values --------------------------------------------------------------------------- */

static enum status take_text(const struct option *option, const char *value, char *field,
                             struct error *error)
{
    size_t size = strlen(value);

    if (size < option->least || size > option->most || size >= option->size)
        return error_set(error, STATUS_INVALID, "--%s takes a text of %llu to %llu bytes",
                         option->name, (unsigned long long)option->least,
                         (unsigned long long)option->most);
    if (option->kind == OPTION_NAME && !node_name_is_valid(bytes_of(value)))
        return error_set(error, STATUS_INVALID,
                         "--%s `%.80s`: a name consists of letters, digits, `-`, `_` and `.`",
                         option->name, value);
    memcpy(field, value, size + 1);
    return STATUS_OK;
}

static enum status take_address(const struct option *option, const char *value, char *field,
                                struct error *error)
{
    struct address address;

    if (strlen(value) >= option->size || !parse_address(bytes_of(value), true, &address))
        return error_set(error, STATUS_INVALID,
                         "--%s `%.80s` is no address: give HOST:PORT, such as 127.0.0.1:%s, or "
                         "[::1]:PORT",
                         option->name, value, "6379");
    memcpy(field, value, strlen(value) + 1);
    return STATUS_OK;
}

static enum status take_place(const struct option *option, const char *value, char *field,
                              struct error *error)
{
    char with_port[ADDRESS_SIZE_MAX];
    struct address address;

    bool fits = strlen(value) + sizeof(":65535") <= sizeof(with_port);
    snprintf(with_port, sizeof(with_port), "%s:1", fits ? value : "");
    bool parsed = fits && (parse_address(bytes_of(value), false, &address) ||
                           parse_address(bytes_of(with_port), false, &address));
    bool reachable = parsed && address.port != 0 && strcmp(address.host, "0.0.0.0") != 0 &&
                     strcmp(address.host, "::") != 0;
    if (!reachable)
        return error_set(error, STATUS_INVALID,
                         "--%s `%.80s` is nothing that a client can connect to: give HOST or "
                         "HOST:PORT, such as redis1.example.org:16379, or [2001:db8::1]",
                         option->name, value);
    memcpy(field, value, strlen(value) + 1);
    return STATUS_OK;
}

static enum status take_member(const char *item, size_t size, struct node_options *node,
                               struct error *error)
{
    const char *equals = memchr(item, '=', size);
    struct address address;

    size_t name_size = equals ? (size_t)(equals - item) : 0;
    if (equals == NULL || !node_name_is_valid(bytes_make(item, name_size)))
        return error_set(error, STATUS_INVALID,
                         "--cluster: `%.*s` is not NAME=HOST:PORT; an example: "
                         "n1=127.0.0.1:8379,n2=127.0.0.1:8380",
                         (int)(size > 80 ? 80 : size), item);
    struct bytes peer = bytes_make(equals + 1, size - name_size - 1);
    if (peer.size >= ADDRESS_SIZE_MAX || !parse_address(peer, false, &address))
        return error_set(error, STATUS_INVALID, "--cluster: `%.*s` is no HOST:PORT",
                         (int)(peer.size > 80 ? 80 : peer.size), (const char *)peer.data);
    if (node->member_count == MEMBERS_MAX)
        return error_set(error, STATUS_INVALID, "--cluster has more than %d members", MEMBERS_MAX);
    struct node_member *member = &node->members[node->member_count++];
    *member = (struct node_member){{0}, {0}};
    memcpy(member->name, item, name_size);
    memcpy(member->peer, peer.data, peer.size);
    for (uint32_t i = 0; i + 1 < node->member_count; i++)
        if (strcmp(node->members[i].name, member->name) == 0)
            return error_set(error, STATUS_INVALID, "--cluster names %s twice", member->name);
    return STATUS_OK;
}

static enum status take_members(const char *value, struct cli_options *options, struct error *error)
{
    options->node.member_count = 0;
    if (strlen(value) >= sizeof(options->cluster))
        return error_set(error, STATUS_INVALID, "--cluster is longer than %zu bytes",
                         sizeof(options->cluster) - 1);
    memcpy(options->cluster, value, strlen(value) + 1);
    while (*value != '\0') {
        size_t size = strcspn(value, ",");
        enum status status = take_member(value, size, &options->node, error);
        if (status) return status;
        value += size;
        if (*value == ',') value++;
    }
    return STATUS_OK;
}

static enum status take_number(const struct option *option, const char *value, void *field,
                               struct error *error)
{
    uint64_t number;

    bool parsed = option->kind == OPTION_DURATION ? parse_duration(bytes_of(value), &number)
                  : option->kind == OPTION_SIZE   ? parse_size(bytes_of(value), &number)
                                                  : parse_u64(bytes_of(value), &number);
    if (!parsed || number < option->least || number > option->most) {
        if (option->kind == OPTION_DURATION)
            return error_set(error, STATUS_INVALID,
                             "--%s `%.80s`: give a time from %llums to %llus, such as 500ms or 10s",
                             option->name, value, (unsigned long long)option->least / 1000,
                             (unsigned long long)option->most / 1000000);
        if (option->kind == OPTION_SIZE)
            return error_set(error, STATUS_INVALID,
                             "--%s `%.80s`: give a size of at least %llu MiB, such as 512MiB or "
                             "4GiB",
                             option->name, value, (unsigned long long)option->least >> 20);
        return error_set(error, STATUS_INVALID, "--%s `%.80s`: give a number from %llu to %llu",
                         option->name, value, (unsigned long long)option->least,
                         (unsigned long long)option->most);
    }
    if (option->size == sizeof(uint32_t))
        *(uint32_t *)field = (uint32_t)number;
    else
        *(uint64_t *)field = number;
    return STATUS_OK;
}

static enum status take_flag(const struct option *option, const char *value, bool *field,
                             struct error *error)
{
    bool yes = strcmp(value, "yes") == 0;

    if (!yes && strcmp(value, "no") != 0)
        return error_set(error, STATUS_INVALID, "--%s `%.80s`: allowed are yes and no",
                         option->name, value);
    *field = yes;
    return STATUS_OK;
}

static enum status take_level(const char *value, enum log_level *field, struct error *error)
{
    static const char *const names[] = {"debug", "info", "warn", "error"};

    for (size_t i = 0; i < ARRAY_COUNT(names); i++) {
        if (strcmp(value, names[i]) != 0) continue;
        *field = (enum log_level)i;
        return STATUS_OK;
    }
    return error_set(error, STATUS_INVALID,
                     "--log-level `%.80s`: allowed are debug, info, warn and error", value);
}

static enum status take_reads(const char *value, struct node_options *node, struct error *error)
{
    bool quorum = strcmp(value, "quorum") == 0;

    if (!quorum && strcmp(value, "lease") != 0)
        return error_set(error, STATUS_INVALID, "--reads `%.80s`: allowed are lease and quorum",
                         value);
    node->reads = quorum ? READS_QUORUM : READS_LEASE;
    node->reads_given = true;
    return STATUS_OK;
}

static enum status take_value(const struct option *option, const char *value,
                              struct cli_options *options, struct error *error)
{
    void *field = (char *)options + option->offset;

    switch (option->kind) {
    case OPTION_TEXT:
    case OPTION_NAME:
        return take_text(option, value, field, error);
    case OPTION_ADDRESS:
        return take_address(option, value, field, error);
    case OPTION_PLACE:
        return take_place(option, value, field, error);
    case OPTION_MEMBERS:
        return take_members(value, options, error);
    case OPTION_JOIN:
        return options_take_join(value, &options->node, error);
    case OPTION_TOKEN: /* a word of the command line, or a line of a file that was read */
        return options_take_token((char *)(uintptr_t)value, &options->node, error);
    case OPTION_LABEL:
        return options_take_label(strcmp(option->name, "label") == 0 ? NULL : option->name, value,
                                  &options->node, error);
    case OPTION_NUMBER:
    case OPTION_DURATION:
    case OPTION_SIZE:
        if (field == &options->node.workers) options->workers_given = true;
        if (field == &options->node.memory) options->memory_given = true;
        return take_number(option, value, field, error);
    case OPTION_FLAG:
        return take_flag(option, value, field, error);
    case OPTION_LEVEL:
        return take_level(value, field, error);
    case OPTION_READS:
        return take_reads(value, &options->node, error);
    }
    return STATUS_INVALID;
}

/* --- the config file ------------------------------------------------------------------ */

static const struct option *find_option(enum cli_command command, const char *name, size_t size)
{
    for (size_t i = 0; i < ARRAY_COUNT(options_table); i++) {
        const struct option *option = &options_table[i];
        bool same = strlen(option->name) == size && memcmp(option->name, name, size) == 0;
        if (same && (option->commands & command)) return option;
    }
    return NULL;
}

static void list_names(enum cli_command command, char *text, size_t size)
{
    size_t used = 0;

    text[0] = '\0';
    for (size_t i = 0; i < ARRAY_COUNT(options_table); i++) {
        if (!(options_table[i].commands & command)) continue;
        int more =
            snprintf(text + used, size - used, "%s%s", used ? ", " : "", options_table[i].name);
        if (more < 0 || used + (size_t)more >= size) return;
        used += (size_t)more;
    }
}

static enum status take_config_line(void *context, const char *name, const char *value,
                                    unsigned line, struct error *error)
{
    const struct option *option = find_option(COMMAND_START, name, strlen(name));
    char names[320];

    if (option == NULL || strcmp(name, "config") == 0) {
        list_names(COMMAND_START, names, sizeof(names));
        return error_set(error, STATUS_INVALID, "unknown setting `%.64s`; there are: %s", name,
                         names);
    }
    return take_value(option, value, context, error);
}

enum status cli_options_parse_config(struct bytes text, const char *where,
                                     struct cli_options *options, struct error *error)
{
    struct error cause;

    enum status status = config_parse(text, take_config_line, options, &cause);
    if (status) return error_set(error, status, "%.100s: %.400s", where, cause.text);
    return STATUS_OK;
}

static enum status read_config(struct cli_options *options, const char *path, struct error *error)
{
    char *text = memory_allocate(CONFIG_SIZE_MAX + 1);
    FILE *file = fopen(path, "r");
    enum status status;

    if (file == NULL) {
        memory_free(text);
        return error_set(error, STATUS_NOT_FOUND, "cannot read the config file %.300s: %m", path);
    }
    size_t size = fread(text, 1, CONFIG_SIZE_MAX + 1, file);
    fclose(file);
    status = cli_options_parse_config(bytes_make(text, size), path, options, error);
    memory_free(text);
    return status;
}

/* --- the command line ----------------------------------------------------------------- */

static enum status unknown_option(enum cli_command command, const char *word, struct error *error)
{
    char names[320];

    list_names(command, names, sizeof(names));
    return error_set(error, STATUS_INVALID, "unknown option `%.64s`; there are: %s", word, names);
}

static bool takes_words(enum cli_command command)
{
    return command == COMMAND_INSPECT || command == COMMAND_NODE || command == COMMAND_UPGRADE ||
           command == COMMAND_DATABASE || command == COMMAND_BACKUP || command == COMMAND_RESTORE;
}

/* Next option of the line, or a word; *ret_used is what it took. */
static enum status take_word(enum cli_command command, int count, char **words, bool config_only,
                             struct cli_options *options, int *ret_used, struct error *error)
{
    const char *word = words[0];

    *ret_used = 1;
    if (strncmp(word, "--", 2) != 0) {
        if (config_only) return STATUS_OK;
        if (options->word_count == ARRAY_COUNT(options->words) || !takes_words(command))
            return error_set(error, STATUS_INVALID, "`%.80s` is not expected here", word);
        options->words[options->word_count++] = word;
        return STATUS_OK;
    }
    size_t size = strcspn(word + 2, "=");
    const struct option *option = find_option(command, word + 2, size);
    if (option == NULL) return unknown_option(command, word, error);
    const char *value = word[2 + size] == '=' ? word + 3 + size : NULL;
    if (value == NULL && option->kind == OPTION_FLAG) value = "yes";
    if (value == NULL) {
        if (count < 2)
            return error_set(error, STATUS_INVALID, "--%s needs a value: --%s %s", option->name,
                             option->name, option->argument);
        value = words[1];
        *ret_used = 2;
    }
    bool is_config = strcmp(option->name, "config") == 0;
    if (config_only != is_config) return STATUS_OK;
    if (!is_config) return take_value(option, value, options, error);
    enum status status = take_value(option, value, options, error);
    return status ? status : read_config(options, options->config, error);
}

static enum status take_words(enum cli_command command, int count, char **words, bool config_only,
                              struct cli_options *options, struct error *error)
{
    while (count > 0) {
        int used;
        enum status status = take_word(command, count, words, config_only, options, &used, error);
        if (status) return status;
        count -= used;
        words += used;
    }
    return STATUS_OK;
}

enum status cli_options_parse(enum cli_command command, int count, char **words,
                              struct cli_options *options, struct error *error)
{
    enum status status = take_words(command, count, words, true, options, error);
    if (status) return status;
    return take_words(command, count, words, false, options, error);
}

/* --- all together --------------------------------------------------------------------- */

static enum status check_loopback(const char *option, const char *text, bool insecure,
                                  struct error *error)
{
    struct address address;

    bool parsed = parse_address(bytes_of(text), true, &address);
    ASSERT(parsed);
    if (insecure || address_is_loopback(&address)) return STATUS_OK;
    return error_set(error, STATUS_REFUSED,
                     "--%s %.100s can be reached from other machines, and this version has "
                     "neither encryption nor passwords: use a loopback address, or say --insecure "
                     "if the network is trusted",
                     option, text);
}

enum status cli_options_check(const struct cli_options *options, struct error *error)
{
    const struct node_options *node = &options->node;
    bool listed = node->member_count == 0;
    enum status status;

    if ((status = check_loopback("redis", node->redis, options->insecure, error)) ||
        (status = check_loopback("redis-cluster", node->redis_cluster, options->insecure, error)) ||
        (status = check_loopback("peer", node->peer, options->insecure, error)) ||
        (status = check_loopback("admin", node->admin, options->insecure, error)))
        return status;
    for (uint32_t i = 0; i < node->join_count; i++) {
        status = check_loopback("join", node->join[i], options->insecure, error);
        if (status) return status;
    }
    if (node->join_count > 0 && node->member_count > 0)
        return error_set(
            error, STATUS_INVALID,
            "--cluster founds a cluster together with others, --join adds this node to "
            "one that runs: give one of them");
    if (node->has_token && node->join_count == 0)
        return error_set(error, STATUS_INVALID, "--token is for --join HOST:PORT");
    for (uint32_t i = 0; i < node->member_count; i++) {
        status = check_loopback("cluster", node->members[i].peer, options->insecure, error);
        if (status) return status;
        listed |= strcmp(node->members[i].name, node->name) == 0;
    }
    if (!listed)
        return error_set(error, STATUS_INVALID,
                         "--name %s is not in --cluster %.300s: add it there, or give the right "
                         "name",
                         node->name, options->cluster);
    return STATUS_OK;
}
