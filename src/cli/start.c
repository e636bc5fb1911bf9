/* holon start - one node. */
#include <stdio.h>

#include "cli/commands.h"

int command_start(const struct cli_options *options)
{
    struct error error;

    if (cli_options_check(options, &error)) {
        fprintf(stderr, "holon: error: %s\n", error.text);
        return EXIT_CODE_USAGE;
    }
    return process_run(options);
}
