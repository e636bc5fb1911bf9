/* arena.h - bump allocation for the life of one request or one turn: many allocations, one
 * reset. Blocks are kept over resets, up to keep_max. Thread: one. */
#ifndef HOLON_BASE_ARENA_H
#define HOLON_BASE_ARENA_H

#include "base/bytes.h"

struct arena_block;

struct arena {
    struct arena_block *blocks;
    uint8_t *next;
    uint8_t *end;
    size_t keep_max; /* bytes of blocks kept by arena_reset() */
};

void arena_init(struct arena *arena, size_t keep_max);
void arena_free(struct arena *arena);
void arena_reset(struct arena *arena);

/* Memory that it holds. O(blocks). */
size_t arena_bytes(const struct arena *arena);

/* 16-byte aligned, uninitialised, never NULL; valid until reset. */
void *arena_allocate(struct arena *arena, size_t size);
struct bytes arena_copy(struct arena *arena, struct bytes bytes);

#endif
