/* chore.h - the Redis service's work in the background, on the leader of a partition: removes
 * the rows of what was dropped (garbage records), and the keys whose time has come (reminders).
 *
 * Both find their work by rows alone, at the front of an ordered range, and keep no state but
 * rows: a step may be thrown away, run again, or run by another leader. Why reminders in rows
 * and not a heap in memory: nothing is built after an election, a million of them cost no scan
 * of keys that are not due, rows that only the engine has are found as well, and what a step
 * reads is what it removes. A key has one reminder for as long as its expiry only moves on, so
 * a key that is refreshed ten thousand times a second has one too. */
#ifndef HOLON_SERVICES_REDIS_CHORE_H
#define HOLON_SERVICES_REDIS_CHORE_H

#include "partition/row_context.h"

/* An evaluate_fn for host_options.chore: one step, limits->chore_rows rows at most. */
enum evaluate_result redis_chore(struct row_context *rows, const struct request *request,
                                 struct reply *reply);

#endif
