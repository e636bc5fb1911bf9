/* balance.h - which node should hold which replica of which group, and lead it.
 *
 * Greedy and deterministic, from what is to what should be with few moves (WHY 6.2): bounded load,
 * one replica per failure domain while domains last, preferred leaders spread; rendezvous order
 * of (group, node) decides among equals, so that the partners of a node are spread over all
 * others and its death loads all of them alike. Called again with its own result it changes
 * nothing. Pure: whoever executes the difference does so step by step, and may ask again after
 * each.
 *
 * Load is replicas (or preferred leaderships) per weight. What is minimised is the sum of
 * load^2 / weight, by moves that each lower it: with equal weights and no domains in the way all
 * nodes end within one replica and one leadership of each other.
 * Thread: any. */
#ifndef HOLON_CLUSTER_BALANCE_H
#define HOLON_CLUSTER_BALANCE_H

#include "cluster/view.h"

enum {
    BALANCE_DOMAINS = 3, /* zone, rack, host: the widest first */
    BALANCE_WEIGHT_USUAL = 100,
    BALANCE_WEIGHT_MAX = 10000,
    BALANCE_META_REPLICAS_MAX = 5,
    BALANCE_LOOKS_MAX = 8 << 20, /* at groups, by levelling: some 30 ms */
};

enum balance_state {
    BALANCE_STAYS,  /* replicas stay and may come */
    BALANCE_SILENT, /* replicas stay, none come: it is not there at present */
    BALANCE_LOST,   /* replicas are built elsewhere, and stay in the table until there is a place */
    BALANCE_LEAVES, /* replicas go: drained or removed */
};

struct balance_node {
    node_id_t id;
    uint32_t weight; /* 1..BALANCE_WEIGHT_MAX */
    enum balance_state state;
    uint32_t domains[BALANCE_DOMAINS]; /* numbers of labels; equal number: same domain */
    uint32_t lead_rank; /* nodes with the least rank lead, of those that hold a group */
};

struct balance_group {
    uint32_t number; /* for the rendezvous order */
    uint8_t count;
    uint8_t nodes[VIEW_REPLICAS_MAX]; /* indexes of nodes; the first should lead */
};

/* Replicas that a group should have: the wish, or the nodes that do not leave if those are fewer.
 */
uint32_t balance_copies(const struct balance_node *nodes, uint32_t node_count, uint32_t replicas);

/* Replicas that the meta group should have on so many nodes, whatever data has: 1, 2, 3, 3, 5, 5...
 */
uint32_t balance_meta_replicas(uint32_t nodes);

/* `groups`: in: as it is, out: as it should be. Replicas keep their order but for the first.
 * replicas: 1..VIEW_REPLICAS_MAX, node_count: 1..NODES_MAX. */
void balance_groups(const struct balance_node *nodes, uint32_t node_count,
                    struct balance_group *groups, uint32_t group_count, uint32_t replicas);

#endif
