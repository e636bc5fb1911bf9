/* The log under real threads: two workers, one writer job between them, whoever starts it.
 * Meant for the thread sanitizer as much as for its assertions. */
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "base/assert.h"
#include "base/memory.h"
#include "storage/log/log.h"
#include "unit.h"
#include "world/world_real.h"

enum { WORKERS = 2, ROUNDS = 300, ENTRIES_PER_ROUND = 3, BODY_SIZE = 3000 };

struct worker {
    struct world *world;
    struct log_queue *queue;
    pthread_t thread;
    struct world_post kick;
    struct group_id group;
    struct replica_id replica;
    uint64_t index, expected, reported;
    uint32_t rounds;
    bool idle;
    struct world_timer poll; /* for the queue to be idle at the end */
};

static void append_round(struct worker *worker)
{
    static const uint8_t body[BODY_SIZE];

    for (int i = 0; i < ENTRIES_PER_ROUND; i++) {
        struct log_entry entry = {
            .index = ++worker->index, .term = 1, .body = bytes_make(body, sizeof(body))};
        worker->expected = log_append_entry(worker->queue, worker->group, worker->replica, &entry);
    }
    if (worker->rounds % 50 == 49)
        log_release(worker->queue, worker->group, worker->replica,
                    worker->index - ENTRIES_PER_ROUND, 1);
    log_queue_submit(worker->queue);
}

static void on_durable(void *context, uint64_t position)
{
    struct worker *worker = context;

    ASSERT(position > worker->reported && position <= worker->expected);
    worker->reported = position;
    if (position < worker->expected) return;
    if (++worker->rounds < ROUNDS)
        append_round(worker);
    else
        world_timer_start(worker->world, &worker->poll, 1000);
}

static void poll_idle(struct world_timer *timer)
{
    struct worker *worker = timer->context;

    worker->idle = log_queue_idle(worker->queue);
    if (worker->idle)
        world_real_stop(worker->world);
    else
        world_timer_start(worker->world, timer, 1000);
}

static void kicked(struct world_post *post)
{
    struct worker *worker = post->context;

    log_append_state(worker->queue, worker->group, worker->replica, &(struct log_state){.term = 1});
    append_round(worker);
}

static void *worker_main(void *context)
{
    struct worker *worker = context;
    world_real_run(worker->world);
    return NULL;
}

static void remove_name(void *context, const char *name)
{
    char path[512];
    snprintf(path, sizeof(path), "%s/%s", (const char *)context, name);
    remove(path);
}

static void run_workers(uint32_t log_threads, uint32_t writer_loops)
{
    char directory[] = "/tmp/holon-test-log-XXXXXX";
    struct logger logger;
    struct host *host = NULL;
    struct log *log = NULL;
    struct error error;
    struct worker workers[WORKERS] = {0};

    assert_non_null(mkdtemp(directory));
    logger_to_stderr(&logger, LOG_LEVEL_WARN);
    struct world_real_options host_options = {.logger = &logger};
    host_options.lane_threads[LANE_LOG] = log_threads;
    assert_int_equal(host_create(&host_options, &host, &error), STATUS_OK);
    for (uint32_t i = 0; i < WORKERS; i++)
        workers[i].world = world_real_create(host, i);

    struct log_options options = {.directory = directory,
                                  .cluster = {1, 2},
                                  .node = 1,
                                  .store = 9,
                                  .segment_size = LOG_SEGMENT_SIZE_MIN,
                                  .queue_bytes_max = 1 << 20,
                                  .writer_loops = writer_loops};
    assert_int_equal(log_open(workers[0].world, &options, &log, &error), STATUS_OK);
    for (uint32_t i = 0; i < WORKERS; i++) {
        struct worker *worker = &workers[i];
        worker->group.value = 10 + i;
        worker->replica.value = 100 + i;
        worker->poll = (struct world_timer){.fire = poll_idle, .context = worker};
        worker->queue = log_queue_open(log, worker->world, worker, on_durable);
        worker->kick = (struct world_post){.run = kicked, .context = worker};
        world_post(worker->world, &worker->kick);
    }
    for (uint32_t i = 0; i < WORKERS; i++)
        pthread_create(&workers[i].thread, NULL, worker_main, &workers[i]);
    for (uint32_t i = 0; i < WORKERS; i++)
        pthread_join(workers[i].thread, NULL);
    for (uint32_t i = 0; i < WORKERS; i++)
        world_real_drain(workers[i].world);
    for (uint32_t i = 0; i < WORKERS; i++)
        log_queue_close(workers[i].queue);

    struct log_statistics statistics;
    log_statistics(log, &statistics);
    print_message("batches %llu, records %llu, segments %llu, last batch %llu us\n",
                  (unsigned long long)statistics.batches, (unsigned long long)statistics.records,
                  (unsigned long long)statistics.segments,
                  (unsigned long long)statistics.last_sync_us);
    log_close(log);

    const struct log_recovered *groups;
    size_t count;
    assert_int_equal(log_open(workers[0].world, &options, &log, &error), STATUS_OK);
    log_recovery(log, &groups, &count);
    assert_int_equal(count, WORKERS);
    for (uint32_t i = 0; i < WORKERS; i++)
        assert_int_equal(groups[i].base_index + groups[i].entry_count, ROUNDS * ENTRIES_PER_ROUND);
    log_recovery_free(log);
    log_close(log);
    world_list_dir(workers[0].world, directory, directory, remove_name, &error);
    remove(directory);
    for (uint32_t i = 0; i < WORKERS; i++)
        world_real_destroy(workers[i].world);
    host_destroy(host);
}

static void test_two_workers_share_one_log_thread(void **state)
{
    (void)state;
    run_workers(1, 16);
    run_workers(1, 1);
}

/* The writer's job wanders between threads, still one at a time. */
static void test_two_workers_with_log_threads_of_their_own(void **state)
{
    (void)state;
    run_workers(2, 16);
    run_workers(2, 1);
}

/* --- a sync that fails ---------------------------------------------------------------- */

/* world_fatal() ends a real process. Here it returns, as in a simulation, so that every thread
 * meets the failed log. */
enum { SYNCS_GOOD = 40, FATAL_ROUNDS = 400, ROUND_US = 100 };

static const struct world_table *real_table;
static atomic_uint syncs, fatals;

static enum status failing_sync(struct file *file, struct error *error)
{
    if (atomic_fetch_add(&syncs, 1) >= SYNCS_GOOD)
        return error_set(error, STATUS_IO, "sync failed (injected)");
    return real_table->file_sync(file, error);
}

static void fatal_returns(struct world *world, const char *text)
{
    (void)world;
    (void)text;
    atomic_fetch_add(&fatals, 1);
}

static void durable_or_not(void *context, uint64_t position)
{
    struct worker *worker = context;
    worker->reported = position;
}

/* Goes on appending whatever becomes of it. */
static void append_blindly(struct world_timer *timer)
{
    struct worker *worker = timer->context;

    if (++worker->rounds > FATAL_ROUNDS) {
        world_real_stop(worker->world);
        return;
    }
    append_round(worker);
    world_timer_start(worker->world, timer, ROUND_US);
}

static void kicked_blindly(struct world_post *post)
{
    struct worker *worker = post->context;

    log_append_state(worker->queue, worker->group, worker->replica, &(struct log_state){.term = 1});
    append_blindly(&worker->poll);
}

static void test_a_failed_sync_is_seen_by_all_threads_and_reported_to_none(void **state)
{
    char directory[] = "/tmp/holon-test-log-XXXXXX";
    struct logger logger;
    struct host *host = NULL;
    struct log *log = NULL;
    struct error error;
    struct worker workers[WORKERS] = {0};
    struct world_table table;
    const struct world_table *own_tables[WORKERS]; /* each world frees its own */

    (void)state;
    assert_non_null(mkdtemp(directory));
    logger_to_stderr(&logger, LOG_LEVEL_WARN);
    struct world_real_options host_options = {.logger = &logger};
    host_options.lane_threads[LANE_LOG] = WORKERS;
    assert_int_equal(host_create(&host_options, &host, &error), STATUS_OK);
    for (uint32_t i = 0; i < WORKERS; i++)
        workers[i].world = world_real_create(host, i);
    real_table = workers[0].world->table;
    table = *real_table;
    table.file_sync = failing_sync;
    table.fatal = fatal_returns;
    for (uint32_t i = 0; i < WORKERS; i++) {
        own_tables[i] = workers[i].world->table;
        workers[i].world->table = &table;
    }

    struct log_options options = {.directory = directory,
                                  .cluster = {1, 2},
                                  .node = 1,
                                  .store = 9,
                                  .segment_size = LOG_SEGMENT_SIZE_MIN,
                                  .queue_bytes_max = 1 << 20};
    assert_int_equal(log_open(workers[0].world, &options, &log, &error), STATUS_OK);
    for (uint32_t i = 0; i < WORKERS; i++) {
        struct worker *worker = &workers[i];
        worker->group.value = 10 + i;
        worker->replica.value = 100 + i;
        worker->poll = (struct world_timer){.fire = append_blindly, .context = worker};
        worker->queue = log_queue_open(log, worker->world, worker, durable_or_not);
        worker->kick = (struct world_post){.run = kicked_blindly, .context = worker};
        world_post(worker->world, &worker->kick);
    }
    for (uint32_t i = 0; i < WORKERS; i++)
        pthread_create(&workers[i].thread, NULL, worker_main, &workers[i]);
    for (uint32_t i = 0; i < WORKERS; i++)
        pthread_join(workers[i].thread, NULL);
    for (uint32_t i = 0; i < WORKERS; i++)
        world_real_drain(workers[i].world);
    assert_true(atomic_load(&fatals) >= 1);
    for (uint32_t i = 0; i < WORKERS; i++) {
        assert_true(workers[i].reported < workers[i].expected);
        log_queue_close(workers[i].queue);
    }
    log_abandon(log);
    world_list_dir(workers[0].world, directory, directory, remove_name, &error);
    remove(directory);
    for (uint32_t i = 0; i < WORKERS; i++) {
        workers[i].world->table = own_tables[i];
        world_real_destroy(workers[i].world);
    }
    host_destroy(host);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_failed_sync_is_seen_by_all_threads_and_reported_to_none),
        cmocka_unit_test(test_two_workers_share_one_log_thread),
        cmocka_unit_test(test_two_workers_with_log_threads_of_their_own),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
