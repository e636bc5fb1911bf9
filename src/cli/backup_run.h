/* backup_run.h - private to `holon backup`: one that is being made. */
#ifndef HOLON_CLI_BACKUP_RUN_H
#define HOLON_CLI_BACKUP_RUN_H

#include "cli/backup_chain.h"
#include "cli/backup_link.h"
#include "cli/crew.h"
#include "cli/options.h"
#include "cli/progress_line.h"

enum {
    BACKUP_SNAPSHOT_S = 86400, /* it is closed at the end; this is for when nobody does */
    BACKUP_REPLY_MAX = EXPORT_BYTES_MAX + EXPORT_PIECE_SIZE_MAX,
    BACKUP_PING_MS = 2000, /* the connection that holds the snapshot says something so often */
};

struct backup_run {
    const struct cli_options *options;
    struct backup_place place;
    struct backup_secret secret;
    struct backup_header header; /* of all files, but for kind, partition and nonce */
    struct backup_key key;
    struct backup_manifest manifest; /* as far as it has come */
    struct backup_whole base;        /* if manifest.base_id */
    bool resumed;
    struct link control; /* holds the snapshot */
    struct link links[CREW_THREADS_MAX];
    struct crew crew;
    struct progress_line progress;
    uint32_t pending[MANIFEST_PARTS_MAX]; /* parts to do */
    uint32_t pending_count;
    uint64_t keys_before, bytes_before; /* of parts that an earlier run made */
    int64_t pinged_ms;
};

/* backup_snapshot.c: the snapshot and what it is of. */
enum status backup_find_cluster(struct link *link, char ret_cluster[MANIFEST_NAME_SIZE],
                                struct error *error);
/* STATUS_NOT_FOUND: it is not open any more. */
enum status backup_use_snapshot(struct backup_run *run, struct error *error);
enum status backup_open_snapshot(struct backup_run *run, struct error *error);
void backup_close_snapshot(struct backup_run *run);
/* Its partitions, as parts that are not done. */
enum status backup_find_parts(struct backup_run *run, struct error *error);

struct export_answer {
    struct bytes cursor, records; /* borrowed from the reply */
    uint64_t version;
    uint32_t slot_first, slot_last;
};
enum status export_answer_take(const redisReply *reply, struct export_answer *ret_answer,
                               struct error *error);

/* backup_parts.c: reads and writes all that are pending. */
enum status backup_make_parts(struct backup_run *run, struct error *error);
/* With the crew's mutex, or alone. */
enum status backup_save_state(const struct backup_run *run, struct error *error);

/* backup_finish.c: the manifest, or all in one file. */
enum status backup_finish(struct backup_run *run, struct error *error);

int backup_verify(const struct cli_options *options, const char *path);

#endif
