/* local_cluster.c - CLUSTER: the table of slots as clients of Redis Cluster read it. Every
 * node is a master of the slots whose partitions it leads; addresses are those of the cluster
 * port (WHY.md 8.2, 8.3). Every slot is always covered (cluster_listed_leader). */
#include <inttypes.h>

#include "base/assert.h"
#include "services/redis/cluster_facts.h"
#include "services/redis/cluster_table.h"
#include "services/redis/local_functions.h"
#include "services/redis/slot_keys.h"

enum { NODES_TEXT_MAX = 4 << 20 };

/* Slots next to each other with the same leader and the same replicas. */
struct slot_range {
    unsigned first, last;
    node_id_t leader;
    const struct view_group *group; /* one of them, for the replicas */
};

/* In whatever order. */
static bool same_replicas(const struct view_group *a, const struct view_group *b)
{
    if (a->replica_count != b->replica_count) return false;
    for (uint8_t i = 0; i < a->replica_count; i++) {
        if (!cluster_group_has_replica(b, a->replicas[i].node)) return false;
    }
    return true;
}

/* Calls back for each range, in the order of the slots. Where replicas are not shown, ranges
 * that differ in them only are one. */
static void each_range(const struct redis_service *service, bool replicas_shown, void *context,
                       void (*on_range)(void *context, const struct slot_range *range))
{
    const struct cluster_view *view = service->options.view;
    struct slot_range range = {0};

    for (uint32_t i = 0; i < view->partition_count; i++) {
        const struct view_group *group = &view->groups[GROUP_DATA_FIRST + i];
        node_id_t leader = cluster_listed_leader(service, group);
        bool joins = range.group && range.leader == leader &&
                     group->slot_first == range.last + 1 &&
                     (!replicas_shown || same_replicas(range.group, group));
        if (joins) {
            range.last = group->slot_last;
            continue;
        }
        if (range.group) on_range(context, &range);
        range = (struct slot_range){.first = group->slot_first,
                                    .last = group->slot_last,
                                    .leader = leader,
                                    .group = group};
    }
    if (range.group) on_range(context, &range);
}

/* --- SLOTS ----------------------------------------------------------------------------------- */

struct ranges {
    struct local_call *call;
    uint64_t count;
    struct resp_writer *out; /* NULL: only count */
    node_id_t of;            /* 0: of all leaders */
    struct buffer *text;
};

static void write_slots_node(struct ranges *ranges, const struct view_node *node)
{
    struct address address;

    cluster_node_address(ranges->call->connection, node, &address);
    resp_write_array(ranges->out, 4);
    resp_write_bulk_text(ranges->out, address.host);
    resp_write_integer(ranges->out, address.port);
    resp_write_bulk_text(ranges->out, node->hex_id);
    resp_write_array(ranges->out, 0);
}

static void write_slots_range(void *context, const struct slot_range *range)
{
    struct ranges *ranges = context;
    const struct cluster_view *view = ranges->call->service->options.view;
    const struct view_node *leader = cluster_view_node(view, range->leader);
    const struct view_node *others[VIEW_REPLICAS_MAX];
    uint64_t other_count = 0;

    if (leader == NULL) return;
    ranges->count++;
    if (ranges->out == NULL) return;
    for (uint8_t i = 0; i < range->group->replica_count; i++) {
        const struct view_node *node = cluster_view_node(view, range->group->replicas[i].node);
        if (node && node != leader) others[other_count++] = node;
    }
    resp_write_array(ranges->out, 3 + other_count);
    resp_write_integer(ranges->out, range->first);
    resp_write_integer(ranges->out, range->last);
    write_slots_node(ranges, leader);
    for (uint64_t i = 0; i < other_count; i++)
        write_slots_node(ranges, others[i]);
}

static void cluster_slots(struct local_call *call)
{
    struct ranges ranges = {.call = call};

    each_range(call->service, true, &ranges, write_slots_range);
    resp_write_array(call->out, ranges.count);
    ranges.out = call->out;
    each_range(call->service, true, &ranges, write_slots_range);
}

/* --- SHARDS: one for each node, with the slots it leads -------------------------------------- */

static void count_or_write_bounds(void *context, const struct slot_range *range)
{
    struct ranges *ranges = context;

    if (range->leader != ranges->of) return;
    ranges->count++;
    if (ranges->out == NULL) return;
    resp_write_integer(ranges->out, range->first);
    resp_write_integer(ranges->out, range->last);
}

/* Is `node` a replica of something that `leader` leads? */
static bool backs(const struct redis_service *service, node_id_t node, node_id_t leader)
{
    const struct cluster_view *view = service->options.view;

    for (uint32_t i = 0; i < view->partition_count; i++) {
        const struct view_group *group = &view->groups[GROUP_DATA_FIRST + i];
        if (cluster_listed_leader(service, group) == leader && cluster_group_has_replica(group, node)) return true;
    }
    return false;
}

static void write_shard_node(struct local_call *call, const struct view_node *node, bool leads)
{
    struct address address;

    cluster_node_address(call->connection, node, &address);
    resp_write_map(call->out, 7);
    resp_write_bulk_text(call->out, "id");
    resp_write_bulk_text(call->out, node->hex_id);
    resp_write_bulk_text(call->out, "port");
    resp_write_integer(call->out, address.port);
    resp_write_bulk_text(call->out, "ip");
    resp_write_bulk_text(call->out, address.host);
    resp_write_bulk_text(call->out, "endpoint");
    resp_write_bulk_text(call->out, address.host);
    resp_write_bulk_text(call->out, "role");
    resp_write_bulk_text(call->out, leads ? "master" : "replica");
    resp_write_bulk_text(call->out, "replication-offset");
    resp_write_integer(call->out, 0);
    resp_write_bulk_text(call->out, "health");
    resp_write_bulk_text(call->out,
                         cluster_node_is_linked(call->service, node->id) ? "online" : "fail");
}

static void write_shard(struct local_call *call, const struct view_node *leader)
{
    const struct cluster_view *view = call->service->options.view;
    struct ranges ranges = {.call = call, .of = leader->id};
    uint64_t nodes = 1;

    each_range(call->service, false, &ranges, count_or_write_bounds);
    resp_write_map(call->out, 2);
    resp_write_bulk_text(call->out, "slots");
    resp_write_array(call->out, ranges.count * 2);
    ranges.out = call->out;
    each_range(call->service, false, &ranges, count_or_write_bounds);

    for (uint32_t i = 0; i < view->node_count; i++)
        nodes += view->nodes[i].id != leader->id && backs(call->service, view->nodes[i].id, leader->id);
    resp_write_bulk_text(call->out, "nodes");
    resp_write_array(call->out, nodes);
    write_shard_node(call, leader, true);
    for (uint32_t i = 0; i < view->node_count; i++) {
        const struct view_node *node = &view->nodes[i];
        if (node->id != leader->id && backs(call->service, node->id, leader->id))
            write_shard_node(call, node, false);
    }
}

static void cluster_shards(struct local_call *call)
{
    const struct cluster_view *view = call->service->options.view;

    resp_write_array(call->out, view->node_count);
    for (uint32_t i = 0; i < view->node_count; i++)
        write_shard(call, &view->nodes[i]);
}

/* --- NODES ----------------------------------------------------------------------------------- */

static void append_bounds(void *context, const struct slot_range *range)
{
    struct ranges *ranges = context;

    if (range->leader != ranges->of) return;
    if (range->first == range->last)
        buffer_append_format(ranges->text, " %u", range->first);
    else
        buffer_append_format(ranges->text, " %u-%u", range->first, range->last);
}

static void append_node(struct local_call *call, const struct view_node *node, struct buffer *text)
{
    const struct cluster_view *view = call->service->options.view;
    bool linked = cluster_node_is_linked(call->service, node->id);
    struct ranges ranges = {.call = call, .of = node->id, .text = text};
    struct address address, peer;

    cluster_node_address(call->connection, node, &address);
    if (!parse_address(bytes_of(node->peer), true, &peer)) peer.port = 0;
    buffer_append_format(text, "%s %s:%u@%u %smaster%s - 0 0 %" PRIu64 " %s", node->hex_id,
                         address.host, (unsigned)address.port, (unsigned)peer.port,
                         node->id == view->self ? "myself," : "", linked ? "" : ",fail?",
                         view->table_epoch, linked ? "connected" : "disconnected");
    each_range(call->service, false, &ranges, append_bounds);
    buffer_append(text, bytes_of("\n"));
}

static void cluster_nodes(struct local_call *call)
{
    const struct cluster_view *view = call->service->options.view;
    struct buffer text;

    buffer_init(&text, NODES_TEXT_MAX);
    for (uint32_t i = 0; i < view->node_count; i++)
        append_node(call, &view->nodes[i], &text);
    resp_write_verbatim(call->out, buffer_bytes(&text));
    buffer_free(&text);
}

void local_cluster(struct local_call *call)
{
    static const struct local_subcommand list[] = {
        {"count-failure-reports",
         3,
         cluster_failure_reports,
         {"COUNT-FAILURE-REPORTS <node-id>", "Return 0: nodes do not vote about each other."}},
        {"countkeysinslot",
         3,
         cluster_slot_keys_wrong,
         {"COUNTKEYSINSLOT <slot>", "Return the number of keys in <slot>, wherever it is led."}},
        {"getkeysinslot",
         4,
         cluster_slot_keys_wrong,
         {"GETKEYSINSLOT <slot> <count>", "Return up to <count> keys of <slot>."}},
        {"info", 2, cluster_info, {"INFO", "Return information about the cluster."}},
        {"keyslot", 3, cluster_keyslot, {"KEYSLOT <key>", "Return the hash slot for <key>."}},
        {"links", 2, cluster_links, {"LINKS", "Return the links to the other nodes."}},
        {"myid", 2, cluster_myid, {"MYID", "Return the node id."}},
        {"nodes", 2, cluster_nodes, {"NODES", "Return cluster configuration seen by node."}},
        {"replicas", 3, cluster_replicas, {"REPLICAS <node-id>", "Return an empty list."}},
        {"saveconfig", 2, local_ok, {"SAVECONFIG", "Return OK: the tables are durable."}},
        {"shards", 2, cluster_shards, {"SHARDS", "Return slots and nodes of each shard."}},
        {"slaves", 3, cluster_replicas, {"SLAVES <node-id>", "Return an empty list."}},
        {"slots", 2, cluster_slots, {"SLOTS", "Return information about slots range mappings."}},
    };
    if (cluster_refused(call)) return;
    local_run_subcommand(call, list, ARRAY_COUNT(list));
}
