/* redis_peer.h - a real redis-server to compare with, where there is one. */
#ifndef HOLON_TESTS_UNIT_REDIS_PEER_H
#define HOLON_TESTS_UNIT_REDIS_PEER_H

#include "unit.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "wire/resp.h"

struct peer {
    char directory[64];
    pid_t process;
    int socket, log;
    struct buffer input;
};

static inline bool peer_connect(struct peer *peer)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};

    snprintf(address.sun_path, sizeof(address.sun_path), "%s/s", peer->directory);
    peer->socket = socket(AF_UNIX, SOCK_STREAM, 0);
    if (connect(peer->socket, (struct sockaddr *)&address, sizeof(address)) == 0) return true;
    close(peer->socket);
    return false;
}

/* Reads the server's log until it says that it listens at the socket. */
static inline void peer_await(int log)
{
    char text[65536];
    size_t size = 0;
    ssize_t got;

    while (size + 1 < sizeof(text) && (got = read(log, text + size, sizeof(text) - 1 - size)) > 0) {
        size += (size_t)got;
        text[size] = 0;
        if (strstr(text, "ready to accept connections at")) return;
    }
    fail_msg("redis-server did not start");
}

static inline bool peer_start(struct peer *peer)
{
    char path[96];
    int log[2];

    if (access("/usr/bin/redis-server", X_OK) != 0) return false;
    snprintf(peer->directory, sizeof(peer->directory), "/tmp/holon-redis-XXXXXX");
    assert_non_null(mkdtemp(peer->directory));
    snprintf(path, sizeof(path), "%s/s", peer->directory);
    assert_int_equal(pipe(log), 0);
    peer->process = fork();
    if (peer->process == 0) {
        dup2(log[1], STDOUT_FILENO);
        close(log[0]);
        execl("/usr/bin/redis-server", "redis-server", "--port", "0", "--unixsocket", path,
              "--save", "", "--appendonly", "no", "--dir", peer->directory,
              /* Its compact form keeps fields in order, as ours does. */
              "--hash-max-listpack-value", "100000", (char *)NULL);
        _exit(1);
    }
    close(log[1]);
    peer_await(log[0]);
    peer->log = log[0]; /* kept open: the server writes on */
    buffer_init(&peer->input, 64 << 20);
    assert_true(peer_connect(peer));
    return true;
}

static inline void peer_stop(struct peer *peer)
{
    char command[128];

    close(peer->socket);
    close(peer->log);
    kill(peer->process, SIGKILL);
    waitpid(peer->process, NULL, 0);
    buffer_free(&peer->input);
    snprintf(command, sizeof(command), "rm -rf %s", peer->directory);
    assert_int_equal(system(command), 0);
}

static inline struct bytes peer_run(struct peer *peer, const struct bytes *arguments,
                                    uint32_t count)
{
    struct buffer request;
    struct resp_writer out;

    buffer_init(&request, 40 << 20);
    out = resp_writer_make(&request, false);
    resp_write_array(&out, count);
    for (uint32_t i = 0; i < count; i++)
        resp_write_bulk(&out, arguments[i]);
    struct bytes bytes = buffer_bytes(&request);
    assert_int_equal(send(peer->socket, bytes.data, bytes.size, 0), (ssize_t)bytes.size);
    buffer_free(&request);

    buffer_clear(&peer->input);
    while (resp_value_size(buffer_bytes(&peer->input)) == 0) {
        uint8_t *room = buffer_reserve(&peer->input, 65536);
        ssize_t got = recv(peer->socket, room, 65536, 0);
        assert_true(got > 0);
        buffer_commit(&peer->input, (size_t)got);
    }
    return buffer_bytes(&peer->input);
}

#endif
