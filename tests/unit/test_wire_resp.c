/* Expected values: the Redis protocol specification, and redis-server 7.0 for error texts. */
#include "unit.h"

#include "base/assert.h"
#include "wire/resp.h"

static enum resp_result parse(struct resp_parser *parser, const char *text, size_t *ret_used)
{
    return resp_parse(parser, bytes_of(text), ret_used);
}

static void check_arguments(const struct resp_parser *parser, const char *const *expected,
                            uint32_t count)
{
    assert_int_equal(parser->argument_count, count);
    for (uint32_t i = 0; i < count; i++)
        assert_true(bytes_equal(parser->arguments[i], bytes_of(expected[i])));
}

#define CHECK_ARGUMENTS(parser, ...)                                                               \
    do {                                                                                           \
        const char *const expected[] = {__VA_ARGS__};                                              \
        check_arguments(parser, expected, ARRAY_COUNT(expected));                                  \
    } while (0)

static void test_an_array_of_bulk_strings_is_a_command(void **state)
{
    struct resp_parser parser = {0};
    const char *text = "*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$0\r\n\r\nrest";
    size_t used;

    assert_int_equal(parse(&parser, text, &used), RESP_COMMAND);
    assert_int_equal(used, strlen(text) - 4);
    CHECK_ARGUMENTS(&parser, "SET", "k", "");
    resp_parser_free(&parser);
}

static void test_arguments_hold_any_bytes(void **state)
{
    struct resp_parser parser = {0};
    size_t used;
    const char text[] = "*1\r\n$6\r\n\r\n\0$*\xff\r\n";

    assert_int_equal(resp_parse(&parser, bytes_make(text, sizeof(text) - 1), &used), RESP_COMMAND);
    assert_int_equal(parser.argument_count, 1);
    assert_memory_equal(parser.arguments[0].data, "\r\n\0$*\xff", 6);
    resp_parser_free(&parser);
}

static void test_an_empty_array_is_skipped(void **state)
{
    static const char *const texts[] = {"*0\r\n", "*-1\r\n", "*-9\r\n", "\r\n", "\n", "   \r\n"};

    for (size_t i = 0; i < ARRAY_COUNT(texts); i++) {
        struct resp_parser parser = {0};
        size_t used = 0;
        assert_int_equal(parse(&parser, texts[i], &used), RESP_COMMAND);
        assert_int_equal(used, strlen(texts[i]));
        assert_int_equal(parser.argument_count, 0);
        resp_parser_free(&parser);
    }
}

static void test_inline_words_may_be_quoted(void **state)
{
    struct resp_parser parser = {0};
    size_t used;
    const char *text = "set \"a \\x41\\n\\\"\" 'it\\'s' plain\r\nGET a\n";

    assert_int_equal(parse(&parser, text, &used), RESP_COMMAND);
    CHECK_ARGUMENTS(&parser, "set", "a A\n\"", "it's", "plain");
    assert_int_equal(parse(&parser, text + used, &used), RESP_COMMAND);
    CHECK_ARGUMENTS(&parser, "GET", "a");
    resp_parser_free(&parser);
}

static void test_many_inline_words_fit(void **state)
{
    struct resp_parser parser = {0};
    size_t used;
    char text[512] = "";

    for (int i = 0; i < 100; i++)
        strcat(text, "ab ");
    strcat(text, "\n");
    assert_int_equal(parse(&parser, text, &used), RESP_COMMAND);
    assert_int_equal(parser.argument_count, 100);
    assert_true(bytes_equal(parser.arguments[99], bytes_of("ab")));
    resp_parser_free(&parser);
}

static void check_refused(const char *text, const char *error)
{
    struct resp_parser parser = {0};
    size_t used;

    assert_int_equal(parse(&parser, text, &used), RESP_INVALID);
    assert_string_equal(parser.error, error);
    resp_parser_free(&parser);
}

static void test_wrong_bytes_are_refused(void **state)
{
    check_refused("*x\r\n", "Protocol error: invalid multibulk length");
    check_refused("*1 \r\n", "Protocol error: invalid multibulk length");
    check_refused("*01\r\n", "Protocol error: invalid multibulk length");
    check_refused("*1\rx", "Protocol error: invalid multibulk length");
    check_refused("*1048577\r\n", "Protocol error: invalid multibulk length");
    check_refused("*99999999999999999999\r\n", "Protocol error: invalid multibulk length");
    check_refused("*1\r\n:1\r\n", "Protocol error: expected '$', got ':'");
    check_refused("*1\r\n*1\r\n", "Protocol error: expected '$', got '*'");
    check_refused("*1\r\n\x01", "Protocol error: expected '$', got '?'");
    check_refused("*1\r\n$-1\r\n", "Protocol error: invalid bulk length");
    check_refused("*1\r\n$a\r\n", "Protocol error: invalid bulk length");
    check_refused("*1\r\n$9223372036854775808\r\n", "Protocol error: invalid bulk length");
    check_refused("*1\r\n$2\r\nabc\r\n", "Protocol error: bulk string without its final CRLF");
    check_refused("get \"a\r\n", "Protocol error: unbalanced quotes in request");
    check_refused("get \"a\"b\r\n", "Protocol error: unbalanced quotes in request");
}

/* A length is only a word: what it announces is refused or awaited, never allocated. */
static void test_a_length_allocates_nothing(void **state)
{
    struct resp_parser parser = {0};
    size_t used;

    assert_int_equal(parse(&parser, "*1048576\r\n", &used), RESP_MORE);
    assert_true(parser.capacity <= 8);
    resp_parser_reset(&parser);
    assert_int_equal(parse(&parser, "*2\r\n$16777216\r\n", &used), RESP_MORE);
    assert_true(parser.capacity <= 8);
    resp_parser_free(&parser);
    check_refused("*2\r\n$16777217\r\n",
                  "Protocol error: invalid bulk length, an argument may have 16 MiB");
}

static void test_endless_lines_are_refused(void **state)
{
    static const char firsts[] = {'*', 'g'};
    struct buffer text;

    for (size_t i = 0; i < ARRAY_COUNT(firsts); i++) {
        struct resp_parser parser = {0};
        size_t used;
        buffer_init(&text, 1 << 20);
        uint8_t *room = buffer_reserve(&text, RESP_LINE_SIZE_MAX + 2);
        memset(room, '1', RESP_LINE_SIZE_MAX + 2);
        room[0] = (uint8_t)firsts[i];
        buffer_commit(&text, RESP_LINE_SIZE_MAX + 2);
        assert_int_equal(resp_parse(&parser, buffer_bytes(&text), &used), RESP_INVALID);
        resp_parser_free(&parser);
        buffer_free(&text);
    }
}

static void test_a_whole_command_is_bounded(void **state)
{
    struct resp_parser parser = {0};
    struct buffer text;
    size_t used;
    enum resp_result result = RESP_MORE;

    buffer_init(&text, 40 << 20);
    buffer_append(&text, bytes_of("*1048576\r\n"));
    while (result == RESP_MORE && buffer_size(&text) < 30 << 20) {
        for (int i = 0; i < 1000; i++)
            buffer_append(&text, bytes_of("$20\r\naaaaaaaaaaaaaaaaaaaa\r\n"));
        result = resp_parse(&parser, buffer_bytes(&text), &used);
    }
    assert_int_equal(result, RESP_INVALID);
    assert_true(buffer_size(&text) < RESP_COMMAND_SIZE_MAX + 28000);
    resp_parser_free(&parser);
    buffer_free(&text);
}

/* Whole or byte by byte, in memory that moves at each step: the same commands. */
static void test_cutting_the_input_changes_nothing(void **state)
{
    const char *text = "*2\r\n$3\r\nGET\r\n$10\r\n0123456789\r\nping \"a b\"\r\n*0\r\n"
                       "*3\r\n$1\r\na\r\n$0\r\n\r\n$12\r\nxxxxxxxxxxxx\r\n";
    size_t size = strlen(text);
    struct resp_parser parser = {0};
    size_t start = 0, commands = 0;

    for (size_t end = 1; end <= size; end++) {
        uint8_t copy[256]; /* another place each time */
        size_t used;
        memset(copy, 0, sizeof(copy));
        size_t shift = end % 16;
        memcpy(copy + shift, text + start, end - start);
        enum resp_result result = resp_parse(&parser, bytes_make(copy + shift, end - start), &used);
        assert_int_not_equal(result, RESP_INVALID);
        if (result == RESP_MORE) continue;
        assert_int_equal(used, end - start);
        start = end;
        commands++;
        if (commands == 1) CHECK_ARGUMENTS(&parser, "GET", "0123456789");
        if (commands == 2) CHECK_ARGUMENTS(&parser, "ping", "a b");
        if (commands == 4) CHECK_ARGUMENTS(&parser, "a", "", "xxxxxxxxxxxx");
    }
    assert_int_equal(commands, 4);
    resp_parser_free(&parser);
}

/* --- replies --------------------------------------------------------------------------------- */

static void check_reply(struct buffer *buffer, const char *expected)
{
    assert_int_equal(buffer_size(buffer), strlen(expected));
    assert_memory_equal(buffer_bytes(buffer).data, expected, strlen(expected));
    buffer_clear(buffer);
}

static void test_replies_in_both_protocols(void **state)
{
    struct buffer buffer;

    buffer_init(&buffer, 4096);
    struct resp_writer two = resp_writer_make(&buffer, false);
    struct resp_writer three = resp_writer_make(&buffer, true);
    resp_write_simple(&two, "OK");
    check_reply(&buffer, "+OK\r\n");
    resp_write_error(&two, "ERR a\r\nb");
    check_reply(&buffer, "-ERR a  b\r\n");
    resp_write_integer(&two, INT64_MIN);
    check_reply(&buffer, ":-9223372036854775808\r\n");
    resp_write_integer(&two, 0);
    check_reply(&buffer, ":0\r\n");
    resp_write_bulk(&two, bytes_of(""));
    check_reply(&buffer, "$0\r\n\r\n");
    resp_write_bulk_u64(&two, UINT64_MAX);
    check_reply(&buffer, "$20\r\n18446744073709551615\r\n");
    resp_write_null(&two);
    resp_write_null(&three);
    check_reply(&buffer, "$-1\r\n_\r\n");
    resp_write_null_array(&two);
    resp_write_null_array(&three);
    check_reply(&buffer, "*-1\r\n_\r\n");
    resp_write_map(&two, 2);
    resp_write_map(&three, 2);
    check_reply(&buffer, "*4\r\n%2\r\n");
    resp_write_set(&two, 3);
    resp_write_set(&three, 3);
    check_reply(&buffer, "*3\r\n~3\r\n");
    resp_write_verbatim(&two, bytes_of("ab"));
    resp_write_verbatim(&three, bytes_of("ab"));
    check_reply(&buffer, "$2\r\nab\r\n=6\r\ntxt:ab\r\n");
    buffer_free(&buffer);
}

static void test_a_full_buffer_marks_the_writer(void **state)
{
    struct buffer buffer;

    buffer_init(&buffer, 40);
    struct resp_writer out = resp_writer_make(&buffer, false);
    resp_write_bulk(&out, bytes_of("fits"));
    assert_false(out.failed);
    resp_write_bulk(&out, bytes_of("this does not fit any more"));
    assert_true(out.failed);
    resp_write_simple(&out, "x"); /* stays failed */
    assert_int_equal(buffer_size(&buffer), 10);
    buffer_free(&buffer);
}

static void test_values_are_measured(void **state)
{
    static const struct {
        const char *text;
        size_t size;
    } cases[] = {{"+OK\r\nx", 5},
                 {"$-1\r\n", 5},
                 {"$3\r\nabc\r\nx", 9},
                 {"*2\r\n:1\r\n*1\r\n$0\r\n\r\n:3", 18},
                 {"%1\r\n+a\r\n:1\r\n", 12},
                 {"_\r\n", 3},
                 {"$3\r\nab", 0},
                 {"*2\r\n:1\r\n", 0},
                 {"*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n:1\r\n", 0},
                 {"", 0},
                 {"x", 0}};

    for (size_t i = 0; i < ARRAY_COUNT(cases); i++)
        assert_int_equal(resp_value_size(bytes_of(cases[i].text)), cases[i].size);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_an_array_of_bulk_strings_is_a_command),
        cmocka_unit_test(test_arguments_hold_any_bytes),
        cmocka_unit_test(test_an_empty_array_is_skipped),
        cmocka_unit_test(test_inline_words_may_be_quoted),
        cmocka_unit_test(test_many_inline_words_fit),
        cmocka_unit_test(test_wrong_bytes_are_refused),
        cmocka_unit_test(test_a_length_allocates_nothing),
        cmocka_unit_test(test_endless_lines_are_refused),
        cmocka_unit_test(test_a_whole_command_is_bounded),
        cmocka_unit_test(test_cutting_the_input_changes_nothing),
        cmocka_unit_test(test_replies_in_both_protocols),
        cmocka_unit_test(test_a_full_buffer_marks_the_writer),
        cmocka_unit_test(test_values_are_measured),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
