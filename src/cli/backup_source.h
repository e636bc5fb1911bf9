/* backup_source.h - the records of one partition of a backup, with those that it has from its base
 * in their places: both are in one order, so that one pass over each is enough.
 *
 * All that can be checked is: blocks, the order of pieces, counts and sum of the manifest. Who has
 * reached the end without an error has read what was written. */
#ifndef HOLON_CLI_BACKUP_SOURCE_H
#define HOLON_CLI_BACKUP_SOURCE_H

#include "cli/backup_chain.h"

struct backup_source; /* opaque */

/* Part `index` of chain->items[level], on those behind it. */
enum status backup_source_open(const struct backup_chain *chain, uint32_t level, uint32_t index,
                               struct backup_source **ret_source, struct error *error);
/* Part `index` of chain->items[0] without its base: EXPORT_SAME is given as it is. */
enum status backup_source_open_alone(const struct backup_chain *chain, uint32_t index,
                                     struct backup_source **ret_source, struct error *error);
void backup_source_close(struct backup_source *source); /* NULL is fine */
/* The next record, never EXPORT_SAME (but see above); borrowed until the next call.
 * STATUS_NOT_FOUND: that was all, and it was right; *error is left alone. */
enum status backup_source_next(struct backup_source *source, struct export_record *ret_record,
                               struct error *error);

#endif
