#include "services/redis/value_move.h"

#include "base/hash.h"
#include "services/redis/evaluate_functions.h"
#include "services/redis/part_rows.h"

enum {
    PAYLOAD_FORMAT = 1,
    KIND_ROW = 0,
    KIND_PARTS = 1,
    PAYLOAD_ROOM = 4096, /* of the bytes that a piece may have, for all that is beside it */
};

bool redis_moved_value_read(struct bytes reply, struct redis_moved_value *ret_value)
{
    struct redis_moved_value value;
    uint64_t count;
    int64_t own;

    if (!resp_read_array(&reply, &count) || count != 3 || !resp_read_bulk(&reply, &value.payload) ||
        !resp_read_integer(&reply, &value.expiry_ms) || !resp_read_integer(&reply, &own))
        return false;
    value.own = own != 0;
    *ret_value = value;
    return true;
}

struct bytes redis_value_expected_part(struct bytes reply)
{
    struct redis_moved_value value;

    if (!redis_moved_value_read(reply, &value) || !value.own) return reply;
    return value.payload;
}

/* --- reading --------------------------------------------------------------------------------- */

static size_t payload_max(const struct redis_call *call)
{
    size_t most = call->limits->stage_from;
    return most > 2 * PAYLOAD_ROOM ? most - PAYLOAD_ROOM : most / 2;
}

static enum evaluate_result reply_too_big(struct redis_call *call)
{
    resp_write_error_format(&call->out,
                            "ERR the value is too big to go to another partition: at most %zu "
                            "bytes with its fields in this version of Holon; nothing was changed",
                            payload_max(call));
    return EVALUATE_DONE;
}

static void encode_parts(struct writer *writer, const struct redis_parts *parts,
                         const struct redis_part_rows *rows)
{
    write_u8(writer, KIND_PARTS);
    write_u64(writer, parts->size);
    write_u32(writer, parts->chunk_size);
    write_varint(writer, rows->count);
    for (uint32_t i = 0; i < rows->count; i++) {
        write_sized(writer, rows->rows[i].suffix);
        write_u8(writer, rows->rows[i].type);
        write_sized(writer, rows->rows[i].value);
    }
}

static void reply_payload(struct redis_call *call, const struct redis_key *key,
                          struct buffer *payload)
{
    struct writer writer = writer_make(payload);

    write_u32(&writer, crc32c(0, buffer_bytes(payload)));
    resp_write_array(&call->out, 3);
    resp_write_bulk(&call->out, buffer_bytes(payload));
    resp_write_integer(&call->out, (int64_t)redis_key_expiry(key));
    resp_write_integer(&call->out, key->row.header.version == 0); /* see row_get() */
    call->out.failed |= writer.failed;
}

static enum evaluate_result read_found(struct redis_call *call, const struct redis_key *key,
                                       struct buffer *payload)
{
    struct writer writer = writer_make(payload);
    struct redis_part_rows rows;
    struct redis_parts parts;

    write_u8(&writer, PAYLOAD_FORMAT);
    write_u8(&writer, key->row.header.type);
    if (!redis_key_has_parts(key)) {
        if (key->row.value.size > payload_max(call)) return reply_too_big(call);
        write_u8(&writer, KIND_ROW);
        write_sized(&writer, key->row.value);
    } else {
        if (!redis_parts_decode(key->row.value, &parts)) return redis_reply_damaged(call);
        enum row_result found =
            redis_part_rows_get(call, key->row_key, parts.id, payload_max(call), &rows);
        if (found == ROW_STOP) return redis_stop(call);
        if (rows.too_many) return reply_too_big(call);
        encode_parts(&writer, &parts, &rows);
    }
    call->out.failed |= writer.failed;
    reply_payload(call, key, payload);
    return EVALUATE_DONE;
}

enum evaluate_result evaluate_readvalue(struct redis_call *call)
{
    struct redis_key key;
    struct buffer payload;

    if (redis_key_find(call, call->arguments[1], &key) == ROW_STOP) return redis_stop(call);
    if (!key.exists) {
        resp_write_null(&call->out);
        return EVALUATE_DONE;
    }
    buffer_init(&payload, REDIS_STRING_SIZE_MAX);
    enum evaluate_result result = read_found(call, &key, &payload);
    buffer_free(&payload);
    return result;
}

/* --- writing --------------------------------------------------------------------------------- */

struct payload {
    uint8_t type;
    bool in_parts;
    struct bytes value;       /* one row */
    struct redis_parts parts; /* without an id */
    struct redis_part_rows rows;
};

static bool read_parts(struct redis_call *call, struct reader *reader, struct payload *payload)
{
    payload->parts.size = read_u64(reader);
    payload->parts.chunk_size = read_u32(reader);
    uint64_t count = read_varint(reader);
    if (count > reader_left(reader) || payload->parts.chunk_size > REDIS_CHUNK_SIZE_MAX)
        return false;
    for (uint64_t i = 0; i < count; i++) {
        struct redis_part_row row;
        row.suffix = read_sized(reader);
        row.type = read_u8(reader);
        row.value = read_sized(reader);
        if (reader->failed || row.type == 0) return false;
        redis_part_rows_add(call, &payload->rows, row);
    }
    return true;
}

static bool payload_decode(struct redis_call *call, struct bytes bytes, struct payload *ret)
{
    if (bytes.size < sizeof(uint32_t)) return false;
    struct bytes body = bytes_make(bytes.data, bytes.size - sizeof(uint32_t));
    struct reader reader = reader_make(body);

    *ret = (struct payload){0};
    if (crc32c(0, body) != load_u32(bytes.data + body.size)) return false;
    if (read_u8(&reader) != PAYLOAD_FORMAT) return false;
    ret->type = read_u8(&reader);
    uint8_t kind = read_u8(&reader);
    if (reader.failed || ret->type == 0 || kind > KIND_PARTS) return false;
    ret->in_parts = kind == KIND_PARTS;
    if (ret->in_parts && !read_parts(call, &reader, ret)) return false;
    if (!ret->in_parts) ret->value = read_sized(&reader);
    return !reader.failed && reader_left(&reader) == 0;
}

enum evaluate_result evaluate_writevalue(struct redis_call *call)
{
    struct payload payload;
    struct redis_key key;

    bool sound = call->arguments[3].size == sizeof(uint64_t) &&
                 payload_decode(call, call->arguments[2], &payload);
    if (!sound) return redis_reply_error(call, "ERR a value that makes no sense");
    uint64_t expiry_ms = load_u64(call->arguments[3].data);
    size_t size = payload.in_parts ? payload.rows.bytes : payload.value.size;
    if (!redis_key_fits(call, call->arguments[1].size, 0, size)) return EVALUATE_DONE;
    if (redis_key_find(call, call->arguments[1], &key) == ROW_STOP) return redis_stop(call);
    if (!payload.in_parts) {
        bool put = redis_key_put(call, &key, payload.type, expiry_ms, payload.value);
        return put ? redis_reply_ok(call) : EVALUATE_DONE;
    }
    payload.parts.id = redis_part_id_new(call);
    redis_part_rows_put(call, key.row_key, payload.parts.id, &payload.rows);
    redis_key_put_parts(call, &key, payload.type, expiry_ms, &payload.parts);
    return redis_reply_ok(call);
}
