/* WHY 5.3, on the log alone: a node of this version is given a replica back only with an
 * empty disk, yet the log must be right when replicas move. */
#include "sim/scenarios/stage.h"
#include "storage/log/log.h"

#include <inttypes.h>

enum { ENTRIES_OF_FIRST = 9, ENTRIES_OF_SECOND_MAX = 3, GROUP = 7 };

struct keeper { /* a process that only has a log */
    struct sim_machine machine;
    struct sim_process *process;
    struct log *log;
    struct log_queue *queue;
    uint64_t position, durable;
    uint64_t second_count; /* entries of the second replica */
};

static void on_durable(void *context, uint64_t position)
{
    ((struct keeper *)context)->durable = position;
}

static void on_end(void *context, struct sim_process *process, enum sim_end how)
{
    struct keeper *keeper = context;

    if (keeper->queue) log_queue_close(keeper->queue);
    if (keeper->log) log_abandon(keeper->log);
    keeper->queue = NULL;
    keeper->log = NULL;
}

static void start_keeper(struct sim_bed *bed, struct keeper *keeper)
{
    struct error error;
    struct log_options options = {.directory = "log",
                                  .cluster = {1, 2},
                                  .node = 1,
                                  .store = 3,
                                  .segment_size = 1 << 20,
                                  .queue_bytes_max = 1 << 20,
                                  .writer_loops = 1};

    keeper->process = sim_process_make(&keeper->machine, 1, keeper, on_end);
    keeper->machine.process = keeper->process;
    struct world *world = sim_process_world(keeper->process, 0);
    if (log_open(world, &options, &keeper->log, &error) != STATUS_OK) {
        sim_violation(&bed->sim, "the log does not open: %s", error.text);
        keeper->log = NULL;
    }
}

static void append(struct keeper *keeper, uint64_t replica, uint64_t index, uint64_t term)
{
    char body[32];
    struct log_entry entry = {.index = index, .term = term};

    snprintf(body, sizeof(body), "r%" PRIu64 "e%" PRIu64, replica, index);
    entry.body = bytes_of(body);
    keeper->position = log_append_entry(keeper->queue, (struct group_id){GROUP},
                                        (struct replica_id){replica}, &entry);
}

static void write_both(void *context)
{
    struct keeper *keeper = context;
    struct group_id group = {GROUP};
    struct log_state old = {.term = 5, .vote = {1}}, young = {.term = 1};

    keeper->queue =
        log_queue_open(keeper->log, sim_process_world(keeper->process, 0), keeper, on_durable);
    log_append_state(keeper->queue, group, (struct replica_id){1}, &old);
    for (uint64_t i = 1; i <= ENTRIES_OF_FIRST; i++)
        append(keeper, 1, i, 5);
    log_append_removed(keeper->queue, group, (struct replica_id){1});
    log_append_state(keeper->queue, group, (struct replica_id){2}, &young);
    for (uint64_t i = 1; i <= keeper->second_count; i++)
        append(keeper, 2, i, 1);
    append(keeper, 1, ENTRIES_OF_FIRST + 1, 5); /* a late record of the dead one */
    log_queue_submit(keeper->queue);
}

static void check_recovered(struct sim_bed *bed, struct keeper *keeper)
{
    const struct log_recovered *groups;
    size_t count;

    log_recovery(keeper->log, &groups, &count);
    bool right = count == 1 && groups[0].replica.value == 2 &&
                 groups[0].entry_count == keeper->second_count && groups[0].state.term == 1 &&
                 groups[0].state.vote.value == 0;
    for (size_t i = 0; right && i < groups[0].entry_count; i++) {
        char body[32];
        snprintf(body, sizeof(body), "r2e%zu", i + 1);
        right = groups[0].entries[i].index == i + 1 &&
                bytes_equal(groups[0].entries[i].body, bytes_of(body));
    }
    if (!right)
        sim_violation(&bed->sim,
                      "WHY 5.3: %zu groups, replica %" PRIu64 ", term %" PRIu64
                      ", %zu entries recovered, and not the %" PRIu64 " of replica 2",
                      count, count ? groups[0].replica.value : 0, count ? groups[0].state.term : 0,
                      count ? groups[0].entry_count : 0, keeper->second_count);
}

/* Goal: entries and votes of a removed replica are never taken for its successor's.
 * Method: both lie in one log; the process is killed and the log is read again. */
void scenario_replica_born_again(struct sim_bed *bed)
{
    struct keeper *keeper = sim_bed_keep(bed, sizeof(*keeper));

    sim_bed_plant(bed, NULL);
    sim_machine_init(&keeper->machine, &bed->sim, 1);
    keeper->machine.disk = sim_disk_make(&bed->sim);
    sim_disk_make_dir(keeper->machine.disk, "log"); /* its name is not what is looked at here */
    bed->spare_disk = keeper->machine.disk;
    keeper->second_count = stage_draw(bed, 0, ENTRIES_OF_SECOND_MAX);
    start_keeper(bed, keeper);
    if (bed->sim.failed) return;
    sim_world_call(&keeper->process->worlds[0], 0, write_both, keeper);
    sim_run_for(&bed->sim, 2 * STAGE_S);
    SIM_CHECK(&bed->sim, keeper->durable >= keeper->position);
    sim_process_end(keeper->process, stage_draw(bed, 0, 1) ? SIM_END_KILL : SIM_END_POWER);
    sim_disk_power_loss(keeper->machine.disk);
    sim_fault_hit(&bed->sim, SIM_FAULT_POWER_LOSS);
    start_keeper(bed, keeper);
    if (bed->sim.failed) return;
    check_recovered(bed, keeper);
    sim_process_end(keeper->process, SIM_END_KILL);
}
