/* Expected verdicts: RFC 9112 and RFC 9110, read strictly. */
#include "unit.h"

#include "base/assert.h"
#include "wire/http.h"

static enum http_result parse(const char *text, struct http_parser *parser,
                              struct http_request *request)
{
    size_t used = 0;

    *parser = (struct http_parser){0};
    return http_parse(parser, bytes_of(text), request, &used);
}

static void test_a_request_is_split(void **state)
{
    struct http_parser parser = {0};
    struct http_request request;
    struct bytes value;
    const char *text = "GET /metrics?a=1&b=2 HTTP/1.1\r\nHost: n1:9379\r\n"
                       "Accept:\t text/plain \r\n\r\nGET /next";
    size_t used;

    assert_int_equal(http_parse(&parser, bytes_of(text), &request, &used), HTTP_REQUEST);
    assert_int_equal(used, strlen(text) - 9);
    assert_int_equal(request.method, HTTP_GET);
    assert_true(bytes_equal(request.path, bytes_of("/metrics")));
    assert_true(bytes_equal(request.query, bytes_of("a=1&b=2")));
    assert_true(request.keep_alive);
    assert_true(http_field_find(&request, "accept", &value));
    assert_true(bytes_equal(value, bytes_of("text/plain")));
    assert_false(http_field_find(&request, "cookie", &value));
}

static void test_connections_stay_or_close_as_asked(void **state)
{
    struct http_parser parser;
    struct http_request request;

    assert_int_equal(parse("HEAD / HTTP/1.0\r\n\r\n", &parser, &request), HTTP_REQUEST);
    assert_int_equal(request.method, HTTP_HEAD);
    assert_false(request.keep_alive);
    assert_int_equal(
        parse("GET / HTTP/1.1\r\nHost: a\r\nConnection: x, Close\r\n\r\n", &parser, &request),
        HTTP_REQUEST);
    assert_false(request.keep_alive);
    assert_int_equal(
        parse("GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n", &parser, &request),
        HTTP_REQUEST);
    assert_true(request.keep_alive);
}

static void test_what_is_ambiguous_is_refused(void **state)
{
    static const struct {
        const char *text;
        unsigned status;
    } cases[] = {
        {"GET / HTTP/1.1\nHost: a\n\n", 400},                  /* bare LF */
        {"GET / HTTP/1.1\rHost: a\r\n\r\n", 400},              /* bare CR */
        {"\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", 400},        /* empty line first */
        {"GET / HTTP/1.1\r\nHost : a\r\n\r\n", 400},           /* space, colon */
        {"GET / HTTP/1.1\r\nHost: a\r\n b\r\n\r\n", 400},      /* folded */
        {"GET / HTTP/1.1\r\n: a\r\n\r\n", 400},                /* no name */
        {"GET / HTTP/1.1\r\nHost a\r\n\r\n", 400},             /* no colon */
        {"GET / HTTP/1.1\r\nHost: a\x01\r\n\r\n", 400},        /* control byte */
        {"GET / HTTP/1.1\r\n\r\n", 400},                       /* no Host */
        {"GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", 400}, /* two */
        {"GET  / HTTP/1.1\r\nHost: a\r\n\r\n", 400},           /* two spaces */
        {"GET /\r\nHost: a\r\n\r\n", 400},                     /* HTTP/0.9 */
        {"GET http://a/ HTTP/1.1\r\nHost: a\r\n\r\n", 400},    /* for a proxy */
        {"GET * HTTP/1.1\r\nHost: a\r\n\r\n", 400},
        {"GET /a#b HTTP/1.1\r\nHost: a\r\n\r\n", 400},
        {"GET /\xc3\xa4 HTTP/1.1\r\nHost: a\r\n\r\n", 400},
        {"G(T / HTTP/1.1\r\nHost: a\r\n\r\n", 400},
        {"get / HTTP/1.1\r\nHost: a\r\n\r\n", 501}, /* case counts */
        {"BREW / HTTP/1.1\r\nHost: a\r\n\r\n", 501},
        {"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc", 413},
        {"PUT / HTTP/1.1\r\nHost: a\r\n\r\n", 405},
        {"GET / HTTP/2.0\r\nHost: a\r\n\r\n", 505},
        {"GET / HTTP/1.10\r\nHost: a\r\n\r\n", 400},
        {"GET / HTTX/1.1\r\nHost: a\r\n\r\n", 400},
        {"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc", 413},
        {"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: +0\r\n\r\n", 400},
        {"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 0, 0\r\n\r\n", 400},
        {"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\ncontent-length: 5\r\n\r\n", 400},
        {"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\nTransfer-Encoding: chunked\r\n\r\n",
         400},
        {"GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n", 501},
    };

    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        struct http_parser parser;
        struct http_request request;
        if (parse(cases[i].text, &parser, &request) != HTTP_REFUSED ||
            parser.status != cases[i].status)
            fail_msg("%s: status %u", cases[i].text, parser.status);
        assert_non_null(parser.reason);
    }
}

static void test_the_head_is_bounded(void **state)
{
    struct http_parser parser = {0};
    struct http_request request;
    struct buffer text;
    size_t used;

    buffer_init(&text, 1 << 20);
    buffer_append(&text, bytes_of("GET / HTTP/1.1\r\nHost: a\r\nX: "));
    while (buffer_size(&text) < HTTP_HEAD_SIZE_MAX)
        buffer_append(&text, bytes_of("x"));
    assert_int_equal(http_parse(&parser, buffer_bytes(&text), &request, &used), HTTP_MORE);
    buffer_append(&text, bytes_of("x"));
    assert_int_equal(http_parse(&parser, buffer_bytes(&text), &request, &used), HTTP_REFUSED);
    assert_int_equal(parser.status, 431);

    buffer_clear(&text);
    buffer_append(&text, bytes_of("GET / HTTP/1.1\r\nHost: a\r\n"));
    for (int i = 0; i < HTTP_FIELDS_MAX; i++)
        buffer_append(&text, bytes_of("a: b\r\n"));
    buffer_append(&text, bytes_of("\r\n"));
    parser = (struct http_parser){0};
    assert_int_equal(http_parse(&parser, buffer_bytes(&text), &request, &used), HTTP_REFUSED);
    assert_int_equal(parser.status, 431);
    buffer_free(&text);
}

static void test_cutting_the_input_changes_nothing(void **state)
{
    const char *text = "GET /a?b HTTP/1.1\r\nHost: a\r\nA: b\r\n\r\n";
    struct http_parser parser = {0};
    struct http_request request;
    size_t used = 0;

    for (size_t size = 0; size < strlen(text); size++)
        assert_int_equal(http_parse(&parser, bytes_make(text, size), &request, &used), HTTP_MORE);
    assert_int_equal(http_parse(&parser, bytes_of(text), &request, &used), HTTP_REQUEST);
    assert_int_equal(used, strlen(text));
    assert_int_equal(request.field_count, 2);
}

static void test_responses_carry_their_length(void **state)
{
    struct buffer buffer;

    buffer_init(&buffer, 4096);
    assert_int_equal(http_write_response(&buffer, 200, "text/plain", bytes_of("hi\n"), false, true),
                     STATUS_OK);
    struct bytes bytes = buffer_bytes(&buffer);
    assert_true(bytes_starts_with(bytes, bytes_of("HTTP/1.1 200 OK\r\n")));
    assert_non_null(memmem(bytes.data, bytes.size, "\r\nContent-Length: 3\r\n", 21));
    assert_memory_equal(bytes.data + bytes.size - 7, "\r\n\r\nhi\n", 7);

    buffer_clear(&buffer);
    assert_int_equal(http_write_response(&buffer, 405, "text/plain", bytes_of("no\n"), true, false),
                     STATUS_OK);
    bytes = buffer_bytes(&buffer);
    assert_non_null(memmem(bytes.data, bytes.size, "\r\nContent-Length: 3\r\n", 21));
    assert_non_null(memmem(bytes.data, bytes.size, "\r\nAllow: GET, HEAD\r\n", 20));
    assert_non_null(memmem(bytes.data, bytes.size, "\r\nConnection: close\r\n", 21));
    assert_memory_equal(bytes.data + bytes.size - 4, "\r\n\r\n", 4);
    buffer_free(&buffer);

    buffer_init(&buffer, 40);
    assert_int_equal(http_write_response(&buffer, 200, "a", bytes_of("b"), false, true),
                     STATUS_FULL);
    assert_int_equal(buffer_size(&buffer), 0);
    buffer_free(&buffer);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_request_is_split),
        cmocka_unit_test(test_connections_stay_or_close_as_asked),
        cmocka_unit_test(test_what_is_ambiguous_is_refused),
        cmocka_unit_test(test_the_head_is_bounded),
        cmocka_unit_test(test_cutting_the_input_changes_nothing),
        cmocka_unit_test(test_responses_carry_their_length),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
