/* expiry.h - K-4: a value with a time to live is never gone early, never seen again after it
 * was seen gone, and gone in the end. One client writes a key, values rising. */
#ifndef HOLON_SIM_CHECKERS_EXPIRY_H
#define HOLON_SIM_CHECKERS_EXPIRY_H

#include "sim/sim_history.h"

struct check_expiry_options {
    /* With jumping wall clocks only the order of what was seen is judged, not when. */
    bool judge_times;
    uint64_t slack; /* us, beside 20 % for clock rates */
};
bool check_expiry(const struct sim_history *history, const struct check_expiry_options *options,
                  char *text, size_t text_size);

#endif
