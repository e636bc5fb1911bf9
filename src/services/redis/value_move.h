/* value_move.h - a value on its way from one partition to another, within a transaction: RENAME
 * and COPY. Between nodes only; it is not what redis-server's DUMP makes.
 *
 *   readvalue KEY                      null, or [payload, expiry in ms or 0, own]
 *   writevalue KEY payload expiry      OK; whatever was there is replaced
 *
 *   payload: u8 format (1) | u8 type of the row | u8 kind | body | u32 crc32c of all before
 *     kind 0, one row: varint size, value
 *     kind 1, parts: u64 size, u32 chunk size, varint count, then for each: varint size, suffix of
 * its key (part_rows.h), u8 type, varint size, value
 *
 * `own` is 1 if the transaction itself wrote the key before. Its expiry may then count from when it
 * is evaluated, which differs from one evaluation to the next; the payload alone has to be what was
 * expected. A value that does not fit a transaction is an error. */
#ifndef HOLON_SERVICES_REDIS_VALUE_MOVE_H
#define HOLON_SERVICES_REDIS_VALUE_MOVE_H

#include "services/redis/call.h"

struct redis_moved_value {
    struct bytes payload;
    int64_t expiry_ms;
    bool own;
};

/* Of a reply of readvalue. False: null, or an error. */
bool redis_moved_value_read(struct bytes reply, struct redis_moved_value *ret_value);
/* The part of a reply of readvalue that must be the same when it is read again. */
struct bytes redis_value_expected_part(struct bytes reply);

#endif
