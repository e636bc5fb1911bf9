#include "unit.h"

#include "base/parse.h"

static bool u64(const char *text, uint64_t *value)
{
    return parse_u64(bytes_of(text), value);
}

static bool i64(const char *text, int64_t *value)
{
    return parse_i64(bytes_of(text), value);
}

static void test_numbers_at_their_limits(void **state)
{
    uint64_t u;
    int64_t i;

    assert_true(u64("0", &u) && u == 0);
    assert_true(u64("18446744073709551615", &u) && u == UINT64_MAX);
    assert_false(u64("18446744073709551616", &u));
    assert_false(u64("99999999999999999999", &u));
    assert_true(i64("9223372036854775807", &i) && i == INT64_MAX);
    assert_false(i64("9223372036854775808", &i));
    assert_true(i64("-9223372036854775808", &i) && i == INT64_MIN);
    assert_false(i64("-9223372036854775809", &i));
    assert_true(i64("-1", &i) && i == -1);
}

static void test_numbers_take_nothing_else(void **state)
{
    static const char *const wrong[] = {"",    " ",  "+1",  "-",   "01", "00",  " 1",  "1 ", "1.0",
                                        "0x1", "1a", "--1", "-01", "-0", "1e3", "-+1", "1\n"};
    uint64_t u = 7;
    int64_t i = 7;

    for (size_t n = 0; n < sizeof(wrong) / sizeof(wrong[0]); n++) {
        assert_false(u64(wrong[n], &u));
        assert_false(i64(wrong[n], &i));
    }
    assert_false(u64("-1", &u));
    assert_false(parse_u64(bytes_make("1\0", 2), &u));
    assert_int_equal(u, 7); /* untouched on error */
    assert_int_equal(i, 7);
}

static void test_durations(void **state)
{
    uint64_t us = 7;

    assert_true(parse_duration(bytes_of("10s"), &us) && us == 10000000);
    assert_true(parse_duration(bytes_of("250ms"), &us) && us == 250000);
    assert_true(parse_duration(bytes_of("5m"), &us) && us == 300000000);
    assert_true(parse_duration(bytes_of("0s"), &us) && us == 0);
    assert_true(parse_duration(bytes_of("2h"), &us) && us == 7200000000);
    assert_false(parse_duration(bytes_of("10"), &us));
    assert_false(parse_duration(bytes_of("s"), &us));
    assert_false(parse_duration(bytes_of("1.5s"), &us));
    assert_false(parse_duration(bytes_of("10 s"), &us));
    assert_false(parse_duration(bytes_of("10sec"), &us));
    assert_false(parse_duration(bytes_of("18446744073709551615s"), &us));
}

static void test_sizes(void **state)
{
    uint64_t size;

    assert_true(parse_size(bytes_of("512"), &size) && size == 512);
    assert_true(parse_size(bytes_of("64MiB"), &size) && size == 64u << 20);
    assert_true(parse_size(bytes_of("2TiB"), &size) && size == 2ull << 40);
    assert_false(parse_size(bytes_of("64MB"), &size)); /* 10^6 or 2^20? Refused. */
    assert_false(parse_size(bytes_of("99999999999TiB"), &size));
}

static bool address(const char *text, struct address *ret)
{
    return parse_address(bytes_of(text), false, ret);
}

static void test_addresses(void **state)
{
    struct address a;

    assert_true(address("127.0.0.1:7001", &a));
    assert_string_equal(a.host, "127.0.0.1");
    assert_int_equal(a.port, 7001);
    assert_true(address("node-1.example.org:65535", &a));
    assert_string_equal(a.host, "node-1.example.org");
    assert_true(address("[2001:db8::1]:80", &a));
    assert_string_equal(a.host, "2001:db8::1");
    assert_true(parse_address(bytes_of(":80"), true, &a));
    assert_string_equal(a.host, "");
}

static void test_what_is_no_address(void **state)
{
    static const char *const wrong[] = {
        "",     "host",  "host:",   "host:65536", ":80",    "2001:db8::1", "[::1]", "[::1]80",
        "[::1", "[]:80", "h st:80", "host:08",    "a:b:80", "host:-1",     "[host", "http://h:80"};
    struct address a = {.port = 7};
    char long_name[ADDRESS_HOST_SIZE_MAX + 8];

    for (size_t n = 0; n < sizeof(wrong) / sizeof(wrong[0]); n++)
        assert_false(address(wrong[n], &a));
    memset(long_name, 'a', sizeof(long_name));
    memcpy(long_name + ADDRESS_HOST_SIZE_MAX, ":80", 4);
    assert_false(address(long_name, &a));
    assert_true(address(long_name + 1, &a)); /* 255 bytes and the NUL just fit */
}

static bool loopback(const char *host)
{
    struct address a = {0};
    memcpy(a.host, host, strlen(host));
    return address_is_loopback(&a);
}

static void test_only_this_machine_is_loopback(void **state)
{
    assert_true(loopback("127.0.0.1"));
    assert_true(loopback("127.255.0.9"));
    assert_true(loopback("::1"));
    assert_true(loopback("localhost"));
    assert_false(loopback(""));
    assert_false(loopback("0.0.0.0"));
    assert_false(loopback("::"));
    assert_false(loopback("128.0.0.1"));
    assert_false(loopback("127.0.0.1.example.org"));
    assert_false(loopback("127.0.0"));
    assert_false(loopback("127.0.0.256"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_numbers_at_their_limits),
        cmocka_unit_test(test_numbers_take_nothing_else),
        cmocka_unit_test(test_durations),
        cmocka_unit_test(test_sizes),
        cmocka_unit_test(test_addresses),
        cmocka_unit_test(test_what_is_no_address),
        cmocka_unit_test(test_only_this_machine_is_loopback),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
