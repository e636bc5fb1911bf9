/* hash.h - checksums and hashes: CRC32C (ISA-L; vectors of RFC 3720 B.4), XXH3 (xxHash),
 * CRC16/XMODEM and the Redis Cluster slot (Redis Cluster specification, appendix A). */
#ifndef HOLON_BASE_HASH_H
#define HOLON_BASE_HASH_H

#include "base/bytes.h"

enum { SLOT_COUNT = 16384 };

/* crc32c(0, "123456789") == 0xe3069283. Chain by passing the result as the seed. */
uint32_t crc32c(uint32_t seed, struct bytes bytes);
uint64_t hash64(uint64_t seed, struct bytes bytes);
struct hash128 {
    uint64_t low, high;
};
struct hash128 hash128(uint64_t seed, struct bytes bytes);
static inline uint64_t hash_u64(uint64_t value) /* splitmix64 finaliser */
{
    value = (value ^ (value >> 30)) * 0xbf58476d1ce4e5b9u;
    value = (value ^ (value >> 27)) * 0x94d049bb133111ebu;
    return value ^ (value >> 31);
}
uint16_t crc16_xmodem(struct bytes bytes);
/* The slot of a key: CRC16 of the first non-empty `{tag}` if there is one, else of all. */
uint16_t key_slot(struct bytes key);

#endif
