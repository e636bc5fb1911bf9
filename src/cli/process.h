/* process.h - a real process around one node: worlds and their threads, the mesh, RocksDB, and
 * signals. The node itself is the same code as in the simulator. */
#ifndef HOLON_CLI_PROCESS_H
#define HOLON_CLI_PROCESS_H

#include "cli/options.h"

/* Of all subcommands; documented in docs/reference/errors.md. */
enum exit_code {
    EXIT_CODE_OK = 0,
    EXIT_CODE_FAILED = 1, /* the node could not start, or had to end; or the cluster is not well */
    EXIT_CODE_USAGE = 2,  /* options, config file */
    EXIT_CODE_FATAL = 70, /* damage that must not be survived (world_real.h) */
};

/* Runs until a signal or a failure; returns the exit code. */
int process_run(const struct cli_options *options);

#endif
