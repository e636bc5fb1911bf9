/* The reference pages name every metric and every option. */
#include "unit.h"

#include <stdio.h>
#include <stdlib.h>

static char *read_page(const char *path)
{
    FILE *file = fopen(path, "r");

    if (file == NULL) fail_msg("%s is missing", path);
    char *text = calloc(1, 256 << 10);
    assert_non_null(text);
    size_t size = fread(text, 1, (256 << 10) - 1, file);
    assert_true(size > 0);
    fclose(file);
    return text;
}

static void expect_row(const char *page, const char *prefix, const char *name)
{
    char row[128];

    snprintf(row, sizeof(row), "| `%s%s` |", prefix, name);
    if (strstr(page, row) == NULL) fail_msg("no row `%s`", row);
}

static void test_every_metric_is_documented(void **state)
{
    char *page = read_page("docs/reference/metrics.md");

#define METRIC(name_, type_, value_, help_) expect_row(page, "holon_", name_);
#include "node/metrics.def"
#undef METRIC
    free(page);
}

static void test_every_option_is_documented(void **state)
{
    enum {
        COMMAND_START = 1,
        COMMAND_DEV = 2,
        COMMAND_STATUS = 4,
        COMMAND_SALVAGE = 16,
        COMMAND_NODE = 32,
        COMMAND_REBALANCE = 64,
        COMMAND_SCRUB = 128,
        COMMAND_UPGRADE = 256,
        COMMAND_DATABASE = 512,
        COMMAND_BACKUP = 1024,
        COMMAND_RESTORE = 2048
    };
    char *page = read_page("docs/reference/configuration.md");

#define OPTION(name_, argument_, kind_, field_, least_, most_, default_, commands_, help_)         \
    if ((commands_)&COMMAND_START) expect_row(page, "", name_);
#include "cli/options.def"
#undef OPTION
    free(page);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_metric_is_documented),
        cmocka_unit_test(test_every_option_is_documented),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
