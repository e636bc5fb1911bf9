/* node.h - puts a node together: identity or founding, log, engines, workers with their
 * hosts, gateways and services; lifecycle from start to the last flush.
 *
 * The platform (src/cli for real processes, sim/ for simulated ones) supplies one world per
 * worker, transports and engines; everything else is the same code. node_start() runs on the
 * thread of worker 0; work for other workers goes there by world_post(). */
#ifndef HOLON_NODE_NODE_H
#define HOLON_NODE_NODE_H

#include "cluster/join_file.h"
#include "cluster/join_token.h"
#include "cluster/meta.h"
#include "cluster/view.h"
#include "net/transport.h"
#include "raft/raft.h"
#include "services/redis/limits.h"
#include "storage/engine/engine.h"
#include "world/world.h"

#define HOLON_VERSION "0.1.0"

enum { MEMBERS_MAX = 16, PARTITIONS_DEFAULT = 256, REPLICAS_DEFAULT = 3 };
#define REPAIR_AFTER_DEFAULT_US UINT64_C(300000000)

struct node_member { /* of --cluster */
    char name[NODE_NAME_SIZE_MAX];
    char peer[ADDRESS_SIZE_MAX];
};

struct node_options {
    char name[NODE_NAME_SIZE_MAX];
    char data[1024];
    char redis[ADDRESS_SIZE_MAX], redis_cluster[ADDRESS_SIZE_MAX];
    char peer[ADDRESS_SIZE_MAX], admin[ADDRESS_SIZE_MAX]; /* empty: do not listen */
    /* Where clients are told that they are; empty: where it listens. */
    char announce_redis[ADDRESS_SIZE_MAX], announce_redis_cluster[ADDRESS_SIZE_MAX];
    uint32_t member_count; /* 0: a one-node cluster */
    struct node_member members[MEMBERS_MAX];
    /* Peer addresses of members of the cluster that an empty directory joins; 0: it founds one. */
    uint32_t join_count;
    char join[JOIN_ADDRESSES_MAX][ADDRESS_SIZE_MAX];
    bool has_token;
    uint8_t token[JOIN_SECRET_SIZE];
    char labels[LABELS_SIZE_MAX]; /* of this node, set at each start (labels.h) */
    uint32_t workers;
    uint64_t patience;     /* us */
    uint64_t repair_after; /* us that a node is silent before its replicas are built elsewhere */
    uint32_t max_connections, max_connections_per_address;  /* 0: see net/admission.h */
    uint64_t idle_timeout, request_timeout, output_timeout; /* us; of clients, 0: none */
    /* Settings of the cluster: used at founding; afterwards a given value that differs from
     * the stored one is refused. 0 / false: not given, take what is stored or the default. */
    uint32_t partitions, replicas;
    bool reads_given;
    enum reads_mode reads;
    struct raft_timing timing;
    uint32_t stores;
    uint64_t log_bytes_max;    /* of the log's files; 0: no bound */
    uint64_t log_segment_size; /* 0: a sixteenth of that, up to 64 MiB */
    uint64_t flush_bytes, entries_bytes_max;
    uint64_t memory;       /* what rows and buffers of the node may take; 0: no limit */
    uint64_t disk_reserve; /* bytes of free space below which requests that add data are refused */
    uint64_t scrub_rate;   /* bytes per second; 0: never */
    uint64_t
        copy_rate_max; /* bytes per second of states, sent or received; 0: what the disk bears */
    uint64_t copy_rate_least; /* 0: the default */
    uint64_t scrub_every;     /* us from the beginning of a pass to that of the next, at least */
    struct redis_limits redis_limits;
    uint32_t reply_part_bytes, cold_job_bytes_max; /* host_options; 0: the defaults */
    uint32_t heavy_bytes, heavy_rate_least;        /* the same */
    bool heavy_unbounded;           /* large writes never wait for small ones of others */
    uint64_t big_replies_bytes_max; /* host_options */
    uint64_t partial_bytes_max;     /* gateway_options */
    uint32_t raft_planted_bugs;     /* simulator only */
    struct meta_options meta;       /* simulator only */
    uint32_t process_id;            /* goes to DIR/holon.pid; 0: none (simulator) */
};

void node_options_default(struct node_options *options);
/* What others are told: the announced address, or where the node listens. A host without a port
 * gets that of the listener. */
void node_listed_address(const char *announced, const char *listens, char ret[ADDRESS_SIZE_MAX]);

struct node;
struct partition_host;
struct gateway;

/* Identity that a transport needs; zero cluster until founded. */
struct node_identity {
    struct cluster_id cluster;
    node_id_t node;
    boot_epoch_t epoch;
    store_id_t store;
    char name[NODE_NAME_SIZE_MAX];
};

struct node_traffic { /* of one worker's transport, since it was opened */
    uint64_t frames_sent, bytes_sent, frames_received, bytes_received, frames_dropped;
    uint64_t strangers_dropped;
};

struct node_usage { /* of the process, and of the machine */
    uint64_t cpu_user_us, cpu_system_us;
    uint64_t memory_system_bytes;
    uint64_t files_kept; /* open for world_discard_once_removed() */
};

struct node_platform {
    void *context;
    uint32_t worker_count;
    struct world **worlds;
    /* Transport of a worker; peers are options->members, whose node ids are their ranks by
     * name, from 1. Called on that worker's thread. events/context are set by the node. */
    struct transport *(*transport_open)(void *context, uint32_t worker,
                                        const struct node_identity *identity);
    /* The identity became known (founding) or got a new epoch: connections start afresh. */
    void (*transport_set_identity)(void *context, uint32_t worker,
                                   const struct node_identity *identity);
    /* That node is a member now, or has another address; NULL: it is none any more. On the worker's
     * thread. NULL if transports know whom to reach by themselves. */
    void (*transport_set_peer)(void *context, uint32_t worker, node_id_t node,
                               const struct node_member *member);
    void (*transport_close)(void *context, uint32_t worker);
    enum status (*engine_open)(void *context, uint32_t store, const char *directory,
                               struct engine **ret_engine, struct error *error);
    /* Several at once, for a fast start; NULL: one after the other. A directory that is NULL is
     * left out; each that cannot be opened has its own error. engine_open may be called in a job
     * later: on another thread, once a damaged store was taken out. */
    void (*engines_open)(void *context, uint32_t count, const char *const *directories,
                         struct engine **ret_engines, struct error *ret_errors);
    /* For metrics; either may be NULL. Traffic is asked on that worker's thread. */
    void (*transport_traffic)(void *context, uint32_t worker, struct node_traffic *ret_traffic);
    uint64_t (*resident_bytes)(void *context); /* any thread */
    /* Any thread. NULL: not known. */
    void (*usage)(void *context, struct node_usage *ret_usage);
    /* The node says how far it is; text for people. Worker 0's thread. */
    void (*on_waiting)(void *context, const char *for_whom); /* "n2, n3" */
    void (*on_ready)(void *context);
    /* The end, exactly once: after a clean stop with NULL, else with what went wrong (start
     * failed, or this node was replaced while it ran). Then node_destroy(), but not in it. */
    void (*on_stopped)(void *context, const struct error *error);
};

struct node *node_create(const struct node_options *options, const struct node_platform *platform);
/* Worker 0's thread. Progress and failure by the platform's callbacks. */
void node_start(struct node *node);
/* SIGTERM: hand leaderships over, finish what is in flight (bounded: 5 s), sync, stop. */
void node_stop(struct node *node);
/* After on_stopped, or when the simulator killed it: frees memory, touches nothing outside. */
void node_destroy(struct node *node);

/* Who the transport must reach: node id = index + 1; one without a name is none. Known when
 * transport_open is called: the members of --cluster, or of the table in the directory. */
const struct node_member *node_members(const struct node *node, uint32_t *ret_count);

bool node_is_ready(const struct node *node);
/* Nothing of it is in repair. */
bool node_is_whole(const struct node *node);
/* Ports actually bound (for port 0); after the services listen. */
uint16_t node_redis_port(const struct node *node);

/* For the simulator's checkers; NULL while it is not open. On that worker's thread. */
struct partition_host *node_host(struct node *node, uint32_t worker);
struct gateway *node_gateway(struct node *node, uint32_t worker);

/* What an operator asks for (node_operate.c), as a POST to the admin port does it. The answer comes
 * once, maybe at once, unless the node stops before: 200, or 404, 409, 503 with {"error": text}. */
struct operation_reply {
    void *context;
    uint64_t ticket;
    void (*answer)(void *context, uint64_t ticket, unsigned code, struct bytes json);
};
void node_operate(struct node *node, struct bytes path, struct bytes query,
                  const struct operation_reply *reply);

/* JSON of /status, the page of `holon status`; appended to buffer. False: it does not fit, or a
 * text in it is no UTF-8; what was appended is of no use. Worker 0's thread. */
bool node_status_json(struct node *node, struct buffer *buffer);

#endif
