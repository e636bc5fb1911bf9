#include "base/logging.h"

#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static const char *level_name(enum log_level level)
{
    switch (level) {
    case LOG_LEVEL_DEBUG:
        return "debug";
    case LOG_LEVEL_INFO:
        return "info";
    case LOG_LEVEL_WARN:
        return "warn";
    case LOG_LEVEL_ERROR:
        return "error";
    }
    return "unknown";
}

/* The time is put on here and not in log_line(): a simulated logger has its own clock. */
static void write_to_stderr(void *context, enum log_level level, const char *line)
{
    char output[LOG_LINE_SIZE_MAX + 64];
    struct timespec now = {0};
    struct tm utc = {0};

    clock_gettime(CLOCK_REALTIME, &now);
    gmtime_r(&now.tv_sec, &utc);
    size_t size = strftime(output, sizeof(output), "%Y-%m-%dT%H:%M:%S", &utc);
    int more =
        snprintf(output + size, sizeof(output) - size, ".%03ldZ %s\n", now.tv_nsec / 1000000, line);
    if (more < 0) return;
    size += (size_t)more;
    if (size >= sizeof(output)) size = sizeof(output) - 1;

    /* One write per line, so that lines of several threads never mix. A full disk or a closed
     * terminal must not stop the node: the line is lost. */
    ssize_t written = write(STDERR_FILENO, output, size);
    (void)written;
}

static void write_to_nowhere(void *context, enum log_level level, const char *line)
{
}

void logger_to_stderr(struct logger *logger, enum log_level level)
{
    *logger = (struct logger){.level = level, .write = write_to_stderr};
}

void logger_to_nowhere(struct logger *logger)
{
    *logger = (struct logger){.level = LOG_LEVEL_ERROR, .write = write_to_nowhere};
}

/* Text of a peer or a file name may hold control bytes; a line stays one line. */
static void replace_control_bytes(char *line)
{
    for (char *at = line; *at != '\0'; at++)
        if ((unsigned char)*at < 0x20 || *at == 0x7f) *at = '?';
}

void log_line(const struct logger *logger, enum log_level level, const char *module,
              const char *format, ...)
{
    char line[LOG_LINE_SIZE_MAX];
    va_list arguments;

    if (level < logger->level) return;
    int size = snprintf(line, sizeof(line), "%s %s ", level_name(level), module);
    if (size < 0 || (size_t)size >= sizeof(line)) return;
    va_start(arguments, format);
    vsnprintf(line + size, sizeof(line) - (size_t)size, format, arguments);
    va_end(arguments);
    replace_control_bytes(line);
    logger->write(logger->context, level, line);
}
