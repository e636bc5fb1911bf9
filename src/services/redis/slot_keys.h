/* slot_keys.h - CLUSTER COUNTKEYSINSLOT and GETKEYSINSLOT: a fan-out to the partition of the slot,
 * which is asked for it in pages (SLOTSCAN), on any node and either port. Thread: the service's. */
#ifndef HOLON_SERVICES_REDIS_SLOT_KEYS_H
#define HOLON_SERVICES_REDIS_SLOT_KEYS_H

#include "services/redis/fanout_internal.h"

/* Is it one of them, with arguments that are right? */
bool slot_keys_wanted(const struct redis_command *command, const struct bytes *arguments,
                      uint32_t count);
void slot_keys_start(struct connection *connection, const struct redis_command *command,
                     const struct bytes *arguments, uint32_t count);
/* One whose arguments are wrong: replies why. */
void cluster_slot_keys_wrong(struct local_call *call);

/* fanout_answer.c: COUNTKEYSINSLOT, a page; GETKEYSINSLOT, the end. */
bool slot_keys_take_count(struct part *part, struct bytes reply);
void slot_keys_write(struct fanout *fanout, struct resp_writer *out);

#endif
