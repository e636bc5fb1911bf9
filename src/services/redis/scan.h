/* scan.h - the cursor of SCAN: a place in the keyspace, see scan.c. Thread: any. */
#ifndef HOLON_SERVICES_REDIS_SCAN_H
#define HOLON_SERVICES_REDIS_SCAN_H

#include "base/bytes.h"

enum { REDIS_CURSOR_HASH_BITS = 48 };

struct redis_cursor {
    uint16_t slot;
    uint64_t hash;
};

bool redis_cursor_parse(struct bytes text, struct redis_cursor *ret_cursor);
uint64_t redis_cursor_value(struct redis_cursor cursor);
static inline bool redis_cursor_equal(struct redis_cursor a, struct redis_cursor b)
{
    return a.slot == b.slot && a.hash == b.hash;
}

#endif
