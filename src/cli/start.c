/* holon start - one node. */
#include <stdio.h>

#include "cli/commands.h"
#include "cli/options_join.h"

int command_start(const struct cli_options *options)
{
    struct cli_options with_token = *options;
    struct error error;

    bool joins = options->node.join_count > 0;
    if ((joins && options_token_of_environment(&with_token.node, &error)) ||
        cli_options_check(&with_token, &error)) {
        fprintf(stderr, "holon: error: %s\n", error.text);
        return EXIT_CODE_USAGE;
    }
    return process_run(&with_token);
}
