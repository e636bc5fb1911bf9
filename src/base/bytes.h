/* bytes.h - a borrowed range of bytes: pointer and size, never owning.
 *
 * Whoever returns a `struct bytes` says how long the memory behind it lives. Thread: any. */
#ifndef HOLON_BASE_BYTES_H
#define HOLON_BASE_BYTES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct bytes {
    const uint8_t *data; /* may be NULL only if size is 0 */
    size_t size;
};

static inline struct bytes bytes_make(const void *data, size_t size)
{
    return (struct bytes){.data = data, .size = size};
}

/* The bytes of a C string, without its NUL. */
static inline struct bytes bytes_of(const char *string)
{
    return bytes_make(string, strlen(string));
}

static inline bool bytes_equal(struct bytes a, struct bytes b)
{
    return a.size == b.size && (a.size == 0 || memcmp(a.data, b.data, a.size) == 0);
}

/* Order of the keyspace: bytewise unsigned, a prefix before what it begins. <0, 0 or >0. */
static inline int bytes_compare(struct bytes a, struct bytes b)
{
    size_t size = a.size < b.size ? a.size : b.size;
    int order = size ? memcmp(a.data, b.data, size) : 0;
    if (order != 0) return order;
    return (a.size > b.size) - (a.size < b.size);
}

static inline bool bytes_starts_with(struct bytes a, struct bytes prefix)
{
    return a.size >= prefix.size &&
           (prefix.size == 0 || memcmp(a.data, prefix.data, prefix.size) == 0);
}

/* Bytes from `offset` to the end. Offset must be <= size. */
static inline struct bytes bytes_from(struct bytes a, size_t offset)
{
    return bytes_make(offset ? a.data + offset : a.data, a.size - offset);
}

#endif
