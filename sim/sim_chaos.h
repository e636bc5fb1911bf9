/* sim_chaos.h - carries out the faults of a plan against a cluster. Thread: one. */
#ifndef HOLON_SIM_SIM_CHAOS_H
#define HOLON_SIM_SIM_CHAOS_H

#include "sim/sim_plan.h"

struct sim_chaos;

struct sim_chaos *sim_chaos_start(struct sim_cluster *cluster, struct sim_clients *clients,
                                  const struct sim_plan *plan);
/* No new faults. Inside `nodes` (bits) everything is made good: links, disks, clocks, pauses;
 * who is down starts. The others are cut off, paused or dead, and stay so. */
void sim_chaos_heal(struct sim_chaos *chaos, uint32_t nodes);
/* When the last turn of a healed node that was being stretched ends: what holds after healing
 * holds from then on. */
uint64_t sim_chaos_stalled_until(const struct sim_chaos *chaos);
void sim_chaos_free(struct sim_chaos *chaos);
bool sim_chaos_clocks_jumped(const struct sim_chaos *chaos);

#endif
