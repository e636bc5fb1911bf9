/* sim_isolated.h - one run in a process of its own, so that one that crashes is a failure like
 * any other and the next one finds nothing of it. */
#ifndef HOLON_SIM_SIM_ISOLATED_H
#define HOLON_SIM_SIM_ISOLATED_H

#include "sim/sim_run.h"

void sim_isolated_run(const struct sim_run_options *options, struct sim_result *ret_result);
/* Runs a seed again and keeps what it decides in a file, also if it crashes. */
bool sim_isolated_record(const struct sim_run_options *options, const char *path);

/* Whole or not at all; for pipes between processes of a campaign. */
bool sim_write_all(int to, const void *bytes, size_t size);
bool sim_read_all(int from, void *bytes, size_t size);

#endif
