/* string_value.h - the value of a string key: the bytes of its row, or chunks beside it.
 *
 * A string longer than limits->string_row_max is chunks of limits->chunk_size bytes under an id
 * (parts.h); the key's row holds {id, size, chunk size}. A chunk that is short or absent stands
 * for zero bytes, so SETRANGE far behind the end writes what it was given and no more. APPEND
 * and ranges read and write the chunks they touch; STRLEN reads none. A string that became
 * chunks stays so until it is overwritten as a whole. */
#ifndef HOLON_SERVICES_REDIS_STRING_VALUE_H
#define HOLON_SERVICES_REDIS_STRING_VALUE_H

#include "services/redis/parts.h"

struct redis_string {
    struct redis_key key;
    bool chunked;
    uint64_t size;
    struct redis_parts parts; /* chunked */
};

/* The key must be a string or absent. False: *ret_result is what to return. */
bool redis_string_find(struct redis_call *call, struct bytes key, struct redis_string *ret_string,
                       enum evaluate_result *ret_result);
/* Of a key that was found and is of the right type. False: damaged, and that is the reply. */
bool redis_string_of(struct redis_call *call, const struct redis_key *key,
                     struct redis_string *ret_string);

/* Replies with bytes [first, first + size) as one bulk string; null if the key does not exist.
 * ROW_STOP: the reply is cut, return redis_stop(). Own writes to chunks are not seen. */
enum row_result redis_string_reply(struct redis_call *call, const struct redis_string *string,
                                   uint64_t first, uint64_t size);
static inline enum row_result redis_string_reply_all(struct redis_call *call,
                                                     const struct redis_string *string)
{
    return redis_string_reply(call, string, 0, string->size);
}

/* Does argument `index` fit as the value of a key of that size? False: the error is the reply. */
bool redis_string_fits(struct redis_call *call, size_t key_size, uint32_t index);
/* The size of its effects. */
size_t redis_string_effects(const struct redis_call *call, uint32_t index);
/* Sets the key to argument `index`, which may have been sent ahead (stage.h); it fits. False:
 * what was sent ahead is not there, or ROW_STOP was met: *ret_result is what to return. */
bool redis_string_put(struct redis_call *call, const struct redis_key *key, uint64_t expiry_ms,
                      uint32_t index, enum evaluate_result *ret_result);
/* Puts `part` at `offset` under the old expiry; the string grows as needed. False as above. */
bool redis_string_write(struct redis_call *call, const struct redis_string *string, uint64_t offset,
                        struct bytes part, enum evaluate_result *ret_result);

/* Chunks of an id, also of one that no key names yet. ROW_STOP as always. */
enum row_result redis_chunks_write(struct redis_call *call, struct bytes row_key,
                                   const struct redis_parts *parts, uint64_t offset,
                                   struct bytes part);
/* Effects of writing so many bytes in chunks, at most. */
size_t redis_chunks_effects(uint32_t chunk_size, size_t size);

#endif
