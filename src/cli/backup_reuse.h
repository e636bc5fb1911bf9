/* backup_reuse.h - a part that an interrupted run has made, brought up to a later snapshot: only
 * what was written since comes from the cluster, the rest from the old file. Both are in one order.
 */
#ifndef HOLON_CLI_BACKUP_REUSE_H
#define HOLON_CLI_BACKUP_REUSE_H

#include "cli/backup_run.h"
#include "cli/backup_source.h"
#include "cli/backup_writer.h"

struct backup_reuse {
    struct backup_chain *chain; /* of the old parts, as if they were a backup */
    struct backup_source *old;
    struct export_record ahead;
    bool has_ahead;
    struct export_sequence out; /* what was written */
    struct buffer encoded;
};

/* Part `number` of run->manifest.earlier. Ended by backup_reuse_close() whatever it returns. */
enum status backup_reuse_open(struct backup_reuse *reuse, const struct backup_run *run,
                              uint32_t number, struct error *error);
/* A record of what was written since. */
enum status backup_reuse_add(struct backup_reuse *reuse, const struct export_record *record,
                             struct backup_writer *writer, struct error *error);
/* After the last one: the old file was right. */
enum status backup_reuse_end(struct backup_reuse *reuse, struct error *error);
void backup_reuse_close(struct backup_reuse *reuse);

#endif
