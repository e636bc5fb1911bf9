/* guard.h - HOLON.GUARD: locks that must still be held, with these tokens, when the next command of
 * the connection that touches keys, or its next EXEC, is executed. That command is run as a
 * transaction which reads the rows of the locks (exec.h, batch.h): if one is lost, nothing of it is
 * executed, and the answer is LOCKLOST. They are used up by it, whatever it is answered.
 *
 * Thread: the service's. */
#ifndef HOLON_SERVICES_REDIS_GUARD_H
#define HOLON_SERVICES_REDIS_GUARD_H

#include "services/redis/frontend.h"
#include "services/redis/lock.h"

enum { GUARDS_MAX = 16 }; /* of one command */

struct guards;

/* HOLON.GUARD NAME TOKEN. False: *ret_wrong is the error, and those that there are stay. */
bool guards_add(struct connection *connection, uint8_t database, const struct bytes *arguments,
                const char **ret_wrong);
/* What should have been guarded would not be: the next command that touches keys, or EXEC, is
 * refused. */
void guards_break(struct connection *connection);
bool guards_are_broken(const struct connection *connection);
/* Can the command be guarded? If not, that is the answer, and there are no guards any more. */
bool guards_allow(struct connection *connection, const struct redis_command *command,
                  const struct bytes *arguments, uint32_t count);
/* The connection has none then. NULL: it had none. */
struct guards *guards_take(struct connection *connection);
void guards_free(struct guards *guards); /* NULL is fine */
void guards_drop(struct connection *connection);
/* False: there are no more than `index`. Borrows the name. */
bool guards_get(const struct guards *guards, uint32_t index, struct redis_guard *ret_guard);

#endif
