/* string_edit.c - commands that change or read part of a string: APPEND, ranges, counters. */
#include "services/redis/evaluate_functions.h"
#include "services/redis/number.h"
#include "services/redis/string_value.h"

enum evaluate_result evaluate_append(struct redis_call *call)
{
    struct redis_string string;
    enum evaluate_result result;
    struct bytes more = call->arguments[2];

    if (!redis_string_find(call, call->arguments[1], &string, &result)) return result;
    uint64_t size = string.size + more.size;
    if (more.size == 0 && string.key.exists) { /* whoever watches the key is told all the same */
        if (redis_key_put_expiry(call, &string.key, redis_key_expiry(&string.key)))
            redis_reply_integer(call, (int64_t)size);
        return EVALUATE_DONE;
    }
    if (redis_string_write(call, &string, string.size, more, &result))
        redis_reply_integer(call, (int64_t)size);
    return result;
}

enum evaluate_result evaluate_setrange(struct redis_call *call)
{
    struct redis_string string;
    enum evaluate_result result;
    struct bytes part = call->arguments[3];
    int64_t offset;

    if (!redis_argument_i64(call, 2, &offset)) return EVALUATE_DONE;
    if (offset < 0) return redis_reply_error(call, "ERR offset is out of range");
    if (!redis_string_find(call, call->arguments[1], &string, &result)) return result;
    if (part.size == 0) return redis_reply_integer(call, (int64_t)string.size);

    if (offset > REDIS_STRING_SIZE_MAX) offset = REDIS_STRING_SIZE_MAX; /* refused below */
    uint64_t end = (uint64_t)offset + part.size;
    if (redis_string_write(call, &string, (uint64_t)offset, part, &result))
        redis_reply_integer(call, (int64_t)(end > string.size ? end : string.size));
    return result;
}

enum evaluate_result evaluate_getrange(struct redis_call *call)
{
    struct redis_string string;
    enum evaluate_result result;
    int64_t first, last;

    if (!redis_argument_i64(call, 2, &first) || !redis_argument_i64(call, 3, &last))
        return EVALUATE_DONE;
    if (!redis_string_find(call, call->arguments[1], &string, &result)) return result;
    int64_t size = (int64_t)string.size;

    /* Negative counts from the end; what lies outside is cut off. */
    bool reversed = first < 0 && last < 0 && first > last;
    if (first < 0) first = first + size < 0 ? 0 : first + size;
    if (last < 0) last = last + size < 0 ? 0 : last + size;
    if (last >= size) last = size - 1;
    bool empty = reversed || first > last || size == 0;
    if (empty) {
        resp_write_bulk(&call->out, bytes_make(NULL, 0));
        return EVALUATE_DONE;
    }
    if (redis_string_reply(call, &string, (uint64_t)first, (uint64_t)(last - first + 1)) ==
        ROW_STOP)
        return redis_stop(call);
    return EVALUATE_DONE;
}

/* --- counters ------------------------------------------------------------------------------ */

/* A number is never as long as a string in chunks. */
static bool find_number(struct redis_call *call, struct redis_key *ret_key,
                        enum evaluate_result *ret_result)
{
    if (!redis_typed_find(call, call->arguments[1], REDIS_ROW_STRING, ret_key, ret_result))
        return false;
    if (redis_key_has_parts(ret_key)) ret_key->row.value = bytes_make(NULL, 0); /* no number */
    return true;
}

/* Writes the value back under its old expiry; on success replies with `number`. */
static enum evaluate_result store(struct redis_call *call, const struct redis_key *key,
                                  struct bytes value, int64_t number)
{
    if (redis_key_put(call, key, REDIS_ROW_STRING, redis_key_expiry(key), value))
        redis_reply_integer(call, number);
    return EVALUATE_DONE;
}

static enum evaluate_result add(struct redis_call *call, int64_t delta)
{
    struct redis_key key;
    enum evaluate_result result;
    int64_t value = 0;
    char text[REDIS_I64_SIZE_MAX];

    if (!find_number(call, &key, &result)) return result;
    if (key.exists && !redis_parse_i64(key.row.value, &value))
        return redis_reply_error(call, "ERR value is not an integer or out of range");
    if (__builtin_add_overflow(value, delta, &value))
        return redis_reply_error(call, "ERR increment or decrement would overflow");
    return store(call, &key, redis_format_i64(text, value), value);
}

enum evaluate_result evaluate_incr(struct redis_call *call)
{
    return add(call, 1);
}

enum evaluate_result evaluate_decr(struct redis_call *call)
{
    return add(call, -1);
}

enum evaluate_result evaluate_incrby(struct redis_call *call)
{
    int64_t delta;
    return redis_argument_i64(call, 2, &delta) ? add(call, delta) : EVALUATE_DONE;
}

enum evaluate_result evaluate_decrby(struct redis_call *call)
{
    int64_t delta;

    if (!redis_argument_i64(call, 2, &delta)) return EVALUATE_DONE;
    if (delta == INT64_MIN) return redis_reply_error(call, "ERR decrement would overflow");
    return add(call, -delta);
}

enum evaluate_result evaluate_incrbyfloat(struct redis_call *call)
{
    struct redis_key key;
    enum evaluate_result result;
    long double value = 0, delta;
    char text[REDIS_FLOAT_SIZE_MAX];

    if (!find_number(call, &key, &result)) return result;
    if ((key.exists && !redis_parse_float(key.row.value, &value)) ||
        !redis_parse_float(call->arguments[2], &delta))
        return redis_reply_error(call, "ERR value is not a valid float");
    value += delta;
    if (!redis_float_is_finite(value))
        return redis_reply_error(call, "ERR increment would produce NaN or Infinity");

    struct bytes formatted = redis_format_float(text, value);
    if (redis_key_put(call, &key, REDIS_ROW_STRING, redis_key_expiry(&key), formatted))
        resp_write_bulk(&call->out, formatted);
    return EVALUATE_DONE;
}
