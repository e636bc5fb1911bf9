/* Streams of the real world over loopback. */
#include "real_world.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/ids.h"
#include "base/memory.h"

/* One end of a connection, and what happened to it. */
struct end {
    struct world *world;
    struct stream *stream; /* NULL once closed */
    struct buffer heard;
    size_t heard_size; /* also when nothing is kept */
    bool keep;         /* what is heard */
    bool echo;
    bool close_at_data;
    bool sips; /* reads a little, pauses; the test resumes it */
    uint32_t accepted, connected, drained, closed;
    enum status reason;
    bool inside_call;
    bool called_inside;
};

struct pair {
    struct real_fixture real;
    struct world *world;
    struct listener *listener;
    char address[64];
    struct end server; /* the connection accepted last */
    struct end client;
};

static void end_note(struct end *end)
{
    if (end->inside_call) end->called_inside = true;
    world_real_stop(end->world); /* the test looks whether it has what it waits for */
}

static void end_hears(void *context, struct stream *stream, struct bytes data)
{
    struct end *end = context;

    assert_ptr_equal(end->stream, stream);
    end->heard_size += data.size;
    if (end->keep) buffer_append(&end->heard, data);
    if (end->echo) {
        buffer_append(stream_output(stream), data);
        stream_flush(stream);
    }
    if (end->close_at_data) stream_close(stream);
    if (end->sips) stream_read_pause(stream);
    end_note(end);
}

static void end_connected(void *context, struct stream *stream)
{
    struct end *end = context;
    end->connected++;
    end_note(end);
}

static void end_drained(void *context, struct stream *stream)
{
    struct end *end = context;
    end->drained++;
    end_note(end);
}

static void end_closed(void *context, struct stream *stream, enum status reason)
{
    struct end *end = context;
    end->closed++;
    end->reason = reason;
    end->stream = NULL;
    end_note(end);
}

static const struct stream_events end_events = {
    .on_data = end_hears,
    .on_connected = end_connected,
    .on_drained = end_drained,
    .on_closed = end_closed,
};
static const struct stream_events silent_events = {0};

static void on_accept(void *context, struct stream *stream)
{
    struct pair *pair = context;

    pair->server.accepted++;
    pair->server.stream = stream;
    stream_set_events(stream, &end_events, &pair->server);
    end_note(&pair->server);
}

static int pair_start(void **state)
{
    struct pair *pair = memory_allocate_zero(sizeof(*pair));
    struct error error;

    real_fixture_start(&pair->real);
    pair->world = pair->real.world;
    pair->server.world = pair->client.world = pair->world;
    pair->server.keep = pair->client.keep = true;
    buffer_init(&pair->server.heard, 1 << 20);
    buffer_init(&pair->client.heard, 1 << 20);
    if (world_listen(pair->world, "127.0.0.1:0", pair, on_accept, &pair->listener, &error))
        fail_msg("%s", error.text);
    snprintf(pair->address, sizeof(pair->address), "127.0.0.1:%u", listener_port(pair->listener));
    *state = pair;
    return 0;
}

static int pair_stop(void **state)
{
    struct pair *pair = *state;

    for (int i = 0; i < 2; i++) {
        struct end *end = i ? &pair->server : &pair->client;
        if (end->stream) {
            stream_set_events(end->stream, &silent_events, NULL);
            stream_abort(end->stream);
        }
        buffer_free(&end->heard);
    }
    if (pair->listener) listener_close(pair->listener);
    real_fixture_stop(&pair->real);
    memory_free(pair);
    return 0;
}

static void client_dials(struct pair *pair, const char *address)
{
    pair->client.inside_call = true;
    pair->client.stream = world_connect(pair->world, address, &end_events, &pair->client);
    pair->client.inside_call = false;
    assert_false(pair->client.called_inside);
}

static bool both_connected(void *context)
{
    struct pair *pair = context;
    return pair->client.connected && pair->server.accepted;
}

static bool client_closed(void *context)
{
    return ((struct pair *)context)->client.closed > 0;
}

static bool server_closed(void *context)
{
    return ((struct pair *)context)->server.closed > 0;
}

static bool both_closed(void *context)
{
    struct pair *pair = context;
    return pair->client.closed && pair->server.closed;
}

static void pair_connect(struct pair *pair)
{
    client_dials(pair, pair->address);
    assert_true(real_wait(pair->world, both_connected, pair));
}

static void say(struct stream *stream, const char *text)
{
    assert_int_equal(buffer_append(stream_output(stream), bytes_of(text)), STATUS_OK);
    stream_flush(stream);
}

static bool client_heard_five(void *context)
{
    return ((struct pair *)context)->client.heard_size >= 5;
}

static void test_what_is_said_comes_back(void **state)
{
    struct pair *pair = *state;

    pair->server.echo = true;
    pair_connect(pair);
    say(pair->client.stream, "he");
    say(pair->client.stream, "llo");
    assert_true(real_wait(pair->world, client_heard_five, pair));
    assert_true(bytes_equal(buffer_bytes(&pair->client.heard), bytes_of("hello")));
    assert_string_equal(stream_peer_address(pair->client.stream), pair->address);
    assert_string_equal(stream_own_address(pair->server.stream), pair->address);
    assert_string_equal(stream_own_address(pair->client.stream),
                        stream_peer_address(pair->server.stream));
}

static void test_output_before_the_connection_is_sent_with_it(void **state)
{
    struct pair *pair = *state;

    pair->server.echo = true;
    client_dials(pair, pair->address);
    say(pair->client.stream, "early");
    assert_true(real_wait(pair->world, client_heard_five, pair));
}

static void test_names_are_resolved(void **state)
{
    struct pair *pair = *state;
    char address[64];

    snprintf(address, sizeof(address), "localhost:%u", listener_port(pair->listener));
    client_dials(pair, address);
    assert_true(real_wait(pair->world, both_connected, pair));
}

static void test_a_stream_given_up_while_its_name_is_resolved_ends_once(void **state)
{
    struct pair *pair = *state;

    client_dials(pair, "localhost:1");
    stream_close(pair->client.stream);
    assert_int_equal(pair->client.closed, 0); /* never inside the call */
    assert_true(real_wait(pair->world, client_closed, pair));
    assert_int_equal(pair->client.closed, 1);
}

/* --- failing to connect ---------------------------------------------------------------------- */

static void test_a_refused_connection_ends_with_refused(void **state)
{
    struct pair *pair = *state;

    listener_close(pair->listener);
    pair->listener = NULL;
    client_dials(pair, pair->address);
    assert_true(real_wait(pair->world, client_closed, pair));
    assert_int_equal(pair->client.reason, STATUS_REFUSED);
    assert_int_equal(pair->client.connected, 0);
}

static void test_an_address_that_is_none_ends_with_invalid(void **state)
{
    struct pair *pair = *state;

    client_dials(pair, "no-port-here");
    assert_true(real_wait(pair->world, client_closed, pair));
    assert_int_equal(pair->client.reason, STATUS_INVALID);
}

/* --- much data ------------------------------------------------------------------------------- */

enum { BIG_SIZE = 24 << 20 };

static bool server_heard_all(void *context)
{
    return ((struct pair *)context)->server.heard_size >= BIG_SIZE;
}

static void test_a_big_transfer_arrives_whole(void **state)
{
    struct pair *pair = *state;
    uint8_t *room;

    pair->server.keep = true;
    pair->server.heard.size_max = BIG_SIZE;
    pair_connect(pair);
    room = buffer_reserve(stream_output(pair->client.stream), BIG_SIZE);
    for (size_t i = 0; i < BIG_SIZE; i++)
        room[i] = (uint8_t)(i * 131 >> 8);
    buffer_commit(stream_output(pair->client.stream), BIG_SIZE);
    stream_flush(pair->client.stream);
    assert_true(real_wait(pair->world, server_heard_all, pair));
    assert_int_equal(pair->server.heard_size, BIG_SIZE);
    for (size_t i = 0; i < BIG_SIZE; i++)
        if (buffer_bytes(&pair->server.heard).data[i] != (uint8_t)(i * 131 >> 8))
            fail_msg("byte %zu is wrong", i);
    assert_in_range(pair->client.drained, 1, 25); /* once per halving */
    assert_int_equal(buffer_size(stream_output(pair->client.stream)), 0);
}

static bool server_paused_and_client_stuck(void *context)
{
    struct pair *pair = context;
    size_t pending = buffer_size(stream_output(pair->client.stream));
    return pending > 0 && pending < BIG_SIZE; /* the kernel took some, and no more */
}

static void test_a_reader_that_pauses_holds_the_writer_back(void **state)
{
    struct pair *pair = *state;
    struct stream *client;

    pair->server.keep = false;
    pair_connect(pair);
    client = pair->client.stream;
    stream_read_pause(pair->server.stream);
    stream_set_output_max(client, BIG_SIZE);
    memset(buffer_reserve(stream_output(client), BIG_SIZE), 'x', BIG_SIZE);
    buffer_commit(stream_output(client), BIG_SIZE);
    assert_int_equal(buffer_append(stream_output(client), bytes_of("y")), STATUS_FULL);
    stream_flush(client);
    assert_true(real_wait(pair->world, server_paused_and_client_stuck, pair));
    assert_int_equal(pair->server.heard_size, 0);
    assert_int_equal(pair->client.drained, 0);

    stream_read_resume(pair->server.stream);
    assert_true(real_wait(pair->world, server_heard_all, pair));
    assert_in_range(pair->client.drained, 1, 25);
}

static void stop_waiting(struct world_timer *timer)
{
    *(bool *)timer->context = true;
}

static bool is_true(void *context)
{
    return *(bool *)context;
}

static void test_a_peer_that_lives_but_does_not_read_keeps_its_link(void **state)
{
    struct pair *pair = *state;
    bool over = false;
    struct world_timer timer = {.fire = stop_waiting, .context = &over};

    pair->server.keep = false;
    pair_connect(pair);
    stream_read_pause(pair->server.stream);
    memset(buffer_reserve(stream_output(pair->client.stream), BIG_SIZE), 'x', BIG_SIZE);
    buffer_commit(stream_output(pair->client.stream), BIG_SIZE);
    stream_flush(pair->client.stream);
    /* Longer than a dead link would live. */
    world_timer_start(pair->world, &timer, (WORLD_LINK_STUCK_CHECKS + 2) * WORLD_LINK_CHECK_US);
    assert_true(real_wait(pair->world, is_true, &over));
    assert_int_equal(pair->client.closed, 0);
    stream_read_resume(pair->server.stream);
    assert_true(real_wait(pair->world, server_heard_all, pair));
}

/* --- closing --------------------------------------------------------------------------------- */

static void test_close_sends_what_is_pending_first(void **state)
{
    struct pair *pair = *state;

    pair->server.keep = false;
    pair_connect(pair);
    memset(buffer_reserve(stream_output(pair->client.stream), BIG_SIZE), 'x', BIG_SIZE);
    buffer_commit(stream_output(pair->client.stream), BIG_SIZE);
    stream_close(pair->client.stream); /* without a flush */
    stream_close(pair->client.stream); /* harmless */
    stream_flush(pair->client.stream);
    assert_int_equal(pair->client.closed, 0);
    assert_true(real_wait(pair->world, both_closed, pair));
    assert_int_equal(pair->server.heard_size, BIG_SIZE);
    assert_int_equal(pair->client.reason, STATUS_CLOSED);
    assert_int_equal(pair->server.reason, STATUS_CLOSED);
    assert_int_equal(pair->client.closed, 1);
    assert_int_equal(pair->server.closed, 1);
}

static void test_close_does_not_wait_for_a_peer_that_never_reads(void **state)
{
    struct pair *pair = *state;

    pair_connect(pair);
    stream_read_pause(pair->server.stream);
    memset(buffer_reserve(stream_output(pair->client.stream), BIG_SIZE), 'x', BIG_SIZE);
    buffer_commit(stream_output(pair->client.stream), BIG_SIZE);
    uint64_t start = world_now(pair->world);
    stream_close(pair->client.stream);
    assert_true(real_wait(pair->world, client_closed, pair));
    assert_in_range(world_now(pair->world) - start, WORLD_CLOSE_STALL_US, 3 * WORLD_CLOSE_STALL_US);
}

struct sipping {
    struct pair *pair;
    struct world_timer timer;
};

static void sip(struct world_timer *timer)
{
    struct sipping *sipping = timer->context;

    if (sipping->pair->server.stream == NULL) return;
    stream_read_resume(sipping->pair->server.stream);
    world_timer_start(sipping->pair->world, timer, 8000);
}

/* 64 KiB every 8 ms: three seconds for it all. */
static void test_close_waits_for_a_peer_that_reads_slowly(void **state)
{
    struct pair *pair = *state;
    struct sipping sipping = {.pair = pair, .timer = {.fire = sip, .context = &sipping}};

    pair->server.keep = false;
    pair->server.sips = true;
    pair_connect(pair);
    memset(buffer_reserve(stream_output(pair->client.stream), BIG_SIZE), 'x', BIG_SIZE);
    buffer_commit(stream_output(pair->client.stream), BIG_SIZE);
    uint64_t start = world_now(pair->world);
    stream_close(pair->client.stream);
    world_timer_start(pair->world, &sipping.timer, 0);
    assert_true(real_wait(pair->world, both_closed, pair));
    world_timer_stop(pair->world, &sipping.timer);
    assert_int_equal(pair->server.heard_size, BIG_SIZE);
    assert_true(world_now(pair->world) - start > 1500 * 1000);
}

static void test_the_last_words_are_heard_although_input_is_left_unread(void **state)
{
    struct pair *pair = *state;

    pair->server.close_at_data = true;
    pair_connect(pair);
    memset(buffer_reserve(stream_output(pair->client.stream), 500000), 'x', 500000);
    buffer_commit(stream_output(pair->client.stream), 500000);
    stream_flush(pair->client.stream);
    say(pair->server.stream, "error");
    assert_true(real_wait(pair->world, both_closed, pair));
    assert_true(bytes_equal(buffer_bytes(&pair->client.heard), bytes_of("error")));
}

static void test_abort_resets(void **state)
{
    struct pair *pair = *state;

    pair_connect(pair);
    say(pair->client.stream, "dropped");
    stream_abort(pair->client.stream);
    stream_abort(pair->client.stream); /* harmless, as all calls on a stream that ends */
    stream_close(pair->client.stream);
    stream_flush(pair->client.stream);
    stream_read_pause(pair->client.stream);
    stream_read_resume(pair->client.stream);
    say(pair->client.stream, "nowhere");
    assert_int_equal(pair->client.closed, 0);
    assert_true(real_wait(pair->world, both_closed, pair));
    assert_int_equal(pair->client.reason, STATUS_IO);
    assert_int_equal(pair->server.reason, STATUS_IO);
    assert_int_equal(pair->server.heard_size, 0);
    assert_int_equal(pair->client.closed, 1);
}

static void test_answers_go_out_after_the_peer_finished(void **state)
{
    struct pair *pair = *state;
    struct sockaddr_in to = {.sin_family = AF_INET,
                             .sin_port = htons(listener_port(pair->listener)),
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct timeval limit = {.tv_sec = 30};
    char answer[16] = "";
    int client = socket(AF_INET, SOCK_STREAM, 0); /* only a plain socket can half close */

    pair->server.echo = true;
    assert_int_equal(connect(client, (struct sockaddr *)&to, sizeof(to)), 0);
    assert_int_equal(send(client, "hello", 5, 0), 5);
    assert_int_equal(shutdown(client, SHUT_WR), 0);
    assert_true(real_wait(pair->world, server_closed, pair));
    setsockopt(client, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
    assert_int_equal(recv(client, answer, sizeof(answer), MSG_WAITALL), 5);
    assert_string_equal(answer, "hello");
    close(client);
}

/* --- listening ------------------------------------------------------------------------------- */

static void test_an_address_in_use_is_told(void **state)
{
    struct pair *pair = *state;
    struct real_fixture other;
    struct listener *listener = NULL;
    struct error error;

    real_fixture_start(&other); /* as good as another process: no sharing between hosts */
    assert_int_equal(world_listen(other.world, pair->address, pair, on_accept, &listener, &error),
                     STATUS_EXISTS);
    assert_non_null(strstr(error.text, pair->address));
    assert_null(listener);
    assert_int_equal(world_listen(pair->world, pair->address, pair, on_accept, &listener, &error),
                     STATUS_EXISTS);
    assert_int_equal(world_listen(other.world, "nonsense", pair, on_accept, &listener, &error),
                     STATUS_INVALID);
    assert_int_equal(world_listen(other.world, "192.0.2.1:7", pair, on_accept, &listener, &error),
                     STATUS_INVALID);
    real_fixture_stop(&other);
}

static bool nine_connected(void *context)
{
    struct end *ends = context;
    uint32_t connected = 0;

    for (int i = 0; i < 9; i++)
        connected += ends[i].connected;
    return connected == 9;
}

enum { SHARING = 3, DIALLED = 9 };

struct sharing {
    struct world *world;
    struct listener *listener;
    pthread_t thread;
    uint32_t accepted;
};

static void sharing_accepts(void *context, struct stream *stream)
{
    struct sharing *sharing = context;

    assert_ptr_equal(stream->world, sharing->world);
    sharing->accepted++;
    stream_set_events(stream, &silent_events, NULL);
}

static void *sharing_main(void *argument)
{
    struct sharing *sharing = argument;
    world_real_run(sharing->world);
    return NULL;
}

static void test_workers_share_one_port_and_its_connections(void **state)
{
    struct real_fixture real;
    struct sharing workers[SHARING] = {0};
    struct end ends[DIALLED] = {0};
    struct world *dialling;
    struct listener *second = NULL;
    char address[64];

    real_fixture_start(&real);
    dialling = world_real_create(real.host, SHARING);
    for (uint32_t i = 0; i < SHARING; i++) {
        workers[i].world = i ? world_real_create(real.host, i) : real.world;
        assert_int_equal(world_listen(workers[i].world, "127.0.0.1:0", &workers[i], sharing_accepts,
                                      &workers[i].listener, NULL),
                         STATUS_OK);
        assert_int_equal(listener_port(workers[i].listener), listener_port(workers[0].listener));
    }
    /* Once more with port 0 means another port. */
    assert_int_equal(
        world_listen(real.world, "127.0.0.1:0", &workers[0], sharing_accepts, &second, NULL),
        STATUS_OK);
    assert_int_not_equal(listener_port(second), listener_port(workers[0].listener));

    for (uint32_t i = 0; i < SHARING; i++)
        pthread_create(&workers[i].thread, NULL, sharing_main, &workers[i]);
    snprintf(address, sizeof(address), "127.0.0.1:%u", listener_port(workers[0].listener));
    for (uint32_t i = 0; i < DIALLED; i++) {
        ends[i].world = dialling;
        ends[i].stream = world_connect(dialling, address, &end_events, &ends[i]);
    }
    assert_true(real_wait(dialling, nine_connected, ends));
    for (uint32_t i = 0; i < SHARING; i++)
        world_real_stop(workers[i].world);
    for (uint32_t i = 0; i < SHARING; i++)
        pthread_join(workers[i].thread, NULL);
    for (uint32_t i = 0; i < SHARING; i++)
        world_real_drain(workers[i].world);
    /* Whoever accepted, they took turns; some may still be in the kernel's queue. */
    uint32_t total = 0;
    for (uint32_t i = 0; i < SHARING; i++) {
        total += workers[i].accepted;
        assert_true(workers[i].accepted <= DIALLED / SHARING);
    }
    assert_true(total <= DIALLED);
    world_real_destroy(dialling); /* with its streams open: closed without calling back */
    for (uint32_t i = 1; i < SHARING; i++)
        world_real_destroy(workers[i].world);
    real_fixture_stop(&real);
    for (uint32_t i = 0; i < DIALLED; i++)
        assert_int_equal(ends[i].closed, 0);
}

static void test_without_descriptors_connections_are_refused_and_later_served(void **state)
{
    struct pair *pair = *state;
    struct rlimit limit, few;
    int highest;

    pair->server.echo = true;
    client_dials(pair, pair->address); /* has its descriptor */
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
    highest = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 0); /* the lowest free one */
    close(highest);
    few = limit;
    few.rlim_cur = (rlim_t)highest;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &few), 0);
    bool refused = real_wait(pair->world, client_closed, pair);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
    assert_true(refused);
    assert_int_equal(pair->server.accepted, 0);

    pair->client.connected = 0;
    client_dials(pair, pair->address);
    say(pair->client.stream, "hello");
    assert_true(real_wait(pair->world, client_heard_five, pair));
}

int main(void)
{
#define PAIR_TEST(name) cmocka_unit_test_setup_teardown(name, pair_start, pair_stop)
    const struct CMUnitTest tests[] = {
        PAIR_TEST(test_what_is_said_comes_back),
        PAIR_TEST(test_output_before_the_connection_is_sent_with_it),
        PAIR_TEST(test_names_are_resolved),
        PAIR_TEST(test_a_stream_given_up_while_its_name_is_resolved_ends_once),
        PAIR_TEST(test_a_refused_connection_ends_with_refused),
        PAIR_TEST(test_an_address_that_is_none_ends_with_invalid),
        PAIR_TEST(test_a_big_transfer_arrives_whole),
        PAIR_TEST(test_a_reader_that_pauses_holds_the_writer_back),
        PAIR_TEST(test_a_peer_that_lives_but_does_not_read_keeps_its_link),
        PAIR_TEST(test_close_sends_what_is_pending_first),
        PAIR_TEST(test_close_does_not_wait_for_a_peer_that_never_reads),
        PAIR_TEST(test_close_waits_for_a_peer_that_reads_slowly),
        PAIR_TEST(test_the_last_words_are_heard_although_input_is_left_unread),
        PAIR_TEST(test_abort_resets),
        PAIR_TEST(test_answers_go_out_after_the_peer_finished),
        PAIR_TEST(test_an_address_in_use_is_told),
        cmocka_unit_test(test_workers_share_one_port_and_its_connections),
        PAIR_TEST(test_without_descriptors_connections_are_refused_and_later_served),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
