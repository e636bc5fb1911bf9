/* The same random commands to a real redis-server and to redis_evaluate(): the replies must be
 * equal, bytes and errors. Skipped where redis-server is not installed.
 *
 * REDIS_DIFFERENTIAL_SEED and REDIS_DIFFERENTIAL_COUNT choose another run. Times that count
 * from now are compared within two seconds, since the two clocks are read at different times. */
#include "redis_harness.h"

#include <time.h>

#include "redis_peer.h"
#include "redis_random.h"

enum { COMMANDS_DEFAULT = 40000, NEAR_MS = 2000 };

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
        harness->limits = (struct redis_limits){.string_row_max = 30, /* numbers are never longer */
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
