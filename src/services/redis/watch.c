#include "services/redis/watch.h"

#include "services/redis/evaluate_functions.h"

struct sight {
    bool found, alive; /* an expired row is found, and not alive */
    uint64_t version;  /* 0: not found */
};

static enum row_result look(struct redis_call *call, struct bytes key, struct sight *ret_sight)
{
    struct redis_key place;
    struct row_view row;

    *ret_sight = (struct sight){0};
    redis_key_locate(call, key, &place);
    if (key.size > REDIS_KEY_SIZE_MAX) return ROW_ABSENT; /* never stored */
    enum row_result result = row_get(call->rows, place.row_key, &row);
    if (result != ROW_FOUND) return result;
    ret_sight->found = true;
    ret_sight->alive = !redis_row_is_expired(call, &row.header);
    ret_sight->version = row.header.version;
    return ROW_FOUND;
}

/* An expired key that is removed meanwhile has not changed. */
enum row_result redis_watch_holds(struct redis_call *call, const struct redis_watch *watch,
                                  bool *ret_holds)
{
    struct sight sight;

    enum row_result result = look(call, watch->key, &sight);
    bool same = sight.version == watch->version;
    *ret_holds = watch->existed ? sight.alive && same : !sight.found || (!sight.alive && same);
    if (call->limits->planted & REDIS_BUG_WATCH_IGNORED) *ret_holds = true;
    return result;
}

/* Not as clients know it: version and existence of each key, in one array. */
enum evaluate_result evaluate_watch(struct redis_call *call)
{
    resp_write_array(&call->out, 2 * (uint64_t)(call->count - 1));
    for (uint32_t i = 1; i < call->count; i++) {
        struct sight sight;
        if (look(call, call->arguments[i], &sight) == ROW_STOP) return redis_stop(call);
        resp_write_integer(&call->out, (int64_t)sight.version);
        resp_write_integer(&call->out, sight.alive);
    }
    return EVALUATE_DONE;
}
