/* request_body.h - how a Redis command travels from the gateway to the partition's leader
 * (docs/reference/redis-request.md). Little-endian:
 *
 *   u8 format (1) | u8 flags (1: RESP3 reply) | u8 database | u16 command id |
 *   varint argument count | arguments without the name: varint size, bytes
 *
 * Thread: any. */
#ifndef HOLON_SERVICES_REDIS_REQUEST_BODY_H
#define HOLON_SERVICES_REDIS_REQUEST_BODY_H

#include "base/arena.h"
#include "base/codec.h"

enum { REDIS_BODY_FORMAT = 1, REDIS_BODY_RESP3 = 1, REDIS_DATABASES = 16 };

struct redis_body {
    uint8_t flags;
    uint8_t database;
    uint16_t command;
    uint32_t count; /* arguments, without the name */
    const struct bytes *arguments;
};

/* Appends to `buffer`; STATUS_FULL if its size_max is reached (then it is cut anywhere). */
enum status redis_body_encode(const struct redis_body *body, struct buffer *buffer);
/* Arguments borrow from `bytes`; their array is in `arena`, with room for one more in front
 * of it (the name). STATUS_CORRUPT, STATUS_VERSION. */
enum status redis_body_decode(struct bytes bytes, struct arena *arena, struct redis_body *ret_body);

#endif
