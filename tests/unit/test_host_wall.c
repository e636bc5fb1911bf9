/* Which wall clock a host goes by (D3, F48). */
#include "unit.h"

#include "partition/host_internal.h"
#include "sim/sim_files.h"
#include "sim/sim_process.h"

enum { S = 1000 * 1000 };
static const int64_t year = INT64_C(365) * 86400 * S;

struct fixture {
    struct sim sim;
    struct sim_machine machine;
    struct partition_host host; /* nothing of it but the clocks is used */
};

static uint64_t now_of(struct fixture *fixture)
{
    return world_now(fixture->host.world);
}

static void hear(struct fixture *fixture, node_id_t node, int64_t off)
{
    wall_heard(&fixture->host, node, world_wall_time(fixture->host.world) + off, now_of(fixture));
}

static void start(struct fixture *fixture)
{
    *fixture = (struct fixture){0};
    sim_init(&fixture->sim, 1);
    sim_machine_init(&fixture->machine, &fixture->sim, 1);
    fixture->machine.disk = sim_disk_make(&fixture->sim);
    fixture->machine.process = sim_process_make(&fixture->machine, 1, NULL, NULL);
    fixture->host.world = sim_process_world(fixture->machine.process, 0);
}

static void stop(struct fixture *fixture)
{
    sim_free(&fixture->sim);
    sim_disk_free(fixture->machine.disk);
}

static void test_the_own_clock_counts_while_it_is_near_its_peers(void **state)
{
    struct fixture fixture;

    start(&fixture);
    assert_true(wall_trusted(&fixture.host, now_of(&fixture)) ==
                world_wall_time(fixture.host.world));
    hear(&fixture, 2, 400 * 1000);
    hear(&fixture, 3, 400 * 1000);
    assert_true(wall_trusted(&fixture.host, now_of(&fixture)) ==
                world_wall_time(fixture.host.world));
    stop(&fixture);
}

static void test_a_clock_off_the_median_is_not_trusted(void **state)
{
    struct fixture fixture;

    start(&fixture);
    hear(&fixture, 2, -year);
    hear(&fixture, 3, -year);
    assert_true(wall_trusted(&fixture.host, now_of(&fixture)) ==
                world_wall_time(fixture.host.world) - year);
    hear(&fixture, 3, 0); /* now it is node 2 that is wrong */
    assert_true(wall_trusted(&fixture.host, now_of(&fixture)) ==
                world_wall_time(fixture.host.world));
    stop(&fixture);
}

/* A leader may use its clock at any time, also before anybody was heard since the jump. */
static void test_a_jump_of_the_own_clock_is_seen_before_the_next_heartbeat(void **state)
{
    struct fixture fixture;

    start(&fixture);
    hear(&fixture, 2, 0);
    hear(&fixture, 3, 0);
    int64_t right = wall_trusted(&fixture.host, now_of(&fixture));
    sim_machine_jump_wall_clock(&fixture.machine, 10 * year);
    assert_true(wall_trusted(&fixture.host, now_of(&fixture)) == right);
    sim_machine_jump_wall_clock(&fixture.machine, -20 * year);
    assert_true(wall_trusted(&fixture.host, now_of(&fixture)) == right);
    stop(&fixture);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_own_clock_counts_while_it_is_near_its_peers),
        cmocka_unit_test(test_a_clock_off_the_median_is_not_trusted),
        cmocka_unit_test(test_a_jump_of_the_own_clock_is_seen_before_the_next_heartbeat),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
