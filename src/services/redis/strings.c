/* strings.c - whole values: GET, SET and those in between. */
#include "services/redis/evaluate_functions.h"
#include "services/redis/expiry.h"
#include "services/redis/string_value.h"

static bool find_string(struct redis_call *call, struct redis_string *ret_string,
                        enum evaluate_result *ret_result)
{
    return redis_string_find(call, call->arguments[1], ret_string, ret_result);
}

static enum evaluate_result reply_value(struct redis_call *call, const struct redis_string *string)
{
    return redis_string_reply_all(call, string) == ROW_STOP ? redis_stop(call) : EVALUATE_DONE;
}

enum evaluate_result evaluate_get(struct redis_call *call)
{
    struct redis_string string;
    enum evaluate_result result;

    if (!find_string(call, &string, &result)) return result;
    return reply_value(call, &string);
}

enum evaluate_result evaluate_strlen(struct redis_call *call)
{
    struct redis_string string;
    enum evaluate_result result;

    if (!find_string(call, &string, &result)) return result;
    return redis_reply_integer(call, (int64_t)string.size);
}

/* Wrong types count as absent, as in redis-server. */
enum evaluate_result evaluate_mget(struct redis_call *call)
{
    resp_write_array(&call->out, call->count - 1);
    for (uint32_t i = 1; i < call->count; i++) {
        struct redis_key key;
        struct redis_string string = {0};
        if (redis_key_find(call, call->arguments[i], &key) == ROW_STOP) return redis_stop(call);
        bool shown = key.exists && key.row.header.type == REDIS_ROW_STRING;
        /* One that is damaged is an error in its place. */
        if (shown && !redis_string_of(call, &key, &string)) continue;
        if (redis_string_reply_all(call, &string) == ROW_STOP) return redis_stop(call);
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

/* Sets the key to argument `index`. Replies OK, or the old value if `get`: before the write,
 * since the old row is borrowed. */
static enum evaluate_result put_string(struct redis_call *call, const struct redis_string *string,
                                       uint64_t expiry_ms, uint32_t index, bool get)
{
    enum evaluate_result result = EVALUATE_DONE;
    size_t key_size = string->key.row_key.size - REDIS_ROW_PREFIX_SIZE;

    if (!redis_string_fits(call, key_size, index)) return EVALUATE_DONE;
    if (get)
        result = reply_value(call, string);
    else
        redis_reply_ok(call);
    if (result == EVALUATE_DONE) redis_string_put(call, &string->key, expiry_ms, index, &result);
    return result;
}

/* Finds what SET must know of the key: everything for GET, its row for conditions, else what
 * there may be to drop. */
static bool find_for_set(struct redis_call *call, const struct set_options *options,
                         uint64_t expiry_ms, struct redis_string *ret_string,
                         enum evaluate_result *ret_result)
{
    bool blind = !options->if_absent && !options->if_present && !options->keep_ttl;
    struct redis_key *key = &ret_string->key;
    enum row_result found;

    if (options->get) return find_string(call, ret_string, ret_result);
    found = blind ? redis_key_overwrite(call, call->arguments[1], expiry_ms, key)
                  : redis_key_find(call, call->arguments[1], key);
    *ret_result = redis_stop(call);
    return found != ROW_STOP;
}

enum evaluate_result evaluate_set(struct redis_call *call)
{
    struct set_options options;
    struct redis_string string = {0};
    enum evaluate_result result;
    uint64_t expiry_ms = 0;

    if (!parse_options(call, 3, true, &options)) return EVALUATE_DONE;
    if (options.expires && !redis_expiry_parse(call, options.time_index, options.time, &expiry_ms))
        return EVALUATE_DONE;
    if (!find_for_set(call, &options, expiry_ms, &string, &result)) return result;

    bool exists = string.key.exists;
    if ((options.if_absent && exists) || (options.if_present && !exists)) {
        if (options.get) return reply_value(call, &string);
        resp_write_null(&call->out);
        return EVALUATE_DONE;
    }
    if (options.keep_ttl) expiry_ms = redis_key_expiry(&string.key);
    return put_string(call, &string, expiry_ms, 2, options.get);
}

enum evaluate_result evaluate_setnx(struct redis_call *call)
{
    struct redis_key key;
    enum evaluate_result result;

    if (redis_key_find(call, call->arguments[1], &key) == ROW_STOP) return redis_stop(call);
    if (key.exists) return redis_reply_integer(call, 0);
    if (!redis_string_fits(call, call->arguments[1].size, 2)) return EVALUATE_DONE;
    if (redis_string_put(call, &key, 0, 2, &result)) redis_reply_integer(call, 1);
    return result;
}

static enum evaluate_result set_with_expiry(struct redis_call *call, enum redis_time_unit unit)
{
    struct redis_time_option option = {.unit = unit, .absolute = false};
    struct redis_string string = {0};
    uint64_t expiry_ms;

    if (!redis_expiry_parse(call, 2, option, &expiry_ms)) return EVALUATE_DONE;
    if (redis_key_overwrite(call, call->arguments[1], expiry_ms, &string.key) == ROW_STOP)
        return redis_stop(call);
    return put_string(call, &string, expiry_ms, 3, false);
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
    struct redis_string string;
    enum evaluate_result result;

    if (!find_string(call, &string, &result)) return result;
    return put_string(call, &string, 0, 2, true);
}

enum evaluate_result evaluate_getdel(struct redis_call *call)
{
    struct redis_string string;
    enum evaluate_result result;

    if (!find_string(call, &string, &result)) return result;
    result = reply_value(call, &string);
    if (result == EVALUATE_DONE && string.key.exists) redis_key_delete(call, &string.key);
    return result;
}

enum evaluate_result evaluate_getex(struct redis_call *call)
{
    struct set_options options;
    struct redis_string string;
    enum evaluate_result result;
    uint64_t expiry_ms = 0;

    if (!parse_options(call, 2, false, &options)) return EVALUATE_DONE;
    if (!find_string(call, &string, &result)) return result;
    if (!string.key.exists) {
        resp_write_null(&call->out);
        return EVALUATE_DONE;
    }
    if (options.expires && !redis_expiry_parse(call, options.time_index, options.time, &expiry_ms))
        return EVALUATE_DONE;

    bool changes = options.expires || (options.persist && redis_key_expiry(&string.key));
    result = reply_value(call, &string);
    if (result != EVALUATE_DONE) return result;
    if (options.expires && (int64_t)expiry_ms <= call->now_ms)
        redis_key_delete(call, &string.key);
    else if (changes)
        redis_key_put_expiry(call, &string.key, expiry_ms);
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
        struct bytes key = call->arguments[i];
        if (!redis_string_fits(call, key.size, i + 1)) return false;
        /* The key twice: an expired row under it is deleted first. */
        size += 2 * (key.size + REDIS_EFFECT_OVERHEAD) + redis_string_effects(call, i + 1) +
                redis_drop_effects(call);
    }
    return redis_effects_fit(call, size);
}

/* What was checked above fits: no put is refused. */
static enum evaluate_result put_pairs(struct redis_call *call)
{
    enum evaluate_result result;

    for (uint32_t i = 1; i < call->count; i += 2) {
        struct redis_key key;
        if (redis_key_overwrite(call, call->arguments[i], 0, &key) == ROW_STOP)
            return redis_stop(call);
        if (!redis_string_put(call, &key, 0, i + 1, &result)) return result;
    }
    return EVALUATE_DONE;
}

enum evaluate_result evaluate_mset(struct redis_call *call)
{
    if (!pairs_are_right(call)) return EVALUATE_DONE;
    enum evaluate_result result = put_pairs(call);
    return result == EVALUATE_DONE ? redis_reply_ok(call) : result;
}

enum evaluate_result evaluate_msetnx(struct redis_call *call)
{
    if (!pairs_are_right(call)) return EVALUATE_DONE;
    for (uint32_t i = 1; i < call->count; i += 2) {
        struct redis_key key;
        if (redis_key_find(call, call->arguments[i], &key) == ROW_STOP) return redis_stop(call);
        if (key.exists) return redis_reply_integer(call, 0);
    }
    enum evaluate_result result = put_pairs(call);
    return result == EVALUATE_DONE ? redis_reply_integer(call, 1) : result;
}
