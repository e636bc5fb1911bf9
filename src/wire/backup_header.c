/* backup_header.c - header and trailer of a backup's files. */
#include "base/codec.h"
#include "wire/backup_file.h"

static const char magic[] = "HOLONBAK";
static const char trailer_magic[] = "HOLONEND";
enum {
    MAGIC_SIZE = 8,
    AT_FORMAT = 8,
    AT_KIND = 10,
    AT_ENCRYPTION = 11,
    AT_SCRYPT = 12,
    AT_ZERO = 15,
    AT_PARTITION = 16,
    AT_ZEROS = 20,
    AT_ID = 24,
    AT_SALT = 40,
    AT_NONCE = 56,
    AT_KEY_CHECK = 72,
    AT_SUM = 88,
    SUM_SIZE = 16,
    TRAILER_AT_SUM = BACKUP_TRAILER_SIZE - SUM_SIZE,
};
_Static_assert(AT_SUM + SUM_SIZE == BACKUP_HEADER_SIZE, "of the format");

static void store_sum(uint8_t *at, struct bytes of)
{
    struct hash128 sum = hash128(0, of);
    store_u64(at, sum.low);
    store_u64(at + 8, sum.high);
}

static bool sum_is_right(const uint8_t *at, struct bytes of)
{
    uint8_t sum[SUM_SIZE];
    store_sum(sum, of);
    return memcmp(sum, at, SUM_SIZE) == 0;
}

void backup_header_encode(const struct backup_header *header, uint8_t at[BACKUP_HEADER_SIZE])
{
    memset(at, 0, BACKUP_HEADER_SIZE);
    memcpy(at, magic, MAGIC_SIZE);
    store_u16(at + AT_FORMAT, BACKUP_FORMAT);
    at[AT_KIND] = header->kind;
    at[AT_ENCRYPTION] = header->encryption;
    at[AT_SCRYPT] = header->scrypt_log_n;
    at[AT_SCRYPT + 1] = header->scrypt_r;
    at[AT_SCRYPT + 2] = header->scrypt_p;
    store_u32(at + AT_PARTITION, header->partition);
    memcpy(at + AT_ID, header->id, BACKUP_ID_SIZE);
    memcpy(at + AT_SALT, header->salt, BACKUP_SALT_SIZE);
    memcpy(at + AT_NONCE, header->nonce, BACKUP_ID_SIZE);
    memcpy(at + AT_KEY_CHECK, header->key_check, BACKUP_ID_SIZE);
    store_sum(at + AT_SUM, bytes_make(at, AT_SUM));
}

static bool is_sound(const struct backup_header *header, const uint8_t *at)
{
    bool kind = header->kind == BACKUP_PART || header->kind == BACKUP_MANIFEST;
    bool zeros = at[AT_ZERO] == 0 && load_u32(at + AT_ZEROS) == 0;
    bool plain = header->encryption == BACKUP_PLAIN && header->scrypt_log_n == 0 &&
                 header->scrypt_r == 0 && header->scrypt_p == 0;
    bool encrypted = header->encryption == BACKUP_AES_256_GCM && header->scrypt_log_n > 0 &&
                     header->scrypt_log_n <= BACKUP_SCRYPT_LOG_N_MAX && header->scrypt_r > 0 &&
                     header->scrypt_r <= BACKUP_SCRYPT_R_MAX && header->scrypt_p > 0 &&
                     header->scrypt_p <= BACKUP_SCRYPT_P_MAX;

    return kind && zeros && (plain || encrypted);
}

enum status backup_header_decode(struct bytes bytes, struct backup_header *ret_header,
                                 struct error *error)
{
    const uint8_t *at = bytes.data;

    if (bytes.size < MAGIC_SIZE || memcmp(at, magic, MAGIC_SIZE) != 0)
        return error_set(error, STATUS_INVALID, "this is no file of a backup of Holon");
    if (bytes.size < BACKUP_HEADER_SIZE)
        return error_set(error, STATUS_CORRUPT, "the file ends within its header: it was cut");
    if (!sum_is_right(at + AT_SUM, bytes_make(at, AT_SUM)))
        return error_set(error, STATUS_CORRUPT, "the header is damaged");
    if (load_u16(at + AT_FORMAT) != BACKUP_FORMAT)
        return error_set(error, STATUS_VERSION,
                         "the file has format %u, and this version of Holon reads %d: use a later "
                         "one",
                         load_u16(at + AT_FORMAT), BACKUP_FORMAT);
    struct backup_header header = {.kind = at[AT_KIND],
                                   .encryption = at[AT_ENCRYPTION],
                                   .scrypt_log_n = at[AT_SCRYPT],
                                   .scrypt_r = at[AT_SCRYPT + 1],
                                   .scrypt_p = at[AT_SCRYPT + 2],
                                   .partition = load_u32(at + AT_PARTITION)};
    if (!is_sound(&header, at))
        return error_set(error, STATUS_CORRUPT, "the header makes no sense");
    uint64_t memory = (UINT64_C(128) << header.scrypt_log_n) * header.scrypt_r;
    if (memory > BACKUP_SCRYPT_MEMORY_MAX)
        return error_set(error, STATUS_FULL,
                         "the header asks for %llu MiB of memory to make the key of the "
                         "passphrase, and %d are the most that it gets",
                         (unsigned long long)(memory >> 20), BACKUP_SCRYPT_MEMORY_MAX >> 20);
    memcpy(header.id, at + AT_ID, BACKUP_ID_SIZE);
    memcpy(header.salt, at + AT_SALT, BACKUP_SALT_SIZE);
    memcpy(header.nonce, at + AT_NONCE, BACKUP_ID_SIZE);
    memcpy(header.key_check, at + AT_KEY_CHECK, BACKUP_ID_SIZE);
    *ret_header = header;
    return STATUS_OK;
}

void backup_trailer_encode(uint64_t offset, uint64_t size, uint8_t at[BACKUP_TRAILER_SIZE])
{
    memcpy(at, trailer_magic, MAGIC_SIZE);
    store_u64(at + MAGIC_SIZE, offset);
    store_u64(at + MAGIC_SIZE + 8, size);
    store_sum(at + TRAILER_AT_SUM, bytes_make(at, TRAILER_AT_SUM));
}

bool backup_trailer_decode(struct bytes bytes, uint64_t *ret_offset, uint64_t *ret_size)
{
    const uint8_t *at = bytes.data;

    if (bytes.size != BACKUP_TRAILER_SIZE || memcmp(at, trailer_magic, MAGIC_SIZE) != 0 ||
        !sum_is_right(at + TRAILER_AT_SUM, bytes_make(at, TRAILER_AT_SUM)))
        return false;
    *ret_offset = load_u64(at + MAGIC_SIZE);
    *ret_size = load_u64(at + MAGIC_SIZE + 8);
    return true;
}
