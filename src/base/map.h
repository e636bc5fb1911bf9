/* map.h - a hash map from u64 to a pointer (open addressing, linear probing). Iteration
 * order depends only on the history of calls, never on addresses. Thread: one. */
#ifndef HOLON_BASE_MAP_H
#define HOLON_BASE_MAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct map_slot {
    uint64_t key;
    void *value; /* NULL: free */
};

struct map {
    struct map_slot *slots;
    size_t capacity; /* a power of two, or 0 */
    size_t count;
};

void map_init(struct map *map);
void map_free(struct map *map);                     /* not the values */
void *map_get(const struct map *map, uint64_t key); /* NULL if absent */
/* Value must not be NULL. Returns the value it replaced, or NULL. */
void *map_put(struct map *map, uint64_t key, void *value);
void *map_remove(struct map *map, uint64_t key); /* returns the removed value or NULL */
/* for (size_t i = 0; map_next(map, &i, &key, &value);) ; no changes meanwhile. */
bool map_next(const struct map *map, size_t *position, uint64_t *ret_key, void **ret_value);

#endif
