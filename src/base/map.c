#include "base/map.h"

#include "base/assert.h"
#include "base/hash.h"
#include "base/memory.h"

enum { CAPACITY_MIN = 4 }; /* most have one or two entries, and there are many of them */

void map_init(struct map *map)
{
    *map = (struct map){0};
}

void map_free(struct map *map)
{
    memory_free(map->slots);
    map_init(map);
}

/* The slot that holds `key`, or the free one where it would go. The load stays at 3/4 or less,
 * so there is always a free slot to stop at. */
static size_t map_find(const struct map *map, uint64_t key)
{
    size_t mask = map->capacity - 1;
    size_t i = hash_u64(key) & mask;

    while (map->slots[i].value != NULL && map->slots[i].key != key)
        i = (i + 1) & mask;
    return i;
}

static void map_resize(struct map *map, size_t capacity)
{
    struct map_slot *old_slots = map->slots;
    size_t old_capacity = map->capacity;

    map->slots = memory_allocate_zero(capacity * sizeof(*map->slots));
    map->capacity = capacity;
    for (size_t i = 0; i < old_capacity; i++) {
        if (old_slots[i].value == NULL) continue;
        map->slots[map_find(map, old_slots[i].key)] = old_slots[i];
    }
    memory_free(old_slots);
}

void *map_get(const struct map *map, uint64_t key)
{
    if (map->count == 0) return NULL;
    return map->slots[map_find(map, key)].value;
}

void *map_put(struct map *map, uint64_t key, void *value)
{
    ASSERT(value != NULL);
    if ((map->count + 1) * 4 > map->capacity * 3)
        map_resize(map, map->capacity ? map->capacity * 2 : CAPACITY_MIN);

    struct map_slot *slot = &map->slots[map_find(map, key)];
    void *replaced = slot->value;
    if (replaced == NULL) map->count++;
    *slot = (struct map_slot){.key = key, .value = value};
    return replaced;
}

/* Closes the gap instead of leaving a tombstone (Knuth, volume 3, 6.4, algorithm R): every
 * later entry of the run whose home is at or before the gap moves into it. */
void *map_remove(struct map *map, uint64_t key)
{
    if (map->count == 0) return NULL;
    size_t mask = map->capacity - 1;
    size_t gap = map_find(map, key);
    void *removed = map->slots[gap].value;
    if (removed == NULL) return NULL;

    for (size_t i = (gap + 1) & mask; map->slots[i].value != NULL; i = (i + 1) & mask) {
        size_t home = hash_u64(map->slots[i].key) & mask;
        bool may_move = ((i - home) & mask) >= ((i - gap) & mask);
        if (!may_move) continue;
        map->slots[gap] = map->slots[i];
        gap = i;
    }
    map->slots[gap] = (struct map_slot){0};
    map->count--;
    return removed;
}

bool map_next(const struct map *map, size_t *position, uint64_t *ret_key, void **ret_value)
{
    for (size_t i = *position; i < map->capacity; i++) {
        if (map->slots[i].value == NULL) continue;
        *position = i + 1;
        *ret_key = map->slots[i].key;
        *ret_value = map->slots[i].value;
        return true;
    }
    *position = map->capacity;
    return false;
}
