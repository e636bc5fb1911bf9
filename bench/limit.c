/* limit.c - the ideal quorum: the physical limit that Holon is compared with. A leader takes
 * requests of 64 bytes over TCP, appends them to a file and answers each with "+OK\r\n" once
 * it is durable on two of three machines; nothing else: no terms, no keys, no reads.
 *
 *   bench-limit follower --listen 127.0.0.1:9002 --file /disk/f1
 *   bench-limit follower --listen 127.0.0.1:9003 --file /disk/f2
 *   bench-limit leader --listen 127.0.0.1:9001 --file /disk/l \
 *       --followers 127.0.0.1:9002,127.0.0.1:9003
 *
 * The log is a byte stream; a position in it says everything. The leader receives straight into
 * a ring that is mapped twice in a row, so that any range of it is contiguous. At the end of a
 * turn it sends the new bytes to both followers and only then wakes its sync thread. A follower
 * is one thread: read what is there, write it, fdatasync, send the durable position (8 bytes);
 * what arrives meanwhile is the next group. The files are written once before the start, as a
 * recycled log segment would be, and used in a circle, so that fdatasync changes no metadata.
 * `--direct` opens them with O_DIRECT|O_DSYNC instead and writes whole blocks.
 *
 * Threads: main() owns all of `struct leader` but the two atomics; leader_sync() the file. */
#include "base/assert.h"
#include "base/memory.h"
#include "bench/sockets.h"

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>

enum {
    REQUEST_SIZE = 64,
    REPLY_SIZE = 5,
    RING_SIZE = 16 << 20,
    FILE_SIZE = 64 << 20,
    BLOCK_SIZE = 4096,
    WRITE_SIZE_MAX = 1 << 20,
    GROUPS_MAX = RING_SIZE / REQUEST_SIZE, /* each holds at least one request */
    EVENTS_MAX = 1024,
    REPLIES_MAX = 1024, /* in one send */
    FOLLOWERS = 2,
};

/* The file of one machine: the stream modulo FILE_SIZE. */
struct log_file {
    int fd;
    bool direct;
    uint8_t *block; /* direct: aligned copy; begins with what its first block already holds */
};

static void log_file_open(struct log_file *file, const char *path, bool direct)
{
    int fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

    if (fd < 0) fail("%s: %s", path, strerror(errno));
    file->direct = direct;
    file->block = aligned_alloc(BLOCK_SIZE, WRITE_SIZE_MAX + 2 * BLOCK_SIZE);
    ASSERT(file->block);
    memset(file->block, 0, WRITE_SIZE_MAX + 2 * BLOCK_SIZE);
    for (off_t at = 0; at < FILE_SIZE; at += WRITE_SIZE_MAX)
        if (pwrite(fd, file->block, WRITE_SIZE_MAX, at) != WRITE_SIZE_MAX)
            fail("%s: %s", path, strerror(errno));
    if (fsync(fd)) fail("%s: %s", path, strerror(errno));
    if (direct) {
        close(fd);
        fd = open(path, O_RDWR | O_CLOEXEC | O_DIRECT | O_DSYNC);
        if (fd < 0) fail("%s: O_DIRECT: %s", path, strerror(errno));
    }
    file->fd = fd;
}

static void log_file_write_at(const struct log_file *file, const void *data, size_t size, off_t at)
{
    if (pwrite(file->fd, data, size, at) != (ssize_t)size) fail("write: %s", strerror(errno));
}

/* Whole blocks; the last one is kept to be written again with what follows. */
static void log_file_append_direct(struct log_file *file, uint64_t position, const uint8_t *data,
                                   size_t size)
{
    size_t kept = position % BLOCK_SIZE;
    size_t filled = kept + size;
    size_t whole = (filled + BLOCK_SIZE - 1) / BLOCK_SIZE * BLOCK_SIZE;

    memcpy(file->block + kept, data, size);
    memset(file->block + filled, 0, whole - filled);
    log_file_write_at(file, file->block, whole, (off_t)((position - kept) % FILE_SIZE));
    memmove(file->block, file->block + filled / BLOCK_SIZE * BLOCK_SIZE, filled % BLOCK_SIZE);
}

/* Makes `size` bytes durable at `position` of the stream. */
static void log_file_append(struct log_file *file, uint64_t position, const uint8_t *data,
                            size_t size)
{
    while (size > 0) {
        size_t left = FILE_SIZE - position % FILE_SIZE; /* in this round of the file */
        size_t part = size < left ? size : left;

        if (part > WRITE_SIZE_MAX) part = WRITE_SIZE_MAX;
        if (file->direct)
            log_file_append_direct(file, position, data, part);
        else
            log_file_write_at(file, data, part, (off_t)(position % FILE_SIZE));
        position += part;
        data += part;
        size -= part;
    }
    if (!file->direct && fdatasync(file->fd)) fail("fdatasync: %s", strerror(errno));
}

static void follower_run(const char *listen_on, struct log_file *file)
{
    int listener = socket_listen(listen_on);
    int leader = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
    uint8_t *data = memory_allocate(WRITE_SIZE_MAX);
    uint64_t position = 0;

    if (leader < 0) fail("accept: %s", strerror(errno));
    socket_no_delay(leader);
    for (;;) {
        ssize_t size = recv(leader, data, WRITE_SIZE_MAX, 0);
        if (size <= 0) break; /* the leader is gone: so is the measurement */
        log_file_append(file, position, data, (size_t)size);
        position += (uint64_t)size;
        if (send(leader, &position, sizeof(position), MSG_NOSIGNAL) != sizeof(position)) break;
    }
    memory_free(data);
}

enum link_kind { LINK_LISTENER, LINK_WAKE, LINK_FOLLOWER, LINK_CLIENT };

/* What an epoll event points to. */
struct link {
    enum link_kind kind;
    int fd; /* -1: closed */
    bool wants_write;
};

struct follower {
    struct link link; /* first */
    uint64_t sent, durable;
    uint8_t partial[8]; /* of a position */
    size_t partial_size;
};

struct client {
    struct link link;              /* first */
    uint8_t partial[REQUEST_SIZE]; /* the start of a request whose rest has not come */
    size_t partial_size;
    uint32_t groups;    /* in leader->groups: the struct stays while there are */
    uint64_t due_bytes; /* of replies to send */
    bool listed;        /* in leader->due */
};

/* Requests that one recv() brought; in the order of the log. */
struct group {
    struct client *client;
    uint64_t end; /* position after the last of them */
    uint32_t count;
};

struct leader {
    struct log_file file;
    uint8_t *ring; /* 2 * RING_SIZE of address space, RING_SIZE of memory */
    int epoll;
    int work_fd; /* eventfd: tells the sync thread */
    struct link listener, wake;
    struct follower followers[FOLLOWERS];
    uint64_t end, committed;
    struct group *groups; /* ring of GROUPS_MAX */
    uint64_t group_first, group_end;
    struct client *due[EVENTS_MAX * 64]; /* clients with replies to send this turn */
    uint32_t due_count;
    bool reading_stopped;
    uint8_t replies[REPLIES_MAX * REPLY_SIZE];
    _Atomic uint64_t published; /* end, for the sync thread */
    _Atomic uint64_t synced;    /* by the sync thread */
};

static void *ring_map(void)
{
    int fd = memfd_create("ring", MFD_CLOEXEC);
    uint8_t *ring =
        mmap(NULL, 2 * (size_t)RING_SIZE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    int protection = PROT_READ | PROT_WRITE;
    int flags = MAP_SHARED | MAP_FIXED | MAP_POPULATE;

    if (fd < 0 || ftruncate(fd, RING_SIZE) || ring == MAP_FAILED ||
        mmap(ring, RING_SIZE, protection, flags, fd, 0) == MAP_FAILED ||
        mmap(ring + RING_SIZE, RING_SIZE, protection, flags, fd, 0) == MAP_FAILED)
        fail("ring: %s", strerror(errno));
    close(fd);
    return ring;
}

static uint8_t *ring_at(const struct leader *leader, uint64_t position)
{
    return leader->ring + position % RING_SIZE;
}

static void *leader_sync(void *argument)
{
    struct leader *leader = argument;
    uint64_t synced = 0;

    for (;;) {
        uint64_t end = atomic_load_explicit(&leader->published, memory_order_acquire);
        uint64_t one = 1;

        if (end == synced) {
            uint64_t count;
            if (read(leader->work_fd, &count, sizeof(count)) < 0) fail("eventfd");
            continue;
        }
        log_file_append(&leader->file, synced, ring_at(leader, synced), end - synced);
        synced = end;
        atomic_store_explicit(&leader->synced, synced, memory_order_release);
        if (write(leader->wake.fd, &one, sizeof(one)) < 0) fail("eventfd");
    }
    return NULL;
}

static void link_watch(struct leader *leader, struct link *link, int operation)
{
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = link};

    if (link->wants_write) event.events |= EPOLLOUT;
    if (epoll_ctl(leader->epoll, operation, link->fd, &event)) fail("epoll: %s", strerror(errno));
}

static void link_want_write(struct leader *leader, struct link *link, bool wants)
{
    if (link->wants_write == wants) return;
    link->wants_write = wants;
    link_watch(leader, link, EPOLL_CTL_MOD);
}

static uint64_t min_u64(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

static uint64_t max_u64(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

/* Bytes before it are no longer read by anyone. */
static uint64_t leader_ring_start(struct leader *leader)
{
    uint64_t sent = min_u64(leader->followers[0].sent, leader->followers[1].sent);

    return min_u64(sent, atomic_load_explicit(&leader->synced, memory_order_acquire));
}

static void client_free_if_done(struct client *client)
{
    if (client->link.fd < 0 && client->groups == 0 && !client->listed) memory_free(client);
}

static void client_close(struct client *client)
{
    close(client->link.fd);
    client->link.fd = -1;
    client_free_if_done(client);
}

static void client_read(struct leader *leader, struct client *client)
{
    uint64_t space = RING_SIZE - (leader->end - leader_ring_start(leader));
    bool groups_full = leader->group_end - leader->group_first == GROUPS_MAX;
    uint8_t *at = ring_at(leader, leader->end);

    if (space < BLOCK_SIZE || groups_full) return; /* level-triggered: tried again */
    memcpy(at, client->partial, client->partial_size);
    ssize_t size = recv(client->link.fd, at + client->partial_size,
                        min_u64(space, 65536) - client->partial_size, MSG_DONTWAIT);
    if (size < 0 && (errno == EAGAIN || errno == EINTR)) return;
    if (size <= 0) {
        client_close(client);
        return;
    }
    size_t filled = client->partial_size + (size_t)size;
    uint32_t count = (uint32_t)(filled / REQUEST_SIZE);
    client->partial_size = filled % REQUEST_SIZE;
    memcpy(client->partial, at + count * REQUEST_SIZE, client->partial_size);
    if (count == 0) return;
    leader->end += count * (uint64_t)REQUEST_SIZE;
    leader->groups[leader->group_end++ % GROUPS_MAX] =
        (struct group){.client = client, .end = leader->end, .count = count};
    client->groups++;
}

static void client_send(struct leader *leader, struct client *client)
{
    while (client->link.fd >= 0 && client->due_bytes > 0) {
        /* A reply that was cut short goes on in its middle: the pattern repeats. */
        size_t skip = (REPLY_SIZE - client->due_bytes % REPLY_SIZE) % REPLY_SIZE;
        size_t want = min_u64(client->due_bytes, sizeof(leader->replies) - skip);
        ssize_t size =
            send(client->link.fd, leader->replies + skip, want, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (size < 0) {
            if (errno == EAGAIN) break;
            client_close(client);
            return;
        }
        client->due_bytes -= (uint64_t)size;
    }
    if (client->link.fd >= 0) link_want_write(leader, &client->link, client->due_bytes > 0);
}

static void leader_release(struct leader *leader)
{
    uint64_t local = atomic_load_explicit(&leader->synced, memory_order_acquire);
    uint64_t low = min_u64(leader->followers[0].durable, leader->followers[1].durable);
    uint64_t high = max_u64(leader->followers[0].durable, leader->followers[1].durable);
    uint64_t committed = max_u64(low, min_u64(high, local)); /* the middle one of the three */

    if (committed == leader->committed) return;
    leader->committed = committed;
    while (leader->group_first < leader->group_end) {
        struct group *group = &leader->groups[leader->group_first % GROUPS_MAX];
        struct client *client = group->client;

        if (group->end > committed) break;
        leader->group_first++;
        client->groups--;
        client->due_bytes += group->count * (uint64_t)REPLY_SIZE;
        if (client->listed) continue;
        ASSERT(leader->due_count < ARRAY_COUNT(leader->due));
        client->listed = true;
        leader->due[leader->due_count++] = client;
    }
    for (uint32_t i = 0; i < leader->due_count; i++) {
        struct client *client = leader->due[i];

        client->listed = false;
        if (client->link.fd >= 0)
            client_send(leader, client);
        else
            client_free_if_done(client);
    }
    leader->due_count = 0;
}

static void follower_send(struct leader *leader, struct follower *follower)
{
    while (follower->sent < leader->end) {
        ssize_t size = send(follower->link.fd, ring_at(leader, follower->sent),
                            leader->end - follower->sent, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (size < 0 && errno == EAGAIN) break;
        if (size < 0) fail("follower: %s", strerror(errno));
        follower->sent += (uint64_t)size;
    }
    link_want_write(leader, &follower->link, follower->sent < leader->end);
}

static void follower_read(struct follower *follower)
{
    uint8_t data[sizeof(uint64_t) * 64];

    memcpy(data, follower->partial, follower->partial_size);
    ssize_t size = recv(follower->link.fd, data + follower->partial_size,
                        sizeof(data) - follower->partial_size, MSG_DONTWAIT);
    if (size < 0 && errno == EAGAIN) return;
    if (size <= 0) fail("a follower closed its connection");
    size_t filled = follower->partial_size + (size_t)size;
    size_t whole = filled / sizeof(uint64_t) * sizeof(uint64_t);
    follower->partial_size = filled - whole;
    memcpy(follower->partial, data + whole, follower->partial_size);
    if (whole > 0) memcpy(&follower->durable, data + whole - sizeof(uint64_t), sizeof(uint64_t));
}

static void leader_accept(struct leader *leader)
{
    int fd = accept4(leader->listener.fd, NULL, NULL, SOCK_CLOEXEC);

    if (fd < 0) return;
    socket_no_delay(fd);
    struct client *client = memory_allocate_zero(sizeof(*client));
    client->link = (struct link){.kind = LINK_CLIENT, .fd = fd};
    link_watch(leader, &client->link, EPOLL_CTL_ADD);
}

static void leader_on_event(struct leader *leader, const struct epoll_event *event)
{
    struct link *link = event->data.ptr;
    uint64_t count;

    switch (link->kind) {
    case LINK_LISTENER:
        leader_accept(leader);
        break;
    case LINK_WAKE:
        if (read(link->fd, &count, sizeof(count)) < 0) fail("eventfd");
        break;
    case LINK_FOLLOWER:
        if (event->events & EPOLLIN) follower_read((struct follower *)link);
        break;
    case LINK_CLIENT:
        /* One of the two, since either may free the client; the other is reported again. */
        if (event->events & EPOLLOUT)
            client_send(leader, (struct client *)link);
        else
            client_read(leader, (struct client *)link);
        break;
    }
}

static void leader_run(struct leader *leader)
{
    struct epoll_event events[EVENTS_MAX];

    for (;;) {
        uint64_t end_before = leader->end;
        int count = epoll_wait(leader->epoll, events, EVENTS_MAX, -1);

        for (int i = 0; i < count; i++)
            leader_on_event(leader, &events[i]);
        for (size_t i = 0; i < FOLLOWERS; i++)
            if (leader->followers[i].sent < leader->end)
                follower_send(leader, &leader->followers[i]);
        if (leader->end != end_before) {
            uint64_t one = 1;
            atomic_store_explicit(&leader->published, leader->end, memory_order_release);
            if (write(leader->work_fd, &one, sizeof(one)) < 0) fail("eventfd");
        }
        leader_release(leader);
    }
}

/* "A:1,B:2" into the addresses of the two followers. */
static void leader_connect(struct leader *leader, char *addresses)
{
    char *comma = strchr(addresses, ',');

    if (!comma || strchr(comma + 1, ',')) fail("--followers: want two addresses");
    *comma = '\0';
    const char *each[FOLLOWERS] = {addresses, comma + 1};
    for (size_t i = 0; i < FOLLOWERS; i++) {
        struct follower *follower = &leader->followers[i];
        follower->link = (struct link){.kind = LINK_FOLLOWER, .fd = socket_connect(each[i], 20)};
        link_watch(leader, &follower->link, EPOLL_CTL_ADD);
    }
}

static void leader_start(const char *listen_on, char *followers, const struct log_file *file)
{
    struct leader *leader = memory_allocate_zero(sizeof(*leader));
    pthread_t thread;

    leader->file = *file;
    leader->ring = ring_map();
    leader->groups = memory_allocate(GROUPS_MAX * sizeof(*leader->groups));
    leader->epoll = epoll_create1(EPOLL_CLOEXEC);
    for (size_t i = 0; i < sizeof(leader->replies); i += REPLY_SIZE)
        memcpy(leader->replies + i, "+OK\r\n", REPLY_SIZE);
    leader->work_fd = eventfd(0, EFD_CLOEXEC);
    leader->wake = (struct link){.kind = LINK_WAKE, .fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)};
    link_watch(leader, &leader->wake, EPOLL_CTL_ADD);
    leader_connect(leader, followers);
    leader->listener = (struct link){.kind = LINK_LISTENER, .fd = socket_listen(listen_on)};
    link_watch(leader, &leader->listener, EPOLL_CTL_ADD);
    if (pthread_create(&thread, NULL, leader_sync, leader)) fail("no thread");
    leader_run(leader);
}

static _Noreturn void usage(void)
{
    fail("usage: bench-limit follower --listen HOST:PORT --file PATH [--direct]\n"
         "       bench-limit leader --listen HOST:PORT --file PATH [--direct]"
         " --followers HOST:PORT,HOST:PORT");
}

int main(int argc, char **argv)
{
    const char *listen_on = NULL, *path = NULL;
    char *followers = NULL;
    struct log_file file;
    bool direct = false;

    if (argc < 2) usage();
    bool leads = strcmp(argv[1], "leader") == 0;
    for (int i = 2; i < argc; i++) {
        bool has_value = i + 1 < argc;
        if (strcmp(argv[i], "--direct") == 0)
            direct = true;
        else if (has_value && strcmp(argv[i], "--listen") == 0)
            listen_on = argv[++i];
        else if (has_value && strcmp(argv[i], "--file") == 0)
            path = argv[++i];
        else if (has_value && strcmp(argv[i], "--followers") == 0)
            followers = argv[++i];
        else
            usage();
    }
    if ((!leads && strcmp(argv[1], "follower")) || !listen_on || !path || leads != !!followers)
        usage();
    log_file_open(&file, path, direct);
    if (leads)
        leader_start(listen_on, followers, &file);
    else
        follower_run(listen_on, &file);
    return 0;
}
