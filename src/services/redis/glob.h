/* glob.h - the patterns of KEYS and SCAN: `*` any bytes, `?` one byte, `[a-z]` and `[^a-z]`
 * a set, `\` takes the next byte as it is. Matches what redis-server's stringmatchlen()
 * matches, its answers to odd patterns (`[`, `\` at the end) included. Thread: any. */
#ifndef HOLON_SERVICES_REDIS_GLOB_H
#define HOLON_SERVICES_REDIS_GLOB_H

#include "base/bytes.h"

/* At most pattern.size * text.size steps: no exponential patterns. */
bool glob_matches(struct bytes pattern, struct bytes text);
/* A pattern in any case, for a text that is in lower case. */
bool glob_matches_lower(struct bytes pattern, struct bytes text);

#endif
