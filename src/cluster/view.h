/* view.h - what a node knows of the cluster: nodes, the slot->partition and the
 * partition->replicas tables, settings. Meta (group 0) owns the truth; every worker keeps its
 * own copy of the latest (rule: data keeps working while meta has no quorum), plus the
 * leaders it has heard of. Plain data, replaced as a whole by cluster_view_assign().
 * Thread: its worker. */
#ifndef HOLON_CLUSTER_VIEW_H
#define HOLON_CLUSTER_VIEW_H

#include "base/buffer.h"
#include "base/hash.h"
#include "base/ids.h"
#include "base/status.h"
#include "cluster/labels.h"

enum { ADDRESS_SIZE_MAX = 128, NODE_NAME_SIZE_MAX = 64, VIEW_REPLICAS_MAX = 8 };

enum {
    VIEW_VERSION = 5,          /* of the clusters that are founded now */
    VIEW_VERSION_ELASTIC = 2,  /* from then on: nodes come and go (meta.h), labels */
    VIEW_VERSION_MEMORY = 3,   /* databases with durability memory, entries of RAFT_ENTRY_WRITTEN */
    VIEW_VERSION_RELAY = 3,    /* every node passes frames on between two others (net/relay.h) */
    VIEW_VERSION_TXN = 4,      /* transactions across partitions (src/txn) */
    VIEW_VERSION_CUT = 5,      /* cuts (partition/cut.h) */
    VIEW_VERSION_LOCK = 5,     /* locks (services/redis/lock.h) */
    VIEW_VERSION_TOGETHER = 5, /* transactions that contend are one (txn/txn_together.c) */
    VIEW_DATABASES_MAX = 16,
};

enum view_node_state {
    VIEW_NODE_STAYS = 0,
    VIEW_NODE_LEAVES = 1, /* its replicas go elsewhere; then it may be removed */
};

enum reads_mode { READS_LEASE = 0, READS_QUORUM = 1 };

struct view_node {
    node_id_t id;
    store_id_t store;
    boot_epoch_t epoch; /* highest known */
    char name[NODE_NAME_SIZE_MAX];
    char hex_id[41]; /* 40 hex digits, stable over the life of the node (Redis cluster) */
    char redis[ADDRESS_SIZE_MAX], redis_cluster[ADDRESS_SIZE_MAX];
    char peer[ADDRESS_SIZE_MAX], admin[ADDRESS_SIZE_MAX];
    enum view_node_state state;
    char labels[LABELS_SIZE_MAX];
};

/* A replica that meta wishes for. Truth about members is the group's own configuration. */
struct view_replica {
    node_id_t node;
    struct replica_id replica;
};

struct view_group { /* group 0: meta; 1: coord (no replicas until its service exists); 2...: data */
    uint16_t slot_first, slot_last; /* data: slots served, both included */
    uint8_t replica_count;
    bool moving; /* its leader has not said yet that its configuration is as wished for here */
    struct view_replica replicas[VIEW_REPLICAS_MAX];
    uint64_t changed; /* table epoch that made these replicas; 0: the founding's, or version 1 */
    /* Learned from heartbeats and NACKs, not from meta: */
    node_id_t leader; /* 0: unknown */
    uint64_t leader_term;
    uint64_t leader_since; /* boot clock: known in this term, without a break, since then */
    node_id_t last_leader; /* the last one known; 0: never one */
};

struct cluster_view {
    struct cluster_id cluster;
    uint64_t table_epoch; /* rises with every change in meta; 0: nothing known yet */
    uint32_t cluster_version;
    uint32_t partition_count;
    uint32_t replicas; /* wished replication factor */
    enum reads_mode reads;
    uint64_t hash_secret[2];
    uint64_t next_replica_id;
    node_id_t next_node_id;    /* ids of nodes are never used twice */
    uint32_t memory_databases; /* bits: those whose durability is memory (decision 0012) */
    node_id_t self;
    uint32_t node_count;
    struct view_node nodes[NODES_MAX];
    uint32_t group_count;                /* GROUP_DATA_FIRST + partition_count */
    struct view_group *groups;           /* owned */
    uint16_t slot_partition[SLOT_COUNT]; /* slot -> partition number (not group) */
};

/* Letters, digits, `-`, `_` and `.`, from 1 to NODE_NAME_SIZE_MAX - 1 of them: a name is written as
 * it is in JSON, metrics, paths of requests and Redis's replies. */
bool node_name_is_valid(struct bytes name);

void cluster_view_init(struct cluster_view *view);
void cluster_view_free(struct cluster_view *view);
/* Copies everything from `from`, but keeps the leaders that `to` knew. */
void cluster_view_assign(struct cluster_view *to, const struct cluster_view *from);
void cluster_view_set_leader(struct cluster_view *view, struct group_id group, node_id_t leader,
                             uint64_t term, uint64_t now);
const struct view_node *cluster_view_node(const struct cluster_view *view, node_id_t id);
/* Of a node of which the table knows a boot epoch later than `epoch`, that; of one that was
 * removed, the next. `epoch` is over for ever then. 0: nothing is known. */
boot_epoch_t cluster_view_later_epoch(const struct cluster_view *view, node_id_t id,
                                      boot_epoch_t epoch);
/* Slot 0..16383, or ROW_SLOT_META. */
static inline struct group_id cluster_view_group_of_slot(const struct cluster_view *view,
                                                         uint16_t slot)
{
    if (slot >= SLOT_COUNT) return (struct group_id){slot == 0x4000 ? GROUP_META : GROUP_COORD};
    return (struct group_id){GROUP_DATA_FIRST + view->slot_partition[slot]};
}
/* Fresh view of a founding: `view` has nodes, partition_count, replicas, ids set; fills the
 * slot table and a balanced assignment with replica ids (deterministic). */
void cluster_view_place(struct cluster_view *view);
void cluster_view_encode(const struct cluster_view *view, struct buffer *buffer);
enum status cluster_view_decode(struct bytes bytes, struct cluster_view *ret_view);

/* Groups whose leader has not said yet that the wish is fulfilled. */
uint32_t cluster_view_moving(const struct cluster_view *view);

#endif
