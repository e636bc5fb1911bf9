/* world_real_internal.h - what the files of the real world share; nobody else includes it.
 *
 *     world_real.c         loop, timers, deferred work, posts, jobs of one world
 *     world_real_host.c    lane threads and listening sockets shared by the workers
 *     world_real_listen.c  accepting
 *     world_real_stream.c  connecting, reading, writing, closing
 *     world_real_file.c    files and directories
 *     world_real_free.c    what discarded files took is given back
 *     world_real_address.c "HOST:PORT"  */
#ifndef HOLON_WORLD_WORLD_REAL_INTERNAL_H
#define HOLON_WORLD_WORLD_REAL_INTERNAL_H

#include <stdatomic.h>
#include <sys/socket.h>
#include <uv.h>

#include "base/parse.h"
#include "base/random.h"
#include "world/timer_heap.h"
#include "world/world_real.h"
#include "world/world_real_free.h"

struct listen_socket;

struct real_world {
    struct world head;
    struct host *host;
    uv_loop_t loop;
    uv_async_t wake;
    uv_prepare_t prepare; /* sets the alarm, then the loop waits */
    uv_check_t check;     /* after the input: timers, deferred work, writes */
    uv_timer_t alarm;     /* only ends the waiting; timers fire from `check` */
    uint64_t alarm_deadline;
    struct timer_heap timers;
    struct world_deferred *deferred_first;
    struct world_deferred *deferred_last;
    /* Newest first; pushed by any thread, taken whole by the loop. Whoever pushes onto an
     * empty one wakes the loop: one wake per turn, not per post. */
    _Atomic(struct world_post *) posts;
    _Atomic(struct world_job *) jobs_done;
    atomic_bool stop_asked;
    size_t jobs_unfinished;
    struct list streams;
    struct list streams_flushed; /* output leaves at the end of this turn */
    struct list streams_ended;   /* on_closed is due */
    struct list listeners;
    struct list signals;
    struct random random;
    int reserve_descriptor; /* given up to refuse a connection when there is no other (F08) */
    uint64_t descriptor_log_at;
    uint8_t *read_memory; /* WORLD_READ_SIZE; one read at a time */
};

static inline struct real_world *real_world_of(struct world *world)
{
    return (struct real_world *)world;
}

/* --- world_real.c --- */
/* A finished job goes back to its world. Thread: any. */
void real_world_job_done(struct world_job *job);

/* --- world_real_host.c --- */
const struct logger *real_host_logger(struct host *host);
struct free_files *real_host_free_files(struct host *host);
void host_job_start(struct host *host, enum world_lane lane, struct world_job *job);
/* A job that is not patient waits for the thread. Thread: any. */
bool host_lane_is_wanted(struct host *host, enum world_lane lane, uint32_t worker);
/* The socket for `address`: an existing one that `worker` does not yet listen on, else a new
 * one. `listener` is what accepted connections for this worker go to. */
enum status host_socket_get(struct host *host, const char *address, uint32_t worker, void *listener,
                            struct listen_socket **ret_socket, struct error *error);
void host_socket_leave(struct host *host, struct listen_socket *socket, uint32_t worker);
int listen_socket_descriptor(const struct listen_socket *socket);
uint16_t listen_socket_port(const struct listen_socket *socket);
/* Whose turn it is among the listening workers; holds the socket until host_socket_claim(). */
uint32_t host_socket_next_worker(struct host *host, struct listen_socket *socket);
/* The listener of `worker`, NULL when it has left. */
void *host_socket_claim(struct host *host, struct listen_socket *socket, uint32_t worker);
/* Registers the world (NULL: it is gone) so that connections can be handed to it. */
void host_world_set(struct host *host, uint32_t worker, struct world *world);
/* False, and nothing posted, when that worker has no world any more. Thread: any. */
bool host_world_post(struct host *host, uint32_t worker, struct world_post *post);

/* --- world_real_listen.c --- */
enum status real_listen(struct world *world, const char *address, void *context,
                        void (*on_accept)(void *, struct stream *), struct listener **ret_listener,
                        struct error *error);
uint16_t real_listener_port(struct listener *listener);
void real_listener_close(struct listener *listener);
void real_listeners_close_all(struct real_world *world);

/* --- world_real_stream.c --- */
struct stream *real_stream_accepted(struct real_world *world, int descriptor);
struct stream *real_connect(struct world *world, const char *address,
                            const struct stream_events *events, void *context);
void real_stream_start(struct stream *stream); /* reads, after on_accept set the events */
void real_stream_flush(struct stream *stream);
void real_stream_read_pause(struct stream *stream);
void real_stream_read_resume(struct stream *stream);
void real_stream_close(struct stream *stream);
void real_stream_abort(struct stream *stream);
uint64_t real_stream_delivered(struct stream *stream);
/* At the end of a turn. */
void real_streams_write(struct real_world *world);
void real_streams_report_ended(struct real_world *world);
void real_streams_drop_all(struct real_world *world);

/* --- world_real_file.c --- */
void real_file_table(struct world_table *table);

/* --- world_real_address.c --- */
/* An empty host means every interface. */
enum status address_split(const char *text, struct address *ret_address, struct error *error);
/* True when the host is a number; fills *ret. */
bool address_numeric(const struct address *parts, struct sockaddr_storage *ret);
/* Blocks for names. */
enum status address_resolve(const struct address *parts, struct sockaddr_storage *ret,
                            struct error *error);
socklen_t address_size(const struct sockaddr_storage *address);
uint16_t address_port(const struct sockaddr_storage *address);
bool address_equal(const struct sockaddr_storage *a, const struct sockaddr_storage *b);
void address_format(const struct sockaddr_storage *address, char *text, size_t size);

#endif
