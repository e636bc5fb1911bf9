/* keys.c - commands about keys of any type. Expiry has its own file. */
#include "services/redis/evaluate_functions.h"
#include "services/redis/parts.h"

enum evaluate_result evaluate_del(struct redis_call *call)
{
    int64_t deleted = 0;
    size_t size = 0;

    for (uint32_t i = 1; i < call->count; i++)
        size += call->arguments[i].size + REDIS_EFFECT_OVERHEAD + redis_drop_effects(call);
    if (!redis_effects_fit(call, size)) return EVALUATE_DONE;

    for (uint32_t i = 1; i < call->count; i++) {
        struct redis_key key;
        if (redis_key_find(call, call->arguments[i], &key) == ROW_STOP) return redis_stop(call);
        if (!key.exists) continue; /* also the second time a key is named */
        redis_key_delete(call, &key);
        deleted++;
    }
    return redis_reply_integer(call, deleted);
}

/* EXISTS and TOUCH: a key named twice counts twice. Holon keeps no time of access. */
enum evaluate_result evaluate_exists(struct redis_call *call)
{
    int64_t found = 0;

    for (uint32_t i = 1; i < call->count; i++) {
        struct redis_key key;
        if (redis_key_find(call, call->arguments[i], &key) == ROW_STOP) return redis_stop(call);
        found += key.exists;
    }
    return redis_reply_integer(call, found);
}

enum evaluate_result evaluate_type(struct redis_call *call)
{
    struct redis_key key;
    const char *name = "none";

    if (redis_key_find(call, call->arguments[1], &key) == ROW_STOP) return redis_stop(call);
    if (key.exists) name = key.row.header.type == REDIS_ROW_HASH ? "hash" : "string";
    resp_write_simple(&call->out, name);
    return EVALUATE_DONE;
}
