/* relay.h - requests, and what comes back, between two nodes that do not hear each other, through
 * a third that hears both (FAULTS F43; decision 0013).
 *
 *     A  --RELAY(for B, frame)-->  C  --RELAYED(of A, frame)-->  B
 *     A  <--RELAYED(of B, frame)-- C  <--RELAY(for A, frame)---  B
 *
 * It sits between a transport and its users, and keeps what a transport promises (net/transport.h:
 * best effort, proven sender), no more and no less: nobody above sees which way a frame came. Who
 * passes a frame on keeps nothing of it, writes its sender as the connection has proven it, and
 * never passes on what was passed on already: one node between, no loops.
 *
 * A *way* is begun by relay_seek(): the node is asked (100 ms later if it is not connected: it may
 * just be starting), ten times a second, directly and through others. Through whom it answers, it
 * is reached, until it has answered directly for half a second without a gap, or another answers
 * and this one does not (or nobody for five seconds: then the way is forgotten). So both directions
 * of a way are proven, and whose connection only seems to be up is noticed; and what is only slow
 * is not exchanged for what is dead. Answers to requests go back the way that the worker which asks
 * took last. Where no way was begun, nothing is asked or remembered, and relay_send() is
 * transport_send().
 *
 * One per worker. Thread: its worker. */
#ifndef HOLON_NET_RELAY_H
#define HOLON_NET_RELAY_H

#include "net/transport.h"

enum {
    RELAY_ASK_US = 100 * 1000,         /* from one round of questions to the next */
    RELAY_ASKED_MAX = 8,               /* others that are asked in one, in turn */
    RELAY_SILENT_US = 500 * 1000,      /* nothing came that way: others are asked, too */
    RELAY_OFFER_US = 300 * 1000,       /* so long another's answer makes it the way */
    RELAY_ROUNDS_KEPT = 30,            /* an answer to an older question is dropped */
    RELAY_DIRECT_ROUNDS = 5,           /* so many in a row, more than it has workers, end the way */
    RELAY_FORGET_US = 5 * 1000 * 1000, /* no answer by any way: whoever needs it asks again */
    RELAY_PENDING_MAX = 16 << 20,      /* bytes queued to a node: nothing of others goes there */
};

struct relay_options {
    struct world *world;
    struct transport *transport;
    node_id_t node; /* this one */
    /* The node is reached through another now, or another than before: what was sent may be lost.
     * Or, with `there` false, not any more. Not from inside relay_send() and relay_seek(). */
    void (*on_way)(void *context, node_id_t node, bool there);
    void *context;
};

struct relay_statistics {
    uint64_t sent;    /* frames of this node that went through others */
    uint64_t passed;  /* frames of others that this node passed on */
    uint64_t refused; /* that it did not: the receiver is not connected, or has too much queued */
    uint64_t sought;  /* ways that were begun */
    uint64_t found;   /* times that a node was reached through another, anew */
    /* Now: */
    uint64_t detours; /* nodes that are reached through others */
};

struct relay {
    uint32_t busy; /* ways and answers. 0: all goes directly. The rest is in relay.c. */
};

/* What a frame of another node brought. Borrowed. */
struct relay_delivery {
    struct transport_peer from;
    uint8_t kind;
    struct bytes payload;
};

struct relay *relay_open(const struct relay_options *options);
void relay_close(struct relay *relay); /* NULL is fine */

/* Finds a way to the node, if there is none yet: on_way() tells. No-op while one is sought. */
void relay_seek(struct relay *relay, node_id_t node);
/* The node is reached through another. */
bool relay_is_detour(const struct relay *relay, node_id_t node);
/* How many workers a node has that is reached through another. */
uint32_t relay_worker_count(const struct relay *relay, node_id_t node);

/* That worker of the node asked through another last, and so it is answered. */
bool relay_is_answered_through_another(const struct relay *relay, node_id_t node, uint32_t worker);

/* PEER_FRAME_RELAY, _RELAYED, _WAY. True: *ret is to be handled as if it had come directly. */
bool relay_on_frame(struct relay *relay, const struct transport_peer *from, uint8_t kind,
                    struct bytes payload, struct relay_delivery *ret);
void relay_peer_down(struct relay *relay, node_id_t node);
void relay_statistics(const struct relay *relay, struct relay_statistics *ret);

/* Private. */
void relay_send_slowly(struct relay *relay, node_id_t node, uint32_t worker, uint8_t kind,
                       struct bytes payload);
void relay_came_directly_slowly(struct relay *relay, const struct transport_peer *from);

/* PEER_FRAME_REQUESTS, _REPLIES, _REPLY_ACKS or _STATUS; as transport_send(), whichever way leads
 * there. `relay` NULL: directly. */
static inline void relay_send(struct relay *relay, struct transport *transport, node_id_t node,
                              uint32_t worker, uint8_t kind, struct bytes payload)
{
    if (relay == NULL || relay->busy == 0)
        transport_send(transport, node, worker, kind, payload);
    else
        relay_send_slowly(relay, node, worker, kind, payload);
}

/* Requests or acknowledgements came directly: so go the answers, from now on. */
static inline void relay_came_directly(struct relay *relay, const struct transport_peer *from)
{
    if (relay->busy > 0) relay_came_directly_slowly(relay, from);
}

#endif
