/* The files of a backup: what was written comes back, and nothing else does: every flipped bit,
 * every cut, blocks in another order or of another file. */
#include "unit.h"

#include <stdlib.h>

#include "base/random.h"
#include "wire/backup_file.h"

enum { FILE_MAX = 16 << 20, BLOCKS = 4 };

struct sample {
    struct backup_header header;
    struct backup_key key;
    struct buffer file;
    size_t ends[BLOCKS]; /* of blocks, in the file */
    struct hash128 sum;
};

static const char *const contents[BLOCKS] = {
    "first, first, first, first, first, first, first, first, first, first, first, first, first",
    "second", "", "the last one"};

static void make_header(struct sample *sample, bool encrypted, uint8_t nonce)
{
    struct error error;

    sample->header = (struct backup_header){.kind = BACKUP_PART, .partition = 7};
    memset(sample->header.id, 1, BACKUP_ID_SIZE);
    memset(sample->header.nonce, nonce, BACKUP_ID_SIZE);
    if (!encrypted) return;
    sample->header.encryption = BACKUP_AES_256_GCM;
    memset(sample->header.salt, 2, BACKUP_SALT_SIZE);
    sample->header.scrypt_log_n = 4;
    sample->header.scrypt_r = 8;
    sample->header.scrypt_p = 1;
    assert_int_equal(backup_key_derive(bytes_of("secret"), &sample->header, &sample->key, &error),
                     STATUS_OK);
    backup_key_set_check(&sample->key, &sample->header);
}

static void sample_make(struct sample *sample, bool encrypted, uint8_t nonce)
{
    uint8_t header[BACKUP_HEADER_SIZE];
    struct error error;

    make_header(sample, encrypted, nonce);
    buffer_init(&sample->file, FILE_MAX);
    backup_header_encode(&sample->header, header);
    buffer_append(&sample->file, bytes_make(header, sizeof(header)));
    struct backup_codec *codec = backup_codec_make(&sample->header, &sample->key);
    for (int i = 0; i < BLOCKS; i++) {
        assert_int_equal(
            backup_block_seal(codec, bytes_of(contents[i]), i + 1 == BLOCKS, &sample->file, &error),
            STATUS_OK);
        sample->ends[i] = buffer_size(&sample->file);
    }
    sample->sum = backup_codec_sum(codec);
    backup_codec_free(codec);
}

/* As a reader does: to the last block, behind which nothing may come. */
static enum status read_all(const struct sample *sample, struct bytes file, struct buffer *out,
                            struct hash128 *ret_sum)
{
    struct backup_header header;
    struct error error;
    bool last = false;
    size_t at = BACKUP_HEADER_SIZE, size;

    enum status status = backup_header_decode(file, &header, &error);
    if (status) return status;
    if (header.encryption != sample->header.encryption) return STATUS_CORRUPT;
    bool right = !header.encryption || backup_key_is_right(&sample->key, &header);
    if (!right) return STATUS_REFUSED;
    struct backup_codec *codec = backup_codec_make(&header, &sample->key);
    while (status == STATUS_OK && !last) {
        struct bytes rest = bytes_from(file, at), plain;
        status = STATUS_CORRUPT;
        if (rest.size < BACKUP_BLOCK_HEAD_SIZE) break;
        struct bytes head = bytes_make(rest.data, BACKUP_BLOCK_HEAD_SIZE);
        status = backup_block_size(codec, head, &size, &error);
        if (status) break;
        size += BACKUP_BLOCK_HEAD_SIZE;
        status = STATUS_CORRUPT;
        if (rest.size < size) break;
        status = backup_block_open(codec, bytes_make(rest.data, size), &plain, &last, &error);
        if (status == STATUS_OK) buffer_append(out, plain);
        at += size;
    }
    *ret_sum = backup_codec_sum(codec);
    backup_codec_free(codec);
    if (status == STATUS_OK && at != file.size) status = STATUS_CORRUPT;
    return status;
}

static void each_kind(void (*test)(bool encrypted))
{
    test(false);
    test(true);
}

static void whole(bool encrypted)
{
    struct sample sample;
    struct buffer out, wanted;
    struct hash128 sum;

    sample_make(&sample, encrypted, 3);
    buffer_init(&out, FILE_MAX);
    buffer_init(&wanted, FILE_MAX);
    for (int i = 0; i < BLOCKS; i++)
        buffer_append(&wanted, bytes_of(contents[i]));
    assert_int_equal(read_all(&sample, buffer_bytes(&sample.file), &out, &sum), STATUS_OK);
    assert_true(bytes_equal(buffer_bytes(&out), buffer_bytes(&wanted)));
    assert_true(sum.low == sample.sum.low && sum.high == sample.sum.high);
    /* Encrypted, nothing of it can be read; and what repeats takes less. */
    const uint8_t *file = buffer_bytes(&sample.file).data;
    bool found = memmem(file, buffer_size(&sample.file), "second", 6) != NULL;
    assert_int_equal(found, !encrypted);
    assert_true(sample.ends[0] < BACKUP_HEADER_SIZE + strlen(contents[0]));
    buffer_free(&out);
    buffer_free(&wanted);
    buffer_free(&sample.file);
}

static void test_what_was_written_comes_back(void **state)
{
    each_kind(whole);
}

static void flips(bool encrypted)
{
    struct sample sample;
    struct buffer out;
    struct hash128 sum;

    sample_make(&sample, encrypted, 3);
    buffer_init(&out, FILE_MAX);
    uint8_t *file = sample.file.memory + sample.file.start;
    for (size_t bit = 0; bit < buffer_size(&sample.file) * 8; bit++) {
        file[bit / 8] ^= (uint8_t)(1 << bit % 8);
        assert_int_not_equal(read_all(&sample, buffer_bytes(&sample.file), &out, &sum), STATUS_OK);
        file[bit / 8] ^= (uint8_t)(1 << bit % 8);
        buffer_clear(&out);
    }
    buffer_free(&out);
    buffer_free(&sample.file);
}

static void test_each_flipped_bit_is_noticed(void **state)
{
    each_kind(flips);
}

static void cuts(bool encrypted)
{
    struct sample sample;
    struct buffer out;
    struct hash128 sum;

    sample_make(&sample, encrypted, 3);
    buffer_init(&out, FILE_MAX);
    struct bytes file = buffer_bytes(&sample.file);
    for (size_t size = 0; size < file.size; size++) {
        assert_int_not_equal(read_all(&sample, bytes_make(file.data, size), &out, &sum), STATUS_OK);
        buffer_clear(&out);
    }
    buffer_append(&sample.file, bytes_make("", 1));
    assert_int_not_equal(read_all(&sample, buffer_bytes(&sample.file), &out, &sum), STATUS_OK);
    buffer_free(&out);
    buffer_free(&sample.file);
}

static void test_each_cut_is_noticed(void **state)
{
    each_kind(cuts);
}

static void append_block(struct buffer *out, const struct sample *sample, int block)
{
    size_t from = block ? sample->ends[block - 1] : BACKUP_HEADER_SIZE;
    struct bytes file = buffer_bytes(&sample->file);

    buffer_append(out, bytes_make(file.data + from, sample->ends[block] - from));
}

static void other_order(bool encrypted)
{
    static const int orders[][BLOCKS] = {
        {1, 0, 2, 3}, {0, 2, 1, 3}, {0, 0, 2, 3}, {0, 1, 2, 2}, {3, 3, 3, 3}};
    struct sample sample, other;
    struct buffer out, file;
    struct hash128 sum;

    sample_make(&sample, encrypted, 3);
    sample_make(&other, encrypted, 4);
    buffer_init(&out, FILE_MAX);
    buffer_init(&file, FILE_MAX);
    struct bytes header = bytes_make(buffer_bytes(&sample.file).data, BACKUP_HEADER_SIZE);
    for (size_t i = 0; i < sizeof(orders) / sizeof(orders[0]); i++) {
        buffer_clear(&file);
        buffer_append(&file, header);
        for (int block = 0; block < BLOCKS; block++)
            append_block(&file, &sample, orders[i][block]);
        assert_int_not_equal(read_all(&sample, buffer_bytes(&file), &out, &sum), STATUS_OK);
    }
    for (int foreign = 0; foreign < BLOCKS; foreign++) {
        buffer_clear(&file);
        buffer_append(&file, header);
        for (int block = 0; block < BLOCKS; block++)
            append_block(&file, block == foreign ? &other : &sample, block);
        assert_int_not_equal(read_all(&sample, buffer_bytes(&file), &out, &sum), STATUS_OK);
    }
    buffer_free(&out);
    buffer_free(&file);
    buffer_free(&sample.file);
    buffer_free(&other.file);
}

static void test_blocks_have_their_place_in_their_file(void **state)
{
    each_kind(other_order);
}

static void test_another_passphrase_is_told_from_damage(void **state)
{
    struct sample sample;
    struct backup_key other;
    struct error error;

    sample_make(&sample, true, 3);
    assert_true(backup_key_is_right(&sample.key, &sample.header));
    assert_int_equal(backup_key_derive(bytes_of("Secret"), &sample.header, &other, &error),
                     STATUS_OK);
    assert_false(backup_key_is_right(&other, &sample.header));
    buffer_free(&sample.file);
}

static void test_scrypt_is_that_of_its_specification(void **state)
{
    /* RFC 7914 has no vector with a salt of 16 bytes: this is hashlib.scrypt() of Python, with
     * N = 16, r = 8, p = 1, the salt sixteen times 2. */
    static const uint8_t expected[BACKUP_KEY_SIZE] = {
        0x31, 0x88, 0x9c, 0x7d, 0x59, 0x5f, 0x8f, 0x5d, 0x98, 0x19, 0x8c,
        0x21, 0x34, 0x86, 0x8e, 0x1e, 0x7e, 0x94, 0x2e, 0xa4, 0xc2, 0x86,
        0x42, 0x7b, 0x08, 0x4e, 0xb4, 0x29, 0x36, 0xb4, 0x7d, 0x4e};
    struct sample sample;

    make_header(&sample, true, 3);
    assert_memory_equal(sample.key.bytes, expected, sizeof(expected));
}

static void test_a_header_cannot_ask_for_any_memory(void **state)
{
    static const struct {
        uint8_t log_n, r;
        enum status expected;
    } costs[] = {{15, 8, STATUS_OK},     {18, 8, STATUS_OK},    {17, 16, STATUS_OK},
                 {18, 9, STATUS_FULL},   {20, 16, STATUS_FULL}, {20, 3, STATUS_FULL},
                 {21, 1, STATUS_CORRUPT}};
    uint8_t at[BACKUP_HEADER_SIZE];
    struct backup_header back;
    struct sample sample;
    struct error error;

    make_header(&sample, true, 3);
    for (size_t i = 0; i < sizeof(costs) / sizeof(costs[0]); i++) {
        sample.header.scrypt_log_n = costs[i].log_n;
        sample.header.scrypt_r = costs[i].r;
        backup_header_encode(&sample.header, at);
        assert_int_equal(backup_header_decode(bytes_make(at, sizeof(at)), &back, &error),
                         costs[i].expected);
    }
}

static void test_a_block_of_any_size(void **state)
{
    static const size_t sizes[] = {0, 1, 15, 16, 4095, 65536, BACKUP_BLOCK_SIZE_MAX};
    uint8_t *data = malloc(BACKUP_BLOCK_SIZE_MAX);
    struct random random;
    struct sample sample;
    struct buffer file;
    struct error error;

    make_header(&sample, true, 3);
    buffer_init(&file, FILE_MAX);
    random_seed(&random, 5);
    for (size_t i = 0; i < BACKUP_BLOCK_SIZE_MAX; i++)
        data[i] = (uint8_t)random_u64(&random);
    struct backup_codec *writer = backup_codec_make(&sample.header, &sample.key);
    struct backup_codec *reader = backup_codec_make(&sample.header, &sample.key);
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        struct bytes plain = bytes_make(data, sizes[i]), back;
        bool last;
        buffer_clear(&file);
        assert_int_equal(backup_block_seal(writer, plain, false, &file, &error), STATUS_OK);
        assert_int_equal(backup_block_open(reader, buffer_bytes(&file), &back, &last, &error),
                         STATUS_OK);
        assert_true(bytes_equal(plain, back));
        assert_false(last);
    }
    backup_codec_free(writer);
    backup_codec_free(reader);
    buffer_free(&file);
    free(data);
}

static void test_a_trailer_says_where_the_manifest_is(void **state)
{
    uint8_t at[BACKUP_TRAILER_SIZE];
    uint64_t offset, size;

    backup_trailer_encode(UINT64_C(1) << 40, 4711, at);
    assert_true(backup_trailer_decode(bytes_make(at, sizeof(at)), &offset, &size));
    assert_true(offset == UINT64_C(1) << 40 && size == 4711);
    for (size_t bit = 0; bit < sizeof(at) * 8; bit++) {
        at[bit / 8] ^= (uint8_t)(1 << bit % 8);
        assert_false(backup_trailer_decode(bytes_make(at, sizeof(at)), &offset, &size));
        at[bit / 8] ^= (uint8_t)(1 << bit % 8);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_was_written_comes_back),
        cmocka_unit_test(test_each_flipped_bit_is_noticed),
        cmocka_unit_test(test_each_cut_is_noticed),
        cmocka_unit_test(test_blocks_have_their_place_in_their_file),
        cmocka_unit_test(test_another_passphrase_is_told_from_damage),
        cmocka_unit_test(test_scrypt_is_that_of_its_specification),
        cmocka_unit_test(test_a_header_cannot_ask_for_any_memory),
        cmocka_unit_test(test_a_block_of_any_size),
        cmocka_unit_test(test_a_trailer_says_where_the_manifest_is),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
