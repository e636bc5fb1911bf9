/* hash_value.h - the value of a hash key: fields in its row (hash_row.h), or a row per field.
 *
 * A hash with more than limits->hash_row_fields_max fields, or larger than hash_row_bytes_max,
 * moves its fields to rows under an id (parts.h): [id][48-bit keyed hash of the field][field] ->
 * value. The key's row holds {id, number of fields}, and is written with every change of a
 * field, so that its version tells of it (WHY.md 3.4). One field is then one row to read or
 * write, HLEN none. There is no way back: a hash that shrinks and grows would move for ever; an
 * emptied one is deleted.
 *
 * In one row fields are in the order in which they came, else in that of their hashes, which is
 * also what an HSCAN cursor counts. Part of one evaluation. */
#ifndef HOLON_SERVICES_REDIS_HASH_VALUE_H
#define HOLON_SERVICES_REDIS_HASH_VALUE_H

#include "services/redis/hash_row.h"
#include "services/redis/parts.h"

enum { REDIS_FIELD_SIZE_MAX = 64 << 10 };

struct redis_hash {
    struct redis_key key;
    bool large;               /* a row per field */
    struct redis_parts parts; /* large */
    struct hash_row row;      /* if not, and loaded */
    uint32_t changed;         /* fields put or removed */
};

/* The key must be a hash or absent. False: *ret_result is what to return. */
bool redis_hash_find(struct redis_call *call, struct redis_hash *ret_hash,
                     enum evaluate_result *ret_result);
/* The same for a command that goes on by the functions below, about so many fields at most. */
bool redis_hash_load(struct redis_call *call, uint32_t fields, struct redis_hash *ret_hash,
                     enum evaluate_result *ret_result);
uint64_t redis_hash_count(const struct redis_hash *hash);
/* The command will ask for arguments [first, count), every `step`th of them a field: those that are
 * not in memory are fetched together. False: return redis_stop(). */
bool redis_hash_want(struct redis_call *call, const struct redis_hash *hash, uint32_t first,
                     uint32_t step);

/* ROW_FOUND, ROW_ABSENT or ROW_STOP; the value is borrowed until the next change. */
enum row_result redis_hash_get(struct redis_call *call, struct redis_hash *hash, struct bytes field,
                               struct bytes *ret_value);
/* Do arguments [first, count), every `step`th of them a field and the next its value, fit? The
 * error is the reply if not. Before the first redis_hash_put(). */
bool redis_hash_fits(struct redis_call *call, const struct redis_hash *hash, uint32_t first,
                     uint32_t count);
/* ROW_FOUND: there was such a field; ROW_ABSENT: it is new; ROW_STOP. */
enum row_result redis_hash_put(struct redis_call *call, struct redis_hash *hash, struct bytes field,
                               struct bytes value);
/* ROW_FOUND: it was there; ROW_ABSENT; ROW_STOP. */
enum row_result redis_hash_remove(struct redis_call *call, struct redis_hash *hash,
                                  struct bytes field);
/* Writes what has changed to the key's row, or deletes that. */
void redis_hash_store(struct redis_call *call, struct redis_hash *hash);

/* Each field in order, from that hash of a field on (large), until on_field returns false. */
enum row_result redis_hash_each(struct redis_call *call, const struct redis_hash *hash,
                                uint64_t from, void *context,
                                bool (*on_field)(void *context, uint64_t field_hash,
                                                 struct bytes field, struct bytes value));

#endif
