#include "unit.h"

#include <stdio.h>

#include "base/buffer.h"
#include "base/config.h"

struct seen {
    struct buffer text; /* "line:name=value;" of each setting */
    const char *refuse;
};

static enum status remember(void *context, const char *name, const char *value, unsigned line,
                            struct error *error)
{
    struct seen *seen = context;
    if (seen->refuse && strcmp(name, seen->refuse) == 0)
        return error_set(error, STATUS_INVALID, "unknown setting `%s`", name);
    return buffer_append_format(&seen->text, "%u:%s=%s;", line, name, value);
}

static enum status parse(struct seen *seen, const char *text, struct error *error)
{
    buffer_init(&seen->text, 10000);
    return config_parse(bytes_of(text), remember, seen, error);
}

static void test_settings_come_in_order_with_their_lines(void **state)
{
    struct seen seen = {0};
    struct error error = {0};

    assert_int_equal(parse(&seen,
                           "# a comment\n"
                           "\n"
                           "name = n1\r\n"
                           "  data-dir=/var/lib/holon # where\n"
                           "password = a#b\n"
                           "empty =\n"
                           "text = a = b  c",
                           &error),
                     STATUS_OK);
    assert_true(bytes_equal(buffer_bytes(&seen.text),
                            bytes_of("3:name=n1;4:data-dir=/var/lib/holon;5:password=a#b;"
                                     "6:empty=;7:text=a = b  c;")));
    buffer_free(&seen.text);
}

static void test_errors_name_the_line(void **state)
{
    struct seen seen = {.refuse = "colour"};
    struct error error = {0};

    assert_int_equal(parse(&seen, "a = 1\n\nno setting\n", &error), STATUS_INVALID);
    assert_string_equal(error.text, "line 3: expected `name = value`, found `no setting`");
    buffer_free(&seen.text);

    assert_int_equal(parse(&seen, "a = 1\ncolour = red\nb = 2\n", &error), STATUS_INVALID);
    assert_string_equal(error.text, "line 2: unknown setting `colour`");
    assert_true(bytes_equal(buffer_bytes(&seen.text), bytes_of("1:a=1;")));
    buffer_free(&seen.text);

    assert_int_equal(parse(&seen, "= 1\n", NULL), STATUS_INVALID); /* no error text wanted */
    buffer_free(&seen.text);
}

static void test_bounds(void **state)
{
    struct seen seen = {0};
    struct error error = {0};
    static char text[CONFIG_SIZE_MAX + 1];
    buffer_init(&seen.text, 10000);

    memset(text, ' ', sizeof(text));
    assert_int_equal(config_parse(bytes_make(text, sizeof(text)), remember, &seen, &error),
                     STATUS_TOO_LARGE);
    memset(text, '#', CONFIG_LINE_SIZE_MAX);
    assert_int_equal(config_parse(bytes_make(text, CONFIG_LINE_SIZE_MAX), remember, &seen, &error),
                     STATUS_TOO_LARGE);
    assert_int_equal(
        config_parse(bytes_make(text, CONFIG_LINE_SIZE_MAX - 1), remember, &seen, &error),
        STATUS_OK);
    assert_int_equal(config_parse(bytes_make("a = \0b", 6), remember, &seen, &error),
                     STATUS_INVALID);
    assert_int_equal(config_parse(bytes_make(NULL, 0), remember, &seen, &error), STATUS_OK);
    assert_int_equal(buffer_size(&seen.text), 0);
    buffer_free(&seen.text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_settings_come_in_order_with_their_lines),
        cmocka_unit_test(test_errors_name_the_line),
        cmocka_unit_test(test_bounds),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
