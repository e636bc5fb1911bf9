/* namespace.c - databases and FLUSHDB. A row per partition maps a database to its namespace:
 *
 *   key [first slot][SERVICE_SYSTEM][0][u8 service][u8 database], value u32 namespace
 *
 * Without the row the namespace is the number of the database. FLUSHDB takes the next one,
 * + 16, and leaves a garbage record for the old (parts.h): O(1), the background removes its rows.
 * SWAPDB exchanges two. So modulo 16 the namespaces of the 16 databases are 0 to 15 at any time, in
 * some order: databases never meet in one, and none is used again. */
#include "base/parse.h"
#include "services/redis/call.h"
#include "services/redis/evaluate_functions.h"
#include "services/redis/parts.h"
#include "services/redis/request_body.h"

enum { MAP_KEY_SIZE = ROW_PREFIX_SIZE + 2, MAP_ROW_TYPE = 1, MAP_NAMESPACE = 0 };

static void map_key_store(uint8_t at[MAP_KEY_SIZE], const struct row_context *rows,
                          uint8_t database)
{
    row_prefix_store(at, rows->slot_first, SERVICE_SYSTEM, MAP_NAMESPACE);
    at[ROW_PREFIX_SIZE] = SERVICE_REDIS;
    at[ROW_PREFIX_SIZE + 1] = database;
}

/* Before the first FLUSHDB of the partition there is no such row, and this costs a hash lookup
 * instead of a search. Not row_count(): its answer depends on every proposal, and each read would
 * wait for the writes before it (rule A2). Here nothing uncommitted can be overlooked: the rows are
 * only ever put, and a proposed one is counted. But one that a transaction has prepared, or a
 * command of the same batch has put, is not. */
static inline bool has_no_map(const struct redis_call *call)
{
    bool counted = !call->batch && call->rows->locks == NULL && call->rows->reads == NULL;

    return counted && row_table_count(call->rows->table, SERVICE_SYSTEM, MAP_NAMESPACE) == 0;
}

enum row_result redis_namespace_find(struct redis_call *call, uint8_t database,
                                     uint32_t *ret_namespace)
{
    uint64_t version;
    *ret_namespace = database;
    if (has_no_map(call)) return ROW_ABSENT; /* as a rule: without another call */
    return redis_namespace_find_version(call, database, ret_namespace, &version);
}

enum row_result redis_namespace_find_version(struct redis_call *call, uint8_t database,
                                             uint32_t *ret_namespace, uint64_t *ret_version)
{
    uint8_t key[MAP_KEY_SIZE];
    struct row_view row;

    *ret_namespace = database;
    *ret_version = 0;
    if (has_no_map(call)) return ROW_ABSENT;

    map_key_store(key, call->rows, database);
    enum row_result result = row_get(call->rows, bytes_make(key, sizeof(key)), &row);
    if (result == ROW_FOUND && row.value.size == sizeof(uint32_t)) {
        *ret_namespace = load_u32(row.value.data);
        *ret_version = row.header.version;
    }
    return result;
}

static void map_put(struct redis_call *call, uint8_t database, uint32_t namespace)
{
    uint8_t key[MAP_KEY_SIZE], value[sizeof(uint32_t)];

    map_key_store(key, call->rows, database);
    store_u32(value, namespace);
    row_put(call->rows, bytes_make(key, sizeof(key)), MAP_ROW_TYPE, 0, 0,
            bytes_make(value, sizeof(value)));
}

static void flush_namespace(struct redis_call *call, uint8_t database, uint32_t namespace)
{

    /* Without a key it is a read; what was sent ahead of a command (stage.h) waits for it. */
    if (row_count(call->rows, SERVICE_REDIS, namespace) == 0) return;
    call->rows->written_is_enough = false; /* FLUSHALL is of all, and this is seldom */
    map_put(call, database, namespace + REDIS_DATABASES);
    struct redis_garbage garbage = {.namespace = namespace};
    redis_garbage_add(call, REDIS_GARBAGE_NAMESPACE, &garbage);
}

static bool flush_options_are_right(const struct redis_call *call)
{
    if (call->count == 1) return true;
    return call->count == 2 && (redis_word_is(call->arguments[1], "async") ||
                                redis_word_is(call->arguments[1], "sync"));
}

enum evaluate_result evaluate_flushdb(struct redis_call *call)
{
    if (!flush_options_are_right(call)) return redis_reply_syntax_error(call);
    flush_namespace(call, call->database, call->namespace);
    return redis_reply_ok(call);
}

enum evaluate_result evaluate_flushall(struct redis_call *call)
{
    if (!flush_options_are_right(call)) return redis_reply_syntax_error(call);
    for (uint8_t database = 0; database < REDIS_DATABASES; database++) {
        uint32_t namespace;
        if (redis_namespace_find(call, database, &namespace) == ROW_STOP) return redis_stop(call);
        flush_namespace(call, database, namespace);
    }
    return redis_reply_ok(call);
}

static bool swap_database(struct redis_call *call, uint32_t index, const char *invalid,
                          int64_t *ret_database)
{
    bool is_int =
        parse_i64(call->arguments[index], ret_database) && *ret_database == (int32_t)*ret_database;

    if (!is_int) redis_reply_error(call, invalid);
    return is_int;
}

/* In one partition; the connection's node asks all in one transaction. */
enum evaluate_result evaluate_swapdb(struct redis_call *call)
{
    int64_t first, second;
    uint32_t first_namespace, second_namespace;

    if (!swap_database(call, 1, "ERR invalid first DB index", &first)) return EVALUATE_DONE;
    if (!swap_database(call, 2, "ERR invalid second DB index", &second)) return EVALUATE_DONE;
    if (first < 0 || first >= REDIS_DATABASES || second < 0 || second >= REDIS_DATABASES)
        return redis_reply_error(call, "ERR DB index is out of range");
    if (redis_namespace_find(call, (uint8_t)first, &first_namespace) == ROW_STOP ||
        redis_namespace_find(call, (uint8_t)second, &second_namespace) == ROW_STOP)
        return redis_stop(call);
    if (first == second) return redis_reply_ok(call);
    call->rows->written_is_enough = false;
    map_put(call, (uint8_t)first, second_namespace);
    map_put(call, (uint8_t)second, first_namespace);
    return redis_reply_ok(call);
}

enum evaluate_result evaluate_keyspace(struct redis_call *call)
{
    resp_write_array(&call->out, 2 * REDIS_DATABASES);
    for (uint8_t database = 0; database < REDIS_DATABASES; database++) {
        uint32_t namespace;
        if (redis_namespace_find(call, database, &namespace) == ROW_STOP) return redis_stop(call);
        uint64_t keys = row_count(call->rows, SERVICE_REDIS, namespace);
        uint64_t reminders =
            row_count(call->rows, SERVICE_REDIS, namespace | REDIS_NAMESPACE_REMINDERS);
        resp_write_integer(&call->out, (int64_t)keys);
        /* A key that expires has a reminder; one that does no longer may have one still. */
        resp_write_integer(&call->out, (int64_t)(reminders < keys ? reminders : keys));
    }
    return EVALUATE_DONE;
}

enum evaluate_result evaluate_dbsize(struct redis_call *call)
{
    return redis_reply_integer(call,
                               (int64_t)row_count(call->rows, SERVICE_REDIS, call->namespace));
}
