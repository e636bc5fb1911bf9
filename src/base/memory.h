/* memory.h - allocation with one defined behaviour on failure: the process prints how much
 * it asked for and ends (FAULTS F07); restart recovers everything that was acknowledged.
 * Sizes that a client or peer chose are checked against a named limit before they get here. */
#ifndef HOLON_BASE_MEMORY_H
#define HOLON_BASE_MEMORY_H

#include <stdbool.h>
#include <stddef.h>

/* Never NULL (size 0 gives a unique pointer). Uninitialised. Free with memory_free(). */
void *memory_allocate(size_t size) __attribute__((malloc, returns_nonnull));
void *memory_allocate_zero(size_t size) __attribute__((malloc, returns_nonnull));
/* Zeroed, from the start of a line of cache on. */
void *memory_allocate_lines(size_t size) __attribute__((malloc, returns_nonnull));
void *memory_resize(void *pointer, size_t size) __attribute__((returns_nonnull));
char *memory_copy_string(const char *string) __attribute__((malloc, returns_nonnull));
void memory_free(void *pointer);

/* Whole pages, aligned to their size, which is a power of two. `huge`: of 2 MiB each if the
 * system has them (a hint). Pages take memory once they are written. */
void *memory_map(size_t size, bool huge) __attribute__((returns_nonnull));
void memory_unmap(void *pointer, size_t size);

#endif
