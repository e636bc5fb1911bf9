#include "services/redis/batch.h"

#include "services/redis/evaluate_internal.h"
#include "services/redis/watch.h"

/* Of the encoding, so that a count is not believed that cannot be. */
enum { GUARD_SIZE_MIN = 10, WATCH_SIZE_MIN = 15, COMMAND_SIZE_MIN = 8 };
#define LOCK_LOST                                                                                  \
    "LOCKLOST a lock of HOLON.GUARD is not held with that token any more: its time was over, or "  \
    "it was given back; nothing was executed"

struct batch_item {
    bool expects;
    struct hash128 digest;
    struct redis_body body;
};

struct batch {
    struct row_context *rows;
    const struct redis_limits *limits;
    struct buffer *reply;
    size_t reply_start;
    uint64_t seed;
    uint32_t guard_count, watch_count, item_count;
    struct redis_guard *guards;
    struct redis_watch *watches;
    struct batch_item *items;
    uint16_t ids_made;      /* by the commands so far */
    bool written_is_enough; /* for all of them */
};

/* --- decoding -------------------------------------------------------------------------------- */

static bool read_guards(struct batch *batch, struct reader *reader)
{
    uint64_t count = read_varint(reader);

    if (count > reader_left(reader) / GUARD_SIZE_MIN) return false;
    batch->guards = arena_allocate(batch->rows->arena, count * sizeof(batch->guards[0]));
    batch->guard_count = (uint32_t)count;
    for (uint32_t i = 0; i < batch->guard_count; i++)
        if (!redis_batch_read_guard(reader, &batch->guards[i])) return false;
    return true;
}

static bool read_watches(struct batch *batch, struct reader *reader)
{
    uint64_t count = read_varint(reader);

    if (count > reader_left(reader) / WATCH_SIZE_MIN) return false;
    batch->watches = arena_allocate(batch->rows->arena, count * sizeof(batch->watches[0]));
    batch->watch_count = (uint32_t)count;
    for (uint32_t i = 0; i < batch->watch_count; i++) {
        struct redis_watch *watch = &batch->watches[i];
        watch->database = read_u8(reader);
        watch->existed = read_u8(reader);
        watch->namespace = read_u32(reader);
        watch->version = read_u64(reader);
        watch->key = read_sized(reader);
        if (watch->database >= REDIS_DATABASES) return false;
    }
    return !reader->failed;
}

static struct redis_call call_make(const struct batch *batch)
{
    return (struct redis_call){.rows = batch->rows,
                               .now_ms = row_time_ms(batch->rows),
                               .limits = batch->limits,
                               .batch = true,
                               .ids_made = batch->ids_made,
                               .out = resp_writer_make(batch->reply, false)};
}

static bool read_item(struct batch *batch, struct reader *reader, struct batch_item *item)
{
    struct redis_call call = call_make(batch);
    uint8_t flags = read_u8(reader);

    if (flags > 1) return false;
    item->expects = flags & 1;
    if (item->expects) {
        item->digest.low = read_u64(reader);
        item->digest.high = read_u64(reader);
    }
    struct bytes body = read_sized(reader);
    if (reader->failed || redis_body_decode(body, batch->rows->arena, &item->body)) return false;
    bool whole = !(item->body.flags & (REDIS_BODY_REFERENCES | REDIS_BODY_STAGE));
    return whole && redis_call_take(&call, &item->body);
}

static bool decode(struct batch *batch, struct bytes body)
{
    struct reader reader = reader_make(body);

    if (read_u8(&reader) != REDIS_BATCH_FORMAT) return false;
    uint8_t flags = read_u8(&reader);
    if (flags & ~REDIS_BATCH_GUARDS) return false;
    if (flags && !read_guards(batch, &reader)) return false;
    if (!read_watches(batch, &reader)) return false;
    batch->seed = read_u64(&reader);
    uint64_t count = read_varint(&reader);
    if (count > reader_left(&reader) / COMMAND_SIZE_MIN) return false;
    batch->items = arena_allocate(batch->rows->arena, count * sizeof(batch->items[0]));
    batch->item_count = (uint32_t)count;
    for (uint32_t i = 0; i < batch->item_count; i++)
        if (!read_item(batch, &reader, &batch->items[i])) return false;
    return !reader.failed && reader_left(&reader) == 0;
}

/* --- ends ------------------------------------------------------------------------------------ */

/* Nothing of the transaction is executed, here or elsewhere. */
static enum evaluate_result refuse(struct batch *batch, enum redis_batch_outcome outcome,
                                   const char *text)
{
    struct resp_writer out = resp_writer_make(batch->reply, false);
    uint8_t byte = outcome;

    buffer_cut(batch->reply, batch->reply_start);
    resp_write_raw(&out, bytes_make(&byte, 1));
    if (text) resp_write_error(&out, text);
    row_refuse(batch->rows);
    return EVALUATE_DONE;
}

/* --- what will be needed --------------------------------------------------------------------- */

/* Where FLUSHDB and SWAPDB in the batch itself change that, the guess is wrong and a command
 * fetches for itself. */
/* Of the databases that the batch names, by bit. */
static uint32_t databases_of(const struct batch *batch)
{
    uint32_t databases = 0;

    for (uint32_t i = 0; i < batch->watch_count; i++)
        databases |= 1u << batch->watches[i].database;
    for (uint32_t i = 0; i < batch->item_count; i++)
        databases |= 1u << batch->items[i].body.database;
    return databases;
}

static void want_all(struct batch *batch)
{
    struct redis_call call = call_make(batch);
    uint32_t namespaces[REDIS_DATABASES], databases = databases_of(batch);
    struct redis_key key;

    if (row_table_complete(batch->rows->table)) return;
    for (uint8_t database = 0; database < REDIS_DATABASES; database++)
        if (databases >> database & 1) redis_namespace_find(&call, database, &namespaces[database]);
    if (batch->rows->need_rows || batch->rows->must_wait) return;
    for (uint32_t i = 0; i < batch->guard_count; i++) {
        call.database = batch->guards[i].database;
        lock_want(&call, batch->guards[i].name);
    }
    for (uint32_t i = 0; i < batch->watch_count; i++) {
        call.namespace = namespaces[batch->watches[i].database];
        redis_key_locate(&call, batch->watches[i].key, &key);
        row_want(batch->rows, key.row_key);
    }
    for (uint32_t i = 0; i < batch->item_count; i++) {
        call.namespace = namespaces[batch->items[i].body.database];
        if (redis_call_take(&call, &batch->items[i].body)) redis_call_want_keys(&call);
    }
}

/* --- running --------------------------------------------------------------------------------- */

enum step { STEP_ON, STEP_END }; /* END: *ret_result is what to return */

/* Before anything else: what a former holder says is not even looked at. */
static enum step check_guards(struct batch *batch, enum evaluate_result *ret_result)
{
    struct redis_call call = call_make(batch);

    for (uint32_t i = 0; i < batch->guard_count; i++) {
        bool holds = false;
        if (lock_guard_holds(&call, &batch->guards[i], &holds) == ROW_STOP) {
            *ret_result = redis_stop(&call);
            return STEP_END;
        }
        if (call.misrouted || !holds) {
            *ret_result =
                refuse(batch, REDIS_BATCH_REFUSED, call.misrouted ? REDIS_MISROUTED : LOCK_LOST);
            return STEP_END;
        }
    }
    return STEP_ON;
}

static enum step check_watches(struct batch *batch, enum evaluate_result *ret_result)
{
    struct redis_call call = call_make(batch);

    for (uint32_t i = 0; i < batch->watch_count; i++) {
        const struct redis_watch *watch = &batch->watches[i];
        bool holds = false;
        bool stopped = redis_namespace_find(&call, watch->database, &call.namespace) == ROW_STOP ||
                       redis_watch_holds(&call, watch, &holds) == ROW_STOP;
        if (stopped) {
            *ret_result = redis_stop(&call);
            return STEP_END;
        }
        if (call.misrouted) {
            *ret_result = refuse(batch, REDIS_BATCH_REFUSED, REDIS_MISROUTED);
            return STEP_END;
        }
        if (!holds) {
            *ret_result = refuse(batch, REDIS_BATCH_WATCH_FAILED, NULL);
            return STEP_END;
        }
    }
    return STEP_ON;
}

/* The command alone; its reply is appended. */
static enum evaluate_result run_command(struct batch *batch, const struct batch_item *item,
                                        struct redis_call *call)
{
    struct row_context *rows = batch->rows;

    *call = call_make(batch);
    redis_call_take(call, &item->body);
    if (redis_namespace_find(call, call->database, &call->namespace) == ROW_STOP)
        return redis_stop(call);
    rows->written_is_enough = rows->databases_in_memory >> call->database & 1;
    enum evaluate_result result = call->command->evaluate(call);
    batch->ids_made = rows->names_made = call->ids_made;
    batch->written_is_enough = batch->written_is_enough && rows->written_is_enough;
    return result;
}

static enum step run_item(struct batch *batch, const struct batch_item *item,
                          enum evaluate_result *ret_result)
{
    struct row_context *rows = batch->rows;
    struct redis_call call;
    uint32_t none = 0;

    size_t at = buffer_size(batch->reply);
    bool room = buffer_append(batch->reply, bytes_make(&none, sizeof(none))) == STATUS_OK;
    *ret_result = run_command(batch, item, &call);
    if (rows->must_wait) return STEP_END;
    /* It will be run again when the rows are here: what the others need can be fetched with them.
     */
    if (rows->need_rows && rows->wanted_count < WANTED_COUNT_MAX && !rows->over_budget)
        return STEP_ON;
    if (rows->need_rows) return STEP_END;
    if (*ret_result != EVALUATE_DONE) return STEP_END;
    if (rows->over_budget) {
        *ret_result = EVALUATE_OVER_BUDGET;
        return STEP_END;
    }
    const char *wrong = call.misrouted             ? REDIS_MISROUTED
                        : call.out.failed || !room ? REDIS_REPLY_TOO_LARGE
                                                   : NULL;
    if (wrong) {
        *ret_result = refuse(batch, REDIS_BATCH_REFUSED, wrong);
        return STEP_END;
    }
    struct bytes reply = bytes_from(buffer_bytes(batch->reply), at + sizeof(uint32_t));
    store_u32(batch->reply->memory + batch->reply->start + at, (uint32_t)reply.size);
    if (!item->expects) return STEP_ON;
    struct hash128 digest = redis_batch_digest(batch->seed, item->body.command, reply);
    if (digest.low == item->digest.low && digest.high == item->digest.high) return STEP_ON;
    *ret_result = refuse(batch, REDIS_BATCH_UNEXPECTED, NULL);
    return STEP_END;
}

static enum evaluate_result run(struct batch *batch)
{
    enum evaluate_result result = EVALUATE_DONE;
    uint8_t executed = REDIS_BATCH_EXECUTED;

    if (check_guards(batch, &result) == STEP_END) return result;
    if (check_watches(batch, &result) == STEP_END) return result;
    if (buffer_append(batch->reply, bytes_make(&executed, 1))) return EVALUATE_OVER_BUDGET;
    for (uint32_t i = 0; i < batch->item_count; i++)
        if (run_item(batch, &batch->items[i], &result) == STEP_END) return result;
    if (batch->rows->need_rows) return row_context_stop(batch->rows);
    return EVALUATE_DONE;
}

enum evaluate_result redis_batch_evaluate(struct row_context *rows, const struct request *request,
                                          struct reply *reply)
{
    struct redis_limits limits = redis_limits_default();
    struct batch batch = {.rows = rows,
                          .limits = rows->options ? rows->options : &limits,
                          .reply = reply->buffer,
                          .reply_start = buffer_size(reply->buffer),
                          .ids_made = rows->names_made, /* by batches before it, of one entry */
                          .written_is_enough = true};

    rows->written_is_enough = false;
    if (!decode(&batch, request->body))
        return refuse(&batch, REDIS_BATCH_REFUSED, REDIS_NOT_UNDERSTOOD);
    want_all(&batch);
    if (rows->need_rows || rows->must_wait) return row_context_stop(rows);
    enum evaluate_result result = run(&batch);
    rows->written_is_enough = batch.written_is_enough && batch.item_count > 0;
    return result;
}
