/* founding.h - how an empty directory becomes a member: by founding a cluster together with the
 * others of the --cluster line, or, if one of them is in a cluster already, by rejoining it as
 * a wiped node (DESIGN.md 7, FAULTS F09).
 *
 *   every node: HELLO{state, line, settings, store, addresses} to all, until all answered
 *   smallest name, once all others are empty or accepted, with the same line:
 *               writes DIR/founding {proposal}, PROPOSE{number, view} to all
 *   the others: write DIR/table, DIR/birth, DIR/identity (state ACCEPTED), answer HELLO
 *   smallest name, once all have accepted: writes its own, as a MEMBER, then START to all
 *   the others: DIR/identity becomes MEMBER; only now groups start
 *
 * A crash anywhere resumes: the proposal is in DIR/founding, acceptance in DIR/identity, and a
 * member answers START to whoever says that it has accepted (member.h). A proposal that no
 * longer fits (a disk was replaced meanwhile) is followed by one with a higher number; that is
 * safe because START is given only when every member holds the same number.
 *
 * A node in repair (node_repair.c) says so: it takes part in no founding, and none is complete
 * without it.
 *
 * Files are written on the calling thread: nothing serves yet. Thread: worker 0. */
#ifndef HOLON_CLUSTER_FOUNDING_H
#define HOLON_CLUSTER_FOUNDING_H

#include "cluster/founding_message.h"
#include "cluster/identity.h"
#include "net/transport.h"

enum { FOUNDING_MEMBERS_MAX = 16, FOUNDING_RESEND_US = 100 * 1000 };

struct founding;

struct founding_member {
    char name[NODE_NAME_SIZE_MAX];
    char peer[ADDRESS_SIZE_MAX];
};

struct founding_result {
    struct identity identity; /* MEMBER; `epoch` was taken from it, durably */
    boot_epoch_t epoch;
    struct cluster_view *view; /* borrowed during the call */
    bool rejoined;             /* its replicas are learners; otherwise the cluster is new */
};

struct founding_events {
    /* The last thing that happens, exactly one of both; close the founding after it returned. */
    void (*on_done)(void *context, const struct founding_result *result);
    void (*on_failed)(void *context, const struct error *error);
};

struct founding_options {
    struct world *world;
    struct transport *transport; /* NULL for a single node */
    const char *directory;       /* outlives the founding; checked, locked, without a MEMBER */
    node_id_t self;              /* rank by name in members, from 1 */
    uint32_t member_count;       /* sorted by name */
    struct founding_member members[FOUNDING_MEMBERS_MAX];
    char redis[ADDRESS_SIZE_MAX], redis_cluster[ADDRESS_SIZE_MAX], admin[ADDRESS_SIZE_MAX];
    struct founding_settings settings;
    uint32_t cluster_version; /* of what it founds */
    /* The node had data that is in quarantine now: it waits for a member of its cluster and
     * never founds another, however empty all the others are (FAULTS rules 8 and 9). */
    bool repairing;
    struct cluster_id repairing_cluster; /* none: not known any more, whichever is met */
    struct founding_events events;
    void *context;
};

struct founding *founding_open(const struct founding_options *options);
/* May call an event at once. */
void founding_begin(struct founding *founding);
void founding_close(struct founding *founding); /* NULL is fine */
void founding_on_frame(struct founding *founding, const struct transport_peer *from,
                       struct bytes payload);
void founding_on_peer_up(struct founding *founding, node_id_t node);
/* "n2, n3": members not heard of, or (in repair) not members of a cluster; or empty text. */
void founding_missing(const struct founding *founding, char *ret_text, size_t size);

/* "n1=host:port,n2=host:port" */
void founding_line(const struct founding_member *members, uint32_t count,
                   char ret_line[FOUNDING_LINE_SIZE_MAX]);
/* The members of an interrupted founding, as DIR/founding knows them. STATUS_NOT_FOUND. */
enum status founding_load_members(struct world *world, const char *directory,
                                  struct founding_member *ret_members, uint32_t *ret_count,
                                  struct founding_settings *ret_settings, struct error *error);

#endif
