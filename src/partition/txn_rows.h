/* txn_rows.h - which rows of transactions (txn_record.h) a partition has: their keys, in order. A
 * leader's, for one term, as its locks are: made of what its table has when it begins to evaluate,
 * and kept up with what it proposes.
 *
 * Why it does not walk over its table: a row that is deleted stays there as a tombstone until it is
 * flushed, so a walk would cost as much as was finished since, at each change. Here a row goes when
 * its deletion is committed. A row is never put again once its deletion is proposed: ids are
 * unique. Costs nothing while there are none: there is no struct then. Thread: the partition's
 * worker. */
#ifndef HOLON_PARTITION_TXN_ROWS_H
#define HOLON_PARTITION_TXN_ROWS_H

#include "partition/txn_record.h"

struct txn_rows;

struct txn_rows *txn_rows_make(void);
void txn_rows_free(struct txn_rows *rows); /* NULL is fine */
/* Keys have TXN_ROW_KEY_SIZE and are copied. `index`: of the entry that does it, 0: it is done. */
void txn_rows_put(struct txn_rows *rows, struct bytes key, uint64_t index);
void txn_rows_delete(struct txn_rows *rows, struct bytes key, uint64_t index);
/* Forgets those whose deletion is committed, now that entries up to `index` are. */
void txn_rows_applied(struct txn_rows *rows, uint64_t index);
uint32_t txn_rows_count(const struct txn_rows *rows); /* committed or not; NULL: 0 */
/* Calls back for those that are committed as of `index`, in the order of their keys. Returns how
 * many it looked at: all that there are. `rows` may be NULL. */
uint32_t txn_rows_each(const struct txn_rows *rows, uint64_t index, void *context,
                       void (*on_key)(void *context, struct bytes key));

#endif
