/* locks.h - which rows of a partition prepared transactions hold (rules C2, A1, 3.10 of the
 * protocol's reasons). Shared: of rows that were read, of ranges, of counts. Exclusive: of rows
 * that will be written. A leader's, for one term: made of the prepared rows (txn_record.h) that
 * its table has when it begins to evaluate, and kept up with those it proposes.
 *
 * Whoever evaluates for a transaction (`owner`) is not held up by its own locks. Costs nothing
 * while there are none: there is no table then. Thread: the partition's worker. */
#ifndef HOLON_PARTITION_LOCKS_H
#define HOLON_PARTITION_LOCKS_H

#include "partition/txn_record.h"

/* Of one partition: with more, nothing else is prepared until some are gone. */
enum { LOCKS_BYTES_MAX = 32 << 20 };

struct locks;

struct locks *locks_make(void);
void locks_free(struct locks *locks); /* NULL is fine */
/* Everything is copied. Nothing happens if the id is there already. */
void locks_add(struct locks *locks, struct txn_id id, const struct txn_prepared *prepared);
bool locks_remove(struct locks *locks, struct txn_id id); /* false: it was not there */
uint32_t locks_count(const struct locks *locks);          /* transactions */
uint64_t locks_keys(const struct locks *locks);           /* of all of them */
uint64_t locks_bytes(const struct locks *locks);

/* Is there a lock of another than `owner` (NULL: of anybody) in the way? `locks` may be NULL. */
bool locks_stop_read(const struct locks *locks, struct bytes key, const struct txn_id *owner);
bool locks_stop_write(const struct locks *locks, struct bytes key, const struct txn_id *owner);
/* A walk over from <= key < to (to empty: no end): rows in it that will be written, also such as
 * do not exist yet. */
bool locks_stop_scan(const struct locks *locks, struct bytes from, struct bytes to,
                     const struct txn_id *owner);
bool locks_stop_count(const struct locks *locks, uint8_t service, uint32_t namespace,
                      const struct txn_id *owner);

#endif
