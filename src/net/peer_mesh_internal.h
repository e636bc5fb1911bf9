/* peer_mesh_internal.h - what the files of the peer mesh share; nobody else includes it.
 *
 *     peer_mesh.c        life, sending, identity, up and down
 *     peer_mesh_out.c    dialled connections
 *     peer_mesh_in.c     accepted connections
 *     peer_mesh_group.c  what the workers of a node share; frames between them */
#ifndef HOLON_NET_PEER_MESH_INTERNAL_H
#define HOLON_NET_PEER_MESH_INTERNAL_H

#include "net/peer_mesh.h"

enum { REFUSE_TEXT_SIZE_MAX = 256, MESH_HELLO_PAYLOAD_MAX = 1024 };

enum mesh_out_state {
    OUT_WAITING, /* the timer dials */
    OUT_DIALLING,
    OUT_GREETING, /* our hello is sent */
    OUT_READY,
};

/* Another node, and the connection that we dial to it. */
struct mesh_peer {
    struct peer_mesh *mesh;
    node_id_t node;
    char name[PEER_NAME_SIZE_MAX];
    char address[PEER_MESH_ADDRESS_SIZE_MAX];
    enum mesh_out_state state;
    struct stream *stream; /* NULL while waiting */
    struct world_timer timer;
    uint32_t attempts; /* since it was ready last */
    bool refused;      /* the last one was; no quick retries */
    uint32_t seed;     /* of our frames on this connection */
    struct buffer input;
    boot_epoch_t epoch; /* from its hello on this connection */
    store_id_t store;
    uint32_t worker_count;
    bool incoming_seen; /* it has dialled us */
    bool incoming_lost; /* and has no connection to us any more */
    bool up;            /* as reported */
    bool gone;          /* no member any more */
    uint64_t log_at;
};

struct mesh_incoming {
    struct peer_mesh *mesh;
    struct stream *stream;
    struct list link;
    struct world_timer timer; /* handshake */
    struct buffer input;
    bool greeted;    /* its hello was accepted; the rest is known */
    bool finished;   /* closing: whatever still arrives is ignored */
    uint64_t ticket; /* of what it asks as a stranger; 0: nothing */
    uint32_t seed;   /* of its frames */
    struct transport_peer from;
};

struct peer_mesh {
    struct transport transport; /* first: a struct transport * is a struct peer_mesh * */
    struct world *world;
    struct peer_mesh_group *group;
    struct listener *listener;
    struct cluster_id cluster;
    node_id_t node;
    char name[PEER_NAME_SIZE_MAX];
    boot_epoch_t epoch;
    store_id_t store;
    uint32_t worker;
    uint32_t worker_count;
    struct mesh_peer *peers[NODES_MAX + 1]; /* by node id; NULL: not a member */
    struct list incoming;
    uint32_t strangers;                /* incoming without a hello */
    uint64_t tickets;                  /* given to strangers so far */
    struct buffer outbox[WORKERS_MAX]; /* frames for workers of this node, until the turn ends */
    struct world_deferred outbox_deferred;
    uint64_t stranger_log_at;
    struct peer_mesh_statistics statistics;
};

/* For streams whose owner is gone. */
extern const struct stream_events mesh_no_events;

/* --- peer_mesh.c --- */
void mesh_hello_append(struct peer_mesh *mesh, struct stream *stream, node_id_t to);
void mesh_refuse_append(struct stream *stream, uint32_t seed, const char *why);
/* Checks what is the same for both directions. STATUS_OK, else `why` says what is wrong. */
enum status mesh_hello_check(struct peer_mesh *mesh, const struct peer_hello *hello,
                             char why[REFUSE_TEXT_SIZE_MAX]);
/* One warning per peer and PEER_MESH_LOG_INTERVAL_US; peer NULL: somebody unknown. */
void mesh_log_refusal(struct peer_mesh *mesh, struct mesh_peer *peer, const char *what,
                      const char *why);
/* The refusal text of a peer, cut and without unprintable bytes. */
void mesh_text_copy(struct bytes text, char copy[REFUSE_TEXT_SIZE_MAX]);
/* Reports up or down if that changed. Never from inside a call of the user. */
void mesh_peer_report(struct mesh_peer *peer);
/* Something about `node` changed in the group: closes connections of replaced processes. */
void mesh_review(struct peer_mesh *mesh, node_id_t node);

/* --- peer_mesh_out.c --- */
void mesh_out_start(struct mesh_peer *peer);
void mesh_out_hurry(struct mesh_peer *peer);  /* dials now if it was waiting to */
void mesh_out_redial(struct mesh_peer *peer); /* gives the connection up, then dials */
void mesh_out_drop(struct mesh_peer *peer);   /* for good, without a report */
void mesh_out_forget(struct mesh_peer *peer); /* dials only if hurried, from now on */

/* --- peer_mesh_in.c --- */
void mesh_in_accept(void *context, struct stream *stream);
/* Those of `node` that are not of (store, epoch); node 0: all. */
void mesh_in_close(struct peer_mesh *mesh, node_id_t node, store_id_t store, boot_epoch_t epoch);
void mesh_in_answer(struct peer_mesh *mesh, uint64_t ticket, uint8_t kind, struct bytes payload);
void mesh_in_drop_all(struct peer_mesh *mesh); /* for good, without a report */

/* --- peer_mesh_group.c --- */
struct mesh_node_view {
    store_id_t store;
    boot_epoch_t epoch;
    uint32_t incoming; /* greeted connections from it, all workers */
};

uint32_t group_worker_count(const struct peer_mesh_group *group);
void group_join(struct peer_mesh_group *group, struct peer_mesh *mesh);
void group_leave(struct peer_mesh_group *group, struct peer_mesh *mesh);
struct mesh_node_view group_view(struct peer_mesh_group *group, node_id_t node);
/* Is this the process that goes by its node id now? Takes note of a newer one and tells all
 * workers. `incoming` counts the connection until group_incoming_gone(). */
enum status group_admit(struct peer_mesh_group *group, const struct peer_hello *hello,
                        bool incoming, char why[REFUSE_TEXT_SIZE_MAX]);
/* `tell`: the workers, if it was the last one. */
void group_incoming_gone(struct peer_mesh_group *group, node_id_t node, bool tell);
/* Queues a frame for a worker of this node; leaves at the end of the turn. */
void group_send(struct peer_mesh *mesh, uint32_t worker, const struct transport_peer *from,
                uint8_t kind, struct bytes payload);
void group_outbox_flush(struct world_deferred *deferred);

#endif
