/* The same random commands to a real redis-server and to redis_evaluate(): the replies must be
 * equal, bytes and errors. Skipped where redis-server is not installed.
 *
 * REDIS_DIFFERENTIAL_SEED and REDIS_DIFFERENTIAL_COUNT choose another run. Times that count
 * from now are compared within two seconds, since the two clocks are read at different times. */
#include "redis_harness.h"

#include <signal.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/random.h"

enum { COMMANDS_DEFAULT = 40000, ARGUMENTS_MAX = 12, NEAR_MS = 2000 };

struct peer {
    char directory[64];
    pid_t process;
    int socket, log;
    struct buffer input;
};

static bool peer_connect(struct peer *peer)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};

    snprintf(address.sun_path, sizeof(address.sun_path), "%s/s", peer->directory);
    peer->socket = socket(AF_UNIX, SOCK_STREAM, 0);
    if (connect(peer->socket, (struct sockaddr *)&address, sizeof(address)) == 0) return true;
    close(peer->socket);
    return false;
}

/* Reads the server's log until it says that it listens at the socket. */
static void peer_await(int log)
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

static bool peer_start(struct peer *peer)
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

static void peer_stop(struct peer *peer)
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

static struct bytes peer_run(struct peer *peer, const struct bytes *arguments, uint32_t count)
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

/* --- random commands ----------------------------------------------------------------------- */

static const char *const keys[] = {"a", "b", "c", "d", "{t}1", "{t}2", "", "key with space"};
static const char *const values[] = {"",
                                     "0",
                                     "1",
                                     "-1",
                                     "10",
                                     "007",
                                     "9223372036854775807",
                                     "-9223372036854775808",
                                     "3.25",
                                     "1e3",
                                     "hello",
                                     "abc",
                                     "inf",
                                     "nan",
                                     " 1",
                                     "1 ",
                                     "9223372036854775808",
                                     "-0",
                                     "0x10",
                                     "5000",
                                     "x\r\ny",
                                     "1.5e308",
                                     "0.1",
                                     "1000000000000000000000",
                                     "a value that is longer than any number",
                                     "and another one: abcdefghijklmnopqrstuvwxyz"};
static const char *const integers[] = {
    "0",   "1",   "-1",   "5", "-3", "100", "9223372036854775807", "-9223372036854775808",
    "abc", "1.5", "-100", "2"};
static const char *const fields[] = {"f1", "f2", "f3", "f4", "", "n"};
static const char *const future_ms[] = {
    "99999999999999", "88888888888888", "1", "-5", "0", "9223372036854775807", "x",
    "77777777777777"};
static const char *const future_s[] = {"99999999999", "88888888888",         "1", "-5",
                                       "0",           "9223372036854775807", "x", "77777777777"};
/* None ends while the test runs: the real server looks at its own clock, a little later than we do.
 * What does end is let_expire()'s. */
static const char *const from_now[] = {"100000000", "10000000",           "-1", "0", "99999999999",
                                       "x",         "9223372036854775807"};
static const char *const conditions[] = {"NX", "XX", "GT", "LT", "xx", "gt", "bad"};
static const char *const patterns[] = {"*", "f?", "f[12]", "[^f]*", "f\\1", "nothing", "*1", "["};

struct command_maker {
    struct random random;
    struct bytes arguments[ARGUMENTS_MAX];
    uint32_t count;
};

#define PICK(maker, list) push(maker, (list)[random_below(&(maker)->random, ARRAY_COUNT(list))])

static void push(struct command_maker *maker, const char *word)
{
    assert_true(maker->count < ARGUMENTS_MAX);
    maker->arguments[maker->count++] = bytes_of(word);
}

static bool sometimes(struct command_maker *maker, uint32_t of)
{
    return random_chance(&maker->random, 1, of);
}

static void push_time(struct command_maker *maker)
{
    switch (random_below(&maker->random, 4)) {
    case 0:
        push(maker, "EX");
        PICK(maker, from_now);
        break;
    case 1:
        push(maker, "px");
        PICK(maker, from_now);
        break;
    case 2:
        push(maker, "EXAT");
        PICK(maker, future_s);
        break;
    default:
        push(maker, "PXAT");
        PICK(maker, future_ms);
        break;
    }
}

static void make_set(struct command_maker *maker)
{
    static const char *const options[] = {"NX", "XX",  "GET", "KEEPTTL", "nx",
                                          "xx", "get", "bad", "EX"};
    push(maker, "SET");
    PICK(maker, keys);
    PICK(maker, values);
    for (uint64_t i = random_below(&maker->random, 3); i; i--) {
        if (sometimes(maker, 3))
            push_time(maker);
        else
            PICK(maker, options);
    }
}

static void make_getex(struct command_maker *maker)
{
    push(maker, "GETEX");
    PICK(maker, keys);
    if (sometimes(maker, 3)) push(maker, "PERSIST");
    if (sometimes(maker, 2)) push_time(maker);
    if (sometimes(maker, 20)) push(maker, "bad");
}

static void make_expire(struct command_maker *maker)
{
    static const char *const names[] = {"EXPIRE", "PEXPIRE", "EXPIREAT", "PEXPIREAT"};
    uint64_t which = random_below(&maker->random, 4);

    push(maker, names[which]);
    PICK(maker, keys);
    if (which < 2)
        PICK(maker, from_now);
    else if (which == 2)
        PICK(maker, future_s);
    else
        PICK(maker, future_ms);
    /* GT and LT between two times from now would depend on the clocks' milliseconds. */
    for (uint64_t i = random_below(&maker->random, 3); i; i--) {
        if (which < 2)
            push(maker, sometimes(maker, 2) ? "NX" : "xx");
        else
            PICK(maker, conditions);
    }
}

static void make_one_key(struct command_maker *maker)
{
    static const char *const names[] = {
        "GET",  "GET",     "GETDEL", "STRLEN", "INCR",  "DECR",    "TYPE",       "TTL",
        "PTTL", "PERSIST", "HLEN",   "HKEYS",  "HVALS", "HGETALL", "EXPIRETIME", "PEXPIRETIME"};
    PICK(maker, names);
    PICK(maker, keys);
}

static void make_many_keys(struct command_maker *maker)
{
    static const char *const names[] = {"DEL", "UNLINK", "EXISTS", "TOUCH", "MGET"};
    PICK(maker, names);
    for (uint64_t i = 1 + random_below(&maker->random, 3); i; i--)
        PICK(maker, keys);
}

static void make_pairs(struct command_maker *maker)
{
    static const char *const names[] = {"MSET", "MSETNX"};
    PICK(maker, names);
    for (uint64_t i = 1 + random_below(&maker->random, 3); i; i--) {
        PICK(maker, keys);
        PICK(maker, values);
    }
    if (maker->count > 3 && sometimes(maker, 10)) maker->count--;
}

static void make_string(struct command_maker *maker)
{
    static const char *const with_value[] = {"SETNX", "GETSET", "APPEND", "INCRBYFLOAT"};
    static const char *const with_integer[] = {"INCRBY", "DECRBY"};

    switch (random_below(&maker->random, 6)) {
    case 0:
        PICK(maker, with_integer);
        PICK(maker, keys);
        PICK(maker, integers);
        break;
    case 1:
        push(maker, "GETRANGE");
        PICK(maker, keys);
        PICK(maker, integers);
        PICK(maker, integers);
        break;
    case 2:
        push(maker, "SETRANGE");
        PICK(maker, keys);
        push(maker, sometimes(maker, 2) ? "3" : sometimes(maker, 2) ? "-1" : "0");
        PICK(maker, values);
        break;
    case 3:
        push(maker, sometimes(maker, 2) ? "SETEX" : "PSETEX");
        PICK(maker, keys);
        PICK(maker, from_now);
        PICK(maker, values);
        break;
    default:
        PICK(maker, with_value);
        PICK(maker, keys);
        PICK(maker, values);
        break;
    }
}

static void make_hash(struct command_maker *maker)
{
    static const char *const one_field[] = {"HGET", "HEXISTS", "HSTRLEN", "HDEL", "HMGET"};
    static const char *const field_value[] = {"HSETNX", "HINCRBY", "HINCRBYFLOAT", "HSET"};

    switch (random_below(&maker->random, 5)) {
    case 0:
        push(maker, sometimes(maker, 3) ? "HMSET" : "HSET");
        PICK(maker, keys);
        for (uint64_t i = 1 + random_below(&maker->random, 3); i; i--) {
            PICK(maker, fields);
            PICK(maker, values);
        }
        if (maker->count > 4 && sometimes(maker, 10)) maker->count--;
        break;
    case 1:
        push(maker, sometimes(maker, 2) ? "HMGET" : "HDEL");
        PICK(maker, keys);
        PICK(maker, fields);
        PICK(maker, fields);
        break;
    case 2:
        push(maker, "HSCAN");
        PICK(maker, keys);
        push(maker, sometimes(maker, 10) ? "x" : "0");
        if (sometimes(maker, 2)) {
            push(maker, "MATCH");
            PICK(maker, patterns);
        }
        if (sometimes(maker, 3)) {
            push(maker, "COUNT");
            PICK(maker, integers);
        }
        break;
    case 3:
        PICK(maker, one_field);
        PICK(maker, keys);
        PICK(maker, fields);
        break;
    default:
        PICK(maker, field_value);
        PICK(maker, keys);
        PICK(maker, fields);
        if (sometimes(maker, 2))
            PICK(maker, values);
        else
            PICK(maker, integers);
        break;
    }
}

static void make_command(struct command_maker *maker)
{
    maker->count = 0;
    switch (random_below(&maker->random, 10)) {
    case 0:
    case 1:
        make_set(maker);
        break;
    case 2:
        make_getex(maker);
        break;
    case 3:
        make_expire(maker);
        break;
    case 4:
        make_many_keys(maker);
        break;
    case 5:
        make_pairs(maker);
        break;
    case 6:
        make_string(maker);
        break;
    case 7:
    case 8:
        make_hash(maker);
        break;
    default:
        make_one_key(maker);
        break;
    }
    if (sometimes(maker, 500)) {
        maker->count = 0;
        push(maker, sometimes(maker, 2) ? "FLUSHDB" : "FLUSHALL");
    }
}

/* --- comparing ------------------------------------------------------------------------------- */

static bool about_time(const struct command_maker *maker)
{
    const char *const names[] = {"TTL", "PTTL", "EXPIRETIME", "PEXPIRETIME"};
    for (size_t i = 0; i < ARRAY_COUNT(names); i++) {
        if (bytes_equal(maker->arguments[0], bytes_of(names[i]))) return true;
    }
    return false;
}

static bool is_near(struct bytes a, struct bytes b)
{
    int64_t x, y;
    if (!resp_read_integer(&a, &x) || !resp_read_integer(&b, &y)) return false;
    return x > 0 && y > 0 && llabs(x - y) <= NEAR_MS;
}

static void show(const char *what, struct bytes bytes)
{
    print_error("%s ", what);
    for (size_t i = 0; i < bytes.size && i < 600; i++) {
        uint8_t c = bytes.data[i];
        if (c >= ' ' && c <= '~')
            print_error("%c", c);
        else
            print_error("\\x%02x", c);
    }
    print_error("\n");
}

enum { ELEMENTS_MAX = 256 };

static int compare_texts(const void *a, const void *b)
{
    return bytes_compare(*(const struct bytes *)a, *(const struct bytes *)b);
}

static uint32_t elements_of(struct bytes reply, struct bytes *ret_elements)
{
    uint64_t count = 0;

    if (!resp_read_array(&reply, &count) || count > ELEMENTS_MAX) return 0;
    for (uint64_t i = 0; i < count; i++)
        assert_true(resp_read_bulk(&reply, &ret_elements[i]));
    qsort(ret_elements, count, sizeof(ret_elements[0]), compare_texts);
    return (uint32_t)count;
}

/* A hash with a row per field has them in another order. */
static bool same_elements(struct bytes a, struct bytes b)
{
    struct bytes x[ELEMENTS_MAX], y[ELEMENTS_MAX];
    uint32_t count = elements_of(a, x);

    if (count == 0 || count != elements_of(b, y)) return false;
    for (uint32_t i = 0; i < count; i++)
        if (!bytes_equal(x[i], y[i])) return false;
    return true;
}

static bool is_named(const struct command_maker *maker, const char *name)
{
    return bytes_equal(maker->arguments[0], bytes_of(name));
}

static bool any_order(const struct command_maker *maker)
{
    return is_named(maker, "HGETALL") || is_named(maker, "HKEYS") || is_named(maker, "HVALS");
}

static void set_time(struct redis_harness *harness)
{
    struct timespec now;

    clock_gettime(CLOCK_REALTIME, &now);
    harness->time = (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

/* A key that expires on both sides before the next command: the real server's clock, read a little
 * later, says when that is. */
static void let_expire(struct peer *peer, struct redis_harness *harness,
                       struct command_maker *maker)
{
    struct bytes question[2] = {bytes_of("EXISTS"), {0}};

    maker->count = 0;
    push(maker, "PEXPIRE");
    PICK(maker, keys);
    push(maker, "20");
    question[1] = maker->arguments[1];
    set_time(harness);
    peer_run(peer, maker->arguments, maker->count);
    redis_harness_run(harness, maker->arguments, maker->count);
    /* Counted: the clock of a virtual machine that was stopped for a while jumps. */
    for (int left = 2000000; !bytes_equal(peer_run(peer, question, 2), bytes_of(":0\r\n")); left--)
        assert_true(left > 0);
    set_time(harness);
}

static bool agree(const struct command_maker *maker, struct bytes expected, struct bytes got,
                  bool small)
{
    if (bytes_equal(expected, got)) return true;
    if (about_time(maker) && is_near(expected, got)) return true;
    /* A cursor is our own, and what a page holds is up to it. */
    bool page = is_named(maker, "HSCAN") && !resp_is_error(expected) && !resp_is_error(got);
    return small && (page || (any_order(maker) && same_elements(expected, got)));
}

/* `small`: the sizes at which a value is chunked, staged, spread over rows are a few bytes, and
 * the background runs in between. */
static void compare_at_random(bool small)
{
    struct peer peer = {0};
    struct command_maker maker;
    const char *seed = getenv("REDIS_DIFFERENTIAL_SEED");
    const char *count = getenv("REDIS_DIFFERENTIAL_COUNT");
    long left = count ? atol(count) : COMMANDS_DEFAULT;
    long mismatches = 0;

    if (!peer_start(&peer)) skip();
    struct redis_harness *harness = redis_harness_make();
    if (small)
        harness->limits = (struct redis_limits){.string_row_max = 24, /* numbers are never longer */
                                                .chunk_size = 3,
                                                .hash_row_fields_max = 2,
                                                .hash_row_bytes_max = 40,
                                                .stage_from = 12,
                                                .stage_bytes = 6,
                                                .stage_timeout_ms = 1000,
                                                .chore_rows = 5};
    random_seed(&maker.random, seed ? strtoull(seed, NULL, 10) : small ? 2u : 1u);
    for (; left > 0 && mismatches < 10; left--) {
        if (left % 500 == 0) let_expire(&peer, harness, &maker);
        set_time(harness);
        if (small && left % 3 == 0) redis_harness_chore(harness);
        make_command(&maker);
        struct bytes expected = peer_run(&peer, maker.arguments, maker.count);
        struct bytes got = redis_harness_run(harness, maker.arguments, maker.count);
        if (agree(&maker, expected, got, small)) continue;
        mismatches++;
        for (uint32_t i = 0; i < maker.count; i++)
            show(i ? "        " : "command ", maker.arguments[i]);
        show("expected", expected);
        show("got     ", got);
    }
    struct redis_rows rows;
    redis_rows_check(harness->table, &rows);
    redis_harness_free(harness);
    peer_stop(&peer);
    assert_int_equal(mismatches, 0);
    assert_int_equal(rows.orphans + rows.twice + rows.wrong_sizes + rows.unreminded, 0);
}

static void test_replies_as_a_real_server(void **state)
{
    compare_at_random(false);
}

static void test_replies_as_a_real_server_when_all_values_are_big(void **state)
{
    compare_at_random(true);
}

/* --- sizes ----------------------------------------------------------------------------------- */

static void both(struct peer *peer, struct redis_harness *harness, const struct bytes *arguments,
                 uint32_t count)
{
    struct bytes expected = peer_run(peer, arguments, count);
    set_time(harness);
    struct bytes got = redis_harness_run(harness, arguments, count);

    if (bytes_equal(expected, got)) return;
    for (uint32_t i = 0; i < count; i++)
        show(i ? "        " : "command ", arguments[i]);
    show("expected", expected);
    show("got     ", got);
    fail_msg("%zu bytes were expected, %zu came", expected.size, got.size);
}

#define BOTH(...)                                                                                  \
    do {                                                                                           \
        struct bytes arguments_[] = {__VA_ARGS__};                                                 \
        both(&peer, harness, arguments_, ARRAY_COUNT(arguments_));                                 \
    } while (0)

static void test_values_across_each_boundary(void **state)
{
    static const size_t sizes[] = {8191,    8192,    16383,  16384,   16385,    229376,
                                   229377,  262143,  262144, 262145,  1048575,  1048576,
                                   1048577, 5000000, 196608, 8388608, 16777215, 16777216};
    struct peer peer = {0};

    if (!peer_start(&peer)) skip();
    struct redis_harness *harness = redis_harness_make();
    struct random random;
    random_seed(&random, 1);
    uint8_t *bytes = malloc(16777216);
    for (size_t i = 0; i < 16777216; i += 8)
        store_u64(bytes + i, random_u64(&random));
    for (size_t i = 0; i < ARRAY_COUNT(sizes); i++) {
        struct bytes value = bytes_make(bytes, sizes[i]);
        char offset[32];
        snprintf(offset, sizeof(offset), "%zu", sizes[i] - 5);
        BOTH(bytes_of("SET"), bytes_of("k"), value);
        BOTH(bytes_of("STRLEN"), bytes_of("k"));
        BOTH(bytes_of("GET"), bytes_of("k"));
        BOTH(bytes_of("GETRANGE"), bytes_of("k"), bytes_of("8000"), bytes_of("20000"));
        BOTH(bytes_of("GETRANGE"), bytes_of("k"), bytes_of("-9000"), bytes_of("-1"));
        BOTH(bytes_of("SETRANGE"), bytes_of("k"), bytes_of(offset), bytes_of("12345"));
        BOTH(bytes_of("SETRANGE"), bytes_of("k"), bytes_of("8190"), bytes_make(bytes + 77, 9000));
        if (sizes[i] < 16000000) {
            BOTH(bytes_of("APPEND"), bytes_of("k"), bytes_make(bytes + 99, 100000));
            BOTH(bytes_of("SETRANGE"), bytes_of("k"), bytes_of("16700000"), bytes_of("far"));
        }
        BOTH(bytes_of("GETSET"), bytes_of("k"), bytes_make(bytes + 3, 20000));
        BOTH(bytes_of("SET"), bytes_of("k"), value, bytes_of("XX"), bytes_of("GET"));
        BOTH(bytes_of("SET"), bytes_of("k"), value, bytes_of("NX"));
        BOTH(bytes_of("GETDEL"), bytes_of("k"));
        while (redis_harness_chore(harness)) {
        }
    }
    struct redis_rows rows;
    redis_rows_check(harness->table, &rows);
    assert_int_equal(rows.keys + rows.parts + rows.garbage, 0);
    free(bytes);
    redis_harness_free(harness);
    peer_stop(&peer);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_replies_as_a_real_server),
        cmocka_unit_test(test_replies_as_a_real_server_when_all_values_are_big),
        cmocka_unit_test(test_values_across_each_boundary),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
