/* string_edit.c - commands that change or read part of a string: APPEND, ranges, counters. */
#include "services/redis/evaluate_functions.h"
#include "services/redis/number.h"

static bool find_string(struct redis_call *call, struct redis_key *ret_key,
                        enum evaluate_result *ret_result)
{
    return redis_typed_find(call, call->arguments[1], REDIS_ROW_STRING, ret_key, ret_result);
}

/* Writes the value back under its old expiry; on success replies with `number`. */
static enum evaluate_result store(struct redis_call *call, const struct redis_key *key,
                                  struct bytes value, int64_t number)
{
    if (redis_key_put(call, key, REDIS_ROW_STRING, redis_key_expiry(key), value))
        redis_reply_integer(call, number);
    return EVALUATE_DONE;
}

enum evaluate_result evaluate_append(struct redis_call *call)
{
    struct redis_key key;
    enum evaluate_result result;

    if (!find_string(call, &key, &result)) return result;
    struct bytes old = key.row.value, more = call->arguments[2];
    if (!redis_key_fits(call, call->arguments[1].size, old.size + more.size)) return EVALUATE_DONE;

    uint8_t *room = arena_allocate(call->rows->arena, old.size + more.size);
    if (old.size) memcpy(room, old.data, old.size);
    if (more.size) memcpy(room + old.size, more.data, more.size);
    return store(call, &key, bytes_make(room, old.size + more.size),
                 (int64_t)(old.size + more.size));
}

enum evaluate_result evaluate_setrange(struct redis_call *call)
{
    struct redis_key key;
    enum evaluate_result result;
    int64_t offset;

    if (!redis_argument_i64(call, 2, &offset)) return EVALUATE_DONE;
    if (offset < 0) return redis_reply_error(call, "ERR offset is out of range");
    if (!find_string(call, &key, &result)) return result;
    struct bytes old = key.row.value, part = call->arguments[3];
    if (part.size == 0) return redis_reply_integer(call, (int64_t)old.size);

    size_t end = offset > REDIS_VALUE_SIZE_MAX ? SIZE_MAX / 2 : (size_t)offset + part.size;
    size_t size = end > old.size ? end : old.size;
    if (!redis_key_fits(call, call->arguments[1].size, size)) return EVALUATE_DONE;

    uint8_t *room = arena_allocate(call->rows->arena, size);
    memset(room, 0, size);
    if (old.size) memcpy(room, old.data, old.size);
    memcpy(room + offset, part.data, part.size);
    return store(call, &key, bytes_make(room, size), (int64_t)size);
}

enum evaluate_result evaluate_getrange(struct redis_call *call)
{
    struct redis_key key;
    enum evaluate_result result;
    int64_t first, last;

    if (!redis_argument_i64(call, 2, &first) || !redis_argument_i64(call, 3, &last))
        return EVALUATE_DONE;
    if (!find_string(call, &key, &result)) return result;
    struct bytes value = key.row.value;
    int64_t size = (int64_t)value.size;

    /* Negative counts from the end; what lies outside is cut off. */
    bool reversed = first < 0 && last < 0 && first > last;
    if (first < 0) first = first + size < 0 ? 0 : first + size;
    if (last < 0) last = last + size < 0 ? 0 : last + size;
    if (last >= size) last = size - 1;
    bool empty = reversed || first > last || size == 0;
    resp_write_bulk(&call->out, empty ? bytes_make(NULL, 0)
                                      : bytes_make(value.data + first, (size_t)(last - first + 1)));
    return EVALUATE_DONE;
}

/* --- counters ------------------------------------------------------------------------------ */

static enum evaluate_result add(struct redis_call *call, int64_t delta)
{
    struct redis_key key;
    enum evaluate_result result;
    int64_t value = 0;
    char text[REDIS_I64_SIZE_MAX];

    if (!find_string(call, &key, &result)) return result;
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

    if (!find_string(call, &key, &result)) return result;
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
