/* progress.h - moves and rebuilds in words, for `holon status`: the member "moves" of /status. */
#ifndef HOLON_CLI_PROGRESS_H
#define HOLON_CLI_PROGRESS_H

#include <jansson.h>
#include <stdbool.h>

#include "base/buffer.h"

/* Nothing where nothing moves. With bars for a terminal, else plain. */
void progress_append(const json_t *moves, bool bars, struct buffer *out);

#endif
