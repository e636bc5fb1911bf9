#include "partition/row_context.h"

#include <stdlib.h>

#include "base/assert.h"
#include "base/hash.h"
#include "partition/dedup.h"

enum {
    PENDING_LINEAR_MAX = 8,
    DROPS_MAX = 16,
    TOMBSTONES_PER_ROW = 16,
    NOTED_FIRST = 64,
    OWN_PER_ROW = 4,
    LOCKS_PER_ROW = 64
};

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
    rows->locks = NULL;
    rows->lock_owner = NULL;
    rows->locks_full = false;
    rows->must_wait = false;
    rows->refused = false;
    rows->waits = false;
    rows->waits_since = 0;
    rows->reads = NULL;
    rows->dedup = NULL;
    rows->services = NULL;
    rows->service_options = NULL;
    rows->term = 0;
    rows->chore_service = 0;
    rows->frozen_for = 0;
    rows->freeze = 0;
    rows->planted = 0;
    rows->names_made = 0;
    rows->pending = NULL;
    rows->pending_count = 0;
    rows->pending_capacity = 0;
}

enum evaluate_result row_wait(struct row_context *rows, struct bytes key, int64_t until,
                              uint64_t turn)
{
    rows->wait = arena_allocate(rows->arena, sizeof(*rows->wait));
    *rows->wait = (struct row_wait){.key = key, .until = until, .turn = turn};
    rows->waits = true;
    return EVALUATE_WAIT;
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

/* Locks of transactions, and what they want to know of reads. */

static bool held_up(struct row_context *rows, bool locked)
{
    if (locked) rows->must_wait = true;
    return locked;
}

static void digest(struct row_reads *reads, uint64_t what, uint64_t version)
{
    for (int i = 0; i < 2; i++)
        reads->digest[i] = hash_u64(reads->digest[i] ^ hash_u64(what + (uint64_t)i) ^ version);
}

/* An absence has no version once its deletion is forgotten, which is with a flush: what was
 * absent for this leader and is still, without a flush, was so all the time. */
static uint64_t absence_version(const struct row_context *rows)
{
    return hash_u64(row_table_flush_generation(rows->table)) ^ rows->term;
}

static void note_consulted(struct row_context *rows, struct bytes key, uint64_t version)
{
    uint64_t known = version ? version : absence_version(rows);
    digest(rows->reads, hash64(rows->hash_secret[0], key), known);
}

/* Into the set of hashes; false: it is there. */
static bool noted_put(struct row_reads *reads, uint64_t hash)
{
    size_t mask = reads->noted_size - 1;
    for (size_t at = hash & mask;; at = (at + 1) & mask) {
        if (reads->noted[at] == hash) return false;
        if (reads->noted[at] != 0) continue;
        reads->noted[at] = hash;
        return true;
    }
}

static void noted_grow(struct row_context *rows)
{
    struct row_reads *reads = rows->reads;
    uint64_t *before = reads->noted;
    uint32_t size = reads->noted_size;
    reads->noted_size = size ? size * 4 : NOTED_FIRST;
    size_t bytes = reads->noted_size * sizeof(*reads->noted);
    reads->noted = memset(arena_allocate(rows->arena, bytes), 0, bytes);
    for (uint32_t i = 0; i < size; i++)
        if (before[i] != 0) noted_put(reads, before[i]);
}

/* Two keys of one hash would lock one of them only: the hash is keyed, and of 64 bits. */
static bool is_first_read(struct row_context *rows, struct bytes key)
{
    struct row_reads *reads = rows->reads;
    if (2 * (reads->key_count + 1) > reads->noted_size) noted_grow(rows);
    return noted_put(reads, hash64(rows->hash_secret[1], key) | 1);
}

static void note_read(struct row_context *rows, struct bytes key, uint64_t version)
{
    note_consulted(rows, key, version);
    if (rows->reads->keys == NULL || !is_first_read(rows, key)) return;
    struct writer writer = writer_make(rows->reads->keys);
    write_sized(&writer, key);
    rows->reads->key_count++;
    if (writer.failed) rows->over_budget = true;
}

static void note_scan(struct row_context *rows, struct bytes from, struct bytes to)
{
    if (rows->reads == NULL) return;
    note_consulted(rows, from, 0);
    note_consulted(rows, to, 0);
    if (rows->reads->ranges == NULL) return;
    struct writer writer = writer_make(rows->reads->ranges);
    write_sized(&writer, from);
    write_sized(&writer, to);
    rows->reads->range_count++;
    if (writer.failed) rows->over_budget = true;
}

/* They are few: databases. */
static bool is_counted(const struct row_reads *reads, uint8_t service, uint32_t namespace)
{
    struct reader reader = reader_make(buffer_bytes(reads->namespaces));
    while (reader_left(&reader) > 0) {
        uint8_t known = read_u8(&reader);
        if (read_u32(&reader) == namespace && known == service) return true;
    }
    return false;
}

static void note_count(struct row_context *rows, uint8_t service, uint32_t namespace)
{
    if (rows->reads == NULL) return;
    /* Any entry may have changed it, and changed it back. */
    digest(rows->reads, (uint64_t)service << 32 | namespace, rows->next_index ^ rows->term << 32);
    if (rows->reads->namespaces == NULL || is_counted(rows->reads, service, namespace)) return;
    struct writer writer = writer_make(rows->reads->namespaces);
    write_u8(&writer, service);
    write_u32(&writer, namespace);
    rows->reads->namespace_count++;
    if (writer.failed) rows->over_budget = true;
}

/* What is walked over and not shown counts, too. */
static bool spend_rows(struct row_context *rows, uint64_t count)
{
    if (count > rows->rows_left) rows->over_budget = true;
    rows->rows_left -= (uint32_t)(count > rows->rows_left ? rows->rows_left : count);
    return !rows->over_budget;
}

/* A walk and a count look at every lock. */
static bool spend_locks(struct row_context *rows)
{
    return rows->locks == NULL || spend_rows(rows, locks_keys(rows->locks) / LOCKS_PER_ROW);
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

static uint64_t version_read(const struct row_context *rows, enum row_result result,
                             const struct row_found *found)
{
    bool by_value = rows->planted & ROW_PLANTED_BY_VALUE && result == ROW_FOUND; /* deliberate */
    return by_value ? hash64(0, found->value) : found->header.version;
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
    if (rows->locks && held_up(rows, locks_stop_read(rows->locks, key, rows->lock_owner)))
        return ROW_STOP;
    enum row_result result = table_get(rows, key, &found);
    if (result == ROW_STOP) return ROW_STOP;
    if (rows->reads) note_read(rows, key, version_read(rows, result, &found));
    if (!spend(rows, result == ROW_FOUND ? found.value.size : 0)) return ROW_STOP;
    if (result == ROW_ABSENT) return ROW_ABSENT;
    *ret = (struct row_view){.header = found.header, .value = found.value};
    return ROW_FOUND;
}

/* Own writes of this evaluation within a walk, in order. */
struct own_writes {
    uint32_t *positions; /* in pending->writes */
    uint32_t count, next;
};

static struct bytes own_key(const struct row_context *rows, uint32_t position)
{
    return pending_key(rows, &rows->pending->writes[position]);
}

static int own_compare(const void *a, const void *b, void *context)
{
    const struct row_context *rows = context;
    return bytes_compare(own_key(rows, *(const uint32_t *)a), own_key(rows, *(const uint32_t *)b));
}

static struct own_writes own_writes_between(struct row_context *rows, struct bytes from,
                                            struct bytes to)
{
    struct own_writes own = {0};
    if (rows->pending_count == 0 || !spend_rows(rows, rows->pending_count / OWN_PER_ROW))
        return own;
    own.positions = arena_allocate(rows->arena, rows->pending_count * sizeof(*own.positions));
    for (uint32_t i = 0; i < rows->pending_count; i++) {
        struct bytes key = own_key(rows, i);
        bool between =
            bytes_compare(from, key) <= 0 && (to.size == 0 || bytes_compare(key, to) < 0);
        if (between) own.positions[own.count++] = i;
    }
    qsort_r(own.positions, own.count, sizeof(*own.positions), own_compare, rows);
    return own;
}

/* Shows those before the row of the table that comes next (NULL: none does). *ret_hidden: that row
 * is one of them. False: on_row had enough, or the evaluation stops. */
static bool show_own(struct row_context *rows, struct own_writes *own, const struct bytes *before,
                     void *context,
                     bool (*on_row)(void *context, struct bytes key, const struct row_view *row),
                     bool *shown, bool *ret_hidden)
{
    while (own->next < own->count) {
        uint32_t position = own->positions[own->next];
        int order = before == NULL ? -1 : bytes_compare(own_key(rows, position), *before);
        if (order > 0) return true;
        own->next++;
        if (order == 0) *ret_hidden = true;
        const struct pending_write *write = &rows->pending->writes[position];
        if (write->kind == PENDING_DELETE) continue;
        if (!spend(rows, write->key_size + write->value_size)) return false;
        struct bytes key = arena_copy(rows->arena, own_key(rows, position));
        struct row_view view = {.header = write->header, .value = pending_value(rows, write)};
        *shown = true;
        if (!on_row(context, key, &view)) return false;
        if (rows->over_budget || rows->need_rows || rows->must_wait) return false;
    }
    return true;
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
    struct own_writes own = own_writes_between(rows, from, to);
    if (rows->over_budget) return ROW_STOP;
    row_cursor_seek(&cursor, rows->table, from);
    while (row_cursor_next(&cursor, to, &found)) {
        bool hidden = false;
        *ret_ended = !show_own(rows, &own, &found.key, context, on_row, &shown, &hidden);
        if (rows->over_budget || rows->need_rows || rows->must_wait) return ROW_STOP;
        if (*ret_ended) return ROW_FOUND;
        consult(rows, found.header.version);
        if (rows->reads) note_consulted(rows, found.key, found.header.version);
        if (hidden) continue;
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
        if (rows->over_budget || rows->need_rows || rows->must_wait)
            return ROW_STOP; /* met by on_row itself */
    }
    if (*ret_ended) return ROW_FOUND;
    *ret_ended = !show_own(rows, &own, NULL, context, on_row, &shown, NULL);
    if (rows->over_budget || rows->need_rows || rows->must_wait) return ROW_STOP;
    return shown ? ROW_FOUND : ROW_ABSENT;
}

/* As far as what was fetched reaches; if that was not enough, the rest is wanted. */
enum row_result
row_scan(struct row_context *rows, struct bytes from, struct bytes to, void *context,
         bool (*on_row)(void *context, struct bytes key, const struct row_view *row))
{
    bool ended = false;
    if (!spend_locks(rows)) return ROW_STOP;
    if (rows->locks && held_up(rows, locks_stop_scan(rows->locks, from, to, rows->lock_owner)))
        return ROW_STOP;
    note_scan(rows, from, to);
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
    if (!spend_locks(rows)) return 0;
    if (rows->locks &&
        held_up(rows, locks_stop_count(rows->locks, service, namespace, rows->lock_owner)))
        return 0;
    note_count(rows, service, namespace);
    /* Any proposal may have changed the count; which ones did is not kept. */
    consult(rows, row_table_newest_proposed(rows->table));
    if (!spend_rows(rows, rows->pending_count)) return 0;
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
    if (rows->locks && held_up(rows, locks_stop_write(rows->locks, key, rows->lock_owner))) return;
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
    if (rows->locks && held_up(rows, locks_stop_write(rows->locks, key, rows->lock_owner))) return;
    enum row_result before = lives(rows, key);
    if (before == ROW_ABSENT && rows->reads) note_read(rows, key, 0); /* it rests on that */
    if (before != ROW_FOUND) return;
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

bool row_request_is_over(struct row_context *rows, struct gateway_id gateway, uint64_t seq)
{
    uint64_t index = 0;
    struct bytes outcome;
    bool too_big;
    if (rows->dedup == NULL) return false;
    if ((rows->planted & ROW_PLANTED_OVER)) return true;
    enum dedup_result result = dedup_find(rows->dedup, gateway, seq, &index, &outcome, &too_big);
    if (result == DEDUP_KNOWN) consult(rows, index);
    return result != DEDUP_NEW;
}

void row_fence(struct row_context *rows, node_id_t node, boot_epoch_t epoch)
{
    appended(rows, effect_fence_encode(rows->effects, node, epoch));
}

void row_cut_take(struct row_context *rows, uint64_t cut, int64_t lifetime)
{
    appended(rows, effect_cut_encode(rows->effects, true, cut, lifetime));
}

void row_cut_close(struct row_context *rows, uint64_t cut)
{
    appended(rows, effect_cut_encode(rows->effects, false, cut, 0));
}

struct bytes row_take_effects(struct row_context *rows)
{
    struct bytes effects = arena_copy(rows->arena, buffer_bytes(rows->effects));
    buffer_clear(rows->effects);
    rows->effect_count = 0;
    rows->pending = NULL;
    rows->pending_count = rows->pending_capacity = 0;
    return effects;
}

void row_put_effects(struct row_context *rows, struct bytes effects)
{
    struct reader reader = reader_make(effects);
    struct effect effect;
    uint32_t count = 0;
    while (effect_decode(&reader, &effect) == STATUS_OK)
        count++;
    if (buffer_append(rows->effects, effects))
        rows->over_budget = true;
    else
        rows->effect_count += count;
}

enum evaluate_result row_context_stop(const struct row_context *rows)
{
    if (rows->must_wait) return EVALUATE_WAIT;
    return rows->need_rows ? EVALUATE_NEED_ROWS : EVALUATE_OVER_BUDGET;
}
