#include "services/redis/cluster_facts.h"

#include <inttypes.h>

#include "base/assert.h"
#include "base/hash.h"
#include "services/redis/cluster_table.h"

enum { INFO_TEXT_MAX = 4096 };

/* --- INFO ------------------------------------------------------------------------------------ */

struct slot_state {
    unsigned led, leaderless;
    uint32_t masters; /* nodes that are listed with slots */
};

static struct slot_state slot_state_of(const struct redis_service *service)
{
    const struct cluster_view *view = service->options.view;
    bool listed[NODES_MAX + 1] = {false};
    struct slot_state state = {0};

    for (uint32_t i = 0; service_has_view(service) && i < view->partition_count; i++) {
        const struct view_group *group = &view->groups[GROUP_DATA_FIRST + i];
        unsigned slots = group->slot_last - group->slot_first + 1u;
        node_id_t leader = cluster_listed_leader(service, group);
        if (group->leader)
            state.led += slots;
        else
            state.leaderless += slots;
        if (leader == 0 || leader > NODES_MAX || listed[leader]) continue;
        listed[leader] = true;
        state.masters++;
    }
    return state;
}

/* A node is `ok` as long as it hears of any leader: what has none for a moment waits for one, and
 * is no reason for a client to turn away. One that is cut off says `fail`. */
void cluster_info(struct local_call *call)
{
    const struct cluster_view *view = call->service->options.view;
    struct slot_state state = slot_state_of(call->service);
    struct buffer text;

    buffer_init(&text, INFO_TEXT_MAX);
    buffer_append_format(&text,
                         "cluster_enabled:1\r\ncluster_state:%s\r\ncluster_slots_assigned:%u\r\n"
                         "cluster_slots_ok:%u\r\ncluster_slots_pfail:%u\r\n"
                         "cluster_slots_fail:0\r\ncluster_known_nodes:%u\r\ncluster_size:%u\r\n"
                         "cluster_current_epoch:%" PRIu64 "\r\ncluster_my_epoch:%" PRIu64 "\r\n"
                         "cluster_stats_messages_sent:0\r\n"
                         "cluster_stats_messages_received:0\r\n"
                         "total_cluster_links_buffer_limit_exceeded:0\r\n",
                         state.led ? "ok" : "fail", state.led + state.leaderless, state.led,
                         state.leaderless, view->node_count, state.masters, view->table_epoch,
                         view->table_epoch);
    resp_write_verbatim(call->out, buffer_bytes(&text));
    buffer_free(&text);
}

/* --- MYID, KEYSLOT, LINKS, REPLICAS ---------------------------------------------------------- */

void cluster_myid(struct local_call *call)
{
    const struct cluster_view *view = call->service->options.view;
    const struct view_node *self = cluster_view_node(view, view->self);

    resp_write_bulk_text(call->out, self ? self->hex_id : "");
}

void cluster_keyslot(struct local_call *call)
{
    resp_write_integer(call->out, key_slot(call->arguments[2]));
}

static bool is_linked_other(const struct redis_service *service, const struct view_node *node)
{
    return node->id != service->options.view->self && cluster_node_is_linked(service, node->id);
}

/* The connections themselves are of the workers (holon_peer_* of the metrics): here each node that
 * is reached counts as one. */
void cluster_links(struct local_call *call)
{
    const struct cluster_view *view = call->service->options.view;
    uint64_t count = 0;

    for (uint32_t i = 0; i < view->node_count; i++)
        count += is_linked_other(call->service, &view->nodes[i]);
    resp_write_array(call->out, count);
    for (uint32_t i = 0; i < view->node_count; i++) {
        const struct view_node *node = &view->nodes[i];
        if (!is_linked_other(call->service, node)) continue;
        resp_write_map(call->out, 6);
        resp_write_bulk_text(call->out, "direction");
        resp_write_bulk_text(call->out, "to");
        resp_write_bulk_text(call->out, "node");
        resp_write_bulk_text(call->out, node->hex_id);
        resp_write_bulk_text(call->out, "create-time");
        resp_write_integer(call->out, 0);
        resp_write_bulk_text(call->out, "events");
        resp_write_bulk_text(call->out, "rw");
        resp_write_bulk_text(call->out, "send-buffer-allocated");
        resp_write_integer(call->out, 0);
        resp_write_bulk_text(call->out, "send-buffer-used");
        resp_write_integer(call->out, 0);
    }
}

/* False: no node has the id that the command names; the error is written. */
static bool names_a_node(struct local_call *call)
{
    const struct cluster_view *view = call->service->options.view;
    struct bytes id = call->arguments[2];

    for (uint32_t i = 0; i < view->node_count; i++) {
        if (bytes_equal(id, bytes_of(view->nodes[i].hex_id))) return true;
    }
    resp_write_error_format(call->out, "ERR Unknown node %.*s", id.size < 64 ? (int)id.size : 64,
                            (const char *)id.data);
    return false;
}

/* Every node is a master: nobody is the replica of a node, only of partitions. */
void cluster_replicas(struct local_call *call)
{
    if (names_a_node(call)) resp_write_array(call->out, 0);
}

void cluster_failure_reports(struct local_call *call)
{
    if (names_a_node(call)) resp_write_integer(call->out, 0);
}

/* --- what is done otherwise ------------------------------------------------------------------ */

#define SLOTS_TEXT                                                                                 \
    "slots belong to partitions, whose replicas and leaders the cluster keeps even by itself: "    \
    "nothing has to be assigned or moved"

bool cluster_refused(struct local_call *call)
{
    static const struct {
        const char *name, *instead;
    } list[] = {
        {"addslots", SLOTS_TEXT},
        {"addslotsrange", SLOTS_TEXT},
        {"bumpepoch", "the epoch of the tables rises with each of their changes"},
        {"delslots", SLOTS_TEXT},
        {"delslotsrange", SLOTS_TEXT},
        {"failover", "leaders are elected: when one fails, within a second, and a node that is "
                     "stopped with SIGTERM hands its own over first"},
        {"flushslots", SLOTS_TEXT},
        {"forget", "an operator takes nodes out: `holon node drain`, then `holon node remove`"},
        {"meet", "a machine joins by `holon start --join HOST:PORT`"},
        {"replicate", "replicas are placed by the cluster: `--replicas` is their number"},
        {"reset", "an operator takes nodes out: `holon node drain`, then `holon node remove`; "
                  "FLUSHALL removes all keys"},
        {"set-config-epoch", "the epoch of the tables rises with each of their changes"},
        {"setslot", SLOTS_TEXT},
    };

    for (size_t i = 0; i < ARRAY_COUNT(list); i++) {
        if (!redis_word_is(call->arguments[1], list[i].name)) continue;
        call->connection->last_subcommand = list[i].name;
        resp_write_error_format(call->out, "ERR CLUSTER %.*s does nothing here: %s",
                                (int)call->arguments[1].size, (const char *)call->arguments[1].data,
                                list[i].instead);
        return true;
    }
    return false;
}
