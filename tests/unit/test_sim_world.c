/* The simulator's own tests: a tool that judges others is tested first. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/memory.h"
#include "sim/sim_files.h"
#include "sim/sim_process.h"
#include "sim/sim_stream.h"

#include <stdio.h>
#include <stdlib.h>

struct bench {
    struct sim sim;
    struct sim_machine machines[2];
    struct sim_process *processes[2];
};

static void bench_init(struct bench *bench, uint64_t seed)
{
    *bench = (struct bench){0};
    sim_init(&bench->sim, seed);
    for (uint32_t i = 0; i < 2; i++) {
        sim_machine_init(&bench->machines[i], &bench->sim, i);
        bench->machines[i].disk = sim_disk_make(&bench->sim);
        bench->processes[i] = sim_process_make(&bench->machines[i], 1, NULL, NULL);
        bench->machines[i].process = bench->processes[i];
    }
}

static void bench_free(struct bench *bench)
{
    sim_free(&bench->sim);
    for (uint32_t i = 0; i < 2; i++)
        sim_disk_free(bench->machines[i].disk);
}

static struct sim_process *restart(struct bench *bench, uint32_t i, enum sim_end how)
{
    sim_process_end(bench->processes[i], how);
    if (how == SIM_END_POWER) sim_disk_power_loss(bench->machines[i].disk);
    bench->processes[i] = sim_process_make(&bench->machines[i], 1, NULL, NULL);
    bench->machines[i].process = bench->processes[i];
    return bench->processes[i];
}

static struct world *world_at(struct bench *bench, uint32_t i)
{
    return sim_process_world(bench->processes[i], 0);
}

/* --- events --- */

struct order {
    char text[64];
    size_t size;
};

static void note_a(struct sim *sim, void *context)
{
    struct order *order = context;
    order->text[order->size++] = 'a';
}
static void note_b(struct sim *sim, void *context)
{
    struct order *order = context;
    order->text[order->size++] = 'b';
}

static void test_events_run_in_order_of_time_then_of_scheduling(void **state)
{
    struct sim sim;
    struct order order = {0};

    sim_init(&sim, 1);
    sim_call(&sim, 20, note_b, &order);
    sim_call(&sim, 10, note_a, &order);
    sim_call(&sim, 20, note_a, &order);
    sim_call(&sim, 10, note_b, &order);
    assert_true(sim_run_until(&sim, 15));
    assert_string_equal(order.text, "ab");
    assert_true(sim_run_until(&sim, 100));
    assert_string_equal(order.text, "abba");
    assert_int_equal(sim.now, 100);
    sim_free(&sim);
}

struct sorted {
    uint64_t last_time, last_sequence, count;
};

static void note_sorted(struct sim *sim, struct sim_event *event)
{
    struct sorted *sorted = event->a;

    assert_true(event->time > sorted->last_time ||
                (event->time == sorted->last_time && event->sequence > sorted->last_sequence));
    *sorted = (struct sorted){event->time, event->sequence, sorted->count + 1};
    if (event->sequence % 3 == 0) /* new ones come in between */
        sim_schedule(sim, sim_below(sim, SIM_RANDOM_FAULT, 100), SIM_EVENT_CALL, NULL, note_sorted)
            ->a = sorted;
}

static void test_many_events_come_out_sorted(void **state)
{
    struct sim sim;
    struct sorted sorted = {0};

    sim_init(&sim, 2);
    for (int i = 0; i < 5000; i++)
        sim_schedule(&sim, 1 + sim_below(&sim, SIM_RANDOM_FAULT, 1000), SIM_EVENT_CALL, NULL,
                     note_sorted)
            ->a = &sorted;
    sim_run_until(&sim, 1000000);
    assert_true(sorted.count > 6000);
    sim_free(&sim);
}

/* --- timers --- */

struct tick {
    struct world_timer timer;
    struct world *world;
    uint64_t period, count, last;
};

static void on_tick(struct world_timer *timer)
{
    struct tick *tick = timer->context;

    tick->count++;
    tick->last = world_now(tick->world);
    world_timer_start(tick->world, timer, tick->period);
}

static void tick_start(struct tick *tick, struct world *world, uint64_t period)
{
    *tick = (struct tick){.world = world, .period = period};
    tick->timer.fire = on_tick;
    tick->timer.context = tick;
    world_timer_start(world, &tick->timer, period);
}

static void test_timers_never_fire_early_and_stop_with_their_process(void **state)
{
    struct bench bench;
    struct tick tick;

    bench_init(&bench, 3);
    uint64_t start = world_now(world_at(&bench, 0));
    tick_start(&tick, world_at(&bench, 0), 1000);
    sim_run_until(&bench.sim, 100000);
    assert_true(tick.count >= 80 && tick.count <= 100);
    assert_true(tick.last - start >= tick.count * 1000);
    sim_process_end(bench.processes[0], SIM_END_KILL);
    uint64_t count = tick.count;
    sim_run_until(&bench.sim, 200000);
    assert_int_equal(tick.count, count);
    bench_free(&bench);
}

static void test_a_fast_clock_gains_and_never_goes_back(void **state)
{
    struct bench bench;
    struct tick slow, fast;

    bench_init(&bench, 4);
    sim_machine_set_rate(&bench.machines[0], -100000);
    sim_machine_set_rate(&bench.machines[1], 100000);
    uint64_t begin[2] = {world_now(world_at(&bench, 0)), world_now(world_at(&bench, 1))};
    tick_start(&slow, world_at(&bench, 0), 1000);
    tick_start(&fast, world_at(&bench, 1), 1000);
    sim_run_until(&bench.sim, 10000000);
    assert_int_equal(world_now(world_at(&bench, 0)) - begin[0], 9000000);
    assert_int_equal(world_now(world_at(&bench, 1)) - begin[1], 11000000);
    assert_true(fast.count > slow.count);
    uint64_t now = world_now(world_at(&bench, 1));
    int64_t wall = world_wall_time(world_at(&bench, 1));
    sim_machine_set_rate(&bench.machines[1], -50000);
    sim_machine_jump_wall_clock(&bench.machines[1], -1000000);
    assert_int_equal(world_now(world_at(&bench, 1)), now);
    assert_int_equal(world_wall_time(world_at(&bench, 1)), wall - 1000000);
    bench_free(&bench);
}

static void test_a_paused_process_does_nothing_and_catches_up(void **state)
{
    struct bench bench;
    struct tick tick;

    bench_init(&bench, 5);
    tick_start(&tick, world_at(&bench, 0), 1000);
    sim_run_until(&bench.sim, 10000);
    sim_process_pause(bench.processes[0]);
    uint64_t count = tick.count;
    sim_run_until(&bench.sim, 5000000);
    assert_int_equal(tick.count, count);
    sim_process_resume(bench.processes[0]);
    sim_run_until(&bench.sim, 5010000);
    assert_true(tick.count > count);
    bench_free(&bench);
}

/* --- files --- */

static void write_file(struct world *world, const char *path, char fill, size_t size, bool sync)
{
    struct file *file;
    uint8_t *bytes = memory_allocate(size);

    memset(bytes, fill, size);
    assert_int_equal(file_open(world, path, FILE_WRITE | FILE_CREATE, &file, NULL), STATUS_OK);
    assert_int_equal(file_write(file, 0, bytes_make(bytes, size), NULL), STATUS_OK);
    if (sync) assert_int_equal(file_sync(file, NULL), STATUS_OK);
    file_close(file);
    memory_free(bytes);
}

/* Number of bytes of the file that are `fill`; -1: there is no file. */
static long count_fill(struct world *world, const char *path, char fill)
{
    struct file *file;
    uint64_t size;
    size_t got;
    long count = 0;

    if (file_open(world, path, FILE_READ, &file, NULL) != STATUS_OK) return -1;
    assert_int_equal(file_size(file, &size, NULL), STATUS_OK);
    uint8_t *bytes = memory_allocate(size);
    assert_int_equal(file_read(file, 0, bytes, size, &got, NULL), STATUS_OK);
    assert_int_equal(got, size);
    for (size_t i = 0; i < got; i++)
        count += bytes[i] == (uint8_t)fill;
    memory_free(bytes);
    file_close(file);
    return count;
}

static void test_synced_bytes_and_names_survive_a_power_loss(void **state)
{
    for (uint64_t seed = 0; seed < 50; seed++) {
        struct bench bench;
        bench_init(&bench, seed);
        struct world *world = world_at(&bench, 0);
        assert_int_equal(world_make_dir(world, "d", NULL), STATUS_OK);
        assert_int_equal(world_sync_dir(world, "", NULL), STATUS_OK);
        write_file(world, "d/f", 'x', 10000, true);
        assert_int_equal(world_sync_dir(world, "d", NULL), STATUS_OK);
        write_file(world, "d/f", 'y', 5000, false);
        restart(&bench, 0, SIM_END_POWER);
        long x = count_fill(world_at(&bench, 0), "d/f", 'x');
        long y = count_fill(world_at(&bench, 0), "d/f", 'y');
        assert_int_equal(x + y, 10000);
        assert_true(x >= 5000);
        bench_free(&bench);
    }
}

static void test_unsynced_bytes_survive_kill_but_power_loss_takes_any_subset(void **state)
{
    bool all = false, none = false, some = false;

    for (uint64_t seed = 0; seed < 200; seed++) {
        struct bench bench;
        bench_init(&bench, seed);
        write_file(world_at(&bench, 0), "f", 'x', 8192, true);
        world_sync_dir(world_at(&bench, 0), "", NULL);
        write_file(world_at(&bench, 0), "f", 'y', 8192, false);
        restart(&bench, 0, SIM_END_KILL);
        assert_int_equal(count_fill(world_at(&bench, 0), "f", 'y'), 8192);
        restart(&bench, 0, SIM_END_POWER);
        long left = count_fill(world_at(&bench, 0), "f", 'y');
        assert_int_equal(left % SIM_SECTOR_SIZE, 0);
        all |= left == 8192;
        none |= left == 0;
        some |= left > 0 && left < 8192;
        bench_free(&bench);
    }
    assert_true(all && none && some);
}

static void test_a_rename_is_atomic_and_durable_only_after_the_directory_sync(void **state)
{
    bool lost = false, kept = false;

    for (uint64_t seed = 0; seed < 100; seed++) {
        struct bench bench;
        bench_init(&bench, seed);
        struct world *world = world_at(&bench, 0);
        write_file(world, "f", 'o', 100, true);
        world_sync_dir(world, "", NULL);
        write_file(world, "f.new", 'n', 100, true);
        world_rename(world, "f.new", "f", NULL);
        bool synced = seed % 2;
        if (synced) world_sync_dir(world, "", NULL);
        restart(&bench, 0, SIM_END_POWER);
        long fresh = count_fill(world_at(&bench, 0), "f", 'n');
        long old = count_fill(world_at(&bench, 0), "f", 'o');
        assert_int_equal(fresh + old, 100);
        if (synced) assert_int_equal(fresh, 100);
        lost |= !synced && old == 100;
        kept |= !synced && fresh == 100;
        bench_free(&bench);
    }
    assert_true(lost && kept);
}

static void test_a_second_process_does_not_get_the_lock_until_the_first_is_gone(void **state)
{
    struct bench bench;
    struct file *first, *second;

    bench_init(&bench, 6);
    struct sim_process *twin = sim_process_make(&bench.machines[0], 1, NULL, NULL);
    struct world *world = sim_process_world(twin, 0);
    file_open(world_at(&bench, 0), "lock", FILE_WRITE | FILE_CREATE, &first, NULL);
    assert_int_equal(file_lock(first, NULL), STATUS_OK);
    assert_int_equal(file_open(world, "lock", FILE_WRITE, &second, NULL), STATUS_OK);
    assert_int_equal(file_lock(second, NULL), STATUS_REFUSED);
    sim_process_end(bench.processes[0], SIM_END_KILL);
    assert_int_equal(file_lock(second, NULL), STATUS_OK);
    bench_free(&bench);
}

/* --- streams --- */

struct sink {
    struct stream *accepted;
    uint64_t received, wrong, closed;
    enum status reason;
    bool pauses;
};

static void sink_data(void *context, struct stream *stream, struct bytes data)
{
    struct sink *sink = context;

    for (size_t i = 0; i < data.size; i++)
        sink->wrong += data.data[i] != (uint8_t)(sink->received + i);
    sink->received += data.size;
    if (sink->pauses) stream_read_pause(stream);
}
static void sink_closed(void *context, struct stream *stream, enum status reason)
{
    struct sink *sink = context;

    sink->accepted = NULL;
    sink->closed++;
    sink->reason = reason;
}
static const struct stream_events sink_events = {.on_data = sink_data, .on_closed = sink_closed};

static void sink_accept(void *context, struct stream *stream)
{
    ((struct sink *)context)->accepted = stream;
    stream_set_events(stream, &sink_events, context);
}

struct source {
    struct stream *stream;
    uint64_t closed;
    enum status reason;
    bool connected;
};

static void source_data(void *context, struct stream *stream, struct bytes data)
{
}
static void source_connected(void *context, struct stream *stream)
{
    ((struct source *)context)->connected = true;
}
static void source_closed(void *context, struct stream *stream, enum status reason)
{
    struct source *source = context;

    source->stream = NULL;
    source->closed++;
    source->reason = reason;
}
static const struct stream_events source_events = {
    .on_data = source_data, .on_connected = source_connected, .on_closed = source_closed};

static void send_from(void *context)
{
    struct source *source = context;
    uint8_t bytes[256 * 40];

    for (size_t i = 0; i < sizeof(bytes); i++)
        bytes[i] = (uint8_t)i;
    for (int i = 0; i < 30; i++)
        assert_int_equal(
            buffer_append(stream_output(source->stream), bytes_make(bytes, sizeof(bytes))),
            STATUS_OK);
    stream_flush(source->stream);
}
static void close_source(void *context)
{
    stream_close(((struct source *)context)->stream);
}

static void open_pair(struct bench *bench, struct sink *sink, struct source *source)
{
    struct listener *listener;

    assert_int_equal(
        world_listen(world_at(bench, 1), "127.0.0.1:7001", sink, sink_accept, &listener, NULL),
        STATUS_OK);
    source->stream = world_connect(world_at(bench, 0), "127.0.0.1:7001", &source_events, source);
    sim_run_for(&bench->sim, 10000);
    assert_true(source->connected);
    assert_non_null(sink->accepted);
}

static void test_streams_keep_bytes_and_order_when_split_and_throttled(void **state)
{
    struct bench bench;
    struct sink sink = {0};
    struct source source = {0};

    bench_init(&bench, 7);
    bench.sim.stream_options->split_permille = 900;
    bench.sim.stream_options->window = 1000;
    open_pair(&bench, &sink, &source);
    sim_world_call(&bench.processes[0]->worlds[0], 0, send_from, &source);
    sim_world_call(&bench.processes[0]->worlds[0], 1, close_source, &source);
    bench.sim.stream_options->window = 1 << 20;
    sim_run_for(&bench.sim, 60000000);
    assert_int_equal(sink.received, 30 * 256 * 40);
    assert_int_equal(sink.wrong, 0);
    assert_int_equal(sink.closed, 1);
    assert_int_equal(sink.reason, STATUS_CLOSED);
    assert_int_equal(source.closed, 1);
    bench_free(&bench);
}

static void test_a_killed_process_closes_its_streams_and_one_without_power_does_not(void **state)
{
    struct bench bench;
    struct sink sink = {0};
    struct source source = {0};

    bench_init(&bench, 8);
    open_pair(&bench, &sink, &source);
    restart(&bench, 1, SIM_END_KILL);
    sim_run_for(&bench.sim, 10000);
    assert_int_equal(source.closed, 1);
    assert_int_equal(sink.closed, 0); /* the dead are not called */

    source = (struct source){0};
    sink = (struct sink){0};
    open_pair(&bench, &sink, &source);
    restart(&bench, 1, SIM_END_POWER);
    sim_run_for(&bench.sim, 20000000);
    assert_int_equal(source.closed, 0);
    sim_world_call(&bench.processes[0]->worlds[0], 0, send_from, &source);
    sim_run_for(&bench.sim, 10000); /* the machine is up again: its kernel knows no such stream */
    assert_int_equal(source.closed, 1);
    bench_free(&bench);
}

static void test_connecting_to_nobody_is_refused(void **state)
{
    struct bench bench;
    struct source source = {0};

    bench_init(&bench, 9);
    source.stream = world_connect(world_at(&bench, 0), "127.0.0.1:1", &source_events, &source);
    sim_run_for(&bench.sim, 10000);
    assert_int_equal(source.closed, 1);
    assert_int_equal(source.reason, STATUS_REFUSED);
    bench_free(&bench);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_events_run_in_order_of_time_then_of_scheduling),
        cmocka_unit_test(test_many_events_come_out_sorted),
        cmocka_unit_test(test_timers_never_fire_early_and_stop_with_their_process),
        cmocka_unit_test(test_a_fast_clock_gains_and_never_goes_back),
        cmocka_unit_test(test_a_paused_process_does_nothing_and_catches_up),
        cmocka_unit_test(test_synced_bytes_and_names_survive_a_power_loss),
        cmocka_unit_test(test_unsynced_bytes_survive_kill_but_power_loss_takes_any_subset),
        cmocka_unit_test(test_a_rename_is_atomic_and_durable_only_after_the_directory_sync),
        cmocka_unit_test(test_a_second_process_does_not_get_the_lock_until_the_first_is_gone),
        cmocka_unit_test(test_streams_keep_bytes_and_order_when_split_and_throttled),
        cmocka_unit_test(test_a_killed_process_closes_its_streams_and_one_without_power_does_not),
        cmocka_unit_test(test_connecting_to_nobody_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
