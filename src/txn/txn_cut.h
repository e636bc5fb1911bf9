/* txn_cut.h - freeze-cut: one instant of the whole cluster, kept readable (DESIGN.md 8, WHY 4.1;
 * the protocol: docs/reference/cuts.md). The coordinator's side, of one worker.
 *
 *   CLAIM of the first partition, so that of several coordinators one goes on -->
 *   FREEZE to the leaders of all data partitions --> all have acknowledged, within CUT_FREEZE_MS:
 *   there is an instant at which nobody evaluates a write --> TAKE to all: each logs its part and
 *   goes on --> STATE until each has its rows --> OUTCOMES for what was prepared there
 *
 * Any refusal, another freeze, or lateness: CLOSE to all, and again after a pause, until patience
 * is over. Clients' writes wait meanwhile, reads go on.
 *
 * Thread: its worker. */
#ifndef HOLON_TXN_TXN_CUT_H
#define HOLON_TXN_TXN_CUT_H

#include "cluster/gateway.h"
#include "partition/cut_frame.h"

struct txn_cuts; /* of a worker */
struct txn_cut;  /* one that is open, or being opened */

enum txn_cut_result {
    TXN_CUT_OPEN,
    TXN_CUT_GONE,        /* a partition has no part of it (any more): it expired, or was closed */
    TXN_CUT_FULL,        /* CUTS_MAX are open in the cluster */
    TXN_CUT_BUSY,        /* partitions could not be stopped together within patience */
    TXN_CUT_UNAVAILABLE, /* a partition has no leader, or the gateway is overloaded */
};

struct txn_cuts_options {
    struct world *world;
    struct gateway *gateway;
    struct cluster_view *view;
    uint64_t patience; /* us */
};
struct txn_cuts *txn_cuts_open(const struct txn_cuts_options *options);
/* Calls on_done of those that are being opened (TXN_CUT_UNAVAILABLE). Before the gateway. */
void txn_cuts_close(struct txn_cuts *cuts);

/* A new cut, open for `lifetime` us at most. on_done once, not before this returns; with anything
 * but TXN_CUT_OPEN the cut is freed behind it. */
struct txn_cut *txn_cut_take(struct txn_cuts *cuts, uint64_t lifetime, void *context,
                             void (*on_done)(void *context, struct txn_cut *cut,
                                             enum txn_cut_result result));
/* One that another connection, maybe of another node, took: asks for STATE and OUTCOMES alone. */
struct txn_cut *txn_cut_use(struct txn_cuts *cuts, uint64_t id, void *context,
                            void (*on_done)(void *context, struct txn_cut *cut,
                                            enum txn_cut_result result));
/* on_done is not called any more. `close`: the partitions give it up, else only this handle does.
 */
void txn_cut_leave(struct txn_cut *cut, bool close);

uint64_t txn_cut_id(const struct txn_cut *cut);
int64_t txn_cut_time(const struct txn_cut *cut); /* us since 1970: the latest of its parts */
uint32_t txn_cut_parts(const struct txn_cut *cut);
/* Appends the body of a READ at the part that has `slot`: TXN_CUT_READ_OVERHEAD bytes at most
 * beside the body in it, for which there is room. */
enum { TXN_CUT_READ_OVERHEAD = 64 + CUT_TXNS_MAX * TXN_ID_SIZE };
void txn_cut_write_read(const struct txn_cut *cut, uint16_t slot, uint8_t service,
                        struct bytes body, struct buffer *out);

struct txn_cut_statistics {
    uint64_t taken, attempts, failed, closed, open;
    uint64_t stall_last_us, stall_max_us; /* from the first FREEZE to the last TAKE's evaluation, as
                                           * far as the coordinator can see: its answers included */
};
void txn_cut_statistics(const struct txn_cuts *cuts, struct txn_cut_statistics *ret);

#endif
