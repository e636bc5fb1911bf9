/* cut.h - what a replica has of cuts through the whole cluster (docs/reference/cuts.md; DESIGN.md
 * 8, WHY 4.1, 4.2). Part of a partition host; not for other modules.
 *
 * A leader is frozen for a cut: what it evaluates may have no effects; a request that would waits,
 * and goes on when the cut is taken, or the freeze is over. The effect of TAKE opens a part on
 * every replica that applies it:
 *
 *   copying --> rows that are only in memory, into a table of its own, in steps, while the live one
 *               goes on; of all parts of the host one after the other
 *   waiting --> for a flush that began before: then an iterator keeps what the engine has. Until
 *               then no later flush takes this replica's rows, and no collection those of drops
 *   open    --> requests are evaluated over that table, which is filled from the iterator, by one
 *               job of LANE_READ at a time
 *
 * Bounded: CUTS_MAX parts of a replica, CUT_READS_MAX requests that wait for one,
 * CUT_CACHE_BYTES_MAX of rows of the engine in its table. */
#ifndef HOLON_PARTITION_CUT_H
#define HOLON_PARTITION_CUT_H

#include "base/list.h"
#include "partition/cut_frame.h"
#include "wire/request_frame.h"
#include "world/world.h"

struct partition_host;
struct effect;
struct host_store;
struct replica;
struct session;
struct parked;
struct cut_part;

enum {
    CUT_READS_MAX = 1024,
    CUT_CACHE_BYTES_MAX = 4 << 20,
    CUT_LOOK_US = 20 * 1000,      /* for the end of a flush */
    CUT_OPENER_LOOK_US = 1000000, /* whether the node of who opened it has started again */
};
#define CUT_LIFETIME_MAX_US ((int64_t)86400 * 1000000)

struct replica_freeze {
    uint64_t cut;          /* for which it is frozen; 0: it is not */
    uint64_t freeze;       /* drawn for each freeze: of one that had ended, and began again, nobody
                            * believes that it went on */
    uint64_t since, until; /* boot clock */
    uint64_t claim, claim_until; /* no other cut freezes it before then */
};

/* TAKE and CLOSE: host_options.evaluate is not asked. */
enum evaluate_result cut_evaluate(struct row_context *rows, const struct request *request,
                                  struct reply *reply);
/* A request of SERVICE_CUT that is no write: answered now or later. False: evaluate it. */
bool cut_takes(struct replica *replica, struct session *session, uint64_t route,
               const struct request_item *item, uint64_t now);
/* A request with effects is not proposed then: cold_park_frozen(). */
static inline bool cut_is_frozen(const struct replica_freeze *freeze)
{
    return freeze->cut != 0;
}
/* The effect was proposed here: those that wait for it go on. */
void cut_proposed(struct replica *replica, const struct effect *effect);
/* The leader steps down. */
void cut_unfreeze(struct replica *replica);
void cut_freeze_over(struct world_timer *timer); /* of the host */
void cut_copy_turn(struct world_timer *timer);   /* the same */

/* The effect is applied, with everything before it and nothing behind it. */
void cut_applied(struct replica *replica, const struct effect *effect, struct gateway_id gateway,
                 uint64_t index);
/* Its rows are to stay where they are: no flush takes them. */
bool cut_holds_flush(const struct replica *replica);
/* What a flush had is in the engine, or will not be. */
void cut_flush_ended(struct partition_host *host, uint32_t store);
/* The replica's table goes: parts that are still copied from it do, too. */
void cut_table_gone(struct replica *replica);
/* The replica goes, or stops. */
void cut_replica_gone(struct replica *replica);
void cuts_close(struct partition_host *host); /* when its replicas are gone */

uint64_t cut_count(const struct replica *replica);
uint64_t cut_bytes(const struct replica *replica);
void cuts_count(const struct partition_host *host, uint64_t *ret_parts, uint64_t *ret_bytes);

#endif
