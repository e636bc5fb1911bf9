#include "base/arena.h"

#include "base/assert.h"
#include "base/memory.h"

enum { ALIGNMENT = 16, BLOCK_SIZE_MIN = 4096 };

struct arena_block {
    struct arena_block *next;
    size_t size; /* of body */
    _Alignas(ALIGNMENT) uint8_t body[];
};

_Static_assert(sizeof(struct arena_block) % ALIGNMENT == 0, "bodies are aligned");

void arena_init(struct arena *arena, size_t keep_max)
{
    *arena = (struct arena){.keep_max = keep_max};
}

static void arena_free_from(struct arena_block *block)
{
    while (block != NULL) {
        struct arena_block *next = block->next;
        memory_free(block);
        block = next;
    }
}

void arena_free(struct arena *arena)
{
    arena_free_from(arena->blocks);
    arena_init(arena, arena->keep_max);
}

/* Keeps one block: the newest is the largest that fits keep_max, because blocks double. Several
 * kept blocks would need a second list to be filled again in order. */
void arena_reset(struct arena *arena)
{
    struct arena_block *keep = NULL;
    struct arena_block *block = arena->blocks;

    while (block != NULL) {
        struct arena_block *next = block->next;
        bool better = block->size <= arena->keep_max && (keep == NULL || block->size > keep->size);
        if (better) {
            memory_free(keep);
            keep = block;
        } else {
            memory_free(block);
        }
        block = next;
    }
    if (keep != NULL) keep->next = NULL;
    arena->blocks = keep;
    arena->next = keep ? keep->body : NULL;
    arena->end = keep ? keep->body + keep->size : NULL;
}

size_t arena_bytes(const struct arena *arena)
{
    size_t size = 0;
    for (const struct arena_block *block = arena->blocks; block != NULL; block = block->next)
        size += sizeof(*block) + block->size;
    return size;
}

static void arena_add_block(struct arena *arena, size_t size)
{
    size_t block_size = arena->blocks ? arena->blocks->size * 2 : BLOCK_SIZE_MIN;

    /* Past keep_max a block is gone at the next reset anyway: do not double without end. */
    if (block_size > arena->keep_max) block_size = BLOCK_SIZE_MIN;
    if (block_size < size) block_size = size;

    struct arena_block *block = memory_allocate(sizeof(*block) + block_size);
    block->next = arena->blocks;
    block->size = block_size;
    arena->blocks = block;
    arena->next = block->body;
    arena->end = block->body + block_size;
}

void *arena_allocate(struct arena *arena, size_t size)
{
    ASSERT(size < SIZE_MAX / 4);
    size_t rounded = size ? (size + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT : ALIGNMENT;

    if (arena->next == NULL || (size_t)(arena->end - arena->next) < rounded)
        arena_add_block(arena, rounded);
    void *pointer = arena->next;
    arena->next += rounded;
    return pointer;
}

struct bytes arena_copy(struct arena *arena, struct bytes bytes)
{
    uint8_t *copy = arena_allocate(arena, bytes.size);
    if (bytes.size) memcpy(copy, bytes.data, bytes.size);
    return bytes_make(copy, bytes.size);
}
