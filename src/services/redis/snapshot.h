/* snapshot.h - HOLON.SNAPSHOT: a connection reads the whole cluster as of one instant, at a cut
 * that it opened or that another one did (txn/txn_cut.h; docs/reference/cuts.md).
 *
 * OPEN and USE run alone on their connection, as EXEC does, and so does what ends it: what was said
 * before is answered before. At a snapshot every request to a partition goes inside a READ of the
 * cut; nothing else of a read command changes (snapshot_read.c).
 *
 * Thread: the service's. */
#ifndef HOLON_SERVICES_REDIS_SNAPSHOT_H
#define HOLON_SERVICES_REDIS_SNAPSHOT_H

#include "services/redis/frontend.h"
#include "txn/txn_cut.h"

enum {
    SNAPSHOT_LIFETIME_S = 300,
    SNAPSHOT_LIFETIME_MAX_S = 86400,
    SNAPSHOT_POLL_US = 5 * 1000,            /* of a part whose rows are being copied, */
    SNAPSHOT_COPYING_US = 10 * 1000 * 1000, /* for so long */
};

struct snapshot {
    struct connection *connection;
    struct txn_cut *cut; /* NULL: could not be opened, and nobody was told yet */
    bool opener;         /* it is this connection's: it ends with it */
    bool opening, answered;
    enum txn_cut_result result; /* answered */
    uint64_t id;                /* USE: that was asked for */
    bool silent;
    struct list asks; /* snapshot_read.c */
};

static inline bool snapshot_is_opening(const struct connection *connection)
{
    return connection->snapshot != NULL && connection->snapshot->opening;
}
static inline bool connection_at_snapshot(const struct connection *connection)
{
    return connection->snapshot != NULL && !connection->snapshot->opening;
}

/* Is it OPEN or USE, with arguments that are right, where it may be? The rest is answered here. */
bool snapshot_starts(const struct connection *connection, const struct redis_command *command,
                     const struct bytes *arguments, uint32_t count);
/* Only while the queue is empty; connection->snapshot is `opening` until it is answered. */
void snapshot_start(struct connection *connection, const struct bytes *arguments, uint32_t count);
/* At a snapshot: a command that is not run there gets its error. */
bool snapshot_refuses(struct connection *connection, const struct redis_command *command);

#endif
