/* stage.h - what most scenarios begin and end with, and the moves they share. */
#ifndef HOLON_SIM_SCENARIOS_STAGE_H
#define HOLON_SIM_SCENARIOS_STAGE_H

#include "sim/scenarios/scenarios.h"
#include "sim/sim_chaos.h"
#include "sim/sim_inspect.h"

enum { STAGE_MS = 1000, STAGE_S = 1000 * 1000 };

/* Three nodes, one partition, leases, clients that hardly think; change before stage_open(). */
void stage_plan(struct sim_plan *ret_plan);
/* Founds the cluster. False: the run is over. */
bool stage_found(struct sim_bed *bed, const struct sim_plan *plan);
/* Same, and starts the clients. */
bool stage_open(struct sim_bed *bed, const struct sim_plan *plan);
/* A number in [low, high], from the seed. */
uint64_t stage_draw(struct sim_bed *bed, uint64_t low, uint64_t high);
/* The leader of data group 0, waiting for one; 0: the run is over. */
node_id_t stage_leader(struct sim_bed *bed);
/* Another node than those two (0 counts as none), drawn. */
node_id_t stage_other(struct sim_bed *bed, node_id_t not_this, node_id_t nor_this);
struct sim_node *stage_node(struct sim_bed *bed, node_id_t id);
/* Cuts (loses) what a node sends to the others, or what it receives. */
void stage_cut_from(struct sim_bed *bed, node_id_t from);
void stage_cut_to(struct sim_bed *bed, node_id_t to);
/* From now on the nodes in `nodes` (bits) hear each other, and nobody else anybody; what is on its
 * way over a link that is cut is lost. */
void stage_only(struct sim_bed *bed, uint32_t nodes);
/* Runs in steps shorter than any frame's way until one of `nodes` has this role in data group 0;
 * 0: it took longer than `duration`. */
node_id_t stage_catch(struct sim_bed *bed, uint32_t nodes, enum raft_role role, uint64_t duration);
/* The replica of data group 0 on a node that is up. */
const struct raft *stage_raft(struct sim_bed *bed, node_id_t node);
/* The node is told to hand over what it leads. */
void stage_transfer(struct sim_bed *bed, node_id_t leader);
/* All links heal, who is down starts, who is paused goes on; waits until all are ready. */
bool stage_repair(struct sim_bed *bed);
/* Until no node lacks anything (60 s); else V-6, with `what` is still not so. */
bool stage_wait_whole(struct sim_bed *bed, const char *what);
/* Bits of all nodes. */
uint32_t stage_all(const struct sim_bed *bed);
/* The verdict, with all nodes. */
void stage_judge(struct sim_bed *bed);

/* Rows of a service's namespace, in all replicas of data groups. */
uint64_t stage_rows(struct sim_cluster *cluster, uint8_t service, uint32_t namespace);
/* Parts of cuts that are open, on all nodes. */
uint64_t stage_cuts(struct sim_cluster *cluster);

/* A drawn plan for clients that a scenario brings itself: of the usual ones there are few, and
 * values are small. */
void stage_plan_chaos(struct sim_bed *bed, struct sim_plan *plan);
/* What the plan has strikes from now on. Freed by the caller, when the run is over. */
struct sim_chaos *stage_strike(struct sim_bed *bed, const struct sim_plan *plan);
/* No faults any more, and whoever is down starts; stage_repair() is to come. */
void stage_calm(struct sim_bed *bed, struct sim_chaos *chaos);
/* No new faults; all nodes are healed, and ready again. Returns when they were healed: what must
 * hold so long after healing counts from there. */
uint64_t stage_heal(struct sim_bed *bed, struct sim_chaos *chaos);
/* Both, with the plan's time between. */
struct sim_chaos *stage_chaos(struct sim_bed *bed, const struct sim_plan *plan);

/* Five nodes, many partitions, logs with room for eight segments. */
void stage_pinned_log_plan(struct sim_plan *plan);
/* Stops two nodes (pause) while clients write, then runs until an oldest segment of another node
 * holds only what its groups can neither commit nor flush. False: the run is over. */
bool stage_pin_logs(struct sim_bed *bed);

#endif
