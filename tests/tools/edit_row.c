/* edit_row STORE-DIRECTORY TEXT - for tests: flips a bit of the first stored row whose value holds
 * TEXT, by a run of the engine's own, so that every checksum fits and nobody notices by reading.
 * The node of the store must be down. Exit code 1: there is none. */
#include <stdio.h>
#include <string.h>

#include "partition/row.h"
#include "storage/engine/engine.h"

static bool find_row(struct engine *engine, struct bytes text, struct buffer *ret_key,
                     struct buffer *ret_value)
{
    uint8_t end[2];
    struct bytes key, value;
    bool found = false;

    store_u16_be(end, ROW_SLOT_META);
    struct engine_iterator *iterator =
        engine_iterate(engine, bytes_make(NULL, 0), bytes_make(end, sizeof(end)));
    while (!found && engine_iterator_next(engine, iterator, &key, &value)) {
        struct bytes body = bytes_from(value, ROW_HEADER_SIZE);
        const uint8_t *at = memmem(body.data, body.size, text.data, text.size);
        if (at == NULL) continue;
        found = true;
        buffer_append(ret_key, key);
        buffer_append(ret_value, value);
        ((uint8_t *)(uintptr_t)buffer_bytes(ret_value).data)[at - value.data] ^= 1;
    }
    return engine_iterator_close(engine, iterator, NULL) == STATUS_OK && found;
}

int main(int count, char **words)
{
    struct engine *engine = NULL;
    struct engine_run *run = NULL;
    struct buffer key, value;
    struct error error;

    if (count != 3) return 2;
    buffer_init(&key, SIZE_MAX / 2);
    buffer_init(&value, SIZE_MAX / 2);
    enum status status = engine_rocksdb_open(NULL, words[1], 1 << 20, &engine, &error);
    if (status == STATUS_OK && !find_row(engine, bytes_of(words[2]), &key, &value))
        status = error_set(&error, STATUS_NOT_FOUND, "no row of %s holds %s", words[1], words[2]);
    if (status == STATUS_OK) status = engine_run_open(engine, &run, &error);
    if (status == STATUS_OK)
        status = engine_run_put(engine, run, buffer_bytes(&key), buffer_bytes(&value), &error);
    if (status == STATUS_OK) status = engine_run_ingest(engine, run, &error);
    if (status) fprintf(stderr, "%s\n", error.text);
    if (engine != NULL) engine_close(engine);
    buffer_free(&key);
    buffer_free(&value);
    return status ? 1 : 0;
}
