/* parts.h - what stands beside the row of a key: the parts of a big value, the garbage records
 * of values that were dropped, the reminders of expiry (docs/reference/redis-rows.md).
 *
 *   key         [slot][SERVICE_REDIS][ns            ][hash48][user key]
 *   part        [slot][SERVICE_REDIS][ns | PARTS    ][id][chunk u32], or [id][hash48][field]
 *   reminder    [first slot][SERVICE_REDIS][ns | REMINDERS][u40 second][slot][hash48]
 *   garbage     [first slot][SERVICE_REDIS][GARBAGE ][kind][index u64][number u16]
 *   front       [first slot][SERVICE_REDIS][FRONTS  ][garbage kind, or 0 and ns]
 *
 * Ids are never used again: {index of the entry that made it, a number within that}. A big
 * value belongs to a key as long as the key's row names its id; to overwrite, delete or expire
 * it is to change that row and to leave a garbage record: O(1), and the background removes the
 * parts (chore.h). So an id is at any time in a key's row, in one garbage record, or gone.
 *
 * Numbers in keys are big-endian. Part of an evaluation; restartable like all of it. */
#ifndef HOLON_SERVICES_REDIS_PARTS_H
#define HOLON_SERVICES_REDIS_PARTS_H

#include "services/redis/call.h"

enum {
    REDIS_NAMESPACE_BITS = 0x3fffffff,
    REDIS_PART_ID_SIZE = 10,
    REDIS_PART_PREFIX_SIZE = ROW_PREFIX_SIZE + REDIS_PART_ID_SIZE,
    REDIS_CHUNK_KEY_SIZE = REDIS_PART_PREFIX_SIZE + 4,
    REDIS_REMINDER_SIZE = ROW_PREFIX_SIZE + 5 + 2 + REDIS_HASH_SIZE,
    REDIS_GARBAGE_KEY_SIZE = ROW_PREFIX_SIZE + 1 + REDIS_PART_ID_SIZE,
    REDIS_GARBAGE_VALUE_SIZE = 1 + 4 + 2 + 10 + 8 + 8 + 4, /* and the progress */
    REDIS_DROP_EFFECTS = REDIS_GARBAGE_KEY_SIZE + REDIS_GARBAGE_VALUE_SIZE + 16,
};
#define REDIS_NAMESPACE_PARTS UINT32_C(0x80000000)
#define REDIS_NAMESPACE_REMINDERS UINT32_C(0x40000000)
#define REDIS_NAMESPACE_GARBAGE UINT32_C(0xffffffff)
#define REDIS_NAMESPACE_FRONTS UINT32_C(0xfffffffe)

struct redis_part_id {
    uint64_t index;
    uint16_t number;
};

/* The value of a row with REDIS_ROW_PARTS: what the parts are in sum. */
struct redis_parts {
    struct redis_part_id id;
    uint64_t size;       /* bytes of a string, fields of a hash */
    uint32_t chunk_size; /* string */
};
enum { REDIS_PARTS_SIZE = 1 + 8 + 2 + 8 + 4 };

void redis_parts_encode(const struct redis_parts *parts, uint8_t at[REDIS_PARTS_SIZE]);
bool redis_parts_decode(struct bytes value, struct redis_parts *ret_parts);

/* Might a row of this database have parts, or a reminder? */
bool redis_parts_exist(const struct redis_call *call);
bool redis_reminders_exist(const struct redis_call *call);

struct redis_part_id redis_part_id_new(struct redis_call *call);
/* [slot][SERVICE_REDIS][ns | PARTS][id], in the slot and namespace of a key. */
void redis_part_prefix_store(uint8_t at[REDIS_PART_PREFIX_SIZE], struct bytes row_key,
                             struct redis_part_id id);

/* Parts under that id will be asked for, or written. */
void redis_parts_born(struct redis_call *call, struct bytes row_key, struct redis_part_id id);

/* Writes a key's row that names parts; drops those of the old value if they are others. */
void redis_key_put_parts(struct redis_call *call, const struct redis_key *key, uint8_t type,
                         uint64_t expiry_ms, const struct redis_parts *parts);
/* Deletes the row of a key and drops its parts. */
void redis_row_remove(struct redis_call *call, struct bytes row_key, const struct row_view *row);
void redis_parts_drop_of(struct redis_call *call, struct bytes row_key, const struct row_view *row);

/* Effects that may come with each key that is overwritten or deleted, at most. */
static inline size_t redis_drop_effects(const struct redis_call *call)
{
    return redis_parts_exist(call) ? REDIS_DROP_EFFECTS : 0;
}

/* Garbage records. `kind` is also the order in which they are worked off; within a kind they
 * lie in the order in which they were made, so that what was worked off is all in front: its
 * tombstones need not be walked over again (fronts, chore_step.h). */
enum redis_garbage_kind {
    REDIS_GARBAGE_PARTS = 1, /* an id */
    REDIS_GARBAGE_NAMESPACE, /* a namespace: keys, reminders, parts */
    REDIS_GARBAGE_STAGED,    /* an id that no key names yet: see stage.h; under that id */
};
struct redis_garbage {
    uint32_t namespace;
    uint16_t slot;
    struct redis_part_id id;
    uint64_t staged_size, staged_at; /* STAGED: what has come; when the last of it, stage_clock.h */
    uint32_t chunk_size;
    struct bytes progress; /* key from which on rows are left; empty: from the start */
};
enum { REDIS_PROGRESS_SIZE_MAX = 64 };

/* {kind, id}: the record's own number. */
void redis_garbage_key_store(uint8_t at[REDIS_GARBAGE_KEY_SIZE], const struct row_context *rows,
                             uint8_t kind, struct redis_part_id number);
/* False: of a newer version, or damaged. */
bool redis_garbage_decode(struct bytes value, struct redis_garbage *ret_garbage);
void redis_garbage_put(struct redis_call *call, struct bytes key,
                       const struct redis_garbage *garbage);
/* A new record; the background begins at once. */
void redis_garbage_add(struct redis_call *call, uint8_t kind, const struct redis_garbage *garbage);
static inline struct redis_garbage redis_garbage_of(struct bytes row_key, struct redis_part_id id)
{
    return (struct redis_garbage){.namespace = load_u32_be(row_key.data + 3) & REDIS_NAMESPACE_BITS,
                                  .slot = load_u16_be(row_key.data),
                                  .id = id};
}

/* Before a row is written with an expiry: leaves a reminder, unless the row that is there has
 * an earlier expiry and so a reminder that comes in time. `key` is as it was found. */
void redis_remind(struct redis_call *call, const struct redis_key *key, uint64_t expiry_ms);
/* In which second the background must look at a key that ends then. */
static inline uint64_t redis_reminder_second(uint64_t expiry_ms)
{
    return expiry_ms / 1000;
}
void redis_reminder_store(uint8_t at[REDIS_REMINDER_SIZE], const struct row_context *rows,
                          uint32_t namespace, uint64_t second, struct bytes row_key);

#endif
