/* hashes.c - commands on hashes of any size (hash_value.h). */
#include "services/redis/evaluate_functions.h"
#include "services/redis/hash_value.h"
#include "services/redis/number.h"

/* HSET counts the new fields; HMSET says OK. */
enum evaluate_result evaluate_hset(struct redis_call *call)
{
    struct redis_hash hash;
    enum evaluate_result result;
    int64_t added = 0;

    if (call->count % 2) {
        resp_write_error_format(&call->out, "ERR wrong number of arguments for '%s' command",
                                call->command->name);
        return EVALUATE_DONE;
    }
    if (!redis_hash_load(call, (call->count - 2) / 2, &hash, &result)) return result;
    if (!redis_hash_fits(call, &hash, 2, call->count)) return EVALUATE_DONE;
    if (!redis_hash_want(call, &hash, 2, 2)) return redis_stop(call);
    for (uint32_t i = 2; i < call->count; i += 2) {
        enum row_result put =
            redis_hash_put(call, &hash, call->arguments[i], call->arguments[i + 1]);
        if (put == ROW_STOP) return redis_stop(call);
        added += put == ROW_ABSENT;
    }
    redis_hash_store(call, &hash);
    if (call->command->id == REDIS_HMSET) return redis_reply_ok(call);
    return redis_reply_integer(call, added);
}

/* One field by a command of one field; the reply is up to the caller. False: stopped. */
static bool put_one(struct redis_call *call, struct redis_hash *hash, struct bytes value)
{
    if (redis_hash_put(call, hash, call->arguments[2], value) == ROW_STOP) return false;
    redis_hash_store(call, hash);
    return true;
}

enum evaluate_result evaluate_hsetnx(struct redis_call *call)
{
    struct redis_hash hash;
    struct bytes old;
    enum evaluate_result result;

    if (!redis_hash_load(call, 1, &hash, &result)) return result;
    enum row_result found = redis_hash_get(call, &hash, call->arguments[2], &old);
    if (found == ROW_STOP) return redis_stop(call);
    if (found == ROW_FOUND) return redis_reply_integer(call, 0);
    if (!redis_hash_fits(call, &hash, 2, call->count)) return EVALUATE_DONE;
    if (!put_one(call, &hash, call->arguments[3])) return redis_stop(call);
    return redis_reply_integer(call, 1);
}

/* One field, read in place. False: *ret_result is what to return. */
static bool read_one(struct redis_call *call, bool *ret_found, struct bytes *ret_value,
                     enum evaluate_result *ret_result)
{
    struct redis_hash hash;

    if (!redis_hash_find(call, &hash, ret_result)) return false;
    enum row_result found = redis_hash_get(call, &hash, call->arguments[2], ret_value);
    *ret_found = found == ROW_FOUND;
    *ret_result = redis_stop(call);
    return found != ROW_STOP;
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
    struct redis_hash hash;
    enum evaluate_result result;

    if (!redis_hash_find(call, &hash, &result)) return result;
    return redis_reply_integer(call, (int64_t)redis_hash_count(&hash));
}

enum evaluate_result evaluate_hmget(struct redis_call *call)
{
    struct redis_hash hash;
    enum evaluate_result result;

    if (!redis_hash_load(call, call->count - 2, &hash, &result)) return result;
    if (!redis_hash_want(call, &hash, 2, 1)) return redis_stop(call);
    resp_write_array(&call->out, call->count - 2);
    for (uint32_t i = 2; i < call->count; i++) {
        struct bytes value;
        enum row_result found = redis_hash_get(call, &hash, call->arguments[i], &value);
        if (found == ROW_STOP) return redis_stop(call);
        if (found == ROW_FOUND)
            resp_write_bulk(&call->out, value);
        else
            resp_write_null(&call->out);
    }
    return EVALUATE_DONE;
}

enum evaluate_result evaluate_hdel(struct redis_call *call)
{
    struct redis_hash hash;
    enum evaluate_result result;
    size_t size = 0;

    for (uint32_t i = 2; i < call->count; i++)
        size += call->arguments[i].size + REDIS_EFFECT_OVERHEAD;
    if (!redis_effects_fit(call, size)) return EVALUATE_DONE;
    if (!redis_hash_load(call, call->count - 2, &hash, &result)) return result;
    if (!redis_hash_want(call, &hash, 2, 1)) return redis_stop(call);
    for (uint32_t i = 2; i < call->count; i++) {
        if (redis_hash_remove(call, &hash, call->arguments[i]) == ROW_STOP) return redis_stop(call);
    }
    redis_hash_store(call, &hash);
    return redis_reply_integer(call, hash.changed);
}

enum parts { NAMES = 1, VALUES = 2 };

struct fields_reply {
    struct redis_call *call;
    unsigned parts;
    uint64_t left; /* of those that the head of the reply announced */
};

static bool reply_field(void *context, uint64_t field_hash, struct bytes field, struct bytes value)
{
    struct fields_reply *reply = context;

    if (reply->left == 0 || reply->call->out.failed) return false;
    reply->left--;
    if (reply->parts & NAMES) resp_write_bulk(&reply->call->out, field);
    if (reply->parts & VALUES) resp_write_bulk(&reply->call->out, value);
    return true;
}

static enum evaluate_result reply_fields(struct redis_call *call, unsigned parts)
{
    struct redis_hash hash;
    enum evaluate_result result;
    size_t start = buffer_size(call->out.buffer);

    if (!redis_hash_find(call, &hash, &result)) return result;
    struct fields_reply reply = {.call = call, .parts = parts, .left = redis_hash_count(&hash)};
    if (parts == (NAMES | VALUES))
        resp_write_map(&call->out, reply.left);
    else
        resp_write_array(&call->out, reply.left);
    if (redis_hash_each(call, &hash, 0, &reply, reply_field) == ROW_STOP) return redis_stop(call);
    if (reply.left == 0 || call->out.failed) return EVALUATE_DONE;
    call->out.buffer->end = call->out.buffer->start + start;
    return redis_reply_damaged(call);
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
    struct redis_hash hash;
    struct bytes old;
    enum evaluate_result result;
    int64_t value = 0, delta;
    char text[REDIS_I64_SIZE_MAX];

    if (!redis_argument_i64(call, 3, &delta)) return EVALUATE_DONE;
    if (!redis_hash_load(call, 1, &hash, &result)) return result;
    enum row_result found = redis_hash_get(call, &hash, call->arguments[2], &old);
    if (found == ROW_STOP) return redis_stop(call);
    if (found == ROW_FOUND && !redis_parse_i64(old, &value))
        return redis_reply_error(call, "ERR hash value is not an integer");
    if (__builtin_add_overflow(value, delta, &value))
        return redis_reply_error(call, "ERR increment or decrement would overflow");

    if (!redis_hash_fits(call, &hash, 2, call->count)) return EVALUATE_DONE;
    if (!put_one(call, &hash, redis_format_i64(text, value))) return redis_stop(call);
    return redis_reply_integer(call, value);
}

enum evaluate_result evaluate_hincrbyfloat(struct redis_call *call)
{
    struct redis_hash hash;
    struct bytes old;
    enum evaluate_result result;
    long double value = 0, delta;
    char text[REDIS_FLOAT_SIZE_MAX];

    if (!redis_parse_float(call->arguments[3], &delta))
        return redis_reply_error(call, "ERR value is not a valid float");
    if (!redis_float_is_finite(delta))
        return redis_reply_error(call, "ERR value is NaN or Infinity");
    if (!redis_hash_load(call, 1, &hash, &result)) return result;
    enum row_result found = redis_hash_get(call, &hash, call->arguments[2], &old);
    if (found == ROW_STOP) return redis_stop(call);
    if (found == ROW_FOUND && !redis_parse_float(old, &value))
        return redis_reply_error(call, "ERR hash value is not a float");
    value += delta;
    if (!redis_float_is_finite(value))
        return redis_reply_error(call, "ERR increment would produce NaN or Infinity");

    struct bytes formatted = redis_format_float(text, value);
    if (!redis_hash_fits(call, &hash, 2, call->count)) return EVALUATE_DONE;
    if (!put_one(call, &hash, formatted)) return redis_stop(call);
    resp_write_bulk(&call->out, formatted);
    return EVALUATE_DONE;
}
