/* engine_memory_run.c - runs of the engine in memory: gathered aside, then merged into new
 * content that takes the place of the old in one step. */
#include "storage/engine/engine_memory_internal.h"

#include "base/assert.h"
#include "base/memory.h"

struct run_row {
    size_t key_at; /* in the run's bytes; the value follows */
    uint32_t key_size;
    uint32_t value_size;
    bool tombstone;
};

struct run_range {
    size_t from_at; /* in the run's bytes; the end follows */
    size_t from_size;
    size_t to_size;
};

struct engine_run {
    struct engine_memory_disk *disk;
    uint8_t *bytes;
    size_t size;
    size_t capacity;
    struct run_row *rows;
    size_t row_count;
    size_t row_capacity;
    struct run_range *ranges;
    size_t range_count;
};

enum status engine_memory_run_open(struct engine *engine, struct engine_run **ret_run,
                                   struct error *error)
{
    struct engine_run *run = memory_allocate_zero(sizeof(*run));
    run->disk = ((struct engine_memory *)engine)->disk;
    *ret_run = run;
    return STATUS_OK;
}

/* Returns where both lie, one after the other. */
static size_t run_store(struct engine_run *run, struct bytes first, struct bytes second)
{
    size_t at = run->size;
    size_t size = at + first.size + second.size;
    if (size > run->capacity) {
        run->capacity = size * 2;
        run->bytes = memory_resize(run->bytes, run->capacity);
    }
    if (first.size) memcpy(run->bytes + at, first.data, first.size);
    if (second.size) memcpy(run->bytes + at + first.size, second.data, second.size);
    run->size = size;
    return at;
}

static struct bytes run_key(const struct engine_run *run, size_t row)
{
    return bytes_make(run->bytes + run->rows[row].key_at, run->rows[row].key_size);
}

static struct bytes run_value(const struct engine_run *run, size_t row)
{
    const struct run_row *at = &run->rows[row];
    return bytes_make(run->bytes + at->key_at + at->key_size, at->value_size);
}

static enum status run_add(struct engine_run *run, struct bytes key, struct bytes value,
                           bool tombstone, struct error *error)
{
    bool rising = run->row_count == 0 || bytes_compare(run_key(run, run->row_count - 1), key) < 0;
    if (!rising) return error_set(error, STATUS_INVALID, "engine: keys of a run must rise");
    if (run->row_count == run->row_capacity) {
        run->row_capacity = run->row_capacity ? run->row_capacity * 2 : 16;
        run->rows = memory_resize(run->rows, run->row_capacity * sizeof(*run->rows));
    }
    run->rows[run->row_count++] = (struct run_row){
        .key_at = run_store(run, key, value),
        .key_size = (uint32_t)key.size,
        .value_size = (uint32_t)value.size,
        .tombstone = tombstone,
    };
    return STATUS_OK;
}

enum status engine_memory_run_put(struct engine_run *run, struct bytes key, struct bytes value,
                                  struct error *error)
{
    return run_add(run, key, value, false, error);
}

enum status engine_memory_run_delete(struct engine_run *run, struct bytes key, struct error *error)
{
    return run_add(run, key, bytes_make(NULL, 0), true, error);
}

enum status engine_memory_run_delete_range(struct engine_run *run, struct bytes from,
                                           struct bytes to, struct error *error)
{
    ASSERT(bytes_compare(from, to) < 0);
    run->ranges = memory_resize(run->ranges, (run->range_count + 1) * sizeof(*run->ranges));
    run->ranges[run->range_count++] = (struct run_range){
        .from_at = run_store(run, from, to), .from_size = from.size, .to_size = to.size};
    return STATUS_OK;
}

enum status engine_memory_run_cut(struct engine_run *run, struct error *error)
{
    return STATUS_OK; /* no files here */
}

/* Whether a range deletion meets first <= key <= last. */
static bool ranges_meet(const struct engine_run *run, struct bytes first, struct bytes last)
{
    for (size_t i = 0; i < run->range_count; i++) {
        const struct run_range *range = &run->ranges[i];
        struct bytes from = bytes_make(run->bytes + range->from_at, range->from_size);
        struct bytes to = bytes_make(from.data + from.size, range->to_size);
        if (bytes_compare(from, last) <= 0 && bytes_compare(first, to) < 0) return true;
    }
    return false;
}

/* New content in the making: whole blocks, and one block that is being filled. */
struct builder {
    struct memory_content *content;
    size_t capacity;
    uint32_t count;
    struct bytes keys[BLOCK_ROWS_MAX]; /* borrowed of the old content and the run */
    struct bytes values[BLOCK_ROWS_MAX];
    size_t size;
};

static void builder_push(struct builder *builder, struct memory_block *block)
{
    struct memory_content *content = builder->content;
    if (content == NULL || content->count == builder->capacity) {
        builder->capacity = builder->capacity * 2 + 8;
        size_t size = sizeof(*content) + builder->capacity * sizeof(content->blocks[0]);
        builder->content = memory_resize(content, size);
        if (content == NULL) {
            atomic_init(&builder->content->references, 1);
            builder->content->count = 0;
            builder->content->bytes = 0;
        }
        content = builder->content;
    }
    content->blocks[content->count++] = block;
    content->bytes += block->size;
}

static void builder_finish_block(struct builder *builder)
{
    if (builder->count == 0) return;
    struct memory_block *block = memory_allocate(sizeof(*block) + builder->size);
    atomic_init(&block->references, 1);
    block->count = builder->count;
    block->size = builder->size;
    uint32_t at = 0;
    for (uint32_t i = 0; i < builder->count; i++) {
        struct bytes key = builder->keys[i];
        struct bytes value = builder->values[i];
        block->rows[i] = (struct memory_row){
            .key_at = at, .key_size = (uint32_t)key.size, .value_size = (uint32_t)value.size};
        if (key.size) memcpy(block->bytes + at, key.data, key.size);
        if (value.size) memcpy(block->bytes + at + key.size, value.data, value.size);
        at += (uint32_t)(key.size + value.size);
    }
    builder_push(builder, block);
    builder->count = 0;
    builder->size = 0;
}

static void builder_add(struct builder *builder, struct bytes key, struct bytes value)
{
    bool full = builder->count == BLOCK_ROWS_MAX || builder->size > BLOCK_BYTES_MAX;
    if (full) builder_finish_block(builder);
    builder->keys[builder->count] = key;
    builder->values[builder->count] = value;
    builder->count++;
    builder->size += key.size + value.size;
}

static size_t add_run_row(struct builder *builder, const struct engine_run *run, size_t row)
{
    if (!run->rows[row].tombstone) builder_add(builder, run_key(run, row), run_value(run, row));
    return row + 1;
}

/* Merges one old block with the run's rows up to its last key. Returns the next row of the run. */
static size_t merge_block(struct builder *builder, const struct engine_run *run, size_t row,
                          struct memory_block *block)
{
    struct bytes last = memory_key(block, block->count - 1);
    bool written = row < run->row_count && bytes_compare(run_key(run, row), last) <= 0;
    bool deleted = ranges_meet(run, memory_key(block, 0), last);
    bool leaves_a_crumb = builder->count > 0 && builder->count < BLOCK_ROWS_MAX / 4;
    if (!written && !deleted && !leaves_a_crumb) {
        builder_finish_block(builder);
        atomic_fetch_add(&block->references, 1);
        builder_push(builder, block);
        return row;
    }
    for (uint32_t i = 0; i < block->count; i++) {
        struct bytes key = memory_key(block, i);
        while (row < run->row_count && bytes_compare(run_key(run, row), key) < 0)
            row = add_run_row(builder, run, row);
        if (row < run->row_count && bytes_equal(run_key(run, row), key)) {
            row = add_run_row(builder, run, row);
        } else if (!deleted || !ranges_meet(run, key, key)) {
            builder_add(builder, key, memory_value(block, i));
        }
    }
    return row;
}

enum status engine_memory_run_ingest(struct engine_run *run, struct error *error)
{
    struct engine_memory_disk *disk = run->disk;
    enum status status = disk->fail_next;
    disk->fail_next = STATUS_OK;
    if (status) {
        error_set(error, status, "engine: the run could not be written (injected)");
        goto out;
    }
    if (disk->damaged) {
        status = memory_damaged(error);
        goto out;
    }
    if (run->row_count == 0 && run->range_count == 0) goto out;
    if (disk->may_ingest && !disk->may_ingest(disk->guard)) {
        status = error_set(error, STATUS_IO, "engine: the run was not taken in");
        goto out;
    }

    struct builder builder = {0};
    struct memory_content *old = memory_content_take(disk);
    size_t row = 0;
    for (size_t i = 0; i < old->count; i++)
        row = merge_block(&builder, run, row, old->blocks[i]);
    while (row < run->row_count)
        row = add_run_row(&builder, run, row);
    builder_finish_block(&builder);
    if (builder.content == NULL) {
        builder.content = memory_allocate_zero(sizeof(*builder.content));
        atomic_init(&builder.content->references, 1);
    }
    memory_content_replace(disk, builder.content);
    memory_content_release(old);

out:
    engine_memory_run_abandon(run);
    return status;
}

void engine_memory_run_abandon(struct engine_run *run)
{
    memory_free(run->bytes);
    memory_free(run->rows);
    memory_free(run->ranges);
    memory_free(run);
}
