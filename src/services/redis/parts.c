#include "services/redis/parts.h"

#include "partition/row_context.h"
#include "services/redis/fronts.h"

enum { PARTS_FORMAT = 1, GARBAGE_FORMAT = 1, SECOND_BITS = 40 };

void redis_parts_encode(const struct redis_parts *parts, uint8_t at[REDIS_PARTS_SIZE])
{
    at[0] = PARTS_FORMAT;
    store_u64(at + 1, parts->id.index);
    store_u16(at + 9, parts->id.number);
    store_u64(at + 11, parts->size);
    store_u32(at + 19, parts->chunk_size);
}

bool redis_parts_decode(struct bytes value, struct redis_parts *ret_parts)
{
    if (value.size != REDIS_PARTS_SIZE || value.data[0] != PARTS_FORMAT) return false;
    *ret_parts = (struct redis_parts){
        .id = {.index = load_u64(value.data + 1), .number = load_u16(value.data + 9)},
        .size = load_u64(value.data + 11),
        .chunk_size = load_u32(value.data + 19)};
    return ret_parts->chunk_size <= REDIS_CHUNK_SIZE_MAX;
}

bool redis_parts_exist(const struct redis_call *call)
{
    /* Those of this evaluation are not counted by the table yet, nor those of commands before it in
     * a batch: ids are made in all of it. */
    return call->ids_made > 0 || call->adopted != 0 ||
           row_table_count(call->rows->table, SERVICE_REDIS,
                           call->namespace | REDIS_NAMESPACE_PARTS) > 0;
}

bool redis_reminders_exist(const struct redis_call *call)
{
    bool own = call->batch && call->rows->effect_count > 0; /* not counted yet either */
    return own || row_table_count(call->rows->table, SERVICE_REDIS,
                                  call->namespace | REDIS_NAMESPACE_REMINDERS) > 0;
}

struct redis_part_id redis_part_id_new(struct redis_call *call)
{
    uint64_t index = call->rows->next_index;

    if (call->limits->planted & REDIS_BUG_ID_USED_TWICE) index = call->rows->commit_index;
    return (struct redis_part_id){.index = index, .number = call->ids_made++};
}

static void id_store(uint8_t at[REDIS_PART_ID_SIZE], struct redis_part_id id)
{
    store_u64_be(at, id.index);
    store_u16_be(at + 8, id.number);
}

void redis_part_prefix_store(uint8_t at[REDIS_PART_PREFIX_SIZE], struct bytes row_key,
                             struct redis_part_id id)
{
    row_prefix_store(at, load_u16_be(row_key.data), SERVICE_REDIS,
                     load_u32_be(row_key.data + 3) | REDIS_NAMESPACE_PARTS);
    id_store(at + ROW_PREFIX_SIZE, id);
}

void redis_parts_born(struct redis_call *call, struct bytes row_key, struct redis_part_id id)
{
    if (row_table_complete(call->rows->table)) return;
    uint8_t *prefix = arena_allocate(call->rows->arena, REDIS_PART_PREFIX_SIZE);
    redis_part_prefix_store(prefix, row_key, id);
    row_born(call->rows, bytes_make(prefix, REDIS_PART_PREFIX_SIZE), id.index);
}

void redis_key_put_parts(struct redis_call *call, const struct redis_key *key, uint8_t type,
                         uint64_t expiry_ms, const struct redis_parts *parts)
{
    uint8_t value[REDIS_PARTS_SIZE];
    struct redis_parts old;
    bool same = redis_key_has_parts(key) && redis_parts_decode(key->row.value, &old) &&
                old.id.index == parts->id.index && old.id.number == parts->id.number;

    if (redis_key_has_parts(key) && !same) redis_parts_drop_of(call, key->row_key, &key->row);
    if (redis_expiry_is_past(call, expiry_ms)) {
        struct redis_garbage garbage = redis_garbage_of(key->row_key, parts->id);
        redis_garbage_add(call, REDIS_GARBAGE_PARTS, &garbage);
        row_delete(call->rows, key->row_key);
        return;
    }
    redis_remind(call, key, expiry_ms);
    redis_parts_encode(parts, value);
    row_put(call->rows, key->row_key, type, REDIS_ROW_PARTS, expiry_ms,
            bytes_make(value, sizeof(value)));
}

void redis_row_remove(struct redis_call *call, struct bytes row_key, const struct row_view *row)
{
    if (row->header.flags & REDIS_ROW_PARTS) redis_parts_drop_of(call, row_key, row);
    row_delete(call->rows, row_key);
}

void redis_parts_drop_of(struct redis_call *call, struct bytes row_key, const struct row_view *row)
{
    struct redis_parts parts;

    if (!redis_parts_decode(row->value, &parts)) return; /* damaged: nothing can be found */
    if (call->limits->planted & REDIS_BUG_OVERWRITE_FORGETS_ID) return;
    struct redis_garbage garbage = redis_garbage_of(row_key, parts.id);
    redis_garbage_add(call, REDIS_GARBAGE_PARTS, &garbage);
}

/* --- garbage ------------------------------------------------------------------------------- */

void redis_garbage_key_store(uint8_t at[REDIS_GARBAGE_KEY_SIZE], const struct row_context *rows,
                             uint8_t kind, struct redis_part_id number)
{
    row_prefix_store(at, rows->slot_first, SERVICE_REDIS, REDIS_NAMESPACE_GARBAGE);
    at[ROW_PREFIX_SIZE] = kind;
    id_store(at + ROW_PREFIX_SIZE + 1, number);
}

bool redis_garbage_decode(struct bytes value, struct redis_garbage *ret_garbage)
{
    struct reader reader = reader_make(value);

    if (read_u8(&reader) != GARBAGE_FORMAT) return false;
    struct redis_garbage garbage = {.namespace = read_u32(&reader),
                                    .slot = read_u16(&reader),
                                    .id.index = read_u64(&reader),
                                    .id.number = read_u16(&reader),
                                    .staged_size = read_u64(&reader),
                                    .staged_at = read_u64(&reader),
                                    .chunk_size = read_u32(&reader)};
    if (reader.failed || garbage.chunk_size > REDIS_CHUNK_SIZE_MAX) return false;
    garbage.progress = read_bytes(&reader, reader_left(&reader));
    *ret_garbage = garbage;
    return true;
}

void redis_garbage_put(struct redis_call *call, struct bytes key,
                       const struct redis_garbage *garbage)
{
    uint8_t value[REDIS_GARBAGE_VALUE_SIZE + REDIS_PROGRESS_SIZE_MAX];
    size_t progress_size = garbage->progress.size;

    if (progress_size > REDIS_PROGRESS_SIZE_MAX) progress_size = REDIS_PROGRESS_SIZE_MAX;
    value[0] = GARBAGE_FORMAT;
    store_u32(value + 1, garbage->namespace);
    store_u16(value + 5, garbage->slot);
    store_u64(value + 7, garbage->id.index);
    store_u16(value + 15, garbage->id.number);
    store_u64(value + 17, garbage->staged_size);
    store_u64(value + 25, garbage->staged_at);
    store_u32(value + 33, garbage->chunk_size);
    if (progress_size)
        memcpy(value + REDIS_GARBAGE_VALUE_SIZE, garbage->progress.data, progress_size);
    row_put(call->rows, key, REDIS_ROW_MARK, 0, 0,
            bytes_make(value, REDIS_GARBAGE_VALUE_SIZE + progress_size));
}

void redis_garbage_add(struct redis_call *call, uint8_t kind, const struct redis_garbage *garbage)
{
    uint8_t key[REDIS_GARBAGE_KEY_SIZE];

    redis_front_hold(call->rows, kind, 0);
    redis_garbage_key_store(key, call->rows, kind, redis_part_id_new(call));
    redis_garbage_put(call, bytes_make(key, sizeof(key)), garbage);
    row_want_chore(call->rows, call->rows->time);
}

/* --- reminders ----------------------------------------------------------------------------- */

void redis_reminder_store(uint8_t at[REDIS_REMINDER_SIZE], const struct row_context *rows,
                          uint32_t namespace, uint64_t second, struct bytes row_key)
{
    row_prefix_store(at, rows->slot_first, SERVICE_REDIS, namespace | REDIS_NAMESPACE_REMINDERS);
    at += ROW_PREFIX_SIZE;
    at[0] = (uint8_t)(second >> 32);
    store_u32_be(at + 1, (uint32_t)second);
    store_u16_be(at + 5, load_u16_be(row_key.data));
    memcpy(at + 7, row_key.data + ROW_PREFIX_SIZE, REDIS_HASH_SIZE);
}

void redis_remind(struct redis_call *call, const struct redis_key *key, uint64_t expiry_ms)
{
    uint8_t reminder[REDIS_REMINDER_SIZE];
    uint64_t old_ms = redis_key_expiry(key);
    uint64_t second = redis_reminder_second(expiry_ms);

    if (expiry_ms == 0 || (old_ms && old_ms <= expiry_ms)) return;
    if (second >> SECOND_BITS) return; /* in 34 865 years: whoever meets it then deletes it */
    redis_front_hold(call->rows, 0, call->namespace | REDIS_NAMESPACE_REMINDERS);
    redis_reminder_store(reminder, call->rows, call->namespace, second, key->row_key);
    row_put(call->rows, bytes_make(reminder, sizeof(reminder)), REDIS_ROW_MARK, 0, 0,
            bytes_make(NULL, 0));
    row_want_chore(call->rows, (int64_t)(second + 1) * 1000000);
}
