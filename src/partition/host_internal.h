/* host_internal.h - what the files of a partition host share. Not for other modules.
 *
 *   host.c       open, close, dispatch, the tick, the end of a turn
 *   replica.c    birth, recovery, record of one replica
 *   store_damage.c  a store whose engine is damaged: its replicas stop
 *   remove.c     how a replica learns that it was removed
 *   drop.c       how its data goes: to quarantine (keep.c), then from the engine
 *   execute.c    requests at the leader: sessions, evaluation, proposals (rules A, B)
 *   cold.c       requests that wait for rows of the engine, or for others (governor.c)
 *   release.c    replies that wait for commit, lease or read round
 *   apply.c      committed entries into rows and windows; change of role
 *   drive.c      outputs of a Raft core to the log and to other nodes
 *   heartbeat.c  coalesced heartbeats
 *   rest.c       no heartbeats where nothing happens: the leader's side
 *   rest_follow.c  the follower's, and beats of nodes (rest_board.h, rest_frame.h)
 *   memory.c     what may be held in memory: eviction, early flushes, refused writes
 *   collect.c    rows of dropped namespaces out of the engine
 *   warm.c       rows back into memory where there is room
 *   spare.c      memory for rows before it is needed
 *   flush.c      rows to the engine, so that the log can be cut (flush_run.c: the job)
 *   snapshot.c   state to a replica that fell behind (snapshot_send.c: the leader's side;
 *                snapshot_cut.c: rows that are only in memory, row_copies.c: read by a job;
 *                snapshot_turns.c: how many at a time; copies.c: how far they are;
 *                copy_turns.c: how fast, by copy_gate.c and copy_rate.c)
 *   wall.c       the wall clock as the cluster sees it
 *   space.c      requests that are refused because disks are full
 *   slow_disk.c  leaderships leave a node whose disk, or a worker whose loop, is slow
 *   verify.c     replicas are compared with each other (verify_look.c, verify_pass.c)
 *   reconcile.c  configuration towards what meta wishes
 *   big_reply.c  replies of many frames
 *   chore.c      background work of services on the leader
 *   stale.c      reads of replicas that may be behind (stale.h) */
#ifndef HOLON_PARTITION_HOST_INTERNAL_H
#define HOLON_PARTITION_HOST_INTERNAL_H

#include "base/assert.h"
#include "base/histogram.h"
#include "base/list.h"
#include "base/map.h"
#include "base/memory.h"
#include "base/slabs.h"
#include "partition/cold.h"
#include "partition/copies.h"
#include "partition/cut.h"
#include "partition/dedup.h"
#include "partition/governor.h"
#include "partition/host.h"
#include "partition/rest_board.h"
#include "raft/raft_codec.h"
#include "wire/peer_frame.h"
#include "wire/request_frame.h"
#include "world/probe.h"

enum {
    UNCOMMITTED_COUNT_MAX = 16384, /* per partition (A5) */
    UNCOMMITTED_BYTES_MAX = 16 << 20,
    UNCOMMITTED_AGE_MAX_US = 2000 * 1000,
    HELD_BYTES_MAX = 8 << 20,       /* requests a leader holds until it may evaluate */
    HOST_HELD_BYTES_MAX = 64 << 20, /* of all partitions of a worker */
    READ_WAITS_MAX = 65536,
    READ_WAIT_BYTES_MAX = 32 << 20, /* their replies */
    EVALUATE_DEPTH_MAX = 4,         /* replies that submit the next request at once */
    REPLY_SIZE_MAX = 64 << 20,
    /* A leader keeps this many times entries_bytes_max for members that answer but lag. */
    ENTRIES_RESERVE_FACTOR = 4,
    ENTRIES_UNTOLD_MAX = 128, /* kept by followers of a quiet group though all have them */
    DRIVE_ROUNDS_MAX = 64,    /* outputs of one core in a turn */
    READY_POLL_US = 2000,
    SLOW_TICKS = 4,
    SELDOM_FACTOR = 8,     /* what replicas need slowly, while all of them rest */
    REST_SILENT_BEATS = 9, /* in heartbeats: a worker that was not heard of for so long is missed */
    IDLE_FACTOR = 4,       /* an idle node's ticks are so many heartbeats apart, */
    REST_FACTOR = 5,       /* and those of one whose replicas all rest */
    BUSY_US = 1000 * 1000, /* after its last entry a group counts as busy for so long */
    PEER_OUT_FLUSH_BYTES = 384 << 10,
    REPLY_PART_BYTES = 256 << 10,
    BIG_REPLIES_BYTES_MAX = 64 << 20,
    BIG_UNACKED_PARTS_MAX = 4,           /* under way to one gateway */
    BIG_UNACKED_ALL_PARTS_MAX = 64,      /* to all; then each may still have one */
    BIG_REPLY_AGE_MAX_US = 10 * 1000000, /* without a move */
    SCRATCH_KEPT_BYTES = 1 << 20,        /* memory that an evaluation leaves for the next */
    UNANSWERED_FRAMES_MAX = 2,           /* one on the peer's disk, one behind it */
    RAFT_HELD_BYTES_MAX = 64 << 10,
    APPEND_SMALL_BYTES_MAX = 4 << 10, /* entries that a log takes on its last segment */
    EXPIRY_MARKS_BURST = 16,          /* expired.c; of a worker */
    EXPIRY_MARK_US = 100 * 1000,      /* ... and then so far apart */
};

/* What leaves for one worker of one node at the end of the turn. */
struct peer_out {
    node_id_t node;
    uint32_t worker;
    struct buffer raft, heartbeats, acks, replies;
    struct buffer rest, verify;
    uint32_t rest_asked; /* groups that it was asked about (rest.c) */
    bool rest_agreed;
    boot_epoch_t rest_epoch; /* of whom agreed, and how often it had taken that back before */
    uint32_t rest_withdrawals;
    /* Appends wait for company while the peer has not answered the last ones: its disk is busy
     * with those, and a frame costs both sides a wake-up (see peer_out_raft()). */
    bool urgent; /* something in `raft` must not wait */
    uint32_t unanswered;
    bool awaited; /* `raft` has more than patient entries */
    /* The reply section that is still open, to put more of the same route into it. */
    bool section_open;
    size_t section_count_at;
    struct group_id section_group;
    uint64_t section_route;
    uint64_t big_bytes, big_unacked; /* of its gateway's: big_reply.c */
    struct peer_out *next;
};

/* Writes that were refused are not remembered: until they are answered for good, no write that
 * comes after one at its client may be taken (0003). They are not refused in the order of their
 * seqs: some wait for cold rows first. */
struct refusals {
    uint64_t first, last; /* seqs; over when the watermark has passed the last */
    uint16_t client;
    bool of_others; /* than this client, too: then they hold back all */
};

/* A gateway as a leader knows it, for one term (B2, B5). */
struct session {
    struct gateway_id gateway;
    bool local;
    bool refused; /* something of this route was: nothing behind it is taken (B5) */
    uint64_t route;
    uint32_t position; /* next expected */
    uint32_t replies;  /* sent on this route */
    /* What must be true before everything evaluated so far is released. */
    uint64_t release_index, release_round;
    uint64_t watermark;
    struct refusals refusals;
};

struct pending_write {       /* reply of the entry at its index; bytes are in the entry */
    struct session *session; /* NULL: nobody waits */
    uint64_t route, seq;
    struct bytes big; /* owned: outcome too big for the entry; data NULL otherwise */
};

struct read_wait {
    struct session *session;
    uint64_t route, seq;
    uint64_t dep;       /* release when commit >= dep ... */
    uint64_t round;     /* ... and this read round is confirmed (0: no need) */
    uint8_t outcome;    /* enum reply_outcome */
    struct bytes reply; /* owned */
};

struct held { /* a section that waits until the leader may evaluate */
    struct held *next;
    struct gateway_id gateway;
    bool local;
    struct request_section section;
    uint64_t expires; /* boot clock: nobody waits for it then */
    size_t size;
    uint8_t items[];
};

enum { REST_VOUCHERS_MAX = 16 }; /* workers of leaders; with more all replicas are looked at */

/* Whose word a follower takes for its leader's life while its group rests (rest.c). */
struct replica_rest {
    uint64_t generation; /* 0: nobody's */
    uint64_t agreed_at;  /* boot clock */
    node_id_t node;
    boot_epoch_t epoch;
    uint16_t worker;
};

/* Of the groups that this worker leads (rest.c). */
enum rest_state { REST_AWAKE, REST_ASKED, REST_AGREED, REST_RESTING };
struct host_rest {
    enum rest_state state;
    uint64_t generation;
    uint64_t asked_at_tick, ask_at_tick;
    uint64_t since, woke_at; /* boot clock; of the last rest */
    uint8_t flags;           /* of heartbeats, as they were with the last tick */
    uint64_t said_at, said;  /* the last beat, and its generation */
    uint32_t withdrawals;
    uint64_t seen; /* of the board's news */
    /* Nothing changed since all replicas were found at rest: to look at these is enough. */
    bool settled;
    uint32_t voucher_count;
    struct replica_rest vouchers[REST_VOUCHERS_MAX];
};

/* What is proven of how far behind a replica is (stale.h). Times are of the boot clock. */
struct replica_fresh {
    uint64_t as_of; /* its state is as of then or later; 0: nothing is proven */
    int64_t time;   /* the leader's (D3), as of then or later */
    uint64_t asked_at;
    bool asking;
    uint64_t answer_at, answer_index; /* counts when the index is applied; 0: there is none */
    int64_t answer_time;
};

struct snapshot_send;
struct snapshot_receive;

/* What each message and request needs comes first: see struct raft. */
struct replica {
    struct partition_host *host;
    struct raft *raft;
    struct replica_id id;
    struct group_id group;
    bool halted;  /* damage or an unknown effect: takes part in nothing any more */
    bool fenced;  /* it differs from the others: halted, and comes back under a new id */
    bool removed; /* a committed configuration no longer has it */
    bool queued;  /* in host->dirty */
    bool heartbeat_now;
    bool was_leader;
    bool was_ready;
    bool flush_holds_apply;
    bool sample_light; /* leader: the sample is a light one, and not applied yet */
    struct replica_rest rest;
    uint64_t applied, applied_term;
    uint64_t verify_at;     /* an index at which it is looked at; UINT64_MAX: none */
    uint64_t entries_bytes; /* bodies in memory */
    struct snapshot_send *sends;

    struct snapshot_receive *receive;
    struct held *held_first, **held_last;
    node_id_t known_leader;
    uint64_t known_leader_term;
    uint64_t read_round; /* confirmed */
    struct row_table *table;
    struct dedup *dedup;

    int64_t entry_time;   /* of the last entry evaluated or applied */
    int64_t applied_time; /* of the last entry applied since this node started */
    int64_t time_offset;  /* wall clock - boot clock, us (D3) */
    uint64_t time_corrected_at;
    uint64_t trimmed; /* entries <= it are gone from memory */
    uint64_t busy_until;
    /* Leader only: */
    struct session *session_last;
    struct pending_write *pending; /* ring by index */
    size_t pending_capacity;
    uint64_t released;         /* writes <= it are answered */
    struct locks *locks;       /* of prepared transactions; NULL: there are none (txn.c) */
    struct txn_rows *txn_rows; /* NULL: there are none (txn.c) */
    uint64_t txn_proposed;     /* newest entry of this term that wrote rows of SERVICE_TXN */
    uint64_t txn_told;         /* on_txn() was called for what was applied up to here */
    uint64_t uncommitted_bytes;
    size_t read_wait_count, read_wait_capacity, read_wait_bytes;
    size_t read_wait_big_bytes; /* of which host->big_bytes has, too */
    struct read_wait *read_waits;
    uint64_t sample_index, sample_at; /* an entry that was proposed, and when */
    uint64_t patient_last;            /* index of the last one, if it is patient, and not hurried */
    struct list parked;               /* cold.c */
    struct replica_freeze freeze;     /* cut.c */
    uint32_t row_waits;               /* of those: that wait for a row (cold_row.c) */
    struct map sessions;
    uint64_t led_term;
    uint64_t fence_proposed; /* index of the newest own entry with one */
    uint64_t led_since;      /* boot clock */
    uint64_t handed_at;      /* last hand-over because of a slow disk; 0: none */
    size_t held_bytes;
    int64_t proposed_time;           /* of the last entry of this term */
    int64_t time_started;            /* entry time when this term of a leader began */
    int64_t chore_at[SERVICE_COUNT]; /* entry time; INT64_MAX: nothing is to be done */
    /* Boot clock, since when more was due than was done; 0: it is not so. */
    uint64_t chore_behind_at[SERVICE_COUNT];
    uint64_t chore_index; /* entry of the last step: one is under way at a time */
    bool chore_parked;    /* ... or one that waits for rows of the engine */
    /* Background work: */
    uint32_t store;
    uint16_t slot_first, slot_last;
    uint64_t gone_asked_at;
    uint64_t generation;      /* of the table; rises with a snapshot install */
    uint64_t cold_generation; /* rises when what was read from the engine before is stale */
    uint64_t evictions_seen, evicted_at; /* warm.c */
    uint64_t last_seen;
    uint64_t flushed, flushed_term;
    struct verify *verify; /* NULL: it was never compared */
    struct raft_member wish[RAFT_MEMBERS_MAX];
    uint32_t wish_count;
    bool wish_known;
    uint64_t wish_ids_end; /* the table knows of ids below it */
    uint64_t wish_number;
    bool wish_tell;                /* on_settled() is waited for */
    uint64_t settled_at;           /* when it was called last; 0: not for this wish */
    uint64_t unheard_since;        /* a leader does not hear one that is wished for; 0: it does */
    uint32_t unheard_tries;        /* leaderships that were handed over for that, for this wish */
    uint64_t crowded_since;        /* a successor has no room; 0: it has */
    uint64_t kept_at;              /* when on_kept() was called last; 0: never */
    struct list by_store;          /* host->stores[store].replicas, in slot order */
    struct list cuts;              /* parts of cuts, of any role */
    uint64_t recovered_last;       /* index of the last entry that was in the log at the start */
    struct effect cut_effect;      /* of the entry that is being applied; kind 0: none */
    struct gateway_id cut_gateway; /* whose request that was */
    struct replica_fresh fresh;
};

struct persist_wait { /* log position -> raft_persisted() */
    uint64_t position;
    struct replica_id replica;
    struct group_id group;
    bool patient; /* nobody waits for it, so it was not written at once */
    uint64_t persist_id;
    uint64_t queued_at; /* boot clock, when the core was driven */
};

struct slow_disk { /* or loop */
    bool slow;
    bool leaves; /* leaderships are handed over, not only no others taken */
    uint32_t late_ticks;
    uint64_t away; /* so long nothing ran before this tick; 0: it was not late */
    uint64_t back_at;
    uint64_t until;      /* counts as slow until then */
    uint64_t hold;       /* how long, after the last slow moment */
    uint64_t calm_until; /* what others said before a pause is not believed until then */
};

struct flush_job;
struct drop_job;
struct collect_job;
struct warm_job;
struct spare_job;

struct host_store {
    struct list replicas;
    struct flush_job *flush;  /* NULL: none under way */
    struct snapshot_cut *cut; /* NULL: none under way */
    bool damaged;             /* its replicas have stopped */
    struct drop_job *drops;   /* rows of replicas that are gone; the first may be running */
    bool flush_wanted;        /* another one at once */
    uint64_t flush_delay;     /* after one that failed; 0: the last one did not */
    uint64_t flush_not_before, flush_failing_since;
    uint64_t flush_told_at;   /* when a failure was logged last */
    uint64_t flushed_segment; /* of the log: its newest when the last flush began */
    uint64_t turn_segment;    /* when the log gets there, a flush is this store's turn; 0: unset */
};

struct host_copying { /* copy_turns.c */
    struct list waiting;
    struct world_timer timer;
    uint64_t worst_us, told_at; /* how long records waited to be durable, since it was told */
    bool heard;
    uint64_t copied_at; /* boot clock, us: the last piece, sent or received; 0: none was */
};

/* A log near its bound: does it free segments meanwhile? (space.c) */
struct space_log {
    uint64_t freed_at; /* boot clock, us: when it was seen to, or to be short first; 0: never */
    uint64_t short_at; /* when it was short last */
    uint64_t oldest, copied, since; /* segment, and bytes copied forward, and when that was */
    bool is_short, no_space;
};

struct memory_use { /* of this worker, bytes; measured each slow tick */
    uint64_t tables, clean, dirty, entries, waiting, copies, windows, buffers;
    uint32_t incomplete;   /* tables */
    uint64_t level0_files; /* of the store flushed last */
    uint32_t evict_next;
    bool writes_refused;
};

struct verify_plan;
struct host_verify {   /* verify_pass.c */
    struct list looks; /* jobs that run */
    uint32_t jobs;     /* these, and plans */
    bool on, full;     /* a pass is under way; over all groups that are led here */
    uint64_t rate;
    uint32_t next;             /* group of a full pass */
    struct group_id group;     /* whose turn it is */
    struct replica_id replica; /* 0: nobody's */
    struct buffer from, to;    /* the range */
    bool first;                /* of the group */
    bool differed;             /* a range of it */
    uint32_t tries;
    uint64_t range_bytes;
    struct verify_plan *plan;
    struct world_timer timer;
};

struct evaluate_scratch {
    struct arena arena;
    struct buffer reply, effects, wanted;
};

struct cold { /* requests that wait for rows of the engine, or are heavy: cold.c */
    struct list queue, delayed, jobs, heavy;
    struct list locked, unlocked; /* wait for a lock; may run again */
    struct list row_waits;        /* wait for a row, by the time at which they are woken */
    uint32_t job_count, parked_count, heavy_count, locked_count, row_wait_count;
    uint32_t turn_left; /* so many may go on in this turn of the loop */
    uint64_t parked_bytes;
    uint16_t parked_of[PARKED_CLASSES];
    struct world_deferred turn_end;
    uint16_t row_waits_of[ROW_WAIT_CLASSES]; /* by hash of the key */
    struct world_timer retry_timer, heavy_timer, unlock_timer, row_timer;
    struct histogram latency; /* from parked to answered, us */
};

struct peer_wall {         /* a peer's wall clock */
    int64_t offset;        /* from our boot clock, when it was heard */
    uint64_t heard_at;     /* boot clock; 0: never */
    bool disk_low;         /* below its --disk-reserve, or its log is near its bound */
    bool log_full;         /* its log is at its bound */
    uint64_t slow_workers; /* bits: those that said so with their last acknowledgement */
};

struct partition_host {
    struct host_options options;
    struct world *world;
    struct log_queue *queue;
    struct host_gateway gateway;
    struct replica **replicas; /* by group; NULL: not here */
    uint32_t replicas_capacity;
    uint32_t replica_count;
    struct slabs *row_memory;      /* of all row tables */
    struct raft_messages messages; /* of the core whose output is taken */
    struct host_store stores[STORES_MAX];
    struct engine_pace flush_pace; /* of flushes; their jobs look at it */
    struct engine_pace drop_pace;  /* of what goes to quarantine; the same */
    bool flushes_are_late;         /* a store's turn came while another is flushed */
    atomic_bool drops_end;         /* the node stops: jobs look at it */
    struct map peers;              /* node, worker -> peer_out */
    struct peer_out *peer_list;
    struct replica **dirty; /* have output to take at the end of the turn */
    size_t dirty_count, dirty_capacity;
    struct world_deferred turn_end;
    struct world_timer tick_timer, ready_timer;
    struct world_timer drive_timer; /* outputs were left for another turn */
    struct world_timer chore_timer;
    uint64_t chore_timer_at; /* boot clock; 0: it does not run */
    uint64_t chore_ran_at;   /* the last step */
    uint64_t marks_until;    /* boot clock: expired.c has logged as if up to then */
    uint32_t chore_next;     /* group whose turn it is */
    bool ready_timer_runs;
    uint64_t last_tick, ticks;
    uint64_t tick_in; /* for when the last one armed the timer; something may have had it sooner */
    uint64_t flush_stepped_at; /* boot clock */
    uint64_t turn_time;        /* boot clock at the end of this turn */
    struct slow_disk slow_disk;
    struct host_rest rest;
    bool along;      /* the last tick was because of a node with a lower id */
    bool tick_along; /* ... and so is the next one, at the end of this turn */
    bool idle;       /* no group led here had an entry lately: ticks are twice as far apart */
    struct peer_wall walls[NODES_MAX]; /* by node id - 1 */
    uint64_t wall_warned_at;
    uint64_t handed_at_tick;
    bool transfer_all; /* stopping: leaderships go, none comes back */
    uint64_t heartbeats_generated_at;
    struct persist_wait *persist; /* ring, positions rising */
    size_t persist_first, persist_count, persist_capacity;
    size_t persist_written; /* of them, the first: written, as far as was told */
    bool written_counts;    /* host_believe_written() */
    uint64_t databases_in_memory;
    uint64_t durable_position;           /* of this worker's records in the log */
    uint64_t birth_position;             /* on_born is due when that is durable; 0: it is not */
    uint32_t orphans;                    /* jobs of replicas that are gone */
    uint32_t snapshot_jobs;              /* that read or write pieces of snapshots */
    struct list snapshots_waiting;       /* for their turn to be sent */
    uint8_t snapshots_to[NODES_MAX + 1]; /* under way, by node */
    struct copy_tally copy_tallies[NODES_MAX + 1];
    struct host_copying copying;
    uint64_t copied_rows, copied_bytes; /* read for snapshots: what a row takes */
    struct evaluate_scratch scratch[EVALUATE_DEPTH_MAX];
    struct buffer header;
    struct cold cold;
    struct governor governor;
    struct host_verify verify;
    struct collect_job *collect; /* NULL: nothing to collect */
    struct warm_job *warm;
    struct spare_job *spare; /* NULL: none is under way */
    struct memory_use memory;
    struct world_timer memory_timer;
    size_t held_bytes;       /* of all replicas */
    struct list big_replies; /* in the order in which they were given */
    uint64_t big_bytes;      /* of big replies kept anywhere */
    uint64_t big_unacked;
    struct world_timer freeze_timer;
    struct list cuts_ended;   /* parts of cuts that a job still uses */
    struct list cuts_copying; /* parts of cuts whose rows are copied, one after the other, */
    struct world_timer cut_copy_timer; /* in turns of this timer */
    uint64_t frozen_last;              /* the last cut that something was frozen for */
    uint64_t frozen_until;             /* boot clock: it fires then; 0: it does not run */
    uint32_t depth;
    bool closing;
    bool stopping; /* host_begin_close(): no job is begun any more */
    bool muted;
    bool disk_low; /* of this node */
    char disk_text[DISK_TEXT_SIZE];
    struct space_log space_log;
    struct host_statistics statistics;
};

/* host.c */
struct replica *host_replica(const struct partition_host *host, struct group_id group);
void host_mark_dirty(struct replica *replica);
struct peer_out *host_peer_out(struct partition_host *host, node_id_t node, uint32_t worker);
/* The worker of `node` that owns the group. */
uint32_t host_remote_worker(struct partition_host *host, node_id_t node, struct group_id group);
/* A raft frame of that peer's worker came in: what was held back may go. */
void peer_out_answered(struct partition_host *host, node_id_t node, uint32_t worker);
void peer_out_send(struct partition_host *host, struct peer_out *out, uint8_t kind,
                   struct buffer *buffer);
const struct logger *host_logger(const struct partition_host *host);
void host_poll_ready(struct partition_host *host);
/* Time from one tick to the next. */
uint64_t host_tick_interval(const struct partition_host *host);

/* replica.c */
enum { REPLICA_RECORD_KEY_SIZE = 6 };
void replica_record_key(struct group_id group, uint8_t key[REPLICA_RECORD_KEY_SIZE]);
void replica_record_encode(const struct replica *replica, struct buffer *buffer);
enum { RECORD_NAME_SIZE = 1 + 4 + 8 };
struct replica_record {
    bool counted; /* has counts and drops */
    struct replica_id replica;
    uint64_t applied, term;
    int64_t entry_time;
    struct raft_config config;
    struct bytes dedup, counts, drops; /* borrowed */
};
enum status replica_record_decode(struct bytes bytes, struct replica_record *ret_record);
/* Calls load() for each of the record's counts or drops. */
void replica_record_names(struct bytes names, struct row_table *table,
                          void (*load)(struct row_table *table, uint8_t service, uint32_t namespace,
                                       uint64_t number));
/* The fresh table stands for what the record tells: of its rows none is loaded yet. */
void replica_table_begin(struct replica *replica, const struct replica_record *record);
/* All rows of the engine, or as many as memory allows and until all tables of the worker have
 * bytes_max. Blocks. */
enum status replica_load_rows(struct replica *replica, uint64_t bytes_max, struct error *error);
void replica_row_range(const struct replica *replica, uint8_t from[2], uint8_t to[2]);
void row_value_encode(struct buffer *buffer, const struct row_header *header, struct bytes value);
enum status row_value_decode(struct bytes bytes, struct row_header *ret_header,
                             struct bytes *ret_value);
void replica_free(struct replica *replica);
/* Out of the host's lists of replicas; then replica_free(). */
void replica_unlink(struct replica *replica);
void replica_halt(struct replica *replica, const char *why);
void replica_stop(struct replica *replica); /* the same without a word */

/* txn.c */
/* A leader's proposals: keeps the locks and the list of rows up, and notes that there is something
 * to be told. */
void txn_proposed(struct replica *replica, const struct effect *effect, uint64_t index);
/* It begins to evaluate: all rows are found, and what is prepared is locked (A1). False: it cannot.
 */
bool txn_leads(struct replica *replica);
/* From now on host_txn_rows_each() can tell. */
void txn_ready(struct replica *replica);
void txn_stops(struct replica *replica);
/* Something of its own was applied. */
void txn_applied(struct replica *replica);
/* Something is prepared here: what replicas have may be less than what was answered. */
bool txn_has_prepared(const struct replica *replica);

/* execute.c */
void execute_section(struct replica *replica, struct gateway_id from, bool local,
                     const struct request_section *section, struct reader *items, uint64_t now);
void execute_held(struct replica *replica, uint64_t now);
/* What cold.c parked goes on; if it is to wait again, cold_park() is called for it. */
void execute_parked(struct replica *replica, struct gateway_id gateway, bool local, uint64_t route,
                    const struct request_item *item, struct parked *parked, uint64_t now);
void execute_parked_busy(struct replica *replica, struct gateway_id gateway, bool local,
                         uint64_t route, const struct request_item *item, const char *why);
/* What a job found for one that was parked; nothing, if its route is over. */
void execute_parked_answer(struct replica *replica, struct gateway_id gateway, bool local,
                           uint64_t route, const struct request_item *item, struct bytes reply);
/* A5: may one more be proposed? */
bool execute_has_room(const struct replica *replica, uint64_t now);
bool replica_may_evaluate(const struct replica *replica, uint64_t now);

void replica_time_correct(struct replica *replica, uint64_t now);
void replica_time_start(struct replica *replica, uint64_t now);

int64_t replica_time(struct replica *replica, uint64_t now);
/* One evaluation; `seed` for row_random(). Sets everything of *rows. */
enum evaluate_result execute_evaluate(struct replica *replica, evaluate_fn *evaluate,
                                      const struct request *request, uint64_t seed, int64_t time,
                                      struct evaluate_scratch *scratch, struct row_context *rows,
                                      struct parked *parked);
/* Proposes header and effects as one entry and puts the effects into the table. Returns its
 * index; 0: leadership is being handed over. The entry fits (execute_entry_fits()). */
/* `type`: NORMAL or WRITTEN. */
uint64_t execute_propose(struct replica *replica, uint8_t type, const struct entry_header *header,
                         struct bytes effects);

/* --- patient.c --- */
/* Nobody waits for what that request writes. */
bool patient_may_be(const struct replica *replica, const struct request_item *item);
/* It has entries, and only such. */
bool patient_is_all_of(const struct raft_message *message);
/* A read of this leader waits for such an entry after all: its sync begins now, here and, by an
 * append without entries, at its followers. */
void patient_is_awaited(struct replica *replica);
/* Such an append has come. */
void patient_is_awaited_elsewhere(struct replica *replica);

/* stale.c: SERVICE_SYSTEM */
enum evaluate_result stale_evaluate(struct row_context *rows, const struct request *request,
                                    struct reply *reply);

/* spare.c */
void spare_consider(struct partition_host *host); /* each turn */
void spare_close(struct partition_host *host);

/* big_reply.c */
bool big_reply_is(const struct partition_host *host, size_t size);
/* May a reply of that size be kept for that gateway? Asked before its request is consumed. */
bool big_reply_fits(struct partition_host *host, const struct session *session, size_t size);
/* A copy of it waits for a commit or a read round; no more. */
void big_reply_hold(struct partition_host *host, const struct session *session, struct bytes reply);
void big_reply_let_go(struct partition_host *host, const struct session *session,
                      struct bytes reply);
void big_reply_send(struct replica *replica, struct session *session, uint64_t seq,
                    struct bytes bytes);
void big_reply_on_acks(struct partition_host *host, const struct transport_peer *from,
                       struct bytes payload);
void big_reply_tick(struct partition_host *host, uint64_t now);
/* Those of a replica, and those for a node (0: none). */
void big_replies_drop(struct partition_host *host, const struct replica *replica, node_id_t node);

/* chore.c */
void chore_note(struct replica *replica, uint8_t service, int64_t at, uint64_t now);
void chore_leads(struct replica *replica, uint64_t now);
void chore_stops(struct replica *replica);
void chore_timer_fire(struct world_timer *timer);
/* The rows that a step waited for are there; or they will not come. */
void chore_again(struct replica *replica, uint8_t service, struct parked *parked, uint64_t now);
void chore_failed(struct replica *replica, uint8_t service);
/* Replicas that are so far behind that their steps no longer wait for light writes. */
uint64_t chore_behind_count(const struct partition_host *host, uint64_t now);

/* release.c */
void reply_deliver(struct replica *replica, struct session *session, uint64_t route, uint64_t seq,
                   uint8_t outcome, struct bytes bytes);
/* Into the frame for the session's node; at most a frame. */
void remote_reply(struct replica *replica, struct session *session, uint64_t seq, uint8_t outcome,
                  struct bytes bytes);
void nack_deliver(struct replica *replica, struct gateway_id to, bool local, uint64_t term,
                  uint64_t route, uint8_t code);
void nack_send(struct partition_host *host, struct group_id group, struct gateway_id to,
               uint64_t term, uint64_t route, uint8_t code, node_id_t leader, uint64_t leader_term);
void release_write_later(struct replica *replica, struct session *session, uint64_t route,
                         uint64_t seq, uint64_t index, struct bytes big);
bool release_read_later(struct replica *replica, struct session *session, uint64_t route,
                        uint64_t seq, uint64_t dep, uint64_t round, uint8_t outcome,
                        struct bytes reply);
void release_ready(struct replica *replica);
/* Everything a leader kept for its term goes; gateways are told (A4). */
void leader_state_drop(struct replica *replica, bool tell);

/* foresee.c: asks for the memory of what the first of these replicas will apply. Returns how many
 * those are, one at least; *ret_rows: how many rows were asked for. */
size_t foresee_applied(struct replica *const *replicas, size_t count, uint32_t *ret_rows);

/* apply.c */
void apply_committed(struct replica *replica, uint64_t commit);
void replica_role_changed(struct replica *replica, uint64_t now);
void replica_leader_news(struct replica *replica);

/* drive.c */
/* persist_id 0: a snapshot's log record, see snapshot_log_durable(). */
void persist_push(struct partition_host *host, struct replica *replica, uint64_t persist_id,
                  uint64_t position, uint64_t now);
void drive_replica(struct replica *replica, uint64_t now);
void drive_durable(struct partition_host *host, uint64_t position);
void drive_written(struct partition_host *host, uint64_t position);
/* Durable here and on a quorum: it may be stored outside of the log, and leave memory. */
uint64_t replica_safe_index(const struct replica *replica);
void drive_raft_frame(struct partition_host *host, const struct transport_peer *from,
                      struct bytes payload);
void replica_trim(struct replica *replica, uint64_t now);

/* heartbeat.c */
void heartbeat_tick(struct partition_host *host, uint64_t now);
void heartbeat_replica(struct replica *replica, uint64_t now);
void heartbeat_on_frame(struct partition_host *host, const struct transport_peer *from,
                        struct bytes payload);
void heartbeat_on_acks(struct partition_host *host, const struct transport_peer *from,
                       struct bytes payload);
uint8_t heartbeat_flags(const struct partition_host *host);
/* A node beat: if this one is idle, it does so, too. */
void heartbeat_along(struct partition_host *host, node_id_t from, uint64_t now);

/* rest.c */
/* With each tick, first. True: the groups led here rest, and send no heartbeats. */
bool rest_tick(struct partition_host *host, uint64_t now);
/* Something happens in the group: if it is led here the worker's groups rest no more. */
void rest_disturbed(struct replica *replica);
static inline void rest_disturb(struct replica *replica) /* inline: with each message and entry */
{
    replica->host->rest.settled = false;
    if (replica->host->rest.state != REST_AWAKE) rest_disturbed(replica);
}
void rest_wake(struct partition_host *host);
/* Its followers may have been silent for a while already. */
bool rest_woke_lately(const struct partition_host *host, uint64_t now);
void rest_on_ack(struct partition_host *host, const struct transport_peer *from,
                 struct bytes payload);
uint64_t rest_beats(const struct partition_host *host, uint64_t count); /* of heartbeats, in us */

/* rest_follow.c */
/* All replicas rest: from now on rest_is_settled(), as long as nothing happens to any of them. */
void rest_settle(struct partition_host *host);
bool rest_is_settled(struct partition_host *host, uint64_t now);
/* The follower's leader lives, by the word of its node: no look at its timers. */
bool rest_is_vouched(struct replica *replica, uint64_t now);
/* It was vouched for, and no word came that it is awake: its followers look at their timers as
 * often as those of a busy group. */
bool rest_is_missed(const struct replica *replica);
/* Before the core of a follower is asked about its leader: it knows what the node's beats told. */
void rest_look(struct replica *replica);
static inline void rest_touch(struct replica *replica) /* inline: with each message */
{
    if (replica->rest.generation != 0) rest_look(replica);
}
/* The replica follows at rest no more: its leader hears of it. */
void rest_withdraw(struct replica *replica);
/* The connection broke: nobody's word is taken for that node's leaders. */
void rest_node_lost(struct partition_host *host, node_id_t node);
void rest_on_frame(struct partition_host *host, const struct transport_peer *from,
                   struct bytes payload);
/* The beat of this worker, if it is due. */
void rest_say(struct partition_host *host, uint64_t now);
void rest_on_beat(struct partition_host *host, const struct transport_peer *from,
                  struct bytes payload);
/* The clocks of other nodes, from their beats. */
void rest_take_news(struct partition_host *host, uint64_t now);

/* expired.c: may a read that saw these rows answer without deleting those that are expired? Once
 * *ret_dep, which it may raise, is committed. */
bool expired_for_good(struct replica *replica, const struct row_context *rows, uint64_t now,
                      uint64_t *ret_dep);

/* space.c */
bool space_is_low_here(const struct partition_host *host);
bool space_is_low(const struct partition_host *host, node_id_t node);
void space_heard(struct partition_host *host, node_id_t node, bool low, bool log_full);
bool space_log_is_full_here(const struct partition_host *host);
/* What is small and must be logged goes on when the log is full, until it is spent. */
bool space_log_takes_small_here(const struct partition_host *host);
/* Takes from the end of an append what a log near its bound has no room for. False: all of it. */
bool space_cut_append(const struct replica *replica, struct raft_message *message);
bool space_refuses(const struct replica *replica);
/* As the log is full: whatever needs an entry. */
bool space_refuses_all(const struct replica *replica);
void space_text(const struct replica *replica, char *text, size_t size);
void space_tick(struct partition_host *host, uint64_t now);
/* Of what is refused: it is only the log here that has no room, and it frees some, so that asking
 * again soon will do. */
bool space_comes_back(struct replica *replica, bool grows, uint64_t now);

/* wall.c */
void wall_heard(struct partition_host *host, node_id_t node, int64_t wall, uint64_t now);
/* Microseconds since 1970: the own clock, or the median of the peers' if it is far off. */
int64_t wall_trusted(struct partition_host *host, uint64_t now);

/* memory.c */
/* Rows of the engine may be loaded ahead of being asked for. */
void memory_open(struct partition_host *host);
void memory_measure(struct partition_host *host);
bool memory_may_evict(const struct replica *replica);
void memory_flushed(struct partition_host *host);
bool memory_allows_loading(const struct partition_host *host, const struct replica *replica);
void memory_tick(struct partition_host *host);
/* Why a write cannot be taken now, or NULL. */
const char *memory_refuses_writes(const struct partition_host *host);
/* Dirty bytes of a store that start a flush. */
uint64_t memory_flush_bytes(const struct partition_host *host);
/* Rows that are not on disk take half of what they may: flushes hurry. */
bool memory_is_short(const struct partition_host *host);
/* Entries kept in memory for one group. */
uint64_t memory_entries_bytes_max(const struct partition_host *host);

/* collect.c */
void collect_tick(struct partition_host *host);
bool collect_is_idle(const struct partition_host *host);
void collect_close(struct partition_host *host);

/* warm.c */
void warm_tick(struct partition_host *host, uint64_t now);
bool warm_is_idle(const struct partition_host *host);
void warm_close(struct partition_host *host);
/* slow_disk.c */
void slow_disk_tick(struct partition_host *host, uint64_t now);
/* Before the tick: nothing of this worker ran for so long. */
void slow_loop_was_away(struct partition_host *host, uint64_t away, uint64_t now);
/* How long the oldest record that is not durable has waited; 0: none does. */
uint64_t slow_disk_oldest_age(const struct partition_host *host, uint64_t now);
void slow_disk_heard(struct partition_host *host, const struct transport_peer *from, bool slow);
/* Of the worker of that node which has the group. */
bool slow_disk_of(struct partition_host *host, node_id_t node, struct group_id group);
void slow_disk_peer_down(struct partition_host *host, node_id_t node);

/* flush.c */
/* The store is flushed as soon as can be. */
void flush_store(struct partition_host *host, uint32_t store);
/* The log is near its bound: every tick counts, not only the slow ones. */
bool flush_is_urgent(const struct partition_host *host);
void flush_tick(struct partition_host *host);
/* Rows copied for the flush that is under way. */
uint64_t flush_copied_bytes(const struct host_store *store);
void flush_replica_gone(struct replica *replica);
/* Ends a flush of the store before its job; false: the job is running. */
bool flush_abandon(struct partition_host *host, uint32_t store);
void flush_replica_durable(struct replica *replica);
/* The engine has all that replica->flushed says, and nothing else is on its way there. */
bool flush_is_in_engine(const struct host_store *store);
/* How many rows or the like may be copied now: one share for all stores of a worker. */
uint32_t host_copy_work(struct partition_host *host);

/* remove.c, drop.c */
void remove_config_applied(struct replica *replica, uint64_t index);
/* True: the replica has stopped and may be freed. */
bool remove_tick(struct replica *replica, uint64_t now);
void remove_on_frame(struct partition_host *host, const struct transport_peer *from,
                     struct bytes payload);
/* The engine holds rows of an earlier replica of the group, whose removal a crash cut short, or
 * that was lost: they go before anything of `replica` comes, once `position` is durable. */
void drop_leftovers(const struct replica *replica, struct replica_id of, uint64_t position);
void drop_tick(struct partition_host *host);
bool drop_is_running(const struct host_store *store);
void drop_set_pace(struct partition_host *host, bool hurry);
/* A removal is under way, or the next thing that the store has to do. */
bool drop_goes_first(const struct partition_host *host, uint32_t store);
/* Rows of the replica's group wait for a removal: none may be written before. */
bool drop_is_of(const struct replica *replica);
void drops_free(struct host_store *store);

/* copy_turns.c */
void copy_turns_open(struct partition_host *host);
void copy_turns_close(struct partition_host *host);
/* A record of this worker became durable so long after it was given to the log. */
void copy_record_waited(struct partition_host *host, uint64_t us, uint64_t now);

/* snapshot.c */
/* Of a halted replica no further piece is written. */
void snapshot_receive_halt(struct replica *replica);
/* States that wait for a flush or for another's cut: cut_may_begin() may have become true. */
void snapshot_cuts_begin(struct partition_host *host, uint32_t store);
/* The own disk or others have more: what is sent must not be lost when all lose power. */
void snapshot_durable(struct replica *replica);
/* Both, for flushes and states that wait for it. */
void replica_durable(struct replica *replica);
void snapshot_offer(struct replica *replica, const struct raft_message *message);
void snapshot_on_frame(struct partition_host *host, const struct transport_peer *from,
                       struct bytes payload);
void snapshot_on_ack(struct partition_host *host, const struct transport_peer *from,
                     struct bytes payload);
void snapshot_tick(struct replica *replica, uint64_t now);
void snapshot_log_durable(struct replica *replica);
void snapshot_sends_drop(struct replica *replica);
/* Those that waited begin where others have ended. At the end of each turn. */
void snapshot_turns_run(struct partition_host *host);
void snapshot_turns_count(const struct partition_host *host, uint64_t *ret_sending,
                          uint64_t *ret_waiting);
/* A snapshot is on its way there from this worker. */
bool snapshot_node_is_filled(const struct partition_host *host, node_id_t node);
/* Nothing writes to the engine of the store any more: what was received meanwhile may. */
void snapshot_store_free(struct partition_host *host, uint32_t store);
/* Index of the snapshot that is being sent to a member; 0: none is. UINT64_MAX: one will be, newer
 * than all there is now. */
uint64_t snapshot_index_sent(const struct replica *replica, struct replica_id to);
void snapshot_sends_tick(struct replica *replica, uint64_t now);
/* The engine's or the log's copy is being written: the core must stand still. */
/* Received and not in the engine yet. */
uint64_t snapshot_receive_bytes(const struct replica *replica);
uint64_t snapshot_send_bytes(const struct replica *replica); /* of rows that no flush has written */
bool snapshot_is_installing(const struct replica *replica);
bool snapshot_holds_core(const struct replica *replica);
void snapshot_replica_gone(struct replica *replica);

/* verify.c, verify_look.c, verify_pass.c */
void verify_tick(struct replica *replica, uint64_t now);
void verify_reached(struct replica *replica); /* verify_at is applied */
void verify_on_frame(struct partition_host *host, const struct transport_peer *from,
                     struct bytes payload);
/* The replica leads no more, or goes. */
void verify_leader_gone(struct replica *replica);
/* See raft_is_contradicted(): it is fenced. */
void replica_contradicted(struct replica *replica);
void verify_replica_gone(struct replica *replica);
/* See raft_is_contradicted(): it is fenced. */
void replica_contradicted(struct replica *replica);
void verify_open(struct partition_host *host);
void verify_close(struct partition_host *host);

/* reconcile.c */
void reconcile_tick(struct replica *replica, uint64_t now);
/* The members are those that are wished for, and the preferred one leads: nothing is left to do. */
bool reconcile_is_done(const struct replica *replica);

/* store_damage.c */
/* The engine of a store has failed to read, or to keep, what it was given. */
void store_damaged(struct partition_host *host, uint32_t store, const struct error *cause);
/* How a job that wrote to the engine has ended. */
void store_job_ended(struct partition_host *host, uint32_t store, enum status status,
                     const struct error *error);

#endif
