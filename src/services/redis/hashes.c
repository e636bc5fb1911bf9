/* hashes.c - commands on small hashes: one row each (hash_row.h). */
#include "services/redis/evaluate_functions.h"
#include "services/redis/hash_row.h"
#include "services/redis/number.h"

static enum evaluate_result reply_damaged(struct redis_call *call)
{
    return redis_reply_error(call, "ERR the hash stored at this key is damaged");
}

static bool find_hash(struct redis_call *call, struct redis_key *ret_key,
                      enum evaluate_result *ret_result)
{
    return redis_typed_find(call, call->arguments[1], REDIS_ROW_HASH, ret_key, ret_result);
}

/* Finds the hash and takes it apart. */
static bool load(struct redis_call *call, uint32_t more, struct redis_key *ret_key,
                 struct hash_row *ret_row, enum evaluate_result *ret_result)
{
    if (!find_hash(call, ret_key, ret_result)) return false;
    if (hash_row_load(ret_row, call->rows->arena, ret_key->row.value, more)) return true;
    *ret_result = reply_damaged(call);
    return false;
}

/* False: refused, and the error is the reply. */
static bool store(struct redis_call *call, const struct redis_key *key, const struct hash_row *row)
{
    struct bytes value = hash_row_encode(row);

    if (value.size > REDIS_VALUE_SIZE_MAX) {
        redis_reply_error(call, "ERR hash exceeds maximum allowed size (262144 bytes with all its "
                                "fields in this version of Holon)");
        return false;
    }
    return redis_key_put(call, key, REDIS_ROW_HASH, redis_key_expiry(key), value);
}

/* HSET counts the new fields; HMSET says OK. */
enum evaluate_result evaluate_hset(struct redis_call *call)
{
    struct redis_key key;
    struct hash_row row;
    enum evaluate_result result;
    int64_t added = 0;

    if (call->count % 2) {
        resp_write_error_format(&call->out, "ERR wrong number of arguments for '%s' command",
                                call->command->name);
        return EVALUATE_DONE;
    }
    if (!load(call, (call->count - 2) / 2, &key, &row, &result)) return result;
    for (uint32_t i = 2; i < call->count; i += 2)
        added += hash_row_put(&row, call->arguments[i], call->arguments[i + 1]);
    if (!store(call, &key, &row)) return EVALUATE_DONE;
    if (call->command->id == REDIS_HMSET) return redis_reply_ok(call);
    return redis_reply_integer(call, added);
}

enum evaluate_result evaluate_hsetnx(struct redis_call *call)
{
    struct redis_key key;
    struct hash_row row;
    enum evaluate_result result;

    if (!load(call, 1, &key, &row, &result)) return result;
    if (hash_row_find(&row, call->arguments[2])) return redis_reply_integer(call, 0);
    hash_row_put(&row, call->arguments[2], call->arguments[3]);
    if (store(call, &key, &row)) redis_reply_integer(call, 1);
    return EVALUATE_DONE;
}

/* One field, read in place. */
static bool read_one(struct redis_call *call, bool *ret_found, struct bytes *ret_value,
                     enum evaluate_result *ret_result)
{
    struct redis_key key;
    struct hash_field field;

    *ret_found = false;
    if (!find_hash(call, &key, ret_result)) return false;
    struct reader reader = reader_make(key.row.value);
    for (uint64_t left = hash_row_read_count(&reader); left; left--) {
        if (!hash_row_read_field(&reader, &field)) {
            *ret_result = reply_damaged(call);
            return false;
        }
        if (!bytes_equal(field.name, call->arguments[2])) continue;
        *ret_found = true;
        *ret_value = field.value;
        break;
    }
    return true;
}

enum evaluate_result evaluate_hget(struct redis_call *call)
{
    enum evaluate_result result;
    struct bytes value;
    bool found;

    if (!read_one(call, &found, &value, &result)) return result;
    if (found)
        resp_write_bulk(&call->out, value);
    else
        resp_write_null(&call->out);
    return EVALUATE_DONE;
}

enum evaluate_result evaluate_hexists(struct redis_call *call)
{
    enum evaluate_result result;
    struct bytes value;
    bool found;

    if (!read_one(call, &found, &value, &result)) return result;
    return redis_reply_integer(call, found);
}

enum evaluate_result evaluate_hstrlen(struct redis_call *call)
{
    enum evaluate_result result;
    struct bytes value;
    bool found;

    if (!read_one(call, &found, &value, &result)) return result;
    return redis_reply_integer(call, found ? (int64_t)value.size : 0);
}

enum evaluate_result evaluate_hlen(struct redis_call *call)
{
    struct redis_key key;
    enum evaluate_result result;

    if (!find_hash(call, &key, &result)) return result;
    struct reader reader = reader_make(key.row.value);
    return redis_reply_integer(call, (int64_t)hash_row_read_count(&reader));
}

enum evaluate_result evaluate_hmget(struct redis_call *call)
{
    struct redis_key key;
    struct hash_row row;
    enum evaluate_result result;

    if (!load(call, call->count - 2, &key, &row, &result)) return result;
    resp_write_array(&call->out, call->count - 2);
    for (uint32_t i = 2; i < call->count; i++) {
        struct hash_field *field = hash_row_find(&row, call->arguments[i]);
        if (field)
            resp_write_bulk(&call->out, field->value);
        else
            resp_write_null(&call->out);
    }
    return EVALUATE_DONE;
}

enum evaluate_result evaluate_hdel(struct redis_call *call)
{
    struct redis_key key;
    struct hash_row row;
    enum evaluate_result result;

    if (!load(call, call->count - 2, &key, &row, &result)) return result;
    for (uint32_t i = 2; i < call->count; i++) {
        struct hash_field *field = hash_row_find(&row, call->arguments[i]);
        if (field) hash_row_remove(&row, field);
    }
    if (row.removed && hash_row_live(&row) == 0)
        redis_key_delete(call, &key);
    else if (row.removed && !store(call, &key, &row))
        return EVALUATE_DONE;
    return redis_reply_integer(call, row.removed);
}

enum parts { NAMES = 1, VALUES = 2 };

static enum evaluate_result reply_fields(struct redis_call *call, unsigned parts)
{
    struct redis_key key;
    enum evaluate_result result;

    if (!find_hash(call, &key, &result)) return result;
    struct reader reader = reader_make(key.row.value);
    uint64_t count = hash_row_read_count(&reader);
    if (parts == (NAMES | VALUES))
        resp_write_map(&call->out, count);
    else
        resp_write_array(&call->out, count);
    for (; count; count--) {
        struct hash_field field;
        hash_row_read_field(&reader, &field); /* damaged: empty, so that the count is kept */
        if (parts & NAMES) resp_write_bulk(&call->out, field.name);
        if (parts & VALUES) resp_write_bulk(&call->out, field.value);
    }
    return EVALUATE_DONE;
}

enum evaluate_result evaluate_hgetall(struct redis_call *call)
{
    return reply_fields(call, NAMES | VALUES);
}

enum evaluate_result evaluate_hkeys(struct redis_call *call)
{
    return reply_fields(call, NAMES);
}

enum evaluate_result evaluate_hvals(struct redis_call *call)
{
    return reply_fields(call, VALUES);
}

enum evaluate_result evaluate_hincrby(struct redis_call *call)
{
    struct redis_key key;
    struct hash_row row;
    enum evaluate_result result;
    int64_t value = 0, delta;
    char text[REDIS_I64_SIZE_MAX];

    if (!redis_argument_i64(call, 3, &delta)) return EVALUATE_DONE;
    if (!load(call, 1, &key, &row, &result)) return result;
    struct hash_field *field = hash_row_find(&row, call->arguments[2]);
    if (field && !redis_parse_i64(field->value, &value))
        return redis_reply_error(call, "ERR hash value is not an integer");
    if (__builtin_add_overflow(value, delta, &value))
        return redis_reply_error(call, "ERR increment or decrement would overflow");

    hash_row_put(&row, call->arguments[2], redis_format_i64(text, value));
    if (store(call, &key, &row)) redis_reply_integer(call, value);
    return EVALUATE_DONE;
}

enum evaluate_result evaluate_hincrbyfloat(struct redis_call *call)
{
    struct redis_key key;
    struct hash_row row;
    enum evaluate_result result;
    long double value = 0, delta;
    char text[REDIS_FLOAT_SIZE_MAX];

    if (!redis_parse_float(call->arguments[3], &delta))
        return redis_reply_error(call, "ERR value is not a valid float");
    if (!redis_float_is_finite(delta))
        return redis_reply_error(call, "ERR value is NaN or Infinity");
    if (!load(call, 1, &key, &row, &result)) return result;
    struct hash_field *field = hash_row_find(&row, call->arguments[2]);
    if (field && !redis_parse_float(field->value, &value))
        return redis_reply_error(call, "ERR hash value is not a float");
    value += delta;
    if (!redis_float_is_finite(value))
        return redis_reply_error(call, "ERR increment would produce NaN or Infinity");

    struct bytes formatted = redis_format_float(text, value);
    hash_row_put(&row, call->arguments[2], formatted);
    if (store(call, &key, &row)) resp_write_bulk(&call->out, formatted);
    return EVALUATE_DONE;
}
