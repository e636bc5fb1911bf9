#include "base/memory.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

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
