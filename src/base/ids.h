/* ids.h - identities. None is ever reused (FAULTS rules 7-9; DESIGN.md 5, 7). */
#ifndef HOLON_BASE_IDS_H
#define HOLON_BASE_IDS_H

#include <stdbool.h>
#include <stdint.h>

struct cluster_id { /* random 128 bits drawn at founding; all zero: none yet */
    uint64_t high, low;
};

typedef uint32_t node_id_t;    /* 1-based rank by name at founding; 0: none */
typedef uint32_t boot_epoch_t; /* rises with every start of a node; 0: none */
typedef uint64_t store_id_t;   /* random, of one data directory */

struct group_id { /* 0: meta, 1: coord, 2 + k: data partition k */
    uint32_t value;
};

struct replica_id { /* a copy of a group on a node; 0: none. Never reused, not even by the
                     * same node: a rebuilt copy is a new replica. */
    uint64_t value;
};

enum { GROUP_META = 0, GROUP_COORD = 1, GROUP_DATA_FIRST = 2 };
enum { NODES_MAX = 64, PARTITIONS_MAX = 4096, WORKERS_MAX = 64, STORES_MAX = 64 };

static inline bool replica_id_equal(struct replica_id a, struct replica_id b)
{
    return a.value == b.value;
}

static inline bool cluster_id_equal(struct cluster_id a, struct cluster_id b)
{
    return a.high == b.high && a.low == b.low;
}

#endif
