/* resp.h - the Redis serialization protocol: requests in, replies out. Pure functions over
 * bytes; the connection that moves them is elsewhere.
 *
 * Request: an array of bulk strings (`*2\r\n$3\r\nGET\r\n$1\r\nk\r\n`), or one line of words
 * (inline command, for people with a terminal). Reply: RESP2, or RESP3 after `HELLO 3`.
 * Source: the Redis protocol specification (RESP2 and RESP3); error texts as redis-server 7.0
 * says them, the bounds are ours. Thread: any, one at a time per parser or writer. */
#ifndef HOLON_WIRE_RESP_H
#define HOLON_WIRE_RESP_H

#include "base/buffer.h"
#include "base/bytes.h"

enum {
    RESP_BULK_SIZE_MAX = 16 << 20,    /* one argument ("proto-max-bulk-len") */
    RESP_COMMAND_SIZE_MAX = 17 << 20, /* bytes of one request, framing included */
    RESP_ARGUMENTS_MAX = 1 << 20,     /* a greater count is refused when it is read */
    RESP_LINE_SIZE_MAX = 64 << 10,    /* an inline command, or the text of a length */
    RESP_ARGUMENTS_KEPT_MAX = 64,     /* room for arguments kept between commands */
};

enum resp_result {
    RESP_COMMAND, /* a whole command: see arguments; there may be none (`*0`): skip it */
    RESP_MORE,    /* not whole yet: call again with more bytes after the same ones */
    RESP_INVALID, /* *parser->error says why; the connection cannot go on */
};

/* Zero-initialise; resp_parser_free() at the end. The parser remembers how far it came in an
 * unfinished command, so that feeding it byte by byte costs no more than at once. */
struct resp_parser {
    struct bytes *arguments; /* of the last RESP_COMMAND: they point into the input */
    uint32_t argument_count;
    char error[96]; /* after RESP_INVALID: "Protocol error: ..." */
    /* Private: */
    uint32_t capacity;
    uint32_t expected; /* arguments announced; 0: the head has not been read */
    size_t offset;     /* of the first byte not yet understood */
    size_t bulk_size;  /* of the argument being read, when in_bulk */
    bool in_bulk;
    uint8_t *words; /* unquoted text of an inline command */
};

/* Reads one command from the front of `input`. RESP_COMMAND: *ret_used bytes belonged to it,
 * and the arguments stay valid while the input does and until the next call. RESP_MORE: call
 * again with input that begins with the same bytes (they may have moved). */
enum resp_result resp_parse(struct resp_parser *parser, struct bytes input, size_t *ret_used);
/* The input of the last RESP_COMMAND was moved: the arguments follow it. */
void resp_parser_rebase(struct resp_parser *parser, uintptr_t from, const uint8_t *to);
/* Forgets an unfinished command. */
void resp_parser_reset(struct resp_parser *parser);
void resp_parser_free(struct resp_parser *parser);

/* Splits a line as an inline command: words, "quotes with \x41 escapes", 'quotes'. The words
 * are unquoted into `room` (line.size bytes). False: unbalanced quotes. The count may exceed
 * `capacity`; then only the first `capacity` are stored. */
bool resp_split_line(struct bytes line, uint8_t *room, struct bytes *ret_words, uint32_t capacity,
                     uint32_t *ret_count);

/* Appends replies to a buffer. `failed` is set, and stays, when the buffer's size_max is
 * reached: the content is then cut at an arbitrary place. */
struct resp_writer {
    struct buffer *buffer;
    bool resp3;
    bool failed;
};

static inline struct resp_writer resp_writer_make(struct buffer *buffer, bool resp3)
{
    return (struct resp_writer){.buffer = buffer, .resp3 = resp3, .failed = false};
}

void resp_write_raw(struct resp_writer *writer, struct bytes bytes);
void resp_write_simple(struct resp_writer *writer, const char *text); /* +text */
/* -text; bytes that would break the line are replaced by spaces. */
void resp_write_error(struct resp_writer *writer, const char *text);
void resp_write_error_format(struct resp_writer *writer, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
void resp_write_integer(struct resp_writer *writer, int64_t value);
void resp_write_bulk(struct resp_writer *writer, struct bytes bytes);
/* `$n` alone: the bytes and a CRLF follow, by resp_write_raw() or into the buffer. */
void resp_write_bulk_head(struct resp_writer *writer, uint64_t size);
void resp_write_bulk_text(struct resp_writer *writer, const char *text);
void resp_write_bulk_u64(struct resp_writer *writer, uint64_t value); /* as decimal text */
void resp_write_null(struct resp_writer *writer);                     /* $-1, or _ in RESP3 */
void resp_write_null_array(struct resp_writer *writer);               /* *-1, or _ in RESP3 */
void resp_write_array(struct resp_writer *writer, uint64_t count);
void resp_write_map(struct resp_writer *writer, uint64_t pairs); /* array of 2n in RESP2 */
void resp_write_set(struct resp_writer *writer, uint64_t count); /* array in RESP2 */
/* Text with a three-letter format ("txt"), a bulk string in RESP2. */
void resp_write_verbatim(struct resp_writer *writer, struct bytes text);

/* Reading our own replies, to merge those of several partitions. */

/* Size of the first value in `reply`, nested ones included; 0: not whole or not RESP. */
size_t resp_value_size(struct bytes reply);
/* The integer `:n` at the front. */
bool resp_read_integer(struct bytes *reply, int64_t *ret_value);
/* The head `*n`; *reply is left at the first element. */
bool resp_read_array(struct bytes *reply, uint64_t *ret_count);
bool resp_read_bulk(struct bytes *reply, struct bytes *ret_text);
static inline bool resp_is_error(struct bytes reply)
{
    return reply.size > 0 && reply.data[0] == '-';
}

#endif
