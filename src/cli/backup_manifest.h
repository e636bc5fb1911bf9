/* backup_manifest.h - what a backup is, in JSON (docs/reference/backup-format.md): of which
 * cluster, as of when, its parts, and on which other one it stands. The same text, without what is
 * not done yet, tells how far an unfinished backup has come. */
#ifndef HOLON_CLI_BACKUP_MANIFEST_H
#define HOLON_CLI_BACKUP_MANIFEST_H

#include "cli/backup_place.h"
#include "wire/backup_file.h"
#include "wire/export_record.h"

enum {
    MANIFEST_ID_TEXT = 2 * BACKUP_ID_SIZE + 1,
    MANIFEST_NAME_SIZE = 64,
    MANIFEST_PARTS_MAX = SLOT_COUNT,
    MANIFEST_SIZE_MAX = 64 << 20,
};

struct backup_part {
    uint32_t slot_first, slot_last;
    bool done;
    uint64_t version;                /* of the partition's rows at the cut */
    uint64_t since;                  /* what has not changed since is in the base; 0: all is here */
    uint64_t keys[EXPORT_DATABASES]; /* at the cut, those in the base included */
    uint64_t keys_all, same, locks, token_max;
    uint64_t record_bytes;            /* before compression */
    uint64_t file_offset, file_bytes; /* offset: in FILE */
    struct hash128 sum;
};

struct backup_manifest {
    char id[MANIFEST_ID_TEXT];
    char cluster[MANIFEST_NAME_SIZE];        /* id; "": was not told */
    char snapshot[MANIFEST_NAME_SIZE];       /* id of the cut */
    char holon[MANIFEST_NAME_SIZE];          /* version */
    char base_id[MANIFEST_ID_TEXT];          /* "": it stands alone */
    char base_path[PLACE_PATH_SIZE];         /* where that was */
    char header[2 * BACKUP_HEADER_SIZE + 1]; /* of an unfinished one: id, salt, key check */
    int64_t cut_ms;                          /* wall clock */
    uint32_t part_count;
    struct backup_part *parts;   /* owned */
    struct backup_part *earlier; /* owned; of an unfinished one: files of an earlier snapshot that
                                  * are there in their places (done), or NULL */
};

void backup_manifest_free(struct backup_manifest *manifest);
/* Appended. False: no room. */
bool backup_manifest_encode(const struct backup_manifest *manifest, struct buffer *out);
/* STATUS_CORRUPT: *error says what is wrong with it. */
enum status backup_manifest_decode(struct bytes text, struct backup_manifest *ret_manifest,
                                   struct error *error);

struct backup_totals {
    uint64_t keys[EXPORT_DATABASES];
    uint64_t keys_all, same, locks, record_bytes, file_bytes;
    uint64_t token_max; /* at least as great as any token, and any version */
};
void backup_manifest_totals(const struct backup_manifest *manifest, struct backup_totals *ret);

#endif
