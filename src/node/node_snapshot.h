/* node_snapshot.h - the numbers behind /metrics and /status: of all workers, gathered by posts
 * when somebody asks, kept for SNAPSHOT_KEEP_US; and what other nodes say of themselves.
 *
 * PEER_FRAME_STATUS, further kinds (see node_leaders.c):
 *   ask:    u8 2 | u64 question
 *   report: u8 3 | u64 question | u8 serves all | varint leads | varint replicas |
 *           varint count | count * (varint node | varint its replicas behind) |
 *           varint groups to move and of how many, if it leads meta, else 0 and 0 | varint count |
 *           count * (varint node | 7 * varint, as struct host_copies) (0.1.0 ends before these)
 *   scrub:  u8 9: a pass of the scrubber, now
 * Not for other modules. Thread: worker 0, except where posts run. */
#ifndef HOLON_NODE_NODE_SNAPSHOT_H
#define HOLON_NODE_NODE_SNAPSHOT_H

#include <jansson.h>

#include "base/histogram.h"
#include "node/node_internal.h"
#include "partition/copies.h"
#include "services/admin/admin.h"

enum {
    STATUS_LEADERS = 1,
    STATUS_ASK = 2,
    STATUS_REPORT = 3,
    STATUS_ASK_LEADERS = 4,
    STATUS_ASK_TABLE = 5,
    STATUS_TABLE_EPOCH = 6,
    STATUS_SUPPORTS = 7,
    STATUS_SETTLED = 8,
    STATUS_SCRUB = 9,
};

enum {
    SNAPSHOT_KEEP_US = 100 * 1000,
    SNAPSHOT_PEERS_US = 200 * 1000, /* how long reports of other nodes are waited for */
    SNAPSHOT_WAITERS_MAX = ADMIN_CONNECTIONS_MAX + NODES_MAX,
    SNAPSHOT_BEHIND_ENTRIES = 256, /* a replica that lacks more of its leader's log is behind */
};

struct worker_snapshot {
    struct host_statistics host;
    struct gateway_statistics gateway;
    struct relay_statistics relay;
    struct txn_statistics txn;
    struct txn_cut_statistics cut;
    struct redis_statistics redis;
    struct node_traffic traffic;
    struct histogram read_latency, write_latency, cold_latency;
    uint64_t connections, pending;
    uint64_t replicas, leads, leads_ready;
    uint64_t rows, row_bytes, apply_lag, flush_lag;
    uint64_t redis_garbage;         /* records, in partitions led here */
    uint32_t behind[NODES_MAX + 1]; /* replicas of a node, of groups led here */
    struct host_copies copies[NODES_MAX + 1];
};

struct node_report {   /* of another node */
    uint64_t question; /* it answers */
    bool serves_all;
    uint32_t leads, replicas;
    uint32_t behind[NODES_MAX + 1];
    uint32_t groups_left, groups_total; /* to move, as meta's leader knows */
    struct host_copies copies[NODES_MAX + 1];
};

struct snapshot_waiter {
    bool peer; /* a node asks; else a page */
    node_id_t node;
    uint64_t question; /* or ticket */
    enum admin_page page;
};

struct node_collector {
    struct node *node;
    struct worker_snapshot *parts; /* one per worker, written by it */
    struct worker_snapshot sum;
    struct log_statistics log;
    struct copy_gate_statistics copy;
    struct engine_gate_statistics merge;
    struct node_usage usage;
    uint64_t engine_bytes, engine_level0;
    uint64_t taken;    /* boot time; 0: never */
    uint32_t missing;  /* workers that have not written their part */
    uint64_t question; /* last that was asked of other nodes */
    uint64_t reported; /* boot time when the last round of reports was complete */
    bool asking;
    struct world_timer patience;
    struct node_report reports[NODES_MAX + 1];
    struct snapshot_waiter waiters[SNAPSHOT_WAITERS_MAX];
    uint32_t waiter_count;
};

struct node_collector *node_collector_make(struct node *node);
void node_collector_free(struct node_collector *collector); /* NULL is fine */
/* The answer goes to the waiter as soon as the numbers are there. */
void node_collect(struct node *node, const struct snapshot_waiter *waiter);
void node_on_ask(struct node *node, const struct transport_peer *from, struct reader *reader);
void node_on_report(struct node *node, const struct transport_peer *from, struct reader *reader);

/* node_moves.c */
/* JSON's null where nothing moves. The caller's. */
json_t *node_moves_json(struct node *node);
/* Some are left; or were a moment ago, and the next may come. */
bool copies_are_told(const struct host_copies *copies);
void copies_add(struct host_copies *sum, const struct host_copies *part);

/* node_metrics.c */
void node_metrics_write(const struct node_collector *collector, struct buffer *buffer);

#endif
