/* log_private.h - struct log and the functions its files share. Private to src/storage/log.
 *
 *   worker      queue.c: gathers records into a chunk, submits chunks     (under the mutex)
 *   LANE_LOG    writer.c: takes chunks, makes a batch, writes, syncs, publishes, frees segments
 *   LANE_FLUSH  segment.c: prepares a spare segment, so that the writer need not wait for it
 *   at start    recovery.c reads and judges, repair.c changes the files
 *
 * At most one writer job exists, whichever worker started it: `running`. */
#ifndef HOLON_STORAGE_LOG_LOG_PRIVATE_H
#define HOLON_STORAGE_LOG_LOG_PRIVATE_H

#include <pthread.h>
#include <stdatomic.h>

#include "base/list.h"
#include "storage/log/group_table.h"

enum {
    LOG_PATH_SIZE = 1024,
    LOG_SPARES_MAX = 2,
    LOG_SEGMENT_FIRST = 1,
    LOG_BATCH_BYTES_MAX = 8 * 1024 * 1024, /* of records; less if segments are small */
    LOG_BATCH_BYTES_MIN = 384 * 1024,      /* the largest record fits */
    LOG_CHUNK_BYTES_MAX = 1024 * 1024,
    LOG_RELEASE_BYTES_MAX = 64 * 1024, /* releases that wait for something else to write */
    LOG_CHUNKS_KEPT_MAX = 2,           /* per queue, for reuse */
    LOG_MARK_BATCHES = 64,             /* the mark is at most this far behind */
    LOG_MARK_IDLE_US = 5 * 1000,       /* or this long, when nothing is written */
    LOG_NO_SPACE_RETRY_US = 200 * 1000,
    LOG_SEGMENTS_UNBOUNDED = 1 << 30,
};
_Static_assert((int)LOG_RECORD_SIZE_MAX <= (int)LOG_BATCH_BYTES_MIN, "a record fits in a batch");

/* Records that one submit handed over, or a part of them: never more than fits in a batch. */
struct log_chunk {
    struct list link;        /* queue->pending, log->taken or queue->kept */
    struct log_queue *queue; /* NULL: recovery's own */
    struct buffer records;
    size_t weight; /* bytes in a batch at most, second copies of votes included */
    uint32_t record_count;
    uint64_t position; /* the queue's position once this is durable */
    bool has_lazy;     /* lazy entries are among it */
    bool waits_sync;   /* and something else but releases */
};

struct log_queue {
    struct log *log;
    struct world *world;
    void *context;
    void (*on_durable)(void *context, uint64_t position);
    void (*on_written)(void *context, uint64_t position); /* NULL: nobody asks */

    /* The worker's own. */
    struct log_chunk *gather;       /* NULL: nothing gathered */
    uint64_t position;              /* bytes of records appended so far, releases not counted */
    uint64_t submitted;             /* position at the last submit */
    uint64_t hurried;               /* position of the last record that somebody waits for */
    bool hurries;                   /* until the next submit */
    bool patient;                   /* `patient_timer` runs */
    bool closed;                    /* while not idle: on_durable must not be called any more */
    struct world_timer timer;       /* writes the mark when idle; retries when there is no space */
    struct world_timer spare_timer; /* tries again to prepare a spare while space is short */
    struct world_timer patient_timer; /* what is patient has waited */

    /* Under log->mutex. */
    struct list link;    /* log->queues */
    struct list pending; /* submitted chunks, oldest first */
    struct list kept;    /* empty chunks for reuse */
    uint32_t kept_count;
    uint32_t in_flight; /* chunks submitted and not yet written */
    uint64_t written;   /* position */
    uint64_t durable;   /* position; <= written */
    uint64_t reported;  /* told to on_durable */
    uint64_t written_reported;
    bool posted; /* `post` is on its way */
    struct world_post post;
};

/* Where the copying forward of the oldest segment is; copy.c. */
struct copy_place;
struct log_copy {
    uint64_t segment; /* 0: none */
    struct log_walk walk;
    bool scanned;
    bool rests; /* the next batch is for what waits */
    struct copy_place *places;
    size_t place_count, place_capacity, next;
    uint64_t gave_up;        /* a segment that copying did not make free */
    uint64_t entries, bytes; /* copied */
};

/* In segments; pressure.c. */
struct log_marks {
    uint64_t flush, copy, copy_all, is_short, full, closed;
};

struct log {
    struct world *world; /* for files and fatal errors */
    char directory[LOG_PATH_SIZE];
    struct log_identity identity;
    uint64_t segment_size;
    uint64_t queue_bytes_max;
    uint64_t bytes_max; /* of all files, a multiple of segment_size */
    uint64_t segments_max;
    struct log_marks marks;
    uint64_t batch_bytes_max; /* weight of the chunks of one batch */
    uint64_t chunk_bytes_max;
    uint32_t writer_loops;
    struct log_damage *damage; /* while opening; NULL: nobody wants to know */
    bool lost_power;           /* options */
    void (*on_written_lost)(void *context);
    void *context;
    bool opened; /* errors are fatal from now on */
    /* world_fatal() was called and returned: a simulated node is dead. Set by the jobs of either
     * lane, read by all threads; it only ever becomes true, and guards nothing else. */
    atomic_bool failed;
    atomic_bool is_short; /* of space: statistics.no_space, to be read without the mutex */
    atomic_int pressure;  /* enum log_pressure; written with the mutex held */
    /* The newest of the segments with damage that are not freed; 0: none. As `pressure`. */
    atomic_uint_least64_t damaged_segment;

    /* The writer's: whoever set `running`, or open and close. */
    struct log_table table;
    struct buffer batch;
    struct log_vote *votes;
    size_t vote_count, vote_capacity;
    struct list taken;       /* chunks of the batch being written */
    uint64_t oldest_segment; /* 0: none yet */
    uint64_t active_segment;
    struct file *active_file;
    uint64_t active_size;
    uint64_t active_offset; /* where the next batch goes */
    uint64_t batch_number;  /* of the last batch written */
    uint64_t synced_number; /* of the last batch that a sync has covered */
    uint64_t lazy_bytes;    /* written behind it */
    struct file *mark_file; /* it and the file: under mark_mutex once the log is open */
    uint64_t mark_number;   /* what it says; written by the writer alone */
    uint64_t mark_sequence; /* of its last write; the parity chooses the slot; mark_mutex */
    bool released;          /* a base rose since segments were last looked at */
    struct log_copy copy;
    uint64_t job_started_at;
    uint64_t job_batches;
    bool sync_due;  /* lazy batches have waited long enough */
    bool sync_left; /* to the next job, at once */

    struct world_job writer_job;
    struct world_job spare_job;
    uint32_t spare_index; /* being prepared */

    pthread_mutex_t mark_mutex; /* held while the mark is written, or read to be compared */
    pthread_mutex_t mutex;      /* guards the rest, and what struct log_queue says */
    struct list queues;
    struct log_damaged damaged[LOG_DAMAGED_MAX];
    uint32_t damaged_count;
    uint64_t kept_from; /* older segments are freed, or about to be */
    uint64_t damages_found;
    /* Weight and records of the chunks that are handed over and not durable. */
    uint64_t pending_bytes, pending_records;
    uint64_t pending_lazy;   /* chunks with lazy entries */
    bool running;            /* a writer job was started and is not done */
    bool lazy_written;       /* batches were written and not synced */
    uint64_t lazy_since;     /* seen by a loop; 0: not yet */
    struct log_queue *owner; /* who started it */
    bool stalled;            /* the batch in `taken` waits for space */
    uint64_t stall_retry_at;
    bool preparing; /* a spare job was started and is not done */
    struct log_queue *spare_owner;
    uint64_t spare_retry_at; /* not before, after there was no space */
    bool spare_ready[LOG_SPARES_MAX];
    struct log_statistics statistics;

    /* Recovery's result, until log_recovery_free(). */
    struct log_recovered *recovered;
    size_t recovered_count;
    struct arena bodies;
};

/* --- segment.c: files of segments ---------------------------------------------------------- */

void log_segment_path(const struct log *log, uint64_t segment, char path[LOG_PATH_SIZE]);
/* "000000000000000a.seg" to 10; 0 if the name is none of a segment. */
uint64_t log_segment_parse(const char *name);
void log_spare_path(const struct log *log, uint32_t index, char path[LOG_PATH_SIZE]);
/* "spare-0.seg" to 0; LOG_SPARES_MAX if it is no name of a spare. */
uint32_t log_spare_parse(const char *name);
/* Makes the next segment the active one: from a spare, or a new file. STATUS_NO_SPACE leaves
 * everything as it was; any other failure is fatal. */
enum status log_segment_switch(struct log *log, struct error *error);
/* Turns a segment that is not needed into a spare, or removes it. Durable on return, so that
 * what is left after a crash is always a row without holes. */
enum status log_segment_discard(struct log *log, uint64_t segment, struct error *error);
/* Starts the job that prepares a spare, if one is due. Thread: the queue's. */
void log_spare_prepare(struct log *log, struct log_queue *queue);
/* Tries again to prepare one if the log is short of space. Thread: the queue's. */
void log_spare_retry(struct log *log, struct log_queue *queue);

/* --- mark.c: the file that says which batch is known durable ------------------------------- */

enum status log_mark_create(struct log *log, struct error *error);
/* STATUS_NOT_FOUND: there is no mark file; STATUS_CORRUPT: neither slot can be read;
 * STATUS_REFUSED: of another log; STATUS_VERSION: of another format. Opens it otherwise. */
enum status log_mark_open(struct log *log, struct error *error);
/* Says that log->synced_number is durable, and syncs. */
enum status log_mark_write(struct log *log, struct error *error);
enum { LOG_MARK_SIZE = 2 * LOG_BLOCK_SIZE };
/* Reads one slot. 0 sequence: damaged or empty. For mark.c and inspect.c. */
struct log_mark {
    struct log_identity identity;
    uint64_t sequence;
    uint64_t number;
};
struct log_mark log_mark_read_slot(const uint8_t *slot);

/* --- writer.c ------------------------------------------------------------------------------ */

void log_writer_init(struct log *log);
/* Writes what is in log->taken (it may be empty) as one batch, and syncs. STATUS_NO_SPACE: it
 * stays in log->taken. Anything else but STATUS_OK was fatal once the log is open. */
enum status log_write_batch(struct log *log, struct error *error);
/* Starts a writer job if none runs. Thread: the queue's; locks the mutex. */
void log_writer_wake(struct log_queue *queue);
void log_pin_update(struct log *log); /* refreshes the statistics of segments */
/* Calls on_durable if there is news. Thread: the queue's. */
void log_queue_report(struct log_queue *queue);

/* --- pressure.c, copy.c ------------------------------------------------------------------- */

/* False: the bound is too small. */
bool log_marks_set(struct log *log, uint64_t bytes_max);
void log_pressure_update(struct log *log);  /* with the mutex held */
bool log_spare_fits(const struct log *log); /* one more file is within the bound; mutex held */
/* The oldest segment or the number of segments has changed: begins, or gives up. */
void log_copy_consider(struct log *log);
/* Does a part, if copying is under way; it may put a chunk into log->taken, which is empty. */
void log_copy_step(struct log *log);
void log_copy_free(struct log *log);

/* --- walk.c, damage.c ----------------------------------------------------------------------- */

/* Opens the file of a sealed segment, to be read from its start, or from where the same walk was
 * in it. */
enum status log_walk_open(const struct log *log, struct log_walk *walk, uint64_t segment,
                          struct error *error);
void log_walk_close(struct log_walk *walk);
enum log_walk_found {
    LOG_WALK_BATCH,
    LOG_WALK_END,
    LOG_WALK_DAMAGED,      /* at walk->offset */
    LOG_WALK_NEXT_DAMAGED, /* at the start of the segment behind it: perhaps it ends here */
};
enum log_walk_found log_walk_next(const struct log *log, struct log_walk *walk,
                                  struct bytes *ret_bytes, struct log_batch *ret_batch);

void log_aside_path(const struct log *log, uint64_t segment, char path[LOG_PATH_SIZE]);
/* "damaged-000000000000000a.seg" to 10; 0 if the name is none of a segment that was set aside. */
uint64_t log_aside_parse(const char *name);
/* A segment is not what was written. Thread: any. `what` is static. */
void log_damage_found(struct log *log, uint64_t segment, uint64_t offset, const char *what);
/* What log_walk_next() has found, unless it is a batch or the end. */
void log_damage_walked(struct log *log, const struct log_walk *walk, enum log_walk_found found);
/* While opening: an earlier run has left it. */
void log_damage_listed(struct log *log, uint64_t segment);
/* Segments before this one are about to be freed. */
void log_damage_keep_from(struct log *log, uint64_t segment);
bool log_damage_is_known(struct log *log, uint64_t segment);
/* In place of log_segment_discard(). */
enum status log_damage_set_aside(struct log *log, uint64_t segment, struct error *error);

/* Reads the batch at `offset` into `buffer`, and judges it. A device that cannot read it, or a file
 * that ends before it does, makes it damaged. *ret_bytes: the batch, until the next read. */
enum log_batch_state log_batch_read(struct file *file, uint64_t segment, uint64_t offset,
                                    struct buffer *buffer, struct bytes *ret_bytes,
                                    struct log_batch *ret_batch);

/* --- queue.c ------------------------------------------------------------------------------- */

struct log_chunk *log_chunk_make(struct log_queue *queue); /* NULL: for recovery */
void log_chunk_free(struct log_chunk *chunk);
void log_chunk_add(struct log_chunk *chunk, const struct log_record *record);
void log_queue_free(struct log_queue *queue);

/* --- recovery.c, repair.c ------------------------------------------------------------------ */

/* What the scan of an existing log found. */
struct log_scan {
    uint64_t *segments; /* ids, rising; owned */
    size_t segment_count;
    uint8_t *content; /* of one segment at a time; owned */
    size_t content_capacity, content_size;
    uint64_t content_segment; /* 0: none. Nothing is written while it is used. */

    uint64_t last_number;  /* the last batch of the chain; 0: none */
    uint64_t last_segment; /* where it is */
    uint64_t last_offset;
    uint64_t last_size;
    uint64_t end_offset;    /* in last_segment: where the next batch would be */
    bool torn;              /* something of batch last_number + 1 was found */
    struct log_vote *votes; /* of the torn batch, owned */
    size_t vote_count, vote_capacity;
    uint64_t stale_end; /* in last_segment: where the last batch ends that came behind a lost one */
};

/* The oldest segment begins with a batch of this very log. */
bool log_scan_is_ours(struct log *log, struct log_scan *scan);
/* Names of the directory: fills scan->segments and log->spare_ready. *ret_empty: no log. */
enum status log_scan_directory(struct log *log, struct log_scan *scan, bool *ret_empty,
                               struct error *error);
/* Notes where damage is, for options->damage. */
void log_note_damage(const struct log *log, const char *path, uint64_t offset);
/* Reads all segments into log->table. Changes no file. */
enum status log_scan_segments(struct log *log, struct log_scan *scan, struct error *error);
enum status log_segment_read(struct log *log, struct log_scan *scan, uint64_t segment,
                             struct bytes *ret_bytes, struct error *error);
void log_scan_free(struct log_scan *scan);
/* Rewrites the last batch and frees the segments behind it; cuts the torn tail, unless keep_tail
 * says that the log goes on in another segment. */
enum status log_repair(struct log *log, struct log_scan *scan, bool keep_tail, struct error *error);
/* For the planted bug log_cut_too_much: destroys the last good batch. */
enum status log_repair_cut_too_much(struct log *log, struct log_scan *scan, struct error *error);

#endif
