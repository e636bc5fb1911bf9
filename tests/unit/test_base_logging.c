#include "unit.h"

#include "base/logging.h"
#include "base/status.h"

struct lines {
    unsigned count;
    char last[LOG_LINE_SIZE_MAX];
};

static void remember(void *context, enum log_level level, const char *line)
{
    struct lines *lines = context;
    lines->count++;
    memcpy(lines->last, line, strlen(line) + 1);
}

static void test_a_line_stays_one_line(void **state)
{
    struct lines lines = {0};
    struct logger logger = {.level = LOG_LEVEL_INFO, .context = &lines, .write = remember};

    LOG_WARN(&logger, "net", "peer closed peer=%s", "a\nerror net forged");
    assert_int_equal(lines.count, 1);
    assert_string_equal(lines.last, "warn net peer closed peer=a?error net forged");
    LOG_DEBUG(&logger, "net", "not wanted");
    assert_int_equal(lines.count, 1);
}

static void test_a_long_line_is_cut(void **state)
{
    struct lines lines = {0};
    struct logger logger = {.level = LOG_LEVEL_INFO, .context = &lines, .write = remember};

    LOG_INFO(&logger, "net", "%2000d", 1);
    assert_int_equal(strlen(lines.last), LOG_LINE_SIZE_MAX - 1);
}

static void test_an_error_carries_text_and_status(void **state)
{
    struct error error = {0};

    assert_int_equal(error_set(&error, STATUS_IO, "cannot read %s", "x"), STATUS_IO);
    assert_string_equal(error.text, "cannot read x");
    assert_int_equal(error.status, STATUS_IO);
    assert_int_equal(error_set(NULL, STATUS_FULL, "nobody listens"), STATUS_FULL);
    assert_string_equal(status_text(STATUS_CORRUPT), "damaged data");
    assert_string_equal(status_text((enum status)9999), "unknown status");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_line_stays_one_line),
        cmocka_unit_test(test_a_long_line_is_cut),
        cmocka_unit_test(test_an_error_carries_text_and_status),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
