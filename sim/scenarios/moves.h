/* moves.h - what scenarios share in which operators drain, take back and remove nodes. */
#ifndef HOLON_SIM_SCENARIOS_MOVES_H
#define HOLON_SIM_SCENARIOS_MOVES_H

#include "node/node_internal.h"
#include "sim/scenarios/stage.h"

enum {
    MOVES_REPAIR_AFTER_US = 20 * STAGE_S, /* of the cluster's plan */
    MOVES_DONE_US = 120 * STAGE_S,        /* until a node is empty, or load is even again */
    MOVES_QUIET_US = 30 * STAGE_S,
};

struct moves {
    struct sim_bed *bed;
    uint32_t drained, removed, away; /* bits by node id; away: dead, and not started again */
    node_id_t target;                /* whose end of draining is waited for */
    uint32_t told_drained;           /* bits: as who was asked has answered */
    /* The question under way: */
    const char *asked_verb;
    node_id_t asked_target;
    uint64_t ticket;
    unsigned code; /* 0: no answer yet */
    char answer[200];
};

/* So many nodes, eight partitions, clients that think. */
void moves_plan(struct sim_plan *plan, uint32_t nodes, uint32_t replicas);
/* As stage_open(), and from then on members of groups are watched, too. */
bool moves_open(struct moves *moves, const struct sim_plan *plan);
/* Asks a node that is ready, and does not wait for the answer. */
void moves_send(struct moves *moves, node_id_t asked, node_id_t target, const char *verb);
/* One question, to a node that is ready: 200, 404, 409, 503, or 0: no answer for a while. */
unsigned moves_ask(struct moves *moves, node_id_t asked, node_id_t target, const char *verb);
/* Asks one after the other until it is done; that is refused, or never answered, is a violation. */
bool moves_operate(struct moves *moves, node_id_t target, const char *verb);
/* The same with a query, and any path: "/token". */
bool moves_operate_by(struct moves *moves, node_id_t target, const char *verb, const char *query);
/* Bits by node id: those that are not removed. */
uint32_t moves_members(const struct moves *moves);
/* Of all nodes that are ready; NULL: none is. */
const struct cluster_view *moves_newest_view(struct sim_bed *bed);
uint32_t moves_load(const struct cluster_view *view, node_id_t node, bool data_only);
bool moves_nothing_moves(const struct cluster_view *view);
/* Does any group run there? */
bool moves_runs_replicas(struct sim_bed *bed, node_id_t node);
/* Until the table names moves->target nowhere, nothing moves, and, if it is up, nothing runs there.
 */
bool moves_wait_empty(struct moves *moves);
/* All links heal; who is neither removed nor away runs; until those are ready. */
bool moves_repair(struct moves *moves);
/* It is no member any more: its process ends by itself, now or at its next start. */
bool moves_remove(struct moves *moves, node_id_t target);
/* Same, of a node that is just being drained: asked for until it is not refused any more. */
bool moves_remove_early(struct moves *moves, node_id_t target);
/* Until all nodes but those drained, removed or away hold as much as each other, give or take
 * one, and the others nothing; from then on nothing moves any more (M-5). */
bool moves_wait_even(struct moves *moves);
/* The verdict with those that were not removed. */
void moves_judge(struct moves *moves);

#endif
