/* counter.h - exactly once, on counters: what INCR answered is never answered
 * twice, and the end is what was acknowledged plus a part of what is unknown. */
#ifndef HOLON_SIM_CHECKERS_COUNTER_H
#define HOLON_SIM_CHECKERS_COUNTER_H

#include "sim/sim_history.h"

/* False: `text` says what is wrong. Greatest GET of a key is taken as a lower bound of its
 * end; a GET that began after everything else ended is the end. */
bool check_counters(const struct sim_history *history, char *text, size_t text_size);

#endif
