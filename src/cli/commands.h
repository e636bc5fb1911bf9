/* commands.h - the subcommands of `holon`; each returns the exit code (process.h). */
#ifndef HOLON_CLI_COMMANDS_H
#define HOLON_CLI_COMMANDS_H

#include <jansson.h>

#include "cli/options.h"
#include "cli/process.h"

int command_start(const struct cli_options *options);
int command_dev(const struct cli_options *options);
int command_status(const struct cli_options *options);
int command_node(const struct cli_options *options);
int command_database(const struct cli_options *options);
int command_upgrade(const struct cli_options *options);
int command_rebalance(const struct cli_options *options);
int command_scrub(const struct cli_options *options);
int command_salvage(const struct cli_options *options);
int command_backup(const struct cli_options *options);
int command_restore(const struct cli_options *options);
int command_inspect(const struct cli_options *options);
/* Becomes holon-sim, with the words as they are; returns only if that fails. */
int command_sim(int count, char **words);

/* status.c: `path` from the admin port that was named, or from the usual ones; `method` is http_get
 * or http_post. False: said why, or what the node answered if not 200. */
typedef enum status admin_method(const char *address, const char *path, struct buffer *body,
                                 int *ret_code, struct error *error);
bool ask_admin(const struct cli_options *options, admin_method *method, const char *path,
               struct buffer *body);
/* The same as JSON, the caller's; NULL: said why. */
json_t *ask_admin_json(const struct cli_options *options, admin_method *method, const char *path);
/* Of a member that is not there, or is none: "" and 0. Borrowed. */
const char *json_text(const json_t *object, const char *key);
long long json_number(const json_t *object, const char *key);

#endif
