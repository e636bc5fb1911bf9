/* backup_writer.h - writes one file of a backup: under PATH.new, until it is whole and durable. */
#ifndef HOLON_CLI_BACKUP_WRITER_H
#define HOLON_CLI_BACKUP_WRITER_H

#include "cli/backup_place.h"
#include "wire/backup_file.h"

enum { BACKUP_BLOCK_SIZE = 1 << 20 }; /* a block is written when it has so much */

struct backup_writer {
    char path[PLACE_FILE_SIZE], path_new[PLACE_FILE_SIZE + 8];
    int fd;
    struct backup_codec *codec;
    struct buffer plain, sealed;
    uint64_t plain_bytes, file_bytes;
};

/* header->nonce is drawn here. Ended by backup_writer_close() whatever it returns. */
enum status backup_writer_open(struct backup_writer *writer, const char *path,
                               struct backup_header header, const struct backup_key *key,
                               struct error *error);
enum status backup_writer_add(struct backup_writer *writer, struct bytes plain,
                              struct error *error);
/* The last block; durable under its name. */
enum status backup_writer_finish(struct backup_writer *writer, struct hash128 *ret_sum,
                                 struct error *error);
void backup_writer_close(struct backup_writer *writer);

void backup_random(uint8_t *ret_bytes, size_t size);

#endif
