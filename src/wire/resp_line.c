/* resp_line.c - words of an inline command, with the quoting of redis-server's
 * sdssplitargs(): "double" with \n \r \t \b \a \\ \" and \xHH, 'single' with \'. */
#include "wire/resp.h"

static bool is_space(uint8_t c)
{
    return c == ' ' || (c >= '\t' && c <= '\r') || c == 0;
}

static int hex_value(uint8_t c)
{
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    if (c >= 'A' && c <= 'F') return c - 'A' + 10;
    return -1;
}

static uint8_t escaped(uint8_t c)
{
    switch (c) {
    case 'n':
        return '\n';
    case 'r':
        return '\r';
    case 't':
        return '\t';
    case 'b':
        return '\b';
    case 'a':
        return '\a';
    default:
        return c;
    }
}

/* One character of a "quoted" word at *at, which is moved behind it. */
static uint8_t take_double_quoted(struct bytes line, size_t *at)
{
    uint8_t c = line.data[*at];

    if (c == '\\' && *at + 3 < line.size && line.data[*at + 1] == 'x' &&
        hex_value(line.data[*at + 2]) >= 0 && hex_value(line.data[*at + 3]) >= 0) {
        c = (uint8_t)(hex_value(line.data[*at + 2]) * 16 + hex_value(line.data[*at + 3]));
        *at += 4;
    } else if (c == '\\' && *at + 1 < line.size) {
        c = escaped(line.data[*at + 1]);
        *at += 2;
    } else {
        *at += 1;
    }
    return c;
}

/* A quoted part begins at *at, behind its quote. False: it does not end, or text follows the
 * closing quote directly. */
static bool take_quoted(struct bytes line, uint8_t quote, size_t *at, uint8_t *room, size_t *used)
{
    while (*at < line.size) {
        uint8_t c = line.data[*at];
        if (c == quote) {
            *at += 1;
            return *at == line.size || is_space(line.data[*at]);
        }
        if (quote == '"') {
            room[(*used)++] = take_double_quoted(line, at);
        } else if (c == '\\' && *at + 1 < line.size && line.data[*at + 1] == '\'') {
            room[(*used)++] = '\'';
            *at += 2;
        } else {
            room[(*used)++] = c;
            *at += 1;
        }
    }
    return false;
}

bool resp_split_line(struct bytes line, uint8_t *room, struct bytes *ret_words, uint32_t capacity,
                     uint32_t *ret_count)
{
    size_t at = 0, used = 0;
    uint32_t count = 0;

    for (;;) {
        while (at < line.size && is_space(line.data[at]))
            at++;
        if (at == line.size) break;

        size_t first = used;
        while (at < line.size && !is_space(line.data[at])) {
            uint8_t c = line.data[at++];
            if (c != '"' && c != '\'') {
                room[used++] = c;
            } else if (!take_quoted(line, c, &at, room, &used)) {
                return false;
            }
        }
        if (count < capacity) ret_words[count] = bytes_make(room + first, used - first);
        count++;
    }
    *ret_count = count;
    return true;
}
