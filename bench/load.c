/* load.c - the one load generator: RESP servers, etcd and the limit (limit.c) are driven by
 * the same loop, so that their figures can be compared.
 *
 *   bench-load --target redis --to 127.0.0.1:7001,127.0.0.1:7002 -c 64 -P 1 --seconds 5
 *
 * One thread, epoll. Each of c connections sends a batch of P requests with one send(), waits
 * for all P replies, then sends the next; a reply's latency counts from the send of its batch.
 * Keys are "key:%012u" drawn from --keys; a request is a pattern with digits to patch.
 * Connections are dealt out to the addresses in turn. With --at-leader a connection draws only
 * keys of slots that its node leads, by CLUSTER MYID and CLUSTER SLOTS at the start.
 *
 * etcd is spoken to by gRPC over HTTP/2, in the few frames that a client needs (RFC 9113; the
 * header block is constant, RFC 7541 without dynamic table; messages PutRequest and
 * RangeRequest of etcd's rpc.proto). The headers of replies are not decoded: a reply has
 * succeeded if a DATA frame came, since gRPC sends a failed unary call without one.
 *
 * Prints one line of JSON. Ends with 1 if a connection breaks or no reply comes for 10 s. */
#include "base/assert.h"
#include "base/hash.h"
#include "base/histogram.h"
#include "base/random.h"
#include "bench/link.h"

#include <stddef.h>
#include <stdint.h>

enum {
    KEY_SIZE = 16,
    KEY_DIGITS = 12,
    LIMIT_REQUEST_SIZE = 64,
    LIMIT_REPLY_SIZE = 5,
};

enum { /* HTTP/2 frame types and flags, RFC 9113 section 6 */
       FRAME_HEADER_SIZE = 9,
       FRAME_DATA = 0,
       FRAME_HEADERS = 1,
       FRAME_RST_STREAM = 3,
       FRAME_SETTINGS = 4,
       FRAME_PING = 6,
       FRAME_GOAWAY = 7,
       FRAME_WINDOW_UPDATE = 8,
       FLAG_ACK = 1,
       FLAG_END_STREAM = 1,
       FLAG_END_HEADERS = 4,
       WINDOW_STEP = 1 << 29, /* how much we allow the server to send, and then again */
};

enum protocol { PROTOCOL_RESP, PROTOCOL_LIMIT, PROTOCOL_ETCD };

/* A request with places to patch. */
struct pattern {
    uint8_t *data;
    size_t size;
    size_t key_offset;        /* of the digits */
    size_t stream_offsets[2]; /* etcd: ids of the HEADERS and the DATA frame */
};

struct options {
    enum protocol protocol;
    const char *target_name;
    char *targets[TARGETS_MAX];
    uint32_t target_count;
    uint64_t clients, pipeline, requests, seconds, warmup, keys, value_size, get_percent, seed;
    uint64_t rate;          /* requests a second, of all connections; 0: as fast as they go */
    uint64_t wait_replicas; /* RESP: WAIT n 0 after each batch, which is what is measured */
    bool at_leader, fill, serializable;
};

/* The keys that one node leads. */
struct key_list {
    uint32_t *numbers;
    uint64_t count;
};

struct connection {
    struct link link;
    uint32_t target;
    uint64_t sent_ns;
    uint32_t replies_due; /* of the current batch */
    uint32_t stream_next; /* etcd */
    uint32_t streams_with_data;
    uint64_t window_used;
};

struct load {
    struct options options;
    struct pattern set, get, wait;
    struct key_list key_lists[TARGETS_MAX];
    struct connection *connections;
    int epoll;
    struct random random;
    struct histogram histogram;
    uint64_t batch_due_ns; /* the next one, with a rate */
    uint32_t batch_next;   /* the connection whose turn it is */
    uint64_t started, start_ns, measure_ns, end_ns, last_reply_ns;
    uint64_t operations, errors, misses; /* replies counted */
    uint64_t outstanding;
    char first_error[256];
};

/* ---- requests ---- */

static const char key_text[KEY_SIZE + 1] = "key:000000000000";

static void pattern_take(struct pattern *pattern, struct buffer *buffer)
{
    pattern->size = buffer_size(buffer);
    pattern->data = memory_allocate(pattern->size);
    memcpy(pattern->data, buffer_bytes(buffer).data, pattern->size);
    uint8_t *key = memmem(pattern->data, pattern->size, key_text, KEY_SIZE);
    pattern->key_offset = key ? (size_t)(key - pattern->data) + KEY_SIZE - KEY_DIGITS : 0;
    buffer_clear(buffer);
}

static void patterns_resp(struct load *load, struct buffer *buffer, const char *value)
{
    char replicas[24];
    int digits = snprintf(replicas, sizeof(replicas), "%llu",
                          (unsigned long long)load->options.wait_replicas);

    append(buffer, "*3\r\n", 4);
    append_resp(buffer, "SET", 3);
    append_resp(buffer, key_text, KEY_SIZE);
    append_resp(buffer, value, load->options.value_size);
    pattern_take(&load->set, buffer);
    append(buffer, "*2\r\n", 4);
    append_resp(buffer, "GET", 3);
    append_resp(buffer, key_text, KEY_SIZE);
    pattern_take(&load->get, buffer);
    append(buffer, "*3\r\n", 4);
    append_resp(buffer, "WAIT", 4);
    append_resp(buffer, replicas, (size_t)digits);
    append_resp(buffer, "0", 1);
    pattern_take(&load->wait, buffer);
}

static void append_frame(struct buffer *buffer, size_t size, uint8_t type, uint8_t flags,
                         uint32_t stream)
{
    const uint8_t header[FRAME_HEADER_SIZE] = {
        (uint8_t)(size >> 16),
        (uint8_t)(size >> 8),
        (uint8_t)size,
        type,
        flags,
        (uint8_t)(stream >> 24),
        (uint8_t)(stream >> 16),
        (uint8_t)(stream >> 8),
        (uint8_t)stream,
    };

    append(buffer, header, sizeof(header));
}

/* Literal header field without indexing; the name is the given prefix bytes. */
static void append_header(struct buffer *buffer, struct bytes name, const char *value)
{
    uint8_t size = (uint8_t)strlen(value);

    ASSERT(size < 127); /* one byte of length, no Huffman code */
    append(buffer, name.data, name.size);
    append(buffer, &size, 1);
    append(buffer, value, size);
}

static size_t varint_encode(uint8_t *out, uint64_t value)
{
    size_t size = 0;

    for (; value >= 128; value >>= 7)
        out[size++] = (uint8_t)(value | 128);
    out[size++] = (uint8_t)value;
    return size;
}

static void append_field(struct buffer *buffer, uint8_t tag, const char *value, size_t size)
{
    uint8_t head[11] = {tag};

    append(buffer, head, 1 + varint_encode(head + 1, size));
    append(buffer, value, size);
}

static void pattern_etcd(struct pattern *pattern, struct buffer *buffer, const char *authority,
                         const char *path, struct buffer *message)
{
    struct buffer block;
    size_t size = buffer_size(message);
    const uint8_t prefix[5] = {0, (uint8_t)(size >> 24), (uint8_t)(size >> 16),
                               (uint8_t)(size >> 8), (uint8_t)size};

    buffer_init(&block, 4096);
    append(&block, "\x83\x86", 2); /* :method POST, :scheme http */
    append_header(&block, bytes_make("\x04", 1), path);
    append_header(&block, bytes_make("\x01", 1), authority);
    append_header(&block, bytes_make("\x0f\x10", 2), "application/grpc"); /* content-type */
    append_header(&block, bytes_make("\x00\x02te", 4), "trailers");
    pattern->stream_offsets[0] = 5;
    pattern->stream_offsets[1] = FRAME_HEADER_SIZE + buffer_size(&block) + 5;
    append_frame(buffer, buffer_size(&block), FRAME_HEADERS, FLAG_END_HEADERS, 0);
    append(buffer, buffer_bytes(&block).data, buffer_size(&block));
    append_frame(buffer, sizeof(prefix) + size, FRAME_DATA, FLAG_END_STREAM, 0);
    append(buffer, prefix, sizeof(prefix));
    append(buffer, buffer_bytes(message).data, size);
    pattern_take(pattern, buffer);
    buffer_free(&block);
    buffer_clear(message);
}

static void patterns_etcd(struct load *load, struct buffer *buffer, const char *value)
{
    struct buffer message;
    const char *authority = load->options.targets[0];

    buffer_init(&message, VALUE_SIZE_MAX + 256);
    append_field(&message, 0x0a, key_text, KEY_SIZE);
    append_field(&message, 0x12, value, load->options.value_size);
    pattern_etcd(&load->set, buffer, authority, "/etcdserverpb.KV/Put", &message);
    append_field(&message, 0x0a, key_text, KEY_SIZE);
    if (load->options.serializable) append(&message, "\x38\x01", 2);
    pattern_etcd(&load->get, buffer, authority, "/etcdserverpb.KV/Range", &message);
    buffer_free(&message);
}

static void patterns_make(struct load *load)
{
    struct buffer buffer;
    char *value = memory_allocate(load->options.value_size + 1);

    for (uint64_t i = 0; i < load->options.value_size; i++)
        value[i] = (char)('a' + random_below(&load->random, 26));
    buffer_init(&buffer, VALUE_SIZE_MAX + 4096);
    switch (load->options.protocol) {
    case PROTOCOL_RESP:
        patterns_resp(load, &buffer, value);
        break;
    case PROTOCOL_LIMIT:
        append(&buffer, key_text, KEY_SIZE);
        for (size_t i = KEY_SIZE; i < LIMIT_REQUEST_SIZE; i++)
            append(&buffer, "v", 1);
        pattern_take(&load->set, &buffer);
        break;
    case PROTOCOL_ETCD:
        patterns_etcd(load, &buffer, value);
        break;
    }
    buffer_free(&buffer);
    memory_free(value);
}

/* ---- who leads what ---- */

/* Reads one line of a RESP reply, without its end, from a blocking socket. */
static void resp_read_line(int fd, char *line, size_t size_max)
{
    size_t size = 0;

    while (size < 2 || line[size - 1] != '\n') {
        if (size + 1 >= size_max || recv(fd, line + size, 1, 0) != 1)
            fail("CLUSTER: the connection broke or a line is too long");
        size++;
    }
    line[size - 2] = '\0';
    if (line[0] == '-') fail("CLUSTER: %s", line);
}

static int64_t resp_read_number(int fd)
{
    char line[64];
    int64_t value;

    resp_read_line(fd, line, sizeof(line));
    if (!parse_i64(bytes_of(line + 1), &value)) fail("CLUSTER: %s is no number", line);
    return value;
}

static void resp_read_bulk(int fd, char *text, size_t size_max)
{
    int64_t size = resp_read_number(fd);

    if (size < 0) size = -2; /* null: nothing follows, not even an end */
    if (size + 2 >= (int64_t)size_max) fail("CLUSTER: a string is too long");
    for (int64_t have = 0; have < size + 2;) {
        ssize_t part = recv(fd, text + have, (size_t)(size + 2 - have), 0);
        if (part <= 0) fail("CLUSTER: the connection broke");
        have += part;
    }
    text[size < 0 ? 0 : size] = '\0';
}

static void resp_command(int fd, const char *command)
{
    if (send(fd, command, strlen(command), MSG_NOSIGNAL) < 0) fail("send: %s", strerror(errno));
}

/* One node of CLUSTER SLOTS: its id; further elements than address, port and id are skipped. */
static void resp_read_node(int fd, char *id, size_t id_size)
{
    int64_t fields = resp_read_number(fd);
    char skipped[256];

    if (fields < 3) fail("CLUSTER SLOTS: a node of %lld fields", (long long)fields);
    resp_read_bulk(fd, skipped, sizeof(skipped));
    resp_read_number(fd);
    resp_read_bulk(fd, id, id_size);
    for (int64_t i = 3; i < fields; i++) {
        int64_t count = resp_read_number(fd); /* an array of strings */
        for (int64_t j = 0; j < count; j++)
            resp_read_bulk(fd, skipped, sizeof(skipped));
    }
}

/* leaders[slot] = index of the target that leads it, or TARGETS_MAX. */
static void learn_leaders(const struct options *options, uint8_t *leaders)
{
    char ids[TARGETS_MAX][64], id[64], other[64];
    int fd = -1;

    memset(leaders, TARGETS_MAX, SLOT_COUNT);
    for (uint32_t i = 0; i < options->target_count; i++) {
        if (fd >= 0) close(fd);
        fd = socket_connect(options->targets[i], 5);
        resp_command(fd, "*2\r\n$7\r\nCLUSTER\r\n$4\r\nMYID\r\n");
        resp_read_bulk(fd, ids[i], sizeof(ids[i]));
    }
    resp_command(fd, "*2\r\n$7\r\nCLUSTER\r\n$5\r\nSLOTS\r\n");
    for (int64_t ranges = resp_read_number(fd); ranges > 0; ranges--) {
        int64_t fields = resp_read_number(fd);
        int64_t first = resp_read_number(fd), last = resp_read_number(fd);

        if (fields < 3 || first < 0 || last >= SLOT_COUNT) fail("CLUSTER SLOTS: a bad range");
        resp_read_node(fd, id, sizeof(id));
        for (int64_t i = 3; i < fields; i++)
            resp_read_node(fd, other, sizeof(other));
        for (uint32_t i = 0; i < options->target_count; i++)
            if (strcmp(id, ids[i]) == 0)
                memset(leaders + first, (int)i, (size_t)(last - first + 1));
    }
    close(fd);
}

static void key_lists_make(struct load *load)
{
    uint8_t *leaders = memory_allocate(SLOT_COUNT);
    char key[KEY_SIZE + 1];

    learn_leaders(&load->options, leaders);
    for (uint32_t i = 0; i < load->options.target_count; i++)
        load->key_lists[i].numbers = memory_allocate(load->options.keys * sizeof(uint32_t));
    for (uint32_t number = 0; number < load->options.keys; number++) {
        snprintf(key, sizeof(key), "key:%012u", number);
        uint8_t leader = leaders[key_slot(bytes_make(key, KEY_SIZE))];
        if (leader >= load->options.target_count) continue;
        struct key_list *list = &load->key_lists[leader];
        list->numbers[list->count++] = number;
    }
    for (uint32_t i = 0; i < load->options.target_count; i++)
        if (load->key_lists[i].count == 0)
            fprintf(stderr, "%s leads no key and gets no connection\n", load->options.targets[i]);
    memory_free(leaders);
}

/* ---- sending ---- */

static uint64_t key_draw(struct load *load, const struct connection *connection)
{
    const struct key_list *list = &load->key_lists[connection->target];

    if (load->options.fill) return load->started;
    if (load->options.at_leader) return list->numbers[random_below(&load->random, list->count)];
    return random_below(&load->random, load->options.keys);
}

static void u32_put_big_endian(uint8_t *at, uint32_t value)
{
    at[0] = (uint8_t)(value >> 24);
    at[1] = (uint8_t)(value >> 16);
    at[2] = (uint8_t)(value >> 8);
    at[3] = (uint8_t)value;
}

static void request_make(struct load *load, struct connection *connection)
{
    bool reads = load->options.get_percent > 0 &&
                 random_below(&load->random, 100) < load->options.get_percent;
    const struct pattern *pattern = reads ? &load->get : &load->set;
    uint64_t key = key_draw(load, connection);
    uint8_t *at = link_append(&connection->link, pattern->data, pattern->size);

    for (size_t i = KEY_DIGITS; i > 0 && key > 0; key /= 10)
        at[pattern->key_offset + --i] = (uint8_t)('0' + key % 10);
    if (load->options.protocol == PROTOCOL_ETCD) {
        u32_put_big_endian(at + pattern->stream_offsets[0], connection->stream_next);
        u32_put_big_endian(at + pattern->stream_offsets[1], connection->stream_next);
        connection->stream_next += 2;
    }
    load->started++;
}

/* Sends the next batch, or nothing if the run is over. */
static void batch_send(struct load *load, struct connection *connection, uint64_t now)
{
    const struct options *options = &load->options;
    uint64_t count = options->pipeline;

    if (options->seconds && now >= load->end_ns) return;
    if (options->requests && count > options->requests - load->started)
        count = options->requests - load->started;
    if (count == 0) return;
    for (uint64_t i = 0; i < count; i++)
        request_make(load, connection);
    connection->replies_due = (uint32_t)count;
    if (options->wait_replicas) {
        link_append(&connection->link, load->wait.data, load->wait.size);
        connection->replies_due++;
    }
    load->outstanding += connection->replies_due;
    connection->sent_ns = now;
    link_flush(&connection->link, load->epoll);
}

/* ---- replies ---- */

static void operations_done(struct load *load, const struct connection *connection, uint64_t now,
                            uint64_t count)
{
    if (now < load->measure_ns) return;
    for (uint64_t i = 0; i < count; i++)
        histogram_record(&load->histogram, (now - connection->sent_ns + 500) / 1000);
    load->operations += count;
}

static void error_count(struct load *load, struct bytes text)
{
    if (load->errors++ == 0)
        snprintf(load->first_error, sizeof(load->first_error), "%.*s",
                 (int)(text.size < 200 ? text.size : 200), (const char *)text.data);
}

static void reply_done(struct load *load, struct connection *connection, uint64_t now)
{
    if (connection->replies_due == 0) fail("a reply too many");
    connection->replies_due--;
    load->outstanding--;
    if (!load->options.wait_replicas)
        operations_done(load, connection, now, 1);
    else if (connection->replies_due == 0)
        operations_done(load, connection, now, load->options.pipeline);
}

/* Size of the first reply, 0 if it is not whole. Only the flat types that SET, GET and WAIT
 * answer with. */
static size_t resp_take(struct load *load, struct bytes bytes)
{
    const uint8_t *end = memchr(bytes.data, '\n', bytes.size);
    int64_t body;

    if (!end) return 0;
    size_t line = (size_t)(end - bytes.data) + 1;
    switch (bytes.data[0]) {
    case '+':
        return line;
    case ':':
        if (line == 4 && bytes.data[1] == '0') error_count(load, bytes_of("WAIT reached none"));
        return line;
    case '_':
        load->misses++;
        return line;
    case '-':
        error_count(load, bytes_make(bytes.data, line - 2));
        return line;
    case '$':
        if (line < 4 || !parse_i64(bytes_make(bytes.data + 1, line - 3), &body))
            fail("a reply of a bad length");
        if (body < 0) {
            load->misses++;
            return line;
        }
        return bytes.size >= line + (size_t)body + 2 ? line + (size_t)body + 2 : 0;
    default:
        fail("a reply begins with byte %u", bytes.data[0]);
    }
}

/* One HTTP/2 frame; 0 if it is not whole. Sets *ret_done if it ends a request. */
static size_t frame_take(struct load *load, struct connection *connection, struct bytes bytes,
                         bool *ret_done)
{
    const uint8_t *at = bytes.data;

    if (bytes.size < FRAME_HEADER_SIZE) return 0;
    size_t body = (size_t)at[0] << 16 | (size_t)at[1] << 8 | at[2];
    uint8_t type = at[3], flags = at[4];
    if (bytes.size < FRAME_HEADER_SIZE + body) return 0;
    switch (type) {
    case FRAME_DATA:
        connection->window_used += body;
        if (body > 0) connection->streams_with_data++;
        /* fall through */
    case FRAME_HEADERS:
        *ret_done = flags & FLAG_END_STREAM;
        break;
    case FRAME_RST_STREAM:
        *ret_done = true;
        break;
    case FRAME_SETTINGS:
        if (!(flags & FLAG_ACK))
            append_frame(&connection->link.out, 0, FRAME_SETTINGS, FLAG_ACK, 0);
        break;
    case FRAME_PING:
        if (flags & FLAG_ACK) break;
        append_frame(&connection->link.out, body, FRAME_PING, FLAG_ACK, 0);
        append(&connection->link.out, at + FRAME_HEADER_SIZE, body);
        break;
    case FRAME_GOAWAY:
        fail("the server sent GOAWAY");
    default:
        break;
    }
    if (*ret_done && connection->streams_with_data == 0)
        error_count(load, bytes_of("a gRPC call failed"));
    else if (*ret_done)
        connection->streams_with_data--;
    return FRAME_HEADER_SIZE + body;
}

static void window_open(struct connection *connection)
{
    uint8_t step[4];

    u32_put_big_endian(step, WINDOW_STEP);
    append_frame(&connection->link.out, sizeof(step), FRAME_WINDOW_UPDATE, 0, 0);
    append(&connection->link.out, step, sizeof(step));
}

static void connection_parse(struct load *load, struct connection *connection, uint64_t now)
{
    while (buffer_size(&connection->link.in) > 0) {
        struct bytes bytes = buffer_bytes(&connection->link.in);
        bool done = true;
        size_t size = 0;

        if (load->options.protocol == PROTOCOL_RESP) {
            size = resp_take(load, bytes);
        } else if (load->options.protocol == PROTOCOL_LIMIT) {
            size = bytes.size < LIMIT_REPLY_SIZE ? 0 : LIMIT_REPLY_SIZE;
        } else {
            done = false;
            size = frame_take(load, connection, bytes, &done);
        }
        if (size == 0) break;
        buffer_consume(&connection->link.in, size);
        if (done) reply_done(load, connection, now);
    }
    if (connection->window_used > WINDOW_STEP / 2) {
        connection->window_used = 0;
        window_open(connection);
    }
}

static void connection_read(struct load *load, struct connection *connection)
{
    if (!link_receive(&connection->link, load->options.targets[connection->target])) return;
    uint64_t now = now_ns();
    load->last_reply_ns = now;
    connection_parse(load, connection, now);
    if (connection->replies_due == 0 && load->options.rate == 0) batch_send(load, connection, now);
    if (buffer_size(&connection->link.out) > 0) link_flush(&connection->link, load->epoll);
}

/* ---- the run ---- */

static void connection_open(struct load *load, struct connection *connection, uint32_t target)
{
    connection->target = target;
    link_open(&connection->link, load->epoll, load->options.targets[target], connection);
    connection->stream_next = 1;
    if (load->options.protocol != PROTOCOL_ETCD) return;
    append(&connection->link.out, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 24);
    append_frame(&connection->link.out, 0, FRAME_SETTINGS, 0, 0);
    window_open(connection);
}

/* Addresses in turn; at the leader, only those of nodes that lead something. */
static uint32_t target_after(const struct load *load, uint32_t target)
{
    for (uint32_t i = 0; i < load->options.target_count; i++) {
        target = (target + 1) % load->options.target_count;
        if (!load->options.at_leader || load->key_lists[target].count > 0) return target;
    }
    fail("nobody leads a key");
}

/* With a rate: the batches that are due, each on the next connection that waits for nothing. Where
 * none does, they are late, and their latency counts from when they were due. */
static void batches_send(struct load *load, uint64_t now)
{
    const struct options *options = &load->options;
    uint64_t interval = options->pipeline * 1000000000u / options->rate;

    while (load->batch_due_ns <= now && load->batch_due_ns < load->end_ns) {
        struct connection *connection = NULL;
        for (uint32_t i = 0; i < options->clients && connection == NULL; i++) {
            connection = &load->connections[load->batch_next++ % options->clients];
            if (connection->replies_due > 0) connection = NULL;
        }
        if (connection == NULL) return;
        batch_send(load, connection, load->batch_due_ns);
        load->batch_due_ns += interval;
    }
}

static int load_wait(struct load *load, struct epoll_event *events)
{
    uint64_t now = now_ns(), due = load->batch_due_ns;

    if (load->options.rate == 0 || due >= load->end_ns)
        return epoll_wait(load->epoll, events, EVENTS_MAX, STALL_MS);
    batches_send(load, now);
    /* One that is due still has no connection: a reply comes first. */
    uint64_t ns =
        load->batch_due_ns > now ? load->batch_due_ns - now : STALL_MS * UINT64_C(1000000);
    struct timespec patience = {.tv_sec = (time_t)(ns / 1000000000u),
                                .tv_nsec = (long)(ns % 1000000000u)};
    int count = epoll_pwait2(load->epoll, events, EVENTS_MAX, &patience, NULL);
    return count == 0 && load->outstanding == 0 ? -1 : count;
}

static void load_run(struct load *load)
{
    const struct options *options = &load->options;
    struct epoll_event events[EVENTS_MAX];
    uint32_t target = options->target_count - 1;

    load->epoll = epoll_create1(EPOLL_CLOEXEC);
    load->connections = memory_allocate_zero(options->clients * sizeof(*load->connections));
    for (uint32_t i = 0; i < options->clients; i++) {
        target = target_after(load, target);
        connection_open(load, &load->connections[i], target);
    }
    load->start_ns = now_ns();
    load->measure_ns = load->start_ns + options->warmup * 1000000000u;
    load->end_ns = load->measure_ns + options->seconds * 1000000000u;
    load->last_reply_ns = load->start_ns;
    load->batch_due_ns = load->start_ns;
    for (uint32_t i = 0; i < options->clients && options->rate == 0; i++)
        batch_send(load, &load->connections[i], now_ns());
    while (load->outstanding > 0 || (options->rate > 0 && load->batch_due_ns < load->end_ns)) {
        int count = load_wait(load, events);

        if (count == 0 && now_ns() - load->last_reply_ns > STALL_MS * UINT64_C(1000000))
            fail("no reply for %u ms; %llu requests are outstanding", STALL_MS,
                 (unsigned long long)load->outstanding);
        for (int i = 0; i < count; i++) {
            struct connection *connection = events[i].data.ptr;
            if (events[i].events & EPOLLOUT) link_flush(&connection->link, load->epoll);
            if (events[i].events & ~(uint32_t)EPOLLOUT) connection_read(load, connection);
        }
    }
}

static void load_print(const struct load *load)
{
    const struct options *options = &load->options;
    const struct histogram *histogram = &load->histogram;
    double seconds = (double)(load->last_reply_ns - load->measure_ns) / 1e9;

    printf("{\"target\": \"%s\", \"clients\": %llu, \"pipeline\": %llu, \"get_percent\": %llu, "
           "\"seconds\": %.3f, \"ops\": %llu, \"ops_per_s\": %.0f, \"p50_us\": %llu, "
           "\"p99_us\": %llu, \"p999_us\": %llu, \"max_us\": %llu, \"errors\": %llu, "
           "\"misses\": %llu}\n",
           options->target_name, (unsigned long long)options->clients,
           (unsigned long long)options->pipeline, (unsigned long long)options->get_percent, seconds,
           (unsigned long long)load->operations,
           seconds > 0 ? (double)load->operations / seconds : 0,
           (unsigned long long)histogram_percentile(histogram, 50),
           (unsigned long long)histogram_percentile(histogram, 99),
           (unsigned long long)histogram_percentile(histogram, 99.9),
           (unsigned long long)histogram->max, (unsigned long long)load->errors,
           (unsigned long long)load->misses);
    if (load->errors) fprintf(stderr, "first error: %s\n", load->first_error);
}

static _Noreturn void usage(void)
{
    fail("usage: bench-load --target redis|limit|etcd --to HOST:PORT[,HOST:PORT...]\n"
         "  -c N             connections (50)\n"
         "  -P N             requests in a batch (1)\n"
         "  -n N             requests in all; or\n"
         "  --seconds N      how long, after --warmup N seconds (0) that do not count\n"
         "  --keys N         different keys (1000000)\n"
         "  --size N         bytes of a value (64)\n"
         "  --get-percent N  GETs among the requests (0)\n"
         "  --fill           write each key once, in order; -n is --keys\n"
         "  --at-leader      redis: each connection draws keys that its node leads\n"
         "  --rate N         requests a second, of all connections (as many as they can)\n"
         "  --wait N         redis: WAIT N 0 after each batch, and measure until its reply\n"
         "  --serializable   etcd: reads that any node answers by itself\n"
         "  --seed N         of the keys drawn (1)");
}

static uint64_t *option_number(struct options *options, const char *name)
{
    const struct {
        const char *name;
        uint64_t *value;
    } numbers[] = {
        {"-c", &options->clients},           {"-P", &options->pipeline},
        {"-n", &options->requests},          {"--seconds", &options->seconds},
        {"--warmup", &options->warmup},      {"--keys", &options->keys},
        {"--size", &options->value_size},    {"--get-percent", &options->get_percent},
        {"--wait", &options->wait_replicas}, {"--seed", &options->seed},
        {"--rate", &options->rate},
    };

    for (size_t i = 0; i < ARRAY_COUNT(numbers); i++)
        if (strcmp(name, numbers[i].name) == 0) return numbers[i].value;
    return NULL;
}

static void options_check(const struct options *options)
{
    bool etcd = options->protocol == PROTOCOL_ETCD, resp = options->protocol == PROTOCOL_RESP;

    if (options->target_count == 0) fail("--to is missing");
    if (options->clients < 1 || options->clients > CLIENTS_MAX) fail("-c: 1 to %u", CLIENTS_MAX);
    if (options->pipeline < 1 || options->pipeline > PIPELINE_MAX)
        fail("-P: 1 to %u", PIPELINE_MAX);
    if (options->value_size > VALUE_SIZE_MAX) fail("--size: at most %u", VALUE_SIZE_MAX);
    if (options->keys < 1 || options->keys > UINT32_MAX) fail("--keys: 1 to %u", UINT32_MAX);
    if (options->get_percent > 100) fail("--get-percent: at most 100");
    if (!options->seconds == !options->requests) fail("give either -n (or --fill) or --seconds");
    if ((options->at_leader || options->wait_replicas) && !resp)
        fail("--at-leader and --wait are for --target redis");
    if (options->rate > 0 && (!options->seconds || options->rate > 1000000))
        fail("--rate: at most 1000000, and with --seconds");
    if (options->at_leader && options->fill) fail("--fill goes without --at-leader");
    if (options->wait_replicas && options->requests % options->pipeline)
        fail("-n must be whole batches with --wait");
    if (options->protocol == PROTOCOL_LIMIT && options->get_percent) fail("the limit cannot read");
    /* What is not yet granted again of the server's 65535-byte window stays well below it. */
    if (etcd && options->pipeline * (options->value_size + 64) > 32768)
        fail("etcd: a batch must be below 32 KiB");
}

static void options_parse(struct options *options, int argc, char **argv)
{
    *options = (struct options){
        .clients = 50, .pipeline = 1, .keys = 1000000, .value_size = 64, .seed = 1};
    for (int i = 1; i < argc; i++) {
        const char *name = argv[i], *value = i + 1 < argc ? argv[i + 1] : NULL;
        uint64_t *number = option_number(options, name);

        if (strcmp(name, "--at-leader") == 0) {
            options->at_leader = true;
        } else if (strcmp(name, "--fill") == 0) {
            options->fill = true;
        } else if (strcmp(name, "--serializable") == 0) {
            options->serializable = true;
        } else if (!value) {
            usage();
        } else if (number) {
            if (!parse_u64(bytes_of(value), number)) fail("%s: want a number", name);
            i++;
        } else if (strcmp(name, "--to") == 0) {
            options->target_count = targets_parse(options->targets, value);
            i++;
        } else if (strcmp(name, "--target") == 0) {
            options->target_name = value;
            i++;
        } else {
            usage();
        }
    }
    if (!options->target_name) usage();
    if (strcmp(options->target_name, "redis") == 0)
        options->protocol = PROTOCOL_RESP;
    else if (strcmp(options->target_name, "limit") == 0)
        options->protocol = PROTOCOL_LIMIT;
    else if (strcmp(options->target_name, "etcd") == 0)
        options->protocol = PROTOCOL_ETCD;
    else
        usage();
    if (options->fill) options->requests = options->keys;
    options_check(options);
}

int main(int argc, char **argv)
{
    struct load *load = memory_allocate_zero(sizeof(*load));

    options_parse(&load->options, argc, argv);
    random_seed(&load->random, load->options.seed);
    histogram_init(&load->histogram);
    patterns_make(load);
    if (load->options.at_leader) key_lists_make(load);
    load_run(load);
    load_print(load);
    return 0;
}
