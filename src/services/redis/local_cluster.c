/* local_cluster.c - CLUSTER: the table of slots as clients of Redis Cluster read it. Every
 * node is a master of the slots whose partitions it leads; addresses are those of the cluster
 * port (WHY.md 8.2, 8.3). Every slot is always covered (cluster_listed_leader).
 *
 * Replicas are not listed: of a Redis Cluster's nodes each is a master or a replica, here all are
 * both, of different slots. A client that is told so takes some for replicas only (redis-py keeps
 * what it heard of a node first, or last), and leaves them out of what it sends to all masters. */
#include <inttypes.h>

#include "base/assert.h"
#include "services/redis/cluster_facts.h"
#include "services/redis/cluster_table.h"
#include "services/redis/local_functions.h"
#include "services/redis/slot_keys.h"

enum { NODES_TEXT_MAX = 4 << 20 };

/* Slots next to each other with the same leader. */
struct slot_range {
    unsigned first, last;
    node_id_t leader;
};

/* Calls back for each range, in the order of the slots. */
static void each_range(const struct redis_service *service, void *context,
                       void (*on_range)(void *context, const struct slot_range *range))
{
    const struct cluster_view *view = service->options.view;
    struct slot_range range = {0};

    for (uint32_t i = 0; i < view->partition_count; i++) {
        const struct view_group *group = &view->groups[GROUP_DATA_FIRST + i];
        node_id_t leader = cluster_listed_leader(service, group);
        bool joins = i > 0 && range.leader == leader && group->slot_first == range.last + 1;
        if (joins) {
            range.last = group->slot_last;
            continue;
        }
        if (i > 0) on_range(context, &range);
        range = (struct slot_range){
            .first = group->slot_first, .last = group->slot_last, .leader = leader};
    }
    if (view->partition_count > 0) on_range(context, &range);
}

/* --- SLOTS ----------------------------------------------------------------------------------- */

struct ranges {
    struct local_call *call;
    uint64_t count;
    struct resp_writer *out; /* NULL: only count */
    node_id_t of;            /* 0: of all leaders */
    struct buffer *text;
};

static void write_slots_range(void *context, const struct slot_range *range)
{
    struct ranges *ranges = context;
    const struct cluster_view *view = ranges->call->service->options.view;
    const struct view_node *leader = cluster_view_node(view, range->leader);
    struct address address;

    if (leader == NULL) return;
    ranges->count++;
    if (ranges->out == NULL) return;
    cluster_node_address(ranges->call->connection, leader, &address);
    resp_write_array(ranges->out, 3);
    resp_write_integer(ranges->out, range->first);
    resp_write_integer(ranges->out, range->last);
    resp_write_array(ranges->out, 4);
    resp_write_bulk_text(ranges->out, address.host);
    resp_write_integer(ranges->out, address.port);
    resp_write_bulk_text(ranges->out, leader->hex_id);
    resp_write_array(ranges->out, 0);
}

static void cluster_slots(struct local_call *call)
{
    struct ranges ranges = {.call = call};

    each_range(call->service, &ranges, write_slots_range);
    resp_write_array(call->out, ranges.count);
    ranges.out = call->out;
    each_range(call->service, &ranges, write_slots_range);
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

static void write_shard_node(struct local_call *call, const struct view_node *node)
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
    resp_write_bulk_text(call->out, "master");
    resp_write_bulk_text(call->out, "replication-offset");
    resp_write_integer(call->out, 0);
    resp_write_bulk_text(call->out, "health");
    resp_write_bulk_text(call->out,
                         cluster_node_is_linked(call->service, node->id) ? "online" : "fail");
}

static void write_shard(struct local_call *call, const struct view_node *leader)
{
    struct ranges ranges = {.call = call, .of = leader->id};

    each_range(call->service, &ranges, count_or_write_bounds);
    resp_write_map(call->out, 2);
    resp_write_bulk_text(call->out, "slots");
    resp_write_array(call->out, ranges.count * 2);
    ranges.out = call->out;
    each_range(call->service, &ranges, count_or_write_bounds);

    resp_write_bulk_text(call->out, "nodes");
    resp_write_array(call->out, 1);
    write_shard_node(call, leader);
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
    each_range(call->service, &ranges, append_bounds);
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
