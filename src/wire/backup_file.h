/* backup_file.h - the files of a backup: a header, then blocks, the last of which says so.
 *
 * Header (104 bytes): "HOLONBAK" | u16 format | u8 kind | u8 encryption (0 none, 1 AES-256-GCM)
 *   | u8 log2 N, u8 r, u8 p (scrypt; 0 without encryption) | u8 0 | u32 partition | u32 0
 *   | 16 backup id | 16 salt | 16 nonce | 16 key check | 16 XXH3-128 of all before
 * Block: u32 size of the body | u32 size of it uncompressed | u32 flags (1 last, 2 zstd)
 *   | u32 number, from 0 | body | 16 tag
 *
 * The tag of a plain file is XXH3-128 over head and body, seeded with header and number; of an
 * encrypted one that of GCM, with header and head as additional data. So a block of another file,
 * at another place, or missing is noticed, and so is a file that ends before its last block.
 *
 * Key: scrypt(passphrase, salt) is one for all files of a backup; of each file HKDF-SHA256 of that,
 * with the file's nonce as salt. GCM's nonce is the number of the block: under one key each is used
 * once. The key check is another HKDF: it tells a wrong passphrase from damage.
 *
 * The sum of a file chains its header and all tags: it names this file and no other.
 *
 * Little-endian. Source: docs/reference/backup-format.md; scrypt: RFC 7914, HKDF: RFC 5869, GCM:
 * NIST SP 800-38D. No I/O, random numbers are handed in. Thread: any, one at a time per object. */
#ifndef HOLON_WIRE_BACKUP_FILE_H
#define HOLON_WIRE_BACKUP_FILE_H

#include "base/buffer.h"
#include "base/hash.h"
#include "base/status.h"

enum {
    BACKUP_FORMAT = 1,
    BACKUP_HEADER_SIZE = 104,
    BACKUP_BLOCK_HEAD_SIZE = 16,
    BACKUP_TAG_SIZE = 16,
    BACKUP_BLOCK_SIZE_MAX = 4 << 20, /* uncompressed */
    BACKUP_ID_SIZE = 16,
    BACKUP_SALT_SIZE = 16,
    BACKUP_KEY_SIZE = 32,
    BACKUP_SCRYPT_LOG_N = 15, /* 32 MiB and about 0.1 s for each guess */
    BACKUP_SCRYPT_LOG_N_MAX = 20,
    BACKUP_SCRYPT_R = 8,
    BACKUP_SCRYPT_R_MAX = 16,
    BACKUP_SCRYPT_P = 1,
    BACKUP_SCRYPT_P_MAX = 4,
    BACKUP_SCRYPT_MEMORY_MAX = 256 << 20, /* 128 N r: anybody can write a header that asks for it */
};

enum backup_kind { BACKUP_PART = 1, BACKUP_MANIFEST = 2 };
enum backup_encryption { BACKUP_PLAIN = 0, BACKUP_AES_256_GCM = 1 };

struct backup_header {
    uint8_t kind;       /* enum backup_kind */
    uint8_t encryption; /* enum backup_encryption */
    uint8_t scrypt_log_n, scrypt_r, scrypt_p;
    uint32_t partition; /* of a part: its number in the manifest */
    uint8_t id[BACKUP_ID_SIZE];
    uint8_t salt[BACKUP_SALT_SIZE];
    uint8_t nonce[BACKUP_ID_SIZE];
    uint8_t key_check[BACKUP_ID_SIZE];
};

void backup_header_encode(const struct backup_header *header, uint8_t at[BACKUP_HEADER_SIZE]);
/* STATUS_INVALID: foreign; STATUS_VERSION: of a later version; STATUS_FULL: scrypt shall take too
 * much; STATUS_CORRUPT. */
enum status backup_header_decode(struct bytes bytes, struct backup_header *ret_header,
                                 struct error *error);

/* What a passphrase becomes for the files with one salt. */
struct backup_key {
    uint8_t bytes[BACKUP_KEY_SIZE];
};
/* By salt and costs of the header, within the limits above. STATUS_FULL: scrypt has not got its
 * memory. */
enum status backup_key_derive(struct bytes passphrase, const struct backup_header *header,
                              struct backup_key *ret_key, struct error *error);
/* Sets the header's check, or compares. */
void backup_key_set_check(const struct backup_key *key, struct backup_header *header);
bool backup_key_is_right(const struct backup_key *key, const struct backup_header *header);

struct backup_codec; /* writes or reads the blocks of one file, in their order */

/* `key` may be NULL if the header says plain. */
struct backup_codec *backup_codec_make(const struct backup_header *header,
                                       const struct backup_key *key);
void backup_codec_free(struct backup_codec *codec); /* NULL is fine */
/* The next block, appended to `out`; plain.size <= BACKUP_BLOCK_SIZE_MAX. */
enum status backup_block_seal(struct backup_codec *codec, struct bytes plain, bool last,
                              struct buffer *out, struct error *error);
/* How many bytes follow the head of the next block, tag included. STATUS_CORRUPT. */
enum status backup_block_size(const struct backup_codec *codec, struct bytes head, size_t *ret_size,
                              struct error *error);
/* The next block, whole: head, body, tag. *ret_plain is borrowed until the next call. */
enum status backup_block_open(struct backup_codec *codec, struct bytes block,
                              struct bytes *ret_plain, bool *ret_last, struct error *error);
/* Of header and blocks so far. */
struct hash128 backup_codec_sum(const struct backup_codec *codec);
uint32_t backup_codec_blocks(const struct backup_codec *codec);

/* At the end of a backup in one file: "HOLONEND" | u64 offset of the manifest | u64 its size
 * | 16 XXH3-128 of those. */
enum { BACKUP_TRAILER_SIZE = 40 };
void backup_trailer_encode(uint64_t offset, uint64_t size, uint8_t at[BACKUP_TRAILER_SIZE]);
/* False: it is none. */
bool backup_trailer_decode(struct bytes bytes, uint64_t *ret_offset, uint64_t *ret_size);

#endif
