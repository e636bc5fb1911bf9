/* frontend.h - inside of the Redis front-end: connections, their queues of replies, and the
 * steps of a command. Only files of this directory include it.
 *
 *   on_data -> parse -> dispatch -+-> local command ------------------+
 *                                 +-> slot -> gateway -> on_reply ----+-> output, in order
 *                                 +-> fan-out (alone: rule C9) -------+
 *
 * Bounds of one connection (WHY.md 1.8): REPLIES_MAX commands and HELD_BYTES_MAX bytes are
 * open at a time, OUTPUT_WAIT_BYTES unsent; beyond, commands wait unparsed and the socket is
 * not read. It goes on when half is done. Nothing is ever dropped. */
#ifndef HOLON_SERVICES_REDIS_FRONTEND_H
#define HOLON_SERVICES_REDIS_FRONTEND_H

#include "services/redis/command.h"
#include "services/redis/redis_service.h"
#include "services/redis/request_body.h"
#include "wire/resp.h"

enum {
    OPEN_CLASSES = 64,
    REPLIES_MAX = 1024,
    HELD_BYTES_MAX = 1 << 20,      /* request bodies and replies that wait for their turn */
    EXPECTED_BYTES_MAX = 16 << 20, /* open commands times the size of recent replies */
    OUTPUT_WAIT_BYTES = 1 << 20,
    OUTPUT_BYTES_MAX = 64 << 20, /* a client that is this far behind is closed */
    INPUT_BYTES_MAX = 4 << 20,   /* unparsed: a command, and what came while waiting */
    INPUT_KEPT_BYTES = 16 << 10, /* memory kept by an idle connection */
    CLIENT_NAME_SIZE_MAX = 128,
    KEYS_PER_COMMAND_MAX = 16384,
    BODY_SIZE_MAX = TRANSPORT_FRAME_SIZE_MAX - 4096,
};

enum reply_mode { REPLY_ON, REPLY_OFF, REPLY_SKIP_NEXT, REPLY_SKIP };

struct connection {
    struct redis_service *service;
    struct stream *stream;
    struct list link;  /* in service->connections */
    struct list ready; /* in service->ready: goes on in the next turn */
    uint64_t id;
    bool cluster_port;
    bool resp3;
    bool closing; /* no further command; ends when the queue is empty */
    bool ended;   /* stream_close() or stream_abort() was called */
    bool held;    /* a bound was reached */
    bool read_paused;
    bool processing; /* inside process_input(): replies come synchronously */
    uint8_t database;
    enum reply_mode reply_mode;
    struct resp_parser parser;
    struct buffer input; /* what is not parsed yet */
    struct list slots;   /* reply_slot: commands in order, not yet in the output */
    uint32_t slot_count;
    size_t held_bytes;
    /* Open at the gateway, by partition (modulo: a collision only makes some wait). */
    uint16_t open_requests[OPEN_CLASSES], open_reads[OPEN_CLASSES];
    size_t reply_size;       /* recent replies, decaying greatest */
    struct fanout *fanout;   /* running: nothing else is */
    uint64_t opened, active; /* boot time */
    const struct redis_command *last_command;
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
    bool submitted; /* the gateway has it */
    bool done;      /* reply is in `held` */
    bool silent;    /* CLIENT REPLY OFF */
    size_t bytes;   /* counted in connection->held_bytes */
    uint64_t started;
    struct buffer held;
};

struct redis_service {
    struct redis_service_options options;
    struct redis_command_index index;
    struct listener *listeners[2]; /* by cluster_port */
    struct list connections;
    uint32_t connection_count;
    uint64_t next_connection;
    bool draining;
    struct list free_slots;
    uint32_t free_slot_count;
    struct buffer body;    /* of the request being sent: the gateway copies it */
    struct buffer silence; /* replies nobody wants */
    struct list ready;
    struct world_timer ready_timer; /* not deferred work: that cannot be taken back at the end */
    uint64_t now;                   /* boot time at which the bytes being parsed were read */
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
 * it (decision 0003). */
bool connection_submit(struct connection *connection, const struct redis_command *command,
                       uint16_t slot, const struct bytes *arguments, uint32_t count);
/* Encodes into service->body. False: too big, and the error was replied. */
bool body_make(struct redis_service *service, const struct redis_command *command, bool resp3,
               uint8_t database, const struct bytes *arguments, uint32_t count);
/* The error reply for an outcome that is not GATEWAY_REPLY. */
void outcome_write(struct redis_service *service, struct resp_writer *out,
                   enum gateway_outcome outcome, uint16_t slot);
void outcome_count(struct redis_service *service, enum gateway_outcome outcome);
void connection_forget_all(struct connection *connection);
void slots_free_all(struct redis_service *service);

/* dispatch.c */
/* False: it must wait until all earlier ones are answered; give it again then. */
bool dispatch_command(struct connection *connection, const struct bytes *arguments, uint32_t count);

/* fanout.c: only while the queue is empty; sets connection->fanout until it is answered. */
void fanout_start(struct connection *connection, const struct redis_command *command,
                  const struct bytes *arguments, uint32_t count);
void fanout_continue(struct connection *connection); /* from connections_run_ready() */
void fanout_cancel(struct connection *connection);

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

#endif
