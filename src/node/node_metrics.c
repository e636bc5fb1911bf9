/* /metrics: the Prometheus text format 0.0.4. */
#include "node/damage_place.h"
#include "node/node_snapshot.h"

struct metric {
    const char *name;
    const char *type;
    const char *help;
};

static const struct metric metrics[] = {
#define METRIC(name_, type_, value_, help_) {.name = name_, .type = type_, .help = help_},
#include "node/metrics.def"
#undef METRIC
};

static uint64_t resident_bytes(const struct node *node)
{
    if (node->platform.resident_bytes == NULL) return 0;
    return node->platform.resident_bytes(node->platform.context);
}

static struct admin_statistics admin_numbers(const struct node *node)
{
    struct admin_statistics statistics = {0};

    if (node->admin) admin_statistics(node->admin, &statistics);
    return statistics;
}

static uint32_t stores_damaged(const struct node *node)
{
    uint32_t count = 0;

    for (uint32_t i = 0; i < STORES_MAX; i++)
        count += node->stores[i].state != STORE_SOUND;
    return count;
}

static uint32_t files_damaged(const struct node *node)
{
    uint32_t count = 0;

    for (uint32_t i = 0; i < node->sealed.told_count; i++)
        count += !node->sealed.told[i].healed;
    return count;
}

static struct host_copies copies_to_all(const struct node_collector *collector)
{
    struct host_copies sum = {0};

    for (uint32_t id = 0; id <= NODES_MAX; id++)
        if (copies_are_told(&collector->sum.copies[id]))
            copies_add(&sum, &collector->sum.copies[id]);
    return sum;
}

static uint32_t groups_left(const struct node_collector *collector)
{
    uint32_t left = 0, total = 0;

    node_mover_progress(collector->node, &left, &total);
    return left;
}

static void metric_values(const struct node_collector *c, uint64_t *ret_values)
{
    const struct worker_snapshot *s = &c->sum;
    uint64_t *next = ret_values;

#define METRIC(name_, type_, value_, help_) *next++ = (uint64_t)(value_);
#include "node/metrics.def"
#undef METRIC
    ASSERT(next == ret_values + ARRAY_COUNT(metrics));
}

static void write_histogram(struct buffer *buffer, const char *kind,
                            const struct histogram *histogram)
{
    static const uint64_t bounds_us[] = {50,     100,     250,     500,     1000,   2500,
                                         5000,   10000,   25000,   50000,   100000, 250000,
                                         500000, 1000000, 2500000, 10000000};
    const char *name = "holon_redis_latency_seconds";

    for (size_t i = 0; i < ARRAY_COUNT(bounds_us); i++)
        buffer_append_format(buffer, "%s_bucket{kind=\"%s\",le=\"%g\"} %llu\n", name, kind,
                             (double)bounds_us[i] / 1e6,
                             (unsigned long long)histogram_count_at_most(histogram, bounds_us[i]));
    buffer_append_format(buffer, "%s_bucket{kind=\"%s\",le=\"+Inf\"} %llu\n", name, kind,
                         (unsigned long long)histogram->count);
    buffer_append_format(buffer, "%s_sum{kind=\"%s\"} %g\n", name, kind,
                         (double)histogram->sum / 1e6);
    buffer_append_format(buffer, "%s_count{kind=\"%s\"} %llu\n", name, kind,
                         (unsigned long long)histogram->count);
}

static void write_nodes(struct buffer *buffer, const struct node_collector *c)
{
    struct node *node = c->node;
    const struct cluster_view *view = &node->workers[0].view;
    struct transport *transport = node->workers[0].transport;

    buffer_append_format(buffer, "# HELP holon_peer_up 1 if that node is connected\n"
                                 "# TYPE holon_peer_up gauge\n");
    for (uint32_t i = 0; i < view->node_count; i++) {
        if (view->nodes[i].id == node->identity.node) continue;
        buffer_append_format(buffer, "holon_peer_up{node=\"%s\"} %d\n", view->nodes[i].name,
                             transport != NULL && transport_is_up(transport, view->nodes[i].id));
    }
    buffer_append_format(buffer, "# HELP holon_replicas_behind replicas of that node which lag "
                                 "behind leaders on this one\n"
                                 "# TYPE holon_replicas_behind gauge\n");
    for (uint32_t i = 0; i < view->node_count; i++)
        buffer_append_format(buffer, "holon_replicas_behind{node=\"%s\"} %u\n", view->nodes[i].name,
                             c->sum.behind[view->nodes[i].id]);
}

/* A label may hold a path: backslash, quote and newline are the format's own. */
static void write_label(struct buffer *buffer, const char *text)
{
    for (const char *at = text; *at != '\0'; at++) {
        if (*at == '\\' || *at == '"') buffer_append_format(buffer, "\\");
        buffer_append_format(buffer, "%c", *at == '\n' ? ' ' : *at);
    }
}

static void write_repair(struct buffer *buffer, const struct node *node)
{
    buffer_append_format(buffer,
                         "# HELP holon_repair_info what was damaged, while in repair or kept\n"
                         "# TYPE holon_repair_info gauge\n");
    for (uint32_t i = 0; i < STORES_MAX; i++) {
        const struct node_store *store = &node->stores[i];
        char file[PATH_SIZE_MAX];
        uint64_t offset;
        if (store->state == STORE_SOUND) continue;
        damage_place(store->cause.text, store->path, file, sizeof(file), &offset);
        buffer_append_format(buffer, "holon_repair_info{reason=\"store-%u\",file=\"", i);
        write_label(buffer, file);
        buffer_append_format(buffer, "\",offset=\"%llu\"} 1\n", (unsigned long long)offset);
    }
    struct log_damaged damaged[LOG_DAMAGED_MAX];
    uint32_t count = node->log != NULL ? log_damages(node->log, damaged) : 0;
    for (uint32_t i = 0; i < count; i++) {
        buffer_append_format(buffer, "holon_repair_info{reason=\"segment\",file=\"");
        write_label(buffer, damaged[i].file);
        buffer_append_format(buffer, "\",offset=\"%llu\"} 1\n",
                             (unsigned long long)damaged[i].offset);
    }
    for (uint32_t i = 0; i < node->sealed.told_count; i++) {
        const struct file_damage *damage = &node->sealed.told[i];
        if (damage->healed && node->repair.quarantine.sets == 0) continue; /* it was looked at */
        buffer_append_format(buffer, "holon_repair_info{reason=\"%s\",file=\"", damage->reason);
        write_label(buffer, damage->file);
        buffer_append_format(buffer, "\",offset=\"%llu\"} 1\n", (unsigned long long)damage->offset);
    }
    if (!node->repair.active) return;
    buffer_append_format(buffer, "holon_repair_info{reason=\"%s\",file=\"",
                         node->repair.file.reason);
    write_label(buffer, node->repair.file.file);
    buffer_append_format(buffer, "\",offset=\"%llu\"} 1\n",
                         (unsigned long long)node->repair.file.offset);
}

void node_metrics_write(const struct node_collector *collector, struct buffer *buffer)
{
    uint64_t values[ARRAY_COUNT(metrics)];

    metric_values(collector, values);
    for (size_t i = 0; i < ARRAY_COUNT(metrics); i++)
        buffer_append_format(buffer, "# HELP holon_%s %s\n# TYPE holon_%s %s\nholon_%s %llu\n",
                             metrics[i].name, metrics[i].help, metrics[i].name, metrics[i].type,
                             metrics[i].name, (unsigned long long)values[i]);
    buffer_append_format(buffer, "# HELP holon_redis_latency_seconds from the arrival of a command "
                                 "to its reply\n"
                                 "# TYPE holon_redis_latency_seconds histogram\n");
    write_histogram(buffer, "read", &collector->sum.read_latency);
    write_histogram(buffer, "write", &collector->sum.write_latency);
    write_nodes(buffer, collector);
    write_repair(buffer, collector->node);
}
