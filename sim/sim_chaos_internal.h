/* sim_chaos_internal.h - shared by sim_chaos.c (when and whom) and sim_chaos_acts.c (what). */
#ifndef HOLON_SIM_SIM_CHAOS_INTERNAL_H
#define HOLON_SIM_SIM_CHAOS_INTERNAL_H

#include "sim/sim_chaos.h"

struct sim_chaos {
    struct sim_cluster *cluster;
    struct sim_clients *clients;
    struct sim_plan plan;
    bool over;
    bool rests;
    bool only_unhit;    /* kinds that have struck somebody strike no more */
    struct random pace; /* when each kind strikes next: apart from what a strike draws */
    uint32_t outage_percent;
    uint64_t began;
    const struct sim_decisions *replay; /* NULL: drawn */
    uint32_t replay_next;
    struct sim_decisions *record;
    uint32_t struck[SIM_CHAOS_COUNT], hit[SIM_CHAOS_COUNT];
    uint32_t healed_nodes;
    uint32_t cut_off;                  /* bits of nodes behind a split */
    uint32_t loops[SIM_NODES_MAX + 1]; /* restarts left of a crash loop */
    int64_t jumped[SIM_NODES_MAX + 1];
    bool clocks_jumped;
    uint32_t wiped; /* node whose replicas are being rebuilt; 0: none */
};

/* A node that may be hurt now, or NULL. */
struct sim_node *sim_chaos_victim(struct sim_chaos *chaos);
void sim_chaos_calm_streams(struct sim_chaos *chaos);
/* Now, and one drawn up to that. */
uint64_t sim_chaos_outage_max(const struct sim_chaos *chaos);
uint64_t sim_chaos_outage(struct sim_chaos *chaos);
/* False: there was nobody to hurt. */
bool sim_chaos_act(struct sim_chaos *chaos, enum sim_chaos_kind kind);

#endif
