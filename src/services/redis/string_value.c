#include "services/redis/string_value.h"

#include "services/redis/stage.h"

enum { CHUNK_OVERHEAD = REDIS_CHUNK_KEY_SIZE + 19 }; /* of a put beside its value */

bool redis_string_of(struct redis_call *call, const struct redis_key *key,
                     struct redis_string *ret_string)
{
    *ret_string = (struct redis_string){.key = *key, .chunked = redis_key_has_parts(key)};
    if (!ret_string->chunked) {
        ret_string->size = key->exists ? key->row.value.size : 0;
        return true;
    }
    bool sound = redis_parts_decode(key->row.value, &ret_string->parts) &&
                 ret_string->parts.chunk_size > 0 &&
                 ret_string->parts.size <= REDIS_STRING_SIZE_MAX;
    ret_string->size = ret_string->parts.size;
    if (!sound) redis_reply_damaged(call);
    return sound;
}

bool redis_string_find(struct redis_call *call, struct bytes key, struct redis_string *ret_string,
                       enum evaluate_result *ret_result)
{
    struct redis_key found;

    if (!redis_typed_find(call, key, REDIS_ROW_STRING, &found, ret_result)) return false;
    *ret_result = EVALUATE_DONE;
    return redis_string_of(call, &found, ret_string);
}

/* --- chunks -------------------------------------------------------------------------------- */

static void chunk_key_store(uint8_t at[REDIS_CHUNK_KEY_SIZE], struct bytes row_key,
                            struct redis_part_id id, uint64_t chunk)
{
    redis_part_prefix_store(at, row_key, id);
    store_u32_be(at + REDIS_PART_PREFIX_SIZE, (uint32_t)chunk);
}

struct chunk_copy {
    uint8_t *room; /* zeroed */
    uint64_t first, size;
    uint32_t chunk_size;
};

static bool copy_chunk(void *context, struct bytes key, const struct row_view *row)
{
    const struct chunk_copy *copy = context;

    if (key.size != REDIS_CHUNK_KEY_SIZE) return true;
    uint64_t begin = (uint64_t)load_u32_be(key.data + REDIS_PART_PREFIX_SIZE) * copy->chunk_size;
    uint64_t end =
        begin + (row->value.size < copy->chunk_size ? row->value.size : copy->chunk_size);
    if (begin < copy->first) begin = copy->first;
    if (end > copy->first + copy->size) end = copy->first + copy->size;
    if (begin >= end) return true;
    memcpy(copy->room + (begin - copy->first), row->value.data + begin % copy->chunk_size,
           end - begin);
    return true;
}

static enum row_result reply_chunks(struct redis_call *call, const struct redis_string *string,
                                    uint64_t first, uint64_t size)
{
    uint8_t from[REDIS_CHUNK_KEY_SIZE], to[REDIS_CHUNK_KEY_SIZE];
    const struct redis_parts *parts = &string->parts;

    resp_write_bulk_head(&call->out, size);
    uint8_t *room = call->out.failed ? NULL : buffer_reserve(call->out.buffer, size);
    if (room == NULL) {
        call->out.failed = true;
        return ROW_FOUND;
    }
    memset(room, 0, size);
    struct chunk_copy copy = {
        .room = room, .first = first, .size = size, .chunk_size = parts->chunk_size};
    chunk_key_store(from, string->key.row_key, parts->id, first / parts->chunk_size);
    chunk_key_store(to, string->key.row_key, parts->id, (first + size - 1) / parts->chunk_size + 1);
    enum row_result result = row_scan(call->rows, bytes_make(from, sizeof(from)),
                                      bytes_make(to, sizeof(to)), &copy, copy_chunk);
    buffer_commit(call->out.buffer, size);
    resp_write_raw(&call->out, bytes_make("\r\n", 2));
    return result;
}

enum row_result redis_string_reply(struct redis_call *call, const struct redis_string *string,
                                   uint64_t first, uint64_t size)
{
    if (!string->key.exists) {
        resp_write_null(&call->out);
        return ROW_FOUND;
    }
    if (string->chunked && size) return reply_chunks(call, string, first, size);
    const uint8_t *data = string->key.row.value.data;
    resp_write_bulk(&call->out, size ? bytes_make(data + first, size) : bytes_make(NULL, 0));
    return ROW_FOUND;
}

/* `part` lies within one chunk, `at` bytes from its start. */
static enum row_result write_chunk(struct redis_call *call, struct bytes row_key,
                                   const struct redis_parts *parts, uint64_t chunk, size_t at,
                                   struct bytes part)
{
    uint8_t key[REDIS_CHUNK_KEY_SIZE];
    struct row_view old;
    struct bytes value = part;

    chunk_key_store(key, row_key, parts->id, chunk);
    if (part.size < parts->chunk_size) {
        enum row_result result = row_get(call->rows, bytes_make(key, sizeof(key)), &old);
        if (result == ROW_STOP) return result;
        size_t old_size = result == ROW_FOUND ? old.value.size : 0;
        size_t size = at + part.size > old_size ? at + part.size : old_size;
        uint8_t *room = arena_allocate(call->rows->arena, size);
        if (old_size) memcpy(room, old.value.data, old_size);
        if (at > old_size) memset(room + old_size, 0, at - old_size);
        memcpy(room + at, part.data, part.size);
        value = bytes_make(room, size);
    }
    row_put(call->rows, bytes_make(key, sizeof(key)), REDIS_ROW_STRING, 0, 0, value);
    return ROW_FOUND;
}

enum row_result redis_chunks_write(struct redis_call *call, struct bytes row_key,
                                   const struct redis_parts *parts, uint64_t offset,
                                   struct bytes part)
{
    redis_parts_born(call, row_key, parts->id);
    while (part.size) {
        size_t at = offset % parts->chunk_size;
        size_t room = parts->chunk_size - at;
        struct bytes piece = bytes_make(part.data, part.size < room ? part.size : room);
        enum row_result result =
            write_chunk(call, row_key, parts, offset / parts->chunk_size, at, piece);
        if (result == ROW_STOP) return result;
        offset += piece.size;
        part = bytes_from(part, piece.size);
    }
    return ROW_FOUND;
}

/* The first and the last chunk may be written whole for a byte in them. */
size_t redis_chunks_effects(uint32_t chunk_size, size_t size)
{
    return size + 2 * (size_t)chunk_size + (size / chunk_size + 2) * CHUNK_OVERHEAD;
}

/* --- writing ------------------------------------------------------------------------------- */

size_t redis_string_effects(const struct redis_call *call, uint32_t index)
{
    const struct redis_limits *limits = call->limits;
    size_t size = call->arguments[index].size;

    if (redis_reference_of(call, index)) return REDIS_STAGE_EFFECTS;
    /* From the start of a chunk on: none is written twice. */
    return size <= limits->string_row_max ? size
                                          : size + (size / limits->chunk_size + 1) * CHUNK_OVERHEAD;
}

bool redis_string_fits(struct redis_call *call, size_t key_size, uint32_t index)
{
    const struct redis_reference *reference = redis_reference_of(call, index);
    uint64_t size = reference ? reference->size : call->arguments[index].size;

    return redis_key_fits(call, key_size, size, redis_string_effects(call, index));
}

bool redis_string_put(struct redis_call *call, const struct redis_key *key, uint64_t expiry_ms,
                      uint32_t index, enum evaluate_result *ret_result)
{
    struct bytes value = call->arguments[index];
    const struct redis_reference *reference = redis_reference_of(call, index);
    struct redis_parts parts = {.size = value.size, .chunk_size = call->limits->chunk_size};

    *ret_result = EVALUATE_DONE;
    if (reference) {
        if (!redis_stage_adopt(call, key->row_key, index, &parts, ret_result)) return false;
    } else if (value.size <= call->limits->string_row_max) {
        return redis_key_put(call, key, REDIS_ROW_STRING, expiry_ms, value);
    } else {
        parts.id = redis_part_id_new(call);
        if (redis_chunks_write(call, key->row_key, &parts, 0, value) == ROW_STOP) {
            *ret_result = redis_stop(call);
            return false;
        }
    }
    redis_key_put_parts(call, key, REDIS_ROW_STRING, expiry_ms, &parts);
    return true;
}

/* Old bytes and the part in one row. */
static bool write_row(struct redis_call *call, const struct redis_string *string, uint64_t offset,
                      struct bytes part, uint64_t size)
{
    struct bytes old = string->key.exists ? string->key.row.value : bytes_make(NULL, 0);
    uint8_t *room = arena_allocate(call->rows->arena, size);

    if (old.size) memcpy(room, old.data, old.size);
    if (size > old.size) memset(room + old.size, 0, size - old.size);
    if (part.size) memcpy(room + offset, part.data, part.size);
    return redis_key_put(call, &string->key, REDIS_ROW_STRING, redis_key_expiry(&string->key),
                         bytes_make(room, size));
}

bool redis_string_write(struct redis_call *call, const struct redis_string *string, uint64_t offset,
                        struct bytes part, enum evaluate_result *ret_result)
{
    const struct redis_key *key = &string->key;
    size_t key_size = key->row_key.size - REDIS_ROW_PREFIX_SIZE;
    uint64_t end = offset + part.size;
    uint64_t size = end > string->size ? end : string->size;
    struct redis_parts parts = string->parts;
    bool one_row = !string->chunked && size <= call->limits->string_row_max;

    *ret_result = EVALUATE_DONE;
    if (!string->chunked) parts = (struct redis_parts){.chunk_size = call->limits->chunk_size};
    size_t effects = redis_chunks_effects(parts.chunk_size, part.size) +
                     (string->chunked ? 0 : redis_chunks_effects(parts.chunk_size, string->size));
    if (!redis_key_fits(call, key_size, size, one_row ? size : effects)) return false;
    if (one_row) return write_row(call, string, offset, part, size);

    bool stopped = false;
    if (!string->chunked) {
        parts.id = redis_part_id_new(call);
        struct bytes old = key->exists ? key->row.value : bytes_make(NULL, 0);
        stopped = redis_chunks_write(call, key->row_key, &parts, 0, old) == ROW_STOP;
    }
    stopped = stopped || redis_chunks_write(call, key->row_key, &parts, offset, part) == ROW_STOP;
    if (stopped) {
        *ret_result = redis_stop(call);
        return false;
    }
    parts.size = size;
    redis_key_put_parts(call, key, REDIS_ROW_STRING, redis_key_expiry(key), &parts);
    return true;
}
