/* resp.c - the request parser. A command is arguments one after the other; the parser keeps
 * the offset behind the last one it understood. Until the command is whole, the arguments
 * are kept as offsets, since the input may move between calls. */
#include "wire/resp.h"

#include <stdio.h>

#include "base/assert.h"
#include "base/memory.h"
#include "base/parse.h"

enum { ARGUMENTS_FIRST = 8 };

static enum resp_result invalid(struct resp_parser *parser, const char *text)
{
    snprintf(parser->error, sizeof(parser->error), "Protocol error: %s", text);
    return RESP_INVALID;
}

void resp_parser_reset(struct resp_parser *parser)
{
    parser->argument_count = 0;
    parser->expected = 0;
    parser->offset = 0;
    parser->in_bulk = false;
    if (parser->words) {
        memory_free(parser->words);
        parser->words = NULL;
    }
    if (parser->capacity > RESP_ARGUMENTS_KEPT_MAX) {
        memory_free(parser->arguments);
        parser->arguments = NULL;
        parser->capacity = 0;
    }
}

void resp_parser_free(struct resp_parser *parser)
{
    memory_free(parser->arguments);
    memory_free(parser->words);
    *parser = (struct resp_parser){0};
}

/* Room grows with the arguments that arrived, never with the count that was announced. */
static void reserve_argument(struct resp_parser *parser)
{
    if (parser->argument_count < parser->capacity) return;
    parser->capacity = parser->capacity ? parser->capacity * 2 : ARGUMENTS_FIRST;
    parser->arguments =
        memory_resize(parser->arguments, parser->capacity * sizeof(parser->arguments[0]));
}

/* The number in a line `<sigil><number>\r\n` at `offset`. RESP_COMMAND means: read, and
 * *ret_next is behind the line. */
static enum resp_result parse_length(struct bytes input, size_t offset, int64_t *ret_value,
                                     size_t *ret_next, bool *ret_too_long)
{
    const uint8_t *first = input.data + offset + 1;
    size_t left = input.size - offset - 1;
    size_t size = 0;

    *ret_too_long = false;
    /* The usual length has one to three digits: no call of memchr() for them. */
    if (left >= 3 && first[0] >= '1' && first[0] <= '9') {
        if (first[1] == '\r' && first[2] == '\n') {
            *ret_value = first[0] - '0';
            *ret_next = offset + 4;
            return RESP_COMMAND;
        }
        if (left >= 4 && first[1] >= '0' && first[1] <= '9' && first[2] == '\r' &&
            first[3] == '\n') {
            *ret_value = (first[0] - '0') * 10 + (first[1] - '0');
            *ret_next = offset + 5;
            return RESP_COMMAND;
        }
    }
    const uint8_t *end = left ? memchr(first, '\r', left) : NULL;
    if (end == NULL) {
        *ret_too_long = left > RESP_LINE_SIZE_MAX;
        return *ret_too_long ? RESP_INVALID : RESP_MORE;
    }
    size = (size_t)(end - first);
    if (size > RESP_LINE_SIZE_MAX) {
        *ret_too_long = true;
        return RESP_INVALID;
    }
    if (size + 1 >= left) return RESP_MORE; /* the \n is not there yet */
    if (end[1] != '\n' || !parse_i64(bytes_make(first, size), ret_value)) return RESP_INVALID;
    *ret_next = offset + 1 + size + 2;
    return RESP_COMMAND;
}

static enum resp_result parse_head(struct resp_parser *parser, struct bytes input)
{
    int64_t count = 0;
    bool too_long = false;
    enum resp_result result = parse_length(input, 0, &count, &parser->offset, &too_long);

    if (result == RESP_MORE) return RESP_MORE;
    if (too_long) return invalid(parser, "too big mbulk count string");
    if (result == RESP_INVALID || count > RESP_ARGUMENTS_MAX)
        return invalid(parser, "invalid multibulk length");
    parser->expected = count > 0 ? (uint32_t)count : 0;
    return RESP_COMMAND;
}

/* One argument: `$<size>\r\n<bytes>\r\n`. */
static enum resp_result parse_bulk(struct resp_parser *parser, struct bytes input)
{
    if (!parser->in_bulk) {
        int64_t size = 0;
        bool too_long = false;

        if (parser->offset >= input.size) return RESP_MORE;
        uint8_t sigil = input.data[parser->offset];
        if (sigil != '$') {
            char text[40];
            bool printable = sigil >= ' ' && sigil <= '~';
            snprintf(text, sizeof(text), "expected '$', got '%c'", printable ? sigil : '?');
            return invalid(parser, text);
        }
        enum resp_result result =
            parse_length(input, parser->offset, &size, &parser->offset, &too_long);
        if (result == RESP_MORE) return RESP_MORE;
        if (too_long) return invalid(parser, "too big bulk count string");
        if (result == RESP_INVALID || size < 0) return invalid(parser, "invalid bulk length");
        if (size > RESP_BULK_SIZE_MAX)
            return invalid(parser, "invalid bulk length, an argument may have 16 MiB");
        if (parser->offset + (size_t)size + 2 > RESP_COMMAND_SIZE_MAX)
            return invalid(parser, "invalid bulk length, a command may have 17 MiB in all");
        parser->bulk_size = (size_t)size;
        parser->in_bulk = true;
    }

    size_t left = input.size - parser->offset;
    if (left < parser->bulk_size + 2) return RESP_MORE;
    const uint8_t *end = input.data + parser->offset + parser->bulk_size;
    if (end[0] != '\r' || end[1] != '\n')
        return invalid(parser, "bulk string without its final CRLF");

    reserve_argument(parser);
    parser->arguments[parser->argument_count++] = (struct bytes){
        .data = (const uint8_t *)(uintptr_t)parser->offset, /* made good at the end */
        .size = parser->bulk_size};
    parser->offset += parser->bulk_size + 2;
    parser->in_bulk = false;
    return RESP_COMMAND;
}

static enum resp_result parse_inline(struct resp_parser *parser, struct bytes input,
                                     size_t *ret_used)
{
    /* The line was searched up to `offset` already. */
    const uint8_t *end = input.size > parser->offset ? memchr(input.data + parser->offset, '\n',
                                                              input.size - parser->offset)
                                                     : NULL;
    if (end == NULL) {
        parser->offset = input.size;
        if (input.size > RESP_LINE_SIZE_MAX) return invalid(parser, "too big inline request");
        return RESP_MORE;
    }
    size_t size = (size_t)(end - input.data);
    if (size > RESP_LINE_SIZE_MAX) return invalid(parser, "too big inline request");
    *ret_used = size + 1;
    if (size > 0 && input.data[size - 1] == '\r') size--;

    struct bytes line = bytes_make(input.data, size);
    uint32_t count = 0;
    memory_free(parser->words);
    parser->words = memory_allocate(size + 1);
    if (!resp_split_line(line, parser->words, parser->arguments, parser->capacity, &count))
        return invalid(parser, "unbalanced quotes in request");
    if (count > parser->capacity) {
        parser->arguments = memory_resize(parser->arguments, count * sizeof(struct bytes));
        parser->capacity = count;
        resp_split_line(line, parser->words, parser->arguments, parser->capacity, &count);
    }
    parser->argument_count = count;
    return RESP_COMMAND;
}

void resp_parser_rebase(struct resp_parser *parser, uintptr_t from, const uint8_t *to)
{
    if (parser->words) return; /* of an inline command: they lie there */
    for (uint32_t i = 0; i < parser->argument_count; i++) {
        struct bytes *argument = &parser->arguments[i];
        argument->data = to + ((uintptr_t)argument->data - from);
    }
}

enum resp_result resp_parse(struct resp_parser *parser, struct bytes input, size_t *ret_used)
{
    enum resp_result result;

    /* A new command: what the last one left is forgotten now, not when it was answered. */
    if (parser->offset == 0) resp_parser_reset(parser);
    if (input.size == 0) return RESP_MORE;

    if (input.data[0] != '*') {
        result = parse_inline(parser, input, ret_used);
        if (result == RESP_COMMAND) parser->offset = 0;
        return result;
    }
    if (parser->offset == 0) {
        result = parse_head(parser, input);
        if (result != RESP_COMMAND) return result;
    }
    while (parser->argument_count < parser->expected) {
        result = parse_bulk(parser, input);
        if (result != RESP_COMMAND) return result;
        if (parser->offset > RESP_COMMAND_SIZE_MAX)
            return invalid(parser, "command of more than 17 MiB");
    }
    for (uint32_t i = 0; i < parser->argument_count; i++) {
        struct bytes *argument = &parser->arguments[i];
        argument->data = input.data + (uintptr_t)argument->data;
    }
    *ret_used = parser->offset;
    parser->offset = 0;
    return RESP_COMMAND;
}
