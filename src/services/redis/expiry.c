#include "services/redis/expiry.h"

#include "services/redis/evaluate_functions.h"

bool redis_time_option_find(struct bytes word, struct redis_time_option *ret_option)
{
    bool seconds = redis_word_is(word, "ex"), seconds_at = redis_word_is(word, "exat");
    bool milliseconds = redis_word_is(word, "px"), milliseconds_at = redis_word_is(word, "pxat");

    if (!seconds && !seconds_at && !milliseconds && !milliseconds_at) return false;
    ret_option->unit = seconds || seconds_at ? REDIS_SECONDS : REDIS_MILLISECONDS;
    ret_option->absolute = seconds_at || milliseconds_at;
    return true;
}

enum evaluate_result redis_reply_bad_expiry(struct redis_call *call)
{
    resp_write_error_format(&call->out, "ERR invalid expire time in '%s' command",
                            call->command->name);
    return EVALUATE_DONE;
}

bool redis_expiry_parse(struct redis_call *call, uint32_t index, struct redis_time_option option,
                        uint64_t *ret_expiry_ms)
{
    int64_t value;

    if (!redis_argument_i64(call, index, &value)) return false;
    bool overflows = option.unit == REDIS_SECONDS && __builtin_mul_overflow(value, 1000, &value);
    if (!option.absolute) overflows |= __builtin_add_overflow(value, call->now_ms, &value);
    /* Relative to now, a value that is not positive lies at or before it. */
    if (overflows || value <= (option.absolute ? 0 : call->now_ms)) {
        redis_reply_bad_expiry(call);
        return false;
    }
    *ret_expiry_ms = (uint64_t)value;
    return true;
}

/* --- EXPIRE and its kin ------------------------------------------------------------------ */

enum expire_condition { IF_NONE = 1, IF_SOME = 2, IF_LATER = 4, IF_EARLIER = 8 };

static bool parse_conditions(struct redis_call *call, unsigned *ret_conditions)
{
    unsigned conditions = 0;

    for (uint32_t i = 3; i < call->count; i++) {
        struct bytes word = call->arguments[i];
        if (redis_word_is(word, "nx")) {
            conditions |= IF_NONE;
        } else if (redis_word_is(word, "xx")) {
            conditions |= IF_SOME;
        } else if (redis_word_is(word, "gt")) {
            conditions |= IF_LATER;
        } else if (redis_word_is(word, "lt")) {
            conditions |= IF_EARLIER;
        } else {
            resp_write_error_format(&call->out, "ERR Unsupported option %.*s",
                                    word.size < 128 ? (int)word.size : 128,
                                    (const char *)word.data);
            return false;
        }
    }
    if ((conditions & IF_NONE) && (conditions & ~(unsigned)IF_NONE)) {
        redis_reply_error(call, "ERR NX and XX, GT or LT options at the same time are not "
                                "compatible");
        return false;
    }
    if ((conditions & IF_LATER) && (conditions & IF_EARLIER)) {
        redis_reply_error(call, "ERR GT and LT options at the same time are not compatible");
        return false;
    }
    *ret_conditions = conditions;
    return true;
}

/* A key without expiry counts as one that ends never. */
static bool conditions_hold(unsigned conditions, uint64_t present, int64_t wanted)
{
    if ((conditions & IF_NONE) && present) return false;
    if ((conditions & IF_SOME) && !present) return false;
    if ((conditions & IF_LATER) && (!present || wanted <= (int64_t)present)) return false;
    if ((conditions & IF_EARLIER) && present && wanted >= (int64_t)present) return false;
    return true;
}

/* Unlike in SET, a time in the past is allowed: it deletes the key. */
static enum evaluate_result expire(struct redis_call *call, struct redis_time_option option)
{
    struct redis_key key;
    unsigned conditions;
    int64_t when;

    if (!parse_conditions(call, &conditions)) return EVALUATE_DONE;
    if (!redis_argument_i64(call, 2, &when)) return EVALUATE_DONE;
    bool overflows = option.unit == REDIS_SECONDS && __builtin_mul_overflow(when, 1000, &when);
    if (!option.absolute) overflows |= __builtin_add_overflow(when, call->now_ms, &when);
    if (overflows) return redis_reply_bad_expiry(call);

    if (redis_key_find(call, call->arguments[1], &key) == ROW_STOP) return redis_stop(call);
    if (!key.exists || !conditions_hold(conditions, redis_key_expiry(&key), when))
        return redis_reply_integer(call, 0);
    if (when <= call->now_ms)
        redis_key_delete(call, &key);
    else if (!redis_key_put_expiry(call, &key, (uint64_t)when))
        return EVALUATE_DONE;
    return redis_reply_integer(call, 1);
}

enum evaluate_result evaluate_expire(struct redis_call *call)
{
    return expire(call, (struct redis_time_option){REDIS_SECONDS, false});
}

enum evaluate_result evaluate_pexpire(struct redis_call *call)
{
    return expire(call, (struct redis_time_option){REDIS_MILLISECONDS, false});
}

enum evaluate_result evaluate_expireat(struct redis_call *call)
{
    return expire(call, (struct redis_time_option){REDIS_SECONDS, true});
}

enum evaluate_result evaluate_pexpireat(struct redis_call *call)
{
    return expire(call, (struct redis_time_option){REDIS_MILLISECONDS, true});
}

enum evaluate_result evaluate_persist(struct redis_call *call)
{
    struct redis_key key;

    if (redis_key_find(call, call->arguments[1], &key) == ROW_STOP) return redis_stop(call);
    if (redis_key_expiry(&key) == 0) return redis_reply_integer(call, 0);
    if (redis_key_put_expiry(call, &key, 0)) redis_reply_integer(call, 1);
    return EVALUATE_DONE;
}

/* --- TTL and its kin --------------------------------------------------------------------- */

/* -2: no such key; -1: it does not end. Seconds are rounded as redis-server does. */
static enum evaluate_result reply_ttl(struct redis_call *call, struct redis_time_option option)
{
    struct redis_key key;

    if (redis_key_find(call, call->arguments[1], &key) == ROW_STOP) return redis_stop(call);
    if (!key.exists) return redis_reply_integer(call, -2);
    int64_t expiry = (int64_t)redis_key_expiry(&key);
    if (expiry == 0) return redis_reply_integer(call, -1);

    int64_t value = option.absolute ? expiry : expiry - call->now_ms;
    if (value < 0) value = 0;
    if (option.unit == REDIS_SECONDS) value = value / 1000 + (value % 1000 >= 500);
    return redis_reply_integer(call, value);
}

enum evaluate_result evaluate_ttl(struct redis_call *call)
{
    return reply_ttl(call, (struct redis_time_option){REDIS_SECONDS, false});
}

enum evaluate_result evaluate_pttl(struct redis_call *call)
{
    return reply_ttl(call, (struct redis_time_option){REDIS_MILLISECONDS, false});
}

enum evaluate_result evaluate_expiretime(struct redis_call *call)
{
    return reply_ttl(call, (struct redis_time_option){REDIS_SECONDS, true});
}

enum evaluate_result evaluate_pexpiretime(struct redis_call *call)
{
    return reply_ttl(call, (struct redis_time_option){REDIS_MILLISECONDS, true});
}
