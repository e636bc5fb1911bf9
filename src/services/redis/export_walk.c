#include "services/redis/export_walk.h"

#include "services/redis/hash_row.h"

enum { LOCKS_FLOOR_SIZE = 9 };
#define LOCKS_FLOOR UINT32_C(0xffffffff)
enum { NEXT_SIZE = 1 }; /* a key with a byte 0 behind it is the next one that there can be */

struct bytes export_stage_prefix(const struct export_walk *walk, uint8_t at[ROW_PREFIX_SIZE])
{
    enum { SERVICE_PREFIX_SIZE = 3 };

    if (walk->stage == EXPORT_STAGE_LOCKS) {
        row_prefix_store(at, walk->slot, SERVICE_LOCK, 0);
        return bytes_make(at, SERVICE_PREFIX_SIZE);
    }
    row_prefix_store(at, walk->slot, SERVICE_REDIS, walk->namespaces[walk->stage]);
    return bytes_make(at, ROW_PREFIX_SIZE);
}

bool export_walk_has_room(const struct export_walk *walk)
{
    return buffer_size(walk->out) < walk->bytes_max && walk->rows < EXPORT_ROWS_MAX &&
           walk->row_bytes < EXPORT_ROW_BYTES_MAX;
}

static void next_stage(struct export_walk *walk)
{
    walk->suffix = bytes_make(NULL, 0);
    walk->stage++;
    if (walk->stage < EXPORT_STAGES) return;
    walk->stage = 0;
    walk->slot++;
}

/* Known from an earlier look to have no rows? Costs nothing, where a look may cost a fetch. */
static bool stage_is_in_gap(const struct export_walk *walk)
{
    uint8_t at[ROW_PREFIX_SIZE];
    struct bytes prefix = export_stage_prefix(walk, at);

    if (walk->gap_to.size == 0 || walk->suffix.size) return false;
    /* The gap ends before the first row behind it, which may begin with the prefix. */
    return bytes_compare(walk->gap_from, prefix) <= 0 && bytes_compare(prefix, walk->gap_to) < 0 &&
           !bytes_starts_with(walk->gap_to, prefix);
}

/* --- rows ----------------------------------------------------------------------------------- */

static void give(struct export_walk *walk, const struct export_record *record)
{
    if (!export_record_write(walk->out, record)) walk->damaged = true; /* larger than rows may be */
}

static void give_string(struct export_walk *walk, struct export_record *record,
                        const struct row_view *row)
{
    record->kind = EXPORT_STRING;
    record->size = row->value.size;
    record->piece = row->value;
    give(walk, record);
}

static void give_hash(struct export_walk *walk, struct export_record *record,
                      const struct row_view *row)
{
    struct reader reader = reader_make(row->value);
    struct hash_field field;

    record->kind = EXPORT_HASH;
    record->size = record->field_count = hash_row_read_count(&reader);
    record->piece = bytes_make(reader.next, reader_left(&reader));
    for (uint64_t left = record->size; left; left--)
        if (!hash_row_read_field(&reader, &field)) break;
    if (reader.failed || reader_left(&reader) || record->size == 0)
        walk->damaged = true;
    else
        give(walk, record);
}

static void open_value(struct export_walk *walk, const struct row_view *row)
{
    struct export_value value = {.type = row->header.type, .expiry_ms = row->header.expiry};
    bool string = value.type == REDIS_ROW_STRING;
    bool sound = redis_parts_decode(row->value, &value.parts);

    if (sound && string)
        sound = value.parts.chunk_size > 0 && value.parts.size <= REDIS_STRING_SIZE_MAX;
    if (sound && !string) sound = value.parts.size > 0;
    if (sound)
        walk->value = value;
    else
        walk->damaged = true;
}

/* False: stop here, the value or what is wrong comes first. */
static bool on_key(struct export_walk *walk, struct bytes key, const struct row_view *row)
{
    uint64_t since = walk->since[walk->stage];
    struct export_record record = {.database = walk->stage,
                                   .key = bytes_from(key, REDIS_ROW_PREFIX_SIZE),
                                   .expiry_ms = row->header.expiry};
    bool expired = row->header.expiry != 0 && walk->call->now_ms > (int64_t)row->header.expiry;

    if (expired) return true;
    /* The row of a key is written with each change of its value, whatever rows that has. */
    if (since && row->header.version <= since) {
        record.kind = EXPORT_SAME;
        give(walk, &record);
    } else if (row->header.flags & REDIS_ROW_PARTS) {
        open_value(walk, row);
        return false;
    } else if (row->header.type == REDIS_ROW_STRING) {
        give_string(walk, &record, row);
    } else if (row->header.type == REDIS_ROW_HASH) {
        give_hash(walk, &record, row);
    } else {
        walk->damaged = true;
    }
    return !walk->damaged;
}

/* What is added to each index to make a token of it (services/redis/lock.h has the rows). */
static bool find_floor(struct export_walk *walk)
{
    struct row_context *rows = walk->call->rows;
    uint8_t key[ROW_PREFIX_SIZE];
    struct row_view row;

    if (walk->has_floor) return true;
    row_prefix_store(key, rows->slot_first, SERVICE_LOCK, LOCKS_FLOOR);
    enum row_result result = row_get(rows, bytes_make(key, sizeof(key)), &row);
    bool sound = result == ROW_FOUND && row.value.size == LOCKS_FLOOR_SIZE;
    walk->floor = sound ? load_u64(row.value.data + 1) : 0;
    walk->has_floor = result != ROW_STOP;
    return walk->has_floor;
}

/* [slot][SERVICE_LOCK][database][hash][name]: a token is the index of the entry that gave it, and
 * the floor on top; the row's version is the index of the last one. Locks that nobody holds have no
 * row: below the floor and the index of the log are all that there were. */
static bool on_lock(struct export_walk *walk, struct bytes key, const struct row_view *row)
{
    uint32_t database = load_u32_be(key.data + 3);
    struct export_record record = {.kind = EXPORT_LOCK};
    bool floor = database == LOCKS_FLOOR;

    if (!floor && (database >= EXPORT_DATABASES || key.size < REDIS_ROW_PREFIX_SIZE)) return true;
    if (!find_floor(walk)) return false; /* runs again when it is there */
    record.token = walk->floor + (floor ? walk->call->rows->commit_index : row->header.version);
    if (!floor) {
        record.database = (uint8_t)database;
        record.key = bytes_from(key, REDIS_ROW_PREFIX_SIZE);
    }
    give(walk, &record);
    return !walk->damaged;
}

static bool on_row(void *context, struct bytes key, const struct row_view *row)
{
    struct export_walk *walk = context;
    struct arena *arena = walk->call->rows->arena;
    uint8_t at[ROW_PREFIX_SIZE];
    struct bytes prefix = export_stage_prefix(walk, at);
    bool ours = bytes_starts_with(key, prefix);

    if (!ours) {
        walk->gap_to = arena_copy(arena, key);
        next_stage(walk);
        return false;
    }
    bool locks = walk->stage == EXPORT_STAGE_LOCKS;
    if (!locks && key.size < REDIS_ROW_PREFIX_SIZE) return true; /* none that this version knows */
    if (!export_walk_has_room(walk)) {
        walk->suffix = arena_copy(arena, bytes_from(key, prefix.size));
        walk->full = true;
        return false;
    }
    walk->rows++;
    walk->row_bytes += key.size + row->value.size;
    bool on = locks ? on_lock(walk, key, row) : on_key(walk, key, row);
    if (!on) walk->suffix = arena_copy(arena, bytes_from(key, prefix.size));
    return on;
}

/* --- the walk ------------------------------------------------------------------------------- */

/* From the place on to the first row that is not of its stage, or to the end of the partition: the
 * rows that come next are most often of the next stage, and one fetch brings both. */
static enum row_result scan_stage(struct export_walk *walk)
{
    struct row_context *rows = walk->call->rows;
    uint8_t to[sizeof(uint16_t)], at[ROW_PREFIX_SIZE];
    struct bytes prefix = export_stage_prefix(walk, at);
    uint8_t *from = arena_allocate(rows->arena, prefix.size + walk->suffix.size);
    uint16_t slot = walk->slot;
    uint8_t stage = walk->stage;

    memcpy(from, prefix.data, prefix.size);
    if (walk->suffix.size) memcpy(from + prefix.size, walk->suffix.data, walk->suffix.size);
    store_u16_be(to, (uint16_t)(rows->slot_last + 1));
    walk->gap_from = bytes_make(from, prefix.size + walk->suffix.size);
    walk->gap_to = bytes_make(NULL, 0);
    enum row_result result =
        row_scan(rows, walk->gap_from, bytes_make(to, sizeof(to)), walk, on_row);
    bool stays = walk->slot == slot && walk->stage == stage;
    if (result == ROW_STOP || !stays || walk->full || walk->value.type || walk->damaged)
        return result;
    walk->gap_to = arena_copy(rows->arena, bytes_make(to, sizeof(to))); /* no row comes behind */
    next_stage(walk);
    return result;
}

/* Behind the key whose value was given. */
static void close_value(struct export_walk *walk)
{
    size_t size = walk->suffix.size;
    uint8_t *next = arena_allocate(walk->call->rows->arena, size + NEXT_SIZE);

    memcpy(next, walk->suffix.data, size);
    next[size] = 0;
    walk->suffix = bytes_make(next, size + NEXT_SIZE);
    walk->value = (struct export_value){0};
}

enum row_result export_walk_on(struct export_walk *walk)
{
    while (!walk->full && !walk->damaged && !export_walk_is_over(walk)) {
        enum row_result result = ROW_FOUND;

        if (walk->value.type == 0 && stage_is_in_gap(walk)) {
            next_stage(walk);
            continue;
        }
        bool may_look = walk->scans == 0 || row_may_seek(walk->call->rows);
        if (!may_look || !export_walk_has_room(walk)) {
            walk->full = true;
            break;
        }
        walk->scans++;
        if (walk->value.type)
            result = export_value_on(walk);
        else
            result = scan_stage(walk);
        if (result == ROW_STOP) return ROW_STOP;
        if (walk->value.over) close_value(walk);
    }
    return ROW_FOUND;
}
