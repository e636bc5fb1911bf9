/* relocate.h - RENAME, RENAMENX and COPY: their options, which the node of the client must know as
 * well as the leader of the keys. Thread: any. */
#ifndef HOLON_SERVICES_REDIS_RELOCATE_H
#define HOLON_SERVICES_REDIS_RELOCATE_H

#include "base/bytes.h"

struct redis_copy_options {
    uint8_t database; /* of the copy */
    bool replace;
};

/* Of COPY source destination ...; `database` is that of the source. NULL: right; else the error,
 * also if source and destination are the same. */
const char *redis_copy_parse(const struct bytes *arguments, uint32_t count, uint8_t database,
                             struct redis_copy_options *ret_options);

#define REDIS_NO_SUCH_KEY "ERR no such key"

#endif
