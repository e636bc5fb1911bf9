/* watch.h - WATCH at the leader of a key: what is there now, and is that still so?
 *
 * Every write of a key's value or expiry writes its row (hash_value.h: also that of a field), so
 * the version of the row tells; of an absent key, that of its deletion. Not noticed: a key that was
 * absent, came and went again, if its deletion was flushed meanwhile.
 */
#ifndef HOLON_SERVICES_REDIS_WATCH_H
#define HOLON_SERVICES_REDIS_WATCH_H

#include "services/redis/batch.h"
#include "services/redis/call.h"

/* In call->namespace. ROW_STOP as always. */
enum row_result redis_watch_holds(struct redis_call *call, const struct redis_watch *watch,
                                  bool *ret_holds);

#endif
