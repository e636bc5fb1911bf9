/* backup_key.c - from a passphrase to the keys of files: scrypt, then HKDF. */
#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/kdf.h>
#include <openssl/params.h>

#include "base/assert.h"
#include "wire/backup_key.h"

enum status backup_key_derive(struct bytes passphrase, const struct backup_header *header,
                              struct backup_key *ret_key, struct error *error)
{
    uint64_t n = UINT64_C(1) << header->scrypt_log_n;
    /* What it needs by its definition, and a little for the rest. */
    uint64_t memory =
        128 * n * header->scrypt_r + (UINT64_C(1) << 20) * header->scrypt_p + (UINT64_C(1) << 20);

    ASSERT(header->encryption == BACKUP_AES_256_GCM);
    if (EVP_PBE_scrypt((const char *)passphrase.data, passphrase.size, header->salt,
                       BACKUP_SALT_SIZE, n, header->scrypt_r, header->scrypt_p, memory,
                       ret_key->bytes, BACKUP_KEY_SIZE) == 1)
        return STATUS_OK;
    return error_set(error, STATUS_FULL,
                     "cannot make the key of the passphrase: scrypt needs %llu MiB of memory",
                     (unsigned long long)(memory >> 20));
}

void backup_key_expand(const struct backup_key *key, struct bytes salt, const char *use,
                       uint8_t *ret_bytes, size_t size)
{
    EVP_KDF *kdf = EVP_KDF_fetch(NULL, "HKDF", NULL);
    EVP_KDF_CTX *context = EVP_KDF_CTX_new(kdf);
    char digest[] = "SHA256";
    OSSL_PARAM parameters[] = {
        OSSL_PARAM_construct_utf8_string(OSSL_KDF_PARAM_DIGEST, digest, 0),
        OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_KEY, (void *)(uintptr_t)key->bytes,
                                          BACKUP_KEY_SIZE),
        OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_SALT, (void *)(uintptr_t)salt.data,
                                          salt.size),
        OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_INFO, (void *)(uintptr_t)use, strlen(use)),
        OSSL_PARAM_construct_end(),
    };

    ASSERT(kdf != NULL && context != NULL); /* of every OpenSSL 3 */
    int done = EVP_KDF_derive(context, ret_bytes, size, parameters);
    ASSERT(done == 1);
    EVP_KDF_CTX_free(context);
    EVP_KDF_free(kdf);
}

static void check_of(const struct backup_key *key, const struct backup_header *header,
                     uint8_t ret_check[BACKUP_ID_SIZE])
{
    backup_key_expand(key, bytes_make(header->salt, BACKUP_SALT_SIZE), "holon backup check",
                      ret_check, BACKUP_ID_SIZE);
}

void backup_key_set_check(const struct backup_key *key, struct backup_header *header)
{
    check_of(key, header, header->key_check);
}

bool backup_key_is_right(const struct backup_key *key, const struct backup_header *header)
{
    uint8_t check[BACKUP_ID_SIZE];

    check_of(key, header, check);
    return CRYPTO_memcmp(check, header->key_check, sizeof(check)) == 0;
}
