/* http.h - requests of HTTP/1.1 without a body (GET, HEAD, POST), read strictly, and responses.
 *
 * What two readers could understand differently is refused: a bare CR or LF, space before a
 * colon, folded lines, control bytes, two lengths, a length together with an encoding, a
 * missing or second Host. Source: RFC 9112 (message syntax), RFC 9110 (fields, methods).
 * Thread: any, one at a time per parser. */
#ifndef HOLON_WIRE_HTTP_H
#define HOLON_WIRE_HTTP_H

#include "base/buffer.h"
#include "base/bytes.h"

enum { HTTP_HEAD_SIZE_MAX = 8 << 10, HTTP_FIELDS_MAX = 64 };

enum http_result {
    HTTP_REQUEST, /* a whole request */
    HTTP_MORE,    /* not whole yet: call again with more bytes after the same ones */
    HTTP_REFUSED, /* answer with parser->status and close: what follows has no meaning */
};

enum http_method { HTTP_GET, HTTP_HEAD, HTTP_POST };

struct http_field {
    struct bytes name;  /* as sent; compare without case */
    struct bytes value; /* without space around it */
};

struct http_request {
    enum http_method method;
    struct bytes path;  /* begins with `/`; as sent, nothing decoded */
    struct bytes query; /* behind the `?`; empty if there is none */
    bool keep_alive;
    uint32_t field_count;
    struct http_field fields[HTTP_FIELDS_MAX];
};

/* Zero-initialise; again before the next request. Remembers how far it looked, so that
 * feeding byte by byte costs no more than at once. */
struct http_parser {
    unsigned status;    /* after HTTP_REFUSED: 400, 405, 413, 431, 501 or 505 */
    const char *reason; /* and why: a static text for the body */
    size_t scanned;     /* private */
};

/* Reads one request from the front of `input`; its parts point into it. HTTP_REQUEST:
 * *ret_used bytes belonged to it. */
enum http_result http_parse(struct http_parser *parser, struct bytes input,
                            struct http_request *ret_request, size_t *ret_used);
/* The value of a field by its name in lower case, or false. */
bool http_field_find(const struct http_request *request, const char *lower_name,
                     struct bytes *ret_value);

/* "Not Found" and the like; "Unknown" for statuses that Holon does not use. */
const char *http_status_text(unsigned status);
/* Appends a whole response. `head_only`: the head as for GET, without the body. STATUS_FULL
 * if the buffer's size_max is reached; then nothing is appended. */
enum status http_write_response(struct buffer *buffer, unsigned status, const char *content_type,
                                struct bytes body, bool head_only, bool keep_alive);

#endif
