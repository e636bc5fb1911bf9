/* lock_wait.h - at the client's node: HOLON.LOCK and HOLON.SEMAPHORE with WAIT, and what the
 * client's node checks for all commands of locks.
 *
 *   locktry ──▶ a ticket ──▶ locktry (at the leader for LOCK_ATTEMPT_MS at most) ──▶ ... ──▶ token
 *                  └── time over, client gone, node stops ──▶ lockleave
 *
 * A loop of short attempts, each with its own seq (rule B6); the ticket in the lock's row keeps the
 * place. The leader answers an attempt when the lock is the client's, so nobody polls. The first
 * attempt is a write: it has effects in any case. Those behind are reads, which cost no log entry
 * while nothing happens; that which takes the lock is logged with its outcome like any write.
 *
 * It runs alone on its connection, like a fan-out. The socket is read on, so that the end of the
 * client is seen; then what is under way is waited for here, and the lock or the ticket given back.
 * If this node ends, or nobody answers, the ticket is dropped after LOCK_TICKET_US, and a lock that
 * was taken unheard ends with its time.
 *
 * Thread: the service's. */
#ifndef HOLON_SERVICES_REDIS_LOCK_WAIT_H
#define HOLON_SERVICES_REDIS_LOCK_WAIT_H

#include "services/redis/frontend.h"

enum {
    LOCK_INPUT_BYTES = 64 << 10, /* read while waiting */
    LOCKS_LEFT_MAX = 4096,       /* of a worker, being given back; with more, time does it */
};

/* Is the cluster's version one that knows locks? If not, the other one says so. */
bool lock_is_ready(const struct redis_service *service);
void lock_format_unready(const struct redis_service *service, char *text, size_t size);
/* False: the error was replied. */
bool lock_parse_slot(struct connection *connection, struct bytes text, uint16_t *ret_slot);
/* Is it one that waits, as far as its arguments are right? */
bool lock_waits(const struct redis_command *command, const struct bytes *arguments, uint32_t count);

void lock_wait_open(struct redis_service *service);
void lock_wait_close(struct redis_service *service); /* after all connections */
/* Only while the queue is empty; sets connection->locks until it is answered. */
void lock_wait_start(struct connection *connection, const struct redis_command *command,
                     const struct bytes *arguments, uint32_t count);
void lock_wait_continue(struct connection *connection); /* from connections_run_ready() */
/* The connection is gone. */
void lock_wait_cancel(struct connection *connection);
/* The node stops: the client is told so. */
void lock_wait_give_up(struct connection *connection);

#endif
