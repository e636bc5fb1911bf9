/* How many connections a node takes: exact in all, bounded for each address, from any thread. */
#include "unit.h"

#include <pthread.h>
#include <stdio.h>

#include "net/admission.h"

static struct admission *make(uint32_t total_max, uint32_t address_max)
{
    struct admission_options options = {
        .total_max = total_max, .address_max = address_max, .secret = 7};
    return admission_create(&options);
}

static bool host_is(const char *address, const char *expected)
{
    return bytes_equal(admission_host(address), bytes_of(expected));
}

static void test_the_host_of_an_address(void **state)
{
    assert_true(host_is("10.0.0.1:6379", "10.0.0.1"));
    assert_true(host_is("[fe80::1]:6379", "fe80::1"));
    assert_true(host_is("", ""));
    assert_true(host_is("nothing", "nothing"));
}

static void test_the_total_is_exact(void **state)
{
    struct admission *admission = make(3, 0);

    assert_int_equal(admission_enter(admission, "127.0.0.1:1"), ADMISSION_GRANTED);
    assert_int_equal(admission_enter(admission, "127.0.0.1:2"), ADMISSION_GRANTED);
    assert_int_equal(admission_enter(admission, "10.0.0.1:1"), ADMISSION_GRANTED);
    assert_int_equal(admission_enter(admission, "127.0.0.1:3"), ADMISSION_FULL);
    assert_int_equal(admission_count(admission), 3);
    admission_leave(admission, "127.0.0.1:2");
    assert_int_equal(admission_enter(admission, "127.0.0.1:3"), ADMISSION_GRANTED);
    admission_destroy(admission);
}

static void test_an_address_has_its_limit_whatever_its_ports(void **state)
{
    struct admission *admission = make(100, 2);

    assert_int_equal(admission_enter(admission, "10.0.0.1:1"), ADMISSION_GRANTED);
    assert_int_equal(admission_enter(admission, "10.0.0.1:2"), ADMISSION_GRANTED);
    for (int i = 0; i < 10; i++) /* being refused costs nobody a place */
        assert_int_equal(admission_enter(admission, "10.0.0.1:3"), ADMISSION_ADDRESS_FULL);
    assert_int_equal(admission_enter(admission, "10.0.0.2:3"), ADMISSION_GRANTED);
    admission_leave(admission, "10.0.0.1:1");
    assert_int_equal(admission_enter(admission, "10.0.0.1:3"), ADMISSION_GRANTED);
    assert_int_equal(admission_enter(admission, "127.0.0.1:1"), ADMISSION_GRANTED);
    assert_int_equal(admission_enter(admission, "127.0.0.1:2"), ADMISSION_GRANTED);
    assert_int_equal(admission_enter(admission, "127.0.0.1:3"), ADMISSION_ADDRESS_FULL);
    assert_int_equal(admission_count(admission), 5);
    admission_destroy(admission);
}

static void test_by_default_no_other_machine_takes_all_places(void **state)
{
    struct admission *admission = make(8, 0);

    for (int i = 0; i < 6; i++)
        assert_int_equal(admission_enter(admission, "10.0.0.1:1"), ADMISSION_GRANTED);
    assert_int_equal(admission_enter(admission, "10.0.0.1:1"), ADMISSION_ADDRESS_FULL);
    assert_int_equal(admission_enter(admission, "[::1]:1"), ADMISSION_GRANTED);
    assert_int_equal(admission_enter(admission, "127.0.0.1:1"), ADMISSION_GRANTED);
    assert_int_equal(admission_enter(admission, "127.0.0.1:1"), ADMISSION_FULL);
    admission_destroy(admission);
}

/* A thousand addresses in 4096 counters: hardly any pair meets in both rows. */
static void test_addresses_hardly_ever_share_their_limit(void **state)
{
    struct admission *admission = make(100000, 1);
    char address[32];
    int refused = 0;

    for (int i = 0; i < 1000; i++) {
        snprintf(address, sizeof(address), "10.0.%d.%d:1", i / 200, i % 200);
        refused += admission_enter(admission, address) != ADMISSION_GRANTED;
    }
    assert_in_range(refused, 0, 80);
    admission_destroy(admission);
}

enum { THREADS = 4, ROUNDS = 20000, PLACES = 3 };

static void *come_and_go(void *context)
{
    struct admission *admission = context;
    uintptr_t granted = 0;

    for (int i = 0; i < ROUNDS; i++) {
        if (admission_enter(admission, "10.0.0.1:1") != ADMISSION_GRANTED) continue;
        granted++;
        if (admission_count(admission) > PLACES + THREADS) return NULL; /* + those who try */
        admission_leave(admission, "10.0.0.1:1");
    }
    return (void *)granted;
}

static void test_threads_come_and_go(void **state)
{
    struct admission *admission = make(PLACES, PLACES);
    pthread_t threads[THREADS];

    for (int i = 0; i < THREADS; i++)
        pthread_create(&threads[i], NULL, come_and_go, admission);
    for (int i = 0; i < THREADS; i++) {
        void *granted = NULL;
        pthread_join(threads[i], &granted);
        assert_non_null(granted);
    }
    assert_int_equal(admission_count(admission), 0);
    for (int i = 0; i < PLACES; i++)
        assert_int_equal(admission_enter(admission, "10.0.0.1:1"), ADMISSION_GRANTED);
    admission_destroy(admission);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_host_of_an_address),
        cmocka_unit_test(test_the_total_is_exact),
        cmocka_unit_test(test_an_address_has_its_limit_whatever_its_ports),
        cmocka_unit_test(test_by_default_no_other_machine_takes_all_places),
        cmocka_unit_test(test_addresses_hardly_ever_share_their_limit),
        cmocka_unit_test(test_threads_come_and_go),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
