/* options.h - the command line and the config file of `holon`. One table of options feeds the
 * parser, the config file, `holon help` and docs/reference/configuration.md. */
#ifndef HOLON_CLI_OPTIONS_H
#define HOLON_CLI_OPTIONS_H

#include "base/logging.h"
#include "node/node.h"

enum cli_command { /* bits: which commands take an option */
                   COMMAND_START = 1,
                   COMMAND_DEV = 2,
                   COMMAND_STATUS = 4,
                   COMMAND_INSPECT = 8,
                   COMMAND_SALVAGE = 16,
                   COMMAND_NODE = 32,
                   COMMAND_REBALANCE = 64,
                   COMMAND_SCRUB = 128,
                   COMMAND_UPGRADE = 256,
                   COMMAND_DATABASE = 512,
                   COMMAND_BACKUP = 1024,
                   COMMAND_RESTORE = 2048,
};

enum { DEV_NODES_MAX = 16, BASE_PORT_DEFAULT = 7000 };

struct cli_options {
    struct node_options node;
    char cluster[MEMBERS_MAX * 200]; /* text of --cluster */
    char config[1024];
    bool insecure;
    enum log_level log_level;
    bool workers_given;
    bool memory_given;
    /* dev: */
    uint32_t dev_nodes, dev_node; /* dev_node 0: all */
    uint32_t base_port;
    /* status: */
    char status_admin[ADDRESS_SIZE_MAX];
    bool json;
    bool watch;
    bool scrub_now;
    /* node: */
    uint64_t token_ttl; /* us */
    /* salvage: */
    bool dry_run, salvage_accept_loss;
    /* backup, restore: */
    char backup_node[ADDRESS_SIZE_MAX];
    char backup_base[1024];
    char passphrase_file[1024];
    uint32_t backup_streams;
    bool backup_encrypt, backup_overwrite;
    /* Words that are no options, such as `log DIR`. */
    const char *words[4];
    uint32_t word_count;
};

void cli_options_default(enum cli_command command, struct cli_options *options);

/* Takes the words after the command. A config file is read first, so that the command line
 * wins. STATUS_INVALID: *error says which option, what is wrong and what is allowed. */
enum status cli_options_parse(enum cli_command command, int count, char **words,
                              struct cli_options *options, struct error *error);
/* What the options of `start` must fulfil together: names, addresses, --insecure. */
enum status cli_options_check(const struct cli_options *options, struct error *error);

/* The text of a config file. `where` is its name, for errors. */
enum status cli_options_parse_config(struct bytes text, const char *where,
                                     struct cli_options *options, struct error *error);

/* Lines for `holon help COMMAND`. */
void cli_options_print_help(enum cli_command command);
/* The table of docs/reference/configuration.md. */
void cli_options_print_markdown(void);

#endif
