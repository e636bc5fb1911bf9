/* log.h - the log of one storage device: append-only, in preallocated and recycled segments,
 * shared by all Raft groups of the node, so that one sync makes the entries of many groups
 * durable (group commit). DESIGN.md 5; WHY.md 5; FAULTS rules 1, 5, 6, 7.
 *
 * Each worker queues records into its own queue and submits them at the end of its turn.
 * The writer (a job on LANE_LOG, one at a time) takes what all queues hold as one batch,
 * writes it aligned to 4 KiB, syncs, and tells each queue how far it is durable, while the
 * next batch gathers. A batch of lazy entries alone is not synced by itself, but with the next one
 * that is, or after LOG_LAZY_SYNC_US (decision 0012). Patient entries are not even written by
 * themselves: they stay with their worker until it has something else to submit, or for
 * LOG_PATIENT_US (decision 0022).
 * Format: docs/reference/log-format.md (owned by this module).
 * A write or sync failure is world_fatal(). Thread: a queue belongs to its worker. */
#ifndef HOLON_STORAGE_LOG_LOG_H
#define HOLON_STORAGE_LOG_LOG_H

#include "base/buffer.h"
#include "base/bytes.h"
#include "base/ids.h"
#include "world/world.h"

struct log;       /* one per storage device */
struct log_queue; /* one per worker */

enum {
    LOG_ENTRY_BODY_MAX = 320 * 1024, /* of one entry; the partition's limit is below it */
    LOG_SEGMENT_SIZE_MIN = 1024 * 1024,
    LOG_SEGMENT_SIZE_MAX = 1024 * 1024 * 1024,
    LOG_WRITER_LOOPS_DEFAULT = 16,
    LOG_SEGMENTS_MIN = 8,                 /* a bound holds at least so many */
    LOG_LAZY_SYNC_US = 50 * 1000,         /* lazy entries are synced after so long, if not before */
    LOG_LAZY_BYTES_MAX = 8 * 1024 * 1024, /* or when more was written without a sync */
    LOG_PATIENT_US = 1000,                /* patient entries are handed over after so long */
};

/* Where damage was found: for those who repair and report it. */
enum { LOG_DAMAGE_FILE_SIZE = 256 };
struct log_damage {
    char file[LOG_DAMAGE_FILE_SIZE];
    uint64_t offset;
};

struct log_options {
    const char *directory; /* DIR/log; made if absent */
    struct cluster_id cluster;
    node_id_t node;
    store_id_t store;
    uint64_t segment_size; /* 64 MiB by default; a multiple of 4 KiB; sim: 1 MiB */
    /* Of all files of segments: at least LOG_SEGMENTS_MIN segments; 0: no bound. What happens near
     * it: log_pressure(). Only what was handed over before its callers could know that goes
     * beyond it, by less than a segment (LOG_BYTES_SLACK is what it may be at most). */
    uint64_t bytes_max;
    uint64_t queue_bytes_max; /* of records queued and not yet durable, per queue */
    /* Batches that one run of the writer's job writes at most before it ends: more saves a
     * wake-up per batch. 0: LOG_WRITER_LOOPS_DEFAULT. The simulator takes 1. */
    uint32_t writer_loops;
    /* A log was here before (DIR/identity says so): an empty directory is STATUS_CORRUPT and
     * not a new log (F29). */
    bool must_exist;
    /* The machine lost power after lazy entries were written: of batches that no sync had covered
     * one may be gone though a later one is there. Otherwise that is damage. */
    bool lost_power;
    struct log_damage *damage; /* filled in with STATUS_CORRUPT; may be NULL */
    /* A write or a sync failed after lazy entries had been told to be written, and not synced. On
     * the log's thread, before the process ends. May be NULL. */
    void (*on_written_lost)(void *context);
    void *context;
};

struct log_entry {
    uint64_t index;
    uint64_t term;
    uint8_t type;
    bool lazy;    /* nobody waits for its sync; not on disk */
    bool patient; /* nobody waits for it at all; not on disk */
    struct bytes body;
};

struct log_state {
    uint64_t term;
    struct replica_id vote;
    uint64_t commit;
};

/* What recovery found of one group: its last living replica on this node. */
struct log_recovered {
    struct group_id group;
    struct replica_id replica;
    struct log_state state;
    uint64_t base_index, base_term; /* a snapshot or release: entries begin behind it */
    struct log_entry *entries;      /* base_index + 1, without gaps; bodies owned by the log */
    size_t entry_count;             /* until log_recovery_free() */
};

/* Opens or makes the log; cuts a torn tail, rewrites and syncs what is left of it so that it
 * counts again (FAULTS rule 6). STATUS_CORRUPT: damage that is not a torn tail (nothing was
 * changed; error and options->damage say file and offset): sectors that cannot be read, and
 * files of another log among our own, count as that. Also STATUS_IO, STATUS_NO_SPACE,
 * STATUS_REFUSED (as a whole the log of another cluster or node), STATUS_VERSION,
 * STATUS_INVALID (options). Files whose names say nothing to a log are left alone. */
enum status log_open(struct world *world, const struct log_options *options, struct log **ret_log,
                     struct error *error);
void log_recovery(struct log *log, const struct log_recovered **ret_groups, size_t *ret_count);
void log_recovery_free(struct log *log);
/* After all queues are closed. Records what is durable, so that damage found at the next start
 * cannot be taken for a torn tail. */
void log_close(struct log *log);
/* For the simulator, after it killed a node: frees the log and its queues with whatever is in
 * flight, writes nothing, calls nobody back. Its jobs, timers and posts must be gone. */
void log_abandon(struct log *log);

/* on_durable(context, position): all that this queue had appended up to `position` is
 * durable. Called on the worker's thread, once per batch at most, positions rising. */
struct log_queue *log_queue_open(struct log *log, struct world *world, void *context,
                                 void (*on_durable)(void *context, uint64_t position));
/* on_written(context, position): it is written, and survives the end of this process. Only where
 * that is news: behind it is what on_durable has told. Before anything is appended. */
void log_queue_hear_written(struct log_queue *queue,
                            void (*on_written)(void *context, uint64_t position));
/* When idle. The queue of a node that was killed is not: it hears nothing more, and
 * log_abandon() frees it. */
void log_queue_close(struct log_queue *queue);
/* All that was appended is durable and reported, and no job of this queue is running. */
bool log_queue_idle(const struct log_queue *queue);
/* More than queue_bytes_max waits: proposers should hold back. */
bool log_queue_full(const struct log_queue *queue);

/* Each copies what it is given, returns the position by which it will be durable, and
 * becomes visible to the writer with log_queue_submit(). Records of one group all go through
 * one queue. Once a replica was removed, or another was born in its group, whatever still
 * comes of it is void.
 * An entry's index is at most one behind the last one; one at or before the last truncates. */
uint64_t log_append_entry(struct log_queue *queue, struct group_id group, struct replica_id replica,
                          const struct log_entry *entry);
/* Entries >= from_index are void. */
uint64_t log_append_truncate(struct log_queue *queue, struct group_id group,
                             struct replica_id replica, uint64_t from_index);
/* Written twice in the batch, in different 4 KiB blocks, when term or vote changed. The first
 * state of a replica is also its birth record: written before anything else of it. A term that
 * falls or a second vote in a term is a bug of the caller and ends the process. */
uint64_t log_append_state(struct log_queue *queue, struct group_id group, struct replica_id replica,
                          const struct log_state *state);
/* The replica's state up to (index, term) is durable in the engine by a received snapshot:
 * the log of this replica restarts behind it, all older entries are void. */
uint64_t log_append_snapshot(struct log_queue *queue, struct group_id group,
                             struct replica_id replica, uint64_t index, uint64_t term);
/* The replica is no more (a committed configuration said so, or it was born anew). */
uint64_t log_append_removed(struct log_queue *queue, struct group_id group,
                            struct replica_id replica);
void log_queue_submit(struct log_queue *queue);
/* Somebody waits for a patient entry after all: the next submit hands it over, appended by then. */
void log_queue_hurry(struct log_queue *queue);

/* Entries <= index of this replica are durable in the engine and may be freed with their
 * segments. Cheap: waits for the next batch that has something else to write. Takes effect
 * when the oldest segment is needed by nobody. Behind the last entry it acts like
 * log_append_snapshot(). */
void log_release(struct log_queue *queue, struct group_id group, struct replica_id replica,
                 uint64_t index, uint64_t term);

struct log_statistics {
    uint64_t batches, records, bytes, syncs, segments, bytes_on_disk, last_sync_us;
    /* The group that holds back the oldest segment (its engine flush would free it). */
    struct group_id oldest_group;
    bool oldest_segment_pinned;
    uint64_t oldest_segment, active_segment; /* ids: they rise */
    uint64_t active_bytes;                   /* used of the newest segment */
    uint64_t segment_size;
    uint64_t bytes_max;                    /* 0: no bound */
    uint64_t live_bytes;                   /* of records that are still needed, about */
    uint64_t copied_entries, copied_bytes; /* forward, so that a segment could be freed */
    uint64_t pressure;                     /* enum log_pressure */
    uint64_t flush_segments;               /* more than so many: LOG_PRESSURE_FLUSH */
    uint64_t queue_bytes, queue_records;   /* submitted, and not written yet */
    bool lazy;                             /* something is not synced: written, or waiting to be */
    uint64_t damages_found;                /* in sealed segments, since it was opened */
    uint64_t damaged;                      /* segments known to be damaged, in it or set aside */
    /* No space for another segment: at best a part of the present one is left, at worst batches
     * wait (nothing is lost, it goes on when space is freed). Refuse what makes data grow. */
    bool no_space;
};
/* How near the log is to its bound, and so what its users must leave (pressure.c); without a lock,
 * for every request. Thread: any. */
enum log_pressure {
    LOG_PRESSURE_NONE,
    LOG_PRESSURE_FLUSH,  /* what holds back the oldest segment should be flushed */
    LOG_PRESSURE_SHORT,  /* nothing that adds data */
    LOG_PRESSURE_FULL,   /* no request that writes: votes, terms, births, and what frees segments */
    LOG_PRESSURE_CLOSED, /* of leaders small entries only */
    LOG_PRESSURE_SPENT,  /* nothing that is not needed to elect */
};
enum log_pressure log_pressure(const struct log *log);
/* As statistics.no_space or LOG_PRESSURE_SHORT, without a lock, for every request. When it turns
 * true at least a half of a segment is left, preallocated: that is for votes, terms and deletes.
 * Thread: any. */
bool log_is_short(const struct log *log);
/* Thread: any. */
void log_statistics(struct log *log, struct log_statistics *ret);

/* --- damage met while the log is open (damage.c), and looking for it (scrub.c) --------------- */

enum { LOG_DAMAGED_MAX = 16 }; /* known at a time; more are found again by the next pass */
struct log_damaged {
    uint64_t segment;
    char file[LOG_DAMAGE_FILE_SIZE]; /* where it is now */
    uint64_t offset;
    const char *what; /* static */
    bool set_aside;   /* no part of the log any more: evidence, to be moved away */
};
/* Thread: any. The list, as of now. */
uint32_t log_damages(struct log *log, struct log_damaged ret[LOG_DAMAGED_MAX]);
/* The newest damaged segment that is still needed, 0: none is. What is needed of it and of older
 * ones should be flushed. Thread: any, without a lock. */
uint64_t log_damaged_segment(const struct log *log);
/* The file that was set aside is somewhere else now. Thread: any. */
void log_damage_moved(struct log *log, uint64_t segment);

/* A reader in a sealed segment: walk.c. */
struct log_walk {
    uint64_t segment; /* 0: none yet */
    unsigned flags;   /* enum file_flags, to open it with */
    struct file *file;
    struct buffer read;
    uint64_t offset; /* of the next batch */
    uint64_t number; /* of the batch before it; 0: it is the first */
};
struct log_scrub {
    uint64_t segment; /* 0: from the oldest on */
    struct log_walk walk;
    uint64_t bytes; /* read in all */
};
void log_scrub_init(struct log_scrub *scrub);
void log_scrub_free(struct log_scrub *scrub);
/* Reads on in the sealed segments, about `bytes_max` more or one batch; damage goes to
 * log_damages(). False: it has come to their end, and begins again. Blocks: in a job. */
bool log_scrub(struct log *log, struct log_scrub *scrub, uint64_t bytes_max);
/* Is the mark, DIR/durable, what was written last? Blocks: in a job. STATUS_CORRUPT, at
 * *ret_offset, STATUS_NOT_FOUND: no; STATUS_REFUSED: the directory is not the one that this log
 * writes to, it was removed or another took its place; STATUS_IO: nothing is known. */
enum status log_mark_scrub(struct log *log, uint64_t *ret_offset, struct error *error);
/* Writes both slots of it anew, as one step, from what is known here. A failure of the disk other
 * than STATUS_NO_SPACE is fatal, as for all that the log writes. */
enum status log_mark_renew(struct log *log, struct error *error);

/* `holon inspect log`: prints one line per record to `print`, changes nothing. */
enum status log_inspect(struct world *world, const char *directory, void *context,
                        void (*print)(void *context, const char *line), struct error *error);

#endif
