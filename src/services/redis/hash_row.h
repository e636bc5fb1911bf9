/* hash_row.h - a small hash as the value of one row:
 *
 *   varint number of fields | per field: varint size, name, varint size, value
 *
 * in the order in which the fields came, as redis-server's compact form keeps them. Every
 * change rewrites the row; what is larger than limits.h allows is not one row (hash_value.h). */
#ifndef HOLON_SERVICES_REDIS_HASH_ROW_H
#define HOLON_SERVICES_REDIS_HASH_ROW_H

#include "base/arena.h"
#include "base/codec.h"

struct hash_field {
    struct bytes name, value;
    bool removed;
};

/* A row taken apart to be changed. Borrows from the row and from what is put in. */
struct hash_row {
    struct arena *arena;
    struct hash_field *fields;
    uint32_t count; /* removed ones included */
    uint32_t removed;
    uint32_t capacity;
    uint32_t *index; /* by name, positions + 1; NULL: few fields, searched one by one */
    uint32_t index_size;
};

/* `more`: how many fields will be put or searched at most. False: damaged. */
bool hash_row_load(struct hash_row *row, struct arena *arena, struct bytes value, uint32_t more);
struct hash_field *hash_row_find(struct hash_row *row, struct bytes name); /* NULL: absent */
/* True if the field is new. */
bool hash_row_put(struct hash_row *row, struct bytes name, struct bytes value);
void hash_row_remove(struct hash_row *row, struct hash_field *field);
static inline uint32_t hash_row_live(const struct hash_row *row)
{
    return row->count - row->removed;
}
size_t hash_row_size(const struct hash_row *row);         /* encoded, never too small */
struct bytes hash_row_encode(const struct hash_row *row); /* in the arena */

/* Reading without taking apart. */
uint64_t hash_row_read_count(struct reader *reader);
bool hash_row_read_field(struct reader *reader, struct hash_field *ret_field);

#endif
