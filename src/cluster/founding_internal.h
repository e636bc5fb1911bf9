/* founding_internal.h - what the files of a founding share. Not for other modules.
 *
 *   founding.c         life, hearing others, sending, how it ends
 *   founding_founder.c the smallest name: proposal, all accepted, complete
 *   founding_member.c  the others: accept a proposal, start; a wiped node: rejoin */
#ifndef HOLON_CLUSTER_FOUNDING_INTERNAL_H
#define HOLON_CLUSTER_FOUNDING_INTERNAL_H

#include "cluster/founding.h"
#include "cluster/founding_file.h"

enum { FOUNDER = 1 }; /* the smallest name */

struct founding_peer {
    bool heard;
    enum founding_state state;
    struct cluster_id cluster;
    uint32_t proposal;
    store_id_t store;
    char redis[ADDRESS_SIZE_MAX], redis_cluster[ADDRESS_SIZE_MAX], admin[ADDRESS_SIZE_MAX];
};

struct founding {
    struct founding_options options;
    char line[FOUNDING_LINE_SIZE_MAX];
    struct founding_file file;
    bool accepted; /* identity is that of a proposal, not yet started */
    struct identity identity;
    bool rejoining;
    bool ended;                                           /* an event was given or is about to be */
    struct founding_peer peers[FOUNDING_MEMBERS_MAX + 1]; /* by node id; own one unused */
    struct world_timer resend;
    struct world_timer linger;
    struct founding_result result;
};

/* founding.c */
void founding_fail(struct founding *founding, const struct error *error);
void founding_finish(struct founding *founding);
/* Makes the identity durable as a member's and takes its first epoch with the same write. */
bool founding_become_member(struct founding *founding, struct identity *identity, bool rejoined);
void founding_send(struct founding *founding, node_id_t to, const struct founding_message *message);
void founding_send_hello(struct founding *founding, node_id_t to, enum founding_kind kind);

/* founding_founder.c */
/* The founder's next step, after anything that it heard. */
void founding_advance(struct founding *founding);
void founding_identity_make(const struct founding *founding, uint32_t proposal,
                            const struct cluster_view *view, struct identity *ret_identity);
enum status founding_save_tables(struct founding *founding, struct error *error);

/* founding_member.c */
void founding_on_propose(struct founding *founding, node_id_t from,
                         const struct founding_message *message);
void founding_on_start(struct founding *founding, const struct founding_message *message);
/* A member of `cluster` was met: this directory is that of a wiped node. */
void founding_begin_rejoin(struct founding *founding, struct cluster_id cluster);
void founding_on_joined(struct founding *founding, const struct founding_message *message);

#endif
