/* stale.h - what a stale read gave was the newest value at some time not longer before it began
 * than its bound, or what HOLON.READS LAST said of it; and never older than what its own connection
 * had written before. Thread: one. */
#ifndef HOLON_SIM_CHECKERS_STALE_H
#define HOLON_SIM_CHECKERS_STALE_H

#include <stdbool.h>
#include <stddef.h>

#include "sim/sim_history.h"

/* Of registers. `drift_permille`: by how much the clock of a node may have been too slow. */
bool check_stale(const struct sim_history *history, uint32_t drift_permille, char *text,
                 size_t text_size);

#endif
