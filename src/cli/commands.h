/* commands.h - the subcommands of `holon`; each returns the exit code (process.h). */
#ifndef HOLON_CLI_COMMANDS_H
#define HOLON_CLI_COMMANDS_H

#include "cli/options.h"
#include "cli/process.h"

int command_start(const struct cli_options *options);
int command_dev(const struct cli_options *options);
int command_status(const struct cli_options *options);
int command_salvage(const struct cli_options *options);
int command_inspect(const struct cli_options *options);
/* Becomes holon-sim, with the words as they are; returns only if that fails. */
int command_sim(int count, char **words);

#endif
