/* The time of entries (D3): it never stands still, whatever the clock of who leads now. */
#include "host_life.h"

static const struct raft_config alone = {.incoming_count = 1, .incoming = {{{11}, 1}}};
static const int64_t year = INT64_C(365) * 86400 * 1000 * 1000;

static void open_alone(void *context)
{
    open_host();
    add_replica(11, &alone);
}

static int setup_alone(void **state)
{
    setup_empty();
    run(open_alone, NULL);
    return 0;
}

static struct replica *leader(void)
{
    struct replica *replica = host_replica(bed.host, (struct group_id){GROUP});

    assert_non_null(replica);
    assert_true(replica_may_evaluate(replica, world_now(bed.world)));
    return replica;
}

static void propose_from_the_future(void *ret_time)
{
    struct entry_header header = {.attempt = 1, .entry_time = world_wall_time(bed.world) + year};

    *(int64_t *)ret_time = header.entry_time;
    assert_true(execute_propose(leader(), RAFT_ENTRY_NORMAL, &header, bytes_make(NULL, 0)) > 0);
}

/* The entry is applied only after the election that follows the restart: until the new leader has
 * an entry of its own committed, it does not know what else is. */
static void test_a_leader_goes_on_from_an_entry_applied_after_its_election(void **state)
{
    int64_t ahead;

    run(propose_from_the_future, &ahead);
    run(bed_close, NULL);
    run(open_alone, NULL);
    int64_t first = replica_time(leader(), world_now(bed.world));
    assert_true(first >= ahead);
    sim_run_for(&bed.sim, 10 * 1000 * 1000);
    int64_t then = replica_time(leader(), world_now(bed.world));
    assert_true(then >= first + 9 * 1000 * 1000); /* it may slew by a tenth */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(
            test_a_leader_goes_on_from_an_entry_applied_after_its_election, setup_alone, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
