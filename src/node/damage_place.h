/* damage_place.h - file and offset in what an engine said of its damage, as RocksDB words it:
 *   block checksum mismatch: stored = 1, computed = 2  in DIR/store-3/000008.sst offset 0 size 5760
 *   truncated block read from DIR/store-3/000008.sst offset 5760, expected ...
 *   While open a file for random read: DIR/store-3/000008.sst: No such file or directory
 * Pure. Thread: any. */
#ifndef HOLON_NODE_DAMAGE_PLACE_H
#define HOLON_NODE_DAMAGE_PLACE_H

#include <stddef.h>
#include <stdint.h>

/* `otherwise`: the file, if the text names none. The offset is 0 if it is not told. */
void damage_place(const char *text, const char *otherwise, char *ret_file, size_t size,
                  uint64_t *ret_offset);

#endif
