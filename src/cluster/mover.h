/* mover.h - what meta's leader does about the difference between the table and what it should be
 * (balance.h): the next few changes of wishes, most urgent first.
 *
 *   1. replicas of nodes that were silent for longer than repair-after are built elsewhere
 *   2. replicas of nodes that are drained go elsewhere; groups get as many as they should have
 *   3. replicas go where load and domains want them
 *   4. preferred leaders, which cost no copying
 *
 * A group that moves already is left alone, unless a node that its table names is lost or drained;
 * so is one without a leader. Of many nodes that are lost at once none is: that is a cut. At most
 * MOVER_GROUPS_PER_NODE groups for each node that stays are on their way at a time; copies within a
 * node pair have limits of their own (partition/snapshot_turns.c). Pure: called again after each
 * change. Thread: any. */
#ifndef HOLON_CLUSTER_MOVER_H
#define HOLON_CLUSTER_MOVER_H

#include "cluster/balance.h"
#include "cluster/view.h"

enum {
    MOVER_GROUPS_PER_NODE = 2,
    MOVER_MOVES_MAX = 64, /* of one answer */
    MOVER_LOST_FEW = 2,   /* more than that, and more than one */
    MOVER_LOST_PART = 3,  /* of so many: none counts as lost */
};

/* Of the nodes of a view, in its order. */
struct mover_silence {
    bool silent; /* none of its links is up: nothing is sent there */
    bool lost;   /* and that for longer than repair-after */
};

struct mover_move {
    uint32_t group;
    uint64_t changed; /* view_group.changed of that table */
    uint8_t from_count, count;
    struct view_replica from[VIEW_REPLICAS_MAX]; /* the table that this was planned for */
    node_id_t to[VIEW_REPLICAS_MAX];             /* the first should lead */
};

struct mover_plan {
    struct mover_move moves[MOVER_MOVES_MAX]; /* to ask for now */
    uint32_t count;
    /* Groups whose members are not as they should be, those under way included; 0: all done. */
    uint32_t left;
    uint32_t leaderless; /* of those: nobody is known to lead them */
};

void mover_plan(const struct cluster_view *view, const struct mover_silence *silence,
                struct mover_plan *ret_plan);

#endif
