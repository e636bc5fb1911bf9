/* restore_run.h - private to `holon restore`: a backup that is being written into a cluster.
 *
 * Each write may be done twice: SET, DEL, HSET and PEXPIREAT of what the backup says. So a batch is
 * sent again until all of it is answered, and an interrupted restore goes on at the key after the
 * last one of which that is known. */
#ifndef HOLON_CLI_RESTORE_RUN_H
#define HOLON_CLI_RESTORE_RUN_H

#include "cli/backup_chain.h"
#include "cli/backup_link.h"
#include "cli/crew.h"
#include "cli/options.h"
#include "cli/progress_line.h"

enum {
    RESTORE_BATCH_BYTES = 512 << 10, /* then it is sent */
    RESTORE_BATCH_COMMANDS = 512,
    RESTORE_BATCH_BYTES_MAX = EXPORT_STRING_SIZE_MAX + (1 << 20),
    RESTORE_FIELDS_BYTES = 96 << 10, /* of one HSET of several: an entry of the log holds it */
    RESTORE_FIELDS = 256,
    /* 1.5 MiB of fields of 5 bytes, 256 in a command, and the longest key in each: 77 MiB. */
    RESTORE_COMMANDS_BYTES_MAX = 96 << 20,
    RESTORE_SAVE_MS = 1000,
};

#define RESTORE_FLOOR_MAX (UINT64_C(1) << 62) /* of tokens, that a cluster takes */

/* How far a partition of the backup has come. */
struct restore_part {
    bool done;
    bool begun;                          /* by an earlier run: what it wrote may be there */
    uint64_t keys;                       /* that are surely written */
    uint64_t expiring[EXPORT_DATABASES]; /* of them, with an expiry */
};

struct restore_run {
    const struct cli_options *options;
    struct backup_secret secret;
    struct backup_chain chain;
    struct backup_totals totals;
    char cluster[MANIFEST_NAME_SIZE]; /* into which; or HOST:PORT if it does not tell */
    struct restore_part *parts;
    bool resumed;
    bool saves; /* the state can be saved */
    struct link control;
    struct link links[CREW_THREADS_MAX];
    struct crew crew;
    struct progress_line progress;
    uint64_t keys_before;
    int64_t saved_ms;
};

/* restore_state.c */
enum status restore_load(struct restore_run *run, struct error *error);
/* With the crew's mutex, or alone. */
enum status restore_save(struct restore_run *run, struct error *error);
void restore_forget(const struct restore_run *run);

/* restore_parts.c */
enum status restore_write_parts(struct restore_run *run, struct error *error);

/* restore_target.c: what is in the cluster. */
enum status restore_sizes(struct link *link, uint64_t ret_sizes[EXPORT_DATABASES],
                          struct error *error);
enum status restore_raise_tokens(struct restore_run *run, struct error *error);

#endif
