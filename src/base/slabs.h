/* slabs.h - many small blocks of memory, cheaper than malloc(): no search, no header per block,
 * few pages to look up. For rows and tree nodes.
 *
 *   region (2 MiB, from the system)  | header | slab | slab | slab | ... 63 of 32 KiB
 *   slab: blocks of one size class   | block | block | block | ...
 *
 * A slab whose blocks are all given back can serve another class; a region whose slabs are all
 * free goes back to the system, except one. All regions but the first ask for huge pages: an idle
 * node touches little, a large one misses the TLB less. To get such a page takes the system up to
 * milliseconds: a thread that must not stand still has another one do it (slabs_region_make()).
 * Blocks over SLABS_BLOCK_MAX come from memory_allocate(). With AddressSanitizer free blocks are
 * poisoned. (Bonwick, "The Slab Allocator", USENIX 1994.) Thread: one. */
#ifndef HOLON_BASE_SLABS_H
#define HOLON_BASE_SLABS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct slabs;

enum { SLABS_BLOCK_MAX = 4096, SLABS_FINE_MAX = 1024 };

struct slabs *slabs_make(void);
/* All blocks must have been given back. */
void slabs_free(struct slabs *slabs);

/* What a block of this size takes, all of which may be used. */
static inline size_t slabs_size(size_t size)
{
    size_t step = size <= SLABS_FINE_MAX || size > SLABS_BLOCK_MAX ? 16 : 64;
    return (size + step - 1) & ~(step - 1);
}

/* Uninitialised, aligned to 16, and to 64 if the size is a multiple of it and <=
 * SLABS_BLOCK_MAX. size > 0. */
void *slabs_allocate(struct slabs *slabs, size_t size) __attribute__((malloc, returns_nonnull));
void slabs_release(struct slabs *slabs, void *block, size_t size); /* as it was allocated */

/* Regions are prepared by somebody else from now on, and who needs one that is not ready has it in
 * small pages: the first touch of a huge one takes 0.3 ms, or 6 where the host has to find the
 * memory (3 s for 1 GiB, where small ones take half a second). */
void slabs_hurry(struct slabs *slabs);
/* Free slabs are running out: a region that is given now is used soon. */
bool slabs_want_region(const struct slabs *slabs);
/* Has one from the system, and touches its pages. Any thread. */
void *slabs_region_make(void);
/* For later use; one too many goes back to the system. */
void slabs_region_give(struct slabs *slabs, void *region);
void slabs_region_free(void *region); /* that was made, and not given. Any thread. */

uint64_t slabs_used_bytes(const struct slabs *slabs); /* blocks given out */
uint64_t slabs_held_bytes(const struct slabs *slabs); /* had from the system */

#endif
