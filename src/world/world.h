/* world.h - everything outside: clock, random numbers, timers, streams, files, other threads.
 *
 * Code above src/world reaches the outside only through a `struct world`. There is one world
 * per worker: a single thread with a loop (world_real.h: libuv) or a virtual one in the
 * simulator (sim/). Callbacks run on that thread, never inside the call that asked for them.
 * Times are microseconds. Thread: the world's own, except where a line says "any". */
#ifndef HOLON_WORLD_WORLD_H
#define HOLON_WORLD_WORLD_H

#include <stdatomic.h>

#include "base/buffer.h"
#include "base/bytes.h"
#include "base/list.h"
#include "base/logging.h"
#include "base/status.h"

struct world;

/* --- clock and random numbers ---------------------------------------------------------- */

/* CLOCK_BOOTTIME, read now and not cached by the loop (rules A3, D1; WHY 1.2). */
uint64_t world_now(struct world *world);
/* Wall clock, microseconds since 1970. May jump. */
int64_t world_wall_time(struct world *world);
uint64_t world_random(struct world *world);
/* For identities, tokens and hash keys: from the operating system's generator. */
void world_random_secret(struct world *world, uint8_t *bytes, size_t size);
/* Another number after each start of the operating system: what was written, and not synced, before
 * may be lost then. 0: it cannot be told. Blocks: only while starting, or in jobs. */
uint64_t world_machine_start(struct world *world);
const struct logger *world_logger(struct world *world);
/* Which worker of the node this world belongs to, 0-based. */
uint32_t world_worker(struct world *world);

/* The one way to end after damage that must not be survived (fsync failure, a broken
 * safety assertion about durable data): logs the text and ends the process at once without
 * any further write. In the simulator the node is dead when it returns, so callers return
 * at once after it and do nothing more. */
void world_fatal(struct world *world, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* --- timers and deferred work ---------------------------------------------------------- */

/* Embedded in its owner; zero-initialise, set fire and context. */
struct world_timer {
    void (*fire)(struct world_timer *timer); /* the timer is stopped when it runs */
    void *context;
    uint64_t deadline; /* private to the world from here on */
    uint64_t sequence;
    uint32_t heap_index; /* 0: not running */
};

/* Starts or restarts. Fires once, not before `delay` from now. */
void world_timer_start(struct world *world, struct world_timer *timer, uint64_t delay);
void world_timer_stop(struct world *world, struct world_timer *timer);

/* Runs once at the end of the present turn of the loop, before it waits for input: the
 * place where work of many requests shares one system call. Deferring again while queued
 * is a no-op; deferring from inside `run` runs it in the same turn's end, after the others. */
struct world_deferred {
    void (*run)(struct world_deferred *deferred);
    void *context;
    bool queued; /* private */
    struct world_deferred *next;
};
void world_defer(struct world *world, struct world_deferred *deferred);

/* --- other threads ---------------------------------------------------------------------- */

/* Runs post->run on `to`'s thread, in the order of posting from one thread. Thread: any.
 * The post is owned by the receiver from now on (run() frees it or gives it back). */
struct world_post {
    void (*run)(struct world_post *post);
    /* Instead of run(), when a simulated process died before; frees the post. NULL: nothing. */
    void (*dropped)(struct world_post *post);
    void *context;
    struct world_post *next; /* private */
};
void world_post(struct world *to, struct world_post *post);

/* A job: run() on another thread of its lane, then done() on the world that started it.
 * run() may use files, world_fatal() and world_job_rest() and nothing else of the world. Jobs of
 * one lane of one world object run one after the other, but those of LANE_READ in any order and
 * several at once. LANE_FLUSH is in the background (base/background.h). In the simulator run()
 * happens at some later virtual instant. The job struct must live until done() returned. */
enum world_lane { LANE_LOG, LANE_FLUSH, LANE_READ, LANE_COUNT };

struct world_job {
    void (*run)(struct world_job *job);
    void (*done)(struct world_job *job);
    void *context;
    atomic_bool patient; /* others may rest while this one waits: world_job_rest() */
    struct world *world; /* private */
    struct world_job *next;
};
void world_job_start(struct world *world, enum world_lane lane, struct world_job *job);
enum { WORLD_REST_MOST_US = 10 * 1000 };
/* In a job of LANE_FLUSH: waits until the boot clock says `until`, but no longer than
 * WORLD_REST_MOST_US, so that the caller looks whether it still has to, and not while a job that is
 * not patient waits for the thread. Returns what the clock says then, or `until`, if it is not
 * waited for (as in the simulator). */
uint64_t world_job_rest(struct world *world, uint64_t until);
/* Of a thread that is neither a loop nor a lane (the engine's own): waits for `us`, but no longer
 * than WORLD_REST_MOST_US. Not in the simulator. */
void world_thread_rest(struct world *world, uint64_t us);

/* --- byte streams (TCP) ------------------------------------------------------------------ */

struct stream;
struct listener;

struct stream_events {
    /* Bytes arrived; borrowed for the duration of the call. */
    void (*on_data)(void *context, struct stream *stream, struct bytes data);
    /* Connecting succeeded (streams made by world_connect only; may be NULL). */
    void (*on_connected)(void *context, struct stream *stream);
    /* Output that was pending fell below half of its former size (may be NULL). */
    void (*on_drained)(void *context, struct stream *stream);
    /* The end, exactly once, after connect failure, error, peer close or stream_close().
     * The stream is gone when this returns. */
    void (*on_closed)(void *context, struct stream *stream, enum status reason);
};

/* "HOST:PORT". Port 0 picks a free one: see listener_port(). STATUS_EXISTS: in use. */
enum status world_listen(struct world *world, const char *address, void *context,
                         void (*on_accept)(void *context, struct stream *stream),
                         struct listener **ret_listener, struct error *error);
uint16_t listener_port(struct listener *listener);
void listener_close(struct listener *listener);

/* Result by on_connected or on_closed; the stream is returned at once. */
struct stream *world_connect(struct world *world, const char *address,
                             const struct stream_events *events, void *context);
/* To be called in on_accept before it returns. `events` must outlive the stream. */
void stream_set_events(struct stream *stream, const struct stream_events *events, void *context);
/* Append to the output here (no copy by the world), then stream_flush(). Its size_max bounds
 * what may be pending; set with buffer size_max in stream_set_output_max(). */
static inline struct buffer *stream_output(struct stream *stream);
void stream_set_output_max(struct stream *stream, size_t size_max);
/* Output leaves at the end of the turn, in one write for all that was appended. */
void stream_flush(struct stream *stream);
void stream_read_pause(struct stream *stream);
void stream_read_resume(struct stream *stream);
/* Sends what is pending, then closes. on_closed follows: also when the other side takes nothing
 * for a while, or takes too long for it all (world_real.h has the limits). */
void stream_close(struct stream *stream);
/* Drops what is pending and resets. on_closed follows. */
void stream_abort(struct stream *stream);
/* Bytes of the output that the other side's system has taken, as far as ours knows; they only
 * grow. Whoever reads slowly makes progress, whoever does not read makes none. Asks the kernel. */
uint64_t stream_delivered(struct stream *stream);
/* "127.0.0.1:5000" of the other or the own side; a string owned by the stream. */
const char *stream_peer_address(struct stream *stream);
const char *stream_own_address(struct stream *stream);

/* --- files -------------------------------------------------------------------------------- */

/* All calls block; on a loop only while starting, afterwards in jobs. Thread: any, one at a
 * time per file. Paths are absolute or relative to the process. After a failed write or
 * sync the caller must not go on with that file as if it held anything new. */
struct file;

enum file_flags {
    FILE_READ = 0,
    FILE_WRITE = 1,     /* read and write */
    FILE_CREATE = 2,    /* make it if absent; does not sync the directory */
    FILE_EXCLUSIVE = 4, /* with FILE_CREATE: STATUS_EXISTS if present */
    /* Reads, and writes of whole 4 KiB blocks, go past the page cache where the file system can:
     * writing so spares the search for dirty pages at each sync; reading so sees what the device
     * holds. A hint: content is the same. */
    FILE_DIRECT = 8,
};

enum status file_open(struct world *world, const char *path, unsigned flags, struct file **ret_file,
                      struct error *error);
/* Reads up to `size` bytes; *ret_size < size only at the end of the file. */
enum status file_read(struct file *file, uint64_t offset, void *into, size_t size, size_t *ret_size,
                      struct error *error);
enum status file_write(struct file *file, uint64_t offset, struct bytes bytes, struct error *error);
/* fdatasync. STATUS_NO_SPACE: what was written since the last good sync may be lost, and the file
 * must be given up. Any other failure ends the process: see world_fatal() (F26). */
enum status file_sync(struct file *file, struct error *error);
/* Makes the file at least `size` long with space reserved and written as zeros. */
enum status file_allocate(struct file *file, uint64_t size, struct error *error);
enum status file_truncate(struct file *file, uint64_t size, struct error *error);
enum status file_size(struct file *file, uint64_t *ret_size, struct error *error);
/* Exclusive lock for the life of the open file. STATUS_REFUSED: another process has it. */
enum status file_lock(struct file *file, struct error *error);
void file_close(struct file *file); /* NULL is fine */

enum status world_rename(struct world *world, const char *from, const char *to,
                         struct error *error);
enum status world_remove(struct world *world, const char *path, struct error *error);
/* Of a large file in `directory` whose space nobody waits for: its name is gone for good on return,
 * as after world_sync_dir(); the space comes back in steps, so that the device is not busy with
 * that (world_real_free.h). */
enum status world_discard(struct world *world, const char *directory, const char *path,
                          struct error *error);
/* The same for a file that others (a library) will remove, any time later: when its last name is
 * gone and nobody has it open, its space comes back in steps. They must have made durable before
 * that it is not needed: a loss of power may bring the name back with less than all of it. Told
 * again of one it changes nothing; it may be left out (few descriptors, little space on the disk),
 * then the space comes back at once. Thread: any. */
void world_discard_once_removed(struct world *world, const char *path);
enum status world_make_dir(struct world *world, const char *path, struct error *error);
/* world_make_dir(), and its name in the parent directory is durable afterwards, whether it was
 * made now or found. Found is no error. */
enum status world_make_durable_dir(struct world *world, const char *path, struct error *error);
/* Makes created, renamed and removed names in `path` durable. A sync that fails ends the process,
 * as with file_sync(), and for want of space too; STATUS_IO: this file system has none for
 * directories. */
enum status world_sync_dir(struct world *world, const char *path, struct error *error);
/* Calls back for each name (not "." and ".."), in bytewise order. */
enum status world_list_dir(struct world *world, const char *path, void *context,
                           void (*on_name)(void *context, const char *name), struct error *error);
/* Free bytes of the file system that holds `path`. */
enum status world_free_space(struct world *world, const char *path, uint64_t *ret_bytes,
                             struct error *error);
/* Replaces the whole file as one durable step: new file, sync, rename, sync directory. */
enum status world_replace_file(struct world *world, const char *path, struct bytes body,
                               struct error *error);

/* --- implementing a world ----------------------------------------------------------------- */

/* world_real.c and sim/sim_world.c each embed `struct world` first and fill in the table;
 * src/world/world.c forwards every function above to it. `struct stream`, `struct listener`
 * and `struct file` begin with a `struct world *`, so that their calls find the table. */
struct world_table {
    uint64_t (*now)(struct world *);
    int64_t (*wall_time)(struct world *);
    uint64_t (*random)(struct world *);
    void (*random_secret)(struct world *, uint8_t *, size_t);
    uint64_t (*machine_start)(struct world *); /* NULL: it cannot be told */
    void (*fatal)(struct world *, const char *text);
    void (*timer_start)(struct world *, struct world_timer *, uint64_t);
    void (*timer_stop)(struct world *, struct world_timer *);
    void (*defer)(struct world *, struct world_deferred *);
    void (*post)(struct world *, struct world_post *);
    void (*job_start)(struct world *, enum world_lane, struct world_job *);
    uint64_t (*job_rest)(struct world *, uint64_t); /* NULL: nothing is waited for */
    void (*thread_rest)(struct world *, uint64_t);  /* the same */
    enum status (*listen)(struct world *, const char *, void *, void (*)(void *, struct stream *),
                          struct listener **, struct error *);
    uint16_t (*listener_port)(struct listener *);
    void (*listener_close)(struct listener *);
    struct stream *(*connect)(struct world *, const char *, const struct stream_events *, void *);
    void (*stream_flush)(struct stream *);
    void (*stream_read_pause)(struct stream *);
    void (*stream_read_resume)(struct stream *);
    void (*stream_close)(struct stream *);
    void (*stream_abort)(struct stream *);
    uint64_t (*stream_delivered)(struct stream *);
    enum status (*file_open)(struct world *, const char *, unsigned, struct file **,
                             struct error *);
    enum status (*file_read)(struct file *, uint64_t, void *, size_t, size_t *, struct error *);
    enum status (*file_write)(struct file *, uint64_t, struct bytes, struct error *);
    enum status (*file_sync)(struct file *, struct error *);
    enum status (*file_allocate)(struct file *, uint64_t, struct error *);
    enum status (*file_truncate)(struct file *, uint64_t, struct error *);
    enum status (*file_size)(struct file *, uint64_t *, struct error *);
    enum status (*file_lock)(struct file *, struct error *);
    void (*file_close)(struct file *);
    enum status (*rename)(struct world *, const char *, const char *, struct error *);
    enum status (*remove)(struct world *, const char *, struct error *);
    /* NULL: removed and synced, the space is there at once */
    enum status (*discard)(struct world *, const char *, const char *, struct error *);
    void (*discard_once_removed)(struct world *, const char *); /* NULL: nothing is done */
    enum status (*make_dir)(struct world *, const char *, struct error *);
    enum status (*sync_dir)(struct world *, const char *, struct error *);
    enum status (*list_dir)(struct world *, const char *, void *, void (*)(void *, const char *),
                            struct error *);
    enum status (*free_space)(struct world *, const char *, uint64_t *, struct error *);
    /* Simulator only: may the rare path `tag` be forced here? NULL: never (see probe.h). */
    bool (*maybe)(struct world *, const char *tag);
    void (*reached)(struct world *, const char *tag);
    /* Simulator only: is the planted bug `name` switched on? NULL: never. */
    bool (*planted)(struct world *, const char *name);
};

struct world {
    const struct world_table *table;
    const struct logger *logger;
    uint32_t worker;
    uint64_t turn; /* counts */
};

/* The number of the present turn of its loop: input, then timers and deferred work. */
static inline uint64_t world_turn(const struct world *world)
{
    return world->turn;
}

/* Common head of every implementation's stream, listener and file. */
struct stream {
    struct world *world;
    const struct stream_events *events;
    void *context;
    struct buffer output;
    char peer_address[64];
    char own_address[64];
};
struct listener {
    struct world *world;
};

static inline struct buffer *stream_output(struct stream *stream)
{
    return &stream->output;
}
struct file {
    struct world *world;
};

#endif
