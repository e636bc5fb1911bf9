/* restore_batch.h - records of a backup as commands of Redis, in batches. */
#ifndef HOLON_CLI_RESTORE_BATCH_H
#define HOLON_CLI_RESTORE_BATCH_H

#include "cli/backup_link.h"
#include "wire/export_record.h"

struct restore_batch {
    bool replaces;          /* there may be other fields under the key of a hash */
    struct buffer commands; /* as link_send_all() takes them */
    size_t count;
    bool too_large;                      /* no cluster exports such a record: not to be sent */
    uint64_t keys;                       /* that are whole with this batch */
    uint64_t expiring[EXPORT_DATABASES]; /* of them */
    /* Private: */
    int database;        /* of the commands before; -1: none */
    struct buffer value; /* of a string, until all of it is here */
    struct buffer key;   /* of the open value */
    struct export_record open;
    uint64_t left;
};

void restore_batch_init(struct restore_batch *batch, bool replaces);
void restore_batch_free(struct restore_batch *batch);
/* In the order of a backup. False: it is full, send it and add the record again. */
bool restore_batch_add(struct restore_batch *batch, const struct export_record *record);
/* After it was sent. */
void restore_batch_clear(struct restore_batch *batch);

#endif
