/* host_bed.h - what a test of a host stands on: a process of the simulator, a log on its disk, an
 * engine in memory, a transport of the test's own. Everything is made anew for each test. */
#ifndef HOLON_TESTS_UNIT_HOST_BED_H
#define HOLON_TESTS_UNIT_HOST_BED_H

#include <string.h>

#include "partition/host.h"
#include "sim/sim_files.h"
#include "sim/sim_process.h"
#include "storage/engine/engine.h"
#include "storage/log/log.h"
#include "unit.h"

enum { GROUP = GROUP_DATA_FIRST, SELF = 1, SLOT_LAST = 16383, WISH_NUMBER = 77 };

struct host_bed {
    struct sim sim;
    struct sim_machine machine;
    struct world *world;
    struct transport transport;
    struct log *log;
    struct engine_memory_disk *disk;
    struct engine *engine;
    struct partition_host *host;
    const struct log_recovered *recovered;
    size_t recovered_count;
};

static struct host_bed bed; /* an evaluation has no context of its own */

static inline void bed_make(const struct transport_table *transport)
{
    memset(&bed, 0, sizeof(bed));
    sim_init(&bed.sim, 1);
    sim_machine_init(&bed.machine, &bed.sim, SELF);
    bed.machine.disk = sim_disk_make(&bed.sim);
    bed.machine.process = sim_process_make(&bed.machine, 1, NULL, NULL);
    bed.world = sim_process_world(bed.machine.process, 0);
    bed.transport.table = transport;
    bed.disk = engine_memory_disk_make();
}

static inline void bed_free(void)
{
    sim_free(&bed.sim);
    sim_disk_free(bed.machine.disk);
    engine_memory_disk_free(bed.disk);
}

/* Inside the process, and then time goes on. */
static inline void bed_call(void (*what)(void *context), void *context, uint64_t us)
{
    sim_world_call(sim_world_of(bed.world), 0, what, context);
    sim_run_for(&bed.sim, us);
}

/* Log and engine, and the host over them; *host has what differs from test to test. Inside the
 * process, as bed_close(). */
static inline void bed_open(struct host_options *host, uint64_t log_bytes_max,
                            size_t queue_bytes_max)
{
    struct error error = {0};
    struct log_options log = {.directory = "log",
                              .cluster = {1, 2},
                              .node = SELF,
                              .store = 1,
                              .segment_size = LOG_SEGMENT_SIZE_MIN,
                              .bytes_max = log_bytes_max,
                              .queue_bytes_max = queue_bytes_max,
                              .writer_loops = 1};

    assert_int_equal(log_open(bed.world, &log, &bed.log, &error), STATUS_OK);
    log_recovery(bed.log, &bed.recovered, &bed.recovered_count);
    bed.engine = engine_memory_open(bed.disk);
    host->world = bed.world;
    host->transport = &bed.transport;
    host->log = bed.log;
    host->engines = &bed.engine;
    host->store_count = host->worker_count = 1;
    host->node = SELF;
    host->epoch = 7;
    bed.host = host_open(host);
}

/* The only replica of its group. */
static inline void bed_add_alone(void)
{
    struct error error = {0};
    const struct raft_config alone = {.incoming_count = 1, .incoming = {{{11}, SELF}}};
    struct replica_options replica = {.group = {GROUP},
                                      .replica = {11},
                                      .slot_last = SLOT_LAST,
                                      .birth_config = &alone,
                                      .vote_at_once = true};

    if (bed.recovered_count > 0) replica.recovered = &bed.recovered[0];
    assert_int_equal(host_add_replica(bed.host, &replica, &error), STATUS_OK);
}

static inline void bed_close(void *context)
{
    if (bed.host != NULL) host_close(bed.host);
    log_close(bed.log);
    engine_close(bed.engine);
    bed.host = NULL;
}

#endif
