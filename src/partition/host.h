/* host.h - all replicas that one worker owns: it drives their Raft cores, shares one log queue
 * and coalesced heartbeats among them, evaluates requests on those that lead, applies what is
 * committed, flushes to the engines and transfers snapshots (DESIGN.md 3A, 3B, 4, 6).
 *
 * A group belongs to store (group mod stores) and a store to worker (store mod workers), so
 * that every node knows which worker of a peer a frame is for. Thread: its worker. */
#ifndef HOLON_PARTITION_HOST_H
#define HOLON_PARTITION_HOST_H

#include "base/histogram.h"
#include "net/relay.h"
#include "net/transport.h"
#include "partition/row_context.h"
#include "raft/raft.h"
#include "storage/engine/engine.h"
#include "storage/log/log.h"
#include "world/world.h"

enum { STORES_DEFAULT = 8 };
/* The simulator may let flushes fail: MAYBE() of that. */
#define FLUSH_WITHOUT_SPACE "a flush found no space"
#define EXPIRED_LEFT "leave an expired row to others"

struct partition_host;

static inline uint32_t group_store(struct group_id group, uint32_t store_count)
{
    return group.value % store_count;
}

static inline uint32_t group_worker(struct group_id group, uint32_t store_count,
                                    uint32_t worker_count)
{
    return group_store(group, store_count) % worker_count;
}

struct host_events {
    /* A replica of this worker learned of a leader (node 0: lost it). */
    void (*on_leader)(void *context, struct group_id group, node_id_t leader, uint64_t term);
    /* Entries of the meta group were applied on this worker: read its rows again. */
    void (*on_meta_applied)(void *context);
    /* The births of all replicas added so far are durable; not for those that were recovered. */
    void (*on_born)(void *context);
    /* A committed configuration no longer has this replica: it stopped. Its data
     * stays until host_drop_replica(), which may be called from inside. */
    void (*on_removed)(void *context, struct group_id group, struct replica_id replica);
    /* host_drop_replica() has done with it: another may be added in its place. */
    void (*on_dropped)(void *context, struct group_id group);
    /* The engine of a store of this worker is damaged: its replicas have stopped. Next:
     * host_detach_store(), but not from inside. */
    void (*on_damaged)(void *context, uint32_t store, const struct error *error);
    /* The replica differs from its peers and has stopped, for ever: it must come back under a new
     * id. `what` for people. Maybe from inside of anything. */
    void (*on_fenced)(void *context, struct group_id group, struct replica_id replica,
                      const char *what);
    /* Replicas of a group differ, and it cannot be told which of them are wrong. */
    void (*on_disputed)(void *context, struct group_id group, const char *what);
    /* The pass that host_verify() began is over. */
    void (*on_verified)(void *context);
    /* A flush of the store failed for what may pass, as a full disk; NULL: they succeed again. */
    void (*on_flush)(void *context, uint32_t store, const struct error *error);
    /* The committed configuration of a group is as wished for: of a wish that was set with `tell`,
     * again from time to time. */
    void (*on_settled)(void *context, struct group_id group, uint64_t wish_number);
    /* The wish names the node of a sound voter by another id, for which there cannot be room:
     * `kept` may stay instead. Again from time to time. */
    void (*on_kept)(void *context, struct group_id group, uint64_t wish_number,
                    const struct raft_member *kept);
    /* A group that is led here has new committed rows of SERVICE_TXN, or leads since now and has
     * some. Not from inside of anything that evaluates. */
    void (*on_txn)(void *context, struct group_id group);
    /* Frames of kind REPLIES and others the host does not handle go to the node. */
};

struct copy_gate;
struct rest_board;

struct host_options {
    struct world *world;
    struct transport *transport;
    struct relay *relay; /* over it, for replies; NULL: none go through other nodes */
    struct log *log;
    struct engine **engines; /* by store */
    const char *quarantine;  /* what removed replicas had goes there first; NULL: nowhere */
    uint64_t disk_reserve;   /* free space that is not for that */
    uint32_t store_count;
    uint32_t worker_count;
    node_id_t node;
    boot_epoch_t epoch;
    struct raft_timing timing;
    bool reads_by_quorum;
    uint32_t raft_planted_bugs;    /* simulator only */
    struct rest_board *rest_board; /* of the node; NULL: nothing rests */
    struct copy_gate *copy_gate;   /* of the node; NULL: states are copied as fast as it goes */
    uint64_t hash_secret[2];
    evaluate_fn *evaluate[SERVICE_COUNT];
    /* Work of a service in the background: run by the leader of a partition when an evaluation
     * asked for it (row_want_chore()) and once after each election, evaluated and logged like a
     * request, without a session and without a reply; rate-limited (chore.c). It does a bounded
     * part and asks again while something is left. NULL: the service has none. */
    evaluate_fn *chore[SERVICE_COUNT];
    const void *service_options[SERVICE_COUNT]; /* row_context.options; constant */
    uint64_t memory_bytes;                      /* this worker's share of --memory; 0: no limit */
    /* What others of this worker hold of that share: buffers of clients and of the gateway. May be
     * NULL. */
    uint64_t (*buffer_bytes)(void *context);
    /* That life of a gateway is over for certain: nothing comes of it any more. What it held open
     * here ends. May be NULL. */
    bool (*gateway_is_over)(void *context, struct gateway_id gateway);
    uint64_t flush_bytes;           /* dirty bytes of a store that start a flush: 32 MiB */
    uint64_t entries_bytes_max;     /* of entries kept in memory for one group: 4 MiB */
    uint32_t reply_part_bytes;      /* larger replies leave for other nodes in parts; 0: 256 KiB */
    uint64_t big_replies_bytes_max; /* such replies that wait, in sum; 0: 64 MiB; then -BUSY */
    uint32_t cold_job_bytes_max;    /* that one read of the engine brings; 0: COLD_JOB_BYTES_MAX */
    uint32_t heavy_bytes;           /* a write of so many is heavy; 0: GOVERNOR_BODY_BYTES */
    uint32_t heavy_rate_least;      /* cost a second; 0: GOVERNOR_RATE_LEAST */
    bool heavy_unbounded;           /* heavy work never waits for light writes */
    struct host_events events;
    void *context;
};

struct replica_options {
    struct group_id group;
    struct replica_id replica;
    uint16_t slot_first, slot_last;
    const struct raft_config *birth_config; /* members at founding; learner: empty config */
    const struct log_recovered *recovered;  /* of this replica id; NULL: newly born */
    bool vote_at_once;                      /* the start that founds the cluster */
};

struct partition_host *host_open(const struct host_options *options);
/* The groups led here rest: they send no heartbeats (rest.c). */
bool host_rests(const struct partition_host *host);
/* No job of this host and no record of it in the log is under way. Before host_close() in an
 * orderly stop; a killed process of the simulator closes without it. */
bool host_is_idle(const struct partition_host *host);
/* This node's disk is below its reserve (or no more): told to others with heartbeats, and with
 * `text` to clients whose requests are refused. */
enum { DISK_TEXT_SIZE = 256 };
void host_set_disk(struct partition_host *host, bool low, const char *text);
/* Databases (bit by number, of those that services have) whose writes are acknowledged when a
 * quorum has written them: their entries say so from now on (decision 0012). */
void host_set_memory(struct partition_host *host, uint64_t databases);
/* Entries of such databases may be acknowledged by this node once they are written: a restart will
 * find out if that was lost. False, as at first: it waits for their sync, as for all others'. */
void host_believe_written(struct partition_host *host, bool believe);
/* While mute no core is ticked: it neither stands for election nor asks anybody anything. What
 * comes in is not held back here: the caller does not hand it over. */
void host_mute(struct partition_host *host, bool mute);
/* The host is about to be closed: it begins nothing more on the disks, so that it becomes idle. */
void host_begin_close(struct partition_host *host);
/* Stops everything; unreleased requests are dropped. */
void host_close(struct partition_host *host);
/* Loads the replica's record and rows from its engine, then joins its group. STATUS_CORRUPT,
 * STATUS_IO: the engine is damaged (host_store_damaged() is the caller's). STATUS_NOT_FOUND: log
 * and engine are sound, but what they must hold of this replica is not there: it is lost, and may
 * come back only under a new id (FAULTS rule 9). */
enum status host_add_replica(struct partition_host *host, const struct replica_options *options,
                             struct error *error);
/* No birth of a replica is under way to the log; else events.on_born will say so. */
bool host_is_born(const struct partition_host *host);
/* Stops the replica; in the background what it has is copied to quarantine, then it is logged as
 * removed and freed (on_dropped), and its rows and its record leave the engine. Only on a committed
 * removal (on_removed): FAULTS rule 8. */
void host_drop_replica(struct partition_host *host, struct group_id group);

/* Begins to compare all rows of the groups that are led here with those of the other members, at
 * about `rate` bytes a second; on_verified() follows. One that is under way begins anew. */
void host_verify(struct partition_host *host, uint64_t rate);
/* The replica here was found to differ from its peers, and has stopped. */
bool host_is_fenced(const struct partition_host *host, struct group_id group);

/* --- a store whose engine is damaged (FAULTS F21-F25) --- */
/* The replicas of the store stop; on_damaged follows, unless it had been called. */
void host_store_damaged(struct partition_host *host, uint32_t store, const struct error *cause);
/* Frees its replicas; what the log has of them stays, until others are born in their place.
 * True: nothing uses the engine any more. False: a job does, call again. */
bool host_detach_store(struct partition_host *host, uint32_t store);
/* The engine was exchanged: replicas may be added. */
void host_attach_store(struct partition_host *host, uint32_t store);

/* Any frame of kinds RAFT, HEARTBEATS, HEARTBEAT_ACKS, SNAPSHOT, SNAPSHOT_ACK, GONE, NODE_BEAT,
 * REST, REST_ACK, VERIFY, REQUESTS, REPLY_ACKS. */
void host_on_frame(struct partition_host *host, const struct transport_peer *from, uint8_t kind,
                   struct bytes payload);
void host_peer_down(struct partition_host *host, node_id_t node);

/* What meta wishes the members to be; the leader changes the configuration towards it:
 * learner -> caught up -> joint swap. Replicas of nodes unknown here are kept. `tell`: whoever
 * wishes waits for it (on_settled). `next_replica_id`: all ids that the table knows are below it.
 * `number`: of the wish, given back with those events. */
void host_set_wish(struct partition_host *host, struct group_id group,
                   const struct raft_member *members, uint32_t count, uint64_t next_replica_id,
                   uint64_t number, bool tell);
/* SIGTERM, drain: hand all leaderships over. host_leader_count() tells when it is done. */
void host_transfer_all(struct partition_host *host);
/* One leadership, which may come back. */
void host_transfer(struct partition_host *host, struct group_id group);
uint32_t host_leader_count(const struct partition_host *host);

/* `now` without the time that the groups led here were at rest, in which no member was asked.
 * Whoever did not answer since counts as silent by this one. For raft_match_of() in reports. */
uint64_t host_heard_until(const struct partition_host *host, uint64_t now);

/* Committed rows of a group of this worker (meta for the node), or NULL. */
const struct row_table *host_rows(const struct partition_host *host, struct group_id group);
/* Its committed rows: those of the table, then, if it is incomplete, the others of the engine,
 * which is read meanwhile. False: they cannot be told now (no replica, a snapshot is taken in), or
 * not all. */
bool host_rows_each(const struct partition_host *host, struct group_id group, void *context,
                    bool (*on_row)(void *context, const struct row_found *row));

/* The keys of the committed rows of transactions of a group that this worker leads, in their order.
 * O(those rows), whatever was deleted before. False: they cannot be told now; on_txn() follows. */
bool host_txn_rows_each(struct partition_host *host, struct group_id group, void *context,
                        void (*on_key)(void *context, struct bytes key));
/* One of them; the value is borrowed until the table changes. May be called from inside on_key().
 * False: it is not there, or cannot be read now. */
bool host_txn_row(struct partition_host *host, struct group_id group, struct bytes key,
                  struct bytes *ret_value);

/* --- the gateway of the same worker: no frames, no copies --- */
struct host_gateway {
    void *context;
    /* Reply bytes are borrowed. Either may be called from inside host_request_local(). */
    void (*on_reply)(void *context, struct group_id group, uint64_t route, uint64_t seq,
                     uint8_t outcome, struct bytes bytes);
    void (*on_nack)(void *context, struct group_id group, uint64_t route, uint8_t code,
                    node_id_t leader, uint64_t leader_term);
};
void host_set_gateway(struct partition_host *host, const struct host_gateway *gateway);

struct host_request {
    struct gateway_id gateway;
    uint64_t route;
    uint32_t position;
    uint64_t term;
    uint64_t watermark;
    uint32_t patience_ms; /* left: after it nobody waits any more */
    uint64_t seq;
    bool write;
    bool ordered;
    uint16_t client;
    bool grows;
    uint8_t service;
    uint16_t slot;
    struct bytes body;
};
/* `now` read after the request's bytes were (A3). False: the group has no replica here. */
bool host_request_local(struct partition_host *host, struct group_id group,
                        const struct host_request *request, uint64_t now);
/* Term in which the replica of this worker leads the group; 0: it does not. */
uint64_t host_leads(const struct partition_host *host, struct group_id group);

/* --- for the simulator's checkers and for `holon status` --- */
const struct raft *host_raft(const struct partition_host *host, struct group_id group);
/* 0: no replica of the group on this worker. */
struct replica_id host_replica_id(const struct partition_host *host, struct group_id group);
/* Equal for replicas of equal applied index (S-1): rows and dedup windows. */
/* Reads the engine where the table does not hold all rows. False: not to be told now, because
 * table and engine stand for different indexes (a snapshot is being taken in). */
bool host_state_hash(const struct partition_host *host, struct group_id group, uint64_t *ret_hash);

struct replica_status {
    struct group_id group;
    struct replica_id replica;
    enum raft_role role;
    bool ready; /* leads and evaluates */
    uint64_t term;
    node_id_t leader;
    uint64_t commit, applied, last, durable, flushed;
    uint64_t rows, row_bytes;
    uint32_t voters, learners;
    uint32_t behind; /* leader: members not caught up or silent */
};
uint32_t host_replica_count(const struct partition_host *host);
void host_replica_status(const struct partition_host *host, uint32_t index,
                         struct replica_status *ret);

struct host_statistics {
    uint64_t evaluations, reads, writes, dedup_hits, nacks, lease_reads, round_reads;
    uint64_t entries_proposed, entries_applied, elections, snapshots_sent, snapshots_installed;
    uint64_t snapshots_sending, snapshots_waiting; /* now */
    uint64_t snapshot_bytes;                       /* of them, acknowledged */
    uint64_t copies_held; /* pieces, sent or received, that waited for their turn */
    uint64_t flushes, flushed_bytes, flush_failures, loop_gaps;
    uint64_t no_space;     /* refused, because disks are full */
    uint64_t log_full;     /* of which writes that add no data: the log is at its bound */
    uint64_t expiry_marks; /* entries logged so that reads need not delete what is expired */
    uint64_t slow_disks;   /* times the log's disk was found slow */
    uint64_t slow_loops;   /* times a loop was found slow */
    uint64_t slow_disk_handovers;
    uint64_t rests, rest_wakes; /* of the groups led by this worker */
    uint64_t chores, chore_entries, chore_effects;
    uint64_t verify_rounds;             /* comparisons begun by leaders of this worker */
    uint64_t verify_ranges;             /* of which of rows, and with an outcome */
    uint64_t verify_rows, verify_bytes; /* looked at for them, as leader or follower */
    uint64_t verify_skipped;            /* groups that a pass could not finish */
    uint64_t verify_differences;        /* comparisons in which a member differed */
    uint64_t verify_disputed;           /* of which it cannot be told who is wrong */
    uint64_t replicas_fenced;           /* of this worker */
    uint64_t big_replies, big_replies_refused, big_reply_bytes; /* the last: that wait now */
    uint64_t cold_parked;        /* evaluations that waited for rows of the engine */
    uint64_t lock_waits;         /* requests that met the lock of a transaction */
    uint64_t txn_rows_looked;    /* by host_txn_rows_each() */
    uint64_t row_waits;          /* times a request waited for a row to be written (row_wait()) */
    uint64_t cut_freezes;        /* of groups led here, for cuts through the cluster; */
    uint64_t cut_waits;          /* requests that waited meanwhile, */
    uint64_t cut_frozen_max_us;  /* and the longest */
    uint64_t cut_frozen_last_us; /* of the last cut alone */
    uint64_t cut_parts;          /* parts of cuts that were begun here, */
    uint64_t cut_reads;          /* and requests that were answered at one */
    uint64_t heavy_delayed;      /* large writes that waited for light ones of others */
    uint64_t heavy_overdue;      /* of which so long that they went on all the same */
    uint64_t heavy_cost;         /* rows, or KiB, of large writes and of collection */
    uint64_t cold_reads;         /* keys and ranges asked of the engine, */
    uint64_t cold_rows;          /* and rows that came */
    uint64_t cold_refused; /* BUSY, because too much waited or an evaluation wanted too often */
    uint64_t evicted_bytes;
    uint64_t rows_foreseen;  /* whose memory was asked for before they were applied */
    uint64_t collected_rows; /* of dropped namespaces, deleted from the engine */
    uint64_t expired;        /* held requests that nobody waited for any more */
    uint64_t writes_refused; /* BUSY, because memory is full of what is not on disk yet */
    uint64_t busy;           /* BUSY in all, whatever the reason */
    /* As of now: */
    uint64_t table_bytes, clean_bytes, dirty_bytes, entry_bytes, waiting_bytes, copy_bytes;
    uint64_t window_bytes, buffer_bytes;
    uint64_t cuts_open, cut_bytes; /* parts of replicas here, and memory that they hold */
    uint64_t incomplete_tables, parked, memory_limit, refusing;
    uint64_t uncommitted_entries, uncommitted_bytes; /* of leaders (A5) */
    uint64_t read_waits, read_wait_bytes;            /* replies that wait for a commit or a round */
    uint64_t heavy_waiting, heavy_rate, chores_behind;
};
void host_statistics(struct partition_host *host, struct host_statistics *ret);
/* From the first fetch of cold rows to the answer, us. */
const struct histogram *host_cold_latency(const struct partition_host *host);

#endif
