/* request_body.h - how a Redis command travels from the gateway to the partition's leader
 * (docs/reference/redis-request.md). Little-endian:
 *
 *   u8 format (1) | u8 flags (1: RESP3 reply, 2: references, 4: stage) | u8 database |
 *   u16 command id | varint argument count | arguments without the name: varint size, bytes |
 *   with flag 2: u8 count (1..32) | references: varint argument (from 1, rising), u64 index,
 *   u16 number, u64 size
 *
 * A reference stands for the bytes of its argument, which is empty here: they were sent ahead
 * (stage.h). With flag 4 the request is such a part of a value; the command id is 0.
 *
 * Thread: any. */
#ifndef HOLON_SERVICES_REDIS_REQUEST_BODY_H
#define HOLON_SERVICES_REDIS_REQUEST_BODY_H

#include "base/arena.h"
#include "base/codec.h"

enum {
    REDIS_BODY_FORMAT = 1,
    REDIS_BODY_RESP3 = 1,
    REDIS_BODY_REFERENCES = 2,
    REDIS_BODY_STAGE = 4,
    REDIS_BODY_FLAGS = 7,
    REDIS_DATABASES = 16,
    REDIS_REFERENCES_MAX = 32,
};

struct redis_reference {
    uint32_t argument; /* the name is 0 */
    uint64_t index;    /* the id of the value: {log index, number} */
    uint16_t number;
    uint64_t size;
};

struct redis_body {
    uint8_t flags;
    uint8_t database;
    uint16_t command;
    uint32_t count; /* arguments, without the name */
    const struct bytes *arguments;
    uint32_t reference_count; /* of REDIS_BODY_REFERENCES */
    const struct redis_reference *references;
};

/* Appends to `buffer`; STATUS_FULL if its size_max is reached (then it is cut anywhere). */
enum status redis_body_encode(const struct redis_body *body, struct buffer *buffer);
/* Arguments borrow from `bytes`; their array is in `arena`, with room for one more in front
 * of it (the name). STATUS_CORRUPT, STATUS_VERSION. */
enum status redis_body_decode(struct bytes bytes, struct arena *arena, struct redis_body *ret_body);

#endif
