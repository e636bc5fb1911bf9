/* sockets.h - what the programs of bench/ share: loopback sockets, a clock, giving up with a
 * message. They are tools that run for seconds, so an error ends the process. */
#ifndef HOLON_BENCH_SOCKETS_H
#define HOLON_BENCH_SOCKETS_H

#include "base/parse.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

_Noreturn static inline void __attribute__((format(printf, 1, 2))) fail(const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    vfprintf(stderr, format, arguments);
    va_end(arguments);
    fputc('\n', stderr);
    exit(1);
}

static inline uint64_t now_ns(void)
{
    struct timespec time;

    clock_gettime(CLOCK_MONOTONIC, &time);
    return (uint64_t)time.tv_sec * 1000000000u + (uint64_t)time.tv_nsec;
}

static inline struct sockaddr_in socket_address(const char *text)
{
    struct sockaddr_in socket_address = {.sin_family = AF_INET};
    struct address address;

    if (!parse_address(bytes_of(text), false, &address) ||
        inet_pton(AF_INET, address.host, &socket_address.sin_addr) != 1)
        fail("%s: want IPV4:PORT", text);
    socket_address.sin_port = htons(address.port);
    return socket_address;
}

static inline void socket_no_delay(int fd)
{
    int yes = 1;

    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof(yes));
}

static inline int socket_listen(const char *text)
{
    struct sockaddr_in address = socket_address(text);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    int yes = 1;

    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof(yes));
    if (bind(fd, (struct sockaddr *)&address, sizeof(address)) || listen(fd, 1024))
        fail("listen on %s: %s", text, strerror(errno));
    return fd;
}

/* Blocking connect; tries for `seconds`, since the peer may just be starting. */
static inline int socket_connect(const char *text, unsigned seconds)
{
    struct sockaddr_in address = socket_address(text);
    uint64_t deadline = now_ns() + seconds * 1000000000ull;

    for (;;) {
        int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (connect(fd, (struct sockaddr *)&address, sizeof(address)) == 0) {
            socket_no_delay(fd);
            return fd;
        }
        if (now_ns() > deadline) fail("connect to %s: %s", text, strerror(errno));
        close(fd);
        nanosleep(&(struct timespec){.tv_nsec = 10000000}, NULL);
    }
}

#endif
