/* A dialled link is looked at now and then, however much is sent over it: the kernel is asked by a
 * system call, and replication sends often. What the kernel would say is this test's. */
#include "real_world.h"

#include <stdio.h>

#include "world/world_real_link.h"

static struct {
    struct real_fixture real;
    struct listener *listener;
    struct stream *client, *server;
    bool connected, over;
    uint32_t looks, sends;
} link_bed;

/* In place of world_real_link.c: as on a loaded link something is always under way. */
bool link_state_read(int descriptor, struct link_state *ret_state)
{
    (void)descriptor;
    link_bed.looks++;
    *ret_state = (struct link_state){.segments_under_way = 1, .acknowledged = link_bed.looks};
    return true;
}

static void on_connected(void *context, struct stream *stream)
{
    (void)context;
    (void)stream;
    link_bed.connected = true;
}

static const struct stream_events client_events = {.on_connected = on_connected};
static const struct stream_events silent_events = {0};

static void on_accept(void *context, struct stream *stream)
{
    (void)context;
    link_bed.server = stream;
    stream_set_events(stream, &silent_events, NULL);
}

static bool both_connected(void *context)
{
    (void)context;
    return link_bed.connected && link_bed.server != NULL;
}

static void end(struct world_timer *timer)
{
    (void)timer;
    link_bed.over = true;
}

/* With each look of the wait, so each millisecond. */
static bool send_until_over(void *context)
{
    (void)context;
    buffer_append(stream_output(link_bed.client), bytes_of("x"));
    stream_flush(link_bed.client);
    link_bed.sends++;
    return link_bed.over;
}

static void test_a_loaded_link_is_not_looked_at_with_each_send(void **state)
{
    char address[64];
    struct error error;
    struct world_timer timer = {.fire = end};
    (void)state;

    real_fixture_start(&link_bed.real);
    struct world *world = link_bed.real.world;
    assert_int_equal(
        world_listen(world, "127.0.0.1:0", NULL, on_accept, &link_bed.listener, &error), STATUS_OK);
    snprintf(address, sizeof(address), "127.0.0.1:%u", listener_port(link_bed.listener));
    link_bed.client = world_connect(world, address, &client_events, NULL);
    assert_true(real_wait(world, both_connected, NULL));

    uint64_t start = world_now(world);
    world_timer_start(world, &timer, 2 * WORLD_LINK_CHECK_US);
    assert_true(real_wait(world, send_until_over, NULL));
    uint64_t took = world_now(world) - start;
    assert_true(link_bed.looks > 0);
    assert_true(link_bed.looks <= took / WORLD_LINK_LOOK_US + took / WORLD_LINK_CHECK_US + 2);
    assert_true(link_bed.sends > link_bed.looks);

    stream_set_events(link_bed.client, &silent_events, NULL);
    stream_abort(link_bed.client);
    stream_abort(link_bed.server);
    listener_close(link_bed.listener);
    real_fixture_stop(&link_bed.real);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_loaded_link_is_not_looked_at_with_each_send),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
