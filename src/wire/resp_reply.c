/* resp_reply.c - writes replies, and reads our own ones back where they are merged. */
#include "wire/resp.h"

#include <stdarg.h>
#include <stdio.h>

#include "base/parse.h"

enum { NUMBER_SIZE_MAX = 20, ERROR_SIZE_MAX = 512, DEPTH_MAX = 8 };

static uint8_t *reserve(struct resp_writer *writer, size_t size)
{
    uint8_t *room = writer->failed ? NULL : buffer_reserve(writer->buffer, size);
    if (room == NULL) writer->failed = true;
    return room;
}

/* Decimal digits of `value` at `at`; returns how many. */
static size_t store_decimal(uint8_t *at, uint64_t value)
{
    uint8_t digits[NUMBER_SIZE_MAX];
    size_t count = 0;

    do {
        digits[count++] = (uint8_t)('0' + value % 10);
        value /= 10;
    } while (value);
    for (size_t i = 0; i < count; i++)
        at[i] = digits[count - 1 - i];
    return count;
}

static size_t store_head(uint8_t *at, char sigil, uint64_t value)
{
    size_t size = 0;

    at[size++] = (uint8_t)sigil;
    size += store_decimal(at + size, value);
    at[size++] = '\r';
    at[size++] = '\n';
    return size;
}

static void write_head(struct resp_writer *writer, char sigil, uint64_t value)
{
    uint8_t *room = reserve(writer, NUMBER_SIZE_MAX + 3);
    if (room) buffer_commit(writer->buffer, store_head(room, sigil, value));
}

void resp_write_raw(struct resp_writer *writer, struct bytes bytes)
{
    if (writer->failed) return;
    if (buffer_append(writer->buffer, bytes)) writer->failed = true;
}

static void write_line(struct resp_writer *writer, char sigil, const char *text)
{
    size_t size = strlen(text);
    uint8_t *room = reserve(writer, size + 3);

    if (room == NULL) return;
    room[0] = (uint8_t)sigil;
    for (size_t i = 0; i < size; i++)
        room[i + 1] = text[i] == '\r' || text[i] == '\n' ? ' ' : (uint8_t)text[i];
    room[size + 1] = '\r';
    room[size + 2] = '\n';
    buffer_commit(writer->buffer, size + 3);
}

void resp_write_simple(struct resp_writer *writer, const char *text)
{
    write_line(writer, '+', text);
}

void resp_write_error(struct resp_writer *writer, const char *text)
{
    write_line(writer, '-', text);
}

void resp_write_error_format(struct resp_writer *writer, const char *format, ...)
{
    char text[ERROR_SIZE_MAX];
    va_list arguments;

    va_start(arguments, format);
    vsnprintf(text, sizeof(text), format, arguments);
    va_end(arguments);
    resp_write_error(writer, text);
}

void resp_write_integer(struct resp_writer *writer, int64_t value)
{
    uint8_t *room = reserve(writer, NUMBER_SIZE_MAX + 4);
    size_t size = 0;

    if (room == NULL) return;
    room[size++] = ':';
    if (value < 0) room[size++] = '-';
    size += store_decimal(room + size, value < 0 ? 0 - (uint64_t)value : (uint64_t)value);
    room[size++] = '\r';
    room[size++] = '\n';
    buffer_commit(writer->buffer, size);
}

void resp_write_bulk(struct resp_writer *writer, struct bytes bytes)
{
    uint8_t *room = reserve(writer, NUMBER_SIZE_MAX + 5 + bytes.size);

    if (room == NULL) return;
    size_t size = store_head(room, '$', bytes.size);
    if (bytes.size) memcpy(room + size, bytes.data, bytes.size);
    size += bytes.size;
    room[size++] = '\r';
    room[size++] = '\n';
    buffer_commit(writer->buffer, size);
}

void resp_write_bulk_head(struct resp_writer *writer, uint64_t size)
{
    write_head(writer, '$', size);
}

void resp_write_bulk_text(struct resp_writer *writer, const char *text)
{
    resp_write_bulk(writer, bytes_of(text));
}

void resp_write_bulk_u64(struct resp_writer *writer, uint64_t value)
{
    uint8_t digits[NUMBER_SIZE_MAX];
    size_t size = store_decimal(digits, value);

    resp_write_bulk(writer, bytes_make(digits, size));
}

void resp_write_null(struct resp_writer *writer)
{
    resp_write_raw(writer, bytes_of(writer->resp3 ? "_\r\n" : "$-1\r\n"));
}

void resp_write_null_array(struct resp_writer *writer)
{
    resp_write_raw(writer, bytes_of(writer->resp3 ? "_\r\n" : "*-1\r\n"));
}

void resp_write_array(struct resp_writer *writer, uint64_t count)
{
    write_head(writer, '*', count);
}

void resp_write_map(struct resp_writer *writer, uint64_t pairs)
{
    if (writer->resp3)
        write_head(writer, '%', pairs);
    else
        write_head(writer, '*', pairs * 2);
}

void resp_write_set(struct resp_writer *writer, uint64_t count)
{
    write_head(writer, writer->resp3 ? '~' : '*', count);
}

void resp_write_verbatim(struct resp_writer *writer, struct bytes text)
{
    if (!writer->resp3) {
        resp_write_bulk(writer, text);
        return;
    }
    write_head(writer, '=', text.size + 4);
    resp_write_raw(writer, bytes_of("txt:"));
    resp_write_raw(writer, text);
    resp_write_raw(writer, bytes_of("\r\n"));
}

/* The line behind the sigil; *reply is moved behind its CRLF. */
static bool take_line(struct bytes *reply, struct bytes *ret_line)
{
    const uint8_t *end = reply->size > 1 ? memchr(reply->data + 1, '\r', reply->size - 1) : NULL;

    if (end == NULL || end + 1 >= reply->data + reply->size || end[1] != '\n') return false;
    *ret_line = bytes_make(reply->data + 1, (size_t)(end - reply->data) - 1);
    *reply = bytes_from(*reply, ret_line->size + 3);
    return true;
}

static bool take_number(struct bytes *reply, int64_t *ret_value)
{
    struct bytes line;
    return take_line(reply, &line) && parse_i64(line, ret_value);
}

bool resp_read_integer(struct bytes *reply, int64_t *ret_value)
{
    if (reply->size == 0 || reply->data[0] != ':') return false;
    return take_number(reply, ret_value);
}

bool resp_read_array(struct bytes *reply, uint64_t *ret_count)
{
    int64_t count = 0;

    if (reply->size == 0 || reply->data[0] != '*') return false;
    if (!take_number(reply, &count) || count < 0) return false;
    *ret_count = (uint64_t)count;
    return true;
}

bool resp_read_bulk(struct bytes *reply, struct bytes *ret_text)
{
    int64_t size = 0;

    if (reply->size == 0 || reply->data[0] != '$') return false;
    if (!take_number(reply, &size) || size < 0) return false;
    if (reply->size < 2 || (uint64_t)size > reply->size - 2) return false;
    *ret_text = bytes_make(reply->data, (size_t)size);
    *reply = bytes_from(*reply, (size_t)size + 2);
    return true;
}

static bool skip_value(struct bytes *reply, unsigned depth)
{
    struct bytes text;
    int64_t count = 0;

    if (reply->size == 0 || depth == 0) return false;
    switch (reply->data[0]) {
    case '+':
    case '-':
    case ':':
    case '_':
    case ',':
    case '#':
        return take_line(reply, &text);
    case '$':
    case '=':
        if (!take_number(reply, &count)) return false;
        if (count < 0) return true; /* null */
        if (reply->size < 2 || (uint64_t)count > reply->size - 2) return false;
        *reply = bytes_from(*reply, (size_t)count + 2);
        return true;
    case '*':
    case '~':
    case '%': {
        uint64_t per_item = reply->data[0] == '%' ? 2 : 1;
        if (!take_number(reply, &count)) return false;
        for (uint64_t i = 0; count > 0 && i < (uint64_t)count * per_item; i++) {
            if (!skip_value(reply, depth - 1)) return false;
        }
        return true;
    }
    default:
        return false;
    }
}

size_t resp_value_size(struct bytes reply)
{
    struct bytes rest = reply;
    return skip_value(&rest, DEPTH_MAX) ? reply.size - rest.size : 0;
}
