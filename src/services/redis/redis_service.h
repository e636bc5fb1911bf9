/* redis_service.h - the Redis front-end of one worker: listeners, connections, and what is
 * answered without a partition. Requests for keys go to the gateway of the same worker; what
 * happens at the partition's leader is evaluate.h.
 *
 * Two listeners, no guessing (WHY.md 8.2): the transparent port and the cluster port. In this
 * version they differ in what HELLO says only. Thread: the world's. */
#ifndef HOLON_SERVICES_REDIS_REDIS_SERVICE_H
#define HOLON_SERVICES_REDIS_REDIS_SERVICE_H

#include "base/histogram.h"
#include "cluster/gateway.h"
#include "cluster/view.h"
#include "services/redis/limits.h"
#include "world/world.h"

struct redis_service;
struct admission;

enum {
    REQUEST_BYTES_PER_SECOND = 64 << 10, /* slower is too slow */
    REDIS_BYTES_DEFAULT = 512 << 20,     /* per worker */
};

/* What INFO, HELLO and CONFIG GET tell of the process; the node knows. Sums are over all
 * workers; 0 where the node does not count: the service then shows its own worker's. */
struct redis_facts {
    const char *version; /* of Holon */
    uint64_t process_id;
    uint64_t uptime_us;
    uint64_t memory_bytes; /* resident */
    uint64_t memory_system_bytes;
    uint64_t connections, connections_received, commands_processed;
    uint32_t max_connections; /* of the node */
    uint32_t workers;
};

struct redis_service_options {
    struct world *world;
    struct gateway *gateway;
    struct cluster_view *view; /* of the same worker; may be empty while the node founds */
    /* Of the node, over all workers; NULL: max_connections are for this one alone. */
    struct admission *admission;
    uint32_t max_connections;
    /* Deadlines, us; 0: none. */
    uint64_t idle_timeout;    /* without a command, and nothing open: as `timeout` of Redis */
    uint64_t request_timeout; /* from the first byte of a command to its last, plus a second for
                               * each REQUEST_BYTES_PER_SECOND; also to the first command */
    uint64_t output_timeout;  /* without a byte of the waiting replies taken */
    /* What all connections may hold: beyond it the one that holds most is closed, and from half
     * of it on, those that hold much already wait. 0: REDIS_BYTES_DEFAULT. */
    uint64_t bytes_max;
    struct redis_limits limits; /* stage_from 0: the defaults */
    void *context;
    void (*facts)(void *context, struct redis_facts *ret_facts); /* NULL: nothing is known */
};

/* Never fails. The options' pointers must outlive the service. */
struct redis_service *redis_service_open(const struct redis_service_options *options);
/* One address for each kind of port. STATUS_EXISTS: in use; others as world_listen(). */
enum status redis_service_listen(struct redis_service *service, const char *address,
                                 bool cluster_port, struct error *error);
/* Port bound, for an address with port 0; 0 if this kind does not listen. */
uint16_t redis_service_port(const struct redis_service *service, bool cluster_port);
/* Stops accepting and reading; each connection closes once what it asked is answered.
 * redis_service_connections() tells when the last is gone. */
void redis_service_drain(struct redis_service *service);
uint32_t redis_service_connections(const struct redis_service *service);
/* B4: this node was fenced. Closes every client at once; the listeners stay. */
void redis_service_close_clients(struct redis_service *service);
/* Resets what is left and frees everything; outstanding requests are forgotten, so the
 * gateway must still be open. */
void redis_service_close(struct redis_service *service);

struct redis_statistics {
    uint64_t connections_received, connections_rejected;
    uint64_t address_rejected; /* of which by the limit of one address */
    uint64_t commands, reads, writes, local, fanouts, stages;
    uint64_t errors;                              /* error replies of any kind */
    uint64_t protocol_errors;                     /* connections closed for them */
    uint64_t unknown, unavailable, busy, too_big; /* outcomes of the gateway */
    /* Closed: did not read their replies; the worker was full and they held most; did not
     * complete a command; sent none at all; were idle for longer than idle_timeout. */
    uint64_t clients_stuck, clients_evicted, clients_slow, clients_silent, clients_idle;
    uint64_t pauses;     /* times a connection had to wait for a bound */
    uint64_t turns_left; /* times a deep pipeline gave way to other connections */
    uint64_t bytes_held; /* now: requests, replies and input of all connections */
    uint64_t bytes_in, bytes_out;
};
void redis_service_statistics(const struct redis_service *service,
                              struct redis_statistics *ret_statistics);
/* From the arrival of a command to its reply, us. */
const struct histogram *redis_service_read_latency(const struct redis_service *service);
const struct histogram *redis_service_write_latency(const struct redis_service *service);

#endif
