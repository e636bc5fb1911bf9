#include "services/redis/watch.h"

#include "services/redis/evaluate_functions.h"

/* Stands for the version of a key that had expired when it was watched: that it is removed since is
 * no change. */
#define VERSION_EXPIRED ((uint64_t)INT64_MAX)

struct sight {
    bool found, alive; /* an expired row is found, and not alive */
    uint64_t version;  /* not found: of its deletion, if that is still known; else 0 */
};

/* A deletion is a row until it is flushed (row_table.h). */
static uint64_t deletion_version(const struct redis_call *call, struct bytes row_key)
{
    struct row_found found;
    bool known = row_table_get(call->rows->table, row_key, &found) && found.tombstone;

    return known ? found.header.version : 0;
}

static enum row_result look(struct redis_call *call, struct bytes key, struct sight *ret_sight)
{
    struct redis_key place;
    struct row_view row;

    *ret_sight = (struct sight){0};
    redis_key_locate(call, key, &place);
    if (key.size > REDIS_KEY_SIZE_MAX) return ROW_ABSENT; /* never stored */
    enum row_result result = row_get(call->rows, place.row_key, &row);
    if (result == ROW_ABSENT) ret_sight->version = deletion_version(call, place.row_key);
    if (result != ROW_FOUND) return result;
    ret_sight->found = true;
    ret_sight->alive = !redis_row_is_expired(call, &row.header);
    ret_sight->version = ret_sight->alive ? row.header.version : VERSION_EXPIRED;
    return ROW_FOUND;
}

static enum row_result holds(struct redis_call *call, const struct redis_watch *watch,
                             bool *ret_holds)
{
    struct sight sight;

    enum row_result result = look(call, watch->key, &sight);
    bool same = sight.version == watch->version;
    if (watch->existed)
        *ret_holds = sight.alive && same;
    else if (sight.found)
        *ret_holds = !sight.alive && same;
    else
        *ret_holds = sight.version <= watch->version; /* an older one may be forgotten by now */
    return result;
}

/* In another namespace now, one that was absent must be so there, and must not have been made where
 * it was watched: until FLUSHDB. */
enum row_result redis_watch_holds(struct redis_call *call, const struct redis_watch *watch,
                                  bool *ret_holds)
{
    struct redis_watch absent = {.key = watch->key};
    uint32_t now = call->namespace;

    if (call->limits->planted & REDIS_BUG_WATCH_IGNORED) {
        *ret_holds = true;
        return ROW_FOUND;
    }
    if (now == watch->namespace) return holds(call, watch, ret_holds);
    *ret_holds = false;
    if (watch->existed) return ROW_FOUND;
    absent.version = VERSION_EXPIRED;
    enum row_result result = holds(call, &absent, ret_holds);
    if (result == ROW_STOP || !*ret_holds) return result;
    call->namespace = watch->namespace;
    result = holds(call, watch, ret_holds);
    call->namespace = now;
    return result;
}

/* Not as clients know it: version, existence and namespace of each key, in one array. */
enum evaluate_result evaluate_watch(struct redis_call *call)
{
    resp_write_array(&call->out, 3 * (uint64_t)(call->count - 1));
    for (uint32_t i = 1; i < call->count; i++) {
        struct sight sight;
        if (look(call, call->arguments[i], &sight) == ROW_STOP) return redis_stop(call);
        resp_write_integer(&call->out, (int64_t)sight.version);
        resp_write_integer(&call->out, sight.alive);
        resp_write_integer(&call->out, call->namespace);
    }
    return EVALUATE_DONE;
}
