#include "partition/row_context.h"

#include "base/assert.h"
#include "base/hash.h"

enum { PENDING_LINEAR_MAX = 8, DROPS_MAX = 16, TOMBSTONES_PER_ROW = 16 };

enum pending_kind { PENDING_PUT, PENDING_DELETE };

/* The last write of this evaluation to one key. Key and value are not copied: they stand in the
 * effects, which may move, at these offsets. */
struct pending_write {
    size_t key_at, value_at;
    uint32_t key_size, value_size;
    enum pending_kind kind;
    struct row_header header; /* put */
};

struct row_pending {
    struct pending_write *writes;
    uint32_t *index; /* hash table of positions + 1 in writes, once there are more than 8 */
    size_t index_size;
    size_t drop_count;
    uint64_t drops[DROPS_MAX]; /* service << 32 | namespace */
};

/* Keyed, so that no client can choose keys that fall on one place. */
static uint64_t pending_hash(const struct row_context *rows, struct bytes key)
{
    return hash64(rows->hash_secret[0], key);
}

static uint64_t namespace_of(struct bytes key)
{
    return (uint64_t)key.data[2] << 32 | load_u32_be(key.data + 3);
}

void row_context_begin(struct row_context *rows, struct row_table *table, struct arena *arena,
                       struct buffer *effects, uint64_t commit_index, int64_t time,
                       uint64_t random_seed)
{
    rows->table = table;
    rows->time = time;
    rows->random_state = random_seed;
    rows->arena = arena;
    rows->commit_index = commit_index;
    rows->effects = effects;
    rows->effect_count = 0;
    rows->dep = 0;
    rows->rows_left = EVALUATE_ROWS_MAX;
    rows->bytes_left = EVALUATE_BYTES_MAX;
    rows->over_budget = false;
    rows->need_rows = false;
    rows->wanted_count = 0;
    rows->wanted = NULL;
    rows->ranges = NULL;
    rows->range_count = 0;
    rows->ranges_used = 0;
    rows->engine_index = UINT64_MAX;
    rows->born = bytes_make(NULL, 0);
    rows->seeks_max = UINT32_MAX;
    rows->expired_at = INT64_MIN;
    rows->chore_at = INT64_MAX;
    rows->databases_in_memory = 0;
    rows->written_is_enough = false;
    rows->pending = NULL;
    rows->pending_count = 0;
    rows->pending_capacity = 0;
}

void row_context_end(struct row_context *rows)
{
    rows->pending = NULL; /* was of the arena */
    rows->pending_count = 0;
    rows->pending_capacity = 0;
}

/* Own writes of this evaluation. */

static struct bytes effects_at(const struct row_context *rows, size_t at, size_t size)
{
    return bytes_make(buffer_bytes(rows->effects).data + at, size);
}

static struct bytes pending_key(const struct row_context *rows, const struct pending_write *write)
{
    return effects_at(rows, write->key_at, write->key_size);
}

static struct pending_write *pending_find(const struct row_context *rows, struct bytes key)
{
    struct row_pending *pending = rows->pending;
    if (rows->pending_count == 0) return NULL;
    if (pending->index_size == 0) {
        for (size_t i = 0; i < rows->pending_count; i++) {
            struct pending_write *write = &pending->writes[i];
            if (bytes_equal(pending_key(rows, write), key)) return write;
        }
        return NULL;
    }
    size_t mask = pending->index_size - 1;
    for (size_t at = pending_hash(rows, key) & mask; pending->index[at]; at = (at + 1) & mask) {
        struct pending_write *write = &pending->writes[pending->index[at] - 1];
        if (bytes_equal(pending_key(rows, write), key)) return write;
    }
    return NULL;
}

static void pending_index(struct row_context *rows, size_t position)
{
    struct row_pending *pending = rows->pending;
    size_t mask = pending->index_size - 1;
    size_t at = pending_hash(rows, pending_key(rows, &pending->writes[position])) & mask;
    while (pending->index[at])
        at = (at + 1) & mask;
    pending->index[at] = (uint32_t)position + 1;
}

static void pending_grow(struct row_context *rows)
{
    struct row_pending *pending = rows->pending;
    size_t capacity = rows->pending_capacity ? rows->pending_capacity * 4 : PENDING_LINEAR_MAX;
    struct pending_write *writes = arena_allocate(rows->arena, capacity * sizeof(*writes));
    if (rows->pending_count) memcpy(writes, pending->writes, rows->pending_count * sizeof(*writes));
    pending->writes = writes;
    rows->pending_capacity = capacity;
    if (capacity == PENDING_LINEAR_MAX) return;

    pending->index_size = capacity * 2;
    size_t size = pending->index_size * sizeof(*pending->index);
    pending->index = memset(arena_allocate(rows->arena, size), 0, size);
    for (size_t i = 0; i < rows->pending_count; i++)
        pending_index(rows, i);
}

static struct row_pending *pending_make(struct row_context *rows)
{
    if (rows->pending == NULL) {
        rows->pending = arena_allocate(rows->arena, sizeof(*rows->pending));
        *rows->pending = (struct row_pending){0};
    }
    return rows->pending;
}

/* The entry of a key, made if there is none. The key stands in the effects at `key_at`. */
static struct pending_write *pending_of(struct row_context *rows, size_t key_at, size_t key_size)
{
    struct row_pending *pending = pending_make(rows);
    struct pending_write *write = pending_find(rows, effects_at(rows, key_at, key_size));
    if (write) return write;
    if (rows->pending_count == rows->pending_capacity) pending_grow(rows);
    size_t position = rows->pending_count++;
    write = &pending->writes[position];
    write->key_at = key_at;
    write->key_size = (uint32_t)key_size;
    if (pending->index_size) pending_index(rows, position);
    return write;
}

/* Into the arena: what an evaluation was given stays as it is while it writes on. */
static struct bytes pending_value(const struct row_context *rows, const struct pending_write *write)
{
    return arena_copy(rows->arena, effects_at(rows, write->value_at, write->value_size));
}

static bool dropped(const struct row_context *rows, uint64_t namespace)
{
    if (rows->pending == NULL) return false;
    for (size_t i = 0; i < rows->pending->drop_count; i++) {
        if (rows->pending->drops[i] == namespace) return true;
    }
    return false;
}

/* Reads. */

static void consult(struct row_context *rows, uint64_t version)
{
    if (version > rows->commit_index && version > rows->dep) rows->dep = version;
}

static bool spend(struct row_context *rows, size_t bytes)
{
    if (rows->over_budget || rows->rows_left == 0 || rows->bytes_left < bytes) {
        rows->over_budget = true;
        return false;
    }
    rows->rows_left--;
    rows->bytes_left -= bytes;
    return true;
}

static bool is_first_wanted(const struct row_context *rows, struct bytes from, struct bytes to)
{
    if (rows->wanted_count == 0) return false;
    struct reader reader = reader_make(buffer_bytes(rows->wanted));
    return bytes_equal(read_bytes(&reader, read_u32(&reader)), from) &&
           bytes_equal(read_bytes(&reader, read_u32(&reader)), to);
}

/* Notes what has to be fetched: a key, or a range if `to` is not empty. */
static void want(struct row_context *rows, struct bytes from, struct bytes to)
{
    rows->need_rows = true;
    if (rows->wanted == NULL || rows->wanted_count == WANTED_COUNT_MAX) return;
    if (is_first_wanted(rows, from, to)) return; /* named ahead, and now met */
    struct writer writer = writer_make(rows->wanted);
    write_u32(&writer, (uint32_t)from.size);
    write_bytes(&writer, from);
    write_u32(&writer, (uint32_t)to.size);
    write_bytes(&writer, to);
    ASSERT(!writer.failed);
    rows->wanted_count++;
}

/* The fetched range that a key lies in, or NULL. */
static const struct row_range *range_of(const struct row_context *rows, struct bytes key)
{
    for (uint32_t i = 0; i < rows->range_count; i++) {
        const struct row_range *range = &rows->ranges[i];
        if (bytes_compare(range->from, key) <= 0 && bytes_compare(key, range->to) < 0) return range;
    }
    return NULL;
}

void row_born(struct row_context *rows, struct bytes prefix, uint64_t index)
{
    rows->born = index > rows->engine_index ? prefix : bytes_make(NULL, 0);
}

/* Only what was flushed leaves the table. */
static bool is_unborn(const struct row_context *rows, struct bytes key)
{
    size_t size = rows->born.size;
    return size > 0 && key.size >= size && memcmp(key.data, rows->born.data, size) == 0;
}

/* What the table has of a key, through drops of this evaluation. ROW_STOP: it does not know,
 * and the key is wanted now. */
static enum row_result table_find(struct row_context *rows, struct bytes key, struct row_found *ret)
{
    if (dropped(rows, namespace_of(key))) return ROW_ABSENT;
    if (row_table_get(rows->table, key, ret)) return ret->tombstone ? ROW_ABSENT : ROW_FOUND;
    ret->header.version = 0;
    if (row_table_complete(rows->table) || is_unborn(rows, key) || range_of(rows, key) != NULL)
        return ROW_ABSENT;
    want(rows, key, bytes_make(NULL, 0));
    return ROW_STOP;
}

static enum row_result table_get(struct row_context *rows, struct bytes key, struct row_found *ret)
{
    ret->header.version = 0;
    enum row_result result = table_find(rows, key, ret);
    if (result != ROW_STOP) consult(rows, ret->header.version);
    return result;
}

/* Whether a key has a live row, own writes of this evaluation included. */
static enum row_result lives(struct row_context *rows, struct bytes key)
{
    struct row_found found;
    const struct pending_write *write = pending_find(rows, key);
    if (write) return write->kind == PENDING_PUT ? ROW_FOUND : ROW_ABSENT;
    return table_find(rows, key, &found);
}

void row_want(struct row_context *rows, struct bytes key)
{
    if (row_table_complete(rows->table) || key.size > ROW_KEY_SIZE_MAX) return;
    lives(rows, key);
}

enum row_result row_get(struct row_context *rows, struct bytes key, struct row_view *ret)
{
    ASSERT(key.size >= ROW_PREFIX_SIZE);
    struct row_found found;
    const struct pending_write *write = pending_find(rows, key);
    if (write) {
        if (!spend(rows, write->value_size)) return ROW_STOP;
        if (write->kind == PENDING_DELETE) return ROW_ABSENT;
        *ret = (struct row_view){.header = write->header, .value = pending_value(rows, write)};
        return ROW_FOUND;
    }
    enum row_result result = table_get(rows, key, &found);
    if (result == ROW_STOP) return ROW_STOP;
    if (!spend(rows, result == ROW_FOUND ? found.value.size : 0)) return ROW_STOP;
    if (result == ROW_ABSENT) return ROW_ABSENT;
    *ret = (struct row_view){.header = found.header, .value = found.value};
    return ROW_FOUND;
}

/* Rows that the table holds from <= key < to. *ret_ended: on_row had enough. */
static enum row_result
scan_table(struct row_context *rows, struct bytes from, struct bytes to, void *context,
           bool (*on_row)(void *context, struct bytes key, const struct row_view *row),
           bool *ret_ended)
{
    struct row_cursor cursor;
    struct row_found found;
    bool shown = false;
    *ret_ended = false;
    uint32_t passed = 0;
    row_cursor_seek(&cursor, rows->table, from);
    while (row_cursor_next(&cursor, to, &found)) {
        consult(rows, found.header.version);
        /* To pass a tombstone costs little, and there may be many between two flushes. */
        bool free_of_charge = found.tombstone && ++passed % TOMBSTONES_PER_ROW != 0;
        if (!free_of_charge && !spend(rows, found.key.size + found.value.size)) return ROW_STOP;
        if (found.tombstone) continue;
        struct row_view view = {.header = found.header, .value = found.value};
        shown = true;
        if (!on_row(context, found.key, &view)) {
            *ret_ended = true;
            break;
        }
        if (rows->over_budget || rows->need_rows) return ROW_STOP; /* met by on_row itself */
    }
    return shown ? ROW_FOUND : ROW_ABSENT;
}

/* As far as what was fetched reaches; if that was not enough, the rest is wanted. */
enum row_result
row_scan(struct row_context *rows, struct bytes from, struct bytes to, void *context,
         bool (*on_row)(void *context, struct bytes key, const struct row_view *row))
{
    bool ended = false;
    if (row_table_complete(rows->table)) return scan_table(rows, from, to, context, on_row, &ended);
    ASSERT(to.size > 0);
    const struct row_range *range = range_of(rows, from);
    if (range == NULL) {
        want(rows, from, to);
        return ROW_STOP;
    }
    rows->ranges_used |= UINT64_C(1) << (range - rows->ranges);
    bool whole = to.size > 0 && bytes_compare(to, range->to) <= 0;
    enum row_result result =
        scan_table(rows, from, whole ? to : range->to, context, on_row, &ended);
    if (result == ROW_STOP || ended || whole) return result;
    want(rows, range->to, to);
    return ROW_STOP;
}

bool row_may_seek(const struct row_context *rows)
{
    if (row_table_complete(rows->table)) return true;
    return (uint32_t)__builtin_popcountll(rows->ranges_used) < rows->seeks_max;
}

uint64_t row_count(struct row_context *rows, uint8_t service, uint32_t namespace)
{
    /* Any proposal may have changed the count; which ones did is not kept. */
    consult(rows, row_table_newest_proposed(rows->table));
    uint64_t name = (uint64_t)service << 32 | namespace;
    bool all_dropped = dropped(rows, name);
    uint64_t count = all_dropped ? 0 : row_table_count(rows->table, service, namespace);
    for (size_t i = 0; i < rows->pending_count; i++) {
        const struct pending_write *write = &rows->pending->writes[i];
        struct bytes key = pending_key(rows, write);
        if (namespace_of(key) != name) continue;
        struct row_found found; /* known: it could not be written otherwise */
        bool before = !all_dropped && row_table_get(rows->table, key, &found) && !found.tombstone;
        bool now = write->kind != PENDING_DELETE;
        count = count + now - before;
    }
    return count;
}

/* Writes: the effect for the log, and the pending entry for reads that follow. */

static bool key_fits(struct row_context *rows, struct bytes key)
{
    ASSERT(key.size >= ROW_PREFIX_SIZE);
    if (key.size <= ROW_KEY_SIZE_MAX) return true;
    rows->over_budget = true;
    return false;
}

static bool appended(struct row_context *rows, bool fits)
{
    if (fits) {
        rows->effect_count++;
    } else {
        rows->over_budget = true;
    }
    return fits;
}

void row_put(struct row_context *rows, struct bytes key, uint8_t type, uint8_t flags,
             uint64_t expiry_ms, struct bytes value)
{
    ASSERT(type != 0);
    struct row_header header = {.type = type, .flags = flags, .expiry = expiry_ms};
    if (!key_fits(rows, key)) return;
    if (value.size > ROW_VALUE_SIZE_MAX) {
        rows->over_budget = true;
        return;
    }
    enum row_result before = lives(rows, key);
    if (before == ROW_STOP) return;
    bool fits = before == ROW_ABSENT ? effect_insert_encode(rows->effects, key, &header, value)
                                     : effect_put_encode(rows->effects, key, &header, value);
    if (!appended(rows, fits)) return;
    size_t end = buffer_size(rows->effects);
    size_t key_at = end - effect_size_behind_key(value) - key.size;
    struct pending_write *write = pending_of(rows, key_at, key.size);
    write->kind = PENDING_PUT;
    write->header = header;
    write->value_at = end - value.size;
    write->value_size = (uint32_t)value.size;
}

/* Of what is known to be absent nothing is logged: a replica that does not hold the key would
 * count it as one row less. */
void row_delete(struct row_context *rows, struct bytes key)
{
    if (!key_fits(rows, key)) return;
    if (lives(rows, key) != ROW_FOUND) return;
    if (!appended(rows, effect_delete_encode(rows->effects, key))) return;
    size_t key_at = buffer_size(rows->effects) - key.size;
    struct pending_write *write = pending_of(rows, key_at, key.size);
    write->kind = PENDING_DELETE;
    write->value_size = 0;
}

void row_add(struct row_context *rows, struct bytes key, int64_t delta)
{
    struct row_view row = {.header = {.type = 1}};
    if (!key_fits(rows, key)) return;
    enum row_result before = row_get(rows, key, &row);
    if (before == ROW_STOP) return;
    uint64_t base = before == ROW_FOUND ? (uint64_t)effect_add_base(row.value) : 0;
    uint8_t sum[8];
    store_u64(sum, base + (uint64_t)delta);
    row_put(rows, key, row.header.type, row.header.flags, row.header.expiry,
            bytes_make(sum, sizeof(sum)));
}

void row_drop_namespace(struct row_context *rows, uint8_t service, uint32_t namespace)
{
    struct row_pending *pending = pending_make(rows);
    uint64_t name = (uint64_t)service << 32 | namespace;
    bool known = dropped(rows, name);
    if (!known && pending->drop_count == DROPS_MAX) {
        rows->over_budget = true;
        return;
    }
    if (!appended(rows, effect_drop_encode(rows->effects, service, namespace))) return;
    if (!known) pending->drops[pending->drop_count++] = name;
    for (size_t i = 0; i < rows->pending_count; i++) {
        struct pending_write *write = &pending->writes[i];
        if (namespace_of(pending_key(rows, write)) != name) continue;
        write->kind = PENDING_DELETE;
        write->value_size = 0;
    }
}

uint64_t row_random(struct row_context *rows)
{
    rows->random_state += 0x9e3779b97f4a7c15u; /* splitmix64 */
    return hash_u64(rows->random_state);
}

enum evaluate_result row_context_stop(const struct row_context *rows)
{
    return rows->need_rows ? EVALUATE_NEED_ROWS : EVALUATE_OVER_BUDGET;
}
