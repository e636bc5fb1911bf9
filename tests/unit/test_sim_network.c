#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "sim/sim_network.h"

enum { NODES = 3 };

struct bench {
    struct sim sim;
    struct sim_network *network;
    struct sim_machine machines[NODES + 1];
    struct sim_process *processes[NODES + 1];
    struct peer {
        struct transport *transport;
        uint32_t got, ups, downs, out_of_order, old_epochs;
        uint64_t last;
    } peers[NODES + 1];
    uint32_t epochs[NODES + 1];
};

static void on_frame(void *context, const struct transport_peer *from, uint8_t kind,
                     struct bytes payload)
{
    struct peer *peer = context;
    uint64_t number;

    assert_int_equal(payload.size, sizeof(number));
    memcpy(&number, payload.data, sizeof(number));
    if (number <= peer->last) peer->out_of_order++;
    if (from->epoch != 1) peer->old_epochs++;
    peer->last = number;
    peer->got++;
}
static void on_up(void *context, node_id_t node)
{
    ((struct peer *)context)->ups++;
}
static void on_down(void *context, node_id_t node)
{
    ((struct peer *)context)->downs++;
}

static void start(struct bench *bench, node_id_t node)
{
    bench->processes[node] = sim_process_make(&bench->machines[node], 1, NULL, NULL);
    bench->machines[node].process = bench->processes[node];
    struct sim_identity identity = {.node = node, .epoch = ++bench->epochs[node]};
    struct peer *peer = &bench->peers[node];
    *peer = (struct peer){0};
    peer->transport =
        sim_transport_open(bench->network, &bench->processes[node]->worlds[0], &identity);
    peer->transport->events = (struct transport_events){
        .on_frame = on_frame, .on_peer_down = on_down, .on_peer_up = on_up};
    peer->transport->context = peer;
}

static void stop(struct bench *bench, node_id_t node, enum sim_end how)
{
    sim_process_end(bench->processes[node], how);
    sim_network_process_end(bench->network, bench->processes[node], how);
}

static void bench_init(struct bench *bench, uint64_t seed)
{
    *bench = (struct bench){0};
    sim_init(&bench->sim, seed);
    bench->network = sim_network_make(&bench->sim, NODES);
    for (node_id_t node = 1; node <= NODES; node++) {
        sim_machine_init(&bench->machines[node], &bench->sim, node);
        start(bench, node);
    }
    sim_run_for(&bench->sim, 1000000);
}

static void bench_free(struct bench *bench)
{
    sim_free(&bench->sim);
    sim_network_free(bench->network);
}

static void send_numbers(struct bench *bench, node_id_t from, node_id_t to, uint64_t first,
                         uint64_t last)
{
    for (uint64_t i = first; i <= last; i++) {
        transport_send(bench->peers[from].transport, to, 0, 10, bytes_make(&i, sizeof(i)));
        sim_run_for(&bench->sim, 100);
    }
}

static void test_all_pairs_connect_and_frames_arrive_in_order(void **state)
{
    struct bench bench;

    bench_init(&bench, 1);
    for (node_id_t node = 1; node <= NODES; node++)
        assert_int_equal(bench.peers[node].ups, NODES - 1);
    send_numbers(&bench, 1, 2, 1, 500);
    sim_run_for(&bench.sim, 10000);
    assert_int_equal(bench.peers[2].got, 500);
    assert_int_equal(bench.peers[2].out_of_order, 0);
    bench_free(&bench);
}

static void test_losses_doubles_and_reorderings_happen_when_asked_for(void **state)
{
    struct bench bench;

    bench_init(&bench, 2);
    struct sim_network_options *options = sim_network_options(bench.network);
    options->drop_ppm = options->duplicate_ppm = options->reorder_ppm = 100000;
    options->replay_ppm = 20000;
    send_numbers(&bench, 1, 2, 1, 2000);
    sim_run_for(&bench.sim, 1000000);
    assert_true(bench.sim.fault_counts[SIM_FAULT_DROP] > 100);
    assert_true(bench.sim.fault_counts[SIM_FAULT_DUPLICATE] > 100);
    assert_true(bench.sim.fault_counts[SIM_FAULT_REPLAY] > 10);
    assert_true(bench.peers[2].out_of_order > 100);
    bench_free(&bench);
}

static void test_a_death_is_noticed_at_once_and_a_restart_connects_with_its_new_epoch(void **state)
{
    struct bench bench;

    bench_init(&bench, 3);
    stop(&bench, 1, SIM_END_KILL);
    sim_run_for(&bench.sim, 10000);
    assert_int_equal(bench.peers[2].downs, 1);
    assert_int_equal(bench.peers[3].downs, 1);
    start(&bench, 1);
    sim_run_for(&bench.sim, 1000000);
    assert_int_equal(bench.peers[2].ups, 3);
    send_numbers(&bench, 1, 2, 1, 10);
    sim_run_for(&bench.sim, 10000);
    assert_int_equal(bench.peers[2].got, 10);
    assert_int_equal(bench.peers[2].old_epochs, 10);
    bench_free(&bench);
}

static void test_a_power_loss_is_not_noticed_until_the_node_is_back(void **state)
{
    struct bench bench;

    bench_init(&bench, 4);
    stop(&bench, 1, SIM_END_POWER);
    sim_run_for(&bench.sim, 500000);
    assert_int_equal(bench.peers[2].downs, 0);
    start(&bench, 1);
    sim_run_for(&bench.sim, 100000);
    assert_int_equal(bench.peers[2].downs, 1);
    assert_int_equal(bench.peers[2].ups, 3);
    bench_free(&bench);
}

static void test_a_cut_link_is_one_way_and_loses_or_holds(void **state)
{
    struct bench bench;

    bench_init(&bench, 5);
    sim_network_cut(bench.network, 1, 2, false);
    send_numbers(&bench, 1, 2, 1, 10);
    send_numbers(&bench, 2, 1, 1, 10);
    sim_run_for(&bench.sim, 10000);
    assert_int_equal(bench.peers[2].got, 0);
    assert_int_equal(bench.peers[1].got, 10);
    sim_network_heal(bench.network, 1, 2);
    sim_network_cut(bench.network, 1, 3, true);
    send_numbers(&bench, 1, 3, 1, 10);
    sim_run_for(&bench.sim, 10000);
    assert_int_equal(bench.peers[3].got, 0);
    sim_network_heal(bench.network, 1, 3);
    sim_run_for(&bench.sim, 10000);
    assert_int_equal(bench.peers[3].got, 10);
    assert_int_equal(bench.peers[3].out_of_order, 0);
    bench_free(&bench);
}

static void test_a_link_cut_for_long_breaks_the_connection_and_healing_restores_it(void **state)
{
    struct bench bench;

    bench_init(&bench, 6);
    sim_network_split(bench.network, 1u << 1, false);
    sim_run_for(&bench.sim, 60000000);
    assert_int_equal(bench.peers[1].downs, 2);
    assert_int_equal(bench.peers[2].downs, 1);
    sim_network_heal_all(bench.network);
    sim_run_for(&bench.sim, 1000000);
    assert_int_equal(bench.peers[1].ups, 4);
    assert_true(transport_is_up(bench.peers[1].transport, 2));
    bench_free(&bench);
}

static uint64_t trace_of(uint64_t seed)
{
    struct bench bench;

    bench_init(&bench, seed);
    sim_network_options(bench.network)->drop_ppm = 50000;
    send_numbers(&bench, 1, 2, 1, 100);
    stop(&bench, 3, SIM_END_KILL);
    sim_run_for(&bench.sim, 1000000);
    uint64_t trace = bench.sim.trace;
    bench_free(&bench);
    return trace;
}

static void test_equal_seeds_give_equal_traces(void **state)
{
    assert_true(trace_of(7) == trace_of(7));
    assert_true(trace_of(7) != trace_of(8));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_all_pairs_connect_and_frames_arrive_in_order),
        cmocka_unit_test(test_losses_doubles_and_reorderings_happen_when_asked_for),
        cmocka_unit_test(test_a_death_is_noticed_at_once_and_a_restart_connects_with_its_new_epoch),
        cmocka_unit_test(test_a_power_loss_is_not_noticed_until_the_node_is_back),
        cmocka_unit_test(test_a_cut_link_is_one_way_and_loses_or_holds),
        cmocka_unit_test(test_a_link_cut_for_long_breaks_the_connection_and_healing_restores_it),
        cmocka_unit_test(test_equal_seeds_give_equal_traces),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
