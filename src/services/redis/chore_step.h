/* chore_step.h - what the parts of a step in the background share (chore.c, chore_collect.c). */
#ifndef HOLON_SERVICES_REDIS_CHORE_STEP_H
#define HOLON_SERVICES_REDIS_CHORE_STEP_H

#include "services/redis/parts.h"

enum { EFFECTS_BYTES_MAX = 64 << 10 }; /* of one step; the last row may go beyond */

struct chore_step {
    struct redis_call call;
    uint32_t rows_left;
};

static inline bool chore_spent(const struct chore_step *step)
{
    return step->rows_left == 0 || buffer_size(step->call.rows->effects) >= EFFECTS_BYTES_MAX;
}

/* A step that has effects ends rather than go to still more places on the disk: what is left is
 * for the next one. */
static inline bool chore_may_seek(const struct chore_step *step)
{
    const struct row_context *rows = step->call.rows;
    return rows->effect_count == 0 || row_may_seek(rows);
}

/* Garbage records that are due, as far as the step goes. ROW_STOP as always. */
enum row_result chore_collect(struct chore_step *step);

#endif
