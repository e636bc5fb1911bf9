/* link.h - what the load generators of bench/ share: a connection that an epoll loop drives, and
 * the words of their command lines. Tools that run for seconds: an error ends the process. */
#ifndef HOLON_BENCH_LINK_H
#define HOLON_BENCH_LINK_H

#include "base/buffer.h"
#include "base/memory.h"
#include "bench/sockets.h"

#include <fcntl.h>
#include <string.h>
#include <sys/epoll.h>

enum {
    TARGETS_MAX = 16,
    CLIENTS_MAX = 4096,
    PIPELINE_MAX = 4096,
    VALUE_SIZE_MAX = 262144,
    LINK_BYTES_MAX = 64 << 20, /* of one direction */
    LINK_CHUNK = 16384,
    EVENTS_MAX = 512,
    STALL_MS = 10000, /* no reply for so long is a failure */
};

struct link {
    int fd;
    struct buffer in, out;
    bool wants_write;
    void *owner; /* what the events of the loop carry */
};

static inline void append(struct buffer *buffer, const void *data, size_t size)
{
    if (buffer_append(buffer, bytes_make(data, size))) fail("a request is too large");
}

/* One word of a RESP command. */
static inline void append_resp(struct buffer *buffer, const char *word, size_t size)
{
    if (buffer_append_format(buffer, "$%zu\r\n", size)) fail("a request is too large");
    append(buffer, word, size);
    append(buffer, "\r\n", 2);
}

/* Room in the link's output, filled with `data`; where it lies, to be patched before the flush. */
static inline uint8_t *link_append(struct link *link, const uint8_t *data, size_t size)
{
    uint8_t *at = buffer_reserve(&link->out, size);

    if (!at) fail("a batch is too large");
    memcpy(at, data, size);
    buffer_commit(&link->out, size);
    return at;
}

static inline void link_open(struct link *link, int epoll, const char *address, void *owner)
{
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = owner};

    link->owner = owner;
    link->fd = socket_connect(address, 10);
    fcntl(link->fd, F_SETFL, O_NONBLOCK);
    buffer_init(&link->in, LINK_BYTES_MAX);
    buffer_init(&link->out, LINK_BYTES_MAX);
    if (epoll_ctl(epoll, EPOLL_CTL_ADD, link->fd, &event)) fail("epoll: %s", strerror(errno));
}

static inline void link_flush(struct link *link, int epoll)
{
    struct bytes bytes = buffer_bytes(&link->out);
    ssize_t size = bytes.size ? send(link->fd, bytes.data, bytes.size, MSG_NOSIGNAL) : 0;

    if (size < 0 && errno != EAGAIN) fail("send: %s", strerror(errno));
    if (size > 0) buffer_consume(&link->out, (size_t)size);
    bool wants = buffer_size(&link->out) > 0;
    if (wants == link->wants_write) return;
    link->wants_write = wants;
    struct epoll_event event = {.events = wants ? EPOLLIN | EPOLLOUT : EPOLLIN,
                                .data.ptr = link->owner};
    epoll_ctl(epoll, EPOLL_CTL_MOD, link->fd, &event);
}

/* True if something came; the peer, named in the message, must not have closed. */
static inline bool link_receive(struct link *link, const char *address)
{
    uint8_t *at = buffer_reserve(&link->in, LINK_CHUNK);

    if (!at) fail("a reply is too large");
    ssize_t size = recv(link->fd, at, LINK_CHUNK, 0);
    if (size < 0 && errno == EAGAIN) return false;
    if (size <= 0) fail("%s closed a connection", address);
    buffer_commit(&link->in, (size_t)size);
    return true;
}

/* The addresses of --to; returns how many. */
static inline uint32_t targets_parse(char **targets, const char *text)
{
    char *list = memory_copy_string(text);
    uint32_t count = 0;

    while (list) {
        char *comma = strchr(list, ',');
        if (count == TARGETS_MAX) fail("--to: at most %u", TARGETS_MAX);
        targets[count++] = list;
        if (comma) *comma++ = '\0';
        list = comma;
    }
    return count;
}

#endif
