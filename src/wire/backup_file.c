#include "wire/backup_file.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <zstd.h>

#include "base/assert.h"
#include "base/codec.h"
#include "base/memory.h"
#include "wire/backup_key.h"

enum {
    FLAG_LAST = 1,
    FLAG_ZSTD = 2,
    NONCE_SIZE = 12,
    ZSTD_LEVEL = 3,
    AT_STORED = 0,
    AT_PLAIN = 4,
    AT_FLAGS = 8,
    AT_NUMBER = 12,
};

struct backup_codec {
    uint8_t header[BACKUP_HEADER_SIZE];
    EVP_CIPHER_CTX *cipher; /* NULL: plain */
    ZSTD_CCtx *compressor;
    ZSTD_DCtx *decompressor;
    uint32_t number; /* of the next block */
    bool over;
    struct hash128 sum;
    struct buffer stored, plain; /* scratch */
    uint8_t key[BACKUP_KEY_SIZE];
};

static void chain(struct backup_codec *codec, struct bytes bytes)
{
    codec->sum = hash128(codec->sum.low ^ hash_u64(codec->sum.high), bytes);
}

struct backup_codec *backup_codec_make(const struct backup_header *header,
                                       const struct backup_key *key)
{
    struct backup_codec *codec = memory_allocate_zero(sizeof(*codec));

    backup_header_encode(header, codec->header);
    chain(codec, bytes_make(codec->header, BACKUP_HEADER_SIZE));
    buffer_init(&codec->stored, ZSTD_COMPRESSBOUND(BACKUP_BLOCK_SIZE_MAX));
    buffer_init(&codec->plain, BACKUP_BLOCK_SIZE_MAX);
    if (header->encryption == BACKUP_PLAIN) return codec;
    ASSERT(key != NULL);
    codec->cipher = EVP_CIPHER_CTX_new();
    ASSERT(codec->cipher != NULL);
    backup_key_expand(key, bytes_make(header->nonce, BACKUP_ID_SIZE), "holon backup file",
                      codec->key, BACKUP_KEY_SIZE);
    return codec;
}

void backup_codec_free(struct backup_codec *codec)
{
    if (codec == NULL) return;
    EVP_CIPHER_CTX_free(codec->cipher);
    ZSTD_freeCCtx(codec->compressor);
    ZSTD_freeDCtx(codec->decompressor);
    buffer_free(&codec->stored);
    buffer_free(&codec->plain);
    OPENSSL_cleanse(codec->key, sizeof(codec->key));
    memory_free(codec);
}

struct hash128 backup_codec_sum(const struct backup_codec *codec)
{
    return codec->sum;
}

uint32_t backup_codec_blocks(const struct backup_codec *codec)
{
    return codec->number;
}

/* Head and body are one range. */
static void plain_tag(const struct backup_codec *codec, struct bytes block, uint8_t *ret_tag)
{
    uint64_t seed = hash64(codec->number, bytes_make(codec->header, BACKUP_HEADER_SIZE));
    struct hash128 sum = hash128(seed, block);

    store_u64(ret_tag, sum.low);
    store_u64(ret_tag + 8, sum.high);
}

static bool cipher_begin(struct backup_codec *codec, const uint8_t *head, int encrypt)
{
    uint8_t nonce[NONCE_SIZE] = {0};
    int size;

    store_u32(nonce, codec->number);
    return EVP_CipherInit_ex(codec->cipher, EVP_aes_256_gcm(), NULL, codec->key, nonce, encrypt) &&
           EVP_CipherUpdate(codec->cipher, NULL, &size, codec->header, BACKUP_HEADER_SIZE) &&
           EVP_CipherUpdate(codec->cipher, NULL, &size, head, BACKUP_BLOCK_HEAD_SIZE);
}

/* --- writing -------------------------------------------------------------------------------- */

/* What is stored of it, and whether it is compressed: only if that makes it smaller. */
static struct bytes compress(struct backup_codec *codec, struct bytes plain, uint32_t *flags)
{
    size_t bound = ZSTD_compressBound(plain.size);

    if (codec->compressor == NULL) codec->compressor = ZSTD_createCCtx();
    buffer_clear(&codec->stored);
    uint8_t *room = buffer_reserve(&codec->stored, bound);
    if (room == NULL || codec->compressor == NULL || plain.size == 0) return plain;
    size_t size =
        ZSTD_compressCCtx(codec->compressor, room, bound, plain.data, plain.size, ZSTD_LEVEL);
    if (ZSTD_isError(size) || size >= plain.size) return plain;
    *flags |= FLAG_ZSTD;
    return bytes_make(room, size);
}

static bool encrypt(struct backup_codec *codec, uint8_t *block, struct bytes stored)
{
    uint8_t *body = block + BACKUP_BLOCK_HEAD_SIZE;
    int size = 0, rest = 0;

    return cipher_begin(codec, block, 1) &&
           (stored.size == 0 ||
            EVP_CipherUpdate(codec->cipher, body, &size, stored.data, (int)stored.size)) &&
           EVP_CipherFinal_ex(codec->cipher, body + size, &rest) &&
           EVP_CIPHER_CTX_ctrl(codec->cipher, EVP_CTRL_AEAD_GET_TAG, BACKUP_TAG_SIZE,
                               body + stored.size);
}

enum status backup_block_seal(struct backup_codec *codec, struct bytes plain, bool last,
                              struct buffer *out, struct error *error)
{
    uint32_t flags = last ? FLAG_LAST : 0;

    ASSERT(!codec->over && plain.size <= BACKUP_BLOCK_SIZE_MAX);
    struct bytes stored = compress(codec, plain, &flags);
    size_t size = BACKUP_BLOCK_HEAD_SIZE + stored.size;
    uint8_t *block =
        codec->number < UINT32_MAX ? buffer_reserve(out, size + BACKUP_TAG_SIZE) : NULL;
    if (block == NULL) return error_set(error, STATUS_FULL, "the backup file has too many blocks");
    store_u32(block + AT_STORED, (uint32_t)stored.size);
    store_u32(block + AT_PLAIN, (uint32_t)plain.size);
    store_u32(block + AT_FLAGS, flags);
    store_u32(block + AT_NUMBER, codec->number);
    if (codec->cipher) {
        if (!encrypt(codec, block, stored))
            return error_set(error, STATUS_IO, "AES-256-GCM failed: is OpenSSL restricted?");
    } else {
        if (stored.size) memcpy(block + BACKUP_BLOCK_HEAD_SIZE, stored.data, stored.size);
        plain_tag(codec, bytes_make(block, size), block + size);
    }
    chain(codec, bytes_make(block + size, BACKUP_TAG_SIZE));
    buffer_commit(out, size + BACKUP_TAG_SIZE);
    codec->number++;
    codec->over = last;
    return STATUS_OK;
}

/* --- reading -------------------------------------------------------------------------------- */

static enum status damaged(const struct backup_codec *codec, struct error *error, const char *how)
{
    return error_set(error, STATUS_CORRUPT, "block %u %s", codec->number, how);
}

enum status backup_block_size(const struct backup_codec *codec, struct bytes head, size_t *ret_size,
                              struct error *error)
{
    ASSERT(head.size == BACKUP_BLOCK_HEAD_SIZE);
    uint32_t stored = load_u32(head.data + AT_STORED), plain = load_u32(head.data + AT_PLAIN);
    uint32_t flags = load_u32(head.data + AT_FLAGS);
    bool sizes =
        plain <= BACKUP_BLOCK_SIZE_MAX && (flags & FLAG_ZSTD ? stored < plain : stored == plain);

    if (load_u32(head.data + AT_NUMBER) != codec->number)
        return damaged(codec, error, "is expected, and another is here: the file is damaged");
    if (!sizes || (flags & ~(uint32_t)(FLAG_LAST | FLAG_ZSTD)))
        return damaged(codec, error, "is damaged: its head makes no sense");
    *ret_size = (size_t)stored + BACKUP_TAG_SIZE;
    return STATUS_OK;
}

/* To `ret`, which has room for the body. */
static bool decrypt(struct backup_codec *codec, struct bytes block, uint8_t *ret, size_t body_size)
{
    const uint8_t *body = block.data + BACKUP_BLOCK_HEAD_SIZE;
    int size = 0, rest = 0;

    return cipher_begin(codec, block.data, 0) &&
           (body_size == 0 || EVP_CipherUpdate(codec->cipher, ret, &size, body, (int)body_size)) &&
           EVP_CIPHER_CTX_ctrl(codec->cipher, EVP_CTRL_AEAD_SET_TAG, BACKUP_TAG_SIZE,
                               (void *)(uintptr_t)(body + body_size)) &&
           EVP_CipherFinal_ex(codec->cipher, ret + size, &rest);
}

/* Nothing of a body is looked at before its tag was found right. */
static bool is_authentic(struct backup_codec *codec, struct bytes block, size_t body_size,
                         struct bytes *ret_stored)
{
    uint8_t tag[BACKUP_TAG_SIZE];

    if (codec->cipher) {
        buffer_clear(&codec->stored);
        uint8_t *room = buffer_reserve(&codec->stored, body_size + 1);
        ASSERT(room != NULL);
        *ret_stored = bytes_make(room, body_size);
        return decrypt(codec, block, room, body_size);
    }
    size_t size = BACKUP_BLOCK_HEAD_SIZE + body_size;
    plain_tag(codec, bytes_make(block.data, size), tag);
    *ret_stored = bytes_make(block.data + BACKUP_BLOCK_HEAD_SIZE, body_size);
    return memcmp(tag, block.data + size, BACKUP_TAG_SIZE) == 0;
}

static bool decompress(struct backup_codec *codec, struct bytes stored, size_t plain_size,
                       struct bytes *ret_plain)
{
    if (codec->decompressor == NULL) codec->decompressor = ZSTD_createDCtx();
    buffer_clear(&codec->plain);
    uint8_t *room = buffer_reserve(&codec->plain, plain_size);
    if (room == NULL || codec->decompressor == NULL) return false;
    *ret_plain = bytes_make(room, plain_size);
    return ZSTD_decompressDCtx(codec->decompressor, room, plain_size, stored.data, stored.size) ==
           plain_size;
}

enum status backup_block_open(struct backup_codec *codec, struct bytes block,
                              struct bytes *ret_plain, bool *ret_last, struct error *error)
{
    struct bytes stored, plain;
    size_t size;

    if (codec->over) return damaged(codec, error, "comes behind the last one");
    enum status status =
        backup_block_size(codec, bytes_make(block.data, BACKUP_BLOCK_HEAD_SIZE), &size, error);
    if (status) return status;
    if (block.size != BACKUP_BLOCK_HEAD_SIZE + size)
        return damaged(codec, error, "has another size than it says");
    if (!is_authentic(codec, block, size - BACKUP_TAG_SIZE, &stored))
        return damaged(codec, error, "is damaged: its checksum does not fit");
    uint32_t flags = load_u32(block.data + AT_FLAGS);
    plain = stored;
    if ((flags & FLAG_ZSTD) && !decompress(codec, stored, load_u32(block.data + AT_PLAIN), &plain))
        return damaged(codec, error, "is damaged: it cannot be decompressed");
    chain(codec, bytes_from(block, block.size - BACKUP_TAG_SIZE));
    codec->number++;
    codec->over = flags & FLAG_LAST;
    *ret_plain = plain;
    *ret_last = codec->over;
    return STATUS_OK;
}
