/* status.h - errors as values. A status says what kind of failure a caller can act on; a
 * `struct error` carries the text for a human: what, where, and what to do next. */
#ifndef HOLON_BASE_STATUS_H
#define HOLON_BASE_STATUS_H

#define STATUS_MAP(X)                                                                              \
    X(OK, "ok")                                                                                    \
    X(IO, "input/output error")                                                                    \
    X(NO_SPACE, "no space left")                                                                   \
    X(CORRUPT, "damaged data")                                                                     \
    X(FULL, "a limit is reached")                                                                  \
    X(INVALID, "invalid input")                                                                    \
    X(NOT_FOUND, "not found")                                                                      \
    X(EXISTS, "exists already")                                                                    \
    X(TOO_LARGE, "too large")                                                                      \
    X(CLOSED, "closed")                                                                            \
    X(REFUSED, "refused")                                                                          \
    X(NOT_LEADER, "not the leader")                                                                \
    X(TIMEOUT, "timed out")                                                                        \
    X(VERSION, "unknown version")

enum status {
#define X(name, text) STATUS_##name,
    STATUS_MAP(X)
#undef X
};

enum { ERROR_TEXT_SIZE_MAX = 512 };

struct error {
    enum status status;
    char text[ERROR_TEXT_SIZE_MAX];
};

/* "damaged data" and the like; a static string. */
const char *status_text(enum status status);

/* Fills *error (NULL is fine) and returns `status`, so that `return error_set(...)` works. */
enum status error_set(struct error *error, enum status status, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

#endif
