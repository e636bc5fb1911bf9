/* redis_service.h - the Redis front-end of one worker: listeners, connections, and what is
 * answered without a partition. Requests for keys go to the gateway of the same worker; what
 * happens at the partition's leader is evaluate.h.
 *
 * Two listeners, no guessing (WHY.md 8.2): the transparent port, on which the cluster is one Redis,
 * and the cluster port, on which it is a Redis Cluster (cluster_table.h): there keys of others
 * are answered with MOVED, and what is about the whole database is about the partitions that the
 * node leads. Thread: the world's. */
#ifndef HOLON_SERVICES_REDIS_REDIS_SERVICE_H
#define HOLON_SERVICES_REDIS_REDIS_SERVICE_H

#include "base/histogram.h"
#include "cluster/gateway.h"
#include "cluster/view.h"
#include "services/redis/limits.h"
#include "world/world.h"

struct redis_service;
struct redis_question;
struct redis_question_part;
struct admission;
struct txn_worker;
struct txn_cuts;

enum {
    REQUEST_BYTES_PER_SECOND = 64 << 10, /* slower is too slow */
    REDIS_BYTES_DEFAULT = 512 << 20,     /* per worker */
};

/* What INFO, HELLO and CONFIG GET tell of the process; the node knows. 0: not known. */
struct redis_facts {
    const char *version; /* of Holon */
    uint64_t process_id;
    uint64_t uptime_us;
    uint64_t memory_bytes; /* resident */
    uint64_t memory_system_bytes;
    uint64_t memory_limit; /* --memory; 0: none */
    uint64_t cpu_user_us, cpu_system_us;
    uint64_t connections;
    uint32_t max_connections; /* of the node */
    uint32_t workers;
};

struct redis_service_options {
    struct world *world;
    struct gateway *gateway;
    struct cluster_view *view; /* of the same worker; may be empty while the node founds */
    /* Of the same worker, open until the service is closed. NULL: there are no transactions, and
     * what needs them is refused. */
    struct txn_worker *txn;
    struct txn_cuts *cuts; /* the same; NULL: there are no snapshots */
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
    /* Is there a link to the node? NULL: all are taken to be there. */
    bool (*is_linked)(void *context, node_id_t node);
    uint32_t worker_count; /* of the node; 0: this one alone */
    /* For INFO and CLIENT LIST, see below. NULL: this worker answers for itself. */
    void (*ask)(void *context, struct redis_question *question);
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

/* A question of one worker to the others (gather.h). For each of them the node takes its part to
 * that worker's thread, calls redis_question_answer() there, and then redis_question_answered() on
 * the thread of the one that asked. A part that will not arrive is dropped, on any thread that
 * nothing runs beside. */
uint32_t redis_question_worker_count(const struct redis_question *question);
struct redis_question_part *redis_question_part(struct redis_question *question, uint32_t worker);
uint32_t redis_question_asker(const struct redis_question_part *part);
/* service NULL: the worker serves nobody (yet, or any more). */
void redis_question_answer(struct redis_question_part *part, struct redis_service *service);
void redis_question_answered(struct redis_question_part *part); /* it may be gone after this */
void redis_question_drop(void *part);

/* Error replies are counted by their first word, as INFO shows them. */
enum redis_error_word {
    REDIS_ERROR_ERR,
    REDIS_ERROR_WRONGTYPE,
    REDIS_ERROR_CROSSSLOT,
    REDIS_ERROR_BUSY,
    REDIS_ERROR_UNKNOWN,
    REDIS_ERROR_UNAVAILABLE,
    REDIS_ERROR_MISCONF,
    REDIS_ERROR_STALE,
    REDIS_ERROR_TOOBIG,
    REDIS_ERROR_NOPROTO,
    REDIS_ERROR_WRONGPASS,
    REDIS_ERROR_MOVED,
    REDIS_ERROR_READONLY,
    REDIS_ERROR_SNAPSHOTGONE,
    REDIS_ERROR_LOCKLOST,
    REDIS_ERROR_OTHER,
    REDIS_ERROR_WORD_COUNT,
};
const char *redis_error_word_name(enum redis_error_word word);

struct redis_statistics {
    uint64_t connections_received, connections_rejected;
    uint64_t address_rejected; /* of which by the limit of one address */
    uint64_t commands, reads, writes, local, fanouts, stages;
    uint64_t moved;                /* of the cluster port: sent on to the leader */
    uint64_t transactions;         /* EXEC, and commands over several partitions */
    uint64_t transactions_watched; /* of those not executed: a watched key had changed */
    uint64_t errors;               /* error replies of any kind */
    uint64_t errors_by_word[REDIS_ERROR_WORD_COUNT];
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
/* Now, as in the statistics. */
uint64_t redis_service_bytes_held(const struct redis_service *service);
/* From the arrival of a command to its reply, us. */
const struct histogram *redis_service_read_latency(const struct redis_service *service);
const struct histogram *redis_service_write_latency(const struct redis_service *service);

#endif
