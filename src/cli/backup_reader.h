/* backup_reader.h - one file of a backup, block by block: opened, checked, and where it is damaged.
 * In a backup of one FILE it is a range of that. Errors name file and offset. */
#ifndef HOLON_CLI_BACKUP_READER_H
#define HOLON_CLI_BACKUP_READER_H

#include "cli/backup_place.h"
#include "wire/backup_file.h"

struct backup_reader {
    char path[PLACE_FILE_SIZE];
    int fd;
    uint64_t offset, end; /* of the next block; of the file, or its range */
    struct backup_header header;
    struct backup_codec *codec;
    struct buffer block;
    bool last; /* the last block was read */
};

/* Opens and reads the header; the range is [offset, offset + size), or with size 0 all of the file.
 * Closed by backup_reader_close() whatever it returns. */
enum status backup_reader_open(struct backup_reader *reader, const char *path, uint64_t offset,
                               uint64_t size, struct error *error);
/* Before the first block; `key` may be NULL if it is not encrypted. */
void backup_reader_begin(struct backup_reader *reader, const struct backup_key *key);
/* *ret_plain: borrowed until the next call. Behind the last block: STATUS_NOT_FOUND, which is no
 * error. */
enum status backup_reader_next(struct backup_reader *reader, struct bytes *ret_plain,
                               struct error *error);
void backup_reader_close(struct backup_reader *reader);
/* STATUS_CORRUPT, with file and offset in front. */
enum status backup_reader_wrong(const struct backup_reader *reader, const char *what,
                                struct error *error);

#endif
