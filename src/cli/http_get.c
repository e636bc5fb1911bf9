#include "cli/http_get.h"

#include <errno.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include "base/parse.h"

static enum status http_connect(const char *text, int timeout_ms, int *ret_fd, struct error *error)
{
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM};
    struct addrinfo *found = NULL;
    struct address address;
    char port[8];
    int fd = -1;

    if (!parse_address(bytes_of(text), false, &address))
        return error_set(error, STATUS_INVALID, "`%.100s` is no HOST:PORT", text);
    snprintf(port, sizeof(port), "%u", address.port);
    int failed = getaddrinfo(address.host, port, &hints, &found);
    if (failed)
        return error_set(error, STATUS_INVALID, "%s: %s", address.host, gai_strerror(failed));
    for (struct addrinfo *at = found; at != NULL && fd < 0; at = at->ai_next) {
        struct timeval limit = {.tv_sec = timeout_ms / 1000};
        fd = socket(at->ai_family, at->ai_socktype | SOCK_CLOEXEC, at->ai_protocol);
        if (fd < 0) continue;
        setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
        setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit));
        if (connect(fd, at->ai_addr, at->ai_addrlen) == 0) continue;
        close(fd);
        fd = -1;
    }
    freeaddrinfo(found);
    if (fd < 0) return error_set(error, STATUS_REFUSED, "nobody answers at %.100s", text);
    *ret_fd = fd;
    return STATUS_OK;
}

static enum status http_read_all(int fd, int timeout_ms, struct buffer *answer, struct error *error)
{
    for (;;) {
        uint8_t *room = buffer_reserve(answer, 16 << 10);
        if (room == NULL) return error_set(error, STATUS_TOO_LARGE, "the answer is too large");
        ssize_t size = read(fd, room, 16 << 10);
        if (size == 0) return STATUS_OK;
        if (size < 0 && errno == EINTR) continue;
        if (size < 0)
            return error_set(error, STATUS_TIMEOUT, "no answer within %d s", timeout_ms / 1000);
        buffer_commit(answer, (size_t)size);
    }
}

static enum status http_ask(const char *method, int timeout_ms, const char *address,
                            const char *path, struct buffer *body, int *ret_code,
                            struct error *error)
{
    char request[1024];
    struct buffer answer;
    int fd = -1;

    enum status status = http_connect(address, timeout_ms, &fd, error);
    if (status) return status;
    buffer_init(&answer, HTTP_GET_BODY_MAX);
    int size = snprintf(request, sizeof(request),
                        "%s %s HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n"
                        "X-Holon-Operator: yes\r\n\r\n",
                        method, path, address);
    if (write(fd, request, (size_t)size) != size)
        status = error_set(error, STATUS_CLOSED, "%.100s closed the connection", address);
    if (status == STATUS_OK) status = http_read_all(fd, timeout_ms, &answer, error);
    close(fd);
    if (status == STATUS_OK) {
        struct bytes all = buffer_bytes(&answer);
        const uint8_t *end = all.size ? memmem(all.data, all.size, "\r\n\r\n", 4) : NULL;
        bool http = end != NULL && bytes_starts_with(all, bytes_of("HTTP/1.1 ")) && all.size > 12;
        if (http) {
            uint64_t code = 0;
            parse_u64(bytes_make(all.data + 9, 3), &code);
            *ret_code = (int)code;
            status = buffer_append(body, bytes_from(all, (size_t)(end + 4 - all.data)));
        } else {
            status = error_set(error, STATUS_INVALID, "%.100s does not speak HTTP", address);
        }
    }
    buffer_free(&answer);
    return status;
}

enum status http_get(const char *address, const char *path, struct buffer *body, int *ret_code,
                     struct error *error)
{
    return http_ask("GET", HTTP_GET_TIMEOUT_MS, address, path, body, ret_code, error);
}

enum status http_post(const char *address, const char *path, struct buffer *body, int *ret_code,
                      struct error *error)
{
    return http_ask("POST", HTTP_POST_TIMEOUT_MS, address, path, body, ret_code, error);
}
