/* gateway_internal.h - what the files of the gateway share. Not for other modules.
 *
 *   gateway.c         streams and their books, submitting, patience (B7), news, life
 *   gateway_route.c   routes: choosing, sending, sending again (B5)
 *   gateway_reserve.c requests whose seq is taken before they are sent (C1)
 *   gateway_answer.c  replies and NACKs
 *   gateway_stale.c   stale reads: by replicas of this node, here or at another worker
 *   gateway_fresh.c   keeps those replicas fresh while anybody wants to read them */
#ifndef HOLON_CLUSTER_GATEWAY_INTERNAL_H
#define HOLON_CLUSTER_GATEWAY_INTERNAL_H

#include "base/assert.h"
#include "base/map.h"
#include "base/memory.h"
#include "cluster/gateway.h"
#include "wire/peer_frame.h"
#include "wire/request_frame.h"
#include "world/probe.h"

enum {
    INFLIGHT_MAX_DEFAULT = 8192,
    SEQ_SPREAD_MAX = 60000, /* an entry says its distance to the watermark in 16 bits */
    STREAM_BYTES_MAX_DEFAULT = 32 << 20,
    RETRY_FIRST_US = 5 * 1000,
    RETRY_LAST_US = 100 * 1000,
    ROUTE_TIMEOUT_US = 400 * 1000, /* nothing heard on a route with requests open: at first, */
    ROUTE_TIMEOUT_LAST_US = 3200 * 1000, /* and after a few: the leader's disk may be slow */
    ROUTE_TIMEOUT_LATENCIES = 3, /* and never sooner than so many times what answers take, */
    ROUTE_TIMEOUT_LIVES_US = 1600 * 1000,    /* or than this while its node answers others */
    PART_TIMEOUT_US = ROUTE_TIMEOUT_LAST_US, /* a reply in parts stopped: its window may be lost */
    LATENCY_DECAY = 64,
    SWEEP_US = 50 * 1000,
    OUT_FLUSH_BYTES = 256 << 10,
    /* The retry budget. To send a request once more is free: that is a failover, and clients wait
     * for it. To send it again and again is what makes an overloaded leader worse; that takes
     * from a budget which each new request fills by a fifth, and time by so much a second. */
    RESEND_SHARE = 5,
    RESENDS_PER_SECOND = 4096,
    RESENDS_SAVED_MAX = 8192,
    PARTIAL_SIZE_MAX = 64 << 20, /* of one reply in parts */
    PARTIAL_BYTES_MAX_DEFAULT = 128 << 20,
    PART_ACK_SIZE_MAX = 64,
    /* Stale reads. Replicas are asked for at one of these paces, the longest that is no more than
     * half of the bound: 50, 100, ... 800 ms. */
    STALE_PACES = 5,
    STALE_PACE_LEAST_US = 50 * 1000,
    STALE_QUESTIONS_PER_TICK = 256, /* of half a pace */
    STALE_WISH_US =
        3 * 1000 * 1000,            /* so long another worker's counts; told three times as often */
    STALE_POLL_FIRST_US = 2 * 1000, /* a read that waits looks again, first, */
    STALE_POLL_LAST_US = 40 * 1000, /* and at last */
    STALE_ANSWER_WAIT_US = 200 * 1000, /* then a worker of this node is asked again */
    STALE_REPLY_BYTES_MAX = 512 << 10, /* larger ones between workers come from the leader */
};

struct gateway_stream { /* what each request needs comes first */
    struct gateway *gateway;
    struct group_id group;
    node_id_t target; /* 0: no route at present */
    uint64_t next_seq;
    uint64_t watermark; /* all seqs <= it are resolved */
    uint64_t route;
    uint32_t position;
    uint32_t replies; /* taken on this route: the next one's number */
    /* Ring by seq over (watermark, next_seq): NULL where resolved. */
    struct gateway_request **ring;
    uint32_t capacity;
    uint32_t open;     /* not NULL in the ring, */
    uint32_t reserved; /* beside those that are not submitted yet */

    uint64_t open_bytes;
    uint64_t target_term;
    uint64_t heard_at; /* last sign of life on this route */
    uint64_t part_at;  /* a part of a reply came last */
    uint32_t partials; /* open requests of whose reply parts came */
    bool target_local;
    bool active;         /* in gateway->active */
    bool routing;        /* all that is open is being sent again: new requests go in behind it */
    uint64_t routing_at; /* of which this seq was the last */
    uint32_t probe;      /* which replica to ask next when the leader is unknown */
    uint64_t retry_at;   /* a new route is due then; 0: not */
    uint64_t timeout;    /* a silence longer than that ends it */
    uint64_t retry_delay;
    struct gateway_stream *next_active;
};

struct gateway_out { /* for one worker of one node */
    node_id_t node;
    uint32_t worker;
    struct buffer buffer;
    bool section_open;
    struct group_id section_group;
    uint64_t section_route;
    size_t count_at;
    struct gateway_out *next;
};

/* Stale reads (gateway_stale.c, gateway_fresh.c). Made when first needed. */
struct gateway_stale {
    struct list waiting; /* stale reads, about in the order in which they came */
    struct list polling; /* those that a look has not come to */
    uint32_t waiting_count;
    struct map by_id; /* those that another worker was asked */
    uint64_t next_id;
    uint64_t poll_delay;
    uint64_t poll_number, *polled; /* by group: whose first one was asked in this look */
    bool poll_all;                 /* one that waited was answered: so may be the others */
    struct world_timer poll_timer;
    uint32_t worker_count;
    struct buffer *asks, *answers; /* by worker of this node: to leave at the end of the turn */
    /* Who wants replicas to be fresh, by pace. */
    uint32_t joined[STALE_PACES];
    uint64_t wished_until[STALE_PACES]; /* other workers; boot clock */
    uint64_t told_at;                   /* the other workers were, of ours */
    struct world_timer fresh_timer;
    bool fresh_runs;
    uint32_t fresh_next;   /* where the next round of questions begins */
    struct list questions; /* open */
};

struct gateway {
    struct gateway_options options;
    struct world *world;
    struct gateway_stream **streams; /* by group */
    uint32_t stream_capacity;
    struct gateway_stream *active; /* streams with open requests */
    struct map outs;
    struct gateway_out *out_list;
    struct list by_age; /* open requests, oldest first */
    uint64_t open_bytes;
    uint64_t partial_bytes, partial_count; /* of replies that come in parts */
    struct buffer ack;                     /* scratch */
    uint32_t open;
    uint32_t reserved;      /* beside those */
    uint32_t patience_ms;   /* of the options */
    uint64_t resends_saved; /* the retry budget, times RESEND_SHARE */
    uint64_t resends_filled_at;
    uint64_t node_heard[NODES_MAX + 1]; /* when replies or NACKs of that node came last */
    uint64_t latency; /* us: greatest of late of requests to other workers, decaying */
    bool fenced, closing, sweep_runs;
    struct world_deferred turn_end;
    struct world_timer sweep_timer, retry_timer;
    struct gateway_stale *stale; /* NULL: nobody has read so yet */
    uint64_t retry_timer_at;
    struct gateway_statistics statistics;
};

static inline struct gateway_request **ring_at(struct gateway_stream *stream, uint64_t seq)
{
    return &stream->ring[seq & (stream->capacity - 1)];
}

/* gateway.c */
struct gateway_stream *gateway_stream_make(struct gateway *gateway, struct group_id group);
static inline struct gateway_stream *gateway_stream_of(struct gateway *gateway,
                                                       struct group_id group)
{
    bool known = group.value < gateway->stream_capacity && gateway->streams[group.value] != NULL;
    return known ? gateway->streams[group.value] : gateway_stream_make(gateway, group);
}
bool gateway_over_limit(const struct gateway *gateway, const struct gateway_stream *stream,
                        const struct gateway_request *request);
static inline bool gateway_bytes_are_over(const struct gateway *gateway,
                                          const struct gateway_stream *stream, size_t more)
{
    return stream->open_bytes + more > gateway->options.stream_bytes_max ||
           gateway->open_bytes + more > gateway->options.inflight_bytes_max;
}
/* Into the ring, under the next seq. */
void gateway_number(struct gateway_stream *stream, struct gateway_request *request);
/* Into the books of what is to be sent and answered; arrived is set. */
void gateway_enlist(struct gateway_stream *stream, struct gateway_request *request);
/* May answer before it returns. */
void gateway_send_new(struct gateway_stream *stream, struct gateway_request *request, uint64_t now);
/* What came of a reply in parts is void once the request is sent again. */
void gateway_partial_drop(struct gateway *gateway, struct gateway_request *request);
/* Takes the request out of all books, then tells. A reply in parts that was gathered stands for
 * `reply`. */
void gateway_request_finish(struct gateway_request *request, enum gateway_outcome outcome,
                            struct bytes reply);

/* gateway_route.c */
/* A new route: everything unresolved again, under the next number. */
void route_begin(struct gateway_stream *stream, uint64_t now);
void route_end(struct gateway_stream *stream);
/* The route leads to where it did: leader and term are still what is known. */
bool route_is_good(const struct gateway_stream *stream);
/* Through others: its connection is broken, or only seems to be up. */
void gateway_seek_way(struct gateway *gateway, node_id_t node);
/* On the present route. May answer, or NACK, before it returns. */
void route_send(struct gateway_stream *stream, struct gateway_request *request, uint64_t now);
/* A new route in `delay`; in a while that doubles. */
void route_retry(struct gateway_stream *stream, uint64_t delay, uint64_t now);
void route_retry_backed_off(struct gateway_stream *stream, uint64_t now);
void gateway_on_retry_timer(struct world_timer *timer);
void gateway_on_turn_end(struct world_deferred *deferred);
/* For sending it again. */
void gateway_request_copy(struct gateway_request *request);
/* Still unresolved, the body is needed for as long as it may have to be sent again. The request
 * may be gone, or be another one by now: it is looked up by its seq. */
static inline void gateway_keep_body(struct gateway_stream *stream, struct gateway_request *request,
                                     uint64_t seq)
{
    bool unresolved = seq > stream->watermark && *ring_at(stream, seq) == request;
    if (unresolved) gateway_request_copy(request);
}

/* gateway_reserve.c */
/* It is resolved, or submitted: no longer among the reserved ones. */
void gateway_unreserve(struct gateway_request *request);
/* The stream ends. */
void gateway_reserved_drop(struct gateway_stream *stream);

/* gateway_stale.c */
struct gateway_stale *gateway_stale_of(struct gateway *gateway); /* makes it */
/* Takes it, and may answer it. False: it is the leader's. */
bool stale_submit(struct gateway *gateway, struct gateway_request *request);
void stale_forget(struct gateway *gateway, struct gateway_request *request);
void stale_turn_end(struct gateway *gateway);
void stale_close(struct gateway *gateway);
/* The frame to another worker of this node that says which pace is wanted here, begun if it is
 * not. */
struct buffer *stale_asks_to(struct gateway *gateway, uint32_t worker);

/* gateway_fresh.c */
/* 0: nobody connected here wants any; else 1 + pace. */
uint8_t fresh_pace_joined(const struct gateway_stale *stale);
void fresh_wished(struct gateway *gateway, uint8_t pace);
void fresh_timer_fire(struct world_timer *timer);

/* gateway.c */
/* To the leader; arrived: 0, or when it was submitted. Its copy may be there already. */
void gateway_submit_to_leader(struct gateway *gateway, struct gateway_request *request);

/* gateway_answer.c */
void gateway_on_local_reply(void *context, struct group_id group, uint64_t route, uint64_t seq,
                            uint8_t outcome, struct bytes bytes);
void gateway_on_local_nack(void *context, struct group_id group, uint64_t route, uint8_t code,
                           node_id_t leader, uint64_t leader_term);

#endif
