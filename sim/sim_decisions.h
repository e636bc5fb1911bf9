/* sim_decisions.h - what a run decided, as a file: the plan and each strike of a fault with its
 * time and its own random numbers. A failing run is kept as its decisions and not only as a seed:
 * they still say what happened when plans are drawn differently, and strikes can be taken out one
 * by one (sim_minimise.h).
 *
 *     holon-sim-decisions 1
 *     seed 17
 *     planted NAME                        only if there was one
 *     plan clients 4                      one line per number of the plan, see plan_fields.def
 *     strike TIME-US KIND RANDOM PERCENT  of the outage that was drawn; in order of time
 *
 * Thread: one. */
#ifndef HOLON_SIM_SIM_DECISIONS_H
#define HOLON_SIM_SIM_DECISIONS_H

#include "sim/sim_plan.h"

enum { SIM_STRIKES_MAX = 20000, SIM_PLANTED_NAME_MAX = 64 };

struct sim_strike {
    uint64_t time; /* virtual, us */
    uint64_t random;
    uint8_t kind;    /* enum sim_chaos_kind */
    uint8_t percent; /* of the drawn length of its outage */
};

struct sim_decisions {
    uint64_t seed;
    char planted[SIM_PLANTED_NAME_MAX]; /* empty: none */
    struct sim_plan plan;
    struct sim_strike *strikes;
    uint32_t strike_count, strike_capacity;
    const char *path; /* written anew with each strike, for a run that may crash; NULL: not */
};

void sim_decisions_init(struct sim_decisions *decisions);
void sim_decisions_free(struct sim_decisions *decisions);
void sim_decisions_copy(struct sim_decisions *to, const struct sim_decisions *from);
void sim_decisions_add(struct sim_decisions *decisions, const struct sim_strike *strike);
bool sim_decisions_write(const struct sim_decisions *decisions, const char *path);
/* False: `text` says what is wrong with the file and where. */
bool sim_decisions_read(struct sim_decisions *decisions, const char *path, char *text, size_t size);

/* The numbers of a plan, by index below sim_plan_field_count(). */
uint32_t sim_plan_field_count(void);
const char *sim_plan_field_name(uint32_t field);
uint64_t sim_plan_field_get(const struct sim_plan *plan, uint32_t field);
void sim_plan_field_set(struct sim_plan *plan, uint32_t field, uint64_t value);
/* The simplest value it may have instead; false: it must stay. */
bool sim_plan_field_least(uint32_t field, uint64_t *ret_value);

#endif
