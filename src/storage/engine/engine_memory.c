/* engine_memory.c - the simulator's engine: content that outlives the engine, and reads. */
#include "storage/engine/engine_memory_internal.h"

#include "base/assert.h"
#include "base/memory.h"

struct memory_content *memory_content_take(struct engine_memory_disk *disk)
{
    pthread_mutex_lock(&disk->mutex);
    struct memory_content *content = disk->content;
    atomic_fetch_add(&content->references, 1);
    pthread_mutex_unlock(&disk->mutex);
    return content;
}

void memory_block_release(struct memory_block *block)
{
    if (atomic_fetch_sub(&block->references, 1) == 1) memory_free(block);
}

void memory_content_release(struct memory_content *content)
{
    if (atomic_fetch_sub(&content->references, 1) != 1) return;
    for (size_t i = 0; i < content->count; i++)
        memory_block_release(content->blocks[i]);
    memory_free(content);
}

void memory_content_replace(struct engine_memory_disk *disk, struct memory_content *content)
{
    pthread_mutex_lock(&disk->mutex);
    struct memory_content *old = disk->content;
    disk->content = content;
    pthread_mutex_unlock(&disk->mutex);
    memory_content_release(old);
}

static struct engine_memory *memory_of(struct engine *engine)
{
    return (struct engine_memory *)engine;
}

/* Where the first key >= `key` is: *ret_block may be content->count, *ret_row is in it. */
static void content_seek(const struct memory_content *content, struct bytes key, size_t *ret_block,
                         uint32_t *ret_row)
{
    size_t low = 0;
    size_t high = content->count;
    while (low < high) { /* the first block whose last key is >= key */
        size_t middle = low + (high - low) / 2;
        const struct memory_block *block = content->blocks[middle];
        if (bytes_compare(memory_key(block, block->count - 1), key) < 0) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    *ret_block = low;
    *ret_row = 0;
    if (low == content->count) return;
    const struct memory_block *block = content->blocks[low];
    uint32_t first = 0;
    uint32_t end = block->count;
    while (first < end) {
        uint32_t middle = first + (end - first) / 2;
        if (bytes_compare(memory_key(block, middle), key) < 0) {
            first = middle + 1;
        } else {
            end = middle;
        }
    }
    *ret_row = first;
}

enum status memory_damaged(struct error *error)
{
    return error_set(error, STATUS_CORRUPT,
                     "the engine in memory is damaged, as the test wants it");
}

static enum status memory_engine_get(struct engine *engine, struct bytes key, void *context,
                                     void (*on_value)(void *context, struct bytes value),
                                     struct error *error)
{
    if (memory_of(engine)->disk->damaged) return memory_damaged(error);
    struct memory_content *content = memory_content_take(memory_of(engine)->disk);
    enum status status = STATUS_NOT_FOUND;
    size_t block;
    uint32_t row;
    content_seek(content, key, &block, &row);
    bool found =
        block < content->count && bytes_equal(memory_key(content->blocks[block], row), key);
    if (found) {
        on_value(context, memory_value(content->blocks[block], row));
        status = STATUS_OK;
    }
    memory_content_release(content);
    return status;
}

static enum status memory_engine_multi_get(
    struct engine *engine, const struct bytes *keys, size_t count, void *context,
    void (*on_value)(void *context, size_t index, struct bytes value), struct error *error)
{
    if (memory_of(engine)->disk->damaged) return memory_damaged(error);
    struct memory_content *content = memory_content_take(memory_of(engine)->disk);
    for (size_t i = 0; i < count; i++) {
        size_t block;
        uint32_t row;
        content_seek(content, keys[i], &block, &row);
        bool found =
            block < content->count && bytes_equal(memory_key(content->blocks[block], row), keys[i]);
        if (found) on_value(context, i, memory_value(content->blocks[block], row));
    }
    memory_content_release(content);
    return STATUS_OK;
}

struct engine_iterator {
    const struct engine_memory_disk *disk;
    struct memory_content *content;
    size_t block;
    uint32_t row;
    size_t to_size;
    uint8_t to[];
};

static struct engine_iterator *memory_engine_iterate(struct engine *engine, struct bytes from,
                                                     struct bytes to)
{
    struct engine_iterator *iterator = memory_allocate(sizeof(*iterator) + to.size);
    iterator->disk = memory_of(engine)->disk;
    iterator->content = memory_content_take(memory_of(engine)->disk);
    content_seek(iterator->content, from, &iterator->block, &iterator->row);
    iterator->to_size = to.size;
    if (to.size) memcpy(iterator->to, to.data, to.size);
    return iterator;
}

static void memory_engine_iterator_seek(struct engine_iterator *iterator, struct bytes from)
{
    content_seek(iterator->content, from, &iterator->block, &iterator->row);
}

static bool memory_engine_iterator_next(struct engine_iterator *iterator, struct bytes *key,
                                        struct bytes *value)
{
    if (iterator->disk->damaged || iterator->block == iterator->content->count) return false;
    const struct memory_block *block = iterator->content->blocks[iterator->block];
    struct bytes found = memory_key(block, iterator->row);
    struct bytes to = bytes_make(iterator->to, iterator->to_size);
    if (to.size && bytes_compare(found, to) >= 0) return false;
    *key = found;
    *value = memory_value(block, iterator->row);
    if (++iterator->row == block->count) {
        iterator->block++;
        iterator->row = 0;
    }
    return true;
}

static enum status memory_engine_iterator_error(struct engine_iterator *iterator,
                                                struct error *error)
{
    return iterator->disk->damaged ? memory_damaged(error) : STATUS_OK;
}

static void memory_engine_iterator_close(struct engine_iterator *iterator)
{
    memory_content_release(iterator->content);
    memory_free(iterator);
}

static enum status memory_engine_checkpoint(struct engine *engine, const char *directory,
                                            struct error *error)
{
    return error_set(error, STATUS_REFUSED, "%s: an engine in memory has no checkpoints",
                     directory);
}

static void memory_engine_close(struct engine *engine)
{
    memory_free(memory_of(engine)); /* the content stays on its disk */
}

static uint64_t memory_engine_level0_files(struct engine *engine)
{
    return 0;
}

static uint64_t memory_engine_bytes_on_disk(struct engine *engine)
{
    struct memory_content *content = memory_content_take(memory_of(engine)->disk);
    uint64_t bytes = content->bytes;
    memory_content_release(content);
    return bytes;
}

static const struct engine_table memory_table = {
    .get = memory_engine_get,
    .multi_get = memory_engine_multi_get,
    .iterate = memory_engine_iterate,
    .iterator_seek = memory_engine_iterator_seek,
    .iterator_next = memory_engine_iterator_next,
    .iterator_error = memory_engine_iterator_error,
    .iterator_close = memory_engine_iterator_close,
    .run_open = engine_memory_run_open,
    .run_put = engine_memory_run_put,
    .run_delete = engine_memory_run_delete,
    .run_delete_range = engine_memory_run_delete_range,
    .run_cut = engine_memory_run_cut,
    .run_ingest = engine_memory_run_ingest,
    .run_abandon = engine_memory_run_abandon,
    .checkpoint = memory_engine_checkpoint,
    .close = memory_engine_close,
    .level0_files = memory_engine_level0_files,
    .bytes_on_disk = memory_engine_bytes_on_disk,
};

struct engine_memory_disk *engine_memory_disk_make(void)
{
    struct engine_memory_disk *disk = memory_allocate_zero(sizeof(*disk));
    pthread_mutex_init(&disk->mutex, NULL);
    disk->content = memory_allocate_zero(sizeof(*disk->content));
    atomic_init(&disk->content->references, 1);
    return disk;
}

void engine_memory_disk_free(struct engine_memory_disk *disk)
{
    if (disk == NULL) return;
    memory_content_release(disk->content);
    pthread_mutex_destroy(&disk->mutex);
    memory_free(disk);
}

struct engine_memory_disk *engine_memory_disk_copy(struct engine_memory_disk *disk)
{
    struct engine_memory_disk *copy = engine_memory_disk_make();
    memory_content_release(copy->content);
    copy->content = memory_content_take(disk); /* content never changes: it is replaced */
    return copy;
}

void engine_memory_disk_damage(struct engine_memory_disk *disk)
{
    disk->damaged = true;
}

bool engine_memory_disk_is_damaged(const struct engine_memory_disk *disk)
{
    return disk->damaged;
}

void engine_memory_disk_put(struct engine_memory_disk *disk, struct bytes key, struct bytes value)
{
    struct engine_memory_disk open = {.content = memory_content_take(disk)};
    struct engine *engine = engine_memory_open(&open);
    struct engine_run *run = NULL;
    struct error error;
    pthread_mutex_init(&open.mutex, NULL);
    enum status status = engine_run_open(engine, &run, &error);
    ASSERT(status == STATUS_OK);
    status = engine_run_put(engine, run, key, value, &error);
    if (status == STATUS_OK) status = engine_run_ingest(engine, run, &error);
    ASSERT(status == STATUS_OK);
    engine_close(engine);
    pthread_mutex_destroy(&open.mutex);
    memory_content_replace(disk, open.content);
}

void engine_memory_disk_fail_next(struct engine_memory_disk *disk, enum status status)
{
    disk->fail_next = status;
}

void engine_memory_disk_guard(struct engine_memory_disk *disk, bool (*may)(void *context),
                              void *context)
{
    disk->may_ingest = may;
    disk->guard = context;
}

struct engine *engine_memory_open(struct engine_memory_disk *disk)
{
    struct engine_memory *memory = memory_allocate_zero(sizeof(*memory));
    memory->engine.table = &memory_table;
    memory->disk = disk;
    return &memory->engine;
}
