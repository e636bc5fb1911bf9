/* transactions.h - what scenarios with clients of transactions share. */
#ifndef HOLON_SIM_SCENARIOS_TRANSACTIONS_H
#define HOLON_SIM_SCENARIOS_TRANSACTIONS_H

#include "sim/scenarios/stage.h"
#include "sim/sim_plan.h"
#include "sim/sim_txns.h"

struct sim_txns *transactions_start(struct sim_bed *bed, const struct sim_txns_options *options);
/* As many as most scenarios have. */
struct sim_txns *transactions_open(struct sim_bed *bed, const struct sim_plan *plan,
                                   bool snapshots);
/* V-5: within that time, all rows of transactions are settled. */
void transactions_settle(struct sim_bed *bed, uint64_t duration);
/* What was said is true, nothing is left behind, and nobody waits. */
void transactions_judge(struct sim_bed *bed, struct sim_txns *txns);
/* No row of a transaction is left in any partition; for sim_cluster_wait(). */
bool transactions_are_settled(struct sim_cluster *cluster, void *unused);

#endif
