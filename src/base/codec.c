#include "base/codec.h"

uint64_t read_varint_slowly(struct reader *reader)
{
    size_t left = reader->failed ? 0 : reader_left(reader);
    const uint8_t *at = reader->next;
    uint64_t value = 0;

    bool two = left >= 2 && (at[0] & 0x80) && at[1] > 0 && at[1] < 0x80; /* most of them */
    if (two) {
        reader->next = at + 2;
        return (uint64_t)(at[0] & 0x7f) | (uint64_t)at[1] << 7;
    }
    if (left > VARINT_SIZE_MAX) left = VARINT_SIZE_MAX;
    for (size_t i = 0; i < left; i++) {
        value |= (uint64_t)(at[i] & 0x7f) << (7 * i);
        if (at[i] & 0x80) continue;
        bool overlong = at[i] == 0 && i > 0; /* the same value fits in fewer bytes */
        bool overflows = i == VARINT_SIZE_MAX - 1 && at[i] > 1;
        if (overlong || overflows) break;
        reader->next = at + i + 1;
        return value;
    }
    reader->failed = true;
    return 0;
}

struct bytes read_sized(struct reader *reader)
{
    uint64_t size = read_varint(reader);
    return read_bytes(reader, size);
}

void write_bytes(struct writer *writer, struct bytes bytes)
{
    if (writer->failed) return;
    if (buffer_append(writer->buffer, bytes) != STATUS_OK) writer->failed = true;
}

void write_varint(struct writer *writer, uint64_t value)
{
    uint8_t encoded[VARINT_SIZE_MAX];
    write_bytes(writer, bytes_make(encoded, (size_t)(store_varint(encoded, value) - encoded)));
}

void write_sized(struct writer *writer, struct bytes bytes)
{
    write_varint(writer, bytes.size);
    write_bytes(writer, bytes);
}
