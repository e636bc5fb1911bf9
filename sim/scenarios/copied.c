/* F28, F65: states that are copied make the disks slow. */
#include "partition/host.h"
#include "sim/scenarios/stage.h"

enum {
    TURN_US = 20 * STAGE_MS,
    PARTITIONS = 16,
    REGISTERS = 128,
    REGISTER_BYTES = 4 << 10,
    RATE_LEAST_MIN = 6 << 10, /* bytes a second */
    RATE_LEAST_MAX = 16 << 10,
    KNEE = 64 << 10, /* bytes a second, of which more makes the disks slow */
    SLOWER = 60,
    FILL_US = 6 * STAGE_S,
    WHOLE_US = 120 * STAGE_S,
};

static uint64_t copied_bytes(struct sim_bed *bed, uint64_t *ret_held)
{
    struct host_statistics statistics;
    uint64_t bytes = 0;

    *ret_held = 0;
    for (node_id_t id = 1; id <= bed->cluster->options.nodes; id++) {
        struct sim_node *node = stage_node(bed, id);
        struct partition_host *host = sim_node_is_up(node) ? node_host(node->now->node, 0) : NULL;
        if (host == NULL) continue;
        host_statistics(host, &statistics);
        bytes += statistics.snapshot_bytes;
        *ret_held += statistics.copies_held;
    }
    return bytes;
}

struct copying {
    struct sim_bed *bed;
    uint64_t began, ended; /* the first and the last turn in which something was copied */
    uint64_t first, last;  /* bytes before and after */
    uint64_t load;         /* bytes of the last second or so */
    uint64_t held;
};

/* More than KNEE within a second, and every disk takes SLOWER times as long. */
static void turn(struct copying *copying)
{
    struct sim_bed *bed = copying->bed;

    sim_run_for(&bed->sim, TURN_US);
    uint64_t bytes = copied_bytes(bed, &copying->held);
    if (bytes > copying->last) {
        if (copying->began == 0) copying->began = bed->sim.now;
        copying->ended = bed->sim.now;
        copying->load += bytes - copying->last;
        copying->last = bytes;
    }
    copying->load -= copying->load * TURN_US / STAGE_S;
    for (node_id_t id = 1; id <= bed->cluster->options.nodes; id++)
        stage_node(bed, id)->machine.disk_slow_factor = copying->load > KNEE ? SLOWER : 1;
}

static void check(struct copying *copying)
{
    struct sim_bed *bed = copying->bed;
    uint64_t bytes = copying->last - copying->first, took = copying->ended - copying->began;

    if (copying->held == 0)
        sim_violation(&bed->sim, "no piece of %llu bytes ever waited", (unsigned long long)bytes);
    /* The first seconds are above the knee, until the disks tell. */
    if (took < bytes * STAGE_S / (3 * KNEE))
        sim_violation(&bed->sim, "F65: %llu bytes were copied in %llu ms, past slow disks",
                      (unsigned long long)bytes, (unsigned long long)(took / STAGE_MS));
    if (took > bytes * STAGE_S / bed->cluster->options.copy_rate_least + 10 * STAGE_S)
        sim_violation(&bed->sim, "V-6: %llu bytes took %llu ms to copy", (unsigned long long)bytes,
                      (unsigned long long)(took / STAGE_MS));
}

/* Goal: states that are copied to a node whose disk was lost go as fast as the disks bear it: they
 * slow down when the logs' syncs do, and the node is whole in bounded time all the same.
 * Method: the disks of all nodes are slow while more than KNEE bytes a second are copied. */
void scenario_copied_slowly(struct sim_bed *bed)
{
    struct sim_plan plan;

    stage_plan(&plan);
    plan.cluster.partitions = PARTITIONS;
    plan.cluster.copy_rate_least = stage_draw(bed, RATE_LEAST_MIN, RATE_LEAST_MAX);
    plan.workload.clients = 4;
    plan.workload.registers = REGISTERS;
    plan.workload.pad_min = REGISTER_BYTES;
    plan.workload.write_percent = 90;
    plan.workload.think_min = 2 * STAGE_MS;
    plan.workload.think_max = 40 * STAGE_MS;
    if (!stage_open(bed, &plan)) return;
    sim_run_for(&bed->sim, FILL_US);
    node_id_t leader = stage_leader(bed);
    if (leader == 0) return;
    struct sim_node *lost = stage_node(bed, stage_other(bed, leader, 0));
    sim_node_kill(lost);
    sim_node_wipe(lost);
    sim_run_for(&bed->sim, 500 * STAGE_MS);
    sim_node_start(lost);

    struct copying copying = {.bed = bed};
    copying.first = copying.last = copied_bytes(bed, &copying.held);
    uint64_t until = bed->sim.now + WHOLE_US;
    do
        turn(&copying);
    while (!bed->sim.failed && bed->sim.now < until && !sim_inspect_settled(bed->cluster));
    for (node_id_t id = 1; id <= plan.cluster.nodes; id++)
        stage_node(bed, id)->machine.disk_slow_factor = 1;
    if (!stage_wait_whole(bed, "a wiped node is not whole")) return;
    check(&copying);
    if (!bed->sim.failed) stage_judge(bed);
}
