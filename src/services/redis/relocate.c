/* A value goes to another key of the same partition in one entry. In one row it is put there. One
 * in parts keeps them if the slot stays (their keys have the slot and the id, not the key); else
 * they are copied under a new id, if they fit an entry. */
#include "services/redis/relocate.h"

#include "base/parse.h"
#include "services/redis/evaluate_functions.h"
#include "services/redis/part_rows.h"
#include "services/redis/request_body.h"

const char *redis_copy_parse(const struct bytes *arguments, uint32_t count, uint8_t database,
                             struct redis_copy_options *ret_options)
{
    struct redis_copy_options options = {.database = database};

    for (uint32_t i = 3; i < count; i++) {
        int64_t value;
        if (redis_word_is(arguments[i], "replace")) {
            options.replace = true;
            continue;
        }
        if (!redis_word_is(arguments[i], "db") || i + 1 == count) return "ERR syntax error";
        if (!parse_i64(arguments[++i], &value))
            return "ERR value is not an integer or out of range";
        if (value != (int32_t)value)
            return "ERR value is out of range, value must between -2147483648 and 2147483647";
        if (value < 0 || value >= REDIS_DATABASES) return "ERR DB index is out of range";
        options.database = (uint8_t)value;
    }
    bool same = options.database == database && bytes_equal(arguments[1], arguments[2]);
    if (same) return "ERR source and destination objects are the same";
    *ret_options = options;
    return NULL;
}

/* --- within a partition ---------------------------------------------------------------------- */

struct relocation {
    struct redis_key from, to;
    uint32_t to_namespace;
    bool keeps; /* the source stays */
};

static enum evaluate_result reply_too_big(struct redis_call *call)
{
    return redis_reply_error(call, "ERR the value is too big to go to a key of another slot, or to "
                                   "be copied: about 200 KiB with its fields in this version of "
                                   "Holon; nothing was changed");
}

static bool move_parts(struct redis_call *call, const struct relocation *relocation,
                       const struct redis_parts *parts)
{
    const struct redis_key *from = &relocation->from, *to = &relocation->to;

    if (!redis_key_fits(call, to->row_key.size - REDIS_ROW_PREFIX_SIZE, 0, REDIS_DROP_EFFECTS))
        return false;
    redis_key_put_parts(call, to, from->row.header.type, redis_key_expiry(from), parts);
    row_delete(call->rows, from->row_key); /* alone: what it named is named by the other now */
    return true;
}

/* False: *ret_result is what to return. */
static bool copy_parts(struct redis_call *call, const struct relocation *relocation,
                       struct redis_parts parts, enum evaluate_result *ret_result)
{
    const struct redis_key *from = &relocation->from, *to = &relocation->to;
    struct redis_part_rows rows;
    size_t before = buffer_size(call->rows->effects);
    size_t used = before + from->row_key.size + to->row_key.size + 1024;
    size_t most = used < REDIS_EFFECTS_SIZE_MAX ? REDIS_EFFECTS_SIZE_MAX - used : 0;

    *ret_result = redis_stop(call);
    if (redis_part_rows_get(call, from->row_key, parts.id, most, &rows) == ROW_STOP) return false;
    *ret_result = EVALUATE_DONE;
    if (rows.too_many) {
        /* Alone it might fit: then the whole is refused, and not this command only. */
        if (call->batch && before > 0) call->rows->over_budget = true;
        reply_too_big(call);
        return false;
    }
    if (!redis_key_fits(call, to->row_key.size - REDIS_ROW_PREFIX_SIZE, 0, rows.bytes))
        return false;
    parts.id = redis_part_id_new(call);
    redis_part_rows_put(call, to->row_key, parts.id, &rows);
    redis_key_put_parts(call, to, from->row.header.type, redis_key_expiry(from), &parts);
    return true;
}

static bool put_there(struct redis_call *call, const struct relocation *relocation,
                      enum evaluate_result *ret_result)
{
    const struct redis_key *from = &relocation->from;
    struct redis_parts parts;

    *ret_result = EVALUATE_DONE;
    if (!redis_key_has_parts(from)) {
        if (!redis_key_put(call, &relocation->to, from->row.header.type, redis_key_expiry(from),
                           from->row.value))
            return false;
        if (!relocation->keeps) redis_key_delete(call, from);
        return true;
    }
    if (!redis_parts_decode(from->row.value, &parts)) {
        redis_reply_damaged(call);
        return false;
    }
    bool same_slot = load_u16_be(from->row_key.data) == load_u16_be(relocation->to.row_key.data);
    if (same_slot && !relocation->keeps) return move_parts(call, relocation, &parts);
    if (!copy_parts(call, relocation, parts, ret_result)) return false;
    if (!relocation->keeps) redis_key_delete(call, from);
    return true;
}

/* The new row and its reminder are of the namespace where they go. */
static bool relocate(struct redis_call *call, const struct relocation *relocation,
                     enum evaluate_result *ret_result)
{
    uint32_t own = call->namespace;

    call->namespace = relocation->to_namespace;
    bool done = put_there(call, relocation, ret_result);
    call->namespace = own;
    return done;
}

static enum row_result find_both(struct redis_call *call, struct relocation *relocation)
{
    uint32_t own = call->namespace;

    enum row_result result = redis_key_find(call, call->arguments[1], &relocation->from);
    if (result == ROW_STOP || !relocation->from.exists) return result;
    call->namespace = relocation->to_namespace;
    result = redis_key_find(call, call->arguments[2], &relocation->to);
    call->namespace = own;
    return result;
}

static enum evaluate_result rename_key(struct redis_call *call, bool if_absent)
{
    struct relocation relocation = {.to_namespace = call->namespace};
    enum evaluate_result result;

    if (find_both(call, &relocation) == ROW_STOP) return redis_stop(call);
    if (!relocation.from.exists) return redis_reply_error(call, REDIS_NO_SUCH_KEY);
    bool same = bytes_equal(call->arguments[1], call->arguments[2]);
    if (if_absent && relocation.to.exists) return redis_reply_integer(call, 0);
    if (same) return redis_reply_ok(call);
    if (!relocate(call, &relocation, &result)) return result;
    return if_absent ? redis_reply_integer(call, 1) : redis_reply_ok(call);
}

enum evaluate_result evaluate_rename(struct redis_call *call)
{
    return rename_key(call, false);
}

enum evaluate_result evaluate_renamenx(struct redis_call *call)
{
    return rename_key(call, true);
}

enum evaluate_result evaluate_copy(struct redis_call *call)
{
    struct relocation relocation = {.keeps = true};
    struct redis_copy_options options;
    enum evaluate_result result;

    const char *wrong = redis_copy_parse(call->arguments, call->count, call->database, &options);
    if (wrong) return redis_reply_error(call, wrong);
    if (redis_namespace_find(call, options.database, &relocation.to_namespace) == ROW_STOP)
        return redis_stop(call);
    if (find_both(call, &relocation) == ROW_STOP) return redis_stop(call);
    bool refused = !relocation.from.exists || (relocation.to.exists && !options.replace);
    if (refused) return redis_reply_integer(call, 0);
    if (!(call->rows->databases_in_memory >> options.database & 1))
        call->rows->written_is_enough = false;
    if (!relocate(call, &relocation, &result)) return result;
    return redis_reply_integer(call, 1);
}
