#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/memory.h"
#include "world/world_real_internal.h"
#include "world/world_real_link.h"

/*     RESOLVING -> CONNECTING -> OPEN -> CLOSING -> ENDED -> freed after on_closed
 *
 * CLOSING still sends what is pending; every state may go to ENDED at once. The socket is
 * watched by a uv_poll_t of its own allocation, which outlives the stream until its close
 * callback: libuv says when that memory may go, on_closed says when the stream goes. */
enum stream_state {
    STREAM_RESOLVING,
    STREAM_CONNECTING,
    STREAM_OPEN,
    STREAM_CLOSING,
    STREAM_ENDED,
};

enum {
    READS_PER_TURN_MAX = 8,              /* full ones; then others get their turn */
    DIALLED_USER_TIMEOUT_MS = 30 * 1000, /* also for a peer that lives and reads nothing */
    DIALLED_KEEPALIVE_IDLE_S = 3,
    DIALLED_KEEPALIVE_INTERVAL_S = 1,
    DIALLED_KEEPALIVE_COUNT = 3,
};

/* Where a dialled stream may try to connect. */
struct dial_targets {
    struct sockaddr_storage addresses[WORLD_CONNECT_ADDRESSES_MAX];
    size_t count;
    size_t next;
};

struct real_stream {
    struct stream head;
    struct list all;
    struct list flushed; /* linked to itself unless in streams_flushed */
    struct list ended;
    enum stream_state state;
    enum status reason; /* for on_closed; of the last attempt while connecting */
    int descriptor;     /* -1: none */
    uv_poll_t *poll;    /* NULL: none; its data is this stream */
    int polled;         /* the events that are watched */
    bool read_paused;
    bool blocked;                   /* the kernel took no more; waiting until it does */
    size_t drain_mark;              /* greatest output since on_drained was called last */
    struct world_timer close_timer; /* looks how far closing has come */
    uint64_t close_deadline;        /* of it in all */
    uint64_t close_moved;           /* when the other side took something last */
    uint64_t close_delivered;       /* and what it had then */
    uint64_t sent;                  /* bytes given to the kernel */
    uv_getaddrinfo_t *resolve;      /* NULL: none; its data is this stream, or NULL if abandoned */
    struct dial_targets *targets;
    bool dialled;
    uint64_t looked_at;            /* by stream_link_look() */
    struct world_timer link_timer; /* runs while a dialled stream has sent something */
    uint64_t acknowledged;         /* bytes, at the check before */
    uint32_t checks_stuck;
};

static struct real_stream *real_stream_of(struct stream *stream)
{
    return (struct real_stream *)stream;
}

static struct real_world *stream_world(struct real_stream *stream)
{
    return real_world_of(stream->head.world);
}

static void stream_receive(struct real_stream *stream);
static void stream_send(struct real_stream *stream);
static void stream_dial_next(struct real_stream *stream);

static enum status reason_from_errno(int number)
{
    switch (number) {
    case ECONNREFUSED:
        return STATUS_REFUSED;
    case ETIMEDOUT:
    case EHOSTUNREACH:
    case ENETUNREACH:
        return STATUS_TIMEOUT;
    default:
        return STATUS_IO;
    }
}

/* --- watching the socket --------------------------------------------------------------------- */

static void on_poll_closed(uv_handle_t *handle)
{
    memory_free(handle);
}

static void on_stream_ready(uv_poll_t *poll, int status, int events);

/* Watches for exactly what the state needs. Cheap when nothing changed. */
static void stream_watch(struct real_stream *stream)
{
    int wanted = 0;

    if (stream->poll == NULL) return;
    if (stream->state == STREAM_OPEN && !stream->read_paused) wanted |= UV_READABLE;
    if (stream->state == STREAM_CONNECTING || stream->blocked) wanted |= UV_WRITABLE;
    if (wanted == stream->polled) return;
    stream->polled = wanted;
    if (wanted)
        uv_poll_start(stream->poll, wanted, on_stream_ready);
    else
        uv_poll_stop(stream->poll);
}

static bool stream_poll_make(struct real_stream *stream)
{
    uv_poll_t *poll = memory_allocate_zero(sizeof(*poll));

    ASSERT(stream->poll == NULL);
    if (uv_poll_init(&stream_world(stream)->loop, poll, stream->descriptor) != 0) {
        memory_free(poll);
        return false;
    }
    poll->data = stream;
    stream->poll = poll;
    stream->polled = 0;
    return true;
}

/* The watcher first: once the number is free, another stream may get it. */
static void stream_close_descriptor(struct real_stream *stream)
{
    if (stream->poll) {
        stream->poll->data = NULL;
        uv_close((uv_handle_t *)stream->poll, on_poll_closed);
        stream->poll = NULL;
        stream->polled = 0;
    }
    if (stream->descriptor >= 0) close(stream->descriptor);
    stream->descriptor = -1;
}

/* --- life ------------------------------------------------------------------------------------ */

static struct real_stream *stream_make(struct real_world *world)
{
    struct real_stream *stream = memory_allocate_zero(sizeof(*stream));

    stream->head.world = &world->head;
    buffer_init(&stream->head.output, WORLD_OUTPUT_DEFAULT_MAX);
    list_init(&stream->flushed);
    list_init(&stream->ended);
    list_insert_before(&world->streams, &stream->all);
    stream->descriptor = -1;
    return stream;
}

static void stream_free(struct real_stream *stream)
{
    ASSERT(stream->state == STREAM_ENDED && stream->descriptor < 0 && stream->resolve == NULL);
    list_remove(&stream->all);
    list_remove(&stream->flushed);
    list_remove(&stream->ended);
    buffer_free(&stream->head.output);
    memory_free(stream->targets);
    memory_free(stream);
}

static void stream_end(struct real_stream *stream, enum status reason)
{
    struct real_world *world = stream_world(stream);

    if (stream->state == STREAM_ENDED) return;
    stream->state = STREAM_ENDED;
    stream->reason = reason;
    stream->blocked = false;
    stream_close_descriptor(stream);
    if (stream->resolve) {
        stream->resolve->data = NULL; /* its callback frees it */
        uv_cancel((uv_req_t *)stream->resolve);
        stream->resolve = NULL;
    }
    world_timer_stop(&world->head, &stream->close_timer);
    world_timer_stop(&world->head, &stream->link_timer);
    list_remove(&stream->flushed);
    list_insert_before(&world->streams_ended, &stream->ended);
}

void real_streams_report_ended(struct real_world *world)
{
    while (!list_empty(&world->streams_ended)) {
        struct real_stream *stream =
            CONTAINER_OF(world->streams_ended.next, struct real_stream, ended);
        list_remove(&stream->ended);
        if (stream->head.events && stream->head.events->on_closed)
            stream->head.events->on_closed(stream->head.context, &stream->head, stream->reason);
        stream_free(stream);
    }
}

void real_streams_drop_all(struct real_world *world)
{
    while (!list_empty(&world->streams)) {
        struct real_stream *stream = CONTAINER_OF(world->streams.next, struct real_stream, all);
        stream_end(stream, STATUS_CLOSED);
        stream_free(stream);
    }
}

static void stream_addresses_set(struct real_stream *stream)
{
    struct sockaddr_storage peer = {0}, own = {0};
    socklen_t peer_size = sizeof(peer), own_size = sizeof(own);

    /* A peer that has reset already has no address any more; reading will tell. */
    getpeername(stream->descriptor, (struct sockaddr *)&peer, &peer_size);
    getsockname(stream->descriptor, (struct sockaddr *)&own, &own_size);
    address_format(&peer, stream->head.peer_address, sizeof(stream->head.peer_address));
    address_format(&own, stream->head.own_address, sizeof(stream->head.own_address));
}

struct stream *real_stream_accepted(struct real_world *world, int descriptor)
{
    struct real_stream *stream = stream_make(world);

    stream->descriptor = descriptor;
    stream->state = STREAM_OPEN;
    if (!stream_poll_make(stream)) {
        stream_end(stream, STATUS_IO);
        return NULL; /* reported to nobody: it has no events */
    }
    stream_addresses_set(stream);
    return &stream->head;
}

void real_stream_start(struct stream *head)
{
    stream_watch(real_stream_of(head));
}

/* --- connecting ------------------------------------------------------------------------------ */

/* The keep-alive finds a dead link that is idle; on_link_timer() one that is used. */
static void dial_options_set(int descriptor)
{
    int on = 1, timeout_ms = DIALLED_USER_TIMEOUT_MS, idle = DIALLED_KEEPALIVE_IDLE_S;
    int interval = DIALLED_KEEPALIVE_INTERVAL_S, count = DIALLED_KEEPALIVE_COUNT;

    setsockopt(descriptor, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    setsockopt(descriptor, IPPROTO_TCP, TCP_USER_TIMEOUT, &timeout_ms, sizeof(timeout_ms));
    setsockopt(descriptor, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on));
    setsockopt(descriptor, IPPROTO_TCP, TCP_KEEPIDLE, &idle, sizeof(idle));
    setsockopt(descriptor, IPPROTO_TCP, TCP_KEEPINTVL, &interval, sizeof(interval));
    setsockopt(descriptor, IPPROTO_TCP, TCP_KEEPCNT, &count, sizeof(count));
}

/* A dialled stream leads to another node. The kernel doubles the time between its attempts, so
 * that after half a minute without a network it would notice a healed one only half a minute
 * later; a new connection notices at once. Given up is a link on which sent bytes stay without
 * acknowledgement. A peer that is merely slow acknowledges, or closes its window, and then
 * nothing is under way: TCP_USER_TIMEOUT cannot tell these apart. */
static void on_link_timer(struct world_timer *timer)
{
    struct real_stream *stream = timer->context;
    struct link_state link;
    bool stuck;

    if (!link_state_read(stream->descriptor, &link)) return;
    stuck = link.segments_under_way > 0 && link.acknowledged == stream->acknowledged;
    stream->checks_stuck = stuck ? stream->checks_stuck + 1 : 0;
    stream->acknowledged = link.acknowledged;
    if (stream->checks_stuck >= WORLD_LINK_STUCK_CHECKS)
        stream_end(stream, STATUS_TIMEOUT);
    else if (link.segments_under_way > 0 || stream->blocked)
        world_timer_start(stream->head.world, timer, WORLD_LINK_CHECK_US);
}

static void stream_link_watch(struct real_stream *stream)
{
    if (!stream->dialled || stream->link_timer.heap_index != 0) return;
    stream->link_timer.fire = on_link_timer;
    stream->link_timer.context = stream;
    world_timer_start(stream->head.world, &stream->link_timer, WORLD_LINK_CHECK_US);
}

/* Before more is sent: if all that went before has arrived, the time begins anew. A link that is
 * written to now and then, as between idle nodes, is so looked at in turns that there are anyway,
 * and its timer wakes nobody. */
static void stream_link_look(struct real_stream *stream)
{
    struct world_timer *timer = &stream->link_timer;
    struct link_state link;

    if (timer->heap_index == 0) return;
    uint64_t now = world_now(stream->head.world);
    if (now < stream->looked_at + WORLD_LINK_LOOK_US) return;
    if (timer->deadline > now + WORLD_LINK_CHECK_US - WORLD_LINK_LOOK_US) return;
    stream->looked_at = now;
    if (!link_state_read(stream->descriptor, &link) || link.segments_under_way > 0) return;
    stream->checks_stuck = 0;
    stream->acknowledged = link.acknowledged;
    world_timer_start(stream->head.world, timer, WORLD_LINK_CHECK_US);
}

static int dial_start(struct real_stream *stream, const struct sockaddr_storage *address)
{
    stream->descriptor = socket(address->ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (stream->descriptor < 0) return errno;
    dial_options_set(stream->descriptor);
    if (connect(stream->descriptor, (const struct sockaddr *)address, address_size(address)) != 0 &&
        errno != EINPROGRESS)
        return errno;
    return stream_poll_make(stream) ? 0 : EIO;
}

static void stream_dial_next(struct real_stream *stream)
{
    struct dial_targets *targets = stream->targets;

    stream->state = STREAM_CONNECTING;
    while (targets->next < targets->count) {
        int failure = dial_start(stream, &targets->addresses[targets->next++]);
        if (failure == 0) {
            stream_watch(stream);
            return;
        }
        stream->reason = reason_from_errno(failure);
        stream_close_descriptor(stream);
    }
    stream_end(stream, stream->reason);
}

/* On loopback a socket that dials an unused port may be given that same port as its own, and
 * is then connected to itself (RFC 9293, 3.5: simultaneous open). Nobody listens there. */
static bool stream_is_own_peer(struct real_stream *stream)
{
    struct sockaddr_storage peer = {0}, own = {0};
    socklen_t peer_size = sizeof(peer), own_size = sizeof(own);

    if (getpeername(stream->descriptor, (struct sockaddr *)&peer, &peer_size) != 0) return false;
    if (getsockname(stream->descriptor, (struct sockaddr *)&own, &own_size) != 0) return false;
    return address_equal(&peer, &own);
}

static int socket_error(int descriptor)
{
    int number = 0;
    socklen_t size = sizeof(number);

    if (getsockopt(descriptor, SOL_SOCKET, SO_ERROR, &number, &size) != 0) return errno;
    return number;
}

static void stream_dial_result(struct real_stream *stream)
{
    int failure = socket_error(stream->descriptor);

    if (failure == 0 && stream_is_own_peer(stream)) failure = ECONNREFUSED;
    if (failure) {
        stream->reason = reason_from_errno(failure);
        stream_close_descriptor(stream);
        stream_dial_next(stream);
        return;
    }
    stream->state = STREAM_OPEN;
    memory_free(stream->targets);
    stream->targets = NULL;
    stream_addresses_set(stream);
    if (buffer_size(&stream->head.output)) real_stream_flush(&stream->head);
    stream_watch(stream);
    if (stream->head.events && stream->head.events->on_connected)
        stream->head.events->on_connected(stream->head.context, &stream->head);
}

static void targets_add(struct dial_targets *targets, const struct addrinfo *found)
{
    for (; found && targets->count < WORLD_CONNECT_ADDRESSES_MAX; found = found->ai_next) {
        if (found->ai_family != AF_INET && found->ai_family != AF_INET6) continue;
        memcpy(&targets->addresses[targets->count++], found->ai_addr, found->ai_addrlen);
    }
}

static void on_resolved(uv_getaddrinfo_t *resolve, int status, struct addrinfo *found)
{
    struct real_stream *stream = resolve->data;

    if (stream) {
        stream->resolve = NULL;
        stream->reason = STATUS_NOT_FOUND; /* unless an address turns up and fails otherwise */
        if (status == 0) targets_add(stream->targets, found);
        stream_dial_next(stream);
    }
    uv_freeaddrinfo(found);
    memory_free(resolve);
}

static void stream_resolve(struct real_stream *stream, const struct address *parts)
{
    struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM};
    char port[sizeof("65535")];

    snprintf(port, sizeof(port), "%u", (unsigned)parts->port);
    stream->state = STREAM_RESOLVING;
    stream->resolve = memory_allocate_zero(sizeof(*stream->resolve));
    stream->resolve->data = stream;
    if (uv_getaddrinfo(&stream_world(stream)->loop, stream->resolve, on_resolved, parts->host, port,
                       &hints) == 0)
        return;
    memory_free(stream->resolve);
    stream->resolve = NULL;
    stream_end(stream, STATUS_NOT_FOUND);
}

struct stream *real_connect(struct world *world, const char *address,
                            const struct stream_events *events, void *context)
{
    struct real_stream *stream = stream_make(real_world_of(world));
    struct address parts;

    stream->head.events = events;
    stream->head.context = context;
    stream->dialled = true;
    snprintf(stream->head.peer_address, sizeof(stream->head.peer_address), "%s", address);
    stream->targets = memory_allocate_zero(sizeof(*stream->targets));
    if (address_split(address, &parts, NULL)) {
        stream_end(stream, STATUS_INVALID);
    } else if (address_numeric(&parts, &stream->targets->addresses[0])) {
        stream->targets->count = 1;
        stream->reason = STATUS_IO;
        stream_dial_next(stream);
    } else {
        stream_resolve(stream, &parts);
    }
    return &stream->head;
}

/* --- reading --------------------------------------------------------------------------------- */

static bool stream_reads(const struct real_stream *stream)
{
    return stream->state == STREAM_OPEN && !stream->read_paused;
}

/* The peer sends no more. What was answered so far still goes out. */
static void stream_peer_finished(struct real_stream *stream)
{
    real_stream_close(&stream->head);
}

static void stream_receive(struct real_stream *stream)
{
    uint8_t *memory = stream_world(stream)->read_memory;

    for (int reads = 0; reads < READS_PER_TURN_MAX && stream_reads(stream); reads++) {
        ssize_t got = recv(stream->descriptor, memory, WORLD_READ_SIZE, 0);
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) {
            if (errno != EAGAIN) stream_end(stream, reason_from_errno(errno));
            return;
        }
        if (got == 0) {
            stream_peer_finished(stream);
            return;
        }
        ASSERT(stream->head.events != NULL);
        if (stream->head.events->on_data)
            stream->head.events->on_data(stream->head.context, &stream->head,
                                         bytes_make(memory, (size_t)got));
        if (got < WORLD_READ_SIZE) return; /* nothing more there: no call only to hear EAGAIN */
    }
}

void real_stream_read_pause(struct stream *head)
{
    struct real_stream *stream = real_stream_of(head);

    stream->read_paused = true;
    stream_watch(stream);
}

void real_stream_read_resume(struct stream *head)
{
    struct real_stream *stream = real_stream_of(head);

    stream->read_paused = false;
    stream_watch(stream);
}

static void on_stream_ready(uv_poll_t *poll, int status, int events)
{
    struct real_stream *stream = poll->data;
    bool broken = status < 0; /* libuv saw an error and watches no more */

    ASSERT(stream != NULL);
    if (broken) {
        stream->polled = 0;
        events = UV_READABLE | UV_WRITABLE;
    }
    if (stream->state == STREAM_CONNECTING) {
        stream_dial_result(stream);
        return;
    }
    if ((events & UV_WRITABLE) && stream->blocked) {
        stream->blocked = false;
        stream_send(stream);
    }
    if ((events & UV_READABLE) && stream_reads(stream)) stream_receive(stream);
    if (!broken) return;
    /* What arrived before the error has been read, as far as one turn goes. */
    if (stream->state != STREAM_ENDED)
        stream_end(stream, reason_from_errno(socket_error(stream->descriptor)));
}

/* --- writing --------------------------------------------------------------------------------- */

void real_stream_flush(struct stream *head)
{
    struct real_stream *stream = real_stream_of(head);

    if (stream->state == STREAM_ENDED || stream->blocked) return;
    if (!list_empty(&stream->flushed)) return;
    list_insert_before(&stream_world(stream)->streams_flushed, &stream->flushed);
}

/* One attempt; a short write means that the kernel is full. */
static bool output_send(struct real_stream *stream)
{
    struct buffer *output = &stream->head.output;

    while (buffer_size(output)) {
        struct bytes pending = buffer_bytes(output);
        ssize_t sent = send(stream->descriptor, pending.data, pending.size, MSG_NOSIGNAL);
        if (sent < 0 && errno == EINTR) continue;
        if (sent < 0 && errno != EAGAIN) {
            stream_end(stream, reason_from_errno(errno));
            return false;
        }
        if (sent > 0) {
            buffer_consume(output, (size_t)sent);
            stream->sent += (uint64_t)sent;
        }
        stream->blocked = buffer_size(output) > 0;
        break;
    }
    return true;
}

/* All is sent: say so to the peer, then go. Unread input would make the kernel send a reset,
 * which can destroy what the peer has not read yet; so it is thrown away first. */
static void stream_finish(struct real_stream *stream)
{
    uint8_t *memory = stream_world(stream)->read_memory;

    shutdown(stream->descriptor, SHUT_WR);
    for (int reads = 0; reads < READS_PER_TURN_MAX; reads++)
        if (recv(stream->descriptor, memory, WORLD_READ_SIZE, 0) <= 0) break;
    stream_end(stream, STATUS_CLOSED);
}

static void stream_send(struct real_stream *stream)
{
    struct buffer *output = &stream->head.output;
    size_t size = buffer_size(output);

    if (size > stream->drain_mark) stream->drain_mark = size;
    stream_link_look(stream);
    if (!output_send(stream)) return;
    stream_link_watch(stream);
    size = buffer_size(output);
    if (size == 0 && output->capacity > WORLD_OUTPUT_KEEP_MAX) buffer_release(output);
    if (size == 0 && stream->state == STREAM_CLOSING) {
        stream_finish(stream);
        return;
    }
    stream_watch(stream);
    if (stream->drain_mark == 0) return;
    if (size >= stream->drain_mark / 2 && size > 0) return;
    stream->drain_mark = size;
    if (stream->state == STREAM_OPEN && stream->head.events && stream->head.events->on_drained)
        stream->head.events->on_drained(stream->head.context, &stream->head);
}

void real_streams_write(struct real_world *world)
{
    struct list turn;

    /* Only those of now: whoever refills its output while it drains waits for the next turn. */
    list_init(&turn);
    while (!list_empty(&world->streams_flushed)) {
        struct list *link = world->streams_flushed.next;
        list_remove(link);
        list_insert_before(&turn, link);
    }
    while (!list_empty(&turn)) {
        struct real_stream *stream = CONTAINER_OF(turn.next, struct real_stream, flushed);
        bool open = stream->state == STREAM_OPEN || stream->state == STREAM_CLOSING;
        list_remove(&stream->flushed);
        if (open && !stream->blocked) stream_send(stream);
    }
}

/* --- closing --------------------------------------------------------------------------------- */

uint64_t real_stream_delivered(struct stream *head)
{
    struct real_stream *stream = real_stream_of(head);
    struct link_state link;

    if (stream->descriptor >= 0 && link_state_read(stream->descriptor, &link))
        return link.acknowledged;
    return stream->sent;
}

static void stream_reset_at_close(struct real_stream *stream)
{
    struct linger reset = {.l_onoff = 1, .l_linger = 0};

    if (stream->descriptor >= 0)
        setsockopt(stream->descriptor, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
}

/* A big last reply to somebody who reads slowly goes out whole; somebody who does not read, or
 * a byte now and then, is given up. What the kernel took is no measure: its buffer empties in
 * great steps. */
static void on_close_timer(struct world_timer *timer)
{
    struct real_stream *stream = timer->context;
    uint64_t now = world_now(stream->head.world);
    uint64_t delivered = real_stream_delivered(&stream->head);

    if (delivered != stream->close_delivered) {
        stream->close_delivered = delivered;
        stream->close_moved = now;
    }
    if (now - stream->close_moved < WORLD_CLOSE_STALL_US && now < stream->close_deadline) {
        world_timer_start(stream->head.world, timer, WORLD_CLOSE_CHECK_US);
        return;
    }
    stream_reset_at_close(stream); /* else the kernel would go on trying for minutes */
    stream_end(stream, STATUS_CLOSED);
}

void real_stream_close(struct stream *head)
{
    struct real_stream *stream = real_stream_of(head);

    if (stream->state == STREAM_RESOLVING || stream->state == STREAM_CONNECTING) {
        stream_end(stream, STATUS_CLOSED);
        return;
    }
    if (stream->state != STREAM_OPEN) return;
    stream->state = STREAM_CLOSING;
    stream->close_timer.fire = on_close_timer;
    stream->close_timer.context = stream;
    stream->close_moved = world_now(head->world);
    stream->close_deadline = stream->close_moved + WORLD_CLOSE_FLUSH_US;
    world_timer_start(head->world, &stream->close_timer, WORLD_CLOSE_CHECK_US);
    real_stream_flush(head); /* also when nothing is pending: the turn's end closes it */
    stream_watch(stream);
}

void real_stream_abort(struct stream *head)
{
    struct real_stream *stream = real_stream_of(head);

    if (stream->state == STREAM_ENDED) return;
    stream_reset_at_close(stream);
    stream_end(stream, STATUS_IO);
}
