/* sim_chaos.h - carries out the faults of a plan against a cluster. Thread: one. */
#ifndef HOLON_SIM_SIM_CHAOS_H
#define HOLON_SIM_SIM_CHAOS_H

#include "sim/sim_decisions.h"

struct sim_chaos;

/* What strikes is drawn from the plan, or, with `replay`, taken from there as it is. `record`
 * (may be NULL) gets each strike before it happens. */
struct sim_chaos *sim_chaos_start(struct sim_cluster *cluster, struct sim_clients *clients,
                                  const struct sim_plan *plan, const struct sim_decisions *replay,
                                  struct sim_decisions *record);
/* No new faults. Inside `nodes` (bits) everything is made good: links, disks, clocks, pauses;
 * who is down starts. The others are cut off, paused or dead, and stay so. */
void sim_chaos_heal(struct sim_chaos *chaos, uint32_t nodes);
/* When the last turn of a healed node that was being stretched ends: what holds after healing
 * holds from then on. */
uint64_t sim_chaos_stalled_until(const struct sim_chaos *chaos);
void sim_chaos_free(struct sim_chaos *chaos);
bool sim_chaos_clocks_jumped(const struct sim_chaos *chaos);
/* While it rests nothing new strikes; what did strike ends as it would. */
void sim_chaos_rest(struct sim_chaos *chaos, bool rests);
/* From now on only kinds that never found a victim strike: as the others' outages end, somebody
 * is there to be struck. */
void sim_chaos_only_unhit(struct sim_chaos *chaos);
/* A kind of fault that was to strike several times and never found a victim, or NULL. */
const char *sim_chaos_unhit(const struct sim_chaos *chaos);

#endif
