#include "base/buffer.h"

#include <stdarg.h>
#include <stdio.h>

#include "base/assert.h"
#include "base/memory.h"

enum { CAPACITY_MIN = 64 };

void buffer_init(struct buffer *buffer, size_t size_max)
{
    *buffer = (struct buffer){.size_max = size_max};
}

void buffer_free(struct buffer *buffer)
{
    memory_free(buffer->memory);
    *buffer = (struct buffer){0};
}

void buffer_clear(struct buffer *buffer)
{
    buffer->start = 0;
    buffer->end = 0;
}

void buffer_release(struct buffer *buffer)
{
    memory_free(buffer->memory);
    buffer_init(buffer, buffer->size_max);
}

static void buffer_move_to_front(struct buffer *buffer)
{
    size_t content = buffer_size(buffer);

    if (buffer->start == 0) return;
    if (content) memmove(buffer->memory, buffer->memory + buffer->start, content);
    buffer->start = 0;
    buffer->end = content;
}

/* Doubles, so that appending n bytes costs O(n) in all; the caller has checked size_max. */
static void buffer_grow(struct buffer *buffer, size_t needed)
{
    size_t capacity = buffer->capacity ? buffer->capacity : CAPACITY_MIN;

    while (capacity < needed)
        capacity = capacity > SIZE_MAX / 2 ? needed : capacity * 2;
    if (capacity > buffer->size_max && needed <= buffer->size_max) capacity = buffer->size_max;
    buffer->memory = memory_resize(buffer->memory, capacity);
    buffer->capacity = capacity;
}

uint8_t *buffer_reserve_slowly(struct buffer *buffer, size_t size)
{
    size_t content = buffer_size(buffer);

    ASSERT(buffer->start <= buffer->end && buffer->end <= buffer->capacity);
    if (size > buffer->size_max || content > buffer->size_max - size) return NULL;

    if (buffer->memory == NULL || buffer->capacity - buffer->end < size) {
        /* A move pays off when it frees more bytes than it copies, which keeps a long-lived
         * queue linear. Otherwise grow, as far as size_max allows. */
        size_t needed = content + size;
        bool cheap = buffer->start >= content;
        if (needed > buffer->capacity)
            buffer_grow(buffer, needed);
        else if (!cheap && buffer->capacity < buffer->size_max)
            buffer_grow(buffer, buffer->capacity + 1);
        buffer_move_to_front(buffer);
    }
    ASSERT(buffer->capacity - buffer->end >= size);
    return buffer->memory + buffer->end;
}

enum status buffer_append_format(struct buffer *buffer, const char *format, ...)
{
    va_list arguments;
    int size;

    va_start(arguments, format);
    size = vsnprintf(NULL, 0, format, arguments);
    va_end(arguments);
    ASSERT(size >= 0); /* only a wrong format string fails */

    /* One byte more for the NUL that vsnprintf() insists on. It is never content, so a text
     * that exactly fills the buffer must not be refused for it. */
    size_t room_size = (size_t)size + 1;
    size_t size_max = buffer->size_max;
    if (buffer_size(buffer) + (size_t)size > size_max) return STATUS_FULL;
    if (buffer_size(buffer) + room_size > size_max) buffer->size_max = size_max + 1;
    uint8_t *room = buffer_reserve(buffer, room_size);
    buffer->size_max = size_max;
    ASSERT(room != NULL);

    va_start(arguments, format);
    vsnprintf((char *)room, room_size, format, arguments);
    va_end(arguments);
    buffer_commit(buffer, (size_t)size);
    return STATUS_OK;
}

void buffer_consume(struct buffer *buffer, size_t size)
{
    ASSERT(size <= buffer_size(buffer));
    buffer->start += size;
    if (buffer->start == buffer->end) buffer_clear(buffer);
}
