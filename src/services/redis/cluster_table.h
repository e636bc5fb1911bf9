/* cluster_table.h - the table of slots as this node tells it to clients of Redis Cluster: who is
 * listed as the master of a partition, at which address, and who is sent on to whom.
 *
 * A redirection (MOVED) is given on the cluster port only, for a leader that this node has known
 * for MOVED_SETTLED_US without a break and that it is linked with itself. In any other case it
 * asks the leader on behalf of the client, as on the transparent port: a client never has to
 * wait and try again because of an election. Thread: the service's. */
#ifndef HOLON_SERVICES_REDIS_CLUSTER_TABLE_H
#define HOLON_SERVICES_REDIS_CLUSTER_TABLE_H

#include "base/parse.h"
#include "services/redis/frontend.h"

enum { MOVED_SETTLED_US = 1000 * 1000 };

/* Is the node there, as far as this one knows? It itself always is. */
bool cluster_node_is_linked(const struct redis_service *service, node_id_t node);

/* The node under which the slots of the partition are listed: its leader; while that is unknown
 * the last one, or, if that is gone, a replica that is there and asks on. 0: there are none. */
node_id_t cluster_listed_leader(const struct redis_service *service,
                                const struct view_group *group);

/* The only partitions that commands about the whole database are about on the cluster port. */
bool cluster_leads(const struct redis_service *service, uint32_t partition);
bool cluster_has_leader(const struct redis_service *service, uint32_t partition);

/* Where cluster clients reach the node; the same for the same client whoever is listed or moved
 * to. host "": nobody knows. */
void cluster_node_address(const struct connection *connection, const struct view_node *node,
                          struct address *ret_address);

/* Replies MOVED if the keys' slot is served elsewhere. False: it is to be executed from here.
 * The first key must exist; keys of several slots are never sent on. */
bool cluster_moved(struct connection *connection, const struct redis_command *command,
                   const struct bytes *arguments, uint32_t count);

#endif
