/* engine_scrub.c - reads rows for no other reason than to have their checksums verified. Both
 * engines verify what an iterator reads, and neither keeps it in its cache. */
#include "base/assert.h"
#include "storage/engine/engine.h"

/* The least key behind `key`. */
static void place_behind(struct buffer *place, struct bytes key)
{
    static const uint8_t zero[1] = {0};

    buffer_clear(place);
    bool kept = buffer_append(place, key) == STATUS_OK &&
                buffer_append(place, bytes_make(zero, 1)) == STATUS_OK;
    ASSERT(kept);
}

enum status engine_scrub(struct engine *engine, struct buffer *place, uint64_t bytes_max,
                         uint64_t *ret_bytes, bool *ret_more, struct error *error)
{
    if (buffer_size(place) == 0) engine_forget_cached(engine);
    struct engine_iterator *iterator =
        engine_iterate(engine, buffer_bytes(place), bytes_make(NULL, 0));
    struct bytes key, value;
    bool more = true;

    *ret_bytes = 0;
    while (*ret_bytes < bytes_max && more) {
        more = engine_iterator_next(engine, iterator, &key, &value);
        if (!more) continue;
        *ret_bytes += key.size + value.size;
        if (*ret_bytes >= bytes_max) place_behind(place, key);
    }
    enum status status = engine_iterator_close(engine, iterator, error);
    if (status == STATUS_OK && !more) buffer_clear(place);
    *ret_more = status == STATUS_OK && more;
    return status;
}
