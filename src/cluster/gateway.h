/* gateway.h - the client side of rules B: takes requests of services, finds the leader of the
 * partition, and brings back exactly one outcome, over leader changes and restarts of other
 * nodes. One per worker; (node id, boot epoch, worker) is its identity (B1).
 *
 * Order: requests for one partition are evaluated in the order of gateway_submit(). Requests
 * for different partitions are not ordered: a service holds back what must wait (C9).
 * Thread: its worker. */
#ifndef HOLON_CLUSTER_GATEWAY_H
#define HOLON_CLUSTER_GATEWAY_H

#include "base/list.h"
#include "cluster/view.h"
#include "net/relay.h"
#include "partition/host.h"

struct gateway;

enum gateway_outcome {
    GATEWAY_REPLY,       /* reply bytes as evaluate() wrote them */
    GATEWAY_UNKNOWN,     /* B7: it may have been executed */
    GATEWAY_UNAVAILABLE, /* B7: it surely was not */
    GATEWAY_BUSY,        /* a limit was reached; nothing was executed */
    GATEWAY_NO_SPACE,    /* disks are full; nothing was executed; reply: a text that says which */
    GATEWAY_STALE,       /* a stale read: the replica was not proven fresh enough within patience */
    GATEWAY_TOO_BIG,     /* done, but its reply was too big to repeat after a failover; with a
                            text as reply: the write is larger than an entry may be and was not
                            executed */
};

/* Memory of the caller until on_reply ran. `body` is copied by gateway_submit() unless it stays. */
struct gateway_request {
    uint8_t service;
    uint16_t slot;
    bool write;      /* may have effects: its outcome is logged and remembered */
    bool grows;      /* a write that may add data: refused when disks are full */
    bool ordered;    /* the same client has earlier requests open in this partition: this one is
                      * not answered from a state before theirs (decision 0003). A write must not
                      * be submitted while a read of the same client and partition is open. */
    bool body_stays; /* where it is until on_reply is called or the request is forgotten */
    uint16_t client; /* requests of one client have the same; see decision 0006 */
    /* A read that a replica of this node may answer which is behind by no more than this, if there
     * is one (partition/stale.h); 0: by the leader, as ever. Not ordered among other requests. */
    uint32_t stale_ms;
    uint64_t stale_not_before; /* boot clock: of a state as of then or later; 0: any */
    struct bytes body;
    /* Once per request; may be called before gateway_submit() returns. Reply is borrowed. */
    void (*on_reply)(struct gateway_request *request, enum gateway_outcome outcome,
                     struct bytes reply);
    void *context;
    uint64_t staleness; /* us; set before on_reply. 0: by the leader; UINT64_MAX: not known */
    /* Private: */
    struct gateway_stream *stream;
    struct list by_age;
    uint64_t seq;
    uint64_t arrived; /* boot clock */
    uint8_t *copy;    /* of body, for resending */
    uint32_t size;
    bool reserved;  /* has its seq, and is not submitted yet */
    bool sent_ever; /* may have reached a leader */
    bool resent;    /* and was sent once more: from here on it takes from the retry budget */
    struct buffer *partial; /* of a reply that comes in parts; NULL: none yet */
    /* While it waits for a replica of this node: */
    uint64_t stale_id; /* 0: it does not */
    uint64_t stale_asked_at, stale_as_of;
    bool stale_waited;
    bool stale_asked; /* the worker whose replica it is has not answered */
};

struct gateway_options {
    struct world *world;
    struct transport *transport;
    struct relay *relay; /* over it; NULL: nodes that do not hear this one are not reached */
    struct partition_host *host; /* of the same worker: the short way */
    struct cluster_view *view;   /* of the same worker; leaders are updated by the gateway */
    node_id_t node;
    boot_epoch_t epoch;
    uint64_t patience;           /* us; B7 */
    uint32_t store_count;        /* of every node; tells the worker of a group */
    uint32_t inflight_max;       /* open requests per partition; 0: 8192 */
    uint64_t inflight_bytes_max; /* over all partitions */
    uint64_t stream_bytes_max;   /* of one partition; 0: 32 MiB */
    uint64_t partial_bytes_max;  /* of replies that come in parts; 0: 128 MiB */
    /* This epoch is dead for ever (B4): the node must take a new one. May be NULL. */
    void (*on_fenced)(void *context);
    void *context;
};

/* Who sends: (node, boot epoch, worker). */
struct gateway_id gateway_identity(const struct gateway *gateway);

struct gateway *gateway_open(const struct gateway_options *options);
/* Outstanding requests end with GATEWAY_UNKNOWN or GATEWAY_UNAVAILABLE. */
void gateway_close(struct gateway *gateway);
void gateway_submit(struct gateway *gateway, struct gateway_request *request);
/* Takes the next seq of the stream to the partition of request->slot, and sends nothing (C1): what
 * is submitted with gateway_submit_reserved() has it. False: refused, on_reply is not called.
 * Counts as open; patience does not run. Given back by gateway_forget(): the seq is resolved then.
 */
bool gateway_reserve(struct gateway *gateway, struct gateway_request *request);
/* `patience` runs from now on. */
void gateway_submit_reserved(struct gateway *gateway, struct gateway_request *request);
/* Of the stream to the partition of that slot: all seqs up to it are resolved, and requests that
 * are submitted from now on say so. */
uint64_t gateway_watermark(struct gateway *gateway, uint16_t slot);
/* Of a reserved or open request. */
static inline uint64_t gateway_request_seq(const struct gateway_request *request)
{
    return request->seq;
}
/* The client is gone: on_reply will not be called. The request may still be executed. */
void gateway_forget(struct gateway *gateway, struct gateway_request *request);

/* Somebody (a connection) will send stale reads with this bound until it leaves: replicas of this
 * node are kept so fresh, see gateway_fresh.c. Nothing is asked of leaders otherwise. */
void gateway_stale_join(struct gateway *gateway, uint32_t stale_ms);
void gateway_stale_leave(struct gateway *gateway, uint32_t stale_ms);
/* PEER_FRAME_STALE_ASKS, PEER_FRAME_STALE_ANSWERS. */
void gateway_on_stale_frame(struct gateway *gateway, const struct transport_peer *from,
                            uint8_t kind, struct bytes payload);

/* From the node's frame dispatch (PEER_FRAME_REPLIES), peer events and leader news. */
void gateway_on_frame(struct gateway *gateway, const struct transport_peer *from,
                      struct bytes payload);
void gateway_peer_down(struct gateway *gateway, node_id_t node);
/* The node is reached through another, or through another than before: what was sent may be lost.
 */
void gateway_way_found(struct gateway *gateway, node_id_t node);
/* Directly, or through another node. If not, a way is sought from now on. */
bool gateway_reaches(struct gateway *gateway, node_id_t node);
void gateway_leader_changed(struct gateway *gateway, struct group_id group);
/* After the view was replaced. */
void gateway_view_changed(struct gateway *gateway);
/* Requests not yet answered. */
uint32_t gateway_pending(const struct gateway *gateway);
/* Of those, copies of their bodies. */
uint64_t gateway_inflight_bytes(const struct gateway *gateway);
bool gateway_is_fenced(const struct gateway *gateway); /* B4: close clients, take a new epoch */

struct gateway_statistics {
    uint64_t requests, local, forwarded, resent, unknown, unavailable, busy;
    uint64_t relayed;         /* of those forwarded: through a third node */
    uint64_t resends_delayed; /* routes that waited for the retry budget */
    uint64_t partial_refused; /* replies in parts that were too much to hold */
    uint64_t stale_reads;     /* answered by a replica of this node */
    uint64_t stale_waited;    /* stale reads that had to wait for it to become fresher */
    uint64_t stale_refused;   /* ... in vain */
    uint64_t stale_to_leader; /* that its leader answered */
    uint64_t stale_questions; /* how far leaders are */
    /* Now: */
    uint64_t inflight_bytes, partial_replies, partial_bytes, stale_waiting;
};
void gateway_statistics(const struct gateway *gateway, struct gateway_statistics *ret);

#endif
