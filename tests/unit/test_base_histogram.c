#include "unit.h"

#include "base/histogram.h"
#include "base/random.h"

static void test_small_values_are_exact(void **state)
{
    struct histogram histogram;
    histogram_init(&histogram);

    assert_int_equal(histogram_percentile(&histogram, 99), 0);
    for (uint64_t value = 1; value <= 100; value++)
        histogram_record(&histogram, value);
    assert_int_equal(histogram_percentile(&histogram, 0), 1);
    assert_int_equal(histogram_percentile(&histogram, 50), 50);
    assert_int_equal(histogram_percentile(&histogram, 99), 99);
    assert_int_equal(histogram_percentile(&histogram, 99.5), 100);
    assert_int_equal(histogram_percentile(&histogram, 100), 100);
    assert_int_equal(histogram.min, 1);
    assert_int_equal(histogram.max, 100);
    assert_true(histogram_mean(&histogram) == 50.5);
    assert_int_equal(histogram_count_at_most(&histogram, 40), 40);
}

static void test_a_value_is_reported_less_than_one_percent_too_high(void **state)
{
    struct random random;
    random_seed(&random, 9);

    for (unsigned i = 0; i < 2000; i++) {
        struct histogram histogram;
        uint64_t value = random_below(&random, 1ull << random_between(&random, 1, 25));
        histogram_init(&histogram);
        histogram_record(&histogram, value);
        histogram_record(&histogram, HISTOGRAM_VALUE_MAX); /* so that max does not cap it */
        uint64_t reported = histogram_percentile(&histogram, 50);
        assert_true(reported >= value);
        assert_true(reported - value <= value / 128);
    }
}

static void test_values_past_the_end_count_as_the_end(void **state)
{
    struct histogram histogram;
    histogram_init(&histogram);

    histogram_record(&histogram, UINT64_MAX);
    assert_int_equal(histogram.count, 1);
    assert_int_equal(histogram_percentile(&histogram, 50), HISTOGRAM_VALUE_MAX);
}

static void test_merging_is_recording_in_one(void **state)
{
    struct histogram parts[2], merged, all;
    struct random random;
    random_seed(&random, 10);
    histogram_init(&parts[0]);
    histogram_init(&parts[1]);
    histogram_init(&merged);
    histogram_init(&all);

    for (unsigned i = 0; i < 1000; i++) {
        uint64_t value = random_below(&random, 70000000);
        histogram_record(&parts[i % 2], value);
        histogram_record(&all, value);
    }
    histogram_merge(&merged, &parts[0]);
    histogram_merge(&merged, &parts[1]);
    assert_memory_equal(&merged, &all, sizeof(all));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_small_values_are_exact),
        cmocka_unit_test(test_a_value_is_reported_less_than_one_percent_too_high),
        cmocka_unit_test(test_values_past_the_end_count_as_the_end),
        cmocka_unit_test(test_merging_is_recording_in_one),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
