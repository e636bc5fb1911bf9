/* sim_chaos_internal.h - shared by sim_chaos.c (when and whom) and sim_chaos_acts.c (what). */
#ifndef HOLON_SIM_SIM_CHAOS_INTERNAL_H
#define HOLON_SIM_SIM_CHAOS_INTERNAL_H

#include "sim/sim_chaos.h"

struct sim_chaos {
    struct sim_cluster *cluster;
    struct sim_clients *clients;
    struct sim_plan plan;
    bool over;
    uint32_t healed_nodes;
    uint32_t cut_off;                  /* bits of nodes behind a split */
    uint32_t loops[SIM_NODES_MAX + 1]; /* restarts left of a crash loop */
    int64_t jumped[SIM_NODES_MAX + 1];
    bool clocks_jumped;
    uint32_t wiped; /* node whose replicas are being rebuilt; 0: none */
};

/* A node that may be hurt now, or NULL. */
struct sim_node *sim_chaos_victim(struct sim_chaos *chaos);
uint64_t sim_chaos_outage(struct sim_chaos *chaos);
void sim_chaos_act(struct sim_chaos *chaos, enum sim_chaos_kind kind);

#endif
