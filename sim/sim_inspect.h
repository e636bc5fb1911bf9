/* sim_inspect.h - the invariants of Raft, seen from outside after every event of a node
 * (FAULTS.md 3, lease exclusion) and of the state at rest (S-1).
 *
 * The inspector reads the cores of all replicas that just had a turn and remembers what any
 * of them ever claimed: leaders by term, committed entries by index, durable indexes. Memory
 * is outside the cluster and survives every crash. Thread: one. */
#ifndef HOLON_SIM_SIM_INSPECT_H
#define HOLON_SIM_SIM_INSPECT_H

#include "sim/sim_cluster.h"

struct sim_inspector;

/* Registers itself as sim->after_event. */
struct sim_inspector *sim_inspector_make(struct sim_cluster *cluster);
void sim_inspector_free(struct sim_inspector *inspector);

/* Every group has a leader that may evaluate, among the nodes in `nodes` (bits). */
bool sim_inspect_leaders(struct sim_cluster *cluster, uint32_t nodes);
/* " node 2 is down, group 3 has no leader," */
void sim_inspect_missing(struct sim_cluster *cluster, char *text, size_t size);
/* Every group has its leader, all its voters, each of them running under the replica id that
 * the configuration names, no learner and no change under way. */
bool sim_inspect_settled(struct sim_cluster *cluster);
/* S-1: all replicas of each group on `nodes` applied the same index; `text` tells who is
 * behind. A different hash at an equal index is a violation. */
bool sim_inspect_replicas_equal(struct sim_cluster *cluster, uint32_t nodes, char *text,
                                size_t text_size);
/* Elections won so far, over all groups (V-7). */
uint64_t sim_inspector_elections(const struct sim_inspector *inspector);
uint64_t sim_inspector_committed(const struct sim_inspector *inspector);
/* Raft's invariants are looked at after every turn (of many groups: of some of them); from now on
 * only after each such one, for runs of hours in which clients are the judges. */
void sim_inspector_look_every(struct sim_inspector *inspector, uint32_t turns);
/* From now on what sim_inspect_moves.c tells is looked at, too; the nodes are those that are there.
 */
void sim_inspector_watch_moves(struct sim_inspector *inspector);
/* Node that leads a group and may evaluate, or 0. */
node_id_t sim_inspect_leader(struct sim_cluster *cluster, uint32_t group);
/* Node that leads a group, perhaps not yet allowed to evaluate, or 0. */
node_id_t sim_inspect_leading(struct sim_cluster *cluster, uint32_t group);
/* The group that serves a key of the clients ("key:N"). */
uint32_t sim_inspect_group_of_key(const struct sim_cluster *cluster, uint32_t key);

/* The core of a group's replica in an incarnation, or NULL; and the boot time of its machine. */
/* B-1: the log's files are within their bound, and its slack. */
void sim_inspect_log_bound(struct sim_cluster *cluster, struct sim_node *node);
const struct raft *sim_inspect_raft(struct sim_incarnation *incarnation, uint32_t group);
/* The id of a group's replica in an incarnation; zero: there is none, or it does not run. */
struct replica_id sim_inspect_replica_id(struct sim_incarnation *incarnation, uint32_t group);
uint64_t sim_inspect_local_now(const struct sim_node *node);

struct sim_rows_wanted {
    uint32_t nodes;
    bool expiry; /* no clock jumped: what expired must be gone */
    bool clean;
    uint32_t polls;
    char text[200];
};
/* Do the rows of the Redis service belong together (a violation if not), and is all garbage
 * collected and, if wanted, all that expired gone, on these nodes? wanted->text: what is not. */
bool sim_inspect_rows_clean(struct sim_cluster *cluster, struct sim_rows_wanted *wanted);
/* So many steps of the background clear all that there is, at most. */
uint64_t sim_inspect_rows_steps(struct sim_cluster *cluster, uint32_t nodes);

/* sim_inspect_moves.c; after a turn of that worker. */
struct sim_moves;
struct sim_moves *sim_moves_make(struct sim_cluster *cluster);
void sim_moves_look(struct sim_moves *moves, struct sim_incarnation *incarnation, uint32_t worker);

#endif
