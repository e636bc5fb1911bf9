/* sweeps.h - how the scripts of the crash sweep (sim_sweep.h) begin and end. */
#ifndef HOLON_SIM_SCENARIOS_SWEEPS_H
#define HOLON_SIM_SCENARIOS_SWEEPS_H

#include "sim/scenarios/stage.h"
#include "sim/sim_plan.h"

/* One partition, few clients that think much: a run has some thousand effects and not more. */
void sweep_plan(struct sim_plan *ret_plan);
/* Who dies starts again from now on. False: the run is over. */
bool sweep_open(struct sim_bed *bed, struct sim_plan *plan);
/* What was begun ends, and the cluster is as it was: all voters, a leader, nothing under way. Then
 * the verdict. */
void sweep_close(struct sim_bed *bed);

#endif
