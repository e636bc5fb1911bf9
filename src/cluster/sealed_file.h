/* sealed_file.h - a small file that is replaced as a whole and proves that it is whole.
 *
 * File: 8 bytes magic (kind and format, such as "HOLONID1") | u32 size of the body |
 * u32 crc32c of magic, size and body | body. Little-endian. Calls block; thread: any. */
#ifndef HOLON_CLUSTER_SEALED_FILE_H
#define HOLON_CLUSTER_SEALED_FILE_H

#include "base/buffer.h"
#include "world/world.h"

enum { SEALED_HEADER_SIZE = 16, SEALED_SIZE_MAX = 1 << 20, PATH_SIZE_MAX = 1152 };

/* Durable when it returns. `magic` is 8 bytes. */
enum status sealed_file_write(struct world *world, const char *path, const char *magic,
                              struct bytes body, struct error *error);
/* Appends the body to `body`. STATUS_NOT_FOUND: no such file (*error untouched);
 * STATUS_CORRUPT: damaged or not readable, STATUS_VERSION: undamaged and of another format, with
 * STATUS_IO nothing is known; the error names the file. */
enum status sealed_file_read(struct world *world, const char *path, const char *magic,
                             struct buffer *body, struct error *error);

/* Is it what sealed_file_write() made of `magic` and `body`? Past the page cache, where that can
 * be. STATUS_CORRUPT: no, and *ret_offset is the first byte that differs or cannot be read;
 * STATUS_NOT_FOUND: it is missing; STATUS_IO: nothing is known. The error names the file. */
enum status sealed_file_compare(struct world *world, const char *path, const char *magic,
                                struct bytes body, uint64_t *ret_offset, struct error *error);

/* "DIR/NAME"; asserts that it fits: the directory's length was checked by its owner. */
void path_join(char ret_path[PATH_SIZE_MAX], const char *directory, const char *name);

#endif
