/* assert.h - ASSERT states an invariant that only our own bug can break. It stays on in
 * release builds. Never for input from a peer, a client or a disk. */
#ifndef HOLON_BASE_ASSERT_H
#define HOLON_BASE_ASSERT_H

/* Prints expression, file and line to standard error and aborts. */
_Noreturn void assert_failed(const char *expression, const char *file, int line);

#define ASSERT(expression) ((expression) ? (void)0 : assert_failed(#expression, __FILE__, __LINE__))

#define ARRAY_COUNT(array) (sizeof(array) / sizeof((array)[0]))

/* The struct of `type` whose field `member` is at `pointer`. */
#define CONTAINER_OF(pointer, type, member)                                                        \
    ((type *)(void *)((char *)(pointer)-offsetof(type, member)))

#endif
