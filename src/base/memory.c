#include "base/memory.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

static _Noreturn void memory_exhausted(size_t size)
{
    fprintf(stderr,
            "holon: out of memory: the system refused %zu bytes. Nothing acknowledged is lost; "
            "give the process more memory or lower its limits, then start it again.\n",
            size);
    fflush(stderr);
    abort();
}

void *memory_allocate(size_t size)
{
    void *pointer = malloc(size ? size : 1);
    if (pointer == NULL) memory_exhausted(size);
    return pointer;
}

void *memory_allocate_zero(size_t size)
{
    void *pointer = calloc(1, size ? size : 1);
    if (pointer == NULL) memory_exhausted(size);
    return pointer;
}

void *memory_allocate_lines(size_t size)
{
    enum { LINE_SIZE = 64 };
    size_t whole = (size + LINE_SIZE - 1) / LINE_SIZE * LINE_SIZE;
    void *pointer = aligned_alloc(LINE_SIZE, whole ? whole : LINE_SIZE);
    if (pointer == NULL) memory_exhausted(size);
    return memset(pointer, 0, whole);
}

void *memory_resize(void *pointer, size_t size)
{
    void *resized = realloc(pointer, size ? size : 1);
    if (resized == NULL) memory_exhausted(size);
    return resized;
}

char *memory_copy_string(const char *string)
{
    size_t size = strlen(string) + 1;
    char *copy = memory_allocate(size);
    memcpy(copy, string, size);
    return copy;
}

void memory_free(void *pointer)
{
    free(pointer);
}

void *memory_map(size_t size, bool huge)
{
    /* Twice as much, of which one aligned half stays. */
    uint8_t *twice =
        mmap(NULL, 2 * size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (twice == MAP_FAILED) memory_exhausted(size);
    uint8_t *pointer = (uint8_t *)(((uintptr_t)twice + size - 1) & ~(uintptr_t)(size - 1));
    size_t before = (size_t)(pointer - twice);
    if (before) munmap(twice, before);
    if (before < size) munmap(pointer + size, size - before);
    if (huge) (void)madvise(pointer, size, MADV_HUGEPAGE);
    return pointer;
}

void memory_unmap(void *pointer, size_t size)
{
    munmap(pointer, size);
}
