#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/background.h"
#include "base/ids.h"
#include "base/memory.h"
#include "world/world_real_internal.h"

enum {
    LISTEN_BACKLOG = 1024,
    ADDRESS_TEXT_SIZE_MAX = 280,
    /* A client that vanished without a word is noticed after about half a minute. */
    ACCEPTED_KEEPALIVE_IDLE_S = 15,
    ACCEPTED_KEEPALIVE_INTERVAL_S = 5,
    ACCEPTED_KEEPALIVE_COUNT = 3,
};

/* Jobs, oldest first. Each thread has its own, but those of LANE_READ share one. */
struct lane_queue {
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    struct world_job *first;
    struct world_job *last;
    uint32_t idle; /* threads that wait */
    bool stop;
};

struct lane_thread {
    pthread_t thread;
    struct lane_queue own;
    struct lane_queue *queue;
    bool background;
    bool started;
};

/* A listening socket shared by the workers, so that each has the same port and a second
 * process is refused it (SO_REUSEPORT would let it in). */
struct listen_socket {
    struct list link;
    char address[ADDRESS_TEXT_SIZE_MAX]; /* as asked for, which is not the real port if 0 */
    int descriptor;
    uint16_t port;
    uint32_t references; /* listeners, and connections being handed to a worker */
    uint32_t next_worker;
    void *listeners[WORKERS_MAX]; /* NULL: that worker does not listen */
};

struct host {
    const struct logger *logger;
    uint32_t lane_threads[LANE_COUNT];
    struct lane_thread lanes[LANE_COUNT][WORLD_LANE_THREADS_MAX];
    struct free_files free_files;
    pthread_mutex_t mutex; /* for what follows */
    struct list sockets;
    struct world *worlds[WORKERS_MAX];
};

/* --- lanes ----------------------------------------------------------------------------------- */

static struct world_job *lane_take(struct lane_queue *queue)
{
    struct world_job *job;

    pthread_mutex_lock(&queue->mutex);
    queue->idle++;
    while (queue->first == NULL && !queue->stop)
        pthread_cond_wait(&queue->changed, &queue->mutex);
    queue->idle--;
    job = queue->first;
    if (job) {
        queue->first = job->next;
        if (queue->first == NULL) queue->last = NULL;
    }
    pthread_mutex_unlock(&queue->mutex);
    return job;
}

static void *lane_main(void *argument)
{
    struct lane_thread *lane = argument;
    struct world_job *job;

    if (lane->background) background_begin();
    while ((job = lane_take(lane->queue)) != NULL) {
        job->run(job);
        real_world_job_done(job);
    }
    return NULL;
}

void host_job_start(struct host *host, enum world_lane lane, struct world_job *job)
{
    uint32_t index = job->world->worker % host->lane_threads[lane];
    struct lane_queue *queue = host->lanes[lane][index].queue;
    bool wake;

    pthread_mutex_lock(&queue->mutex);
    if (queue->first == NULL)
        queue->first = job;
    else
        queue->last->next = job;
    queue->last = job;
    wake = queue->idle > 0;
    pthread_mutex_unlock(&queue->mutex);
    if (wake) pthread_cond_signal(&queue->changed);
}

bool host_lane_is_wanted(struct host *host, enum world_lane lane, uint32_t worker)
{
    struct lane_queue *queue = host->lanes[lane][worker % host->lane_threads[lane]].queue;
    bool wanted = false;

    pthread_mutex_lock(&queue->mutex);
    for (const struct world_job *job = queue->first; job != NULL && !wanted; job = job->next)
        wanted = !job->patient;
    pthread_mutex_unlock(&queue->mutex);
    return wanted;
}

/* What `top -H` and the like show. */
static const char *const lane_names[LANE_COUNT] = {
    [LANE_LOG] = "holon-log", [LANE_FLUSH] = "holon-flush", [LANE_READ] = "holon-read"};

static enum status lane_start(struct lane_thread *lane, struct lane_queue *queue, const char *name,
                              struct error *error)
{
    sigset_t all, before;
    int result;

    pthread_mutex_init(&lane->own.mutex, NULL);
    pthread_cond_init(&lane->own.changed, NULL);
    lane->queue = queue;
    sigfillset(&all); /* signals are for the loops */
    pthread_sigmask(SIG_SETMASK, &all, &before);
    result = pthread_create(&lane->thread, NULL, lane_main, lane);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    lane->started = result == 0;
    if (result == 0) {
        pthread_setname_np(lane->thread, name);
        return STATUS_OK;
    }
    return error_set(error, STATUS_IO,
                     "cannot start a thread for files: %s; raise the limit of tasks",
                     strerrordesc_np(result));
}

static void lane_ask_to_stop(struct lane_thread *lane)
{
    if (!lane->started) return;
    pthread_mutex_lock(&lane->queue->mutex);
    lane->queue->stop = true;
    pthread_mutex_unlock(&lane->queue->mutex);
    pthread_cond_broadcast(&lane->queue->changed);
}

static void lane_join(struct lane_thread *lane)
{
    if (lane->started) pthread_join(lane->thread, NULL);
}

static void lane_free(struct lane_thread *lane)
{
    if (lane->queue == NULL) return;
    ASSERT(lane->own.first == NULL);
    pthread_mutex_destroy(&lane->own.mutex);
    pthread_cond_destroy(&lane->own.changed);
}

/* --- life ------------------------------------------------------------------------------------ */

enum status host_create(const struct world_real_options *options, struct host **ret_host,
                        struct error *error)
{
    struct host *host = memory_allocate_zero(sizeof(*host));
    struct sigaction ignore = {.sa_handler = SIG_IGN};
    enum status status = STATUS_OK;

    ASSERT(options->logger != NULL);
    host->logger = options->logger;
    pthread_mutex_init(&host->mutex, NULL);
    list_init(&host->sockets);
    free_files_init(&host->free_files, options->free_at_once_below);
    sigaction(SIGPIPE, &ignore, NULL);
    sigaction(SIGIO, &ignore, NULL); /* of a lease that somebody breaks (world_real_free.c) */
    for (int lane = 0; lane < LANE_COUNT; lane++) {
        uint32_t least = lane == LANE_READ ? WORLD_READ_THREADS_DEFAULT : 1;
        uint32_t count = options->lane_threads[lane] ? options->lane_threads[lane] : least;
        ASSERT(count <= WORLD_LANE_THREADS_MAX);
        host->lane_threads[lane] = count;
        for (uint32_t i = 0; i < count && status == STATUS_OK; i++) {
            struct lane_queue *queue = &host->lanes[lane][lane == LANE_READ ? 0 : i].own;
            host->lanes[lane][i].background = lane == LANE_FLUSH;
            status = lane_start(&host->lanes[lane][i], queue, lane_names[lane], error);
        }
    }
    if (status) {
        host_destroy(host);
        return status;
    }
    *ret_host = host;
    return STATUS_OK;
}

void host_destroy(struct host *host)
{
    if (host == NULL) return;
    for (uint32_t worker = 0; worker < WORKERS_MAX; worker++)
        ASSERT(host->worlds[worker] == NULL);
    ASSERT(list_empty(&host->sockets));
    static void (*const steps[])(struct lane_thread *) = {lane_ask_to_stop, lane_join, lane_free};
    for (size_t step = 0; step < ARRAY_COUNT(steps); step++)
        for (int lane = 0; lane < LANE_COUNT; lane++)
            for (uint32_t i = 0; i < WORLD_LANE_THREADS_MAX; i++)
                steps[step](&host->lanes[lane][i]);
    free_files_destroy(&host->free_files);
    pthread_mutex_destroy(&host->mutex);
    memory_free(host);
}

const struct logger *real_host_logger(struct host *host)
{
    return host->logger;
}

uint64_t world_real_files_kept_max(uint64_t descriptors)
{
    return free_files_watched_max(descriptors);
}

uint64_t world_real_files_kept(struct host *host)
{
    return free_files_watched(&host->free_files);
}

struct free_files *real_host_free_files(struct host *host)
{
    return &host->free_files;
}

void host_world_set(struct host *host, uint32_t worker, struct world *world)
{
    pthread_mutex_lock(&host->mutex);
    ASSERT(world == NULL || host->worlds[worker] == NULL);
    host->worlds[worker] = world;
    pthread_mutex_unlock(&host->mutex);
}

/* --- listening sockets ----------------------------------------------------------------------- */

static enum status listen_failed(const char *address, const char *step, struct error *error)
{
    int number = errno;

    switch (number) {
    case EADDRINUSE:
        return error_set(error, STATUS_EXISTS,
                         "cannot listen on %s: the address is in use; stop the other process or "
                         "choose another port",
                         address);
    case EACCES:
        return error_set(error, STATUS_REFUSED,
                         "cannot listen on %s: permission denied; ports below 1024 need "
                         "CAP_NET_BIND_SERVICE",
                         address);
    case EADDRNOTAVAIL:
        return error_set(error, STATUS_INVALID,
                         "cannot listen on %s: this machine has no such address; see 'ip address'",
                         address);
    default:
        return error_set(error, STATUS_IO, "cannot listen on %s (%s): %s", address, step,
                         strerrordesc_np(number));
    }
}

/* Accepted connections inherit these from the listening socket: no calls for each of them. */
static void listen_options_set(int descriptor)
{
    int on = 1, idle = ACCEPTED_KEEPALIVE_IDLE_S, interval = ACCEPTED_KEEPALIVE_INTERVAL_S;
    int count = ACCEPTED_KEEPALIVE_COUNT;

    setsockopt(descriptor, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    setsockopt(descriptor, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    setsockopt(descriptor, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on));
    setsockopt(descriptor, IPPROTO_TCP, TCP_KEEPIDLE, &idle, sizeof(idle));
    setsockopt(descriptor, IPPROTO_TCP, TCP_KEEPINTVL, &interval, sizeof(interval));
    setsockopt(descriptor, IPPROTO_TCP, TCP_KEEPCNT, &count, sizeof(count));
}

static enum status listen_socket_open(const char *address, int *ret_descriptor, uint16_t *ret_port,
                                      struct error *error)
{
    struct address parts;
    struct sockaddr_storage bound;
    socklen_t size = sizeof(bound);
    const char *failed = NULL;
    enum status status;
    int descriptor;

    status = address_split(address, &parts, error);
    if (status) return status;
    status = address_resolve(&parts, &bound, error);
    if (status) return status;

    descriptor = socket(bound.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (descriptor < 0) return listen_failed(address, "socket", error);
    listen_options_set(descriptor);
    if (bind(descriptor, (struct sockaddr *)&bound, address_size(&bound)) != 0)
        failed = "bind";
    else if (listen(descriptor, LISTEN_BACKLOG) != 0)
        failed = "listen";
    else if (getsockname(descriptor, (struct sockaddr *)&bound, &size) != 0)
        failed = "getsockname";
    if (failed) {
        status = listen_failed(address, failed, error);
        close(descriptor);
        return status;
    }
    *ret_descriptor = descriptor;
    *ret_port = address_port(&bound);
    return STATUS_OK;
}

static struct listen_socket *listen_socket_find(struct host *host, const char *address,
                                                uint32_t worker)
{
    for (struct list *link = host->sockets.next; link != &host->sockets; link = link->next) {
        struct listen_socket *socket = CONTAINER_OF(link, struct listen_socket, link);
        if (socket->listeners[worker] == NULL && strcmp(socket->address, address) == 0)
            return socket;
    }
    return NULL;
}

static enum status listen_socket_make(struct host *host, const char *address,
                                      struct listen_socket **ret_socket, struct error *error)
{
    struct listen_socket *socket = memory_allocate_zero(sizeof(*socket));
    enum status status = listen_socket_open(address, &socket->descriptor, &socket->port, error);

    if (status) {
        memory_free(socket);
        return status;
    }
    snprintf(socket->address, sizeof(socket->address), "%s", address);
    list_insert_before(&host->sockets, &socket->link);
    *ret_socket = socket;
    return STATUS_OK;
}

enum status host_socket_get(struct host *host, const char *address, uint32_t worker, void *listener,
                            struct listen_socket **ret_socket, struct error *error)
{
    struct listen_socket *socket;
    enum status status = STATUS_OK;

    pthread_mutex_lock(&host->mutex);
    socket = listen_socket_find(host, address, worker);
    if (socket == NULL) status = listen_socket_make(host, address, &socket, error);
    if (status == STATUS_OK) {
        socket->listeners[worker] = listener;
        socket->references++;
        *ret_socket = socket;
    }
    pthread_mutex_unlock(&host->mutex);
    return status;
}

static void listen_socket_unreference(struct listen_socket *socket)
{
    ASSERT(socket->references > 0);
    socket->references--;
    if (socket->references > 0) return;
    list_remove(&socket->link);
    close(socket->descriptor);
    memory_free(socket);
}

void host_socket_leave(struct host *host, struct listen_socket *socket, uint32_t worker)
{
    pthread_mutex_lock(&host->mutex);
    ASSERT(socket->listeners[worker] != NULL);
    socket->listeners[worker] = NULL;
    listen_socket_unreference(socket);
    pthread_mutex_unlock(&host->mutex);
}

int listen_socket_descriptor(const struct listen_socket *socket)
{
    return socket->descriptor;
}

uint16_t listen_socket_port(const struct listen_socket *socket)
{
    return socket->port;
}

uint32_t host_socket_next_worker(struct host *host, struct listen_socket *socket)
{
    uint32_t worker;

    pthread_mutex_lock(&host->mutex);
    worker = socket->next_worker;
    for (uint32_t i = 0; i < WORKERS_MAX && socket->listeners[worker] == NULL; i++)
        worker = (worker + 1) % WORKERS_MAX;
    ASSERT(socket->listeners[worker] != NULL); /* the caller at least */
    socket->next_worker = (worker + 1) % WORKERS_MAX;
    socket->references++;
    pthread_mutex_unlock(&host->mutex);
    return worker;
}

void *host_socket_claim(struct host *host, struct listen_socket *socket, uint32_t worker)
{
    void *listener;

    pthread_mutex_lock(&host->mutex);
    listener = socket->listeners[worker];
    listen_socket_unreference(socket);
    pthread_mutex_unlock(&host->mutex);
    return listener;
}

bool host_world_post(struct host *host, uint32_t worker, struct world_post *post)
{
    struct world *world;

    /* Under the mutex: the world cannot go away between finding it and posting to it. */
    pthread_mutex_lock(&host->mutex);
    world = host->worlds[worker];
    if (world) world_post(world, post);
    pthread_mutex_unlock(&host->mutex);
    return world != NULL;
}
