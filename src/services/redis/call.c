#include "services/redis/call.h"

#include "base/hash.h"
#include "base/parse.h"
#include "services/redis/parts.h"

enum { HASH_BITS = 48 };

uint64_t redis_key_hash(const struct row_context *rows, struct bytes key)
{
    uint64_t hash = hash64(rows->hash_secret[0], key);
    return hash_u64(hash ^ rows->hash_secret[1]) >> (64 - HASH_BITS);
}

void redis_row_prefix_store(uint8_t at[REDIS_ROW_PREFIX_SIZE], uint16_t slot, uint32_t namespace,
                            uint64_t hash)
{
    row_prefix_store(at, slot, SERVICE_REDIS, namespace);
    store_u16_be(at + ROW_PREFIX_SIZE, (uint16_t)(hash >> 32));
    store_u32_be(at + ROW_PREFIX_SIZE + 2, (uint32_t)hash);
}

static struct bytes row_key_make(struct redis_call *call, struct bytes key)
{
    uint8_t *at = arena_allocate(call->rows->arena, REDIS_ROW_PREFIX_SIZE + key.size);
    uint16_t slot = key_slot(key);

    if (slot < call->rows->slot_first || slot > call->rows->slot_last) call->misrouted = true;
    redis_row_prefix_store(at, slot, call->namespace, redis_key_hash(call->rows, key));
    if (key.size) memcpy(at + REDIS_ROW_PREFIX_SIZE, key.data, key.size);
    return bytes_make(at, REDIS_ROW_PREFIX_SIZE + key.size);
}

void redis_key_locate(struct redis_call *call, struct bytes key, struct redis_key *ret_key)
{
    ret_key->row_key = row_key_make(call, key);
    ret_key->exists = false;
}

enum row_result redis_key_overwrite(struct redis_call *call, struct bytes key, uint64_t expiry_ms,
                                    struct redis_key *ret_key)
{
    /* Asked of the table and not of row_count(), see redis_namespace_find(). */
    bool looks = redis_parts_exist(call) || (expiry_ms && redis_reminders_exist(call));

    if (looks) return redis_key_find(call, key, ret_key);
    redis_key_locate(call, key, ret_key);
    return ROW_ABSENT;
}

enum row_result redis_key_find(struct redis_call *call, struct bytes key, struct redis_key *ret_key)
{
    redis_key_locate(call, key, ret_key);
    if (key.size > REDIS_KEY_SIZE_MAX) return ROW_ABSENT; /* never stored: see redis_key_fits */

    enum row_result result = row_get(call->rows, ret_key->row_key, &ret_key->row);
    if (result != ROW_FOUND) return result;
    if (redis_row_is_expired(call, &ret_key->row.header)) {
        redis_row_remove(call, ret_key->row_key, &ret_key->row);
        return ROW_ABSENT;
    }
    ret_key->exists = true;
    return ROW_FOUND;
}

bool redis_typed_find(struct redis_call *call, struct bytes key, uint8_t type,
                      struct redis_key *ret_key, enum evaluate_result *ret_result)
{
    if (redis_key_find(call, key, ret_key) == ROW_STOP) {
        *ret_result = redis_stop(call);
        return false;
    }
    if (ret_key->exists && ret_key->row.header.type != type) {
        *ret_result = redis_reply_wrong_type(call);
        return false;
    }
    if (!ret_key->exists) ret_key->row.value = bytes_make(NULL, 0);
    return true;
}

bool redis_effects_fit(struct redis_call *call, size_t size)
{
    if (buffer_size(call->rows->effects) + size <= REDIS_EFFECTS_SIZE_MAX) return true;
    if (call->batch) call->rows->over_budget = true; /* all of it is too big, not this one alone */
    redis_reply_error(call, "ERR keys and values of one write exceed what this version of Holon "
                            "can store at once (283 KiB); nothing was changed");
    return false;
}

bool redis_key_fits(struct redis_call *call, size_t key_size, uint64_t value_size, size_t effects)
{
    if (key_size > REDIS_KEY_SIZE_MAX) {
        redis_reply_error(call, "ERR key exceeds maximum allowed size (65536 bytes in this "
                                "version of Holon)");
        return false;
    }
    if (value_size > REDIS_STRING_SIZE_MAX) {
        redis_reply_error(call, "ERR string exceeds maximum allowed size (16777216 bytes in this "
                                "version of Holon)");
        return false;
    }
    return redis_effects_fit(call, key_size + effects + REDIS_EFFECT_OVERHEAD);
}

bool redis_key_put(struct redis_call *call, const struct redis_key *key, uint8_t type,
                   uint64_t expiry_ms, struct bytes value)
{
    if (!redis_key_fits(call, key->row_key.size - REDIS_ROW_PREFIX_SIZE, value.size, value.size))
        return false;
    if (redis_key_has_parts(key)) redis_parts_drop_of(call, key->row_key, &key->row);
    if (redis_expiry_is_past(call, expiry_ms)) {
        row_delete(call->rows, key->row_key);
        return true;
    }
    redis_remind(call, key, expiry_ms);
    row_put(call->rows, key->row_key, type, 0, expiry_ms, value);
    return true;
}

bool redis_key_put_expiry(struct redis_call *call, const struct redis_key *key, uint64_t expiry_ms)
{
    const struct row_header *header = &key->row.header;

    if (!redis_effects_fit(call, key->row_key.size + key->row.value.size)) return false;
    if (redis_expiry_is_past(call, expiry_ms)) {
        redis_key_delete(call, key);
        return true;
    }
    redis_remind(call, key, expiry_ms);
    row_put(call->rows, key->row_key, header->type, header->flags, expiry_ms, key->row.value);
    return true;
}

void redis_key_delete(struct redis_call *call, const struct redis_key *key)
{
    redis_row_remove(call, key->row_key, &key->row);
}

enum evaluate_result redis_reply_ok(struct redis_call *call)
{
    resp_write_raw(&call->out, bytes_make("+OK\r\n", 5));
    return EVALUATE_DONE;
}

enum evaluate_result redis_reply_integer(struct redis_call *call, int64_t value)
{
    resp_write_integer(&call->out, value);
    return EVALUATE_DONE;
}

enum evaluate_result redis_reply_error(struct redis_call *call, const char *text)
{
    resp_write_error(&call->out, text);
    return EVALUATE_DONE;
}

enum evaluate_result redis_reply_wrong_type(struct redis_call *call)
{
    return redis_reply_error(call,
                             "WRONGTYPE Operation against a key holding the wrong kind of value");
}

enum evaluate_result redis_reply_damaged(struct redis_call *call)
{
    return redis_reply_error(call, "ERR the value stored at this key is damaged: its row cannot "
                                   "be understood; nothing was changed");
}

enum evaluate_result redis_reply_syntax_error(struct redis_call *call)
{
    return redis_reply_error(call, "ERR syntax error");
}

bool redis_argument_i64(struct redis_call *call, uint32_t index, int64_t *ret_value)
{
    if (parse_i64(call->arguments[index], ret_value)) return true;
    redis_reply_error(call, "ERR value is not an integer or out of range");
    return false;
}
