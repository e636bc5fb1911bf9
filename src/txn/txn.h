/* txn.h - transactions across partitions: the coordinator of a worker (rules C1 to C8, C10), and
 * who settles what coordinators left behind (C4, C11). The protocol:
 * docs/reference/transactions.md.
 *
 * A transaction is a piece for each partition: a body that its service evaluates there. All of
 * them take effect at one instant between txn_run() and on_done(), or none. Thread: its worker. */
#ifndef HOLON_TXN_TXN_H
#define HOLON_TXN_TXN_H

#include "cluster/gateway.h"

struct txn_worker;

enum txn_result {
    TXN_DONE,        /* committed: all pieces have their replies */
    TXN_REFUSED,     /* nothing was changed: a piece's service refused (row_refuse()); its reply */
    TXN_UNKNOWN,     /* B7: it may have been committed, or may be yet */
    TXN_UNAVAILABLE, /* it was not, and will not be */
    TXN_BUSY,        /* the same: a limit was reached, or others' locks outlasted its patience */
    TXN_NO_SPACE,    /* the same: disks are full; refused_reply: a text that says which */
    TXN_TOO_BIG,     /* the same: a piece changes more than an entry holds */
    TXN_LOST_REPLY,  /* committed, but a reply was too big to be repeated after a failover */
};

struct txn_piece {
    uint16_t slot; /* any of its partition; one piece for each partition */
    bool write;    /* may have effects */
    bool grows;    /* may add data */
    struct bytes body;
    struct buffer reply; /* of the last attempt; the caller initialises and frees it */
};

/* Memory of the caller until on_done ran or txn_forget() was called; bodies as well. */
struct txn_request {
    uint8_t service;
    uint16_t client; /* as gateway_request.client */
    /* Not at one instant: each piece is answered by itself, nothing is locked or changed (effects
     * are dropped). What follows from it must be validated by another transaction (C8). */
    bool look;
    /* It refuses nothing because of what others do: where many contend it may be executed together
     * with others, in one attempt (txn_together.c). */
    bool together;
    bool several; /* private: of such an attempt */
    uint32_t piece_count;
    struct txn_piece *pieces;
    /* Once; maybe before txn_run() returns. `refused`: the piece whose reply tells why. */
    void (*on_done)(struct txn_request *request, enum txn_result result,
                    const struct txn_piece *refused);
    void *context;
    struct txn_attempt *attempt; /* private */
};

struct txn_worker_options {
    struct world *world;
    struct gateway *gateway;
    struct cluster_view *view;
    struct partition_host *host;
    uint64_t patience; /* us: of all attempts together (B7) */
    uint32_t open_max; /* transactions at once; 0: 4096; then TXN_BUSY */
};

struct txn_worker *txn_open(const struct txn_worker_options *options);
/* Open ones end with TXN_UNKNOWN or TXN_UNAVAILABLE. Before the gateway is closed. */
void txn_close(struct txn_worker *worker);
/* One piece, or several that only read, or a real one. */
void txn_run(struct txn_worker *worker, struct txn_request *request);
/* The client is gone: on_done will not be called. It may still be committed. */
void txn_forget(struct txn_worker *worker, struct txn_request *request);
/* host_events.on_txn: a group led by this worker has new rows of transactions, or new leadership.
 */
void txn_rows_changed(struct txn_worker *worker, struct group_id group);

struct txn_statistics {
    uint64_t committed, refused, conflicts, reads, read_retries, unknown, unavailable, busy;
    uint64_t together;          /* of those committed: in one attempt with others */
    uint64_t resolved;          /* RESOLVE requests that were answered */
    uint64_t queried, orphaned; /* prepared rows that were asked about; of those aborted */
    uint64_t open, unsettled;   /* now: transactions; rows that are not settled yet */
};
void txn_statistics(const struct txn_worker *worker, struct txn_statistics *ret);

/* The participants' and primaries' side: host_options.evaluate[SERVICE_TXN]. Evaluates pieces with
 * the function of their service, through rows->services (row_context.h). */
enum evaluate_result txn_evaluate(struct row_context *rows, const struct request *request,
                                  struct reply *reply);

#endif
