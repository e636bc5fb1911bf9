/* raft_internal.h - what the files of the Raft core share; nobody else includes it.
 *
 *   raft.c       open, close, inputs that every role takes, state
 *   output.c     what leaves the core, and what it waits for
 *   raft_log.c   entries in memory, durable index
 *   quorum.c     majorities of simple and joint configurations
 *   elect.c      pre-vote, vote, stickiness, promises
 *   append.c     the follower's side of replication
 *   replicate.c  the leader's side: proposals, flow control, commit
 *   progress.c   what the leader knows of each member
 *   read.c       heartbeats, lease, read rounds
 *   rest.c       groups without heartbeats
 *   config.c     history of configurations, joint changes
 *   transfer.c   handing leadership over
 *   snapshot.c   members behind the first entry, installed snapshots
 *
 * Terms and indexes start at 1; 0 means none. Thread: as raft.h. */
#ifndef HOLON_RAFT_RAFT_INTERNAL_H
#define HOLON_RAFT_RAFT_INTERNAL_H

#include "base/assert.h"
#include "base/memory.h"
#include "base/random.h"
#include "raft/raft.h"

enum { RAFT_INFLIGHT_BYTES_MAX = 4 << 20 }; /* per member, appends not yet acknowledged */
enum { RAFT_VOTERS_MAX = 2 * RAFT_MEMBERS_MAX };
enum { RAFT_ALL_MEMBERS_MAX = 3 * RAFT_MEMBERS_MAX };
enum { RAFT_PROMOTE_LAG_MAX = 4096 }; /* entries a learner may lack when it is promoted */
enum { RAFT_SILENT_ACKS_MAX = 2 };    /* heartbeat acks without progress: ask what arrived */

/* Probe: one append at a time, until the member says where its log agrees. Replicate: next
 * runs ahead of what is acknowledged. Snapshot: the driver transfers; nothing is appended. */
enum progress_state { PROGRESS_PROBE, PROGRESS_REPLICATE, PROGRESS_SNAPSHOT };

struct inflight {
    uint64_t last_index;
    uint64_t bytes;
};

/* What the leader knows of one other member. match < next always. */
struct progress { /* three lines of cache; heartbeats need the last */
    _Alignas(64) struct raft_member member;
    uint64_t match;   /* durable there and equal to ours */
    uint64_t next;    /* first index not yet sent */
    uint64_t written; /* there and equal to ours, but perhaps not durable; below match: as match */
    enum progress_state state;
    bool probe_sent;
    bool probe_empty;  /* repeated probes carry no entries: the first may only be slow */
    bool check_wanted; /* ask by an empty append whether all that was sent has arrived */
    bool offer_open;   /* snapshot offered, raft_snapshot_sent() not yet called */
    uint32_t inflight_start, inflight_count, inflight_capacity; /* a ring; 0: of `first` */
    uint64_t inflight_bytes;
    uint64_t acked_at; /* when it last answered in this term; 0: never */
    struct inflight inflight_first[2];
    struct inflight *inflight_more; /* owned */
    uint64_t lease_at; /* newest generation time of a heartbeat it accepted; 0: none counts */
    uint64_t round;    /* highest read round it acknowledged in this term */
    uint64_t offer_after;
    uint64_t alive_at; /* its node lived; for check-quorum alone, no word of the replica (rest.c) */
    uint8_t silent_acks; /* heartbeat acks since `match` last moved */
    uint64_t silent_match;
};

/* A message and the persist id it must not overtake. */
struct raft_held {
    struct raft_message message;
    uint64_t after;
};

/* Handed to the log, not yet reported durable. last_index shrinks with a truncation. */
struct raft_persisting {
    uint64_t id;
    uint64_t last_index;
};

/* What every message, answer of the disk and output looks at comes first, and close together: with
 * hundreds of groups a core is cold whenever its turn comes, and each line of memory is waited for.
 */
struct raft {
    enum raft_role role;
    bool send_wanted; /* the leader may have something to replicate */
    bool role_changed, config_changed;
    bool hard_changed; /* not yet handed out */
    bool ack_wanted;
    bool leader_link_down;
    bool contradicted; /* see raft_is_contradicted() */
    uint16_t planted_bugs;
    uint32_t capacity; /* of entries */
    uint64_t now;      /* latest time any input brought */
    uint64_t term;

    /* entries[start .. start + count) hold base_index + 1 and up. */
    uint64_t base_index;
    uint32_t count, start;
    struct raft_entry **entries;
    uint64_t handed_index; /* handed to the log */

    uint64_t commit, commit_told;
    uint64_t commit_durable; /* <= commit */
    uint64_t truncate_from;  /* to hand out; 0: none */
    uint64_t round_confirmed, round_told;
    size_t held_count;
    /* Follower: agreement with the leader of this term, and what it was told of it. */
    uint64_t matched, match_told, written_told;

    uint64_t durable_index;
    uint64_t written_index; /* only what raft_written() said: may be below durable_index */
    uint64_t persist_last;  /* last id handed out */
    uint64_t persisted;     /* last id reported durable */
    uint64_t hard_id;       /* persist id that carries (term, vote) */
    uint32_t persisting_count, persisting_capacity;
    struct raft_persisting *persisting;
    /* Terms change rarely: all entries from term_from on have term_last, so that most questions
     * for a term touch no entry. */
    uint64_t term_from, term_last;

    struct group_id group;
    node_id_t node;
    struct replica_id self;
    struct raft_member leader;
    uint64_t leader_heard; /* append or heartbeat */
    uint64_t everywhere;   /* all members have the entries up to here, as far as is known */
    uint64_t everywhere_told;
    uint64_t applied;
    struct raft_messages *messages; /* of the output that was taken last */

    struct progress *progress; /* leader */
    uint32_t progress_count, progress_room;
    /* Configurations by index, oldest first: the one as of base_index and all behind it. */
    struct raft_config *configs;
    size_t config_count;
    uint64_t durable_term; /* what may be told to others */
    uint64_t base_term;
    uint64_t noop_index;
    struct replica_id transfer_to;

    uint64_t election_timeout; /* drawn anew for each leader and each campaign */
    uint64_t election_deadline;
    uint64_t evaluate_after; /* longest promise of the voters to former leaders */
    struct raft_persisting persisting_first[2]; /* most need no more memory than this ... */
    struct raft_entry *entries_first[4];        /* ... and this */
    struct random random;
    struct raft_timing timing;
    uint64_t no_vote_until; /* D1: one election timeout after start */
    struct replica_id vote;
    size_t config_capacity;
    struct raft_held *held;
    size_t held_capacity;
    struct raft_messages own_messages; /* if no memory for them is shared */

    /* What this node owes the leaders whose heartbeats it accepted (D1). */
    uint64_t promise_until, promise_term, promise_round;

    /* Leader. */
    uint64_t leader_since;
    uint64_t lease_round_min; /* acks of older rounds do not extend the lease */
    bool transfer_sent;
    uint64_t transfer_deadline;
    uint64_t transfer_round; /* heartbeats carry no later round once TimeoutNow is out */

    /* Read rounds: never reset, so ids stay unique over role changes. */
    uint64_t round_started;
    bool round_carried; /* a heartbeat with round_started has been made */

    /* Candidates: who answered what. NULL before the first campaign. */
    size_t grant_count, reject_count;
    uint64_t own_vote_id; /* own vote counts once this persist id is durable; 0: done */
    struct raft_answers *answers;
};

struct raft_answers {
    struct replica_id grants[RAFT_VOTERS_MAX];
    struct replica_id rejects[RAFT_VOTERS_MAX];
};

static inline bool raft_bug(const struct raft *raft, enum raft_planted_bug bug)
{
    return (raft->planted_bugs & (uint32_t)bug) != 0;
}

/* raft_last_index() for the files of the core. */
static inline uint64_t last_index(const struct raft *raft)
{
    return raft->base_index + raft->count;
}

/* What may be claimed of the entries up to `index`. */
static inline uint64_t raft_log_claimable(const struct raft *raft, uint64_t index)
{
    if (raft_bug(raft, RAFT_BUG_ACK_BEFORE_DURABLE)) return index;
    return index < raft->durable_index ? index : raft->durable_index;
}

/* The same of what is written; at least what raft_log_claimable() says. */
static inline uint64_t raft_log_claimable_written(const struct raft *raft, uint64_t index)
{
    uint64_t written = raft_written_index(raft);
    if (raft_bug(raft, RAFT_BUG_WRITTEN_BEFORE_WRITTEN)) return index;
    uint64_t claimable = raft_log_claimable(raft, index);
    if (written > index) written = index;
    return claimable > written ? claimable : written;
}

static inline bool raft_hard_state_durable(const struct raft *raft)
{
    return !raft->hard_changed && raft->persisted >= raft->hard_id;
}

/* raft.c */
void raft_time(struct raft *raft, uint64_t now);
/* Follower in `term`, which is ours or newer. Leadership, candidacy and transfers end. */
void raft_become_follower(struct raft *raft, uint64_t term);
/* A leader of our term was heard. */
void raft_follow(struct raft *raft, struct raft_member leader);
/* A newer term: no vote, no leader, nothing known to match, older messages dropped. */
void raft_enter_term(struct raft *raft, uint64_t term);

/* output.c */
/* Queues a message; group, from and term are filled in (a term that is set is kept). A reply
 * waits until term and vote are durable; a request does not. */
void raft_send(struct raft *raft, struct raft_message message);
/* As above but right into the output being taken. */
void raft_send_now(struct raft *raft, struct raft_message message);
void raft_held_drop_older(struct raft *raft, uint64_t term);

/* raft_log.c */
void raft_log_open(struct raft *raft, const struct raft_options *options);
void raft_log_close(struct raft *raft);
/* Takes over the entry; its index must be last + 1. */
void raft_log_append(struct raft *raft, struct raft_entry *entry);
void raft_log_truncate(struct raft *raft, uint64_t from_index);
/* Replaces everything <= index by a snapshot; keeps what follows if (index, term) matches. */
void raft_log_restart(struct raft *raft, uint64_t index, uint64_t term);
struct raft_entry **raft_log_entries(struct raft *raft, uint64_t index);
/* Largest index <= `index` whose term is <= `term`, but not below `floor`. */
uint64_t raft_log_back(const struct raft *raft, uint64_t index, uint64_t term, uint64_t floor);
void raft_log_persisting(struct raft *raft, uint64_t id);
void raft_log_persisted(struct raft *raft, uint64_t id);
void raft_log_written(struct raft *raft, uint64_t id);

/* quorum.c */
bool raft_member_find(const struct raft_member *members, size_t count, struct replica_id replica);
bool raft_is_voter(const struct raft_config *config, struct replica_id replica);
/* It may become a leader: a voter, or one that the latest configuration leaves out and that may
 * be the only one to have that, while it is not committed (thesis, 4.2.2 and figure 4.6). */
bool raft_may_stand(const struct raft *raft);
bool raft_single_voter(const struct raft *raft);
/* The other voters, each once. Returns the count. */
size_t raft_other_voters(const struct raft *raft, struct raft_member *ret_voters);
/* The other voters and learners, each once. */
size_t raft_other_members(const struct raft *raft, struct raft_member *ret_members);
/* Whether `set` holds a majority of every half of the configuration. */
bool raft_quorum_of_set(const struct raft_config *config, const struct replica_id *set,
                        size_t count);
/* Whether the voters outside `set` can no longer make a majority. */
bool raft_quorum_lost(const struct raft_config *config, const struct replica_id *set, size_t count);
/* The greatest value that a majority of every half has reached; self counts `self_value`. */
uint64_t raft_quorum_value(const struct raft *raft,
                           uint64_t (*value)(const struct raft *, const struct progress *),
                           uint64_t self_value);
uint64_t raft_quorum_match(const struct raft *raft);
uint64_t raft_quorum_written(const struct raft *raft);
bool raft_quorum_active_in(const struct raft *raft, const struct raft_member *members,
                           size_t count);

/* elect.c */
void raft_election_arm(struct raft *raft);
void raft_pre_campaign(struct raft *raft);
/* `transfer`: asked for by the leader with TimeoutNow, which named read round `round`. */
void raft_campaign(struct raft *raft, bool transfer, uint64_t round);
/* A live leader, or the time since our start, forbids to help this candidate. */
bool raft_elect_refuses(const struct raft *raft, const struct raft_message *message);
void raft_on_pre_vote(struct raft *raft, const struct raft_message *message);
void raft_on_pre_vote_reply(struct raft *raft, const struct raft_message *message);
void raft_on_vote(struct raft *raft, const struct raft_message *message);
void raft_on_vote_reply(struct raft *raft, const struct raft_message *message);
void raft_on_own_vote_durable(struct raft *raft);
/* The handed-over election of message->term may ignore what we promised (see transfer.c). */
bool raft_transfer_fresh(const struct raft *raft, uint64_t term, uint64_t round);

/* append.c */
void raft_on_append(struct raft *raft, struct raft_message *message);
bool raft_ack_due(const struct raft *raft);
void raft_ack_send(struct raft *raft);

/* What a leader has at `index` is not what was committed there, written and not durable. */
bool raft_contradicts(struct raft *raft, uint64_t index, uint64_t term);

/* progress.c */
struct progress *raft_progress_find(const struct raft *raft, struct replica_id replica);
void raft_progress_reset(struct raft *raft); /* at the start of a leadership */
void raft_progress_free(struct raft *raft);
void raft_progress_update(struct raft *raft); /* after a change of configuration */
bool raft_progress_active(const struct raft *raft, const struct progress *progress, uint64_t now);
void raft_progress_probe(struct progress *progress, uint64_t next);
/* The member has everything up to `match`. */
void raft_progress_matched(struct raft *raft, struct progress *progress, uint64_t match);
/* The member has written everything up to `written`. */
void raft_progress_written(struct raft *raft, struct progress *progress, uint64_t written);
void raft_progress_sent(struct progress *progress, uint64_t last_index, uint64_t bytes);
bool raft_progress_has_room(const struct progress *progress);
/* A heartbeat was answered: has anything moved since the last one? */
void raft_progress_heard(struct raft *raft, struct progress *progress);

/* replicate.c */
uint64_t raft_append_own(struct raft *raft, struct raft_entry *entry);
void raft_become_leader(struct raft *raft);
void raft_on_append_reply(struct raft *raft, const struct raft_message *message);
void raft_replicate(struct raft *raft); /* fills the output being taken */
void raft_commit_advance(struct raft *raft);
void raft_commit_to(struct raft *raft, uint64_t index);
/* Durable on a quorum, and so committed. */
void raft_commit_durable_to(struct raft *raft, uint64_t index);
void raft_check_quorum(struct raft *raft);
uint64_t raft_check_quorum_deadline(const struct raft *raft);

/* read.c */
/* How long the acceptance of a heartbeat binds: a lease as the slowest clock that the drift
 * bound allows would measure it (D1). */
static inline uint64_t raft_promise_time(const struct raft *raft)
{
    return raft->timing.lease + raft->timing.lease / 4;
}
void raft_lease_void(struct raft *raft); /* until a round that starts now succeeds */
void raft_round_confirm(struct raft *raft);

/* config.c */
enum status raft_config_history_open(struct raft *raft, const struct raft_config *config);
/* Latest configuration: in force from its append on (thesis 4.1). */
void raft_config_push(struct raft *raft, const struct raft_config *config);
bool raft_config_of_entry(const struct raft_entry *entry, struct raft_config *ret_config);
void raft_config_truncate(struct raft *raft, uint64_t from_index);
void raft_config_trim(struct raft *raft);
void raft_config_restart(struct raft *raft, const struct raft_config *config);
void raft_config_advance(struct raft *raft); /* after commit moved */

/* transfer.c */
bool raft_transferring(const struct raft *raft);
void raft_transfer_advance(struct raft *raft);
void raft_transfer_tick(struct raft *raft);
void raft_transfer_away(struct raft *raft); /* leader outside of the new configuration */
void raft_on_timeout_now(struct raft *raft, const struct raft_message *message);

/* snapshot.c */
void raft_snapshot_offer(struct raft *raft, struct progress *progress);

#endif
