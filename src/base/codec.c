#include "base/codec.h"

uint64_t read_varint_slowly(struct reader *reader)
{
    uint64_t value = 0;

    for (unsigned i = 0; i < VARINT_SIZE_MAX; i++) {
        uint8_t byte = read_u8(reader);
        if (reader->failed) return 0;

        bool last = (byte & 0x80) == 0;
        bool overlong = last && byte == 0 && i > 0; /* the same value fits in fewer bytes */
        bool overflows = i == VARINT_SIZE_MAX - 1 && byte > 1;
        if (overlong || overflows) break;

        value |= (uint64_t)(byte & 0x7f) << (7 * i);
        if (last) return value;
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
