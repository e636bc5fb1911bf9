#include "base/config.h"

#include <stdio.h>

static bool is_space(char c)
{
    return c == ' ' || c == '\t' || c == '\r';
}

static bool is_name_byte(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_' || c == '-' || c == '.';
}

/* Ends the line before a comment and cuts the spaces at both ends; returns its first byte. */
static char *strip(char *line)
{
    for (char *at = line; *at != '\0'; at++) {
        if (*at == '#' && (at == line || is_space(at[-1]))) {
            *at = '\0';
            break;
        }
    }
    while (is_space(*line))
        line++;
    size_t size = strlen(line);
    while (size > 0 && is_space(line[size - 1]))
        line[--size] = '\0';
    return line;
}

static enum status parse_line(char *line, unsigned number, config_setting_fn *on_setting,
                              void *context, struct error *error)
{
    char *name = strip(line);
    if (*name == '\0') return STATUS_OK;

    char *name_end = name;
    while (is_name_byte(*name_end))
        name_end++;
    char *equals = name_end;
    while (is_space(*equals))
        equals++;
    if (name_end == name || *equals != '=')
        return error_set(error, STATUS_INVALID, "expected `name = value`, found `%.64s`", name);
    *name_end = '\0';
    return on_setting(context, name, strip(equals + 1), number, error);
}

enum status config_parse(struct bytes text, config_setting_fn *on_setting, void *context,
                         struct error *error)
{
    char line[CONFIG_LINE_SIZE_MAX];
    struct error line_error = {0};
    enum status status = STATUS_OK;
    unsigned number = 0;

    if (text.size > CONFIG_SIZE_MAX)
        return error_set(error, STATUS_TOO_LARGE, "the file has %zu bytes, more than %d", text.size,
                         CONFIG_SIZE_MAX);
    while (text.size > 0 && status == STATUS_OK) {
        const uint8_t *newline = memchr(text.data, '\n', text.size);
        size_t size = newline ? (size_t)(newline - text.data) : text.size;

        number++;
        if (size >= sizeof(line)) {
            status = error_set(&line_error, STATUS_TOO_LARGE, "longer than %d bytes",
                               CONFIG_LINE_SIZE_MAX - 1);
        } else if (memchr(text.data, '\0', size) != NULL) {
            status = error_set(&line_error, STATUS_INVALID, "holds a NUL byte; is this a text?");
        } else {
            memcpy(line, text.data, size);
            line[size] = '\0';
            status = parse_line(line, number, on_setting, context, &line_error);
        }
        text = bytes_from(text, newline ? size + 1 : size);
    }
    if (status == STATUS_OK) return STATUS_OK;

    const char *reason = line_error.text[0] ? line_error.text : status_text(status);
    return error_set(error, status, "line %u: %.480s", number, reason);
}
