#include "services/redis/hash_value.h"

enum {
    FIELD_PREFIX_SIZE = REDIS_PART_PREFIX_SIZE + REDIS_HASH_SIZE,
    FIELD_EFFECTS = FIELD_PREFIX_SIZE + 19, /* of a put beside field and value */
};

bool redis_hash_find(struct redis_call *call, struct redis_hash *ret_hash,
                     enum evaluate_result *ret_result)
{
    *ret_hash = (struct redis_hash){0};
    if (!redis_typed_find(call, call->arguments[1], REDIS_ROW_HASH, &ret_hash->key, ret_result))
        return false;
    ret_hash->large = redis_key_has_parts(&ret_hash->key);
    if (!ret_hash->large) return true;
    if (!redis_parts_decode(ret_hash->key.row.value, &ret_hash->parts)) {
        *ret_result = redis_reply_damaged(call);
        return false;
    }
    redis_parts_born(call, ret_hash->key.row_key, ret_hash->parts.id);
    return true;
}

bool redis_hash_load(struct redis_call *call, uint32_t fields, struct redis_hash *ret_hash,
                     enum evaluate_result *ret_result)
{
    if (!redis_hash_find(call, ret_hash, ret_result)) return false;
    if (ret_hash->large) return true;
    struct bytes value = ret_hash->key.row.value;
    if (hash_row_load(&ret_hash->row, call->rows->arena, value, fields)) return true;
    *ret_result = redis_reply_damaged(call);
    return false;
}

uint64_t redis_hash_count(const struct redis_hash *hash)
{
    struct reader reader = reader_make(hash->key.row.value);
    return hash->large ? hash->parts.size : hash_row_read_count(&reader);
}

static void field_prefix_store(uint8_t at[FIELD_PREFIX_SIZE], const struct redis_hash *hash,
                               uint64_t field_hash)
{
    redis_part_prefix_store(at, hash->key.row_key, hash->parts.id);
    store_u16_be(at + REDIS_PART_PREFIX_SIZE, (uint16_t)(field_hash >> 32));
    store_u32_be(at + REDIS_PART_PREFIX_SIZE + 2, (uint32_t)field_hash);
}

static struct bytes field_key(struct redis_call *call, const struct redis_hash *hash,
                              struct bytes field)
{
    uint8_t *at = arena_allocate(call->rows->arena, FIELD_PREFIX_SIZE + field.size);

    field_prefix_store(at, hash, redis_key_hash(call->rows, field));
    if (field.size) memcpy(at + FIELD_PREFIX_SIZE, field.data, field.size);
    return bytes_make(at, FIELD_PREFIX_SIZE + field.size);
}

bool redis_hash_want(struct redis_call *call, const struct redis_hash *hash, uint32_t first,
                     uint32_t step)
{
    if (!hash->large || row_table_complete(call->rows->table)) return true;
    if (call->count > EVALUATE_ROWS_MAX) return true; /* is refused when it gets there */
    for (uint32_t i = first; i < call->count && call->rows->wanted_count < WANTED_COUNT_MAX;
         i += step) {
        struct bytes field = call->arguments[i];
        if (field.size <= REDIS_FIELD_SIZE_MAX) row_want(call->rows, field_key(call, hash, field));
    }
    return !call->rows->need_rows;
}

/* The value of a field in the row as it was found, without taking the row apart. */
static enum row_result find_in_row(const struct redis_hash *hash, struct bytes name,
                                   struct bytes *ret_value)
{
    struct reader reader = reader_make(hash->key.row.value);
    struct hash_field field;

    for (uint64_t left = hash_row_read_count(&reader); left; left--) {
        if (!hash_row_read_field(&reader, &field)) return ROW_ABSENT; /* damaged */
        if (!bytes_equal(field.name, name)) continue;
        *ret_value = field.value;
        return ROW_FOUND;
    }
    return ROW_ABSENT;
}

enum row_result redis_hash_get(struct redis_call *call, struct redis_hash *hash, struct bytes field,
                               struct bytes *ret_value)
{
    struct row_view row;

    if (!hash->large && hash->row.arena == NULL) return find_in_row(hash, field, ret_value);
    if (!hash->large) {
        struct hash_field *found = hash_row_find(&hash->row, field);
        if (found) *ret_value = found->value;
        return found ? ROW_FOUND : ROW_ABSENT;
    }
    if (field.size > REDIS_FIELD_SIZE_MAX) return ROW_ABSENT; /* never stored */
    enum row_result result = row_get(call->rows, field_key(call, hash, field), &row);
    if (result == ROW_FOUND) *ret_value = row.value;
    return result;
}

/* --- changing ------------------------------------------------------------------------------- */

bool redis_hash_fits(struct redis_call *call, const struct redis_hash *hash, uint32_t first,
                     uint32_t count)
{
    /* Written as rows, which takes more than one row would. */
    size_t effects =
        hash->large ? 0
                    : (size_t)hash_row_live(&hash->row) * FIELD_EFFECTS + hash->key.row.value.size;

    for (uint32_t i = first; i + 1 < count; i += 2) {
        size_t name_size = call->arguments[i].size, value_size = call->arguments[i + 1].size;
        if (name_size > REDIS_FIELD_SIZE_MAX) {
            redis_reply_error(call, "ERR field exceeds maximum allowed size (65536 bytes in this "
                                    "version of Holon)");
            return false;
        }
        if (value_size > REDIS_VALUE_SIZE_MAX) {
            redis_reply_error(call, "ERR value of a field exceeds maximum allowed size (262144 "
                                    "bytes in this version of Holon)");
            return false;
        }
        effects += name_size + value_size + FIELD_EFFECTS;
    }
    return redis_key_fits(call, call->arguments[1].size, 0, effects);
}

static bool fits_row(const struct redis_call *call, const struct redis_hash *hash)
{
    return hash_row_live(&hash->row) <= call->limits->hash_row_fields_max &&
           hash_row_size(&hash->row) <= call->limits->hash_row_bytes_max;
}

enum row_result redis_hash_put(struct redis_call *call, struct redis_hash *hash, struct bytes field,
                               struct bytes value)
{
    struct row_view old;

    hash->changed++;
    if (!hash->large) return hash_row_put(&hash->row, field, value) ? ROW_ABSENT : ROW_FOUND;
    struct bytes key = field_key(call, hash, field);
    enum row_result result = row_get(call->rows, key, &old);
    if (result == ROW_STOP) return result;
    hash->parts.size += result == ROW_ABSENT;
    row_put(call->rows, key, REDIS_ROW_HASH, 0, 0, value);
    return result;
}

enum row_result redis_hash_remove(struct redis_call *call, struct redis_hash *hash,
                                  struct bytes field)
{
    struct row_view old;

    if (!hash->large) {
        struct hash_field *found = hash_row_find(&hash->row, field);
        if (found == NULL) return ROW_ABSENT;
        hash_row_remove(&hash->row, found);
        hash->changed++;
        return ROW_FOUND;
    }
    if (field.size > REDIS_FIELD_SIZE_MAX) return ROW_ABSENT;
    struct bytes key = field_key(call, hash, field);
    enum row_result result = row_get(call->rows, key, &old);
    if (result != ROW_FOUND) return result;
    row_delete(call->rows, key);
    hash->changed++;
    if (hash->parts.size) hash->parts.size--;
    return ROW_FOUND;
}

/* From one row to a row per field. */
static void grow(struct redis_call *call, struct redis_hash *hash)
{
    hash->parts =
        (struct redis_parts){.id = redis_part_id_new(call), .size = hash_row_live(&hash->row)};
    redis_parts_born(call, hash->key.row_key, hash->parts.id);
    for (uint32_t i = 0; i < hash->row.count; i++) {
        const struct hash_field *field = &hash->row.fields[i];
        if (field->removed) continue;
        row_put(call->rows, field_key(call, hash, field->name), REDIS_ROW_HASH, 0, 0, field->value);
    }
    hash->large = true;
}

void redis_hash_store(struct redis_call *call, struct redis_hash *hash)
{
    uint64_t expiry_ms = redis_key_expiry(&hash->key);

    if (hash->changed == 0) return;
    uint64_t count = hash->large ? hash->parts.size : hash_row_live(&hash->row);
    if (count == 0) {
        if (hash->key.exists) redis_key_delete(call, &hash->key);
        return;
    }
    if (!hash->large && fits_row(call, hash)) {
        redis_key_put(call, &hash->key, REDIS_ROW_HASH, expiry_ms, hash_row_encode(&hash->row));
        return;
    }
    if (!hash->large) grow(call, hash);
    redis_key_put_parts(call, &hash->key, REDIS_ROW_HASH, expiry_ms, &hash->parts);
}

/* --- walking -------------------------------------------------------------------------------- */

struct each {
    void *context;
    bool (*on_field)(void *context, uint64_t field_hash, struct bytes field, struct bytes value);
};

static bool on_row(void *context, struct bytes key, const struct row_view *row)
{
    const struct each *each = context;

    if (key.size < FIELD_PREFIX_SIZE) return true;
    const uint8_t *at = key.data + REDIS_PART_PREFIX_SIZE;
    uint64_t field_hash = (uint64_t)load_u16_be(at) << 32 | load_u32_be(at + 2);
    return each->on_field(each->context, field_hash, bytes_from(key, FIELD_PREFIX_SIZE),
                          row->value);
}

enum row_result redis_hash_each(struct redis_call *call, const struct redis_hash *hash,
                                uint64_t from, void *context,
                                bool (*on_field)(void *context, uint64_t field_hash,
                                                 struct bytes field, struct bytes value))
{
    struct each each = {.context = context, .on_field = on_field};
    uint8_t first[FIELD_PREFIX_SIZE], last[REDIS_PART_PREFIX_SIZE];

    if (!hash->large) {
        struct reader reader = reader_make(hash->key.row.value);
        struct hash_field field;
        for (uint64_t left = hash_row_read_count(&reader); left; left--) {
            if (!hash_row_read_field(&reader, &field)) break;
            if (!on_field(context, 0, field.name, field.value)) break;
        }
        return ROW_FOUND;
    }
    field_prefix_store(first, hash, from);
    /* Up to where the next id would begin. */
    struct redis_part_id next = hash->parts.id;
    next.number++;
    next.index += next.number == 0;
    redis_part_prefix_store(last, hash->key.row_key, next);
    return row_scan(call->rows, bytes_make(first, sizeof(first)), bytes_make(last, sizeof(last)),
                    &each, on_row);
}
