/* codec.h - bounded readers and writers for wire and disk formats: little-endian except
 * where a name says `be` (inside ordered keys).
 *
 * A reader never passes its end: a short read returns 0 / empty and sets `failed`, which
 * stays set; a decoder reads all its fields and checks `failed` once. A writer appends to a
 * buffer whose size_max the caller chose large enough; exceeding it sets `failed`. */
#ifndef HOLON_BASE_CODEC_H
#define HOLON_BASE_CODEC_H

#include "base/buffer.h"
#include "base/bytes.h"

struct reader {
    const uint8_t *next;
    const uint8_t *end;
    bool failed;
};

static inline struct reader reader_make(struct bytes bytes)
{
    return (struct reader){.next = bytes.data,
                           .end = bytes.size ? bytes.data + bytes.size : bytes.data,
                           .failed = false};
}

static inline size_t reader_left(const struct reader *reader)
{
    return (size_t)(reader->end - reader->next);
}

/* The next `size` bytes, borrowed from the input; empty and failed when there are fewer. */
static inline struct bytes read_bytes(struct reader *reader, size_t size)
{
    if (reader->failed || reader_left(reader) < size) {
        reader->failed = true;
        return bytes_make(NULL, 0);
    }
    struct bytes bytes = bytes_make(reader->next, size);
    if (size) reader->next += size;
    return bytes;
}

#define CODEC_READER(name, type)                                                                   \
    static inline type name(struct reader *reader)                                                 \
    {                                                                                              \
        type value = 0;                                                                            \
        struct bytes bytes = read_bytes(reader, sizeof(value));                                    \
        if (bytes.size) memcpy(&value, bytes.data, sizeof(value));                                 \
        return value;                                                                              \
    }
CODEC_READER(read_u8, uint8_t)
CODEC_READER(read_u16, uint16_t)
CODEC_READER(read_u32, uint32_t)
CODEC_READER(read_u64, uint64_t)
CODEC_READER(read_i64, int64_t)
#undef CODEC_READER

/* LEB128, at most 10 bytes; an overlong or overflowing one fails. */
uint64_t read_varint_slowly(struct reader *reader); /* private: of several bytes */
static inline uint64_t read_varint(struct reader *reader)
{
    bool short_one = !reader->failed && reader->next != reader->end && *reader->next < 0x80;
    return short_one ? *reader->next++ : read_varint_slowly(reader);
}
/* varint length, then that many bytes, borrowed. */
struct bytes read_sized(struct reader *reader);

struct writer {
    struct buffer *buffer;
    bool failed;
};

static inline struct writer writer_make(struct buffer *buffer)
{
    return (struct writer){.buffer = buffer, .failed = false};
}

void write_bytes(struct writer *writer, struct bytes bytes);
void write_varint(struct writer *writer, uint64_t value);
void write_sized(struct writer *writer, struct bytes bytes);

#define CODEC_WRITER(name, type)                                                                   \
    static inline void name(struct writer *writer, type value)                                     \
    {                                                                                              \
        uint8_t *room = writer->failed ? NULL : buffer_reserve(writer->buffer, sizeof(value));     \
        if (room == NULL) {                                                                        \
            writer->failed = true;                                                                 \
            return;                                                                                \
        }                                                                                          \
        memcpy(room, &value, sizeof(value));                                                       \
        buffer_commit(writer->buffer, sizeof(value));                                              \
    }
CODEC_WRITER(write_u8, uint8_t)
CODEC_WRITER(write_u16, uint16_t)
CODEC_WRITER(write_u32, uint32_t)
CODEC_WRITER(write_u64, uint64_t)
CODEC_WRITER(write_i64, int64_t)
#undef CODEC_WRITER

enum { VARINT_SIZE_MAX = 10 };

/* At most VARINT_SIZE_MAX bytes. Returns one past the last. */
static inline uint8_t *store_varint(uint8_t *at, uint64_t value)
{
    while (value >= 0x80) {
        *at++ = (uint8_t)(value | 0x80);
        value >>= 7;
    }
    *at++ = (uint8_t)value;
    return at;
}

/* Fixed-place little- and big-endian access for formats laid out by hand. */
static inline void store_u16(uint8_t *at, uint16_t value)
{
    memcpy(at, &value, 2);
}
static inline void store_u32(uint8_t *at, uint32_t value)
{
    memcpy(at, &value, 4);
}
static inline void store_u64(uint8_t *at, uint64_t value)
{
    memcpy(at, &value, 8);
}
static inline uint16_t load_u16(const uint8_t *at)
{
    uint16_t value;
    memcpy(&value, at, 2);
    return value;
}
static inline uint32_t load_u32(const uint8_t *at)
{
    uint32_t value;
    memcpy(&value, at, 4);
    return value;
}
static inline uint64_t load_u64(const uint8_t *at)
{
    uint64_t value;
    memcpy(&value, at, 8);
    return value;
}
static inline void store_u16_be(uint8_t *at, uint16_t value)
{
    store_u16(at, __builtin_bswap16(value));
}
static inline void store_u32_be(uint8_t *at, uint32_t value)
{
    store_u32(at, __builtin_bswap32(value));
}
static inline void store_u64_be(uint8_t *at, uint64_t value)
{
    store_u64(at, __builtin_bswap64(value));
}
static inline uint16_t load_u16_be(const uint8_t *at)
{
    return __builtin_bswap16(load_u16(at));
}
static inline uint32_t load_u32_be(const uint8_t *at)
{
    return __builtin_bswap32(load_u32(at));
}
static inline uint64_t load_u64_be(const uint8_t *at)
{
    return __builtin_bswap64(load_u64(at));
}

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "formats are little-endian");

#endif
