/* inspect_engine.h - `holon inspect engine`. */
#ifndef HOLON_CLI_INSPECT_ENGINE_H
#define HOLON_CLI_INSPECT_ENGINE_H

#include "world/world.h"

/* Prints what each store holds; returns the exit code. Refuses while a node runs there. */
int inspect_engine(struct world *world, const char *directory);

#endif
