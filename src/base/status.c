#include "base/status.h"

#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

const char *status_text(enum status status)
{
    switch (status) {
#define X(name, text)                                                                              \
    case STATUS_##name:                                                                            \
        return text;
        STATUS_MAP(X)
#undef X
    }
    return "unknown status";
}

enum status error_set(struct error *error, enum status status, const char *format, ...)
{
    if (error == NULL) return status;

    va_list arguments;
    va_start(arguments, format);
    error->status = status;
    vsnprintf(error->text, sizeof(error->text), format, arguments);
    va_end(arguments);
    return status;
}
