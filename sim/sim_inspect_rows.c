/* Big values, their parts and the garbage of them: nothing is lost, nothing is left behind. */
#include "base/assert.h"
#include "partition/host.h"
#include "services/redis/parts.h"
#include "services/redis/rows_check.h"
#include "sim/sim_inspect.h"

#include <inttypes.h>
#include <stdio.h>

/* Looking at all rows takes long, so while garbage waits it is done now and then only. */
enum { WHOLE_LOOK_POLLS = 64, WORK_GROUPS_MAX = 64 };

struct look {
    struct sim_cluster *cluster;
    struct sim_rows_wanted *wanted;
    bool whole;
};

struct rows_of {
    struct partition_host *host;
    struct group_id group;
};

static bool each_row(void *context, void *row_context,
                     bool (*on_row)(void *row_context, const struct row_found *row))
{
    const struct rows_of *rows = context;
    return host_rows_each(rows->host, rows->group, row_context, on_row);
}

static bool group_is_clean(const struct look *look, node_id_t node, uint32_t group,
                           struct partition_host *host)
{
    const struct row_table *table = host_rows(host, (struct group_id){group});
    struct rows_of rows_of = {.host = host, .group = {group}};
    struct redis_rows_source source = {.context = &rows_of, .each = each_row};
    struct sim_cluster *cluster = look->cluster;
    char *text = look->wanted->text;
    size_t text_size = sizeof(look->wanted->text);
    uint64_t garbage = redis_garbage_waiting(table);
    struct redis_rows rows;

    if (garbage > 0 && !look->whole) {
        snprintf(text, text_size, "group %u on node %u has %" PRIu64 " garbage records", group,
                 node, garbage);
        return false;
    }
    if (!redis_rows_check_from(&source, &rows)) {
        snprintf(text, text_size, "the rows of group %u on node %u cannot be read", group, node);
        return false;
    }
    if (!row_table_complete(table)) sim_reached(cluster->sim, "rows on disk were checked at rest");
    bool belong =
        rows.orphans == 0 && rows.twice == 0 && rows.wrong_sizes == 0 && rows.unreminded == 0;
    if (!belong)
        sim_violation(cluster->sim,
                      "O-2: group %u on node %u: %" PRIu64 " parts belong to nothing, %" PRIu64
                      " ids to two, %" PRIu64 " hashes miscount, %" PRIu64 " keys never expire",
                      group, node, rows.orphans, rows.twice, rows.wrong_sizes, rows.unreminded);
    if (rows.big_keys > 0) sim_reached(cluster->sim, "a big value was there at rest");
    if (rows.garbage == 0 && (rows.reminders == 0 || !look->wanted->expiry)) return true;
    snprintf(text, text_size,
             "group %u on node %u has %" PRIu64 " garbage records (%" PRIu64
             " of values not taken) and %" PRIu64 " reminders",
             group, node, rows.garbage, rows.staged, rows.reminders);
    return false;
}

/* Calls back for each replica of data on these nodes. */
static void each_group(struct sim_cluster *cluster, uint32_t nodes, void *context,
                       void (*on_group)(void *context, node_id_t node, uint32_t group,
                                        struct partition_host *host))
{

    for (node_id_t id = 1; id <= cluster->options.nodes; id++) {
        struct sim_incarnation *incarnation = cluster->nodes[id].now;
        if (!(nodes >> id & 1) || !sim_node_is_up(&cluster->nodes[id])) continue;
        for (uint32_t worker = 0; worker < incarnation->platform.worker_count; worker++) {
            struct partition_host *host = node_host(incarnation->node, worker);
            for (uint32_t i = 0; host && i < host_replica_count(host); i++) {
                struct replica_status status;
                host_replica_status(host, i, &status);
                if (status.group.value < GROUP_DATA_FIRST) continue;
                on_group(context, id, status.group.value, host);
            }
        }
    }
}

static void look_at(void *context, node_id_t node, uint32_t group, struct partition_host *host)
{
    const struct look *look = context;

    if (!group_is_clean(look, node, group, host)) look->wanted->clean = false;
}

bool sim_inspect_rows_clean(struct sim_cluster *cluster, struct sim_rows_wanted *wanted)
{
    struct look look = {
        .cluster = cluster, .wanted = wanted, .whole = wanted->polls++ % WHOLE_LOOK_POLLS == 0};

    wanted->clean = true;
    each_group(cluster, wanted->nodes, &look, look_at);
    return wanted->clean;
}

struct work {
    uint64_t records, rows;
    uint64_t steps[WORK_GROUPS_MAX]; /* the most that any replica of the group knows of */
    uint32_t chore_rows;
};

static void add_count(void *context, uint8_t service, uint32_t namespace, uint64_t rows)
{
    struct work *work = context;

    if (service != SERVICE_REDIS || namespace == REDIS_NAMESPACE_FRONTS) return;
    bool single = namespace == REDIS_NAMESPACE_GARBAGE || namespace & REDIS_NAMESPACE_REMINDERS;
    *(single ? &work->records : &work->rows) += rows;
}

static void add_work(void *context, node_id_t node, uint32_t group, struct partition_host *host)
{
    const struct row_table *table = host_rows(host, (struct group_id){group});
    struct work *work = context;

    ASSERT(group < WORK_GROUPS_MAX);
    work->records = work->rows = 0;
    row_table_counts_each(table, work, add_count);
    uint64_t steps = work->records + work->rows / work->chore_rows;
    if (steps > work->steps[group]) work->steps[group] = steps;
}

uint64_t sim_inspect_rows_steps(struct sim_cluster *cluster, uint32_t nodes)
{
    const struct redis_limits *limits = &cluster->options.redis_limits;
    struct work work = {.chore_rows = limits->chore_rows};
    uint64_t steps = 0;

    each_group(cluster, nodes, &work, add_work);
    for (uint32_t group = 0; group < WORK_GROUPS_MAX; group++)
        steps += work.steps[group];
    return steps;
}
