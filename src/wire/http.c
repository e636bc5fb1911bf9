/* http.c - in two steps. The scan looks at each byte once, as it arrives, until the empty
 * line that ends the head: wrong bytes are refused at once. Then the whole head is split into
 * lines. So the answer does not depend on how the bytes were cut into reads. */
#include "wire/http.h"

#include "base/parse.h"

static enum http_result refuse(struct http_parser *parser, unsigned status, const char *reason)
{
    parser->status = status;
    parser->reason = reason;
    return HTTP_REFUSED;
}

/* --- the scan -------------------------------------------------------------------------------- */

/* HTTP_REQUEST: the head ends before parser->scanned. */
static enum http_result scan(struct http_parser *parser, struct bytes input)
{
    const uint8_t *data = input.data;

    for (; parser->scanned < input.size; parser->scanned++) {
        size_t at = parser->scanned;
        if (at == HTTP_HEAD_SIZE_MAX) return refuse(parser, 431, "the head is larger than 8 KiB\n");
        bool after_cr = at > 0 && data[at - 1] == '\r';
        if (after_cr != (data[at] == '\n'))
            return refuse(parser, 400, "lines end with CR LF, and neither stands alone\n");
        bool control = data[at] < ' ' || data[at] == 0x7f;
        bool allowed = data[at] == '\r' || data[at] == '\n' || data[at] == '\t';
        if (control && !allowed) return refuse(parser, 400, "control byte in the head\n");
        if (data[at] != '\n') continue;
        bool empty_line = at == 1 || (at >= 3 && data[at - 2] == '\n');
        if (!empty_line) continue;
        if (at == 1) return refuse(parser, 400, "empty line where the request should be\n");
        parser->scanned++;
        return HTTP_REQUEST;
    }
    return HTTP_MORE;
}

/* --- the request line --------------------------------------------------------------------------
 */

/* RFC 9110, 5.6.2: what names of methods and fields are made of. */
static bool is_token(struct bytes text)
{
    for (size_t i = 0; i < text.size; i++) {
        uint8_t c = text.data[i];
        bool letter_or_digit =
            (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
        if (!letter_or_digit && (c == 0 || strchr("!#$%&'*+-.^_`|~", c) == NULL)) return false;
    }
    return text.size > 0;
}

/* Cuts the text before the first `c` off the front of *rest. False: there is none. */
static bool cut(struct bytes *rest, uint8_t c, struct bytes *ret_part)
{
    const uint8_t *end = rest->size ? memchr(rest->data, c, rest->size) : NULL;

    if (end == NULL) return false;
    *ret_part = bytes_make(rest->data, (size_t)(end - rest->data));
    *rest = bytes_from(*rest, ret_part->size + 1);
    return true;
}

static enum http_result parse_method(struct http_parser *parser, struct bytes name,
                                     struct http_request *request)
{
    static const char *const others[] = {"PUT", "DELETE", "CONNECT", "TRACE", "OPTIONS", "PATCH"};

    if (bytes_equal(name, bytes_of("GET"))) {
        request->method = HTTP_GET;
        return HTTP_REQUEST;
    }
    if (bytes_equal(name, bytes_of("HEAD"))) {
        request->method = HTTP_HEAD;
        return HTTP_REQUEST;
    }
    if (bytes_equal(name, bytes_of("POST"))) {
        request->method = HTTP_POST;
        return HTTP_REQUEST;
    }
    for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++) {
        if (bytes_equal(name, bytes_of(others[i])))
            return refuse(parser, 405, "only GET, HEAD and POST are allowed here\n");
    }
    if (!is_token(name)) return refuse(parser, 400, "the request line is malformed\n");
    return refuse(parser, 501, "unknown method\n");
}

static enum http_result parse_target(struct http_parser *parser, struct bytes target,
                                     struct http_request *request)
{
    if (target.size == 0 || target.data[0] != '/')
        return refuse(parser, 400, "the target must be a path that begins with /\n");
    for (size_t i = 0; i < target.size; i++) {
        uint8_t c = target.data[i];
        if (c <= ' ' || c >= 0x7f || c == '#')
            return refuse(parser, 400, "byte in the target that must be percent-encoded\n");
    }
    request->query = bytes_make(NULL, 0);
    request->path = target;
    struct bytes rest = target, path;
    if (cut(&rest, '?', &path)) {
        request->path = path;
        request->query = rest;
    }
    return HTTP_REQUEST;
}

/* METHOD SP target SP HTTP/1.x */
static enum http_result parse_request_line(struct http_parser *parser, struct bytes line,
                                           struct http_request *request)
{
    struct bytes method, target;

    if (!cut(&line, ' ', &method) || !cut(&line, ' ', &target))
        return refuse(parser, 400, "the request line is malformed\n");
    enum http_result result = parse_method(parser, method, request);
    if (result == HTTP_REQUEST) result = parse_target(parser, target, request);
    if (result != HTTP_REQUEST) return result;

    bool version_1_1 = bytes_equal(line, bytes_of("HTTP/1.1"));
    bool version_1_0 = bytes_equal(line, bytes_of("HTTP/1.0"));
    request->keep_alive = version_1_1;
    if (version_1_1 || version_1_0) return HTTP_REQUEST;
    bool other_version = line.size == 8 && bytes_starts_with(line, bytes_of("HTTP/")) &&
                         line.data[5] >= '0' && line.data[5] <= '9' && line.data[6] == '.' &&
                         line.data[7] >= '0' && line.data[7] <= '9';
    if (other_version) return refuse(parser, 505, "only HTTP/1.1 and HTTP/1.0 are spoken here\n");
    return refuse(parser, 400, "the request line is malformed\n");
}

/* --- fields ------------------------------------------------------------------------------------
 */

static bool is_blank(uint8_t c)
{
    return c == ' ' || c == '\t';
}

static bool name_is(struct bytes name, const char *lower)
{
    size_t i = 0;

    for (; i < name.size && lower[i]; i++) {
        uint8_t c = name.data[i];
        if (c >= 'A' && c <= 'Z') c |= 0x20;
        if (c != (uint8_t)lower[i]) return false;
    }
    return i == name.size && lower[i] == 0;
}

bool http_field_find(const struct http_request *request, const char *lower_name,
                     struct bytes *ret_value)
{
    for (uint32_t i = 0; i < request->field_count; i++) {
        if (!name_is(request->fields[i].name, lower_name)) continue;
        *ret_value = request->fields[i].value;
        return true;
    }
    return false;
}

static enum http_result parse_field(struct http_parser *parser, struct bytes line,
                                    struct http_request *request)
{
    struct http_field field;

    if (is_blank(line.data[0])) return refuse(parser, 400, "folded header lines are refused\n");
    if (!cut(&line, ':', &field.name) || !is_token(field.name))
        return refuse(parser, 400, "a header line is not `name: value`\n");
    while (line.size && is_blank(line.data[0]))
        line = bytes_from(line, 1);
    while (line.size && is_blank(line.data[line.size - 1]))
        line.size--;
    field.value = line;
    if (request->field_count == HTTP_FIELDS_MAX)
        return refuse(parser, 431, "more than 64 header lines\n");
    request->fields[request->field_count++] = field;
    return HTTP_REQUEST;
}

static uint32_t count_fields(const struct http_request *request, const char *lower_name)
{
    uint32_t count = 0;

    for (uint32_t i = 0; i < request->field_count; i++)
        count += name_is(request->fields[i].name, lower_name);
    return count;
}

/* There is never a body; what announces one, or could be read so, is refused. */
static enum http_result check_lengths(struct http_parser *parser,
                                      const struct http_request *request)
{
    uint32_t lengths = count_fields(request, "content-length");
    struct bytes value;
    uint64_t length = 0;

    if (lengths > 1) return refuse(parser, 400, "more than one Content-Length\n");
    if (count_fields(request, "transfer-encoding")) {
        if (lengths) return refuse(parser, 400, "Content-Length with Transfer-Encoding\n");
        return refuse(parser, 501, "no request body is taken here\n");
    }
    if (!http_field_find(request, "content-length", &value)) return HTTP_REQUEST;
    if (!parse_u64(value, &length)) return refuse(parser, 400, "Content-Length is no number\n");
    if (length) return refuse(parser, 413, "no request body is taken here\n");
    return HTTP_REQUEST;
}

/* Is `option` one of the comma-separated words of the value? */
static bool lists_option(struct bytes value, const char *option)
{
    while (value.size) {
        struct bytes word;
        if (!cut(&value, ',', &word)) {
            word = value;
            value.size = 0;
        }
        while (word.size && is_blank(word.data[0]))
            word = bytes_from(word, 1);
        while (word.size && is_blank(word.data[word.size - 1]))
            word.size--;
        if (name_is(word, option)) return true;
    }
    return false;
}

static enum http_result check_fields(struct http_parser *parser, struct http_request *request)
{
    uint32_t hosts = count_fields(request, "host");
    bool version_1_1 = request->keep_alive;

    if (hosts > 1 || (version_1_1 && hosts == 0))
        return refuse(parser, 400, "exactly one Host is needed\n");
    for (uint32_t i = 0; i < request->field_count; i++) {
        const struct http_field *field = &request->fields[i];
        if (!name_is(field->name, "connection")) continue;
        if (lists_option(field->value, "close")) request->keep_alive = false;
    }
    return check_lengths(parser, request);
}

enum http_result http_parse(struct http_parser *parser, struct bytes input,
                            struct http_request *ret_request, size_t *ret_used)
{
    enum http_result result = scan(parser, input);
    bool first = true;

    if (result != HTTP_REQUEST) return result;
    ret_request->field_count = 0;
    struct bytes rest = bytes_make(input.data, parser->scanned - 2); /* without the empty line */
    struct bytes line;
    /* The scan saw that each line ends in CR LF. */
    while (result == HTTP_REQUEST && cut(&rest, '\r', &line)) {
        rest = bytes_from(rest, 1);
        result = first ? parse_request_line(parser, line, ret_request)
                       : parse_field(parser, line, ret_request);
        first = false;
    }
    if (result == HTTP_REQUEST) result = check_fields(parser, ret_request);
    if (result == HTTP_REQUEST) *ret_used = parser->scanned;
    return result;
}
