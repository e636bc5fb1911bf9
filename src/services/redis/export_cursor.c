#include "base/hash.h"
#include "services/redis/export_walk.h"

enum { FORMAT = 1, CHECK_SIZE = 8 };

static uint64_t check_of(const struct export_walk *walk, struct bytes text)
{
    const struct row_context *rows = walk->call->rows;
    uint64_t of = (uint64_t)rows->slot_first << 16 | rows->slot_last;

    return hash64(rows->hash_secret[0] ^ hash_u64(of), text) ^ rows->hash_secret[1];
}

bool export_cursor_write(const struct export_walk *walk, struct buffer *out)
{
    struct writer writer = writer_make(out);
    const struct export_value *value = &walk->value;

    write_u8(&writer, FORMAT);
    write_u8(&writer, walk->stage);
    write_u16(&writer, walk->slot);
    write_u8(&writer, value->type);
    write_u8(&writer, value->begun);
    write_sized(&writer, walk->suffix);
    if (value->type) {
        write_u64(&writer, value->expiry_ms);
        write_u64(&writer, value->parts.id.index);
        write_u16(&writer, value->parts.id.number);
        write_u64(&writer, value->parts.size);
        write_u32(&writer, value->parts.chunk_size);
        write_u64(&writer, value->offset);
        write_sized(&writer, value->field);
    }
    if (writer.failed) return false;
    write_u64(&writer, check_of(walk, buffer_bytes(out)));
    return !writer.failed;
}

static void read_value(struct reader *reader, struct export_value *value)
{
    value->expiry_ms = read_u64(reader);
    value->parts.id.index = read_u64(reader);
    value->parts.id.number = read_u16(reader);
    value->parts.size = read_u64(reader);
    value->parts.chunk_size = read_u32(reader);
    value->offset = read_u64(reader);
    value->field = read_sized(reader);
}

static bool value_is_sound(const struct export_value *value, const struct export_walk *walk)
{
    bool string = value->type == REDIS_ROW_STRING;
    bool known = string || value->type == REDIS_ROW_HASH;

    if (!known || walk->stage >= EXPORT_DATABASES || walk->suffix.size < REDIS_HASH_SIZE)
        return false;
    if (!string) return true;
    return value->parts.chunk_size > 0 && value->parts.chunk_size <= REDIS_CHUNK_SIZE_MAX &&
           value->parts.size <= REDIS_STRING_SIZE_MAX && value->offset <= value->parts.size;
}

bool export_cursor_read(struct export_walk *walk, struct bytes cursor)
{
    const struct row_context *rows = walk->call->rows;

    walk->slot = rows->slot_first;
    if (cursor.size == 0) return true;
    if (cursor.size < CHECK_SIZE || cursor.size > EXPORT_CURSOR_SIZE_MAX) return false;
    struct bytes text = bytes_make(cursor.data, cursor.size - CHECK_SIZE);
    if (load_u64(cursor.data + text.size) != check_of(walk, text)) return false;

    struct reader reader = reader_make(text);
    struct export_value value = {0};
    if (read_u8(&reader) != FORMAT) return false;
    walk->stage = read_u8(&reader);
    walk->slot = read_u16(&reader);
    value.type = read_u8(&reader);
    value.begun = read_u8(&reader);
    walk->suffix = read_sized(&reader);
    if (value.type) read_value(&reader, &value);
    if (reader.failed || reader_left(&reader) || walk->stage >= EXPORT_STAGES) return false;
    if (walk->slot < rows->slot_first || walk->slot > rows->slot_last) return false;
    if (value.type && !value_is_sound(&value, walk)) return false;
    walk->value = value;
    return true;
}
