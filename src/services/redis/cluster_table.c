#include "services/redis/cluster_table.h"

#include <stdio.h>

#include "base/hash.h"

bool cluster_node_is_linked(const struct redis_service *service, node_id_t node)
{
    const struct redis_service_options *options = &service->options;

    if (node == options->view->self || options->is_linked == NULL) return true;
    return options->is_linked(options->context, node);
}

node_id_t cluster_listed_leader(const struct redis_service *service, const struct view_group *group)
{
    const struct cluster_view *view = service->options.view;
    node_id_t last = group->last_leader;
    bool last_stays = last != 0 && cluster_node_is_linked(service, last);

    if (group->leader != 0 && cluster_view_node(view, group->leader)) return group->leader;
    if (last_stays && cluster_view_node(view, last)) return last;
    /* The first in the order of the table, so that all who are left name the same. */
    for (uint8_t i = 0; i < group->replica_count; i++) {
        node_id_t node = group->replicas[i].node;
        if (cluster_node_is_linked(service, node) && cluster_view_node(view, node)) return node;
    }
    return group->replica_count ? group->replicas[0].node : 0;
}

static const struct view_group *group_of(const struct redis_service *service, uint32_t partition)
{
    return &service->options.view->groups[GROUP_DATA_FIRST + partition];
}

bool cluster_leads(const struct redis_service *service, uint32_t partition)
{
    return group_of(service, partition)->leader == service->options.view->self;
}

bool cluster_has_leader(const struct redis_service *service, uint32_t partition)
{
    return group_of(service, partition)->leader != 0;
}

/* --- addresses ------------------------------------------------------------------------------- */

static bool is_any_host(const struct address *address)
{
    return address->host[0] == 0 || strcmp(address->host, "0.0.0.0") == 0 ||
           strcmp(address->host, "::") == 0;
}

/* A node that listens on every interface and announces no address is known, to this client, by
 * the address it used itself; another one by that at which its peers reach it. */
void cluster_node_address(const struct connection *connection, const struct view_node *node,
                          struct address *ret_address)
{
    const char *listed = node->redis_cluster[0] ? node->redis_cluster : node->redis;
    const struct cluster_view *view = connection->service->options.view;
    const char *instead =
        node->id == view->self ? stream_own_address(connection->stream) : node->peer;
    struct address other;

    if (!parse_address(bytes_of(listed), true, ret_address))
        *ret_address = (struct address){.host = "", .port = 0};
    if (!is_any_host(ret_address)) return;
    ret_address->host[0] = 0;
    if (parse_address(bytes_of(instead), true, &other) && !is_any_host(&other))
        memcpy(ret_address->host, other.host, sizeof(other.host));
}

/* --- MOVED ----------------------------------------------------------------------------------- */

/* Where the slot is served, if a client is better off there. NULL: it is not. */
static const struct view_node *better_node(const struct connection *connection,
                                           const struct redis_command *command, uint16_t slot)
{
    const struct redis_service *service = connection->service;
    const struct cluster_view *view = service->options.view;
    const struct view_group *group = group_of(service, service_partition(service, slot));
    bool elsewhere = group->leader != 0 && group->leader != view->self;
    bool settled = service->now >= group->leader_since + MOVED_SETTLED_US;
    /* Who said READONLY reads at replicas on purpose; the leader is asked all the same, unless
     * HOLON.READS said how old an answer may be. */
    bool wants_replica =
        (connection->readonly || connection->stale_ms > 0) && !(command->flags & REDIS_WRITES);

    if (!elsewhere || !settled || wants_replica) return NULL;
    if (!cluster_node_is_linked(service, group->leader)) return NULL;
    return cluster_view_node(view, group->leader);
}

static bool one_slot(const struct redis_command *command, const struct bytes *arguments,
                     uint32_t count, uint16_t slot)
{
    uint32_t key_count = redis_key_count(command, count);

    for (uint32_t i = 1; i < key_count; i++) {
        uint32_t at = (uint32_t)command->first_key + i * (uint32_t)command->key_step;
        if (key_slot(arguments[at]) != slot) return false;
    }
    return true;
}

bool cluster_moved(struct connection *connection, const struct redis_command *command,
                   const struct bytes *arguments, uint32_t count)
{
    uint16_t slot = key_slot(arguments[command->first_key]);
    const struct view_node *node = better_node(connection, command, slot);
    char text[ADDRESS_HOST_SIZE_MAX + 32];
    struct address address;

    if (node == NULL || !one_slot(command, arguments, count, slot)) return false;
    cluster_node_address(connection, node, &address);
    if (address.host[0] == 0 || address.port == 0) return false;
    snprintf(text, sizeof(text), "MOVED %u %s:%u", (unsigned)slot, address.host,
             (unsigned)address.port);
    connection->service->statistics.moved++;
    connection_reply_error(connection, text);
    return true;
}
