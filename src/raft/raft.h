/* raft.h - Raft consensus of one group as a state machine without I/O. Includes only base.
 *
 * Ongaro's thesis (2014): 3 (the algorithm), 3.10 (transfer), 4.3 (joint consensus), 4.2.1
 * (learners), 6.4 (read-index, leases), 9.6 (pre-vote), 10.2.1 (disk write in parallel).
 * Rules D1, D2 of DESIGN.md and A1's condition live here, so that the simulator sees them.
 *
 * Use: call an input function (step, heartbeat, tick, propose, persisted, ...), then, when
 * raft_has_output(), raft_take_output() and do what it says:
 *   1. hand hard state, truncation and new entries to the log under output.persist_id,
 *   2. send output.messages, at once: the core holds back by itself every message that must
 *      not leave before something is durable, until raft_persisted(persist_id),
 *   3. apply entries (applied, output.commit] in order, then raft_applied().
 * A message or acknowledgement therefore never claims what is not durable (FAULTS rule 1),
 * and the leader counts its own copy only after raft_persisted().
 * What a driver says with raft_written() counts for entries of RAFT_ENTRY_WRITTEN, and for nothing
 * else: no vote, no term, no entry of another type, and nothing that may be stored elsewhere:
 * that is what raft_commit_durable_index() is for.
 *
 * Entries live in memory from first_index on; the driver trims them with raft_trim().
 * `now` is CLOCK_BOOTTIME in microseconds and never goes back. Thread: one at a time. */
#ifndef HOLON_RAFT_RAFT_H
#define HOLON_RAFT_RAFT_H

#include "base/buffer.h"
#include "base/bytes.h"
#include "base/ids.h"
#include "base/random.h"
#include "base/slabs.h"
#include "base/status.h"

enum { RAFT_MEMBERS_MAX = 16, RAFT_INFLIGHT_APPENDS_MAX = 64 };
enum { RAFT_APPEND_BYTES_MAX = 512 << 10 }; /* entries in one append message */

struct raft; /* opaque */

enum raft_role { RAFT_FOLLOWER, RAFT_PRE_CANDIDATE, RAFT_CANDIDATE, RAFT_LEADER };

struct raft_member {
    struct replica_id replica;
    node_id_t node;
};

/* `outgoing` is empty except in a joint configuration; a single-step change is the case of
 * an empty outgoing on both sides. Decisions need a majority of incoming and, if not empty,
 * of outgoing. Learners receive entries and never count. */
struct raft_config {
    uint64_t index; /* of the entry that set it; 0: from birth */
    uint8_t incoming_count, outgoing_count, learner_count;
    struct raft_member incoming[RAFT_MEMBERS_MAX];
    struct raft_member outgoing[RAFT_MEMBERS_MAX];
    struct raft_member learners[RAFT_MEMBERS_MAX];
};

enum raft_entry_type {
    RAFT_ENTRY_NORMAL = 0,
    RAFT_ENTRY_NOOP = 1,
    RAFT_ENTRY_CONFIG = 2,
    /* As NORMAL, but it commits when a quorum has *written* it; whether all before it that are not
     * of this type must be durable on a quorum first (decision 0012). */
    RAFT_ENTRY_WRITTEN = 3,
};

/* An entry in memory: one allocation, body behind it. Immutable once made. */
struct raft_entry {
    uint64_t index;
    uint64_t term;
    struct slabs *memory; /* that it is of; NULL: memory_allocate() */
    uint32_t size;        /* of body */
    uint8_t type;
    uint8_t body[];
};
/* With room for the body; index and term are set by raft_propose(). From `memory` (slabs of the
 * thread that owns the cores, which outlive them), or NULL. */
struct raft_entry *raft_entry_make(struct slabs *memory, uint8_t type, uint32_t size);
void raft_entry_free(struct raft_entry *entry); /* NULL is fine */

struct raft_hard_state {
    uint64_t term;
    struct replica_id vote;
    uint64_t commit; /* a hint: may lag behind */
};

struct raft_timing {
    uint64_t heartbeat;            /* 50 ms: the driver's tick */
    uint64_t election_timeout_min; /* 300 ms */
    uint64_t election_timeout_max; /* 600 ms */
    uint64_t lease;                /* 200 ms; * 5/4 (the drift bound) < election_timeout_min */
};

struct raft_options {
    struct group_id group;
    struct replica_id self;
    node_id_t node;
    struct raft_timing timing;
    uint64_t now;
    /* No vote and no pre-vote for one election timeout after `now` (D1, WHY 1.3). Off only in
     * the start that founds the cluster, and for a group with a single voter. */
    bool vote_at_once;
    /* Stand for election at the first tick: the one preferred leader of a founding, so that
     * leaders are spread as the table says and votes are not split. */
    bool stand_at_once;
    uint64_t random_seed;
    /* What the log and the engine gave back. Snapshot: state up to (index, term) is in the
     * engine; entries follow without a gap and are taken over (ownership) by raft_open(). */
    struct raft_hard_state hard_state;
    uint64_t snapshot_index, snapshot_term;
    struct raft_config config; /* as of snapshot_index */
    struct raft_entry **entries;
    size_t entry_count;
    /* NULL: its own. What raft_take_output() returned is void once another core that shares it is
     * asked for its output. */
    struct raft_messages *messages;
    /* Planted-bug switches of the simulator; zero in production. See sim/planted.c. */
    uint32_t planted_bugs;
};

/* Bits of raft_options.planted_bugs, for bugs that must live inside the core. */
enum raft_planted_bug {
    RAFT_BUG_VOTE_AFTER_RESTART = 1 << 0,   /* WHY 1.3: D1's no-vote time is skipped */
    RAFT_BUG_LEASE_AFTER_TRANSFER = 1 << 1, /* WHY 1.4 */
    RAFT_BUG_ACK_BEFORE_DURABLE = 1 << 2,   /* FAULTS rule 1 */
    RAFT_BUG_COMMIT_OLD_TERM = 1 << 3,      /* Raft paper 5.4.2 */
    RAFT_BUG_IGNORE_PROMISE = 1 << 4,       /* D1: promises of voters to the old leader */
    RAFT_BUG_VOTE_TWICE = 1 << 5,           /* vote forgotten by a restart */
    RAFT_BUG_LEARNER_COUNTS = 1 << 6,
    RAFT_BUG_COUNT_SELF_EARLY = 1 << 7,   /* own copy counts before it is durable */
    RAFT_BUG_LEASE_OF_LIFE = 1 << 8,      /* D1: that a member's node lives extends the lease */
    RAFT_BUG_WRITTEN_IS_DURABLE = 1 << 9, /* all entries commit when they are written */
    RAFT_BUG_WRITTEN_BEFORE_WRITTEN = 1 << 10, /* entries count as written when they are there */
};

enum raft_message_type {
    RAFT_PRE_VOTE,
    RAFT_PRE_VOTE_REPLY,
    RAFT_VOTE,
    RAFT_VOTE_REPLY,
    RAFT_APPEND,
    RAFT_APPEND_REPLY,
    RAFT_SNAPSHOT_OFFER, /* "you are behind my first entry": the driver transfers */
    RAFT_TIMEOUT_NOW,
};

struct raft_message {
    uint8_t type; /* enum raft_message_type */
    struct group_id group;
    struct replica_id from, to;
    node_id_t from_node, to_node;
    uint64_t term;
    uint64_t index;    /* append: the one before the entries; reply: match; vote: last */
    uint64_t log_term; /* term at `index` */
    uint64_t commit;
    uint64_t everywhere; /* append: all members have the entries up to here */
    /* Refused append: fast backtracking. Reply that accepts: hint_index is how far it is written,
     * append: how much of `commit` is durable on a quorum; 0: as far as it says anyway. */
    uint64_t hint_index, hint_term;
    uint64_t promise; /* vote replies: microseconds the voter still owes the old leader */
    bool reject;      /* replies */
    bool transfer;    /* vote: asked for by the leader, sticky leader does not refuse */
    /* Append: borrowed from the sender's raft until it is stepped again, or from the frame
     * that was decoded (then raft_step() takes the pointers over and clears count). */
    struct raft_entry **entries;
    uint32_t entry_count;
    uint32_t entry_room;  /* decoded: of `entries` */
    struct slabs *memory; /* decoded: that `entries` is of */
};

struct raft_output {
    /* To make durable, in this order, under persist_id (0: nothing). */
    uint64_t persist_id;
    bool hard_state_changed;
    struct raft_hard_state hard_state;
    uint64_t truncate_from;      /* entries >= this are replaced; 0: none */
    struct raft_entry **entries; /* new ones; borrowed until the next call */
    size_t entry_count;
    const struct raft_message *messages; /* borrowed until the next call */
    size_t message_count;
    uint64_t commit;     /* apply up to here */
    bool role_changed;   /* compare raft_role(), raft_term() */
    bool config_changed; /* raft_config() differs (also by truncation) */
    uint64_t read_round; /* highest read-index round confirmed; see raft_read_begin() */
};

/* Memory for the messages of one output. Cores that take turns may share it (raft_options): it
 * stays warm, where one for each group would not. Zeroed: empty. */
struct raft_messages {
    struct raft_message *items;
    size_t count, capacity;
};
void raft_messages_free(struct raft_messages *messages);

/* NULL: a configuration among the entries cannot be read; the entries are freed all the same. */
struct raft *raft_open(const struct raft_options *options);
void raft_close(struct raft *raft);

/* --- inputs --- */
/* Takes over message->entries' elements. A message of another group or to another replica
 * is the driver's to refuse before. */
void raft_step(struct raft *raft, struct raft_message *message, uint64_t now);
void raft_tick(struct raft *raft, uint64_t now);
/* The loop was away for longer than half an election timeout: timers are armed afresh and a
 * lease is void until a later round succeeds (D1, D2). Call before raft_tick(). */
void raft_gap(struct raft *raft, uint64_t now);
/* The connection to `node` broke. If it led this group: pre-vote at once (D1). */
void raft_peer_down(struct raft *raft, node_id_t node, uint64_t now);
/* Leader only: appends an entry, taking it over. Returns its index, or 0 if not leader,
 * or if a transfer is under way. */
uint64_t raft_propose(struct raft *raft, struct raft_entry *entry);
/* Compare-and-set on the configuration index (WHY 6.3). Goes through joint when more than
 * one voter differs: the core logs (incoming, outgoing) and, once that is committed, the
 * final entry by itself. STATUS_REFUSED with a reason; STATUS_NOT_LEADER. */
enum status raft_propose_config(struct raft *raft, const struct raft_config *target,
                                uint64_t based_on_index, struct error *error);
enum status raft_transfer(struct raft *raft, struct replica_id to, uint64_t now);
/* All up to and including this persist_id is written: it survives this process, not a loss of
 * power. May be left out; the driver must know that it may be believed (decision 0012). */
void raft_written(struct raft *raft, uint64_t persist_id, uint64_t now);
/* All up to and including this persist_id is durable. */
void raft_persisted(struct raft *raft, uint64_t persist_id, uint64_t now);
void raft_applied(struct raft *raft, uint64_t index);
/* Forgets entries <= index from memory; index <= applied. What is not durable here, or not known to
 * be durable on a quorum, stays. */
void raft_trim(struct raft *raft, uint64_t index);
/* A snapshot of (index, term, config) is durably installed in the engine AND the log (under
 * that replica's records). Discards conflicting entries, keeps a matching suffix, and sends
 * the acknowledgement to the leader. False if it is older than commit: ignored. */
bool raft_install_snapshot(struct raft *raft, uint64_t index, uint64_t term,
                           const struct raft_config *config, uint64_t now);
/* The driver ended a transfer of a snapshot to a member; ok: go on behind `index`. */
void raft_snapshot_sent(struct raft *raft, struct replica_id to, uint64_t index, bool ok);

/* --- heartbeats: coalesced over groups by the driver (partition/heartbeat.h) --- */
struct raft_heartbeat {
    struct group_id group;
    struct replica_id from, to;
    uint64_t term;
    uint64_t commit; /* already limited to what the receiver acknowledged */
    uint64_t round;  /* latest read-index round started; 0: none */
};
struct raft_heartbeat_ack {
    struct group_id group;
    struct replica_id from, to;
    uint64_t term; /* of the answerer; greater: step down */
    uint64_t round;
    uint64_t match; /* durable last index, so that a lost append reply is made good */
    bool accepted;  /* agrees that `to` leads in `term` (WHY 6.8a) */
};
/* Leader: fills the heartbeat for a member (voter or learner). False if not leader. */
bool raft_heartbeat_make(struct raft *raft, struct replica_id to, struct raft_heartbeat *ret);
/* Follower side. Always fills *ret. */
void raft_heartbeat_receive(struct raft *raft, const struct raft_heartbeat *heartbeat,
                            node_id_t from_node, uint64_t now, struct raft_heartbeat_ack *ret);
/* Leader side. generated_at: `now` when the heartbeat was made, echoed by the frame (D1). */
void raft_heartbeat_acked(struct raft *raft, const struct raft_heartbeat_ack *ack,
                          uint64_t generated_at, uint64_t now);

/* --- groups at rest: who lives is known from elsewhere (partition/rest.c) --- */
/* Follower: its leader lived at `at`. Puts off the election, and makes it loyal, as a heartbeat of
 * then would have; no promise to the leader comes of it. */
void raft_leader_alive(struct raft *raft, uint64_t at);
/* It follows one, and no connection to it broke since it was heard. */
bool raft_leader_is_linked(const struct raft *raft);
/* Leader: the member's node lived at `at`. Its silence is forgiven by check-quorum, and by nothing
 * else: no lease, no round, and for changes of members and hand-overs it has not answered. */
void raft_member_alive(struct raft *raft, struct replica_id member, uint64_t at);
/* Leader of whose entries all are committed, applied and everywhere, with nothing under way. */
bool raft_is_quiet(const struct raft *raft);

/* --- reads (A1, A3, D1) --- */
/* Leader with its own-term no-op committed and applied, and every voter's promise to the
 * former leader run out: it may evaluate and release. */
bool raft_can_evaluate(const struct raft *raft, uint64_t now);
/* `now` must have been read after the request's bytes were. */
bool raft_lease_valid(const struct raft *raft, uint64_t now);
/* Asks for a confirmation round that starts after this call (never the one in flight). The
 * read may be answered when output.read_round >= the returned id, or is void on a role
 * change. 0: not leader. Ids are unique over the life of the process and never reused. A
 * single-voter group confirms in the next output. *ret_send_now: the driver should send
 * heartbeats for this group at the end of this turn and not wait for the tick. */
uint64_t raft_read_begin(struct raft *raft, uint64_t now, bool *ret_send_now);

/* --- state --- */
bool raft_has_output(const struct raft *raft);
void raft_take_output(struct raft *raft, struct raft_output *output);
enum raft_role raft_role(const struct raft *raft);
uint64_t raft_term(const struct raft *raft);
struct raft_member raft_leader(const struct raft *raft); /* replica 0: unknown */
uint64_t raft_commit_index(const struct raft *raft);
/* How much of it is durable on a quorum, as far as this one knows. Nothing above it may be stored
 * outside of the log: if all lose power, a later leader may lack it. */
uint64_t raft_commit_durable_index(const struct raft *raft);
/* A later leader has another entry where one was committed here, though not durable on a quorum: a
 * majority lost power, and an operator accepted the loss. This replica went on with what is lost,
 * and must come back under a new id; it acknowledges nothing any more. */
bool raft_is_contradicted(const struct raft *raft);
uint64_t raft_first_index(const struct raft *raft); /* of entries in memory */
uint64_t raft_last_index(const struct raft *raft);
uint64_t raft_durable_index(const struct raft *raft);
uint64_t raft_written_index(const struct raft *raft); /* at least the durable one */
/* Lowest match of all members (voters and learners) known to the leader, for trimming. */
uint64_t raft_match_min(const struct raft *raft);
/* All members have the entries up to here, as far as this one knows: from its leader. */
uint64_t raft_everywhere_index(const struct raft *raft);
/* A leader's appends say so to the others. Where nothing is proposed any more, those who have not
 * heard of the last `entries` or more would keep them for ever: they get an empty one. False: that
 * is not needed. */
bool raft_tell_everywhere(struct raft *raft, uint64_t entries);
/* The leader's next output has an append without entries to each follower that is not probed,
 * behind those with entries. False: it has nothing to send. */
bool raft_send_empty(struct raft *raft);
/* Match index of a member; leader only, else 0. Second: acked within an election timeout. */
uint64_t raft_match_of(const struct raft *raft, struct replica_id replica, uint64_t now,
                       bool *ret_active);
const struct raft_config *raft_config(const struct raft *raft);
/* The one that was in force at `index`, which is not below the first index in memory - 1. */
const struct raft_config *raft_config_at(const struct raft *raft, uint64_t index);
const struct raft_entry *raft_entry_at(const struct raft *raft, uint64_t index); /* or NULL */
/* The same without a look at the entry, whose memory may be far away. */
const struct raft_entry *raft_entry_unseen(const struct raft *raft, uint64_t index);
/* Term of an index in memory or of the snapshot; 0 if unknown. */
uint64_t raft_term_at(const struct raft *raft, uint64_t index);
/* Whether raft_tick() has something to do now; cheap, so that idle groups cost nothing. */
bool raft_tick_due(const struct raft *raft, uint64_t now);
/* When raft_tick() has something to do at the earliest. */
uint64_t raft_next_deadline(const struct raft *raft);

void raft_config_encode(const struct raft_config *config, struct buffer *buffer);
enum status raft_config_decode(struct bytes bytes, struct raft_config *ret_config);

#endif
