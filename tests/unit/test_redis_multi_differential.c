/* The same random transactions to a real redis-server and to the front-end over several partitions:
 * the replies must be equal, bytes and errors.
 *
 * REDIS_DIFFERENTIAL_SEED and REDIS_DIFFERENTIAL_COUNT choose another run. */
#include "redis_whole.h"

#include <time.h>

#include "redis_peer.h"
#include "redis_random.h"

enum { ROUNDS_DEFAULT = 4000, COMMANDS_MAX = 12 };

struct comparison {
    struct whole *whole;
    struct peer peer;
    struct command_maker maker;
    struct buffer told; /* the commands of this round, for people */
    long mismatches;
};

static void set_time(struct whole *whole)
{
    struct timespec now;

    clock_gettime(CLOCK_REALTIME, &now);
    for (int i = 0; i < PARTITIONS; i++)
        whole->partitions[i]->time = (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

static struct bytes ask_whole(struct comparison *comparison)
{
    struct play_stream *client = comparison->whole->client;
    struct buffer request;

    buffer_init(&request, 1 << 20);
    struct resp_writer out = resp_writer_make(&request, false);
    resp_write_array(&out, comparison->maker.count);
    for (uint32_t i = 0; i < comparison->maker.count; i++)
        resp_write_bulk(&out, comparison->maker.arguments[i]);
    buffer_clear(&client->head.output);
    set_time(comparison->whole);
    say_bytes(client, buffer_bytes(&request));
    turn(comparison->whole->front);
    buffer_free(&request);
    return buffer_bytes(&client->head.output);
}

static void tell(struct comparison *comparison)
{
    for (uint32_t i = 0; i < comparison->maker.count; i++)
        buffer_append_format(&comparison->told, " %.*s", (int)comparison->maker.arguments[i].size,
                             (const char *)comparison->maker.arguments[i].data);
    buffer_append_format(&comparison->told, "\n");
}

static void compare(struct comparison *comparison)
{
    const struct command_maker *maker = &comparison->maker;

    tell(comparison);
    struct bytes expected = peer_run(&comparison->peer, maker->arguments, maker->count);
    struct bytes got = ask_whole(comparison);
    if (bytes_equal(expected, got)) return;
    comparison->mismatches++;
    struct bytes told = buffer_bytes(&comparison->told);
    print_error("%.*sexpected %.*s\ngot %.*s\n", (int)told.size, (const char *)told.data,
                (int)expected.size, (const char *)expected.data, (int)got.size,
                (const char *)got.data);
}

static void compare_words(struct comparison *comparison, const char *first, const char *second)
{
    comparison->maker.count = 0;
    push(&comparison->maker, first);
    if (second) push(&comparison->maker, second);
    compare(comparison);
}

/* What is compared with a tolerance elsewhere cannot be inside of an array. */
static bool can_be_compared(const struct command_maker *maker)
{
    static const char *const names[] = {"TTL", "PTTL", "EXPIRETIME", "PEXPIRETIME", "HSCAN"};

    for (size_t i = 0; i < ARRAY_COUNT(names); i++)
        if (bytes_equal(maker->arguments[0], bytes_of(names[i]))) return false;
    return true;
}

static void compare_command(struct comparison *comparison)
{
    do
        make_command(&comparison->maker);
    while (!can_be_compared(&comparison->maker));
    compare(comparison);
}

static void compare_transaction(struct comparison *comparison)
{
    static const char *const others[] = {"PING", "NOSUCH", "DISCARD", "UNWATCH", "MULTI"};
    static const char *const databases[] = {"0", "1", "2", "99"};
    struct command_maker *maker = &comparison->maker;
    bool watches = sometimes(maker, 3);

    if (watches) compare_words(comparison, "WATCH", keys[random_below(&maker->random, 8)]);
    if (watches && sometimes(maker, 2)) compare_command(comparison);
    compare_words(comparison, "MULTI", NULL);
    for (uint64_t i = random_below(&maker->random, COMMANDS_MAX); i; i--) {
        if (sometimes(maker, 30))
            compare_words(comparison, others[random_below(&maker->random, 5)], NULL);
        else if (sometimes(maker, 20))
            compare_words(comparison, "SELECT", databases[random_below(&maker->random, 4)]);
        else
            compare_command(comparison);
    }
    compare_words(comparison, sometimes(maker, 20) ? "DISCARD" : "EXEC", NULL);
}

static void compare_at_random(bool small)
{
    struct comparison comparison = {0};
    const char *seed = getenv("REDIS_DIFFERENTIAL_SEED");
    const char *count = getenv("REDIS_DIFFERENTIAL_COUNT");
    long left = count ? atol(count) : ROUNDS_DEFAULT;

    if (!peer_start(&comparison.peer)) skip();
    comparison.whole = whole_make();
    for (int i = 0; small && i < PARTITIONS; i++) {
        struct redis_limits *limits = &comparison.whole->partitions[i]->limits;
        limits->string_row_max = 30;
        limits->chunk_size = 3;
        limits->chore_rows = 5;
    }
    buffer_init(&comparison.told, 1 << 20);
    random_seed(&comparison.maker.random, seed ? strtoull(seed, NULL, 10) : small ? 2u : 1u);
    for (; left > 0 && comparison.mismatches < 5; left--) {
        buffer_clear(&comparison.told);
        set_time(comparison.whole);
        for (int i = 0; i < PARTITIONS && left % 3 == 0; i++)
            redis_harness_chore(comparison.whole->partitions[i]);
        if (sometimes(&comparison.maker, 3))
            compare_command(&comparison);
        else
            compare_transaction(&comparison);
    }
    assert_true(count || comparison.whole->looks > 1000); /* not all keys are in one partition */
    buffer_free(&comparison.told);
    whole_free(comparison.whole);
    peer_stop(&comparison.peer);
    assert_int_equal(comparison.mismatches, 0);
}

static void test_transactions_as_of_a_real_server(void **state)
{
    compare_at_random(false);
}

static void test_transactions_of_values_in_parts(void **state)
{
    compare_at_random(true);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_transactions_as_of_a_real_server),
        cmocka_unit_test(test_transactions_of_values_in_parts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
