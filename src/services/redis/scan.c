/* scan.c - walks the keys of a partition: SCAN, RANDOMKEY; and HSCAN.
 *
 * Keys lie in the order (slot, 48-bit hash), so a cursor is a place and not a state: slot in
 * the upper bits, hash in the lower 48. It stays good over failover and on every node, a key
 * that is there all the time is returned, and keys of one (slot, hash) come together.
 * The front-end sends a cursor to the partition of its slot; 0 is the start and the end. The
 * cursor of HSCAN is the 48-bit hash of a field, good in the same way. */
#include <stdio.h>

#include "base/hash.h"
#include "base/parse.h"
#include "services/redis/evaluate_functions.h"
#include "services/redis/glob.h"
#include "services/redis/hash_value.h"
#include "services/redis/parts.h"
#include "services/redis/scan.h"

enum {
    COUNT_DEFAULT = 10,
    COUNT_MAX = 10000,           /* rows of one evaluation; a greater COUNT counts as this */
    REPLY_SIZE_MAX = 512 << 10,  /* then a SCAN stops early */
    EXPIRED_SIZE_MAX = 64 << 10, /* effects: expired rows deleted along the way */
};

struct scan_options {
    uint64_t count;
    bool has_match, has_type;
    struct bytes match;
    uint8_t type; /* 0: one that no row has */
};

static uint8_t type_of_name(struct bytes name)
{
    if (redis_word_is(name, "string")) return REDIS_ROW_STRING;
    if (redis_word_is(name, "hash")) return REDIS_ROW_HASH;
    return 0;
}

static bool parse_options(struct redis_call *call, uint32_t index, bool allow_type,
                          struct scan_options *options)
{
    *options = (struct scan_options){.count = COUNT_DEFAULT};
    for (uint32_t i = index; i < call->count; i += 2) {
        struct bytes word = call->arguments[i];
        bool has_value = i + 1 < call->count;

        if (has_value && redis_word_is(word, "count")) {
            int64_t count;
            if (!redis_argument_i64(call, i + 1, &count)) return false;
            if (count < 1) {
                redis_reply_syntax_error(call);
                return false;
            }
            options->count = count < COUNT_MAX ? (uint64_t)count : COUNT_MAX;
        } else if (has_value && redis_word_is(word, "match")) {
            options->match = call->arguments[i + 1];
            options->has_match = true;
        } else if (has_value && allow_type && redis_word_is(word, "type")) {
            options->type = type_of_name(call->arguments[i + 1]);
            options->has_type = true;
        } else {
            redis_reply_syntax_error(call);
            return false;
        }
    }
    if (options->has_match && bytes_equal(options->match, bytes_of("*")))
        options->has_match = false;
    return true;
}

bool redis_cursor_parse(struct bytes text, struct redis_cursor *ret_cursor)
{
    uint64_t value = 0;
    bool negative = text.size && text.data[0] == '-';

    /* redis-server reads it with strtoul(): nothing at all is 0, a sign and zeros in front are
     * fine, and a negative number wraps around, so that it is behind the last key. */
    if (negative || (text.size && text.data[0] == '+')) {
        text = bytes_from(text, 1);
        if (text.size == 0) return false;
    }
    while (text.size > 1 && text.data[0] == '0')
        text = bytes_from(text, 1);
    if (text.size && !parse_u64(text, &value)) return false;
    if (negative) value = -value;
    ret_cursor->slot = (uint16_t)((value >> REDIS_CURSOR_HASH_BITS) % SLOT_COUNT);
    ret_cursor->hash = value & ((UINT64_C(1) << REDIS_CURSOR_HASH_BITS) - 1);
    return true;
}

uint64_t redis_cursor_value(struct redis_cursor cursor)
{
    return (uint64_t)cursor.slot << REDIS_CURSOR_HASH_BITS | cursor.hash;
}

/* --- the walk ------------------------------------------------------------------------------ */

struct walk {
    struct redis_call *call;
    struct scan_options options;
    struct redis_cursor at; /* next place to look at */
    bool skip;              /* met a row of something else: seek anew from `at` */
    bool full;              /* enough for one answer: `at` is where to go on */
    uint64_t visited, found;
    struct redis_cursor last; /* place of the last row shown */
    struct buffer *keys;      /* replies, one bulk string after the other */
    struct resp_writer out;
};

static uint64_t hash_of_row_key(struct bytes key)
{
    const uint8_t *at = key.data + ROW_PREFIX_SIZE;
    return (uint64_t)load_u16_be(at) << 32 | load_u32_be(at + 2);
}

static bool is_ours(const struct walk *walk, struct bytes key)
{
    return key.size >= REDIS_ROW_PREFIX_SIZE && key.data[2] == SERVICE_REDIS &&
           load_u32_be(key.data + 3) == walk->call->namespace;
}

/* Where our rows may begin again behind a row of another service or namespace. */
static struct redis_cursor place_behind(const struct walk *walk, struct bytes key)
{
    uint16_t slot = load_u16_be(key.data);
    bool before_ours =
        key.size >= ROW_PREFIX_SIZE &&
        (key.data[2] < SERVICE_REDIS ||
         (key.data[2] == SERVICE_REDIS && load_u32_be(key.data + 3) < walk->call->namespace));

    return (struct redis_cursor){.slot = (uint16_t)(before_ours ? slot : slot + 1), .hash = 0};
}

static bool wanted(struct walk *walk, struct bytes user_key, const struct row_view *row)
{
    if (walk->options.has_type && row->header.type != walk->options.type) return false;
    return !walk->options.has_match || glob_matches(walk->options.match, user_key);
}

static bool on_row(void *context, struct bytes key, const struct row_view *row)
{
    struct walk *walk = context;
    struct redis_call *call = walk->call;

    if (!is_ours(walk, key)) {
        struct redis_cursor behind = place_behind(walk, key);
        walk->skip = true;
        walk->at = behind;
        return false;
    }
    struct redis_cursor place = {.slot = load_u16_be(key.data), .hash = hash_of_row_key(key)};
    bool same_place = walk->visited && redis_cursor_equal(place, walk->last);
    bool enough = walk->visited >= walk->options.count || buffer_size(walk->keys) >= REPLY_SIZE_MAX;
    if (enough && !same_place) {
        walk->full = true;
        walk->at = place;
        return false;
    }
    walk->visited++;
    walk->last = place;
    if (redis_row_is_expired(call, &row->header)) {
        if (buffer_size(call->rows->effects) >= EXPIRED_SIZE_MAX) return true;
        /* A walk sees own writes as of its beginning: dropping its parts twice would leave two
         * records of them. */
        struct row_view now;
        enum row_result result = row_get(call->rows, key, &now);
        if (result == ROW_FOUND) redis_row_remove(call, key, row);
        return result != ROW_STOP;
    }
    struct bytes user_key = bytes_from(key, REDIS_ROW_PREFIX_SIZE);
    if (wanted(walk, user_key, row)) {
        resp_write_bulk(&walk->out, user_key);
        walk->found++;
    }
    return true;
}

/* From walk->at to the end of `slot_last`, or until it is full, or has gone to many places. */
static enum row_result walk_on(struct walk *walk, uint16_t slot_last)
{
    uint8_t from[REDIS_ROW_PREFIX_SIZE], to[sizeof(uint16_t)];

    store_u16_be(to, (uint16_t)(slot_last + 1));
    walk->skip = false;
    do {
        if (walk->at.slot > slot_last) return ROW_ABSENT;
        if (walk->skip && !row_may_seek(walk->call->rows)) {
            walk->full = true;
            return ROW_FOUND;
        }
        walk->skip = false;
        redis_row_prefix_store(from, walk->at.slot, walk->call->namespace, walk->at.hash);
        enum row_result result = row_scan(walk->call->rows, bytes_make(from, sizeof(from)),
                                          bytes_make(to, sizeof(to)), walk, on_row);
        if (result == ROW_STOP) return result;
    } while (walk->skip);
    if (!walk->full) walk->at = (struct redis_cursor){.slot = (uint16_t)(slot_last + 1)};
    return ROW_FOUND;
}

static void walk_begin(struct walk *walk, struct redis_call *call, struct buffer *keys)
{
    buffer_init(keys, REPLY_SIZE_MAX * 2);
    walk->call = call;
    walk->keys = keys;
    walk->out = resp_writer_make(keys, call->out.resp3);
}

static void reply_cursor(struct redis_call *call, uint64_t cursor)
{
    resp_write_array(&call->out, 2);
    resp_write_bulk_u64(&call->out, cursor);
}

enum evaluate_result evaluate_scan(struct redis_call *call)
{
    struct walk walk = {0};
    struct buffer keys;

    if (!redis_cursor_parse(call->arguments[1], &walk.at))
        return redis_reply_error(call, "ERR invalid cursor");
    if (!parse_options(call, 2, true, &walk.options)) return EVALUATE_DONE;
    if (walk.at.slot < call->rows->slot_first)
        walk.at = (struct redis_cursor){.slot = call->rows->slot_first};

    walk_begin(&walk, call, &keys);
    enum row_result result = walk_on(&walk, call->rows->slot_last);
    if (result != ROW_STOP) {
        bool end = walk.at.slot >= SLOT_COUNT;
        reply_cursor(call, end ? 0 : redis_cursor_value(walk.at));
        resp_write_array(&call->out, walk.found);
        resp_write_raw(&call->out, buffer_bytes(&keys));
        call->out.failed |= walk.out.failed;
    }
    buffer_free(&keys);
    return result == ROW_STOP ? redis_stop(call) : EVALUATE_DONE;
}

enum evaluate_result evaluate_slotscan(struct redis_call *call)
{
    struct walk walk = {0};
    struct buffer keys;
    int64_t count;

    if (!redis_cursor_parse(call->arguments[1], &walk.at))
        return redis_reply_error(call, "ERR invalid cursor");
    if (!redis_argument_i64(call, 2, &count)) return EVALUATE_DONE;
    uint16_t slot = walk.at.slot;
    if (slot < call->rows->slot_first || slot > call->rows->slot_last || count < 0)
        return redis_reply_error(call, "ERR Invalid slot or number of keys");

    walk.options.count = count > 0 && count < COUNT_MAX ? (uint64_t)count : COUNT_MAX;
    walk_begin(&walk, call, &keys);
    enum row_result result = walk_on(&walk, slot);
    if (result != ROW_STOP) {
        reply_cursor(call, walk.at.slot == slot ? redis_cursor_value(walk.at) : 0);
        if (count == 0)
            resp_write_integer(&call->out, (int64_t)walk.found);
        else
            resp_write_array(&call->out, walk.found);
        if (count > 0) resp_write_raw(&call->out, buffer_bytes(&keys));
        call->out.failed |= walk.out.failed;
    }
    buffer_free(&keys);
    return result == ROW_STOP ? redis_stop(call) : EVALUATE_DONE;
}

/* One key of this partition from a random place on, or null. */
enum evaluate_result evaluate_randomkey(struct redis_call *call)
{
    uint16_t slot_first = call->rows->slot_first, slot_last = call->rows->slot_last;
    uint64_t drawn = row_random(call->rows);
    struct buffer keys;
    struct walk walk = {.options = {.count = 1}};
    enum row_result result = ROW_FOUND;

    walk.at.slot = (uint16_t)(slot_first + drawn % (uint64_t)(slot_last - slot_first + 1));
    walk.at.hash = drawn >> (64 - REDIS_CURSOR_HASH_BITS);
    walk_begin(&walk, call, &keys);
    /* To the end, then once more from the start. An expired row is passed over; a place with
     * several keys of one hash gives its first. */
    for (unsigned round = 0; round < 2 && walk.found == 0 && result != ROW_STOP; round++) {
        if (round) walk.at = (struct redis_cursor){.slot = slot_first};
        do {
            walk.visited = 0;
            walk.full = false;
            result = walk_on(&walk, slot_last);
        } while (result != ROW_STOP && walk.full && walk.found == 0);
    }
    if (result != ROW_STOP && walk.found == 0) resp_write_null(&call->out);
    if (result != ROW_STOP && walk.found)
        resp_write_raw(&call->out,
                       bytes_make(buffer_bytes(&keys).data, resp_value_size(buffer_bytes(&keys))));
    buffer_free(&keys);
    return result == ROW_STOP ? redis_stop(call) : EVALUATE_DONE;
}

struct field_walk {
    struct redis_call *call;
    struct scan_options options;
    struct buffer *fields; /* replies, names and values in turn */
    struct resp_writer out;
    uint64_t visited, found;
    uint64_t last; /* hash of the last field shown */
    uint64_t next; /* place to go on at; 0: all were seen */
};

static bool on_field(void *context, uint64_t field_hash, struct bytes field, struct bytes value)
{
    struct field_walk *walk = context;
    bool same_place = walk->visited && field_hash == walk->last;
    bool enough =
        walk->visited >= walk->options.count || buffer_size(walk->fields) >= REPLY_SIZE_MAX;

    if (enough && !same_place) {
        walk->next = field_hash;
        return false;
    }
    walk->visited++;
    walk->last = field_hash;
    if (walk->options.has_match && !glob_matches(walk->options.match, field)) return true;
    resp_write_bulk(&walk->out, field);
    resp_write_bulk(&walk->out, value);
    walk->found++;
    return true;
}

/* A hash in one row is answered whole, as redis-server does with its compact form: all of its
 * fields are in one place. */
enum evaluate_result evaluate_hscan(struct redis_call *call)
{
    struct redis_cursor cursor;
    struct redis_hash hash;
    struct buffer fields;
    struct field_walk walk = {.call = call, .fields = &fields};
    enum evaluate_result result;

    if (!redis_cursor_parse(call->arguments[2], &cursor))
        return redis_reply_error(call, "ERR invalid cursor");
    if (!redis_hash_find(call, &hash, &result)) return result;
    /* redis-server looks at the options only if there is a hash to scan. */
    if (hash.key.exists && !parse_options(call, 3, false, &walk.options)) return EVALUATE_DONE;

    buffer_init(&fields, 4 * REPLY_SIZE_MAX);
    walk.out = resp_writer_make(&fields, call->out.resp3);
    bool stopped = redis_hash_each(call, &hash, cursor.hash, &walk, on_field) == ROW_STOP;
    reply_cursor(call, walk.next);
    resp_write_array(&call->out, walk.found * 2);
    resp_write_raw(&call->out, buffer_bytes(&fields));
    call->out.failed |= walk.out.failed;
    buffer_free(&fields);
    return stopped ? redis_stop(call) : EVALUATE_DONE;
}
