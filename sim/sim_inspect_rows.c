/* Big values, their parts and the garbage of them: nothing is lost, nothing is left behind. */
#include "partition/host.h"
#include "services/redis/rows_check.h"
#include "sim/sim_inspect.h"

#include <inttypes.h>
#include <stdio.h>

static bool group_is_clean(struct sim_cluster *cluster, node_id_t node, uint32_t group,
                           const struct row_table *table, bool expiry, char *text, size_t text_size)
{
    struct redis_rows rows;

    if (!row_table_complete(table)) { /* the rest is in the engine: only the counts are known */
        uint64_t garbage = redis_garbage_waiting(table);
        snprintf(text, text_size, "group %u on node %u has %" PRIu64 " garbage records", group,
                 node, garbage);
        return garbage == 0;
    }
    redis_rows_check(table, &rows);
    bool belong =
        rows.orphans == 0 && rows.twice == 0 && rows.wrong_sizes == 0 && rows.unreminded == 0;
    if (!belong)
        sim_violation(cluster->sim,
                      "O-2: group %u on node %u: %" PRIu64 " parts belong to nothing, %" PRIu64
                      " ids to two, %" PRIu64 " hashes miscount, %" PRIu64 " keys never expire",
                      group, node, rows.orphans, rows.twice, rows.wrong_sizes, rows.unreminded);
    if (rows.big_keys > 0) sim_reached(cluster->sim, "a big value was there at rest");
    if (rows.garbage == 0 && (rows.reminders == 0 || !expiry)) return true;
    snprintf(text, text_size,
             "group %u on node %u has %" PRIu64 " garbage records (%" PRIu64
             " of values not taken) and %" PRIu64 " reminders",
             group, node, rows.garbage, rows.staged, rows.reminders);
    return false;
}

bool sim_inspect_rows_clean(struct sim_cluster *cluster, uint32_t nodes, bool expiry, char *text,
                            size_t text_size)
{
    bool clean = true;

    for (node_id_t id = 1; id <= cluster->options.nodes; id++) {
        struct sim_incarnation *incarnation = cluster->nodes[id].now;
        if (!(nodes >> id & 1) || !sim_node_is_up(&cluster->nodes[id])) continue;
        for (uint32_t worker = 0; worker < incarnation->platform.worker_count; worker++) {
            struct partition_host *host = node_host(incarnation->node, worker);
            for (uint32_t i = 0; host && i < host_replica_count(host); i++) {
                struct replica_status status;
                host_replica_status(host, i, &status);
                if (status.group.value < GROUP_DATA_FIRST) continue;
                clean = group_is_clean(cluster, id, status.group.value,
                                       host_rows(host, status.group), expiry, text, text_size) &&
                        clean;
            }
        }
    }
    return clean;
}
