/* strings.c - whole values: GET, SET and those in between. */
#include "services/redis/evaluate_functions.h"
#include "services/redis/expiry.h"

static bool find_string(struct redis_call *call, struct redis_key *ret_key,
                        enum evaluate_result *ret_result)
{
    return redis_typed_find(call, call->arguments[1], REDIS_ROW_STRING, ret_key, ret_result);
}

static void reply_value(struct redis_call *call, const struct redis_key *key)
{
    if (key->exists)
        resp_write_bulk(&call->out, key->row.value);
    else
        resp_write_null(&call->out);
}

enum evaluate_result evaluate_get(struct redis_call *call)
{
    struct redis_key key;
    enum evaluate_result result;

    if (!find_string(call, &key, &result)) return result;
    reply_value(call, &key);
    return EVALUATE_DONE;
}

enum evaluate_result evaluate_strlen(struct redis_call *call)
{
    struct redis_key key;
    enum evaluate_result result;

    if (!find_string(call, &key, &result)) return result;
    return redis_reply_integer(call, key.exists ? (int64_t)key.row.value.size : 0);
}

/* Wrong types count as absent, as in redis-server. */
enum evaluate_result evaluate_mget(struct redis_call *call)
{
    resp_write_array(&call->out, call->count - 1);
    for (uint32_t i = 1; i < call->count; i++) {
        struct redis_key key;
        if (redis_key_find(call, call->arguments[i], &key) == ROW_STOP) return redis_stop(call);
        if (key.exists && key.row.header.type != REDIS_ROW_STRING) key.exists = false;
        reply_value(call, &key);
    }
    return EVALUATE_DONE;
}

/* --- SET --------------------------------------------------------------------------------- */

struct set_options {
    bool if_absent, if_present;
    bool get;
    bool keep_ttl, persist;
    bool expires;
    struct redis_time_option time;
    uint32_t time_index;
};

/* As in redis-server: no two different options about time, but the same one twice, and then
 * the last one counts. */
static bool may_take_time(const struct set_options *options, struct redis_time_option time)
{
    if (options->keep_ttl || options->persist) return false;
    return !options->expires ||
           (options->time.unit == time.unit && options->time.absolute == time.absolute);
}

/* Options from arguments[index] on; SET and GETEX share the ones about time. */
static bool parse_options(struct redis_call *call, uint32_t index, bool is_set,
                          struct set_options *options)
{
    *options = (struct set_options){0};
    for (uint32_t i = index; i < call->count; i++) {
        struct bytes word = call->arguments[i];
        struct redis_time_option time;

        if (is_set && redis_word_is(word, "nx") && !options->if_present) {
            options->if_absent = true;
        } else if (is_set && redis_word_is(word, "xx") && !options->if_absent) {
            options->if_present = true;
        } else if (is_set && redis_word_is(word, "get")) {
            options->get = true;
        } else if (is_set && redis_word_is(word, "keepttl") && !options->expires) {
            options->keep_ttl = true;
        } else if (!is_set && redis_word_is(word, "persist") && !options->expires) {
            options->persist = true;
        } else if (i + 1 < call->count && redis_time_option_find(word, &time) &&
                   may_take_time(options, time)) {
            options->expires = true;
            options->time = time;
            options->time_index = ++i;
        } else {
            redis_reply_syntax_error(call);
            return false;
        }
    }
    return true;
}

/* Replies OK, or the old value if `get`: before the write, since the old row is borrowed. */
static enum evaluate_result put_string(struct redis_call *call, const struct redis_key *key,
                                       uint64_t expiry_ms, struct bytes value, bool get)
{
    if (!redis_key_fits(call, key->row_key.size - REDIS_ROW_PREFIX_SIZE, value.size))
        return EVALUATE_DONE;
    if (get)
        reply_value(call, key);
    else
        redis_reply_ok(call);
    redis_key_put(call, key, REDIS_ROW_STRING, expiry_ms, value);
    return EVALUATE_DONE;
}

enum evaluate_result evaluate_set(struct redis_call *call)
{
    struct set_options options;
    struct redis_key key;
    enum evaluate_result result;
    uint64_t expiry_ms = 0;

    if (!parse_options(call, 3, true, &options)) return EVALUATE_DONE;
    if (options.expires && !redis_expiry_parse(call, options.time_index, options.time, &expiry_ms))
        return EVALUATE_DONE;

    bool blind = !options.if_absent && !options.if_present && !options.keep_ttl;
    if (options.get) {
        if (!find_string(call, &key, &result)) return result;
    } else if (blind) {
        redis_key_place(call, call->arguments[1], &key);
    } else if (redis_key_find(call, call->arguments[1], &key) == ROW_STOP) {
        return redis_stop(call);
    }
    if ((options.if_absent && key.exists) || (options.if_present && !key.exists)) {
        if (options.get)
            reply_value(call, &key);
        else
            resp_write_null(&call->out);
        return EVALUATE_DONE;
    }
    if (options.keep_ttl) expiry_ms = redis_key_expiry(&key);
    return put_string(call, &key, expiry_ms, call->arguments[2], options.get);
}

enum evaluate_result evaluate_setnx(struct redis_call *call)
{
    struct redis_key key;

    if (redis_key_find(call, call->arguments[1], &key) == ROW_STOP) return redis_stop(call);
    if (key.exists) return redis_reply_integer(call, 0);
    if (redis_key_put(call, &key, REDIS_ROW_STRING, 0, call->arguments[2]))
        redis_reply_integer(call, 1);
    return EVALUATE_DONE;
}

static enum evaluate_result set_with_expiry(struct redis_call *call, enum redis_time_unit unit)
{
    struct redis_time_option option = {.unit = unit, .absolute = false};
    struct redis_key key;
    uint64_t expiry_ms;

    if (!redis_expiry_parse(call, 2, option, &expiry_ms)) return EVALUATE_DONE;
    redis_key_place(call, call->arguments[1], &key);
    return put_string(call, &key, expiry_ms, call->arguments[3], false);
}

enum evaluate_result evaluate_setex(struct redis_call *call)
{
    return set_with_expiry(call, REDIS_SECONDS);
}

enum evaluate_result evaluate_psetex(struct redis_call *call)
{
    return set_with_expiry(call, REDIS_MILLISECONDS);
}

enum evaluate_result evaluate_getset(struct redis_call *call)
{
    struct redis_key key;
    enum evaluate_result result;

    if (!find_string(call, &key, &result)) return result;
    return put_string(call, &key, 0, call->arguments[2], true);
}

enum evaluate_result evaluate_getdel(struct redis_call *call)
{
    struct redis_key key;
    enum evaluate_result result;

    if (!find_string(call, &key, &result)) return result;
    reply_value(call, &key);
    if (key.exists) redis_key_delete(call, &key);
    return EVALUATE_DONE;
}

enum evaluate_result evaluate_getex(struct redis_call *call)
{
    struct set_options options;
    struct redis_key key;
    enum evaluate_result result;
    uint64_t expiry_ms = 0;

    if (!parse_options(call, 2, false, &options)) return EVALUATE_DONE;
    if (!find_string(call, &key, &result)) return result;
    if (!key.exists) {
        resp_write_null(&call->out);
        return EVALUATE_DONE;
    }
    if (options.expires && !redis_expiry_parse(call, options.time_index, options.time, &expiry_ms))
        return EVALUATE_DONE;

    bool changes = options.expires || (options.persist && redis_key_expiry(&key));
    reply_value(call, &key);
    if (options.expires && (int64_t)expiry_ms <= call->now_ms)
        redis_key_delete(call, &key);
    else if (changes)
        redis_key_put(call, &key, REDIS_ROW_STRING, expiry_ms, key.row.value);
    return EVALUATE_DONE;
}

/* --- several keys ------------------------------------------------------------------------- */

static bool pairs_are_right(struct redis_call *call)
{
    size_t size = 0;

    if (call->count % 2 == 0) {
        resp_write_error_format(&call->out, "ERR wrong number of arguments for '%s' command",
                                call->command->name);
        return false;
    }
    for (uint32_t i = 1; i < call->count; i += 2) {
        struct bytes key = call->arguments[i], value = call->arguments[i + 1];
        if (!redis_key_fits(call, key.size, value.size)) return false;
        /* The key twice: an expired row under it is deleted first. */
        size += 2 * (key.size + REDIS_EFFECT_OVERHEAD) + value.size;
    }
    return redis_effects_fit(call, size);
}

/* What was checked above fits: no put is refused. */
static void put_pairs(struct redis_call *call)
{
    for (uint32_t i = 1; i < call->count; i += 2) {
        struct redis_key key;
        redis_key_place(call, call->arguments[i], &key);
        redis_key_put(call, &key, REDIS_ROW_STRING, 0, call->arguments[i + 1]);
    }
}

enum evaluate_result evaluate_mset(struct redis_call *call)
{
    if (!pairs_are_right(call)) return EVALUATE_DONE;
    put_pairs(call);
    return redis_reply_ok(call);
}

enum evaluate_result evaluate_msetnx(struct redis_call *call)
{
    if (!pairs_are_right(call)) return EVALUATE_DONE;
    for (uint32_t i = 1; i < call->count; i += 2) {
        struct redis_key key;
        if (redis_key_find(call, call->arguments[i], &key) == ROW_STOP) return redis_stop(call);
        if (key.exists) return redis_reply_integer(call, 0);
    }
    put_pairs(call);
    return redis_reply_integer(call, 1);
}
