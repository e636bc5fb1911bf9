/* sim_minimise.h - makes a failing run small: takes out strikes, shortens outages, simplifies the
 * plan, as long as the same kind of violation comes (delta debugging, Zeller 2002). */
#ifndef HOLON_SIM_SIM_MINIMISE_H
#define HOLON_SIM_SIM_MINIMISE_H

#include "sim/sim_run.h"

struct sim_minimise {
    const struct sim_decisions *from; /* NULL: record `seed` first */
    uint64_t seed;
    const char *planted;
    const char *path;               /* of the file that is written */
    uint32_t runs_max;              /* 0: enough for most */
    uint64_t processor_seconds_max; /* per run */
};

/* Prints what it does. 0: the file holds a smaller run that fails; 1: the run does not fail, or
 * not when it is replayed. */
int sim_minimise_run(const struct sim_minimise *options);

#endif
