/* world_real.h - the world of a real process: libuv loops, sockets, files, threads.
 *
 * A process (a node) has one `struct host` and one world per worker. The host owns what the
 * workers share: listening sockets and the threads of the lanes. Each world is a loop on one
 * thread. One turn of the loop: input and posts, then due timers, then deferred work, then
 * one write per stream that was flushed. Due timers run after the input, so that a node that
 * was paused reads its messages before its election timers fire (WHY 1.14).
 *
 *     struct host *host = NULL;
 *     host_create(&options, &host, &error);
 *     struct world *world = world_real_create(host, 0);
 *     ... listen, start timers ...
 *     world_real_run(world);              one thread per world
 *     world_real_drain(world);            after all loops returned
 *     ... destroy what lives in the world ...
 *     world_real_destroy(world);
 *     host_destroy(host);
 *
 * Reasons given to on_closed: STATUS_CLOSED (stream_close(), or the peer closed), STATUS_REFUSED
 * and STATUS_TIMEOUT (connecting), STATUS_NOT_FOUND (unknown host name), STATUS_INVALID (no
 * address), STATUS_IO (stream_abort(), reset, anything else). Any event may be NULL: whoever goes
 * away before its stream sets events without functions and calls stream_abort(). */
#ifndef HOLON_WORLD_WORLD_REAL_H
#define HOLON_WORLD_WORLD_REAL_H

#include "world/world.h"

enum {
    WORLD_READ_SIZE = 64 * 1024,                 /* the most one on_data() carries */
    WORLD_OUTPUT_DEFAULT_MAX = 64 * 1024 * 1024, /* stream_set_output_max() changes it */
    WORLD_OUTPUT_KEEP_MAX = 256 * 1024,          /* memory an emptied output may keep */
    WORLD_ACCEPT_MAX = 16,                       /* connections taken per turn and listener */
    WORLD_CLOSE_CHECK_US = 250 * 1000,           /* stream_close() looks so often, and gives up */
    WORLD_CLOSE_STALL_US = 5 * 1000 * 1000,      /* after so long without a byte taken, */
    WORLD_CLOSE_FLUSH_US = 120 * 1000 * 1000,    /* and after so long in all */
    WORLD_CONNECT_ADDRESSES_MAX = 8,             /* of one name, tried in turn */
    WORLD_LINK_CHECK_US = 500 * 1000,            /* a dialled link that acknowledges nothing */
    WORLD_LINK_LOOK_US = 100 * 1000,             /* between looks at it before something is sent */
    WORLD_LINK_STUCK_CHECKS = 5,                 /* in so many checks ends with STATUS_TIMEOUT */
    WORLD_LANE_THREADS_MAX = 16,
    WORLD_READ_THREADS_DEFAULT = 4, /* of LANE_READ, where the options say 0 */
    WORLD_FATAL_EXIT_CODE = 70,
};

struct world_real_options {
    const struct logger *logger; /* must outlive the host */
    /* Threads per lane; 0 means one (LANE_READ: WORLD_READ_THREADS_DEFAULT). The jobs of one
     * world on one lane stay in order: it always uses thread number worker % threads. With one
     * LANE_LOG thread the log jobs of all worlds of the host run one after the other. Jobs of
     * LANE_READ are taken by whichever thread is free, several at once. */
    uint32_t lane_threads[LANE_COUNT];
    /* Of a file system: with less than that free, what is removed gives its space back at once, and
     * no file is kept open for that (world_discard()). 0: never. */
    uint64_t free_at_once_below;
};

struct host;

/* Starts the lane threads and ignores SIGPIPE. STATUS_OK: the caller owns *ret_host.
 * STATUS_IO: no threads or descriptors left; *error says so. */
enum status host_create(const struct world_real_options *options, struct host **ret_host,
                        struct error *error);
/* All worlds of it must be destroyed. NULL is fine. */
void host_destroy(struct host *host);

/* A world for worker number `worker` (< WORKERS_MAX, each once per host). Its calls may be
 * used at once, by one thread at a time; callbacks run only inside world_real_run() and
 * world_real_drain(). Never NULL: a process without descriptors for a loop ends. */
struct world *world_real_create(struct host *host, uint32_t worker);
/* Runs the loop on the calling thread until world_real_stop(). May be called again. */
void world_real_run(struct world *world);
/* So many of that many descriptors may be kept open for files that others will remove. */
uint64_t world_real_files_kept_max(uint64_t descriptors);
/* How many are. Thread: any. */
uint64_t world_real_files_kept(struct host *host);
/* Makes world_real_run() return after the present turn, or the next one when it is not
 * running. Thread: any. */
void world_real_stop(struct world *world);
/* Waits for the jobs of this world and runs everything that is posted or deferred, so that
 * what they own is given back. Call it when world_real_run() of all worlds of the host has
 * returned, before the owners of posts and jobs are destroyed. */
void world_real_drain(struct world *world);
/* Closes what is still open without calling back, drains, frees. NULL is fine. */
void world_real_destroy(struct world *world);

/* Calls back on the world's thread each time the process gets signal `signum`. */
void world_real_on_signal(struct world *world, int signum, void *context,
                          void (*on_signal)(void *context, int signum));

#endif
