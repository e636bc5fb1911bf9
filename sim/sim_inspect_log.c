/* The bound of the log, looked at from outside: the sizes of its files on the simulated disk. */
#include "sim/sim_inspect.h"

#include <inttypes.h>

#include "sim/sim_cluster.h"

/* What was handed over before anybody knew that there is no room: log.h. */
enum { SLACK_SEGMENTS = 1, MARK_BYTES = 8192 };

void sim_inspect_log_bound(struct sim_cluster *cluster, struct sim_node *node)
{
    const struct sim_cluster_options *options = &cluster->options;
    uint64_t most =
        options->log_bytes_max + SLACK_SEGMENTS * options->log_segment_size + MARK_BYTES;

    if (options->log_bytes_max == 0 || cluster->sim->failed) return;
    uint64_t bytes = sim_disk_bytes_of(node->machine.disk, "/log/", "/quarantine/") -
                     sim_disk_bytes_of(node->machine.disk, "/log/damaged-", "/quarantine/");
    if (bytes > most)
        sim_violation(cluster->sim,
                      "B-1: the log of node %" PRIu32 " has %" PRIu64
                      " bytes, its bound is %" PRIu64,
                      node->machine.number, bytes, options->log_bytes_max);
}
