/* export_value.c - values of several rows in a walk: as many as fit an answer become one record. */
#include "services/redis/export_walk.h"

enum { FIELD_PREFIX_SIZE = REDIS_PART_PREFIX_SIZE + REDIS_HASH_SIZE, SIZES_SIZE_MAX = 10 };

static struct bytes user_key(const struct export_walk *walk)
{
    return bytes_from(walk->suffix, REDIS_HASH_SIZE);
}

/* [from, to) of the id's parts, from `rest` behind the id on. */
static struct bytes part_key(struct export_walk *walk, struct redis_part_id id, struct bytes rest)
{
    struct arena *arena = walk->call->rows->arena;
    uint8_t stage[ROW_PREFIX_SIZE];
    uint8_t *at = arena_allocate(arena, REDIS_PART_PREFIX_SIZE + rest.size);

    redis_part_prefix_store(at, export_stage_prefix(walk, stage), id);
    if (rest.size) memcpy(at + REDIS_PART_PREFIX_SIZE, rest.data, rest.size);
    return bytes_make(at, REDIS_PART_PREFIX_SIZE + rest.size);
}

static struct redis_part_id next_id(struct redis_part_id id)
{
    id.number++;
    id.index += id.number == 0;
    return id;
}

/* What fits this answer. */
static size_t room_left(const struct export_walk *walk)
{
    size_t used = buffer_size(walk->out) + buffer_size(walk->piece);
    return used < walk->bytes_max ? walk->bytes_max - used : 0;
}

static bool may_look_on(const struct export_walk *walk)
{
    return room_left(walk) > 0 && export_walk_has_room(walk);
}

static void give_piece(struct export_walk *walk, uint64_t field_count)
{
    struct export_value *value = &walk->value;
    bool string = value->type == REDIS_ROW_STRING;
    uint8_t first = string ? EXPORT_STRING : EXPORT_HASH;
    struct export_record record = {.kind = value->begun ? (uint8_t)(first + 1) : first,
                                   .database = walk->stage,
                                   .key = user_key(walk),
                                   .expiry_ms = value->expiry_ms,
                                   .size = value->parts.size,
                                   .piece = buffer_bytes(walk->piece),
                                   .field_count = field_count};

    if (!export_record_write(walk->out, &record)) walk->damaged = true;
    value->begun = true;
    buffer_clear(walk->piece);
}

/* --- strings -------------------------------------------------------------------------------- */

static uint64_t string_at(const struct export_walk *walk)
{
    return walk->value.offset + buffer_size(walk->piece);
}

/* Zeros up to that offset, as far as there is room. */
static void fill(struct export_walk *walk, uint64_t to)
{
    uint64_t at = string_at(walk);
    size_t size = to > at ? (size_t)(to - at) : 0;

    if (size > room_left(walk)) size = room_left(walk);
    uint8_t *room = size ? buffer_reserve(walk->piece, size) : NULL;
    if (room == NULL) return;
    memset(room, 0, size);
    buffer_commit(walk->piece, size);
}

/* Chunks that are short or absent stand for zeros. An answer ends within a chunk, too. */
static bool on_chunk(void *context, struct bytes key, const struct row_view *row)
{
    struct export_walk *walk = context;
    const struct redis_parts *parts = &walk->value.parts;

    walk->rows++;
    walk->row_bytes += key.size + row->value.size;
    if (key.size != REDIS_CHUNK_KEY_SIZE) return true;
    uint64_t begin = (uint64_t)load_u32_be(key.data + REDIS_PART_PREFIX_SIZE) * parts->chunk_size;
    if (begin >= parts->size) return false;
    fill(walk, begin);
    if (string_at(walk) < begin) return false;

    uint64_t end = begin + row->value.size;
    uint64_t end_max = begin + parts->chunk_size;
    if (end_max > parts->size) end_max = parts->size;
    if (end > end_max) end = end_max;
    uint64_t from = string_at(walk);
    size_t size = end > from ? (size_t)(end - from) : 0;
    if (size > room_left(walk)) size = room_left(walk);
    if (size) buffer_append(walk->piece, bytes_make(row->value.data + (from - begin), size));
    return may_look_on(walk);
}

static enum row_result string_on(struct export_walk *walk)
{
    struct export_value *value = &walk->value;
    uint8_t chunk[sizeof(uint32_t)];

    store_u32_be(chunk, (uint32_t)(value->offset / value->parts.chunk_size));
    struct bytes from = part_key(walk, value->parts.id, bytes_make(chunk, sizeof(chunk)));
    struct bytes to = part_key(walk, next_id(value->parts.id), bytes_make(NULL, 0));
    enum row_result result = row_scan(walk->call->rows, from, to, walk, on_chunk);
    if (result == ROW_STOP) return result;
    if (may_look_on(walk)) fill(walk, value->parts.size); /* it went to the last chunk */
    uint64_t offset = string_at(walk);
    bool nothing = offset == value->offset && value->begun;
    if (!nothing) give_piece(walk, 0);
    value->offset = offset;
    value->over = offset == value->parts.size;
    return ROW_FOUND;
}

/* --- hashes --------------------------------------------------------------------------------- */

static bool on_field(void *context, struct bytes key, const struct row_view *row)
{
    struct export_walk *walk = context;

    if (!may_look_on(walk)) {
        struct bytes rest = bytes_from(key, REDIS_PART_PREFIX_SIZE);
        walk->value.field = arena_copy(walk->call->rows->arena, rest);
        walk->full = true;
        return false;
    }
    walk->rows++;
    walk->row_bytes += key.size + row->value.size;
    if (key.size < FIELD_PREFIX_SIZE) return true;
    struct writer writer = writer_make(walk->piece);
    write_sized(&writer, bytes_from(key, FIELD_PREFIX_SIZE));
    write_sized(&writer, row->value);
    walk->piece_count++;
    if (writer.failed) walk->damaged = true;
    return !walk->damaged;
}

static enum row_result hash_on(struct export_walk *walk)
{
    struct export_value *value = &walk->value;
    struct bytes from = part_key(walk, value->parts.id, value->field);
    struct bytes to = part_key(walk, next_id(value->parts.id), bytes_make(NULL, 0));

    walk->piece_count = 0;
    enum row_result result = row_scan(walk->call->rows, from, to, walk, on_field);
    if (result == ROW_STOP) return result;
    value->over = !walk->full;
    bool nothing = walk->piece_count == 0 && value->begun;
    if (!nothing) give_piece(walk, walk->piece_count);
    return ROW_FOUND;
}

enum row_result export_value_on(struct export_walk *walk)
{
    buffer_clear(walk->piece);
    return walk->value.type == REDIS_ROW_STRING ? string_on(walk) : hash_on(walk);
}
