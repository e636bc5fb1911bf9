/* planted.h - deliberate bugs that the checkers must find (FAULTS.md section 4), each with
 * where it is switched on and how it is found. */
#ifndef HOLON_SIM_PLANTED_H
#define HOLON_SIM_PLANTED_H

#include <stddef.h>
#include <stdint.h>

struct sim_planted {
    const char *name;
    const char *product_name; /* PLANTED(world, "...") in product code, or NULL */
    uint32_t raft_bit;        /* enum raft_planted_bug, or 0; both unset: see stale_clock */
    const char *scenario;     /* the scenario that must see it; NULL: seeds drawn at random */
    uint32_t seeds_max;       /* the budget */
    const char *what;
};

/* enum redis_planted_bug that is switched on by it, or 0. */
uint32_t sim_planted_redis_bit(const struct sim_planted *bug);
/* enum meta_planted_bug that is switched on by it, or 0. */
uint32_t sim_planted_meta_bit(const struct sim_planted *bug);
const struct sim_planted *sim_planted_find(const char *name); /* NULL: there is none */
const struct sim_planted *sim_planted_all(size_t *ret_count);
/* Must be found in every campaign. */
#define SIM_CANARY "release_before_commit"

#endif
