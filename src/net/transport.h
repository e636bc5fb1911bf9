/* transport.h - frames between workers of nodes: best effort, at most once, unordered in the
 * worst case (over one connection in order). Whoever needs more builds it above (rules B,
 * Raft). Implementations: net/peer_mesh.c over TCP streams, and sim/sim_transport.c, which
 * loses, doubles, delays and reorders on purpose.
 *
 * One transport per worker. Frames for another worker of the same node go this way too.
 * Thread: that of its world. */
#ifndef HOLON_NET_TRANSPORT_H
#define HOLON_NET_TRANSPORT_H

#include "base/bytes.h"
#include "base/ids.h"
#include "world/world.h"

enum {
    TRANSPORT_FRAME_SIZE_MAX = 1 << 20, /* payload of one frame; more is a bug of ours */
    TRANSPORT_RELAYED_SIZE_MAX = TRANSPORT_FRAME_SIZE_MAX + 32, /* of one in another's (relay.h) */
};
enum { TRANSPORT_PENDING_MAX = 64 << 20 }; /* bytes queued to one peer; then frames drop */

enum { TRANSPORT_STRANGER_SIZE_MAX = 2 << 10 }; /* payload of what a stranger may ask */

enum { TRANSPORT_ANY_WORKER = 0xffff }; /* of the receiver: no worker is woken for another */

struct transport;

/* Who sent a frame; proven by the handshake of the connection. */
struct transport_peer {
    node_id_t node;
    boot_epoch_t epoch;
    store_id_t store;
    uint32_t worker;
};

struct transport_events {
    /* `kind` is one of enum peer_frame_kind (wire/peer_frame.h). Borrowed payload. */
    void (*on_frame)(void *context, const struct transport_peer *from, uint8_t kind,
                     struct bytes payload);
    /* The connection to a node broke (its process died or the link was cut) or came back. */
    void (*on_peer_down)(void *context, node_id_t node);
    void (*on_peer_up)(void *context, node_id_t node);
    /* Who has no place in the cluster asks for one, by one frame on a connection of its own that
     * says no hello. Answered by transport_answer(), or after a while by the connection's end.
     * NULL: nobody may. */
    void (*on_stranger)(void *context, uint64_t ticket, uint8_t kind, struct bytes payload);
};

struct transport_table {
    void (*send)(struct transport *, node_id_t node, uint32_t worker, uint8_t kind,
                 struct bytes payload);
    uint32_t (*worker_count)(struct transport *, node_id_t node);
    bool (*is_up)(struct transport *, node_id_t node);
    /* Bytes queued to that node. NULL: not known, none. */
    size_t (*pending)(struct transport *, node_id_t node);
    /* NULL: no stranger ever asks. */
    void (*answer)(struct transport *, uint64_t ticket, uint8_t kind, struct bytes payload);
};

struct transport {
    const struct transport_table *table;
    struct transport_events events;
    void *context;
};

/* Copies the payload. Frames leave at the end of the turn, all of a peer in one write.
 * Silently dropped when the peer is down or TRANSPORT_PENDING_MAX is reached. */
static inline void transport_send(struct transport *transport, node_id_t node, uint32_t worker,
                                  uint8_t kind, struct bytes payload)
{
    transport->table->send(transport, node, worker, kind, payload);
}

/* How many workers that node said it has; 1 until it said so. */
static inline uint32_t transport_worker_count(struct transport *transport, node_id_t node)
{
    return transport->table->worker_count(transport, node);
}

static inline bool transport_is_up(struct transport *transport, node_id_t node)
{
    return transport->table->is_up(transport, node);
}

/* Bytes queued to that node which have not left yet. */
static inline size_t transport_pending(struct transport *transport, node_id_t node)
{
    return transport->table->pending != NULL ? transport->table->pending(transport, node) : 0;
}

/* A frame to the stranger that was told of with this ticket, and the end of its connection. Copies
 * the payload. No-op when it has gone. */
static inline void transport_answer(struct transport *transport, uint64_t ticket, uint8_t kind,
                                    struct bytes payload)
{
    if (transport->table->answer != NULL)
        transport->table->answer(transport, ticket, kind, payload);
}

#endif
