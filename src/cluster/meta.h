/* meta.h - the service whose rows are the truth about the cluster: group 0, service SERVICE_META,
 * routing slot ROW_SLOT_META. Rows: docs/reference/meta-rows.md.
 *
 * Requests come through a gateway like any other (rules B), and are idempotent by themselves:
 *   FOUND   writes the view of the founding, if there are no rows yet
 *   BOOT    a process of a node has started: registers its epoch and addresses; refuses an
 *           epoch that is not newer (an old image of the disk, or a twin: F11, F12) and a store
 *           that is not the node's (F09)
 *   EPOCHS  reserves the next block of boot epochs
 *   REJOIN  a node came back with an empty disk: a new store id, a new block of epochs above
 *           all of its old ones, and new replica ids for all its replicas. It names the store it
 *           replaces: one that was held up on its way must not bring back a store that is gone
 *   REPLACE replicas of a node are lost (their store was damaged): each that the table still names
 *           gets a new id. Whether a group can do without the old one is not asked here: its own
 *           configuration is the truth (WHY 6.3), and the node asks only for groups that have a
 *           leader without it (node_stores.c)
 * And from cluster version 2 on, for operators and for meta's own leader (nobody asks them yet):
 *   JOIN    a new node: the next id, a block of epochs, no replicas yet. Its name must be free, and
 *           the hash of its secret that of a token, which is used up; without a secret only where
 *           all nodes have loopback addresses. With a token for a place: as REJOIN, of that node
 *   TOKEN   who knows a secret may join, once, until then; or take the place of `node`, if its
 *           groups have a majority without it
 *   DRAIN   the node's replicas shall go elsewhere; never of the last one that stays
 *   UNDRAIN they may come again
 *   LABEL   changes the node's labels
 *   REMOVE  of a drained node that the table names nowhere; its id is never used again
 *   MOVE    wishes for other nodes for a group: compare-and-set on the replicas in the table
 *   SETTLED the group's configuration is as wished for (its leader says so)
 *   KEEP    the wish names a node by another id than that of the sound voter there, which cannot
 *           be taken out (reconcile.c): the table names that one
 *   FINALIZE raises the cluster version: what only later versions understand may be written from
 *           then on. Compare-and-set on the start of each node, which who asks has seen to support
 *           it (node_upgrade.c)
 * And from cluster version 3 on:
 *   DATABASE the durability of a database: memory, or disk
 * Every change raises the table epoch by one. Thread: evaluation on the group's worker. */
#ifndef HOLON_CLUSTER_META_H
#define HOLON_CLUSTER_META_H

#include "cluster/meta_rows.h"
#include "cluster/view.h"
#include "partition/row_context.h"

enum meta_kind {
    META_FOUND = 1,
    META_BOOT = 2,
    META_EPOCHS = 3,
    META_REJOIN = 4,
    META_REPLACE = 5,
    META_JOIN = 6, /* and all behind it: from cluster version 2 on */
    META_TOKEN = 7,
    META_DRAIN = 8,
    META_UNDRAIN = 9,
    META_LABEL = 10,
    META_REMOVE = 11,
    META_MOVE = 12,
    META_SETTLED = 13,
    META_KEEP = 14,
    META_FINALIZE = 16,
    META_DATABASE = 17, /* from cluster version 3 on */
};

enum {
    META_REQUEST_SIZE_MAX = 256 << 10,
    META_REPLY_SIZE_MAX = 1024,
    META_REPLACE_MAX = 64, /* replicas in one request */
    META_TOKENS_MAX = 64,
    META_HEX_ID_SIZE = 41,
};

struct meta_lost {
    struct group_id group;
    struct replica_id replica;
};

/* All but FOUND. */
struct meta_start {
    node_id_t node;
    boot_epoch_t epoch;
};

struct meta_request {
    enum meta_kind kind;
    node_id_t node;
    store_id_t store;
    store_id_t replaces; /* REJOIN: the store that the node had, as who asks for it knows; 0: any */
    boot_epoch_t epoch;  /* BOOT: the one that was taken; EPOCHS: last of the block it has */
    uint64_t token;      /* random, of the process that asks */
    char name[NODE_NAME_SIZE_MAX];
    char redis[ADDRESS_SIZE_MAX], redis_cluster[ADDRESS_SIZE_MAX];
    char peer[ADDRESS_SIZE_MAX], admin[ADDRESS_SIZE_MAX]; /* empty peer: as it was */
    uint32_t lost_count;                                  /* REPLACE */
    struct meta_lost lost[META_REPLACE_MAX];
    bool tells_before;         /* BOOT, from cluster version 3 on, of a start that may be of an */
    boot_epoch_t epoch_before; /* older image: that its disk spoke under last */
    char labels[LABELS_SIZE_MAX];  /* BOOT, JOIN, LABEL: changes (labels.h); or empty */
    char hex_id[META_HEX_ID_SIZE]; /* JOIN */
    bool has_secret;               /* JOIN, TOKEN */
    uint8_t secret_hash[META_SECRET_HASH_SIZE];
    int64_t expires_ms; /* TOKEN */
    /* MOVE, SETTLED, KEEP: the group, its replicas as who asks knows them, and MOVE: the nodes that
     * should hold it, the first of which should lead. */
    struct group_id group;
    uint64_t changed; /* of the group in that table: a list may come back, this does not */
    uint32_t replica_count, to_count;
    struct view_replica replicas[VIEW_REPLICAS_MAX];
    node_id_t to[VIEW_REPLICAS_MAX];
    struct view_replica kept; /* KEEP */
    /* FINALIZE: to this, from any lower one, while exactly these starts are registered. */
    uint32_t cluster_version, start_count;
    struct meta_start starts[NODES_MAX];
    /* DATABASE */
    uint8_t database;
    bool in_memory;
};

/* Deliberate bugs for the simulator's checkers to find (sim/planted.h). */
enum meta_planted_bug {
    META_BUG_MOVE_UNSEEN = 1 << 0,   /* MOVE is no compare-and-set */
    META_BUG_REMOVE_MOVING = 1 << 1, /* REMOVE does not wait for groups on their way */
    META_BUG_TOKEN_STAYS = 1 << 2,   /* JOIN does not use its token up */
    META_BUG_ID_GIVEN_AGAIN = 1 << 3,
};

/* row_context.options of SERVICE_META; may be NULL. */
struct meta_options {
    uint32_t planted; /* simulator only */
    /* Simulator only: the highest cluster version that this process knows, as one of an earlier
     * release; 0: VIEW_VERSION. */
    uint32_t supports;
};

enum meta_result {
    META_DONE = 0,
    META_REFUSED = 1, /* text says why; asking again does not help */
    META_RETRY = 2,   /* FOUND has not come yet; REJOIN: another store is replaced than is known;
                       * MOVE, SETTLED, KEEP: the table has other replicas by now */
};

struct meta_reply {
    enum meta_result result;
    uint64_t table_epoch;
    boot_epoch_t epoch_first, epoch_last; /* EPOCHS, REJOIN, JOIN: the reserved block */
    char text[ERROR_TEXT_SIZE_MAX];
    /* BOOT: whose epoch is registered; 0: not said (0.1.0). A remembered answer to another start of
     * the node under the same epoch and number tells itself by it. */
    uint64_t token;
    node_id_t node; /* JOIN: the id that it got; 0 otherwise */
};

enum evaluate_result meta_evaluate(struct row_context *rows, const struct request *request,
                                   struct reply *reply);

void meta_request_encode(const struct meta_request *request, struct buffer *buffer);
void meta_found_encode(const struct cluster_view *view, struct buffer *buffer);
enum status meta_reply_decode(struct bytes bytes, struct meta_reply *ret_reply);

/* Table epoch of the committed rows; 0: nothing founded yet. */
uint64_t meta_rows_epoch(const struct row_table *table);
/* The committed rows as a view. STATUS_NOT_FOUND: not founded yet; STATUS_CORRUPT. */
enum status meta_rows_view(const struct row_table *table, struct cluster_view *ret_view);

#endif
