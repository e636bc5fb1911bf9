/* evaluate_functions.h - the evaluate functions named in commands.def: one call in, one reply
 * in call->out, effects in call->rows. */
#ifndef HOLON_SERVICES_REDIS_EVALUATE_FUNCTIONS_H
#define HOLON_SERVICES_REDIS_EVALUATE_FUNCTIONS_H

#include "services/redis/call.h"

#define REDIS_COMMAND(id, number, name, arity, flags, first, last, step, evaluate, ...)            \
    enum evaluate_result evaluate(struct redis_call *call);
#define REDIS_LOCAL(...)
#include "services/redis/commands.def"
#undef REDIS_COMMAND
#undef REDIS_LOCAL

/* Of INFO: [keys, expiring keys] of each database, in one array. */
enum evaluate_result evaluate_keyspace(struct redis_call *call);
/* Of CLUSTER COUNTKEYSINSLOT and GETKEYSINSLOT, slotscan CURSOR COUNT: up to that many keys of the
 * cursor's slot, from there on, as SCAN replies; COUNT 0: their number instead of them. The cursor
 * is 0 at the end of the slot. */
enum evaluate_result evaluate_slotscan(struct redis_call *call);
/* Of HOLON.LOCK ... WAIT: lock_wait.h. */
enum evaluate_result evaluate_locktry(struct redis_call *call);
enum evaluate_result evaluate_lockleave(struct redis_call *call);
/* Of RENAME and COPY over partitions: value_move.h. */
enum evaluate_result evaluate_readvalue(struct redis_call *call);
enum evaluate_result evaluate_writevalue(struct redis_call *call);

#endif
