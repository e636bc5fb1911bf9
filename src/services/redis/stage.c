#include "services/redis/stage.h"

#include "services/redis/stage_clock.h"
#include "services/redis/string_value.h"

enum { STAGE_ARGUMENTS = 4, WIRE_ID_SIZE = 10 };

static void record_key_store(uint8_t at[REDIS_GARBAGE_KEY_SIZE], const struct redis_call *call,
                             struct redis_part_id id)
{
    redis_garbage_key_store(at, call->rows, REDIS_GARBAGE_STAGED, id);
}

/* The record of a value for that key. ROW_ABSENT: there is none. */
static enum row_result record_find(struct redis_call *call, struct bytes row_key,
                                   struct redis_part_id id, struct redis_garbage *ret_record)
{
    uint8_t key[REDIS_GARBAGE_KEY_SIZE];
    struct redis_garbage wanted = redis_garbage_of(row_key, id);
    struct row_view row;

    record_key_store(key, call, id);
    enum row_result result = row_get(call->rows, bytes_make(key, sizeof(key)), &row);
    if (result != ROW_FOUND) return result;
    if (!redis_garbage_decode(row.value, ret_record) || ret_record->chunk_size == 0)
        return ROW_ABSENT;
    bool same = ret_record->namespace == wanted.namespace && ret_record->slot == wanted.slot;
    return same ? ROW_FOUND : ROW_ABSENT;
}

static enum row_result record_put(struct redis_call *call, struct redis_garbage *record)
{
    uint8_t key[REDIS_GARBAGE_KEY_SIZE];
    struct redis_stage_clock clock;

    enum row_result result = redis_stage_clock_get(call, &clock);
    if (result == ROW_STOP) return result;
    redis_stage_stamp(&clock, record);
    record_key_store(key, call, record->id);
    redis_garbage_put(call, bytes_make(key, sizeof(key)), record);
    row_want_chore(call->rows, call->rows->time + redis_stage_step_us(call));
    return result;
}

static void record_delete(struct redis_call *call, struct redis_part_id id)
{
    uint8_t key[REDIS_GARBAGE_KEY_SIZE];

    record_key_store(key, call, id);
    row_delete(call->rows, bytes_make(key, sizeof(key)));
}

static enum evaluate_result reply_gone(struct redis_call *call)
{
    return redis_reply_error(call, "UNAVAILABLE a value sent ahead of its command is gone: it came "
                                   "too slowly, or the database was flushed meanwhile; the command "
                                   "was not executed, try again");
}

/* --- stages -------------------------------------------------------------------------------- */

static struct redis_part_id id_of(struct bytes wire)
{
    return (struct redis_part_id){.index = load_u64(wire.data), .number = load_u16(wire.data + 8)};
}

static void reply_id(struct redis_call *call, struct redis_part_id id)
{
    uint8_t wire[WIRE_ID_SIZE];

    store_u64(wire, id.index);
    store_u16(wire + 8, id.number);
    resp_write_bulk(&call->out, bytes_make(wire, sizeof(wire)));
}

bool redis_stage_reply_parse(struct bytes reply, struct redis_part_id *ret_id)
{
    struct bytes wire;

    if (!resp_read_bulk(&reply, &wire) || wire.size != WIRE_ID_SIZE) return false;
    *ret_id = id_of(wire);
    return true;
}

bool redis_stage_reply_is_ok(struct bytes reply)
{
    return bytes_equal(reply, bytes_make("+OK\r\n", 5));
}

enum evaluate_result redis_stage_evaluate(struct redis_call *call)
{
    const struct bytes *arguments = call->arguments;
    struct redis_garbage record;
    struct redis_key key;

    bool sound = call->count == STAGE_ARGUMENTS + 1 && arguments[3].size == sizeof(uint64_t) &&
                 (arguments[2].size == 0 || arguments[2].size == WIRE_ID_SIZE);
    if (!sound) return redis_reply_error(call, "ERR a stage that makes no sense");
    bool first = arguments[2].size == 0;
    uint64_t offset = load_u64(arguments[3].data);
    struct bytes part = arguments[4];

    redis_key_locate(call, arguments[1], &key);
    if (first) {
        record = redis_garbage_of(key.row_key, redis_part_id_new(call));
        record.chunk_size = call->limits->chunk_size;
    } else {
        enum row_result found = record_find(call, key.row_key, id_of(arguments[2]), &record);
        if (found == ROW_STOP) return redis_stop(call);
        if (found == ROW_ABSENT) return reply_gone(call);
    }
    if (offset != record.staged_size || offset + part.size > REDIS_STRING_SIZE_MAX)
        return redis_reply_error(call, "ERR a stage that does not follow the one before");
    size_t effects = redis_chunks_effects(record.chunk_size, part.size);
    if (!redis_effects_fit(call, effects + REDIS_STAGE_EFFECTS)) return EVALUATE_DONE;

    struct redis_parts parts = {.id = record.id, .chunk_size = record.chunk_size};
    if (redis_chunks_write(call, key.row_key, &parts, offset, part) == ROW_STOP)
        return redis_stop(call);
    record.staged_size = offset + part.size;
    if (record_put(call, &record) == ROW_STOP) return redis_stop(call);
    if (!first) return redis_reply_ok(call);
    reply_id(call, record.id);
    return EVALUATE_DONE;
}

/* --- the command ---------------------------------------------------------------------------- */

const struct redis_reference *redis_reference_of(const struct redis_call *call, uint32_t index)
{
    const struct redis_body *body = call->body;

    if (body == NULL) return NULL;
    for (uint32_t i = 0; i < body->reference_count; i++)
        if (body->references[i].argument == index) return &body->references[i];
    return NULL;
}

static struct bytes key_of(const struct redis_call *call, const struct redis_reference *reference)
{
    return call->arguments[redis_key_index_of_value(call->command, reference->argument)];
}

static struct redis_part_id reference_id(const struct redis_reference *reference)
{
    return (struct redis_part_id){.index = reference->index, .number = reference->number};
}

enum row_result redis_stage_check(struct redis_call *call, bool *ret_whole)
{
    *ret_whole = true;
    for (uint32_t i = 0; i < call->body->reference_count; i++) {
        const struct redis_reference *reference = &call->body->references[i];
        struct redis_garbage record = {0};
        struct redis_key key;

        redis_key_locate(call, key_of(call, reference), &key);
        enum row_result found = record_find(call, key.row_key, reference_id(reference), &record);
        if (found == ROW_STOP) return found;
        bool whole = found == ROW_FOUND && record.staged_size == reference->size;
        if (call->limits->planted & REDIS_BUG_STAGES_NOT_CHECKED) whole = found == ROW_FOUND;
        *ret_whole = *ret_whole && whole;
    }
    if (!*ret_whole) reply_gone(call);
    return ROW_FOUND;
}

bool redis_stage_adopt(struct redis_call *call, struct bytes row_key, uint32_t index,
                       struct redis_parts *ret_parts, enum evaluate_result *ret_result)
{
    const struct redis_reference *reference = redis_reference_of(call, index);
    struct redis_garbage record;
    enum row_result found = record_find(call, row_key, reference_id(reference), &record);

    /* That it is there was checked, but one value cannot be taken twice. */
    if (found != ROW_FOUND) {
        *ret_result = found == ROW_STOP ? redis_stop(call) : EVALUATE_OVER_BUDGET;
        return false;
    }
    record_delete(call, record.id);
    call->adopted |= 1u << (reference - call->body->references);
    *ret_parts = (struct redis_parts){
        .id = record.id, .size = reference->size, .chunk_size = record.chunk_size};
    return true;
}

enum row_result redis_stage_drop_rest(struct redis_call *call)
{
    const struct redis_body *body = call->body;

    for (uint32_t i = 0; i < body->reference_count; i++) {
        const struct redis_reference *reference = &body->references[i];
        struct redis_garbage record;
        struct redis_key key;

        if (call->adopted & (1u << i)) continue;
        redis_key_locate(call, key_of(call, reference), &key);
        enum row_result found = record_find(call, key.row_key, reference_id(reference), &record);
        if (found == ROW_STOP) return found;
        if (found == ROW_ABSENT) continue;
        record_delete(call, record.id);
        redis_garbage_add(call, REDIS_GARBAGE_PARTS, &record);
    }
    return ROW_FOUND;
}
