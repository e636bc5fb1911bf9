/* stage_clock.h - how long a value that was sent ahead of its command has waited for it.
 *
 * Entry time follows wall clocks and may leap with an election (F48), so a deadline in it would
 * take values from clients that are alive, and one that each new leader moves on is never met
 * while leaders change more often than that (V-5). So a partition counts: while values wait, its
 * leader's background logs a step each time a REDIS_STAGE_STEPS-th of the timeout has gone by since
 * the last step and since its own term began. Within a term entry time goes on like the leader's
 * boot clock, so two steps are so far apart whoever logs them, under any clocks. A record says at
 * which step its last part came; REDIS_STAGE_STEPS whole steps later nobody comes for it any more.
 * A change of leaders costs the part of a step that had gone by; when nothing waits, nothing runs.
 *
 * The clock is a row: first slot, service 1, [0xfffffffe][4][0 u32]; u8 format (1) | u64 steps |
 * u64 entry time of the last one (us). Without it there was no step yet. */
#ifndef HOLON_SERVICES_REDIS_STAGE_CLOCK_H
#define HOLON_SERVICES_REDIS_STAGE_CLOCK_H

#include "services/redis/parts.h"

enum { REDIS_STAGE_STEPS = 32 }; /* in limits.stage_timeout_ms */

struct redis_stage_clock {
    uint64_t steps; /* the one that is due now counted */
    bool due;       /* and is to be logged, if anything waits */
    int64_t next;   /* us, entry time: when there is another */
};

static inline int64_t redis_stage_step_us(const struct redis_call *call)
{
    return (int64_t)call->limits->stage_timeout_ms * 1000 / REDIS_STAGE_STEPS;
}

/* ROW_STOP as always. */
enum row_result redis_stage_clock_get(struct redis_call *call, struct redis_stage_clock *ret_clock);
/* Logs the step that is due. */
void redis_stage_clock_put(struct redis_call *call, const struct redis_stage_clock *clock);

/* A part came, or what is known of the record begins now. */
void redis_stage_stamp(const struct redis_stage_clock *clock, struct redis_garbage *record);
enum redis_stage_age {
    REDIS_STAGE_WAITS,
    REDIS_STAGE_OVER,
    REDIS_STAGE_UNKNOWN, /* 0.1.0 wrote it: a time is in the place of the step */
};
enum redis_stage_age redis_stage_age(const struct redis_stage_clock *clock,
                                     const struct redis_garbage *record);

#endif
