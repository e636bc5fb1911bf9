#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/memory.h"
#include "world/world_real_internal.h"

enum { DESCRIPTOR_LOG_INTERVAL_US = 1000 * 1000 };

/* Every worker that listens on a socket watches it; whoever is first accepts, and hands the
 * connection to the worker whose turn it is, so that they share the load evenly. */
struct real_listener {
    struct listener head;
    struct list link; /* of the world */
    struct listen_socket *socket;
    uv_poll_t poll;
    bool closed;
    void *context;
    void (*on_accept)(void *context, struct stream *stream);
};

/* A connection on its way to the worker that shall have it. */
struct accepted {
    struct world_post post;
    struct host *host;
    struct listen_socket *socket;
    uint32_t worker;
    int descriptor;
};

static void connection_deliver(struct real_listener *listener, int descriptor)
{
    struct stream *stream = real_stream_accepted(real_world_of(listener->head.world), descriptor);

    if (stream == NULL) return;
    listener->on_accept(listener->context, stream);
    if (stream->events == NULL)
        real_stream_abort(stream); /* nobody wanted it */
    else
        real_stream_start(stream);
}

static void accepted_claim(struct world_post *post)
{
    struct accepted *accepted = CONTAINER_OF(post, struct accepted, post);
    struct real_listener *listener =
        host_socket_claim(accepted->host, accepted->socket, accepted->worker);

    if (listener == NULL || listener->closed)
        close(accepted->descriptor);
    else
        connection_deliver(listener, accepted->descriptor);
    memory_free(accepted);
}

static void connection_assign(struct real_listener *listener, int descriptor)
{
    struct real_world *world = real_world_of(listener->head.world);
    uint32_t worker = host_socket_next_worker(world->host, listener->socket);
    struct accepted *accepted;

    if (worker == world->head.worker) {
        host_socket_claim(world->host, listener->socket, worker);
        connection_deliver(listener, descriptor);
        return;
    }
    accepted = memory_allocate_zero(sizeof(*accepted));
    accepted->post.run = accepted_claim;
    accepted->host = world->host;
    accepted->socket = listener->socket;
    accepted->worker = worker;
    accepted->descriptor = descriptor;
    if (!host_world_post(world->host, worker, &accepted->post)) accepted_claim(&accepted->post);
}

/* No descriptor for the connection (F08): the reserved one is given up for a moment to accept
 * and close it. Left in the queue it would make the loop spin. */
static void connection_refuse(struct real_listener *listener)
{
    struct real_world *world = real_world_of(listener->head.world);
    uint64_t now = world_now(&world->head);
    int descriptor;

    if (world->descriptor_log_at == 0 ||
        now - world->descriptor_log_at >= DESCRIPTOR_LOG_INTERVAL_US) {
        world->descriptor_log_at = now;
        LOG_ERROR(world->head.logger, "world",
                  "out of file descriptors, connections are being refused; raise LimitNOFILE "
                  "(ulimit -n) port=%u",
                  (unsigned)listen_socket_port(listener->socket));
    }
    if (world->reserve_descriptor >= 0) close(world->reserve_descriptor);
    descriptor = accept4(listen_socket_descriptor(listener->socket), NULL, NULL, SOCK_CLOEXEC);
    if (descriptor >= 0) close(descriptor);
    world->reserve_descriptor = open("/dev/null", O_RDONLY | O_CLOEXEC);
}

static void on_listener_ready(uv_poll_t *poll, int status, int events)
{
    struct real_listener *listener = CONTAINER_OF(poll, struct real_listener, poll);

    (void)status;
    (void)events;
    for (int i = 0; i < WORLD_ACCEPT_MAX && !listener->closed; i++) {
        int descriptor = accept4(listen_socket_descriptor(listener->socket), NULL, NULL,
                                 SOCK_CLOEXEC | SOCK_NONBLOCK);
        if (descriptor >= 0) {
            connection_assign(listener, descriptor);
        } else if (errno == EMFILE || errno == ENFILE) {
            connection_refuse(listener);
            return;
        } else if (errno != EINTR && errno != ECONNABORTED) {
            return; /* EAGAIN: a sibling was faster, or the queue is empty */
        }
    }
}

enum status real_listen(struct world *world, const char *address, void *context,
                        void (*on_accept)(void *, struct stream *), struct listener **ret_listener,
                        struct error *error)
{
    struct real_world *real = real_world_of(world);
    struct real_listener *listener = memory_allocate_zero(sizeof(*listener));
    enum status status;
    int result;

    ASSERT(on_accept != NULL);
    listener->head.world = world;
    listener->context = context;
    listener->on_accept = on_accept;
    status =
        host_socket_get(real->host, address, world->worker, listener, &listener->socket, error);
    if (status) {
        memory_free(listener);
        return status;
    }
    result = uv_poll_init(&real->loop, &listener->poll, listen_socket_descriptor(listener->socket));
    ASSERT(result == 0);
    result = uv_poll_start(&listener->poll, UV_READABLE, on_listener_ready);
    ASSERT(result == 0);
    list_insert_before(&real->listeners, &listener->link);
    *ret_listener = &listener->head;
    return STATUS_OK;
}

uint16_t real_listener_port(struct listener *listener)
{
    return listen_socket_port(((struct real_listener *)listener)->socket);
}

static void on_listener_poll_closed(uv_handle_t *handle)
{
    memory_free(CONTAINER_OF((uv_poll_t *)handle, struct real_listener, poll));
}

void real_listener_close(struct listener *head)
{
    struct real_listener *listener = (struct real_listener *)head;

    ASSERT(!listener->closed);
    listener->closed = true;
    list_remove(&listener->link);
    /* Before the descriptor may close and its number be given to somebody else. */
    uv_close((uv_handle_t *)&listener->poll, on_listener_poll_closed);
    host_socket_leave(real_world_of(head->world)->host, listener->socket, head->world->worker);
}

void real_listeners_close_all(struct real_world *world)
{
    while (!list_empty(&world->listeners)) {
        struct real_listener *listener =
            CONTAINER_OF(world->listeners.next, struct real_listener, link);
        real_listener_close(&listener->head);
    }
}
