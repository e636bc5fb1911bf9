/* frontend.h - inside of the Redis front-end: connections, their queues of replies, and the
 * steps of a command. Only files of this directory include it.
 *
 *   on_data -> parse -> dispatch -+-> local command ------------------+
 *                                 +-> slot -> gateway -> on_reply ----+-> output, in order
 *                                 +-> fan-out (alone: rule C9) -------+
 *
 * What a connection may cost (WHY.md 1.8; connection_limits.c). At the first of these its
 * commands wait unparsed and the socket is not read, until half is done:
 *
 *     REPLIES_MAX commands are open, HELD_BYTES_MAX of requests and replies wait for their
 *     turn, OUTPUT_WAIT_BYTES are not sent, or OWED_BYTES_MAX are asked for: nobody knows the
 *     size of a reply before it comes, so each counts as the greatest of late, and before
 *     there was one as a whole value
 *     all connections of the worker hold half of options.bytes_max, and this one is not light
 *     all have SERVICE_OPEN_MAX commands or SERVICE_OPEN_BYTES of requests open (and
 *     SERVICE_OPEN_HEAVY_BYTES, if this one is not light), and this one its share: queues belong
 * into the clients' sockets, where others do not wait in them
 *
 * A connection with a deep pipeline does not keep others waiting: after TURN_COMMANDS_MAX it goes
 * on in the next turn of the loop, behind whoever waits already; and so does everybody after
 * SERVICE_TURN_COMMANDS_MAX of all, so that a turn stays short for heartbeats and leases.
 *
 * Replies that are bigger than they were thought cannot be sent back. A connection that holds
 * more than OUTPUT_BYTES_MAX is closed; if all of a worker hold more than options.bytes_max,
 * the one that holds most. Nothing else is ever dropped. */
#ifndef HOLON_SERVICES_REDIS_FRONTEND_H
#define HOLON_SERVICES_REDIS_FRONTEND_H

#include "services/redis/command.h"
#include "services/redis/redis_service.h"
#include "services/redis/request_body.h"
#include "wire/resp.h"

enum {
    OPEN_CLASSES = 64,
    REPLIES_MAX = 1024,
    TURN_COMMANDS_MAX = 128,          /* of one connection; then it is others' turn */
    SERVICE_TURN_COMMANDS_MAX = 4096, /* of all; then timers, other nodes and the log have theirs */
    HELD_BYTES_MAX = 1 << 20,         /* request bodies and replies that wait for their turn */
    OWED_BYTES_MAX = 16 << 20,        /* replies that have not come, at their supposed size */
    OWED_FIRST_BYTES = 256 << 10,     /* of a reply, before the connection had any */
    REPLY_SIZE_DECAY = 8,
    OWED_SMALL_BYTES = 256, /* of a write that returns no value */
    OUTPUT_WAIT_BYTES = 1 << 20,
    OUTPUT_BYTES_MAX = 64 << 20, /* of one: a client that is this far behind is closed */
    /* Of all connections that have something open: more does not make the worker faster, it only
     * makes everybody wait longer for their turn at the log. */
    SERVICE_OPEN_MAX = 2048,
    SERVICE_OPEN_BYTES = 2 << 20, /* of requests */
    /* For connections that hold more than LIGHT_BYTES: what they have open lies before the small
     * requests of others on its way to the disk. More makes giant values no faster. */
    SERVICE_OPEN_HEAVY_BYTES = 512 << 10,
    LIGHT_BYTES = 64 << 10,          /* a connection that holds no more goes on in any case */
    INPUT_BYTES_MAX = 20 << 20,      /* unparsed: a command, and what came while waiting */
    INPUT_KEPT_BYTES = 16 << 10,     /* memory kept by an idle connection */
    STAGING_BYTES_MAX = 128 << 20,   /* of commands being staged by a worker; then -BUSY */
    BIG_REPLY_BYTES = 64 << 10,      /* a read that is answered with more than this while so */
    BIG_OUTPUT_BYTES_MAX = 40 << 20, /* much waits for the client becomes -BUSY */
    CLIENT_NAME_SIZE_MAX = 128,
    KEYS_PER_COMMAND_MAX = 16384,
    READS_STALE_MS_MIN = 100, /* replicas are made sure of each 50 ms at most */
    READS_STALE_MS_MAX = 24 * 3600 * 1000,
    BODY_SIZE_MAX = TRANSPORT_FRAME_SIZE_MAX - 4096,
};

/* What the command at the front of the input waits for. */
enum wait_kind {
    WAIT_NOTHING,
    WAIT_ALL,   /* all earlier commands are answered (rule C9) */
    WAIT_READS, /* no read of its partition is open (decision 0003) */
    WAIT_LOCK,  /* a lock (lock_wait.h) */
};

enum reply_mode { REPLY_ON, REPLY_OFF, REPLY_SKIP_NEXT, REPLY_SKIP };

struct connection {
    struct redis_service *service;
    struct stream *stream;
    struct list link;  /* in service->connections */
    struct list ready; /* in service->ready: goes on in the next turn */
    uint64_t id;
    bool cluster_port;
    bool readonly; /* READONLY was said: reads are not sent on to the leader */
    bool resp3;
    bool closing; /* no further command; ends when the queue is empty */
    bool ended;   /* stream_close() or stream_abort() was called */
    bool killed;  /* it was stream_abort() */
    bool held;    /* a bound was reached */
    bool spoke;   /* sent a whole command */
    bool read_paused;
    bool processing; /* inside process_input(): replies come synchronously */
    uint8_t database;
    enum reply_mode reply_mode;
    struct resp_parser parser;
    struct buffer input; /* what is not parsed yet, or waits */
    /* The command at the front of the input is parsed and waits for its turn; it lay at
     * parsed_at then. 0: none. */
    size_t parsed_size;
    uintptr_t parsed_at;
    enum wait_kind waits_for;
    uint8_t waits_for_class; /* WAIT_READS */
    struct list slots;       /* reply_slot: commands in order, not yet in the output */
    uint32_t slot_count;
    size_t held_bytes; /* requests and replies in the queue */
    size_t owed_bytes; /* replies that have not come, at their supposed size */
    size_t bytes;      /* all it holds, as counted in service->statistics.bytes_held */
    /* Open at the gateway, by partition (modulo: a collision only makes some wait). */
    uint16_t open_requests[OPEN_CLASSES], open_reads[OPEN_CLASSES];
    /* HOLON.READS (local_reads.c). */
    uint32_t stale_ms;         /* reads may be so far behind; 0: linearizable */
    uint64_t staleness;        /* of the last reply from a partition, us; UINT64_MAX: not known */
    uint64_t wrote_at;         /* boot clock: when a write was answered last; 0: never */
    uint64_t *wrote_class_at;  /* the same by OPEN_CLASSES; NULL: reads are linearizable */
    size_t reply_size;         /* supposed of the next reply: greatest of late, decaying */
    struct fanout *fanout;     /* running: nothing else is */
    struct staging *staging;   /* the same */
    struct exec *exec;         /* the same */
    struct lock_wait *locks;   /* the same: lock_wait.h */
    struct guards *guards;     /* of the next command, or EXEC (guard.h); or NULL */
    struct multi *multi;       /* MULTI or WATCH was said; or NULL */
    struct snapshot *snapshot; /* at one, or one is being opened: nothing else runs; or NULL */
    uint64_t opened, active;   /* boot time */
    uint64_t request_since;    /* when the first part of an unfinished command came; 0: none */
    uint64_t output_moved;     /* when the other side took something last, or nothing waited */
    uint64_t output_delivered;
    const struct redis_command *last_command;
    const char *last_subcommand; /* of it; or NULL */
    char name[CLIENT_NAME_SIZE_MAX], library[CLIENT_NAME_SIZE_MAX],
        library_version[CLIENT_NAME_SIZE_MAX];
};

/* One command whose reply is not in the output yet. */
struct reply_slot {
    struct gateway_request request;
    struct connection *connection;
    struct list link; /* in connection->slots, or in the free list */
    const struct redis_command *command;
    uint8_t open_class;
    bool submitted;       /* the gateway has it */
    bool done;            /* reply is in `held` */
    bool silent;          /* CLIENT REPLY OFF */
    size_t bytes;         /* counted in connection->held_bytes */
    size_t request_bytes; /* counted in service->open_bytes */
    size_t owed;          /* counted in connection->owed_bytes */
    uint64_t started;
    struct buffer held;
    struct buffer body; /* of the request: it stays here until that is answered */
};

struct redis_service {
    struct redis_service_options options;
    struct redis_command_index index;
    struct listener *listeners[2];   /* by cluster_port */
    struct admission *own_admission; /* NULL: the options have one */
    struct list connections;
    uint32_t connection_count;
    uint32_t active_count, open_count; /* connections with slots, and those */
    size_t open_bytes;                 /* requests in them that are not answered */
    uint64_t next_connection;
    bool draining;
    struct list free_slots;
    uint32_t free_slot_count;
    struct buffer body;    /* of the request being made */
    struct buffer silence; /* replies nobody wants */
    size_t staging_bytes;
    struct list questions;      /* gather.c: to other workers, not answered by all */
    uint32_t question_count[2]; /* by kind */
    struct list ready;
    uint64_t turn;
    uint32_t turn_commands; /* in it, of all connections */
    bool backlogged;        /* the last turn did not get through: who comes queues up */
    struct list locks_left; /* lock_wait.c: their clients are gone */
    uint32_t locks_left_count;
    struct world_timer lock_timer;
    struct world_timer ready_timer; /* not deferred work: that cannot be taken back at the end */
    struct world_timer sweep_timer; /* runs while there are connections */
    bool sweeping;
    uint64_t kill_logged_at;
    uint32_t kills_not_logged;
    uint64_t now; /* boot time at which the bytes being parsed were read */
    struct redis_statistics statistics;
    struct histogram read_latency, write_latency;
};

/* connection.c */
void connection_accept(struct redis_service *service, struct stream *stream, bool cluster_port);
/* Goes on with waiting input in the next turn, if the bounds allow. */
void connection_wake(struct connection *connection);
/* No further commands; closes when everything before was answered. */
void connection_close_after_replies(struct connection *connection);
/* At once; the queue is forgotten when the stream reports its end. */
void connection_kill(struct connection *connection, const char *why);
/* Without waiting for the stream: for the end of the service. */
void connection_destroy(struct connection *connection);
void connections_run_ready(struct redis_service *service);

/* connection_limits.c */
bool connection_check_room(struct connection *connection);
/* May the next command be looked at, as far as bounds go? */
static inline bool connection_has_room(struct connection *connection)
{
    /* As usual: nothing is open, and hardly anything waits to be sent. */
    bool light = !connection->held && connection->slot_count == 0 &&
                 buffer_size(stream_output(connection->stream)) <= LIGHT_BYTES;
    return light || connection_check_room(connection);
}
/* After its buffers changed: counts them, and closes whoever holds too much. */
void connection_account(struct connection *connection);
void connection_account_gone(struct connection *connection);
/* The size that a reply is supposed to have before it has come: that of a write, of a read. */
size_t connection_write_reply_supposed(const struct connection *connection,
                                       const struct redis_command *command,
                                       uint32_t argument_count);
static inline size_t connection_reply_supposed(const struct connection *connection,
                                               const struct redis_command *command,
                                               uint32_t argument_count)
{
    if (!(command->flags & REDIS_WRITES)) return connection->reply_size;
    return connection_write_reply_supposed(connection, command, argument_count);
}
static inline void connection_reply_seen(struct connection *connection, size_t size)
{
    size_t decayed = connection->reply_size - connection->reply_size / REPLY_SIZE_DECAY;

    connection->reply_size = size > decayed ? size : decayed;
}
void limits_sweep_start(struct redis_service *service);

/* reply_queue.c */
/* A reply made here: written to the output, or behind the commands that are still open. */
struct local_reply {
    struct connection *connection;
    struct reply_slot *slot; /* NULL: the output itself */
    bool silent;
    size_t start;
    struct resp_writer out;
};
void local_reply_begin(struct connection *connection, struct local_reply *ret_reply);
void local_reply_end(struct local_reply *reply);
/* The command itself switched replies on (CLIENT REPLY ON, RESET): its reply is wanted. */
void local_reply_unsilence(struct local_reply *reply);
void connection_reply_error(struct connection *connection, const char *text);
/* Sends a keyed command to the gateway; takes its place in the queue. False: a write behind an
 * open read of the same partition; it waits, or a retry of the read after a failover would see
 * it (decision 0003); waits_for is set. */
bool connection_submit(struct connection *connection, const struct redis_command *command,
                       uint16_t slot, const struct bytes *arguments, uint32_t count);
/* The same for a body that is in service->body, behind nothing. */
void connection_submit_body(struct connection *connection, const struct redis_command *command,
                            uint16_t slot, uint32_t count, bool silent);
/* Encodes into service->body. False: too big, and the error was replied. */
bool body_make(struct redis_service *service, const struct redis_command *command, bool resp3,
               uint8_t database, const struct bytes *arguments, uint32_t count);
/* The error reply for an outcome that is not GATEWAY_REPLY. */
void outcome_write(struct redis_service *service, struct resp_writer *out,
                   enum gateway_outcome outcome, const struct gateway_request *request,
                   struct bytes text);
void outcome_count(struct redis_service *service, enum gateway_outcome outcome);
void connection_forget_all(struct connection *connection);
void slots_free_all(struct redis_service *service);

/* local_reads.c */
/* How a request for that class of partitions may be answered, by the mode of the connection. */
void reads_prepare(const struct connection *connection, uint8_t open_class,
                   struct gateway_request *request);
/* It was answered. */
void reads_answered(struct connection *connection, uint8_t open_class,
                    const struct gateway_request *request);
/* A transaction was, which is never stale; it may have written anywhere. */
void reads_after_transaction(struct connection *connection, bool wrote);
void reads_set_stale(struct connection *connection, uint32_t stale_ms); /* 0: linearizable */

/* snapshot.c: HOLON.SNAPSHOT */
void snapshot_continue(struct connection *connection); /* from connections_run_ready() */
void snapshot_drop(struct connection *connection);     /* back to the present */
/* snapshot_read.c: gateway_submit() and gateway_forget() of this connection's requests, at its
 * snapshot. */
void connection_ask(struct connection *connection, struct gateway_request *request);
void connection_forget(struct connection *connection, struct gateway_request *request);

/* dispatch.c */
/* False: it must wait, connection->waits_for says what for; give it again then. */
bool dispatch_command(struct connection *connection, const struct bytes *arguments, uint32_t count);
struct local_call;
/* Runs a command of local_*.c. */
void dispatch_local(struct local_call *call);

/* fanout.c: only while the queue is empty; sets connection->fanout until it is answered. */
void fanout_start(struct connection *connection, const struct redis_command *command,
                  const struct bytes *arguments, uint32_t count);
void fanout_continue(struct connection *connection); /* from connections_run_ready() */
void fanout_cancel(struct connection *connection);
size_t fanout_bytes(const struct connection *connection); /* it keeps */

/* staging.c: only while the queue is empty; sets connection->staging until it is submitted. */
bool staging_wanted(const struct redis_service *service, const struct redis_command *command,
                    const struct bytes *arguments, uint32_t count);
void staging_start(struct connection *connection, const struct redis_command *command,
                   uint16_t slot, const struct bytes *arguments, uint32_t count);
void staging_continue(struct connection *connection); /* from connections_run_ready() */
void staging_cancel(struct connection *connection);
size_t staging_bytes(const struct connection *connection);

/* exec.c: only while the queue is empty; sets connection->exec until it is answered. */
void exec_continue(struct connection *connection); /* from connections_run_ready() */
void exec_cancel(struct connection *connection);
size_t exec_bytes(const struct connection *connection);
/* multi.c */
void multi_drop(struct connection *connection);
size_t multi_bytes(const struct connection *connection);

/* local_*.c: commands that the connection's own node answers. */
struct local_call {
    struct connection *connection;
    struct redis_service *service;
    const struct redis_command *command;
    const struct bytes *arguments;
    uint32_t count;
    struct resp_writer *out;
};

struct local_subcommand {
    const char *name; /* lower case */
    int arity;        /* name of the container included; negative: at least */
    void (*run)(struct local_call *call);
    const char *help[2]; /* syntax, and what it does */
};
/* Finds arguments[1] in the list and runs it, or says what is wrong. Answers HELP. */
void local_run_subcommand(struct local_call *call, const struct local_subcommand *list,
                          size_t count);

static inline bool service_has_view(const struct redis_service *service)
{
    return service->options.view->partition_count > 0 && service->options.view->groups != NULL;
}
void service_facts(const struct redis_service *service, struct redis_facts *ret_facts);
/* The node's part of a command table row. */
static inline uint32_t service_partition(const struct redis_service *service, uint16_t slot)
{
    return service->options.view->slot_partition[slot];
}
static inline uint8_t open_class_of(const struct redis_service *service, uint16_t slot)
{
    return service_partition(service, slot) % OPEN_CLASSES;
}

#endif
