/* logging.h - structured log lines (logfmt) for operators: `time level module message k=v`.
 * No global: a `struct logger` hangs off the node and is passed down. Secrets, keys and
 * values of users never go into a line. Thread: any (a line is written by one write). */
#ifndef HOLON_BASE_LOGGING_H
#define HOLON_BASE_LOGGING_H

#include <stdint.h>

enum log_level { LOG_LEVEL_DEBUG, LOG_LEVEL_INFO, LOG_LEVEL_WARN, LOG_LEVEL_ERROR };

enum { LOG_LINE_SIZE_MAX = 1024 };

struct logger {
    enum log_level level; /* lines below it are dropped */
    void *context;
    /* Writes one finished line without newline. */
    void (*write)(void *context, enum log_level level, const char *line);
};

void logger_to_stderr(struct logger *logger, enum log_level level);
void logger_to_nowhere(struct logger *logger);
void log_line(const struct logger *logger, enum log_level level, const char *module,
              const char *format, ...) __attribute__((format(printf, 4, 5)));

#define LOG_DEBUG(logger, module, ...)                                                             \
    ((logger)->level <= LOG_LEVEL_DEBUG                                                            \
         ? log_line((logger), LOG_LEVEL_DEBUG, (module), __VA_ARGS__)                              \
         : (void)0)
#define LOG_INFO(logger, module, ...) log_line((logger), LOG_LEVEL_INFO, (module), __VA_ARGS__)
#define LOG_WARN(logger, module, ...) log_line((logger), LOG_LEVEL_WARN, (module), __VA_ARGS__)
#define LOG_ERROR(logger, module, ...) log_line((logger), LOG_LEVEL_ERROR, (module), __VA_ARGS__)

#endif
