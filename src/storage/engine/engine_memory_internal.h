/* engine_memory_internal.h - shared by engine_memory*.c: immutable sorted content.
 *
 *   disk -> content -> block | block | block        (references counted)
 *
 * A run makes new content: blocks in which nothing changes are shared with the old, the others
 * written anew. An iterator holds the content it began with, so it sees one moment. */
#ifndef HOLON_STORAGE_ENGINE_ENGINE_MEMORY_INTERNAL_H
#define HOLON_STORAGE_ENGINE_ENGINE_MEMORY_INTERNAL_H

#include <pthread.h>
#include <stdatomic.h>

#include "base/buffer.h"
#include "storage/engine/engine.h"

enum { BLOCK_ROWS_MAX = 64, BLOCK_BYTES_MAX = 16 << 10 };

struct memory_row {
    uint32_t key_at; /* in the bytes of its block */
    uint32_t key_size;
    uint32_t value_size; /* the value follows the key */
};

struct memory_block {
    atomic_uint references;
    uint32_t count;
    size_t size; /* of bytes */
    struct memory_row rows[BLOCK_ROWS_MAX];
    uint8_t bytes[];
};

struct memory_content {
    atomic_uint references;
    size_t count;
    uint64_t bytes;
    struct memory_block *blocks[];
};

struct engine_memory_disk {
    pthread_mutex_t mutex; /* of content: readers and the flush lane may differ */
    struct memory_content *content;
    enum status fail_next; /* what the next ingest answers, once */
    bool damaged;
    bool (*may_ingest)(void *context); /* NULL: always */
    void *guard;
};

enum status memory_damaged(struct error *error);

struct engine_memory {
    struct engine engine; /* first: a struct engine * is this */
    struct engine_memory_disk *disk;
};

static inline struct bytes memory_key(const struct memory_block *block, uint32_t row)
{
    return bytes_make(block->bytes + block->rows[row].key_at, block->rows[row].key_size);
}

static inline struct bytes memory_value(const struct memory_block *block, uint32_t row)
{
    return bytes_make(block->bytes + block->rows[row].key_at + block->rows[row].key_size,
                      block->rows[row].value_size);
}

/* The content as of now; give it back with memory_content_release(). */
struct memory_content *memory_content_take(struct engine_memory_disk *disk);
void memory_content_release(struct memory_content *content);
/* Takes over the content made for a run. */
void memory_content_replace(struct engine_memory_disk *disk, struct memory_content *content);
void memory_block_release(struct memory_block *block);

enum status engine_memory_run_open(struct engine *engine, struct engine_run **ret_run,
                                   struct error *error);
enum status engine_memory_run_put(struct engine_run *run, struct bytes key, struct bytes value,
                                  struct error *error);
enum status engine_memory_run_delete(struct engine_run *run, struct bytes key, struct error *error);
enum status engine_memory_run_delete_range(struct engine_run *run, struct bytes from,
                                           struct bytes to, struct error *error);
enum status engine_memory_run_cut(struct engine_run *run, struct error *error);
enum status engine_memory_run_ingest(struct engine_run *run, struct error *error);
void engine_memory_run_abandon(struct engine_run *run);

#endif
