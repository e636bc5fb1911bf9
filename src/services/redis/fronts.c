#include "services/redis/fronts.h"

#include "services/redis/call.h"
#include "services/redis/parts.h"

enum { FRONT_KEY_SIZE = ROW_PREFIX_SIZE + 5 };

static void front_key_store(uint8_t at[FRONT_KEY_SIZE], const struct row_context *rows,
                            uint8_t kind, uint32_t namespace)
{
    row_prefix_store(at, rows->slot_first, SERVICE_REDIS, REDIS_NAMESPACE_FRONTS);
    at[ROW_PREFIX_SIZE] = kind;
    store_u32_be(at + ROW_PREFIX_SIZE + 1, namespace);
}

enum row_result redis_front_get(struct row_context *rows, uint8_t kind, uint32_t namespace,
                                struct bytes from, struct bytes *ret_from)
{
    uint8_t key[FRONT_KEY_SIZE];
    struct row_view row;

    front_key_store(key, rows, kind, namespace);
    enum row_result result = row_get(rows, bytes_make(key, sizeof(key)), &row);
    bool behind = result == ROW_FOUND && bytes_compare(row.value, from) > 0;
    *ret_from = behind ? row.value : from;
    return result;
}

void redis_front_put(struct row_context *rows, uint8_t kind, uint32_t namespace, struct bytes at)
{
    uint8_t key[FRONT_KEY_SIZE];

    front_key_store(key, rows, kind, namespace);
    bool held = rows->locks != NULL &&
                locks_stop_write(rows->locks, bytes_make(key, sizeof(key)), rows->lock_owner);
    if (held) return;
    row_put(rows, bytes_make(key, sizeof(key)), REDIS_ROW_MARK, 0, 0, at);
}
