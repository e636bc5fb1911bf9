/* Labels of nodes as text: cluster/labels.h. */
#include <stdio.h>

#include "cluster/labels.h"
#include "unit.h"

static void change(char labels[LABELS_SIZE_MAX], const char *text)
{
    struct error error;

    assert_int_equal(labels_change(labels, text, &error), STATUS_OK);
}

static void refuse(char labels[LABELS_SIZE_MAX], const char *text, const char *why)
{
    char before[LABELS_SIZE_MAX];
    struct error error = {0};

    memcpy(before, labels, sizeof(before));
    assert_int_equal(labels_change(labels, text, &error), STATUS_INVALID);
    assert_non_null(strstr(error.text, why));
    assert_string_equal(labels, before);
}

static void test_labels_are_sorted_and_each_name_is_there_once(void **state)
{
    char labels[LABELS_SIZE_MAX] = "";

    (void)state;
    change(labels, "zone=a,rack=r1");
    assert_string_equal(labels, "rack=r1,zone=a");
    change(labels, "zone=b,host=h,zonex=1");
    assert_string_equal(labels, "host=h,rack=r1,zone=b,zonex=1");
    change(labels, "rack=,zonex=");
    assert_string_equal(labels, "host=h,zone=b");
    change(labels, "gone=");
    change(labels, "");
    assert_string_equal(labels, "host=h,zone=b");
    change(labels, "host=,zone=");
    assert_string_equal(labels, "");
}

static void test_values_are_found_by_the_whole_name(void **state)
{
    char labels[LABELS_SIZE_MAX] = "", value[LABEL_VALUE_SIZE_MAX];

    (void)state;
    change(labels, "zone=eu-1/A:2,weight=200");
    assert_true(labels_get(labels, "zone", value));
    assert_string_equal(value, "eu-1/A:2");
    assert_false(labels_get(labels, "zon", value));
    assert_false(labels_get(labels, "zonex", value));
    assert_string_equal(value, "");
    assert_int_equal(labels_number(labels, "weight", LABEL_WEIGHT_USUAL), 200);
    assert_int_equal(labels_number("", "weight", LABEL_WEIGHT_USUAL), 100);
}

static void test_what_cannot_be_a_label_is_refused_and_changes_nothing(void **state)
{
    char labels[LABELS_SIZE_MAX] = "";
    char longest[LABELS_SIZE_MAX] = "";

    (void)state;
    change(labels, "zone=a");
    refuse(labels, "rack=r,zone", "name=value");
    refuse(labels, "Zone=b", "cannot be");
    refuse(labels, "=b", "cannot be");
    refuse(labels, "zone=b c", "cannot be");
    refuse(labels, "zone=b=c", "cannot be");
    refuse(labels, "x=012345678901234567890123456789012345678901234567890123456789abcd",
           "cannot be");
    refuse(labels, "x0123456789012345678901234567890=a", "cannot be");
    refuse(labels, "weight=0", "1 to 10000");
    refuse(labels, "weight=10001", "1 to 10000");
    refuse(labels, "weight=5x", "1 to 10000");
    refuse(labels, "leaders=10", "0 to 9");
    for (int i = 0; i < 3; i++) {
        snprintf(longest, sizeof(longest), "l%d=%060d", i, 0);
        change(labels, longest);
    }
    refuse(labels, "l3=012345678901234567890123456789012345678901234567890123456789", "255 bytes");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_labels_are_sorted_and_each_name_is_there_once),
        cmocka_unit_test(test_values_are_found_by_the_whole_name),
        cmocka_unit_test(test_what_cannot_be_a_label_is_refused_and_changes_nothing),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
