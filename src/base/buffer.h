/* buffer.h - a growing byte queue with a greatest size named when it is made. Appended at
 * the end, consumed at the front. Owns its memory; starts without any. Thread: one. */
#ifndef HOLON_BASE_BUFFER_H
#define HOLON_BASE_BUFFER_H

#include "base/bytes.h"
#include "base/status.h"

struct buffer {
    uint8_t *memory;
    size_t start;    /* first byte not yet consumed */
    size_t end;      /* one past the last byte written */
    size_t capacity; /* of memory */
    size_t size_max; /* content never exceeds this */
};

void buffer_init(struct buffer *buffer, size_t size_max);
void buffer_free(struct buffer *buffer); /* may be used again after buffer_init() */

static inline size_t buffer_size(const struct buffer *buffer)
{
    return buffer->end - buffer->start;
}

/* The content; valid until the next call that changes the buffer. */
static inline struct bytes buffer_bytes(const struct buffer *buffer)
{
    const uint8_t *first = buffer->memory ? buffer->memory + buffer->start : NULL;
    return bytes_make(first, buffer->end - buffer->start);
}

void buffer_clear(struct buffer *buffer);   /* forgets the content, keeps the memory */
void buffer_release(struct buffer *buffer); /* forgets the content, frees the memory */

/* Private: moves or grows; what buffer_reserve() does when there is no room at the end. */
uint8_t *buffer_reserve_slowly(struct buffer *buffer, size_t size);

/* Room for `size` more bytes, contiguous: returns where to write, then buffer_commit().
 * NULL if size_max would be exceeded (nothing changes). */
static inline uint8_t *buffer_reserve(struct buffer *buffer, size_t size)
{
    bool room = buffer->capacity - buffer->end >= size && buffer->memory != NULL &&
                buffer->end - buffer->start + size <= buffer->size_max;
    return room ? buffer->memory + buffer->end : buffer_reserve_slowly(buffer, size);
}

static inline void buffer_commit(struct buffer *buffer, size_t size)
{
    buffer->end += size;
}

/* STATUS_FULL if size_max would be exceeded; then nothing is appended. */
static inline enum status buffer_append(struct buffer *buffer, struct bytes bytes)
{
    if (bytes.size == 0) return STATUS_OK;
    uint8_t *room = buffer_reserve(buffer, bytes.size);
    if (room == NULL) return STATUS_FULL;
    memcpy(room, bytes.data, bytes.size);
    buffer_commit(buffer, bytes.size);
    return STATUS_OK;
}
enum status buffer_append_format(struct buffer *buffer, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* Keeps the first `size` bytes; size <= buffer_size(). */
static inline void buffer_cut(struct buffer *buffer, size_t size)
{
    buffer->end = buffer->start + size;
}

/* Drops `size` bytes at the front; size <= buffer_size(). */
void buffer_consume(struct buffer *buffer, size_t size);

#endif
