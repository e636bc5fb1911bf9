/* backup_place.h - where the files of a backup are: DIR with a file for each partition and a
 * manifest, or all of it in one FILE, which is put together of a directory beside it.
 *
 *   DIR/manifest.holon, DIR/part-00000.holon ...; until it is whole: DIR/unfinished.json
 *   FILE; until it is whole: FILE.unfinished/ with the same, and FILE.unfinished/whole.new
 *
 * A path that ends with / or is a directory is DIR; one that does not exist is FILE if its last
 * name has an extension, else DIR. Errors name the file. */
#ifndef HOLON_CLI_BACKUP_PLACE_H
#define HOLON_CLI_BACKUP_PLACE_H

#include <limits.h>
#include <stdint.h>

#include "base/buffer.h"
#include "base/status.h"

enum { PLACE_PATH_SIZE = 1024, PLACE_FILE_SIZE = PLACE_PATH_SIZE + 64 };

struct backup_place {
    bool single;                /* FILE */
    bool made;                  /* the directory, by backup_place_to_write() */
    int lock;                   /* descriptor of the directory, of who writes to it; -1: none */
    char path[PLACE_PATH_SIZE]; /* without / at the end */
    char work[PLACE_FILE_SIZE]; /* directory with the parts, until they are in FILE */
};

/* STATUS_NOT_FOUND, STATUS_INVALID. */
enum status backup_place_to_read(const char *path, struct backup_place *ret_place,
                                 struct error *error);
/* Makes the directory, and locks it until backup_place_unlock(), whatever it returns.
 * STATUS_EXISTS: there is a backup, or something else; STATUS_REFUSED: another run has it. */
enum status backup_place_to_write(const char *path, struct backup_place *ret_place,
                                  struct error *error);
void backup_place_unlock(struct backup_place *place);
void backup_place_part(const struct backup_place *place, uint32_t part,
                       char ret_path[PLACE_FILE_SIZE]);
void backup_place_file(const struct backup_place *place, const char *name,
                       char ret_path[PLACE_FILE_SIZE]);

#define PLACE_MANIFEST "manifest.holon"
#define PLACE_MANIFEST_OF_FILE                                                                     \
    "last.holon" /* until it is in FILE: what is beside it is not whole */
#define PLACE_STATE "unfinished.json"
#define PLACE_WHOLE "whole.new"

/* An empty file of that name for writing, whatever was there; -1: errno. */
int file_make_anew(const char *path);
/* For reading, and only a regular file: what a manifest names may be anything. */
enum status file_open_regular(const char *path, int *ret_fd, struct error *error);
/* Files as they should be after a crash: the old or the new one, whole. */
enum status file_replace(const char *path, struct bytes bytes, struct error *error);
/* Of a file that is written and closed under `path_new`: durable under its name. */
enum status file_rename_durably(const char *path_new, const char *path, struct error *error);
enum status directory_sync(const char *directory, struct error *error);
/* STATUS_NOT_FOUND; STATUS_FULL: larger than the buffer may be. */
enum status file_read_small(const char *path, struct buffer *out, struct error *error);
bool file_exists(const char *path);

#endif
