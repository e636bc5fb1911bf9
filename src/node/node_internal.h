/* node_internal.h - what the files of the node share. Not for other modules.
 *
 *   node.c         creation, calls between workers, failure
 *   node_start.c   founding, rejoining or resuming; node_directory.c, node_open.c
 *   node_join.c    an empty directory joins a running cluster
 *   node_admit.c   a member lets it in
 *   node_worker.c  one worker: transport, host, gateway, services, dispatch of frames
 *   node_view.c    the cluster view: from meta's rows to every worker, to disk
 *   node_tables.c  the table from node to node, and who hears that there is a later one
 *   node_leaders.c who leads what: between workers, and to nodes that hold no replica
 *   node_boot.c    what this start tells meta: FOUND, BOOT, EPOCHS; and when it is ready
 *   node_fence.c   replicas that differed from their peers
 *   node_memory.c  databases with durability memory, and what a loss of power took
 *   node_confirm.c  a restart is mute until others have said that its disk is no old one
 *   node_disk.c    free space, and who is told when there is too little
 *   node_member.c  founding frames after the founding: START again, rejoin of a wiped node
 *   node_repair.c  damaged log, identity or tables: quarantine, rejoin, until whole again
 *   node_stores.c  damaged stores: out, a fresh engine, filled
 *   node_lost.c    lost replicas: new ids from meta, until their successors vote
 *   node_scrub.c   reads what lies on the disk for damage; moves damaged segments away
 *   node_sealed.c  the same for identity, tables, owners of stores and the log's mark
 *   node_stop.c    SIGTERM: leaderships, requests in flight, log, the clean mark
 *   node_snapshot.c, node_moves.c, node_status.c, node_metrics.c, node_admin.c  /status, /metrics,
 * /health */
#ifndef HOLON_NODE_NODE_INTERNAL_H
#define HOLON_NODE_NODE_INTERNAL_H

#include "base/assert.h"
#include "base/memory.h"
#include "cluster/founding.h"
#include "cluster/join_message.h"
#include "cluster/gateway.h"
#include "txn/txn.h"
#include "txn/txn_cut.h"
#include "partition/copy_gate.h"
#include "partition/rest_board.h"
#include "cluster/identity.h"
#include "cluster/memory_file.h"
#include "cluster/meta.h"
#include "cluster/repair_file.h"
#include "cluster/view_change.h"
#include "node/node.h"
#include "partition/host.h"
#include "services/redis/redis_service.h"
#include "storage/engine/engine_gate.h"
#include "storage/log/log.h"
#include "wire/peer_frame.h"

struct admin;
struct admission;
struct node_collector;

enum {
    NODE_RETRY_US = 50 * 1000,          /* between questions to meta that found no answer */
    NODE_WATCH_US = 250 * 1000,         /* while not ready: who is missing? */
    NODE_WATCH_FIRST_US = 700 * 1000,   /* a usual start is over by then */
    NODE_STOP_MAX_US = 5 * 1000 * 1000, /* SIGTERM: then what is in flight is given up */
    NODE_STOP_POLL_US = 5 * 1000,
    NODE_CLOSE_MAX_US = 10 * 1000 * 1000, /* then a log that cannot write is not waited for */
    NODE_SAVE_RETRY_US = 1000 * 1000,
    NODE_DISK_WATCH_US = 1000 * 1000,    /* between looks at the free space */
    NODE_DISK_IDLE_US = 4 * 1000 * 1000, /* the same while nothing is logged and there is plenty: */
    NODE_DISK_IDLE_RATE = 1 << 30,       /* bytes a second that nobody fills a disk with */
    FILE_DAMAGES_MAX = 12,               /* of small files, told and healed at once */
    NODE_RESERVE_BASE = 2 << 20,         /* of DIR/reserve: identity, table, RocksDB's files, */
    NODE_RESERVE_STORE = 256 << 10,      /* and so much for each store */
    NODE_SCRUB_US = 1000 * 1000,         /* between looks at what is damaged */
    NODE_SCRUB_NOW_RATE = 64 << 20,      /* bytes a second at least, where an operator waits */
    NODE_SCRUB_PIECE = 1 << 20,          /* read by one job at most, or one batch */
    NODE_CONFIRM_GRACE_US = 1000 * 1000, /* for members that do not answer a start */
    NODE_TRANSFER_MAX_US = 1500 * 1000,  /* of it, for handing leaderships over */
    NODE_ALIVE_US = 1000 * 1000,         /* heard within: that node is alive */
    MERGE_PACE = 16 << 20, /* bytes of rows a second that are merged, if nothing waits for it */
    LOG_QUEUE_BYTES_MAX = 64 << 20,
    LOG_SEGMENT_SIZE = 64 << 20,
    LOG_SEGMENT_SIZE_UNIT = 4096,
    LOG_BOUND_SEGMENTS = 16,                /* that --log-bytes-max holds at least */
    GATEWAY_INFLIGHT_BYTES_MAX = 256 << 20, /* of a worker; at most an eighth of its --memory, */
    GATEWAY_BYTES_LEAST = 32 << 20,         /* but so much */
    CLIENT_BYTES_LEAST = 64 << 20,          /* the same of clients, who have a quarter */
};

enum node_state {
    NODE_NEW,
    NODE_JOINING, /* or asking whether it is where it should be */
    NODE_FOUNDING,
    NODE_OPENING, /* workers open */
    NODE_RUNNING, /* serves what it can; `ready` says whether that is everything */
    NODE_STOPPING,
    NODE_STOPPED, /* or failed */
};

struct leader_news {
    struct group_id group;
    node_id_t leader;
    uint64_t term;
};

struct node_worker {
    struct node *node;
    uint32_t index;
    struct world *world;
    struct transport *transport;
    struct relay *relay; /* over it */
    struct partition_host *host;
    struct gateway *gateway;
    struct txn_worker *txn; /* over it; NULL: nobody is served yet */
    struct txn_cuts *cuts;  /* the same */
    struct redis_service *redis;
    struct cluster_view view;
    /* Leaders that replicas of this worker learned of in this turn. */
    struct leader_news *news;
    uint32_t news_count, news_capacity;
    struct world_deferred news_out;
    /* By group: the newest replica of this node that was lost; NULL: none was. */
    struct replica_id *lost;
    /* The table with which this start began: it knew of all ids below, and named those for this
     * node, by group. */
    uint64_t ids_at_start;
    struct replica_id *named_at_start;
    uint64_t stores_out;       /* bits: damaged, or not exchanged yet */
    uint64_t stores_detaching; /* bits: the host still has replicas or jobs of it */
    struct world_timer detach_timer;
    /* Stopping: */
    struct world_timer stop_timer;
    uint64_t stop_began;
    uint64_t close_began;
    uint32_t stop_polls;
    bool closing;
    bool born; /* the births of its replicas are durable */
    /* node_confirm.c: */
    bool muted, hears_all;
    uint64_t heard; /* bits by node id - 1: their tables do not know of a later start */
};

/* A question to meta through the gateway of worker 0, one at a time each. */
struct meta_question {
    struct gateway_request request;
    struct node *node;
    struct buffer body;
    bool busy;
    struct meta_reply reply;
    /* Outcome GATEWAY_REPLY with a readable reply, or `reply.result` META_RETRY. */
    void (*on_answer)(struct node *node, struct meta_question *question);
};

enum { REJOIN_QUESTIONS_MAX = 4, JOIN_QUESTIONS_MAX = 4 };

struct rejoin_question { /* asked for a wiped node */
    struct meta_question question;
    node_id_t node;
    uint32_t worker;
    uint64_t token;
    store_id_t store;
};

struct admit_question { /* asked for a node that joins */
    struct meta_question question;
    store_id_t store;
    uint32_t worker; /* that has its connection, and what that is called there */
    uint64_t ticket;
};

struct node_join { /* node_join.c */
    struct join_file file;
    bool made;      /* the file, by this start */
    bool checking;  /* of a member: is this the cluster that --join names? */
    uint32_t asked; /* questions sent */
    uint32_t next;  /* address to ask */
    uint64_t began, told_at;
    struct stream *stream;
    struct buffer input;
    struct world_timer timer;
};

/* What a group's leader says of a wish that is fulfilled; or cannot be, and `kept` may stay. */
struct settled_news {
    struct group_id group;
    uint64_t wish_number;    /* view_group.changed */
    struct raft_member kept; /* replica 0: fulfilled */
    bool relayed;            /* for a leader that does not reach meta's */
};

enum { MOVER_SETTLED_MAX = 256 }; /* that wait to be told; more are said again by their leaders */

struct mover_plan;

struct node_mover { /* node_mover.c */
    struct world_timer timer;
    uint64_t look_at;
    struct meta_question move, settle;
    uint64_t term;     /* in which it led meta when it last looked; 0: it did not */
    uint32_t failures; /* of moves, one after the other */
    uint64_t silent_since[NODES_MAX + 1]; /* boot time, by node id; 0: not silent */
    struct mover_plan *plan;              /* moves that are not asked for yet, from `next` on */
    uint32_t next;
    struct settled_news settled[MOVER_SETTLED_MAX]; /* one of a group */
    uint32_t settled_count;
    uint64_t settled_dropped;
    bool settle_failed; /* meta did not answer the last of them */
    uint32_t relays;    /* said to others, each time to another one */
    bool leaderless;    /* a group cannot be moved for nobody is known to lead it */
    uint32_t recalls;   /* of leaders, one after the other */
    uint64_t recall_at; /* not before */
    /* For people, while it leads meta: groups to be moved, and how many they were at most since
     * there were none; of that table. */
    uint32_t left, left_most;
    uint64_t left_epoch;
};

struct node_tables {       /* node_tables.c */
    struct buffer encoded; /* the view of worker 0, as others get it */
    uint64_t encoded_epoch;
    struct view_marks marks;  /* of the table that was spread, or adopted, last */
    struct buffer change;     /* to that from the one before; empty: it is sent whole */
    struct world_timer timer; /* says the epoch to others */
    uint64_t say_at;
    uint64_t epoch_heard; /* the latest that others have said */
    uint32_t epoch_tries;
    uint64_t epoch_given_up;
    uint64_t asked_at; /* for a later table; 0: never */
};

enum { NODE_RELEASE_SIZE_MAX = 32 };

struct node_supports {  /* of another node, as it said (node_upgrade.c) */
    boot_epoch_t epoch; /* of the start that said it */
    uint32_t version;   /* highest cluster version; 0: not said */
    char release[NODE_RELEASE_SIZE_MAX];
};

enum { OPERATIONS_MAX = 8 }; /* of operators, under way at a time */

struct operation { /* node_operate.c */
    struct meta_question question;
    struct operation_reply reply;
};

struct view_save {
    struct world_job job;
    bool busy, again;
    struct buffer body;
    uint64_t epoch_saved; /* table epoch that is on disk */
    uint64_t epoch_taken; /* of `body`, while busy */
    struct world_timer retry;
    struct identity identity;
    bool identity_wanted, with_identity; /* wanted: changed since it was last on disk */
    enum status status;
    struct error error;
};

struct disk_watch { /* node_disk.c */
    struct world_timer timer;
    struct world_job job;
    bool busy, low, idle;
    uint64_t free, found; /* bytes; found: by the job */
    uint64_t logged;      /* bytes, since the start, as of the last look */
    enum status status;
    struct error error;
    /* DIR/reserve: */
    uint64_t reserve;      /* its bytes, as far as known; the job's */
    uint64_t reserve_told; /* metrics */
    bool looked;           /* once since the start; the job's */
};

struct node_scrub { /* node_scrub.c */
    struct world_timer timer;
    struct world_job job;
    bool busy;
    struct log_scrub log;
    /* Passes: boot time; what was read in all. */
    bool under_way;
    uint64_t began, passes, read_at; /* read_at: not before */
    int64_t ended;                   /* wall clock, of the last whole pass; 0: none yet */
    uint64_t bytes, wanted;
    uint32_t part;        /* of the pass: 0 the log, then the stores, number + 1; then the rows */
    uint32_t verifying;   /* workers that compare rows */
    uint64_t whole_began; /* boot time, of the last whole pass; 0: none */
    bool wanted_now;      /* an operator asked for a pass */
    bool hurried;         /* this one is it */
    struct buffer place;  /* in that store */
    uint32_t failures;    /* to read there, one after the other */
    uint64_t stores_damaged;
    /* The job's: */
    struct engine *engine;
    uint64_t read;
    bool more;
    enum status read_status;
    struct error read_error;
    /* Evidence that is moved, by the job; afterwards what is told of it. */
    struct log_damaged damaged[LOG_DAMAGED_MAX];
    uint32_t damaged_count, moved;
    char quarantine[QUARANTINE_NAME_SIZE];
    struct quarantine_size measured;
    uint64_t move_at; /* not before: it failed */
    enum status status;
    struct error error;
    /* The last damage that was healed, since the start; `file` empty: none. */
    struct log_damaged healed;
    char healed_in[QUARANTINE_NAME_SIZE];
};

/* A small file that was not as this node had written it, found while it ran. */
struct file_damage {
    char reason[16]; /* "identity", "table", "table-copy", "birth", "owner", "mark" */
    char file[64];   /* below DIR */
    uint64_t offset;
    char what[ERROR_TEXT_SIZE_MAX];
    uint32_t store; /* of an owner */
    bool healed;
    char quarantine[QUARANTINE_NAME_SIZE]; /* with the file as it was; empty: not there yet */
};

struct node_sealed { /* node_sealed.c */
    struct world_job job;
    bool due, busy;
    uint64_t due_since;
    uint64_t found_total;
    /* The job's, and copies of what it compares with: */
    struct identity identity;
    struct buffer table, birth; /* empty: not compared */
    uint64_t stores;            /* bits: whose owner is compared */
    struct file_damage found[FILE_DAMAGES_MAX];
    uint32_t found_count;
    uint64_t stores_gone;           /* bits: the directory is not there, or another one */
    bool more;                      /* there was no room in `found` */
    bool unknown;                   /* something could not be looked at */
    char set[QUARANTINE_NAME_SIZE]; /* in quarantine, of what is not healed yet; empty: none */
    bool foreign;                   /* `error` says why this process must not go on with DIR */
    enum status status;             /* of the evidence and of healing */
    struct error error;
    struct quarantine_size measured;
    /* The last check that found something, for people. */
    struct file_damage told[FILE_DAMAGES_MAX];
    uint32_t told_count;
};

struct lost_replica {
    struct group_id group;
    struct replica_id replica;
    bool removed; /* as no member any more: what comes in its place is a move like others */
    bool filling; /* the table names another one, which does not vote yet */
    uint64_t since, leader_heard; /* boot time */
};

enum { FENCES_MAX = 64, FENCE_TEXT_MAX = 320 };

/* A replica of this node that differed from its peers. */
struct fenced_replica {
    struct group_id group;
    struct replica_id replica;
    int64_t found; /* us since 1970 */
    char what[FENCE_TEXT_MAX];
    bool durable;         /* a later start knows of it */
    uint64_t replaced_at; /* boot time, when another one voted in its place; 0: not yet */
};

struct node_memory {                /* node_memory.c */
    struct memory_file file, saved; /* `saved` borrows the list */
    uint64_t machine;               /* 0: it cannot be told, and nothing is acknowledged early */
    bool lost;                      /* since the last start of this node, power was */
    bool believed;                  /* the workers were told that what is written counts */
    uint32_t telling;               /* workers that have not heard the latest */
    bool busy;
    struct world_job job;
    struct world_timer poll;
    enum status status;
    struct error error;
};

struct node_fence { /* node_fence.c */
    struct fenced_replica replicas[FENCES_MAX];
    uint32_t count;
    struct world_job job;
    struct world_timer retry;
    bool busy, again;
    struct buffer body; /* the job's */
    uint32_t taken;     /* of `replicas`, that `body` has */
    enum status status;
    struct error error;
    /* A group whose replicas differ, and nobody can say which is wrong: the last one found. */
    struct group_id disputed;
    uint64_t disputed_at; /* boot time; 0: none was */
    char disputed_what[FENCE_TEXT_MAX];
};

struct node_damage {
    const char *reason; /* short, for the name of the quarantine */
    const char *file;
    uint64_t offset;
};

struct repair_count {
    uint32_t replicas[STORES_MAX], voters[STORES_MAX];
};

enum store_state { STORE_SOUND, STORE_HALTED, STORE_DETACHED, STORE_MOVING, STORE_FILLING };

struct node_store {
    struct node *node;
    uint32_t number;
    enum store_state state;
    uint64_t since, retry_at;
    struct error cause;
    char path[PATH_SIZE_MAX];
    char quarantine[QUARANTINE_NAME_SIZE];
    struct error flush_error;  /* of flushes that fail; STATUS_OK: none does */
    bool marked;               /* as damaged, durably */
    uint64_t mark_at;          /* not before */
    bool moved;                /* it is in quarantine; what is at `path` is fresh */
    uint32_t replicas, voters; /* when last counted */
    bool counted;
    /* The job that marks it, or exchanges its engine: */
    bool busy;
    struct world_job job;
    struct engine *old_engine, *new_engine; /* the job's */
    struct quarantine_size measured;
    enum status status;
    struct error error;
};

struct node_repair {
    bool active;      /* DIR/repair is there */
    bool rejoin_only; /* nothing but a quarantine is left: it must not found */
    struct repair_file file;
    struct quarantine_size quarantine;
    uint32_t replicas, voters; /* of this node, when last counted */
    struct repair_count counting;
    uint32_t counts_missing;
    struct world_timer poll;
};

struct node {
    struct node_options options;
    struct node_platform platform;
    struct world *world; /* of worker 0 */
    enum node_state state;
    bool ready, booted, was_ready;
    bool vote_at_once; /* this start founds the cluster */
    bool rejoined;
    bool joined; /* by this start: nobody is served before meta knows of it */
    struct node_join join;
    bool born_recorded; /* identity.born is on disk */
    struct file *lock;
    struct identity identity;
    boot_epoch_t epoch;
    uint64_t token; /* of this process, for meta */
    bool members_given;
    /* By node id - 1: a node that was removed leaves a place without a name. While it founds or
     * rejoins, by the rank of the names. */
    uint32_t member_count; /* the highest id */
    struct node_member members[NODES_MAX];
    struct founding *founding;
    struct world_deferred founding_over;
    struct cluster_view birth;
    struct log *log;
    struct engine *engines[STORES_MAX];
    const struct log_recovered *recovered;
    size_t recovered_count;
    struct node_worker *workers;
    uint32_t workers_open, workers_born, workers_drained, workers_closed;
    bool fail_pending;
    struct error failure;
    struct world_deferred failure_out;
    /* Boot: */
    struct meta_question boot, found, epochs;
    struct world_timer boot_timer;
    struct world_timer watch_timer;
    uint64_t watch_ticks;
    char waiting_for[256];
    struct rejoin_question rejoins[REJOIN_QUESTIONS_MAX];
    struct admit_question admits[JOIN_QUESTIONS_MAX];
    bool deciding;             /* it may, once that is on disk */
    bool confirmed;            /* it may speak */
    boot_epoch_t epoch_before; /* that this disk spoke under before this start */
    uint64_t tables_heard;     /* bits by node id - 1 */
    uint64_t confirm_began;
    struct world_timer confirm_timer;
    struct rest_board *rest_board;  /* of all workers */
    struct copy_gate *copy_gate;    /* the same */
    struct engine_gate *merge_gate; /* of merges of the stores */
    uint64_t heard[NODES_MAX + 1];  /* boot time of the last heartbeat, by node id */
    struct view_save save;
    struct disk_watch disk;
    struct node_scrub scrub;
    struct node_sealed sealed;
    struct node_fence fence;
    struct node_memory memory;
    struct node_repair repair;
    struct node_tables tables;
    struct node_mover mover;
    struct operation operations[OPERATIONS_MAX];
    struct node_supports supports[NODES_MAX + 1];
    char quarantine[PATH_SIZE_MAX]; /* DIR/quarantine */
    struct node_store stores[STORES_MAX];
    struct lost_replica *lost; /* waiting for another id, or for that one to vote */
    uint32_t lost_count, lost_capacity;
    struct meta_question replace;
    struct world_timer stores_timer;
    struct admin *admin;
    struct admission *admission; /* of clients, over all workers */
    struct node_collector *collector;
    struct world_timer close_timer;
    uint64_t started;
};

/* node.c */
void node_fail(struct node *node, const struct error *error);
const struct logger *node_logger(const struct node *node);
/* Runs on `to`'s thread: at once if that is `from`'s, else by a post. */
void node_call(struct node_worker *from, struct node_worker *to,
               void (*run)(struct node_worker *worker, void *argument), void *argument);
/* `drop` frees what `argument` owns if the process died before (in the simulator); or NULL. */
void node_call_with(struct node_worker *from, struct node_worker *to,
                    void (*run)(struct node_worker *worker, void *argument), void *argument,
                    void (*drop)(void *argument));
void node_worker_opened(struct node_worker *zero, void *argument);
void node_worker_failed(struct node_worker *zero, void *argument); /* owned struct error */

/* node_directory.c, node_open.c, node_start.c */
enum status node_lock_directory(struct node *node, struct error *error);
/* `lock` is that of another process, and says so: somebody holds it, but not this one. */
bool node_lock_is_of_another(struct node *node, struct file *lock);
enum status node_check_settings(const struct node *node, struct error *error);
/* Identity, epoch and view of worker 0 are set. */
void node_open(struct node *node);
/* The founding gave it that replica: it was born, or the log is not what it was. */
bool node_birth_names(const struct node *node, uint32_t group, struct replica_id replica);
static inline bool node_has_member(const struct node *node, node_id_t id)
{
    return id >= 1 && id <= node->member_count && node->members[id - 1].name[0] != '\0';
}
/* What --cluster says of that name; NULL: nothing. */
const struct node_member *node_given_member(const struct node *node, const char *name);
/* Members, this node included. */
uint32_t node_members_there(const struct node *node);
void node_close_storage(struct node *node, bool clean);
/* By the view of worker 0 and --cluster. */
void node_take_members(struct node *node);
/* The directory belongs to a member: table, next epoch, then open. */
void node_start_member(struct node *node);
/* An empty directory, or one whose content is in quarantine. */
void node_start_founding(struct node *node, bool resumed);
/* Closes the founding at the end of the turn. */
void node_founding_end(struct node *node);

/* node_join.c: all on worker 0 */
/* An empty directory, and --join. */
void node_join_start(struct node *node);
/* True: an earlier start has begun to join, and this one goes on with it, or has failed. */
bool node_join_resume(struct node *node);
/* A member with --join: is it of that cluster? Then, or if nobody says no, node_start_member(). */
void node_join_check(struct node *node);
void node_join_stop(struct node *node);

/* node_admit.c */
void worker_on_stranger(void *context, uint64_t ticket, uint8_t kind, struct bytes payload);
void node_admit_forget(struct node *node);
void node_admit_free(struct node *node);

/* node_repair.c: all on worker 0 */
/* While starting: data of this node is damaged as a whole. Goes into REPAIR, or fails. */
void node_damaged(struct node *node, const struct node_damage *damage, const struct error *cause);
/* True: an earlier start left a repair, and this one goes on with it from here. */
bool node_repair_resume(struct node *node);
/* It is a member again, under a new store id. */
void node_repair_joined(struct node *node);
/* Waits until all replicas of this node vote again. */
void node_repair_watch(struct node *node);
/* The replica runs here, and is one of those that a majority is taken of, without the one before
 * it. */
bool worker_votes(const struct node_worker *worker, uint32_t group, struct replica_id id);
/* An earlier one of this node that counts instead, as far as the replica here knows; 0: none. */
struct replica_id worker_votes_before(const struct node_worker *worker, uint32_t group,
                                      struct replica_id id);
/* Starts a count of replicas and voters, unless one is under way. */
void node_repair_count(struct node *node);
/* Why peers cannot rebuild what is lost here, or NULL; by the view of worker 0. */
const char *node_repair_obstacle(const struct node *node);

/* node_lost.c */
/* Worker's thread. The replica is lost and has to come back under a new id. */
void worker_lost_replica(struct node_worker *worker, uint32_t group, struct replica_id replica);
/* The same of one that is no member any more: its id is used up. */
void worker_removed_replica(struct node_worker *worker, uint32_t group, struct replica_id replica);
/* Tells worker 0 which groups with a lost replica have a later one here that votes. */
void worker_lost_look(struct node_worker *worker);
/* Worker 0. */
void node_lost_poll(struct node *node);
void node_lost_leader_heard(struct node *node, struct group_id group);
uint32_t node_lost_waiting(const struct node *node);                 /* without another id */
const struct lost_replica *node_lost_first(const struct node *node); /* of those; NULL: none */
uint32_t node_lost_filling(const struct node *node);        /* with one that does not vote yet */
bool node_lost_in(const struct node *node, uint32_t store); /* waiting */
void node_lost_free(struct node *node);

/* node_stores.c */
void worker_on_damaged(void *context, uint32_t store, const struct error *error);
void worker_on_flush(void *context, uint32_t store, const struct error *error);
/* Adds the replicas that the table has given this node since, where none is. The table is on disk.
 */
void worker_sync_replicas(struct node_worker *worker, void *unused);
/* Worker 0. Before its engine is opened: is the store ours, and was it sound when last used?
 * STATUS_CORRUPT: no. */
enum status node_store_check(struct node *node, uint32_t number, struct error *error);
/* At the start: the node goes on without it, or *error says why it must not. */
enum status node_store_found_damaged(struct node *node, uint32_t number, struct error *error);
void node_store_counted(struct node *node, uint32_t number, uint32_t replicas, uint32_t voters);
bool node_stores_sound(const struct node *node);
/* A job has its files. */
bool node_stores_busy(const struct node *node);
void node_stores_watch(struct node *node);
void node_stores_free(struct node *node);

/* node_worker.c */
/* The replica of this node in a group of this worker, as the table has it; 0: none. */
struct replica_id worker_own_replica(const struct node_worker *worker, uint32_t group);
enum status worker_add_replica(struct node_worker *worker, uint32_t group, struct replica_id self,
                               const struct log_recovered *recovered, struct error *error);
void worker_init(struct node_worker *worker, struct node *node, uint32_t index);
void worker_open_transport(struct node_worker *worker);
void worker_close_txn(struct node_worker *worker); /* after the services, before the gateway */
void worker_open(struct node_worker *worker, void *unused);
void worker_open_late(struct node_worker *worker, void *unused);
void worker_close(struct node_worker *worker);
void worker_set_wishes(struct node_worker *worker);

/* node_view.c */
void node_adopt_view(struct node *node, const struct cluster_view *view);
void node_read_meta(struct node *node);
void node_save_identity(struct node *node);
void node_save_stop(struct node *node);
/* Nothing is being saved, nor has to be: from now on nothing is until node_save_let_go(). */
bool node_save_hold(struct node *node);
void node_save_let_go(struct node *node);
/* A worker's births are durable; argument unused. */
void node_worker_born(struct node_worker *zero, void *unused);
/* Once more, if the table that is used is not on disk. */
void node_save_table(struct node *node);
/* Replicas that the table names and that are not here are born, if it is on disk. */
void node_sync_replicas(struct node *node);

/* node_tables.c: all on worker 0 */
/* The view of worker 0; until it changes. */
struct bytes node_encoded_table(struct node *node);
void node_send_table(struct node *node, node_id_t to);
/* If it leads meta: to all others. */
void node_spread_table(struct node *node);
void node_tables_changed(struct node *node);
void node_on_table(struct node *node, node_id_t from, struct bytes payload);
void node_on_table_change(struct node *node, node_id_t from, struct bytes payload);
void node_on_table_epoch(struct node *node, node_id_t from, uint64_t epoch);
void node_tables_start(struct node *node);
void node_tables_stop(struct node *node);
void node_tables_free(struct node *node);

/* node_leaders.c */
void worker_on_leader(void *context, struct group_id group, node_id_t leader, uint64_t term);
void worker_send_leaders(struct node_worker *worker, node_id_t to);
void node_on_status_frame(struct node *node, const struct transport_peer *from,
                          struct bytes payload);
void node_ask_leaders(struct node *node);
void worker_news_run(struct world_deferred *deferred);

/* node_boot.c */
void node_boot_start(struct node *node);
void node_check_ready(struct node *node);
void node_boot_stop(struct node *node);
void meta_question_ask(struct node *node, struct meta_question *question);
void meta_question_forget(struct node *node, struct meta_question *question);
void node_watch_start(struct node *node);
void node_watch_again(struct node *node);
/* True, and nothing in *ret_text, or what is missing for reads and writes of everything. */
bool node_can_serve_all(const struct node *node, char *ret_text, size_t size);

/* node_confirm.c */
bool node_needs_confirmation(const struct node *node);
void node_confirm_start(struct node *node);
void node_confirm_table(struct node *node, node_id_t from, const struct cluster_view *view);
void node_confirm_booted(struct node *node);
/* The identity is on disk. */
void node_confirm_saved(struct node *node, const struct identity *saved);
bool worker_may_hear(const struct node_worker *worker, node_id_t from);

/* node_disk.c */
void node_disk_start(struct node *node);
/* While starting, before anything is written: gives what DIR/reserve holds back to a full disk. */
enum status node_reserve_use(struct node *node, struct error *error);
/* What the start has failed for may be a limit that free space does not show: the next one has it.
 */
void node_reserve_drop(struct node *node);
/* Its size when it is whole. */
uint64_t node_reserve_size(const struct node *node);

/* node_scrub.c */
void node_scrub_start(struct node *node);
/* A pass begins now, or behind the one that is under way, and faster than --scrub-rate. */
void node_scrub_now(struct node *node);
void worker_on_verified(void *context);
void node_scrub_free(struct node *node);
/* A job reads this store: its engine must not be exchanged now. */
bool node_scrub_reads(const struct node *node, uint32_t store);
/* The job that was started for it is done. */
void node_scrub_go_on(struct node *node);
/* Nobody answers from this store any more. */
void node_scrub_store_damaged(struct node *node, uint32_t store, const struct error *error);

/* node_sealed.c */
/* A pass of the scrubber begins. */
void node_sealed_want(struct node *node);
/* node_memory.c */
/* Before the log is opened. */
enum status node_memory_read(struct node *node, struct error *error);
/* Of what no sync had covered something may be gone from the log, and it is no damage. */
bool node_memory_log_may_lack(const struct node *node);
void node_memory_written_lost(void *node); /* log_options.on_written_lost */
/* After the log was opened, before replicas are added. */
enum status node_memory_load(struct node *node, struct error *error);
/* It may have forgotten what it acknowledged. */
bool node_memory_has(const struct node *node, uint32_t group, struct replica_id replica);
void node_memory_look(struct node *node); /* the table changed, or the node runs now */
void node_memory_stop(struct node *node);
void node_memory_clean(struct node *node); /* all is synced, and the log is closed */
void node_memory_free(struct node *node);

/* node_fence.c */
/* After the log was opened, before replicas are added. */
void node_fence_load(struct node *node);
void worker_on_replica_fenced(void *context, struct group_id group, struct replica_id replica,
                              const char *what);
void worker_on_disputed(void *context, struct group_id group, const char *what);
/* Another one runs there. */
/* `by` votes in the place of what differed in this group; 0: nothing here does. */
void node_fence_replaced(struct node *node, uint32_t group, struct replica_id by);
void node_fence_start(struct node *node); /* all workers are there */
/* It differed from its peers, now or in an earlier start. */
bool node_fence_has(const struct node *node, uint32_t group, struct replica_id replica);
uint32_t node_fence_pending(const struct node *node); /* not born anew yet */
void node_fence_free(struct node *node);

/* True: a job was started, which ends with node_scrub_go_on(). */
bool node_sealed_start(struct node *node);
void node_sealed_free(struct node *node);

/* node_mover.c */
void node_mover_start(struct node *node);
void node_mover_stop(struct node *node);
void node_mover_forget(struct node *node);
void node_mover_free(struct node *node);
/* The table, who leads meta, or a link has changed. */
void node_mover_look(struct node *node);
/* By what this node knows of others; if it does not lead meta, nobody counts as lost. */
void node_mover_plan(const struct node *node, struct mover_plan *ret_plan);
/* Groups to be moved, and of how many; 0 and 0 where it does not lead meta. */
void node_mover_progress(struct node *node, uint32_t *ret_left, uint32_t *ret_total);
/* Worker's thread. */
void worker_on_settled(void *context, struct group_id group, uint64_t wish_number);
void worker_on_kept(void *context, struct group_id group, uint64_t wish_number,
                    const struct raft_member *kept);
/* Connected, or this one (node_status.c). */
bool node_is_up(const struct node *node, node_id_t id);
/* node_upgrade.c */
/* The highest cluster version that this process knows. */
uint32_t node_newest_version(const struct node *node);
void node_upgrade_say(struct node *node, node_id_t to);
void node_on_supports(struct node *node, const struct transport_peer *from, struct reader *reader);
/* The highest cluster version that the running process of a node supports; 0: not known. */
uint32_t node_upgrade_version(const struct node *node, node_id_t id, const char **ret_release);
/* False: not all nodes are known to support it, and why. */
bool node_upgrade_request(const struct node *node, struct meta_request *ret_request, char *ret_why,
                          size_t why_size);

void node_on_settled_frame(struct node *node, struct reader *reader);
void node_settled_start(struct node *node);
void node_mover_ask(struct node *node, struct meta_question *question,
                    const struct meta_request *request);
/* Somebody leads a group of which that was not known. */
void node_mover_leader_heard(struct node *node);

/* node_operate.c */
void node_operate_forget(struct node *node);
void node_operate_free(struct node *node);
/* JSON of what will be moved; appended. */
void node_plan_json(struct node *node, struct buffer *buffer);

/* node_member.c */
/* It is this one, or was heard within NODE_ALIVE_US. */
bool node_is_alive(const struct node *node, const struct view_node *known);
void member_on_founding_frame(struct node *node, const struct transport_peer *from,
                              struct bytes payload);

/* node_admin.c */
enum status node_admin_open(struct node *node, struct error *error);
void node_admin_close(struct node *node);

#endif
