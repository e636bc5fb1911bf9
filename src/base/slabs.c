#include "base/slabs.h"

#include "base/assert.h"
#include "base/list.h"
#include "base/memory.h"

#if defined(__SANITIZE_ADDRESS__)
#define SLABS_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define SLABS_ASAN 1
#endif
#endif
#ifdef SLABS_ASAN
#include <sanitizer/asan_interface.h>
#else
#define ASAN_POISON_MEMORY_REGION(address, size) ((void)(address), (void)(size))
#define ASAN_UNPOISON_MEMORY_REGION(address, size) ((void)(address), (void)(size))
#endif

enum {
    REGION_SIZE = 2 << 20,
    SLAB_SIZE = 32 << 10,
    REGION_SLABS = REGION_SIZE / SLAB_SIZE,
    CLASSES = SLABS_FINE_MAX / 16 + (SLABS_BLOCK_MAX - SLABS_FINE_MAX) / 64 + 1,
    COLOR_SIZE = 4096,
    TOUCH_SIZE = 4096,
    FREE_SLABS_FEW = REGION_SLABS / 4,
    COLORS = SLAB_SIZE / COLOR_SIZE,
};

struct slab {
    struct list by_class; /* while it has free blocks */
    void *free;           /* blocks given back, each pointing to the next */
    uint16_t fresh;       /* from here on nothing was given out yet */
    uint16_t used;
    uint16_t block_size;
    uint16_t class;
};

/* In the first slab, at an offset that differs from region to region: otherwise the headers of
 * all regions would compete for the same few lines of a cache. */
struct region {
    struct list by_slabs; /* of those with free slabs, or of the full ones */
    uint64_t free_slabs;
    struct slab slabs[REGION_SLABS];
};

static const uint64_t all_slabs = ~(uint64_t)1; /* the first holds the header */

_Static_assert(REGION_SLABS == 64, "a bit for each");
_Static_assert(sizeof(struct region) <= COLOR_SIZE, "a region's header keeps to its place");
_Static_assert(sizeof(struct slab) == 32, "two in a cache line");

struct slabs {
    struct list open[CLASSES]; /* slabs with free blocks */
    struct list regions_open;  /* with free slabs */
    struct list regions_full;
    uint32_t regions;
    uint32_t regions_empty;
    uint32_t free_slabs; /* of all regions */
    void *spare;         /* a region that is not in use yet, or NULL */
    bool hurried;        /* what was not prepared is of small pages */
    uint64_t used;
    uint64_t large;
};

static uint32_t class_of(size_t size)
{
    if (size <= SLABS_FINE_MAX) return (uint32_t)(size + 15) >> 4;
    return SLABS_FINE_MAX / 16 + ((uint32_t)(size - SLABS_FINE_MAX + 63) >> 6);
}

static struct region *region_at(uintptr_t base)
{
    return (struct region *)(base + (base / REGION_SIZE) % COLORS * COLOR_SIZE);
}

static struct region *region_of(const void *block)
{
    return region_at((uintptr_t)block & ~(uintptr_t)(REGION_SIZE - 1));
}

static uintptr_t region_base(const struct region *region)
{
    return (uintptr_t)region & ~(uintptr_t)(REGION_SIZE - 1);
}

struct slabs *slabs_make(void)
{
    struct slabs *slabs = memory_allocate_zero(sizeof(*slabs));
    for (uint32_t i = 0; i < CLASSES; i++)
        list_init(&slabs->open[i]);
    list_init(&slabs->regions_open);
    list_init(&slabs->regions_full);
    return slabs;
}

static void region_make(struct slabs *slabs)
{
    void *memory = slabs->spare;
    slabs->spare = NULL;
    if (memory == NULL) memory = memory_map(REGION_SIZE, slabs->regions > 0 && !slabs->hurried);
    struct region *region = region_at((uintptr_t)memory);
    region->free_slabs = all_slabs;
    ASAN_POISON_MEMORY_REGION((char *)memory + SLAB_SIZE, REGION_SIZE - SLAB_SIZE);
    list_insert_before(slabs->regions_open.next, &region->by_slabs);
    slabs->regions++;
    slabs->regions_empty++;
    slabs->free_slabs += REGION_SLABS - 1;
}

static void region_free(struct slabs *slabs, struct region *region)
{
    list_remove(&region->by_slabs);
    slabs->regions--;
    slabs->regions_empty--;
    slabs->free_slabs -= REGION_SLABS - 1;
    void *memory = (void *)region_base(region);
    ASAN_UNPOISON_MEMORY_REGION(memory, REGION_SIZE);
    memory_unmap(memory, REGION_SIZE);
}

void slabs_free(struct slabs *slabs)
{
    if (slabs == NULL) return;
    ASSERT(slabs->used == 0 && slabs->large == 0 && list_empty(&slabs->regions_full));
    while (!list_empty(&slabs->regions_open))
        region_free(slabs, CONTAINER_OF(slabs->regions_open.next, struct region, by_slabs));
    if (slabs->spare) slabs_region_free(slabs->spare);
    memory_free(slabs);
}

void slabs_hurry(struct slabs *slabs)
{
    slabs->hurried = true;
}

bool slabs_want_region(const struct slabs *slabs)
{
    return slabs->spare == NULL && slabs->regions > 0 && slabs->free_slabs < FREE_SLABS_FEW;
}

void *slabs_region_make(void)
{
    volatile char *memory = memory_map(REGION_SIZE, true);
    for (size_t i = 0; i < REGION_SIZE; i += TOUCH_SIZE)
        memory[i] = 0;
    return (void *)memory;
}

void slabs_region_give(struct slabs *slabs, void *region)
{
    if (slabs->spare)
        slabs_region_free(region);
    else
        slabs->spare = region;
}

void slabs_region_free(void *region)
{
    memory_unmap(region, REGION_SIZE);
}

static struct slab *slab_make(struct slabs *slabs, uint32_t class, size_t block_size)
{
    if (list_empty(&slabs->regions_open)) region_make(slabs);
    struct region *region = CONTAINER_OF(slabs->regions_open.next, struct region, by_slabs);
    uint32_t number = (uint32_t)__builtin_ctzll(region->free_slabs);
    if (region->free_slabs == all_slabs) slabs->regions_empty--;
    region->free_slabs &= region->free_slabs - 1;
    slabs->free_slabs--;
    if (region->free_slabs == 0) {
        list_remove(&region->by_slabs);
        list_insert_before(&slabs->regions_full, &region->by_slabs);
    }
    struct slab *slab = &region->slabs[number];
    *slab = (struct slab){.block_size = (uint16_t)block_size, .class = (uint16_t) class};
    list_insert_before(&slabs->open[class], &slab->by_class);
    return slab;
}

static void slab_free(struct slabs *slabs, struct region *region, uint32_t number)
{
    list_remove(&region->slabs[number].by_class);
    if (region->free_slabs == 0) {
        list_remove(&region->by_slabs);
        list_insert_before(&slabs->regions_open, &region->by_slabs); /* last: it may get empty */
    }
    region->free_slabs |= (uint64_t)1 << number;
    slabs->free_slabs++;
    if (region->free_slabs != all_slabs) return;
    if (++slabs->regions_empty > 1) region_free(slabs, region);
}

static void *slab_base(const struct slab *slab)
{
    const struct region *region = region_of(slab);
    size_t number = (size_t)(slab - region->slabs);
    return (void *)(region_base(region) + number * SLAB_SIZE);
}

void *slabs_allocate(struct slabs *slabs, size_t size)
{
    size = slabs_size(size);
    if (size > SLABS_BLOCK_MAX) {
        slabs->large += size;
        return memory_allocate(size);
    }
    uint32_t class = class_of(size);
    struct list *open = &slabs->open[class];
    struct slab *slab = list_empty(open) ? slab_make(slabs, class, size)
                                         : CONTAINER_OF(open->next, struct slab, by_class);
    void *block = slab->free;
    if (block) {
        ASAN_UNPOISON_MEMORY_REGION(block, size);
        slab->free = *(void **)block;
    } else {
        block = (char *)slab_base(slab) + slab->fresh;
        ASAN_UNPOISON_MEMORY_REGION(block, size);
        slab->fresh = (uint16_t)(slab->fresh + size);
    }
    slab->used++;
    slabs->used += size;
    bool full = slab->free == NULL && slab->fresh + size > SLAB_SIZE;
    if (full) list_remove(&slab->by_class);
    return block;
}

void slabs_release(struct slabs *slabs, void *block, size_t size)
{
    size = slabs_size(size);
    if (size > SLABS_BLOCK_MAX) {
        ASSERT(slabs->large >= size);
        slabs->large -= size;
        memory_free(block);
        return;
    }
    struct region *region = region_of(block);
    uint32_t number = (uint32_t)(((uintptr_t)block - region_base(region)) / SLAB_SIZE);
    struct slab *slab = &region->slabs[number];
    ASSERT(slab->used > 0 && slab->block_size == size);
    bool was_full = slab->free == NULL && slab->fresh + size > SLAB_SIZE;
    *(void **)block = slab->free;
    slab->free = block;
    ASAN_POISON_MEMORY_REGION(block, size);
    slab->used--;
    slabs->used -= size;
    if (was_full) list_insert_before(&slabs->open[slab->class], &slab->by_class);
    /* Making one again is cheap; keeping one of each class would hold on to its region. */
    if (slab->used == 0) slab_free(slabs, region, number);
}

uint64_t slabs_used_bytes(const struct slabs *slabs)
{
    return slabs->used + slabs->large;
}

uint64_t slabs_held_bytes(const struct slabs *slabs)
{
    uint64_t regions = slabs->regions + (slabs->spare != NULL);
    return sizeof(*slabs) + regions * REGION_SIZE + slabs->large;
}
