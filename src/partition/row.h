/* row.h - a row of the keyspace: key layout, stored header, and effects (DESIGN.md 2, 15).
 *
 * Key:   [slot u16 BE][service u8][namespace u32 BE][service's own encoding], at most
 *        ROW_KEY_SIZE_MAX bytes. Rows of meta live under slot 0x4000, of coord 0x4001.
 * Value in the engine: u64 version | u8 type | u8 flags | u64 expiry | body, little-endian.
 *        version: log index of the last write; expiry: ms since 1970, 0: none.
 * Effect: u8 kind | ..., see effects.h. */
#ifndef HOLON_PARTITION_ROW_H
#define HOLON_PARTITION_ROW_H

#include "base/bytes.h"
#include "base/codec.h"

enum {
    ROW_KEY_SIZE_MAX = 66 << 10, /* user keys to 64 KiB */
    ROW_VALUE_SIZE_MAX = 260 << 10,
    ROW_PREFIX_SIZE = 7,
    ROW_HEADER_SIZE = 18,
    ROW_SLOT_META = 0x4000,
    ROW_SLOT_COORD = 0x4001,
    ROW_SLOT_RECORDS = 0xffff, /* per-replica records in the engine, not rows */
};

enum row_service {
    SERVICE_SYSTEM = 0,
    SERVICE_REDIS = 1,
    SERVICE_META = 2,
    SERVICE_TXN = 3,  /* transactions: src/txn */
    SERVICE_CUT = 4,  /* cuts through the whole cluster: partition/cut.h; it has no rows */
    SERVICE_LOCK = 5, /* rows of locks, which commands of redis write (services/redis/lock.h) */
    SERVICE_COUNT = 6,
};

struct row_header {
    uint64_t version;
    uint64_t expiry; /* ms since 1970; 0: none */
    uint8_t type;    /* the service's own; 0 is not used */
    uint8_t flags;
};

/* A row as seen by a reader. Borrowed: until the table or the context changes. */
struct row_view {
    struct row_header header;
    struct bytes value;
};

static inline void row_prefix_store(uint8_t at[ROW_PREFIX_SIZE], uint16_t slot, uint8_t service,
                                    uint32_t namespace)
{
    store_u16_be(at, slot);
    at[2] = service;
    store_u32_be(at + 3, namespace);
}

#endif
