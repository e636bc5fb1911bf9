/* fronts.h - where work in the background begins (chore.h).
 *
 * In some ranges rows are removed in about the order in which they were put: a front is the key
 * from which on there may be any. Without it each step would walk over the tombstones of all
 * steps before. Kind: of garbage records; 0: reminders of a namespace.
 *
 * Rows of a prepared transaction appear later than their place in the order says. So its evaluation
 * reads the front, which locks it: it stands still until they are there. The background does not
 * wait for that, nor for rows that are prepared within its range: where there are always some it
 * would never come to an end. */
#ifndef HOLON_SERVICES_REDIS_FRONTS_H
#define HOLON_SERVICES_REDIS_FRONTS_H

#include "partition/row_context.h"

/* *ret_from: `from`, or the front behind it. */
enum row_result redis_front_get(struct row_context *rows, uint8_t kind, uint32_t namespace,
                                struct bytes from, struct bytes *ret_from);
/* Or not, if it has to stand still: the next walk begins further in front. */
void redis_front_put(struct row_context *rows, uint8_t kind, uint32_t namespace, struct bytes at);
/* Would a walk have to wait for transactions? */
static inline bool redis_walk_is_held(const struct row_context *rows, struct bytes from,
                                      struct bytes to)
{
    return rows->locks != NULL && locks_stop_scan(rows->locks, from, to, rows->lock_owner);
}
/* Before a row is put that the front must not pass. */
static inline void redis_front_hold(struct row_context *rows, uint8_t kind, uint32_t namespace)
{
    struct bytes none = bytes_make(NULL, 0);

    if (rows->reads != NULL) redis_front_get(rows, kind, namespace, none, &none);
}

#endif
