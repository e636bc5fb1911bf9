/* copies.h - how far states on their way to other nodes are: of moves, of rebuilds, and of members
 * that fell too far behind. Part of a host: what its leaders send, by the node that gets it.
 *
 * Sizes are estimates before the end is known: rows of the group times what a row takes, as seen in
 * what was sent, or else in memory. A rate is of bytes that receivers acknowledged within the last
 * COPY_WINDOW_S seconds. */
#ifndef HOLON_PARTITION_COPIES_H
#define HOLON_PARTITION_COPIES_H

#include <stdbool.h>
#include <stdint.h>

#include "base/ids.h"

enum {
    COPY_WINDOW_S = 10,
    COPY_RATE_AFTER_S = 2, /* of it must have passed before a rate is told */
    COPY_PAUSE_S = 60,     /* without anything sent: what comes then is another move */
};

/* Counters only: they are summed over workers and nodes (node_snapshot.c). */
struct host_copies {
    uint64_t left;       /* members that lack their state */
    uint64_t unsized;    /* of which nobody can say yet how much that is */
    uint64_t bytes_sent; /* of those left, acknowledged */
    uint64_t bytes_total;
    uint64_t done, bytes_done; /* since nothing was sent to that node */
    uint64_t bytes_per_second; /* 0: unknown */
};

struct copy_tally { /* to one node */
    bool begun;
    uint64_t began_s, last_s; /* boot clock, s */
    uint64_t done, bytes_done;
    uint32_t kib[COPY_WINDOW_S]; /* acknowledged, by second modulo COPY_WINDOW_S */
    uint32_t bytes_rest;         /* below a KiB */
};

/* Times are of the boot clock, us. */
void copy_tally_begin(struct copy_tally *tally, uint64_t now);
void copy_tally_sent(struct copy_tally *tally, uint64_t bytes, uint64_t now);
void copy_tally_done(struct copy_tally *tally, uint64_t bytes, uint64_t now);
uint64_t copy_tally_rate(const struct copy_tally *tally, uint64_t now);

struct partition_host;
/* One for each node id. */
void host_copies(struct partition_host *host, struct host_copies ret[NODES_MAX + 1]);

#endif
