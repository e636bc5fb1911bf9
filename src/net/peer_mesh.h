/* peer_mesh.h - the transport of a real node: TCP connections between all nodes.
 *
 * Each worker of a node dials one connection to each other node and sends its frames there.
 * Frames go one way on a connection: from who dialled to who accepted. What the acceptor has to
 * say goes over the connection that it dialled itself. Only the handshake goes both ways:
 *
 *     A dials     -> HELLO (A's identity, meant for B)        CRC seed 0
 *     B checks    <- HELLO (B's identity, meant for A)        or REFUSE (text), then close
 *     A checks    -> frames                                   CRC seed from A's hello
 *
 * An incoming connection belongs to whichever worker accepted it; frames for a sibling worker
 * are copied and posted, one post per turn. Frames to the own node take the same way.
 *
 * Refused are: another cluster (unless one side has none yet), a wrong node id on either side,
 * an unknown node, a name that differs from the member list, a boot epoch older than one seen
 * of the same store, and a second store under a node id while the first is connected (F12, F45).
 * A newer epoch replaces the connections of older ones.
 *
 * Who has no place in the cluster yet may ask for one, and then says no hello:
 *
 *     A dials     -> JOIN                                     CRC seed 0
 *                 <- JOINED, then close                       CRC seed 0
 *
 * A lost connection is dialled again after 20 ms, later up to 500 ms, and at once when the peer
 * dials us. Source: docs/reference/peer-protocol.md. Thread: each mesh on its world's. */
#ifndef HOLON_NET_PEER_MESH_H
#define HOLON_NET_PEER_MESH_H

#include "base/ids.h"
#include "net/transport.h"
#include "wire/peer_frame.h"

enum {
    PEER_MESH_RETRY_MIN_US = 20 * 1000,
    PEER_MESH_RETRY_MAX_US = 500 * 1000,
    PEER_MESH_RETRY_QUICK_COUNT = 50,             /* so often after the shortest time */
    PEER_MESH_HANDSHAKE_US = 2 * 1000 * 1000,     /* from dialling or accepting to the hello */
    PEER_MESH_LOG_INTERVAL_US = 10 * 1000 * 1000, /* between lines about refusals of one peer */
    /* Accepted without a hello yet, per worker, in all and of one address. One more makes the
     * one that says nothing for longest go: a member says its hello at once (F63). */
    PEER_MESH_STRANGERS_MAX = 256,
    PEER_MESH_ADDRESS_STRANGERS_MAX = 64,
    PEER_MESH_ANSWER_US = 15 * 1000 * 1000,   /* from a stranger's question to its answer */
    PEER_MESH_STRANGER_INPUT_MAX = 64 << 10,  /* bytes read before the hello is complete */
    PEER_MESH_INCOMING_MAX = 2 * WORKERS_MAX, /* connections from one node */
    PEER_MESH_ADDRESS_SIZE_MAX = 280,
};

/* What the meshes of one node share: who is there, which epochs were seen. Made before the
 * first mesh; destroyed after the worlds, which may hold posts of it until then. Thread: any. */
struct peer_mesh_group;

struct peer_mesh_group *peer_mesh_group_create(uint32_t worker_count);
void peer_mesh_group_destroy(struct peer_mesh_group *group); /* NULL is fine */

struct peer_mesh_peer {
    node_id_t node;
    const char *name;    /* of the member list; NULL or empty: any */
    const char *address; /* HOST:PORT */
};

struct peer_mesh_options {
    struct world *world;           /* its worker number is the mesh's */
    struct peer_mesh_group *group; /* of this node */
    const char *listen_address;    /* the same for all workers of the node */
    struct cluster_id cluster;     /* zero: none yet */
    node_id_t node;
    const char *name;   /* printable, no spaces, shorter than PEER_NAME_SIZE_MAX */
    boot_epoch_t epoch; /* 0 with store 0: none until the founding */
    store_id_t store;
    const struct peer_mesh_peer *peers; /* copied; an entry with the own id is skipped */
    size_t peer_count;
    struct transport_events events; /* any may be NULL */
    void *context;
};

/* Since the mesh was made; they only grow. */
struct peer_mesh_statistics {
    uint64_t frames_sent;
    uint64_t bytes_sent;
    uint64_t frames_received; /* from other nodes */
    uint64_t bytes_received;
    uint64_t frames_local;      /* to and for workers of this node */
    uint64_t frames_dropped;    /* peer down, limit reached, or no such worker */
    uint64_t connects;          /* dialled and greeted */
    uint64_t disconnects;       /* of those */
    uint64_t refusals;          /* sent or got */
    uint64_t input_errors;      /* broken frames; the connection was closed */
    uint64_t strangers_dropped; /* said no hello in time, or had to make room */
};

struct peer_mesh;

/* Listens and begins to dial. STATUS_OK: the caller owns *ret_mesh. Otherwise *error says what
 * to do: STATUS_EXISTS (address in use), STATUS_INVALID (address, name), STATUS_IO. */
enum status peer_mesh_create(const struct peer_mesh_options *options, struct peer_mesh **ret_mesh,
                             struct error *error);
/* Closes all. Only when its loop has returned and world_real_drain() was called: nothing may be
 * queued. NULL is fine. */
void peer_mesh_destroy(struct peer_mesh *mesh);

/* For the simulator, after it killed a node: what was deferred is gone with the world. Then as
 * peer_mesh_destroy(). */
void peer_mesh_abandon(struct peer_mesh *mesh);

/* Valid until peer_mesh_destroy(). Its events may be set until the loop runs. */
struct transport *peer_mesh_transport(struct peer_mesh *mesh);
uint16_t peer_mesh_port(struct peer_mesh *mesh);
/* The cluster was founded or joined, which also gave this start its epoch and store id: says so
 * to all peers, over new connections. The change is reported as down and up, because frames may
 * be lost. No-op when nothing differs. */
void peer_mesh_set_identity(struct peer_mesh *mesh, struct cluster_id cluster, boot_epoch_t epoch,
                            store_id_t store);
/* Adds a peer, or gives one a new address (F49), used from the next dialling on. */
enum status peer_mesh_set_peer(struct peer_mesh *mesh, const struct peer_mesh_peer *peer,
                               struct error *error);
/* The peer is no member any more: it is not dialled again, unless it dials us, as one does that has
 * not heard of it. */
void peer_mesh_forget_peer(struct peer_mesh *mesh, node_id_t node);
const struct peer_mesh_statistics *peer_mesh_statistics(const struct peer_mesh *mesh);

#endif
