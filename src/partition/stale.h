/* stale.h - reads of a local replica that may be behind, by a bound that is proven without a
 * look at any other node's clock.
 *
 * Who wants fresh replicas (cluster/gateway_fresh.c) notes its own boot clock, t0, and asks the
 * leader of the group a question: an ordinary read (lease or read round, A3), evaluated by
 * SERVICE_SYSTEM. It answers the leader's commit index C, and its time (D3). Whatever was
 * acknowledged to anybody before t0 has an index <= C; so a replica that has applied C holds a
 * state as of t0 or later, however long the answer took:
 *
 *   t0 ──question──▶ leader: commit index C        the stamp of the replica becomes t0
 *        ◀──────────────                           once it has applied C
 *
 * A stale read is evaluated on that replica if now - stamp <= bound, by committed rows alone, as
 * of the leader's time then (what expires later is still seen: that is within the bound), and
 * nothing is logged. No session, no route, no seq: it has no effects. Thread: the worker's. */
#ifndef HOLON_PARTITION_STALE_H
#define HOLON_PARTITION_STALE_H

#include "partition/host.h"
#include "wire/stale_frame.h"

/* To ask the leader of the replica's group, as a read of SERVICE_SYSTEM without a body. */
struct stale_question {
    struct group_id group;
    struct replica_id replica;
    uint16_t slot;
};

/* A replica of a data group that was not asked for since `interval`, and of which no question is
 * open: it counts as asked from now on. *at: where to go on; 0 at first. False: no other is due. */
bool stale_next(struct partition_host *host, uint32_t *at, uint64_t interval,
                struct stale_question *ret);
/* What came of it: the leader's reply, or (empty) none. asked_at: the boot clock before it was
 * asked. */
void stale_told(struct partition_host *host, const struct stale_question *question,
                uint64_t asked_at, struct bytes reply);

/* STALE_ANSWERED: on_reply was called, with the reply borrowed. Otherwise *ret_as_of is what the
 * replica is proven to hold, 0: nothing. */
enum stale_code stale_read(struct partition_host *host, struct group_id group,
                           const struct stale_ask *ask, void *context,
                           void (*on_reply)(void *context, uint64_t as_of, struct bytes reply),
                           uint64_t *ret_as_of);

#endif
