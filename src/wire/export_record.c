#include "wire/export_record.h"

bool export_record_write(struct buffer *out, const struct export_record *record)
{
    struct writer writer = writer_make(out);
    bool hash = record->kind == EXPORT_HASH || record->kind == EXPORT_HASH_MORE;
    bool string = record->kind == EXPORT_STRING || record->kind == EXPORT_STRING_MORE;
    size_t before = buffer_size(out);

    write_u8(&writer, record->kind);
    write_u8(&writer, record->database);
    write_sized(&writer, record->key);
    if (record->kind == EXPORT_STRING || record->kind == EXPORT_HASH) {
        write_u64(&writer, record->expiry_ms);
        write_varint(&writer, record->size);
    }
    if (string) write_sized(&writer, record->piece);
    if (hash) {
        write_varint(&writer, record->field_count);
        write_bytes(&writer, record->piece);
    }
    if (record->kind == EXPORT_LOCK) write_u64(&writer, record->token);
    if (writer.failed) buffer_cut(out, before);
    return !writer.failed;
}

/* Fields as they come; allocates nothing, so that a wrong count costs no more than the input. */
static struct bytes read_fields(struct reader *reader, uint64_t count)
{
    const uint8_t *first = reader->next;

    for (; count && !reader->failed; count--) {
        read_sized(reader);
        read_sized(reader);
    }
    return bytes_make(first, (size_t)(reader->next - first));
}

bool export_record_read(struct reader *reader, struct export_record *ret_record)
{
    struct export_record record = {.kind = read_u8(reader), .database = read_u8(reader)};

    record.key = read_sized(reader);
    if (reader->failed || record.kind == 0 || record.kind >= EXPORT_KIND_END ||
        record.database >= EXPORT_DATABASES || record.key.size > EXPORT_KEY_SIZE_MAX)
        return false;
    if (record.kind == EXPORT_STRING || record.kind == EXPORT_HASH) {
        record.expiry_ms = read_u64(reader);
        record.size = read_varint(reader);
    }
    if (record.kind == EXPORT_STRING || record.kind == EXPORT_STRING_MORE)
        record.piece = read_sized(reader);
    if (record.kind == EXPORT_HASH || record.kind == EXPORT_HASH_MORE) {
        record.field_count = read_varint(reader);
        record.piece = read_fields(reader, record.field_count);
    }
    if (record.kind == EXPORT_LOCK) record.token = read_u64(reader);
    if (reader->failed) return false;
    *ret_record = record;
    return true;
}

static const char *begin_value(struct export_sequence *sequence, const struct export_record *record)
{
    bool string = record->kind == EXPORT_STRING;
    uint64_t given = string ? record->piece.size : record->field_count;

    if (string && record->size > EXPORT_STRING_SIZE_MAX) return "a string that is too large";
    if (!string && record->size == 0) return "a hash without fields";
    if (given > record->size) return "more of a value than there is";
    sequence->kind = record->kind;
    sequence->left = record->size - given;
    return NULL;
}

static const char *go_on(struct export_sequence *sequence, const struct export_record *record)
{
    bool string = record->kind == EXPORT_STRING_MORE;
    uint8_t of = string ? EXPORT_STRING : EXPORT_HASH;
    uint64_t given = string ? record->piece.size : record->field_count;

    if (sequence->left == 0 || sequence->kind != of) return "a piece of nothing";
    if (given == 0 || given > sequence->left) return "a piece of a wrong size";
    sequence->left -= given;
    return NULL;
}

const char *export_sequence_add(struct export_sequence *sequence,
                                const struct export_record *record)
{
    if (!export_record_begins(record)) return go_on(sequence, record);
    if (sequence->left) return "a key in the middle of the value of another";
    if (record->kind == EXPORT_LOCK) {
        sequence->locks++;
        if (record->token > sequence->token_max) sequence->token_max = record->token;
        return NULL;
    }
    sequence->keys[record->database]++;
    sequence->keys_all++;
    sequence->same += record->kind == EXPORT_SAME;
    return record->kind == EXPORT_SAME ? NULL : begin_value(sequence, record);
}
