/* log_fixture.h - a log on a fake disk, for test_log_*.c. Functions are inline because helpers
 * in .c files are linked to tests of lower layers too. */
#ifndef HOLON_TESTS_UNIT_LOG_FIXTURE_H
#define HOLON_TESTS_UNIT_LOG_FIXTURE_H

#include <stdio.h>

#include "base/memory.h"
#include "fake_disk.h"
#include "storage/log/log.h"
#include "unit.h"

#define SEGMENT_1 "log/0000000000000001.seg"
#define SEGMENT_2 "log/0000000000000002.seg"
#define SEGMENT_3 "log/0000000000000003.seg"
#define MARK "log/durable"

struct log_fixture {
    struct fake_disk *disk;
    struct log_options options;
    struct log *log;
    struct log_queue *queue;
    uint64_t durable; /* position reported */
    uint64_t reports;
    struct error error;
};

static const struct group_id GROUP = {7};
static const struct replica_id REPLICA = {70};

static inline void fixture_durable(void *context, uint64_t position)
{
    struct log_fixture *fixture = context;
    assert_true(position > fixture->durable);
    fixture->durable = position;
    fixture->reports++;
}

static inline enum status fixture_try_open(struct log_fixture *fixture)
{
    enum status status =
        log_open(&fixture->disk->world, &fixture->options, &fixture->log, &fixture->error);
    if (status) return status;
    fixture->durable = 0;
    fixture->queue = log_queue_open(fixture->log, &fixture->disk->world, fixture, fixture_durable);
    return STATUS_OK;
}

static inline void fixture_open(struct log_fixture *fixture)
{
    enum status status = fixture_try_open(fixture);
    if (status) fail_msg("log_open: %s", fixture->error.text);
}

static inline int fixture_setup(void **state)
{
    struct log_fixture *fixture = memory_allocate_zero(sizeof(*fixture));

    fixture->disk = fake_disk_make();
    fixture->options = (struct log_options){.directory = "log",
                                            .cluster = {1, 2},
                                            .node = 3,
                                            .store = 4,
                                            .segment_size = LOG_SEGMENT_SIZE_MIN,
                                            .queue_bytes_max = 1024 * 1024,
                                            .writer_loops = 1};
    fixture_open(fixture);
    *state = fixture;
    return 0;
}

/* What a crash does to the process: its memory is gone. The disk is the test's business. */
static inline void fixture_abandon(struct log_fixture *fixture)
{
    if (fixture->log) log_abandon(fixture->log);
    fixture->log = NULL;
    fixture->queue = NULL;
}

static inline int fixture_teardown(void **state)
{
    struct log_fixture *fixture = *state;

    fixture_abandon(fixture);
    fake_disk_free(fixture->disk);
    memory_free(fixture);
    return 0;
}

static inline void fixture_close(struct log_fixture *fixture)
{
    fake_disk_run(fixture->disk);
    assert_true(log_queue_idle(fixture->queue));
    log_queue_close(fixture->queue);
    log_close(fixture->log);
    fixture->log = NULL;
    fixture->queue = NULL;
}

static inline void fixture_restart(struct log_fixture *fixture)
{
    fixture_close(fixture);
    fixture_open(fixture);
}

/* Submits and waits until all is durable. */
static inline void fixture_flush(struct log_fixture *fixture)
{
    log_queue_submit(fixture->queue);
    fake_disk_run(fixture->disk);
}

/* Submits; the batch is written, but the power goes before its sync ends. */
static inline void fixture_write_unsynced(struct log_fixture *fixture)
{
    log_queue_submit(fixture->queue);
    fixture->disk->effects_left = 1;
    fake_disk_run(fixture->disk);
    assert_true(fixture->disk->dead);
    fixture_abandon(fixture);
}

static inline uint64_t fixture_state(struct log_fixture *fixture, uint64_t term, uint64_t vote)
{
    struct log_state state = {.term = term, .vote = {vote}};
    return log_append_state(fixture->queue, GROUP, REPLICA, &state);
}

static inline uint64_t fixture_entry(struct log_fixture *fixture, uint64_t index, uint64_t term,
                                     const char *body)
{
    struct log_entry entry = {.index = index, .term = term, .type = 1, .body = bytes_of(body)};
    return log_append_entry(fixture->queue, GROUP, REPLICA, &entry);
}

/* Entries of 100 KiB: ten fill a segment. */
static inline void fixture_big_entries(struct log_fixture *fixture, uint64_t first, uint64_t last,
                                       uint64_t term)
{
    enum { SIZE = 100 * 1024 };
    uint8_t *body = memory_allocate_zero(SIZE);

    for (uint64_t index = first; index <= last; index++) {
        struct log_entry entry = {
            .index = index, .term = term, .type = 1, .body = bytes_make(body, SIZE)};
        log_append_entry(fixture->queue, GROUP, REPLICA, &entry);
        fixture_flush(fixture);
    }
    memory_free(body);
}

static inline const struct log_recovered *fixture_recovered(struct log_fixture *fixture,
                                                            struct group_id group)
{
    const struct log_recovered *groups;
    size_t count;

    log_recovery(fixture->log, &groups, &count);
    for (size_t i = 0; i < count; i++)
        if (groups[i].group.value == group.value) return &groups[i];
    return NULL;
}

static inline struct log_statistics fixture_statistics(struct log_fixture *fixture)
{
    struct log_statistics statistics;
    log_statistics(fixture->log, &statistics);
    return statistics;
}

#endif
