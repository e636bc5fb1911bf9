#include "base/hash.h"

#include "base/crc16_table.h"

#include <isa-l/crc.h>
#include <limits.h>
#include <xxhash.h>

/* ISA-L's crc32_iscsi() neither inverts its seed nor its result: both happen here, so that the
 * result is the CRC of RFC 3720 and can be passed on as the seed of what follows. */
uint32_t crc32c(uint32_t seed, struct bytes bytes)
{
    uint32_t state = ~seed;

    while (bytes.size > 0) {
        size_t size = bytes.size < INT_MAX ? bytes.size : INT_MAX; /* it counts in int */
        state = crc32_iscsi((unsigned char *)(uintptr_t)bytes.data, (int)size, state);
        bytes = bytes_from(bytes, size);
    }
    return ~state;
}

uint64_t hash64(uint64_t seed, struct bytes bytes)
{
    return XXH3_64bits_withSeed(bytes.data, bytes.size, seed);
}

struct hash128 hash128(uint64_t seed, struct bytes bytes)
{
    XXH128_hash_t hash = XXH3_128bits_withSeed(bytes.data, bytes.size, seed);
    return (struct hash128){.low = hash.low64, .high = hash.high64};
}

uint16_t crc16_xmodem(struct bytes bytes)
{
    const uint8_t *at = bytes.data, *end = at + bytes.size;
    uint16_t crc = 0;

    /* Byte by byte each would wait for the one before it. */
    for (; end - at >= 4; at += 4) {
        crc = crc16_tables[3][at[0] ^ crc >> 8] ^ crc16_tables[2][at[1] ^ (crc & 0xff)] ^
              crc16_tables[1][at[2]] ^ crc16_tables[0][at[3]];
    }
    for (; at < end; at++)
        crc = (uint16_t)(crc << 8) ^ crc16_tables[0][crc >> 8 ^ *at];
    return crc;
}

uint16_t key_slot(struct bytes key)
{
    const uint8_t *open = key.size ? memchr(key.data, '{', key.size) : NULL;

    if (open != NULL) {
        const uint8_t *tag = open + 1;
        size_t left = (size_t)(key.data + key.size - tag);
        const uint8_t *close = left ? memchr(tag, '}', left) : NULL;
        bool tagged = close != NULL && close > tag; /* only the first `{` counts; `{}` is no tag */
        if (tagged) key = bytes_make(tag, (size_t)(close - tag));
    }
    return crc16_xmodem(key) % SLOT_COUNT;
}
