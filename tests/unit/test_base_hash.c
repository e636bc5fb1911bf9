#include "unit.h"

#include "base/hash.h"

static void test_crc32c_of_rfc_3720_b_4(void **state)
{
    uint8_t body[32];

    memset(body, 0, sizeof(body));
    assert_int_equal(crc32c(0, bytes_make(body, 32)), 0x8a9136aa);
    memset(body, 0xff, sizeof(body));
    assert_int_equal(crc32c(0, bytes_make(body, 32)), 0x62a8ab43);
    for (unsigned i = 0; i < 32; i++)
        body[i] = (uint8_t)i;
    assert_int_equal(crc32c(0, bytes_make(body, 32)), 0x46dd794e);
    for (unsigned i = 0; i < 32; i++)
        body[i] = (uint8_t)(31 - i);
    assert_int_equal(crc32c(0, bytes_make(body, 32)), 0x113fdb5c);

    static const uint8_t read_command[48] = {
        /* "An iSCSI - SCSI Read (10) Command PDU" */
        0x01, 0xc0, 0, 0, 0, 0, 0,    0, 0,    0, 0, 0,    0, 0, 0, 0,
        0x14, 0,    0, 0, 0, 0, 0x04, 0, 0,    0, 0, 0x14, 0, 0, 0, 0x18,
        0x28, 0,    0, 0, 0, 0, 0,    0, 0x02, 0, 0, 0,    0, 0, 0, 0};
    assert_int_equal(crc32c(0, bytes_make(read_command, 48)), 0xd9963a56);
}

static void test_crc32c_chains(void **state)
{
    struct bytes all = bytes_of("123456789");

    assert_int_equal(crc32c(0, all), 0xe3069283);
    for (size_t cut = 0; cut <= all.size; cut++) {
        uint32_t first = crc32c(0, bytes_make(all.data, cut));
        assert_int_equal(crc32c(first, bytes_from(all, cut)), 0xe3069283);
    }
    assert_int_equal(crc32c(7, bytes_make(NULL, 0)), 7);
}

static void test_crc16_of_the_redis_cluster_specification(void **state)
{
    assert_int_equal(crc16_xmodem(bytes_of("123456789")), 0x31c3);
    assert_int_equal(crc16_xmodem(bytes_of("")), 0);
}

/* Bit by bit, as the polynomial says. */
static uint16_t crc16_slowly(struct bytes bytes)
{
    uint16_t crc = 0;
    for (size_t i = 0; i < bytes.size * 8; i++) {
        bool bit = bytes.data[i / 8] >> (7 - i % 8) & 1;
        bool carry = (crc >> 15 & 1) != bit;
        crc = (uint16_t)(crc << 1) ^ (carry ? 0x1021 : 0);
    }
    return crc;
}

static void test_crc16_is_that_of_the_polynomial_at_every_size(void **state)
{
    uint8_t data[300];
    for (size_t size = 0; size <= sizeof(data); size++) {
        assert_int_equal(crc16_xmodem(bytes_make(data, size)),
                         crc16_slowly(bytes_make(data, size)));
        if (size < sizeof(data)) data[size] = (uint8_t)(size * 149 + 0xe3);
    }
}

static uint16_t slot(const char *key)
{
    return key_slot(bytes_of(key));
}

static void test_slots_of_the_redis_cluster_specification(void **state)
{
    assert_int_equal(slot("123456789"), 0x31c3 % 16384);
    assert_int_equal(slot("foo"), 12182);
    assert_int_equal(slot("{user1000}.following"), slot("user1000"));
    assert_int_equal(slot("{user1000}.followers"), slot("user1000"));
    assert_int_equal(slot("foo{bar}baz"), slot("bar"));
    assert_int_equal(slot("foo{{bar}}zap"), slot("{bar"));
    assert_int_equal(slot("foo{bar}{zap}"), slot("bar"));

    /* no tag: all of the key counts */
    struct bytes empty_tag = bytes_of("foo{}{bar}");
    assert_int_equal(key_slot(empty_tag), crc16_xmodem(empty_tag) % 16384);
    struct bytes no_close = bytes_of("foo{bar");
    assert_int_equal(key_slot(no_close), crc16_xmodem(no_close) % 16384);
    struct bytes open_last = bytes_of("foo{");
    assert_int_equal(key_slot(open_last), crc16_xmodem(open_last) % 16384);
    assert_int_equal(slot(""), 0);
}

static void test_hash64_depends_on_seed_and_content(void **state)
{
    /* XXH3_64bits of nothing with seed 0, from the specification's test vectors */
    assert_true(hash64(0, bytes_make(NULL, 0)) == 0x2d06800538d394c2u);
    assert_true(hash64(0, bytes_of("a")) != hash64(1, bytes_of("a")));
    assert_true(hash64(0, bytes_of("a")) != hash64(0, bytes_of("b")));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_crc32c_of_rfc_3720_b_4),
        cmocka_unit_test(test_crc32c_chains),
        cmocka_unit_test(test_crc16_of_the_redis_cluster_specification),
        cmocka_unit_test(test_crc16_is_that_of_the_polynomial_at_every_size),
        cmocka_unit_test(test_slots_of_the_redis_cluster_specification),
        cmocka_unit_test(test_hash64_depends_on_seed_and_content),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
